package ostree_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ostree-container/ostree-container/ostree"
)

func TestCheckoutTree(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	r := newRepo(t, ostree.ModeArchive)
	root, _, err := r.ReadTree(ctx, judgeCommit(t, r.Path(), "main", writeTree(t, sample)))
	require.NoError(t, err)
	usr, err := root.Descend(ctx, "usr")
	require.NoError(t, err)
	dir := t.TempDir()
	user := &ostree.CheckoutTreeOptions{Mode: ostree.CheckoutUser}
	require.NoError(t, r.CheckoutTree(ctx, usr, filepath.Join(dir, "out"), user))
	a := filepath.Join(dir, "out/bin/a")
	b, err := os.ReadFile(a)
	require.NoError(t, err)
	assert.Equal(t, "a", string(b))

	// The cache of an archive repository, until nothing is a link into it.
	cached := func() (n int) {
		files, err := filepath.Glob(filepath.Join(r.Path(), "uncompressed-objects-cache", "*", "*.file"))
		require.NoError(t, err)
		return len(files)
	}
	var st unix.Stat_t
	require.NoError(t, unix.Stat(a, &st))
	assert.Equal(t, uint64(2), uint64(st.Nlink))
	assert.Equal(t, 3, cached())
	require.NoError(t, os.Remove(a))
	require.NoError(t, r.CheckoutGC(ctx))
	assert.Equal(t, 2, cached())
	require.NoError(t, r.CheckoutGC(ctx))

	require.ErrorIs(t, r.CheckoutTree(ctx, usr, filepath.Join(dir, "out"), user), ostree.ErrExists)
	user.Overwrite = ostree.OverwriteUnionFiles
	require.NoError(t, r.CheckoutTree(ctx, usr, filepath.Join(dir, "out"), user))
	_, err = os.Stat(a)
	require.NoError(t, err)
	user.Overwrite = ostree.OverwriteUnionIdentical
	require.ErrorIs(t, r.CheckoutTree(ctx, usr, filepath.Join(dir, "out"), user), ostree.ErrInvalidArgument)
	require.ErrorIs(t, r.CheckoutTree(ctx, usr, "a\x00", nil), ostree.ErrInvalidArgument)
	require.ErrorIs(t, r.CheckoutTree(ctx, nil, dir, nil), ostree.ErrClosed)
}

func TestTreeRepoAndMetadata(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	made := newRepo(t, ostree.ModeBareUser)
	c := judgeCommit(t, made.Path(), "main", writeTree(t, sample))
	r, err := ostree.OpenRepo(ctx, made.Path())
	require.NoError(t, err)
	root, _, err := r.ReadTree(ctx, c)
	require.NoError(t, err)
	assert.Same(t, r, root.Repo())

	tx, err := r.Begin(ctx)
	require.NoError(t, err)
	defer tx.Abort()
	b, err := (&ostree.DirMeta{UID: 7, GID: 8, Mode: 0o40700}).Bytes()
	require.NoError(t, err)
	meta, err := r.WriteMetadata(ctx, ostree.ObjectDirMeta, "", b)
	require.NoError(t, err)
	require.NoError(t, root.SetMetadata(ctx, meta))
	assert.Equal(t, meta, root.MetadataChecksum())
	got, err := r.WriteCommit(ctx, root, nil)
	require.NoError(t, err)
	_, err = tx.Commit(ctx)
	require.NoError(t, err)
	assert.Contains(t, judge(t, "ls", "--repo", r.Path(), got), "d00700 7 8      0 /\n")
	assert.Equal(t, judge(t, "ls", "-R", "-C", "--repo", r.Path(), c, "/usr"), judge(t, "ls", "-R", "-C", "--repo", r.Path(), got, "/usr"))

	require.ErrorIs(t, root.SetMetadata(ctx, c), ostree.ErrNotFound)
	file, err := root.Descend(ctx, "zero")
	require.NoError(t, err)
	require.ErrorIs(t, file.SetMetadata(ctx, meta), ostree.ErrInvalidArgument)
	require.ErrorIs(t, (*ostree.Tree)(nil).SetMetadata(ctx, meta), ostree.ErrClosed)
	assert.Nil(t, (*ostree.Tree)(nil).Repo())

	require.NoError(t, r.Close())
	other := root.Repo() // a reference of its own
	require.NotNil(t, other)
	defer other.Close()
	assert.Equal(t, made.Path(), other.Path())
}

func TestScanHardlinks(t *testing.T) {
	t.Parallel()
	needRoot(t)
	ctx := t.Context()
	r := newRepo(t, ostree.ModeBare)
	c := judgeCommit(t, r.Path(), "main", writeTree(t, sample))
	dir := filepath.Join(t.TempDir(), "out")
	judge(t, "checkout", "-H", "--repo", r.Path(), c, dir)
	commit := func(scan bool) ostree.TransactionStats {
		tx, err := r.Begin(ctx)
		require.NoError(t, err)
		defer tx.Abort()
		if scan {
			require.NoError(t, tx.ScanHardlinks(ctx))
		}
		m := ostree.NewMutableTree()
		require.NoError(t, r.WriteDirectoryToMTree(ctx, dir, m, nil))
		_, err = r.WriteMTree(ctx, m)
		require.NoError(t, err)
		stats, err := tx.Commit(ctx)
		require.NoError(t, err)
		require.ErrorIs(t, tx.ScanHardlinks(ctx), ostree.ErrNoTransaction)
		return stats
	}
	without, with := commit(false), commit(true)
	assert.Equal(t, uint(0), without.DevInoCacheHits)
	assert.Equal(t, uint(4), with.DevInoCacheHits)
	assert.Equal(t, uint(0), with.ContentObjectsWritten)
}
