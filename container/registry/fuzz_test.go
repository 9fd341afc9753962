package registry

import (
	"testing"

	"github.com/containers/image/v5/manifest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"
)

// FuzzManifest: whatever a registry sends is an image with sound descriptors, or an error.
func FuzzManifest(f *testing.F) {
	const digest = `"digest":"sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae","size":3`
	f.Add(0, []byte(`{"schemaVersion":2,"config":{"mediaType":"application/vnd.oci.image.config.v1+json",`+digest+`},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar",`+digest+`}]}`))
	f.Add(1, []byte(`{"schemaVersion":2,"mediaType":"application/vnd.docker.distribution.manifest.v2+json","config":{"mediaType":"application/vnd.docker.container.image.v1+json",`+digest+`},"layers":[{"mediaType":"application/vnd.docker.image.rootfs.diff.tar.gzip",`+digest+`}]}`))
	f.Add(2, []byte(`{"schemaVersion":1}`))
	f.Add(0, []byte(`[]`))
	types := []string{ocispec.MediaTypeImageManifest, manifest.DockerV2Schema2MediaType, "application/json", ""}
	f.Fuzz(func(t *testing.T, kind int, raw []byte) {
		doc, err := newDocument(raw, types[uint(kind)%uint(len(types))])
		if err != nil || doc.isIndex() {
			return
		}
		p, err := doc.parse()
		if err != nil {
			return
		}
		require.NoError(t, p.oci.Config.Digest.Validate())
		for _, l := range p.oci.Layers {
			require.NoError(t, l.Digest.Validate())
			require.GreaterOrEqual(t, l.Size, int64(0))
			_, err := layerMediaType(l.MediaType)
			require.NoError(t, err)
		}
	})
}

func FuzzConfig(f *testing.F) {
	f.Add([]byte(`{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":["sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"]}}`))
	f.Add([]byte(` {}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		config, err := parseConfig(raw)
		if err != nil {
			require.ErrorIs(t, err, ErrInvalidConfig)
			return
		}
		for n := range 4 {
			ids, _, err := layerDiffIDs(config, make([]ocispec.Descriptor, n))
			if err != nil {
				require.ErrorIs(t, err, ErrInvalidConfig)
				continue
			}
			require.Len(t, ids, n)
		}
	})
}
