package ostree_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/ostree"
)

func TestExportArchive(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	r := newRepo(t, ostree.ModeArchive)
	c := judgeCommit(t, r.Path(), "main", writeTree(t, map[string]string{"dir/f": "hello", "l": "-> dir/f"}))
	root, _, err := r.ReadTree(ctx, c)
	require.NoError(t, err)
	var buf bytes.Buffer
	when := time.Unix(1700000000, 0)
	require.NoError(t, r.ExportArchive(ctx, &buf, root, &ostree.ExportArchiveOptions{Timestamp: when, Prefix: "rootfs/"}))
	got := map[string]string{}
	tr := tar.NewReader(bytes.NewReader(buf.Bytes()))
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		body, err := io.ReadAll(tr)
		require.NoError(t, err)
		assert.Equal(t, when.Unix(), h.ModTime.Unix())
		got[strings.TrimSuffix(h.Name, "/")] = string(h.Typeflag) + string(body) + h.Linkname
	}
	assert.Equal(t, map[string]string{"rootfs": "5", "rootfs/dir": "5", "rootfs/dir/f": "0hello", "rootfs/l": "2dir/f"}, got)

	boom := errors.New("boom")
	require.ErrorIs(t, r.ExportArchive(ctx, writerFunc(func([]byte) (int, error) { return 0, boom }), root, nil), boom)
	require.ErrorIs(t, r.ExportArchive(ctx, nil, root, nil), ostree.ErrInvalidArgument)
	require.ErrorIs(t, r.ExportArchive(ctx, io.Discard, root, &ostree.ExportArchiveOptions{Timestamp: time.Unix(-1, 0)}), ostree.ErrInvalidArgument)
	require.ErrorIs(t, r.ExportArchive(ctx, io.Discard, nil, nil), ostree.ErrClosed)
	assert.PanicsWithValue(t, "stop", func() {
		_ = r.ExportArchive(ctx, writerFunc(func([]byte) (int, error) { panic("stop") }), root, nil)
	})
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }
