package cli

import (
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Secrets that the program gets to know and must keep to itself.
const (
	secretPassword  = "p4ss/w0rd+?&=%canary"
	secretProxy     = "pr0xy-canary-Zq"
	secretToken     = "eyJhbGciOi.t0ken-canary.Zq_-"
	secretSignature = "s1gnature-canary%2FZq"
)

// forms are the ways in which a secret may be written.
func forms() map[string]string {
	all := map[string]string{}
	add := func(name, s string) {
		all[name] = s
		all[name+", escaped"] = url.QueryEscape(s)
		all[name+", path-escaped"] = url.PathEscape(s)
		quoted, _ := json.Marshal(s) // cannot fail
		all[name+", JSON"] = string(quoted[1 : len(quoted)-1])
		all[name+", userinfo"] = strings.TrimPrefix(url.UserPassword("", s).String(), ":")
		for _, encoding := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding, base64.RawStdEncoding, base64.RawURLEncoding} {
			all[name+", base64 "+encoding.EncodeToString([]byte{0xff, 0xfe})] = encoding.EncodeToString([]byte(s))
			account := encoding.EncodeToString([]byte("user:" + s))
			all[name+", account "+encoding.EncodeToString([]byte{0xff, 0xfe})] = account
			all[name+", start of account "+encoding.EncodeToString([]byte{0xff, 0xfe})] = account[:16] // an answer that was cut
		}
	}
	add("password", secretPassword)
	add("proxy password", secretProxy)
	add("token", secretToken)
	add("signature", secretSignature)
	add("signature, decoded", strings.ReplaceAll(secretSignature, "%2F", "/"))
	return all
}

// leakyServer is a registry over an OCI layout that puts everything it hears, and more, into its answers.
type leakyServer struct {
	dir  string
	fail string // "ping", "manifest", "blob", "token", "storage", "upload", "put": what answers with status
	code int
	body string // "text", "json", "errors"
	// empty: there are no blobs yet.
	empty bool
}

var leakyPath = regexp.MustCompile(`^/v2/.+/(manifests|blobs)/([^/]+)$`)

func (l *leakyServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	kind, ref := "other", ""
	switch m := leakyPath.FindStringSubmatch(r.URL.Path); {
	case r.URL.Path == "/v2/":
		kind = "ping"
	case r.URL.Path == "/token":
		kind = "token"
	case strings.HasPrefix(r.URL.Path, "/storage/"):
		kind, ref = "storage", filepath.Base(r.URL.Path)
	case m != nil:
		kind, ref = strings.TrimSuffix(m[1], "s"), m[2]
	}
	switch {
	case kind == "manifest" && r.Method == http.MethodPut:
		kind = "put"
	case r.Method != http.MethodGet && r.Method != http.MethodHead && kind != "token":
		kind = "upload"
	case kind == "blob" && r.Method == http.MethodHead && l.empty:
		kind = "nothing"
	}
	if kind == l.fail {
		l.complain(w, r)
		return
	}
	if kind != "token" && kind != "storage" && r.Header.Get("Authorization") != "Bearer "+secretToken {
		w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="http://%s/token",service="leaky"`, r.Host))
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = io.WriteString(w, `{"errors":[{"code":"UNAUTHORIZED","message":"log in"}]}`)
		return
	}
	switch kind {
	case "ping":
		_, _ = io.WriteString(w, "{}")
	case "token":
		_, _ = fmt.Fprintf(w, `{"token":%q,"expires_in":300}`, secretToken)
	case "manifest":
		data, _ := os.ReadFile(filepath.Join(l.dir, "index.json"))
		var index struct {
			Manifests []struct {
				Digest, MediaType string
				Annotations       map[string]string
			}
		}
		_ = json.Unmarshal(data, &index)
		for _, m := range index.Manifests {
			if m.Annotations["org.opencontainers.image.ref.name"] == ref || m.Digest == ref {
				w.Header().Set("Content-Type", m.MediaType)
				http.ServeFile(w, r, filepath.Join(l.dir, "blobs/sha256", strings.TrimPrefix(m.Digest, "sha256:")))
				return
			}
		}
		http.NotFound(w, r)
	case "upload": // goes on under a signed URL
		_, _ = io.Copy(io.Discard, r.Body) // its content is of no interest
		w.Header().Set("Location", fmt.Sprintf("/v2/os/blobs/uploads/x?_state=%s&X-Amz-Signature=%s", secretToken, secretSignature))
		w.Header().Set("Docker-Upload-UUID", "x")
		w.Header().Set("Range", "0-0")
		status := http.StatusAccepted
		if r.Method == http.MethodPut {
			status = http.StatusCreated
		}
		w.WriteHeader(status)
	case "put":
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusCreated)
	case "blob": // elsewhere, under a signed URL
		w.Header().Set("Location", fmt.Sprintf("http://user:%s@%s/storage/%s?X-Amz-Signature=%s&X-Amz-Credential=%s", url.QueryEscape(secretPassword), r.Host, strings.TrimPrefix(ref, "sha256:"), secretSignature, secretSignature))
		w.WriteHeader(http.StatusTemporaryRedirect)
	case "storage":
		http.ServeFile(w, r, filepath.Join(l.dir, "blobs/sha256", ref))
	default:
		http.NotFound(w, r)
	}
}

func (l *leakyServer) complain(w http.ResponseWriter, r *http.Request) {
	if l.code == 0 { // not at all
		panic(http.ErrAbortHandler)
	}
	if l.code == http.StatusTemporaryRedirect { // to where nobody is
		w.Header().Set("Location", fmt.Sprintf("http://user:%s@127.0.0.1:1/x?token=%s&sig=%s", url.QueryEscape(secretPassword), secretToken, secretSignature))
		w.WriteHeader(l.code)
		return
	}
	text := fmt.Sprintf("bad %s / %s / %s / Authorization: %s / https://user:%s@h/x?X-Amz-Signature=%s / %s",
		secretPassword, base64.StdEncoding.EncodeToString([]byte("user:"+secretPassword)), secretToken, r.Header.Get("Authorization"), url.QueryEscape(secretPassword), secretSignature, r.URL)
	switch l.body {
	case "errors":
		body, _ := json.Marshal(map[string]any{"errors": []any{map[string]any{"code": "DENIED", "message": text, "detail": text}}})
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(l.code)
		_, _ = w.Write(body)
	case "json":
		body, _ := json.Marshal(map[string]string{"details": text, "token": secretToken})
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(l.code)
		_, _ = w.Write(body)
	default:
		http.Error(w, text, l.code)
	}
}

// leakTest is the program with an environment that gives no credentials away.
type leakTest struct {
	path    string
	env     []string
	secrets map[string]string
}

func newLeakTest(t *testing.T) *leakTest {
	t.Helper()
	path, env := program(t)
	policy := filepath.Join(t.TempDir(), "policy.json")
	require.NoError(t, os.WriteFile(policy, []byte(`{"default":[{"type":"insecureAcceptAnything"}]}`), 0o600))
	env = append(env, "CONTAINERS_POLICY_JSON="+policy, "HTTP_PROXY=", "HTTPS_PROXY=", "http_proxy=", "https_proxy=")
	return &leakTest{path, env, forms()}
}

// try runs a command line with a source of credentials and looks through all that is left. In the line HOST is the registry, REPO an empty
// repository, DIR the directory of both that and HOME.
func (l *leakTest) try(t *testing.T, line, host, auth string, wantFailure bool, more ...string) string {
	t.Helper()
	dir := t.TempDir() // of the program: HOME, TMPDIR, repository
	private := t.TempDir()
	env := append(slices.Clone(l.env), "HOME="+dir, "TMPDIR="+dir, "XDG_RUNTIME_DIR="+private, "XDG_CONFIG_HOME="+private, "XDG_CACHE_HOME="+dir, "DOCKER_CONFIG="+private)
	repo := filepath.Join(dir, "repo")
	tool(t, "ostree", "init", "--repo="+repo, "--mode=bare-user")
	args := append(strings.Fields(strings.NewReplacer("HOST", host, "REPO", repo, "DIR", dir).Replace(line)), "--insecure-skip-tls-verification")
	stdin := ""
	file := fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, host, base64.StdEncoding.EncodeToString([]byte("user:"+secretPassword)))
	switch auth {
	case "creds":
		args = append(args, "--creds", "user:"+secretPassword)
	case "stdin":
		args, stdin = append(args, "--creds", "user"), secretPassword+"\n"
	case "authfile":
		name := filepath.Join(private, "my.json")
		require.NoError(t, os.WriteFile(name, []byte(file), 0o600))
		args = append(args, "--authfile", name)
	case "default":
		require.NoError(t, os.MkdirAll(filepath.Join(private, "containers"), 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(private, "containers/auth.json"), []byte(file), 0o600))
		args = append(args, "--auth-default")
	case "helper":
		require.NoError(t, os.WriteFile(filepath.Join(private, "docker-credential-x"), []byte("#!/bin/sh\ncat >/dev/null\n"+
			`echo '{"ServerURL":"x","Username":"user","Secret":"`+secretPassword+`"}'`), 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(private, "config.json"), fmt.Appendf(nil, `{"credHelpers":{%q:"x"}}`, host), 0o600))
		env = append(env, "PATH="+private+":"+os.Getenv("PATH"))
		args = append(args, "--auth-default")
	case "identity token":
		name := filepath.Join(private, "my.json")
		require.NoError(t, os.WriteFile(name, fmt.Appendf(nil, `{"auths":{%q:{"auth":%q,"identitytoken":%q}}}`, host, base64.StdEncoding.EncodeToString([]byte("user:")), secretPassword), 0o600))
		args = append(args, "--authfile", name)
	}
	for _, m := range more {
		if strings.HasPrefix(m, "-") || m == "json" {
			args = append(args, m)
		} else {
			env = append(env, m)
		}
	}
	var out, errOut bytes.Buffer
	cmd := exec.Command(l.path, args...)
	cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr = env, strings.NewReader(stdin), &out, &errOut
	err := cmd.Run()
	if wantFailure {
		assert.Error(t, err, "%s%s", out.String(), errOut.String())
		assert.Contains(t, errOut.String(), "error: ")
	} else {
		assert.NoError(t, err, errOut.String())
	}
	for name, secret := range l.secrets {
		assert.NotContains(t, out.String(), secret, "%s on standard output", name)
		assert.NotContains(t, errOut.String(), secret, "%s on standard error", name)
	}
	require.NoError(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		for name, secret := range l.secrets {
			assert.False(t, bytes.Contains(data, []byte(secret)), "%s in %s", name, path)
		}
		return err
	}))
	return errOut.String()
}

// No secret is in anything that the program prints or leaves behind, whatever fails and whatever the other side answers.
func TestNoSecretsAnywhere(t *testing.T) {
	i, l := makeImages(t), newLeakTest(t)
	try := func(t *testing.T, host, auth string, wantFailure bool, more ...string) string {
		t.Helper()
		return l.try(t, "container image pull REPO ostree-unverified-registry:HOST/os:v1", host, auth, wantFailure, more...)
	}

	verbose := [][]string{nil, {"--verbose"}, {"--format", "json"}, {"--verbose", "--format", "json"}}
	auths := []string{"creds", "stdin", "authfile", "default", "helper", "identity token"}
	n := 0
	for _, fail := range []string{"ping", "token", "manifest", "blob", "storage"} {
		for _, code := range []int{400, 401, 403, 404, 407, 418, http.StatusTemporaryRedirect, 0} {
			for _, body := range []string{"text", "json", "errors"} {
				if body != "text" && (code == 0 || code == http.StatusTemporaryRedirect) {
					continue
				}
				auth, flags := auths[n%len(auths)], verbose[n/2%len(verbose)]
				n++
				t.Run(fmt.Sprintf("%s %d %s %s %v", fail, code, body, auth, flags), func(t *testing.T) {
					t.Parallel()
					server := httptest.NewServer(&leakyServer{dir: i.layout(), fail: fail, code: code, body: body})
					defer server.Close()
					try(t, server.Listener.Addr().String(), auth, true, flags...)
				})
			}
		}
	}
	for _, auth := range auths {
		t.Run("success "+auth, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(&leakyServer{dir: i.layout()})
			defer server.Close()
			try(t, server.Listener.Addr().String(), auth, false, "--verbose")
		})
	}
	t.Run("500", func(t *testing.T) { // is tried again, which takes a while
		t.Parallel()
		server := httptest.NewServer(&leakyServer{dir: i.layout(), fail: "manifest", code: 500, body: "errors"})
		defer server.Close()
		try(t, server.Listener.Addr().String(), "creds", true, "--verbose")
	})
	t.Run("TLS", func(t *testing.T) {
		t.Parallel()
		server := httptest.NewUnstartedServer(&leakyServer{dir: i.layout()})
		server.TLS = &tls.Config{MaxVersion: tls.VersionTLS10} //nolint:gosec // to be refused
		server.Config.ErrorLog = nil
		server.StartTLS()
		defer server.Close()
		try(t, server.Listener.Addr().String(), "creds", true, "--insecure-skip-tls-verification=false", "--verbose")
	})
	t.Run("proxy", func(t *testing.T) {
		for name, handler := range map[string]http.HandlerFunc{
			"refuses": func(w http.ResponseWriter, r *http.Request) {
				http.Error(w, "no "+r.Header.Get("Proxy-Authorization"), http.StatusProxyAuthRequired)
			},
			"forbids": func(w http.ResponseWriter, r *http.Request) {
				http.Error(w, "no "+secretProxy+r.Header.Get("Proxy-Authorization"), http.StatusForbidden)
			},
			"hangs up": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				server := httptest.NewServer(handler)
				defer server.Close()
				proxy := "http://user:" + secretProxy + "@" + server.Listener.Addr().String()
				for _, format := range verbose {
					try(t, "registry.invalid", "creds", true, append([]string{"HTTP_PROXY=" + proxy, "HTTPS_PROXY=" + proxy}, format...)...)
				}
			})
		}
		t.Run("is not there", func(t *testing.T) {
			t.Parallel()
			text := try(t, "registry.invalid", "creds", true, "HTTP_PROXY=http://user:"+secretProxy+"@127.0.0.1:1", "HTTPS_PROXY=http://user:"+secretProxy+"@127.0.0.1:1")
			assert.Contains(t, text, "connection refused")
		})
		t.Run("is no URL", func(t *testing.T) {
			t.Parallel()
			try(t, "registry.invalid", "creds", true, "HTTP_PROXY=http://user:"+secretProxy+"@[bad", "HTTPS_PROXY=http://user:"+secretProxy+"@[bad")
		})
	})
	t.Run("wrong usage", func(t *testing.T) {
		t.Parallel()
		text := try(t, "registry.invalid", "creds", true, "--auth-anonymous")
		assert.Contains(t, text, "Conflicting authentication options")
	})
}
