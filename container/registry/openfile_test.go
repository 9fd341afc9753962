package registry_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ostree-container/ostree-container/container/internal/testimage"
	"github.com/ostree-container/ostree-container/container/registry"
)

// A FIFO in place of a file that the caller names is an error at once; nothing waits for a writer.
func TestFIFOsOfTheCaller(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	require.NoError(t, unix.Mkfifo(fifo, 0o600))
	key := testimage.NewEncryptionKey(t, "open: sesame")
	w := sample().Write(t, dir+"/image", "v1")
	src, _ := layoutOf(t)
	for name, use := range map[string]func() error{
		"authfile": func() error {
			opts := options(t)
			opts.Auth, opts.AuthFile = registry.AuthAuto, fifo
			return openError(t, w.Ref, opts)
		},
		"policy": func() error {
			opts := options(t)
			opts.PolicyPath = fifo
			return openError(t, w.Ref, opts)
		},
		"key":        func() error { return openError(t, w.Ref, withKeys(t, registry.DecryptionKey{File: fifo})) },
		"passphrase": func() error { _, err := registry.ParseDecryptionKey(key.Locked + ":file=" + fifo); return err },
		"destination": func() error {
			out := filepath.Join(dir, "out")
			if err := os.MkdirAll(out, 0o700); err != nil {
				return err
			}
			_ = unix.Mkfifo(filepath.Join(out, "index.json"), 0o600)
			_, err := registry.Push(t.Context(), src, parse(t, "oci:"+out), pushOptions(t))
			return err
		},
		"dir destination": func() error {
			out := filepath.Join(dir, "dir")
			if err := os.MkdirAll(out, 0o700); err != nil {
				return err
			}
			_ = unix.Mkfifo(filepath.Join(out, "version"), 0o600)
			_, err := registry.Push(t.Context(), src, parse(t, "dir:"+out), pushOptions(t))
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			done := make(chan error, 1)
			go func() { done <- use() }()
			select {
			case err := <-done:
				require.ErrorIs(t, err, registry.ErrNotRegular)
				assert.NotContains(t, err.Error(), "locked: it has")
			case <-time.After(20 * time.Second):
				require.FailNow(t, "it hangs")
			}
		})
	}
}

// What a shell gives as /dev/fd/N, or the caller by number, is read to its end, however slowly it comes.
func TestKeysFromPipes(t *testing.T) {
	t.Parallel()
	key := testimage.NewEncryptionKey(t, "open: sesame")
	w := sample().Write(t, t.TempDir(), "v1")
	pipe := func(content string) *os.File {
		r, into, err := os.Pipe()
		require.NoError(t, err)
		t.Cleanup(func() { _ = r.Close() })
		go func() {
			time.Sleep(20 * time.Millisecond) // not there yet when it is opened
			_, _ = into.WriteString(content)
			_ = into.Close()
		}()
		return r
	}
	text, err := os.ReadFile(key.Locked)
	require.NoError(t, err)
	for _, format := range []string{"file=/dev/fd/%d", "file=/proc/self/fd/%d", "fd=%d"} {
		pass := pipe("open: sesame\n")
		fd := int(pass.Fd())
		if format == "fd=%d" { // is closed by who reads it
			fd, err = unix.FcntlInt(pass.Fd(), unix.F_DUPFD_CLOEXEC, 0)
			require.NoError(t, err)
		}
		k, err := registry.ParseDecryptionKey(fmt.Sprintf("/dev/fd/%d:", pipe(string(text)).Fd()) + fmt.Sprintf(format, fd))
		require.NoError(t, err)
		assert.Equal(t, "open: sesame", k.Passphrase)
		openImage(t, w.Ref, withKeys(t, k)) // reads the key
	}
}
