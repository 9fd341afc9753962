package objstore

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ostree-container/ostree-container/container/internal/object"
	"github.com/ostree-container/ostree-container/ostree"
)

// ErrAltered is returned for metadata that the kernel would change, so that the object, read back, would have another checksum. Nothing
// was written.
var ErrAltered = errors.New("a bare repository cannot hold it")

// altered reports whether a file has attributes that Linux keeps in a form of its own: access control lists (which also are part of the
// mode, and vanish if they say no more than it) and capabilities (version 3 for user 0 comes back as version 2).
func altered(m *object.Meta) bool {
	for _, x := range m.Xattrs {
		if x.Name == "security.capability" || strings.HasPrefix(x.Name, "system.") {
			return true
		}
	}
	return false
}

// checkHeld compares what a file on disk says of itself with what it was given.
func checkHeld(m *object.Meta, get func(name string, dest []byte) (int, error), mode func() (uint32, error)) error {
	for _, x := range m.Xattrs {
		buf := make([]byte, len(x.Value)+64)
		n, err := get(x.Name, buf)
		switch {
		case errors.Is(err, unix.ENODATA):
			return fmt.Errorf("%w: extended attribute %q says nothing that Linux keeps", ErrAltered, x.Name)
		case errors.Is(err, unix.ERANGE) || err == nil && !bytes.Equal(buf[:n], x.Value):
			return fmt.Errorf("%w: extended attribute %q is not in the form in which Linux keeps it", ErrAltered, x.Name)
		case err != nil:
			return fmt.Errorf("get xattr %q: %w", x.Name, err)
		}
	}
	got, err := mode()
	if err == nil && got != m.Mode {
		err = fmt.Errorf("%w: mode %o does not fit its access control list", ErrAltered, m.Mode)
	}
	return err
}

// checkHeld refuses the file if the kernel changed its metadata.
func (f *tmpFile) checkHeld(m *object.Meta) error {
	return checkHeld(m, func(name string, dest []byte) (int, error) { return unix.Fgetxattr(f.fd, name, dest) }, func() (uint32, error) {
		var st unix.Stat_t
		err := unix.Fstat(f.fd, &st)
		return st.Mode, err
	})
}

// probe is checkHeld for an object that libostree is to write.
func probe(repo *ostree.Repo, m *object.Meta) error {
	if repo.Mode() != ostree.ModeBare || m.Mode&object.ModeType != object.ModeRegular || !altered(m) {
		return nil
	}
	file, err := os.CreateTemp(fmt.Sprintf("/proc/self/fd/%d/tmp", repo.FD()), "probe-")
	if err != nil {
		return err
	}
	defer file.Close()
	if err := os.Remove(file.Name()); err != nil {
		return err
	}
	f := &tmpFile{fd: int(file.Fd())}
	if err := unix.Fchmod(f.fd, m.Mode&0o7777); err != nil {
		return &os.PathError{Op: "fchmod", Path: file.Name(), Err: err}
	}
	for _, x := range m.Xattrs {
		if err := f.setXattr(x.Name, x.Value); err != nil {
			return err
		}
	}
	return f.checkHeld(m)
}
