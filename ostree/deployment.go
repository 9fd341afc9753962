package ostree

// #include "shim_newer.h"
import "C"

import (
	"context"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"runtime"
	"strings"
	"unsafe"

	"github.com/ostree-container/ostree-container/keyfile"
)

// Deployment is one bootable checkout of a commit in a Sysroot, as it was when
// the Sysroot was loaded. Methods are for one goroutine at a time.
type Deployment struct {
	h       handle
	sysroot *Sysroot
}

// takeDeployment owns p; nil for NULL.
func (s *Sysroot) takeDeployment(p *C.OstreeDeployment) *Deployment {
	if p == nil {
		return nil
	}
	d := &Deployment{sysroot: s}
	d.h.own(unsafe.Pointer(p), objectUnref)
	return d
}

// refDeployment takes a reference to p, which stays C's.
func (s *Sysroot) refDeployment(p *C.OstreeDeployment) *Deployment {
	if p == nil {
		return nil
	}
	return s.takeDeployment((*C.OstreeDeployment)(C.g_object_ref(C.gpointer(unsafe.Pointer(p)))))
}

func (d *Deployment) c() *C.OstreeDeployment {
	if d == nil {
		return nil
	}
	return (*C.OstreeDeployment)(d.h.ptr)
}

func (d *Deployment) handle() *handle {
	if d == nil {
		return nil
	}
	return &d.h
}

// Deployments returns the deployments in boot order: the default first. Nil before Load.
//
// C: ostree_sysroot_get_deployments
func (s *Sysroot) Deployments() (list []*Deployment) {
	s.withLoaded(func(c *C.OstreeSysroot) {
		a := C.ostree_sysroot_get_deployments(c)
		defer C.g_ptr_array_unref(a)
		for _, p := range unsafe.Slice((*unsafe.Pointer)(unsafe.Pointer(a.pdata)), int(a.len)) {
			list = append(list, s.refDeployment((*C.OstreeDeployment)(p)))
		}
	})
	return list
}

// BootedDeployment returns the deployment that is running, nil if none is, or before Load.
//
// C: ostree_sysroot_get_booted_deployment
func (s *Sysroot) BootedDeployment() (d *Deployment) {
	s.withLoaded(func(c *C.OstreeSysroot) { d = s.refDeployment(C.ostree_sysroot_get_booted_deployment(c)) })
	return d
}

// RequireBootedDeployment is BootedDeployment that returns ErrNotBooted instead of nil, and ErrNotLoaded.
//
// C: ostree_sysroot_require_booted_deployment
func (s *Sysroot) RequireBootedDeployment() (d *Deployment, err error) {
	const op = "find booted deployment"
	if err := s.checkLoaded(op); err != nil {
		return nil, err
	}
	err = callFast(context.Background(), op, func(e **C.GError) C.gboolean {
		d = s.refDeployment(C.ostree_sysroot_require_booted_deployment(s.c(), e))
		return gbool(d != nil)
	}, s.handle())
	if err != nil && !errors.Is(err, ErrClosed) {
		err = fmt.Errorf("%w: %w", ErrNotBooted, err)
	}
	return d, err
}

// StagedDeployment returns the deployment to be finished at shutdown, nil if there is none, or before Load.
//
// C: ostree_sysroot_get_staged_deployment
func (s *Sysroot) StagedDeployment() (d *Deployment) {
	s.withLoaded(func(c *C.OstreeSysroot) { d = s.refDeployment(C.ostree_sysroot_get_staged_deployment(c)) })
	return d
}

// MergeDeployment returns the deployment of a stateroot that a new one takes its /etc and
// kernel arguments from: the booted one, else the pending one, else the first. Nil if there is none, or before Load.
// stateroot "" means the booted one's.
//
// C: ostree_sysroot_get_merge_deployment
func (s *Sysroot) MergeDeployment(stateroot string) (d *Deployment) {
	var a arena
	defer a.free()
	name := a.opt(stateroot)
	if a.err != nil {
		return nil
	}
	s.withLoaded(func(c *C.OstreeSysroot) {
		if name != nil || C.ostree_sysroot_get_booted_deployment(c) != nil {
			d = s.takeDeployment(C.ostree_sysroot_get_merge_deployment(c, name))
		}
	})
	return d
}

// QueryDeploymentsFor returns the first deployment of a stateroot ("": the booted one's)
// before the booted one in boot order, and the first after it; each may be nil. Where the
// stateroot is not booted, pending is its first one, rollback nil.
//
// C: ostree_sysroot_query_deployments_for
func (s *Sysroot) QueryDeploymentsFor(stateroot string) (pending, rollback *Deployment) {
	var a arena
	defer a.free()
	name := a.opt(stateroot)
	if a.err != nil {
		return nil, nil
	}
	s.withLoaded(func(c *C.OstreeSysroot) {
		if name == nil && C.ostree_sysroot_get_booted_deployment(c) == nil {
			return
		}
		var p, r *C.OstreeDeployment
		C.ostree_sysroot_query_deployments_for(c, name, &p, &r)
		pending, rollback = s.takeDeployment(p), s.takeDeployment(r)
	})
	return pending, rollback
}

// DeploymentName is what tells deployments apart, for NewDeployment.
type DeploymentName struct {
	Stateroot    string // osname
	Checksum     string // of the commit, 64 hex digits
	DeploySerial int    // from 0; tells deployments of one commit in one stateroot apart
	BootChecksum string // of kernel and initramfs, 64 hex digits; "" for none
	BootSerial   int    // -1 for one not written yet
	Index        int    // place in boot order; -1 for one not written yet
}

// NewDeployment returns a deployment that is not in the sysroot, for example to compare with, or to find
// paths. Nothing is written.
//
// C: ostree_deployment_new
func (s *Sysroot) NewDeployment(n DeploymentName) (*Deployment, error) {
	const op = "new deployment"
	err := errors.Join(checkStateroot(n.Stateroot), ValidateChecksum(n.Checksum))
	if n.BootChecksum != "" {
		err = errors.Join(err, ValidateChecksum(n.BootChecksum))
	}
	for _, i := range []int{n.DeploySerial, n.BootSerial + 1, n.Index + 1} {
		if i < 0 || i > math.MaxInt32 {
			err = errors.Join(err, fmt.Errorf("%w: number out of range in %+v", ErrInvalidArgument, n))
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", op, err)
	}
	var a arena
	defer a.free()
	return s.takeDeployment(C.ostree_deployment_new(C.int(n.Index), a.str(n.Stateroot), a.str(n.Checksum),
		C.int(n.DeploySerial), a.opt(n.BootChecksum), C.int(n.BootSerial))), nil
}

// SetIndex changes the place in boot order, in memory.
//
// C: ostree_deployment_set_index
func (d *Deployment) SetIndex(i int) {
	defer runtime.KeepAlive(d)
	C.ostree_deployment_set_index(d.c(), C.int(max(-1, min(i, math.MaxInt32))))
}

// SetBootSerial changes the boot serial, in memory; -1 for none.
//
// C: ostree_deployment_set_bootserial
func (d *Deployment) SetBootSerial(n int) {
	defer runtime.KeepAlive(d)
	C.ostree_deployment_set_bootserial(d.c(), C.int(max(-1, min(n, math.MaxInt32))))
}

// Index returns the place in boot order, from 0; -1 for one not written yet.
//
// C: ostree_deployment_get_index
func (d *Deployment) Index() int {
	defer runtime.KeepAlive(d)
	return int(C.ostree_deployment_get_index(d.c()))
}

// Stateroot returns the name of the group of deployments that share /var (osname).
//
// C: ostree_deployment_get_osname
func (d *Deployment) Stateroot() string {
	defer runtime.KeepAlive(d)
	return C.GoString(C.ostree_deployment_get_osname(d.c()))
}

// Checksum returns the commit, 64 hex digits.
//
// C: ostree_deployment_get_csum
func (d *Deployment) Checksum() string {
	defer runtime.KeepAlive(d)
	return C.GoString(C.ostree_deployment_get_csum(d.c()))
}

// BootChecksum returns the checksum of kernel and initramfs, 64 hex digits; "" for one of NewDeployment that was given none.
//
// C: ostree_deployment_get_bootcsum
func (d *Deployment) BootChecksum() string {
	defer runtime.KeepAlive(d)
	if p := C.ostree_deployment_get_bootcsum(d.c()); p != nil {
		return C.GoString(p)
	}
	return ""
}

// DeploySerial tells deployments of one commit in one stateroot apart, from 0.
//
// C: ostree_deployment_get_deployserial
func (d *Deployment) DeploySerial() int {
	defer runtime.KeepAlive(d)
	return int(C.ostree_deployment_get_deployserial(d.c()))
}

// BootSerial tells deployments with one BootChecksum apart; -1 for one not written yet.
//
// C: ostree_deployment_get_bootserial
func (d *Deployment) BootSerial() int {
	defer runtime.KeepAlive(d)
	return int(C.ostree_deployment_get_bootserial(d.c()))
}

// IsStaged reports whether the deployment is to be finished at shutdown.
//
// C: ostree_deployment_is_staged
func (d *Deployment) IsStaged() bool {
	defer runtime.KeepAlive(d)
	return C.ostree_deployment_is_staged(d.c()) != 0
}

// IsPinned reports whether SimpleWriteDeployment and cleanup keep the deployment.
//
// C: ostree_deployment_is_pinned
func (d *Deployment) IsPinned() bool {
	defer runtime.KeepAlive(d)
	return C.ostree_deployment_is_pinned(d.c()) != 0
}

// IsBooted reports whether the deployment is the running one.
func (d *Deployment) IsBooted() bool { return d.Equal(d.sysroot.BootedDeployment()) }

// Equal reports whether both have the same stateroot, commit and serial. Nil equals nothing.
//
// C: ostree_deployment_equal
func (d *Deployment) Equal(o *Deployment) bool {
	if d == nil || o == nil {
		return false
	}
	defer runtime.KeepAlive(d)
	defer runtime.KeepAlive(o)
	return C.ostree_deployment_equal(C.gconstpointer(d.c()), C.gconstpointer(o.c())) != 0
}

// Hash returns the hash that libostree's tables of deployments use: that of the stateroot. Path is a key for Go's maps.
//
// C: ostree_deployment_hash
func (d *Deployment) Hash() uint32 {
	defer runtime.KeepAlive(d)
	return uint32(C.ostree_deployment_hash(C.gconstpointer(d.c())))
}

// Clone returns a copy that can be changed without touching what the Sysroot holds.
//
// C: ostree_deployment_clone
func (d *Deployment) Clone() *Deployment {
	defer runtime.KeepAlive(d)
	return d.sysroot.takeDeployment(C.ostree_deployment_clone(d.c()))
}

// Path returns the deployment's directory relative to the sysroot, "ostree/deploy/NAME/deploy/CHECKSUM.SERIAL".
//
// C: ostree_sysroot_get_deployment_dirpath
func (d *Deployment) Path() (path string) {
	defer runtime.KeepAlive(d)
	d.sysroot.with(func(c *C.OstreeSysroot) {
		path = takeString(C.ostree_sysroot_get_deployment_dirpath(c, d.c()))
	})
	return path
}

// Dir returns the deployment's directory with the sysroot's path before it. Prefer Path with Sysroot.FD where
// the sysroot may be moved.
//
// C: ostree_sysroot_get_deployment_directory
func (d *Deployment) Dir() (dir string) {
	defer runtime.KeepAlive(d)
	d.sysroot.with(func(c *C.OstreeSysroot) {
		f := C.ostree_sysroot_get_deployment_directory(c, d.c())
		defer C.g_object_unref(C.gpointer(unsafe.Pointer(f)))
		dir = filePath(f)
	})
	return dir
}

// DeploymentOriginPath returns the path of the origin file of the deployment in the directory dir.
//
// C: ostree_sysroot_get_deployment_origin_path
func DeploymentOriginPath(dir string) (string, error) {
	var a arena
	defer a.free()
	f := newFile(&a, dir)
	defer C.g_object_unref(C.gpointer(unsafe.Pointer(f)))
	if a.err != nil || filepath.Dir(filepath.Clean(dir)) == filepath.Clean(dir) { // the root has no parent
		return "", fmt.Errorf("path of origin: %w: %q", ErrInvalidArgument, dir)
	}
	o := C.ostree_sysroot_get_deployment_origin_path(f)
	defer C.g_object_unref(C.gpointer(unsafe.Pointer(o)))
	return filePath(o), nil
}

// OriginPath returns the path of the origin file relative to the sysroot.
//
// C: ostree_deployment_get_origin_relpath
func (d *Deployment) OriginPath() string {
	defer runtime.KeepAlive(d)
	return takeString(C.ostree_deployment_get_origin_relpath(d.c()))
}

// Origin returns a copy of the origin, nil if there is none.
//
// C: ostree_deployment_get_origin
func (d *Deployment) Origin() (*keyfile.File, error) {
	defer runtime.KeepAlive(d)
	f, err := keyFileFromC(C.ostree_deployment_get_origin(d.c()))
	if err != nil {
		return nil, fmt.Errorf("origin of %s: %w", d.Path(), err)
	}
	return f, nil
}

// SetOrigin replaces the origin in memory; nil removes it. Sysroot.WriteOriginFile writes it.
//
// C: ostree_deployment_set_origin
func (d *Deployment) SetOrigin(origin *keyfile.File) error {
	k, err := keyFileToC(origin)
	if err != nil {
		return fmt.Errorf("set origin: %w", err)
	}
	defer keyFileFree(k)
	defer runtime.KeepAlive(d)
	C.ostree_deployment_set_origin(d.c(), k)
	return nil
}

// RemoveTransientState deletes from an origin what is not carried over to the next deployment: the group
// "libostree-transient", and "unlocked" and "override-commit" of the group "origin". The result is a copy, in GLib's layout.
//
// C: ostree_deployment_origin_remove_transient_state
func RemoveTransientState(origin *keyfile.File) (*keyfile.File, error) {
	const op = "remove transient state of origin"
	k, err := keyFileToC(origin)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", op, err)
	}
	if k == nil {
		return nil, nil
	}
	defer keyFileFree(k)
	C.ostree_deployment_origin_remove_transient_state(k)
	return keyFileFromC(k)
}

// BootConfig returns a key of the boot loader entry ("title", "options", "linux", "initrd", ...); "" if it is not there.
//
// C: ostree_deployment_get_bootconfig, ostree_bootconfig_parser_get
func (d *Deployment) BootConfig(key string) string {
	var a arena
	defer a.free()
	ckey := a.str(key)
	defer runtime.KeepAlive(d)
	b := C.ostree_deployment_get_bootconfig(d.c())
	if b == nil || a.err != nil {
		return ""
	}
	if p := C.ostree_bootconfig_parser_get(b, ckey); p != nil {
		return C.GoString(p)
	}
	return ""
}

// KernelArgs returns the kernel arguments of the boot loader entry.
func (d *Deployment) KernelArgs() *KernelArgs { return ParseKernelArgs(d.BootConfig("options")) }

// UnlockedState says whether and how /usr of a deployment may be changed.
type UnlockedState int

// Values of UnlockedState.
const (
	UnlockedNone        UnlockedState = C.OSTREE_DEPLOYMENT_UNLOCKED_NONE        // read-only
	UnlockedDevelopment UnlockedState = C.OSTREE_DEPLOYMENT_UNLOCKED_DEVELOPMENT // writable, dropped at reboot
	UnlockedHotfix      UnlockedState = C.OSTREE_DEPLOYMENT_UNLOCKED_HOTFIX      // writable, kept over reboots
	UnlockedTransient   UnlockedState = C.OSTREE_DEPLOYMENT_UNLOCKED_TRANSIENT   // writable in a mount namespace of its own
)

// String returns libostree's name of the state.
//
// C: ostree_deployment_unlocked_state_to_string
func (u UnlockedState) String() string {
	if u < UnlockedNone || u > UnlockedTransient {
		return fmt.Sprintf("UnlockedState(%d)", int(u))
	}
	return C.GoString(C.ostree_deployment_unlocked_state_to_string(C.OstreeDeploymentUnlockedState(u)))
}

// UnlockedState says whether and how /usr of the deployment is writable.
//
// C: ostree_deployment_get_unlocked
func (d *Deployment) UnlockedState() UnlockedState {
	defer runtime.KeepAlive(d)
	return UnlockedState(C.ostree_deployment_get_unlocked(d.c()))
}

// IsFinalizationLocked reports whether a staged deployment is kept from being finished at shutdown. Needs
// libostree 2023.8; false where that is missing.
//
// C: ostree_deployment_is_finalization_locked
func (d *Deployment) IsFinalizationLocked() bool {
	fn := symbol("ostree_deployment_is_finalization_locked")
	if fn == nil {
		return false
	}
	defer runtime.KeepAlive(d)
	return C.shim_deployment_bool(fn, d.c()) != 0
}

// checkStateroot refuses names that would not be one directory.
func checkStateroot(name string) error {
	if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\x00") {
		return fmt.Errorf("%w: stateroot %q", ErrInvalidArgument, name)
	}
	return nil
}

var errNilDeployment = errors.New("no deployment")

// deploymentOp enters C for a method of the sysroot on one deployment.
func (s *Sysroot) deploymentOp(ctx context.Context, op string, d *Deployment, fn func(*C.GCancellable, **C.GError) C.gboolean) error {
	if d == nil {
		return fmt.Errorf("%s: %w: %w", op, ErrInvalidArgument, errNilDeployment)
	}
	if err := s.checkLoaded(op); err != nil {
		return err
	}
	return call(ctx, op+" "+d.Path(), fn, s.handle(), d.handle())
}
