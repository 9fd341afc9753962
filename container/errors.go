package container

import (
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"

	"github.com/ostree-container/ostree-container/container/internal/objstore"
	"github.com/ostree-container/ostree-container/container/layer"
	"github.com/ostree-container/ostree-container/container/objectset"
)

// Errors of this package. Those of package registry and package ostree come through wrapped.
var (
	// ErrNoSuchImage: the repository holds no image of that name.
	ErrNoSuchImage = errors.New("No such image") //nolint:staticcheck // programs parse this text
	// ErrNotBootable: the image lacks the labels ostree.bootable and containers.bootc.
	ErrNotBootable = errors.New("Target image does not have ostree.bootable label") //nolint:staticcheck // the reference's text
	// ErrArchitecture: the image is for another architecture.
	ErrArchitecture = errors.New("wrong architecture")
	// ErrLayout: manifest and config do not fit each other, or what the ostree labels say.
	ErrLayout = errors.New("invalid image layout")
	// ErrDiffID: the uncompressed layer is not the one that the config names.
	ErrDiffID = errors.New("diff_id mismatch")
	// ErrNoSpace: the repository's file system cannot take the image.
	ErrNoSpace = objstore.ErrNoSpace
	// ErrIncomplete: a commit lacks objects or has corrupted ones.
	ErrIncomplete = objectset.ErrIncomplete
	// ErrUnreadableImage: the repository has a ref of an image that cannot be understood, so nothing is collected.
	ErrUnreadableImage = errors.New("unreadable image")
	// ErrDigestChanged: the image would not have the digest that it should.
	ErrDigestChanged = errors.New("the digest would change")
	// ErrNoStateroot: the sysroot has no such stateroot.
	ErrNoStateroot = errors.New("no such stateroot")
)

// LayerError says in which layer of which image, and at which entry, something went wrong.
type LayerError struct {
	Image  string        // image reference
	Digest digest.Digest // of the blob, as the manifest has it
	Index  int           // 1 is the first
	Total  int           // how many layers the image has
	Entry  string        // name as the tar has it, empty if the error is not about one
	Err    error
}

// Error names the layer and the image, and then the cause with the entry.
func (e *LayerError) Error() string {
	// The entry, if any, is named by Err itself.
	return fmt.Sprintf("Layer %s (%d/%d of %s): %v", e.Digest, e.Index, e.Total, e.Image, e.Err)
}

// Unwrap returns Err.
func (e *LayerError) Unwrap() error { return e.Err }

func layerError(image string, l *LayerState, total int, err error) error {
	var already *LayerError
	if err == nil || errors.As(err, &already) {
		return err
	}
	le := &LayerError{Image: image, Digest: l.Descriptor.Digest, Index: l.Index + 1, Total: total, Err: err}
	var entry *layer.EntryError
	if errors.As(err, &entry) {
		le.Entry = entry.Entry
	}
	return le
}
