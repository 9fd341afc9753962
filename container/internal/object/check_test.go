package object_test

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/container/internal/object"
	"github.com/ostree-container/ostree-container/ostree"
)

// libostree is a repository whose fsck judges objects that are put into it as bare files.
type libostree struct {
	repo *ostree.Repo
	dir  string
}

func newLibostree(t testing.TB) *libostree {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "repo")
	repo, err := ostree.CreateRepo(t.Context(), dir, ostree.ModeBareUser)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, repo.Close()) })
	return &libostree{repo, dir}
}

// fsck returns what libostree says of a metadata object.
func (l *libostree) fsck(t testing.TB, typ ostree.ObjectType, data []byte) error {
	t.Helper()
	sum := object.Sum(data).String()
	path := filepath.Join(l.dir, "objects", sum[:2], sum[2:]+"."+typ.String())
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, data, 0o644))
	defer os.Remove(path)
	return l.repo.FsckObject(t.Context(), typ, sum)
}

// glib serialises the text form of a value.
func glib(t testing.TB, typ, text string) []byte {
	t.Helper()
	v, err := ostree.ParseVariant(typ, text)
	require.NoError(t, err)
	return v.Bytes()
}

// sum is a checksum as GLib's text has it.
func sum(b byte) string {
	return "[" + strings.TrimSuffix(strings.Repeat("byte "+hex(b)+",", 32), ",") + "]"
}

func hex(b byte) string {
	return "0x" + string("0123456789abcdef"[b>>4]) + string("0123456789abcdef"[b&15])
}

const dirTreeType = "(a(say)a(sayay))"

// says is part of the error with which a check refuses an object, "" if it does not; libostree says that libostree 2022.7 refuses it as
// well: where it does not, a later one or the kernel does, or readers do not agree.
type verdict struct {
	name      string
	data      []byte
	says      string
	libostree bool
}

func judge(t *testing.T, typ ostree.ObjectType, check func([]byte) error, cases []verdict) {
	t.Helper()
	lib := newLibostree(t)
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			err := check(c.data)
			if c.says == "" {
				require.NoError(t, err)
				require.NoError(t, lib.fsck(t, typ, c.data), "what is taken passes fsck")
				return
			}
			require.ErrorContains(t, err, c.says)
			if c.libostree {
				require.Error(t, lib.fsck(t, typ, c.data), "libostree")
			}
		})
	}
}

func TestCheckDirTree(t *testing.T) {
	file := func(name string) string { return "('" + name + "', " + sum(1) + ")" }
	dir := func(name string) string { return "('" + name + "', " + sum(2) + ", " + sum(3) + ")" }
	tree := func(files, dirs string) []byte { return glib(t, dirTreeType, "(["+files+"], ["+dirs+"])") }
	notUTF8 := (&object.DirTree{Files: []object.FileEntry{{Name: "\xff"}}}).Encode()
	good := tree(file("a")+","+file("b"), dir("c"))
	trailing := append(bytes.Clone(good[:len(good)-1]), 0, good[len(good)-1])
	judge(t, ostree.ObjectDirTree, object.CheckDirTree, []verdict{
		{"empty", tree("", ""), "", false},
		{"files and directories", good, "", false},
		{"longest name", tree(file(strings.Repeat("n", 255)), ""), "", false},
		{"unicode", tree(file("é")+","+file("日本"), ""), "", false},
		{"no bytes", nil, "normal form", false},
		{"bytes between", trailing, "normal form", true},
		{"files not sorted", tree(file("b")+","+file("a"), ""), `"a" is not sorted: it follows "b"`, false},
		{"directories not sorted", tree("", dir("b")+","+dir("a")), `"a" is not sorted`, false},
		{"file twice", tree(file("a")+","+file("a"), ""), `"a" is there twice`, false},
		{"directory twice", tree("", dir("a")+","+dir("a")), `"a" is there twice`, false},
		{"file and directory", tree(file("a")+","+file("m")+","+file("z"), dir("b")+","+dir("m")), `"m" is both a file and a directory`, false},
		{"slash", tree(file("a/b"), ""), `invalid name "a/b"`, true},
		{"slash in directory", tree("", dir("a/b")), `invalid name "a/b"`, true},
		{"dot", tree(file("."), ""), `invalid name "."`, true},
		{"dotdot", tree("", dir("..")), `invalid name ".."`, true},
		{"empty name", tree(file(""), ""), `invalid name ""`, false},
		{"long name", tree(file(strings.Repeat("n", 256)), ""), "256 bytes", false},
		{"not UTF-8", notUTF8, "UTF-8", true},
		{"short checksum", glib(t, dirTreeType, "([('a', [byte 1])], [])"), "1 bytes", true},
		{"no checksum", glib(t, dirTreeType, "([], [('a', [], "+sum(1)+")])"), "0 and 32 bytes", true},
	})
}

func dirMeta(uid, gid, mode uint32, xattrs []byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, uid)
	b = binary.BigEndian.AppendUint32(b, gid)
	return append(binary.BigEndian.AppendUint32(b, mode), xattrs...)
}

func TestCheckDirMeta(t *testing.T) {
	xattrs := func(text string) []byte { return glib(t, "a(ayay)", text) }
	const dir = object.ModeDir | 0o755
	judge(t, ostree.ObjectDirMeta, object.CheckDirMeta, []verdict{
		{"root", dirMeta(0, 0, dir, nil), "", false},
		{"sticky, with attributes", dirMeta(1, 2, object.ModeDir|0o7777, xattrs("[(b'user.a', b'1'), (b'user.b', [])]")), "", false},
		{"no bytes", nil, "too short", true},
		{"11 bytes", dirMeta(0, 0, dir, nil)[:11], "too short", true},
		{"13 bytes", append(dirMeta(0, 0, dir, nil), 0), "normal form", false},
		{"regular file", dirMeta(0, 0, object.ModeRegular|0o755, nil), "not that of a directory", true},
		{"no type", dirMeta(0, 0, 0o755, nil), "not that of a directory", true},
		{"host order", dirMeta(0, 0, 0xed410000, nil), "not that of a directory", true},
		{"unknown bits", dirMeta(0, 0, 1<<20|dir, nil), "unknown bits", true},
		{"owner -1", dirMeta(1<<32-1, 0, dir, nil), "out of range", false},
		{"group -1", dirMeta(0, 1<<32-1, dir, nil), "out of range", false},
		{"attributes not sorted", dirMeta(0, 0, dir, xattrs("[(b'user.b', b'1'), (b'user.a', b'2')]")), `"user.a" is not sorted`, false},
		{"attribute twice", dirMeta(0, 0, dir, xattrs("[(b'user.a', b'1'), (b'user.a', b'2')]")), `"user.a" is there twice`, false},
		{"attribute without a name", dirMeta(0, 0, dir, xattrs("[(b'', b'1')]")), "normal form", false},
		{"name without NUL", dirMeta(0, 0, dir, xattrs("[([byte 0x61], b'1')]")), "normal form", false},
	})
}

// What the codec reads from GLib's bytes is what GLib says, and is written as GLib writes it.
func TestParseXattrs(t *testing.T) {
	type list = []object.Xattr
	for _, c := range []struct {
		name, text string
		want       list
		says       string
	}{
		{"none", "@a(ayay) []", nil, ""},
		{"one", "[(b'user.a', [byte 1, 2])]", list{{"user.a", []byte{1, 2}}}, ""},
		{"empty value", "[(b'user.a', [])]", list{{"user.a", []byte{}}}, ""},
		{"newline and NUL", "[(b'user.a', [byte 10, 0, 0])]", list{{"user.a", []byte{10, 0, 0}}}, ""},
		{"prefix first", "[(b'user.a', b''), (b'user.a.b', b'')]", list{{"user.a", []byte{0}}, {"user.a.b", []byte{0}}}, ""},
		{"not sorted", "[(b'user.b', []), (b'user.a', [])]", nil, "not sorted"},
		{"twice", "[(b'user.a', []), (b'user.a', [])]", nil, "twice"},
		{"NUL in the name", "[([byte 0x61, 0, 0x62, 0], [])]", nil, "normal form"},
		{"no name", "[([], b'x')]", nil, "normal form"},
		{"long name", "[(b'" + strings.Repeat("n", 256) + "', [])]", nil, "256 bytes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			data := glib(t, "a(ayay)", c.text)
			got, err := object.ParseXattrs(data)
			if c.says != "" {
				require.ErrorContains(t, err, c.says)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, c.want, got)
			assert.True(t, bytes.Equal(data, object.AppendXattrs(nil, got)))
		})
	}
	// Offsets of one, two and four bytes.
	for _, n := range []int{1, 200, 250, 251, 252, 253, 254, 255, 256, 300, 65_000, 65_500, 65_521, 65_525, 65_530, 65_536} {
		want := list{{"user.a", bytes.Repeat([]byte{7}, n)}, {"user.b", []byte("x")}}
		data := object.AppendXattrs(nil, want)
		v, err := ostree.VariantFromBytes("a(ayay)", data)
		require.NoError(t, err)
		require.True(t, v.IsNormalForm(), "%d", n)
		value, err := v.Child(0).Child(1).ByteArray()
		require.NoError(t, err)
		require.Len(t, value, n)
		got, err := object.ParseXattrs(data)
		require.NoError(t, err, "%d", n)
		require.Equal(t, want, got)
	}
	_, err := object.ParseXattrs(object.AppendXattrs(nil, list{{"user.a", make([]byte, 64<<10+1)}}))
	require.ErrorContains(t, err, "at most 65536")
}

func TestWithLabel(t *testing.T) {
	type list = []object.Xattr
	old := object.Xattr{Name: "security.selinux", Value: []byte("old\x00")}
	a, z := object.Xattr{Name: "security.a", Value: []byte("1")}, object.Xattr{Name: "user.z", Value: []byte("2")}
	label := object.Xattr{Name: "security.selinux", Value: []byte("system_u:object_r:usr_t:s0\x00")}
	for _, c := range []struct {
		name  string
		in    list
		label string
		want  list
	}{
		{"no label", list{a, old}, "", list{a, old}},
		{"nothing there", nil, "system_u:object_r:usr_t:s0", list{label}},
		{"in its place", list{a, z}, "system_u:object_r:usr_t:s0", list{a, label, z}},
		{"instead of another", list{a, old, z}, "system_u:object_r:usr_t:s0", list{a, label, z}},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := slices.Clone(c.in)
			assert.Equal(t, c.want, object.WithLabel(c.in, c.label))
			assert.Equal(t, before, c.in, "the argument is left alone")
		})
	}
	assert.Equal(t, list{a}, object.WithXattr(list{a, old}, old.Name, nil), "an empty value removes")
	assert.Equal(t, list{{"n", []byte("3")}, z}, object.SortXattrs(list{z, {"n", []byte("1")}, {"n", []byte("3")}}), "the last of a name counts")
}
