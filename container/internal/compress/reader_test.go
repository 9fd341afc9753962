package compress_test

import (
	"bytes"
	stdgzip "compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"
	"testing/iotest"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/container/internal/compress"
)

func gz(t testing.TB, level int, header stdgzip.Header, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := stdgzip.NewWriterLevel(&b, level)
	require.NoError(t, err)
	w.Header = header
	_, err = w.Write(data)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return b.Bytes()
}

func zst(t testing.TB, data []byte) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	require.NoError(t, err)
	return w.EncodeAll(data, nil)
}

func skippable(n byte, data []byte) []byte {
	frame := []byte{0x50 | n, 0x2a, 0x4d, 0x18}
	frame = binary.LittleEndian.AppendUint32(frame, uint32(len(data)))
	return append(frame, data...)
}

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// text is compressible, noise is not.
func text(n int) []byte {
	rng := rand.New(rand.NewPCG(1, 2))
	words := []string{"ostree ", "commit ", "layer ", "deployment ", "stateroot ", "/usr/lib/", "\n", "0"}
	var b []byte
	for len(b) < n {
		b = append(b, words[rng.IntN(len(words))]...)
	}
	return b[:n]
}

func noise(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(b)
	return b
}

func read(r io.Reader) ([]byte, compress.Format, error) {
	z, err := compress.NewReader(r)
	if err != nil {
		return nil, 0, err
	}
	data, err := io.ReadAll(z)
	if err == nil {
		err = z.Close()
	}
	return data, z.Format(), err
}

func TestReader(t *testing.T) {
	t.Parallel()
	var (
		a = text(300_000)
		b = noise(200_000)
	)
	tests := []struct {
		name   string
		in     []byte
		want   []byte
		format compress.Format
	}{
		{"empty", nil, []byte{}, compress.Plain},
		{"one byte", []byte{0x1f}, []byte{0x1f}, compress.Plain},
		{"plain", a, a, compress.Plain},
		{"gzip", gz(t, 6, stdgzip.Header{}, a), a, compress.Gzip},
		{"gzip best", gz(t, 9, stdgzip.Header{}, a), a, compress.Gzip},
		{"gzip fast", gz(t, 1, stdgzip.Header{}, join(a, b)), join(a, b), compress.Gzip},
		{"gzip stored", gz(t, 0, stdgzip.Header{}, b), b, compress.Gzip},
		{"gzip huffman only", gz(t, stdgzip.HuffmanOnly, stdgzip.Header{}, a), a, compress.Gzip},
		{"gzip of nothing", gz(t, 6, stdgzip.Header{}, nil), []byte{}, compress.Gzip},
		{"gzip header fields", gz(t, 6, stdgzip.Header{Name: "layer.tar", Comment: "c", Extra: []byte("extra")}, a), a, compress.Gzip},
		{"B28 gzip members", join(gz(t, 6, stdgzip.Header{}, a), gz(t, 0, stdgzip.Header{}, b), gz(t, 6, stdgzip.Header{}, nil), gz(t, 9, stdgzip.Header{}, a)), join(a, b, a), compress.Gzip},
		{"gzip padded", join(gz(t, 6, stdgzip.Header{}, a), make([]byte, 300_000)), a, compress.Gzip},
		{"gzip padded by one", join(gz(t, 6, stdgzip.Header{}, a), make([]byte, 1)), a, compress.Gzip},
		{"zstd", zst(t, a), a, compress.Zstd},
		{"zstd of nothing", zst(t, nil), []byte{}, compress.Zstd},
		{"zstd frames", join(zst(t, a), zst(t, b)), join(a, b), compress.Zstd},
		{"zstd:chunked", join(skippable(0, []byte("first")), zst(t, a), skippable(14, b), zst(t, b), skippable(15, make([]byte, 64))), join(a, b), compress.Zstd},
		{"zstd skippable only", skippable(3, []byte("x")), []byte{}, compress.Zstd},
		{"zstd padded", join(zst(t, a), make([]byte, 300_000)), a, compress.Zstd},
		{"zstd padded by four", join(zst(t, a), make([]byte, 4)), a, compress.Zstd},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, format, err := read(bytes.NewReader(tt.in))
			require.NoError(t, err)
			assert.Equal(t, tt.format, format)
			assert.True(t, bytes.Equal(tt.want, got), "%d bytes, want %d", len(got), len(tt.want))

			got, _, err = read(iotest.OneByteReader(bytes.NewReader(tt.in)))
			require.NoError(t, err)
			assert.True(t, bytes.Equal(tt.want, got), "one byte at a time")

			got, _, err = read(iotest.DataErrReader(bytes.NewReader(tt.in)))
			require.NoError(t, err)
			assert.True(t, bytes.Equal(tt.want, got), "data with EOF")
		})
	}
}

// The source must have been read to its end when io.EOF is reported, for its
// digest to be known.
func TestReaderDrains(t *testing.T) {
	t.Parallel()
	for _, in := range [][]byte{
		text(500_000),
		join(gz(t, 6, stdgzip.Header{}, text(10)), make([]byte, 200_000)),
		join(zst(t, text(10)), skippable(1, noise(200_000))),
		join(zst(t, text(10)), make([]byte, 200_000)),
	} {
		end := errors.New("wrong digest")
		_, _, err := read(io.MultiReader(bytes.NewReader(in), iotest.ErrReader(end)))
		require.ErrorIs(t, err, end)
		require.EqualError(t, err, "wrong digest")
	}
}

func TestB37_Corrupt(t *testing.T) {
	t.Parallel()
	a := text(100_000)
	good := gz(t, 6, stdgzip.Header{}, a)
	change := func(in []byte, offset int) []byte {
		out := bytes.Clone(in)
		if offset < 0 {
			offset += len(out)
		}
		out[offset] ^= 0x40
		return out
	}
	stored := zst(t, noise(1000))
	tests := []struct {
		name, message string
		in            []byte
	}{
		{"CRC", "gzip: corrupt data: wrong checksum", change(good, -8)},
		{"CRC of the second member", "gzip: corrupt data: wrong checksum", join(good, change(good, -5))},
		{"length", "gzip: corrupt data: wrong length", change(good, -1)},
		{"content of a stored block", "gzip: corrupt data: wrong checksum", change(gz(t, 0, stdgzip.Header{}, a), 5000)},
		{"method", "gzip: corrupt data: unknown compression method 72", change(good, 2)},
		{"flags", "gzip: corrupt data: reserved flags are set", change(good, 3)},
		{"garbage after", "gzip: corrupt data: something else follows the last member", join(good, []byte("garbage"))},
		{"one byte after", "gzip: corrupt data: something else follows the last member", join(good, []byte("g"))},
		{"garbage after padding", "gzip: corrupt data: something else follows the last member", join(good, make([]byte, 150_000), []byte{1})},
		{"deflate", "gzip: corrupt data: ", join(good[:10], bytes.Repeat([]byte{0xff}, 100))},
		{"zstd CRC", "zstd: corrupt data: ", change(stored, -1)},
		{"zstd content", "zstd: corrupt data: ", change(stored, 500)},
		{"zstd garbage after", "zstd: corrupt data: ", join(stored, []byte("garbage!"))},
		{"zstd garbage after, few", "zstd: corrupt data: ", join(stored, []byte("abcd"))},
		{"zstd garbage after padding", "zstd: corrupt data: ", join(stored, make([]byte, 150_000), []byte{1})},
		{"zstd window", "zstd: corrupt data: ", []byte{0x28, 0xb5, 0x2f, 0xfd, 0, 0xf0, 0, 0, 0, 0}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, _, err := read(bytes.NewReader(tt.in))
			require.ErrorIs(t, err, compress.ErrCorrupt)
			require.NotErrorIs(t, err, io.ErrUnexpectedEOF)
			assert.ErrorContains(t, err, tt.message)
		})
	}
}

func TestHeaderCRC(t *testing.T) {
	t.Parallel()
	// FHCRC with CRC-16 of the ten bytes: python3 -c 'import zlib; print(hex(zlib.crc32(bytes([0x1f,0x8b,8,2,0,0,0,0,0,255]))))'
	const sum = 0xb857c990
	header := []byte{0x1f, 0x8b, 8, 2, 0, 0, 0, 0, 0, 255}
	body := gz(t, 6, stdgzip.Header{}, []byte("x"))[10:]
	good := binary.LittleEndian.AppendUint16(bytes.Clone(header), sum&0xffff)
	got, _, err := read(bytes.NewReader(join(good, body)))
	require.NoError(t, err)
	assert.Equal(t, "x", string(got))
	bad := binary.LittleEndian.AppendUint16(bytes.Clone(header), ^uint16(sum&0xffff))
	_, _, err = read(bytes.NewReader(join(bad, body)))
	require.EqualError(t, err, "gzip: corrupt data: wrong header checksum")
}

func TestTruncated(t *testing.T) {
	t.Parallel()
	for name, in := range map[string][]byte{
		"gzip":         gz(t, 6, stdgzip.Header{Name: "n", Extra: []byte("e")}, text(2000)),
		"gzip noise":   gz(t, 6, stdgzip.Header{}, noise(2000)),
		"gzip members": join(gz(t, 6, stdgzip.Header{}, text(20)), gz(t, 6, stdgzip.Header{Comment: "c"}, text(20))),
		"zstd":         zst(t, text(2000)),
		"zstd noise":   zst(t, noise(2000)),
		"zstd frames":  join(zst(t, text(20)), skippable(2, []byte("skip me")), zst(t, text(20))),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			whole, format, err := read(bytes.NewReader(in))
			require.NoError(t, err)
			for n := 4; n < len(in); n++ {
				got, _, err := read(bytes.NewReader(in[:n]))
				if err == nil { // cut between two members or frames
					require.Less(t, len(got), len(whole)+1)
					require.Contains(t, []string{"gzip members", "zstd frames"}, name, "cut at %d of %d", n, len(in))
					continue
				}
				require.ErrorIs(t, err, io.ErrUnexpectedEOF, "cut at %d of %d", n, len(in))
				require.EqualError(t, err, format.String()+": stream ends too early: unexpected EOF")
				require.True(t, bytes.HasPrefix(whole, got))
			}
		})
	}
}

func TestSourceError(t *testing.T) {
	t.Parallel()
	lost := fmt.Errorf("connection lost: %w", io.EOF) // must not pass for an end
	for _, in := range [][]byte{nil, text(1000), gz(t, 6, stdgzip.Header{}, text(1000)), zst(t, text(1000))} {
		for _, n := range []int{0, len(in) / 2, len(in)} {
			_, _, err := read(io.MultiReader(bytes.NewReader(in[:n]), iotest.ErrReader(lost)))
			require.EqualError(t, err, "connection lost: EOF")
		}
	}
}

func TestUnsupported(t *testing.T) {
	t.Parallel()
	for name, in := range map[string]string{"xz": "\xfd7zXZ\x00\x00\x04", "bzip2": "BZh91AY&SY\x00"} {
		_, err := compress.NewReader(bytes.NewReader([]byte(in)))
		require.ErrorIs(t, err, compress.ErrUnsupportedFormat)
		require.EqualError(t, err, "unsupported compression: "+name)
	}
	got, format, err := read(bytes.NewReader([]byte("BZh9.txt\x00\x00\x00")))
	require.NoError(t, err)
	assert.Equal(t, compress.Plain, format)
	assert.Len(t, got, 11)
}

func TestClose(t *testing.T) {
	t.Parallel()
	for _, in := range [][]byte{text(1000), gz(t, 6, stdgzip.Header{}, text(1000)), zst(t, text(1000))} {
		z, err := compress.NewReader(bytes.NewReader(in))
		require.NoError(t, err)
		_, err = z.Read(make([]byte, 10))
		require.NoError(t, err)
		require.NoError(t, z.Close())
		require.NoError(t, z.Close())
		_, err = z.Read(make([]byte, 10))
		require.Error(t, err)
		require.NotErrorIs(t, err, io.EOF)
	}
}

// Differently cut reads of streams that end at every bit offset, with something
// behind them: what a decoder that reads ahead must give back.
func TestMemberBoundaries(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(3, 4))
	for range 60 {
		var in, want []byte
		for range 1 + rng.IntN(30) {
			data := text(rng.IntN(400))
			if rng.IntN(3) == 0 {
				data = noise(rng.IntN(400))
			}
			in = append(in, gz(t, []int{-2, 0, 1, 6, 9}[rng.IntN(5)], stdgzip.Header{}, data)...)
			want = append(want, data...)
		}
		z, err := compress.NewReader(&cutReader{rng: rng, r: bytes.NewReader(in)})
		require.NoError(t, err)
		var got []byte
		for {
			p := make([]byte, 1+rng.IntN(100))
			n, err := z.Read(p)
			got = append(got, p[:n]...)
			if errors.Is(err, io.EOF) {
				break
			}
			require.NoError(t, err)
		}
		require.True(t, bytes.Equal(want, got))
		require.NoError(t, z.Close())
	}
}

type cutReader struct {
	rng *rand.Rand
	r   io.Reader
}

func (c *cutReader) Read(p []byte) (int, error) {
	return c.r.Read(p[:1+c.rng.IntN(min(len(p), 20))])
}

// FuzzGzip compares with the standard library: the same bytes, and an error in
// the same cases, except for the padding that it does not know.
func FuzzGzip(f *testing.F) {
	f.Add(gz(f, 6, stdgzip.Header{}, text(300)))
	f.Add(gz(f, 0, stdgzip.Header{Name: "n"}, noise(30)))
	f.Add(join(gz(f, 9, stdgzip.Header{}, nil), gz(f, -2, stdgzip.Header{}, text(30)), []byte{0, 0}))
	f.Fuzz(func(t *testing.T, in []byte) {
		if len(in) > 1<<12 || len(in) < 10 || in[0] != 0x1f || in[1] != 0x8b {
			t.Skip()
		}
		const limit = 1 << 20
		z, err := compress.NewReader(bytes.NewReader(in))
		require.NoError(t, err)
		defer z.Close()
		got, err := io.ReadAll(io.LimitReader(z, limit))
		want, stdFail := std(in, limit)
		if stdFail == nil {
			require.NoError(t, err)
			require.True(t, bytes.Equal(want, got))
			return
		}
		if err == nil { // only padding is taken here and not there
			padding := len(in) - len(bytes.TrimRight(in, "\x00"))
			require.Positive(t, padding)
			for n := range padding {
				if want, stdFail = std(in[:len(in)-1-n], limit); stdFail == nil {
					break
				}
			}
			require.NoError(t, stdFail)
			require.True(t, bytes.Equal(want, got))
		}
	})
}

func std(in []byte, limit int64) ([]byte, error) {
	r, err := stdgzip.NewReader(bytes.NewReader(in))
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(r, limit))
	if err == nil {
		// All of the input has been looked at only when the end was seen.
		_, err = io.CopyN(io.Discard, r, 1)
		if errors.Is(err, io.EOF) || err == nil {
			return data, nil
		}
	}
	return data, err
}

func BenchmarkGzip(b *testing.B) {
	data := text(8 << 20)
	in := gz(b, 6, stdgzip.Header{}, data)
	b.Logf("inflater: %s", compress.Inflater)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		z, err := compress.NewReader(bytes.NewReader(in))
		require.NoError(b, err)
		n, err := io.Copy(io.Discard, z)
		require.NoError(b, err)
		require.Equal(b, int64(len(data)), n)
		require.NoError(b, z.Close())
	}
}
