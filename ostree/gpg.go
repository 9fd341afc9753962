package ostree

// #include "shim_newer.h"
import "C"

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"unsafe"
)

// Returned by GPGVerifyResult.RequireValidSignature, and by what verifies with GPG.
var (
	// ErrGPGNoSignature is returned when there is no signature at all.
	ErrGPGNoSignature = errors.New("no GPG signature")
	// ErrGPGInvalidSignature is returned when no signature is good.
	ErrGPGInvalidSignature = errors.New("invalid GPG signature")
	// ErrGPGMissingKey is returned when the key of the signature is not known.
	ErrGPGMissingKey = errors.New("GPG key is missing")
	// ErrGPGExpiredSignature is returned when the signature has expired.
	ErrGPGExpiredSignature = errors.New("GPG signature is expired")
	// ErrGPGExpiredKey is returned when the key of the signature has expired.
	ErrGPGExpiredKey = errors.New("GPG key is expired")
	// ErrGPGRevokedKey is returned when the key of the signature was revoked.
	ErrGPGRevokedKey = errors.New("GPG key is revoked")
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

// SignCommitGPG adds a GPG signature to a commit's detached metadata. keyID is as gpg takes it, such as a
// fingerprint or an e-mail address; homedir "" means GPG's own. It returns ErrNotFound. A key that has signed
// already gives ErrExists where libostree knows it (a global key), and signs again otherwise. Signer.SignCommit signs with the other engines.
//
// C: ostree_repo_sign_commit
func (r *Repo) SignCommitGPG(ctx context.Context, commit, keyID, homedir string) error {
	var a arena
	defer a.free()
	op, csum, err := objectArgs("sign", ObjectCommit, commit, &a)
	if err != nil {
		return err
	}
	key, home := a.str(keyID), a.opt(homedir)
	if a.err != nil {
		return fmt.Errorf("%s: %w", op, a.err)
	}
	return call(ctx, op, func(c *C.GCancellable, e **C.GError) C.gboolean {
		return C.ostree_repo_sign_commit(r.c(), csum, key, home, c, e)
	}, r.handle())
}

// VerifyCommitGPG looks at the GPG signatures of a commit in the repository, with the global keys, those of all remotes and those of ring,
// which may be nil. An error means that it could not look, or, if it is ErrGPGNoSignature, that there is no signature. Whether a signature
// is good is in the result: call its RequireValidSignature.
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

// VerifyCommit returns nil if at least one GPG signature of a commit is valid, and what is wrong otherwise, as
// GPGVerifyResult.RequireValidSignature does. ring is as in VerifyCommitGPG.
//
// C: ostree_repo_verify_commit
func (r *Repo) VerifyCommit(ctx context.Context, commit string, ring *GPGKeyring) error {
	var a arena
	defer a.free()
	op, csum, err := objectArgs("verify", ObjectCommit, commit, &a)
	if err != nil {
		return err
	}
	dir, file := ring.files(&a)
	defer fileUnref(dir)
	defer fileUnref(file)
	if a.err != nil {
		return fmt.Errorf("%s: %w", op, a.err)
	}
	return call(ctx, op, func(c *C.GCancellable, e **C.GError) C.gboolean {
		return C.ostree_repo_verify_commit(r.c(), csum, dir, file, c, e)
	}, r.handle())
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

// VerifyLocalSummary looks at the GPG signatures (the content of summary.sig) over a summary that the repository itself offers. ring is as in
// VerifyCommitGPG. Needs libostree 2026.3.
//
// C: ostree_repo_verify_local_summary
func (r *Repo) VerifyLocalSummary(ctx context.Context, summary, signatures []byte, ring *GPGKeyring) (*GPGVerifyResult, error) {
	const op = "verify summary"
	fn := symbol(features[FeatureLocalSummary].symbol)
	if fn == nil {
		return nil, unsupported(op, FeatureLocalSummary)
	}
	var a arena
	defer a.free()
	dir, file := ring.files(&a)
	defer fileUnref(dir)
	defer fileUnref(file)
	if a.err != nil {
		return nil, fmt.Errorf("%s: %w", op, a.err)
	}
	data, sigs := newBytes(summary), newBytes(signatures)
	defer C.g_bytes_unref(data)
	defer C.g_bytes_unref(sigs)
	return r.gpgResult(ctx, op, func(c *C.GCancellable, e **C.GError) *C.OstreeGpgVerifyResult {
		return C.shim_repo_verify_local_summary(fn, r.c(), data, sigs, dir, file, c, e)
	})
}

// GPGVerifyData looks at detached GPG signatures over data. signatures are binary, one after the other. The keys are those of a remote
// ("": the global ones) and those of ring, which may be nil.
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
