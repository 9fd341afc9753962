package container_test

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ostree-container/ostree-container/container"
	"github.com/ostree-container/ostree-container/container/internal/fsverity"
	"github.com/ostree-container/ostree-container/container/internal/oracle"
	ti "github.com/ostree-container/ostree-container/container/internal/testimage"
	"github.com/ostree-container/ostree-container/ostree"
)

// contentFiles are the content objects that are regular files, below objects/.
func contentFiles(t testing.TB, repo string) []string {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(repo, "objects/??/*.file"))
	require.NoError(t, err)
	var files []string
	for _, path := range all {
		if fi, err := os.Lstat(path); assert.NoError(t, err) && fi.Mode().IsRegular() {
			files = append(files, path)
		}
	}
	return files
}

// On a file system made with it: where the kernel has fs-verity every object gets it, as lsattr sees it, and is still read; elsewhere that
// is said, and nothing is changed.
func TestEnsureVerity(t *testing.T) {
	ti.NeedTool(t, "lsattr", "ostree")
	at := smallDisk(t, 64, "-O", "verity")
	repo, dir := repoOn(t, at, ostree.ModeBare)
	w := ti.Image{Layers: copyLayers()}.Write(t, t.TempDir(), "latest")
	mustPull(t, repo, w.Ref, container.ImporterOptions{})
	files := contentFiles(t, dir)
	require.NotEmpty(t, files)
	dry, err := container.EnsureVerity(t.Context(), repo, &container.VerityOptions{DryRun: true})
	require.NoError(t, err)
	_, missing := os.Stat("/sys/fs/ext4/features/verity")
	assert.Equal(t, &container.VerityResult{Enabled: int64(len(files)), Unsupported: missing != nil}, dry)
	result, err := container.EnsureVerity(t.Context(), repo, nil)
	if missing != nil {
		require.ErrorIs(t, err, ostree.ErrUnsupported)
		assert.ErrorContains(t, err, dir)
		for _, path := range files {
			assert.NotContains(t, strings.Fields(ti.Run(t, "lsattr", path))[0], "V", path)
		}
		oracle.Fsck(t, dir)
		t.Log("this kernel has no fs-verity: only the refusal was tested")
		return
	}
	require.NoError(t, err)
	assert.Equal(t, dry, result)
	for _, path := range append(files, filepath.Join(dir, "config")) {
		assert.Contains(t, strings.Fields(ti.Run(t, "lsattr", path))[0], "V", path)
		assert.ErrorIs(t, os.WriteFile(path, []byte("x"), 0o600), unix.EPERM, path)
	}
	again, err := container.EnsureVerity(t.Context(), repo, nil)
	require.NoError(t, err)
	assert.Equal(t, &container.VerityResult{Present: int64(len(files))}, again)
	oracle.Fsck(t, dir)
}

// Which files, in which order, and how an interrupted run goes on, does not depend on the kernel.
func TestEnsureVerityOfEveryObject(t *testing.T) {
	t.Parallel()
	w := ti.Image{Layers: copyLayers()}.Write(t, t.TempDir(), "latest")
	repo, dir := newRepo(t, modeHere())
	mustPull(t, repo, w.Ref, container.ImporterOptions{})
	files := contentFiles(t, dir)
	var mu sync.Mutex
	on := map[string]bool{}
	var order []string
	limit := 5
	name := func(fd int) string {
		path, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd))
		assert.NoError(t, err)
		return path
	}
	enable := func(fd int) (bool, error) {
		mu.Lock()
		defer mu.Unlock()
		path := name(fd)
		if on[path] {
			return false, nil
		}
		if limit == 0 {
			return false, unix.EIO
		}
		limit--
		on[path] = true
		order = append(order, path)
		return true, nil
	}
	enabled := func(fd int) (bool, error) {
		mu.Lock()
		defer mu.Unlock()
		return on[name(fd)], nil
	}
	_, err := container.EnsureVerityWith(t.Context(), repo, nil, enable, enabled)
	require.ErrorIs(t, err, unix.EIO)
	require.ErrorContains(t, err, "objects/")
	require.ErrorContains(t, err, dir)
	assert.NotContains(t, on, filepath.Join(dir, "config"))
	limit = -1
	want := &container.VerityResult{Present: 5, Enabled: int64(len(files)) - 5}
	got, err := container.EnsureVerityWith(t.Context(), repo, &container.VerityOptions{DryRun: true}, enable, enabled)
	require.NoError(t, err)
	assert.Equal(t, want, got)
	assert.Len(t, on, 5)
	got, err = container.EnsureVerityWith(t.Context(), repo, &container.VerityOptions{Jobs: 3}, enable, enabled)
	require.NoError(t, err)
	assert.Equal(t, want, got)
	assert.ElementsMatch(t, append(files, filepath.Join(dir, "config")), order)
	assert.Equal(t, filepath.Join(dir, "config"), order[len(order)-1], "it says that all were gone through")

	// A dry run sees where there is none, and whether what is written later gets it, in a repository without objects, too.
	_, emptyDir := newRepo(t, modeHere())
	for _, tc := range []struct {
		key, value string
		lasting    bool
	}{{"core.tombstone-commits", "false", false}, {"ex-integrity.composefs", "true", true}, {"ex-integrity.fsverity", "no", false}, {"ex-integrity.fsverity", "maybe", true}} {
		before, err := os.ReadFile(filepath.Join(emptyDir, "config"))
		require.NoError(t, err)
		ti.Run(t, "ostree", "--repo="+emptyDir, "config", "set", tc.key, tc.value)
		empty, err := ostree.OpenRepo(t.Context(), emptyDir)
		if err != nil && tc.key == "ex-integrity.composefs" { // trixie's libostree refuses such a repository
			require.ErrorContains(t, err, "composefs required, but libostree compiled without support")
			require.NoError(t, os.WriteFile(filepath.Join(emptyDir, "config"), before, 0o644))
			continue
		}
		require.NoError(t, err)
		none := func(int) (bool, error) { return false, fsverity.ErrUnsupported }
		got, err = container.EnsureVerityWith(t.Context(), empty, &container.VerityOptions{DryRun: true}, enable, none)
		require.NoError(t, err)
		assert.Equal(t, &container.VerityResult{Unsupported: true, Lasting: tc.lasting}, got, "%s=%s", tc.key, tc.value)
		require.NoError(t, empty.Close())
	}

	archive, _ := newRepo(t, ostree.ModeArchive)
	_, err = container.EnsureVerity(t.Context(), archive, nil)
	require.ErrorIs(t, err, ostree.ErrUnsupported)
}
