package container

import (
	"context"
	"errors"
	"fmt"

	"github.com/ostree-container/ostree-container/ostree"
)

// share keeps others from removing anything from a repository until the returned function is called. One that cannot be written cannot be
// locked, nor can anybody remove anything from it.
func share(ctx context.Context, repo *ostree.Repo) (unlock func() error, err error) {
	if repo.IsWritable(ctx) != nil {
		return func() error { return nil }, nil //nolint:nilerr // see above
	}
	lock, err := repo.Lock(ctx, ostree.LockShared)
	if err != nil {
		return nil, fmt.Errorf("lock repository %s: %w", repo.Path(), err)
	}
	return lock.Unlock, nil
}

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
