package testimage_test

import (
	"archive/tar"
	"bytes"
	"io"
	"net/http"
	"os/exec"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/container/internal/testimage"
)

// Go's own reader is the judge of the tar writer.
func TestTarIsReadBack(t *testing.T) {
	long := strings.Repeat("d/", 60) + strings.Repeat("n", 255)
	for _, format := range []testimage.Format{testimage.FormatAuto, testimage.FormatPAX, testimage.FormatGNU} {
		members := []testimage.Member{
			testimage.Dir("usr", 0o755),
			testimage.File("usr/a", 0o4755, "hello").Owned(1000, 5000000),
			testimage.File("/usr/abs", 0o644, ""),
			testimage.File(long, 0o644, "long"),
			testimage.File("usr/Főtanúsítvány", 0o644, "unicode"),
			testimage.Symlink("usr/l", strings.Repeat("x", 200)),
			testimage.Hardlink("usr/h", "usr/a"),
			testimage.BigFile("usr/big", 0o644, 200_001, 7),
			testimage.File("usr/x", 0o644, "x").With("user.b", "a\nb\x00c").With("user.a", "1"),
		}
		for i := range members {
			members[i].Format = format
		}
		r := tar.NewReader(bytes.NewReader(testimage.Tar(members...)))
		for _, m := range members {
			h, err := r.Next()
			require.NoError(t, err, m.Name)
			assert.Equal(t, m.Name, h.Name)
			assert.Equal(t, m.Linkname, h.Linkname)
			assert.Equal(t, m.Mode, h.Mode)
			assert.Equal(t, m.UID, h.Uid)
			assert.Equal(t, m.GID, h.Gid)
			assert.Equal(t, m.Type, h.Typeflag)
			for _, x := range m.Xattrs {
				assert.Equal(t, x.Value, h.PAXRecords["SCHILY.xattr."+x.Name])
			}
			got, err := io.ReadAll(r)
			require.NoError(t, err)
			assert.True(t, bytes.Equal(m.Data(), got), m.Name)
		}
		_, err := r.Next()
		assert.Equal(t, io.EOF, err)
	}
}

func TestSparse(t *testing.T) {
	var spans []testimage.Span
	for i := range 30 {
		spans = append(spans, testimage.Span{Offset: int64(i) * 10_000, Data: []byte(strings.Repeat("z", 512))})
	}
	for _, paxForm := range []bool{false, true} {
		for _, n := range []int{0, 1, 3, 4, 5, 30} {
			m := testimage.File("usr/sparse", 0o644, "")
			m.Sparse, m.Size, m.SparsePAX = append([]testimage.Span{}, spans[:n]...), 400_000, paxForm
			r := tar.NewReader(bytes.NewReader(testimage.Tar(m, testimage.File("usr/after", 0o644, "after"))))
			h, err := r.Next()
			require.NoError(t, err)
			assert.Equal(t, "usr/sparse", h.Name)
			got, err := io.ReadAll(r)
			require.NoError(t, err)
			assert.True(t, bytes.Equal(m.Data(), got), "pax %v, %d regions", paxForm, n)
			h, err = r.Next()
			require.NoError(t, err)
			assert.Equal(t, "usr/after", h.Name)
		}
	}
}

func TestBigFileDoesNotDependOnReads(t *testing.T) {
	m := testimage.BigFile("x", 0o644, 10_001, 3)
	b := testimage.Tar(m)
	assert.True(t, bytes.Equal(m.Data(), b[512:512+10_001]))
	assert.NotEqual(t, m.Data(), testimage.BigFile("x", 0o644, 10_001, 4).Data())
}

func TestWriteOCIReproducibleAndReadBySkopeo(t *testing.T) {
	var layers []testimage.Layer
	for c := testimage.Gzip; c <= testimage.ZstdFrames; c++ {
		if c == testimage.ZstdFrames {
			continue // skopeo would accept it too, but its media type says one frame
		}
		layers = append(layers, testimage.Layer{
			Compression: c, Members: []testimage.Member{testimage.BigFile("usr/f", 0o644, 3000, uint64(c))},
		})
	}
	img := testimage.Image{Layers: layers, Bootable: true, EmptyHistory: 1}
	dir := t.TempDir()
	w := img.Write(t, dir, "v1")
	assert.Equal(t, w.Digest(), img.Write(t, t.TempDir(), "v1").Digest())
	assert.Equal(t, "true", w.Config.Config.Labels["ostree.bootable"])
	for i, l := range layers {
		assert.Equal(t, digest.FromBytes(l.TarBytes()), w.DiffIDs[i])
	}
	if _, err := exec.LookPath("skopeo"); err != nil {
		t.Skip("skopeo is missing")
	}
	out, err := exec.Command("skopeo", "inspect", "--format", "{{.Digest}}", w.Ref).CombinedOutput()
	require.NoError(t, err, string(out))
	assert.Equal(t, w.Digest().String(), strings.TrimSpace(string(out)))
	out, err = exec.Command("skopeo", "copy", w.Ref, "dir:"+t.TempDir()).CombinedOutput()
	require.NoError(t, err, string(out))

	base, err := testimage.LoadBase(dir, "v1")
	require.NoError(t, err)
	derived := testimage.Image{Base: base, Layers: layers[:1]}.Write(t, t.TempDir(), "")
	assert.Len(t, derived.Manifest.Layers, len(layers)+1)
	assert.Len(t, derived.Config.RootFS.DiffIDs, len(layers)+1)
}

func TestRegistry(t *testing.T) {
	dir := t.TempDir()
	w := testimage.Image{Layers: []testimage.Layer{{Members: []testimage.Member{testimage.BigFile("usr/f", 0o644, 100_000, 1)}}}}.Write(t, dir, "v1")
	r := testimage.NewRegistry(t, dir)
	base := r.Server.URL + "/v2/some/name/"
	get := func(path string) (*http.Response, []byte, error) {
		res, err := http.Get(base + path)
		require.NoError(t, err)
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		return res, b, err
	}
	res, b, err := get("manifests/v1")
	require.NoError(t, err)
	assert.Equal(t, w.RawManifest, b)
	assert.Equal(t, w.Digest().String(), res.Header.Get("Docker-Content-Digest"))
	blob := w.Manifest.Layers[0].Digest
	_, b, err = get("blobs/" + blob.String())
	require.NoError(t, err)
	assert.Equal(t, blob, digest.FromBytes(b))
	res, _, _ = get("manifests/v2")
	assert.Equal(t, 404, res.StatusCode)

	r.SetFault(func(q testimage.Request) *testimage.Fault {
		switch {
		case q.Kind == "blob" && q.N == 2:
			return &testimage.Fault{Cut: true, Drop: 1000}
		case q.Kind == "blob" && q.N == 3:
			return &testimage.Fault{Status: 429, Body: "slow down", Header: http.Header{"Retry-After": {"1"}}}
		}
		return nil
	})
	_, b, err = get("blobs/" + blob.String())
	assert.ErrorIs(t, err, io.ErrUnexpectedEOF)
	assert.Len(t, b, 1000)
	res, b, _ = get("blobs/" + blob.String())
	assert.Equal(t, 429, res.StatusCode)
	assert.Equal(t, "slow down", string(b))
	assert.Equal(t, "1", res.Header.Get("Retry-After"))
	assert.Equal(t, 3, r.Requests("blob", blob.String()))
	assert.Equal(t, 1, r.MaxBlobs())

	if _, err := exec.LookPath("skopeo"); err != nil {
		t.Skip("skopeo is missing")
	}
	out, err := exec.Command("skopeo", "copy", "--src-tls-verify=false", r.Ref("some/name", "v1"), "dir:"+t.TempDir()).CombinedOutput()
	require.NoError(t, err, string(out))
	r.RequireBasic("me", "secret")
	out, err = exec.Command("skopeo", "inspect", "--tls-verify=false", r.Ref("some/name", "v1")).CombinedOutput()
	require.Error(t, err, string(out))
	out, err = exec.Command("skopeo", "inspect", "--tls-verify=false", "--creds", "me:secret", r.Ref("some/name", "v1")).CombinedOutput()
	require.NoError(t, err, string(out))
}
