package ostree_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/ostree"
)

// gpgHome is a private GNUPGHOME with one secret key.
type gpgHome struct {
	t           testing.TB
	home        string
	fingerprint string
	key         []byte // public
}

func newGPG(t testing.TB) *gpgHome {
	t.Helper()
	_, err := exec.LookPath("gpg")
	need(t, "gpg", err == nil)
	home, err := os.MkdirTemp("", "gpg") // a socket path is short
	require.NoError(t, err)
	t.Cleanup(func() {
		_ = exec.Command("gpgconf", "--homedir", home, "--kill", "all").Run()
		os.RemoveAll(home)
	})
	g := &gpgHome{t: t, home: home}
	g.run(nil, "--quick-generate-key", "Tester <tester@example.com>", "ed25519", "sign", "never")
	g.key = g.run(nil, "--export", "tester@example.com")
	for line := range strings.Lines(string(g.run(nil, "--with-colons", "--list-keys"))) {
		if f := strings.Split(line, ":"); f[0] == "fpr" {
			g.fingerprint = f[9]
		}
	}
	require.Len(t, g.fingerprint, 40)
	return g
}

func (g *gpgHome) run(stdin []byte, args ...string) []byte {
	g.t.Helper()
	cmd := exec.Command("gpg", append([]string{"--homedir", g.home, "--batch", "--yes", "--pinentry-mode", "loopback", "--passphrase", ""}, args...)...)
	cmd.Stdin = bytes.NewReader(stdin)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(g.t, err, "gpg %v\n%s", args, stderr.String())
	return out
}

func TestGPGVerifyCommit(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	g := newGPG(t)
	r := newRepo(t, ostree.ModeArchive)
	c := judgeCommit(t, r.Path(), "main", writeTree(t, sample))
	require.NoError(t, r.RemoteAdd(ctx, "origin", "https://example.com", nil))
	_, err := r.VerifyCommitForRemote(ctx, c, "origin")
	require.ErrorIs(t, err, ostree.ErrGPGNoSignature)
	require.NoError(t, r.SignCommitGPG(ctx, c, g.fingerprint, g.home))

	res, err := r.VerifyCommitForRemote(ctx, c, "origin")
	require.NoError(t, err)
	require.Equal(t, 1, res.Len())
	require.ErrorIs(t, res.RequireValidSignature(), ostree.ErrGPGMissingKey)
	sig, err := res.Signature(0)
	require.NoError(t, err)
	assert.True(t, sig.KeyMissing)
	assert.False(t, sig.Valid)
	require.ErrorIs(t, r.VerifyCommit(ctx, c, nil), ostree.ErrGPGMissingKey)
	_, err = r.RemoteGPGImport(ctx, "origin", g.key, nil)
	require.NoError(t, err)
	require.NoError(t, r.VerifyCommit(ctx, c, nil), "keys of remotes count")

	ring := filepath.Join(t.TempDir(), "ring.gpg")
	require.NoError(t, os.WriteFile(ring, g.key, 0o644))
	verify := map[string]func() (*ostree.GPGVerifyResult, error){
		"remote": func() (*ostree.GPGVerifyResult, error) { return r.VerifyCommitForRemote(ctx, c, "origin") },
		"keyring": func() (*ostree.GPGVerifyResult, error) {
			return r.VerifyCommitGPG(ctx, c, &ostree.GPGKeyring{File: ring})
		},
		"dir": func() (*ostree.GPGVerifyResult, error) {
			return r.VerifyCommitGPG(ctx, c, &ostree.GPGKeyring{Dir: filepath.Dir(ring)})
		},
	}
	for name, fn := range verify {
		res, err := fn()
		require.NoError(t, err, name)
		require.NoError(t, res.RequireValidSignature(), name)
		assert.Equal(t, 1, res.Len())
		assert.Equal(t, 1, res.ValidCount())
		sigs, err := res.Signatures()
		require.NoError(t, err)
		require.Len(t, sigs, 1)
		s := sigs[0]
		assert.WithinDuration(t, time.Now(), s.Timestamp, time.Hour)
		s.Timestamp = time.Time{}
		assert.Equal(t, ostree.GPGSignature{
			Valid: true, Fingerprint: g.fingerprint, PrimaryFingerprint: g.fingerprint, PublicKeyAlgorithm: "EdDSA",
			HashAlgorithm: s.HashAlgorithm, UserName: "Tester", UserEmail: "tester@example.com",
		}, s)
		i, ok := res.Lookup(g.fingerprint[24:])
		assert.True(t, ok)
		assert.Zero(t, i)
		_, ok = res.Lookup("0123456789ABCDEF")
		assert.False(t, ok)
		text, err := res.Describe(0, "> ")
		require.NoError(t, err)
		assert.Contains(t, text, "Good signature from \"Tester <tester@example.com>\"")
		for line := range strings.Lines(text) {
			assert.True(t, strings.HasPrefix(line, "> "), line)
		}
		all, err := res.Attributes(0)
		require.NoError(t, err)
		again, err := ostree.DescribeGPGSignature(all, "> ")
		require.NoError(t, err)
		assert.Equal(t, text, again)
		some, err := res.Attributes(0, ostree.GPGAttrUserEmail, ostree.GPGAttrValid)
		require.NoError(t, err)
		assert.Equal(t, "('tester@example.com', true)", some.String())
		_, err = res.Attributes(0, 99)
		require.ErrorIs(t, err, ostree.ErrInvalidArgument)
		_, err = res.Attributes(1, ostree.GPGAttrValid)
		require.ErrorIs(t, err, ostree.ErrInvalidArgument)
		_, err = ostree.DescribeGPGSignature(some, "")
		require.ErrorIs(t, err, ostree.ErrVariantType)
		_, err = res.Describe(1, "")
		require.ErrorIs(t, err, ostree.ErrInvalidArgument)
		_, err = res.Signature(1)
		require.ErrorIs(t, err, ostree.ErrInvalidArgument)
	}
	require.NoError(t, r.VerifyCommit(ctx, c, &ostree.GPGKeyring{File: ring}))
	require.ErrorIs(t, r.VerifyCommit(ctx, "main", nil), ostree.ErrInvalidArgument)
	_, err = r.VerifyCommitForRemote(ctx, c, "none")
	require.Error(t, err)
	_, err = r.VerifyCommitGPG(ctx, noSum, nil)
	require.ErrorIs(t, err, ostree.ErrNotFound)
	var none *ostree.GPGVerifyResult
	assert.Zero(t, none.Len())
	require.ErrorIs(t, none.RequireValidSignature(), ostree.ErrClosed)
}

func TestGPGRevokedKey(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	g := newGPG(t)
	r := newRepo(t, ostree.ModeArchive)
	c := judgeCommit(t, r.Path(), "main", writeTree(t, sample))
	require.NoError(t, r.SignCommitGPG(ctx, c, g.fingerprint, g.home))
	rev, err := os.ReadFile(filepath.Join(g.home, "openpgp-revocs.d", g.fingerprint+".rev"))
	require.NoError(t, err)
	g.run(bytes.Replace(rev, []byte(":-----BEGIN"), []byte("-----BEGIN"), 1), "--import")
	ring := filepath.Join(t.TempDir(), "ring.gpg")
	require.NoError(t, os.WriteFile(ring, g.run(nil, "--export"), 0o644))
	res, err := r.VerifyCommitGPG(ctx, c, &ostree.GPGKeyring{File: ring})
	require.NoError(t, err)
	require.ErrorIs(t, res.RequireValidSignature(), ostree.ErrGPGRevokedKey)
	sig, err := res.Signature(0)
	require.NoError(t, err)
	assert.True(t, sig.KeyRevoked)
}

func TestGPGData(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	g := newGPG(t)
	r := newRepo(t, ostree.ModeArchive)
	data := []byte("some data")
	ring := filepath.Join(t.TempDir(), "ring.gpg")
	require.NoError(t, os.WriteFile(ring, g.key, 0o644))

	signed, err := r.GPGSignData(ctx, data, nil, []string{g.fingerprint}, g.home)
	require.NoError(t, err)
	signed, err = r.GPGSignData(ctx, data, signed, []string{g.fingerprint}, g.home)
	require.NoError(t, err)
	v, err := ostree.VariantFromBytes("a{sv}", signed)
	require.NoError(t, err)
	list, ok := v.Lookup(ostree.GPGSignaturesKey)
	require.True(t, ok)
	assert.Equal(t, 2, list.Len())
	res, err := r.GPGVerifyData(ctx, "", data, list.Child(1).Bytes(), &ostree.GPGKeyring{File: ring})
	require.NoError(t, err)
	require.NoError(t, res.RequireValidSignature())
	_, err = r.GPGSignData(ctx, data, nil, nil, g.home)
	require.ErrorIs(t, err, ostree.ErrInvalidArgument)
	_, err = r.GPGSignData(ctx, data, nil, []string{"nobody@example.com"}, g.home)
	require.Error(t, err)

	// A signature made by gpg itself, over data and over a commit.
	c := judgeCommit(t, r.Path(), "main", writeTree(t, sample))
	commit, err := r.LoadVariantBytes(ctx, ostree.ObjectCommit, c)
	require.NoError(t, err)
	sig := g.run(commit, "--detach-sign")
	res, err = r.GPGVerifyData(ctx, "", commit, sig, &ostree.GPGKeyring{File: ring})
	require.NoError(t, err)
	require.NoError(t, res.RequireValidSignature())
	res, err = r.GPGVerifyData(ctx, "", data, sig, &ostree.GPGKeyring{File: ring})
	require.NoError(t, err)
	require.ErrorIs(t, res.RequireValidSignature(), ostree.ErrGPGInvalidSignature)
	require.NoError(t, r.AppendGPGSignature(ctx, c, sig))
	res, err = r.VerifyCommitGPG(ctx, c, &ostree.GPGKeyring{File: ring})
	require.NoError(t, err)
	require.NoError(t, res.RequireValidSignature())
	require.ErrorIs(t, r.AppendGPGSignature(ctx, "x", sig), ostree.ErrInvalidArgument)

	// The summary.
	require.NoError(t, r.RegenerateSummary(ctx, nil))
	require.NoError(t, r.SignSummaryGPG(ctx, []string{g.fingerprint}, g.home))
	summary, err := os.ReadFile(filepath.Join(r.Path(), "summary"))
	require.NoError(t, err)
	sigs, err := os.ReadFile(filepath.Join(r.Path(), "summary.sig"))
	require.NoError(t, err)
	require.NoError(t, r.RemoteAdd(ctx, "origin", "https://example.com", nil))
	_, err = r.RemoteGPGImport(ctx, "origin", g.key, nil)
	require.NoError(t, err)
	res, err = r.VerifySummary(ctx, "origin", summary, sigs)
	require.NoError(t, err)
	require.NoError(t, res.RequireValidSignature())
	res, err = r.VerifySummary(ctx, "origin", append(summary, 0), sigs)
	require.NoError(t, err)
	require.ErrorIs(t, res.RequireValidSignature(), ostree.ErrGPGInvalidSignature)
	_, err = r.VerifySummary(ctx, "origin", summary, nil)
	require.Error(t, err)
}

func TestRemoteGPGKeys(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	g := newGPG(t)
	g.run(nil, "--quick-add-key", g.fingerprint, "cv25519", "encr", "2y")
	r := newRepo(t, ostree.ModeArchive)
	require.NoError(t, r.RemoteAdd(ctx, "origin", "https://example.com", nil))
	keys, err := r.RemoteGPGKeys(ctx, "origin", nil)
	require.NoError(t, err)
	assert.Empty(t, keys)
	_, err = r.RemoteGPGImport(ctx, "origin", g.run(nil, "--export"), nil)
	require.NoError(t, err)
	for _, ids := range [][]string{nil, {g.fingerprint}} {
		keys, err = r.RemoteGPGKeys(ctx, "origin", ids)
		require.NoError(t, err)
		require.Len(t, keys, 1)
		k := keys[0]
		require.Len(t, k.Subkeys, 2)
		assert.Equal(t, g.fingerprint, k.Subkeys[0].Fingerprint)
		assert.WithinDuration(t, time.Now(), k.Subkeys[0].Created, time.Hour)
		assert.True(t, k.Subkeys[0].Expires.IsZero())
		assert.WithinDuration(t, time.Now().AddDate(2, 0, 0), k.Subkeys[1].Expires, 48*time.Hour)
		assert.False(t, k.Subkeys[0].Revoked || k.Subkeys[0].Expired || k.Subkeys[0].Invalid)
		require.Len(t, k.UserIDs, 1)
		u := k.UserIDs[0]
		assert.Equal(t, "Tester <tester@example.com>", u.UID)
		assert.Equal(t, "Tester", u.Name)
		assert.Equal(t, "tester@example.com", u.Email)
		assert.Contains(t, u.AdvancedURL, "https://openpgpkey.example.com/")
		assert.Contains(t, u.DirectURL, "https://example.com/.well-known/openpgpkey/")
	}
	_, err = r.RemoteGPGKeys(ctx, "none", nil)
	require.ErrorIs(t, err, ostree.ErrNotFound)
}
