package ostree_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/ostree"
)

func TestTreeDescend(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	r := newRepo(t, ostree.ModeArchive)
	dir := writeTree(t, map[string]string{"a/b/f": "hello", "a/l": "-> b", "z": ""})
	require.NoError(t, os.Chmod(filepath.Join(dir, "a/b/f"), 0o640))
	c := judgeCommit(t, r.Path(), "main", dir)
	root, _, err := r.ReadTree(ctx, c)
	require.NoError(t, err)
	commit, _, err := r.LoadCommit(ctx, c)
	require.NoError(t, err)
	want := func(path string) ostree.TreeEntry {
		e, err := r.LookupPath(ctx, commit.RootTree, path)
		require.NoError(t, err)
		return e
	}

	f, err := root.Descend(ctx, "/a/b/f")
	require.NoError(t, err)
	sum, err := f.Checksum(ctx)
	require.NoError(t, err)
	assert.Equal(t, want("a/b/f").Checksum, sum)
	is, err := f.IsDir(ctx)
	require.NoError(t, err)
	assert.False(t, is)
	xattrs, err := f.Xattrs(ctx)
	require.NoError(t, err)
	assert.Empty(t, xattrs)
	v, err := f.Contents(ctx)
	require.NoError(t, err)
	assert.Nil(t, v)
	v, err = f.Metadata(ctx)
	require.NoError(t, err)
	assert.Nil(t, v)
	up, err := f.Root(ctx)
	require.NoError(t, err)
	assert.Equal(t, commit.RootTree, up.ContentsChecksum())

	a, err := root.Descend(ctx, "a")
	require.NoError(t, err)
	is, err = a.IsDir(ctx)
	require.NoError(t, err)
	assert.True(t, is)
	assert.Equal(t, want("a").Checksum, a.ContentsChecksum())
	assert.Equal(t, want("a").Meta, a.MetadataChecksum())
	for name, dir := range map[string]*ostree.Tree{"a": a, "root": root} {
		sum, err = dir.Checksum(ctx)
		require.NoError(t, err)
		assert.Equal(t, dir.MetadataChecksum(), sum, name)
	}
	assert.Empty(t, f.ContentsChecksum())
	assert.Empty(t, f.MetadataChecksum())
	v, err = a.Contents(ctx)
	require.NoError(t, err)
	wantTree, err := r.LoadVariantBytes(ctx, ostree.ObjectDirTree, want("a").Checksum)
	require.NoError(t, err)
	assert.Equal(t, wantTree, v.Bytes())
	v, err = a.Metadata(ctx)
	require.NoError(t, err)
	assert.Equal(t, ostree.ObjectDirMeta.VariantType(), v.TypeString())

	info, err := a.Stat(ctx, "l")
	require.NoError(t, err)
	assert.Equal(t, "b", info.SymlinkTarget)
	info, err = a.Stat(ctx, "b")
	require.NoError(t, err)
	assert.Equal(t, ostree.ModeTypeDir|0o755, info.Mode)
	b, err := a.Descend(ctx, "b")
	require.NoError(t, err)
	info, err = b.Stat(ctx, "f")
	require.NoError(t, err)
	assert.Equal(t, ostree.FileInfo{Mode: 0o100640, Size: 5}, info)
	same, err := root.Descend(ctx, "/")
	require.NoError(t, err)
	assert.Equal(t, commit.RootTree, same.ContentsChecksum())

	for _, name := range []string{"none", "a/none/f", "z/x", "a/l/f"} {
		_, err = root.Descend(ctx, name)
		require.Error(t, err, name)
	}
	_, err = a.Stat(ctx, "none")
	require.ErrorIs(t, err, ostree.ErrNotFound)
	_, err = f.Stat(ctx, "x")
	require.ErrorIs(t, err, ostree.ErrNotFound)
	_, err = a.Stat(ctx, "../z")
	require.ErrorIs(t, err, ostree.ErrInvalidArgument)
	var none *ostree.Tree
	_, err = none.Checksum(ctx)
	require.ErrorIs(t, err, ostree.ErrClosed)
}
