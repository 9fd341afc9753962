package container_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
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
