package objstore

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/ostree-container/ostree-container/container/internal/object"
	"github.com/ostree-container/ostree-container/ostree"
)

// relabelInline is up to which size, in bytes, a file is relabelled in memory.
const relabelInline = 256 << 10

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
	old := make([]object.Xattr, len(f.Xattrs))
	for i, x := range f.Xattrs {
		old[i] = object.Xattr{Name: x.Name, Value: x.Value}
	}
	m := &object.Meta{UID: f.Info.UID, GID: f.Info.GID, Mode: f.Info.Mode, Xattrs: object.WithLabel(old, label)}
	if have, ok := (&object.Meta{Xattrs: old}).Xattr(object.LabelXattr); ok && string(have) == label+"\x00" {
		return sum, nil
	}
	switch {
	case f.Info.SymlinkTarget != "":
		return s.File(ctx, object.Checksum{}, m, f.Info.SymlinkTarget, nil)
	case f.Info.Size <= relabelInline:
		content := make([]byte, f.Info.Size)
		if _, err := io.ReadFull(f, content); err != nil {
			return sum, fmt.Errorf("read object %s: %w", sum, err)
		}
		return s.File(ctx, object.Checksum{}, m, "", content)
	}
	return s.Stream(ctx, object.Checksum{}, m, f.Info.Size, f)
}
