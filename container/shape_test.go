package container_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	ti "github.com/ostree-container/ostree-container/container/internal/testimage"
)

// These tests assert how the work is done, which no clock is needed for: the reference starts two children for each layer, checks all of
// them out and reads the result again.

// shape is what a process cost.
type shape struct {
	Children  int64 // most memory of any child it waited for, in KiB: 0 if it had none
	PeakBytes int64 // most memory it held itself
}

// shapeOfThis is that of this process. Its peak is not taken from getrusage(2), which counts the memory of the process that started it.
func shapeOfThis() (s shape, err error) {
	var children unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_CHILDREN, &children); err != nil {
		return s, err
	}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return s, err
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	var kib int64
	_, err = fmt.Sscan(rest, &kib)
	return shape{Children: children.Maxrss, PeakBytes: kib << 10}, err
}

// pullShape pulls in a child process.
func pullShape(t *testing.T, repoDir string, refs ...string) (lines []string, s shape) {
	t.Helper()
	lines = startChild(t, task{Do: "pull", Repo: repoDir, Refs: refs, Shape: true}).finish(t)
	require.NoError(t, json.Unmarshal([]byte(lines[len(lines)-1]), &s))
	return lines, s
}

// objectCount counts the files below objects/.
func objectCount(t *testing.T, repoDir string) (n int64) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(filepath.Join(repoDir, "objects"), func(_ string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			n++
		}
		return err
	}))
	return n
}

func TestShapeOfAPull(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	v1 := ti.Image{Layers: plainLayers("a", 5, 20, 300_000)}.Write(t, dir, "latest")
	reg := ti.NewRegistry(t, dir)
	_, repoDir := newRepo(t, modeHere())
	_, s := pullShape(t, repoDir, reg.Ref("os", "latest"))
	assert.Zero(t, s.Children, "no child process")
	var blobs int64
	for _, l := range v1.Manifest.Layers {
		blobs += l.Size
		assert.Equal(t, 1, reg.Requests("blob", l.Digest.String()))
	}
	blobs += v1.Manifest.Config.Size
	assert.LessOrEqual(t, reg.Bytes(), blobs+int64(2*len(v1.RawManifest)), "every byte is read once")
	left, err := os.ReadDir(filepath.Join(repoDir, "tmp"))
	require.NoError(t, err)
	for _, e := range left {
		assert.Equal(t, "cache", e.Name(), "no checkout, nothing staged")
	}

	// One file changes: its object, the directories above it, the layer's and the merged tree's, and the two commits are new.
	before := objectCount(t, repoDir)
	members := append([]ti.Member{}, plainLayers("a", 5, 20, 300_000)[4].Members...)
	changed := -1
	for i, m := range members {
		if m.Type == ti.TypeReg {
			changed = i
		}
	}
	members[changed] = ti.File(members[changed].Name, 0o644, "changed")
	layers := plainLayers("a", 5, 20, 300_000)
	layers[4].Members = members
	ti.Image{Layers: layers}.Write(t, dir, "latest")
	lines, _ := pullShape(t, repoDir, reg.Ref("os", "latest"))
	depth := int64(strings.Count(members[changed].Name, "/")) + 1
	assert.LessOrEqual(t, objectCount(t, repoDir)-before, 1+2*depth+2, strings.Join(lines, "\n"))
}

// A layer of one file of 4 GiB takes no more memory than others.
func TestShapeOfALargeFile(t *testing.T) {
	if testing.Short() {
		t.Skip("writes 4 GiB")
	}
	t.Parallel()
	const size = 4 << 30
	dir := t.TempDir()
	var blob bytes.Buffer // zeros: it is small
	diffID := sha256.New()
	zw, err := gzip.NewWriterLevel(&blob, gzip.BestSpeed)
	require.NoError(t, err)
	tw := tar.NewWriter(io.MultiWriter(zw, diffID))
	require.NoError(t, tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "usr/large", Mode: 0o644, Size: size}))
	zeros := make([]byte, 1<<20)
	for range size / len(zeros) {
		_, err := tw.Write(zeros)
		require.NoError(t, err)
	}
	require.NoError(t, errors.Join(tw.Close(), zw.Close()))
	ti.Image{Layers: []ti.Layer{{Blob: blob.Bytes(), DiffID: digest.NewDigest(digest.SHA256, diffID)}}}.Write(t, dir, "latest")
	_, repoDir := newRepo(t, modeHere())
	_, s := pullShape(t, repoDir, "oci:"+dir+":latest")
	assert.Less(t, s.PeakBytes, int64(110<<20))
	assert.Zero(t, s.Children)
}
