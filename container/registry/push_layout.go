package registry

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// onlyManifest makes the image with the given digest, which containers/image has added
// to the index of an OCI layout directory, the only one there, as ostree-rs-ext does.
func onlyManifest(dir string, d digest.Digest) error {
	path := filepath.Join(dir, ocispec.ImageIndexFile)
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var index ocispec.Index
	if err := json.Unmarshal(data, &index); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if len(index.Manifests) == 1 {
		return nil
	}
	for _, m := range index.Manifests {
		if m.Digest != d || m.Annotations[ocispec.AnnotationRefName] != "" {
			continue
		}
		index.Manifests = []ocispec.Descriptor{m}
		if data, err = json.Marshal(index); err != nil {
			return err
		}
		return replaceFile(path, data)
	}
	return fmt.Errorf("%s: %w: %s", path, ErrNotFound, d)
}

// replaceFile gives a file new content at once.
func replaceFile(path string, data []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	_, err = f.Write(data)
	if err := errors.Join(err, f.Chmod(0o644), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

func beforeColon(name string) string {
	path, _, _ := strings.Cut(name, ":")
	return path
}
