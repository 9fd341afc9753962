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
func (s *Store) Relabel(ctx context.Context, sum object.Checksum, labelFor func(mode uint32) (string, error)) (_ object.Checksum, err error) {
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
	label, err := labelFor(f.Info.Mode)
	if err != nil || label == "" {
		return sum, err
	}
	m := MetaOf(f)
	if have, ok := m.Xattr(object.LabelXattr); ok && string(have) == label+"\x00" {
		return sum, nil
	}
	m.Xattrs = object.WithLabel(m.Xattrs, label)
	return s.Loaded(ctx, object.Checksum{}, m, f)
}
