package layer

import (
	"archive/tar"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/ostree-container/ostree-container/container/internal/object"
	"github.com/ostree-container/ostree-container/container/internal/objstore"
	"github.com/ostree-container/ostree-container/ostree"
)

// Root is the root directory of a commit.
type Root struct {
	Tree, Meta object.Checksum
	// Labelled says that the SELinux labels in it are not the layer's own, but were given to it afterwards.
	Labelled bool
}

// Export writes the tree of a layer commit as a tar, the inverse of Import: /usr/etc is etc again, whiteouts come before what
// else their directory holds, all times are 0. The bytes depend on the two trees alone.
//
// merged is the tree of the image, nil if there is none: a directory that it has too is written with the metadata that it has there.
// In OSTree the lower layer's count, in a container the upper layer's, and what an upper layer did not even name would
// otherwise come out as root:root 0755. SELinux labels are those that the layer came with: if it got its labels afterwards, none are
// written.
//
// Within /usr files of equal content and metadata become hardlinks. What is read is compared with its checksum.
func Export(ctx context.Context, repo *ostree.Repo, layer Root, merged *Root, w io.Writer) error {
	e := &exporter{
		ctx: ctx, repo: repo, tw: tar.NewWriter(w), links: map[object.Checksum]string{}, metas: map[object.Checksum]*object.Meta{},
		bare: layer.Labelled, alike: map[string]bool{},
	}
	root, err := e.root(layer)
	if err != nil {
		return err
	}
	var shown *exportDir
	if merged != nil {
		if shown, err = e.root(*merged); err != nil {
			return err
		}
	}
	if err := e.directory("", root, shown); err != nil {
		return err
	}
	return e.tw.Close()
}

type exporter struct {
	ctx   context.Context //nolint:containedctx // of one call of Export
	repo  *ostree.Repo
	tw    *tar.Writer
	bare  bool                       // leave labels out
	links map[object.Checksum]string // name of the first file with this content and metadata, as they are written
	alike map[string]bool            // size and metadata of files in links; only if labels are left out
	metas map[object.Checksum]*object.Meta
	buf   [64 << 10]byte
	head  []byte
}

// exportDir is a directory whose content is loaded.
type exportDir struct {
	meta object.Checksum
	*object.DirTree
	usr *exportDir // of a root: the directory usr less etc; nil: as in DirTree
}

func (e *exporter) load(tree, meta object.Checksum) (*exportDir, error) {
	data, err := e.metadata(ostree.ObjectDirTree, tree)
	if err != nil {
		return nil, err
	}
	t, err := object.DecodeDirTree(data)
	if err != nil {
		return nil, fmt.Errorf("object %s.dirtree: %w", tree, err)
	}
	return &exportDir{meta: meta, DirTree: t}, nil
}

// root loads a root directory with etc where an image has it. A tree that has both stays as it is.
func (e *exporter) root(r Root) (*exportDir, error) {
	top, err := e.load(r.Tree, r.Meta)
	if err != nil {
		return nil, err
	}
	const etc, whiteout = "etc", WhiteoutPrefix + "etc"
	moves := func(name string) bool { return name == etc || name == whiteout }
	n := slices.IndexFunc(top.Dirs, func(d object.DirEntry) bool { return d.Name == "usr" })
	if n < 0 || slices.ContainsFunc(top.Dirs, func(d object.DirEntry) bool { return moves(d.Name) }) ||
		slices.ContainsFunc(top.Files, func(f object.FileEntry) bool { return moves(f.Name) }) {
		return top, nil
	}
	if top.usr, err = e.load(top.Dirs[n].Tree, top.Dirs[n].Meta); err != nil {
		return nil, err
	}
	for _, f := range top.usr.Files {
		if moves(f.Name) {
			top.Files = append(top.Files, f)
		}
	}
	for _, d := range top.usr.Dirs {
		if d.Name == etc {
			top.Dirs = append(top.Dirs, d)
		}
	}
	top.usr.Files = slices.DeleteFunc(top.usr.Files, func(f object.FileEntry) bool { return moves(f.Name) })
	top.usr.Dirs = slices.DeleteFunc(top.usr.Dirs, func(d object.DirEntry) bool { return d.Name == etc })
	slices.SortFunc(top.Files, func(a, b object.FileEntry) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(top.Dirs, func(a, b object.DirEntry) int { return strings.Compare(a.Name, b.Name) })
	return top, nil
}

// below loads a subdirectory; nil if d is nil or has none of that name.
func (e *exporter) below(d *exportDir, name string) (*exportDir, error) {
	if d == nil {
		return nil, nil
	}
	if name == "usr" && d.usr != nil {
		return d.usr, nil
	}
	n, found := slices.BinarySearchFunc(d.Dirs, name, func(d object.DirEntry, name string) int { return strings.Compare(d.Name, name) })
	if !found {
		return nil, nil
	}
	return e.load(d.Dirs[n].Tree, d.Dirs[n].Meta)
}

func (e *exporter) metadata(typ ostree.ObjectType, sum object.Checksum) ([]byte, error) {
	if e.ctx.Err() != nil {
		return nil, context.Cause(e.ctx)
	}
	data, err := e.repo.LoadVariantBytes(e.ctx, typ, sum.String())
	if err != nil {
		return nil, err
	}
	if got := object.Sum(data); got != sum {
		return nil, fmt.Errorf("corrupted object %s.%s: its checksum is %s; see ostree fsck", sum, typ, got)
	}
	return data, nil
}

func (e *exporter) meta(sum object.Checksum) (*object.Meta, error) {
	if m := e.metas[sum]; m != nil {
		return m, nil
	}
	data, err := e.metadata(ostree.ObjectDirMeta, sum)
	if err != nil {
		return nil, err
	}
	m, err := object.DecodeMeta(data)
	if err != nil {
		return nil, fmt.Errorf("object %s.dirmeta: %w", sum, err)
	}
	e.metas[sum] = m
	return m, nil
}

// directory writes a directory and all below it. path is empty for the root and ends in a slash otherwise.
func (e *exporter) directory(path string, d, shown *exportDir) error {
	if len(path) > maxPath {
		return fmt.Errorf("%w: %q", ErrInvalidPath, path)
	}
	m, err := e.dirMeta(d, shown)
	if err == nil {
		err = e.header(&tar.Header{Typeflag: tar.TypeDir, Name: cmp.Or(path, "./")}, m)
	}
	if err != nil {
		return fmt.Errorf("directory %q: %w", "/"+path, err)
	}
	for _, whiteouts := range []bool{true, false} {
		for _, f := range d.Files {
			if strings.HasPrefix(f.Name, WhiteoutPrefix) != whiteouts {
				continue
			}
			if err := e.file(path+f.Name, f.Sum); err != nil {
				return fmt.Errorf("file %q: %w", "/"+path+f.Name, err)
			}
		}
	}
	for _, entry := range d.Dirs {
		sub, err := e.below(d, entry.Name)
		if err != nil {
			return fmt.Errorf("directory %q: %w", "/"+path+entry.Name, err)
		}
		subShown, err := e.below(shown, entry.Name)
		if err != nil {
			return fmt.Errorf("directory %q: %w", "/"+path+entry.Name, err)
		}
		if err := e.directory(path+entry.Name+"/", sub, subShown); err != nil {
			return err
		}
	}
	return nil
}

func (e *exporter) header(h *tar.Header, m *object.Meta) error {
	h.Uid, h.Gid, h.Mode, h.Format = int(m.UID), int(m.GID), int64(m.Mode&^object.ModeType), tar.FormatPAX
	for _, x := range m.Xattrs {
		if h.PAXRecords == nil {
			h.PAXRecords = map[string]string{}
		}
		h.PAXRecords[paxXattr+x.Name] = string(x.Value)
	}
	return e.tw.WriteHeader(h)
}

// dirMeta returns the metadata of a directory as it is written.
func (e *exporter) dirMeta(d, shown *exportDir) (*object.Meta, error) {
	own, err := e.meta(d.meta)
	if err != nil {
		return nil, err
	}
	m := *own
	if shown != nil {
		merged, err := e.meta(shown.meta)
		if err != nil {
			return nil, err
		}
		m = *merged
	}
	m.Xattrs = object.WithoutLabel(m.Xattrs)
	if label, ok := own.Xattr(object.LabelXattr); ok && !e.bare {
		m.Xattrs = object.SortXattrs(slices.Concat(m.Xattrs, []object.Xattr{{Name: object.LabelXattr, Value: label}}))
	}
	return &m, nil
}

// file writes a regular file or a symlink.
func (e *exporter) file(name string, sum object.Checksum) (err error) {
	linkable := strings.HasPrefix(name, "usr/")
	link := func(first string) error {
		return e.header(&tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: first}, &object.Meta{Mode: object.ModeRegular | 0o644})
	}
	if first, ok := e.links[sum]; ok && linkable && !e.bare {
		return link(first)
	}
	f, err := e.repo.LoadFile(e.ctx, sum.String())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	stored := objstore.MetaOf(f)
	m := *stored
	if e.bare {
		m.Xattrs = object.WithoutLabel(m.Xattrs)
	}
	h := &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: f.Info.Size}
	target := ""
	if m.Mode&object.ModeType == object.ModeSymlink {
		target = f.Info.SymlinkTarget
		h.Typeflag, h.Size, h.Linkname = tar.TypeSymlink, 0, target
	}
	c := &exportContent{sum: sum, stored: stored, shown: &m, target: target, size: h.Size}
	linkable = linkable && h.Size > 0
	like := ""
	if e.bare && linkable { // files that had one checksum may have several now
		like = fmt.Sprint(h.Size, " ", string(object.AppendFileHeader(nil, &m, "")))
		if e.alike[like] {
			again, err := e.repo.LoadFile(e.ctx, sum.String())
			if err != nil {
				return err
			}
			shown, err := e.copy(io.Discard, again, c)
			if err := errors.Join(err, again.Close()); err != nil {
				return err
			}
			if first, ok := e.links[shown]; ok {
				return link(first)
			}
		}
	}
	if err := e.header(h, &m); err != nil {
		return err
	}
	shown, err := e.copy(e.tw, f, c)
	if err != nil {
		return err
	}
	if linkable {
		e.links[shown] = name
		if e.bare {
			e.alike[like] = true
		}
	}
	return nil
}

// exportContent is a content object: its metadata as it is stored, and as it is written.
type exportContent struct {
	sum           object.Checksum
	stored, shown *object.Meta
	target        string
	size          int64 // of what is in the tar, in bytes
}

// copy copies an object, compares it with its checksum and returns the checksum that it would have with the metadata that is written.
func (e *exporter) copy(w io.Writer, r io.Reader, c *exportContent) (shown object.Checksum, err error) {
	hash, bare := sha256.New(), sha256.New()
	e.head = object.AppendFileHeader(e.head[:0], c.stored, c.target)
	hash.Write(e.head)
	if e.bare {
		e.head = object.AppendFileHeader(e.head[:0], c.shown, c.target)
		bare.Write(e.head)
	}
	for left := c.size; left > 0; {
		if e.ctx.Err() != nil {
			return shown, context.Cause(e.ctx)
		}
		n, err := io.ReadFull(r, e.buf[:min(left, int64(len(e.buf)))])
		if err != nil {
			return shown, err
		}
		left -= int64(n)
		hash.Write(e.buf[:n])
		if e.bare {
			bare.Write(e.buf[:n])
		}
		if _, err := w.Write(e.buf[:n]); err != nil {
			return shown, err
		}
	}
	if got := object.Checksum(hash.Sum(nil)); got != c.sum {
		return shown, fmt.Errorf("corrupted object %s.file: its checksum is %s; see ostree fsck", c.sum, got)
	}
	if e.bare {
		return object.Checksum(bare.Sum(nil)), nil
	}
	return c.sum, nil
}
