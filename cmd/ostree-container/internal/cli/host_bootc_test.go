package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Kernel arguments that an image asks for are applied and said, bound images only said; an image that was rolled back from is deployed
// again with a note.
func TestHostUpgradeTells(t *testing.T) {
	i := makeImages(t)
	sysroot := i.sysroot(t)
	bootc := i.dir + "/bootc/usr/lib/bootc"
	require.NoError(t, os.MkdirAll(bootc+"/kargs.d", 0o755))
	require.NoError(t, os.MkdirAll(bootc+"/bound-images.d", 0o755))
	require.NoError(t, os.WriteFile(bootc+"/kargs.d/10-a.toml", []byte("kargs = ['quiet', 'x=\"a b\"']\n"), 0o644))
	require.NoError(t, os.WriteFile(bootc+"/bound-images.d/app.image", []byte("[Image]\n"), 0o644))
	root, err := filepath.Abs("../../../..")
	require.NoError(t, err)
	data := filepath.Join(root, "testdata/demo/image")
	tool(t, filepath.Join(root, "testdata/oci-image"), i.layout(), "v3", "3", data+"/base", data+"/app", data+"/v1", i.dir+"/bootc")
	i.retag(t, "latest", "v1")
	r := run(t, "", "image", "deploy", "-q", "--sysroot", sysroot, "--stateroot=demo", "--imgref=ostree-unverified-image:oci:"+i.layout()+":latest", "--karg=rw")
	require.Zero(t, r.status, r.err)

	const bound = "warning: images that are bound to this one are not pulled, as bootc would: 1, the first is named by usr/lib/bootc/bound-images.d/app.image\n"
	const note = `note: this image was deployed before: demo [0-9a-f]{64}\.0 \(\S+\); if it was rolled back from, host switch to another tag or digest stays away from it\n$`
	i.retag(t, "latest", "v3")
	r = run(t, "", "host", "upgrade", "-q", "--sysroot", sysroot)
	require.Zero(t, r.status, r.err)
	assert.Contains(t, r.out, "\n  Kernel arguments added: quiet x=\"a b\"\nTotal new layers")
	assert.Equal(t, bound, r.err)
	assert.Regexp(t, `(?m)^options rw ostree=\S+ quiet x="a b"$`, i.bootEntry(t))
	r = run(t, "", "host", "upgrade", "-q", "--sysroot", sysroot)
	assert.Zero(t, r.status)
	assert.Empty(t, r.err, "nothing is done")

	rollback := func() {
		t.Helper()
		r := run(t, "", "host", "rollback", "--sysroot", sysroot)
		require.Zero(t, r.status, r.err)
		assert.Regexp(t, `(?m)^options rw ostree=\S+$`, i.bootEntry(t))
	}
	rollback()
	r = run(t, "", "host", "upgrade", "-q", "--sysroot", sysroot)
	require.Zero(t, r.status, r.err)
	assert.Regexp(t, "^"+regexp.QuoteMeta(bound)+note, r.err)
	status := tool(t, "ostree", "admin", "status", "--sysroot="+sysroot)
	assert.NotContains(t, status, regexp.MustCompile(`[0-9a-f]{64}\.0`).FindString(r.err), "on a sysroot that is not booted it is gone by now")
	assert.Contains(t, r.out, "Deployed: ")
	assert.Regexp(t, `(?m)^options rw ostree=\S+ quiet x="a b"$`, i.bootEntry(t))

	rollback()
	r = run(t, "", "host", "upgrade", "-q", "--tag=v3", "--format=json", "--sysroot", sysroot)
	require.Zero(t, r.status, r.err)
	assert.Equal(t, bound, r.err, "it was asked for by name")
	lines := strings.Split(strings.TrimSpace(r.out), "\n")
	var result map[string]any
	require.NoError(t, json.Unmarshal([]byte(lines[len(lines)-1]), &result))
	assert.Equal(t, []any{"quiet", `x="a b"`}, result["kargsAdded"])
	assert.Equal(t, []any{"usr/lib/bootc/bound-images.d/app.image"}, result["boundImages"])
	r = run(t, "", "host", "switch", "-q", "--sysroot", sysroot, "ostree-unverified-image:oci:"+i.layout()+":v2")
	require.Zero(t, r.status, r.err)
	assert.Empty(t, r.err)
	assert.Contains(t, r.out, "\n  Kernel arguments removed: quiet x=\"a b\"\n")
	assert.Equal(t, "2", i.versions(t)[0])
	fsck(t, sysroot+"/ostree/repo")
}

// The first deployment of a stateroot gets the kernel arguments of the running system, as any other: without them it finds no root.
func TestHostSwitchInANewStateroot(t *testing.T) {
	i := makeImages(t)
	sysroot := i.sysroot(t)
	tool(t, "ostree", "admin", "os-init", "--sysroot="+sysroot, "other")
	r := run(t, "", "image", "deploy", "-q", "--sysroot", sysroot, "--stateroot=demo", "--imgref=ostree-unverified-image:oci:"+i.layout()+":v1", "--karg=root=LABEL=root", "--karg=rw")
	require.Zero(t, r.status, r.err)
	got := i.booted(t, sysroot, `
ostree-container host switch -q --stateroot other $IMAGE:v2 >/run/out
ostree admin finalize-staged >&2
ostree admin status | grep -cE '^[* ] (demo|other) '
sed -n 's/^options //p' /boot/loader/entries/*.conf | sed 's/ *ostree=[^ ]*//'
`)
	assert.Equal(t, "2\nroot=LABEL=root rw\nroot=LABEL=root rw\n", got)
	fsck(t, sysroot+"/ostree/repo")
}
