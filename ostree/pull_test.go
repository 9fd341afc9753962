package ostree_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/ostree"
)

// serve gives a repository out over HTTP, with the requests' headers to see.
func serve(t testing.TB, r *ostree.Repo, see func(*http.Request)) string {
	t.Helper()
	files := http.FileServer(http.Dir(r.Path()))
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if see != nil {
			see(req)
		}
		files.ServeHTTP(w, req)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

func unsigned(t testing.TB) *ostree.Variant {
	t.Helper()
	v, err := ostree.NewVariantDict().SetBool("gpg-verify", false).Build()
	require.NoError(t, err)
	return v
}

func TestPullHTTP(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	src, dst := newRepo(t, ostree.ModeArchive), newRepo(t, ostree.ModeBareUser)
	first := judgeCommit(t, src.Path(), "main", writeTree(t, map[string]string{"a": "1", "dir/b": "2"}))
	second := judgeCommit(t, src.Path(), "main", writeTree(t, map[string]string{"a": "1", "dir/b": "3", "big": strings.Repeat("x", 1<<20)}))
	require.NoError(t, src.RegenerateSummary(ctx, nil))
	var header, agent atomic.Value
	url := serve(t, src, func(r *http.Request) {
		header.Store(r.Header.Get("X-Test"))
		agent.Store(r.UserAgent())
	})
	require.NoError(t, dst.RemoteAdd(ctx, "origin", url, unsigned(t)))

	refs, err := dst.RemoteListRefs(ctx, "origin")
	require.NoError(t, err)
	assert.Equal(t, map[string]string{"main": second}, refs)
	summary, sigs, err := dst.RemoteFetchSummary(ctx, "origin", &ostree.FetchSummaryOptions{HTTPHeaders: []ostree.HTTPHeader{{Name: "X-Test", Value: "summary"}}})
	require.NoError(t, err)
	assert.Contains(t, string(summary), "main")
	assert.Nil(t, sigs)
	assert.Equal(t, "summary", header.Load())

	var seen []ostree.PullProgress
	opts := &ostree.PullOptions{
		OverrideCommitIDs: []string{first}, UpdateFrequency: time.Millisecond, AppendUserAgent: "test/1",
		HTTPHeaders: []ostree.HTTPHeader{{Name: "X-Test", Value: "pull"}},
		Progress:    func(p ostree.PullProgress) { seen = append(seen, p) },
	}
	require.NoError(t, dst.Pull(ctx, "origin", []string{"main"}, opts))
	got, err := dst.ResolveRev(ctx, "origin:main")
	require.NoError(t, err)
	assert.Equal(t, first, got)
	assert.Equal(t, "pull", header.Load())
	assert.Contains(t, agent.Load(), "test/1")
	require.NotEmpty(t, seen)
	most := seen[0]
	for _, p := range seen {
		if p.Fetched >= most.Fetched {
			most = p
		}
		assert.False(t, p.Failed)
	}
	assert.NotZero(t, most.Requested)

	state := ostree.NewAsyncProgress()
	require.NoError(t, dst.Pull(ctx, "origin", []string{"main"}, &ostree.PullOptions{TimestampCheck: true, State: state, NetworkRetries: new(uint32)}))
	assert.GreaterOrEqual(t, state.Uint("metadata-fetched"), uint32(3), "commit and two trees")
	assert.Greater(t, state.Uint64("bytes-transferred"), uint64(100))
	state.Finish()
	fsck(t, dst)

	// Only a subdirectory makes a partial commit; only the commit makes one too.
	part := newRepo(t, ostree.ModeArchive)
	require.NoError(t, part.RemoteAdd(ctx, "origin", url, unsigned(t)))
	require.NoError(t, part.Pull(ctx, "origin", []string{"main"}, &ostree.PullOptions{Subdirs: []string{"/dir"}}))
	_, st, err := part.LoadCommit(ctx, second)
	require.NoError(t, err)
	assert.Equal(t, ostree.CommitPartial, st)
	c, _, err := src.LoadCommit(ctx, second)
	require.NoError(t, err)
	for name, want := range map[string]bool{"/dir/b": true, "/big": false} {
		e, err := src.LookupPath(ctx, c.RootTree, name)
		require.NoError(t, err)
		have, err := part.HasObject(ctx, ostree.ObjectFile, e.Checksum)
		require.NoError(t, err)
		assert.Equal(t, want, have, name)
	}

	// The objects of another repository are not fetched again.
	cached := newRepo(t, ostree.ModeBareUser)
	require.NoError(t, cached.RemoteAdd(ctx, "origin", url, unsigned(t)))
	state = ostree.NewAsyncProgress()
	require.NoError(t, cached.Pull(ctx, "origin", []string{"main"}, &ostree.PullOptions{LocalCacheRepos: []string{dst.Path()}, State: state}))
	assert.Equal(t, uint32(3), state.Uint("content-fetched-localcache"))
	fsck(t, cached)
}

func TestPullErrors(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	src, dst := newRepo(t, ostree.ModeArchive), newRepo(t, ostree.ModeArchive)
	c := judgeCommit(t, src.Path(), "main", writeTree(t, sample))
	require.NoError(t, dst.RemoteAdd(ctx, "origin", serve(t, src, nil), unsigned(t)))
	zero := uint32(0)
	require.Error(t, dst.Pull(ctx, "origin", []string{"none"}, &ostree.PullOptions{NetworkRetries: &zero}))
	secret := "Bearer hunter2\r\nX: y"
	for name, o := range map[string]ostree.PullOptions{
		"depth":       {Depth: -2},
		"timestamp":   {Depth: 1, TimestampCheck: true},
		"collection":  {CollectionRefs: map[ostree.CollectionRef]string{{CollectionID: "a.b", Ref: "c"}: ""}},
		"nothing":     {CollectionRefs: map[ostree.CollectionRef]string{}},
		"ids":         {OverrideCommitIDs: []string{c, c}},
		"id":          {OverrideCommitIDs: []string{"x"}},
		"deltas":      {Deltas: 9},
		"dry":         {DryRun: true},
		"summary":     {SummaryBytes: []byte{1}},
		"both":        {Progress: func(ostree.PullProgress) {}, State: ostree.NewAsyncProgress()},
		"frequency":   {UpdateFrequency: -1},
		"subdir":      {Subdirs: []string{"usr"}},
		"header":      {HTTPHeaders: []ostree.HTTPHeader{{Name: "A", Value: secret}}},
		"header name": {HTTPHeaders: []ostree.HTTPHeader{{Value: "x"}}},
		"extra":       {Extra: ostree.NewBoolVariant(true)},
	} {
		err := dst.Pull(ctx, "origin", []string{"main"}, &o)
		require.Error(t, err, name)
		if name != "extra" {
			require.ErrorIs(t, err, ostree.ErrInvalidArgument, name)
		}
		assert.NotContains(t, err.Error(), "hunter2")
	}

	tx, err := dst.Begin(ctx)
	require.NoError(t, err)
	require.ErrorIs(t, dst.Pull(ctx, "origin", []string{"main"}, nil), ostree.ErrTransactionActive)
	require.NoError(t, dst.Pull(ctx, "origin", []string{"main"}, &ostree.PullOptions{Transaction: tx}))
	again, err := ostree.OpenRepo(ctx, dst.Path())
	require.NoError(t, err)
	defer again.Close()
	_, err = again.ResolveRev(ctx, "origin:main")
	require.ErrorIs(t, err, ostree.ErrNotFound, "not committed yet")
	require.ErrorIs(t, src.Pull(ctx, "origin", nil, &ostree.PullOptions{Transaction: tx}), ostree.ErrInvalidArgument)
	_, err = tx.Commit(ctx)
	require.NoError(t, err)
	got, err := dst.ResolveRev(ctx, "origin:main")
	require.NoError(t, err)
	assert.Equal(t, c, got)
	require.ErrorIs(t, dst.Pull(ctx, "origin", []string{"main"}, &ostree.PullOptions{Transaction: tx}), ostree.ErrNoTransaction)

	// A panic of the callback is the caller's.
	other := newRepo(t, ostree.ModeArchive)
	assert.PanicsWithValue(t, "stop", func() {
		_ = other.PullLocal(ctx, src.Path(), nil, &ostree.PullOptions{
			UpdateFrequency: time.Millisecond, Progress: func(ostree.PullProgress) { panic("stop") },
		})
	})
}

// The context ends while objects are fetched.
func TestPullCancelled(t *testing.T) {
	t.Parallel()
	src, dst := newRepo(t, ostree.ModeArchive), newRepo(t, ostree.ModeArchive)
	files := map[string]string{}
	for i := range 100 {
		files[fmt.Sprintf("d%d/f", i)] = fmt.Sprint(i)
	}
	judgeCommit(t, src.Path(), "main", writeTree(t, files))
	cause := errors.New("enough")
	ctx, cancel := newCause(t)
	url := serve(t, src, func(r *http.Request) {
		if strings.HasSuffix(r.URL.Path, ".dirtree") {
			cancel(cause)
		}
	})
	require.NoError(t, dst.RemoteAdd(t.Context(), "origin", url, unsigned(t)))
	err := dst.Pull(ctx, "origin", []string{"main"}, nil)
	require.ErrorIs(t, err, cause)
	require.ErrorIs(t, err, context.Canceled)
	_, err = dst.ResolveRev(t.Context(), "origin:main")
	require.ErrorIs(t, err, ostree.ErrNotFound)
	tx, err := dst.Begin(t.Context())
	require.NoError(t, err, "nothing is left open")
	require.NoError(t, tx.Abort())
	require.NoError(t, dst.Pull(t.Context(), "origin", []string{"main"}, nil), "it goes on where it was")
	fsck(t, dst)
}

func TestPullCollectionRefs(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	src, dst := newCollection(t, ostree.ModeArchive, "org.example.Os"), newRepo(t, ostree.ModeArchive)
	dir := writeTree(t, sample)
	c := strings.TrimSpace(judge(t, "commit", "--repo", src.Path(), "-b", "main", dir))
	require.NoError(t, src.RegenerateSummary(ctx, nil))
	conf, err := ostree.NewVariantDict().SetBool("gpg-verify", false).SetString("collection-id", "org.example.Os").Build()
	require.NoError(t, err)
	require.NoError(t, dst.RemoteAdd(ctx, "origin", serve(t, src, nil), conf))
	ref := ostree.CollectionRef{CollectionID: "org.example.Os", Ref: "main"}
	refs, err := dst.RemoteListCollectionRefs(ctx, "origin")
	require.NoError(t, err)
	assert.Equal(t, c, refs[ref])
	require.NoError(t, dst.Pull(ctx, "origin", nil, &ostree.PullOptions{
		CollectionRefs: map[ostree.CollectionRef]string{ref: ""},
		RefKeyrings:    map[ostree.CollectionRef]string{ref: "origin"},
	}))
	got, err := dst.ResolveCollectionRef(ctx, ref)
	require.NoError(t, err)
	assert.Equal(t, c, got)
	_, err = dst.RemoteListCollectionRefs(ctx, "none")
	require.ErrorIs(t, err, ostree.ErrNotFound)
}

func TestChangeRemote(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	r := newRepo(t, ostree.ModeArchive)
	conf := &ostree.RemoteConfiguration{URL: "https://example.com/a", Options: unsigned(t)}
	require.NoError(t, r.ChangeRemote(ctx, ostree.RemoteAdd, "origin", conf))
	require.Error(t, r.ChangeRemote(ctx, ostree.RemoteAdd, "origin", conf))
	conf.URL = "https://example.com/b"
	require.NoError(t, r.ChangeRemote(ctx, ostree.RemoteAddIfNotExists, "origin", conf))
	url := func() string { return strings.TrimSpace(judge(t, "remote", "show-url", "origin", "--repo", r.Path())) }
	assert.Equal(t, "https://example.com/a", url())
	require.NoError(t, r.ChangeRemote(ctx, ostree.RemoteReplace, "origin", conf))
	assert.Equal(t, "https://example.com/b", url())
	must, err := r.RemoteGPGVerifySummary("origin")
	require.NoError(t, err)
	assert.False(t, must)
	require.NoError(t, r.ChangeRemote(ctx, ostree.RemoteDelete, "origin", nil))
	require.ErrorIs(t, r.ChangeRemote(ctx, ostree.RemoteDelete, "origin", nil), ostree.ErrNotFound)
	require.NoError(t, r.ChangeRemote(ctx, ostree.RemoteDeleteIfExists, "origin", nil))
	require.ErrorIs(t, r.ChangeRemote(ctx, ostree.RemoteAdd, "origin", nil), ostree.ErrInvalidArgument)
	require.ErrorIs(t, r.ChangeRemote(ctx, 9, "origin", conf), ostree.ErrInvalidArgument)
	require.ErrorIs(t, r.ChangeRemote(ctx, ostree.RemoteAdd, "", conf), ostree.ErrInvalidArgument)
	_, err = r.RemoteGPGVerifySummary("none")
	require.ErrorIs(t, err, ostree.ErrNotFound)
}

func TestRegenerateSummary(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	r := newRepo(t, ostree.ModeArchive)
	c := judgeCommit(t, r.Path(), "main", writeTree(t, sample))
	meta, err := ostree.NewVariantDict().SetString("org.example.note", "hello").Build()
	require.NoError(t, err)
	require.NoError(t, r.RegenerateSummary(ctx, meta))
	text := judge(t, "summary", "-v", "--repo", r.Path())
	assert.Contains(t, text, c)
	assert.Contains(t, text, "org.example.note")
	require.ErrorIs(t, r.RegenerateSummary(ctx, ostree.NewBoolVariant(true)), ostree.ErrVariantType)
	local := newRepo(t, ostree.ModeArchive)
	require.NoError(t, local.RemoteAdd(ctx, "origin", "file://"+r.Path(), unsigned(t)))
	refs, err := local.RemoteListRefs(ctx, "origin")
	require.NoError(t, err)
	assert.Equal(t, map[string]string{"main": c}, refs)
	_, err = local.RemoteListRefs(ctx, "none")
	require.ErrorIs(t, err, ostree.ErrNotFound)
	_, _, err = local.RemoteFetchSummary(ctx, "", nil)
	require.ErrorIs(t, err, ostree.ErrInvalidArgument)
	summary, _, err := local.RemoteFetchSummary(ctx, "origin", nil)
	require.NoError(t, err)
	f, err := http.Dir(r.Path()).Open("summary")
	require.NoError(t, err)
	defer f.Close()
	want, err := io.ReadAll(f)
	require.NoError(t, err)
	assert.Equal(t, want, summary)
	assert.FileExists(t, filepath.Join(r.Path(), "summary"))
}

func TestAsyncProgress(t *testing.T) {
	t.Parallel()
	p := ostree.NewAsyncProgress()
	require.NoError(t, p.SetUint("n", 7))
	require.NoError(t, p.SetUint64("bytes", 1<<40))
	require.NoError(t, p.SetStatus("working"))
	require.NoError(t, p.SetVariant("v", ostree.NewInt32Variant(-1)))
	require.ErrorIs(t, p.SetVariant("v", ostree.NewBoolVariant(true)), ostree.ErrVariantType)
	require.ErrorIs(t, p.SetVariant("v", nil), ostree.ErrInvalidArgument)
	require.ErrorIs(t, p.SetUint("", 1), ostree.ErrInvalidArgument)
	require.ErrorIs(t, p.SetStatus("\xff"), ostree.ErrInvalidArgument)
	assert.Equal(t, uint32(7), p.Uint("n"))
	assert.Equal(t, uint64(1<<40), p.Uint64("bytes"))
	assert.Zero(t, p.Uint64("n"), "it is another type")
	assert.Zero(t, p.Uint("none"))
	assert.Nil(t, p.Variant("none"))
	assert.Equal(t, "working", p.Status())
	assert.Equal(t, "-1", p.Variant("v").String())
	many := map[string]*ostree.Variant{"v": ostree.NewInt32Variant(-2)}
	for i := range ostree.MaxSetAll - 1 {
		many[fmt.Sprint("many", i)] = ostree.NewUint32Variant(uint32(i))
	}
	require.NoError(t, p.SetAll(many))
	assert.Equal(t, "-2", p.Variant("v").String())
	assert.Equal(t, uint32(ostree.MaxSetAll-2), p.Uint(fmt.Sprint("many", ostree.MaxSetAll-2)))
	many["one more"] = ostree.NewBoolVariant(true)
	require.ErrorIs(t, p.SetAll(many), ostree.ErrInvalidArgument)
	require.NoError(t, p.SetAll(nil))
	require.ErrorIs(t, p.SetAll(map[string]*ostree.Variant{"n": ostree.NewBoolVariant(true)}), ostree.ErrVariantType)
	require.ErrorIs(t, p.SetAll(map[string]*ostree.Variant{"new": nil}), ostree.ErrInvalidArgument)
	require.ErrorIs(t, p.SetAll(map[string]*ostree.Variant{"a\x00": ostree.NewBoolVariant(true)}), ostree.ErrInvalidArgument)
	require.NoError(t, p.SetVariant("v", ostree.NewInt32Variant(-1)))
	q := ostree.NewAsyncProgress()
	require.NoError(t, p.CopyState(q))
	assert.Equal(t, uint32(7), q.Uint("n"))
	require.ErrorIs(t, p.CopyState(p), ostree.ErrInvalidArgument)
	require.ErrorIs(t, p.CopyState(nil), ostree.ErrInvalidArgument)
	p.Finish()
	require.NoError(t, p.SetUint("n", 8))
	assert.Equal(t, uint32(7), p.Uint("n"))
	var none *ostree.AsyncProgress
	assert.Zero(t, none.Uint("n"))
	assert.Empty(t, none.Status())
	require.ErrorIs(t, none.SetUint("n", 1), ostree.ErrClosed)
	require.ErrorIs(t, none.SetAll(nil), ostree.ErrClosed)
	none.Finish()
}

func TestPullDir(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	src := newRepo(t, ostree.ModeArchive)
	c := judgeCommit(t, src.Path(), "main", writeTree(t, sample))
	url := serve(t, src, nil)
	for dir, want := range map[string]ostree.CommitState{"/usr/bin": ostree.CommitPartial, "": ostree.CommitNormal} {
		r := newRepo(t, ostree.ModeArchive)
		require.NoError(t, r.RemoteAdd(ctx, "origin", url, unsigned(t)))
		seen := 0
		require.NoError(t, r.PullDir(ctx, "origin", dir, []string{"main"}, &ostree.PullDirOptions{Progress: func(ostree.PullProgress) { seen++ }}))
		assert.NotZero(t, seen)
		_, state, err := r.LoadCommit(ctx, c)
		require.NoError(t, err)
		assert.Equal(t, want, state)
		assert.Equal(t, "a", judge(t, "cat", "--repo", r.Path(), "origin:main", "/usr/bin/a"))
		require.ErrorIs(t, r.PullDir(ctx, "origin", "usr", nil, nil), ostree.ErrInvalidArgument)
		require.ErrorIs(t, r.PullDir(ctx, "ori\x00gin", "", nil, nil), ostree.ErrInvalidArgument)
		require.Error(t, r.PullDir(ctx, "origin", dir, []string{"none"}, nil))
		tx, err := r.Begin(ctx)
		require.NoError(t, err)
		require.ErrorIs(t, r.PullDir(ctx, "origin", dir, []string{"main"}, nil), ostree.ErrTransactionActive)
		require.NoError(t, tx.Abort())
	}
}
