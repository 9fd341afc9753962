package objstore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"

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
	objects  int       // fd of from's objects/; -1 if this process does not link itself
	batches  sync.Pool // of *nameBatch
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

// Direct reports whether objects are linked by Prefix; else File and Metadata store one at a time.
func (l *Linker) Direct() bool { return l.objects >= 0 && l.sameMode }

// File stores a content object if that takes no copy. The content is not read: it is believed as the other repository is.
func (l *Linker) File(ctx context.Context, sum object.Checksum) (Link, error) {
	if b, ok := l.store.backend.(*viaLibostree); ok && l.sameMode {
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

// Load reads a metadata object of the other repository into buf, or a larger buffer in its place. It is not verified. The error
// wraps ostree.ErrNotFound if it is missing.
func (l *Linker) Load(ctx context.Context, typ ostree.ObjectType, sum object.Checksum, buf []byte) ([]byte, error) {
	if l.objects < 0 {
		return l.from.LoadVariantBytes(ctx, typ, sum.String())
	}
	data, err := readMetadata(l.from, l.objects, path(typ, &sum), buf)
	if errors.Is(err, unix.ENOENT) {
		return nil, l.missing(typ, sum)
	}
	return data, err
}

func (l *Linker) missing(typ ostree.ObjectType, sum object.Checksum) error {
	return fmt.Errorf("object %s.%s of repository %s: %w", sum, typ, l.from.Path(), ostree.ErrNotFound)
}

// Prefix links objects whose checksums begin with the same byte: names in one directory, which is quicker to work in than in all of
// them, and where no other goroutine holds the lock that the kernel has for it. For one goroutine.
type Prefix struct {
	l        *Linker
	d        *direct
	from, to int // fds of objects/XX; from is -1 if there is none
	linked   int64
}

// Prefix opens the directories for objects whose checksums begin with xx. It needs Direct, and must be closed.
func (l *Linker) Prefix(ctx context.Context, xx byte) (*Prefix, error) {
	d, ok := l.store.backend.(*direct)
	if !ok || !l.Direct() {
		return nil, errors.New("objects cannot be linked")
	}
	if err := ensureDir(d.objects, xx, &d.known); err != nil {
		return nil, l.store.explain(ctx, err, 0)
	}
	p := &Prefix{l: l, d: d}
	name := path(ostree.ObjectFile, &object.Checksum{xx})[:2]
	const flags = unix.O_DIRECTORY | unix.O_RDONLY | unix.O_NOFOLLOW | unix.O_CLOEXEC
	var err error
	if p.from, err = unix.Openat(l.objects, name, flags, 0); errors.Is(err, unix.ENOENT) {
		p.from = -1
	} else if err != nil {
		return nil, &os.PathError{Op: "open", Path: l.from.Path() + "/objects/" + name, Err: err}
	}
	if p.to, err = unix.Openat(d.objects, name, flags, 0); err != nil {
		p.to = -1
		return nil, errors.Join(&os.PathError{Op: "open", Path: l.store.repo.Path() + "/objects/" + name, Err: err}, p.Close())
	}
	return p, nil
}

// Link stores objects if that takes no copy, and says what became of each; with an error, of those before the one that failed. Nothing is
// read: they are believed as the other repository is. They go to their place at once: unlike what is written, they are complete. What
// others need to be in place and durable, such as what a commit names, has to be published before.
func (p *Prefix) Link(ctx context.Context, objects []Object) ([]Link, error) {
	became := make([]Link, 0, len(objects))
	if len(objects) > 0 && p.from < 0 {
		return nil, p.l.missing(objects[0].Type, objects[0].Sum)
	}
	names, _ := p.l.batches.Get().(*nameBatch)
	if names == nil {
		names = &nameBatch{}
	}
	defer p.l.batches.Put(names)
	for batch, tried := 0, 0; len(became) < len(objects); tried = len(became) - batch {
		if ctx.Err() != nil {
			return became, context.Cause(ctx)
		}
		if tried == 0 || tried == linkBatch {
			batch, tried = len(became), 0
			names.set(objects[batch:min(batch+linkBatch, len(objects))])
		}
		failed := names.link(p.from, p.to, tried)
		p.d.inPlace.Store(true)
		for _, err := range failed {
			o := &objects[len(became)]
			switch err {
			case 0:
				p.linked++
				became = append(became, Linked)
			case unix.EEXIST:
				became = append(became, Present)
			case unix.EXDEV, unix.EPERM, unix.EACCES, unix.EMLINK, unix.EOPNOTSUPP:
				became = append(became, NotLinked)
			case unix.ENOENT:
				return became, p.l.missing(o.Type, o.Sum)
			default:
				return became, p.l.store.explain(ctx, &os.PathError{Op: "link", Path: path(o.Type, &o.Sum), Err: err}, 0)
			}
		}
	}
	return became, nil
}

// Close counts what was linked and closes the directories.
func (p *Prefix) Close() (err error) {
	p.l.store.stats.written.Add(p.linked)
	for _, fd := range []int{p.from, p.to} {
		if fd >= 0 {
			err = errors.Join(err, unix.Close(fd))
		}
	}
	return err
}
