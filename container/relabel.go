package container

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/ostree-container/ostree-container/container/internal/object"
	"github.com/ostree-container/ostree-container/container/internal/objstore"
	"github.com/ostree-container/ostree-container/container/internal/union"
	"github.com/ostree-container/ostree-container/ostree"
)

// relabel gives every file and directory of the merged tree the label of the merged policy. Where the policy is that of the base,
// what the layers left alone is not looked at. base is the base commit, empty if there is none, and merged the merged policy if it is loaded, else nil.
func (i *Importer) relabel(ctx context.Context, store *objstore.Store, t *union.Tree, base string, merged *ostree.SePolicy) (err error) {
	dir, err := t.Lookup(ctx, selinuxDir)
	if err != nil || dir == nil {
		return err
	}
	r := &relabeler{importer: i, store: store, tree: t, metas: map[metaKey]object.Checksum{}}
	known, err := i.basePolicy(ctx, r, dir, base)
	switch {
	case err != nil:
		return err
	case known != nil:
		r.label = known.again
	case r.base != nil:
		return nil
	case merged != nil:
		r.label = merged.Label
	default:
		i.closeLabels() // no memory for two
		policy, _, failed := i.mergedPolicy(ctx, store, t, dir)
		if failed != nil || policy == nil {
			return failed
		}
		defer func() { err = errors.Join(err, policy.Close()) }()
		r.label = policy.Label
	}
	done := i.progress.phase(PhaseRelabel)
	root := t.Root()
	var lower *union.Dir
	if r.base != nil {
		lower = r.base.Root()
	}
	if root.Meta, err = r.meta(ctx, "/", root.Meta); err != nil {
		return err
	}
	if err = r.dir(ctx, "", root, lower); err == nil {
		done()
	}
	return err
}

// basePolicy loads the policy of a base commit if the merged tree has the same, in dir, and tells r to leave alone what the base has,
// unless the base was committed without its own policy: then everything needs a label.
func (i *Importer) basePolicy(ctx context.Context, r *relabeler, dir *union.Dir, base string) (*pathLabels, error) {
	if base == "" {
		return nil, nil
	}
	t, err := i.baseTree(ctx, base)
	if err != nil {
		return nil, err
	}
	lower, err := t.Lookup(ctx, selinuxDir)
	if err != nil || lower == nil || !sameDir(dir, lower) {
		return nil, err
	}
	labelled, err := i.labelled(ctx, t.Root().Meta)
	if err != nil {
		return nil, err
	}
	if labelled {
		r.base = t
	}
	return i.policyOfBase(ctx, t, base)
}

// labelled reports whether a directory has an SELinux label. The root of a commit tells whether the commit was labelled.
func (i *Importer) labelled(ctx context.Context, meta object.Checksum) (bool, error) {
	m, err := repoLoader{i.repo}.DirMeta(ctx, meta)
	if err != nil {
		return false, fmt.Errorf("root directory: %w", err)
	}
	_, ok := m.Xattr(object.LabelXattr)
	return ok, nil
}

func sameDir(a, b *union.Dir) bool {
	sumA, okA := a.Sum()
	sumB, okB := b.Sum()
	return okA && okB && sumA == sumB && a.Meta == b.Meta
}

// mergedPolicy loads the policy in a directory of the merged tree, nil if there is none, and returns the checksum of that directory.
// libostree reads a policy from a commit: one that nothing refers to is written for it, and goes with what the import replaced, or with the next prune.
func (i *Importer) mergedPolicy(ctx context.Context, store *objstore.Store, t *union.Tree, dir *union.Dir) (_ *ostree.SePolicy, by string, err error) {
	sum, err := t.WriteDir(ctx, store, dir)
	if err != nil {
		return nil, "", err
	}
	root := object.RootDirMeta()
	c := &object.Commit{Tree: sum}
	if c.Meta, err = store.DirMeta(ctx, &root); err != nil {
		return nil, "", err
	}
	meta := dir.Meta
	parts := strings.Split(selinuxDir, "/")
	for n := len(parts) - 1; n >= 0; n-- {
		above := &object.DirTree{Dirs: []object.DirEntry{{Name: parts[n], Tree: c.Tree, Meta: meta}}}
		if c.Tree, err = store.DirTree(ctx, above); err != nil {
			return nil, "", err
		}
		meta = c.Meta
	}
	commit, err := store.Commit(ctx, c)
	if err != nil {
		return nil, "", err
	}
	if err := store.Publish(ctx, nil); err != nil {
		return nil, "", err
	}
	i.replaced = append(i.replaced, commit.String())
	policy, err := i.policyOf(ctx, t, commit.String())
	return policy, sum.String(), err
}

type relabeler struct {
	importer *Importer
	store    *objstore.Store
	tree     *union.Tree
	base     *union.Tree // nil: look at everything
	label    func(ctx context.Context, path string, mode uint32) (string, error)
	metas    map[metaKey]object.Checksum
}

type metaKey struct {
	meta  object.Checksum
	label string
}

// dir relabels what is in d; lower is the same directory of the base, or nil.
func (r *relabeler) dir(ctx context.Context, path string, d, lower *union.Dir) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	lowerDirs, lowerFiles := map[string]*union.Dir{}, map[string]object.Checksum{}
	if lower != nil {
		err := r.base.Visit(ctx, path, lower,
			func(name string, sum object.Checksum) (object.Checksum, error) {
				lowerFiles[name] = sum
				return sum, nil
			},
			func(name string, sub *union.Dir) error { lowerDirs[name] = sub; return nil })
		if err != nil {
			return err
		}
	}
	labelled, err := r.files(ctx, path, d, lowerFiles)
	if err != nil {
		return err
	}
	return r.tree.Visit(ctx, path, d,
		func(name string, sum object.Checksum) (object.Checksum, error) {
			if now, ok := labelled[name]; ok {
				return now, nil
			}
			return sum, nil
		},
		func(name string, sub *union.Dir) error {
			same := lowerDirs[name]
			if same != nil && sameDir(sub, same) {
				return nil
			}
			var err error
			if sub.Meta, err = r.meta(ctx, path+"/"+name, sub.Meta); err != nil {
				return err
			}
			return r.dir(ctx, path+"/"+name, sub, same)
		})
}

// files relabels the files of d, several at once, and returns their checksums by name; those that lower has too are left out.
func (r *relabeler) files(ctx context.Context, path string, d *union.Dir, lower map[string]object.Checksum) (map[string]object.Checksum, error) {
	labelled := map[string]object.Checksum{}
	var mu sync.Mutex
	g, groupCtx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	err := r.tree.Visit(ctx, path, d,
		func(name string, sum object.Checksum) (object.Checksum, error) {
			if before, ok := lower[name]; ok && before == sum {
				return sum, nil
			}
			g.Go(func() error {
				now, err := r.store.Relabel(groupCtx, sum, func(mode uint32) (string, error) {
					return r.label(groupCtx, path+"/"+name, mode)
				})
				if err != nil {
					return fmt.Errorf("relabel %s/%s: %w", path, name, err)
				}
				mu.Lock()
				defer mu.Unlock()
				labelled[name] = now
				return nil
			})
			return sum, nil
		},
		func(string, *union.Dir) error { return nil })
	return labelled, cmp.Or(g.Wait(), err)
}

// meta returns the metadata of a directory with the label of its path.
func (r *relabeler) meta(ctx context.Context, path string, sum object.Checksum) (object.Checksum, error) {
	label, err := r.label(ctx, path, object.ModeDir|0o755)
	if err != nil || label == "" {
		return sum, err
	}
	key := metaKey{sum, label}
	if known, ok := r.metas[key]; ok {
		return known, nil
	}
	m, err := repoLoader{r.importer.repo}.DirMeta(ctx, sum)
	if err != nil {
		return sum, fmt.Errorf("directory %s: %w", path, err)
	}
	m.Xattrs = object.WithLabel(m.Xattrs, label)
	labelled, err := r.store.DirMeta(ctx, m)
	if err != nil {
		return sum, err
	}
	r.metas[key] = labelled
	return labelled, nil
}
