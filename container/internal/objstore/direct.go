package objstore

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/ostree-container/ostree-container/container/internal/ctxio"
	"github.com/ostree-container/ostree-container/container/internal/object"
	"github.com/ostree-container/ostree-container/container/internal/twinhash"
	"github.com/ostree-container/ostree-container/ostree"
)

// directConfig is what the repository's config says about writing.
type directConfig struct{ noSync bool }

// direct writes objects of bare and bare-user repositories itself: an unnamed file is filled, given its metadata and held open. A
// Publish syncs the file system, links what is held under its checksum into objects/, syncs those directories and sets refs. An
// object is never in objects/ before its bytes are on disk. Symlinks, which cannot be held, and files beyond what a process may have
// open get their name in a staging directory of libostree's own form at once, and are renamed.
type direct struct {
	repo     *ostree.Repo
	bareUser bool
	cfg      directConfig
	objects  int // fd of objects/
	stage    *stagingDir
	space    *spaceBudget
	uid      uint32 // of this process
	maxHeld  int64

	// waiting holds what was written since the last publish. Writers hold epoch shared while they stage a file and note it, so
	// that publish sees every object another goroutine may have found.
	epoch   sync.RWMutex
	mu      sync.Mutex
	waiting []waitingObject
	pending map[Object]struct{} // those, until they are in objects/

	inPlace atomic.Bool // something was linked into objects/ since the last sync
	lost    error       // a sync failed: the kernel says so once, so it is kept. Only publish uses it
	syncfs  func(fd int) error
	fsync   func(fd int) error
	known   [256]atomic.Bool // objects/XX exists
	files   fileIndex
	counter atomic.Uint64 // names of temporary symlinks
}

type waitingObject struct {
	Object
	fd int // of the unnamed file; -1: it has its name in the staging directory
}

// heldFiles is how many files of this process wait for a publish without a name, if it may have four times as many open.
const heldFiles = 2 * flushEvery

// held counts them, of all stores.
var held atomic.Int64

func maxHeld() int64 {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 0
	}
	return int64(min(limit.Cur/4, heldFiles))
}

func openDirect(ctx context.Context, repo *ostree.Repo, cfg directConfig) (*direct, error) {
	reserved, err := repo.MinFreeSpaceBytes(ctx)
	if err != nil {
		return nil, fmt.Errorf("repository %s: %w", repo.Path(), err)
	}
	if err := repo.IsWritable(ctx); err != nil {
		return nil, fmt.Errorf("repository %s: %w", repo.Path(), err)
	}
	objects, err := unix.Openat(repo.FD(), "objects", unix.O_DIRECTORY|unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: repo.Path() + "/objects", Err: err}
	}
	d := &direct{
		repo: repo, bareUser: repo.Mode() == ostree.ModeBareUser, cfg: cfg, objects: objects, syncfs: unix.Syncfs, fsync: unix.Fsync,
		space: &spaceBudget{path: repo.Path(), fd: objects, reserved: reserved}, uid: uint32(os.Geteuid()),
		maxHeld: maxHeld(), pending: map[Object]struct{}{},
	}
	d.inPlace.Store(true) // what a killed process linked and did not sync may be found
	var adopted []Object
	d.stage, adopted, err = openStaging(repo)
	if err != nil {
		return nil, errors.Join(err, unix.Close(objects))
	}
	for _, o := range adopted {
		d.note(o, -1)
	}
	probe, err := d.create(0o600)
	if err != nil {
		if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EISDIR) {
			err = errNoTmpfile
		}
		return nil, errors.Join(err, d.close())
	}
	probe.close()
	return d, nil
}

// errNoTmpfile: the file system has no unnamed files.
var errNoTmpfile = errors.New("the file system has no O_TMPFILE")

// path is the name below objects/ and below the staging directory.
func path(typ ostree.ObjectType, sum *object.Checksum) string {
	var b [80]byte
	return string(appendPath(b[:0], typ, sum))
}

func appendPath(b []byte, typ ostree.ObjectType, sum *object.Checksum) []byte {
	b = hex.AppendEncode(b, sum[:1])
	b = append(b, '/')
	b = hex.AppendEncode(b, sum[1:])
	return append(b, suffixes[typ]...)
}

var suffixes = map[ostree.ObjectType]string{
	ostree.ObjectFile: ".file", ostree.ObjectDirTree: ".dirtree", ostree.ObjectDirMeta: ".dirmeta", ostree.ObjectCommit: ".commit",
}

func (d *direct) has(_ context.Context, typ ostree.ObjectType, sum object.Checksum) (bool, error) {
	d.mu.Lock()
	_, ok := d.pending[Object{sum, typ}]
	d.mu.Unlock()
	if ok {
		return true, nil
	}
	name := path(typ, &sum)
	var st unix.Stat_t
	switch err := unix.Fstatat(d.objects, name, &st, unix.AT_SYMLINK_NOFOLLOW); {
	case err == nil:
		return true, nil
	case errors.Is(err, unix.ENOENT):
		return false, nil
	default:
		return false, &os.PathError{Op: "stat", Path: name, Err: err}
	}
}

func (d *direct) file(ctx context.Context, sum object.Checksum, m *object.Meta, target string, content []byte) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	if m.Mode&object.ModeType == object.ModeSymlink {
		if !d.bareUser {
			return d.symlink(sum, m, target)
		}
		content = []byte(target)
	}
	if err := d.space.take(int64(len(content))); err != nil {
		return err
	}
	f, err := d.create(d.fileMode(m))
	if err != nil {
		return err
	}
	defer f.close()
	if err := f.write(content); err != nil {
		return err
	}
	return d.finish(f, sum, m)
}

func (d *direct) stream(ctx context.Context, want object.Checksum, m *object.Meta, size int64, r io.Reader) (object.Checksum, bool, error) {
	if !want.IsZero() {
		if present, err := d.hasFile(ctx, want); err != nil {
			return want, false, err
		} else if present {
			return verifyStream(ctx, want, m, size, r)
		}
	}
	if err := d.space.check(size); err != nil {
		return want, false, err
	}
	f, err := d.create(d.fileMode(m))
	if err != nil {
		return want, false, err
	}
	defer f.close()
	hash := object.NewFileHash(m)
	if err := d.copy(ctx, f, hashing(r, hash), size); err != nil {
		return want, false, err
	}
	sum := object.Checksum(hash.Sum())
	if !want.IsZero() && sum != want {
		return sum, false, Mismatch(want, sum)
	}
	if present, err := d.hasFile(ctx, sum); err != nil || present {
		return sum, false, err
	}
	return sum, true, d.finish(f, sum, m)
}

// copyBuffers holds the buffers through which large files go. Memory of this size begins at a page, as direct writes want it; where it
// should not, they fail and are done in the usual way.
var copyBuffers = sync.Pool{New: func() any { b := make([]byte, 512<<10); return &b }}

// hashing returns a reader of r that adds what is read to hash.
func hashing(r io.Reader, hash *twinhash.Hash) io.Reader {
	if member, ok := r.(twinhash.Through); ok {
		return member.Hashing(hash)
	}
	return twinhash.NewReader(r, hash)
}

// copy moves size bytes through a bounded buffer into f, past the page cache: nobody reads a new object soon, and the sync before it
// becomes visible finds it on the disk already.
func (d *direct) copy(ctx context.Context, f *tmpFile, r io.Reader, size int64) error {
	buf := copyBuffers.Get().(*[]byte)
	defer copyBuffers.Put(buf)
	if !d.cfg.noSync {
		f.bypassCache()
	}
	for left := size; left > 0; {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		n, err := io.ReadFull(r, (*buf)[:min(left, int64(len(*buf)))])
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
		if err := d.space.take(int64(n)); err != nil {
			return err
		}
		if err := f.write((*buf)[:n]); err != nil {
			return err
		}
		left -= int64(n)
	}
	return nil
}

// verifyStream reads a file that is in the repository already and checks that it is what it is said to be.
func verifyStream(ctx context.Context, want object.Checksum, m *object.Meta, size int64, r io.Reader) (object.Checksum, bool, error) {
	hash := object.NewFileHash(m)
	buf := copyBuffers.Get().(*[]byte)
	defer copyBuffers.Put(buf)
	source := io.LimitReader(ctxio.NewReader(ctx, hashing(r, hash)), size)
	n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{source}, *buf)
	if err != nil {
		return want, false, err
	}
	if n != size {
		return want, false, io.ErrUnexpectedEOF
	}
	if sum := object.Checksum(hash.Sum()); sum != want {
		return sum, false, Mismatch(want, sum)
	}
	return want, false, nil
}

func (d *direct) metadata(ctx context.Context, typ ostree.ObjectType, sum object.Checksum, data []byte) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	if err := d.space.take(int64(len(data))); err != nil {
		return err
	}
	f, err := d.create(0o644)
	if err != nil {
		return err
	}
	defer f.close()
	if err := f.write(data); err != nil {
		return err
	}
	if err := f.setMode(0o644); err != nil {
		return err
	}
	return d.keep(f, sum, typ)
}

// fileMode returns the permissions that a file or, in a bare-user repository, symlink has on disk.
func (d *direct) fileMode(m *object.Meta) uint32 {
	switch {
	case !d.bareUser:
		return m.Mode & 0o7777
	case m.Mode&object.ModeType == object.ModeRegular:
		return m.Mode&0o775 | 0o400
	}
	return 0o644
}

// finish gives a filled file the metadata of its object, as the repository mode keeps it, and stages it.
func (d *direct) finish(f *tmpFile, sum object.Checksum, m *object.Meta) error {
	if d.bareUser {
		if err := f.setXattr("user.ostreemeta", object.AppendMeta(nil, m)); err != nil {
			return err
		}
		if err := f.setMode(d.fileMode(m)); err != nil {
			return err
		}
	} else {
		if err := f.setOwner(m.UID, m.GID); err != nil {
			return err
		}
		if err := f.setMode(d.fileMode(m)); err != nil {
			return err
		}
		for _, x := range m.Xattrs { // after fchown, which clears security.capability
			if err := f.setXattr(x.Name, x.Value); err != nil {
				return err
			}
		}
		if altered(m) {
			if err := f.checkHeld(m); err != nil {
				return err
			}
		}
	}
	// libostree gives every object the modification time 0 and leaves the access time alone.
	if err := f.setTimes(unix.Timespec{Nsec: unix.UTIME_OMIT}, unix.Timespec{}); err != nil {
		return err
	}
	return d.keep(f, sum, ostree.ObjectFile)
}

// symlink stages a symlink of a bare repository, which is a symlink on disk.
func (d *direct) symlink(sum object.Checksum, m *object.Meta, target string) error {
	tmp := "tmp-symlink-" + strconv.FormatUint(d.counter.Add(1), 10)
	if err := unix.Symlinkat(target, d.stage.fd, tmp); err != nil {
		return &os.PathError{Op: "symlink", Path: d.stage.name, Err: err}
	}
	err := func() error {
		if err := unix.Fchownat(d.stage.fd, tmp, int(m.UID), int(m.GID), unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return &os.PathError{Op: "lchown", Path: d.stage.name, Err: err}
		}
		for _, x := range m.Xattrs {
			p := "/proc/self/fd/" + strconv.Itoa(d.stage.fd) + "/" + tmp
			if err := unix.Lsetxattr(p, x.Name, x.Value, 0); err != nil {
				return fmt.Errorf("set xattr %q (%d bytes) on a symlink: %w", x.Name, len(x.Value), err)
			}
		}
		if altered(m) {
			p := "/proc/self/fd/" + strconv.Itoa(d.stage.fd) + "/" + tmp
			get := func(name string, dest []byte) (int, error) { return unix.Lgetxattr(p, name, dest) }
			if err := checkHeld(m, get, func() (uint32, error) { return m.Mode, nil }); err != nil {
				return err
			}
		}
		return d.stage.ensure(sum[0])
	}()
	if err == nil {
		d.epoch.RLock()
		defer d.epoch.RUnlock()
		// Linked, not renamed: of two goroutines with the same symlink only one may note it.
		switch err = unix.Linkat(d.stage.fd, tmp, d.stage.fd, path(ostree.ObjectFile, &sum), 0); {
		case err == nil:
			d.note(Object{sum, ostree.ObjectFile}, -1)
		case errors.Is(err, unix.EEXIST): // another goroutine was faster
			err = nil
		default:
			err = &os.PathError{Op: "link", Path: d.stage.name, Err: err}
		}
	}
	return errors.Join(err, unix.Unlinkat(d.stage.fd, tmp, 0))
}

// keep leaves a complete file to the next publish, which also sees to one that another goroutine has written meanwhile.
func (d *direct) keep(f *tmpFile, sum object.Checksum, typ ostree.ObjectType) error {
	if held.Add(1) <= d.maxHeld {
		if d.note(Object{sum, typ}, f.fd) {
			f.fd = -1
		} else {
			held.Add(-1)
		}
		return nil
	}
	held.Add(-1)
	if err := d.stage.ensure(sum[0]); err != nil {
		return err
	}
	d.epoch.RLock()
	defer d.epoch.RUnlock()
	switch err := f.linkInto(d.stage.fd, path(typ, &sum)); {
	case errors.Is(err, unix.EEXIST): // another goroutine was faster with the same object
		return nil
	case err != nil:
		return &os.PathError{Op: "link", Path: d.stage.name, Err: err}
	}
	d.note(Object{sum, typ}, -1)
	return nil
}

// note adds an object to those that wait, unless it is one of them.
func (d *direct) note(o Object, fd int) bool {
	d.mu.Lock()
	_, known := d.pending[o]
	if !known {
		d.pending[o] = struct{}{}
		d.waiting = append(d.waiting, waitingObject{o, fd})
	}
	d.mu.Unlock()
	if !known && o.Type == ostree.ObjectFile {
		d.files.note(o.Sum)
	}
	return !known
}

func (d *direct) close() error {
	for _, o := range d.waiting {
		if o.fd >= 0 {
			var st unix.Stat_t
			if unix.Fstat(o.fd, &st) == nil && st.Nlink == 0 {
				_ = unix.Ftruncate(o.fd, 0) // a child of this process that is about to exec may have a copy: give the room back now
			}
			_ = unix.Close(o.fd)
			held.Add(-1)
		}
	}
	return errors.Join(d.stage.close(), unix.Close(d.objects))
}

func ensureDir(parent int, xx byte, known *[256]atomic.Bool) error {
	if known[xx].Load() {
		return nil
	}
	name := fmt.Sprintf("%02x", xx)
	if err := unix.Mkdirat(parent, name, 0o775); err != nil && !errors.Is(err, unix.EEXIST) {
		return &os.PathError{Op: "mkdir", Path: name, Err: err}
	}
	known[xx].Store(true)
	return nil
}
