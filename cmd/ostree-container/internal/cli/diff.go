package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// manifestDiff compares the layers of two manifests by digest. Sizes are those of the blobs, in bytes.
type manifestDiff struct {
	total, removed, added             int
	totalSize, removedSize, addedSize int64
}

func newManifestDiff(from, to *ocispec.Manifest) manifestDiff {
	var d manifestDiff
	d.total, _ = layersOnlyIn(to, nil)
	d.totalSize = layersSize(to.Layers)
	d.removed, d.removedSize = layersOnlyIn(from, to)
	d.added, d.addedSize = layersOnlyIn(to, from)
	return d
}

// layersOnlyIn counts the layers of one manifest, each digest once, that another does not have.
func layersOnlyIn(m, other *ocispec.Manifest) (n int, size int64) {
	seen := map[digest.Digest]bool{}
	if other != nil {
		for _, l := range other.Layers {
			seen[l.Digest] = true
		}
	}
	var only []ocispec.Descriptor
	for _, l := range m.Layers {
		if !seen[l.Digest] {
			seen[l.Digest] = true
			only = append(only, l)
		}
	}
	return len(only), layersSize(only)
}

// print writes the three lines that ostree-rs-ext prints.
func (d manifestDiff) print(w io.Writer) {
	fmt.Fprintf(w, "Total new layers: %-4d  Size: %s\n", d.total, formatCount(d.totalSize))
	fmt.Fprintf(w, "Removed layers:   %-4d  Size: %s\n", d.removed, formatCount(d.removedSize))
	fmt.Fprintf(w, "Added layers:     %-4d  Size: %s\n", d.added, formatCount(d.addedSize))
}

// manifestJSON returns a manifest as JSON in one line, without HTML escapes and without a newline at the end.
func manifestJSON(m *ocispec.Manifest) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(m); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
