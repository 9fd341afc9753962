// Package glibkeyfile is a thin cgo layer over GLib's GKeyFile. It exists for
// the tests of package keyfile, which compare themselves with GLib, and is
// linked into nothing else.
package glibkeyfile

/*
#cgo pkg-config: glib-2.0
#include <stdlib.h>
#include <glib.h>

// Indexing lists in C keeps pointer arithmetic out of Go.
static gchar *str_at (gchar **list, gsize i) { return list[i]; }
*/
import "C"

import (
	"fmt"
	"runtime"
	"unsafe"
)

// Code is a GKeyFileError, or another number if the error is of another domain.
type Code int

// The codes of GLib's key file errors.
const (
	UnknownEncoding Code = C.G_KEY_FILE_ERROR_UNKNOWN_ENCODING
	Parse           Code = C.G_KEY_FILE_ERROR_PARSE
	NotFound        Code = C.G_KEY_FILE_ERROR_NOT_FOUND
	KeyNotFound     Code = C.G_KEY_FILE_ERROR_KEY_NOT_FOUND
	GroupNotFound   Code = C.G_KEY_FILE_ERROR_GROUP_NOT_FOUND
	InvalidValue    Code = C.G_KEY_FILE_ERROR_INVALID_VALUE
)

// Error is a GError.
type Error struct {
	Code    Code
	Message string
}

func (e *Error) Error() string { return fmt.Sprintf("glib: code %d: %s", e.Code, e.Message) }

// takeError frees e and returns it as a Go error, nil for NULL.
func takeError(e *C.GError) error {
	if e == nil {
		return nil
	}
	defer C.g_error_free(e)
	if e.domain != C.g_key_file_error_quark() {
		return &Error{Code: -1, Message: C.GoString(e.message)}
	}
	return &Error{Code: Code(e.code), Message: C.GoString(e.message)}
}

// KeyFile is a GKeyFile, freed by the garbage collector.
type KeyFile struct{ ptr *C.GKeyFile }

// New returns an empty key file.
func New() *KeyFile {
	k := &KeyFile{ptr: C.g_key_file_new()}
	runtime.AddCleanup(k, func(p *C.GKeyFile) { C.g_key_file_unref(p) }, k.ptr)
	return k
}

// Load parses data, keeping comments and translations.
func Load(data []byte) (*KeyFile, error) {
	k := New()
	buf := (*C.gchar)(C.CBytes(append(data[:len(data):len(data)], 0)))
	defer C.free(unsafe.Pointer(buf))
	var e *C.GError
	C.g_key_file_load_from_data(k.ptr, buf, C.gsize(len(data)),
		C.G_KEY_FILE_KEEP_COMMENTS|C.G_KEY_FILE_KEEP_TRANSLATIONS, &e)
	runtime.KeepAlive(k)
	if err := takeError(e); err != nil {
		return nil, err
	}
	return k, nil
}

// names holds C copies of strings for the length of one call.
type names []*C.gchar

func cstrings(list ...string) names {
	n := make(names, len(list))
	for i, s := range list {
		n[i] = (*C.gchar)(C.CString(s))
	}
	return n
}

func (n names) free() {
	for _, p := range n {
		C.free(unsafe.Pointer(p))
	}
}

func takeString(p *C.gchar) string {
	defer C.g_free(C.gpointer(p))
	return C.GoString(p)
}

func takeList(list **C.gchar, n C.gsize) []string {
	defer C.g_strfreev(list)
	out := make([]string, n)
	for i := range out {
		out[i] = C.GoString(C.str_at(list, C.gsize(i)))
	}
	return out
}

// Data is g_key_file_to_data.
func (k *KeyFile) Data() []byte {
	var n C.gsize
	p := C.g_key_file_to_data(k.ptr, &n, nil)
	defer C.g_free(C.gpointer(p))
	runtime.KeepAlive(k)
	return C.GoBytes(unsafe.Pointer(p), C.int(n))
}

// SetListSeparator is g_key_file_set_list_separator.
func (k *KeyFile) SetListSeparator(sep byte) {
	C.g_key_file_set_list_separator(k.ptr, C.gchar(sep))
	runtime.KeepAlive(k)
}

// Groups is g_key_file_get_groups.
func (k *KeyFile) Groups() []string {
	var n C.gsize
	list := C.g_key_file_get_groups(k.ptr, &n)
	runtime.KeepAlive(k)
	return takeList(list, n)
}

// StartGroup is g_key_file_get_start_group, "" for NULL.
func (k *KeyFile) StartGroup() string {
	p := C.g_key_file_get_start_group(k.ptr)
	runtime.KeepAlive(k)
	if p == nil {
		return ""
	}
	return takeString(p)
}

// Keys is g_key_file_get_keys.
func (k *KeyFile) Keys(group string) ([]string, error) {
	c := cstrings(group)
	defer c.free()
	var e *C.GError
	var n C.gsize
	list := C.g_key_file_get_keys(k.ptr, c[0], &n, &e)
	runtime.KeepAlive(k)
	if err := takeError(e); err != nil {
		return nil, err
	}
	return takeList(list, n), nil
}

// HasGroup is g_key_file_has_group.
func (k *KeyFile) HasGroup(group string) bool {
	c := cstrings(group)
	defer c.free()
	ok := C.g_key_file_has_group(k.ptr, c[0]) != 0
	runtime.KeepAlive(k)
	return ok
}

// HasKey is g_key_file_has_key; an error counts as false.
func (k *KeyFile) HasKey(group, key string) bool {
	c := cstrings(group, key)
	defer c.free()
	ok := C.g_key_file_has_key(k.ptr, c[0], c[1], nil) != 0
	runtime.KeepAlive(k)
	return ok
}

// RemoveGroup is g_key_file_remove_group.
func (k *KeyFile) RemoveGroup(group string) error {
	c := cstrings(group)
	defer c.free()
	var e *C.GError
	C.g_key_file_remove_group(k.ptr, c[0], &e)
	runtime.KeepAlive(k)
	return takeError(e)
}

// RemoveKey is g_key_file_remove_key.
func (k *KeyFile) RemoveKey(group, key string) error {
	c := cstrings(group, key)
	defer c.free()
	var e *C.GError
	C.g_key_file_remove_key(k.ptr, c[0], c[1], &e)
	runtime.KeepAlive(k)
	return takeError(e)
}

// Comment is g_key_file_get_comment; empty names are passed as NULL. The
// second result is false for NULL without an error.
func (k *KeyFile) Comment(group, key string) (string, bool, error) {
	c := cstrings(group, key)
	defer c.free()
	g, n := c[0], c[1]
	if group == "" {
		g = nil
	}
	if key == "" {
		n = nil
	}
	var e *C.GError
	p := C.g_key_file_get_comment(k.ptr, g, n, &e)
	runtime.KeepAlive(k)
	if err := takeError(e); err != nil || p == nil {
		return "", false, err
	}
	return takeString(p), true, nil
}

// SetComment is g_key_file_set_comment; empty names are passed as NULL.
func (k *KeyFile) SetComment(group, key, comment string) error {
	c := cstrings(group, key, comment)
	defer c.free()
	g, n := c[0], c[1]
	if group == "" {
		g = nil
	}
	if key == "" {
		n = nil
	}
	var e *C.GError
	C.g_key_file_set_comment(k.ptr, g, n, c[2], &e)
	runtime.KeepAlive(k)
	return takeError(e)
}

// LocaleVariants is g_get_locale_variants.
func LocaleVariants(locale string) []string {
	c := cstrings(locale)
	defer c.free()
	list := C.g_get_locale_variants(c[0])
	return takeList(list, C.gsize(C.g_strv_length(list)))
}

// IsAlnum is g_unichar_isalnum, which decides what a locale name may hold.
func IsAlnum(r rune) bool { return C.g_unichar_isalnum(C.gunichar(r)) != 0 }

// LanguageNames is g_get_language_names, from this process's C environment.
func LanguageNames() []string {
	var out []string
	list := C.g_get_language_names()
	for i := C.gsize(0); ; i++ {
		p := C.str_at((**C.gchar)(unsafe.Pointer(list)), i)
		if p == nil {
			return out
		}
		out = append(out, C.GoString((*C.char)(p)))
	}
}
