package objstore

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"os"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/ostree-container/ostree-container/container/internal/object"
	"github.com/ostree-container/ostree-container/ostree"
)

// Index answers Has for many content objects: instead of asking for each, it lists the directories of the repository once, when
// they are first needed. It costs 32 bytes per object. Objects must not be removed meanwhile, which the lock of the Store sees to.
// Safe for concurrent use.
type Index struct {
	store *Store
	mu    sync.Mutex
	files [256][]object.Checksum // by first byte, sorted; nil: not listed yet
}

// Index returns the one Index of the store.
func (s *Store) Index() *Index {
	s.indexOnce.Do(func() { s.index = &Index{store: s} })
	return s.index
}

// Has is Store.Has.
func (x *Index) Has(ctx context.Context, typ ostree.ObjectType, sum object.Checksum) (bool, error) {
	d, ok := x.store.backend.(*direct)
	if !ok || typ != ostree.ObjectFile {
		return x.store.Has(ctx, typ, sum)
	}
	files, err := x.listed(d, sum[0])
	if err != nil {
		return false, err
	}
	if _, found := slices.BinarySearchFunc(files, sum, compareSums); found {
		return true, nil
	}
	return x.store.Has(ctx, typ, sum) // staged, or written since
}

func (x *Index) listed(d *direct, xx byte) ([]object.Checksum, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	var err error
	if x.files[xx] == nil {
		x.files[xx], err = d.list(xx)
	}
	return x.files[xx], err
}

func compareSums(a, b object.Checksum) int { return bytes.Compare(a[:], b[:]) }

// list returns the content objects in objects/XX, sorted, never nil. There may be hundreds of thousands in all, so names are read in
// place.
func (d *direct) list(xx byte) (_ []object.Checksum, err error) {
	prefix := path(ostree.ObjectFile, &object.Checksum{xx})[:2]
	if err := ensureDir(d.objects, xx, &d.known); err != nil {
		return nil, err
	}
	fd, err := unix.Openat(d.objects, prefix, unix.O_DIRECTORY|unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: "objects/" + prefix, Err: err}
	}
	defer func() { err = errors.Join(err, unix.Close(fd)) }()
	sums := []object.Checksum{}
	buf := make([]byte, 32<<10)
	for {
		n, err := unix.Getdents(fd, buf)
		if err != nil {
			return nil, &os.PathError{Op: "list", Path: "objects/" + prefix, Err: err}
		}
		if n == 0 {
			break
		}
		for entry := buf[:n]; len(entry) > 0; {
			// struct linux_dirent64: inode and offset of 8 bytes each, size of 2, type of 1, name
			size := binary.NativeEndian.Uint16(entry[16:])
			name, _, _ := bytes.Cut(entry[19:size], []byte{0})
			entry = entry[size:]
			sum := object.Checksum{xx}
			if stem, ok := bytes.CutSuffix(name, fileSuffix); ok && len(stem) == 2*len(sum)-2 {
				if _, err := hex.Decode(sum[1:], stem); err == nil {
					sums = append(sums, sum)
				}
			}
		}
	}
	slices.SortFunc(sums, compareSums)
	return sums, nil
}

var fileSuffix = []byte(suffixes[ostree.ObjectFile])
