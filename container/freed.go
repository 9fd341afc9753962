package container

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/ostree-container/ostree-container/container/imageref"
	"github.com/ostree-container/ostree-container/ostree"
)

// FreedImage says what goes with an image that a Prune removes.
type FreedImage struct {
	Image  imageref.ImageReference
	Commit string // the merge commit, 64 hex digits
	// Objects and Bytes are of what only this image needed. What several of the removed images share is in the totals only.
	Objects int
	Bytes   uint64

	ref string
}

func namesOf(images []FreedImage) []imageref.ImageReference {
	names := make([]imageref.ImageReference, len(images))
	for n := range images {
		names[n] = images[n].Image
	}
	return names
}

// measure fills in what is freed with each image, and the totals as they would be.
func (p *Pruned) measure(ctx context.Context, sysroot *ostree.Sysroot, repo *ostree.Repo, opts *PruneOptions) error {
	return exclusively(ctx, repo, func(own *ostree.Repo) error { return p.measureLocked(ctx, sysroot, own, opts) })
}

func (p *Pruned) measureLocked(ctx context.Context, sysroot *ostree.Sysroot, repo *ostree.Repo, opts *PruneOptions) error {
	gone := map[string]bool{}
	for _, image := range p.Freed {
		gone[image.ref] = true
	}
	found, err := findUnused(ctx, repo, gone, opts)
	if err != nil {
		return err
	}
	p.count(found)
	layers := found.layers
	refs, err := repo.ListRefs(ctx, "")
	if err != nil {
		return fmt.Errorf("list refs: %w", err)
	}
	stays := map[string]bool{}
	for ref, commit := range refs {
		if _, unused := layers[ref]; !unused && !gone[ref] {
			stays[commit] = true
		}
	}
	for _, commit := range append(deployedCommits(sysroot), opts.KeepCommits...) {
		stays[commit] = true
	}
	reachable := ostree.NewReachableSet()
	for commit := range stays {
		if err := repo.TraverseCommitUnion(ctx, commit, 0, reachable); err != nil {
			return fmt.Errorf("objects of commit %s: %w", commit, err)
		}
	}
	stats, err := repo.PruneFromReachable(ctx, ostree.PruneNoPrune, reachable)
	if err != nil {
		return err
	}
	p.Objects, p.Bytes = stats.Pruned, stats.Size
	return p.share(ctx, repo, reachable, layers)
}

// share counts for each image the objects that neither what stays nor another of the images reaches.
func (p *Pruned) share(ctx context.Context, repo *ostree.Repo, reachable *ostree.ReachableSet, layers map[string]string) error {
	const several = -1
	owner := map[ostree.ObjectName]int{}
	for n := range p.Freed {
		commits, err := p.Freed[n].commits(ctx, repo, layers)
		if err != nil {
			return err
		}
		set := ostree.NewReachableSet()
		for _, commit := range commits {
			if err := repo.TraverseCommitUnion(ctx, commit, 0, set); err != nil {
				return fmt.Errorf("objects of commit %s: %w", commit, err)
			}
		}
		for _, name := range set.Objects() {
			if name.Type == ostree.ObjectCommitMeta || reachable.Contains(name) { // a prune does not count the former
				continue
			}
			if _, ok := owner[name]; ok {
				owner[name] = several
			} else {
				owner[name] = n
			}
		}
	}
	for name, n := range owner {
		if n == several {
			continue
		}
		size, err := repo.ObjectStorageSize(ctx, name.Type, name.Checksum)
		if errors.Is(err, ostree.ErrNotFound) { // of a partial commit
			continue
		}
		if err != nil {
			return err
		}
		p.Freed[n].Objects++
		p.Freed[n].Bytes += size
	}
	return nil
}

// commits are the merge commit of an image and the commits of those of its layers that go with it.
func (f *FreedImage) commits(ctx context.Context, repo *ostree.Repo, layers map[string]string) ([]string, error) {
	list := map[string]bool{f.Commit: true}
	commit, _, err := repo.LoadCommit(ctx, f.Commit)
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", f.Image, err)
	}
	manifest, _, err := manifestOf(commit)
	if err != nil {
		return slices.Sorted(maps.Keys(list)), nil //nolint:nilerr // an unreadable image is removed all the same
	}
	for _, l := range manifest.Layers {
		ref, err := layerRef(l.Digest)
		if err != nil {
			continue
		}
		if commit, ok := layers[ref]; ok {
			list[commit] = true
		}
	}
	return slices.Sorted(maps.Keys(list)), nil
}
