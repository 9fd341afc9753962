package ostree

// #include "shim.h"
import "C"

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"
	"unsafe"
)

// Returned by GPGVerifyResult.RequireValidSignature, and by what verifies with GPG.
var (
	// ErrGPGNoSignature is returned when there is no signature at all.
	ErrGPGNoSignature = errors.New("ostree: no GPG signature")
	// ErrGPGInvalidSignature is returned when no signature is good.
	ErrGPGInvalidSignature = errors.New("ostree: invalid GPG signature")
	// ErrGPGMissingKey is returned when the key of the signature is not known.
	ErrGPGMissingKey = errors.New("ostree: GPG key is missing")
	// ErrGPGExpiredSignature is returned when the signature has expired.
	ErrGPGExpiredSignature = errors.New("ostree: GPG signature is expired")
	// ErrGPGExpiredKey is returned when the key of the signature has expired.
	ErrGPGExpiredKey = errors.New("ostree: GPG key is expired")
	// ErrGPGRevokedKey is returned when the key of the signature was revoked.
	ErrGPGRevokedKey = errors.New("ostree: GPG key is revoked")
)

var gpgErrorDomain = sync.OnceValue(func() string {
	return C.GoString((*C.char)(C.g_quark_to_string(C.ostree_gpg_error_quark())))
})

func gpgSentinel(code int) error {
	switch code {
	case C.OSTREE_GPG_ERROR_NO_SIGNATURE:
		return ErrGPGNoSignature
	case C.OSTREE_GPG_ERROR_INVALID_SIGNATURE:
		return ErrGPGInvalidSignature
	case C.OSTREE_GPG_ERROR_MISSING_KEY:
		return ErrGPGMissingKey
	case C.OSTREE_GPG_ERROR_EXPIRED_SIGNATURE:
		return ErrGPGExpiredSignature
	case C.OSTREE_GPG_ERROR_EXPIRED_KEY:
		return ErrGPGExpiredKey
	case C.OSTREE_GPG_ERROR_REVOKED_KEY:
		return ErrGPGRevokedKey
	}
	return nil
}

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

// GPGKeyring adds keys to verify with; nil is the zero value: only those of the system or the remote.
type GPGKeyring struct {
	Dir  string // directory of keyrings, in place of the system's; "" for that
	File string // one more keyring; "" for none
}

func (k *GPGKeyring) files(a *arena) (dir, file *C.GFile) {
	if k == nil {
		return nil, nil
	}
	if k.Dir != "" {
		dir = newFile(a, k.Dir)
	}
	if k.File != "" {
		file = newFile(a, k.File)
	}
	return dir, file
}

func fileUnref(f *C.GFile) {
	if f != nil {
		C.g_object_unref(C.gpointer(unsafe.Pointer(f)))
	}
}

// newBytes is a GBytes of a copy of b, which the caller unrefs.
func newBytes(b []byte) *C.GBytes {
	return C.g_bytes_new(C.gconstpointer(bytesPtr(b)), C.gsize(len(b)))
}

// takeBytes frees a (transfer full) GBytes; NULL is nil.
func takeBytes(b *C.GBytes) []byte {
	if b == nil {
		return nil
	}
	defer C.g_bytes_unref(b)
	return copyBytes(b)
}

func copyBytes(b *C.GBytes) []byte {
	var n C.gsize
	p := C.g_bytes_get_data(b, &n)
	out := make([]byte, int(n))
	copy(out, unsafe.Slice((*byte)(p), int(n)))
	return out
}

// VerifyCommitGPG looks at the GPG signatures of a commit in the repository, with the global keys and those of ring, which may be
// nil. An error means that it could not look, ErrGPGNoSignature that there is none; whether a signature is good says
// the result: ask its RequireValidSignature.
//
// C: ostree_repo_verify_commit_ext
func (r *Repo) VerifyCommitGPG(ctx context.Context, commit string, ring *GPGKeyring) (*GPGVerifyResult, error) {
	var a arena
	defer a.free()
	op, csum, err := objectArgs("verify", ObjectCommit, commit, &a)
	if err != nil {
		return nil, err
	}
	dir, file := ring.files(&a)
	defer fileUnref(dir)
	defer fileUnref(file)
	if a.err != nil {
		return nil, fmt.Errorf("%s: %w", op, a.err)
	}
	return r.gpgResult(ctx, op, func(c *C.GCancellable, e **C.GError) *C.OstreeGpgVerifyResult {
		return C.ostree_repo_verify_commit_ext(r.c(), csum, dir, file, c, e)
	})
}

func (r *Repo) gpgResult(ctx context.Context, op string, fn func(*C.GCancellable, **C.GError) *C.OstreeGpgVerifyResult) (*GPGVerifyResult, error) {
	var p *C.OstreeGpgVerifyResult
	err := call(ctx, op, func(c *C.GCancellable, e **C.GError) C.gboolean {
		p = fn(c, e)
		return gbool(p != nil)
	}, r.handle())
	if err != nil {
		return nil, err
	}
	return takeGPGResult(p), nil
}

// VerifyCommitForRemote is VerifyCommitGPG with the keys of a remote.
//
// C: ostree_repo_verify_commit_for_remote
func (r *Repo) VerifyCommitForRemote(ctx context.Context, commit, remote string) (*GPGVerifyResult, error) {
	var a arena
	defer a.free()
	op, csum, err := objectArgs("verify", ObjectCommit, commit, &a)
	if err != nil {
		return nil, err
	}
	cremote := a.str(remote)
	if err := checkRemote(&a, remote, nil); err != nil {
		return nil, fmt.Errorf("%s: %w", op, err)
	}
	return r.gpgResult(ctx, op, func(c *C.GCancellable, e **C.GError) *C.OstreeGpgVerifyResult {
		return C.ostree_repo_verify_commit_for_remote(r.c(), csum, cremote, c, e)
	})
}

// VerifySummary looks at the GPG signatures (the content of summary.sig) over a summary with the keys of a remote.
//
// C: ostree_repo_verify_summary
func (r *Repo) VerifySummary(ctx context.Context, remote string, summary, signatures []byte) (*GPGVerifyResult, error) {
	op := "verify summary of remote " + remote
	var a arena
	defer a.free()
	cremote := a.str(remote)
	if err := checkRemote(&a, remote, nil); err != nil {
		return nil, fmt.Errorf("%s: %w", op, err)
	}
	data, sigs := newBytes(summary), newBytes(signatures)
	defer C.g_bytes_unref(data)
	defer C.g_bytes_unref(sigs)
	return r.gpgResult(ctx, op, func(c *C.GCancellable, e **C.GError) *C.OstreeGpgVerifyResult {
		return C.ostree_repo_verify_summary(r.c(), cremote, data, sigs, c, e)
	})
}

// GPGSignaturesKey is where detached metadata and a summary.sig keep GPG signatures, an "aay".
const GPGSignaturesKey = "ostree.gpgsigs"

// GPGVerifyData looks at detached GPG signatures, binary and one after the other, over data with the keys of a remote ("": the global ones) and those of ring, which may be nil.
//
// C: ostree_repo_gpg_verify_data
func (r *Repo) GPGVerifyData(ctx context.Context, remote string, data, signatures []byte, ring *GPGKeyring) (*GPGVerifyResult, error) {
	const op = "verify GPG signature"
	var a arena
	defer a.free()
	cremote := a.opt(remote)
	dir, file := ring.files(&a)
	defer fileUnref(dir)
	defer fileUnref(file)
	if a.err != nil {
		return nil, fmt.Errorf("%s: %w", op, a.err)
	}
	cdata, sigs := newBytes(data), newBytes(signatures)
	defer C.g_bytes_unref(cdata)
	defer C.g_bytes_unref(sigs)
	return r.gpgResult(ctx, op, func(c *C.GCancellable, e **C.GError) *C.OstreeGpgVerifyResult {
		return C.ostree_repo_gpg_verify_data(r.c(), cremote, cdata, sigs, dir, file, c, e)
	})
}

// GPGSignData signs data with keys by ID, and returns old with the detached signatures appended. Both have the form of summary.sig: a
// serialized "a{sv}" with the signatures as an "aay" at the key GPGSignaturesKey. old may be nil, homedir "" means GPG's own.
//
// C: ostree_repo_gpg_sign_data
func (r *Repo) GPGSignData(ctx context.Context, data, old []byte, keyIDs []string, homedir string) ([]byte, error) {
	const op = "sign with GPG"
	var a arena
	defer a.free()
	ids, home := gpgKeyIDs(&a, keyIDs), a.opt(homedir)
	if a.err != nil {
		return nil, fmt.Errorf("%s: %w", op, a.err)
	}
	cdata, cold := newBytes(data), (*C.GBytes)(nil)
	defer C.g_bytes_unref(cdata)
	if len(old) > 0 {
		cold = newBytes(old)
		defer C.g_bytes_unref(cold)
	}
	var out *C.GBytes
	err := call(ctx, op, func(c *C.GCancellable, e **C.GError) C.gboolean {
		return C.ostree_repo_gpg_sign_data(r.c(), cdata, cold, ids, home, &out, c, e)
	}, r.handle())
	if err != nil {
		return nil, err
	}
	return takeBytes(out), nil
}

func gpgKeyIDs(a *arena, ids []string) **C.char {
	if len(ids) == 0 || len(ids) > math.MaxInt16 {
		a.err = fmt.Errorf("%w: %d keys", ErrInvalidArgument, len(ids))
		return nil
	}
	return a.strv(ids)
}

// SignSummaryGPG adds GPG signatures by keys to the summary of the repository. homedir "" means GPG's own.
//
// C: ostree_repo_add_gpg_signature_summary
func (r *Repo) SignSummaryGPG(ctx context.Context, keyIDs []string, homedir string) error {
	const op = "sign summary with GPG"
	var a arena
	defer a.free()
	ids, home := gpgKeyIDs(&a, keyIDs), a.opt(homedir)
	if a.err != nil {
		return fmt.Errorf("%s: %w", op, a.err)
	}
	return call(ctx, op, func(c *C.GCancellable, e **C.GError) C.gboolean {
		return C.ostree_repo_add_gpg_signature_summary(r.c(), ids, home, c, e)
	}, r.handle())
}

// AppendGPGSignature adds a detached GPG signature, binary and made elsewhere, to a commit's detached metadata.
//
// C: ostree_repo_append_gpg_signature
func (r *Repo) AppendGPGSignature(ctx context.Context, commit string, signature []byte) error {
	var a arena
	defer a.free()
	op, csum, err := objectArgs("append signature to", ObjectCommit, commit, &a)
	if err != nil {
		return err
	}
	data := newBytes(signature)
	defer C.g_bytes_unref(data)
	return call(ctx, op, func(c *C.GCancellable, e **C.GError) C.gboolean {
		return C.ostree_repo_append_gpg_signature(r.c(), csum, data, c, e)
	}, r.handle())
}
