package container

import (
	"context"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strconv"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ostree-container/ostree-container/container/internal/ocidir"
	"github.com/ostree-container/ostree-container/container/registry"
)

// Labels and metadata keys of commits that images show.
const (
	labelCommit        = "ostree.commit"
	labelLegacyVersion = "version"

	metaBootable = "ostree.bootable"
	metaLinux    = "ostree.linux"
	metaVersion  = "version"
	metaCmd      = "ostree.container-cmd"
)

// PushOptions say how an image is sent to a registry or into another store.
type PushOptions = registry.PushOptions

// commitLabels are the labels without that of the last layer, which is not known yet.
func (b *imageBuilder) commitLabels() (map[string]string, error) {
	commit := b.contents.Commit
	labels := map[string]string{}
	for _, key := range b.opts.CopyMeta {
		v, ok, err := commit.MetadataString(key)
		if err != nil {
			return nil, err
		}
		if !ok {
			return nil, fmt.Errorf("Could not find commit metadata key: %s", key) //nolint:staticcheck // the reference's text
		}
		labels[key] = v
	}
	for _, key := range append(slices.Clone(b.opts.CopyMetaOptional), metaLinux) {
		v, ok, err := commit.MetadataString(key)
		if err != nil {
			return nil, err
		}
		if ok {
			labels[key] = v
		}
	}
	bootable, ok, err := commit.Metadata.LookupBool(metaBootable)
	if err != nil {
		return nil, fmt.Errorf("commit %s: metadata %w", commit.Checksum, err)
	}
	if ok {
		labels[labelBootable] = strconv.FormatBool(bootable)
		labels[labelBootc] = "1"
	}
	version, ok, err := commit.MetadataString(metaVersion)
	if err != nil {
		return nil, err
	}
	if ok {
		labels[ocispec.AnnotationVersion] = version
		if b.opts.LegacyVersionLabel {
			labels[labelLegacyVersion] = version
		}
	}
	labels[labelCommit] = commit.Checksum
	maps.Copy(labels, b.opts.Labels)
	if b.opts.ContentMeta != nil {
		maps.Copy(labels, b.opts.ContentMeta.Labels)
	}
	return labels, nil
}

// build writes the image into a layout.
func (b *imageBuilder) build(ctx context.Context, dir *ocidir.Dir, tag string) (digest.Digest, error) {
	created, err := b.created()
	if err != nil {
		return "", err
	}
	cmd, err := b.cmd()
	if err != nil {
		return "", err
	}
	done := b.progress.phase(PhaseExport)
	layers, err := b.writeLayers(ctx, dir)
	if err != nil {
		return "", err
	}
	done()
	manifest := &ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest}
	config := &ocispec.Image{
		Created: &created, Platform: ocispec.Platform{Architecture: runtime.GOARCH, OS: "linux"}, RootFS: ocispec.RootFS{Type: "layers"},
	}
	if b.opts.Config != nil {
		config.Config = *b.opts.Config
	}
	if cmd != nil {
		config.Config.Cmd = cmd
	}
	stamp := b.contents.Commit.Timestamp
	for _, l := range layers {
		manifest.Layers = append(manifest.Layers, l.desc)
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, l.diffID)
		config.History = append(config.History, ocispec.History{Created: &stamp, CreatedBy: l.history})
	}
	labels := maps.Clone(b.labels)
	labels[labelFinalDiffID] = layers[len(layers)-1].diffID.String()
	manifest.Annotations = labels
	config.Config.Labels = maps.Clone(config.Config.Labels)
	if config.Config.Labels == nil {
		config.Config.Labels = map[string]string{}
	}
	maps.Copy(config.Config.Labels, labels)
	desc, err := dir.WriteImage(ctx, manifest, config, tag)
	return desc.Digest, err
}

// created is when the image says it was made.
func (b *imageBuilder) created() (time.Time, error) {
	if b.opts.ContentMeta == nil || b.opts.ContentMeta.Created == "" {
		return b.contents.Commit.Timestamp, nil
	}
	t, err := time.Parse(time.RFC3339, b.opts.ContentMeta.Created)
	if err != nil {
		return t, fmt.Errorf("%w: created: %w", ErrContentMeta, err)
	}
	return t, nil
}

func (b *imageBuilder) cmd() ([]string, error) {
	if b.opts.Cmd != nil {
		return b.opts.Cmd, nil
	}
	cmd, _, err := b.contents.Commit.Metadata.LookupStrv(metaCmd)
	if err != nil {
		return nil, fmt.Errorf("commit %s: metadata %w", b.contents.Commit.Checksum, err)
	}
	return cmd, nil
}
