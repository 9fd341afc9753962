package container

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

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

// lockPoll is how often a sysroot's lock is tried.
const lockPoll = 100 * time.Millisecond

// LockSysroot takes the lock of a sysroot, waiting for it as long as ctx lasts, and loads the sysroot again. That it waits is logged;
// logger may be nil. Deploy and the others of this package that change a sysroot do it themselves.
func LockSysroot(ctx context.Context, sysroot *ostree.Sysroot, logger *slog.Logger) (unlock func(), err error) {
	said := false
	for {
		ok, err := sysroot.TryLock(ctx)
		if err != nil {
			return nil, fmt.Errorf("lock sysroot %s: %w", sysroot.Path(), err)
		}
		if ok {
			break
		}
		if !said && logger != nil {
			logger.Info("Waiting for sysroot lock...")
			said = true
		}
		select {
		case <-time.After(lockPoll):
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	if _, err := sysroot.LoadIfChanged(ctx); err != nil {
		sysroot.Unlock()
		return nil, fmt.Errorf("load sysroot %s: %w", sysroot.Path(), err)
	}
	return sysroot.Unlock, nil
}

// lockedRepo is LockSysroot, and the repository, which the sysroot closes.
func lockedRepo(ctx context.Context, sysroot *ostree.Sysroot, logger *slog.Logger) (repo *ostree.Repo, unlock func(), err error) {
	if unlock, err = LockSysroot(ctx, sysroot, logger); err != nil {
		return nil, nil, err
	}
	if repo, err = sysroot.Repo(); err != nil {
		unlock()
		return nil, nil, err
	}
	return repo, unlock, nil
}
