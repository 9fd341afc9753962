package objstore

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/ostree-container/ostree-container/ostree"
)

// ErrNoSpace is wrapped by errors that say that the repository's file system is, or would get, too full.
var ErrNoSpace = errors.New("not enough free space")

// recheckBytes is after how much written data the file system is asked again: others write there too.
const recheckBytes = 256 << 20

// spaceBudget guards the repository's min-free-space. Sizes are in bytes.
type spaceBudget struct {
	path     string // of the repository
	fd       int
	reserved uint64

	mu   sync.Mutex
	left int64 // may be written before the file system is asked again
}

// FreeSpace returns what may still be written at fd: what is free for this user less what the repository keeps free.
func FreeSpace(fd int, reserved uint64) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Fstatfs(fd, &st); err != nil {
		return 0, fmt.Errorf("statfs: %w", err)
	}
	return int64(st.Bavail*uint64(st.Bsize)) - int64(reserved), nil
}

// check fails if n bytes do not fit now; nothing is accounted for.
func (b *spaceBudget) check(n int64) error {
	if n < recheckBytes {
		return nil
	}
	avail, err := FreeSpace(b.fd, b.reserved)
	if err == nil && n > avail {
		err = b.full(n, avail)
	}
	return err
}

func (b *spaceBudget) full(n, avail int64) error {
	return fmt.Errorf("%w: %d bytes needed, %d bytes available above the %d that repository %s keeps free", ErrNoSpace, n, max(avail, 0), b.reserved, b.path)
}

// take accounts for an object of n bytes, rounded up to blocks.
func (b *spaceBudget) take(n int64) error {
	n = (n + 4095) &^ 4095
	b.mu.Lock()
	defer b.mu.Unlock()
	if n > b.left {
		avail, err := FreeSpace(b.fd, b.reserved)
		if err != nil {
			return err
		}
		b.left = min(avail, max(recheckBytes, n))
		if n > avail {
			return b.full(n, avail)
		}
	}
	b.left -= n
	return nil
}

// explain adds to the error of a write what is free, if that is the cause. n is how many bytes were to be written.
func (s *Store) explain(ctx context.Context, err error, n int64) error {
	if err == nil || errors.Is(err, ErrNoSpace) || ctx.Err() != nil {
		return err
	}
	var st unix.Statfs_t
	reserved, reservedErr := s.repo.MinFreeSpaceBytes(ctx)
	if reservedErr != nil || unix.Fstatfs(s.repo.FD(), &st) != nil {
		return err
	}
	avail := int64(st.Bavail*uint64(st.Bsize)) - int64(reserved)
	var lib *ostree.Error
	switch {
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
	case errors.As(err, &lib) && avail < n+st.Bsize: // it says so in words only when its reserve would be touched
	default:
		return err
	}
	return fmt.Errorf("%w: %d bytes needed, %d bytes and %d inodes available above the %d bytes that repository %s keeps free: %w",
		ErrNoSpace, n, max(avail, 0), st.Ffree, reserved, s.repo.Path(), err)
}
