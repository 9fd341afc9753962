package objectset

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/ostree-container/ostree-container/container/internal/object"
	"github.com/ostree-container/ostree-container/container/internal/objstore"
	"github.com/ostree-container/ostree-container/container/internal/work"
	"github.com/ostree-container/ostree-container/container/layer"
)

// ImportChunk reads a layer of content objects, an uncompressed tar stream, and stores them. The result is the commit of the layer, not stored yet: a tree whose
// files are named by their checksums, timestamp 0, no metadata, so that it is the same everywhere. Errors about a member are
// *layer.EntryError.
func ImportChunk(ctx context.Context, store *objstore.Store, pool *work.Pool, r io.Reader) (*object.Commit, error) {
	s := newScanner(ctx, store, pool, r)
	defer s.group.Cancel(nil)
	sums, err := s.chunk()
	if err != nil {
		s.group.Cancel(err)
	}
	if err := s.group.Wait(); err != nil {
		return nil, err
	}
	tree := &object.DirTree{Files: make([]object.FileEntry, len(sums))}
	for i, sum := range sums {
		tree.Files[i] = object.FileEntry{Name: sum.String(), Sum: sum}
	}
	c := &object.Commit{}
	if c.Tree, err = store.DirTree(ctx, tree); err != nil {
		return nil, err
	}
	meta := object.RootDirMeta()
	c.Meta, err = store.DirMeta(ctx, &meta)
	return c, err
}

// maxObjects is how many objects one chunk may hold: it becomes one directory.
const maxObjects = 1_000_000

// chunk returns the sorted checksums of all content objects.
func (s *scanner) chunk() ([]object.Checksum, error) {
	var sums []object.Checksum
	check := 1024 // at which length duplicates are looked for
	for {
		m, err := s.next()
		if errors.Is(err, io.EOF) {
			if err := uniqueSorted(sums); err != nil {
				return nil, err
			}
			return sums, s.finish()
		} else if err != nil {
			return nil, err
		}
		switch m.kind {
		case "commit", "commitmeta", "dirtree", "dirmeta":
			err = formatError("Found metadata object %s.%s in object set mode", m.sum, m.kind)
		default:
			var isFile bool
			if isFile, err = s.content(m); isFile {
				sums = append(sums, m.sum)
			}
		}
		// Each doubling costs one sort, and what is held is at most twice the distinct objects.
		if err == nil && len(sums) == check {
			err = uniqueSorted(sums)
			check *= 2
		}
		if err == nil && len(sums) > maxObjects {
			err = fmt.Errorf("%w: more than %d objects", layer.ErrLimit, maxObjects)
		}
		if err != nil {
			return nil, atEntry(s.group.Ctx, m.header.Name, err)
		}
	}
}

// uniqueSorted sorts checksums and refuses one that is there twice.
func uniqueSorted(sums []object.Checksum) error {
	slices.SortFunc(sums, object.Checksum.Compare)
	for i, sum := range sums {
		if i > 0 && sums[i-1] == sum {
			return formatError("Duplicate object: %s", sum)
		}
	}
	return nil
}

func (s *scanner) finish() error {
	if s.pending != nil {
		return formatError("Found previous dangling xattrs for file object '%s'", s.pending.file)
	}
	return nil
}
