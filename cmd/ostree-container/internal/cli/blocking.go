package cli

import (
	"context"
	"io"
	"os"
	"slices"
	"sync"
	"time"
)

// lastWords is how long a write may take once the context has ended: the error is still to be printed, but not to a pipe that nobody reads.
const lastWords = 200 * time.Millisecond

// unlessDone runs f, which may block for ever, and does not wait for it any longer when the context ends: then f goes on until the
// process ends, which it will soon.
func unlessDone(ctx context.Context, grace time.Duration, f func() (int, error)) (int, error) {
	type result struct {
		n   int
		err error
	}
	done := make(chan result, 1)
	go func() {
		n, err := f()
		done <- result{n, err}
	}()
	select {
	case r := <-done:
		return r.n, r.err
	case <-ctx.Done():
	}
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case r := <-done:
		return r.n, r.err
	case <-timer.C:
		return 0, context.Cause(ctx)
	}
}

// isPipe reports whether f is a pipe or socket, where the other side decides when something goes on.
func isPipe(f *os.File) bool {
	st, err := f.Stat()
	return err == nil && st.Mode()&(os.ModeNamedPipe|os.ModeSocket) != 0
}

// obedientWriter writes to a pipe until its context ends.
type obedientWriter struct {
	ctx   context.Context //nolint:containedctx // lives as long as one run
	f     *os.File
	mu    sync.Mutex
	stuck error // a write was given up
}

// obedient returns w, so that writing does not block when ctx has ended.
func obedient(ctx context.Context, w io.Writer) io.Writer {
	if f, ok := w.(*os.File); ok && ctx.Done() != nil && isPipe(f) {
		return &obedientWriter{ctx: ctx, f: f}
	}
	return w
}

func (w *obedientWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stuck != nil {
		return 0, w.stuck
	}
	p = slices.Clone(p) // the write may outlive this call
	n, err := unlessDone(w.ctx, lastWords, func() (int, error) { return w.f.Write(p) })
	if err != nil && w.ctx.Err() != nil {
		w.stuck = err
	}
	return n, err
}

// input is standard input. Reading it ends when the context does.
func (a *app) input(ctx context.Context) io.Reader { return obedientInput(ctx, a.in) }

func obedientInput(ctx context.Context, r io.Reader) io.Reader {
	if f, ok := r.(*os.File); ok && (isPipe(f) || isTerminal(f)) {
		return &obedientReader{ctx: ctx, f: f}
	}
	return r
}

// openInput opens a file for reading. Neither that nor reading waits for the writer of a FIFO when the context has ended.
func openInput(ctx context.Context, path string) (io.ReadCloser, error) {
	opened := make(chan *os.File, 1)
	if _, err := unlessDone(ctx, 0, func() (int, error) {
		f, err := os.Open(path)
		opened <- f
		return 0, err
	}); err != nil {
		return nil, err
	}
	file := <-opened
	return struct {
		io.Reader
		io.Closer
	}{obedientInput(ctx, file), file}, nil
}

// obedientReader reads from a pipe or terminal until its context ends.
type obedientReader struct {
	ctx context.Context //nolint:containedctx // lives as long as one command
	f   *os.File
	buf []byte // a read may outlive the call
}

const inputBuffer = 256 << 10

func (r *obedientReader) Read(p []byte) (int, error) {
	if r.ctx.Err() != nil {
		return 0, context.Cause(r.ctx)
	}
	if r.buf == nil {
		r.buf = make([]byte, inputBuffer)
	}
	buf := r.buf[:min(len(p), len(r.buf))]
	n, err := unlessDone(r.ctx, 0, func() (int, error) { return r.f.Read(buf) })
	return copy(p, buf[:n]), err
}
