package registry

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/containers/image/v5/manifest"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// MaxDocumentSize is the largest manifest or configuration that is read, in bytes:
// 4 MiB, as in containers/image.
const MaxDocumentSize = 4 << 20

// dockerMediaTypes maps docker's media types of layers to OCI's.
var dockerMediaTypes = map[string]string{
	manifest.DockerV2SchemaLayerMediaTypeUncompressed: ocispec.MediaTypeImageLayer,
	manifest.DockerV2Schema2LayerMediaType:            ocispec.MediaTypeImageLayerGzip,
	manifest.DockerV2Schema2ForeignLayerMediaType:     ocispec.MediaTypeImageLayerNonDistributable,     //nolint:staticcheck // deprecated, still met
	manifest.DockerV2Schema2ForeignLayerMediaTypeGzip: ocispec.MediaTypeImageLayerNonDistributableGzip, //nolint:staticcheck // deprecated, still met
}

// twins maps the non-distributable types to those that are otherwise the same.
var twins = map[string]string{
	ocispec.MediaTypeImageLayerNonDistributable:     ocispec.MediaTypeImageLayer,     //nolint:staticcheck // deprecated, still met
	ocispec.MediaTypeImageLayerNonDistributableGzip: ocispec.MediaTypeImageLayerGzip, //nolint:staticcheck // deprecated, still met
	ocispec.MediaTypeImageLayerNonDistributableZstd: ocispec.MediaTypeImageLayerZstd, //nolint:staticcheck // deprecated, still met
}

// layerMediaType returns the OCI media type of a distributable layer that
// mediaType stands for.
func layerMediaType(mediaType string) (string, error) {
	oci := mediaType
	if t, ok := dockerMediaTypes[oci]; ok {
		oci = t
	}
	if t, ok := twins[oci]; ok {
		oci = t
	}
	switch oci {
	case ocispec.MediaTypeImageLayer, ocispec.MediaTypeImageLayerGzip, ocispec.MediaTypeImageLayerZstd:
		return oci, nil
	}
	return "", fmt.Errorf("%w: %s", ErrUnhandledLayer, mediaType)
}

// plainMediaType is layerMediaType of what is in an encrypted layer, if it is one.
func plainMediaType(mediaType string) (oci string, encrypted bool, err error) {
	plain, encrypted := strings.CutSuffix(mediaType, encryptedSuffix)
	if oci, err = layerMediaType(plain); err != nil {
		return "", false, fmt.Errorf("%w: %s", ErrUnhandledLayer, mediaType)
	}
	return oci, encrypted, nil
}

// document is a manifest as it was fetched.
type document struct {
	raw      []byte
	mimeType string // one of the known types, or what the source said
}

// newDocument checks the size, and finds the type where the source does not know it:
// "application/json", for example, is often wrong.
func newDocument(raw []byte, mimeType string) (document, error) {
	if len(raw) > MaxDocumentSize {
		return document{}, fmt.Errorf("manifest is %w: %d bytes, at most %d are read", ErrTooLarge, len(raw), MaxDocumentSize)
	}
	switch mimeType {
	case ocispec.MediaTypeImageManifest, ocispec.MediaTypeImageIndex,
		manifest.DockerV2Schema2MediaType, manifest.DockerV2ListMediaType,
		manifest.DockerV2Schema1MediaType, manifest.DockerV2Schema1SignedMediaType:
	default:
		if guess := manifest.GuessMIMEType(raw); guess != "" {
			mimeType = guess
		}
	}
	if !json.Valid(raw) {
		return document{}, fmt.Errorf("%w: not JSON", ErrInvalidManifest)
	}
	return document{raw: raw, mimeType: mimeType}, nil
}

func (d document) isIndex() bool { return manifest.MIMETypeIsMultiImage(d.mimeType) }

// parsed is a manifest in OCI form. For docker schema 2 the descriptor of the
// configuration in it is still docker's.
type parsed struct {
	oci    *ocispec.Manifest
	docker bool
}

// parse reads a manifest of one image.
func (d document) parse() (*parsed, error) {
	var p *parsed
	switch d.mimeType {
	case ocispec.MediaTypeImageManifest:
		m, err := manifest.OCI1FromManifest(d.raw)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrInvalidManifest, err)
		}
		p = &parsed{oci: &m.Manifest}
	case manifest.DockerV2Schema2MediaType:
		// Found by containers/image as well, but called something else.
		var types struct {
			Layers []struct {
				MediaType string `json:"mediaType"`
			} `json:"layers"`
		}
		if err := json.Unmarshal(d.raw, &types); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrInvalidManifest, err)
		}
		for i, l := range types.Layers {
			if _, err := layerMediaType(l.MediaType); err != nil {
				return nil, fmt.Errorf("layer %d/%d: %w", i+1, len(types.Layers), err)
			}
		}
		m, err := manifest.Schema2FromManifest(d.raw)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrInvalidManifest, err)
		}
		p = &parsed{oci: fromSchema2(m), docker: true}
	default:
		return nil, fmt.Errorf("%w: %s", ErrUnsupportedManifest, cmp.Or(d.mimeType, "unknown"))
	}
	return p, p.validate()
}

// fromSchema2 converts as containers/image does, but for the configuration, which
// it is too early to know.
func fromSchema2(m *manifest.Schema2) *ocispec.Manifest {
	out := &ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: ocispec.MediaTypeImageManifest,
		Config: ocispec.Descriptor{
			MediaType: ocispec.MediaTypeImageConfig,
			Digest:    m.ConfigDescriptor.Digest,
			Size:      m.ConfigDescriptor.Size,
		},
		Layers: make([]ocispec.Descriptor, len(m.LayersDescriptors)),
	}
	for i, l := range m.LayersDescriptors {
		mediaType, ok := dockerMediaTypes[l.MediaType]
		if !ok {
			mediaType = l.MediaType
		}
		out.Layers[i] = ocispec.Descriptor{MediaType: mediaType, Size: l.Size, Digest: l.Digest, URLs: l.URLs}
	}
	return out
}

func (p *parsed) validate() error {
	if err := validDescriptor(p.oci.Config); err != nil {
		return fmt.Errorf("%w: config: %w", ErrInvalidManifest, err)
	}
	if p.oci.Config.Size > MaxDocumentSize {
		return fmt.Errorf("config is %w: %d bytes, at most %d are read", ErrTooLarge, p.oci.Config.Size, MaxDocumentSize)
	}
	for i, l := range p.oci.Layers {
		if _, _, err := plainMediaType(l.MediaType); err != nil {
			return fmt.Errorf("layer %d/%d: %w", i+1, len(p.oci.Layers), err)
		}
		if err := validDescriptor(l); err != nil {
			return fmt.Errorf("%w: layer %d/%d: %w", ErrInvalidManifest, i+1, len(p.oci.Layers), err)
		}
	}
	return nil
}

func validDescriptor(d ocispec.Descriptor) error {
	if err := d.Digest.Validate(); err != nil {
		return fmt.Errorf("digest %q: %w", d.Digest, err)
	}
	if d.Size < 0 {
		return fmt.Errorf("negative size %d", d.Size)
	}
	return nil
}

// convertedConfig is the configuration that containers/image would store with a
// converted manifest: what OCI knows of docker's.
func convertedConfig(config *ocispec.Image) (ocispec.Descriptor, error) {
	data, err := json.Marshal(config)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	return ocispec.Descriptor{
		MediaType: ocispec.MediaTypeImageConfig,
		Size:      int64(len(data)),
		Digest:    digest.FromBytes(data),
	}, nil
}

// parseConfig reads a configuration.
func parseConfig(raw []byte) (*ocispec.Image, error) {
	trimmed := bytes.TrimLeft(raw, " \t\r\n")
	if len(trimmed) == 0 || trimmed[0] != '{' || !json.Valid(raw) {
		return nil, fmt.Errorf("%w: not a JSON object", ErrInvalidConfig)
	}
	config := &ocispec.Image{}
	if err := json.Unmarshal(raw, config); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalidConfig, err)
	}
	return config, nil
}

// layerDiffIDs returns one diff_id per layer. ostree-rs-ext's "container image
// reexport" (0.15.3) wrote 2N of them for N layers, the right ones last (B43): such
// an image is taken, with a warning.
func layerDiffIDs(config *ocispec.Image, layers []ocispec.Descriptor) (ids []digest.Digest, warning string, err error) {
	ids = config.RootFS.DiffIDs
	for i, id := range ids {
		if err := id.Validate(); err != nil {
			return nil, "", fmt.Errorf("%w: rootfs.diff_ids[%d] %q: %w", ErrInvalidConfig, i, id, err)
		}
	}
	n := len(layers)
	switch {
	case len(ids) == n:
		return ids, "", nil
	case n > 0 && len(ids) == 2*n:
		ids = ids[n:]
		// What the others are is only known once they are decompressed.
		for i, l := range layers {
			if plainLayer(l.MediaType) && l.Digest.Algorithm() == ids[i].Algorithm() && l.Digest != ids[i] {
				return nil, "", errors.Join(countError(len(config.RootFS.DiffIDs), n), fmt.Errorf("and number %d of the last %d does not match its layer", i+1, n))
			}
		}
		return slices.Clone(ids), fmt.Sprintf("the image configuration has %d diff_ids for %d layers, as ostree-rs-ext's reexport writes; the last %d are used", 2*n, n, n), nil
	}
	return nil, "", countError(len(ids), n)
}

func countError(ids, layers int) error {
	return fmt.Errorf("%w: %d diff_ids for %d layers", ErrInvalidConfig, ids, layers)
}

func plainLayer(mediaType string) bool {
	t, err := layerMediaType(mediaType)
	return err == nil && t == ocispec.MediaTypeImageLayer
}
