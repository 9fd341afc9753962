package registry

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/containers/ocicrypt"
	"github.com/containers/ocicrypt/config"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// encryptedSuffix ends the media type of an encrypted layer; what is before it is the type of the layer that was encrypted.
const encryptedSuffix = "+encrypted"

// CheckKey reports whether layer n (from 0) can be read with Options.DecryptionKeys: nil for one that is not encrypted, ErrEncrypted if
// no key fits, ErrNotFound for an n that is no layer. Nothing is fetched.
func (i *Image) CheckKey(n int) error {
	if n < 0 || n >= len(i.Layers) {
		return fmt.Errorf("layer %d of %d: %w", n, len(i.Layers), ErrNotFound)
	}
	if !i.Layers[n].Encrypted {
		return nil
	}
	_, err := i.decrypt(nil, i.Layers[n].Descriptor, true)
	return err
}

// encryptionAnnotations are those that ocicrypt gets to see. Others may be for a key provider: a program or a service of this host, which
// no image may address.
var encryptionAnnotations = []string{
	"org.opencontainers.image.enc.keys.jwe", "org.opencontainers.image.enc.keys.pkcs7", "org.opencontainers.image.enc.pubopts",
}

// decrypt returns what an encrypted layer was before. With keyOnly it is only seen whether a key fits.
func (i *Image) decrypt(r io.Reader, desc ocispec.Descriptor, keyOnly bool) (plain io.Reader, err error) {
	schemes := slices.Sorted(maps.Keys(ocicrypt.GetWrappedKeysMap(desc)))
	desc.Annotations = maps.Clone(desc.Annotations)
	maps.DeleteFunc(desc.Annotations, func(name, _ string) bool { return !slices.Contains(encryptionAnnotations, name) })
	lock := cmp.Or(strings.Join(schemes, ", "), "a scheme that is not known")
	if i.keys == nil {
		return nil, fmt.Errorf("%w (for %s), and no decryption key was given", ErrEncrypted, lock)
	}
	defer func() { // crypto/cipher does that when a nonce is too short, and the image is where it comes from
		if p := recover(); p != nil {
			plain, err = nil, fmt.Errorf("%w: %v", ErrDecryption, p)
		}
	}()
	if _, _, err := ocicrypt.DecryptLayer(i.keys, nil, desc, true); err != nil {
		// What ocicrypt says is several lines about each key, and no more than this.
		hint := ""
		if slices.Contains(schemes, "pkcs7") && len(i.keys.Parameters[paramCertificates]) == 0 {
			hint = "; pkcs7 needs the certificate beside the key"
		}
		return nil, fmt.Errorf("%w (for %s), and no decryption key fits%s", ErrEncrypted, lock, hint)
	}
	if keyOnly {
		return nil, nil //nolint:nilnil // nothing is read
	}
	plain, _, err = ocicrypt.DecryptLayer(i.keys, r, desc, false)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDecryption, err)
	}
	return plain, nil
}

// decrypted returns the blob of an encrypted layer as it was before it was encrypted. It is closed if that cannot be done.
func (i *Image) decrypted(ctx context.Context, blob *layerReader, desc ocispec.Descriptor) (io.ReadCloser, error) {
	d := &decryptedReader{blob: blob, source: keptError{r: blob}, ctx: ctx, op: "decrypt layer " + desc.Digest.String()}
	var err error
	if d.plain, err = i.decrypt(&d.source, desc, false); err != nil {
		return nil, newError(ctx, d.op, errors.Join(err, blob.Close()), 0, i.redact)
	}
	return d, nil
}

// decryptedReader gives out a decrypted blob. The encrypted one is verified below it.
type decryptedReader struct {
	blob   *layerReader
	source keptError
	plain  io.Reader
	ctx    context.Context //nolint:containedctx // for its cause in errors
	op     string
	err    error
}

// keptError keeps the error that ended a stream: decryption reads ahead.
type keptError struct {
	r   io.Reader
	err error
}

func (k *keptError) Read(p []byte) (n int, err error) {
	if k.err != nil {
		return 0, k.err
	}
	n, k.err = k.r.Read(p)
	return n, k.err
}

// Read reports io.EOF only after the encrypted blob was verified, and the code that the encryption has for its authenticity.
func (d *decryptedReader) Read(p []byte) (int, error) {
	if d.err != nil || len(p) == 0 {
		return 0, d.err
	}
	n, err := d.plain.Read(p)
	switch failed := d.source.err != nil && d.source.err != io.EOF; { //nolint:errorlint // only the plain one is an end
	case err == nil:
	case failed:
		err = d.source.err
	case err != io.EOF || d.source.err == nil: //nolint:errorlint // as above
		// The text of ocicrypt has bytes of all kinds in it.
		err = newError(d.ctx, d.op, fmt.Errorf("%w: its authentication code is another", ErrDecryption), 0, d.blob.image.redact)
	}
	d.err = err
	return n, err
}

// Close ends the transfer. It may be called twice.
func (d *decryptedReader) Close() error {
	d.err = cmp.Or(d.err, errReaderClosed)
	return d.blob.Close()
}

// Names of what a DecryptConfig holds.
const (
	paramKeys         = "privkeys"
	paramPassphrases  = "privkeys-passwords"
	paramCertificates = "x509s"
)

// decryptConfig reads keys; nil if there are none.
func decryptConfig(keys []DecryptionKey) (*config.DecryptConfig, error) {
	if len(keys) == 0 {
		return nil, nil //nolint:nilnil // no keys
	}
	params := map[string][][]byte{}
	for _, k := range keys {
		data, certificate, err := k.load()
		if err != nil {
			return nil, fmt.Errorf("decryption key %s: %w", k.File, err)
		}
		if certificate {
			params[paramCertificates] = append(params[paramCertificates], data)
			continue
		}
		params[paramKeys] = append(params[paramKeys], data)
		params[paramPassphrases] = append(params[paramPassphrases], []byte(k.Passphrase))
	}
	return &config.DecryptConfig{Parameters: params}, nil
}
