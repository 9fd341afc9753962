package container_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
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
	"github.com/ostree-container/ostree-container/container/objectset"
	"github.com/ostree-container/ostree-container/ostree"
)

// exportMembers is a tree with what is hard to export.
func exportMembers() []ti.Member {
	deep := "usr/share/" + strings.Repeat("deep-", 20) + "/" + strings.Repeat("deeper", 12)
	members := append(ti.BaseMembers(),
		ti.Symlink("usr/bin/equal-1", "same"), ti.Symlink("usr/bin/equal-2", "same"), // B40
		ti.Symlink("usr/bin/double", "a//b"), ti.Symlink("usr/bin/dot", "a/./b"), ti.Symlink("usr/bin/slash", "/"), // B39
		ti.Symlink("usr/bin/long", strings.Repeat("x", 90)+"//"+strings.Repeat("y", 90)), // B40
		ti.File("usr/share/copy-1", 0o644, "twice\n"), ti.File("usr/share/copy-2", 0o644, "twice\n"),
		ti.Dir("usr/share/"+strings.Repeat("deep-", 20), 0o755), ti.Dir(deep, 0o755), ti.File(deep+"/file", 0o644, "deep\n"),
		ti.Dir("sysroot/extra", 0o700), ti.File("sysroot/extra/file", 0o644, "below sysroot\n"),
		ti.File("usr/share/attr", 0o644, "attr\n").With("user.text", "two\nlines\x00"),
	)
	return members
}

// commitTar commits members in a new archive repository and returns it and the commit.
func commitTar(t testing.TB, members []ti.Member, args ...string) (*ostree.Repo, string) {
	t.Helper()
	ti.NeedTool(t, "ostree")
	repo, dir := newRepo(t, ostree.ModeArchive)
	file := filepath.Join(t.TempDir(), "tree.tar")
	require.NoError(t, os.WriteFile(file, ti.Tar(members...), 0o600))
	args = append([]string{"--repo=" + dir, "commit", "--branch=os", "--no-bindings", "--timestamp=@1700000000", "--tree=tar=" + file}, args...)
	return repo, strings.TrimSpace(ti.Run(t, "ostree", args...))
}

// contentMetaOf maps the files of a commit to the last part of their directory.
func contentMetaOf(t testing.TB, repo *ostree.Repo, commit string) *container.ContentMeta {
	t.Helper()
	contents, err := objectset.LoadContents(t.Context(), repo, commit)
	require.NoError(t, err)
	m := &container.ContentMeta{Mapping: map[string]string{}}
	seen := map[string]bool{}
	for _, f := range contents.Files {
		id := "sysroot"
		if len(f.Paths) > 0 {
			id = filepath.Base(filepath.Dir(f.Paths[0]))
		}
		m.Mapping[f.Sum.String()] = id
		if !seen[id] {
			seen[id] = true
			m.Layers = append(m.Layers, container.ContentLayer{ID: id, Name: id})
		}
	}
	return m
}

func ociRef(t testing.TB, path string) imageref.ImageReference {
	t.Helper()
	return imageref.ImageReference{Transport: imageref.TransportOCIDir, Name: path}
}

func loadImage(t testing.TB, path string) (*ocispec.Manifest, *ocispec.Image) {
	t.Helper()
	m, c := &ocispec.Manifest{}, &ocispec.Image{}
	require.NoError(t, json.Unmarshal([]byte(ti.Run(t, "skopeo", "inspect", "--raw", "oci:"+path)), m))
	require.NoError(t, json.Unmarshal([]byte(ti.Run(t, "skopeo", "inspect", "--raw", "--config", "oci:"+path)), c))
	return m, c
}

// unencapsulated takes the commit out of an image, into a repository of the mode that this user can have, and has it checked.
func unencapsulated(t testing.TB, image string) string {
	t.Helper()
	repo, dir := newRepo(t, modeHere())
	imp, err := container.NewImporter(repo, unverified(t, "oci:"+image), &container.ImporterOptions{Registry: quickly(t)})
	require.NoError(t, err)
	defer func() { assert.NoError(t, imp.Close()) }()
	u, err := imp.Unencapsulate(t.Context(), "os")
	require.NoError(t, err)
	oracle.Fsck(t, dir)
	assert.Equal(t, map[string]string{"os": u.Commit}, refs(t, repo), "no refs of layers")
	return u.Commit
}

func refs(t testing.TB, repo *ostree.Repo) map[string]string {
	t.Helper()
	all, err := repo.ListRefs(t.Context(), "")
	require.NoError(t, err)
	return all
}

func TestEncapsulate(t *testing.T) {
	t.Parallel()
	ti.NeedTool(t, "skopeo")
	repo, commit := commitTar(t, exportMembers(), "--bootable", "--subject=the subject", "--add-metadata-string=version=42.1",
		"--add-metadata-string=team=os", "--add-metadata-string=ostree.linux=6.1.0-test", `--add-metadata=ostree.container-cmd=["/sbin/init","-x"]`)
	meta := contentMetaOf(t, repo, commit)
	meta.Created, meta.Labels = "2024-01-02T03:04:05Z", map[string]string{"from": "meta"}
	opts := container.EncapsulateOptions{
		Labels: map[string]string{"a": "b"}, CopyMeta: []string{"team"}, CopyMetaOptional: []string{"nowhere"}, LegacyVersionLabel: true,
		Config: &ocispec.ImageConfig{User: "1:2", Labels: map[string]string{"mine": "1", "a": "overridden"}}, ContentMeta: meta,
	}
	dir := t.TempDir()
	digests := map[container.Compression]digest.Digest{}
	var diffIDs []digest.Digest
	for _, c := range []container.Compression{container.CompressionGzip, container.CompressionZstd, container.CompressionNone} {
		for jobs, name := range map[int]string{1: "one", 7: "seven"} { // digests do not depend on how many work on it
			path := filepath.Join(dir, string(c)+name)
			o := opts
			o.Compression, o.Jobs = c, jobs
			d, err := container.Encapsulate(t.Context(), repo, "os", ociRef(t, path+":tag"), &o)
			require.NoError(t, err)
			if digests[c] == "" {
				digests[c] = d
			}
			require.Equal(t, digests[c], d, "%s, %d jobs", c, jobs)
			raw := ti.Run(t, "skopeo", "inspect", "--raw", "oci:"+path+":tag")
			require.Equal(t, d, digest.FromString(raw))
			m, config := loadImage(t, path+":tag")
			if diffIDs == nil {
				diffIDs = config.RootFS.DiffIDs
			}
			require.Equal(t, diffIDs, config.RootFS.DiffIDs, "the same tar streams, however compressed")
			require.Len(t, m.Layers, 1+len(meta.Layers)+1)
			require.Equal(t, commit, unencapsulated(t, path+":tag"))
		}
	}
	path := filepath.Join(dir, "gzipone:tag")
	m, config := loadImage(t, path)
	labels := map[string]string{
		"a": "b", "team": "os", "from": "meta", "ostree.bootable": "true", "containers.bootc": "1", "ostree.linux": "6.1.0-test", "ostree.commit": commit,
		"org.opencontainers.image.version": "42.1", "version": "42.1", "ostree.final-diffid": diffIDs[len(diffIDs)-1].String(),
	}
	assert.Equal(t, labels, m.Annotations)
	labels["mine"] = "1"
	assert.Equal(t, labels, config.Config.Labels)
	assert.Equal(t, "1:2", config.Config.User)
	assert.Equal(t, []string{"/sbin/init", "-x"}, config.Config.Cmd)
	assert.Equal(t, "2024-01-02T03:04:05Z", config.Created.Format("2006-01-02T15:04:05Z07:00"))
	assert.Equal(t, "the subject", config.History[0].CreatedBy)
	assert.Equal(t, int64(1700000000), config.History[0].Created.Unix())
	for i, l := range meta.Layers {
		assert.Equal(t, l.ID, config.History[1+i].CreatedBy)
		assert.Equal(t, map[string]string{"ostree.components": l.Name}, m.Layers[1+i].Annotations)
	}
	assert.Equal(t, "Reserved for new packages", config.History[len(config.History)-1].CreatedBy)

	// What a container runtime unpacks is the tree.
	state := mustPull(t, repo, "oci:"+path, container.ImporterOptions{})
	assert.Equal(t, commit, state.BaseCommit)
}

func TestEncapsulateOneLayer(t *testing.T) {
	t.Parallel()
	ti.NeedTool(t, "skopeo")
	repo, commit := commitTar(t, exportMembers())
	path := filepath.Join(t.TempDir(), "out")
	first, err := container.Encapsulate(t.Context(), repo, commit, ociRef(t, path), nil)
	require.NoError(t, err)
	again, err := container.Encapsulate(t.Context(), repo, "os", ociRef(t, path), nil)
	require.NoError(t, err)
	assert.Equal(t, first, again)
	_, config := loadImage(t, path)
	assert.Equal(t, "ostree export of commit "+commit, config.History[0].CreatedBy)
	assert.Nil(t, config.Config.Cmd)
	assert.NotContains(t, config.Config.Labels, "ostree.bootable")
	assert.Equal(t, commit, unencapsulated(t, path))

	// The layer is the same stream as tar export gives.
	h := sha256.New()
	require.NoError(t, container.ExportTar(t.Context(), repo, "os", h))
	assert.Equal(t, config.RootFS.DiffIDs[0], digest.NewDigest(digest.SHA256, h))
}

// TestEncapsulateKeepsLayers: with the manifest of the build before, what did not change keeps its layer, to the byte.
func TestEncapsulateKeepsLayers(t *testing.T) {
	t.Parallel()
	ti.NeedTool(t, "skopeo")
	repo, commit := commitTar(t, exportMembers())
	dir := t.TempDir()
	build := func(name string, commit string, o container.EncapsulateOptions) (*ocispec.Manifest, *ocispec.Image) {
		o.ContentMeta = contentMetaOf(t, repo, commit)
		_, err := container.Encapsulate(t.Context(), repo, commit, ociRef(t, filepath.Join(dir, name)), &o)
		require.NoError(t, err)
		assert.Equal(t, commit, unencapsulated(t, filepath.Join(dir, name)))
		return loadImage(t, filepath.Join(dir, name))
	}
	first, _ := build("first", commit, container.EncapsulateOptions{MaxLayers: 5})
	require.LessOrEqual(t, len(first.Layers), 6)
	require.Empty(t, first.Layers[len(first.Layers)-1].Annotations["ostree.components"], "reserved")

	file := filepath.Join(dir, "update.tar")
	require.NoError(t, os.WriteFile(file, ti.Tar(ti.Dir("usr", 0o755), ti.Dir("usr/new", 0o755), ti.File("usr/new/file", 0o644, "new\n")), 0o600))
	update := strings.TrimSpace(ti.Run(t, "ostree", "--repo="+repo.Path(), "commit", "--branch=os", "--no-bindings", "--timestamp=@1700000001",
		"--tree=ref="+commit, "--tree=tar="+file))
	second, _ := build("second", update, container.EncapsulateOptions{MaxLayers: 5, Previous: first})
	require.Len(t, second.Layers, len(first.Layers))
	last := len(first.Layers) - 1
	for i := 1; i < last; i++ {
		assert.Equal(t, first.Layers[i], second.Layers[i], "layer %d", i)
	}
	assert.Equal(t, "new", second.Layers[last].Annotations["ostree.components"], "what is new goes into the last layer")

	// A layer that nothing is left of must not be taken for the last one, which is empty too.
	opened, _ := build("opened", update, container.EncapsulateOptions{})
	shrunk, config := build("shrunk", commit, container.EncapsulateOptions{Previous: opened})
	require.Len(t, shrunk.Layers, len(opened.Layers))
	ids := map[digest.Digest]bool{}
	for _, id := range config.RootFS.DiffIDs {
		require.False(t, ids[id], "each layer has its own diff_id")
		ids[id] = true
	}

	_, err := container.Encapsulate(t.Context(), repo, commit, ociRef(t, filepath.Join(dir, "bad")), &container.EncapsulateOptions{
		ContentMeta: contentMetaOf(t, repo, commit), Previous: &ocispec.Manifest{Layers: make([]ocispec.Descriptor, 3)}})
	require.ErrorContains(t, err, "Missing ostree.components on prior build")
	assert.NoDirExists(t, filepath.Join(dir, "bad"))
}

func TestB34_ComponentWithoutObjects(t *testing.T) {
	t.Parallel()
	ti.NeedTool(t, "skopeo")
	repo, commit := commitTar(t, exportMembers())
	meta := contentMetaOf(t, repo, commit)
	meta.Layers = append(meta.Layers, container.ContentLayer{ID: "ghost-1", Name: "ghost"})
	path := filepath.Join(t.TempDir(), "out")
	var log bytes.Buffer
	_, err := container.Encapsulate(t.Context(), repo, commit, ociRef(t, path), &container.EncapsulateOptions{ContentMeta: meta, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	require.NoError(t, err)
	assert.Contains(t, log.String(), "ghost-1")
	m, config := loadImage(t, path)
	n := len(m.Layers) - 2
	assert.Equal(t, "ghost-1", config.History[n].CreatedBy)
	assert.Equal(t, "ghost", m.Layers[n].Annotations["ostree.components"])
	assert.Equal(t, commit, unencapsulated(t, path))
}

func TestB39_B40_SymlinkTargetsAreExportedByteForByte(t *testing.T) {
	t.Parallel()
	repo, commit := commitTar(t, exportMembers())
	var b bytes.Buffer
	require.NoError(t, container.ExportTar(t.Context(), repo, commit, &b))
	file := filepath.Join(t.TempDir(), "commit.tar")
	require.NoError(t, os.WriteFile(file, b.Bytes(), 0o600))
	list := ti.Run(t, "tar", "tvf", file)
	for _, want := range []string{" -> a//b\n", " -> a/./b\n", " -> /\n", " -> " + strings.Repeat("x", 90) + "//" + strings.Repeat("y", 90) + "\n"} {
		assert.Contains(t, list, want)
	}
	assert.Equal(t, 1, strings.Count(list, " -> same\n"), "one object")
	assert.Equal(t, 2, strings.Count(list, "usr/bin/equal-"), "with two names")
	into, dir := newRepo(t, modeHere())
	got, err := container.ImportTar(t.Context(), into, &b)
	require.NoError(t, err)
	assert.Equal(t, commit, got)
	oracle.Fsck(t, dir)
}

// chunkedImage encapsulates a sample commit into an oci: directory, under a tag like ":base" or none.
func chunkedImage(t *testing.T, tag string) (path, commit string) {
	t.Helper()
	repo, commit := commitTar(t, exportMembers())
	path = filepath.Join(t.TempDir(), "out")
	_, err := container.Encapsulate(t.Context(), repo, commit, ociRef(t, path+tag), &container.EncapsulateOptions{ContentMeta: contentMetaOf(t, repo, commit)})
	require.NoError(t, err)
	return path, commit
}

func TestB10_UnencapsulateWhatIsThere(t *testing.T) {
	t.Parallel()
	path, commit := chunkedImage(t, "")
	into, dir := newRepo(t, modeHere())
	mustPull(t, into, "oci:"+path, container.ImporterOptions{})
	imp, err := container.NewImporter(into, unverified(t, "oci:"+path), nil)
	require.NoError(t, err)
	defer func() { assert.NoError(t, imp.Close()) }()
	u, err := imp.Unencapsulate(t.Context(), "branch")
	require.NoError(t, err)
	assert.Equal(t, commit, u.Commit)
	assert.Equal(t, commit, refs(t, into)["branch"])
	oracle.Fsck(t, dir)
}

// What is there may have 2N diff_ids (B43), and its ref is set while nobody prunes.
func TestUnencapsulateWhatIsThereWithDoubledDiffIDs(t *testing.T) {
	t.Parallel()
	path, commit := chunkedImage(t, ":base")
	base, err := ti.LoadBase(path, "base")
	require.NoError(t, err)
	var ids []digest.Digest
	for n := range base.Config.RootFS.DiffIDs {
		ids = append(ids, digest.FromString(fmt.Sprint("wrong", n)))
	}
	w := ti.Image{Base: base, DiffIDs: append(ids, base.Config.RootFS.DiffIDs...)}.Write(t, t.TempDir(), "v1")
	_, dir := newRepo(t, modeHere())
	ti.Run(t, "ostree", "--repo="+dir, "config", "set", "core.lock-timeout-secs", "0")
	var into, other *ostree.Repo
	for _, r := range []**ostree.Repo{&into, &other} {
		*r, err = ostree.OpenRepo(t.Context(), dir)
		require.NoError(t, err)
		defer (*r).Close()
	}
	mustPull(t, into, w.Ref, container.ImporterOptions{})
	imp, err := container.NewImporter(into, unverified(t, w.Ref), nil)
	require.NoError(t, err)
	defer func() { assert.NoError(t, imp.Close()) }()
	lock, err := other.Lock(t.Context(), ostree.LockExclusive)
	require.NoError(t, err)
	_, err = imp.Unencapsulate(t.Context(), "branch")
	require.ErrorIs(t, err, ostree.ErrWouldBlock)
	assert.NotContains(t, refs(t, into), "branch")
	require.NoError(t, lock.Unlock())
	u, err := imp.Unencapsulate(t.Context(), "branch")
	require.NoError(t, err)
	assert.Equal(t, commit, u.Commit)
	assert.Equal(t, commit, refs(t, into)["branch"])
}

// The refs of layers belong to images: taking a commit out of an image neither sets nor removes one.
func TestUnencapsulateLeavesRefsOfLayers(t *testing.T) {
	t.Parallel()
	path, commit := chunkedImage(t, "")
	plain := ti.Image{Layers: []ti.Layer{goodLayer("other")}}.Write(t, t.TempDir(), "v1")
	into, _ := newRepo(t, modeHere())
	other := mustPull(t, into, plain.Ref, container.ImporterOptions{})
	before := refs(t, into)
	manifest, _ := loadImage(t, path)
	for _, l := range manifest.Layers[1:] { // as if another image had the blob as a layer of another kind
		name := "ostree/container/blob/sha256_3A_" + l.Digest.Encoded()
		require.NoError(t, into.SetRefImmediate(t.Context(), "", name, other.BaseCommit))
		before[name] = other.BaseCommit
	}
	imp, err := container.NewImporter(into, unverified(t, "oci:"+path), nil)
	require.NoError(t, err)
	defer func() { assert.NoError(t, imp.Close()) }()
	u, err := imp.Unencapsulate(t.Context(), "branch")
	require.NoError(t, err)
	assert.Equal(t, commit, u.Commit)
	before["branch"] = commit
	assert.Equal(t, before, refs(t, into))
}

func TestUnencapsulateRefusesOtherLayers(t *testing.T) {
	t.Parallel()
	plain := ti.Image{Layers: []ti.Layer{{Members: []ti.Member{ti.Dir("usr", 0o755)}}}}.Write(t, t.TempDir(), "v1")
	repo, commit := commitTar(t, exportMembers())
	path := filepath.Join(t.TempDir(), "out")
	_, err := container.Encapsulate(t.Context(), repo, commit, ociRef(t, path+":base"), nil)
	require.NoError(t, err)
	base, err := ti.LoadBase(path, "base")
	require.NoError(t, err)
	derived := ti.Image{Base: base, Layers: []ti.Layer{{Members: []ti.Member{ti.File("x", 0o644, "")}}, {Members: []ti.Member{ti.File("y", 0o644, "")}}}}.Write(t, t.TempDir(), "v1")
	for _, bad := range []struct{ ref, want string }{
		{plain.Ref, "No ostree.final-diffid label found, not an ostree encapsulated container"},
		{derived.Ref, "Image has 2 non-ostree layers"},
	} {
		into, dir := newRepo(t, modeHere())
		for n := range 2 { // the second time it is in the repository
			imp, err := container.NewImporter(into, unverified(t, bad.ref), nil)
			require.NoError(t, err)
			_, err = imp.Unencapsulate(t.Context(), "branch")
			require.ErrorIs(t, err, container.ErrNotEncapsulated)
			require.ErrorContains(t, err, bad.want)
			require.NoError(t, imp.Close())
			assert.NotContains(t, refs(t, into), "branch")
			if n == 0 {
				mustPull(t, into, bad.ref, container.ImporterOptions{})
			}
		}
		oracle.Fsck(t, dir)
	}
	imp, err := container.NewImporter(repo, unverified(t, plain.Ref), nil)
	require.NoError(t, err)
	_, err = imp.Unencapsulate(t.Context(), "not a ref..")
	require.Error(t, err)
}

func TestEncapsulateBadInput(t *testing.T) {
	t.Parallel()
	repo, commit := commitTar(t, exportMembers(), "--add-metadata=number=1")
	meta := func(change func(*container.ContentMeta)) *container.ContentMeta {
		m := contentMetaOf(t, repo, commit)
		change(m)
		return m
	}
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, []byte("mine"), 0o600))
	for name, bad := range map[string]struct {
		rev, dest string
		opts      container.EncapsulateOptions
		is        error
		want      string
	}{
		"no such ref":       {rev: "nowhere", is: ostree.ErrNotFound, want: "nowhere"},
		"no such commit":    {rev: strings.Repeat("0", 64), is: ostree.ErrNotFound},
		"key is missing":    {opts: container.EncapsulateOptions{CopyMeta: []string{"k"}}, want: "Could not find commit metadata key: k"},
		"key is no string":  {opts: container.EncapsulateOptions{CopyMetaOptional: []string{"number"}}, is: ostree.ErrVariantType, want: "number"},
		"object unmapped":   {opts: container.EncapsulateOptions{ContentMeta: meta(func(m *container.ContentMeta) { clear(m.Mapping) })}, is: container.ErrContentMeta, want: "in no layer"},
		"layer not there":   {opts: container.EncapsulateOptions{ContentMeta: meta(func(m *container.ContentMeta) { m.Layers = m.Layers[1:] })}, is: container.ErrContentMeta, want: "not one of"},
		"layer there twice": {opts: container.EncapsulateOptions{ContentMeta: meta(func(m *container.ContentMeta) { m.Layers = append(m.Layers, m.Layers[0]) })}, is: container.ErrContentMeta, want: "twice"},
		"bad time":          {opts: container.EncapsulateOptions{ContentMeta: meta(func(m *container.ContentMeta) { m.Created = "today" })}, is: container.ErrContentMeta, want: "today"},
		"too few layers":    {opts: container.EncapsulateOptions{MaxLayers: 3, ContentMeta: meta(func(*container.ContentMeta) {})}, want: "at least 4"},
		"bad level":         {opts: container.EncapsulateOptions{CompressionLevel: 10}, want: "level 10"},
		"bad compression":   {opts: container.EncapsulateOptions{Compression: "lzma"}, want: "lzma"},
		"previous alone":    {opts: container.EncapsulateOptions{Previous: &ocispec.Manifest{}}, want: "content metadata"},
		"output is a file":  {dest: file, want: file},
		"no parent":         {dest: filepath.Join(file+"-nowhere", "out"), is: os.ErrNotExist},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rev, dest := bad.rev, bad.dest
			if rev == "" {
				rev = "os"
			}
			if dest == "" {
				dest = filepath.Join(t.TempDir(), "out")
			}
			_, err := container.Encapsulate(t.Context(), repo, rev, ociRef(t, dest), &bad.opts)
			require.Error(t, err)
			if bad.is != nil {
				require.ErrorIs(t, err, bad.is)
			}
			require.ErrorContains(t, err, bad.want)
			assert.NoDirExists(t, dest)
		})
	}
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	assert.Equal(t, "mine", string(text))
}

// TestExportOfADamagedRepository: whatever object is missing or changed, the error names it, and there is no output.
func TestExportOfADamagedRepository(t *testing.T) {
	t.Parallel()
	members := ti.BaseMembers()
	for _, mode := range []ostree.Mode{ostree.ModeArchive, modeHere()} {
		source, commit := commitTar(t, members)
		repo, dir := newRepo(t, mode)
		ti.Run(t, "ostree", "--repo="+dir, "pull-local", source.Path(), commit)
		objects, err := filepath.Glob(filepath.Join(dir, "objects", "??", "*"))
		require.NoError(t, err)
		require.NotEmpty(t, objects)
		for _, object := range objects {
			if strings.HasSuffix(object, ".commitmeta") {
				continue
			}
			sum := filepath.Base(filepath.Dir(object)) + strings.TrimSuffix(filepath.Base(object), filepath.Ext(object))
			require.NoError(t, os.Rename(object, object+"~"))
			out := filepath.Join(t.TempDir(), "out")
			_, err := container.Encapsulate(t.Context(), repo, commit, ociRef(t, out), nil)
			require.ErrorContains(t, err, sum, "%s", object)
			if sum != commit {
				require.ErrorIs(t, err, container.ErrIncomplete)
				require.ErrorContains(t, err, "ostree fsck")
			}
			require.NoDirExists(t, out)
			require.NoError(t, os.Rename(object+"~", object))
		}
		require.NoError(t, repo.MarkCommitPartial(t.Context(), commit, ostree.Partial))
		err = container.ExportTar(t.Context(), repo, commit, io.Discard)
		require.ErrorIs(t, err, container.ErrIncomplete)
		require.NoError(t, repo.MarkCommitPartial(t.Context(), commit, ostree.NotPartial))
		if mode == ostree.ModeArchive {
			continue
		}
		// Other content under the right name.
		sum := checksumOf(t, dir, commit, "/usr/share/zz")
		name := filepath.Join(dir, "objects", sum[:2], sum[2:]+".file")
		require.NoError(t, os.WriteFile(name, []byte("xx\n"), 0o644))
		err = container.ExportTar(t.Context(), repo, commit, io.Discard)
		require.ErrorIs(t, err, container.ErrIncomplete)
		require.ErrorContains(t, err, sum)
		require.ErrorContains(t, err, "/usr/share/zz")
	}
}

func checksumOf(t testing.TB, repo, commit, path string) string {
	t.Helper()
	fields := strings.Fields(ti.Run(t, "ostree", "--repo="+repo, "ls", "-C", commit, path))
	require.GreaterOrEqual(t, len(fields), 6)
	return fields[4]
}

func TestEncapsulateIsCancelled(t *testing.T) {
	t.Parallel()
	repo, commit := commitTar(t, exportMembers())
	ctx, cancel := context.WithCancelCause(t.Context())
	gone := errors.New("gone")
	path := filepath.Join(t.TempDir(), "out")
	_, err := container.Encapsulate(ctx, repo, commit, ociRef(t, path), &container.EncapsulateOptions{
		ContentMeta: contentMetaOf(t, repo, commit), Jobs: 1, Progress: func(e container.Event) {
			if _, ok := e.(container.LayerWritten); ok {
				cancel(gone)
			}
		},
	})
	require.ErrorIs(t, err, gone)
	assert.NoDirExists(t, path)
}

// An image built on one layer of ostree's goes on naming that layer as the last of its commit.
func TestReplaceDetachedMetadataBelowOtherLayers(t *testing.T) {
	t.Parallel()
	commits, commit := commitTar(t, exportMembers())
	path := filepath.Join(t.TempDir(), "out")
	_, err := container.Encapsulate(t.Context(), commits, commit, ociRef(t, path+":base"), nil)
	require.NoError(t, err)
	base, err := ti.LoadBase(path, "base")
	require.NoError(t, err)
	w := ti.Image{Base: base, Layers: []ti.Layer{goodLayer("x")}}.Write(t, t.TempDir(), "v1")
	repo, _ := newRepo(t, modeHere())
	want := mustPull(t, repo, w.Ref, container.ImporterOptions{})
	v, err := ostree.ParseVariant("a{sv}", "{'new': <'other'>}")
	require.NoError(t, err)
	dest := ociRef(t, filepath.Join(t.TempDir(), "dest"))
	_, err = container.ReplaceDetachedMetadata(t.Context(), imageName(t, w.Ref), dest, v.Bytes(), nil)
	require.NoError(t, err)
	_, config := loadImage(t, dest.Name)
	assert.Equal(t, config.RootFS.DiffIDs[0].String(), config.Config.Labels["ostree.final-diffid"])
	into, dir := newRepo(t, modeHere())
	got := mustPull(t, into, "oci:"+dest.Name, container.ImporterOptions{})
	assert.Equal(t, want.BaseCommit, got.BaseCommit)
	oracle.Fsck(t, dir)
}

func TestReplaceDetachedMetadata(t *testing.T) {
	t.Parallel()
	ti.NeedTool(t, "skopeo")
	for _, chunked := range []bool{false, true} {
		repo, commit := commitTar(t, exportMembers())
		dict, err := ostree.NewVariantDict().SetString("old", "value").Build()
		require.NoError(t, err)
		require.NoError(t, repo.WriteDetachedMetadata(t.Context(), commit, dict))
		opts := &container.EncapsulateOptions{}
		if chunked {
			opts.ContentMeta = contentMetaOf(t, repo, commit)
		}
		dir := t.TempDir()
		src := ociRef(t, filepath.Join(dir, "src"))
		_, err = container.Encapsulate(t.Context(), repo, commit, src, opts)
		require.NoError(t, err)
		before, _ := loadImage(t, src.Name)

		for n, text := range []string{"", "{'new': <'other'>}", "{'large': <'" + strings.Repeat("x", 5000) + "'>}"} {
			var data []byte
			if text != "" {
				v, err := ostree.ParseVariant("a{sv}", text)
				require.NoError(t, err)
				data = v.Bytes()
			}
			dest := ociRef(t, filepath.Join(dir, fmt.Sprint("dest", n)))
			d, err := container.ReplaceDetachedMetadata(t.Context(), src, dest, data, nil)
			require.NoError(t, err)
			require.Equal(t, d, digest.FromString(ti.Run(t, "skopeo", "inspect", "--raw", "oci:"+dest.Name)))
			after, config := loadImage(t, dest.Name)
			assert.Equal(t, before.Layers[1:], after.Layers[1:], "further layers are copied")
			assert.NotEqual(t, before.Layers[0], after.Layers[0])
			assert.Equal(t, config.RootFS.DiffIDs[len(config.RootFS.DiffIDs)-1].String(), config.Config.Labels["ostree.final-diffid"])
			assert.Equal(t, config.Config.Labels["ostree.final-diffid"], after.Annotations["ostree.final-diffid"])

			into, repoDir := newRepo(t, modeHere())
			imp, err := container.NewImporter(into, unverified(t, "oci:"+dest.Name), nil)
			require.NoError(t, err)
			u, err := imp.Unencapsulate(t.Context(), "os")
			require.NoError(t, err)
			require.NoError(t, imp.Close())
			assert.Equal(t, commit, u.Commit)
			oracle.Fsck(t, repoDir)
			got, err := into.ReadDetachedMetadata(t.Context(), commit)
			require.NoError(t, err)
			if data == nil {
				assert.Nil(t, got)
			} else {
				require.NotNil(t, got)
				assert.Equal(t, data, got.Bytes())
			}
			// Back again, the layer is what it was, to the byte.
			back := ociRef(t, filepath.Join(dir, fmt.Sprint("back", n)))
			_, err = container.ReplaceDetachedMetadata(t.Context(), dest, back, dict.Bytes(), nil)
			require.NoError(t, err)
			again, _ := loadImage(t, back.Name)
			assert.Equal(t, before.Layers, again.Layers)
		}
		_, err = container.ReplaceDetachedMetadata(t.Context(), src, ociRef(t, filepath.Join(dir, "bad")), []byte("no variant"), nil)
		require.ErrorContains(t, err, "not a sound a{sv}")
		assert.NoDirExists(t, filepath.Join(dir, "bad"))
	}
}
