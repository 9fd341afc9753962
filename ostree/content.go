package ostree

// #include "shim.h"
import "C"

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"runtime/cgo"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ContentFormat is how a file object is serialized: metadata first, then content.
type ContentFormat bool

// Formats of a serialized file object.
const (
	ContentPlain      ContentFormat = false // as it is hashed, and sent in static deltas
	ContentCompressed ContentFormat = true  // content deflated: the .filez files of an archive repository
)

// ParseContent reads a serialized file object of length bytes. The caller closes the File, which reads from r then. Whether the
// object has its checksum is not looked at, trust Verify checks the form of its metadata.
//
// C: ostree_content_stream_parse
func ParseContent(ctx context.Context, r io.Reader, length int64, format ContentFormat, trust Trust) (*File, error) {
	const op = "parse content"
	var head [4]byte
	if length < int64(len(head)) {
		return nil, fmt.Errorf("%s: %w: %d bytes", op, ErrCorrupt, length)
	}
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, fmt.Errorf("%s: %w", op, err)
	}
	if err := checkHeader(head[:]); err != nil {
		return nil, fmt.Errorf("%s: %w", op, err)
	}
	src := &streamReader{r: io.MultiReader(bytes.NewReader(head[:]), r), left: length}
	f, err := takeContent(ctx, op, func(in **C.GInputStream, info **C.GFileInfo, xattrs **C.GVariant, c *C.GCancellable, e **C.GError) C.gboolean {
		h := cgo.NewHandle(src) // released by the stream
		return C.shim_content_stream_parse(gbool(bool(format)), C.uintptr_t(h), C.guint64(length), gbool(bool(trust)), in, info, xattrs, c, e)
	})
	if err = src.result(op, err); err != nil {
		return nil, err
	}
	f.src = src
	return f, nil
}

// maxContentHeader bounds owner, mode, xattrs and symlink target of a file; libostree takes what it is told.
const maxContentHeader = 2 * maxXattrs

func checkHeader(head []byte) error {
	if n := binary.BigEndian.Uint32(head); n == 0 || n > maxContentHeader {
		return fmt.Errorf("%w: file header of %d bytes", ErrCorrupt, n)
	}
	return nil
}

// ParseContentFile is ParseContent for a file, for example objects/xx/xxxx.filez of an archive repository. Symlinks are followed.
//
// C: ostree_content_file_parse
func ParseContentFile(ctx context.Context, path string, format ContentFormat, trust Trust) (*File, error) {
	op := "parse content " + path
	if err := peekHeader(unix.AT_FDCWD, path); err != nil {
		return nil, fmt.Errorf("%s: %w", op, err)
	}
	var a arena
	defer a.free()
	file := newFile(&a, path)
	defer C.g_object_unref(C.gpointer(unsafe.Pointer(file)))
	return takeContent(ctx, op, func(in **C.GInputStream, info **C.GFileInfo, xattrs **C.GVariant, c *C.GCancellable, e **C.GError) C.gboolean {
		return C.ostree_content_file_parse(gbool(bool(format)), file, gbool(bool(trust)), in, info, xattrs, c, e)
	})
}

// ParseContentFileAt is ParseContentFile for a path relative to the directory dirfd.
//
// C: ostree_content_file_parse_at
func ParseContentFileAt(ctx context.Context, dirfd int, path string, format ContentFormat, trust Trust) (*File, error) {
	op := "parse content " + path
	if err := peekHeader(dirfd, path); err != nil {
		return nil, fmt.Errorf("%s: %w", op, err)
	}
	var a arena
	defer a.free()
	cpath := a.str(path)
	return takeContent(ctx, op, func(in **C.GInputStream, info **C.GFileInfo, xattrs **C.GVariant, c *C.GCancellable, e **C.GError) C.gboolean {
		return C.ostree_content_file_parse_at(gbool(bool(format)), C.int(dirfd), cpath, gbool(bool(trust)), in, info, xattrs, c, e)
	})
}

// peekHeader looks at the length of the header, which libostree would allocate whatever it is.
func peekHeader(dirfd int, path string) error {
	fd, err := unix.Openat(dirfd, path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	var head [4]byte
	n, err := unix.Pread(fd, head[:], 0)
	if err != nil {
		return &os.PathError{Op: "read", Path: path, Err: err}
	}
	if n < len(head) {
		return fmt.Errorf("%w: %d bytes", ErrCorrupt, n)
	}
	return checkHeader(head[:])
}

// takeContent makes a File of what a parser gives.
func takeContent(ctx context.Context, op string, parse func(**C.GInputStream, **C.GFileInfo, **C.GVariant, *C.GCancellable, **C.GError) C.gboolean) (*File, error) {
	var in *C.GInputStream
	var info *C.GFileInfo
	var xattrs *C.GVariant
	err := call(ctx, op, func(c *C.GCancellable, e **C.GError) C.gboolean { return parse(&in, &info, &xattrs, c, e) })
	if err != nil {
		return nil, err
	}
	return newLoadedFile(op, in, info, xattrs)
}

// ArchiveContent serializes a regular file (size bytes of content) or a symlink as an archive repository stores it; level is zlib's, 1 to 9, 0 for
// libostree's default. The caller closes the result, which reads from content. Content shorter or longer
// than size is an error, as in Repo.WriteContent.
//
// C: ostree_raw_file_to_archive_z2_stream, ostree_raw_file_to_archive_z2_stream_with_options
func ArchiveContent(ctx context.Context, info FileInfo, xattrs []Xattr, content io.Reader, size int64, level int) (io.ReadCloser, error) {
	const op = "archive content"
	if level < 0 || level > 9 {
		return nil, fmt.Errorf("%s: %w: level %d", op, ErrInvalidArgument, level)
	}
	var a arena
	defer a.free()
	m, err := newContentMeta(&a, info, xattrs, size)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", op, err)
	}
	var v *Variant // nil: the default
	owners := []*handle{}
	if level > 0 {
		if v, err = NewVariantDict().SetInt32("compression-level", int32(level)).Build(); err != nil {
			return nil, err
		}
		owners = append(owners, v.handle())
	}
	if m.target != nil {
		content = nil
	}
	s := &archiveStream{op: op, src: &streamReader{r: content, left: int64(m.size)}}
	var in *C.GInputStream
	err = call(ctx, op, func(c *C.GCancellable, e **C.GError) C.gboolean {
		h := cgo.NewHandle(s.src) // released by the stream
		return C.shim_archive_content(&m, C.uintptr_t(h), v.c(), &in, c, e)
	}, owners...)
	if err = s.src.result(op, err); err != nil {
		return nil, err
	}
	s.h.own(unsafe.Pointer(in), objectUnref)
	return s, nil
}

// archiveStream reads a GInputStream to its end.
type archiveStream struct {
	op  string
	h   handle
	mu  sync.Mutex
	src *streamReader
	err error
}

func (s *archiveStream) Read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil || len(p) == 0 {
		return 0, s.err
	}
	n, err := readStream(&s.h, p)
	if err = s.src.result(s.op, err); err != nil {
		s.err = err
	} else if n == 0 {
		s.err = io.EOF
	}
	return n, s.err
}

// Close ends the stream; it may be called twice.
func (s *archiveStream) Close() error {
	s.h.close()
	return nil
}
