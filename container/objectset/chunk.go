package objectset

import (
	"context"
	"errors"
	"io"
	"slices"

	"github.com/ostree-container/ostree-container/container/internal/object"
	"github.com/ostree-container/ostree-container/container/internal/objstore"
	"github.com/ostree-container/ostree-container/container/internal/work"
)

// ImportChunk reads a layer of content objects and stores them. The result is the commit of the layer, not stored yet: a tree whose
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
	slices.SortFunc(sums, func(a, b object.Checksum) int { return slices.Compare(a[:], b[:]) })
	tree := &object.DirTree{Files: make([]object.FileEntry, len(sums))}
	for i, sum := range sums {
		tree.Files[i] = object.FileEntry{Name: sum.String(), Sum: sum}
		if i > 0 && sums[i-1] == sum {
			return nil, formatError("Duplicate object: %s", sum)
		}
	}
	c := &object.Commit{}
	if c.Tree, err = store.DirTree(ctx, tree); err != nil {
		return nil, err
	}
	meta := object.RootDirMeta()
	c.Meta, err = store.DirMeta(ctx, &meta)
	return c, err
}

func (s *scanner) chunk() ([]object.Checksum, error) {
	var sums []object.Checksum
	for {
		m, err := s.next()
		if errors.Is(err, io.EOF) {
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
		if err != nil {
			return nil, atEntry(s.group.Ctx, m.header.Name, err)
		}
	}
}

func (s *scanner) finish() error {
	if s.pending != nil {
		return formatError("Found previous dangling xattrs for file object '%s'", s.pending.file)
	}
	return nil
}
