package container

import (
	"context"

	"github.com/ostree-container/ostree-container/ostree"
)

// EnsureVerityWith is EnsureVerity with other calls for a file.
func EnsureVerityWith(ctx context.Context, repo *ostree.Repo, opts *VerityOptions, enable, enabled func(fd int) (bool, error)) (*VerityResult, error) {
	return ensureVerity(ctx, repo, opts, enable, enabled)
}
