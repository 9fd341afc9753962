package ostree_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/keyfile"
	"github.com/ostree-container/ostree-container/ostree"
)

func refspecOrigin(t testing.TB, refspec string) *keyfile.File {
	t.Helper()
	f := keyfile.New()
	require.NoError(t, f.SetString("origin", "refspec", refspec))
	return f
}

// A stateroot follows a ref of a remote: a repository elsewhere.
func TestSysrootUpgrader(t *testing.T) {
	s, v1, _ := newSysroot(t)
	ctx := t.Context()
	remote := newRepo(t, ostree.ModeArchive)
	commit := func(when, version string) string {
		return judgeCommit(t, remote.Path(), "stable", writeTree(t, osTree(version)), "--timestamp="+when)
	}
	first := commit("2024-02-04 00:00:00 +0000", "3")
	r, err := s.Repo()
	require.NoError(t, err)
	judge(t, "remote", "add", "--repo", r.Path(), "--no-sign-verify", "--no-gpg-verify", "origin", "file://"+remote.Path())
	require.NoError(t, r.ReloadConfig(ctx))

	_, err = ostree.NewSysrootUpgrader(ctx, s)
	require.ErrorIs(t, err, ostree.ErrNotBooted)
	_, err = ostree.NewSysrootUpgraderForOS(ctx, s, "os", 0)
	require.ErrorContains(t, err, "No previous deployment")
	_, err = ostree.NewSysrootUpgraderForOS(ctx, s, "a/b", 0)
	require.ErrorIs(t, err, ostree.ErrInvalidArgument)

	d, err := s.DeployTreeWithOptions(ctx, "os", v1, refspecOrigin(t, "origin:stable"), nil, nil)
	require.NoError(t, err)
	require.NoError(t, s.SimpleWriteDeployment(ctx, "os", d, nil, ostree.SimpleWriteNone))
	require.NoError(t, s.Load(ctx))

	u, err := ostree.NewSysrootUpgraderForOS(ctx, s, "os", ostree.UpgraderIgnoreUnconfigured)
	require.NoError(t, err)
	assert.Equal(t, "origin:stable", u.OriginDescription())
	o, err := u.Origin()
	require.NoError(t, err)
	assert.Equal(t, "[origin]\nrefspec=origin:stable\n", string(o.Bytes()))
	require.ErrorContains(t, u.Deploy(ctx), "nothing was pulled")
	changed, err := u.Pull(ctx, &ostree.UpgraderPullOptions{Dir: "/usr/etc", PullFlags: ostree.PullUntrusted})
	require.NoError(t, err)
	assert.True(t, changed)
	_, state, err := r.LoadCommit(ctx, first)
	require.NoError(t, err)
	assert.Equal(t, ostree.CommitPartial, state)
	var seen ostree.PullProgress
	changed, err = u.Pull(ctx, &ostree.UpgraderPullOptions{Progress: func(p ostree.PullProgress) { seen = p }})
	require.NoError(t, err)
	assert.True(t, changed)
	_ = seen // how often libostree calls is its own affair
	require.NoError(t, u.Deploy(ctx))
	require.NoError(t, s.Load(ctx))
	require.Len(t, s.Deployments(), 2)
	assert.Equal(t, first, s.Deployments()[0].Checksum())

	// Nothing new; then an older commit, which is refused unless asked for.
	u, err = ostree.NewSysrootUpgraderForOS(ctx, s, "os", 0)
	require.NoError(t, err)
	changed, err = u.Pull(ctx, nil)
	require.NoError(t, err)
	assert.False(t, changed)
	older := commit("2024-02-01 00:00:00 +0000", "4")
	_, err = u.Pull(ctx, nil)
	require.ErrorContains(t, err, "chronologically older")
	changed, err = u.Pull(ctx, &ostree.UpgraderPullOptions{Flags: ostree.UpgraderAllowOlder})
	require.NoError(t, err)
	assert.True(t, changed)
	require.ErrorContains(t, r.CheckTimestamps(ctx, first, older), "chronologically older")
	require.NoError(t, r.CheckTimestamps(ctx, older, first))
	require.ErrorIs(t, r.CheckTimestamps(ctx, older, sum(1)), ostree.ErrNotFound)
	require.ErrorIs(t, r.CheckTimestamps(ctx, older, "x"), ostree.ErrInvalidArgument)

	// Another ref; without a remote, a local one.
	require.NoError(t, u.SetOrigin(ctx, refspecOrigin(t, "os/v2")))
	assert.Equal(t, "os/v2", u.OriginDescription())
	changed, err = u.Pull(ctx, &ostree.UpgraderPullOptions{Flags: ostree.UpgraderAllowOlder})
	require.NoError(t, err)
	assert.True(t, changed)
	require.ErrorIs(t, u.SetOrigin(ctx, nil), ostree.ErrInvalidArgument)
	require.ErrorContains(t, u.SetOrigin(ctx, keyfile.New()), "No origin/refspec")

	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	_, err = u.Pull(cancelled, nil)
	require.ErrorIs(t, err, context.Canceled)
	_, err = ostree.NewSysrootUpgraderForOS(ctx, s, "os", ostree.UpgraderKexec)
	if ostree.Supports(ostree.FeatureKexec) {
		require.NoError(t, err)
	} else {
		require.ErrorIs(t, err, ostree.ErrUnsupported)
	}
	fsck(t, r)
}

// A stateroot is brought to the newest commit of the ref that its origin names.
func ExampleSysrootUpgrader() {
	upgrade := func(ctx context.Context, sysroot *ostree.Sysroot) error {
		if err := sysroot.Lock(ctx); err != nil {
			return err
		}
		defer sysroot.Unlock()
		if err := sysroot.Load(ctx); err != nil {
			return err
		}
		u, err := ostree.NewSysrootUpgrader(ctx, sysroot)
		if err != nil {
			return err
		}
		changed, err := u.Pull(ctx, nil)
		if err != nil || !changed {
			return err
		}
		return u.Deploy(ctx)
	}
	dir, remove := scratch()
	defer remove()
	for _, d := range []string{"ostree/repo", "ostree/deploy"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			log.Fatal(err)
		}
	}
	repo, err := ostree.CreateRepo(context.Background(), filepath.Join(dir, "ostree/repo"), ostree.ModeBareUser)
	if err != nil {
		log.Fatal(err)
	}
	repo.Close()
	sysroot, err := ostree.NewSysroot(dir)
	if err != nil {
		log.Fatal(err)
	}
	defer sysroot.Close()
	fmt.Println(upgrade(context.Background(), sysroot))
	// Output: new upgrader: not booted from a deployment: find booted deployment: Not currently booted into an OSTree system
}
