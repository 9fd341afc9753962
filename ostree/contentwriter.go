package ostree

// #include "shim.h"
import "C"

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"unsafe"
)

// ContentWriter takes the content of one file object as it comes. It is for one goroutine at a time; several of them may be
// in use at once in one transaction. Finish or Close it.
type ContentWriter struct {
	h    handle
	repo *Repo
	mu   sync.Mutex
	left int64
	err  error
}

// WriteRegfile starts to write a regular file of size bytes, with info's owner and mode (0100000 set), as a file object. expected is as in
// WriteMetadata. In an open transaction. Archive repositories are not supported: there use WriteContent.
//
// C: ostree_repo_write_regfile
func (r *Repo) WriteRegfile(ctx context.Context, expected string, info FileInfo, xattrs []Xattr, size int64) (*ContentWriter, error) {
	const op = "write file"
	if info.Mode&ModeTypeMask != ModeTypeRegular {
		return nil, fmt.Errorf("%s: %w: mode %#o is not that of a regular file", op, ErrInvalidArgument, info.Mode)
	}
	if expected != "" {
		if err := ValidateChecksum(expected); err != nil {
			return nil, fmt.Errorf("%s: %w", op, err)
		}
	}
	if size < 0 {
		return nil, fmt.Errorf("%s: %w: size %d", op, ErrInvalidArgument, size)
	}
	switch r.Mode() {
	case ModeArchive, ModeBareSplitXattrs:
		return nil, fmt.Errorf("%s piece by piece: repository mode %v: %w", op, r.Mode(), ErrUnsupported)
	}
	flat, err := flattenXattrs(xattrs)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", op, err)
	}
	var a arena
	defer a.free()
	cexp := a.opt(expected)
	var p *C.OstreeContentWriter
	err = callFast(ctx, op, func(e **C.GError) C.gboolean {
		v := C.shim_xattrs_parse((*C.uint8_t)(bytesPtr(flat)), C.size_t(len(flat)))
		defer C.g_variant_unref(v)
		p = C.ostree_repo_write_regfile(r.c(), cexp, C.guint32(info.UID), C.guint32(info.GID), C.guint32(info.Mode), C.guint64(size), v, e)
		return gbool(p != nil)
	}, r.handle())
	if err != nil {
		return nil, err
	}
	w := &ContentWriter{repo: r, left: size}
	w.h.own(unsafe.Pointer(p), objectUnref)
	return w, nil
}

// Write adds content. More than was announced is an error matching ErrInvalidArgument.
//
// C: g_output_stream_write_all
func (w *ContentWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	const op = "write file"
	switch {
	case w.err != nil:
		return 0, w.err
	case int64(len(p)) > w.left:
		w.err = fmt.Errorf("%s: %w: content is longer than its size", op, ErrInvalidArgument)
		return 0, w.err
	case len(p) == 0:
		return 0, nil
	}
	var n C.gsize
	err := callFast(context.Background(), op, func(e **C.GError) C.gboolean {
		return C.g_output_stream_write_all((*C.GOutputStream)(w.h.ptr), unsafe.Pointer(&p[0]), C.gsize(len(p)), &n, nil, e)
	}, &w.h, w.repo.handle())
	runtime.KeepAlive(p)
	w.left -= int64(n)
	w.err = err
	return int(n), err
}

// Finish ends the file and returns the checksum of the object. Less content than was announced, or another checksum than
// expected, is an error and nothing is written.
//
// C: ostree_content_writer_finish
func (w *ContentWriter) Finish(ctx context.Context) (string, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	const op = "write file"
	switch {
	case w.err != nil:
		return "", w.err
	case w.left > 0:
		return "", fmt.Errorf("%s: %w: %d bytes of content are missing", op, ErrInvalidArgument, w.left)
	}
	var out *C.char
	err := call(ctx, op, func(c *C.GCancellable, e **C.GError) C.gboolean {
		out = C.ostree_content_writer_finish((*C.OstreeContentWriter)(w.h.ptr), c, e)
		return gbool(out != nil)
	}, &w.h, w.repo.handle())
	w.end()
	return takeString(out), err
}

// Close drops what was written unless Finish came first. It may be called twice.
func (w *ContentWriter) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.end()
	return nil
}

func (w *ContentWriter) end() {
	w.err = fmt.Errorf("write file: %w", ErrClosed)
	w.h.close()
}
