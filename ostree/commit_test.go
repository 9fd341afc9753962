package ostree_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/ostree"
)

var sample = map[string]string{
	"usr/bin/a": "a", "usr/bin/b": "bb", "usr/lib/x/y": "y", "usr/link": "-> bin", "usr/empty/": "", "zero": "",
}

// commitDir commits a directory with the binding.
func commitDir(t testing.TB, r *ostree.Repo, ref, dir string, mod *ostree.CommitModifier, opts *ostree.CommitOptions) string {
	t.Helper()
	commit, err := commitFilled(t, r, ref, opts, func(m *ostree.MutableTree) error { return r.WriteDirectoryToMTree(t.Context(), dir, m, mod) })
	require.NoError(t, err)
	return commit
}

// commitFilled commits what fill puts into a tree, or returns its error. An empty ref is not set.
func commitFilled(t testing.TB, r *ostree.Repo, ref string, opts *ostree.CommitOptions, fill func(*ostree.MutableTree) error) (string, error) {
	t.Helper()
	ctx := t.Context()
	tx, err := r.Begin(ctx)
	require.NoError(t, err)
	defer tx.Abort()
	m := ostree.NewMutableTree()
	if err := fill(m); err != nil {
		return "", err
	}
	root, err := r.WriteMTree(ctx, m)
	require.NoError(t, err)
	commit, err := r.WriteCommit(ctx, root, opts)
	require.NoError(t, err)
	if ref != "" {
		require.NoError(t, tx.SetRef("", ref, commit))
	}
	_, err = tx.Commit(ctx)
	require.NoError(t, err)
	return commit, nil
}

func toRoot(_ string, info *ostree.FileInfo) ostree.FilterResult {
	info.UID, info.GID = 0, 0
	return ostree.FilterAllow
}

// The same directory gives the same commit as the ostree command.
func TestCommitEqualsCommand(t *testing.T) {
	t.Parallel()
	for _, mode := range []ostree.Mode{ostree.ModeArchive, ostree.ModeBareUser, ostree.ModeBareUserOnly} {
		t.Run(mode.String(), func(t *testing.T) {
			t.Parallel()
			r := newRepo(t, mode)
			dir := writeTree(t, sample)
			want := judgeCommit(t, r.Path(), "judge", dir)
			when, err := time.Parse(time.RFC3339, "2024-02-03T04:05:06Z")
			require.NoError(t, err)
			// The command binds the ref into the commit.
			meta, err := ostree.NewVariantDict().SetStrv("ostree.ref-binding", []string{"judge"}).Build()
			require.NoError(t, err)
			got := commitDir(t, r, "ours", dir, &ostree.CommitModifier{Flags: ostree.ModifierSkipXattrs, Filter: toRoot},
				&ostree.CommitOptions{Timestamp: when, Metadata: meta})
			assert.Equal(t, want, got)
			fsck(t, r)
		})
	}
}

// What was cut is an error, however much of it: GLib takes it for sound when libostree says so, and reads outside of it.
func TestLoadCutCommit(t *testing.T) {
	t.Parallel()
	r := newRepo(t, ostree.ModeArchive)
	c := judgeCommit(t, r.Path(), "main", writeTree(t, sample), "-s", "subject", "--add-metadata-string=version=1.2")
	path := filepath.Join(r.Path(), "objects", c[:2], c[2:]+".commit")
	whole, err := os.ReadFile(path)
	require.NoError(t, err)
	dict, err := ostree.NewVariantDict().SetString("key", "value").SetString("other", "value").Build()
	require.NoError(t, err)
	require.NoError(t, r.WriteDetachedMetadata(t.Context(), c, dict))
	for n := range whole {
		require.NoError(t, os.WriteFile(path, whole[:n], 0o600))
		_, _, err := r.LoadCommit(t.Context(), c)
		require.ErrorIs(t, err, ostree.ErrCorrupt, "%d bytes of %d", n, len(whole))
		require.ErrorContains(t, err, c)
		_, err = r.LoadVariant(t.Context(), ostree.ObjectCommit, c)
		require.ErrorIs(t, err, ostree.ErrCorrupt)
		_, err = r.LoadVariantIfExists(t.Context(), ostree.ObjectCommit, c)
		require.ErrorIs(t, err, ostree.ErrCorrupt)
	}
	require.NoError(t, os.WriteFile(path, whole, 0o600))
	require.NoError(t, os.WriteFile(path+"meta", dict.Bytes()[:len(dict.Bytes())-1], 0o600))
	_, err = r.ReadDetachedMetadata(t.Context(), c)
	require.ErrorIs(t, err, ostree.ErrCorrupt)
}

func TestLoadCommit(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	r := newRepo(t, ostree.ModeArchive)
	parent := judgeCommit(t, r.Path(), "main", writeTree(t, sample))
	c := judgeCommit(t, r.Path(), "main", writeTree(t, sample), "-s", "subject", "-m", "body\nmore", "--add-metadata-string=version=1.2", "--add-metadata=n=uint64 5")
	got, state, err := r.LoadCommit(ctx, c)
	require.NoError(t, err)
	assert.Equal(t, ostree.CommitNormal, state)
	assert.Equal(t, c, got.Checksum)
	assert.Equal(t, parent, got.Parent)
	assert.Equal(t, "subject", got.Subject)
	assert.Equal(t, "body\nmore", got.Body)
	assert.Equal(t, "2024-02-03T04:05:06Z", got.Timestamp.Format(time.RFC3339))
	ls := strings.Fields(judge(t, "ls", "-C", "-d", "main", "/", "--repo", r.Path()))
	assert.Equal(t, []string{got.RootTree, got.RootMeta, "/"}, ls[len(ls)-3:])
	version, ok, err := got.MetadataString("version")
	require.NoError(t, err)
	assert.True(t, ok)
	assert.Equal(t, "1.2", version)
	_, ok, err = got.MetadataString("nope")
	require.NoError(t, err)
	assert.False(t, ok)
	_, _, err = got.MetadataString("n")
	require.ErrorIs(t, err, ostree.ErrVariantType)
	require.ErrorContains(t, err, c)
	first, _, err := r.LoadCommit(ctx, parent)
	require.NoError(t, err)
	assert.Empty(t, first.Parent)

	require.NoError(t, r.MarkCommitPartial(ctx, c, ostree.Partial))
	_, state, err = r.LoadCommit(ctx, c)
	require.NoError(t, err)
	assert.Equal(t, ostree.CommitPartial, state)
	assert.FileExists(t, filepath.Join(r.Path(), "state", c+".commitpartial"))
	require.NoError(t, r.MarkCommitPartial(ctx, c, ostree.NotPartial))
	require.NoError(t, r.MarkCommitPartial(ctx, c, ostree.FsckPartial))
	_, state, err = r.LoadCommit(ctx, c)
	require.NoError(t, err)
	assert.Equal(t, ostree.CommitPartial|ostree.CommitFsckPartial, state)
	require.NoError(t, r.MarkCommitPartial(ctx, c, ostree.NotPartial))
	require.NoError(t, r.MarkCommitPartial(ctx, c, ostree.NotPartial))
	_, state, err = r.LoadCommit(ctx, c)
	require.NoError(t, err)
	assert.Equal(t, ostree.CommitNormal, state)
}

func TestWriteCommit(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	r := newRepo(t, ostree.ModeArchive)
	meta, err := ostree.NewVariantDict().SetString("version", "9").Build()
	require.NoError(t, err)
	parent := commitDir(t, r, "aref", writeTree(t, sample), nil, nil)
	c := commitDir(t, r, "aref", writeTree(t, sample), nil, &ostree.CommitOptions{
		Parent: parent, Subject: "the subject", Body: "the body", Metadata: meta, Timestamp: time.Unix(1e9, 999),
	})
	out := judge(t, "show", "aref", "--repo", r.Path())
	assert.Contains(t, out, "commit "+c)
	assert.Contains(t, out, "Parent:  "+parent)
	assert.Contains(t, out, "Date:  2001-09-09 01:46:40 +0000")
	assert.Contains(t, out, "Version: 9")
	assert.Contains(t, out, "the subject")
	assert.Contains(t, out, "the body")
	got, _, err := r.LoadCommit(ctx, parent)
	require.NoError(t, err)
	assert.WithinDuration(t, time.Now(), got.Timestamp, time.Minute)

	root, commit, err := r.ReadTree(ctx, "aref")
	require.NoError(t, err)
	assert.Equal(t, c, commit)
	str, err := ostree.NewStringVariant("x")
	require.NoError(t, err)
	for name, o := range map[string]*ostree.CommitOptions{
		"parent":    {Parent: "abc"},
		"subject":   {Subject: "a\x00"},
		"body":      {Body: "\xff"},
		"too early": {Timestamp: time.Unix(-1, 0)},
		"too late":  {Timestamp: time.Unix(253402300800, 0)},
	} {
		_, err := r.WriteCommit(ctx, root, o)
		require.ErrorIs(t, err, ostree.ErrInvalidArgument, name)
	}
	_, err = r.WriteCommit(ctx, root, &ostree.CommitOptions{Metadata: str})
	require.ErrorIs(t, err, ostree.ErrVariantType)
	missing, err := r.TreeFromChecksums(ctx, noSum, noSum)
	require.NoError(t, err)
	_, err = r.WriteCommit(ctx, missing, nil)
	require.ErrorIs(t, err, ostree.ErrNotFound)
}

func TestDetachedMetadata(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	r := newRepo(t, ostree.ModeArchive)
	c := judgeCommit(t, r.Path(), "main", writeTree(t, sample))
	v, err := r.ReadDetachedMetadata(ctx, c)
	require.NoError(t, err)
	assert.Nil(t, v)
	meta, err := ostree.NewVariantDict().SetString("key", "value").Build()
	require.NoError(t, err)
	require.NoError(t, r.WriteDetachedMetadata(ctx, c, meta))
	assert.Equal(t, "'value'\n", judge(t, "show", "--print-detached-metadata-key=key", c, "--repo", r.Path()))
	v, err = r.ReadDetachedMetadata(ctx, c)
	require.NoError(t, err)
	assert.True(t, meta.Equal(v))
	require.NoError(t, r.WriteDetachedMetadata(ctx, c, nil))
	v, err = r.ReadDetachedMetadata(ctx, c)
	require.NoError(t, err)
	assert.Zero(t, v.Len())
	require.ErrorIs(t, r.WriteDetachedMetadata(ctx, c, ostree.NewUint64Variant(1)), ostree.ErrVariantType)
}

func TestModifier(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	r := newRepo(t, ostree.ModeArchive)
	dir := writeTree(t, sample)
	var seen []string
	commitDir(t, r, "m", dir, &ostree.CommitModifier{
		Filter: func(path string, info *ostree.FileInfo) ostree.FilterResult {
			seen = append(seen, path)
			switch path {
			case "/usr/lib":
				return ostree.FilterSkip
			case "/usr/bin/b":
				assert.Equal(t, int64(2), info.Size)
				assert.Equal(t, uint32(0o100644), info.Mode)
				info.Mode = 0o104755
				info.UID, info.GID = 10, 20
			case "/usr/link":
				assert.Equal(t, "bin", info.SymlinkTarget)
			}
			return ostree.FilterAllow
		},
		Xattrs: func(path string, _ ostree.FileInfo) []ostree.Xattr {
			if path == "/usr/bin/a" {
				return []ostree.Xattr{{Name: "user.two", Value: []byte("2")}, {Name: "user.one", Value: []byte("1")}}
			}
			return nil
		},
	}, nil)
	assert.Contains(t, seen, "/usr/lib")
	assert.NotContains(t, seen, "/usr/lib/x")
	out := judge(t, "ls", "-R", "-X", "m", "--repo", r.Path())
	assert.Contains(t, out, "-04755 10 20      2 { @a(ayay) [] } /usr/bin/b\n")
	assert.Contains(t, out, "{ [(b'user.one', [byte 0x31]), (b'user.two', [0x32])] } /usr/bin/a\n")
	assert.NotContains(t, out, "/usr/lib")
	fsck(t, r)

	tx, err := r.Begin(ctx)
	require.NoError(t, err)
	defer tx.Abort()
	assert.PanicsWithValue(t, "filter", func() {
		_ = r.WriteDirectoryToMTree(ctx, dir, ostree.NewMutableTree(), &ostree.CommitModifier{
			Filter: func(string, *ostree.FileInfo) ostree.FilterResult { panic("filter") },
		})
	})
	err = r.WriteDirectoryToMTree(ctx, dir, ostree.NewMutableTree(), &ostree.CommitModifier{
		Xattrs: func(string, ostree.FileInfo) []ostree.Xattr { return []ostree.Xattr{{}} },
	})
	require.ErrorIs(t, err, ostree.ErrInvalidArgument)
	err = r.WriteDirectoryToMTree(ctx, filepath.Join(dir, "none"), ostree.NewMutableTree(), nil)
	require.ErrorIs(t, err, ostree.ErrNotFound)
}

func TestMutableTree(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	r := newRepo(t, ostree.ModeArchive)
	c := judgeCommit(t, r.Path(), "main", writeTree(t, sample))
	m, err := ostree.MutableTreeFromCommit(ctx, r, "main")
	require.NoError(t, err)
	com, _, err := r.LoadCommit(ctx, c)
	require.NoError(t, err)
	assert.Equal(t, com.RootTree, m.ContentsChecksum())
	assert.Equal(t, com.RootMeta, m.MetadataChecksum())
	files, err := m.Files()
	require.NoError(t, err)
	assert.Len(t, files, 1)
	dirs, err := m.Subdirs()
	require.NoError(t, err)
	assert.Equal(t, []string{"usr"}, dirs)
	_, usr, err := m.Lookup("usr")
	require.NoError(t, err)
	require.NotNil(t, usr)
	sum, none, err := m.Lookup("zero")
	require.NoError(t, err)
	assert.Nil(t, none)
	assert.Equal(t, files["zero"], sum)
	_, _, err = m.Lookup("nope")
	require.ErrorIs(t, err, ostree.ErrNotFound)

	require.NoError(t, usr.Remove("lib"))
	require.ErrorIs(t, usr.Remove("lib"), ostree.ErrNotFound)
	require.NoError(t, usr.ReplaceFile("copy", sum))
	require.Error(t, usr.ReplaceFile("bin", sum), "a directory is there")
	_, err = usr.EnsureDir("link")
	require.Error(t, err, "a file is there")
	parent, err := m.EnsureParentDirs([]string{"a", "b", "file"}, com.RootMeta)
	require.NoError(t, err)
	require.NoError(t, parent.ReplaceFile("file", sum))
	sub, err := m.EnsureDir("new")
	require.NoError(t, err)
	ok, err := sub.FillEmptyFromDirtree(r, com.RootTree, com.RootMeta)
	require.NoError(t, err)
	assert.True(t, ok)
	for _, bad := range []string{"", ".", "..", "a/b", "a\x00"} {
		_, err := m.EnsureDir(bad)
		require.ErrorIs(t, err, ostree.ErrInvalidArgument)
		require.ErrorIs(t, m.ReplaceFile(bad, sum), ostree.ErrInvalidArgument)
		require.ErrorIs(t, m.Remove(bad), ostree.ErrInvalidArgument)
	}
	require.ErrorIs(t, m.ReplaceFile("x", "bad"), ostree.ErrInvalidArgument)

	tx, err := r.Begin(ctx)
	require.NoError(t, err)
	defer tx.Abort()
	root, err := r.WriteMTree(ctx, m)
	require.NoError(t, err)
	c2, err := r.WriteCommit(ctx, root, nil)
	require.NoError(t, err)
	require.NoError(t, tx.SetRef("", "two", c2))
	_, err = tx.Commit(ctx)
	require.NoError(t, err)
	fsck(t, r)
	d, err := r.Diff(ctx, "main", "two", nil)
	require.NoError(t, err)
	assert.ElementsMatch(t, []string{"/usr/lib"}, d.Removed)
	assert.Contains(t, d.Added, "/usr/copy")
	assert.Contains(t, d.Added, "/a/b/file")
	assert.Contains(t, d.Added, "/new/usr/bin/a")

	empty, err := r.Begin(ctx)
	require.NoError(t, err)
	defer empty.Abort()
	_, err = r.WriteMTree(ctx, ostree.NewMutableTree())
	require.ErrorContains(t, err, "empty tree")
	_, err = ostree.MutableTreeFromCommit(ctx, r, "nope")
	require.ErrorIs(t, err, ostree.ErrNotFound)
}

func TestDiff(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	r := newRepo(t, ostree.ModeArchive)
	judgeCommit(t, r.Path(), "aref", writeTree(t, sample))
	changed := map[string]string{"usr/bin/a": "changed", "usr/bin/b": "bb", "usr/link": "-> lib", "new/f": "n", "zero": ""}
	judgeCommit(t, r.Path(), "bref", writeTree(t, changed))
	d, err := r.Diff(ctx, "aref", "bref", nil)
	require.NoError(t, err)
	var lines []string
	for _, m := range d.Modified {
		assert.NotEqual(t, m.From, m.To)
		assert.Len(t, m.From, 64)
		lines = append(lines, "M    "+m.Path)
	}
	for _, p := range d.Removed {
		lines = append(lines, "D    "+p)
	}
	for _, p := range d.Added {
		lines = append(lines, "A    "+p)
	}
	assert.ElementsMatch(t, strings.Split(strings.TrimSpace(judge(t, "diff", "aref", "bref", "--repo", r.Path())), "\n"), lines)
	d, err = r.Diff(ctx, "", "aref", &ostree.DiffOptions{IgnoreXattrs: true})
	require.NoError(t, err)
	assert.Len(t, d.Added, 10)
	_, err = r.Diff(ctx, "aref", "nope", nil)
	require.ErrorIs(t, err, ostree.ErrNotFound)
}

func TestCheckout(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	r := newRepo(t, ostree.ModeBareUser)
	files := map[string]string{"d/keep": "k", "d/.wh.old": "", "d/f": "new"}
	c := judgeCommit(t, r.Path(), "main", writeTree(t, files))
	dst := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(dst, "out/d"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dst, "out/d/old"), nil, 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(dst, "out/d/f"), []byte("old"), 0o644))
	fd, err := os.Open(dst)
	require.NoError(t, err)
	defer fd.Close()
	var seen []string
	require.NoError(t, r.CheckoutAt(ctx, int(fd.Fd()), "out", c, &ostree.CheckoutOptions{
		Mode: ostree.CheckoutUser, Overwrite: ostree.OverwriteUnionFiles, ProcessWhiteouts: true,
		Filter: func(path string, info ostree.FileInfo) ostree.FilterResult {
			seen = append(seen, path)
			if path == "/d/keep" {
				return ostree.FilterSkip
			}
			return ostree.FilterAllow
		},
	}))
	list, err := os.ReadDir(filepath.Join(dst, "out/d"))
	require.NoError(t, err)
	require.Len(t, list, 1)
	b, err := os.ReadFile(filepath.Join(dst, "out/d/f"))
	require.NoError(t, err)
	assert.Equal(t, "new", string(b))
	assert.Contains(t, seen, "/d/keep")

	err = r.CheckoutAt(ctx, int(fd.Fd()), "out", c, &ostree.CheckoutOptions{Mode: ostree.CheckoutUser})
	require.ErrorIs(t, err, ostree.ErrExists)
	require.NoError(t, r.CheckoutAt(ctx, ostree.AtCWD, filepath.Join(dst, "sub"), c, &ostree.CheckoutOptions{Mode: ostree.CheckoutUser, Subpath: "/d"}))
	assert.FileExists(t, filepath.Join(dst, "sub/keep"))
	for name, o := range map[string]*ostree.CheckoutOptions{
		"copy and no copy":   {ForceCopy: true, NoCopyFallback: true},
		"identical and copy": {Overwrite: ostree.OverwriteUnionIdentical},
		"policy, no copy":    {SePolicy: &ostree.SePolicy{}},
	} {
		require.ErrorIs(t, r.CheckoutAt(ctx, ostree.AtCWD, filepath.Join(dst, "x"), c, o), ostree.ErrInvalidArgument, name)
	}
	require.ErrorIs(t, r.CheckoutAt(ctx, ostree.AtCWD, filepath.Join(dst, "x"), noSum, nil), ostree.ErrNotFound)

	// What was checked out with a cache is committed again without reading it.
	cache := ostree.NewDevInoCache()
	require.NoError(t, r.CheckoutAt(ctx, ostree.AtCWD, filepath.Join(dst, "again"), c, &ostree.CheckoutOptions{Mode: ostree.CheckoutUser, DevInoCache: cache}))
	tx, err := r.Begin(ctx)
	require.NoError(t, err)
	defer tx.Abort()
	m := ostree.NewMutableTree()
	require.NoError(t, r.WriteDFDToMTree(ctx, int(fd.Fd()), "again", m, &ostree.CommitModifier{DevInoCache: cache, Flags: ostree.ModifierDevInoCanonical}))
	stats, err := tx.Commit(ctx)
	require.NoError(t, err)
	assert.Positive(t, stats.DevInoCacheHits)
}

func TestCancelledDuringCheckout(t *testing.T) {
	t.Parallel()
	r := newRepo(t, ostree.ModeBareUser)
	files := map[string]string{}
	for _, d := range strings.Fields("a b c d e f g h i j") {
		files[d+"/1"], files[d+"/2"] = d, d+d
	}
	c := judgeCommit(t, r.Path(), "main", writeTree(t, files))
	cause := errors.New("enough")
	ctx, cancel := newCause(t)
	err := r.CheckoutAt(ctx, ostree.AtCWD, filepath.Join(t.TempDir(), "out"), c, &ostree.CheckoutOptions{Mode: ostree.CheckoutUser, Filter: func(path string, _ ostree.FileInfo) ostree.FilterResult {
		if path != "/" {
			cancel(cause)
			time.Sleep(10 * time.Millisecond) // the canceller is another goroutine
		}
		return ostree.FilterAllow
	}})
	require.ErrorIs(t, err, cause)
	require.ErrorIs(t, err, context.Canceled)
	ctx, cancel = newCause(t)
	tx, err := r.Begin(ctx)
	require.NoError(t, err)
	defer tx.Abort()
	err = r.WriteDirectoryToMTree(ctx, writeTree(t, files), ostree.NewMutableTree(), &ostree.CommitModifier{Filter: func(path string, _ *ostree.FileInfo) ostree.FilterResult {
		cancel(cause)
		time.Sleep(10 * time.Millisecond)
		return ostree.FilterAllow
	}})
	require.ErrorIs(t, err, cause)
	_, err = tx.Commit(ctx)
	require.ErrorIs(t, err, cause)
	require.NoError(t, tx.Abort())
	fsck(t, r)
}

// Not parallel: the environment is the process's.
func TestWriteCommitSourceDateEpoch(t *testing.T) {
	r := newRepo(t, ostree.ModeArchive)
	t.Setenv("SOURCE_DATE_EPOCH", "1000000000")
	c := commitDir(t, r, "main", writeTree(t, sample), nil, nil)
	got, _, err := r.LoadCommit(t.Context(), c)
	require.NoError(t, err)
	assert.Equal(t, int64(1e9), got.Timestamp.Unix())
	c = commitDir(t, r, "main", writeTree(t, sample), nil, &ostree.CommitOptions{Timestamp: time.Unix(5, 0)})
	got, _, err = r.LoadCommit(t.Context(), c)
	require.NoError(t, err)
	assert.Equal(t, int64(5), got.Timestamp.Unix(), "what is given wins")
}

func TestParseCommitRefuses(t *testing.T) {
	t.Parallel()
	const sum = "[byte 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31]"
	for name, c := range map[string]struct {
		typ, text string
		want      error
	}{
		"good":        {"(a{sv}aya(say)sstayay)", "({}, [], [], 's', '', 0, " + sum + ", " + sum + ")", nil},
		"type":        {"(ss)", "('a', 'b')", ostree.ErrVariantType},
		"no root":     {"(a{sv}aya(say)sstayay)", "({}, [], [], 's', '', 0, " + sum + ", [])", ostree.ErrCorrupt},
		"short":       {"(a{sv}aya(say)sstayay)", "({}, [1], [], 's', '', 0, " + sum + ", " + sum + ")", ostree.ErrCorrupt},
		"late (0xff)": {"(a{sv}aya(say)sstayay)", "({}, [], [], 's', '', 18446744073709551615, " + sum + ", " + sum + ")", ostree.ErrCorrupt},
	} {
		t.Run(name, func(t *testing.T) {
			v, err := ostree.ParseVariant(c.typ, c.text)
			require.NoError(t, err)
			got, err := ostree.ParseCommit(v)
			require.ErrorIs(t, err, c.want)
			if c.want == nil {
				assert.Equal(t, "s", got.Subject)
			}
		})
	}
}
