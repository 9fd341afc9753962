package layer

import (
	"archive/tar"
	"fmt"
	"maps"
	"math"
	"strconv"
	"strings"

	"github.com/ostree-container/ostree-container/container/internal/object"
)

// paxXattr is the prefix of PAX records that hold extended attributes.
const paxXattr = "SCHILY.xattr."

// maxXattrValue is how large the value of one attribute may be on Linux, in bytes (XATTR_SIZE_MAX).
const maxXattrValue = 64 << 10

// globals are the records of PAX global headers; they apply to all members that follow.
type globals map[string]string

// apply changes h as the global records say, where h has no record of its own.
func (g globals) apply(h *tar.Header) error {
	for key, value := range g {
		if _, own := h.PAXRecords[key]; own {
			continue
		}
		var err error
		switch key {
		case "path":
			h.Name = value
		case "linkpath":
			h.Linkname = value
		case "uid":
			h.Uid, err = strconv.Atoi(value)
		case "gid":
			h.Gid, err = strconv.Atoi(value)
		case "size":
			return fmt.Errorf("a PAX global header sets %q, which no member can have in common", key)
		}
		if err != nil {
			return fmt.Errorf("PAX global header: %s: %w", key, err)
		}
	}
	return nil
}

// meta returns owner, mode and extended attributes of an entry as its object will have them.
func (g globals) meta(h *tar.Header, limits *Limits) (*object.Meta, error) {
	if h.Uid < 0 || h.Gid < 0 || uint64(h.Uid) > math.MaxUint32-1 || uint64(h.Gid) > math.MaxUint32-1 {
		return nil, fmt.Errorf("owner %d:%d is out of range", h.Uid, h.Gid)
	}
	m := &object.Meta{UID: uint32(h.Uid), GID: uint32(h.Gid), Mode: uint32(h.Mode & 0o7777)}
	switch h.Typeflag {
	case tar.TypeDir:
		m.Mode |= object.ModeDir
	case tar.TypeSymlink: // whatever the tar says, Linux knows no other mode of a symlink
		m.Mode = object.ModeSymlink | 0o777
	default:
		m.Mode |= object.ModeRegular
	}
	total := 0
	add := func(records map[string]string, covered map[string]string) error {
		for key, value := range records {
			name, ok := strings.CutPrefix(key, paxXattr)
			if _, again := covered[key]; !ok || again {
				continue
			}
			if name == "" || len(name) > maxComponent || strings.IndexByte(name, 0) >= 0 {
				return fmt.Errorf("invalid name of an extended attribute: %q", name)
			}
			if len(value) > maxXattrValue {
				return fmt.Errorf("%w: extended attribute %q of %d bytes, at most %d are possible", ErrLimit, name, len(value), maxXattrValue)
			}
			total += len(name) + len(value)
			m.Xattrs = append(m.Xattrs, object.Xattr{Name: name, Value: []byte(value)})
		}
		return nil
	}
	if err := add(h.PAXRecords, nil); err != nil {
		return nil, err
	}
	if err := add(g, h.PAXRecords); err != nil {
		return nil, err
	}
	if total > limits.XattrBytes {
		return nil, fmt.Errorf("%w: %d bytes of extended attributes, at most %d", ErrLimit, total, limits.XattrBytes)
	}
	m.Xattrs = object.SortXattrs(m.Xattrs)
	return m, nil
}

// maxGlobals bounds what PAX global headers may hold, in bytes.
const maxGlobals = 1 << 20

// add takes the records of another global header.
func (g globals) add(records map[string]string) error {
	maps.Copy(g, records)
	total := 0
	for key, value := range g {
		total += len(key) + len(value)
	}
	if total > maxGlobals {
		return fmt.Errorf("%w: PAX global headers of %d bytes, at most %d", ErrLimit, total, maxGlobals)
	}
	return nil
}

// unsupported names what cannot be stored, or returns "".
func unsupported(typeflag byte) string {
	switch typeflag {
	case tar.TypeReg, tar.TypeLink, tar.TypeSymlink, tar.TypeDir, tar.TypeCont, tar.TypeGNUSparse:
		return ""
	case tar.TypeChar:
		return "character device"
	case tar.TypeBlock:
		return "block device"
	case tar.TypeFifo:
		return "FIFO"
	}
	return fmt.Sprintf("entry of type %q", typeflag)
}

// IsSparse reports whether the tar leaves out parts of the member's content.
func IsSparse(h *tar.Header) bool {
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return true
		}
	}
	return h.Typeflag == tar.TypeGNUSparse
}
