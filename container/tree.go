package container

import (
	"context"
	"fmt"

	"github.com/ostree-container/ostree-container/container/internal/object"
	"github.com/ostree-container/ostree-container/container/internal/objstore"
	"github.com/ostree-container/ostree-container/container/internal/union"
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

// DirMeta reads the metadata of a directory. A tree has few of them: they are compared with their checksum.
func (l repoLoader) DirMeta(ctx context.Context, sum object.Checksum) (*object.Meta, error) {
	data, err := objstore.LoadMetadata(ctx, l.repo, ostree.ObjectDirMeta, sum)
	if err != nil {
		return nil, err
	}
	if object.Sum(data) != sum {
		return nil, fmt.Errorf("object %s.dirmeta: %w: another checksum", sum, ostree.ErrCorrupt)
	}
	m, err := object.DecodeMeta(data)
	if err != nil {
		return nil, fmt.Errorf("object %s.dirmeta: %w", sum, err)
	}
	return m, nil
}

// damage returns what is wrong with a directory of a commit, if anything is. libostree's composefs says only that something is.
func (l repoLoader) damage(ctx context.Context, checksum string) error {
	commit, _, err := l.repo.LoadCommit(ctx, checksum)
	if err != nil {
		return err
	}
	tree, meta, err := rootOf(commit)
	if err != nil {
		return err
	}
	return l.damageBelow(ctx, tree, meta, "/", map[object.Checksum]bool{})
}

func (l repoLoader) damageBelow(ctx context.Context, tree, meta object.Checksum, path string, sound map[object.Checksum]bool) error {
	if !sound[meta] {
		if _, err := l.DirMeta(ctx, meta); err != nil {
			return fmt.Errorf("directory %q: %w", path, err)
		}
		sound[meta] = true
	}
	if sound[tree] {
		return nil
	}
	t, err := l.DirTree(ctx, tree)
	if err != nil {
		return fmt.Errorf("directory %q: %w", path, err)
	}
	for _, d := range t.Dirs {
		if err := l.damageBelow(ctx, d.Tree, d.Meta, path+d.Name+"/", sound); err != nil {
			return err
		}
	}
	sound[tree] = true
	return nil
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
