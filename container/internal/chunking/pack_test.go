package chunking

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func component(n int, version string, frequency uint32, size uint64) *Component {
	return &Component{ID: fmt.Sprintf("pkg%d.%s", n, version), Name: fmt.Sprintf("pkg%d", n), Size: size, Frequency: frequency}
}

func show(bins []Bin) string {
	var out []string
	for _, b := range bins {
		var ids []string
		for _, c := range b {
			ids = append(ids, strings.TrimPrefix(c.ID, "pkg"))
		}
		out = append(out, strings.Join(ids, " "))
	}
	return strings.Join(out, " | ")
}

// TestPackAsReference: components and bins are those of the reference's own test of three builds in a row.
func TestPackAsReference(t *testing.T) {
	t.Parallel()
	first := []*Component{
		component(1, "0", AlwaysChanges, 100000), component(2, "0", AlwaysChanges, 99999), component(3, "0", 30, 99998),
		component(4, "0", 100, 99997), component(10, "0", 51, 1000), component(8, "0", 50, 500), component(9, "0", 1, 200),
		component(11, "0", 100000, 199), component(6, "0", 30, 2), component(7, "0", 30, 1),
	}
	bins, err := Pack(first, 6)
	require.NoError(t, err)
	assert.Equal(t, "3.0 | 4.0 | 6.0 7.0 11.0 | 9.0 8.0 10.0 | 1.0 2.0 | ", show(bins))

	second := slices.Clone(first)
	second[0] = component(1, "1", AlwaysChanges, 100000)  // updated
	second[len(second)-1] = component(5, "0", 42, 100000) // 7 is gone, 5 is new
	bins, ok := PackLike(second, 6, previous(bins))
	require.True(t, ok)
	assert.Equal(t, "3.0 | 4.0 | 6.0 11.0 | 9.0 8.0 10.0 | 1.1 2.0 | 5.0", show(bins))

	third := append(slices.Clone(second[:len(second)-1]), component(5, "1", 42, 100000), component(12, "0", 42, 100000))
	bins, ok = PackLike(third, 6, previous(bins))
	require.True(t, ok)
	assert.Equal(t, "3.0 | 4.0 | 6.0 11.0 | 9.0 8.0 10.0 | 1.1 2.0 | 5.1 12.0", show(bins))
}

// previous is what a build's annotations say; the order inside a bin is that of the bin, as in the reference's test.
func previous(bins []Bin) [][]string {
	out := make([][]string, len(bins))
	for i, b := range bins {
		for _, c := range b {
			out[i] = append(out[i], c.Name)
		}
	}
	return out
}

func TestPackFew(t *testing.T) {
	t.Parallel()
	for _, limit := range []int{4, 7, 64} {
		bins, err := Pack(nil, limit)
		require.NoError(t, err)
		assert.Empty(t, bins)
		one := []*Component{component(1, "0", 1, 1)}
		bins, err = Pack(one, limit)
		require.NoError(t, err)
		assert.Equal(t, "1.0 | ", show(bins))
	}
	for _, limit := range []int{-1, 0, 3} {
		_, err := Pack(nil, limit)
		require.ErrorContains(t, err, "at least 4")
	}
}

// TestPackLosesNothing: whatever the sizes, each component is in exactly one bin, and there are not too many bins.
func TestPackLosesNothing(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(3, 4))
	for n := range 3000 {
		count, limit := rng.IntN(200), 4+rng.IntN(70)
		var list []*Component
		for i := range count {
			c := component(i, "0", uint32(rng.IntN(5)), uint64(rng.ExpFloat64()*float64(rng.IntN(1_000_000))))
			switch {
			case n%3 == 0:
				c.Size, c.Frequency = 1, 1
			case n%5 == 0 && rng.IntN(2) == 0:
				c.Frequency = AlwaysChanges
			}
			list = append(list, c)
		}
		slices.SortStableFunc(list, func(a, b *Component) int {
			return int(min(max(int64(b.Size)-int64(a.Size), -1), 1))
		})
		bins, err := Pack(list, limit)
		require.NoError(t, err)
		require.LessOrEqual(t, len(bins), limit)
		seen := map[*Component]int{}
		for _, b := range bins {
			for _, c := range b {
				seen[c]++
			}
		}
		require.Len(t, seen, count)
		for _, times := range seen {
			require.Equal(t, 1, times)
		}
		if count > 0 {
			require.Empty(t, bins[len(bins)-1], "the last bin is for new packages")
			again, ok := PackLike(list, limit, previous(bins))
			require.True(t, ok)
			require.Equal(t, show(bins), show(again), "the same components stay where they are")
		}
	}
}

func TestPackLikeRefuses(t *testing.T) {
	t.Parallel()
	list := []*Component{component(1, "0", 1, 1), component(2, "0", 1, 1)}
	for name, prev := range map[string][][]string{
		"nothing": nil, "too many": {{"a"}, {"b"}, {"c"}, {"d"}, {}}, "one twice": {{"pkg1"}, {"pkg1"}},
	} {
		_, ok := PackLike(list, 4, prev)
		assert.False(t, ok, name)
	}
	_, ok := PackLike(append(list, component(1, "1", 1, 1)), 4, [][]string{{"pkg1"}, {}})
	assert.False(t, ok, "two of one name")
}

func TestLabels(t *testing.T) {
	t.Parallel()
	var b Bin
	assert.Equal(t, "Reserved for new packages", b.Label())
	assert.Empty(t, b.Names())
	assert.Empty(t, ParseNames(""))
	for i := range 6 {
		b = append(b, component(9-i, "0", 1, 1))
	}
	assert.Equal(t, "pkg9.0", b[:1].Label())
	assert.Equal(t, "pkg9.0 and pkg8.0 and pkg7.0 and pkg6.0 and pkg5.0", b[:5].Label())
	assert.Equal(t, "6 components", b.Label())
	assert.Equal(t, "pkg7,pkg8,pkg9", b[:3].Names())
	assert.Equal(t, []string{"pkg7", "pkg8", "pkg9"}, ParseNames("pkg7,pkg8,pkg9"))
}

func TestStatistics(t *testing.T) {
	t.Parallel()
	assert.InDelta(t, 13.75, mean([]uint64{7, 4, 30, 14}), 1e-9)
	assert.InDelta(t, 1.5, deviation([]uint64{1, 4}), 1e-9)
	m, d := medianDeviation([]uint64{1, 2, 3, 3, 4, 4, 4, 5, 5, 6, 6, 6, 7, 7, 7, 8, 9, 12, 52, 90})
	assert.InDelta(t, 6.0, m, 1e-9)
	assert.InDelta(t, 2.0, d, 1e-9)
}

func TestReadContentMeta(t *testing.T) {
	t.Parallel()
	m, err := ReadContentMeta(strings.NewReader(`{"version":1,"created":"2024-01-02T03:04:05Z","labels":{"a":"b"},"more":1,
		"layers":{"zlib-1":"zlib","bash-5":"bash","unpackaged":"rest"},"mapping":{"00":"bash-5"},"ordered":false}`))
	require.NoError(t, err)
	assert.Equal(t, []ContentLayer{{"zlib-1", "zlib"}, {"bash-5", "bash"}, {"unpackaged", "rest"}}, m.Layers, "in their order")
	assert.Equal(t, "2024-01-02T03:04:05Z", m.Created)
	assert.Equal(t, map[string]string{"a": "b"}, m.Labels)
	c := m.Components()
	assert.Equal(t, uint32(1), c[0].Frequency)
	assert.Equal(t, uint32(AlwaysChanges), c[2].Frequency)

	for text, want := range map[string]string{
		``: "EOF", `[]`: "cannot unmarshal", `{}`: "version", `{"version":2,"layers":{},"mapping":{}}`: "Unsupported metadata version: 2",
		`{"version":1,"layers":{},"mapping":{},"ordered":true}`: "Ordered mapping not currently supported.",
		`{"version":1,"mapping":{}}`:                            "layers", `{"version":1,"layers":{}}`: "mapping", `{"version":1,"layers":{"a":1},"mapping":{}}`: "cannot unmarshal",
		`{"version":1,"layers":{},"mapping":{}} x`: "trailing", `{"version":1,"layers":[],"mapping":{}}`: "cannot unmarshal",
	} {
		_, err := ReadContentMeta(strings.NewReader(text))
		require.ErrorIs(t, err, ErrContentMeta, text)
		assert.ErrorContains(t, err, want, text)
	}
}
