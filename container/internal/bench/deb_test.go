package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestPlace(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"usr/bin/git":          "usr/bin/git",
		"etc":                  "etc",
		"etc/passwd":           "etc/passwd",
		"bin/sh":               "usr/bin/sh",
		"lib64/ld.so":          "usr/lib64/ld.so",
		"lib":                  "",
		"boot":                 "",
		"boot/vmlinuz-6.1.0-1": "usr/lib/modules/6.1.0-1/vmlinuz",
		"var/lib/dpkg":         "",
		"home":                 "",
		"usrlocal":             "",
	} {
		assert.Equal(t, want, place(in), in)
	}
	assert.Equal(t, "usr/etc/a", usrEtc("etc/a"))
	assert.Equal(t, "usr/etc", usrEtc("etc"))
	assert.Equal(t, "etcetera", usrEtc("etcetera"))
}

func TestTreeWriter(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	w := newTreeWriter(&b)
	require.NoError(t, w.root())
	require.NoError(t, w.file("etc/x/conf", []byte("one")))
	require.NoError(t, w.file("etc/x/conf", []byte("again")), "the first stays")
	require.NoError(t, w.file("etc/x/other", nil))
	require.NoError(t, w.tw.Close())
	var names []string
	for r := tar.NewReader(&b); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		names = append(names, h.Name)
	}
	assert.Equal(t, []string{"etc/", "etc/x/", "etc/x/conf", "etc/x/other"}, names[len(names)-4:])
	assert.Equal(t, "./", names[0])
	assert.Len(t, names, 1+len(rootDirs)+len(rootLinks)+4)
	assert.Equal(t, 2, w.files)
}

func TestComponentOf(t *testing.T) {
	t.Parallel()
	sizes := map[string]int64{}
	for i := range 100 {
		sizes[string(rune('a'+i/26))+string(rune('a'+i%26))] = int64(1000 - i/2)
	}
	owner := componentOf(sizes)
	ids := map[string]bool{}
	for _, id := range owner {
		ids[id] = true
	}
	assert.Len(t, ids, components)
	assert.Equal(t, "aa", owner["aa"])
	assert.Contains(t, owner["dv"], "misc-")
}

func TestLsLine(t *testing.T) {
	t.Parallel()
	sum := "6d5d1a0a5a1c6b8b7e1d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d"
	assert.Equal(t, []string{sum, "usr/a b"}, lsLine.FindStringSubmatch("-00644 0 0    123 " + sum + " /usr/a b")[1:])
	assert.Equal(t, []string{sum, "bin"}, lsLine.FindStringSubmatch("l00777 0 0      0 " + sum + " /bin -> usr/bin")[1:])
	assert.Nil(t, lsLine.FindStringSubmatch("d00755 0 0      0 "+sum+" "+sum+" /usr"))
}
