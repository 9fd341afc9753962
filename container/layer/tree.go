package layer

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/ostree-container/ostree-container/container/internal/object"
	"github.com/ostree-container/ostree-container/container/internal/objstore"
)

// tree is the directory tree of a layer while its entries come in. It is what an import holds in memory per entry, so it is kept
// small: a name and a checksum.
type tree struct {
	root  *dir
	dirs  map[string]*dir // by path, "" the root
	links []link
	// pathBytes is what the keys of dirs hold.
	pathBytes int64
	whiteouts bool // a file has the name of one
}

type dir struct {
	name  string
	meta  *object.Meta // nil: not named by the layer
	dirs  []*dir
	files packed
	open  []file // while settle resolves hardlinks: the same
	links bool   // has hardlinks, or the target of one
}

// file is a name and, until settle, for a hardlink where to find it in tree.links instead of its checksum.
type file struct {
	name string
	sum  object.Checksum
}

// noSum begins what stands for a checksum in a hardlink: no content has a SHA-256 that does.
const noSum = "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"

func linkFile(name string, link int) file {
	f := file{name: name}
	copy(f.sum[:], noSum)
	binary.NativeEndian.PutUint64(f.sum[len(noSum):], uint64(link))
	return f
}

// link returns the index of a hardlink.
func (f *file) link() (int, bool) {
	if string(f.sum[:len(noSum)]) != noSum {
		return 0, false
	}
	return int(binary.NativeEndian.Uint64(f.sum[len(noSum):])), true
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

func (t *tree) add(path string, sum object.Checksum) {
	parent, name := split(path)
	t.noteName(name)
	d := t.dir(parent)
	d.files.add(file{name, sum})
}

// noteName looks out for whiteouts. A symlink of such a name, which is none, counts too.
func (t *tree) noteName(name string) {
	t.whiteouts = t.whiteouts || strings.HasPrefix(name, WhiteoutPrefix)
}

func (t *tree) addLink(path string, l link) {
	parent, name := split(path)
	t.noteName(name)
	d := t.dir(parent)
	d.files.add(linkFile(name, len(t.links)))
	d.links = true
	t.links = append(t.links, l)
}

// settle sorts every directory, lets the last member of a name win, and resolves hardlinks.
func (t *tree) settle() error {
	for _, l := range t.links {
		parent, _ := split(l.target)
		if d, ok := t.dirs[parent]; ok {
			d.links = true
		}
	}
	for path, d := range t.dirs {
		files := d.files.unpack()
		slices.SortStableFunc(files, func(a, b file) int { return strings.Compare(a.name, b.name) })
		kept := files[:0]
		for i, f := range files {
			if i+1 < len(files) && files[i+1].name == f.name {
				continue
			}
			kept = append(kept, f)
		}
		if d.links {
			d.open = kept
		}
		d.files = pack(kept)
		slices.SortFunc(d.dirs, func(a, b *dir) int { return strings.Compare(a.name, b.name) })
		for i, j := 0, 0; i < len(kept) && j < len(d.dirs); {
			switch strings.Compare(kept[i].name, d.dirs[j].name) {
			case 0:
				return &EntryError{Entry: strings.TrimPrefix(path+"/"+kept[i].name, "/"), Err: ErrTypeConflict}
			case -1:
				i++
			default:
				j++
			}
		}
	}
	for _, d := range t.dirs {
		for i := range d.open {
			if err := t.resolve(&d.open[i]); err != nil {
				return err
			}
		}
	}
	for _, d := range t.dirs {
		if d.links {
			d.files, d.open = pack(d.open), nil
		}
	}
	return nil
}

// resolve gives a hardlink the checksum of its target, through other hardlinks if need be.
func (t *tree) resolve(f *file) error {
	var chain []*file
	for {
		n, ok := f.link()
		if !ok {
			break
		}
		l := &t.links[n]
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
		link.sum = f.sum
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
	i, found := slices.BinarySearchFunc(d.open, name, func(f file, name string) int { return strings.Compare(f.name, name) })
	if !found {
		return nil, false
	}
	return &d.open[i], false
}

// writer stores the directories of a tree.
type writer struct {
	store *objstore.Store
	label func(path string, mode uint32) (string, error) // nil: no labels
	metas map[string]object.Checksum                     // by serialised metadata
}

// write stores d and everything below and returns its two checksums.
func (w *writer) write(ctx context.Context, path string, d *dir) (treeSum, metaSum object.Checksum, err error) {
	files := d.files.unpack()
	out := object.DirTree{Files: make([]object.FileEntry, len(files)), Dirs: make([]object.DirEntry, len(d.dirs))}
	for i, f := range files {
		out.Files[i] = object.FileEntry{Name: f.name, Sum: f.sum}
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
