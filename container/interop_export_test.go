package container_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/container/internal/oracle"
	ti "github.com/ostree-container/ostree-container/container/internal/testimage"
	"github.com/ostree-container/ostree-container/ostree"
)

// call runs "PROGRAM ARGS..." with an input; it returns standard output, standard error and the exit status.
func (p program) call(t testing.TB, input []byte, args ...string) (out []byte, stderr string, status int) {
	t.Helper()
	c := exec.Command(p.path, args...)
	c.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "G_MESSAGES_DEBUG=")
	var o, e bytes.Buffer
	c.Stdin, c.Stdout, c.Stderr = bytes.NewReader(input), &o, &e
	if err := c.Run(); err != nil {
		status = c.ProcessState.ExitCode()
		require.NotEqual(t, -1, status, err)
	}
	return o.Bytes(), e.String(), status
}

func (p program) good(t testing.TB, input []byte, args ...string) string {
	t.Helper()
	out, stderr, status := p.call(t, input, args...)
	require.Zero(t, status, "%s %v: %s", p.name, args, stderr)
	return string(out)
}

// TestInteropExport has either program make images and tar streams of one commit, and the other read them.
func TestInteropExport(t *testing.T) {
	ti.NeedRoot(t)
	ti.NeedTool(t, "skopeo", "ostree")
	judge, ours := program{name: "judge", path: ti.Judge(t)}, program{name: "ours", path: buildProgram(t)}
	both := []program{judge, ours}
	// What the judge exports wrongly (B39, B40) is left out of what both export.
	members := ti.BaseMembers()
	repo, commit := commitTar(t, members, "--bootable", "--subject=a subject", "--add-metadata-string=version=42",
		"--add-metadata-string=team=os", `--add-metadata=ostree.container-cmd=["/sbin/init"]`)
	hard, hardCommit := commitTar(t, exportMembers())
	// The file that the judge reads is written by hand: order of layers, labels, time.
	meta := contentMetaFile(t, repo.Path())
	config := filepath.Join(t.TempDir(), "config.json")
	require.NoError(t, os.WriteFile(config, []byte(`{"User":"1:2","Env":["A=b"],"Labels":{"from":"config"},"WorkingDir":"/w"}`), 0o600))

	for name, args := range map[string][]string{
		"plain":  nil,
		"labels": {"-l", "a=b", "--label", "c=d=e", "--copymeta", "team", "--copymeta-opt", "nowhere", "--copymeta-opt", "version"},
		"config": {"--config", config, "--cmd=/bin/sh", "--cmd=-c", "--compression-fast"},
		"chunks": {"--contentmeta", meta, "-l", "from=option"},
	} {
		t.Run("encapsulate "+name, func(t *testing.T) {
			dir := t.TempDir()
			var manifests [2]*ocispec.Manifest
			var configs [2]map[string]any
			for i, p := range both {
				path := filepath.Join(dir, p.name)
				said := strings.TrimSpace(p.good(t, nil, append([]string{"container", "encapsulate", "--repo", repo.Path(), "os", "oci:" + path + ":tag"}, args...)...))
				raw := ti.Run(t, "skopeo", "inspect", "--raw", "oci:"+path+":tag")
				assert.Equal(t, digest.FromString(raw).String(), said)
				manifests[i] = &ocispec.Manifest{}
				require.NoError(t, json.Unmarshal([]byte(raw), manifests[i]))
				require.NoError(t, json.Unmarshal([]byte(ti.Run(t, "skopeo", "inspect", "--raw", "--config", "oci:"+path+":tag")), &configs[i]))
				for _, reader := range both {
					into := bareRepo(t)
					out := reader.good(t, nil, "container", "unencapsulate", "--quiet", "--repo", into, "--write-ref", "x", unverifiedImage+"oci:"+path+":tag")
					assert.Equal(t, "Imported: x => "+commit+"\n", out, "%s reads what %s wrote", reader.name, p.name)
					oracle.Fsck(t, into)
				}
			}
			// The streams differ in the form of the extended attributes, hence diff_ids, digests and sizes; 0.15.3 puts the time of day
			// into the history, and leaves out the media type of the manifest.
			for i := range both {
				assert.Equal(t, last(configs[i]["rootfs"].(map[string]any)["diff_ids"].([]any)), manifests[i].Annotations["ostree.final-diffid"])
				manifests[i].Config = ocispec.Descriptor{}
				manifests[i].MediaType = ""
				delete(manifests[i].Annotations, "ostree.final-diffid")
				delete(configs[i]["config"].(map[string]any)["Labels"].(map[string]any), "ostree.final-diffid")
				delete(configs[i], "rootfs")
				for n := range manifests[i].Layers {
					manifests[i].Layers[n].Digest, manifests[i].Layers[n].Size = "", 0
				}
				for _, h := range configs[i]["history"].([]any) {
					delete(h.(map[string]any), "created")
				}
			}
			assert.Equal(t, manifests[0], manifests[1])
			assert.Equal(t, configs[0], configs[1])
		})
	}

	t.Run("tar", func(t *testing.T) {
		for _, p := range both {
			args := []string{"tar", "export", "--repo", repo.Path(), "--format-version", "1", "os"}
			stream := []byte(p.good(t, nil, args...))
			for _, reader := range both {
				into := bareRepo(t)
				assert.Equal(t, "Imported: "+commit+"\n", reader.good(t, stream, "tar", "import", "--repo", into), "%s reads what %s wrote", reader.name, p.name)
				oracle.Fsck(t, into)
			}
		}
		_, stderr, status := judge.call(t, nil, "tar", "export", "--repo", hard.Path(), "--format-version", "1", "os")
		assert.NotZero(t, status, "B40: the judge cannot export equal symlinks")
		assert.Contains(t, stderr, "numeric field was not a number")
		into := bareRepo(t)
		assert.Equal(t, "Imported: "+hardCommit+"\n", ours.good(t, []byte(ours.good(t, nil, "tar", "export", "--repo", hard.Path(), "os")), "tar", "import", "--repo", into))
		oracle.Fsck(t, into)
	})

	t.Run("detached metadata", func(t *testing.T) {
		data := filepath.Join(t.TempDir(), "data")
		require.NoError(t, os.WriteFile(data, variantBytes(t, "{'key': <'value'>}"), 0o600))
		for _, p := range both {
			dir := t.TempDir()
			src := "oci:" + filepath.Join(dir, "src")
			ours.good(t, nil, "container", "encapsulate", "--repo", repo.Path(), "--contentmeta", meta, "os", src)
			dest := "oci:" + filepath.Join(dir, "dest")
			said := p.good(t, nil, "container", "image", "replace-detached-metadata", "--src", src, "--dest", dest, data)
			assert.Equal(t, "Pushed: "+digest.FromString(ti.Run(t, "skopeo", "inspect", "--raw", dest)).String()+"\n", said)
			for _, reader := range both {
				into := bareRepo(t)
				reader.good(t, nil, "container", "unencapsulate", "--quiet", "--repo", into, unverifiedImage+dest)
				assert.Equal(t, "'value'\n", ti.Run(t, "ostree", "--repo="+into, "show", "--raw", "--print-detached-metadata-key=key", commit),
					"%s reads what %s wrote", reader.name, p.name)
			}
		}
	})

	t.Run("other places", func(t *testing.T) {
		for _, p := range both {
			dir := t.TempDir()
			for _, place := range []string{"oci-archive:" + dir + "/a.ociarchive", "dir:" + dir + "/dir"} {
				said := strings.TrimSpace(p.good(t, nil, "container", "encapsulate", "--repo", repo.Path(), "os", place))
				assert.Equal(t, digest.FromString(ti.Run(t, "skopeo", "inspect", "--raw", place)).String(), said)
				for _, reader := range both {
					out := reader.good(t, nil, "container", "unencapsulate", "--quiet", "--repo", bareRepo(t), "--write-ref", "x", unverifiedImage+place)
					assert.Equal(t, "Imported: x => "+commit+"\n", out, "%s reads what %s wrote to %s", reader.name, p.name, place)
				}
			}
		}
	})

	t.Run("refused by readers", func(t *testing.T) {
		plain := ti.Image{Layers: []ti.Layer{{Members: []ti.Member{ti.Dir("usr", 0o755)}}}}.Write(t, t.TempDir(), "v1")
		into := bareRepo(t)
		stream := []byte(ours.good(t, nil, "tar", "export", "--repo", repo.Path(), "os"))
		unencapsulate := []string{"container", "unencapsulate", "--quiet", "--repo"}
		for name, bad := range map[string]struct {
			args  []string
			input []byte
		}{
			"no commit inside":       {append(unencapsulate, into, unverifiedImage+plain.Ref), nil},
			"no image":               {append(unencapsulate, into, unverifiedImage+"oci:/nowhere"), nil},
			"unencapsulate nowhere":  {append(unencapsulate, "/nowhere", unverifiedImage+plain.Ref), nil},
			"export of no ref":       {[]string{"tar", "export", "--repo", repo.Path(), "--format-version", "1", "nobranch"}, nil},
			"export from nowhere":    {[]string{"tar", "export", "--repo", "/nowhere", "--format-version", "1", "os"}, nil},
			"import of nothing":      {[]string{"tar", "import", "--repo", into}, nil},
			"import of text":         {[]string{"tar", "import", "--repo", into}, []byte("text\n")},
			"import of a part":       {[]string{"tar", "import", "--repo", into}, stream[:len(stream)/2]},
			"import into nowhere":    {[]string{"tar", "import", "--repo", "/nowhere"}, stream},
			"metadata of no image":   {[]string{"container", "image", "replace-detached-metadata", "--src", "oci:/nowhere", "--dest", "oci:/nowhere2"}, nil},
			"metadata of other ones": {[]string{"container", "image", "replace-detached-metadata", "--src", plain.Ref, "--dest", "oci:" + filepath.Join(t.TempDir(), "x")}, nil},
		} {
			for _, p := range both {
				_, stderr, status := p.call(t, bad.input, bad.args...)
				assert.Equal(t, 1, status, "%s: %s: %s", name, p.name, stderr)
			}
		}
		assert.Empty(t, ti.Run(t, "ostree", "--repo="+into, "refs"))
		for _, p := range both { // a reader that goes away
			r, w, err := os.Pipe()
			require.NoError(t, err)
			require.NoError(t, r.Close())
			c := exec.Command(p.path, "tar", "export", "--repo", repo.Path(), "--format-version", "1", "os")
			c.Stdout = w
			require.Error(t, c.Run())
			assert.Equal(t, 1, c.ProcessState.ExitCode(), p.name)
			require.NoError(t, w.Close())
		}
	})

	t.Run("refused", func(t *testing.T) {
		ghost := filepath.Join(t.TempDir(), "ghost.json")
		require.NoError(t, os.WriteFile(ghost, []byte(`{"version":1,"layers":{"a":"a","b":"b","c":"c","ghost":"ghost"},"mapping":{}}`), 0o600))
		version := filepath.Join(t.TempDir(), "version.json")
		require.NoError(t, os.WriteFile(version, []byte(`{"version":2,"layers":{},"mapping":{}}`), 0o600))
		encapsulate := []string{"container", "encapsulate", "--repo", repo.Path()}
		for name, bad := range map[string]struct {
			args   []string
			status int
			says   string // both
		}{
			"no ref":         {append(encapsulate, "nowhere"), 1, "nowhere"},
			"no key":         {append(encapsulate, "--copymeta", "nokey", "os"), 1, "Could not find commit metadata key: nokey"},
			"label":          {append(encapsulate, "--label", "x", "os"), 1, "Missing '=' in label x"},
			"version":        {append(encapsulate, "--contentmeta", version, "os"), 1, "Unsupported metadata version: 2"},
			"no file":        {append(encapsulate, "--contentmeta", version+"x", "os"), 1, "o such file"},
			"unknown option": {append(encapsulate, "--nothing", "os"), 2, "--nothing"},
			"no repository":  {[]string{"container", "encapsulate", "--repo", "/nowhere", "os"}, 1, "/nowhere"},
		} {
			for _, p := range both {
				out := filepath.Join(t.TempDir(), "out")
				_, stderr, status := p.call(t, nil, append(bad.args[:len(bad.args):len(bad.args)], "oci:"+out)...)
				assert.Equal(t, bad.status, status, "%s: %s", name, p.name)
				assert.Contains(t, stderr, bad.says, "%s: %s", name, p.name)
				if p.name == "ours" {
					assert.NoDirExists(t, out, name)
				}
			}
		}
		_, stderr, status := judge.call(t, nil, append(encapsulate, "--contentmeta", ghost, "os", "oci:"+filepath.Join(t.TempDir(), "x"))...)
		assert.Equal(t, 101, status, "B34: the judge panics: %s", stderr)
		_, stderr, status = ours.call(t, nil, append(encapsulate, "--contentmeta", ghost, "os", "oci:"+filepath.Join(t.TempDir(), "x"))...)
		assert.Equal(t, 1, status)
		assert.Contains(t, stderr, "is in no layer")
	})
}

func last(list []any) any { return list[len(list)-1] }

// contentMetaFile distributes the files of the branch "os" over layers by their directory, with the ostree command.
func contentMetaFile(t testing.TB, repo string) string {
	t.Helper()
	mapping, layers := map[string]string{}, ""
	seen := map[string]bool{}
	for line := range strings.Lines(ti.Run(t, "ostree", "--repo="+repo, "ls", "-R", "-C", "os")) {
		f := strings.Fields(line)
		if len(f) < 6 || f[0][0] == 'd' {
			continue
		}
		id := strings.ReplaceAll(strings.Trim(filepath.Dir(f[5]), "/"), "/", "-") + "-1.0"
		if _, ok := mapping[f[4]]; ok {
			continue
		}
		mapping[f[4]] = id
		if !seen[id] {
			seen[id] = true
			layers += `,"` + id + `":"` + strings.TrimSuffix(id, "-1.0") + `"`
		}
	}
	text, err := json.Marshal(mapping)
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "meta.json")
	doc := `{"version":1,"created":"2024-01-02T03:04:05Z","labels":{"from":"meta","more":"1"},"layers":{` + layers[1:] + `},"mapping":` + string(text) + `}`
	require.NoError(t, os.WriteFile(path, []byte(doc), 0o600))
	return path
}

func variantBytes(t testing.TB, text string) []byte {
	t.Helper()
	v, err := ostree.ParseVariant("a{sv}", text)
	require.NoError(t, err)
	return v.Bytes()
}
