package cli

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// patience is how long to wait for what should come at once: a test that hangs is worse than one that fails.
const patience = time.Minute

// soon is within what a signal ends a command. It takes a quarter of a second; this machine may be doing other things.
const soon = 10 * time.Second

// stuckRegistry accepts requests and does not answer; asked is closed at the first.
func stuckRegistry(t *testing.T) (host string, asked chan struct{}) {
	t.Helper()
	asked = make(chan struct{})
	var once sync.Once
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		once.Do(func() { close(asked) })
		<-r.Context().Done()
	}))
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	return s.Listener.Addr().String(), asked
}

func TestSignalEndsAPullWithinASecond(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		verb   string
		signal syscall.Signal
		status int
	}{
		"SIGINT": {"container image pull REPO", unix.SIGINT, 130}, "SIGTERM": {"container image pull REPO", unix.SIGTERM, 143},
		"SIGHUP": {"container image pull REPO", unix.SIGHUP, 129},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			i := &images{dir: t.TempDir()}
			repo := i.repo(t, "repo", "bare-user")
			host, asked := stuckRegistry(t)
			path, env := program(t)
			var out, errOut bytes.Buffer
			cmd := exec.Command(path, append(strings.Fields(strings.ReplaceAll(tc.verb, "REPO", repo)),
				"--insecure-skip-tls-verification", "ostree-unverified-registry:"+host+"/os:latest")...)
			cmd.Env, cmd.Stdout, cmd.Stderr = env, &out, &errOut
			require.NoError(t, cmd.Start())
			select {
			case <-asked:
			case <-time.After(patience):
				t.Error("the registry was not asked")
			}
			start := time.Now()
			require.NoError(t, cmd.Process.Signal(tc.signal))
			err := cmd.Wait()
			assert.Less(t, time.Since(start), soon)
			var exit *exec.ExitError
			require.ErrorAs(t, err, &exit)
			assert.Equal(t, tc.status, exit.ExitCode())
			assert.Empty(t, out.String())
			assert.Regexp(t, `^error: .*interrupted by `+unix.SignalName(tc.signal)+`.*\n$`, errOut.String())
			fsck(t, repo)
		})
	}
}

// A FIFO that nobody writes to is given up.
func TestSignalEndsWaitingForAFIFO(t *testing.T) {
	t.Parallel()
	i := &images{dir: t.TempDir()}
	repo, fifo := i.repo(t, "repo", "bare-user"), filepath.Join(i.dir, "fifo")
	require.NoError(t, unix.Mkfifo(fifo, 0o600))
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(&signalError{unix.SIGTERM})
	for _, args := range [][]string{
		{"tar", "import", "--repo", repo, fifo},
		{"container", "encapsulate", "--repo", repo, "--config", fifo, "os", "oci:" + i.dir + "/out"},
		{"container", "encapsulate", "--repo", repo, "--contentmeta", fifo, "os", "oci:" + i.dir + "/out"},
		{"image", "replace-detached-metadata", "--src=oci:x", "--dest=oci:" + i.dir + "/out", fifo},
	} {
		r := runContext(t, ctx, "", args...)
		assert.Equal(t, 143, r.status, "%v", args)
		assert.Equal(t, "error: interrupted by SIGTERM\n", r.err, "%v", args)
	}
}

// So is one that nobody reads.
func TestSignalEndsWritingToAFIFO(t *testing.T) {
	t.Parallel()
	fifo := filepath.Join(t.TempDir(), "fifo")
	require.NoError(t, unix.Mkfifo(fifo, 0o600))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, writeFile(ctx, fifo, []byte("x")), context.Canceled)
}

func TestCanceledContext(t *testing.T) {
	t.Parallel()
	i := makeImages(t)
	repo := i.repo(t, "repo", "bare-user")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(&signalError{unix.SIGINT})
	r := runContext(t, ctx, "", "image", "pull", repo, "ostree-unverified-image:oci:"+i.layout()+":v1")
	assert.Equal(t, 130, r.status)
	assert.Empty(t, r.out)
	assert.Contains(t, r.err, "interrupted by SIGINT")
	assert.ErrorIs(t, context.Cause(ctx), context.Canceled)
}

// failing is a file that cannot be written to.
type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

func TestStandardOutputThatFails(t *testing.T) {
	t.Parallel()
	i := makeImages(t)
	repo := i.repo(t, "repo", "bare-user")
	args := []string{"image", "pull", "-q", repo, "ostree-unverified-image:oci:" + i.layout() + ":v1"}
	var errOut bytes.Buffer
	status := Run(t.Context(), "", args, Streams{In: strings.NewReader(""), Out: failing{unix.ENOSPC}, Err: &errOut})
	assert.Equal(t, 1, status)
	assert.Equal(t, "error: write standard output: no space left on device\n", errOut.String())
	// The pull itself went on.
	r := run(t, "", args...)
	assert.Contains(t, r.out, "No changes in")

	// A reader that goes away is no failure.
	errOut.Reset()
	status = Run(t.Context(), "", args, Streams{In: strings.NewReader(""), Out: failing{&os.PathError{Err: unix.EPIPE}}, Err: &errOut})
	assert.Zero(t, status)
	assert.Empty(t, errOut.String())
}

// What is under way goes on (TestStandardOutputOfEveryVerb has all verbs).
func TestBrokenPipe(t *testing.T) {
	t.Parallel()
	i := makeImages(t)
	repo := i.repo(t, "repo", "bare-user")
	path, env := program(t)
	r, w, err := os.Pipe()
	require.NoError(t, err)
	require.NoError(t, r.Close())
	var errOut bytes.Buffer
	cmd := exec.Command(path, "image", "pull", repo, "ostree-unverified-image:oci:"+i.layout()+":v1")
	cmd.Env, cmd.Stdout, cmd.Stderr = env, w, &errOut
	require.NoError(t, cmd.Run(), errOut.String())
	require.NoError(t, w.Close())
	assert.NotContains(t, errOut.String(), "error")
	assert.Equal(t, "oci:"+i.layout()+":v1\n", run(t, "", "image", "list", "--repo", repo).out)
	fsck(t, repo)
}

// The ostree command runs an unknown verb as ostree-VERB, with its own global options in front.
func TestCalledByTheOSTreeCommand(t *testing.T) {
	t.Parallel()
	needTool(t, "ostree")
	if _, err := os.Stat("/usr/libexec/libostree/ext/ostree-container"); err == nil {
		t.Skip("needs a host where ostree-container is not installed: the ostree command takes that one")
	}
	i := makeImages(t)
	repo := i.repo(t, "repo", "bare-user")
	path, env := program(t)
	ref := "oci:" + i.layout() + ":v1"
	ostree := func(args ...string) (string, error) {
		cmd := exec.Command("ostree", args...)
		cmd.Env = env
		out, err := cmd.Output()
		return string(out), err
	}
	out, err := ostree("container", "image", "pull", repo, "ostree-unverified-image:"+ref)
	require.NoError(t, err)
	assert.Contains(t, out, "Wrote: ostree-unverified-image:"+ref+" => ")
	out, err = ostree("--verbose", "container", "image", "list", "--repo", repo)
	require.NoError(t, err)
	assert.Equal(t, ref+"\n", out)
	if _, err := os.Stat("/usr/libexec/libostree/ext/ostree-provisional-repair"); os.IsNotExist(err) {
		require.NoError(t, os.Symlink("ostree-container", filepath.Join(filepath.Dir(path), "ostree-provisional-repair")))
		out, err = ostree("--verbose", "provisional-repair", "analyze-inodes", "--repo", repo)
		require.NoError(t, err)
		assert.Equal(t, "OK: No colliding objects found.\n", out)
	}
	_, err = ostree("container", "image", "list")
	var exit *exec.ExitError
	require.ErrorAs(t, err, &exit)
	assert.Equal(t, 2, exit.ExitCode())
	assert.Contains(t, string(exit.Stderr), "error: the following required option was not provided: --repo\n")
}
