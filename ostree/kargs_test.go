package ostree_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/ostree"
)

func TestKernelArgs(t *testing.T) {
	t.Parallel()
	k := ostree.ParseKernelArgs("root=UUID=x quiet console=tty0 console=ttyS0,115200")
	assert.Equal(t, []string{"root=UUID=x", "quiet", "console=tty0", "console=ttyS0,115200"}, k.Strings())
	assert.True(t, k.Contains("quiet"))
	assert.True(t, k.Contains("console=other"), "by key")
	assert.False(t, k.Contains("none"))
	v, ok := k.LastValue("console")
	assert.True(t, ok)
	assert.Equal(t, "ttyS0,115200", v)
	for _, key := range []string{"none", "quiet"} {
		_, ok = k.LastValue(key)
		assert.False(t, ok, key)
	}
	require.NoError(t, k.Append("a=b c"))
	require.NoError(t, k.AppendIfMissing("quiet"))
	require.NoError(t, k.AppendIfMissing("rw"))
	require.NoError(t, k.Delete("console=tty0"))
	require.Error(t, k.Delete("console=tty0"))
	require.Error(t, k.Delete("none"))
	require.NoError(t, k.DeleteIfPresent("none"))
	require.NoError(t, k.DeleteIfPresent("quiet"))
	require.NoError(t, k.NewReplace("console=hvc1"))
	require.NoError(t, k.NewReplace("console=hvc1=hvc2"))
	require.Error(t, k.NewReplace("console=hvc1=hvc2"))
	require.NoError(t, k.Replace("root=LABEL=y"))
	require.Error(t, k.NewReplace("none=1"))
	require.NoError(t, k.Replace("console=hvc0"))
	require.NoError(t, k.Replace("fresh=1"))
	require.NoError(t, k.DeleteKey("rw"))
	require.Error(t, k.DeleteKey("rw"))
	for _, bad := range []string{"", "a\x00b"} {
		require.ErrorIs(t, k.Append(bad), ostree.ErrInvalidArgument)
		require.ErrorIs(t, k.Delete(bad), ostree.ErrInvalidArgument)
	}
	assert.Equal(t, "root=LABEL=y console=hvc0 a=b c fresh=1", k.String())
	assert.Equal(t, []string{"a", "", "b"}, ostree.ParseKernelArgs("a  b").Strings())
	assert.Empty(t, ostree.NewKernelArgs().String())
	assert.Empty(t, ostree.NewKernelArgs().Strings())
}

// Odd input must not reach an assertion in C.
func FuzzKernelArgs(f *testing.F) {
	for _, s := range []string{"", "=", "a", "a=", "=a", "a==b", "a=b=c", " ", "\"a b\"=c", "a=\"x y\" b"} {
		f.Add("k=v k=w x", s)
		f.Add(s, "a=b")
	}
	f.Fuzz(func(t *testing.T, line, arg string) {
		k := ostree.ParseKernelArgs(line)
		_ = k.Append(arg)
		_, _ = k.LastValue(arg)
		_ = k.Contains(arg)
		_ = k.AppendIfMissing(arg)
		_ = k.NewReplace(arg)
		_ = k.Replace(arg)
		_ = k.Delete(arg)
		_ = k.DeleteIfPresent(arg)
		_ = k.DeleteKey(arg)
		_ = k.Strings()
		_ = k.String()
	})
}
