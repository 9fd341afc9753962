package container_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/container"
	"github.com/ostree-container/ostree-container/container/imageref"
	"github.com/ostree-container/ostree-container/container/internal/oracle"
	ti "github.com/ostree-container/ostree-container/container/internal/testimage"
	"github.com/ostree-container/ostree-container/container/registry"
	"github.com/ostree-container/ostree-container/ostree"
)

// policyFile is a policy.json that accepts everything.
func policyFile(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "policy.json")
	require.NoError(t, os.WriteFile(path, []byte(`{"default":[{"type":"insecureAcceptAnything"}]}`), 0o600))
	return path
}

func unverified(t testing.TB, ref string) imageref.OSTreeImageReference {
	t.Helper()
	r, err := imageref.ParseOSTree("ostree-unverified-image:" + ref)
	require.NoError(t, err)
	return r
}

// modeHere is the mode in which this process can keep everything.
func modeHere() ostree.Mode {
	if os.Geteuid() == 0 {
		return ostree.ModeBare
	}
	return ostree.ModeBareUser
}

func newRepo(t testing.TB, mode ostree.Mode) (*ostree.Repo, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "repo")
	repo, err := ostree.CreateRepo(t.Context(), dir, mode)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, repo.Close()) })
	return repo, dir
}

// pull imports an image, or says that it is there already.
func pull(t testing.TB, repo *ostree.Repo, ref string, opts container.ImporterOptions) (*container.LayeredImageState, bool, error) {
	t.Helper()
	if opts.Registry == nil {
		opts.Registry = &registry.Options{Access: registry.Access{InsecureSkipTLSVerify: true, Auth: registry.AuthAnonymous}}
	}
	if opts.Registry.PolicyPath == "" {
		opts.Registry.PolicyPath = policyFile(t)
	}
	imp, err := container.NewImporter(repo, unverified(t, ref), &opts)
	require.NoError(t, err)
	defer func() { assert.NoError(t, imp.Close()) }()
	res, err := imp.Prepare(t.Context())
	if err != nil {
		return nil, false, err
	}
	if res.AlreadyPresent != nil {
		return res.AlreadyPresent, true, nil
	}
	state, err := imp.Import(t.Context(), res.Ready)
	return state, false, err
}

func mustPull(t testing.TB, repo *ostree.Repo, ref string, opts container.ImporterOptions) *container.LayeredImageState {
	t.Helper()
	state, present, err := pull(t, repo, ref, opts)
	require.NoError(t, err)
	require.False(t, present, "%s is there already", ref)
	return state
}

// layerRefs gives the commits of the layers of an image, in order.
func layerRefs(t testing.TB, repo string, w *ti.Written) []string {
	t.Helper()
	refs := oracle.Refs(t, repo)
	var out []string
	for _, l := range w.Manifest.Layers {
		name, err := imageref.EscapeRef("ostree/container/blob", l.Digest.String())
		require.NoError(t, err)
		require.Contains(t, refs, name)
		out = append(out, refs[name])
	}
	return out
}

// leftovers are files in REPO/tmp that no tool may leave behind.
func leftovers(t testing.TB, repo string) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(repo, "tmp"))
	require.NoError(t, err)
	var out []string
	for _, e := range entries {
		if e.Name() != "cache" {
			out = append(out, e.Name())
		}
	}
	return out
}

// nothingVisible checks that a failed import left no ref but those of finished
// layers, which the given ones are not, nothing in tmp, and a sound repository.
func nothingVisible(t testing.TB, repo string, bad ...digest.Digest) {
	t.Helper()
	refs := oracle.Refs(t, repo)
	for name := range refs {
		assert.True(t, strings.HasPrefix(name, "ostree/container/blob/"), "ref %s", name)
	}
	for _, d := range bad {
		if name, err := imageref.EscapeRef("ostree/container/blob", d.String()); err == nil {
			assert.NotContains(t, refs, name)
		}
	}
	assert.Empty(t, leftovers(t, repo))
	oracle.Fsck(t, repo)
	partial, err := os.ReadDir(filepath.Join(repo, "state"))
	if err == nil {
		assert.Empty(t, partial, "commits marked as partial")
	}
}

// rulesHere are those of the libostree at hand.
func rulesHere() oracle.Rules {
	if ostree.AtLeast(2024, 3) {
		return oracle.Rules{Var: "var"}
	}
	return oracle.Rules{}
}

func trees(t testing.TB, rules oracle.Rules, layers []ti.Layer) []*oracle.LayerTree {
	t.Helper()
	var out []*oracle.LayerTree
	for i, l := range layers {
		tree, err := oracle.Layer(l.Members, rules)
		require.NoError(t, err, "layer %d", i+1)
		out = append(out, tree)
	}
	return out
}

// expectFiltered checks what an import reports against the model.
func expectFiltered(t testing.TB, w *ti.Written, first int, want []*oracle.LayerTree, got map[string]map[string]uint32) {
	t.Helper()
	for i, tree := range want {
		blob := w.Manifest.Layers[first+i].Digest.String()
		counts, devices := map[string]uint32{}, uint32(0)
		for key, n := range got[blob] {
			if strings.HasPrefix(key, "/") && len(tree.Devices) > 0 { // "/path (FIFO)"
				devices += n
				continue
			}
			counts[key] = n
		}
		assert.Equal(t, tree.Filtered, counts, "layer %d", i+1)
		assert.Len(t, tree.Devices, int(devices), "layer %d", i+1)
	}
}

// conformanceImages is how many images a test makes: fewer with -short.
func conformanceImages(all int) int {
	if testing.Short() {
		return max(all/10, 1)
	}
	return all
}

// Random images whose union the ostree command gets right: the merge commit's
// listing equals the union made by the command's own checkouts, and the
// model's; the layers equal the model's.
func TestConformanceRandomUnion(t *testing.T) {
	ti.NeedTool(t, "ostree")
	for n := range conformanceImages(200) {
		seed := uint64(n)
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			layers := ti.Random(seed, ti.RandomOptions{Features: ti.UnionSafe()})
			mode := []ostree.Mode{modeHere(), ostree.ModeBareUser, ostree.ModeArchive}[seed%3]
			want := conform(t, mode, layers)
			if os.Geteuid() == 0 {
				oracle.Same(t, oracle.CLI(t, nil, trees(t, rulesHere(), layers)...), want, "the ostree command's union and the model's")
			}
		})
	}
	if os.Geteuid() != 0 {
		ti.Missing(t, "root, for the ostree command's union")
	}
}

// Random images with everything that section 15 decides against the ostree
// command: the model is the judge.
func TestConformanceRandomAll(t *testing.T) {
	ti.NeedTool(t, "ostree")
	for n := range conformanceImages(80) {
		seed := uint64(10_000 + n)
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			mode := []ostree.Mode{modeHere(), ostree.ModeBareUser, ostree.ModeArchive}[seed%3]
			features := ti.AllFeatures()
			features.EmptyXattrs = mode != ostree.ModeBare // see TestB21
			conform(t, mode, ti.Random(seed, ti.RandomOptions{Features: features}))
		})
	}
}

// conform imports layers as an image without a base and compares all of it
// with the model; it returns the model's listing of the merge.
func conform(t *testing.T, mode ostree.Mode, layers []ti.Layer) string {
	t.Helper()
	w := ti.Image{Layers: layers}.Write(t, t.TempDir(), "latest")
	repo, dir := newRepo(t, mode)
	state := mustPull(t, repo, w.Ref, container.ImporterOptions{})
	oracle.Fsck(t, dir)
	assert.Empty(t, leftovers(t, dir))
	assert.Equal(t, w.Digest(), state.ManifestDigest)
	models := trees(t, rulesHere(), layers)
	for i, commit := range layerRefs(t, dir, w) {
		if !oracle.Same(t, models[i].Root.List(), oracle.List(t, dir, commit), fmt.Sprintf("layer %d", i+1)) {
			t.FailNow()
		}
	}
	expectFiltered(t, w, 0, models, state.Filtered)
	merged, _ := oracle.Merge(nil, models...)
	oracle.Same(t, merged.List(), oracle.List(t, dir, state.MergeCommit), "merge commit")
	return merged.List()
}

// Derived images over an ostree-native base, with and without an overlay root.
func TestConformanceOverBase(t *testing.T) {
	for _, overlay := range []bool{false, true} {
		members := ti.BaseMembers()
		if overlay {
			members = append(members, ti.Dir("usr/lib/ostree", 0o755),
				ti.File("usr/lib/ostree/prepare-root.conf", 0o644, "[composefs]\nenabled=yes\n"))
		}
		rules := rulesHere()
		rules.UsrOnly = !overlay
		base := ti.EncapsulatedBase(t, ti.BaseOptions{Members: members, Bootable: true, Components: []ti.Component{{Name: "bin", Prefix: "usr/bin"}, {Name: "modules", Prefix: "usr/lib/modules"}}})
		baseTree, err := oracle.Layer(members, oracle.Rules{Raw: true})
		require.NoError(t, err)
		oracle.Same(t, oracle.List(t, base.Repo, base.Commit), baseTree.Root.List(), "base")
		for n := range conformanceImages(15) {
			seed := uint64(20_000 + n)
			t.Run(fmt.Sprintf("overlay_%v/%d", overlay, seed), func(t *testing.T) {
				t.Parallel()
				features := ti.AllFeatures()
				if seed%2 == 0 {
					features = ti.UnionSafe()
				}
				features.EmptyXattrs, features.LinksWithinUsr = false, !overlay
				layers := ti.Random(seed, ti.RandomOptions{Features: features, MaxLayers: 4})
				w := ti.Image{Base: &base.Base, Layers: layers}.Write(t, t.TempDir(), "latest")
				models := trees(t, rules, layers)
				repo, dir := newRepo(t, modeHere())
				state := mustPull(t, repo, w.Ref, container.ImporterOptions{})
				oracle.Fsck(t, dir)
				assert.Equal(t, base.Commit, state.BaseCommit)
				expectFiltered(t, w, len(base.Manifest.Layers), models, state.Filtered)
				merged, notes := oracle.Merge(baseTree.Root, models...)
				oracle.Same(t, merged.List(), oracle.List(t, dir, state.MergeCommit), "merge commit")
				if notes.Safe() && os.Geteuid() == 0 {
					oracle.Same(t, oracle.CLI(t, baseTree.Root, models...), merged.List(), "the ostree command's union and the model's")
				}
			})
		}
	}
}

// The same image gives the same commits in every mode (B26), however many
// layers are worked on at once, and when it is pulled again (B42).
func TestB42_SameImageSameCommits(t *testing.T) {
	for n := range conformanceImages(6) {
		seed := uint64(30_000 + n)
		features := ti.AllFeatures()
		features.EmptyXattrs = false
		layers := ti.Random(seed, ti.RandomOptions{Features: features, MaxLayers: 5})
		w := ti.Image{Layers: layers}.Write(t, t.TempDir(), "latest")
		merges := map[string]string{}
		layerSets := map[string][]string{}
		for _, mode := range []ostree.Mode{modeHere(), ostree.ModeBareUser, ostree.ModeArchive} {
			for _, jobs := range []int{1, 2, 7} {
				name := fmt.Sprintf("seed %d, %s, %d jobs", seed, mode, jobs)
				repo, dir := newRepo(t, mode)
				state := mustPull(t, repo, w.Ref, container.ImporterOptions{Jobs: jobs})
				merges[name] = state.MergeCommit
				layerSets[name] = layerRefs(t, dir, w)
				oracle.Fsck(t, dir)
				again, present, err := pull(t, repo, w.Ref, container.ImporterOptions{Jobs: jobs})
				require.NoError(t, err)
				assert.True(t, present)
				assert.Equal(t, state.MergeCommit, again.MergeCommit)
			}
		}
		first := fmt.Sprintf("seed %d, %s, 1 jobs", seed, modeHere())
		for name := range merges {
			assert.Equal(t, merges[first], merges[name], name)
			assert.Equal(t, layerSets[first], layerSets[name], name)
		}
	}
}

// An update shares the layers that did not change; the result is that of a
// fresh import.
func TestConformanceUpdate(t *testing.T) {
	features := ti.AllFeatures()
	features.EmptyXattrs = false
	for seed := range uint64(3) {
		layers := ti.Random(40_000+seed, ti.RandomOptions{Features: features, MinLayers: 4})
		dir := t.TempDir()
		v1 := ti.Image{Layers: layers[:len(layers)-1]}.Write(t, dir, "latest")
		repo, repoDir := newRepo(t, modeHere())
		first := mustPull(t, repo, v1.Ref, container.ImporterOptions{})
		v2 := ti.Image{Layers: layers}.Write(t, dir, "latest")
		second := mustPull(t, repo, v2.Ref, container.ImporterOptions{})
		assert.NotEqual(t, first.MergeCommit, second.MergeCommit)
		fresh, _ := newRepo(t, ostree.ModeBareUser)
		assert.Equal(t, mustPull(t, fresh, v2.Ref, container.ImporterOptions{}).MergeCommit, second.MergeCommit)
		oracle.Fsck(t, repoDir)
		// Compressed in another way, a layer is not fetched again.
		for i := range layers {
			layers[i].Compression = ti.GzipFast
		}
		v3 := ti.Image{Layers: layers, Labels: map[string]string{"v": "3"}}.Write(t, dir, "latest")
		third := mustPull(t, repo, v3.Ref, container.ImporterOptions{})
		assert.Equal(t, oracle.List(t, repoDir, second.MergeCommit), oracle.List(t, repoDir, third.MergeCommit))
		oracle.Fsck(t, repoDir)
	}
}
