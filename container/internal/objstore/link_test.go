package objstore

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/container/internal/object"
	"github.com/ostree-container/ostree-container/ostree"
)

// More objects of one prefix than one call links: what became of each is said, those that are there stay, those that cannot be linked
// (directories) do not end it, and the first that is missing in the source does, with its name.
func TestPrefixLinksInBatches(t *testing.T) {
	const xx, total = 0xab, 2*linkBatch + 100
	objects := make([]Object, total)
	for n := range objects {
		objects[n] = Object{Sum: object.Checksum{0: xx}, Type: ostree.ObjectFile}
		binary.BigEndian.PutUint32(objects[n].Sum[4:], uint32(n))
	}
	open := func() (*ostree.Repo, string) {
		dir := filepath.Join(t.TempDir(), "repo")
		repo, err := ostree.CreateRepo(t.Context(), dir, ostree.ModeBareUser)
		require.NoError(t, err)
		t.Cleanup(func() { assert.NoError(t, repo.Close()) })
		require.NoError(t, os.Mkdir(filepath.Join(dir, "objects", "ab"), 0o755))
		return repo, dir
	}
	put := func(dir string, o Object, text string) {
		name := o.Sum.String()
		require.NoError(t, os.WriteFile(filepath.Join(dir, "objects", name[:2], name[2:]+".file"), []byte(text), 0o644))
	}
	fails := func(n int) bool {
		return n == 0 || n == 5 || n == linkBatch-1 || n == linkBatch || n > linkBatch+20 && n < linkBatch+40
	}
	from, fromDir := open()
	to, toDir := open()
	for n, o := range objects {
		switch name := o.Sum.String(); {
		case fails(n):
			require.NoError(t, os.Mkdir(filepath.Join(fromDir, "objects", name[:2], name[2:]+".file"), 0o755))
		case n != total-50:
			put(fromDir, o, "source")
		}
		if n%100 == 7 {
			put(toDir, o, "there")
		}
	}
	store, err := Open(t.Context(), to, nil)
	require.NoError(t, err)
	defer func() { assert.NoError(t, store.Close()) }()
	linker, err := store.NewLinker(from)
	require.NoError(t, err)
	defer func() { assert.NoError(t, linker.Close()) }()
	p, err := linker.Prefix(t.Context(), xx)
	require.NoError(t, err)
	defer func() { assert.NoError(t, p.Close()) }()

	stopped, cancel := context.WithCancelCause(t.Context())
	why := errors.New("enough")
	cancel(why)
	became, err := p.Link(stopped, objects)
	require.ErrorIs(t, err, why)
	assert.Empty(t, became)

	became, err = p.Link(t.Context(), objects)
	require.ErrorIs(t, err, ostree.ErrNotFound)
	assert.ErrorContains(t, err, objects[total-50].Sum.String())
	require.Len(t, became, total-50)
	for n, o := range objects {
		want, text := Linked, "source"
		switch {
		case fails(n):
			assert.Equal(t, NotLinked, became[n], n)
			continue
		case n%100 == 7:
			want, text = Present, "there"
		}
		name := o.Sum.String()
		data, err := os.ReadFile(filepath.Join(toDir, "objects", name[:2], name[2:]+".file"))
		if n >= total-50 && want != Present {
			assert.ErrorIs(t, err, os.ErrNotExist, n)
			continue
		}
		assert.NoError(t, err)
		assert.Equal(t, text, string(data), n)
		if n < total-50 {
			assert.Equal(t, want, became[n], n)
		}
	}
}
