package container_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/container"
	"github.com/ostree-container/ostree-container/container/internal/oracle"
	ti "github.com/ostree-container/ostree-container/container/internal/testimage"
	"github.com/ostree-container/ostree-container/container/registry"
	"github.com/ostree-container/ostree-container/ostree"
)

// osLayers is a system that libostree can deploy: kernel, initramfs, os-release, configuration.
func osLayers(version string) []ti.Layer {
	modules := "usr/lib/modules/6.1.0-" + version
	return []ti.Layer{
		{Compression: ti.GzipFast, Members: []ti.Member{
			ti.Dir("boot", 0o755), ti.Dir("sysroot", 0o755), ti.Dir("var", 0o755), ti.Dir("proc", 0o755), ti.Dir("dev", 0o755),
			ti.Dir("run", 0o755), ti.Dir("sys", 0o755), ti.Dir("tmp", 0o1777),
			ti.Symlink("bin", "usr/bin"), ti.Symlink("lib", "usr/lib"), ti.Symlink("lib64", "usr/lib64"), ti.Symlink("sbin", "usr/sbin"),
			ti.Symlink("ostree", "sysroot/ostree"),
			ti.Dir("usr", 0o755), ti.Dir("usr/bin", 0o755), ti.File("usr/bin/sh", 0o755, "#!sh\n"), ti.Dir("usr/lib", 0o755), ti.Dir("usr/lib64", 0o755),
			ti.Dir("usr/sbin", 0o755), ti.BigFile("usr/lib/shared", 0o644, 200_000, 7),
		}},
		{Compression: ti.GzipFast, Members: []ti.Member{
			ti.Dir("usr/lib", 0o755), ti.File("usr/lib/os-release", 0o644, "ID=test\nNAME=Test\nPRETTY_NAME=\"Test "+version+"\"\nVERSION_ID="+version+"\n"),
			ti.Dir("usr/lib/modules", 0o755), ti.Dir(modules, 0o755),
			ti.File(modules+"/vmlinuz", 0o755, "kernel "+version), ti.File(modules+"/initramfs.img", 0o644, "initramfs "+version),
			ti.Dir("etc", 0o755), ti.File("etc/changed", 0o644, "as delivered\n"), ti.File("etc/same", 0o644, "version "+version+"\n"),
			ti.File("etc/removed", 0o644, "x\n"), ti.Dir("etc/dir", 0o750), ti.File("etc/dir/file", 0o640, "f "+version+"\n").Owned(3, 4),
		}},
	}
}

func osImage(version string) ti.Image {
	return ti.Image{Layers: osLayers(version), Bootable: true, Labels: map[string]string{"org.opencontainers.image.version": version}}
}

// system is a sysroot as installers make it: not booted.
type system struct {
	*ostree.Sysroot
	t    testing.TB
	dir  string
	repo string
}

func newSystem(t testing.TB, stateroots ...string) *system {
	t.Helper()
	ti.NeedRoot(t)
	ti.NeedTool(t, "ostree")
	dir := filepath.Join(t.TempDir(), "sysroot")
	require.NoError(t, os.Mkdir(dir, 0o755))
	ti.Run(t, "ostree", "admin", "init-fs", "--modern", dir)
	for _, name := range stateroots {
		ti.Run(t, "ostree", "admin", "os-init", "--sysroot="+dir, name)
	}
	s := &system{t: t, dir: dir, repo: filepath.Join(dir, "ostree/repo")}
	s.Sysroot = openSysroot(t, dir)
	return s
}

func openSysroot(t testing.TB, dir string) *ostree.Sysroot {
	t.Helper()
	sysroot, err := ostree.NewSysroot(dir)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, sysroot.Close()) })
	require.NoError(t, sysroot.Load(t.Context()))
	return sysroot
}

// quickly trusts every image and asks a registry that is not there once.
func quickly(t testing.TB) *registry.Options {
	return &registry.Options{
		Access:     registry.Access{InsecureSkipTLSVerify: true, Auth: registry.AuthAnonymous},
		PolicyPath: policyFile(t),
		Retry:      registry.Retry{Attempts: 1},
	}
}

func (s *system) deploy(ref string, opts container.DeployOptions) (*container.LayeredImageState, error) {
	s.t.Helper()
	if opts.Registry == nil {
		opts.Registry = quickly(s.t)
	}
	return container.Deploy(s.t.Context(), s.Sysroot, "default", unverified(s.t, ref), &opts)
}

func (s *system) mustDeploy(ref string, opts container.DeployOptions) *container.LayeredImageState {
	s.t.Helper()
	state, err := s.deploy(ref, opts)
	require.NoError(s.t, err)
	s.sound()
	return state
}

// sound checks the repository and that nothing was left in it.
func (s *system) sound() {
	s.t.Helper()
	oracle.Fsck(s.t, s.repo)
	assert.Empty(s.t, leftovers(s.t, s.repo))
}

func (s *system) status() string {
	s.t.Helper()
	return ti.Run(s.t, "ostree", "admin", "status", "--sysroot="+s.dir)
}

// deployment is the directory of a deployment.
func (s *system) deployment(checksum string, serial int) string {
	return filepath.Join(s.dir, "ostree/deploy/default/deploy", fmt.Sprintf("%s.%d", checksum, serial))
}

func (s *system) read(elem ...string) string {
	s.t.Helper()
	text, err := os.ReadFile(filepath.Join(elem...))
	require.NoError(s.t, err)
	return string(text)
}

// options are the kernel arguments of the boot entries, the default one first, without ostree's own.
func (s *system) options() (out []string) {
	s.t.Helper()
	entries, err := filepath.Glob(filepath.Join(s.dir, "boot/loader/entries/*.conf"))
	require.NoError(s.t, err)
	byVersion := map[string]string{}
	for _, entry := range entries {
		version, options := "", ""
		for line := range strings.Lines(s.read(entry)) {
			line = strings.TrimSpace(line)
			if v, ok := strings.CutPrefix(line, "version "); ok {
				version = v
			}
			if v, ok := strings.CutPrefix(line, "options"); ok {
				var args []string
				for _, arg := range strings.Fields(v) {
					if !strings.HasPrefix(arg, "ostree=") {
						args = append(args, arg)
					}
				}
				options = strings.Join(args, " ")
			}
		}
		byVersion[version] = options
	}
	for n := len(byVersion); n > 0; n-- { // the greatest is the default
		options, ok := byVersion[fmt.Sprint(n)]
		require.True(s.t, ok, "boot entries %v", byVersion)
		out = append(out, options)
	}
	return out
}

// deploymentRefs are the commits that libostree keeps for deployments, ostree/BOOTVERSION/SUBBOOTVERSION/INDEX.
func deploymentRefs(refs map[string]string) (commits []string) {
	for _, name := range slices.Sorted(maps.Keys(refs)) {
		if strings.HasPrefix(name, "ostree/0/") || strings.HasPrefix(name, "ostree/1/") {
			commits = append(commits, refs[name])
		}
	}
	return commits
}
