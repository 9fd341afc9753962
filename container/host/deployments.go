package host

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/ostree-container/ostree-container/container"
	"github.com/ostree-container/ostree-container/ostree"
)

// ChangeOptions are options of what changes deployments that are there; nil means the default.
type ChangeOptions struct {
	// Stateroot is whose deployments Rollback looks at; "": that of the function Stateroot. Others take an index in the whole boot order.
	Stateroot string
	Logger    *slog.Logger // nil: silent
}

// Change says what was done to a deployment. Index is the one that it had before.
type Change struct {
	Index               int
	Stateroot, Checksum string
	DeploySerial        int
	Image               string // that it follows, "" if none
	// Changed is false if there was nothing to do: it was so already.
	Changed bool
}

func changeOf(d *ostree.Deployment) Change {
	c := Change{Index: d.Index(), Stateroot: d.Stateroot(), Checksum: d.Checksum(), DeploySerial: d.DeploySerial(), Changed: true}
	if ref, err := container.DeploymentImage(d); err == nil && ref != nil {
		c.Image = ref.String()
	}
	return c
}

// RolledBack is the result of Rollback.
type RolledBack struct {
	Next      Change  // what the host boots next
	Reverted  bool    // a rollback was queued and is cancelled: Next is the booted deployment
	Discarded *Change // what was staged; nil: nothing was
}

// locked loads the sysroot with its lock held, and calls f, with options that are not nil.
func locked(ctx context.Context, sysroot *ostree.Sysroot, opts *ChangeOptions, f func(opts *ChangeOptions) error) error {
	if opts == nil {
		opts = &ChangeOptions{}
	}
	unlock, err := container.LockSysroot(ctx, sysroot, opts.Logger)
	if err != nil {
		return err
	}
	defer unlock()
	return f(opts)
}

// Rollback makes the rollback deployment the default: the first of the stateroot in boot order that is neither booted nor staged, or, on a
// sysroot that is not booted, the second. If it is the default already, the booted deployment becomes it again. What is staged
// is discarded. Changes in /etc since the last boot stay with the deployment that they were made in. It returns ErrNoRollback, or
// ErrNoDeployment if there is no deployment at all.
//
// An error may come with a result. The result then says what was done; what failed came after it, such as removing what nothing needs any
// more.
func Rollback(ctx context.Context, sysroot *ostree.Sysroot, opts *ChangeOptions) (done *RolledBack, err error) {
	err = locked(ctx, sysroot, opts, func(opts *ChangeOptions) error {
		stateroot, err := Stateroot(sysroot, opts.Stateroot)
		if err != nil {
			return err
		}
		result := &RolledBack{}
		to, list, err := rollbackOrder(sysroot, stateroot, result)
		if err != nil {
			return err
		}
		result.Next = changeOf(to)
		written, err := write(ctx, sysroot, list, opts.Logger)
		if written {
			done = result
		}
		return err
	})
	return done, err
}

// rollbackOrder returns the deployment to boot next, and the new boot order.
func rollbackOrder(sysroot *ostree.Sysroot, stateroot string, result *RolledBack) (*ostree.Deployment, []*ostree.Deployment, error) {
	booted := sysroot.BootedDeployment()
	if booted != nil && booted.Stateroot() != stateroot {
		booted = nil
	}
	var all, others []*ostree.Deployment
	seenBooted := false
	var to *ostree.Deployment
	for _, d := range sysroot.Deployments() {
		if d.IsStaged() {
			c := changeOf(d)
			result.Discarded = &c
			continue
		}
		all = append(all, d)
		switch {
		case d.Stateroot() != stateroot:
		case booted != nil && d.Equal(booted):
			seenBooted = true
		default:
			others = append(others, d)
			if booted != nil && to == nil {
				to = d
				result.Reverted = !seenBooted
			}
		}
	}
	if booted == nil && len(others) > 1 {
		to = others[1]
	}
	if to == nil {
		return nil, nil, fmt.Errorf("stateroot %q of sysroot %s: %w", stateroot, sysroot.Path(), ErrNoRollback)
	}
	if result.Reverted {
		to = booted
	}
	return to, first(to, all), nil
}

// first returns a boot order with a deployment put in front.
func first(d *ostree.Deployment, list []*ostree.Deployment) []*ostree.Deployment {
	order := []*ostree.Deployment{d}
	for _, other := range list {
		if !other.Equal(d) {
			order = append(order, other)
		}
	}
	return order
}

// write makes list the boot order and removes what is in it no longer. It is written also if only what comes after that failed.
func write(ctx context.Context, sysroot *ostree.Sysroot, list []*ostree.Deployment, logger *slog.Logger) (written bool, err error) {
	staged := sysroot.StagedDeployment()
	// Not libostree's cleanup, which prints to standard output.
	opts := &ostree.WriteDeploymentsOptions{NoPostClean: true}
	shorter, out := withoutOne(sysroot, list)
	if shorter != nil {
		if err := sysroot.WriteDeployments(ctx, shorter, opts); err != nil {
			changed, err := onDisk(ctx, sysroot, shorter, staged, err)
			if changed {
				err = fmt.Errorf("the deployments are changed, but: %s is none any more: %w", name(out), err)
			}
			return changed, err
		}
		list = reloaded(sysroot, list)
	}
	if err := sysroot.WriteDeployments(ctx, list, opts); err != nil {
		changed, err := onDisk(ctx, sysroot, list, staged, err)
		switch {
		case changed:
			err = fmt.Errorf("the deployments are changed, but: %w", err)
		case shorter != nil:
			err = fmt.Errorf("the deployments are changed, but: %s is none any more: %w", name(out), err)
		}
		return changed || shorter != nil, err
	}
	if staged != nil && (len(list) == 0 || !list[0].IsStaged()) {
		err = container.ClearFinalizationLock()
	}
	if err == nil {
		err = sysroot.Load(ctx)
	}
	if err == nil {
		err = container.CleanupSysroot(ctx, sysroot, logger)
	}
	if err != nil {
		return true, fmt.Errorf("the deployments are changed, but: %w", err)
	}
	return true, nil
}

// at returns the deployment of an index in boot order, from 0; what is staged comes first.
func at(sysroot *ostree.Sysroot, index int) (*ostree.Deployment, error) {
	list := sysroot.Deployments()
	if index < 0 || index >= len(list) {
		return nil, fmt.Errorf("%w: index %d of %d in sysroot %s", ErrNoDeployment, index, len(list), sysroot.Path())
	}
	return list[index], nil
}

// SetPinned pins deployments, by their index: they are kept when new ones come. Or it unpins them. If one of them is staged, it returns
// ErrStaged, if one is none ErrNoDeployment, and nothing is changed. Changed is false for those that were so already. What is returned beside
// another error was changed.
func SetPinned(ctx context.Context, sysroot *ostree.Sysroot, indexes []int, pinning ostree.Pinning, opts *ChangeOptions) (changes []Change, err error) {
	err = locked(ctx, sysroot, opts, func(*ChangeOptions) error {
		list := make([]*ostree.Deployment, len(indexes))
		for n, index := range indexes {
			if list[n], err = at(sysroot, index); err != nil {
				return err
			}
			if list[n].IsStaged() {
				return fmt.Errorf("pin deployment %d (%s): %w", index, name(list[n]), ErrStaged)
			}
		}
		for _, d := range list {
			c := changeOf(d)
			c.Changed = d.IsPinned() != bool(pinning)
			if c.Changed {
				if err := sysroot.DeploymentSetPinned(ctx, d, pinning); err != nil {
					return err
				}
			}
			changes = append(changes, c)
		}
		return nil
	})
	return changes, err
}

// Undeploy removes a deployment, and what nothing else needs. The booted one (ErrBooted) and a pinned one (ErrPinned) are refused. If
// Changed is true beside an error, the deployment was removed and what came after it failed. ErrNoDeployment is returned for an index that is none.
func Undeploy(ctx context.Context, sysroot *ostree.Sysroot, index int, opts *ChangeOptions) (c Change, err error) {
	err = locked(ctx, sysroot, opts, func(opts *ChangeOptions) error {
		d, err := at(sysroot, index)
		if err != nil {
			return err
		}
		booted := sysroot.BootedDeployment()
		switch {
		case booted != nil && d.Equal(booted):
			return fmt.Errorf("undeploy deployment %d (%s): %w", index, name(d), ErrBooted)
		case d.IsPinned():
			return fmt.Errorf("undeploy deployment %d (%s): %w; unpin it first", index, name(d), ErrPinned)
		}
		change := changeOf(d)
		var list []*ostree.Deployment
		for n, other := range sysroot.Deployments() {
			if n != index {
				list = append(list, other)
			}
		}
		written, err := write(ctx, sysroot, list, opts.Logger)
		if written {
			c = change
		}
		return err
	})
	return c, err
}

// SetDefault makes a deployment the first in boot order. While something is staged it returns ErrStaged: what is staged would come before
// it, and ErrNoDeployment for an index that is none. If Changed is true beside an error, the order was changed and what came after it failed.
func SetDefault(ctx context.Context, sysroot *ostree.Sysroot, index int, opts *ChangeOptions) (c Change, err error) {
	err = locked(ctx, sysroot, opts, func(opts *ChangeOptions) error {
		d, err := at(sysroot, index)
		if err != nil {
			return err
		}
		if staged := sysroot.StagedDeployment(); staged != nil {
			return fmt.Errorf("make deployment %d the default: deployment 0 (%s): %w and comes before it at the next boot; undeploy it first", index, name(staged), ErrStaged)
		}
		change := changeOf(d)
		change.Changed = index != 0
		if !change.Changed {
			c = change
			return nil
		}
		written, err := write(ctx, sysroot, first(d, sysroot.Deployments()), opts.Logger)
		if written {
			c = change
		}
		return err
	})
	return c, err
}
