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
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/ostree-container/ostree-container/container/internal/object"
	"github.com/ostree-container/ostree-container/ostree"
)

// Index answers Has for many content objects without a call of the system for each; it is exact. Objects must not be removed
// meanwhile, which the lock of the Store sees to. Safe for concurrent use.
type Index struct{ store *Store }

// Index returns an Index of the store.
func (s *Store) Index() Index { return Index{s} }

// Has is Store.Has.
func (x Index) Has(ctx context.Context, typ ostree.ObjectType, sum object.Checksum) (bool, error) {
	if d, ok := x.store.backend.(*direct); ok && typ == ostree.ObjectFile {
		if known, err := d.files.has(d, sum); known || err != nil {
			return known, err
		}
	}
	return x.store.Has(ctx, typ, sum) // another process may have written it since
}

// fileIndex knows the content objects of a repository: instead of asking for each, it lists a directory once, when it is first needed,
// and is told what is written. It costs 32 bytes for each object that is there, and no more than some 2 MB for new ones.
type fileIndex struct {
	dirs  [256]fileDir
	noted atomic.Int64
}

type fileDir struct {
	mu     sync.Mutex
	listed []object.Checksum   // sorted; nil: not listed yet
	noted  map[uint64]struct{} // eight bytes of their checksums
}

func noteOf(sum *object.Checksum) uint64 { return binary.NativeEndian.Uint64(sum[1:]) }

// maxNoted is how many new objects are remembered.
const maxNoted = 128 << 10

// has reports whether an object is known. It may miss what another process has written since the directory was listed.
func (x *fileIndex) has(d *direct, sum object.Checksum) (bool, error) {
	dir := &x.dirs[sum[0]]
	dir.mu.Lock()
	defer dir.mu.Unlock()
	if _, ok := dir.noted[noteOf(&sum)]; ok {
		if known, err := d.has(context.Background(), ostree.ObjectFile, sum); known || err != nil {
			return known, err
		}
	}
	if dir.listed == nil {
		var err error
		if dir.listed, err = d.list(sum[0]); err != nil {
			return false, err
		}
	}
	_, found := slices.BinarySearchFunc(dir.listed, sum, object.Checksum.Compare)
	return found, nil
}

// note remembers a new object.
func (x *fileIndex) note(sum object.Checksum) {
	if x.noted.Add(1) > maxNoted {
		return
	}
	dir := &x.dirs[sum[0]]
	dir.mu.Lock()
	defer dir.mu.Unlock()
	if dir.noted == nil {
		dir.noted = map[uint64]struct{}{}
	}
	dir.noted[noteOf(&sum)] = struct{}{}
}

// complete reports whether every new object is remembered.
func (x *fileIndex) complete() bool { return x.noted.Load() <= maxNoted }

// hasFile is has for writers: an object that another process has just written may be written again.
func (d *direct) hasFile(ctx context.Context, sum object.Checksum) (bool, error) {
	known, err := d.files.has(d, sum)
	if known || err != nil || d.files.complete() {
		return known, err
	}
	return d.has(ctx, ostree.ObjectFile, sum)
}

// list returns the content objects in objects/XX, sorted, never nil. There may be hundreds of thousands in all, so names are read in
// place.
func (d *direct) list(xx byte) (_ []object.Checksum, err error) {
	prefix := path(ostree.ObjectFile, &object.Checksum{xx})[:2]
	fd, err := unix.Openat(d.objects, prefix, unix.O_DIRECTORY|unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		return []object.Checksum{}, nil
	}
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
	slices.SortFunc(sums, object.Checksum.Compare)
	return sums, nil
}

var fileSuffix = []byte(suffixes[ostree.ObjectFile])
