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

// Has reports whether the repository has an object.
func (l repoLoader) Has(ctx context.Context, typ ostree.ObjectType, sum object.Checksum) (bool, error) {
	return l.repo.HasObject(ctx, typ, sum.String())
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
	tree, meta, err := repoLoader{i.repo}.Root(ctx, checksum)
	if err != nil {
		return nil, err
	}
	t := union.New(repoLoader{i.repo})
	t.Base(tree, meta)
	return t, nil
}

// Root returns the root of a commit.
func (l repoLoader) Root(ctx context.Context, checksum string) (tree, meta object.Checksum, err error) {
	commit, _, err := l.repo.LoadCommit(ctx, checksum)
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
