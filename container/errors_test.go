package container_test

import (
	"io"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/container"
	ti "github.com/ostree-container/ostree-container/container/internal/testimage"
	"github.com/ostree-container/ostree-container/container/objectset"
)

// Whatever reads a commit that lacks an object, the error is the one ErrIncomplete.
func TestErrIncompleteIsOneError(t *testing.T) {
	t.Parallel()
	ti.NeedTool(t, "ostree")
	source, commit := commitTar(t, ti.BaseMembers())
	base := t.TempDir() + "/base"
	_, err := container.Encapsulate(t.Context(), source, commit, ociRef(t, base), nil)
	require.NoError(t, err)
	repo, dir := newRepo(t, modeHere())
	mustPull(t, repo, "oci:"+base, container.ImporterOptions{})
	require.NoError(t, os.Remove(objectPath(dir, checksumOf(t, dir, commit, "/usr/share/zz"), "file")))

	dest := ociRef(t, t.TempDir()+"/out")
	other, _ := newRepo(t, modeHere())
	for name, read := range map[string]func() error{
		"Encapsulate": func() error {
			_, err := container.Encapsulate(t.Context(), repo, commit, dest, nil)
			return err
		},
		"ExportTar": func() error { return container.ExportTar(t.Context(), repo, commit, io.Discard) },
		"Reexport": func() error {
			_, err := container.Reexport(t.Context(), repo, imageName(t, "oci:"+base), dest, nil)
			return err
		},
		"Copy": func() error {
			_, err := container.Copy(t.Context(), repo, imageName(t, "oci:"+base), other, nil)
			return err
		},
	} {
		err := read()
		require.ErrorIs(t, err, container.ErrIncomplete, name)
		require.ErrorIs(t, err, objectset.ErrIncomplete, name)
	}
}
