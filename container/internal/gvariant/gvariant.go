// Package gvariant serialises GVariant values in pure Go.
//
// It covers what OSTree objects are made of: bytes, strings, unsigned integers, byte arrays, tuples, arrays, dictionaries and
// variants, in normal form. Reading is left to the ostree package, which asks GLib; writing is here because the checksum of an
// object is wanted before libostree is asked, thousands of times per second, and without a call into C for each.
//
// Integers are written in host order unless the caller hands big-endian bytes: OSTree stores the integers of its own formats
// big-endian and those inside commit metadata in host order.
//
// Source: the GVariant specification, sections "Serialization Format" 2.3 to 2.5.
package gvariant

import (
	"encoding/binary"
	"fmt"
)

// Value is a serialised value together with what its container has to know: alignment, whether the size is fixed, and the type.
type Value struct {
	data  []byte
	typ   string
	align int
	fixed bool
}

// Bytes returns the serialised form. The slice is shared with v.
func (v Value) Bytes() []byte { return v.data }

// Type returns the GVariant type string, for example "a{sv}".
func (v Value) Type() string { return v.typ }

// String is a value of type s. A NUL inside s is not allowed by GVariant; callers check names before they come here.
func String(s string) Value {
	data := make([]byte, len(s)+1)
	copy(data, s)
	return Value{data: data, typ: "s", align: 1}
}

// ByteArray is a value of type ay. The bytes are shared, not copied.
func ByteArray(b []byte) Value { return Value{data: b, typ: "ay", align: 1} }

// Bool is a value of type b.
func Bool(b bool) Value {
	v := Value{data: []byte{0}, typ: "b", align: 1, fixed: true}
	if b {
		v.data[0] = 1
	}
	return v
}

// Uint32 is a value of type u in host order.
func Uint32(n uint32) Value {
	return Value{data: binary.NativeEndian.AppendUint32(nil, n), typ: "u", align: 4, fixed: true}
}

// Uint64BE is a value of type t whose bytes are big-endian, as OSTree stores it.
func Uint64BE(n uint64) Value {
	return Value{data: binary.BigEndian.AppendUint64(nil, n), typ: "t", align: 8, fixed: true}
}

// Serialised is a value of any type whose normal form the caller has, to be put into a Variant.
func Serialised(typ string, data []byte) Value {
	return Value{data: data, typ: typ, align: Alignment(typ)}
}

// Variant is a value of type v that holds inner.
func Variant(inner Value) Value {
	data := make([]byte, 0, len(inner.data)+1+len(inner.typ))
	data = append(data, inner.data...)
	data = append(data, 0)
	data = append(data, inner.typ...)
	return Value{data: data, typ: "v", align: 8}
}

// Tuple is a tuple of the given members.
func Tuple(members ...Value) Value {
	typ := "("
	for _, m := range members {
		typ += m.typ
	}
	return structure(typ+")", members)
}

// DictEntry is a dictionary entry {key value}.
func DictEntry(key, value Value) Value {
	return structure("{"+key.typ+value.typ+"}", []Value{key, value})
}

func structure(typ string, members []Value) Value {
	out := Value{typ: typ, align: 1, fixed: true}
	var ends []int
	for i, m := range members {
		out.data = Pad(out.data, m.align)
		out.data = append(out.data, m.data...)
		out.align = max(out.align, m.align)
		if !m.fixed {
			out.fixed = false
			if i != len(members)-1 {
				ends = append(ends, len(out.data))
			}
		}
	}
	if out.fixed { // a fixed-size structure is padded to a multiple of its alignment
		out.data = Pad(out.data, out.align)
	}
	for i, j := 0, len(ends)-1; i < j; i, j = i+1, j-1 {
		ends[i], ends[j] = ends[j], ends[i]
	}
	out.data = AppendOffsets(out.data, ends)
	return out
}

// Array is an array of elements of one type. elemType is needed for the empty array; an element of another type is an error.
func Array(elemType string, elems ...Value) (Value, error) {
	out := Value{typ: "a" + elemType, align: Alignment(elemType)}
	var ends []int
	fixed := true
	for _, e := range elems {
		if e.typ != elemType {
			return Value{}, fmt.Errorf("gvariant: element of type %s in an array of %s", e.typ, elemType)
		}
		out.data = Pad(out.data, e.align)
		out.data = append(out.data, e.data...)
		ends = append(ends, len(out.data))
		fixed = fixed && e.fixed
	}
	if !fixed {
		out.data = AppendOffsets(out.data, ends)
	}
	return out, nil
}

// Alignment returns the alignment of a type string, in bytes.
func Alignment(typ string) int {
	align := 1
	for _, c := range typ {
		switch c {
		case 'v', 't', 'x', 'd':
			return 8
		case 'u', 'i', 'h':
			align = max(align, 4)
		case 'n', 'q':
			align = max(align, 2)
		}
	}
	return align
}

// Pad appends zero bytes until the length is a multiple of align.
func Pad(b []byte, align int) []byte {
	for len(b)%align != 0 {
		b = append(b, 0)
	}
	return b
}

// AppendOffsets appends framing offsets in the given order, each as wide as the finished container needs.
func AppendOffsets(b []byte, ends []int) []byte {
	if len(ends) == 0 {
		return b
	}
	width := offsetWidth(len(b), len(ends))
	for _, end := range ends {
		for i := range width {
			b = append(b, byte(uint64(end)>>(8*i)))
		}
	}
	return b
}

// offsetWidth is the width in bytes of each of n offsets behind size bytes of content.
func offsetWidth(size, n int) int {
	for _, width := range []int{1, 2, 4} {
		if uint64(size+n*width) < uint64(1)<<(8*width) {
			return width
		}
	}
	return 8
}
