package objstore

import (
	"context"
	"errors"
	"fmt"

	"github.com/ostree-container/ostree-container/container/internal/object"
	"github.com/ostree-container/ostree-container/ostree"
)

// Relabel stores a file or symlink again with the SELinux label that is right for its mode and returns its new checksum, which is the
// old one if that label is there already. An empty label changes nothing. Its content is read only if it is stored again.
func (s *Store) Relabel(ctx context.Context, sum object.Checksum, labelFor func(mode uint32) (string, error)) (object.Checksum, error) {
	return s.Change(ctx, sum, func(m *object.Meta, _ int64) (object.Checksum, error) {
		label, err := labelFor(m.Mode)
		if err != nil || label == "" {
			return sum, err
		}
		if have, ok := m.Xattr(object.LabelXattr); ok && string(have) == label+"\x00" {
			return sum, nil
		}
		m.Xattrs = object.WithLabel(m.Xattrs, label)
		return object.Checksum{}, nil
	})
}

// Change stores a file or symlink again with other metadata and returns its new checksum. edit, which is told the size in bytes, changes the
// metadata at hand and returns the zero checksum, or, if nothing is to be stored, the checksum to return. The content is read only if it is
// stored again.
func (s *Store) Change(ctx context.Context, sum object.Checksum, edit func(m *object.Meta, size int64) (object.Checksum, error)) (_ object.Checksum, err error) {
	f, err := s.repo.LoadFile(ctx, sum.String())
	if errors.Is(err, ostree.ErrNotFound) { // not published yet
		if err := s.Publish(ctx, nil); err != nil {
			return sum, err
		}
		f, err = s.repo.LoadFile(ctx, sum.String())
	}
	if err != nil {
		return sum, fmt.Errorf("load object %s: %w", sum, err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	m := MetaOf(f)
	if known, err := edit(m, f.Info.Size); err != nil || !known.IsZero() {
		return known, err
	}
	return s.Loaded(ctx, object.Checksum{}, m, f)
}
