package container_test

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ostree-container/ostree-container/container"
	"github.com/ostree-container/ostree-container/container/internal/oracle"
	ti "github.com/ostree-container/ostree-container/container/internal/testimage"
)

// No link below the repository leads anywhere: nothing is written or deleted through it, whoever made it.
func TestKeptBlobsBehindLinks(t *testing.T) {
	t.Parallel()
	w := ti.Image{Layers: foreignLayers()[:2]}.Write(t, t.TempDir(), "v1")
	for _, place := range []string{"extensions", "extensions/ostree-container", "extensions/ostree-container/kept", "extensions/ostree-container/kept/blobs", "extensions/ostree-container/kept/blobs/sha256"} {
		t.Run(filepath.Base(place), func(t *testing.T) {
			t.Parallel()
			repo, dir := newRepo(t, modeHere())
			mustPull(t, repo, w.Ref, keepBlobs)
			outside := filepath.Join(t.TempDir(), "outside")
			link := filepath.Join(dir, place)
			require.NoError(t, os.Rename(link, outside))
			require.NoError(t, os.WriteFile(filepath.Join(outside, "letter"), []byte("x"), 0o600))
			require.NoError(t, os.Symlink(outside, link))
			list := func() string { return ti.Run(t, "find", outside, "-printf", "%p %s %i %T@\n") }
			before := list()
			ref, err := repo.ListRefs(t.Context(), "")
			require.NoError(t, err)
			for name := range ref { // nothing is needed any more
				require.NoError(t, repo.SetRefImmediate(t.Context(), "", name, ""))
			}
			_, err = container.GCImageLayers(t.Context(), repo, nil)
			require.ErrorContains(t, err, "a link is not followed")
			_, _, err = pull(t, repo, w.Ref, keepBlobs)
			require.ErrorContains(t, err, "a link is not followed")
			var log bytes.Buffer
			opts := container.ImporterOptions{Logger: slog.New(slog.NewTextHandler(&log, nil))}
			mustPull(t, repo, w.Ref, opts)
			assert.Contains(t, log.String(), "unused layers were not collected")
			reexport(t, repo, w.Ref, "oci:"+t.TempDir()+"/out", &container.ReexportOptions{Logger: opts.Logger})
			assert.Contains(t, log.String(), "kept blobs may not be read")
			assert.Equal(t, before, list())
			oracle.Fsck(t, dir)
		})
	}
}

// What is no file among the kept blobs stops no prune: it goes if that is possible, and is named in a warning if not.
func TestPruneOfKeptBlobsThatAreNoFiles(t *testing.T) {
	t.Parallel()
	w := ti.Image{Layers: foreignLayers()[:2]}.Write(t, t.TempDir(), "v1")
	repo, dir := newRepo(t, modeHere())
	mustPull(t, repo, w.Ref, keepBlobs)
	blobs := filepath.Join(dir, "extensions/ostree-container/kept/blobs/sha256")
	needed := filepath.Join(blobs, w.Manifest.Layers[1].Digest.Encoded())
	require.NoError(t, os.Remove(needed))
	for _, name := range []string{needed, filepath.Join(blobs, "empty"), filepath.Join(blobs, "full", "sub")} {
		require.NoError(t, os.MkdirAll(name, 0o700))
	}
	require.NoError(t, unix.Mkfifo(filepath.Join(blobs, "fifo"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(blobs, "zzz"), []byte("left over"), 0o600))
	require.NoError(t, os.Symlink("/etc/passwd", filepath.Join(blobs, "link")))
	var log bytes.Buffer
	_, err := container.GCImageLayers(t.Context(), repo, &container.PruneOptions{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	require.NoError(t, err)
	assert.Contains(t, log.String(), "level=WARN")
	assert.Contains(t, log.String(), "blobs/sha256/full")
	var left []string
	entries, err := os.ReadDir(blobs)
	require.NoError(t, err)
	for _, e := range entries {
		left = append(left, e.Name())
	}
	assert.ElementsMatch(t, []string{"full", w.Digest().Encoded(), w.Manifest.Config.Digest.Encoded(), w.Manifest.Layers[0].Digest.Encoded()}, left)
	assert.FileExists(t, "/etc/passwd")

	// A directory in place of a blob is no obstacle to its repair.
	require.NoError(t, os.Mkdir(needed, 0o700))
	mustPull(t, repo, w.Ref, keepBlobs)
	assert.FileExists(t, needed)
	require.NoError(t, os.RemoveAll(filepath.Join(blobs, "full")))
	assert.ElementsMatch(t, blobsOf(w), keysOf(keptFiles(t, dir)))
}

// A FIFO in place of the marker is an error, at once.
func TestMarkerOfKeptBlobsIsAFIFO(t *testing.T) {
	t.Parallel()
	w := ti.Image{Layers: foreignLayers()[:1]}.Write(t, t.TempDir(), "v1")
	repo, dir := newRepo(t, modeHere())
	mustPull(t, repo, w.Ref, keepBlobs)
	marker := filepath.Join(dir, "extensions/ostree-container/kept/oci-layout")
	require.NoError(t, os.Remove(marker))
	require.NoError(t, unix.Mkfifo(marker, 0o600))
	_, err := container.GCImageLayers(t.Context(), repo, nil)
	require.ErrorContains(t, err, "oci-layout: not an OCI image layout: no regular file")
	_, _, err = pull(t, repo, w.Ref, keepBlobs)
	require.ErrorContains(t, err, "no regular file")
}
