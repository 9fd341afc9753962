package container

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/ostree-container/ostree-container/container/internal/dirlock"
	"github.com/ostree-container/ostree-container/ostree"
)

// changingDetached calls f, which reads detached metadata and writes it again, while no other process of ours does so in the repository:
// what one of them adds between the two would be lost. The lock of the repository is of no use: several importers share it. This one is
// held for a moment only, on the directory of the objects, where libostree takes none.
func changingDetached(ctx context.Context, repo *ostree.Repo, f func() error) (err error) {
	fd, err := unix.Openat(repo.FD(), "objects", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("lock detached metadata of %s: %w", repo.Path(), err)
	}
	defer func() { err = errors.Join(err, unix.Close(fd)) }()
	if err := dirlock.Exclusive(ctx, fd); err != nil {
		return fmt.Errorf("lock detached metadata of %s: %w", repo.Path(), err)
	}
	defer dirlock.Release(fd)
	return f()
}
