package host

import (
	"context"
	"errors"
	"fmt"

	"github.com/ostree-container/ostree-container/container"
	"github.com/ostree-container/ostree-container/ostree"
)

// ApplyDownloaded lets what was staged with DownloadOnly become the default when the host shuts down. Nothing is fetched. It returns
// ostree.ErrNotFound if nothing is staged.
func ApplyDownloaded(ctx context.Context, sysroot *ostree.Sysroot, opts *UpgradeOptions) (*Upgraded, error) {
	opts, stateroot, err := prepare(sysroot, opts)
	if err != nil {
		return nil, err
	}
	up, err := unlock(ctx, sysroot, stateroot, opts)
	if err != nil {
		return nil, err
	}
	up.SoftReboot, err = softReboot(ctx, sysroot, opts)
	return up, err
}

func unlock(ctx context.Context, sysroot *ostree.Sysroot, stateroot string, opts *UpgradeOptions) (*Upgraded, error) {
	done, err := container.LockSysroot(ctx, sysroot, opts.Deploy.Logger)
	if err != nil {
		return nil, err
	}
	defer done()
	staged := sysroot.StagedDeployment()
	if staged == nil || staged.Stateroot() != stateroot {
		return nil, fmt.Errorf("sysroot %s: nothing is staged in stateroot %q: %w", sysroot.Path(), stateroot, ostree.ErrNotFound)
	}
	repo, err := sysroot.Repo() // the sysroot closes it
	if err != nil {
		return nil, err
	}
	up := &Upgraded{Stateroot: stateroot, State: stateOf(ctx, repo, staged), Outcome: AlreadyStaged, LockChanged: container.FinalizationLocked(staged)}
	ref, err := container.DeploymentImage(staged)
	if err != nil {
		return nil, err
	}
	if ref == nil || up.State == nil {
		return nil, fmt.Errorf("deployment %d (%s): %w", staged.Index(), name(staged), ErrNoImage)
	}
	up.Image = *ref
	return up, container.SetFinalizationLock(ctx, sysroot, false)
}

// softReboot makes what is staged the target of the next soft reboot, if that is asked for.
func softReboot(ctx context.Context, sysroot *ostree.Sysroot, opts *UpgradeOptions) (bool, error) {
	if opts.SoftReboot == SoftRebootNone {
		return false, nil
	}
	log := opts.Deploy.Logger
	unlock, err := container.LockSysroot(ctx, sysroot, log)
	if err != nil {
		return false, err
	}
	defer unlock()
	staged := sysroot.StagedDeployment()
	if staged == nil {
		return false, fmt.Errorf("soft reboot: nothing is staged: %w", ostree.ErrNotFound)
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
		if log != nil {
			log.Info("no soft reboot", "reason", err)
		}
		return false, nil
	}
	return false, err
}
