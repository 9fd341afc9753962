package ocidir_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ostree-container/ostree-container/container/internal/ocidir"
)

// soon fails the test if f, which may block for ever, is not done in a while.
func soon(t *testing.T, f func() error) error {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- f() }()
	select {
	case err := <-done:
		return err
	case <-time.After(20 * time.Second):
		require.FailNow(t, "it hangs")
		return nil
	}
}

// What is no file is refused where one belongs; opening a FIFO would block, and /dev/zero does not end.
func TestSpecialFiles(t *testing.T) {
	t.Parallel()
	for kind, put := range map[string]func(t *testing.T, path string){
		"FIFO":      func(t *testing.T, path string) { require.NoError(t, unix.Mkfifo(path, 0o600)) },
		"device":    func(t *testing.T, path string) { require.NoError(t, os.Symlink("/dev/zero", path)) },
		"directory": func(t *testing.T, path string) { require.NoError(t, os.Mkdir(path, 0o700)) },
		"socket":    func(t *testing.T, path string) { require.NoError(t, unix.Mknod(path, unix.S_IFSOCK|0o600, 0)) },
	} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "out")
			d := create(t, path)
			write(t, d, "x", "tag")
			for name, want := range map[string]error{"oci-layout": ocidir.ErrNotLayout, "index.json": ocidir.ErrDamaged} {
				file := filepath.Join(path, name)
				require.NoError(t, os.Rename(file, file+".old"))
				put(t, file)
				for what, use := range map[string]func() error{
					"create": func() error { return use(ocidir.Create(path, nil)) },
					"open":   func() error { return use(ocidir.Open(path, nil)) },
					"tag":    func() error { return d.SetImage(t.Context(), ocispec.Descriptor{}, "tag") },
				} {
					if what == "tag" && name == "oci-layout" {
						continue // is open already
					}
					err := soon(t, use)
					require.ErrorIs(t, err, want, "%s %s", what, name)
					assert.ErrorContains(t, err, name)
					assert.ErrorContains(t, err, "no regular file")
				}
				require.NoError(t, os.Remove(file))
				require.NoError(t, os.Rename(file+".old", file))
			}
		})
	}
}

// use has the index of a layout read.
func use(d *ocidir.Dir, err error) error {
	if err != nil {
		return err
	}
	_, err = d.Index()
	_ = d.Close()
	return err
}

// In somebody else's directory no link is followed, neither to write nor to delete.
func TestLinksBelow(t *testing.T) {
	t.Parallel()
	for _, name := range []string{".", "blobs", "blobs/sha256", "oci-layout", "index.json"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			parent, outside := t.TempDir(), filepath.Join(t.TempDir(), "outside")
			below, err := os.Open(parent)
			require.NoError(t, err)
			defer func() { _ = below.Close() }()
			opts := &ocidir.Options{Below: below}
			d, err := ocidir.Create("kept", opts)
			require.NoError(t, err)
			write(t, d, "x", "tag")
			require.NoError(t, d.Close())
			require.NoError(t, use(ocidir.Open("kept", opts)))

			link := filepath.Join(parent, "kept", name)
			require.NoError(t, os.Rename(link, outside))
			require.NoError(t, os.Symlink(outside, link))
			before := tree(t, filepath.Dir(outside))
			for _, open := range []func(string, *ocidir.Options) (*ocidir.Dir, error){ocidir.Open, ocidir.Create} {
				err := use(open("kept", opts))
				require.Error(t, err)
				assert.ErrorContains(t, err, "link")
			}
			assert.Equal(t, before, tree(t, filepath.Dir(outside)))
			require.NoError(t, use(ocidir.Open(filepath.Join(parent, "kept"), nil)), "where a user says so they are")
		})
	}
}

// The descriptor of a directory may be 0, as after os.Stdin.Close.
func TestBelowAsStandardInput(t *testing.T) {
	stdin, err := unix.FcntlInt(0, unix.F_DUPFD_CLOEXEC, 3)
	require.NoError(t, err)
	parent := t.TempDir()
	fd, err := unix.Open(parent, unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	require.NoError(t, err)
	require.NoError(t, unix.Dup3(fd, 0, unix.O_CLOEXEC))
	require.NoError(t, unix.Close(fd))
	below := os.NewFile(0, parent)
	defer func() {
		assert.NoError(t, below.Close())
		assert.NoError(t, unix.Dup3(stdin, 0, 0))
		assert.NoError(t, unix.Close(stdin))
	}()
	t.Chdir(t.TempDir())
	d, err := ocidir.Create("kept", &ocidir.Options{Below: below})
	require.NoError(t, err)
	assert.DirExists(t, filepath.Join(parent, "kept"))
	assert.NoDirExists(t, "kept")
	require.NoError(t, os.Mkdir("kept", 0o755))
	require.NoError(t, d.Abandon())
	assert.DirExists(t, "kept", "another one")
}

// tree lists all that is below a directory.
func tree(t *testing.T, dir string) (paths []string) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		paths = append(paths, path)
		return err
	}))
	return paths
}

// A directory with the name of a blob is in nobody's way, if nothing is in it.
func TestDirectoryInPlaceOfABlob(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "out")
	d := create(t, path)
	desc, err := d.WriteBytes("", []byte("content"))
	require.NoError(t, err)
	blob := filepath.Join(path, "blobs/sha256", desc.Digest.Encoded())
	require.NoError(t, os.Remove(blob))
	require.NoError(t, os.Mkdir(blob, 0o700))
	names, err := d.Names()
	require.NoError(t, err)
	assert.Equal(t, map[string]ocidir.Entry{desc.Digest.Encoded(): {}}, names)
	_, err = d.WriteBytes("", []byte("content"))
	require.NoError(t, err)
	require.NoError(t, d.Check(t.Context(), desc))

	require.NoError(t, os.Remove(blob))
	require.NoError(t, os.MkdirAll(filepath.Join(blob, "full"), 0o700))
	_, err = d.WriteBytes("", []byte("content"))
	require.ErrorContains(t, err, desc.Digest.Encoded())
	require.ErrorIs(t, d.RemoveBlob(desc.Digest.Encoded()), unix.ENOTEMPTY)
	require.NoError(t, os.Remove(filepath.Join(blob, "full")))
	require.NoError(t, d.RemoveBlob(desc.Digest.Encoded()))
	assert.NoDirExists(t, blob)
	names, err = d.Names()
	require.NoError(t, err)
	assert.Empty(t, names, "no temporary files either")
}

// A Commit that has to read what is there ends with its context, and leaves that as it is.
func TestCommitEndsWithItsContext(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "out")
	d := create(t, path)
	desc, err := d.WriteBytes("", []byte("content"))
	require.NoError(t, err)
	blob := filepath.Join(path, "blobs/sha256", desc.Digest.Encoded())
	before, err := os.Stat(blob)
	require.NoError(t, err)
	b, err := d.NewBlob()
	require.NoError(t, err)
	_, err = b.Write([]byte("content"))
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = b.Commit(ctx, "")
	require.ErrorIs(t, err, context.Canceled)
	after, err := os.Stat(blob)
	require.NoError(t, err)
	assert.True(t, os.SameFile(before, after))
}
