package container

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"
	"unique"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	ti "github.com/ostree-container/ostree-container/container/internal/testimage"
	"github.com/ostree-container/ostree-container/ostree"
)

// newPathLabels has a policy for regular files and directories below /usr, and for the root.
func newPathLabels(t *testing.T) *pathLabels {
	t.Helper()
	root := t.TempDir()
	for name, content := range map[string]string{
		"config":               "SELINUX=enforcing\nSELINUXTYPE=test\n",
		"test/policy/policy.1": "policy",
		"test/contexts/files/file_contexts": "/\t-d\tsystem_u:object_r:root_t:s0\n/usr/.*\t--\tsystem_u:object_r:file_t:s0\n/usr/.*\t-d\tsystem_u:object_r:dir_t:s0\n" +
			"/usr/none\t<<none>>\n",
	} {
		path := filepath.Join(root, "usr/etc/selinux", name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	}
	policy, err := ostree.NewSePolicy(t.Context(), root)
	require.NoError(t, err)
	if policy.Name() == "" {
		ti.Missing(t, "libostree with SELinux")
	}
	t.Cleanup(func() { assert.NoError(t, policy.Close()) })
	return &pathLabels{policy: policy, known: map[pathKey]unique.Handle[string]{}}
}

// What a layer's import asked for is not asked for again: a closed policy answers nothing. Modes of one type share a label, types do not.
func TestPathLabelsAskOnce(t *testing.T) {
	t.Parallel()
	ctx, p := t.Context(), newPathLabels(t)
	asked := []struct {
		path string
		mode uint32
		want string
	}{
		{"/", 0o40755, "system_u:object_r:root_t:s0"},
		{"/usr/a", 0o100644, "system_u:object_r:file_t:s0"},
		{"/usr/a", 0o40755, "system_u:object_r:dir_t:s0"},
		{"/usr/none", 0o100644, ""},
		{"/usr/a", 0o120777, ""},
	}
	for _, c := range asked {
		got, err := p.again(ctx, c.path, c.mode)
		require.NoError(t, err)
		assert.Equal(t, c.want, got, "%s %o, not asked before", c.path, c.mode)
	}
	assert.Empty(t, p.known, "again is the last question")
	for _, c := range asked {
		got, err := p.Label(ctx, c.path, c.mode)
		require.NoError(t, err)
		assert.Equal(t, c.want, got, "%s %o", c.path, c.mode)
	}
	require.NoError(t, p.policy.Close())
	for _, c := range asked {
		for _, mode := range []uint32{c.mode, c.mode &^ 0o777, c.mode | 0o7000} {
			got, err := p.again(ctx, c.path, mode)
			require.NoError(t, err)
			assert.Equal(t, c.want, got, "%s %o", c.path, mode)
		}
	}
	for _, path := range []string{"/usr/b", "/usr/a/", "/usr"} {
		_, err := p.again(ctx, path, 0o100644)
		require.ErrorIs(t, err, ostree.ErrClosed, path)
	}
	_, err := p.Label(ctx, "/usr/b", 0o100644)
	require.ErrorIs(t, err, ostree.ErrClosed)
	assert.Len(t, p.known, len(asked), "errors are not remembered")
}

// The memory is bounded; what does not fit is asked for.
func TestPathLabelsAreBounded(t *testing.T) {
	t.Parallel()
	ctx, p := t.Context(), newPathLabels(t)
	for n := range uint64(maxPathLabels) {
		var key pathKey
		binary.LittleEndian.PutUint64(key[:], n)
		p.known[key] = unique.Handle[string]{}
	}
	for range 2 {
		got, err := p.Label(ctx, "/usr/a", 0o100644)
		require.NoError(t, err)
		assert.Equal(t, "system_u:object_r:file_t:s0", got)
	}
	assert.Len(t, p.known, maxPathLabels)
	got, err := p.again(ctx, "/usr/a", 0o100644)
	require.NoError(t, err)
	assert.Equal(t, "system_u:object_r:file_t:s0", got)
}
