package container

import (
	"fmt"
	"runtime"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ostree-container/ostree-container/container/imageref"
	"github.com/ostree-container/ostree-container/container/registry"
)

// Labels of an image's config.
const (
	labelFinalDiffID = "ostree.final-diffid"
	labelBootable    = "ostree.bootable"
	labelBootc       = "containers.bootc"
)

// LayerKind says what a layer holds.
type LayerKind int

// Kinds of layer.
const (
	LayerCommit  LayerKind = iota // an ostree commit with its metadata objects
	LayerChunk                    // content objects of that commit
	LayerDerived                  // an ordinary layer
)

// String is what progress messages call it.
func (k LayerKind) String() string {
	if k == LayerDerived {
		return "layer"
	}
	return "ostree chunk"
}

// LayerState is a layer of an image and what the repository has of it.
type LayerState struct {
	Index      int // 0 is the first
	Kind       LayerKind
	Descriptor ocispec.Descriptor // as the manifest has it
	DiffID     digest.Digest      // of the uncompressed layer
	Ref        string             // full ref name
	Commit     string             // 64 hex digits; empty: to be fetched

	blobOnly bool // it is fetched for its blob, the commit is there
}

// parseLayout says of each layer what it is. A config without the label ostree.final-diffid has derived layers only.
func parseLayout(manifest *ocispec.Manifest, config *ocispec.Image, layers []registry.Layer) ([]LayerState, error) {
	if len(layers) == 0 {
		return nil, fmt.Errorf("%w: No layers in manifest", ErrLayout)
	}
	final := -1
	if want, ok := config.Config.Labels[labelFinalDiffID]; ok {
		for i := range layers {
			if layers[i].DiffID.String() == want {
				final = i
				break
			}
		}
		if final < 0 {
			return nil, fmt.Errorf("%w: Missing %s %s", ErrLayout, labelFinalDiffID, want)
		}
		for i := final + 1; i < len(layers); i++ {
			if layers[i].Descriptor.Digest == layers[final].Descriptor.Digest {
				return nil, fmt.Errorf("%w: Multiple entries for %s", ErrLayout, layers[i].Descriptor.Digest)
			}
		}
	}
	states := make([]LayerState, len(layers))
	for i := range layers {
		ref, err := layerRef(layers[i].Descriptor.Digest)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrLayout, err)
		}
		kind := LayerDerived
		switch {
		case i == 0 && final >= 0:
			kind = LayerCommit
		case i <= final:
			kind = LayerChunk
		}
		states[i] = LayerState{Index: i, Kind: kind, Descriptor: manifest.Layers[i], DiffID: layers[i].DiffID, Ref: ref}
	}
	return states, nil
}

// checkBootable refuses an image that a host of this architecture cannot boot.
func checkBootable(image imageref.ImageReference, config *ocispec.Image) error {
	labels := config.Config.Labels
	_, bootable := labels[labelBootable]
	_, bootc := labels[labelBootc]
	if !bootable && !bootc {
		return fmt.Errorf("%s: %w", image, ErrNotBootable)
	}
	if config.Architecture != runtime.GOARCH {
		return fmt.Errorf("%s: %w: Image has architecture %s; expected %s", image, ErrArchitecture, config.Architecture, runtime.GOARCH)
	}
	return nil
}
