package ostree_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/keyfile"
	"github.com/ostree-container/ostree-container/ostree"
)

// newSysroot makes a loaded sysroot with a stateroot "os" and commits v1 and v2 in its repository.
func newSysroot(t testing.TB) (s *ostree.Sysroot, v1, v2 string) {
	t.Helper()
	needRoot(t)
	ctx := t.Context()
	dir := t.TempDir()
	judge(t, "admin", "init-fs", "--modern", dir)
	repo := filepath.Join(dir, "ostree/repo")
	v1 = judgeCommit(t, repo, "os/v1", writeTree(t, osTree("1")))
	v2 = judgeCommit(t, repo, "os/v2", writeTree(t, osTree("2")))
	s, err := ostree.NewSysroot(dir)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	require.NoError(t, s.Load(ctx))
	require.NoError(t, s.InitOSName(ctx, "os"))
	r, err := s.Repo()
	require.NoError(t, err)
	cfg, err := r.Config()
	require.NoError(t, err)
	require.NoError(t, cfg.SetString("sysroot", "bootloader", "none"))
	require.NoError(t, r.WriteConfig(cfg))
	return s, v1, v2
}

func origin(t testing.TB, refspec string) *keyfile.File {
	t.Helper()
	f := keyfile.New()
	require.NoError(t, f.SetString("origin", "container-image-reference", refspec))
	return f
}

// deploy does what a first installation or an offline update does.
func deploy(t testing.TB, s *ostree.Sysroot, commit string, kargs []string) *ostree.Deployment {
	t.Helper()
	ctx := t.Context()
	merge := s.MergeDeployment("os")
	d, err := s.DeployTreeWithOptions(ctx, "os", commit, origin(t, "ostree-unverified-registry:quay.io/x/y"), merge,
		&ostree.DeployTreeOptions{OverrideKernelArgv: kargs})
	require.NoError(t, err)
	require.NoError(t, s.SimpleWriteDeployment(ctx, "os", d, merge, ostree.SimpleWriteNone))
	require.NoError(t, s.Cleanup(ctx))
	require.NoError(t, s.Load(ctx))
	return d
}

func TestSysrootDeploy(t *testing.T) {
	s, v1, v2 := newSysroot(t)
	ctx := t.Context()
	assert.Empty(t, s.Deployments())
	assert.Nil(t, s.BootedDeployment())
	assert.Nil(t, s.StagedDeployment())
	assert.Nil(t, s.MergeDeployment("os"))
	assert.Nil(t, s.MergeDeployment(""))
	assert.False(t, s.IsBooted())

	deploy(t, s, v1, []string{"root=LABEL=x", "quiet"})
	list := s.Deployments()
	require.Len(t, list, 1)
	d := list[0]
	assert.Equal(t, v1, d.Checksum())
	assert.Equal(t, "os", d.Stateroot())
	assert.Equal(t, 0, d.Index())
	assert.Equal(t, 0, d.DeploySerial())
	assert.Equal(t, "ostree/deploy/os/deploy/"+v1+".0", d.Path())
	assert.Equal(t, "ostree/deploy/os/deploy/"+v1+".0.origin", d.OriginPath())
	assert.Len(t, d.BootChecksum(), 64)
	assert.False(t, d.IsStaged())
	assert.False(t, d.IsPinned())
	assert.False(t, d.IsBooted())
	assert.Equal(t, ostree.UnlockedNone, d.UnlockedState())
	args := d.KernelArgs().Strings()
	require.Len(t, args, 3)
	assert.Equal(t, []string{"root=LABEL=x", "quiet"}, args[:2])
	assert.True(t, strings.HasPrefix(args[2], "ostree=/ostree/boot.1/os/"), args[2])
	assert.Equal(t, "Test 1 (ostree:0)", d.BootConfig("title"))
	o, err := d.Origin()
	require.NoError(t, err)
	got, err := o.String("origin", "container-image-reference")
	require.NoError(t, err)
	assert.Equal(t, "ostree-unverified-registry:quay.io/x/y", got)

	// A local change in /etc and the kernel arguments go over to the update.
	require.NoError(t, os.WriteFile(filepath.Join(s.Path(), d.Path(), "etc/hostname"), []byte("mine\n"), 0o644))
	deploy(t, s, v2, nil)
	list = s.Deployments()
	require.Len(t, list, 2)
	assert.Equal(t, v2, list[0].Checksum())
	assert.Equal(t, v1, list[1].Checksum())
	assert.True(t, list[0].Equal(s.MergeDeployment("os")))
	assert.Equal(t, []string{"root=LABEL=x", "quiet"}, list[0].KernelArgs().Strings()[:2])
	b, err := os.ReadFile(filepath.Join(s.Path(), list[0].Path(), "etc/hostname"))
	require.NoError(t, err)
	assert.Equal(t, "mine\n", string(b))
	pending, rollback := s.QueryDeploymentsFor("os")
	assert.True(t, list[0].Equal(pending))
	assert.Nil(t, rollback, "nothing is booted")
	status := judge(t, "admin", "status", "--sysroot", s.Path())
	assert.Contains(t, status, "os "+v2+".0")
	assert.Contains(t, status, "os "+v1+".0")

	// Roll back, pin, drop the other, prune.
	require.NoError(t, s.WriteDeployments(ctx, []*ostree.Deployment{list[1], list[0]}, nil))
	require.NoError(t, s.Load(ctx))
	require.Equal(t, v1, s.Deployments()[0].Checksum())
	require.NoError(t, s.DeploymentSetPinned(ctx, s.Deployments()[0], ostree.Pinned))
	require.NoError(t, s.Load(ctx))
	assert.True(t, s.Deployments()[0].IsPinned())
	require.NoError(t, s.WriteDeployments(ctx, s.Deployments()[:1], nil))
	require.NoError(t, s.Load(ctx))
	require.Len(t, s.Deployments(), 1)
	assert.NoDirExists(t, filepath.Join(s.Path(), list[0].Path()))

	r, err := s.Repo()
	require.NoError(t, err)
	assert.True(t, r.IsSystem())
	require.NoError(t, r.SetRefImmediate(ctx, "", "os/v1", ""))
	require.NoError(t, r.SetRefImmediate(ctx, "", "os/v2", ""))
	keep := ostree.NewReachableSet()
	require.NoError(t, r.TraverseCommitUnion(ctx, v2, 0, keep))
	stats, err := s.CleanupPruneRepo(ctx, 0, keep)
	require.NoError(t, err)
	assert.Zero(t, stats.Pruned)
	stats, err = s.CleanupPruneRepo(ctx, 0, nil)
	require.NoError(t, err)
	assert.Positive(t, stats.Pruned)
	assert.Positive(t, stats.Size)
	has1, err := r.HasObject(ctx, ostree.ObjectCommit, v1)
	require.NoError(t, err)
	has2, err := r.HasObject(ctx, ostree.ObjectCommit, v2)
	require.NoError(t, err)
	assert.True(t, has1, "commit of the deployment")
	assert.False(t, has2, "commit that nothing uses")
	fsck(t, r)
}

func TestSysrootOriginAndKargs(t *testing.T) {
	s, v1, _ := newSysroot(t)
	ctx := t.Context()
	deploy(t, s, v1, []string{"a"})
	d := s.Deployments()[0]
	require.NoError(t, s.WriteOriginFile(ctx, d, origin(t, "new")))
	b, err := os.ReadFile(filepath.Join(s.Path(), d.OriginPath()))
	require.NoError(t, err)
	assert.Equal(t, "[origin]\ncontainer-image-reference=new\n", string(b))
	o, err := d.Origin()
	require.NoError(t, err)
	assert.NotContains(t, string(o.Bytes()), "new", "what is in memory stays")
	made, err := s.DeployTreeWithOptions(ctx, "os", v1, nil, d, nil)
	require.NoError(t, err)
	o, err = made.Origin()
	require.NoError(t, err)
	assert.Nil(t, o, "no origin is not that of the merge deployment")
	assert.Empty(t, made.BootEntry().Get("linux"))
	assert.Len(t, made.BootChecksum(), 64)
	require.NoError(t, s.DeploymentSetKargs(ctx, d, []string{"b", "c=d"}))
	require.NoError(t, s.Load(ctx))
	assert.Equal(t, []string{"b", "c=d"}, s.Deployments()[0].KernelArgs().Strings()[:2])

	clone := d.Clone()
	require.NoError(t, clone.SetOrigin(nil))
	o, err = clone.Origin()
	require.NoError(t, err)
	assert.Nil(t, o)
	o, err = s.OriginNewFromRefspec("remote:ref")
	require.NoError(t, err)
	assert.Equal(t, "[origin]\nrefspec=remote:ref\n", string(o.Bytes()))
}

func TestSysrootErrors(t *testing.T) {
	s, v1, _ := newSysroot(t)
	ctx := t.Context()
	absent, err := ostree.NewSysroot(filepath.Join(t.TempDir(), "none"))
	require.NoError(t, err)
	require.ErrorIs(t, absent.Load(ctx), ostree.ErrNotFound)
	require.ErrorIs(t, absent.Cleanup(ctx), ostree.ErrNotLoaded)
	require.NoError(t, absent.Close())
	require.NoError(t, absent.Close())
	require.ErrorIs(t, absent.Load(ctx), ostree.ErrClosed)

	require.ErrorIs(t, s.InitOSName(ctx, "os"), ostree.ErrExists)
	require.ErrorIs(t, s.InitOSName(ctx, "a/b"), ostree.ErrInvalidArgument)
	_, err = s.DeployTreeWithOptions(ctx, "os", "nothex", nil, nil, nil)
	require.ErrorIs(t, err, ostree.ErrInvalidArgument)
	_, err = s.DeployTreeWithOptions(ctx, "os", strings.Repeat("0", 64), nil, nil, nil)
	require.ErrorIs(t, err, ostree.ErrNotFound)
	_, err = s.DeployTreeWithOptions(ctx, "", v1, nil, nil, nil)
	require.ErrorIs(t, err, ostree.ErrInvalidArgument)
	_, err = s.DeployTreeWithOptions(ctx, "nostateroot", v1, nil, nil, nil)
	require.Error(t, err) // ErrNotFound before 2023.8, without a code since
	require.ErrorContains(t, err, "nostateroot")
	_, err = s.StageTreeWithOptions(ctx, "os", v1, nil, nil, nil)
	require.ErrorContains(t, err, "Cannot stage deployment")
	require.ErrorIs(t, s.WriteOriginFile(ctx, nil, nil), ostree.ErrInvalidArgument)
	require.ErrorIs(t, s.SimpleWriteDeployment(ctx, "os", nil, nil, 0), ostree.ErrInvalidArgument)
}

func TestSysrootLock(t *testing.T) {
	s, _, _ := newSysroot(t)
	ctx := t.Context()
	require.NoError(t, s.Lock(ctx))
	require.ErrorIs(t, s.Lock(ctx), ostree.ErrLocked)
	other, err := ostree.NewSysroot(s.Path())
	require.NoError(t, err)
	defer other.Close()
	ok, err := other.TryLock(ctx)
	require.NoError(t, err)
	assert.False(t, ok)
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, other.Lock(short), context.DeadlineExceeded)
	time.AfterFunc(50*time.Millisecond, s.Unlock)
	require.NoError(t, other.Lock(ctx))
	require.NoError(t, other.Close()) // gives the lock back
	require.NoError(t, s.Lock(ctx))
	s.Unlock()
	s.Unlock()
}

func TestSysrootEnsureInitialized(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	s, err := ostree.NewSysroot(dir)
	require.NoError(t, err)
	defer s.Close()
	require.NoError(t, s.EnsureInitialized(t.Context()))
	require.NoError(t, s.Load(t.Context()))
	assert.Equal(t, dir, s.Path())
	assert.NotEqual(t, -1, s.FD())
	assert.DirExists(t, filepath.Join(dir, "ostree/repo/objects"))
	r1, err := s.Repo()
	require.NoError(t, err)
	r2, err := s.Repo()
	require.NoError(t, err)
	assert.Same(t, r1, r2)
	assert.Equal(t, ostree.ModeBare, r1.Mode())
	changed, err := s.LoadIfChanged(t.Context())
	require.NoError(t, err)
	assert.False(t, changed)
}

func TestMountNamespace(t *testing.T) {
	needRoot(t)
	if _, err := os.Stat("/run/ostree-booted"); err == nil {
		t.Skip("would change the running host")
	}
	ctx := t.Context()
	require.NoError(t, ostree.ReexecInMountNamespace(), "not booted from ostree: nothing to do")
	s, err := ostree.NewSysroot(t.TempDir())
	require.NoError(t, err)
	defer s.Close()
	require.NoError(t, s.EnsureInitialized(ctx))
	require.NoError(t, s.InitializeWithMountNamespace(ctx))
	require.NoError(t, s.SetMountNamespaceInUse())
	require.NoError(t, s.Initialize(ctx))
	require.NoError(t, s.Load(ctx))
	require.ErrorContains(t, s.SetMountNamespaceInUse(), "loaded already")
	require.ErrorContains(t, s.InitializeWithMountNamespace(ctx), "loaded already")
	require.NoError(t, s.PrepareCleanup(ctx))
	assert.Equal(t, 0, s.SubBootVersion())
	assert.Equal(t, 0, s.BootVersion())
}

func TestSysrootUnlockAndMutable(t *testing.T) {
	s, v1, _ := newSysroot(t)
	ctx := t.Context()
	deploy(t, s, v1, nil)
	d := s.Deployments()[0]
	require.NoError(t, s.DeploymentSetMutable(ctx, d, ostree.Mutable))
	require.ErrorIs(t, s.DeploymentUnlock(ctx, d, ostree.UnlockedNone), ostree.ErrInvalidArgument)
	assert.Equal(t, "hotfix", ostree.UnlockedHotfix.String())
	assert.Equal(t, "UnlockedState(9)", ostree.UnlockedState(9).String())
	require.NoError(t, s.DeploymentSetKargsInPlace(ctx, d, "x=y ostree=/z"))
	require.NoError(t, s.Load(ctx))
	assert.Equal(t, "x=y ostree=/z", s.Deployments()[0].KernelArgs().String())
	_, err := s.StageOverlayInitrd(ctx, -1)
	require.ErrorIs(t, err, ostree.ErrInvalidArgument)
}
