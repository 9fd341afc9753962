package container

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/ostree-container/ostree-container/container/internal/chunking"
	"github.com/ostree-container/ostree-container/container/internal/compress"
	"github.com/ostree-container/ostree-container/container/internal/ocidir"
	"github.com/ostree-container/ostree-container/container/objectset"
)

// chunk is a layer of content objects.
type chunk struct {
	bin   chunking.Bin
	files []objectset.ContentFile // sorted by checksum
}

// planChunks decides what goes into which layer.
func (b *imageBuilder) planChunks(ctx context.Context) error {
	meta := b.opts.ContentMeta
	components := meta.Components()
	byID := make(map[string]*chunking.Component, len(components))
	for _, c := range components {
		if byID[c.ID] != nil {
			return fmt.Errorf("%w: layer %q is there twice", ErrContentMeta, c.ID)
		}
		byID[c.ID] = c
	}
	owned := make(map[*chunking.Component][]objectset.ContentFile, len(components))
	for _, f := range b.contents.Files {
		id, ok := meta.Mapping[f.Sum.String()]
		if !ok {
			id, ok = byPath(meta.Mapping, f.Paths)
		}
		if !ok {
			return fmt.Errorf("%w: object %s%s of the commit is in no layer", ErrContentMeta, f.Sum, pathOf(f))
		}
		c := byID[id]
		if c == nil {
			return fmt.Errorf("%w: object %s%s is in layer %q, which is not one of \"layers\"", ErrContentMeta, f.Sum, pathOf(f), id)
		}
		owned[c] = append(owned[c], f)
	}
	for _, c := range components {
		if len(owned[c]) == 0 { // the reference panics (B34)
			b.opts.Logger.WarnContext(ctx, "a component owns no object of the commit: its layer is empty", "component", c.ID)
		}
	}
	bins, err := b.pack(ctx, components, owned)
	if err != nil {
		return err
	}
	b.chunks = make([]chunk, len(bins))
	for i, bin := range bins {
		b.chunks[i].bin = bin
		for _, c := range bin {
			b.chunks[i].files = append(b.chunks[i].files, owned[c]...)
		}
		slices.SortFunc(b.chunks[i].files, func(x, y objectset.ContentFile) int { return slices.Compare(x.Sum[:], y.Sum[:]) })
	}
	return nil
}

// byPath finds the component of a file by one of its paths, or by the nearest directory above it that has one: keys of the mapping that begin
// with "/". /etc is /usr/etc.
func byPath(mapping map[string]string, paths []string) (string, bool) {
	for _, p := range paths {
		for at := "/" + p; ; at = path.Dir(at) {
			if id, ok := mapping[at]; ok {
				return id, true
			}
			if etc, ok := strings.CutPrefix(at, "/usr/etc"); ok && (etc == "" || etc[0] == '/') {
				if id, ok := mapping["/etc"+etc]; ok {
					return id, true
				}
			}
			if at == "/" {
				break
			}
		}
	}
	return "", false
}

func pathOf(f objectset.ContentFile) string {
	if len(f.Paths) == 0 {
		return ""
	}
	return fmt.Sprintf(" (/%s)", f.Paths[0])
}

func (b *imageBuilder) pack(ctx context.Context, components []*chunking.Component, owned map[*chunking.Component][]objectset.ContentFile) ([]chunking.Bin, error) {
	limit := b.opts.MaxLayers
	if limit == 0 {
		limit = max(len(components)+1, chunking.MinBins)
	}
	if b.opts.Previous != nil {
		previous, err := previousChunks(b.opts.Previous)
		if err != nil {
			return nil, err
		}
		if b.opts.MaxLayers == 0 { // components that are gone leave empty chunks
			limit = max(limit, len(previous))
		}
		if bins, ok := chunking.PackLike(components, limit, previous); ok {
			return bins, nil
		}
		b.opts.Logger.WarnContext(ctx, "the layers of the previous build cannot be kept: components are distributed afresh")
	}
	if len(components) >= limit { // sizes matter only then
		for _, c := range components {
			c.Size = 0
			for _, f := range owned[c] {
				size, err := b.contents.Size(ctx, f)
				if err != nil {
					return nil, err
				}
				c.Size += uint64(size)
			}
		}
		slices.SortStableFunc(components, func(x, y *chunking.Component) int {
			switch {
			case x.Size > y.Size:
				return -1
			case x.Size < y.Size:
				return 1
			}
			return 0
		})
	}
	return chunking.Pack(components, limit)
}

// previousChunks reads which components the chunks of a build have.
func previousChunks(m *ocispec.Manifest) ([][]string, error) {
	if len(m.Layers) < 2 {
		return nil, errors.New("the previous build has no chunks")
	}
	var chunks [][]string
	for i, l := range m.Layers[1:] {
		names, ok := l.Annotations[chunking.Annotation]
		if !ok {
			return nil, fmt.Errorf("Missing %s on prior build: layer %d", chunking.Annotation, i+2) //nolint:staticcheck // the reference's text
		}
		chunks = append(chunks, chunking.ParseNames(names))
	}
	return chunks, nil
}

// writtenLayer is a layer that is in the output.
type writtenLayer struct {
	desc    ocispec.Descriptor
	diffID  digest.Digest
	history string
}

// writeLayers writes all layers, several at once. The first holds the commit.
func (b *imageBuilder) writeLayers(ctx context.Context, dir *ocidir.Dir) ([]writtenLayer, error) {
	subject := b.contents.Commit.Subject
	if subject == "" {
		subject = "ostree export of commit " + b.contents.Commit.Checksum
	}
	rest := b.contents.Files
	if b.chunks != nil {
		rest = nil
	}
	layers := make([]writtenLayer, 1+len(b.chunks))
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(b.opts.Jobs)
	var mu sync.Mutex
	done := 0
	write := func(i int, history string, fill func(ctx context.Context, w io.Writer) error) {
		group.Go(func() error {
			l, err := writeLayer(gctx, dir, b.pool, fill)
			if err != nil {
				return err
			}
			l.history = history
			layers[i] = l
			mu.Lock()
			defer mu.Unlock()
			done++
			b.progress.send(LayerWritten{N: done, Total: len(layers), Name: history, Size: l.desc.Size})
			return nil
		})
	}
	write(0, subject, func(ctx context.Context, w io.Writer) error { return b.contents.WriteCommitLayer(ctx, w, rest) })
	for i, c := range b.chunks {
		n := 1 + i
		if n == len(b.chunks) {
			n = 0
		}
		write(1+i, c.bin.Label(), func(ctx context.Context, w io.Writer) error { return b.contents.WriteChunk(ctx, w, c.files, n) })
	}
	if err := group.Wait(); err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, err
	}
	for i, c := range b.chunks {
		layers[1+i].desc.Annotations = map[string]string{chunking.Annotation: c.bin.Names()}
	}
	return layers, nil
}

// tarBuffer is how much of a tar stream is passed on at once, in bytes.
const tarBuffer = 128 << 10

// writeLayer stores what fill writes, a tar stream, as a layer.
func writeLayer(ctx context.Context, dir *ocidir.Dir, pool *compress.Pool, fill func(context.Context, io.Writer) error) (l writtenLayer, err error) {
	blob, err := dir.NewBlob()
	if err != nil {
		return l, err
	}
	defer func() { err = errors.Join(err, blob.Close()) }()
	packed := pool.NewWriter(blob)
	diffID := sha256.New()
	buf := bufio.NewWriterSize(io.MultiWriter(diffID, packed), tarBuffer)
	err = fill(ctx, buf)
	if err == nil {
		err = buf.Flush()
	}
	if cerr := packed.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return l, err
	}
	l.diffID = digest.NewDigestFromBytes(digest.SHA256, diffID.Sum(nil))
	l.desc, err = blob.Commit(ctx, pool.Format().MediaType())
	return l, err
}
