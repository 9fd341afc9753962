package ostree

// #include "shim_newer.h"
import "C"

import (
	"context"
	"fmt"
	"unsafe"

	"github.com/ostree-container/ostree-container/keyfile"
)

// DeployTreeOptions are the options of DeployTreeWithOptions and StageTreeWithOptions; nil is the zero value.
type DeployTreeOptions struct {
	// OverrideKernelArgv replaces the whole kernel command line. Nil: taken from the merge
	// deployment. Empty but not nil: no arguments.
	OverrideKernelArgv []string
	// OverlayInitrds are checksums that StageOverlayInitrd returned.
	OverlayInitrds []string
	// Locked keeps a staged deployment from being finished at shutdown, until ChangeFinalization. Needs libostree 2023.8.
	Locked bool
}

// DeployTreeWithOptions checks a commit out as a new deployment of a stateroot ("": the booted one's), to be
// put in boot order by SimpleWriteDeployment or WriteDeployments. Its /etc and kernel arguments are merged from the deployment merge; nil: /etc is
// the commit's. A nil origin is none: nothing is taken over from merge. Stopping halfway leaves a directory that Cleanup deletes.
//
// C: ostree_sysroot_deploy_tree, ostree_sysroot_deploy_tree_with_options
func (s *Sysroot) DeployTreeWithOptions(ctx context.Context, stateroot, commit string, origin *keyfile.File, merge *Deployment, opts *DeployTreeOptions) (*Deployment, error) {
	return s.deployTree(ctx, 0, "deploy", stateroot, commit, origin, merge, opts)
}

// StageTreeWithOptions is DeployTreeWithOptions on a booted system: /etc is merged and the
// boot order changed when the system shuts down.
//
// C: ostree_sysroot_stage_tree, ostree_sysroot_stage_tree_with_options
func (s *Sysroot) StageTreeWithOptions(ctx context.Context, stateroot, commit string, origin *keyfile.File, merge *Deployment, opts *DeployTreeOptions) (*Deployment, error) {
	return s.deployTree(ctx, 1, "stage", stateroot, commit, origin, merge, opts)
}

func (s *Sysroot) deployTree(ctx context.Context, stage C.gboolean, verb, stateroot, commit string, origin *keyfile.File, merge *Deployment, opts *DeployTreeOptions) (*Deployment, error) {
	op := fmt.Sprintf("%s commit %s in stateroot %s", verb, commit, stateroot)
	if opts == nil {
		opts = &DeployTreeOptions{}
	}
	if opts.Locked && !Supports(FeatureFinalizationLock) {
		return nil, unsupported(op, FeatureFinalizationLock)
	}
	if err := ValidateChecksum(commit); err != nil {
		return nil, fmt.Errorf("%s: %w", op, err)
	}
	if err := s.checkLoaded(op); err != nil {
		return nil, err
	}
	if stateroot == "" && s.BootedDeployment() == nil {
		return nil, fmt.Errorf("%s: %w: no stateroot, and nothing is booted", op, ErrInvalidArgument)
	}
	if stateroot != "" {
		if err := checkStateroot(stateroot); err != nil {
			return nil, fmt.Errorf("%s: %w", op, err)
		}
	}
	var a arena
	defer a.free()
	name, csum, kargs, initrds := a.opt(stateroot), a.str(commit), a.strv(opts.OverrideKernelArgv), a.strv(opts.OverlayInitrds)
	if a.err != nil {
		return nil, fmt.Errorf("%s: %w", op, a.err)
	}
	k, err := keyFileToC(origin)
	if err != nil {
		return nil, fmt.Errorf("%s: origin: %w", op, err)
	}
	defer keyFileFree(k)
	owners := []*handle{s.handle()}
	if merge != nil {
		owners = append(owners, merge.handle())
	}
	var out *C.OstreeDeployment
	err = call(ctx, op, func(c *C.GCancellable, e **C.GError) C.gboolean {
		return C.shim_deploy_tree(s.c(), stage, name, csum, k, merge.c(), kargs, initrds, gbool(opts.Locked), &out, c, e)
	}, owners...)
	if err != nil {
		return nil, err
	}
	return s.takeDeployment(out), nil
}

// SimpleWriteFlags choose which deployments SimpleWriteDeployment keeps; they combine.
type SimpleWriteFlags int

// Flags of SimpleWriteDeployment.
const (
	SimpleWriteNone           SimpleWriteFlags = C.OSTREE_SYSROOT_SIMPLE_WRITE_DEPLOYMENT_FLAGS_NONE            // new one first; keep booted, merge, pinned and other stateroots'
	SimpleWriteRetain         SimpleWriteFlags = C.OSTREE_SYSROOT_SIMPLE_WRITE_DEPLOYMENT_FLAGS_RETAIN          // keep all
	SimpleWriteNotDefault     SimpleWriteFlags = C.OSTREE_SYSROOT_SIMPLE_WRITE_DEPLOYMENT_FLAGS_NOT_DEFAULT     // put it after the booted or merge one
	SimpleWriteNoClean        SimpleWriteFlags = C.OSTREE_SYSROOT_SIMPLE_WRITE_DEPLOYMENT_FLAGS_NO_CLEAN        // no Cleanup afterwards
	SimpleWriteRetainPending  SimpleWriteFlags = C.OSTREE_SYSROOT_SIMPLE_WRITE_DEPLOYMENT_FLAGS_RETAIN_PENDING  // keep those before the booted one
	SimpleWriteRetainRollback SimpleWriteFlags = C.OSTREE_SYSROOT_SIMPLE_WRITE_DEPLOYMENT_FLAGS_RETAIN_ROLLBACK // keep those after the booted one
)

// SimpleWriteDeployment puts a new deployment in boot order. Those of its stateroot that the flags do not keep are gone with the next Cleanup,
// which follows unless the flags say otherwise. stateroot "" is the booted one's; where nothing is booted, deployments of all stateroots go.
// merge, which may be nil, is kept.
//
// C: ostree_sysroot_simple_write_deployment
func (s *Sysroot) SimpleWriteDeployment(ctx context.Context, stateroot string, d, merge *Deployment, flags SimpleWriteFlags) error {
	var a arena
	defer a.free()
	name := a.opt(stateroot)
	if a.err != nil {
		return fmt.Errorf("write deployment: %w", a.err)
	}
	if merge != nil {
		h := merge.handle()
		h.acquire()
		defer h.release()
	}
	return s.deploymentOp(ctx, "write deployment", d, func(c *C.GCancellable, e **C.GError) C.gboolean {
		return C.ostree_sysroot_simple_write_deployment(s.c(), name, d.c(), merge.c(), C.OstreeSysrootSimpleWriteDeploymentFlags(flags), c, e)
	})
}

// WriteDeploymentsOptions are the options of WriteDeployments; nil is the zero value.
type WriteDeploymentsOptions struct {
	NoPostClean           bool // do not run Cleanup afterwards
	DisableAutoEarlyPrune bool // do not delete old boot data first when /boot is full. Needs libostree 2023.8
}

// WriteDeployments makes list the deployments, in boot order. Those left out are gone with the next Cleanup.
//
// C: ostree_sysroot_write_deployments, ostree_sysroot_write_deployments_with_options
func (s *Sysroot) WriteDeployments(ctx context.Context, list []*Deployment, opts *WriteDeploymentsOptions) error {
	const op = "write deployments"
	if opts == nil {
		opts = &WriteDeploymentsOptions{}
	}
	if opts.DisableAutoEarlyPrune && !Supports(FeatureEarlyPruneControl) {
		return unsupported(op, FeatureEarlyPruneControl)
	}
	if err := s.checkLoaded(op); err != nil {
		return err
	}
	var a arena
	defer a.free()
	owners := []*handle{s.handle()}
	arr := (**C.OstreeDeployment)(C.calloc(C.size_t(len(list)+1), C.size_t(unsafe.Sizeof(uintptr(0)))))
	a.ptrs = append(a.ptrs, unsafe.Pointer(arr))
	for i, d := range list {
		if d == nil {
			return fmt.Errorf("%s: %w: %w", op, ErrInvalidArgument, errNilDeployment)
		}
		unsafe.Slice(arr, len(list))[i] = d.c()
		owners = append(owners, d.handle())
	}
	return call(ctx, op, func(c *C.GCancellable, e **C.GError) C.gboolean {
		return C.shim_write_deployments(s.c(), arr, C.size_t(len(list)), gbool(!opts.NoPostClean), gbool(opts.DisableAutoEarlyPrune), c, e)
	}, owners...)
}

// WriteOriginFile writes a deployment's origin file; nil writes the one in memory (SetOrigin). What is in memory stays as it is.
//
// C: ostree_sysroot_write_origin_file
func (s *Sysroot) WriteOriginFile(ctx context.Context, d *Deployment, origin *keyfile.File) error {
	const op = "write origin of"
	k, err := keyFileToC(origin)
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	defer keyFileFree(k)
	return s.deploymentOp(ctx, op, d, func(c *C.GCancellable, e **C.GError) C.gboolean {
		return C.ostree_sysroot_write_origin_file(s.c(), d.c(), k, c, e)
	})
}

// DeploymentSetKargs replaces the kernel arguments of a deployment and writes the boot order again. Each of args is "key" or "key=value".
//
// C: ostree_sysroot_deployment_set_kargs
func (s *Sysroot) DeploymentSetKargs(ctx context.Context, d *Deployment, args []string) error {
	const op = "set kernel arguments of"
	var a arena
	defer a.free()
	cargs := a.strv(append([]string{}, args...))
	if a.err != nil {
		return fmt.Errorf("%s: %w", op, a.err)
	}
	return s.deploymentOp(ctx, op, d, func(c *C.GCancellable, e **C.GError) C.gboolean {
		return C.ostree_sysroot_deployment_set_kargs(s.c(), d.c(), cargs, c, e)
	})
}

// DeploymentSetKargsInPlace replaces the kernel arguments by the command line args in the boot loader entry itself.
//
// C: ostree_sysroot_deployment_set_kargs_in_place
func (s *Sysroot) DeploymentSetKargsInPlace(ctx context.Context, d *Deployment, args string) error {
	const op = "set kernel arguments of"
	var a arena
	defer a.free()
	cargs := a.str(args)
	if a.err != nil {
		return fmt.Errorf("%s: %w", op, a.err)
	}
	return s.deploymentOp(ctx, op, d, func(c *C.GCancellable, e **C.GError) C.gboolean {
		return C.ostree_sysroot_deployment_set_kargs_in_place(s.c(), d.c(), cargs, c, e)
	})
}

// Pinning is the argument of DeploymentSetPinned.
type Pinning bool

// Values of Pinning.
const (
	Unpinned Pinning = false
	Pinned   Pinning = true
)

// DeploymentSetPinned makes SimpleWriteDeployment keep a deployment, or no longer. A staged one cannot be pinned.
//
// C: ostree_sysroot_deployment_set_pinned
func (s *Sysroot) DeploymentSetPinned(ctx context.Context, d *Deployment, p Pinning) error {
	return s.deploymentOp(ctx, "pin", d, func(_ *C.GCancellable, e **C.GError) C.gboolean {
		return C.ostree_sysroot_deployment_set_pinned(s.c(), d.c(), gbool(bool(p)), e)
	})
}

// Mutability is the argument of DeploymentSetMutable.
type Mutability bool

// Values of Mutability.
const (
	Immutable Mutability = false
	Mutable   Mutability = true
)

// DeploymentSetMutable takes the immutable flag off a deployment's root directory, or puts it back.
//
// C: ostree_sysroot_deployment_set_mutable
func (s *Sysroot) DeploymentSetMutable(ctx context.Context, d *Deployment, m Mutability) error {
	return s.deploymentOp(ctx, "set mutability of", d, func(c *C.GCancellable, e **C.GError) C.gboolean {
		return C.ostree_sysroot_deployment_set_mutable(s.c(), d.c(), gbool(bool(m)), c, e)
	})
}

// DeploymentUnlock makes /usr of a deployment writable. state is not UnlockedNone.
//
// C: ostree_sysroot_deployment_unlock
func (s *Sysroot) DeploymentUnlock(ctx context.Context, d *Deployment, state UnlockedState) error {
	if state <= UnlockedNone || state > UnlockedTransient {
		return fmt.Errorf("unlock: %w: %v", ErrInvalidArgument, state)
	}
	return s.deploymentOp(ctx, "unlock", d, func(c *C.GCancellable, e **C.GError) C.gboolean {
		return C.ostree_sysroot_deployment_unlock(s.c(), d.c(), C.OstreeDeploymentUnlockedState(state), c, e)
	})
}

// StageOverlayInitrd stores the initrd behind a descriptor, which stays the caller's, for DeployTreeOptions.OverlayInitrds.
//
// C: ostree_sysroot_stage_overlay_initrd
func (s *Sysroot) StageOverlayInitrd(ctx context.Context, fd int) (checksum string, err error) {
	const op = "stage overlay initrd"
	if fd < 0 {
		return "", fmt.Errorf("%s: %w: descriptor %d", op, ErrInvalidArgument, fd)
	}
	var out *C.char
	err = call(ctx, op, func(c *C.GCancellable, e **C.GError) C.gboolean {
		return C.ostree_sysroot_stage_overlay_initrd(s.c(), C.int(fd), &out, c, e)
	}, s.handle())
	return takeString(out), err
}

// ChangeFinalization locks a staged deployment against being finished at shutdown, or unlocks a
// locked one; one that is not staged is an error. Needs libostree 2023.8.
//
// C: ostree_sysroot_change_finalization
func (s *Sysroot) ChangeFinalization(ctx context.Context, d *Deployment) error {
	const op = "change finalization of"
	fn := symbol(features[FeatureFinalizationLock].symbol)
	if fn == nil {
		return unsupported(op, FeatureFinalizationLock)
	}
	if d != nil && !d.IsStaged() { // libostree aborts
		return fmt.Errorf("%s %s: %w: not staged", op, d.Path(), ErrInvalidArgument)
	}
	return s.deploymentOp(ctx, op, d, func(_ *C.GCancellable, e **C.GError) C.gboolean {
		return C.shim_sysroot_change_finalization(fn, s.c(), d.c(), e)
	})
}
