package registry_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
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

// canary is a password that must not be seen in any error or log.
const (
	canary     = "c4nary-hunter2-Zq"
	canaryHash = "user:$2a$04$jllhn.oy655F8WT9eGoA5.Qa7hEejlr3/CVtWmLpgHhUD8mivlOT6\n" // bcrypt, cost 4
)

func writeAuth(t testing.TB, host, user, password string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "auth.json")
	pair := base64.StdEncoding.EncodeToString([]byte(user + ":" + password))
	require.NoError(t, os.WriteFile(path, fmt.Appendf(nil, `{"auths":{%q:{"auth":%q}}}`, host, pair), 0o600))
	return path
}

func assertNoCanary(t testing.TB, err error, also ...string) {
	t.Helper()
	var walk func(err error)
	walk = func(err error) {
		if err == nil {
			return
		}
		for _, text := range []string{err.Error(), fmt.Sprintf("%+v", err), fmt.Sprintf("%#v", err)} {
			for _, secret := range append(also, canary, base64.StdEncoding.EncodeToString([]byte("user:"+canary))) {
				assert.NotContains(t, text, secret)
			}
		}
		switch u := err.(type) { //nolint:errorlint // walks the chain
		case interface{ Unwrap() error }:
			walk(u.Unwrap())
		case interface{ Unwrap() []error }:
			for _, e := range u.Unwrap() {
				walk(e)
			}
		}
	}
	walk(err)
}

func TestAuthentication(t *testing.T) {
	t.Parallel()
	host := dockerRegistry(t, canaryHash)
	w := sample().Write(t, t.TempDir(), "v1")
	ref := "docker://" + host + "/a/b:v1"
	skopeo(t, "--dest-creds=user:"+canary, w.Ref, ref)

	t.Run("anonymous", func(t *testing.T) {
		t.Parallel()
		err := openError(t, ref, nil)
		require.ErrorIs(t, err, registry.ErrUnauthorized)
		assert.ErrorContains(t, err, "authentication required")
		assert.ErrorContains(t, err, "401")
		assert.False(t, registry.Retryable(err))
	})
	t.Run("credentials", func(t *testing.T) {
		t.Parallel()
		opts := options(t)
		opts.Auth, opts.Username, opts.Password = registry.AuthAuto, "user", canary
		assert.NotContains(t, fmt.Sprintf("%v %+v %#v", opts, *opts, *opts), canary)
		push := registry.PushOptions{Access: opts.Access}
		assert.NotContains(t, fmt.Sprintf("%v %+v %#v %v %+v %#v", push, &push, push, push.Access, &push.Access, push.Access), canary)
		assert.Contains(t, opts.String(), "RequireSigned:false")
		assert.Contains(t, push.String(), "Username:user")
		checkImage(t, openImage(t, ref, opts), w)
		opts.Password = "wr0ng-" + canary
		err := openError(t, ref, opts)
		require.ErrorIs(t, err, registry.ErrUnauthorized)
		assertNoCanary(t, err, opts.Password)
	})
	t.Run("file", func(t *testing.T) {
		t.Parallel()
		opts := options(t)
		opts.Auth, opts.AuthFile = registry.AuthAuto, writeAuth(t, host, "user", canary)
		img := openImage(t, ref, opts)
		checkImage(t, img, w)
		opts.AuthFile = writeAuth(t, host, "user", "wrong")
		err := openError(t, ref, opts)
		require.ErrorIs(t, err, registry.ErrUnauthorized)
		opts.AuthFile = filepath.Join(t.TempDir(), "missing")
		require.ErrorIs(t, openError(t, ref, opts), os.ErrNotExist)
	})
	t.Run("ostree's file below RootDir", func(t *testing.T) {
		t.Parallel()
		testimage.NeedRoot(t)
		opts := options(t)
		opts.Auth, opts.RootDir = registry.AuthAuto, t.TempDir()
		require.ErrorIs(t, openError(t, ref, opts), registry.ErrUnauthorized)
		// The first that exists counts, right or wrong.
		for _, step := range []struct {
			dir, password string
			ok            bool
		}{{"usr/lib", canary, true}, {"etc", "wrong", false}, {"run", canary, true}} {
			dir := filepath.Join(opts.RootDir, step.dir, "ostree")
			require.NoError(t, os.MkdirAll(dir, 0o700))
			require.NoError(t, os.Rename(writeAuth(t, host, "user", step.password), filepath.Join(dir, "auth.json")))
			img, err := registry.Open(t.Context(), unverified(t, ref), opts)
			if step.ok {
				require.NoError(t, err)
				require.NoError(t, img.Close())
			} else {
				require.ErrorIs(t, err, registry.ErrUnauthorized)
			}
		}
	})
}

func TestConflictingAuthentication(t *testing.T) {
	t.Parallel()
	for name, set := range map[string]func(*registry.Options){
		"file and anonymous":        func(o *registry.Options) { o.AuthFile, o.Auth = "/x", registry.AuthAnonymous },
		"file and default":          func(o *registry.Options) { o.AuthFile, o.Auth = "/x", registry.AuthDefault },
		"file and credentials":      func(o *registry.Options) { o.AuthFile, o.Username, o.Auth = "/x", "u", registry.AuthAuto },
		"credentials and anonymous": func(o *registry.Options) { o.Password, o.Auth = "p", registry.AuthAnonymous },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			opts := options(t)
			set(opts)
			err := openError(t, "docker://127.0.0.1:1/x", opts)
			require.ErrorIs(t, err, registry.ErrConflictingAuth)
			assert.EqualError(t, err, "open image docker://127.0.0.1:1/x: Conflicting authentication options")
		})
	}
}

// A registry, or a proxy, that sends back what it was sent.
func TestNoCredentialsInErrors(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w := sample().Write(t, dir, "v1")
	pair := base64.StdEncoding.EncodeToString([]byte("user:" + canary))
	const token = "eyJhbGciOiJub25lIn0.c4nary.t0ken"
	for _, status := range []int{400, 401, 403, 404, 418, 500, 503} {
		for _, kind := range []string{"ping", "manifest", "blob"} {
			t.Run(fmt.Sprintf("%s %d", kind, status), func(t *testing.T) {
				t.Parallel()
				reg := testimage.NewRegistry(t, dir)
				reg.RequireBasic("user", canary)
				good := true
				echo := fmt.Sprintf(`no %s / %s / Authorization: Basic %s / Bearer %s / {"token":"%s"} / https://user:%s@x/ / https://x/?X-Amz-Signature=%s&scope=harmless`,
					canary, pair, pair, token, token, canary, token)
				for _, body := range []string{echo, asJSON(t, map[string]any{"errors": []any{map[string]string{"code": "DENIED", "message": echo}}}), asJSON(t, map[string]string{"details": echo})} {
					opts := options(t)
					opts.Auth, opts.Username, opts.Password = registry.AuthAuto, "user", canary
					opts.Retry.Attempts = 2
					var log bytes.Buffer
					opts.Logger = slog.New(slog.NewTextHandler(&log, nil))
					reg.SetFault(func(r testimage.Request) *testimage.Fault {
						if r.Kind == kind && !(good && kind == "blob") {
							return &testimage.Fault{Status: status, Body: body, Header: http.Header{"Content-Type": {"application/json"}}}
						}
						return nil
					})
					var err error
					if kind == "blob" {
						good = true
						img := openImage(t, reg.Ref("x", "v1"), opts)
						good = false
						_, err = readBlob(t, img, 0)
					} else {
						good = false
						err = openError(t, reg.Ref("x", "v1"), opts)
					}
					require.Error(t, err)
					assertNoCanary(t, err, token, pair)
					for _, secret := range []string{canary, token, pair} {
						assert.NotContains(t, log.String(), secret)
					}
					if status < 500 && !(status == 401 && kind == "ping") {
						assert.ErrorContains(t, err, "[redacted]")
						assert.ErrorContains(t, err, "no [redacted]")
					}
				}
				_ = w
			})
		}
	}
}

func TestAnswerIsKept(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	sample().Write(t, dir, "v1")
	long := "the operator of this registry wants you to know that it is closed on Sundays"
	tests := []struct {
		status int
		body   string
		texts  []string
		want   error
	}{
		{401, long, []string{"401", long}, registry.ErrUnauthorized},
		{403, long, []string{"403", long}, registry.ErrUnauthorized},
		{403, `{"errors":[{"code":"DENIED","message":"requested access to the resource is denied"}]}`, []string{"403", "requested access to the resource is denied"}, registry.ErrUnauthorized},
		{404, `{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}`, []string{"404", "manifest unknown"}, registry.ErrNotFound},
		{404, "<html>" + long + "</html>", []string{"404", long}, registry.ErrNotFound},
		{418, long, []string{"418", long}, nil},
		{500, long, []string{"500"}, nil},
		{503, long, []string{"503"}, nil},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprintf("%d %.20s", tt.status, tt.body), func(t *testing.T) {
			t.Parallel()
			reg := testimage.NewRegistry(t, dir)
			reg.SetFault(func(r testimage.Request) *testimage.Fault {
				if r.Kind == "manifest" {
					return &testimage.Fault{Status: tt.status, Body: tt.body}
				}
				return nil
			})
			opts := options(t)
			opts.Retry.Attempts = 1
			err := openError(t, reg.Ref("x", "v1"), opts)
			for _, text := range tt.texts {
				require.ErrorContains(t, err, text)
			}
			if tt.want != nil {
				require.ErrorIs(t, err, tt.want)
			}
			var typed *registry.Error
			require.ErrorAs(t, err, &typed)
			assert.Equal(t, tt.status, typed.Status)
			assert.Equal(t, tt.status >= 500, registry.Retryable(err))
			assert.Equal(t, 1, reg.Requests("manifest", ""))
		})
	}
}

func TestRetries(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w := sample().Write(t, dir, "v1")
	big := w.Manifest.Layers[1]
	failures := map[string]*testimage.Fault{
		"500":                  {Status: 500},
		"502":                  {Status: 502},
		"503":                  {Status: 503, Body: "later"},
		"cut before a byte":    {Cut: true, Drop: 0},
		"stall before a byte":  {Stall: true, Delay: 0, Drop: 0},
		"429 with Retry-After": {Status: 429, Header: http.Header{"Retry-After": {"1"}}},
	}
	for name, fault := range failures {
		for _, kind := range []string{"ping", "manifest", "blob"} {
			if fault.Status == 0 && (kind == "ping" || fault.Stall && kind == "manifest") {
				continue // nobody reads the body of a ping; for a manifest a minute more is allowed
			}
			t.Run(name+" "+kind, func(t *testing.T) {
				t.Parallel()
				reg := testimage.NewRegistry(t, dir)
				reg.SetFault(func(r testimage.Request) *testimage.Fault {
					if r.Kind == kind && r.N == 1 {
						return fault
					}
					return nil
				})
				opts := options(t)
				opts.StallTimeout = 300 * time.Millisecond
				if fault.Status == 429 {
					opts.StallTimeout = time.Second // less than the pause between requests
				}
				checkImage(t, openImage(t, reg.Ref("x", "v1"), opts), w)
			})
		}
	}
	t.Run("gives up", func(t *testing.T) {
		t.Parallel()
		reg := testimage.NewRegistry(t, dir)
		reg.SetFault(func(r testimage.Request) *testimage.Fault { return &testimage.Fault{Status: 503} })
		opts := options(t)
		opts.Retry.Attempts = 3
		err := openError(t, reg.Ref("x", "v1"), opts)
		assert.ErrorContains(t, err, "503")
		assert.ErrorContains(t, err, "(tried 3 times)")
		assert.False(t, registry.Retryable(err), "it was tried again already")
		assert.Equal(t, 3, reg.Requests("ping", ""))
	})
	for _, status := range []int{400, 401, 403, 404, 501} {
		t.Run(fmt.Sprintf("not for %d", status), func(t *testing.T) {
			t.Parallel()
			reg := testimage.NewRegistry(t, dir)
			img := openImage(t, reg.Ref("x", "v1"), nil)
			reg.Reset()
			reg.SetFault(func(testimage.Request) *testimage.Fault { return &testimage.Fault{Status: status} })
			_, err := readBlob(t, img, 1)
			require.Error(t, err)
			assert.False(t, registry.Retryable(err))
			assert.Equal(t, 1, reg.Requests("blob", big.Digest.String()))
		})
	}
}

// Connections that break in the middle of a blob. containers/image goes on with a
// range request once; where the registry does not know ranges, or breaks again, the
// rest comes from a new connection.
func TestBrokenBlob(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w := sample().Write(t, dir, "v1")
	big := w.Manifest.Layers[1]
	for _, cuts := range []int{1, 2, 4} {
		t.Run(fmt.Sprintf("%d times", cuts), func(t *testing.T) {
			t.Parallel()
			reg := testimage.NewRegistry(t, dir)
			reg.SetFault(func(r testimage.Request) *testimage.Fault {
				if r.Kind == "blob" && r.Digest == big.Digest && r.N <= cuts {
					return &testimage.Fault{Cut: true, Drop: big.Size / 3}
				}
				return nil
			})
			img := openImage(t, reg.Ref("x", "v1"), nil)
			data, err := readBlob(t, img, 1)
			require.NoError(t, err)
			assert.Equal(t, big.Digest, digestOf(data))
		})
	}
	t.Run("always", func(t *testing.T) {
		t.Parallel()
		reg := testimage.NewRegistry(t, dir)
		reg.SetFault(func(r testimage.Request) *testimage.Fault {
			if r.Kind == "blob" && r.Digest == big.Digest {
				return &testimage.Fault{Cut: true, Drop: 1000}
			}
			return nil
		})
		opts := options(t)
		opts.Retry.Attempts = 2
		img := openImage(t, reg.Ref("x", "v1"), opts)
		_, err := readBlob(t, img, 1)
		require.ErrorIs(t, err, io.ErrUnexpectedEOF)
		assert.ErrorContains(t, err, "connection dropped")
		assert.ErrorContains(t, err, "(tried 2 times)")
	})
	t.Run("other bytes after it", func(t *testing.T) {
		t.Parallel()
		reg := testimage.NewRegistry(t, dir)
		reg.SetFault(func(r testimage.Request) *testimage.Fault {
			switch {
			case r.Kind != "blob" || r.Digest != big.Digest:
				return nil
			case r.N == 1:
				return &testimage.Fault{Cut: true, Drop: 1000}
			}
			return &testimage.Fault{Mutate: func(b []byte) []byte { b[len(b)-1] ^= 1; return b }}
		})
		img := openImage(t, reg.Ref("x", "v1"), nil)
		_, err := readBlob(t, img, 1)
		var wrong *registry.DigestError
		require.ErrorAs(t, err, &wrong)
	})
}

func TestStalledBlob(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w := sample().Write(t, dir, "v1")
	big := w.Manifest.Layers[1]
	reg := testimage.NewRegistry(t, dir)
	img := func() *registry.Image {
		opts := options(t)
		opts.StallTimeout = 200 * time.Millisecond
		return openImage(t, reg.Ref("x", "v1"), opts)
	}()
	reg.SetFault(func(r testimage.Request) *testimage.Fault {
		return &testimage.Fault{Stall: true, Drop: big.Size / 2}
	})
	start := time.Now()
	_, err := readBlob(t, img, 1)
	require.ErrorIs(t, err, registry.ErrStalled)
	require.NotErrorIs(t, err, context.Canceled)
	assert.ErrorContains(t, err, "stalled: nothing received for 200ms")
	assert.ErrorContains(t, err, "(tried 2 times)")
	assert.Less(t, time.Since(start), 5*time.Second)

	// Slow is not stalled, nor is a slow reader.
	reg.SetFault(nil)
	r, err := img.Blob(t.Context(), 0)
	require.NoError(t, err)
	time.Sleep(400 * time.Millisecond)
	_, err = io.ReadAll(r)
	require.NoError(t, err)
	require.NoError(t, r.Close())
}

func TestStalledManifest(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	sample().Write(t, dir, "v1")
	reg := testimage.NewRegistry(t, dir)
	for _, kind := range []string{"ping", "manifest"} {
		reg.SetFault(func(r testimage.Request) *testimage.Fault {
			if r.Kind == kind {
				return &testimage.Fault{Delay: time.Hour}
			}
			return nil
		})
		opts := options(t)
		opts.StallTimeout = 200 * time.Millisecond
		start := time.Now()
		err := openError(t, reg.Ref("x", "v1"), opts)
		require.ErrorIs(t, err, registry.ErrStalled)
		assert.Less(t, time.Since(start), 5*time.Second)
	}
}

func TestCancel(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w := sample().Write(t, dir, "v1")
	big := w.Manifest.Layers[1]
	reg := testimage.NewRegistry(t, dir)
	img := openImage(t, reg.Ref("x", "v1"), nil)
	reason := errors.New("the user has had enough")
	reg.SetFault(func(r testimage.Request) *testimage.Fault { return &testimage.Fault{Stall: true, Drop: big.Size / 2} })
	t.Run("while reading", func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		r, err := img.Blob(ctx, 1)
		require.NoError(t, err)
		time.AfterFunc(100*time.Millisecond, func() { cancel(reason) })
		start := time.Now()
		_, err = io.ReadAll(r)
		require.ErrorIs(t, err, context.Canceled)
		require.ErrorIs(t, err, reason)
		assert.Less(t, time.Since(start), time.Second)
		assert.False(t, registry.Retryable(err))
		require.NoError(t, r.Close())
	})
	t.Run("while waiting to try again", func(t *testing.T) {
		reg.SetFault(func(testimage.Request) *testimage.Fault { return &testimage.Fault{Status: 500} })
		opts := options(t)
		opts.Retry.Delay = time.Hour
		opts.Retry.MaxDelay = time.Hour
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		start := time.Now()
		_, err := registry.Open(ctx, unverified(t, reg.Ref("x", "v1")), opts)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Less(t, time.Since(start), time.Second)
	})
	t.Run("before", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := registry.Open(ctx, unverified(t, reg.Ref("x", "v1")), options(t))
		require.ErrorIs(t, err, context.Canceled)
		_, err = img.Blob(ctx, 0)
		require.ErrorIs(t, err, context.Canceled)
	})
}

func TestUnreachable(t *testing.T) {
	t.Parallel()
	reg := testimage.NewRegistry(t, t.TempDir())
	ref := reg.Ref("x", "v1")
	reg.Close()
	err := openError(t, ref, nil)
	assert.ErrorContains(t, err, "connection refused")
	assert.NotContains(t, err.Error(), "tried")
}

func TestTLS(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w := sample().Write(t, dir, "v1")
	reg := testimage.NewRegistryTLS(t, dir)
	opts := options(t)
	checkImage(t, openImage(t, reg.Ref("x", "v1"), opts), w)
	opts.InsecureSkipTLSVerify = false
	err := openError(t, reg.Ref("x", "v1"), opts)
	assert.ErrorContains(t, err, "certificate")
	assert.False(t, registry.Retryable(err))
	// Plain HTTP is not taken without being asked for.
	plain := testimage.NewRegistry(t, dir)
	err = openError(t, plain.Ref("x", "v1"), opts)
	assert.ErrorContains(t, err, "server gave HTTP response to HTTPS client")
}

// A registry by another name, from registries.conf.
func TestMirrorAndBlocked(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w := sample().Write(t, dir, "v1")
	reg := testimage.NewRegistry(t, dir)
	opts := options(t)
	opts.InsecureSkipTLSVerify = false
	conf := fmt.Sprintf("[[registry]]\nprefix = \"example.invalid\"\nlocation = \"example.invalid\"\n[[registry.mirror]]\nlocation = %q\ninsecure = true\n[[registry]]\nprefix = \"blocked.invalid\"\nlocation = \"blocked.invalid\"\nblocked = true\n", reg.Host())
	require.NoError(t, os.WriteFile(opts.RegistriesConf, []byte(conf), 0o600))
	checkImage(t, openImage(t, "docker://example.invalid/x:v1", opts), w)
	err := openError(t, "docker://blocked.invalid/x:v1", opts)
	assert.ErrorContains(t, err, "blocked")
}

func TestUserAgent(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	sample().Write(t, dir, "v1")
	reg := testimage.NewRegistry(t, dir)
	for given, want := range map[string]string{"": "ostree-container", "test/1": "test/1"} {
		reg.SetFault(func(r testimage.Request) *testimage.Fault {
			assert.True(t, strings.HasPrefix(r.HTTP.UserAgent(), want), r.HTTP.UserAgent())
			return nil
		})
		opts := options(t)
		opts.UserAgent = given
		openImage(t, reg.Ref("x", "v1"), opts)
	}
}
