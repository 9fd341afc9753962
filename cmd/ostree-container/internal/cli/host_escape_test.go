package cli

import (
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What an origin or an image says is not obeyed by a terminal.
func TestHostEscapes(t *testing.T) {
	i := makeImages(t)
	const evil = "\x1b[31m\u009b2J\u202etxt"
	dir := i.dir + "/a" + evil
	require.NoError(t, os.Symlink(i.layout(), dir))
	sysroot := i.sysroot(t)
	i.retag(t, "latest", "v1")
	ref := "ostree-unverified-image:oci:" + dir + ":latest"
	r := run(t, "", "image", "deploy", "-q", "--sysroot", sysroot, "--stateroot=demo", "--imgref="+ref)
	require.Zero(t, r.status, r.err)
	const shown = `/a\x1b[31m\x9b2J\u202etxt:`
	check := func(want string, args ...string) {
		t.Helper()
		r := run(t, "", append([]string{"host"}, append(args, "--sysroot", sysroot)...)...)
		assert.Zero(t, r.status, r.err)
		assert.Contains(t, r.out, want, args)
		for _, text := range []string{r.out, r.err} {
			assert.NotContains(t, text, "\x1b", args)
			assert.NotContains(t, text, "\u009b", args)
			assert.NotContains(t, text, "\u202e", args)
		}
	}
	check(shown, "status")
	check(shown, "status", "-v")
	check(`/a\u001b[31m\u009b2J\u202etxt:`, "status", "--format=json")
	check(`x9B2J\u202etxt`, "status", "--format=yaml")
	check(shown, "upgrade", "--check")
	check(shown, "upgrade")
	i.retag(t, "latest", "v2")
	check("Update available for: ostree-unverified-image:oci:"+i.dir+shown, "upgrade", "--check")
	check(`\u009b2J`, "upgrade", "--check", "--format=json")
	check("Deployed: ostree-unverified-image:oci:"+i.dir+shown, "upgrade")
	check(shown, "rollback")
	check(shown, "set-default", "1")
	check(`\u009b2J`, "upgrade", "--format=json")
	check(shown, "undeploy", "1")
	r = run(t, "", "host", "upgrade", "--tag=none", "--sysroot", sysroot)
	assert.Equal(t, 1, r.status)
	assert.NotContains(t, r.err, "\x1b")
	assert.NotContains(t, r.err, "\u009b")
	r = run(t, "", "image", "pull", "--check", i.dir+"/manifest", sysroot+"/ostree/repo", "ostree-unverified-image:oci:"+dir+":v1")
	assert.Zero(t, r.status, r.err)
	assert.Contains(t, r.out, shown)
	assert.NotContains(t, r.out, "\u009b")
	name := "oci:" + dir + ":v1"
	repo := sysroot + "/ostree/repo"
	for _, args := range [][]string{
		{"image", "pull", "-q", repo, "ostree-unverified-image:" + name}, {"image", "pull", "-q", repo, "ostree-unverified-image:" + name},
		{"image", "list", "--repo", repo}, {"info", "ostree-unverified-image:" + name}, {"image", "inspect", "--repo", repo, "ostree-unverified-image:" + name},
		{"image", "prune-images", "--sysroot", sysroot, "--dry-run"}, {"image", "prune-images", "--sysroot", sysroot},
	} {
		r = run(t, "", args...)
		assert.Zero(t, r.status, "%v: %s", args, r.err)
		assert.Contains(t, r.out+r.err, `/a\x1b[31m\x9b2J\u202etxt:`, args)
		assert.NotRegexp(t, "\x1b|\u009b|\u202e", r.out+r.err, args)
	}
}
