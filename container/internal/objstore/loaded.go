package objstore

import (
	"context"
	"fmt"
	"io"

	"github.com/ostree-container/ostree-container/container/internal/object"
	"github.com/ostree-container/ostree-container/container/internal/work"
	"github.com/ostree-container/ostree-container/ostree"
)

// MetaOf returns the metadata of a content object that libostree has loaded.
func MetaOf(f *ostree.File) *object.Meta {
	m := &object.Meta{UID: f.Info.UID, GID: f.Info.GID, Mode: f.Info.Mode, Xattrs: make([]object.Xattr, len(f.Xattrs))}
	for i, x := range f.Xattrs {
		m.Xattrs[i] = object.Xattr{Name: x.Name, Value: x.Value}
	}
	return m
}

// Loaded stores the content of a loaded object with the metadata m; want is as in File.
func (s *Store) Loaded(ctx context.Context, want object.Checksum, m *object.Meta, f *ostree.File) (object.Checksum, error) {
	switch {
	case f.Info.SymlinkTarget != "":
		return s.File(ctx, want, m, f.Info.SymlinkTarget, nil)
	case f.Info.Size <= work.SmallFile:
		content := make([]byte, f.Info.Size)
		if _, err := io.ReadFull(f, content); err != nil {
			return want, fmt.Errorf("read object: %w", err)
		}
		return s.File(ctx, want, m, "", content)
	}
	return s.Stream(ctx, want, m, f.Info.Size, f)
}
