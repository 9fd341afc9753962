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

// Linker stores objects of another repository as hardlinks, where both keep them in the same form on one file system and are of one
// owner, as libostree does: who owns a file can change it later. Safe for concurrent use.
type Linker struct {
	store    *Store
	from     *ostree.Repo
	sameMode bool
	objects  int // fd of from's objects/; -1 if this process does not link itself
}

// NewLinker prepares for taking objects of a repository, which must stay open and locked until Close.
func (s *Store) NewLinker(from *ostree.Repo) (*Linker, error) {
	l := &Linker{store: s, from: from, sameMode: from.Mode() == s.repo.Mode(), objects: -1}
	if related, err := oneOwner(s.repo, from); err != nil {
		return nil, err
	} else if !related { // copied, and verified
		l.sameMode = false
		return l, nil
	}
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

// oneOwner reports whether the objects of two repositories, and of from's parents, are of one user on one file system.
func oneOwner(repo, from *ostree.Repo) (bool, error) {
	var to, st unix.Stat_t
	if err := unix.Fstatat(repo.FD(), "objects", &to, 0); err != nil {
		return false, &os.PathError{Op: "stat", Path: repo.Path() + "/objects", Err: err}
	}
	for ; from != nil; from = from.Parent() {
		if err := unix.Fstatat(from.FD(), "objects", &st, 0); err != nil {
			return false, &os.PathError{Op: "stat", Path: from.Path() + "/objects", Err: err}
		}
		if st.Uid != to.Uid || st.Dev != to.Dev {
			return false, nil
		}
	}
	return true, nil
}

// Close releases what NewLinker opened.
func (l *Linker) Close() error {
	if l.objects < 0 {
		return nil
	}
	return unix.Close(l.objects)
}

// Link says what became of an object.
type Link int

// What became of an object.
const (
	NotLinked Link = iota // it has to be copied
	Linked
	Present // it was there
)

// Direct reports whether File and Metadata find out by themselves, and at no cost, whether an object is there.
func (l *Linker) Direct() bool { return l.objects >= 0 && l.sameMode }

// File stores a content object if that takes no copy. The content is not read: it is believed as the other repository is.
func (l *Linker) File(ctx context.Context, sum object.Checksum) (Link, error) {
	if !l.sameMode {
		return NotLinked, nil
	}
	switch b := l.store.backend.(type) {
	case *direct:
		return l.link(ctx, b, ostree.ObjectFile, sum)
	case *viaLibostree:
		err := b.write(ctx, func() error {
			return l.store.repo.ImportObjectFrom(ctx, l.from, ostree.ObjectFile, sum.String(), ostree.Trusted)
		})
		if err != nil {
			return NotLinked, l.store.explain(ctx, err, 0)
		}
		l.store.stats.written.Add(1)
		return Linked, nil
	}
	return NotLinked, nil
}

// Metadata stores a dirtree or dirmeta whose bytes the caller has verified; it returns Linked too where it was copied.
func (l *Linker) Metadata(ctx context.Context, typ ostree.ObjectType, sum object.Checksum, data []byte) (Link, error) {
	if d, ok := l.store.backend.(*direct); ok {
		if link, err := l.link(ctx, d, typ, sum); err != nil || link != NotLinked {
			return link, err
		}
	}
	_, err := l.store.Metadata(ctx, typ, sum, data)
	return Linked, err
}

func (l *Linker) link(ctx context.Context, d *direct, typ ostree.ObjectType, sum object.Checksum) (Link, error) {
	if l.objects < 0 {
		return NotLinked, nil
	}
	if err := ctx.Err(); err != nil {
		return NotLinked, context.Cause(ctx)
	}
	if err := ensureDir(d.objects, sum[0], &d.known); err != nil {
		return NotLinked, l.store.explain(ctx, err, 0)
	}
	// In its place at once: unlike what is written, it is complete, and what only a commit can name is not seen before that.
	name := path(typ, &sum)
	d.inPlace.Store(true)
	switch err := unix.Linkat(l.objects, name, d.objects, name, 0); {
	case err == nil:
		l.store.stats.written.Add(1)
		return Linked, nil
	case errors.Is(err, unix.EEXIST):
		return Present, nil
	case errors.Is(err, unix.EXDEV), errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES), errors.Is(err, unix.EMLINK), errors.Is(err, unix.EOPNOTSUPP):
		return NotLinked, nil
	case errors.Is(err, unix.ENOENT):
		return NotLinked, fmt.Errorf("object %s.%s of repository %s: %w", sum, typ, l.from.Path(), ostree.ErrNotFound)
	default:
		return NotLinked, l.store.explain(ctx, &os.PathError{Op: "link", Path: name, Err: err}, 0)
	}
}
