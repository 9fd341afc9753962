package ostree

// #include "shim.h"
import "C"

import (
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"unicode/utf8"
	"unsafe"
)

// VariantDict builds an "a{sv}". Keys are written in sorted order, so equal
// contents give equal bytes. The zero value is empty and ready to use. Not safe for concurrent use.
type VariantDict struct {
	m   map[string]*Variant
	err error
}

// NewVariantDict returns an empty builder.
func NewVariantDict() *VariantDict { return &VariantDict{} }

// VariantDictOf returns a builder holding the entries of an "a{sv}" (nil: none); of a key there twice the
// first counts, as in Lookup.
func VariantDictOf(v *Variant) (*VariantDict, error) {
	d := NewVariantDict()
	if v == nil {
		return d, nil
	}
	if err := v.want("a{sv}"); err != nil {
		return nil, err
	}
	for i := range v.Len() {
		e := v.Child(i)
		if k := e.Child(0).String(); !d.Has(k) {
			d.Set(k, e.Child(1).Child(0))
		}
	}
	return d, nil
}

// Set puts v at key; nil removes the key.
func (d *VariantDict) Set(key string, v *Variant) *VariantDict {
	if v == nil {
		delete(d.m, key)
		return d
	}
	if err := checkText(key); err != nil {
		d.fail(key, err)
		return d
	}
	if d.m == nil {
		d.m = map[string]*Variant{}
	}
	d.m[key] = v
	return d
}

// SetString puts an "s" at key.
func (d *VariantDict) SetString(key, s string) *VariantDict {
	v, err := NewStringVariant(s)
	if err != nil {
		d.fail(key, err)
	}
	return d.Set(key, v)
}

// SetStrv puts an "as" at key.
func (d *VariantDict) SetStrv(key string, list []string) *VariantDict {
	v, err := NewStrvVariant(list)
	if err != nil {
		d.fail(key, err)
	}
	return d.Set(key, v)
}

// SetBool puts a "b" at key.
func (d *VariantDict) SetBool(key string, b bool) *VariantDict { return d.Set(key, NewBoolVariant(b)) }

// SetUint64 puts a "t" at key.
func (d *VariantDict) SetUint64(key string, n uint64) *VariantDict {
	return d.Set(key, NewUint64Variant(n))
}

// SetUint32 puts a "u" at key.
func (d *VariantDict) SetUint32(key string, n uint32) *VariantDict {
	return d.Set(key, NewUint32Variant(n))
}

// SetInt32 puts an "i" at key.
func (d *VariantDict) SetInt32(key string, n int32) *VariantDict {
	return d.Set(key, NewInt32Variant(n))
}

// SetBytes puts an "ay" at key.
func (d *VariantDict) SetBytes(key string, b []byte) *VariantDict {
	return d.Set(key, NewBytesVariant(b))
}

// Remove forgets a key; one that is not there is no error.
func (d *VariantDict) Remove(key string) *VariantDict {
	delete(d.m, key)
	return d
}

// Has reports whether key is set.
func (d *VariantDict) Has(key string) bool { _, ok := d.m[key]; return ok }

// Len returns the number of keys.
func (d *VariantDict) Len() int { return len(d.m) }

func (d *VariantDict) fail(key string, err error) {
	if d.err == nil {
		d.err = fmt.Errorf("key %q: %w", key, err)
	}
}

// Build returns the "a{sv}", or the first error of the Set calls. The builder may be used on.
func (d *VariantDict) Build() (*Variant, error) {
	if d.err != nil {
		return nil, d.err
	}
	var a arena
	defer a.free()
	keys := slices.Sorted(maps.Keys(d.m))
	ckeys := a.strv(keys)
	values := (**C.GVariant)(C.calloc(C.size_t(len(keys)+1), C.size_t(unsafe.Sizeof(uintptr(0)))))
	a.ptrs = append(a.ptrs, unsafe.Pointer(values))
	arr := unsafe.Slice(values, len(keys)+1)
	for i, k := range keys {
		arr[i] = d.m[k].c()
	}
	v := takeVariant(C.shim_vardict_new(C.size_t(len(keys)), ckeys, values))
	runtime.KeepAlive(d)
	return v, nil
}

// checkText refuses what a GVariant string cannot hold.
func checkText(s string) error {
	if strings.IndexByte(s, 0) >= 0 || !utf8.ValidString(s) {
		return fmt.Errorf("%w: not valid text: %q", ErrInvalidArgument, s)
	}
	return nil
}
