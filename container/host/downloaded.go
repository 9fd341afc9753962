package host

import (
	"context"
	"fmt"

	"github.com/ostree-container/ostree-container/container"
	"github.com/ostree-container/ostree-container/ostree"
)

// ApplyDownloaded lets what was staged with DownloadOnly become the default when the host shuts down. Nothing is fetched. It returns
// ostree.ErrNotFound if nothing is staged. A result beside an error is as with Upgrade.
func ApplyDownloaded(ctx context.Context, sysroot *ostree.Sysroot, opts *UpgradeOptions) (*Upgraded, error) {
	opts, stateroot, err := prepare(sysroot, opts)
	if err != nil {
		return nil, err
	}
	done, err := container.LockSysroot(ctx, sysroot, opts.Logger)
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
	if err := container.SetFinalizationLock(ctx, sysroot, false); err != nil {
		return nil, err
	}
	up.SoftReboot, err = softReboot(ctx, sysroot, opts)
	return up, err
}
