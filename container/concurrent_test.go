package container_test

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/container"
	"github.com/ostree-container/ostree-container/container/internal/oracle"
	ti "github.com/ostree-container/ostree-container/container/internal/testimage"
	"github.com/ostree-container/ostree-container/ostree"
)

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
