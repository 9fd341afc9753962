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
	"github.com/ostree-container/ostree-container/container/internal/dirnames"
)

// Entry is what a name below blobs/sha256 stands for.
type Entry struct {
	Size    int64 // bytes; 0 of what is no file
	Regular bool  // a file, not a link to one
}

// Names lists what is below blobs/sha256, leftovers of writers that were killed among it.
func (d *Dir) Names() (map[string]Entry, error) {
	list, err := dirnames.List(d.blobs, ".")
	if err != nil {
		return nil, fmt.Errorf("%s: %w", d.file(blobDir), err)
	}
	names := make(map[string]Entry, len(list))
	for _, name := range list {
		var st unix.Stat_t
		err := unix.Fstatat(d.blobs, name, &st, unix.AT_SYMLINK_NOFOLLOW)
		switch {
		case errors.Is(err, unix.ENOENT):
		case err != nil:
			return nil, &os.PathError{Op: "stat", Path: d.file(filepath.Join(blobDir, name)), Err: err}
		case st.Mode&unix.S_IFMT == unix.S_IFREG:
			names[name] = Entry{Size: st.Size, Regular: true}
		default:
			names[name] = Entry{}
		}
	}
	return names, nil
}

// RemoveBlob deletes what Names listed, also an empty directory. One that is gone is no error.
func (d *Dir) RemoveBlob(name string) error {
	err := unix.Unlinkat(d.blobs, name, 0)
	if errors.Is(err, unix.EISDIR) {
		err = unix.Unlinkat(d.blobs, name, unix.AT_REMOVEDIR)
	}
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return &os.PathError{Op: "remove blob", Path: d.file(filepath.Join(blobDir, name)), Err: err}
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
	if err := d.rename(temp, name); err != nil {
		return false, errors.Join(err, unix.Unlinkat(d.blobs, temp, 0))
	}
	return true, d.syncNames()
}
