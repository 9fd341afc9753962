package objstore

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"strconv"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/ostree-container/ostree-container/container/internal/ctxio"
	"github.com/ostree-container/ostree-container/container/internal/object"
	"github.com/ostree-container/ostree-container/ostree"
)

// directConfig is what the repository's config says about writing.
type directConfig struct{ noSync bool }

// direct writes objects of bare and bare-user repositories itself: an unnamed file is filled, given its metadata and only then
// linked under its checksum into a staging directory of libostree's own form. A Publish syncs the file system, renames what was
// staged into objects/, syncs those directories and sets refs. An object is never in objects/ before its bytes are on disk.
type direct struct {
	repo     *ostree.Repo
	bareUser bool
	cfg      directConfig
	objects  int // fd of objects/
	stage    *stagingDir
	space    *spaceBudget
	uid, gid uint32 // of a file that this process makes

	// linked holds what was staged since the last publish. Writers hold epoch shared while they link a file and note it, so
	// that publish sees every object another goroutine may have found.
	epoch  sync.RWMutex
	mu     sync.Mutex
	linked []stagedObject

	inPlace atomic.Bool // something was linked into objects/ since the last sync
	lost    error       // a sync failed: the kernel says so once, so it is kept. Only publish uses it
	syncfs  func(fd int) error
	fsync   func(fd int) error
	known   [256]atomic.Bool // objects/XX exists
	files   fileIndex
	counter atomic.Uint64 // names of temporary symlinks
}

type stagedObject struct {
	sum object.Checksum
	typ ostree.ObjectType
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
		space: &spaceBudget{path: repo.Path(), fd: objects, reserved: reserved}, uid: uint32(os.Geteuid()), gid: uint32(os.Getegid()),
	}
	var adopted []stagedObject
	d.stage, adopted, err = openStaging(repo)
	if err != nil {
		return nil, errors.Join(err, unix.Close(objects))
	}
	for _, o := range adopted {
		d.note(o)
	}
	probe, err := d.create()
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
	const hexdigits = "0123456789abcdef"
	var b [80]byte
	n := 0
	for i, c := range sum {
		b[n], b[n+1] = hexdigits[c>>4], hexdigits[c&15]
		n += 2
		if i == 0 {
			b[n] = '/'
			n++
		}
	}
	n += copy(b[n:], suffixes[typ])
	return string(b[:n])
}

var suffixes = map[ostree.ObjectType]string{
	ostree.ObjectFile: ".file", ostree.ObjectDirTree: ".dirtree", ostree.ObjectDirMeta: ".dirmeta", ostree.ObjectCommit: ".commit",
}

func (d *direct) has(_ context.Context, typ ostree.ObjectType, sum object.Checksum) (bool, error) {
	name := path(typ, &sum)
	for _, dir := range []int{d.objects, d.stage.fd} {
		var st unix.Stat_t
		switch err := unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW); {
		case err == nil:
			return true, nil
		case !errors.Is(err, unix.ENOENT):
			return false, &os.PathError{Op: "stat", Path: name, Err: err}
		}
	}
	return false, nil
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
	f, err := d.create()
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
	f, err := d.create()
	if err != nil {
		return want, false, err
	}
	defer f.close()
	h := sha256.New()
	h.Write(object.AppendFileHeader(nil, m, ""))
	if err := d.copy(ctx, f, h, size, r); err != nil {
		return want, false, err
	}
	sum := object.Checksum(h.Sum(nil))
	if !want.IsZero() && sum != want {
		return sum, false, fmt.Errorf("%w: checksum expected=%s actual=%s", ErrMismatch, want, sum)
	}
	if present, err := d.hasFile(ctx, sum); err != nil || present {
		return sum, false, err
	}
	return sum, true, d.finish(f, sum, m)
}

// copyBuffers holds the buffers through which large files go. Memory of this size begins at a page, as direct writes want it; where it
// should not, they fail and are done in the usual way.
var copyBuffers = sync.Pool{New: func() any { b := make([]byte, 512<<10); return &b }}

// copy moves size bytes through a bounded buffer into f and h, past the page cache: nobody reads a new object soon, and the sync before it
// becomes visible finds it on the disk already.
func (d *direct) copy(ctx context.Context, f *tmpFile, h hash.Hash, size int64, r io.Reader) error {
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
		h.Write((*buf)[:n])
		if err := f.write((*buf)[:n]); err != nil {
			return err
		}
		left -= int64(n)
	}
	return nil
}

// verifyStream reads a file that is in the repository already and checks that it is what it is said to be.
func verifyStream(ctx context.Context, want object.Checksum, m *object.Meta, size int64, r io.Reader) (object.Checksum, bool, error) {
	h := sha256.New()
	h.Write(object.AppendFileHeader(nil, m, ""))
	buf := copyBuffers.Get().(*[]byte)
	defer copyBuffers.Put(buf)
	n, err := io.CopyBuffer(struct{ io.Writer }{h}, struct{ io.Reader }{io.LimitReader(ctxio.NewReader(ctx, r), size)}, *buf)
	if err != nil {
		return want, false, err
	}
	if n != size {
		return want, false, io.ErrUnexpectedEOF
	}
	if sum := object.Checksum(h.Sum(nil)); sum != want {
		return sum, false, fmt.Errorf("%w: checksum expected=%s actual=%s", ErrMismatch, want, sum)
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
	f, err := d.create()
	if err != nil {
		return err
	}
	defer f.close()
	if err := f.write(data); err != nil {
		return err
	}
	if err := unix.Fchmod(f.fd, 0o644); err != nil {
		return &os.PathError{Op: "fchmod", Path: d.stage.name, Err: err}
	}
	return d.link(f, sum, typ)
}

// finish gives a filled file the metadata of its object, as the repository mode keeps it, and stages it.
func (d *direct) finish(f *tmpFile, sum object.Checksum, m *object.Meta) error {
	if d.bareUser {
		if err := f.setXattr("user.ostreemeta", object.AppendMeta(nil, m)); err != nil {
			return err
		}
		mode := uint32(0o644)
		if m.Mode&object.ModeType == object.ModeRegular {
			mode = m.Mode&0o775 | 0o400
		}
		if err := unix.Fchmod(f.fd, mode); err != nil {
			return &os.PathError{Op: "fchmod", Path: d.stage.name, Err: err}
		}
	} else {
		if m.UID != d.uid || m.GID != d.gid || d.stage.setgid {
			if err := unix.Fchown(f.fd, int(m.UID), int(m.GID)); err != nil {
				return &os.PathError{Op: "fchown", Path: d.stage.name, Err: err}
			}
		}
		if err := unix.Fchmod(f.fd, m.Mode&0o7777); err != nil {
			return &os.PathError{Op: "fchmod", Path: d.stage.name, Err: err}
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
	times := []unix.Timespec{{Nsec: unix.UTIME_OMIT}, {}}
	if err := unix.UtimesNanoAt(f.fd, "", times, unix.AT_EMPTY_PATH); err != nil {
		return &os.PathError{Op: "utimensat", Path: d.stage.name, Err: err}
	}
	return d.link(f, sum, ostree.ObjectFile)
}

// symlink stages a symlink of a bare repository, which is a symlink on disk.
func (d *direct) symlink(sum object.Checksum, m *object.Meta, target string) error {
	tmp := "tmp-symlink-" + strconv.FormatUint(d.counter.Add(1), 10)
	if err := unix.Symlinkat(target, d.stage.fd, tmp); err != nil {
		return &os.PathError{Op: "symlink", Path: d.stage.name, Err: err}
	}
	err := func() error {
		if m.UID != d.uid || m.GID != d.gid || d.stage.setgid {
			if err := unix.Fchownat(d.stage.fd, tmp, int(m.UID), int(m.GID), unix.AT_SYMLINK_NOFOLLOW); err != nil {
				return &os.PathError{Op: "lchown", Path: d.stage.name, Err: err}
			}
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
			d.note(stagedObject{sum, ostree.ObjectFile})
		case errors.Is(err, unix.EEXIST): // another goroutine was faster
			err = nil
		default:
			err = &os.PathError{Op: "link", Path: d.stage.name, Err: err}
		}
	}
	return errors.Join(err, unix.Unlinkat(d.stage.fd, tmp, 0))
}

func (d *direct) link(f *tmpFile, sum object.Checksum, typ ostree.ObjectType) error {
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
	d.note(stagedObject{sum, typ})
	return nil
}

func (d *direct) note(o stagedObject) {
	if o.typ == ostree.ObjectFile {
		d.files.note(o.sum)
	}
	d.mu.Lock()
	d.linked = append(d.linked, o)
	d.mu.Unlock()
}

func (d *direct) publish(ctx context.Context, refs map[string]string) (err error) {
	if d.lost != nil {
		return d.lost
	}
	d.epoch.Lock()
	batch := d.linked
	d.linked = nil
	d.epoch.Unlock()
	moved := 0
	defer func() {
		if err != nil { // other layers may have found these objects staged: whoever publishes next must still move them
			if moved > 0 {
				d.inPlace.Store(true) // and sync those that were moved
			}
			d.mu.Lock()
			d.linked = append(d.linked, batch[moved:]...)
			d.mu.Unlock()
		}
	}()
	if inPlace := d.inPlace.Swap(false); (inPlace || len(batch) > 0) && !d.cfg.noSync {
		if err := d.syncAll(); err != nil {
			return err
		}
	}
	// Commits go last, when what they need is in place: fsck reads every commit that it finds, whether a ref names it or not.
	commits := len(batch)
	for n := 0; n < commits; {
		if batch[n].typ == ostree.ObjectCommit {
			commits--
			batch[n], batch[commits] = batch[commits], batch[n]
		} else {
			n++
		}
	}
	for _, part := range [][]stagedObject{batch[:commits], batch[commits:]} {
		if err := d.move(part, &moved); err != nil {
			return err
		}
	}
	for name, sum := range refs {
		if err := d.repo.SetRefImmediate(ctx, "", name, sum); err != nil {
			return fmt.Errorf("set ref %s: %w", name, err)
		}
	}
	return nil
}

// move renames staged objects into the repository, counting them, and makes that durable.
func (d *direct) move(batch []stagedObject, moved *int) error {
	if len(batch) == 0 {
		return nil
	}
	var touched [256]bool
	for _, o := range batch {
		xx := o.sum[0]
		touched[xx] = true
		if err := ensureDir(d.objects, xx, &d.known); err != nil {
			return err
		}
		name := path(o.typ, &o.sum)
		if err := unix.Renameat(d.stage.fd, name, d.objects, name); err != nil {
			return &os.PathError{Op: "rename object", Path: name, Err: err}
		}
		*moved++
	}
	if d.cfg.noSync {
		return nil
	}
	return d.syncDirs(&touched)
}

// syncEach is up to how many directories are synced one by one. Each waits for the disk; the data is there already, so that syncing the
// whole file system once costs no more than a few of them.
const syncEach = 4

// syncDirs makes the names in subdirectories of objects/ durable.
func (d *direct) syncDirs(touched *[256]bool) error {
	var dirs []string
	for xx, yes := range touched {
		if yes {
			dirs = append(dirs, fmt.Sprintf("%02x", xx))
		}
	}
	if len(dirs) > syncEach {
		return d.syncAll()
	}
	for _, name := range dirs {
		if err := d.syncDir(name); err != nil {
			return d.unsynced(err)
		}
	}
	return d.unsynced(d.fsync(d.objects))
}

func (d *direct) syncAll() error { return d.unsynced(d.syncfs(d.objects)) }

// unsynced keeps an error of a sync, for every later publish: what was to be written may be lost, and no later sync says so again.
func (d *direct) unsynced(err error) error {
	if err != nil {
		d.lost = fmt.Errorf("sync repository %s: %w", d.repo.Path(), err)
	}
	return d.lost
}

func (d *direct) close() error {
	return errors.Join(d.stage.close(), unix.Close(d.objects))
}

func (d *direct) syncDir(name string) error {
	fd, err := unix.Openat(d.objects, name, unix.O_DIRECTORY|unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: "objects/" + name, Err: err}
	}
	err = d.fsync(fd)
	return errors.Join(err, unix.Close(fd))
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
