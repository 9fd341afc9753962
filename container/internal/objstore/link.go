package objstore

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/ostree-container/ostree-container/container/internal/object"
	"github.com/ostree-container/ostree-container/ostree"
)

// Linker stores objects of another repository as hardlinks, where both keep them in the same form on one file system. Safe for
// concurrent use.
type Linker struct {
	store    *Store
	from     *ostree.Repo
	sameMode bool
	objects  int // fd of from's objects/; -1 if this process does not link itself
}

// NewLinker prepares for taking objects of a repository, which must stay open and locked until Close.
func (s *Store) NewLinker(from *ostree.Repo) (*Linker, error) {
	l := &Linker{store: s, from: from, sameMode: from.Mode() == s.repo.Mode(), objects: -1}
	if _, ok := s.backend.(*direct); !ok || from.Parent() != nil {
		return l, nil
	}
	fd, err := unix.Openat(from.FD(), "objects", unix.O_DIRECTORY|unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: from.Path() + "/objects", Err: err}
	}
	l.objects = fd
	return l, nil
}

// Close releases what NewLinker opened.
func (l *Linker) Close() error {
	if l.objects < 0 {
		return nil
	}
	return unix.Close(l.objects)
}

// File stores a content object. It returns false if that takes a copy. The content is not read: it is believed as the other
// repository is.
func (l *Linker) File(ctx context.Context, sum object.Checksum) (bool, error) {
	if !l.sameMode {
		return false, nil
	}
	switch b := l.store.backend.(type) {
	case *direct:
		return l.link(ctx, b, ostree.ObjectFile, sum)
	case *viaLibostree:
		err := b.write(ctx, func() error {
			return l.store.repo.ImportObjectFrom(ctx, l.from, ostree.ObjectFile, sum.String(), ostree.Trusted)
		})
		if err != nil {
			return false, l.store.explain(ctx, err, 0)
		}
		l.store.stats.written.Add(1)
		return true, nil
	}
	return false, nil
}

// Metadata stores a dirtree or dirmeta whose bytes the caller has verified.
func (l *Linker) Metadata(ctx context.Context, typ ostree.ObjectType, sum object.Checksum, data []byte) error {
	if d, ok := l.store.backend.(*direct); ok {
		if linked, err := l.link(ctx, d, typ, sum); err != nil || linked {
			return err
		}
	}
	_, err := l.store.Metadata(ctx, typ, sum, data)
	return err
}

func (l *Linker) link(ctx context.Context, d *direct, typ ostree.ObjectType, sum object.Checksum) (bool, error) {
	if l.objects < 0 {
		return false, nil
	}
	if err := ctx.Err(); err != nil {
		return false, context.Cause(ctx)
	}
	if err := d.stage.ensure(sum[0]); err != nil {
		return false, err
	}
	name := path(typ, &sum)
	linked, err := func() (bool, error) {
		d.epoch.RLock()
		defer d.epoch.RUnlock()
		switch err := unix.Linkat(l.objects, name, d.stage.fd, name, 0); {
		case err == nil:
			d.note(stagedObject{sum, typ})
			return true, nil
		case errors.Is(err, unix.EEXIST): // another goroutine was faster
			return true, nil
		case errors.Is(err, unix.EXDEV), errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES), errors.Is(err, unix.EMLINK), errors.Is(err, unix.EOPNOTSUPP):
			return false, nil
		case errors.Is(err, unix.ENOENT):
			return false, fmt.Errorf("object %s.%s of repository %s: %w", sum, typ, l.from.Path(), ostree.ErrNotFound)
		default:
			return false, &os.PathError{Op: "link", Path: name, Err: err}
		}
	}()
	if err != nil {
		return false, l.store.explain(ctx, err, 0)
	}
	if linked {
		l.store.wrote(ctx, 0)
	}
	return linked, nil
}
