package ostree

/*
#cgo pkg-config: ostree-1 gio-2.0 gio-unix-2.0
#cgo LDFLAGS: -ldl
#cgo CFLAGS: -Wno-deprecated-declarations
#include "shim.h"
*/
import "C"

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"unsafe"
)

// handle owns one reference to a C object. It is embedded in the Go types that
// wrap one and is never copied. A C call holds the handle in use, so Close
// called meanwhile takes effect when the call has returned.
type handle struct {
	mu      sync.Mutex
	ptr     unsafe.Pointer
	unref   func(unsafe.Pointer)
	uses    int
	closed  bool
	cleanup runtime.Cleanup
}

// liveHandles counts C references that Go owns; the leak tests read it.
var liveHandles atomic.Int64

// own takes over p, which is (transfer full); take a reference to a (transfer
// none) pointer first. unref must not reach h, or h is never collected.
func (h *handle) own(p unsafe.Pointer, unref func(unsafe.Pointer)) {
	h.ptr, h.unref = p, unref
	liveHandles.Add(1)
	h.cleanup = runtime.AddCleanup(h, func(p unsafe.Pointer) { dropRef(p, unref) }, p)
}

func dropRef(p unsafe.Pointer, unref func(unsafe.Pointer)) {
	liveHandles.Add(-1)
	unref(p)
}

// acquire returns the C pointer for use until release, or nil after close.
func (h *handle) acquire() unsafe.Pointer {
	if h == nil {
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed || h.ptr == nil {
		return nil
	}
	h.uses++
	return h.ptr
}

func (h *handle) release() {
	h.mu.Lock()
	h.uses--
	h.finish()
	h.mu.Unlock()
	runtime.KeepAlive(h)
}

// close gives the reference up, now or when the last call using it ends.
func (h *handle) close() {
	h.mu.Lock()
	h.closed = true
	h.finish()
	h.mu.Unlock()
}

func (h *handle) finish() {
	if h.closed && h.uses == 0 && h.ptr != nil {
		h.cleanup.Stop()
		dropRef(h.ptr, h.unref)
		h.ptr = nil
	}
}

func objectUnref(p unsafe.Pointer)  { C.g_object_unref(C.gpointer(p)) }
func variantUnref(p unsafe.Pointer) { C.g_variant_unref((*C.GVariant)(p)) }

// canceller ties a GCancellable to a context. A loop of C calls makes one.
type canceller struct {
	ctx  context.Context
	c    *C.GCancellable
	stop func() bool
	done chan struct{}
}

func newCanceller(ctx context.Context) (*canceller, error) {
	if ctx.Err() != nil {
		return nil, cancelled(ctx, nil)
	}
	k := &canceller{ctx: ctx}
	if ctx.Done() == nil {
		return k, nil
	}
	k.c = C.g_cancellable_new()
	c, done := k.c, make(chan struct{})
	k.done = done
	k.stop = context.AfterFunc(ctx, func() {
		C.g_cancellable_cancel(c)
		close(done)
	})
	return k, nil
}

// close waits for a cancel that has started, then drops the GCancellable.
func (k *canceller) close() {
	if k.c == nil {
		return
	}
	if !k.stop() {
		<-k.done
	}
	C.g_object_unref(C.gpointer(k.c))
	k.c = nil
}

// call enters C: it holds the owners (first of them is what a method is called
// on), links ctx to a GCancellable, and turns the GError into an error.
func call(ctx context.Context, op string, fn func(*C.GCancellable, **C.GError) C.gboolean, owners ...*handle) error {
	k, err := newCanceller(ctx)
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	defer k.close()
	return k.call(op, fn, owners...)
}

// callFast is call for functions that end soon whatever happens: ctx is only
// looked at before, which saves the GCancellable.
func callFast(ctx context.Context, op string, fn func(**C.GError) C.gboolean, owners ...*handle) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", op, cancelled(ctx, nil))
	}
	k := canceller{ctx: ctx}
	return k.call(op, func(_ *C.GCancellable, e **C.GError) C.gboolean { return fn(e) }, owners...)
}

func (k *canceller) call(op string, fn func(*C.GCancellable, **C.GError) C.gboolean, owners ...*handle) error {
	for i, o := range owners {
		if o.acquire() == nil {
			for _, p := range owners[:i] {
				p.release()
			}
			return fmt.Errorf("%s: %w", op, ErrClosed)
		}
	}
	var gerr *C.GError
	ok := fn(k.c, &gerr)
	for _, o := range owners {
		o.release()
	}
	if ok != 0 {
		if gerr != nil {
			C.g_error_free(gerr)
		}
		return nil
	}
	err := takeError(op, gerr)
	var e *Error
	if k.ctx.Err() != nil && errors.As(err, &e) && e.is(ioErrorDomain, C.G_IO_ERROR_CANCELLED) {
		return cancelled(k.ctx, err)
	}
	return err
}

// cancelled wraps the context's cause, and its error where the two differ.
func cancelled(ctx context.Context, err error) error {
	cause := context.Cause(ctx)
	switch {
	case err == nil && errors.Is(cause, ctx.Err()):
		return cause
	case err == nil:
		return fmt.Errorf("%w: %w", ctx.Err(), cause)
	case errors.Is(cause, ctx.Err()):
		return fmt.Errorf("%w: %w", err, cause)
	}
	return fmt.Errorf("%w: %w: %w", err, ctx.Err(), cause)
}

// takeError frees gerr. FALSE without a GError is a C precondition that failed.
func takeError(op string, gerr *C.GError) error {
	if gerr == nil {
		return &Error{Op: op, Message: "failed precondition in libostree"}
	}
	defer C.g_error_free(gerr)
	return &Error{
		Op:      op,
		Domain:  C.GoString(C.shim_quark(gerr)),
		Code:    int(gerr.code),
		Message: C.GoString(gerr.message),
	}
}

// arena holds C strings until free. A NUL inside a Go string would cut it short
// in C, so it is an error, to be looked at before the call.
type arena struct {
	ptrs []unsafe.Pointer
	err  error
}

func (a *arena) str(s string) *C.char {
	if strings.IndexByte(s, 0) >= 0 && a.err == nil {
		a.err = fmt.Errorf("%w: NUL in %q", ErrInvalidArgument, s)
	}
	p := C.CString(s)
	a.ptrs = append(a.ptrs, unsafe.Pointer(p))
	return p
}

// opt is NULL for "".
func (a *arena) opt(s string) *C.char {
	if s == "" {
		return nil
	}
	return a.str(s)
}

// strv is a NULL-terminated array; NULL for a nil slice.
func (a *arena) strv(list []string) **C.char {
	if list == nil {
		return nil
	}
	size := C.size_t(len(list)+1) * C.size_t(unsafe.Sizeof((*C.char)(nil)))
	p := (**C.char)(C.calloc(1, size))
	a.ptrs = append(a.ptrs, unsafe.Pointer(p))
	arr := unsafe.Slice(p, len(list)+1)
	for i, s := range list {
		arr[i] = a.str(s)
	}
	return p
}

func (a *arena) free() {
	for _, p := range a.ptrs {
		C.free(p)
	}
	a.ptrs = nil
}

// takeString frees a (transfer full) string; NULL is "".
func takeString(p *C.char) string {
	if p == nil {
		return ""
	}
	defer C.g_free(C.gpointer(unsafe.Pointer(p)))
	return C.GoString(p)
}

// takeStrv frees a (transfer full) NULL-terminated array.
func takeStrv(p **C.char) []string {
	if p == nil {
		return nil
	}
	defer C.g_strfreev(p)
	return copyStrv(p)
}

func copyStrv(p **C.char) []string {
	n := 0
	for q := p; q != nil && *q != nil; q = (**C.char)(unsafe.Add(unsafe.Pointer(q), unsafe.Sizeof(*q))) {
		n++
	}
	out := make([]string, 0, n)
	for _, s := range unsafe.Slice(p, n) {
		out = append(out, C.GoString(s))
	}
	return out
}

// newFile is a (transfer full) GFile for a local path.
func newFile(a *arena, path string) *C.GFile { return C.g_file_new_for_path(a.str(path)) }

// filePath is the path of a GFile that stays C's.
func filePath(f *C.GFile) string {
	if f == nil {
		return ""
	}
	return takeString(C.g_file_get_path(f))
}

func gbool(b bool) C.gboolean {
	if b {
		return 1
	}
	return 0
}

// bytesPtr is the address of b for a call that reads it; b may be empty.
func bytesPtr(b []byte) unsafe.Pointer { return unsafe.Pointer(unsafe.SliceData(b)) }

func ptr(p C.gconstpointer) unsafe.Pointer { return unsafe.Pointer(p) }
