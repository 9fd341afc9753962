package ostree

// #include "shim.h"
import "C"

import (
	"context"
	"fmt"
)

// FileXattrs returns the extended attributes of an open file, sorted by name. The descriptor stays the caller's.
//
// C: ostree_fs_get_all_xattrs
func FileXattrs(ctx context.Context, fd int) ([]Xattr, error) {
	op := fmt.Sprintf("read xattrs of descriptor %d", fd)
	if fd < 0 { // libostree aborts
		return nil, fmt.Errorf("%s: %w", op, ErrInvalidArgument)
	}
	return takeXattrs(ctx, op, func(c *C.GCancellable, e **C.GError) *C.GVariant {
		return C.ostree_fs_get_all_xattrs(C.int(fd), c, e)
	})
}

// FileXattrsAt returns the extended attributes of a name in the directory dirfd, sorted by name. Symlinks are not followed.
//
// C: ostree_fs_get_all_xattrs_at
func FileXattrsAt(ctx context.Context, dirfd int, name string) ([]Xattr, error) {
	op := "read xattrs of " + name
	var a arena
	defer a.free()
	cname := a.str(name)
	if a.err != nil {
		return nil, fmt.Errorf("%s: %w", op, a.err)
	}
	return takeXattrs(ctx, op, func(c *C.GCancellable, e **C.GError) *C.GVariant {
		return C.ostree_fs_get_all_xattrs_at(C.int(dirfd), cname, c, e)
	})
}

func takeXattrs(ctx context.Context, op string, get func(*C.GCancellable, **C.GError) *C.GVariant) ([]Xattr, error) {
	var v *C.GVariant
	err := call(ctx, op, func(c *C.GCancellable, e **C.GError) C.gboolean {
		if v = get(c, e); v != nil {
			v = C.g_variant_ref_sink(v)
		}
		return gbool(v != nil)
	})
	if err != nil {
		return nil, err
	}
	return takeVariant(v).xattrs()
}

// BreakXattrs says what BreakHardlink does with extended attributes.
type BreakXattrs bool

// Values of BreakXattrs.
const (
	CopyXattrs BreakXattrs = false // the new file has them
	SkipXattrs BreakXattrs = true  // it has none
)

// BreakHardlink makes a name in the directory dirfd a file (or symlink) of its own, with the same content, if it is a
// hardlink: for programs that must change a file checked out with hardlinks to a repository.
//
// C: ostree_break_hardlink
func BreakHardlink(ctx context.Context, dirfd int, name string, xattrs BreakXattrs) error {
	op := "break hardlink " + name
	var a arena
	defer a.free()
	cname := a.str(name)
	if a.err != nil {
		return fmt.Errorf("%s: %w", op, a.err)
	}
	return call(ctx, op, func(c *C.GCancellable, e **C.GError) C.gboolean {
		return C.ostree_break_hardlink(C.int(dirfd), cname, gbool(bool(xattrs)), c, e)
	})
}
