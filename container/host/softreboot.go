package host

import (
	"context"
	"errors"
	"fmt"

	"github.com/ostree-container/ostree-container/ostree"
)

// SoftReboot says whether a new deployment is made the target of the next soft reboot (`systemctl soft-reboot`).
type SoftReboot string

// Values of SoftReboot.
const (
	SoftRebootNone     SoftReboot = ""
	SoftRebootAuto     SoftReboot = "auto"     // where that is possible
	SoftRebootRequired SoftReboot = "required" // that it is not possible is an error (ErrSoftReboot, ostree.ErrUnsupported)
)

// softReboot makes what is staged the target of the next soft reboot, if that is asked for. The caller holds the lock of the sysroot, and
// has since it staged or unlocked it.
func softReboot(ctx context.Context, sysroot *ostree.Sysroot, opts *UpgradeOptions) (bool, error) {
	if opts.SoftReboot == SoftRebootNone {
		return false, nil
	}
	staged := sysroot.StagedDeployment()
	if staged == nil {
		return false, fmt.Errorf("soft reboot: nothing is staged: %w", ostree.ErrNotFound)
	}
	if staged.IsSoftRebootTarget() { // libostree would mount it once more
		return true, nil
	}
	can, err := staged.CanSoftReboot()
	if err == nil && !can {
		err = fmt.Errorf("%w to deployment %d (%s): kernel or kernel arguments are not those of the running system", ErrSoftReboot, staged.Index(), name(staged))
	}
	if err == nil {
		err = sysroot.DeploymentSetSoftReboot(ctx, staged, ostree.RefuseKernelSkew)
	}
	if err == nil {
		return true, nil
	}
	if opts.SoftReboot == SoftRebootAuto && (errors.Is(err, ErrSoftReboot) || errors.Is(err, ostree.ErrUnsupported)) {
		if log := opts.Logger; log != nil {
			log.Info("no soft reboot", "reason", err)
		}
		return false, nil
	}
	return false, fmt.Errorf("what is staged will be applied when the host shuts down, but: %w", err)
}
