package ostree_test

import (
	"bytes"
	"io"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/ostree"
)

func TestSmoke(t *testing.T) {
	for _, mode := range []ostree.Mode{ostree.ModeBare, ostree.ModeArchive, ostree.ModeBareUser} {
		t.Run(mode.String(), func(t *testing.T) {
			ctx := t.Context()
			dir := t.TempDir() + "/repo"
			r, err := ostree.CreateRepo(ctx, dir, mode)
			require.NoError(t, err)
			defer r.Close()
			require.Equal(t, mode, r.Mode())
			require.Equal(t, dir, r.Path())
			tx, err := r.Begin(ctx)
			require.NoError(t, err)
			defer tx.Abort()
			xa := []ostree.Xattr{{"user.b", []byte("1\x00")}, {"user.a", []byte("x")}}
			small, err := r.WriteContent(ctx, "", ostree.FileInfo{Mode: 0o100644}, xa, strings.NewReader("hello"), 5)
			require.NoError(t, err)
			big := bytes.Repeat([]byte("0123456789abcdef"), 100000)
			bigSum, err := r.WriteContent(ctx, "", ostree.FileInfo{Mode: 0o100755}, nil, bytes.NewReader(big), int64(len(big)))
			require.NoError(t, err)
			link, err := r.WriteSymlink(ctx, "", 0, 0, nil, "hello")
			require.NoError(t, err)
			for _, c := range []string{small, bigSum, link} {
				ok, err := r.HasObject(ctx, ostree.ObjectFile, c)
				require.NoError(t, err)
				require.True(t, ok)
			}
			_, err = tx.Commit(ctx)
			require.NoError(t, err)
			f, err := r.LoadFile(ctx, bigSum)
			require.NoError(t, err)
			defer f.Close()
			got, err := io.ReadAll(f)
			require.NoError(t, err)
			require.True(t, bytes.Equal(big, got))
			f, err = r.LoadFile(ctx, small)
			require.NoError(t, err)
			defer f.Close()
			require.Equal(t, []ostree.Xattr{{"user.a", []byte("x")}, {"user.b", []byte("1\x00")}}, f.Xattrs)
			f, err = r.LoadFile(ctx, link)
			require.NoError(t, err)
			defer f.Close()
			require.Equal(t, "hello", f.Info.SymlinkTarget)
			for _, c := range []string{small, bigSum, link} {
				require.NoError(t, r.FsckObject(ctx, ostree.ObjectFile, c))
			}
			out, err := exec.Command("ostree", "fsck", "--repo", dir).CombinedOutput()
			require.NoError(t, err, string(out))
		})
	}
}
