package ostree_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/ostree"
)

func TestStaticDeltas(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	src := newRepo(t, ostree.ModeArchive)
	big := strings.Repeat("0123456789abcdef", 4096)
	from := judgeCommit(t, src.Path(), "main", writeTree(t, map[string]string{"a": "1", "big": big}))
	to := judgeCommit(t, src.Path(), "main", writeTree(t, map[string]string{"a": "2", "big": big + "tail"}))
	none := uint32(0)
	require.NoError(t, src.GenerateStaticDelta(ctx, from, to, nil))
	require.NoError(t, src.GenerateStaticDelta(ctx, "", to, &ostree.DeltaOptions{LowLatency: true, MinFallback: &none, MaxChunkSize: 1, NoBSDiff: true}))
	step, full := ostree.DeltaName{From: from, To: to}, ostree.DeltaName{To: to}
	list, err := src.StaticDeltas(ctx)
	require.NoError(t, err)
	assert.ElementsMatch(t, []ostree.DeltaName{step, full}, list)
	assert.Contains(t, judge(t, "static-delta", "list", "--repo", src.Path()), from+"-"+to)
	for _, d := range list {
		got, err := ostree.ParseDeltaName(d.String())
		require.NoError(t, err)
		assert.Equal(t, d, got)
	}
	for _, s := range []string{"", "x", from + "-", "-" + to, from + "-" + to + "-"} {
		_, err := ostree.ParseDeltaName(s)
		require.ErrorIs(t, err, ostree.ErrInvalidArgument, s)
	}

	require.NoError(t, src.ReindexStaticDeltas(ctx, ""))
	require.NoError(t, src.ReindexStaticDeltas(ctx, to))
	indexes, err := src.StaticDeltaIndexes(ctx)
	require.NoError(t, err)
	assert.Equal(t, []string{to}, indexes)
	require.ErrorIs(t, src.ReindexStaticDeltas(ctx, "x"), ostree.ErrInvalidArgument)

	// A pull uses it, or must not.
	require.NoError(t, src.RegenerateSummary(ctx, nil))
	dst := newRepo(t, ostree.ModeBareUser)
	require.NoError(t, dst.RemoteAdd(ctx, "origin", serve(t, src, nil), unsigned(t)))
	var last ostree.PullProgress
	require.NoError(t, dst.Pull(ctx, "origin", []string{"main"}, &ostree.PullOptions{
		Deltas: ostree.DeltasRequire, DryRun: true, Progress: func(p ostree.PullProgress) { last = p },
	}))
	assert.Equal(t, uint(1), last.Delta.Superblocks)
	assert.NotZero(t, last.Delta.PartBytesTotal)
	_, err = dst.ResolveRev(ctx, "origin:main")
	require.ErrorIs(t, err, ostree.ErrNotFound)
	state := ostree.NewAsyncProgress()
	require.NoError(t, dst.Pull(ctx, "origin", []string{"main"}, &ostree.PullOptions{Deltas: ostree.DeltasRequire, State: state}))
	assert.NotZero(t, state.Uint("fetched-delta-parts"))
	fsck(t, dst)
	plain := newRepo(t, ostree.ModeBareUser)
	state = ostree.NewAsyncProgress()
	require.NoError(t, plain.RemoteAdd(ctx, "origin", serve(t, src, nil), unsigned(t)))
	require.NoError(t, plain.Pull(ctx, "origin", []string{"main"}, &ostree.PullOptions{Deltas: ostree.DeltasDisable, State: state}))
	assert.Zero(t, state.Uint("fetched-delta-parts"))
	fsck(t, plain)

	require.ErrorIs(t, src.GenerateStaticDelta(ctx, "x", to, nil), ostree.ErrInvalidArgument)
	require.Error(t, src.GenerateStaticDelta(ctx, noSum, to, nil))
	require.ErrorIs(t, src.GenerateStaticDelta(ctx, "", to, &ostree.DeltaOptions{SignEngine: "dummy"}), ostree.ErrInvalidArgument)
	require.NoError(t, src.PruneStaticDeltas(ctx, to))
	list, err = src.StaticDeltas(ctx)
	require.NoError(t, err)
	assert.Empty(t, list)
}

func TestExecuteStaticDelta(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	src, dst := newRepo(t, ostree.ModeArchive), newRepo(t, ostree.ModeBareUser)
	to := judgeCommit(t, src.Path(), "main", writeTree(t, sample))
	dir := t.TempDir()
	signed, plain := filepath.Join(dir, "signed"), filepath.Join(dir, "plain")
	meta, err := ostree.NewVariantDict().SetString("k", "v").Build()
	require.NoError(t, err)
	require.NoError(t, src.GenerateStaticDelta(ctx, "", to, &ostree.DeltaOptions{
		File: signed, InlineParts: true, SignEngine: "dummy", SignKeys: []string{"secret"}, Metadata: meta,
	}))
	require.NoError(t, src.GenerateStaticDelta(ctx, "", to, &ostree.DeltaOptions{File: plain, InlineParts: true}))
	good, err := ostree.NewSigner("dummy")
	require.NoError(t, err)
	require.NoError(t, good.SetPublicKey(textKey(t, "secret")))
	bad, err := ostree.NewSigner("dummy")
	require.NoError(t, err)
	require.NoError(t, bad.SetPublicKey(textKey(t, "other")))

	_, err = dst.VerifyStaticDeltaFile(ctx, signed, good)
	require.NoError(t, err)
	_, err = dst.VerifyStaticDeltaFile(ctx, signed, bad)
	require.Error(t, err)
	_, err = dst.VerifyStaticDeltaFile(ctx, plain, good)
	require.Error(t, err)

	execute := func(path string, s *ostree.Signer) error {
		tx, err := dst.Begin(ctx)
		require.NoError(t, err)
		defer tx.Abort()
		if err := dst.ExecuteStaticDelta(ctx, path, s); err != nil {
			return err
		}
		require.NoError(t, tx.SetRef("", "main", to))
		_, err = tx.Commit(ctx)
		return err
	}
	require.Error(t, execute(signed, bad))
	require.Error(t, execute(plain, good), "it is not signed")
	have, err := dst.HasObject(ctx, ostree.ObjectCommit, to)
	require.NoError(t, err)
	assert.False(t, have)
	require.NoError(t, execute(signed, good))
	fsck(t, dst)
	other := newRepo(t, ostree.ModeBareUser)
	tx, err := other.Begin(ctx)
	require.NoError(t, err)
	defer tx.Abort()
	require.NoError(t, other.ExecuteStaticDelta(ctx, plain, nil))
	_, err = tx.Commit(ctx)
	require.NoError(t, err)
	fsck(t, other)

	// One in the repository.
	require.NoError(t, src.GenerateStaticDelta(ctx, "", to, &ostree.DeltaOptions{SignEngine: "dummy", SignKeys: []string{"secret"}}))
	name := ostree.DeltaName{To: to}
	_, err = src.VerifyStaticDelta(ctx, name, good)
	require.NoError(t, err)
	_, err = src.VerifyStaticDelta(ctx, name, bad)
	require.Error(t, err)
	_, err = src.VerifyStaticDelta(ctx, ostree.DeltaName{}, good)
	require.ErrorIs(t, err, ostree.ErrInvalidArgument)
	b, err := os.ReadFile(signed)
	require.NoError(t, err)
	b[len(b)/2] ^= 1
	require.NoError(t, os.WriteFile(signed, b, 0o644))
	require.Error(t, execute(filepath.Join(dir, "none"), nil))
	require.ErrorIs(t, execute("", nil), ostree.ErrInvalidArgument)
}
