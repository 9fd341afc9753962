// Package dirlock locks directories between processes, with flock(2).
package dirlock

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sys/unix"
)

// Exclusive waits until fd, of an open directory, has the exclusive lock. It ends with the cause when ctx does. Closing the last
// descriptor of that opening gives the lock back; who has the same one is not kept out.
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
