package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/containers/image/v5/image"
	"github.com/containers/image/v5/manifest"
	"github.com/containers/image/v5/oci/layout"
	"github.com/containers/image/v5/signature"
	"github.com/containers/image/v5/types"
	"github.com/containers/ocicrypt/config"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ostree-container/ostree-container/container/imageref"
)

// Image is an image whose manifest was fetched and verified. The fields are not to be
// changed. Blob is safe for concurrent use; FetchConfig and Close are not.
type Image struct {
	// Ref is the reference that was opened.
	Ref imageref.OSTreeImageReference

	// IndexDigest is the digest of the index that the reference names; "" if it names
	// an image.
	IndexDigest digest.Digest
	// ManifestDigest is the digest of RawManifest.
	ManifestDigest digest.Digest
	// RawManifest is the manifest of the image (of the instance that was chosen from
	// an index), as it was fetched.
	RawManifest []byte
	// ManifestType is the media type of RawManifest.
	ManifestType string
	// Manifest is RawManifest in OCI form. Where it was converted from docker
	// schema 2, it names the configuration by what that would be in OCI form, as
	// containers/image has it: not the digest of RawConfig.
	Manifest *ocispec.Manifest

	// RawConfig is the configuration as it was fetched; nil before FetchConfig if
	// Options.ManifestOnly was set. So are Config and the diff_ids in Layers.
	RawConfig []byte
	// Config is RawConfig, parsed. It may have no history, and its diff_ids may be
	// more than the layers: use those of Layers.
	Config *ocispec.Image
	// Layers are the layers, parallel to Manifest.Layers.
	Layers []Layer
	// Warnings are what a user should hear of, one sentence each; the Logger
	// was told as well.
	Warnings []string

	src        types.ImageSource // see source
	sources    sync.Mutex        // protects src and spent
	spent      []types.ImageSource
	places     []place // where else the image may be, next first
	name       types.ImageReference
	sys        *types.SystemContext
	keys       *config.DecryptConfig                            // nil: none
	reopen     func(context.Context) (types.ImageSource, error) // nil: src is the only one
	parsed     *parsed
	configDesc ocispec.Descriptor // in RawManifest
	retry      Retry
	stall      time.Duration
	log        *slog.Logger
	redact     *redactor
	closed     bool

	getBlob sync.Mutex // held during GetBlob of sources where it is not thread-safe
}

// Layer is a layer of an image.
type Layer struct {
	// Descriptor is that of Manifest.Layers: digest, size in bytes, and media type
	// in OCI's terms.
	Descriptor ocispec.Descriptor
	// MediaType is that of the descriptor with non-distributable types replaced:
	// "application/vnd.oci.image.layer.v1.tar", "…tar+gzip" or "…tar+zstd". The
	// bytes may be compressed in another way. Of an encrypted layer it is the type of
	// what was encrypted.
	MediaType string
	// Encrypted is set if the blob is encrypted; Image.Blob decrypts it, see Options.DecryptionKeys.
	Encrypted bool
	// BlobDigest and BlobSize (in bytes, -1 if unknown) are of what Image.Blob fetches, and
	// what it verifies: those of Descriptor, except in a containers-storage, which
	// keeps layers decompressed. There, nothing can show that Descriptor.Digest is the
	// digest of this layer.
	BlobDigest digest.Digest
	BlobSize   int64
	// DiffID is the digest of the decompressed layer, as the configuration states
	// it; nothing has compared it yet. "" before FetchConfig.
	DiffID digest.Digest
}

// Open opens an image: see the package for what is checked, and in which order. The
// result must be closed. opts may be nil. The signature of the ostree commit in
// the image (SignatureOSTreeRemote) is not looked at here. A registry image without tag and
// digest is that with the tag latest; beside a digest, a tag does not count.
//
// Errors are of type *Error and wrap, where it applies, imageref.ErrInvalidReference,
// ErrConflictingAuth or one of the sentinels of this package, *DigestError or *SizeError.
func Open(ctx context.Context, ref imageref.OSTreeImageReference, opts *Options) (*Image, error) {
	if opts == nil {
		opts = &Options{}
	}
	op := "open image " + ref.ImgRef.String()
	redact := &redactor{}
	fail := func(err error, tries int) error { return newError(ctx, op, err, tries, redact) }

	if err := ctx.Err(); err != nil {
		return nil, fail(err, 0)
	}
	if err := errors.Join(checkStore(ref.ImgRef), checkLayout(ref.ImgRef)); err != nil {
		return nil, fail(err, 0)
	}
	name, err := imageReference(ref.ImgRef)
	if err != nil {
		return nil, fail(err, 0)
	}
	sys, err := opts.system()
	if err != nil {
		return nil, fail(err, 0)
	}
	redact = newRedactor(opts, sys, name.DockerReference())
	keys, err := decryptConfig(opts.DecryptionKeys)
	if err != nil {
		return nil, fail(err, 0)
	}
	policy, err := opts.policy(ref.SigVerify)
	if err != nil {
		return nil, fail(err, 0)
	}
	if opts.RequireSigned {
		if err := requireSigned(policy, name); err != nil {
			return nil, fail(err, 0)
		}
	}
	if err := checkLocal(ref.ImgRef, name); err != nil {
		return nil, fail(err, 0)
	}

	b := budget{Retry: opts.Retry.defaults(), log: opts.logger(), redact: redact, what: op}
	var img *Image
	for {
		img = &Image{Ref: ref, retry: b.Retry, stall: opts.StallTimeout, log: b.log, redact: redact, keys: keys}
		if ref.ImgRef.Transport != imageref.TransportRegistry {
			img.stall = -1 // the daemon's whole image, or an archive, may be unpacked before the first byte
		}
		err := img.open(ctx, name, sys, policy)
		if err == nil {
			break
		}
		if img.src != nil {
			err = errors.Join(err, img.Close())
		}
		if !b.again(ctx, err) {
			return nil, fail(err, b.tries)
		}
	}
	if !opts.ManifestOnly || img.parsed.docker {
		if tries, err := img.fetchConfig(ctx); err != nil {
			return nil, fail(errors.Join(err, img.Close()), tries)
		}
	}
	return img, nil
}

// checkLocal looks at the size of documents that containers/image would read whole.
func checkLocal(ref imageref.ImageReference, name types.ImageReference) error {
	var files []string
	switch ref.Transport {
	case imageref.TransportDir:
		files = []string{filepath.Join(ref.Name, "manifest.json")}
	case imageref.TransportOCIDir:
		dir, _ := ref.PathAndTag()
		files = []string{filepath.Join(dir, ocispec.ImageIndexFile)}
		if err := checkSizes(files); err != nil {
			return err
		}
		desc, err := layout.LoadManifestDescriptor(name)
		if err != nil {
			return nil //nolint:nilerr // met again when the image is opened
		}
		if desc.Digest.Validate() == nil {
			files = []string{filepath.Join(dir, ocispec.ImageBlobsDir, desc.Digest.Algorithm().String(), desc.Digest.Encoded())}
		}
	}
	return checkSizes(files)
}

func checkSizes(files []string) error {
	for _, file := range files {
		if fi, err := os.Stat(file); err == nil && fi.Size() > MaxDocumentSize {
			return fmt.Errorf("%s is %w: %d bytes, at most %d are read", file, ErrTooLarge, fi.Size(), MaxDocumentSize)
		}
	}
	return nil
}

// open is one try.
func (i *Image) open(ctx context.Context, name types.ImageReference, sys *types.SystemContext, policy *signature.Policy) (err error) {
	w := newWatch(ctx, i.stall, i.redact)
	w.arm()
	defer func() {
		err = i.dropped(w.cause(err))
		w.close()
	}()
	var host atomic.Value
	src, err := name.NewImageSource(answering(w.ctx, &host), sys)
	if err != nil { // src may then hold a nil pointer, which is not nil
		return tooLarge(err)
	}
	i.src = src
	if i.Ref.ImgRef.Transport == imageref.TransportRegistry {
		i.reopen = func(ctx context.Context) (types.ImageSource, error) { return name.NewImageSource(ctx, sys) }
		i.name, i.sys = name, sys
		all, err := places(name, sys)
		if err != nil {
			return err
		}
		i.places = unasked(all, sourceLocation(src), &host)
	}
	top := image.UnparsedInstance(i.src, nil)
	doc, err := i.document(w.ctx, top, nil)
	if err != nil {
		return err
	}
	// Only what the reference names is checked: signatures of an index are not
	// copied to its instances, and an instance is bound by its digest.
	w.arm()
	if err := checkPolicy(w.ctx, policy, top); err != nil {
		return err
	}
	var chosen *digest.Digest
	for depth := 0; doc.isIndex(); depth++ {
		if depth == 0 {
			i.IndexDigest = digest.FromBytes(doc.raw)
		}
		const maxDepth = 4
		if depth == maxDepth {
			return fmt.Errorf("%w: indexes within indexes", ErrInvalidManifest)
		}
		list, err := manifest.ListFromBlob(doc.raw, doc.mimeType)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrInvalidManifest, err)
		}
		instance, err := list.ChooseInstance(sys)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrNoInstance, err)
		}
		if err := instance.Validate(); err != nil {
			return fmt.Errorf("%w: digest %q: %w", ErrInvalidManifest, instance, err)
		}
		chosen = &instance
		w.arm()
		if doc, err = i.document(w.ctx, image.UnparsedInstance(i.src, chosen), chosen); err != nil {
			return err
		}
	}
	w.disarm()
	i.RawManifest, i.ManifestType = doc.raw, doc.mimeType
	i.ManifestDigest = digest.FromBytes(doc.raw)
	p, err := doc.parse()
	if err != nil {
		return err
	}
	i.parsed, i.Manifest, i.configDesc = p, p.oci, p.oci.Config
	i.Layers = make([]Layer, len(p.oci.Layers))
	for n, l := range p.oci.Layers {
		mediaType, encrypted, err := plainMediaType(l.MediaType)
		if err != nil {
			return err
		}
		i.Layers[n] = Layer{Descriptor: l, MediaType: mediaType, Encrypted: encrypted, BlobDigest: l.Digest, BlobSize: l.Size}
	}
	return i.replaceBlobs(ctx, chosen)
}

// replaceBlobs sets by what the layers are asked for, where a source has them in another form than the manifest says.
func (i *Image) replaceBlobs(ctx context.Context, instance *digest.Digest) error {
	blobs, err := i.src.LayerInfosForCopy(ctx, instance)
	if err != nil || blobs == nil {
		return err
	}
	if len(blobs) != len(i.Layers) {
		return fmt.Errorf("%w: %d layers, and %d in the store", ErrInvalidManifest, len(i.Layers), len(blobs))
	}
	for n, b := range blobs {
		if err := b.Digest.Validate(); err != nil {
			return fmt.Errorf("%w: layer %d/%d in the store: digest %q: %w", ErrInvalidManifest, n+1, len(blobs), b.Digest, err)
		}
		i.Layers[n].BlobDigest, i.Layers[n].BlobSize = b.Digest, max(b.Size, -1)
	}
	return nil
}

// document fetches a manifest and compares its digest with that of the instance, or
// with that of the reference if there is one.
func (i *Image) document(ctx context.Context, unparsed *image.UnparsedImage, instance *digest.Digest) (document, error) {
	raw, mimeType, err := unparsed.Manifest(ctx)
	if err != nil {
		// containers/image compares as well; find out which digest it met.
		want, known := i.Ref.ImgRef.Digest()
		if instance != nil {
			want, known = *instance, true
		}
		if known && want.Validate() == nil {
			if raw, _, rawErr := i.src.GetManifest(ctx, instance); rawErr == nil {
				if got := want.Algorithm().FromBytes(raw); got != want {
					return document{}, &DigestError{What: "manifest", Want: want, Got: got}
				}
			}
		}
		return document{}, tooLarge(err)
	}
	doc, err := newDocument(raw, mimeType)
	if err != nil || instance != nil {
		return doc, err
	}
	switch i.Ref.ImgRef.Transport {
	case imageref.TransportOCIDir, imageref.TransportOCIArchive:
		// index.json has a digest, which containers/image does not compare. If it is
		// right, the manifest can be found by the one that it should have.
		got := digest.FromBytes(raw)
		if again, _, err := i.src.GetManifest(ctx, &got); err != nil || digest.FromBytes(again) != got {
			return document{}, fmt.Errorf("%w: its digest is %s, not the one in index.json", ErrInvalidManifest, got)
		}
	}
	return doc, nil
}

// tooLarge recognises an error of containers/image that has no type.
func tooLarge(err error) error {
	if strings.Contains(err.Error(), "exceeded maximum allowed size") {
		return fmt.Errorf("%w: %w", ErrTooLarge, err)
	}
	return err
}

// dropped marks the end of a connection in the middle of an answer. In files, the
// same error is for good.
func (i *Image) dropped(err error) error {
	if err != nil && i.Ref.ImgRef.Transport == imageref.TransportRegistry && errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: %w", errDropped, err)
	}
	return err
}

// FetchConfig fetches the configuration if Open did not: it sets RawConfig, Config and
// the diff_ids of Layers. Later calls do nothing. Errors are those of Open about the
// configuration.
func (i *Image) FetchConfig(ctx context.Context) error {
	if i.Config != nil {
		return nil
	}
	if tries, err := i.fetchConfig(ctx); err != nil {
		return newError(ctx, "open image "+i.Ref.ImgRef.String(), err, tries, i.redact)
	}
	return nil
}

// fetchConfig also returns how often it was tried.
func (i *Image) fetchConfig(ctx context.Context) (tries int, err error) {
	raw, tries, err := i.readConfig(ctx)
	if err != nil {
		return tries, err
	}
	config, err := parseConfig(raw)
	if err != nil {
		return 0, err
	}
	ids, warning, err := layerDiffIDs(config, i.parsed.oci.Layers)
	if err != nil {
		return 0, err
	}
	if i.parsed.docker {
		if i.Manifest.Config, err = convertedConfig(config); err != nil {
			return 0, err
		}
	}
	if warning != "" {
		i.Warnings = append(i.Warnings, warning)
		i.log.WarnContext(ctx, warning, "image", i.Ref.ImgRef.String())
	}
	for n := range i.Layers {
		i.Layers[n].DiffID = ids[n]
	}
	i.RawConfig, i.Config = raw, config
	return 0, nil
}

func (i *Image) readConfig(ctx context.Context) (raw []byte, tries int, err error) {
	r, err := i.startBlob(ctx, "config", i.configDesc)
	if err != nil {
		if r != nil {
			tries = r.tries
		}
		return nil, tries, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	raw, err = io.ReadAll(r) // at most the size in the descriptor, which is limited
	return raw, r.tries, err
}

// ConcurrentBlobs reports whether reading several layers at once is of use. Blob may be
// called concurrently in any case.
func (i *Image) ConcurrentBlobs() bool {
	if i.src.HasThreadSafeGetBlob() {
		return true
	}
	switch i.Ref.ImgRef.Transport {
	case imageref.TransportOCIDir, imageref.TransportOCIArchive, imageref.TransportDir:
		// Each GetBlob opens a file of its own.
		return true
	}
	return false
}

// Close ends the connection and removes temporary files. Readers from Blob must be
// closed before. It may be called twice.
func (i *Image) Close() error {
	if i.closed {
		return nil
	}
	i.closed = true
	var errs []error
	for _, src := range append(i.spent, i.src) {
		errs = append(errs, src.Close())
	}
	if err := errors.Join(errs...); err != nil {
		return newError(context.Background(), "close image "+i.Ref.ImgRef.String(), err, 0, i.redact)
	}
	return nil
}
