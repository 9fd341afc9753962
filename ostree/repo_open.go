package ostree

// #include "shim.h"
import "C"

import (
	"context"
	"fmt"
	"unsafe"
)

// OpenRepoAt opens the repository at path, relative to the descriptor dirfd, which stays the caller's; AtCWD means
// the working directory. It returns ErrNotFound. The caller closes it.
//
// C: ostree_repo_open_at
func OpenRepoAt(ctx context.Context, dirfd int, path string) (*Repo, error) {
	return repoAt(ctx, "open repository "+path, path, func(cpath *C.char, c *C.GCancellable, e **C.GError) *C.OstreeRepo {
		return C.ostree_repo_open_at(C.int(dirfd), cpath, c, e)
	})
}

// CreateRepoOptions are the options of CreateRepoAt; nil is the zero value.
type CreateRepoOptions struct {
	CollectionID string // for the config; "" for none
}

// CreateRepoAt is CreateRepo relative to the descriptor dirfd, or to the working directory if that is AtCWD. A
// repository that is there is opened as it is. The caller closes it.
//
// C: ostree_repo_create_at
func CreateRepoAt(ctx context.Context, dirfd int, path string, mode Mode, opts *CreateRepoOptions) (*Repo, error) {
	op := "create repository " + path
	if _, ok := modeNames[mode]; !ok {
		return nil, fmt.Errorf("%s: %w: %v", op, ErrInvalidArgument, mode)
	}
	var v *Variant
	if opts != nil && opts.CollectionID != "" {
		var err error
		if err = ValidateCollectionID(opts.CollectionID); err != nil {
			return nil, fmt.Errorf("%s: %w", op, err)
		}
		if v, err = NewVariantDict().SetString("collection-id", opts.CollectionID).Build(); err != nil {
			return nil, fmt.Errorf("%s: %w", op, err)
		}
		v.h.acquire()
		defer v.h.release()
	}
	return repoAt(ctx, op, path, func(cpath *C.char, c *C.GCancellable, e **C.GError) *C.OstreeRepo {
		return C.ostree_repo_create_at(C.int(dirfd), cpath, C.OstreeRepoMode(mode), v.c(), c, e)
	})
}

func repoAt(ctx context.Context, op, path string, fn func(*C.char, *C.GCancellable, **C.GError) *C.OstreeRepo) (*Repo, error) {
	var a arena
	defer a.free()
	cpath := a.str(path)
	if a.err != nil || path == "" {
		return nil, fmt.Errorf("%s: %w: path %q", op, ErrInvalidArgument, path)
	}
	var p *C.OstreeRepo
	err := call(ctx, op, func(c *C.GCancellable, e **C.GError) C.gboolean {
		p = fn(cpath, c, e)
		return gbool(p != nil)
	})
	if err != nil {
		return nil, err
	}
	return wrapRepo(p), nil
}

// OpenDefaultRepo opens the repository that commands of the ostree tool use when they are given none: the working directory
// where that is one, $OSTREE_REPO, or the system's. It returns ErrNotFound. The caller closes it.
//
// C: ostree_repo_new_default, ostree_repo_open
func OpenDefaultRepo(ctx context.Context) (*Repo, error) {
	return openRepo(ctx, "open default repository", C.ostree_repo_new_default())
}

// OpenRepoForSysroot opens the repository at path as that of the sysroot at root: remotes are then also looked for in
// the remotes.d of its /etc. It returns ErrNotFound. The caller closes it.
//
// C: ostree_repo_new_for_sysroot_path, ostree_repo_open
func OpenRepoForSysroot(ctx context.Context, path, root string) (*Repo, error) {
	op := "open repository " + path
	var a arena
	defer a.free()
	f, s := newFile(&a, path), newFile(&a, root)
	defer C.g_object_unref(C.gpointer(unsafe.Pointer(f)))
	defer C.g_object_unref(C.gpointer(unsafe.Pointer(s)))
	if a.err != nil || path == "" || root == "" {
		return nil, fmt.Errorf("%s: %w: sysroot %q", op, ErrInvalidArgument, root)
	}
	return openRepo(ctx, op, C.ostree_repo_new_for_sysroot_path(f, s))
}

func openRepo(ctx context.Context, op string, p *C.OstreeRepo) (*Repo, error) {
	r := wrapRepo(p)
	err := call(ctx, op, func(c *C.GCancellable, e **C.GError) C.gboolean { return C.ostree_repo_open(r.c(), c, e) }, r.handle())
	if err != nil {
		r.h.close()
		return nil, err
	}
	return r, nil
}

// SetCacheDir makes the directory at path, relative to the descriptor dirfd, the place where summaries of remotes are kept.
// It must be there.
//
// C: ostree_repo_set_cache_dir
func (r *Repo) SetCacheDir(ctx context.Context, dirfd int, path string) error {
	op := "set cache directory " + path
	var a arena
	defer a.free()
	cpath := a.str(path)
	if a.err != nil {
		return fmt.Errorf("%s: %w", op, a.err)
	}
	return call(ctx, op, func(c *C.GCancellable, e **C.GError) C.gboolean {
		return C.ostree_repo_set_cache_dir(r.c(), C.int(dirfd), cpath, c, e)
	}, r.handle())
}

// Hash returns a number that is the same for Repos that are Equal; 0 after Close.
//
// C: ostree_repo_hash
func (r *Repo) Hash() (hash uint32) {
	r.with(func(c *C.OstreeRepo) { hash = uint32(C.ostree_repo_hash(c)) })
	return hash
}

// DefaultFinders returns the names of the finders that FindRemotes uses when it is given none, from core.default-repo-finders:
// "config", "lan", "mount".
//
// C: ostree_repo_get_default_repo_finders
func (r *Repo) DefaultFinders() (names []string) {
	r.with(func(c *C.OstreeRepo) {
		names = copyStrv((**C.char)(unsafe.Pointer(C.ostree_repo_get_default_repo_finders(c))))
	})
	return names
}
