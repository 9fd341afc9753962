package ostree

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// ErrCorrupt is returned when an object does not have the form of its type.
var ErrCorrupt = errors.New("corrupt object")

// DirTree is the content of a directory, a dirtree object. Names in each list are in byte order, each once.
type DirTree struct {
	Files []DirTreeFile
	Dirs  []DirTreeDir
}

// DirTreeFile is a file or symlink in a directory.
type DirTreeFile struct {
	Name     string
	Checksum string // of the file object, 64 hex digits
}

// DirTreeDir is a subdirectory.
type DirTreeDir struct {
	Name string
	Tree string // checksum of its dirtree, 64 hex digits
	Meta string // checksum of its dirmeta, 64 hex digits
}

// DirMeta is the metadata of a directory, a dirmeta object.
type DirMeta struct {
	UID, GID uint32
	Mode     uint32  // st_mode, with 0040000
	Xattrs   []Xattr // sorted by name
}

// LoadDirTree reads a dirtree. It returns ErrNotFound and ErrCorrupt.
//
// C: ostree_repo_load_variant
func (r *Repo) LoadDirTree(ctx context.Context, checksum string) (*DirTree, error) {
	b, err := r.LoadVariantBytes(ctx, ObjectDirTree, checksum)
	if err != nil {
		return nil, err
	}
	t, err := ParseDirTree(b)
	if err != nil {
		return nil, fmt.Errorf("load %s.dirtree: %w", checksum, err)
	}
	return t, nil
}

// LoadDirMeta reads a dirmeta. It returns ErrNotFound and ErrCorrupt.
//
// C: ostree_repo_load_variant
func (r *Repo) LoadDirMeta(ctx context.Context, checksum string) (*DirMeta, error) {
	b, err := r.LoadVariantBytes(ctx, ObjectDirMeta, checksum)
	if err != nil {
		return nil, err
	}
	m, err := ParseDirMeta(b)
	if err != nil {
		return nil, fmt.Errorf("load %s.dirmeta: %w", checksum, err)
	}
	return m, nil
}

// ParseDirTree reads the serialized form, "(a(say)a(sayay))". It needs no libostree.
func ParseDirTree(data []byte) (*DirTree, error) {
	m, ok := tuple(data, 2)
	if !ok {
		return nil, fmt.Errorf("%w: dirtree frame", ErrCorrupt)
	}
	files, ok1 := array(m[0])
	dirs, ok2 := array(m[1])
	if !ok1 || !ok2 {
		return nil, fmt.Errorf("%w: dirtree lists", ErrCorrupt)
	}
	t := &DirTree{Files: make([]DirTreeFile, len(files)), Dirs: make([]DirTreeDir, len(dirs))}
	for i, f := range files {
		e, ok := tuple(f, 2)
		if !ok || len(e[1]) != 32 {
			return nil, fmt.Errorf("%w: dirtree file entry %d", ErrCorrupt, i)
		}
		name, err := entryName(e[0])
		if err != nil {
			return nil, err
		}
		t.Files[i] = DirTreeFile{name, hex.EncodeToString(e[1])}
	}
	for i, d := range dirs {
		e, ok := tuple(d, 3)
		if !ok || len(e[1]) != 32 || len(e[2]) != 32 {
			return nil, fmt.Errorf("%w: dirtree directory entry %d", ErrCorrupt, i)
		}
		name, err := entryName(e[0])
		if err != nil {
			return nil, err
		}
		t.Dirs[i] = DirTreeDir{name, hex.EncodeToString(e[1]), hex.EncodeToString(e[2])}
	}
	return t, nil
}

// Lookup finds a name in the directory.
func (t *DirTree) Lookup(name string) (TreeEntry, bool) {
	if i, ok := slices.BinarySearchFunc(t.Files, name, func(f DirTreeFile, n string) int { return strings.Compare(f.Name, n) }); ok {
		return TreeEntry{Name: name, Checksum: t.Files[i].Checksum}, true
	}
	if i, ok := slices.BinarySearchFunc(t.Dirs, name, func(d DirTreeDir, n string) int { return strings.Compare(d.Name, n) }); ok {
		return TreeEntry{Name: name, IsDir: true, Checksum: t.Dirs[i].Tree, Meta: t.Dirs[i].Meta}, true
	}
	return TreeEntry{}, false
}

// entryName takes a serialized string that must be a file name.
func entryName(b []byte) (string, error) {
	if len(b) == 0 || b[len(b)-1] != 0 {
		return "", fmt.Errorf("%w: name without an end", ErrCorrupt)
	}
	s := string(b[:len(b)-1])
	if !validName(s) {
		return "", fmt.Errorf("%w: name %q", ErrCorrupt, s)
	}
	return s, nil
}

func validName(s string) bool {
	return s != "" && s != "." && s != ".." && !strings.ContainsAny(s, "/\x00")
}

// Bytes returns the serialized form: what Repo.WriteMetadata takes, and whose SHA-256 is the
// checksum. Names that are invalid, out of order or there twice, and checksums that are not 64 hex
// digits, match ErrInvalidArgument.
func (t *DirTree) Bytes() ([]byte, error) {
	var names [2]string
	check := func(list int, name string) error {
		if !validName(name) || name <= names[list] {
			return fmt.Errorf("dirtree: %w: name %q after %q", ErrInvalidArgument, name, names[list])
		}
		names[list] = name
		return nil
	}
	files := make([][]byte, len(t.Files))
	for i, f := range t.Files {
		if err := check(0, f.Name); err != nil {
			return nil, err
		}
		sum, err := sumBytes(f.Checksum)
		if err != nil {
			return nil, fmt.Errorf("dirtree: %s: %w", f.Name, err)
		}
		files[i] = packTuple(append([]byte(f.Name), 0), sum)
	}
	dirs := make([][]byte, len(t.Dirs))
	for i, d := range t.Dirs {
		if err := check(1, d.Name); err != nil {
			return nil, err
		}
		tree, err := sumBytes(d.Tree)
		if err != nil {
			return nil, fmt.Errorf("dirtree: %s: %w", d.Name, err)
		}
		meta, err := sumBytes(d.Meta)
		if err != nil {
			return nil, fmt.Errorf("dirtree: %s: %w", d.Name, err)
		}
		dirs[i] = packTuple(append([]byte(d.Name), 0), tree, meta)
	}
	return packTuple(packArray(files), packArray(dirs)), nil
}

func sumBytes(s string) ([]byte, error) {
	if err := ValidateChecksum(s); err != nil {
		return nil, err
	}
	return hex.DecodeString(s)
}

// ParseDirMeta reads the serialized form, "(uuua(ayay))" with big-endian numbers. It needs no libostree.
func ParseDirMeta(data []byte) (*DirMeta, error) {
	if len(data) < 12 {
		return nil, fmt.Errorf("%w: dirmeta of %d bytes", ErrCorrupt, len(data))
	}
	m := &DirMeta{
		UID:  binary.BigEndian.Uint32(data),
		GID:  binary.BigEndian.Uint32(data[4:]),
		Mode: binary.BigEndian.Uint32(data[8:]),
	}
	var err error
	m.Xattrs, err = parseXattrs(data[12:])
	return m, err
}

// parseXattrs reads a serialized "a(ayay)".
func parseXattrs(data []byte) ([]Xattr, error) {
	list, ok := array(data)
	if !ok {
		return nil, fmt.Errorf("%w: xattr list", ErrCorrupt)
	}
	var out []Xattr
	for i, x := range list {
		e, ok := tuple(x, 2)
		if !ok || len(e[0]) < 2 || strings.IndexByte(string(e[0]), 0) != len(e[0])-1 {
			return nil, fmt.Errorf("%w: xattr %d", ErrCorrupt, i)
		}
		out = append(out, Xattr{string(e[0][:len(e[0])-1]), append([]byte{}, e[1]...)})
	}
	return out, nil
}

// Bytes returns the serialized form, as DirTree.Bytes does. Xattrs are written sorted.
func (m *DirMeta) Bytes() ([]byte, error) {
	if m.Mode&ModeTypeMask != ModeTypeDir {
		return nil, fmt.Errorf("dirmeta: %w: mode %#o is not a directory's", ErrInvalidArgument, m.Mode)
	}
	xattrs, err := sortXattrs(m.Xattrs)
	if err != nil {
		return nil, fmt.Errorf("dirmeta: %w", err)
	}
	list := make([][]byte, len(xattrs))
	for i, x := range xattrs {
		list[i] = packTuple(append([]byte(x.Name), 0), x.Value)
	}
	b := make([]byte, 12, 12+64)
	binary.BigEndian.PutUint32(b, m.UID)
	binary.BigEndian.PutUint32(b[4:], m.GID)
	binary.BigEndian.PutUint32(b[8:], m.Mode)
	return append(b, packArray(list)...), nil
}

// The GVariant serialisation of what is used above, all of alignment 1 and of
// variable size (GLib, "GVariant Specification", sections 2.3 to 2.5).

// offsetSize is the width of framing offsets in a container of size bytes.
func offsetSize(size int) int {
	switch {
	case size <= 0xff:
		return 1
	case size <= 0xffff:
		return 2
	case size <= 0xffffffff:
		return 4
	}
	return 8
}

func readOffset(b []byte, width int) int {
	n := uint64(0)
	for i := range width {
		n |= uint64(b[i]) << (8 * i)
	}
	return int(min(n, 1<<62))
}

func appendOffset(b []byte, n, width int) []byte {
	for i := range width {
		b = append(b, byte(n>>(8*i)))
	}
	return b
}

// tuple splits a tuple of n members. The ends of all but the last are at its end, in reverse order.
func tuple(b []byte, n int) ([][]byte, bool) {
	w := offsetSize(len(b))
	end := len(b) - (n-1)*w
	if end < 0 {
		return nil, false
	}
	out := make([][]byte, n)
	start := 0
	for i := range n {
		stop := end
		if i < n-1 {
			stop = readOffset(b[len(b)-(i+1)*w:], w)
		}
		if stop < start || stop > end {
			return nil, false
		}
		out[i] = b[start:stop]
		start = stop
	}
	return out, true
}

// array splits an array. The end of each element is at its end, in order.
func array(b []byte) ([][]byte, bool) {
	if len(b) == 0 {
		return nil, true
	}
	w := offsetSize(len(b))
	if len(b) < w {
		return nil, false
	}
	table := readOffset(b[len(b)-w:], w) // the last element ends where the table starts
	if table > len(b)-w || (len(b)-table)%w != 0 {
		return nil, false
	}
	out := make([][]byte, (len(b)-table)/w)
	start := 0
	for i := range out {
		stop := readOffset(b[table+i*w:], w)
		if stop < start || stop > table {
			return nil, false
		}
		out[i] = b[start:stop]
		start = stop
	}
	return out, true
}

// frameWidth finds the width of n offsets after body bytes, which it makes larger itself.
func frameWidth(body, n int) int {
	for _, w := range []int{1, 2, 4} {
		if offsetSize(body+n*w) <= w {
			return w
		}
	}
	return 8
}

func packTuple(members ...[]byte) []byte {
	var b []byte
	ends := make([]int, len(members))
	for i, m := range members {
		b = append(b, m...)
		ends[i] = len(b)
	}
	w := frameWidth(len(b), len(members)-1)
	for i := len(members) - 2; i >= 0; i-- {
		b = appendOffset(b, ends[i], w)
	}
	return b
}

func packArray(list [][]byte) []byte {
	size := 0
	for _, e := range list {
		size += len(e)
	}
	w := frameWidth(size, len(list))
	b := make([]byte, 0, size+w*len(list))
	for _, e := range list {
		b = append(b, e...)
	}
	end := 0
	for _, e := range list {
		end += len(e)
		b = appendOffset(b, end, w)
	}
	return b
}
