package ostree

// #include "shim.h"
import "C"

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"unsafe"
)

// Tree is a directory or file of a commit (ReadTree, Descend), or a root that was just written, for WriteCommit (WriteMTree). For one goroutine
// at a time.
type Tree struct {
	h    handle
	repo *Repo
}

func (r *Repo) takeTree(p *C.GFile) *Tree {
	t := &Tree{repo: r}
	t.h.own(unsafe.Pointer(p), objectUnref)
	return t
}

func (t *Tree) handle() *handle {
	if t == nil {
		return nil
	}
	return &t.h
}

func (t *Tree) file() *C.OstreeRepoFile { return (*C.OstreeRepoFile)(t.h.ptr) }

// ReadTree returns the root of a commit, and the commit's checksum. rev is as in ResolveRev. It returns ErrNotFound.
//
// C: ostree_repo_read_commit
func (r *Repo) ReadTree(ctx context.Context, rev string) (*Tree, string, error) {
	op := "read tree of " + rev
	var a arena
	defer a.free()
	crev := a.str(rev)
	if a.err != nil {
		return nil, "", fmt.Errorf("%s: %w", op, a.err)
	}
	var root *C.GFile
	var commit *C.char
	err := callFast(ctx, op, func(e **C.GError) C.gboolean {
		return C.ostree_repo_read_commit(r.c(), crev, &root, &commit, nil, e)
	}, r.handle())
	if err != nil {
		return nil, "", err
	}
	return r.takeTree(root), takeString(commit), nil
}

// TreeFromChecksums returns a root made of a dirtree and a dirmeta, which are 64 hex digits each. The objects
// are not looked at.
//
// C: ostree_mutable_tree_new_from_checksum, ostree_repo_write_mtree
func (r *Repo) TreeFromChecksums(ctx context.Context, tree, meta string) (*Tree, error) {
	m, err := MutableTreeFromChecksum(r, tree, meta)
	if err != nil {
		return nil, err
	}
	return r.WriteMTree(ctx, m)
}

// ContentsChecksum returns the checksum of the dirtree; "" for a file, or where it cannot be read.
//
// C: ostree_repo_file_tree_get_contents_checksum
func (t *Tree) ContentsChecksum() string {
	return t.text(func(f *C.OstreeRepoFile) *C.char { return C.ostree_repo_file_tree_get_contents_checksum(f) })
}

// MetadataChecksum returns the checksum of the dirmeta; "" for a file, or where it cannot be read.
//
// C: ostree_repo_file_tree_get_metadata_checksum
func (t *Tree) MetadataChecksum() string {
	return t.text(func(f *C.OstreeRepoFile) *C.char { return C.ostree_repo_file_tree_get_metadata_checksum(f) })
}

func (t *Tree) text(get func(*C.OstreeRepoFile) *C.char) (s string) {
	_ = callFast(context.Background(), "read tree", func(e **C.GError) C.gboolean {
		ok := C.ostree_repo_file_ensure_resolved(t.file(), e)
		if p := get(t.file()); ok != 0 && p != nil {
			s = C.GoString(p)
		}
		return ok
	}, t.handle())
	return s
}

// TreeEntry is one name in a tree.
type TreeEntry struct {
	Name     string // last component; "" for the root
	IsDir    bool
	Checksum string // of the file object, or of the directory's dirtree
	Meta     string // of the directory's dirmeta; "" for a file
}

// LookupPath finds a path below a dirtree without following symlinks; "/" is
// the dirtree itself, without Meta. It returns ErrNotFound.
func (r *Repo) LookupPath(ctx context.Context, tree, name string) (TreeEntry, error) {
	e := TreeEntry{IsDir: true, Checksum: tree}
	for c := range strings.SplitSeq(strings.Trim(path.Clean("/"+name), "/"), "/") {
		if c == "" {
			break
		}
		if !e.IsDir {
			return TreeEntry{}, fmt.Errorf("look up %s: %s is not a directory: %w", name, e.Name, ErrNotFound)
		}
		d, err := r.LoadDirTree(ctx, e.Checksum)
		if err != nil {
			return TreeEntry{}, fmt.Errorf("look up %s: %w", name, err)
		}
		var ok bool
		if e, ok = d.Lookup(c); !ok {
			return TreeEntry{}, fmt.Errorf("look up %s: %w", name, ErrNotFound)
		}
	}
	return e, nil
}

// WalkTree calls fn for the directory ("/" itself first), then for all below it: of
// each directory the files, then the subdirectories, in name order. Paths start with "/".
// fn may return fs.SkipDir for a directory, and fs.SkipAll.
func (r *Repo) WalkTree(ctx context.Context, tree, meta string, fn func(path string, e TreeEntry) error) error {
	err := r.walk(ctx, "/", TreeEntry{IsDir: true, Checksum: tree, Meta: meta}, fn)
	if errors.Is(err, fs.SkipAll) {
		return nil
	}
	return err
}

func (r *Repo) walk(ctx context.Context, p string, e TreeEntry, fn func(string, TreeEntry) error) error {
	if err := fn(p, e); errors.Is(err, fs.SkipDir) {
		return nil
	} else if err != nil {
		return err
	}
	d, err := r.LoadDirTree(ctx, e.Checksum)
	if err != nil {
		return fmt.Errorf("walk %s: %w", p, err)
	}
	for _, f := range d.Files {
		if err := fn(path.Join(p, f.Name), TreeEntry{Name: f.Name, Checksum: f.Checksum}); err != nil {
			if errors.Is(err, fs.SkipDir) {
				return nil
			}
			return err
		}
	}
	for _, s := range d.Dirs {
		if err := r.walk(ctx, path.Join(p, s.Name), TreeEntry{s.Name, true, s.Tree, s.Meta}, fn); err != nil {
			return err
		}
	}
	return nil
}
