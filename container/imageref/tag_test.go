package imageref_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/container/imageref"
)

func TestWithTag(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"docker://quay.io/example/os:latest":            "docker://quay.io/example/os:v2",
		"docker://quay.io/example/os":                   "docker://quay.io/example/os:v2",
		"docker://localhost:5000/os":                    "docker://localhost:5000/os:v2",
		"registry:localhost:5000/a/os:1.0":              "docker://localhost:5000/a/os:v2",
		"docker://os:x":                                 "docker://os:v2",
		"oci:/srv/layout:v1":                            "oci:/srv/layout:v2",
		"oci:/srv/layout":                               "oci:/srv/layout:v2",
		"oci:/srv/layout:a:b":                           "oci:/srv/layout:v2",
		"oci-archive:/srv/a.tar:v1":                     "oci-archive:/srv/a.tar:v2",
		"containers-storage:localhost/os:v1":            "containers-storage:localhost/os:v2",
		"containers-storage:[overlay@/x+/y]localhost/o": "containers-storage:[overlay@/x+/y]localhost/o:v2",
		"docker-daemon:os:latest":                       "docker-daemon:os:v2",
	} {
		ref, err := imageref.Parse(in)
		require.NoError(t, err)
		got, err := ref.WithTag("v2")
		require.NoError(t, err, in)
		assert.Equal(t, want, got.String())
		again, err := got.WithTag("v2")
		require.NoError(t, err)
		assert.Equal(t, got, again)
	}
}

func TestWithTagRefuses(t *testing.T) {
	t.Parallel()
	id := strings.Repeat("ab", 32)
	for in, why := range map[string]string{
		"docker://quay.io/example/os@sha256:" + id:       "by its digest",
		"docker://quay.io/example/os:tag@sha256:" + id:   "by its digest",
		"containers-storage:localhost/os@sha256:" + id:   "by its digest",
		"containers-storage:sha256:" + id:                "by its ID",
		"containers-storage:" + id:                       "by its ID",
		"containers-storage:[overlay@/x+/y]sha256:" + id: "by its ID",
		"docker-daemon:sha256:" + id:                     "by its ID",
		"containers-storage:[overlay@/x+/y]":             "no name",
		"docker://:x":                                    "no name",
		"oci:/srv/layout:@0":                             "by its index",
		"dir:/srv/image":                                 "the transport dir has none",
		"docker-archive:/srv/a.tar:os:v1":                "the transport docker-archive has none",
	} {
		ref, err := imageref.Parse(in)
		require.NoError(t, err)
		_, err = ref.WithTag("v2")
		require.ErrorIs(t, err, imageref.ErrInvalidReference, in)
		assert.ErrorContains(t, err, "Cannot replace the tag of "+ref.String()+": ")
		assert.ErrorContains(t, err, why)
	}
	for _, tag := range []string{"", ".x", "-x", "a/b", "a:b", "a@b", "a b", "é", strings.Repeat("x", 129), "x\n"} {
		_, err := imageref.ImageReference{Transport: imageref.TransportRegistry, Name: "x"}.WithTag(tag)
		require.ErrorIs(t, err, imageref.ErrInvalidReference, tag)
		assert.ErrorContains(t, err, "Invalid tag: ")
	}
}
