package container_test

import (
	"fmt"
	"net/http"
	"os"
	"runtime"
	"runtime/pprof"
	"strings"
	"testing"
	"time"

	"github.com/ostree-container/ostree-container/container/registry"
)

// TestMain fails when descriptors or goroutines are left.
func TestMain(m *testing.M) {
	os.Setenv("OSTREE_SYSROOT_DEBUG", "mutable-deployments,no-xattrs")
	if text := os.Getenv(childTask); text != "" {
		if err := runChild(text); err != nil {
			fmt.Fprintln(os.Stderr, "child:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	registry.RouteLogs(nil)
	before := openFiles()
	code := m.Run()
	http.DefaultClient.CloseIdleConnections()
	if left := func() []string { return without(openFiles(), before) }; code == 0 && !settle(func() bool { return len(left()) == 0 }) {
		fmt.Fprintf(os.Stderr, "descriptors left open: %q\n", left())
		code = 1
	}
	os.Exit(code)
}

// openFiles lists open descriptors, less those of the Go runtime, sockets, and the lock file that an open Repo keeps.
func openFiles() (targets []string) {
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		panic(err)
	}
	for _, e := range list {
		target, err := os.Readlink("/proc/self/fd/" + e.Name())
		if err == nil && !strings.HasPrefix(target, "anon_inode:") && !strings.HasPrefix(target, "socket:") && !strings.Contains(target, "/proc/") &&
			!strings.HasSuffix(target, "/repo/.lock") {
			targets = append(targets, target)
		}
	}
	return targets
}

// without removes from a what is in b, each as often as it is there.
func without(a, b []string) (rest []string) {
	n := map[string]int{}
	for _, s := range b {
		n[s]++
	}
	for _, s := range a {
		if n[s]--; n[s] < 0 {
			rest = append(rest, s)
		}
	}
	return rest
}

// settle collects garbage until ok, for at most a second.
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

// nothingLeft notes goroutines and descriptors; what it returns fails the test
// if there are more of them.
func nothingLeft(t *testing.T) (check func()) {
	t.Helper()
	goroutines, files := runtime.NumGoroutine(), openFiles()
	return func() {
		t.Helper()
		if !settle(func() bool { return runtime.NumGoroutine() <= goroutines }) {
			var b strings.Builder
			_ = pprof.Lookup("goroutine").WriteTo(&b, 1)
			t.Errorf("%d goroutines before, %d after:\n%s", goroutines, runtime.NumGoroutine(), b.String())
		}
		var left []string
		if !settle(func() bool { left = without(openFiles(), files); return len(left) == 0 }) {
			t.Errorf("descriptors left open: %q", left)
		}
	}
}
