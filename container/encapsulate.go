package container

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ostree-container/ostree-container/container/imageref"
	"github.com/ostree-container/ostree-container/container/internal/chunking"
	"github.com/ostree-container/ostree-container/container/internal/compress"
	"github.com/ostree-container/ostree-container/container/objectset"
	"github.com/ostree-container/ostree-container/ostree"
)

// ContentMeta says which object of a commit belongs to which component.
type ContentMeta = chunking.ContentMeta

// ContentLayer is a component of ContentMeta.
type ContentLayer = chunking.ContentLayer

// ErrContentMeta is wrapped by errors about content metadata that cannot be used.
var ErrContentMeta = chunking.ErrContentMeta

// ReadContentMeta reads content metadata in the JSON form of ostree-rs-ext, version 1. Errors wrap ErrContentMeta.
func ReadContentMeta(r io.Reader) (*ContentMeta, error) { return chunking.ReadContentMeta(r) }

// Compression is how layers are compressed; the zero value is CompressionGzip.
type Compression string

// Compressions.
const (
	CompressionGzip Compression = "gzip"
	CompressionZstd Compression = "zstd"
	CompressionNone Compression = "none"
)

func (c Compression) format() (compress.Format, error) {
	switch c {
	case "", CompressionGzip:
		return compress.Gzip, nil
	case CompressionZstd:
		return compress.Zstd, nil
	case CompressionNone:
		return compress.Plain, nil
	}
	return 0, fmt.Errorf("unknown compression %q: gzip, zstd or none", string(c))
}

// EncapsulateOptions are options of Encapsulate; nil means the default.
type EncapsulateOptions struct {
	// Labels of the image. They become annotations of its manifest too.
	Labels map[string]string
	// Config is what the image's runtime configuration begins with; nil: empty.
	Config *ocispec.ImageConfig
	// Cmd is the command of the image; nil: what the commit's metadata key ostree.container-cmd says, if anything.
	Cmd []string
	// CopyMeta are metadata keys of the commit that become labels. Each must exist and be a string.
	CopyMeta []string
	// CopyMetaOptional are such keys that may be missing.
	CopyMetaOptional []string
	// LegacyVersionLabel also sets the label "version".
	LegacyVersionLabel bool
	// ContentMeta distributes the files over several layers; nil: there is one layer. Every file of the commit must be in it.
	ContentMeta *ContentMeta
	// MaxLayers is the largest number of chunks that the components may go into, 4 or more. 0: one for each component, and one for new ones.
	MaxLayers int
	// Previous is the manifest of the build before: components stay in the chunk they had there. Nil: there is none.
	Previous *ocispec.Manifest
	// Compression of the layers.
	Compression Compression
	// CompressionLevel is 1 to 9 for gzip, 1 to 19 for zstd; 0: 6 for gzip (1 for containers-storage, which unpacks it at once), 3
	// for zstd.
	CompressionLevel int
	// Jobs is how many layers are written at once; 0: one for each processor. It does not change the result.
	Jobs int
	// Push says how an image is sent to other places than a directory; nil means the default.
	Push *PushOptions
	// Progress is called with one event at a time; nil: not at all.
	Progress func(Event)
	// Logger gets what is of interest but no error; nil: silent.
	Logger *slog.Logger
}

// Encapsulate makes an image of a commit, such as ostree-rs-ext, bootc and rpm-ostree read it, and writes it to dest. rev is a ref or
// a checksum. The same commit and options give the same digests on every machine, with the same build of this program. It
// returns the digest of the manifest.
//
// It returns ErrIncomplete if the commit lacks objects, and ErrContentMeta if the content metadata does not fit them.
//
// Source: ostree-rs-ext src/container/encapsulate.rs, layout version 1.
func Encapsulate(ctx context.Context, repo *ostree.Repo, rev string, dest imageref.ImageReference, opts *EncapsulateOptions) (digest.Digest, error) {
	if opts == nil {
		opts = &EncapsulateOptions{}
	}
	b, err := newImageBuilder(ctx, repo, rev, dest, opts)
	if err != nil {
		return "", err
	}
	return writeImage(ctx, dest, opts.Push, b.progress, b.build)
}

// imageBuilder makes the image of one commit.
type imageBuilder struct {
	opts     EncapsulateOptions
	progress *progress
	contents *objectset.Contents
	pool     *compress.Pool
	labels   map[string]string
	chunks   []chunk // nil: a single layer
}

// newImageBuilder checks all that can be known before the first file is read, so that nothing is written if it cannot be done.
func newImageBuilder(ctx context.Context, repo *ostree.Repo, rev string, dest imageref.ImageReference, opts *EncapsulateOptions) (*imageBuilder, error) {
	b := &imageBuilder{opts: *opts, progress: &progress{emit: opts.Progress}}
	b.opts.Logger = orSilent(b.opts.Logger)
	if b.opts.Jobs <= 0 {
		b.opts.Jobs = runtime.GOMAXPROCS(0)
	}
	format, err := b.opts.Compression.format()
	if err != nil {
		return nil, err
	}
	if dest.Transport == imageref.TransportContainersStorage && format == compress.Gzip && b.opts.CompressionLevel == 0 {
		b.opts.CompressionLevel = 1
	}
	if b.pool, err = compress.NewPool(format, b.opts.CompressionLevel, b.opts.Jobs); err != nil {
		return nil, err
	}
	checksum, err := repo.ResolveRev(ctx, rev)
	if err != nil {
		return nil, err
	}
	if b.contents, err = objectset.LoadContents(ctx, repo, checksum); err != nil {
		return nil, err
	}
	if b.labels, err = b.commitLabels(); err != nil {
		return nil, err
	}
	if b.opts.ContentMeta == nil {
		if b.opts.MaxLayers != 0 || b.opts.Previous != nil {
			return nil, errors.New("layers are only distributed if there is content metadata")
		}
		return b, nil
	}
	return b, b.planChunks(ctx)
}
