package container

import (
	"context"
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

// layerOptions returns the rules for derived layers: those of the base commit, or, without one, everything is kept. release is to be
// called when the layers are imported.
func (i *Importer) layerOptions(ctx context.Context, p *PreparedImport) (opts *layer.Options, release func(), err error) {
	opts = &layer.Options{AllowNonUsr: true, RetainVar: ostree.AtLeast(retainVarSince[0], retainVarSince[1]), Strict: i.opts.Strict}
	release = func() {}
	if p.Layers[0].Kind != LayerCommit {
		return opts, release, nil
	}
	base, err := i.baseTree(ctx, p.Layers[0].Commit)
	if err != nil {
		return nil, nil, fmt.Errorf("base commit: %w", err)
	}
	if opts.AllowNonUsr, err = i.overlayRoot(ctx, base); err != nil {
		return nil, nil, fmt.Errorf("base commit: prepare-root.conf: %w", err)
	}
	policy, err := i.policyOf(ctx, base, p.Layers[0].Commit)
	if err != nil {
		return nil, nil, fmt.Errorf("base commit: %w", err)
	}
	if policy != nil {
		opts.Policy = policy
		release = func() { _ = policy.Close() } // frees memory only
	}
	return opts, release, nil
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

// merge stacks all layers and writes the merge commit, which is not published. It returns its checksum.
func (i *Importer) merge(ctx context.Context, store *objstore.Store, p *PreparedImport) (string, error) {
	done := i.progress.phase(PhaseMerge)
	t := union.New(repoLoader{i.repo})
	hasBase := p.Layers[0].Kind == LayerCommit
	derived := false
	for n := range p.Layers {
		l := &p.Layers[n]
		if l.Kind == LayerChunk {
			continue
		}
		tree, meta, err := i.commitTree(ctx, l.Commit)
		if err == nil {
			if l.Kind == LayerCommit {
				t.Base(tree, meta)
			} else {
				derived = true
				apply := t.Apply
				if p.plain[l.Commit] {
					apply = t.ApplyPlain
				}
				err = apply(ctx, tree, meta)
			}
		}
		if err != nil {
			return "", layerError(i.ref.ImgRef.String(), l, len(p.Layers), fmt.Errorf("commit %s: %w", l.Commit, err))
		}
	}
	if err := removeInjected(ctx, i.repo, t); err != nil {
		return "", err
	}
	if !hasBase {
		if err := addMountPoint(ctx, store, t); err != nil {
			return "", err
		}
	}
	done()
	base := ""
	if hasBase {
		base = p.Layers[0].Commit
	}
	labelled := false
	if !derived { // then only a base that was committed without its own policy needs labels
		var err error
		if labelled, err = i.labelled(ctx, t.Root()); err != nil {
			return "", err
		}
	}
	if !labelled {
		if err := i.relabel(ctx, store, t, base); err != nil {
			return "", err
		}
	}
	c, err := i.mergeCommit(ctx, p)
	if err != nil {
		return "", err
	}
	if hasBase {
		c.Parent = p.Layers[0].Commit
	}
	if c.Tree, c.Meta, err = t.Write(ctx, store); err != nil {
		return "", err
	}
	sum, err := store.Commit(ctx, c)
	return sum.String(), err
}

// addMountPoint gives an operating system that has no ostree base the directory on which the stateroot's /var is mounted at boot. A base
// commit brings it; an image's own is moved to usr/share/factory/var with a libostree before 2024.3. The root of a deployment
// is immutable, so that nobody can make it later.
func addMountPoint(ctx context.Context, store *objstore.Store, t *union.Tree) error {
	if modules, err := t.Lookup(ctx, "usr/lib/modules"); err != nil || modules == nil {
		return err
	}
	meta, err := store.DirMeta(ctx, &object.Meta{Mode: object.ModeDir | 0o755})
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
