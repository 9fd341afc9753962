package ostree

// #include "shim.h"
import "C"

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// ErrMountNamespace is returned by InitializeWithMountNamespace when the process would have to leave the
// host's mount namespace first: see ReexecInMountNamespace.
var ErrMountNamespace = errors.New("process runs in the mount namespace of pid 1")

// SetMountNamespaceInUse says that the process has a mount namespace of its own, so that /sysroot and
// /boot may be remounted writable in it. Before Load.
//
// C: ostree_sysroot_set_mount_namespace_in_use
func (s *Sysroot) SetMountNamespaceInUse() error {
	if s != nil && s.loaded.Load() {
		return errors.New("set mount namespace in use: sysroot is loaded already")
	}
	if !s.with(func(c *C.OstreeSysroot) { C.ostree_sysroot_set_mount_namespace_in_use(c) }) {
		return fmt.Errorf("set mount namespace in use: %w", ErrClosed)
	}
	return nil
}

// InitializeWithMountNamespace is Initialize for programs that write: on a booted ostree host, as root, /sysroot may be read-only and is remounted
// for this process only. Unlike the C function it never unshares, since in a program with several threads that reaches one of them: where it
// would be needed, ErrMountNamespace is returned.
//
// C: ostree_sysroot_initialize_with_mount_namespace
func (s *Sysroot) InitializeWithMountNamespace(ctx context.Context) error {
	const op = "initialize sysroot with mount namespace"
	if s != nil && s.loaded.Load() {
		return fmt.Errorf("%s: sysroot is loaded already", op)
	}
	if need, err := needsMountNamespace(); err != nil {
		return fmt.Errorf("%s: %w", op, err)
	} else if need {
		return fmt.Errorf("%s: %w", op, ErrMountNamespace)
	}
	return call(ctx, op, func(c *C.GCancellable, e **C.GError) C.gboolean {
		return C.ostree_sysroot_initialize_with_mount_namespace(s.c(), c, e)
	}, s.handle())
}

// ReexecInMountNamespace replaces the process by itself, same arguments and environment, in a
// mount namespace of its own, where that is needed: as root on a booted ostree host, when still in
// the namespace of pid 1. Otherwise it returns nil. Call it first thing in main; from then on
// InitializeWithMountNamespace works.
func ReexecInMountNamespace() error {
	const op = "enter own mount namespace"
	need, err := needsMountNamespace()
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	if !need {
		return nil
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread() // reached on failure only
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("%s: unshare: %w", op, err)
	}
	// libostree unmounts the target of a soft reboot, /run/nextroot, and means the host's.
	if err := slaveMounts("/run"); err != nil {
		return fmt.Errorf("%s: make mounts slave: %w", op, err)
	}
	if err := unix.Exec("/proc/self/exe", os.Args, os.Environ()); err != nil {
		return fmt.Errorf("%s: exec: %w", op, err)
	}
	return nil
}

// slaveMounts cuts the mounts of this namespace off from those they are copies of: what the host mounts is seen here, ours do not get
// out. Not so those at and below keep, of which a copy that is not cut off is mounted there.
func slaveMounts(keep string) error {
	copied, err := unix.OpenTree(unix.AT_FDCWD, keep, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
	if err == nil {
		defer func() { _ = unix.Close(copied) }()
	} else if !errors.Is(err, unix.ENOSYS) { // before Linux 5.2, which libostree needs for a soft reboot
		return &os.PathError{Op: "open_tree", Path: keep, Err: err}
	}
	if err := unix.Mount("none", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil || copied < 0 {
		return err
	}
	if err := unix.MoveMount(copied, "", unix.AT_FDCWD, keep, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return &os.PathError{Op: "move_mount", Path: keep, Err: err}
	}
	return nil
}

func needsMountNamespace() (bool, error) {
	if os.Getuid() != 0 {
		return false, nil
	}
	if _, err := os.Stat(C.OSTREE_PATH_BOOTED); err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return false, nil
		}
		return false, err
	}
	host, err := os.Readlink("/proc/1/ns/mnt")
	if err != nil {
		return false, err
	}
	own, err := os.Readlink("/proc/self/ns/mnt")
	if err != nil {
		return false, err
	}
	return host == own, nil
}
