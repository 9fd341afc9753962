package container_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/container"
	"github.com/ostree-container/ostree-container/container/imageref"
	"github.com/ostree-container/ostree-container/container/internal/oracle"
	ti "github.com/ostree-container/ostree-container/container/internal/testimage"
	"github.com/ostree-container/ostree-container/ostree"
)

// stackTest imports layers of members as an image without a base and returns
// the listing of the merge as lines by path, after comparing it with the model.
func stackTest(t *testing.T, layers ...[]ti.Member) map[string]string {
	t.Helper()
	var list []ti.Layer
	for _, m := range layers {
		list = append(list, ti.Layer{Members: m})
	}
	return lines(conform(t, modeHere(), list))
}

// lines gives "TYPEMODE UID GID SIZE CHECKSUM... { XATTRS } PATH[ -> TARGET]" by path.
func lines(listing string) map[string]string {
	out := map[string]string{}
	for _, l := range strings.Split(listing, "\n") {
		if _, path, ok := strings.Cut(l, " } "); ok {
			path, _, _ = strings.Cut(path, " -> ")
			out[path] = l
		}
	}
	return out
}

// ident is type, mode, uid and gid of a listing's line.
func ident(line string) string {
	f := strings.Fields(line)
	if len(f) < 3 {
		return line
	}
	return strings.Join(f[:3], " ")
}

func paths(m map[string]string) []string {
	var out []string
	for p := range m {
		out = append(out, p)
	}
	slices.Sort(out)
	return out
}

// onBase imports one layer over the given image, read back from its layout.
func onBase(t *testing.T, base *ti.Base, opts container.ImporterOptions, layers ...ti.Layer) (*container.LayeredImageState, string, error) {
	t.Helper()
	w := ti.Image{Base: base, Layers: layers}.Write(t, t.TempDir(), "latest")
	repo, dir := newRepo(t, modeHere())
	state, _, err := pull(t, repo, w.Ref, opts)
	oracle.Fsck(t, dir)
	return state, dir, err
}

// Files below /sysroot/ostree/repo that a layer changed (mtime > 0) appear
// where the layer links to them: with absolute targets (B1), below /etc, with
// the filters applied and with their xattrs (B2); a link to an object that the
// layer does not carry is reported (B3).
func TestB1_B2_B3_SysrootLinks(t *testing.T) {
	base := ti.EncapsulatedBase(t, ti.BaseOptions{Bootable: true})
	obj := "sysroot/ostree/repo/objects/ab/" + strings.Repeat("c", 62) + ".file"
	missing := "sysroot/ostree/repo/objects/ff/" + strings.Repeat("e", 62) + ".file"
	unchanged := ti.File("sysroot/ostree/repo/objects/12/"+strings.Repeat("3", 62)+".file", 0o644, "old")
	unchanged.ModTime = ti.Epoch
	members := []ti.Member{
		ti.File(obj, 0o751, "changed\n").Owned(5, 6).With("user.kept", "yes"),
		unchanged,
		ti.Hardlink("usr/bin/relative", obj),
		ti.Hardlink("usr/bin/absolute", "/"+obj),
		ti.Hardlink("etc/below-etc", obj),
		ti.Hardlink("run/dropped", obj),
		ti.Hardlink("usr/bin/lost", missing),
	}
	state, dir, err := onBase(t, &base.Base, container.ImporterOptions{}, ti.Layer{Members: members})
	require.NoError(t, err)
	got := lines(oracle.List(t, dir, state.MergeCommit))
	for _, p := range []string{"/usr/bin/relative", "/usr/bin/absolute", "/usr/etc/below-etc"} {
		assert.Equal(t, "-00751 5 6", ident(got[p]), p)
		assert.Contains(t, got[p], "user.kept", p)
		assert.Contains(t, got[p], "      8 ", p)
	}
	assert.NotContains(t, got, "/usr/bin/lost")
	assert.NotContains(t, got, "/run/dropped")
	report := container.FilteredContentWarning(state.Filtered)
	assert.Contains(t, report, "usr/bin/lost")
	assert.Contains(t, report, "dropped: 1")
	_, _, err = onBase(t, &base.Base, container.ImporterOptions{Strict: true}, ti.Layer{Members: members})
	require.Error(t, err)
	assert.Contains(t, err.Error(), "usr/bin/lost")
}

func TestB4_WhiteoutsAndLinksMove(t *testing.T) {
	got := stackTest(t,
		[]ti.Member{ti.Dir("etc", 0o755), ti.File("etc/a", 0o644, "a"), ti.File("var/lib/b", 0o644, "b")},
		[]ti.Member{ti.File(".wh.etc", 0o644, ""), ti.File(".wh.var", 0o644, "")},
		[]ti.Member{ti.File("var/x", 0o644, "x"), ti.Hardlink("usr/link", "/var/x"), ti.Hardlink("etc/link2", "./var//x")})
	assert.NotContains(t, got, "/usr/etc/a")
	varDir := "/usr/share/factory/var"
	if dir := rulesHere().Var; dir != "" {
		varDir = "/" + dir
	}
	assert.NotContains(t, got, varDir+"/lib")
	for _, p := range []string{"/usr/link", "/usr/etc/link2", varDir + "/x"} {
		assert.Contains(t, got, p)
	}
	for _, p := range paths(got) {
		assert.NotContains(t, p, ".wh.")
	}
}

func TestB17_B52_WhiteoutSparesItsOwnLayer(t *testing.T) {
	names := []string{"-x", "+y", ",z", "!a", "#b", "$c", ".a", ".wh", "zz", " sp"}
	var lower, upper []ti.Member
	for _, n := range names {
		lower = append(lower, ti.File("usr/"+n, 0o644, "lower"))
		upper = append(upper, ti.Whiteout("usr/"+n), ti.File("usr/"+n, 0o644, "upper"))
	}
	got := stackTest(t, lower, upper)
	for _, n := range names {
		assert.Contains(t, got, "/usr/"+n)
	}
	assert.Len(t, got, len(names)+2)
}

// The path of a later layer leads through a symlink of a lower one: the link is
// replaced by a directory in the tree, and nothing outside is touched.
func TestB19_SymlinkIsReplacedNotFollowed(t *testing.T) {
	outside := t.TempDir()
	victim := filepath.Join(outside, "victim")
	require.NoError(t, os.WriteFile(victim, []byte("host"), 0o600))
	up := strings.Repeat("../", 40)
	got := stackTest(t,
		[]ti.Member{ti.Symlink("usr/abs", outside), ti.Symlink("usr/climb", up+strings.TrimPrefix(outside, "/")), ti.Symlink("usr/chain", "abs"), ti.Symlink("opt", "usr/abs")},
		[]ti.Member{
			ti.File("usr/abs/new", 0o644, "x"), ti.Whiteout("usr/abs/victim"), ti.Opaque("usr/climb"), ti.File("usr/climb/new", 0o644, "x"),
			ti.Whiteout("usr/chain/victim"), ti.Dir("usr/chain", 0o700), ti.File("opt/sub/new", 0o644, "x"),
		})
	content, err := os.ReadFile(victim)
	require.NoError(t, err)
	assert.Equal(t, "host", string(content))
	entries, err := os.ReadDir(outside)
	require.NoError(t, err)
	assert.Len(t, entries, 1)
	for _, p := range []string{"/usr/abs", "/usr/climb", "/usr/chain", "/opt"} {
		assert.Equal(t, byte('d'), got[p][0], p)
	}
	assert.Contains(t, got, "/opt/sub/new")
	assert.NotContains(t, got, "/usr/abs/victim")
}

func TestB20_TypeChangesAndBack(t *testing.T) {
	kinds := map[string]func() []ti.Member{
		"file":    func() []ti.Member { return []ti.Member{ti.File("usr/p", 0o644, "f")} },
		"symlink": func() []ti.Member { return []ti.Member{ti.Symlink("usr/p", "q")} },
		"dir":     func() []ti.Member { return []ti.Member{ti.Dir("usr/p", 0o700), ti.File("usr/p/in", 0o600, "in")} },
		"parent":  func() []ti.Member { return []ti.Member{ti.File("usr/p/in2", 0o600, "in")} },
	}
	for a, first := range kinds {
		for b, second := range kinds {
			t.Run(a+" "+b, func(t *testing.T) {
				got := stackTest(t, first(), second(), first())
				want := map[string]byte{"file": '-', "symlink": 'l', "dir": 'd', "parent": 'd'}[a]
				assert.Equal(t, want, got["/usr/p"][0])
			})
		}
	}
}

func TestB21_B38_Xattrs(t *testing.T) {
	m := ti.File("usr/x", 0o755, "x").With("user.zz", "1").With("user.aa", "line\nline\n").With("security.capability",
		"\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00").With("user.mm", "nul\x00in\x00").With("user.aa2", "30 path=usr/evil\n")
	got := stackTest(t, []ti.Member{m, ti.Dir("usr/d", 0o755).With("user.b", "2").With("user.a", "1")})
	line := got["/usr/x"]
	var at []int
	for _, n := range []string{"security.capability", "user.aa'", "user.aa2", "user.mm", "user.zz"} {
		at = append(at, strings.Index(line, n))
	}
	assert.True(t, slices.IsSorted(at) && at[0] > 0, line)
	// Empty values: kept wherever the mode can hold them.
	e := []ti.Layer{{Members: []ti.Member{ti.Dir("usr", 0o755).With("user.e", ""), ti.File("usr/e", 0o644, "e").With("user.e", "").With("user.a", "1")}}}
	for _, mode := range []ostree.Mode{ostree.ModeBareUser, ostree.ModeArchive} {
		assert.Contains(t, lines(conform(t, mode, e))["/usr/e"], "(b'user.e', [])")
	}
}

// In a bare repository the attributes of a file are those of a file on disk,
// and libostree skips empty ones when it reads them back: a file there cannot
// have one, which is reported; a directory can.
func TestB21_EmptyXattrsInBareRepository(t *testing.T) {
	ti.NeedRoot(t)
	w := ti.Image{Layers: []ti.Layer{{Members: []ti.Member{
		ti.Dir("usr", 0o755).With("user.e", ""), ti.File("usr/e", 0o644, "e").With("user.e", "").With("user.a", "1"),
		ti.Symlink("usr/l", "e").With("trusted.e", ""),
	}}}}.Write(t, t.TempDir(), "latest")
	repo, dir := newRepo(t, ostree.ModeBare)
	state := mustPull(t, repo, w.Ref, container.ImporterOptions{})
	oracle.Fsck(t, dir)
	got := lines(oracle.List(t, dir, state.MergeCommit))
	assert.Contains(t, got["/usr"], "[(b'user.e', @ay [])]")
	assert.Contains(t, got["/usr/e"], "[(b'user.a', [byte 0x31])]")
	assert.Contains(t, got["/usr/l"], "@a(ayay) []")
	report := container.FilteredContentWarning(state.Filtered)
	assert.Contains(t, report, "/usr/e (extended attribute user.e without a value): 1")
	assert.Contains(t, report, "/usr/l (extended attribute trusted.e without a value): 1")
	repo, dir = newRepo(t, ostree.ModeBare)
	_, _, err := pull(t, repo, w.Ref, container.ImporterOptions{Strict: true})
	require.Error(t, err)
	assert.Contains(t, err.Error(), "user.e")
	nothingVisible(t, dir)
}

func TestB22_B48_UnnamedParents(t *testing.T) {
	got := stackTest(t, []ti.Member{
		ti.Dir("usr", 0o711).Owned(3, 4).With("user.u", "u"), ti.Dir("usr/private", 0o700).Owned(1, 2),
		ti.File("usr/private/made/deep/f", 0o644, "x").Owned(1000, 1000), ti.File("opt/o/f", 0o600, "x").Owned(7, 7),
	})
	assert.Equal(t, "d00711 3 4", ident(got["/usr"]))
	assert.Contains(t, got["/usr"], "user.u")
	assert.Equal(t, "d00700 1 2", ident(got["/usr/private"]))
	for _, p := range []string{"/usr/private/made", "/usr/private/made/deep", "/opt", "/opt/o", "/"} {
		assert.Equal(t, "d00755 0 0", ident(got[p]), p)
	}
}

func TestB23_ExistingDirectoryKeepsItsMetadata(t *testing.T) {
	got := stackTest(t,
		[]ti.Member{ti.Dir("./", 0o711), ti.Dir("usr", 0o755), ti.Dir("usr/d", 0o700).Owned(1, 1), ti.Dir("usr/o", 0o700).Owned(1, 1), ti.File("usr/o/gone", 0o644, "")},
		[]ti.Member{ti.Dir("./", 0o755), ti.Dir("usr/d", 0o755).Owned(2, 2), ti.Dir("usr/o", 0o750).Owned(2, 2), ti.Opaque("usr/o"), ti.File("usr/o/new", 0o644, "")})
	assert.Equal(t, "d00700 1 1", ident(got["/usr/d"]))
	assert.Equal(t, "d00750 2 2", ident(got["/usr/o"]))
	assert.Equal(t, "d00711 0 0", ident(got["/"]))
	assert.NotContains(t, got, "/usr/o/gone")
	got = stackTest(t,
		[]ti.Member{ti.Dir("./", 0o711), ti.File("usr/a", 0o644, "")},
		[]ti.Member{ti.Dir("./", 0o750).Owned(1, 1), ti.Opaque(""), ti.File("usr/b", 0o644, "")})
	assert.Equal(t, "d00750 1 1", ident(got["/"]))
	assert.Equal(t, []string{"/", "/usr", "/usr/b"}, paths(got))
}

func TestB25_DevicesAreReported(t *testing.T) {
	layers := []ti.Layer{{Members: []ti.Member{
		ti.Dir("usr", 0o755), {Name: "usr/fifo", Type: ti.TypeFIFO, Mode: 0o644}, {Name: "usr/null", Type: ti.TypeChar, Mode: 0o666, Major: 1, Minor: 3},
		{Name: "opt/sda", Type: ti.TypeBlock, Mode: 0o660, Major: 8}, {Name: "dev/null", Type: ti.TypeChar, Mode: 0o666, Major: 1, Minor: 3}, ti.File("usr/f", 0o644, "f"),
	}}}
	w := ti.Image{Layers: layers}.Write(t, t.TempDir(), "latest")
	repo, dir := newRepo(t, modeHere())
	state := mustPull(t, repo, w.Ref, container.ImporterOptions{})
	assert.Equal(t, []string{"/", "/usr", "/usr/f"}, paths(lines(oracle.List(t, dir, state.MergeCommit))))
	report := container.FilteredContentWarning(state.Filtered)
	for _, part := range []string{"usr/fifo", "usr/null", "opt/sda", "null: 1"} {
		assert.Contains(t, report, part)
	}
	repo, dir = newRepo(t, modeHere())
	_, _, err := pull(t, repo, w.Ref, container.ImporterOptions{Strict: true})
	var le *container.LayerError
	require.ErrorAs(t, err, &le)
	assert.Equal(t, "usr/fifo", le.Entry)
	nothingVisible(t, dir)
}

func TestB18_B26_SameCommitsInEveryMode(t *testing.T) {
	layers := []ti.Layer{{Members: []ti.Member{
		ti.Dir("usr", 0o2775).Owned(1, 2).With("user.d", "d"), ti.File("usr/suid", 0o4755, "s").Owned(10, 20).With("user.x", "y"),
		ti.File("usr/empty", 0o600, "").Owned(10, 20), ti.File("usr/secret", 0o000, "s").Owned(10, 20), ti.Symlink("usr/l", "suid").Owned(10, 20),
		ti.Symlink("usr/l2", "suid").With("trusted.t", "x"), ti.BigFile("usr/big", 0o644, 300_000, 4).Owned(0, 1<<31),
	}}}
	w := ti.Image{Layers: layers}.Write(t, t.TempDir(), "latest")
	var commits []string
	for _, mode := range []ostree.Mode{modeHere(), ostree.ModeBareUser, ostree.ModeArchive} {
		repo, dir := newRepo(t, mode)
		state := mustPull(t, repo, w.Ref, container.ImporterOptions{})
		oracle.Fsck(t, dir)
		commits = append(commits, state.MergeCommit+" "+layerRefs(t, dir, w)[0])
	}
	assert.Equal(t, []string{commits[0], commits[0], commits[0]}, commits)
	want, _ := oracle.Merge(nil, trees(t, rulesHere(), layers)...)
	assert.Contains(t, want.List(), "-04755 10 20")
}

func TestB28_B33_B37_B44_Encodings(t *testing.T) {
	sparse := ti.File("usr/sparse", 0o644, "")
	sparse.Size = 2 << 20
	for i := range 9 {
		sparse.Sparse = append(sparse.Sparse, ti.Span{Offset: int64(i) * 100_000, Data: []byte(strings.Repeat(fmt.Sprint(i), 1024))})
	}
	holes := ti.File("usr/holes", 0o644, "")
	holes.Size, holes.Sparse = 1<<20, []ti.Span{}
	paxSparse := sparse
	paxSparse.Name, paxSparse.SparsePAX = "usr/pax-sparse", true
	members := []ti.Member{
		ti.Dir("usr", 0o755), sparse, holes, paxSparse, ti.BigFile("usr/after", 0o644, 200_000, 3),
		{Name: "usr/" + strings.Repeat("g", 200), Mode: 0o644, Content: []byte("gnu"), Format: ti.FormatGNU, UID: 5_000_000},
	}
	want, err := oracle.Layer(members, rulesHere())
	require.NoError(t, err)
	for c := ti.Gzip; c <= ti.ZstdFrames; c++ {
		for _, docker := range []bool{false, true} {
			for _, label := range []string{"", ocispec.MediaTypeImageLayerGzip, ocispec.MediaTypeImageLayer} {
				if (docker || c >= ti.Zstd) && label != "" || docker && c >= ti.Zstd { // docker has no zstd
					continue
				}
				w := ti.Image{Docker: docker, Layers: []ti.Layer{{Members: members, Compression: c, MediaType: label}}}.Write(t, t.TempDir(), "x")
				repo, dir := newRepo(t, modeHere())
				state := mustPull(t, repo, w.Ref, container.ImporterOptions{})
				oracle.Same(t, want.Root.List(), oracle.List(t, dir, state.MergeCommit), fmt.Sprintf("compression %d, docker %v, label %q", c, docker, label))
				oracle.Fsck(t, dir)
			}
		}
	}
}

// Trailing bytes after the tar's end belong to the layer and its digests.
func TestTrailingZerosAndData(t *testing.T) {
	tar := ti.Tar(ti.Dir("usr", 0o755), ti.File("usr/f", 0o644, "f"))
	for _, tail := range []string{strings.Repeat("\x00", 9<<10), strings.Repeat("\x00", 100) + "junk after the end"} {
		w := ti.Image{Layers: []ti.Layer{{Tar: append(slices.Clone(tar), tail...)}}}.Write(t, t.TempDir(), "x")
		repo, dir := newRepo(t, modeHere())
		state := mustPull(t, repo, w.Ref, container.ImporterOptions{})
		assert.Equal(t, []string{"/", "/usr", "/usr/f"}, paths(lines(oracle.List(t, dir, state.MergeCommit))))
	}
}

func TestB35_CorruptedLayerIsNotKept(t *testing.T) {
	layers := []ti.Layer{{Members: []ti.Member{ti.Dir("usr", 0o755), ti.File("usr/f", 0o644, "right")}, Compression: ti.None}}
	dir := t.TempDir()
	good := ti.Image{Layers: layers}.Write(t, dir, "x")
	layers[0].Mangle = func(b []byte) []byte { return []byte(strings.Replace(string(b), "right", "wrong", 1)) }
	badDir := t.TempDir()
	bad := ti.Image{Layers: layers}.Write(t, badDir, "x")
	require.Equal(t, good.Digest(), bad.Digest())
	repo, repoDir := newRepo(t, modeHere())
	_, _, err := pull(t, repo, bad.Ref, container.ImporterOptions{})
	require.Error(t, err)
	nothingVisible(t, repoDir, bad.Manifest.Layers[0].Digest)
	state := mustPull(t, repo, good.Ref, container.ImporterOptions{})
	assert.Equal(t, "right", ti.Run(t, "ostree", "--repo="+repoDir, "cat", state.MergeCommit, "/usr/f"))
}

// A base that lacks a chunk is not declared complete.
func TestB36_IncompleteBase(t *testing.T) {
	base := ti.EncapsulatedBase(t, ti.BaseOptions{Components: []ti.Component{{Name: "modules", Prefix: "usr/lib/modules"}, {Name: "bin", Prefix: "usr/bin"}}})
	short := base.Base
	short.Manifest.Layers = slices.Delete(slices.Clone(short.Manifest.Layers), 1, 2)
	short.Config.RootFS.DiffIDs = slices.Delete(slices.Clone(short.Config.RootFS.DiffIDs), 1, 2)
	w := ti.Image{Base: &short}.Write(t, t.TempDir(), "short")
	repo, dir := newRepo(t, modeHere())
	_, _, err := pull(t, repo, w.Ref, container.ImporterOptions{})
	require.ErrorIs(t, err, container.ErrIncomplete)
	refs := oracle.Refs(t, dir)
	for name := range refs {
		assert.NotContains(t, name, "ostree/container/image/")
	}
	// The whole image then still works.
	state := mustPull(t, repo, base.Ref, container.ImporterOptions{})
	assert.Equal(t, base.Commit, state.BaseCommit)
	oracle.Fsck(t, dir)
	oracle.Same(t, oracle.List(t, base.Repo, base.Commit), oracle.List(t, dir, state.MergeCommit), "merge commit")
}

func TestB41_NoHistory(t *testing.T) {
	for _, img := range []ti.Image{
		{Layers: []ti.Layer{goodLayer("a"), goodLayer("b")}, NoHistory: true},
		{Layers: []ti.Layer{goodLayer("a"), goodLayer("b")}, EmptyHistory: 3},
		{Layers: []ti.Layer{goodLayer("a")}, Created: "-"},
	} {
		w := img.Write(t, t.TempDir(), "x")
		repo, dir := newRepo(t, modeHere())
		state := mustPull(t, repo, w.Ref, container.ImporterOptions{})
		assert.Contains(t, lines(oracle.List(t, dir, state.MergeCommit)), "/usr/a")
		ref, err := imageref.Parse(w.Ref)
		require.NoError(t, err)
		again, err := container.QueryImage(t.Context(), repo, ref)
		require.NoError(t, err)
		assert.Equal(t, state.MergeCommit, again.MergeCommit)
	}
}

// A config with twice as many diff_ids, the last half right, is what the
// reference's reexport writes; any other count is refused.
func TestB43_DoubledDiffIDs(t *testing.T) {
	layers := []ti.Layer{goodLayer("a"), goodLayer("b")}
	w := ti.Image{Layers: layers}.Write(t, t.TempDir(), "x")
	wrong := []digest.Digest{digest.FromString("1"), digest.FromString("2")}
	repo, dir := newRepo(t, modeHere())
	doubled := ti.Image{Layers: layers, DiffIDs: append(wrong, w.DiffIDs...)}.Write(t, t.TempDir(), "x")
	state := mustPull(t, repo, doubled.Ref, container.ImporterOptions{})
	assert.Contains(t, lines(oracle.List(t, dir, state.MergeCommit)), "/usr/b")
	repo, dir = newRepo(t, modeHere())
	swapped := ti.Image{Layers: layers, DiffIDs: append(slices.Clone(w.DiffIDs), wrong...)}.Write(t, t.TempDir(), "x")
	_, _, err := pull(t, repo, swapped.Ref, container.ImporterOptions{})
	require.ErrorIs(t, err, container.ErrDiffID)
	nothingVisible(t, dir)
}

func TestB47_SymlinkMode(t *testing.T) {
	l := ti.Symlink("usr/l", "x")
	l.Mode = 0o755
	z := ti.Symlink("usr/z", "//a//./b/") // B39: byte for byte
	z.Mode = 0
	got := stackTest(t, []ti.Member{l, z})
	assert.Equal(t, "l00777 0 0", ident(got["/usr/l"]))
	assert.Equal(t, "l00777 0 0", ident(got["/usr/z"]))
	assert.True(t, strings.HasSuffix(got["/usr/z"], " -> //a//./b/"))
}

func TestB49_GlobalHeaders(t *testing.T) {
	got := stackTest(t, []ti.Member{
		ti.Dir("usr", 0o755),
		{Type: ti.TypeGlobal, PAX: []ti.Record{{Key: "comment", Value: "a git archive"}, {Key: "SCHILY.xattr.user.g", Value: "all"}}},
		ti.File("usr/a", 0o644, "a"), ti.File("usr/b", 0o644, "b").With("user.g", "own"),
		{Type: ti.TypeGlobal, PAX: []ti.Record{{Key: "uid", Value: "77"}}},
		ti.File("usr/c", 0o644, "c"),
	})
	assert.Contains(t, got["/usr/a"], "user.g")
	assert.NotContains(t, got["/usr"], "user.g")
	assert.Equal(t, "-00644 0 0", ident(got["/usr/b"]))
	assert.Equal(t, "-00644 77 0", ident(got["/usr/c"]))
}

func TestB50_HardlinkChainsAndRepeats(t *testing.T) {
	got := stackTest(t, []ti.Member{
		ti.Hardlink("usr/h3", "usr/h2"), ti.Hardlink("usr/h2", "usr/h1"), ti.File("usr/f", 0o644, "first"), ti.Hardlink("usr/h1", "/usr//./f"),
		ti.Hardlink("usr/again", "usr/f"), ti.File("usr/again", 0o600, "a file after all"),
		ti.File("usr/became", 0o600, "a file at first"), ti.Hardlink("usr/became", "usr/f"),
		ti.File("usr/f", 0o4755, "the last content"), ti.Symlink("usr/s", "target"), ti.Hardlink("usr/hs", "usr/s"),
	})
	for _, p := range []string{"/usr/h1", "/usr/h2", "/usr/h3", "/usr/became", "/usr/f"} {
		assert.Equal(t, "-04755 0 0", ident(got[p]), p)
		assert.Contains(t, got[p], "     16 ", p)
	}
	assert.Equal(t, "-00600 0 0", ident(got["/usr/again"]))
	assert.Contains(t, got["/usr/hs"], "-> target")
	// A chain of any length, in any order.
	var chain []ti.Member
	for i := range 200 {
		chain = append(chain, ti.Hardlink(fmt.Sprintf("usr/l%d", i), fmt.Sprintf("usr/l%d", i+1)))
	}
	stackTest(t, append(chain, ti.File("usr/l200", 0o644, "end")))
}

func TestB51_Names(t *testing.T) {
	long := strings.Repeat("é", 127) + "x" // 255 bytes
	got := stackTest(t,
		[]ti.Member{ti.Dir("/", 0o711), ti.Dir("/usr/", 0o755), ti.File("/usr/new\nline", 0o644, "n"), ti.File("usr/-dash", 0o644, "d"), ti.File("usr/"+long, 0o644, "l"), ti.File("usr/ ", 0o644, "s")},
		[]ti.Member{ti.Whiteout("usr/new\nline"), ti.Symlink("usr/.wh.-dash", "not a whiteout"), ti.Dir("usr/.wh. ", 0o755), ti.File("usr/.wh", 0o644, "not one either")})
	assert.Equal(t, "d00711 0 0", ident(got["/"]))
	assert.Equal(t, []string{"/", "/usr", "/usr/ ", "/usr/-dash", "/usr/.wh", "/usr/.wh. ", "/usr/.wh.-dash", "/usr/" + long}, paths(got))
}

// tinyPolicy is a tiny SELinux policy: libostree needs its file contexts
// and something to compute a checksum of.
func tinyPolicy(dir, binType string) []ti.Member {
	return []ti.Member{
		ti.Dir(dir, 0o755), ti.Dir(dir+"/selinux", 0o755), ti.File(dir+"/selinux/config", 0o644, "SELINUX=enforcing\nSELINUXTYPE=tiny\n"),
		ti.Dir(dir+"/selinux/tiny", 0o755), ti.Dir(dir+"/selinux/tiny/contexts", 0o755), ti.Dir(dir+"/selinux/tiny/contexts/files", 0o755),
		ti.File(dir+"/selinux/tiny/contexts/files/file_contexts", 0o644,
			"/.*\tsystem_u:object_r:default_t:s0\n/usr/bin(/.*)?\tsystem_u:object_r:"+binType+":s0\n/usr/etc(/.*)?\tsystem_u:object_r:etc_t:s0\n"),
		ti.Dir(dir+"/selinux/tiny/policy", 0o755), ti.File(dir+"/selinux/tiny/policy/policy.33", 0o644, "not a real policy, "+binType),
	}
}

// Every file has one label, the policy's, whatever the tar says, also when a
// later layer brings another policy.
func TestB45_Labels(t *testing.T) {
	layers := []ti.Layer{
		{Members: append([]ti.Member{ti.Dir("usr", 0o755)}, tinyPolicy("etc", "bin_t")...)},
		{Members: []ti.Member{
			ti.File("usr/bin/a", 0o755, "a").With("security.selinux", "system_u:object_r:from_the_tar_t:s0\x00").
				With("security.capability", "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"),
			ti.File("etc/b", 0o644, "b").With("security.selinux", "wrong"), ti.Symlink("usr/bin/l", "a"), ti.Dir("usr/bin/d", 0o700).With("security.selinux", "wrong"),
			ti.Hardlink("etc/hard", "usr/bin/a"), ti.File("usr/bin/empty", 0o644, ""),
		}},
	}
	want := map[string]string{"/usr/bin/a": "bin_t", "/usr/etc/b": "etc_t", "/usr/bin/l": "bin_t", "/usr/bin/d": "bin_t", "/usr/etc/hard": "etc_t", "/usr/bin/empty": "bin_t", "/usr": "default_t", "/": "default_t"}
	check := func(t *testing.T, img ti.Image, want map[string]string) {
		t.Helper()
		w := img.Write(t, t.TempDir(), "x")
		var first string
		for _, mode := range []ostree.Mode{modeHere(), ostree.ModeArchive} {
			repo, dir := newRepo(t, mode)
			state := mustPull(t, repo, w.Ref, container.ImporterOptions{})
			oracle.Fsck(t, dir)
			got := lines(oracle.List(t, dir, state.MergeCommit))
			for path, label := range want {
				assert.Contains(t, got[path], "(b'security.selinux', b'system_u:object_r:"+label+":s0')", "%s in %s", path, mode)
				assert.Equal(t, 1, strings.Count(got[path], "security.selinux"), path)
			}
			for path, line := range got {
				assert.Contains(t, line, "security.selinux", path)
			}
			assert.Contains(t, got["/usr/bin/a"], "security.capability")
			if first == "" {
				first = state.MergeCommit
			}
			assert.Equal(t, first, state.MergeCommit)
			// The ostree command, labelling the same tree, changes nothing. (libostree 2022.7 puts the label last: only
			// attributes that sort before it can be compared.)
			if os.Geteuid() == 0 {
				root := filepath.Join(t.TempDir(), "root")
				ti.Run(t, "ostree", "--repo="+dir, "checkout", "--force-copy", state.MergeCommit, root)
				again := ti.Run(t, "ostree", "--repo="+dir, "commit", "--orphan", "--tree=dir="+root, "--selinux-policy="+root)
				oracle.Same(t, oracle.List(t, dir, again[:64]), oracle.List(t, dir, state.MergeCommit), "labels by the ostree command")
			}
		}
	}
	t.Run("no base", func(t *testing.T) { check(t, ti.Image{Layers: layers}, want) })
	t.Run("base", func(t *testing.T) {
		base := ti.EncapsulatedBase(t, ti.BaseOptions{Members: append(ti.BaseMembers(), tinyPolicy("usr/etc", "bin_t")[1:]...), Label: true})
		check(t, ti.Image{Base: &base.Base, Layers: layers[1:]}, want)
	})
	t.Run("another policy", func(t *testing.T) {
		other := map[string]string{"/usr/bin/a": "other_t", "/usr/bin/l": "other_t", "/usr/bin/d": "other_t", "/usr/etc/b": "etc_t"}
		check(t, ti.Image{Layers: append(slices.Clone(layers), ti.Layer{Members: tinyPolicy("etc", "other_t")})}, other)
	})
}
