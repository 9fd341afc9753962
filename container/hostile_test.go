package container_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/container"
	"github.com/ostree-container/ostree-container/container/internal/object"
	"github.com/ostree-container/ostree-container/container/internal/oracle"
	ti "github.com/ostree-container/ostree-container/container/internal/testimage"
	"github.com/ostree-container/ostree-container/container/objectset"
	"github.com/ostree-container/ostree-container/container/registry"
	"github.com/ostree-container/ostree-container/ostree"
)

// rawMeta is a metadata object as a member of an ostree-native layer.
func rawMeta(kind string, data []byte) ti.Member {
	name := object.Sum(data).String()
	return ti.File("sysroot/ostree/repo/objects/"+name[:2]+"/"+name[2:]+"."+kind, 0o644, string(data))
}

// rawBase is an ostree-native image of one layer with these members.
func rawBase(members ...ti.Member) ti.Image {
	l := ti.Layer{Members: members}
	return ti.Image{Layers: []ti.Layer{l}, Labels: map[string]string{"ostree.final-diffid": digest.FromBytes(l.TarBytes()).String()}}
}

// An ostree-native image with a bad object is refused with layer and entry, and the repository stays sound.
func TestHostileObjectSetNamesLayerAndEntry(t *testing.T) {
	x := object.FileEntry{Name: "x"}
	both := rawMeta("dirtree", (&object.DirTree{Files: []object.FileEntry{x}, Dirs: []object.DirEntry{{Name: "x"}}}).Encode())
	rootMeta := object.RootDirMeta()
	meta := rawMeta("dirmeta", object.AppendMeta(nil, &rootMeta))
	data, err := (&object.Commit{Tree: object.Sum(both.Content), Meta: object.Sum(meta.Content)}).Encode()
	require.NoError(t, err)
	w := rawBase(rawMeta("commit", data), meta, both).Write(t, t.TempDir(), "bad")
	repo, dir := newRepo(t, modeHere())
	_, _, err = pull(t, repo, w.Ref, container.ImporterOptions{})
	require.ErrorIs(t, err, objectset.ErrFormat)
	var le *container.LayerError
	require.ErrorAs(t, err, &le)
	assert.Equal(t, both.Name, le.Entry)
	assert.Equal(t, w.Manifest.Layers[0].Digest, le.Digest)
	assert.Equal(t, []int{1, 1}, []int{le.Index, le.Total})
	nothingVisible(t, dir, le.Digest)
}

// A base whose directories are deeper than any path can be is refused: it could not be checked out, and every walk is a recursion.
func TestHostileDepthIsBounded(t *testing.T) {
	rootMeta := object.RootDirMeta()
	meta := rawMeta("dirmeta", object.AppendMeta(nil, &rootMeta))
	metaSum := object.Sum(meta.Content)
	tree := rawMeta("dirtree", (&object.DirTree{}).Encode())
	trees := []ti.Member{tree}
	for range 2100 {
		sum := object.Sum(tree.Content)
		tree = rawMeta("dirtree", (&object.DirTree{Dirs: []object.DirEntry{{Name: "d", Tree: sum, Meta: metaSum}}}).Encode())
		trees = append(trees, tree)
	}
	data, err := (&object.Commit{Tree: object.Sum(tree.Content), Meta: metaSum}).Encode()
	require.NoError(t, err)
	w := rawBase(append([]ti.Member{rawMeta("commit", data), meta}, trees...)...).Write(t, t.TempDir(), "deep")
	repo, dir := newRepo(t, modeHere())
	_, _, err = pull(t, repo, w.Ref, container.ImporterOptions{})
	require.ErrorIs(t, err, container.ErrLayout)
	require.ErrorContains(t, err, "4096")
	nothingVisible(t, dir, w.Manifest.Layers[0].Digest)
}

// Few directory objects can make more paths than there are atoms, and paths that are longer than the first way to an object: a base is
// measured as it would be checked out.
func TestHostileTreeThatUnfoldsIsBounded(t *testing.T) {
	rootMeta := object.RootDirMeta()
	meta := rawMeta("dirmeta", object.AppendMeta(nil, &rootMeta))
	metaSum := object.Sum(meta.Content)
	var members []ti.Member
	tree := func(dirs ...object.DirEntry) object.Checksum {
		for n := range dirs {
			dirs[n].Meta = metaSum
		}
		m := rawMeta("dirtree", (&object.DirTree{Dirs: dirs}).Encode())
		members = append(members, m)
		return object.Sum(m.Content)
	}
	chain := func(below object.Checksum, n int) object.Checksum {
		for range n {
			below = tree(object.DirEntry{Name: "d", Tree: below})
		}
		return below
	}
	for name, c := range map[string]struct {
		root func() object.Checksum
		says string
	}{
		"wide": {func() object.Checksum {
			sum := tree()
			for range 60 {
				sum = tree(object.DirEntry{Name: "a", Tree: sum}, object.DirEntry{Name: "b", Tree: sum})
			}
			return sum
		}, "5000000 files"},
		"long": {func() object.Checksum {
			shared := chain(tree(), 1500)
			return tree(object.DirEntry{Name: "a", Tree: shared}, object.DirEntry{Name: "b", Tree: chain(tree(object.DirEntry{Name: "x", Tree: shared}), 1500)})
		}, "4096 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			members = nil
			root := c.root()
			data, err := (&object.Commit{Tree: root, Meta: metaSum}).Encode()
			require.NoError(t, err)
			w := rawBase(append([]ti.Member{rawMeta("commit", data), meta}, members...)...).Write(t, t.TempDir(), "bomb")
			repo, dir := newRepo(t, modeHere())
			start := time.Now()
			_, _, err = pull(t, repo, w.Ref, container.ImporterOptions{})
			require.ErrorIs(t, err, container.ErrLayout)
			require.ErrorContains(t, err, c.says)
			assert.Less(t, time.Since(start), 10*time.Second)
			nothingVisible(t, dir, w.Manifest.Layers[0].Digest)
		})
	}
}

// A time of creation beyond what a commit can be read with does not leave an image that nobody can read, which would stop collections.
func TestHostileTimestamp(t *testing.T) {
	w := ti.Image{Layers: plainLayers("a", 1, 1, 0), Created: "9999-12-31T23:59:59-23:59"}.Write(t, t.TempDir(), "late")
	repo, dir := newRepo(t, modeHere())
	mustPull(t, repo, w.Ref, container.ImporterOptions{})
	_, err := container.QueryImage(t.Context(), repo, imageName(t, w.Ref))
	require.NoError(t, err)
	_, err = container.GCImageLayers(t.Context(), repo, nil)
	require.NoError(t, err)
	oracle.Fsck(t, dir)
}

// What was left out is told in the commit, as text: the name of an attribute may be no text, and the commit has to pass fsck.
func TestHostileNamesOfWhatIsLeftOut(t *testing.T) {
	ti.NeedRoot(t)
	file := ti.File("usr/x", 0o644, "x").With("user.\xff\xfe", "")
	w := ti.Image{Layers: []ti.Layer{{Members: []ti.Member{file}}}}.Write(t, t.TempDir(), "names")
	repo, dir := newRepo(t, ostree.ModeBare)
	state := mustPull(t, repo, w.Ref, container.ImporterOptions{})
	require.Len(t, state.Filtered, 1)
	oracle.Fsck(t, dir)
	for _, commit := range append(layerRefs(t, dir, w), state.MergeCommit) {
		c, _, err := repo.LoadCommit(t.Context(), commit)
		require.NoError(t, err)
		assert.True(t, c.Variant().IsNormalForm())
	}
}

// A blob that one image has as a derived layer and another as part of an ostree base is imported as what each says it is: the layer commit
// of one kind is not used for the other, whichever came first.
func TestHostileLayerOfAnotherKindIsNotReused(t *testing.T) {
	fileMeta := &object.Meta{Mode: object.ModeRegular | 0o644}
	sum := object.FileChecksum(fileMeta, "", []byte("content"))
	object1 := "sysroot/ostree/repo/objects/" + sum.String()[:2] + "/" + sum.String()[2:]
	rootMeta := object.RootDirMeta()
	meta := rawMeta("dirmeta", object.AppendMeta(nil, &rootMeta))
	tree := rawMeta("dirtree", (&object.DirTree{Files: []object.FileEntry{{Name: "file", Sum: sum}}}).Encode())
	data, err := (&object.Commit{Tree: object.Sum(tree.Content), Meta: object.Sum(meta.Content)}).Encode()
	require.NoError(t, err)
	native := rawBase(rawMeta("commit", data), meta, tree, ti.File(object1+".file-xattrs-link", 0o644, ""), ti.File(object1+".file", 0o644, "content"))
	base := native.Write(t, t.TempDir(), "base")
	native.Labels = nil
	derived := native.Write(t, t.TempDir(), "derived")
	require.Equal(t, base.Manifest.Layers[0].Digest, derived.Manifest.Layers[0].Digest)
	for _, first := range []*ti.Written{derived, base} {
		t.Run(first.Tag+" first", func(t *testing.T) {
			repo, dir := newRepo(t, modeHere())
			second := base
			if first == base {
				second = derived
			}
			mustPull(t, repo, first.Ref, container.ImporterOptions{})
			state := mustPull(t, repo, second.Ref, container.ImporterOptions{})
			files := strings.Contains(oracle.List(t, dir, state.MergeCommit), "/file")
			assert.Equal(t, second == base, files, "the file of the base")
			assert.Equal(t, second == base, state.BaseCommit == object.Sum(data).String())
			assert.Equal(t, []string{state.BaseCommit}, layerRefs(t, dir, second))
			oracle.Fsck(t, dir)
		})
	}
}

// A blob that is stored is not taken for a layer of another diff_id because a config says so, neither at once nor by way of an image that
// claims the diff_id of somebody else's layer.
func TestHostileDiffIDIsNotBelieved(t *testing.T) {
	good, evil := plainLayers("good", 1, 2, 0)[0], plainLayers("evil", 1, 2, 0)[0]
	repo, dir := newRepo(t, modeHere())
	stored := ti.Image{Layers: []ti.Layer{evil}}.Write(t, t.TempDir(), "evil")
	mustPull(t, repo, stored.Ref, container.ImporterOptions{})
	claim := evil
	claim.DiffID = digest.FromBytes(good.TarBytes())
	w := ti.Image{Layers: []ti.Layer{claim}}.Write(t, t.TempDir(), "claim")
	require.Equal(t, stored.Manifest.Layers[0].Digest, w.Manifest.Layers[0].Digest)
	_, _, err := pull(t, repo, w.Ref, container.ImporterOptions{})
	require.ErrorIs(t, err, container.ErrDiffID)
	honest := mustPull(t, repo, ti.Image{Layers: []ti.Layer{good}}.Write(t, t.TempDir(), "good").Ref, container.ImporterOptions{})
	wellPulled(t, dir, honest, []ti.Layer{good})
}

// A blob that an image lists twice with two diff_ids is verified for each of them.
func TestHostileBlobTwiceWithTwoDiffIDs(t *testing.T) {
	good := plainLayers("good", 1, 2, 0)[0]
	lie := good
	lie.DiffID = digest.FromString("another layer")
	for name, layers := range map[string][]ti.Layer{"lie last": {good, lie}, "lie first": {lie, good}} {
		t.Run(name, func(t *testing.T) {
			repo, dir := newRepo(t, modeHere())
			w := ti.Image{Layers: layers}.Write(t, t.TempDir(), "twice")
			require.Equal(t, w.Manifest.Layers[0].Digest, w.Manifest.Layers[1].Digest)
			_, _, err := pull(t, repo, w.Ref, container.ImporterOptions{})
			require.ErrorIs(t, err, container.ErrDiffID)
			require.ErrorContains(t, err, lie.DiffID.String())
			nothingVisible(t, dir)
			// What the lie claims is nothing that another image can have.
			_, _, err = pull(t, repo, ti.Image{Layers: []ti.Layer{lie}}.Write(t, t.TempDir(), "again").Ref, container.ImporterOptions{})
			require.ErrorIs(t, err, container.ErrDiffID)
		})
	}
}

// An image whose files have attributes that the kernel rewrites does not make a repository that fsck calls corrupted.
func TestHostileXattrsOfTheKernel(t *testing.T) {
	ti.NeedRoot(t)
	v3 := "\x00\x00\x00\x03\x01" + strings.Repeat("\x00", 19)
	w := ti.Image{Layers: []ti.Layer{{Members: []ti.Member{ti.File("usr/bin/x", 0o755, "x").With("security.capability", v3)}}}}.Write(t, t.TempDir(), "v3")
	repo, dir := newRepo(t, ostree.ModeBare)
	_, _, err := pull(t, repo, w.Ref, container.ImporterOptions{})
	var le *container.LayerError
	require.ErrorAs(t, err, &le)
	assert.Equal(t, "usr/bin/x", le.Entry)
	assert.ErrorContains(t, err, "security.capability")
	nothingVisible(t, dir, le.Digest)
}

// The rest of a bad blob is read to see whether it is the wrong one only where that is little.
func TestHostileBlobIsNotReadFarBehindItsError(t *testing.T) {
	bad := bytes.Repeat([]byte("garbage!"), 80<<17) // 80 MiB
	dir := t.TempDir()
	reg := ti.NewRegistry(t, dir)
	ti.Image{Layers: []ti.Layer{{Blob: bad, Tar: bad, Compression: ti.None}}}.Write(t, dir, "latest")
	repo, repoDir := newRepo(t, modeHere())
	_, _, err := pull(t, repo, reg.Ref("os", "latest"), container.ImporterOptions{})
	require.ErrorContains(t, err, "tar")
	reg.Close()
	assert.Less(t, reg.Bytes(), int64(32<<20), "bytes sent")
	nothingVisible(t, repoDir)
}

// A source that stalls in the rest of a bad blob does not hold up the error.
func TestHostileBlobThatStallsBehindItsError(t *testing.T) {
	defer container.SetBlameTime(100 * time.Millisecond)()
	bad := bytes.Repeat([]byte("garbage!"), 1<<20)
	dir := t.TempDir()
	reg := ti.NewRegistry(t, dir)
	w := ti.Image{Layers: []ti.Layer{{Blob: bad, Tar: bad, Compression: ti.None}}}.Write(t, dir, "latest")
	reg.SetFault(func(q ti.Request) *ti.Fault {
		if q.Kind == "blob" && q.Ref == w.Manifest.Layers[0].Digest.String() {
			return &ti.Fault{Stall: true, Drop: 4 << 20}
		}
		return nil
	})
	repo, repoDir := newRepo(t, modeHere())
	start := time.Now()
	_, _, err := pull(t, repo, reg.Ref("os", "latest"), container.ImporterOptions{Registry: &registry.Options{
		Access:       registry.Access{InsecureSkipTLSVerify: true, Auth: registry.AuthAnonymous},
		StallTimeout: time.Minute,
	}})
	require.ErrorContains(t, err, "tar")
	assert.Less(t, time.Since(start), 10*time.Second)
	nothingVisible(t, repoDir)
}

// Names of what was left out reach a terminal without what a terminal obeys.
func TestHostileNamesDoNotReachATerminal(t *testing.T) {
	text := container.FilteredContentWarning(map[string]map[string]uint32{"sha256:x": {"\x1b]0;owned\x07\n": 1, "boot": 2}})
	assert.Equal(t, "Image contains non-ostree compatible file paths: \uFFFD]0;owned\uFFFD\uFFFD: 1 boot: 2", text)
}
