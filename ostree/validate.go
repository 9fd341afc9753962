package ostree

// #include "shim.h"
import "C"

import (
	"context"
	"fmt"
	"strings"
)

// ParseRefspec splits "remote:ref" or "ref" (remote is "" then). Anything else is an error matching ErrInvalidArgument.
//
// C: ostree_parse_refspec
func ParseRefspec(refspec string) (remote, ref string, err error) {
	op := "parse refspec " + refspec
	var a arena
	defer a.free()
	c := a.str(refspec)
	if a.err != nil {
		return "", "", fmt.Errorf("parse refspec: %w", a.err)
	}
	if strings.HasSuffix(refspec, "\n") { // the regular expression's "$" lets one through
		return "", "", fmt.Errorf("parse refspec: %w: %q", ErrInvalidArgument, refspec)
	}
	var cremote, cref *C.char
	err = callFast(context.Background(), op, func(e **C.GError) C.gboolean {
		return C.ostree_parse_refspec(c, &cremote, &cref, e)
	})
	return takeString(cremote), takeString(cref), refuse(err)
}

// ValidateCollectionID returns an error matching ErrInvalidArgument unless id could be the ID of a collection: a
// reverse DNS name, for example "org.example.Os".
//
// C: ostree_validate_collection_id
func ValidateCollectionID(id string) error {
	const op = "validate collection ID"
	var a arena
	defer a.free()
	c := a.str(id)
	if a.err != nil {
		return fmt.Errorf("%s: %w", op, a.err)
	}
	return refuse(callFast(context.Background(), op, func(e **C.GError) C.gboolean {
		return C.ostree_validate_collection_id(c, e)
	}))
}

// ValidateFileMode returns an error matching ErrInvalidArgument unless mode (st_mode) is one that a file object may have.
//
// C: ostree_validate_structureof_file_mode
func ValidateFileMode(mode uint32) error {
	return refuse(callFast(context.Background(), "validate file mode", func(e **C.GError) C.gboolean {
		return C.ostree_validate_structureof_file_mode(C.guint32(mode), e)
	}))
}

// ValidateObject checks the form of a commit, dirtree or dirmeta object: its type, that it is in normal form, its checksums,
// names and modes. Objects that others wrote are checked before they are used. It returns ErrVariantType and, for what is not in normal form,
// ErrCorrupt.
//
// C: ostree_validate_structureof_commit, ostree_validate_structureof_dirtree, ostree_validate_structureof_dirmeta
func ValidateObject(t ObjectType, v *Variant) error {
	op := "validate " + t.String()
	if err := v.want(t.VariantType()); err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	if !v.IsNormalForm() {
		return fmt.Errorf("%s: %w: not in normal form", op, ErrCorrupt)
	}
	return callFast(context.Background(), op, func(e **C.GError) C.gboolean {
		switch t {
		case ObjectCommit:
			return C.ostree_validate_structureof_commit(v.c(), e)
		case ObjectDirTree:
			return C.ostree_validate_structureof_dirtree(v.c(), e)
		case ObjectDirMeta:
			return C.ostree_validate_structureof_dirmeta(v.c(), e)
		}
		return 1
	}, v.handle())
}

// ParseObjectName is the reverse of ObjectName.String. Errors match ErrInvalidArgument.
//
// C: ostree_object_from_string
func ParseObjectName(s string) (ObjectName, error) {
	sum, suffix, _ := strings.Cut(s, ".")
	if _, err := ParseObjectType(suffix); err != nil {
		return ObjectName{}, fmt.Errorf("object name %q: %w", s, err)
	}
	if err := ValidateChecksum(sum); err != nil {
		return ObjectName{}, fmt.Errorf("object name %q: %w", s, err)
	}
	var a arena
	defer a.free()
	var csum *C.gchar
	var t C.OstreeObjectType
	C.ostree_object_from_string(a.str(s), &csum, &t)
	return ObjectName{takeString((*C.char)(csum)), ObjectType(t)}, nil
}
