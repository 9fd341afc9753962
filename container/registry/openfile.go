package registry

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// openRegular opens a file of the caller's for reading, with a key or an account in it. Opening a FIFO would block, and a device may have no
// end: ErrNotRegular, but for /dev/null, which is empty.
func openRegular(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		_ = f.Close()
		return nil, &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	switch kind := st.Mode & unix.S_IFMT; {
	case kind == unix.S_IFREG || kind == unix.S_IFCHR && st.Rdev == unix.Mkdev(1, 3):
		return f, nil
	case kind == unix.S_IFDIR:
		err = unix.EISDIR
	default:
		err = ErrNotRegular
	}
	_ = f.Close()
	return nil, &fs.PathError{Op: "open", Path: path, Err: err}
}

// openGiven is openRegular, and takes whatever the process has open already: /dev/fd/N of a shell's process substitution, /dev/stdin.
func openGiven(path string) (*os.File, error) {
	clean := filepath.Clean(path)
	given := clean == "/dev/stdin"
	for _, dir := range []string{"/dev/fd/", "/proc/self/fd/", fmt.Sprintf("/proc/%d/fd/", os.Getpid())} {
		given = given || strings.HasPrefix(clean, dir)
	}
	if given {
		return os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0) // reads wait all the same
	}
	return openRegular(path)
}
