package ostree

// #include "shim_archive.h"
import "C"

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/cgo"
	"strings"
	"time"
)

func archiveSupport(op string) error {
	if missing := C.shim_archive_missing(); missing != nil {
		return fmt.Errorf("%s: libarchive has no %s: %w", op, C.GoString(missing), ErrUnsupported)
	}
	return nil
}

// ExportArchiveOptions are the options of ExportArchive; nil is the zero value.
type ExportArchiveOptions struct {
	SkipXattrs bool
	Timestamp  time.Time // of every entry, whole seconds from 1970 on; the zero value means 1970-01-01
	Prefix     string    // put before every path, for example "rootfs/"; "" for nothing
}

// ExportArchive writes a tree as a tar archive (pax). opts may be nil. An error of w is wrapped. ErrUnsupported: libostree is built without
// libarchive.
//
// C: ostree_repo_export_tree_to_archive
func (r *Repo) ExportArchive(ctx context.Context, w io.Writer, root *Tree, opts *ExportArchiveOptions) error {
	const op = "export archive"
	if err := archiveSupport(op); err != nil {
		return err
	}
	if opts == nil {
		opts = &ExportArchiveOptions{}
	}
	secs := int64(0)
	if !opts.Timestamp.IsZero() {
		secs = opts.Timestamp.Unix()
	}
	if secs < 0 || secs > maxUnixTime || w == nil {
		return fmt.Errorf("%s: %w: timestamp %v", op, ErrInvalidArgument, opts.Timestamp)
	}
	var a arena
	defer a.free()
	prefix := a.opt(strings.TrimPrefix(opts.Prefix, "/"))
	if a.err != nil {
		return fmt.Errorf("%s: %w", op, a.err)
	}
	s := &libarchiveIO{w: w}
	h := cgo.NewHandle(s)
	defer h.Delete()
	err := call(ctx, op, func(c *C.GCancellable, e **C.GError) C.gboolean {
		if C.ostree_repo_file_ensure_resolved(root.file(), e) == 0 {
			return 0
		}
		return C.shim_export_archive(r.c(), C.uintptr_t(h), root.file(), C.int(gbool(opts.SkipXattrs)), C.guint64(secs), prefix, c, e)
	}, r.handle(), root.handle())
	return s.finish(ctx, op, err)
}

// libarchiveIO is what libarchive's callback uses. A panic ends the work and goes on in the caller.
type libarchiveIO struct {
	w        io.Writer
	err      error
	panicked any
}

// write returns bytes written, -1 after an error.
func (s *libarchiveIO) write(p []byte) (n int) {
	defer func() {
		if x := recover(); x != nil {
			s.panicked, n = x, -1
		}
	}()
	n, err := s.w.Write(p)
	if err != nil {
		s.err = err
		return -1
	}
	return n
}

func (s *libarchiveIO) finish(ctx context.Context, op string, err error) error {
	switch {
	case s.panicked != nil:
		panic(s.panicked)
	case s.err != nil:
		return fmt.Errorf("%s: %w", op, s.err)
	case err != nil && ctx.Err() != nil && !errors.Is(err, ctx.Err()):
		return cancelled(ctx, err) // a callback saw it first
	}
	return err
}
