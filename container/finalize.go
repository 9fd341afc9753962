package container

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/ostree-container/ostree-container/keyfile"
	"github.com/ostree-container/ostree-container/ostree"
)

// finalizationLock is a file that keeps any staged deployment from being applied, in every version of libostree that stages. Since 2023.8 a
// deployment can be locked by itself, too.
const finalizationLock = "/run/ostree/staged-deployment-locked"

// FinalizationLocked reports whether a staged deployment is kept from being applied when the host shuts down.
func FinalizationLocked(d *ostree.Deployment) bool {
	if d == nil || !d.IsStaged() {
		return false
	}
	if d.IsFinalizationLocked() {
		return true
	}
	_, err := os.Lstat(finalizationLock)
	return err == nil
}

// SetFinalizationLock keeps the staged deployment from being applied when the host shuts down, or lets it be again. It returns
// ostree.ErrNotFound if nothing is staged. The caller holds the lock of the sysroot.
func SetFinalizationLock(ctx context.Context, sysroot *ostree.Sysroot, locked bool) error {
	staged := sysroot.StagedDeployment()
	if staged == nil {
		return fmt.Errorf("sysroot %s: nothing is staged: %w", sysroot.Path(), ostree.ErrNotFound)
	}
	if FinalizationLocked(staged) == locked {
		return nil
	}
	if !ostree.Supports(ostree.FeatureFinalizationLock) {
		if locked {
			return writeFinalizationLock()
		}
		return ClearFinalizationLock()
	}
	if staged.IsFinalizationLocked() != locked {
		if err := sysroot.ChangeFinalization(ctx, staged); err != nil {
			return err
		}
	}
	if locked {
		return nil
	}
	return ClearFinalizationLock()
}

func writeFinalizationLock() error {
	if err := os.MkdirAll(filepath.Dir(finalizationLock), 0o755); err != nil {
		return fmt.Errorf("lock the staged deployment: %w", err)
	}
	f, err := os.OpenFile(finalizationLock, os.O_CREATE|os.O_WRONLY, 0o640)
	if err != nil {
		return fmt.Errorf("lock the staged deployment: %w", err)
	}
	return f.Close()
}

// ClearFinalizationLock removes the lock that an older libostree leaves behind when a staged deployment is discarded or replaced. The
// caller holds the lock of the sysroot.
func ClearFinalizationLock() error {
	if err := os.Remove(finalizationLock); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("unlock the staged deployment: %w", err)
	}
	return nil
}

// stage makes a commit the staged deployment. Locked, it is at no moment one that a shutdown would apply; not locked, the lock of
// the one that it replaces ends when it is there.
func stage(ctx context.Context, sysroot *ostree.Sysroot, stateroot, commit string, origin *keyfile.File, merge *ostree.Deployment, tree *ostree.DeployTreeOptions, locked bool) error {
	byFile := false
	if locked {
		if ostree.Supports(ostree.FeatureFinalizationLock) {
			tree.Locked = true
		} else {
			byFile = !FinalizationLocked(sysroot.StagedDeployment())
			if err := writeFinalizationLock(); err != nil {
				return err
			}
		}
	}
	if _, err := sysroot.StageTreeWithOptions(ctx, stateroot, commit, origin, merge, tree); err != nil {
		if byFile { // what was staged before is to be applied
			err = errors.Join(err, ClearFinalizationLock())
		}
		return err
	}
	if locked {
		return nil
	}
	return ClearFinalizationLock()
}
