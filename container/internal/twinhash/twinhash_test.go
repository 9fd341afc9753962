package twinhash_test

import (
	"bytes"
	"crypto/sha256"
	"io"
	"math/rand/v2"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/container/internal/twinhash"
)

// Sums are those of Go's package, however the bytes come, whatever came before them and to one hash or to two.
func TestHash(t *testing.T) {
	random := rand.NewChaCha8([32]byte{1})
	data := make([]byte, 4096)
	_, _ = random.Read(data)
	for size := range 300 {
		h := twinhash.New()
		_, err := h.Write(data[:size])
		require.NoError(t, err)
		require.Equal(t, sha256.Sum256(data[:size]), h.Sum(), size)
	}
	next := rand.New(random)
	for range 2000 {
		a, b, wantA, wantB := twinhash.New(), twinhash.New(), sha256.New(), sha256.New()
		for range next.IntN(8) {
			from := next.IntN(len(data))
			p := data[from : from+next.IntN(min(len(data)-from, 1<<next.IntN(13))+1)]
			switch next.IntN(3) {
			case 0:
				_, _ = a.Write(p)
				wantA.Write(p)
			case 1:
				_, _ = b.Write(p)
				wantB.Write(p)
			default:
				twinhash.Both(a, b, p)
				wantA.Write(p)
				wantB.Write(p)
			}
			sum := a.Sum() // does not end it
			require.Equal(t, wantA.Sum(nil), sum[:])
		}
		sum := b.Sum()
		require.Equal(t, wantB.Sum(nil), sum[:])
	}
}

// A Reader gives what its source has, and the parts asked for to the second hash.
func TestReader(t *testing.T) {
	data := bytes.Repeat([]byte("0123456789"), 100)
	for name, source := range map[string]io.Reader{"whole": bytes.NewReader(data), "byte by byte": iotest.OneByteReader(bytes.NewReader(data))} {
		all, part := twinhash.New(), twinhash.New()
		r := twinhash.NewReader(source, all)
		through := twinhash.Through{Src: r, Via: r}
		got := make([]byte, len(data))
		_, err := io.ReadFull(r, got[:100])
		require.NoError(t, err, name)
		_, err = io.ReadFull(through.Hashing(part), got[100:700])
		require.NoError(t, err, name)
		_, err = io.ReadFull(through, got[700:])
		require.NoError(t, err, name)
		_, err = r.Read(got[:1])
		require.ErrorIs(t, err, io.EOF, name)
		assert.Equal(t, data, got, name)
		assert.Equal(t, sha256.Sum256(data), all.Sum(), name)
		assert.Equal(t, sha256.Sum256(data[100:700]), part.Sum(), name)
		assert.EqualValues(t, 600, part.Size(), name)
	}
}

func BenchmarkOne(b *testing.B) {
	data, h := make([]byte, 128<<10), twinhash.New()
	for b.SetBytes(int64(len(data))); b.Loop(); {
		_, _ = h.Write(data)
	}
}

// Bytes are counted once, though they are hashed twice.
func BenchmarkBoth(b *testing.B) {
	data, one, two := make([]byte, 128<<10), twinhash.New(), twinhash.New()
	_, _ = two.Write([]byte("header"))
	for b.SetBytes(int64(len(data))); b.Loop(); {
		twinhash.Both(one, two, data)
	}
}
