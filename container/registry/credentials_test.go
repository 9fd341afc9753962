package registry_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/container/internal/testimage"
	"github.com/ostree-container/ostree-container/container/registry"
)

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
