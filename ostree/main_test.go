package ostree_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/ostree"
)

func TestMain(m *testing.M) {
	os.Setenv("OSTREE_SYSROOT_DEBUG", "mutable-deployments,no-xattrs")
	os.Setenv("OSTREE_DUMMY_SIGN_ENABLED", "1") // the signature engine that every build has
	before := len(openFDs())
	code := m.Run()
	if code == 0 && !settle(func() bool { return len(openFDs()) <= before }) {
		fmt.Fprintf(os.Stderr, "descriptors left open: %d before, now %q\n", before, openFDs())
		code = 1
	}
	os.Exit(code)
}

// openFDs lists open descriptors. Left out are those of the Go runtime (epoll) and the
// socket that libsystemd keeps to the journal, which open late and stay.
func openFDs() (targets []string) {
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		panic(err)
	}
	for _, e := range list {
		if target, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil &&
			!strings.HasPrefix(target, "anon_inode:") && !strings.HasPrefix(target, "socket:") {
			targets = append(targets, target)
		}
	}
	return targets
}

// settle collects garbage until ok, for a few seconds.
func settle(ok func() bool) bool {
	for range 50 {
		runtime.GC()
		if ok() {
			return true
		}
		time.Sleep(20 * time.Millisecond)
	}
	return false
}

// need skips without a program or privilege, and fails where all must be there.
func need(t testing.TB, what string, have bool) {
	t.Helper()
	if have {
		return
	}
	if os.Getenv("REQUIRE_ALL") == "1" {
		t.Fatalf("needs %s", what)
	}
	t.Skipf("needs %s", what)
}

func needRoot(t testing.TB) { t.Helper(); need(t, "root", os.Getuid() == 0) }

// judge runs the ostree command and returns what it prints.
func judge(t testing.TB, args ...string) string {
	t.Helper()
	_, err := exec.LookPath("ostree")
	need(t, "the ostree command", err == nil)
	cmd := exec.Command("ostree", args...)
	cmd.Env = append(cmd.Environ(), "LC_ALL=C.UTF-8") // elsewhere it shows, and reads from a tar, only names in ASCII
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "ostree %s\n%s", strings.Join(args, " "), out)
	return string(out)
}

func fsck(t testing.TB, r *ostree.Repo) { t.Helper(); judge(t, "fsck", "-q", "--repo", r.Path()) }

// newRepo makes a repository that is closed when the test ends.
func newRepo(t testing.TB, mode ostree.Mode) *ostree.Repo {
	t.Helper()
	r, err := ostree.CreateRepo(t.Context(), filepath.Join(t.TempDir(), "repo"), mode)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.Close()) })
	return r
}

// writeTree makes files below a new directory; names ending in "/" are directories, and content after "-> " makes a symlink.
func writeTree(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.Chmod(dir, 0o755))
	for name, content := range files {
		p := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(p), 0o755))
		switch target, link := strings.CutPrefix(content, "-> "); {
		case strings.HasSuffix(name, "/"):
			require.NoError(t, os.MkdirAll(p, 0o755))
		case link:
			require.NoError(t, os.Symlink(target, p))
		default:
			require.NoError(t, os.WriteFile(p, []byte(content), 0o644))
		}
	}
	return dir
}

// judgeCommit commits a directory with the ostree command.
func judgeCommit(t testing.TB, repo, branch, dir string, args ...string) string {
	t.Helper()
	return strings.TrimSpace(judge(t, append([]string{"commit", "--repo", repo, "-b", branch, "--owner-uid=0", "--owner-gid=0",
		"--no-xattrs", "--timestamp=2024-02-03 04:05:06 +0000", dir}, args...)...))
}

// osTree is the least that can be deployed.
func osTree(version string) map[string]string {
	return map[string]string{
		"usr/lib/modules/6.1.0/vmlinuz":       "kernel " + version,
		"usr/lib/modules/6.1.0/initramfs.img": "initramfs " + version,
		"usr/lib/os-release":                  "NAME=Test\nID=test\nVERSION_ID=" + version + "\nPRETTY_NAME=\"Test " + version + "\"\n",
		"usr/etc/hostname":                    "host\n",
		"usr/etc/version":                     version + "\n",
		"usr/bin/sh":                          "#!" + version,
		"boot/":                               "", "proc/": "", "sys/": "", "dev/": "", "run/": "", "tmp/": "", "var/": "", "sysroot/": "",
		"ostree": "-> sysroot/ostree",
	}
}

func sortFiles(t *ostree.DirTree) {
	slices.SortFunc(t.Files, func(a, b ostree.DirTreeFile) int { return strings.Compare(a.Name, b.Name) })
}

// writeCommit commits a root directory in the open transaction.
func writeCommit(ctx context.Context, r *ostree.Repo, tree *ostree.DirTree) (string, error) {
	b, err := tree.Bytes()
	if err != nil {
		return "", err
	}
	treeSum, err := r.WriteMetadata(ctx, ostree.ObjectDirTree, "", b)
	if err != nil {
		return "", err
	}
	if b, err = (&ostree.DirMeta{Mode: 0o40755}).Bytes(); err != nil {
		return "", err
	}
	metaSum, err := r.WriteMetadata(ctx, ostree.ObjectDirMeta, "", b)
	if err != nil {
		return "", err
	}
	root, err := r.TreeFromChecksums(ctx, treeSum, metaSum)
	if err != nil {
		return "", err
	}
	return r.WriteCommit(ctx, root, &ostree.CommitOptions{Timestamp: time.Unix(1700000000, 0)})
}

func newCause(t testing.TB) (context.Context, context.CancelCauseFunc) {
	ctx, cancel := context.WithCancelCause(t.Context())
	t.Cleanup(func() { cancel(nil) })
	return ctx, cancel
}
