package container_test

import (
	"bytes"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ostree-container/ostree-container/container"
	"github.com/ostree-container/ostree-container/container/internal/oracle"
	ti "github.com/ostree-container/ostree-container/container/internal/testimage"
)

// Whichever blob is damaged, the image is exported and copied as one without kept blobs, unless its digest was asked for; that is said, and
// the pull that the text asks for repairs it.
func TestDamagedKeptBlobs(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w := ti.Image{Layers: foreignLayers()[:2]}.Write(t, dir, "v1")
	reg := ti.NewRegistry(t, dir)
	ref := reg.Ref("os", "v1")
	repo, repoDir := newRepo(t, modeHere())
	plain, _ := newRepo(t, modeHere())
	mustPull(t, plain, ref, container.ImporterOptions{})
	made := reexport(t, plain, ref, "oci:"+t.TempDir()+"/out", nil)
	require.NotEqual(t, w.Digest(), made)
	mustPull(t, repo, ref, keepBlobs)
	kept := func(repo string, id digest.Digest) string {
		return filepath.Join(repo, "extensions/ostree-container/kept/blobs/sha256", id.Encoded())
	}
	rot := func(path string) {
		t.Helper()
		data, err := os.ReadFile(path)
		require.NoError(t, err)
		data[len(data)/2] ^= 1
		require.NoError(t, os.WriteFile(path, data, 0o600))
	}
	fifo := func(path string) {
		t.Helper()
		require.NoError(t, os.Remove(path))
		require.NoError(t, unix.Mkfifo(path, 0o600))
	}
	layer := w.Manifest.Layers[1].Digest
	for name, tc := range map[string]struct {
		blob   digest.Digest
		damage func(path string)
	}{
		"manifest": {w.Digest(), rot}, "config": {w.Manifest.Config.Digest, rot}, "layer": {layer, rot},
		"layer cut short": {layer, func(path string) { require.NoError(t, os.Truncate(path, 10)) }},
		"layer lost":      {layer, func(path string) { require.NoError(t, os.Remove(path)) }},
		"FIFO":            {w.Digest(), fifo}, "layer is a FIFO": {layer, fifo},
		"no file": {layer, func(path string) { require.NoError(t, os.Remove(path)); require.NoError(t, os.Mkdir(path, 0o700)) }},
	} {
		path := kept(repoDir, tc.blob)
		tc.damage(path)
		var log bytes.Buffer
		logger := slog.New(slog.NewTextHandler(&log, nil))
		out := t.TempDir()
		assert.Equal(t, made, reexport(t, repo, ref, "oci:"+out+"/out", &container.ReexportOptions{Logger: logger}), name)
		assert.Contains(t, log.String(), tc.blob.String(), name)
		assert.Contains(t, log.String(), "--keep-blobs", name)
		_, err := container.Reexport(t.Context(), repo, imageName(t, ref), ociRef(t, out+"/same"), &container.ReexportOptions{PreserveDigests: true})
		require.ErrorIs(t, err, container.ErrDigestChanged, name)
		require.ErrorContains(t, err, tc.blob.String(), name)
		require.ErrorContains(t, err, "--keep-blobs", name)
		assert.NoDirExists(t, out+"/same")
		for _, verify := range []bool{false, true} {
			log.Reset()
			into, intoDir := newRepo(t, modeHere())
			_, err = container.Copy(t.Context(), repo, imageName(t, ref), into, &container.CopyOptions{Verify: verify, Logger: logger})
			require.NoError(t, err, name)
			oracle.Fsck(t, intoDir)
			if tc.damage != nil && (verify || name != "config" && name != "layer") { // links are not read
				assert.Contains(t, log.String(), tc.blob.String(), name)
				assert.NoFileExists(t, kept(intoDir, w.Digest()), name)
			}
		}
		if name == "no file" {
			require.NoError(t, os.Remove(path))
		}
		mustPull(t, repo, ref, keepBlobs)
		assert.ElementsMatch(t, blobsOf(w), keysOf(keptFiles(t, repoDir)), name)
		assert.Equal(t, w.Digest(), reexport(t, repo, ref, "oci:"+out+"/again", &container.ReexportOptions{PreserveDigests: true}), name)
	}
	assert.Equal(t, 2, reg.Requests("blob", w.Manifest.Layers[0].Digest.String()), "what is intact is fetched once for each repository")

	// A damaged blob at the destination is no reason to leave it so: of a copy, or of a re-export into a layout.
	into, intoDir := newRepo(t, modeHere())
	for _, verify := range []bool{false, true} {
		_, err := container.Copy(t.Context(), repo, imageName(t, ref), into, &container.CopyOptions{Verify: verify})
		require.NoError(t, err)
		path := kept(intoDir, layer)
		data, err := os.ReadFile(path)
		require.NoError(t, err)
		require.NoError(t, os.Remove(path)) // it may be a link
		require.NoError(t, os.WriteFile(path, append([]byte{^data[0]}, data[1:]...), 0o600))
		_, err = container.Copy(t.Context(), repo, imageName(t, ref), into, &container.CopyOptions{Verify: verify})
		require.NoError(t, err)
		assert.ElementsMatch(t, blobsOf(w), keysOf(keptFiles(t, intoDir)))
	}
	out := t.TempDir() + "/out"
	for range 2 {
		reexport(t, repo, ref, "oci:"+out+":x", nil)
		blob := filepath.Join(out, "blobs/sha256", layer.Encoded())
		assert.Equal(t, layer.Encoded(), strings.Fields(ti.Run(t, "sha256sum", blob))[0])
		rot(blob)
	}
}

// Who may not read the kept blobs is told, and gets what there is without them.
func TestUnreadableKeptBlobs(t *testing.T) {
	t.Parallel()
	w := ti.Image{Layers: foreignLayers()[:2]}.Write(t, t.TempDir(), "v1")
	repo, dir := newRepo(t, modeHere())
	mustPull(t, repo, w.Ref, keepBlobs)
	require.NoError(t, os.Chmod(filepath.Join(dir, "extensions/ostree-container/kept"), 0))
	t.Cleanup(func() { _ = os.Chmod(filepath.Join(dir, "extensions/ostree-container/kept"), 0o700) })
	runtime.LockOSThread() // and it ends with the goroutine, which has no right of root to read all any more
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var caps [2]unix.CapUserData
	require.NoError(t, unix.Capget(&header, &caps[0]))
	caps[0].Effective &^= 1<<unix.CAP_DAC_OVERRIDE | 1<<unix.CAP_DAC_READ_SEARCH
	require.NoError(t, unix.Capset(&header, &caps[0]))
	var log bytes.Buffer
	got := reexport(t, repo, w.Ref, "oci:"+t.TempDir()+"/out", &container.ReexportOptions{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	assert.NotEqual(t, w.Digest(), got)
	assert.Contains(t, log.String(), "kept blobs may not be read")
	assert.Contains(t, log.String(), dir)
}

// A marker that a crash emptied is written again by whoever comes first. Kept blobs of a later version are in nobody's way but of those
// who would change them.
func TestMarkerOfKeptBlobs(t *testing.T) {
	t.Parallel()
	w := ti.Image{Layers: foreignLayers()[:2]}.Write(t, t.TempDir(), "v1")
	repo, dir := newRepo(t, modeHere())
	mustPull(t, repo, w.Ref, keepBlobs)
	marker := filepath.Join(dir, "extensions/ostree-container/kept/oci-layout")
	whole, err := os.ReadFile(marker)
	require.NoError(t, err)
	same := func() {
		t.Helper()
		got := reexport(t, repo, w.Ref, "oci:"+t.TempDir()+"/out", &container.ReexportOptions{PreserveDigests: true})
		assert.Equal(t, w.Digest(), got)
	}
	for name, use := range map[string]func(){
		"reexport": same,
		"pull": func() { // has something to repair, too
			require.NoError(t, os.Remove(filepath.Join(filepath.Dir(marker), "blobs/sha256", w.Manifest.Layers[1].Digest.Encoded())))
			mustPull(t, repo, w.Ref, keepBlobs)
		},
		"prune": func() {
			_, err := container.GCImageLayers(t.Context(), repo, nil)
			require.NoError(t, err)
		},
	} {
		require.NoError(t, os.WriteFile(marker, nil, 0o600))
		use()
		text, err := os.ReadFile(marker)
		require.NoError(t, err)
		assert.Equal(t, string(whole), string(text), name)
		same()
	}
	later := `{"imageLayoutVersion":"2.0.0"}`
	require.NoError(t, os.WriteFile(marker, []byte(later), 0o600))
	var log bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&log, nil))
	assert.NotEqual(t, w.Digest(), reexport(t, repo, w.Ref, "oci:"+t.TempDir()+"/out", &container.ReexportOptions{Logger: logger}))
	assert.Contains(t, log.String(), "kept blobs may not be read")
	into, intoDir := newRepo(t, modeHere())
	_, err = container.Copy(t.Context(), repo, imageName(t, w.Ref), into, nil)
	require.NoError(t, err)
	oracle.Fsck(t, intoDir)
	_, err = container.GCImageLayers(t.Context(), repo, nil)
	require.ErrorContains(t, err, "not an OCI image layout")
	text, err := os.ReadFile(marker)
	require.NoError(t, err)
	assert.Equal(t, later, string(text))
}

// Killed at any moment, no file has a name that is not its digest, and the next pull completes.
func TestKeepBlobsKilled(t *testing.T) {
	w := ti.Image{Layers: killLayers()}.Write(t, t.TempDir(), "latest")
	random := rand.New(rand.NewPCG(3, 4))
	repo, dir := newRepo(t, modeHere())
	for range 6 {
		p := startChild(t, task{Do: "pull", Repo: dir, Refs: []string{w.Ref}, Jobs: 2, Keep: true})
		for events := random.IntN(20); events > 0 && p.lines.Scan(); events-- {
		}
		time.Sleep(time.Duration(random.IntN(20_000)) * time.Microsecond)
		require.NoError(t, p.Process.Kill())
		_ = p.Wait()
		kept, refs := keptFiles(t, dir), oracle.Refs(t, dir)
		for n, l := range w.Manifest.Layers {
			if _, ok := refs[refOfLayer(t, *w, n)]; ok {
				assert.Contains(t, kept, l.Digest.Encoded(), "a layer that is there has its blob")
			}
		}
		if _, ok := refs[imageRefOf(t, w.Ref)]; ok {
			break
		}
	}
	_, _, err := pull(t, repo, w.Ref, keepBlobs)
	require.NoError(t, err)
	_, err = container.GCImageLayers(t.Context(), repo, nil)
	require.NoError(t, err)
	entries, err := os.ReadDir(filepath.Join(dir, "extensions/ostree-container/kept/blobs/sha256"))
	require.NoError(t, err)
	assert.Len(t, entries, len(blobsOf(w)), "leftovers are collected")
	assert.Equal(t, w.Digest(), reexport(t, repo, w.Ref, "oci:"+t.TempDir()+"/out", nil))
}
