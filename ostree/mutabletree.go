package ostree

// #include "shim.h"
import "C"

import (
	"context"
	"fmt"
	"runtime/cgo"
	"strings"
	"unsafe"
)

// MutableTree is a directory being put together: files by checksum, and subdirectories. Directories of
// one made from a commit are read when they are needed. Not safe for concurrent use.
type MutableTree struct {
	h    handle
	repo *Repo
}

func takeMTree(p *C.OstreeMutableTree, r *Repo) *MutableTree {
	if p == nil {
		return nil
	}
	m := &MutableTree{repo: r}
	m.h.own(unsafe.Pointer(p), objectUnref)
	return m
}

func (m *MutableTree) handle() *handle {
	if m == nil {
		return nil
	}
	return &m.h
}

func (m *MutableTree) c() *C.OstreeMutableTree { return (*C.OstreeMutableTree)(m.h.ptr) }

// NewMutableTree returns an empty directory without metadata.
//
// C: ostree_mutable_tree_new
func NewMutableTree() *MutableTree { return takeMTree(C.ostree_mutable_tree_new(), nil) }

// MutableTreeFromCommit returns the root of a commit. rev is as in Repo.ResolveRev. It returns ErrNotFound.
//
// C: ostree_mutable_tree_new_from_commit
func MutableTreeFromCommit(ctx context.Context, r *Repo, rev string) (*MutableTree, error) {
	op := "mutable tree of " + rev
	var a arena
	defer a.free()
	crev := a.str(rev)
	if a.err != nil {
		return nil, fmt.Errorf("%s: %w", op, a.err)
	}
	var p *C.OstreeMutableTree
	err := callFast(ctx, op, func(e **C.GError) C.gboolean {
		p = C.ostree_mutable_tree_new_from_commit(r.c(), crev, e)
		return gbool(p != nil)
	}, r.handle())
	return takeMTree(p, r), err
}

// MutableTreeFromChecksum returns the directory of a dirtree and a dirmeta, 64 hex digits each. An object that is
// not there is an error of the first method that needs it.
//
// C: ostree_mutable_tree_new_from_checksum
func MutableTreeFromChecksum(r *Repo, tree, meta string) (*MutableTree, error) {
	for _, s := range []string{tree, meta} {
		if err := ValidateChecksum(s); err != nil {
			return nil, fmt.Errorf("mutable tree: %w", err)
		}
	}
	var a arena
	defer a.free()
	ctree, cmeta := a.str(tree), a.str(meta)
	var p *C.OstreeMutableTree
	if !r.with(func(c *C.OstreeRepo) { p = C.ostree_mutable_tree_new_from_checksum(c, ctree, cmeta) }) {
		return nil, fmt.Errorf("mutable tree: %w", ErrClosed)
	}
	return takeMTree(p, r), nil
}

// name enters C for a method on one name.
func (m *MutableTree) name(op, name string, fn func(name *C.char, e **C.GError) C.gboolean) error {
	op += " " + name
	if !validName(name) {
		return fmt.Errorf("%s: %w: name %q", op, ErrInvalidArgument, name)
	}
	var a arena
	defer a.free()
	cname := a.str(name)
	return callFast(context.Background(), op, func(e **C.GError) C.gboolean { return fn(cname, e) }, m.handle())
}

// EnsureDir returns the subdirectory name, made empty and without metadata if it is not there. A file of that name is an error.
//
// C: ostree_mutable_tree_ensure_dir
func (m *MutableTree) EnsureDir(name string) (*MutableTree, error) {
	var p *C.OstreeMutableTree
	err := m.name("ensure directory", name, func(n *C.char, e **C.GError) C.gboolean {
		return C.ostree_mutable_tree_ensure_dir(m.c(), n, &p, e)
	})
	return takeMTree(p, m.repo), err
}

// ReplaceFile sets a file by the checksum of its object, 64 hex digits. A directory of that name is an error.
//
// C: ostree_mutable_tree_replace_file
func (m *MutableTree) ReplaceFile(name, checksum string) error {
	if err := ValidateChecksum(checksum); err != nil {
		return fmt.Errorf("replace file %s: %w", name, err)
	}
	var a arena
	defer a.free()
	csum := a.str(checksum)
	return m.name("replace file", name, func(n *C.char, e **C.GError) C.gboolean {
		return C.ostree_mutable_tree_replace_file(m.c(), n, csum, e)
	})
}

// Remove removes a file or a whole subdirectory. It returns ErrNotFound.
//
// C: ostree_mutable_tree_remove
func (m *MutableTree) Remove(name string) error {
	return m.name("remove", name, func(n *C.char, e **C.GError) C.gboolean {
		return C.ostree_mutable_tree_remove(m.c(), n, 0, e)
	})
}

// Lookup returns the checksum of a file, or a subdirectory. It returns ErrNotFound.
//
// C: ostree_mutable_tree_lookup
func (m *MutableTree) Lookup(name string) (checksum string, dir *MutableTree, err error) {
	var sum *C.char
	var sub *C.OstreeMutableTree
	err = m.name("look up", name, func(n *C.char, e **C.GError) C.gboolean {
		return C.ostree_mutable_tree_lookup(m.c(), n, &sum, &sub, e)
	})
	return takeString(sum), takeMTree(sub, m.repo), err
}

// Walk returns the directory at path (components) below this one; of an empty path, this one. It
// returns ErrNotFound, also where a file is on the way.
//
// C: ostree_mutable_tree_walk
func (m *MutableTree) Walk(path []string) (*MutableTree, error) {
	op := "walk to " + strings.Join(path, "/")
	for _, n := range path {
		if !validName(n) {
			return nil, fmt.Errorf("%s: %w: name %q", op, ErrInvalidArgument, n)
		}
	}
	var a arena
	defer a.free()
	names := a.strv(append([]string{}, path...))
	var p *C.OstreeMutableTree
	err := callFast(context.Background(), op, func(e **C.GError) C.gboolean {
		return C.shim_mtree_walk(m.c(), names, C.size_t(len(path)), &p, e)
	}, m.handle())
	if err != nil {
		return nil, err
	}
	return takeMTree(p, m.repo), nil
}

// SetMetadataChecksum sets the dirmeta, 64 hex digits.
//
// C: ostree_mutable_tree_set_metadata_checksum
func (m *MutableTree) SetMetadataChecksum(checksum string) error {
	const op = "set directory metadata"
	if err := ValidateChecksum(checksum); err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	var a arena
	defer a.free()
	csum := a.str(checksum)
	return callFast(context.Background(), op, func(**C.GError) C.gboolean {
		C.ostree_mutable_tree_set_metadata_checksum(m.c(), csum)
		return 1
	}, m.handle())
}

// MetadataChecksum returns the dirmeta, "" if none is set.
//
// C: ostree_mutable_tree_get_metadata_checksum
func (m *MutableTree) MetadataChecksum() string {
	return m.text(func(c *C.OstreeMutableTree) *C.char { return C.ostree_mutable_tree_get_metadata_checksum(c) })
}

// ContentsChecksum returns the dirtree where it is known: unchanged since it was read or written. "" otherwise.
//
// C: ostree_mutable_tree_get_contents_checksum
func (m *MutableTree) ContentsChecksum() string {
	return m.text(func(c *C.OstreeMutableTree) *C.char { return C.ostree_mutable_tree_get_contents_checksum(c) })
}

// SetContentsChecksum says that the dirtree of a directory that was filled by hand is known: 64 hex digits. It is believed;
// the next change of the directory forgets it. Another one known already is an error.
//
// C: ostree_mutable_tree_set_contents_checksum, ostree_mutable_tree_check_error
func (m *MutableTree) SetContentsChecksum(checksum string) error {
	const op = "set directory contents"
	if err := ValidateChecksum(checksum); err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	if have := m.ContentsChecksum(); have != "" && have != checksum {
		return fmt.Errorf("%s: %w: is %s already", op, ErrInvalidArgument, have)
	}
	var a arena
	defer a.free()
	csum := a.str(checksum)
	return callFast(context.Background(), op, func(e **C.GError) C.gboolean {
		C.ostree_mutable_tree_set_contents_checksum(m.c(), csum)
		return C.ostree_mutable_tree_check_error(m.c(), e)
	}, m.handle())
}

func (m *MutableTree) text(get func(*C.OstreeMutableTree) *C.char) (s string) {
	_ = callFast(context.Background(), "read mutable tree", func(**C.GError) C.gboolean {
		if p := get(m.c()); p != nil {
			s = C.GoString(p)
		}
		return 1
	}, m.handle())
	return s
}

// Files returns name -> checksum of the files.
//
// C: ostree_mutable_tree_get_files, ostree_mutable_tree_check_error
func (m *MutableTree) Files() (map[string]string, error) {
	out := map[string]string{}
	err := m.each(0, func(k, v string) { out[k] = v })
	return out, err
}

// Subdirs returns the names of the subdirectories; Lookup gives each.
//
// C: ostree_mutable_tree_get_subdirs, ostree_mutable_tree_check_error
func (m *MutableTree) Subdirs() ([]string, error) {
	var out []string
	err := m.each(1, func(k, _ string) { out = append(out, k) })
	return out, err
}

func (m *MutableTree) each(dirs C.gboolean, fn func(k, v string)) error {
	h := cgo.NewHandle(&stringPairs{fn})
	defer h.Delete()
	return callFast(context.Background(), "list mutable tree", func(e **C.GError) C.gboolean {
		return C.shim_mtree_each(m.c(), dirs, C.uintptr_t(h), e)
	}, m.handle())
}

// FillEmptyFromDirtree makes an empty directory that of a dirtree and a dirmeta. It is true too where the dirtree is the empty one, or the
// directory's own; false, and nothing is changed, if both have something in them.
//
// C: ostree_mutable_tree_fill_empty_from_dirtree
func (m *MutableTree) FillEmptyFromDirtree(r *Repo, tree, meta string) (bool, error) {
	const op = "fill directory"
	for _, s := range []string{tree, meta} {
		if err := ValidateChecksum(s); err != nil {
			return false, fmt.Errorf("%s: %w", op, err)
		}
	}
	var a arena
	defer a.free()
	ctree, cmeta := a.str(tree), a.str(meta)
	var ok C.gboolean
	err := callFast(context.Background(), op, func(**C.GError) C.gboolean {
		ok = C.ostree_mutable_tree_fill_empty_from_dirtree(m.c(), r.c(), ctree, cmeta)
		return 1
	}, m.handle(), r.handle())
	return ok != 0, err
}

// EnsureParentDirs returns the directory at path (components, the last left out), making those that are not
// there with the dirmeta meta, which this one gets too where it has none. A file on the way is an error.
//
// C: ostree_mutable_tree_ensure_parent_dirs
func (m *MutableTree) EnsureParentDirs(path []string, meta string) (*MutableTree, error) {
	const op = "ensure parent directories"
	if err := ValidateChecksum(meta); err != nil {
		return nil, fmt.Errorf("%s: %w", op, err)
	}
	for _, n := range path {
		if !validName(n) {
			return nil, fmt.Errorf("%s: %w: name %q", op, ErrInvalidArgument, n)
		}
	}
	var a arena
	defer a.free()
	names, csum := a.strv(append([]string{}, path...)), a.str(meta)
	var p *C.OstreeMutableTree
	err := callFast(context.Background(), op, func(e **C.GError) C.gboolean {
		return C.shim_mtree_ensure_parents(m.c(), names, C.size_t(len(path)), csum, &p, e)
	}, m.handle())
	return takeMTree(p, m.repo), err
}

// WriteMTree writes the dirtree objects of a tree and returns its root, for WriteCommit. Every directory in
// it must have metadata. In an open transaction.
//
// C: ostree_repo_write_mtree
func (r *Repo) WriteMTree(ctx context.Context, m *MutableTree) (*Tree, error) {
	var out *C.GFile
	err := call(ctx, "write tree", func(c *C.GCancellable, e **C.GError) C.gboolean {
		return C.ostree_repo_write_mtree(r.c(), m.c(), &out, c, e)
	}, r.handle(), m.handle())
	if err != nil {
		return nil, err
	}
	return r.takeTree(out), nil
}
