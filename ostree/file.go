package ostree

// #include "shim.h"
import "C"

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"sync"
	"unsafe"
)

// File is a file object opened for reading. Read and Close are for one goroutine at a time.
type File struct {
	Info   FileInfo
	Xattrs []Xattr // in the order stored

	h      handle // the GInputStream; unset for a symlink
	stream bool
	src    *streamReader // what the stream reads from, where that is Go's
	left   int64
	mu     sync.Mutex
	err    error
}

// LoadFile opens a file object. It returns ErrNotFound and ErrCorrupt. The caller closes it. A
// bare-user-only repository gives the owner 0:0 and no xattrs.
//
// C: ostree_repo_load_file
func (r *Repo) LoadFile(ctx context.Context, checksum string) (*File, error) {
	var a arena
	defer a.free()
	op, csum, err := objectArgs("load", ObjectFile, checksum, &a)
	if err != nil {
		return nil, err
	}
	var in *C.GInputStream
	var info *C.GFileInfo
	var xattrs *C.GVariant
	err = callFast(ctx, op, func(e **C.GError) C.gboolean {
		return C.ostree_repo_load_file(r.c(), csum, &in, &info, &xattrs, nil, e)
	}, r.handle())
	if err != nil {
		return nil, err
	}
	return newLoadedFile(op, in, info, xattrs)
}

// newLoadedFile takes over what a C function gave; in is NULL for a symlink.
func newLoadedFile(op string, in *C.GInputStream, info *C.GFileInfo, xattrs *C.GVariant) (*File, error) {
	defer C.g_object_unref(C.gpointer(unsafe.Pointer(info)))
	f := &File{Info: fileInfo(info)}
	var err error
	if in != nil {
		f.h.own(unsafe.Pointer(in), objectUnref)
		f.stream, f.left = true, f.Info.Size
	}
	if f.Info.Size < 0 { // as the header of an archive's object may say
		takeVariant(xattrs)
		f.h.close()
		return nil, fmt.Errorf("%s: %w: size %d", op, ErrCorrupt, f.Info.Size)
	}
	if f.Xattrs, err = takeVariant(xattrs).xattrs(); err != nil {
		f.h.close()
		return nil, fmt.Errorf("%s: %w", op, err)
	}
	return f, nil
}

func fileInfo(info *C.GFileInfo) FileInfo {
	var raw C.shim_file_info
	C.shim_read_file_info(info, &raw)
	return infoFromC(&raw)
}

// xattrs reads an "a(ayay)"; nil gives none.
func (v *Variant) xattrs() ([]Xattr, error) {
	if v == nil {
		return nil, nil
	}
	if err := v.want("a(ayay)"); err != nil {
		return nil, err
	}
	return parseXattrs(v.Bytes())
}

// Read reads content; a symlink has none. Content shorter than Info.Size is io.ErrUnexpectedEOF.
//
// C: g_input_stream_read
func (f *File) Read(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.err != nil:
		return 0, f.err
	case !f.stream || f.left == 0:
		return 0, io.EOF
	case len(p) == 0:
		return 0, nil
	}
	n, err := readStream(&f.h, p[:min(int64(len(p)), f.left)])
	if f.src != nil {
		err = f.src.result("read file object", err)
	}
	if err == nil && n == 0 {
		err = fmt.Errorf("read file object: %w", io.ErrUnexpectedEOF)
	}
	if err != nil {
		f.err = err
		return 0, err
	}
	f.left -= int64(n)
	return n, nil
}

// readStream reads into p, which is not empty, from the GInputStream of h: 0 at the end.
func readStream(h *handle, p []byte) (int, error) {
	var n C.gssize
	err := callFast(context.Background(), "read file object", func(e **C.GError) C.gboolean {
		n = C.g_input_stream_read((*C.GInputStream)(h.ptr), unsafe.Pointer(&p[0]), C.gsize(len(p)), nil, e)
		return gbool(n >= 0)
	}, h)
	runtime.KeepAlive(p)
	return max(int(n), 0), err
}

// FD returns the descriptor that content is read from, at its start as long as nothing was read:
// only where a file of the repository is the content itself (bare modes), -1 otherwise. It belongs to the File.
//
// C: g_file_descriptor_based_get_fd
func (f *File) FD() int {
	fd := -1
	if p := f.h.acquire(); p != nil {
		fd = int(C.shim_stream_fd((*C.GInputStream)(p)))
		f.h.release()
	}
	return fd
}

// Close releases the file; it may be called twice.
func (f *File) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil {
		f.err = fmt.Errorf("read file object: %w", ErrClosed)
	}
	if f.stream {
		f.h.close()
	}
	return nil
}
