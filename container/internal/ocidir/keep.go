package ocidir

import (
	"errors"
	"os"
	"path/filepath"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"
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

// LinkBlob makes a blob of another layout one of this, as a hardlink, and reports whether that was possible: on one file system, if
// both are of one owner. The content is not read.
func (d *Dir) LinkBlob(from *Dir, desc ocispec.Descriptor) (bool, error) {
	if d.Has(desc) {
		return true, nil
	}
	name, err := BlobName(desc.Digest)
	if err != nil {
		return false, err
	}
	var here, there unix.Stat_t
	if err := errors.Join(unix.Fstat(d.blobs, &here), unix.Fstatat(from.blobs, name, &there, unix.AT_SYMLINK_NOFOLLOW)); err != nil {
		return false, &os.PathError{Op: "link blob", Path: d.path, Err: err}
	}
	if here.Uid != there.Uid || there.Mode&unix.S_IFMT != unix.S_IFREG || there.Size != desc.Size || there.Mode&0o7777 != d.mode {
		return false, nil
	}
	if err := unix.Linkat(from.blobs, name, d.blobs, name, 0); err != nil {
		return false, nil //nolint:nilerr // it can be copied
	}
	return true, d.syncNames()
}
