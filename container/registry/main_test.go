package registry_test

import (
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/container/imageref"
	"github.com/ostree-container/ostree-container/container/internal/testimage"
	"github.com/ostree-container/ostree-container/container/registry"
)

func TestMain(m *testing.M) {
	if registry.ReexecInit() {
		return
	}
	registry.RouteLogs(nil)
	os.Exit(m.Run())
}

const insecurePolicy = `{"default":[{"type":"insecureAcceptAnything"}]}`

// options are settings that nothing on this machine can change.
func options(t testing.TB) *registry.Options {
	t.Helper()
	dir := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
		return path
	}
	require.NoError(t, os.Mkdir(filepath.Join(dir, "empty"), 0o700))
	return &registry.Options{
		Access: registry.Access{
			Auth:                  registry.AuthAnonymous,
			InsecureSkipTLSVerify: true,
			RegistriesConf:        write("registries.conf", ""),
			RegistriesConfDir:     filepath.Join(dir, "empty"),
			TempDir:               dir,
		},
		PolicyPath:    write("policy.json", insecurePolicy),
		RegistriesDir: filepath.Join(dir, "empty"),
		Retry:         registry.Retry{Delay: time.Millisecond},
	}
}

func unverified(t testing.TB, ref string) imageref.OSTreeImageReference {
	t.Helper()
	img, err := imageref.Parse(ref)
	require.NoError(t, err)
	return imageref.OSTreeImageReference{SigVerify: imageref.SignatureSource{Kind: imageref.SignatureInsecure}, ImgRef: img}
}

func openImage(t testing.TB, ref string, opts *registry.Options) *registry.Image {
	t.Helper()
	if opts == nil {
		opts = options(t)
	}
	img, err := registry.Open(t.Context(), unverified(t, ref), opts)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, img.Close()) })
	return img
}

func openError(t testing.TB, ref string, opts *registry.Options) error {
	t.Helper()
	if opts == nil {
		opts = options(t)
	}
	img, err := registry.Open(t.Context(), unverified(t, ref), opts)
	if err == nil {
		require.NoError(t, img.Close())
	}
	require.Error(t, err)
	var typed *registry.Error
	require.ErrorAs(t, err, &typed)
	assert.Contains(t, err.Error(), "open image "+unverified(t, ref).ImgRef.String()+": ")
	return err
}

func readBlob(t testing.TB, img *registry.Image, n int) ([]byte, error) {
	t.Helper()
	r, err := img.Blob(t.Context(), n)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(r)
	require.NoError(t, r.Close())
	require.NoError(t, r.Close())
	return data, err
}

func sample(extra ...testimage.Layer) testimage.Image {
	return testimage.Image{
		Layers: append([]testimage.Layer{
			{Members: []testimage.Member{testimage.Dir("usr", 0o755), testimage.File("usr/hello", 0o644, "world")}},
			{Members: []testimage.Member{testimage.BigFile("usr/big", 0o644, 3<<20, 7)}, Compression: testimage.GzipFast},
		}, extra...),
		Labels: map[string]string{"canary": "label"},
	}
}

// dockerRegistry starts Debian's docker-registry.
func dockerRegistry(t testing.TB, auth string) (host string) {
	return testimage.DockerRegistry(t, auth)
}

// skopeo runs "skopeo copy".
func skopeo(t testing.TB, args ...string) {
	t.Helper()
	testimage.NeedTool(t, "skopeo")
	testimage.Run(t, "skopeo", append([]string{"--insecure-policy", "copy", "--quiet", "--dest-tls-verify=false", "--src-tls-verify=false"}, args...)...)
}

func digestOf(data []byte) digest.Digest { return digest.FromBytes(data) }

func asJSON(t testing.TB, v any) string {
	t.Helper()
	data, err := json.Marshal(v)
	require.NoError(t, err)
	return string(data)
}

func replaceOnce(old, with string) func([]byte) []byte {
	return func(b []byte) []byte { return []byte(strings.Replace(string(b), old, with, 1)) }
}
