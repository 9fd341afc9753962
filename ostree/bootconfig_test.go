package ostree_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/ostree"
)

func TestBootConfig(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	dir := t.TempDir()
	d, err := os.Open(dir)
	require.NoError(t, err)
	defer d.Close()
	b := ostree.NewBootConfig()
	assert.Empty(t, b.Get("title"))
	require.NoError(t, b.Set("title", "Test 1"))
	require.NoError(t, b.Set("linux", "/vmlinuz"))
	require.NoError(t, b.Set("options", "root=LABEL=x quiet"))
	require.ErrorIs(t, b.SetOverlayInitrds([]string{"/over1.img"}), ostree.ErrInvalidArgument, "no initrd")
	require.NoError(t, b.Set("initrd", "/initramfs.img"))
	require.NoError(t, b.SetOverlayInitrds([]string{"/over1.img", "/over2.img"}))
	for _, kv := range [][2]string{{"", "x"}, {"1a", "x"}, {"a b", "x"}, {"a", "x\ny"}, {"a", "\x00"}} {
		require.ErrorIs(t, b.Set(kv[0], kv[1]), ostree.ErrInvalidArgument, kv)
	}
	require.ErrorIs(t, b.SetOverlayInitrds([]string{"a\nb"}), ostree.ErrInvalidArgument)
	require.NoError(t, b.Write(ctx, filepath.Join(dir, "a.conf")))
	c := b.Clone()
	require.NoError(t, b.Set("title", "changed"))
	assert.Equal(t, "Test 1", c.Get("title"))
	require.NoError(t, c.WriteAt(ctx, int(d.Fd()), "b.conf"))
	const want = "title Test 1\noptions root=LABEL=x quiet\nlinux /vmlinuz\ninitrd /initramfs.img\ninitrd /over1.img\ninitrd /over2.img\n"
	for _, name := range []string{"a.conf", "b.conf"} {
		got, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		assert.Equal(t, want, string(got))
	}
	p, err := ostree.ReadBootConfig(ctx, filepath.Join(dir, "a.conf"))
	require.NoError(t, err)
	q, err := ostree.ReadBootConfigAt(ctx, int(d.Fd()), "b.conf")
	require.NoError(t, err)
	for _, r := range []*ostree.BootConfig{p, q} {
		assert.Equal(t, "/initramfs.img", r.Get("initrd"))
		assert.Equal(t, []string{"/over1.img", "/over2.img"}, r.OverlayInitrds())
	}
	require.NoError(t, p.SetOverlayInitrds(nil))
	assert.Empty(t, p.OverlayInitrds())
	_, err = ostree.ReadBootConfig(ctx, filepath.Join(dir, "none"))
	require.ErrorIs(t, err, ostree.ErrNotFound)
	_, err = ostree.ReadBootConfigAt(ctx, ostree.AtCWD, filepath.Join(dir, "none"))
	require.ErrorIs(t, err, ostree.ErrNotFound)
	var none *ostree.BootConfig
	require.ErrorIs(t, none.Set("a", "b"), ostree.ErrClosed)
	assert.Nil(t, none.Clone())
}
