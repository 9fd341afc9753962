// Package work hashes and writes files of several layers at once, in bounded memory.
package work

import (
	"context"
	"runtime"
	"sync"
)

// SmallFile is up to which size in bytes a file is handed to a worker as a whole; larger ones are streamed.
const SmallFile = 256 << 10

// queueDepth bounds the work, and with it the buffers, that waits for a worker.
const queueDepth = 32

// Pool hashes and writes files for several layers at once. Memory is bounded by the number of workers and the queue.
type Pool struct {
	tasks chan func()
	wg    sync.WaitGroup
}

// NewPool starts n workers; 0 means one for each processor. The pool must be closed.
func NewPool(n int) *Pool {
	if n <= 0 {
		n = runtime.GOMAXPROCS(0)
	}
	p := &Pool{tasks: make(chan func(), queueDepth)}
	for range n {
		p.wg.Go(func() {
			for task := range p.tasks {
				task()
			}
		})
	}
	return p
}

// Close waits for all work and stops the workers.
func (p *Pool) Close() {
	close(p.tasks)
	p.wg.Wait()
}

// Group is the work of one layer in a pool. The first error stops the layer.
type Group struct {
	Ctx    context.Context         // done when a task failed, which is then its cause
	Cancel context.CancelCauseFunc // to be called in the end, with nil
	pool   *Pool
	wg     sync.WaitGroup
}

// NewGroup starts an empty group.
func NewGroup(ctx context.Context, pool *Pool) *Group {
	g := &Group{pool: pool}
	g.Ctx, g.Cancel = context.WithCancelCause(ctx)
	return g
}

// Do runs task in the pool; its error becomes the cause of g.Ctx. It waits for room in the queue.
func (g *Group) Do(task func() error) error {
	g.wg.Add(1)
	run := func() {
		defer g.wg.Done()
		if g.Ctx.Err() != nil {
			return
		}
		if err := task(); err != nil {
			g.Cancel(err)
		}
	}
	select {
	case g.pool.tasks <- run:
		return nil
	case <-g.Ctx.Done():
		g.wg.Done()
		return context.Cause(g.Ctx)
	}
}

// Settle waits until no task is under way; unlike Wait it does not end the group.
func (g *Group) Settle() { g.wg.Wait() }

// Wait returns when all tasks are done, with the first error.
func (g *Group) Wait() error {
	g.wg.Wait()
	if g.Ctx.Err() != nil {
		return context.Cause(g.Ctx)
	}
	return nil
}

// buffers are kept by size so that a small file does not hold a large one.
var buffers = [...]*bufferClass{newBufferClass(4 << 10), newBufferClass(32 << 10), newBufferClass(SmallFile)}

type bufferClass struct {
	size int
	pool sync.Pool
}

func newBufferClass(size int) *bufferClass {
	return &bufferClass{size: size, pool: sync.Pool{New: func() any { b := make([]byte, size); return &b }}}
}

// Buffer returns n bytes and what gives them back. n is at most SmallFile.
func Buffer(n int64) ([]byte, func()) {
	for _, class := range buffers {
		if n <= int64(class.size) {
			b := class.pool.Get().(*[]byte)
			return (*b)[:n], func() { class.pool.Put(b) }
		}
	}
	b := make([]byte, n)
	return b, func() {}
}
