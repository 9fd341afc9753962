package layer_test

import (
	"bytes"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/container/internal/objstore"
	ti "github.com/ostree-container/ostree-container/container/internal/testimage"
	"github.com/ostree-container/ostree-container/container/internal/work"
	"github.com/ostree-container/ostree-container/container/layer"
	"github.com/ostree-container/ostree-container/ostree"
)

// refuse imports a layer that must be refused and returns the error.
func refuse(t *testing.T, opts *layer.Options, members ...ti.Member) error {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "repo")
	repo, err := ostree.CreateRepo(t.Context(), dir, ostree.ModeBareUser)
	require.NoError(t, err)
	defer repo.Close()
	store, err := objstore.Open(t.Context(), repo, nil)
	require.NoError(t, err)
	defer store.Close()
	pool := work.NewPool(2)
	defer pool.Close()
	_, err = layer.Import(t.Context(), store, pool, bytes.NewReader(ti.Tar(members...)), opts)
	require.Error(t, err)
	return err
}

// Directories that no member names count as entries, and their paths as names: one short member makes hundreds of them.
func TestUnnamedDirectoriesAreBounded(t *testing.T) {
	deep := func(n int) string { return fmt.Sprintf("usr/%d/%sfile", n, strings.Repeat("d/", 200)) }
	opts := &layer.Options{Limits: layer.Limits{Entries: 100}}
	err := refuse(t, opts, ti.File(deep(1), 0o644, ""), ti.File(deep(2), 0o644, ""))
	require.ErrorIs(t, err, layer.ErrLimit)
	require.ErrorContains(t, err, "100 entries")
	opts = &layer.Options{Limits: layer.Limits{NameBytes: 10_000}}
	err = refuse(t, opts, ti.File(deep(1), 0o644, ""), ti.File(deep(2), 0o644, ""))
	require.ErrorIs(t, err, layer.ErrLimit)
	require.ErrorContains(t, err, "10000 bytes of names")
}

// What directories have as attributes is held until the layer is read, so it is bounded in all.
func TestAttributesOfDirectoriesAreBounded(t *testing.T) {
	var members []ti.Member
	value := strings.Repeat("v", 60_000)
	for n := range 60 {
		d := ti.Dir(fmt.Sprintf("usr/%d", n), 0o755)
		for x := range 10 {
			d = d.With(fmt.Sprintf("user.%d", x), value)
		}
		members = append(members, d)
	}
	err := refuse(t, nil, members...)
	require.ErrorIs(t, err, layer.ErrLimit)
	require.ErrorContains(t, err, "attributes of directories")
}

// A hardlink to a changed object of the base obeys the rules of every other entry.
func TestChangedObjectCannotBeTheRootOrAWhiteout(t *testing.T) {
	object := ti.File("sysroot/ostree/repo/objects/ab/"+strings.Repeat("c", 62)+".file", 0o644, "changed")
	object.ModTime = time.Unix(1, 0)
	for name, says := range map[string]string{
		"./": "the root is not a directory", "/": "the root is not a directory", "usr/.wh.": "whiteout", "usr/.wh...": "whiteout", "usr/../x": `".."`,
	} {
		link := ti.Hardlink(name, object.Name)
		link.ModTime = time.Unix(1, 0)
		err := refuse(t, nil, object, link)
		require.ErrorContains(t, err, says, name)
		var at *layer.EntryError
		require.ErrorAs(t, err, &at)
		require.Equal(t, name, at.Entry)
	}
}
