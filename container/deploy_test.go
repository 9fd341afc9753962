package container_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/container"
	"github.com/ostree-container/ostree-container/container/imageref"
	"github.com/ostree-container/ostree-container/container/internal/oracle"
	ti "github.com/ostree-container/ostree-container/container/internal/testimage"
	"github.com/ostree-container/ostree-container/container/registry"
	"github.com/ostree-container/ostree-container/ostree"
)

// osLayers is a system that libostree can deploy: kernel, initramfs, os-release, configuration.
func osLayers(version string) []ti.Layer {
	modules := "usr/lib/modules/6.1.0-" + version
	return []ti.Layer{
		{Compression: ti.GzipFast, Members: []ti.Member{
			ti.Dir("boot", 0o755), ti.Dir("sysroot", 0o755), ti.Dir("var", 0o755), ti.Dir("proc", 0o755), ti.Dir("dev", 0o755),
			ti.Dir("run", 0o755), ti.Dir("sys", 0o755), ti.Dir("tmp", 0o1777),
			ti.Symlink("bin", "usr/bin"), ti.Symlink("lib", "usr/lib"), ti.Symlink("lib64", "usr/lib64"), ti.Symlink("sbin", "usr/sbin"),
			ti.Symlink("ostree", "sysroot/ostree"),
			ti.Dir("usr", 0o755), ti.Dir("usr/bin", 0o755), ti.File("usr/bin/sh", 0o755, "#!sh\n"), ti.Dir("usr/lib", 0o755), ti.Dir("usr/lib64", 0o755),
			ti.Dir("usr/sbin", 0o755), ti.BigFile("usr/lib/shared", 0o644, 200_000, 7),
		}},
		{Compression: ti.GzipFast, Members: []ti.Member{
			ti.Dir("usr/lib", 0o755), ti.File("usr/lib/os-release", 0o644, "ID=test\nNAME=Test\nPRETTY_NAME=\"Test "+version+"\"\nVERSION_ID="+version+"\n"),
			ti.Dir("usr/lib/modules", 0o755), ti.Dir(modules, 0o755),
			ti.File(modules+"/vmlinuz", 0o755, "kernel "+version), ti.File(modules+"/initramfs.img", 0o644, "initramfs "+version),
			ti.Dir("etc", 0o755), ti.File("etc/changed", 0o644, "as delivered\n"), ti.File("etc/same", 0o644, "version "+version+"\n"),
			ti.File("etc/removed", 0o644, "x\n"), ti.Dir("etc/dir", 0o750), ti.File("etc/dir/file", 0o640, "f "+version+"\n").Owned(3, 4),
		}},
	}
}

func osImage(version string) ti.Image {
	return ti.Image{Layers: osLayers(version), Bootable: true, Labels: map[string]string{"org.opencontainers.image.version": version}}
}

// system is a sysroot as installers make it: not booted.
type system struct {
	*ostree.Sysroot
	t    testing.TB
	dir  string
	repo string
}

func newSystem(t testing.TB, stateroots ...string) *system {
	t.Helper()
	ti.NeedRoot(t)
	ti.NeedTool(t, "ostree")
	dir := filepath.Join(t.TempDir(), "sysroot")
	require.NoError(t, os.Mkdir(dir, 0o755))
	ti.Run(t, "ostree", "admin", "init-fs", "--modern", dir)
	for _, name := range stateroots {
		ti.Run(t, "ostree", "admin", "os-init", "--sysroot="+dir, name)
	}
	s := &system{t: t, dir: dir, repo: filepath.Join(dir, "ostree/repo")}
	s.Sysroot = openSysroot(t, dir)
	return s
}

func openSysroot(t testing.TB, dir string) *ostree.Sysroot {
	t.Helper()
	sysroot, err := ostree.NewSysroot(dir)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, sysroot.Close()) })
	require.NoError(t, sysroot.Load(t.Context()))
	return sysroot
}

// quickly trusts every image and asks a registry that is not there once.
func quickly(t testing.TB) *registry.Options {
	return &registry.Options{
		Access:     registry.Access{InsecureSkipTLSVerify: true, Auth: registry.AuthAnonymous},
		PolicyPath: policyFile(t),
		Retry:      registry.Retry{Attempts: 1},
	}
}

func (s *system) deploy(ref string, opts container.DeployOptions) (*container.LayeredImageState, error) {
	s.t.Helper()
	if opts.Registry == nil {
		opts.Registry = quickly(s.t)
	}
	return container.Deploy(s.t.Context(), s.Sysroot, "default", unverified(s.t, ref), &opts)
}

func (s *system) mustDeploy(ref string, opts container.DeployOptions) *container.LayeredImageState {
	s.t.Helper()
	state, err := s.deploy(ref, opts)
	require.NoError(s.t, err)
	s.sound()
	return state
}

// sound checks the repository and that nothing was left in it.
func (s *system) sound() {
	s.t.Helper()
	oracle.Fsck(s.t, s.repo)
	assert.Empty(s.t, leftovers(s.t, s.repo))
}

func (s *system) status() string {
	s.t.Helper()
	return ti.Run(s.t, "ostree", "admin", "status", "--sysroot="+s.dir)
}

// deployment is the directory of a deployment.
func (s *system) deployment(checksum string, serial int) string {
	return filepath.Join(s.dir, "ostree/deploy/default/deploy", fmt.Sprintf("%s.%d", checksum, serial))
}

func (s *system) read(elem ...string) string {
	s.t.Helper()
	text, err := os.ReadFile(filepath.Join(elem...))
	require.NoError(s.t, err)
	return string(text)
}

// options are the kernel arguments of the boot entries, the default one first, without ostree's own.
func (s *system) options() (out []string) {
	s.t.Helper()
	entries, err := filepath.Glob(filepath.Join(s.dir, "boot/loader/entries/*.conf"))
	require.NoError(s.t, err)
	byVersion := map[string]string{}
	for _, entry := range entries {
		version, options := "", ""
		for line := range strings.Lines(s.read(entry)) {
			line = strings.TrimSpace(line)
			if v, ok := strings.CutPrefix(line, "version "); ok {
				version = v
			}
			if v, ok := strings.CutPrefix(line, "options"); ok {
				var args []string
				for _, arg := range strings.Fields(v) {
					if !strings.HasPrefix(arg, "ostree=") {
						args = append(args, arg)
					}
				}
				options = strings.Join(args, " ")
			}
		}
		byVersion[version] = options
	}
	for n := len(byVersion); n > 0; n-- { // the greatest is the default
		options, ok := byVersion[fmt.Sprint(n)]
		require.True(s.t, ok, "boot entries %v", byVersion)
		out = append(out, options)
	}
	return out
}

// deploymentRefs are the commits that libostree keeps for deployments, ostree/BOOTVERSION/SUBBOOTVERSION/INDEX.
func deploymentRefs(refs map[string]string) (commits []string) {
	for _, name := range slices.Sorted(maps.Keys(refs)) {
		if strings.HasPrefix(name, "ostree/0/") || strings.HasPrefix(name, "ostree/1/") {
			commits = append(commits, refs[name])
		}
	}
	return commits
}

func TestDeploy(t *testing.T) {
	t.Parallel()
	s := newSystem(t, "default")
	w := osImage("1").Write(t, t.TempDir(), "latest")
	r := &recorder{t: t}
	state := s.mustDeploy(w.Ref, container.DeployOptions{PullOptions: container.PullOptions{Progress: r.event}, Kargs: []string{"root=LABEL=root", "quiet", "x=a b"}})
	assert.Equal(t, []string{
		"+resolve", "-resolve", "+import", "-import", "+merge", "-merge", "+gc", "-gc", "+deploy", "-deploy", "+cleanup", "-cleanup",
	}, r.phases())
	assert.Equal(t, "1", state.Version())
	assert.Equal(t, w.Digest(), state.ManifestDigest)
	mountPoint := trees(t, oracle.Rules{Var: "var"}, []ti.Layer{{Members: []ti.Member{ti.Dir("var", 0o755)}}}) // see TestMountPointOfVar
	want, _ := oracle.Merge(nil, append(trees(t, rulesHere(), osLayers("1")), mountPoint...)...)
	oracle.Same(t, want.List(), oracle.List(t, s.repo, state.MergeCommit), "merge commit")

	root := s.deployment(state.MergeCommit, 0)
	assert.Equal(t, "[origin]\ncontainer-image-reference=ostree-unverified-image:"+w.Ref+"\n", s.read(root+".origin"))
	assert.Equal(t, "kernel 1", s.read(root, "usr/lib/modules/6.1.0-1/vmlinuz"))
	assert.Equal(t, "as delivered\n", s.read(root, "etc/changed"))
	assert.Equal(t, []string{"root=LABEL=root quiet x=a b"}, s.options())
	status := s.status()
	assert.Contains(t, status, "default "+state.MergeCommit+".0")
	assert.Contains(t, status, "origin: <unknown origin type>", "what libostree 2022.7 says of a container")
	refs := oracle.Refs(t, s.repo)
	image, err := imageref.EscapeRef("ostree/container/image", unverified(t, w.Ref).ImgRef.String())
	require.NoError(t, err)
	assert.Equal(t, state.MergeCommit, refs[image])
	assert.Equal(t, []string{state.MergeCommit}, deploymentRefs(refs))
	assert.Len(t, refs, 4, "two layers, the image, the deployment: %v", refs)
	// The sysroot that was passed knows of it.
	require.Len(t, s.Deployments(), 1)
	ref, err := container.DeploymentImage(s.Deployments()[0])
	require.NoError(t, err)
	assert.Equal(t, unverified(t, w.Ref), *ref)
}

// The origin holds the reference in its canonical form; plain registry images have their short name.
func TestDeployOrigin(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w := osImage("1").Write(t, dir, "v1")
	reg := ti.NewRegistry(t, dir)
	target := func(text string) *imageref.OSTreeImageReference {
		ref, err := imageref.ParseOSTree(text)
		require.NoError(t, err)
		return &ref
	}
	for _, tc := range []struct {
		name, ref string
		target    *imageref.OSTreeImageReference
		origin    string
		image     string // the name under which it is kept
	}{
		{"registry", "ostree-unverified-image:" + reg.Ref("os", "v1"), nil, "ostree-unverified-registry:" + reg.Host() + "/os:v1", "docker://" + reg.Host() + "/os:v1"},
		{"digest", "ostree-unverified-registry:" + reg.Host() + "/os@" + w.Digest().String(), nil, "ostree-unverified-registry:" + reg.Host() + "/os@" + w.Digest().String(), "docker://" + reg.Host() + "/os@" + w.Digest().String()},
		{"target", "ostree-unverified-image:" + w.Ref, target("ostree-image-signed:docker://quay.example/os:stable"), "ostree-image-signed:docker://quay.example/os:stable", "docker://quay.example/os:stable"},
		{"target with remote", "ostree-unverified-image:" + w.Ref, target("ostree-remote-registry:fedora:quay.example/os"), "ostree-remote-image:fedora:docker://quay.example/os", "docker://quay.example/os"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newSystem(t, "default")
			ref, err := imageref.ParseOSTree(tc.ref)
			require.NoError(t, err)
			state, err := container.Deploy(t.Context(), s.Sysroot, "default", ref, &container.DeployOptions{PullOptions: container.PullOptions{Registry: quickly(t)}, TargetImgref: tc.target})
			require.NoError(t, err)
			s.sound()
			assert.Equal(t, "[origin]\ncontainer-image-reference="+tc.origin+"\n", s.read(s.deployment(state.MergeCommit, 0)+".origin"))
			repo, err := s.Repo()
			require.NoError(t, err)
			images, err := container.ListImages(t.Context(), repo)
			require.NoError(t, err)
			assert.Equal(t, []string{tc.image}, images)
			// What is deployed is not removed, whatever the signature source in the origin.
			removed, err := container.RemoveUndeployedImages(t.Context(), s.Sysroot, nil)
			require.NoError(t, err)
			assert.Empty(t, removed)
		})
	}
}

// Without arguments those of the merge deployment are kept; with some, they are all there is; with an empty list there are none.
func TestDeployKargs(t *testing.T) {
	t.Parallel()
	s := newSystem(t, "default")
	dir := t.TempDir()
	deploy := func(version string, kargs []string) {
		t.Helper()
		s.mustDeploy(osImage(version).Write(t, dir, "latest").Ref, container.DeployOptions{Kargs: kargs})
	}
	deploy("1", nil)
	assert.Equal(t, []string{""}, s.options())
	deploy("2", []string{"root=UUID=1", "quiet", "console=tty0", "console=ttyS0"})
	assert.Equal(t, []string{"root=UUID=1 quiet console=tty0 console=ttyS0", ""}, s.options())
	deploy("3", nil)
	assert.Equal(t, "root=UUID=1 quiet console=tty0 console=ttyS0", s.options()[0])
	deploy("4", []string{"single"})
	assert.Equal(t, "single", s.options()[0])
	deploy("5", []string{})
	assert.Empty(t, s.options()[0])
}

// An update keeps what the administrator changed in /etc, takes what only the image changed, and keeps /var.
func TestDeployKeepsEtc(t *testing.T) {
	t.Parallel()
	s := newSystem(t, "default")
	dir := t.TempDir()
	one := s.mustDeploy(osImage("1").Write(t, dir, "latest").Ref, container.DeployOptions{})
	etc := filepath.Join(s.deployment(one.MergeCommit, 0), "etc")
	require.NoError(t, os.WriteFile(filepath.Join(etc, "changed"), []byte("by the administrator\n"), 0o600))
	require.NoError(t, os.Chmod(filepath.Join(etc, "changed"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(etc, "new"), []byte("new\n"), 0o640))
	require.NoError(t, os.Remove(filepath.Join(etc, "removed")))
	require.NoError(t, os.WriteFile(filepath.Join(s.dir, "ostree/deploy/default/var/data"), []byte("data\n"), 0o600))
	w2 := osImage("2").Write(t, dir, "latest")
	two := s.mustDeploy(w2.Ref, container.DeployOptions{})
	require.NotEqual(t, one.MergeCommit, two.MergeCommit)
	etc = filepath.Join(s.deployment(two.MergeCommit, 0), "etc")
	assert.Equal(t, "by the administrator\n", s.read(etc, "changed"))
	st, err := os.Stat(filepath.Join(etc, "changed"))
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), st.Mode())
	assert.Equal(t, "new\n", s.read(etc, "new"))
	assert.NoFileExists(t, filepath.Join(etc, "removed"))
	assert.Equal(t, "version 2\n", s.read(etc, "same"))
	assert.Equal(t, "f 2\n", s.read(etc, "dir/file"))
	assert.Equal(t, "data\n", s.read(s.dir, "ostree/deploy/default/var/data"))
	status := s.status()
	assert.Contains(t, status, two.MergeCommit+".0")
	assert.Contains(t, status, one.MergeCommit+".0\n")

	// Once more the same: a deployment of its own, with the same commit and a new serial; the oldest goes.
	again := s.mustDeploy(w2.Ref, container.DeployOptions{})
	assert.Equal(t, two.MergeCommit, again.MergeCommit)
	assert.FileExists(t, filepath.Join(s.deployment(two.MergeCommit, 1), "etc/new"))
	assert.NoDirExists(t, s.deployment(one.MergeCommit, 0))
	assert.Len(t, s.Deployments(), 2)
	assert.Equal(t, []string{two.MergeCommit, two.MergeCommit}, deploymentRefs(oracle.Refs(t, s.repo)))
}

func TestDeployNoClean(t *testing.T) {
	t.Parallel()
	s := newSystem(t, "default")
	dir := t.TempDir()
	var commits []string
	for n := range 4 {
		state := s.mustDeploy(osImage(fmt.Sprint(n)).Write(t, dir, "latest").Ref, container.DeployOptions{NoClean: true})
		commits = append(commits, state.MergeCommit)
	}
	// Deployments that are listed no more stay on disk, and so do their objects.
	for _, commit := range commits {
		assert.DirExists(t, s.deployment(commit, 0))
		ti.Run(t, "ostree", "--repo="+s.repo, "ls", "-R", commit)
	}
	state := s.mustDeploy(osImage("4").Write(t, dir, "latest").Ref, container.DeployOptions{})
	for _, commit := range commits[:3] {
		assert.NoDirExists(t, s.deployment(commit, 0))
		_, err := ti.Output("ostree", "--repo="+s.repo, "ls", "-R", commit)
		assert.Error(t, err, "its objects are pruned")
	}
	assert.DirExists(t, s.deployment(commits[3], 0))
	assert.DirExists(t, s.deployment(state.MergeCommit, 0))
}

// With no-imgref only the deployment keeps the image: its layers outlive the collection after the import (B29), a later one, a
// prune of everything, and the next deployment; they go with the deployment.
func TestB29_NoImgrefKeepsLayers(t *testing.T) {
	t.Parallel()
	s := newSystem(t, "default")
	dir := t.TempDir()
	one := s.mustDeploy(osImage("1").Write(t, dir, "latest").Ref, container.DeployOptions{NoImgref: true})
	refs := oracle.Refs(t, s.repo)
	assert.Len(t, blobRefs(refs), 2)
	assert.Len(t, refs, 3, "layers and deployment, no image: %v", refs)
	repo, err := s.Repo()
	require.NoError(t, err)
	collected, err := container.GCImageLayers(t.Context(), repo, nil)
	require.NoError(t, err)
	assert.Zero(t, collected)
	pruned, err := container.Prune(t.Context(), s.Sysroot, nil)
	require.NoError(t, err)
	assert.True(t, pruned.IsEmpty(), "%+v", pruned)
	state, err := container.QueryImageCommit(t.Context(), repo, one.MergeCommit)
	require.NoError(t, err)
	assert.Equal(t, one.ManifestDigest, state.ManifestDigest)

	// The next version shares the first layer.
	w2 := osImage("2").Write(t, dir, "latest")
	reg := ti.NewRegistry(t, dir)
	s.mustDeploy(reg.Ref("os", "latest"), container.DeployOptions{NoImgref: true})
	assert.Zero(t, reg.Requests("blob", w2.Manifest.Layers[0].Digest.String()), "the shared layer is reused")
	assert.Len(t, blobRefs(oracle.Refs(t, s.repo)), 3)
	// The third drives out the first deployment, and its layer with it: the collection comes before, the next one takes it.
	s.mustDeploy(osImage("3").Write(t, dir, "latest").Ref, container.DeployOptions{NoImgref: true})
	assert.NoDirExists(t, s.deployment(one.MergeCommit, 0))
	pruned, err = container.Prune(t.Context(), s.Sysroot, nil)
	require.NoError(t, err)
	assert.Equal(t, 1, pruned.Layers)
	assert.Len(t, blobRefs(oracle.Refs(t, s.repo)), 3)
	s.sound()
	for _, d := range s.Deployments() {
		ti.Run(t, "ostree", "--repo="+s.repo, "ls", "-R", d.Checksum())
	}
}

// Whatever is refused leaves no deployment and no image behind, and says why.
func TestDeployRefuses(t *testing.T) {
	t.Parallel()
	bare := osImage("1")
	bare.Bootable = false
	foreign := osImage("1")
	foreign.Architecture = map[bool]string{true: "arm64", false: "amd64"}[runtime.GOARCH == "amd64"]
	noKernel := osImage("1")
	noKernel.Layers = noKernel.Layers[:1]
	for _, tc := range []struct {
		name      string
		img       ti.Image
		stateroot string
		is        error
		texts     []string
		refs      int // layers that stay
	}{
		{"missing stateroot", osImage("1"), "nosuch", container.ErrNoStateroot, []string{`"nosuch"`, "ostree admin os-init"}, 0},
		{"empty stateroot", osImage("1"), "", container.ErrNoStateroot, []string{`""`}, 0},
		{"stateroot with a slash", osImage("1"), "../deploy/default", container.ErrNoStateroot, []string{"../deploy/default"}, 0},
		{"stateroot with a dot", osImage("1"), "..", container.ErrNoStateroot, []string{`".."`}, 0},
		{"not bootable", bare, "default", container.ErrNotBootable, []string{"Target image does not have ostree.bootable label"}, 0},
		{"wrong architecture", foreign, "default", container.ErrArchitecture, []string{foreign.Architecture, runtime.GOARCH}, 0},
		{"no kernel", noKernel, "default", nil, []string{"kernel"}, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newSystem(t, "default")
			w := tc.img.Write(t, t.TempDir(), "latest")
			_, err := container.Deploy(t.Context(), s.Sysroot, tc.stateroot, unverified(t, w.Ref), &container.DeployOptions{PullOptions: container.PullOptions{Registry: quickly(t)}})
			require.Error(t, err)
			if tc.is != nil {
				require.ErrorIs(t, err, tc.is)
			}
			for _, text := range append(tc.texts, "Performing deployment: ") {
				assert.Contains(t, err.Error(), text)
			}
			if tc.refs == 0 {
				assert.Empty(t, oracle.Refs(t, s.repo))
			}
			assert.Empty(t, s.Deployments())
			assert.Equal(t, "No deployments.", strings.TrimSpace(s.status()))
			s.sound()
			// The lock is free again, and the same sysroot can be used.
			s.mustDeploy(osImage("2").Write(t, t.TempDir(), "latest").Ref, container.DeployOptions{})
		})
	}
	t.Run("already present, for another architecture", func(t *testing.T) {
		s := newSystem(t, "default")
		w := foreign.Write(t, t.TempDir(), "latest")
		repo, err := s.Repo()
		require.NoError(t, err)
		mustPull(t, repo, w.Ref, container.ImporterOptions{})
		_, err = s.deploy(w.Ref, container.DeployOptions{})
		require.ErrorIs(t, err, container.ErrArchitecture)
		assert.Empty(t, s.Deployments())
	})
	t.Run("sysroot that is none", func(t *testing.T) {
		ti.NeedRoot(t)
		dir := t.TempDir()
		sysroot, err := ostree.NewSysroot(dir)
		require.NoError(t, err)
		defer sysroot.Close()
		_, err = container.Deploy(t.Context(), sysroot, "default", unverified(t, "oci:/nowhere"), nil)
		require.ErrorIs(t, err, ostree.ErrNotFound)
		assert.Contains(t, err.Error(), dir)
	})
}

// A deployment waits for whoever has the lock, says so, and goes on from what the other left; it holds the lock all the time.
func TestB13_DeployTakesTheLock(t *testing.T) {
	t.Parallel()
	s := newSystem(t, "default")
	dir := t.TempDir()
	w := osImage("1").Write(t, dir, "latest")

	holder := startChild(t, task{Do: "lock", Sysroot: s.dir})
	require.True(t, holder.lines.Scan(), holder.stderr.String())
	require.Equal(t, "locked", holder.lines.Text())
	for name, op := range map[string]func(ctx context.Context, log *slog.Logger) error{
		"deploy": func(ctx context.Context, log *slog.Logger) error {
			_, err := container.Deploy(ctx, s.Sysroot, "default", unverified(t, w.Ref), &container.DeployOptions{PullOptions: container.PullOptions{Registry: quickly(t), Logger: log}})
			return err
		},
		"prune": func(ctx context.Context, log *slog.Logger) error {
			_, err := container.Prune(ctx, s.Sysroot, &container.PruneOptions{Logger: log})
			return err
		},
		"prune images": func(ctx context.Context, log *slog.Logger) error {
			_, err := container.RemoveUndeployedImages(ctx, s.Sysroot, &container.PruneOptions{Logger: log})
			return err
		},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		var log bytes.Buffer
		err := op(ctx, slog.New(slog.NewTextHandler(&log, nil)))
		require.ErrorIs(t, err, context.DeadlineExceeded, name)
		cancel()
		assert.Contains(t, log.String(), "Waiting for sysroot lock...", name)
		assert.Equal(t, 1, strings.Count(log.String(), "Waiting"), name)
	}
	assert.Empty(t, oracle.Refs(t, s.repo), "nothing is fetched before the lock is held")

	waiting := startChild(t, task{Do: "deploy", Sysroot: s.dir, Refs: []string{"ostree-unverified-image:" + w.Ref}})
	time.Sleep(500 * time.Millisecond)
	assert.Empty(t, oracle.Refs(t, s.repo))
	require.NoError(t, holder.stdin.Close())
	holder.finish(t)
	lines := waiting.finish(t)
	expectEvents(t, lines)
	assert.Contains(t, waiting.stderr.String(), "Waiting for sysroot lock...")
	assert.Contains(t, lines[len(lines)-1], "deployed ")

	// Our own view of the sysroot is older than that deployment: what is deployed next is based on the new one.
	s.sound()
	other := openSysroot(t, s.dir)
	held := 0
	state := s.mustDeploy(osImage("2").Write(t, dir, "latest").Ref, container.DeployOptions{PullOptions: container.PullOptions{Progress: func(container.Event) {
		ok, err := other.TryLock(t.Context())
		assert.NoError(t, err)
		if !assert.False(t, ok, "the lock is free in the middle of a deployment") {
			other.Unlock()
		}
		held++
	}}})
	assert.Greater(t, held, 10)
	assert.Len(t, s.Deployments(), 2)
	assert.Contains(t, s.status(), state.MergeCommit)
	require.Eventually(t, func() bool { // children that other tests start may have the lock's descriptor for a moment
		ok, err := other.TryLock(t.Context())
		return assert.NoError(t, err) && ok
	}, 10*time.Second, time.Millisecond, "the lock is free afterwards")
	other.Unlock()
}

// expectEvents checks that standard output has what the child prints and nothing of libostree's.
func expectEvents(t testing.TB, lines []string) {
	t.Helper()
	for _, line := range lines {
		assert.Regexp(t, `^(start|end|layer|bytes|done|deployed) `, line)
	}
}

// libostree prints to standard output what its cleanup freed; a program that prints JSON there must not find it among its own.
func TestDeployPrintsNothing(t *testing.T) {
	t.Parallel()
	s := newSystem(t, "default")
	dir := t.TempDir()
	var before map[string]int64
	for _, version := range []string{"1", "2", "3"} {
		w := osImage(version).Write(t, dir, "latest")
		before = objects(t, s.repo)
		expectEvents(t, startChild(t, task{Do: "deploy", Sysroot: s.dir, Refs: []string{"ostree-unverified-image:" + w.Ref}}).finish(t))
		s.sound()
	}
	gone := 0
	after := objects(t, s.repo)
	for path := range before {
		if _, ok := after[path]; !ok {
			gone++
		}
	}
	assert.NotZero(t, gone, "objects of the first version are pruned")
}

// Killed while deploying, the old deployment still boots, and the next run completes.
func TestDeployKilled(t *testing.T) {
	t.Parallel()
	s := newSystem(t, "default")
	dir := t.TempDir()
	one := s.mustDeploy(osImage("1").Write(t, dir, "latest").Ref, container.DeployOptions{Kargs: []string{"quiet"}})
	w := osImage("2").Write(t, dir, "latest")
	for _, at := range []string{"start import", "start merge", "start gc", "start deploy", "end deploy", "start cleanup"} {
		p := startChild(t, task{Do: "deploy", Sysroot: s.dir, Refs: []string{"ostree-unverified-image:" + w.Ref}})
		for p.lines.Scan() && p.lines.Text() != at {
		}
		require.NoError(t, p.Process.Kill())
		_ = p.Wait()
		oracle.Fsck(t, s.repo)
		status := s.status()
		if at != "end deploy" && at != "start cleanup" { // from there on the new one is written
			assert.Equal(t, "default "+one.MergeCommit+".0", strings.TrimSpace(strings.SplitN(status, "\n", 2)[0]), at)
			assert.Equal(t, []string{"quiet"}, s.options(), at)
			assert.DirExists(t, s.deployment(one.MergeCommit, 0), at)
		}
		assert.Contains(t, s.options(), "quiet", at)
		loaded := openSysroot(t, s.dir)
		for _, d := range loaded.Deployments() {
			assert.FileExists(t, filepath.Join(s.dir, d.Path(), "usr/lib/os-release"), at)
			ti.Run(t, "ostree", "--repo="+s.repo, "ls", "-R", d.Checksum())
		}
		// A prune at this moment takes nothing that is deployed.
		_, err := container.Prune(t.Context(), loaded, nil)
		require.NoError(t, err)
		oracle.Fsck(t, s.repo)
	}
	state := s.mustDeploy(w.Ref, container.DeployOptions{})
	assert.Equal(t, "quiet", s.options()[0])
	assert.Contains(t, s.status(), state.MergeCommit)
	undeployed, err := filepath.Glob(filepath.Join(s.dir, "ostree/deploy/default/deploy/*.?"))
	require.NoError(t, err)
	assert.Len(t, undeployed, len(s.Deployments()), "%v", undeployed)
}

// On a booted host a deployment is staged. Booted is what libostree takes for it: the root directory is that of a deployment and
// /run/ostree-booted is there; a mount namespace and chroot(8) provide that. Finalizing at shutdown is systemd's part and
// belongs to the boot test.
func TestDeployStagedOnBootedHost(t *testing.T) {
	t.Parallel()
	s := newSystem(t, "default")
	dir := t.TempDir()
	one := s.mustDeploy(osImage("1").Write(t, dir, "v1").Ref, container.DeployOptions{Kargs: []string{"quiet"}})
	two, three := osImage("2").Write(t, dir, "v2"), osImage("3").Write(t, dir, "v3")
	lines := s.booted(one, task{Do: "staged", Refs: []string{"ostree-unverified-image:" + two.Ref, "ostree-unverified-image:" + three.Ref}}, dir)
	// What the child says: see stagedTask.
	assert.Equal(t, []string{
		"booted " + one.MergeCommit,
		"staged ID 2 origin ostree-unverified-image:" + two.Ref + " list [staged booted]",
		"pruned 0 images, 0 layers, with refs of deployments false, blobs 3",
		"staged ID 3 origin ostree-unverified-image:" + three.Ref + " list [staged booted]",
		"pruned 0 images, 1 layers, with refs of deployments false, blobs 3",
		"staged ID 2 origin ostree-unverified-image:" + two.Ref + " list [staged booted]",
		"pruned 0 images, 1 layers, with refs of deployments false, blobs 3",
		"images 2",
		"pruned 0 images, 0 layers, with refs of deployments false, blobs 3",
	}, lines)
	oracle.Fsck(t, s.repo)
	// The machine went down without finalizing: what was staged is no deployment, and goes.
	_, err := s.LoadIfChanged(t.Context())
	require.NoError(t, err)
	require.Len(t, s.Deployments(), 1)
	pruned, err := container.Prune(t.Context(), s.Sysroot, nil)
	require.NoError(t, err)
	assert.Equal(t, []int{1, 1}, []int{pruned.Images, pruned.Layers})
	require.NoError(t, s.Cleanup(t.Context()))
	assert.Len(t, blobRefs(oracle.Refs(t, s.repo)), 2)
	s.sound()
}

// stagedTask runs on the booted host: it stages two images without refs and one with, and prunes after each as if libostree had
// written no refs for staged deployments (B14).
func stagedTask(ctx context.Context, sysroot *ostree.Sysroot, c task, options *registry.Options) error {
	fmt.Println("booted", sysroot.BootedDeployment().Checksum())
	repo, err := sysroot.Repo()
	if err != nil {
		return err
	}
	for n, text := range []string{c.Refs[0], c.Refs[1], c.Refs[0]} {
		ref, err := imageref.ParseOSTree(text)
		if err != nil {
			return err
		}
		state, err := container.Deploy(ctx, sysroot, "default", ref, &container.DeployOptions{PullOptions: container.PullOptions{Registry: options}, NoImgref: n < 2})
		if err != nil {
			return err
		}
		staged := sysroot.StagedDeployment()
		if staged == nil || staged.Checksum() != state.MergeCommit {
			return fmt.Errorf("staged is %v", staged)
		}
		origin, err := container.DeploymentImage(staged)
		if err != nil {
			return err
		}
		var list []string
		for _, d := range sysroot.Deployments() {
			list = append(list, map[bool]string{true: "staged", false: "booted"}[d.IsStaged()])
		}
		fmt.Println("staged ID", state.Version(), "origin", origin, "list", list)
		if err := pruneWithoutRefs(ctx, sysroot, repo); err != nil {
			return err
		}
	}
	images, err := container.ListImages(ctx, repo)
	if err != nil {
		return err
	}
	fmt.Println("images", len(images))
	return pruneWithoutRefs(ctx, sysroot, repo)
}

func pruneWithoutRefs(ctx context.Context, sysroot *ostree.Sysroot, repo *ostree.Repo) error {
	refs, err := repo.ListRefs(ctx, "")
	if err != nil {
		return err
	}
	for name := range refs {
		if strings.HasPrefix(name, "ostree/0/") || strings.HasPrefix(name, "ostree/1/") {
			if err := repo.SetRefImmediate(ctx, "", name, ""); err != nil {
				return err
			}
		}
	}
	pruned, err := container.Prune(ctx, sysroot, nil)
	if err != nil {
		return err
	}
	if refs, err = repo.ListRefs(ctx, ""); err != nil {
		return err
	}
	for _, d := range sysroot.Deployments() {
		if _, _, err := repo.LoadCommit(ctx, d.Checksum()); err != nil {
			return err
		}
	}
	fmt.Printf("pruned %d images, %d layers, with refs of deployments %v, blobs %d\n", pruned.Images, pruned.Layers,
		len(deploymentRefs(refs)) > 0, len(blobRefs(refs)))
	return nil
}

// booted runs a task in the deployment of a commit as if it were booted, and returns its lines. The host's /usr stands in for the
// deployment's, which has no programs; shared directories are there under their own names.
func (s *system) booted(state *container.LayeredImageState, c task, shared ...string) []string {
	s.t.Helper()
	ti.NeedTool(s.t, "unshare", "chroot", "mount")
	self, err := os.Executable()
	require.NoError(s.t, err)
	c.Sysroot, c.Policy = "/", filepath.Join(shared[0], "policy.json")
	require.NoError(s.t, os.WriteFile(c.Policy, []byte(`{"default":[{"type":"insecureAcceptAnything"}]}`), 0o600))
	text, err := json.Marshal(c)
	require.NoError(s.t, err)
	script := `
root=$1 sysroot=$2 self=$3; shift 3
mount --bind "$root" "$root"
mount --bind /usr "$root/usr"
mount -t proc proc "$root/proc"
mount -t tmpfs tmpfs "$root/run"
mount -t tmpfs tmpfs "$root/tmp"
mkdir -p "$root/dev"
mount --rbind /dev "$root/dev"
mount --bind "$sysroot" "$root/sysroot"
mount --bind "$sysroot/boot" "$root/boot"
mkdir "$root/run/ostree" "$root/run/tmp"
touch "$root/run/ostree-booted" "$root/run/self"
mount --bind "$self" "$root/run/self"
for dir; do mkdir -p "$root$dir"; mount --bind "$dir" "$root$dir"; done
exec chroot "$root" /run/self`
	args := append([]string{"--mount", "--propagation=private", "sh", "-euc", script, "sh", s.deployment(state.MergeCommit, 0), s.dir, self}, shared...)
	cmd := exec.Command("unshare", args...)
	cmd.Env = append(os.Environ(), childTask+"="+string(text), "TMPDIR=/run/tmp")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(s.t, err, stderr.String())
	return strings.Split(strings.TrimSpace(string(out)), "\n")
}
