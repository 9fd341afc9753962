package container

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"

	"github.com/ostree-container/ostree-container/container/internal/gvariant"
	"github.com/ostree-container/ostree-container/container/internal/object"
	"github.com/ostree-container/ostree-container/container/internal/objstore"
	"github.com/ostree-container/ostree-container/container/internal/union"
	"github.com/ostree-container/ostree-container/keyfile"
	"github.com/ostree-container/ostree-container/ostree"
)

// repoLoader reads directory trees from a repository.
type repoLoader struct{ repo *ostree.Repo }

func (l repoLoader) DirTree(ctx context.Context, sum object.Checksum) (*object.DirTree, error) {
	data, err := objstore.LoadMetadata(ctx, l.repo, ostree.ObjectDirTree, sum)
	if err != nil {
		return nil, err
	}
	t, err := object.DecodeDirTree(data)
	if err != nil {
		return nil, fmt.Errorf("object %s.dirtree: %w", sum, err)
	}
	return t, nil
}

func (l repoLoader) IsRegular(ctx context.Context, sum object.Checksum) (bool, error) {
	f, err := l.repo.LoadFile(ctx, sum.String())
	if err != nil {
		return false, err
	}
	return f.Info.Mode&object.ModeType == object.ModeRegular, f.Close()
}

// baseTree is the tree of a commit, to look things up in.
func (i *Importer) baseTree(ctx context.Context, checksum string) (*union.Tree, error) {
	tree, meta, err := i.commitTree(ctx, checksum)
	if err != nil {
		return nil, err
	}
	t := union.New(repoLoader{i.repo})
	t.Base(tree, meta)
	return t, nil
}

// commitTree returns the root of a commit.
func (i *Importer) commitTree(ctx context.Context, checksum string) (tree, meta object.Checksum, err error) {
	commit, _, err := i.repo.LoadCommit(ctx, checksum)
	if err != nil {
		return tree, meta, err
	}
	return rootOf(commit)
}

func rootOf(commit *ostree.Commit) (tree, meta object.Checksum, err error) {
	if tree, err = object.ParseChecksum(commit.RootTree); err != nil {
		return tree, meta, fmt.Errorf("commit %s: %w", commit.Checksum, err)
	}
	if meta, err = object.ParseChecksum(commit.RootMeta); err != nil {
		return tree, meta, fmt.Errorf("commit %s: %w", commit.Checksum, err)
	}
	return tree, meta, nil
}

// maxConfigFile is the largest prepare-root.conf that is read, in bytes.
const maxConfigFile = 1 << 20

// overlayRoot reports whether a host with this tree has a root that can hold any directory: prepare-root.conf asks for composefs or
// for a transient root. A value that cannot be understood counts as no.
func (i *Importer) overlayRoot(ctx context.Context, t *union.Tree) (bool, error) {
	sum, ok, err := t.File(ctx, "usr/lib/ostree", "prepare-root.conf")
	if err != nil || !ok {
		return false, err
	}
	f, err := i.repo.LoadFile(ctx, sum.String())
	if err != nil {
		return false, err
	}
	text, err := io.ReadAll(io.LimitReader(f, maxConfigFile))
	if err := errors.Join(err, f.Close()); err != nil {
		return false, err
	}
	config, err := keyfile.Parse(text)
	if err != nil {
		i.opts.Logger.Warn("prepare-root.conf of the base is not understood", "error", err)
		return false, nil
	}
	if transient, err := config.Bool("root", "transient"); err == nil && transient {
		return true, nil
	}
	mode, err := config.String("composefs", "enabled")
	if err != nil {
		return false, nil //nolint:nilerr // not set
	}
	switch mode {
	case "signed", "verity", "maybe", "yes", "true", "1":
		return true, nil
	}
	return false, nil
}

// maxPath is how long a path may be on Linux, in bytes; a tree that is deeper cannot be checked out.
const maxPath = 4096

// completeness checks that commits have all their objects, several directories at once. What was found complete is not looked at
// twice.
type completeness struct {
	repo  *ostree.Repo
	index objstore.Index
	busy  chan struct{} // holds the goroutines beside that of check

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

func newCompleteness(repo *ostree.Repo, store *objstore.Store) *completeness {
	return &completeness{
		repo: repo, index: store.Index(), busy: make(chan struct{}, runtime.GOMAXPROCS(0)-1),
		metas: map[object.Checksum]bool{}, trees: map[object.Checksum]extent{},
	}
}

// check returns an error that wraps ErrIncomplete and names the first object that is missing below a root.
func (c *completeness) check(ctx context.Context, tree, meta object.Checksum) error {
	if err := c.need(ctx, ostree.ObjectDirMeta, meta, "/", ""); err != nil {
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
	content, err := repoLoader{c.repo}.DirTree(ctx, tree)
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
		if errs[n] = c.needMeta(ctx, d, path); errs[n] != nil {
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

// needMeta is need for the metadata of a directory, which many have in common.
func (c *completeness) needMeta(ctx context.Context, d object.DirEntry, path string) error {
	c.mu.Lock()
	known := c.metas[d.Meta]
	c.mu.Unlock()
	if known {
		return nil
	}
	if err := c.need(ctx, ostree.ObjectDirMeta, d.Meta, path, d.Name); err != nil {
		return err
	}
	c.mu.Lock()
	c.metas[d.Meta] = true
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

// countsVariant is an a{su} with sorted keys.
func countsVariant(counts map[string]uint32) (gvariant.Value, error) {
	var entries []gvariant.Value
	for _, key := range sortedKeys(counts) {
		entries = append(entries, gvariant.DictEntry(gvariant.String(key), gvariant.Uint32(counts[key])))
	}
	return gvariant.Array("{su}", entries...)
}
