package container

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ostree-container/ostree-container/container/imageref"
	"github.com/ostree-container/ostree-container/container/registry"
	"github.com/ostree-container/ostree-container/ostree"
)

// Prepare finds out whether the image is in the repository, and if not, what has to be fetched: manifest and config are fetched and
// verified, layers are not. An update of an image that is here already is noted in its detached metadata.
func (i *Importer) Prepare(ctx context.Context) (*PrepareResult, error) {
	done := i.progress.phase(PhaseResolve)
	result, err := i.prepare(ctx)
	if err != nil {
		return nil, fmt.Errorf("Preparing import: %w", err) //nolint:staticcheck // the reference's text
	}
	done()
	return result, nil
}

func (i *Importer) prepare(ctx context.Context) (*PrepareResult, error) {
	previous, err := QueryImage(ctx, i.repo, i.target)
	switch {
	case errors.Is(err, ErrNoSuchImage):
	case err != nil: // as if it were not there: pulling again repairs it
		i.opts.Logger.Error("failed to query image commit", "image", i.target.String(), "error", err)
		previous = nil
	}
	if err := i.Close(); err != nil {
		return nil, err
	}
	i.intact.Clear()
	options := registry.Options{}
	if i.opts.Registry != nil {
		options = *i.opts.Registry
	}
	if options.Logger == nil {
		options.Logger = i.opts.Logger
	}
	options.ManifestOnly = true
	// What is stored may have come there without the signature that the policy asks for now, so the policy is asked again. If it wants
	// to see the image, that has to be fetched.
	stored := previous != nil && isDigest(i.ref, previous)
	kept := true
	if previous != nil {
		if kept, err = i.keeps(ctx, previous); err != nil {
			return nil, err
		}
	}
	unseen, err := registry.AcceptsUnseen(ctx, i.ref, &options)
	switch {
	case !stored: // Open reports what is wrong with the policy
	case err != nil:
		return nil, fmt.Errorf("%s is stored, but may not be used: %w", i.target, err)
	case unseen && kept:
		return i.present(ctx, previous)
	}
	if i.image, err = registry.Open(ctx, i.ref, &options); err != nil {
		err = fmt.Errorf("Fetching manifest: %w", err) //nolint:staticcheck // the reference's text
		if stored {
			err = fmt.Errorf("%s is stored, but the policy asks for a signature: %w", i.target, err)
		}
		return nil, err
	}
	if previous != nil {
		current := isCurrent(previous, i.image.ManifestDigest, i.image.Manifest)
		// A signed manifest vouches for its own layers only: the stored image may have others for the same config.
		if current && !unseen && previous.ManifestDigest != i.image.ManifestDigest {
			current = slices.EqualFunc(previous.Manifest.Layers, i.image.Manifest.Layers, sameBlob)
		}
		if current && kept {
			return i.present(ctx, previous)
		}
	}
	if err := i.image.FetchConfig(ctx); err != nil {
		return nil, fmt.Errorf("Fetching config: %w", err) //nolint:staticcheck // the reference's text
	}
	p := &PreparedImport{ManifestDigest: i.image.ManifestDigest, Manifest: i.image.Manifest, Config: i.image.Config, Previous: previous}
	if i.opts.RequireBootable {
		if err := checkBootable(i.ref.ImgRef, p.Config); err != nil {
			return nil, err
		}
	}
	if p.Layers, err = parseLayout(p.Manifest, p.Config, i.image.Layers); err != nil {
		return nil, fmt.Errorf("%s: %w", i.ref.ImgRef, err)
	}
	if err := errors.Join(i.checkVerifiable(p.Layers), i.checkKeepable()); err != nil {
		return nil, err
	}
	if previous != nil && previous.ManifestDigest != p.ManifestDigest { // else only its blobs are missing
		update := &CachedUpdate{ManifestDigest: p.ManifestDigest, Manifest: p.Manifest, Config: p.Config}
		if err := writeCachedUpdate(ctx, i.repo, previous.MergeCommit, update); err != nil {
			return nil, fmt.Errorf("note the update of %s: %w", i.target, err)
		}
	}
	if err := i.findLayers(ctx, p.Layers); err != nil {
		return nil, err
	}
	return &PrepareResult{Ready: p}, nil
}

// isDigest reports whether the reference names the manifest of a stored image by its digest.
func isDigest(ref imageref.OSTreeImageReference, stored *LayeredImageState) bool {
	want, ok := ref.ImgRef.Digest()
	return ok && want == stored.ManifestDigest
}

func sameBlob(a, b ocispec.Descriptor) bool { return a.Digest == b.Digest }

// present is the result for an image that is in the repository: it may have come there without the check that is asked for now.
func (i *Importer) present(ctx context.Context, state *LayeredImageState) (_ *PrepareResult, err error) {
	if err := i.checkBase(state.Config.Config.Labels[labelFinalDiffID] != ""); err != nil {
		return nil, err
	}
	if state.VerifyText, err = i.verifyStored(ctx, state.BaseCommit); err != nil {
		return nil, err
	}
	return &PrepareResult{AlreadyPresent: state}, nil
}

// findLayers fills in the commits of the layers that are in the repository: under their own digest, or, compressed in another way,
// under another digest with the same diff_id. A ref whose commit is gone, or was never completed, does not count.
func (i *Importer) findLayers(ctx context.Context, layers []LayerState) error {
	byDiffID, err := i.commitsByDiffID(ctx)
	if err != nil {
		return err
	}
	for n := range layers {
		l := &layers[n]
		l.blobOnly = false
		l.Commit, err = i.repo.ResolveRev(ctx, l.Ref)
		if err != nil && !errors.Is(err, ostree.ErrNotFound) {
			return fmt.Errorf("layer %s: %w", l.Descriptor.Digest, err)
		}
		if l.Commit == "" && l.DiffID != "" {
			l.Commit = byDiffID[diffKey{l.DiffID, l.Kind}]
		}
		if l.Commit == "" {
			continue
		}
		switch commit, state, err := i.repo.LoadCommit(ctx, l.Commit); {
		case errors.Is(err, ostree.ErrNotFound) || err == nil && state&ostree.CommitPartial != 0:
			l.Commit = ""
		case err == nil && !fits(commit, l):
			l.Commit = ""
		case err == nil && l.Kind == LayerCommit:
			if ok, err := i.fitsBase(ctx, l); err != nil {
				return fmt.Errorf("layer %s: %w", l.Descriptor.Digest, err)
			} else if !ok {
				l.Commit = ""
			}
		case err != nil:
			return fmt.Errorf("layer %s: %w", l.Descriptor.Digest, err)
		}
	}
	return i.forgetUnkept(ctx, layers)
}

// fits reports whether a commit found for a layer is one of the layer's kind and, where it says so itself, of its diff_id. A ref names
// a blob, and another image may have had the same blob as a layer of another kind, or claimed another diff_id for it.
func fits(commit *ostree.Commit, l *LayerState) bool {
	_, derived := commit.Metadata.Lookup(metaImporter)
	if derived != (l.Kind == LayerDerived) {
		return false
	}
	id, said, err := commit.MetadataString(metaDiffID)
	return err == nil && (!said || l.DiffID == "" || id == l.DiffID.String())
}

type diffKey struct {
	id   digest.Digest
	kind LayerKind
}

// hasDiffID reports whether what an image claims of a layer's diff_id can be relied on: a derived layer's commit says which was
// verified; the objects of a chunk are checked against the base commit; the base commit itself is only known by its blob.
func (i *Importer) hasDiffID(ctx context.Context, checksum string, l *LayerState) bool {
	if l.Kind != LayerDerived {
		return l.Kind == LayerChunk
	}
	commit, _, err := i.repo.LoadCommit(ctx, checksum)
	if err != nil {
		return false
	}
	id, ok, err := commit.MetadataString(metaDiffID)
	return err == nil && ok && id == l.DiffID.String()
}

// commitsByDiffID returns the layer commits of every image in the repository that can be read, by diff_id. An image that cannot be
// read offers nothing; that is not an error here.
func (i *Importer) commitsByDiffID(ctx context.Context) (map[diffKey]string, error) {
	refs, err := listRefs(ctx, i.repo, layerPrefix)
	if err != nil {
		return nil, err
	}
	known := map[diffKey]string{}
	collect := func(_ string, _ digest.Digest, manifest *ocispec.Manifest, config *ocispec.Image) error {
		ids := diffIDs(manifest, config)
		layers := make([]registry.Layer, len(ids))
		for n := range ids {
			layers[n] = registry.Layer{Descriptor: manifest.Layers[n], DiffID: ids[n]}
		}
		states, err := parseLayout(manifest, config, layers)
		if err != nil {
			return nil //nolint:nilerr // not ours to judge: it only offers nothing
		}
		for _, l := range states {
			if commit, ok := refs[l.Ref]; ok && i.hasDiffID(ctx, commit, &l) {
				known[diffKey{l.DiffID, l.Kind}] = commit
			}
		}
		return nil
	}
	images, err := listImageRefs(ctx, i.repo)
	if err != nil {
		return nil, err
	}
	for _, prefix := range deploymentPrefixes {
		more, err := listRefs(ctx, i.repo, prefix)
		if err != nil {
			return nil, err
		}
		for ref, commit := range more {
			images[ref] = commit
		}
	}
	for ref, commit := range images {
		if err := visitImage(ctx, i.repo, "ref "+ref, commit, false, collect); err != nil {
			i.opts.Logger.Debug("no layers to reuse", "error", err)
		}
	}
	return known, ctx.Err()
}
