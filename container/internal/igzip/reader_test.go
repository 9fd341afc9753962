//go:build isal && cgo

package igzip_test

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"runtime"
	"testing"
	"testing/iotest"

	"github.com/klauspost/compress/flate"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/container/internal/igzip"
)

func deflate(t testing.TB, level int, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, level)
	require.NoError(t, err)
	_, err = w.Write(data)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return b.Bytes()
}

// sample has long and short matches, literals and runs.
func sample(rng *rand.Rand, n int) []byte {
	b := make([]byte, 0, n+1000)
	for len(b) < n {
		switch rng.IntN(4) {
		case 0:
			for range rng.IntN(200) {
				b = append(b, byte(rng.UintN(256)))
			}
		case 1:
			b = append(b, bytes.Repeat([]byte{byte(rng.UintN(256))}, rng.IntN(300))...)
		default:
			if len(b) > 0 {
				from := max(0, len(b)-1-rng.IntN(40_000))
				b = append(b, b[from:min(len(b), from+rng.IntN(300))]...)
			}
		}
	}
	return b[:n]
}

func TestAgainstKlauspost(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(5, 6))
	for range 40 {
		data := sample(rng, rng.IntN(300_000))
		in := deflate(t, []int{-2, -1, 0, 1, 3, 6, 9}[rng.IntN(7)], data)
		behind := sample(rng, rng.IntN(30))
		src := bufio.NewReaderSize(bytes.NewReader(append(in, behind...)), 64+rng.IntN(5000))
		r, err := igzip.NewReader(src)
		require.NoError(t, err)
		var got []byte
		for {
			p := make([]byte, 1+rng.IntN(40_000))
			n, err := r.Read(p)
			got = append(got, p[:n]...)
			if errors.Is(err, io.EOF) {
				break
			}
			require.NoError(t, err)
		}
		require.True(t, bytes.Equal(data, got))
		rest, err := io.ReadAll(src)
		require.NoError(t, err)
		require.Equal(t, behind, append([]byte{}, rest...))
		r.Close()
	}
}

func TestCorruptAgainstKlauspost(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(7, 8))
	data := sample(rng, 5000)
	failed := 0
	for _, level := range []int{-2, 0, 1, 9} {
		good := deflate(t, level, data)
		for range 500 {
			in := bytes.Clone(good[:rng.IntN(len(good)+1)])
			if len(in) > 0 && rng.IntN(4) > 0 {
				in[rng.IntN(len(in))] ^= 1 << rng.UintN(8)
			}
			want, wantErr := io.ReadAll(flate.NewReader(bytes.NewReader(in)))
			r, err := igzip.NewReader(bufio.NewReader(bytes.NewReader(in)))
			require.NoError(t, err)
			got, gotErr := io.ReadAll(r)
			r.Close()
			if wantErr == nil {
				require.NoError(t, gotErr)
				require.True(t, bytes.Equal(want, got))
				continue
			}
			failed++
			require.Error(t, gotErr)
			require.True(t, errors.Is(gotErr, igzip.ErrCorrupt) || errors.Is(gotErr, io.ErrUnexpectedEOF), "%v", gotErr)
		}
	}
	assert.Greater(t, failed, 500)
}

func TestReset(t *testing.T) {
	t.Parallel()
	in := append(deflate(t, 6, []byte("first")), deflate(t, 6, []byte("second"))...)
	r, err := igzip.NewReader(bufio.NewReader(iotest.HalfReader(bytes.NewReader(in))))
	require.NoError(t, err)
	got, err := io.ReadAll(r)
	require.NoError(t, err)
	assert.Equal(t, "first", string(got))
	r.Reset()
	got, err = io.ReadAll(r)
	require.NoError(t, err)
	assert.Equal(t, "second", string(got))
	r.Reset()
	_, err = io.ReadAll(r)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	r.Close()
	r.Close()
	r.Reset()
	_, err = r.Read(make([]byte, 1))
	require.EqualError(t, err, "igzip: read from closed reader")
}

func TestSourceError(t *testing.T) {
	t.Parallel()
	lost := errors.New("connection lost")
	in := deflate(t, 6, sample(rand.New(rand.NewPCG(1, 1)), 5000))
	r, err := igzip.NewReader(bufio.NewReader(io.MultiReader(bytes.NewReader(in[:len(in)/2]), iotest.ErrReader(lost))))
	require.NoError(t, err)
	defer r.Close()
	_, err = io.ReadAll(r)
	require.ErrorIs(t, err, lost)
}

// Readers that nobody closes are freed with the garbage; run with -race as well.
func TestGarbage(t *testing.T) {
	in := deflate(t, 6, []byte("x"))
	for i := range 2000 {
		r, err := igzip.NewReader(bufio.NewReader(bytes.NewReader(in)))
		require.NoError(t, err)
		got, err := io.ReadAll(r)
		require.NoError(t, err)
		require.Equal(t, "x", string(got))
		if i%200 == 0 {
			runtime.GC()
		}
	}
}
