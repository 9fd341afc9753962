package ostree

// #include "shim.h"
import "C"

import (
	"context"
	"fmt"
	"math"
	"runtime/cgo"
)

// DiffOptions are the options of Diff; nil is the zero value.
type DiffOptions struct {
	IgnoreXattrs bool // a file whose xattrs alone differ is the same
	// OwnerUID and OwnerGID are taken for those of local files, for a checkout made without root. Nil: as they are.
	OwnerUID, OwnerGID *uint32
}

func (o *DiffOptions) c() (flags, uid, gid C.int, err error) {
	uid, gid = -1, -1
	if o == nil {
		return flags, uid, gid, nil
	}
	if o.IgnoreXattrs {
		flags = C.OSTREE_DIFF_FLAGS_IGNORE_XATTRS
	}
	for _, id := range []struct {
		from *uint32
		to   *C.int
	}{{o.OwnerUID, &uid}, {o.OwnerGID, &gid}} {
		if id.from == nil {
			continue
		}
		if *id.from > math.MaxInt32 {
			return 0, 0, 0, fmt.Errorf("%w: owner %d", ErrInvalidArgument, *id.from)
		}
		*id.to = C.int(*id.from)
	}
	return flags, uid, gid, nil
}

// Diff is what differs between two trees. A removed directory stands for all below it; of an added one, all below is listed too. What is a
// directory in one of them only is modified, and what is below it not listed.
type Diff struct {
	Modified []DiffModified
	Removed  []string // paths, starting with "/"
	Added    []string // paths, starting with "/"
}

// DiffModified is a file that differs, or a directory whose owner, mode or xattrs do.
type DiffModified struct {
	Path     string // starting with "/"
	From, To string // checksums of the file objects, or of the dirmetas; "" where the type differs
}

// Diff compares the trees of two commits; from "" stands for an empty tree. Both are as in ResolveRev. It returns ErrNotFound.
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
	return opts.diff(ctx, op, func(flags, uid, gid C.int, h C.uintptr_t, c *C.GCancellable, e **C.GError) C.gboolean {
		return C.shim_diff(r.c(), cfrom, cto, flags, uid, gid, h, c, e)
	}, r.handle())
}

// diff collects what shim tells it.
func (o *DiffOptions) diff(ctx context.Context, op string,
	shim func(flags, uid, gid C.int, h C.uintptr_t, c *C.GCancellable, e **C.GError) C.gboolean, owners ...*handle,
) (*Diff, error) {
	flags, uid, gid, err := o.c()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", op, err)
	}
	d := &Diff{}
	h := cgo.NewHandle(d)
	defer h.Delete()
	err = call(ctx, op, func(c *C.GCancellable, e **C.GError) C.gboolean {
		return shim(flags, uid, gid, C.uintptr_t(h), c, e)
	}, owners...)
	if err != nil {
		return nil, err
	}
	return d, nil
}

// DiffDir is one side of DiffDirs: a directory of a commit, or a local one. One field is set.
type DiffDir struct {
	Tree *Tree
	Path string
}

// file returns a new reference.
func (d DiffDir) file(a *arena) (*C.GFile, error) {
	if (d.Tree == nil) == (d.Path == "") {
		return nil, fmt.Errorf("%w: a side is either a tree or a path", ErrInvalidArgument)
	}
	if d.Tree != nil {
		p := d.Tree.h.acquire()
		if p == nil {
			return nil, ErrClosed
		}
		defer d.Tree.h.release()
		return (*C.GFile)(C.g_object_ref(C.gpointer(p))), nil
	}
	return newFile(a, d.Path), nil
}

// DiffDirs is Diff for directories, each of a commit or local: what was changed in a checkout, for example. Paths in the result are
// relative to the two, starting with "/". opts may be nil.
//
// C: ostree_diff_dirs, ostree_diff_dirs_with_options, ostree_diff_item_unref
func DiffDirs(ctx context.Context, from, to DiffDir, opts *DiffOptions) (*Diff, error) {
	const op = "diff directories"
	var a arena
	defer a.free()
	cfrom, err := from.file(&a)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", op, err)
	}
	defer fileUnref(cfrom)
	cto, err := to.file(&a)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", op, err)
	}
	defer fileUnref(cto)
	if a.err != nil {
		return nil, fmt.Errorf("%s: %w", op, a.err)
	}
	return opts.diff(ctx, op, func(flags, uid, gid C.int, h C.uintptr_t, c *C.GCancellable, e **C.GError) C.gboolean {
		return C.shim_diff_dirs(cfrom, cto, flags, uid, gid, h, c, e)
	})
}
