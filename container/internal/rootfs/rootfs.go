// Package rootfs stores a directory of the file system, the root of an operating system, as a tree of objects.
//
// Nothing but the directory itself is ever opened by a path: every name is opened relative to its directory, and links are not followed.
package rootfs

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/ostree-container/ostree-container/container/internal/dirnames"
	"github.com/ostree-container/ostree-container/container/internal/object"
	"github.com/ostree-container/ostree-container/container/internal/objstore"
)

// ErrUnsuitable is wrapped by errors about a tree that cannot become a commit.
var ErrUnsuitable = errors.New("not the root file system of a commit")

// Options of Write.
type Options struct {
	// Label gives the SELinux label for a path of the commit ("/usr/etc/x"), "" for none; nil: the tree's own labels stay. It is called by
	// several goroutines at once.
	Label func(ctx context.Context, path string, mode uint32) (string, error)
	// Strict makes it an error to leave out devices, FIFOs, sockets, and what is mounted.
	Strict bool
	// Skipped is told of everything that is left out, by path, and why; one call at a time.
	Skipped func(path, why string)
}

// Tree is what Write stored.
type Tree struct {
	Tree, Meta object.Checksum
	Kernels    []string // directories of usr/lib/modules that have a vmlinuz, sorted
}

// Write stores the tree below the open directory fd. What is published of it is up to the caller.
//
// /etc becomes /usr/etc. Of /run, /tmp, /proc, /sys, /dev and /sysroot only the directory is kept, as of a mount point: other file systems are
// not entered. Devices, FIFOs and sockets are left out, and the empty files /etc/hostname and /etc/resolv.conf of container builders.
func Write(ctx context.Context, store *objstore.Store, fd int, opts *Options) (*Tree, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, &os.PathError{Op: "stat", Path: "/", Err: err}
	}
	w := &writer{store: store, opts: opts, mounts: newMounts(fd, st.Dev), links: map[inode]*file{}}
	w.group, w.ctx = errgroup.WithContext(ctx)
	w.group.SetLimit(runtime.GOMAXPROCS(0))
	root, err := w.read(fd, "", &st)
	if failed := w.group.Wait(); failed != nil { // then err, if any, only says that the group is done
		err = failed
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return nil, err
	}
	w.ctx = ctx // that of the group is done
	if err := w.moveEtc(root); err != nil {
		return nil, err
	}
	t := &Tree{Kernels: kernels(root)}
	if t.Kernels != nil && root.dirs["var"] == nil { // where the stateroot's is mounted at boot
		root.dirs["var"] = newDir(object.RootDirMeta())
		if err := w.relabel("/var", &root.dirs["var"].meta); err != nil {
			return nil, err
		}
	}
	t.Tree, t.Meta, err = w.encode(ctx, root, "")
	return t, err
}

// dir is a directory in memory.
type dir struct {
	meta  object.Meta
	dirs  map[string]*dir
	files map[string]*file
}

func newDir(meta object.Meta) *dir { return &dir{meta, map[string]*dir{}, map[string]*file{}} }

// file is a file whose object is being written; several names may have it.
type file struct {
	sum   object.Checksum
	empty bool // a regular file without content
}

type inode struct{ dev, ino uint64 }

type writer struct {
	store *objstore.Store
	opts  *Options
	ctx   context.Context //nolint:containedctx // of the group
	group *errgroup.Group
	mounts
	links map[inode]*file // those with several names
}

// only are directories of the root of which nothing but themselves is kept.
var only = map[string]bool{"run": true, "tmp": true, "proc": true, "sys": true, "dev": true, "sysroot": true}

// read takes a directory that is open as fd into memory and has its files written. path is relative to the root, "" that itself.
func (w *writer) read(fd int, path string, st *unix.Stat_t) (*dir, error) {
	d := newDir(object.Meta{UID: st.Uid, GID: st.Gid, Mode: st.Mode})
	var err error
	if d.meta.Xattrs, err = fdXattrs(fd); err != nil {
		return nil, &os.PathError{Op: "read attributes of", Path: "/" + path, Err: err}
	}
	if err := w.relabel("/"+inCommit(path), &d.meta); err != nil {
		return nil, err
	}
	names, err := dirnames.List(fd, ".")
	if err != nil {
		return nil, fmt.Errorf("directory /%s: %w", path, err)
	}
	slices.Sort(names)
	for _, name := range names {
		if w.ctx.Err() != nil {
			return nil, context.Cause(w.ctx)
		}
		full := strings.TrimPrefix(path+"/"+name, "/")
		if !utf8.ValidString(name) {
			return nil, fmt.Errorf("%w: name %q is not UTF-8", ErrUnsuitable, full)
		}
		if only[path] {
			w.note(full, "is made at boot")
			continue
		}
		if err := w.entry(d, fd, name, full); err != nil {
			return nil, err
		}
	}
	return d, nil
}

func (w *writer) entry(d *dir, fd int, name, path string) error {
	var st unix.Stat_t
	if err := unix.Fstatat(fd, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return &os.PathError{Op: "stat", Path: "/" + path, Err: err}
	}
	mounted, err := w.other(fd, name, &st)
	if err != nil {
		return &os.PathError{Op: "stat", Path: "/" + path, Err: err}
	}
	switch kind := st.Mode & unix.S_IFMT; {
	case mounted && kind == unix.S_IFDIR:
		if !only[path] {
			if err := w.skip(path, "is another file system"); err != nil {
				return err
			}
		}
		d.dirs[name] = newDir(object.RootDirMeta())
		return w.relabel("/"+inCommit(path), &d.dirs[name].meta)
	case mounted:
		return w.skip(path, "is mounted there")
	case kind == unix.S_IFDIR:
		sub, err := unix.Openat(fd, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return &os.PathError{Op: "open", Path: "/" + path, Err: err}
		}
		defer func() { _ = unix.Close(sub) }()
		d.dirs[name], err = w.read(sub, path, &st)
		return err
	case kind == unix.S_IFREG || kind == unix.S_IFLNK:
		key := inode{st.Dev, st.Ino}
		if f, ok := w.links[key]; ok && st.Nlink > 1 {
			d.files[name] = f
			return nil
		}
		f := &file{empty: kind == unix.S_IFREG && st.Size == 0}
		d.files[name] = f
		if st.Nlink > 1 && w.opts.Label == nil { // else each name may have a label of its own
			w.links[key] = f
		}
		if kind == unix.S_IFLNK {
			return w.symlink(f, fd, name, path, &st)
		}
		return w.regular(f, fd, name, path, &st)
	}
	return w.skip(path, "is neither file, directory nor symbolic link")
}

// skip notes that something is left out.
func (w *writer) skip(path, why string) error {
	if w.opts.Strict {
		return fmt.Errorf("%w: /%s %s", ErrUnsuitable, path, why)
	}
	w.note(path, why)
	return nil
}

func (w *writer) note(path, why string) {
	if w.opts.Skipped != nil {
		w.opts.Skipped("/"+path, why)
	}
}

// inCommit is where a path is in the commit.
func inCommit(path string) string {
	if path == "etc" || strings.HasPrefix(path, "etc/") {
		return "usr/" + path
	}
	return path
}

// moveEtc makes /usr/etc of /etc.
func (w *writer) moveEtc(root *dir) error {
	if root.files["etc"] != nil {
		return fmt.Errorf("%w: /etc is not a directory", ErrUnsuitable)
	}
	etc := root.dirs["etc"]
	if etc == nil {
		return nil
	}
	delete(root.dirs, "etc")
	for _, name := range []string{"hostname", "resolv.conf"} {
		if f := etc.files[name]; f != nil && f.empty {
			delete(etc.files, name)
			w.note("etc/"+name, "is empty, for a container builder to mount its own there")
		}
	}
	usr := root.dirs["usr"]
	if usr == nil {
		if root.files["usr"] != nil {
			return fmt.Errorf("%w: /usr is not a directory", ErrUnsuitable)
		}
		usr = newDir(object.RootDirMeta())
		root.dirs["usr"] = usr
		if err := w.relabel("/usr", &usr.meta); err != nil {
			return err
		}
	}
	if old := usr.dirs["etc"]; old != nil || usr.files["etc"] != nil {
		switch {
		case len(etc.dirs)+len(etc.files) == 0: // where /usr/etc is copied to
			return nil
		case old == nil || len(old.dirs)+len(old.files) > 0:
			return fmt.Errorf("%w: it has both /etc and /usr/etc", ErrUnsuitable)
		}
	}
	usr.dirs["etc"] = etc
	return nil
}

// kernels lists what can be booted.
func kernels(root *dir) []string {
	at := root
	for _, name := range []string{"usr", "lib", "modules"} {
		if at = at.dirs[name]; at == nil {
			return nil
		}
	}
	var found []string
	for name, d := range at.dirs {
		if d.files["vmlinuz"] != nil {
			found = append(found, name)
		}
	}
	slices.Sort(found)
	return found
}

// encode stores a directory whose files are written.
func (w *writer) encode(ctx context.Context, d *dir, path string) (tree, meta object.Checksum, err error) {
	if ctx.Err() != nil {
		return tree, meta, context.Cause(ctx)
	}
	t := &object.DirTree{}
	for _, name := range slices.Sorted(maps.Keys(d.files)) {
		t.Files = append(t.Files, object.FileEntry{Name: name, Sum: d.files[name].sum})
	}
	for _, name := range slices.Sorted(maps.Keys(d.dirs)) {
		e := object.DirEntry{Name: name}
		if e.Tree, e.Meta, err = w.encode(ctx, d.dirs[name], path+"/"+name); err != nil {
			return tree, meta, err
		}
		t.Dirs = append(t.Dirs, e)
	}
	if tree, err = w.store.DirTree(ctx, t); err == nil {
		meta, err = w.store.DirMeta(ctx, &d.meta)
	}
	if err != nil {
		err = fmt.Errorf("directory %s/: %w", path, err)
	}
	return tree, meta, err
}
