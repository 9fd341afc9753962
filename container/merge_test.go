package container_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/ostree-container/ostree-container/container"
	"github.com/ostree-container/ostree-container/container/internal/oracle"
	ti "github.com/ostree-container/ostree-container/container/internal/testimage"
)

// An operating system without an ostree base gets the directory on which /var is mounted, as its root cannot be changed later; what is
// no operating system does not.
func TestMountPointOfVar(t *testing.T) {
	kernel := []ti.Member{
		ti.Dir("usr", 0o755), ti.Dir("usr/lib", 0o755), ti.Dir("usr/lib/modules", 0o755), ti.Dir("usr/lib/modules/6.1", 0o755),
		ti.File("usr/lib/modules/6.1/vmlinuz", 0o644, "kernel"), ti.Dir("var", 0o700).Owned(1, 2),
	}
	app := []ti.Member{ti.Dir("usr", 0o755), ti.File("usr/x", 0o644, "x")}
	for name, c := range map[string]struct {
		members []ti.Member
		has     bool
	}{"operating system": {kernel, true}, "application": {app, false}} {
		t.Run(name, func(t *testing.T) {
			w := ti.Image{Layers: []ti.Layer{{Members: c.members}}}.Write(t, t.TempDir(), "latest")
			repo, dir := newRepo(t, modeHere())
			state := mustPull(t, repo, w.Ref, container.ImporterOptions{})
			oracle.Fsck(t, dir)
			got, ok := lines(oracle.List(t, dir, state.MergeCommit))["/var"]
			assert.Equal(t, c.has, ok, got)
		})
	}
}
