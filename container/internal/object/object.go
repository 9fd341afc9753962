// Package object knows the form of OSTree's objects: file headers, directory metadata, directory trees and commits, and the
// checksums that name them. It does no I/O.
//
// Source: libostree's ostree-core.h (OSTREE_FILEMETA_GVARIANT_FORMAT and its neighbours) and ostree-core.c.
package object

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/ostree-container/ostree-container/container/internal/gvariant"
	"github.com/ostree-container/ostree-container/container/internal/twinhash"
)

// Checksum is the SHA-256 that names an object.
type Checksum [sha256.Size]byte

// String returns 64 lower-case hex digits.
func (c Checksum) String() string { return hex.EncodeToString(c[:]) }

// IsZero reports whether c is the zero value, which names no object.
func (c Checksum) IsZero() bool { return c == Checksum{} }

// Compare orders checksums as their hex digits are.
func (c Checksum) Compare(other Checksum) int { return bytes.Compare(c[:], other[:]) }

// ParseChecksum reads 64 lower-case hex digits.
func ParseChecksum(s string) (Checksum, error) {
	var c Checksum
	if len(s) != 2*len(c) {
		return Checksum{}, fmt.Errorf("invalid checksum %q: %d characters, want 64", s, len(s))
	}
	if _, err := hex.Decode(c[:], []byte(s)); err != nil || c.String() != s {
		return Checksum{}, fmt.Errorf("invalid checksum %q: not lower-case hex", s)
	}
	return c, nil
}

// Xattr is one extended attribute; Name is without the final NUL.
type Xattr struct {
	Name  string
	Value []byte
}

// Meta is owner, mode and extended attributes of a file, symlink or directory. Mode includes the file type (S_IFMT).
// Xattrs are sorted by name, each name once: see SortXattrs.
type Meta struct {
	UID, GID, Mode uint32
	Xattrs         []Xattr
}

// File types in a mode, as in stat(2).
const (
	ModeType    = 0o170000
	ModeRegular = 0o100000
	ModeSymlink = 0o120000
	ModeDir     = 0o040000
)

// RootDirMeta is what an unnamed parent directory gets: root:root 0755, no extended attributes.
func RootDirMeta() Meta { return Meta{Mode: ModeDir | 0o755} }

// SortXattrs sorts by name, in bytes. Of several attributes with one name the last is kept.
func SortXattrs(xattrs []Xattr) []Xattr {
	slices.SortStableFunc(xattrs, func(a, b Xattr) int { return bytes.Compare([]byte(a.Name), []byte(b.Name)) })
	out := xattrs[:0]
	for i, x := range xattrs {
		if i+1 < len(xattrs) && xattrs[i+1].Name == x.Name {
			continue
		}
		out = append(out, x)
	}
	return out
}

// WithXattr returns a copy of xattrs in which name has the given value; an empty value removes it.
func WithXattr(xattrs []Xattr, name string, value []byte) []Xattr {
	out := make([]Xattr, 0, len(xattrs)+1)
	for _, x := range xattrs {
		if x.Name != name {
			out = append(out, x)
		}
	}
	if len(value) > 0 {
		out = append(out, Xattr{Name: name, Value: value})
	}
	return SortXattrs(out)
}

// Xattr returns the value of name.
func (m *Meta) Xattr(name string) ([]byte, bool) {
	for _, x := range m.Xattrs {
		if x.Name == name {
			return x.Value, true
		}
	}
	return nil, false
}

// AppendXattrs appends xattrs as a(ayay), names with their final NUL. The array is aligned to 1, so it may stand anywhere.
func AppendXattrs(b []byte, xattrs []Xattr) []byte {
	if len(xattrs) == 0 {
		return b
	}
	start := len(b)
	ends := make([]int, 0, len(xattrs))
	for _, x := range xattrs {
		elem := make([]byte, 0, len(x.Name)+1+len(x.Value)+4)
		elem = append(elem, x.Name...)
		elem = append(elem, 0)
		nameEnd := len(elem)
		elem = append(elem, x.Value...)
		b = append(b, gvariant.AppendOffsets(elem, []int{nameEnd})...)
		ends = append(ends, len(b)-start)
	}
	array := gvariant.AppendOffsets(b[start:len(b):len(b)], ends)
	return append(b[:start], array...)
}

// AppendMeta appends m as (uuua(ayay)) with big-endian integers: the content of a dirmeta object, and of bare-user's
// user.ostreemeta attribute.
func AppendMeta(b []byte, m *Meta) []byte {
	b = binary.BigEndian.AppendUint32(b, m.UID)
	b = binary.BigEndian.AppendUint32(b, m.GID)
	b = binary.BigEndian.AppendUint32(b, m.Mode)
	return AppendXattrs(b, m.Xattrs)
}

// AppendFileHeader appends what precedes the content of a file when its checksum is computed: the size of the header
// (big-endian), four zero bytes, and the header (uuuusa(ayay)). target is empty unless the file is a symlink.
func AppendFileHeader(b []byte, m *Meta, target string) []byte {
	start := len(b)
	b = append(b, 0, 0, 0, 0, 0, 0, 0, 0)
	head := len(b)
	b = binary.BigEndian.AppendUint32(b, m.UID)
	b = binary.BigEndian.AppendUint32(b, m.GID)
	b = binary.BigEndian.AppendUint32(b, m.Mode)
	b = binary.BigEndian.AppendUint32(b, 0) // rdev, always 0
	b = append(b, target...)
	b = append(b, 0)
	targetEnd := len(b) - head
	b = AppendXattrs(b, m.Xattrs)
	framed := gvariant.AppendOffsets(b[head:len(b):len(b)], []int{targetEnd})
	b = append(b[:head], framed...)
	binary.BigEndian.PutUint32(b[start:], uint32(len(b)-head))
	return b
}

// FileChecksum is the name of a file whose whole content is at hand.
func FileChecksum(m *Meta, target string, content []byte) Checksum {
	h := sha256.New()
	h.Write(AppendFileHeader(make([]byte, 0, 128), m, target))
	h.Write(content)
	return Checksum(h.Sum(nil))
}

// NewFileHash begins the checksum of a regular file; its content is to be written to it.
func NewFileHash(m *Meta) *twinhash.Hash {
	h := twinhash.New()
	_, _ = h.Write(AppendFileHeader(make([]byte, 0, 128), m, ""))
	return h
}

// FileEntry is a file or symlink in a directory tree.
type FileEntry struct {
	Name string
	Sum  Checksum
}

// DirEntry is a subdirectory in a directory tree.
type DirEntry struct {
	Name       string
	Tree, Meta Checksum
}

// DirTree is the content of a dirtree object; both lists are sorted by name, in bytes.
type DirTree struct {
	Files []FileEntry
	Dirs  []DirEntry
}

// Encode returns t as (a(say)a(sayay)).
func (t *DirTree) Encode() []byte {
	size := 16
	for i := range t.Files {
		size += len(t.Files[i].Name) + 40
	}
	for i := range t.Dirs {
		size += len(t.Dirs[i].Name) + 76
	}
	b := make([]byte, 0, size)
	ends := make([]int, 0, max(len(t.Files), len(t.Dirs)))
	for i := range t.Files {
		f := &t.Files[i]
		start := len(b)
		b = append(b, f.Name...)
		b = append(b, 0)
		nameEnd := len(b) - start
		b = append(b, f.Sum[:]...)
		b = appendElemOffsets(b, start, nameEnd)
		ends = append(ends, len(b))
	}
	b = gvariant.AppendOffsets(b, ends)
	filesEnd := len(b)
	ends = ends[:0]
	for i := range t.Dirs {
		d := &t.Dirs[i]
		start := len(b)
		b = append(b, d.Name...)
		b = append(b, 0)
		nameEnd := len(b) - start
		b = append(b, d.Tree[:]...)
		treeEnd := len(b) - start
		b = append(b, d.Meta[:]...)
		b = appendElemOffsets(b, start, treeEnd, nameEnd)
		ends = append(ends, len(b)-filesEnd)
	}
	dirs := gvariant.AppendOffsets(b[filesEnd:len(b):len(b)], ends)
	b = append(b[:filesEnd], dirs...)
	return gvariant.AppendOffsets(b, []int{filesEnd})
}

func appendElemOffsets(b []byte, start int, ends ...int) []byte {
	elem := gvariant.AppendOffsets(b[start:len(b):len(b)], ends)
	return append(b[:start], elem...)
}

var errNotNormal = errors.New("not a dirtree in normal form")

// DecodeDirTree is Decode of a new tree.
func DecodeDirTree(data []byte) (*DirTree, error) {
	t := &DirTree{}
	if err := t.Decode(data); err != nil {
		return nil, err
	}
	return t, nil
}

// Decode sets t to what a dirtree object holds; the lists that t has are used again. What is built on it relies on its names, so they are
// checked more strictly than libostree does: they are valid UTF-8, not empty, not "." or "..", at most 255 bytes without a slash, each
// list is strictly sorted, and no name is in both.
func (t *DirTree) Decode(data []byte) error {
	var p [3][]byte // of a tuple at hand
	if err := splitFrames(data, 1, p[:2]); err != nil {
		return err
	}
	files, err := arrayOf(p[0])
	if err != nil {
		return err
	}
	dirs, err := arrayOf(p[1])
	if err != nil {
		return err
	}
	const fileSize, dirSize = sha256.Size + 2, 2*sha256.Size + 3 // of elements without a name; it may be claimed that they are less
	t.Files = slices.Grow(t.Files[:0], min(files.n, files.first/fileSize))
	t.Dirs = slices.Grow(t.Dirs[:0], min(dirs.n, dirs.first/dirSize))
	var names strings.Builder // of all, with one allocation
	names.Grow(max(0, files.first-files.n*fileSize) + max(0, dirs.first-dirs.n*dirSize))
	for i := range files.n {
		elem, err := files.next()
		if err != nil {
			return err
		}
		if err := splitFrames(elem, 1, p[:2]); err != nil {
			return err
		}
		var f FileEntry
		if f.Name, err = entryName(&names, p[0]); err != nil {
			return err
		}
		if len(p[1]) != sha256.Size {
			return fmt.Errorf("checksum of file %q has %d bytes", f.Name, len(p[1]))
		}
		f.Sum = Checksum(p[1])
		if i > 0 && t.Files[i-1].Name >= f.Name {
			return orderError("file", t.Files[i-1].Name, f.Name)
		}
		t.Files = append(t.Files, f)
	}
	for i := range dirs.n {
		elem, err := dirs.next()
		if err != nil {
			return err
		}
		if err := splitFrames(elem, 2, p[:3]); err != nil {
			return err
		}
		var d DirEntry
		if d.Name, err = entryName(&names, p[0]); err != nil {
			return err
		}
		if len(p[1]) != sha256.Size || len(p[2]) != sha256.Size {
			return fmt.Errorf("checksums of directory %q have %d and %d bytes", d.Name, len(p[1]), len(p[2]))
		}
		d.Tree, d.Meta = Checksum(p[1]), Checksum(p[2])
		if i > 0 && t.Dirs[i-1].Name >= d.Name {
			return orderError("directory", t.Dirs[i-1].Name, d.Name)
		}
		t.Dirs = append(t.Dirs, d)
	}
	for i, j := 0, 0; i < len(t.Files) && j < len(t.Dirs); {
		switch strings.Compare(t.Files[i].Name, t.Dirs[j].Name) {
		case 0:
			return fmt.Errorf("%q is both a file and a directory", t.Dirs[j].Name)
		case -1:
			i++
		default:
			j++
		}
	}
	return nil
}

func orderError(what, before, name string) error {
	if before == name {
		return fmt.Errorf("%s %q is there twice", what, name)
	}
	return fmt.Errorf("%s %q is not sorted: it follows %q", what, name, before)
}

// maxName is how long a name may be on Linux, in bytes.
const maxName = 255

// entryName checks a name and adds it to those of its tree.
func entryName(names *strings.Builder, b []byte) (string, error) {
	if len(b) == 0 || bytes.IndexByte(b, 0) != len(b)-1 {
		return "", errNotNormal
	}
	b = b[:len(b)-1]
	switch {
	case len(b) == 0 || string(b) == "." || string(b) == ".." || bytes.IndexByte(b, '/') >= 0:
		return "", fmt.Errorf("invalid name %q", b)
	case !utf8.Valid(b):
		return "", fmt.Errorf("name %q is not valid UTF-8", b)
	case len(b) > maxName:
		return "", fmt.Errorf("name of %d bytes, at most %d are possible: %q", len(b), maxName, b)
	}
	start := names.Len()
	names.Write(b)
	return names.String()[start:], nil
}

// splitFrames splits a tuple of unaligned members of variable size into parts, the last one (and only it) without a framing offset.
func splitFrames(b []byte, offsets int, parts [][]byte) error {
	width, err := frameWidth(len(b))
	if err != nil || len(b) < offsets*width {
		return errNotNormal
	}
	limit := len(b) - offsets*width
	start := 0
	for i := range parts {
		end := limit
		if i < len(parts)-1 {
			end = readOffset(b[len(b)-(i+1)*width:], width)
		}
		if end < start || end > limit {
			return errNotNormal
		}
		parts[i] = b[start:end]
		start = end
	}
	return nil
}

// array is an array of unaligned elements of variable size, read from the front.
type array struct {
	b            []byte
	n            int // elements
	first, width int // the first framing offset, and the bytes of one
	read, start  int // elements, and where the next one starts
}

func arrayOf(b []byte) (array, error) {
	if len(b) == 0 {
		return array{}, nil
	}
	width, err := frameWidth(len(b))
	if err != nil || len(b) < width {
		return array{}, errNotNormal
	}
	first := readOffset(b[len(b)-width:], width)
	if first > len(b) || (len(b)-first)%width != 0 {
		return array{}, errNotNormal
	}
	return array{b: b, n: (len(b) - first) / width, first: first, width: width}, nil
}

// next returns the next element; it is called n times at most.
func (a *array) next() ([]byte, error) {
	end := readOffset(a.b[a.first+a.read*a.width:], a.width)
	if end < a.start || end > a.first {
		return nil, errNotNormal
	}
	elem := a.b[a.start:end]
	a.read++
	a.start = end
	return elem, nil
}

func frameWidth(size int) (int, error) {
	switch {
	case size == 0:
		return 0, errNotNormal
	case size <= 0xff:
		return 1, nil
	case size <= 0xffff:
		return 2, nil
	case uint64(size) <= 0xffffffff:
		return 4, nil
	}
	return 8, nil
}

func readOffset(b []byte, width int) int {
	var n uint64
	for i := range width {
		n |= uint64(b[i]) << (8 * i)
	}
	if n > 1<<40 {
		return 1 << 40 // beyond any object; every caller compares with the length
	}
	return int(n)
}

// DecodeMeta reads (uuua(ayay)) with big-endian integers: a dirmeta object.
func DecodeMeta(data []byte) (*Meta, error) {
	if len(data) < 12 {
		return nil, errors.New("not a dirmeta: too short")
	}
	m := &Meta{UID: binary.BigEndian.Uint32(data), GID: binary.BigEndian.Uint32(data[4:]), Mode: binary.BigEndian.Uint32(data[8:])}
	xattrs, err := DecodeXattrs(data[12:])
	if err != nil {
		return nil, err
	}
	m.Xattrs = xattrs
	return m, nil
}

// DecodeXattrs reads a(ayay).
func DecodeXattrs(data []byte) ([]Xattr, error) {
	elems, err := arrayOf(data)
	if err != nil {
		return nil, fmt.Errorf("xattrs: %w", err)
	}
	var xattrs []Xattr
	for range elems.n {
		elem, err := elems.next()
		if err != nil {
			return nil, fmt.Errorf("xattrs: %w", err)
		}
		var p [2][]byte
		if err := splitFrames(elem, 1, p[:]); err != nil || len(p[0]) < 2 || bytes.IndexByte(p[0], 0) != len(p[0])-1 {
			return nil, fmt.Errorf("xattrs: %w", errNotNormal)
		}
		xattrs = append(xattrs, Xattr{Name: string(p[0][:len(p[0])-1]), Value: bytes.Clone(p[1])})
	}
	return xattrs, nil
}

// LabelXattr is the attribute that holds an SELinux label.
const LabelXattr = "security.selinux"

// WithLabel returns xattrs with the given SELinux label in place of any other; an empty label leaves xattrs as they are. The
// value ends in a NUL byte, as libostree writes it.
func WithLabel(xattrs []Xattr, label string) []Xattr {
	if label == "" {
		return xattrs
	}
	return WithXattr(xattrs, LabelXattr, append([]byte(label), 0))
}

// WithoutLabel returns xattrs without an SELinux label; the slice may be shared.
func WithoutLabel(xattrs []Xattr) []Xattr {
	at := slices.IndexFunc(xattrs, func(x Xattr) bool { return x.Name == LabelXattr })
	if at < 0 {
		return xattrs
	}
	return slices.Concat(xattrs[:at], xattrs[at+1:])
}
