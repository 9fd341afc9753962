package objstore_test

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ostree-container/ostree-container/container/internal/object"
	"github.com/ostree-container/ostree-container/container/internal/objstore"
	"github.com/ostree-container/ostree-container/ostree"
)

// An Index knows what was published before, what is staged, and what came after it listed the directory; and nothing else.
func TestIndex(t *testing.T) {
	for _, backend := range []objstore.Backend{objstore.BackendAuto, objstore.BackendLibostree} {
		repo, err := ostree.CreateRepo(t.Context(), filepath.Join(t.TempDir(), "repo"), ostree.ModeBareUser)
		require.NoError(t, err)
		defer repo.Close()
		store, err := objstore.Open(t.Context(), repo, &objstore.Options{Backend: backend})
		require.NoError(t, err)
		defer func() { assert.NoError(t, store.Close()) }()
		index := store.Index()
		write := func(first, last int) (sums []object.Checksum) {
			for n := first; n < last; n++ {
				meta := &object.Meta{Mode: object.ModeRegular | 0o644}
				sum, err := store.File(t.Context(), object.Checksum{}, meta, "", []byte{byte(n), byte(n >> 8)})
				require.NoError(t, err)
				sums = append(sums, sum)
			}
			return sums
		}
		has := func(sum object.Checksum) bool {
			ok, err := index.Has(t.Context(), ostree.ObjectFile, sum)
			require.NoError(t, err)
			return ok
		}
		sums := write(0, 600)
		require.NoError(t, store.Publish(t.Context(), nil))
		for _, sum := range sums {
			assert.True(t, has(sum))
		}
		for _, sum := range write(600, 700) { // staged
			assert.True(t, has(sum))
		}
		require.NoError(t, store.Publish(t.Context(), nil)) // after it was listed
		for _, sum := range write(600, 700) {
			assert.True(t, has(sum))
		}
		for xx := range 256 {
			assert.False(t, has(object.Checksum{byte(xx), 1}))
		}
	}
}

// Asking for an object makes nothing: on a file system without inodes left the answer is no, not an error.
func TestIndexMakesNothing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "repo")
	repo, err := ostree.CreateRepo(t.Context(), dir, ostree.ModeBareUser)
	require.NoError(t, err)
	defer repo.Close()
	store, err := objstore.Open(t.Context(), repo, nil)
	require.NoError(t, err)
	defer func() { assert.NoError(t, store.Close()) }()
	ok, err := store.Index().Has(t.Context(), ostree.ObjectFile, object.Checksum{0xab})
	require.NoError(t, err)
	assert.False(t, ok)
	assert.ErrorIs(t, unix.Access(filepath.Join(dir, "objects", "ab"), unix.F_OK), unix.ENOENT)
}
