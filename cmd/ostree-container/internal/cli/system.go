package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/ostree-container/ostree-container/container/host"
	"github.com/ostree-container/ostree-container/ostree"
)

// systemRepo is where the repository of a booted host is.
const systemRepo = "/sysroot/ostree/repo"

// prepareRepo makes the repository writable if it is that of the booted host: /sysroot is mounted read-only there, for
// everyone but those who remount it in a mount namespace of their own. Call it before the repository is opened, in
// commands that write. It may start the program again, and then does not return.
func (a *app) prepareRepo(ctx context.Context, path string) error {
	if a.enterMountNamespace == nil || !isSystemRepo(path) {
		return nil
	}
	if err := a.enterMountNamespace(); err != nil {
		return err
	}
	sysroot, err := a.openSysroot(ctx, "")
	if err != nil {
		return err
	}
	return sysroot.Close()
}

// isSystemRepo reports whether path is the repository of the host, which root may have to remount.
func isSystemRepo(path string) bool {
	if os.Getuid() != 0 {
		return false
	}
	if _, err := os.Stat("/run/ostree-booted"); err != nil {
		return false
	}
	system, err := os.Stat(systemRepo)
	if err != nil {
		return false
	}
	st, err := os.Stat(path)
	return err == nil && os.SameFile(st, system)
}

// openSysroot loads a sysroot, "" being libostree's default, for writing. On a booted host it may start the program
// again, and then does not return.
func (a *app) openSysroot(ctx context.Context, path string) (_ *ostree.Sysroot, err error) {
	if a.enterMountNamespace != nil {
		if err := a.enterMountNamespace(); err != nil {
			return nil, err
		}
	}
	sysroot, err := ostree.NewSysroot(path)
	if err != nil {
		return nil, fmt.Errorf("loading sysroot: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(loadingSysroot(err, sysroot.Path()), sysroot.Close())
		}
	}()
	if a.enterMountNamespace != nil {
		if err := sysroot.InitializeWithMountNamespace(ctx); err != nil {
			return nil, err
		}
		// libostree remounts /sysroot when the lock is taken, and that has to be before Load opens the repository, which
		// would stay read-only.
		locked, err := sysroot.TryLock(ctx)
		if locked {
			sysroot.Unlock()
		}
		if err != nil {
			return nil, fmt.Errorf("make %s writable: %w", sysroot.Path(), err)
		}
	}
	if err := sysroot.Load(ctx); err != nil {
		return nil, err
	}
	return sysroot, nil
}

// loadingSysroot is the error of a sysroot that cannot be loaded or locked. libostree's say neither that there is none nor who may.
func loadingSysroot(err error, path string) error {
	if _, dirErr := os.Stat(path); dirErr == nil {
		if _, repoErr := os.Stat(filepath.Join(path, "ostree/repo")); errors.Is(repoErr, fs.ErrNotExist) {
			return fmt.Errorf("loading sysroot: %s is not an OSTree sysroot (no ostree/repo)", path)
		}
	}
	if os.Getuid() != 0 && (errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.EPERM)) {
		return fmt.Errorf("loading sysroot: %s needs root: %w", path, err)
	}
	return fmt.Errorf("loading sysroot: %w", err)
}

// deployedNothing says what to do where an error is about deployments and there are none.
func deployedNothing(err error, sysroot *ostree.Sysroot) error {
	if errors.Is(err, host.ErrNoDeployment) && len(sysroot.Deployments()) == 0 {
		return fmt.Errorf(`sysroot %s: nothing is deployed yet: see "image deploy --help"`, sysroot.Path())
	}
	return err
}

// repoOf is the path of a sysroot's repository.
func repoOf(sysroot *ostree.Sysroot) string { return filepath.Join(sysroot.Path(), "ostree/repo") }

// withSysroot is openSysroot, f and Close.
func (a *app) withSysroot(ctx context.Context, path string, f func(*ostree.Sysroot) error) error {
	sysroot, err := a.openSysroot(ctx, path)
	if err != nil {
		return err
	}
	return errors.Join(withRemedy(deployedNothing(f(sysroot), sysroot), repoOf(sysroot)), sysroot.Close())
}
