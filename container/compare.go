package container

import (
	"context"
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ostree-container/ostree-container/container/imageref"
	"github.com/ostree-container/ostree-container/container/registry"
)

// FetchManifest fetches the manifest of an image, in OCI form, and the digest of its original bytes. The signature policy is checked,
// the commit signature that SignatureOSTreeRemote asks for is not. A nil opts means the default of ImporterOptions.Registry. Errors are
// those of registry.Open.
func FetchManifest(ctx context.Context, ref imageref.OSTreeImageReference, opts *registry.Options) (_ *ocispec.Manifest, _ digest.Digest, err error) {
	image, err := openManifest(ctx, ref, opts)
	if err != nil {
		return nil, "", err
	}
	defer func() { err = errors.Join(err, image.Close()) }()
	return image.Manifest, image.ManifestDigest, nil
}

func openManifest(ctx context.Context, ref imageref.OSTreeImageReference, opts *registry.Options) (*registry.Image, error) {
	options := registry.Options{}
	if opts != nil {
		options = *opts
	}
	options.ManifestOnly = true
	image, err := registry.Open(ctx, ref, &options)
	if err != nil {
		return nil, fmt.Errorf("Fetching manifest: %w", err) //nolint:staticcheck // the reference's text
	}
	return image, nil
}

// ManifestDiff compares the layers of two manifests by digest; a layer that a manifest has twice counts once. Sizes are those of the
// blobs, in bytes; math.MaxInt64 stands for all beyond.
type ManifestDiff struct {
	Total     int   // layers of the new manifest
	TotalSize int64 // of all entries, repeated ones too
	Removed   []ocispec.Descriptor
	Added     []ocispec.Descriptor
}

// NewManifestDiff compares the layers of two manifests.
func NewManifestDiff(from, to *ocispec.Manifest) *ManifestDiff {
	return &ManifestDiff{
		Total: len(layersOnlyIn(to, &ocispec.Manifest{})), TotalSize: SizeOfLayers(to.Layers),
		Removed: layersOnlyIn(from, to), Added: layersOnlyIn(to, from),
	}
}

// layersOnlyIn returns the layers of one manifest, each digest once, that another does not have.
func layersOnlyIn(m, other *ocispec.Manifest) []ocispec.Descriptor {
	seen := map[digest.Digest]bool{}
	for _, l := range other.Layers {
		seen[l.Digest] = true
	}
	only := []ocispec.Descriptor{}
	for _, l := range m.Layers {
		if !seen[l.Digest] {
			seen[l.Digest] = true
			only = append(only, l)
		}
	}
	return only
}

// SizeOfLayers adds up the sizes of layers, in bytes. They are what a manifest says: negative ones count as nothing, and the sum is at
// most math.MaxInt64.
func SizeOfLayers(layers []ocispec.Descriptor) int64 {
	states := make([]LayerState, len(layers))
	for n := range layers {
		states[n].Descriptor = layers[n]
	}
	return sizeOf(states)
}
