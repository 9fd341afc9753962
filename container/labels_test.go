package container_test

import (
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
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

const labelledBy = "ostree-container.labelled-by"

// policyLayer is the lowest layer of an operating system: it brings the policy.
func policyLayer(contexts string) ti.Layer {
	return ti.Layer{Members: slices.Concat([]ti.Member{
		ti.Dir("usr", 0o755), ti.Dir("usr/bin", 0o755), ti.Dir("usr/lib", 0o755), ti.Dir("usr/lib/modules", 0o755), ti.Dir("etc", 0o755),
		ti.File("usr/bin/tool", 0o755, "tool"), ti.File("usr/bin/hidden", 0o755, "hidden"), ti.Symlink("usr/bin/link", "tool"),
		ti.File("usr/lib/large", 0o644, strings.Repeat("large ", 100_000)), ti.File("etc/shadow", 0o600, "secret"),
	}, policyMembers("etc", contexts))}
}

// unlabelledLayers lie on top of it: they hide, remove and repeat, and have a file in two places with different labels.
func unlabelledLayers() []ti.Layer {
	return []ti.Layer{
		{Members: []ti.Member{
			ti.Dir("usr", 0o755), ti.Dir("usr/bin", 0o755), ti.File("usr/bin/hidden", 0o755, "shown").With("security.capability", "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"),
			ti.File("usr/bin/twice", 0o644, "in two places"), ti.Dir("usr/share", 0o755), ti.File("usr/share/twice", 0o644, "in two places"), ti.File("usr/share/gone", 0o644, "gone"),
			ti.Dir("usr/share/opaque", 0o750), ti.File("usr/share/opaque/old", 0o644, "old"), ti.Dir("opt", 0o755), ti.File("opt/none", 0o644, "no label"),
			ti.File("usr/lib/empty", 0o644, ""),
		}},
		{Members: []ti.Member{
			ti.Dir("usr", 0o755), ti.Dir("usr/share", 0o755), ti.Whiteout("usr/share/gone"), ti.Dir("usr/share/opaque", 0o700), ti.Opaque("usr/share/opaque"),
			ti.File("usr/share/opaque/new", 0o644, "new"), ti.Dir("etc", 0o755), ti.File("etc/new.conf", 0o644, "new"), ti.Symlink("usr/share/link", "opaque"),
		}},
	}
}

// contentObjects are the files in objects/ that hold content, by checksum.
func contentObjects(t testing.TB, repo string) (sums []string) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(repo+"/objects", func(path string, _ fs.DirEntry, err error) error {
		if name, ok := strings.CutSuffix(strings.TrimSuffix(path, "z"), ".file"); ok {
			sums = append(sums, filepath.Base(filepath.Dir(name))+filepath.Base(name))
		}
		return err
	}))
	return sums
}

// listedFiles are the content objects in listings by the ostree command, with the paths at which they are.
func listedFiles(listings ...string) map[string][]string {
	sums := map[string][]string{}
	for _, text := range listings {
		for _, line := range strings.Split(strings.TrimSpace(text), "\n") {
			f := strings.Fields(line)
			if f[0][0] != 'd' {
				sums[f[4]] = append(sums[f[4]], line[strings.Index(line, "} /"):])
			}
		}
	}
	return sums
}

func layerListings(t testing.TB, repo string, w *ti.Written) (listings []string) {
	t.Helper()
	refs := oracle.Refs(t, repo)
	for n := range w.Manifest.Layers {
		listings = append(listings, oracle.List(t, repo, refs[refOfLayer(t, *w, n)]))
	}
	return listings
}

// An image that brings its policy without an ostree base is stored once: its layers have the objects of the merged tree, and nothing else
// is left. They are labelled as the ostree command labels them.
func TestRelabelledLayersShareObjects(t *testing.T) {
	t.Parallel()
	layers := append([]ti.Layer{policyLayer(smallPolicy)}, unlabelledLayers()...)
	layers = append(layers, ti.Layer{Members: []ti.Member{ti.Dir("etc", 0o755), ti.File("etc/resolv.conf", 0o644, "")}}) // which the merge leaves out
	w := ti.Image{Layers: layers}.Write(t, t.TempDir(), "latest")
	var listed, merged string
	for _, mode := range []ostree.Mode{modeHere(), ostree.ModeBareUser, ostree.ModeArchive} {
		repo, dir := newRepo(t, mode)
		state := mustPull(t, repo, w.Ref, container.ImporterOptions{})
		oracle.Fsck(t, dir)
		assert.Empty(t, leftovers(t, dir))
		tree, inLayers := oracle.List(t, dir, state.MergeCommit), layerListings(t, dir, w)
		if listed == "" {
			listed, merged = strings.Join(inLayers, ""), state.MergeCommit
		}
		assert.Equal(t, listed, strings.Join(inLayers, ""), "the layers, in %s", mode)
		assert.Equal(t, merged, state.MergeCommit, mode)
		assert.Equal(t, oracle.Refs(t, dir)[refOfLayer(t, *w, 0)], state.BaseCommit)

		assert.NotContains(t, tree, "/usr/etc/resolv.conf")
		assert.Contains(t, lines(tree)["/var"], "object_r:var_t:")
		files := listedFiles(append(inLayers, tree)...)
		assert.ElementsMatch(t, keys(files), contentObjects(t, dir), "objects that nothing needs, or one twice")
		for sum := range listedFiles(tree) {
			assert.Contains(t, listedFiles(inLayers...), sum, "%s has an object of its own", files[sum])
		}
		for path, line := range lines(strings.Join(inLayers, "")) {
			assert.Equal(t, !strings.HasPrefix(path, "/opt"), strings.Contains(line, "security.selinux"), path)
		}
		before := contentObjects(t, dir)
		ti.Run(t, "ostree", "--repo="+dir, "prune", "--refs-only", "--depth=0")
		assert.ElementsMatch(t, before, contentObjects(t, dir))
		oracle.Fsck(t, dir)

		if os.Geteuid() != 0 || mode != modeHere() {
			continue
		}
		// What the ostree command makes of the same layers with the policy of the merged tree.
		root := filepath.Join(t.TempDir(), "root")
		ti.Run(t, "ostree", "--repo="+dir, "checkout", "--force-copy", state.MergeCommit, root)
		for n := 1; n < len(layers); n++ {
			alone, aloneDir := newRepo(t, mode)
			single := mustPull(t, alone, ti.Image{Layers: layers[n : n+1]}.Write(t, t.TempDir(), "x").Ref, container.ImporterOptions{})
			assert.NotContains(t, oracle.List(t, aloneDir, single.BaseCommit), "security.selinux")
			out := filepath.Join(t.TempDir(), "layer")
			ti.Run(t, "ostree", "--repo="+aloneDir, "checkout", "--force-copy", single.BaseCommit, out)
			want := ti.Run(t, "ostree", "--repo="+aloneDir, "commit", "--orphan", "--tree=dir="+out, "--selinux-policy="+root)
			oracle.Same(t, oracle.List(t, aloneDir, want[:64]), inLayers[n], fmt.Sprintf("layer %d", n+1))
		}
	}
}

// Layers that were labelled by one policy serve images with another one, or with none, as if they were new.
func TestRelabelledLayersUnderAnotherPolicy(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	shared := unlabelledLayers()
	other := strings.ReplaceAll(smallPolicy, "_t:", "_other_t:")
	other = strings.ReplaceAll(other, "/usr/share/opaque(/.*)?\tsystem_u:object_r:opaque_other_t:s0", "/usr/share/opaque(/.*)?\t<<none>>")
	require.Contains(t, other, "opaque(/.*)?\t<<none>>")
	images := []*ti.Written{
		ti.Image{Layers: append([]ti.Layer{policyLayer(smallPolicy)}, shared...)}.Write(t, dir, "one"),
		ti.Image{Layers: append([]ti.Layer{policyLayer(other)}, shared...)}.Write(t, dir, "other"),
		ti.Image{Layers: shared}.Write(t, dir, "none"),
		ti.Image{Layers: append(append([]ti.Layer{policyLayer(smallPolicy)}, shared...), ti.Layer{Members: []ti.Member{ti.Whiteout("etc/selinux")}})}.Write(t, dir, "removed"),
		ti.Image{Layers: append(append([]ti.Layer{policyLayer(smallPolicy)}, shared...), ti.Layer{Members: policyMembers("etc", other)})}.Write(t, dir, "changed"),
		ti.Image{Layers: append([]ti.Layer{policyLayer(smallPolicy)}, shared[:1]...), Labels: map[string]string{"version": "2"}}.Write(t, dir, "fewer"),
	}
	fresh := map[string]string{}
	for _, w := range images {
		repo, _ := newRepo(t, modeHere())
		fresh[w.Ref] = mustPull(t, repo, w.Ref, container.ImporterOptions{}).MergeCommit
	}
	assert.NotEqual(t, fresh[images[2].Ref], fresh[images[3].Ref])
	modes := []ostree.Mode{modeHere(), ostree.ModeBareUser, ostree.ModeArchive}
	random := rand.New(rand.NewPCG(3, 4))
	for round := range 6 {
		repo, repoDir := newRepo(t, modes[round%3])
		for _, n := range random.Perm(len(images)) {
			w := images[n]
			state := mustPull(t, repo, w.Ref, container.ImporterOptions{})
			assert.Equal(t, fresh[w.Ref], state.MergeCommit, "%s in round %d", w.Ref, round)
			oracle.Fsck(t, repoDir)
			// Whoever came last has the layers: nothing that it has is stored twice.
			files := listedFiles(layerListings(t, repoDir, w)...)
			for sum, paths := range listedFiles(oracle.List(t, repoDir, state.MergeCommit)) {
				assert.Contains(t, files, sum, "%s of %s in round %d", paths, w.Ref, round)
			}
		}
		for _, w := range images {
			assert.Equal(t, fresh[w.Ref], oracle.Refs(t, repoDir)[imageRefOf(t, w.Ref)])
		}
	}
}

// Without a policy, and where a layer has labels of its own, layers stay as they were imported.
func TestLayersWithLabelsOfTheirOwnAreLeftAlone(t *testing.T) {
	t.Parallel()
	const own = "system_u:object_r:own_t:s0\x00"
	labelled := []ti.Layer{
		{Members: []ti.Member{ti.Dir("usr", 0o755), ti.File("usr/a", 0o644, "a"), ti.File("usr/b", 0o644, "b").With("security.selinux", own)}},
		{Members: []ti.Member{ti.Dir("usr", 0o755), ti.Dir("usr/d", 0o755).With("security.selinux", own), ti.File("usr/d/c", 0o644, "c")}},
	}
	hiding := ti.Layer{Members: []ti.Member{ti.Dir("usr", 0o755)}}
	for _, name := range []string{"usr/e", "usr/f", "usr/g", "usr/h"} {
		labelled[1].Members = append(labelled[1].Members, ti.File(name, 0o644, name))
		hiding.Members = append(hiding.Members, ti.Whiteout(name))
	}
	plain, plainDir := newRepo(t, modeHere())
	dir := t.TempDir()
	w := ti.Image{Layers: append(slices.Clone(labelled), unlabelledLayers()[0])}.Write(t, dir, "plain")
	without := mustPull(t, plain, w.Ref, container.ImporterOptions{}).MergeCommit
	before := oracle.Refs(t, plainDir)
	w = ti.Image{Layers: append(append([]ti.Layer{policyLayer(smallPolicy)}, labelled...), unlabelledLayers()[0], hiding)}.Write(t, dir, "policy")
	fresh, freshDir := newRepo(t, modeHere())
	for n, repo := range []*ostree.Repo{fresh, plain} { // the layers come with the image, or were there
		state := mustPull(t, repo, w.Ref, container.ImporterOptions{})
		repoDir := []string{freshDir, plainDir}[n]
		oracle.Fsck(t, repoDir)
		refs := oracle.Refs(t, repoDir)
		for l := 1; l <= 2; l++ {
			name := refOfLayer(t, *w, l)
			assert.Equal(t, before[name], refs[name], "layer %d", l+1)
		}
		got := lines(oracle.List(t, repoDir, state.MergeCommit))
		assert.Contains(t, got["/usr/b"], "object_r:usr_t:")
		assert.Contains(t, got["/usr/d"], "object_r:usr_t:")
		assert.Equal(t, got, lines(oracle.List(t, freshDir, oracle.Refs(t, freshDir)[imageRefOf(t, w.Ref)])))
		ref := refs[refOfLayer(t, *w, 3)]
		_, marked, err := readMetadata(t, repo, ref)
		require.NoError(t, err)
		assert.True(t, marked, "the layer without labels has some now")
		if repo == fresh {
			files := listedFiles(append(layerListings(t, repoDir, w), oracle.List(t, repoDir, state.MergeCommit))...)
			assert.ElementsMatch(t, keys(files), contentObjects(t, repoDir), "objects of a layer that was left alone after all")
		}
	}
	again, _, err := pull(t, plain, ti.Image{Layers: append(slices.Clone(labelled), unlabelledLayers()[0]), Labels: map[string]string{"v": "2"}}.Write(t, dir, "plain").Ref, container.ImporterOptions{})
	require.NoError(t, err)
	assert.Equal(t, treeOf(t, plainDir, without), treeOf(t, plainDir, again.MergeCommit))
}

func readMetadata(t testing.TB, repo *ostree.Repo, commit string) (string, bool, error) {
	t.Helper()
	c, _, err := repo.LoadCommit(t.Context(), commit)
	require.NoError(t, err)
	return c.MetadataString(labelledBy)
}

// An update looks only at the layers that are new.
func TestUpdateKeepsLabelledLayers(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	layers := append([]ti.Layer{policyLayer(smallPolicy)}, unlabelledLayers()...)
	first := ti.Image{Layers: layers[:2]}.Write(t, dir, "latest")
	repo, repoDir := newRepo(t, modeHere())
	mustPull(t, repo, first.Ref, container.ImporterOptions{})
	before := oracle.Refs(t, repoDir)
	second := ti.Image{Layers: layers}.Write(t, dir, "latest")
	state := mustPull(t, repo, second.Ref, container.ImporterOptions{})
	for n := range 2 {
		name := refOfLayer(t, *first, n)
		assert.Equal(t, before[name], oracle.Refs(t, repoDir)[name], "layer %d", n+1)
	}
	fresh, freshDir := newRepo(t, modeHere())
	assert.Equal(t, mustPull(t, fresh, second.Ref, container.ImporterOptions{}).MergeCommit, state.MergeCommit)
	assert.Equal(t, oracle.Refs(t, freshDir), oracle.Refs(t, repoDir))
}

// Killed at any moment, layers are there with or without labels, and the next pull completes; nothing is left over.
func TestKilledWhileRelabelling(t *testing.T) {
	layers := append([]ti.Layer{policyLayer(smallPolicy)}, append(unlabelledLayers(), plainLayers("k", 3, 60, 700_000)...)...)
	w := ti.Image{Layers: layers}.Write(t, t.TempDir(), "latest")
	clean, cleanDir := newRepo(t, modeHere())
	want := mustPull(t, clean, w.Ref, container.ImporterOptions{})
	kills := 12
	if testing.Short() {
		kills = 2
	}
	random := rand.New(rand.NewPCG(5, 6))
	for n := range kills {
		repo, repoDir := newRepo(t, []ostree.Mode{modeHere(), ostree.ModeBareUser, ostree.ModeArchive}[n%3])
		p := startChild(t, task{Do: "pull", Repo: repoDir, Refs: []string{w.Ref}, Jobs: 2})
		for p.lines.Scan() && !strings.Contains(p.lines.Text(), string(container.PhaseRelabel)) {
		}
		time.Sleep(time.Duration(random.IntN(60_000)) * time.Microsecond)
		_ = p.Process.Kill() // it may be done
		for p.lines.Scan() {
		}
		_ = p.Wait()
		oracle.Fsck(t, repoDir)
		moved := false
		for i := range layers {
			name, refs := refOfLayer(t, *w, i), oracle.WholeRefs(t, repoDir)
			assert.Contains(t, refs, name, "a finished layer is lost, kill %d", n)
			moved = moved || refs[name] == oracle.Refs(t, cleanDir)[name]
		}
		state, present, err := pull(t, repo, w.Ref, container.ImporterOptions{})
		require.NoError(t, err)
		assert.Equal(t, want.MergeCommit, state.MergeCommit)
		assert.Equal(t, oracle.Refs(t, cleanDir), oracle.WholeRefs(t, repoDir))
		oracle.Fsck(t, repoDir)
		assert.True(t, moved || !present, "the image is there before its layers, kill %d", n)
		if moved { // killed after its first ref: the objects are the next prune's
			ti.Run(t, "ostree", "--repo="+repoDir, "prune", "--refs-only", "--depth=0")
			oracle.Fsck(t, repoDir)
		}
		assert.ElementsMatch(t, contentObjects(t, cleanDir), contentObjects(t, repoDir), "kill %d, %s", n, repo.Mode())
	}
}

// Imports of images that share layers and have different policies, at once, in several processes and through one handle, lose nothing.
func TestRelabellingAtOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	shared := append(unlabelledLayers(), plainLayers("s", 2, 80, 300_000)...)
	one := ti.Image{Layers: append([]ti.Layer{policyLayer(smallPolicy)}, shared...)}.Write(t, dir, "one")
	two := ti.Image{Layers: append([]ti.Layer{policyLayer(strings.ReplaceAll(smallPolicy, "_t:", "_other_t:"))}, shared...)}.Write(t, dir, "two")
	none := ti.Image{Layers: shared}.Write(t, dir, "none")
	want := map[string]string{}
	for _, w := range []*ti.Written{one, two, none} {
		repo, _ := newRepo(t, modeHere())
		want[imageRefOf(t, w.Ref)] = mustPull(t, repo, w.Ref, container.ImporterOptions{}).MergeCommit
	}
	check := func(t *testing.T, repoDir string) {
		t.Helper()
		oracle.Fsck(t, repoDir)
		refs := oracle.Refs(t, repoDir)
		for name, commit := range want {
			assert.Equal(t, commit, refs[name], name)
		}
		ti.Run(t, "ostree", "--repo="+repoDir, "prune", "--refs-only", "--depth=0")
		oracle.Fsck(t, repoDir)
	}
	t.Run("processes", func(t *testing.T) {
		t.Parallel()
		_, repoDir := newRepo(t, modeHere())
		var children []*child
		for _, refs := range [][]string{{one.Ref, none.Ref, two.Ref}, {two.Ref, one.Ref, none.Ref}, {none.Ref, two.Ref, one.Ref}} {
			children = append(children, startChild(t, task{Do: "pull", Repo: repoDir, Refs: refs}))
		}
		for _, c := range children {
			c.finish(t)
		}
		check(t, repoDir)
	})
	t.Run("one handle", func(t *testing.T) {
		t.Parallel()
		repo, repoDir := newRepo(t, modeHere())
		failed := make(chan error, 3)
		policy := policyFile(t)
		for _, w := range []*ti.Written{one, two, none} {
			go func() {
				_, err := pullContext(t.Context(), policy, repo, w.Ref)
				failed <- err
			}()
		}
		for range 3 {
			assert.NoError(t, <-failed)
		}
		check(t, repoDir)
	})
}

// What is written again has no labels that the layers did not have: it is byte for byte what it is without a policy. Copies, diffs and
// queries go on as ever.
func TestRelabelledLayersAreExportedWithoutLabels(t *testing.T) {
	t.Parallel()
	dir, out := t.TempDir(), t.TempDir()
	layers := append([]ti.Layer{policyLayer(smallPolicy)}, unlabelledLayers()...)
	w := ti.Image{Layers: layers}.Write(t, dir, "policy")
	bare := policyLayer(smallPolicy) // without what makes it a policy
	bare.Members = slices.DeleteFunc(bare.Members, func(m ti.Member) bool { return strings.Contains(m.Name, "selinux/") })
	plain := ti.Image{Layers: append([]ti.Layer{bare}, layers[1:]...)}.Write(t, dir, "plain")
	repo, repoDir := newRepo(t, modeHere())
	state := mustPull(t, repo, w.Ref, container.ImporterOptions{})
	other, otherDir := newRepo(t, modeHere())
	mustPull(t, other, plain.Ref, container.ImporterOptions{})
	assert.NotContains(t, oracle.List(t, otherDir, oracle.Refs(t, otherDir)[imageRefOf(t, plain.Ref)]), "security.selinux")

	digest := reexport(t, repo, w.Ref, "oci:"+out+"/policy:x", nil)
	reexport(t, other, plain.Ref, "oci:"+out+"/plain:x", nil)
	got, want := checkWritten(t, out+"/policy", "x", w, 0), checkWritten(t, out+"/plain", "x", plain, 0)
	assert.Equal(t, want.Config.RootFS.DiffIDs[1:], got.Config.RootFS.DiffIDs[1:], "diff_ids with and without a policy")
	for n, l := range got.Manifest.Layers {
		_, members := blobOf(t, out+"/policy", l)
		for _, m := range members {
			assert.NotContains(t, m.PAXRecords, "SCHILY.xattr.security.selinux", "%s of layer %d", m.Name, n+1)
		}
	}
	fresh, freshDir := newRepo(t, modeHere())
	again := mustPull(t, fresh, "oci:"+out+"/policy:x", container.ImporterOptions{})
	assert.Equal(t, treeOf(t, repoDir, state.MergeCommit), treeOf(t, freshDir, again.MergeCommit))
	assert.Equal(t, digest, reexport(t, fresh, "oci:"+out+"/policy:x", "oci:"+out+"/twice:x", nil))

	target, targetDir := newRepo(t, ostree.ModeBareUser)
	_, err := container.Copy(t.Context(), repo, imageName(t, w.Ref), target, nil)
	require.NoError(t, err)
	oracle.Fsck(t, targetDir)
	assert.Equal(t, oracle.Refs(t, repoDir), oracle.Refs(t, targetDir))
	assert.ElementsMatch(t, contentObjects(t, repoDir), contentObjects(t, targetDir))
	assert.Equal(t, digest, reexport(t, target, w.Ref, "oci:"+out+"/copied:x", nil))

	query, err := container.QueryImage(t.Context(), repo, imageName(t, w.Ref))
	require.NoError(t, err)
	assert.Equal(t, state.BaseCommit, query.BaseCommit)
	diff, err := container.DiffCommits(t.Context(), repo, state.MergeCommit, state.MergeCommit)
	require.NoError(t, err)
	assert.Empty(t, diff.Entries)
}
