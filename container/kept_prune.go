package container

import (
	"errors"
	"fmt"
	"log/slog"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/ostree-container/ostree-container/container/internal/ocidir"
	"github.com/ostree-container/ostree-container/ostree"
)

// unusedKept returns the names of kept blobs that are neither in stays nor the config of a manifest in it, with their sizes in bytes.
// What a killed import left is among them, what is no file, and a damaged manifest: it is fetched again when it is wanted.
func unusedKept(repo *ostree.Repo, stays needed) (_ map[string]int64, err error) {
	dir, err := openKept(repo)
	if dir == nil || err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	names, err := dir.Names()
	if err != nil {
		return nil, keptError(repo, err)
	}
	keep := func(id digest.Digest) {
		if name, err := ocidir.BlobName(id); err == nil && names[name].Regular { // else there is no such file
			delete(names, name)
		}
	}
	for id := range stays.layers {
		keep(id)
	}
	for id := range stays.manifests {
		k, err := loadKeptManifest(dir, id)
		switch {
		case errors.Is(err, ocidir.ErrDamaged): // of no use
		case err != nil:
			return nil, keptError(repo, err)
		case k != nil:
			keep(id)
			keep(k.parsed.Config.Digest)
		}
	}
	unused := make(map[string]int64, len(names))
	for name, entry := range names {
		unused[name] = entry.Size
	}
	return unused, nil
}

// removeKept deletes kept blobs by name, and those that stay from names: a directory with something in it, which is nobody's blob, is in no
// one's way but that of a warning.
func removeKept(repo *ostree.Repo, names map[string]int64, logger *slog.Logger) (err error) {
	if len(names) == 0 {
		return nil
	}
	dir, err := openKept(repo)
	if dir == nil || err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	for name := range names {
		err := dir.RemoveBlob(name)
		if errors.Is(err, unix.ENOTEMPTY) || errors.Is(err, unix.EBUSY) {
			orSilent(logger).Warn("not removed from the kept blobs", "repository", repo.Path(), "error", err)
			delete(names, name)
			continue
		}
		if err != nil {
			return keptError(repo, fmt.Errorf("remove: %w", err))
		}
	}
	return nil
}

// count adds layers and kept blobs to what was removed.
func (p *Pruned) count(gone unused) {
	p.Layers, p.Blobs, p.BlobBytes = len(gone.layers), len(gone.blobs), 0
	for _, size := range gone.blobs {
		p.BlobBytes += uint64(size) //nolint:gosec // of a file
	}
}
