package container

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ostree-container/ostree-container/container/imageref"
	"github.com/ostree-container/ostree-container/container/internal/objstore"
	"github.com/ostree-container/ostree-container/container/internal/ocidir"
	"github.com/ostree-container/ostree-container/container/internal/sweep"
	"github.com/ostree-container/ostree-container/container/registry"
	"github.com/ostree-container/ostree-container/ostree"
)

// Version is what commits name as their importer.
const Version = "0.1.0"

// defaultJobs is how many layers are fetched and imported at once.
const defaultJobs = 6

// ImporterOptions are options of an Importer; nil means the default.
type ImporterOptions struct {
	// Registry holds credentials, TLS and policy; nil: ostree's own auth files or none, the system's policy.
	Registry *registry.Options
	// Target is under which name the image is kept and looked for; nil: the source. It says nothing about fetching.
	Target *imageref.OSTreeImageReference
	// NoImgref writes no ref for the image. Nothing then keeps its layers but a deployment.
	NoImgref bool
	// RequireBootable refuses images without the labels of a bootable one, or for another architecture.
	RequireBootable bool
	// DisableGC leaves layers that nothing references any more.
	DisableGC bool
	// Strict refuses layers with devices, FIFOs and the like, which are otherwise left out and reported.
	Strict bool
	// IgnoreSpace fetches even if the compressed layers alone do not fit.
	IgnoreSpace bool
	// KeepBlobs keeps manifest, config and layers as they were fetched, beside the commits, until their layers are collected: Reexport
	// then gives the image with its digest. Layers whose blobs are not kept yet, or damaged, are fetched again. Encrypted layers are kept encrypted.
	// A containers-storage has no blobs, and only sha256 digests are kept (ostree.ErrUnsupported).
	KeepBlobs bool
	// Jobs is how many layers are worked on at once; 0: 6.
	Jobs int
	// KeepCommits are merge commits whose layers are not collected, 64 hex digits each.
	KeepCommits []string
	// Progress is called with one event at a time; nil: not at all. It must not block for long.
	Progress func(Event)
	// Logger gets what is of interest but no error; nil: silent.
	Logger *slog.Logger

	backend objstore.Backend // tests compare the two
}

// Importer brings one image into a repository: NewImporter, Prepare, Import, Close. Not safe for concurrent use.
type Importer struct {
	repo     *ostree.Repo
	ref      imageref.OSTreeImageReference
	opts     ImporterOptions
	target   imageref.ImageReference
	name     string // ref of the image
	image    *registry.Image
	progress *progress

	noLayerRefs bool        // see Unencapsulate
	kept        *ocidir.Dir // nil: blobs are not kept; open while an import runs
	intact      sync.Map    // digests of kept blobs that were read since Prepare began
	labels      *pathLabels // nil: the base's policy is not loaded

	keepReplaced     bool              // the caller calls dropReplaced
	replaced         []string          // commits that the last import has made superfluous
	relabelledLayers map[string]string // the layers among them, and what took their place
}

// NewImporter checks that the image can be kept in the repository; nothing is fetched. The caller keeps repo open until Close.
func NewImporter(repo *ostree.Repo, ref imageref.OSTreeImageReference, opts *ImporterOptions) (*Importer, error) {
	if opts == nil {
		opts = &ImporterOptions{}
	}
	i := &Importer{repo: repo, ref: ref, opts: *opts, target: ref.ImgRef, progress: &progress{emit: opts.Progress}}
	if opts.Target != nil {
		i.target = opts.Target.ImgRef
	}
	i.opts.Logger = orSilent(i.opts.Logger)
	if i.opts.Jobs <= 0 {
		i.opts.Jobs = defaultJobs
	}
	switch repo.Mode() {
	case ostree.ModeBare, ostree.ModeBareUser, ostree.ModeArchive:
	default:
		return nil, fmt.Errorf("repository %s has mode %s, which cannot hold owners and extended attributes: %w",
			repo.Path(), repo.Mode(), ostree.ErrUnsupported)
	}
	var err error
	i.name, err = imageRef(i.target)
	return i, err
}

// Close ends the connection to the image's source. It may be called twice.
func (i *Importer) Close() error {
	if i.image == nil {
		return nil
	}
	image := i.image
	i.image = nil
	return image.Close()
}

// PreparedImport is an image that is not in the repository, or not in this version.
type PreparedImport struct {
	ManifestDigest digest.Digest // of the manifest's original bytes
	Manifest       *ocispec.Manifest
	Config         *ocispec.Image
	Previous       *LayeredImageState // nil: the image is new to the repository
	Layers         []LayerState       // in the order of the manifest

	plain map[string]bool // commits of layers that hold no whiteouts; of others it is not known
	// unlabelled are commits of layers that were imported just now without any SELinux label. Of others only their files can tell, and on
	// a host with SELinux each file on disk has one.
	unlabelled map[string]bool
}

// Version returns the image's version label, "" if there is none.
func (p *PreparedImport) Version() string { return versionOf(p.Config) }

// LayersToFetch returns the layers that are not in the repository.
func (p *PreparedImport) LayersToFetch() []LayerState {
	var missing []LayerState
	for _, l := range p.Layers {
		if l.Commit == "" {
			missing = append(missing, l)
		}
	}
	return missing
}

// Stored returns how many layers are in the repository.
func (p *PreparedImport) Stored() int { return len(p.Layers) - len(p.LayersToFetch()) }

// FetchSize returns the size of the blobs to fetch, in bytes; math.MaxInt64 if it is more than that. A layer that the image has
// twice is fetched once.
func (p *PreparedImport) FetchSize() int64 { return sizeOf(p.blobsToFetch()) }

// storedSize is the size of the blobs of the layers that are in the repository, in bytes.
func (p *PreparedImport) storedSize() int64 {
	return sizeOf(slices.DeleteFunc(slices.Clone(p.Layers), func(l LayerState) bool { return l.Commit == "" }))
}

// sizeOf adds up sizes of blobs. They are what a manifest says, so the sum may be beyond all bounds.
func sizeOf(layers []LayerState) int64 {
	var n int64
	for _, l := range layers {
		size := max(l.Descriptor.Size, 0)
		if size > math.MaxInt64-n {
			return math.MaxInt64
		}
		n += size
	}
	return n
}

// blobsToFetch is LayersToFetch with each blob once.
func (p *PreparedImport) blobsToFetch() []LayerState {
	seen := map[string]bool{}
	return slices.DeleteFunc(p.LayersToFetch(), func(l LayerState) bool {
		again := seen[l.Ref]
		seen[l.Ref] = true
		return again
	})
}

// PrepareResult is what Prepare found; exactly one field is set.
type PrepareResult struct {
	AlreadyPresent *LayeredImageState
	Ready          *PreparedImport
}

// Import fetches what is missing, writes the merge commit and its ref, and collects layers that nothing references any more.
// Errors about a layer are *LayerError. Finished layers stay in the repository whatever happens.
func (i *Importer) Import(ctx context.Context, p *PreparedImport) (_ *LayeredImageState, err error) {
	if i.image == nil {
		return nil, errors.New("import without Prepare")
	}
	store, err := objstore.Open(ctx, i.repo, &objstore.Options{Backend: i.opts.backend, Logger: i.opts.Logger})
	if err != nil {
		return nil, fmt.Errorf("Importing: %w", err) //nolint:staticcheck // the reference's text
	}
	state, err := func() (_ *LayeredImageState, err error) {
		defer func() { err = errors.Join(err, store.Close()) }()
		return i.importInto(ctx, store, p)
	}()
	if err != nil {
		return nil, fmt.Errorf("Importing: %w", err) //nolint:staticcheck // the reference's text
	}
	if !i.opts.DisableGC {
		i.collect(ctx, state)
		if !i.keepReplaced {
			i.dropReplaced(ctx)
		}
	}
	return state, nil
}

func (i *Importer) importInto(ctx context.Context, store *objstore.Store, p *PreparedImport) (_ *LayeredImageState, err error) {
	// What Prepare saw may have been collected since; from here on the repository is locked against that.
	if err := i.findLayers(ctx, p.Layers); err != nil {
		return nil, err
	}
	if err := i.dropIncomplete(ctx, store, p.Layers); err != nil {
		return nil, err
	}
	if err := i.checkKeys(p.Layers); err != nil {
		return nil, err
	}
	if err := i.checkSpace(ctx, p); err != nil {
		return nil, err
	}
	if i.opts.KeepBlobs {
		if i.kept, err = createKept(i.repo); err != nil {
			return nil, err
		}
		defer func() {
			err = errors.Join(err, i.kept.Close())
			i.kept = nil
		}()
	}
	state := &LayeredImageState{ManifestDigest: p.ManifestDigest, Manifest: p.Manifest, Config: p.Config, Filtered: map[string]map[string]uint32{}}
	done := i.progress.phase(PhaseImport)
	i.progress.send(LayersPlanned{Layers: p.blobsToFetch(), Stored: p.Stored(), StoredBytes: p.storedSize(), Bytes: p.FetchSize()})
	defer i.closeLabels()
	if err := i.fetchAll(ctx, store, p, state); err != nil {
		return nil, err
	}
	done()
	i.replaced, i.relabelledLayers = nil, map[string]string{}
	merge, err := i.merge(ctx, store, p)
	if err != nil {
		return nil, fmt.Errorf("merge layers of %s: %w", i.ref.ImgRef, err)
	}
	refs, err := i.layerRefs(ctx, p)
	if err != nil {
		return nil, err
	}
	if err := i.keepDocuments(ctx); err != nil {
		return nil, err
	}
	if len(i.relabelledLayers) > 0 { // refs are set in any order, and an image that is there is not looked at again: it comes last
		if err := store.Publish(ctx, refs); err != nil {
			return nil, err
		}
	}
	state.BaseCommit = p.Layers[0].Commit
	if !i.opts.NoImgref {
		refs[i.name] = merge
	}
	if err := store.Publish(ctx, refs); err != nil {
		return nil, err
	}
	// While the repository is locked: another process may remove the image, and prune, as soon as it is not.
	full, err := stateOf(ctx, i.repo, merge)
	if err != nil {
		return nil, err
	}
	full.BaseCommit, full.Filtered, full.VerifyText = state.BaseCommit, state.Filtered, state.VerifyText
	return full, nil
}

// layerRefs returns the refs of all layers: of those of this image, as another tool may have collected them meanwhile, and of others that
// are the same and have other labels now.
func (i *Importer) layerRefs(ctx context.Context, p *PreparedImport) (map[string]string, error) {
	refs := map[string]string{}
	for _, l := range p.Layers {
		refs[l.Ref] = l.Commit
	}
	if len(i.relabelledLayers) == 0 {
		return refs, nil
	}
	stored, err := listRefs(ctx, i.repo, layerPrefix)
	if err != nil {
		return nil, err
	}
	for name, commit := range stored {
		if now, ok := i.relabelledLayers[commit]; ok && refs[name] == "" {
			refs[name] = now
		}
	}
	return refs, nil
}

// dropIncomplete forgets layers that lack objects, so that they are fetched again instead of being built on.
func (i *Importer) dropIncomplete(ctx context.Context, store *objstore.Store, layers []LayerState) error {
	complete := newCompleteness(i.repo, store)
	for n := range layers {
		l := &layers[n]
		if l.Commit == "" {
			continue
		}
		tree, meta, err := repoLoader{i.repo}.Root(ctx, l.Commit)
		if err == nil {
			err = complete.check(ctx, tree, meta)
		}
		if errors.Is(err, ErrIncomplete) {
			i.opts.Logger.Warn("layer is damaged and fetched again", "layer", l.Descriptor.Digest, "error", err)
			l.Commit = ""
		} else if err != nil {
			return layerError(i.ref.ImgRef.String(), l, len(layers), err)
		}
	}
	return nil
}

// checkSpace refuses an image whose compressed layers alone do not fit, with KeepBlobs as they are and as what they unpack to. How much
// that really is is checked while writing.
func (i *Importer) checkSpace(ctx context.Context, p *PreparedImport) error {
	if i.opts.IgnoreSpace {
		return nil
	}
	free, reserved, err := i.freeSpace(ctx)
	if err != nil {
		return err
	}
	what, fetch := "to fetch", p.blobsToFetch()
	if i.opts.KeepBlobs {
		what = "to fetch and keep"
		all := slices.Clone(fetch)
		fetch = append(all, slices.DeleteFunc(fetch, func(l LayerState) bool { return l.blobOnly })...)
	}
	if need := sizeOf(fetch); need > free {
		return fmt.Errorf("%w: layers of %s %s: %d bytes compressed; %s has %d bytes available above the %d that the repository keeps free",
			ErrNoSpace, i.ref.ImgRef, what, need, i.repo.Path(), max(free, 0), reserved)
	}
	return nil
}

// freeSpace returns how many bytes can be written above those that the repository keeps free, less than 0 if there are fewer than that.
func (i *Importer) freeSpace(ctx context.Context) (free int64, reserved uint64, err error) {
	if reserved, err = i.repo.MinFreeSpaceBytes(ctx); err != nil {
		return 0, 0, err
	}
	free, err = objstore.FreeSpace(i.repo.FD(), reserved)
	return free, reserved, err
}

// collectWait is how long a collection after an import waits for other imports; they collect when they are done.
const collectWait = 2 * time.Second

// collect removes layers that nothing references. That the repository is busy, or holds something unreadable, is no reason to
// call the import failed.
func (i *Importer) collect(ctx context.Context, state *LayeredImageState) {
	done := i.progress.phase(PhaseGC)
	waiting, cancel := context.WithTimeout(ctx, collectWait)
	defer cancel()
	keep := i.opts.KeepCommits
	if i.opts.NoImgref { // else it has a ref, as long as nobody removes it
		keep = append([]string{state.MergeCommit}, keep...)
	}
	n, err := func() (n int, err error) {
		// With the importer's own handle: Deploy holds a shared lock on it.
		lock, err := i.repo.Lock(waiting, ostree.LockExclusive)
		if err != nil {
			return 0, fmt.Errorf("lock repository %s: %w", i.repo.Path(), err)
		}
		defer func() { err = errors.Join(err, lock.Unlock()) }()
		gone, err := gcImageLayers(waiting, i.repo, &PruneOptions{KeepCommits: keep, Logger: i.opts.Logger})
		return len(gone.layers), err
	}()
	if err != nil {
		i.opts.Logger.Warn("unused layers were not collected", "repository", i.repo.Path(), "error", err)
		return
	}
	i.opts.Logger.Debug("collected layers", "count", n)
	done()
}

// dropReplaced deletes the commits of layers without the labels that they have now, and the objects that nothing else needs. The caller
// has no lock of the repository: others that import, in this process too, may build on these objects, and are waited for. If that takes
// too long they stay for the next prune.
func (i *Importer) dropReplaced(ctx context.Context) {
	if len(i.relabelledLayers) == 0 { // a commit that was written to read the policy is not worth the effort
		return
	}
	waiting, cancel := context.WithTimeout(ctx, collectWait)
	defer cancel()
	var stats ostree.PruneStats
	err := exclusively(waiting, i.repo, func(own *ostree.Repo) error {
		refs, err := allRefs(ctx, own)
		if err != nil {
			return err
		}
		needed := append(slices.Collect(maps.Values(refs)), i.opts.KeepCommits...)
		gone := slices.DeleteFunc(slices.Clone(i.replaced), func(c string) bool { return slices.Contains(needed, c) })
		stats, err = sweep.Drop(ctx, own, gone)
		return err
	})
	if err != nil {
		i.opts.Logger.Warn("objects without labels, which are not needed any more, were not deleted; prune does it", "repository", i.repo.Path(), "error", err)
		return
	}
	i.opts.Logger.Debug("deleted objects without labels", "count", stats.Pruned, "bytes", stats.Size)
}
