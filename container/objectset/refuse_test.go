package objectset_test

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/container/internal/gvariant"
	"github.com/ostree-container/ostree-container/container/internal/object"
	"github.com/ostree-container/ostree-container/container/internal/objstore"
	ti "github.com/ostree-container/ostree-container/container/internal/testimage"
	"github.com/ostree-container/ostree-container/container/layer"
	"github.com/ostree-container/ostree-container/container/objectset"
	"github.com/ostree-container/ostree-container/ostree"
)

func dirMeta(mode uint32, xattrs ...object.Xattr) []byte {
	return object.AppendMeta(nil, &object.Meta{Mode: mode, Xattrs: xattrs})
}

// Members of a commit layer that would make a repository which fsck calls corrupted, or which readers do not understand alike: the
// error names the member, and nothing of it is stored.
func TestCommitLayerRefuses(t *testing.T) {
	a, b := object.Xattr{Name: "user.a", Value: []byte("1")}, object.Xattr{Name: "user.b", Value: []byte("2")}
	entry := func(name string) object.FileEntry { return object.FileEntry{Name: name, Sum: object.Checksum{1}} }
	sub := func(name string) object.DirEntry { return object.DirEntry{Name: name} }
	files := func(list ...object.FileEntry) ti.Member { m, _ := tree(object.DirTree{Files: list}); return m }
	dirs := func(list ...object.DirEntry) ti.Member { m, _ := tree(object.DirTree{Dirs: list}); return m }
	both, _ := tree(object.DirTree{Files: []object.FileEntry{entry("a"), entry("x")}, Dirs: []object.DirEntry{sub("x")}})
	good, err := (&object.Commit{Tree: object.Checksum{1}, Meta: object.Checksum{2}}).Encode()
	require.NoError(t, err)
	honest := meta("commit", good)
	rawCommit := func(metadata, parent, tree, meta string, time uint64) ti.Member {
		text := fmt.Sprintf("(%s, %s, [], '', '', uint64 %d, %s, %s)", metadata, parent, time, tree, meta)
		v, err := ostree.ParseVariant(ostree.ObjectCommit.VariantType(), text)
		require.NoError(t, err)
		return ti.File(objectPath(object.Sum(v.Bytes()), "commit"), 0o644, string(v.Bytes()))
	}
	sum := "[" + strings.TrimSuffix(strings.Repeat("byte 7,", 32), ",") + "]"
	for _, c := range []struct {
		name    string
		members []ti.Member // the last one is refused
		says    string
	}{
		{"dirmeta of a file", []ti.Member{honest, meta("dirmeta", dirMeta(object.ModeRegular|0o644))}, "not that of a directory"},
		{"dirmeta of wrong length", []ti.Member{honest, meta("dirmeta", dirMeta(object.ModeDir | 0o755)[:11])}, "too short"},
		{"dirmeta with rest", []ti.Member{honest, meta("dirmeta", append(dirMeta(object.ModeDir|0o755), 0))}, "normal form"},
		{"dirmeta with unsorted xattrs", []ti.Member{honest, meta("dirmeta", dirMeta(object.ModeDir|0o755, b, a))}, `"user.a" is not sorted`},
		{"dirmeta with an xattr twice", []ti.Member{honest, meta("dirmeta", dirMeta(object.ModeDir|0o755, a, a))}, `"user.a" is there twice`},
		{"name as file and directory", []ti.Member{honest, both}, `"x" is both a file and a directory`},
		{"files unsorted", []ti.Member{honest, files(entry("b"), entry("a"))}, `"a" is not sorted`},
		{"file twice", []ti.Member{honest, files(entry("a"), entry("a"))}, `"a" is there twice`},
		{"directories unsorted", []ti.Member{honest, dirs(sub("b"), sub("a"))}, `"a" is not sorted`},
		{"name with a slash", []ti.Member{honest, files(entry("../../etc/passwd"))}, `invalid name "../../etc/passwd"`},
		{"name dot", []ti.Member{honest, dirs(sub("."))}, `invalid name "."`},
		{"name dotdot", []ti.Member{honest, dirs(sub(".."))}, `invalid name ".."`},
		{"empty name", []ti.Member{honest, files(entry(""))}, `invalid name ""`},
		{"name of 256 bytes", []ti.Member{honest, files(entry(strings.Repeat("n", 256)))}, "256 bytes"},
		{"name that is not UTF-8", []ti.Member{honest, files(entry("\xff"))}, "not valid UTF-8"},
		{"commit with a short root", []ti.Member{rawCommit("{}", "[]", "[byte 1]", sum, 0)}, "checksum of 1 bytes"},
		{"commit without a root", []ti.Member{rawCommit("{}", "[]", sum, "[]", 0)}, "without a root"},
		{"commit with a short parent", []ti.Member{rawCommit("{}", "[byte 1, 2]", sum, sum, 0)}, "checksum of 2 bytes"},
		{"commit with the time of no clock", []ti.Member{rawCommit("{}", "[]", sum, sum, 255)}, "out of range"},
		{"commit not in normal form", []ti.Member{meta("commit", append([]byte{1, 2, 3}, good...))}, "normal form"},
		{"commit with a key twice", []ti.Member{rawCommit("{'k': <'a'>, 'k': <'b'>}", "[]", sum, sum, 0)}, `"k" is there twice`},
		{"file with unsorted xattrs", append([]ti.Member{honest}, file([]object.Xattr{b, a}, "x")[:1]...), `"user.a" is not sorted`},
		{"file with an xattr twice", append([]ti.Member{honest}, file([]object.Xattr{a, a}, "x")[:1]...), `"user.a" is there twice`},
		{"set of unsorted xattrs", []ti.Member{honest, meta("file-xattrs", object.AppendXattrs(nil, []object.Xattr{b, a}))}, `"user.a" is not sorted`},
		{"sparse object", []ti.Member{honest, {Name: objectPath(object.Checksum{9}, "file"), Mode: 0o644, Size: 1 << 40, Sparse: []ti.Span{}, SparsePAX: true}}, "is sparse"},
		{"sparse metadata", []ti.Member{honest, {Name: objectPath(object.Checksum{9}, "dirtree"), Mode: 0o644, Size: 1 << 20, Sparse: []ti.Span{}}}, "is sparse"},
		{"detached metadata not in normal form", []ti.Member{honest, ti.File(objectPath(object.Sum(good), "commitmeta"), 0o644, "garbage")}, "normal form"},
		{"detached metadata of another commit", []ti.Member{honest, ti.File(objectPath(object.Checksum{5}, "commitmeta"), 0o644, "")}, "Expected commitmeta object"},
		{"second commit", []ti.Member{honest, rawCommit("{}", "[]", sum, sum, 0)}, "multiple commit objects"},
		{"metadata of 11 MiB", []ti.Member{honest, {Name: objectPath(object.Checksum{9}, "dirtree"), Mode: 0o644, Size: 11 << 20}}, "exceeds"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newTarget(t, ostree.ModeBareUser, objstore.BackendAuto)
			_, err := r.commit(t, c.members...)
			require.ErrorContains(t, err, c.says)
			if !strings.Contains(c.says, "exceeds") {
				require.ErrorIs(t, err, objectset.ErrFormat)
			}
			var at *layer.EntryError
			require.ErrorAs(t, err, &at)
			assert.Equal(t, c.members[len(c.members)-1].Name, at.Entry)
			r.sound(t)
			left, err := os.ReadDir(r.dir + "/objects")
			require.NoError(t, err)
			assert.Empty(t, left, "objects stored")
		})
	}
}

// Attributes that are in order pass, in either form of the layer, and libostree finds the object that it expects.
func TestCommitLayerTakes(t *testing.T) {
	xattrs := []object.Xattr{{Name: "user.a", Value: []byte("1")}, {Name: "user.b", Value: []byte("2\n\x00")}}
	set := object.AppendXattrs(nil, xattrs)
	linked := file(xattrs, "linked")
	linked[0] = ti.Hardlink(linked[0].Name, objectPath(object.Sum(set), "file-xattrs"))
	old := file(xattrs, "old form")
	old[0] = ti.Hardlink(strings.TrimSuffix(old[0].Name, "-xattrs-link")+".xattrs", "sysroot/ostree/repo/xattrs/"+object.Sum(set).String())
	rootMeta := meta("dirmeta", dirMeta(object.ModeDir|0o755, xattrs...))
	var root object.DirTree
	inline := file(xattrs, "inline")
	for n, f := range [][]ti.Member{inline, linked, old} {
		sum := object.FileChecksum(&object.Meta{Mode: object.ModeRegular | 0o644, Xattrs: xattrs}, "", f[1].Content)
		root.Files = append(root.Files, object.FileEntry{Name: fmt.Sprint(n), Sum: sum})
	}
	rootTree, treeSum := tree(root)
	c := commit(t, object.Commit{
		Metadata: map[string]gvariant.Value{"version": gvariant.String("1")},
		Tree:     treeSum, Meta: object.Sum(rootMeta.Content),
	})
	members := []ti.Member{c, rootTree, rootMeta, meta("file-xattrs", set), ti.File("sysroot/ostree/repo/xattrs/"+object.Sum(set).String(), 0o644, string(set))}
	for _, f := range [][]ti.Member{inline, linked, old} {
		members = append(members, f...)
	}
	r := newTarget(t, ostree.ModeBareUser, objstore.BackendAuto)
	got, err := r.commit(t, members...)
	require.NoError(t, err)
	sum, err := r.store.Metadata(t.Context(), ostree.ObjectCommit, got.Checksum, got.Data)
	require.NoError(t, err)
	require.NoError(t, r.store.Publish(t.Context(), map[string]string{"base": sum.String()}))
	r.sound(t)
	assert.Equal(t, 3, strings.Count(ti.Run(t, "ostree", "--repo="+r.dir, "ls", "-R", "-X", "base"), "-00644"))
}

func TestChunkRefuses(t *testing.T) {
	good := file(nil, "good")
	missing := file(nil, "no attributes")[1:]
	wrong := file(nil, "wrong")
	wrong[1].Content = []byte("other")
	for _, c := range []struct {
		name    string
		members []ti.Member
		says    string
	}{
		{"metadata", append(good, meta("dirmeta", dirMeta(object.ModeDir|0o755))), "in object set mode"},
		{"file without attributes", append(good, missing...), "Missing xattrs reference"},
		{"attributes without a file", append(good, file(nil, "x")[:1]...), "dangling xattrs"},
		{"attributes of another file", append(good, file(nil, "x")[0], file(nil, "y")[1]), "Object mismatch"},
		{"content of another checksum", append(good, wrong...), "Corrupted file object"},
		{"one object twice", append(good, good...), "Duplicate object"},
		{"bad name", append(good, ti.File("sysroot/ostree/repo/objects/00/short.file", 0o644, "")), "invalid checksum"},
		{"unknown kind", append(good, ti.File(objectPath(object.Checksum{1}, "exe"), 0o644, "")), "Invalid object type"},
		{"device as object", append(good, file(nil, "x")[0], ti.Member{Name: file(nil, "x")[1].Name, Type: ti.TypeChar}), "Invalid tar entry"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newTarget(t, ostree.ModeBareUser, objstore.BackendAuto)
			_, err := r.chunk(t, c.members...)
			require.ErrorContains(t, err, c.says)
			r.sound(t)
		})
	}
}

// The same checksums make the same commit, whatever the order of the chunk.
func TestChunkIsReproducible(t *testing.T) {
	var forth, back []ti.Member
	for n := range 20 {
		f := file(nil, fmt.Sprint(n))
		forth, back = append(forth, f...), append(f, back...)
	}
	r := newTarget(t, ostree.ModeBareUser, objstore.BackendAuto)
	one, err := r.chunk(t, forth...)
	require.NoError(t, err)
	two, err := r.chunk(t, back...)
	require.NoError(t, err)
	assert.Equal(t, one, two)
	r.sound(t)
}

// repeat is the tar of one member again and again, made as it is read, that counts what was read.
type repeat struct {
	unit []byte
	left int // units
	pos  int
	read int64
}

func (r *repeat) Read(p []byte) (int, error) {
	if r.left == 0 {
		return 0, fmt.Errorf("read to the end")
	}
	n := copy(p, r.unit[r.pos:])
	if r.pos += n; r.pos == len(r.unit) {
		r.pos, r.left = 0, r.left-1
	}
	r.read += int64(n)
	return n, nil
}

// An object listed ten million times is refused after the first thousand, not held in a list to the end.
func TestChunkDuplicatesAreRefusedEarly(t *testing.T) {
	unit := ti.Tar(file(nil, "again")...)
	source := &repeat{unit: unit[:len(unit)-1024], left: 10_000_000}
	r := newTarget(t, ostree.ModeBareUser, objstore.BackendAuto)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := objectset.ImportChunk(t.Context(), r.store, r.pool, source)
	runtime.ReadMemStats(&after)
	require.ErrorIs(t, err, objectset.ErrFormat)
	require.ErrorContains(t, err, "Duplicate object")
	var at *layer.EntryError
	require.ErrorAs(t, err, &at)
	assert.Less(t, source.read, int64(8<<20), "bytes read")
	assert.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(64<<20), "bytes allocated")
}

// An object that is far behind its first one is found too.
func TestChunkDuplicateAtTheEnd(t *testing.T) {
	var members []ti.Member
	for n := range 3000 {
		members = append(members, file(nil, fmt.Sprint(n))...)
	}
	r := newTarget(t, ostree.ModeBareUser, objstore.BackendAuto)
	_, err := r.chunk(t, append(members, file(nil, "7")...)...)
	require.ErrorContains(t, err, "Duplicate object")
}
