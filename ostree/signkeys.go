package ostree

// #include "shim_newer.h"
import "C"

import (
	"context"
	"fmt"
	"io"
)

// ReadPublicKeys reads public keys in the engine's text form to the end of in: one base64 key a line for ed25519, PEM for spki. Each result is a
// key for AddPublicKey. Needs libostree 2025.2.
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
