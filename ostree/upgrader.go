package ostree

// #include "shim.h"
import "C"

import (
	"context"
	"errors"
	"fmt"
	"runtime/cgo"
	"unsafe"

	"github.com/ostree-container/ostree-container/keyfile"
)

// UpgraderFlags change what a SysrootUpgrader does; they combine.
type UpgraderFlags int

// Flags of a SysrootUpgrader.
const (
	UpgraderIgnoreUnconfigured UpgraderFlags = C.OSTREE_SYSROOT_UPGRADER_FLAGS_IGNORE_UNCONFIGURED // upgrade although the origin says that the system is to be configured first
	UpgraderStage              UpgraderFlags = C.OSTREE_SYSROOT_UPGRADER_FLAGS_STAGE               // stage the deployment, to be finished at shutdown
	UpgraderKexec              UpgraderFlags = 1 << 3                                              // load the new kernel for kexec. Needs libostree 2025.1
)

// UpgraderPullFlags change what SysrootUpgrader.Pull does; they combine.
type UpgraderPullFlags int

// Flags of SysrootUpgrader.Pull.
const (
	UpgraderAllowOlder UpgraderPullFlags = C.OSTREE_SYSROOT_UPGRADER_PULL_FLAGS_ALLOW_OLDER // take a commit older than the deployed one
	UpgraderSynthetic  UpgraderPullFlags = C.OSTREE_SYSROOT_UPGRADER_PULL_FLAGS_SYNTHETIC   // pull nothing: look at what the ref is now
)

// SysrootUpgrader brings a stateroot to the newest commit of the refspec in its origin: Pull, then Deploy. The sysroot is loaded and
// locked while it is used. For one goroutine.
type SysrootUpgrader struct {
	h       handle
	sysroot *Sysroot
	pulled  bool
}

func (u *SysrootUpgrader) handle() *handle {
	if u == nil {
		return nil
	}
	return &u.h
}

func (u *SysrootUpgrader) c() *C.OstreeSysrootUpgrader { return (*C.OstreeSysrootUpgrader)(u.h.ptr) }

// NewSysrootUpgrader returns one for the stateroot of the booted deployment. It returns ErrNotBooted.
//
// C: ostree_sysroot_upgrader_new
func NewSysrootUpgrader(ctx context.Context, s *Sysroot) (*SysrootUpgrader, error) {
	const op = "new upgrader"
	if _, err := s.RequireBootedDeployment(); err != nil {
		return nil, fmt.Errorf("%s: %w", op, err)
	}
	return newUpgrader(ctx, op, s, func(c *C.GCancellable, e **C.GError) *C.OstreeSysrootUpgrader {
		return C.ostree_sysroot_upgrader_new(s.c(), c, e)
	})
}

// NewSysrootUpgraderForOS returns one for a stateroot ("": the booted one's). A stateroot without a deployment, and one
// whose origin has no refspec, are errors.
//
// C: ostree_sysroot_upgrader_new_for_os, ostree_sysroot_upgrader_new_for_os_with_flags
func NewSysrootUpgraderForOS(ctx context.Context, s *Sysroot, stateroot string, flags UpgraderFlags) (*SysrootUpgrader, error) {
	op := "new upgrader of stateroot " + stateroot
	if flags&UpgraderKexec != 0 && !Supports(FeatureKexec) {
		return nil, unsupported(op, FeatureKexec)
	}
	if err := s.checkLoaded(op); err != nil {
		return nil, err
	}
	if stateroot != "" {
		if err := checkStateroot(stateroot); err != nil {
			return nil, fmt.Errorf("%s: %w", op, err)
		}
	}
	var a arena
	defer a.free()
	name := a.opt(stateroot)
	return newUpgrader(ctx, op, s, func(c *C.GCancellable, e **C.GError) *C.OstreeSysrootUpgrader {
		if flags == 0 {
			return C.ostree_sysroot_upgrader_new_for_os(s.c(), name, c, e)
		}
		return C.ostree_sysroot_upgrader_new_for_os_with_flags(s.c(), name, C.OstreeSysrootUpgraderFlags(flags), c, e)
	})
}

func newUpgrader(ctx context.Context, op string, s *Sysroot, fn func(*C.GCancellable, **C.GError) *C.OstreeSysrootUpgrader) (*SysrootUpgrader, error) {
	u := &SysrootUpgrader{sysroot: s}
	err := call(ctx, op, func(c *C.GCancellable, e **C.GError) C.gboolean {
		p := fn(c, e)
		if p != nil {
			u.h.own(unsafe.Pointer(p), objectUnref)
		}
		return gbool(p != nil)
	}, s.handle())
	if err != nil {
		return nil, err
	}
	return u, nil
}

// Origin returns a copy of the origin that the next deployment will have, nil if there is none.
//
// C: ostree_sysroot_upgrader_dup_origin
func (u *SysrootUpgrader) Origin() (*keyfile.File, error) {
	if u.handle().acquire() == nil {
		return nil, fmt.Errorf("origin of upgrader: %w", ErrClosed)
	}
	defer u.h.release()
	k := C.ostree_sysroot_upgrader_dup_origin(u.c())
	defer keyFileFree(k)
	return keyFileFromC(k)
}

// SetOrigin replaces the origin, for example to follow another ref. One without a refspec is an error.
//
// C: ostree_sysroot_upgrader_set_origin
func (u *SysrootUpgrader) SetOrigin(ctx context.Context, origin *keyfile.File) error {
	const op = "set origin of upgrader"
	if origin == nil {
		return fmt.Errorf("%s: %w: none", op, ErrInvalidArgument)
	}
	k, err := keyFileToC(origin)
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	defer keyFileFree(k)
	return call(ctx, op, func(c *C.GCancellable, e **C.GError) C.gboolean {
		return C.ostree_sysroot_upgrader_set_origin(u.c(), k, c, e)
	}, u.handle())
}

// OriginDescription returns the refspec of the origin.
//
// C: ostree_sysroot_upgrader_get_origin_description
func (u *SysrootUpgrader) OriginDescription() string {
	if u.handle().acquire() == nil {
		return ""
	}
	defer u.h.release()
	return takeString(C.ostree_sysroot_upgrader_get_origin_description(u.c()))
}

// UpgraderPullOptions are the options of SysrootUpgrader.Pull; nil is the zero value.
type UpgraderPullOptions struct {
	Dir       string // fetch only this directory, starting with "/"; "" for all
	PullFlags PullFlags
	Flags     UpgraderPullFlags
	// Progress is called as in PullOptions. May be nil.
	Progress func(PullProgress)
}

// Pull fetches the origin's ref from its remote (a local ref is looked at only) and reports whether its commit is another than the
// deployed one. A commit older than that is an error, unless the options allow it.
//
// C: ostree_sysroot_upgrader_pull, ostree_sysroot_upgrader_pull_one_dir
func (u *SysrootUpgrader) Pull(ctx context.Context, opts *UpgraderPullOptions) (changed bool, err error) {
	const op = "pull upgrade"
	if opts == nil {
		opts = &UpgraderPullOptions{}
	}
	var a arena
	defer a.free()
	dir := a.opt(opts.Dir)
	if a.err != nil {
		return false, fmt.Errorf("%s: %w", op, a.err)
	}
	cb := &pullCallback{fn: opts.Progress}
	var ch C.uintptr_t
	if cb.fn != nil {
		h := cgo.NewHandle(cb)
		defer h.Delete()
		ch = C.uintptr_t(h)
	}
	var out C.gboolean
	err = call(ctx, op, func(c *C.GCancellable, e **C.GError) C.gboolean {
		return C.shim_upgrader_pull(u.c(), dir, C.int(opts.PullFlags), C.int(opts.Flags), ch, &out, c, e)
	}, u.handle(), u.sysroot.handle())
	if cb.panicked != nil {
		panic(cb.panicked)
	}
	u.pulled = u.pulled || err == nil
	return out != 0, err
}

// Deploy makes a deployment of what Pull found and puts it first in boot order, or stages it (UpgraderStage). Without a Pull before it is an error.
//
// C: ostree_sysroot_upgrader_deploy
func (u *SysrootUpgrader) Deploy(ctx context.Context) error {
	const op = "deploy upgrade"
	if u != nil && !u.pulled {
		return fmt.Errorf("%s: %w", op, errNotPulled)
	}
	return call(ctx, op, func(c *C.GCancellable, e **C.GError) C.gboolean {
		return C.ostree_sysroot_upgrader_deploy(u.c(), c, e)
	}, u.handle(), u.sysroot.handle())
}

var errNotPulled = errors.New("nothing was pulled")

// CheckTimestamps returns an error if commit to is older than commit from, which are 64 hex digits each: the check against a remote
// that offers an old commit with known holes. It returns ErrNotFound.
//
// C: ostree_sysroot_upgrader_check_timestamps
func (r *Repo) CheckTimestamps(ctx context.Context, from, to string) error {
	op := fmt.Sprintf("compare timestamps of %s and %s", from, to)
	if err := errors.Join(ValidateChecksum(from), ValidateChecksum(to)); err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	var a arena
	defer a.free()
	cfrom, cto := a.str(from), a.str(to)
	return callFast(ctx, op, func(e **C.GError) C.gboolean {
		return C.ostree_sysroot_upgrader_check_timestamps(r.c(), cfrom, cto, e)
	}, r.handle())
}
