package objectset

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"path"
	"strings"
	"unicode/utf8"

	"github.com/ostree-container/ostree-container/container/internal/object"
	"github.com/ostree-container/ostree-container/container/internal/objstore"
	"github.com/ostree-container/ostree-container/container/internal/twinhash"
	"github.com/ostree-container/ostree-container/container/internal/work"
	"github.com/ostree-container/ostree-container/container/layer"
)

// Limits, in bytes.
const (
	maxMetadata    = 10 << 20 // one metadata object
	maxXattrs      = 1 << 20  // the attributes of one file
	maxXattrsTotal = 64 << 20 // all sets of attributes that later files may refer to
)

// maxMembers is how many members a layer may have: a commit layer has the objects and, as hardlinks, the files that they are.
const maxMembers = 4_000_000

const (
	repoPrefix = "sysroot/ostree/repo/"
	maxTarget  = 4095
)

// ErrFormat is wrapped by errors about members that do not form a set of objects.
var ErrFormat = errors.New("invalid object set")

func formatError(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrFormat, fmt.Sprintf(format, args...))
}

// scanner reads the object members of one layer.
type scanner struct {
	store *objstore.Store
	group *work.Group
	tr    *tar.Reader
	data  twinhash.Through // content of the member that tr is at

	members     int64 // of the tar, so far
	xattrs      map[object.Checksum][]object.Xattr
	xattrsTotal int
	pending     *pendingXattrs
}

// pendingXattrs are the attributes announced for the content object that must come next.
type pendingXattrs struct {
	file   object.Checksum
	xattrs []object.Xattr
}

// member is a tar member that holds an object or attributes.
type member struct {
	header *tar.Header
	sum    object.Checksum
	kind   string // what follows the checksum: "commit", "file", "file-xattrs-link", ...
}

func newScanner(ctx context.Context, store *objstore.Store, pool *work.Pool, r io.Reader) *scanner {
	via := twinhash.ReaderOf(r)
	tr := tar.NewReader(via)
	return &scanner{
		store: store, group: work.NewGroup(ctx, pool), tr: tr, data: twinhash.Through{Src: tr, Via: via}, xattrs: map[object.Checksum][]object.Xattr{},
	}
}

// next returns the next member below objects/ or xattrs/, io.EOF after the last.
func (s *scanner) next() (*member, error) {
	for {
		h, err := s.tr.Next()
		if errors.Is(err, io.EOF) {
			return nil, io.EOF
		} else if err != nil {
			return nil, fmt.Errorf("tar: %w", err)
		}
		if s.group.Ctx.Err() != nil {
			return nil, context.Cause(s.group.Ctx)
		}
		if s.members++; s.members > maxMembers {
			return nil, &layer.EntryError{Entry: h.Name, Err: fmt.Errorf("%w: more than %d members", layer.ErrLimit, maxMembers)}
		}
		if h.Typeflag == tar.TypeDir || h.Typeflag == tar.TypeXGlobalHeader {
			continue
		}
		if !utf8.ValidString(h.Name) {
			return nil, &layer.EntryError{Entry: h.Name, Err: layer.ErrNotUTF8}
		}
		rest, ok := strings.CutPrefix(strings.TrimPrefix(path.Clean("/"+h.Name), "/"), repoPrefix)
		if !ok {
			continue
		}
		m, err := parseMember(rest)
		if err != nil {
			return nil, &layer.EntryError{Entry: h.Name, Err: err}
		}
		if m == nil {
			continue
		}
		m.header = h
		if layer.IsSparse(h) { // an object of any size, at no cost for who made it
			return nil, &layer.EntryError{Entry: h.Name, Err: formatError("%s.%s is sparse", m.sum, m.kind)}
		}
		return m, nil
	}
}

// parseMember reads objects/XX/REST.KIND or xattrs/CHECKSUM; anything else is nil.
func parseMember(name string) (*member, error) {
	dir, base, ok := strings.Cut(name, "/")
	switch {
	case !ok:
		return nil, nil
	case dir == "xattrs":
		sum, err := object.ParseChecksum(base)
		if err != nil {
			return nil, formatError("xattrs: %v", err)
		}
		return &member{sum: sum, kind: "xattrs-content"}, nil
	case dir != "objects":
		return nil, nil
	}
	sum, kind, err := parseObjectName(base)
	if err != nil {
		return nil, err
	}
	return &member{sum: sum, kind: kind}, nil
}

// parseObjectName reads XX/REST.KIND, and XX/REST.file.xattrs of the old form as kind "xattrs".
func parseObjectName(name string) (sum object.Checksum, kind string, err error) {
	xx, base, ok := strings.Cut(name, "/")
	if !ok || len(xx) != 2 {
		return sum, "", formatError("Invalid checksum parent %q", xx)
	}
	dot := strings.LastIndexByte(base, '.')
	if dot < 0 {
		return sum, "", formatError("Invalid objpath %q", name)
	}
	stem := strings.TrimSuffix(base[:dot], ".file")
	if sum, err = object.ParseChecksum(xx + stem); err != nil {
		return sum, "", formatError("%v", err)
	}
	return sum, base[dot+1:], nil
}

// content handles a member that is a content object or belongs to one; it reports whether it was the object itself. Storing goes on
// in the background until group.Wait.
func (s *scanner) content(m *member) (isFile bool, err error) {
	switch m.kind {
	case "file":
		return true, s.file(m)
	case "file-xattrs", "xattrs-content":
		xattrs, sum, err := s.readXattrs(m)
		if err != nil {
			return false, err
		}
		if sum != m.sum {
			return false, formatError("Checksum mismatch, expected '%s' but computed '%s'", m.sum, sum)
		}
		return false, s.remember(sum, xattrs)
	case "file-xattrs-link", "xattrs":
		return false, s.announce(m)
	}
	return false, formatError("Invalid object type %q", m.kind)
}

func (s *scanner) readXattrs(m *member) ([]object.Xattr, object.Checksum, error) {
	data, err := s.read(m, maxXattrs)
	if err != nil {
		return nil, object.Checksum{}, err
	}
	xattrs, err := object.ParseXattrs(data)
	if err != nil {
		return nil, object.Checksum{}, formatError("%v", err)
	}
	return xattrs, object.Sum(data), nil
}

func (s *scanner) remember(sum object.Checksum, xattrs []object.Xattr) error {
	if _, again := s.xattrs[sum]; again {
		return nil
	}
	for _, x := range xattrs {
		s.xattrsTotal += len(x.Name) + len(x.Value) + 64
	}
	if s.xattrsTotal > maxXattrsTotal {
		return fmt.Errorf("%w: more than %d bytes of extended attributes", layer.ErrLimit, maxXattrsTotal)
	}
	s.xattrs[sum] = xattrs
	return nil
}

// announce notes the attributes of the content object that comes next.
func (s *scanner) announce(m *member) error {
	if s.pending != nil {
		return formatError("Found previous dangling xattrs for file object '%s'", s.pending.file)
	}
	if m.header.Typeflag == tar.TypeReg && m.kind == "file-xattrs-link" {
		xattrs, _, err := s.readXattrs(m)
		s.pending = &pendingXattrs{m.sum, xattrs}
		return err
	}
	if m.header.Typeflag != tar.TypeLink {
		return formatError("Unexpected xattrs type %q found for %s", m.header.Typeflag, m.sum)
	}
	var target object.Checksum
	var err error
	parts := strings.Split(m.header.Linkname, "/")
	if m.kind == "xattrs" { // old form: a link to xattrs/CHECKSUM
		target, err = object.ParseChecksum(parts[len(parts)-1])
	} else if len(parts) < 2 {
		err = formatError("Invalid xattrs link target %q", m.header.Linkname)
	} else {
		target, _, err = parseObjectName(strings.Join(parts[len(parts)-2:], "/"))
	}
	if err != nil {
		return formatError("xattrs link target %q: %v", m.header.Linkname, err)
	}
	xattrs, ok := s.xattrs[target]
	if !ok {
		return formatError("Failed to find xattrs content %s", target)
	}
	s.pending = &pendingXattrs{m.sum, xattrs}
	return nil
}

func (s *scanner) file(m *member) error {
	pending := s.pending
	s.pending = nil
	switch {
	case pending == nil:
		return formatError("Missing xattrs reference for %s", m.sum)
	case pending.file != m.sum:
		return formatError("Object mismatch, found xattrs for %s", pending.file)
	}
	if !s.store.KeepsEmptyXattrs() {
		for _, x := range pending.xattrs {
			if len(x.Value) == 0 { // without it the object would have another checksum
				return formatError("extended attribute %s without a value, which a bare repository cannot hold", x.Name)
			}
		}
	}
	h := m.header
	if h.Uid < 0 || h.Gid < 0 || uint64(h.Uid) > math.MaxUint32-1 || uint64(h.Gid) > math.MaxUint32-1 {
		return formatError("owner %d:%d is out of range", h.Uid, h.Gid)
	}
	meta := &object.Meta{UID: uint32(h.Uid), GID: uint32(h.Gid), Xattrs: pending.xattrs}
	switch h.Typeflag {
	case tar.TypeSymlink:
		meta.Mode = object.ModeSymlink | 0o777
		if h.Linkname == "" || len(h.Linkname) > maxTarget || !utf8.ValidString(h.Linkname) {
			return formatError("invalid symlink target %q", h.Linkname)
		}
		return s.store1(m, func() error {
			_, err := s.store.File(s.group.Ctx, m.sum, meta, h.Linkname, nil)
			return err
		})
	case tar.TypeReg:
		meta.Mode = object.ModeRegular | uint32(h.Mode&0o7777)
		if h.Size > work.SmallFile {
			_, err := s.store.Stream(s.group.Ctx, m.sum, meta, h.Size, s.data)
			return corrupted(err)
		}
		buf, release := work.Buffer(h.Size)
		hash := object.NewFileHash(meta)
		if _, err := io.ReadFull(s.data.Hashing(hash), buf); err != nil {
			release()
			return fmt.Errorf("content: %w", err)
		}
		if sum := object.Checksum(hash.Sum()); sum != m.sum {
			release()
			return corrupted(objstore.Mismatch(m.sum, sum))
		}
		return s.store1(m, func() error {
			defer release()
			return s.store.SummedFile(s.group.Ctx, m.sum, meta, "", buf)
		})
	}
	return formatError("Invalid tar entry of type %q", h.Typeflag)
}

// store1 hands one object to the workers.
func (s *scanner) store1(m *member, write func() error) error {
	name := m.header.Name
	return s.group.Do(func() error { return atEntry(s.group.Ctx, name, corrupted(write())) })
}

func corrupted(err error) error {
	if errors.Is(err, objstore.ErrMismatch) {
		return fmt.Errorf("Corrupted file object; %w", err) //nolint:staticcheck // the reference's text
	}
	return err
}

// atEntry names the entry at which err happened.
func atEntry(ctx context.Context, name string, err error) error {
	var at *layer.EntryError
	if err == nil || errors.As(err, &at) || ctx.Err() != nil && errors.Is(err, context.Cause(ctx)) {
		return err
	}
	return &layer.EntryError{Entry: name, Err: err}
}

// read returns the content of a small member.
func (s *scanner) read(m *member, limit int64) ([]byte, error) {
	if m.header.Typeflag != tar.TypeReg {
		return nil, formatError("%s.%s is of type %q, not a regular file", m.sum, m.kind, m.header.Typeflag)
	}
	if m.header.Size > limit {
		return nil, fmt.Errorf("%w: object of size %d exceeds %d bytes", layer.ErrLimit, m.header.Size, limit)
	}
	data := make([]byte, m.header.Size)
	if _, err := io.ReadFull(s.tr, data); err != nil {
		return nil, fmt.Errorf("content: %w", err)
	}
	return data, nil
}
