package registry_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/container/imageref"
	"github.com/ostree-container/ostree-container/container/internal/testimage"
	"github.com/ostree-container/ostree-container/container/registry"
)

// registries.conf(5): where an image is really fetched from, and what is refused.
func TestRegistriesConf(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w := sample().Write(t, dir, "v1")
	host := dockerRegistry(t, "")
	skopeo(t, w.Ref, "docker://"+host+"/mirrored/ns/os:v1")
	good := testimage.NewRegistry(t, dir)
	broken := testimage.NewRegistry(t, dir)
	broken.SetFault(func(testimage.Request) *testimage.Fault { return &testimage.Fault{Status: http.StatusNotFound} })
	onlyManifest := testimage.NewRegistry(t, dir)
	onlyManifest.SetFault(func(r testimage.Request) *testimage.Fault {
		if r.Kind == "blob" {
			return &testimage.Fault{Status: http.StatusNotFound}
		}
		return nil
	})
	cut := testimage.NewRegistry(t, dir)
	cut.SetFault(func(r testimage.Request) *testimage.Fault {
		if r.Ref == w.Manifest.Layers[0].Digest.String() {
			return &testimage.Fault{Cut: true, Drop: 5}
		}
		return nil
	})
	stalled := testimage.NewRegistry(t, dir)
	stalled.SetFault(func(r testimage.Request) *testimage.Fault {
		if r.Ref == w.Manifest.Layers[0].Digest.String() {
			return &testimage.Fault{Stall: true, Drop: 5}
		}
		return nil
	})
	conf := fmt.Sprintf(`
unqualified-search-registries = ["example.invalid"]
short-name-mode = "permissive"
[aliases]
"aliased" = "%[1]s/mirrored/ns/os"

[[registry]]
prefix = "remapped.invalid/team"
location = "%[1]s/mirrored"
insecure = true

[[registry]]
prefix = "*.wild.invalid"
location = "%[2]s/x"
insecure = true

[[registry]]
prefix = "mirrors.invalid"
location = "%[2]s"
insecure = true
[[registry.mirror]]
location = "127.0.0.1:1"
insecure = true
[[registry.mirror]]
location = "%[3]s"
insecure = true
[[registry.mirror]]
location = "%[1]s/mirrored"
insecure = true

[[registry]]
prefix = "digestonly.invalid"
location = "%[2]s"
insecure = true
mirror-by-digest-only = true
[[registry.mirror]]
location = "%[3]s"
insecure = true

[[registry]]
prefix = "blocked.invalid"
location = "127.0.0.1:1/blocked"
blocked = true
[[registry]]
prefix = "blocked.invalid/ns/allowed"
location = "%[1]s/mirrored/ns/os"
insecure = true

[[registry]]
prefix = "secure.invalid"
location = "%[5]s"

[[registry]]
prefix = "halfmirror.invalid"
location = "%[2]s"
insecure = true
[[registry.mirror]]
location = "%[4]s"
insecure = true

[[registry]]
prefix = "cutmirror.invalid"
location = "%[2]s"
insecure = true
[[registry.mirror]]
location = "%[6]s"
insecure = true

[[registry]]
prefix = "stalledmirror.invalid"
location = "%[2]s"
insecure = true
[[registry.mirror]]
location = "%[7]s"
insecure = true

[[registry]]
prefix = "noblobs.invalid"
location = "%[4]s"
insecure = true
[[registry.mirror]]
location = "%[3]s"
insecure = true
[[registry.mirror]]
location = "%[4]s/again"
insecure = true
`, host, good.Host(), broken.Host(), onlyManifest.Host(), testimage.NewRegistry(t, dir).Host(), cut.Host(), stalled.Host())
	opts := func(t *testing.T) *registry.Options {
		o := options(t)
		o.InsecureSkipTLSVerify = false
		o.Retry.Attempts = 1
		require.NoError(t, os.WriteFile(o.RegistriesConf, []byte(conf), 0o600))
		return o
	}
	for _, name := range []string{
		"remapped.invalid/team/ns/os:v1", "remapped.invalid/team/ns/os@" + w.Digest().String(), "a.wild.invalid/os:v1", "mirrors.invalid/ns/os:v1",
		"digestonly.invalid/os:v1", "blocked.invalid/ns/allowed:v1",
	} {
		t.Run(name, func(t *testing.T) {
			img := openImage(t, "docker://"+name, opts(t))
			assert.Equal(t, "docker://"+name, img.Ref.ImgRef.String(), "the name stays")
			checkImage(t, img, w)
		})
	}
	for name, text := range map[string]string{
		"blocked.invalid/ns/os:v1":      "blocked",
		"secure.invalid/os:v1":          "server gave HTTP response to HTTPS client",
		"remapped.invalid/other/os:v1":  "remapped.invalid",
		"mirrors.invalid/ns/missing:v2": "v2",
	} {
		t.Run(name, func(t *testing.T) {
			assert.ErrorContains(t, openError(t, "docker://"+name, opts(t)), text)
		})
	}
	// containers/image takes all from the mirror that has the manifest; what it lacks comes from the next place.
	for name, host := range map[string]string{
		"a mirror without the blobs": "halfmirror", "a mirror that breaks off": "cutmirror", "a mirror that stalls": "stalledmirror",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			shared, good := good.Host(), testimage.NewRegistry(t, dir)
			var log strings.Builder
			o := opts(t)
			o.StallTimeout, o.Retry.Attempts = 300*time.Millisecond, 4
			o.Logger = slog.New(slog.NewTextHandler(&log, nil))
			require.NoError(t, os.WriteFile(o.RegistriesConf, []byte(strings.ReplaceAll(conf, shared, good.Host())), 0o600))
			checkImage(t, openImage(t, "docker://"+host+".invalid/os:v1", o), w)
			if host == "stalledmirror" {
				assert.Equal(t, 1, stalled.Requests("blob", w.Manifest.Layers[0].Digest.String()), "it is not waited for again")
			}
			assert.Contains(t, log.String(), "taking blobs from another source")
			assert.Equal(t, 1, good.Requests("blob", w.Manifest.Layers[0].Digest.String()))
			assert.Equal(t, 1, strings.Count(log.String(), "taking blobs from another source"), "the mirror is not the next place")
			left, err := filepath.Glob(filepath.Join(o.TempDir, "ostree-container-*"))
			require.NoError(t, err)
			assert.Empty(t, left)
		})
	}
	t.Run("mirrors on one host", func(t *testing.T) {
		t.Parallel()
		// The second has the manifest and stalls: neither it nor the first, which has nothing, is asked again.
		one, last := testimage.NewRegistry(t, dir), testimage.NewRegistry(t, dir)
		layer := w.Manifest.Layers[0].Digest.String()
		one.SetFault(func(r testimage.Request) *testimage.Fault {
			switch {
			case r.Name == "first/os":
				return &testimage.Fault{Status: http.StatusNotFound}
			case r.Ref == layer:
				return &testimage.Fault{Stall: true, Drop: 5}
			}
			return nil
		})
		o := opts(t)
		o.StallTimeout, o.Retry.Attempts = 300*time.Millisecond, 4
		mirrors := "[[registry]]\nprefix = \"m.invalid\"\nlocation = \"" + last.Host() + "\"\ninsecure = true\n"
		for _, place := range []string{"/first", "/second"} {
			mirrors += "[[registry.mirror]]\nlocation = \"" + one.Host() + place + "\"\ninsecure = true\n"
		}
		require.NoError(t, os.WriteFile(o.RegistriesConf, []byte(mirrors), 0o600))
		checkImage(t, openImage(t, "docker://m.invalid/os:v1", o), w)
		assert.Equal(t, 1, one.Requests("blob", layer), "it is not waited for again")
		assert.Equal(t, 1, last.Requests("blob", layer))
	})
	t.Run("no place has the blobs", func(t *testing.T) {
		assert.ErrorContains(t, openError(t, "docker://noblobs.invalid/os:v1", opts(t)), "404")
	})
	t.Run("short names", func(t *testing.T) {
		// A name without a registry is docker.io's, whatever registries.conf would make of it: nothing is searched.
		o := opts(t)
		require.NoError(t, os.WriteFile(o.RegistriesConf, []byte(conf+"\n[[registry]]\nprefix = \"docker.io\"\nlocation = \"docker.io\"\nblocked = true\n"), 0o600))
		for _, name := range []string{"os", "os:v1", "aliased", "ns/os:v1"} {
			assert.ErrorContains(t, openError(t, "docker://"+name, o), "docker.io is blocked", name)
		}
	})
	t.Run("a directory of files", func(t *testing.T) {
		o := options(t)
		o.InsecureSkipTLSVerify = false
		o.RegistriesConfDir = t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(o.RegistriesConfDir, "50-test.conf"), fmt.Appendf(nil,
			"[[registry]]\nprefix = \"dropin.invalid\"\nlocation = %q\ninsecure = true\n", good.Host()), 0o600))
		checkImage(t, openImage(t, "docker://dropin.invalid/os:v1", o), w)
	})
	t.Run("invalid", func(t *testing.T) {
		o := opts(t)
		require.NoError(t, os.WriteFile(o.RegistriesConf, []byte("[[registry]\nnonsense"), 0o600))
		assert.ErrorContains(t, openError(t, "docker://mirrors.invalid/os:v1", o), o.RegistriesConf)
	})
	t.Run("below RootDir", func(t *testing.T) {
		o := options(t)
		o.InsecureSkipTLSVerify = false
		o.RootDir, o.RegistriesConf, o.RegistriesConfDir = t.TempDir(), "", ""
		require.NoError(t, os.MkdirAll(filepath.Join(o.RootDir, "etc/containers"), 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(o.RootDir, "etc/containers/registries.conf"), []byte(conf), 0o600))
		checkImage(t, openImage(t, "docker://remapped.invalid/team/ns/os:v1", o), w)
	})
	t.Run("policy of the name that was asked for", func(t *testing.T) {
		o := opts(t)
		for scope, ok := range map[string]bool{"remapped.invalid/team": true, host: false} {
			require.NoError(t, os.WriteFile(o.PolicyPath, fmt.Appendf(nil, `{"default":[{"type":"reject"}],"transports":{"docker":{%q:[{"type":"insecureAcceptAnything"}]}}}`, scope), 0o600))
			img := unverified(t, "docker://remapped.invalid/team/ns/os:v1")
			img.SigVerify.Kind = imageref.SignatureContainerPolicy
			opened, err := registry.Open(t.Context(), img, o)
			assert.Equal(t, ok, err == nil, "%s: %v", scope, err)
			if err == nil {
				require.NoError(t, opened.Close())
			}
		}
	})
}

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

// Tokens that a registry takes only for a few requests: the pull goes on with new ones.
func TestTokens(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	extra := make([]testimage.Layer, 6)
	for n := range extra {
		extra[n].Members = []testimage.Member{testimage.File(fmt.Sprintf("usr/f%d", n), 0o644, "x")}
	}
	w := sample(extra...).Write(t, dir, "v1")
	real := dockerRegistry(t, "")
	skopeo(t, w.Ref, "docker://"+real+"/ns/os:v1")
	target, err := url.Parse("http://" + real)
	require.NoError(t, err)
	for name, backend := range map[string]http.Handler{"docker-registry": httputil.NewSingleHostReverseProxy(target), "testimage": testimage.NewRegistry(t, dir)} {
		for _, uses := range []int{0, 2, 3} {
			t.Run(fmt.Sprintf("%s %d", name, uses), func(t *testing.T) {
				t.Parallel()
				tokens := testimage.NewTokens(t)
				tokens.User, tokens.Password, tokens.Uses = "user", canary, uses
				ref := "docker://" + tokens.Protect(t, backend) + "/ns/os:v1"
				opts := options(t)
				opts.Auth, opts.Username, opts.Password = registry.AuthAuto, "user", canary
				img := openImage(t, ref, opts)
				for n := range img.Layers { // one after the other, so that nobody else uses up a token
					data, err := readBlob(t, img, n)
					require.NoError(t, err)
					assert.Equal(t, w.Manifest.Layers[n].Digest, digestOf(data))
				}
				if uses == 0 {
					assert.Equal(t, 1, tokens.Issued())
				} else {
					assert.Greater(t, tokens.Issued(), 2)
				}
				tokens.Stop()
				_, err := readBlob(t, img, 0)
				require.ErrorIs(t, err, registry.ErrUnauthorized)
				assertNoCanary(t, err, "t0ken-")

				err = openError(t, ref, nil)
				require.ErrorIs(t, err, registry.ErrUnauthorized)
			})
		}
	}
}

// --auth-default: podman's file, docker's, and the helpers that they name.
func TestDefaultCredentials(t *testing.T) {
	host := dockerRegistry(t, canaryHash)
	w := sample().Write(t, t.TempDir(), "v1")
	ref := "docker://" + host + "/a/b:v1"
	skopeo(t, "--dest-creds=user:"+canary, w.Ref, ref)
	home := t.TempDir()
	for key, dir := range map[string]string{"HOME": "", "XDG_RUNTIME_DIR": "run", "XDG_CONFIG_HOME": ".config", "DOCKER_CONFIG": ".docker"} {
		t.Setenv(key, filepath.Join(home, dir))
	}
	t.Setenv("REGISTRY_AUTH_FILE", "")
	bin := t.TempDir()
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	helper := func(name, script string) {
		require.NoError(t, os.WriteFile(filepath.Join(bin, "docker-credential-"+name), []byte("#!/bin/sh\n"+script), 0o700))
	}
	helper("good", `[ "$1" = get ] && cat >/dev/null && echo '{"ServerURL":"x","Username":"user","Secret":"`+canary+`"}'`)
	helper("none", `cat >/dev/null; echo "credentials not found in native keychain"; exit 1`)
	helper("broken", `cat >/dev/null; echo "the keyring is on fire `+canary+`"; exit 1`)
	auths := fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, host, base64.StdEncoding.EncodeToString([]byte("user:"+canary)))
	namespaced := fmt.Sprintf(`{"auths":{%q:{"auth":%q},%q:{"auth":%q}}}`, host, base64.StdEncoding.EncodeToString([]byte("user:wrong")),
		host+"/a", base64.StdEncoding.EncodeToString([]byte("user:"+canary)))
	for name, c := range map[string]struct {
		file, content string
		ok            bool
	}{
		"nothing":                 {"nowhere", "", false},
		"podman login":            {"run/containers/auth.json", auths, true},
		"podman's configuration":  {".config/containers/auth.json", auths, true},
		"docker login":            {".docker/config.json", auths, true},
		"most specific":           {"run/containers/auth.json", namespaced, true},
		"helper of docker":        {".docker/config.json", fmt.Sprintf(`{"credHelpers":{%q:"good"}}`, host), true},
		"store of docker":         {".docker/config.json", `{"credsStore":"good"}`, false}, // containers/image reads credHelpers only
		"helper knows nothing":    {".docker/config.json", fmt.Sprintf(`{"credHelpers":{%q:"none"}}`, host), false},
		"helper fails":            {".docker/config.json", fmt.Sprintf(`{"credHelpers":{%q:"broken"}}`, host), false},
		"helper is not installed": {".docker/config.json", fmt.Sprintf(`{"credHelpers":{%q:"missing"}}`, host), false},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(home, c.file)
			require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
			require.NoError(t, os.WriteFile(path, []byte(c.content), 0o600))
			defer os.Remove(path)
			opts := options(t)
			opts.Auth = registry.AuthDefault
			if c.ok {
				checkImage(t, openImage(t, ref, opts), w)
			} else {
				assertNoCanary(t, openError(t, ref, opts))
			}
			// Without being asked for, none of it is used.
			opts.Auth = registry.AuthAnonymous
			require.ErrorIs(t, openError(t, ref, opts), registry.ErrUnauthorized)
		})
	}
	t.Run("helper in registries.conf", func(t *testing.T) {
		opts := options(t)
		opts.Auth = registry.AuthDefault
		require.NoError(t, os.WriteFile(opts.RegistriesConf, []byte("credential-helpers = [\"good\"]\n"), 0o600))
		checkImage(t, openImage(t, ref, opts), w)
	})
	t.Run("helper in registries.conf, for what a mirror lacks", func(t *testing.T) {
		onlyManifest := testimage.NewRegistry(t, strings.TrimSuffix(strings.TrimPrefix(w.Ref, "oci:"), ":v1"))
		onlyManifest.SetFault(func(r testimage.Request) *testimage.Fault {
			if r.Kind == "blob" && r.Ref == w.Manifest.Layers[0].Digest.String() {
				return &testimage.Fault{Status: http.StatusNotFound}
			}
			return nil
		})
		opts := options(t)
		opts.Auth = registry.AuthDefault
		require.NoError(t, os.WriteFile(opts.RegistriesConf, fmt.Appendf(nil, `credential-helpers = ["good"]
[[registry]]
prefix = "halfmirror.invalid/b"
location = %q
insecure = true
[[registry.mirror]]
location = %q
insecure = true
`, host+"/a/b", onlyManifest.Host()+"/b"), 0o600))
		checkImage(t, openImage(t, "docker://halfmirror.invalid/b:v1", opts), w)
	})
}

// proxyTest in the environment makes the test binary open the image it names: http.ProxyFromEnvironment reads the environment once.
const proxyTest = "REGISTRY_TEST_PROXY"

func TestProxyHelper(t *testing.T) {
	ref := os.Getenv(proxyTest)
	if ref == "" {
		return
	}
	opts := options(t)
	opts.Retry.Attempts = 1
	opts.InsecureSkipTLSVerify = os.Getenv(proxyTest+"_STRICT") == "" // otherwise plain HTTP is tried last, and its error shown
	img, err := registry.Open(t.Context(), unverified(t, ref), opts)
	if err != nil {
		fmt.Println("failed:", err)
		return
	}
	data, err := readBlob(t, img, 0)
	fmt.Println("read:", len(data), err)
	require.NoError(t, img.Close())
}

// HTTP_PROXY and NO_PROXY, with credentials in the URL, for plain HTTP and through CONNECT.
func TestProxy(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w := sample().Write(t, dir, "v1")
	var plain, tunnels atomic.Int32
	want := "Basic " + base64.StdEncoding.EncodeToString([]byte("user:"+canary))
	reg, secure := testimage.NewRegistry(t, dir), testimage.NewRegistryTLS(t, dir)
	proxy := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Proxy-Authorization") != want {
			rw.Header().Set("Proxy-Authenticate", "Basic")
			http.Error(rw, "no, "+r.Header.Get("Proxy-Authorization"), http.StatusProxyAuthRequired)
			return
		}
		if r.Method != http.MethodConnect {
			plain.Add(1)
			r.Header.Del("Proxy-Authorization")
			reg.ServeHTTP(rw, r)
			return
		}
		tunnels.Add(1)
		to, err := net.Dial("tcp", secure.Host())
		if err != nil {
			http.Error(rw, err.Error(), http.StatusBadGateway)
			return
		}
		defer to.Close()
		from, _, err := rw.(http.Hijacker).Hijack() //nolint:forcetypeassert // it is one
		if err != nil {
			return
		}
		defer from.Close()
		_, _ = io.WriteString(from, "HTTP/1.1 200 OK\r\n\r\n")
		go func() { _, _ = io.Copy(to, from) }()
		_, _ = io.Copy(from, to)
	}))
	t.Cleanup(proxy.Close)
	proxyURL := func(password string) string {
		return "http://user:" + password + "@" + proxy.Listener.Addr().String()
	}
	read := fmt.Sprintf("read: %d <nil>", w.Manifest.Layers[0].Size)
	for _, c := range []struct {
		name, ref string
		env       []string
		want      string
		plain     bool
		tunnels   bool
	}{
		// Loopback addresses never go through a proxy, so the names here exist only behind it.
		{"http", "docker://plain.invalid:5000/os:v1", []string{"HTTP_PROXY=" + proxyURL(canary), "HTTPS_PROXY="}, read, true, false},
		{"https", "docker://secure.invalid:5000/os:v1", []string{"HTTPS_PROXY=" + proxyURL(canary)}, read, false, true},
		{"wrong password", "docker://secure.invalid:5000/os:v1", []string{"HTTPS_PROXY=" + proxyURL("wr0ng"+canary), proxyTest + "_STRICT=1"}, "Proxy Authentication Required", false, false},
		{"not for this host", "docker://secure.invalid:5000/os:v1", []string{"HTTPS_PROXY=" + proxyURL(canary), "HTTP_PROXY=" + proxyURL(canary), "NO_PROXY=secure.invalid"}, "failed:", false, false},
		{"no proxy there", "docker://secure.invalid:5000/os:v1", []string{"HTTPS_PROXY=http://user:" + canary + "@127.0.0.1:1", proxyTest + "_STRICT=1"}, "connection refused", false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			plain.Store(0)
			tunnels.Store(0)
			cmd := exec.Command(os.Args[0], "-test.run=^TestProxyHelper$", "-test.v")
			cmd.Env = append(append(os.Environ(), proxyTest+"="+c.ref), c.env...)
			var out bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &out
			require.NoError(t, cmd.Run(), out.String())
			assert.Contains(t, out.String(), c.want)
			assert.Equal(t, c.plain, plain.Load() > 0)
			assert.Equal(t, c.tunnels, tunnels.Load() > 0)
			for _, secret := range []string{canary, base64.StdEncoding.EncodeToString([]byte("user:" + canary))} {
				assert.NotContains(t, out.String(), secret)
			}
		})
	}
}
