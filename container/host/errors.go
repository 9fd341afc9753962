package host

import "errors"

// Errors of this package. Those of packages container and ostree come through wrapped.
var (
	// ErrNoDeployment: there is no deployment of that index, or none at all in the stateroot.
	ErrNoDeployment = errors.New("no such deployment")
	// ErrNoImage: the deployment follows no container image.
	ErrNoImage = errors.New("no container image")
	// ErrLayered: the deployment has packages or other changes of rpm-ostree, which a new one would lose.
	ErrLayered = errors.New("changes of rpm-ostree")
	// ErrNoRollback: there is nothing to go back to.
	ErrNoRollback = errors.New("no rollback deployment")
	// ErrBooted: the running system cannot be removed.
	ErrBooted = errors.New("deployment is booted")
	// ErrPinned: the deployment is to be kept.
	ErrPinned = errors.New("deployment is pinned")
	// ErrStaged: what is staged has no place in the boot order yet.
	ErrStaged = errors.New("deployment is staged")
	// ErrSoftReboot: the deployment has another kernel or other kernel arguments than the running system.
	ErrSoftReboot = errors.New("soft reboot is not possible")
	// ErrKargs: a file of usr/lib/bootc/kargs.d in the image cannot be understood.
	ErrKargs = errors.New("invalid kernel arguments of the image")
	// ErrSoftRebootMode: not a value that SoftReboot has.
	ErrSoftRebootMode = errors.New("not a mode of soft reboot")
	// ErrConflict: options that exclude each other.
	ErrConflict = errors.New("options exclude each other")
)
