package container_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/container"
	"github.com/ostree-container/ostree-container/container/imageref"
	"github.com/ostree-container/ostree-container/container/internal/oracle"
	ti "github.com/ostree-container/ostree-container/container/internal/testimage"
)

// A dry run says what the real one does then, and does nothing.
func TestPruneDryRun(t *testing.T) {
	s := newSystem(t, "default")
	dir := t.TempDir()
	deployed := osImage("1").Write(t, dir, "deployed")
	s.mustDeploy(deployed.Ref, container.DeployOptions{NoClean: true})
	repo, err := s.Repo()
	require.NoError(t, err)
	var refs []string
	for _, tag := range []string{"a", "b", "kept"} {
		img := osImage("1")
		img.Layers = append(img.Layers, ti.Layer{Members: []ti.Member{
			ti.Dir("usr", 0o755), ti.File("usr/shared", 0o644, "only in those that are removed"), ti.File("usr/"+tag, 0o644, "only in "+tag),
		}})
		if tag == "kept" {
			img.Layers[2].Members = img.Layers[2].Members[:1]
		}
		w := img.Write(t, dir, tag)
		mustPull(t, repo, w.Ref, container.ImporterOptions{})
		refs = append(refs, w.Ref)
	}
	before, objectsBefore := oracle.Refs(t, s.repo), objects(t, s.repo)
	keep := []imageref.ImageReference{imageName(t, refs[2])}
	dry, err := container.Prune(t.Context(), s.Sysroot, &container.PruneOptions{DryRun: true, Keep: keep})
	require.NoError(t, err)
	assert.Equal(t, before, oracle.Refs(t, s.repo))
	assert.Equal(t, objectsBefore, objects(t, s.repo))
	would, err := container.RemoveUndeployedImages(t.Context(), s.Sysroot, &container.PruneOptions{DryRun: true, Keep: keep})
	require.NoError(t, err)
	assert.Equal(t, []imageref.ImageReference{imageName(t, refs[0]), imageName(t, refs[1])}, would)
	assert.Equal(t, before, oracle.Refs(t, s.repo))

	// One that does not exist is a mistake, before anything happens.
	_, err = container.Prune(t.Context(), s.Sysroot, &container.PruneOptions{Keep: []imageref.ImageReference{imageName(t, "oci:/no:x")}})
	require.ErrorIs(t, err, container.ErrNoSuchImage)
	assert.Equal(t, before, oracle.Refs(t, s.repo))

	done, err := container.Prune(t.Context(), s.Sysroot, &container.PruneOptions{Keep: keep, Sizes: true})
	require.NoError(t, err)
	assert.Equal(t, dry, done)
	assert.Equal(t, 2, done.Images)
	assert.Equal(t, 2, done.Layers)
	objectsAfter := objects(t, s.repo)
	var gone int
	var bytes int64
	for path, size := range objectsBefore {
		if _, ok := objectsAfter[path]; !ok {
			gone++
			bytes += size
		}
	}
	assert.Equal(t, gone, done.Objects)
	assert.Equal(t, uint64(bytes), done.Bytes)
	var alone uint64
	require.Len(t, done.Freed, 2)
	for n, f := range done.Freed {
		assert.Equal(t, imageName(t, refs[n]), f.Image)
		assert.Equal(t, before[imageRefOf(t, refs[n])], f.Commit)
		// Its merge commit, layer commit, the trees / and /usr of both, and the file.
		assert.GreaterOrEqual(t, f.Objects, 5)
		alone += f.Bytes
	}
	assert.Less(t, alone, done.Bytes, "/usr/shared is in the total only")
	assert.Contains(t, oracle.Refs(t, s.repo), imageRefOf(t, refs[2]))
	s.sound()

	again, err := container.Prune(t.Context(), s.Sysroot, &container.PruneOptions{DryRun: true, Keep: keep})
	require.NoError(t, err)
	assert.True(t, again.IsEmpty())
}
