package testimage

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// EncryptionKey is a key for encrypted layers: files in PEM.
type EncryptionKey struct {
	Private, Public, Certificate string
	// Locked is Private with the passphrase of NewEncryptionKey.
	Locked string
}

// NewEncryptionKey makes a key.
func NewEncryptionKey(t testing.TB, passphrase string) *EncryptionKey {
	t.Helper()
	must := func(err error) {
		if err != nil {
			t.Fatalf("make key: %v", err)
		}
	}
	dir := t.TempDir()
	write := func(name string, block *pem.Block) string {
		path := filepath.Join(dir, name)
		must(os.WriteFile(path, pem.EncodeToMemory(block), 0o600))
		return path
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	must(err)
	private := x509.MarshalPKCS1PrivateKey(key)
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	must(err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	must(err)
	locked, err := x509.EncryptPEMBlock(rand.Reader, "RSA PRIVATE KEY", private, []byte(passphrase), x509.PEMCipherAES256) //nolint:staticcheck // what ocicrypt reads
	must(err)
	return &EncryptionKey{
		Private:     write("key.pem", &pem.Block{Type: "RSA PRIVATE KEY", Bytes: private}),
		Public:      write("public.pem", &pem.Block{Type: "PUBLIC KEY", Bytes: public}),
		Certificate: write("certificate.pem", &pem.Block{Type: "CERTIFICATE", Bytes: certificate}),
		Locked:      write("locked.pem", locked),
	}
}

// Encrypt copies an image to the layout dir, as tag, and encrypts its layers with skopeo for recipients such as "jwe:PUBLIC" or
// "pkcs7:CERTIFICATE". More options of "skopeo copy" may follow.
func Encrypt(t testing.TB, ref, dir, tag string, recipients ...string) *Base {
	t.Helper()
	NeedTool(t, "skopeo")
	args := []string{"--insecure-policy", "copy", "--quiet"}
	for _, r := range recipients {
		if !strings.HasPrefix(r, "-") {
			args = append(args, "--encryption-key")
		}
		args = append(args, r)
	}
	Run(t, "skopeo", append(args, ref, "oci:"+dir+":"+tag)...)
	base, err := LoadBase(dir, tag)
	if err != nil {
		t.Fatalf("read encrypted image: %v", err)
	}
	return base
}
