package registry_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/container/imageref"
	"github.com/ostree-container/ostree-container/container/internal/testimage"
	"github.com/ostree-container/ostree-container/container/registry"
)

func pushOptions(t testing.TB) *registry.PushOptions {
	o := options(t)
	return &registry.PushOptions{Access: o.Access, Retry: o.Retry}
}

func parse(t testing.TB, ref string) imageref.ImageReference {
	t.Helper()
	r, err := imageref.Parse(ref)
	require.NoError(t, err)
	return r
}

// layoutOf is the layout directory of a sample with gzip, plain and zstd layers.
func layoutOf(t testing.TB) (string, *testimage.Written) {
	t.Helper()
	dir := t.TempDir()
	return dir, sample(testimage.Layer{Members: []testimage.Member{testimage.File("usr/z", 0o600, "z")}, Compression: testimage.Zstd}).Write(t, dir, "v1")
}

func names(t testing.TB, dir string) (found []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		found = append(found, e.Name())
	}
	return found
}

func TestPushKeepsBytes(t *testing.T) {
	t.Parallel()
	src, w := layoutOf(t)
	host := dockerRegistry(t, "")
	dir := t.TempDir()
	for _, to := range []string{
		"docker://" + host + "/a/b:v1",
		"docker://" + host + "/c/d",
		"docker://" + host + "/e/f@" + w.Digest().String(),
		"oci:" + dir + "/layout:some:tag",
		"oci:" + dir + "/untagged",
		"oci-archive:" + dir + "/a.ociarchive:v1",
		"oci-archive:" + dir + "/b.ociarchive",
		"dir:" + dir + "/dir",
	} {
		t.Run(to, func(t *testing.T) {
			t.Parallel()
			got, err := registry.Push(t.Context(), src, parse(t, to), pushOptions(t))
			require.NoError(t, err)
			assert.Equal(t, w.Digest(), got)
			testimage.NeedTool(t, "skopeo")
			assert.Equal(t, string(w.RawManifest), strings.TrimSuffix(testimage.Run(t, "skopeo", "inspect", "--tls-verify=false", "--raw", to), "\n"))
			checkImage(t, openImage(t, to, nil), w)
		})
	}
	t.Cleanup(func() { // after the parallel ones
		assert.ElementsMatch(t, []string{"layout", "untagged", "a.ociarchive", "b.ociarchive", "dir"}, names(t, dir))
	})
}

func TestPushConverts(t *testing.T) {
	t.Parallel()
	src, w := layoutOf(t)
	dir := t.TempDir()
	to := "docker-archive:" + dir + "/a.tar:name:v1"
	got, err := registry.Push(t.Context(), src, parse(t, to), pushOptions(t))
	require.NoError(t, err)
	again, err := registry.Push(t.Context(), src, parse(t, "docker-archive:"+dir+"/b.tar:name:v1"), pushOptions(t))
	require.NoError(t, err)
	assert.Equal(t, got, again)
	testimage.NeedTool(t, "skopeo")
	var config ocispec.Image
	require.NoError(t, json.Unmarshal([]byte(testimage.Run(t, "skopeo", "inspect", "--raw", "--config", to)), &config))
	assert.Equal(t, w.DiffIDs, config.RootFS.DiffIDs)
	var inspected struct{ RepoTags []string }
	require.NoError(t, json.Unmarshal([]byte(testimage.Run(t, "skopeo", "list-tags", "docker-archive:"+dir+"/a.tar")), &struct{ Tags *[]string }{&inspected.RepoTags}))
	assert.Equal(t, []string{"docker.io/library/name:v1"}, inspected.RepoTags)
	assert.ElementsMatch(t, []string{"a.tar", "b.tar"}, names(t, dir))

	_, err = registry.Push(t.Context(), src, parse(t, to), pushOptions(t))
	assert.ErrorContains(t, err, "push image to "+to+": ")
	assert.ErrorContains(t, err, "docker-archive doesn't support modifying existing images")
}

func TestPushIntoIndex(t *testing.T) {
	t.Parallel()
	one, w1 := layoutOf(t)
	two := t.TempDir()
	w2 := testimage.Image{Layers: []testimage.Layer{{Members: []testimage.Member{testimage.Dir("usr", 0o755)}}}}.Write(t, two, "x")
	dir := filepath.Join(t.TempDir(), "layout")
	push := func(src, tag string) {
		t.Helper()
		_, err := registry.Push(t.Context(), src, parse(t, "oci:"+dir+tag), pushOptions(t))
		require.NoError(t, err)
	}
	index := func() (found []string) {
		var index ocispec.Index
		data, err := os.ReadFile(filepath.Join(dir, "index.json"))
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(data, &index))
		for _, m := range index.Manifests {
			found = append(found, m.Annotations[ocispec.AnnotationRefName]+" "+m.Digest.String())
		}
		return found
	}
	push(one, ":a")
	push(two, ":b")
	assert.Equal(t, []string{"a " + w1.Digest().String(), "b " + w2.Digest().String()}, index())
	push(two, ":a")
	assert.Contains(t, index(), "a "+w2.Digest().String())
	assert.NotContains(t, index(), "a "+w1.Digest().String())
	push(one, "")
	assert.Equal(t, []string{" " + w1.Digest().String()}, index())
	push(one, "")
	assert.Equal(t, []string{" " + w1.Digest().String()}, index())
	for _, name := range names(t, dir) {
		assert.NotContains(t, name, ".new")
	}
}

func TestPushProgress(t *testing.T) {
	t.Parallel()
	src, w := layoutOf(t)
	opts := pushOptions(t)
	seen := map[digest.Digest][]registry.PushEvent{}
	opts.Progress = func(p registry.PushProgress) {
		if p.Kind != registry.PushBytes {
			seen[p.Digest] = append(seen[p.Digest], p.Kind)
		}
		if p.Kind == registry.PushDone {
			assert.Equal(t, p.Size, p.Done)
		}
	}
	to := parse(t, "oci:"+filepath.Join(t.TempDir(), "layout:x"))
	_, err := registry.Push(t.Context(), src, to, opts)
	require.NoError(t, err)
	for _, l := range w.Manifest.Layers {
		assert.Equal(t, []registry.PushEvent{registry.PushStart, registry.PushDone}, seen[l.Digest], l.Digest)
	}
	clear(seen)
	_, err = registry.Push(t.Context(), src, to, opts)
	require.NoError(t, err)
	for _, l := range w.Manifest.Layers {
		assert.Equal(t, []registry.PushEvent{registry.PushPresent}, seen[l.Digest])
	}
}

func TestPushAuthentication(t *testing.T) {
	t.Parallel()
	src, w := layoutOf(t)
	host := dockerRegistry(t, canaryHash)
	to := parse(t, "docker://"+host+"/a/b:v1")
	tests := []struct {
		name string
		set  func(*registry.PushOptions)
		want error
	}{
		{"anonymous", func(*registry.PushOptions) {}, registry.ErrUnauthorized},
		{"wrong", func(o *registry.PushOptions) { o.Auth, o.Username, o.Password = 0, "user", "wr0ng-"+canary }, registry.ErrUnauthorized},
		{"wrong file", func(o *registry.PushOptions) { o.Auth, o.AuthFile = 0, writeAuth(t, host, "user", "wr0ng-"+canary) }, registry.ErrUnauthorized},
		{"no file", func(o *registry.PushOptions) { o.Auth, o.AuthFile = 0, "/does/not/exist" }, os.ErrNotExist},
		{"conflict", func(o *registry.PushOptions) { o.AuthFile, o.Username = "/x", "user" }, registry.ErrConflictingAuth},
		{"anonymous with file", func(o *registry.PushOptions) { o.AuthFile = "/x" }, registry.ErrConflictingAuth},
		{"credentials", func(o *registry.PushOptions) { o.Auth, o.Username, o.Password = 0, "user", canary }, nil},
		{"file", func(o *registry.PushOptions) {
			o.Auth, o.AuthFile = registry.AuthDefault, writeAuth(t, host, "user", canary)
		}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { // one after the other: the registry reads a manifest that another request is writing
			opts := pushOptions(t)
			tt.set(opts)
			got, err := registry.Push(t.Context(), src, to, opts)
			if tt.want == nil {
				require.NoError(t, err)
				assert.Equal(t, w.Digest(), got)
				return
			}
			require.ErrorIs(t, err, tt.want)
			assertNoCanary(t, err, "wr0ng")
		})
	}
}

// proxy stands before a registry.
func proxy(t testing.TB, host string, handle func(w http.ResponseWriter, r *http.Request) bool) string {
	t.Helper()
	to := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: host})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !handle(w, r) {
			to.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

func TestPushTriesAgain(t *testing.T) {
	t.Parallel()
	src, w := layoutOf(t)
	var puts, blobs atomic.Int32
	host := proxy(t, dockerRegistry(t, ""), func(rw http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPatch {
			blobs.Add(1)
		}
		if r.Method != http.MethodPut || !strings.Contains(r.URL.Path, "/manifests/") || puts.Add(1) > 2 {
			return false
		}
		http.Error(rw, "busy", http.StatusServiceUnavailable)
		return true
	})
	got, err := registry.Push(t.Context(), src, parse(t, "docker://"+host+"/a/b:v1"), pushOptions(t))
	require.NoError(t, err)
	assert.Equal(t, w.Digest(), got)
	assert.EqualValues(t, 3, puts.Load())
	assert.EqualValues(t, len(w.Manifest.Layers)+1, blobs.Load(), "what is there is not sent again")

	puts.Store(0)
	opts := pushOptions(t)
	opts.Retry.Attempts = 2
	_, err = registry.Push(t.Context(), src, parse(t, "docker://"+host+"/a/b:v2"), opts)
	require.ErrorContains(t, err, "tried 2 times")
	var typed *registry.Error
	require.ErrorAs(t, err, &typed)
	assert.Equal(t, http.StatusServiceUnavailable, typed.Status)
}

func TestPushStallsAndStops(t *testing.T) {
	t.Parallel()
	src, _ := layoutOf(t)
	release := make(chan struct{})
	reached := make(chan struct{}, 8)
	host := proxy(t, dockerRegistry(t, ""), func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPatch {
			return false
		}
		reached <- struct{}{}
		select {
		case <-release:
		case <-r.Context().Done():
		}
		return true
	})
	t.Cleanup(func() { close(release) }) // before the proxy is closed
	to := parse(t, "docker://"+host+"/a/b:v1")
	opts := pushOptions(t)
	opts.StallTimeout, opts.Retry.Attempts = 200*time.Millisecond, 1
	_, err := registry.Push(t.Context(), src, to, opts)
	require.ErrorIs(t, err, registry.ErrStalled)

	for len(reached) > 0 {
		<-reached
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-reached; cancel() }()
	_, err = registry.Push(ctx, src, to, pushOptions(t))
	require.ErrorIs(t, err, context.Canceled)
	assert.Empty(t, names(t, opts.TempDir+"/empty"))
}

func TestPushRefuses(t *testing.T) {
	t.Parallel()
	src, _ := layoutOf(t)
	two := t.TempDir()
	sample().Write(t, two, "a")
	testimage.Image{Layers: []testimage.Layer{{Members: []testimage.Member{testimage.Dir("usr", 0o755)}}}}.Write(t, two, "b")
	full := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(full, "mine"), []byte("x"), 0o600))
	broken, w := layoutOf(t)
	require.NoError(t, os.WriteFile(w.BlobPath(w.Manifest.Layers[1].Digest), []byte("other"), 0o600))
	dir := t.TempDir()
	tests := []struct {
		name, src, to string
		want          error
		text          string
	}{
		{"no layout", dir, "oci:" + dir + "/x", os.ErrNotExist, "index.json"},
		{"two images", two, "oci:" + dir + "/x", nil, "more than one image"},
		{"no such host", src, "docker://127.0.0.1:1/x:y", nil, "connection refused"},
		{"bad name", src, "docker://UPPER/x", imageref.ErrInvalidReference, "lowercase"},
		{"no directory", src, "oci-archive:" + dir + "/no/such/a.ociarchive", os.ErrNotExist, "/no/such"},
		{"other files", src, "dir:" + full, nil, "not a containers image directory"},
		{"wrong blob", broken, "oci-archive:" + dir + "/a.ociarchive", nil, w.Manifest.Layers[1].Digest.String()},
		{"other digest", src, "docker://127.0.0.1:1/x@" + digestOf(nil).String(), nil, "igest"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			opts := pushOptions(t)
			opts.Retry.Attempts = 1
			_, err := registry.Push(t.Context(), tt.src, parse(t, tt.to), opts)
			require.Error(t, err)
			var typed *registry.Error
			require.ErrorAs(t, err, &typed)
			assert.ErrorContains(t, err, "push image to "+tt.to)
			assert.ErrorContains(t, err, tt.text)
			if tt.want != nil {
				assert.ErrorIs(t, err, tt.want)
			}
		})
	}
	t.Cleanup(func() { assert.Empty(t, names(t, dir)) })
	_, err := registry.Push(t.Context(), src, imageref.ImageReference{}, nil)
	require.ErrorIs(t, err, registry.ErrUnsupportedTransport)
}
