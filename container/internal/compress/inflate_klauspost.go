//go:build !isal || !cgo

package compress

import (
	"bufio"
	"io"

	"github.com/klauspost/compress/flate"
)

// Inflater names the decoder of deflate streams that is built in.
const Inflater = "klauspost/compress"

type klauspost struct {
	br *bufio.Reader
	io.ReadCloser
}

func newInflater(br *bufio.Reader) (inflater, error) {
	return &klauspost{br: br, ReadCloser: flate.NewReader(br)}, nil
}

func (k *klauspost) reset() error {
	return k.ReadCloser.(flate.Resetter).Reset(k.br, nil)
}

func (k *klauspost) close() {}
