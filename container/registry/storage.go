//go:build containers_storage

package registry

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/containers/image/v5/storage"
	"github.com/containers/image/v5/types"
	cstorage "github.com/containers/storage"
	"github.com/containers/storage/pkg/reexec"
)

// StorageSupported says whether containers-storage: is in this build: it takes the build tag containers_storage, and,
// without the headers of btrfs, exclude_graphdriver_btrfs.
const StorageSupported = true

// storageReference opens the store that name asks for ("[DRIVER@ROOT+RUNROOT]IMAGE"), or that of storage.conf(5).
func storageReference(name string) (types.ImageReference, error) {
	ref, err := storage.Transport.ParseReference(name)
	if _, image := splitStore(name); err != nil && imageID.MatchString(image) { // an ID that the store does not have is taken for a name
		return nil, fmt.Errorf("%w: no image with the ID %s", ErrNotFound, image)
	}
	return ref, err
}

var imageID = regexp.MustCompile(`^[0-9a-f]{64}$`)

// defaultStoreRoot returns the directory of the store of storage.conf(5); "" if images may also be elsewhere.
func defaultStoreRoot() (string, error) {
	options, err := cstorage.DefaultStoreOptions()
	if err != nil || options.ImageStore != "" || slices.ContainsFunc(options.GraphDriverOptions, func(o string) bool { return strings.Contains(o, "imagestore") }) {
		return "", err
	}
	return options.GraphRoot, nil
}

func storageNotFound(err error) bool {
	return errors.Is(err, storage.ErrNoSuchImage) || errors.Is(err, cstorage.ErrImageUnknown) || errors.Is(err, cstorage.ErrLayerUnknown)
}

// ReexecInit does the work of a child process that containers/storage starts to unpack a layer, and reports whether
// this process is one: it should then end. To be called first by the main function (or TestMain) of a program that writes to
// a containers-storage; reading does without.
func ReexecInit() bool { return reexec.Init() }
