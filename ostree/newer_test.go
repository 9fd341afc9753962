package ostree_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/ostree"
)

// ed25519Keys makes n pairs.
func ed25519Keys(t testing.TB, n int) (public, secret [][]byte) {
	t.Helper()
	for range n {
		pk, sk, err := ed25519.GenerateKey(nil)
		require.NoError(t, err)
		public, secret = append(public, pk), append(secret, sk)
	}
	return public, secret
}

// has reports whether libostree has a feature, and requires that it says so as of its version.
func has(t testing.TB, f ostree.Feature, year, release int) bool {
	t.Helper()
	require.Equal(t, ostree.AtLeast(year, release), ostree.Supports(f), "%s with %s", f, ostree.Version())
	return ostree.Supports(f)
}

func TestWriteConfigAndReload(t *testing.T) {
	t.Parallel()
	r := newRepo(t, ostree.ModeArchive)
	f, err := r.Config()
	require.NoError(t, err)
	f.SetString("core", "min-free-space-size", "5MB")
	err = r.WriteConfigAndReload(f)
	if !has(t, ostree.FeatureConfigReload, 2025, 3) {
		require.ErrorIs(t, err, ostree.ErrUnsupported)
		assert.ErrorContains(t, err, "needs libostree 2025.3")
		return
	}
	require.NoError(t, err)
	n, err := r.MinFreeSpaceBytes(t.Context())
	require.NoError(t, err)
	assert.Equal(t, uint64(5<<20), n)
	before, err := os.ReadFile(filepath.Join(r.Path(), "config"))
	require.NoError(t, err)
	f.SetString("core", "mode", "none")
	require.Error(t, r.WriteConfigAndReload(f))
	after, err := os.ReadFile(filepath.Join(r.Path(), "config"))
	require.NoError(t, err)
	assert.Equal(t, string(before), string(after), "nothing is written")
	require.ErrorIs(t, r.WriteConfigAndReload(nil), ostree.ErrInvalidArgument)
	fsck(t, r)
}

func TestBootTries(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "ostree-1+3-2.conf")
	require.NoError(t, os.WriteFile(file, []byte("title x\n"), 0o644))
	b, err := ostree.ReadBootConfig(t.Context(), file)
	require.NoError(t, err)
	left, err := b.TriesLeft()
	if !has(t, ostree.FeatureBootTries, 2025, 3) {
		require.ErrorIs(t, err, ostree.ErrUnsupported)
		_, err = b.TriesDone()
		require.ErrorIs(t, err, ostree.ErrUnsupported)
		return
	}
	require.NoError(t, err)
	done, err := b.TriesDone()
	require.NoError(t, err)
	assert.Equal(t, []uint64{3, 2}, []uint64{left, done})
	_, err = (*ostree.BootConfig)(nil).TriesDone()
	require.ErrorIs(t, err, ostree.ErrClosed)
}

func TestComposefs(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	r := newRepo(t, ostree.ModeBareUser)
	c := judgeCommit(t, r.Path(), "main", writeTree(t, sample))
	root, _, err := r.ReadTree(ctx, c)
	require.NoError(t, err)
	built := slices.Contains(ostree.Features(), "composefs")

	given, err := ostree.NewVariantDict().SetString("version", "1").Build()
	require.NoError(t, err)
	v, err := root.ComposefsMetadata(ctx, given)
	if has(t, ostree.FeatureComposefsDigest, 2023, 4) && built {
		require.NoError(t, err)
		digest, ok, err := v.LookupBytes("ostree.composefs.digest.v0")
		require.NoError(t, err)
		assert.True(t, ok)
		assert.Len(t, digest, 32)
		assert.Equal(t, []string{"ostree.composefs.digest.v0", "version"}, v.Keys())
	} else {
		require.ErrorIs(t, err, ostree.ErrUnsupported)
	}

	dir, err := os.Open(t.TempDir())
	require.NoError(t, err)
	defer dir.Close()
	fd := int(dir.Fd())
	err = r.CheckoutComposefs(ctx, ostree.VerityNone, fd, "image.cfs", c)
	if !has(t, ostree.FeatureComposefs, 2024, 7) || !built {
		require.ErrorIs(t, err, ostree.ErrUnsupported)
		return
	}
	require.NoError(t, err)
	image, err := os.ReadFile(filepath.Join(dir.Name(), "image.cfs"))
	require.NoError(t, err)
	cmd := exec.Command("ostree", "checkout", "--composefs-noverity", "--repo", r.Path(), c, "judged")
	cmd.Dir = t.TempDir() // where its temporary file is
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	judged, err := os.ReadFile(filepath.Join(cmd.Dir, "judged"))
	require.NoError(t, err)
	assert.True(t, bytes.Equal(judged, image), "%d bytes, the command writes %d", len(image), len(judged))
	require.ErrorIs(t, r.CheckoutComposefs(ctx, 7, fd, "x", c), ostree.ErrInvalidArgument)
	require.ErrorIs(t, r.CheckoutComposefs(ctx, ostree.VerityNone, fd, "a/b", c), ostree.ErrInvalidArgument)
	require.ErrorIs(t, r.CheckoutComposefs(ctx, ostree.VerityNone, fd, "x", strings.Repeat("0", 64)), ostree.ErrNotFound)
}

func TestRegenerateMetadata(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	g := newGPG(t)
	r := newRepo(t, ostree.ModeArchive)
	require.NoError(t, r.SetCollectionID("org.example.Os"))
	f, err := r.Config()
	require.NoError(t, err)
	require.NoError(t, r.WriteConfig(f))
	c := judgeCommit(t, r.Path(), "main", writeTree(t, sample))
	more, err := ostree.NewVariantDict().SetString("x.y", "z").Build()
	require.NoError(t, err)
	signing := &ostree.MetadataSigning{GPGKeyIDs: []string{g.fingerprint}, GPGHomedir: g.home}
	err = r.RegenerateMetadata(ctx, more, signing)
	if !has(t, ostree.FeatureRepoMetadata, 2023, 1) {
		require.ErrorIs(t, err, ostree.ErrUnsupported)
		return
	}
	require.NoError(t, err)
	shown := judge(t, "summary", "-v", "--repo", r.Path())
	assert.Contains(t, shown, c)
	assert.Contains(t, shown, "x.y")
	refs, err := r.ListRefs(ctx, "")
	require.NoError(t, err)
	assert.Contains(t, refs, "ostree-metadata")

	summary, err := os.ReadFile(filepath.Join(r.Path(), "summary"))
	require.NoError(t, err)
	sigs, err := os.ReadFile(filepath.Join(r.Path(), "summary.sig"))
	require.NoError(t, err)
	ring := filepath.Join(t.TempDir(), "ring.gpg")
	require.NoError(t, os.WriteFile(ring, g.key, 0o644))
	res, err := r.VerifyLocalSummary(ctx, summary, sigs, &ostree.GPGKeyring{File: ring})
	if has(t, ostree.FeatureLocalSummary, 2026, 3) {
		require.NoError(t, err)
		require.NoError(t, res.RequireValidSignature())
		summary[0] ^= 1
		res, err = r.VerifyLocalSummary(ctx, summary, sigs, &ostree.GPGKeyring{File: ring})
		require.NoError(t, err)
		require.ErrorIs(t, res.RequireValidSignature(), ostree.ErrGPGInvalidSignature)
	} else {
		require.ErrorIs(t, err, ostree.ErrUnsupported)
	}

	require.NoError(t, r.RegenerateMetadata(ctx, nil, nil))
	notDict, err := ostree.NewStringVariant("x")
	require.NoError(t, err)
	require.ErrorIs(t, r.RegenerateMetadata(ctx, notDict, nil), ostree.ErrVariantType)
	require.ErrorIs(t, r.RegenerateMetadata(ctx, nil, &ostree.MetadataSigning{Engine: "dummy", Keys: []ostree.SignKey{ostree.BytesKey([]byte("x"))}}), ostree.ErrInvalidArgument)
	require.NoError(t, r.RegenerateMetadata(ctx, nil, &ostree.MetadataSigning{Engine: "dummy", Keys: []ostree.SignKey{textKey(t, "secret")}}))
}

func TestReadKeys(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s, err := ostree.NewSigner("dummy")
	require.NoError(t, err)
	_, err = s.ReadPublicKeys(ctx, strings.NewReader("key"))
	if !has(t, ostree.FeatureReadKeys, 2025, 2) {
		require.ErrorIs(t, err, ostree.ErrUnsupported)
		_, err = s.ReadSecretKeys(ctx, strings.NewReader("key"))
		require.ErrorIs(t, err, ostree.ErrUnsupported)
		return
	}
	require.NoError(t, err)
	_, err = s.ReadPublicKeys(ctx, bytes.NewReader(make([]byte, 2<<20)))
	require.ErrorIs(t, err, ostree.ErrInvalidArgument)
	_, err = s.ReadPublicKeys(ctx, readerFunc(func([]byte) (int, error) { return 0, os.ErrClosed }))
	require.ErrorIs(t, err, os.ErrClosed)

	if !slices.Contains(ostree.SignEngines(), ostree.SignEd25519) {
		return // Debian builds libostree without it; make matrix builds it with
	}
	public, secret := ed25519Keys(t, 2)
	s, err = ostree.NewSigner(ostree.SignEd25519)
	require.NoError(t, err)
	lines := func(keys [][]byte) *strings.Reader {
		var b strings.Builder
		for _, k := range keys {
			b.WriteString(base64.StdEncoding.EncodeToString(k) + "\n")
		}
		return strings.NewReader(b.String())
	}
	sk, err := s.ReadSecretKeys(ctx, lines(secret))
	require.NoError(t, err)
	require.Len(t, sk, 2)
	pk, err := s.ReadPublicKeys(ctx, lines(public))
	require.NoError(t, err)
	require.Len(t, pk, 2)
	require.NoError(t, s.SetSecretKey(sk[1]))
	sig, err := s.Sign(ctx, []byte("data"))
	require.NoError(t, err)
	require.NoError(t, s.SetPublicKey(pk[0]))
	_, err = s.Verify(ctx, []byte("data"), [][]byte{sig})
	require.Error(t, err)
	require.NoError(t, s.AddPublicKey(pk[1]))
	_, err = s.Verify(ctx, []byte("data"), [][]byte{sig})
	require.NoError(t, err)
}
