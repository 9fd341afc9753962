package objstore_test

import (
	"bytes"
	"encoding/binary"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/container/internal/object"
	"github.com/ostree-container/ostree-container/container/internal/objstore"
	"github.com/ostree-container/ostree-container/ostree"
)

func benchStore(b *testing.B, backend objstore.Backend) *objstore.Store {
	b.Helper()
	repo, err := ostree.CreateRepo(b.Context(), filepath.Join(b.TempDir(), "repo"), ostree.ModeBareUser)
	require.NoError(b, err)
	store, err := objstore.Open(b.Context(), repo, &objstore.Options{Backend: backend})
	require.NoError(b, err)
	b.Cleanup(func() {
		require.NoError(b, store.Close())
		require.NoError(b, repo.Close())
	})
	return store
}

// BenchmarkWrite stores new objects without publishing them; with libostree's calls beside.
func BenchmarkWrite(b *testing.B) {
	meta := &object.Meta{Mode: object.ModeRegular | 0o644}
	for name, backend := range map[string]objstore.Backend{"direct": objstore.BackendAuto, "libostree": objstore.BackendLibostree} {
		for size, text := range map[int]string{4 << 10: "4KiB", 8 << 20: "8MiB"} {
			b.Run(text+"/"+name, func(b *testing.B) {
				store := benchStore(b, backend)
				content := make([]byte, size)
				b.SetBytes(int64(size))
				b.ReportAllocs()
				for n := uint64(0); b.Loop(); n++ {
					binary.LittleEndian.PutUint64(content, n)
					var err error
					if size > 256<<10 {
						_, err = store.Stream(b.Context(), object.Checksum{}, meta, int64(size), bytes.NewReader(content))
					} else {
						_, err = store.File(b.Context(), object.Checksum{}, meta, "", content)
					}
					require.NoError(b, err)
				}
			})
		}
	}
}

// BenchmarkPublish makes 1,000 small objects durable.
func BenchmarkPublish(b *testing.B) {
	store := benchStore(b, objstore.BackendAuto)
	meta := &object.Meta{Mode: object.ModeRegular | 0o644}
	content := make([]byte, 4<<10)
	n := uint64(0)
	for b.Loop() {
		b.StopTimer()
		for range 1000 {
			n++
			binary.LittleEndian.PutUint64(content, n)
			_, err := store.File(b.Context(), object.Checksum{}, meta, "", content)
			require.NoError(b, err)
		}
		b.StartTimer()
		require.NoError(b, store.Publish(b.Context(), nil))
	}
}
