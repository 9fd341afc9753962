package container_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/container"
	ti "github.com/ostree-container/ostree-container/container/internal/testimage"
	"github.com/ostree-container/ostree-container/ostree"
)

// An encapsulated base, its whiteouts and its labels: the layers of a sound image always agree with it.
func TestVerifyImageOfBase(t *testing.T) {
	t.Parallel()
	ti.NeedTool(t, "ostree")
	base := ti.EncapsulatedBase(t, ti.BaseOptions{Bootable: true, Components: chunks})
	w := ti.Image{Base: &base.Base, Layers: stack()}.Write(t, t.TempDir(), "latest")
	repo, _ := newRepo(t, ostree.ModeBareUser)
	mustPull(t, repo, w.Ref, container.ImporterOptions{})
	v, err := container.VerifyImage(t.Context(), repo, imageName(t, w.Ref))
	require.NoError(t, err)
	assert.Empty(t, v.OtherCorrupted)
	assert.Greater(t, v.Verified, 5)
}
