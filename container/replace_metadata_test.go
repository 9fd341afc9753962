package container_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/container"
	"github.com/ostree-container/ostree-container/container/internal/oracle"
	ti "github.com/ostree-container/ostree-container/container/internal/testimage"
	"github.com/ostree-container/ostree-container/ostree"
)

// An image built on one layer of ostree's goes on naming that layer as the last of its commit.
func TestReplaceDetachedMetadataBelowOtherLayers(t *testing.T) {
	t.Parallel()
	commits, commit := commitTar(t, exportMembers())
	path := filepath.Join(t.TempDir(), "out")
	_, err := container.Encapsulate(t.Context(), commits, commit, ociRef(t, path+":base"), nil)
	require.NoError(t, err)
	base, err := ti.LoadBase(path, "base")
	require.NoError(t, err)
	w := ti.Image{Base: base, Layers: []ti.Layer{goodLayer("x")}}.Write(t, t.TempDir(), "v1")
	repo, _ := newRepo(t, modeHere())
	want := mustPull(t, repo, w.Ref, container.ImporterOptions{})
	v, err := ostree.ParseVariant("a{sv}", "{'new': <'other'>}")
	require.NoError(t, err)
	dest := ociRef(t, filepath.Join(t.TempDir(), "dest"))
	_, err = container.ReplaceDetachedMetadata(t.Context(), imageName(t, w.Ref), dest, v.Bytes(), nil)
	require.NoError(t, err)
	_, config := loadImage(t, dest.Name)
	assert.Equal(t, config.RootFS.DiffIDs[0].String(), config.Config.Labels["ostree.final-diffid"])
	into, dir := newRepo(t, modeHere())
	got := mustPull(t, into, "oci:"+dest.Name, container.ImporterOptions{})
	assert.Equal(t, want.BaseCommit, got.BaseCommit)
	oracle.Fsck(t, dir)
}

func TestReplaceDetachedMetadata(t *testing.T) {
	t.Parallel()
	ti.NeedTool(t, "skopeo")
	for _, chunked := range []bool{false, true} {
		repo, commit := commitTar(t, exportMembers())
		dict, err := ostree.NewVariantDict().SetString("old", "value").Build()
		require.NoError(t, err)
		require.NoError(t, repo.WriteDetachedMetadata(t.Context(), commit, dict))
		opts := &container.EncapsulateOptions{}
		if chunked {
			opts.ContentMeta = contentMetaOf(t, repo, commit)
		}
		dir := t.TempDir()
		src := ociRef(t, filepath.Join(dir, "src"))
		_, err = container.Encapsulate(t.Context(), repo, commit, src, opts)
		require.NoError(t, err)
		before, _ := loadImage(t, src.Name)

		for n, text := range []string{"", "{'new': <'other'>}", "{'large': <'" + strings.Repeat("x", 5000) + "'>}"} {
			var data []byte
			if text != "" {
				v, err := ostree.ParseVariant("a{sv}", text)
				require.NoError(t, err)
				data = v.Bytes()
			}
			dest := ociRef(t, filepath.Join(dir, fmt.Sprint("dest", n)))
			d, err := container.ReplaceDetachedMetadata(t.Context(), src, dest, data, nil)
			require.NoError(t, err)
			require.Equal(t, d, digest.FromString(ti.Run(t, "skopeo", "inspect", "--raw", "oci:"+dest.Name)))
			after, config := loadImage(t, dest.Name)
			assert.Equal(t, before.Layers[1:], after.Layers[1:], "further layers are copied")
			assert.NotEqual(t, before.Layers[0], after.Layers[0])
			assert.Equal(t, config.RootFS.DiffIDs[len(config.RootFS.DiffIDs)-1].String(), config.Config.Labels["ostree.final-diffid"])
			assert.Equal(t, config.Config.Labels["ostree.final-diffid"], after.Annotations["ostree.final-diffid"])

			into, repoDir := newRepo(t, modeHere())
			imp, err := container.NewImporter(into, unverified(t, "oci:"+dest.Name), nil)
			require.NoError(t, err)
			u, err := imp.Unencapsulate(t.Context(), "os")
			require.NoError(t, err)
			require.NoError(t, imp.Close())
			assert.Equal(t, commit, u.Commit)
			oracle.Fsck(t, repoDir)
			got, err := into.ReadDetachedMetadata(t.Context(), commit)
			require.NoError(t, err)
			if data == nil {
				assert.Nil(t, got)
			} else {
				require.NotNil(t, got)
				assert.Equal(t, data, got.Bytes())
			}
			// Back again, the layer is what it was, to the byte.
			back := ociRef(t, filepath.Join(dir, fmt.Sprint("back", n)))
			_, err = container.ReplaceDetachedMetadata(t.Context(), dest, back, dict.Bytes(), nil)
			require.NoError(t, err)
			again, _ := loadImage(t, back.Name)
			assert.Equal(t, before.Layers, again.Layers)
		}
		_, err = container.ReplaceDetachedMetadata(t.Context(), src, ociRef(t, filepath.Join(dir, "bad")), []byte("no variant"), nil)
		require.ErrorContains(t, err, "not a sound a{sv}")
		assert.NoDirExists(t, filepath.Join(dir, "bad"))
	}
}
