package oracle

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/ostree-container/ostree-container/container/internal/testimage"
)

// The serialised forms below follow GLib's "GVariant Specification" and
// libostree's object formats; the ostree command is their judge in the tests.

// frame appends framing offsets to a container's body, in the smallest width
// that the whole size fits.
func frame(body []byte, offsets []int) []byte {
	for _, width := range []int{1, 2, 4} {
		if uint64(len(body)+width*len(offsets)) > 1<<(8*width)-1 {
			continue
		}
		for _, o := range offsets {
			var b [8]byte
			binary.LittleEndian.PutUint64(b[:], uint64(o))
			body = append(body, b[:width]...)
		}
		return body
	}
	panic("container too large")
}

// array serialises an array of elements of variable size and alignment 1.
func array(elems [][]byte) []byte {
	var body []byte
	var ends []int
	for _, e := range elems {
		body = append(body, e...)
		ends = append(ends, len(body))
	}
	if len(elems) == 0 {
		return nil
	}
	return frame(body, ends)
}

func xattrVariant(xattrs []testimage.Xattr) []byte { // a(ayay)
	var elems [][]byte
	for _, x := range xattrs {
		name := append([]byte(x.Name), 0)
		elems = append(elems, frame(append(name, x.Value...), []int{len(x.Name) + 1}))
	}
	return array(elems)
}

func be32(vs ...uint32) []byte {
	var b []byte
	for _, v := range vs {
		b = binary.BigEndian.AppendUint32(b, v)
	}
	return b
}

func sum(parts ...[]byte) string {
	h := sha256.New()
	for _, p := range parts {
		h.Write(p)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// FileChecksum is the checksum of a file's or symlink's content object.
func (e *Entry) FileChecksum() string {
	body := be32(e.UID, e.GID, e.Mode, 0) // (uuuusa(ayay))
	body = append(append(body, e.Target...), 0)
	end := len(body)
	header := frame(append(body, xattrVariant(e.Xattrs)...), []int{end})
	return sum(be32(uint32(len(header)), 0), header, e.Content)
}

// MetaChecksum is the checksum of a directory's dirmeta object.
func (e *Entry) MetaChecksum() string {
	return sum(append(be32(e.UID, e.GID, e.Mode), xattrVariant(e.Xattrs)...)) // (uuua(ayay))
}

// TreeChecksum is the checksum of a directory's dirtree object.
func (e *Entry) TreeChecksum() string {
	raw := func(s string) []byte { b, _ := hex.DecodeString(s); return b }
	fileNames, dirNames := e.names()
	var files, dirs [][]byte
	for _, n := range fileNames { // (say)
		files = append(files, frame(append(append([]byte(n), 0), raw(e.Children[n].FileChecksum())...), []int{len(n) + 1}))
	}
	for _, n := range dirNames { // (sayay)
		c := e.Children[n]
		body := append(append([]byte(n), 0), raw(c.TreeChecksum())...)
		mid := len(body)
		dirs = append(dirs, frame(append(body, raw(c.MetaChecksum())...), []int{mid, len(n) + 1}))
	}
	first := array(files)
	n := len(first)
	return sum(frame(append(first, array(dirs)...), []int{n})) // (a(say)a(sayay))
}

// printXattrs is g_variant_print with type annotations.
func printXattrs(xattrs []testimage.Xattr) string {
	if len(xattrs) == 0 {
		return "@a(ayay) []"
	}
	var out []string
	for i, x := range xattrs {
		out = append(out, "("+printBytes(x.Name+"\x00", i == 0)+", "+printBytes(x.Value, i == 0)+")")
	}
	return "[" + strings.Join(out, ", ") + "]"
}

func printBytes(s string, annotate bool) string {
	if s == "" {
		if annotate {
			return "@ay []"
		}
		return "[]"
	}
	if strings.IndexByte(s, 0) == len(s)-1 {
		s = s[:len(s)-1]
		quote := "'"
		if strings.Contains(s, "'") {
			quote = `"`
		}
		return "b" + quote + escape(s) + quote
	}
	var b strings.Builder
	b.WriteByte('[')
	for i := range len(s) {
		if i > 0 {
			b.WriteString(", ")
		} else if annotate {
			b.WriteString("byte ")
		}
		fmt.Fprintf(&b, "0x%02x", s[i])
	}
	b.WriteByte(']')
	return b.String()
}

// escape is g_strescape.
func escape(s string) string {
	var b strings.Builder
	for i := range len(s) {
		switch c := s[i]; {
		case strings.IndexByte("\b\f\n\r\t\v\\\"", c) >= 0:
			b.WriteByte('\\')
			b.WriteByte(`bfnrtv\"`[strings.IndexByte("\b\f\n\r\t\v\\\"", c)])
		case c < ' ' || c >= 0x7f:
			fmt.Fprintf(&b, "\\%03o", c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}
