package container

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/ostree-container/ostree-container/container/internal/object"
	"github.com/ostree-container/ostree-container/container/internal/objstore"
	"github.com/ostree-container/ostree-container/ostree"
)

// copier takes over the objects of several commits, each object once.
type copier struct {
	src, dst *ostree.Repo
	store    *objstore.Store
	index    objstore.Index
	linker   *objstore.Linker
	verify   bool
	result   CopyResult

	linked, copied, present, bytes atomic.Int64
}

// copy takes over commits with all that they need, and their detached metadata. No ref is set.
func (c *copier) copy(ctx context.Context, commits []string) (err error) {
	if c.linker, err = c.store.NewLinker(c.src); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.linker.Close()) }()
	found, err := c.reachable(ctx, commits)
	if err != nil {
		return err
	}
	var next atomic.Int64
	g, gctx := errgroup.WithContext(ctx)
	for range runtime.GOMAXPROCS(0) {
		g.Go(func() error {
			var lister objectLister
			for xx := next.Add(1) - 1; xx < 256; xx = next.Add(1) - 1 {
				if err := c.prefix(gctx, byte(xx), lister.list(found, byte(xx))); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return c.commits(ctx, commits)
}

// commits takes over commit objects when what they need is there, and their detached metadata.
func (c *copier) commits(ctx context.Context, commits []string) error {
	if c.linker.Direct() { // linked at once, so all else must be durable
		if err := c.store.Publish(ctx, nil); err != nil {
			return err
		}
	}
	for _, commit := range commits {
		sum, err := object.ParseChecksum(commit)
		if err != nil {
			return err
		}
		if err := c.commit(ctx, sum); err != nil {
			return err
		}
	}
	// Detached metadata is no object with a checksum: it is written when its commit is there, and before a ref names that.
	if err := c.store.Publish(ctx, nil); err != nil {
		return err
	}
	for _, commit := range commits {
		if err := copyDetached(ctx, c.src, c.dst, commit); err != nil {
			return fmt.Errorf("detached metadata of commit %s: %w", commit, err)
		}
		_, state, err := c.dst.LoadCommit(ctx, commit)
		if err == nil && state&ostree.CommitPartial != 0 {
			err = c.dst.MarkCommitPartial(ctx, commit, ostree.NotPartial)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *copier) commit(ctx context.Context, sum object.Checksum) error {
	data, err := c.load(ctx, ostree.ObjectCommit, sum, nil)
	if err != nil {
		return err
	}
	if c.linker.Direct() {
		p, err := c.linker.Prefix(ctx, sum[0])
		if err != nil {
			return err
		}
		became, err := p.Link(ctx, []objstore.Object{{Sum: sum, Type: ostree.ObjectCommit}})
		if err := errors.Join(err, p.Close()); err != nil || became[0] != objstore.NotLinked {
			return err
		}
	}
	_, err = c.store.Metadata(ctx, ostree.ObjectCommit, sum, data)
	return err
}

// load returns a metadata object whose checksum was computed; it may be in buf.
func (c *copier) load(ctx context.Context, typ ostree.ObjectType, sum object.Checksum, buf []byte) ([]byte, error) {
	data, err := c.linker.Load(ctx, typ, sum, buf)
	if errors.Is(err, ostree.ErrNotFound) {
		return nil, fmt.Errorf("%w: object %s.%s is missing in %s: %w", ErrIncomplete, sum, typ, c.src.Path(), err)
	} else if err != nil {
		return nil, err
	}
	if got := object.Sum(data); got != sum {
		return nil, fmt.Errorf("%w %s.%s in %s: checksum actual=%s; see ostree fsck", objstore.ErrMismatch, sum, typ, c.src.Path(), got)
	}
	return data, nil
}

// prefix takes over objects whose checksums begin with the same byte.
func (c *copier) prefix(ctx context.Context, xx byte, objects []objstore.Object) (err error) {
	if len(objects) == 0 {
		return nil
	}
	if !c.linker.Direct() {
		for _, o := range objects {
			if err := c.single(ctx, o); err != nil {
				return err
			}
		}
		return nil
	}
	p, err := c.linker.Prefix(ctx, xx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	for _, o := range objects {
		if err := c.check(ctx, o); err != nil {
			return err
		}
	}
	became, err := p.Link(ctx, objects)
	for n, link := range became {
		switch o := objects[n]; {
		case link == objstore.Present:
			c.present.Add(1)
		case link == objstore.Linked && o.Type == ostree.ObjectFile:
			c.linked.Add(1)
		case link == objstore.NotLinked:
			if err := c.unlinked(ctx, o); err != nil {
				return err
			}
		}
	}
	if errors.Is(err, ostree.ErrNotFound) {
		return fmt.Errorf("%w: %w", ErrIncomplete, err)
	}
	return err
}

// check reads and verifies a file where the caller wants that.
func (c *copier) check(ctx context.Context, o objstore.Object) error {
	if !c.verify || o.Type != ostree.ObjectFile {
		return nil
	}
	if err := c.src.FsckObject(ctx, o.Type, o.Sum.String()); err != nil {
		return fmt.Errorf("object %s.file in %s: %w", o.Sum, c.src.Path(), err)
	}
	return nil
}

// single takes over an object of a prefix that cannot be linked as a whole.
func (c *copier) single(ctx context.Context, o objstore.Object) error {
	if present, err := c.has(ctx, o); err != nil || present {
		return err
	}
	if err := c.check(ctx, o); err != nil {
		return err
	}
	return c.take(ctx, o)
}

// unlinked takes over an object that was checked and could not be linked.
func (c *copier) unlinked(ctx context.Context, o objstore.Object) error {
	if present, err := c.has(ctx, o); err != nil || present {
		return err
	}
	return c.take(ctx, o)
}

// has reports whether the destination has an object, and counts it if so.
func (c *copier) has(ctx context.Context, o objstore.Object) (bool, error) {
	present, err := c.index.Has(ctx, o.Type, o.Sum)
	if err == nil && present {
		c.present.Add(1)
	}
	return present, err
}

// take takes over an object that the destination has not.
func (c *copier) take(ctx context.Context, o objstore.Object) error {
	if o.Type != ostree.ObjectFile {
		data, err := c.load(ctx, o.Type, o.Sum, nil)
		if err != nil {
			return err
		}
		_, err = c.store.Metadata(ctx, o.Type, o.Sum, data)
		return err
	}
	switch link, err := c.linker.File(ctx, o.Sum); {
	case errors.Is(err, ostree.ErrNotFound):
		return fmt.Errorf("%w: %w", ErrIncomplete, err)
	case err != nil:
		return err
	case link == objstore.Linked:
		c.linked.Add(1)
		return nil
	}
	if err := c.content(ctx, o.Sum); err != nil {
		return fmt.Errorf("object %s.file of %s: %w", o.Sum, c.src.Path(), err)
	}
	return nil
}

// content stores a content object anew.
func (c *copier) content(ctx context.Context, sum object.Checksum) (err error) {
	f, err := c.src.LoadFile(ctx, sum.String())
	if errors.Is(err, ostree.ErrNotFound) {
		return fmt.Errorf("%w: %w", ErrIncomplete, err)
	} else if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	m := objstore.MetaOf(f)
	for _, x := range m.Xattrs {
		if len(x.Value) == 0 && !c.store.KeepsEmptyXattrs() {
			return fmt.Errorf("extended attribute %q without a value cannot be kept in a bare repository: %w", x.Name, ostree.ErrUnsupported)
		}
	}
	if _, err = c.store.Loaded(ctx, sum, m, f); err == nil {
		c.copied.Add(1)
		c.bytes.Add(f.Info.Size)
	}
	return err
}
