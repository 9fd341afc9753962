package ostree_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/ostree"
)

func TestDiffDirs(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	r := newRepo(t, ostree.ModeBareUser)
	dir := writeTree(t, sample)
	c := judgeCommit(t, r.Path(), "main", dir)
	root, _, err := r.ReadTree(ctx, c)
	require.NoError(t, err)
	zero := uint32(0)
	opts := &ostree.DiffOptions{IgnoreXattrs: true, OwnerUID: &zero, OwnerGID: &zero}

	same, err := ostree.DiffDirs(ctx, ostree.DiffDir{Tree: root}, ostree.DiffDir{Path: dir}, opts)
	require.NoError(t, err)
	assert.Equal(t, &ostree.Diff{}, same)

	require.NoError(t, os.WriteFile(filepath.Join(dir, "usr/bin/a"), []byte("other"), 0o644))
	require.NoError(t, os.Remove(filepath.Join(dir, "zero")))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "usr/new"), nil, 0o644))
	d, err := ostree.DiffDirs(ctx, ostree.DiffDir{Tree: root}, ostree.DiffDir{Path: dir}, opts)
	require.NoError(t, err)
	require.Len(t, d.Modified, 1)
	was, err := root.Descend(ctx, "usr/bin/a")
	require.NoError(t, err)
	sum, err := was.Checksum(ctx)
	require.NoError(t, err)
	assert.Equal(t, "/usr/bin/a", d.Modified[0].Path)
	assert.Equal(t, sum, d.Modified[0].From)
	assert.Equal(t, []string{"/zero"}, d.Removed)
	assert.Equal(t, []string{"/usr/new"}, d.Added)

	// Directories below the root, paths relative to them.
	usr, err := root.Descend(ctx, "usr")
	require.NoError(t, err)
	d, err = ostree.DiffDirs(ctx, ostree.DiffDir{Path: filepath.Join(dir, "usr")}, ostree.DiffDir{Tree: usr}, opts)
	require.NoError(t, err)
	assert.Equal(t, []string{"/new"}, d.Removed)
	assert.Equal(t, "/bin/a", d.Modified[0].Path)
	assert.Equal(t, sum, d.Modified[0].To)
	lib, err := root.Descend(ctx, "usr/lib")
	require.NoError(t, err)
	d, err = ostree.DiffDirs(ctx, ostree.DiffDir{Tree: lib}, ostree.DiffDir{Tree: usr}, nil)
	require.NoError(t, err)
	assert.Equal(t, []string{"/x"}, d.Removed)

	big := uint32(1 << 31)
	for name, c := range map[string]struct {
		from, to ostree.DiffDir
		opts     *ostree.DiffOptions
		want     error
	}{
		"neither":  {ostree.DiffDir{}, ostree.DiffDir{Path: dir}, nil, ostree.ErrInvalidArgument},
		"both":     {ostree.DiffDir{Path: dir}, ostree.DiffDir{Path: dir, Tree: root}, nil, ostree.ErrInvalidArgument},
		"none":     {ostree.DiffDir{Path: dir + "/none"}, ostree.DiffDir{Tree: root}, nil, ostree.ErrNotFound},
		"NUL":      {ostree.DiffDir{Path: "a\x00"}, ostree.DiffDir{Tree: root}, nil, ostree.ErrInvalidArgument},
		"owner":    {ostree.DiffDir{Path: dir}, ostree.DiffDir{Tree: root}, &ostree.DiffOptions{OwnerUID: &big}, ostree.ErrInvalidArgument},
		"of owner": {ostree.DiffDir{Path: dir}, ostree.DiffDir{Tree: root}, &ostree.DiffOptions{OwnerGID: &big}, ostree.ErrInvalidArgument},
	} {
		_, err := ostree.DiffDirs(ctx, c.from, c.to, c.opts)
		require.ErrorIs(t, err, c.want, name)
	}
	_, err = r.Diff(ctx, "", c, &ostree.DiffOptions{OwnerUID: &big})
	require.ErrorIs(t, err, ostree.ErrInvalidArgument)
}

// TestDiffModified is about what is modified but not a file in both trees.
func TestDiffModified(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	r := newRepo(t, ostree.ModeBareUser)
	dir := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "mode"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "type"), nil, 0o644))
	from := judgeCommit(t, r.Path(), "a", dir)
	require.NoError(t, os.Chmod(filepath.Join(dir, "mode"), 0o700))
	require.NoError(t, os.Remove(filepath.Join(dir, "type")))
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "type/below"), 0o755))
	to := judgeCommit(t, r.Path(), "b", dir)
	meta := func(rev string) string {
		c, _, err := r.LoadCommit(ctx, rev)
		require.NoError(t, err)
		e, err := r.LookupPath(ctx, c.RootTree, "mode")
		require.NoError(t, err)
		return e.Meta
	}
	d, err := r.Diff(ctx, from, to, nil)
	require.NoError(t, err)
	assert.ElementsMatch(t, []ostree.DiffModified{{Path: "/mode", From: meta(from), To: meta(to)}, {Path: "/type"}}, d.Modified)
	assert.Empty(t, d.Added)
	assert.Empty(t, d.Removed)
}
