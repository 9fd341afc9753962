package ostree_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ostree-container/ostree-container/ostree"
)

func TestChecksumForms(t *testing.T) {
	t.Parallel()
	for _, in := range []string{"", "a", "b", "\xff"} {
		raw := sha256.Sum256([]byte(in))
		text := hex.EncodeToString(raw[:])
		b64 := strings.ReplaceAll(base64.RawStdEncoding.EncodeToString(raw[:]), "/", "_")
		got, err := ostree.ChecksumBytes(text)
		require.NoError(t, err)
		assert.Equal(t, raw, got)
		assert.Equal(t, text, ostree.ChecksumString(raw))
		short, err := ostree.ChecksumBase64(text)
		require.NoError(t, err)
		assert.Equal(t, b64, short)
		back, err := ostree.ParseChecksumBase64(b64)
		require.NoError(t, err)
		assert.Equal(t, text, back)
		v, err := ostree.NewChecksumVariant(text)
		require.NoError(t, err)
		assert.Equal(t, raw[:], v.Bytes())
		back, err = v.Checksum()
		require.NoError(t, err)
		assert.Equal(t, text, back)
	}
	for _, bad := range []string{"", "x", strings.Repeat("A", 64), strings.Repeat("0", 63), strings.Repeat("0", 64) + "\n"} {
		_, err := ostree.ChecksumBytes(bad)
		require.ErrorIs(t, err, ostree.ErrInvalidArgument, bad)
		_, err = ostree.ChecksumBase64(bad)
		require.ErrorIs(t, err, ostree.ErrInvalidArgument, bad)
		_, err = ostree.NewChecksumVariant(bad)
		require.ErrorIs(t, err, ostree.ErrInvalidArgument, bad)
		_, err = ostree.ParseChecksumBase64(bad)
		require.ErrorIs(t, err, ostree.ErrInvalidArgument, bad)
	}
	_, err := ostree.ParseChecksumBase64(strings.Repeat("/", 43))
	require.ErrorIs(t, err, ostree.ErrInvalidArgument)
	_, err = ostree.NewBytesVariant([]byte("short")).Checksum()
	require.ErrorContains(t, err, "checksum of length")
	_, err = ostree.NewUint32Variant(1).Checksum()
	require.ErrorIs(t, err, ostree.ErrVariantType)
}

// The checksum of a file on disk is that of the object which the ostree command makes of it.
func TestChecksumFile(t *testing.T) {
	needRoot(t) // owners
	ctx := t.Context()
	dir := writeTree(t, map[string]string{"f": "content\n", "l": "-> f", "d/": ""})
	require.NoError(t, unix.Lsetxattr(filepath.Join(dir, "f"), "user.x", []byte("y"), 0))
	require.NoError(t, os.Lchown(filepath.Join(dir, "f"), 7, 8))
	r := newRepo(t, ostree.ModeArchive)
	judge(t, "commit", "--repo", r.Path(), "-b", "main", dir)
	want := map[string]string{}
	for _, line := range strings.Split(strings.TrimSpace(judge(t, "ls", "--repo", r.Path(), "-R", "-C", "main")), "\n") {
		f := strings.Fields(line)
		switch f[0][0] {
		case 'd':
			want[f[len(f)-1]] = f[len(f)-2] // dirtree, dirmeta
		case 'l':
			want[f[len(f)-3]] = f[len(f)-4]
		default:
			want[f[len(f)-1]] = f[len(f)-2]
		}
	}
	fd, err := unix.Open(dir, unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	require.NoError(t, err)
	defer unix.Close(fd)
	for _, name := range []string{"f", "l"} {
		got, err := ostree.ChecksumFile(ctx, filepath.Join(dir, name), ostree.ObjectFile)
		require.NoError(t, err)
		assert.Equal(t, want["/"+name], got, name)
		got, err = ostree.ChecksumFileAt(ctx, fd, name, ostree.ObjectFile, 0)
		require.NoError(t, err)
		assert.Equal(t, want["/"+name], got, name)
	}
	meta, err := (&ostree.DirMeta{Mode: 0o40755}).Bytes()
	require.NoError(t, err)
	raw := sha256.Sum256(meta)
	got, err := ostree.ChecksumFile(ctx, filepath.Join(dir, "d"), ostree.ObjectDirMeta)
	require.NoError(t, err)
	assert.Equal(t, hex.EncodeToString(raw[:]), got)
	got, err = ostree.ChecksumFileAt(ctx, fd, "d", ostree.ObjectDirMeta, 0)
	require.NoError(t, err)
	assert.Equal(t, hex.EncodeToString(raw[:]), got)

	// As a metadata object: the bytes alone.
	raw = sha256.Sum256([]byte("content\n"))
	got, err = ostree.ChecksumFile(ctx, filepath.Join(dir, "f"), ostree.ObjectCommit)
	require.NoError(t, err)
	assert.Equal(t, hex.EncodeToString(raw[:]), got)

	plain, err := ostree.ChecksumContent(ctx, ostree.FileInfo{Mode: 0o100644}, nil, strings.NewReader("content\n"), 8)
	require.NoError(t, err)
	got, err = ostree.ChecksumFileAt(ctx, fd, "f", ostree.ObjectFile, ostree.ChecksumIgnoreXattrs|ostree.ChecksumCanonicalPermissions)
	require.NoError(t, err)
	assert.Equal(t, plain, got)

	_, err = ostree.ChecksumFile(ctx, filepath.Join(dir, "none"), ostree.ObjectFile)
	require.ErrorIs(t, err, ostree.ErrNotFound)
	_, err = ostree.ChecksumFileAt(ctx, fd, "none", ostree.ObjectFile, 0)
	require.ErrorIs(t, err, ostree.ErrNotFound)
	_, err = ostree.ChecksumFileAt(ctx, fd, "f", 99, 0)
	require.ErrorIs(t, err, ostree.ErrInvalidArgument)
	_, err = ostree.ChecksumFile(ctx, "a\x00b", ostree.ObjectFile)
	require.ErrorIs(t, err, ostree.ErrInvalidArgument)
}

// contents are files and a symlink with what an object keeps of them.
func contents() []struct {
	info    ostree.FileInfo
	xattrs  []ostree.Xattr
	content string
} {
	return []struct {
		info    ostree.FileInfo
		xattrs  []ostree.Xattr
		content string
	}{
		{ostree.FileInfo{Mode: 0o100644}, nil, ""},
		{ostree.FileInfo{UID: 1, GID: 2, Mode: 0o104755}, []ostree.Xattr{{Name: "user.b", Value: []byte("2")}, {Name: "user.a", Value: []byte("1")}}, "content"},
		{ostree.FileInfo{Mode: 0o100600}, nil, strings.Repeat("large ", 1<<17)},
		{ostree.FileInfo{Mode: 0o120777, SymlinkTarget: "../target"}, nil, ""},
	}
}

func TestChecksumContent(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	r := newRepo(t, ostree.ModeArchive)
	for _, c := range contents() {
		want, err := r.WriteContent(ctx, "", c.info, c.xattrs, strings.NewReader(c.content), int64(len(c.content)))
		require.NoError(t, err)
		got, err := ostree.ChecksumContent(ctx, c.info, c.xattrs, iotest.HalfReader(strings.NewReader(c.content)), int64(len(c.content)))
		require.NoError(t, err)
		assert.Equal(t, want, got)
	}
	file := ostree.FileInfo{Mode: 0o100644}
	_, err := ostree.ChecksumContent(ctx, file, nil, strings.NewReader("abc"), 5)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	_, err = ostree.ChecksumContent(ctx, file, nil, strings.NewReader("abc"), 2)
	require.ErrorIs(t, err, ostree.ErrInvalidArgument)
	broken := errors.New("broken")
	_, err = ostree.ChecksumContent(ctx, file, nil, iotest.ErrReader(broken), 2)
	require.ErrorIs(t, err, broken)
	_, err = ostree.ChecksumContent(ctx, ostree.FileInfo{Mode: 0o40755}, nil, nil, 0)
	require.ErrorIs(t, err, ostree.ErrInvalidArgument)
}

// What ArchiveContent makes is what an archive repository holds; ParseContent reads it back, also from the repository's file.
func TestContentRoundTrip(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	r := newRepo(t, ostree.ModeArchive)
	for _, c := range contents() {
		sum, err := r.WriteContent(ctx, "", c.info, c.xattrs, strings.NewReader(c.content), int64(len(c.content)))
		require.NoError(t, err)
		path := filepath.Join(r.Path(), "objects", sum[:2], sum[2:]+".filez")
		want, err := os.ReadFile(path)
		require.NoError(t, err)
		s, err := ostree.ArchiveContent(ctx, c.info, c.xattrs, strings.NewReader(c.content), int64(len(c.content)), 0)
		require.NoError(t, err)
		got, err := io.ReadAll(s)
		require.NoError(t, err)
		assert.Equal(t, want, got)
		require.NoError(t, s.Close())
		require.NoError(t, s.Close())

		check := func(f *ostree.File, err error) {
			t.Helper()
			require.NoError(t, err)
			b, err := io.ReadAll(f)
			require.NoError(t, err)
			assert.Equal(t, c.content, string(b))
			assert.Equal(t, c.info.Mode, f.Info.Mode)
			assert.Equal(t, c.info.UID, f.Info.UID)
			assert.Equal(t, c.info.SymlinkTarget, f.Info.SymlinkTarget)
			assert.Len(t, f.Xattrs, len(c.xattrs))
			require.NoError(t, f.Close())
			_, err = f.Read(make([]byte, 1))
			require.ErrorIs(t, err, ostree.ErrClosed)
		}
		f, err := ostree.ParseContent(ctx, bytes.NewReader(want), int64(len(want)), ostree.ContentCompressed, ostree.Verify)
		check(f, err)
		f, err = ostree.ParseContentFile(ctx, path, ostree.ContentCompressed, ostree.Verify)
		check(f, err)
		f, err = ostree.ParseContentFileAt(ctx, unix.AT_FDCWD, path, ostree.ContentCompressed, ostree.Trusted)
		check(f, err)
	}
}

func TestContentErrors(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	broken := errors.New("broken")
	_, err := ostree.ParseContent(ctx, iotest.ErrReader(broken), 100, ostree.ContentPlain, ostree.Verify)
	require.ErrorIs(t, err, broken)
	for _, bad := range []string{"", "abc", "\xff\xff\xff\xffxxxx", "\x00\x00\x00\x00xxxx"} {
		_, err = ostree.ParseContent(ctx, strings.NewReader(bad), int64(len(bad)), ostree.ContentPlain, ostree.Verify)
		require.ErrorIs(t, err, ostree.ErrCorrupt, "%q", bad)
		path := filepath.Join(t.TempDir(), "f")
		require.NoError(t, os.WriteFile(path, []byte(bad), 0o600))
		_, err = ostree.ParseContentFile(ctx, path, ostree.ContentPlain, ostree.Verify)
		require.ErrorIs(t, err, ostree.ErrCorrupt, "%q", bad)
	}
	_, err = ostree.ParseContent(ctx, strings.NewReader("\x00\x00\x00\x08xxxx12345678"), 16, ostree.ContentPlain, ostree.Verify)
	require.Error(t, err)
	_, err = ostree.ParseContentFile(ctx, "/none", ostree.ContentPlain, ostree.Verify)
	require.ErrorIs(t, err, os.ErrNotExist)
	_, err = ostree.ParseContentFileAt(ctx, unix.AT_FDCWD, "/none", ostree.ContentPlain, ostree.Verify)
	require.ErrorIs(t, err, os.ErrNotExist)
	_, err = ostree.ArchiveContent(ctx, ostree.FileInfo{Mode: 0o100644}, nil, nil, 0, 10)
	require.ErrorIs(t, err, ostree.ErrInvalidArgument)
	s, err := ostree.ArchiveContent(ctx, ostree.FileInfo{Mode: 0o100644}, nil, iotest.ErrReader(broken), 5, 9)
	require.NoError(t, err)
	defer s.Close()
	_, err = io.ReadAll(s)
	require.ErrorIs(t, err, broken)
}

func TestFileXattrsAndHardlinks(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	dir := writeTree(t, map[string]string{"a": "x", "l": "-> a"})
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	require.NoError(t, unix.Setxattr(a, "user.z", []byte("1"), 0))
	require.NoError(t, unix.Setxattr(a, "user.b", []byte("2"), 0))
	want := []ostree.Xattr{{Name: "user.b", Value: []byte("2")}, {Name: "user.z", Value: []byte("1")}}
	d, err := os.Open(dir)
	require.NoError(t, err)
	defer d.Close()
	f, err := os.Open(a)
	require.NoError(t, err)
	defer f.Close()
	users := func(list []ostree.Xattr) (out []ostree.Xattr) { // the host may add security.selinux
		for _, x := range list {
			if strings.HasPrefix(x.Name, "user.") {
				out = append(out, x)
			}
		}
		return out
	}
	got, err := ostree.FileXattrs(ctx, int(f.Fd()))
	require.NoError(t, err)
	assert.Equal(t, want, users(got))
	got, err = ostree.FileXattrsAt(ctx, int(d.Fd()), "a")
	require.NoError(t, err)
	assert.Equal(t, want, users(got))
	got, err = ostree.FileXattrsAt(ctx, int(d.Fd()), "l")
	require.NoError(t, err)
	assert.Empty(t, users(got))
	_, err = ostree.FileXattrsAt(ctx, int(d.Fd()), "none")
	require.ErrorIs(t, err, ostree.ErrNotFound)
	_, err = ostree.FileXattrs(ctx, -1)
	require.ErrorIs(t, err, ostree.ErrInvalidArgument)

	inode := func(p string) (i uint64) {
		var st unix.Stat_t
		require.NoError(t, unix.Lstat(p, &st))
		return st.Ino
	}
	require.NoError(t, os.Link(a, b))
	require.NoError(t, ostree.BreakHardlink(ctx, int(d.Fd()), "b", ostree.CopyXattrs))
	assert.NotEqual(t, inode(a), inode(b))
	got, err = ostree.FileXattrsAt(ctx, int(d.Fd()), "b")
	require.NoError(t, err)
	assert.Equal(t, want, users(got))
	was := inode(b)
	require.NoError(t, ostree.BreakHardlink(ctx, int(d.Fd()), "b", ostree.CopyXattrs), "no hardlink any more")
	assert.Equal(t, was, inode(b))
	require.NoError(t, os.Link(a, filepath.Join(dir, "c")))
	require.NoError(t, ostree.BreakHardlink(ctx, int(d.Fd()), "c", ostree.SkipXattrs))
	got, err = ostree.FileXattrsAt(ctx, int(d.Fd()), "c")
	require.NoError(t, err)
	assert.Empty(t, users(got))
	require.ErrorIs(t, ostree.BreakHardlink(ctx, int(d.Fd()), "none", ostree.CopyXattrs), ostree.ErrNotFound)
}

func TestValidateChecksumVariant(t *testing.T) {
	t.Parallel()
	v, err := ostree.NewChecksumVariant(noSum)
	require.NoError(t, err)
	require.NoError(t, ostree.ValidateChecksumVariant(v))
	require.Error(t, ostree.ValidateChecksumVariant(ostree.NewBytesVariant(make([]byte, 31))))
	require.ErrorIs(t, ostree.ValidateChecksumVariant(ostree.NewUint32Variant(1)), ostree.ErrVariantType)
}
