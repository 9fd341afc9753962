package main

import (
	"bufio"
	"context"
	_ "crypto/sha256" // digest.SHA256 needs it linked
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/klauspost/compress/gzip"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// builtLayer is a layer blob in the cache.
type builtLayer struct {
	Descriptor ocispec.Descriptor
	DiffID     digest.Digest
	Tar        int64 // bytes
	Files      int   // everything but directories
	Content    int64 // bytes of regular files
	Name       string
}

// buildLayer makes a layer out of what fill writes, with that gzip level, and keeps it as a file in dir/layers.
func buildLayer(ctx context.Context, dir, name string, level int, fill func(*treeWriter) error) (*builtLayer, error) {
	dir = filepath.Join(dir, "layers")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	meta := filepath.Join(dir, name+".json")
	if data, err := os.ReadFile(meta); err == nil {
		var l builtLayer
		if err := json.Unmarshal(data, &l); err != nil {
			return nil, fmt.Errorf("%s: %w", meta, err)
		}
		return &l, nil
	}
	logf("making layer %s", name)
	f, err := os.Create(filepath.Join(dir, name+".tmp"))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	blob, diff := &counter{w: f, d: digest.SHA256.Digester()}, &counter{d: digest.SHA256.Digester()}
	buf := bufio.NewWriterSize(blob, 1<<20)
	gz, err := gzip.NewWriterLevel(buf, level)
	if err != nil {
		return nil, err
	}
	diff.w = gz
	t := newTreeWriter(diff)
	if err := fill(t); err != nil {
		return nil, err
	}
	if err := errors.Join(t.tw.Close(), gz.Close(), buf.Flush(), f.Close()); err != nil {
		return nil, err
	}
	l := &builtLayer{Name: name, DiffID: diff.d.Digest(), Tar: diff.n, Files: t.files, Content: t.bytes,
		Descriptor: ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayerGzip, Digest: blob.d.Digest(), Size: blob.n}}
	if err := os.Rename(f.Name(), filepath.Join(dir, name+".tar.gz")); err != nil {
		return nil, err
	}
	data, err := json.MarshalIndent(l, "", "  ")
	if err != nil {
		return nil, err
	}
	return l, errors.Join(ctx.Err(), writeFile(meta, data))
}

// counter hashes and counts what passes.
type counter struct {
	w io.Writer
	d digest.Digester
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	c.d.Hash().Write(p)
	return c.w.Write(p)
}

// layout is an OCI image layout with one image.
type layout struct {
	dir      string
	Manifest ocispec.Manifest
	Digest   digest.Digest // of the manifest
	Raw      []byte        // the manifest
	Config   ocispec.Image
}

func (l *layout) blob(d digest.Digest) string {
	return filepath.Join(l.dir, "blobs", d.Algorithm().String(), d.Encoded())
}

func openLayout(dir string) (*layout, error) {
	l := &layout{dir: dir}
	var index ocispec.Index
	if err := readJSON(filepath.Join(dir, "index.json"), &index); err != nil {
		return nil, err
	}
	if len(index.Manifests) != 1 {
		return nil, fmt.Errorf("%s: %d images, want 1", dir, len(index.Manifests))
	}
	l.Digest = index.Manifests[0].Digest
	var err error
	if l.Raw, err = os.ReadFile(l.blob(l.Digest)); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(l.Raw, &l.Manifest); err != nil {
		return nil, fmt.Errorf("%s: manifest: %w", dir, err)
	}
	return l, readJSON(l.blob(l.Manifest.Config.Digest), &l.Config)
}

func readJSON(name string, v any) error {
	data, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, v); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// newImage is an image without layers, marked bootable.
func newImage() *layout {
	created := epoch
	l := &layout{}
	l.Manifest = ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest}
	l.Config = ocispec.Image{Created: &created, Platform: ocispec.Platform{Architecture: "amd64", OS: "linux"}}
	l.Config.RootFS.Type = "layers"
	l.Config.Config.Labels = map[string]string{"ostree.bootable": "true"}
	return l
}

// write makes the layout dir from the image l, with layers of from (nil = none) followed by those given. Blobs are hard links.
func (l *layout) write(cache, dir string, from *layout, layers []*builtLayer) error {
	tmp := dir + ".tmp"
	if err := os.RemoveAll(tmp); err != nil {
		return err
	}
	out := &layout{dir: tmp, Manifest: l.Manifest, Config: l.Config}
	if err := os.MkdirAll(filepath.Join(tmp, "blobs", "sha256"), 0o755); err != nil {
		return err
	}
	link := func(src string, d digest.Digest) error {
		if err := os.Link(src, out.blob(d)); !errors.Is(err, fs.ErrExist) {
			return err
		}
		return nil
	}
	if from != nil {
		for _, d := range from.Manifest.Layers {
			if err := link(from.blob(d.Digest), d.Digest); err != nil {
				return err
			}
		}
	}
	for _, b := range layers {
		if err := link(filepath.Join(cache, "layers", b.Name+".tar.gz"), b.Descriptor.Digest); err != nil {
			return err
		}
		created := epoch
		out.Manifest.Layers = append(out.Manifest.Layers, b.Descriptor)
		out.Config.RootFS.DiffIDs = append(out.Config.RootFS.DiffIDs, b.DiffID)
		out.Config.History = append(out.Config.History, ocispec.History{Created: &created, CreatedBy: "bench " + b.Name})
	}
	put := func(v any, mediaType string) (ocispec.Descriptor, error) {
		data, err := json.Marshal(v)
		if err != nil {
			return ocispec.Descriptor{}, err
		}
		d := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
		return d, os.WriteFile(out.blob(d.Digest), data, 0o644)
	}
	var err error
	if out.Manifest.Config, err = put(out.Config, ocispec.MediaTypeImageConfig); err != nil {
		return err
	}
	m, err := put(out.Manifest, ocispec.MediaTypeImageManifest)
	if err != nil {
		return err
	}
	index := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{m}}
	data, err := json.Marshal(index)
	if err != nil {
		return err
	}
	err = errors.Join(os.WriteFile(filepath.Join(tmp, "index.json"), data, 0o644),
		os.WriteFile(filepath.Join(tmp, "oci-layout"), []byte(`{"imageLayoutVersion":"1.0.0"}`), 0o644), os.RemoveAll(dir))
	if err != nil {
		return err
	}
	return os.Rename(tmp, dir)
}
