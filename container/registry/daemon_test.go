package registry_test

import (
	"bytes"
	"context"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/container/internal/compress"
	"github.com/ostree-container/ostree-container/container/internal/testimage"
	"github.com/ostree-container/ostree-container/container/registry"
)

func TestDockerDaemon(t *testing.T) {
	daemon := testimage.NewDaemon(t)
	w := sample().Write(t, t.TempDir(), "v1")
	daemon.Copy(t, w.Ref, "example/os:v1")
	t.Setenv("DOCKER_HOST", "unix:///nowhere.sock")
	open := func(t *testing.T, ref string) *registry.Image {
		t.Helper()
		opts := options(t)
		opts.DockerHost = daemon.Host
		img := openImage(t, ref, opts)
		t.Cleanup(func() {
			require.NoError(t, img.Close())
			left, err := os.ReadDir(opts.TempDir)
			require.NoError(t, err)
			assert.Len(t, left, 3, "only what options() made")
		})
		return img
	}
	img := open(t, "docker-daemon:example/os:v1")
	assert.Equal(t, "application/vnd.docker.distribution.manifest.v2+json", img.ManifestType)
	stored := *w
	stored.RawConfig = img.RawConfig // the daemon writes it again
	checkImage(t, img, &stored)
	for n, l := range img.Layers {
		// B44: plain, whatever the manifest calls it.
		data, err := readBlob(t, img, n)
		require.NoError(t, err)
		z, err := compress.NewReader(bytes.NewReader(data))
		require.NoError(t, err)
		assert.Equal(t, compress.Plain, z.Format())
		require.NoError(t, z.Close())
		assert.Equal(t, l.DiffID, l.Descriptor.Digest)
	}
	byID := open(t, "docker-daemon:"+digestOf(img.RawConfig).String())
	assert.Equal(t, img.ManifestDigest, byID.ManifestDigest)

	t.Run("written", func(t *testing.T) {
		t.Setenv("DOCKER_HOST", daemon.Host)
		_, err := registry.Push(t.Context(), w.Dir, parse(t, "docker-daemon:example/pushed:v1"), pushOptions(t))
		require.NoError(t, err)
		pushed := open(t, "docker-daemon:example/pushed:v1")
		stored := *w
		stored.RawConfig = pushed.RawConfig
		checkImage(t, pushed, &stored)
	})
	t.Run("environment", func(t *testing.T) {
		t.Setenv("DOCKER_HOST", daemon.Host)
		assert.Equal(t, img.ManifestDigest, openImage(t, "docker-daemon:example/os:v1", nil).ManifestDigest)
	})
	t.Run("missing", func(t *testing.T) {
		opts := options(t)
		opts.DockerHost = daemon.Host
		for _, ref := range []string{"docker-daemon:example/os:v2", "docker-daemon:none:v1"} {
			require.ErrorIs(t, openError(t, ref, opts), registry.ErrNotFound, ref)
		}
		// For an ID that it does not have, docker 20.10 answers 500.
		for _, ref := range []string{"docker-daemon:sha256:" + strings.Repeat("0", 64), "docker-daemon:example/os", "docker-daemon:UPPER:x", "docker-daemon:" + strings.Repeat("0", 64)} {
			openError(t, ref, opts)
		}
	})
	t.Run("no daemon", func(t *testing.T) {
		err := openError(t, "docker-daemon:example/os:v1", nil) // that of the environment
		assert.ErrorContains(t, err, "unix:///nowhere.sock")
	})
}

// Answers that no daemon gives when all is well.
func TestBrokenDaemon(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w := sample().Write(t, dir, "v1")
	archive := dir + "/a.tar"
	skopeo(t, w.Ref, "docker-archive:"+archive+":example/os:v1")
	good, err := os.ReadFile(archive)
	require.NoError(t, err)
	damaged := bytes.Replace(good, []byte("world"), []byte("w0rld"), 1)
	require.NotEqual(t, good, damaged)
	send := func(data []byte) http.HandlerFunc {
		return func(rw http.ResponseWriter, _ *http.Request) { _, _ = rw.Write(data) }
	}
	for name, c := range map[string]struct {
		save http.HandlerFunc
		is   error
		text string
	}{
		"good": {save: send(good)},
		"not found": {save: func(rw http.ResponseWriter, _ *http.Request) {
			http.Error(rw, `{"message":"reference does not exist"}`, http.StatusNotFound)
		}, is: registry.ErrNotFound, text: "reference does not exist"},
		"failure": {save: func(rw http.ResponseWriter, _ *http.Request) {
			http.Error(rw, `{"message":"disk on fire"}`, http.StatusInternalServerError)
		}, text: "disk on fire"},
		"nothing":       {save: send(nil)},
		"not a tar":     {save: send(bytes.Repeat([]byte("garbage!"), 1000))},
		"truncated":     {save: send(good[:len(good)/2])},
		"other content": {save: send(damaged), text: w.DiffIDs[0].String()},
		"cut": {save: func(rw http.ResponseWriter, _ *http.Request) {
			_, _ = rw.Write(good[:len(good)/2])
			panic(http.ErrAbortHandler)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			opts := options(t)
			opts.DockerHost = testimage.NewFakeDaemon(t, c.save)
			img, err := registry.Open(t.Context(), unverified(t, "docker-daemon:example/os:v1"), opts)
			for n := 0; err == nil && n < len(img.Layers); n++ {
				_, err = readBlob(t, img, n)
			}
			if img != nil {
				require.NoError(t, img.Close())
			}
			if name == "good" {
				require.NoError(t, err)
				return
			}
			require.Error(t, err)
			assert.ErrorContains(t, err, c.text)
			if c.is != nil {
				require.ErrorIs(t, err, c.is)
			}
			left, err := os.ReadDir(opts.TempDir)
			require.NoError(t, err)
			assert.Len(t, left, 3, "only what options() made")
		})
	}
	t.Run("hangs", func(t *testing.T) {
		t.Parallel()
		opts := options(t)
		opts.DockerHost = testimage.NewFakeDaemon(t, func(rw http.ResponseWriter, r *http.Request) {
			_, _ = rw.Write(good[:1000])
			rw.(http.Flusher).Flush() //nolint:forcetypeassert // it is one
			<-r.Context().Done()
		})
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		start := time.Now()
		_, err := registry.Open(ctx, unverified(t, "docker-daemon:example/os:v1"), opts)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Less(t, time.Since(start), time.Second)
	})
}

func TestPushToNoDaemon(t *testing.T) {
	src, _ := layoutOf(t)
	push := func(host string) error {
		t.Setenv("DOCKER_HOST", host)
		_, err := registry.Push(t.Context(), src, parse(t, "docker-daemon:example/os:v1"), pushOptions(t))
		return err
	}
	for _, host := range []string{"unix:///nowhere.sock", "tcp://127.0.0.1:1"} {
		assert.EqualError(t, push(host), "push image to docker-daemon:example/os:v1: Cannot connect to the Docker daemon at "+host+". Is the docker daemon running?")
	}
	err := push(testimage.NewFakeDaemon(t, func(rw http.ResponseWriter, _ *http.Request) {
		http.Error(rw, `{"message":"disk on fire"}`, http.StatusInternalServerError)
	}))
	require.Error(t, err)
	assert.Regexp(t, "disk on fire|the docker daemon stopped reading", err.Error()) // whichever net/http is first with
}
