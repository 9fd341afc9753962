package host

import (
	"github.com/ostree-container/ostree-container/container"
	"github.com/ostree-container/ostree-container/ostree"
)

// Remedy says how the booted deployment becomes the next one again. If Rollback is set: by Rollback. Otherwise by Undeploy of index 0, if
// Staged is set, and then by SetDefault of the index given here, if that is not 0.
type Remedy struct {
	Rollback   bool
	Staged     bool // something is staged; Rollback discards it
	SetDefault int  // the index that the booted deployment has when nothing is staged; 0: it needs no SetDefault
}

// remedy returns nil if the booted deployment is the next one.
func remedy(sysroot *ostree.Sysroot, booted *ostree.Deployment) *Remedy {
	staged := sysroot.StagedDeployment()
	r := &Remedy{Staged: staged != nil}
	index := 0 // in boot order, where what is staged is not yet
	for _, d := range sysroot.Deployments() {
		if d.Equal(booted) {
			r.SetDefault = index
		}
		if !d.IsStaged() {
			index++
		}
	}
	if r.SetDefault > 0 {
		to, _, err := rollbackOrder(sysroot, booted.Stateroot(), &RolledBack{})
		r.Rollback = err == nil && to.Equal(booted)
		return r
	}
	if staged == nil || container.FinalizationLocked(staged) {
		return nil
	}
	return r
}
