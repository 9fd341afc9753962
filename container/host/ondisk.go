package host

import (
	"context"
	"fmt"
	"slices"

	"github.com/ostree-container/ostree-container/container"
	"github.com/ostree-container/ostree-container/ostree"
)

// onDisk reports whether list is the boot order in spite of the error of WriteDeployments, which promises nothing then: libostree discards
// what is staged before it writes, and what fails after the boot loader's entries have changed places (the time of ostree/deploy, reading all again) is
// an error like any other. The error comes back, with what became of the staged deployment.
func onDisk(ctx context.Context, sysroot *ostree.Sysroot, list []*ostree.Deployment, staged *ostree.Deployment, failed error) (bool, error) {
	now, err := container.DeploymentsOnDisk(ctx, sysroot)
	if err != nil {
		return false, fmt.Errorf("%w (whether the deployments are changed cannot be told: %w)", failed, err)
	}
	isStaged := (*ostree.Deployment).IsStaged
	stays := slices.ContainsFunc(now, isStaged)
	changed := equalOrder(now, list) && (!stays || slices.ContainsFunc(list, isStaged)) // a list that only lacks what is staged is not there before
	if staged != nil && !stays && !changed {
		failed = fmt.Errorf("the staged deployment %s is discarded, but: %w", name(staged), failed)
	}
	return changed, failed
}

// equalOrder compares boot orders without what is staged.
func equalOrder(a, b []*ostree.Deployment) bool {
	a, b = written(a), written(b)
	if len(a) != len(b) {
		return false
	}
	for n := range a {
		if !a[n].Equal(b[n]) {
			return false
		}
	}
	return true
}

// written are the deployments that are not only staged.
func written(list []*ostree.Deployment) (rest []*ostree.Deployment) {
	for _, d := range list {
		if !d.IsStaged() {
			rest = append(rest, d)
		}
	}
	return rest
}
