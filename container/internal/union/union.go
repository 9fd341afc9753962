// Package union stacks the directory trees of layer commits into one tree, in memory, by walking dirtree objects. Only directories
// that a layer touches are loaded; everything else keeps its checksum. Nothing is checked out, so there is no link to follow.
//
// The rules are those of a checkout of each layer over the ones below with whiteouts processed (ostree-rs-ext
// container/store.rs, write_merge_commit_impl, over libostree's ostree_repo_checkout_at with UNION_FILES), with these differences:
// a layer's whiteouts act on lower layers only, and a directory replaces whatever else has its name.
package union

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/ostree-container/ostree-container/container/internal/object"
	"github.com/ostree-container/ostree-container/container/layer"
)

// Loader reads what a union needs from a repository.
type Loader interface {
	DirTree(ctx context.Context, sum object.Checksum) (*object.DirTree, error)
	// IsRegular reports whether a file object is a regular file, not a symlink.
	IsRegular(ctx context.Context, sum object.Checksum) (bool, error)
}

// Writer stores directories.
type Writer interface {
	DirTree(ctx context.Context, t *object.DirTree) (object.Checksum, error)
}

// Tree is a directory tree under construction. Not safe for concurrent use.
type Tree struct {
	load  Loader
	root  *Dir
	clean map[object.Checksum]bool // whether a dirtree holds no whiteouts, at any depth
	plain bool                     // the layer at hand holds none at all
}

// Dir is a directory of a Tree. Until it is loaded its content is the checksum of a dirtree.
type Dir struct {
	Meta  object.Checksum
	sum   object.Checksum // zero when changed
	files map[string]object.Checksum
	dirs  map[string]*Dir // nil: not loaded
}

// New starts a union with no directory at all.
func New(load Loader) *Tree { return &Tree{load: load, clean: map[object.Checksum]bool{}} }

// Base makes a commit's tree the lowest one, as it is: files in it that look like whiteouts are files.
func (t *Tree) Base(tree, meta object.Checksum) { t.root = &Dir{Meta: meta, sum: tree} }

// Apply stacks a layer's tree on top.
func (t *Tree) Apply(ctx context.Context, tree, meta object.Checksum) error {
	return t.stack(ctx, tree, meta, false)
}

// ApplyPlain is Apply for a layer that is known to hold no whiteouts: what no other layer has is not looked at.
func (t *Tree) ApplyPlain(ctx context.Context, tree, meta object.Checksum) error {
	return t.stack(ctx, tree, meta, true)
}

func (t *Tree) stack(ctx context.Context, tree, meta object.Checksum, plain bool) error {
	t.plain = plain
	if t.root == nil {
		t.root = empty(meta)
	}
	return t.apply(ctx, "/", t.root, tree, meta)
}

func empty(meta object.Checksum) *Dir {
	return &Dir{Meta: meta, files: map[string]object.Checksum{}, dirs: map[string]*Dir{}}
}

// Root returns the root directory, nil before Base or Apply.
func (t *Tree) Root() *Dir { return t.root }

func (t *Tree) apply(ctx context.Context, path string, d *Dir, tree, meta object.Checksum) error {
	if d.sum == tree && t.clean[tree] {
		return nil // the layer repeats what is there
	}
	upper, err := t.load.DirTree(ctx, tree)
	if err != nil {
		return fmt.Errorf("directory %q: %w", path, err)
	}
	if err := t.change(ctx, path, d); err != nil {
		return err
	}
	whiteout, opaque, err := t.whiteouts(ctx, upper)
	if err != nil {
		return fmt.Errorf("directory %q: %w", path, err)
	}
	if opaque {
		*d = *empty(meta)
	}
	for name := range whiteout {
		hidden := name[len(layer.WhiteoutPrefix):]
		delete(d.files, hidden)
		delete(d.dirs, hidden)
	}
	for _, f := range upper.Files {
		if whiteout[f.Name] || f.Name == layer.OpaqueMarker && opaque {
			continue
		}
		delete(d.dirs, f.Name)
		d.files[f.Name] = f.Sum
	}
	for _, sub := range upper.Dirs {
		delete(d.files, sub.Name)
		subPath := strings.TrimSuffix(path, "/") + "/" + sub.Name
		lower, exists := d.dirs[sub.Name]
		if !exists {
			whole, err := t.isClean(ctx, sub.Tree)
			if err != nil {
				return fmt.Errorf("directory %q: %w", subPath, err)
			}
			if whole {
				d.dirs[sub.Name] = &Dir{Meta: sub.Meta, sum: sub.Tree}
				continue
			}
			lower = empty(sub.Meta)
			d.dirs[sub.Name] = lower
		}
		if err := t.apply(ctx, subPath, lower, sub.Tree, sub.Meta); err != nil {
			return err
		}
	}
	return nil
}

// open loads the content of d.
func (t *Tree) open(ctx context.Context, path string, d *Dir) error {
	if d.dirs != nil {
		return nil
	}
	content, err := t.load.DirTree(ctx, d.sum)
	if err != nil {
		return fmt.Errorf("directory %q: %w", path, err)
	}
	d.files = make(map[string]object.Checksum, len(content.Files))
	for _, f := range content.Files {
		d.files[f.Name] = f.Sum
	}
	d.dirs = make(map[string]*Dir, len(content.Dirs))
	for _, sub := range content.Dirs {
		d.dirs[sub.Name] = &Dir{Meta: sub.Meta, sum: sub.Tree}
	}
	return nil
}

// whiteouts finds the whiteout files of one directory of a layer. Symlinks and directories of such a name are ordinary.
func (t *Tree) whiteouts(ctx context.Context, upper *object.DirTree) (names map[string]bool, opaque bool, err error) {
	i, _ := slices.BinarySearchFunc(upper.Files, layer.WhiteoutPrefix, func(f object.FileEntry, s string) int { return strings.Compare(f.Name, s) })
	for ; i < len(upper.Files) && strings.HasPrefix(upper.Files[i].Name, layer.WhiteoutPrefix); i++ {
		f := upper.Files[i]
		regular, err := t.load.IsRegular(ctx, f.Sum)
		if err != nil {
			return nil, false, err
		}
		if !regular {
			continue
		}
		switch f.Name[len(layer.WhiteoutPrefix):] {
		case "", ".", "..":
			return nil, false, fmt.Errorf("invalid empty whiteout %q", f.Name)
		}
		if f.Name == layer.OpaqueMarker {
			opaque = true
			continue
		}
		if names == nil {
			names = map[string]bool{}
		}
		names[f.Name] = true
	}
	return names, opaque, nil
}

// isClean reports whether a layer's dirtree holds no whiteouts at any depth, so that it can be taken as it is.
func (t *Tree) isClean(ctx context.Context, tree object.Checksum) (bool, error) {
	if t.plain {
		return true, nil
	}
	if known, ok := t.clean[tree]; ok {
		return known, nil
	}
	content, err := t.load.DirTree(ctx, tree)
	if err != nil {
		return false, err
	}
	names, opaque, err := t.whiteouts(ctx, content)
	if err != nil {
		return false, err
	}
	whole := len(names) == 0 && !opaque
	for _, sub := range content.Dirs {
		subClean, err := t.isClean(ctx, sub.Tree)
		if err != nil {
			return false, fmt.Errorf("%s: %w", sub.Name, err)
		}
		whole = whole && subClean
	}
	t.clean[tree] = whole
	return whole, nil
}

// Lookup returns the directory at path ("/" separated, "" the root), or nil if there is none.
func (t *Tree) Lookup(ctx context.Context, path string) (*Dir, error) {
	d := t.root
	for part := range strings.SplitSeq(strings.Trim(path, "/"), "/") {
		if part == "" || d == nil {
			continue
		}
		if err := t.open(ctx, path, d); err != nil {
			return nil, err
		}
		d = d.dirs[part]
	}
	return d, nil
}

// File returns the checksum of a file in the directory dir.
func (t *Tree) File(ctx context.Context, dir, name string) (sum object.Checksum, ok bool, err error) {
	d, err := t.Lookup(ctx, dir)
	if err != nil || d == nil {
		return sum, false, err
	}
	if err := t.open(ctx, dir, d); err != nil {
		return sum, false, err
	}
	sum, ok = d.files[name]
	return sum, ok, nil
}

// Remove takes a file out of the directory dir.
func (t *Tree) Remove(ctx context.Context, dir, name string) error {
	d := t.root
	if err := t.change(ctx, dir, d); err != nil {
		return err
	}
	for part := range strings.SplitSeq(strings.Trim(dir, "/"), "/") {
		if d = d.dirs[part]; d == nil {
			return nil
		}
		if err := t.change(ctx, dir, d); err != nil {
			return err
		}
	}
	delete(d.files, name)
	return nil
}

// change loads d and forgets its checksum.
func (t *Tree) change(ctx context.Context, path string, d *Dir) error {
	if err := t.open(ctx, path, d); err != nil {
		return err
	}
	d.sum = object.Checksum{}
	return nil
}

// AddDir makes an empty directory in the root, unless something has that name.
func (t *Tree) AddDir(ctx context.Context, name string, meta object.Checksum) error {
	if err := t.open(ctx, "/", t.root); err != nil {
		return err
	}
	if _, ok := t.root.files[name]; ok || t.root.dirs[name] != nil {
		return nil
	}
	t.root.sum = object.Checksum{}
	t.root.dirs[name] = empty(meta)
	return nil
}

// Sum returns the checksum of d's dirtree, if d was not changed.
func (d *Dir) Sum() (object.Checksum, bool) { return d.sum, !d.sum.IsZero() }

// Visit loads d and calls the functions for what is in it, in order of names, replacing each checksum by the one returned. What it
// returns for a subdirectory's Meta is stored too; subdirectories are not entered.
func (t *Tree) Visit(ctx context.Context, path string, d *Dir,
	file func(name string, sum object.Checksum) (object.Checksum, error), dir func(name string, sub *Dir) error,
) error {
	if err := t.open(ctx, path, d); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(d.files)) {
		sum, err := file(name, d.files[name])
		if err != nil {
			return err
		}
		if sum != d.files[name] {
			d.files[name] = sum
			d.sum = object.Checksum{}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(d.dirs)) {
		sub := d.dirs[name]
		before := *sub
		if err := dir(name, sub); err != nil {
			return err
		}
		if sub.Meta != before.Meta || sub.sum != before.sum {
			d.sum = object.Checksum{}
		}
	}
	return nil
}

// WriteDir stores d and what is below it, as far as it changed, and returns the checksum of its dirtree.
func (t *Tree) WriteDir(ctx context.Context, w Writer, d *Dir) (object.Checksum, error) {
	return t.write(ctx, w, d)
}

// Write stores every directory that changed and returns the checksums of the root.
func (t *Tree) Write(ctx context.Context, w Writer) (tree, meta object.Checksum, err error) {
	tree, err = t.write(ctx, w, t.root)
	return tree, t.root.Meta, err
}

func (t *Tree) write(ctx context.Context, w Writer, d *Dir) (object.Checksum, error) {
	if !d.sum.IsZero() {
		return d.sum, nil
	}
	if err := ctx.Err(); err != nil {
		return d.sum, context.Cause(ctx)
	}
	out := &object.DirTree{Files: make([]object.FileEntry, 0, len(d.files)), Dirs: make([]object.DirEntry, 0, len(d.dirs))}
	for _, name := range slices.Sorted(maps.Keys(d.files)) {
		out.Files = append(out.Files, object.FileEntry{Name: name, Sum: d.files[name]})
	}
	for _, name := range slices.Sorted(maps.Keys(d.dirs)) {
		sub := d.dirs[name]
		sum, err := t.write(ctx, w, sub)
		if err != nil {
			return d.sum, err
		}
		out.Dirs = append(out.Dirs, object.DirEntry{Name: name, Tree: sum, Meta: sub.Meta})
	}
	sum, err := w.DirTree(ctx, out)
	if err != nil {
		return d.sum, err
	}
	d.sum, d.files, d.dirs = sum, nil, nil
	return sum, nil
}
