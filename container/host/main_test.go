package host_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/container"
	"github.com/ostree-container/ostree-container/container/imageref"
	ti "github.com/ostree-container/ostree-container/container/internal/testimage"
	"github.com/ostree-container/ostree-container/container/registry"
	"github.com/ostree-container/ostree-container/ostree"
)

// osImage is a system that libostree can deploy.
func osImage(version string) ti.Image {
	modules := "usr/lib/modules/6.1.0-" + version
	return ti.Image{Bootable: true, Labels: map[string]string{"org.opencontainers.image.version": version}, Layers: []ti.Layer{{Members: []ti.Member{
		ti.Dir("boot", 0o755), ti.Dir("sysroot", 0o755), ti.Dir("var", 0o755), ti.Symlink("ostree", "sysroot/ostree"),
		ti.Dir("usr", 0o755), ti.Dir("usr/lib", 0o755), ti.Dir("etc", 0o755), ti.File("etc/x", 0o644, "x\n"),
		ti.File("usr/lib/os-release", 0o644, "ID=test\nNAME=Test\nVERSION_ID="+version+"\n"),
		ti.Dir("usr/lib/modules", 0o755), ti.Dir(modules, 0o755),
		ti.File(modules+"/vmlinuz", 0o755, "kernel "+version), ti.File(modules+"/initramfs.img", 0o644, "initramfs "+version),
	}}}}
}

// system is a sysroot that is not booted, and a directory for images.
type system struct {
	*ostree.Sysroot
	t      testing.TB
	dir    string // of the sysroot
	images string
	policy string
}

func newSystem(t testing.TB) *system {
	t.Helper()
	ti.NeedRoot(t)
	ti.NeedTool(t, "ostree")
	s := &system{t: t, dir: filepath.Join(t.TempDir(), "sysroot"), images: t.TempDir()}
	require.NoError(t, os.Mkdir(s.dir, 0o755))
	ti.Run(t, "ostree", "admin", "init-fs", "--modern", s.dir)
	ti.Run(t, "ostree", "config", "--repo="+s.dir+"/ostree/repo", "set", "sysroot.bootloader", "none")
	ti.Run(t, "ostree", "admin", "os-init", "--sysroot="+s.dir, "os")
	s.policy = filepath.Join(s.images, "policy.json")
	require.NoError(t, os.WriteFile(s.policy, []byte(`{"default":[{"type":"insecureAcceptAnything"}]}`), 0o600))
	var err error
	s.Sysroot, err = ostree.NewSysroot(s.dir)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, s.Close()) })
	require.NoError(t, s.Load(t.Context()))
	return s
}

// write writes an image under a tag.
func (s *system) write(version, tag string) imageref.OSTreeImageReference {
	s.t.Helper()
	ref, err := imageref.ParseOSTree("ostree-unverified-image:" + osImage(version).Write(s.t, filepath.Join(s.images, "image"), tag).Ref)
	require.NoError(s.t, err)
	return ref
}

func (s *system) options() container.PullOptions {
	return container.PullOptions{Registry: &registry.Options{PolicyPath: s.policy}}
}

func (s *system) deploy(ref imageref.OSTreeImageReference) *container.LayeredImageState {
	s.t.Helper()
	opts := container.DeployOptions{PullOptions: s.options()}
	state, err := container.Deploy(s.t.Context(), s.Sysroot, "os", ref, &opts)
	require.NoError(s.t, err)
	return state
}

func TestMain(m *testing.M) {
	// Without this the deployments cannot be removed after the tests.
	if err := os.Setenv("OSTREE_SYSROOT_DEBUG", "mutable-deployments,no-xattrs"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}
