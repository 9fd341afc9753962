package registry_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/container/internal/testimage"
	"github.com/ostree-container/ostree-container/container/registry"
)

// pki is a certificate authority with a server's and a client's certificate.
type pki struct {
	ca, serverCert, serverKey, clientCert, clientKey []byte
}

func ecKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	return key
}

func authority(t *testing.T, key *ecdsa.PrivateKey) (*x509.Certificate, []byte) {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func newPKI(t *testing.T) *pki {
	t.Helper()
	caKey := ecKey(t)
	caCert, ca := authority(t, caKey)
	issue := func(serial int64, usage x509.ExtKeyUsage) (cert, key []byte) {
		leafKey := ecKey(t)
		der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
			SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
			KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{usage}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		}, caCert, leafKey.Public(), caKey)
		require.NoError(t, err)
		keyDER, err := x509.MarshalPKCS8PrivateKey(leafKey)
		require.NoError(t, err)
		return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
	}
	p := &pki{ca: ca}
	p.serverCert, p.serverKey = issue(10, x509.ExtKeyUsageServerAuth)
	p.clientCert, p.clientKey = issue(11, x509.ExtKeyUsageClientAuth)
	return p
}

func writeFiles(t *testing.T, dir string, files map[string][]byte) string {
	t.Helper()
	require.NoError(t, os.MkdirAll(dir, 0o700))
	for name, data := range files {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), data, 0o600))
	}
	return dir
}

// A registry whose certificate only certs.d(5) can verify, and that wants one from the client.
func TestCertificates(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w := sample().Write(t, dir, "v1")
	p := newPKI(t)
	pair, err := tls.X509KeyPair(p.serverCert, p.serverKey)
	require.NoError(t, err)
	pool := x509.NewCertPool()
	require.True(t, pool.AppendCertsFromPEM(p.ca))
	serve := func(auth tls.ClientAuthType) string {
		server := httptest.NewUnstartedServer(testimage.NewRegistry(t, dir))
		server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: auth, ClientCAs: pool}
		server.Config.ErrorLog = nil
		server.StartTLS()
		t.Cleanup(server.Close)
		return server.Listener.Addr().String()
	}
	plain, mutual := serve(tls.NoClientCert), serve(tls.RequireAndVerifyClientCert)
	other := newPKI(t)
	ca := map[string][]byte{"ca.crt": p.ca}
	client := map[string][]byte{"ca.crt": p.ca, "client.cert": p.clientCert, "client.key": p.clientKey}
	for name, c := range map[string]struct {
		host    string
		files   map[string][]byte
		message string
	}{
		"CA":                         {plain, ca, ""},
		"no CA":                      {plain, nil, "certificate signed by unknown authority"},
		"another CA":                 {plain, map[string][]byte{"ca.crt": other.ca}, "certificate signed by unknown authority"},
		"client":                     {mutual, client, ""},
		"no client certificate":      {mutual, ca, "certificate required"},
		"another client certificate": {mutual, map[string][]byte{"ca.crt": p.ca, "client.cert": other.clientCert, "client.key": other.clientKey}, "tls"},
		"client without key":         {mutual, map[string][]byte{"ca.crt": p.ca, "client.cert": p.clientCert}, "missing key client.key"},
		"key without certificate":    {mutual, map[string][]byte{"ca.crt": p.ca, "client.key": p.clientKey}, "missing client certificate client.cert"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			check := func(how string, opts *registry.Options) {
				opts.InsecureSkipTLSVerify = false
				ref := "docker://" + c.host + "/os:v1"
				if c.message == "" {
					checkImage(t, openImage(t, ref, opts), w)
					return
				}
				err := openError(t, ref, opts)
				assert.ErrorContains(t, err, c.message, how)
				assert.NotContains(t, err.Error(), "PRIVATE KEY")
			}
			opts := options(t)
			opts.CertDir = writeFiles(t, t.TempDir(), c.files)
			check("CertDir", opts)
			opts = options(t)
			opts.RootDir = t.TempDir()
			writeFiles(t, filepath.Join(opts.RootDir, "etc/containers/certs.d", c.host), c.files)
			writeFiles(t, filepath.Join(opts.RootDir, "etc/containers/certs.d", strings.Replace(c.host, ":", ":1", 1)), client) // another port
			check("certs.d", opts)
		})
	}
}
