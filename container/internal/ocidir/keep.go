package ocidir

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/ostree-container/ostree-container/container/internal/ctxio"
)

// Names lists the files below blobs/sha256, leftovers of writers that were killed among them, with their sizes in bytes.
func (d *Dir) Names() (map[string]int64, error) {
	entries, err := os.ReadDir(filepath.Join(d.path, blobDir))
	if err != nil {
		return nil, err
	}
	names := make(map[string]int64, len(entries))
	for _, e := range entries {
		fi, err := e.Info()
		if errors.Is(err, os.ErrNotExist) {
			continue
		} else if err != nil {
			return nil, err
		}
		names[e.Name()] = fi.Size()
	}
	return names, nil
}

// RemoveBlob deletes a file that Names listed. One that is gone is no error.
func (d *Dir) RemoveBlob(name string) error {
	if err := unix.Unlinkat(d.blobs, name, 0); err != nil && !errors.Is(err, unix.ENOENT) {
		return &os.PathError{Op: "remove blob", Path: filepath.Join(d.path, blobDir, name), Err: err}
	}
	return nil
}

// Check reads a blob, and returns ErrDamaged if it has not the digest and size of its descriptor.
func (d *Dir) Check(ctx context.Context, desc ocispec.Descriptor) (err error) {
	f, err := d.Open(desc.Digest)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	h := sha256.New()
	n, err := io.Copy(h, ctxio.NewReader(ctx, f))
	if err != nil {
		return err
	}
	if got := digest.NewDigest(digest.SHA256, h); got != desc.Digest || n != desc.Size {
		return fmt.Errorf("%w: blob %s of %d bytes: found %s of %d bytes", ErrDamaged, desc.Digest, desc.Size, got, n)
	}
	return nil
}

// LinkBlob makes a blob of another layout one of this, as a hardlink, and reports whether that was possible: on one file system, if
// both are of one owner. The other's content is not read. One that is here already is, and replaced if it is damaged; if it cannot be
// linked then, false is returned.
func (d *Dir) LinkBlob(ctx context.Context, from *Dir, desc ocispec.Descriptor) (bool, error) {
	name, err := BlobName(desc.Digest)
	if err != nil {
		return false, err
	}
	var here, there, old unix.Stat_t
	if err := errors.Join(unix.Fstat(d.blobs, &here), unix.Fstatat(from.blobs, name, &there, unix.AT_SYMLINK_NOFOLLOW)); err != nil {
		return false, &os.PathError{Op: "link blob", Path: d.path, Err: err}
	}
	if unix.Fstatat(d.blobs, name, &old, unix.AT_SYMLINK_NOFOLLOW) == nil && old.Dev == there.Dev && old.Ino == there.Ino {
		return true, nil
	}
	if d.Has(desc) && d.Check(ctx, desc) == nil {
		return true, nil
	}
	if err := context.Cause(ctx); err != nil {
		return false, err
	}
	if here.Uid != there.Uid || there.Mode&unix.S_IFMT != unix.S_IFREG || there.Size != desc.Size || there.Mode&0o7777 != d.mode {
		return false, nil
	}
	temp := ".tmp-" + rand.Text()
	if err := unix.Linkat(from.blobs, name, d.blobs, temp, 0); err != nil {
		return false, nil //nolint:nilerr // it can be copied
	}
	if err := unix.Renameat(d.blobs, temp, d.blobs, name); err != nil {
		return false, &os.PathError{Op: "rename blob", Path: d.path, Err: errors.Join(err, unix.Unlinkat(d.blobs, temp, 0))}
	}
	return true, d.syncNames()
}
