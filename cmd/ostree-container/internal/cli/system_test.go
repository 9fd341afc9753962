package cli

import (
	"errors"
	"os"
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

func TestWriteFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := dir + "/file"
	require.NoError(t, writeFile(path, []byte("one")))
	require.NoError(t, writeFile(path, []byte("2")))
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Equal(t, "2", string(data))
	st, err := os.Stat(path)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o644), st.Mode())
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Len(t, entries, 1, "nothing is left behind")

	require.NoError(t, writeFile("/dev/null", []byte("x")))
	st, err = os.Stat("/dev/null")
	require.NoError(t, err)
	assert.NotZero(t, st.Mode()&os.ModeCharDevice, "a device stays one")

	assert.EqualError(t, writeFile(dir+"/no/file", nil), "create "+dir+"/no/file: no such file or directory")
	assert.EqualError(t, checkDir("--check", dir+"/no/file"), "--check: stat "+dir+"/no: no such file or directory")
	require.NoError(t, checkDir("--check", ""))
	require.NoError(t, checkDir("--check", "file"))
}
