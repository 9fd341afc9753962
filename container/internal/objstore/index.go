package objstore

import (
	"context"
	"slices"
	"strings"

	"github.com/ostree-container/ostree-container/container/internal/object"
	"github.com/ostree-container/ostree-container/ostree"
)

// Index answers Has for many content objects: instead of asking for each, it lists the directories of the repository once, when
// they are first needed. It costs 32 bytes per object. Objects must not be removed meanwhile, which the lock of the Store sees to.
// Not safe for concurrent use.
type Index struct {
	store *Store
	files [256][]object.Checksum // by first byte, sorted; nil: not listed yet
}

// NewIndex returns an empty Index.
func (s *Store) NewIndex() *Index { return &Index{store: s} }

// Has is Store.Has.
func (x *Index) Has(ctx context.Context, typ ostree.ObjectType, sum object.Checksum) (bool, error) {
	d, ok := x.store.backend.(*direct)
	if !ok || typ != ostree.ObjectFile {
		return x.store.Has(ctx, typ, sum)
	}
	xx := sum[0]
	if x.files[xx] == nil {
		files, err := d.list(xx)
		if err != nil {
			return false, err
		}
		x.files[xx] = files
	}
	if _, found := slices.BinarySearchFunc(x.files[xx], sum, compareSums); found {
		return true, nil
	}
	return x.store.Has(ctx, typ, sum) // staged, or written since
}

func compareSums(a, b object.Checksum) int { return slices.Compare(a[:], b[:]) }

// list returns the content objects in objects/XX, sorted, never nil.
func (d *direct) list(xx byte) ([]object.Checksum, error) {
	prefix := path(ostree.ObjectFile, &object.Checksum{xx})[:2]
	if err := ensureDir(d.objects, xx, &d.known); err != nil {
		return nil, err
	}
	names, err := readNames(d.objects, prefix)
	if err != nil {
		return nil, err
	}
	sums := make([]object.Checksum, 0, len(names))
	for _, name := range names {
		if rest, ok := strings.CutSuffix(name, suffixes[ostree.ObjectFile]); ok {
			if sum, err := object.ParseChecksum(prefix + rest); err == nil {
				sums = append(sums, sum)
			}
		}
	}
	slices.SortFunc(sums, compareSums)
	return sums, nil
}
