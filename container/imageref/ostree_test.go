package imageref_test

import (
	"fmt"
	"regexp"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/container/imageref"
)

func TestParseOSTree(t *testing.T) {
	t.Parallel()
	var (
		signed   = imageref.SignatureSource{Kind: imageref.SignatureContainerPolicy}
		insecure = imageref.SignatureSource{Kind: imageref.SignatureInsecure}
		remote   = imageref.SignatureSource{Kind: imageref.SignatureOSTreeRemote, Remote: "myremote"}
	)
	tests := []struct {
		in    string
		sig   imageref.SignatureSource
		image string
		text  string
		short string
	}{
		{
			"ostree-image-signed:docker://quay.io/a/b", signed, "docker://quay.io/a/b",
			"ostree-image-signed:docker://quay.io/a/b", "ostree-image-signed:docker://quay.io/a/b",
		},
		{
			"ostree-image-signed:registry:quay.io/a/b", signed, "docker://quay.io/a/b",
			"ostree-image-signed:docker://quay.io/a/b", "ostree-image-signed:docker://quay.io/a/b",
		},
		{
			"ostree-unverified-registry:quay.io/a/b", insecure, "docker://quay.io/a/b",
			"ostree-unverified-registry:quay.io/a/b", "docker://quay.io/a/b",
		},
		{
			"ostree-unverified-image:registry:quay.io/a/b", insecure, "docker://quay.io/a/b",
			"ostree-unverified-registry:quay.io/a/b", "docker://quay.io/a/b",
		},
		{
			"ostree-unverified-image:docker://quay.io/a/b:t", insecure, "docker://quay.io/a/b:t",
			"ostree-unverified-registry:quay.io/a/b:t", "docker://quay.io/a/b:t",
		},
		{
			"ostree-unverified-image:oci:/x", insecure, "oci:/x",
			"ostree-unverified-image:oci:/x", "ostree-unverified-image:oci:/x",
		},
		{
			"ostree-remote-registry:myremote:quay.io/a/b:t", remote, "docker://quay.io/a/b:t",
			"ostree-remote-image:myremote:docker://quay.io/a/b:t", "ostree-remote-image:myremote:docker://quay.io/a/b:t",
		},
		{
			"ostree-remote-image:myremote:oci-archive:/x:y", remote, "oci-archive:/x:y",
			"ostree-remote-image:myremote:oci-archive:/x:y", "ostree-remote-image:myremote:oci-archive:/x:y",
		},
	}
	for _, tt := range tests {
		t.Run(tt.in, func(t *testing.T) {
			t.Parallel()
			got, err := imageref.ParseOSTree(tt.in)
			require.NoError(t, err)
			assert.Equal(t, tt.sig, got.SigVerify)
			assert.Equal(t, tt.image, got.ImgRef.String())
			assert.Equal(t, tt.text, got.String())
			assert.Equal(t, tt.short, got.Short())
			again, err := imageref.ParseOSTree(got.String())
			require.NoError(t, err)
			assert.Equal(t, got, again)
		})
	}
}

func TestParseOSTreeRefuses(t *testing.T) {
	t.Parallel()
	tests := []struct{ in, message string }{
		{"", "Missing ':' in "},
		{"ostree-image-signed", "Missing ':' in ostree-image-signed"},
		{"ostree-image-signed:", "Missing ':' in "},
		{"ostree-image-signed:quay.io/a/b", "Missing ':' in quay.io/a/b"},
		{"ostree-image-signed:docker:x", "Missing // in docker:// in docker:x"},
		{"ostree-unverified-registry:", "Invalid empty name in registry:"},
		{"ostree-remote-registry:x", "Missing second ':' in ostree-remote-registry:x"},
		{"ostree-remote-image:x", "Missing second ':' in ostree-remote-image:x"},
		{"ostree-remote-image:r:x", "Missing ':' in x"},
		{"ostree-remote-image::docker://x", "Invalid empty remote name in ostree-remote-image::docker://x"},
		{"docker://quay.io/a/b", "Invalid ostree image reference scheme: docker"},
		{"blah:docker://x", "Invalid ostree image reference scheme: blah"},
	}
	for _, tt := range tests {
		t.Run(tt.in, func(t *testing.T) {
			t.Parallel()
			got, err := imageref.ParseOSTree(tt.in)
			require.EqualError(t, err, tt.message)
			require.ErrorIs(t, err, imageref.ErrInvalidReference)
			assert.True(t, got.IsZero())
		})
	}
}

func TestSignatureSource(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"ostree-image-signed", "ostree-unverified-image", "ostree-remote-image:fedora"} {
		got, err := imageref.ParseSignatureSource(text)
		require.NoError(t, err)
		assert.Equal(t, text, got.String())
	}
	tests := []struct{ in, message string }{
		{"", "Invalid signature source: "},
		{"ostree-unverified-registry", "Invalid signature source: ostree-unverified-registry"},
		{"ostree-remote-image", "Invalid signature source: ostree-remote-image"},
		{"ostree-remote-image:", "Invalid empty remote name in ostree-remote-image:"},
		{"ostree-image-signed:", "Invalid signature source: ostree-image-signed:"},
	}
	for _, tt := range tests {
		_, err := imageref.ParseSignatureSource(tt.in)
		require.EqualError(t, err, tt.message)
		require.ErrorIs(t, err, imageref.ErrInvalidReference)
	}
	assert.Equal(t, imageref.SignatureContainerPolicy, imageref.SignatureSource{}.Kind)
	assert.Empty(t, imageref.OSTreeImageReference{}.String())
}

// osbuild/images checks target references with this expression
// (pkg/osbuild/ostree_deploy_container_stage.go).
func TestSatisfiesOSBuild(t *testing.T) {
	t.Parallel()
	expression := regexp.MustCompile(`^(ostree-remote-registry|ostree-image-signed|ostree-unverified-registry):.*$`)
	for _, in := range []string{"ostree-unverified-registry:a/b", "ostree-unverified-image:docker://a/b", "ostree-image-signed:registry:a/b"} {
		ref, err := imageref.ParseOSTree(in)
		require.NoError(t, err)
		assert.Regexp(t, expression, ref.String())
	}
}

func ExampleParseOSTree() {
	ref, err := imageref.ParseOSTree("ostree-unverified-image:registry:quay.io/example/os")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(ref)
	fmt.Println(ref.Short())
	// Output:
	// ostree-unverified-registry:quay.io/example/os
	// docker://quay.io/example/os
}
