package container_test

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/ostree-container/ostree-container/container"
	"github.com/ostree-container/ostree-container/container/internal/oracle"
	ti "github.com/ostree-container/ostree-container/container/internal/testimage"
	"github.com/ostree-container/ostree-container/ostree"
)

// labelledModel is the union of layers, labelled by the ostree command with the policy that is in it. It returns its listing.
func labelledModel(t testing.TB, layers []ti.Layer) string {
	t.Helper()
	merged, _ := oracle.Merge(nil, trees(t, rulesHere(), layers)...)
	if merged.Lookup("usr/etc/selinux/test/contexts/files/file_contexts") == nil {
		return merged.List()
	}
	dir := t.TempDir()
	repo, root := filepath.Join(dir, "repo"), filepath.Join(dir, "root")
	ti.Run(t, "ostree", "--repo="+repo, "init", "--mode=bare")
	ti.Run(t, "ostree", "--repo="+repo, "config", "set", "core.fsync", "false")
	ti.Run(t, "ostree", "--repo="+repo, "checkout", "--force-copy", oracle.CommitTree(t, repo, merged), root)
	return oracle.List(t, repo, ti.Run(t, "ostree", "--repo="+repo, "commit", "--orphan", "--tree=dir="+root, "--selinux-policy="+root)[:64])
}

// Random layers over one policy, another, none, beneath one, and repeated: whatever was pulled before, the merge commit is what the ostree
// command makes of the model, and nothing that is needed is deleted.
func TestRelabelledRandomLayers(t *testing.T) {
	ti.NeedTool(t, "ostree")
	ti.NeedRoot(t) // for the model's labels
	one := ti.Layer{Members: slices.Concat([]ti.Member{ti.Dir("etc", 0o755)}, policyMembers("etc", smallPolicy))}
	two := ti.Layer{Members: slices.Concat([]ti.Member{ti.Dir("etc", 0o755)}, policyMembers("etc", strings.ReplaceAll(smallPolicy, "_t:", "_other_t:")))}
	for n := range conformanceImages(20) {
		seed := uint64(70_000 + n)
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			features := ti.AllFeatures()
			features.EmptyXattrs = false // see TestB21
			layers := oneLabel(ti.Random(seed, ti.RandomOptions{Features: features, MaxLayers: 4}))
			stacks := [][]ti.Layer{
				append([]ti.Layer{one}, layers...), append([]ti.Layer{two}, layers...), layers, slices.Concat(layers[:1], []ti.Layer{one}, layers[1:]),
				slices.Concat([]ti.Layer{two}, layers, layers[:1]),
			}
			var want []string
			for _, s := range stacks {
				want = append(want, labelledModel(t, s))
			}
			repo, repoDir := newRepo(t, []ostree.Mode{modeHere(), ostree.ModeBareUser, ostree.ModeArchive}[seed%3])
			dir := t.TempDir()
			random := rand.New(rand.NewPCG(seed, 7))
			for round := range 2 {
				for _, s := range random.Perm(len(stacks)) {
					w := ti.Image{Layers: stacks[s], Labels: map[string]string{"version": fmt.Sprint(round)}}.Write(t, dir, fmt.Sprint("stack", s))
					state := mustPull(t, repo, w.Ref, container.ImporterOptions{})
					oracle.Same(t, want[s], oracle.List(t, repoDir, state.MergeCommit), fmt.Sprintf("stack %d in round %d", s, round))
					if round == 0 { // as a deployment does, which outlives the ref of the image
						ti.Run(t, "ostree", "--repo="+repoDir, "refs", fmt.Sprint("--create=ostree/0/1/", s), state.MergeCommit)
					}
					oracle.Fsck(t, repoDir)
				}
			}
			for s := range stacks {
				oracle.Same(t, want[s], oracle.List(t, repoDir, fmt.Sprint("ostree/0/1/", s)), fmt.Sprintf("deployment of stack %d", s))
				v, err := container.VerifyImage(t.Context(), repo, imageName(t, "oci:"+dir+":"+fmt.Sprint("stack", s)))
				if assert.NoError(t, err) {
					assert.True(t, v.OK(), "%+v", v)
				}
			}
		})
	}
}
