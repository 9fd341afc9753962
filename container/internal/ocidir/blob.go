package ocidir

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/ostree-container/ostree-container/container/internal/ctxio"
)

// Blob is one that is being written. It is for one goroutine at a time, and must be ended with Commit or Close.
type Blob struct {
	dir  *Dir
	fd   int
	temp string // name of the file where the file system has no unnamed ones
	hash hash.Hash
	size int64
	sent int64 // of size, on its way to the disk
	err  error
}

// writeAhead is after how many bytes the disk gets work, so that it is not idle until the sync in the end.
const writeAhead = 8 << 20

// NewBlob begins a blob.
func (d *Dir) NewBlob() (*Blob, error) {
	b := &Blob{dir: d, hash: sha256.New()}
	var err error
	b.fd, err = unix.Openat(d.blobs, ".", unix.O_TMPFILE|unix.O_WRONLY|unix.O_CLOEXEC, d.mode)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EISDIR) || errors.Is(err, unix.ENOENT) {
		b.temp = ".tmp-" + rand.Text()
		b.fd, err = unix.Openat(d.blobs, b.temp, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_CLOEXEC, d.mode)
	}
	if err != nil {
		return nil, &os.PathError{Op: "create blob", Path: d.path, Err: err}
	}
	return b, nil
}

// Write appends to the blob. After an error all further calls return it.
func (b *Blob) Write(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	for left := p; len(left) > 0; {
		n, err := unix.Write(b.fd, left)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			b.err = &os.PathError{Op: "write blob", Path: b.dir.path, Err: err}
			return len(p) - len(left), b.err
		}
		left = left[n:]
	}
	b.hash.Write(p)
	b.size += int64(len(p))
	if b.size-b.sent >= writeAhead && !b.dir.opts.NoSync {
		_ = unix.SyncFileRange(b.fd, b.sent, b.size-b.sent, unix.SYNC_FILE_RANGE_WRITE) // a hint
		b.sent = b.size
	}
	return len(p), nil
}

// Digest is that of what was written so far.
func (b *Blob) Digest() digest.Digest {
	return digest.NewDigestFromBytes(digest.SHA256, b.hash.Sum(nil))
}

// Commit names the blob by its digest. One that exists already is read, and left alone if it is intact, else replaced. In a layout that
// is NoSync, which nobody but this process wrote, the size is enough. An empty directory in its place is removed.
func (b *Blob) Commit(ctx context.Context, mediaType string) (ocispec.Descriptor, error) {
	defer func() { _ = b.Close() }() // the file is linked or unwanted
	if b.err != nil {
		return ocispec.Descriptor{}, b.err
	}
	desc := ocispec.Descriptor{MediaType: mediaType, Digest: digest.NewDigestFromBytes(digest.SHA256, b.hash.Sum(nil)), Size: b.size}
	if b.dir.Has(desc) && (b.dir.opts.NoSync || b.dir.Check(ctx, desc) == nil) {
		return desc, b.dir.syncNames() // whoever wrote it may not have come to that yet
	}
	if ctx.Err() != nil {
		return desc, context.Cause(ctx)
	}
	if b.dir.opts.Durable {
		if err := unix.Fdatasync(b.fd); err != nil {
			return desc, &os.PathError{Op: "sync blob", Path: b.dir.path, Err: err}
		}
	}
	name := desc.Digest.Encoded()
	if b.temp == "" {
		b.temp = ".tmp-" + rand.Text()
		err := unix.Linkat(unix.AT_FDCWD, "/proc/self/fd/"+strconv.Itoa(b.fd), b.dir.blobs, b.temp, unix.AT_SYMLINK_FOLLOW)
		if err != nil {
			b.temp = ""
			return desc, &os.PathError{Op: "link blob", Path: b.dir.path, Err: err}
		}
	}
	if err := b.dir.rename(b.temp, name); err != nil {
		return desc, err
	}
	b.temp = ""
	return desc, b.dir.syncNames()
}

// rename gives a blob its name. An empty directory there, which is no blob, goes.
func (d *Dir) rename(temp, name string) error {
	err := unix.Renameat(d.blobs, temp, d.blobs, name)
	if errors.Is(err, unix.EISDIR) && unix.Unlinkat(d.blobs, name, unix.AT_REMOVEDIR) == nil {
		err = unix.Renameat(d.blobs, temp, d.blobs, name)
	}
	if err != nil {
		return &os.PathError{Op: "rename blob to", Path: d.file(filepath.Join(blobDir, name)), Err: err}
	}
	return nil
}

// syncNames has the names of blobs on the disk, where that is wanted.
func (d *Dir) syncNames() error {
	if !d.opts.Durable {
		return nil
	}
	if err := fsync(d.blobs); err != nil {
		return &os.PathError{Op: "sync blobs", Path: d.path, Err: err}
	}
	return nil
}

// Close gives up a blob that was not committed; it may be called at any time.
func (b *Blob) Close() error {
	if b.fd < 0 {
		return nil
	}
	err := unix.Close(b.fd)
	b.fd, b.err = -1, os.ErrClosed
	if b.temp != "" {
		err = errors.Join(err, unix.Unlinkat(b.dir.blobs, b.temp, 0))
		b.temp = ""
	}
	return err
}

// WriteBlob stores what r gives. A want with a digest is compared with what was read, its size too; nothing is stored if they
// differ.
func (d *Dir) WriteBlob(ctx context.Context, want ocispec.Descriptor, r io.Reader) (ocispec.Descriptor, error) {
	b, err := d.NewBlob()
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	defer func() { _ = b.Close() }()
	if _, err := io.Copy(b, ctxio.NewReader(ctx, r)); err != nil {
		return ocispec.Descriptor{}, err
	}
	if got := digest.NewDigestFromBytes(digest.SHA256, b.hash.Sum(nil)); want.Digest != "" && (got != want.Digest || b.size != want.Size) {
		return ocispec.Descriptor{}, fmt.Errorf("%w: blob %s of %d bytes: found %s of %d bytes", ErrDamaged, want.Digest, want.Size, got, b.size)
	}
	return b.Commit(ctx, want.MediaType)
}

// WriteBytes stores a small blob, a manifest or config.
func (d *Dir) WriteBytes(mediaType string, data []byte) (ocispec.Descriptor, error) {
	return d.WriteBlob(context.Background(), ocispec.Descriptor{MediaType: mediaType}, bytes.NewReader(data))
}
