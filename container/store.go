package container

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ostree-container/ostree-container/container/imageref"
	"github.com/ostree-container/ostree-container/ostree"
)

// Metadata keys of commits; see the package documentation.
const (
	metaManifestDigest = "ostree.manifest-digest"
	metaManifest       = "ostree.manifest"
	metaConfig         = "ostree.container.image-config"
	metaImporter       = "ostree.importer.version"
	metaFiltered       = "ostree.tar-filtered"
	metaDiffID         = "ostree-container.diff-id"
	metaLabelledBy     = "ostree-container.labelled-by"
)

// Keys of a cached update, in the detached metadata of a merge commit.
const (
	cachedManifestDigest = "ostree-ext.cached.manifest-digest"
	cachedManifest       = "ostree-ext.cached.manifest"
	cachedConfig         = "ostree-ext.cached.config"
)

// LayeredImageState is an image in a repository.
type LayeredImageState struct {
	BaseCommit     string        // commit of the first layer, 64 hex digits
	MergeCommit    string        // commit over all layers, 64 hex digits
	ManifestDigest digest.Digest // of the manifest's original bytes
	Manifest       *ocispec.Manifest
	Config         *ocispec.Image
	CachedUpdate   *CachedUpdate // nil: none is known
	// Filtered is what could not be stored, by layer digest and then by path; set by Import for the layers that it fetched.
	Filtered map[string]map[string]uint32
	// VerifyText says what was verified through an ostree remote; set by Import.
	VerifyText string
}

// Version returns the image's version label, "" if there is none.
func (s *LayeredImageState) Version() string { return versionOf(s.Config) }

// CachedUpdate is an update that was seen at the image's source and not imported.
type CachedUpdate struct {
	ManifestDigest digest.Digest
	Manifest       *ocispec.Manifest
	Config         *ocispec.Image
}

// Version returns the update's version label, "" if there is none.
func (u *CachedUpdate) Version() string { return versionOf(u.Config) }

func versionOf(config *ocispec.Image) string {
	if config == nil {
		return ""
	}
	if v := config.Config.Labels[ocispec.AnnotationVersion]; v != "" {
		return v
	}
	return config.Config.Labels["version"]
}

// ListImages returns the canonical references of all images of a repository, sorted. A ref that does not unescape is an error.
func ListImages(ctx context.Context, repo *ostree.Repo) ([]string, error) {
	refs, err := listImageRefs(ctx, repo)
	if err != nil {
		return nil, err
	}
	images := make([]string, 0, len(refs))
	for ref := range refs {
		text, err := imageref.UnescapeRef(imagePrefix, ref)
		if err != nil {
			return nil, fmt.Errorf("ref %s: %w", ref, err)
		}
		images = append(images, text)
	}
	slices.Sort(images)
	return images, nil
}

func listImageRefs(ctx context.Context, repo *ostree.Repo) (map[string]string, error) {
	return listRefs(ctx, repo, imagePrefix)
}

// listAttempts is how often refs are listed again. libostree reads a directory and then each file in it; another process that removes one
// in between makes it fail.
const listAttempts = 20

// listRefs returns the refs below a prefix, by full name. libostree matches the prefix itself too, which is not one of them.
func listRefs(ctx context.Context, repo *ostree.Repo, prefix string) (map[string]string, error) {
	refs, err := refsUnder(ctx, repo, prefix)
	if err != nil {
		return nil, err
	}
	for name := range refs {
		if !under(prefix, name) || isTemporary(name) {
			delete(refs, name)
		}
	}
	return refs, nil
}

// allRefs returns every ref, and what may be none (see isTemporary): for those who delete what no ref needs.
func allRefs(ctx context.Context, repo *ostree.Repo) (map[string]string, error) {
	return refsUnder(ctx, repo, "")
}

func refsUnder(ctx context.Context, repo *ostree.Repo, prefix string) (refs map[string]string, err error) {
	for range listAttempts {
		if refs, err = repo.ListRefs(ctx, prefix); !errors.Is(err, ostree.ErrNotFound) {
			break
		}
	}
	if err != nil {
		return nil, fmt.Errorf("list refs %s: %w", prefix, err)
	}
	return refs, nil
}

// isTemporary reports whether a name is that of a file which libostree writes before it renames it to a ref: tmp.XXXXXX. It is listed with
// the refs while another process sets one, and for ever if that was killed. No ref of ours has a dot.
func isTemporary(name string) bool {
	last := name[strings.LastIndexByte(name, '/')+1:]
	suffix, ok := strings.CutPrefix(last, "tmp.")
	return ok && len(suffix) == 6 && !strings.ContainsFunc(suffix, func(c rune) bool {
		return !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9')
	})
}

// QueryImage returns what the repository has of an image. ErrNoSuchImage is returned if there is nothing.
func QueryImage(ctx context.Context, repo *ostree.Repo, ref imageref.ImageReference) (*LayeredImageState, error) {
	name, err := imageRef(ref)
	if err != nil {
		return nil, err
	}
	commit, err := repo.ResolveRev(ctx, name)
	if errors.Is(err, ostree.ErrNotFound) {
		return nil, fmt.Errorf("%w: %s", ErrNoSuchImage, ref)
	} else if err != nil {
		return nil, fmt.Errorf("image %s: %w", ref, err)
	}
	state, err := QueryImageCommit(ctx, repo, commit)
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", ref, err)
	}
	return state, nil
}

// QueryImageCommit returns the image whose merge commit is given (64 hex digits).
func QueryImageCommit(ctx context.Context, repo *ostree.Repo, checksum string) (*LayeredImageState, error) {
	s, err := stateOf(ctx, repo, checksum)
	if err != nil {
		return nil, err
	}
	base, err := layerRef(s.Manifest.Layers[0].Digest)
	if err != nil {
		return nil, fmt.Errorf("merge commit %s: %w", checksum, err)
	}
	if s.BaseCommit, err = repo.ResolveRev(ctx, base); err != nil {
		return nil, fmt.Errorf("Missing base image ref %s: %w", base, err) //nolint:staticcheck // the reference's text
	}
	return s, nil
}

// QueryMergeCommit is QueryImageCommit of a commit whose layers may be gone, such as one that is deployed: BaseCommit is "".
func QueryMergeCommit(ctx context.Context, repo *ostree.Repo, checksum string) (*LayeredImageState, error) {
	return stateOf(ctx, repo, checksum)
}

// stateOf is QueryImageCommit without the commit of the base, which needs a ref. There is at least one layer.
func stateOf(ctx context.Context, repo *ostree.Repo, checksum string) (*LayeredImageState, error) {
	commit, _, err := repo.LoadCommit(ctx, checksum)
	if err != nil {
		return nil, fmt.Errorf("merge commit %s: %w", checksum, err)
	}
	s := &LayeredImageState{MergeCommit: checksum}
	if s.Manifest, s.ManifestDigest, err = manifestOf(commit); err != nil {
		return nil, err
	}
	if s.Config, err = configOf(commit); err != nil {
		return nil, err
	}
	if len(s.Manifest.Layers) == 0 {
		return nil, fmt.Errorf("merge commit %s: %w: No layers in manifest", checksum, ErrLayout)
	}
	if s.CachedUpdate, err = readCachedUpdate(ctx, repo, checksum); err != nil {
		return nil, fmt.Errorf("cached update of merge commit %s: %w", checksum, err)
	}
	return s, nil
}

func manifestOf(commit *ostree.Commit) (*ocispec.Manifest, digest.Digest, error) {
	text, ok, err := commit.MetadataString(metaManifestDigest)
	if err != nil || !ok {
		return nil, "", missingKey(commit, metaManifestDigest, err)
	}
	manifestDigest, err := digest.Parse(text)
	if err != nil {
		return nil, "", fmt.Errorf("commit %s: %s %q: %w", commit.Checksum, metaManifestDigest, text, err)
	}
	text, ok, err = commit.MetadataString(metaManifest)
	if err != nil || !ok {
		return nil, "", missingKey(commit, metaManifest, err)
	}
	manifest := &ocispec.Manifest{}
	if err := json.Unmarshal([]byte(text), manifest); err != nil {
		return nil, "", fmt.Errorf("commit %s: %s: %w", commit.Checksum, metaManifest, err)
	}
	return manifest, manifestDigest, nil
}

func missingKey(commit *ostree.Commit, key string, err error) error {
	if err != nil {
		return fmt.Errorf("commit %s: %w", commit.Checksum, err)
	}
	return fmt.Errorf("commit %s: Missing %s metadata on merge commit: %w", commit.Checksum, key, ErrUnreadableImage)
}

func configOf(commit *ostree.Commit) (*ocispec.Image, error) {
	text, ok, err := commit.MetadataString(metaConfig)
	if err != nil {
		return nil, fmt.Errorf("commit %s: %w", commit.Checksum, err)
	}
	config := &ocispec.Image{}
	if !ok || text == "null" { // old versions of the reference wrote that
		return config, nil
	}
	if err := json.Unmarshal([]byte(text), config); err != nil {
		return nil, fmt.Errorf("commit %s: %s: %w", commit.Checksum, metaConfig, err)
	}
	return config, nil
}

func readCachedUpdate(ctx context.Context, repo *ostree.Repo, checksum string) (*CachedUpdate, error) {
	detached, err := repo.ReadDetachedMetadata(ctx, checksum)
	if err != nil || detached == nil {
		return nil, err
	}
	text, ok, err := detached.LookupString(cachedManifestDigest)
	if err != nil || !ok {
		return nil, err
	}
	u := &CachedUpdate{Manifest: &ocispec.Manifest{}, Config: &ocispec.Image{}}
	if u.ManifestDigest, err = digest.Parse(text); err != nil {
		return nil, fmt.Errorf("%s: %w", cachedManifestDigest, err)
	}
	for key, into := range map[string]any{cachedManifest: u.Manifest, cachedConfig: u.Config} {
		text, ok, err := detached.LookupString(key)
		if err != nil {
			return nil, err
		}
		if !ok {
			return nil, fmt.Errorf("missing %s", key)
		}
		if err := json.Unmarshal([]byte(text), into); err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
	}
	return u, nil
}

// writeCachedUpdate notes an update in a merge commit's detached metadata, beside what else is there.
func writeCachedUpdate(ctx context.Context, repo *ostree.Repo, checksum string, u *CachedUpdate) error {
	manifest, err := canonicalJSON(u.Manifest)
	if err != nil {
		return err
	}
	config, err := configJSON(u.Config)
	if err != nil {
		return err
	}
	return editDetached(ctx, repo, checksum, func(d *ostree.VariantDict) {
		d.SetString(cachedManifestDigest, u.ManifestDigest.String()).SetString(cachedManifest, manifest).SetString(cachedConfig, config)
	})
}

// ClearCachedUpdate forgets an update noted for an image; other detached metadata stays. It reports whether there was one.
func ClearCachedUpdate(ctx context.Context, repo *ostree.Repo, ref imageref.ImageReference) (bool, error) {
	state, err := QueryImage(ctx, repo, ref)
	if err != nil || state.CachedUpdate == nil {
		return false, err
	}
	return true, editDetached(ctx, repo, state.MergeCommit, func(d *ostree.VariantDict) {
		d.Remove(cachedManifestDigest).Remove(cachedManifest).Remove(cachedConfig)
	})
}

func editDetached(ctx context.Context, repo *ostree.Repo, checksum string, edit func(*ostree.VariantDict)) error {
	return changingDetached(ctx, repo, func() error { return editLocked(ctx, repo, checksum, edit) })
}

func editLocked(ctx context.Context, repo *ostree.Repo, checksum string, edit func(*ostree.VariantDict)) error {
	old, err := repo.ReadDetachedMetadata(ctx, checksum)
	if err != nil {
		return err
	}
	dict := ostree.NewVariantDict()
	if old != nil {
		if dict, err = ostree.VariantDictOf(old); err != nil {
			return err
		}
	}
	edit(dict)
	v, err := dict.Build()
	if err != nil {
		return err
	}
	return repo.WriteDetachedMetadata(ctx, checksum, v)
}

// configJSON is how a config is stored: with a history, which older readers insist on.
func configJSON(config *ocispec.Image) (string, error) {
	text, err := canonicalJSON(config)
	if err != nil || len(config.History) > 0 {
		return text, err
	}
	var tree map[string]any
	if err := json.Unmarshal([]byte(text), &tree); err != nil {
		return "", err
	}
	tree["history"] = []any{}
	return canonicalJSON(tree)
}

// FilteredContentWarning returns the message about content that could not be stored, "" if all was.
func FilteredContentWarning(filtered map[string]map[string]uint32) string {
	total := map[string]uint32{}
	for _, byPath := range filtered {
		for path, n := range byPath {
			total[path] += n
		}
	}
	if len(total) == 0 {
		return ""
	}
	paths := make([]string, 0, len(total))
	for path := range total {
		paths = append(paths, path)
	}
	slices.Sort(paths)
	var b strings.Builder
	b.WriteString("Image contains non-ostree compatible file paths:")
	for _, path := range paths {
		fmt.Fprintf(&b, " %s: %d", strings.Map(printable, path), total[path])
	}
	return b.String()
}

// printable replaces what would move the cursor of a terminal, turn text around, or worse: names come from an image.
func printable(r rune) rune {
	if unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp) {
		return unicode.ReplacementChar
	}
	return r
}
