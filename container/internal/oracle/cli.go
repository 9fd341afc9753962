package oracle

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ostree-container/ostree-container/container/internal/testimage"
)

// CLI makes the union of a stack with the ostree command: each layer is
// extracted and committed, checked out over the ones below, and the result
// committed and listed. It needs root, a file system with user xattrs, and a
// stack whose Notes are Safe: it fails the test otherwise, because the command
// would write through symlinks.
func CLI(t testing.TB, base *Entry, layers ...*LayerTree) string {
	t.Helper()
	testimage.NeedRoot(t)
	testimage.NeedTool(t, "ostree")
	if _, n := Merge(base, layers...); !n.Safe() {
		t.Fatalf("the ostree command gets this stack wrong: %+v", n)
	}
	dir, err := os.MkdirTemp(t.TempDir(), "cli")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	repo, root := filepath.Join(dir, "repo"), filepath.Join(dir, "root")
	testimage.Run(t, "ostree", "--repo="+repo, "init", "--mode=bare")
	testimage.Run(t, "ostree", "--repo="+repo, "config", "set", "core.fsync", "false")
	if base != nil {
		testimage.Run(t, "ostree", "--repo="+repo, "checkout", CommitTree(t, repo, base), root)
	}
	for _, l := range layers {
		commit := CommitTree(t, repo, l.Root)
		testimage.Run(t, "ostree", "--repo="+repo, "checkout", "--union", "--whiteouts", commit, root)
	}
	for _, n := range []string{"hostname", "resolv.conf"} {
		path := filepath.Join(root, "usr/etc", n)
		if st, err := os.Lstat(path); err == nil && st.Mode().IsRegular() && st.Size() == 0 {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		}
	}
	return List(t, repo, commitDir(t, repo, root))
}

// CommitTree extracts a tree to disk, commits it with the ostree command into
// a bare repository, and returns the commit. It needs root.
func CommitTree(t testing.TB, repo string, tree *Entry) string {
	t.Helper()
	dir, err := os.MkdirTemp(filepath.Dir(repo), "tree")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := extract(tree, filepath.Join(dir, "t")); err != nil {
		t.Fatal(err)
	}
	return commitDir(t, repo, filepath.Join(dir, "t"))
}

func commitDir(t testing.TB, repo, dir string) string {
	t.Helper()
	return strings.TrimSpace(testimage.Run(t, "ostree", "--repo="+repo, "commit", "--orphan", "--no-bindings",
		"--timestamp=@0", "--subject=oracle", "--tree=dir="+dir))
}

// List is the listing of a commit or ref of a repository.
func List(t testing.TB, repo, rev string) string {
	t.Helper()
	return testimage.Run(t, "ostree", "--repo="+repo, "ls", "-R", "-X", "-C", rev)
}

// Fsck runs "ostree fsck" and fails the test if it finds anything.
func Fsck(t testing.TB, repo string) {
	t.Helper()
	testimage.Run(t, "ostree", "--repo="+repo, "fsck", "--quiet")
}

// Refs gives the refs of a repository and their commits, read from the files
// below refs/heads.
func Refs(t testing.TB, repo string) map[string]string {
	t.Helper()
	refs := map[string]string{}
	heads := filepath.Join(repo, "refs/heads")
	err := filepath.WalkDir(heads, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(heads, path)
		refs[name] = strings.TrimSpace(string(b))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return refs
}

// WholeRefs is Refs without the files that a process leaves which is killed while libostree sets a ref: tmp.XXXXXX, not renamed yet.
func WholeRefs(t testing.TB, repo string) map[string]string {
	t.Helper()
	refs := Refs(t, repo)
	maps.DeleteFunc(refs, func(name, _ string) bool {
		ok, _ := filepath.Match("tmp.??????", filepath.Base(name)) // the pattern is sound
		return ok
	})
	return refs
}

func extract(e *Entry, path string) error {
	var err error
	switch e.Mode & fmtMask {
	case fmtDir:
		if err = os.Mkdir(path, 0o700); err != nil {
			return err
		}
		for n, c := range e.Children {
			if err := extract(c, path+"/"+n); err != nil {
				return err
			}
		}
	case fmtLink:
		err = os.Symlink(e.Target, path)
	default:
		err = os.WriteFile(path, e.Content, 0o600)
	}
	if err != nil {
		return err
	}
	if err := os.Lchown(path, int(e.UID), int(e.GID)); err != nil {
		return err
	}
	if e.Mode&fmtMask != fmtLink {
		if err := unix.Chmod(path, e.Mode&0o7777); err != nil {
			return fmt.Errorf("chmod %s: %w", strconv.Quote(path), err)
		}
	}
	for _, x := range e.Xattrs {
		if err := unix.Lsetxattr(path, x.Name, []byte(x.Value), 0); err != nil {
			return fmt.Errorf("set %s of %s: %w", x.Name, strconv.Quote(path), err)
		}
	}
	return nil
}
