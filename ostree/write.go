package ostree

// #include "shim.h"
import "C"

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"runtime/cgo"
	"slices"
	"strings"
	"sync"
	"unsafe"
)

// FileInfo is the metadata of a file object besides its xattrs.
type FileInfo struct {
	UID, GID      uint32
	Mode          uint32 // st_mode: type and permission bits, for example 0100644 or 0120777
	Size          int64  // bytes; of a regular file
	SymlinkTarget string // of a symlink
}

// Mode bits of the two kinds of file object.
const (
	ModeTypeMask    uint32 = 0o170000
	ModeTypeRegular uint32 = 0o100000
	ModeTypeSymlink uint32 = 0o120000
	ModeTypeDir     uint32 = 0o040000
)

// Xattr is an extended attribute. Names hold no NUL; values are any bytes.
type Xattr struct {
	Name  string // for example "security.capability"
	Value []byte
}

// WriteMetadata writes a dirtree, dirmeta or commit object from its serialized form and returns its
// checksum. expected is the checksum that it must have, "" for any; where an object of that name
// is there already, data is not looked at. libostree checks the structure. For other metadata see
// WriteDetachedMetadata. Safe for concurrent use within an open transaction. ctx is only looked at before.
//
// C: ostree_repo_write_metadata
func (r *Repo) WriteMetadata(ctx context.Context, t ObjectType, expected string, data []byte) (string, error) {
	return r.writeMetadata(ctx, t, expected, data, Verify)
}

// WriteMetadataTrusted is WriteMetadata that does not look at the structure: for callers that made
// the object and computed its checksum.
//
// C: ostree_repo_write_metadata_trusted
func (r *Repo) WriteMetadataTrusted(ctx context.Context, t ObjectType, checksum string, data []byte) error {
	if checksum == "" {
		return fmt.Errorf("write %v: %w: no checksum", t, ErrInvalidArgument)
	}
	_, err := r.writeMetadata(ctx, t, checksum, data, Trusted)
	return err
}

func (r *Repo) writeMetadata(ctx context.Context, t ObjectType, expected string, data []byte, trust Trust) (string, error) {
	op := "write " + t.String()
	switch t { // libostree aborts on others
	case ObjectDirTree, ObjectDirMeta, ObjectCommit:
	default:
		return "", fmt.Errorf("%s: %w: neither a dirtree, a dirmeta nor a commit", op, ErrInvalidArgument)
	}
	if expected != "" {
		if err := ValidateChecksum(expected); err != nil {
			return "", fmt.Errorf("%s: %w", op, err)
		}
	}
	var a arena
	defer a.free()
	cexp := a.opt(expected)
	var sum [C.OSTREE_SHA256_DIGEST_LEN]byte
	err := callFast(ctx, op, func(e **C.GError) C.gboolean {
		return C.shim_write_metadata(r.c(), C.int(t), cexp, bytesPtr(data), C.size_t(len(data)),
			(*C.guchar)(unsafe.Pointer(&sum)), gbool(bool(trust)), nil, e)
	}, r.handle())
	if err != nil {
		return "", err
	}
	if trust == Trusted {
		return expected, nil
	}
	got := hexSum(&sum)
	if expected == "" || got == expected {
		return got, nil
	}
	// libostree does not compare where it has the object that data really is.
	return "", &Error{
		Op: op, Domain: ioErrorDomain, Code: C.G_IO_ERROR_FAILED,
		Message: fmt.Sprintf("Corrupted %v object; checksum expected='%s' actual='%s'", t, expected, got),
	}
}

// WriteContent writes a regular file (mode 0100000, size bytes from content) or a symlink (mode
// 0120000, target in info; content nil) as a file object and returns its
// checksum. expected is as in WriteMetadata. xattrs are stored sorted by name; bare repositories do not read those back that have an empty value,
// which makes fsck report the object: leave them out.
// Works in every mode that libostree writes; owner, xattrs and setuid bits need root in a bare
// repository. Contents over 256 KiB are streamed. An error of content is wrapped; content shorter or
// longer than size is an error (io.ErrUnexpectedEOF when shorter).
// Safe for concurrent use within an open transaction.
//
// C: ostree_repo_write_content, ostree_raw_file_to_content_stream
func (r *Repo) WriteContent(ctx context.Context, expected string, info FileInfo, xattrs []Xattr, content io.Reader, size int64) (string, error) {
	return r.writeContent(ctx, expected, info, xattrs, content, size, Verify)
}

// WriteContentTrusted is WriteContent that believes the checksum and hashes
// nothing: for callers that computed it from what they pass.
//
// C: ostree_repo_write_content_trusted, ostree_raw_file_to_content_stream
func (r *Repo) WriteContentTrusted(ctx context.Context, checksum string, info FileInfo, xattrs []Xattr, content io.Reader, size int64) error {
	if checksum == "" {
		return fmt.Errorf("write file: %w: no checksum", ErrInvalidArgument)
	}
	_, err := r.writeContent(ctx, checksum, info, xattrs, content, size, Trusted)
	return err
}

// smallContent is read before the call and crosses in one piece.
const smallContent = 256 << 10

var smallBuffers = sync.Pool{New: func() any { b := make([]byte, smallContent); return &b }}

func (r *Repo) writeContent(ctx context.Context, expected string, info FileInfo, xattrs []Xattr, content io.Reader, size int64, trust Trust) (string, error) {
	const op = "write file"
	if expected != "" {
		if err := ValidateChecksum(expected); err != nil {
			return "", fmt.Errorf("%s: %w", op, err)
		}
	}
	if size < 0 {
		return "", fmt.Errorf("%s: %w: size %d", op, ErrInvalidArgument, size)
	}
	var a arena
	defer a.free()
	cexp := a.opt(expected)
	flat, err := flattenXattrs(xattrs)
	if err != nil {
		return "", fmt.Errorf("%s: %w", op, err)
	}
	var target *C.char
	switch info.Mode & ModeTypeMask {
	case ModeTypeRegular:
	case ModeTypeSymlink:
		if info.SymlinkTarget == "" {
			return "", fmt.Errorf("%s: %w: symlink without a target", op, ErrInvalidArgument)
		}
		target, content, size = a.str(info.SymlinkTarget), nil, 0
		// A symlink's size is not stored, but libostree puts the given one in the stats.
	default:
		return "", fmt.Errorf("%s: %w: mode %#o is neither a regular file nor a symlink", op, ErrInvalidArgument, info.Mode)
	}
	if a.err != nil {
		return "", fmt.Errorf("%s: %w", op, a.err)
	}

	var sum [C.OSTREE_SHA256_DIGEST_LEN]byte
	enter := func(c *C.GCancellable, e **C.GError, buf []byte, h cgo.Handle) C.gboolean {
		return C.shim_write_content(r.c(), cexp, C.uint32_t(info.UID), C.uint32_t(info.GID), C.uint32_t(info.Mode),
			C.uint64_t(size), target, (*C.uint8_t)(bytesPtr(flat)), C.size_t(len(flat)),
			bytesPtr(buf), C.uintptr_t(h), gbool(bool(trust)), (*C.guchar)(unsafe.Pointer(&sum)), c, e)
	}
	src := &streamReader{r: content, left: size}
	if size <= smallContent {
		var buf []byte
		if size > 0 {
			pb := smallBuffers.Get().(*[]byte)
			defer smallBuffers.Put(pb)
			buf = (*pb)[:size]
			if src.readAll(buf); src.err != nil {
				return "", fmt.Errorf("%s: %w", op, src.err)
			}
		} else if src.end(); src.err != nil {
			return "", fmt.Errorf("%s: %w", op, src.err)
		}
		err = callFast(ctx, op, func(e **C.GError) C.gboolean { return enter(nil, e, buf, 0) }, r.handle())
	} else {
		h := cgo.NewHandle(src)
		defer h.Delete()
		err = call(ctx, op, func(c *C.GCancellable, e **C.GError) C.gboolean { return enter(c, e, nil, h) }, r.handle())
		switch {
		case src.panicked != nil:
			panic(src.panicked)
		case err != nil && src.err != nil:
			return "", fmt.Errorf("%s: %w", op, src.err)
		}
	}
	if err != nil {
		return "", err
	}
	if trust == Trusted {
		return expected, nil
	}
	return hexSum(&sum), nil
}

// WriteSymlink writes a symlink as a file object; see WriteContent.
//
// C: ostree_repo_write_symlink
func (r *Repo) WriteSymlink(ctx context.Context, expected string, uid, gid uint32, xattrs []Xattr, target string) (string, error) {
	return r.WriteContent(ctx, expected, FileInfo{UID: uid, GID: gid, Mode: ModeTypeSymlink | 0o777, SymlinkTarget: target}, xattrs, nil, 0)
}

// WriteRegfileInline writes a regular file from memory; see WriteContent. Unlike the C
// function it works in archive repositories too.
//
// C: ostree_repo_write_regfile_inline
func (r *Repo) WriteRegfileInline(ctx context.Context, expected string, info FileInfo, xattrs []Xattr, data []byte) (string, error) {
	info.Mode = info.Mode&^ModeTypeMask | ModeTypeRegular
	return r.WriteContent(ctx, expected, info, xattrs, strings.NewReader(unsafe.String(unsafe.SliceData(data), len(data))), int64(len(data)))
}

// streamReader hands an io.Reader to C and holds it to its size.
type streamReader struct {
	r        io.Reader
	left     int64
	err      error
	panicked any
}

// fill is called from C: bytes read, 0 at the end, -1 after an error.
func (s *streamReader) fill(p []byte) (n int) {
	defer func() {
		if x := recover(); x != nil {
			s.panicked, n = x, -1
		}
	}()
	if s.err != nil {
		return -1
	}
	if s.left == 0 {
		if s.end(); s.err != nil {
			return -1
		}
		return 0
	}
	if int64(len(p)) > s.left {
		p = p[:s.left]
	}
	n, err := io.ReadFull(s.r, p)
	s.left -= int64(n)
	if err != nil {
		s.fail(err)
		return -1
	}
	if s.left == 0 {
		if s.end(); s.err != nil {
			return -1
		}
	}
	return n
}

func (s *streamReader) readAll(p []byte) {
	n, err := io.ReadFull(s.r, p)
	s.left -= int64(n)
	if err != nil {
		s.fail(err)
		return
	}
	s.end()
}

func (s *streamReader) fail(err error) {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = fmt.Errorf("content ends %d bytes early: %w", s.left, io.ErrUnexpectedEOF)
	}
	s.err = err
}

// end makes sure that nothing follows, which also lets a verifying reader speak.
func (s *streamReader) end() {
	if s.r == nil {
		return
	}
	var one [1]byte
	for range 100 {
		n, err := s.r.Read(one[:])
		switch {
		case n > 0:
			s.err = fmt.Errorf("%w: content is longer than its size", ErrInvalidArgument)
			return
		case err == io.EOF: //nolint:errorlint // the contract of io.Reader
			s.r = nil
			return
		case err != nil:
			s.err = err
			return
		}
	}
	s.err = io.ErrNoProgress
}

// sortXattrs returns the list sorted by name, checked.
func sortXattrs(xattrs []Xattr) ([]Xattr, error) {
	byName := func(a, b Xattr) int { return strings.Compare(a.Name, b.Name) }
	if !slices.IsSortedFunc(xattrs, byName) {
		xattrs = slices.Clone(xattrs)
		slices.SortFunc(xattrs, byName)
	}
	size := 0
	for i, x := range xattrs {
		if x.Name == "" || strings.IndexByte(x.Name, 0) >= 0 {
			return nil, fmt.Errorf("%w: xattr name %q", ErrInvalidArgument, x.Name)
		}
		if i > 0 && x.Name == xattrs[i-1].Name {
			return nil, fmt.Errorf("%w: xattr %q given twice", ErrInvalidArgument, x.Name)
		}
		if size += 9 + len(x.Name) + len(x.Value); size > maxXattrs {
			return nil, fmt.Errorf("%w: xattrs are larger than %d bytes", ErrInvalidArgument, maxXattrs)
		}
	}
	return xattrs, nil
}

// maxXattrs is more than any Linux file system holds.
const maxXattrs = 16 << 20

// flattenXattrs sorts by name and encodes for shim_xattrs_parse.
func flattenXattrs(xattrs []Xattr) ([]byte, error) {
	if len(xattrs) == 0 {
		return nil, nil
	}
	xattrs, err := sortXattrs(xattrs)
	if err != nil {
		return nil, err
	}
	var flat []byte
	for _, x := range xattrs {
		flat = binary.NativeEndian.AppendUint32(flat, uint32(len(x.Name)+1))
		flat = append(append(flat, x.Name...), 0)
		flat = binary.NativeEndian.AppendUint32(flat, uint32(len(x.Value)))
		flat = append(flat, x.Value...)
	}
	return flat, nil
}
