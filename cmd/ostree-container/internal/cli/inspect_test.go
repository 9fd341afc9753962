package cli

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestInspect(t *testing.T) {
	t.Parallel()
	i := makeImages(t)
	repo := i.repo(t, "repo", "bare-user")
	i.retag(t, "latest", "v1")
	ref := "ostree-unverified-image:oci:" + i.layout() + ":latest"
	assert.Equal(t, `$ image inspect ostree-unverified-image:oci:DIR/image:v1
Image:        ostree-unverified-image:oci:DIR/image:v1
Digest:       sha256:HEX
Version:      1
Created:      2025-01-01T00:00:00.000Z
Platform:     linux/amd64
Layers:       3 (1.2~kB)

ID                    SIZE        KIND     CREATED BY
HEX20  694 bytes   derived  base
HEX20  251 bytes   derived  app
HEX20  232 bytes   derived  v1
$ image inspect --repo DIR/repo --stored oci:DIR/image:latest
2> error: No such image: oci:DIR/image:latest
? 1
`, i.transcript(t, "image inspect ostree-unverified-image:oci:DIR/image:v1", "image inspect --repo DIR/repo --stored oci:DIR/image:latest"))
	require.Zero(t, run(t, "", "image", "pull", "-q", repo, ref).status)
	i.retag(t, "latest", "v2")
	assert.Equal(t, `$ image inspect --repo DIR/repo ostree-unverified-image:oci:DIR/image:latest
Image:        ostree-unverified-image:oci:DIR/image:latest
Digest:       sha256:HEX
Version:      2
Created:      2025-01-01T00:00:00.000Z
Platform:     linux/amd64
Layers:       3 (1.3~kB)
Repository:   has another version: sha256:HEX 1
To fetch:     1 of 3 layers (378 bytes)

ID                    SIZE        KIND     HERE  CREATED BY
HEX20  694 bytes   derived  yes   base
HEX20  251 bytes   derived  yes   app
HEX20  378 bytes   derived  no    v2
$ image inspect --repo DIR/repo --stored ostree-unverified-image:oci:DIR/image:latest
Image:        oci:DIR/image:latest
Digest:       sha256:HEX
Version:      1
Created:      2025-01-01T00:00:00.000Z
Platform:     linux/amd64
Layers:       3 (1.2~kB)
Repository:   has it, as commit HEX

ID                    SIZE        KIND     HERE  CREATED BY
HEX20  694 bytes   derived  yes   base
HEX20  251 bytes   derived  yes   app
HEX20  232 bytes   derived  yes   v1
`, i.transcript(t,
		"image inspect --repo DIR/repo ostree-unverified-image:oci:DIR/image:latest",
		"image inspect --repo DIR/repo --stored ostree-unverified-image:oci:DIR/image:latest"))

	r := run(t, "", "image", "inspect", "--format=json", "--repo", repo, ref)
	require.Zero(t, r.status, r.err)
	var doc inspected
	require.NoError(t, json.Unmarshal([]byte(r.out), &doc))
	assert.Equal(t, &inspectedHere{
		Commit: doc.Repository.Commit, ManifestDigest: doc.Repository.ManifestDigest, Version: "1", LayersPresent: 2, LayersNeeded: 1, BytesNeeded: i.size("v2"),
	}, doc.Repository)
	assert.False(t, *doc.Layers[2].Present)
	assert.Equal(t, i.size("base", "app", "v2"), doc.Size)

	// The documents themselves, byte for byte.
	var manifest ocispec.Manifest
	raw := run(t, "", "image", "inspect", "--raw", ref).out
	require.NoError(t, json.Unmarshal([]byte(raw), &manifest))
	want, err := os.ReadFile(i.layout() + "/blobs/sha256/" + manifest.Config.Digest.Encoded())
	require.NoError(t, err)
	assert.Equal(t, string(want), run(t, "", "image", "inspect", "--config", ref).out)
	assert.Equal(t, doc.Manifest.Layers, manifest.Layers)
	fsck(t, repo)
}

func TestInspectMistakes(t *testing.T) {
	t.Parallel()
	i := makeImages(t)
	assert.Equal(t, `$ image inspect oci:DIR/image:v1
2> error: invalid value "oci:DIR/image:v1" for IMGREF: Invalid ostree image reference scheme: oci; did you mean ostree-image-signed:oci:DIR/image:v1, or ostree-unverified-image:oci:DIR/image:v1?
2> 
2> Usage: ostree-container image inspect [OPTION...] [--repo PATH] IMGREF
2> 
2> For more information, try '--help'.
? 2
$ image inspect --stored oci:DIR/image:v1
2> error: the following required option was not provided: --repo
2> 
2> Usage: ostree-container image inspect [OPTION...] [--repo PATH] IMGREF
2> 
2> For more information, try '--help'.
? 2
$ image inspect ostree-unverified-image:oci:DIR/image:v3
2> error: Fetching manifest: open image oci:DIR/image:v3: no descriptor found for reference "v3"
? 1
$ image inspect --repo DIR/no ostree-unverified-image:oci:DIR/image:v1
2> error: open repository DIR/no: opening repo: opendir(DIR/no): No such file or directory
? 1
`, i.transcript(t,
		"image inspect oci:DIR/image:v1", "image inspect --stored oci:DIR/image:v1", "image inspect ostree-unverified-image:oci:DIR/image:v3",
		"image inspect --repo DIR/no ostree-unverified-image:oci:DIR/image:v1"))
}

func TestInfoAndCompare(t *testing.T) {
	t.Parallel()
	i := makeImages(t)
	assert.Equal(t, `$ container info ostree-unverified-image:oci:DIR/image:v1
ostree-unverified-image:oci:DIR/image:v1 digest: sha256:HEX
$ container info ostree-unverified-image:oci:DIR/image:v3
2> error: Fetching manifest: open image oci:DIR/image:v3: no descriptor found for reference "v3"
? 1
$ container compare ostree-unverified-image:oci:DIR/image:v1 ostree-unverified-image:oci:DIR/image:v2
Total new layers: 3     Size: 1.3~kB
Removed layers:   1     Size: 232 bytes
Added layers:     1     Size: 378 bytes
`, i.transcript(t,
		"container info ostree-unverified-image:oci:DIR/image:v1", "container info ostree-unverified-image:oci:DIR/image:v3",
		"container compare ostree-unverified-image:oci:DIR/image:v1 ostree-unverified-image:oci:DIR/image:v2"))
	r := run(t, "", "info", "--format=json", "ostree-unverified-image:oci:"+i.layout()+":v1")
	require.Zero(t, r.status, r.err)
	var info fetchedManifest
	require.NoError(t, json.Unmarshal([]byte(r.out), &info))
	assert.Equal(t, 3, info.Layers)
	assert.Equal(t, i.size("base", "app", "v1"), info.Size)
	r = run(t, "", "compare", "--format=json", "ostree-unverified-image:oci:"+i.layout()+":v1", "ostree-unverified-image:oci:"+i.layout()+":v2")
	require.Zero(t, r.status, r.err)
	var compared comparedManifests
	require.NoError(t, json.Unmarshal([]byte(r.out), &compared))
	assert.Equal(t, info.ManifestDigest, compared.Old.ManifestDigest)
	assert.Equal(t, i.size("v2"), compared.AddedSize)
	assert.Len(t, compared.Removed, 1)
}

func TestImageDiff(t *testing.T) {
	t.Parallel()
	i := makeImages(t)
	repo := i.repo(t, "repo", "bare-user")
	for _, v := range []string{"v1", "v2"} {
		require.Zero(t, run(t, "", "image", "pull", "-q", repo, "ostree-unverified-image:oci:"+i.layout()+":"+v).status)
	}
	v1, v2 := "oci:"+i.layout()+":v1", "oci:"+i.layout()+":v2"
	r := run(t, "", "image", "diff", "--repo", repo, "--format=json", v1, v2)
	require.Zero(t, r.status, r.err)
	var doc treeDiff
	require.NoError(t, json.Unmarshal([]byte(r.out), &doc))
	require.NotEmpty(t, doc.Entries)
	assert.Equal(t, v1, doc.From.Name)
	text := run(t, "", "image", "diff", "--repo", repo, v1, "ostree-unverified-image:"+v2)
	require.Zero(t, text.status, text.err)
	for _, e := range doc.Entries {
		assert.Contains(t, text.out, "  "+e.Path)
	}
	// The ostree command finds the same files.
	for line := range fieldsOfLines(tool(t, "ostree", "diff", "--repo="+repo, doc.From.Commit, doc.To.Commit)) {
		assert.Contains(t, text.out, line)
	}
	table := run(t, "", "image", "diff", "--repo", repo, "--depth=2", v1, v2)
	require.Zero(t, table.status, table.err)
	assert.Regexp(t, `^  ADDED REMOVED MODIFIED METADATA      GROWTH  TREE\n(.*\n)+.*total\n$`, table.out)
	assert.Equal(t, result{out: "Added: 0, removed: 0, modified: 0, only metadata: 0; 0 bytes before, 0 bytes after\n"},
		run(t, "", "image", "diff", "--repo", repo, v1, v1))
	assert.Contains(t, run(t, "", "image", "diff", "--repo", repo, "--format=json", v1, v1).out, `"entries": []`)
	none := run(t, "", "image", "diff", "--repo", repo, "--format=json", "--depth=1", v1, v1).out
	assert.Contains(t, none, `"trees": [`)
	assert.NotContains(t, none, "entries")

	assert.Equal(t, `$ image diff --repo DIR/repo oci:DIR/image:v1 oci:DIR/image:v3
2> error: No such image, ref or commit: oci:DIR/image:v3
? 1
`, i.transcript(t, "image diff --repo DIR/repo oci:DIR/image:v1 oci:DIR/image:v3"))
}

// fieldsOfLines gives the last word of each line.
func fieldsOfLines(text string) map[string]bool {
	words := map[string]bool{}
	for line := range strings.Lines(text) {
		words[strings.Fields(line)[1]] = true
	}
	return words
}

func TestClearCachedUpdate(t *testing.T) {
	t.Parallel()
	i := makeImages(t)
	repo := i.repo(t, "repo", "bare-user")
	i.retag(t, "latest", "v1")
	ref := "ostree-unverified-image:oci:" + i.layout() + ":latest"
	require.Zero(t, run(t, "", "image", "pull", "-q", repo, ref).status)
	i.retag(t, "latest", "v2")
	require.Zero(t, run(t, "", "image", "pull", repo, ref, "--check="+i.dir+"/m").status)
	assert.Contains(t, run(t, "", "image", "list", "--repo", repo, "--format=json").out, "cachedUpdate")
	assert.Equal(t, `$ container image clear-cached-update --repo DIR/repo oci:DIR/image:latest
$ container image clear-cached-update --repo DIR/repo --format json oci:DIR/image:latest
{
  "image": "oci:DIR/image:latest",
  "cleared": false
}
$ container image clear-cached-update --repo DIR/repo oci:DIR/image:v9
2> error: No such image: oci:DIR/image:v9
? 1
`, i.transcript(t, "container image clear-cached-update --repo DIR/repo oci:DIR/image:latest",
		"container image clear-cached-update --repo DIR/repo --format json oci:DIR/image:latest",
		"container image clear-cached-update --repo DIR/repo oci:DIR/image:v9"))
	assert.NotContains(t, run(t, "", "image", "list", "--repo", repo, "--format=json").out, "cachedUpdate")
	fsck(t, repo)
}
