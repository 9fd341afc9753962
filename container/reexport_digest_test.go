package container_test

import (
	"os"
	"path/filepath"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/container"
	"github.com/ostree-container/ostree-container/container/internal/oracle"
	ti "github.com/ostree-container/ostree-container/container/internal/testimage"
	"github.com/ostree-container/ostree-container/ostree"
)

// An image that Encapsulate made, pulled and written again with the same compression, has the digest that it had: whatever its layers,
// labels, configuration and detached metadata, from every mode of repository.
func TestReexportKeepsTheDigest(t *testing.T) {
	t.Parallel()
	ti.NeedTool(t, "skopeo")
	repo, commit := commitTar(t, exportMembers(), "--bootable", "--subject=<the subject> & more", "--add-metadata-string=version=42.1",
		"--add-metadata-string=ostree.linux=6.1.0-test", `--add-metadata=ostree.container-cmd=["/sbin/init","-x"]`)
	signed, err := ostree.NewVariantDict().SetString("signature", "of somebody").Build()
	require.NoError(t, err)
	meta := contentMetaOf(t, repo, commit)
	ghost := *meta
	ghost.Created, ghost.Layers = "2024-01-02T03:04:05Z", append([]container.ContentLayer{{ID: "ghost", Name: "ghost"}}, meta.Layers...)
	config := &ocispec.ImageConfig{User: "1:2", Env: []string{"A=<b>"}, Labels: map[string]string{"mine": "1"}}
	dir := t.TempDir()
	for name, tc := range map[string]struct {
		opts     container.EncapsulateOptions
		detached *ostree.Variant
		mode     ostree.Mode
	}{
		"one layer":     {mode: modeHere()},
		"signed":        {mode: modeHere(), detached: signed},
		"archive":       {mode: ostree.ModeArchive, opts: container.EncapsulateOptions{ContentMeta: meta}},
		"configuration": {mode: ostree.ModeBareUser, opts: container.EncapsulateOptions{Config: config, Labels: map[string]string{"html": "<a&b>"}, LegacyVersionLabel: true}},
		"a layer each":  {mode: modeHere(), detached: signed, opts: container.EncapsulateOptions{ContentMeta: meta}},
		"few layers":    {mode: modeHere(), opts: container.EncapsulateOptions{ContentMeta: meta, MaxLayers: 4}},
		"empty layer":   {mode: modeHere(), opts: container.EncapsulateOptions{ContentMeta: &ghost}},
		"fast":          {mode: modeHere(), opts: container.EncapsulateOptions{ContentMeta: meta, CompressionLevel: 1}},
		"zstd":          {mode: modeHere(), opts: container.EncapsulateOptions{ContentMeta: meta, Compression: container.CompressionZstd}},
		"uncompressed":  {mode: modeHere(), opts: container.EncapsulateOptions{ContentMeta: meta, Compression: container.CompressionNone}},
	} {
		t.Run(name, func(t *testing.T) { // one after the other: they set detached metadata
			require.NoError(t, repo.WriteDetachedMetadata(t.Context(), commit, tc.detached))
			path := filepath.Join(dir, name)
			want, err := container.Encapsulate(t.Context(), repo, commit, ociRef(t, path+":x"), &tc.opts)
			require.NoError(t, err)
			into, intoDir := newRepo(t, tc.mode)
			mustPull(t, into, "oci:"+path+":x", container.ImporterOptions{})
			oracle.Fsck(t, intoDir)
			got := reexport(t, into, "oci:"+path+":x", "oci:"+path+"-again:x",
				&container.ReexportOptions{Compression: tc.opts.Compression, CompressionLevel: tc.opts.CompressionLevel})
			if !assert.Equal(t, want, got) {
				m, c := loadImage(t, path+":x")
				m2, c2 := loadImage(t, path+"-again:x")
				assert.Equal(t, m, m2, "manifest")
				assert.Equal(t, c, c2, "configuration")
				for _, d := range []string{path, path + "-again"} {
					text, err := os.ReadFile(filepath.Join(d, "index.json"))
					require.NoError(t, err)
					t.Log(string(text))
				}
			}
			// Through another place, too.
			assert.Equal(t, want, reexport(t, into, "oci:"+path+":x", "oci-archive:"+path+".ociarchive:x",
				&container.ReexportOptions{Compression: tc.opts.Compression, CompressionLevel: tc.opts.CompressionLevel}))
		})
	}
}
