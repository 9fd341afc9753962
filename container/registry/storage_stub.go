//go:build !containers_storage

package registry

import (
	"fmt"

	"github.com/containers/image/v5/types"
)

// StorageSupported says whether containers-storage: is in this build: it takes the build tag containers_storage, and,
// without the headers of btrfs, exclude_graphdriver_btrfs.
const StorageSupported = false

func storageReference(string) (types.ImageReference, error) {
	return nil, fmt.Errorf("%w: containers-storage takes the build tag containers_storage", ErrUnsupportedTransport)
}

func defaultStoreRoot() (string, error) {
	_, err := storageReference("")
	return "", err
}

func storageNotFound(error) bool { return false }

// ReexecInit does the work of a child process that containers/storage starts to unpack a layer, and reports whether
// this process is one: it should then end. To be called first by the main function (or TestMain) of a program that writes to
// a containers-storage; reading does without.
func ReexecInit() bool { return false }
