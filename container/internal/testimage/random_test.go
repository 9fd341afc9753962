package testimage_test

import (
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"

	"github.com/ostree-container/ostree-container/container/internal/testimage"
)

func TestRandomIsReproducible(t *testing.T) {
	opts := testimage.RandomOptions{Features: testimage.AllFeatures()}
	for seed := range uint64(20) {
		a, b := testimage.Random(seed, opts), testimage.Random(seed, opts)
		assert.GreaterOrEqual(t, len(a), 2)
		assert.LessOrEqual(t, len(a), 6)
		for i := range a {
			assert.Equal(t, a[i].Compression, b[i].Compression)
			assert.Equal(t, digest.FromBytes(a[i].TarBytes()), digest.FromBytes(b[i].TarBytes()))
		}
	}
}
