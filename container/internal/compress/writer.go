package compress

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"runtime"
	"sync"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ostree-container/ostree-container/container/internal/deflate"
)

// MediaType is that of an OCI layer.
func (f Format) MediaType() string {
	switch f {
	case Gzip:
		return ocispec.MediaTypeImageLayerGzip
	case Zstd:
		return ocispec.MediaTypeImageLayerZstd
	}
	return ocispec.MediaTypeImageLayer
}

// pieceSize is how much of a stream is compressed on its own, in bytes. Results depend on it.
const pieceSize = 1 << 20

// encoder compresses pieces of streams, one at a time.
type encoder interface {
	// piece appends the compressed form of data to dst; before is what came before it in the stream, as far as it counts.
	piece(dst, data, before []byte) ([]byte, error)
}

// Pool compresses for any number of writers at once, on as many processors as there are. What a writer gives depends on what was
// written to it and nothing else.
type Pool struct {
	format Format
	level  int
	slots  chan struct{}
	idle   sync.Pool // of encoder
}

// NewPool returns a pool for one format and level: 1 to 9 for gzip, 1 to 19 for zstd, 0 for what is usual (6 and 3). jobs is
// how many pieces are worked on at once, 0 for one each processor.
func NewPool(format Format, level, jobs int) (*Pool, error) {
	if jobs <= 0 {
		jobs = runtime.GOMAXPROCS(0)
	}
	p := &Pool{format: format, level: level, slots: make(chan struct{}, jobs)}
	if format == Plain {
		if level != 0 {
			return nil, errors.New("a compression level without compression")
		}
		return p, nil
	}
	e, err := p.newEncoder()
	if err != nil {
		return nil, err
	}
	p.idle.Put(e)
	return p, nil
}

func (p *Pool) newEncoder() (encoder, error) {
	switch p.format {
	case Gzip:
		return newGzipEncoder(p.level)
	case Zstd:
		return newZstdEncoder(p.level)
	}
	return nil, fmt.Errorf("%w: format %d", ErrUnsupportedFormat, int(p.format))
}

func (p *Pool) compress(dst, data, before []byte) ([]byte, error) {
	e, ok := p.idle.Get().(encoder)
	if !ok {
		var err error
		if e, err = p.newEncoder(); err != nil {
			return nil, err
		}
	}
	defer p.idle.Put(e)
	return e.piece(dst, data, before)
}

// Format is what NewPool was given.
func (p *Pool) Format() Format { return p.format }

// Writer compresses one stream. It is for one goroutine; errors of the destination show in a later call.
type Writer struct {
	pool  *Pool
	dst   io.Writer
	piece []byte
	last  []byte // the end of the piece before, as far as it counts
	crc   uint32
	size  uint32 // modulo 2^32, as gzip has it

	queue chan chan result // in the order of the stream
	done  chan struct{}
	mu    sync.Mutex
	err   error
}

type result struct {
	data []byte
	err  error
}

// queued is how many compressed pieces of a stream wait for the ones before them at most.
const queued = 4

// NewWriter returns a writer that must be closed.
func (p *Pool) NewWriter(dst io.Writer) *Writer {
	w := &Writer{pool: p, dst: dst, queue: make(chan chan result, queued), done: make(chan struct{})}
	if p.format == Gzip {
		w.write([]byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff}, nil) // no name, no time, system unknown
	}
	go w.drain()
	return w
}

var (
	outputs = sync.Pool{New: func() any { return new([]byte) }}
	pieces  = sync.Pool{New: func() any { b := make([]byte, 0, pieceSize); return &b }}
)

func (w *Writer) drain() {
	defer close(w.done)
	for c := range w.queue {
		r := <-c
		w.write(r.data, r.err)
		outputs.Put(&r.data)
	}
}

// write passes on what is finished, in order.
func (w *Writer) write(data []byte, err error) {
	if w.failed() != nil {
		return
	}
	if err == nil {
		_, err = w.dst.Write(data)
	}
	if err != nil {
		w.mu.Lock()
		w.err = err
		w.mu.Unlock()
	}
}

func (w *Writer) failed() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// Write takes the next bytes of the stream.
func (w *Writer) Write(p []byte) (int, error) {
	if w.pool.format == Plain {
		return w.dst.Write(p)
	}
	total := len(p)
	for len(p) > 0 {
		if w.piece == nil {
			w.piece = (*pieces.Get().(*[]byte))[:0]
		}
		n := min(len(p), pieceSize-len(w.piece))
		w.piece = append(w.piece, p[:n]...)
		p = p[n:]
		if len(w.piece) == pieceSize {
			w.submit()
			if err := w.failed(); err != nil {
				return total - len(p), err
			}
		}
	}
	return total, nil
}

// submit has a piece compressed in the background.
func (w *Writer) submit() {
	data, before := w.piece, w.last
	w.piece = nil
	if w.pool.format == Gzip {
		w.last = bytes.Clone(data[max(0, len(data)-deflate.Window):])
		w.crc = crc32.Update(w.crc, crc32.IEEETable, data)
		w.size += uint32(len(data))
	}
	c := make(chan result, 1)
	w.queue <- c
	w.pool.slots <- struct{}{}
	go func() {
		out := outputs.Get().(*[]byte)
		b, err := w.pool.compress((*out)[:0], data, before)
		pieces.Put(&data)
		<-w.pool.slots
		c <- result{b, err}
	}()
}

// Close ends the stream. It does not close the destination.
func (w *Writer) Close() error {
	if w.queue == nil {
		return nil
	}
	if len(w.piece) > 0 {
		w.submit()
	}
	close(w.queue)
	<-w.done
	w.queue = nil
	if w.pool.format == Gzip {
		end := []byte(gzipEnd)
		end = binary.LittleEndian.AppendUint32(end, w.crc)
		end = binary.LittleEndian.AppendUint32(end, w.size)
		w.write(end, nil)
	}
	return w.failed()
}
