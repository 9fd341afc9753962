package object

import (
	"encoding/binary"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Arrays of elements of variable size, by the framing offsets at their end (GVariant specification, 2.5.3 "Arrays").
func TestArray(t *testing.T) {
	long := strings.Repeat("x", 300)
	for _, c := range []struct {
		name, data string
		want       []string // nil with ok: empty
		ok         bool
	}{
		{"empty", "", nil, true},
		{"one", "abc\x03", []string{"abc"}, true},
		{"two", "abcde\x03\x05", []string{"abc", "de"}, true},
		{"empty elements", "\x00\x00", []string{"", ""}, true},
		{"first empty", "ab\x00\x02", []string{"", "ab"}, true},
		{"two bytes wide", long + "\x2c\x01", []string{long}, true},
		{"offset beyond", "abc\x09", nil, false},
		{"offsets fall", "abcd\x03\x02\x04", nil, false},
		{"offset into the offsets", "ab\x04\x02", nil, false},
		{"rest of an offset", long + "\x2b\x01", nil, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			var text []string
			a, err := arrayOf([]byte(c.data))
			for range a.n {
				var elem []byte
				if elem, err = a.next(); err != nil {
					break
				}
				text = append(text, string(elem))
			}
			if !c.ok {
				require.Error(t, err)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, c.want, text)
		})
	}
}

// A dirtree that claims more entries than there is room for takes no memory for them.
func TestDirTreeOfEmptyElements(t *testing.T) {
	const size = 1 << 20
	zeros := make([]byte, size)
	for name, data := range map[string][]byte{
		"files":          binary.LittleEndian.AppendUint32(zeros, size),
		"directories":    binary.LittleEndian.AppendUint32(zeros, 0),
		"half are files": binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(zeros[:size-4:size-4], size/2), size),
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := DecodeDirTree(data)
		runtime.ReadMemStats(&after)
		require.Error(t, err, name)
		assert.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(2*size), name)
	}
}
