package registry

import (
	"fmt"

	"github.com/containers/image/v5/directory"
	"github.com/containers/image/v5/docker"
	dockerarchive "github.com/containers/image/v5/docker/archive"
	"github.com/containers/image/v5/docker/reference"
	ociarchive "github.com/containers/image/v5/oci/archive"
	"github.com/containers/image/v5/oci/layout"
	"github.com/containers/image/v5/types"

	"github.com/ostree-container/ostree-container/container/imageref"
)

// imageReference turns a reference into that of containers/image.
func imageReference(ref imageref.ImageReference) (types.ImageReference, error) {
	switch ref.Transport {
	case imageref.TransportRegistry:
		return registryReference(ref.Name)
	case imageref.TransportOCIDir:
		return layout.ParseReference(ref.Name)
	case imageref.TransportOCIArchive:
		return ociarchive.ParseReference(ref.Name)
	case imageref.TransportDockerArchive:
		return dockerarchive.ParseReference(ref.Name)
	case imageref.TransportDir:
		return directory.Transport.ParseReference(ref.Name)
	case imageref.TransportContainersStorage, imageref.TransportDockerDaemon:
		return nil, fmt.Errorf("%w: %s", ErrUnsupportedTransport, ref.Transport)
	default:
		return nil, fmt.Errorf("%w: %w", imageref.ErrInvalidReference, ErrUnsupportedTransport)
	}
}

// registryReference parses NAME[:TAG][@DIGEST]. With a digest the tag is dropped, as
// bootc does; containers/image would refuse it.
func registryReference(name string) (types.ImageReference, error) {
	named, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", imageref.ErrInvalidReference, err)
	}
	if digested, ok := named.(reference.Digested); ok {
		if named, err = reference.WithDigest(reference.TrimNamed(named), digested.Digest()); err != nil {
			return nil, fmt.Errorf("%w: %w", imageref.ErrInvalidReference, err)
		}
	}
	return docker.NewReference(reference.TagNameOnly(named))
}
