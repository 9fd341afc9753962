package ostree

// #include "shim.h"
import "C"

import (
	"context"
	"fmt"
	"io"
	"runtime/cgo"
	"unsafe"
)

// ChecksumBytes returns the 32 bytes that a checksum of 64 hex digits stands for.
//
// C: ostree_checksum_inplace_to_bytes
func ChecksumBytes(checksum string) (sum [32]byte, err error) {
	if err := ValidateChecksum(checksum); err != nil {
		return sum, err
	}
	var a arena
	defer a.free()
	C.ostree_checksum_inplace_to_bytes(a.str(checksum), (*C.guchar)(unsafe.Pointer(&sum)))
	return sum, nil
}

// ChecksumString returns the 64 hex digits of a checksum.
//
// C: ostree_checksum_inplace_from_bytes
func ChecksumString(sum [32]byte) string {
	var out [C.OSTREE_SHA256_STRING_LEN + 1]byte
	C.ostree_checksum_inplace_from_bytes((*C.guchar)(unsafe.Pointer(&sum)), (*C.char)(unsafe.Pointer(&out)))
	return string(out[:C.OSTREE_SHA256_STRING_LEN])
}

// lenBase64 is the length of 32 bytes in base64 without padding.
const lenBase64 = 43

// ChecksumBase64 returns a checksum as 43 characters of base64 with "_" for "/" and without padding, as
// the names of static deltas have it.
//
// C: ostree_checksum_b64_inplace_from_bytes
func ChecksumBase64(checksum string) (string, error) {
	sum, err := ChecksumBytes(checksum)
	if err != nil {
		return "", err
	}
	var out [lenBase64 + 1]byte
	C.ostree_checksum_b64_inplace_from_bytes((*C.guchar)(unsafe.Pointer(&sum)), (*C.char)(unsafe.Pointer(&out)))
	return string(out[:lenBase64]), nil
}

// ParseChecksumBase64 is the reverse of ChecksumBase64.
//
// C: ostree_checksum_b64_inplace_to_bytes
func ParseChecksumBase64(s string) (string, error) {
	ok := len(s) == lenBase64
	for i := 0; ok && i < len(s); i++ {
		c := s[i]
		ok = c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '+' || c == '_'
	}
	if !ok {
		return "", fmt.Errorf("%w: checksum %q is not 43 characters of base64", ErrInvalidArgument, s)
	}
	var a arena
	defer a.free()
	var sum [lenBase64]byte // the decoder may write a few bytes more than 32
	C.ostree_checksum_b64_inplace_to_bytes(a.str(s), (*C.guint8)(unsafe.Pointer(&sum)))
	return ChecksumString([32]byte(sum[:32])), nil
}

// NewChecksumVariant makes the "ay" of 32 bytes that objects hold checksums as.
//
// C: ostree_checksum_to_bytes_v
func NewChecksumVariant(checksum string) (*Variant, error) {
	if err := ValidateChecksum(checksum); err != nil {
		return nil, err
	}
	var a arena
	defer a.free()
	return takeVariant(C.ostree_checksum_to_bytes_v(a.str(checksum))), nil
}

// Checksum reads an "ay" of 32 bytes as 64 hex digits. Another length is an error.
//
// C: ostree_checksum_bytes_peek_validate, ostree_checksum_from_bytes_v
func (v *Variant) Checksum() (sum string, err error) {
	if err := v.want("ay"); err != nil {
		return "", err
	}
	err = callFast(context.Background(), "read checksum", func(e **C.GError) C.gboolean {
		if C.ostree_checksum_bytes_peek_validate(v.c(), e) == nil {
			return 0
		}
		sum = takeString(C.ostree_checksum_from_bytes_v(v.c()))
		return 1
	}, v.handle())
	return sum, err
}

// ValidateChecksumVariant returns an error unless v is what objects hold checksums as: an "ay" of 32 bytes.
//
// C: ostree_validate_structureof_csum_v
func ValidateChecksumVariant(v *Variant) error {
	if err := v.want("ay"); err != nil {
		return err
	}
	return callFast(context.Background(), "validate checksum", func(e **C.GError) C.gboolean {
		return C.ostree_validate_structureof_csum_v(v.c(), e)
	}, v.handle())
}

// ChecksumFile returns the checksum that a file, symlink or directory (its owner, mode and xattrs) has as
// an object: ObjectFile for a file or symlink, ObjectDirMeta for a directory; or, for metadata types, that of
// the bytes in the file.
//
// C: ostree_checksum_file
func ChecksumFile(ctx context.Context, path string, t ObjectType) (string, error) {
	op := "checksum " + path
	if !t.valid() {
		return "", fmt.Errorf("%s: %w: %v", op, ErrInvalidArgument, t)
	}
	var a arena
	defer a.free()
	f := newFile(&a, path)
	defer C.g_object_unref(C.gpointer(unsafe.Pointer(f)))
	if a.err != nil {
		return "", fmt.Errorf("%s: %w", op, a.err)
	}
	var out *C.guchar
	err := call(ctx, op, func(c *C.GCancellable, e **C.GError) C.gboolean {
		return C.ostree_checksum_file(f, objectTypeOfFile(t), &out, c, e)
	})
	return takeSum(out), err
}

// objectTypeOfFile is what ostree_checksum_file takes for a file system entry: it looks at
// what the entry is, not at the type, unless that is metadata whose bytes are in the file.
func objectTypeOfFile(t ObjectType) C.OstreeObjectType {
	if t == ObjectDirMeta {
		t = ObjectFile
	}
	return C.OstreeObjectType(t)
}

// takeSum frees a (transfer full) binary checksum; NULL is "".
func takeSum(p *C.guchar) string {
	if p == nil {
		return ""
	}
	defer C.g_free(C.gpointer(unsafe.Pointer(p)))
	return hexSum((*[32]byte)(unsafe.Pointer(p)))
}

// ChecksumFlags choose what ChecksumFileAt leaves out; they combine.
type ChecksumFlags int

// Flags of ChecksumFileAt.
const (
	ChecksumIgnoreXattrs         ChecksumFlags = C.OSTREE_CHECKSUM_FLAGS_IGNORE_XATTRS         // as if there were none
	ChecksumCanonicalPermissions ChecksumFlags = C.OSTREE_CHECKSUM_FLAGS_CANONICAL_PERMISSIONS // files belong to 0:0, as in bare-user-only repositories
)

// ChecksumFileAt is ChecksumFile for a path relative to the directory dirfd, with flags.
//
// C: ostree_checksum_file_at
func ChecksumFileAt(ctx context.Context, dirfd int, path string, t ObjectType, flags ChecksumFlags) (string, error) {
	op := "checksum " + path
	if !t.valid() {
		return "", fmt.Errorf("%s: %w: %v", op, ErrInvalidArgument, t)
	}
	var a arena
	defer a.free()
	cpath := a.str(path)
	if a.err != nil {
		return "", fmt.Errorf("%s: %w", op, a.err)
	}
	var out *C.char
	err := call(ctx, op, func(c *C.GCancellable, e **C.GError) C.gboolean {
		return C.ostree_checksum_file_at(C.int(dirfd), cpath, nil, objectTypeOfFile(t), C.OstreeChecksumFlags(flags), &out, c, e)
	})
	return takeString(out), err
}

// ChecksumContent returns the checksum that a regular file (size bytes of content) or a symlink (content nil) with this metadata
// has as a file object, without a repository. Content shorter or longer than size is an error, as in Repo.WriteContent.
//
// C: ostree_checksum_file_from_input
func ChecksumContent(ctx context.Context, info FileInfo, xattrs []Xattr, content io.Reader, size int64) (string, error) {
	const op = "checksum content"
	var a arena
	defer a.free()
	m, err := newContentMeta(&a, info, xattrs, size)
	if err != nil {
		return "", fmt.Errorf("%s: %w", op, err)
	}
	if m.target != nil {
		content = nil
	}
	src := &streamReader{r: content, left: int64(m.size)}
	h := cgo.NewHandle(src)
	defer h.Delete()
	var out *C.guchar
	err = call(ctx, op, func(c *C.GCancellable, e **C.GError) C.gboolean {
		return C.shim_checksum_content(&m, C.uintptr_t(h), &out, c, e)
	})
	return takeSum(out), src.result(op, err)
}

// newContentMeta checks and converts; what it points to lives as long as a.
func newContentMeta(a *arena, info FileInfo, xattrs []Xattr, size int64) (m C.shim_content_meta, err error) {
	flat, err := flattenXattrs(xattrs)
	if err != nil {
		return m, err
	}
	if size < 0 {
		return m, fmt.Errorf("%w: size %d", ErrInvalidArgument, size)
	}
	m.uid, m.gid, m.mode, m.size = C.uint32_t(info.UID), C.uint32_t(info.GID), C.uint32_t(info.Mode), C.uint64_t(size)
	switch info.Mode & ModeTypeMask {
	case ModeTypeRegular:
	case ModeTypeSymlink:
		if info.SymlinkTarget == "" {
			return m, fmt.Errorf("%w: symlink without a target", ErrInvalidArgument)
		}
		m.target, m.size = a.str(info.SymlinkTarget), 0
	default:
		return m, fmt.Errorf("%w: mode %#o is neither a regular file nor a symlink", ErrInvalidArgument, info.Mode)
	}
	if len(flat) > 0 {
		m.xattrs, m.xattrs_len = (*C.uint8_t)(C.CBytes(flat)), C.size_t(len(flat))
		a.ptrs = append(a.ptrs, unsafe.Pointer(m.xattrs))
	}
	return m, a.err
}

// result is the error of a call that read s: the reader's own, where that failed first.
func (s *streamReader) result(op string, err error) error {
	switch {
	case s.panicked != nil:
		panic(s.panicked)
	case err != nil && s.err != nil:
		return fmt.Errorf("%s: %w", op, s.err)
	}
	return err
}
