package ostree

// #include <string.h>
// #include "shim_newer.h"
import "C"

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"runtime"
	"slices"
	"unsafe"
)

// SignKey is a public or secret key, as bytes or as text.
type SignKey struct{ v *Variant }

// BytesKey is a key in the binary form of the engine; of crypto/ed25519, a PublicKey or PrivateKey as it is. b is copied.
func BytesKey(b []byte) SignKey { return SignKey{NewBytesVariant(b)} }

// TextKey is a key in the text form of the engine, base64 for ed25519. Invalid UTF-8 and NUL are not allowed.
func TextKey(s string) (SignKey, error) {
	v, err := NewStringVariant(s)
	return SignKey{v}, err
}

// check refuses what no engine takes, and what libostree would assert: keys of the dummy engine are text.
func (k SignKey) check(engine string) error {
	if k.v == nil {
		return fmt.Errorf("%w: no key", ErrInvalidArgument)
	}
	if _, notText := k.v.Str(); notText != nil && engine == signDummy {
		return fmt.Errorf("%w: dummy keys are text", ErrInvalidArgument)
	}
	return nil
}

// ed25519Secret is the size of a secret key of ed25519, in bytes.
const ed25519Secret = 64

// secret returns a secret key as text: libostree before 2025.7 frees the bytes of one that is not, which are the variant's. A key
// of another size than ed25519 has is refused: libostree 2022.7 clears 64 bytes of what it has kept.
func (k SignKey) secret(engine string) (SignKey, error) {
	if err := k.check(engine); err != nil || engine == signDummy {
		return k, err
	}
	text, notText := k.v.Str()
	if notText != nil {
		text = base64.StdEncoding.EncodeToString(k.v.Bytes())
	}
	if engine == SignEd25519 {
		var a arena
		defer a.free()
		in := a.str(text)
		if a.err != nil {
			return SignKey{}, a.err
		}
		var size C.gsize
		key := C.g_base64_decode((*C.gchar)(in), &size)
		C.explicit_bzero(unsafe.Pointer(key), C.size_t(size))
		C.g_free(C.gpointer(key))
		if size != ed25519Secret {
			return SignKey{}, fmt.Errorf("%w: a secret key of %d bytes, those of %s have %d", ErrInvalidArgument, size, engine, ed25519Secret)
		}
	}
	return TextKey(text)
}

// ReadPublicKeys reads public keys in the engine's text form to the end of in, 1 MiB at most: one base64 key a line for ed25519, PEM for spki.
// Each result is a key for AddPublicKey. Needs libostree 2025.2.
//
// C: ostree_sign_read_pk, ostree_blob_reader_read_blob
func (s *Signer) ReadPublicKeys(ctx context.Context, in io.Reader) ([]SignKey, error) {
	return s.readKeys(ctx, "read public keys", "ostree_sign_read_pk", in)
}

// ReadSecretKeys is ReadPublicKeys for secret keys, for SetSecretKey.
//
// C: ostree_sign_read_sk, ostree_blob_reader_read_blob
func (s *Signer) ReadSecretKeys(ctx context.Context, in io.Reader) ([]SignKey, error) {
	return s.readKeys(ctx, "read secret keys", "ostree_sign_read_sk", in)
}

// maxKeyFile is the size of the largest file of keys that is read, in bytes.
const maxKeyFile = 1 << 20

func (s *Signer) readKeys(ctx context.Context, op, name string, in io.Reader) (keys []SignKey, err error) {
	start, next := symbol(name), symbol("ostree_blob_reader_read_blob")
	if start == nil || next == nil {
		return nil, unsupported(op, FeatureReadKeys)
	}
	data, err := io.ReadAll(io.LimitReader(in, maxKeyFile+1))
	if err == nil && len(data) > maxKeyFile {
		err = fmt.Errorf("%w: over %d bytes", ErrInvalidArgument, maxKeyFile)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", op, err)
	}
	bytes := newBytes(data)
	defer C.g_bytes_unref(bytes)
	err = call(ctx, op, func(c *C.GCancellable, e **C.GError) C.gboolean {
		reader := C.shim_sign_read(start, s.c(), bytes)
		if reader == nil {
			return 0
		}
		defer C.g_object_unref(C.gpointer(reader))
		for {
			blob := C.shim_blob_read(next, reader, c, e)
			if blob == nil {
				return gbool(*e == nil)
			}
			keys = append(keys, BytesKey(takeBytes(blob)))
		}
	}, s.handle())
	if err != nil {
		return nil, err
	}
	return keys, nil
}

// signKeys makes the "av" of secret keys.
func signKeys(keys []SignKey, engine string) (*Variant, error) {
	var a arena
	defer a.free()
	size := C.size_t(len(keys)+1) * C.size_t(unsafe.Sizeof(uintptr(0)))
	values := (**C.GVariant)(C.calloc(1, size))
	a.ptrs = append(a.ptrs, unsafe.Pointer(values))
	keys = slices.Clone(keys)
	for i, k := range keys {
		var err error
		if keys[i], err = k.secret(engine); err != nil {
			return nil, err
		}
	}
	for i, k := range keys {
		unsafe.Slice(values, len(keys)+1)[i] = C.g_variant_new_variant(k.v.c()) // floating: the array takes it
	}
	ct := (*C.GVariantType)(unsafe.Pointer(a.str("v")))
	v := takeVariant(C.g_variant_new_array(ct, values, C.gsize(len(keys))))
	runtime.KeepAlive(keys)
	return v, nil
}
