// Package dirnames lists directories that are known by a descriptor and a name.
package dirnames

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// List returns the names in the directory name below the open directory dir, in no order. A symlink is not followed. The error wraps
// fs.ErrNotExist if there is no such directory.
func List(dir int, name string) ([]string, error) {
	fd, err := unix.Openat(dir, name, unix.O_DIRECTORY|unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: name, Err: err}
	}
	f := os.NewFile(uintptr(fd), name)
	names, err := f.Readdirnames(-1)
	return names, errors.Join(err, f.Close())
}
