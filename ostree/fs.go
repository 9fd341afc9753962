package ostree

// #include "shim.h"
import "C"

import (
	"context"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"syscall"
	"time"
)

// CommitFS is the tree of a commit as a file system: fs.FS with ReadDir, ReadFile, Stat, Lstat and ReadLink. Symlinks are followed
// within the tree, whose root "/" in their targets is. Nothing is kept in memory: each call reads the objects on its way.
//
// The FileInfo of an entry has the mode with setuid, setgid and sticky bits, the size in bytes, the time that a checkout has (the
// epoch), and as Sys() an *FSObject. Safe for concurrent use; the Repo must stay open.
type CommitFS struct {
	repo *Repo
	root TreeEntry
}

var (
	_ fs.ReadDirFS  = (*CommitFS)(nil)
	_ fs.ReadFileFS = (*CommitFS)(nil)
	_ fs.StatFS     = (*CommitFS)(nil)
	_ fs.ReadLinkFS = (*CommitFS)(nil)
)

// FSObject is what an entry of a CommitFS is in the repository.
type FSObject struct {
	Checksum string // of the file object, or of a directory's dirtree; 64 hex digits
	Meta     string // of a directory's dirmeta; "" for others
	UID, GID uint32
	Mode     uint32  // st_mode: type and permission bits
	Xattrs   []Xattr // in the order stored
}

// FS returns the tree of a commit as a file system. rev is as in ResolveRev; a ref that moves later changes nothing. It returns ErrNotFound.
func (r *Repo) FS(ctx context.Context, rev string) (*CommitFS, error) {
	sum, err := r.ResolveRev(ctx, rev)
	if err != nil {
		return nil, err
	}
	c, _, err := r.LoadCommit(ctx, sum)
	if err != nil {
		return nil, err
	}
	return &CommitFS{r, TreeEntry{IsDir: true, Checksum: c.RootTree, Meta: c.RootMeta}}, nil
}

// Open opens a file or directory, following symlinks.
func (f *CommitFS) Open(name string) (fs.File, error) {
	e, err := f.find("open", name, followLast)
	if err != nil {
		return nil, err
	}
	if e.IsDir {
		info, err := f.info(name, e)
		if err != nil {
			return nil, &fs.PathError{Op: "open", Path: name, Err: err}
		}
		return &openDir{fs: f, name: name, entry: e, info: info}, nil
	}
	file, err := f.repo.LoadFile(context.Background(), e.Checksum)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return &openFile{file, newFSInfo(name, e, file.Info, file.Xattrs)}, nil
}

// ReadFile returns the content of a file, following symlinks.
func (f *CommitFS) ReadFile(name string) ([]byte, error) {
	file, err := f.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		return nil, &fs.PathError{Op: "read", Path: name, Err: syscall.EISDIR}
	}
	b, err := io.ReadAll(file) // what the object says of its size may be wrong
	if err != nil {
		return nil, &fs.PathError{Op: "read", Path: name, Err: err}
	}
	return b, nil
}

// ReadDir returns the entries of a directory in byte order, following symlinks to it. The object of
// each file in it is looked at, for its type.
func (f *CommitFS) ReadDir(name string) ([]fs.DirEntry, error) {
	e, err := f.find("readdir", name, followLast)
	if err == nil && !e.IsDir {
		err = &fs.PathError{Op: "readdir", Path: name, Err: syscall.ENOTDIR}
	}
	if err != nil {
		return nil, err
	}
	return f.readDir(name, e)
}

func (f *CommitFS) readDir(name string, e TreeEntry) ([]fs.DirEntry, error) {
	d, err := f.repo.LoadDirTree(context.Background(), e.Checksum)
	if err != nil {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: err}
	}
	list := make([]fs.DirEntry, 0, len(d.Files)+len(d.Dirs))
	add := func(e TreeEntry) error {
		info, err := f.info(e.Name, e)
		if err != nil {
			return &fs.PathError{Op: "readdir", Path: path.Join(name, e.Name), Err: err}
		}
		list = append(list, fs.FileInfoToDirEntry(info))
		return nil
	}
	for _, x := range d.Files {
		if err := add(TreeEntry{Name: x.Name, Checksum: x.Checksum}); err != nil {
			return nil, err
		}
	}
	for _, x := range d.Dirs {
		if err := add(TreeEntry{x.Name, true, x.Tree, x.Meta}); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(list, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return list, nil
}

// Stat describes a file or directory, following symlinks.
func (f *CommitFS) Stat(name string) (fs.FileInfo, error) { return f.stat("stat", name, followLast) }

// Lstat describes an entry; a symlink itself.
func (f *CommitFS) Lstat(name string) (fs.FileInfo, error) { return f.stat("lstat", name, keepLast) }

func (f *CommitFS) stat(op, name string, last lastLink) (fs.FileInfo, error) {
	e, err := f.find(op, name, last)
	if err != nil {
		return nil, err
	}
	info, err := f.info(name, e)
	if err != nil {
		return nil, &fs.PathError{Op: op, Path: name, Err: err}
	}
	return info, nil
}

// ReadLink returns the target of a symlink, as it is stored.
func (f *CommitFS) ReadLink(name string) (string, error) {
	e, err := f.find("readlink", name, keepLast)
	if err != nil {
		return "", err
	}
	if !e.IsDir {
		info, _, err := f.repo.fileMeta(e.Checksum)
		if err != nil {
			return "", &fs.PathError{Op: "readlink", Path: name, Err: err}
		}
		if info.Mode&ModeTypeMask == ModeTypeSymlink {
			return info.SymlinkTarget, nil
		}
	}
	return "", &fs.PathError{Op: "readlink", Path: name, Err: fs.ErrInvalid}
}

// lastLink says whether a symlink at the end of a path is followed.
type lastLink bool

const (
	keepLast   lastLink = false
	followLast lastLink = true
)

// maxLinks is how many symlinks are followed for one path, as in Linux.
const maxLinks = 40

func (f *CommitFS) find(op, name string, last lastLink) (TreeEntry, error) {
	e, err := TreeEntry{}, error(fs.ErrInvalid)
	if fs.ValidPath(name) {
		e, err = f.walk(strings.Split(name, "/"), last)
	}
	if err != nil {
		return e, &fs.PathError{Op: op, Path: name, Err: err}
	}
	return e, nil
}

func (f *CommitFS) walk(todo []string, last lastLink) (TreeEntry, error) {
	at := []TreeEntry{f.root} // the directories down to here
	for links := 0; len(todo) > 0; {
		name := todo[0]
		todo = todo[1:]
		switch name {
		case "", ".":
			continue
		case "..": // in the target of a symlink
			at = at[:max(len(at)-1, 1)]
			continue
		}
		d, err := f.repo.LoadDirTree(context.Background(), at[len(at)-1].Checksum)
		if err != nil {
			return TreeEntry{}, err
		}
		e, ok := d.Lookup(name)
		switch {
		case !ok:
			return TreeEntry{}, fs.ErrNotExist
		case e.IsDir:
			at = append(at, e)
			continue
		case len(todo) == 0 && last == keepLast:
			return e, nil
		}
		info, _, err := f.repo.fileMeta(e.Checksum)
		switch {
		case err != nil:
			return TreeEntry{}, err
		case info.Mode&ModeTypeMask == ModeTypeSymlink:
			if links++; links > maxLinks {
				return TreeEntry{}, syscall.ELOOP
			}
			if strings.HasPrefix(info.SymlinkTarget, "/") {
				at = at[:1]
			}
			todo = append(strings.Split(info.SymlinkTarget, "/"), todo...)
		case len(todo) > 0:
			return TreeEntry{}, syscall.ENOTDIR
		default:
			return e, nil
		}
	}
	return at[len(at)-1], nil
}

// fileMeta reads what a file object has besides content.
func (r *Repo) fileMeta(checksum string) (FileInfo, []Xattr, error) {
	var a arena
	defer a.free()
	op, csum, err := objectArgs("load", ObjectFile, checksum, &a)
	if err != nil {
		return FileInfo{}, nil, err
	}
	var info *C.GFileInfo
	var xattrs *C.GVariant
	err = callFast(context.Background(), op, func(e **C.GError) C.gboolean {
		return C.ostree_repo_load_file(r.c(), csum, nil, &info, &xattrs, nil, e)
	}, r.handle())
	if err != nil {
		return FileInfo{}, nil, err
	}
	f, err := newLoadedFile(op, nil, info, xattrs)
	if err != nil {
		return FileInfo{}, nil, err
	}
	return f.Info, f.Xattrs, nil
}

// info describes an entry. Its name is the last of the path that it was found under.
func (f *CommitFS) info(name string, e TreeEntry) (*fsInfo, error) {
	if e.IsDir {
		m, err := f.repo.LoadDirMeta(context.Background(), e.Meta)
		if err != nil {
			return nil, err
		}
		return newFSInfo(name, e, FileInfo{UID: m.UID, GID: m.GID, Mode: m.Mode}, m.Xattrs), nil
	}
	info, xattrs, err := f.repo.fileMeta(e.Checksum)
	if err != nil {
		return nil, err
	}
	return newFSInfo(name, e, info, xattrs), nil
}

type fsInfo struct {
	name string
	size int64
	mode fs.FileMode
	sys  FSObject
}

func newFSInfo(name string, e TreeEntry, i FileInfo, xattrs []Xattr) *fsInfo {
	size := i.Size
	if i.Mode&ModeTypeMask == ModeTypeSymlink {
		size = int64(len(i.SymlinkTarget)) // as lstat has it
	}
	return &fsInfo{path.Base(name), size, goMode(i.Mode), FSObject{e.Checksum, e.Meta, i.UID, i.GID, i.Mode, xattrs}}
}

// goMode is fs.FileMode for st_mode.
func goMode(mode uint32) fs.FileMode {
	m := fs.FileMode(mode & 0o777)
	switch mode & ModeTypeMask {
	case ModeTypeDir:
		m |= fs.ModeDir
	case ModeTypeSymlink:
		m |= fs.ModeSymlink
	}
	for bit, b := range map[uint32]fs.FileMode{syscall.S_ISUID: fs.ModeSetuid, syscall.S_ISGID: fs.ModeSetgid, syscall.S_ISVTX: fs.ModeSticky} {
		if mode&bit != 0 {
			m |= b
		}
	}
	return m
}

func (i *fsInfo) Name() string       { return i.name }
func (i *fsInfo) Size() int64        { return i.size }
func (i *fsInfo) Mode() fs.FileMode  { return i.mode }
func (i *fsInfo) ModTime() time.Time { return time.Unix(0, 0).UTC() }
func (i *fsInfo) IsDir() bool        { return i.mode.IsDir() }
func (i *fsInfo) Sys() any           { return &i.sys }

type openFile struct {
	*File
	info *fsInfo
}

func (f *openFile) Stat() (fs.FileInfo, error) { return f.info, nil }

type openDir struct {
	fs    *CommitFS
	name  string
	entry TreeEntry
	info  *fsInfo
	list  []fs.DirEntry // what ReadDir has not returned yet
	read  bool
	done  bool
}

func (d *openDir) Stat() (fs.FileInfo, error) { return d.info, nil }

func (d *openDir) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: d.name, Err: syscall.EISDIR}
}

func (d *openDir) Close() error {
	d.done = true
	return nil
}

func (d *openDir) ReadDir(n int) ([]fs.DirEntry, error) {
	if d.done {
		return nil, &fs.PathError{Op: "readdir", Path: d.name, Err: fs.ErrClosed}
	}
	if !d.read {
		list, err := d.fs.readDir(d.name, d.entry)
		if err != nil {
			return nil, err
		}
		d.list, d.read = list, true
	}
	if n > 0 && len(d.list) == 0 {
		return nil, io.EOF
	}
	if n <= 0 || n > len(d.list) {
		n = len(d.list)
	}
	part := d.list[:n:n]
	d.list = d.list[n:]
	return part, nil
}
