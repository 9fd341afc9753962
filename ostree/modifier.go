package ostree

// #include "shim.h"
import "C"

import (
	"context"
	"fmt"
	"runtime/cgo"
	"strings"
	"unsafe"
)

// FilterResult is what a filter decides on an entry.
type FilterResult int

// Decisions of filters.
const (
	FilterAllow FilterResult = iota // take it
	FilterSkip                      // leave it out, with all below it
)

// ModifierFlags change how a directory is committed; they combine.
type ModifierFlags int

// Flags of a CommitModifier.
const (
	ModifierNone                 ModifierFlags = C.OSTREE_REPO_COMMIT_MODIFIER_FLAGS_NONE
	ModifierSkipXattrs           ModifierFlags = C.OSTREE_REPO_COMMIT_MODIFIER_FLAGS_SKIP_XATTRS           // commit no xattrs
	ModifierGenerateSizes        ModifierFlags = C.OSTREE_REPO_COMMIT_MODIFIER_FLAGS_GENERATE_SIZES        // keep sizes for the commit's metadata
	ModifierCanonicalPermissions ModifierFlags = C.OSTREE_REPO_COMMIT_MODIFIER_FLAGS_CANONICAL_PERMISSIONS // owner 0:0, modes & 0755 (not of symlinks), no xattrs
	ModifierErrorOnUnlabeled     ModifierFlags = C.OSTREE_REPO_COMMIT_MODIFIER_FLAGS_ERROR_ON_UNLABELED    // an error where SePolicy has no label
	ModifierConsume              ModifierFlags = C.OSTREE_REPO_COMMIT_MODIFIER_FLAGS_CONSUME               // move files instead of copying; the directory is gone afterwards, unless it is "."
	ModifierDevInoCanonical      ModifierFlags = C.OSTREE_REPO_COMMIT_MODIFIER_FLAGS_DEVINO_CANONICAL      // believe DevInoCache even for bare-user checkouts
)

// CommitModifier says how a directory is committed; nil is the zero value: as it is. Functions are called
// one at a time during the call that got the modifier, and must not use the repository.
//
// C: ostree_repo_commit_modifier_new, ostree_repo_commit_modifier_set_xattr_callback, ostree_repo_commit_modifier_set_sepolicy
//
// C: ostree_repo_commit_modifier_set_sepolicy_from_commit, ostree_repo_commit_modifier_set_devino_cache, ostree_repo_commit_modifier_unref
type CommitModifier struct {
	Flags ModifierFlags
	// Filter sees each entry (path starting with "/"), decides on it, and may change UID, GID and Mode. Nil: all allowed.
	Filter func(path string, info *FileInfo) FilterResult
	// Xattrs returns the xattrs of an entry in place of its own. Nil: its own.
	Xattrs func(path string, info FileInfo) []Xattr
	// SePolicy labels entries. Nil: labels as they are.
	SePolicy *SePolicy
	// SePolicyFromCommit is a commit or ref whose policy, in its /usr/etc/selinux, is to label entries; "" for none. Excludes SePolicy.
	SePolicyFromCommit string
	// DevInoCache knows the checksums of files checked out as hardlinks with it. May be nil.
	DevInoCache *DevInoCache
}

// DevInoCache remembers which file object each hardlink of a checkout is, for committing the
// directory again. Not safe for concurrent use.
type DevInoCache struct{ h handle }

// NewDevInoCache returns an empty cache.
//
// C: ostree_repo_devino_cache_new, ostree_repo_devino_cache_unref
func NewDevInoCache() *DevInoCache {
	d := &DevInoCache{}
	d.h.own(unsafe.Pointer(C.ostree_repo_devino_cache_new()), devinoUnref)
	return d
}

func devinoUnref(p unsafe.Pointer) {
	C.ostree_repo_devino_cache_unref((*C.OstreeRepoDevInoCache)(p))
}

func (d *DevInoCache) c() *C.OstreeRepoDevInoCache {
	if d == nil {
		return nil
	}
	return (*C.OstreeRepoDevInoCache)(d.h.ptr)
}

// entryCallbacks is what C calls back into, from one thread. A panic ends the work and goes on in the caller.
type entryCallbacks struct {
	filter    func(path string, info *FileInfo) FilterResult
	xattrs    func(path string, info FileInfo) []Xattr
	translate func(path string, info FileInfo) string
	panicked  any
	err       error
}

func (cb *entryCallbacks) runFilter(path string, info *FileInfo) (res FilterResult) {
	defer func() {
		if x := recover(); x != nil {
			cb.panicked, res = x, FilterSkip
		}
	}()
	if cb.panicked != nil {
		return FilterSkip
	}
	return cb.filter(path, info)
}

func (cb *entryCallbacks) runXattrs(path string, info FileInfo) (flat []byte) {
	defer func() {
		if x := recover(); x != nil {
			cb.panicked, flat = x, nil
		}
	}()
	if cb.panicked != nil || cb.err != nil {
		return nil
	}
	flat, err := flattenXattrs(cb.xattrs(path, info))
	if err != nil {
		cb.err = fmt.Errorf("xattrs of %s: %w", path, err)
	}
	return flat
}

func (cb *entryCallbacks) runTranslate(path string, info FileInfo) (to string) {
	defer func() {
		if x := recover(); x != nil {
			cb.panicked = x
		}
	}()
	if cb.panicked != nil {
		return ""
	}
	if to = cb.translate(path, info); strings.IndexByte(to, 0) >= 0 {
		cb.err, to = fmt.Errorf("%w: NUL in %q", ErrInvalidArgument, to), ""
	}
	return to
}

// finish gives the caller what a callback left.
func (cb *entryCallbacks) finish(op string, err error) error {
	if cb.panicked != nil {
		panic(cb.panicked)
	}
	if cb.err != nil {
		return fmt.Errorf("%s: %w", op, cb.err)
	}
	return err
}

// withModifier runs fn with the C form of m, which may be nil.
func (r *Repo) withModifier(ctx context.Context, m *CommitModifier, op string, fn func(*C.OstreeRepoCommitModifier) error) error {
	if m == nil {
		return fn(nil)
	}
	if m.SePolicy != nil && m.SePolicyFromCommit != "" {
		return fmt.Errorf("%s: %w: two SELinux policies", op, ErrInvalidArgument)
	}
	cb := &entryCallbacks{filter: m.Filter, xattrs: m.Xattrs}
	h := cgo.NewHandle(cb)
	defer h.Delete()
	var owners []*handle
	if m.SePolicy != nil {
		owners = append(owners, m.SePolicy.handle())
	}
	if m.DevInoCache != nil {
		owners = append(owners, &m.DevInoCache.h)
	}
	for _, o := range owners {
		if o.acquire() == nil {
			return fmt.Errorf("%s: %w", op, ErrClosed)
		}
		defer o.release()
	}
	c := C.shim_modifier_new(C.int(m.Flags), gbool(m.Filter != nil), gbool(m.Xattrs != nil), C.uintptr_t(h), m.SePolicy.c(), m.DevInoCache.c())
	defer C.ostree_repo_commit_modifier_unref(c)
	if m.SePolicyFromCommit != "" {
		var a arena
		defer a.free()
		rev := a.str(m.SePolicyFromCommit)
		if a.err != nil {
			return fmt.Errorf("%s: %w", op, a.err)
		}
		err := call(ctx, op, func(cancel *C.GCancellable, e **C.GError) C.gboolean {
			return C.ostree_repo_commit_modifier_set_sepolicy_from_commit(c, r.c(), rev, cancel, e)
		}, r.handle())
		if err != nil {
			return err
		}
	}
	return cb.finish(op, fn(c))
}

// WriteDirectoryToMTree writes the files of a directory as objects and adds them to a tree. In an open transaction.
//
// C: ostree_repo_write_directory_to_mtree
func (r *Repo) WriteDirectoryToMTree(ctx context.Context, dir string, m *MutableTree, mod *CommitModifier) error {
	op := "write directory " + dir
	var a arena
	defer a.free()
	f := newFile(&a, dir)
	defer C.g_object_unref(C.gpointer(unsafe.Pointer(f)))
	if a.err != nil {
		return fmt.Errorf("%s: %w", op, a.err)
	}
	return r.withModifier(ctx, mod, op, func(cm *C.OstreeRepoCommitModifier) error {
		return call(ctx, op, func(c *C.GCancellable, e **C.GError) C.gboolean {
			return C.ostree_repo_write_directory_to_mtree(r.c(), f, m.c(), cm, c, e)
		}, r.handle(), m.handle())
	})
}

// WriteDFDToMTree is WriteDirectoryToMTree for a path relative to a descriptor, which stays the caller's.
//
// C: ostree_repo_write_dfd_to_mtree
func (r *Repo) WriteDFDToMTree(ctx context.Context, dirfd int, path string, m *MutableTree, mod *CommitModifier) error {
	op := "write directory " + path
	var a arena
	defer a.free()
	cpath := a.str(path)
	if a.err != nil {
		return fmt.Errorf("%s: %w", op, a.err)
	}
	return r.withModifier(ctx, mod, op, func(cm *C.OstreeRepoCommitModifier) error {
		return call(ctx, op, func(c *C.GCancellable, e **C.GError) C.gboolean {
			return C.ostree_repo_write_dfd_to_mtree(r.c(), C.int(dirfd), cpath, m.c(), cm, c, e)
		}, r.handle(), m.handle())
	})
}
