package ostree

// #include "shim.h"
import "C"

import (
	"encoding/hex"
	"errors"
	"fmt"
	"math/bits"
	"runtime"
	"unsafe"
)

// ErrVariantType is returned when a Variant has another type than the one asked for.
var ErrVariantType = errors.New("wrong variant type")

// Variant is an immutable GVariant. All methods are safe for concurrent use and copy what they
// return. Those that read a value (Str, Bool, Uint64, ...) return an error matching ErrVariantType
// for another type. Methods must not be called on nil, except Lookup, Len and TypeString.
type Variant struct{ h handle }

// takeVariant owns p, a reference already sunk; nil for NULL.
func takeVariant(p *C.GVariant) *Variant {
	if p == nil {
		return nil
	}
	v := &Variant{}
	v.h.own(unsafe.Pointer(C.g_variant_take_ref(p)), variantUnref)
	return v
}

func (v *Variant) c() *C.GVariant {
	if v == nil {
		return nil
	}
	return (*C.GVariant)(v.h.ptr)
}

func (v *Variant) handle() *handle {
	if v == nil {
		return nil
	}
	return &v.h
}

// VariantFromBytes makes a Variant of a definite type, for example "a{sv}", from serialized data in host
// byte order. data is copied. It need not be in normal form: bad parts read as zero values.
//
// C: g_variant_new_from_bytes
func VariantFromBytes(typ string, data []byte) (*Variant, error) {
	var a arena
	defer a.free()
	ct := a.str(typ)
	if a.err != nil || C.g_variant_type_string_is_valid(ct) == 0 ||
		C.g_variant_type_is_definite((*C.GVariantType)(unsafe.Pointer(ct))) == 0 {
		return nil, fmt.Errorf("variant from bytes: %w: %q is not a definite type", ErrVariantType, typ)
	}
	return takeVariant(C.shim_variant_from_data(ct, bytesPtr(data), C.size_t(len(data)))), nil
}

// sound returns the same variant with nothing taken for granted, if it is in normal form, and else ErrCorrupt. libostree takes objects on
// disk for sound, and GLib then reads outside of those that were cut.
func (v *Variant) sound() (*Variant, error) {
	s, err := VariantFromBytes(v.TypeString(), v.Bytes())
	if err != nil {
		return nil, err
	}
	if !s.IsNormalForm() {
		return nil, fmt.Errorf("%w: not in normal form", ErrCorrupt)
	}
	return s, nil
}

// ParseVariant reads the text form, for example "{'k': <uint64 1>}". typ may be "" where the text says it all.
//
// C: g_variant_parse
func ParseVariant(typ, text string) (*Variant, error) {
	var a arena
	defer a.free()
	ct, ctext := a.opt(typ), a.str(text)
	if a.err != nil {
		return nil, fmt.Errorf("parse variant: %w", a.err)
	}
	if ct != nil && C.g_variant_type_string_is_valid(ct) == 0 {
		return nil, fmt.Errorf("parse variant: %w: %q", ErrVariantType, typ)
	}
	var gerr *C.GError
	p := C.g_variant_parse((*C.GVariantType)(unsafe.Pointer(ct)), ctext, nil, nil, &gerr)
	if p == nil {
		return nil, takeError("parse variant", gerr)
	}
	return takeVariant(p), nil
}

// NewStringVariant makes an "s". Invalid UTF-8 and NUL are not allowed.
func NewStringVariant(s string) (*Variant, error) {
	if err := checkText(s); err != nil {
		return nil, err
	}
	var a arena
	defer a.free()
	return takeVariant(C.g_variant_new_string(a.str(s))), nil
}

// NewUint64Variant makes a "t".
func NewUint64Variant(n uint64) *Variant { return takeVariant(C.g_variant_new_uint64(C.guint64(n))) }

// NewUint32Variant makes a "u".
func NewUint32Variant(n uint32) *Variant { return takeVariant(C.g_variant_new_uint32(C.guint32(n))) }

// NewInt64Variant makes an "x".
func NewInt64Variant(n int64) *Variant { return takeVariant(C.g_variant_new_int64(C.gint64(n))) }

// NewInt32Variant makes an "i".
func NewInt32Variant(n int32) *Variant { return takeVariant(C.g_variant_new_int32(C.gint32(n))) }

// NewBoolVariant makes a "b".
func NewBoolVariant(b bool) *Variant { return takeVariant(C.g_variant_new_boolean(gbool(b))) }

// NewBytesVariant makes an "ay" of a copy of b.
func NewBytesVariant(b []byte) *Variant {
	var a arena
	defer a.free()
	return takeVariant(C.shim_variant_from_data(a.str("ay"), bytesPtr(b), C.size_t(len(b))))
}

// NewStrvVariant makes an "as". Invalid UTF-8 and NUL are not allowed.
func NewStrvVariant(list []string) (*Variant, error) {
	for _, s := range list {
		if err := checkText(s); err != nil {
			return nil, err
		}
	}
	var a arena
	defer a.free()
	return takeVariant(C.shim_variant_strv(C.size_t(len(list)), a.strv(append([]string{}, list...)))), nil
}

// TypeString returns the type, for example "a{sv}"; "" for nil.
//
// C: g_variant_get_type_string
func (v *Variant) TypeString() string {
	if v == nil {
		return ""
	}
	defer runtime.KeepAlive(v)
	return C.GoString((*C.char)(C.g_variant_get_type_string(v.c())))
}

// Bytes returns the serialized form, in host byte order.
//
// C: g_variant_get_data
func (v *Variant) Bytes() []byte {
	defer runtime.KeepAlive(v)
	n := C.g_variant_get_size(v.c())
	if n == 0 {
		return []byte{}
	}
	out := make([]byte, int(n))
	C.g_variant_store(v.c(), C.gpointer(unsafe.Pointer(&out[0])))
	return out
}

// IsNormalForm reports whether the serialized form is the only one for the value; walks all of it.
//
// C: g_variant_is_normal_form
func (v *Variant) IsNormalForm() bool {
	defer runtime.KeepAlive(v)
	return C.g_variant_is_normal_form(v.c()) != 0
}

// Equal reports whether type and value are equal.
//
// C: g_variant_equal
func (v *Variant) Equal(o *Variant) bool {
	if v == nil || o == nil {
		return v == o
	}
	defer runtime.KeepAlive(v)
	defer runtime.KeepAlive(o)
	return C.g_variant_equal(C.gconstpointer(v.c()), C.gconstpointer(o.c())) != 0
}

// String returns the text of a string ("s", "o", "g"), and GLib's text form of
// anything else, without type annotations. Use Str to read a string whose type is not known.
func (v *Variant) String() string {
	if s, err := v.Str(); err == nil {
		return s
	}
	return v.print(false)
}

// Text returns GLib's text form with type annotations; ParseVariant reads it back.
//
// C: g_variant_print
func (v *Variant) Text() string { return v.print(true) }

func (v *Variant) print(annotate bool) string {
	if v == nil {
		return ""
	}
	defer runtime.KeepAlive(v)
	return takeString((*C.char)(C.g_variant_print(v.c(), gbool(annotate))))
}

func (v *Variant) want(types ...string) error {
	have := v.TypeString()
	for _, t := range types {
		if have == t {
			return nil
		}
	}
	return fmt.Errorf("%w: want %q, found %q", ErrVariantType, types[0], have)
}

// Str reads an "s", "o" or "g".
func (v *Variant) Str() (string, error) {
	if err := v.want("s", "o", "g"); err != nil {
		return "", err
	}
	defer runtime.KeepAlive(v)
	var n C.gsize
	p := C.g_variant_get_string(v.c(), &n)
	return C.GoStringN((*C.char)(p), C.int(n)), nil
}

// Bool reads a "b".
func (v *Variant) Bool() (bool, error) {
	if err := v.want("b"); err != nil {
		return false, err
	}
	defer runtime.KeepAlive(v)
	return C.g_variant_get_boolean(v.c()) != 0, nil
}

// Uint64 reads a "t", "u", "q" or "y".
func (v *Variant) Uint64() (uint64, error) {
	if err := v.want("t", "u", "q", "y"); err != nil {
		return 0, err
	}
	defer runtime.KeepAlive(v)
	switch v.TypeString() {
	case "u":
		return uint64(C.g_variant_get_uint32(v.c())), nil
	case "q":
		return uint64(C.g_variant_get_uint16(v.c())), nil
	case "y":
		return uint64(C.g_variant_get_byte(v.c())), nil
	}
	return uint64(C.g_variant_get_uint64(v.c())), nil
}

// Int64 reads an "x", "i" or "n".
func (v *Variant) Int64() (int64, error) {
	if err := v.want("x", "i", "n"); err != nil {
		return 0, err
	}
	defer runtime.KeepAlive(v)
	switch v.TypeString() {
	case "i":
		return int64(C.g_variant_get_int32(v.c())), nil
	case "n":
		return int64(C.g_variant_get_int16(v.c())), nil
	}
	return int64(C.g_variant_get_int64(v.c())), nil
}

// ByteArray reads an "ay".
func (v *Variant) ByteArray() ([]byte, error) {
	if err := v.want("ay"); err != nil {
		return nil, err
	}
	return v.Bytes(), nil
}

// Strv reads an "as".
func (v *Variant) Strv() ([]string, error) {
	if err := v.want("as"); err != nil {
		return nil, err
	}
	out := make([]string, v.Len())
	for i := range out {
		out[i] = v.Child(i).String()
	}
	return out, nil
}

// Len returns the number of children of a container (array, tuple, dictionary entry, maybe, variant), 0 for others.
//
// C: g_variant_n_children
func (v *Variant) Len() int {
	if v == nil || C.g_variant_is_container(v.c()) == 0 {
		return 0
	}
	defer runtime.KeepAlive(v)
	return int(C.g_variant_n_children(v.c()))
}

// Child returns child i of a container, nil if there is none.
//
// C: g_variant_get_child_value
func (v *Variant) Child(i int) *Variant {
	if i < 0 || i >= v.Len() {
		return nil
	}
	defer runtime.KeepAlive(v)
	return takeVariant(C.g_variant_get_child_value(v.c(), C.gsize(i)))
}

// Lookup returns the value of key in an "a{sv}", taken out of its "v"; false if v is not one or has no such key.
//
// C: g_variant_lookup_value
func (v *Variant) Lookup(key string) (*Variant, bool) {
	if v == nil || v.TypeString() != "a{sv}" {
		return nil, false
	}
	var a arena
	defer a.free()
	ckey := a.str(key)
	if a.err != nil {
		return nil, false
	}
	defer runtime.KeepAlive(v)
	p := C.g_variant_lookup_value(v.c(), ckey, nil)
	return takeVariant(p), p != nil
}

// LookupString reads the string at key: false if there is none, an error matching ErrVariantType
// if it is something else.
func (v *Variant) LookupString(key string) (string, bool, error) {
	return lookup(v, key, (*Variant).Str)
}

// LookupStrv reads the "as" at key, as LookupString does.
func (v *Variant) LookupStrv(key string) ([]string, bool, error) {
	return lookup(v, key, (*Variant).Strv)
}

// LookupUint64 reads the unsigned integer at key, as LookupString does.
func (v *Variant) LookupUint64(key string) (uint64, bool, error) {
	return lookup(v, key, (*Variant).Uint64)
}

// LookupBool reads the boolean at key, as LookupString does.
func (v *Variant) LookupBool(key string) (bool, bool, error) {
	return lookup(v, key, (*Variant).Bool)
}

// LookupBytes reads the "ay" at key, as LookupString does.
func (v *Variant) LookupBytes(key string) ([]byte, bool, error) {
	return lookup(v, key, (*Variant).ByteArray)
}

func lookup[T any](v *Variant, key string, read func(*Variant) (T, error)) (T, bool, error) {
	var zero T
	c, ok := v.Lookup(key)
	if !ok {
		return zero, false, nil
	}
	t, err := read(c)
	if err != nil {
		return zero, false, fmt.Errorf("key %q: %w", key, err)
	}
	return t, true, nil
}

// Keys returns the keys of an "a{sv}" in the order stored.
func (v *Variant) Keys() []string {
	if v.TypeString() != "a{sv}" {
		return nil
	}
	keys := make([]string, v.Len())
	for i := range keys {
		keys[i] = v.Child(i).Child(0).String()
	}
	return keys
}

// checksumChild reads child i, an "ay" of 32 bytes, as hex; "" where it is empty.
func (v *Variant) checksumChild(i int) (string, error) {
	b, err := v.Child(i).ByteArray()
	if err != nil {
		return "", err
	}
	if len(b) != 0 && len(b) != C.OSTREE_SHA256_DIGEST_LEN {
		return "", fmt.Errorf("%w: checksum of %d bytes", ErrCorrupt, len(b))
	}
	return hex.EncodeToString(b), nil
}

// bigEndian64 reads a "t" that libostree stores big-endian.
func (v *Variant) bigEndian64() (uint64, error) {
	n, err := v.Uint64()
	if hostLittleEndian {
		n = bits.ReverseBytes64(n)
	}
	return n, err
}

var hostLittleEndian = func() bool {
	x := uint16(1)
	return *(*byte)(unsafe.Pointer(&x)) == 1
}()
