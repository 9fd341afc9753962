package cli

import (
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestPullUpdateRemove is the life of an image in a repository, as a person sees it.
func TestPullUpdateRemove(t *testing.T) {
	t.Parallel()
	i := makeImages(t)
	repo := i.repo(t, "repo", "bare-user")
	i.retag(t, "latest", "v1")
	assert.Equal(t, `$ container image list --repo DIR/repo
$ container image pull -j1 DIR/repo ostree-unverified-image:oci:DIR/image:latest
layers already present: 0; layers needed: 3 (1.2~kB)
Wrote: ostree-unverified-image:oci:DIR/image:latest => HEX
2> Fetching layer sha256:HEX12 (694 bytes)
2> Fetched layer sha256:HEX12
2> Fetching layer sha256:HEX12 (251 bytes)
2> Fetched layer sha256:HEX12
2> Fetching layer sha256:HEX12 (232 bytes)
2> Fetched layer sha256:HEX12
2> Merging layers
2> Removing unused layers
$ container image pull DIR/repo ostree-unverified-image:oci:DIR/image:latest
No changes in ostree-unverified-image:oci:DIR/image:latest => HEX
$ image list --repo DIR/repo
oci:DIR/image:latest
$ image history --repo DIR/repo oci:DIR/image:latest
ID                    SIZE        CREATED BY
HEX20  694 bytes   base
HEX20  251 bytes   app
HEX20  232 bytes   v1
`, i.transcript(t,
		"container image list --repo DIR/repo",
		"container image pull -j1 DIR/repo ostree-unverified-image:oci:DIR/image:latest",
		"container image pull DIR/repo ostree-unverified-image:oci:DIR/image:latest",
		"image list --repo DIR/repo",
		"image history --repo DIR/repo oci:DIR/image:latest",
	))
	fsck(t, repo)
	i.retag(t, "latest", "v2")
	assert.Equal(t, `$ image pull --check DIR/new.json DIR/repo ostree-unverified-image:oci:DIR/image:latest
Update available for: ostree-unverified-image:oci:DIR/image:latest
  Version: 2
  Digest: sha256:HEX
Total new layers: 3     Size: 1.3~kB
Removed layers:   1     Size: 232 bytes
Added layers:     1     Size: 378 bytes
layers already present: 2; layers needed: 1 (378 bytes)
$ image pull --quiet --ostree-digestfile DIR/commit DIR/repo ostree-unverified-image:oci:DIR/image:latest
Total new layers: 3     Size: 1.3~kB
Removed layers:   1     Size: 232 bytes
Added layers:     1     Size: 378 bytes
layers already present: 2; layers needed: 1 (378 bytes)
Wrote: ostree-unverified-image:oci:DIR/image:latest => HEX
$ image pull --check DIR/none.json DIR/repo ostree-unverified-image:oci:DIR/image:latest
No changes in ostree-unverified-image:oci:DIR/image:latest => HEX
`, i.transcript(t,
		"image pull --check DIR/new.json DIR/repo ostree-unverified-image:oci:DIR/image:latest",
		"image pull --quiet --ostree-digestfile DIR/commit DIR/repo ostree-unverified-image:oci:DIR/image:latest",
		"image pull --check DIR/none.json DIR/repo ostree-unverified-image:oci:DIR/image:latest",
	))
	fsck(t, repo)
	assert.NoFileExists(t, i.dir+"/none.json")
	data, err := os.ReadFile(i.dir + "/new.json")
	require.NoError(t, err)
	var manifest ocispec.Manifest
	require.NoError(t, json.Unmarshal(data, &manifest))
	assert.Equal(t, i.size("v2"), manifest.Layers[2].Size)
	commit, err := os.ReadFile(i.dir + "/commit")
	require.NoError(t, err)
	assert.Equal(t, strings.TrimSpace(tool(t, "ostree", "rev-parse", "--repo="+repo, i.imageRefOf(t, repo))), string(commit))

	assert.Equal(t, `$ image remove --repo DIR/repo oci:DIR/image:latest
Removed images: 1 layers: 3
$ image list --repo DIR/repo
$ image prune-layers --repo DIR/repo
Removed layers: 0
$ image history --repo DIR/repo oci:DIR/image:latest
2> error: No such image: oci:DIR/image:latest
? 1
$ image metadata --repo DIR/repo oci:DIR/image:latest
2> error: No such image: oci:DIR/image:latest
? 1
`, i.transcript(t,
		"image remove --repo DIR/repo oci:DIR/image:latest",
		"image list --repo DIR/repo",
		"image prune-layers --repo DIR/repo",
		"image history --repo DIR/repo oci:DIR/image:latest",
		"image metadata --repo DIR/repo oci:DIR/image:latest",
	))
	fsck(t, repo)
}

// imageRefOf returns the only ref of an image in a repository, as the ostree command lists it.
func (i *images) imageRefOf(t *testing.T, repo string) string {
	t.Helper()
	list := strings.Fields(tool(t, "ostree", "refs", "--repo="+repo, "--list", "ostree/container/image"))
	require.Len(t, list, 1)
	return list[0]
}

// A relative path is relative to the working directory, as everywhere; the reference takes it from / (B7).
func TestB7_B46_OutputPathsAreRelativeToTheWorkingDirectory(t *testing.T) {
	i := makeImages(t)
	i.repo(t, "repo", "archive")
	t.Chdir(i.dir)
	ref := "ostree-unverified-image:oci:image:v1"
	r := run(t, "", "image", "pull", "--check", "check.json", "repo", ref)
	require.Equal(t, 0, r.status, r.err)
	assert.FileExists(t, filepath.Join(i.dir, "check.json"))
	r = run(t, "", "image", "pull", "--ostree-digestfile", "commit", "repo", ref)
	require.Equal(t, 0, r.status, r.err)
	commit, err := os.ReadFile(filepath.Join(i.dir, "commit"))
	require.NoError(t, err)
	assert.Equal(t, "Wrote: "+ref+" => "+string(commit)+"\n", r.out[strings.Index(r.out, "Wrote"):])
	require.NoError(t, os.Remove("commit"))
	r = run(t, "", "image", "pull", "--ostree-digestfile", "commit", "repo", ref)
	assert.Equal(t, result{out: "No changes in " + ref + " => " + string(commit) + "\n"}, r)
	again, err := os.ReadFile(filepath.Join(i.dir, "commit"))
	require.NoError(t, err)
	assert.Equal(t, commit, again)
	for _, path := range []string{"/check.json", "/commit"} {
		assert.NoFileExists(t, path)
	}
}

func TestB8_RemoveNamesMissingImagesAndCollects(t *testing.T) {
	t.Parallel()
	i := makeImages(t)
	repo := i.repo(t, "repo", "bare-user")
	for _, v := range []string{"v1", "v2"} {
		require.Zero(t, run(t, "", "image", "pull", "-q", repo, "ostree-unverified-image:oci:"+i.layout()+":"+v).status)
	}
	assert.Equal(t, `$ image remove --repo DIR/repo oci:DIR/image:x oci:DIR/image:v1 ostree-unverified-image:oci:DIR/image:y
Removed images: 1 layers: 1
2> error: Missing images: oci:DIR/image:x oci:DIR/image:y
? 1
$ image remove --repo DIR/repo --format json oci:DIR/image:z
{
  "images": [],
  "missing": [
    "oci:DIR/image:z"
  ],
  "layers": 0
}
2> error: Missing images: oci:DIR/image:z
? 1
$ image remove --repo DIR/repo --skip-gc oci:DIR/image:v2
Removed images: 1
$ image prune-layers --repo DIR/repo --format json
{
  "images": [],
  "layers": 3
}
$ image remove --repo DIR/repo
Removed images: 0 layers: 0
$ image remove --repo DIR/repo foo
2> error: invalid value "foo" for IMGREF: Missing ':' in foo
2> 
2> Usage: ostree-container image remove [OPTION...] --repo PATH [IMGREF...]
2> 
2> For more information, try '--help'.
? 2
`, i.transcript(t,
		"image remove --repo DIR/repo oci:DIR/image:x oci:DIR/image:v1 ostree-unverified-image:oci:DIR/image:y",
		"image remove --repo DIR/repo --format json oci:DIR/image:z",
		"image remove --repo DIR/repo --skip-gc oci:DIR/image:v2",
		"image prune-layers --repo DIR/repo --format json",
		"image remove --repo DIR/repo",
		"image remove --repo DIR/repo foo",
	))
	fsck(t, repo)
}

func TestPullFailures(t *testing.T) {
	t.Parallel()
	i := makeImages(t)
	i.repo(t, "repo", "bare-user")
	i.repo(t, "user-only", "bare-user-only")
	assert.Equal(t, `$ image pull DIR/repo ostree-unverified-image:oci:DIR/image:v3
2> error: Preparing import: Fetching manifest: open image oci:DIR/image:v3: no descriptor found for reference "v3"
? 1
$ image pull --ostree-digestfile DIR/no/such/commit DIR/repo ostree-unverified-image:oci:DIR/image:v1
2> error: --ostree-digestfile: stat DIR/no/such: no such file or directory
? 1
`, i.transcript(t,
		"image pull DIR/repo ostree-unverified-image:oci:DIR/image:v3",
		"image pull --ostree-digestfile DIR/no/such/commit DIR/repo ostree-unverified-image:oci:DIR/image:v1",
	))
	r := run(t, "", "image", "pull", i.dir+"/user-only", "ostree-unverified-image:oci:"+i.layout()+":v1")
	assert.Equal(t, 1, r.status)
	assert.Regexp(t, `^error: Creating importer: repository .* has mode bare-user-only, .*\n$`, r.err)
}

// TestPullJSON reads the lines back: a Start first, a Result last, and the bytes of the layers between.
func TestPullJSON(t *testing.T) {
	t.Parallel()
	i := makeImages(t)
	repo := i.repo(t, "repo", "bare-user")
	ref := "ostree-unverified-image:oci:" + i.layout() + ":v1"
	pull := func(args ...string) (lines []map[string]any) {
		r := run(t, "", append([]string{"image", "pull", "--format=json", repo, ref}, args...)...)
		require.Equal(t, 0, r.status, r.err)
		require.Empty(t, r.err)
		for line := range strings.Lines(r.out) {
			var m map[string]any
			require.NoError(t, json.Unmarshal([]byte(line), &m), line)
			lines = append(lines, m)
		}
		assert.Equal(t, map[string]any{"type": "Start", "version": "0.1.0"}, lines[0])
		return lines
	}
	whole := float64(i.size("base", "app", "v1"))
	lines := pull("--check=" + i.dir + "/m")
	last := lines[len(lines)-1]
	assert.Len(t, last["manifestDigest"], 71)
	assert.Equal(t, map[string]any{
		"type": "Result", "image": ref, "updateAvailable": true, "manifestDigest": last["manifestDigest"], "version": "1",
		"layersPresent": 0., "layersNeeded": 3., "bytesNeeded": whole,
	}, last)

	lines = pull()
	result := lines[len(lines)-1]
	assert.Len(t, result["commit"], 64)
	assert.Equal(t, map[string]any{
		"type": "Result", "image": ref, "changed": true, "commit": result["commit"], "manifestDigest": last["manifestDigest"], "version": "1",
		"layersPresent": 0., "layersFetched": 3., "bytesFetched": whole,
	}, result)
	var bytes []map[string]any
	for _, l := range lines {
		if l["type"] == "ProgressBytes" {
			bytes = append(bytes, l)
		}
	}
	final := bytes[len(bytes)-1]
	assert.Equal(t, []any{whole, whole, 3., 3.}, []any{final["bytes"], final["bytesTotal"], final["steps"], final["stepsTotal"]})

	lines = pull()
	assert.Equal(t, map[string]any{
		"type": "Result", "image": ref, "changed": false, "commit": result["commit"], "manifestDigest": last["manifestDigest"], "version": "1",
		"layersPresent": 3., "layersFetched": 0., "bytesFetched": 0.,
	}, lines[len(lines)-1])
	lines = pull("--check=" + i.dir + "/n")
	assert.Equal(t, map[string]any{
		"type": "Result", "image": ref, "updateAvailable": false, "manifestDigest": last["manifestDigest"], "version": "1",
		"layersPresent": 3., "layersNeeded": 0., "bytesNeeded": 0.,
	}, lines[len(lines)-1])
}

func TestPullGivesTheRegistryCredentials(t *testing.T) {
	t.Parallel()
	i := &images{dir: t.TempDir()}
	repo := i.repo(t, "repo", "bare-user")
	users := make(chan string, 100)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, ok := r.BasicAuth(); ok {
			users <- user + " " + password
		} else {
			users <- "nobody"
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="here"`)
		w.WriteHeader(http.StatusUnauthorized)
	}))
	t.Cleanup(s.Close)
	_, port, err := net.SplitHostPort(s.Listener.Addr().String())
	require.NoError(t, err)
	authFile := filepath.Join(i.dir, "auth.json")
	require.NoError(t, os.WriteFile(authFile, []byte(`{"auths":{"localhost:`+port+`":{"auth":"ZnJvbTpmaWxl"}}}`), 0o600))
	for name, tc := range map[string]struct {
		args  []string
		stdin string
		want  string
	}{
		"creds":      {[]string{"--creds=me:s:ecret"}, "", "me s:ecret"},
		"asked for":  {[]string{"--creds=me"}, "hidden\n", "me hidden"},
		"no newline": {[]string{"--creds=me"}, "hidden", "me hidden"},
		"authfile":   {[]string{"--authfile=" + authFile}, "", "from file"},
		"anonymous":  {[]string{"--auth-anonymous"}, "", " "},
	} {
		args := append([]string{"image", "pull", "--insecure-skip-tls-verification", repo, "ostree-unverified-registry:localhost:" + port + "/os:latest"}, tc.args...)
		r := run(t, tc.stdin, args...)
		assert.Equal(t, 1, r.status, name)
		assert.NotContains(t, r.err, "hidden", name)
		var last string
		for len(users) > 0 {
			last = <-users
		}
		assert.Equal(t, tc.want, last, name)
	}
	r := run(t, "", "image", "pull", repo, "ostree-unverified-registry:localhost:"+port+"/os", "--creds=me")
	assert.Equal(t, result{err: "error: read password of me: EOF\n", status: 1}, r)
	for _, creds := range []string{"--creds=", "--creds=:secret"} { // of a variable that is not set, for one
		r := run(t, "", "image", "pull", repo, "ostree-unverified-registry:localhost:"+port+"/os", creds)
		assert.Equal(t, 2, r.status)
		assert.Contains(t, r.err, "error: --creds: the user's name is missing\n")
	}
}

// A phase that fails is never said to be completed.
func TestFailedPhaseIsNotCompleted(t *testing.T) {
	t.Parallel()
	i := makeImages(t)
	repo := i.repo(t, "repo", "bare-user")
	r := run(t, "", "image", "pull", "--format=json", repo, "ostree-unverified-image:oci:"+i.layout()+":v3")
	assert.Equal(t, 1, r.status)
	assert.Contains(t, r.out, `"task":"resolving"`)
	assert.NotContains(t, r.out, `"completed":true`)
	assert.NotContains(t, r.out, `"Result"`)
}

// What was kept is written with its digest; what a check sees as an update does not depend on it.
func TestPullKeepsBlobs(t *testing.T) {
	t.Parallel()
	i := makeImages(t)
	needTool(t, "skopeo")
	repo := i.repo(t, "repo", "bare-user")
	assert.Equal(t, `$ image pull -q DIR/repo ostree-unverified-image:oci:DIR/image:v1
layers already present: 0; layers needed: 3 (1.2~kB)
Wrote: ostree-unverified-image:oci:DIR/image:v1 => HEX
$ image pull -q --check DIR/new.json DIR/repo ostree-unverified-image:oci:DIR/image:v1
No changes in ostree-unverified-image:oci:DIR/image:v1 => HEX
$ image pull -q --keep-blobs DIR/repo ostree-unverified-image:oci:DIR/image:v1
Total new layers: 3     Size: 1.2~kB
Removed layers:   0     Size: 0 bytes
Added layers:     0     Size: 0 bytes
layers already present: 0; layers needed: 3 (1.2~kB)
Wrote: ostree-unverified-image:oci:DIR/image:v1 => HEX
$ image pull -q --keep-blobs DIR/repo ostree-unverified-image:oci:DIR/image:v1
No changes in ostree-unverified-image:oci:DIR/image:v1 => HEX
$ image reexport -q --preserve-digests --repo DIR/repo oci:DIR/image:v1 oci:DIR/out:x
Exported: sha256:HEX
`, i.transcript(t,
		"image pull -q DIR/repo ostree-unverified-image:oci:DIR/image:v1",
		"image pull -q --check DIR/new.json DIR/repo ostree-unverified-image:oci:DIR/image:v1",
		"image pull -q --keep-blobs DIR/repo ostree-unverified-image:oci:DIR/image:v1",
		"image pull -q --keep-blobs DIR/repo ostree-unverified-image:oci:DIR/image:v1",
		"image reexport -q --preserve-digests --repo DIR/repo oci:DIR/image:v1 oci:DIR/out:x",
	))
	assert.Equal(t, tool(t, "skopeo", "inspect", "--raw", "oci:"+i.layout()+":v1"), tool(t, "skopeo", "inspect", "--raw", "oci:"+filepath.Join(i.dir, "out")+":x"))
	fsck(t, repo)
}
