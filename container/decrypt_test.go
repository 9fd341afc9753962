package container_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/container"
	"github.com/ostree-container/ostree-container/container/internal/oracle"
	ti "github.com/ostree-container/ostree-container/container/internal/testimage"
	"github.com/ostree-container/ostree-container/container/registry"
	"github.com/ostree-container/ostree-container/ostree"
)

func keyed(t testing.TB, files ...string) container.ImporterOptions {
	t.Helper()
	opts := quickly(t)
	for _, f := range files {
		opts.DecryptionKeys = append(opts.DecryptionKeys, registry.DecryptionKey{File: f})
	}
	return container.ImporterOptions{Registry: opts}
}

// fetched counts the layers that a pull plans to fetch.
func fetched(opts container.ImporterOptions, n *int) container.ImporterOptions {
	opts.Progress = func(e container.Event) {
		if e, ok := e.(container.LayersPlanned); ok {
			*n = len(e.Layers)
		}
	}
	return opts
}

// An encrypted image becomes the tree and the layers of the image that was encrypted, and either finds the other's layers.
func TestEncryptedImage(t *testing.T) {
	t.Parallel()
	key, other := ti.NewEncryptionKey(t, ""), ti.NewEncryptionKey(t, "")
	base := ti.EncapsulatedBase(t, ti.BaseOptions{Components: []ti.Component{{Name: "modules", Prefix: "usr/lib/modules"}, {Name: "bin", Prefix: "usr/bin"}}})
	for name, img := range map[string]ti.Image{
		"layers":      {Layers: []ti.Layer{goodLayer("one"), goodLayer("two")}},
		"over a base": {Base: &base.Base, Layers: []ti.Layer{goodLayer("one"), goodLayer("two")}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			plain := img.Write(t, t.TempDir(), "v1")
			dir := filepath.Join(t.TempDir(), "enc")
			enc := ti.Encrypt(t, plain.Ref, dir, "v1", "jwe:"+key.Public)
			ref := "oci:" + dir + ":v1"
			total := len(plain.Manifest.Layers)

			repo, repoDir := newRepo(t, modeHere())
			for _, bad := range []struct {
				opts container.ImporterOptions
				text string
			}{{keyed(t), "no decryption key was given"}, {keyed(t, other.Private), "no decryption key fits"}} {
				_, _, err := pull(t, repo, ref, bad.opts)
				require.ErrorIs(t, err, registry.ErrEncrypted)
				var le *container.LayerError
				require.ErrorAs(t, err, &le)
				assert.Equal(t, enc.Manifest.Layers[0].Digest, le.Digest)
				assert.Equal(t, 1, le.Index)
				assert.Equal(t, total, le.Total)
				assert.Contains(t, err.Error(), bad.text)
				assert.Empty(t, oracle.Refs(t, repoDir))
				assert.Empty(t, objects(t, repoDir), "nothing was written")
				nothingVisible(t, repoDir)
			}
			state := mustPull(t, repo, ref, keyed(t, other.Private, key.Private))
			oracle.Fsck(t, repoDir)
			assert.Equal(t, enc.Manifest.Layers, state.Manifest.Layers)
			raw, err := os.ReadFile(filepath.Join(dir, "blobs/sha256", state.ManifestDigest.Encoded()))
			require.NoError(t, err)
			assert.Equal(t, digest.FromBytes(raw), state.ManifestDigest)
			written := &ti.Written{Manifest: enc.Manifest}
			layers := layerRefs(t, repoDir, written)

			want, wantDir := newRepo(t, modeHere())
			wantState := mustPull(t, want, plain.Ref, container.ImporterOptions{Registry: quickly(t)})
			assert.Equal(t, treeOf(t, wantDir, wantState.MergeCommit), treeOf(t, repoDir, state.MergeCommit))
			assert.Equal(t, oracle.List(t, wantDir, wantState.MergeCommit), oracle.List(t, repoDir, state.MergeCommit))
			assert.Equal(t, layerRefs(t, wantDir, plain), layers, "commits of the layers")

			// The plain image finds them, except that nothing shows of a base commit which blob it was.
			var n int
			mustPull(t, repo, plain.Ref, fetched(keyed(t), &n))
			assert.Equal(t, map[string]int{"layers": 0, "over a base": 1}[name], n)
			// And so does the encrypted one in the other repository, where no key is needed if nothing is to be fetched.
			n = -1
			_, _, err = pull(t, want, ref, fetched(keyed(t), &n))
			if name == "layers" {
				require.NoError(t, err)
				assert.Equal(t, 0, n)
			} else {
				require.ErrorIs(t, err, registry.ErrEncrypted)
				mustPull(t, want, ref, fetched(keyed(t, key.Private), &n))
				assert.Equal(t, 1, n)
			}
			oracle.Fsck(t, wantDir)

			// A collection keeps what the manifest names.
			removed, err := container.GCImageLayers(t.Context(), repo, nil)
			require.NoError(t, err)
			assert.Zero(t, removed)
			_, present, err := pull(t, repo, ref, keyed(t))
			require.NoError(t, err)
			assert.True(t, present)

			// What is written from it is not encrypted, and does not say so.
			again := filepath.Join(t.TempDir(), "again")
			reexport(t, repo, ref, "oci:"+again+":v1", nil)
			out, err := ti.LoadBase(again, "v1")
			require.NoError(t, err)
			text, err := json.Marshal(out.Manifest)
			require.NoError(t, err)
			assert.NotContains(t, string(text), "enc")
			for _, l := range out.Manifest.Layers {
				assert.Equal(t, ocispec.MediaTypeImageLayerGzip, l.MediaType)
			}
		})
	}
}

// The layer is compared with the configuration, which is what vouches for it.
func TestEncryptedLayerOfAnotherDiffID(t *testing.T) {
	t.Parallel()
	key := ti.NewEncryptionKey(t, "")
	plain := ti.Image{Layers: []ti.Layer{goodLayer("one"), goodLayer("two")}}.Write(t, t.TempDir(), "v1")
	enc := ti.Encrypt(t, plain.Ref, filepath.Join(t.TempDir(), "enc"), "v1", "jwe:"+key.Public)
	bad := ti.Image{Base: enc, DiffIDs: []digest.Digest{plain.DiffIDs[0], digest.FromString("x")}}.Write(t, t.TempDir(), "v1")
	repo, repoDir := newRepo(t, modeHere())
	_, _, err := pull(t, repo, bad.Ref, keyed(t, key.Private))
	require.ErrorIs(t, err, container.ErrDiffID)
	assert.Contains(t, err.Error(), enc.Manifest.Layers[1].Digest.String())
	nothingVisible(t, repoDir, enc.Manifest.Layers[1].Digest)
}

func TestUnencapsulateEncrypted(t *testing.T) {
	t.Parallel()
	key := ti.NewEncryptionKey(t, "")
	base := ti.EncapsulatedBase(t, ti.BaseOptions{})
	plain := ti.Image{Base: &base.Base}.Write(t, t.TempDir(), "v1")
	dir := filepath.Join(t.TempDir(), "enc")
	enc := ti.Encrypt(t, plain.Ref, dir, "v1", "jwe:"+key.Public)
	ref := "oci:" + dir + ":v1"
	unencapsulate := func(repo *ostree.Repo, image string, opts container.ImporterOptions) (string, error) {
		imp, err := container.NewImporter(repo, unverified(t, image), &opts)
		require.NoError(t, err)
		defer func() { require.NoError(t, imp.Close()) }()
		u, err := imp.Unencapsulate(t.Context(), "os")
		if err != nil {
			return "", err
		}
		return u.Commit, nil
	}
	want, _ := newRepo(t, modeHere())
	commit, err := unencapsulate(want, plain.Ref, keyed(t))
	require.NoError(t, err)

	repo, repoDir := newRepo(t, modeHere())
	_, err = unencapsulate(repo, ref, keyed(t))
	require.ErrorIs(t, err, registry.ErrEncrypted)
	assert.Contains(t, err.Error(), enc.Manifest.Layers[0].Digest.String())
	assert.Empty(t, oracle.Refs(t, repoDir))
	assert.Empty(t, objects(t, repoDir))
	got, err := unencapsulate(repo, ref, keyed(t, key.Private))
	require.NoError(t, err)
	assert.Equal(t, commit, got)
	oracle.Fsck(t, repoDir)

	// A first layer that is written anew would be as readable as the others are not.
	_, err = container.ReplaceDetachedMetadata(t.Context(), imageName(t, ref), imageName(t, "oci:"+t.TempDir()+"/out"), nil,
		&container.ReplaceDetachedMetadataOptions{Registry: quickly(t)})
	require.ErrorIs(t, err, registry.ErrEncrypted)
	assert.ErrorContains(t, err, enc.Manifest.Layers[0].Digest.String())
}
