package ostree

// #include "shim.h"
import "C"

import (
	"context"
	"encoding/hex"
	"fmt"
)

// ObjectType is the kind of an object in a repository.
type ObjectType int

// Kinds of object.
const (
	ObjectFile            ObjectType = C.OSTREE_OBJECT_TYPE_FILE             // regular file or symlink
	ObjectDirTree         ObjectType = C.OSTREE_OBJECT_TYPE_DIR_TREE         // names and checksums of a directory, "(a(say)a(sayay))"
	ObjectDirMeta         ObjectType = C.OSTREE_OBJECT_TYPE_DIR_META         // owner, mode and xattrs of a directory, "(uuua(ayay))"
	ObjectCommit          ObjectType = C.OSTREE_OBJECT_TYPE_COMMIT           // "(a{sv}aya(say)sstayay)"
	ObjectTombstoneCommit ObjectType = C.OSTREE_OBJECT_TYPE_TOMBSTONE_COMMIT // marks a commit that was deleted, "a{sv}"
	ObjectCommitMeta      ObjectType = C.OSTREE_OBJECT_TYPE_COMMIT_META      // detached metadata of a commit, "a{sv}"
	ObjectPayloadLink     ObjectType = C.OSTREE_OBJECT_TYPE_PAYLOAD_LINK     // symlink from a content digest to a file object
	ObjectFileXattrs      ObjectType = C.OSTREE_OBJECT_TYPE_FILE_XATTRS      // xattrs in a bare-split-xattrs repository
	ObjectFileXattrsLink  ObjectType = C.OSTREE_OBJECT_TYPE_FILE_XATTRS_LINK // link from a file to its xattrs
)

// IsMeta reports whether objects of the type are variants.
func (t ObjectType) IsMeta() bool { return t >= ObjectDirTree && t <= ObjectCommitMeta }

func (t ObjectType) valid() bool { return t >= ObjectFile && t <= ObjectFileXattrsLink }

// String returns the suffix of the type's file names, for example "dirtree".
//
// C: ostree_object_type_to_string
func (t ObjectType) String() string {
	if !t.valid() {
		return fmt.Sprintf("ObjectType(%d)", int(t))
	}
	return C.GoString((*C.char)(C.ostree_object_type_to_string(C.OstreeObjectType(t))))
}

// VariantType returns the type string of a metadata object, "" for other types.
//
// C: ostree_metadata_variant_type
func (t ObjectType) VariantType() string {
	switch t {
	case ObjectDirTree:
		return C.OSTREE_TREE_GVARIANT_STRING
	case ObjectDirMeta:
		return C.OSTREE_DIRMETA_GVARIANT_STRING
	case ObjectCommit:
		return C.OSTREE_COMMIT_GVARIANT_STRING
	case ObjectTombstoneCommit, ObjectCommitMeta:
		return "a{sv}"
	}
	return ""
}

// ParseObjectType is the reverse of ObjectType.String. Errors match ErrInvalidArgument.
//
// C: ostree_object_type_from_string
func ParseObjectType(s string) (ObjectType, error) {
	for t := ObjectFile; t.valid(); t++ {
		if t.String() == s { // libostree aborts on others
			var a arena
			defer a.free()
			return ObjectType(C.ostree_object_type_from_string(a.str(s))), nil
		}
	}
	return 0, fmt.Errorf("%w: object type %q", ErrInvalidArgument, s)
}

// ObjectName names an object.
type ObjectName struct {
	Checksum string // 64 hex digits
	Type     ObjectType
}

// String returns "checksum.type".
//
// C: ostree_object_to_string
func (n ObjectName) String() string {
	if !n.Type.valid() || ValidateChecksum(n.Checksum) != nil {
		return n.Checksum + "." + n.Type.String()
	}
	var a arena
	defer a.free()
	return takeString(C.ostree_object_to_string(a.str(n.Checksum), C.OstreeObjectType(n.Type)))
}

// Hash returns the hash that libostree's tables of objects use, 0 for an invalid name. For Go's maps ObjectName is a key by itself.
//
// C: ostree_hash_object_name
func (n ObjectName) Hash() uint32 {
	if !n.Type.valid() || ValidateChecksum(n.Checksum) != nil {
		return 0
	}
	var a arena
	defer a.free()
	return uint32(C.shim_object_hash(a.str(n.Checksum), C.int(n.Type)))
}

// objectArgs checks what libostree would assert on, and gives the name of the operation.
func objectArgs(op string, t ObjectType, checksum string, a *arena) (string, *C.char, error) {
	op += " " + checksum + "." + t.String()
	if !t.valid() {
		return op, nil, fmt.Errorf("%s: %w", op, ErrInvalidArgument)
	}
	if err := ValidateChecksum(checksum); err != nil {
		return op, nil, fmt.Errorf("%s: %w", op, err)
	}
	return op, a.str(checksum), nil
}

// LoadVariant reads a metadata object. It returns ErrNotFound, and ErrCorrupt if it was cut or is something else.
//
// C: ostree_repo_load_variant
func (r *Repo) LoadVariant(ctx context.Context, t ObjectType, checksum string) (*Variant, error) {
	return r.soundVariant(ctx, t, checksum, mustExist)
}

// LoadVariantIfExists is LoadVariant that returns nil, nil for an object that is not there.
//
// C: ostree_repo_load_variant_if_exists
func (r *Repo) LoadVariantIfExists(ctx context.Context, t ObjectType, checksum string) (*Variant, error) {
	return r.soundVariant(ctx, t, checksum, mayBeMissing)
}

func (r *Repo) soundVariant(ctx context.Context, t ObjectType, checksum string, e existence) (*Variant, error) {
	v, err := r.loadVariant(ctx, t, checksum, e)
	if err != nil || v == nil {
		return nil, err
	}
	object, err := takeVariant(v).sound()
	if err != nil {
		return nil, fmt.Errorf("load %s.%s: %w", checksum, t, err)
	}
	return object, nil
}

// LoadVariantBytes reads the serialized form of a metadata object, which it does not check; ParseDirTree and
// ParseDirMeta do. Prefer it to LoadVariant where many objects are read: nothing stays in C memory. It returns ErrNotFound.
//
// C: ostree_repo_load_variant
func (r *Repo) LoadVariantBytes(ctx context.Context, t ObjectType, checksum string) ([]byte, error) {
	v, err := r.loadVariant(ctx, t, checksum, mustExist)
	if err != nil {
		return nil, err
	}
	defer C.g_variant_unref(v)
	n := C.g_variant_get_size(v)
	if n > C.OSTREE_MAX_METADATA_SIZE*16 {
		return nil, fmt.Errorf("load %s.%v: %w: %d bytes", checksum, t, ErrInvalidArgument, uint64(n))
	}
	return C.GoBytes(ptr(C.g_variant_get_data(v)), C.int(n)), nil
}

// existence says what loadVariant makes of an object that is not there: ErrNotFound, or nil.
type existence bool

const (
	mustExist    existence = true
	mayBeMissing existence = false
)

func (r *Repo) loadVariant(ctx context.Context, t ObjectType, checksum string, e existence) (*C.GVariant, error) {
	var a arena
	defer a.free()
	op, csum, err := objectArgs("load", t, checksum, &a)
	if err != nil {
		return nil, err
	}
	if !t.IsMeta() {
		return nil, fmt.Errorf("%s: %w: not a metadata object", op, ErrInvalidArgument)
	}
	var v *C.GVariant
	err = callFast(ctx, op, func(gerr **C.GError) C.gboolean {
		if e == mayBeMissing {
			return C.ostree_repo_load_variant_if_exists(r.c(), C.OstreeObjectType(t), csum, &v, gerr)
		}
		return C.ostree_repo_load_variant(r.c(), C.OstreeObjectType(t), csum, &v, gerr)
	}, r.handle())
	return v, err
}

// HasObject reports whether the object is in the repository, in its parent, or
// written in the open transaction. Meant for loops: ctx is only looked at before.
//
// C: ostree_repo_has_object
func (r *Repo) HasObject(ctx context.Context, t ObjectType, checksum string) (bool, error) {
	var a arena
	defer a.free()
	op, csum, err := objectArgs("look for", t, checksum, &a)
	if err != nil {
		return false, err
	}
	var have C.gboolean
	err = callFast(ctx, op, func(e **C.GError) C.gboolean {
		return C.ostree_repo_has_object(r.c(), C.OstreeObjectType(t), csum, &have, nil, e)
	}, r.handle())
	return have != 0, err
}

// ObjectStorageSize returns the bytes that an object takes as stored (compressed in an archive). It returns ErrNotFound.
//
// C: ostree_repo_query_object_storage_size
func (r *Repo) ObjectStorageSize(ctx context.Context, t ObjectType, checksum string) (uint64, error) {
	var a arena
	defer a.free()
	op, csum, err := objectArgs("size of", t, checksum, &a)
	if err != nil {
		return 0, err
	}
	var n C.guint64
	err = callFast(ctx, op, func(e **C.GError) C.gboolean {
		return C.ostree_repo_query_object_storage_size(r.c(), C.OstreeObjectType(t), csum, &n, nil, e)
	}, r.handle())
	return uint64(n), err
}

// FsckObject reads an object and checks it against its checksum and structure. It returns ErrNotFound; other errors have no sentinel.
//
// C: ostree_repo_fsck_object
func (r *Repo) FsckObject(ctx context.Context, t ObjectType, checksum string) error {
	var a arena
	defer a.free()
	op, csum, err := objectArgs("fsck", t, checksum, &a)
	if err != nil {
		return err
	}
	return call(ctx, op, func(c *C.GCancellable, e **C.GError) C.gboolean {
		return C.ostree_repo_fsck_object(r.c(), C.OstreeObjectType(t), csum, c, e)
	}, r.handle())
}

// DeleteObject removes an object. Nothing checks whether it is still used. Hold LockExclusive. It returns ErrNotFound.
//
// C: ostree_repo_delete_object
func (r *Repo) DeleteObject(ctx context.Context, t ObjectType, checksum string) error {
	var a arena
	defer a.free()
	op, csum, err := objectArgs("delete", t, checksum, &a)
	if err != nil {
		return err
	}
	return call(ctx, op, func(c *C.GCancellable, e **C.GError) C.gboolean {
		return C.ostree_repo_delete_object(r.c(), C.OstreeObjectType(t), csum, c, e)
	}, r.handle())
}

// ImportObjectFrom copies an object of source into r, as a hardlink where modes
// and file system allow. Not verified where trusted: use it only for sources that you wrote. It returns ErrNotFound.
//
// C: ostree_repo_import_object_from, ostree_repo_import_object_from_with_trust
func (r *Repo) ImportObjectFrom(ctx context.Context, source *Repo, t ObjectType, checksum string, trust Trust) error {
	var a arena
	defer a.free()
	op, csum, err := objectArgs("import", t, checksum, &a)
	if err != nil {
		return err
	}
	return call(ctx, op, func(c *C.GCancellable, e **C.GError) C.gboolean {
		if trust == Trusted {
			return C.ostree_repo_import_object_from(r.c(), source.c(), C.OstreeObjectType(t), csum, c, e)
		}
		return C.ostree_repo_import_object_from_with_trust(r.c(), source.c(), C.OstreeObjectType(t), csum, 0, c, e)
	}, r.handle(), source.handle())
}

// Trust says whether checksums that a caller states are believed.
type Trust bool

// Values of Trust.
const (
	Verify  Trust = false // compute the checksum and compare
	Trusted Trust = true  // believe it
)

func hexSum(sum *[32]byte) string { return hex.EncodeToString(sum[:]) }
