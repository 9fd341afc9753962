package registry_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/container/imageref"
	"github.com/ostree-container/ostree-container/container/internal/testimage"
	"github.com/ostree-container/ostree-container/container/registry"
)

// gpgKey makes a key pair in a GnuPG home of its own.
func gpgKey(t *testing.T) (home, public string) {
	t.Helper()
	testimage.NeedTool(t, "gpg", "skopeo")
	// Short, for the socket of gpg-agent.
	home, err := os.MkdirTemp("/tmp", "gpg")
	require.NoError(t, err)
	run := func(args ...string) {
		t.Helper()
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Env = append(os.Environ(), "GNUPGHOME="+home)
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	t.Cleanup(func() {
		cmd := exec.Command("gpgconf", "--kill", "all")
		cmd.Env = append(os.Environ(), "GNUPGHOME="+home)
		_ = cmd.Run()
		require.NoError(t, os.RemoveAll(home))
	})
	public = filepath.Join(home, "public.gpg")
	run("gpg", "--batch", "--passphrase", "", "--quick-generate-key", "tester@example.com", "rsa2048", "sign", "never")
	run("gpg", "--batch", "--armor", "--output", public, "--export", "tester@example.com")
	return home, public
}

// The policy is evaluated once, on what the reference names: a signature of the
// index is enough, and one of an instance is not.
func TestSimpleSigning(t *testing.T) {
	t.Parallel()
	home, public := gpgKey(t)
	host := dockerRegistry(t, "")
	dir := t.TempDir()
	lookaside := filepath.Join(t.TempDir(), "signatures")
	registriesDir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(registriesDir, "test.yaml"),
		fmt.Appendf(nil, "docker:\n  %s:\n    sigstore: file://%s\n    sigstore-staging: file://%s\n", host, lookaside, lookaside), 0o600))
	sign := func(args ...string) {
		t.Helper()
		cmd := exec.Command("skopeo", append([]string{"--insecure-policy", "--registries.d", registriesDir, "copy", "--quiet", "--dest-tls-verify=false", "--src-tls-verify=false"}, args...)...)
		cmd.Env = append(os.Environ(), "GNUPGHOME="+home)
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	one, two := sample(), sample(testimage.Layer{Members: []testimage.Member{testimage.File("arm", 0o644, "")}})
	one.Architecture, two.Architecture = "amd64", "arm64"
	index, desc, instances, err := testimage.WriteIndex(dir, "multi", testimage.IndexEntry{Image: one}, testimage.IndexEntry{Image: two})
	require.NoError(t, err)
	one.Annotations = map[string]string{"x": "y"} // another digest than the instance's
	single := one.Write(t, dir, "single")
	ref := func(name string) string { return "docker://" + host + "/" + name }
	sign("--sign-by=tester@example.com", single.Ref, ref("signed:v1"))
	sign(single.Ref, ref("unsigned:v1"))
	sign("--all", "--sign-by=tester@example.com", index, ref("index:v1"))
	sign("--all", index, ref("unsignedindex:v1"))
	// Signs the instance, under the name of an index that nobody signed.
	opts := options(t)
	sign("--sign-by=tester@example.com", "--override-arch=amd64", ref("unsignedindex:v1"), ref("unsignedindex:amd64"))
	// A signature for another repository.
	require.NoError(t, os.CopyFS(filepath.Join(lookaside, "moved@"+"sha256="+single.Digest().Encoded()),
		os.DirFS(filepath.Join(lookaside, "signed@sha256="+single.Digest().Encoded()))))
	sign(single.Ref, ref("moved:v1"))

	policy := fmt.Sprintf(`{"default":[{"type":"reject"}],"transports":{"docker":{%q:[{"type":"signedBy","keyType":"GPGKeys","keyPath":%q}],%q:[{"type":"insecureAcceptAnything"}]}}}`,
		host, public, host+"/unsigned")
	require.NoError(t, os.WriteFile(opts.PolicyPath, []byte(policy), 0o600))
	opts.RegistriesDir = registriesDir
	opts.Architecture = "amd64"

	open := func(name string, kind imageref.SignatureKind, requireSigned bool) (*registry.Image, error) {
		opts := *opts
		opts.RequireSigned = requireSigned
		img := unverified(t, ref(name))
		img.SigVerify.Kind = kind
		return registry.Open(t.Context(), img, &opts)
	}
	tests := []struct {
		name          string
		requireSigned bool
		message       string // "" if it is accepted
	}{
		{"signed:v1", false, ""},
		{"signed:v1", true, ""},
		{"signed@" + single.Digest().String(), true, ""},
		{"index:v1", true, ""},
		{"index@" + desc.Digest.String(), true, ""},
		{"unsignedindex:v1", false, "A signature was required, but no signature exists"},
		{"unsignedindex:amd64", true, ""},
		{"moved:v1", false, "Signature for identity"},
		{"unsigned:v1", false, ""}, // B12: a permissive transport scope slips through
		{"unsigned:v1", true, "asks for no signature, and a signature is required"},
	}
	for _, tt := range tests {
		for _, kind := range []imageref.SignatureKind{imageref.SignatureContainerPolicy, imageref.SignatureInsecure, imageref.SignatureOSTreeRemote} {
			t.Run(fmt.Sprintf("%s %d %t", tt.name, kind, tt.requireSigned), func(t *testing.T) {
				img, err := open(tt.name, kind, tt.requireSigned)
				if tt.message != "" {
					require.ErrorIs(t, err, registry.ErrPolicyRejected)
					require.ErrorContains(t, err, tt.message)
					assert.False(t, registry.Retryable(err))
					return
				}
				require.NoError(t, err)
				if img.IndexDigest != "" {
					assert.Equal(t, desc.Digest, img.IndexDigest)
					assert.Equal(t, instances[0].Digest(), img.ManifestDigest)
				}
				require.NoError(t, img.Close())
			})
		}
	}

	// The transport does not matter: other transports meet the default here.
	_, err = registry.Open(t.Context(), unverified(t, single.Ref), opts)
	require.ErrorIs(t, err, registry.ErrPolicyRejected)
	assert.ErrorContains(t, err, "is rejected by policy")
}

// A policy that is too weak is refused before anybody is asked for anything.
func TestInsecurePolicyBeforeNetwork(t *testing.T) {
	t.Parallel()
	reg := testimage.NewRegistry(t, t.TempDir())
	img := unverified(t, reg.Ref("x", "v1"))
	img.SigVerify.Kind = imageref.SignatureContainerPolicy
	opts := options(t)
	_, err := registry.Open(t.Context(), img, opts)
	require.ErrorIs(t, err, registry.ErrInsecurePolicy)
	require.EqualError(t, err, "open image "+img.ImgRef.String()+": "+opts.PolicyPath+": containers-policy.json specifies a default of `insecureAcceptAnything`; refusing usage")
	assert.Equal(t, 0, reg.Requests("ping", ""))

	// Nothing but the manifest is fetched before the policy has spoken.
	dir := t.TempDir()
	sample().Write(t, dir, "v1")
	reg = testimage.NewRegistry(t, dir)
	require.NoError(t, os.WriteFile(opts.PolicyPath, []byte(`{"default":[{"type":"reject"}]}`), 0o600))
	_, err = registry.Open(t.Context(), unverified(t, reg.Ref("x", "v1")), opts)
	require.ErrorIs(t, err, registry.ErrPolicyRejected)
	assert.Equal(t, 1, reg.Requests("manifest", ""))
	assert.Equal(t, 0, reg.Requests("blob", ""))

	for _, bad := range []string{"", "hello", `{}`, `{"default":[]}`, `{"default":[{"type":"nonsense"}]}`} {
		require.NoError(t, os.WriteFile(opts.PolicyPath, []byte(bad), 0o600))
		_, err = registry.Open(t.Context(), unverified(t, reg.Ref("x", "v1")), opts)
		require.Error(t, err, "%q", bad)
	}
	require.NoError(t, os.Remove(opts.PolicyPath))
	_, err = registry.Open(t.Context(), unverified(t, reg.Ref("x", "v1")), opts)
	require.ErrorIs(t, err, os.ErrNotExist)
}
