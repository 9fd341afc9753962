package ostree_test

import (
	"os"
	"slices"
	"strings"
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
	quoted := ostree.ParseKernelArgs(`a  b="x y"`).Strings()
	open := ostree.ParseKernelArgs(`a b="x y`)
	require.NoError(t, open.Append(`c="`))
	require.NoError(t, open.ParseAppend(`d "e`))
	if ostree.AtLeast(2024, 5) {
		want := []string{"a", "", `b="x y"`}
		if ostree.AtLeast(2026, 2) {
			want = []string{"a", `b="x y"`}
		}
		assert.Equal(t, want, quoted)
		assert.Equal(t, "a", open.Strings()[0])
		assert.Len(t, open.Strings(), 5)
	} else {
		assert.Equal(t, []string{"a", "", `b="x`, `y"`}, quoted)
		assert.Equal(t, []string{"a", `b="x`, "y", `c="`, "d", `"e`}, open.Strings())
	}
	assert.Empty(t, ostree.NewKernelArgs().String())
	assert.Empty(t, ostree.NewKernelArgs().Strings())
}

func TestKernelArgsLists(t *testing.T) {
	t.Parallel()
	k := ostree.ParseKernelArgs("a=1")
	require.NoError(t, k.AppendArgv([]string{"b", "a=2"}))
	require.NoError(t, k.AppendArgvFiltered([]string{"c=1", "BOOT_IMAGE=/x", "initrd=y", "d"}, []string{"BOOT_IMAGE=", "init"}))
	require.NoError(t, k.ParseAppend("e f=1"))
	assert.Equal(t, "a=1 a=2 b c=1 d e f=1", sorted(k))
	require.NoError(t, k.ReplaceArgv([]string{"a=3", "g", "f=2"}))
	assert.Equal(t, "a=3 b c=1 d e f=2 g", sorted(k))
	require.NoError(t, k.AppendArgv(nil))
	require.NoError(t, k.ReplaceArgv(nil))
	for _, bad := range []string{"", "a\x00b"} {
		require.ErrorIs(t, k.AppendArgv([]string{"x", bad}), ostree.ErrInvalidArgument)
		require.ErrorIs(t, k.AppendArgvFiltered([]string{"x"}, []string{bad}), ostree.ErrInvalidArgument)
		require.ErrorIs(t, k.ReplaceArgv([]string{bad}), ostree.ErrInvalidArgument)
	}
	require.ErrorIs(t, k.ParseAppend("a\x00"), ostree.ErrInvalidArgument)
	assert.Equal(t, "a=3 b c=1 d e f=2 g", sorted(k))

	running := ostree.NewKernelArgs()
	require.NoError(t, running.AppendProcCmdline(t.Context()))
	b, err := os.ReadFile("/proc/cmdline")
	require.NoError(t, err)
	for _, arg := range running.Strings() {
		assert.Contains(t, string(b), arg)
		assert.False(t, strings.HasPrefix(arg, "BOOT_IMAGE=") || strings.HasPrefix(arg, "initrd="), arg)
	}
}

func sorted(k *ostree.KernelArgs) string {
	list := k.Strings()
	slices.Sort(list)
	return strings.Join(list, " ")
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
		_ = k.ParseAppend(arg)
		_ = k.AppendArgvFiltered([]string{arg, "x"}, []string{line})
		_ = k.ReplaceArgv([]string{arg, line})
		_ = k.Strings()
		_ = k.String()
	})
}
