package container_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ostree-container/ostree-container/container"
	"github.com/ostree-container/ostree-container/container/imageref"
	"github.com/ostree-container/ostree-container/container/internal/oracle"
	ti "github.com/ostree-container/ostree-container/container/internal/testimage"
	"github.com/ostree-container/ostree-container/container/registry"
	"github.com/ostree-container/ostree-container/ostree"
)

// killLayers take long enough to be interrupted: many small files and a few large ones, the sizes of the layers all different.
func killLayers() []ti.Layer {
	var out []ti.Layer
	for n := range 6 {
		out = append(out, plainLayers(fmt.Sprintf("k%d-", n), 1, 60*(n+1), int64(n+1)*700_000)...)
	}
	out[2].Members = append(out[2].Members, ti.Whiteout("usr/k0-0/f3"), ti.Symlink("usr/link", "k0-0"))
	return out
}

// Killed at any moment, the repository is sound, no layer that was reported as done is lost, the next pull completes with the same
// commits, and nothing is left over. The moments are events of the import, and a random time after them.
func TestKilledAtAnyMoment(t *testing.T) {
	layers := killLayers()
	dir := t.TempDir()
	w := ti.Image{Layers: layers}.Write(t, dir, "latest")
	clean, cleanDir := newRepo(t, modeHere())
	want := mustPull(t, clean, w.Ref, container.ImporterOptions{})
	wantRefs := oracle.Refs(t, cleanDir)
	kills := 18
	if testing.Short() {
		kills = 3
	}
	random := rand.New(rand.NewPCG(1, 2))
	done := 0
	for round := 0; done < kills; round++ {
		repo, repoDir := newRepo(t, []ostree.Mode{modeHere(), ostree.ModeBareUser, ostree.ModeArchive}[round%3])
		kept := map[string]bool{}
		for range kills / 3 {
			p := startChild(t, task{Do: "pull", Repo: repoDir, Refs: []string{w.Ref}, Jobs: 2})
			event, after := random.IntN(28), time.Duration(random.IntN(20_000))*time.Microsecond
			var seen []string
			for len(seen) < event && p.lines.Scan() {
				seen = append(seen, p.lines.Text())
			}
			time.Sleep(after)
			require.NoError(t, p.Process.Kill())
			for p.lines.Scan() {
				seen = append(seen, p.lines.Text())
			}
			_ = p.Wait()
			done++
			for _, line := range seen {
				if blob, ok := strings.CutPrefix(line, "done "); ok {
					kept[blob] = true
				}
			}
			when := fmt.Sprintf("kill %d, after %d events: %v", done, len(seen), seen)
			oracle.Fsck(t, repoDir)
			refs := oracle.WholeRefs(t, repoDir)
			for name, commit := range refs {
				if !assert.Equal(t, wantRefs[name], commit, "ref %s: %s", name, when) {
					return
				}
			}
			for n, l := range w.Manifest.Layers {
				if kept[l.Digest.String()] {
					assert.Contains(t, refs, refOfLayer(t, *w, n), "a finished layer is lost: %s", when)
				}
			}
		}
		state, present, err := pull(t, repo, w.Ref, container.ImporterOptions{})
		require.NoError(t, err)
		assert.Equal(t, want.MergeCommit, state.MergeCommit)
		assert.Equal(t, wantRefs, oracle.WholeRefs(t, repoDir))
		if present { // killed after its last step: what it left is taken over by whoever writes next
			require.NoError(t, repo.SetRefImmediate(t.Context(), "", imageRefOf(t, w.Ref), ""))
			mustPull(t, repo, w.Ref, container.ImporterOptions{})
		}
		wellPulled(t, repoDir, state, layers)
		require.False(t, t.Failed(), "round %d", round)
	}
}

// Two pulls of the same image at once, by two processes and by two handles in one.
func TestTwoPullsAtOnce(t *testing.T) {
	layers := killLayers()
	dir := t.TempDir()
	a := ti.Image{Layers: layers}.Write(t, dir, "a")
	b := ti.Image{Layers: append(slices.Clone(layers[:4]), goodLayer("b"))}.Write(t, dir, "b")
	for _, mode := range []ostree.Mode{modeHere(), ostree.ModeArchive} {
		t.Run("processes, "+mode.String(), func(t *testing.T) {
			t.Parallel()
			_, repoDir := newRepo(t, mode)
			one := startChild(t, task{Do: "pull", Repo: repoDir, Refs: []string{a.Ref, b.Ref}})
			two := startChild(t, task{Do: "pull", Repo: repoDir, Refs: []string{b.Ref, a.Ref}})
			linesOne, linesTwo := one.finish(t), two.finish(t)
			pulled := func(lines []string) (commits []string) {
				for _, line := range lines {
					if commit, ok := strings.CutPrefix(line, "pulled "); ok {
						commits = append(commits, commit)
					}
				}
				slices.Sort(commits)
				return commits
			}
			assert.Len(t, pulled(linesOne), 2)
			assert.Equal(t, pulled(linesOne), pulled(linesTwo))
			refs := oracle.Refs(t, repoDir)
			assert.Len(t, refs, 9, "7 layers and 2 images")
			wellPulled(t, repoDir, &container.LayeredImageState{MergeCommit: refs[imageRefOf(t, a.Ref)]}, layers)
		})
		t.Run("handles, "+mode.String(), func(t *testing.T) {
			t.Parallel()
			_, repoDir := newRepo(t, mode)
			var wg sync.WaitGroup
			states := make([]*container.LayeredImageState, 4)
			for n := range states {
				wg.Go(func() {
					repo, err := ostree.OpenRepo(t.Context(), repoDir)
					if !assert.NoError(t, err) {
						return
					}
					defer repo.Close()
					states[n], _, err = pull(t, repo, []string{a.Ref, b.Ref}[n%2], container.ImporterOptions{})
					assert.NoError(t, err)
				})
			}
			wg.Wait()
			require.False(t, t.Failed())
			assert.Equal(t, states[0].MergeCommit, states[2].MergeCommit)
			assert.Equal(t, states[1].MergeCommit, states[3].MergeCommit)
			wellPulled(t, repoDir, states[0], layers)
		})
	}
	t.Run("one handle", func(t *testing.T) {
		t.Parallel()
		repo, repoDir := newRepo(t, modeHere())
		var wg sync.WaitGroup
		states := make([]*container.LayeredImageState, 2)
		for n := range states {
			wg.Go(func() {
				var err error
				states[n], _, err = pull(t, repo, []string{a.Ref, b.Ref}[n], container.ImporterOptions{})
				assert.NoError(t, err)
			})
		}
		wg.Wait()
		require.False(t, t.Failed())
		wellPulled(t, repoDir, states[0], layers)
	})
}

// While other processes prune without end, updates come in one after the other; what is pulled is whole each time.
func TestPullWhileAnotherProcessPrunes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	repo, repoDir := newRepo(t, modeHere())
	rounds := filepath.Join(t.TempDir(), "rounds")
	stop := filepath.Join(t.TempDir(), "stop")
	var pruners []*exec.Cmd
	var said strings.Builder
	for range 2 { // libostree tries the lock once a second, so that one hardly gets it between two pulls
		p := exec.Command("sh", "-c", `while [ ! -e "$3" ]; do ostree --repo="$1" prune --refs-only >/dev/null || exit 1; echo >>"$2"; done`, "sh", repoDir, rounds, stop)
		p.Stderr = &said
		require.NoError(t, p.Start())
		pruners = append(pruners, p)
	}
	t.Cleanup(func() {
		for _, p := range pruners {
			_ = p.Process.Kill()
		}
	})
	layers := plainLayers("p", 6, 40, 200_000)
	pruned := func() int {
		text, _ := os.ReadFile(rounds) // not there before the first
		return len(text)
	}
	for n, start := 0, time.Now(); (n < 8 || pruned() < 4) && time.Since(start) < 30*time.Second; n++ {
		version := append(slices.Clone(layers[:1]), layers[n%5+1], goodLayer(fmt.Sprint(n)))
		w := ti.Image{Layers: version}.Write(t, dir, "latest")
		state := mustPull(t, repo, w.Ref, container.ImporterOptions{})
		want, _ := oracle.Merge(nil, trees(t, rulesHere(), version)...)
		oracle.Same(t, want.List(), oracle.List(t, repoDir, state.MergeCommit), "merge commit")
		assert.Subset(t, slices.Collect(maps.Keys(oracle.Refs(t, repoDir))), []string{refOfLayer(t, *w, 0), refOfLayer(t, *w, 1), refOfLayer(t, *w, 2)})
	}
	require.NoError(t, os.WriteFile(stop, nil, 0o600))
	for _, p := range pruners {
		require.NoError(t, p.Wait(), said.String())
	}
	assert.GreaterOrEqual(t, pruned(), 4)
	oracle.Fsck(t, repoDir)
	assert.Empty(t, leftovers(t, repoDir))
}

// smallDisk mounts an ext4 image of so many MiB and returns where.
func smallDisk(t testing.TB, mib int, mkfs ...string) string {
	t.Helper()
	ti.NeedRoot(t)
	ti.NeedTool(t, "mkfs.ext4", "mount")
	dir := t.TempDir()
	image, at := filepath.Join(dir, "disk"), filepath.Join(dir, "at")
	require.NoError(t, os.Mkdir(at, 0o755))
	f, err := os.Create(image)
	require.NoError(t, err)
	require.NoError(t, f.Truncate(int64(mib)<<20))
	require.NoError(t, f.Close())
	ti.Run(t, "mkfs.ext4", append(append([]string{"-q", "-m", "0"}, mkfs...), image)...)
	if out, err := ti.Output("mount", "-o", "loop", image, at); err != nil {
		ti.Missing(t, fmt.Sprintf("loop mounts: %v: %s", err, out))
	}
	// Not by umount(8), which in a container may not find the loop device that is gone by then.
	t.Cleanup(func() {
		// A child that a parallel test has forked holds every descriptor until its exec.
		require.Eventually(t, func() bool { err = unix.Unmount(at, 0); return !errors.Is(err, unix.EBUSY) }, 10*time.Second, 10*time.Millisecond)
		require.NoError(t, err)
	})
	return at
}

func repoOn(t testing.TB, at string, mode ostree.Mode, config ...string) (*ostree.Repo, string) {
	t.Helper()
	dir := filepath.Join(at, "repo")
	ti.Run(t, "ostree", "--repo="+dir, "init", "--mode="+mode.String())
	for n := 0; n+1 < len(config); n += 2 {
		ti.Run(t, "ostree", "--repo="+dir, "config", "set", config[n], config[n+1])
	}
	repo, err := ostree.OpenRepo(t.Context(), dir)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, repo.Close()) })
	return repo, dir
}

// ballast fills a disk up to so many free bytes.
func ballast(t testing.TB, at string, leave int64) (remove func()) {
	t.Helper()
	var st unix.Statfs_t
	require.NoError(t, unix.Statfs(at, &st))
	path := filepath.Join(at, "ballast")
	f, err := os.Create(path)
	require.NoError(t, err)
	if n := int64(st.Bavail)*st.Bsize - leave; n > 0 {
		require.NoError(t, unix.Fallocate(int(f.Fd()), 0, 0, n))
	}
	require.NoError(t, f.Close())
	return func() { require.NoError(t, os.Remove(path)) }
}

// noRoomTaken waits until what a failed pull wrote is free again: a child that a parallel test has forked holds every descriptor
// until its exec.
func noRoomTaken(t testing.TB, at string, free int64) {
	t.Helper()
	var st unix.Statfs_t
	assert.Eventually(t, func() bool {
		require.NoError(t, unix.Statfs(at, &st))
		taken := free - int64(st.Bavail)*st.Bsize
		return taken < 64<<10
	}, 10*time.Second, 10*time.Millisecond, "a failed pull takes no room")
}

// A full disk: a clear error with numbers, finished layers stay, nothing else does, and with room the pull completes.
func TestFullDisk(t *testing.T) {
	small := plainLayers("small", 1, 10, 0)[0]
	noise := ti.Layer{Members: []ti.Member{ti.Dir("usr", 0o755), ti.BigFile("usr/noise", 0o644, 12<<20, 3)}, Compression: ti.GzipFast}
	zeros := ti.Layer{Compression: ti.GzipFast, Members: []ti.Member{ti.Dir("usr", 0o755)}}
	for n := range 40 { // compresses to nothing
		zeros.Members = append(zeros.Members, ti.Member{Name: fmt.Sprintf("usr/z%d", n), Mode: 0o644, Content: []byte(strings.Repeat(string(rune('a'+n%26))+fmt.Sprint(n), 250_000))})
	}
	files := ti.Layer{Compression: ti.GzipFast, Members: []ti.Member{ti.Dir("usr", 0o755)}}
	for n := range 3000 {
		files.Members = append(files.Members, ti.File(fmt.Sprintf("usr/f%d", n), 0o644, fmt.Sprint(n)))
	}
	numbers := regexp.MustCompile(`\d{4,} bytes`)
	for _, tc := range []struct {
		name   string
		mode   ostree.Mode
		mkfs   []string
		config []string
		leave  int64
		last   ti.Layer
		early  bool // before anything is fetched
		text   string
	}{
		{"compressed layers do not fit", ostree.ModeBare, nil, nil, 6 << 20, noise, true, "compressed"},
		{"compressed layers do not fit, archive", ostree.ModeArchive, nil, nil, 6 << 20, noise, true, "compressed"},
		{"above the reserve", ostree.ModeBare, nil, nil, 9 << 20, zeros, false, "needed"},
		{"above the reserve, bare-user", ostree.ModeBareUser, nil, nil, 9 << 20, zeros, false, "needed"},
		{"no reserve at all", ostree.ModeBare, nil, []string{"core.min-free-space-percent", "0"}, 8 << 20, zeros, false, ""},
		{"no reserve, many small files", ostree.ModeBare, nil, []string{"core.min-free-space-percent", "0"}, 2 << 20, files, false, ""},
		{"no inodes", ostree.ModeBare, []string{"-N", "1500"}, []string{"core.min-free-space-percent", "0"}, 30 << 20, files, false, ""},
		{"through libostree", ostree.ModeBare, nil, []string{"core.payload-link-threshold", "1000000000000"}, 9 << 20, zeros, false, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			at := smallDisk(t, 64, tc.mkfs...)
			repo, repoDir := repoOn(t, at, tc.mode, tc.config...)
			remove := ballast(t, at, tc.leave)
			layers := []ti.Layer{small, tc.last}
			w := ti.Image{Layers: layers}.Write(t, t.TempDir(), "latest")
			_, _, err := pull(t, repo, w.Ref, container.ImporterOptions{Jobs: 1})
			require.Error(t, err)
			t.Log(err)
			require.ErrorIs(t, err, container.ErrNoSpace)
			assert.Contains(t, err.Error(), tc.text)
			assert.Regexp(t, numbers, err.Error())
			assert.Contains(t, err.Error(), repoDir)
			assert.Contains(t, err.Error(), w.Ref)
			refs := oracle.Refs(t, repoDir)
			if tc.early {
				assert.Empty(t, refs)
			} else {
				var le *container.LayerError
				require.ErrorAs(t, err, &le)
				assert.Equal(t, 2, le.Index)
			}
			assert.NotContains(t, refs, refOfLayer(t, *w, 1))
			assert.NotContains(t, refs, imageRefOf(t, w.Ref))
			oracle.Fsck(t, repoDir)
			assert.Empty(t, leftovers(t, repoDir))
			noRoomTaken(t, at, tc.leave)
			_, _, err = pull(t, repo, w.Ref, container.ImporterOptions{Jobs: 1})
			require.Error(t, err, "again, with the same end")
			noRoomTaken(t, at, tc.leave)
			remove()
			if tc.mkfs != nil { // no room to be made: the tests ends here
				return
			}
			state, _, err := pull(t, repo, w.Ref, container.ImporterOptions{})
			require.NoError(t, err)
			wellPulled(t, repoDir, state, layers)
		})
	}
	t.Run("finished layers stay", func(t *testing.T) {
		t.Parallel()
		at := smallDisk(t, 64)
		repo, repoDir := repoOn(t, at, ostree.ModeBare)
		remove := ballast(t, at, 9<<20)
		dir := t.TempDir()
		layers := []ti.Layer{small, zeros}
		w := ti.Image{Layers: layers}.Write(t, dir, "latest")
		reg := ti.NewRegistry(t, dir)
		reg.SetFault(func(q ti.Request) *ti.Fault {
			if q.Ref == w.Manifest.Layers[1].Digest.String() {
				return &ti.Fault{Delay: 500 * time.Millisecond} // the other is done by then
			}
			return nil
		})
		_, _, err := pull(t, repo, reg.Ref("os", "latest"), container.ImporterOptions{})
		require.ErrorIs(t, err, container.ErrNoSpace)
		assert.Contains(t, oracle.Refs(t, repoDir), refOfLayer(t, *w, 0))
		assert.Empty(t, leftovers(t, repoDir))
		remove()
		reg.Reset()
		state, _, err := pull(t, repo, reg.Ref("os", "latest"), container.ImporterOptions{})
		require.NoError(t, err)
		assert.Zero(t, reg.Requests("blob", w.Manifest.Layers[0].Digest.String()))
		wellPulled(t, repoDir, state, layers)
	})
}

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

// Cancelled at any moment, an import ends within a second, with all that it started, leaves nothing, and says why.
func TestB15_CancelledAtAnyMoment(t *testing.T) {
	layers := plainLayers("c", 4, 30, 300_000)
	whole, _ := oracle.Merge(nil, trees(t, rulesHere(), layers)...)
	dir := t.TempDir()
	ti.Image{Layers: layers}.Write(t, dir, "latest")
	reg := ti.NewRegistry(t, dir)
	cause := errors.New("somebody lost patience")
	options := quickly(t)
	for _, source := range []string{"oci:" + dir + ":latest", reg.Ref("os", "latest")} {
		for _, mode := range []ostree.Mode{modeHere(), ostree.ModeArchive} {
			t.Run(strings.SplitN(source, ":", 2)[0]+", "+mode.String(), func(t *testing.T) {
				for at := 0; ; at += 2 {
					repo, repoDir := newRepo(t, mode)
					check := nothingLeft(t)
					ctx, cancel := context.WithCancelCause(t.Context())
					n := 0
					var when time.Time
					_, err := importImage(ctx, repo, source, &container.ImporterOptions{Registry: options, Progress: func(container.Event) {
						if n++; n == at+1 {
							when = time.Now()
							cancel(cause)
						}
					}})
					took := time.Since(when)
					cancel(nil)
					if when.IsZero() { // there are no more events
						require.NoError(t, err)
						break
					}
					if err != nil { // else the last events were late enough
						require.ErrorIs(t, err, cause, "event %d", at)
						refs := oracle.Refs(t, repoDir)
						if commit, ok := refs[imageRefOf(t, source)]; ok { // cancelled after the last step had begun
							oracle.Same(t, whole.List(), oracle.List(t, repoDir, commit), "merge commit")
						} else {
							assert.Len(t, blobRefs(refs), len(refs), "no image: %v", refs)
						}
					}
					assert.Less(t, took, time.Second, "event %d", at)
					left := leftovers(t, repoDir)
					if mode == ostree.ModeArchive { // libostree keeps what an aborted transaction staged, for the next
						left = slices.DeleteFunc(left, func(name string) bool { return strings.HasPrefix(name, "staging-") })
					}
					assert.Empty(t, left, "event %d", at)
					oracle.Fsck(t, repoDir)
					check()
					require.False(t, t.Failed())
				}
			})
		}
	}
}

// A registry that sends nothing more is no reason to wait: whatever it is that stalls, cancelling ends it within a second.
func TestCancelledWhileTheRegistryStalls(t *testing.T) {
	layers := plainLayers("a", 3, 4, 1_000_000)
	dir := t.TempDir()
	w := ti.Image{Layers: layers}.Write(t, dir, "latest")
	cause := errors.New("somebody lost patience")
	for _, what := range []string{"ping header", "manifest", "manifest header", w.Manifest.Config.Digest.String(), w.Manifest.Layers[1].Digest.String(), "all layers", "header"} {
		t.Run(strings.ReplaceAll(what, "sha256:", ""), func(t *testing.T) {
			reg := ti.NewRegistry(t, dir)
			reached := make(chan struct{}, 100)
			reg.SetFault(func(q ti.Request) *ti.Fault {
				layer := q.Kind == "blob" && q.Ref != w.Manifest.Config.Digest.String()
				switch {
				case q.Kind == what || q.Ref == what || what == "all layers" && layer:
					reached <- struct{}{}
					return &ti.Fault{Stall: true, Drop: map[bool]int64{true: 100_000, false: 1}[layer]}
				case what == "header" && layer, what == q.Kind+" header":
					reached <- struct{}{}
					return &ti.Fault{Delay: time.Hour}
				}
				return nil
			})
			repo, repoDir := newRepo(t, modeHere())
			options := quickly(t)
			check := nothingLeft(t)
			ctx, cancel := context.WithCancelCause(t.Context())
			result := make(chan error, 1)
			go func() {
				_, err := importImage(ctx, repo, reg.Ref("os", "latest"), &container.ImporterOptions{Registry: options})
				result <- err
			}()
			<-reached
			time.Sleep(200 * time.Millisecond)
			when := time.Now()
			cancel(cause)
			err := <-result
			assert.Less(t, time.Since(when), time.Second)
			require.ErrorIs(t, err, cause)
			reg.Close() // its own goroutines
			check()
			assert.Empty(t, leftovers(t, repoDir))
			oracle.Fsck(t, repoDir)
			for n := range w.Manifest.Layers {
				if what == "all layers" || w.Manifest.Layers[n].Digest.String() == what {
					assert.NotContains(t, oracle.Refs(t, repoDir), refOfLayer(t, *w, n))
				}
			}
		})
	}
}

// A deployment that is cancelled leaves the sysroot as it was, and unlocked.
func TestDeployCancelled(t *testing.T) {
	s := newSystem(t, "default")
	dir := t.TempDir()
	one := s.mustDeploy(osImage("1").Write(t, dir, "latest").Ref, container.DeployOptions{})
	w := osImage("2").Write(t, dir, "latest")
	cause := errors.New("somebody lost patience")
	options := quickly(t)
	for at := 1; ; at += 2 {
		ctx, cancel := context.WithCancelCause(t.Context())
		n := 0
		var when time.Time
		deploying := false
		_, err := container.Deploy(ctx, s.Sysroot, "default", unverified(t, w.Ref), &container.DeployOptions{PullOptions: container.PullOptions{Registry: options, Progress: func(e container.Event) {
			if n++; n == at {
				started, ok := e.(container.PhaseStarted)
				deploying = ok && started.Phase == container.PhaseDeploy
				when = time.Now()
				cancel(cause)
			}
		}}})
		took := time.Since(when)
		cancel(nil)
		if err == nil {
			break
		}
		require.ErrorIs(t, err, cause, "event %d", at)
		assert.Less(t, took, time.Second)
		if !deploying {
			s.sound()
		}
		oracle.Fsck(t, s.repo)
		assert.Contains(t, s.status(), one.MergeCommit+".0")
	}
	ok, err := openSysroot(t, s.dir).TryLock(t.Context())
	require.NoError(t, err)
	assert.True(t, ok)
}

// One layer fails at the registry, in every way; the others are finished and kept, no ref names the bad one (B35), and once the
// registry is well again only that one is fetched.
func TestB35_RegistryFailsInOneLayer(t *testing.T) {
	layers := plainLayers("a", 3, 4, 400_000)
	dir := t.TempDir()
	w := ti.Image{Layers: layers}.Write(t, dir, "latest")
	bad := w.Manifest.Layers[1].Digest.String()
	other, err := os.ReadFile(w.BlobPath(w.Manifest.Layers[2].Digest))
	require.NoError(t, err)
	good, err := os.ReadFile(w.BlobPath(w.Manifest.Layers[1].Digest))
	require.NoError(t, err)
	// Another valid layer of exactly the right size.
	twin := slices.Concat(other[:min(len(other), len(good))], make([]byte, max(0, len(good)-len(other))))
	for _, tc := range []struct {
		name  string
		fault ti.Fault
		is    error
		text  string
	}{
		{"401", ti.Fault{Status: 401, Body: `{"errors":[{"code":"UNAUTHORIZED","message":"token expired"}]}`}, registry.ErrUnauthorized, "token expired"},
		{"403", ti.Fault{Status: 403, Body: `{"errors":[{"code":"DENIED","message":"not yours"}]}`}, registry.ErrUnauthorized, "not yours"},
		{"404", ti.Fault{Status: 404, Body: `{"errors":[{"code":"BLOB_UNKNOWN","message":"collected"}]}`}, registry.ErrNotFound, "collected"},
		{"429", ti.Fault{Status: 429, Header: http.Header{"Retry-After": {"0"}}, Body: "slow down"}, nil, "429"},
		{"500", ti.Fault{Status: 500, Body: "out of order"}, nil, "500"},
		{"drop", ti.Fault{Cut: true, Drop: 20}, nil, ""},
		{"stall", ti.Fault{Stall: true, Drop: 100_000}, registry.ErrStalled, ""},
		{"another layer", ti.Fault{Replace: other}, nil, ""},
		{"another layer of the right size", ti.Fault{Replace: twin}, nil, bad},
		{"nothing", ti.Fault{Replace: []byte{}}, nil, ""},
		{"a page", ti.Fault{Replace: []byte("<html>please log in</html>")}, nil, ""},
		{"one bit", ti.Fault{Mutate: func(b []byte) []byte { b[len(b)/2] ^= 4; return b }}, nil, bad},
		{"last byte", ti.Fault{Mutate: func(b []byte) []byte { b[len(b)-1] ^= 4; return b }}, nil, bad},
		{"short", ti.Fault{Mutate: func(b []byte) []byte { return b[:len(b)-1] }}, nil, ""},
		{"long", ti.Fault{Mutate: func(b []byte) []byte { return append(b, 0) }}, nil, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			reg := ti.NewRegistry(t, dir)
			reg.SetFault(func(q ti.Request) *ti.Fault {
				if q.Ref == bad && q.HTTP.Method == http.MethodGet {
					f := tc.fault
					f.Delay = 400 * time.Millisecond // the other layers are done by then
					return &f
				}
				return nil
			})
			options := quickly(t)
			options.StallTimeout = 2 * time.Second
			options.Retry = registry.Retry{Attempts: 2, Delay: 10 * time.Millisecond}
			repo, repoDir := newRepo(t, modeHere())
			start := time.Now()
			_, _, err := pull(t, repo, reg.Ref("os", "latest"), container.ImporterOptions{Registry: options})
			require.Error(t, err)
			assert.Less(t, time.Since(start), 20*time.Second)
			if tc.is != nil {
				assert.ErrorIs(t, err, tc.is)
			}
			var le *container.LayerError
			require.ErrorAs(t, err, &le)
			assert.Equal(t, []any{bad, 2, 3}, []any{le.Digest.String(), le.Index, le.Total})
			assert.Contains(t, err.Error(), tc.text)
			assert.Contains(t, err.Error(), reg.Host())
			refs := oracle.Refs(t, repoDir)
			assert.NotContains(t, refs, refOfLayer(t, *w, 1))
			assert.Contains(t, refs, refOfLayer(t, *w, 0))
			assert.Contains(t, refs, refOfLayer(t, *w, 2))
			assert.Len(t, refs, 2)
			oracle.Fsck(t, repoDir)
			assert.Empty(t, leftovers(t, repoDir))
			reg.SetFault(nil)
			reg.Reset()
			state := mustPull(t, repo, reg.Ref("os", "latest"), container.ImporterOptions{Registry: options})
			assert.Equal(t, 2, reg.Requests("blob", ""), "config and the missing layer")
			wellPulled(t, repoDir, state, layers)
		})
	}
}

// The same for manifest and config: nothing is written.
func TestRegistryFailsBeforeTheLayers(t *testing.T) {
	dir := t.TempDir()
	w := ti.Image{Layers: plainLayers("a", 1, 1, 0)}.Write(t, dir, "latest")
	for _, what := range []string{"manifest", "config"} {
		for name, fault := range map[string]ti.Fault{
			"401":  {Status: 401, Body: `{"errors":[{"code":"UNAUTHORIZED","message":"go away"}]}`},
			"404":  {Status: 404, Body: `{"errors":[{"code":"MANIFEST_UNKNOWN","message":"go away"}]}`},
			"500":  {Status: 500, Body: "go away"},
			"cut":  {Cut: true, Drop: 10},
			"page": {Replace: []byte("<html>please log in</html>")},
			"bit":  {Mutate: func(b []byte) []byte { b[len(b)/2] ^= 1; return b }},
		} {
			t.Run(what+", "+name, func(t *testing.T) {
				t.Parallel()
				reg := ti.NewRegistry(t, dir)
				reg.SetFault(func(q ti.Request) *ti.Fault {
					if what == q.Kind || what == "config" && q.Ref == w.Manifest.Config.Digest.String() {
						return &fault
					}
					return nil
				})
				repo, repoDir := newRepo(t, modeHere())
				// By digest where the manifest's bytes are wrong: a tag means whatever the registry says.
				ref := reg.Ref("os", "latest")
				if what == "manifest" {
					ref = reg.Ref("os", w.Digest().String())
				}
				_, _, err := pull(t, repo, ref, container.ImporterOptions{Registry: quickly(t)})
				require.Error(t, err)
				assert.Contains(t, err.Error(), reg.Host())
				assert.Contains(t, err.Error(), "Preparing import: Fetching "+what)
				if fault.Body != "" && fault.Status < 500 { // of those containers/image keeps the status only
					assert.Contains(t, err.Error(), "go away")
				}
				nothingVisible(t, repoDir)
				assert.Empty(t, oracle.Refs(t, repoDir))
			})
		}
	}
}

// What a killed import staged is taken over by the next one, but no commit: the objects that it relied on may be pruned by then.
func TestStagedCommitOfAKilledImportIsNotPublished(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	one := ti.Image{Layers: plainLayers("a", 1, 3, 0)}.Write(t, dir, "one")
	two := ti.Image{Layers: plainLayers("b", 1, 3, 0)}.Write(t, dir, "two")
	from, fromDir := newRepo(t, modeHere())
	mustPull(t, from, one.Ref, container.ImporterOptions{})
	commit := layerRefs(t, fromDir, one)[0]
	for _, mode := range []ostree.Mode{modeHere(), ostree.ModeBareUser} {
		repo, repoDir := newRepo(t, mode)
		boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
		require.NoError(t, err)
		staging := filepath.Join(repoDir, "tmp", "staging-"+strings.TrimSpace(string(boot))+"-AbCdEf")
		require.NoError(t, os.MkdirAll(filepath.Join(staging, commit[:2]), 0o755))
		content, err := os.ReadFile(objectPath(fromDir, commit, "commit"))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(staging, commit[:2], commit[2:]+".commit"), content, 0o644))
		state := mustPull(t, repo, two.Ref, container.ImporterOptions{})
		assert.NoFileExists(t, objectPath(repoDir, commit, "commit"))
		wellPulled(t, repoDir, state, plainLayers("b", 1, 3, 0))
		state = mustPull(t, repo, one.Ref, container.ImporterOptions{})
		wellPulled(t, repoDir, state, plainLayers("a", 1, 3, 0))
	}
}

// Between the import and the deployment of an image without a ref, other processes collect and prune: it is deployed all the same,
// with its layers.
func TestB30_DeployIsSafeFromCollections(t *testing.T) {
	t.Parallel()
	s := newSystem(t, "default")
	s.lockTimeout(1)
	w := osImage("1").Write(t, t.TempDir(), "latest")
	tried := false
	state := s.mustDeploy(w.Ref, container.DeployOptions{PullOptions: container.PullOptions{Progress: func(e container.Event) {
		if started, ok := e.(container.PhaseStarted); ok && started.Phase == container.PhaseDeploy {
			tried = true
			p := startChild(t, task{Do: "collect", Repo: s.repo})
			for p.lines.Scan() {
			}
			_ = p.Wait() // it may be refused, after a second
			_, _ = ti.Output("ostree", "--repo="+s.repo, "prune", "--refs-only")
		}
	}}, NoImgref: true})
	require.True(t, tried)
	assert.Len(t, blobRefs(oracle.Refs(t, s.repo)), 2)
	ti.Run(t, "ostree", "--repo="+s.repo, "ls", "-R", state.MergeCommit)
}

// lockTimeout makes libostree wait for so many seconds for the repository's lock.
func (s *system) lockTimeout(seconds int) {
	ti.Run(s.t, "ostree", "--repo="+s.repo, "config", "set", "core.lock-timeout-secs", fmt.Sprint(seconds))
	s.Sysroot = openSysroot(s.t, s.dir) // the config is read when it is opened
}

// The repository is busy when a deployment is to be cleaned up after: it is written, and that is what counts.
func TestDeployWhileAnotherProcessPulls(t *testing.T) {
	t.Parallel()
	s := newSystem(t, "default")
	s.lockTimeout(1)
	dir := t.TempDir()
	puller := startChild(t, task{Do: "share", Repo: s.repo})
	require.True(t, puller.lines.Scan(), puller.stderr.String())
	var log strings.Builder
	image := osImage("1").Write(t, dir, "latest")
	start := time.Now()
	state, err := s.deploy(image.Ref, container.DeployOptions{PullOptions: container.PullOptions{Logger: textLogger(&log)}})
	assert.Less(t, time.Since(start), 15*time.Second)
	require.NoError(t, err)
	assert.Contains(t, log.String(), "level=WARN")
	assert.Contains(t, s.status(), state.MergeCommit)
	assert.Equal(t, []string{state.MergeCommit}, deploymentRefs(oracle.Refs(t, s.repo)))
	require.NoError(t, puller.stdin.Close())
	puller.finish(t)
	s.mustDeploy(osImage("2").Write(t, dir, "latest").Ref, container.DeployOptions{})
}

// Whoever waits for a lock of the repository can be cancelled.
func TestCancelledWhileTheRepositoryIsLocked(t *testing.T) {
	dir := t.TempDir()
	w := ti.Image{Layers: []ti.Layer{goodLayer("a")}}.Write(t, dir, "latest")
	_, repoDir := newRepo(t, modeHere())
	holder := startChild(t, task{Do: "exclude", Repo: repoDir})
	require.True(t, holder.lines.Scan(), holder.stderr.String())
	cause := errors.New("somebody lost patience")
	options := quickly(t)
	for name, op := range map[string]func(ctx context.Context, repo *ostree.Repo) error{
		"pull": func(ctx context.Context, repo *ostree.Repo) error {
			_, err := importImage(ctx, repo, w.Ref, &container.ImporterOptions{Registry: options})
			return err
		},
		"collect": func(ctx context.Context, repo *ostree.Repo) error {
			_, err := container.GCImageLayers(ctx, repo, nil)
			return err
		},
		"verify": func(ctx context.Context, repo *ostree.Repo) error {
			_, err := container.VerifyImage(ctx, repo, imageName(t, w.Ref))
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			repo, err := ostree.OpenRepo(t.Context(), repoDir)
			require.NoError(t, err)
			defer repo.Close()
			check := nothingLeft(t)
			ctx, cancel := context.WithCancelCause(t.Context())
			var when time.Time
			timer := time.AfterFunc(300*time.Millisecond, func() {
				when = time.Now()
				cancel(cause)
			})
			defer timer.Stop()
			err = op(ctx, repo)
			require.ErrorIs(t, err, cause)
			assert.Less(t, time.Since(when), time.Second)
			check()
		})
	}
	require.NoError(t, holder.stdin.Close())
	holder.finish(t)
	repo, err := ostree.OpenRepo(t.Context(), repoDir)
	require.NoError(t, err)
	defer repo.Close()
	mustPull(t, repo, w.Ref, container.ImporterOptions{})
	oracle.Fsck(t, repoDir)
}

// A disk that is full is said at once: what is left of the layer is not read first.
func TestB16_FullDiskIsSaidAtOnce(t *testing.T) {
	t.Parallel()
	at := smallDisk(t, 48)
	repo, _ := repoOn(t, at, ostree.ModeBare)
	dir := t.TempDir()
	w := ti.Image{Layers: []ti.Layer{{Compression: ti.GzipFast, Members: []ti.Member{ti.Dir("usr", 0o755), ti.BigFile("usr/noise", 0o644, 30<<20, 3)}}}}.Write(t, dir, "latest")
	reg := ti.NewRegistry(t, dir)
	reg.SetFault(func(q ti.Request) *ti.Fault {
		if q.Ref == w.Manifest.Layers[0].Digest.String() {
			return &ti.Fault{Stall: true, Drop: 14 << 20}
		}
		return nil
	})
	ballast(t, at, 10<<20)
	options := quickly(t)
	options.StallTimeout = 20 * time.Second
	start := time.Now()
	_, _, err := pull(t, repo, reg.Ref("os", "latest"), container.ImporterOptions{Registry: options, IgnoreSpace: true})
	require.ErrorIs(t, err, container.ErrNoSpace)
	assert.Less(t, time.Since(start), 10*time.Second)
}

// As soon as an import lets go of the repository, another process may remove the image and prune: it was imported all the same.
func TestImageRemovedRightAfterItsImport(t *testing.T) {
	t.Parallel()
	for _, mode := range []ostree.Mode{modeHere(), ostree.ModeArchive} {
		w := ti.Image{Layers: plainLayers("a", 2, 2, 0)}.Write(t, t.TempDir(), "latest")
		repo, repoDir := newRepo(t, mode)
		var log strings.Builder
		state := mustPull(t, repo, w.Ref, container.ImporterOptions{Logger: textLogger(&log), Progress: func(e container.Event) {
			if started, ok := e.(container.PhaseStarted); ok && started.Phase == container.PhaseGC {
				for name := range oracle.Refs(t, repoDir) {
					ti.Run(t, "ostree", "--repo="+repoDir, "refs", "--delete", name)
				}
				ti.Run(t, "ostree", "--repo="+repoDir, "prune", "--refs-only")
			}
		}})
		assert.Equal(t, w.Digest(), state.ManifestDigest)
		assert.Equal(t, &w.Manifest, state.Manifest)
		assert.Len(t, state.BaseCommit, 64)
		assert.Empty(t, log.String())
		assert.Empty(t, objects(t, repoDir))
		oracle.Fsck(t, repoDir)
	}
}

// Refs that come and go while they are listed are no error.
func TestListWhileRefsComeAndGo(t *testing.T) {
	t.Parallel()
	repo, repoDir := newRepo(t, ostree.ModeBareUser)
	w := ti.Image{Layers: []ti.Layer{goodLayer("a")}}.Write(t, t.TempDir(), "latest")
	state := mustPull(t, repo, w.Ref, container.ImporterOptions{})
	other, err := ostree.OpenRepo(t.Context(), repoDir)
	require.NoError(t, err)
	defer other.Close()
	stop := make(chan struct{})
	var wg sync.WaitGroup
	defer wg.Wait()
	defer close(stop)
	wg.Go(func() {
		for n := 0; ; n = (n + 1) % 20 {
			select {
			case <-stop:
				return
			default:
			}
			name := fmt.Sprintf("ostree/container/image/dir_3A_x%d", n)
			assert.NoError(t, other.SetRefImmediate(context.Background(), "", name, state.MergeCommit))
			assert.NoError(t, other.SetRefImmediate(context.Background(), "", name, ""))
		}
	})
	for range 500 {
		images, err := container.ListImages(t.Context(), repo)
		require.NoError(t, err)
		assert.Contains(t, images, w.Ref)
	}
}
