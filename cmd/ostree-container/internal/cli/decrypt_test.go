package cli

import (
	"encoding/pem"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// keyPair are the files of a key for encrypted layers.
type keyPair struct{ private, locked, public, certificate string }

func newKeyPair(t *testing.T, passphrase string) *keyPair {
	t.Helper()
	needTool(t, "openssl")
	dir := t.TempDir()
	k := &keyPair{private: dir + "/key.pem", locked: dir + "/locked.pem", public: dir + "/public.pem", certificate: dir + "/certificate.pem"}
	tool(t, "openssl", "genrsa", "-traditional", "-out", k.private, "2048")
	tool(t, "openssl", "rsa", "-traditional", "-aes256", "-passout", "pass:"+passphrase, "-in", k.private, "-out", k.locked)
	tool(t, "openssl", "rsa", "-in", k.private, "-pubout", "-out", k.public)
	tool(t, "openssl", "req", "-new", "-x509", "-subj", "/CN=test", "-key", k.private, "-out", k.certificate)
	return k
}

// encrypt copies an image to a layout and encrypts its layers.
func (k *keyPair) encrypt(t *testing.T, from, to string) {
	t.Helper()
	needTool(t, "skopeo")
	tool(t, "skopeo", "--insecure-policy", "copy", "--quiet", "--encryption-key", "jwe:"+k.public, "oci:"+from, "oci:"+to)
}

// The verbs that read layers of an image decrypt them; those that only look at it need no key.
func TestDecryptionKey(t *testing.T) {
	needRoot(t)
	w := makeWorld(t)
	t.Setenv("OSTREE_SYSROOT_DEBUG", "mutable-deployments,no-xattrs")
	key := newKeyPair(t, "sesame")
	enc := filepath.Join(t.TempDir(), "enc")
	key.encrypt(t, w.dir+"/image:v2", enc+":v2")
	key.encrypt(t, w.dir+"/base:v1", enc+":base")
	v2, base := "ostree-unverified-image:oci:"+enc+":v2", "ostree-unverified-image:oci:"+enc+":base"
	repo := filepath.Join(t.TempDir(), "repo")
	tool(t, "ostree", "init", "--repo="+repo, "--mode=bare-user")
	for name, line := range map[string][]string{
		"pull":          {"image", "pull", "-q", repo, v2},
		"deploy":        {"image", "deploy", "-q", "--sysroot", w.dir + "/sysroot", "--stateroot", "demo", "--imgref", v2},
		"unencapsulate": {"container", "unencapsulate", "-q", "--repo", repo, base},
	} {
		r := run(t, "", line...)
		assert.Equal(t, 1, r.status, name)
		assert.Regexp(t, `^error: (Performing deployment: )?Importing: Layer sha256:[0-9a-f]{64} \(\d/\d of oci:`+enc+`:\w+\): the layer is encrypted \(for jwe\), and no decryption key was given\n$`, r.err, name)
		r = run(t, "", append(line, "--decryption-key="+key.locked)...)
		assert.Equal(t, 1, r.status, name)
		assert.Contains(t, r.err, "decryption key "+key.locked+": it has a passphrase, and none was given\n", name)
		r = run(t, "", append(line, "--decryption-key="+key.certificate, "--decryption-key", key.locked+":pass=sesame")...)
		assert.Zero(t, r.status, "%s: %s", name, r.err)
	}
	fsck(t, repo)
	fsck(t, w.dir+"/sysroot/ostree/repo")
	assert.Contains(t, run(t, "", "image", "list", "--repo", repo).out, "oci:"+enc+":v2\n")

	r := run(t, "", "image", "inspect", v2)
	assert.Zero(t, r.status, r.err)
	assert.Contains(t, r.out, "derived")
	r = run(t, "", "container", "info", v2)
	assert.Zero(t, r.status, r.err)
	r = run(t, "", "image", "pull", "-q", "--check="+t.TempDir()+"/new", repo, base)
	assert.Zero(t, r.status, r.err)
}

// Neither keys nor passphrases are in anything that the program prints or leaves behind.
func TestNoSecretsOfDecryptionKeys(t *testing.T) {
	w, l := makeWorld(t), newLeakTest(t)
	key := newKeyPair(t, secretPassword)
	for _, file := range []string{key.private, key.locked} {
		data, err := os.ReadFile(file)
		require.NoError(t, err)
		block, _ := pem.Decode(data)
		text := string(pem.EncodeToMemory(&pem.Block{Type: "X", Bytes: block.Bytes}))
		for n := range 10 { // the lines of the file
			l.secrets[fmt.Sprintf("line %d of %s", n, filepath.Base(file))] = text[len("-----BEGIN X-----\n")+65*n:][:64]
		}
	}
	enc := filepath.Join(t.TempDir(), "enc")
	key.encrypt(t, w.dir+"/image:v1", enc+":v1")
	encBase := filepath.Join(t.TempDir(), "base")
	key.encrypt(t, w.dir+"/base:v1", encBase+":v1")
	passphrase := filepath.Join(t.TempDir(), "passphrase")
	require.NoError(t, os.WriteFile(passphrase, []byte(secretPassword+"\n"), 0o600))
	other := newKeyPair(t, secretPassword)
	for verb, line := range map[string]string{
		"pull": "image pull REPO ostree-unverified-registry:HOST/os:v1", "unencapsulate": "container unencapsulate --repo REPO ostree-unverified-registry:HOST/os:v1",
	} {
		for name, tc := range map[string]struct {
			key   string
			fails bool
		}{
			"good":               {key.locked + ":" + secretPassword, false},
			"good, from a file":  {key.locked + ":file=" + passphrase, false},
			"not locked":         {key.private, false},
			"key of another":     {other.locked + ":pass=" + secretPassword, true},
			"wrong passphrase":   {key.locked + ":x" + secretPassword, true},
			"none":               {key.locked, true},
			"no such file":       {key.locked + "x:" + secretPassword, true},
			"no such passphrase": {key.locked + ":file=/none", true},
			"no number":          {key.locked + ":fd=" + secretPassword, true},
			"no file":            {":" + secretPassword, true},
		} {
			for _, format := range []string{"text", "json"} {
				t.Run(verb+" "+name+" "+format, func(t *testing.T) {
					t.Parallel()
					dir := map[string]string{"pull": enc, "unencapsulate": encBase}[verb]
					server := httptest.NewServer(&leakyServer{dir: dir})
					defer server.Close()
					l.try(t, line, server.Listener.Addr().String(), "creds", tc.fails, "--verbose", "--format="+format, "--decryption-key="+tc.key)
				})
			}
		}
	}
}
