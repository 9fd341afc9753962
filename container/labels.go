package container

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/ostree-container/ostree-container/container/internal/gvariant"
	"github.com/ostree-container/ostree-container/container/internal/object"
	"github.com/ostree-container/ostree-container/container/internal/objstore"
	"github.com/ostree-container/ostree-container/container/internal/union"
	"github.com/ostree-container/ostree-container/container/internal/work"
	"github.com/ostree-container/ostree-container/ostree"
)

// errOwnLabels is about a layer that came with labels of its own, or got those of its base: they would be lost.
var errOwnLabels = errors.New("the layer has SELinux labels of its own")

// layerTree is the tree of a layer as it is merged.
type layerTree struct {
	commit     *ostree.Commit
	tree, meta object.Checksum
	// labelledBy is the policy that its labels are from, see labeler; "" if it has none, or others.
	labelledBy string
	// unlabelled says that no file has a label, whatever is on disk.
	unlabelled bool
	// ours is false if the labels in it, if any, are to stay.
	ours bool
}

// layerTrees returns the trees of all layers but chunks, by commit.
func (i *Importer) layerTrees(ctx context.Context, p *PreparedImport) (map[string]*layerTree, error) {
	trees := map[string]*layerTree{}
	for n := range p.Layers {
		l := &p.Layers[n]
		if l.Kind == LayerChunk || trees[l.Commit] != nil {
			continue
		}
		err := func() (err error) {
			t := &layerTree{}
			var imported bool
			t.unlabelled, imported = p.unlabelled[l.Commit]
			if t.commit, _, err = i.repo.LoadCommit(ctx, l.Commit); err != nil {
				return err
			}
			if t.tree, t.meta, err = rootOf(t.commit); err != nil {
				return err
			}
			trees[l.Commit] = t
			if l.Kind != LayerDerived {
				return nil
			}
			if t.labelledBy, t.ours, err = t.commit.MetadataString(metaLabelledBy); err != nil || t.ours {
				return err
			}
			labelled, err := i.labelled(ctx, t.meta)
			t.ours = !labelled && (t.unlabelled || !imported)
			return err
		}()
		if err != nil {
			return nil, layerError(i.ref.ImgRef.String(), l, len(p.Layers), fmt.Errorf("commit %s: %w", l.Commit, err))
		}
	}
	return trees, nil
}

// labeler gives layers the labels that the merged tree will have, so that both have the same objects. A layer keeps under metaLabelledBy
// which policy its labels are from, by the dirtree of the policy's directory in the merged tree: with the same one there is nothing to do,
// and with another, or none, they can be taken away again.
type labeler struct {
	importer *Importer
	store    *objstore.Store
	policy   *ostree.SePolicy // nil: no labels
	layers   map[string]*layerTree
	metas    map[metaKey]labelledMeta
	done     map[*layerTree]bool // their labels are those of policy

	mu    sync.Mutex
	known map[metaKey]object.Checksum // large files, by what they were before and their label: small ones are cheaper to read again
}

// labelLayers labels the layers of which t is the union, where that loses nothing. It returns nil if there are no such layers; changed says
// whether any of them has another tree now. The labeler must be closed.
func (i *Importer) labelLayers(ctx context.Context, store *objstore.Store, t *union.Tree, layers map[string]*layerTree) (_ *labeler, changed bool, err error) {
	some, stored := false, false
	for _, l := range layers {
		some = some || l.ours
		stored = stored || l.labelledBy != ""
	}
	if !some {
		return nil, false, nil
	}
	dir, err := t.Lookup(ctx, selinuxDir)
	if err != nil || dir == nil && !stored {
		return nil, false, err
	}
	b := &labeler{
		importer: i, store: store, layers: layers, metas: map[metaKey]labelledMeta{}, known: map[metaKey]object.Checksum{}, done: map[*layerTree]bool{},
	}
	by := ""
	if dir != nil {
		if b.policy, by, err = i.mergedPolicy(ctx, store, t, dir); err != nil {
			return nil, false, err
		}
	}
	finish := i.progress.phase(PhaseRelabel)
	for _, l := range layers {
		if !l.ours {
			continue
		}
		if b.policy == nil && l.labelledBy == "" || b.policy != nil && l.labelledBy == by {
			b.done[l] = true
			continue
		}
		tree, meta, err := b.layer(ctx, l)
		if errors.Is(err, errOwnLabels) {
			l.ours = false
			continue
		}
		if err != nil {
			return nil, false, errors.Join(fmt.Errorf("layer commit %s: %w", l.commit.Checksum, err), b.close())
		}
		changed = changed || tree != l.tree || meta != l.meta
		l.tree, l.meta = tree, meta
		b.done[l] = true
	}
	if changed { // what was written is read again
		if err := store.Publish(ctx, nil); err != nil {
			return nil, false, errors.Join(err, b.close())
		}
	}
	finish()
	return b, changed, nil
}

func (b *labeler) close() error {
	if b == nil || b.policy == nil {
		return nil
	}
	return b.policy.Close()
}

// all reports whether every layer is labelled by the policy, so that their union is.
func (b *labeler) all() bool {
	if b == nil {
		return false
	}
	for _, l := range b.layers {
		if !b.done[l] {
			return false
		}
	}
	return true
}

// commits writes the commits of the layers whose labels have changed, by the checksums of those that they replace. by names the policy as
// it is in the merged tree now.
func (b *labeler) commits(ctx context.Context, by string) (map[string]string, error) {
	replaced := map[string]string{}
	for l := range b.done {
		tree, meta, err := rootOf(l.commit)
		if err != nil {
			return nil, err
		}
		if l.labelledBy == by && l.tree == tree && l.meta == meta {
			continue
		}
		c := &object.Commit{Metadata: map[string]gvariant.Value{}, Timestamp: uint64(l.commit.Timestamp.Unix()), Tree: l.tree, Meta: l.meta}
		for _, key := range l.commit.Metadata.Keys() {
			if v, ok := l.commit.Metadata.Lookup(key); ok && key != metaLabelledBy {
				c.Metadata[key] = gvariant.Serialised(v.TypeString(), v.Bytes())
			}
		}
		if by != "" {
			c.Metadata[metaLabelledBy] = gvariant.String(by)
		}
		sum, err := b.store.Commit(ctx, c)
		if err != nil {
			return nil, err
		}
		replaced[l.commit.Checksum] = sum.String()
	}
	return replaced, nil
}

// labelledDir is a directory whose files are being labelled.
type labelledDir struct {
	*object.DirTree
	dirs []*labelledDir
}

// layer labels the tree of a layer.
func (b *labeler) layer(ctx context.Context, l *layerTree) (tree, meta object.Checksum, err error) {
	if meta, err = b.dirMeta(ctx, l, "/", l.meta); err != nil {
		return l.tree, l.meta, err
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	root, err := b.dir(gctx, g, l, "", l.tree)
	if failed := g.Wait(); failed != nil { // which ended the walk, too
		err = failed
	}
	if err != nil {
		return l.tree, l.meta, err
	}
	tree, err = b.write(ctx, root)
	return tree, meta, err
}

// dir reads a directory and those below it, and has their files labelled in g.
func (b *labeler) dir(ctx context.Context, g *errgroup.Group, l *layerTree, path string, sum object.Checksum) (*labelledDir, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	content, err := repoLoader{b.importer.repo}.DirTree(ctx, sum)
	if err != nil {
		return nil, fmt.Errorf("directory %q: %w", path, err)
	}
	d := &labelledDir{DirTree: content, dirs: make([]*labelledDir, len(content.Dirs))}
	for n := range content.Files {
		f := &content.Files[n]
		g.Go(func() (err error) {
			if f.Sum, err = b.file(ctx, l, path+"/"+f.Name, f.Sum); err != nil {
				err = fmt.Errorf("relabel %s/%s: %w", path, f.Name, err)
			}
			return err
		})
	}
	for n := range content.Dirs {
		sub := &content.Dirs[n]
		subPath := path + "/" + sub.Name
		if sub.Meta, err = b.dirMeta(ctx, l, subPath, sub.Meta); err != nil {
			return nil, err
		}
		if d.dirs[n], err = b.dir(ctx, g, l, subPath, sub.Tree); err != nil {
			return nil, err
		}
	}
	return d, nil
}

func (b *labeler) write(ctx context.Context, d *labelledDir) (object.Checksum, error) {
	for n, sub := range d.dirs {
		var err error
		if d.Dirs[n].Tree, err = b.write(ctx, sub); err != nil {
			return object.Checksum{}, err
		}
	}
	return b.store.DirTree(ctx, d.DirTree)
}

func (b *labeler) label(ctx context.Context, path string, mode uint32) (string, error) {
	if b.policy == nil {
		return "", nil
	}
	return b.policy.Label(ctx, path, mode)
}

// file returns the checksum of a file with the label that it has at path, or with none.
func (b *labeler) file(ctx context.Context, l *layerTree, path string, sum object.Checksum) (object.Checksum, error) {
	var key metaKey
	now, err := b.store.Change(ctx, sum, func(m *object.Meta, size int64) (object.Checksum, error) {
		had, labelled := m.Xattr(object.LabelXattr)
		switch {
		case l.labelledBy != "":
		case l.unlabelled:
			labelled = false
		case labelled:
			return sum, errOwnLabels
		}
		label, err := b.label(ctx, path, m.Mode)
		if err != nil {
			return sum, err
		}
		if label == "" && !labelled || labelled && string(had) == label+"\x00" {
			return sum, nil
		}
		m.Xattrs = object.WithLabel(object.WithoutLabel(m.Xattrs), label)
		if size <= work.SmallFile {
			return object.Checksum{}, nil
		}
		key = metaKey{sum, label}
		b.mu.Lock()
		defer b.mu.Unlock()
		return b.known[key], nil
	})
	if err == nil && key != (metaKey{}) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.known[key] = now
	}
	return now, err
}

// labelledMeta is a dirmeta with another label.
type labelledMeta struct {
	sum object.Checksum
	had bool // a label before
}

// dirMeta returns the metadata of a directory with the label of its path, or with none.
func (b *labeler) dirMeta(ctx context.Context, l *layerTree, path string, sum object.Checksum) (object.Checksum, error) {
	label, err := b.label(ctx, path, object.ModeDir|0o755)
	if err != nil {
		return sum, err
	}
	key := metaKey{sum, label}
	now, known := b.metas[key]
	if !known {
		m, err := repoLoader{b.importer.repo}.DirMeta(ctx, sum)
		if err != nil {
			return sum, fmt.Errorf("directory %s: %w", path, err)
		}
		_, now.had = m.Xattr(object.LabelXattr)
		m.Xattrs = object.WithLabel(object.WithoutLabel(m.Xattrs), label)
		if now.sum, err = b.store.DirMeta(ctx, m); err != nil {
			return sum, err
		}
		b.metas[key] = now
	}
	if now.had && l.labelledBy == "" {
		return sum, errOwnLabels
	}
	return now.sum, nil
}
