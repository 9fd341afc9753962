package compress

import (
	"fmt"

	"github.com/klauspost/compress/zstd"

	"github.com/ostree-container/ostree-container/container/internal/deflate"
)

// gzipEnd ends the deflate stream of a gzip file: pieces are joined to one member, since ostree-ext reads only the first (B28).
const gzipEnd = deflate.End

type gzipEncoder struct{ c *deflate.Compressor }

func newGzipEncoder(level int) (encoder, error) {
	if level == 0 {
		level = deflate.DefaultLevel
	}
	c, err := deflate.NewCompressor(level)
	return gzipEncoder{c}, err
}

func (g gzipEncoder) piece(dst, data, before []byte) ([]byte, error) {
	return g.c.Append(dst, data, before)
}

// zstdEncoder writes a frame for each piece, with its checksum.
type zstdEncoder struct{ e *zstd.Encoder }

// Levels of zstd, as its command has them.
const (
	defaultZstd = 3
	maxZstd     = 19
)

func newZstdEncoder(level int) (encoder, error) {
	if level == 0 {
		level = defaultZstd
	}
	if level < 1 || level > maxZstd {
		return nil, fmt.Errorf("compression level %d: want 1 to %d", level, maxZstd)
	}
	e, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.EncoderLevelFromZstd(level)))
	return zstdEncoder{e}, err
}

func (z zstdEncoder) piece(dst, data, _ []byte) ([]byte, error) { return z.e.EncodeAll(data, dst), nil }
