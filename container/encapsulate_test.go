package container_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
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
