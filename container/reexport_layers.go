package container

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"runtime"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/ostree-container/ostree-container/container/internal/compress"
	"github.com/ostree-container/ostree-container/container/internal/object"
	"github.com/ostree-container/ostree-container/container/internal/ocidir"
	"github.com/ostree-container/ostree-container/container/layer"
	"github.com/ostree-container/ostree-container/container/objectset"
	"github.com/ostree-container/ostree-container/ostree"
)

// reexport makes the layers of one image again.
type reexport struct {
	repo     *ostree.Repo
	name     string
	state    *LayeredImageState
	layers   []LayerState
	pool     *compress.Pool
	jobs     int
	progress *progress
	// want is the digest that the manifest must have; "" if it does not matter.
	want digest.Digest

	merged   layer.Root
	contents *objectset.Contents       // of the base; nil: there is none
	chunks   [][]objectset.ContentFile // by layer, what of the base is in it
}

func newReexport(ctx context.Context, repo *ostree.Repo, name string, state *LayeredImageState, pool *compress.Pool, opts *ReexportOptions) (*reexport, error) {
	x := &reexport{repo: repo, name: name, state: state, pool: pool, jobs: opts.Jobs, progress: &progress{emit: opts.Progress}}
	if x.jobs <= 0 {
		x.jobs = runtime.GOMAXPROCS(0)
	}
	if opts.PreserveDigests {
		x.want = state.ManifestDigest
	}
	var err error
	if x.layers, err = storedLayers(state); err != nil {
		return nil, err
	}
	for n := range x.layers {
		l := &x.layers[n]
		if l.Commit, err = repo.ResolveRev(ctx, l.Ref); err != nil {
			return nil, fmt.Errorf("layer %d/%d: %w", n+1, len(x.layers), err)
		}
	}
	if x.merged, err = x.root(ctx, state.MergeCommit); err != nil {
		return nil, err
	}
	if x.layers[0].Kind == LayerCommit {
		err = x.divide(ctx)
	}
	return x, err
}

func (x *reexport) root(ctx context.Context, checksum string) (layer.Root, error) {
	commit, state, err := x.repo.LoadCommit(ctx, checksum)
	if err != nil {
		return layer.Root{}, err
	}
	if state&ostree.CommitPartial != 0 {
		return layer.Root{}, fmt.Errorf("%w: commit %s is partial", ErrIncomplete, checksum)
	}
	_, labelled, err := commit.MetadataString(metaLabelledBy)
	if err != nil {
		return layer.Root{}, err
	}
	tree, meta, err := rootOf(commit)
	return layer.Root{Tree: tree, Meta: meta, Labelled: labelled}, err
}

// divide finds the files of the base in its chunks, as the commits of those name them. What is in none is in the first layer.
func (x *reexport) divide(ctx context.Context) (err error) {
	if x.contents, err = objectset.LoadContents(ctx, x.repo, x.layers[0].Commit); err != nil {
		return err
	}
	x.chunks = make([][]objectset.ContentFile, len(x.layers))
	placed := map[object.Checksum]bool{}
	for n, l := range x.layers {
		if l.Kind != LayerChunk {
			continue
		}
		root, err := x.root(ctx, l.Commit)
		if err != nil {
			return err
		}
		tree, err := repoLoader{x.repo}.DirTree(ctx, root.Tree)
		if err != nil {
			return fmt.Errorf("layer %d/%d: %w", n+1, len(x.layers), err)
		}
		in := make(map[object.Checksum]bool, len(tree.Files))
		for _, f := range tree.Files {
			in[f.Sum] = true
			placed[f.Sum] = true
		}
		for _, f := range x.contents.Files {
			if in[f.Sum] {
				x.chunks[n] = append(x.chunks[n], f)
			}
		}
	}
	for _, f := range x.contents.Files {
		if !placed[f.Sum] {
			x.chunks[0] = append(x.chunks[0], f)
		}
	}
	return nil
}

// write makes all layers and the image of them.
func (x *reexport) write(ctx context.Context, out *ocidir.Dir, tag string) (ocispec.Descriptor, error) {
	done := x.progress.phase(PhaseExport)
	written := make([]writtenLayer, len(x.layers))
	first := map[string]int{} // a layer that the image has twice is made once
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(x.jobs)
	for n := range x.layers {
		if _, again := first[x.layers[n].Ref]; again {
			continue
		}
		first[x.layers[n].Ref] = n
		g.Go(func() (err error) {
			written[n], err = writeLayer(gctx, out, x.pool, func(ctx context.Context, w io.Writer) error { return x.content(ctx, w, n) })
			return layerError(x.name, &x.layers[n], len(x.layers), err)
		})
	}
	if err := g.Wait(); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return ocispec.Descriptor{}, err
	}
	manifest, config := *x.state.Manifest, *x.state.Config
	manifest.MediaType, manifest.SchemaVersion = ocispec.MediaTypeImageManifest, 2
	manifest.Layers = make([]ocispec.Descriptor, len(x.layers))
	config.RootFS = ocispec.RootFS{Type: "layers", DiffIDs: make([]digest.Digest, len(x.layers))}
	final := -1
	for n, l := range x.layers {
		made := first[l.Ref]
		manifest.Layers[n], config.RootFS.DiffIDs[n] = written[made].desc, written[made].diffID
		manifest.Layers[n].Annotations = plainAnnotations(x.state.Manifest.Layers[n].Annotations)
		if l.Kind != LayerDerived {
			final = n
		}
	}
	config.History = newHistory(config.History, len(x.layers))
	if final >= 0 {
		id := config.RootFS.DiffIDs[final].String()
		config.Config.Labels = maps.Clone(config.Config.Labels)
		config.Config.Labels[labelFinalDiffID] = id
		if _, ok := manifest.Annotations[labelFinalDiffID]; ok {
			manifest.Annotations = maps.Clone(manifest.Annotations)
			manifest.Annotations[labelFinalDiffID] = id
		}
	}
	desc, err := out.WriteManifest(&manifest, &config)
	if err != nil {
		return desc, err
	}
	if x.want != "" && desc.Digest != x.want {
		return desc, fmt.Errorf("%w: it was %s, of what the repository keeps comes %s (see --keep-blobs of pull)", ErrDigestChanged, x.want, desc.Digest)
	}
	if err = out.SetImage(ctx, desc, tag); err == nil {
		done()
	}
	return desc, err
}

// content writes the tar of one layer.
func (x *reexport) content(ctx context.Context, w io.Writer, n int) error {
	l := &x.layers[n]
	switch l.Kind {
	case LayerCommit:
		return x.contents.WriteCommitLayer(ctx, w, x.chunks[n])
	case LayerChunk:
		return x.contents.WriteChunk(ctx, w, x.chunks[n], x.tellApart(n))
	}
	root, err := x.root(ctx, l.Commit)
	if err != nil {
		return err
	}
	if err = layer.Export(ctx, x.repo, root, &x.merged, w); errors.Is(err, ostree.ErrNotFound) {
		err = fmt.Errorf("%w: %w", ErrIncomplete, err)
	}
	return err
}

// tellApart numbers a chunk for objectset.Contents.WriteChunk: 0 for the last one.
func (x *reexport) tellApart(n int) int {
	if n+1 == len(x.layers) || x.layers[n+1].Kind == LayerDerived {
		return 0
	}
	return n
}
