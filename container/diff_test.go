package container_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/container"
	ti "github.com/ostree-container/ostree-container/container/internal/testimage"
	"github.com/ostree-container/ostree-container/ostree"
)

func TestDiffCommits(t *testing.T) {
	t.Parallel()
	repo, repoDir := newRepo(t, modeHere())
	dir := t.TempDir()
	common := []ti.Member{ti.Dir("usr", 0o755), ti.File("usr/same", 0o644, "same")}
	image := func(tag string, members ...ti.Member) string {
		w := ti.Image{Layers: []ti.Layer{{Members: append(common[:2:2], members...)}}}.Write(t, dir, tag)
		mustPull(t, repo, w.Ref, container.ImporterOptions{})
		return w.Ref
	}
	from := image("from",
		ti.Dir("usr/dir", 0o755), ti.File("usr/dir/content", 0o644, "one"), ti.File("usr/dir/meta", 0o644, "m"), ti.File("usr/dir/size", 0o644, "12345"),
		ti.Symlink("usr/link", "a"), ti.Symlink("usr/type", "a"), ti.Dir("usr/gone", 0o755), ti.File("usr/gone/file", 0o644, "1234567"),
		ti.Dir("usr/mode", 0o755), ti.File("usr/dirname", 0o644, ""))
	to := image("to",
		ti.Dir("usr/dir", 0o755), ti.File("usr/dir/content", 0o644, "two"), ti.File("usr/dir/meta", 0o600, "m"), ti.File("usr/dir/size", 0o644, "1"),
		ti.Symlink("usr/link", "b"), ti.File("usr/type", 0o644, "file"), ti.Dir("usr/mode", 0o700), ti.File("usr/new", 0o644, "n"), ti.Dir("usr/dirname", 0o755))
	resolve := func(name string) string {
		commit, err := container.ResolveCommit(t.Context(), repo, name)
		require.NoError(t, err, name)
		return commit
	}
	a, b := resolve(from), resolve("ostree-unverified-image:"+to)
	assert.Equal(t, a, resolve(a))
	assert.Equal(t, a, resolve(imageRefOf(t, from)))
	for _, name := range []string{"oci:/no:x", "no/ref", strings.Repeat("0", 64), "", "\x01"} {
		_, err := container.ResolveCommit(t.Context(), repo, name)
		require.ErrorIs(t, err, container.ErrNoSuchImage, name)
	}

	d, err := container.DiffCommits(t.Context(), repo, a, b)
	require.NoError(t, err)
	assert.Equal(t, []container.DiffEntry{
		{Path: "/usr/dirname", Kind: "file", Change: container.DiffRemoved},
		{Path: "/usr/link", Kind: "symlink", Change: container.DiffModified},
		{Path: "/usr/new", Kind: "file", Change: container.DiffAdded, NewSize: 1},
		{Path: "/usr/type", Kind: "symlink", Change: container.DiffRemoved},
		{Path: "/usr/type", Kind: "file", Change: container.DiffAdded, NewSize: 4},
		{Path: "/usr/dir/content", Kind: "file", Change: container.DiffModified, OldSize: 3, NewSize: 3},
		{Path: "/usr/dir/meta", Kind: "file", Change: container.DiffMetadata, OldSize: 1, NewSize: 1},
		{Path: "/usr/dir/size", Kind: "file", Change: container.DiffModified, OldSize: 5, NewSize: 1},
		{Path: "/usr/dirname", Kind: "dir", Change: container.DiffAdded},
		{Path: "/usr/gone", Kind: "dir", Change: container.DiffRemoved},
		{Path: "/usr/gone/file", Kind: "file", Change: container.DiffRemoved, OldSize: 7},
		{Path: "/usr/mode", Kind: "dir", Change: container.DiffMetadata},
	}, d.Entries)
	assert.Equal(t, container.DiffCount{Path: "/", Added: 3, Removed: 4, Modified: 3, Metadata: 2, OldSize: 16, NewSize: 10}, d.Total())
	assert.Equal(t, []container.DiffCount{{Path: "/usr", Added: 3, Removed: 4, Modified: 3, Metadata: 2, OldSize: 16, NewSize: 10}}, d.ByDir(1))
	deep := d.ByDir(2)
	assert.Equal(t, "/usr/dir", deep[1].Path)
	assert.Equal(t, container.DiffCount{Path: "/usr/dir", Modified: 2, Metadata: 1, OldSize: 9, NewSize: 5}, deep[1])

	// The ostree command names the same paths, one that changed its type once and removed directories without what is in them.
	for line := range strings.Lines(ti.Run(t, "ostree", "--repo="+repoDir, "diff", a, b)) {
		path := strings.TrimSpace(line[1:])
		found := false
		for _, e := range d.Entries {
			found = found || e.Path == path
		}
		assert.True(t, found, "ostree diff has %s", line)
	}

	same, err := container.DiffCommits(t.Context(), repo, a, a)
	require.NoError(t, err)
	assert.Empty(t, same.Entries)

	// A file object is gone.
	sum := strings.Fields(ti.Run(t, "ostree", "--repo="+repoDir, "ls", "-C", b, "/usr/new"))[4]
	files, err := filepath.Glob(objectPath(repoDir, sum, "file*"))
	require.NoError(t, err)
	require.Len(t, files, 1)
	require.NoError(t, os.Remove(files[0]))
	_, err = container.DiffCommits(t.Context(), repo, a, b)
	require.ErrorIs(t, err, ostree.ErrNotFound)
	assert.Contains(t, err.Error(), `"/usr/new"`)
	assert.Contains(t, err.Error(), sum)
}
