package ostree_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/ostree"
)

func textKey(t testing.TB, s string) ostree.SignKey {
	t.Helper()
	k, err := ostree.TextKey(s)
	require.NoError(t, err)
	return k
}

// The engine for tests signs with the key itself; it goes through all that the others do.
func TestSignDummy(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	assert.Contains(t, ostree.SignEngines(), "dummy")
	s, err := ostree.NewSigner("dummy")
	require.NoError(t, err)
	assert.Equal(t, "dummy", s.Name())
	assert.Equal(t, "ostree.sign.dummy", s.MetadataKey())
	assert.Equal(t, "aay", s.MetadataFormat())
	require.ErrorIs(t, s.SetSecretKey(ostree.BytesKey([]byte("x"))), ostree.ErrInvalidArgument)
	require.ErrorIs(t, s.SetSecretKey(ostree.SignKey{}), ostree.ErrInvalidArgument)
	require.NoError(t, s.SetSecretKey(textKey(t, "secret")))
	require.NoError(t, s.SetPublicKey(textKey(t, "secret")))

	sig, err := s.Sign(ctx, []byte("data"))
	require.NoError(t, err)
	assert.Equal(t, []byte("secret"), bytes.TrimRight(sig, "\x00"))
	text, err := s.Verify(ctx, []byte("data"), [][]byte{[]byte("other"), sig})
	require.NoError(t, err)
	assert.Contains(t, text, "dummy")
	_, err = s.Verify(ctx, []byte("data"), [][]byte{[]byte("other")})
	require.Error(t, err)
	_, err = s.Verify(ctx, []byte("data"), nil)
	require.Error(t, err)

	r := newRepo(t, ostree.ModeArchive)
	c := judgeCommit(t, r.Path(), "main", writeTree(t, sample))
	_, err = s.VerifyCommit(ctx, r, c)
	require.Error(t, err, "not signed")
	require.NoError(t, s.SignCommit(ctx, r, c))
	text, err = s.VerifyCommit(ctx, r, c)
	require.NoError(t, err)
	assert.NotEmpty(t, text)
	assert.Contains(t, judge(t, "sign", "--repo", r.Path(), "--verify", "--sign-type=dummy", c, "secret"), "dummy")
	require.NoError(t, s.SetPublicKey(textKey(t, "another")))
	_, err = s.VerifyCommit(ctx, r, c)
	require.Error(t, err)
	require.ErrorIs(t, s.SignCommit(ctx, r, "x"), ostree.ErrInvalidArgument)

	require.NoError(t, r.RegenerateSummary(ctx, nil))
	require.NoError(t, s.SignSummary(ctx, r, textKey(t, "secret"), textKey(t, "second")))
	b, err := os.ReadFile(filepath.Join(r.Path(), "summary.sig"))
	require.NoError(t, err)
	v, err := ostree.VariantFromBytes("a{sv}", b)
	require.NoError(t, err)
	sigs, ok := v.Lookup(s.MetadataKey())
	require.True(t, ok)
	assert.Equal(t, 2, sigs.Len())
	require.ErrorIs(t, s.SignSummary(ctx, r), ostree.ErrInvalidArgument)
	require.ErrorIs(t, s.SignSummary(ctx, r, ostree.BytesKey(nil)), ostree.ErrInvalidArgument)

	_, err = ostree.NewSigner("none")
	require.ErrorIs(t, err, ostree.ErrUnsupported)
	_, err = ostree.TextKey("\x00")
	require.ErrorIs(t, err, ostree.ErrInvalidArgument)
	var none *ostree.Signer
	require.ErrorIs(t, none.SignCommit(ctx, r, c), ostree.ErrClosed)
	require.ErrorIs(t, none.ClearKeys(), ostree.ErrClosed)
	_, err = none.Verify(ctx, nil, nil)
	require.ErrorIs(t, err, ostree.ErrClosed)
}

func TestSignEd25519(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s, err := ostree.NewSigner(ostree.SignEd25519)
	if !slices.Contains(ostree.SignEngines(), ostree.SignEd25519) { // Debian 12 builds without it
		require.ErrorIs(t, err, ostree.ErrUnsupported)
		return
	}
	require.NoError(t, err)
	assert.Equal(t, "ostree.sign.ed25519", s.MetadataKey())
	public, secret, err := ed25519.GenerateKey(nil)
	require.NoError(t, err)
	otherPublic, _, err := ed25519.GenerateKey(nil)
	require.NoError(t, err)
	b64 := base64.StdEncoding.EncodeToString
	for range 100 { // libostree before 2025.7 frees the bytes of a key that is not text, as does the variant
		require.NoError(t, s.SetSecretKey(ostree.BytesKey(slices.Clone(secret))))
	}
	for _, short := range []ostree.SignKey{ostree.BytesKey(secret[:32]), textKey(t, b64(secret[:16])), textKey(t, ""), ostree.BytesKey(nil)} {
		require.ErrorIs(t, s.SetSecretKey(short), ostree.ErrInvalidArgument)
	}
	sig, err := s.Sign(ctx, []byte("data"))
	require.NoError(t, err)
	assert.True(t, ed25519.Verify(public, []byte("data"), sig))
	require.NoError(t, s.SetPublicKey(ostree.BytesKey(otherPublic)))
	_, err = s.Verify(ctx, []byte("data"), [][]byte{sig})
	require.Error(t, err)
	require.NoError(t, s.AddPublicKey(textKey(t, b64(public))))
	_, err = s.Verify(ctx, []byte("data"), [][]byte{ed25519.Sign(secret, []byte("data"))})
	require.NoError(t, err)
	_, err = s.Verify(ctx, []byte("data"), [][]byte{[]byte("short")})
	require.Error(t, err)

	r := newRepo(t, ostree.ModeArchive)
	c := judgeCommit(t, r.Path(), "main", writeTree(t, sample))
	require.Error(t, s.SignCommit(ctx, r, c), "SetPublicKey made it forget the secret key")
	require.NoError(t, s.SetSecretKey(ostree.BytesKey(secret)))
	require.NoError(t, s.SignCommit(ctx, r, c))
	judge(t, "sign", "--repo", r.Path(), "--verify", "--sign-type=ed25519", c, b64(public))
	_, err = s.VerifyCommit(ctx, r, c)
	require.Error(t, err, "SetSecretKey made it forget the public keys")
	require.NoError(t, s.AddPublicKey(ostree.BytesKey(public)))
	_, err = s.VerifyCommit(ctx, r, c)
	require.NoError(t, err)
	require.NoError(t, r.RegenerateSummary(ctx, nil))
	require.NoError(t, s.SignSummary(ctx, r, ostree.BytesKey(secret)))
	require.ErrorIs(t, s.SignSummary(ctx, r, ostree.BytesKey(secret[:32])), ostree.ErrInvalidArgument)
	require.NoError(t, s.ClearKeys())
	keys := filepath.Join(t.TempDir(), "keys")
	require.NoError(t, os.WriteFile(keys, []byte(b64(otherPublic)+"\n"+b64(public)+"\n"), 0o644))
	require.NoError(t, s.LoadPublicKeys(ctx, &ostree.LoadKeysOptions{File: keys}))
	_, err = s.VerifyCommit(ctx, r, c)
	require.NoError(t, err)
	require.Error(t, s.LoadPublicKeys(ctx, &ostree.LoadKeysOptions{File: keys + ".none"}))
	require.ErrorIs(t, s.LoadPublicKeys(ctx, &ostree.LoadKeysOptions{File: keys, BaseDir: "/"}), ostree.ErrInvalidArgument)
}
