package imageref_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/container/imageref"
)

func TestParse(t *testing.T) {
	t.Parallel()
	tests := []struct {
		in, canonical string
		want          imageref.ImageReference
	}{
		{"registry:quay.io/a/b", "docker://quay.io/a/b", imageref.ImageReference{Transport: imageref.TransportRegistry, Name: "quay.io/a/b"}},
		{"docker://quay.io/a/b:t", "docker://quay.io/a/b:t", imageref.ImageReference{Transport: imageref.TransportRegistry, Name: "quay.io/a/b:t"}},
		{"oci:somedir", "oci:somedir", imageref.ImageReference{Transport: imageref.TransportOCIDir, Name: "somedir"}},
		{"dir:/some/dir/blah", "dir:/some/dir/blah", imageref.ImageReference{Transport: imageref.TransportDir, Name: "/some/dir/blah"}},
		{"oci-archive:/p/foo.ociarchive", "oci-archive:/p/foo.ociarchive", imageref.ImageReference{Transport: imageref.TransportOCIArchive, Name: "/p/foo.ociarchive"}},
		{"docker-archive:/p/foo", "docker-archive:/p/foo", imageref.ImageReference{Transport: imageref.TransportDockerArchive, Name: "/p/foo"}},
		{"containers-storage:localhost/someimage:blah", "containers-storage:localhost/someimage:blah", imageref.ImageReference{Transport: imageref.TransportContainersStorage, Name: "localhost/someimage:blah"}},
		{"docker-daemon:myimage:latest", "docker-daemon:myimage:latest", imageref.ImageReference{Transport: imageref.TransportDockerDaemon, Name: "myimage:latest"}},
		{"oci:/path/with:colon/image", "oci:/path/with:colon/image", imageref.ImageReference{Transport: imageref.TransportOCIDir, Name: "/path/with:colon/image"}},
		// Not checked to be a docker reference.
		{"registry://x", "docker:////x", imageref.ImageReference{Transport: imageref.TransportRegistry, Name: "//x"}},
		{"registry:UPPER case", "docker://UPPER case", imageref.ImageReference{Transport: imageref.TransportRegistry, Name: "UPPER case"}},
	}
	for _, tt := range tests {
		t.Run(tt.in, func(t *testing.T) {
			t.Parallel()
			got, err := imageref.Parse(tt.in)
			require.NoError(t, err)
			assert.Equal(t, tt.want, got)
			assert.Equal(t, tt.canonical, got.String())
			again, err := imageref.Parse(got.String())
			require.NoError(t, err)
			assert.Equal(t, got, again)
		})
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	tests := []struct{ in, message string }{
		{"", "Missing ':' in "},
		{"foo://bar", "Invalid transport: foo"},
		{"docker:blah", "Missing // in docker:// in docker:blah"},
		{"docker:", "Missing // in docker:// in docker:"},
		{"registry:", "Invalid empty name in registry:"},
		{"docker://", "Invalid empty name in docker://"},
		{"oci:", "Invalid empty name in oci:"},
		{"foo:bar", "Invalid transport: foo"},
		{"nocolon", "Missing ':' in nocolon"},
		{"example.com:8080/image", "Invalid transport: example.com"},
		{"example.com/image:tag", "Invalid transport: example.com/image"},
		{":x", "Invalid transport: "},
		{"REGISTRY:x", "Invalid transport: REGISTRY"},
		{" oci:x", "Invalid transport:  oci"},
	}
	for _, tt := range tests {
		t.Run(tt.in, func(t *testing.T) {
			t.Parallel()
			got, err := imageref.Parse(tt.in)
			require.EqualError(t, err, tt.message)
			require.ErrorIs(t, err, imageref.ErrInvalidReference)
			var parse *imageref.ParseError
			require.ErrorAs(t, err, &parse)
			assert.Equal(t, tt.in, parse.Value)
			assert.True(t, got.IsZero())
		})
	}
}

func TestParseTransport(t *testing.T) {
	t.Parallel()
	tests := []struct {
		in   string
		want imageref.Transport
		name string
	}{
		{"registry", imageref.TransportRegistry, "registry"},
		{"registry:", imageref.TransportRegistry, "registry"},
		{"docker", imageref.TransportRegistry, "registry"},
		{"docker://", imageref.TransportRegistry, "registry"},
		{"oci", imageref.TransportOCIDir, "oci"},
		{"oci:", imageref.TransportOCIDir, "oci"},
		{"oci-archive", imageref.TransportOCIArchive, "oci-archive"},
		{"docker-archive", imageref.TransportDockerArchive, "docker-archive"},
		{"containers-storage", imageref.TransportContainersStorage, "containers-storage"},
		{"containers-storage:", imageref.TransportContainersStorage, "containers-storage"},
		{"dir", imageref.TransportDir, "dir"},
		{"docker-daemon", imageref.TransportDockerDaemon, "docker-daemon"},
	}
	for _, tt := range tests {
		t.Run(tt.in, func(t *testing.T) {
			t.Parallel()
			got, err := imageref.ParseTransport(tt.in)
			require.NoError(t, err)
			assert.Equal(t, tt.want, got)
			assert.Equal(t, tt.name, got.String())
		})
	}
	for _, in := range []string{"", ":", "docker:", "oci::", "ostree", "Registry", "oci:x"} {
		_, err := imageref.ParseTransport(in)
		require.ErrorIs(t, err, imageref.ErrInvalidReference, "%q", in)
	}
	assert.Equal(t, "invalid(0)", imageref.Transport(0).String())
}

func TestDigest(t *testing.T) {
	t.Parallel()
	const sum = "sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"
	tests := []struct {
		in   string
		want digest.Digest
	}{
		{"docker://quay.io/a/b@" + sum, sum},
		{"registry:quay.io/a/b:tag@" + sum, sum},
		{"docker://quay.io/a/b", ""},
		{"docker://quay.io/a/b@" + sum[:20], ""},
		{"docker://quay.io/a/b@", ""},
		{"oci:/x@" + sum, ""},
		{"containers-storage:x@" + sum, ""},
	}
	for _, tt := range tests {
		ref, err := imageref.Parse(tt.in)
		require.NoError(t, err)
		got, ok := ref.Digest()
		assert.Equal(t, tt.want != "", ok, tt.in)
		assert.Equal(t, tt.want, got, tt.in)
	}
}

func TestPathAndTag(t *testing.T) {
	t.Parallel()
	tests := []struct{ in, path, tag string }{
		{"oci:/foo/bar:baz:latest", "/foo/bar", "baz:latest"},
		{"oci:/foo/bar", "/foo/bar", ""},
		{"oci-archive:/foo/bar:t", "/foo/bar", "t"},
		{"dir:/foo:bar", "/foo:bar", ""},
	}
	for _, tt := range tests {
		ref, err := imageref.Parse(tt.in)
		require.NoError(t, err)
		path, tag := ref.PathAndTag()
		assert.Equal(t, [2]string{tt.path, tt.tag}, [2]string{path, tag}, tt.in)
	}
}

func TestText(t *testing.T) {
	t.Parallel()
	type document struct {
		Image  imageref.ImageReference       `json:"image"`
		OSTree imageref.OSTreeImageReference `json:"ostree"`
		Sig    imageref.SignatureSource      `json:"sig"`
	}
	const text = `{"image":"docker://a/b","ostree":"ostree-remote-image:r:oci:/x","sig":"ostree-unverified-image"}`
	var d document
	require.NoError(t, json.Unmarshal([]byte(text), &d))
	assert.Equal(t, imageref.ImageReference{Transport: imageref.TransportRegistry, Name: "a/b"}, d.Image)
	got, err := json.Marshal(d)
	require.NoError(t, err)
	assert.JSONEq(t, text, string(got))
	var empty document
	got, err = json.Marshal(empty)
	require.NoError(t, err)
	assert.JSONEq(t, `{"image":"","ostree":"","sig":"ostree-image-signed"}`, string(got))
	require.NoError(t, json.Unmarshal(got, &d))
	assert.Equal(t, empty, d)
	require.ErrorIs(t, json.Unmarshal([]byte(`{"image":"x"}`), &d), imageref.ErrInvalidReference)
	require.ErrorIs(t, json.Unmarshal([]byte(`{"ostree":"x"}`), &d), imageref.ErrInvalidReference)
	require.ErrorIs(t, json.Unmarshal([]byte(`{"sig":"x"}`), &d), imageref.ErrInvalidReference)
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"", "registry:quay.io/a/b", "docker://quay.io/a/b:t", "oci:/path/with:colon/image", "docker:blah",
		"ostree-remote-registry:r:x", "ostree-remote-image:r:docker://x", "ostree-image-signed:dir:/x", "ostree-unverified-registry:x",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if ref, err := imageref.Parse(s); err == nil {
			again, err := imageref.Parse(ref.String())
			require.NoError(t, err)
			require.Equal(t, ref, again)
		} else {
			require.ErrorIs(t, err, imageref.ErrInvalidReference)
		}
		if ref, err := imageref.ParseOSTree(s); err == nil {
			again, err := imageref.ParseOSTree(ref.String())
			require.NoError(t, err)
			require.Equal(t, ref, again)
		} else {
			require.ErrorIs(t, err, imageref.ErrInvalidReference)
		}
	})
}

func ExampleParse() {
	ref, err := imageref.Parse("registry:quay.io/example/os:latest")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(ref.Transport, ref.Name)
	fmt.Println(ref)
	// Output:
	// registry quay.io/example/os:latest
	// docker://quay.io/example/os:latest
}
