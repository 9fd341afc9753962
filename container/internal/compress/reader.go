package compress

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// Format is a way in which a stream is compressed.
type Format int

// The formats that are known.
const (
	// Plain is no compression.
	Plain Format = iota
	// Gzip is RFC 1952.
	Gzip
	// Zstd is RFC 8878, zstd:chunked included.
	Zstd
)

// String returns "plain", "gzip" or "zstd".
func (f Format) String() string {
	switch f {
	case Gzip:
		return "gzip"
	case Zstd:
		return "zstd"
	default:
		return "plain"
	}
}

var (
	// ErrCorrupt is wrapped by errors about compressed data that is not what
	// its format asks for: a bad header, code, checksum or length, or something
	// else after the end. A stream that merely ends too early gives
	// io.ErrUnexpectedEOF instead.
	ErrCorrupt = errors.New("corrupt data")

	// ErrUnsupportedFormat is wrapped by the error of NewReader for data
	// compressed in a way that no image may use: bzip2 or xz.
	ErrUnsupportedFormat = errors.New("unsupported compression")
)

// bufferSize is the number of compressed bytes held between source and decoder.
const bufferSize = 128 << 10

// Reader gives the decompressed bytes of a stream. It is not safe for concurrent
// use.
type Reader struct {
	format Format
	src    *source
	dec    decoder
	err    error
}

type decoder interface {
	io.Reader
	close()
}

// NewReader reads the first bytes of r and returns a reader of what is inside.
// An empty r gives an empty plain stream. Errors are those of r, or wrap
// ErrUnsupportedFormat.
//
// The errors of Read name the format ("gzip: …") and wrap ErrCorrupt,
// io.ErrUnexpectedEOF where the stream ends too early, or the error of r itself.
//
// Close must be called; it frees the decoder and leaves r alone. Memory is
// bounded: about 400 KiB for gzip, and for zstd what the window of the stream asks
// for, at most 128 MiB (as the zstd command does).
func NewReader(r io.Reader) (*Reader, error) {
	src := &source{r: r}
	br := bufio.NewReaderSize(src, bufferSize)
	format, err := detect(br)
	if src.err != nil {
		return nil, src.err
	}
	if err != nil {
		return nil, err
	}
	z := &Reader{format: format, src: src}
	switch format {
	case Gzip:
		z.dec, err = newGzip(br)
	case Zstd:
		z.dec, err = newZstd(br)
	default:
		z.dec = plain{br}
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", format, err)
	}
	return z, nil
}

// Format returns the format that was found.
func (z *Reader) Format() Format { return z.format }

// Read implements io.Reader. An error stays: later calls return it again.
func (z *Reader) Read(p []byte) (int, error) {
	if z.err != nil {
		return 0, z.err
	}
	if len(p) == 0 {
		return 0, nil
	}
	n, err := z.dec.Read(p)
	if err == nil {
		return n, nil
	}
	switch {
	case z.src.err != nil:
		// What the source says is the cause: a decoder may call it a truncated stream.
		z.err = z.src.err
	case errors.Is(err, io.EOF):
		z.err = io.EOF
	case errors.Is(err, io.ErrUnexpectedEOF):
		z.err = fmt.Errorf("%s: stream ends too early: %w", z.format, io.ErrUnexpectedEOF)
	case errors.Is(err, ErrCorrupt):
		z.err = fmt.Errorf("%s: %w", z.format, err)
	default:
		z.err = fmt.Errorf("%s: %w: %w", z.format, ErrCorrupt, err)
	}
	return n, z.err
}

// errClosed is what Read returns after Close.
var errClosed = errors.New("read from closed decompressor")

// Close frees the decoder. It does not read the rest of the stream and does not
// close the source. It may be called twice and returns nil.
func (z *Reader) Close() error {
	if z.dec != nil {
		z.dec.close()
		z.dec = nil
		z.err = errClosed
	}
	return nil
}

// source keeps the error of the reader below, so that no decoder can take it for
// something else. Only a plain io.EOF is an end: an error that wraps it, such as
// that of a lost connection, is not.
type source struct {
	r   io.Reader
	err error
}

var errSource = errors.New("source failed")

func (s *source) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && err != io.EOF { //nolint:errorlint // see above
		s.err = err
		return n, errSource
	}
	return n, err
}

type plain struct{ *bufio.Reader }

func (plain) close() {}

var (
	magicGzip = []byte{0x1f, 0x8b}
	magicZstd = []byte{0x28, 0xb5, 0x2f, 0xfd}
	// A skippable frame begins with one of 16 magic numbers; this is what they share.
	magicSkippable = []byte{0x2a, 0x4d, 0x18}
	magicXZ        = []byte{0xfd, '7', 'z', 'X', 'Z', 0}
	magicBzip2     = []byte("1AY&SY") // after "BZh" and a digit
)

// detect looks at the first bytes. A tar archive begins with a file name, which
// may not contain these magic numbers by chance: they are not text.
func detect(br *bufio.Reader) (Format, error) {
	head, err := br.Peek(10)
	if err != nil && !errors.Is(err, io.EOF) {
		return Plain, err
	}
	switch {
	case bytes.HasPrefix(head, magicGzip):
		return Gzip, nil
	case bytes.HasPrefix(head, magicZstd):
		return Zstd, nil
	case len(head) >= 4 && head[0]&0xf0 == 0x50 && bytes.Equal(head[1:4], magicSkippable):
		return Zstd, nil
	case bytes.HasPrefix(head, magicXZ):
		return Plain, fmt.Errorf("%w: xz", ErrUnsupportedFormat)
	case len(head) >= 10 && bytes.HasPrefix(head, []byte("BZh")) && bytes.Equal(head[4:10], magicBzip2):
		return Plain, fmt.Errorf("%w: bzip2", ErrUnsupportedFormat)
	}
	return Plain, nil
}

// skipZeros reads the zero bytes at the front of br and reports whether nothing
// follows them.
func skipZeros(br *bufio.Reader) (end bool, err error) {
	for {
		if _, err := br.Peek(1); errors.Is(err, io.EOF) {
			return true, nil
		} else if err != nil {
			return false, err
		}
		buffered, err := br.Peek(br.Buffered())
		if err != nil {
			return false, err
		}
		zeros := len(buffered) - len(bytes.TrimLeft(buffered, "\x00"))
		if _, err := br.Discard(zeros); err != nil {
			return false, err
		}
		if zeros < len(buffered) {
			return false, nil
		}
	}
}
