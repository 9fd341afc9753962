package container

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"golang.org/x/sync/errgroup"

	"github.com/ostree-container/ostree-container/container/imageref"
	"github.com/ostree-container/ostree-container/container/internal/objstore"
	"github.com/ostree-container/ostree-container/ostree"
)

// PhaseCopy is the phase of Copy in which objects are taken over.
const PhaseCopy Phase = "copy"

// CopyOptions are options of Copy; nil means the default.
type CopyOptions struct {
	// Target is the name of the image in the destination; zero: the same.
	Target imageref.ImageReference
	// Verify reads all content and compares checksums, also where a hardlink is enough.
	Verify bool
	// Progress is called with one event at a time; nil: not at all.
	Progress func(Event)
	// Logger gets what is of interest but no error; nil: silent.
	Logger *slog.Logger
}

// CopyResult counts what Copy did.
type CopyResult struct {
	MergeCommit string // 64 hex digits
	// Objects by how they came: as hardlinks or by content, and those that the destination had.
	Linked, Copied, Present int64
	BytesCopied             int64 // content of Copied
}

// Copy takes an image, all its layers and their detached metadata from one repository to another, which may be of another mode:
// the commits are the same. On one file system, objects that both keep in the same form become hardlinks if one user owns both
// repositories; they are believed as the source is, all else is verified. The refs of the layers, then that of the image, are set when everything is in place. A cached
// update goes along, as do the blobs of an image that was imported with KeepBlobs, unless they are damaged, which is logged; damaged ones at the
// destination are replaced. Detached metadata that the destination has under other keys stays.
//
// Where prunes run in other goroutines, src and dst should not be the Repo that those use; see the package documentation.
//
// It returns ErrNoSuchImage, and ErrIncomplete if the source lacks objects.
func Copy(ctx context.Context, src *ostree.Repo, ref imageref.ImageReference, dst *ostree.Repo, opts *CopyOptions) (_ *CopyResult, err error) {
	if opts == nil {
		opts = &CopyOptions{}
	}
	target := opts.Target
	if target.IsZero() {
		target = ref
	}
	name, err := imageRef(target)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("copy image %s from %s to %s: %w", ref, src.Path(), dst.Path(), err)
		}
	}()
	unlock, err := share(ctx, src)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	state, err := QueryImage(ctx, src, ref)
	if err != nil {
		return nil, err
	}
	layers := map[string]string{}
	commits := []string{}
	for n, l := range state.Manifest.Layers {
		layer, err := layerRef(l.Digest)
		if err != nil {
			return nil, err
		}
		if _, again := layers[layer]; again {
			continue
		}
		if layers[layer], err = src.ResolveRev(ctx, layer); err != nil {
			return nil, fmt.Errorf("layer %d/%d: %w", n+1, len(state.Manifest.Layers), err)
		}
		commits = append(commits, layers[layer])
	}
	commits = append(commits, state.MergeCommit)

	store, err := objstore.Open(ctx, dst, &objstore.Options{Logger: opts.Logger})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	done := (&progress{emit: opts.Progress}).phase(PhaseCopy)
	c := &copier{src: src, dst: dst, store: store, index: store.Index(), verify: opts.Verify}
	if err := c.copy(ctx, commits); err != nil {
		return nil, err
	}
	if err := copyKept(ctx, src, dst, state.ManifestDigest, opts); err != nil {
		return nil, err
	}
	if err := setRefs(ctx, dst, layers); err != nil {
		return nil, err
	}
	if err := setRefs(ctx, dst, map[string]string{name: state.MergeCommit}); err != nil {
		return nil, err
	}
	done()
	c.result.MergeCommit = state.MergeCommit
	c.result.Linked, c.result.Copied, c.result.Present, c.result.BytesCopied = c.linked.Load(), c.copied.Load(), c.present.Load(), c.bytes.Load()
	return &c.result, nil
}

// setRefs sets refs to commits that are durable, several at once: each waits for the disk, and one write serves all that wait.
func setRefs(ctx context.Context, repo *ostree.Repo, refs map[string]string) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(8)
	for name, commit := range refs {
		g.Go(func() error { return repo.SetRefImmediate(ctx, "", name, commit) })
	}
	return g.Wait()
}

// copyDetached takes over the detached metadata of a commit, beside what the destination has.
func copyDetached(ctx context.Context, src, dst *ostree.Repo, checksum string) error {
	from, err := src.ReadDetachedMetadata(ctx, checksum)
	if err != nil || from == nil || from.Len() == 0 {
		return err
	}
	return changingDetached(ctx, dst, func() error { return joinDetached(ctx, dst, checksum, from) })
}

// joinDetached is copyDetached under the lock.
func joinDetached(ctx context.Context, dst *ostree.Repo, checksum string, from *ostree.Variant) error {
	old, err := dst.ReadDetachedMetadata(ctx, checksum)
	if err != nil {
		return err
	}
	if old == nil {
		return dst.WriteDetachedMetadata(ctx, checksum, from)
	}
	dict, err := ostree.VariantDictOf(old)
	if err != nil {
		return err
	}
	for _, key := range from.Keys() {
		v, _ := from.Lookup(key)
		if have, ok := old.Lookup(key); ok && isSignatures(key, have) && isSignatures(key, v) {
			if v, err = unionOf(have, v); err != nil { // each remote that accepted the commit goes on doing so
				return fmt.Errorf("%s: %w", key, err)
			}
		}
		dict.Set(key, v)
	}
	merged, err := dict.Build()
	if err != nil || old.Equal(merged) {
		return err
	}
	return dst.WriteDetachedMetadata(ctx, checksum, merged)
}
