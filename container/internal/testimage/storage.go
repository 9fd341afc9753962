package testimage

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Storage is a containers-storage with directories of its own. It takes root.
type Storage struct {
	Driver, Root, RunRoot string
}

// NewStorage makes an empty store for the test; driver is "vfs" or "overlay".
func NewStorage(t testing.TB, driver string) *Storage {
	t.Helper()
	NeedRoot(t)
	NeedTool(t, "buildah", "skopeo")
	// Not t.TempDir: the store is a mount point while one of its layers is in use, and has to be unmounted first.
	dir, err := os.MkdirTemp("", "storage")
	if err != nil {
		t.Fatal(err)
	}
	s := &Storage{Driver: driver, Root: filepath.Join(dir, "root"), RunRoot: filepath.Join(dir, "run")}
	t.Cleanup(func() {
		_ = exec.Command("umount", filepath.Join(s.Root, driver)).Run() // the overlay driver's private mount
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("remove store: %v", err)
		}
	})
	return s
}

// Spec is "[DRIVER@ROOT+RUNROOT]".
func (s *Storage) Spec() string { return "[" + s.Driver + "@" + s.Root + "+" + s.RunRoot + "]" }

// Ref is the reference of an image in the store.
func (s *Storage) Ref(name string) string { return "containers-storage:" + s.Spec() + name }

// Buildah runs buildah on the store and returns its output without the last newline.
func (s *Storage) Buildah(t testing.TB, args ...string) string {
	t.Helper()
	all := append([]string{"--root", s.Root, "--runroot", s.RunRoot, "--storage-driver", s.Driver}, args...)
	return strings.TrimSpace(Run(t, "buildah", all...))
}

// Copy brings an image into the store with skopeo, with its manifest as it is.
func (s *Storage) Copy(t testing.TB, from, name string) {
	t.Helper()
	Run(t, "skopeo", "--insecure-policy", "copy", "--quiet", from, s.Ref(name))
}
