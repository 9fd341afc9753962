package registry

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/ostree-container/ostree-container/container/imageref"
)

// checkLayout refuses a directory with anything that may block the one who opens it, or that has no end: a FIFO, a device. What opens
// the files does not look, and an open(2) that blocks obeys no context.
func checkLayout(ref imageref.ImageReference) error {
	switch ref.Transport {
	case imageref.TransportOCIDir:
		dir, _ := ref.PathAndTag()
		return checkFiles(dir, "blobs/*/*")
	case imageref.TransportDir:
		return checkFiles(ref.Name)
	}
	return nil
}

// checkFiles looks at what is in dir, and at what matches the patterns below it.
func checkFiles(dir string, patterns ...string) error {
	root := os.DirFS(dir)
	for _, pattern := range append(patterns, "*") {
		names, err := fs.Glob(root, pattern)
		if err != nil {
			return fmt.Errorf("%s: %w", dir, err)
		}
		for _, name := range names {
			fi, err := fs.Stat(root, name)
			if err == nil && !fi.Mode().IsRegular() && !fi.IsDir() {
				return fmt.Errorf("%s: %w", filepath.Join(dir, name), ErrNotRegular)
			}
			// What cannot be looked at fails, with its reason, if it is needed.
		}
	}
	return nil
}
