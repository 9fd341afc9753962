package ocidir

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/ostree-container/ostree-container/container/internal/dirlock"
)

// ErrNotLayout is returned for a directory that holds other things than an OCI layout.
var ErrNotLayout = errors.New("not an OCI image layout")

// ErrDamaged is returned for a document that is not the one of its name.
var ErrDamaged = errors.New("damaged")

// maxDocument is the largest index or manifest that is read, in bytes.
const maxDocument = 4 << 20

const blobDir = ocispec.ImageBlobsDir + "/sha256"

// Dir is an open layout. It is safe for concurrent use, also by several processes.
type Dir struct {
	path   string
	fd     int // of the directory itself
	blobs  int // of blobs/sha256; locked shared as long as it is open, see Abandon
	noSync bool
	strict bool // Options.Durable
	mode   uint32
	// busy holds whoever changes the index: the lock of the directory does not tell goroutines with one descriptor apart.
	busy chan struct{}
}

// Options of Create and Open; nil is the zero value.
type Options struct {
	// NoSync leaves it to the kernel when things reach the disk: for directories that do not outlive the process.
	NoSync bool
	// Private keeps files, and directories that Create makes, from everyone but the owner.
	Private bool
	// Durable has a blob on the disk before it gets its name.
	Durable bool
}

// modes are those of new directories and files.
func (o *Options) modes() (dir os.FileMode, file uint32) {
	if o.Private {
		return 0o700, 0o600
	}
	return 0o755, 0o644
}

// Create opens the layout at path, which is made if it does not exist; its parent must. A directory that exists must be empty or
// a layout, of which the file oci-layout may have lost its content in a crash. The result must be closed.
func Create(path string, opts *Options) (*Dir, error) {
	if opts == nil {
		opts = &Options{}
	}
	mode, _ := opts.modes()
	if err := os.Mkdir(path, mode); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	switch marked, err := hasMarker(path); {
	case err != nil:
		return nil, err
	case !marked:
		if err := emptyEnough(path); err != nil {
			return nil, err
		}
		if err := os.MkdirAll(filepath.Join(path, blobDir), mode); err != nil {
			return nil, err
		}
		if err := writeMarker(path, opts.Durable); err != nil {
			return nil, err
		}
	}
	return Open(path, opts)
}

// marker is what the file oci-layout holds.
var marker, _ = json.Marshal(ocispec.ImageLayout{Version: ocispec.ImageLayoutVersion})

// hasMarker reports whether there is a file oci-layout that says something, whatever it is. A beginning of the marker, and zeros, are
// what a crash leaves of it.
func hasMarker(path string) (bool, error) {
	file := filepath.Join(path, ocispec.ImageLayoutFile)
	fi, err := os.Lstat(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, err
	case !fi.Mode().IsRegular() || fi.Size() > int64(len(marker)):
		return true, nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return false, err
	}
	lost := len(text) < len(marker) && bytes.HasPrefix(marker, text) || len(bytes.Trim(text, "\x00")) == 0
	return !lost, nil
}

// writeMarker writes the file oci-layout. It is renamed into place: several processes may make one layout.
func writeMarker(path string, durable bool) (err error) {
	temp := filepath.Join(path, blobDir, ".tmp-"+rand.Text())
	f, err := os.OpenFile(temp, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(marker)
	if durable && err == nil {
		err = fsync(int(f.Fd()))
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(temp))
	}
	if err := os.Rename(temp, filepath.Join(path, ocispec.ImageLayoutFile)); err != nil || !durable {
		return err
	}
	for _, dir := range []string{filepath.Join(path, ocispec.ImageBlobsDir), path, filepath.Dir(path)} {
		if err := syncDir(dir); err != nil {
			return err
		}
	}
	return nil
}

// fsync is a variable so that tests see what is synced.
var fsync = unix.Fsync

// syncDir has the names in a directory on the disk.
func syncDir(path string) error {
	fd, err := unix.Open(path, unix.O_DIRECTORY|unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer func() { _ = unix.Close(fd) }() // only read
	if err := fsync(fd); err != nil {
		return &os.PathError{Op: "sync", Path: path, Err: err}
	}
	return nil
}

// emptyEnough accepts an empty directory, one that another Create has begun, and a layout that lacks nothing but what the marker says.
func emptyEnough(path string) error {
	entries, err := os.ReadDir(path)
	if err != nil {
		return err
	}
	begun := slices.ContainsFunc(entries, func(e os.DirEntry) bool { return e.Name() == ocispec.ImageLayoutFile })
	for _, e := range entries {
		switch name := e.Name(); {
		case name == ocispec.ImageBlobsDir || name == ocispec.ImageLayoutFile:
		case strings.HasPrefix(name, "."+ocispec.ImageIndexFile+"-"): // of a writer that was killed
		case name == ocispec.ImageIndexFile && begun: // else it is somebody's who calls a file so
			if _, err := (&Dir{path: path}).Index(); err != nil {
				return fmt.Errorf("%w: %w", ErrNotLayout, err)
			}
		default:
			return fmt.Errorf("%s: %w: it is not empty and has no file %s", path, ErrNotLayout, ocispec.ImageLayoutFile)
		}
	}
	return nil
}

// Open opens a layout that exists. The result must be closed.
func Open(path string, opts *Options) (*Dir, error) {
	if opts == nil {
		opts = &Options{}
	}
	text, err := os.ReadFile(filepath.Join(path, ocispec.ImageLayoutFile))
	if err != nil {
		return nil, err
	}
	var layout ocispec.ImageLayout
	if err := json.Unmarshal(text, &layout); err != nil || layout.Version != ocispec.ImageLayoutVersion {
		return nil, fmt.Errorf("%s: %w: file %s is not of version %s", path, ErrNotLayout, ocispec.ImageLayoutFile, ocispec.ImageLayoutVersion)
	}
	mode, file := opts.modes()
	d := &Dir{path: path, fd: -1, blobs: -1, noSync: opts.NoSync, strict: opts.Durable, mode: file, busy: make(chan struct{}, 1)}
	if d.fd, err = unix.Open(path, unix.O_DIRECTORY|unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	if err := os.MkdirAll(filepath.Join(path, blobDir), mode); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	if d.blobs, err = unix.Openat(d.fd, blobDir, unix.O_DIRECTORY|unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
		return nil, errors.Join(&os.PathError{Op: "open", Path: filepath.Join(path, blobDir), Err: err}, d.Close())
	}
	if err := unix.Flock(d.blobs, unix.LOCK_SH|unix.LOCK_NB); errors.Is(err, unix.EWOULDBLOCK) { // other errors: there are no locks here
		return nil, errors.Join(&os.PathError{Op: "lock", Path: filepath.Join(path, blobDir), Err: err}, d.Close())
	}
	return d, nil
}

// Path is what the layout was opened with.
func (d *Dir) Path() string { return d.path }

// Close releases the directory; writers must be done.
func (d *Dir) Close() error {
	var errs []error
	if d.blobs >= 0 {
		dirlock.Release(d.blobs)
	}
	for _, fd := range []*int{&d.fd, &d.blobs} {
		if *fd >= 0 {
			errs = append(errs, unix.Close(*fd))
			*fd = -1
		}
	}
	return errors.Join(errs...)
}

// Abandon closes a layout that the caller made and could not fill, and removes it unless it has an index or others have it open.
func (d *Dir) Abandon() error {
	var st unix.Stat_t
	alone := unix.Flock(d.blobs, unix.LOCK_EX|unix.LOCK_NB) == nil
	if alone && errors.Is(unix.Fstatat(d.fd, ocispec.ImageIndexFile, &st, unix.AT_SYMLINK_NOFOLLOW), unix.ENOENT) {
		return errors.Join(os.RemoveAll(d.path), d.Close())
	}
	return d.Close()
}

// Has reports whether the blob is there, with the size that its descriptor states.
func (d *Dir) Has(desc ocispec.Descriptor) bool {
	name, err := BlobName(desc.Digest)
	if err != nil {
		return false
	}
	var st unix.Stat_t
	return unix.Fstatat(d.blobs, name, &st, unix.AT_SYMLINK_NOFOLLOW) == nil && st.Mode&unix.S_IFMT == unix.S_IFREG && st.Size == desc.Size
}

// Open opens a blob for reading; its content is not compared with its digest. What is no file is ErrDamaged.
func (d *Dir) Open(dgst digest.Digest) (*os.File, error) {
	name, err := BlobName(dgst)
	if err != nil {
		return nil, err
	}
	fd, err := unix.Openat(d.blobs, name, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0) // a FIFO would block
	if err != nil {
		return nil, &os.PathError{Op: "open blob", Path: dgst.String(), Err: err}
	}
	f := os.NewFile(uintptr(fd), name)
	fi, err := f.Stat()
	if err == nil && !fi.Mode().IsRegular() {
		err = fmt.Errorf("%w: blob %s is no regular file", ErrDamaged, dgst)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// ReadDocument returns a blob of at most 4 MiB whose digest has been compared.
func (d *Dir) ReadDocument(dgst digest.Digest) (_ []byte, err error) {
	f, err := d.Open(dgst)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	data, err := io.ReadAll(io.LimitReader(f, maxDocument+1))
	switch {
	case err != nil:
		return nil, err
	case len(data) > maxDocument:
		return nil, fmt.Errorf("%w: blob %s is larger than %d bytes", ErrDamaged, dgst, maxDocument)
	case digest.FromBytes(data) != dgst:
		return nil, fmt.Errorf("%w: blob %s does not have its digest but %s", ErrDamaged, dgst, digest.FromBytes(data))
	}
	return data, nil
}

// BlobName returns the name of a blob below blobs/sha256. Digests of other algorithms, and what is no digest, are refused.
func BlobName(dgst digest.Digest) (string, error) {
	if err := dgst.Validate(); err != nil {
		return "", fmt.Errorf("blob %q: %w", string(dgst), err)
	}
	if dgst.Algorithm() != digest.SHA256 {
		return "", fmt.Errorf("blob %s: only sha256 is supported", dgst)
	}
	return dgst.Encoded(), nil
}
