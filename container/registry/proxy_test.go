package registry_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/container/internal/testimage"
	"github.com/ostree-container/ostree-container/container/registry"
)

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
