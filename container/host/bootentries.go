package host

import (
	"slices"
	"strings"

	"github.com/ostree-container/ostree-container/ostree"
)

// withoutOne returns nil, or the boot order to write before list is written, and the one deployment that it lacks.
//
// Before 2024.6 (its pull request 3234) libostree leaves the boot loader's entries alone if the kernels and kernel arguments of the new order are those of the old one. The
// entries name deployments by stateroot, kernel and number, and the number is that among all deployments with the kernel: if deployments of
// two stateroots change places, the entries name what is not there any more, and neither the host nor libostree finds its deployments. An
// order of another length makes it write them.
func withoutOne(sysroot *ostree.Sysroot, list []*ostree.Deployment) ([]*ostree.Deployment, *ostree.Deployment) {
	if ostree.AtLeast(2024, 6) {
		return nil, nil
	}
	old := slices.DeleteFunc(sysroot.Deployments(), (*ostree.Deployment).IsStaged)
	if len(old) != len(list) {
		return nil, nil
	}
	moved := false
	for i := range list {
		if old[i].BootChecksum() != list[i].BootChecksum() || plainKargs(old[i]) != plainKargs(list[i]) {
			return nil, nil
		}
		moved = moved || old[i].Stateroot() != list[i].Stateroot()
	}
	if !moved {
		return nil, nil
	}
	out := -1 // if the second write fails it stays away: rather not the first, or a pinned one
	for i, d := range list {
		if !d.IsBooted() && (out <= 0 || !d.IsPinned()) {
			out = i
		}
	}
	if out < 0 {
		return nil, nil
	}
	return slices.Delete(slices.Clone(list), out, out+1), list[out]
}

// reloaded returns the deployments of list as the sysroot has them now, where it does; libostree tells the booted one by its address.
func reloaded(sysroot *ostree.Sysroot, list []*ostree.Deployment) []*ostree.Deployment {
	list = slices.Clone(list)
	for _, d := range sysroot.Deployments() {
		if i := slices.IndexFunc(list, d.Equal); i >= 0 {
			list[i] = d
		}
	}
	return list
}

// plainKargs are the kernel arguments of a deployment without libostree's own.
func plainKargs(d *ostree.Deployment) string {
	return strings.Join(slices.DeleteFunc(d.KernelArgs().Strings(), func(arg string) bool { return strings.HasPrefix(arg, "ostree=") }), " ")
}
