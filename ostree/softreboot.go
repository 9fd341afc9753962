package ostree

// #include "shim_newer.h"
import "C"

import (
	"context"
	"fmt"
	"runtime"
)

// CanSoftReboot reports whether a reboot of user space alone can switch to the deployment: whether it has the kernel and
// the kernel arguments of the booted one. False where nothing is booted. Needs libostree 2025.3.
//
// C: ostree_sysroot_deployment_can_soft_reboot
func (d *Deployment) CanSoftReboot() (bool, error) {
	const op = "can soft reboot"
	fn := symbol(features[FeatureSoftReboot].symbol)
	if fn == nil {
		return false, unsupported(op, FeatureSoftReboot)
	}
	if d.sysroot.BootedDeployment() != nil && d.BootChecksum() == "" { // libostree compares it unseen
		return false, nil
	}
	var can bool
	defer runtime.KeepAlive(d)
	if !d.sysroot.withLoaded(func(c *C.OstreeSysroot) { can = C.shim_sysroot_deployment_bool(fn, c, d.c()) != 0 }) {
		return false, fmt.Errorf("%s: %w", op, ErrNotLoaded)
	}
	return can, nil
}

// IsSoftRebootTarget reports whether the next soft reboot switches to the deployment. Needs libostree 2025.3; false where
// that is missing.
//
// C: ostree_deployment_is_soft_reboot_target
func (d *Deployment) IsSoftRebootTarget() bool {
	fn := symbol("ostree_deployment_is_soft_reboot_target")
	if fn == nil {
		return false
	}
	defer runtime.KeepAlive(d)
	return C.shim_deployment_bool(fn, d.c()) != 0
}

// KernelSkew says whether DeploymentSetSoftReboot takes a deployment with another kernel.
type KernelSkew bool

// Values of KernelSkew.
const (
	RefuseKernelSkew KernelSkew = false
	AllowKernelSkew  KernelSkew = true // the running kernel stays
)

// DeploymentSetSoftReboot mounts a deployment at /run/nextroot, for `systemctl soft-reboot`. It returns ErrNotBooted where this is not the sysroot
// of the running system. Needs libostree 2025.3.
//
// C: ostree_sysroot_deployment_set_soft_reboot
func (s *Sysroot) DeploymentSetSoftReboot(ctx context.Context, d *Deployment, skew KernelSkew) error {
	const op = "prepare soft reboot to"
	fn := symbol("ostree_sysroot_deployment_set_soft_reboot")
	if fn == nil {
		return unsupported(op, FeatureSoftReboot)
	}
	if d == nil {
		return fmt.Errorf("%s: %w: %w", op, ErrInvalidArgument, errNilDeployment)
	}
	if err := s.checkLoaded(op); err != nil {
		return err
	}
	if s.BootedDeployment() == nil {
		return fmt.Errorf("%s: %w", op, ErrNotBooted)
	}
	return s.deploymentOp(ctx, op, d, func(c *C.GCancellable, e **C.GError) C.gboolean {
		return C.shim_sysroot_set_soft_reboot(fn, s.c(), d.c(), gbool(bool(skew)), c, e)
	})
}

// ClearSoftReboot undoes DeploymentSetSoftReboot; without one it does nothing. Needs libostree 2025.3.
//
// C: ostree_sysroot_clear_soft_reboot
func (s *Sysroot) ClearSoftReboot(ctx context.Context) error {
	const op = "clear soft reboot"
	fn := symbol("ostree_sysroot_clear_soft_reboot")
	if fn == nil {
		return unsupported(op, FeatureSoftReboot)
	}
	if err := s.checkLoaded(op); err != nil {
		return err
	}
	return call(ctx, op, func(c *C.GCancellable, e **C.GError) C.gboolean {
		return C.shim_sysroot_update_post_copy(fn, s.c(), c, e)
	}, s.handle())
}

// DeploymentKexecLoad loads the kernel, initramfs and arguments of a deployment for `systemctl kexec`. The kernel
// must allow it. Needs libostree 2025.1.
//
// C: ostree_sysroot_deployment_kexec_load
func (s *Sysroot) DeploymentKexecLoad(ctx context.Context, d *Deployment) error {
	const op = "load kernel into kexec of"
	fn := symbol(features[FeatureKexec].symbol)
	if fn == nil {
		return unsupported(op, FeatureKexec)
	}
	if d != nil && d.BootConfig("options") == "" {
		return fmt.Errorf("%s: %w: deployment has no boot loader entry", op, ErrInvalidArgument)
	}
	return s.deploymentOp(ctx, op, d, func(c *C.GCancellable, e **C.GError) C.gboolean {
		return C.shim_sysroot_deployment_op(fn, s.c(), d.c(), c, e)
	})
}
