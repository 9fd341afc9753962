package cli

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// sysroot makes an empty sysroot dir/sysroot with the stateroots default and demo.
func (i *images) sysroot(t *testing.T) string {
	t.Helper()
	needRoot(t)
	needTool(t, "ostree")
	path := filepath.Join(i.dir, "sysroot")
	require.NoError(t, os.Mkdir(path, 0o755))
	// Without this the deployments cannot be removed after the test.
	t.Setenv("OSTREE_SYSROOT_DEBUG", "mutable-deployments,no-xattrs")
	tool(t, "ostree", "admin", "init-fs", "--modern", path)
	tool(t, "ostree", "config", "--repo="+path+"/ostree/repo", "set", "sysroot.bootloader", "none")
	tool(t, "ostree", "admin", "os-init", "--sysroot="+path, "default")
	tool(t, "ostree", "admin", "os-init", "--sysroot="+path, "demo")
	return path
}

// TestDeployUpdatePrune is the life of an image in a sysroot, as a person sees it.
func TestDeployUpdatePrune(t *testing.T) {
	i := makeImages(t)
	sysroot := i.sysroot(t)
	i.retag(t, "latest", "v1")
	assert.Equal(t, `$ container image deploy -j1 --sysroot=DIR/sysroot --stateroot=demo --imgref=ostree-unverified-image:oci:DIR/image:latest --karg=root=LABEL=x --karg=rw --write-commitid-to=DIR/commit
2> Fetching layer sha256:HEX12 (694 bytes)
2> Fetched layer sha256:HEX12
2> Fetching layer sha256:HEX12 (251 bytes)
2> Fetched layer sha256:HEX12
2> Fetching layer sha256:HEX12 (232 bytes)
2> Fetched layer sha256:HEX12
2> Merging layers
2> Removing unused layers
2> Deploying
2> Cleaning up
`, i.transcript(t, "container image deploy -j1 --sysroot=DIR/sysroot --stateroot=demo --imgref=ostree-unverified-image:oci:DIR/image:latest"+
		" --karg=root=LABEL=x --karg=rw --write-commitid-to=DIR/commit"))
	commit, err := os.ReadFile(i.dir + "/commit")
	require.NoError(t, err)
	assert.Regexp(t, `^[0-9a-f]{64}$`, string(commit))
	assert.Equal(t, "[origin]\ncontainer-image-reference=ostree-unverified-image:oci:"+i.layout()+":latest\n",
		i.read(t, "sysroot/ostree/deploy/demo/deploy/"+string(commit)+".0.origin"))
	assert.Regexp(t, `(?m)^options root=LABEL=x rw ostree=/ostree/boot`, i.bootEntry(t))

	// The update keeps the arguments of the kernel.
	i.retag(t, "latest", "v2")
	r := run(t, "", "image", "deploy", "-q", "--sysroot", sysroot, "--stateroot", "demo", "--transport", "oci", "--image", i.layout()+":latest",
		"--target-imgref", "ostree-image-signed:docker://example.com/os", "--no-signature-verification")
	require.Equal(t, result{}, r)
	assert.Regexp(t, `(?m)^options root=LABEL=x rw ostree=/ostree/boot`, i.bootEntry(t))
	status := tool(t, "ostree", "admin", "status", "--sysroot="+sysroot)
	assert.Equal(t, 2, strings.Count(status, "demo "), status)

	r = run(t, "", "image", "pull", "-q", sysroot+"/ostree/repo", "ostree-unverified-image:oci:"+i.layout()+":v1")
	require.Zero(t, r.status, r.err)
	assert.Equal(t, `$ image list --repo DIR/sysroot/ostree/repo
docker://example.com/os
oci:DIR/image:latest
oci:DIR/image:v1
$ image prune-images --sysroot DIR/sysroot
Removed: oci:DIR/image:v1
$ image prune-images --sysroot DIR/sysroot --and-layers
No unreferenced images.
Removed layers: 0
$ image prune-images --sysroot DIR/sysroot --full
No content was pruned.
`, i.transcript(t,
		"image list --repo DIR/sysroot/ostree/repo",
		"image prune-images --sysroot DIR/sysroot",
		"image prune-images --sysroot DIR/sysroot --and-layers",
		"image prune-images --sysroot DIR/sysroot --full",
	))
	tool(t, "ostree", "admin", "undeploy", "--sysroot="+sysroot, "1")
	assert.Regexp(t, `^\$ image prune-images --sysroot DIR/sysroot -n
Would remove: oci:DIR/image:latest
\$ image prune-images --sysroot DIR/sysroot -n --and-layers
Would remove: oci:DIR/image:latest
Would remove layers: 1
\$ image prune-images --sysroot DIR/sysroot -n --full
Would remove images: 1
Would remove layers: 1
Would remove objects: \d+
Would free: \d\.\d~kB
Would remove: oci:DIR/image:latest \(objects: \d+, \d\.\d~kB\)
\$ image prune-images --sysroot DIR/sysroot --full --keep oci:DIR/image:latest
No content was pruned.
\$ image prune-images --sysroot DIR/sysroot --full --keep oci:DIR/image:v7
2> error: No such image: oci:DIR/image:v7, which was to be kept
\? 1
$`, i.transcript(t,
		"image prune-images --sysroot DIR/sysroot -n",
		"image prune-images --sysroot DIR/sysroot -n --and-layers",
		"image prune-images --sysroot DIR/sysroot -n --full",
		"image prune-images --sysroot DIR/sysroot --full --keep oci:DIR/image:latest",
		"image prune-images --sysroot DIR/sysroot --full --keep oci:DIR/image:v7",
	))
	assert.Regexp(t, `^\$ image prune-images --sysroot DIR/sysroot --full
Removed images: 1
Removed layers: 1
Removed objects: \d+
Freed: \d\.\d~kB
\$ image list --repo DIR/sysroot/ostree/repo
docker://example.com/os
\$ image prune-images --sysroot DIR/sysroot --format json
{
  "images": \[\],
  "imagesRemoved": 0
}
\$ image prune-images --sysroot DIR/sysroot --full --format json
{
  "images": \[\],
  "imagesRemoved": 0,
  "layersRemoved": 0,
  "objectsRemoved": 0,
  "bytesFreed": 0,
  "freed": \[\]
}
$`, i.transcript(t,
		"image prune-images --sysroot DIR/sysroot --full",
		"image list --repo DIR/sysroot/ostree/repo",
		"image prune-images --sysroot DIR/sysroot --format json",
		"image prune-images --sysroot DIR/sysroot --full --format json",
	))
	fsck(t, sysroot+"/ostree/repo")
}

// What pull --keep-blobs kept goes with the layers and is part of what is freed.
func TestPruneImagesWithKeptBlobs(t *testing.T) {
	i := makeImages(t)
	sysroot := i.sysroot(t)
	size := func() (n int64) {
		for _, dir := range []string{"objects", "extensions/ostree-container/kept/blobs"} {
			require.NoError(t, filepath.Walk(filepath.Join(sysroot, "ostree/repo", dir), func(_ string, st os.FileInfo, err error) error {
				if err == nil && !st.IsDir() {
					n += st.Size()
				}
				return err
			}))
		}
		return n
	}
	pull := func() {
		r := run(t, "", "image", "pull", "-q", "--keep-blobs", sysroot+"/ostree/repo", "ostree-unverified-image:oci:"+i.layout()+":v1")
		require.Zero(t, r.status, r.err)
	}
	pull()
	before := size()
	r := run(t, "", "image", "prune-images", "--sysroot", sysroot, "--full")
	assert.Equal(t, result{out: r.out}, r)
	assert.Contains(t, r.out, "Freed: "+formatSize(uint64(before-size()))+"\nRemoved kept blobs: 5 (")
	pull()
	before = size()
	r = run(t, "", "image", "prune-images", "--sysroot", sysroot, "--full", "--format=json")
	assert.Contains(t, r.out, fmt.Sprintf(`"bytesFreed": %d,`, before-size()))
	assert.Contains(t, r.out, `"keptBlobsRemoved": 5,`)
	pull()
	r = run(t, "", "image", "prune-images", "--sysroot", sysroot, "--and-layers")
	assert.True(t, strings.HasSuffix(r.out, "\nRemoved layers: 3\n"), r.out)
	left, err := filepath.Glob(sysroot + "/ostree/repo/extensions/ostree-container/kept/blobs/sha256/*")
	require.NoError(t, err)
	assert.Empty(t, left)
}

func (i *images) read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(i.dir, path))
	require.NoError(t, err)
	return string(data)
}

// bootEntry returns the boot entry of the deployment that boots next.
func (i *images) bootEntry(t *testing.T) string {
	t.Helper()
	entries, err := filepath.Glob(filepath.Join(i.dir, "sysroot/boot/loader/entries/*.conf"))
	require.NoError(t, err)
	require.NotEmpty(t, entries)
	data, err := os.ReadFile(entries[len(entries)-1])
	require.NoError(t, err)
	return string(data)
}

func TestDeployJSON(t *testing.T) {
	i := makeImages(t)
	sysroot := i.sysroot(t)
	ref := "ostree-unverified-image:oci:" + i.layout() + ":v1"
	r := run(t, "", "image", "deploy", "--sysroot", sysroot, "--imgref", ref, "--no-imgref", "--format", "json")
	require.Equal(t, 0, r.status, r.err)
	require.Empty(t, r.err)
	lines := strings.Split(strings.TrimSuffix(r.out, "\n"), "\n")
	assert.True(t, strings.HasPrefix(r.out, startText+"\n"))
	assert.Contains(t, r.out, `"task":"staging"`)
	var last deployResult
	require.NoError(t, json.Unmarshal([]byte(lines[len(lines)-1]), &last))
	assert.Equal(t, deployResult{
		Type: "Result", Image: ref, Commit: last.Commit, ManifestDigest: last.ManifestDigest, Version: "1", Stateroot: "default",
	}, last)
	assert.DirExists(t, sysroot+"/ostree/deploy/default/deploy/"+last.Commit+".0/usr")
	assert.Empty(t, run(t, "", "image", "list", "--repo", sysroot+"/ostree/repo").out)
}

func TestB13_DeploySaysWhatItIgnores(t *testing.T) {
	i := makeImages(t)
	sysroot := i.sysroot(t)
	deploy := func(args ...string) string {
		r := run(t, "", append([]string{"image", "deploy", "-q", "--sysroot", sysroot}, args...)...)
		assert.Empty(t, r.out)
		return r.err
	}
	assert.Equal(t, "warning: --ostree-remote is ignored without --enforce-container-sigpolicy: nothing is verified\n",
		deploy("--transport=oci", "--image="+i.layout()+":v1", "--ostree-remote=x"))
	assert.Equal(t, `warning: --transport is ignored: with --imgref the image itself says it
warning: --enforce-container-sigpolicy is ignored: with --imgref the image itself says it
warning: --ostree-remote is ignored: with --imgref the image itself says it
`, deploy("--transport=oci", "--imgref=ostree-unverified-image:oci:"+i.layout()+":v1", "--ostree-remote=x", "--enforce-container-sigpolicy"))
}

func TestDeployImageReference(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		args string
		want string
	}{
		"registry":   {"--image=example.com/os", "ostree-unverified-registry:example.com/os"},
		"transport":  {"--image=/srv/x:y --transport=oci-archive", "ostree-unverified-image:oci-archive:/srv/x:y"},
		"deprecated": {"--image=example.com/os --no-signature-verification", "ostree-unverified-registry:example.com/os"},
		"policy":     {"--image=example.com/os --enforce-container-sigpolicy", "ostree-image-signed:docker://example.com/os"},
		"remote": {
			"--image=example.com/os --enforce-container-sigpolicy --ostree-remote=fedora", "ostree-remote-image:fedora:docker://example.com/os",
		},
		"remote without enforcement": {"--image=example.com/os --ostree-remote=fedora", "ostree-unverified-registry:example.com/os"},
		"imgref":                     {"--imgref=ostree-image-signed:oci:/x --ostree-remote=fedora", "ostree-image-signed:oci:/x"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := &deployFlags{}
			cmd := &cobra.Command{}
			f.add(cmd)
			require.NoError(t, cmd.ParseFlags(strings.Fields(tc.args)))
			ref, target, err := f.parse(cmd)
			require.NoError(t, err)
			assert.Nil(t, target)
			assert.Equal(t, tc.want, ref.String())
		})
	}
}

func TestDeployFailures(t *testing.T) {
	i := makeImages(t)
	i.sysroot(t)
	assert.Equal(t, `$ image deploy --sysroot DIR/sysroot --stateroot other --imgref ostree-unverified-image:oci:DIR/image:v1
2> error: Performing deployment: no such stateroot: "other" in sysroot DIR/sysroot; make it with: ostree admin os-init --sysroot=DIR/sysroot other
? 1
$ image deploy --sysroot DIR/sysroot --imgref ostree-unverified-image:oci:DIR/image:v3
2> error: Performing deployment: Preparing import: Fetching manifest: open image oci:DIR/image:v3: no descriptor found for reference "v3"
? 1
$ image list --repo DIR/sysroot/ostree/repo
`, i.transcript(t,
		"image deploy --sysroot DIR/sysroot --stateroot other --imgref ostree-unverified-image:oci:DIR/image:v1",
		"image deploy --sysroot DIR/sysroot --imgref ostree-unverified-image:oci:DIR/image:v3",
		"image list --repo DIR/sysroot/ostree/repo",
	))
}
