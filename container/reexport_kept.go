package container

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/ostree-container/ostree-container/container/imageref"
	"github.com/ostree-container/ostree-container/container/internal/ocidir"
	"github.com/ostree-container/ostree-container/ostree"
)

// keepsManifest reports whether a transport has manifests.
func keepsManifest(t imageref.Transport) bool {
	return t != imageref.TransportDockerArchive && t != imageref.TransportDockerDaemon
}

// keepsEncrypted reports whether a transport takes layers without looking into them.
func keepsEncrypted(t imageref.Transport) bool {
	return keepsManifest(t) && t != imageref.TransportContainersStorage
}

// reexportKept writes an image as it was fetched. The digest is "" if it is not kept; the error is *damagedKept if that is of no use.
func reexportKept(ctx context.Context, repo *ostree.Repo, state *LayeredImageState, dest imageref.ImageReference, opts *ReexportOptions) (_ digest.Digest, err error) {
	dir, err := readKept(repo, opts.Logger)
	if dir == nil || err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	k, err := loadKept(dir, state.ManifestDigest)
	if k == nil || err != nil || encrypted(&k.parsed) && !keepsEncrypted(dest.Transport) {
		return "", err
	}
	return k.reexport(ctx, state, dest, opts)
}

// reexport writes the image as it was fetched.
func (k *keptImage) reexport(ctx context.Context, state *LayeredImageState, dest imageref.ImageReference, opts *ReexportOptions) (digest.Digest, error) {
	progress := &progress{emit: opts.Progress}
	oci := dest.Transport == imageref.TransportOCIDir || dest.Transport == imageref.TransportOCIArchive
	convert := oci && k.manifest.MediaType != ocispec.MediaTypeImageManifest
	if convert && opts.PreserveDigests {
		return "", fmt.Errorf("%w: the manifest is docker's, and %s takes those of OCI only", ErrDigestChanged, dest.Transport)
	}
	jobs := opts.Jobs
	if jobs <= 0 {
		jobs = runtime.GOMAXPROCS(0)
	}
	return writeImage(ctx, dest, opts.Push, progress, func(ctx context.Context, dir *ocidir.Dir, tag string) (digest.Digest, error) {
		done := progress.phase(PhaseExport)
		if err := k.writeLayers(ctx, dir, jobs); err != nil {
			return "", err
		}
		desc, err := k.writeManifest(ctx, dir, state, convert)
		if err == nil {
			err = dir.SetImage(ctx, desc, tag)
		}
		if err == nil {
			done()
		}
		return desc.Digest, err
	})
}

func (k *keptImage) writeLayers(parent context.Context, dir *ocidir.Dir, jobs int) error {
	g, ctx := errgroup.WithContext(parent)
	g.SetLimit(jobs)
	for _, l := range k.parsed.Layers {
		g.Go(func() error { return writeKept(ctx, k.dir, dir, l) })
	}
	err := g.Wait()
	if parent.Err() != nil {
		return context.Cause(parent)
	}
	return err
}

// writeManifest writes manifest and config: as they were, or as those of OCI that containers/image makes of them, too.
func (k *keptImage) writeManifest(ctx context.Context, dir *ocidir.Dir, state *LayeredImageState, convert bool) (ocispec.Descriptor, error) {
	if convert {
		raw, err := k.dir.ReadDocument(k.parsed.Config.Digest)
		if err != nil {
			return ocispec.Descriptor{}, &damagedKept{k.parsed.Config.Digest, err}
		}
		config := &ocispec.Image{}
		if err := json.Unmarshal(raw, config); err != nil {
			return ocispec.Descriptor{}, fmt.Errorf("kept config %s: %w", k.parsed.Config.Digest, err)
		}
		return dir.WriteManifest(state.Manifest, config)
	}
	if err := writeKept(ctx, k.dir, dir, k.parsed.Config); err != nil {
		return ocispec.Descriptor{}, err
	}
	return dir.WriteBytes(k.manifest.MediaType, k.raw)
}
