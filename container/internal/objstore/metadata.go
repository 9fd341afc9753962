package objstore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/ostree-container/ostree-container/container/internal/object"
	"github.com/ostree-container/ostree-container/ostree"
)

// maxMetadata is how large a metadata object may be, in bytes, as in libostree.
const maxMetadata = 128 << 20

// LoadMetadata reads a metadata object that is in a repository or a parent of it; it is not verified. It is
// ostree.Repo.LoadVariantBytes, several times as fast where the repository has the object. The error wraps ostree.ErrNotFound if it
// is missing.
func LoadMetadata(ctx context.Context, repo *ostree.Repo, typ ostree.ObjectType, sum object.Checksum) ([]byte, error) {
	data, err := readMetadata(repo, repo.FD(), "objects/"+path(typ, &sum), make([]byte, 0, 2<<10))
	if errors.Is(err, unix.ENOENT) {
		return repo.LoadVariantBytes(ctx, typ, sum.String())
	}
	return data, err
}

// readMetadata reads a file of repo, named from the directory at, into buf, or a larger buffer in its place.
func readMetadata(repo *ostree.Repo, at int, name string, buf []byte) (_ []byte, err error) {
	fd, err := unix.Openat(at, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: repo.Path() + ": " + name, Err: err}
	}
	defer func() { err = errors.Join(err, unix.Close(fd)) }()
	buf = buf[:0]
	for {
		if len(buf) == cap(buf) {
			more := 16 << 10
			var st unix.Stat_t
			if cap(buf) >= more && unix.Fstat(fd, &st) == nil { // once for all the rest and the end
				more = max(more, int(min(st.Size, maxMetadata))+1-len(buf))
			}
			buf = slices.Grow(buf, more)
		}
		n, err := unix.Read(fd, buf[len(buf):cap(buf)])
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return nil, &os.PathError{Op: "read", Path: repo.Path() + ": " + name, Err: err}
		case n == 0:
			return buf, nil
		}
		if buf = buf[:len(buf)+max(n, 0)]; len(buf) > maxMetadata {
			return nil, fmt.Errorf("%s of repository %s has more than %d bytes", name, repo.Path(), maxMetadata)
		}
	}
}
