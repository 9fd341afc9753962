//go:build !libdeflate || !cgo

package deflate

import (
	"bytes"
	"fmt"

	"github.com/klauspost/compress/flate"
)

// Library names what compresses.
const Library = "klauspost/compress"

// levels maps those of gzip to the ones of klauspost/compress that come nearest in size.
var levels = [MaxLevel + 1]int{1: 1, 2: 2, 3: 3, 4: 5, 5: 7, 6: 8, 7: 8, 8: 9, 9: 9}

// Window is how many bytes before a piece count.
const Window = 32 << 10

// Compressor compresses pieces, one at a time.
type Compressor struct {
	level int
	w     *flate.Writer
	out   bytes.Buffer
}

// NewCompressor returns a compressor of level 1 to 9.
func NewCompressor(level int) (*Compressor, error) {
	if level < MinLevel || level > MaxLevel {
		return nil, fmt.Errorf("compression level %d: want %d to %d", level, MinLevel, MaxLevel)
	}
	return &Compressor{level: levels[level]}, nil
}

// Append compresses piece and appends it to dst. before is what came before it in the stream; only the last Window
// bytes count.
func (c *Compressor) Append(dst, piece, before []byte) ([]byte, error) {
	if len(piece) == 0 {
		return dst, nil
	}
	before = before[max(0, len(before)-Window):]
	c.out.Reset()
	var err error
	if c.w == nil {
		if c.w, err = flate.NewWriterDict(&c.out, c.level, before); err != nil {
			return dst, err
		}
	} else {
		c.w.ResetDict(&c.out, before)
	}
	if _, err := c.w.Write(piece); err != nil {
		return dst, err
	}
	if err := c.w.Flush(); err != nil {
		return dst, err
	}
	return append(dst, c.out.Bytes()...), nil
}
