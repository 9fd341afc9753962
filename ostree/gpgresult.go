package ostree

// #include "shim.h"
import "C"

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"
	"unsafe"
)

// GPGSignature is what is known of one signature.
type GPGSignature struct {
	Valid                  bool // good, by a key that is known, neither expired nor revoked
	SignatureExpired       bool
	KeyExpired, KeyRevoked bool
	KeyMissing             bool
	Fingerprint            string    // of the key that signed, hex digits; with KeyMissing its ID only
	PrimaryFingerprint     string    // of the primary key that it belongs to; "" with KeyMissing
	Timestamp              time.Time // when it was made; zero where not known
	Expires                time.Time // zero: never
	KeyExpires             time.Time // zero: never, or not known
	PrimaryKeyExpires      time.Time // zero: never, or not known
	PublicKeyAlgorithm     string    // for example "RSA"
	HashAlgorithm          string    // for example "SHA512"
	UserName, UserEmail    string    // of the key's first user ID; not verified by anyone
}

// GPGVerifyResult says which signatures there are over some data and how good they are. Safe for concurrent use.
type GPGVerifyResult struct{ h handle }

func takeGPGResult(p *C.OstreeGpgVerifyResult) *GPGVerifyResult {
	if p == nil {
		return nil
	}
	g := &GPGVerifyResult{}
	g.h.own(unsafe.Pointer(p), objectUnref)
	return g
}

func (g *GPGVerifyResult) with(fn func(*C.OstreeGpgVerifyResult)) {
	if g == nil {
		return
	}
	if p := g.h.acquire(); p != nil {
		defer g.h.release()
		fn((*C.OstreeGpgVerifyResult)(p))
	}
}

// Len returns the number of signatures; 0 for nil.
//
// C: ostree_gpg_verify_result_count_all
func (g *GPGVerifyResult) Len() (n int) {
	g.with(func(c *C.OstreeGpgVerifyResult) { n = int(C.ostree_gpg_verify_result_count_all(c)) })
	return n
}

// ValidCount returns the number of signatures that are valid.
//
// C: ostree_gpg_verify_result_count_valid
func (g *GPGVerifyResult) ValidCount() (n int) {
	g.with(func(c *C.OstreeGpgVerifyResult) { n = int(C.ostree_gpg_verify_result_count_valid(c)) })
	return n
}

// Signature returns signature i of Len. Another i is an error matching ErrInvalidArgument.
//
// C: ostree_gpg_verify_result_get_all
func (g *GPGVerifyResult) Signature(i int) (GPGSignature, error) {
	v, err := g.all(i)
	if err != nil {
		return GPGSignature{}, err
	}
	return parseGPGSignature(v)
}

func (g *GPGVerifyResult) all(i int) (v *Variant, err error) {
	if i < 0 || i >= g.Len() {
		return nil, fmt.Errorf("GPG signature %d of %d: %w", i, g.Len(), ErrInvalidArgument)
	}
	g.with(func(c *C.OstreeGpgVerifyResult) { v = takeVariant(C.ostree_gpg_verify_result_get_all(c, C.guint(i))) })
	if v == nil {
		return nil, fmt.Errorf("GPG signature %d: %w", i, ErrClosed)
	}
	return v, nil
}

// Signatures returns all signatures in order.
//
// C: ostree_gpg_verify_result_get_all
func (g *GPGVerifyResult) Signatures() ([]GPGSignature, error) {
	out := make([]GPGSignature, g.Len())
	for i := range out {
		var err error
		if out[i], err = g.Signature(i); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// gpgAttrs is how many attributes libostree 2022.7 knows.
const gpgAttrs = C.OSTREE_GPG_SIGNATURE_ATTR_KEY_EXP_TIMESTAMP_PRIMARY + 1

func parseGPGSignature(v *Variant) (GPGSignature, error) {
	if v.Len() < gpgAttrs {
		return GPGSignature{}, fmt.Errorf("GPG signature: %w: %d attributes", ErrVariantType, v.Len())
	}
	var s GPGSignature
	var errs []error
	flag := func(i int, p *bool) {
		var err error
		*p, err = v.Child(i).Bool()
		errs = append(errs, err)
	}
	text := func(i int, p *string) {
		var err error
		*p, err = v.Child(i).Str()
		errs = append(errs, err)
	}
	when := func(i int, p *time.Time) {
		n, err := v.Child(i).Int64()
		if n != 0 {
			*p = time.Unix(n, 0).UTC()
		}
		errs = append(errs, err)
	}
	flag(C.OSTREE_GPG_SIGNATURE_ATTR_VALID, &s.Valid)
	flag(C.OSTREE_GPG_SIGNATURE_ATTR_SIG_EXPIRED, &s.SignatureExpired)
	flag(C.OSTREE_GPG_SIGNATURE_ATTR_KEY_EXPIRED, &s.KeyExpired)
	flag(C.OSTREE_GPG_SIGNATURE_ATTR_KEY_REVOKED, &s.KeyRevoked)
	flag(C.OSTREE_GPG_SIGNATURE_ATTR_KEY_MISSING, &s.KeyMissing)
	text(C.OSTREE_GPG_SIGNATURE_ATTR_FINGERPRINT, &s.Fingerprint)
	when(C.OSTREE_GPG_SIGNATURE_ATTR_TIMESTAMP, &s.Timestamp)
	when(C.OSTREE_GPG_SIGNATURE_ATTR_EXP_TIMESTAMP, &s.Expires)
	text(C.OSTREE_GPG_SIGNATURE_ATTR_PUBKEY_ALGO_NAME, &s.PublicKeyAlgorithm)
	text(C.OSTREE_GPG_SIGNATURE_ATTR_HASH_ALGO_NAME, &s.HashAlgorithm)
	text(C.OSTREE_GPG_SIGNATURE_ATTR_USER_NAME, &s.UserName)
	text(C.OSTREE_GPG_SIGNATURE_ATTR_USER_EMAIL, &s.UserEmail)
	text(C.OSTREE_GPG_SIGNATURE_ATTR_FINGERPRINT_PRIMARY, &s.PrimaryFingerprint)
	when(C.OSTREE_GPG_SIGNATURE_ATTR_KEY_EXP_TIMESTAMP, &s.KeyExpires)
	when(C.OSTREE_GPG_SIGNATURE_ATTR_KEY_EXP_TIMESTAMP_PRIMARY, &s.PrimaryKeyExpires)
	return s, errors.Join(errs...)
}

// Lookup returns the index of a signature by the ID or fingerprint of its key or of its primary key, hex digits; false if there is none.
//
// C: ostree_gpg_verify_result_lookup
func (g *GPGVerifyResult) Lookup(keyID string) (i int, ok bool) {
	var a arena
	defer a.free()
	ckey := a.str(keyID)
	if a.err != nil || keyID == "" {
		return 0, false
	}
	g.with(func(c *C.OstreeGpgVerifyResult) {
		var n C.guint
		ok = C.ostree_gpg_verify_result_lookup(c, ckey, &n) != 0
		i = int(n)
	})
	return i, ok
}

// Describe returns several lines on signature i of Len, each starting with prefix and ending in a newline.
//
// C: ostree_gpg_verify_result_describe
func (g *GPGVerifyResult) Describe(i int, prefix string) (string, error) {
	if i < 0 || i >= g.Len() {
		return "", fmt.Errorf("GPG signature %d of %d: %w", i, g.Len(), ErrInvalidArgument)
	}
	return describeGPG(prefix, func(buf *C.GString, cprefix *C.char) {
		g.with(func(c *C.OstreeGpgVerifyResult) {
			C.ostree_gpg_verify_result_describe(c, C.guint(i), buf, cprefix, C.OSTREE_GPG_SIGNATURE_FORMAT_DEFAULT)
		})
	})
}

func describeGPG(prefix string, fn func(*C.GString, *C.char)) (string, error) {
	var a arena
	defer a.free()
	cprefix := a.opt(prefix)
	if a.err != nil {
		return "", fmt.Errorf("describe GPG signature: %w", a.err)
	}
	buf := C.g_string_new(nil)
	fn(buf, cprefix)
	return takeString((*C.char)(C.g_string_free(buf, 0))), nil
}

// GPGAttribute names one thing that is known of a signature, for Attributes.
type GPGAttribute int

// Attributes of a signature, with their variant types.
const (
	GPGAttrValid              GPGAttribute = C.OSTREE_GPG_SIGNATURE_ATTR_VALID                     // "b"
	GPGAttrSignatureExpired   GPGAttribute = C.OSTREE_GPG_SIGNATURE_ATTR_SIG_EXPIRED               // "b"
	GPGAttrKeyExpired         GPGAttribute = C.OSTREE_GPG_SIGNATURE_ATTR_KEY_EXPIRED               // "b"
	GPGAttrKeyRevoked         GPGAttribute = C.OSTREE_GPG_SIGNATURE_ATTR_KEY_REVOKED               // "b"
	GPGAttrKeyMissing         GPGAttribute = C.OSTREE_GPG_SIGNATURE_ATTR_KEY_MISSING               // "b"
	GPGAttrFingerprint        GPGAttribute = C.OSTREE_GPG_SIGNATURE_ATTR_FINGERPRINT               // "s", hex digits
	GPGAttrTimestamp          GPGAttribute = C.OSTREE_GPG_SIGNATURE_ATTR_TIMESTAMP                 // "x", seconds since the epoch
	GPGAttrExpires            GPGAttribute = C.OSTREE_GPG_SIGNATURE_ATTR_EXP_TIMESTAMP             // "x", seconds since the epoch, 0 for never
	GPGAttrPublicKeyAlgorithm GPGAttribute = C.OSTREE_GPG_SIGNATURE_ATTR_PUBKEY_ALGO_NAME          // "s"
	GPGAttrHashAlgorithm      GPGAttribute = C.OSTREE_GPG_SIGNATURE_ATTR_HASH_ALGO_NAME            // "s"
	GPGAttrUserName           GPGAttribute = C.OSTREE_GPG_SIGNATURE_ATTR_USER_NAME                 // "s"
	GPGAttrUserEmail          GPGAttribute = C.OSTREE_GPG_SIGNATURE_ATTR_USER_EMAIL                // "s"
	GPGAttrPrimaryFingerprint GPGAttribute = C.OSTREE_GPG_SIGNATURE_ATTR_FINGERPRINT_PRIMARY       // "s", hex digits
	GPGAttrKeyExpires         GPGAttribute = C.OSTREE_GPG_SIGNATURE_ATTR_KEY_EXP_TIMESTAMP         // "x", seconds since the epoch, 0 for never
	GPGAttrPrimaryKeyExpires  GPGAttribute = C.OSTREE_GPG_SIGNATURE_ATTR_KEY_EXP_TIMESTAMP_PRIMARY // "x", seconds since the epoch, 0 for never
)

// Attributes returns the chosen attributes of signature i of Len as a tuple, in the order given; none chosen means all, in the order of
// their constants. Signature gives the same as a Go value.
//
// C: ostree_gpg_verify_result_get, ostree_gpg_verify_result_get_all
func (g *GPGVerifyResult) Attributes(i int, attrs ...GPGAttribute) (v *Variant, err error) {
	if len(attrs) == 0 {
		return g.all(i)
	}
	if i < 0 || i >= g.Len() {
		return nil, fmt.Errorf("GPG signature %d of %d: %w", i, g.Len(), ErrInvalidArgument)
	}
	list := make([]C.OstreeGpgSignatureAttr, 0, gpgAttrs)
	for _, a := range attrs {
		if a < 0 || a >= gpgAttrs {
			return nil, fmt.Errorf("GPG signature %d: %w: attribute %d", i, ErrInvalidArgument, a)
		}
		list = append(list, C.OstreeGpgSignatureAttr(a))
	}
	g.with(func(c *C.OstreeGpgVerifyResult) {
		v = takeVariant(C.ostree_gpg_verify_result_get(c, C.guint(i), &list[0], C.guint(len(list))))
	})
	if v == nil {
		return nil, fmt.Errorf("GPG signature %d: %w", i, ErrClosed)
	}
	return v, nil
}

// DescribeGPGSignature is GPGVerifyResult.Describe for a tuple of all attributes of a signature, type "(bbbbbsxxsssssxx)": what Attributes
// returns without a choice, and what rpm-ostree gives out over D-Bus.
//
// C: ostree_gpg_verify_result_describe_variant
func DescribeGPGSignature(attributes *Variant, prefix string) (text string, err error) {
	if err := attributes.want("(bbbbbsxxsssssxx)"); err != nil {
		return "", fmt.Errorf("describe GPG signature: %w", err)
	}
	defer runtime.KeepAlive(attributes)
	return describeGPG(prefix, func(buf *C.GString, cprefix *C.char) {
		C.ostree_gpg_verify_result_describe_variant(attributes.c(), buf, cprefix, C.OSTREE_GPG_SIGNATURE_FORMAT_DEFAULT)
	})
}

// RequireValidSignature returns nil if at least one signature is valid, and what is wrong with the last one
// otherwise: ErrGPGNoSignature, ErrGPGMissingKey, ErrGPGExpiredKey, ...
//
// C: ostree_gpg_verify_result_require_valid_signature, ostree_gpg_error_quark
func (g *GPGVerifyResult) RequireValidSignature() error {
	if g == nil {
		return fmt.Errorf("verify GPG signature: %w", ErrClosed)
	}
	return callFast(context.Background(), "verify GPG signature", func(e **C.GError) C.gboolean {
		return C.ostree_gpg_verify_result_require_valid_signature((*C.OstreeGpgVerifyResult)(g.h.ptr), e)
	}, &g.h)
}
