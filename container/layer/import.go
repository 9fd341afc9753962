package layer

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/ostree-container/ostree-container/container/internal/object"
	"github.com/ostree-container/ostree-container/container/internal/objstore"
	"github.com/ostree-container/ostree-container/container/internal/twinhash"
	"github.com/ostree-container/ostree-container/container/internal/work"
	"github.com/ostree-container/ostree-container/ostree"
)

// Labeler gives the SELinux label of a path; *ostree.SePolicy is one.
type Labeler interface {
	// Label returns the label of the absolute path for a file of the given mode, "" if there is none.
	Label(ctx context.Context, path string, mode uint32) (string, error)
}

// Limits bound what one layer may hold. A zero field means the default.
type Limits struct {
	Entries    int64 // members of the tar; default 2 million
	XattrBytes int   // names and values of one entry, in bytes; default 1 MiB
	NameBytes  int64 // all names together, in bytes; default 256 MiB
}

func (l Limits) withDefaults() Limits {
	if l.Entries == 0 {
		l.Entries = 2_000_000
	}
	if l.XattrBytes == 0 {
		l.XattrBytes = 1 << 20
	}
	if l.NameBytes == 0 {
		l.NameBytes = 256 << 20
	}
	return l
}

// Options say how a layer is read. The zero value drops what is outside /usr, /etc and /var and moves /var to the factory.
type Options struct {
	AllowNonUsr bool    // keep toplevel directories other than /usr, /etc and /var (the root is an overlay)
	RetainVar   bool    // keep /var where it is (libostree 2024.3 and later)
	Strict      bool    // refuse devices, FIFOs and the like instead of filtering them
	Policy      Labeler // SELinux policy; nil: no labels
	Limits      Limits
}

// Result is the tree of a layer. The objects are written but not published.
type Result struct {
	Tree, Meta object.Checksum
	Filtered   map[string]uint32 // how many entries were dropped, by toplevel directory or, for what cannot be stored, by path and kind
	Entries    int64             // members of the tar
	Whiteouts  bool              // there may be whiteouts in the tree
	Labels     bool              // a member brings an SELinux label of its own
}

// Import reads an uncompressed tar stream to its end-of-archive mark and writes its content to store. What follows the mark is
// left in r for the caller, who has a digest to check. Errors about an entry are *EntryError; if r fails, its error is wrapped.
func Import(ctx context.Context, store *objstore.Store, pool *work.Pool, r io.Reader, opts *Options) (*Result, error) {
	if opts == nil {
		opts = &Options{}
	}
	im := &importer{
		store: store, opts: opts, limits: opts.Limits.withDefaults(), rules: rules{opts.AllowNonUsr, opts.RetainVar},
		group: work.NewGroup(ctx, pool), tree: newTree(), globals: globals{}, sysroot: map[string]*sysrootFile{},
		result: &Result{Filtered: map[string]uint32{}},
	}
	defer im.group.Cancel(nil)
	readErr := im.readAll(twinhash.ReaderOf(r))
	if readErr != nil {
		im.group.Cancel(readErr)
	}
	if err := im.group.Wait(); err != nil {
		return nil, err
	}
	if err := im.tree.settle(); err != nil {
		return nil, err
	}
	w := &writer{store: store, metas: map[string]object.Checksum{}}
	if opts.Policy != nil {
		w.label = func(path string, mode uint32) (string, error) { return opts.Policy.Label(ctx, path, mode) }
	}
	im.result.Whiteouts = im.tree.whiteouts
	var err error
	im.result.Tree, im.result.Meta, err = w.write(ctx, "", im.tree.root)
	return im.result, err
}

type importer struct {
	store      *objstore.Store
	opts       *Options
	limits     Limits
	rules      rules
	group      *work.Group
	tree       *tree
	globals    globals
	sysroot    map[string]*sysrootFile
	result     *Result
	names      int64 // bytes of names so far
	keptXattrs int
}

func (im *importer) readAll(r *twinhash.Reader) error {
	first := &firstByte{r: r}
	tr := tar.NewReader(first)
	members := twinhash.Through{Src: tr, Via: r}
	last := ""
	for {
		h, err := tr.Next()
		switch {
		case errors.Is(err, io.EOF) && !first.seen:
			return errors.New("tar: the layer is empty, not even an end-of-archive mark")
		case errors.Is(err, io.EOF):
			return nil
		case errors.Is(err, tar.ErrFieldTooLong):
			return fmt.Errorf("tar: %w: extended header of the entry after %q: %w", ErrLimit, last, err)
		case err != nil && last == "":
			return fmt.Errorf("tar: first header: %w", err)
		case err != nil:
			return fmt.Errorf("tar: header after %q: %w", last, err)
		}
		last = h.Name
		if err := im.group.Ctx.Err(); err != nil {
			return context.Cause(im.group.Ctx)
		}
		if h.Typeflag == tar.TypeXGlobalHeader {
			if err := im.globals.add(h.PAXRecords); err != nil {
				return fmt.Errorf("tar: header after %q: %w", last, err)
			}
			continue
		}
		if err := im.globals.apply(h); err != nil {
			return &EntryError{Entry: h.Name, Err: err}
		}
		if err := im.entry(h, members); err != nil {
			return im.atEntry(h.Name, err)
		}
	}
}

// firstByte notes whether its source has any bytes.
type firstByte struct {
	r    io.Reader
	seen bool
}

func (f *firstByte) Read(p []byte) (int, error) {
	n, err := f.r.Read(p)
	f.seen = f.seen || n > 0
	return n, err
}

// atEntry names the entry at which err happened, unless err is that of another entry or of the caller's context.
func (im *importer) atEntry(name string, err error) error {
	var at *EntryError
	if err == nil || errors.As(err, &at) || im.group.Ctx.Err() != nil && errors.Is(err, context.Cause(im.group.Ctx)) {
		return err
	}
	return &EntryError{Entry: name, Err: err}
}

func (im *importer) entry(h *tar.Header, content twinhash.Through) error {
	im.result.Entries++
	im.names += int64(len(h.Name) + len(h.Linkname))
	// Directories that no member names count too: one long path makes many.
	if max(im.result.Entries, int64(len(im.tree.dirs))) > im.limits.Entries {
		return fmt.Errorf("%w: more than %d entries", ErrLimit, im.limits.Entries)
	}
	if im.names+im.tree.pathBytes > im.limits.NameBytes {
		return fmt.Errorf("%w: more than %d bytes of names", ErrLimit, im.limits.NameBytes)
	}
	regular := isRegular(h.Typeflag)
	if done, err := im.sysrootEntry(h, content, regular); done || err != nil {
		return err
	}
	path, dropped, err := im.rules.place(h.Name, regular)
	if err != nil {
		return err
	}
	if dropped != "" {
		im.filtered(dropped)
		return nil
	}
	if kind := unsupported(h.Typeflag); kind != "" {
		if im.opts.Strict {
			return fmt.Errorf("%s: %w", kind, ErrUnsupported)
		}
		im.filtered("/" + path + " (" + kind + ")")
		return nil
	}
	if path == "" && h.Typeflag != tar.TypeDir {
		return fmt.Errorf("%w: the root is not a directory", ErrInvalidPath)
	}
	if h.Typeflag == tar.TypeLink {
		return im.hardlink(h, path)
	}
	meta, err := im.meta(h)
	if err != nil {
		return err
	}
	if h.Typeflag == tar.TypeDir {
		if err := im.keep(meta); err != nil {
			return err
		}
		im.tree.dir(path).meta = meta
		return nil
	}
	if err := im.dropEmptyXattrs(meta, path); err != nil {
		return err
	}
	if regular {
		_, base := split(path)
		if err := checkWhiteout(base); err != nil {
			return err
		}
	}
	if err := im.label(meta, path); err != nil {
		return err
	}
	store := im.file
	if h.Typeflag == tar.TypeSymlink {
		store = im.symlink
	}
	sum, err := store(h, content, meta)
	if err == nil {
		im.tree.add(path, sum)
	}
	return err
}

// maxKeptXattrs bounds the extended attributes that are held until the layer is read, in bytes.
const maxKeptXattrs = 32 << 20

// keep accounts for metadata that is held until the layer is read.
func (im *importer) keep(meta *object.Meta) error {
	for _, x := range meta.Xattrs {
		im.keptXattrs += len(x.Name) + len(x.Value)
	}
	if im.keptXattrs > maxKeptXattrs {
		return fmt.Errorf("%w: more than %d bytes of extended attributes of directories", ErrLimit, maxKeptXattrs)
	}
	return nil
}

// maxFiltered is how many names of filtered content are told apart: they end up in the commit.
const maxFiltered = 4096

// filtered counts an entry that is left out.
func (im *importer) filtered(key string) {
	key = strings.ToValidUTF8(key, "\uFFFD") // names of attributes may be any bytes, metadata of a commit may not
	if _, known := im.result.Filtered[key]; !known && len(im.result.Filtered) >= maxFiltered {
		key = "(others)"
	}
	im.result.Filtered[key]++
}

func isRegular(typeflag byte) bool {
	return typeflag == tar.TypeReg || typeflag == tar.TypeCont || typeflag == tar.TypeGNUSparse
}

// meta is the metadata of a member.
func (im *importer) meta(h *tar.Header) (*object.Meta, error) {
	m, err := im.globals.meta(h, &im.limits)
	if err != nil {
		return nil, err
	}
	if _, labelled := m.Xattr(object.LabelXattr); labelled {
		im.result.Labels = true
	}
	return m, nil
}

// dropEmptyXattrs takes extended attributes with an empty value from a file that will be a file on disk: libostree skips them when it
// reads an object of a bare repository back, and would call it corrupted. Directories and other repository modes keep them.
func (im *importer) dropEmptyXattrs(meta *object.Meta, path string) error {
	if im.store.KeepsEmptyXattrs() {
		return nil
	}
	kept := meta.Xattrs[:0]
	for _, x := range meta.Xattrs {
		switch {
		case len(x.Value) > 0:
			kept = append(kept, x)
		case im.opts.Strict:
			return fmt.Errorf("extended attribute %q without a value: %w of a bare repository", x.Name, ErrUnsupported)
		default:
			im.filtered("/" + path + " (extended attribute " + x.Name + " without a value)")
		}
	}
	meta.Xattrs = kept
	return nil
}

func (im *importer) label(meta *object.Meta, path string) error {
	if im.opts.Policy == nil {
		return nil
	}
	label, err := im.opts.Policy.Label(im.group.Ctx, "/"+path, meta.Mode)
	if err != nil {
		return err
	}
	meta.Xattrs = object.WithLabel(meta.Xattrs, label)
	return nil
}

func (im *importer) hardlink(h *tar.Header, path string) error {
	target, dropped, err := im.rules.place(h.Linkname, false)
	switch {
	case err != nil:
		return fmt.Errorf("%w %q: %w", ErrLinkTarget, h.Linkname, err)
	case dropped != "":
		return fmt.Errorf("%w %q is at a place that is filtered", ErrLinkTarget, h.Linkname)
	case target == "":
		return fmt.Errorf("%w %q is a directory", ErrLinkTarget, h.Linkname)
	}
	_, base := split(path)
	if err := checkWhiteout(base); err != nil {
		return err
	}
	im.tree.addLink(path, link{target: target, entry: h.Name, named: h.Linkname})
	return nil
}

func (im *importer) symlink(h *tar.Header, _ twinhash.Through, meta *object.Meta) (object.Checksum, error) {
	target := h.Linkname
	if target == "" {
		return object.Checksum{}, errors.New("symlink without a target")
	}
	if len(target) >= maxPath {
		return object.Checksum{}, fmt.Errorf("%w: symlink target of %d bytes, at most %d are possible", ErrInvalidPath, len(target), maxPath-1)
	}
	if !utf8.ValidString(target) { // where it leads does not matter: nobody follows it here
		return object.Checksum{}, fmt.Errorf("symlink target %q: %w", target, ErrNotUTF8)
	}
	sum := object.FileChecksum(meta, target, nil)
	return sum, im.later(h.Name, func() error { return im.store.SummedFile(im.group.Ctx, sum, meta, target, nil) })
}

// later runs write in the pool.
func (im *importer) later(entry string, write func() error) error {
	return im.group.Do(func() error { return im.atEntry(entry, write()) })
}

// file stores a regular file, a small one in the background.
func (im *importer) file(h *tar.Header, content twinhash.Through, meta *object.Meta) (object.Checksum, error) {
	if h.Size > work.SmallFile || IsSparse(h) {
		var source io.Reader = content
		if IsSparse(h) { // what is read for it is not its content
			source = content.Src
		}
		return im.store.Stream(im.group.Ctx, object.Checksum{}, meta, h.Size, source)
	}
	buf, release := work.Buffer(h.Size)
	hash := object.NewFileHash(meta)
	if _, err := io.ReadFull(content.Hashing(hash), buf); err != nil {
		release()
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return object.Checksum{}, fmt.Errorf("content: %w", err)
	}
	sum := object.Checksum(hash.Sum())
	return sum, im.later(h.Name, func() error {
		defer release()
		return im.store.SummedFile(im.group.Ctx, sum, meta, "", buf)
	})
}

// sysrootRepo is where an ostree-native image keeps its objects; a layer on top of it may have changed some of them in place.
const sysrootRepo = "sysroot/ostree/repo/"

// sysrootFile is an object file of the base that this layer carries with new content; later hardlinks make it visible.
type sysrootFile struct {
	meta *object.Meta
	sum  object.Checksum
}

// sysrootEntry handles files below /sysroot/ostree/repo that the layer changed (their time of modification is not 0, which is
// what objects have) and hardlinks to them. The link becomes the file: what it links to is not part of a commit.
func (im *importer) sysrootEntry(h *tar.Header, content twinhash.Through, regular bool) (done bool, err error) {
	if h.ModTime.Unix() <= 0 {
		return false, nil
	}
	switch {
	case regular && inSysrootRepo(h.Name):
		parts, err := components(h.Name)
		if err != nil {
			return true, err
		}
		meta, err := im.meta(h)
		if err != nil {
			return true, err
		}
		if err := im.dropEmptyXattrs(meta, strings.Join(parts, "/")); err != nil {
			return true, err
		}
		if err := im.keep(meta); err != nil {
			return true, err
		}
		f := &sysrootFile{meta: meta}
		im.sysroot[strings.Join(parts, "/")] = f
		f.sum, err = im.file(h, content, meta)
		return true, err
	case h.Typeflag == tar.TypeLink && inSysrootRepo(h.Linkname) && !inSysrootRepo(h.Name):
		return true, im.sysrootLink(h)
	}
	return false, nil
}

func inSysrootRepo(name string) bool {
	parts, err := components(name)
	return err == nil && strings.HasPrefix(strings.Join(parts, "/")+"/", sysrootRepo)
}

func (im *importer) sysrootLink(h *tar.Header) error {
	parts, err := components(h.Linkname)
	if err != nil {
		return err
	}
	path, dropped, err := im.rules.place(h.Name, false)
	if err != nil {
		return err
	}
	if dropped == "" {
		if path == "" {
			return fmt.Errorf("%w: the root is not a directory", ErrInvalidPath)
		}
		_, base := split(path)
		if err := checkWhiteout(base); err != nil {
			return err
		}
	}
	f, known := im.sysroot[strings.Join(parts, "/")]
	switch {
	case dropped != "":
		im.filtered(dropped)
		return nil
	case !known && im.opts.Strict:
		return fmt.Errorf("%w %q is not in this layer", ErrLinkTarget, h.Linkname)
	case !known: // the reference loses it without a word; here it is at least counted
		im.filtered("/" + path + " (hardlink to an object that is not in this layer)")
		return nil
	}
	sum := f.sum
	if im.opts.Policy != nil {
		if sum, err = im.relabel(f, path); err != nil {
			return err
		}
	}
	im.tree.add(path, sum)
	return nil
}

// relabel stores a changed object of the base again with the label of the path at which it appears.
func (im *importer) relabel(f *sysrootFile, path string) (object.Checksum, error) {
	im.group.Settle() // its content may still be with a worker
	if err := im.group.Ctx.Err(); err != nil {
		return f.sum, context.Cause(im.group.Ctx)
	}
	return im.store.Relabel(im.group.Ctx, f.sum, func(mode uint32) (string, error) {
		return im.opts.Policy.Label(im.group.Ctx, "/"+path, mode)
	})
}

var _ Labeler = (*ostree.SePolicy)(nil)
