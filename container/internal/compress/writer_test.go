package compress_test

import (
	"bytes"
	stdgzip "compress/gzip"
	"errors"
	"io"
	"os/exec"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/container/internal/compress"
	"github.com/ostree-container/ostree-container/container/internal/testimage"
)

func pack(t *testing.T, format compress.Format, level, jobs, chunk int, data []byte) []byte {
	t.Helper()
	p, err := compress.NewPool(format, level, jobs)
	require.NoError(t, err)
	var b bytes.Buffer
	w := p.NewWriter(&b)
	for at := 0; at < len(data); at += chunk {
		_, err := w.Write(data[at:min(at+chunk, len(data))])
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	require.NoError(t, w.Close())
	return b.Bytes()
}

func TestWriter(t *testing.T) {
	t.Parallel()
	testimage.NeedTool(t, "gzip", "zstd")
	for _, size := range []int{0, 1, 1<<20 - 1, 1 << 20, 1<<20 + 1, 5<<20 + 77} {
		data := text(size)[:size]
		for format, tool := range map[compress.Format]string{compress.Gzip: "gzip", compress.Zstd: "zstd", compress.Plain: ""} {
			want := pack(t, format, 0, 1, 1<<16, data)
			for _, chunk := range []int{1<<20 + 3, 511} { // neither the number of jobs nor the way it is written matters
				require.True(t, bytes.Equal(want, pack(t, format, 0, 7, chunk, data)), "%s of %d bytes", format, size)
			}
			if tool == "" {
				require.True(t, bytes.Equal(data, want))
				continue
			}
			if size == 0 && format == compress.Zstd {
				assert.Empty(t, want)
				continue
			}
			cmd := exec.Command(tool, "-dc")
			cmd.Stdin = bytes.NewReader(want)
			got, err := cmd.Output()
			require.NoError(t, err, "%s of %d bytes", format, size)
			require.True(t, bytes.Equal(data, got), "%s of %d bytes", format, size)
		}
		z, err := stdgzip.NewReader(bytes.NewReader(pack(t, compress.Gzip, 9, 2, 4096, data)))
		require.NoError(t, err)
		z.Multistream(false)
		got, err := io.ReadAll(z)
		require.NoError(t, err)
		require.True(t, bytes.Equal(data, got), "all is in the first member")
	}
}

func TestWriterOptions(t *testing.T) {
	t.Parallel()
	for _, bad := range []struct {
		format compress.Format
		level  int
	}{{compress.Gzip, 10}, {compress.Gzip, -1}, {compress.Zstd, 20}, {compress.Plain, 1}, {17, 0}} {
		_, err := compress.NewPool(bad.format, bad.level, 0)
		require.Error(t, err, bad)
	}
	data := text(1 << 20)
	assert.Greater(t, len(pack(t, compress.Gzip, 1, 2, 4096, data)), len(pack(t, compress.Gzip, 9, 2, 4096, data)))
}

var errFull = errors.New("full")

type fullWriter struct{ room int }

func (f *fullWriter) Write(p []byte) (int, error) {
	if f.room -= len(p); f.room < 0 {
		return 0, errFull
	}
	return len(p), nil
}

func TestWriterFails(t *testing.T) {
	t.Parallel()
	p, err := compress.NewPool(compress.Gzip, 1, 2)
	require.NoError(t, err)
	for _, room := range []int{0, 15, 1000, 100_000} {
		w := p.NewWriter(&fullWriter{room})
		var err error
		for n := 0; n < 50 && err == nil; n++ {
			_, err = w.Write(text(1 << 20))
		}
		require.ErrorIs(t, err, errFull)
		require.ErrorIs(t, w.Close(), errFull)
	}
}

func TestWritersShareAPool(t *testing.T) {
	t.Parallel()
	p, err := compress.NewPool(compress.Gzip, 1, 2)
	require.NoError(t, err)
	data := text(3 << 20)
	want := pack(t, compress.Gzip, 1, 1, 4096, data)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			var b bytes.Buffer
			w := p.NewWriter(&b)
			_, err := w.Write(data)
			assert.NoError(t, err)
			assert.NoError(t, w.Close())
			assert.True(t, bytes.Equal(want, b.Bytes()))
		})
	}
	wg.Wait()
}
