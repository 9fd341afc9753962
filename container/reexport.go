package container

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ostree-container/ostree-container/container/imageref"
	"github.com/ostree-container/ostree-container/container/internal/compress"
	"github.com/ostree-container/ostree-container/container/internal/ocidir"
	"github.com/ostree-container/ostree-container/container/registry"
	"github.com/ostree-container/ostree-container/ostree"
)

// Phases of Reexport and Encapsulate.
const (
	PhaseExport Phase = "export" // layers are made
	PhasePush   Phase = "push"   // the image goes to its destination
)

// ReexportOptions are options of Reexport; nil means the default.
type ReexportOptions struct {
	// Compression of the layers; zero: the blobs that were kept (see ImporterOptions.KeepBlobs), else gzip, and none for what is kept
	// uncompressed (docker-archive, docker-daemon).
	Compression Compression
	// CompressionLevel is 1 to 9 for gzip, 1 to 19 for zstd; 0: 6 for gzip (1 for containers-storage, which unpacks it at once), 3 for
	// zstd.
	CompressionLevel int
	// PreserveDigests makes it an error, ErrDigestChanged, if the manifest at the destination would not have the digest that the image was
	// pulled with. No image is added or replaced there then; an "oci:" directory that exists may be left with blobs that nothing names.
	PreserveDigests bool
	// Jobs is how many layers are made at once; 0: one each processor.
	Jobs int
	// Push holds credentials and TLS settings of the destination; nil: those of podman and docker.
	Push *registry.PushOptions
	// Progress is called with one event at a time; nil: not at all.
	Progress func(Event)
	// Logger gets what is of interest but no error; nil: silent.
	Logger *slog.Logger
}

// Reexport makes an image again from the layers that a repository has of it, writes it to dest and returns the digest of the manifest
// there. The layers of an ostree base keep their division; each derived layer becomes a tar of its commit. Annotations, history and
// labels are those of the image; ostree.final-diffid names the layer that is written. The same layers give the same bytes, always.
// A repository does not keep everything, for example times and the order of members. So the digests differ from those of the original;
// but an image that was made by Reexport or Encapsulate with the same options comes out with the same digest.
//
// An image that was imported with KeepBlobs is written as it was fetched, if Compression and CompressionLevel are zero: manifest, config and layers,
// each compared with its digest. If one of them is damaged the layers are made again after all, which is logged; with PreserveDigests, and
// of an encrypted image, it is an error. A docker manifest becomes one of OCI where nothing else can be (oci, oci-archive); docker-archive and
// docker-daemon keep no manifest.
//
// An "oci:" directory is made if it is missing. With a tag the image is added to it; without one it becomes the only image there.
//
// It returns ErrNoSuchImage, ErrLayout, ErrIncomplete (the repository lacks objects of the image) and ErrDigestChanged, and the errors of
// registry.Push.
func Reexport(ctx context.Context, repo *ostree.Repo, ref, dest imageref.ImageReference, opts *ReexportOptions) (_ digest.Digest, err error) {
	if opts == nil {
		opts = &ReexportOptions{}
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("export image %s to %s: %w", ref, dest, err)
		}
	}()
	pool, err := opts.pool(dest.Transport)
	if err != nil {
		return "", err
	}
	unlock, err := share(ctx, repo)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	state, err := QueryImage(ctx, repo, ref)
	if err != nil {
		return "", err
	}
	if opts.PreserveDigests && !keepsManifest(dest.Transport) {
		return "", fmt.Errorf("%w: %s keeps no manifests", ErrDigestChanged, dest.Transport)
	}
	if opts.Compression == "" && opts.CompressionLevel == 0 {
		id, err := reexportKept(ctx, repo, state, dest, opts)
		var damaged *damagedKept
		switch {
		case !errors.As(err, &damaged):
			if id != "" || err != nil {
				return id, err
			}
		case opts.PreserveDigests:
			return "", fmt.Errorf("%w: the image cannot be written as it was fetched: %w", ErrDigestChanged, damaged)
		case encrypted(state.Manifest) && keepsEncrypted(dest.Transport): // nobody asked for what is secret to be written in plain
			return "", fmt.Errorf("the image is encrypted, and would not be if its layers were made again: %w", damaged)
		default:
			orSilent(opts.Logger).Warn("layers are made again, and get other digests", "image", ref.String(), "error", damaged)
		}
	}
	x, err := newReexport(ctx, repo, ref.String(), state, pool, opts)
	if err != nil {
		return "", err
	}
	return writeImage(ctx, dest, opts.Push, x.progress, func(ctx context.Context, dir *ocidir.Dir, tag string) (digest.Digest, error) {
		desc, err := x.write(ctx, dir, tag)
		return desc.Digest, err
	})
}

func (o *ReexportOptions) pool(t imageref.Transport) (*compress.Pool, error) {
	format, err := o.Compression.format()
	if err != nil {
		return nil, err
	}
	level := o.CompressionLevel
	if o.Compression == "" && level == 0 {
		switch t {
		case imageref.TransportDockerArchive, imageref.TransportDockerDaemon:
			format = compress.Plain
		case imageref.TransportContainersStorage:
			level = 1
		}
	}
	return compress.NewPool(format, level, 0)
}

// newHistory is the history of the image, with one entry for each layer that is not empty.
func newHistory(old []ocispec.History, layers int) []ocispec.History {
	n := 0
	var history []ocispec.History
	for _, h := range old {
		if !h.EmptyLayer {
			n++
		}
		if n <= layers {
			history = append(history, h)
		}
	}
	for ; n < layers; n++ {
		history = append(history, ocispec.History{Comment: fmt.Sprintf("layer %d", n+1)})
	}
	return history
}
