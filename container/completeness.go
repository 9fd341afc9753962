package container

import (
	"cmp"
	"context"
	"fmt"
	"runtime"
	"sync"

	"github.com/ostree-container/ostree-container/container/internal/object"
	"github.com/ostree-container/ostree-container/container/internal/objstore"
	"github.com/ostree-container/ostree-container/ostree"
)

// maxPath is how long a path may be on Linux, in bytes; a tree that is deeper cannot be checked out.
const maxPath = 4096

// completeness checks that commits have all their objects, several directories at once. What was found complete is not looked at
// twice.
type completeness struct {
	repo  repoLoader
	index interface {
		Has(ctx context.Context, typ ostree.ObjectType, sum object.Checksum) (bool, error)
	}
	busy chan struct{} // holds the goroutines beside that of check

	mu    sync.Mutex
	metas map[object.Checksum]bool // dirmetas
	trees map[object.Checksum]extent
}

// extent is how large a directory is when it is checked out: few objects can make many paths, as one may be in several places.
type extent struct {
	entries int64 // files and directories
	longest int   // bytes of the longest path, from this directory on
}

// maxEntries is how many files and directories a tree may have.
const maxEntries = 5_000_000

// newCompleteness is for a repository that a store is open for. It knows what is there more quickly; nil: the repository itself is asked.
func newCompleteness(repo *ostree.Repo, store *objstore.Store) *completeness {
	c := &completeness{
		repo: repoLoader{repo}, index: repoLoader{repo}, busy: make(chan struct{}, runtime.GOMAXPROCS(0)-1),
		metas: map[object.Checksum]bool{}, trees: map[object.Checksum]extent{},
	}
	if store != nil {
		c.index = store.Index()
	}
	return c
}

// check returns an error that wraps ErrIncomplete and names the first object that is missing below a root.
func (c *completeness) check(ctx context.Context, tree, meta object.Checksum) error {
	if err := c.needMeta(ctx, meta, "/", ""); err != nil {
		return err
	}
	_, err := c.walk(ctx, tree, "/")
	return err
}

func (c *completeness) need(ctx context.Context, typ ostree.ObjectType, sum object.Checksum, dir, name string) error {
	ok, err := c.index.Has(ctx, typ, sum)
	if err == nil && !ok {
		err = fmt.Errorf("%w: object %s.%s of %q is missing", ErrIncomplete, sum, typ, dir+name)
	}
	return err
}

func (c *completeness) walk(ctx context.Context, tree object.Checksum, path string) (extent, error) {
	c.mu.Lock()
	size, known := c.trees[tree]
	c.mu.Unlock()
	if err := checkExtent(size, path); err != nil || known {
		return size, err
	}
	if err := c.need(ctx, ostree.ObjectDirTree, tree, path, ""); err != nil {
		return size, err
	}
	content, err := c.repo.DirTree(ctx, tree)
	if err != nil {
		return size, fmt.Errorf("directory %q: %w", path, err)
	}
	for _, f := range content.Files {
		if err := c.need(ctx, ostree.ObjectFile, f.Sum, path, f.Name); err != nil {
			return size, err
		}
		size.longest = max(size.longest, len(f.Name))
	}
	size.entries = int64(len(content.Files) + len(content.Dirs))
	below, err := c.below(ctx, content.Dirs, path)
	if err != nil {
		return size, err
	}
	for n, d := range content.Dirs {
		size.entries += below[n].entries // each at most maxEntries, and few enough for 64 bits
		size.longest = max(size.longest, len(d.Name)+1+below[n].longest)
		if err := checkExtent(size, path); err != nil {
			return size, err
		}
	}
	c.mu.Lock()
	c.trees[tree] = size
	c.mu.Unlock()
	return size, ctx.Err()
}

// below walks subdirectories, those in goroutines of their own for which there is room. The error is that of the first one that has one.
func (c *completeness) below(ctx context.Context, dirs []object.DirEntry, path string) ([]extent, error) {
	sizes, errs := make([]extent, len(dirs)), make([]error, len(dirs))
	var wg sync.WaitGroup
	for n, d := range dirs {
		if errs[n] = c.needMeta(ctx, d.Meta, path, d.Name); errs[n] != nil {
			break
		}
		walk := func() { sizes[n], errs[n] = c.walk(ctx, d.Tree, path+d.Name+"/") }
		select {
		case c.busy <- struct{}{}:
			wg.Go(func() {
				defer func() { <-c.busy }()
				walk()
			})
			continue
		default:
			walk()
		}
		if errs[n] != nil {
			break
		}
	}
	wg.Wait()
	return sizes, cmp.Or(errs...)
}

// needMeta is need for the metadata of a directory, which many have in common; it is read, too.
func (c *completeness) needMeta(ctx context.Context, sum object.Checksum, dir, name string) error {
	c.mu.Lock()
	known := c.metas[sum]
	c.mu.Unlock()
	if known {
		return nil
	}
	if err := c.need(ctx, ostree.ObjectDirMeta, sum, dir, name); err != nil {
		return err
	}
	if _, err := c.repo.DirMeta(ctx, sum); err != nil {
		return fmt.Errorf("directory %q: %w", dir+name, err)
	}
	c.mu.Lock()
	c.metas[sum] = true
	c.mu.Unlock()
	return nil
}

func checkExtent(size extent, path string) error {
	switch {
	case len(path)+size.longest > maxPath:
		return fmt.Errorf("%w: path of more than %d bytes: %q", ErrLayout, maxPath, path)
	case size.entries > maxEntries:
		return fmt.Errorf("%w: more than %d files and directories in %q", ErrLayout, maxEntries, path)
	}
	return nil
}
