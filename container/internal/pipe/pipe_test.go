package pipe_test

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/container/internal/pipe"
)

// What comes out is what went in, whatever the sizes of reads, and then the source's own error.
func TestReader(t *testing.T) {
	boom := errors.New("boom")
	for _, size := range []int{0, 1, 128<<10 - 1, 128 << 10, 128<<10 + 1, 3 << 20} {
		data := bytes.Repeat([]byte{1, 2, 3, 5, 7, 11, 13}, size/7+1)[:size]
		for name, source := range map[string]io.Reader{
			"whole":          bytes.NewReader(data),
			"half reads":     iotest.HalfReader(bytes.NewReader(data)),
			"data with EOF":  iotest.DataErrReader(bytes.NewReader(data)),
			"one at a time":  io.LimitReader(iotest.OneByteReader(bytes.NewReader(data)), 1000),
			"ends in errors": io.MultiReader(bytes.NewReader(data), iotest.ErrReader(boom)),
		} {
			want, wantErr := data, error(nil)
			switch name {
			case "one at a time":
				want = data[:min(size, 1000)]
			case "ends in errors":
				wantErr = boom
			}
			r := pipe.New(source)
			got, err := io.ReadAll(r)
			require.ErrorIs(t, err, wantErr, name)
			require.True(t, bytes.Equal(want, got), "%s, %d", name, size)
			_, again := r.Read(make([]byte, 1))
			require.Error(t, again, "the error stays")
			r.Close()
			r.Close()
			_, err = r.Read(make([]byte, 1))
			require.Error(t, err, "closed")
			require.NotErrorIs(t, err, io.EOF)
		}
	}
}

// counting counts what was read from an endless source.
type counting struct{ n int }

func (c *counting) Read(p []byte) (int, error) {
	c.n += len(p)
	return len(p), nil
}

// A source that nobody reads from is read ahead a little, not to its end, and not any more once Close has returned.
func TestReadAheadIsBounded(t *testing.T) {
	source := &counting{}
	r := pipe.New(source)
	_, err := io.ReadFull(r, make([]byte, 10))
	require.NoError(t, err)
	r.Close()
	n := source.n
	require.LessOrEqual(t, n, 8*128<<10)
	_, err = r.Read(make([]byte, 1))
	require.Error(t, err)
	require.Equal(t, n, source.n)
}
