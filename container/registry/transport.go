package registry

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/containers/image/v5/directory"
	"github.com/containers/image/v5/docker"
	dockerarchive "github.com/containers/image/v5/docker/archive"
	"github.com/containers/image/v5/docker/daemon"
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
	case imageref.TransportDockerDaemon:
		return daemon.ParseReference(ref.Name)
	case imageref.TransportContainersStorage:
		return storageReference(storageName(ref.Name))
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

// Host is the registry of an image, HOST[:PORT]; "" for one that is not in a registry.
func Host(ref imageref.ImageReference) string {
	if ref.Transport != imageref.TransportRegistry {
		return ""
	}
	named, err := reference.ParseNormalizedNamed(ref.Name)
	if err != nil {
		return ""
	}
	return reference.Domain(named)
}

// splitStore splits "[STORE]IMAGE" of a containers-storage.
func splitStore(name string) (store, image string) {
	if end := strings.IndexByte(name, ']'); strings.HasPrefix(name, "[") && end > 0 {
		return name[1:end], name[end+1:]
	}
	return "", name
}

// storageName drops the "sha256:" before an image's ID, which podman prints and containers/image does not take.
func storageName(name string) string {
	_, image := splitStore(name)
	return strings.TrimSuffix(name, image) + strings.TrimPrefix(image, "sha256:")
}

// checkStore refuses a containers-storage that does not exist: containers/storage would make it.
func checkStore(ref imageref.ImageReference) error {
	if ref.Transport != imageref.TransportContainersStorage {
		return nil
	}
	store, _ := splitStore(ref.Name)
	driver, root, given := strings.Cut(store, "@")
	if !given {
		driver, root = "", store
	}
	root, _, _ = strings.Cut(root, ":") // options
	root, _, _ = strings.Cut(root, "+") // run root
	if root == "" {
		var err error
		if root, err = defaultStoreRoot(); err != nil || root == "" {
			return err
		}
	}
	if driver == "" {
		driver = "*"
	}
	switch found, err := filepath.Glob(filepath.Join(globEscape.Replace(root), driver+"-images")); {
	case err != nil:
		return fmt.Errorf("%w: %s: %w", imageref.ErrInvalidReference, ref, err)
	case len(found) == 0:
		return fmt.Errorf("no containers-storage in %s: %w", root, fs.ErrNotExist)
	}
	return nil
}

var globEscape = strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`)
