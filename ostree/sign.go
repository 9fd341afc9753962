package ostree

// #include "shim.h"
import "C"

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"unsafe"
)

// signDummy is libostree's engine for tests.
const signDummy = "dummy"

// Signature engines.
const (
	SignEd25519 = "ed25519" // keys of 32 bytes (public) and 64 bytes (secret, the public one at its end); where built with libsodium or OpenSSL, which Debian's is not
	SignSPKI    = "spki"    // keys as X.509 SubjectPublicKeyInfo and PKCS#8, DER or in PEM files. Needs libostree 2024.7
)

// Signer makes and checks signatures with one engine and the keys given to it. That no signature is good is an error without a sentinel.
// Not safe for concurrent use.
type Signer struct{ h handle }

func (s *Signer) handle() *handle {
	if s == nil {
		return nil
	}
	return &s.h
}

func (s *Signer) c() *C.OstreeSign {
	if s == nil {
		return nil
	}
	return (*C.OstreeSign)(s.h.ptr)
}

func takeSigner(p *C.OstreeSign) *Signer {
	s := &Signer{}
	s.h.own(unsafe.Pointer(p), objectUnref)
	return s
}

// NewSigner returns a Signer without keys. The error matches ErrUnsupported where libostree lacks the engine.
//
// C: ostree_sign_get_by_name
func NewSigner(engine string) (*Signer, error) {
	op := "signature engine " + engine
	var a arena
	defer a.free()
	name := a.str(engine)
	if a.err != nil {
		return nil, fmt.Errorf("%s: %w", op, a.err)
	}
	var gerr *C.GError
	p := C.ostree_sign_get_by_name(name, &gerr)
	if p == nil {
		return nil, fmt.Errorf("%w: %w", takeError(op, gerr), ErrUnsupported)
	}
	return takeSigner(p), nil
}

// SignEngines returns the names of the engines that libostree has, "dummy" among them, which is for tests only.
//
// C: ostree_sign_get_all, ostree_sign_get_name
func SignEngines() []string {
	list := C.ostree_sign_get_all()
	defer C.g_ptr_array_unref(list)
	var names []string
	for _, p := range unsafe.Slice((**C.OstreeSign)(unsafe.Pointer(list.pdata)), int(list.len)) {
		names = append(names, C.GoString((*C.char)(C.ostree_sign_get_name(p))))
	}
	return names
}

// Name returns the name of the engine.
//
// C: ostree_sign_get_name
func (s *Signer) Name() string {
	defer runtime.KeepAlive(s)
	return C.GoString((*C.char)(C.ostree_sign_get_name(s.c())))
}

// MetadataKey returns where detached metadata and a summary.sig keep signatures of the engine, for example "ostree.sign.ed25519".
//
// C: ostree_sign_metadata_key
func (s *Signer) MetadataKey() string {
	defer runtime.KeepAlive(s)
	return C.GoString((*C.char)(C.ostree_sign_metadata_key(s.c())))
}

// MetadataFormat returns the variant type of what is at MetadataKey, for example "aay".
//
// C: ostree_sign_metadata_format
func (s *Signer) MetadataFormat() string {
	defer runtime.KeepAlive(s)
	return C.GoString((*C.char)(C.ostree_sign_metadata_format(s.c())))
}

func (s *Signer) key(op string, k SignKey, fn func(*C.GVariant, **C.GError) C.gboolean) error {
	op += " of " + "signature engine"
	if s.handle() == nil {
		return fmt.Errorf("%s: %w", op, ErrClosed)
	}
	if err := k.check(s.Name()); err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	return callFast(context.Background(), op, func(e **C.GError) C.gboolean { return fn(k.v.c(), e) }, s.handle(), k.v.handle())
}

// SetSecretKey sets the key to sign with. One of another size than ed25519 has is ErrInvalidArgument.
//
// C: ostree_sign_set_sk
func (s *Signer) SetSecretKey(k SignKey) error {
	if s.handle() == nil {
		return fmt.Errorf("set secret key of signature engine: %w", ErrClosed)
	}
	k, err := k.secret(s.Name())
	if err != nil {
		return fmt.Errorf("set secret key of signature engine: %w", err)
	}
	return s.key("set secret key", k, func(v *C.GVariant, e **C.GError) C.gboolean { return C.ostree_sign_set_sk(s.c(), v, e) })
}

// SetPublicKey makes a key the only one to verify with. ed25519 forgets all other keys, the secret one too, as it does with SetSecretKey: to
// have both, set the secret key and add public ones.
//
// C: ostree_sign_set_pk
func (s *Signer) SetPublicKey(k SignKey) error {
	return s.key("set public key", k, func(v *C.GVariant, e **C.GError) C.gboolean { return C.ostree_sign_set_pk(s.c(), v, e) })
}

// AddPublicKey adds a key to verify with. An engine that takes one key only returns an error.
//
// C: ostree_sign_add_pk
func (s *Signer) AddPublicKey(k SignKey) error {
	return s.key("add public key", k, func(v *C.GVariant, e **C.GError) C.gboolean { return C.ostree_sign_add_pk(s.c(), v, e) })
}

// LoadKeysOptions are the options of LoadPublicKeys; nil and the zero value mean the system's trusted and revoked keys.
type LoadKeysOptions struct {
	File    string // file with one base64 key a line (ed25519); excludes BaseDir
	BaseDir string // directory of trusted.ENGINE, trusted.ENGINE.d, revoked.ENGINE and revoked.ENGINE.d; "" for /etc/ostree and /usr/share/ostree
}

// LoadPublicKeys adds keys to verify with from files, and those that are revoked. No key at all is an error.
//
// C: ostree_sign_load_pk
func (s *Signer) LoadPublicKeys(ctx context.Context, opts *LoadKeysOptions) error {
	const op = "load public keys"
	if opts == nil {
		opts = &LoadKeysOptions{}
	}
	d := NewVariantDict()
	switch {
	case opts.File != "" && opts.BaseDir != "":
		return fmt.Errorf("%s: %w: both a file and a directory", op, ErrInvalidArgument)
	case opts.File != "":
		d.SetString("filename", opts.File)
	case opts.BaseDir != "":
		d.SetString("basedir", opts.BaseDir)
	}
	v, err := d.Build()
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	return callFast(ctx, op, func(e **C.GError) C.gboolean { return C.ostree_sign_load_pk(s.c(), v.c(), e) }, s.handle(), v.handle())
}

// ClearKeys forgets all keys.
//
// C: ostree_sign_clear_keys
func (s *Signer) ClearKeys() error {
	return callFast(context.Background(), "clear keys", func(e **C.GError) C.gboolean {
		return C.ostree_sign_clear_keys(s.c(), e)
	}, s.handle())
}

// Sign returns the signature over data by the secret key.
//
// C: ostree_sign_data
func (s *Signer) Sign(ctx context.Context, data []byte) ([]byte, error) {
	in := newBytes(data)
	defer C.g_bytes_unref(in)
	var out *C.GBytes
	err := call(ctx, "sign data", func(c *C.GCancellable, e **C.GError) C.gboolean {
		return C.ostree_sign_data(s.c(), in, &out, c, e)
	}, s.handle())
	if err != nil {
		return nil, err
	}
	return takeBytes(out), nil
}

// Verify returns nil if one of the signatures over data is good for one of the public keys, and a text that says which.
//
// C: ostree_sign_data_verify
func (s *Signer) Verify(ctx context.Context, data []byte, signatures [][]byte) (text string, err error) {
	const op = "verify signature"
	if s.handle() == nil {
		return "", fmt.Errorf("%s: %w", op, ErrClosed)
	}
	if s.MetadataFormat() != "aay" {
		return "", fmt.Errorf("%s: %w: format %q", op, ErrUnsupported, s.MetadataFormat())
	}
	sigs, err := newBytesArray(signatures)
	if err != nil {
		return "", fmt.Errorf("%s: %w", op, err)
	}
	in := newBytes(data)
	defer C.g_bytes_unref(in)
	var out *C.char
	err = callFast(ctx, op, func(e **C.GError) C.gboolean {
		return C.ostree_sign_data_verify(s.c(), in, sigs.c(), &out, e)
	}, s.handle(), sigs.handle())
	return takeString(out), err
}

// newBytesArray makes an "aay".
func newBytesArray(list [][]byte) (*Variant, error) {
	var a arena
	defer a.free()
	values := make([]*Variant, len(list))
	cvalues := (**C.GVariant)(C.calloc(C.size_t(len(list)+1), C.size_t(unsafe.Sizeof(uintptr(0)))))
	a.ptrs = append(a.ptrs, unsafe.Pointer(cvalues))
	for i, b := range list {
		values[i] = NewBytesVariant(b)
		unsafe.Slice(cvalues, len(list)+1)[i] = values[i].c()
	}
	ct := (*C.GVariantType)(unsafe.Pointer(a.str("ay")))
	v := takeVariant(C.g_variant_new_array(ct, cvalues, C.gsize(len(list))))
	runtime.KeepAlive(values)
	if v == nil {
		return nil, errors.New("no array of signatures")
	}
	return v, nil
}

// SignCommit adds a signature over a commit object (64 hex digits) to its detached metadata. It returns ErrNotFound.
//
// C: ostree_sign_commit
func (s *Signer) SignCommit(ctx context.Context, r *Repo, commit string) error {
	var a arena
	defer a.free()
	op, csum, err := objectArgs("sign", ObjectCommit, commit, &a)
	if err != nil {
		return err
	}
	return call(ctx, op, func(c *C.GCancellable, e **C.GError) C.gboolean {
		return C.ostree_sign_commit(s.c(), r.c(), csum, c, e)
	}, s.handle(), r.handle())
}

// VerifyCommit returns nil if one of the signatures in a commit's detached metadata is good for one of the public keys, and a text that says which.
//
// C: ostree_sign_commit_verify
func (s *Signer) VerifyCommit(ctx context.Context, r *Repo, commit string) (text string, err error) {
	var a arena
	defer a.free()
	op, csum, err := objectArgs("verify", ObjectCommit, commit, &a)
	if err != nil {
		return "", err
	}
	var out *C.char
	err = call(ctx, op, func(c *C.GCancellable, e **C.GError) C.gboolean {
		return C.ostree_sign_commit_verify(s.c(), r.c(), csum, &out, c, e)
	}, s.handle(), r.handle())
	return takeString(out), err
}

// SignSummary adds signatures by secret keys to summary.sig. The last of them stays set.
//
// C: ostree_sign_summary
func (s *Signer) SignSummary(ctx context.Context, r *Repo, keys ...SignKey) error {
	const op = "sign summary"
	if len(keys) == 0 {
		return fmt.Errorf("%s: %w: no keys", op, ErrInvalidArgument)
	}
	if s.handle() == nil {
		return fmt.Errorf("%s: %w", op, ErrClosed)
	}
	v, err := signKeys(keys, s.Name())
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	return call(ctx, op, func(c *C.GCancellable, e **C.GError) C.gboolean {
		return C.ostree_sign_summary(s.c(), r.c(), v.c(), c, e)
	}, s.handle(), r.handle(), v.handle())
}
