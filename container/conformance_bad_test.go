package container_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ostree-container/ostree-container/container"
	"github.com/ostree-container/ostree-container/container/imageref"
	"github.com/ostree-container/ostree-container/container/internal/oracle"
	ti "github.com/ostree-container/ostree-container/container/internal/testimage"
	"github.com/ostree-container/ostree-container/container/layer"
	"github.com/ostree-container/ostree-container/container/registry"
	"github.com/ostree-container/ostree-container/ostree"
)

func goodLayer(name string) ti.Layer {
	return ti.Layer{Members: []ti.Member{ti.Dir("usr", 0o755), ti.File("usr/"+name, 0o644, name)}}
}

func gzipped(b []byte) []byte {
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	if _, err := z.Write(b); err != nil {
		panic(err) // memory
	}
	if err := z.Close(); err != nil {
		panic(err)
	}
	return out.Bytes()
}

func zstded(members ...ti.Member) []byte {
	dir, err := os.MkdirTemp("", "zstd")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	w, err := ti.Image{Layers: []ti.Layer{{Members: members, Compression: ti.Zstd}}}.WriteOCI(dir, "x")
	if err != nil {
		panic(err)
	}
	b, err := os.ReadFile(w.BlobPath(w.Manifest.Layers[0].Digest))
	if err != nil {
		panic(err)
	}
	return b
}

// Layers that must be refused: the error names image, layer and entry, and
// nothing becomes visible.
func TestBadLayers(t *testing.T) {
	f := ti.File
	long := "usr/" + strings.Repeat(strings.Repeat("p", 200)+"/", 21)
	members := []ti.Member{ti.Dir("usr", 0o755), ti.BigFile("usr/big", 0o644, 50_000, 1)}
	whole := ti.Tar(members...)
	gz := gzipped(whole)
	badCRC := bytes.Clone(gz)
	badCRC[len(badCRC)-6] ^= 1
	badLength := bytes.Clone(gz)
	badLength[len(badLength)-1] ^= 1
	var lyingSize int64 = 12
	badSum := f("usr/sum", 0o644, "x")
	badSum.Header, badSum.KeepChecksum = func(h []byte) { ti.Checksum(h); h[150]++ }, true
	bigXattr := f("usr/x", 0o644, "").With("user.big", strings.Repeat("x", 100<<10))
	hugeXattr := f("usr/x", 0o644, "").With("user.big", strings.Repeat("x", 2<<20))
	for _, tc := range []struct {
		name  string
		layer ti.Layer
		is    error    // nil: only the texts are looked at
		entry string   // as the tar has it; "" where there is none
		texts []string // in the error's text
	}{
		{"dotdot", ti.Layer{Members: []ti.Member{f("usr/a", 0o644, ""), f("usr/../../etc/x", 0o644, "")}}, layer.ErrInvalidPath, "usr/../../etc/x", []string{`usr/../../etc/x`}},
		{"dotdot in directory", ti.Layer{Members: []ti.Member{ti.Dir("../usr", 0o755)}}, layer.ErrInvalidPath, "../usr", nil},
		{"dotdot in hardlink", ti.Layer{Members: []ti.Member{f("usr/a", 0o644, ""), ti.Hardlink("usr/b", "usr/../usr/a")}}, layer.ErrLinkTarget, "usr/b", []string{"usr/../usr/a"}},
		{"not UTF-8", ti.Layer{Members: []ti.Member{f("usr/\xff\xfe", 0o644, "")}}, layer.ErrNotUTF8, "usr/\xff\xfe", []string{`\xff\xfe`}},
		{"not UTF-8, PAX", ti.Layer{Members: []ti.Member{{Name: "usr/\xe9", Mode: 0o644, Format: ti.FormatPAX}}}, layer.ErrNotUTF8, "usr/\xe9", nil},
		{"long path", ti.Layer{Members: []ti.Member{f(long+"x", 0o644, "")}}, layer.ErrInvalidPath, long + "x", []string{"4096"}},
		{"long name", ti.Layer{Members: []ti.Member{f("usr/"+strings.Repeat("n", 256), 0o644, "")}}, layer.ErrInvalidPath, "usr/" + strings.Repeat("n", 256), []string{"255"}},
		{"hardlink to nothing", ti.Layer{Members: []ti.Member{ti.Hardlink("usr/b", "usr/missing")}}, layer.ErrLinkTarget, "usr/b", []string{"usr/missing"}},
		{"hardlink to lower layer", ti.Layer{Members: []ti.Member{ti.Hardlink("usr/b", "usr/first")}}, layer.ErrLinkTarget, "usr/b", []string{"usr/first"}},
		{"hardlink to itself", ti.Layer{Members: []ti.Member{ti.Hardlink("usr/b", "usr/b")}}, layer.ErrLinkTarget, "usr/b", nil},
		{"hardlink cycle", ti.Layer{Members: []ti.Member{ti.Hardlink("usr/b", "usr/c"), ti.Hardlink("usr/c", "usr/b")}}, layer.ErrLinkTarget, "-", nil},
		{"hardlink to filtered", ti.Layer{Members: []ti.Member{f("run/x", 0o644, ""), ti.Hardlink("usr/b", "run/x")}}, layer.ErrLinkTarget, "usr/b", []string{"run/x", "filtered"}},
		{"hardlink to directory", ti.Layer{Members: []ti.Member{ti.Dir("usr/d", 0o755), ti.Hardlink("usr/b", "usr/d")}}, layer.ErrLinkTarget, "usr/b", []string{"usr/d"}},
		{"B24 file then directory", ti.Layer{Members: []ti.Member{f("usr/d", 0o644, ""), ti.Dir("usr/d", 0o755)}}, layer.ErrTypeConflict, "usr/d", nil},
		{"B24 directory then file", ti.Layer{Members: []ti.Member{f("usr/d/x", 0o644, ""), f("usr/d", 0o644, "")}}, layer.ErrTypeConflict, "usr/d", nil},
		{"B24 path through symlink", ti.Layer{Members: []ti.Member{ti.Symlink("usr/s", "share"), f("usr/s/x", 0o644, "")}}, layer.ErrTypeConflict, "usr/s", nil},
		{"B24 file at etc", ti.Layer{Members: []ti.Member{f("etc", 0o644, ""), f("etc/x", 0o644, "")}}, layer.ErrTypeConflict, "-", nil},
		{"empty whiteout", ti.Layer{Members: []ti.Member{f("usr/.wh.", 0o644, "")}}, nil, "usr/.wh.", []string{"whiteout"}},
		{"B51 dot whiteout", ti.Layer{Members: []ti.Member{f("usr/.wh..", 0o644, "")}}, nil, "usr/.wh..", []string{"whiteout"}},
		{"B51 dotdot whiteout", ti.Layer{Members: []ti.Member{f("usr/.wh...", 0o644, "")}}, nil, "usr/.wh...", []string{"whiteout"}},
		{"hardlink named as empty whiteout", ti.Layer{Members: []ti.Member{f("usr/a", 0o644, ""), ti.Hardlink("usr/.wh.", "usr/a")}}, nil, "-", []string{"whiteout"}},
		{"root is a file", ti.Layer{Members: []ti.Member{f("./", 0o644, "x")}}, nil, "-", nil},
		{"big xattr", ti.Layer{Members: []ti.Member{bigXattr}}, layer.ErrLimit, "usr/x", []string{"user.big"}},
		{"huge xattr", ti.Layer{Members: []ti.Member{f("usr/before", 0o644, ""), hugeXattr}}, layer.ErrLimit, "-", []string{"usr/before"}},
		{"header checksum", ti.Layer{Members: []ti.Member{f("usr/before", 0o644, ""), badSum}}, nil, "-", []string{"usr/before"}},
		{"truncated tar in content", ti.Layer{Tar: whole[:10_000]}, io.ErrUnexpectedEOF, "usr/big", nil},
		{"truncated tar in header", ti.Layer{Tar: whole[:700]}, io.ErrUnexpectedEOF, "-", nil},
		{"not a tar", ti.Layer{Tar: bytes.Repeat([]byte("garbage!"), 500)}, nil, "-", nil},
		{"empty blob", ti.Layer{Blob: []byte{}, Tar: []byte{}}, nil, "-", nil},
		{"truncated gzip", ti.Layer{Blob: gz[:len(gz)/2], Tar: whole}, io.ErrUnexpectedEOF, "-", []string{"gzip"}},
		{"gzip without trailer", ti.Layer{Blob: gz[:len(gz)-8], Tar: whole}, io.ErrUnexpectedEOF, "-", []string{"gzip"}},
		{"B37 gzip CRC", ti.Layer{Blob: badCRC, Tar: whole}, nil, "-", []string{"gzip"}},
		{"B37 gzip length", ti.Layer{Blob: badLength, Tar: whole}, nil, "-", []string{"gzip"}},
		{"garbage after gzip", ti.Layer{Blob: append(bytes.Clone(gz), "garbage"...), Tar: whole}, nil, "-", []string{"gzip"}},
		{"truncated zstd", ti.Layer{Blob: func() []byte { b := zstded(members...); return b[:len(b)/2] }(), Tar: whole, Compression: ti.Zstd}, io.ErrUnexpectedEOF, "-", []string{"zstd"}},
		{"blob longer than its size", ti.Layer{Members: members, Size: &lyingSize}, nil, "-", nil},
		{"other bytes", ti.Layer{Members: members, Compression: ti.None, Mangle: func(b []byte) []byte { b[600] ^= 1; return b }}, nil, "-", []string{"sha256:"}},
		{"other bytes at the end", ti.Layer{Members: members, Compression: ti.None, Mangle: func(b []byte) []byte { b[len(b)-1] ^= 1; return b }}, nil, "-", []string{"sha256:"}},
		{"blob missing", ti.Layer{Members: members, Missing: true}, nil, "-", nil},
		{"B31 diff_id", ti.Layer{Members: members, DiffID: digest.FromString("other")}, container.ErrDiffID, "-", []string{digest.FromString("other").String()}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := ti.Image{Layers: []ti.Layer{goodLayer("first"), tc.layer, goodLayer("last")}}.Write(t, t.TempDir(), "bad")
			repo, dir := newRepo(t, modeHere())
			_, _, err := pull(t, repo, w.Ref, container.ImporterOptions{})
			require.Error(t, err)
			if tc.is != nil {
				assert.ErrorIs(t, err, tc.is)
			}
			bad := w.Manifest.Layers[1].Digest
			var le *container.LayerError
			if assert.ErrorAs(t, err, &le, "%v", err) {
				assert.Equal(t, bad, le.Digest)
				assert.Equal(t, []int{2, 3}, []int{le.Index, le.Total})
				assert.Contains(t, le.Image, w.Ref)
				if tc.entry != "-" {
					assert.Equal(t, tc.entry, le.Entry)
				}
			}
			for _, text := range append(tc.texts, w.Ref, "2/3", bad.String()) {
				assert.Contains(t, err.Error(), text)
			}
			if tc.entry != "-" && tc.entry != "" {
				quoted := fmt.Sprintf("%q", tc.entry)
				assert.Contains(t, err.Error(), quoted[1:len(quoted)-1])
			}
			nothingVisible(t, dir, bad)
			if t.Failed() {
				t.Logf("error: %v", err)
			}
		})
	}
}

// Manifests and configs that must be refused before any layer is fetched.
func TestBadImages(t *testing.T) {
	other := ti.Image{Layers: []ti.Layer{goodLayer("other")}}
	otherW := other.Write(t, t.TempDir(), "other")
	layers := []ti.Layer{goodLayer("a"), goodLayer("b")}
	ids := func(n int) []digest.Digest {
		out := []digest.Digest{}
		for i := range n {
			out = append(out, digest.FromString(fmt.Sprint(i)))
		}
		return out
	}
	for _, tc := range []struct {
		name string
		img  ti.Image
		opts container.ImporterOptions
		is   error
		text string
	}{
		{"fewer diff_ids", ti.Image{Layers: layers, DiffIDs: ids(1)}, container.ImporterOptions{}, nil, "diff_id"},
		{"more diff_ids", ti.Image{Layers: layers, DiffIDs: ids(3)}, container.ImporterOptions{}, nil, "diff_id"},
		{"no diff_ids", ti.Image{Layers: layers, DiffIDs: ids(0)}, container.ImporterOptions{}, nil, "diff_id"},
		{"no layers", ti.Image{}, container.ImporterOptions{}, nil, "layers"},
		{"other image's config", ti.Image{Layers: layers, RawConfig: ti.Image{Layers: []ti.Layer{goodLayer("x"), goodLayer("y"), goodLayer("z")}}.Write(t, t.TempDir(), "").RawConfig}, container.ImporterOptions{}, nil, ""},
		{"config is not JSON", ti.Image{Layers: layers, RawConfig: []byte("this is not JSON")}, container.ImporterOptions{}, nil, "onfig"},
		{"config is an array", ti.Image{Layers: layers, RawConfig: []byte("[]")}, container.ImporterOptions{}, nil, "onfig"},
		{"config has other bytes", ti.Image{Layers: layers, MangleConfig: func(b []byte) []byte { b[10] ^= 1; return b }}, container.ImporterOptions{}, nil, ""},
		{"config is truncated", ti.Image{Layers: layers, MangleConfig: func(b []byte) []byte { return b[:20] }}, container.ImporterOptions{}, nil, ""},
		{"config of 5 MiB", ti.Image{Layers: layers, PadConfig: 5 << 20}, container.ImporterOptions{}, nil, ""},
		{"manifest of 5 MiB", ti.Image{Layers: layers, PadManifest: 5 << 20}, container.ImporterOptions{}, nil, ""},
		{"manifest is not JSON", ti.Image{Layers: layers, RawManifest: func([]byte) []byte { return []byte("not JSON") }}, container.ImporterOptions{}, nil, "anifest"},
		{"manifest is truncated", ti.Image{Layers: layers, RawManifest: func(b []byte) []byte { return b[:len(b)/2] }}, container.ImporterOptions{}, nil, "anifest"},
		{"unknown layer media type", ti.Image{Layers: []ti.Layer{layers[0], {Members: layers[1].Members, MediaType: "application/x-unknown"}}}, container.ImporterOptions{}, nil, "application/x-unknown"},
		{"layer digest is no digest", ti.Image{Layers: layers, EditManifest: func(m *ocispec.Manifest) { m.Layers[1].Digest = "../../../etc/passwd" }}, container.ImporterOptions{}, nil, ""},
		{"negative size", ti.Image{Layers: layers, EditManifest: func(m *ocispec.Manifest) { m.Layers[1].Size = -5 }}, container.ImporterOptions{}, nil, ""},
		{"huge size", ti.Image{Layers: layers, EditManifest: func(m *ocispec.Manifest) { m.Layers[1].Size = 1 << 60; m.Layers[0].Size = 1 << 62 }}, container.ImporterOptions{}, nil, ""},
		{"final-diffid of another image", ti.Image{Layers: layers, Labels: map[string]string{"ostree.final-diffid": otherW.DiffIDs[0].String()}}, container.ImporterOptions{}, container.ErrLayout, otherW.DiffIDs[0].String()},
		{"not an ostree commit layer", ti.Image{Layers: layers[:1], Labels: map[string]string{"ostree.final-diffid": digest.FromBytes(layers[0].TarBytes()).String()}}, container.ImporterOptions{}, nil, ""},
		{"not bootable", ti.Image{Layers: layers}, container.ImporterOptions{RequireBootable: true}, container.ErrNotBootable, "ostree.bootable"},
		{"wrong architecture", ti.Image{Layers: layers, Bootable: true, Architecture: "sparc"}, container.ImporterOptions{RequireBootable: true}, container.ErrArchitecture, "sparc"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := tc.img.Write(t, t.TempDir(), "bad")
			repo, dir := newRepo(t, modeHere())
			_, _, err := pull(t, repo, w.Ref, tc.opts)
			require.Error(t, err)
			if tc.is != nil {
				assert.ErrorIs(t, err, tc.is)
			}
			assert.Contains(t, err.Error(), tc.text)
			nothingVisible(t, dir)
			if testing.Verbose() {
				t.Logf("error: %.400v", err)
			}
		})
	}
	t.Run("tag missing", func(t *testing.T) {
		repo, dir := newRepo(t, modeHere())
		_, _, err := pull(t, repo, "oci:"+otherW.Dir+":nosuch", container.ImporterOptions{})
		require.Error(t, err)
		assert.Contains(t, err.Error(), "nosuch")
		nothingVisible(t, dir)
	})
}

// A bomb is stopped by the repository's reserve, before the disk is full.
func TestBadBombStopsBeforeDiskIsFull(t *testing.T) {
	repo, dir := newRepo(t, modeHere())
	var st unix.Statfs_t
	require.NoError(t, unix.Statfs(dir, &st))
	free := st.Bavail * uint64(st.Bsize) >> 20
	if free < 2000 {
		t.Skipf("only %d MiB free", free)
	}
	ti.Run(t, "ostree", "--repo="+dir, "config", "set", "core.min-free-space-size", fmt.Sprintf("%dMB", free-300))
	require.NoError(t, repo.Close())
	repo, err := ostree.OpenRepo(t.Context(), dir)
	require.NoError(t, err)
	defer repo.Close()
	var bomb []ti.Member
	bomb = append(bomb, ti.Dir("usr", 0o755))
	for i := range 8 {
		bomb = append(bomb, ti.Member{Name: fmt.Sprint("usr/bomb", i), Mode: 0o644, Content: bytes.Repeat([]byte{byte(i)}, 100<<20)})
	}
	w := ti.Image{Layers: []ti.Layer{{Members: bomb, Compression: ti.GzipFast}}}.Write(t, t.TempDir(), "bomb")
	_, _, err = pull(t, repo, w.Ref, container.ImporterOptions{})
	require.Error(t, err)
	assert.ErrorIs(t, err, container.ErrNoSpace)
	assert.Contains(t, err.Error(), "1/1")
	nothingVisible(t, dir)
}

// What a registry can do wrong. No ref may name a corrupted layer (B35), and
// the next pull from a good source gets the right content.
func TestBadRegistry(t *testing.T) {
	members := []ti.Member{ti.Dir("usr", 0o755), ti.BigFile("usr/big", 0o644, 3<<20, 9)}
	dir := t.TempDir()
	w := ti.Image{Layers: []ti.Layer{goodLayer("first"), {Members: members, Compression: ti.None}}}.Write(t, dir, "v1")
	big := w.Manifest.Layers[1].Digest
	onBlob := func(f ti.Fault) func(ti.Request) *ti.Fault {
		return func(q ti.Request) *ti.Fault {
			if q.Ref == big.String() && q.HTTP.Method == http.MethodGet {
				return &f
			}
			return nil
		}
	}
	for _, tc := range []struct {
		name   string
		fault  func(ti.Request) *ti.Fault
		texts  []string
		repair bool // the importer may succeed by trying again
	}{
		{"401", onBlob(ti.Fault{Status: 401, Body: `{"errors":[{"code":"UNAUTHORIZED","message":"who are you"}]}`}), nil, false},
		{"403", onBlob(ti.Fault{Status: 403, Body: `{"errors":[{"code":"DENIED","message":"not for you"}]}`}), nil, false},
		{"404", onBlob(ti.Fault{Status: 404, Body: `{"errors":[{"code":"BLOB_UNKNOWN","message":"never heard of it"}]}`}), nil, false},
		{"500", onBlob(ti.Fault{Status: 500, Body: "out of order"}), []string{"500"}, false},
		{"429 for ever", onBlob(ti.Fault{Status: 429, Body: "slow down", Header: http.Header{"Retry-After": {"0"}}}), []string{"429"}, false},
		{"drop always", onBlob(ti.Fault{Cut: true, Drop: 1000}), nil, false},
		{"other bytes", onBlob(ti.Fault{Mutate: func(b []byte) []byte { b[len(b)/2] ^= 1; return b }}), []string{big.String()}, false},
		{"shorter", onBlob(ti.Fault{Mutate: func(b []byte) []byte { return b[:len(b)-512] }}), nil, false},
		{"longer", onBlob(ti.Fault{Mutate: func(b []byte) []byte { return append(b, 0) }}), nil, false},
		{"stall", onBlob(ti.Fault{Stall: true, Drop: 1 << 20}), nil, false},
		{"html", onBlob(ti.Fault{Replace: []byte("<html>login</html>")}), nil, false},
		{"dropped once", func(q ti.Request) *ti.Fault {
			if q.Ref == big.String() && q.N == 1 {
				return &ti.Fault{Cut: true, Drop: 1 << 20}
			}
			return nil
		}, nil, true},
		{"503 once", func(q ti.Request) *ti.Fault {
			if q.Ref == big.String() && q.N == 1 {
				return &ti.Fault{Status: 503, Body: "in a moment"}
			}
			return nil
		}, nil, true},
		{"manifest 401", func(q ti.Request) *ti.Fault {
			if q.Kind == "manifest" {
				return &ti.Fault{Status: 401, Body: `{"errors":[{"code":"UNAUTHORIZED","message":"who are you"}]}`}
			}
			return nil
		}, nil, false},
		{"manifest 404", func(q ti.Request) *ti.Fault {
			if q.Kind == "manifest" {
				return &ti.Fault{Status: 404, Body: `{"errors":[{"code":"MANIFEST_UNKNOWN","message":"no such tag here"}]}`}
			}
			return nil
		}, []string{"no such tag here"}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			reg := ti.NewRegistry(t, dir)
			reg.SetFault(tc.fault)
			repo, repoDir := newRepo(t, modeHere())
			ref := reg.Ref("os", "v1")
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			state, err := pullContext(ctx, policyFile(t), repo, ref)
			if tc.repair {
				require.NoError(t, err)
			} else {
				require.Error(t, err)
				require.NoError(t, ctx.Err(), "it tried for two minutes")
				for _, text := range append(tc.texts, reg.Host()) {
					assert.Contains(t, err.Error(), text)
				}
				nothingVisible(t, repoDir, big)
				reg.SetFault(nil)
				state, err = pullContext(t.Context(), policyFile(t), repo, ref)
				require.NoError(t, err)
			}
			want, _ := oracle.Merge(nil, trees(t, rulesHere(), []ti.Layer{goodLayer("first"), {Members: members}})...)
			oracle.Same(t, want.List(), oracle.List(t, repoDir, state.MergeCommit), "merge commit")
			oracle.Fsck(t, repoDir)
		})
	}
}

// pullContext is pull for other goroutines: policy is the path of a policy.json.
func pullContext(ctx context.Context, policy string, repo *ostree.Repo, ref string) (*container.LayeredImageState, error) {
	image, err := imageref.ParseOSTree("ostree-unverified-image:" + ref)
	if err != nil {
		return nil, err
	}
	imp, err := container.NewImporter(repo, image, &container.ImporterOptions{
		Registry: &registry.Options{
			Access:       registry.Access{InsecureSkipTLSVerify: true, Auth: registry.AuthAnonymous},
			PolicyPath:   policy,
			StallTimeout: 2 * time.Second,
			Retry:        registry.Retry{Delay: 10 * time.Millisecond},
		},
	})
	if err != nil {
		return nil, err
	}
	defer imp.Close()
	res, err := imp.Prepare(ctx)
	if err != nil {
		return nil, err
	}
	if res.AlreadyPresent != nil {
		return res.AlreadyPresent, nil
	}
	return imp.Import(ctx, res.Ready)
}

// Cancelled in the middle of a stalled blob, an import stops within a second
// and leaves nothing.
func TestBadCancelled(t *testing.T) {
	dir := t.TempDir()
	w := ti.Image{Layers: []ti.Layer{{Members: []ti.Member{ti.Dir("usr", 0o755), ti.BigFile("usr/big", 0o644, 3<<20, 9)}, Compression: ti.None}}}.Write(t, dir, "v1")
	reg := ti.NewRegistry(t, dir)
	stalled := make(chan struct{})
	var once sync.Once
	reg.SetFault(func(q ti.Request) *ti.Fault {
		if q.Kind == "blob" && q.Ref == w.Manifest.Layers[0].Digest.String() {
			once.Do(func() { close(stalled) })
			return &ti.Fault{Stall: true, Drop: 1 << 20}
		}
		return nil
	})
	repo, repoDir := newRepo(t, modeHere())
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	cause := errors.New("the user pressed a key")
	var at time.Time
	go func() {
		<-stalled
		time.Sleep(100 * time.Millisecond)
		at = time.Now()
		cancel(cause)
	}()
	_, err := pullContext(ctx, policyFile(t), repo, reg.Ref("os", "v1"))
	require.Error(t, err)
	assert.ErrorIs(t, err, cause)
	assert.Less(t, time.Since(at), time.Second)
	nothingVisible(t, repoDir)
}

// Two pulls at once into one repository, from one and from two handles, and an
// ostree prune at the same time: all succeed and the repository is sound.
func TestBadConcurrentPulls(t *testing.T) {
	features := ti.UnionSafe()
	layers := ti.Random(77, ti.RandomOptions{Features: features, MinLayers: 4, MaxLayers: 5})
	dir := t.TempDir()
	a := ti.Image{Layers: layers}.Write(t, dir, "a")
	b := ti.Image{Layers: append(layers[:3:3], goodLayer("b"))}.Write(t, dir, "b")
	_, repoDir := newRepo(t, modeHere())
	stop := make(chan struct{})
	var prunes sync.WaitGroup
	prunes.Add(1)
	go func() {
		defer prunes.Done()
		for {
			select {
			case <-stop:
				return
			default:
			}
			if out, err := exec.Command("ostree", "--repo="+repoDir, "prune", "--refs-only").CombinedOutput(); err != nil {
				t.Errorf("prune: %v: %s", err, out)
				return
			}
		}
	}()
	var wg sync.WaitGroup
	states := make([]*container.LayeredImageState, 4)
	policy := policyFile(t)
	for i := range 4 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			repo, err := ostree.OpenRepo(t.Context(), repoDir)
			if !assert.NoError(t, err) {
				return
			}
			defer repo.Close()
			states[i], err = pullContext(t.Context(), policy, repo, []string{a.Ref, b.Ref}[i%2])
			assert.NoError(t, err)
		}()
	}
	wg.Wait()
	close(stop)
	prunes.Wait()
	require.False(t, t.Failed())
	assert.Equal(t, states[0].MergeCommit, states[2].MergeCommit)
	assert.Equal(t, states[1].MergeCommit, states[3].MergeCommit)
	oracle.Fsck(t, repoDir)
	assert.Empty(t, leftovers(t, repoDir))
	want, _ := oracle.Merge(nil, trees(t, rulesHere(), layers)...)
	oracle.Same(t, want.List(), oracle.List(t, repoDir, states[0].MergeCommit), "merge commit")
}

// TestKillHelper is the child of TestBadKilled.
func TestKillHelper(t *testing.T) {
	dir, ref := os.Getenv("KILL_REPO"), os.Getenv("KILL_REF")
	if dir == "" {
		t.Skip("only as a child of TestBadKilled")
	}
	repo, err := ostree.OpenRepo(t.Context(), dir)
	require.NoError(t, err)
	defer repo.Close()
	_, err = pullContext(t.Context(), policyFile(t), repo, ref)
	require.NoError(t, err)
}

// Killed at any moment: the repository is sound, finished layers are kept, the
// next run completes, and leaves nothing behind.
func TestBadKilled(t *testing.T) {
	features := ti.UnionSafe()
	layers := ti.Random(99, ti.RandomOptions{Features: features, MinLayers: 5, MaxLayers: 5, Members: 120})
	w := ti.Image{Layers: layers}.Write(t, t.TempDir(), "v1")
	want, _ := oracle.Merge(nil, trees(t, rulesHere(), layers)...)
	self, err := os.Executable()
	require.NoError(t, err)
	rounds, temp := 6, t.TempDir()
	if testing.Short() {
		rounds = 3
	}
	for round := range rounds {
		repo, repoDir := newRepo(t, []ostree.Mode{modeHere(), ostree.ModeArchive}[round%2])
		for _, after := range []time.Duration{20, 60, 110, 170, 240, 330} {
			child := exec.Command(self, "-test.run=^TestKillHelper$")
			child.Env = append(os.Environ(), "TMPDIR="+temp, "KILL_REPO="+repoDir, "KILL_REF="+w.Ref)
			require.NoError(t, child.Start())
			time.Sleep((after + time.Duration(7*round)) * time.Millisecond)
			_ = child.Process.Kill() // it may be done
			_ = child.Wait()
			oracle.Fsck(t, repoDir)
			for name, commit := range oracle.Refs(t, repoDir) {
				if strings.HasPrefix(name, "ostree/container/image/") {
					oracle.Same(t, want.List(), oracle.List(t, repoDir, commit), "merge commit")
				}
			}
		}
		state, err := pullContext(t.Context(), policyFile(t), repo, w.Ref)
		require.NoError(t, err)
		oracle.Same(t, want.List(), oracle.List(t, repoDir, state.MergeCommit), "merge commit")
		oracle.Fsck(t, repoDir)
		for _, name := range leftovers(t, repoDir) {
			// libostree removes those of this boot when it next writes.
			assert.True(t, strings.HasPrefix(name, "staging-"), name)
		}
	}
}

// A layer commit that lost objects is not built upon.
func TestBadRepositoryMissingObjects(t *testing.T) {
	dir := t.TempDir()
	v1 := ti.Image{Layers: []ti.Layer{goodLayer("a"), goodLayer("b")}}.Write(t, dir, "v")
	for _, suffix := range []string{".dirtree", ".commit"} {
		repo, repoDir := newRepo(t, modeHere())
		mustPull(t, repo, v1.Ref, container.ImporterOptions{})
		first := layerRefs(t, repoDir, v1)[0]
		if suffix == ".commit" {
			require.NoError(t, os.Remove(filepath.Join(repoDir, "objects", first[:2], first[2:]+suffix)))
		} else {
			root := strings.Fields(oracle.List(t, repoDir, first))[4]
			require.NoError(t, os.Remove(filepath.Join(repoDir, "objects", root[:2], root[2:]+suffix)))
		}
		layers := []ti.Layer{goodLayer("a"), goodLayer("c")}
		v2 := ti.Image{Layers: layers}.Write(t, t.TempDir(), "v")
		require.NoError(t, repo.Close())
		repo, err := ostree.OpenRepo(t.Context(), repoDir)
		require.NoError(t, err)
		state, _, err := pull(t, repo, v2.Ref, container.ImporterOptions{})
		if err != nil { // refusing is right too, if it says what is missing
			t.Logf("%s: %v", suffix, err)
			assert.NotContains(t, oracle.Refs(t, repoDir), v2.Ref)
		} else {
			want, _ := oracle.Merge(nil, trees(t, rulesHere(), layers)...)
			oracle.Same(t, want.List(), oracle.List(t, repoDir, state.MergeCommit), "merge commit")
		}
		require.NoError(t, repo.Close())
	}
}
