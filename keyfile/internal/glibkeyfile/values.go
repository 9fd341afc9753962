package glibkeyfile

/*
#include <stdlib.h>
#include <glib.h>

static gint int_at (gint *list, gsize i) { return list[i]; }
static gboolean bool_at (gboolean *list, gsize i) { return list[i]; }
static gdouble double_at (gdouble *list, gsize i) { return list[i]; }
static void put (gchar **list, gsize i, gchar *s) { list[i] = s; }
*/
import "C"

import (
	"runtime"
	"unsafe"
)

// get calls fn with C copies of the names and takes its GError.
func get[T any](k *KeyFile, list []string, fn func(n names, e **C.GError) T) (T, error) {
	n := cstrings(list...)
	defer n.free()
	var e *C.GError
	v := fn(n, &e)
	runtime.KeepAlive(k)
	err := takeError(e)
	if err != nil {
		var zero T
		return zero, err
	}
	return v, nil
}

// orNil turns the empty locale into NULL.
func orNil(p *C.gchar) *C.gchar {
	if *p == 0 {
		return nil
	}
	return p
}

// Value is g_key_file_get_value.
func (k *KeyFile) Value(group, key string) (string, error) {
	return get(k, []string{group, key}, func(n names, e **C.GError) string {
		return takeString(C.g_key_file_get_value(k.ptr, n[0], n[1], e))
	})
}

// String is g_key_file_get_string.
func (k *KeyFile) String(group, key string) (string, error) {
	return get(k, []string{group, key}, func(n names, e **C.GError) string {
		return takeString(C.g_key_file_get_string(k.ptr, n[0], n[1], e))
	})
}

// LocaleString is g_key_file_get_locale_string; locale "" is NULL.
func (k *KeyFile) LocaleString(group, key, locale string) (string, error) {
	return get(k, []string{group, key, locale}, func(n names, e **C.GError) string {
		return takeString(C.g_key_file_get_locale_string(k.ptr, n[0], n[1], orNil(n[2]), e))
	})
}

// LocaleForKey is g_key_file_get_locale_for_key, "" for NULL.
func (k *KeyFile) LocaleForKey(group, key, locale string) string {
	s, _ := get(k, []string{group, key, locale}, func(n names, e **C.GError) string {
		return takeString(C.g_key_file_get_locale_for_key(k.ptr, n[0], n[1], orNil(n[2])))
	})
	return s
}

// StringList is g_key_file_get_string_list.
func (k *KeyFile) StringList(group, key string) ([]string, error) {
	return get(k, []string{group, key}, func(n names, e **C.GError) []string {
		var size C.gsize
		return takeList(C.g_key_file_get_string_list(k.ptr, n[0], n[1], &size, e), size)
	})
}

// LocaleStringList is g_key_file_get_locale_string_list; locale "" is NULL.
func (k *KeyFile) LocaleStringList(group, key, locale string) ([]string, error) {
	return get(k, []string{group, key, locale}, func(n names, e **C.GError) []string {
		var size C.gsize
		return takeList(C.g_key_file_get_locale_string_list(k.ptr, n[0], n[1], orNil(n[2]), &size, e), size)
	})
}

// Bool is g_key_file_get_boolean.
func (k *KeyFile) Bool(group, key string) (bool, error) {
	return get(k, []string{group, key}, func(n names, e **C.GError) bool {
		return C.g_key_file_get_boolean(k.ptr, n[0], n[1], e) != 0
	})
}

// Int is g_key_file_get_integer.
func (k *KeyFile) Int(group, key string) (int, error) {
	return get(k, []string{group, key}, func(n names, e **C.GError) int {
		return int(C.g_key_file_get_integer(k.ptr, n[0], n[1], e))
	})
}

// Int64 is g_key_file_get_int64.
func (k *KeyFile) Int64(group, key string) (int64, error) {
	return get(k, []string{group, key}, func(n names, e **C.GError) int64 {
		return int64(C.g_key_file_get_int64(k.ptr, n[0], n[1], e))
	})
}

// Uint64 is g_key_file_get_uint64.
func (k *KeyFile) Uint64(group, key string) (uint64, error) {
	return get(k, []string{group, key}, func(n names, e **C.GError) uint64 {
		return uint64(C.g_key_file_get_uint64(k.ptr, n[0], n[1], e))
	})
}

// Float64 is g_key_file_get_double.
func (k *KeyFile) Float64(group, key string) (float64, error) {
	return get(k, []string{group, key}, func(n names, e **C.GError) float64 {
		return float64(C.g_key_file_get_double(k.ptr, n[0], n[1], e))
	})
}

// BoolList is g_key_file_get_boolean_list.
func (k *KeyFile) BoolList(group, key string) ([]bool, error) {
	return get(k, []string{group, key}, func(n names, e **C.GError) []bool {
		var size C.gsize
		p := C.g_key_file_get_boolean_list(k.ptr, n[0], n[1], &size, e)
		defer C.g_free(C.gpointer(p))
		return collect(p != nil, size, func(i C.gsize) bool { return C.bool_at(p, i) != 0 })
	})
}

// IntList is g_key_file_get_integer_list.
func (k *KeyFile) IntList(group, key string) ([]int, error) {
	return get(k, []string{group, key}, func(n names, e **C.GError) []int {
		var size C.gsize
		p := C.g_key_file_get_integer_list(k.ptr, n[0], n[1], &size, e)
		defer C.g_free(C.gpointer(p))
		return collect(p != nil, size, func(i C.gsize) int { return int(C.int_at(p, i)) })
	})
}

// Float64List is g_key_file_get_double_list.
func (k *KeyFile) Float64List(group, key string) ([]float64, error) {
	return get(k, []string{group, key}, func(n names, e **C.GError) []float64 {
		var size C.gsize
		p := C.g_key_file_get_double_list(k.ptr, n[0], n[1], &size, e)
		defer C.g_free(C.gpointer(p))
		return collect(p != nil, size, func(i C.gsize) float64 { return float64(C.double_at(p, i)) })
	})
}

// collect reads size elements, none if the list is NULL: GLib leaves the size
// of a list that it refuses unset.
func collect[T any](ok bool, size C.gsize, at func(C.gsize) T) []T {
	if !ok {
		return nil
	}
	out := make([]T, size)
	for i := range out {
		out[i] = at(C.gsize(i))
	}
	return out
}

// SetValue is g_key_file_set_value.
func (k *KeyFile) SetValue(group, key, value string) {
	k.set([]string{group, key, value}, func(n names) { C.g_key_file_set_value(k.ptr, n[0], n[1], n[2]) })
}

// SetString is g_key_file_set_string.
func (k *KeyFile) SetString(group, key, value string) {
	k.set([]string{group, key, value}, func(n names) { C.g_key_file_set_string(k.ptr, n[0], n[1], n[2]) })
}

// SetLocaleString is g_key_file_set_locale_string.
func (k *KeyFile) SetLocaleString(group, key, locale, value string) {
	k.set([]string{group, key, locale, value}, func(n names) {
		C.g_key_file_set_locale_string(k.ptr, n[0], n[1], n[2], n[3])
	})
}

// SetStringList is g_key_file_set_string_list.
func (k *KeyFile) SetStringList(group, key string, list []string) {
	k.set(append([]string{group, key}, list...), func(n names) {
		p := (**C.gchar)(C.malloc(C.size_t(len(n)) * C.size_t(unsafe.Sizeof(n[0]))))
		defer C.free(unsafe.Pointer(p))
		for i, s := range n[2:] {
			C.put(p, C.gsize(i), s)
		}
		C.put(p, C.gsize(len(list)), nil)
		C.g_key_file_set_string_list(k.ptr, n[0], n[1], p, C.gsize(len(list)))
	})
}

// SetBool is g_key_file_set_boolean.
func (k *KeyFile) SetBool(group, key string, value bool) {
	b := C.gboolean(0)
	if value {
		b = 1
	}
	k.set([]string{group, key}, func(n names) { C.g_key_file_set_boolean(k.ptr, n[0], n[1], b) })
}

// SetInt is g_key_file_set_integer.
func (k *KeyFile) SetInt(group, key string, value int32) {
	k.set([]string{group, key}, func(n names) { C.g_key_file_set_integer(k.ptr, n[0], n[1], C.gint(value)) })
}

// SetFloat64 is g_key_file_set_double.
func (k *KeyFile) SetFloat64(group, key string, value float64) {
	k.set([]string{group, key}, func(n names) { C.g_key_file_set_double(k.ptr, n[0], n[1], C.gdouble(value)) })
}

func (k *KeyFile) set(list []string, fn func(n names)) {
	n := cstrings(list...)
	defer n.free()
	fn(n)
	runtime.KeepAlive(k)
}
