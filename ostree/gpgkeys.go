package ostree

// #include "shim.h"
import "C"

import (
	"context"
	"errors"
	"fmt"
	"math/bits"
	"time"
	"unsafe"
)

// GPGKey is a public key that a remote's commits may be signed with.
type GPGKey struct {
	Subkeys []GPGSubkey // the primary key first
	UserIDs []GPGUserID
}

// GPGSubkey is a key or one of its subkeys.
type GPGSubkey struct {
	Fingerprint               string    // hex digits
	Created                   time.Time // zero where not known
	Expires                   time.Time // zero: never
	Revoked, Expired, Invalid bool
}

// GPGUserID is whom a key says it belongs to.
type GPGUserID struct {
	UID                  string // for example "Tester <tester@example.com>"
	Name, Comment, Email string
	Revoked, Invalid     bool
	AdvancedURL          string // where an update of the key may be found (Web Key Directory); "" without an address
	DirectURL            string // the same, older form
}

// RemoteGPGKeys returns the keys of a remote, or the global ones if name is "": all, or those of keyIDs (IDs or fingerprints).
// An unknown ID is no error.
//
// C: ostree_repo_remote_get_gpg_keys
func (r *Repo) RemoteGPGKeys(ctx context.Context, name string, keyIDs []string) ([]GPGKey, error) {
	op := "keys of remote " + name
	var a arena
	defer a.free()
	cname := a.opt(name)
	var ids **C.char
	if len(keyIDs) > 0 {
		ids = a.strv(keyIDs)
	}
	if a.err != nil {
		return nil, fmt.Errorf("%s: %w", op, a.err)
	}
	var list *C.GPtrArray
	err := call(ctx, op, func(c *C.GCancellable, e **C.GError) C.gboolean {
		return C.ostree_repo_remote_get_gpg_keys(r.c(), cname, ids, &list, c, e)
	}, r.handle())
	if err != nil {
		return nil, err
	}
	defer C.g_ptr_array_unref(list)
	var keys []GPGKey
	for _, p := range unsafe.Slice((**C.GVariant)(unsafe.Pointer(list.pdata)), int(list.len)) {
		k, err := parseGPGKey(takeVariant(C.g_variant_ref(p)))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", op, err)
		}
		keys = append(keys, k)
	}
	return keys, nil
}

func parseGPGKey(v *Variant) (GPGKey, error) {
	if err := v.want(C.OSTREE_GPG_KEY_GVARIANT_STRING); err != nil {
		return GPGKey{}, err
	}
	var k GPGKey
	var errs []error
	for i := range v.Child(0).Len() {
		d := dictReader{v: v.Child(0).Child(i)}
		k.Subkeys = append(k.Subkeys, GPGSubkey{
			Fingerprint: d.str("fingerprint"), Created: d.time("created"), Expires: d.time("expires"),
			Revoked: d.bool("revoked"), Expired: d.bool("expired"), Invalid: d.bool("invalid"),
		})
		errs = append(errs, d.err)
	}
	for i := range v.Child(1).Len() {
		d := dictReader{v: v.Child(1).Child(i)}
		k.UserIDs = append(k.UserIDs, GPGUserID{
			UID: d.str("uid"), Name: d.str("name"), Comment: d.str("comment"), Email: d.str("email"),
			Revoked: d.bool("revoked"), Invalid: d.bool("invalid"),
			AdvancedURL: d.maybeStr("advanced_url"), DirectURL: d.maybeStr("direct_url"),
		})
		errs = append(errs, d.err)
	}
	return k, errors.Join(errs...)
}

// dictReader reads an "a{sv}" and keeps the errors; keys that are not there read as zero values.
type dictReader struct {
	v   *Variant
	err error
}

func (d *dictReader) str(key string) string { return readKey(d, key, (*Variant).Str) }
func (d *dictReader) bool(key string) bool  { return readKey(d, key, (*Variant).Bool) }

// time reads seconds since the epoch, big-endian; 0 is the zero Time.
func (d *dictReader) time(key string) time.Time {
	n := readKey(d, key, (*Variant).Int64)
	if hostLittleEndian {
		n = int64(bits.ReverseBytes64(uint64(n)))
	}
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(n, 0).UTC()
}

func (d *dictReader) maybeStr(key string) string {
	return readKey(d, key, func(v *Variant) (string, error) {
		if err := v.want("ms"); err != nil || v.Len() == 0 {
			return "", err
		}
		return v.Child(0).Str()
	})
}

func readKey[T any](d *dictReader, key string, read func(*Variant) (T, error)) T {
	t, _, err := lookup(d.v, key, read)
	d.err = errors.Join(d.err, err)
	return t
}
