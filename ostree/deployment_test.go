package ostree_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/keyfile"
	"github.com/ostree-container/ostree-container/ostree"
)

func TestNewDeployment(t *testing.T) {
	s, v1, _ := newSysroot(t)
	ctx := t.Context()
	deploy(t, s, v1, []string{"a"})
	real := s.Deployments()[0]
	d, err := s.NewDeployment(ostree.DeploymentName{Stateroot: "os", Checksum: v1, BootSerial: -1, Index: -1})
	require.NoError(t, err)
	assert.True(t, d.Equal(real))
	assert.Equal(t, real.Path(), d.Path())
	assert.Equal(t, -1, d.Index())
	assert.Equal(t, -1, d.BootSerial())
	assert.Empty(t, d.BootChecksum())
	assert.Empty(t, d.BootConfig("options"))
	assert.Empty(t, d.KernelArgs().String())
	d.SetIndex(3)
	d.SetBootSerial(2)
	assert.Equal(t, 3, d.Index())
	assert.Equal(t, 2, d.BootSerial())
	d.SetIndex(-7)
	assert.Equal(t, -1, d.Index())
	for _, bad := range []ostree.DeploymentName{
		{}, {Stateroot: "os"}, {Stateroot: "a/b", Checksum: v1}, {Stateroot: "os", Checksum: v1, DeploySerial: -1},
		{Stateroot: "os", Checksum: v1, BootChecksum: "x"}, {Stateroot: "os", Checksum: v1, Index: -2},
	} {
		_, err := s.NewDeployment(bad)
		require.ErrorIs(t, err, ostree.ErrInvalidArgument, "%+v", bad)
	}

	assert.Equal(t, filepath.Join(s.Path(), real.Path()), real.Dir())
	assert.FileExists(t, filepath.Join(real.Dir(), "usr/lib/os-release"))
	o, err := ostree.DeploymentOriginPath(real.Dir())
	require.NoError(t, err)
	assert.Equal(t, filepath.Join(s.Path(), real.OriginPath()), o)
	_, err = ostree.DeploymentOriginPath("/")
	require.ErrorIs(t, err, ostree.ErrInvalidArgument)

	_, err = s.RequireBootedDeployment()
	require.ErrorIs(t, err, ostree.ErrNotBooted)
	s.Unload()
	assert.Equal(t, -1, s.FD())
	assert.Nil(t, s.Deployments())
	_, err = s.RequireBootedDeployment()
	require.ErrorIs(t, err, ostree.ErrNotLoaded)
	require.NoError(t, s.Load(ctx))
	require.Len(t, s.Deployments(), 1)
	deploy(t, s, v1, nil)
	assert.Len(t, s.Deployments(), 2)
}

func TestRemoveTransientState(t *testing.T) {
	t.Parallel()
	f, err := keyfile.Parse([]byte("[origin]\nrefspec=a:b\nunlocked=hotfix\noverride-commit=x\n\n[libostree-transient]\npinned=true\n"))
	require.NoError(t, err)
	got, err := ostree.RemoveTransientState(f)
	require.NoError(t, err)
	assert.Equal(t, []string{"origin"}, got.Groups())
	keys, err := got.Keys("origin")
	require.NoError(t, err)
	assert.Equal(t, []string{"refspec"}, keys)
	assert.True(t, f.HasGroup("libostree-transient"), "the given one stays")
	got, err = ostree.RemoveTransientState(nil)
	require.NoError(t, err)
	assert.Nil(t, got)
}

// What only newer versions have: there it works, elsewhere the error says which one is needed.
func TestNewerThan2022(t *testing.T) {
	s, v1, _ := newSysroot(t)
	ctx := t.Context()
	deploy(t, s, v1, []string{"a"})
	d := s.Deployments()[0]
	for _, c := range []struct {
		feature ostree.Feature
		since   string
		year    int
		release int
		call    func() error
		works   func(t *testing.T, err error)
	}{
		{ostree.FeatureUpdatePostCopy, "2023.8", 2023, 8, func() error { return s.UpdatePostCopy(ctx) }, nil},
		{ostree.FeatureFinalizationLock, "2023.8", 2023, 8, func() error { return s.ChangeFinalization(ctx, d) }, func(t *testing.T, err error) {
			require.ErrorIs(t, err, ostree.ErrInvalidArgument)
			require.ErrorContains(t, err, "not staged")
		}},
		{ostree.FeatureFinalizationLock, "2023.8", 2023, 8, func() error {
			n, err := s.DeployTreeWithOptions(ctx, "os", v1, nil, nil, &ostree.DeployTreeOptions{Locked: true})
			if err == nil {
				assert.False(t, n.IsFinalizationLocked(), "only staged ones are")
			}
			return err
		}, nil},
		{ostree.FeatureEarlyPruneControl, "2023.8", 2023, 8, func() error {
			return s.WriteDeployments(ctx, s.Deployments(), &ostree.WriteDeploymentsOptions{DisableAutoEarlyPrune: true})
		}, nil},
		{ostree.FeatureKexec, "2025.1", 2025, 1, func() error { return s.DeploymentKexecLoad(ctx, d) }, func(t *testing.T, err error) {
			require.ErrorContains(t, err, "kexec", "the test's kernel is none")
		}},
		{ostree.FeatureSePolicyNullLog, "2025.2", 2025, 2, ostree.SetSePolicyNullLog, nil},
		{ostree.FeatureSoftReboot, "2025.3", 2025, 3, func() error { _, err := d.CanSoftReboot(); return err }, nil},
		{ostree.FeatureSoftReboot, "2025.3", 2025, 3, func() error { return s.ClearSoftReboot(ctx) }, nil},
		{ostree.FeatureSoftReboot, "2025.3", 2025, 3, func() error { return s.DeploymentSetSoftReboot(ctx, d, ostree.AllowKernelSkew) },
			func(t *testing.T, err error) { require.ErrorIs(t, err, ostree.ErrNotBooted) }},
	} {
		t.Run(string(c.feature), func(t *testing.T) {
			has := ostree.AtLeast(c.year, c.release)
			assert.Equal(t, has, ostree.Supports(c.feature))
			err := c.call()
			switch {
			case !has:
				require.ErrorIs(t, err, ostree.ErrUnsupported)
				require.ErrorContains(t, err, "needs libostree "+c.since)
			case c.works != nil:
				c.works(t, err)
			default:
				require.NoError(t, err)
			}
		})
	}
	assert.False(t, d.IsSoftRebootTarget())
	assert.False(t, d.IsFinalizationLocked())
	_, err := os.Stat(filepath.Join(s.Path(), d.Path()))
	require.NoError(t, err)
}
