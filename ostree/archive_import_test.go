package ostree_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/ostree"
)

// makeTar writes an archive; entries without content are what their type says.
func makeTar(t testing.TB, entries ...tarEntry) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, e := range entries {
		h := e.Header
		h.Size = int64(len(e.content))
		if h.Mode == 0 {
			h.Mode = 0o644
		}
		require.NoError(t, w.WriteHeader(&h))
		_, err := w.Write([]byte(e.content))
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return buf.Bytes()
}

type tarEntry struct {
	tar.Header
	content string
}

func sampleTar(t testing.TB, more ...tarEntry) []byte {
	return makeTar(t, append([]tarEntry{
		{tar.Header{Name: "./", Typeflag: tar.TypeDir, Mode: 0o755}, ""},
		{tar.Header{Name: "./etc/", Typeflag: tar.TypeDir, Mode: 0o750}, ""},
		{tar.Header{Name: "./etc/grün", Typeflag: tar.TypeReg, Mode: 0o4755, Uid: 1, Gid: 2, PAXRecords: map[string]string{"SCHILY.xattr.user.k": "v"}}, "hello"},
		{tar.Header{Name: "./hard", Typeflag: tar.TypeLink, Linkname: "./etc/grün"}, ""},
		{tar.Header{Name: "./link", Typeflag: tar.TypeSymlink, Linkname: "etc/grün", Mode: 0o777}, ""},
		{tar.Header{Name: "./empty", Typeflag: tar.TypeReg}, ""},
	}, more...)...)
}

// importTar commits an archive with the binding.
func importTar(t testing.TB, r *ostree.Repo, in io.Reader, mod *ostree.CommitModifier, opts *ostree.ImportArchiveOptions) (string, error) {
	t.Helper()
	return commitFilled(t, r, "", &ostree.CommitOptions{Timestamp: time.Unix(1706933106, 0)}, func(m *ostree.MutableTree) error {
		return r.WriteArchiveToMTree(t.Context(), in, m, mod, opts)
	})
}

func TestWriteArchiveEqualsCommand(t *testing.T) {
	t.Parallel()
	fifo := tarEntry{tar.Header{Name: "./fifo", Typeflag: tar.TypeFifo}, ""}
	deep := tarEntry{tar.Header{Name: "./a/b/c", Typeflag: tar.TypeReg}, "c"}
	for name, c := range map[string]struct {
		more []tarEntry
		opts *ostree.ImportArchiveOptions
		args []string
	}{
		"plain":   {nil, nil, nil},
		"parents": {[]tarEntry{deep}, &ostree.ImportArchiveOptions{AutoCreateParents: true}, []string{"--tar-autocreate-parents"}},
		"renamed": {[]tarEntry{deep}, &ostree.ImportArchiveOptions{AutoCreateParents: true, Translate: func(p string, info ostree.FileInfo) string {
			if p == "a/b/c" && info.Mode == 0o100644 && info.Size == 1 {
				return "x/c"
			}
			return ""
		}}, []string{"--tar-autocreate-parents", "--tar-pathname-filter=^a/b/,x/"}},
		"ignored": {[]tarEntry{fifo}, &ostree.ImportArchiveOptions{IgnoreUnsupported: true}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRepo(t, ostree.ModeArchive)
			got, err := importTar(t, r, bytes.NewReader(sampleTar(t, c.more...)), nil, c.opts)
			require.NoError(t, err)
			file := filepath.Join(t.TempDir(), "f.tar")
			more := c.more
			if name == "ignored" {
				more = nil
			}
			require.NoError(t, os.WriteFile(file, sampleTar(t, more...), 0o644))
			judge(t, append([]string{"commit", "--repo", r.Path(), "-b", "want", "--tree=tar=" + file}, c.args...)...)
			assert.Equal(t, judge(t, "ls", "-R", "-X", "-C", "--repo", r.Path(), "want"), judge(t, "ls", "-R", "-X", "-C", "--repo", r.Path(), got))
			fsck(t, r)
		})
	}
}

func TestWriteArchiveOptions(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	r := newRepo(t, ostree.ModeArchive)
	c, err := importTar(t, r, bytes.NewReader(sampleTar(t, tarEntry{tar.Header{Name: "usr/", Typeflag: tar.TypeDir, Mode: 0o755}, ""})),
		&ostree.CommitModifier{Filter: func(path string, info *ostree.FileInfo) ostree.FilterResult {
			info.UID, info.GID = 0, 0
			if path == "/empty" {
				return ostree.FilterSkip
			}
			return ostree.FilterAllow
		}}, &ostree.ImportArchiveOptions{OSTreeConvention: true, AutoCreateParents: true})
	require.NoError(t, err)
	assert.Equal(t, "d00755 0 0      0 /\n-04755 0 0      5 /hard\nl00777 0 0      0 /link -> etc/grün\nd00755 0 0      0 /usr\n"+
		"d00750 0 0      0 /usr/etc\n-04755 0 0      5 /usr/etc/grün\n", judge(t, "ls", "-R", "--repo", r.Path(), c))

	m := ostree.NewMutableTree()
	require.ErrorIs(t, r.WriteArchiveToMTree(ctx, bytes.NewReader(nil), m, nil, &ostree.ImportArchiveOptions{
		OSTreeConvention: true, Translate: func(string, ostree.FileInfo) string { return "" },
	}), ostree.ErrInvalidArgument)
	_, err = importTar(t, r, bytes.NewReader(sampleTar(t)), nil, &ostree.ImportArchiveOptions{Translate: func(string, ostree.FileInfo) string { return "a\x00" }})
	require.ErrorIs(t, err, ostree.ErrInvalidArgument)
	assert.PanicsWithValue(t, "stop", func() {
		_, _ = importTar(t, r, bytes.NewReader(sampleTar(t)), nil, &ostree.ImportArchiveOptions{Translate: func(string, ostree.FileInfo) string { panic("stop") }})
	})
	_, err = importTar(t, r, bytes.NewReader(sampleTar(t, tarEntry{tar.Header{Name: "./fifo", Typeflag: tar.TypeFifo}, ""})), nil, nil)
	require.Error(t, err)
	_, err = importTar(t, r, bytes.NewReader(makeTar(t, tarEntry{tar.Header{Name: "../x", Typeflag: tar.TypeReg}, "x"})), nil, &ostree.ImportArchiveOptions{AutoCreateParents: true})
	require.Error(t, err)
}

// libostree itself would never end on these.
func TestWriteArchiveCutShort(t *testing.T) {
	t.Parallel()
	r := newRepo(t, ostree.ModeArchive)
	big := tarEntry{tar.Header{Name: "./big", Typeflag: tar.TypeReg}, string(bytes.Repeat([]byte("x"), 1<<20))}
	whole := sampleTar(t, big)
	boom := errors.New("boom")
	cause := errors.New("enough")
	for name, c := range map[string]struct {
		in   func(cancel context.CancelCauseFunc) io.Reader
		want error
	}{
		"within a file":   {func(context.CancelCauseFunc) io.Reader { return bytes.NewReader(whole[:len(whole)-700<<10]) }, io.ErrUnexpectedEOF},
		"within a header": {func(context.CancelCauseFunc) io.Reader { return bytes.NewReader(whole[:1024+100]) }, io.ErrUnexpectedEOF},
		"within padding":  {func(context.CancelCauseFunc) io.Reader { return bytes.NewReader(whole[:2000]) }, io.ErrUnexpectedEOF},
		"no end":          {func(context.CancelCauseFunc) io.Reader { return bytes.NewReader(whole[:len(whole)-1024]) }, io.ErrUnexpectedEOF},
		"empty":           {func(context.CancelCauseFunc) io.Reader { return bytes.NewReader(nil) }, io.ErrUnexpectedEOF},
		"failing reader": {func(context.CancelCauseFunc) io.Reader {
			return io.MultiReader(bytes.NewReader(whole[:len(whole)-700<<10]), readerFunc(func([]byte) (int, error) { return 0, boom }))
		}, boom},
		"cancelled": {func(cancel context.CancelCauseFunc) io.Reader {
			return io.MultiReader(bytes.NewReader(whole[:len(whole)-700<<10]), readerFunc(func([]byte) (int, error) {
				cancel(cause)
				return 0, io.ErrNoProgress
			}))
		}, cause},
		"no archive": {func(context.CancelCauseFunc) io.Reader { return bytes.NewReader(bytes.Repeat([]byte("no tar "), 1000)) }, tar.ErrHeader},
	} {
		for _, opts := range []*ostree.ImportArchiveOptions{nil, {IgnoreUnsupported: true}} {
			ctx, cancel := context.WithCancelCause(t.Context())
			tx, err := r.Begin(ctx)
			require.NoError(t, err)
			err = r.WriteArchiveToMTree(ctx, c.in(cancel), ostree.NewMutableTree(), nil, opts)
			require.ErrorIs(t, err, c.want, name)
			require.NoError(t, tx.Abort())
			cancel(nil)
		}
	}
	assert.PanicsWithValue(t, "from the reader", func() { _, _ = importTar(t, r, panicReader{}, nil, nil) })
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	require.ErrorIs(t, r.WriteArchiveToMTree(ctx, panicReader{}, ostree.NewMutableTree(), nil, nil), cause)
}
