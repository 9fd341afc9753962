package container

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ostree-container/ostree-container/container/imageref"
	"github.com/ostree-container/ostree-container/container/internal/compress"
	"github.com/ostree-container/ostree-container/container/internal/ocidir"
	"github.com/ostree-container/ostree-container/container/objectset"
	"github.com/ostree-container/ostree-container/container/registry"
	"github.com/ostree-container/ostree-container/ostree"
)

// ReplaceDetachedMetadataOptions are options of ReplaceDetachedMetadata; nil means the default.
type ReplaceDetachedMetadataOptions struct {
	Registry *registry.Options // how the source is fetched
	Push     *PushOptions      // how the result is sent
}

// ReplaceDetachedMetadata copies an image with other detached metadata for its commit: a serialised a{sv}, for example with
// signatures; nil removes it. Only the first layer is written anew, the others are copied as they are. It returns the digest of the
// new manifest.
//
// Source: ostree-rs-ext src/container/update_detachedmeta.rs.
func ReplaceDetachedMetadata(ctx context.Context, src, dest imageref.ImageReference, metadata []byte, opts *ReplaceDetachedMetadataOptions) (_ digest.Digest, err error) {
	if opts == nil {
		opts = &ReplaceDetachedMetadataOptions{}
	}
	if metadata != nil {
		v, err := ostree.VariantFromBytes("a{sv}", metadata)
		if err != nil {
			return "", fmt.Errorf("detached metadata: %w", err)
		}
		if !v.IsNormalForm() {
			return "", errors.New("detached metadata: not a sound a{sv}")
		}
	}
	ref := imageref.OSTreeImageReference{SigVerify: imageref.SignatureSource{Kind: imageref.SignatureInsecure}, ImgRef: src}
	image, err := registry.Open(ctx, ref, opts.Registry)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, image.Close()) }()
	layers, err := parseLayout(image.Manifest, image.Config, image.Layers)
	if err == nil {
		err = hasCommit(layers)
	}
	if err != nil {
		return "", fmt.Errorf("%s: %w", src, err)
	}
	for n, l := range image.Layers {
		if l.Encrypted { // it would be written as something between the two
			return "", layerError(src.String(), &layers[n], len(layers), registry.ErrEncrypted)
		}
	}
	r := &metadataReplacer{image: image, layers: layers, metadata: metadata}
	return writeImage(ctx, dest, opts.Push, nil, r.write)
}

type metadataReplacer struct {
	image    *registry.Image
	layers   []LayerState
	metadata []byte
}

func (r *metadataReplacer) write(ctx context.Context, dir *ocidir.Dir, tag string) (digest.Digest, error) {
	manifest := *r.image.Manifest
	manifest.MediaType = ocispec.MediaTypeImageManifest
	manifest.Layers = make([]ocispec.Descriptor, len(r.layers))
	var diffID digest.Digest
	for n := range r.layers {
		var err error
		if n == 0 {
			manifest.Layers[n], diffID, err = r.commitLayer(ctx, dir)
		} else {
			manifest.Layers[n], err = r.copyLayer(ctx, dir, n)
		}
		if err != nil {
			return "", layerError(r.image.Ref.ImgRef.String(), &r.layers[n], len(r.layers), err)
		}
	}
	config, platform, err := r.config(diffID)
	if err != nil {
		return "", err
	}
	if manifest.Config, err = dir.WriteBytes(ocispec.MediaTypeImageConfig, config); err != nil {
		return "", err
	}
	if _, ok := manifest.Annotations[labelFinalDiffID]; ok && r.oneLayer() {
		manifest.Annotations = maps.Clone(manifest.Annotations)
		manifest.Annotations[labelFinalDiffID] = diffID.String()
	}
	text, err := json.Marshal(&manifest)
	if err != nil {
		return "", err
	}
	desc, err := dir.WriteBytes(ocispec.MediaTypeImageManifest, text)
	if err != nil {
		return "", err
	}
	desc.Platform = platform
	return desc.Digest, dir.SetImage(ctx, desc, tag)
}

// oneLayer reports whether the commit has no layer but the first: then that is the one whose diff_id ostree.final-diffid names.
func (r *metadataReplacer) oneLayer() bool {
	return len(r.layers) == 1 || r.layers[1].Kind == LayerDerived
}

// copyLayer stores a layer as it is; what a store gives out uncompressed is stored so.
func (r *metadataReplacer) copyLayer(ctx context.Context, dir *ocidir.Dir, n int) (_ ocispec.Descriptor, err error) {
	want := r.image.Manifest.Layers[n]
	if dir.Has(want) {
		return want, nil
	}
	blob, err := r.image.Blob(ctx, n)
	if err != nil {
		return want, err
	}
	defer func() { err = errors.Join(err, blob.Close()) }()
	got, err := dir.WriteBlob(ctx, ocispec.Descriptor{}, blob)
	if err != nil {
		return want, err
	}
	if got.Digest != want.Digest {
		if got.Digest != r.layers[n].DiffID {
			return want, fmt.Errorf("%w: the layer has %s", ErrDiffID, got.Digest)
		}
		want.MediaType, want.Digest, want.Size = ocispec.MediaTypeImageLayer, got.Digest, got.Size
	}
	return want, nil
}

// commitLayer writes the first layer anew.
func (r *metadataReplacer) commitLayer(ctx context.Context, dir *ocidir.Dir) (_ ocispec.Descriptor, _ digest.Digest, err error) {
	blob, err := r.image.Blob(ctx, 0)
	if err != nil {
		return ocispec.Descriptor{}, "", err
	}
	defer func() { err = errors.Join(err, blob.Close()) }()
	plain, err := compress.NewReader(blob)
	if err != nil {
		return ocispec.Descriptor{}, "", err
	}
	defer func() { err = errors.Join(err, plain.Close()) }()
	pool, err := compress.NewPool(compress.Gzip, 0, 0)
	if err != nil {
		return ocispec.Descriptor{}, "", err
	}
	before := digest.SHA256.Digester()
	l, err := writeLayer(ctx, dir, pool, func(_ context.Context, w io.Writer) error {
		return objectset.ReplaceDetached(w, io.TeeReader(plain, before.Hash()), r.metadata)
	})
	if err != nil {
		return ocispec.Descriptor{}, "", err
	}
	if want := r.layers[0].DiffID; want != "" && before.Digest() != want {
		return ocispec.Descriptor{}, "", fmt.Errorf("%w: the config says %s, the layer has %s", ErrDiffID, want, before.Digest())
	}
	l.desc.Annotations = r.image.Manifest.Layers[0].Annotations
	return l.desc, l.diffID, nil
}

// config returns the configuration with the new diff_id; what is not understood in it stays.
func (r *metadataReplacer) config(diffID digest.Digest) ([]byte, *ocispec.Platform, error) {
	dec := json.NewDecoder(bytes.NewReader(r.image.RawConfig))
	dec.UseNumber()
	var doc map[string]any
	if err := dec.Decode(&doc); err != nil {
		return nil, nil, fmt.Errorf("config: %w", err)
	}
	rootfs, ok := doc["rootfs"].(map[string]any)
	if !ok {
		return nil, nil, fmt.Errorf("config: %w: no rootfs", ErrLayout)
	}
	ids := make([]digest.Digest, len(r.layers))
	for n, l := range r.layers {
		ids[n] = l.DiffID
	}
	ids[0] = diffID
	rootfs["diff_ids"] = ids
	if r.oneLayer() {
		runtime, ok := doc["config"].(map[string]any)
		if !ok {
			return nil, nil, errors.New("Image is missing container configuration") //nolint:staticcheck // the reference's text
		}
		labels, ok := runtime["Labels"].(map[string]any)
		if !ok {
			labels = map[string]any{}
		}
		labels[labelFinalDiffID] = diffID.String()
		runtime["Labels"] = labels
	}
	text, err := json.Marshal(doc)
	c := r.image.Config
	return text, &ocispec.Platform{Architecture: c.Architecture, OS: c.OS, Variant: c.Variant}, err
}
