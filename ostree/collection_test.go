package ostree_test

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/ostree"
)

// newCollection makes a repository of a collection.
func newCollection(t testing.TB, mode ostree.Mode, id string) *ostree.Repo {
	t.Helper()
	r, err := ostree.CreateRepoAt(t.Context(), ostree.AtCWD, filepath.Join(t.TempDir(), "repo"), mode, &ostree.CreateRepoOptions{CollectionID: id})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.Close()) })
	return r
}

func TestCollectionRefs(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	r := newCollection(t, ostree.ModeArchive, "org.example.Os")
	assert.Equal(t, "org.example.Os", r.CollectionID())
	c := judgeCommit(t, r.Path(), "main", writeTree(t, sample))
	own := ostree.CollectionRef{CollectionID: "org.example.Os", Ref: "main"}
	mirrored := ostree.CollectionRef{CollectionID: "org.example.Other", Ref: "os/stable"}
	second := ostree.CollectionRef{CollectionID: "org.example.Other", Ref: "os/next"}
	require.NoError(t, r.SetCollectionRefImmediate(ctx, mirrored, c))
	tx, err := r.Begin(ctx)
	require.NoError(t, err)
	defer tx.Abort()
	require.NoError(t, tx.SetCollectionRef(second, c))
	require.NoError(t, tx.SetCollectionRef(ostree.CollectionRef{CollectionID: "org.example.Os", Ref: "local"}, c))
	require.NoError(t, tx.SetRefspec("origin:there", c))
	require.ErrorIs(t, tx.SetRefspec("origin:there", "x"), ostree.ErrInvalidArgument)
	require.Error(t, tx.SetRefspec("bad/remote:there", c))
	require.Error(t, tx.SetCollectionRef(ostree.CollectionRef{CollectionID: "x", Ref: "main"}, c), "no dot in the ID")
	_, err = tx.Commit(ctx)
	require.NoError(t, err)
	require.ErrorIs(t, tx.SetCollectionRef(second, c), ostree.ErrNoTransaction)

	refs, err := r.ListCollectionRefs(ctx, "", ostree.ListRefsAll)
	require.NoError(t, err)
	assert.Equal(t, map[ostree.CollectionRef]string{own: c, mirrored: c, second: c, {CollectionID: "org.example.Os", Ref: "local"}: c}, refs)
	refs, err = r.ListCollectionRefs(ctx, "org.example.Other", ostree.ListRefsAll)
	require.NoError(t, err)
	assert.Equal(t, map[ostree.CollectionRef]string{mirrored: c, second: c}, refs)
	refs, err = r.ListCollectionRefs(ctx, "", ostree.ListRefsExcludeMirrors|ostree.ListRefsExcludeRemotes)
	require.NoError(t, err)
	assert.Len(t, refs, 2)
	assert.Contains(t, judge(t, "refs", "-c", "--repo", r.Path()), "(org.example.Other, os/stable)")
	assert.Equal(t, c+"\n", judge(t, "rev-parse", "origin:there", "--repo", r.Path()))

	for _, ref := range []ostree.CollectionRef{own, mirrored} {
		got, err := r.ResolveCollectionRef(ctx, ref)
		require.NoError(t, err)
		assert.Equal(t, c, got)
	}
	got, err := r.ResolveCollectionRefLocal(ctx, own)
	require.NoError(t, err)
	assert.Equal(t, c, got)
	_, err = r.ResolveCollectionRefLocal(ctx, mirrored)
	require.ErrorIs(t, err, ostree.ErrNotFound)
	none := ostree.CollectionRef{CollectionID: "org.example.Os", Ref: "none"}
	_, err = r.ResolveCollectionRef(ctx, none)
	require.ErrorIs(t, err, ostree.ErrNotFound)
	_, err = r.ResolveCollectionRef(ctx, ostree.CollectionRef{Ref: "main"})
	require.ErrorIs(t, err, ostree.ErrInvalidArgument)
	require.NoError(t, r.SetCollectionRefImmediate(ctx, mirrored, ""))
	_, err = r.ResolveCollectionRef(ctx, mirrored)
	require.ErrorIs(t, err, ostree.ErrNotFound)
	require.ErrorIs(t, r.SetCollectionRefImmediate(ctx, own, "x"), ostree.ErrInvalidArgument)
	_, err = r.ListCollectionRefs(ctx, "", 1)
	require.ErrorIs(t, err, ostree.ErrInvalidArgument)
	_, err = r.ListCollectionRefs(ctx, "nodot", 0)
	require.Error(t, err)

	assert.Equal(t, "(org.example.Os, main)", own.String())
	assert.Negative(t, own.Compare(mirrored))
	assert.Positive(t, mirrored.Compare(second))
	assert.Zero(t, own.Compare(own))
}

func TestSetCollectionID(t *testing.T) {
	t.Parallel()
	r := newRepo(t, ostree.ModeArchive)
	require.NoError(t, r.SetCollectionID(""))
	require.NoError(t, r.SetCollectionID("org.example.New"))
	require.Error(t, r.SetCollectionID("nodot"))
	assert.Equal(t, "org.example.New", r.CollectionID())
	conf, err := r.Config()
	require.NoError(t, err)
	require.NoError(t, r.WriteConfig(conf))
	assert.Equal(t, "org.example.New\n", judge(t, "config", "get", "core.collection-id", "--repo", r.Path()))
	require.NoError(t, r.SetCollectionID(""))
	assert.Empty(t, r.CollectionID())
	_, err = ostree.CreateRepoAt(t.Context(), ostree.AtCWD, filepath.Join(t.TempDir(), "r"), ostree.ModeArchive, &ostree.CreateRepoOptions{CollectionID: "nodot"})
	require.Error(t, err)
}

func TestResolveKeyringForCollection(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	r := newRepo(t, ostree.ModeArchive)
	opts, err := ostree.NewVariantDict().SetString("collection-id", "org.example.Os").Build()
	require.NoError(t, err)
	require.NoError(t, r.RemoteAdd(ctx, "origin", "https://example.com/repo", opts))
	remote, err := r.ResolveKeyringForCollection(ctx, "org.example.Os")
	require.NoError(t, err)
	assert.Equal(t, ostree.Remote{Name: "origin", URL: "https://example.com/repo"}, remote)
	_, err = r.ResolveKeyringForCollection(ctx, "org.example.None")
	require.ErrorIs(t, err, ostree.ErrNotFound)
	_, err = r.ResolveKeyringForCollection(ctx, "")
	require.Error(t, err)
}
