package ocidir_test

import (
	"context"
	"encoding/json"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/container/internal/ocidir"
	"github.com/ostree-container/ostree-container/container/internal/testimage"
)

func create(t *testing.T, path string) *ocidir.Dir {
	t.Helper()
	d, err := ocidir.Create(path, nil)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, d.Close()) })
	return d
}

// write stores an image of one empty layer that differs by its label.
func write(t *testing.T, d *ocidir.Dir, label, tag string) ocispec.Descriptor {
	t.Helper()
	tarball := make([]byte, 1024)
	l, err := d.WriteBytes(ocispec.MediaTypeImageLayer, tarball)
	require.NoError(t, err)
	m := &ocispec.Manifest{MediaType: ocispec.MediaTypeImageManifest, Layers: []ocispec.Descriptor{l}}
	m.SchemaVersion = 2
	c := &ocispec.Image{Platform: ocispec.Platform{Architecture: "amd64", OS: "linux"}}
	c.Config.Labels = map[string]string{"which": label}
	c.RootFS = ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{digest.FromBytes(tarball)}}
	desc, err := d.WriteImage(t.Context(), m, c, tag)
	require.NoError(t, err)
	return desc
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	var found []string
	require.NoError(t, filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			found = append(found, strings.TrimPrefix(p, dir+"/"))
		}
		return err
	}))
	return found
}

func TestSkopeoReadsWhatIsWritten(t *testing.T) {
	t.Parallel()
	testimage.NeedTool(t, "skopeo")
	path := filepath.Join(t.TempDir(), "out")
	d := create(t, path)
	one := write(t, d, "one", "v1")
	two := write(t, d, "two", "a:b")

	for tag, want := range map[string]ocispec.Descriptor{"v1": one, "a:b": two} {
		raw := testimage.Run(t, "skopeo", "inspect", "--raw", "oci:"+path+":"+tag)
		assert.Equal(t, want.Digest, digest.FromString(raw), tag)
	}
	var info struct {
		Labels       map[string]string
		Architecture string
	}
	require.NoError(t, json.Unmarshal([]byte(testimage.Run(t, "skopeo", "inspect", "oci:"+path+":v1")), &info))
	assert.Equal(t, map[string]string{"which": "one"}, info.Labels)
	assert.Equal(t, "amd64", info.Architecture)

	again := write(t, d, "three", "v1")
	index, err := d.Index()
	require.NoError(t, err)
	require.Len(t, index.Manifests, 2, "the tag moved")
	assert.Equal(t, again.Digest, index.Manifests[1].Digest)

	alone := write(t, d, "four", "")
	index, err = d.Index()
	require.NoError(t, err)
	require.Len(t, index.Manifests, 1, "without a tag it is the only image")
	assert.Equal(t, alone.Digest, index.Manifests[0].Digest)
	assert.Equal(t, alone.Digest, digest.FromString(testimage.Run(t, "skopeo", "inspect", "--raw", "oci:"+path)))
}

func TestBlobs(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "out")
	d := create(t, path)
	b, err := d.NewBlob()
	require.NoError(t, err)
	_, err = b.Write([]byte("given up"))
	require.NoError(t, err)
	require.NoError(t, b.Close())
	_, err = b.Write([]byte("x"))
	require.ErrorIs(t, err, os.ErrClosed)
	_, err = b.Commit(t.Context(), "")
	require.ErrorIs(t, err, os.ErrClosed)
	assert.Equal(t, []string{"oci-layout"}, names(t, path), "nothing is left of a blob that was given up")

	// sha256sum of "hello\n"
	const hello = digest.Digest("sha256:5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03")
	_, err = d.WriteBlob(t.Context(), ocispec.Descriptor{Digest: hello, Size: 6}, strings.NewReader("hollo\n"))
	require.ErrorContains(t, err, hello.String())
	_, err = d.WriteBlob(t.Context(), ocispec.Descriptor{Digest: hello, Size: 5}, strings.NewReader("hello\n"))
	require.ErrorContains(t, err, "5 bytes")
	assert.Equal(t, []string{"oci-layout"}, names(t, path))

	for range 2 { // the second time it exists
		desc, err := d.WriteBlob(t.Context(), ocispec.Descriptor{MediaType: "text/plain"}, strings.NewReader("hello\n"))
		require.NoError(t, err)
		assert.Equal(t, ocispec.Descriptor{MediaType: "text/plain", Digest: hello, Size: 6}, desc)
		assert.True(t, d.Has(desc))
	}
	assert.Equal(t, []string{"blobs/sha256/" + hello.Encoded(), "oci-layout"}, names(t, path))
	data, err := d.ReadDocument(hello)
	require.NoError(t, err)
	assert.Equal(t, "hello\n", string(data))
	require.NoError(t, os.WriteFile(filepath.Join(path, "blobs/sha256", hello.Encoded()), []byte("hullo\n"), 0o600))
	_, err = d.ReadDocument(hello)
	require.ErrorContains(t, err, "does not have its digest")
	for _, bad := range []digest.Digest{"", "sha256:../../../etc/passwd", "sha512:" + digest.Digest(strings.Repeat("a", 128))} {
		_, err = d.Open(bad)
		require.Error(t, err, bad)
	}

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = d.WriteBlob(ctx, ocispec.Descriptor{}, strings.NewReader("late"))
	require.ErrorIs(t, err, context.Canceled)
}

func TestOtherDirectories(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	_, err := ocidir.Create(filepath.Join(dir, "missing", "out"), nil)
	require.ErrorIs(t, err, fs.ErrNotExist)
	_, err = ocidir.Open(filepath.Join(dir, "missing"), nil)
	require.ErrorIs(t, err, fs.ErrNotExist)

	home := filepath.Join(dir, "home")
	require.NoError(t, os.Mkdir(home, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(home, "letter"), nil, 0o600))
	_, err = ocidir.Create(home, nil)
	require.ErrorIs(t, err, ocidir.ErrNotLayout)
	assert.Equal(t, []string{"letter"}, names(t, home))

	file := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	_, err = ocidir.Create(file, nil)
	require.Error(t, err)

	old := filepath.Join(dir, "old")
	require.NoError(t, os.Mkdir(old, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(old, "oci-layout"), []byte(`{"imageLayoutVersion":"2.0.0"}`), 0o600))
	_, err = ocidir.Open(old, nil)
	require.ErrorIs(t, err, ocidir.ErrNotLayout)

	d := create(t, filepath.Join(dir, "broken"))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "broken", "index.json"), []byte("{"), 0o600))
	require.ErrorContains(t, d.SetImage(t.Context(), ocispec.Descriptor{}, "tag"), "index.json")
}

func TestSeveralWritersOfOneIndex(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "out")
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			d, err := ocidir.Create(path, nil)
			if assert.NoError(t, err) {
				write(t, d, strconv.Itoa(i), "tag"+strconv.Itoa(i))
				assert.NoError(t, d.Close())
			}
		})
	}
	wg.Wait()
	index, err := create(t, path).Index()
	require.NoError(t, err)
	assert.Len(t, index.Manifests, 16)
	for _, n := range names(t, path) {
		assert.NotContains(t, n, "tmp")
	}
}

// One Dir in several goroutines: the lock of the directory does not tell them apart.
func TestSeveralGoroutinesWithOneDir(t *testing.T) {
	t.Parallel()
	d := create(t, filepath.Join(t.TempDir(), "out"))
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() { write(t, d, strconv.Itoa(i), "tag"+strconv.Itoa(i)) })
	}
	wg.Wait()
	index, err := d.Index()
	require.NoError(t, err)
	assert.Len(t, index.Manifests, 16)
}

// Who gives up removes neither what another writes into at that moment, nor what another has finished.
func TestAbandon(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "out")
	first, second := create(t, path), create(t, path)
	require.NoError(t, first.Abandon())
	write(t, second, "x", "tag")
	assert.FileExists(t, filepath.Join(path, "index.json"))
	require.NoError(t, second.Close())
	require.NoError(t, create(t, path).Abandon())
	assert.FileExists(t, filepath.Join(path, "index.json"))
	require.NoError(t, os.Remove(filepath.Join(path, "index.json")))
	require.NoError(t, create(t, path).Abandon())
	assert.NoDirExists(t, path)
}

// A child between fork and exec has our descriptors, and must not keep the lock of one that is closed.
func TestAbandonBesideChildren(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		for ctx.Err() == nil {
			_ = exec.Command("true").Run()
		}
	})
	for i := range 300 {
		path := filepath.Join(dir, strconv.Itoa(i))
		first, second := create(t, path), create(t, path)
		require.NoError(t, first.Close())
		require.NoError(t, second.Abandon())
	}
	cancel()
	wg.Wait()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Empty(t, entries)
}

func TestTempIsPrivateAndRemoved(t *testing.T) {
	parent := t.TempDir()
	t.Setenv("TMPDIR", parent)
	d, err := ocidir.Temp()
	require.NoError(t, err)
	assert.Equal(t, parent, filepath.Dir(d.Path()))
	fi, err := os.Stat(d.Path())
	require.NoError(t, err)
	assert.Equal(t, fs.FileMode(0o700), fi.Mode().Perm())
	write(t, d, "x", "")
	require.NoError(t, d.Remove())
	assert.Empty(t, names(t, parent))
}
