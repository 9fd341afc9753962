package ostree_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/ostree"
)

func TestMutableTreeWalk(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	r := newRepo(t, ostree.ModeArchive)
	com, _, err := r.LoadCommit(ctx, judgeCommit(t, r.Path(), "main", writeTree(t, sample)))
	require.NoError(t, err)
	m, err := ostree.MutableTreeFromCommit(ctx, r, "main")
	require.NoError(t, err)
	lib, err := m.Walk([]string{"usr", "lib", "x"})
	require.NoError(t, err)
	files, err := lib.Files()
	require.NoError(t, err)
	assert.Len(t, files, 1)
	assert.Contains(t, files, "y")
	same, err := m.Walk(nil)
	require.NoError(t, err)
	assert.Equal(t, com.RootTree, same.ContentsChecksum())
	for _, none := range []string{"nope", "usr/nope", "usr/bin/a", "zero"} {
		_, err := m.Walk(strings.Split(none, "/"))
		require.ErrorIs(t, err, ostree.ErrNotFound, none)
	}
	_, err = m.Walk([]string{"usr", ".."})
	require.ErrorIs(t, err, ostree.ErrInvalidArgument)
	_, err = m.Walk([]string{"a\x00"})
	require.ErrorIs(t, err, ostree.ErrInvalidArgument)
}

// A directory that was filled by hand, and whose dirtree is known, is not written again.
func TestMutableTreeSetContentsChecksum(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	r := newRepo(t, ostree.ModeArchive)
	com, _, err := r.LoadCommit(ctx, judgeCommit(t, r.Path(), "main", writeTree(t, map[string]string{"f": "f"})))
	require.NoError(t, err)
	e, err := r.LookupPath(ctx, com.RootTree, "/f")
	require.NoError(t, err)
	m := ostree.NewMutableTree()
	require.NoError(t, m.SetMetadataChecksum(com.RootMeta))
	require.NoError(t, m.ReplaceFile("f", e.Checksum))
	assert.Empty(t, m.ContentsChecksum())
	require.NoError(t, m.SetContentsChecksum(com.RootTree))
	assert.Equal(t, com.RootTree, m.ContentsChecksum())
	require.NoError(t, m.SetContentsChecksum(com.RootTree))
	require.ErrorIs(t, m.SetContentsChecksum(sum(1)), ostree.ErrInvalidArgument)
	require.ErrorIs(t, m.SetContentsChecksum("x"), ostree.ErrInvalidArgument)
	tx, err := r.Begin(ctx)
	require.NoError(t, err)
	defer tx.Abort()
	root, err := r.WriteMTree(ctx, m)
	require.NoError(t, err)
	assert.Equal(t, com.RootTree, root.ContentsChecksum())
	require.NoError(t, m.ReplaceFile("g", e.Checksum))
	assert.Empty(t, m.ContentsChecksum())

	missing, err := ostree.MutableTreeFromChecksum(r, sum(1), com.RootMeta)
	require.NoError(t, err)
	require.Error(t, missing.SetContentsChecksum(sum(2)), "its dirtree is not there")
}
