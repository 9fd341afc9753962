package ostree_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/ostree"
)

func TestVariantDict(t *testing.T) {
	t.Parallel()
	d := ostree.NewVariantDict().
		SetString("z", "last").SetUint64("big", 1<<63).SetStrv("list", []string{"a", "", "ü"}).SetStrv("none", nil).
		SetBool("b", true).SetBytes("raw", []byte{0, 255}).SetBytes("empty", nil).SetInt32("i", -5).SetUint32("u", 7).
		SetString("gone", "x").Set("gone", nil)
	assert.Equal(t, 9, d.Len())
	v, err := d.Build()
	require.NoError(t, err)
	want := `{'b': <true>, 'big': <uint64 9223372036854775808>, 'empty': <@ay []>, 'i': <-5>, 'list': <['a', '', 'ü']>, 'none': <@as []>, 'raw': <[byte 0x00, 0xff]>, 'u': <uint32 7>, 'z': <'last'>}`
	assert.Equal(t, want, v.Text())
	assert.Equal(t, "a{sv}", v.TypeString())
	assert.Equal(t, []string{"b", "big", "empty", "i", "list", "none", "raw", "u", "z"}, v.Keys())
	parsed, err := ostree.ParseVariant("a{sv}", want)
	require.NoError(t, err)
	assert.True(t, v.Equal(parsed))
	assert.Equal(t, parsed.Bytes(), v.Bytes())
	copied, err := ostree.VariantFromBytes("a{sv}", v.Bytes())
	require.NoError(t, err)
	assert.True(t, v.Equal(copied))
	assert.True(t, copied.IsNormalForm())
	again, err := ostree.VariantDictOf(v)
	require.NoError(t, err)
	rebuilt, err := again.Build()
	require.NoError(t, err)
	assert.True(t, v.Equal(rebuilt))

	s, ok, err := v.LookupString("z")
	require.NoError(t, err)
	assert.True(t, ok)
	assert.Equal(t, "last", s)
	n, ok, err := v.LookupUint64("big")
	require.NoError(t, err)
	assert.True(t, ok)
	assert.Equal(t, uint64(1<<63), n)
	list, _, err := v.LookupStrv("list")
	require.NoError(t, err)
	assert.Equal(t, []string{"a", "", "ü"}, list)
	b, _, err := v.LookupBool("b")
	require.NoError(t, err)
	assert.True(t, b)
	raw, _, err := v.LookupBytes("raw")
	require.NoError(t, err)
	assert.Equal(t, []byte{0, 255}, raw)
	raw, ok, err = v.LookupBytes("empty")
	require.NoError(t, err)
	assert.True(t, ok)
	assert.Empty(t, raw)
	_, ok, err = v.LookupString("nope")
	require.NoError(t, err)
	assert.False(t, ok)
	_, ok, err = v.LookupString("big")
	require.ErrorIs(t, err, ostree.ErrVariantType)
	require.EqualError(t, err, `key "big": wrong variant type: want "s", found "t"`)
	assert.False(t, ok)
	_, ok = v.Lookup("a\x00b")
	assert.False(t, ok)
	i, ok := v.Lookup("i")
	require.True(t, ok)
	in, err := i.Int64()
	require.NoError(t, err)
	assert.Equal(t, int64(-5), in)
}

func TestVariantDictEmpty(t *testing.T) {
	t.Parallel()
	v, err := (&ostree.VariantDict{}).Build()
	require.NoError(t, err)
	assert.Equal(t, "@a{sv} {}", v.Text())
	assert.Empty(t, v.Bytes())
	assert.Nil(t, v.Child(0))
	_, ok := v.Lookup("x")
	assert.False(t, ok)
	var none *ostree.Variant
	_, ok = none.Lookup("x")
	assert.False(t, ok)
	assert.Empty(t, none.TypeString())
}

func TestVariantBad(t *testing.T) {
	t.Parallel()
	for _, d := range []*ostree.VariantDict{
		ostree.NewVariantDict().SetString("k", "a\x00b"),
		ostree.NewVariantDict().SetString("k", "\xff"),
		ostree.NewVariantDict().SetString("\xff", "v"),
		ostree.NewVariantDict().SetStrv("k", []string{"ok", "\xff"}),
	} {
		_, err := d.Build()
		require.ErrorIs(t, err, ostree.ErrInvalidArgument)
	}
	for _, typ := range []string{"", "a", "(", "*", "a{sv", "s s", "nonsense\x00"} {
		_, err := ostree.VariantFromBytes(typ, nil)
		require.ErrorIs(t, err, ostree.ErrVariantType, typ)
	}
	_, err := ostree.ParseVariant("", "{'a': ")
	require.Error(t, err)
	// Bad bytes read as something; nothing crashes.
	v, err := ostree.VariantFromBytes("(a{sv}as)", []byte{1, 2, 3, 250, 251, 252})
	require.NoError(t, err)
	assert.False(t, v.IsNormalForm())
	assert.NotPanics(t, func() { _ = v.Text(); _ = v.Child(0).Keys(); _, _ = v.Child(1).Strv() })
}

func TestVariantString(t *testing.T) {
	t.Parallel()
	s, err := ostree.NewStringVariant("plain 'text'")
	require.NoError(t, err)
	assert.Equal(t, "plain 'text'", s.String())
	assert.Equal(t, `"plain 'text'"`, s.Text())
	assert.Equal(t, "5", ostree.NewUint64Variant(5).String())
	assert.Equal(t, "uint64 5", ostree.NewUint64Variant(5).Text())
	n, err := ostree.NewInt64Variant(-1 << 63).Int64()
	require.NoError(t, err)
	assert.Equal(t, int64(-1<<63), n)
}
