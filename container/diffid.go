package container

import (
	"context"
	"slices"

	"github.com/ostree-container/ostree-container/ostree"
)

// metaBaseDiffIDs is a key of the detached metadata of a base commit, of type "as": the diff_ids of the layers that were found to hold
// it. A containers-storage has layers decompressed, so that nothing shows whether a layer there is the blob that the manifest
// names. The ref of the layer is named after that blob all the same; without this key a store could give the base of one image out as that
// of another, signed one. Derived layers say their diff_id in the commit, see metaDiffID.
const metaBaseDiffIDs = "ostree-container.diff-ids"

// baseDiffIDs returns what noteDiffID kept; nil if there is nothing.
func baseDiffIDs(ctx context.Context, repo *ostree.Repo, commit string) ([]string, error) {
	detached, err := repo.ReadDetachedMetadata(ctx, commit)
	if err != nil || detached == nil {
		return nil, err
	}
	ids, _, err := detached.LookupStrv(metaBaseDiffIDs)
	return ids, err
}

// noteDiffID keeps the diff_id of the base layer l beside its commit if its blob could not be compared with the digest in the manifest,
// or if that was so before.
func (f *fetcher) noteDiffID(ctx context.Context, l *LayerState) error {
	commit, blob := f.commit.Checksum.String(), f.image.Layers[l.Index]
	return changingDetached(ctx, f.repo, func() error {
		known, err := baseDiffIDs(ctx, f.repo, commit)
		if err != nil {
			return err
		}
		if blob.BlobDigest == blob.Descriptor.Digest && !blob.Encrypted && len(known) == 0 || slices.Contains(known, l.DiffID.String()) {
			return nil
		}
		return editLocked(ctx, f.repo, commit, func(dict *ostree.VariantDict) { dict.SetStrv(metaBaseDiffIDs, append(known, l.DiffID.String())) })
	})
}

// fitsBase reports whether the base commit that was found for l can have come from a layer with the diff_id of l.
func (i *Importer) fitsBase(ctx context.Context, l *LayerState) (bool, error) {
	ids, err := baseDiffIDs(ctx, i.repo, l.Commit)
	return len(ids) == 0 || l.DiffID == "" || slices.Contains(ids, l.DiffID.String()), err
}
