package ostree_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ostree-container/ostree-container/ostree"
)

func TestCommitFS(t *testing.T) {
	t.Parallel()
	for _, mode := range []ostree.Mode{ostree.ModeArchive, ostree.ModeBareUser} {
		t.Run(mode.String(), func(t *testing.T) {
			t.Parallel()
			ctx := t.Context()
			dir := writeTree(t, map[string]string{
				"usr/bin/tool": "tool", "usr/lib/deep/er/file": "deep", "bin": "-> usr/bin", "abs": "-> /usr/lib", "usr/up": "-> ../../../bin/tool",
				"loop": "-> loop", "broken": "-> nowhere", "empty/": "", "zero": "", "odd name": "x", "usr/chain": "-> ./up",
			})
			require.NoError(t, os.Chmod(filepath.Join(dir, "usr/bin/tool"), 0o755|os.ModeSetuid))
			require.NoError(t, os.Chmod(filepath.Join(dir, "empty"), 0o777|os.ModeSticky))
			require.NoError(t, unix.Setxattr(filepath.Join(dir, "zero"), "user.x", []byte("y"), 0))
			r := newRepo(t, mode)
			c := commitDir(t, r, "main", dir, &ostree.CommitModifier{Filter: toRoot}, nil)
			fsys, err := r.FS(ctx, "main")
			require.NoError(t, err)
			// os.DirFS of a checkout says what it should be.
			out := filepath.Join(t.TempDir(), "out")
			judge(t, "checkout", "--repo", r.Path(), "-U", "main", out)
			for name, want := range map[string]string{
				"usr/bin/tool": "tool", "bin/tool": "tool", "abs/deep/er/file": "deep", "usr/up": "tool", "usr/chain": "tool", "zero": "", "odd name": "x",
			} {
				got, err := fs.ReadFile(fsys, name)
				require.NoError(t, err, name)
				assert.Equal(t, want, string(got), name)
			}
			require.NoError(t, fs.WalkDir(os.DirFS(out), ".", func(p string, d fs.DirEntry, err error) error {
				require.NoError(t, err)
				want, err := d.Info()
				require.NoError(t, err)
				got, err := fsys.Lstat(p)
				require.NoError(t, err, p)
				assert.Equal(t, want.Mode().Type(), got.Mode().Type(), p)
				if want.Mode().Type() != fs.ModeSymlink && p != "usr/bin/tool" { // a user's checkout drops setuid
					assert.Equal(t, want.Mode(), got.Mode(), p)
				}
				if want.Mode().IsRegular() {
					assert.Equal(t, want.Size(), got.Size(), p)
				}
				if want.Mode().Type() == fs.ModeSymlink {
					to, err := os.Readlink(filepath.Join(out, p))
					require.NoError(t, err)
					link, err := fsys.ReadLink(p)
					require.NoError(t, err)
					assert.Equal(t, to, link)
				}
				if d.IsDir() {
					names := func(fsys fs.FS) (list []string) {
						entries, err := fs.ReadDir(fsys, p)
						require.NoError(t, err)
						for _, e := range entries {
							list = append(list, e.Name())
						}
						return list
					}
					assert.Equal(t, names(os.DirFS(out)), names(fsys), p)
				}
				return nil
			}))

			info, err := fsys.Stat("usr/bin/tool")
			require.NoError(t, err)
			assert.Equal(t, 0o755|fs.ModeSetuid, info.Mode())
			assert.Equal(t, time.Unix(0, 0).UTC(), info.ModTime())
			sys := info.Sys().(*ostree.FSObject)
			com, _, err := r.LoadCommit(ctx, c)
			require.NoError(t, err)
			e, err := r.LookupPath(ctx, com.RootTree, "/usr/bin/tool")
			require.NoError(t, err)
			assert.Equal(t, e.Checksum, sys.Checksum)
			assert.Equal(t, uint32(0o104755), sys.Mode)
			assert.Zero(t, sys.UID)
			assert.Empty(t, sys.Meta)
			info, err = fsys.Stat("zero")
			require.NoError(t, err)
			assert.Contains(t, info.Sys().(*ostree.FSObject).Xattrs, ostree.Xattr{Name: "user.x", Value: []byte("y")})
			info, err = fsys.Stat("empty")
			require.NoError(t, err)
			assert.Equal(t, fs.ModeDir|fs.ModeSticky|0o777, info.Mode())
			assert.Len(t, info.Sys().(*ostree.FSObject).Meta, 64)
			root, err := fsys.Stat(".")
			require.NoError(t, err)
			assert.Equal(t, com.RootTree, root.Sys().(*ostree.FSObject).Checksum)

			for name, want := range map[string]error{
				"none": fs.ErrNotExist, "broken": fs.ErrNotExist, "loop": syscall.ELOOP, "zero/x": syscall.ENOTDIR, "/usr": fs.ErrInvalid,
				"usr/../zero": fs.ErrInvalid, "": fs.ErrInvalid, "usr/": fs.ErrInvalid,
			} {
				_, err := fsys.Open(name)
				var pe *fs.PathError
				require.ErrorAs(t, err, &pe, name)
				assert.Equal(t, name, pe.Path)
				require.ErrorIs(t, err, want, name)
			}
			_, err = fsys.ReadFile("usr")
			require.ErrorIs(t, err, syscall.EISDIR)
			_, err = fsys.ReadDir("zero")
			require.ErrorIs(t, err, syscall.ENOTDIR)
			_, err = fsys.ReadLink("zero")
			require.ErrorIs(t, err, fs.ErrInvalid)
			_, err = r.FS(ctx, "nope")
			require.ErrorIs(t, err, ostree.ErrNotFound)

			sub, err := fs.Sub(fsys, "usr")
			require.NoError(t, err)
			b, err := fs.ReadFile(sub, "up")
			require.NoError(t, err)
			assert.Equal(t, "tool", string(b))
		})
	}
}

// The standard library's own checks. It opens every entry, so no symlink is broken.
func TestCommitFSAgainstTestFS(t *testing.T) {
	t.Parallel()
	r := newRepo(t, ostree.ModeArchive)
	files := osTree("1")
	files["ostree"] = "-> usr/lib/modules"
	files["usr/link"] = "-> bin/sh"
	judgeCommit(t, r.Path(), "main", writeTree(t, files))
	fsys, err := r.FS(t.Context(), "main")
	require.NoError(t, err)
	require.NoError(t, fstest.TestFS(fsys, "usr/bin/sh", "usr/etc/hostname", "boot", "ostree", "usr/link"))
}

func TestCommitFSCorrupt(t *testing.T) {
	t.Parallel()
	r := newRepo(t, ostree.ModeArchive)
	judgeCommit(t, r.Path(), "main", writeTree(t, sample))
	fsys, err := r.FS(t.Context(), "main")
	require.NoError(t, err)
	info, err := fsys.Stat("usr/bin/a")
	require.NoError(t, err)
	require.NoError(t, r.DeleteObject(t.Context(), ostree.ObjectFile, info.Sys().(*ostree.FSObject).Checksum))
	_, err = fsys.ReadFile("usr/bin/a")
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.ErrorContains(t, err, info.Sys().(*ostree.FSObject).Checksum)
	_, err = fsys.ReadDir("usr/bin")
	require.ErrorContains(t, err, "usr/bin/a")
	require.NoError(t, r.Close())
	_, err = fsys.Open("usr")
	require.ErrorIs(t, err, ostree.ErrClosed)
}

// What takes an fs.FS takes a commit.
func ExampleRepo_FS() {
	dir, remove := scratch()
	defer remove()
	ctx := context.Background()
	tree := filepath.Join(dir, "tree")
	err := errors.Join(
		os.MkdirAll(filepath.Join(tree, "usr/lib"), 0o755),
		os.WriteFile(filepath.Join(tree, "usr/lib/os-release"), []byte("ID=example\n"), 0o644),
		os.Symlink("../usr/lib/os-release", filepath.Join(tree, "usr/release")),
	)
	if err != nil {
		log.Fatal(err)
	}
	repo, err := ostree.CreateRepo(ctx, filepath.Join(dir, "repo"), ostree.ModeArchive)
	if err != nil {
		log.Fatal(err)
	}
	defer repo.Close()
	commit, err := commitTree(ctx, repo, tree)
	if err != nil {
		log.Fatal(err)
	}
	fsys, err := repo.FS(ctx, commit)
	if err != nil {
		log.Fatal(err)
	}
	err = fs.WalkDir(fsys, ".", func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			fmt.Println(d.Type(), path)
		}
		return err
	})
	if err != nil {
		log.Fatal(err)
	}
	b, err := fs.ReadFile(fsys, "usr/release")
	fmt.Printf("%s%v\n", b, err)
	// Output:
	// ---------- usr/lib/os-release
	// L--------- usr/release
	// ID=example
	// <nil>
}

// commitTree commits a directory, owned by root, without a ref.
func commitTree(ctx context.Context, r *ostree.Repo, dir string) (string, error) {
	tx, err := r.Begin(ctx)
	if err != nil {
		return "", err
	}
	defer tx.Abort()
	m := ostree.NewMutableTree()
	if err := r.WriteDirectoryToMTree(ctx, dir, m, &ostree.CommitModifier{Flags: ostree.ModifierSkipXattrs, Filter: toRoot}); err != nil {
		return "", err
	}
	root, err := r.WriteMTree(ctx, m)
	if err != nil {
		return "", err
	}
	commit, err := r.WriteCommit(ctx, root, &ostree.CommitOptions{Timestamp: time.Unix(0, 0)})
	if err != nil {
		return "", err
	}
	_, err = tx.Commit(ctx)
	return commit, err
}

// The header of an archive's file object says how large its content is, and libostree believes it.
func TestFileOfImpossibleSize(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	for first, want := range map[byte]error{0x80: ostree.ErrCorrupt, 0xff: ostree.ErrCorrupt, 0x7f: io.ErrUnexpectedEOF} {
		r := newRepo(t, ostree.ModeArchive)
		commit := judgeCommit(t, r.Path(), "main", writeTree(t, map[string]string{"f": "content"}))
		objects, err := filepath.Glob(r.Path() + "/objects/??/*.filez")
		require.NoError(t, err)
		require.Len(t, objects, 1)
		data, err := os.ReadFile(objects[0])
		require.NoError(t, err)
		data[8] = first // after the header's length and padding: a big-endian uint64
		require.NoError(t, os.WriteFile(objects[0], data, 0o600))
		fsys, err := r.FS(ctx, commit)
		require.NoError(t, err)
		_, err = fs.ReadFile(fsys, "f")
		require.ErrorIs(t, err, want)
		if want == ostree.ErrCorrupt {
			sum := filepath.Base(filepath.Dir(objects[0])) + strings.TrimSuffix(filepath.Base(objects[0]), ".filez")
			_, err = r.LoadFile(ctx, sum)
			require.ErrorIs(t, err, want)
		}
	}
}
