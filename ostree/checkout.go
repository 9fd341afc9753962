package ostree

// #include "shim.h"
import "C"

import (
	"context"
	"fmt"
	"runtime/cgo"
)

// CheckoutMode says who owns checked out files.
type CheckoutMode int

// Values of CheckoutMode.
const (
	CheckoutNone CheckoutMode = C.OSTREE_REPO_CHECKOUT_MODE_NONE // owner, mode and xattrs of the commit; needs root
	CheckoutUser CheckoutMode = C.OSTREE_REPO_CHECKOUT_MODE_USER // the caller's, without xattrs
)

// OverwriteMode says what happens to what is there already.
type OverwriteMode int

// Values of OverwriteMode.
const (
	OverwriteNone           OverwriteMode = C.OSTREE_REPO_CHECKOUT_OVERWRITE_NONE            // the target must not be there
	OverwriteUnionFiles     OverwriteMode = C.OSTREE_REPO_CHECKOUT_OVERWRITE_UNION_FILES     // replace files, keep others
	OverwriteAddFiles       OverwriteMode = C.OSTREE_REPO_CHECKOUT_OVERWRITE_ADD_FILES       // keep all that is there
	OverwriteUnionIdentical OverwriteMode = C.OSTREE_REPO_CHECKOUT_OVERWRITE_UNION_IDENTICAL // replace nothing; different files are an error. Needs NoCopyFallback
)

// CheckoutOptions are the options of CheckoutAt; nil is the zero value.
type CheckoutOptions struct {
	Mode      CheckoutMode
	Overwrite OverwriteMode
	// ProcessWhiteouts deletes NAME for a file ".wh.NAME", which is not checked out.
	ProcessWhiteouts bool
	// ProcessPassthroughWhiteouts makes an overlayfs whiteout device of a file ".ostree-wh.NAME".
	ProcessPassthroughWhiteouts bool
	NoCopyFallback              bool         // fail where hardlinks are not possible; not with ForceCopy
	ForceCopy                   bool         // never hardlink
	BareUserOnlyDirs            bool         // modes of directories as a bare-user-only repository keeps them
	ForceCopyZeroSized          bool         // never hardlink empty files
	Subpath                     string       // check out this directory or file only, for example "/usr/etc"; "" for all
	DevInoCache                 *DevInoCache // remembers what was hardlinked; may be nil
	SePolicy                    *SePolicy    // labels what is written; needs ForceCopy and CheckoutNone; may be nil
	SePolicyPrefix              string       // put before paths asked of SePolicy
	// Filter decides on each entry, path starting with "/". Nil: all allowed. It must not use the repository.
	Filter func(path string, info FileInfo) FilterResult
}

// CheckoutAt writes a commit (64 hex digits) as files at path, relative to the descriptor dirfd, or to
// the working directory if dirfd is AtCWD.
//
// C: ostree_repo_checkout_at, ostree_repo_checkout_at_options_set_devino
func (r *Repo) CheckoutAt(ctx context.Context, dirfd int, path, commit string, opts *CheckoutOptions) error {
	var a arena
	defer a.free()
	op, csum, err := objectArgs("check out", ObjectCommit, commit, &a)
	if err != nil {
		return err
	}
	if opts == nil {
		opts = &CheckoutOptions{}
	}
	switch {
	case opts.ForceCopy && opts.NoCopyFallback:
		return fmt.Errorf("%s: %w: ForceCopy with NoCopyFallback", op, ErrInvalidArgument)
	case opts.SePolicy != nil && !opts.ForceCopy:
		return fmt.Errorf("%s: %w: SePolicy without ForceCopy", op, ErrInvalidArgument)
	case opts.Overwrite == OverwriteUnionIdentical && !opts.NoCopyFallback:
		return fmt.Errorf("%s: %w: OverwriteUnionIdentical without NoCopyFallback", op, ErrInvalidArgument)
	}
	cpath := a.str(path)
	o := C.shim_checkout_options{
		mode:                          C.int(opts.Mode),
		overwrite:                     C.int(opts.Overwrite),
		process_whiteouts:             C.int(gbool(opts.ProcessWhiteouts)),
		process_passthrough_whiteouts: C.int(gbool(opts.ProcessPassthroughWhiteouts)),
		no_copy_fallback:              C.int(gbool(opts.NoCopyFallback)),
		force_copy:                    C.int(gbool(opts.ForceCopy)),
		bareuseronly_dirs:             C.int(gbool(opts.BareUserOnlyDirs)),
		force_copy_zerosized:          C.int(gbool(opts.ForceCopyZeroSized)),
		subpath:                       a.opt(opts.Subpath),
		sepolicy_prefix:               a.opt(opts.SePolicyPrefix),
		sepolicy:                      opts.SePolicy.c(),
		cache:                         opts.DevInoCache.c(),
	}
	if a.err != nil {
		return fmt.Errorf("%s: %w", op, a.err)
	}
	cb := &entryCallbacks{}
	if opts.Filter != nil || ctx.Done() != nil {
		// libostree hardly looks at its cancellable here.
		cb.filter = func(path string, info *FileInfo) FilterResult {
			if ctx.Err() != nil {
				cb.err = cancelled(ctx, nil)
				return FilterSkip
			}
			if opts.Filter == nil {
				return FilterAllow
			}
			return opts.Filter(path, *info)
		}
		h := cgo.NewHandle(cb)
		defer h.Delete()
		o.filter = C.uintptr_t(h)
	}
	owners := []*handle{r.handle()}
	if opts.SePolicy != nil {
		owners = append(owners, opts.SePolicy.handle())
	}
	if opts.DevInoCache != nil {
		owners = append(owners, &opts.DevInoCache.h)
	}
	return cb.finish(op, call(ctx, op, func(c *C.GCancellable, e **C.GError) C.gboolean {
		return C.shim_checkout_at(r.c(), &o, C.int(dirfd), cpath, csum, c, e)
	}, owners...))
}

// CheckoutTreeOptions are the options of CheckoutTree; nil is the zero value.
type CheckoutTreeOptions struct {
	Mode      CheckoutMode
	Overwrite OverwriteMode // not OverwriteUnionIdentical
}

// CheckoutTree writes a directory or file of a commit at the local path dest, as CheckoutAt does for whole commits. Where an archive
// repository is checked out as CheckoutUser, its cache of uncompressed files takes them up: later checkouts are hardlinks, and
// CheckoutGC deletes those that none uses any more. opts may be nil.
//
// C: ostree_repo_checkout_tree
func (r *Repo) CheckoutTree(ctx context.Context, t *Tree, dest string, opts *CheckoutTreeOptions) error {
	op := "check out to " + dest
	if opts == nil {
		opts = &CheckoutTreeOptions{}
	}
	if opts.Overwrite < OverwriteNone || opts.Overwrite >= OverwriteUnionIdentical {
		return fmt.Errorf("%s: %w: overwrite mode %d", op, ErrInvalidArgument, opts.Overwrite)
	}
	var a arena
	defer a.free()
	f := newFile(&a, dest)
	defer fileUnref(f)
	if a.err != nil {
		return fmt.Errorf("%s: %w", op, a.err)
	}
	return call(ctx, op, func(c *C.GCancellable, e **C.GError) C.gboolean {
		return C.shim_checkout_tree(r.c(), C.int(opts.Mode), C.int(opts.Overwrite), f, t.file(), c, e)
	}, r.handle(), t.handle())
}

// CheckoutGC deletes from the cache of uncompressed files what this Repo put there and no checkout is a hardlink of any more.
//
// C: ostree_repo_checkout_gc
func (r *Repo) CheckoutGC(ctx context.Context) error {
	return call(ctx, "clean cache of uncompressed files", func(c *C.GCancellable, e **C.GError) C.gboolean {
		return C.ostree_repo_checkout_gc(r.c(), c, e)
	}, r.handle())
}

// AtCWD as a directory descriptor means the working directory.
const AtCWD = -100
