package container_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/container"
	"github.com/ostree-container/ostree-container/container/internal/oracle"
	ti "github.com/ostree-container/ostree-container/container/internal/testimage"
	"github.com/ostree-container/ostree-container/ostree"
)

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
