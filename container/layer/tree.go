package layer

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/ostree-container/ostree-container/container/internal/object"
	"github.com/ostree-container/ostree-container/container/internal/objstore"
)

// tree is the directory tree of a layer while its entries come in. It is what an import holds in memory per entry, so it is kept
// small: a name, and a slot for the checksum that a worker fills in later.
type tree struct {
	root  *dir
	dirs  map[string]*dir // by path, "" the root
	links []link
	slots []object.Checksum // the rest of the newest chunk
	// pathBytes is what the keys of dirs hold.
	pathBytes int64
}

type dir struct {
	name  string
	meta  *object.Meta // nil: not named by the layer
	files []file
	dirs  []*dir
}

type file struct {
	name string
	slot *object.Checksum
	link int // 1 + index into tree.links, 0 if it is no hardlink
}

// link is a hardlink, resolved when the whole layer was read: its target may come later or be replaced.
type link struct {
	target string // path in the commit
	entry  string // for errors: both names as the tar has them
	named  string

	followed bool // on the way to some hardlink's content
}

func newTree() *tree {
	root := &dir{}
	return &tree{root: root, dirs: map[string]*dir{"": root}}
}

// slot returns a place for a checksum that does not move.
func (t *tree) slot() *object.Checksum {
	if len(t.slots) == 0 {
		t.slots = make([]object.Checksum, 512)
	}
	s := &t.slots[0]
	t.slots = t.slots[1:]
	return s
}

// dir returns the directory at path, made with its parents if need be.
func (t *tree) dir(path string) *dir {
	if d, ok := t.dirs[path]; ok {
		return d
	}
	parentPath, name := split(path)
	parent := t.dir(parentPath)
	d := &dir{name: strings.Clone(name)}
	t.pathBytes += int64(len(path))
	parent.dirs = append(parent.dirs, d)
	t.dirs[strings.Clone(path)] = d
	return d
}

func split(path string) (parent, name string) {
	i := strings.LastIndexByte(path, '/')
	if i < 0 {
		return "", path
	}
	return path[:i], path[i+1:]
}

func (t *tree) add(path string, slot *object.Checksum) {
	parent, name := split(path)
	d := t.dir(parent)
	d.files = append(d.files, file{name: strings.Clone(name), slot: slot})
}

func (t *tree) addLink(path string, l link) {
	parent, name := split(path)
	d := t.dir(parent)
	t.links = append(t.links, l)
	d.files = append(d.files, file{name: strings.Clone(name), link: len(t.links)})
}

// settle sorts every directory, lets the last member of a name win, and resolves hardlinks.
func (t *tree) settle() error {
	for path, d := range t.dirs {
		slices.SortStableFunc(d.files, func(a, b file) int { return strings.Compare(a.name, b.name) })
		kept := d.files[:0]
		for i, f := range d.files {
			if i+1 < len(d.files) && d.files[i+1].name == f.name {
				continue
			}
			kept = append(kept, f)
		}
		d.files = kept
		slices.SortFunc(d.dirs, func(a, b *dir) int { return strings.Compare(a.name, b.name) })
		for i, j := 0, 0; i < len(d.files) && j < len(d.dirs); {
			switch strings.Compare(d.files[i].name, d.dirs[j].name) {
			case 0:
				return &EntryError{Entry: strings.TrimPrefix(path+"/"+d.files[i].name, "/"), Err: ErrTypeConflict}
			case -1:
				i++
			default:
				j++
			}
		}
	}
	for _, d := range t.dirs {
		for i := range d.files {
			if f := &d.files[i]; f.link != 0 {
				if err := t.resolve(f); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// resolve gives a hardlink the slot of its target, through other hardlinks if need be.
func (t *tree) resolve(f *file) error {
	var chain []*file
	for f.slot == nil {
		l := &t.links[f.link-1]
		fail := func(why string) error {
			return &EntryError{Entry: l.entry, Err: fmt.Errorf("%w %q %s", ErrLinkTarget, l.named, why)}
		}
		target, isDir := t.lookup(l.target)
		switch {
		case isDir:
			return fail("is a directory")
		case target == nil:
			return fail("is not in this layer")
		case target == f:
			return fail("is the entry itself")
		case l.followed:
			return fail("leads through other hardlinks back to itself")
		}
		l.followed = true
		chain = append(chain, f)
		f = target
	}
	for _, link := range chain {
		link.slot = f.slot
	}
	return nil
}

func (t *tree) lookup(path string) (f *file, isDir bool) {
	if _, ok := t.dirs[path]; ok {
		return nil, true
	}
	parent, name := split(path)
	d, ok := t.dirs[parent]
	if !ok {
		return nil, false
	}
	i, found := slices.BinarySearchFunc(d.files, name, func(f file, name string) int { return strings.Compare(f.name, name) })
	if !found {
		return nil, false
	}
	return &d.files[i], false
}

// writer stores the directories of a tree.
type writer struct {
	store *objstore.Store
	label func(path string, mode uint32) (string, error) // nil: no labels
	metas map[string]object.Checksum                     // by serialised metadata
}

// write stores d and everything below and returns its two checksums.
func (w *writer) write(ctx context.Context, path string, d *dir) (treeSum, metaSum object.Checksum, err error) {
	out := object.DirTree{Files: make([]object.FileEntry, len(d.files)), Dirs: make([]object.DirEntry, len(d.dirs))}
	for i, f := range d.files {
		out.Files[i] = object.FileEntry{Name: f.name, Sum: *f.slot}
	}
	for i, sub := range d.dirs {
		subTree, subMeta, err := w.write(ctx, path+"/"+sub.name, sub)
		if err != nil {
			return treeSum, metaSum, err
		}
		out.Dirs[i] = object.DirEntry{Name: sub.name, Tree: subTree, Meta: subMeta}
	}
	if treeSum, err = w.store.DirTree(ctx, &out); err != nil {
		return treeSum, metaSum, fmt.Errorf("directory %q: %w", "/"+strings.TrimPrefix(path, "/"), err)
	}
	meta := object.RootDirMeta()
	if d.meta != nil {
		meta = *d.meta
	}
	if w.label != nil {
		if path == "" {
			path = "/"
		}
		label, err := w.label(path, meta.Mode)
		if err != nil {
			return treeSum, metaSum, err
		}
		meta.Xattrs = object.WithLabel(meta.Xattrs, label)
	}
	key := string(object.AppendMeta(nil, &meta))
	metaSum, ok := w.metas[key]
	if !ok {
		if metaSum, err = w.store.DirMeta(ctx, &meta); err != nil {
			return treeSum, metaSum, fmt.Errorf("metadata of directory %q: %w", path, err)
		}
		w.metas[key] = metaSum
	}
	return treeSum, metaSum, nil
}
