package container

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path"
	"runtime"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/ostree-container/ostree-container/container/internal/ocidir"
	"github.com/ostree-container/ostree-container/ostree"
)

// keptDir is where a repository has blobs as they were fetched: an OCI layout without an index. libostree leaves extensions/ to others,
// each below a name of its own.
const keptDir = "extensions/ostree-container/kept"

// openKept opens the blobs that a repository keeps, nil if it has none. Who reads or writes them holds the shared lock of the repository,
// who removes some the exclusive one.
func openKept(repo *ostree.Repo) (_ *ocidir.Dir, err error) {
	parent, err := keptParent(repo, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, keptError(repo, err)
	}
	defer func() { err = errors.Join(err, parent.Close()) }()
	dir, err := ocidir.Open(path.Base(keptDir), keptOptions(parent))
	if errors.Is(err, ocidir.ErrNotLayout) { // but for what its marker says, which a crash may have lost
		dir, err = ocidir.Create(path.Base(keptDir), keptOptions(parent))
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, keptError(repo, err)
	}
	// One with an index is somebody's image: a prune would empty it.
	if has, err := dir.HasIndex(); has || err != nil {
		if err == nil {
			err = fmt.Errorf("%w: it has an %s", ocidir.ErrNotLayout, ocispec.ImageIndexFile)
		}
		return nil, keptError(repo, errors.Join(err, dir.Close()))
	}
	return dir, nil
}

// keptParent opens the directory that keptDir is in, and makes it with mode if that is not 0. A link on the way is not followed: it may lead out
// of the repository, and blobs are written and removed below.
func keptParent(repo *ostree.Repo, mode uint32) (*os.File, error) {
	dir := path.Dir(keptDir)
	fd, err := ocidir.OpenBelow(repo.FD(), dir, unix.O_NOFOLLOW, mode, "")
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), dir), nil
}

// readKept is openKept for who can do without them: who may read the repository and not these, or cannot tell what they are, has none, and
// is told.
func readKept(repo *ostree.Repo, logger *slog.Logger) (*ocidir.Dir, error) {
	dir, err := openKept(repo)
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.EROFS) || errors.Is(err, ocidir.ErrNotLayout) {
		orSilent(logger).Warn("kept blobs may not be read, and are not used", "repository", repo.Path(), "error", err)
		return nil, nil
	}
	return dir, err
}

// damagedKept is returned for an image of whose kept blobs one is lost, damaged or cannot be read.
type damagedKept struct {
	blob digest.Digest
	err  error
}

// Error implements error.
func (d *damagedKept) Error() string {
	return fmt.Sprintf("kept blob %s: %v (to repair it pull the image again with --keep-blobs)", d.blob, d.err)
}

// Unwrap implements the interface of package errors.
func (d *damagedKept) Unwrap() error { return d.err }

var errLost = errors.New("it is missing or has another size")

func keptOptions(parent *os.File) *ocidir.Options {
	return &ocidir.Options{Private: true, Durable: true, Below: parent}
}

// createKept is openKept, and makes the directory if it is missing.
func createKept(repo *ostree.Repo) (_ *ocidir.Dir, err error) {
	parent, err := keptParent(repo, 0o700)
	if err != nil {
		return nil, keptError(repo, err)
	}
	defer func() { err = errors.Join(err, parent.Close()) }()
	dir, err := ocidir.Create(path.Base(keptDir), keptOptions(parent))
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

// encrypted reports whether a layer is.
func encrypted(m *ocispec.Manifest) bool {
	return slices.ContainsFunc(m.Layers, func(l ocispec.Descriptor) bool { return strings.HasSuffix(l.MediaType, "+encrypted") })
}

// loadKept returns the image with a manifest of this digest, nil if that is not kept. It returns *damagedKept if not all of it is there
// with its size, or if the manifest is damaged; layers and config are not read.
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
			return nil, &damagedKept{desc.Digest, errLost}
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
		return nil, &damagedKept{manifest, err}
	}
	k := &keptImage{dir: dir, raw: raw}
	if err := json.Unmarshal(raw, &k.parsed); err != nil {
		return nil, &damagedKept{manifest, fmt.Errorf("%w: %w", ocidir.ErrDamaged, err)}
	}
	k.manifest = ocispec.Descriptor{MediaType: k.parsed.MediaType, Digest: manifest, Size: int64(len(raw))}
	if k.manifest.MediaType == "" {
		k.manifest.MediaType = ocispec.MediaTypeImageManifest
	}
	return k, nil
}

// keeps reports whether the repository has what KeepBlobs asks for, of a stored image. All of it is read: who asks for it again gets what
// is damaged repaired.
func (i *Importer) keeps(ctx context.Context, state *LayeredImageState) (_ bool, err error) {
	if !i.opts.KeepBlobs {
		return true, nil
	}
	dir, err := openKept(i.repo)
	if dir == nil || err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	k, err := loadKept(dir, state.ManifestDigest)
	if k != nil {
		err = i.checkKept(ctx, dir, k.blobs())
	}
	if ctx.Err() != nil {
		return false, context.Cause(ctx)
	}
	if err != nil {
		i.opts.Logger.Warn("kept blobs of the image are fetched again", "image", i.target.String(), "error", err)
	}
	return k != nil && err == nil, nil
}

// checkKept reads kept blobs, several at once. A blob is read once for each Prepare.
func (i *Importer) checkKept(ctx context.Context, dir *ocidir.Dir, blobs []ocispec.Descriptor) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for _, desc := range blobs {
		if dir.Has(desc) && i.isIntact(desc.Digest) {
			continue
		}
		g.Go(func() error {
			if err := dir.Check(ctx, desc); err != nil {
				return &damagedKept{desc.Digest, err}
			}
			i.intact.Store(desc.Digest, true)
			return nil
		})
	}
	return g.Wait()
}

func (i *Importer) isIntact(id digest.Digest) bool {
	_, ok := i.intact.Load(id)
	return ok
}

// forgetUnkept has layers fetched whose blobs are to be kept and are not: with the commits that are there nobody can tell the bytes.
func (i *Importer) forgetUnkept(ctx context.Context, layers []LayerState) (err error) {
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
		l := &layers[n]
		if l.Commit == "" {
			continue
		}
		if dir != nil {
			err := i.checkKept(ctx, dir, []ocispec.Descriptor{l.Descriptor})
			switch {
			case err == nil:
				continue
			case ctx.Err() != nil:
				return context.Cause(ctx)
			case !errors.Is(err, fs.ErrNotExist):
				i.opts.Logger.Warn("kept blob is fetched again", "image", i.target.String(), "error", err)
			}
		}
		l.Commit, l.blobOnly = "", true
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
	if errors.Is(err, errLost) || err == nil && k == nil {
		err = fmt.Errorf("%w: the manifest names other blobs than those that were fetched", ErrLayout)
	}
	if err != nil {
		return keptError(i.repo, err)
	}
	return context.Cause(ctx)
}

// copyKept takes over what src keeps of an image. Where that is damaged the image comes without it.
func copyKept(ctx context.Context, src, dst *ostree.Repo, manifest digest.Digest, opts *CopyOptions) (err error) {
	from, err := readKept(src, opts.Logger)
	if from == nil || err != nil {
		return err
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	err = func() error {
		k, err := loadKept(from, manifest)
		if k == nil || err != nil {
			return err
		}
		return k.copyTo(ctx, dst, opts.Verify)
	}()
	var damaged *damagedKept
	if errors.As(err, &damaged) {
		orSilent(opts.Logger).Warn("the image is copied without its kept blobs", "repository", src.Path(), "error", damaged)
		return nil
	}
	return err
}

// copyTo gives the image to another repository, the manifest last.
func (k *keptImage) copyTo(ctx context.Context, dst *ostree.Repo, verify bool) (err error) {
	to, err := createKept(dst)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, to.Close()) }()
	for _, desc := range append(k.blobs(), k.manifest) {
		linked := false
		if !verify {
			if linked, err = to.LinkBlob(ctx, k.dir, desc); err != nil {
				return keptError(dst, noSpace(err))
			}
		}
		if linked {
			continue
		}
		if err := writeKept(ctx, k.dir, to, desc); err != nil {
			return err
		}
	}
	return nil
}

// writeKept copies a kept blob to a layout and compares it with its digest. It returns *damagedKept if it cannot be read or is another.
func writeKept(ctx context.Context, from, to *ocidir.Dir, desc ocispec.Descriptor) (err error) {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	f, err := from.Open(desc.Digest)
	if err != nil {
		return &damagedKept{desc.Digest, err}
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	source := &errorKeeper{r: f}
	_, err = to.WriteBlob(ctx, desc, source)
	switch {
	case err == nil:
		return nil
	case source.err != nil || errors.Is(err, ocidir.ErrDamaged):
		return &damagedKept{desc.Digest, err}
	}
	return fmt.Errorf("write blob %s: %w", desc.Digest, noSpace(err))
}

// errorKeeper keeps the error of a reader, which tells it from those of the writer.
type errorKeeper struct {
	r   io.Reader
	err error
}

// Read implements io.Reader.
func (e *errorKeeper) Read(p []byte) (int, error) {
	n, err := e.r.Read(p)
	if err != nil && err != io.EOF { //nolint:errorlint // only the plain one is an end
		e.err = err
	}
	return n, err
}
