package objstore

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// tmpFile is a file without a name; it is gone when closed unless it was linked.
type tmpFile struct {
	fd   int
	root bool
}

func (d *direct) create() (*tmpFile, error) {
	fd, err := unix.Openat(d.stage.fd, ".", unix.O_TMPFILE|unix.O_WRONLY|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, &os.PathError{Op: "create", Path: d.stage.name, Err: err}
	}
	return &tmpFile{fd: fd, root: d.uid == 0}, nil
}

func (f *tmpFile) write(p []byte) error {
	for len(p) > 0 {
		n, err := unix.Write(f.fd, p)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("write object: %w", err)
		}
		p = p[n:]
	}
	return nil
}

func (f *tmpFile) setXattr(name string, value []byte) error {
	if err := unix.Fsetxattr(f.fd, name, value, 0); err != nil {
		return fmt.Errorf("set xattr %q (%d bytes): %w", name, len(value), err)
	}
	return nil
}

// linkInto gives the file a name. Linking by descriptor needs CAP_DAC_READ_SEARCH; everybody else goes through /proc.
func (f *tmpFile) linkInto(dir int, name string) error {
	if f.root {
		err := unix.Linkat(f.fd, "", dir, name, unix.AT_EMPTY_PATH)
		if !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EPERM) {
			return err
		}
	}
	return unix.Linkat(unix.AT_FDCWD, "/proc/self/fd/"+strconv.Itoa(f.fd), dir, name, unix.AT_SYMLINK_FOLLOW)
}

func (f *tmpFile) close() { _ = unix.Close(f.fd) } // what was written is linked or unwanted; writes report their own errors
