package container_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ostree-container/ostree-container/container"
	ti "github.com/ostree-container/ostree-container/container/internal/testimage"
)

func TestCheckInodes(t *testing.T) {
	t.Parallel()
	repo, repoDir := newRepo(t, modeHere())
	empty, err := container.CheckInodes(t.Context(), repo, nil)
	require.NoError(t, err)
	assert.Equal(t, &container.InodeCheck{Collisions: []uint64{}}, empty)
	w := ti.Image{Layers: []ti.Layer{goodLayer("a")}}.Write(t, t.TempDir(), "latest")
	mustPull(t, repo, w.Ref, container.ImporterOptions{})
	inodes := map[uint64]bool{}
	for path := range objects(t, repoDir) {
		var st unix.Stat_t
		require.NoError(t, unix.Lstat(path, &st))
		inodes[st.Ino] = true
	}
	check, err := container.CheckInodes(t.Context(), repo, func(container.InodeCollision) { t.Error("none is expected") })
	require.NoError(t, err)
	assert.Equal(t, uint64(len(inodes)), check.Inode32+check.Inode64)
	require.NoError(t, os.MkdirAll(filepath.Join(repoDir, "objects/00"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(repoDir, "objects/00/nosuffix"), nil, 0o644))
	_, err = container.CheckInodes(t.Context(), repo, nil)
	require.ErrorContains(t, err, "Invalid object objects/00/nosuffix")
}
