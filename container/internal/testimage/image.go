package testimage

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Compression of a layer blob.
type Compression int

const (
	Gzip        Compression = iota // one gzip member, default level
	None                           // plain tar
	GzipMembers                    // several gzip members of about 1/3 of the tar each
	GzipFast                       // one gzip member, level 1
	Zstd                           // one zstd frame
	ZstdFrames                     // several zstd frames with a skippable frame between
)

// MediaType is the OCI layer media type of c.
func (c Compression) MediaType() string {
	switch c {
	case None:
		return ocispec.MediaTypeImageLayer
	case Zstd, ZstdFrames:
		return ocispec.MediaTypeImageLayerZstd
	}
	return ocispec.MediaTypeImageLayerGzip
}

// Layer describes one layer. Its tar stream is Tar if not nil, else made from
// Members; its blob is Blob if not nil, else the compressed tar.
type Layer struct {
	Members     []Member
	Tar         []byte
	Blob        []byte
	Compression Compression
	CreatedBy   string
	Annotations map[string]string

	// Overrides: what manifest and config say, true or not.
	MediaType string
	Digest    digest.Digest
	Size      *int64
	DiffID    digest.Digest
	// Mangle changes the bytes that are stored under the blob's true digest:
	// the blob file then does not match its name.
	Mangle func([]byte) []byte
	// Missing leaves the blob file out.
	Missing bool
}

// DefaultCreated is the creation time of images that give none.
const DefaultCreated = "2026-01-02T03:04:05Z"

// Image describes one image.
type Image struct {
	Base         *Base // layers, labels and history below those here
	Layers       []Layer
	Labels       map[string]string // config labels, added to the base's
	Annotations  map[string]string // manifest annotations, added to the base's
	Created      string            // config created, RFC 3339; "" = DefaultCreated, "-" = leave out
	Architecture string            // "" = this machine's
	OS           string            // "" = linux
	Bootable     bool              // sets the labels ostree.bootable=true and containers.bootc=1
	NoHistory    bool              // leave history out of the config
	EmptyHistory int               // that many empty_layer entries before the layers' own
	Docker       bool              // docker schema 2 media types in the manifest

	DiffIDs      []digest.Digest              // if not nil, the config's list as it is
	EditConfig   func(*ocispec.Image)         // last change to the config
	EditManifest func(*ocispec.Manifest)      // last change to the manifest
	RawConfig    []byte                       // config blob as it is, described truthfully
	RawManifest  func(manifest []byte) []byte // changes manifest bytes; index describes the result truthfully
	PadManifest  int                          // annotation of that many bytes in the manifest
	PadConfig    int                          // label of that many bytes in the config
	MangleConfig func([]byte) []byte          // bytes stored under the config's true digest
}

// Base is an image read back from an OCI layout.
type Base struct {
	Dir      string // OCI layout holding the blobs
	Manifest ocispec.Manifest
	Config   ocispec.Image
}

// LoadBase reads the image tag of the OCI layout dir.
func LoadBase(dir, tag string) (*Base, error) {
	idx, err := readIndex(dir)
	if err != nil {
		return nil, err
	}
	for _, d := range idx.Manifests {
		if d.Annotations[ocispec.AnnotationRefName] != tag && (tag != "" || len(idx.Manifests) != 1) {
			continue
		}
		b := &Base{Dir: dir}
		if err := readJSON(blobPath(dir, d.Digest), &b.Manifest); err != nil {
			return nil, err
		}
		if err := readJSON(blobPath(dir, b.Manifest.Config.Digest), &b.Config); err != nil {
			return nil, err
		}
		return b, nil
	}
	return nil, fmt.Errorf("no image %q in %s", tag, dir)
}

// Written is what WriteOCI made.
type Written struct {
	Dir, Tag    string
	Ref         string // "oci:DIR:TAG"
	Descriptor  ocispec.Descriptor
	Manifest    ocispec.Manifest
	Config      ocispec.Image
	RawManifest []byte
	RawConfig   []byte
	DiffIDs     []digest.Digest // true ones of this image's own layers
}

// Digest is the manifest digest.
func (w *Written) Digest() digest.Digest { return w.Descriptor.Digest }

// BlobPath is the file of a blob in the layout.
func (w *Written) BlobPath(d digest.Digest) string { return blobPath(w.Dir, d) }

// Write is WriteOCI for tests.
func (img Image) Write(t testing.TB, dir, tag string) *Written {
	t.Helper()
	w, err := img.WriteOCI(dir, tag)
	if err != nil {
		t.Fatalf("write image: %v", err)
	}
	return w
}

// WriteOCI writes the image into the OCI layout dir, which is made if it is
// missing; an image of the same tag is replaced in the index.
func (img Image) WriteOCI(dir, tag string) (*Written, error) {
	w, err := img.write(dir)
	if err != nil {
		return nil, err
	}
	w.Tag, w.Ref = tag, "oci:"+dir+":"+tag
	w.Descriptor.Annotations = map[string]string{ocispec.AnnotationRefName: tag}
	if tag == "" {
		w.Descriptor.Annotations, w.Ref = nil, "oci:"+dir
	}
	return w, addToIndex(dir, w.Descriptor)
}

// write puts blobs, config and manifest into the layout, not the index.
func (img Image) write(dir string) (*Written, error) {
	if err := os.MkdirAll(filepath.Join(dir, "blobs", "sha256"), 0o755); err != nil {
		return nil, err
	}
	w := &Written{Dir: dir}
	cfg, man, err := img.start(dir)
	if err != nil {
		return nil, err
	}
	for range img.EmptyHistory {
		cfg.History = append(cfg.History, ocispec.History{CreatedBy: "empty", EmptyLayer: true})
	}
	for i, l := range img.Layers {
		desc, diffID, err := l.write(dir)
		if err != nil {
			return nil, fmt.Errorf("layer %d: %w", i+1, err)
		}
		if img.Docker {
			desc.MediaType = dockerLayer(desc.MediaType)
		}
		w.DiffIDs = append(w.DiffIDs, diffID)
		if l.DiffID != "" {
			diffID = l.DiffID
		}
		man.Layers = append(man.Layers, desc)
		cfg.RootFS.DiffIDs = append(cfg.RootFS.DiffIDs, diffID)
		by := l.CreatedBy
		if by == "" {
			by = fmt.Sprintf("layer %d", i+1)
		}
		cfg.History = append(cfg.History, ocispec.History{CreatedBy: by})
	}
	if img.DiffIDs != nil {
		cfg.RootFS.DiffIDs = img.DiffIDs
	}
	if img.NoHistory {
		cfg.History = nil
	}
	if img.PadConfig > 0 {
		cfg.Config.Labels["pad"] = string(bytes.Repeat([]byte("x"), img.PadConfig))
	}
	if img.EditConfig != nil {
		img.EditConfig(cfg)
	}
	w.Config = *cfg
	if w.RawConfig = img.RawConfig; w.RawConfig == nil {
		if w.RawConfig, err = json.Marshal(cfg); err != nil {
			return nil, err
		}
	}
	man.Config.MediaType = ocispec.MediaTypeImageConfig
	if img.Docker {
		man.Config.MediaType = "application/vnd.docker.container.image.v1+json"
	}
	stored := w.RawConfig
	if img.MangleConfig != nil {
		stored = img.MangleConfig(bytes.Clone(stored))
	}
	man.Config.Digest, man.Config.Size = digest.FromBytes(w.RawConfig), int64(len(w.RawConfig))
	if err := os.WriteFile(blobPath(dir, man.Config.Digest), stored, 0o644); err != nil {
		return nil, err
	}
	if img.PadManifest > 0 {
		setKey(&man.Annotations, "pad", string(bytes.Repeat([]byte("x"), img.PadManifest)))
	}
	if img.EditManifest != nil {
		img.EditManifest(man)
	}
	w.Manifest = *man
	if w.RawManifest, err = json.Marshal(man); err != nil {
		return nil, err
	}
	if img.RawManifest != nil {
		w.RawManifest = img.RawManifest(w.RawManifest)
	}
	w.Descriptor = ocispec.Descriptor{
		MediaType: man.MediaType, Digest: digest.FromBytes(w.RawManifest), Size: int64(len(w.RawManifest)),
	}
	return w, os.WriteFile(blobPath(dir, w.Descriptor.Digest), w.RawManifest, 0o644)
}

// start makes config and manifest from the base and the image's own fields.
func (img Image) start(dir string) (*ocispec.Image, *ocispec.Manifest, error) {
	cfg := &ocispec.Image{RootFS: ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{}}}
	man := &ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, Layers: []ocispec.Descriptor{},
	}
	if img.Docker {
		man.MediaType = "application/vnd.docker.distribution.manifest.v2+json"
	}
	cfg.Architecture, cfg.OS = runtime.GOARCH, "linux"
	cfg.Config.Labels = map[string]string{}
	if b := img.Base; b != nil {
		// Through JSON: nothing may be shared with the base.
		if err := clone(cfg, b.Config); err != nil {
			return nil, nil, err
		}
		if cfg.Config.Labels == nil {
			cfg.Config.Labels = map[string]string{}
		}
		for k, v := range b.Manifest.Annotations {
			setKey(&man.Annotations, k, v)
		}
		for _, d := range b.Manifest.Layers {
			if err := linkBlob(b.Dir, dir, d.Digest); err != nil {
				return nil, nil, err
			}
			if img.Docker {
				d.MediaType = dockerLayer(d.MediaType)
			}
			man.Layers = append(man.Layers, d)
		}
	}
	if img.Architecture != "" {
		cfg.Architecture = img.Architecture
	}
	if img.OS != "" {
		cfg.OS = img.OS
	}
	for k, v := range img.Labels {
		cfg.Config.Labels[k] = v
	}
	if img.Bootable {
		cfg.Config.Labels["ostree.bootable"] = "true"
		cfg.Config.Labels["containers.bootc"] = "1"
	}
	for k, v := range img.Annotations {
		setKey(&man.Annotations, k, v)
	}
	cfg.Created = nil
	if img.Created != "-" {
		created := img.Created
		if created == "" {
			created = DefaultCreated
		}
		at, err := time.Parse(time.RFC3339Nano, created)
		if err != nil {
			return nil, nil, err
		}
		cfg.Created = &at
	}
	return cfg, man, nil
}

func (l Layer) write(dir string) (ocispec.Descriptor, digest.Digest, error) {
	var none ocispec.Descriptor
	f, err := os.CreateTemp(dir, "blob")
	if err != nil {
		return none, "", err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	blobSum, diffSum := digest.Canonical.Digester(), digest.Canonical.Digester()
	out := &counter{w: io.MultiWriter(f, blobSum.Hash())}
	if l.Blob != nil {
		// The diff_id of a given blob is that of the given tar (or members).
		if _, err := out.Write(l.Blob); err != nil {
			return none, "", err
		}
		if err := l.writeTar(diffSum.Hash()); err != nil {
			return none, "", err
		}
	} else if err := l.compress(out, diffSum.Hash()); err != nil {
		return none, "", err
	}
	desc := ocispec.Descriptor{
		MediaType: l.MediaType, Digest: blobSum.Digest(), Size: out.n, Annotations: l.Annotations,
	}
	path := blobPath(dir, desc.Digest)
	if l.Mangle != nil {
		b, err := os.ReadFile(f.Name())
		if err != nil {
			return none, "", err
		}
		if err := os.WriteFile(f.Name(), l.Mangle(b), 0o644); err != nil {
			return none, "", err
		}
	}
	if desc.MediaType == "" {
		desc.MediaType = l.Compression.MediaType()
	}
	if l.Size != nil {
		desc.Size = *l.Size
	}
	if l.Digest != "" {
		desc.Digest = l.Digest
		path = blobPath(dir, l.Digest)
	}
	if !l.Missing {
		if err := errors.Join(f.Chmod(0o644), os.Rename(f.Name(), path)); err != nil {
			return none, "", err
		}
	}
	return desc, diffSum.Digest(), nil
}

func (l Layer) writeTar(w io.Writer) error {
	if l.Tar != nil {
		_, err := w.Write(l.Tar)
		return err
	}
	return WriteTar(w, l.Members)
}

// TarBytes is the layer's uncompressed stream.
func (l Layer) TarBytes() []byte {
	if l.Tar != nil {
		return l.Tar
	}
	return Tar(l.Members...)
}

func (l Layer) compress(w, diff io.Writer) error {
	switch l.Compression {
	case None:
		return l.writeTar(io.MultiWriter(w, diff))
	case Gzip, GzipFast:
		level := gzip.DefaultCompression
		if l.Compression == GzipFast {
			level = gzip.BestSpeed
		}
		z, err := gzip.NewWriterLevel(w, level)
		if err != nil {
			return err
		}
		return errors.Join(l.writeTar(io.MultiWriter(z, diff)), z.Close())
	case Zstd:
		z, err := zstd.NewWriter(w, zstd.WithEncoderConcurrency(1))
		if err != nil {
			return err
		}
		return errors.Join(l.writeTar(io.MultiWriter(z, diff)), z.Close())
	}
	// The rest in memory: small test layers.
	b := l.TarBytes()
	diff.Write(b)
	third := len(b)/3 + 1
	for i := 0; i < len(b); i += third {
		part := b[i:min(i+third, len(b))]
		switch l.Compression {
		case GzipMembers:
			z := gzip.NewWriter(w)
			if _, err := z.Write(part); err != nil {
				return err
			}
			if err := z.Close(); err != nil {
				return err
			}
		case ZstdFrames:
			z, err := zstd.NewWriter(w, zstd.WithEncoderConcurrency(1))
			if err != nil {
				return err
			}
			if _, err := z.Write(part); err != nil {
				return err
			}
			if err := z.Close(); err != nil {
				return err
			}
			// A skippable frame: magic, length, content.
			if _, err := w.Write([]byte("\x50\x2a\x4d\x18\x03\x00\x00\x00abc")); err != nil {
				return err
			}
		default:
			return fmt.Errorf("unknown compression %d", l.Compression)
		}
	}
	return nil
}

// IndexEntry is one instance of an image index.
type IndexEntry struct {
	Image    Image
	Platform *ocispec.Platform // nil: from the image's Architecture and OS; Architecture "" is this machine's
}

// WriteIndex writes an image index of several instances under tag and returns
// its descriptor, its reference, and the instances.
func WriteIndex(dir, tag string, entries ...IndexEntry) (ref string, desc ocispec.Descriptor, instances []*Written, err error) {
	idx := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex}
	for _, e := range entries {
		w, err := e.Image.write(dir)
		if err != nil {
			return "", desc, nil, err
		}
		d := w.Descriptor
		if d.Platform = e.Platform; d.Platform == nil {
			d.Platform = &ocispec.Platform{Architecture: w.Config.Architecture, OS: w.Config.OS}
		}
		idx.Manifests = append(idx.Manifests, d)
		instances = append(instances, w)
	}
	raw, err := json.Marshal(idx)
	if err != nil {
		return "", desc, nil, err
	}
	desc = ocispec.Descriptor{
		MediaType: idx.MediaType, Digest: digest.FromBytes(raw), Size: int64(len(raw)),
		Annotations: map[string]string{ocispec.AnnotationRefName: tag},
	}
	if err := os.WriteFile(blobPath(dir, desc.Digest), raw, 0o644); err != nil {
		return "", desc, nil, err
	}
	return "oci:" + dir + ":" + tag, desc, instances, addToIndex(dir, desc)
}

func addToIndex(dir string, d ocispec.Descriptor) error {
	if err := os.WriteFile(filepath.Join(dir, "oci-layout"), []byte(`{"imageLayoutVersion":"1.0.0"}`), 0o644); err != nil {
		return err
	}
	idx, err := readIndex(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	idx.SchemaVersion = 2
	idx.MediaType = ocispec.MediaTypeImageIndex
	tag := d.Annotations[ocispec.AnnotationRefName]
	list := []ocispec.Descriptor{}
	for _, old := range idx.Manifests {
		if old.Annotations[ocispec.AnnotationRefName] != tag {
			list = append(list, old)
		}
	}
	idx.Manifests = append(list, d)
	raw, err := json.Marshal(idx)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "index.json"), raw, 0o644)
}

func readIndex(dir string) (ocispec.Index, error) {
	var idx ocispec.Index
	err := readJSON(filepath.Join(dir, "index.json"), &idx)
	return idx, err
}

func readJSON(path string, v any) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

func clone(dst, src any) error {
	b, err := json.Marshal(src)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, dst)
}

func blobPath(dir string, d digest.Digest) string {
	return filepath.Join(dir, "blobs", string(d.Algorithm()), d.Encoded())
}

func linkBlob(from, to string, d digest.Digest) error {
	dst := blobPath(to, d)
	if _, err := os.Stat(dst); err == nil {
		return nil
	}
	b, err := os.ReadFile(blobPath(from, d))
	if err != nil {
		return err
	}
	return os.WriteFile(dst, b, 0o644)
}

func dockerLayer(mt string) string {
	switch mt {
	case ocispec.MediaTypeImageLayerGzip:
		return "application/vnd.docker.image.rootfs.diff.tar.gzip"
	case ocispec.MediaTypeImageLayerZstd:
		return "application/vnd.docker.image.rootfs.diff.tar.zstd"
	case ocispec.MediaTypeImageLayer:
		return "application/vnd.docker.image.rootfs.diff.tar"
	}
	return mt
}

func setKey(m *map[string]string, k, v string) {
	if *m == nil {
		*m = map[string]string{}
	}
	(*m)[k] = v
}

type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}
