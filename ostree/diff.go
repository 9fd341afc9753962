package ostree

// #include "shim.h"
import "C"

import (
	"context"
	"fmt"
	"runtime/cgo"
)

// DiffOptions are the options of Diff; nil is the zero value.
type DiffOptions struct {
	IgnoreXattrs bool // a file whose xattrs alone differ is the same
}

// Diff is what differs between two trees. A removed directory stands for all below it; of an added one, all below is listed too.
type Diff struct {
	Modified []DiffModified
	Removed  []string // paths, starting with "/"
	Added    []string // paths, starting with "/"
}

// DiffModified is a file that differs.
type DiffModified struct {
	Path     string // starting with "/"
	From, To string // checksums of the file objects; of directories, of their content
}

// Diff compares the trees of two commits; from "" stands for an empty tree. Both are as in ResolveRev.
//
// C: ostree_diff_dirs_with_options, ostree_diff_item_unref
func (r *Repo) Diff(ctx context.Context, from, to string, opts *DiffOptions) (*Diff, error) {
	op := fmt.Sprintf("diff %s %s", from, to)
	var a arena
	defer a.free()
	cfrom, cto := a.opt(from), a.str(to)
	if a.err != nil {
		return nil, fmt.Errorf("%s: %w", op, a.err)
	}
	var flags C.int
	if opts != nil && opts.IgnoreXattrs {
		flags = C.OSTREE_DIFF_FLAGS_IGNORE_XATTRS
	}
	d := &Diff{}
	h := cgo.NewHandle(d)
	defer h.Delete()
	err := call(ctx, op, func(c *C.GCancellable, e **C.GError) C.gboolean {
		return C.shim_diff(r.c(), cfrom, cto, flags, -1, -1, C.uintptr_t(h), c, e)
	}, r.handle())
	if err != nil {
		return nil, err
	}
	return d, nil
}
