package deflate

import (
	"bytes"
	"compress/flate"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// inputs are streams of every kind that compressors meet.
func inputs(t testing.TB) map[string][]byte {
	t.Helper()
	rng := rand.New(rand.NewPCG(1, 2))
	noise := make([]byte, 200_000)
	for i := range noise {
		noise[i] = byte(rng.Uint32())
	}
	program, err := os.ReadFile("/proc/self/exe")
	require.NoError(t, err)
	skewed := make([]byte, 300_000) // long codes
	for i := range skewed {
		skewed[i] = byte(rng.ExpFloat64() * 9)
	}
	mixed := append(append(bytes.Clone(program[:100_000]), noise[:70_000]...), make([]byte, 100_000)...)
	return map[string][]byte{
		"a byte": {1}, "short": []byte("hello, hello, hello"), "zeros": make([]byte, 1<<20), "noise": noise,
		"program": program[:min(len(program), 2<<20)], "skewed": skewed, "mixed": mixed,
	}
}

func TestPiecesJoinToOneStream(t *testing.T) {
	t.Parallel()
	for name, data := range inputs(t) {
		for level := MinLevel; level <= MaxLevel; level++ {
			for _, size := range []int{1, 1000, 100_000, 1 << 20} {
				data := data[:min(len(data), 100*size)] // many small pieces take long
				c, err := NewCompressor(level)
				require.NoError(t, err)
				var out []byte
				for at := 0; at < len(data); at += size {
					out, err = c.Append(out, data[at:min(at+size, len(data))], data[:at])
					require.NoError(t, err, "%s level %d", name, level)
				}
				out = append(out, End...)
				in := bytes.NewReader(out)
				got, err := io.ReadAll(flate.NewReader(in))
				require.NoError(t, err, "%s level %d pieces of %d", name, level, size)
				require.True(t, bytes.Equal(data, got), "%s level %d pieces of %d", name, level, size)
				assert.Zero(t, in.Len(), "nothing follows the last block")
			}
		}
	}
}

func TestLevels(t *testing.T) {
	t.Parallel()
	for _, level := range []int{-1, 0, 10} {
		_, err := NewCompressor(level)
		require.Error(t, err)
	}
}

// TestReopen takes the streams of another compressor, so that it runs in every build.
func TestReopen(t *testing.T) {
	t.Parallel()
	for name, data := range inputs(t) {
		for _, level := range []int{flate.HuffmanOnly, 0, 1, 6, 9} {
			var b bytes.Buffer
			w, err := flate.NewWriter(&b, level)
			require.NoError(t, err)
			_, err = w.Write(data)
			require.NoError(t, err)
			require.NoError(t, w.Close())
			stream := append(bytes.Clone(b.Bytes()), make([]byte, 16)...)[:b.Len()]
			var s scanner
			open, err := s.reopen(stream)
			require.NoError(t, err, "%s level %d", name, level)
			twice := append(bytes.Clone(open), open...)
			got, err := io.ReadAll(flate.NewReader(bytes.NewReader(append(twice, End...))))
			require.NoError(t, err, "%s level %d", name, level)
			require.True(t, bytes.Equal(append(bytes.Clone(data), data...), got), "%s level %d", name, level)
		}
	}
}

func FuzzReopen(f *testing.F) {
	f.Add([]byte(End))
	f.Add([]byte{0x4b, 0x4c, 0x04, 0x00})
	f.Add([]byte{1, 0, 0, 0xff, 0xff})
	f.Fuzz(func(_ *testing.T, data []byte) { // it must not panic, whatever it is given
		var s scanner
		_, _ = s.reopen(append(data, make([]byte, 16)...)[:len(data)])
	})
}

func BenchmarkAppend(b *testing.B) {
	data := inputs(b)["program"]
	c, err := NewCompressor(DefaultLevel)
	require.NoError(b, err)
	b.Logf("%s", Library)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	var out []byte
	for b.Loop() {
		out, err = c.Append(out[:0], data, nil)
		require.NoError(b, err)
	}
	b.ReportMetric(float64(len(out))/float64(len(data)), "ratio")
}

func BenchmarkReopen(b *testing.B) {
	var stream bytes.Buffer
	w, err := flate.NewWriter(&stream, DefaultLevel)
	require.NoError(b, err)
	_, err = w.Write(inputs(b)["program"])
	require.NoError(b, errors.Join(err, w.Close()))
	b.SetBytes(int64(stream.Len()))
	b.ReportAllocs()
	buf := make([]byte, stream.Len()+16)
	var s scanner
	for b.Loop() {
		_, err := s.reopen(buf[:copy(buf, stream.Bytes())])
		require.NoError(b, err)
	}
}
