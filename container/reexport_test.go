package container_test

import (
	"archive/tar"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/container"
	"github.com/ostree-container/ostree-container/container/internal/oracle"
	ti "github.com/ostree-container/ostree-container/container/internal/testimage"
	"github.com/ostree-container/ostree-container/container/registry"
	"github.com/ostree-container/ostree-container/ostree"
)

func reexport(t testing.TB, repo *ostree.Repo, ref, dest string, opts *container.ReexportOptions) digest.Digest {
	t.Helper()
	d, err := container.Reexport(t.Context(), repo, imageName(t, ref), imageName(t, dest), opts)
	require.NoError(t, err)
	return d
}

// blobOf decompresses a blob of a layout, compares its digest and returns its diff_id and members; all but the content of
// those as archive/tar gives it.
func blobOf(t testing.TB, dir string, l ocispec.Descriptor) (digest.Digest, []*tar.Header) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "blobs", "sha256", l.Digest.Encoded()))
	require.NoError(t, err)
	require.Equal(t, l.Digest, digest.FromBytes(data))
	require.Equal(t, l.Size, int64(len(data)))
	sum := digest.Canonical.Digester()
	var in io.Reader = strings.NewReader(string(data))
	switch l.MediaType {
	case ocispec.MediaTypeImageLayerGzip, ocispec.MediaTypeImageLayerZstd:
		tool := map[string]string{ocispec.MediaTypeImageLayerGzip: "gzip", ocispec.MediaTypeImageLayerZstd: "zstd"}[l.MediaType]
		ti.NeedTool(t, tool)
		cmd := exec.Command(tool, "-dc")
		cmd.Stdin = in
		out, err := cmd.Output()
		require.NoError(t, err)
		in = strings.NewReader(string(out))
	}
	r := tar.NewReader(io.TeeReader(in, sum.Hash()))
	var members []*tar.Header
	for {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		require.NoError(t, err)
		assert.Equal(t, int64(0), h.ModTime.Unix(), h.Name)
		members = append(members, h)
	}
	_, err = io.Copy(sum.Hash(), in)
	require.NoError(t, err)
	return sum.Digest(), members
}

// checkWritten compares what manifest and config say with the blobs, and the rest with the image that was pulled (B5, B43).
func checkWritten(t *testing.T, dir, tag string, was *ti.Written, native int) *ti.Base {
	t.Helper()
	got, err := ti.LoadBase(dir, tag)
	require.NoError(t, err)
	require.Len(t, got.Manifest.Layers, len(was.Manifest.Layers))
	require.Len(t, got.Config.RootFS.DiffIDs, len(was.Manifest.Layers), "B43: one diff_id for each layer")
	for n, l := range got.Manifest.Layers {
		id, _ := blobOf(t, dir, l)
		assert.Equal(t, got.Config.RootFS.DiffIDs[n], id, "diff_id of layer %d", n)
		assert.Equal(t, was.Manifest.Layers[n].Annotations, l.Annotations, "B5: annotations of layer %d", n)
	}
	assert.Equal(t, was.Config.History, got.Config.History, "B5")
	labels := map[string]string{}
	for key, value := range was.Config.Config.Labels {
		labels[key] = value
	}
	if native > 0 {
		labels["ostree.final-diffid"] = got.Config.RootFS.DiffIDs[native-1].String()
		assert.Equal(t, labels["ostree.final-diffid"], got.Manifest.Annotations["ostree.final-diffid"], "B5")
	}
	if len(labels)+len(got.Config.Config.Labels) > 0 {
		assert.Equal(t, labels, got.Config.Config.Labels, "B5")
	}
	return got
}

// What was pulled and written again is pulled to the same tree, and written again it has the same digest: from every mode of
// repository, on any number of workers.
func TestReexportRoundTrip(t *testing.T) {
	t.Parallel()
	layers := append(stack(), copyLayers()...)
	layers[0].Annotations = map[string]string{"note": "first"}
	layers[2].Annotations = map[string]string{"note": "third"}
	w := ti.Image{Layers: layers, EmptyHistory: 2, Labels: map[string]string{"a": "b"}, Annotations: map[string]string{"c": "d"}}.Write(t, t.TempDir(), "latest")
	out := t.TempDir()
	var first digest.Digest
	var tree [2]string
	for n, mode := range []ostree.Mode{modeHere(), ostree.ModeBareUser, ostree.ModeArchive} {
		repo, repoDir := newRepo(t, mode)
		state := mustPull(t, repo, w.Ref, container.ImporterOptions{})
		tree = treeOf(t, repoDir, state.MergeCommit)
		for _, jobs := range []int{1, 4} {
			d := reexport(t, repo, w.Ref, fmt.Sprintf("oci:%s/layout%d:new", out, n), &container.ReexportOptions{Jobs: jobs})
			if first == "" {
				first = d
			}
			assert.Equal(t, first, d, "%s, %d jobs", mode, jobs)
		}
	}
	dir := out + "/layout0"
	checkWritten(t, dir, "new", w, 0)
	repo, repoDir := newRepo(t, modeHere())
	again := mustPull(t, repo, "oci:"+dir+":new", container.ImporterOptions{})
	assert.Equal(t, tree, treeOf(t, repoDir, again.MergeCommit))
	oracle.Fsck(t, repoDir)
	assert.Equal(t, first, reexport(t, repo, "oci:"+dir+":new", "oci:"+out+"/twice:x", nil), "what we wrote comes out with its digest")

	for compression, mediaType := range map[string]string{
		"gzip": ocispec.MediaTypeImageLayerGzip, "zstd": ocispec.MediaTypeImageLayerZstd, "none": ocispec.MediaTypeImageLayer,
	} {
		reexport(t, repo, "oci:"+dir+":new", "oci:"+out+"/"+compression, &container.ReexportOptions{Compression: container.Compression(compression)})
		got := checkWritten(t, out+"/"+compression, "", w, 0)
		assert.Equal(t, mediaType, got.Manifest.Layers[1].MediaType)
	}
}

func TestReexportedMembers(t *testing.T) {
	t.Parallel()
	w := ti.Image{Layers: []ti.Layer{
		{Members: []ti.Member{
			ti.Dir("usr", 0o755), ti.Dir("usr/private", 0o700).Owned(7, 8).With("user.dir", "d"), ti.File("usr/private/a", 0o600, "same"), ti.Hardlink("usr/b", "usr/private/a"),
			ti.Dir("etc", 0o751), ti.File("etc/x", 0o4711, "x").Owned(3_000_000, 4).With("user.v", "\x00\n="), ti.Hardlink("etc/y", "etc/x"), ti.Symlink("etc/l", "//a//b"),
		}},
		{Members: []ti.Member{ // it names no parents
			ti.File("usr/private/-x", 0o644, "new"), ti.Whiteout("usr/private/-x"), ti.Whiteout("etc/l"), ti.Dir("usr/empty", 0o755), ti.Opaque("usr/empty"), ti.File("usr/empty/e", 0o644, ""),
		}},
	}}.Write(t, t.TempDir(), "latest")
	repo, _ := newRepo(t, ostree.ModeBareUser)
	mustPull(t, repo, w.Ref, container.ImporterOptions{})
	dir := t.TempDir() + "/out"
	reexport(t, repo, w.Ref, "oci:"+dir, &container.ReexportOptions{Compression: "none"})
	got := checkWritten(t, dir, "", w, 0)
	list := func(n int) (text []string) {
		_, members := blobOf(t, dir, got.Manifest.Layers[n])
		for _, h := range members {
			line := fmt.Sprintf("%c %o %d:%d %s", h.Typeflag, h.Mode, h.Uid, h.Gid, h.Name)
			if h.Linkname != "" {
				line += " -> " + h.Linkname
			}
			for _, key := range []string{"user.dir", "user.v"} {
				if v, ok := h.PAXRecords["SCHILY.xattr."+key]; ok {
					line += fmt.Sprintf(" %s=%q", key, v)
				}
			}
			text = append(text, line)
		}
		return text
	}
	assert.Equal(t, []string{
		"5 755 0:0 ./",
		"5 751 0:0 etc/", "2 777 0:0 etc/l -> //a//b", `0 4711 3000000:4 etc/x user.v="\x00\n="`, `0 4711 3000000:4 etc/y user.v="\x00\n="`,
		"5 755 0:0 usr/", "0 600 0:0 usr/b", `5 700 7:8 usr/private/ user.dir="d"`, "1 644 0:0 usr/private/a -> usr/b",
	}, list(0))
	assert.Equal(t, []string{
		"5 755 0:0 ./", "5 751 0:0 etc/", "0 644 0:0 etc/.wh.l",
		"5 755 0:0 usr/", "5 755 0:0 usr/empty/", "0 644 0:0 usr/empty/.wh..wh..opq", "0 644 0:0 usr/empty/e",
		`5 700 7:8 usr/private/ user.dir="d"`, "0 644 0:0 usr/private/.wh.-x", "0 644 0:0 usr/private/-x",
	}, list(1))
}

// The layers of an ostree base keep their division, and what is said of each layer stays with it.
func TestB5_ReexportOfABase(t *testing.T) {
	t.Parallel()
	ti.NeedRoot(t)
	base := bigBase(t)
	layers := stack()
	for n := range layers {
		layers[n].Annotations = map[string]string{"derived": fmt.Sprint(n)}
	}
	w := ti.Image{Base: base, Layers: layers, Bootable: true, Annotations: map[string]string{"ostree.final-diffid": base.Config.Config.Labels["ostree.final-diffid"]}}.Write(t, t.TempDir(), "latest")
	repo, repoDir := newRepo(t, ostree.ModeBare)
	state := mustPull(t, repo, w.Ref, container.ImporterOptions{})
	out := t.TempDir()
	d := reexport(t, repo, w.Ref, "oci:"+out+"/a:x", nil)
	native := nativeLayers(t, w)
	require.Greater(t, native, 2)
	checkWritten(t, out+"/a", "x", w, native)

	other, otherDir := newRepo(t, ostree.ModeBare)
	again := mustPull(t, other, "oci:"+out+"/a:x", container.ImporterOptions{})
	assert.Equal(t, treeOf(t, repoDir, state.MergeCommit), treeOf(t, otherDir, again.MergeCommit))
	assert.Equal(t, state.BaseCommit, again.BaseCommit)
	for n := range native {
		a := must(repo.ResolveRev(t.Context(), blobRef(t, state.Manifest.Layers[n].Digest.String())))(t)
		b := must(other.ResolveRev(t.Context(), blobRef(t, again.Manifest.Layers[n].Digest.String())))(t)
		assert.Equal(t, a, b, "commit of layer %d", n)
	}
	oracle.Fsck(t, otherDir)
	assert.Equal(t, d, reexport(t, other, "oci:"+out+"/a:x", "oci:"+out+"/b:x", nil))
}

func TestReexportTransports(t *testing.T) {
	t.Parallel()
	ti.NeedTool(t, "skopeo")
	w := ti.Image{Layers: copyLayers()}.Write(t, t.TempDir(), "latest")
	repo, repoDir := newRepo(t, ostree.ModeBareUser)
	state := mustPull(t, repo, w.Ref, container.ImporterOptions{})
	out := t.TempDir()
	layout := reexport(t, repo, w.Ref, "oci:"+out+"/layout", nil)
	for _, dest := range []string{"oci-archive:" + out + "/a.ociarchive:x", "docker-archive:" + out + "/a.tar", "dir:" + out + "/dir"} {
		d := reexport(t, repo, w.Ref, dest, nil)
		if !strings.HasPrefix(dest, "docker-archive:") {
			assert.Equal(t, layout, d, dest)
			assert.Equal(t, d, digest.FromString(ti.Run(t, "skopeo", "inspect", "--raw", dest)), dest)
		}
		other, otherDir := newRepo(t, ostree.ModeBareUser)
		again := mustPull(t, other, dest, container.ImporterOptions{})
		assert.Equal(t, treeOf(t, repoDir, state.MergeCommit), treeOf(t, otherDir, again.MergeCommit), dest)
	}
}

func TestReexportRefuses(t *testing.T) {
	t.Parallel()
	w := ti.Image{Layers: copyLayers()}.Write(t, t.TempDir(), "latest")
	object := func(t *testing.T, dir, merge, path string) string {
		return strings.Fields(ti.Run(t, "ostree", "--repo="+dir, "ls", "-d", "-C", merge, path))[4]
	}
	full := t.TempDir()
	require.NoError(t, os.WriteFile(full+"/mine", nil, 0o600))
	tests := []struct {
		name, dest string
		opts       container.ReexportOptions
		damage     func(t *testing.T, repo *ostree.Repo, dir, merge string)
		want       error
		text       string
	}{
		{"missing file", "", container.ReexportOptions{}, func(t *testing.T, _ *ostree.Repo, dir, merge string) {
			require.NoError(t, os.Remove(objectPath(dir, object(t, dir, merge, "/usr/copy1/large"), "file")))
		}, container.ErrIncomplete, `file "/usr/copy1/large"`},
		{"changed file", "", container.ReexportOptions{}, func(t *testing.T, _ *ostree.Repo, dir, merge string) {
			path := objectPath(dir, object(t, dir, merge, "/usr/copy1/large"), "file")
			data, err := os.ReadFile(path)
			require.NoError(t, err)
			data[1000] ^= 1
			require.NoError(t, os.WriteFile(path, data, 0o600))
		}, nil, "see ostree fsck"},
		{"missing directory", "", container.ReexportOptions{}, func(t *testing.T, _ *ostree.Repo, dir, merge string) {
			require.NoError(t, os.Remove(objectPath(dir, object(t, dir, merge, "/usr/copy1"), "dirtree")))
		}, container.ErrIncomplete, `directory "/usr/copy1"`},
		{"layer without a ref", "", container.ReexportOptions{}, func(t *testing.T, repo *ostree.Repo, _, _ string) {
			require.NoError(t, repo.SetRefImmediate(t.Context(), "", refOfLayer(t, *w, 1), ""))
		}, ostree.ErrNotFound, "layer 2/4"},
		{"no image", "", container.ReexportOptions{}, func(t *testing.T, repo *ostree.Repo, _, _ string) {
			require.NoError(t, repo.SetRefImmediate(t.Context(), "", imageRefOf(t, w.Ref), ""))
		}, container.ErrNoSuchImage, w.Ref},
		{"unknown compression", "", container.ReexportOptions{Compression: "xz"}, nil, nil, "xz"},
		{"level", "", container.ReexportOptions{CompressionLevel: 99}, nil, nil, "99"},
		{"other files", "oci:" + full, container.ReexportOptions{}, nil, nil, full},
		{"no parent", "oci:" + full + "/no/parent", container.ReexportOptions{}, nil, os.ErrNotExist, "/no/parent"},
		{"no registry", "docker://127.0.0.1:1/x", container.ReexportOptions{Push: &registry.PushOptions{Retry: registry.Retry{Attempts: 1}}}, nil, nil, "connection refused"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			ti.NeedTool(t, "ostree")
			repo, dir := newRepo(t, ostree.ModeBareUser)
			state := mustPull(t, repo, w.Ref, container.ImporterOptions{})
			if tt.damage != nil {
				tt.damage(t, repo, dir, state.MergeCommit)
			}
			out := t.TempDir() + "/out"
			if tt.dest == "" {
				tt.dest = "oci:" + out
			}
			_, err := container.Reexport(t.Context(), repo, imageName(t, w.Ref), imageName(t, tt.dest), &tt.opts)
			require.ErrorContains(t, err, "export image "+w.Ref)
			assert.ErrorContains(t, err, tt.text)
			if tt.want != nil {
				assert.ErrorIs(t, err, tt.want)
			}
			assert.NoFileExists(t, out+"/index.json")
		})
	}
}

// interopReexport: what one program pulled and wrote again, the other pulls to the same tree.
func interopReexport(t *testing.T, p programs) {
	base := bigBase(t)
	w := ti.Image{Base: base, Layers: stack()}.Write(t, t.TempDir(), "latest")
	judge, ours := bareRepo(t), bareRepo(t)
	_, judgeMerge := p.judge.pull(t, judge, w.Ref)
	_, merge := p.ours.pull(t, ours, w.Ref)
	want := treeOf(t, ours, merge)
	assert.Equal(t, want, treeOf(t, judge, judgeMerge))
	out := t.TempDir()
	require.NoError(t, os.Mkdir(out+"/judge", 0o755)) // the judge makes none

	for _, from := range []string{judge, ours} { // whoever filled the repository
		to := out + "/ours-" + filepath.Base(filepath.Dir(from))
		said := p.ours.run(t, "reexport", "--repo="+from, w.Ref, "oci:"+to+":x")
		assert.Regexp(t, `^Exported: sha256:[0-9a-f]{64}\n$`, said)
		for _, puller := range []program{p.judge, p.ours} {
			repo := bareRepo(t)
			_, got := puller.pull(t, repo, "oci:"+to+":x")
			assert.Equal(t, want, treeOf(t, repo, got), "%s pulls what ours wrote", puller.name)
			oracle.Fsck(t, repo)
		}
	}

	// What the judge writes has 2N diff_ids (B43), and annotations of other layers (B5).
	said := p.judge.run(t, "reexport", "--repo="+judge, w.Ref, "oci:"+out+"/judge:x")
	assert.Regexp(t, `^Exported: sha256:[0-9a-f]{64}\n$`, said)
	written, err := ti.LoadBase(out+"/judge", "x")
	require.NoError(t, err)
	assert.Len(t, written.Config.RootFS.DiffIDs, 2*len(w.Manifest.Layers))
	repo, again := bareRepo(t), bareRepo(t)
	_, merge = p.judge.pull(t, again, "oci:"+out+"/judge:x")
	want = treeOf(t, again, merge) // not what it had
	_, got := p.ours.pull(t, repo, "oci:"+out+"/judge:x")
	assert.Equal(t, want, treeOf(t, repo, got), "ours pulls what the judge wrote")
	// Ours repairs it.
	p.ours.run(t, "reexport", "--repo="+repo, "oci:"+out+"/judge:x", "oci:"+out+"/repaired:x")
	written, err = ti.LoadBase(out+"/repaired", "x")
	require.NoError(t, err)
	assert.Len(t, written.Config.RootFS.DiffIDs, len(w.Manifest.Layers))
	repaired := bareRepo(t)
	_, got = p.judge.pull(t, repaired, "oci:"+out+"/repaired:x")
	assert.Equal(t, want, treeOf(t, repaired, got), "the judge pulls what ours repaired")

	for _, bad := range [][]string{
		{"--repo=" + ours, "oci:/no/such/image", "oci:" + out + "/judge"},
		{"--repo=" + out, w.Ref, "oci:" + out + "/judge"},
		{"--repo=" + ours, w.Ref, "oci:" + out + "/no/such/dir"},
	} {
		for _, q := range []program{p.judge, p.ours} {
			_, _, err := q.try(append([]string{"reexport"}, bad...)...)
			var exit interface{ ExitCode() int }
			require.ErrorAs(t, err, &exit)
			assert.Equal(t, 1, exit.ExitCode(), "%s %v", q.name, bad)
		}
	}
	var raw ocispec.Manifest
	require.NoError(t, json.Unmarshal([]byte(ti.Run(t, "skopeo", "inspect", "--raw", "oci:"+out+"/repaired:x")), &raw))
	assert.Len(t, raw.Layers, len(w.Manifest.Layers))
}
