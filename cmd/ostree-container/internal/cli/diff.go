package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ostree-container/ostree-container/container"
)

// printManifestDiff writes the three lines that ostree-rs-ext prints.
func printManifestDiff(w io.Writer, d *container.ManifestDiff) {
	fmt.Fprintf(w, "Total new layers: %-4d  Size: %s\n", d.Total, formatCount(d.TotalSize))
	fmt.Fprintf(w, "Removed layers:   %-4d  Size: %s\n", len(d.Removed), formatCount(container.SizeOfLayers(d.Removed)))
	fmt.Fprintf(w, "Added layers:     %-4d  Size: %s\n", len(d.Added), formatCount(container.SizeOfLayers(d.Added)))
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
