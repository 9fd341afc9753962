package ostree

// #include "shim_newer.h"
import "C"

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/ostree-container/ostree-container/keyfile"
)

// ErrLocked is returned by Sysroot.Lock and TryLock when this Sysroot holds the lock already.
var ErrLocked = errors.New("sysroot is locked already")

// Sysroot is a root file system with deployments. Whoever changes it holds its lock. Methods are for one goroutine at a time, except
// Close. It holds file descriptors: Close it.
type Sysroot struct {
	h      handle
	loaded atomic.Bool
	mu     sync.Mutex // guards what follows
	locked bool
	repo   *Repo
}

func (s *Sysroot) handle() *handle {
	if s == nil {
		return nil
	}
	return &s.h
}

func (s *Sysroot) c() *C.OstreeSysroot { return (*C.OstreeSysroot)(s.h.ptr) }

// NewSysroot returns the sysroot at path, "" for that of the running system ("/", or
// $OSTREE_SYSROOT). Nothing is read before Load. The caller closes it.
//
// C: ostree_sysroot_new, ostree_sysroot_new_default
func NewSysroot(path string) (*Sysroot, error) {
	s := &Sysroot{}
	if path == "" {
		s.h.own(unsafe.Pointer(C.ostree_sysroot_new_default()), objectUnref)
		return s, nil
	}
	var a arena
	defer a.free()
	f := newFile(&a, path)
	defer C.g_object_unref(C.gpointer(unsafe.Pointer(f)))
	if a.err != nil {
		return nil, fmt.Errorf("sysroot: %w", a.err)
	}
	s.h.own(unsafe.Pointer(C.ostree_sysroot_new(f)), objectUnref)
	return s, nil
}

// Close gives back the lock, if held, and the file descriptors, after calls under way have ended. It may be called twice.
func (s *Sysroot) Close() error {
	if s == nil {
		return nil
	}
	s.Unlock()
	s.mu.Lock()
	repo := s.repo
	s.repo = nil
	s.mu.Unlock()
	if repo != nil {
		repo.Close()
	}
	s.h.close()
	return nil
}

// with runs fn with the C object held; false after Close.
func (s *Sysroot) with(fn func(*C.OstreeSysroot)) bool {
	h := s.handle()
	p := h.acquire()
	if p == nil {
		return false
	}
	defer h.release()
	fn((*C.OstreeSysroot)(p))
	return true
}

// withLoaded is with for functions that libostree asserts to come after Load.
func (s *Sysroot) withLoaded(fn func(*C.OstreeSysroot)) bool {
	if s == nil || !s.loaded.Load() {
		return false
	}
	return s.with(fn)
}

func (s *Sysroot) checkLoaded(op string) error {
	if s != nil && !s.loaded.Load() {
		return fmt.Errorf("%s: %w", op, ErrNotLoaded)
	}
	return nil
}

// Path returns the path of the sysroot.
//
// C: ostree_sysroot_get_path
func (s *Sysroot) Path() (path string) {
	s.with(func(c *C.OstreeSysroot) { path = filePath(C.ostree_sysroot_get_path(c)) })
	return path
}

// FD returns the descriptor of the sysroot's directory, -1 before Load and after Close. It
// belongs to the Sysroot, and may change with a Load or Lock.
//
// C: ostree_sysroot_get_fd
func (s *Sysroot) FD() int {
	fd := -1
	s.withLoaded(func(c *C.OstreeSysroot) { fd = int(C.ostree_sysroot_get_fd(c)) })
	return fd
}

// Initialize opens the sysroot without reading its deployments.
//
// C: ostree_sysroot_initialize
func (s *Sysroot) Initialize(ctx context.Context) error {
	return callFast(ctx, "initialize sysroot", func(e **C.GError) C.gboolean {
		return C.ostree_sysroot_initialize(s.c(), e)
	}, s.handle())
}

// EnsureInitialized makes ostree/repo (a bare repository) and ostree/deploy in the sysroot where they are missing.
//
// C: ostree_sysroot_ensure_initialized
func (s *Sysroot) EnsureInitialized(ctx context.Context) error {
	return call(ctx, "initialize sysroot "+s.Path(), func(c *C.GCancellable, e **C.GError) C.gboolean {
		return C.ostree_sysroot_ensure_initialized(s.c(), c, e)
	}, s.handle())
}

// Load reads the deployments. It returns ErrNotFound if there is no sysroot at the path.
//
// C: ostree_sysroot_load
func (s *Sysroot) Load(ctx context.Context) error {
	err := call(ctx, "load sysroot "+s.Path(), func(c *C.GCancellable, e **C.GError) C.gboolean {
		return C.ostree_sysroot_load(s.c(), c, e)
	}, s.handle())
	return s.afterLoad(err)
}

// LoadIfChanged is Load if another process changed the sysroot meanwhile; it reports whether.
//
// C: ostree_sysroot_load_if_changed
func (s *Sysroot) LoadIfChanged(ctx context.Context) (bool, error) {
	var changed C.gboolean
	err := call(ctx, "load sysroot "+s.Path(), func(c *C.GCancellable, e **C.GError) C.gboolean {
		return C.ostree_sysroot_load_if_changed(s.c(), &changed, c, e)
	}, s.handle())
	return changed != 0, s.afterLoad(err)
}

func (s *Sysroot) afterLoad(err error) error {
	if s != nil {
		s.loaded.Store(err == nil)
	}
	return err
}

// Unload closes the descriptors of the sysroot's directories, for example before it is unmounted. Load opens them again; until
// then methods behave as before the first Load.
//
// C: ostree_sysroot_unload
func (s *Sysroot) Unload() {
	s.withLoaded(func(c *C.OstreeSysroot) {
		s.loaded.Store(false)
		C.ostree_sysroot_unload(c)
	})
}

// IsBooted reports whether this is the running system's sysroot and it booted from one of its deployments. False before Load.
//
// C: ostree_sysroot_is_booted
func (s *Sysroot) IsBooted() (booted bool) {
	s.withLoaded(func(c *C.OstreeSysroot) { booted = C.ostree_sysroot_is_booted(c) != 0 })
	return booted
}

// BootVersion returns which of the two boot directories is in use, 0 or 1; -1 before Load.
//
// C: ostree_sysroot_get_bootversion
func (s *Sysroot) BootVersion() int {
	v := -1
	s.withLoaded(func(c *C.OstreeSysroot) { v = int(C.ostree_sysroot_get_bootversion(c)) })
	return v
}

// SubBootVersion returns which of the two lists of deployments is in use, 0 or 1; -1 before Load.
//
// C: ostree_sysroot_get_subbootversion
func (s *Sysroot) SubBootVersion() int {
	v := -1
	s.withLoaded(func(c *C.OstreeSysroot) { v = int(C.ostree_sysroot_get_subbootversion(c)) })
	return v
}

// Lock takes the lock against other processes that change the sysroot, waiting for it until ctx ends.
// It returns ErrLocked if this Sysroot holds it. Load again after a wait.
//
// C: ostree_sysroot_try_lock
func (s *Sysroot) Lock(ctx context.Context) error {
	// ostree_sysroot_lock cannot be cancelled.
	for pause := 5 * time.Millisecond; ; pause = min(2*pause, 500*time.Millisecond) {
		ok, err := s.TryLock(ctx)
		if ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("lock sysroot: %w", cancelled(ctx, nil))
		case <-time.After(pause):
		}
	}
}

// TryLock is Lock without waiting: false if another process holds the lock.
//
// C: ostree_sysroot_try_lock
func (s *Sysroot) TryLock(ctx context.Context) (bool, error) {
	const op = "lock sysroot"
	if s == nil {
		return false, fmt.Errorf("%s: %w", op, ErrClosed)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.locked {
		return false, fmt.Errorf("%s: %w", op, ErrLocked)
	}
	var acquired C.gboolean
	err := callFast(ctx, op, func(e **C.GError) C.gboolean {
		return C.ostree_sysroot_try_lock(s.c(), &acquired, e)
	}, s.handle())
	s.locked = err == nil && acquired != 0
	return s.locked, err
}

// Unlock gives the lock back; without the lock it does nothing.
//
// C: ostree_sysroot_unlock
func (s *Sysroot) Unlock() {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.locked {
		s.locked = false
		s.with(func(c *C.OstreeSysroot) { C.ostree_sysroot_unlock(c) })
	}
}

// Repo returns the sysroot's repository, the same value each time. It is closed with the Sysroot.
//
// C: ostree_sysroot_get_repo
func (s *Sysroot) Repo() (*Repo, error) {
	var p *C.OstreeRepo
	err := callFast(context.Background(), "open sysroot repository", func(e **C.GError) C.gboolean {
		return C.ostree_sysroot_get_repo(s.c(), &p, nil, e)
	}, s.handle())
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.repo != nil && s.repo.h.acquire() == unsafe.Pointer(p) {
		s.repo.h.release()
		C.g_object_unref(C.gpointer(unsafe.Pointer(p)))
		return s.repo, nil
	}
	s.repo = wrapRepo(p)
	s.repo.sysroot = s
	return s.repo, nil
}

// InitOSName makes a stateroot: the directories that deployments named so share (var above all). It
// returns ErrExists if it is there.
//
// C: ostree_sysroot_init_osname
func (s *Sysroot) InitOSName(ctx context.Context, name string) error {
	op := "initialize stateroot " + name
	if err := checkStateroot(name); err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	var a arena
	defer a.free()
	cname := a.str(name)
	return call(ctx, op, func(c *C.GCancellable, e **C.GError) C.gboolean {
		return C.ostree_sysroot_init_osname(s.c(), cname, c, e)
	}, s.handle())
}

// OriginNewFromRefspec returns an origin file naming a refspec.
//
// C: ostree_sysroot_origin_new_from_refspec
func (s *Sysroot) OriginNewFromRefspec(refspec string) (*keyfile.File, error) {
	var a arena
	defer a.free()
	cspec := a.str(refspec)
	if a.err != nil {
		return nil, fmt.Errorf("new origin: %w", a.err)
	}
	var k *C.GKeyFile
	if !s.with(func(c *C.OstreeSysroot) { k = C.ostree_sysroot_origin_new_from_refspec(c, cspec) }) {
		return nil, fmt.Errorf("new origin: %w", ErrClosed)
	}
	defer keyFileFree(k)
	return keyFileFromC(k)
}

// PrepareCleanup deletes what is incomplete or no longer named by a boot entry, but not old boot data nor objects.
//
// C: ostree_sysroot_prepare_cleanup
func (s *Sysroot) PrepareCleanup(ctx context.Context) error {
	const op = "prepare cleanup of sysroot"
	if err := s.checkLoaded(op); err != nil {
		return err
	}
	return call(ctx, op, func(c *C.GCancellable, e **C.GError) C.gboolean {
		return C.ostree_sysroot_prepare_cleanup(s.c(), c, e)
	}, s.handle())
}

// Cleanup deletes deployments, boot data and objects that nothing uses.
//
// C: ostree_sysroot_cleanup
func (s *Sysroot) Cleanup(ctx context.Context) error {
	const op = "clean up sysroot"
	if err := s.checkLoaded(op); err != nil {
		return err
	}
	return call(ctx, op, func(c *C.GCancellable, e **C.GError) C.gboolean {
		return C.ostree_sysroot_cleanup(s.c(), c, e)
	}, s.handle())
}

// CleanupPruneRepo deletes the objects of the sysroot's repository that neither refs nor deployments reach (commits only, no parents),
// other than those in keep, which grows by what refs and deployments reach; nil: none. PruneRefsOnly has no meaning here. It holds the
// repository's exclusive lock.
//
// C: ostree_sysroot_cleanup_prune_repo
func (s *Sysroot) CleanupPruneRepo(ctx context.Context, flags PruneFlags, keep *ReachableSet) (PruneStats, error) {
	const op = "prune sysroot repository"
	if err := s.checkLoaded(op); err != nil {
		return PruneStats{}, err
	}
	if keep == nil {
		keep = NewReachableSet()
	}
	var total, pruned C.gint
	var size C.guint64
	err := call(ctx, op, func(c *C.GCancellable, e **C.GError) C.gboolean {
		o := C.OstreeRepoPruneOptions{flags: C.OstreeRepoPruneFlags(flags), reachable: keep.c()}
		return C.ostree_sysroot_cleanup_prune_repo(s.c(), &o, &total, &pruned, &size, c, e)
	}, s.handle(), keep.handle())
	return PruneStats{Total: int(total), Pruned: int(pruned), Size: uint64(size)}, err
}

// UpdatePostCopy fixes up a sysroot that was copied file by file. Needs libostree 2023.8.
//
// C: ostree_sysroot_update_post_copy
func (s *Sysroot) UpdatePostCopy(ctx context.Context) error {
	const op = "update sysroot after copy"
	fn := symbol(features[FeatureUpdatePostCopy].symbol)
	if fn == nil {
		return unsupported(op, FeatureUpdatePostCopy)
	}
	if err := s.checkLoaded(op); err != nil {
		return err
	}
	return call(ctx, op, func(c *C.GCancellable, e **C.GError) C.gboolean {
		return C.shim_sysroot_update_post_copy(fn, s.c(), c, e)
	}, s.handle())
}
