package cli

import (
	"context"
	"fmt"

	"github.com/ostree-container/ostree-container/container"
	"github.com/ostree-container/ostree-container/container/imageref"
	"github.com/ostree-container/ostree-container/ostree"
)

// maxSkipped is how many of the names that were left out are shown.
const maxSkipped = 20

// encapsulateRootfs makes an image of a directory; without a repository its commit is not kept.
func (a *app) encapsulateRootfs(ctx context.Context, path string, dest imageref.ImageReference, f *encapsulateFlags, opts *container.EncapsulateOptions) error {
	skipped := 0
	rootfs := &container.RootfsOptions{Created: f.createdAt, SELinux: f.selinux, Strict: f.strict, Logger: a.log, Skipped: func(name, why string) {
		if skipped++; skipped <= maxSkipped {
			a.log.Info(fmt.Sprintf("Left out: %s %s", oneLine(name), why))
		}
	}}
	encapsulate := func(repo *ostree.Repo) error {
		digest, err := container.EncapsulateRootfs(ctx, repo, f.rootfs, dest, rootfs, opts)
		if err != nil {
			return err
		}
		if skipped > maxSkipped {
			a.log.Info(fmt.Sprintf("Left out: %d more", skipped-maxSkipped))
		}
		_, err = fmt.Fprintln(a.out, digest)
		return err
	}
	if path == "" {
		return encapsulate(nil)
	}
	if err := a.prepareRepo(ctx, path); err != nil {
		return err
	}
	return a.withRepo(ctx, path, encapsulate)
}
