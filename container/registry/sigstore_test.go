package registry_test

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containers/image/v5/copy"
	"github.com/containers/image/v5/docker"
	"github.com/containers/image/v5/oci/layout"
	"github.com/containers/image/v5/signature"
	"github.com/containers/image/v5/signature/signer"
	"github.com/containers/image/v5/signature/sigstore"
	"github.com/containers/image/v5/types"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/container/imageref"
	"github.com/ostree-container/ostree-container/container/internal/testimage"
	"github.com/ostree-container/ostree-container/container/registry"
)

// attachments is a registries.d that looks for sigstore signatures beside the images of host.
func attachments(t testing.TB, host string) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "test.yaml"), fmt.Appendf(nil, "docker:\n  %s:\n    use-sigstore-attachments: true\n", host), 0o600))
	return dir
}

// accepted reports whether the policy lets an image through; any other outcome fails the test.
func accepted(t *testing.T, ref string, opts *registry.Options) (bool, error) {
	t.Helper()
	img := unverified(t, ref)
	img.SigVerify.Kind = imageref.SignatureContainerPolicy
	opened, err := registry.Open(t.Context(), img, opts)
	if err == nil {
		require.NoError(t, opened.Close())
		return true, nil
	}
	require.ErrorIs(t, err, registry.ErrPolicyRejected)
	assert.False(t, registry.Retryable(err))
	return false, err
}

// reference is an "oci:" or "docker:" reference of containers/image.
func reference(t *testing.T, ref string) types.ImageReference {
	t.Helper()
	transport, name, _ := strings.Cut(ref, ":")
	parse := layout.ParseReference
	if transport == "docker" {
		parse = docker.ParseReference
	}
	parsed, err := parse(name)
	require.NoError(t, err)
	return parsed
}

// Signatures made with a sigstore key and kept in the registry.
func TestSigstoreKey(t *testing.T) {
	t.Parallel()
	testimage.NeedTool(t, "skopeo")
	keys := t.TempDir()
	for _, name := range []string{"good", "other"} {
		pair, err := sigstore.GenerateKeyPair([]byte("passphrase"))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(keys, name+".key"), pair.PrivateKey, 0o600))
		require.NoError(t, os.WriteFile(filepath.Join(keys, name+".pub"), pair.PublicKey, 0o600))
	}
	host := dockerRegistry(t, "")
	registriesDir := attachments(t, host)
	dir := t.TempDir()
	one, two := sample(), sample(testimage.Layer{Members: []testimage.Member{testimage.File("arm", 0o644, "")}})
	one.Architecture, two.Architecture = "amd64", "arm64"
	index, desc, instances, err := testimage.WriteIndex(dir, "multi", testimage.IndexEntry{Image: one}, testimage.IndexEntry{Image: two})
	require.NoError(t, err)
	one.Annotations = map[string]string{"x": "y"}
	single := one.Write(t, dir, "single")
	ref := func(name string) string { return "docker://" + host + "/" + name }
	copyImage := func(args ...string) {
		t.Helper()
		testimage.Run(t, "skopeo", append([]string{"--insecure-policy", "--registries.d", registriesDir, "copy", "--quiet",
			"--dest-tls-verify=false", "--src-tls-verify=false"}, args...)...)
	}
	// As "skopeo copy --sign-by-sigstore-private-key", which Debian's skopeo refuses ("Debian-local change: sigstore disabled").
	sys := &types.SystemContext{
		DockerInsecureSkipTLSVerify: types.OptionalBoolTrue, DockerAuthConfig: &types.DockerAuthConfig{}, RegistriesDirPath: registriesDir, ArchitectureChoice: "amd64",
	}
	anything, err := signature.NewPolicyContext(&signature.Policy{Default: signature.PolicyRequirements{signature.NewPRInsecureAcceptAnything()}})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, anything.Destroy()) })
	sign := func(key, from, to string, which copy.ImageListSelection) {
		t.Helper()
		by, err := sigstore.NewSigner(sigstore.WithPrivateKeyFile(filepath.Join(keys, key+".key"), []byte("passphrase")))
		require.NoError(t, err)
		defer func() { assert.NoError(t, by.Close()) }()
		_, err = copy.Image(t.Context(), anything, reference(t, to), reference(t, from), &copy.Options{
			Signers: []*signer.Signer{by}, SourceCtx: sys, DestinationCtx: sys, ImageListSelection: which,
		})
		require.NoError(t, err)
	}
	sign("good", single.Ref, ref("good:v1"), copy.CopySystemImage)
	sign("other", single.Ref, ref("other:v1"), copy.CopySystemImage)
	copyImage(single.Ref, ref("unsigned:v1"))
	sign("good", index, ref("index:v1"), copy.CopyAllImages)
	// Only the instance is signed, under another name of the same repository.
	copyImage("--all", index, ref("instance:v1"))
	sign("good", ref("instance:v1"), ref("instance:amd64"), copy.CopySystemImage)
	// Signed for another repository.
	copyImage(single.Ref, ref("moved:v1"))
	sig := strings.Replace(single.Digest().String(), ":", "-", 1) + ".sig"
	copyImage(ref("good:"+sig), ref("moved:"+sig))

	policy := func(requirement string) string {
		path := filepath.Join(t.TempDir(), "policy.json")
		require.NoError(t, os.WriteFile(path, fmt.Appendf(nil, `{"default":[{"type":"reject"}],"transports":{"docker":{%q:[{"type":"sigstoreSigned",%s}]}}}`, host, requirement), 0o600))
		return path
	}
	key := func(name string) string {
		return fmt.Sprintf(`"keyPath":%q,"signedIdentity":{"type":"matchRepository"}`, filepath.Join(keys, name+".pub"))
	}
	keyData, err := os.ReadFile(filepath.Join(keys, "good.pub"))
	require.NoError(t, err)
	for name, c := range map[string]struct {
		ref, requirement string
		noAttachments    bool
		message          string // "" if it is accepted
	}{
		"signed":                      {ref: "good:v1", requirement: key("good")},
		"signed, exact identity":      {ref: "good:v1", requirement: fmt.Sprintf(`"keyPath":%q`, filepath.Join(keys, "good.pub"))},
		"signed, key in the policy":   {ref: "good:v1", requirement: fmt.Sprintf(`"keyData":%q`, base64.StdEncoding.EncodeToString(keyData))},
		"by digest":                   {ref: "good@" + single.Digest().String(), requirement: key("good")},
		"by another key":              {ref: "other:v1", requirement: key("good"), message: "cryptographic signature verification failed"},
		"unsigned":                    {ref: "unsigned:v1", requirement: key("good"), message: "A signature was required, but no signature exists"},
		"for another repository":      {ref: "moved:v1", requirement: key("good"), message: "Signature for identity"},
		"that are not looked for":     {ref: "good:v1", requirement: key("good"), noAttachments: true, message: "A signature was required, but no signature exists"},
		"index":                       {ref: "index:v1", requirement: key("good")},
		"index by digest":             {ref: "index@" + desc.Digest.String(), requirement: key("good")},
		"only the instance":           {ref: "instance:v1", requirement: key("good"), message: "A signature was required, but no signature exists"},
		"only the instance, that one": {ref: "instance@" + instances[0].Digest().String(), requirement: key("good")},
	} {
		t.Run(name, func(t *testing.T) {
			opts := options(t)
			opts.PolicyPath, opts.RequireSigned, opts.Architecture = policy(c.requirement), true, "amd64"
			if !c.noAttachments {
				opts.RegistriesDir = registriesDir
			}
			ok, err := accepted(t, ref(c.ref), opts)
			assert.Equal(t, c.message == "", ok, "%v", err)
			if c.message != "" && err != nil {
				assert.ErrorContains(t, err, c.message)
			}
		})
	}
}

// keyless makes what "cosign sign" leaves when somebody signs with a certificate for their email address: payload, signature,
// certificate, and the promise of a log to have entered it, all in one annotated layer.
type keyless struct {
	ca, rekor   *ecdsa.PrivateKey
	caPEM       []byte
	rekorPEM    []byte
	caCert      *x509.Certificate
	email       string
	issuer      string
	signed      time.Time // when the log says it was
	otherRekor  bool      // the promise is by another log
	otherCA     bool
	otherDigest bool
	otherSig    bool // the log knows another signature
}

func newKeyless(t *testing.T) *keyless {
	t.Helper()
	k := &keyless{email: "builder@example.com", issuer: "https://login.example.com", signed: time.Now()}
	k.ca, k.rekor = ecKey(t), ecKey(t)
	k.caCert, k.caPEM = authority(t, k.ca)
	der, err := x509.MarshalPKIXPublicKey(k.rekor.Public())
	require.NoError(t, err)
	k.rekorPEM = pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	return k
}

func sum(b []byte) []byte { s := sha256.Sum256(b); return s[:] }

// attach signs an image and puts the signature beside it into the layout dir.
func (k *keyless) attach(t *testing.T, dir, identity string, image digest.Digest) {
	t.Helper()
	leafKey, ca, caCert, rekor := ecKey(t), k.ca, k.caCert, k.rekor
	if k.otherCA {
		ca = ecKey(t)
		caCert, _ = authority(t, ca)
	}
	if k.otherRekor {
		rekor = ecKey(t)
	}
	issuer, err := asn1.MarshalWithParams(k.issuer, "utf8")
	require.NoError(t, err)
	// Fulcio's certificates last ten minutes: what counts is the time in the log.
	leaf, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(2), NotBefore: time.Now().Add(-11 * time.Minute), NotAfter: time.Now().Add(-time.Minute),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}, EmailAddresses: []string{k.email},
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, 8}, Value: issuer}},
	}, caCert, leafKey.Public(), ca)
	require.NoError(t, err)
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf})

	claimed := image
	if k.otherDigest {
		claimed = digest.FromString("another image")
	}
	payload := []byte(asJSON(t, map[string]any{"optional": nil, "critical": map[string]any{
		"type": "cosign container image signature", "identity": map[string]string{"docker-reference": identity},
		"image": map[string]string{"docker-manifest-digest": claimed.String()},
	}}))
	signed, err := ecdsa.SignASN1(rand.Reader, leafKey, sum(payload))
	require.NoError(t, err)
	logged := signed
	if k.otherSig {
		logged, err = ecdsa.SignASN1(rand.Reader, leafKey, sum(payload))
		require.NoError(t, err)
	}
	body := asJSON(t, map[string]any{"apiVersion": "0.0.1", "kind": "hashedrekord", "spec": map[string]any{
		"data":      map[string]any{"hash": map[string]string{"algorithm": "sha256", "value": hex.EncodeToString(sum(payload))}},
		"signature": map[string]any{"content": logged, "publicKey": map[string]any{"content": certificate}},
	}})
	// A map is marshalled with sorted keys and without spaces: the canonical form, for these values.
	entry, err := json.Marshal(map[string]any{"body": []byte(body), "integratedTime": k.signed.Unix(), "logIndex": 1, "logID": "test"})
	require.NoError(t, err)
	promise, err := ecdsa.SignASN1(rand.Reader, rekor, sum(entry))
	require.NoError(t, err)
	bundle := asJSON(t, map[string]any{"SignedEntryTimestamp": promise, "Payload": json.RawMessage(entry)})

	_, err = testimage.Image{
		Layers: []testimage.Layer{{Blob: payload, Tar: payload, MediaType: "application/vnd.dev.cosign.simplesigning.v1+json"}},
		EditManifest: func(m *ocispec.Manifest) {
			m.Layers[0].Annotations = map[string]string{
				"dev.cosignproject.cosign/signature": base64.StdEncoding.EncodeToString(signed),
				"dev.sigstore.cosign/certificate":    string(certificate),
				"dev.sigstore.cosign/bundle":         bundle,
			}
		},
	}.WriteOCI(dir, strings.Replace(image.String(), ":", "-", 1)+".sig")
	require.NoError(t, err)
}

// Signatures without a key of one's own, checked without a network: certificate, issuer, email address, and the promise of the log.
func TestSigstoreCertificate(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		make    func(k *keyless)
		policy  func(fulcio map[string]any)
		message string // "" if it is accepted
	}{
		"signed":                  {},
		"another email":           {make: func(k *keyless) { k.email = "somebody@example.com" }, message: `Required email "builder@example.com" not found`},
		"another issuer":          {make: func(k *keyless) { k.issuer = "https://elsewhere.example.com" }, message: "Unexpected Fulcio OIDC issuer"},
		"another authority":       {make: func(k *keyless) { k.otherCA = true }, message: "leaf certificate failed"},
		"another log":             {make: func(k *keyless) { k.otherRekor = true }, message: "signature verification of Rekor SET failed"},
		"another image":           {make: func(k *keyless) { k.otherDigest = true }, message: "Signature for digest"},
		"another signature":       {make: func(k *keyless) { k.otherSig = true }, message: "signature in Rekor SET does not match"},
		"after the certificate":   {make: func(k *keyless) { k.signed = time.Now().Add(time.Minute) }, message: "expired"},
		"policy of another email": {policy: func(f map[string]any) { f["subjectEmail"] = "boss@example.com" }, message: `Required email "boss@example.com" not found`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			w := sample().Write(t, dir, "v1")
			reg := testimage.NewRegistry(t, dir)
			k := newKeyless(t)
			k.signed = time.Now().Add(-5 * time.Minute)
			if c.make != nil {
				c.make(k)
			}
			k.attach(t, dir, reg.Host()+"/os", w.Digest())
			fulcio := map[string]any{"caData": k.caPEM, "oidcIssuer": "https://login.example.com", "subjectEmail": "builder@example.com"}
			if c.policy != nil {
				c.policy(fulcio)
			}
			opts := options(t)
			opts.RegistriesDir, opts.RequireSigned = attachments(t, reg.Host()), true
			require.NoError(t, os.WriteFile(opts.PolicyPath, []byte(asJSON(t, map[string]any{
				"default": []any{map[string]string{"type": "reject"}},
				"transports": map[string]any{"docker": map[string]any{reg.Host(): []any{map[string]any{
					"type": "sigstoreSigned", "fulcio": fulcio, "rekorPublicKeyData": k.rekorPEM, "signedIdentity": map[string]string{"type": "matchRepository"},
				}}}},
			})), 0o600))
			ok, err := accepted(t, reg.Ref("os", "v1"), opts)
			assert.Equal(t, c.message == "", ok, "%v", err)
			if c.message != "" && err != nil {
				assert.ErrorContains(t, err, c.message)
			}
		})
	}
}

// GPG signatures that "skopeo standalone-sign" made, in a lookaside directory and behind the registry's API extension.
func TestStandaloneSign(t *testing.T) {
	t.Parallel()
	home, public := gpgKey(t)
	dir := t.TempDir()
	w := sample().Write(t, dir, "v1")
	reg := testimage.NewRegistry(t, dir)
	manifest := filepath.Join(t.TempDir(), "manifest.json")
	require.NoError(t, os.WriteFile(manifest, w.RawManifest, 0o600))
	sign := func(identity string) []byte {
		t.Helper()
		path := filepath.Join(t.TempDir(), "signature")
		cmd := exec.Command("skopeo", "standalone-sign", "--output", path, manifest, identity, "tester@example.com")
		cmd.Env = append(os.Environ(), "GNUPGHOME="+home)
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
		made, err := os.ReadFile(path)
		require.NoError(t, err)
		return made
	}
	good := sign(reg.Host() + "/os:v1")
	tampered := append([]byte{}, good...)
	tampered[len(tampered)/2] ^= 1
	for name, c := range map[string]struct {
		signatures [][]byte
		ok         bool
	}{
		"good":               {[][]byte{good}, true},
		"tampered":           {[][]byte{tampered}, false},
		"for another name":   {[][]byte{sign(reg.Host() + "/other:v1")}, false},
		"for another tag":    {[][]byte{sign(reg.Host() + "/os:v2")}, false},
		"none":               {nil, false},
		"bad, then good":     {[][]byte{tampered, good}, true},
		"not a signature":    {[][]byte{[]byte("hello")}, false},
		"signature is empty": {[][]byte{{}}, false},
	} {
		for _, extension := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s extension=%t", name, extension), func(t *testing.T) {
				opts := options(t)
				opts.RequireSigned = true
				require.NoError(t, os.WriteFile(opts.PolicyPath, fmt.Appendf(nil,
					`{"default":[{"type":"reject"}],"transports":{"docker":{%q:[{"type":"signedBy","keyType":"GPGKeys","keyPath":%q}]}}}`, reg.Host()+"/os", public), 0o600))
				if extension {
					list := []any{}
					for n, s := range c.signatures {
						list = append(list, map[string]any{"schemaVersion": 2, "name": fmt.Sprintf("%s@%032d", w.Digest(), n), "type": "atomic", "content": s})
					}
					reg.SetFault(func(r testimage.Request) *testimage.Fault {
						if strings.HasPrefix(r.HTTP.URL.Path, "/extensions/v2/os/signatures/") {
							return &testimage.Fault{Status: 200, Body: asJSON(t, map[string]any{"signatures": list})}
						}
						return &testimage.Fault{Header: map[string][]string{"X-Registry-Supports-Signatures": {"1"}}}
					})
				} else {
					reg.SetFault(nil)
					lookaside := t.TempDir()
					opts.RegistriesDir = t.TempDir()
					require.NoError(t, os.WriteFile(filepath.Join(opts.RegistriesDir, "test.yaml"), fmt.Appendf(nil, "docker:\n  %s:\n    lookaside: file://%s\n", reg.Host(), lookaside), 0o600))
					at := filepath.Join(lookaside, "os@sha256="+w.Digest().Encoded())
					require.NoError(t, os.Mkdir(at, 0o700))
					for n, s := range c.signatures {
						require.NoError(t, os.WriteFile(filepath.Join(at, fmt.Sprintf("signature-%d", n+1)), s, 0o600))
					}
				}
				img := unverified(t, reg.Ref("os", "v1"))
				img.SigVerify.Kind = imageref.SignatureContainerPolicy
				opened, err := registry.Open(t.Context(), img, opts)
				if c.ok {
					require.NoError(t, err)
					require.NoError(t, opened.Close())
				} else {
					require.Error(t, err)
				}
			})
		}
	}
}

// Which part of a policy applies: the most specific scope of the transport, its default "", the default of all.
func TestPolicyScopes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w := sample().Write(t, dir, "v1")
	reg := testimage.NewRegistry(t, dir)
	testimage.Run(t, "skopeo", "--insecure-policy", "copy", "--quiet", w.Ref, "dir:"+dir+"/copy")
	testimage.Run(t, "skopeo", "--insecure-policy", "copy", "--quiet", w.Ref, "docker-archive:"+dir+"/a.tar:example/os:v1")
	testimage.Run(t, "skopeo", "--insecure-policy", "copy", "--quiet", w.Ref, "oci-archive:"+dir+"/b.tar:v1")
	const accept, reject = `[{"type":"insecureAcceptAnything"}]`, `[{"type":"reject"}]`
	image := reg.Ref("ns/os", "v1")
	for _, c := range []struct {
		ref, transport string
		scopes         map[string]string
		ok             bool
	}{
		{image, "docker", map[string]string{"": accept}, true},
		{image, "docker", map[string]string{"": reject, reg.Host(): accept}, true},
		{image, "docker", map[string]string{reg.Host(): accept, reg.Host() + "/ns": reject}, false},
		{image, "docker", map[string]string{reg.Host() + "/ns": reject, reg.Host() + "/ns/os": accept}, true},
		{image, "docker", map[string]string{reg.Host() + "/ns/os": accept, reg.Host() + "/ns/os:v1": reject}, false},
		{image, "docker", map[string]string{reg.Host() + "/ns/os:v1": accept}, true},
		{image, "docker", map[string]string{reg.Host() + "/n": accept, reg.Host() + "/ns/o": accept, reg.Host() + "/ns/os:v2": accept}, false},
		{image, "oci", map[string]string{"": accept}, false},
		{w.Ref, "oci", map[string]string{dir: accept}, true},
		{w.Ref, "oci", map[string]string{filepath.Dir(dir): accept, dir: reject}, false},
		{w.Ref, "oci", map[string]string{dir + ":v1": accept, dir: reject}, false}, // the tag is no part of the identity
		{w.Ref, "dir", map[string]string{"": accept}, false},
		{"dir:" + dir + "/copy", "dir", map[string]string{dir + "/copy": accept}, true},
		{"dir:" + dir + "/copy", "dir", map[string]string{dir + "/other": accept}, false},
		{"docker-archive:" + dir + "/a.tar", "docker-archive", map[string]string{"": accept}, true},
		{"docker-archive:" + dir + "/a.tar", "docker-archive", nil, false},
		{"oci-archive:" + dir + "/b.tar:v1", "oci-archive", map[string]string{dir + "/b.tar": accept}, true},
		{"oci-archive:" + dir + "/b.tar:v1", "oci-archive", map[string]string{dir + "/c.tar": accept}, false},
	} {
		var scopes []string
		for scope, requirement := range c.scopes {
			scopes = append(scopes, fmt.Sprintf("%q:%s", scope, requirement))
		}
		opts := options(t)
		require.NoError(t, os.WriteFile(opts.PolicyPath, fmt.Appendf(nil, `{"default":%s,"transports":{%q:{%s}}}`, reject, c.transport, strings.Join(scopes, ",")), 0o600))
		ok, err := accepted(t, c.ref, opts)
		assert.Equal(t, c.ok, ok, "%s with %v: %v", c.ref, c.scopes, err)
		// What asks for no signature never gets around a policy that rejects.
		opened, err := registry.Open(t.Context(), unverified(t, c.ref), opts)
		assert.Equal(t, c.ok, err == nil)
		if err == nil {
			require.NoError(t, opened.Close())
		}
	}
}
