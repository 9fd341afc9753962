package cli

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// secretVerb is a verb that is given credentials, with what it does at the registry. WORLD is the directory of makeWorld.
type secretVerb struct {
	line, serves string   // serves: the layout behind the registry
	fails        []string // parts of the registry that it needs
	json         bool     // it has --format
	push         bool
	needsRoot    bool
	origin       bool // DIR/sysroot is a copy of that of the world that follows the image at the registry
}

func secretVerbs() map[string]secretVerb {
	const image = " ostree-unverified-registry:HOST/os:v1"
	read, fetch, push := []string{"token", "manifest"}, []string{"token", "manifest", "storage"}, []string{"token", "upload", "put"}
	return map[string]secretVerb{
		"pull":                            {line: "image pull REPO" + image, serves: "image", fails: fetch, json: true},
		"inspect":                         {line: "image inspect" + image, serves: "image", fails: fetch, json: true},
		"deploy":                          {line: "image deploy --sysroot WORLD/sysroot --imgref" + image, serves: "image", fails: fetch, json: true, needsRoot: true},
		"switch":                          {line: "host switch --sysroot WORLD/sysroot" + image, serves: "image", fails: fetch, json: true, needsRoot: true},
		"upgrade":                         {line: "host upgrade --sysroot DIR/sysroot", serves: "image", fails: fetch, json: true, needsRoot: true, origin: true},
		"upgrade --check":                 {line: "host upgrade --check --sysroot DIR/sysroot", serves: "image", fails: read, json: true, needsRoot: true, origin: true},
		"info":                            {line: "container info" + image, serves: "image", fails: read, json: true},
		"compare":                         {line: "container compare" + image + image, serves: "image", fails: read, json: true},
		"unencapsulate":                   {line: "container unencapsulate --repo REPO" + image, serves: "base", fails: fetch, json: true},
		"replace-detached-metadata":       {line: "image replace-detached-metadata --src docker://HOST/os:v1 --dest oci:DIR/out", serves: "base", fails: fetch},
		"replace-detached-metadata, push": {line: "image replace-detached-metadata --src oci:WORLD/base:v1 --dest docker://HOST/os:v1", serves: "base", fails: push, push: true},
		"encapsulate":                     {line: "container encapsulate --repo WORLD/commits os docker://HOST/os:v1", serves: "base", fails: push, push: true},
		"encapsulate like a build": {
			line:   "container encapsulate --repo WORLD/commits --contentmeta WORLD/meta.json --previous-build-manifest docker://HOST/os:v1 os oci:DIR/out",
			serves: "base", fails: read,
		},
		"reexport": {line: "image reexport --repo WORLD/repo oci:WORLD/image:v1 docker://HOST/os:v1", serves: "image", fails: push, push: true},
	}
}

// The same as TestNoSecretsAnywhere of every verb that is given credentials; that has all the faults for one.
func TestNoSecretsOfAnyVerb(t *testing.T) {
	w, l := makeWorld(t), newLeakTest(t)
	l.env = append(l.env, "OSTREE_SYSROOT_DEBUG=mutable-deployments,no-xattrs")
	writeContentMeta(t, w)
	auths, bodies := []string{"creds", "stdin", "authfile"}, []string{"text", "json", "errors"}
	tested := map[string]bool{}
	n := 0
	for name, v := range secretVerbs() {
		tested[strings.Fields(v.line)[1]] = true
		line := strings.ReplaceAll(v.line, "WORLD", w.dir)
		try := func(server *leakyServer, wantFailure bool) func(t *testing.T) {
			auth, flags := auths[n%len(auths)], []string{"--verbose"}
			if v.json && n%2 == 0 {
				flags = append(flags, "--format", "json")
			}
			n++
			return func(t *testing.T) {
				t.Parallel()
				if v.needsRoot {
					needRoot(t)
				}
				server.dir, server.empty = filepath.Join(w.dir, v.serves), v.push
				s := httptest.NewServer(server)
				defer s.Close()
				line := line
				if v.origin {
					line = strings.ReplaceAll(line, "DIR", follow(t, w, s.Listener.Addr().String()))
				}
				l.try(t, line, s.Listener.Addr().String(), auth, wantFailure, flags...)
			}
		}
		for _, fail := range v.fails {
			for _, code := range []int{http.StatusForbidden, http.StatusTeapot, http.StatusTemporaryRedirect, 0} {
				if (code == 0 || code == http.StatusTemporaryRedirect) && (v.push || fail != "token") { // are tried again, which takes a while
					continue
				}
				t.Run(fmt.Sprintf("%s/%s %d", name, fail, code), try(&leakyServer{fail: fail, code: code, body: bodies[n%len(bodies)]}, true))
			}
		}
		if name != "deploy" && name != "switch" && !strings.Contains(name, "build") { // that changes the world, and this needs layers of that build
			t.Run(name+"/success", try(&leakyServer{}, false))
		}
	}
	// Whoever adds an option for credentials adds the verb.
	a, _, _ := testApp()
	walk(a.rootCommand(), func(cmd *cobra.Command) {
		if cmd.Flags().Lookup("creds") != nil || cmd.Flags().Lookup("authfile") != nil {
			assert.True(t, tested[cmd.Name()], cmd.CommandPath())
		}
	})
}

// writeContentMeta maps all files of the branch "os" to one component, in WORLD/meta.json.
func writeContentMeta(t *testing.T, w *world) {
	t.Helper()
	var mapping []string
	for line := range strings.Lines(tool(t, "ostree", "--repo="+filepath.Join(w.dir, "commits"), "ls", "-R", "-C", "os")) {
		if f := strings.Fields(line); !strings.HasPrefix(line, "d") {
			mapping = append(mapping, fmt.Sprintf("%q:%q", f[4], "all"))
		}
	}
	text := fmt.Sprintf(`{"version":1,"layers":{"all":"all"},"mapping":{%s}}`, strings.Join(mapping, ","))
	assert.NoError(t, os.WriteFile(filepath.Join(w.dir, "meta.json"), []byte(text), 0o600))
}

// follow makes a directory with a copy of the world's sysroot that follows the image of a registry.
func follow(t *testing.T, w *world, host string) string {
	t.Helper()
	dir := t.TempDir()
	tool(t, "cp", "-a", filepath.Join(w.dir, "sysroot"), dir)
	names, err := filepath.Glob(filepath.Join(dir, "sysroot/ostree/deploy/demo/deploy/*.origin"))
	require.NoError(t, err)
	require.Len(t, names, 1)
	require.NoError(t, os.WriteFile(names[0], []byte("[origin]\ncontainer-image-reference=ostree-unverified-registry:"+host+"/os:v2\n"), 0o644))
	return dir
}
