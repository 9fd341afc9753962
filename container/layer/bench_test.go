package layer_test

import (
	"archive/tar"
	"bytes"
	"encoding/binary"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/container/internal/objstore"
	"github.com/ostree-container/ostree-container/container/internal/work"
	"github.com/ostree-container/ostree-container/container/layer"
	"github.com/ostree-container/ostree-container/ostree"
)

// BenchmarkImport imports a layer of 2,000 files in 100 directories, 32 MiB in all: new ones, and ones that are there already.
func BenchmarkImport(b *testing.B) {
	const files, size = 2000, 16 << 10
	archive := func(seed uint64) []byte {
		var out bytes.Buffer
		w := tar.NewWriter(&out)
		content := make([]byte, size)
		for n := range files {
			if n%20 == 0 {
				require.NoError(b, w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: fmt.Sprintf("usr/share/d%d/", n/20), Mode: 0o755}))
			}
			binary.LittleEndian.PutUint64(content, seed<<32|uint64(n))
			require.NoError(b, w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: fmt.Sprintf("usr/share/d%d/f%d", n/20, n), Mode: 0o644, Size: size}))
			_, err := w.Write(content)
			require.NoError(b, err)
		}
		require.NoError(b, w.Close())
		return out.Bytes()
	}
	for _, known := range []bool{false, true} {
		b.Run(map[bool]string{false: "new", true: "known"}[known], func(b *testing.B) {
			repo, err := ostree.CreateRepo(b.Context(), filepath.Join(b.TempDir(), "repo"), ostree.ModeBareUser)
			require.NoError(b, err)
			defer repo.Close()
			store, err := objstore.Open(b.Context(), repo, nil)
			require.NoError(b, err)
			defer store.Close()
			pool := work.NewPool(0)
			defer pool.Close()
			data := archive(0)
			b.SetBytes(files * size)
			b.ReportAllocs()
			for n := uint64(1); b.Loop(); n++ {
				if !known {
					b.StopTimer()
					data = archive(n)
					b.StartTimer()
				}
				_, err := layer.Import(b.Context(), store, pool, bytes.NewReader(data), nil)
				require.NoError(b, err)
			}
		})
	}
}
