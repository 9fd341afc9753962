package ostree_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/ostree"
)

// Two repositories of a collection, one of them behind, and a third that knows its key.
func TestFinders(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	g := newGPG(t)
	newest := newCollection(t, ostree.ModeArchive, "org.example.Os")
	older := newCollection(t, ostree.ModeArchive, "org.example.Os")
	commit := func(when, content string) string {
		return strings.TrimSpace(judge(t, "commit", "--repo", newest.Path(), "-b", "main", "--timestamp="+when,
			"--gpg-sign="+g.fingerprint, "--gpg-homedir="+g.home, writeTree(t, map[string]string{"f": content})))
	}
	first := commit("2024-01-01 00:00:00 +0000", "1")
	require.NoError(t, older.PullLocal(ctx, newest.Path(), []string{"main"}, nil))
	second := commit("2024-02-01 00:00:00 +0000", "2")
	for _, r := range []*ostree.Repo{newest, older} {
		require.NoError(t, r.RegenerateSummary(ctx, nil))
	}
	dst := newRepo(t, ostree.ModeArchive)
	conf, err := ostree.NewVariantDict().SetString("collection-id", "org.example.Os").Build()
	require.NoError(t, err)
	url := serve(t, older, nil)
	require.NoError(t, dst.RemoteAdd(ctx, "origin", url, conf))
	_, err = dst.RemoteGPGImport(ctx, "origin", g.key, nil)
	require.NoError(t, err)

	ref := ostree.CollectionRef{CollectionID: "org.example.Os", Ref: "main"}
	refs := []ostree.CollectionRef{ref}
	config, override := ostree.ConfigFinder(), ostree.OverrideFinder("file://"+newest.Path())
	one, err := dst.ResolveFinders(ctx, refs, config)
	require.NoError(t, err)
	require.Len(t, one, 1)
	assert.Equal(t, ostree.Remote{Name: "origin", URL: url}, one[0].Remote)
	assert.Equal(t, map[ostree.CollectionRef]string{ref: first}, one[0].Refs)
	assert.Nil(t, one[0].Timestamps)
	both, err := dst.ResolveFinders(ctx, refs, config, override)
	require.NoError(t, err)
	require.Len(t, both, 2)
	assert.Equal(t, "file://"+newest.Path(), both[0].Remote.URL, "what was named comes first")
	assert.Negative(t, both[0].Compare(both[1]))
	assert.Positive(t, both[1].Compare(both[0]))
	found, err := dst.ResolveFinders(ctx, refs, ostree.MountFinder())
	require.NoError(t, err)
	assert.Empty(t, found)
	found, err = dst.ResolveFinders(ctx, []ostree.CollectionRef{{CollectionID: "org.example.None", Ref: "main"}}, config, override)
	require.NoError(t, err)
	assert.Empty(t, found)

	found, err = dst.FindRemotes(ctx, refs, &ostree.FindOptions{Finders: []ostree.Finder{config, override}, Progress: func(ostree.PullProgress) {}})
	require.NoError(t, err)
	require.Len(t, found, 1, "the other has no newest commit")
	assert.Equal(t, map[ostree.CollectionRef]string{ref: second}, found[0].Refs)
	assert.Equal(t, "2024-02-01T00:00:00Z", found[0].Timestamps[ref].Format("2006-01-02T15:04:05Z07:00"))
	require.NoError(t, dst.PullFromRemotes(ctx, found, nil))
	got, err := dst.ResolveCollectionRef(ctx, ref)
	require.NoError(t, err)
	assert.Equal(t, second, got)
	fsck(t, dst)

	retries := uint32(0)
	found, err = dst.FindRemotes(ctx, refs, &ostree.FindOptions{Finders: []ostree.Finder{config}, OverrideCommitIDs: []string{first}, NetworkRetries: &retries})
	require.NoError(t, err)
	require.Len(t, found, 1)
	assert.Equal(t, map[ostree.CollectionRef]string{ref: first}, found[0].Refs)

	// By default: what is configured, and what is mounted.
	byDefault, err := dst.FindRemotes(ctx, refs, nil)
	require.NoError(t, err)
	require.Len(t, byDefault, 1)
	assert.Equal(t, url, byDefault[0].Remote.URL)

	tx, err := dst.Begin(ctx)
	require.NoError(t, err)
	require.ErrorIs(t, dst.PullFromRemotes(ctx, found, nil), ostree.ErrTransactionActive)
	require.NoError(t, tx.Abort())
	require.ErrorIs(t, dst.PullFromRemotes(ctx, nil, nil), ostree.ErrInvalidArgument)
	require.ErrorIs(t, dst.PullFromRemotes(ctx, []ostree.FinderResult{{}}, nil), ostree.ErrInvalidArgument)
	_, err = dst.ResolveFinders(ctx, refs)
	require.ErrorIs(t, err, ostree.ErrInvalidArgument)
	_, err = dst.ResolveFinders(ctx, nil, config)
	require.ErrorIs(t, err, ostree.ErrInvalidArgument)
	_, err = dst.FindRemotes(ctx, []ostree.CollectionRef{{Ref: "main"}}, nil)
	require.ErrorIs(t, err, ostree.ErrInvalidArgument)
	_, err = dst.FindRemotes(ctx, refs, &ostree.FindOptions{OverrideCommitIDs: []string{first, second}})
	require.ErrorIs(t, err, ostree.ErrInvalidArgument)
	ctx, cancel := newCause(t)
	cancel(nil)
	_, err = dst.FindRemotes(ctx, refs, nil)
	require.Error(t, err)
}

// A repository whose commits the key did not sign is not pulled from.
func TestFindRemotesUnsigned(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	g := newGPG(t)
	src, dst := newCollection(t, ostree.ModeArchive, "org.example.Os"), newRepo(t, ostree.ModeArchive)
	judge(t, "commit", "--repo", src.Path(), "-b", "main", writeTree(t, sample))
	require.NoError(t, src.RegenerateSummary(ctx, nil))
	conf, err := ostree.NewVariantDict().SetString("collection-id", "org.example.Os").Build()
	require.NoError(t, err)
	require.NoError(t, dst.RemoteAdd(ctx, "origin", "file://"+src.Path(), conf))
	_, err = dst.RemoteGPGImport(ctx, "origin", g.key, nil)
	require.NoError(t, err)
	refs := []ostree.CollectionRef{{CollectionID: "org.example.Os", Ref: "main"}}
	claimed, err := dst.ResolveFinders(ctx, refs, ostree.ConfigFinder())
	require.NoError(t, err)
	require.Len(t, claimed, 1)
	require.Error(t, dst.PullFromRemotes(ctx, claimed, nil))
	_, err = dst.ResolveCollectionRef(ctx, refs[0])
	require.ErrorIs(t, err, ostree.ErrNotFound)
	found, err := dst.FindRemotes(ctx, refs, nil)
	require.NoError(t, err)
	require.Len(t, found, 1)
	require.Error(t, dst.PullFromRemotes(ctx, found, nil))
	fsck(t, dst)
}

func TestLANFinder(t *testing.T) {
	t.Parallel()
	r := newRepo(t, ostree.ModeArchive)
	_, err := r.ResolveFinders(t.Context(), []ostree.CollectionRef{{CollectionID: "org.example.Os", Ref: "main"}}, ostree.LANFinder())
	if err != nil && !errors.Is(err, ostree.ErrNotFound) && !errors.Is(err, ostree.ErrUnsupported) {
		assert.ErrorContains(t, err, "Failed to create finder client") // no D-Bus
	}
}
