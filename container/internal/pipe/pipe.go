// Package pipe reads ahead: one goroutine fills a few buffers while another consumes them.
package pipe

import (
	"errors"
	"io"
	"sync"
)

// Sizes: what one Reader holds is bounded by their product.
const (
	bufferSize  = 128 << 10
	bufferCount = 4
)

var errClosed = errors.New("read-ahead was closed")

var pool = sync.Pool{New: func() any { b := make([]byte, bufferSize); return &b }}

// Reader gives the bytes of a source that a goroutine of its own reads. Read is for one goroutine.
type Reader struct {
	full chan chunk
	stop chan struct{}
	done chan struct{}
	cur  chunk
	rest []byte
	err  error
	once sync.Once
}

type chunk struct {
	buf *[]byte
	n   int
	err error
}

// New starts reading src. The Reader must be closed; closing does not close src.
func New(src io.Reader) *Reader {
	r := &Reader{full: make(chan chunk, bufferCount), stop: make(chan struct{}), done: make(chan struct{})}
	go r.fill(src)
	return r
}

func (r *Reader) fill(src io.Reader) {
	defer close(r.done)
	defer close(r.full)
	for {
		buf := pool.Get().(*[]byte)
		n, err := readFull(src, *buf)
		select {
		case r.full <- chunk{buf, n, err}:
		case <-r.stop:
			pool.Put(buf)
			return
		}
		if err != nil {
			return
		}
	}
}

// readFull is io.ReadFull that passes the source's own error on, io.EOF included.
func readFull(src io.Reader, p []byte) (n int, err error) {
	for n < len(p) && err == nil {
		var m int
		m, err = src.Read(p[n:])
		n += m
	}
	return n, err
}

// Read returns the source's bytes and, after them, its error.
func (r *Reader) Read(p []byte) (int, error) {
	for len(r.rest) == 0 {
		if r.err != nil {
			return 0, r.err
		}
		if r.cur.buf != nil {
			pool.Put(r.cur.buf)
			r.cur.buf = nil
		}
		c, ok := <-r.full
		if !ok {
			r.err = errClosed
			return 0, r.err
		}
		r.cur, r.rest, r.err = c, (*c.buf)[:c.n], c.err
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// Close stops reading ahead and waits until the source is not read any more; a Read of the source that blocks has to be ended by
// whoever owns the source. It may be called twice.
func (r *Reader) Close() {
	r.once.Do(func() {
		close(r.stop)
		<-r.done
		for c := range r.full {
			pool.Put(c.buf)
		}
		r.rest, r.err = nil, errClosed
	})
}
