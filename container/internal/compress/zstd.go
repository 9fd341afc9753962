package compress

import (
	"bufio"
	"errors"
	"io"

	"github.com/klauspost/compress/zstd"
)

// maxWindow is the largest window, in bytes, that a zstd frame may ask for. The
// zstd command has the same limit.
const maxWindow = 128 << 20

// zstdReader reads all frames of a zstd stream.
type zstdReader struct {
	src *tail
	dec *zstd.Decoder
}

func newZstd(br *bufio.Reader) (*zstdReader, error) {
	src := &tail{br: br}
	// One goroutine, the caller's: then nothing reads from the source after
	// Close, and no byte is read that the decoder does not need.
	dec, err := zstd.NewReader(src,
		zstd.WithDecoderConcurrency(1),
		zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxWindow(maxWindow))
	if err != nil {
		return nil, err
	}
	return &zstdReader{src: src, dec: dec}, nil
}

func (z *zstdReader) close() { z.dec.Close() }

func (z *zstdReader) Read(p []byte) (int, error) {
	n, err := z.dec.Read(p)
	if errors.Is(err, zstd.ErrMagicMismatch) && z.src.n >= 4 && z.src.last == [4]byte{} {
		// Not a frame but padding, if it goes on like that.
		end, zerr := skipZeros(z.src.br)
		if zerr != nil {
			return n, zerr
		}
		if end {
			return n, io.EOF
		}
	}
	return n, err
}

// tail remembers the last four bytes that were read: where the decoder stops at a
// magic number, those are it.
type tail struct {
	br   *bufio.Reader
	n    int64
	last [4]byte
}

func (t *tail) Read(p []byte) (int, error) {
	n, err := t.br.Read(p)
	t.n += int64(n)
	if n >= len(t.last) {
		copy(t.last[:], p[n-len(t.last):n])
	} else {
		copy(t.last[:], t.last[n:])
		copy(t.last[len(t.last)-n:], p[:n])
	}
	return n, err
}
