package container_test

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/container"
	ti "github.com/ostree-container/ostree-container/container/internal/testimage"
	"github.com/ostree-container/ostree-container/ostree"
)

// What the functions among the options decide is decided while nobody else can change the sysroot.
func TestDeployHooks(t *testing.T) {
	t.Parallel()
	s := newSystem(t, "default")
	other := openSysroot(t, s.dir)
	dir := t.TempDir()
	var seen []string
	locked := func(name string) {
		seen = append(seen, name)
		ok, err := other.TryLock(t.Context())
		require.NoError(t, err)
		if !assert.False(t, ok, "%s is called without the lock", name) {
			other.Unlock()
		}
	}
	var failure error
	opts := container.DeployOptions{
		Unless: func(*container.LayeredImageState) (bool, error) { locked("unless"); return false, nil },
		MergeKargs: func(state *container.LayeredImageState, merge *ostree.Deployment) ([]string, error) {
			locked("kargs")
			assert.NotEmpty(t, state.MergeCommit)
			if merge == nil {
				return []string{"first"}, failure
			}
			return append(merge.KernelArgs().Strings(), "next"), failure
		},
		Then: func() { locked("then"); assert.Contains(t, s.status(), s.Deployments()[0].Checksum()) },
	}
	s.mustDeploy(osImage("1").Write(t, dir, "latest").Ref, opts)
	assert.Equal(t, []string{"unless", "kargs", "then"}, seen)
	assert.Equal(t, []string{"first"}, s.options())
	two := s.mustDeploy(osImage("2").Write(t, dir, "latest").Ref, opts)
	assert.Equal(t, []string{"first next", "first"}, s.options())
	assert.Equal(t, two.MergeCommit, s.Deployments()[0].Checksum())

	seen, failure = nil, errors.New("not this one")
	_, err := s.deploy(osImage("3").Write(t, dir, "latest").Ref, opts)
	require.ErrorIs(t, err, failure)
	assert.Equal(t, []string{"unless", "kargs"}, seen)
	assert.Equal(t, []string{"first next", "first"}, s.options(), "nothing is deployed")
	opts.MergeKargs = func(*container.LayeredImageState, *ostree.Deployment) ([]string, error) { return nil, nil }
	s.mustDeploy(osImage("3").Write(t, dir, "latest").Ref, opts)
	assert.Equal(t, "first next", s.options()[0], "those of the merge deployment are kept")
	opts.Kargs = []string{"given"}
	opts.MergeKargs = func(*container.LayeredImageState, *ostree.Deployment) ([]string, error) {
		t.Error("asked, although they are given")
		return nil, nil
	}
	s.mustDeploy(osImage("4").Write(t, dir, "latest").Ref, opts)
	assert.Equal(t, "given", s.options()[0])
	ti.Run(t, "ostree", "fsck", "--quiet", "--repo="+s.repo)
}
