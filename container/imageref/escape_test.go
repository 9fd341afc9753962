package imageref_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/container/imageref"
)

// libostree 2022.7, src/libostree/ostree-core.c: OSTREE_REF_REGEXP.
var ostreeRef = regexp.MustCompile(`^(?:[0-9A-Za-z_][-._0-9A-Za-z]*/)*[0-9A-Za-z_][-._0-9A-Za-z]*$`)

func TestEscapeRef(t *testing.T) {
	t.Parallel()
	tests := []struct{ in, want string }{
		{
			"sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae",
			"p/sha256_3A_2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae",
		},
		{"docker://quay.io/coreos/fedora:latest", "p/docker_3A__2F__2F_quay_2E_io/coreos/fedora_3A_latest"},
		{"oci:/srv/layout:v2", "p/oci_3A__2F_srv/layout_3A_v2"},
		{"a", "p/a"},
		{"a-b", "p/a-b"},
		{"a_b", "p/a__b"},
		{"_", "p/__"},
		{"/", "p/_2F_"},
		{"a/", "p/a_2F_"},
		{"a/b", "p/a/b"},
		{"a//b", "p/a/_2F_b"},
		{"a-/b", "p/a-_2F_b"},
		{"a_/b", "p/a___2F_b"},
		{"\x01\x7f", "p/_01__7F_"},
		{"é", "p/_E9_"},
		{"a😀/b", "p/a_1F600__2F_b"},
		{"foo bar", "p/foo_20_bar"},
		{"..", "p/_2E__2E_"},
	}
	for _, tt := range tests {
		t.Run(tt.in, func(t *testing.T) {
			t.Parallel()
			got, err := imageref.EscapeRef("p", tt.in)
			require.NoError(t, err)
			assert.Equal(t, tt.want, got)
			assert.Regexp(t, ostreeRef, got)
			back, err := imageref.UnescapeRef("p", got)
			require.NoError(t, err)
			assert.Equal(t, tt.in, back)
		})
	}
	got, err := imageref.EscapeRef("", "a:b")
	require.NoError(t, err)
	assert.Equal(t, "a_3A_b", got)
	got, err = imageref.UnescapeRef("", "a_3A_b")
	require.NoError(t, err)
	assert.Equal(t, "a:b", got)
}

func TestEscapeRefRefuses(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, in, message string }{
		{"empty", "", "Invalid empty string for ref"},
		{"nul", "a\x00b", `Invalid embedded NUL in string for ref: "a\x00b"`},
		{"utf-8", "a\xff", `Invalid text for ref, not UTF-8: "a\xff"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := imageref.EscapeRef("p", tt.in)
			require.EqualError(t, err, tt.message)
			require.ErrorIs(t, err, imageref.ErrInvalidRef)
		})
	}
}

func TestB27_LeadingDash(t *testing.T) {
	t.Parallel()
	for _, in := range []string{"-", "-a", "docker://quay.io/a/-b", "oci:x/-y:z"} {
		_, err := imageref.EscapeRef("ostree/container/image", in)
		require.EqualError(t, err, fmt.Sprintf("Invalid ref: a component of %q begins with '-'", in))
		require.ErrorIs(t, err, imageref.ErrInvalidRef)
	}
}

func TestUnescapeRef(t *testing.T) {
	t.Parallel()
	// Not what EscapeRef writes, but what ostree-rs-ext reads.
	for in, want := range map[string]string{
		"p/a_3a_b": "a:b",
		"p/a_":     "a",
		"p/a_3A":   "a:",
		"p/-a/b/":  "-a/b/",
		"p/_041_":  "A",
	} {
		got, err := imageref.UnescapeRef("p", in)
		require.NoError(t, err, in)
		assert.Equal(t, want, got, in)
	}
	tests := []struct{ in, message string }{
		{"", `Invalid ref: missing prefix p/ in ""`},
		{"q/a", `Invalid ref: missing prefix p/ in "q/a"`},
		{"pa", `Invalid ref: missing prefix p/ in "pa"`},
		{"p", `Invalid ref: missing prefix p/ in "p"`},
		{"p/", "Invalid ref: nothing after the prefix p/"},
		{"p/_", `Invalid ref: "p/_" stands for nothing`},
		{"p/a.b", `Invalid character '.' in ref "p/a.b"`},
		{"p/a:b", `Invalid character ':' in ref "p/a:b"`},
		{"p/é", `Invalid character 'é' in ref "p/é"`},
		{"p/_GG_", `Invalid escape "GG" in ref "p/_GG_"`},
		{"p/_+41_", `Invalid escape "+41" in ref "p/_+41_"`},
		{"p/_D800_", `Invalid escape "D800" in ref "p/_D800_"`},
		{"p/_110000_", `Invalid escape "110000" in ref "p/_110000_"`},
		{"p/_FFFFFFFFF_", `Invalid escape "FFFFFFFFF" in ref "p/_FFFFFFFFF_"`},
		{"p/_00_", `Invalid escape "00" in ref "p/_00_"`},
	}
	for _, tt := range tests {
		_, err := imageref.UnescapeRef("p", tt.in)
		require.EqualError(t, err, tt.message)
		require.ErrorIs(t, err, imageref.ErrInvalidRef)
	}
}

func FuzzEscapeRef(f *testing.F) {
	for _, seed := range []string{"a", "docker://quay.io/coreos/fedora:latest", "sha256:2c26", "a_/b", "a//", "-", "é😀", "a\x00", "\xff"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if len(s) > 1<<12 {
			t.Skip()
		}
		ref, err := imageref.EscapeRef("ostree/container/image", s)
		if err != nil {
			require.ErrorIs(t, err, imageref.ErrInvalidRef)
			return
		}
		require.Regexp(t, ostreeRef, ref)
		back, err := imageref.UnescapeRef("ostree/container/image", ref)
		require.NoError(t, err)
		require.Equal(t, s, back)
	})
}

func FuzzUnescapeRef(f *testing.F) {
	for _, seed := range []string{"a", "a_3A_b", "a__b", "_", "_2F", "_110000_", "é"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		text, err := imageref.UnescapeRef("p", "p/"+s)
		if err != nil {
			require.ErrorIs(t, err, imageref.ErrInvalidRef)
			return
		}
		ref, err := imageref.EscapeRef("p", text)
		if err != nil { // only a leading dash is read and not written
			require.Contains(t, "/"+text, "/-")
			return
		}
		back, err := imageref.UnescapeRef("p", ref)
		require.NoError(t, err)
		require.Equal(t, text, back)
	})
}

func ExampleEscapeRef() {
	ref, err := imageref.EscapeRef("ostree/container/image", "docker://quay.io/example/os:latest")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(ref)
	image, err := imageref.UnescapeRef("ostree/container/image", ref)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(strings.TrimPrefix(image, "docker://"))
	// Output:
	// ostree/container/image/docker_3A__2F__2F_quay_2E_io/example/os_3A_latest
	// quay.io/example/os:latest
}
