//go:build isal && cgo

package compress

import (
	"bufio"

	"github.com/ostree-container/ostree-container/container/internal/igzip"
)

// Inflater names the decoder of deflate streams that is built in.
const Inflater = "ISA-L"

type isal struct{ *igzip.Reader }

func newInflater(br *bufio.Reader) (inflater, error) {
	r, err := igzip.NewReader(br)
	if err != nil {
		return nil, err
	}
	return isal{r}, nil
}

func (i isal) reset() error { i.Reset(); return nil }

func (i isal) close() { i.Reader.Close() }
