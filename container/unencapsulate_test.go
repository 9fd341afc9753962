package container_test

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/container"
	"github.com/ostree-container/ostree-container/container/internal/oracle"
	ti "github.com/ostree-container/ostree-container/container/internal/testimage"
	"github.com/ostree-container/ostree-container/ostree"
)

// unencapsulated takes the commit out of an image, into a repository of the mode that this user can have, and has it checked.
func unencapsulated(t testing.TB, image string) string {
	t.Helper()
	repo, dir := newRepo(t, modeHere())
	imp, err := container.NewImporter(repo, unverified(t, "oci:"+image), &container.ImporterOptions{Registry: quickly(t)})
	require.NoError(t, err)
	defer func() { assert.NoError(t, imp.Close()) }()
	u, err := imp.Unencapsulate(t.Context(), "os")
	require.NoError(t, err)
	oracle.Fsck(t, dir)
	assert.Equal(t, map[string]string{"os": u.Commit}, refs(t, repo), "no refs of layers")
	return u.Commit
}

// chunkedImage encapsulates a sample commit into an oci: directory, under a tag like ":base" or none.
func chunkedImage(t *testing.T, tag string) (path, commit string) {
	t.Helper()
	repo, commit := commitTar(t, exportMembers())
	path = filepath.Join(t.TempDir(), "out")
	_, err := container.Encapsulate(t.Context(), repo, commit, ociRef(t, path+tag), &container.EncapsulateOptions{ContentMeta: contentMetaOf(t, repo, commit)})
	require.NoError(t, err)
	return path, commit
}

func TestB10_UnencapsulateWhatIsThere(t *testing.T) {
	t.Parallel()
	path, commit := chunkedImage(t, "")
	into, dir := newRepo(t, modeHere())
	mustPull(t, into, "oci:"+path, container.ImporterOptions{})
	imp, err := container.NewImporter(into, unverified(t, "oci:"+path), nil)
	require.NoError(t, err)
	defer func() { assert.NoError(t, imp.Close()) }()
	u, err := imp.Unencapsulate(t.Context(), "branch")
	require.NoError(t, err)
	assert.Equal(t, commit, u.Commit)
	assert.Equal(t, commit, refs(t, into)["branch"])
	oracle.Fsck(t, dir)
}

// What is there may have 2N diff_ids (B43), and its ref is set while nobody prunes.
func TestUnencapsulateWhatIsThereWithDoubledDiffIDs(t *testing.T) {
	t.Parallel()
	path, commit := chunkedImage(t, ":base")
	base, err := ti.LoadBase(path, "base")
	require.NoError(t, err)
	var ids []digest.Digest
	for n := range base.Config.RootFS.DiffIDs {
		ids = append(ids, digest.FromString(fmt.Sprint("wrong", n)))
	}
	w := ti.Image{Base: base, DiffIDs: append(ids, base.Config.RootFS.DiffIDs...)}.Write(t, t.TempDir(), "v1")
	_, dir := newRepo(t, modeHere())
	ti.Run(t, "ostree", "--repo="+dir, "config", "set", "core.lock-timeout-secs", "0")
	var into, other *ostree.Repo
	for _, r := range []**ostree.Repo{&into, &other} {
		*r, err = ostree.OpenRepo(t.Context(), dir)
		require.NoError(t, err)
		defer (*r).Close()
	}
	mustPull(t, into, w.Ref, container.ImporterOptions{})
	imp, err := container.NewImporter(into, unverified(t, w.Ref), nil)
	require.NoError(t, err)
	defer func() { assert.NoError(t, imp.Close()) }()
	lock, err := other.Lock(t.Context(), ostree.LockExclusive)
	require.NoError(t, err)
	_, err = imp.Unencapsulate(t.Context(), "branch")
	require.ErrorIs(t, err, ostree.ErrWouldBlock)
	assert.NotContains(t, refs(t, into), "branch")
	require.NoError(t, lock.Unlock())
	u, err := imp.Unencapsulate(t.Context(), "branch")
	require.NoError(t, err)
	assert.Equal(t, commit, u.Commit)
	assert.Equal(t, commit, refs(t, into)["branch"])
}

// The refs of layers belong to images: taking a commit out of an image neither sets nor removes one.
func TestUnencapsulateLeavesRefsOfLayers(t *testing.T) {
	t.Parallel()
	path, commit := chunkedImage(t, "")
	plain := ti.Image{Layers: []ti.Layer{goodLayer("other")}}.Write(t, t.TempDir(), "v1")
	into, _ := newRepo(t, modeHere())
	other := mustPull(t, into, plain.Ref, container.ImporterOptions{})
	before := refs(t, into)
	manifest, _ := loadImage(t, path)
	for _, l := range manifest.Layers[1:] { // as if another image had the blob as a layer of another kind
		name := "ostree/container/blob/sha256_3A_" + l.Digest.Encoded()
		require.NoError(t, into.SetRefImmediate(t.Context(), "", name, other.BaseCommit))
		before[name] = other.BaseCommit
	}
	imp, err := container.NewImporter(into, unverified(t, "oci:"+path), nil)
	require.NoError(t, err)
	defer func() { assert.NoError(t, imp.Close()) }()
	u, err := imp.Unencapsulate(t.Context(), "branch")
	require.NoError(t, err)
	assert.Equal(t, commit, u.Commit)
	before["branch"] = commit
	assert.Equal(t, before, refs(t, into))
}

func TestUnencapsulateRefusesOtherLayers(t *testing.T) {
	t.Parallel()
	plain := ti.Image{Layers: []ti.Layer{{Members: []ti.Member{ti.Dir("usr", 0o755)}}}}.Write(t, t.TempDir(), "v1")
	repo, commit := commitTar(t, exportMembers())
	path := filepath.Join(t.TempDir(), "out")
	_, err := container.Encapsulate(t.Context(), repo, commit, ociRef(t, path+":base"), nil)
	require.NoError(t, err)
	base, err := ti.LoadBase(path, "base")
	require.NoError(t, err)
	derived := ti.Image{Base: base, Layers: []ti.Layer{{Members: []ti.Member{ti.File("x", 0o644, "")}}, {Members: []ti.Member{ti.File("y", 0o644, "")}}}}.Write(t, t.TempDir(), "v1")
	for _, bad := range []struct{ ref, want string }{
		{plain.Ref, plain.Ref + ": No ostree.final-diffid label found, not an ostree encapsulated container"},
		{derived.Ref, derived.Ref + ": Image has 2 non-ostree layers"},
	} {
		into, dir := newRepo(t, modeHere())
		for n := range 2 { // the second time it is in the repository
			imp, err := container.NewImporter(into, unverified(t, bad.ref), nil)
			require.NoError(t, err)
			_, err = imp.Unencapsulate(t.Context(), "branch")
			require.ErrorIs(t, err, container.ErrNotEncapsulated)
			require.ErrorContains(t, err, bad.want)
			require.NoError(t, imp.Close())
			assert.NotContains(t, refs(t, into), "branch")
			if n == 0 {
				mustPull(t, into, bad.ref, container.ImporterOptions{})
			}
		}
		oracle.Fsck(t, dir)
	}
	imp, err := container.NewImporter(repo, unverified(t, plain.Ref), nil)
	require.NoError(t, err)
	_, err = imp.Unencapsulate(t.Context(), "not a ref..")
	require.Error(t, err)
}
