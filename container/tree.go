package container

import (
	"context"
	"errors"
	"fmt"
	"io"

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
	data, err := l.repo.LoadVariantBytes(ctx, ostree.ObjectDirTree, sum.String())
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

// completeness checks that commits have all their objects. What was found complete is not looked at twice.
type completeness struct {
	repo  *ostree.Repo
	index *objstore.Index
	seen  map[object.Checksum]bool // dirtrees and dirmetas
}

func newCompleteness(repo *ostree.Repo, store *objstore.Store) *completeness {
	return &completeness{repo: repo, index: store.NewIndex(), seen: map[object.Checksum]bool{}}
}

// check returns an error that wraps ErrIncomplete and names the first object that is missing below a root.
func (c *completeness) check(ctx context.Context, tree, meta object.Checksum) error {
	if err := c.need(ctx, ostree.ObjectDirMeta, meta, "/"); err != nil {
		return err
	}
	return c.walk(ctx, tree, "/")
}

func (c *completeness) need(ctx context.Context, typ ostree.ObjectType, sum object.Checksum, path string) error {
	ok, err := c.index.Has(ctx, typ, sum)
	if err == nil && !ok {
		err = fmt.Errorf("%w: object %s.%s of %q is missing", ErrIncomplete, sum, typ, path)
	}
	return err
}

func (c *completeness) walk(ctx context.Context, tree object.Checksum, path string) error {
	if c.seen[tree] {
		return nil
	}
	if len(path) > maxPath {
		return fmt.Errorf("%w: path of more than %d bytes: %q", ErrLayout, maxPath, path)
	}
	if err := c.need(ctx, ostree.ObjectDirTree, tree, path); err != nil {
		return err
	}
	content, err := repoLoader{c.repo}.DirTree(ctx, tree)
	if err != nil {
		return fmt.Errorf("directory %q: %w", path, err)
	}
	for _, f := range content.Files {
		if err := c.need(ctx, ostree.ObjectFile, f.Sum, path+f.Name); err != nil {
			return err
		}
	}
	for _, d := range content.Dirs {
		if !c.seen[d.Meta] {
			if err := c.need(ctx, ostree.ObjectDirMeta, d.Meta, path+d.Name); err != nil {
				return err
			}
			c.seen[d.Meta] = true
		}
		if err := c.walk(ctx, d.Tree, path+d.Name+"/"); err != nil {
			return err
		}
	}
	c.seen[tree] = true
	return ctx.Err()
}

// countsVariant is an a{su} with sorted keys.
func countsVariant(counts map[string]uint32) (gvariant.Value, error) {
	var entries []gvariant.Value
	for _, key := range sortedKeys(counts) {
		entries = append(entries, gvariant.DictEntry(gvariant.String(key), gvariant.Uint32(counts[key])))
	}
	return gvariant.Array("{su}", entries...)
}
