package ocidir

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
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
	path  string
	opts  Options
	fd    int    // of the directory itself
	blobs int    // of blobs/sha256; locked shared as long as it is open, see Abandon
	mode  uint32 // of files
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
	// Below is the directory that the layout is directly in, with a path of one name, open until Create or Open returns; nil: path is as in
	// open(2). Links in place of the layout, its directories and files are then refused (ErrNotLayout): in a directory that is somebody's
	// they may lead anywhere.
	Below *os.File
}

// modes are those of new directories and files.
func (o *Options) modes() (dir, file uint32) {
	if o.Private {
		return 0o700, 0o600
	}
	return 0o755, 0o644
}

// Create opens the layout at path, which is made if it does not exist; its parent must. A directory that exists must be empty or
// a layout, of which the file oci-layout may have lost its content in a crash. The result must be closed.
func Create(path string, opts *Options) (*Dir, error) {
	d := newDir(path, opts)
	mode, _ := d.opts.modes()
	if err := unix.Mkdirat(d.parent(), path, mode); err != nil && !errors.Is(err, unix.EEXIST) {
		return nil, &os.PathError{Op: "mkdir", Path: path, Err: err}
	}
	return d.begin(func() error {
		if marked, err := d.hasMarker(); err != nil || marked {
			return err
		}
		if err := d.emptyEnough(); err != nil {
			return err
		}
		return d.writeMarker()
	})
}

// Open opens a layout that exists. The result must be closed.
func Open(path string, opts *Options) (*Dir, error) {
	d := newDir(path, opts)
	return d.begin(func() error { return nil })
}

func newDir(path string, opts *Options) *Dir {
	if opts == nil {
		opts = &Options{}
	}
	_, file := opts.modes()
	return &Dir{path: path, opts: *opts, fd: -1, blobs: -1, mode: file, busy: make(chan struct{}, 1)}
}

// parent is what path is relative to.
func (d *Dir) parent() int {
	if d.opts.Below != nil {
		return int(d.opts.Below.Fd())
	}
	return unix.AT_FDCWD
}

// begin opens the directory, calls prepare, and opens what is in it.
func (d *Dir) begin(prepare func() error) (_ *Dir, err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, d.Close())
		}
	}()
	if d.fd, err = openDir(d.parent(), d.path, d.path, d.noFollow()); err != nil {
		return nil, err
	}
	if err := prepare(); err != nil {
		return nil, err
	}
	if err := d.checkMarker(); err != nil {
		return nil, err
	}
	if d.blobs, err = d.makeBlobs(); err != nil {
		return nil, err
	}
	if err := unix.Flock(d.blobs, unix.LOCK_SH|unix.LOCK_NB); errors.Is(err, unix.EWOULDBLOCK) { // other errors: there are no locks here
		return nil, &os.PathError{Op: "lock", Path: filepath.Join(d.path, blobDir), Err: err}
	}
	return d, nil
}

// noFollow is a flag for open(2).
func (d *Dir) noFollow() int {
	if d.opts.Below != nil {
		return unix.O_NOFOLLOW
	}
	return 0
}

// openDir opens a directory; path is for the error.
func openDir(at int, name, path string, flags int) (int, error) {
	fd, err := unix.Openat(at, name, unix.O_DIRECTORY|unix.O_RDONLY|unix.O_CLOEXEC|flags, 0)
	if err == nil {
		return fd, nil
	}
	err = &os.PathError{Op: "open", Path: path, Err: err}
	if flags&unix.O_NOFOLLOW != 0 && errors.Is(err, unix.ENOTDIR) {
		err = fmt.Errorf("%w, and a link is not followed: %w", ErrNotLayout, err)
	}
	return -1, err
}

// OpenBelow opens the directory with a path below the open directory at, one name after the other. Where mode is not 0, what is missing is made.
// With O_NOFOLLOW in flags a link in place of any of them is ErrNotLayout. shown is the path of at in errors.
func OpenBelow(at int, path string, flags int, mode uint32, shown string) (int, error) {
	above := at
	for name := range strings.SplitSeq(path, "/") {
		shown = filepath.Join(shown, name)
		sub, err := openDir(at, name, shown, flags)
		if mode != 0 && errors.Is(err, unix.ENOENT) {
			if err = unix.Mkdirat(at, name, mode); err != nil && !errors.Is(err, unix.EEXIST) {
				err = &os.PathError{Op: "mkdir", Path: shown, Err: err}
			} else {
				sub, err = openDir(at, name, shown, flags)
			}
		}
		if at != above {
			err = errors.Join(err, unix.Close(at))
		}
		if err != nil {
			return -1, err
		}
		at = sub
	}
	return at, nil
}

// makeBlobs opens blobs/sha256, which is made where it is missing.
func (d *Dir) makeBlobs() (int, error) {
	mode, _ := d.opts.modes()
	return OpenBelow(d.fd, blobDir, d.noFollow(), mode, d.path)
}

// openFile opens a file of the layout for reading. What is no regular file is refused with the error given: a FIFO would block, a device may
// have no end.
func openFile(at int, name, path string, flags int, refused error) (*os.File, error) {
	fd, err := unix.Openat(at, name, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK|flags, 0)
	switch {
	case errors.Is(err, unix.ENXIO): // a socket
		return nil, fmt.Errorf("%s: %w: no regular file", path, refused)
	case errors.Is(err, unix.ELOOP) && flags&unix.O_NOFOLLOW != 0:
		return nil, fmt.Errorf("%s: %w: a symbolic link, which is not followed", path, refused)
	case err != nil:
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	f := os.NewFile(uintptr(fd), path)
	fi, err := f.Stat()
	if err == nil && !fi.Mode().IsRegular() {
		err = fmt.Errorf("%s: %w: no regular file", path, refused)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// readSmall reads what openFile opened, at most limit bytes.
func readSmall(f *os.File, limit int64) (_ []byte, err error) {
	defer func() { err = errors.Join(err, f.Close()) }()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		return nil, fmt.Errorf("%s is larger than %d bytes", f.Name(), limit)
	}
	return data, err
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

// Abandon closes a layout that the caller made and could not fill, and removes it unless it has an index, others have it open, or its path is
// below a directory that need not be open any more.
func (d *Dir) Abandon() error {
	alone := unix.Flock(d.blobs, unix.LOCK_EX|unix.LOCK_NB) == nil
	if has, err := d.HasIndex(); alone && err == nil && !has && d.opts.Below == nil {
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
	return openFile(d.blobs, name, "blob "+dgst.String(), unix.O_NOFOLLOW, ErrDamaged)
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
