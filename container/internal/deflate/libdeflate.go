//go:build libdeflate && cgo

package deflate

/*
#cgo pkg-config: libdeflate
#include <libdeflate.h>
*/
import "C"

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"unsafe"
)

// Library names what compresses.
const Library = "libdeflate"

// levels maps those of gzip to the quickest ones of libdeflate that leave about as much, at most 1.2 % more. docs/performance.md has the
// figures for level 6.
var levels = [MaxLevel + 1]C.int{1: 1, 2: 1, 3: 2, 4: 2, 5: 3, 6: 4, 7: 5, 8: 7, 9: 9}

// Window is how many bytes before a piece count: libdeflate has no preset dictionary.
const Window = 0

// Compressor compresses pieces, one at a time.
type Compressor struct {
	c       *C.struct_libdeflate_compressor
	cleanup runtime.Cleanup
	scan    scanner
}

// NewCompressor returns a compressor of level 1 to 9.
func NewCompressor(level int) (*Compressor, error) {
	if level < MinLevel || level > MaxLevel {
		return nil, fmt.Errorf("compression level %d: want %d to %d", level, MinLevel, MaxLevel)
	}
	c := &Compressor{c: C.libdeflate_alloc_compressor(levels[level])}
	if c.c == nil {
		return nil, errors.New("libdeflate: out of memory")
	}
	c.cleanup = runtime.AddCleanup(c, func(p *C.struct_libdeflate_compressor) { C.libdeflate_free_compressor(p) }, c.c)
	return c, nil
}

// Append compresses piece and appends it to dst. before, what came before it in the stream, is not used.
func (c *Compressor) Append(dst, piece, before []byte) ([]byte, error) {
	_ = before
	if len(piece) == 0 {
		return dst, nil
	}
	bound := int(C.libdeflate_deflate_compress_bound(c.c, C.size_t(len(piece)))) + len(syncMarker) + padding
	start := len(dst)
	dst = slices.Grow(dst, bound)
	room := dst[start : start+bound]
	n := int(C.libdeflate_deflate_compress(c.c, unsafe.Pointer(unsafe.SliceData(piece)), C.size_t(len(piece)),
		unsafe.Pointer(unsafe.SliceData(room)), C.size_t(bound)))
	runtime.KeepAlive(c)
	if n == 0 {
		return dst[:start], fmt.Errorf("libdeflate: %d bytes do not fit into %d", len(piece), bound)
	}
	open, err := c.scan.reopen(room[:n])
	if err != nil {
		return dst[:start], fmt.Errorf("libdeflate: %w", err)
	}
	return dst[:start+len(open)], nil
}
