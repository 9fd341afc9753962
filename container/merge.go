package container

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ostree-container/ostree-container/container/internal/gvariant"
	"github.com/ostree-container/ostree-container/container/internal/object"
	"github.com/ostree-container/ostree-container/container/internal/objstore"
	"github.com/ostree-container/ostree-container/container/internal/union"
	"github.com/ostree-container/ostree-container/container/layer"
	"github.com/ostree-container/ostree-container/ostree"
)

// retainVarSince is the first libostree that unpacks a commit's /var by itself.
var retainVarSince = [2]int{2024, 3}

// layerOptions returns the rules for derived layers: those of the base commit, or, without one, everything is kept.
func (i *Importer) layerOptions(ctx context.Context, p *PreparedImport) (*layer.Options, error) {
	opts := &layer.Options{AllowNonUsr: true, RetainVar: ostree.AtLeast(retainVarSince[0], retainVarSince[1]), Strict: i.opts.Strict}
	if p.Layers[0].Kind != LayerCommit {
		return opts, nil
	}
	base, err := i.baseTree(ctx, p.Layers[0].Commit)
	if err != nil {
		return nil, fmt.Errorf("base commit: %w", err)
	}
	if opts.AllowNonUsr, err = i.overlayRoot(ctx, base); err != nil {
		return nil, fmt.Errorf("base commit: prepare-root.conf: %w", err)
	}
	policy, err := i.policyOfBase(ctx, base, p.Layers[0].Commit)
	if err != nil {
		return nil, fmt.Errorf("base commit: %w", err)
	}
	if policy != nil {
		opts.Policy = policy
	}
	return opts, nil
}

// selinuxDir is where a policy is in a commit.
const selinuxDir = "usr/etc/selinux"

// policyOf loads the SELinux policy of a commit whose tree is t, nil if it has none.
func (i *Importer) policyOf(ctx context.Context, t *union.Tree, commit string) (*ostree.SePolicy, error) {
	dir, err := t.Lookup(ctx, selinuxDir)
	if err != nil || dir == nil {
		return nil, err
	}
	policy, err := ostree.NewSePolicyFromCommit(ctx, i.repo, commit)
	if err != nil {
		return nil, fmt.Errorf("SELinux policy of commit %s: %w", commit, err)
	}
	if policy.Name() == "" {
		return nil, policy.Close()
	}
	return policy, nil
}

// merge stacks all layers and writes the merge commit and the commits of layers that got other labels, none of which is published. It
// returns its checksum, and fills in theirs.
func (i *Importer) merge(ctx context.Context, store *objstore.Store, p *PreparedImport) (_ string, err error) {
	done := i.progress.phase(PhaseMerge)
	layers, err := i.layerTrees(ctx, p)
	if err != nil {
		return "", err
	}
	t, err := i.stack(ctx, p, layers)
	if err != nil {
		return "", err
	}
	done()
	labels, changed, err := i.labelLayers(ctx, store, t, layers)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, labels.close()) }()
	if changed {
		if t, err = i.stack(ctx, p, layers); err != nil {
			return "", err
		}
	}
	if err := removeInjected(ctx, i.repo, t); err != nil {
		return "", err
	}
	base := ""
	if p.Layers[0].Kind == LayerCommit {
		base = p.Layers[0].Commit
	} else if err := addMountPoint(ctx, store, t, labels); err != nil {
		return "", err
	}
	if err := i.labelRest(ctx, store, t, p, base, labels); err != nil {
		return "", err
	}
	c, err := i.mergeCommit(ctx, p)
	if err != nil {
		return "", err
	}
	c.Parent = base
	if labels != nil {
		if err := i.relabelled(ctx, store, t, p, labels); err != nil {
			return "", err
		}
	}
	if c.Tree, c.Meta, err = t.Write(ctx, store); err != nil {
		return "", err
	}
	sum, err := store.Commit(ctx, c)
	return sum.String(), err
}

// stack makes the union of all layers.
func (i *Importer) stack(ctx context.Context, p *PreparedImport, layers map[string]*layerTree) (*union.Tree, error) {
	t := union.New(repoLoader{i.repo})
	for n := range p.Layers {
		l := &p.Layers[n]
		if l.Kind == LayerChunk {
			continue
		}
		from := layers[l.Commit]
		if l.Kind == LayerCommit {
			t.Base(from.tree, from.meta)
			continue
		}
		apply := t.Apply
		if p.plain[l.Commit] {
			apply = t.ApplyPlain
		}
		if err := apply(ctx, from.tree, from.meta); err != nil {
			return nil, layerError(i.ref.ImgRef.String(), l, len(p.Layers), fmt.Errorf("commit %s: %w", l.Commit, err))
		}
	}
	return t, nil
}

// labelRest labels what the layers' own labels leave. base is the base commit, empty if there is none.
func (i *Importer) labelRest(ctx context.Context, store *objstore.Store, t *union.Tree, p *PreparedImport, base string, labels *labeler) error {
	if labels.all() {
		return nil
	}
	if !slices.ContainsFunc(p.Layers, func(l LayerState) bool { return l.Kind == LayerDerived }) {
		// Then only a base that was committed without its own policy needs labels.
		if labelled, err := i.labelled(ctx, t.Root().Meta); err != nil || labelled {
			return err
		}
	}
	var merged *ostree.SePolicy
	if labels != nil {
		merged = labels.policy
	}
	return i.relabel(ctx, store, t, base, merged)
}

// relabelled writes the commits of layers that have other labels now, which take the place of the others in p.
func (i *Importer) relabelled(ctx context.Context, store *objstore.Store, t *union.Tree, p *PreparedImport, labels *labeler) error {
	by := ""
	if labels.policy != nil {
		dir, err := t.Lookup(ctx, selinuxDir)
		if err != nil {
			return err
		}
		sum, err := t.WriteDir(ctx, store, dir)
		if err != nil {
			return err
		}
		by = sum.String()
	}
	replaced, err := labels.commits(ctx, by)
	if err != nil {
		return err
	}
	for n := range p.Layers {
		if now, ok := replaced[p.Layers[n].Commit]; ok {
			p.Layers[n].Commit = now
		}
	}
	for old, now := range replaced {
		i.replaced = append(i.replaced, old)
		i.relabelledLayers[old] = now
	}
	return nil
}

// addMountPoint gives an operating system that has no ostree base the directory on which the stateroot's /var is mounted at boot. A base
// commit brings it; an image's own is moved to usr/share/factory/var with a libostree before 2024.3. The root of a deployment
// is immutable, so that nobody can make it later.
func addMountPoint(ctx context.Context, store *objstore.Store, t *union.Tree, labels *labeler) error {
	if modules, err := t.Lookup(ctx, "usr/lib/modules"); err != nil || modules == nil {
		return err
	}
	m := object.RootDirMeta()
	if labels.all() {
		label, err := labels.label(ctx, "/var", m.Mode)
		if err != nil {
			return err
		}
		m.Xattrs = object.WithLabel(m.Xattrs, label)
	}
	meta, err := store.DirMeta(ctx, &m)
	if err != nil {
		return err
	}
	return t.AddDir(ctx, "var", meta)
}

// removeInjected takes out the empty files that container builders leave in /etc.
func removeInjected(ctx context.Context, repo *ostree.Repo, t *union.Tree) error {
	for _, name := range []string{"hostname", "resolv.conf"} {
		sum, ok, err := t.File(ctx, "usr/etc", name)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		f, err := repo.LoadFile(ctx, sum.String())
		if err != nil {
			return fmt.Errorf("/usr/etc/%s: %w", name, err)
		}
		empty := f.Info.Mode&object.ModeType == object.ModeRegular && f.Info.Size == 0
		if err := f.Close(); err != nil {
			return err
		}
		if empty {
			if err := t.Remove(ctx, "usr/etc", name); err != nil {
				return err
			}
		}
	}
	return nil
}

// mergeCommit returns the merge commit without its tree.
func (i *Importer) mergeCommit(ctx context.Context, p *PreparedImport) (*object.Commit, error) {
	manifest, err := canonicalJSON(p.Manifest)
	if err != nil {
		return nil, err
	}
	config, err := configJSON(p.Config)
	if err != nil {
		return nil, err
	}
	filtered, err := i.filteredVariant(ctx, p.Layers)
	if err != nil {
		return nil, err
	}
	return &object.Commit{
		Metadata: map[string]gvariant.Value{
			metaManifestDigest: gvariant.String(p.ManifestDigest.String()),
			metaManifest:       gvariant.String(manifest),
			metaConfig:         gvariant.String(config),
			metaImporter:       gvariant.String(Version),
			metaFiltered:       filtered,
		},
		Timestamp: timestampOf(p.Manifest, p.Config),
	}, nil
}

// filteredVariant gathers what could not be stored, from the layer commits, so that it does not depend on which layers were fetched
// just now.
func (i *Importer) filteredVariant(ctx context.Context, layers []LayerState) (gvariant.Value, error) {
	byLayer := map[string]gvariant.Value{}
	for _, l := range layers {
		if l.Kind != LayerDerived {
			continue
		}
		commit, _, err := i.repo.LoadCommit(ctx, l.Commit)
		if err != nil {
			return gvariant.Value{}, err
		}
		v, ok := commit.Metadata.Lookup(metaFiltered)
		if !ok || v.TypeString() != "a{su}" {
			continue
		}
		counts := map[string]uint32{}
		for n := range v.Len() {
			entry := v.Child(n)
			key, err := entry.Child(0).Str()
			if err != nil {
				return gvariant.Value{}, err
			}
			count, err := entry.Child(1).Uint64()
			if err != nil {
				return gvariant.Value{}, err
			}
			counts[key] = uint32(count)
		}
		if byLayer[l.Descriptor.Digest.String()], err = countsVariant(counts); err != nil {
			return gvariant.Value{}, err
		}
	}
	var entries []gvariant.Value
	for _, key := range sortedKeys(byLayer) {
		entries = append(entries, gvariant.DictEntry(gvariant.String(key), byLayer[key]))
	}
	return gvariant.Array("{sa{su}}", entries...)
}

// maxTimestamp is the last second of the year 9999, the end of RFC 3339: with a time zone an image may say more, and the commit could not
// be read back.
const maxTimestamp = 253402300799

// timestampOf is when the image says it was made, in seconds since the epoch; 0 if it does not, so that the same image gives the same
// commit.
func timestampOf(manifest *ocispec.Manifest, config *ocispec.Image) uint64 {
	created := config.Created
	if text, ok := manifest.Annotations[ocispec.AnnotationCreated]; ok {
		if t, err := time.Parse(time.RFC3339, text); err == nil {
			created = &t
		}
	}
	if created == nil || created.Unix() < 0 {
		return 0
	}
	return min(uint64(created.Unix()), maxTimestamp)
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// countsVariant is an a{su} with sorted keys.
func countsVariant(counts map[string]uint32) (gvariant.Value, error) {
	var entries []gvariant.Value
	for _, key := range sortedKeys(counts) {
		entries = append(entries, gvariant.DictEntry(gvariant.String(key), gvariant.Uint32(counts[key])))
	}
	return gvariant.Array("{su}", entries...)
}
