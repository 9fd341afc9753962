package registry_test

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ostree-container/ostree-container/container/imageref"
	"github.com/ostree-container/ostree-container/container/internal/compress"
	"github.com/ostree-container/ostree-container/container/internal/testimage"
	"github.com/ostree-container/ostree-container/container/registry"
)

// checkImage reads everything of an image that was made from w.
func checkImage(t *testing.T, img *registry.Image, w *testimage.Written) {
	t.Helper()
	assert.Equal(t, digestOf(img.RawManifest), img.ManifestDigest)
	assert.Equal(t, string(w.RawConfig), string(img.RawConfig))
	assert.Equal(t, "label", img.Config.Config.Labels["canary"])
	assert.Equal(t, w.DiffIDs, img.Config.RootFS.DiffIDs)
	assert.Equal(t, ocispec.MediaTypeImageManifest, img.Manifest.MediaType)
	assert.True(t, img.ConcurrentBlobs())
	assert.Empty(t, img.Warnings)
	require.Len(t, img.Layers, len(w.DiffIDs))
	require.Len(t, img.Manifest.Layers, len(w.DiffIDs))
	var wait sync.WaitGroup
	for n := range img.Layers {
		assert.Equal(t, w.DiffIDs[n], img.Layers[n].DiffID)
		assert.Equal(t, img.Manifest.Layers[n], img.Layers[n].Descriptor)
		wait.Go(func() {
			data, err := readBlob(t, img, n)
			if !assert.NoError(t, err) {
				return
			}
			assert.Equal(t, img.Layers[n].BlobDigest, digestOf(data))
			assert.Equal(t, img.Layers[n].BlobSize, int64(len(data)))
			if img.Ref.ImgRef.Transport != imageref.TransportContainersStorage {
				assert.Equal(t, img.Layers[n].Descriptor.Digest, img.Layers[n].BlobDigest)
				assert.Equal(t, img.Layers[n].Descriptor.Size, img.Layers[n].BlobSize)
			}
			z, err := compress.NewReader(bytes.NewReader(data))
			if !assert.NoError(t, err) {
				return
			}
			content, err := io.ReadAll(z)
			assert.NoError(t, err)
			assert.Equal(t, w.DiffIDs[n], digestOf(content))
			assert.NoError(t, z.Close())
		})
	}
	wait.Wait()
}

func TestTransports(t *testing.T) {
	t.Parallel()
	src := t.TempDir()
	w := sample(testimage.Layer{Members: []testimage.Member{testimage.File("usr/z", 0o600, "z")}, Compression: testimage.Zstd}).Write(t, src, "v1")
	host := dockerRegistry(t, "")
	dir := t.TempDir()
	tests := []struct {
		name, to string
		args     []string
		// docker-archive has a manifest of its own.
		manifest digest.Digest
	}{
		{"registry", "docker://" + host + "/a/b:v1", nil, w.Digest()},
		{"registry by digest", "docker://" + host + "/a/b@" + w.Digest().String(), []string{}, w.Digest()},
		{"registry by tag and digest", "docker://" + host + "/a/b:v1@" + w.Digest().String(), []string{}, w.Digest()},
		{"oci", w.Ref, []string{}, w.Digest()},
		{"oci without tag", "oci:" + src, []string{}, w.Digest()},
		{"oci copied", "oci:" + dir + "/oci:some:tag", nil, w.Digest()},
		{"oci-archive", "oci-archive:" + dir + "/a.ociarchive:v1", nil, w.Digest()},
		{"oci-archive without tag", "oci-archive:" + dir + "/b.ociarchive", nil, w.Digest()},
		{"dir", "dir:" + dir + "/dir", nil, w.Digest()},
	}
	for _, tt := range tests {
		if tt.args == nil {
			skopeo(t, append(tt.args, w.Ref, tt.to)...)
		}
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			img := openImage(t, tt.to, nil)
			assert.Equal(t, tt.manifest, img.ManifestDigest)
			assert.Empty(t, img.IndexDigest)
			assert.Equal(t, string(w.RawManifest), string(img.RawManifest))
			assert.Equal(t, ocispec.MediaTypeImageManifest, img.ManifestType)
			assert.Equal(t, asJSON(t, w.Manifest), asJSON(t, img.Manifest))
			checkImage(t, img, w)
		})
	}
}

func TestDockerManifest(t *testing.T) {
	t.Parallel()
	src, dir := t.TempDir(), t.TempDir()
	made := sample()
	w := made.Write(t, src, "v1")
	for _, to := range []string{"docker-archive:" + dir + "/a.tar:name:v1", "dir:" + dir + "/dir"} {
		args := []string{w.Ref, to}
		if strings.HasPrefix(to, "dir:") {
			args = append([]string{"--format=v2s2"}, args...)
		}
		skopeo(t, args...)
		t.Run(strings.SplitN(to, ":", 2)[0], func(t *testing.T) {
			t.Parallel()
			if strings.HasPrefix(to, "docker-archive:") {
				to = strings.TrimSuffix(to, ":name:v1") // one image in it
			}
			img := openImage(t, to, nil)
			assert.Equal(t, "application/vnd.docker.distribution.manifest.v2+json", img.ManifestType)
			assert.Contains(t, string(img.RawManifest), "application/vnd.docker.image.rootfs.diff.tar.gzip")
			for _, l := range img.Layers {
				assert.Equal(t, ocispec.MediaTypeImageLayerGzip, l.MediaType)
				assert.Equal(t, ocispec.MediaTypeImageLayerGzip, l.Descriptor.MediaType)
			}
			// The original digest, and a descriptor of what the configuration would be.
			assert.NotEqual(t, digestOf([]byte(asJSON(t, img.Manifest))), img.ManifestDigest)
			assert.Equal(t, digestOf([]byte(asJSON(t, img.Config))), img.Manifest.Config.Digest)
			assert.Equal(t, ocispec.MediaTypeImageConfig, img.Manifest.Config.MediaType)
			assert.Contains(t, string(img.RawManifest), digestOf(img.RawConfig).String())
			w := *w
			w.RawConfig = img.RawConfig // skopeo writes it again
			checkImage(t, img, &w)
			if strings.HasPrefix(to, "docker-archive:") {
				// B44: plain, though labelled gzip.
				data, err := readBlob(t, img, 0)
				require.NoError(t, err)
				z, err := compress.NewReader(bytes.NewReader(data))
				require.NoError(t, err)
				defer z.Close()
				assert.Equal(t, compress.Plain, z.Format())
				assert.Equal(t, img.Layers[0].DiffID, img.Layers[0].Descriptor.Digest)
			}
		})
	}
}

// The conversion gives what containers/image's own gives, for skopeo at least.
func TestDockerConversionEqualsSkopeo(t *testing.T) {
	t.Parallel()
	src, dir := t.TempDir(), t.TempDir()
	made := sample()
	made.Docker = true
	w := made.Write(t, src, "v1")
	reg := testimage.NewRegistry(t, src)
	img := openImage(t, reg.Ref("x", "v1"), nil)
	skopeo(t, "--format=oci", reg.Ref("x", "v1"), "oci:"+dir+":v1")
	converted := openImage(t, "oci:"+dir+":v1", nil)
	assert.Equal(t, asJSON(t, converted.Manifest), asJSON(t, img.Manifest))
	assert.Equal(t, w.Digest(), img.ManifestDigest)
}

func TestUnsupportedTransports(t *testing.T) {
	t.Parallel()
	if !registry.StorageSupported {
		const ref = "containers-storage:localhost/x:y"
		err := openError(t, ref, nil)
		require.ErrorIs(t, err, registry.ErrUnsupportedTransport)
		assert.EqualError(t, err, "open image "+ref+": transport not supported by this build: containers-storage takes the build tag containers_storage")
	}
	_, err := registry.Open(t.Context(), imageref.OSTreeImageReference{}, options(t))
	require.ErrorIs(t, err, imageref.ErrInvalidReference)
}

func TestInvalidNames(t *testing.T) {
	t.Parallel()
	for _, ref := range []string{"docker://UPPER/case", "docker:////x", "docker://a b", "docker://a@sha256:12", "registry:a/b:c:d"} {
		err := openError(t, ref, nil)
		require.ErrorIs(t, err, imageref.ErrInvalidReference, ref)
	}
}

func TestMissing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w := sample().Write(t, dir, "v1")
	reg := testimage.NewRegistry(t, dir)
	for _, ref := range []string{
		"oci:" + dir + "/no", "oci:" + dir + ":no", "dir:" + dir + "/no", "oci-archive:" + dir + "/no", "docker-archive:" + dir + "/no",
		reg.Ref("x", "no"), reg.Ref("x", digestOf([]byte("no")).String()),
	} {
		err := openError(t, ref, nil)
		require.ErrorIs(t, err, registry.ErrNotFound, "%s: %v", ref, err)
		assert.False(t, registry.Retryable(err))
	}
	require.NoError(t, os.Remove(w.BlobPath(w.Manifest.Layers[1].Digest)))
	img := openImage(t, w.Ref, nil)
	_, err := readBlob(t, img, 1)
	require.ErrorIs(t, err, registry.ErrNotFound)
	assert.ErrorContains(t, err, "fetch layer "+w.Manifest.Layers[1].Digest.String()+": ")
	_, err = img.Blob(t.Context(), 2)
	require.ErrorIs(t, err, registry.ErrNotFound)
	_, err = img.Blob(t.Context(), -1)
	require.ErrorIs(t, err, registry.ErrNotFound)
}

// Opening a FIFO would block, and reading /dev/zero would not end.
func TestSpecialFiles(t *testing.T) {
	t.Parallel()
	special := map[string]func(t *testing.T, path string){
		"FIFO":   func(t *testing.T, path string) { require.NoError(t, unix.Mkfifo(path, 0o644)) },
		"device": func(t *testing.T, path string) { require.NoError(t, os.Symlink("/dev/zero", path)) },
	}
	for kind, make := range special {
		for _, name := range []string{"index.json", "oci-layout", "manifest", "config", "layer"} {
			t.Run(kind+" "+name, func(t *testing.T) {
				t.Parallel()
				dir := t.TempDir()
				w := sample().Write(t, dir, "v1")
				path := filepath.Join(dir, name)
				switch name {
				case "manifest":
					path = w.BlobPath(w.Descriptor.Digest)
				case "config":
					path = w.BlobPath(w.Manifest.Config.Digest)
				case "layer":
					path = w.BlobPath(w.Manifest.Layers[0].Digest)
				}
				require.NoError(t, os.Remove(path))
				make(t, path)
				require.ErrorIs(t, openError(t, w.Ref, nil), registry.ErrNotRegular)
			})
		}
	}
	dir := t.TempDir()
	require.NoError(t, unix.Mkfifo(filepath.Join(dir, "manifest.json"), 0o644))
	require.ErrorIs(t, openError(t, "dir:"+dir, nil), registry.ErrNotRegular)
}

func TestIndex(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	one, two := sample(), sample(testimage.Layer{Members: []testimage.Member{testimage.File("arm", 0o644, "")}})
	one.Architecture, two.Architecture = "amd64", "arm64"
	ref, desc, instances, err := testimage.WriteIndex(dir, "multi", testimage.IndexEntry{Image: one}, testimage.IndexEntry{Image: two})
	require.NoError(t, err)
	reg := testimage.NewRegistry(t, dir)
	for _, ref := range []string{ref, reg.Ref("x", "multi"), reg.Ref("x", desc.Digest.String())} {
		for n, arch := range []string{"amd64", "arm64"} {
			opts := options(t)
			opts.Architecture = arch
			img := openImage(t, ref, opts)
			assert.Equal(t, desc.Digest, img.IndexDigest)
			assert.Equal(t, instances[n].Digest(), img.ManifestDigest)
			assert.Equal(t, arch, img.Config.Architecture)
			checkImage(t, img, instances[n])
		}
		opts := options(t)
		opts.Architecture = "s390x"
		err := openError(t, ref, opts)
		require.ErrorIs(t, err, registry.ErrNoInstance)
		assert.ErrorContains(t, err, `architecture "s390x"`)
	}
	// An instance that is not what the index says.
	require.NoError(t, os.WriteFile(instances[0].BlobPath(instances[0].Digest()), append(instances[0].RawManifest, ' '), 0o600))
	opts := options(t)
	opts.Architecture = "amd64"
	for _, ref := range []string{ref, reg.Ref("x", "multi")} {
		err = openError(t, ref, opts)
		var wrong *registry.DigestError
		require.ErrorAs(t, err, &wrong)
		assert.Equal(t, registry.DigestError{What: "manifest", Want: instances[0].Digest(), Got: digestOf(append(instances[0].RawManifest, ' '))}, *wrong)
	}
}

func TestManifestOnly(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w := sample().Write(t, dir, "v1")
	reg := testimage.NewRegistry(t, dir)
	opts := options(t)
	opts.ManifestOnly = true
	img := openImage(t, reg.Ref("x", "v1"), opts)
	assert.Equal(t, w.Digest(), img.ManifestDigest)
	assert.Nil(t, img.Config)
	assert.Nil(t, img.RawConfig)
	assert.Len(t, img.Layers, 2)
	assert.Empty(t, img.Layers[0].DiffID)
	assert.Equal(t, 0, reg.Requests("blob", ""))
	require.NoError(t, img.FetchConfig(t.Context()))
	require.NoError(t, img.FetchConfig(t.Context()))
	assert.Equal(t, 1, reg.Requests("blob", ""))
	checkImage(t, img, w)
}

func TestBadManifest(t *testing.T) {
	t.Parallel()
	descriptor := `{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae","size":3}`
	raw := func(text string) testimage.Image {
		return testimage.Image{RawManifest: func([]byte) []byte { return []byte(text) }}
	}
	docker := func(img testimage.Image) testimage.Image { img.Docker = true; return img }
	layerType := func(mediaType string) testimage.Image {
		return testimage.Image{Layers: []testimage.Layer{{}, {MediaType: mediaType}}}
	}
	padded := sample()
	padded.PadManifest = 5 << 20
	paddedConfig := sample()
	paddedConfig.PadConfig = 5 << 20
	tests := []struct {
		name    string
		image   testimage.Image
		want    error
		message string
	}{
		{"not JSON", raw("hello"), registry.ErrInvalidManifest, "not JSON"},
		{"empty", raw(""), registry.ErrInvalidManifest, "not JSON"},
		{"truncated", testimage.Image{RawManifest: func(b []byte) []byte { return b[:len(b)/2] }}, registry.ErrInvalidManifest, "not JSON"},
		{"array", raw("[]"), nil, ""},
		{"5 MiB", padded, registry.ErrTooLarge, "at most 4194304 are read"},
		{"config of 5 MiB", paddedConfig, registry.ErrTooLarge, "config is too large"},
		{"schema 1", raw(`{"schemaVersion":1,"mediaType":"application/vnd.docker.distribution.manifest.v1+prettyjws","fsLayers":[],"history":[]}`), registry.ErrUnsupportedManifest, "unsupported manifest MIME type: application/vnd.docker.distribution.manifest.v1+prettyjws"},
		{"index and manifest at once", raw(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":` + descriptor + `,"layers":[],"manifests":[]}`), registry.ErrInvalidManifest, "manifests"},
		{"no config", raw(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","layers":[]}`), registry.ErrInvalidManifest, "config: digest"},
		{"bad layer digest", raw(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":` + descriptor + `,"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"sha256:../../etc","size":1}]}`), registry.ErrInvalidManifest, "layer 1/1: digest"},
		{"negative size", raw(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":` + descriptor + `,"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae","size":-1}]}`), registry.ErrInvalidManifest, "negative size -1"},
		{"unknown layer", layerType("application/x-foo"), registry.ErrUnhandledLayer, "layer 2/2: Unhandled layer type: application/x-foo"},
		{"encrypted layer of an unknown type", layerType("application/x-layer+encrypted"), registry.ErrUnhandledLayer, "Unhandled layer type: application/x-layer+encrypted"},
		{"encrypted twice", layerType("application/vnd.oci.image.layer.v1.tar+gzip+encrypted+encrypted"), registry.ErrUnhandledLayer, "Unhandled layer type: application/vnd.oci.image.layer.v1.tar+gzip+encrypted+encrypted"},
		{"unknown docker layer", docker(layerType("application/x-foo")), registry.ErrUnhandledLayer, "Unhandled layer type: application/x-foo"},
		{"config not JSON", testimage.Image{RawConfig: []byte("hello")}, registry.ErrInvalidConfig, "not a JSON object"},
		{"config null", testimage.Image{RawConfig: []byte("null")}, registry.ErrInvalidConfig, "not a JSON object"},
		{"config of wrong types", testimage.Image{RawConfig: []byte(`{"rootfs":7}`)}, registry.ErrInvalidConfig, "json: cannot unmarshal"},
		{"empty config", testimage.Image{RawConfig: []byte(`{}`), Layers: make([]testimage.Layer, 1)}, registry.ErrInvalidConfig, "0 diff_ids for 1 layers"},
		{"docker config not JSON", docker(testimage.Image{RawConfig: []byte("hello")}), registry.ErrInvalidConfig, "not a JSON object"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			w := tt.image.Write(t, dir, "v1")
			reg := testimage.NewRegistry(t, dir)
			for _, ref := range []string{w.Ref, reg.Ref("x", "v1")} {
				err := openError(t, ref, nil)
				if tt.name == "schema 1" && ref == w.Ref {
					continue // index.json calls it an OCI manifest
				}
				if tt.want != nil {
					require.ErrorIs(t, err, tt.want, "%s: %v", ref, err)
					if ref == w.Ref || tt.want != registry.ErrTooLarge { //nolint:errorlint // which case it is
						assert.ErrorContains(t, err, tt.message)
					}
				}
				assert.False(t, registry.Retryable(err))
			}
		})
	}
}

func TestWrongConfig(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	made := sample()
	made.MangleConfig = replaceOnce("label", "lebal")
	w := made.Write(t, dir, "bytes")
	reg := testimage.NewRegistry(t, dir)
	var size *registry.SizeError
	for _, ref := range []string{w.Ref, reg.Ref("x", "bytes")} {
		err := openError(t, ref, nil)
		var wrong *registry.DigestError
		require.ErrorAs(t, err, &wrong)
		assert.Equal(t, "config", wrong.What)
		assert.Equal(t, wrong.Want, w.Manifest.Config.Digest)
	}
	made.MangleConfig = func(b []byte) []byte { return append(b, ' ') }
	longer := made.Write(t, dir, "longer")
	require.ErrorAs(t, openError(t, longer.Ref, nil), &size)
	made.MangleConfig = func(b []byte) []byte { return b[:len(b)-1] }
	shorter := made.Write(t, dir, "shorter")
	err := openError(t, shorter.Ref, nil)
	require.ErrorAs(t, err, &size)
	assert.Equal(t, registry.SizeError{What: "config", Want: w.Manifest.Config.Size, Got: w.Manifest.Config.Size - 1}, *size)
	assert.ErrorContains(t, err, fmt.Sprintf("config is too short: expected %d bytes, got %d", size.Want, size.Got))
}

// index.json states a digest, which the manifest must have.
func TestWrongManifestInLayout(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w := sample().Write(t, dir, "v1")
	changed := bytes.Replace(w.RawManifest, []byte(`"schemaVersion":2`), []byte(`"schemaVersion": 2`), 1)
	require.NotEqual(t, w.RawManifest, changed)
	require.NoError(t, os.WriteFile(w.BlobPath(w.Digest()), changed, 0o600))
	archive := filepath.Join(t.TempDir(), "a.tar")
	pack(t, dir, archive)
	for _, ref := range []string{w.Ref, "oci-archive:" + archive + ":v1"} {
		err := openError(t, ref, nil)
		require.ErrorIs(t, err, registry.ErrInvalidManifest)
		assert.ErrorContains(t, err, "its digest is "+digestOf(changed).String()+", not the one in index.json")
	}
	// By digest from a registry.
	reg := testimage.NewRegistry(t, dir)
	err := openError(t, reg.Ref("x", w.Digest().String()), nil)
	var wrong *registry.DigestError
	require.ErrorAs(t, err, &wrong)
	assert.Equal(t, registry.DigestError{What: "manifest", Want: w.Digest(), Got: digestOf(changed)}, *wrong)
}

func pack(t *testing.T, dir, file string) {
	t.Helper()
	f, err := os.Create(file)
	require.NoError(t, err)
	tw := tar.NewWriter(f)
	require.NoError(t, tw.AddFS(os.DirFS(dir)))
	require.NoError(t, tw.Close())
	require.NoError(t, f.Close())
}

func TestB31_DiffIDCount(t *testing.T) {
	t.Parallel()
	plain := testimage.Layer{Members: []testimage.Member{testimage.File("a", 0o644, "a")}, Compression: testimage.None}
	packed := testimage.Layer{Members: []testimage.Member{testimage.File("b", 0o644, "b")}}
	right := testimage.Image{Layers: []testimage.Layer{plain, packed}}.Write(t, t.TempDir(), "x").DiffIDs
	other := digestOf([]byte("other"))
	tests := []struct {
		name    string
		ids     []digest.Digest
		message string
	}{
		{"none", []digest.Digest{}, "0 diff_ids for 2 layers"},
		{"one", right[:1], "1 diff_ids for 2 layers"},
		{"three", append([]digest.Digest{other}, right...), "3 diff_ids for 2 layers"},
		{"five", []digest.Digest{other, other, other, right[0], right[1]}, "5 diff_ids for 2 layers"},
		{"B43 with the right ones first", []digest.Digest{right[0], right[1], other, other}, "4 diff_ids for 2 layers\nand number 1 of the last 2 does not match its layer"},
		{"not a digest", []digest.Digest{right[0], "sha256:xyz"}, `rootfs.diff_ids[1] "sha256:xyz"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := testimage.Image{Layers: []testimage.Layer{plain, packed}, DiffIDs: tt.ids}.Write(t, t.TempDir(), "v1")
			err := openError(t, w.Ref, nil)
			require.ErrorIs(t, err, registry.ErrInvalidConfig)
			assert.ErrorContains(t, err, tt.message)
		})
	}
}

func TestB43_TwiceTheDiffIDs(t *testing.T) {
	t.Parallel()
	plain := testimage.Layer{Members: []testimage.Member{testimage.File("a", 0o644, "a")}, Compression: testimage.None}
	packed := testimage.Layer{Members: []testimage.Member{testimage.File("b", 0o644, "b")}}
	right := testimage.Image{Layers: []testimage.Layer{plain, packed}}.Write(t, t.TempDir(), "x").DiffIDs
	other := digestOf([]byte("other"))
	w := testimage.Image{Layers: []testimage.Layer{plain, packed}, DiffIDs: []digest.Digest{other, other, right[0], right[1]}}.Write(t, t.TempDir(), "v1")
	img := openImage(t, w.Ref, nil)
	assert.Equal(t, []digest.Digest{right[0], right[1]}, []digest.Digest{img.Layers[0].DiffID, img.Layers[1].DiffID})
	assert.Equal(t, []string{"the image configuration has 4 diff_ids for 2 layers, as ostree-rs-ext's reexport writes; the last 2 are used"}, img.Warnings)
}

func TestB41_NoHistory(t *testing.T) {
	t.Parallel()
	made := sample()
	made.NoHistory = true
	w := made.Write(t, t.TempDir(), "v1")
	require.NotContains(t, string(w.RawConfig), "history")
	img := openImage(t, w.Ref, nil)
	assert.Empty(t, img.Config.History)
	checkImage(t, img, w)
}

func TestNonDistributable(t *testing.T) {
	t.Parallel()
	for mediaType, want := range map[string]string{
		"application/vnd.oci.image.layer.nondistributable.v1.tar":      ocispec.MediaTypeImageLayer,
		"application/vnd.oci.image.layer.nondistributable.v1.tar+gzip": ocispec.MediaTypeImageLayerGzip,
		"application/vnd.oci.image.layer.nondistributable.v1.tar+zstd": ocispec.MediaTypeImageLayerZstd,
		"application/vnd.docker.image.rootfs.diff.tar":                 ocispec.MediaTypeImageLayer,
		"application/vnd.docker.image.rootfs.diff.tar.gzip":            ocispec.MediaTypeImageLayerGzip,
		"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip":    ocispec.MediaTypeImageLayerGzip,
		"application/vnd.docker.image.rootfs.foreign.diff.tar":         ocispec.MediaTypeImageLayer,
	} {
		w := testimage.Image{Layers: []testimage.Layer{{MediaType: mediaType}}}.Write(t, t.TempDir(), "v1")
		img := openImage(t, w.Ref, nil)
		assert.Equal(t, want, img.Layers[0].MediaType, mediaType)
		assert.Equal(t, mediaType, img.Layers[0].Descriptor.MediaType)
		_, err := readBlob(t, img, 0)
		require.NoError(t, err)
	}
}

func TestB35_WrongBlob(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		mangle func([]byte) []byte
		digest bool
		got    func(n int64) int64
	}{
		{"other bytes", func(b []byte) []byte { b[len(b)/2] ^= 1; return b }, true, nil},
		{"last byte", func(b []byte) []byte { b[len(b)-1] ^= 1; return b }, true, nil},
		{"a byte more", func(b []byte) []byte { return append(b, 0) }, false, func(n int64) int64 { return n + 1 }},
		{"a byte less", func(b []byte) []byte { return b[:len(b)-1] }, false, func(n int64) int64 { return n - 1 }},
		{"empty", func([]byte) []byte { return []byte{} }, false, func(int64) int64 { return 0 }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			made := sample()
			made.Layers[1].Mangle = tt.mangle
			w := made.Write(t, dir, "v1")
			reg := testimage.NewRegistry(t, dir)
			for _, ref := range []string{w.Ref, reg.Ref("x", "v1")} {
				img := openImage(t, ref, nil)
				_, err := readBlob(t, img, 0)
				require.NoError(t, err)
				_, err = readBlob(t, img, 1)
				desc := w.Manifest.Layers[1]
				if tt.digest {
					var wrong *registry.DigestError
					require.ErrorAs(t, err, &wrong)
					assert.Equal(t, wrong.Want, desc.Digest)
					assert.EqualError(t, err, fmt.Sprintf("fetch layer %s: blob has the wrong digest: expected %s, got %s", desc.Digest, desc.Digest, wrong.Got))
				} else {
					var size *registry.SizeError
					require.ErrorAs(t, err, &size)
					assert.Equal(t, registry.SizeError{What: "blob", Want: desc.Size, Got: tt.got(desc.Size)}, *size)
				}
				assert.False(t, registry.Retryable(err))
			}
		})
	}
}

func TestClosed(t *testing.T) {
	t.Parallel()
	w := sample().Write(t, t.TempDir(), "v1")
	img := openImage(t, w.Ref, nil)
	r, err := img.Blob(t.Context(), 0)
	require.NoError(t, err)
	require.NoError(t, r.Close())
	_, err = r.Read(make([]byte, 1))
	require.Error(t, err)
	require.NotErrorIs(t, err, io.EOF)
	require.NoError(t, img.Close())
	require.NoError(t, img.Close())
	_, err = img.Blob(t.Context(), 0)
	require.ErrorIs(t, err, registry.ErrClosed)
}

// An archive is unpacked into a directory that must be gone afterwards.
func TestTemporaryFilesGo(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w := sample().Write(t, dir, "v1")
	archive := filepath.Join(t.TempDir(), "a.tar")
	pack(t, dir, archive)
	opts := options(t)
	opts.TempDir = t.TempDir()
	img, err := registry.Open(t.Context(), unverified(t, "oci-archive:"+archive+":v1"), opts)
	require.NoError(t, err)
	checkImage(t, img, w)
	require.NoError(t, img.Close())
	entries, err := os.ReadDir(opts.TempDir)
	require.NoError(t, err)
	assert.Empty(t, entries)
}
