package ostree

// #include "shim_newer.h"
import "C"

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"unsafe"
)

// sePolicyMu is held while a policy is loaded: libselinux finds the files by a root directory that is the whole process's.
var sePolicyMu sync.Mutex

// SePolicy is the SELinux policy of a file system tree, as far as labelling goes. Several may be open, and each used by several
// goroutines at once.
type SePolicy struct {
	h    handle
	repo *Repo
}

func (p *SePolicy) handle() *handle {
	if p == nil {
		return nil
	}
	return &p.h
}

func (p *SePolicy) c() *C.OstreeSePolicy {
	if p == nil {
		return nil
	}
	return (*C.OstreeSePolicy)(p.h.ptr)
}

// NewSePolicy loads the policy of the tree at path, as NewSePolicyAt does. A path that does not exist is a tree without one.
//
// C: ostree_sepolicy_new
func NewSePolicy(ctx context.Context, path string) (*SePolicy, error) {
	op := "load SELinux policy of " + path
	var a arena
	defer a.free()
	f := newFile(&a, path)
	defer C.g_object_unref(C.gpointer(unsafe.Pointer(f)))
	if a.err != nil {
		return nil, fmt.Errorf("%s: %w", op, a.err)
	}
	p := &SePolicy{}
	err := call(ctx, op, func(c *C.GCancellable, e **C.GError) C.gboolean {
		sePolicyMu.Lock()
		defer sePolicyMu.Unlock()
		s := C.ostree_sepolicy_new(f, c, e)
		if s == nil {
			return 0
		}
		p.h.own(unsafe.Pointer(s), objectUnref)
		return 1
	})
	if err != nil {
		return nil, err
	}
	return p, nil
}

// NewSePolicyAt loads the policy of the tree below the directory dirfd (usr/etc/selinux or
// etc/selinux). A tree without one gives a policy whose Name is "". The caller closes it; dirfd stays the caller's.
//
// C: ostree_sepolicy_new_at
func NewSePolicyAt(ctx context.Context, dirfd int) (*SePolicy, error) {
	p := &SePolicy{}
	err := call(ctx, "load SELinux policy", func(c *C.GCancellable, e **C.GError) C.gboolean {
		sePolicyMu.Lock()
		defer sePolicyMu.Unlock()
		s := C.ostree_sepolicy_new_at(C.int(dirfd), c, e)
		if s == nil {
			return 0
		}
		p.h.own(unsafe.Pointer(s), objectUnref)
		return 1
	})
	if err != nil {
		return nil, err
	}
	return p, nil
}

// NewSePolicyFromCommit loads the policy of a commit, which is checked out into a
// temporary directory for it. rev is as in Repo.ResolveRev. It returns ErrNotFound. The caller closes it.
//
// C: ostree_sepolicy_new_from_commit
func NewSePolicyFromCommit(ctx context.Context, repo *Repo, rev string) (*SePolicy, error) {
	op := "load SELinux policy of " + rev
	var a arena
	defer a.free()
	crev := a.str(rev)
	if a.err != nil {
		return nil, fmt.Errorf("%s: %w", op, a.err)
	}
	p := &SePolicy{repo: repo}
	err := call(ctx, op, func(c *C.GCancellable, e **C.GError) C.gboolean {
		sePolicyMu.Lock()
		defer sePolicyMu.Unlock()
		s := C.ostree_sepolicy_new_from_commit(repo.c(), crev, c, e)
		if s == nil {
			return 0
		}
		p.h.own(unsafe.Pointer(s), objectUnref)
		return 1
	}, repo.handle())
	if err != nil {
		return nil, err
	}
	return p, nil
}

// Close releases the policy; it may be called twice.
func (p *SePolicy) Close() error {
	if p != nil {
		p.h.close()
	}
	return nil
}

// Path returns the path given to NewSePolicy; "" for policies loaded otherwise.
//
// C: ostree_sepolicy_get_path
func (p *SePolicy) Path() (path string) {
	if p.handle().acquire() != nil {
		defer p.h.release()
		path = filePath(C.ostree_sepolicy_get_path(p.c()))
	}
	return path
}

// Name returns the policy's name, for example "targeted"; "" if there is none.
//
// C: ostree_sepolicy_get_name
func (p *SePolicy) Name() string {
	return p.text(func(c *C.OstreeSePolicy) *C.char { return (*C.char)(C.ostree_sepolicy_get_name(c)) })
}

// CSum returns the SHA-256 of the binary policy (usr/etc/selinux/NAME/policy/policy.VERSION), 64 hex digits; "" if there is no policy.
//
// C: ostree_sepolicy_get_csum
func (p *SePolicy) CSum() string {
	return p.text(func(c *C.OstreeSePolicy) *C.char { return (*C.char)(C.ostree_sepolicy_get_csum(c)) })
}

func (p *SePolicy) text(get func(*C.OstreeSePolicy) *C.char) string {
	h := p.handle()
	ptr := h.acquire()
	if ptr == nil {
		return ""
	}
	defer h.release()
	if s := get((*C.OstreeSePolicy)(ptr)); s != nil {
		return C.GoString(s)
	}
	return ""
}

// Label returns the security.selinux value (without its final NUL) for a path of
// the tree, starting with "/", and a file mode (st_mode); "" where the policy has none. libselinux has been safe to ask from
// several threads since its 2.7 (commit 00548bd9).
//
// C: ostree_sepolicy_get_label
func (p *SePolicy) Label(ctx context.Context, path string, mode uint32) (string, error) {
	op := "label of " + path
	if !strings.HasPrefix(path, "/") {
		return "", fmt.Errorf("%s: %w: path does not start with /", op, ErrInvalidArgument)
	}
	var a arena
	defer a.free()
	cpath := a.str(path)
	if a.err != nil {
		return "", fmt.Errorf("%s: %w", op, a.err)
	}
	var out *C.char
	err := callFast(ctx, op, func(e **C.GError) C.gboolean {
		return C.ostree_sepolicy_get_label(p.c(), cpath, C.guint32(mode), &out, nil, e)
	}, p.handle())
	return takeString(out), err
}

// RestoreconFlags change what Restorecon does; they combine.
type RestoreconFlags int

// Flags of Restorecon.
const (
	RestoreconAllowNoLabel RestoreconFlags = C.OSTREE_SEPOLICY_RESTORECON_FLAGS_ALLOW_NOLABEL // no label for the path is no error
	RestoreconKeepExisting RestoreconFlags = C.OSTREE_SEPOLICY_RESTORECON_FLAGS_KEEP_EXISTING // leave a file that has one alone
)

// Restorecon gives the file at target, of whatever type, the label that the policy has for path, starting with "/", and returns
// it; "" if the file was left as it is, as without a policy it always is. Symlinks are not followed.
//
// C: ostree_sepolicy_restorecon
func (p *SePolicy) Restorecon(ctx context.Context, path, target string, flags RestoreconFlags) (string, error) {
	op := "restore label of " + target
	if !strings.HasPrefix(path, "/") {
		return "", fmt.Errorf("%s: %w: path %q does not start with /", op, ErrInvalidArgument, path)
	}
	if p.handle() != nil && p.Name() == "" { // libostree would want the flag AllowNoLabel
		flags |= RestoreconAllowNoLabel
	}
	var a arena
	defer a.free()
	cpath, file := a.str(path), newFile(&a, target)
	defer C.g_object_unref(C.gpointer(unsafe.Pointer(file)))
	if a.err != nil {
		return "", fmt.Errorf("%s: %w", op, a.err)
	}
	var out *C.char
	err := call(ctx, op, func(c *C.GCancellable, e **C.GError) C.gboolean {
		return C.ostree_sepolicy_restorecon(p.c(), cpath, nil, file, C.OstreeSePolicyRestoreconFlags(flags), &out, c, e)
	}, p.handle())
	return takeString(out), err
}

// WithFSCreateCon runs fn, in which the calling goroutine creates one file that is to have the label of path and mode (st_mode) from the start.
// Files that fn creates from other goroutines do not get it. Where the running kernel has no SELinux, fn is run without a label.
//
// C: ostree_sepolicy_setfscreatecon, ostree_sepolicy_fscreatecon_cleanup
func (p *SePolicy) WithFSCreateCon(path string, mode uint32, fn func() error) error {
	op := "set label for creation of " + path
	if !strings.HasPrefix(path, "/") {
		return fmt.Errorf("%s: %w: path does not start with /", op, ErrInvalidArgument)
	}
	var a arena
	defer a.free()
	cpath := a.str(path)
	if a.err != nil {
		return fmt.Errorf("%s: %w", op, a.err)
	}
	runtime.LockOSThread() // the label is the thread's
	defer runtime.UnlockOSThread()
	err := callFast(context.Background(), op, func(e **C.GError) C.gboolean {
		return C.ostree_sepolicy_setfscreatecon(p.c(), cpath, C.guint32(mode), e)
	}, p.handle())
	if err != nil {
		return err
	}
	defer C.ostree_sepolicy_fscreatecon_cleanup(nil)
	return fn()
}

// SetSePolicyNullLog keeps libselinux from printing to standard error, for the whole process. Needs libostree 2025.2.
//
// C: ostree_sepolicy_set_null_log
func SetSePolicyNullLog() error {
	fn := symbol(features[FeatureSePolicyNullLog].symbol)
	if fn == nil {
		return unsupported("silence SELinux", FeatureSePolicyNullLog)
	}
	C.shim_void(fn)
	return nil
}
