package ostree_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/ostree-container/ostree-container/ostree"
)

func TestTransaction(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	r := newRepo(t, ostree.ModeBareUser)
	tx, err := r.Begin(ctx)
	require.NoError(t, err)
	_, err = r.Begin(ctx)
	require.ErrorIs(t, err, ostree.ErrTransactionActive)

	meta, err := (&ostree.DirMeta{Mode: 0o40755}).Bytes()
	require.NoError(t, err)
	metaSum, err := r.WriteMetadata(ctx, ostree.ObjectDirMeta, "", meta)
	require.NoError(t, err)
	assert.Equal(t, fmt.Sprintf("%x", sha256.Sum256(meta)), metaSum)
	file, err := r.WriteRegfileInline(ctx, "", ostree.FileInfo{Mode: 0o644}, nil, []byte("hello\n"))
	require.NoError(t, err)
	again, err := r.WriteRegfileInline(ctx, "", ostree.FileInfo{Mode: 0o644}, nil, []byte("hello\n"))
	require.NoError(t, err)
	assert.Equal(t, file, again)
	tree, err := (&ostree.DirTree{Files: []ostree.DirTreeFile{{Name: "f", Checksum: file}}}).Bytes()
	require.NoError(t, err)
	treeSum, err := r.WriteMetadata(ctx, ostree.ObjectDirTree, "", tree)
	require.NoError(t, err)
	root, err := r.TreeFromChecksums(ctx, treeSum, metaSum)
	require.NoError(t, err)
	commit, err := r.WriteCommit(ctx, root, &ostree.CommitOptions{Subject: "s", Timestamp: time.Unix(1, 0)})
	require.NoError(t, err)
	require.NoError(t, tx.SetRef("", "main", commit))
	require.Error(t, tx.SetRef("", "bad//ref", commit))
	_, err = r.ResolveRev(ctx, "main")
	require.NoError(t, err, "libostree shows the refs of an open transaction to its own handle")
	other, err := ostree.OpenRepo(ctx, r.Path())
	require.NoError(t, err)
	defer other.Close()
	_, err = other.ResolveRev(ctx, "main")
	require.ErrorIs(t, err, ostree.ErrNotFound, "nothing is visible before Commit")
	stats, err := tx.Commit(ctx)
	require.NoError(t, err)
	assert.Equal(t, ostree.TransactionStats{
		MetadataObjectsTotal: 3, MetadataObjectsWritten: 3, ContentObjectsTotal: 2, ContentObjectsWritten: 1, ContentBytesWritten: 6,
	}, stats)
	got, err := r.ResolveRev(ctx, "main")
	require.NoError(t, err)
	assert.Equal(t, commit, got)
	fsck(t, r)

	require.NoError(t, tx.Abort())
	_, err = tx.Commit(ctx)
	require.ErrorIs(t, err, ostree.ErrNoTransaction)
	require.ErrorIs(t, tx.SetRef("", "x", commit), ostree.ErrNoTransaction)

	tx, err = r.Begin(ctx)
	require.NoError(t, err)
	require.NoError(t, tx.SetRef("", "main", ""))
	require.NoError(t, tx.SetRef("", "new", commit))
	gone, err := r.WriteRegfileInline(ctx, "", ostree.FileInfo{Mode: 0o600}, nil, []byte("gone"))
	require.NoError(t, err)
	require.NoError(t, tx.Abort())
	refs, err := r.ListRefs(ctx, "")
	require.NoError(t, err)
	assert.Equal(t, map[string]string{"main": commit}, refs)
	ok, err := other.HasObject(ctx, ostree.ObjectFile, gone)
	require.NoError(t, err)
	assert.False(t, ok)

	tx, err = r.Begin(ctx)
	require.NoError(t, err)
	require.NoError(t, tx.SetRef("", "main", ""))
	_, err = tx.Commit(ctx)
	require.NoError(t, err)
	refs, err = r.ListRefs(ctx, "")
	require.NoError(t, err)
	assert.Empty(t, refs)
}

// Two handles of one repository have a transaction each; within one, several goroutines write.
func TestTransactionConcurrent(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	for _, mode := range []ostree.Mode{ostree.ModeBareUser, ostree.ModeArchive} {
		t.Run(mode.String(), func(t *testing.T) {
			t.Parallel()
			first := newRepo(t, mode)
			var handles errgroup.Group
			for h := range 2 {
				handles.Go(func() error {
					r, err := ostree.OpenRepo(ctx, first.Path())
					if err != nil {
						return err
					}
					defer r.Close()
					tx, err := r.Begin(ctx)
					if err != nil {
						return err
					}
					defer tx.Abort()
					var mu sync.Mutex
					tree := &ostree.DirTree{}
					names := map[string]string{}
					var g errgroup.Group
					for w := range 4 {
						g.Go(func() error {
							for i := range 60 {
								name := fmt.Sprintf("f%d-%d", w, i)
								data := strings.Repeat(name, 1+i*i*3) // both sides of the small size
								if i%2 == 0 {
									data = fmt.Sprint("shared ", i)
								}
								sum, err := r.WriteContent(ctx, "", ostree.FileInfo{Mode: 0o100644}, nil, strings.NewReader(data), int64(len(data)))
								if err != nil {
									return err
								}
								mu.Lock()
								names[name] = sum
								mu.Unlock()
							}
							return nil
						})
					}
					if err := g.Wait(); err != nil {
						return err
					}
					for w := range 4 {
						for i := range 60 {
							name := fmt.Sprintf("f%d-%d", w, i)
							tree.Files = append(tree.Files, ostree.DirTreeFile{Name: name, Checksum: names[name]})
						}
					}
					sortFiles(tree)
					commit, err := writeCommit(ctx, r, tree)
					if err != nil {
						return err
					}
					if err := tx.SetRef("", fmt.Sprint("handle", h), commit); err != nil {
						return err
					}
					_, err = tx.Commit(ctx)
					return err
				})
			}
			require.NoError(t, handles.Wait())
			fsck(t, first)
			a, err := first.ResolveRev(ctx, "handle0")
			require.NoError(t, err)
			b, err := first.ResolveRev(ctx, "handle1")
			require.NoError(t, err)
			assert.Equal(t, a, b)
		})
	}
}

func TestLock(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	r := newRepo(t, ostree.ModeArchive)
	other, err := ostree.OpenRepo(ctx, r.Path())
	require.NoError(t, err)
	defer other.Close()
	shared, err := r.Lock(ctx, ostree.LockShared)
	require.NoError(t, err)
	shared2, err := other.Lock(ctx, ostree.LockShared)
	require.NoError(t, err)
	require.NoError(t, shared2.Unlock())
	require.NoError(t, shared2.Unlock())

	short, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
	defer cancel()
	start := time.Now()
	_, err = other.Lock(short, ostree.LockExclusive)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	assert.Less(t, time.Since(start), 3*time.Second)
	_, err = other.Lock(ctx, ostree.LockType(9))
	require.ErrorIs(t, err, ostree.ErrInvalidArgument)

	require.NoError(t, shared.Unlock())
	excl, err := other.Lock(ctx, ostree.LockExclusive)
	require.NoError(t, err)
	short, cancel = context.WithTimeout(ctx, 300*time.Millisecond)
	defer cancel()
	_, err = r.Begin(short)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NoError(t, excl.Unlock())
	tx, err := r.Begin(ctx)
	require.NoError(t, err)
	require.NoError(t, tx.Abort())
}

func TestWriteContentErrors(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	r := newRepo(t, ostree.ModeBareUser)
	broken := errors.New("broken pipe")
	regular := ostree.FileInfo{Mode: 0o100644}
	for _, size := range []int64{0, 10, 300 << 10, 1 << 20} {
		data := bytes.Repeat([]byte("x"), int(size))
		for name, c := range map[string]struct {
			r    io.Reader
			size int64
			want error
		}{
			"short":        {bytes.NewReader(data), size + 1, io.ErrUnexpectedEOF},
			"long":         {io.MultiReader(bytes.NewReader(data), strings.NewReader("y")), size, ostree.ErrInvalidArgument},
			"reader error": {io.MultiReader(bytes.NewReader(data), iotest.ErrReader(broken)), size + 5, broken},
			"error at end": {io.MultiReader(bytes.NewReader(data), iotest.ErrReader(broken)), size, broken},
			"negative":     {nil, -1, ostree.ErrInvalidArgument},
		} {
			t.Run(fmt.Sprint(name, " ", size), func(t *testing.T) {
				t.Parallel()
				_, err := r.WriteContent(ctx, "", regular, nil, c.r, c.size)
				require.ErrorIs(t, err, c.want)
			})
		}
		t.Run(fmt.Sprint("wrong checksum ", size), func(t *testing.T) {
			t.Parallel()
			_, err := r.WriteContent(ctx, noSum, regular, nil, bytes.NewReader(data), size)
			require.ErrorContains(t, err, "Corrupted file object")
		})
		t.Run(fmt.Sprint("one byte at a time ", size), func(t *testing.T) {
			t.Parallel()
			want, err := r.WriteContent(ctx, "", regular, nil, bytes.NewReader(data), size)
			require.NoError(t, err)
			got, err := r.WriteContent(ctx, "", regular, nil, iotest.OneByteReader(bytes.NewReader(data)), size)
			require.NoError(t, err)
			assert.Equal(t, want, got)
		})
	}
	for name, c := range map[string]struct {
		info   ostree.FileInfo
		xattrs []ostree.Xattr
	}{
		"directory":          {ostree.FileInfo{Mode: 0o40755}, nil},
		"device":             {ostree.FileInfo{Mode: 0o20600}, nil},
		"no type":            {ostree.FileInfo{Mode: 0o644}, nil},
		"symlink, no target": {ostree.FileInfo{Mode: 0o120777}, nil},
		"NUL in target":      {ostree.FileInfo{Mode: 0o120777, SymlinkTarget: "a\x00b"}, nil},
		"xattr twice":        {regular, []ostree.Xattr{{Name: "user.a"}, {Name: "user.a"}}},
		"xattr without name": {regular, []ostree.Xattr{{Name: ""}}},
		"NUL in xattr name":  {regular, []ostree.Xattr{{Name: "user.\x00"}}},
		"xattrs too large":   {regular, []ostree.Xattr{{Name: "user.a", Value: make([]byte, 17<<20)}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := r.WriteContent(ctx, "", c.info, c.xattrs, strings.NewReader(""), 0)
			require.ErrorIs(t, err, ostree.ErrInvalidArgument)
		})
	}
}

func TestWriteContentPanics(t *testing.T) {
	t.Parallel()
	r := newRepo(t, ostree.ModeBareUser)
	for _, size := range []int64{10, 1 << 20} {
		assert.PanicsWithValue(t, "from the reader", func() {
			_, _ = r.WriteContent(t.Context(), "", ostree.FileInfo{Mode: 0o100644}, nil, panicReader{}, size)
		})
	}
	fsck(t, r)
}

type panicReader struct{}

func (panicReader) Read([]byte) (int, error) { panic("from the reader") }

func TestWriteContentCancelled(t *testing.T) {
	t.Parallel()
	r := newRepo(t, ostree.ModeBareUser)
	cause := errors.New("stop now")
	ctx, cancel := context.WithCancelCause(t.Context())
	n := 0
	slow := readerFunc(func(p []byte) (int, error) {
		if n++; n == 3 {
			cancel(cause)
		}
		return min(len(p), 100<<10), nil
	})
	_, err := r.WriteContent(ctx, "", ostree.FileInfo{Mode: 0o100644}, nil, slow, 64<<20)
	require.ErrorIs(t, err, cause)
	require.ErrorIs(t, err, context.Canceled)
	var oe *ostree.Error
	require.ErrorAs(t, err, &oe)
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// Trusted writes store under the checksum given; libostree computed it before.
func TestWriteTrusted(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	for _, mode := range []ostree.Mode{ostree.ModeBare, ostree.ModeBareUser, ostree.ModeArchive} {
		t.Run(mode.String(), func(t *testing.T) {
			t.Parallel()
			if mode == ostree.ModeBare {
				needRoot(t)
			}
			from, to := newRepo(t, ostree.ModeArchive), newRepo(t, mode)
			xattrs := []ostree.Xattr{{Name: "user.z", Value: []byte("\x00\n")}, {Name: "user.b", Value: []byte("1")}}
			info := ostree.FileInfo{UID: 7, GID: 8, Mode: 0o104755}
			for _, size := range []int64{0, 100, 1 << 20} {
				data := bytes.Repeat([]byte("y"), int(size))
				sum, err := from.WriteContent(ctx, "", info, xattrs, bytes.NewReader(data), size)
				require.NoError(t, err)
				require.NoError(t, to.WriteContentTrusted(ctx, sum, info, xattrs, bytes.NewReader(data), size))
				require.NoError(t, to.FsckObject(ctx, ostree.ObjectFile, sum))
				f, err := to.LoadFile(ctx, sum)
				require.NoError(t, err)
				got, err := io.ReadAll(f)
				require.NoError(t, err)
				assert.Equal(t, data, append([]byte{}, got...))
				assert.Equal(t, ostree.FileInfo{UID: 7, GID: 8, Mode: 0o104755, Size: size}, f.Info)
				assert.Equal(t, []ostree.Xattr{xattrs[1], xattrs[0]}, f.Xattrs)
				assert.Equal(t, mode != ostree.ModeArchive, f.FD() >= 0)
				require.NoError(t, f.Close())
				require.NoError(t, f.Close())
				_, err = f.Read(make([]byte, 1))
				require.ErrorIs(t, err, ostree.ErrClosed)
			}
			link, err := from.WriteSymlink(ctx, "", 1, 2, nil, "../t")
			require.NoError(t, err)
			require.NoError(t, to.WriteContentTrusted(ctx, link, ostree.FileInfo{UID: 1, GID: 2, Mode: 0o120777, SymlinkTarget: "../t"}, nil, nil, 0))
			require.NoError(t, to.FsckObject(ctx, ostree.ObjectFile, link))
			meta, err := (&ostree.DirMeta{Mode: 0o40700, Xattrs: xattrs}).Bytes()
			require.NoError(t, err)
			sum, err := from.WriteMetadata(ctx, ostree.ObjectDirMeta, "", meta)
			require.NoError(t, err)
			require.NoError(t, to.WriteMetadataTrusted(ctx, ostree.ObjectDirMeta, sum, meta))
			require.NoError(t, to.FsckObject(ctx, ostree.ObjectDirMeta, sum))
			require.ErrorIs(t, to.WriteMetadataTrusted(ctx, ostree.ObjectDirMeta, "", meta), ostree.ErrInvalidArgument)
			require.ErrorIs(t, to.WriteContentTrusted(ctx, "", info, nil, nil, 0), ostree.ErrInvalidArgument)
		})
	}
}
