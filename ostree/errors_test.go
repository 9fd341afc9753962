package ostree_test

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/ostree"
)

const noSum = "0000000000000000000000000000000000000000000000000000000000000000"

func TestErrorIs(t *testing.T) {
	t.Parallel()
	const io, file = "g-io-error-quark", "g-file-error-quark"
	// Codes are GLib's ABI.
	for name, c := range map[string]struct {
		domain string
		code   int
		want   []error
	}{
		"io not found":         {io, 1, []error{ostree.ErrNotFound, fs.ErrNotExist}},
		"io exists":            {io, 2, []error{ostree.ErrExists, fs.ErrExist}},
		"io no space":          {io, 12, []error{ostree.ErrNoSpace, syscall.ENOSPC}},
		"io invalid argument":  {io, 13, []error{ostree.ErrInvalidArgument, fs.ErrInvalid}},
		"io permission":        {io, 14, []error{ostree.ErrPermission, fs.ErrPermission}},
		"io not supported":     {io, 15, []error{ostree.ErrUnsupported, errors.ErrUnsupported}},
		"io closed":            {io, 18, []error{ostree.ErrClosed, fs.ErrClosed}},
		"io read-only":         {io, 21, []error{ostree.ErrReadOnly, syscall.EROFS}},
		"io would block":       {io, 27, []error{ostree.ErrWouldBlock, syscall.EAGAIN}},
		"io failed":            {io, 0, nil},
		"file exist":           {file, 0, []error{ostree.ErrExists, fs.ErrExist}},
		"file access":          {file, 2, []error{ostree.ErrPermission, fs.ErrPermission}},
		"file no entry":        {file, 4, []error{ostree.ErrNotFound, fs.ErrNotExist}},
		"other domain, code 1": {"g-key-file-error-quark", 1, nil},
		"none":                 {"", 0, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := &ostree.Error{Op: "open x", Domain: c.domain, Code: c.code, Message: "why"}
			assert.Equal(t, "open x: why", e.Error())
			all := []error{
				ostree.ErrNotFound, ostree.ErrExists, ostree.ErrNoSpace, ostree.ErrInvalidArgument, ostree.ErrPermission,
				ostree.ErrUnsupported, ostree.ErrClosed, ostree.ErrReadOnly, ostree.ErrWouldBlock, fs.ErrNotExist, fs.ErrExist,
				fs.ErrPermission, fs.ErrInvalid, fs.ErrClosed, syscall.ENOSPC, syscall.EROFS, syscall.EAGAIN, errors.ErrUnsupported,
			}
			var got []error
			for _, target := range all {
				if e.Is(target) {
					got = append(got, target)
				}
			}
			assert.ElementsMatch(t, c.want, got)
		})
	}
}

func TestErrUnsupportedIsGo(t *testing.T) {
	t.Parallel()
	assert.ErrorIs(t, ostree.ErrUnsupported, errors.ErrUnsupported)
}

func TestErrorsOfRepo(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	r := newRepo(t, ostree.ModeArchive)
	var oe *ostree.Error

	_, err := ostree.OpenRepo(ctx, filepath.Join(t.TempDir(), "none"))
	require.ErrorIs(t, err, ostree.ErrNotFound)
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.ErrorAs(t, err, &oe)
	assert.Equal(t, "g-io-error-quark", oe.Domain)
	assert.Equal(t, 1, oe.Code)
	assert.True(t, strings.HasPrefix(oe.Op, "open repository /"), oe.Op)

	_, err = r.ResolveRev(ctx, "main")
	require.ErrorIs(t, err, ostree.ErrNotFound)
	assert.EqualError(t, err, "resolve rev main: Refspec 'main' not found")
	_, _, err = r.LoadCommit(ctx, noSum)
	require.ErrorIs(t, err, ostree.ErrNotFound)
	_, err = r.LoadVariant(ctx, ostree.ObjectDirTree, noSum)
	require.ErrorIs(t, err, ostree.ErrNotFound)
	_, err = r.LoadFile(ctx, noSum)
	require.ErrorIs(t, err, ostree.ErrNotFound)

	for name, bad := range map[string]string{"empty": "", "short": "ab", "upper": strings.Repeat("A", 64), "not hex": strings.Repeat("g", 64), "NUL": strings.Repeat("\x00", 64)} {
		t.Run("checksum "+name, func(t *testing.T) {
			require.ErrorIs(t, ostree.ValidateChecksum(bad), ostree.ErrInvalidArgument)
			_, _, err := r.LoadCommit(ctx, bad)
			require.ErrorIs(t, err, ostree.ErrInvalidArgument)
			_, err = r.LoadFile(ctx, bad)
			require.ErrorIs(t, err, ostree.ErrInvalidArgument)
			_, err = r.HasObject(ctx, ostree.ObjectFile, bad)
			require.ErrorIs(t, err, ostree.ErrInvalidArgument)
			_, err = r.WriteMetadata(ctx, ostree.ObjectDirMeta, bad+"x", nil)
			require.ErrorIs(t, err, ostree.ErrInvalidArgument)
		})
	}
	_, err = r.HasObject(ctx, ostree.ObjectType(77), noSum)
	require.ErrorIs(t, err, ostree.ErrInvalidArgument)
	_, err = r.LoadVariant(ctx, ostree.ObjectFile, noSum)
	require.ErrorIs(t, err, ostree.ErrInvalidArgument)
	_, err = r.ResolveRev(ctx, "a\x00b")
	require.ErrorIs(t, err, ostree.ErrInvalidArgument)
	_, err = ostree.CreateRepo(ctx, t.TempDir(), ostree.Mode(99))
	require.ErrorIs(t, err, ostree.ErrInvalidArgument)
}

func TestWriteMetadataRefuses(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	r := newRepo(t, ostree.ModeBareUser)
	tx, err := r.Begin(ctx)
	require.NoError(t, err)
	defer tx.Abort()
	for typ := ostree.ObjectType(0); typ < 12; typ++ {
		switch typ {
		case ostree.ObjectDirTree, ostree.ObjectDirMeta, ostree.ObjectCommit:
			continue
		}
		_, err := r.WriteMetadata(ctx, typ, "", nil)
		require.ErrorIs(t, err, ostree.ErrInvalidArgument, "%v", typ)
		require.ErrorIs(t, r.WriteMetadataTrusted(ctx, typ, noSum, nil), ostree.ErrInvalidArgument, "%v", typ)
	}
	meta, err := (&ostree.DirMeta{Mode: 0o40755}).Bytes()
	require.NoError(t, err)
	for _, present := range []string{"new object", "object that is there"} {
		got, err := r.WriteMetadata(ctx, ostree.ObjectDirMeta, noSum, meta)
		var e *ostree.Error
		require.ErrorAs(t, err, &e, present)
		assert.Contains(t, err.Error(), "Corrupted dirmeta object; checksum expected='"+noSum, present)
		assert.Empty(t, got, present)
		sum, err := r.WriteMetadata(ctx, ostree.ObjectDirMeta, "", meta)
		require.NoError(t, err, present)
		got, err = r.WriteMetadata(ctx, ostree.ObjectDirMeta, sum, nil)
		require.NoError(t, err, "what is there is not compared with data")
		assert.Equal(t, sum, got, present)
	}
}

func TestErrClosed(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	closed := newRepo(t, ostree.ModeArchive)
	require.NoError(t, closed.Close())
	require.NoError(t, closed.Close())
	for name, r := range map[string]*ostree.Repo{"closed": closed, "nil": nil} {
		t.Run(name, func(t *testing.T) {
			_, err := r.ResolveRev(ctx, "x")
			require.ErrorIs(t, err, ostree.ErrClosed)
			_, err = r.ListRefs(ctx, "")
			require.ErrorIs(t, err, ostree.ErrClosed)
			_, err = r.Begin(ctx)
			require.ErrorIs(t, err, ostree.ErrClosed)
			_, err = r.HasObject(ctx, ostree.ObjectCommit, noSum)
			require.ErrorIs(t, err, ostree.ErrClosed)
			_, err = r.Config()
			require.ErrorIs(t, err, ostree.ErrClosed)
			_, err = r.Prune(ctx, 0, 0)
			require.ErrorIs(t, err, ostree.ErrClosed)
			_, err = r.Lock(ctx, ostree.LockShared)
			require.ErrorIs(t, err, ostree.ErrClosed)
			_, err = r.WriteContent(ctx, "", ostree.FileInfo{Mode: 0o100644}, nil, strings.NewReader(""), 0)
			require.ErrorIs(t, err, ostree.ErrClosed)
			assert.Equal(t, -1, r.FD())
			assert.Empty(t, r.Path())
			assert.Equal(t, ostree.Mode(-1), r.Mode())
		})
	}
}

func TestCancelledBefore(t *testing.T) {
	t.Parallel()
	r := newRepo(t, ostree.ModeArchive)
	cause := errors.New("the user went home")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	_, err := r.HasObject(ctx, ostree.ObjectCommit, noSum)
	require.ErrorIs(t, err, cause)
	require.ErrorIs(t, err, context.Canceled)
	_, err = r.ListRefs(ctx, "")
	require.ErrorIs(t, err, cause)
	_, err = ostree.OpenRepo(ctx, r.Path())
	require.ErrorIs(t, err, cause)
	_, err = r.Begin(ctx)
	require.ErrorIs(t, err, cause)
	tx, err := r.Begin(t.Context())
	require.NoError(t, err, "the cancelled Begin left nothing open")
	require.NoError(t, tx.Abort())
}
