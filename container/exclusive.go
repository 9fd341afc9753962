package container

import (
	"context"
	"errors"
	"fmt"

	"github.com/ostree-container/ostree-container/ostree"
)

// exclusively calls f while nobody else has the lock of the repository, and with a handle of its own: locks of one handle never exclude
// each other, and whoever imports in another goroutine may well use that of the sysroot.
func exclusively(ctx context.Context, repo *ostree.Repo, f func(own *ostree.Repo) error) (err error) {
	own, err := ostree.OpenRepoAt(ctx, repo.FD(), ".")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, own.Close()) }()
	lock, err := own.Lock(ctx, ostree.LockExclusive)
	if err != nil {
		return fmt.Errorf("lock repository %s: %w", repo.Path(), err)
	}
	defer func() { err = errors.Join(err, lock.Unlock()) }()
	return f(own)
}
