package ostree_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/ostree"
)

func TestParseRefspec(t *testing.T) {
	t.Parallel()
	for in, want := range map[string][2]string{
		"main": {"", "main"}, "origin:os/x86_64/stable": {"origin", "os/x86_64/stable"}, "a-b:c.d": {"a-b", "c.d"},
	} {
		remote, ref, err := ostree.ParseRefspec(in)
		require.NoError(t, err)
		assert.Equal(t, want, [2]string{remote, ref})
	}
	for _, bad := range []string{"", ":", "a:", ":a", "a//b", "/a", "a b", "-a", "a\n", "a\x00", "a:b:c"} {
		_, _, err := ostree.ParseRefspec(bad)
		require.ErrorIs(t, err, ostree.ErrInvalidArgument, "%q", bad)
	}
}

func FuzzParseRefspec(f *testing.F) {
	for _, s := range []string{"", "a", "a:b", "a:b/c", "\n", "a:b\n", "ä:ö"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		remote, ref, err := ostree.ParseRefspec(s)
		if err != nil {
			return
		}
		if remote != "" {
			ref = remote + ":" + ref
		}
		assert.Equal(t, s, ref)
	})
}

func TestValidateNames(t *testing.T) {
	t.Parallel()
	require.NoError(t, ostree.ValidateRev("os/x86_64/stable"))
	require.NoError(t, ostree.ValidateRemoteName("origin"))
	for _, bad := range []string{"", "a:b", "/a", "a//b", "-a", "a\x00"} {
		require.ErrorIs(t, ostree.ValidateRev(bad), ostree.ErrInvalidArgument, "%q", bad)
		require.ErrorIs(t, ostree.ValidateRemoteName(bad), ostree.ErrInvalidArgument, "%q", bad)
	}
	err := ostree.ValidateRev("a:b")
	var e *ostree.Error
	require.ErrorAs(t, err, &e)
	require.EqualError(t, err, "validate rev: Invalid ref name a:b")
	require.NotErrorIs(t, err, ostree.ErrNotFound)
}

func TestValidateCollectionID(t *testing.T) {
	t.Parallel()
	require.NoError(t, ostree.ValidateCollectionID("org.example.Os"))
	for _, bad := range []string{"", "os", "org..x", "org.example.1/2", "a.b\x00"} {
		require.ErrorIs(t, ostree.ValidateCollectionID(bad), ostree.ErrInvalidArgument, "%q", bad)
	}
}

func TestValidateObject(t *testing.T) {
	t.Parallel()
	for _, mode := range []uint32{0o100644, 0o104755, 0o120777} {
		require.NoError(t, ostree.ValidateFileMode(mode))
	}
	for _, mode := range []uint32{0o20666, 0o40755, 0o1100644} {
		require.ErrorIs(t, ostree.ValidateFileMode(mode), ostree.ErrInvalidArgument, "%o", mode)
	}
	variant := func(typ, text string) *ostree.Variant {
		v, err := ostree.ParseVariant(typ, text)
		require.NoError(t, err)
		return v
	}
	dirtree := func(name, sum string) *ostree.Variant {
		return variant("(a(say)a(sayay))", "([('"+name+"', "+sum+")], [])")
	}
	require.NoError(t, ostree.ValidateObject(ostree.ObjectDirTree, dirtree("f", ay(sum(1)))))
	require.Error(t, ostree.ValidateObject(ostree.ObjectDirTree, dirtree("f", "[0x01]")), "checksum of a byte")
	require.Error(t, ostree.ValidateObject(ostree.ObjectDirTree, dirtree("..", ay(sum(1)))))
	require.Error(t, ostree.ValidateObject(ostree.ObjectDirTree, dirtree("a/b", ay(sum(1)))))
	for mode, ok := range map[uint32]bool{0o40755: true, 0o100644: false} {
		m := &ostree.DirMeta{Mode: 0o40755}
		v, err := m.Variant()
		require.NoError(t, err)
		b, err := m.Bytes()
		require.NoError(t, err)
		assert.Equal(t, b, v.Bytes())
		b[10], b[11] = byte(mode>>8), byte(mode)
		v, err = ostree.VariantFromBytes("(uuua(ayay))", b)
		require.NoError(t, err)
		assert.Equal(t, ok, ostree.ValidateObject(ostree.ObjectDirMeta, v) == nil, "%o", mode)
	}
	x := &ostree.DirMeta{UID: 1, GID: 2, Mode: 0o41777, Xattrs: []ostree.Xattr{{Name: "user.b", Value: []byte("1")}, {Name: "user.a", Value: []byte("2")}}}
	v, err := x.Variant()
	require.NoError(t, err)
	b, err := x.Bytes()
	require.NoError(t, err)
	assert.Equal(t, b, v.Bytes())
	_, err = (&ostree.DirMeta{Mode: 0o644}).Variant()
	require.ErrorIs(t, err, ostree.ErrInvalidArgument)

	r := newRepo(t, ostree.ModeArchive)
	c := judgeCommit(t, r.Path(), "main", writeTree(t, sample))
	v, err = r.LoadVariant(t.Context(), ostree.ObjectCommit, c)
	require.NoError(t, err)
	require.NoError(t, ostree.ValidateObject(ostree.ObjectCommit, v))
	require.ErrorIs(t, ostree.ValidateObject(ostree.ObjectDirTree, v), ostree.ErrVariantType)
	odd, err := ostree.VariantFromBytes("(a{sv}aya(say)sstayay)", v.Bytes()[:len(v.Bytes())-1])
	require.NoError(t, err)
	require.Error(t, ostree.ValidateObject(ostree.ObjectCommit, odd))
}

func TestObjectNames(t *testing.T) {
	t.Parallel()
	for ty := ostree.ObjectFile; ty <= ostree.ObjectFileXattrsLink; ty++ {
		n := ostree.ObjectName{Checksum: sum(5), Type: ty}
		assert.Equal(t, sum(5)+"."+ty.String(), n.String())
		back, err := ostree.ParseObjectName(n.String())
		require.NoError(t, err)
		assert.Equal(t, n, back)
	}
	for _, bad := range []string{"", ".", "x.commit", sum(1), sum(1) + ".", sum(1) + ".none", sum(1) + ".commit.commit", sum(1) + ".commit\x00", strings.ToUpper(sum(11)) + ".commit"} {
		_, err := ostree.ParseObjectName(bad)
		require.ErrorIs(t, err, ostree.ErrInvalidArgument, "%q", bad)
	}
	assert.Equal(t, "x.ObjectType(99)", ostree.ObjectName{Checksum: "x", Type: 99}.String())
}

func TestObjectSizesAndBootable(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	r := newRepo(t, ostree.ModeArchive)
	dir := writeTree(t, osTree("1"))
	c, _, err := r.LoadCommit(ctx, judgeCommit(t, r.Path(), "sized", dir, "--generate-sizes"))
	require.NoError(t, err)
	sizes, err := c.ObjectSizes()
	require.NoError(t, err)
	found := map[ostree.ObjectType]int{}
	for _, s := range sizes {
		found[s.Name.Type]++
		stored, err := r.ObjectStorageSize(ctx, s.Name.Type, s.Name.Checksum)
		require.NoError(t, err)
		assert.Equal(t, stored, s.Archived, s.Name)
		if s.Name.Type == ostree.ObjectFile {
			f, err := r.LoadFile(ctx, s.Name.Checksum)
			require.NoError(t, err)
			assert.Equal(t, uint64(f.Info.Size)+uint64(len(f.Info.SymlinkTarget)), s.Unpacked)
			require.NoError(t, f.Close())
		}
	}
	assert.Equal(t, 7, found[ostree.ObjectFile])
	assert.Positive(t, found[ostree.ObjectDirTree])

	plain, _, err := r.LoadCommit(ctx, judgeCommit(t, r.Path(), "plain", dir))
	require.NoError(t, err)
	_, err = plain.ObjectSizes()
	require.ErrorIs(t, err, ostree.ErrNotFound)

	tree, _, err := r.ReadTree(ctx, "plain")
	require.NoError(t, err)
	given, err := ostree.NewVariantDict().SetString("version", "1").Build()
	require.NoError(t, err)
	v, err := tree.BootableMetadata(ctx, given)
	require.NoError(t, err)
	assert.Equal(t, "{'ostree.bootable': <true>, 'ostree.linux': <'6.1.0'>, 'version': <'1'>}", v.Text())
	v, err = tree.BootableMetadata(ctx, nil)
	require.NoError(t, err)
	assert.Equal(t, []string{"ostree.bootable", "ostree.linux"}, v.Keys())
	_, err = tree.BootableMetadata(ctx, ostree.NewUint32Variant(1))
	require.ErrorIs(t, err, ostree.ErrVariantType)
	judgeCommit(t, r.Path(), "none", writeTree(t, map[string]string{"usr/lib/modules/": ""}))
	tree, _, err = r.ReadTree(ctx, "none")
	require.NoError(t, err)
	_, err = tree.BootableMetadata(ctx, nil)
	require.ErrorContains(t, err, "No kernel found")
}
