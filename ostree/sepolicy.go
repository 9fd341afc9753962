package ostree

// #include "shim.h"
import "C"

import (
	"context"
	"fmt"
	"strings"
	"unsafe"
)

// SePolicy is the SELinux policy of a file system tree, as far as labelling goes. libselinux keeps
// its state per process: use one at a time, from one goroutine.
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

// NewSePolicyAt loads the policy of the tree below the directory dirfd (usr/etc/selinux or
// etc/selinux). A tree without one gives a policy whose Name is "". The caller closes it; dirfd stays the caller's.
//
// C: ostree_sepolicy_new_at
func NewSePolicyAt(ctx context.Context, dirfd int) (*SePolicy, error) {
	p := &SePolicy{}
	err := call(ctx, "load SELinux policy", func(c *C.GCancellable, e **C.GError) C.gboolean {
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
// temporary directory for it. The caller closes it.
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

// Name returns the policy's name, for example "targeted"; "" if there is none.
//
// C: ostree_sepolicy_get_name
func (p *SePolicy) Name() string {
	return p.text(func(c *C.OstreeSePolicy) *C.char { return (*C.char)(C.ostree_sepolicy_get_name(c)) })
}

// CSum returns a checksum of the policy's file contexts, 64 hex digits; "" if there is none.
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
// the tree, starting with "/", and a file mode (st_mode); "" where the policy has none.
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
