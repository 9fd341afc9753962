package registry_test

import (
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
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
