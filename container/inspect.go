package container

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ostree-container/ostree-container/container/imageref"
	"github.com/ostree-container/ostree-container/container/registry"
	"github.com/ostree-container/ostree-container/ostree"
)

// Inspection is what is known of an image, and of what a repository has of it.
type Inspection struct {
	// PreparedImport is what an import would do. Previous is the image of this name in the repository, which may be the same version.
	// Without a repository no layer has a commit.
	PreparedImport
	// IndexDigest is that of the index which the reference names; "" if it names an image, or is not known.
	IndexDigest digest.Digest
	// MediaType is that of the manifest before it was converted to OCI form; "" if not known.
	MediaType string
	// RawManifest and RawConfig are the documents as they were fetched; nil if the image was only looked at in the repository.
	RawManifest, RawConfig []byte
	// Current reports whether an import would find nothing to do.
	Current bool
}

// InspectOptions are options of Inspect; nil means the default.
type InspectOptions struct {
	Registry *registry.Options // see ImporterOptions
	Repo     *ostree.Repo      // what is here already is looked up in it; nil: not at all
	Logger   *slog.Logger      // nil: silent
}

// Inspect fetches manifest and config of an image and verifies them as an import would, and looks up which of its layers a repository
// has. Nothing is written. Errors are those of Importer.Prepare.
func Inspect(ctx context.Context, ref imageref.OSTreeImageReference, opts *InspectOptions) (_ *Inspection, err error) {
	if opts == nil {
		opts = &InspectOptions{}
	}
	image, err := openManifest(ctx, ref, opts.Registry)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, image.Close()) }()
	if err := image.FetchConfig(ctx); err != nil {
		return nil, fmt.Errorf("Fetching config: %w", err) //nolint:staticcheck // the reference's text
	}
	in := &Inspection{
		IndexDigest: image.IndexDigest, MediaType: image.ManifestType, RawManifest: image.RawManifest, RawConfig: image.RawConfig,
		PreparedImport: PreparedImport{ManifestDigest: image.ManifestDigest, Manifest: image.Manifest, Config: image.Config},
	}
	if in.Layers, err = parseLayout(in.Manifest, in.Config, image.Layers); err != nil {
		return nil, fmt.Errorf("%s: %w", ref.ImgRef, err)
	}
	if opts.Repo == nil {
		return in, nil
	}
	return in, in.lookUp(ctx, opts.Repo, ref.ImgRef, opts.Logger)
}

// InspectStored is Inspect of an image as it is in a repository: nothing is fetched. ErrNoSuchImage is returned if it is not there.
func InspectStored(ctx context.Context, repo *ostree.Repo, ref imageref.ImageReference) (*Inspection, error) {
	state, err := QueryImage(ctx, repo, ref)
	if err != nil {
		return nil, err
	}
	in := &Inspection{PreparedImport: PreparedImport{ManifestDigest: state.ManifestDigest, Manifest: state.Manifest, Config: state.Config}}
	if in.Layers, err = storedLayers(state); err != nil {
		return nil, fmt.Errorf("image %s: %w", ref, err)
	}
	return in, in.lookUp(ctx, repo, ref, nil)
}

// storedLayers are the layers of an image in a repository, without their commits.
func storedLayers(state *LayeredImageState) ([]LayerState, error) {
	layers := make([]registry.Layer, len(state.Manifest.Layers))
	ids := diffIDs(state.Manifest, state.Config)
	for n := range layers {
		layers[n].Descriptor = state.Manifest.Layers[n]
		if ids != nil {
			layers[n].DiffID = ids[n]
		}
	}
	return parseLayout(state.Manifest, state.Config, layers)
}

// lookUp fills in what a repository has.
func (in *Inspection) lookUp(ctx context.Context, repo *ostree.Repo, ref imageref.ImageReference, logger *slog.Logger) error {
	i := &Importer{repo: repo, opts: ImporterOptions{Logger: orSilent(logger)}} // only to look
	if err := i.findLayers(ctx, in.Layers); err != nil {
		return err
	}
	previous, err := QueryImage(ctx, repo, ref)
	switch {
	case errors.Is(err, ErrNoSuchImage):
	case err != nil:
		logger.Warn("failed to query image commit", "image", ref.String(), "error", err)
	default:
		in.Previous = previous
		in.Current = isCurrent(previous, in.ManifestDigest, in.Manifest)
	}
	return nil
}

// isCurrent reports whether an image in a repository is the one of a manifest: the same, or another with the same config.
func isCurrent(state *LayeredImageState, d digest.Digest, manifest *ocispec.Manifest) bool {
	return state.ManifestDigest == d || state.Manifest.Config.Digest == manifest.Config.Digest
}

// diffIDs returns the diff_ids of an image in a repository, parallel to its layers; nil if there is not one for each.
func diffIDs(manifest *ocispec.Manifest, config *ocispec.Image) []digest.Digest {
	ids := config.RootFS.DiffIDs
	if len(ids) == 2*len(manifest.Layers) { // see B43
		ids = ids[len(manifest.Layers):]
	}
	if len(ids) != len(manifest.Layers) {
		return nil
	}
	return ids
}
