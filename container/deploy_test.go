package container_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/container"
	"github.com/ostree-container/ostree-container/container/imageref"
	"github.com/ostree-container/ostree-container/container/internal/oracle"
	ti "github.com/ostree-container/ostree-container/container/internal/testimage"
	"github.com/ostree-container/ostree-container/ostree"
)

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
		{"not bootable", bare, "default", container.ErrNotBootable, []string{"latest: Target image does not have ostree.bootable label"}, 0},
		{"wrong architecture", foreign, "default", container.ErrArchitecture, []string{"latest: wrong architecture", foreign.Architecture, runtime.GOARCH}, 0},
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
		p := startChild(t, task{Do: "deploy", Sysroot: s.dir, Refs: []string{"ostree-unverified-image:" + w.Ref}, Stay: at})
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
