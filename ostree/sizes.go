package ostree

// #include "shim.h"
import "C"

import (
	"context"
	"runtime/cgo"
)

// ObjectSize says how large an object of a commit is.
type ObjectSize struct {
	Name     ObjectName
	Unpacked uint64 // bytes of content, as it is checked out
	Archived uint64 // bytes as an archive repository stores it
}

// ObjectSizes returns what the commit's metadata say about the sizes of its objects, in the order stored. It returns
// ErrNotFound for a commit written without them (`ostree commit --generate-sizes` writes them).
//
// C: ostree_commit_get_object_sizes
func (c *Commit) ObjectSizes() ([]ObjectSize, error) {
	out := &objectSizes{}
	h := cgo.NewHandle(out)
	defer h.Delete()
	err := callFast(context.Background(), "read object sizes of commit "+c.Checksum, func(e **C.GError) C.gboolean {
		return C.shim_commit_sizes(c.variant.c(), C.uintptr_t(h), e)
	}, c.variant.handle())
	if err != nil {
		return nil, err
	}
	return out.list, nil
}

// BootableMetadata returns metadata (an "a{sv}", nil for none) with the keys added that mark a commit of this tree as bootable: "ostree.bootable"
// and "ostree.linux", the kernel's version. A tree with no or more than one kernel in /usr/lib/modules is an error.
//
// C: ostree_commit_metadata_for_bootable
func (t *Tree) BootableMetadata(ctx context.Context, metadata *Variant) (*Variant, error) {
	return t.addMetadata(ctx, "metadata of a bootable commit", metadata, func(c *C.GCancellable, e **C.GError) *C.GVariant {
		return C.shim_bootable_metadata((*C.GFile)(t.h.ptr), metadata.c(), c, e)
	})
}

// addMetadata returns what fn makes of metadata, keys sorted.
func (t *Tree) addMetadata(ctx context.Context, op string, metadata *Variant, fn func(*C.GCancellable, **C.GError) *C.GVariant, owners ...*handle) (*Variant, error) {
	owners = append(owners, t.handle())
	if metadata != nil {
		if err := metadata.want("a{sv}"); err != nil {
			return nil, err
		}
		owners = append(owners, metadata.handle())
	}
	var v *C.GVariant
	err := call(ctx, op, func(c *C.GCancellable, e **C.GError) C.gboolean {
		v = fn(c, e)
		return gbool(v != nil)
	}, owners...)
	if err != nil {
		return nil, err
	}
	d, err := VariantDictOf(takeVariant(v)) // which sorts the keys
	if err != nil {
		return nil, err
	}
	return d.Build()
}

// Variant returns the dirmeta object, "(uuua(ayay))", as libostree makes it; Bytes gives the same without it.
//
// C: ostree_create_directory_metadata
func (m *DirMeta) Variant() (*Variant, error) {
	if _, err := m.Bytes(); err != nil {
		return nil, err
	}
	flat, err := flattenXattrs(m.Xattrs)
	if err != nil {
		return nil, err
	}
	return takeVariant(C.shim_create_dirmeta(C.uint32_t(m.UID), C.uint32_t(m.GID), C.uint32_t(m.Mode),
		(*C.uint8_t)(bytesPtr(flat)), C.size_t(len(flat)))), nil
}
