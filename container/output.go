package container

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"

	"github.com/ostree-container/ostree-container/container/imageref"
	"github.com/ostree-container/ostree-container/container/internal/ocidir"
	"github.com/ostree-container/ostree-container/container/registry"
)

// writeImage has an image built in a layout, under a tag or none, and brings it to its destination: that layout itself where it is an "oci:"
// directory, else through a temporary one. progress, which may be nil, is told when the sending begins. The digest is that of the manifest.
func writeImage(ctx context.Context, dest imageref.ImageReference, push *PushOptions, progress *progress,
	build func(ctx context.Context, dir *ocidir.Dir, tag string) (digest.Digest, error),
) (_ digest.Digest, err error) {
	if dest.Transport == imageref.TransportOCIDir {
		path, tag := dest.PathAndTag()
		return writeLayout(path, func(dir *ocidir.Dir) (digest.Digest, error) { return build(ctx, dir, tag) })
	}
	dir, err := ocidir.Temp()
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, dir.Remove()) }()
	if _, err := build(ctx, dir, ""); err != nil {
		return "", err
	}
	progress.send(PhaseStarted{Phase: PhasePush})
	return registry.Push(ctx, dir.Path(), dest, push)
}

// writeLayout has an image written into the layout at path, which is removed again if it was made here and something goes wrong.
func writeLayout(path string, write func(*ocidir.Dir) (digest.Digest, error)) (_ digest.Digest, err error) {
	made := os.Mkdir(path, 0o755) == nil // else Create says why not
	dir, err := ocidir.Create(path, nil)
	if err != nil {
		for _, dir := range []string{"blobs/sha256", "blobs", ""} {
			if made {
				_ = os.Remove(filepath.Join(path, dir)) // one that is empty: others may be at it, too
			}
		}
		return "", fmt.Errorf("output %s: %w", path, err)
	}
	defer func() {
		if err != nil && made {
			err = errors.Join(err, dir.Abandon())
		} else {
			err = errors.Join(err, dir.Close())
		}
	}()
	return write(dir)
}
