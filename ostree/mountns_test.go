package ostree_test

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ostree-container/ostree-container/ostree"
)

// What is unmounted below /run is unmounted for the host, as libostree means it; nothing else that is done in a mount namespace of our own
// gets out of it.
func TestOwnMountsStayInside(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	run, other := filepath.Join(dir, "run"), filepath.Join(dir, "other")
	require.NoError(t, os.Mkdir(run, 0o755))
	require.NoError(t, os.Mkdir(other, 0o755))
	var hosts string
	var errs []error
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // for good: the thread ends with its namespace
		do := func(err error) { errs = append(errs, err) }
		tmpfs := func(at string) { do(unix.Mount("tmpfs", at, "tmpfs", 0, "size=1m")) }
		// This is the host.
		do(unix.Unshare(unix.CLONE_NEWNS))
		do(unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
		do(unix.Mount("none", "/", "", unix.MS_REC|unix.MS_SHARED, ""))
		tmpfs(run)
		do(os.Mkdir(filepath.Join(run, "nextroot"), 0o755))
		tmpfs(filepath.Join(run, "nextroot"))
		host, err := unix.Open("/proc/thread-self/ns/mnt", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		do(err)
		defer unix.Close(host)
		// And this is ours.
		do(unix.Unshare(unix.CLONE_NEWNS))
		do(ostree.SlaveMounts(run))
		do(unix.Unmount(filepath.Join(run, "nextroot"), 0))
		tmpfs(other)
		do(unix.Setns(host, unix.CLONE_NEWNS))
		table, err := os.ReadFile("/proc/thread-self/mountinfo")
		do(err)
		hosts = string(table)
	}()
	<-done
	for _, err := range errs {
		require.NoError(t, err)
	}
	assert.Contains(t, hosts, run+" ") // in a chroot the table has more before it
	assert.NotContains(t, hosts, run+"/nextroot ")
	assert.NotContains(t, hosts, other+" ")
}
