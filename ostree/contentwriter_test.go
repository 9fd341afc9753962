package ostree_test

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/ostree"
)

func TestContentWriter(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	r, archive := newRepo(t, ostree.ModeBareUser), newRepo(t, ostree.ModeArchive)
	info := ostree.FileInfo{UID: 1, GID: 2, Mode: 0o100640}
	xattrs := []ostree.Xattr{{Name: "user.a", Value: []byte("b")}}
	data := bytes.Repeat([]byte("0123456789"), 50000)
	want, err := archive.WriteContent(ctx, "", info, xattrs, bytes.NewReader(data), int64(len(data)))
	require.NoError(t, err)

	tx, err := r.Begin(ctx)
	require.NoError(t, err)
	defer tx.Abort()
	w, err := r.WriteRegfile(ctx, want, info, xattrs, int64(len(data)))
	require.NoError(t, err)
	n, err := io.Copy(w, bytes.NewReader(data))
	require.NoError(t, err)
	assert.Equal(t, int64(len(data)), n)
	sum, err := w.Finish(ctx)
	require.NoError(t, err)
	assert.Equal(t, want, sum)
	_, err = w.Finish(ctx)
	require.ErrorIs(t, err, ostree.ErrClosed)
	_, err = w.Write([]byte("x"))
	require.ErrorIs(t, err, ostree.ErrClosed)
	require.NoError(t, w.Close())

	short, err := r.WriteRegfile(ctx, "", info, nil, 5)
	require.NoError(t, err)
	_, err = short.Write([]byte("1234"))
	require.NoError(t, err)
	_, err = short.Finish(ctx)
	require.ErrorIs(t, err, ostree.ErrInvalidArgument)
	_, err = short.Write([]byte("56"))
	require.ErrorIs(t, err, ostree.ErrInvalidArgument)
	require.NoError(t, short.Close())
	require.NoError(t, short.Close())
	wrong, err := r.WriteRegfile(ctx, noSum, info, nil, 1)
	require.NoError(t, err)
	_, err = wrong.Write([]byte("1"))
	require.NoError(t, err)
	_, err = wrong.Finish(ctx)
	require.Error(t, err)
	empty, err := r.WriteRegfile(ctx, "", info, nil, 0)
	require.NoError(t, err)
	sum, err = empty.Finish(ctx)
	require.NoError(t, err)
	wantEmpty, err := archive.WriteContent(ctx, "", info, nil, strings.NewReader(""), 0)
	require.NoError(t, err)
	assert.Equal(t, wantEmpty, sum)
	_, err = tx.Commit(ctx)
	require.NoError(t, err)
	fsck(t, r)

	_, err = archive.WriteRegfile(ctx, "", info, nil, 1)
	require.ErrorIs(t, err, ostree.ErrUnsupported)
	_, err = r.WriteRegfile(ctx, "", ostree.FileInfo{Mode: 0o120777}, nil, 1)
	require.ErrorIs(t, err, ostree.ErrInvalidArgument)
	_, err = r.WriteRegfile(ctx, "", info, nil, -1)
	require.ErrorIs(t, err, ostree.ErrInvalidArgument)
	_, err = r.WriteRegfile(ctx, "x", info, nil, 1)
	require.ErrorIs(t, err, ostree.ErrInvalidArgument)
}
