package container

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ostree-container/ostree-container/container/internal/ocidir"
	"github.com/ostree-container/ostree-container/ostree"
)

// keptDir is where a repository has blobs as they were fetched: an OCI layout without an index. libostree leaves extensions/ to others,
// each below a name of its own.
const keptDir = "extensions/ostree-container/kept"

// mediaTypeDockerManifest is what docker calls its manifests.
const mediaTypeDockerManifest = "application/vnd.docker.distribution.manifest.v2+json"

func keptPath(repo *ostree.Repo) string {
	return fmt.Sprintf("/proc/self/fd/%d/%s", repo.FD(), keptDir)
}

// openKept opens the blobs that a repository keeps, nil if it has none. Who reads or writes them holds the shared lock of the repository,
// who removes some the exclusive one.
func openKept(repo *ostree.Repo) (*ocidir.Dir, error) {
	dir, err := ocidir.Open(keptPath(repo), keptOptions)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, keptError(repo, err)
	}
	return dir, nil
}

// readKept is openKept for who can do without them: somebody who may read the repository and not these has none.
func readKept(repo *ostree.Repo) (*ocidir.Dir, error) {
	dir, err := openKept(repo)
	if errors.Is(err, fs.ErrPermission) {
		return nil, nil
	}
	return dir, err
}

var keptOptions = &ocidir.Options{Private: true, Durable: true}

// createKept is openKept, and makes the directory if it is missing.
func createKept(repo *ostree.Repo) (*ocidir.Dir, error) {
	path := keptPath(repo)
	err := os.MkdirAll(filepath.Dir(path), 0o700)
	if err != nil {
		return nil, keptError(repo, err)
	}
	dir, err := ocidir.Create(path, keptOptions)
	if err != nil {
		return nil, keptError(repo, err)
	}
	return dir, nil
}

func keptError(repo *ostree.Repo, err error) error {
	return fmt.Errorf("blobs kept in repository %s: %w", repo.Path(), err)
}

// keptImage is an image all of whose blobs are kept.
type keptImage struct {
	dir      *ocidir.Dir
	manifest ocispec.Descriptor
	raw      []byte           // the manifest, as it was fetched
	parsed   ocispec.Manifest // of raw: OCI's or docker's, which do not differ in what matters here
}

// blobs are the config and the layers.
func (k *keptImage) blobs() []ocispec.Descriptor {
	return append([]ocispec.Descriptor{k.parsed.Config}, k.parsed.Layers...)
}

// loadKept returns the image with a manifest of this digest, nil if not all of it is kept.
func loadKept(dir *ocidir.Dir, manifest digest.Digest) (*keptImage, error) {
	if dir == nil {
		return nil, nil
	}
	k, err := loadKeptManifest(dir, manifest)
	if k == nil || err != nil {
		return nil, err
	}
	for _, desc := range k.blobs() {
		if !dir.Has(desc) {
			return nil, nil
		}
	}
	return k, nil
}

// loadKeptManifest is loadKept whatever there is of the blobs.
func loadKeptManifest(dir *ocidir.Dir, manifest digest.Digest) (*keptImage, error) {
	raw, err := dir.ReadDocument(manifest)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("kept manifest: %w", err)
	}
	k := &keptImage{dir: dir, raw: raw}
	if err := json.Unmarshal(raw, &k.parsed); err != nil {
		return nil, fmt.Errorf("kept manifest %s: %w: %w", manifest, ocidir.ErrDamaged, err)
	}
	k.manifest = ocispec.Descriptor{MediaType: k.parsed.MediaType, Digest: manifest, Size: int64(len(raw))}
	if k.manifest.MediaType == "" {
		k.manifest.MediaType = ocispec.MediaTypeImageManifest
	}
	return k, nil
}

// keeps reports whether the repository has what KeepBlobs asks for, of a stored image.
func (i *Importer) keeps(state *LayeredImageState) (_ bool, err error) {
	if !i.opts.KeepBlobs {
		return true, nil
	}
	dir, err := openKept(i.repo)
	if dir == nil || err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	k, err := loadKept(dir, state.ManifestDigest)
	if err != nil {
		i.opts.Logger.Warn("kept blobs of the image are fetched again", "image", i.target.String(), "error", err)
	}
	return k != nil, nil
}

// forgetUnkept has layers fetched whose blobs are to be kept and are not: with the commits that are there nobody can tell the bytes.
func (i *Importer) forgetUnkept(layers []LayerState) (err error) {
	if !i.opts.KeepBlobs {
		return nil
	}
	dir, err := openKept(i.repo)
	if err != nil {
		return err
	}
	if dir != nil {
		defer func() { err = errors.Join(err, dir.Close()) }()
	}
	for n := range layers {
		if dir == nil || !dir.Has(layers[n].Descriptor) {
			layers[n].Commit = ""
		}
	}
	return nil
}

// keepDocuments keeps the manifest and the config, as they were fetched.
func (i *Importer) keepDocuments(ctx context.Context) (err error) {
	if i.kept == nil {
		return nil
	}
	for _, data := range [][]byte{i.image.RawConfig, i.image.RawManifest} {
		if _, err := i.kept.WriteBytes("", data); err != nil {
			return keptError(i.repo, noSpace(err))
		}
	}
	k, err := loadKept(i.kept, i.image.ManifestDigest)
	if err == nil && k == nil {
		err = fmt.Errorf("%w: the manifest names other blobs than those that were fetched", ErrLayout)
	}
	if err != nil {
		return keptError(i.repo, err)
	}
	return context.Cause(ctx)
}

// copyKept takes over what src keeps of an image.
func copyKept(ctx context.Context, src, dst *ostree.Repo, manifest digest.Digest, verify bool) (err error) {
	from, err := readKept(src)
	if from == nil || err != nil {
		return err
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	k, err := loadKept(from, manifest)
	if err != nil {
		return keptError(src, err)
	} else if k == nil {
		return nil
	}
	to, err := createKept(dst)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, to.Close()) }()
	for _, desc := range append(k.blobs(), k.manifest) {
		linked := false
		if !verify {
			if linked, err = to.LinkBlob(from, desc); err != nil {
				return err
			}
		}
		if linked {
			continue
		}
		if err := writeKept(ctx, from, to, desc); err != nil {
			return err
		}
	}
	return nil
}

// writeKept copies a kept blob to a layout and compares it with its digest.
func writeKept(ctx context.Context, from, to *ocidir.Dir, desc ocispec.Descriptor) (err error) {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	f, err := from.Open(desc.Digest)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := to.WriteBlob(ctx, desc, f); err != nil {
		return fmt.Errorf("take %s from %s of the repository (if it is damaged, delete it and pull again): %w", desc.Digest, keptDir, noSpace(err))
	}
	return nil
}
