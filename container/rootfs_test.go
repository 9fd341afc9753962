package container_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ostree-container/ostree-container/container"
	"github.com/ostree-container/ostree-container/container/internal/oracle"
	ti "github.com/ostree-container/ostree-container/container/internal/testimage"
	"github.com/ostree-container/ostree-container/ostree"
)

const rootfsTime = 1_700_000_000

// rootfsDir is an operating system as a container build leaves it.
func rootfsDir(t testing.TB) string {
	t.Helper()
	ti.NeedRoot(t)
	ti.NeedTool(t, "ostree", "tar")
	dir := filepath.Join(t.TempDir(), "root")
	require.NoError(t, os.Mkdir(dir, 0o755))
	members := []ti.Member{
		ti.Dir("usr", 0o755), ti.Dir("usr/bin", 0o755), ti.File("usr/bin/tool", 0o4755, "tool").Owned(1, 2).With("user.note", "n").With("user.a", "\x00b"),
		ti.Hardlink("usr/bin/same", "usr/bin/tool"), ti.Symlink("usr/bin/link", "../nowhere").Owned(3, 4),
		ti.Dir("usr/lib", 0o755), ti.Dir("usr/lib/modules", 0o755), ti.Dir("usr/lib/modules/6.1.0-x", 0o755), ti.File("usr/lib/modules/6.1.0-x/vmlinuz", 0o644, "kernel"),
		ti.BigFile("usr/lib/big", 0o644, 3<<20, 1), ti.File("usr/lib/empty", 0o600, ""), ti.Dir("usr/lib/own", 0o2750).Owned(5, 6).With("user.dir", "d"),
		ti.Dir("etc", 0o755), ti.File("etc/shadow", 0o000, "root"), ti.File("etc/hostname", 0o644, ""), ti.File("etc/resolv.conf", 0o644, ""), ti.Dir("etc/d", 0o700), ti.File("etc/d/é", 0o644, "é"),
		ti.Dir("tmp", 0o1777), ti.File("tmp/x", 0o644, "x"), ti.Dir("run", 0o755), ti.Dir("run/lock", 0o755), ti.Dir("proc", 0o555), ti.Dir("sys", 0o555), ti.Dir("dev", 0o755), ti.File("dev/console", 0o600, ""),
		ti.Dir("sysroot", 0o755), ti.Dir("sysroot/ostree", 0o755), ti.File("sysroot/ostree/object", 0o644, "o"), ti.Symlink("ostree", "sysroot/ostree"),
		ti.Dir("var", 0o755), ti.Dir("var/lib", 0o755), ti.File("var/lib/state", 0o644, "s"), ti.Symlink("bin", "usr/bin"),
	}
	archive := filepath.Join(t.TempDir(), "tar")
	require.NoError(t, os.WriteFile(archive, ti.Tar(members...), 0o600))
	ti.Run(t, "tar", "-x", "-p", "--same-owner", "--xattrs", "--xattrs-include=*", "-f", archive, "-C", dir)
	return dir
}

// prepared is a copy of a tree with everything moved and removed by hand, as ostree commit wants it.
func prepared(t testing.TB, dir string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "prepared")
	ti.Run(t, "cp", "-a", dir, to)
	ti.Run(t, "sh", "-ec", "cd "+to+"; mv etc usr/etc; rm usr/etc/hostname usr/etc/resolv.conf; rm -rf tmp/* run/* dev/* sysroot/*")
	return to
}

func TestCommitRootfsEqualsOstreeCommit(t *testing.T) {
	t.Parallel()
	dir := rootfsDir(t)
	reference := bareRepo(t)
	want := strings.TrimSpace(ti.Run(t, "ostree", "--repo="+reference, "commit", "--branch=os", "--no-bindings", "--bootable", "--timestamp=@1700000000", "--tree=dir="+prepared(t, dir)))
	require.NoError(t, unix.Mknod(filepath.Join(dir, "usr/lib/null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
	require.NoError(t, unix.Mkfifo(filepath.Join(dir, "usr/lib/fifo"), 0o600))
	mounted := filepath.Join(dir, "usr/lib/own/mounted")
	require.NoError(t, os.Mkdir(mounted, 0o700))
	ti.Run(t, "mount", "-t", "tmpfs", "none", mounted)
	unmount := sync.OnceValue(func() error { return unix.Unmount(mounted, unix.MNT_DETACH) })
	t.Cleanup(func() { assert.NoError(t, unmount()) })
	require.NoError(t, os.WriteFile(filepath.Join(mounted, "secret"), nil, 0o600))
	for _, mode := range []ostree.Mode{ostree.ModeBare, ostree.ModeBareUser, ostree.ModeArchive} {
		repo, repoDir := newRepo(t, mode)
		skipped := map[string]string{}
		commit, err := container.CommitRootfs(t.Context(), repo, dir, &container.RootfsOptions{
			Created: time.Unix(rootfsTime, 999), Skipped: func(path, why string) { skipped[path] = why },
		})
		require.NoError(t, err)
		other, mounted := "is neither file, directory nor symbolic link", "is empty, for a container builder to mount its own there"
		assert.Equal(t, map[string]string{
			"/usr/lib/null": other, "/usr/lib/fifo": other, "/usr/lib/own/mounted": "is another file system", "/tmp/x": "is made at boot",
			"/run/lock": "is made at boot", "/dev/console": "is made at boot", "/sysroot/ostree": "is made at boot",
			"/etc/hostname": mounted, "/etc/resolv.conf": mounted,
		}, skipped)
		// What was mounted there leaves its directory, which the other commit has not.
		list := ti.Run(t, "ostree", "--repo="+repoDir, "ls", "-R", "-X", "-C", commit)
		assert.Contains(t, list, "/usr/lib/own/mounted\n")
		assert.NotContains(t, list, "secret")
		oracle.Fsck(t, repoDir)
		for _, path := range []string{"/usr/bin", "/usr/lib/modules", "/usr/etc", "/var", "/tmp", "/sysroot"} {
			listing := []string{"ls", "-R", "-X", "-C", commit, path}
			ours := ti.Run(t, "ostree", append([]string{"--repo=" + repoDir}, listing...)...)
			listing[4] = want
			assert.Equal(t, ti.Run(t, "ostree", append([]string{"--repo=" + reference}, listing...)...), ours, path)
		}
	}
	// Without it the whole tree is that of ostree.
	require.NoError(t, unmount())
	require.NoError(t, os.Remove(mounted))
	repo, repoDir := newRepo(t, ostree.ModeBareUser)
	got, err := container.CommitRootfs(t.Context(), repo, dir, &container.RootfsOptions{Created: time.Unix(rootfsTime, 0)})
	require.NoError(t, err)
	assert.Equal(t, treeOf(t, reference, want), treeOf(t, repoDir, got))
	for _, key := range []string{"ostree.bootable", "ostree.linux"} {
		show := []string{"show", "--print-metadata-key=" + key}
		assert.Equal(t, ti.Run(t, "ostree", append(show, "--repo="+reference, want)...), ti.Run(t, "ostree", append(show, "--repo="+repoDir, got)...))
	}
}

func TestCommitRootfsLabels(t *testing.T) {
	t.Parallel()
	dir := rootfsDir(t)
	ti.NeedTool(t, "setfattr")
	for _, x := range []string{"user.note usr/bin/tool", "user.a usr/bin/tool", "user.dir usr/lib/own"} { // an ostree of 2022 does not sort several (B21)
		ti.Run(t, "sh", "-ec", "cd "+dir+"; setfattr -x "+x)
	}
	for _, m := range policyMembers("etc", smallPolicy) {
		path := filepath.Join(dir, m.Name)
		if m.Type == ti.TypeDir {
			require.NoError(t, os.MkdirAll(path, 0o755))
		} else {
			require.NoError(t, os.WriteFile(path, m.Content, 0o644))
		}
	}
	reference := bareRepo(t)
	tree := prepared(t, dir)
	want := strings.TrimSpace(ti.Run(t, "ostree", "--repo="+reference, "commit", "--branch=os", "--no-bindings", "--bootable", "--timestamp=@1700000000",
		"--selinux-policy="+tree, "--tree=dir="+tree))
	for _, mode := range []ostree.Mode{ostree.ModeBare, ostree.ModeBareUser} {
		repo, repoDir := newRepo(t, mode)
		got, err := container.CommitRootfs(t.Context(), repo, dir, &container.RootfsOptions{Created: time.Unix(rootfsTime, 0), SELinux: true})
		require.NoError(t, err)
		assert.Equal(t, treeOf(t, reference, want), treeOf(t, repoDir, got))
		oracle.Fsck(t, repoDir)
	}
}

// The image of a tree is the image of its commit, always the same, and the reference takes the same commit out of it.
func TestEncapsulateRootfs(t *testing.T) {
	t.Parallel()
	dir := rootfsDir(t)
	meta := func() *container.ContentMeta {
		return &container.ContentMeta{
			Layers:  []container.ContentLayer{{ID: "os", Name: "os"}, {ID: "kernel", Name: "kernel"}, {ID: "config", Name: "config"}, {ID: "big", Name: "big"}},
			Mapping: map[string]string{"/": "os", "/usr/lib/modules": "kernel", "/etc": "config", "/usr/lib/big": "big"},
		}
	}
	rootfs := &container.RootfsOptions{Created: time.Unix(rootfsTime, 0), Strict: true}
	repo, _ := newRepo(t, ostree.ModeBare)
	commit, err := container.CommitRootfs(t.Context(), repo, dir, rootfs)
	require.NoError(t, err)
	out := t.TempDir()
	want, err := container.Encapsulate(t.Context(), repo, commit, ociRef(t, out+"/commit:x"), &container.EncapsulateOptions{ContentMeta: meta()})
	require.NoError(t, err)
	for n, into := range []*ostree.Repo{nil, nil, repo} {
		got, err := container.EncapsulateRootfs(t.Context(), into, dir, ociRef(t, out+"/rootfs:x"), rootfs, &container.EncapsulateOptions{ContentMeta: meta(), Jobs: n + 1})
		require.NoError(t, err)
		assert.Equal(t, want, got)
	}
	manifest, config := loadImage(t, out+"/rootfs:x")
	require.Len(t, manifest.Layers, 6, "commit, a component each, and one for new ones")
	assert.Equal(t, "true", config.Config.Labels["ostree.bootable"])
	assert.Equal(t, "6.1.0-x", config.Config.Labels["ostree.linux"])
	assert.Equal(t, int64(rootfsTime), config.Created.Unix())
	for n, name := range map[string]string{"kernel": "usr/lib/modules/6.1.0-x/vmlinuz", "config": "etc/shadow", "big": "usr/lib/big"} {
		var found []string
		for _, l := range manifest.Layers[1:] {
			_, members := blobOf(t, out+"/rootfs", l)
			for _, m := range members {
				if strings.TrimPrefix(m.Name, "./") == name {
					found = append(found, l.Annotations["ostree.components"])
				}
			}
		}
		assert.Equal(t, []string{n}, found)
	}
	assert.Equal(t, commit, unencapsulated(t, out+"/rootfs:x"))
	judged := bareRepo(t)
	ti.Run(t, ti.Judge(t), "container", "unencapsulate", "--quiet", "--repo", judged, "--write-ref", "os", "ostree-unverified-image:oci:"+out+"/rootfs:x")
	assert.Equal(t, commit, oracle.Refs(t, judged)["os"])
	oracle.Fsck(t, judged)
}

// Nothing names the commit: a prune waits until the image is written.
func TestEncapsulateRootfsBesideAPrune(t *testing.T) {
	t.Parallel()
	dir := rootfsDir(t)
	repo, repoDir := newRepo(t, ostree.ModeBareUser)
	ti.Run(t, "ostree", "--repo="+repoDir, "config", "set", "core.lock-timeout-secs", "0")
	pruned := 0
	_, err := container.EncapsulateRootfs(t.Context(), repo, dir, ociRef(t, t.TempDir()+"/out:x"), nil, &container.EncapsulateOptions{
		Progress: func(container.Event) {
			if pruned++; pruned == 1 {
				out, err := exec.Command("ostree", "--repo="+repoDir, "prune", "--refs-only").CombinedOutput()
				assert.Error(t, err, "%s", out)
				assert.Contains(t, string(out), "Locking repo")
			}
		},
	})
	require.NoError(t, err)
	assert.NotZero(t, pruned)
	ti.Run(t, "ostree", "--repo="+repoDir, "prune", "--refs-only")
	assert.Empty(t, objects(t, repoDir), "now it is gone")
}

func TestCommitRootfsRefuses(t *testing.T) {
	t.Parallel()
	for name, bad := range map[string]struct {
		change string // shell
		opts   container.RootfsOptions
		text   string
	}{
		"both /etc and /usr/etc": {"mkdir usr/etc; touch usr/etc/x", container.RootfsOptions{}, "both /etc and /usr/etc"},
		"etc is a link":          {"rm -r etc; ln -s usr/etc etc", container.RootfsOptions{}, "/etc is not a directory"},
		"two kernels":            {"cp -a usr/lib/modules/6.1.0-x usr/lib/modules/6.2", container.RootfsOptions{}, "several kernels: 6.1.0-x, 6.2"},
		"strict":                 {"mkfifo usr/lib/fifo", container.RootfsOptions{Strict: true}, "/usr/lib/fifo is neither"},
		"no policy":              {":", container.RootfsOptions{SELinux: true}, "no SELinux policy"},
		"odd name":               {`touch "usr/lib/$(printf '\377')"`, container.RootfsOptions{}, `\xff`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := rootfsDir(t)
			ti.Run(t, "sh", "-ec", "cd "+dir+"; "+bad.change)
			repo, repoDir := newRepo(t, ostree.ModeBareUser)
			_, err := container.CommitRootfs(t.Context(), repo, dir, &bad.opts)
			require.ErrorIs(t, err, container.ErrUnsuitableRootfs)
			require.ErrorContains(t, err, dir)
			require.ErrorContains(t, err, bad.text)
			oracle.Fsck(t, repoDir)
		})
	}
	repo, _ := newRepo(t, ostree.ModeBareUser)
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	_, err := container.CommitRootfs(t.Context(), repo, file, nil)
	require.ErrorIs(t, err, container.ErrUnsuitableRootfs)
	_, err = container.CommitRootfs(t.Context(), repo, file+"-none", nil)
	require.ErrorIs(t, err, os.ErrNotExist)
}

// An empty /etc beside /usr/etc is where a host has its own; a link out of the tree leads nowhere.
func TestCommitRootfsDeployedTree(t *testing.T) {
	t.Parallel()
	dir := rootfsDir(t)
	tree := prepared(t, dir)
	require.NoError(t, os.Mkdir(tree+"/etc", 0o755))
	require.NoError(t, os.Symlink("/", tree+"/usr/lib/out"))
	repo, repoDir := newRepo(t, ostree.ModeBareUser)
	commit, err := container.CommitRootfs(t.Context(), repo, tree, nil)
	require.NoError(t, err)
	list := ti.Run(t, "ostree", "--repo="+repoDir, "ls", "-R", commit)
	assert.Contains(t, list, " /usr/etc/shadow\n")
	assert.NotContains(t, list, " /etc\n")
	assert.Contains(t, list, " /usr/lib/out -> /\n")
	assert.NotContains(t, list, "/usr/lib/out/")
}

// A tree with nothing but /etc, and one whose /usr is mounted.
func TestCommitRootfsWithoutUsr(t *testing.T) {
	t.Parallel()
	ti.NeedRoot(t)
	ti.NeedTool(t, "ostree", "mount")
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(dir+"/etc", 0o750))
	require.NoError(t, os.WriteFile(dir+"/etc/x", nil, 0o600))
	for _, mounted := range []bool{false, true} {
		if mounted {
			require.NoError(t, os.Mkdir(dir+"/usr", 0o700))
			ti.Run(t, "mount", "-t", "tmpfs", "none", dir+"/usr")
			t.Cleanup(func() { assert.NoError(t, unix.Unmount(dir+"/usr", unix.MNT_DETACH)) })
		}
		repo, repoDir := newRepo(t, ostree.ModeBareUser)
		commit, err := container.CommitRootfs(t.Context(), repo, dir, nil)
		require.NoError(t, err)
		list := ti.Run(t, "ostree", "--repo="+repoDir, "ls", "-R", commit, "/usr")
		assert.Equal(t, "d00755 0 0      0 /usr\nd00750 0 0      0 /usr/etc\n-00600 0 0      0 /usr/etc/x\n", list)
		oracle.Fsck(t, repoDir)
	}
}
