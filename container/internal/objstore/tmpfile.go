package objstore

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// tmpFile is a file without a name; it is gone when closed unless it was linked.
type tmpFile struct {
	fd       int
	root     bool
	direct   bool // writes go past the page cache
	mode     uint32
	uid, gid uint32
}

// create makes a file, with those of the permissions that it can have while it is filled.
func (d *direct) create(mode uint32) (*tmpFile, error) {
	fd, err := unix.Openat(d.stage.fd, ".", unix.O_TMPFILE|unix.O_WRONLY|unix.O_CLOEXEC, mode&0o777|0o600)
	if err != nil {
		return nil, &os.PathError{Op: "create", Path: d.stage.name, Err: err}
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil { // the umask, the group of a setgid directory
		_ = unix.Close(fd)
		return nil, &os.PathError{Op: "stat", Path: d.stage.name, Err: err}
	}
	return &tmpFile{fd: fd, root: d.uid == 0, mode: st.Mode & 0o7777, uid: st.Uid, gid: st.Gid}, nil
}

// setOwner is to be called before setMode and setXattr: it may clear the setuid bit and file capabilities.
func (f *tmpFile) setOwner(uid, gid uint32) error {
	if uid == f.uid && gid == f.gid {
		return nil
	}
	if err := unix.Fchown(f.fd, int(uid), int(gid)); err != nil {
		return &os.PathError{Op: "fchown", Path: "object", Err: err}
	}
	return nil
}

func (f *tmpFile) setMode(mode uint32) error {
	if mode == f.mode {
		return nil
	}
	if err := unix.Fchmod(f.fd, mode); err != nil {
		return &os.PathError{Op: "fchmod", Path: "object", Err: err}
	}
	return nil
}

// setTimes is futimens: the system call without a name, which unix.UtimesNanoAt would look up.
func (f *tmpFile) setTimes(access, modification unix.Timespec) error {
	times := [2]unix.Timespec{access, modification}
	if _, _, errno := unix.Syscall6(unix.SYS_UTIMENSAT, uintptr(f.fd), 0, uintptr(unsafe.Pointer(&times)), 0, 0, 0); errno != 0 {
		return &os.PathError{Op: "utimensat", Path: "object", Err: errno}
	}
	return nil
}

// directAlign is what sizes of writes past the page cache are multiples of, in bytes; no disk in use has larger blocks.
const directAlign = 4096

// bypassCache asks for writes past the page cache. A file system without them, such as tmpfs, goes on as usual.
func (f *tmpFile) bypassCache() { f.direct = f.setDirect(true) == nil }

func (f *tmpFile) setDirect(on bool) error {
	flags := unix.O_WRONLY
	if on {
		flags |= unix.O_DIRECT
	}
	_, err := unix.FcntlInt(uintptr(f.fd), unix.F_SETFL, flags)
	return err
}

// write appends p. With bypassCache the first call whose size is not a multiple of directAlign is the last that goes past the cache.
func (f *tmpFile) write(p []byte) error {
	if f.direct {
		n, err := f.writeAll(p[:len(p)&^(directAlign-1)])
		if err != nil && !errors.Is(err, unix.EINVAL) {
			return err
		}
		if p = p[n:]; len(p) == 0 {
			return nil
		}
		// The tail, or a file system that takes no such writes after all.
		f.direct = false
		if err := f.setDirect(false); err != nil {
			return fmt.Errorf("write object: %w", err)
		}
	}
	_, err := f.writeAll(p)
	return err
}

func (f *tmpFile) writeAll(p []byte) (done int, err error) {
	for done < len(p) {
		n, err := unix.Write(f.fd, p[done:])
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return done, fmt.Errorf("write object: %w", err)
		}
		done += n
	}
	return done, nil
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

// close gives the file up, unless it was left to a publish; writes report their own errors.
func (f *tmpFile) close() {
	if f.fd >= 0 {
		_ = unix.Close(f.fd)
	}
}
