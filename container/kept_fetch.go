package container

import (
	"context"
	"errors"
	"fmt"
	"io"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/ostree-container/ostree-container/container/internal/ocidir"
	"github.com/ostree-container/ostree-container/container/registry"
	"github.com/ostree-container/ostree-container/ostree"
)

// keptBlob is a blob that is kept while it is read. Without a file nothing is.
type keptBlob struct {
	repo *ostree.Repo
	file *ocidir.Blob
	want registry.Layer
}

// keep begins to keep a blob that is about to be read, if blobs are kept. Nothing has a name before commit.
func (i *Importer) keep(ctx context.Context, l *LayerState) (_ *keptBlob, err error) {
	k := &keptBlob{repo: i.repo, want: i.image.Layers[l.Index]}
	if i.kept == nil {
		return k, nil
	}
	free, reserved, err := i.freeSpace(ctx)
	if err != nil {
		return nil, err
	}
	if k.want.BlobSize > free && !i.opts.IgnoreSpace {
		return nil, keptError(i.repo, fmt.Errorf("%w: %d bytes needed, %d available above the %d that the repository keeps free",
			ErrNoSpace, k.want.BlobSize, max(free, 0), reserved))
	}
	if k.file, err = i.kept.NewBlob(); err != nil {
		return nil, keptError(i.repo, noSpace(err))
	}
	return k, nil
}

// writer is what the blob is written to, nil if it is not kept.
func (k *keptBlob) writer() io.Writer {
	if k.file == nil {
		return nil
	}
	return k
}

// Write implements io.Writer.
func (k *keptBlob) Write(p []byte) (int, error) {
	n, err := k.file.Write(p)
	if err != nil {
		err = keptError(k.repo, noSpace(err))
	}
	return n, err
}

// commit gives a blob that was read to its end its name, if it has the digest that it should.
func (k *keptBlob) commit(ctx context.Context) error {
	if k.file == nil {
		return nil
	}
	if got := k.file.Digest(); got != k.want.BlobDigest {
		return &registry.DigestError{What: "blob", Want: k.want.BlobDigest, Got: got}
	}
	if _, err := k.file.Commit(ctx, ""); err != nil {
		return keptError(k.repo, noSpace(err))
	}
	return nil
}

// Close implements io.Closer; what has no name is gone.
func (k *keptBlob) Close() error {
	if k.file == nil {
		return nil
	}
	return k.file.Close()
}

// checkKeepable refuses to keep blobs that are not what is read: a containers-storage has layers decompressed. Blobs are kept by their
// SHA-256.
func (i *Importer) checkKeepable() error {
	if !i.opts.KeepBlobs {
		return nil
	}
	blobs := []ocispec.Descriptor{{Digest: i.image.ManifestDigest}, i.image.Manifest.Config}
	for _, l := range i.image.Layers {
		blobs = append(blobs, l.Descriptor)
	}
	for _, b := range blobs {
		if _, err := ocidir.BlobName(b.Digest); err != nil {
			return fmt.Errorf("%w: %s cannot be kept: %w", ostree.ErrUnsupported, i.ref.ImgRef, err)
		}
	}
	for n, l := range i.image.Layers {
		if l.BlobDigest != l.Descriptor.Digest {
			return fmt.Errorf("%w: %s has layer %d/%d decompressed, so that its blob cannot be kept",
				ostree.ErrUnsupported, i.ref.ImgRef, n+1, len(i.image.Layers))
		}
	}
	return nil
}

// noSpace marks the error of a full file system.
func noSpace(err error) error {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return fmt.Errorf("%w: %w", ErrNoSpace, err)
	}
	return err
}
