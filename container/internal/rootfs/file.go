package rootfs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/ostree-container/ostree-container/container/internal/object"
	"github.com/ostree-container/ostree-container/container/internal/work"
)

// relabel gives m the label of a path of the commit.
func (w *writer) relabel(path string, m *object.Meta) error {
	if w.opts.Label == nil {
		return nil
	}
	label, err := w.opts.Label(w.ctx, path, m.Mode)
	if err != nil {
		return fmt.Errorf("label of %s: %w", path, err)
	}
	if label == "" {
		m.Xattrs = object.WithXattr(m.Xattrs, object.LabelXattr, nil)
		return nil
	}
	m.Xattrs = object.WithLabel(m.Xattrs, label)
	return nil
}

// checkXattrs refuses what the repository would not give back.
func (w *writer) checkXattrs(path string, m *object.Meta) error {
	for _, x := range m.Xattrs {
		if len(x.Value) == 0 && !w.store.KeepsEmptyXattrs() {
			return fmt.Errorf("%w: /%s has the attribute %q without a value, which a bare repository cannot keep", ErrUnsuitable, path, x.Name)
		}
	}
	return nil
}

func (w *writer) symlink(f *file, fd int, name, path string, st *unix.Stat_t) error {
	m := &object.Meta{UID: st.Uid, GID: st.Gid, Mode: object.ModeSymlink | 0o777}
	target := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(fd, name, target)
	if err != nil {
		return &os.PathError{Op: "read link", Path: "/" + path, Err: err}
	}
	link := fmt.Sprintf("/proc/self/fd/%d/%s", fd, name)
	m.Xattrs, err = xattrs(func(b []byte) (int, error) { return unix.Llistxattr(link, b) },
		func(x string, b []byte) (int, error) { return unix.Lgetxattr(link, x, b) })
	if err != nil {
		return &os.PathError{Op: "read attributes of", Path: "/" + path, Err: err}
	}
	if err := errors.Join(w.relabel("/"+inCommit(path), m), w.checkXattrs(path, m)); err != nil {
		return err
	}
	if f.sum, err = w.store.File(w.ctx, object.Checksum{}, m, string(target[:n]), nil); err != nil {
		return fmt.Errorf("/%s: %w", path, err)
	}
	return nil
}

// regular has a file written by another goroutine.
func (w *writer) regular(f *file, fd int, name, path string, before *unix.Stat_t) error {
	sub, err := unix.Openat(fd, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: "/" + path, Err: err}
	}
	in := os.NewFile(uintptr(sub), "/"+path)
	w.group.Go(func() (err error) {
		defer func() { err = errors.Join(err, in.Close()) }()
		var st unix.Stat_t
		if err := unix.Fstat(sub, &st); err != nil {
			return &os.PathError{Op: "stat", Path: "/" + path, Err: err}
		}
		if st.Ino != before.Ino || st.Dev != before.Dev || st.Mode != before.Mode {
			return fmt.Errorf("/%s: %w", path, errChanged)
		}
		m := &object.Meta{UID: st.Uid, GID: st.Gid, Mode: st.Mode}
		if m.Xattrs, err = fdXattrs(sub); err != nil {
			return &os.PathError{Op: "read attributes of", Path: "/" + path, Err: err}
		}
		if err := errors.Join(w.relabel("/"+inCommit(path), m), w.checkXattrs(path, m)); err != nil {
			return err
		}
		if st.Size > work.SmallFile {
			f.sum, err = w.store.Stream(w.ctx, object.Checksum{}, m, st.Size, in)
		} else {
			content := make([]byte, st.Size)
			if _, err = io.ReadFull(in, content); err == nil {
				f.sum, err = w.store.File(w.ctx, object.Checksum{}, m, "", content)
			}
		}
		if err == nil && !atEnd(in) {
			err = errChanged
		}
		if errors.Is(err, io.ErrUnexpectedEOF) {
			err = errChanged
		}
		if err != nil {
			return fmt.Errorf("/%s: %w", path, err)
		}
		return nil
	})
	return nil
}

var errChanged = errors.New("changed while it was read")

func atEnd(f *os.File) bool {
	n, err := f.Read(make([]byte, 1))
	return n == 0 && err == io.EOF //nolint:errorlint // only the plain one is an end
}

func fdXattrs(fd int) ([]object.Xattr, error) {
	return xattrs(func(b []byte) (int, error) { return unix.Flistxattr(fd, b) },
		func(name string, b []byte) (int, error) { return unix.Fgetxattr(fd, name, b) })
}

// xattrs reads all extended attributes; a file system without them has none.
func xattrs(list func([]byte) (int, error), get func(string, []byte) (int, error)) ([]object.Xattr, error) {
	names, err := grow(list)
	if errors.Is(err, unix.EOPNOTSUPP) || len(names) == 0 && err == nil {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	var found []object.Xattr
	for name := range bytes.SplitSeq(bytes.TrimSuffix(names, []byte{0}), []byte{0}) {
		value, err := grow(func(b []byte) (int, error) { return get(string(name), b) })
		if err != nil {
			return nil, err
		}
		found = append(found, object.Xattr{Name: string(name), Value: value})
	}
	return object.SortXattrs(found), nil
}

// grow calls get with a buffer that is large enough.
func grow(get func([]byte) (int, error)) ([]byte, error) {
	for size := 256; ; size *= 4 {
		b := make([]byte, size)
		n, err := get(b)
		if errors.Is(err, unix.ERANGE) && size < 1<<20 {
			continue
		}
		if err != nil {
			return nil, err
		}
		return b[:n:n], nil
	}
}

// mounts tells one mounted file system from the others.
type mounts struct {
	id    uint64 // as statx(2) has it
	known bool   // else the kernel does not say
	dev   uint64
}

// newMounts is for the one that fd is in.
func newMounts(fd int, dev uint64) mounts {
	m := mounts{dev: dev}
	var st unix.Statx_t
	if unix.Statx(fd, "", unix.AT_EMPTY_PATH, unix.STATX_MNT_ID, &st) == nil && st.Mask&unix.STATX_MNT_ID != 0 {
		m.id, m.known = st.Mnt_id, true
	}
	return m
}

// other reports whether a name is of another one. The device does not tell: in an overlay it differs from file to file, and subvolumes
// have their own.
func (m mounts) other(fd int, name string, st *unix.Stat_t) (bool, error) {
	if !m.known {
		return st.Mode&unix.S_IFMT == unix.S_IFDIR && st.Dev != m.dev, nil
	}
	var x unix.Statx_t
	err := unix.Statx(fd, name, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT, unix.STATX_MNT_ID, &x)
	return x.Mnt_id != m.id, err
}
