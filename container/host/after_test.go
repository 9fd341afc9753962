package host_test

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ostree-container/ostree-container/container"
	"github.com/ostree-container/ostree-container/container/host"
	"github.com/ostree-container/ostree-container/container/imageref"
	ti "github.com/ostree-container/ostree-container/container/internal/testimage"
	"github.com/ostree-container/ostree-container/ostree"
)

// What fails after the boot order was written does not hide that it was.
func TestChangesThatFailAfterwards(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	ctx := t.Context()
	one, two := s.deploy(s.write("1", "a")), s.deploy(s.write("2", "b"))
	repair := s.breakRepo()
	order := func() []string {
		t.Helper()
		status := ti.Run(t, "ostree", "admin", "status", "--sysroot="+s.dir)
		var list []string
		for line := range strings.Lines(status) {
			for version, state := range map[string]string{"1": one.MergeCommit, "2": two.MergeCommit} {
				if strings.Contains(line, state) {
					list = append(list, version)
				}
			}
		}
		return list
	}

	r, err := host.Rollback(ctx, s.Sysroot, nil)
	require.ErrorContains(t, err, "the deployments are changed, but: ")
	require.NotNil(t, r)
	assert.Equal(t, one.MergeCommit, r.Next.Checksum)
	assert.Equal(t, []string{"1", "2"}, order())
	c, err := host.SetDefault(ctx, s.Sysroot, 1, nil)
	require.ErrorContains(t, err, "the deployments are changed, but: ")
	assert.True(t, c.Changed)
	assert.Equal(t, two.MergeCommit, c.Checksum)
	assert.Equal(t, []string{"2", "1"}, order())
	c, err = host.Undeploy(ctx, s.Sysroot, 1, nil)
	require.ErrorContains(t, err, "the deployments are changed, but: ")
	assert.True(t, c.Changed)
	assert.Equal(t, one.MergeCommit, c.Checksum)
	assert.Equal(t, []string{"2"}, order())

	opts := container.DeployOptions{PullOptions: s.options()}
	_, err = container.Deploy(ctx, s.Sysroot, "os", s.write("2", "b"), &opts)
	require.ErrorContains(t, err, "the image is deployed, but: ")
	assert.Equal(t, []string{"2", "2"}, order())
	require.NoError(t, s.Load(ctx))
	_, err = host.Undeploy(ctx, s.Sysroot, 0, nil)
	require.ErrorContains(t, err, "the deployments are changed, but: ")
	assert.Equal(t, []string{"2"}, order())

	r, err = host.Rollback(ctx, s.Sysroot, nil)
	require.ErrorIs(t, err, host.ErrNoRollback)
	assert.Nil(t, r, "nothing was changed")
	c, err = host.Undeploy(ctx, s.Sysroot, 1, nil)
	require.ErrorIs(t, err, host.ErrNoDeployment)
	assert.False(t, c.Changed)

	repair()
	ti.Run(t, "ostree", "fsck", "--quiet", "--repo="+s.dir+"/ostree/repo")
}

// breakRepo makes garbage collection fail, until repair: a directory of a commit with a ref is missing.
func (s *system) breakRepo() (repair func()) {
	s.t.Helper()
	repo := "--repo=" + s.dir + "/ostree/repo"
	tree := filepath.Join(s.images, "broken")
	require.NoError(s.t, os.Mkdir(tree, 0o755))
	require.NoError(s.t, os.WriteFile(filepath.Join(tree, "file"), nil, 0o644))
	ti.Run(s.t, "ostree", "commit", repo, "--branch=broken", tree)
	sum := strings.Fields(ti.Run(s.t, "ostree", "ls", repo, "-d", "-C", "broken", "/"))[4]
	require.NoError(s.t, os.Remove(filepath.Join(s.dir, "ostree/repo/objects", sum[:2], sum[2:]+".dirtree")))
	return func() {
		ti.Run(s.t, "ostree", "refs", repo, "--delete", "broken")
		ti.Run(s.t, "ostree", "prune", repo, "--refs-only", "--depth=0")
	}
}

func TestConflictingOptions(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	ref := s.write("1", "a")
	s.deploy(ref)
	for name, do := range map[string]func(*host.UpgradeOptions) error{
		"upgrade": func(o *host.UpgradeOptions) error { _, err := host.Upgrade(t.Context(), s.Sysroot, o); return err },
		"switch":  func(o *host.UpgradeOptions) error { _, err := host.Switch(t.Context(), s.Sysroot, ref, o); return err },
		"target":  func(o *host.UpgradeOptions) error { _, _, err := host.Target(s.Sysroot, o); return err },
		"check":   func(o *host.UpgradeOptions) error { _, err := host.Check(t.Context(), s.Sysroot, o); return err },
		"apply": func(o *host.UpgradeOptions) error {
			_, err := host.ApplyDownloaded(t.Context(), s.Sysroot, o)
			return err
		},
	} {
		for _, mode := range []host.SoftReboot{host.SoftRebootAuto, host.SoftRebootRequired} {
			require.ErrorIs(t, do(&host.UpgradeOptions{SoftReboot: mode, DownloadOnly: true, PullOptions: s.options()}), host.ErrConflict, name)
		}
		require.ErrorIs(t, do(&host.UpgradeOptions{SoftReboot: "sometimes", PullOptions: s.options()}), host.ErrSoftRebootMode, name)
	}
	assert.Len(t, s.Deployments(), 1)
}

// twoStateroots returns a system with deployments of one image, whose name is returned, in the stateroots other and os, in this order.
func twoStateroots(t *testing.T) (*system, imageref.OSTreeImageReference) {
	t.Helper()
	s := newSystem(t)
	ti.Run(t, "ostree", "admin", "os-init", "--sysroot="+s.dir, "other")
	ref := s.write("1", "a")
	s.deploy(ref)
	opts := container.DeployOptions{PullOptions: s.options()}
	_, err := container.Deploy(t.Context(), s.Sysroot, "other", ref, &opts)
	require.NoError(t, err)
	return s, ref
}

// Deployments of two stateroots with one kernel change places: the boot loader's entries still lead to deployments.
func TestStaterootsChangePlaces(t *testing.T) {
	t.Parallel()
	s, _ := twoStateroots(t)
	ctx := t.Context()
	for _, want := range []string{"os", "other", "os"} {
		_, err := host.SetDefault(ctx, s.Sysroot, 1, nil)
		require.NoError(t, err)
		status := ti.Run(t, "ostree", "admin", "status", "--sysroot="+s.dir)
		assert.Regexp(t, `^[* ] `+want+` [0-9a-f]{64}\.0`, status)
		entries, err := filepath.Glob(filepath.Join(s.dir, "boot/loader/entries/*.conf"))
		require.NoError(t, err)
		require.Len(t, entries, 2)
		var defaults string
		for _, entry := range entries { // the last is the default
			text, err := os.ReadFile(entry)
			require.NoError(t, err)
			_, link, ok := strings.Cut(string(text), "ostree=")
			require.True(t, ok)
			link, err = filepath.EvalSymlinks(filepath.Join(s.dir, strings.Fields(link)[0]))
			require.NoError(t, err)
			require.DirExists(t, link)
			defaults = link
		}
		assert.Contains(t, defaults, "/deploy/"+want+"/deploy/")
	}
}

// An old libostree writes the order twice. Where it fails in between, that is said, and what is pinned is still there.
func TestStaterootsChangePlacesHalfway(t *testing.T) {
	t.Parallel()
	s, ref := twoStateroots(t)
	ctx := t.Context()
	s.deploy(ref)
	_, err := host.SetPinned(ctx, s.Sysroot, []int{2}, ostree.Pinned, nil)
	require.NoError(t, err)
	old := !ostree.AtLeast(2024, 6)
	unmount := func() {}
	if old {
		loader, err := filepath.EvalSymlinks(filepath.Join(s.dir, "boot/loader"))
		require.NoError(t, err)
		entries := filepath.Join(loader, "entries") // in the place of which the second write makes its own
		require.NoError(t, unix.Mount(entries, entries, "", unix.MS_BIND, ""))
		unmount = sync.OnceFunc(func() { assert.NoError(t, unix.Unmount(entries, unix.MNT_DETACH)) })
		t.Cleanup(unmount)
	}
	c, err := host.SetDefault(ctx, s.Sysroot, 1, nil)
	unmount()
	assert.True(t, c.Changed)
	status := ti.Run(t, "ostree", "admin", "status", "--sysroot="+s.dir)
	assert.Regexp(t, `^[* ] other [0-9a-f]{64}\.0`, status)
	assert.Contains(t, status, "Pinned: yes")
	if !old {
		require.NoError(t, err)
		return
	}
	require.ErrorContains(t, err, "the deployments are changed, but: os ")
	assert.ErrorContains(t, err, ".1 is none any more: ")
	assert.Equal(t, 2, strings.Count(status, "origin: "))
}
