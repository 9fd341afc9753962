package keyfile_test

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/keyfile"
)

func readConfig(b *testing.B) []byte {
	b.Helper()
	data, err := os.ReadFile("testdata/corpus/repo-config.txt")
	require.NoError(b, err)
	return data
}

func BenchmarkParse(b *testing.B) {
	data := readConfig(b)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := keyfile.Parse(data); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkBytes(b *testing.B) {
	f, err := keyfile.Parse(readConfig(b))
	require.NoError(b, err)
	b.SetBytes(int64(len(f.Bytes())))
	b.ReportAllocs()
	for b.Loop() {
		f.Bytes()
	}
}

func BenchmarkString(b *testing.B) {
	f, err := keyfile.Parse(readConfig(b))
	require.NoError(b, err)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := f.String("core", "mode"); err != nil {
			b.Fatal(err)
		}
	}
}
