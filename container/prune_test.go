package container_test

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
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

// Missing images are named one by one, the others are removed all the same, and the caller learns which (B8).
func TestB8_RemoveImages(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	repo, repoDir := newRepo(t, modeHere())
	var have []imageref.ImageReference
	for _, tag := range []string{"a", "b", "c"} {
		w := ti.Image{Layers: []ti.Layer{goodLayer(tag)}}.Write(t, dir, tag)
		mustPull(t, repo, w.Ref, container.ImporterOptions{})
		have = append(have, imageName(t, w.Ref))
	}
	x, y := imageName(t, "docker://quay.example/x:1"), imageName(t, "oci:/y:2")
	removed, err := container.RemoveImages(t.Context(), repo, []imageref.ImageReference{x, have[0], y, have[1]})
	require.ErrorIs(t, err, container.ErrNoSuchImage)
	var missing *container.MissingImagesError
	require.ErrorAs(t, err, &missing)
	assert.Equal(t, []imageref.ImageReference{x, y}, missing.Images)
	assert.Equal(t, "Missing images: docker://quay.example/x:1 oci:/y:2", err.Error())
	assert.Equal(t, have[:2], removed)
	images, err := container.ListImages(t.Context(), repo)
	require.NoError(t, err)
	assert.Equal(t, []string{have[2].String()}, images)
	assert.Len(t, blobRefs(oracle.Refs(t, repoDir)), 3, "layers stay until they are collected")

	removed, err = container.RemoveImages(t.Context(), repo, nil)
	require.NoError(t, err)
	assert.Empty(t, removed)
	// The same image twice: it is there once.
	removed, err = container.RemoveImages(t.Context(), repo, []imageref.ImageReference{have[2], have[2]})
	require.ErrorIs(t, err, container.ErrNoSuchImage)
	assert.Equal(t, have[2:], removed)
	n, err := container.GCImageLayers(t.Context(), repo, nil)
	require.NoError(t, err)
	assert.Equal(t, 3, n)
	assert.Empty(t, oracle.Refs(t, repoDir))
	ti.Run(t, "ostree", "--repo="+repoDir, "prune", "--refs-only")
	assert.Empty(t, objects(t, repoDir))
}

// objects are the files below objects/ and their sizes.
func objects(t testing.TB, repo string) map[string]int64 {
	t.Helper()
	out := map[string]int64{}
	require.NoError(t, filepath.WalkDir(filepath.Join(repo, "objects"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		out[path] = info.Size()
		return err
	}))
	return out
}

// Every kind of root keeps the layers of its image; what is none keeps nothing.
func TestGCImageLayersRoots(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		ref   string
		keeps bool
	}{
		{"ostree/0/1/0", true}, {"ostree/1/0/3", true}, {"rpmostree/base/0", true},
		{"ostree/container/baseimage/bootc/0", true}, {"ostree/container/baseimage/other/deep/er", true},
		{"ostree/2/0/0", false}, {"ostree/container/base", false}, {"main", false}, {"rpmostree/rojig/x", false}, {"ostree/01/x", false},
	} {
		t.Run(strings.ReplaceAll(tc.ref, "/", "_"), func(t *testing.T) {
			repo, repoDir := newRepo(t, ostree.ModeBareUser)
			dir := t.TempDir()
			a := ti.Image{Layers: []ti.Layer{goodLayer("shared"), goodLayer("a")}}.Write(t, dir, "a")
			b := ti.Image{Layers: []ti.Layer{goodLayer("shared"), goodLayer("b")}}.Write(t, dir, "b")
			state := mustPull(t, repo, a.Ref, container.ImporterOptions{})
			mustPull(t, repo, b.Ref, container.ImporterOptions{})
			require.NoError(t, repo.SetRefImmediate(t.Context(), "", tc.ref, state.MergeCommit))
			_, err := container.RemoveImages(t.Context(), repo, []imageref.ImageReference{imageName(t, a.Ref)})
			require.NoError(t, err)
			n, err := container.GCImageLayers(t.Context(), repo, nil)
			require.NoError(t, err)
			refs := oracle.Refs(t, repoDir)
			if tc.keeps {
				assert.Zero(t, n)
				assert.Contains(t, refs, refOfLayer(t, *a, 1))
			} else {
				assert.Equal(t, 1, n)
				assert.NotContains(t, refs, refOfLayer(t, *a, 1))
			}
			assert.Contains(t, refs, refOfLayer(t, *a, 0), "the other image needs it")
			assert.Contains(t, refs, refOfLayer(t, *b, 1))
			// Twice gives the same.
			n, err = container.GCImageLayers(t.Context(), repo, nil)
			require.NoError(t, err)
			assert.Zero(t, n)
		})
	}
}

// Commits that the caller names are roots too: that is how a staged deployment and an import under way are kept (B14, B29).
func TestB14_KeepCommits(t *testing.T) {
	t.Parallel()
	repo, repoDir := newRepo(t, modeHere())
	w := ti.Image{Layers: []ti.Layer{goodLayer("a")}}.Write(t, t.TempDir(), "a")
	state := mustPull(t, repo, w.Ref, container.ImporterOptions{NoImgref: true})
	assert.Len(t, oracle.Refs(t, repoDir), 1, "a layer, kept for the caller although nothing names it")
	keep := &container.PruneOptions{KeepCommits: []string{state.MergeCommit}}
	n, err := container.GCImageLayers(t.Context(), repo, keep)
	require.NoError(t, err)
	assert.Zero(t, n)
	// A commit that is no image protects nothing and is no error; one that cannot be read is one.
	n, err = container.GCImageLayers(t.Context(), repo, &container.PruneOptions{KeepCommits: []string{state.BaseCommit, state.MergeCommit}})
	require.NoError(t, err)
	assert.Zero(t, n)
	_, err = container.GCImageLayers(t.Context(), repo, &container.PruneOptions{KeepCommits: []string{strings.Repeat("0", 64)}})
	require.ErrorIs(t, err, container.ErrUnreadableImage)
	assert.Len(t, oracle.Refs(t, repoDir), 1)
	n, err = container.GCImageLayers(t.Context(), repo, nil)
	require.NoError(t, err)
	assert.Equal(t, 1, n)
}

// What cannot be understood keeps everything, and the error names its ref.
func TestGCImageLayersFailsClosed(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		harm func(t *testing.T, repo *ostree.Repo, dir string, state *container.LayeredImageState) (ref string)
	}{
		{"image ref names another commit", func(t *testing.T, repo *ostree.Repo, dir string, state *container.LayeredImageState) string {
			ref := "ostree/container/image/docker_3A__2F__2F_quay_2E_example/os_3A_1"
			require.NoError(t, repo.SetRefImmediate(t.Context(), "", ref, state.BaseCommit))
			return ref
		}},
		{"image ref that does not unescape", func(t *testing.T, repo *ostree.Repo, dir string, state *container.LayeredImageState) string {
			ref := "ostree/container/image/oops_ZZ_"
			require.NoError(t, repo.SetRefImmediate(t.Context(), "", ref, state.MergeCommit))
			return ref
		}},
		{"image ref that is no reference", func(t *testing.T, repo *ostree.Repo, dir string, state *container.LayeredImageState) string {
			ref := "ostree/container/image/what"
			require.NoError(t, repo.SetRefImmediate(t.Context(), "", ref, state.MergeCommit))
			return ref
		}},
		{"merge commit without its object", func(t *testing.T, repo *ostree.Repo, dir string, state *container.LayeredImageState) string {
			other := ti.Image{Layers: []ti.Layer{goodLayer("z")}}.Write(t, t.TempDir(), "z")
			gone := mustPull(t, repo, other.Ref, container.ImporterOptions{})
			require.NoError(t, os.Remove(objectPath(dir, gone.MergeCommit, "commit")))
			return imageRefOf(t, other.Ref)
		}},
		{"manifest that is no JSON", func(t *testing.T, repo *ostree.Repo, dir string, state *container.LayeredImageState) string {
			ref := imageRefOf(t, "docker://quay.example/os:2")
			bad := commitWith(t, dir, map[string]string{"ostree.manifest-digest": state.ManifestDigest.String(), "ostree.manifest": "{"})
			require.NoError(t, repo.SetRefImmediate(t.Context(), "", ref, bad))
			return ref
		}},
		{"deployed commit with a bad manifest", func(t *testing.T, repo *ostree.Repo, dir string, state *container.LayeredImageState) string {
			bad := commitWith(t, dir, map[string]string{"ostree.manifest-digest": state.ManifestDigest.String(), "ostree.manifest": "{"})
			require.NoError(t, repo.SetRefImmediate(t.Context(), "", "ostree/0/1/0", bad))
			return "ostree/0/1/0"
		}},
		{"layer ref that does not unescape", func(t *testing.T, repo *ostree.Repo, dir string, state *container.LayeredImageState) string {
			ref := "ostree/container/blob/sha256_ZZ_"
			require.NoError(t, repo.SetRefImmediate(t.Context(), "", ref, state.BaseCommit))
			return ref
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			repo, dir := newRepo(t, ostree.ModeBareUser)
			images := t.TempDir()
			w := ti.Image{Layers: []ti.Layer{goodLayer("a")}}.Write(t, images, "a")
			unused := ti.Image{Layers: []ti.Layer{goodLayer("unused")}}.Write(t, images, "unused")
			state := mustPull(t, repo, w.Ref, container.ImporterOptions{})
			mustPull(t, repo, unused.Ref, container.ImporterOptions{})
			ref := tc.harm(t, repo, dir, state)
			_, err := container.RemoveImages(t.Context(), repo, []imageref.ImageReference{imageName(t, unused.Ref)})
			require.NoError(t, err)
			before := blobRefs(refNames(t, dir))
			n, err := container.GCImageLayers(t.Context(), repo, nil)
			require.Error(t, err)
			assert.Zero(t, n)
			assert.Contains(t, err.Error(), "Pruning image layers")
			assert.Contains(t, err.Error(), ref)
			assert.Equal(t, before, blobRefs(refNames(t, dir)), "nothing is removed")
			// An import says so too, but is not called failed: its image is there.
			var log strings.Builder
			next := ti.Image{Layers: []ti.Layer{goodLayer("next")}}.Write(t, images, "next")
			mustPull(t, repo, next.Ref, container.ImporterOptions{Logger: textLogger(&log)})
			assert.Contains(t, log.String(), ref)
			assert.Contains(t, blobRefs(refNames(t, dir)), refOfLayer(t, *unused, 0))
			// Without the culprit it is collected.
			require.NoError(t, repo.SetRefImmediate(t.Context(), "", ref, ""))
			n, err = container.GCImageLayers(t.Context(), repo, nil)
			require.NoError(t, err)
			assert.GreaterOrEqual(t, n, 1)
			assert.NotContains(t, blobRefs(refNames(t, dir)), refOfLayer(t, *unused, 0))
			assert.Contains(t, blobRefs(refNames(t, dir)), refOfLayer(t, *w, 0))
		})
	}
}

// refNames is oracle.Refs for repositories in which not every ref resolves.
func refNames(t testing.TB, repo string) map[string]string {
	t.Helper()
	refs := map[string]string{}
	for _, name := range strings.Fields(ti.Run(t, "ostree", "--repo="+repo, "refs")) {
		refs[name] = ""
	}
	return refs
}

// Images that no deployment follows are removed, sorted, whatever the signature source; what is not understood is left alone.
func TestRemoveUndeployedImages(t *testing.T) {
	t.Parallel()
	s := newSystem(t, "default", "second")
	dir := t.TempDir()
	reg := ti.NewRegistry(t, dir)
	one := osImage("1").Write(t, dir, "v1")
	osImage("2").Write(t, dir, "v2")
	s.mustDeploy(one.Ref, container.DeployOptions{})
	_, err := container.Deploy(t.Context(), s.Sysroot, "second", unverified(t, reg.Ref("os", "v2")), &container.DeployOptions{PullOptions: container.PullOptions{Registry: quickly(t)}})
	require.NoError(t, err)
	repo, err := s.Repo()
	require.NoError(t, err)
	var pulled []imageref.ImageReference
	for _, tag := range []string{"c", "a", "b"} {
		w := ti.Image{Layers: []ti.Layer{goodLayer(tag)}}.Write(t, dir, tag)
		mustPull(t, repo, w.Ref, container.ImporterOptions{})
		pulled = append(pulled, imageName(t, w.Ref))
	}
	odd := "ostree/container/image/what"
	require.NoError(t, repo.SetRefImmediate(t.Context(), "", odd, oracle.Refs(t, s.repo)[imageRefOf(t, one.Ref)]))
	removed, err := container.RemoveUndeployedImages(t.Context(), s.Sysroot, nil)
	require.NoError(t, err)
	assert.Equal(t, []imageref.ImageReference{pulled[1], pulled[2], pulled[0]}, removed)
	images, err := container.ListImages(t.Context(), repo)
	require.NoError(t, err)
	assert.ElementsMatch(t, []string{one.Ref, reg.Ref("os", "v2"), "what"}, images)
	removed, err = container.RemoveUndeployedImages(t.Context(), s.Sysroot, nil)
	require.NoError(t, err)
	assert.Empty(t, removed)
	// An origin that cannot be read stops it: the image it means might be the one.
	origin := s.deployment(s.Deployments()[0].Checksum(), 0) + ".origin"
	if s.Deployments()[0].Stateroot() != "default" {
		origin = strings.Replace(origin, "/default/", "/second/", 1)
	}
	require.NoError(t, os.WriteFile(origin, []byte("[origin]\ncontainer-image-reference=nonsense\n"), 0o600))
	now := time.Now()
	require.NoError(t, os.Chtimes(filepath.Join(s.dir, "ostree/deploy"), now, now), "that is how others learn of a change")
	mustPull(t, repo, pulled[0].String(), container.ImporterOptions{})
	_, err = container.RemoveUndeployedImages(t.Context(), s.Sysroot, nil)
	require.Error(t, err)
	assert.Contains(t, err.Error(), "nonsense")
	assert.Contains(t, oracle.Refs(t, s.repo), imageRefOf(t, pulled[0].String()))
	_, err = container.Prune(t.Context(), s.Sysroot, nil)
	require.Error(t, err)
}

// The numbers of a prune are what is gone from the disk, and what "ostree prune" says for the same refs.
func TestPruneNumbers(t *testing.T) {
	t.Parallel()
	s := newSystem(t, "default")
	dir := t.TempDir()
	state := s.mustDeploy(osImage("1").Write(t, dir, "v1").Ref, container.DeployOptions{})
	repo, err := s.Repo()
	require.NoError(t, err)
	pruned, err := container.Prune(t.Context(), s.Sysroot, nil)
	require.NoError(t, err)
	assert.Equal(t, &container.Pruned{}, pruned)
	assert.True(t, pruned.IsEmpty())

	layers := append(osLayers("1")[:1:1], plainLayers("x", 3, 4, 70_000)...)
	a := ti.Image{Layers: layers}.Write(t, dir, "a")
	b := ti.Image{Layers: layers[1:3]}.Write(t, dir, "b")
	mustPull(t, repo, a.Ref, container.ImporterOptions{})
	mustPull(t, repo, b.Ref, container.ImporterOptions{})
	twin := filepath.Join(t.TempDir(), "twin")
	ti.Run(t, "cp", "-a", s.repo, twin)
	before := objects(t, s.repo)

	r := &recorder{t: t}
	pruned, err = container.Prune(t.Context(), s.Sysroot, &container.PruneOptions{Progress: r.event})
	require.NoError(t, err)
	assert.Equal(t, []string{"+gc", "-gc"}, r.phases())
	after := objects(t, s.repo)
	var bytes uint64
	for path, size := range before {
		if _, ok := after[path]; !ok {
			bytes += uint64(size)
		}
	}
	assert.Equal(t, &container.Pruned{Images: 2, Layers: 3, Objects: len(before) - len(after), Bytes: bytes}, pruned)
	assert.False(t, pruned.IsEmpty())

	for name, commit := range oracle.Refs(t, twin) {
		if now, ok := oracle.Refs(t, s.repo)[name]; !ok {
			ti.Run(t, "ostree", "--repo="+twin, "refs", "--delete", name)
		} else {
			assert.Equal(t, commit, now)
		}
	}
	said := ti.Run(t, "ostree", "--repo="+twin, "prune", "--refs-only", "--depth=0")
	m := regexp.MustCompile(`Deleted (\d+) objects`).FindStringSubmatch(said)
	require.NotNil(t, m, said)
	n, err := strconv.Atoi(m[1])
	require.NoError(t, err)
	assert.Equal(t, n, pruned.Objects, said)
	left := objects(t, twin)
	assert.Len(t, left, len(after))
	s.sound()
	ti.Run(t, "ostree", "--repo="+s.repo, "ls", "-R", state.MergeCommit)
	refs := oracle.Refs(t, s.repo)
	assert.Len(t, blobRefs(refs), 2)

	// From another process, with nothing left to do.
	lines := startChild(t, task{Do: "prune", Sysroot: s.dir}).finish(t)
	var again container.Pruned
	require.NoError(t, json.Unmarshal([]byte(lines[0]), &again), fmt.Sprint(lines))
	assert.Equal(t, container.Pruned{}, again)
}

// Who holds the lock through sysroot.Repo(), as an import in another goroutine does, is waited for: locks of one handle nest.
func TestPruneWaitsForItsOwnHandle(t *testing.T) {
	t.Parallel()
	s := newSystem(t, "default")
	ti.Run(t, "ostree", "--repo="+s.repo, "config", "set", "core.lock-timeout-secs", "0")
	w := ti.Image{Layers: []ti.Layer{goodLayer("a")}}.Write(t, t.TempDir(), "a")
	repo, err := s.Repo()
	require.NoError(t, err)
	state := mustPull(t, repo, w.Ref, container.ImporterOptions{NoImgref: true})
	lock, err := repo.Lock(t.Context(), ostree.LockShared)
	require.NoError(t, err)
	before := objects(t, s.repo)
	for _, opts := range []*container.PruneOptions{nil, {Sizes: true}, {DryRun: true}} {
		_, err = container.Prune(t.Context(), s.Sysroot, opts)
		require.ErrorIs(t, err, ostree.ErrWouldBlock)
	}
	_, err = container.GCImageLayers(t.Context(), repo, nil)
	require.ErrorIs(t, err, ostree.ErrWouldBlock)
	require.ErrorContains(t, err, "Pruning image layers: lock repository "+s.repo)
	assert.Equal(t, before, objects(t, s.repo))
	ti.Run(t, "ostree", "--repo="+s.repo, "ls", "-R", state.MergeCommit)
	require.NoError(t, lock.Unlock())
	pruned, err := container.Prune(t.Context(), s.Sysroot, nil)
	require.NoError(t, err)
	assert.Equal(t, 1, pruned.Layers)
	assert.Equal(t, len(before), pruned.Objects)
}

// Commits to keep stay themselves, not only the refs of their layers.
func TestPruneKeepsCommits(t *testing.T) {
	t.Parallel()
	for _, unusual := range []bool{false, true} {
		t.Run(fmt.Sprint("unusual ", unusual), func(t *testing.T) {
			t.Parallel()
			s := newSystem(t, "default")
			if unusual {
				ti.Run(t, "ostree", "--repo="+s.repo, "config", "set", "core.tombstone-commits", "false")
			}
			dir := t.TempDir()
			repo, err := ostree.OpenRepo(t.Context(), s.repo)
			require.NoError(t, err)
			defer repo.Close()
			kept := mustPull(t, repo, ti.Image{Layers: []ti.Layer{goodLayer("a")}}.Write(t, dir, "a").Ref, container.ImporterOptions{NoImgref: true, DisableGC: true})
			before := objects(t, s.repo)
			mustPull(t, repo, ti.Image{Layers: []ti.Layer{goodLayer("b")}}.Write(t, dir, "b").Ref, container.ImporterOptions{DisableGC: true})
			keep := container.PruneOptions{KeepCommits: []string{kept.MergeCommit}, DryRun: true}
			would, err := container.Prune(t.Context(), s.Sysroot, &keep)
			require.NoError(t, err)
			keep.DryRun = false
			pruned, err := container.Prune(t.Context(), s.Sysroot, &keep)
			require.NoError(t, err)
			assert.Equal(t, before, objects(t, s.repo))
			assert.Positive(t, pruned.Objects)
			would.Freed = nil
			assert.Equal(t, would, pruned)
			s.sound()
			pruned, err = container.Prune(t.Context(), s.Sysroot, nil)
			require.NoError(t, err)
			assert.Equal(t, len(before), pruned.Objects)
			assert.Empty(t, objects(t, s.repo))
		})
	}
}

// A prune that fails closed removes the images it may, but no layer and no object.
func TestPruneFailsClosed(t *testing.T) {
	t.Parallel()
	s := newSystem(t, "default")
	dir := t.TempDir()
	state := s.mustDeploy(osImage("1").Write(t, dir, "v1").Ref, container.DeployOptions{})
	repo, err := s.Repo()
	require.NoError(t, err)
	w := ti.Image{Layers: []ti.Layer{goodLayer("x")}}.Write(t, dir, "x")
	mustPull(t, repo, w.Ref, container.ImporterOptions{})
	require.NoError(t, repo.SetRefImmediate(t.Context(), "", "ostree/container/image/oops_ZZ_", state.MergeCommit))
	before := objects(t, s.repo)
	_, err = container.Prune(t.Context(), s.Sysroot, nil)
	require.ErrorIs(t, err, container.ErrUnreadableImage)
	assert.Contains(t, err.Error(), "ostree/container/image/oops_ZZ_")
	assert.Equal(t, before, objects(t, s.repo))
	assert.Contains(t, oracle.Refs(t, s.repo), refOfLayer(t, *w, 0))
}

// A process that was killed while it set a ref leaves a file that libostree lists as one. It is no image, and no reason to stop.
func TestHalfWrittenRefIsNoRef(t *testing.T) {
	t.Parallel()
	repo, repoDir := newRepo(t, modeHere())
	dir := t.TempDir()
	w := ti.Image{Layers: []ti.Layer{goodLayer("a")}}.Write(t, dir, "a")
	unused := ti.Image{Layers: []ti.Layer{goodLayer("b")}}.Write(t, dir, "b")
	state := mustPull(t, repo, w.Ref, container.ImporterOptions{})
	mustPull(t, repo, unused.Ref, container.ImporterOptions{})
	for _, prefix := range []string{"image", "blob", "image/docker_3A__2F__2F_quay_2E_io", "baseimage"} {
		path := filepath.Join(repoDir, "refs/heads/ostree/container", prefix, "tmp.aB3xYz")
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(state.MergeCommit+"\n"), 0o600))
	}
	require.Contains(t, refNames(t, repoDir), "ostree/container/blob/tmp.aB3xYz", "the ostree command takes it for a ref")
	images, err := container.ListImages(t.Context(), repo)
	require.NoError(t, err)
	assert.ElementsMatch(t, []string{w.Ref, unused.Ref}, images)
	_, err = container.RemoveImages(t.Context(), repo, []imageref.ImageReference{imageName(t, unused.Ref)})
	require.NoError(t, err)
	n, err := container.GCImageLayers(t.Context(), repo, nil)
	require.NoError(t, err)
	assert.Equal(t, 1, n)
	_, present, err := pull(t, repo, w.Ref, container.ImporterOptions{})
	require.NoError(t, err)
	assert.True(t, present)
	oracle.Fsck(t, repoDir)
}
