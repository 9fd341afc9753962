package ostree

// #include "shim_archive.h"
import "C"

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
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
// and opts may be nil. An archive without its end, and an error of in, are errors. With ctx done it ends when the Read under way
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
		return cb.finish(op, feedArchive(ctx, op, in, func(k *canceller, fd int) error {
			return k.call(op, func(c *C.GCancellable, e **C.GError) C.gboolean {
				return C.shim_import_archive(r.c(), C.int(fd), m.c(), cm, &o, c, e)
			}, r.handle(), m.handle())
		}))
	})
}

// feedArchive runs fn with a descriptor to read the archive from. libostree never ends on an archive that libarchive cannot read on
// within a file (2022.7 to 2026.4): it is called again and again. So archive/tar reads the archive, fn gets what a tar.Writer makes of
// it, and where that ends early fn is cancelled and sees zeros for as long as it reads on, never an end.
func feedArchive(ctx context.Context, op string, in io.Reader, fn func(*canceller, int) error) error {
	inner, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	k, err := newCanceller(inner)
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	defer k.close()
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
	defer w.Close()
	returned := make(chan struct{})
	stop := context.AfterFunc(inner, func() {
		select {
		case <-k.done:
		case <-returned:
		}
		for zeros := make([]byte, 64<<10); ; {
			if _, err := w.Write(zeros); err != nil {
				return
			}
		}
	})
	defer stop()
	copied := make(chan error, 1)
	var panicked any
	go func() {
		err := errors.New("the reader panicked")
		defer func() {
			if panicked = recover(); panicked != nil || err != nil {
				cancel(err)
			} else {
				w.Close()
			}
			copied <- err
		}()
		err = copyTar(w, in)
	}()
	err = fn(k, fds[0])
	close(returned)
	unix.Close(fds[0]) // what is still written fails
	source := <-copied
	switch {
	case panicked != nil:
		panic(panicked)
	case ctx.Err() != nil && (err != nil || source != nil):
		return fmt.Errorf("%s: %w", op, cancelled(ctx, nil))
	case source == nil || errors.Is(source, unix.EPIPE):
		return err
	}
	return fmt.Errorf("%s: %w", op, source)
}

// copyTar writes an archive again, names and link targets as the bytes they are.
func copyTar(w io.Writer, in io.Reader) error {
	src := &zeroCounter{r: in}
	tr, tw := tar.NewReader(src), tar.NewWriter(w)
	for {
		src.n = 0
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			if src.n < 512 { // archive/tar takes an end between entries, and in their padding, for one
				return fmt.Errorf("no end of archive: %w", io.ErrUnexpectedEOF)
			}
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

// zeroCounter counts the zeros at the end of what was read.
type zeroCounter struct {
	r io.Reader
	n int
}

func (z *zeroCounter) Read(p []byte) (int, error) {
	n, err := z.r.Read(p)
	if rest := bytes.TrimRight(p[:n], "\x00"); len(rest) > 0 {
		z.n = n - len(rest)
	} else {
		z.n += n
	}
	return n, err
}
