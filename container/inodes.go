package container

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ostree-container/ostree-container/ostree"
)

// InodeCheck is the result of CheckInodes. Its JSON is that of ostree-rs-ext.
type InodeCheck struct {
	Inode64    uint64   `json:"inode64"`    // objects whose inode number needs more than 32 bits
	Inode32    uint64   `json:"inode32"`    // the others
	Collisions []uint64 `json:"collisions"` // numbers of more than 32 bits whose lower 32 bits are the number of another object, sorted
}

// InodeCollision is an object that a program with 32-bit inode numbers takes for another one.
type InodeCollision struct {
	Inode  uint64 // of Object
	Object string // file name without suffix: 64 hex digits
	Other  string // whose inode number is the lower 32 bits
}

// CheckInodes looks for objects that libostree before 2023.4 could take for each other where a file system has inode numbers of more than
// 32 bits: its cache of what was checked out kept the lower 32 bits only, and a commit of the checkout then had wrong files
// (https://github.com/ostreedev/ostree/pull/2874). found, unless nil, is called for each collision.
func CheckInodes(ctx context.Context, repo *ostree.Repo, found func(InodeCollision)) (*InodeCheck, error) {
	return checkInodes(ctx, repo, found, func(st *unix.Stat_t) uint64 { return st.Ino })
}

// checkInodes takes the numbers from a function, since few file systems at hand have large ones.
func checkInodes(ctx context.Context, repo *ostree.Repo, found func(InodeCollision), number func(*unix.Stat_t) uint64) (*InodeCheck, error) {
	small, large := map[uint32]string{}, map[uint64]string{}
	check := &InodeCheck{Collisions: []uint64{}}
	for prefix := range 256 {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if err := eachObject(repo, fmt.Sprintf("%02x", prefix), func(name string, st *unix.Stat_t) {
			if n := number(st); n>>32 == 0 {
				small[uint32(n)] = name
			} else {
				large[n] = name
			}
		}); err != nil {
			return nil, fmt.Errorf("check inodes of repository %s: %w", repo.Path(), err)
		}
	}
	check.Inode32, check.Inode64 = uint64(len(small)), uint64(len(large))
	for n, name := range large {
		other, ok := small[uint32(n)]
		if !ok {
			continue
		}
		check.Collisions = append(check.Collisions, n)
		if found != nil {
			found(InodeCollision{Inode: n, Object: name, Other: other})
		}
	}
	slices.Sort(check.Collisions)
	return check, nil
}

// eachObject calls a function for each file in a directory of objects.
func eachObject(repo *ostree.Repo, prefix string, visit func(name string, st *unix.Stat_t)) error {
	fd, err := unix.Openat(repo.FD(), "objects/"+prefix, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err == unix.ENOENT { //nolint:errorlint // a system call returns it as it is
		return nil
	}
	if err != nil {
		return &os.PathError{Op: "open", Path: "objects/" + prefix, Err: err}
	}
	dir := os.NewFile(uintptr(fd), "objects/"+prefix)
	defer dir.Close() //nolint:errcheck // only read
	for {
		names, err := dir.Readdirnames(1000)
		for _, name := range names {
			var st unix.Stat_t
			if err := unix.Fstatat(fd, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
				return &os.PathError{Op: "stat", Path: dir.Name() + "/" + name, Err: err}
			}
			if kind := st.Mode & unix.S_IFMT; kind != unix.S_IFREG && kind != unix.S_IFLNK {
				continue
			}
			rest, _, ok := strings.Cut(name, ".")
			if !ok {
				return fmt.Errorf("Invalid object %s/%s", dir.Name(), name) //nolint:staticcheck // the reference's text
			}
			visit(prefix+rest, &st)
		}
		if err == io.EOF { //nolint:errorlint // as Readdirnames says
			return nil
		}
		if err != nil {
			return err
		}
	}
}
