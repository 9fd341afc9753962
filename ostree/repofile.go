package ostree

// #include "shim.h"
import "C"

import (
	"context"
	"fmt"
	"runtime"
	"unsafe"
)

// resolved enters C with the tree's objects read.
func (t *Tree) resolved(ctx context.Context, op string, fn func(*C.OstreeRepoFile, *C.GCancellable, **C.GError) C.gboolean) error {
	return call(ctx, op, func(c *C.GCancellable, e **C.GError) C.gboolean {
		if C.ostree_repo_file_ensure_resolved(t.file(), e) == 0 {
			return 0
		}
		return fn(t.file(), c, e)
	}, t.handle())
}

// isDir reports it for one that is resolved.
func isDir(f *C.OstreeRepoFile) bool { return C.ostree_repo_file_tree_get_contents_checksum(f) != nil }

// Descend returns the file or directory at a path below, without following symlinks. It returns ErrNotFound.
//
// C: ostree_repo_file_ensure_resolved
func (t *Tree) Descend(ctx context.Context, path string) (*Tree, error) {
	op := "look up " + path
	var a arena
	defer a.free()
	cpath := a.str(path)
	if a.err != nil {
		return nil, fmt.Errorf("%s: %w", op, a.err)
	}
	for len(path) > 0 && path[0] == '/' {
		path = path[1:]
		cpath = (*C.char)(unsafe.Add(unsafe.Pointer(cpath), 1))
	}
	var p *C.GFile
	err := t.resolved(ctx, op, func(f *C.OstreeRepoFile, _ *C.GCancellable, e **C.GError) C.gboolean {
		if path == "" {
			p = (*C.GFile)(C.g_object_ref(C.gpointer(unsafe.Pointer(f))))
			return 1
		}
		p = C.g_file_resolve_relative_path((*C.GFile)(unsafe.Pointer(f)), cpath)
		return C.ostree_repo_file_ensure_resolved((*C.OstreeRepoFile)(unsafe.Pointer(p)), e)
	})
	if err != nil {
		fileUnref(p)
		return nil, err
	}
	return t.repo.takeTree(p), nil
}

// IsDir reports whether it is a directory.
func (t *Tree) IsDir(ctx context.Context) (is bool, err error) {
	err = t.resolved(ctx, "read tree", func(f *C.OstreeRepoFile, _ *C.GCancellable, _ **C.GError) C.gboolean {
		is = isDir(f)
		return 1
	})
	return is, err
}

// Checksum returns the checksum of the object that a file is, or of a directory's dirmeta. ContentsChecksum is that of the dirtree.
//
// C: ostree_repo_file_get_checksum
func (t *Tree) Checksum(ctx context.Context) (sum string, err error) {
	err = t.resolved(ctx, "checksum of file", func(f *C.OstreeRepoFile, _ *C.GCancellable, _ **C.GError) C.gboolean {
		if p := C.ostree_repo_file_get_checksum(f); p != nil {
			sum = C.GoString((*C.char)(p))
		}
		return 1
	})
	return sum, err
}

// Root returns the root that it was reached from.
//
// C: ostree_repo_file_get_root
func (t *Tree) Root(ctx context.Context) (root *Tree, err error) {
	err = t.resolved(ctx, "root of tree", func(f *C.OstreeRepoFile, _ *C.GCancellable, _ **C.GError) C.gboolean {
		p := C.g_object_ref(C.gpointer(unsafe.Pointer(C.ostree_repo_file_get_root(f))))
		root = t.repo.takeTree((*C.GFile)(p))
		return 1
	})
	return root, err
}

// Xattrs returns the extended attributes of the file or directory.
//
// C: ostree_repo_file_get_xattrs
func (t *Tree) Xattrs(ctx context.Context) ([]Xattr, error) {
	var v *C.GVariant
	err := t.resolved(ctx, "xattrs of file", func(f *C.OstreeRepoFile, c *C.GCancellable, e **C.GError) C.gboolean {
		return C.ostree_repo_file_get_xattrs(f, &v, c, e)
	})
	if err != nil {
		return nil, err
	}
	return takeVariant(v).xattrs()
}

// Contents returns the dirtree of a directory, "(a(say)a(sayay))"; nil for a file.
//
// C: ostree_repo_file_tree_get_contents
func (t *Tree) Contents(ctx context.Context) (v *Variant, err error) {
	// The annotations say (transfer full), of Metadata too, but the reference stays libostree's.
	err = t.resolved(ctx, "read tree", func(f *C.OstreeRepoFile, _ *C.GCancellable, _ **C.GError) C.gboolean {
		if isDir(f) {
			v = takeVariant(C.g_variant_ref(C.ostree_repo_file_tree_get_contents(f)))
		}
		return 1
	})
	return v, err
}

// Metadata returns the dirmeta of a directory, "(uuua(ayay))"; nil for a file.
//
// C: ostree_repo_file_tree_get_metadata
func (t *Tree) Metadata(ctx context.Context) (v *Variant, err error) {
	err = t.resolved(ctx, "read tree", func(f *C.OstreeRepoFile, _ *C.GCancellable, _ **C.GError) C.gboolean {
		if isDir(f) {
			v = takeVariant(C.g_variant_ref(C.ostree_repo_file_tree_get_metadata(f)))
		}
		return 1
	})
	return v, err
}

// Stat returns the metadata of a name in a directory. It returns ErrNotFound.
//
// C: ostree_repo_file_tree_find_child, ostree_repo_file_tree_query_child
func (t *Tree) Stat(ctx context.Context, name string) (FileInfo, error) {
	op := "stat " + name
	if !validName(name) {
		return FileInfo{}, fmt.Errorf("%s: %w", op, ErrInvalidArgument)
	}
	var a arena
	defer a.free()
	cname, attrs := a.str(name), a.str("standard::*,unix::*")
	var info *C.GFileInfo
	found := false
	err := t.resolved(ctx, op, func(f *C.OstreeRepoFile, c *C.GCancellable, e **C.GError) C.gboolean {
		if !isDir(f) {
			return 1
		}
		n, files := t.child(f, cname)
		if found = n >= 0; !found {
			return 1
		}
		return C.ostree_repo_file_tree_query_child(f, n+files, attrs, C.G_FILE_QUERY_INFO_NOFOLLOW_SYMLINKS, &info, c, e)
	})
	switch {
	case err != nil:
		return FileInfo{}, err
	case !found || info == nil:
		return FileInfo{}, fmt.Errorf("%s: %w", op, ErrNotFound)
	}
	defer C.g_object_unref(C.gpointer(unsafe.Pointer(info)))
	return fileInfo(info), nil
}

// child returns the index of a name among files or directories, and where directories start.
func (t *Tree) child(f *C.OstreeRepoFile, name *C.char) (n, offset C.int) {
	var dir C.gboolean
	n = C.ostree_repo_file_tree_find_child(f, name, &dir, nil)
	if n >= 0 && dir != 0 {
		files := C.g_variant_get_child_value(C.ostree_repo_file_tree_get_contents(f), 0)
		defer C.g_variant_unref(files)
		offset = C.int(C.g_variant_n_children(files))
	}
	return n, offset
}

// Repo returns the repository that the tree is in.
//
// C: ostree_repo_file_get_repo
func (t *Tree) Repo() (r *Repo) {
	if t.handle().acquire() == nil {
		return nil
	}
	defer t.h.release()
	p := unsafe.Pointer(C.ostree_repo_file_get_repo(t.file()))
	if open := t.repo.h.acquire(); open != nil {
		t.repo.h.release()
		if open == p {
			return t.repo
		}
	}
	return wrapRepo((*C.OstreeRepo)(C.g_object_ref(C.gpointer(p)))) // the other was closed
}

// SetMetadata gives a directory another dirmeta (64 hex digits), which must be in the repository: for a commit whose root has another owner,
// mode or xattrs but the same content, to be written with WriteCommit. What the repository holds does not change.
//
// C: ostree_repo_file_tree_set_metadata
func (t *Tree) SetMetadata(ctx context.Context, checksum string) error {
	const op = "set metadata of tree"
	if t == nil {
		return fmt.Errorf("%s: %w", op, ErrClosed)
	}
	v, err := t.repo.LoadVariant(ctx, ObjectDirMeta, checksum)
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	var a arena
	defer a.free()
	csum := a.str(checksum)
	dir := false
	err = t.resolved(ctx, op, func(f *C.OstreeRepoFile, _ *C.GCancellable, _ **C.GError) C.gboolean {
		if dir = isDir(f); dir {
			C.ostree_repo_file_tree_set_metadata(f, csum, v.c())
		}
		return 1
	})
	runtime.KeepAlive(v)
	if err == nil && !dir {
		err = fmt.Errorf("%s: %w: not a directory", op, ErrInvalidArgument)
	}
	return err
}
