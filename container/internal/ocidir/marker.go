package ocidir

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/ostree-container/ostree-container/container/internal/dirnames"
)

// marker is what the file oci-layout holds.
var marker, _ = json.Marshal(ocispec.ImageLayout{Version: ocispec.ImageLayoutVersion})

// maxMarker is the largest file oci-layout that is read, in bytes.
const maxMarker = 64 << 10

func (d *Dir) file(name string) string { return filepath.Join(d.path, name) }

// hasMarker reports whether there is a file oci-layout that says something, whatever it is. A beginning of the marker, and zeros, are
// what a crash leaves of it.
func (d *Dir) hasMarker() (bool, error) {
	path := d.file(ocispec.ImageLayoutFile)
	var st unix.Stat_t
	err := unix.Fstatat(d.fd, ocispec.ImageLayoutFile, &st, unix.AT_SYMLINK_NOFOLLOW)
	switch {
	case errors.Is(err, unix.ENOENT):
		return false, nil
	case err != nil:
		return false, &os.PathError{Op: "stat", Path: path, Err: err}
	case st.Mode&unix.S_IFMT != unix.S_IFREG || st.Size > int64(len(marker)):
		return true, nil
	}
	f, err := openFile(d.fd, ocispec.ImageLayoutFile, path, unix.O_NOFOLLOW, ErrNotLayout)
	if err != nil {
		return false, err
	}
	text, err := readSmall(f, maxMarker)
	if err != nil {
		return false, err
	}
	lost := len(text) < len(marker) && bytes.HasPrefix(marker, text) || len(bytes.Trim(text, "\x00")) == 0
	return !lost, nil
}

// checkMarker returns ErrNotLayout if the file oci-layout does not say what this package knows.
func (d *Dir) checkMarker() error {
	f, err := openFile(d.fd, ocispec.ImageLayoutFile, d.file(ocispec.ImageLayoutFile), d.noFollow(), ErrNotLayout)
	if err != nil {
		return err
	}
	text, err := readSmall(f, maxMarker)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNotLayout, err)
	}
	var layout ocispec.ImageLayout
	if err := json.Unmarshal(text, &layout); err != nil || layout.Version != ocispec.ImageLayoutVersion {
		return fmt.Errorf("%s: %w: file %s is not of version %s", d.path, ErrNotLayout, ocispec.ImageLayoutFile, ocispec.ImageLayoutVersion)
	}
	return nil
}

// writeMarker writes the file oci-layout. It is renamed into place: several processes may make one layout.
func (d *Dir) writeMarker() (err error) {
	blobs, err := d.makeBlobs()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unix.Close(blobs)) }()
	temp := ".tmp-" + rand.Text()
	fd, err := unix.Openat(blobs, temp, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_CLOEXEC, 0o644)
	if err != nil {
		return &os.PathError{Op: "create", Path: d.file(filepath.Join(blobDir, temp)), Err: err}
	}
	f := os.NewFile(uintptr(fd), temp)
	_, err = f.Write(marker)
	if d.opts.Durable && err == nil {
		err = fsync(int(f.Fd()))
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, unix.Unlinkat(blobs, temp, 0))
	}
	if err := unix.Renameat(blobs, temp, d.fd, ocispec.ImageLayoutFile); err != nil {
		return &os.PathError{Op: "rename", Path: d.file(ocispec.ImageLayoutFile), Err: err}
	}
	if !d.opts.Durable {
		return nil
	}
	above, parent := d.parent(), "."
	if d.opts.Below == nil {
		parent = filepath.Dir(d.path)
	}
	return errors.Join(syncDir(d.fd, ocispec.ImageBlobsDir), syncDir(d.fd, "."), syncDir(above, parent))
}

// fsync is a variable so that tests see what is synced.
var fsync = unix.Fsync

// syncDir has the names in a directory on the disk.
func syncDir(at int, name string) error {
	fd, err := unix.Openat(at, name, unix.O_DIRECTORY|unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: name, Err: err}
	}
	defer func() { _ = unix.Close(fd) }() // only read
	if err := fsync(fd); err != nil {
		return &os.PathError{Op: "sync", Path: name, Err: err}
	}
	return nil
}

// emptyEnough accepts an empty directory, one that another Create has begun, and a layout that lacks nothing but what the marker says.
func (d *Dir) emptyEnough() error {
	names, err := dirnames.List(d.fd, ".")
	if err != nil {
		return fmt.Errorf("%s: %w", d.path, err)
	}
	begun := slices.Contains(names, ocispec.ImageLayoutFile)
	for _, name := range names {
		switch {
		case name == ocispec.ImageBlobsDir || name == ocispec.ImageLayoutFile:
		case strings.HasPrefix(name, "."+ocispec.ImageIndexFile+"-"): // of a writer that was killed
		case name == ocispec.ImageIndexFile && begun: // else it is somebody's who calls a file so
			if _, err := d.Index(); err != nil {
				return fmt.Errorf("%w: %w", ErrNotLayout, err)
			}
		default:
			return fmt.Errorf("%s: %w: it is not empty and has no file %s", d.path, ErrNotLayout, ocispec.ImageLayoutFile)
		}
	}
	return nil
}
