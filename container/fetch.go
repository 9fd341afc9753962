package container

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/ostree-container/ostree-container/container/internal/compress"
	"github.com/ostree-container/ostree-container/container/internal/gvariant"
	"github.com/ostree-container/ostree-container/container/internal/object"
	"github.com/ostree-container/ostree-container/container/internal/objstore"
	"github.com/ostree-container/ostree-container/container/internal/pipe"
	"github.com/ostree-container/ostree-container/container/internal/twinhash"
	"github.com/ostree-container/ostree-container/container/internal/work"
	"github.com/ostree-container/ostree-container/container/layer"
	"github.com/ostree-container/ostree-container/container/objectset"
	"github.com/ostree-container/ostree-container/container/registry"
	"github.com/ostree-container/ostree-container/ostree"
)

// layerAttempts is how often a layer is fetched before its source is given up.
const layerAttempts = 4

// fetcher brings the missing layers of one image into a store.
type fetcher struct {
	*Importer
	store *objstore.Store
	pool  *work.Pool
	total int // layers of the image
	fetch int // blobs to fetch
	state *LayeredImageState
	plain map[string]bool // see PreparedImport
	// unlabelled likewise.
	unlabelled map[string]bool
	// noRefs leaves it to the caller to keep what is imported.
	noRefs bool

	mu            sync.Mutex
	started, done int
	commit        *objectset.CommitLayer
}

// fetchAll fetches what is missing and fills in the commits of p.Layers. The layers of an ostree base come first: the rules for
// the others are in it.
func (i *Importer) fetchAll(ctx context.Context, store *objstore.Store, p *PreparedImport, state *LayeredImageState) error {
	p.plain, p.unlabelled = map[string]bool{}, map[string]bool{}
	f := &fetcher{
		Importer: i, store: store, pool: work.NewPool(0), total: len(p.Layers), fetch: len(p.blobsToFetch()), state: state,
		plain: p.plain, unlabelled: p.unlabelled, noRefs: i.noLayerRefs,
	}
	defer f.pool.Close()
	var base, derived []*LayerState
	for n := range p.Layers {
		l := &p.Layers[n]
		switch {
		case l.Commit != "":
		case l.Kind == LayerDerived:
			derived = append(derived, l)
		default:
			base = append(base, l)
		}
	}
	var err error
	if state.VerifyText, err = i.verifyStoredBase(ctx, &p.Layers[0]); err != nil {
		return layerError(i.ref.ImgRef.String(), &p.Layers[0], f.total, err)
	}
	if err := f.fetchSet(ctx, base, &layer.Options{}); err != nil {
		return err
	}
	if f.commit != nil {
		if err := f.finishBase(ctx, &p.Layers[0]); err != nil {
			return layerError(i.ref.ImgRef.String(), &p.Layers[0], f.total, err)
		}
	}
	if len(derived) == 0 {
		return nil
	}
	opts, err := i.layerOptions(ctx, p)
	if err != nil {
		return err
	}
	return f.fetchSet(ctx, derived, opts)
}

// fetchSet fetches layers, several at once, the biggest first. A layer that appears twice is fetched once.
func (f *fetcher) fetchSet(parent context.Context, layers []*LayerState, opts *layer.Options) error {
	byRef := map[string][]*LayerState{}
	var unique []*LayerState
	for _, l := range layers {
		key := blobKey(l)
		if len(byRef[key]) == 0 {
			unique = append(unique, l)
		}
		byRef[key] = append(byRef[key], l)
	}
	slices.SortStableFunc(unique, func(a, b *LayerState) int { return cmp.Compare(b.Descriptor.Size, a.Descriptor.Size) })
	g, ctx := errgroup.WithContext(parent)
	busy := make(chan struct{}, f.opts.Jobs)
	for _, l := range unique {
		select {
		case busy <- struct{}{}:
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			break
		}
		g.Go(func() error {
			leave := sync.OnceFunc(func() { <-busy })
			defer leave()
			commit, written, err := f.layer(ctx, l, opts)
			if f.opts.Jobs > 1 { // else one is done before the next begins
				leave() // the next layer need not wait until the disk has this one
			}
			if err == nil {
				err = f.finishLayer(parent, l, commit, written)
			}
			if err != nil {
				return layerError(f.ref.ImgRef.String(), l, f.total, err)
			}
			for _, same := range byRef[blobKey(l)] {
				same.Commit = commit
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return context.Cause(parent) // cancelled before the last layer was begun
}

// blobKey tells layers apart that have to be fetched and verified each.
func blobKey(l *LayerState) string { return l.Ref + " " + l.DiffID.String() }

// layer fetches one layer, again if its source fails in a way that may pass. It returns the layer's commit, which is not published,
// and how many objects were new.
func (f *fetcher) layer(ctx context.Context, l *LayerState, opts *layer.Options) (commit string, written int64, err error) {
	f.count(&f.started, func(n int) Event { return LayerStarted{Layer: *l, N: n, Total: f.fetch} })
	before := f.store.Stats().ObjectsWritten
	for attempt := 1; ; attempt++ {
		if commit, err = f.once(ctx, l, opts); err == nil {
			return commit, f.store.Stats().ObjectsWritten - before, nil
		}
		if attempt == layerAttempts || ctx.Err() != nil || !registry.Retryable(err) {
			return "", 0, err
		}
		wait := time.Duration(float64(time.Second) * float64(int(1)<<(attempt-1)) * (0.5 + rand.Float64()))
		f.opts.Logger.Warn("layer is fetched again", "layer", l.Descriptor.Digest, "error", err, "wait", wait)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return "", 0, context.Cause(ctx)
		}
	}
}

// finishLayer publishes a layer, except the commit of an ostree base, which finishBase publishes. ctx is not that of the set: another
// layer's failure does not undo this one.
func (f *fetcher) finishLayer(ctx context.Context, l *LayerState, commit string, written int64) error {
	if l.Kind != LayerCommit && !f.noRefs { // a ref set to "" would be removed
		if err := f.store.Publish(ctx, map[string]string{l.Ref: commit}); err != nil {
			return err
		}
	}
	f.count(&f.done, func(n int) Event { return LayerDone{Layer: *l, N: n, Total: f.fetch, ObjectsWritten: written} })
	return nil
}

// count adds to a counter and sends the event of the new number, so that the numbers come in order.
func (f *fetcher) count(counter *int, event func(n int) Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	*counter++
	f.progress.send(event(*counter))
}

// once fetches and imports a layer: blob, digest, decompression, diff_id, objects, commit.
func (f *fetcher) once(ctx context.Context, l *LayerState, opts *layer.Options) (commit string, err error) {
	ctx, cancel := context.WithCancel(ctx) // ends a Read that blocks when the import fails
	defer cancel()
	kept, err := f.keep(ctx, l)
	if err != nil {
		return "", err
	}
	defer func() { _ = kept.Close() }() // what counts was verified by then
	blob, err := f.image.TeeBlob(ctx, l.Index, kept.writer())
	if err != nil {
		return "", err
	}
	defer func() { _ = blob.Close() }() // likewise
	source := &countingReader{r: blob, counter: &byteCounter{progress: f.progress, layer: *l, size: f.image.Layers[l.Index].BlobSize}}
	plain, err := compress.NewReader(source)
	if err != nil {
		return "", f.blame(source, cancel, err)
	}
	ahead := pipe.New(plain)
	hash := twinhash.New()
	content := twinhash.NewReader(ahead, hash)
	defer func() {
		cancel()
		ahead.Close()
		err = errors.Join(err, plain.Close())
	}()
	c, found, err := f.content(ctx, l, content, opts)
	if err != nil {
		if ctx.Err() != nil || errors.Is(err, context.Canceled) || ofRepository(err) {
			return "", err
		}
		ahead.Close()
		return "", f.blame(source, cancel, err)
	}
	// What follows the end of the archive belongs to the blob: without it neither its digest nor the CRC can be checked.
	if _, err := io.Copy(io.Discard, content); err != nil {
		return "", err
	}
	if _, err := io.Copy(io.Discard, source); err != nil {
		return "", err
	}
	if got := digest.NewDigestFromEncoded(digest.SHA256, object.Checksum(hash.Sum()).String()); l.DiffID != "" && got != l.DiffID {
		return "", fmt.Errorf("%w: the config says %s, the layer has %s", ErrDiffID, l.DiffID, got)
	}
	if err := kept.commit(ctx); err != nil {
		return "", err
	}
	if c == nil { // the commit of an ostree base, see finishBase
		return f.commit.Checksum.String(), nil
	}
	if f.noRefs { // without a ref there is no use for the commit of a layer
		return "", f.store.Publish(ctx, nil)
	}
	sum, err := f.store.Commit(ctx, c)
	if err != nil {
		return "", err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(found.Filtered) > 0 {
		f.state.Filtered[l.Descriptor.Digest.String()] = found.Filtered
	}
	f.plain[sum.String()] = !found.Whiteouts
	f.unlabelled[sum.String()] = l.Kind == LayerDerived && opts.Policy == nil && !found.Labels
	return sum.String(), nil
}

// content imports an uncompressed layer. The result says nothing of one of an ostree base.
func (f *fetcher) content(ctx context.Context, l *LayerState, r *twinhash.Reader, opts *layer.Options) (*object.Commit, *layer.Result, error) {
	res := &layer.Result{Whiteouts: true} // not looked for
	switch l.Kind {
	case LayerCommit:
		commit, err := objectset.ImportCommit(ctx, f.store, f.pool, r, f.commitVerifier())
		f.commit = commit
		return nil, res, err
	case LayerChunk:
		c, err := objectset.ImportChunk(ctx, f.store, f.pool, r)
		return c, res, err
	}
	res, err := layer.Import(ctx, f.store, f.pool, r, opts)
	if err != nil {
		return nil, nil, err
	}
	metadata := map[string]gvariant.Value{metaImporter: gvariant.String(Version)}
	if l.DiffID != "" {
		metadata[metaDiffID] = gvariant.String(l.DiffID.String())
	}
	if len(res.Filtered) > 0 {
		if metadata[metaFiltered], err = countsVariant(res.Filtered); err != nil {
			return nil, nil, err
		}
	}
	return &object.Commit{Metadata: metadata, Tree: res.Tree, Meta: res.Meta}, res, nil
}

// ofRepository reports whether an error is about writing, so that the rest of the blob cannot explain it.
func ofRepository(err error) bool {
	var lib *ostree.Error
	var path *fs.PathError
	return errors.Is(err, ErrNoSpace) || errors.As(err, &lib) || errors.As(err, &path)
}

// blame reads what is left of a blob after its content was refused: if the blob is not the one that was asked for, that is the error
// to report. A rest that is large, or does not come soon, is left unread: the error at hand is as true.
func (f *fetcher) blame(source *countingReader, stop context.CancelFunc, err error) error {
	if registry.Retryable(err) || source.counter.size-source.counter.read > blameLimit {
		return err
	}
	defer time.AfterFunc(blameTime, stop).Stop()
	_, rest := io.Copy(io.Discard, source)
	var wrongDigest *registry.DigestError
	var wrongSize *registry.SizeError
	if errors.As(rest, &wrongDigest) || errors.As(rest, &wrongSize) || registry.Retryable(rest) {
		return rest
	}
	return err
}

// How much of a bad blob is read to find out whether it is the wrong one, in bytes, and for how long.
const blameLimit = 64 << 20

var blameTime = 3 * time.Second // tests shorten it

// finishBase makes the commit of an ostree base visible, when every object it needs is there.
func (f *fetcher) finishBase(ctx context.Context, l *LayerState) error {
	if err := publishCommit(ctx, f.repo, f.store, f.opts.Logger, f.commit); err != nil {
		return err
	}
	if err := f.noteDiffID(ctx, l); err != nil {
		return err
	}
	f.state.VerifyText = f.commit.VerifyText
	l.Commit = f.commit.Checksum.String()
	if f.noRefs {
		return nil
	}
	return f.store.Publish(ctx, map[string]string{l.Ref: l.Commit})
}

// countingReader reports what was read.
type countingReader struct {
	r       io.Reader
	counter *byteCounter
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	if n > 0 {
		c.counter.add(n)
	}
	return n, err
}
