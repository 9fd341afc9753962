package objstore

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/container/internal/object"
	"github.com/ostree-container/ostree-container/container/internal/oracle"
	"github.com/ostree-container/ostree-container/ostree"
)

// Objects are the same whether they wait for a publish as open files or, when there are too many, under a name; several goroutines
// may write the same ones; and what is given up leaves neither descriptors nor files.
func TestHeldFiles(t *testing.T) {
	for _, limit := range []int64{0, 7, heldFiles} {
		t.Run(fmt.Sprint(limit), func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "repo")
			repo, err := ostree.CreateRepo(t.Context(), dir, ostree.ModeBareUser)
			require.NoError(t, err)
			defer repo.Close()
			descriptors := func() int {
				entries, err := os.ReadDir("/proc/self/fd")
				require.NoError(t, err)
				return len(entries)
			}
			objects := func() []string {
				names, err := filepath.Glob(filepath.Join(dir, "objects", "*", "*"))
				require.NoError(t, err)
				return names
			}
			warm, err := Open(t.Context(), repo, nil) // the repository keeps a descriptor of its lock
			require.NoError(t, err)
			require.NoError(t, warm.Close())
			before, temporary := descriptors(), listTmp(t, dir)
			s, err := Open(t.Context(), repo, nil)
			require.NoError(t, err)
			s.backend.(*direct).maxHeld = limit
			write := func(n int) object.Checksum {
				m := &object.Meta{UID: 3, GID: 4, Mode: object.ModeRegular | 0o4751}
				sum, err := s.File(t.Context(), object.Checksum{}, m, "", []byte(fmt.Sprint(n)))
				assert.NoError(t, err)
				return sum
			}
			var wg sync.WaitGroup
			for range 4 {
				wg.Go(func() {
					for n := range 50 {
						write(n)
					}
				})
			}
			wg.Wait()
			require.NoError(t, s.Publish(t.Context(), nil))
			assert.Zero(t, held.Load())
			assert.Empty(t, s.backend.(*direct).pending)
			assert.Len(t, objects(), 50)
			for n := range 50 {
				f, err := repo.LoadFile(t.Context(), write(n).String())
				require.NoError(t, err)
				assert.EqualValues(t, 0o104751, f.Info.Mode)
				assert.NoError(t, f.Close())
			}
			given := write(1000)
			ok, err := s.Has(t.Context(), ostree.ObjectFile, given)
			require.NoError(t, err)
			assert.True(t, ok, "found before it is published")
			require.NoError(t, s.Close())
			assert.Equal(t, before, descriptors())
			assert.Len(t, objects(), 50)
			assert.Equal(t, temporary, listTmp(t, dir))
			oracle.Fsck(t, dir)
		})
	}
}

// A publish that fails in the middle loses nothing: the next one moves what is left.
func TestPublishAfterOneThatFailed(t *testing.T) {
	for _, in := range []int{17, 200, 431} {
		dir := filepath.Join(t.TempDir(), "repo")
		repo, err := ostree.CreateRepo(t.Context(), dir, ostree.ModeBareUser)
		require.NoError(t, err)
		s, err := Open(t.Context(), repo, nil)
		require.NoError(t, err)
		var sums []object.Checksum
		for n := range 500 {
			sum, err := s.File(t.Context(), object.Checksum{}, &object.Meta{Mode: object.ModeRegular | 0o644}, "", []byte(fmt.Sprint(n)))
			require.NoError(t, err)
			sums = append(sums, sum)
		}
		blocked := filepath.Join(dir, "objects", sums[in].String()[:2])
		require.NoError(t, os.WriteFile(blocked, nil, 0o600)) // a file where a directory should be
		require.ErrorContains(t, s.Publish(t.Context(), nil), "not a directory")
		require.NoError(t, os.Remove(blocked))
		s.backend.(*direct).known[sums[in][0]].Store(false)
		for _, sum := range sums {
			ok, err := s.Has(t.Context(), ostree.ObjectFile, sum)
			require.NoError(t, err)
			assert.True(t, ok, "waits, or is in place")
		}
		require.NoError(t, s.Publish(t.Context(), nil))
		names, err := filepath.Glob(filepath.Join(dir, "objects", "*", "*.file"))
		require.NoError(t, err)
		assert.Len(t, names, len(sums))
		assert.Zero(t, held.Load())
		require.NoError(t, s.Close())
		require.NoError(t, repo.Close())
	}
}

func listTmp(t *testing.T, repo string) []string {
	names, err := filepath.Glob(filepath.Join(repo, "tmp", "*"))
	require.NoError(t, err)
	return names
}
