package host_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ostree-container/ostree-container/container"
	"github.com/ostree-container/ostree-container/container/host"
	ti "github.com/ostree-container/ostree-container/container/internal/testimage"
)

// immutable keeps a directory from being touched, until release.
func immutable(t *testing.T, path string) (release func()) {
	t.Helper()
	const flag = 0x10 // FS_IMMUTABLE_FL of linux/fs.h
	dir, err := os.Open(path)
	require.NoError(t, err)
	set := func(to int) error { return unix.IoctlSetPointerInt(int(dir.Fd()), unix.FS_IOC_SETFLAGS, to) }
	flags, err := unix.IoctlGetInt(int(dir.Fd()), unix.FS_IOC_GETFLAGS)
	if err == nil {
		err = set(flags | flag)
	}
	if err != nil {
		t.Skip("directories cannot be made immutable here: ", err)
	}
	done := false
	release = func() {
		if !done {
			done = true
			assert.NoError(t, set(flags))
			assert.NoError(t, dir.Close())
		}
	}
	t.Cleanup(release)
	return release
}

// Where libostree fails after it has written the boot order, that is what is said, not that nothing happened.
func TestChangesThatFailAfterTheSwap(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	ctx := t.Context()
	one, two := s.deploy(s.write("1", "a")), s.deploy(s.write("2", "b"))
	three := s.write("3", "c")
	first := func() string {
		t.Helper()
		for line := range strings.Lines(ti.Run(t, "ostree", "admin", "status", "--sysroot="+s.dir)) {
			if words := strings.Fields(line); len(words) > 1 && strings.Contains(words[1], ".") {
				sum, _, _ := strings.Cut(words[1], ".")
				return sum
			}
		}
		return ""
	}
	require.Equal(t, two.MergeCommit, first())
	release := immutable(t, filepath.Join(s.dir, "ostree/deploy")) // whose time libostree changes after the swap
	r, err := host.Rollback(ctx, s.Sysroot, nil)
	require.ErrorContains(t, err, "the deployments are changed, but: ")
	require.NotNil(t, r)
	assert.Equal(t, one.MergeCommit, r.Next.Checksum)
	assert.Equal(t, one.MergeCommit, first())
	release()

	require.NoError(t, os.Chtimes(filepath.Join(s.dir, "ostree/deploy"), time.Now(), time.Now()))
	release = immutable(t, filepath.Join(s.dir, "ostree/deploy"))
	opts := container.DeployOptions{PullOptions: s.options()}
	_, err = container.Deploy(ctx, s.Sysroot, "os", three, &opts)
	require.ErrorContains(t, err, "the image is deployed, but: ")
	release()
	repo, err := s.Repo()
	require.NoError(t, err)
	state, err := container.QueryImage(ctx, repo, three.ImgRef)
	require.NoError(t, err)
	assert.Equal(t, state.MergeCommit, first())
	ti.Run(t, "ostree", "fsck", "--quiet", "--repo="+s.dir+"/ostree/repo")
}
