package ostree

// #include "shim.h"
import "C"

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"unsafe"
)

// Mode is how a repository stores file content.
type Mode int

// Modes of a repository.
const (
	ModeBare            Mode = C.OSTREE_REPO_MODE_BARE              // files with their owner, mode and xattrs; needs root
	ModeArchive         Mode = C.OSTREE_REPO_MODE_ARCHIVE           // compressed, for serving over HTTP
	ModeBareUser        Mode = C.OSTREE_REPO_MODE_BARE_USER         // metadata in a user xattr; works without root
	ModeBareUserOnly    Mode = C.OSTREE_REPO_MODE_BARE_USER_ONLY    // no owner, no xattrs, limited modes
	ModeBareSplitXattrs Mode = C.OSTREE_REPO_MODE_BARE_SPLIT_XATTRS // xattrs in objects of their own; libostree does not write it
)

var modeNames = map[Mode]string{
	ModeBare:            "bare",
	ModeArchive:         "archive-z2",
	ModeBareUser:        "bare-user",
	ModeBareUserOnly:    "bare-user-only",
	ModeBareSplitXattrs: "bare-split-xattrs",
}

// String returns the name used in a repository's config, for example "bare-user".
func (m Mode) String() string {
	if s, ok := modeNames[m]; ok {
		return s
	}
	return fmt.Sprintf("Mode(%d)", int(m))
}

// ParseMode is the reverse of Mode.String; "archive" is accepted too. Errors match ErrInvalidArgument.
//
// C: ostree_repo_mode_from_string
func ParseMode(s string) (Mode, error) {
	var a arena
	defer a.free()
	cs := a.str(s)
	var m C.OstreeRepoMode
	if a.err != nil || C.ostree_repo_mode_from_string(cs, &m, nil) == 0 {
		return 0, fmt.Errorf("%w: repository mode %q", ErrInvalidArgument, s)
	}
	return Mode(m), nil
}

// Repo is an open repository. Methods may be called from several goroutines
// unless they say otherwise. It holds file descriptors: Close it.
type Repo struct {
	h       handle
	inTxn   atomic.Bool
	sysroot *Sysroot // keeps alive what libostree points back to
}

func (r *Repo) handle() *handle {
	if r == nil {
		return nil
	}
	return &r.h
}

func (r *Repo) c() *C.OstreeRepo { return (*C.OstreeRepo)(r.h.ptr) }

func wrapRepo(p *C.OstreeRepo) *Repo {
	r := &Repo{}
	r.h.own(unsafe.Pointer(p), objectUnref)
	return r
}

// OpenRepo opens the repository at path. It returns ErrNotFound if there is none. The caller closes it.
//
// C: ostree_repo_new, ostree_repo_open
func OpenRepo(ctx context.Context, path string) (*Repo, error) {
	r, err := newRepo(path)
	if err != nil {
		return nil, err
	}
	err = call(ctx, "open repository "+path, func(c *C.GCancellable, e **C.GError) C.gboolean {
		return C.ostree_repo_open(r.c(), c, e)
	}, r.handle())
	if err != nil {
		r.h.close()
		return nil, err
	}
	return r, nil
}

// CreateRepo makes a repository at path, and the last component of path where it is missing,
// and opens it. An existing repository of any mode is opened as it is. The caller closes it.
//
// C: ostree_repo_create
func CreateRepo(ctx context.Context, path string, mode Mode) (*Repo, error) {
	if _, ok := modeNames[mode]; !ok {
		return nil, fmt.Errorf("create repository %s: %w: %v", path, ErrInvalidArgument, mode)
	}
	r, err := newRepo(path)
	if err != nil {
		return nil, err
	}
	err = call(ctx, "create repository "+path, func(c *C.GCancellable, e **C.GError) C.gboolean {
		return C.ostree_repo_create(r.c(), C.OstreeRepoMode(mode), c, e)
	}, r.handle())
	if err != nil {
		r.h.close()
		return nil, err
	}
	return r, nil
}

func newRepo(path string) (*Repo, error) {
	var a arena
	defer a.free()
	f := newFile(&a, path)
	defer C.g_object_unref(C.gpointer(unsafe.Pointer(f)))
	if a.err != nil || path == "" {
		return nil, fmt.Errorf("repository path %q: %w", path, ErrInvalidArgument)
	}
	return wrapRepo(C.ostree_repo_new(f)), nil
}

// Close releases the repository and its file descriptors, after calls under way have ended. An
// open transaction is to be aborted first. It may be called twice. Close of a Repo that a
// Sysroot returned leaves the sysroot's own open.
func (r *Repo) Close() error {
	if r == nil {
		return nil
	}
	r.h.close()
	return nil
}

// with runs fn with the C object held; false after Close.
func (r *Repo) with(fn func(*C.OstreeRepo)) bool {
	h := r.handle()
	p := h.acquire()
	if p == nil {
		return false
	}
	defer h.release()
	fn((*C.OstreeRepo)(p))
	return true
}

// Path returns the path of the repository directory, "" after Close.
//
// C: ostree_repo_get_path
func (r *Repo) Path() (path string) {
	r.with(func(c *C.OstreeRepo) {
		path = filePath(C.ostree_repo_get_path(c))
		// A repository opened below a descriptor, as a Sysroot's is, knows that only.
		if strings.HasPrefix(path, "/proc/self/fd/") {
			if p, err := os.Readlink(strings.TrimSuffix(path, "/.")); err == nil {
				path = p
			}
		}
	})
	return path
}

// FD returns the descriptor of the repository directory, -1 after Close. It
// belongs to the Repo: do not close it, nor use it after the Repo.
//
// C: ostree_repo_get_dfd
func (r *Repo) FD() int {
	fd := -1
	r.with(func(c *C.OstreeRepo) { fd = int(C.ostree_repo_get_dfd(c)) })
	return fd
}

// Mode returns the mode, -1 after Close.
//
// C: ostree_repo_get_mode
func (r *Repo) Mode() Mode {
	m := Mode(-1)
	r.with(func(c *C.OstreeRepo) { m = Mode(C.ostree_repo_get_mode(c)) })
	return m
}

// IsSystem reports whether it is the repository of the running system or of a sysroot.
//
// C: ostree_repo_is_system
func (r *Repo) IsSystem() (is bool) {
	r.with(func(c *C.OstreeRepo) { is = C.ostree_repo_is_system(c) != 0 })
	return is
}

// IsWritable returns nil if the repository can be written to, and why not
// otherwise (ErrPermission, ErrReadOnly, ...).
//
// C: ostree_repo_is_writable
func (r *Repo) IsWritable(ctx context.Context) error {
	return callFast(ctx, "check that repository is writable", func(e **C.GError) C.gboolean {
		return C.ostree_repo_is_writable(r.c(), e)
	}, r.handle())
}

// Equal reports whether the two are the same directory.
//
// C: ostree_repo_equal
func (r *Repo) Equal(other *Repo) (eq bool) {
	r.with(func(a *C.OstreeRepo) {
		other.with(func(b *C.OstreeRepo) { eq = C.ostree_repo_equal(a, b) != 0 })
	})
	return eq
}

// Parent returns the repository that objects missing here are looked up in
// (core.parent), nil if there is none. The caller closes it.
//
// C: ostree_repo_get_parent
func (r *Repo) Parent() (parent *Repo) {
	r.with(func(c *C.OstreeRepo) {
		if p := C.ostree_repo_get_parent(c); p != nil {
			parent = wrapRepo((*C.OstreeRepo)(C.g_object_ref(C.gpointer(unsafe.Pointer(p)))))
		}
	})
	return parent
}

// SetDisableFsync turns syncing of written objects off (true) or on, for this Repo. Not while a transaction is open.
//
// C: ostree_repo_set_disable_fsync
func (r *Repo) SetDisableFsync(disable bool) {
	r.with(func(c *C.OstreeRepo) { C.ostree_repo_set_disable_fsync(c, gbool(disable)) })
}

// DisableFsync reports what SetDisableFsync or the config (core.fsync) chose.
//
// C: ostree_repo_get_disable_fsync
func (r *Repo) DisableFsync() (disabled bool) {
	r.with(func(c *C.OstreeRepo) { disabled = C.ostree_repo_get_disable_fsync(c) != 0 })
	return disabled
}

// MinFreeSpaceBytes returns how many bytes of the file system libostree keeps free (core.min-free-space-*).
//
// C: ostree_repo_get_min_free_space_bytes
func (r *Repo) MinFreeSpaceBytes(ctx context.Context) (uint64, error) {
	var n C.guint64
	err := callFast(ctx, "read min-free-space", func(e **C.GError) C.gboolean {
		return C.ostree_repo_get_min_free_space_bytes(r.c(), &n, e)
	}, r.handle())
	return uint64(n), err
}

// CollectionID returns the collection ID of the config, "" if there is none.
//
// C: ostree_repo_get_collection_id
func (r *Repo) CollectionID() (id string) {
	r.with(func(c *C.OstreeRepo) {
		if p := C.ostree_repo_get_collection_id(c); p != nil {
			id = C.GoString((*C.char)(p))
		}
	})
	return id
}

// Bootloader returns sysroot.bootloader of the config: "auto", "none", "grub2", ...
//
// C: ostree_repo_get_bootloader
func (r *Repo) Bootloader() (name string) {
	r.with(func(c *C.OstreeRepo) { name = C.GoString((*C.char)(C.ostree_repo_get_bootloader(c))) })
	return name
}
