package container

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/opencontainers/go-digest"

	"github.com/ostree-container/ostree-container/container/internal/compress"
	"github.com/ostree-container/ostree-container/container/internal/objstore"
	"github.com/ostree-container/ostree-container/container/internal/work"
	"github.com/ostree-container/ostree-container/container/objectset"
	"github.com/ostree-container/ostree-container/container/registry"
	"github.com/ostree-container/ostree-container/ostree"
)

// ErrNotEncapsulated is returned for an image that is not an ostree commit, or not that alone.
var ErrNotEncapsulated = errors.New("not an ostree encapsulated container")

// Unencapsulated is a commit that was taken out of an image.
type Unencapsulated struct {
	Commit         string        // 64 hex digits
	ManifestDigest digest.Digest // of the image
	VerifyText     string        // what was verified through an ostree remote
}

// Unencapsulate fetches an image that is one ostree commit and stores that. Refs of layers are not written: what keeps the commit
// is the ref writeRef, or, if that is "", nothing. It takes the place of Prepare and Import. A ref of images or layers is refused:
// what is no image under it would stop each prune.
//
// An image with further layers, or without any of ostree's, is ErrNotEncapsulated.
func (i *Importer) Unencapsulate(ctx context.Context, writeRef string) (*Unencapsulated, error) {
	if writeRef != "" {
		if err := ostree.ValidateRev(writeRef); err != nil {
			return nil, err
		}
		if under(imagePrefix, writeRef) || under(layerPrefix, writeRef) {
			return nil, fmt.Errorf("ref %q: those below %s and %s are of images and their layers", writeRef, imagePrefix, layerPrefix)
		}
	}
	i.noLayerRefs = true
	found, err := i.Prepare(ctx)
	if err != nil {
		return nil, err
	}
	if state := found.AlreadyPresent; state != nil { // the reference panics (B10)
		ids := diffIDs(state.Manifest, state.Config)
		layers := make([]registry.Layer, len(state.Manifest.Layers))
		for n, d := range state.Manifest.Layers {
			layers[n].Descriptor = d
			if n < len(ids) {
				layers[n].DiffID = ids[n]
			}
		}
		all, err := parseLayout(state.Manifest, state.Config, layers)
		if err == nil {
			err = onlyOSTree(all)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", i.ref.ImgRef, err)
		}
		u := &Unencapsulated{Commit: state.BaseCommit, ManifestDigest: state.ManifestDigest, VerifyText: state.VerifyText}
		if writeRef != "" {
			err = i.nameStored(ctx, writeRef, u.Commit)
		}
		return u, err
	}
	p := found.Ready
	if err := onlyOSTree(p.Layers); err != nil {
		return nil, fmt.Errorf("%s: %w", i.ref.ImgRef, err)
	}
	var u *Unencapsulated
	err = withStore(ctx, i.repo, &objstore.Options{Backend: i.opts.backend, Logger: i.opts.Logger}, func(store *objstore.Store) error {
		if err := i.findLayers(ctx, p.Layers); err != nil {
			return err
		}
		if err := i.dropIncomplete(ctx, store, p.Layers); err != nil {
			return err
		}
		if err := i.checkKeys(p.Layers); err != nil {
			return err
		}
		if err := i.checkSpace(ctx, p); err != nil {
			return err
		}
		state := &LayeredImageState{Filtered: map[string]map[string]uint32{}}
		done := i.progress.phase(PhaseImport)
		i.progress.send(LayersPlanned{Layers: p.blobsToFetch(), Stored: p.Stored(), StoredBytes: p.storedSize(), Bytes: p.FetchSize()})
		if err := i.fetchAll(ctx, store, p, state); err != nil {
			return err
		}
		done()
		u = &Unencapsulated{Commit: p.Layers[0].Commit, ManifestDigest: p.ManifestDigest, VerifyText: state.VerifyText}
		if writeRef == "" {
			return nil
		}
		return store.Publish(ctx, map[string]string{writeRef: u.Commit})
	})
	return u, err
}

// nameStored sets a ref to a commit that was in the repository when it was not locked yet.
func (i *Importer) nameStored(ctx context.Context, ref, commit string) (err error) {
	lock, err := i.repo.Lock(ctx, ostree.LockShared)
	if err != nil {
		return fmt.Errorf("lock repository %s: %w", i.repo.Path(), err)
	}
	defer func() { err = errors.Join(err, lock.Unlock()) }()
	switch _, state, err := i.repo.LoadCommit(ctx, commit); {
	case err != nil: // pruned meanwhile
		return err
	case state&ostree.CommitPartial != 0:
		return fmt.Errorf("%w: commit %s is partial", ErrIncomplete, commit)
	}
	return i.repo.SetRefImmediate(ctx, "", ref, commit)
}

// onlyOSTree refuses layers that are not part of an ostree commit.
func onlyOSTree(layers []LayerState) error {
	derived := 0
	for _, l := range layers {
		if l.Kind == LayerDerived {
			derived++
		}
	}
	if err := hasCommit(layers); err != nil {
		return err
	}
	if derived > 0 {
		return fmt.Errorf("Image has %d non-ostree layers: %w", derived, ErrNotEncapsulated) //nolint:staticcheck // the reference's text
	}
	return nil
}

// hasCommit refuses layers that do not begin with an ostree commit.
func hasCommit(layers []LayerState) error {
	if layers[0].Kind == LayerDerived { // parseLayout gives at least one
		return fmt.Errorf("No %s label found, %w", labelFinalDiffID, ErrNotEncapsulated) //nolint:staticcheck // the reference's text
	}
	return nil
}

func withStore(ctx context.Context, repo *ostree.Repo, opts *objstore.Options, f func(*objstore.Store) error) (err error) {
	store, err := objstore.Open(ctx, repo, opts)
	if err != nil {
		return fmt.Errorf("Importing: %w", err) //nolint:staticcheck // the reference's text
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	if err := f(store); err != nil {
		return fmt.Errorf("Importing: %w", err) //nolint:staticcheck // the reference's text
	}
	return nil
}

// ExportTar writes a commit as a tar stream, the same as the only layer of an image without chunks. rev is a ref or a checksum.
func ExportTar(ctx context.Context, repo *ostree.Repo, rev string, w io.Writer) error {
	checksum, err := repo.ResolveRev(ctx, rev)
	if err != nil {
		return err
	}
	contents, err := objectset.LoadContents(ctx, repo, checksum)
	if err != nil {
		return err
	}
	return contents.WriteCommitLayer(ctx, w, contents.Files)
}

// ImportTar stores the commit in a tar stream, which may be compressed with gzip or zstd, and returns its checksum. No ref is
// written.
func ImportTar(ctx context.Context, repo *ostree.Repo, r io.Reader) (checksum string, err error) {
	plain, err := compress.NewReader(r)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, plain.Close()) }()
	pool := work.NewPool(0)
	defer pool.Close()
	err = withStore(ctx, repo, &objstore.Options{}, func(store *objstore.Store) error {
		c, err := objectset.ImportCommit(ctx, store, pool, plain, nil)
		if err != nil {
			return err
		}
		if _, err := io.Copy(io.Discard, plain); err != nil {
			return err
		}
		checksum = c.Checksum.String()
		return publishCommit(ctx, repo, store, slog.New(slog.DiscardHandler), c)
	})
	return checksum, err
}
