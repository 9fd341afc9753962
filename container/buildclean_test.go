package container_test

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ostree-container/ostree-container/container"
	ti "github.com/ostree-container/ostree-container/container/internal/testimage"
)

func writeTree(t testing.TB, root string, files ...string) {
	t.Helper()
	for _, name := range files {
		path := filepath.Join(root, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte("x"), 0o644))
	}
}

func TestCleanBuild(t *testing.T) {
	t.Parallel()
	root, host := t.TempDir(), t.TempDir()
	require.NoError(t, container.CleanBuild(t.Context(), root), "nothing is there")
	writeTree(t, host, "precious")
	writeTree(t, root, "run/a", "run/systemd/resolv", "sysroot/tmp/x", "var/tmp/foo/bar/a", "var/cache/dnf/b", "var/lib/keep", "usr/keep")
	// As OSTree lays it out: a link that stays inside. One that leads out is followed inside, and so goes nowhere.
	require.NoError(t, os.Symlink("sysroot/tmp", filepath.Join(root, "tmp")))
	require.NoError(t, os.Symlink(host, filepath.Join(root, "run/out")))
	require.NoError(t, container.CleanBuild(t.Context(), root))
	for _, dir := range []string{"run", "sysroot/tmp", "var/tmp", "var/cache"} {
		entries, err := os.ReadDir(filepath.Join(root, dir))
		require.NoError(t, err)
		assert.Empty(t, entries, dir)
	}
	assert.FileExists(t, filepath.Join(root, "var/lib/keep"))
	assert.FileExists(t, filepath.Join(root, "usr/keep"))
	assert.FileExists(t, filepath.Join(host, "precious"))

	// Not var/tmp, below which host may be.
	require.NoError(t, os.Remove(filepath.Join(root, "var/cache")))
	require.NoError(t, os.Symlink(host, filepath.Join(root, "var/cache")))
	require.NoError(t, container.CleanBuild(t.Context(), root))
	assert.FileExists(t, filepath.Join(host, "precious"))

	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	writeTree(t, root, "run/a")
	require.ErrorIs(t, container.CleanBuild(canceled, root), context.Canceled)
	assert.FileExists(t, filepath.Join(root, "run/a"))
}

// What the container runtime has mounted stays, at any depth.
func TestCleanBuildLeavesMountPoints(t *testing.T) {
	ti.NeedRoot(t)
	root := t.TempDir()
	writeTree(t, root, "run/secrets/token", "run/other", "run/.containerenv", "tmp/d/mounted/file", "tmp/d/file")
	done := make(chan error)
	go func() { // in a mount namespace of this thread, which ends with it
		runtime.LockOSThread()
		done <- func() error {
			if err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_FS); err != nil {
				return err
			}
			if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
				return err
			}
			for _, name := range []string{"run/secrets", "run/.containerenv", "tmp/d/mounted"} {
				path := filepath.Join(root, name)
				if err := unix.Mount(path, path, "", unix.MS_BIND, ""); err != nil {
					return err
				}
			}
			return container.CleanBuild(context.Background(), root)
		}()
	}()
	require.NoError(t, <-done)
	for _, name := range []string{"run/secrets/token", "run/.containerenv", "tmp/d/mounted/file"} {
		assert.FileExists(t, filepath.Join(root, name))
	}
	for _, name := range []string{"run/other", "tmp/d/file"} {
		assert.NoFileExists(t, filepath.Join(root, name))
	}
}

func TestInOSTreeContainer(t *testing.T) {
	for name, tc := range map[string]struct {
		files map[string]string
		env   map[string]string
		want  bool
	}{
		"nothing":       {nil, nil, false},
		"repository":    {map[string]string{"sysroot/ostree/repo/config": "[core]\nrepo_version=1\nmode=bare-split-xattrs\n"}, nil, true},
		"format 0":      {map[string]string{"sysroot/config": "[core]\nmode=bare-split-xattrs\n"}, nil, true},
		"a host":        {map[string]string{"sysroot/ostree/repo/config": "[core]\nmode=bare\n", "run/.containerenv": ""}, nil, false},
		"no mode":       {map[string]string{"sysroot/ostree/repo/config": "[core]\n"}, nil, false},
		"booted":        {map[string]string{"sysroot/config": "[core]\nmode=bare-split-xattrs\n", "run/ostree-booted": ""}, nil, false},
		"container env": {map[string]string{"sysroot/config": "[core]\nmode=bare-split-xattrs\n", "run/ostree-booted": ""}, map[string]string{"container": ""}, true},
		"podman":        {map[string]string{"sysroot/config": "[core]\nmode=bare-split-xattrs\n", "run/ostree-booted": "", "run/.containerenv": ""}, nil, true},
		"docker":        {map[string]string{"sysroot/config": "[core]\nmode=bare-split-xattrs\n", ".dockerenv": ""}, map[string]string{"INVOCATION_ID": "x"}, true},
		"a unit":        {map[string]string{"sysroot/config": "[core]\nmode=bare-split-xattrs\n"}, map[string]string{"INVOCATION_ID": "x"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			for _, key := range []string{"container", "INVOCATION_ID"} {
				t.Setenv(key, "")
				require.NoError(t, os.Unsetenv(key))
			}
			for key, v := range tc.env {
				t.Setenv(key, v)
			}
			root := t.TempDir()
			for path, text := range tc.files {
				writeTree(t, root, path)
				require.NoError(t, os.WriteFile(filepath.Join(root, path), []byte(text), 0o644))
			}
			got, err := container.InOSTreeContainer(root)
			require.NoError(t, err)
			assert.Equal(t, tc.want, got)
		})
	}
	root := t.TempDir()
	writeTree(t, root, "sysroot/ostree/repo/config")
	_, err := container.InOSTreeContainer(root)
	require.ErrorContains(t, err, "/sysroot/ostree/repo/config", "not a key file")
}
