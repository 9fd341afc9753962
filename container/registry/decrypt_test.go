package registry_test

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/containers/ocicrypt"
	"github.com/containers/ocicrypt/config"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/container/internal/testimage"
	"github.com/ostree-container/ostree-container/container/registry"
)

const (
	encJWE  = "org.opencontainers.image.enc.keys.jwe"
	encOpts = "org.opencontainers.image.enc.pubopts"
)

func withKeys(t testing.TB, keys ...registry.DecryptionKey) *registry.Options {
	t.Helper()
	opts := options(t)
	opts.DecryptionKeys = keys
	return opts
}

// Layers that skopeo encrypted come out as they were, through every transport that has them; the blobs that are verified are the
// encrypted ones.
func TestEncryptedLayers(t *testing.T) {
	t.Parallel()
	w := sample(testimage.Layer{Members: []testimage.Member{testimage.File("usr/z", 0o600, "z")}, Compression: testimage.Zstd}).Write(t, t.TempDir(), "v1")
	key, other := testimage.NewEncryptionKey(t, "sesame"), testimage.NewEncryptionKey(t, "")
	dir := filepath.Join(t.TempDir(), "enc")
	enc := testimage.Encrypt(t, w.Ref, dir, "jwe", "jwe:"+key.Public)
	testimage.Encrypt(t, w.Ref, dir, "both", "jwe:"+other.Public, "pkcs7:"+key.Certificate)
	testimage.Encrypt(t, w.Ref, dir, "second", "jwe:"+key.Public, "--encrypt-layer=1")
	host := testimage.NewRegistry(t, dir)
	private, locked := registry.DecryptionKey{File: key.Private}, registry.DecryptionKey{File: key.Locked, Passphrase: "sesame"}
	wrong, certificate := registry.DecryptionKey{File: other.Private}, registry.DecryptionKey{File: key.Certificate}
	for name, tc := range map[string]struct {
		ref  string
		keys []registry.DecryptionKey
	}{
		"jwe":                {"oci:" + dir + ":jwe", []registry.DecryptionKey{private}},
		"with a passphrase":  {"oci:" + dir + ":jwe", []registry.DecryptionKey{locked}},
		"the second key":     {"oci:" + dir + ":jwe", []registry.DecryptionKey{wrong, private}},
		"registry":           {host.Ref("os", "jwe"), []registry.DecryptionKey{private}},
		"pkcs7":              {"oci:" + dir + ":both", []registry.DecryptionKey{certificate, private}},
		"the other's":        {"oci:" + dir + ":both", []registry.DecryptionKey{wrong}},
		"one layer of three": {"oci:" + dir + ":second", []registry.DecryptionKey{private}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			img := openImage(t, tc.ref, withKeys(t, tc.keys...))
			for n, l := range img.Layers {
				want, err := os.ReadFile(w.BlobPath(w.Manifest.Layers[n].Digest))
				require.NoError(t, err)
				require.NoError(t, img.CheckKey(n))
				got, err := readBlob(t, img, n)
				require.NoError(t, err)
				assert.True(t, bytes.Equal(want, got), "layer %d", n)
				assert.Equal(t, w.Manifest.Layers[n].MediaType, l.MediaType)
				assert.Equal(t, name != "one layer of three" || n == 1, l.Encrypted)
				assert.Equal(t, l.Encrypted, l.Descriptor.MediaType != l.MediaType)
				assert.Equal(t, l.Descriptor.Digest, l.BlobDigest)
				assert.Equal(t, w.DiffIDs[n], l.DiffID)
			}
		})
	}
	for name, tc := range map[string]struct {
		ref  string
		keys []registry.DecryptionKey
		want string
	}{
		"no key":         {"jwe", nil, "the layer is encrypted (for jwe), and no decryption key was given"},
		"a wrong key":    {"jwe", []registry.DecryptionKey{wrong}, "the layer is encrypted (for jwe), and no decryption key fits"},
		"no certificate": {"both", []registry.DecryptionKey{private}, "the layer is encrypted (for jwe, pkcs7), and no decryption key fits; pkcs7 needs the certificate beside the key"},
		"no private key": {"both", []registry.DecryptionKey{certificate}, "the layer is encrypted (for jwe, pkcs7), and no decryption key fits"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			img := openImage(t, "oci:"+dir+":"+tc.ref, withKeys(t, tc.keys...))
			err := img.CheckKey(0)
			require.ErrorIs(t, err, registry.ErrEncrypted)
			assert.EqualError(t, err, tc.want)
			_, err = readBlob(t, img, 0)
			require.ErrorIs(t, err, registry.ErrEncrypted)
			assert.EqualError(t, err, "decrypt layer "+img.Layers[0].Descriptor.Digest.String()+": "+tc.want)
		})
	}
	t.Run("connection breaks", func(t *testing.T) {
		t.Parallel()
		host := testimage.NewRegistry(t, dir)
		host.SetFault(func(r testimage.Request) *testimage.Fault {
			if r.Digest == enc.Manifest.Layers[1].Digest && r.N == 1 {
				return &testimage.Fault{Cut: true, Drop: 1 << 20}
			}
			return nil
		})
		img := openImage(t, host.Ref("os", "jwe"), withKeys(t, private))
		got, err := readBlob(t, img, 1)
		require.NoError(t, err)
		assert.Equal(t, w.Manifest.Layers[1].Digest, digestOf(got))
	})
}

// What an image says of its encryption is as little to be trusted as the rest of it.
func TestDamagedEncryption(t *testing.T) {
	t.Parallel()
	w := sample().Write(t, t.TempDir(), "v1")
	key := testimage.NewEncryptionKey(t, "")
	dir := filepath.Join(t.TempDir(), "enc")
	enc := testimage.Encrypt(t, w.Ref, dir, "v1", "jwe:"+key.Public)
	// wrap makes the key of a layer as its author could.
	wrap := func(options map[string]any) string {
		public, err := os.ReadFile(key.Public)
		require.NoError(t, err)
		text, err := json.Marshal(options)
		require.NoError(t, err)
		crypto, err := config.EncryptWithJwe([][]byte{public})
		require.NoError(t, err)
		wrapped, err := ocicrypt.GetKeyWrapper("jwe").WrapKeys(crypto.EncryptConfig, text)
		require.NoError(t, err)
		return base64.StdEncoding.EncodeToString(wrapped)
	}
	public := func(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }
	mac := base64.StdEncoding.EncodeToString(make([]byte, 32))
	good := map[string]any{"symkey": make([]byte, 32), "cipheroptions": map[string]any{"nonce": make([]byte, 16)}}
	short := map[string]any{"symkey": make([]byte, 32), "cipheroptions": map[string]any{"nonce": make([]byte, 3)}}
	noKey := map[string]any{"symkey": []byte{}, "cipheroptions": map[string]any{"nonce": make([]byte, 16)}}
	options := public(`{"cipher":"AES_256_CTR_HMAC_SHA256","hmac":"` + mac + `","cipheroptions":{}}`)
	for name, tc := range map[string]struct {
		annotations map[string]string
		want        error
		text        string
	}{
		"another code":        {map[string]string{encOpts: options}, registry.ErrDecryption, "its authentication code is another"},
		"another key":         {map[string]string{encOpts: options, encJWE: wrap(good)}, registry.ErrDecryption, "its authentication code is another"},
		"short nonce":         {map[string]string{encOpts: options, encJWE: wrap(short)}, registry.ErrDecryption, "cannot be decrypted"},
		"no key inside":       {map[string]string{encOpts: options, encJWE: wrap(noKey)}, registry.ErrDecryption, "invalid key length"},
		"no code":             {map[string]string{encOpts: public(`{"cipher":"AES_256_CTR_HMAC_SHA256"}`)}, registry.ErrDecryption, "HMAC is not provided"},
		"unknown cipher":      {map[string]string{encOpts: public(`{"cipher":"ROT13"}`)}, registry.ErrDecryption, "cipher"},
		"options are no JSON": {map[string]string{encOpts: public("x")}, registry.ErrDecryption, "JSON"},
		"no base64":           {map[string]string{encOpts: "%"}, registry.ErrDecryption, "base64"},
		"key is no base64":    {map[string]string{encJWE: "%"}, registry.ErrEncrypted, "no decryption key fits"},
		"key is no jwe":       {map[string]string{encJWE: public("x")}, registry.ErrEncrypted, "no decryption key fits"},
		"no keys":             {map[string]string{encJWE: ""}, registry.ErrEncrypted, "no decryption key fits"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bad := testimage.Image{Base: enc, EditManifest: func(m *ocispec.Manifest) {
				m.Layers[1].Annotations = maps.Clone(m.Layers[1].Annotations)
				maps.Copy(m.Layers[1].Annotations, tc.annotations)
			}}.Write(t, t.TempDir(), "bad")
			img := openImage(t, bad.Ref, withKeys(t, registry.DecryptionKey{File: key.Private}))
			_, err := readBlob(t, img, 1)
			require.ErrorIs(t, err, tc.want)
			assert.Contains(t, err.Error(), tc.text)
			assert.Contains(t, err.Error(), img.Layers[1].Descriptor.Digest.String())
			assert.NotContains(t, err.Error(), "\n")
			var typed *registry.Error
			require.ErrorAs(t, err, &typed)
			_, err = readBlob(t, img, 0)
			require.NoError(t, err, "the other layer")
		})
	}
	t.Run("damaged blob", func(t *testing.T) {
		t.Parallel()
		host := testimage.NewRegistry(t, dir)
		host.SetFault(func(r testimage.Request) *testimage.Fault {
			if r.Digest != enc.Manifest.Layers[1].Digest {
				return nil
			}
			return &testimage.Fault{Mutate: func(b []byte) []byte { b = bytes.Clone(b); b[len(b)-1] ^= 1; return b }}
		})
		img := openImage(t, host.Ref("os", "v1"), withKeys(t, registry.DecryptionKey{File: key.Private}))
		_, err := readBlob(t, img, 1)
		var wrong *registry.DigestError
		require.ErrorAs(t, err, &wrong)
		want := enc.Manifest.Layers[1].Digest
		assert.Equal(t, want, wrong.Want)
	})
}

func TestDecryptionKeys(t *testing.T) {
	t.Parallel()
	key := testimage.NewEncryptionKey(t, "open: sesame")
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	w := sample().Write(t, t.TempDir(), "v1")
	for name, tc := range map[string]struct {
		key, want string
		is        error
	}{
		"no such file":       {dir + "/none", "decryption key " + dir + "/none: no such file or directory", fs.ErrNotExist},
		"a directory":        {dir, "decryption key " + dir + ": ", nil},
		"a text":             {write("text", "text"), "neither a private key nor a certificate", nil},
		"a public key":       {key.Public, "neither a private key nor a certificate", nil},
		"locked":             {key.Locked, key.Locked + ": it has a passphrase, and none was given", nil},
		"wrong passphrase":   {key.Locked + ":canary", key.Locked + ": wrong passphrase", nil},
		"wrong, well padded": {key.Locked + ":" + wellPadded(t, key.Locked), key.Locked + ": wrong passphrase", nil},
		"PKCS #8, encrypted": {write("pkcs8", "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n") + ":canary", "openssl rsa", nil},
		"no name":            {":canary", "the name of a file is missing", nil},
		"no passphrase file": {key.Locked + ":file=" + dir + "/none", dir + "/none: no such file or directory", fs.ErrNotExist},
		"no file descriptor": {key.Locked + ":fd=canary", "not the number of an open file", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k, err := registry.ParseDecryptionKey(tc.key)
			if err == nil {
				err = openError(t, w.Ref, withKeys(t, k))
			}
			require.Error(t, err)
			assert.Contains(t, err.Error(), tc.want)
			assert.NotContains(t, err.Error(), "canary")
			if tc.is != nil {
				assert.ErrorIs(t, err, tc.is)
			}
		})
	}
	for _, text := range []string{"open: sesame", "pass=open: sesame", "file=" + write("pass", "open: sesame"), "file=" + write("line", "open: sesame\n")} {
		k, err := registry.ParseDecryptionKey(key.Locked + ":" + text)
		require.NoError(t, err)
		assert.Equal(t, "open: sesame", k.Passphrase)
		assert.Equal(t, key.Locked, k.File)
		openImage(t, w.Ref, withKeys(t, k)) // reads it
		opts := withKeys(t, k)
		for _, shown := range []string{fmt.Sprint(k), fmt.Sprintf("%+v", k), fmt.Sprintf("%#v", k), fmt.Sprintf("%+v", *opts), fmt.Sprintf("%#v", *opts), opts.String()} {
			assert.NotContains(t, shown, "sesame")
		}
	}
}

// wellPadded returns a wrong passphrase with which a key decrypts to something that is no key.
func wellPadded(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	block, _ := pem.Decode(text)
	require.NotNil(t, block)
	for i := range 1 << 16 {
		pass := "canary" + strconv.Itoa(i)
		if _, err := x509.DecryptPEMBlock(block, []byte(pass)); err == nil { //nolint:staticcheck // what is tested
			return pass
		}
	}
	require.Fail(t, "there is none")
	return ""
}
