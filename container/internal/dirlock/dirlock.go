// Package dirlock locks directories between processes, with flock(2).
package dirlock

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sys/unix"
)

// Exclusive waits until fd, of an open directory, has the exclusive lock. It ends with the cause when ctx does. Release gives it back;
// who has the same descriptor is not kept out.
func Exclusive(ctx context.Context, fd int) error {
	for delay := time.Millisecond; ; delay = min(2*delay, 10*time.Millisecond) {
		err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case !errors.Is(err, unix.EWOULDBLOCK):
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(delay):
		}
	}
}

// Release gives back what fd holds. Closing it is not enough: a child that was forked at that moment has the descriptor, and with it the
// lock, until it executes its program.
func Release(fd int) {
	_ = unix.Flock(fd, unix.LOCK_UN) // fails only where there are no locks
}
