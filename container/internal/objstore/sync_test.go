package objstore

import (
	"context"
	"errors"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ostree-container/ostree-container/container/internal/object"
	"github.com/ostree-container/ostree-container/ostree"
)

// The kernel tells a descriptor of a failed write once, and the next sync succeeds, although the data is lost.
func TestFailedSyncIsNotForgotten(t *testing.T) {
	for name, breakIt := range map[string]func(d *direct){
		"file system": func(d *direct) { d.syncfs = failOnce(unix.Syncfs) },
		"directory":   func(d *direct) { d.fsync = failOnce(unix.Fsync) },
	} {
		t.Run(name, func(t *testing.T) {
			ctx := t.Context()
			repo, err := ostree.CreateRepo(ctx, filepath.Join(t.TempDir(), "repo"), ostree.ModeBareUser)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = repo.Close() })
			s, err := Open(ctx, repo, nil)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = s.Close() })
			d, ok := s.backend.(*direct)
			if !ok {
				t.Skipf("objects are written by a %T here", s.backend)
			}
			breakIt(d)
			put := func(content string) {
				t.Helper()
				m := &object.Meta{Mode: object.ModeRegular | 0o644}
				if _, err := s.File(ctx, object.Checksum{}, m, "", []byte(content)); err != nil {
					t.Fatal(err)
				}
			}
			put("lost")
			// As wrote does in the background: nobody looks at the error.
			if err := <-s.request(context.WithoutCancel(ctx), nil, true); !errors.Is(err, unix.EIO) {
				t.Fatalf("the flush says %v, want EIO", err)
			}
			for range 2 {
				put("more")
				if err := s.Publish(ctx, map[string]string{"test": object.Checksum{1}.String()}); !errors.Is(err, unix.EIO) {
					t.Errorf("a later publish says %v, want EIO", err)
				}
			}
			if _, err := repo.ResolveRev(ctx, "test"); !errors.Is(err, ostree.ErrNotFound) {
				t.Errorf("the ref was set: %v", err)
			}
		})
	}
}

// failOnce is a sync whose first call fails.
func failOnce(sync func(int) error) func(int) error {
	failed := false
	return func(fd int) error {
		if !failed {
			failed = true
			return unix.EIO
		}
		return sync(fd)
	}
}
