package object

import (
	"bytes"
	"errors"
	"fmt"
	"math"
)

// What Linux can hold, in bytes: XATTR_NAME_MAX, XATTR_SIZE_MAX.
const (
	maxXattrName  = 255
	maxXattrValue = 64 << 10
)

// CheckDirTree refuses a dirtree object that fsck would call corrupted, or that is not written as libostree writes it.
func CheckDirTree(data []byte) error {
	t, err := DecodeDirTree(data)
	if err != nil {
		return err
	}
	if !bytes.Equal(t.Encode(), data) {
		return errNotNormal
	}
	return nil
}

// CheckDirMeta refuses a dirmeta object that fsck would call corrupted or that no file system can hold.
func CheckDirMeta(data []byte) error {
	m, err := DecodeMeta(data)
	if err != nil {
		return err
	}
	if !bytes.Equal(AppendMeta(nil, m), data) {
		return errors.New("not a dirmeta in normal form")
	}
	if m.Mode&ModeType != ModeDir {
		return fmt.Errorf("mode %o is not that of a directory", m.Mode)
	}
	if extra := m.Mode &^ (ModeType | 0o7777); extra != 0 {
		return fmt.Errorf("mode %o has unknown bits", m.Mode)
	}
	if m.UID == math.MaxUint32 || m.GID == math.MaxUint32 {
		return fmt.Errorf("owner %d:%d is out of range", m.UID, m.GID)
	}
	return checkXattrs(m.Xattrs)
}

// ParseXattrs reads a(ayay) that comes from elsewhere: it is in normal form, sorted, each name once and within Linux' limits. libostree
// sorts what it reads back from disk, so that an object with attributes in another order would not have its own checksum.
func ParseXattrs(data []byte) ([]Xattr, error) {
	xattrs, err := DecodeXattrs(data)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(AppendXattrs(nil, xattrs), data) {
		return nil, errors.New("extended attributes are not in normal form")
	}
	return xattrs, checkXattrs(xattrs)
}

func checkXattrs(xattrs []Xattr) error {
	for i, x := range xattrs {
		switch {
		case len(x.Name) > maxXattrName:
			return fmt.Errorf("name of an extended attribute has %d bytes, at most %d are possible: %q", len(x.Name), maxXattrName, x.Name)
		case len(x.Value) > maxXattrValue:
			return fmt.Errorf("extended attribute %q has %d bytes, at most %d are possible", x.Name, len(x.Value), maxXattrValue)
		case i > 0 && xattrs[i-1].Name >= x.Name:
			return orderError("extended attribute", xattrs[i-1].Name, x.Name)
		}
	}
	return nil
}
