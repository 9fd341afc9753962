package container

import (
	"context"
	"errors"
	"fmt"
	"io"
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
	seen     map[objectKey]struct{}
	batch    []object.Checksum
	files    chan []object.Checksum
	result   CopyResult

	linked, copied, present, bytes atomic.Int64
}

type objectKey struct {
	typ ostree.ObjectType
	sum object.Checksum
}

// copyBatch is how many files are handed over at once.
const copyBatch = 64

// copy takes over commits with all that they need, and their detached metadata. No ref is set.
func (c *copier) copy(ctx context.Context, commits []string) (err error) {
	if c.linker, err = c.store.NewLinker(c.src); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.linker.Close()) }()
	c.files = make(chan []object.Checksum, 4)
	g, gctx := errgroup.WithContext(ctx)
	for range max(2, runtime.GOMAXPROCS(0)) {
		g.Go(func() error {
			for batch := range c.files {
				for _, sum := range batch {
					if err := c.file(gctx, sum); err != nil {
						return err
					}
				}
			}
			return nil
		})
	}
	g.Go(func() error {
		defer close(c.files)
		for _, commit := range commits {
			if err := c.tree(gctx, commit); err != nil {
				return err
			}
		}
		return c.flush(gctx)
	})
	if err := g.Wait(); err != nil {
		return err
	}
	for _, commit := range commits {
		sum, err := object.ParseChecksum(commit)
		if err != nil {
			return err
		}
		data, err := loadVerified(ctx, c.src, ostree.ObjectCommit, sum)
		if err != nil {
			return err
		}
		if _, err := c.store.Metadata(ctx, ostree.ObjectCommit, sum, data); err != nil {
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

// tree takes over what a commit needs.
func (c *copier) tree(ctx context.Context, checksum string) error {
	commit, state, err := c.src.LoadCommit(ctx, checksum)
	if err != nil {
		return fmt.Errorf("commit %s: %w", checksum, err)
	}
	if state&ostree.CommitPartial != 0 {
		return fmt.Errorf("%w: commit %s of %s is partial", ErrIncomplete, checksum, c.src.Path())
	}
	root, meta, err := rootOf(commit)
	if err != nil {
		return err
	}
	if _, err := c.metadata(ctx, ostree.ObjectDirMeta, meta); err != nil {
		return fmt.Errorf("commit %s: %w", checksum, err)
	}
	if err := c.directory(ctx, root, "/"); err != nil {
		return fmt.Errorf("commit %s: %w", checksum, err)
	}
	return nil
}

// first reports whether an object was not met before.
func (c *copier) first(typ ostree.ObjectType, sum object.Checksum) bool {
	key := objectKey{typ, sum}
	if _, again := c.seen[key]; again {
		return false
	}
	c.seen[key] = struct{}{}
	return true
}

// metadata takes over a dirtree or dirmeta, and returns it if it was not met before.
func (c *copier) metadata(ctx context.Context, typ ostree.ObjectType, sum object.Checksum) ([]byte, error) {
	if !c.first(typ, sum) {
		return nil, nil
	}
	data, err := loadVerified(ctx, c.src, typ, sum)
	if err != nil {
		return nil, err
	}
	if !c.linker.Direct() {
		if present, err := c.store.Has(ctx, typ, sum); err != nil || present {
			c.present.Add(1)
			return data, err
		}
	}
	link, err := c.linker.Metadata(ctx, typ, sum, data)
	if link == objstore.Present {
		c.present.Add(1)
	}
	return data, err
}

func (c *copier) directory(ctx context.Context, sum object.Checksum, path string) error {
	if len(path) > maxPath {
		return fmt.Errorf("%w: path of more than %d bytes: %q", ErrLayout, maxPath, path)
	}
	data, err := c.metadata(ctx, ostree.ObjectDirTree, sum)
	if err != nil {
		return fmt.Errorf("directory %q: %w", path, err)
	}
	if data == nil {
		return ctx.Err()
	}
	content, err := object.DecodeDirTree(data)
	if err != nil {
		return fmt.Errorf("directory %q: object %s.dirtree: %w", path, sum, err)
	}
	for _, f := range content.Files {
		if !c.first(ostree.ObjectFile, f.Sum) {
			continue
		}
		if !c.linker.Direct() {
			present, err := c.index.Has(ctx, ostree.ObjectFile, f.Sum)
			if err != nil {
				return err
			}
			if present {
				c.present.Add(1)
				continue
			}
		}
		c.batch = append(c.batch, f.Sum)
		if len(c.batch) == copyBatch {
			if err := c.flush(ctx); err != nil {
				return err
			}
		}
	}
	for _, d := range content.Dirs {
		if _, err := c.metadata(ctx, ostree.ObjectDirMeta, d.Meta); err != nil {
			return fmt.Errorf("directory %q: %w", path+d.Name, err)
		}
		if err := c.directory(ctx, d.Tree, path+d.Name+"/"); err != nil {
			return err
		}
	}
	return ctx.Err()
}

func (c *copier) flush(ctx context.Context) error {
	if len(c.batch) == 0 {
		return nil
	}
	select {
	case c.files <- c.batch:
		c.batch = nil
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// file takes over one content object.
func (c *copier) file(ctx context.Context, sum object.Checksum) error {
	if c.verify {
		if err := c.src.FsckObject(ctx, ostree.ObjectFile, sum.String()); err != nil {
			return fmt.Errorf("object %s.file in %s: %w", sum, c.src.Path(), err)
		}
	}
	link, err := c.linker.File(ctx, sum)
	switch {
	case errors.Is(err, ostree.ErrNotFound):
		return fmt.Errorf("%w: %w", ErrIncomplete, err)
	case err != nil:
		return err
	case link == objstore.Linked:
		c.linked.Add(1)
		return nil
	case link == objstore.Present:
		c.present.Add(1)
		return nil
	}
	if c.linker.Direct() { // it was not asked for before
		if present, err := c.store.Has(ctx, ostree.ObjectFile, sum); err != nil || present {
			c.present.Add(1)
			return err
		}
	}
	if err := c.content(ctx, sum); err != nil {
		return fmt.Errorf("object %s.file of %s: %w", sum, c.src.Path(), err)
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
	m := &object.Meta{UID: f.Info.UID, GID: f.Info.GID, Mode: f.Info.Mode}
	for _, x := range f.Xattrs {
		if len(x.Value) == 0 && !c.store.KeepsEmptyXattrs() {
			return fmt.Errorf("extended attribute %q without a value cannot be kept in a bare repository: %w", x.Name, ostree.ErrUnsupported)
		}
		m.Xattrs = append(m.Xattrs, object.Xattr{Name: x.Name, Value: x.Value})
	}
	const inline = 256 << 10 // bytes
	switch {
	case f.Info.SymlinkTarget != "":
		_, err = c.store.File(ctx, sum, m, f.Info.SymlinkTarget, nil)
	case f.Info.Size <= inline:
		data := make([]byte, f.Info.Size)
		if _, err := io.ReadFull(f, data); err != nil {
			return err
		}
		_, err = c.store.File(ctx, sum, m, "", data)
	default:
		_, err = c.store.Stream(ctx, sum, m, f.Info.Size, f)
	}
	if err == nil {
		c.copied.Add(1)
		c.bytes.Add(f.Info.Size)
	}
	return err
}
