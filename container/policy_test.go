package container_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ostree-container/ostree-container/container"
	"github.com/ostree-container/ostree-container/container/imageref"
	"github.com/ostree-container/ostree-container/container/internal/oracle"
	ti "github.com/ostree-container/ostree-container/container/internal/testimage"
	"github.com/ostree-container/ostree-container/container/registry"
	"github.com/ostree-container/ostree-container/ostree"
)

// signing is a registry whose images are signed with a key that a policy asks for.
type signing struct {
	*ti.Registry
	dir, home, lookaside string
	registriesDir        string
	policies             map[string]string // by name, a file each
}

func newSigning(t *testing.T) *signing {
	t.Helper()
	ti.NeedTool(t, "skopeo")
	home, _, public := gpgKeyOf(t, "policy", "rsa2048")
	s := &signing{dir: t.TempDir(), home: home, lookaside: t.TempDir(), registriesDir: t.TempDir(), policies: map[string]string{}}
	s.Registry = ti.NewRegistry(t, s.dir)
	text := fmt.Sprintf("docker:\n  %s:\n    sigstore: file://%s\n", s.Host(), s.lookaside)
	require.NoError(t, os.WriteFile(filepath.Join(s.registriesDir, "test.yaml"), []byte(text), 0o600))
	for name, text := range map[string]string{
		"anything":   `{"default":[{"type":"insecureAcceptAnything"}]}`,
		"reject":     `{"default":[{"type":"reject"}]}`,
		"transport":  `{"default":[{"type":"reject"}],"transports":{"docker":{"":[{"type":"insecureAcceptAnything"}]}}}`,
		"signed":     fmt.Sprintf(`{"default":[{"type":"signedBy","keyType":"GPGKeys","keyPath":%q}]}`, public),
		"unreadable": `{`,
	} {
		s.policies[name] = filepath.Join(t.TempDir(), "policy.json")
		require.NoError(t, os.WriteFile(s.policies[name], []byte(text), 0o600))
	}
	return s
}

// sign puts a signature for an image of the repository "os" into the lookaside.
func (s *signing) sign(t *testing.T, w *ti.Written) {
	t.Helper()
	dir := filepath.Join(s.lookaside, "os@sha256="+w.Digest().Encoded())
	require.NoError(t, os.MkdirAll(dir, 0o755))
	manifest := filepath.Join(t.TempDir(), "manifest.json")
	require.NoError(t, os.WriteFile(manifest, w.RawManifest, 0o600))
	cmd := exec.Command("skopeo", "standalone-sign", "-o", filepath.Join(dir, "signature-1"), manifest, s.Host()+"/os:latest", "policy@example.com")
	cmd.Env = append(os.Environ(), "GNUPGHOME="+s.home)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
}

// pull asks for an image under a policy; present says that the repository's was good enough.
func (s *signing) pull(t *testing.T, repo *ostree.Repo, scheme, image, policy string) (state *container.LayeredImageState, present bool, err error) {
	t.Helper()
	ref, err := imageref.ParseOSTree(scheme + ":" + image)
	require.NoError(t, err)
	imp, err := container.NewImporter(repo, ref, &container.ImporterOptions{Registry: &registry.Options{
		Access:        registry.Access{InsecureSkipTLSVerify: true, Auth: registry.AuthAnonymous},
		PolicyPath:    s.policies[policy],
		RegistriesDir: s.registriesDir,
		Retry:         registry.Retry{Attempts: 1},
	}})
	require.NoError(t, err)
	defer func() { assert.NoError(t, imp.Close()) }()
	found, err := imp.Prepare(t.Context())
	if err != nil {
		return nil, false, err
	}
	if found.AlreadyPresent != nil {
		return found.AlreadyPresent, true, nil
	}
	state, err = imp.Import(t.Context(), found.Ready)
	return state, false, err
}

const (
	schemeSigned     = "ostree-image-signed"
	schemeUnverified = "ostree-unverified-image"
)

// An image that is stored, named by its digest, is not taken for what the policy asks: an image that came unverified does not become
// a signed one by being there.
func TestPolicyIsAskedForAStoredDigest(t *testing.T) {
	s := newSigning(t)
	w := ti.Image{Layers: plainLayers("a", 2, 3, 0)}.Write(t, s.dir, "latest")
	repo, _ := newRepo(t, modeHere())
	byDigest := s.Ref("os", w.Digest().String())
	_, present, err := s.pull(t, repo, schemeUnverified, byDigest, "anything")
	require.NoError(t, err)
	require.False(t, present)

	_, _, err = s.pull(t, repo, schemeSigned, byDigest, "signed")
	require.ErrorIs(t, err, registry.ErrPolicyRejected)
	require.ErrorContains(t, err, "is stored, but the policy asks for a signature")
	_, _, err = s.pull(t, repo, schemeUnverified, byDigest, "signed")
	require.ErrorIs(t, err, registry.ErrPolicyRejected, "whatever the scheme, as for an image that is not stored")

	s.sign(t, w)
	_, present, err = s.pull(t, repo, schemeSigned, byDigest, "signed")
	require.NoError(t, err)
	assert.True(t, present, "signed after all")

	// What needs no signature needs no network either.
	s.Close()
	_, present, err = s.pull(t, repo, schemeSigned, byDigest, "transport")
	require.NoError(t, err)
	assert.True(t, present)
	_, present, err = s.pull(t, repo, schemeUnverified, byDigest, "anything")
	require.NoError(t, err)
	assert.True(t, present)
	for policy, is := range map[string]error{"anything": registry.ErrInsecurePolicy, "reject": registry.ErrPolicyRejected, "unreadable": nil, "signed": nil} {
		_, _, err = s.pull(t, repo, schemeSigned, byDigest, policy)
		require.Error(t, err, policy)
		if is != nil {
			require.ErrorIs(t, err, is, policy)
		}
		assert.ErrorContains(t, err, "is stored, but", policy)
		assert.ErrorContains(t, err, byDigest, policy)
	}
	_, _, err = s.pull(t, repo, schemeSigned, byDigest, "signed")
	require.ErrorContains(t, err, s.Host(), "the signature would have to be fetched, and the registry is gone")
}

// The same manifest is enough once the policy has seen it; the same config is not, if the layers that were stored with it are others
// than those that are signed.
func TestPolicyAndTheSameConfig(t *testing.T) {
	s := newSigning(t)
	layers := plainLayers("a", 2, 3, 0)
	plain := withCompression(slices.Clone(layers), ti.None)
	unsigned := ti.Image{Layers: plain}.Write(t, s.dir, "latest")
	repo, dir := newRepo(t, modeHere())
	tag := s.Ref("os", "latest")
	_, _, err := s.pull(t, repo, schemeUnverified, tag, "anything")
	require.NoError(t, err)
	_, _, err = s.pull(t, repo, schemeSigned, tag, "signed")
	require.ErrorIs(t, err, registry.ErrPolicyRejected)

	annotated := ti.Image{Layers: plain, Annotations: map[string]string{"a": "b"}}.Write(t, s.dir, "latest")
	s.sign(t, annotated)
	state, present, err := s.pull(t, repo, schemeSigned, tag, "signed")
	require.NoError(t, err)
	assert.True(t, present, "the same config and layers, in a signed manifest")
	assert.Equal(t, unsigned.Digest(), state.ManifestDigest)

	compressed := ti.Image{Layers: layers}.Write(t, s.dir, "latest")
	require.Equal(t, unsigned.Manifest.Config.Digest, compressed.Manifest.Config.Digest)
	require.NotEqual(t, unsigned.Manifest.Layers, compressed.Manifest.Layers)
	_, present, err = s.pull(t, repo, schemeUnverified, tag, "anything")
	require.NoError(t, err)
	assert.True(t, present, "no signature is asked for")
	s.sign(t, compressed)
	state, present, err = s.pull(t, repo, schemeSigned, tag, "signed")
	require.NoError(t, err)
	assert.False(t, present)
	assert.Equal(t, compressed.Digest(), state.ManifestDigest)
	wellPulled(t, dir, state, layers)
}

// An unverified image with the config of a signed one and layers of its own is not taken for the signed one.
func TestPolicyAndAStolenConfig(t *testing.T) {
	s := newSigning(t)
	base := func(text string) *ti.EncapsulatedImage {
		return ti.EncapsulatedBase(t, ti.BaseOptions{Members: append(ti.BaseMembers(), ti.File("usr/who", 0o644, text))})
	}
	good, evil := base("good"), base("evil")
	repo, dir := newRepo(t, modeHere())
	mustPull(t, repo, evil.Ref, container.ImporterOptions{}) // its blobs are known from here on
	stolen := ti.Image{Base: &good.Base, EditManifest: func(m *ocispec.Manifest) {
		require.Len(t, m.Layers, len(evil.Manifest.Layers))
		m.Layers = evil.Manifest.Layers
	}}
	bad := stolen.Write(t, s.dir, "latest")
	for _, l := range evil.Manifest.Layers {
		data, err := os.ReadFile(filepath.Join(evil.Dir, "blobs/sha256", l.Digest.Encoded()))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(bad.BlobPath(l.Digest), data, 0o600))
	}
	tag := s.Ref("os", "latest")
	who := func(state *container.LayeredImageState) string {
		return strings.TrimSpace(ti.Run(t, "ostree", "--repo="+dir, "cat", state.MergeCommit, "/usr/who"))
	}
	state, _, err := s.pull(t, repo, schemeUnverified, tag, "anything")
	require.NoError(t, err)
	require.Equal(t, "evil", who(state), "nobody promised anything")

	honest := ti.Image{Base: &good.Base}.Write(t, s.dir, "latest")
	require.Equal(t, bad.Manifest.Config.Digest, honest.Manifest.Config.Digest)
	s.sign(t, honest)
	state, present, err := s.pull(t, repo, schemeSigned, tag, "signed")
	require.NoError(t, err)
	assert.False(t, present)
	assert.Equal(t, "good", who(state))
	oracle.Fsck(t, dir)
}
