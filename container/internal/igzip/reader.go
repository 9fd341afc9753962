//go:build isal && cgo

package igzip

/*
#cgo pkg-config: libisal
#include <stdlib.h>
#include <isa-l/igzip_lib.h>

struct igzip_result {
	int64_t used;
	uint32_t made;
	int ret;
	int done;
};

// One step. The pointers are taken out of the state again before it returns, so
// that no Go pointer stays in C memory. Where the stream ends, whole bytes that
// igzip had read ahead, maybe in an earlier call, are given back: used may be
// negative then, by up to 8. Releases after 2.30 give them back themselves,
// through avail_in, and leave no bits in read_in.
static struct igzip_result igzip_step(struct inflate_state *s, uint8_t *in, uint32_t in_len,
                                      uint8_t *out, uint32_t out_len)
{
	struct igzip_result r;

	s->next_in = in;
	s->avail_in = in_len;
	s->next_out = out;
	s->avail_out = out_len;
	r.ret = isal_inflate(s);
	r.used = (int64_t)in_len - (int64_t)s->avail_in;
	r.made = out_len - s->avail_out;
	r.done = s->block_state == ISAL_BLOCK_FINISH;
	if (r.done && s->read_in_length > 0)
		r.used -= s->read_in_length / 8;
	s->next_in = s->next_out = NULL;
	s->avail_in = s->avail_out = 0;
	return r;
}
*/
import "C"

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math"
	"runtime"
	"unsafe"
)

// lookBack is the number of bytes that igzip may give back at the end of a stream:
// its bit buffer has 64 bits.
const lookBack = 8

var (
	// ErrCorrupt is wrapped by the errors about data that is not a deflate stream.
	ErrCorrupt = errors.New("invalid deflate data")

	errClosed = errors.New("igzip: read from closed reader")
)

// Reader gives the decoded bytes of one deflate stream. It is not safe for
// concurrent use.
type Reader struct {
	src     *bufio.Reader
	state   *C.struct_inflate_state
	cleanup runtime.Cleanup
	held    int // bytes at the front of src that igzip has read and may give back
	full    bool
	err     error
}

// NewReader returns a reader of the deflate stream at the front of src, whose
// buffer must hold more than 16 bytes. It holds about 90 KiB of C memory until
// Close or until it is garbage.
func NewReader(src *bufio.Reader) (*Reader, error) {
	state := (*C.struct_inflate_state)(C.calloc(1, C.sizeof_struct_inflate_state))
	if state == nil {
		return nil, errors.New("igzip: out of memory")
	}
	r := &Reader{src: src, state: state}
	r.cleanup = runtime.AddCleanup(r, func(p unsafe.Pointer) { C.free(p) }, unsafe.Pointer(state))
	r.Reset()
	return r, nil
}

// Reset makes r ready for another stream from the same source, which begins
// where the source now stands.
func (r *Reader) Reset() {
	if r.state == nil {
		return
	}
	C.isal_inflate_init(r.state)
	r.held, r.full, r.err = 0, false, nil
}

// Close frees the C memory. It may be called twice.
func (r *Reader) Close() {
	if r.state == nil {
		return
	}
	r.cleanup.Stop()
	C.free(unsafe.Pointer(r.state))
	r.state = nil
	r.err = errClosed
}

// Read implements io.Reader. At the end of the stream it returns io.EOF, and the
// source stands at the byte after it; before that, the position of the source is
// not defined. A source that ends earlier gives io.ErrUnexpectedEOF; other errors
// are those of the source or wrap ErrCorrupt.
func (r *Reader) Read(p []byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	if len(p) == 0 {
		return 0, nil
	}
	n, err := r.read(p)
	r.err = err
	return n, err
}

func (r *Reader) read(p []byte) (int, error) {
	p = p[:min(len(p), math.MaxInt32)]
	for {
		// Output that did not fit may be waiting: ask for input only after that.
		if !r.full && r.src.Buffered() <= r.held {
			if _, err := r.src.Peek(r.held + 1); errors.Is(err, io.EOF) {
				return 0, io.ErrUnexpectedEOF
			} else if err != nil {
				return 0, err
			}
		}
		in, err := r.src.Peek(r.src.Buffered())
		if err != nil {
			return 0, err
		}
		in = in[r.held:]
		res := C.igzip_step(r.state, (*C.uint8_t)(unsafe.SliceData(in)), C.uint32_t(len(in)),
			(*C.uint8_t)(unsafe.SliceData(p)), C.uint32_t(len(p)))
		runtime.KeepAlive(r)
		n := int(res.made)
		r.full = n == len(p)
		read := r.held + int(res.used) // of the source's buffer
		if read < 0 || read > r.held+len(in) {
			return n, fmt.Errorf("%w: igzip gave back more than it took", ErrCorrupt)
		}
		if res.ret < 0 {
			return n, fmt.Errorf("%w: %s", ErrCorrupt, reason(res.ret))
		}
		if res.done != 0 {
			if _, err := r.src.Discard(read); err != nil {
				return n, err
			}
			r.held = 0
			return n, io.EOF
		}
		r.held = min(read, lookBack)
		if _, err := r.src.Discard(read - r.held); err != nil {
			return n, err
		}
		if n > 0 {
			return n, nil
		}
		if res.used == 0 && len(in) > 0 {
			return 0, fmt.Errorf("%w: no progress", ErrCorrupt)
		}
	}
}

func reason(ret C.int) string {
	switch ret {
	case C.ISAL_INVALID_BLOCK:
		return "invalid block"
	case C.ISAL_INVALID_SYMBOL:
		return "invalid symbol"
	case C.ISAL_INVALID_LOOKBACK:
		return "invalid distance"
	default:
		return fmt.Sprintf("igzip error %d", int(ret))
	}
}
