package cli

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/ostree"
)

// notBooted skips on hosts where the functions would do their work on the host itself.
func notBooted(t *testing.T) {
	t.Helper()
	if _, err := os.Stat("/run/ostree-booted"); err == nil {
		t.Skip("needs a host that was not booted by ostree")
	}
}

func TestOnlyTheSystemRepositoryIsRemounted(t *testing.T) {
	notBooted(t)
	i := &images{dir: t.TempDir()}
	repo := i.repo(t, "repo", "bare-user")
	a, _, _ := testApp()
	a.enterMountNamespace = func() error { return errors.New("not expected") }
	require.NoError(t, a.prepareRepo(t.Context(), repo))
	require.NoError(t, a.prepareRepo(t.Context(), i.dir+"/none"))
}

func TestSysrootIsOpenedInAMountNamespace(t *testing.T) {
	notBooted(t)
	i := &images{dir: t.TempDir()}
	sysroot := i.sysroot(t)
	a, _, _ := testApp()
	entered := 0
	a.enterMountNamespace = func() error { entered++; return nil }
	require.NoError(t, a.withSysroot(t.Context(), sysroot, func(s *ostree.Sysroot) error {
		assert.Empty(t, s.Deployments())
		assert.Nil(t, s.BootedDeployment())
		return nil
	}))
	assert.Equal(t, 1, entered)
	a.enterMountNamespace = func() error { return errors.New("unshare: not permitted") }
	assert.EqualError(t, a.withSysroot(t.Context(), sysroot, nil), "unshare: not permitted")
}

// What libostree says of these is "opendir(ostree/repo): No such file or directory" and "lock sysroot: Permission denied".
func TestNoSysroot(t *testing.T) {
	notBooted(t)
	i := &images{dir: t.TempDir()}
	sysroot, none := i.sysroot(t), t.TempDir()
	for _, args := range [][]string{
		{"host", "status"}, {"host", "upgrade"}, {"host", "rollback"}, {"image", "prune-images"}, {"provisional-repair", "repair", "--dry-run"},
		{"image", "deploy", "--imgref=ostree-unverified-registry:127.0.0.1:1/x"},
	} {
		r := run(t, "", append(args, "--sysroot="+none)...)
		assert.Equal(t, result{err: "error: loading sysroot: " + none + " is not an OSTree sysroot (no ostree/repo)\n", status: 1}, r, args)
	}
	a, _, _ := testApp()
	a.enterMountNamespace = func() error { return nil } // as in Main: the lock is taken first
	require.EqualError(t, a.withSysroot(t.Context(), none, nil), "loading sysroot: "+none+" is not an OSTree sysroot (no ostree/repo)")
	require.ErrorIs(t, a.withSysroot(t.Context(), none+"/x", nil), fs.ErrNotExist)

	needRoot(t)
	needTool(t, "setpriv")
	for dir := sysroot; dir != "/tmp" && dir != "/"; dir = filepath.Dir(dir) {
		require.NoError(t, os.Chmod(dir, 0o755))
	}
	self, err := os.ReadFile("/proc/self/exe") // where anybody may run it
	require.NoError(t, err)
	path := i.dir + "/program"
	require.NoError(t, os.WriteFile(path, self, 0o755))
	cmd := exec.Command("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", path, "image", "prune-images", "--sysroot="+sysroot)
	cmd.Env = append(os.Environ(), runMain+"=1")
	var errOut bytes.Buffer
	cmd.Stderr = &errOut
	require.Error(t, cmd.Run())
	assert.Equal(t, "error: loading sysroot: "+sysroot+" needs root: make "+sysroot+" writable: lock sysroot: Permission denied\n", errOut.String())
}

// The policy that is installed by default accepts anything, which is not good enough for an image that is to be signed.
func TestPolicyThatAcceptsAnything(t *testing.T) {
	i := makeImages(t)
	repo := i.repo(t, "repo", "bare-user")
	policy := i.dir + "/policy.json"
	require.NoError(t, os.WriteFile(policy, []byte(`{"default":[{"type":"insecureAcceptAnything"}]}`), 0o600))
	t.Setenv("CONTAINERS_POLICY_JSON", policy)
	r := run(t, "", "image", "pull", "-q", repo, "ostree-image-signed:oci:"+i.layout()+":v1")
	assert.Equal(t, 1, r.status)
	assert.True(t, strings.HasSuffix(r.err, policy+": containers-policy.json specifies a default of `insecureAcceptAnything`; refusing usage;"+
		" give the image's registry a rule that demands signatures there (containers-policy.json(5)), or, to check none, write ostree-unverified-registry:NAME or ostree-unverified-image:IMAGE\n"), r.err)
}

func TestWriteFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := dir + "/file"
	require.NoError(t, writeFile(t.Context(), path, []byte("one")))
	require.NoError(t, writeFile(t.Context(), path, []byte("2")))
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Equal(t, "2", string(data))
	st, err := os.Stat(path)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o644), st.Mode())
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Len(t, entries, 1, "nothing is left behind")

	require.NoError(t, writeFile(t.Context(), "/dev/null", []byte("x")))
	st, err = os.Stat("/dev/null")
	require.NoError(t, err)
	assert.NotZero(t, st.Mode()&os.ModeCharDevice, "a device stays one")

	assert.EqualError(t, writeFile(t.Context(), dir+"/no/file", nil), "create "+dir+"/no/file: no such file or directory")
	assert.EqualError(t, checkDir("--check", dir+"/no/file"), "--check: stat "+dir+"/no: no such file or directory")
	require.NoError(t, checkDir("--check", ""))
	require.NoError(t, checkDir("--check", "file"))
}
