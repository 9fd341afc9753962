package ostree

// #include "shim_archive.h"
import "C"

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"runtime/cgo"
	"strings"

	"golang.org/x/sys/unix"
)

// ImportArchiveOptions are the options of WriteArchiveToMTree; nil is the zero value.
type ImportArchiveOptions struct {
	AutoCreateParents bool // make directories that have no entry, mode 0755; an empty archive gives an empty root then
	IgnoreUnsupported bool // leave devices, FIFOs and sockets out in place of an error
	OSTreeConvention  bool // what is in /etc goes to /usr/etc
	// Translate returns where an entry goes, or "" for where it is; both without "/" at the start. Directories come before what is in them.
	// It excludes OSTreeConvention and must not use the repository. Nil: all stay.
	Translate func(path string, info FileInfo) string
}

// WriteArchiveToMTree writes the files of a tar archive as objects and adds them to a tree, in an open transaction: what
// `ostree commit --tree=tar=FILE` does. The archive is not compressed; use a decompressing reader. After an error m holds a part of it. mod
// and opts may be nil. An archive that ends early, and an error of in, are errors. With ctx done it ends when the Read under way
// returns. ErrUnsupported: libostree is built without libarchive.
//
// C: ostree_repo_write_archive_to_mtree_from_fd, ostree_repo_import_archive_to_mtree
func (r *Repo) WriteArchiveToMTree(ctx context.Context, in io.Reader, m *MutableTree, mod *CommitModifier, opts *ImportArchiveOptions) error {
	const op = "import archive"
	if opts == nil {
		opts = &ImportArchiveOptions{}
	}
	if opts.Translate != nil && opts.OSTreeConvention {
		return fmt.Errorf("%s: %w: Translate with OSTreeConvention", op, ErrInvalidArgument)
	}
	if err := archiveSupport(op); err != nil {
		return err
	}
	cb := &entryCallbacks{translate: opts.Translate}
	o := C.shim_import_options{
		autocreate_parents: C.int(gbool(opts.AutoCreateParents)),
		ignore_unsupported: C.int(gbool(opts.IgnoreUnsupported)),
		ostree_convention:  C.int(gbool(opts.OSTreeConvention)),
	}
	if opts.Translate != nil {
		h := cgo.NewHandle(cb)
		defer h.Delete()
		o.translate = C.uintptr_t(h)
	}
	return r.withModifier(ctx, mod, op, func(cm *C.OstreeRepoCommitModifier) error {
		return cb.finish(op, feedArchive(ctx, op, in, func(ctx context.Context, fd int) error {
			return call(ctx, op, func(c *C.GCancellable, e **C.GError) C.gboolean {
				return C.shim_import_archive(r.c(), C.int(fd), m.c(), cm, &o, c, e)
			}, r.handle(), m.handle())
		}))
	})
}

// feedArchive runs fn with a descriptor to read the archive from. libostree never ends on an archive that libarchive cannot read on
// within a file (2022.7 to 2026.4), except when it is cancelled. So archive/tar reads the archive, fn gets what a tar.Writer makes of it, and
// where that ends early fn's context is cancelled first.
func feedArchive(ctx context.Context, op string, in io.Reader, fn func(context.Context, int) error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", op, cancelled(ctx, nil))
	}
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		return fmt.Errorf("%s: %w", op, os.NewSyscallError("pipe2", err))
	}
	if err := unix.SetNonblock(fds[1], true); err != nil { // Close ends a Write then
		unix.Close(fds[0])
		unix.Close(fds[1])
		return fmt.Errorf("%s: %w", op, os.NewSyscallError("fcntl", err))
	}
	w := os.NewFile(uintptr(fds[1]), "archive")
	inner, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := context.AfterFunc(inner, func() { w.Close() })
	defer stop()
	copied := make(chan error, 1)
	var panicked any
	go func() {
		defer w.Close()
		err := errors.New("the reader panicked")
		defer func() {
			if panicked = recover(); panicked != nil || err != nil {
				cancel(err)
			}
			copied <- err
		}()
		err = copyTar(w, in)
	}()
	err := fn(inner, fds[0])
	unix.Close(fds[0]) // what is still written fails
	source := <-copied
	switch {
	case panicked != nil:
		panic(panicked)
	case err != nil && ctx.Err() != nil:
		return fmt.Errorf("%s: %w", op, cancelled(ctx, nil))
	case source == nil || errors.Is(source, unix.EPIPE) || errors.Is(source, fs.ErrClosed):
		return err
	}
	return fmt.Errorf("%s: %w", op, source)
}

// copyTar writes an archive again, names and link targets as the bytes they are.
func copyTar(w io.Writer, in io.Reader) error {
	tr, tw := tar.NewReader(in), tar.NewWriter(w)
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return tw.Close()
		}
		if err != nil {
			return err
		}
		switch h.Typeflag {
		case tar.TypeXGlobalHeader:
			continue
		case tar.TypeGNUSparse, tar.TypeCont:
			h.Typeflag = tar.TypeReg
		}
		records := map[string]string{"hdrcharset": "BINARY"}
		maps.Copy(records, h.PAXRecords)
		maps.DeleteFunc(records, func(key, _ string) bool { return strings.HasPrefix(key, "GNU.sparse.") })
		out := &tar.Header{
			Typeflag: h.Typeflag, Name: h.Name, Linkname: h.Linkname, Size: h.Size, Mode: h.Mode & 0o7777, Uid: h.Uid, Gid: h.Gid,
			Devmajor: h.Devmajor, Devminor: h.Devminor, PAXRecords: records, Format: tar.FormatPAX,
		}
		if err := tw.WriteHeader(out); err != nil {
			return fmt.Errorf("entry %q: %w", h.Name, err)
		}
		if _, err := io.Copy(tw, tr); err != nil {
			return fmt.Errorf("entry %q: %w", h.Name, err)
		}
	}
}
