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

func TestDeploymentSetBootEntry(t *testing.T) {
	t.Parallel()
	s, v1, _ := newSysroot(t)
	d := deploy(t, s, v1, []string{"quiet"})
	ctx := t.Context()
	b := d.BootEntry()
	require.NotNil(t, b)
	assert.Contains(t, b.Get("options"), "quiet")
	require.NoError(t, b.Set("options", "root=LABEL=new rw"))
	changed := d.Clone()
	require.NoError(t, changed.SetBootEntry(b))
	require.NoError(t, b.Set("options", "later"), "it was copied")
	require.NoError(t, s.WriteDeployments(ctx, []*ostree.Deployment{changed}, nil))
	require.NoError(t, s.Load(ctx))
	got := s.Deployments()
	require.Len(t, got, 1)
	assert.True(t, got[0].KernelArgs().Contains("root=LABEL=new"))
	assert.False(t, got[0].KernelArgs().Contains("quiet"))
	entries, err := filepath.Glob(filepath.Join(s.Path(), "boot/loader/entries/*.conf"))
	require.NoError(t, err)
	require.Len(t, entries, 1)
	text, err := os.ReadFile(entries[0])
	require.NoError(t, err)
	assert.Contains(t, string(text), "options root=LABEL=new rw ostree=/ostree/boot.")

	assert.Equal(t, d.Hash(), got[0].Hash())
	require.ErrorIs(t, d.SetBootEntry(nil), ostree.ErrClosed)
	require.ErrorIs(t, (*ostree.Deployment)(nil).SetBootEntry(b), ostree.ErrInvalidArgument)
	bare, err := s.NewDeployment(ostree.DeploymentName{Stateroot: "x", Checksum: v1, BootSerial: -1, Index: -1})
	require.NoError(t, err)
	assert.Nil(t, bare.BootEntry())
	assert.NotEqual(t, d.Hash(), bare.Hash())
}
