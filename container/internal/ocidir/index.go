package ocidir

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/ostree-container/ostree-container/container/internal/dirlock"
)

// Index returns what index.json holds; a layout without one is empty.
func (d *Dir) Index() (*ocispec.Index, error) {
	index := &ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex}
	file := d.file(ocispec.ImageIndexFile)
	f, err := openFile(d.fd, ocispec.ImageIndexFile, file, d.noFollow(), ErrDamaged)
	if errors.Is(err, fs.ErrNotExist) {
		return index, nil
	} else if err != nil {
		return nil, err
	}
	text, err := readSmall(f, maxDocument)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(text, index); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return index, nil
}

// HasIndex reports whether there is an index.json, whatever that is.
func (d *Dir) HasIndex() (bool, error) {
	var st unix.Stat_t
	switch err := unix.Fstatat(d.fd, ocispec.ImageIndexFile, &st, unix.AT_SYMLINK_NOFOLLOW); {
	case err == nil:
		return true, nil
	case errors.Is(err, unix.ENOENT):
		return false, nil
	default:
		return false, &os.PathError{Op: "stat", Path: d.file(ocispec.ImageIndexFile), Err: err}
	}
}

// WriteImage is WriteManifest and SetImage.
func (d *Dir) WriteImage(ctx context.Context, manifest *ocispec.Manifest, config *ocispec.Image, tag string) (ocispec.Descriptor, error) {
	desc, err := d.WriteManifest(manifest, config)
	if err != nil {
		return desc, err
	}
	return desc, d.SetImage(ctx, desc, tag)
}

// WriteManifest stores config and manifest, the latter with the former's descriptor in it. It returns the descriptor of the manifest.
func (d *Dir) WriteManifest(manifest *ocispec.Manifest, config *ocispec.Image) (ocispec.Descriptor, error) {
	text, err := json.Marshal(config)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	m := *manifest
	if m.Config, err = d.WriteBytes(ocispec.MediaTypeImageConfig, text); err != nil {
		return ocispec.Descriptor{}, err
	}
	if text, err = json.Marshal(&m); err != nil {
		return ocispec.Descriptor{}, err
	}
	desc, err := d.WriteBytes(ocispec.MediaTypeImageManifest, text)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	desc.Platform = &ocispec.Platform{
		Architecture: config.Architecture, OS: config.OS, Variant: config.Variant, OSVersion: config.OSVersion, OSFeatures: config.OSFeatures,
	}
	return desc, nil
}

// SetImage puts a manifest into the index, when everything written before is on disk. With a tag it takes the place of what had
// that tag; without one it becomes the only image of the layout, as in ostree-rs-ext. Blobs that nothing names any more stay.
func (d *Dir) SetImage(ctx context.Context, manifest ocispec.Descriptor, tag string) error {
	if err := d.sync(); err != nil {
		return err
	}
	if err := d.lock(ctx); err != nil {
		return err
	}
	defer d.unlock()
	index := &ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex}
	if tag != "" {
		var err error
		if index, err = d.Index(); err != nil {
			return err
		}
		index.Manifests = slices.DeleteFunc(index.Manifests, func(m ocispec.Descriptor) bool {
			return m.Annotations[ocispec.AnnotationRefName] == tag
		})
		manifest.Annotations = map[string]string{ocispec.AnnotationRefName: tag}
	}
	index.Manifests = append(index.Manifests, manifest)
	text, err := json.Marshal(index)
	if err != nil {
		return err
	}
	return d.replace(ocispec.ImageIndexFile, text)
}

// lock waits for other writers of the index.
func (d *Dir) lock(ctx context.Context) (err error) {
	select {
	case d.busy <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer func() {
		if err != nil {
			<-d.busy
		}
	}()
	if err = dirlock.Exclusive(ctx, d.fd); err != nil && ctx.Err() == nil {
		err = &os.PathError{Op: "lock", Path: d.path, Err: err}
	}
	return err
}

func (d *Dir) unlock() {
	dirlock.Release(d.fd)
	<-d.busy
}

// replace writes a file of the layout whole or not at all.
func (d *Dir) replace(name string, data []byte) (err error) {
	temp := "." + name + "-" + rand.Text()
	fd, err := unix.Openat(d.fd, temp, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_CLOEXEC, 0o644)
	if err != nil {
		return &os.PathError{Op: "create", Path: filepath.Join(d.path, temp), Err: err}
	}
	f := os.NewFile(uintptr(fd), temp)
	_, err = f.Write(data)
	if err == nil && !d.opts.NoSync {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		if err = unix.Renameat(d.fd, temp, d.fd, name); err != nil {
			err = &os.PathError{Op: "rename", Path: filepath.Join(d.path, name), Err: err}
		}
	}
	if err != nil {
		return errors.Join(err, unix.Unlinkat(d.fd, temp, 0))
	}
	if d.opts.NoSync {
		return nil
	}
	return unix.Fsync(d.fd)
}

func (d *Dir) sync() error {
	if d.opts.NoSync {
		return nil
	}
	if err := unix.Syncfs(d.blobs); err != nil {
		return &os.PathError{Op: "sync", Path: d.path, Err: err}
	}
	return nil
}
