package ocidir_test

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ostree-container/ostree-container/container/internal/ocidir"
)

const layoutText = `{"imageLayoutVersion":"1.0.0"}`

// What a crash leaves of the marker is no reason to have the layout deleted by hand; what is somebody else's is left alone.
func TestMarkerThatACrashLeft(t *testing.T) {
	t.Parallel()
	for name, left := range map[string]string{"empty": "", "truncated": layoutText[:11], "zeros": string(make([]byte, len(layoutText)))} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "out")
			d := create(t, path)
			image := write(t, d, "x", "tag")
			marker := filepath.Join(path, "oci-layout")
			require.NoError(t, os.WriteFile(marker, []byte(left), 0o600))
			index, err := create(t, path).Index()
			require.NoError(t, err)
			require.Len(t, index.Manifests, 1)
			assert.Equal(t, image.Digest, index.Manifests[0].Digest)
			text, err := os.ReadFile(marker)
			require.NoError(t, err)
			assert.JSONEq(t, layoutText, string(text))

			for foreign, content := range map[string]string{"letter": "", "index.json": "{"} {
				require.NoError(t, os.WriteFile(marker, []byte(left), 0o600))
				require.NoError(t, os.WriteFile(filepath.Join(path, foreign), []byte(content), 0o600))
				_, err = ocidir.Create(path, nil)
				require.ErrorIs(t, err, ocidir.ErrNotLayout, foreign)
				require.NoError(t, os.Remove(filepath.Join(path, foreign)))
				now, err := os.ReadFile(marker)
				require.NoError(t, err)
				assert.Equal(t, left, string(now))
			}
		})
	}
	for _, foreign := range []string{`{"imageLayoutVersion":"2.0.0"}`, "{}", "text", layoutText + "x"} {
		path := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(path, "oci-layout"), []byte(foreign), 0o600))
		_, err := ocidir.Create(path, nil)
		require.ErrorIs(t, err, ocidir.ErrNotLayout, foreign)
	}
	// No crash loses the name of the marker and leaves the index, which is written later: this is data of somebody else.
	path := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(path, "index.json"), []byte(`{"my":"data"}`), 0o600))
	_, err := ocidir.Create(path, nil)
	require.ErrorIs(t, err, ocidir.ErrNotLayout)
	assert.NoDirExists(t, filepath.Join(path, "blobs"))
}

// A durable layout has its names on the disk, too. Not parallel: it listens to all of the package.
func TestDurableNames(t *testing.T) {
	var synced []string
	defer ocidir.SetFsync(func(fd int) error {
		path, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd))
		require.NoError(t, err)
		synced = append(synced, path)
		return unix.Fsync(fd)
	})()
	parent := t.TempDir()
	path := filepath.Join(parent, "out")
	d, err := ocidir.Create(path, &ocidir.Options{Durable: true})
	require.NoError(t, err)
	require.NotEmpty(t, synced)
	assert.Equal(t, filepath.Join(path, "blobs/sha256"), filepath.Dir(synced[0]), "the marker, before it has its name")
	assert.Equal(t, []string{filepath.Join(path, "blobs"), path, parent}, synced[1:])
	synced = nil
	_, err = d.WriteBytes("", []byte("x"))
	require.NoError(t, err)
	assert.Equal(t, []string{filepath.Join(path, "blobs/sha256")}, synced)
	require.NoError(t, d.Close())
	synced = nil
	require.NoError(t, create(t, filepath.Join(parent, "other")).Close())
	assert.Empty(t, synced, "only on request")
}

// A blob of the right size is not believed where a good one is at hand.
func TestDamagedBlobIsReplaced(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	source := create(t, filepath.Join(dir, "source"))
	desc, err := source.WriteBytes("", []byte("hello\n"))
	require.NoError(t, err)
	for name, opts := range map[string]*ocidir.Options{"": nil, "durable": {Durable: true}} {
		path := filepath.Join(dir, "out"+name)
		d, err := ocidir.Create(path, opts)
		require.NoError(t, err)
		blob := filepath.Join(path, "blobs/sha256", desc.Digest.Encoded())
		fill := func(text string) os.FileInfo {
			t.Helper()
			require.NoError(t, os.WriteFile(blob+"-", []byte(text), 0o644))
			require.NoError(t, os.Rename(blob+"-", blob))
			fi, err := os.Stat(blob)
			require.NoError(t, err)
			return fi
		}
		holds := func() os.FileInfo {
			t.Helper()
			text, err := os.ReadFile(blob)
			require.NoError(t, err)
			assert.Equal(t, "hello\n", string(text))
			fi, err := os.Stat(blob)
			require.NoError(t, err)
			return fi
		}
		for _, put := range []func() error{
			func() error { _, err := d.WriteBytes("", []byte("hello\n")); return err },
			func() error {
				linked, err := d.LinkBlob(t.Context(), source, desc)
				assert.True(t, linked)
				return err
			},
		} {
			fill("hullo\n")
			require.ErrorIs(t, d.Check(t.Context(), desc), ocidir.ErrDamaged)
			require.NoError(t, put())
			holds()
			require.NoError(t, d.Check(t.Context(), desc))
			good := fill("hello\n")
			require.NoError(t, put())
			assert.True(t, os.SameFile(good, holds()), "a good one stays")
		}
		require.NoError(t, d.Close())
		assert.NotContains(t, names(t, path), "tmp")
	}
	assert.Equal(t, ocispec.Descriptor{Digest: desc.Digest, Size: 6}, desc)
}
