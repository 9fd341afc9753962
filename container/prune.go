package container

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/ostree-container/ostree-container/container/imageref"
	"github.com/ostree-container/ostree-container/container/internal/sweep"
	"github.com/ostree-container/ostree-container/ostree"
)

// PruneOptions are options of what removes images and layers; nil means the default.
type PruneOptions struct {
	Progress func(Event)  // nil: none
	Logger   *slog.Logger // nil: silent
	// KeepCommits are merge commits that are kept, with their layers, although no ref names them, 64 hex digits each.
	KeepCommits []string
	// Keep are images that stay although they are not deployed. That one of them does not exist is an error (ErrNoSuchImage) before
	// anything is removed.
	Keep []imageref.ImageReference
	// DryRun removes nothing; results say what would be removed.
	DryRun bool
	// Sizes makes Prune say what is freed with each image. It reads the trees of all images and deployments.
	Sizes bool
}

// Pruned says what a Prune removed, or would.
type Pruned struct {
	Images  int
	Layers  int
	Objects int
	Bytes   uint64 // size of the removed objects
	// Blobs and BlobBytes are number and size of the blobs that were kept (ImporterOptions.KeepBlobs).
	Blobs     int
	BlobBytes uint64
	Freed     []FreedImage // the images, with PruneOptions.Sizes or DryRun
}

// IsEmpty reports whether nothing was removed.
func (p *Pruned) IsEmpty() bool {
	return p.Images == 0 && p.Layers == 0 && p.Objects == 0 && p.Blobs == 0
}

// MissingImagesError names images that were to be removed and do not exist. It wraps ErrNoSuchImage.
type MissingImagesError struct{ Images []imageref.ImageReference }

// Error names the images.
func (e *MissingImagesError) Error() string {
	names := make([]string, len(e.Images))
	for i, ref := range e.Images {
		names[i] = ref.String()
	}
	return "Missing images: " + strings.Join(names, " ")
}

// Unwrap returns ErrNoSuchImage.
func (e *MissingImagesError) Unwrap() error { return ErrNoSuchImage }

// RemoveImages removes images and returns those that existed. If some did not, the error is a *MissingImagesError and the others
// are removed all the same. Layers stay until GCImageLayers.
func RemoveImages(ctx context.Context, repo *ostree.Repo, images []imageref.ImageReference) ([]imageref.ImageReference, error) {
	var removed, missing []imageref.ImageReference
	for _, image := range images {
		name, err := imageRef(image)
		if err != nil {
			return removed, err
		}
		if _, err := repo.ResolveRev(ctx, name); errors.Is(err, ostree.ErrNotFound) {
			missing = append(missing, image)
			continue
		} else if err != nil {
			return removed, fmt.Errorf("image %s: %w", image, err)
		}
		if err := repo.SetRefImmediate(ctx, "", name, ""); err != nil {
			return removed, fmt.Errorf("Pruning %s: %w", image, err) //nolint:staticcheck // the reference's text
		}
		removed = append(removed, image)
	}
	if len(missing) > 0 {
		return removed, &MissingImagesError{Images: missing}
	}
	return removed, nil
}

// GCImageLayers removes the refs of layers that no image and no protected commit needs, and the blobs kept of them, and returns how many
// layers. If an image cannot
// be understood nothing is removed, and the error, which wraps ErrUnreadableImage, names its ref. It waits for imports into the
// repository to end (ostree.ErrWouldBlock after core.lock-timeout-secs), those with the same Repo too: the caller must hold no lock of
// the repository. Objects stay until ostree.Repo.Prune.
func GCImageLayers(ctx context.Context, repo *ostree.Repo, opts *PruneOptions) (int, error) {
	if opts == nil {
		opts = &PruneOptions{}
	}
	gone, err := collectUnused(ctx, repo, opts)
	return len(gone.layers), err
}

// collectUnused is GCImageLayers, and says what it removed.
func collectUnused(ctx context.Context, repo *ostree.Repo, opts *PruneOptions) (gone unused, err error) {
	locked := false
	err = exclusively(ctx, repo, func(own *ostree.Repo) error {
		locked = true
		gone, err = gcImageLayers(ctx, own, opts)
		return err
	})
	if err != nil && !locked {
		err = fmt.Errorf("Pruning image layers: %w", err) //nolint:staticcheck // the reference's text
	}
	return gone, err
}

// gcImageLayers is collectUnused for who holds the exclusive lock.
func gcImageLayers(ctx context.Context, repo *ostree.Repo, opts *PruneOptions) (gone unused, err error) {
	found, err := findUnused(ctx, repo, nil, opts)
	if err != nil || opts.DryRun {
		return found, err
	}
	gone.layers = map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(found.layers)) {
		if err := repo.SetRefImmediate(ctx, "", name, ""); err != nil {
			return gone, fmt.Errorf("remove ref %s: %w", name, err)
		}
		gone.layers[name] = found.layers[name]
	}
	if err := removeKept(repo, found.blobs, opts.Logger); err != nil {
		return gone, err
	}
	gone.blobs = found.blobs
	return gone, nil
}

// systemDeployments are the commits deployed from the booted host's own repository; a staged deployment has no ref yet. Other
// repositories have none.
func systemDeployments(ctx context.Context, repo *ostree.Repo) (commits []string, err error) {
	// Whatever a sysroot has calls itself the system's repository, so IsSystem does not tell.
	var host, here unix.Stat_t
	if unix.Stat("/ostree/repo", &host) != nil || unix.Fstat(repo.FD(), &here) != nil || host.Dev != here.Dev || host.Ino != here.Ino {
		return nil, nil
	}
	sysroot, err := ostree.NewSysroot("")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, sysroot.Close()) }()
	if err := sysroot.Load(ctx); err != nil {
		return nil, fmt.Errorf("load the system's sysroot: %w", err)
	}
	return deployedCommits(sysroot), nil
}

// unused is what nothing needs.
type unused struct {
	layers map[string]string // their refs, with the commits
	blobs  map[string]int64  // names of what is kept of them, with the sizes in bytes
}

// findUnused returns the layers that nothing needs; images in gone, by ref, are as if they were removed.
func findUnused(ctx context.Context, repo *ostree.Repo, gone map[string]bool, opts *PruneOptions) (found unused, err error) {
	keep, err := systemDeployments(ctx, repo)
	if err != nil {
		return found, err
	}
	stays, err := findNeeded(ctx, repo, gone, append(keep, opts.KeepCommits...))
	if err != nil {
		return found, fmt.Errorf("Pruning image layers: %w", err) //nolint:staticcheck // the reference's text
	}
	layers, err := listRefs(ctx, repo, layerPrefix)
	if err != nil {
		return found, err
	}
	for name := range layers {
		text, err := imageref.UnescapeRef(layerPrefix, name)
		if err != nil { // before anything is removed
			return found, fmt.Errorf("Pruning image layers: ref %s: %w", name, err) //nolint:staticcheck // the reference's text
		}
		if stays.layers[digest.Digest(text)] {
			delete(layers, name)
		}
	}
	blobs, err := unusedKept(repo, stays)
	return unused{layers, blobs}, err
}

// needed are digests of what must stay.
type needed struct{ layers, manifests map[digest.Digest]bool }

// findNeeded returns what all images, deployments, protected commits and the given ones need.
func findNeeded(ctx context.Context, repo *ostree.Repo, gone map[string]bool, keep []string) (needed, error) {
	n := needed{map[digest.Digest]bool{}, map[digest.Digest]bool{}}
	err := protectedImages(ctx, repo, gone, keep, func(_ string, id digest.Digest, manifest *ocispec.Manifest, _ *ocispec.Image) error {
		n.manifests[id] = true
		for _, l := range manifest.Layers {
			n.layers[l.Digest] = true
		}
		return nil
	})
	return n, err
}

// protectedImages calls visit for every image whose layers must stay. An image that cannot be read is an error.
func protectedImages(ctx context.Context, repo *ostree.Repo, gone map[string]bool, keep []string,
	visit func(from string, id digest.Digest, manifest *ocispec.Manifest, config *ocispec.Image) error,
) error {
	images, err := listImageRefs(ctx, repo)
	if err != nil {
		return err
	}
	for ref, commit := range images {
		if gone[ref] {
			continue
		}
		if _, err := imageOfRef(ref); err != nil {
			return fmt.Errorf("%w: ref %s: %w", ErrUnreadableImage, ref, err)
		}
		if err := visitImage(ctx, repo, "ref "+ref, commit, true, visit); err != nil {
			return err
		}
	}
	commits := map[string]string{}
	for _, prefix := range deploymentPrefixes {
		refs, err := listRefs(ctx, repo, prefix)
		if err != nil {
			return err
		}
		for ref, commit := range refs {
			commits[commit] = "ref " + ref
		}
	}
	for _, commit := range keep {
		commits[commit] = "commit in use"
	}
	for commit, from := range commits {
		if err := visitImage(ctx, repo, from, commit, false, visit); err != nil {
			return err
		}
	}
	return nil
}

// visitImage reads the manifest and config in a commit. A commit that is no image is an error only where an image is expected.
func visitImage(ctx context.Context, repo *ostree.Repo, from, checksum string, expected bool,
	visit func(from string, id digest.Digest, manifest *ocispec.Manifest, config *ocispec.Image) error,
) error {
	fail := func(err error) error { return fmt.Errorf("%w: %s: %w", ErrUnreadableImage, from, err) }
	commit, _, err := repo.LoadCommit(ctx, checksum)
	if err != nil {
		return fail(err)
	}
	if !expected {
		if _, ok, err := commit.MetadataString(metaManifestDigest); err != nil {
			return fail(err)
		} else if !ok {
			return nil
		}
	}
	manifest, id, err := manifestOf(commit)
	if err != nil {
		return fail(err)
	}
	config, err := configOf(commit)
	if err != nil {
		return fail(err)
	}
	return visit(from, id, manifest, config)
}

// RemoveUndeployedImages removes all images that are not the origin of a deployment, booted, staged or other, and returns them,
// sorted. It takes the lock of the sysroot. Layers and objects stay. A nil opts means the default.
func RemoveUndeployedImages(ctx context.Context, sysroot *ostree.Sysroot, opts *PruneOptions) (removed []imageref.ImageReference, err error) {
	if opts == nil {
		opts = &PruneOptions{}
	}
	repo, unlock, err := lockedRepo(ctx, sysroot, opts.Logger)
	if err != nil {
		return nil, err
	}
	defer unlock()
	gone, err := undeployed(ctx, sysroot, repo, opts)
	if err != nil {
		return nil, err
	}
	images := namesOf(gone)
	if opts.DryRun {
		return images, nil
	}
	return RemoveImages(ctx, repo, images)
}

// undeployed returns the images that are not the origin of a deployment and not to be kept, sorted.
func undeployed(ctx context.Context, sysroot *ostree.Sysroot, repo *ostree.Repo, opts *PruneOptions) ([]FreedImage, error) {
	stays := map[imageref.ImageReference]bool{}
	for _, d := range sysroot.Deployments() {
		origin, err := DeploymentImage(d)
		if err != nil {
			return nil, err
		}
		if origin != nil {
			stays[origin.ImgRef] = true
		}
	}
	refs, err := listImageRefs(ctx, repo)
	if err != nil {
		return nil, err
	}
	for _, image := range opts.Keep {
		name, err := imageRef(image)
		if err != nil {
			return nil, err
		}
		if _, ok := refs[name]; !ok {
			return nil, fmt.Errorf("%w: %s, which was to be kept", ErrNoSuchImage, image)
		}
		stays[image] = true
	}
	var gone []FreedImage
	for _, ref := range slices.Sorted(maps.Keys(refs)) {
		image, err := imageOfRef(ref)
		if err != nil || stays[image] { // what is not understood is not touched
			continue
		}
		gone = append(gone, FreedImage{Image: image, Commit: refs[ref], ref: ref})
	}
	return gone, nil
}

// Prune removes images that are not deployed, layers that nothing needs then, and objects that nothing reaches then. It takes the
// lock of the sysroot and waits for imports into its repository to end (ostree.ErrWouldBlock after core.lock-timeout-secs), those with
// sysroot.Repo() too: the caller must hold no lock of the repository. Imports that run beside a prune had better have a Repo of their
// own. A nil opts means the default.
func Prune(ctx context.Context, sysroot *ostree.Sysroot, opts *PruneOptions) (result *Pruned, err error) {
	if opts == nil {
		opts = &PruneOptions{}
	}
	repo, unlock, err := lockedRepo(ctx, sysroot, opts.Logger)
	if err != nil {
		return nil, err
	}
	defer unlock()
	p := &progress{emit: opts.Progress}
	done := p.phase(PhaseGC)
	gone, err := undeployed(ctx, sysroot, repo, opts)
	if err != nil {
		return nil, err
	}
	keep := *opts
	keep.KeepCommits = append(deployedCommits(sysroot), opts.KeepCommits...)
	result = &Pruned{Images: len(gone)}
	if opts.DryRun || opts.Sizes {
		result.Freed = gone
		if err := result.measure(ctx, sysroot, repo, &keep); err != nil {
			return nil, err
		}
	}
	if !opts.DryRun {
		if _, err := RemoveImages(ctx, repo, namesOf(gone)); err != nil {
			return nil, err
		}
		collected, err := collectUnused(ctx, repo, &keep)
		if err != nil {
			return nil, err
		}
		result.count(collected)
		stats, err := pruneObjects(ctx, sysroot, repo, opts.KeepCommits)
		if err != nil {
			return nil, err
		}
		result.Objects, result.Bytes = stats.Pruned, stats.Size
	}
	done()
	return result, nil
}

// pruneObjects deletes what neither refs nor deployments, staged ones included, nor the commits in keep need. It waits for the
// repository's lock.
func pruneObjects(ctx context.Context, sysroot *ostree.Sysroot, repo *ostree.Repo, keep []string) (stats ostree.PruneStats, err error) {
	err = exclusively(ctx, repo, func(own *ostree.Repo) error {
		commits := append(deployedCommits(sysroot), keep...)
		refs, err := allRefs(ctx, own)
		if err != nil {
			return err
		}
		stats, err = sweep.Prune(ctx, own, slices.AppendSeq(slices.Clone(commits), maps.Values(refs)))
		if errors.Is(err, sweep.ErrUnusual) {
			stats, err = pruneUnusual(ctx, own, commits)
		}
		return err
	})
	if err != nil {
		err = fmt.Errorf("prune repository %s: %w", repo.Path(), err)
	}
	return stats, err
}

// pruneUnusual does what ostree_sysroot_cleanup_prune_repo does, on a handle that has the lock, and keeps commits.
func pruneUnusual(ctx context.Context, repo *ostree.Repo, commits []string) (ostree.PruneStats, error) {
	reachable := ostree.NewReachableSet()
	if err := repo.TraverseReachableRefs(ctx, 0, reachable); err != nil {
		return ostree.PruneStats{}, err
	}
	for _, commit := range commits {
		if err := repo.TraverseCommitUnion(ctx, commit, 0, reachable); err != nil {
			return ostree.PruneStats{}, fmt.Errorf("objects of commit %s: %w", commit, err)
		}
	}
	return repo.PruneFromReachable(ctx, 0, reachable)
}

// deployedCommits are the commits of all deployments. A staged one has no ref yet.
func deployedCommits(sysroot *ostree.Sysroot) []string {
	var commits []string
	for _, d := range sysroot.Deployments() {
		commits = append(commits, d.Checksum())
	}
	return commits
}
