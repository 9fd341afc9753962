package container_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/container"
	"github.com/ostree-container/ostree-container/container/imageref"
	"github.com/ostree-container/ostree-container/container/internal/oracle"
	ti "github.com/ostree-container/ostree-container/container/internal/testimage"
	"github.com/ostree-container/ostree-container/ostree"
)

// A repository that cannot be written, is not there, or whose config is broken: one error that names it, before anything is fetched.
func TestBadRepository(t *testing.T) {
	dir := t.TempDir()
	w := ti.Image{Layers: []ti.Layer{goodLayer("a")}}.Write(t, dir, "latest")
	reg := ti.NewRegistry(t, dir)
	t.Run("read-only file system", func(t *testing.T) {
		ti.NeedRoot(t)
		repo, repoDir := newRepo(t, ostree.ModeBare)
		there := ti.Image{Layers: []ti.Layer{goodLayer("b")}}.Write(t, t.TempDir(), "b").Ref
		first := mustPull(t, repo, there, container.ImporterOptions{})
		ti.Run(t, "mount", "--bind", repoDir, repoDir)
		ti.Run(t, "mount", "-o", "remount,bind,ro", repoDir)
		unmount := sync.OnceFunc(func() { ti.Run(t, "umount", "--lazy", repoDir) })
		defer unmount()
		ro, err := ostree.OpenRepo(t.Context(), repoDir)
		require.NoError(t, err)
		defer ro.Close()
		reg.Reset()
		_, _, err = pull(t, ro, reg.Ref("os", "latest"), container.ImporterOptions{})
		require.ErrorIs(t, err, syscall.EROFS)
		assert.Contains(t, err.Error(), repoDir)
		assert.Zero(t, reg.Requests("blob", w.Manifest.Layers[0].Digest.String()))
		// What only reads works.
		state, err := container.QueryImageCommit(t.Context(), ro, first.MergeCommit)
		require.NoError(t, err)
		assert.Equal(t, first.ManifestDigest, state.ManifestDigest)
		ref := imageName(t, there)
		_, err = container.RemoveImages(t.Context(), ro, []imageref.ImageReference{ref})
		require.ErrorIs(t, err, syscall.EROFS)
		assert.Contains(t, err.Error(), ref.String())
		require.NoError(t, ro.Close())
		unmount()
		oracle.Fsck(t, repoDir)
	})
	t.Run("another user's", func(t *testing.T) {
		ti.NeedRoot(t)
		_, repoDir := newRepo(t, ostree.ModeBareUser)
		ti.NeedTool(t, "setpriv")
		// The parent directories of a test's temporary directory are for root only.
		out := t.TempDir()
		for p := repoDir; p != os.TempDir(); p = filepath.Dir(p) {
			require.NoError(t, os.Chmod(p, 0o755))
		}
		_ = out
		for p := dir; p != os.TempDir(); p = filepath.Dir(p) {
			require.NoError(t, os.Chmod(p, 0o755))
		}
		p := asNobody(t, task{Do: "pull", Repo: repoDir, Refs: []string{w.Ref}, Policy: anyPolicy(t)})
		require.Error(t, p.err)
		assert.Contains(t, p.stderr, repoDir)
		assert.Contains(t, strings.ToLower(p.stderr), "permission denied")
		assert.Empty(t, oracle.Refs(t, repoDir))
		oracle.Fsck(t, repoDir)
	})
	t.Run("missing", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "nothing")
		_, err := ostree.OpenRepo(t.Context(), path)
		require.ErrorIs(t, err, ostree.ErrNotFound)
		assert.Contains(t, err.Error(), path)
		assert.NoDirExists(t, path)
	})
	for name, config := range map[string]string{
		"config empty": "", "config no key file": "\x00\x01garbage",
		"config unknown mode": "[core]\nrepo_version=1\nmode=bear\n", "config unknown version": "[core]\nrepo_version=9\nmode=bare\n",
		"config bad fsync":   "[core]\nrepo_version=1\nmode=bare-user\nfsync=perhaps\n",
		"config bad reserve": "[core]\nrepo_version=1\nmode=bare-user\nmin-free-space-percent=101\n",
	} {
		t.Run(name, func(t *testing.T) {
			repo, repoDir := newRepo(t, ostree.ModeBareUser)
			_ = repo
			require.NoError(t, os.WriteFile(filepath.Join(repoDir, "config"), []byte(config), 0o600))
			err := func() error {
				bad, err := ostree.OpenRepo(t.Context(), repoDir)
				if err != nil {
					return err
				}
				defer bad.Close()
				reg.Reset()
				_, _, err = pull(t, bad, reg.Ref("os", "latest"), container.ImporterOptions{})
				assert.Zero(t, reg.Requests("blob", w.Manifest.Layers[0].Digest.String()))
				return err
			}()
			require.Error(t, err)
			assert.Contains(t, err.Error(), repoDir)
			assert.Empty(t, leftovers(t, repoDir))
		})
	}
	t.Run("B18 unsupported mode", func(t *testing.T) {
		repo, repoDir := newRepo(t, ostree.ModeBareUserOnly)
		_, err := container.NewImporter(repo, unverified(t, w.Ref), nil)
		require.ErrorIs(t, err, ostree.ErrUnsupported)
		assert.Contains(t, err.Error(), repoDir)
		assert.Contains(t, err.Error(), "bare-user-only")
	})
	t.Run("objects directory gone", func(t *testing.T) {
		repo, repoDir := newRepo(t, modeHere())
		require.NoError(t, os.RemoveAll(filepath.Join(repoDir, "objects")))
		_, _, err := pull(t, repo, w.Ref, container.ImporterOptions{})
		require.Error(t, err)
		assert.Contains(t, err.Error(), repoDir)
	})
}

func anyPolicy(t testing.TB) string {
	t.Helper()
	f, err := os.CreateTemp("", "policy")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.Remove(f.Name()) })
	_, err = f.WriteString(`{"default":[{"type":"insecureAcceptAnything"}]}`)
	require.NoError(t, err)
	require.NoError(t, f.Chmod(0o644))
	require.NoError(t, f.Close())
	return f.Name()
}

type outcome struct {
	stdout, stderr string
	err            error
}

// asNobody runs a task without privileges.
func asNobody(t testing.TB, c task) outcome {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	// The binary may be where only root can go.
	bin, err := os.CreateTemp("", "container-test")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.Remove(bin.Name()) })
	content, err := os.ReadFile(self)
	require.NoError(t, err)
	_, err = bin.Write(content)
	require.NoError(t, err)
	require.NoError(t, bin.Chmod(0o755))
	require.NoError(t, bin.Close())
	p := exec.Command(bin.Name())
	p.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	p.Env = append(os.Environ(), childTask+"="+encode(t, c), "HOME=/")
	var stdout, stderr strings.Builder
	p.Stdout, p.Stderr = &stdout, &stderr
	err = p.Run()
	return outcome{stdout.String(), stderr.String(), err}
}

// A stored layer that lost an object of any kind is fetched again, and the rest is not.
func TestMissingObjectsAreFetchedAgain(t *testing.T) {
	t.Parallel()
	common := plainLayers("a", 2, 3, 300_000)
	for _, kind := range []string{"file", "dirtree", "dirtree of the root", "dirmeta", "commit"} {
		t.Run(kind, func(t *testing.T) {
			dir := t.TempDir()
			v1 := ti.Image{Layers: append(slices.Clone(common), goodLayer("x"))}.Write(t, dir, "latest")
			reg := ti.NewRegistry(t, dir)
			repo, repoDir := newRepo(t, modeHere())
			mustPull(t, repo, reg.Ref("os", "latest"), container.ImporterOptions{})
			refs := layerRefs(t, repoDir, v1)
			var path string
			for line := range strings.Lines(oracle.List(t, repoDir, refs[1])) {
				f := strings.Fields(line)
				// mode, uid, gid, size, checksum(s), { xattrs }, path
				name := f[len(f)-1]
				switch {
				case kind == "file" && name == "/usr/a1/f1":
					path = objectPath(repoDir, f[4], "file")
				case kind == "dirtree" && name == "/usr/a1", kind == "dirtree of the root" && name == "/":
					path = objectPath(repoDir, f[4], "dirtree")
				case kind == "dirmeta" && name == "/usr/a1":
					path = objectPath(repoDir, f[5], "dirmeta")
				}
			}
			if kind == "commit" {
				path = objectPath(repoDir, refs[1], "commit")
			}
			require.FileExists(t, path)
			require.NoError(t, os.Remove(path))
			layers := append(slices.Clone(common), goodLayer("y"))
			v2 := ti.Image{Layers: layers}.Write(t, dir, "latest")
			reg.Reset()
			var log strings.Builder
			state := mustPull(t, repo, reg.Ref("os", "latest"), container.ImporterOptions{Logger: textLogger(&log)})
			assert.Equal(t, 1, reg.Requests("blob", v2.Manifest.Layers[1].Digest.String()), "the damaged layer")
			assert.Equal(t, 1, reg.Requests("blob", v2.Manifest.Layers[2].Digest.String()), "the new layer")
			if kind != "dirmeta" { // all directories have the same
				assert.Zero(t, reg.Requests("blob", v2.Manifest.Layers[0].Digest.String()), "the sound layer")
			}
			if kind != "commit" {
				assert.Contains(t, log.String(), "damaged")
			}
			wellPulled(t, repoDir, state, layers)
		})
	}
}

// A damaged directory object in a stored layer is an error that names layer and object; nothing is built on it.
func TestDamagedObjectIsNotBuiltOn(t *testing.T) {
	t.Parallel()
	common := plainLayers("a", 2, 3, 0)
	dir := t.TempDir()
	v1 := ti.Image{Layers: common}.Write(t, dir, "latest")
	for name, harm := range map[string]func(path string) error{
		"empty":     func(path string) error { return os.Truncate(path, 0) },
		"truncated": func(path string) error { return os.Truncate(path, 40) },
		"garbage":   func(path string) error { return os.WriteFile(path, []byte(strings.Repeat("garbage ", 20)), 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			repo, repoDir := newRepo(t, modeHere())
			mustPull(t, repo, v1.Ref, container.ImporterOptions{})
			layer := layerRefs(t, repoDir, v1)[1]
			var root string
			for line := range strings.Lines(oracle.List(t, repoDir, layer)) {
				if f := strings.Fields(line); f[len(f)-1] == "/usr" {
					root = f[4]
				}
			}
			path := objectPath(repoDir, root, "dirtree")
			require.NoError(t, harm(path))
			v2 := ti.Image{Layers: append(slices.Clone(common), goodLayer("y"))}.Write(t, t.TempDir(), "v2")
			state, _, err := pull(t, repo, v2.Ref, container.ImporterOptions{})
			if err == nil {
				wellPulled(t, repoDir, state, append(slices.Clone(common), goodLayer("y")))
				return
			}
			assert.Contains(t, err.Error(), root)
			assert.Contains(t, err.Error(), v2.Manifest.Layers[1].Digest.String())
			assert.NotContains(t, oracle.Refs(t, repoDir), imageRefOf(t, v2.Ref))
			require.NoError(t, os.Remove(path))
			state = mustPull(t, repo, v2.Ref, container.ImporterOptions{})
			wellPulled(t, repoDir, state, append(slices.Clone(common), goodLayer("y")))
		})
	}
}
