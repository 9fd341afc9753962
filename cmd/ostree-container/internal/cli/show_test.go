package cli

import (
	"context"
	"encoding/json"
	"os"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/ostree"
)

func TestB6_HistoryRowsDoNotShift(t *testing.T) {
	t.Parallel()
	manifest := &ocispec.Manifest{Layers: []ocispec.Descriptor{{Digest: "sha256:a", Size: 1}, {Digest: "sha256:b", Size: 2}, {Digest: "sha256:c", Size: 3}}}
	config := &ocispec.Image{History: []ocispec.History{
		{CreatedBy: "first"}, {CreatedBy: "ENV", EmptyLayer: true}, {CreatedBy: "second"}, {CreatedBy: "CMD", EmptyLayer: true},
	}}
	assert.Equal(t, []historyRow{
		{ID: "sha256:a", Size: 1, CreatedBy: "first"}, {ID: "sha256:b", Size: 2, CreatedBy: "second"}, {ID: "sha256:c", Size: 3},
	}, historyRows(manifest, config))
	assert.Len(t, historyRows(manifest, &ocispec.Image{}), 3)
	assert.Empty(t, historyRows(&ocispec.Manifest{}, config))
}

func TestListJSON(t *testing.T) {
	t.Parallel()
	i := makeImages(t)
	repo := i.repo(t, "repo", "bare-user")
	r := run(t, "", "image", "list", "--repo", repo, "--format=json")
	assert.Equal(t, result{out: "[]\n"}, r)
	i.retag(t, "latest", "v1")
	ref := "ostree-unverified-image:oci:" + i.layout() + ":latest"
	require.Zero(t, run(t, "", "image", "pull", repo, ref).status)
	i.retag(t, "latest", "v2")
	require.Zero(t, run(t, "", "image", "pull", repo, ref, "--check="+i.dir+"/m").status)
	assert.Equal(t, `$ image list --repo DIR/repo --format json
[
  {
    "image": "oci:DIR/image:latest",
    "manifestDigest": "sha256:HEX",
    "commit": "HEX",
    "version": "1",
    "created": "2025-01-01T00:00:00.000Z",
    "layers": 3,
    "size": 1177,
    "cachedUpdate": {
      "manifestDigest": "sha256:HEX",
      "version": "2",
      "created": "2025-01-01T00:00:00.000Z"
    }
  }
]
`, i.transcript(t, "image list --repo DIR/repo --format json"))
	assert.Equal(t, `$ image history --repo DIR/repo --format json oci:DIR/image:latest
[
  {
    "id": "sha256:HEX",
    "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
    "size": 694,
    "created": "2025-01-01T00:00:00.000Z",
    "createdBy": "base"
  },
  {
    "id": "sha256:HEX",
    "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
    "size": 251,
    "created": "2025-01-01T00:00:00.000Z",
    "createdBy": "app"
  },
  {
    "id": "sha256:HEX",
    "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
    "size": 232,
    "created": "2025-01-01T00:00:00.000Z",
    "createdBy": "v1"
  }
]
`, i.transcript(t, "image history --repo DIR/repo --format json oci:DIR/image:latest"))

	// What cannot be read does not hide the rest.
	tool(t, "ostree", "refs", "--repo="+repo, "--create=ostree/container/image/oci_3A_x", tool(t, "ostree", "commit", "--repo="+repo, "--branch=x", "--tree=dir="+t.TempDir())[:64])
	r = run(t, "", "image", "list", "--repo", repo, "--format=json")
	require.Zero(t, r.status, r.err)
	var list []listedImage
	require.NoError(t, json.Unmarshal([]byte(r.out), &list))
	require.Len(t, list, 2)
	assert.Equal(t, "2", list[0].CachedUpdate.Version)
	assert.Equal(t, "oci:x", list[1].Image)
	assert.Contains(t, list[1].Error, "ostree.manifest-digest")
}

func TestMetadata(t *testing.T) {
	t.Parallel()
	i := makeImages(t)
	repo := i.repo(t, "repo", "bare-user")
	require.Zero(t, run(t, "", "image", "pull", repo, "ostree-unverified-image:oci:"+i.layout()+":v1").status)
	r := run(t, "", "image", "metadata", "--repo", repo, "oci:"+i.layout()+":v1")
	require.Zero(t, r.status, r.err)
	var manifest, want ocispec.Manifest
	require.NoError(t, json.Unmarshal([]byte(r.out), &manifest))
	assert.Equal(t, byte('}'), r.out[len(r.out)-1], "no newline")
	var index ocispec.Index
	readJSON(t, i.layout()+"/index.json", &index)
	readJSON(t, i.layout()+"/blobs/sha256/"+index.Manifests[0].Digest.Encoded(), &want)
	assert.Equal(t, want, manifest)
	r = run(t, "", "image", "metadata", "--config", "--repo", repo, "oci:"+i.layout()+":v1")
	require.Zero(t, r.status, r.err)
	var config, wantConfig ocispec.Image
	require.NoError(t, json.Unmarshal([]byte(r.out), &config))
	readJSON(t, i.layout()+"/blobs/sha256/"+want.Config.Digest.Encoded(), &wantConfig)
	assert.Equal(t, wantConfig, config)
	assert.Equal(t, byte('}'), r.out[len(r.out)-1], "no newline")
}

func readJSON(t *testing.T, path string, into any) {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(data, into))
}

func TestImageCompletion(t *testing.T) {
	t.Parallel()
	i := makeImages(t)
	repo := i.repo(t, "repo", "bare-user")
	ref := "oci:" + i.layout() + ":v1"
	require.Zero(t, run(t, "", "image", "pull", repo, "ostree-unverified-image:"+ref).status)
	r := run(t, "", "__complete", "image", "history", "--repo", repo, "oci:")
	assert.Equal(t, ref+"\n:4\n", r.out)
	require.NoError(t, (&app{}).withRepo(context.Background(), repo, func(*ostree.Repo) error { return nil }))
}
