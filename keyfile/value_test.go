package keyfile_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/keyfile"
	"github.com/ostree-container/ostree-container/keyfile/internal/glibkeyfile"
)

// TestSetters compares the text that each typed setter writes with GLib's.
func TestSetters(t *testing.T) {
	t.Parallel()
	f, g := keyfile.New(), glibkeyfile.New()
	check := func() {
		t.Helper()
		require.Equal(t, string(g.Data()), string(f.Bytes()))
	}
	for _, s := range []string{"", " ", "a b ", "\t\ta\tb", "\n x", "\r\n", `\s`, ";;", "é", "\v"} {
		g.SetString("s", "k", s)
		require.NoError(t, f.SetString("s", "k", s))
		check()
		g.SetLocaleString("s", "k", "de_AT@x", s)
		require.NoError(t, f.SetLocaleString("s", "k", "de_AT@x", s))
		check()
	}
	for _, list := range [][]string{{}, {""}, {"", ""}, {"a"}, {" a ", " b;", `\`}, {";", "\n"}} {
		g.SetStringList("l", "k", list)
		require.NoError(t, f.SetStringList("l", "k", list))
		check()
		got, err := f.StringList("l", "k")
		require.NoError(t, err)
		require.Equal(t, list, got)
	}
	for _, v := range []float64{0, math.Copysign(0, -1), 1, 100, 123456, 0.1, 1e5, 1e16, 1e17, 123456789012345678, 1e-4, 1e-5, 1e100, 1e-300,
		math.Pi, math.MaxFloat64, math.SmallestNonzeroFloat64, math.Inf(1), math.Inf(-1), math.NaN()} {
		g.SetFloat64("f", "k", v)
		require.NoError(t, f.SetFloat64("f", "k", v))
		check()
		got, err := f.Float64("f", "k")
		require.NoError(t, err)
		require.Equal(t, bits(v), bits(got))
	}
	for _, v := range []int{0, -1, math.MaxInt32, math.MinInt32} {
		g.SetInt("i", "k", int32(v))
		require.NoError(t, f.SetInt("i", "k", v))
		check()
	}
	for _, v := range []bool{true, false} {
		g.SetBool("b", "k", v)
		require.NoError(t, f.SetBool("b", "k", v))
		check()
	}
}

func TestListSeparator(t *testing.T) {
	t.Parallel()
	f, g := load(t, "[g]\nk=a\\,b,c;d,\nesc=a\\;b\n")
	g.SetListSeparator(',')
	f.SetListSeparator(',')
	for _, bad := range []byte("\\\n\x00sntr\xff") {
		f.SetListSeparator(bad)
	}
	checkSameLists := func(key string) {
		want, gerr := g.StringList("g", key)
		got, err := f.StringList("g", key)
		sameList(t, key, want, gerr, got, err)
	}
	checkSameLists("k")
	checkSameLists("esc")
	got, err := f.StringList("g", "k")
	require.NoError(t, err)
	assert.Equal(t, []string{"a,b", "c;d"}, got)
	c := f.Clone()
	require.NoError(t, c.SetStringList("g", "k", []string{"x,y", ";"}))
	v, err := c.Value("g", "k")
	require.NoError(t, err)
	assert.Equal(t, `x\,y,;,`, v)
}

func TestLocaleVariants(t *testing.T) {
	t.Parallel()
	for _, locale := range []string{"de", "de_AT", "de.UTF-8", "de@euro", "de_AT.UTF-8", "de_AT@euro", "de.UTF-8@euro", "de_AT.UTF-8@euro",
		"C", "", "a@b_c", "a.b_c", "a@b.c", "_", ".", "@", "de_", "a_b@c.d", "a@b@c", "a_b_c.d.e"} {
		assert.Equal(t, glibkeyfile.LocaleVariants(locale), keyfile.LocaleVariants(locale), "%q", locale)
	}
	assert.Equal(t, []string{"de_AT.UTF-8@euro", "de_AT@euro", "de.UTF-8@euro", "de@euro", "de_AT.UTF-8", "de_AT", "de.UTF-8", "de"},
		keyfile.LocaleVariants("de_AT.UTF-8@euro"))
}

// TestLanguageNames is not parallel: it changes the environment.
func TestLanguageNames(t *testing.T) {
	for _, env := range []map[string]string{
		{}, {"LANG": "de_AT.UTF-8"}, {"LANG": "de", "LC_MESSAGES": "fr_FR"}, {"LC_MESSAGES": "fr_FR", "LC_ALL": "C"},
		{"LANG": "de", "LANGUAGE": "it:pt_BR@x::en"}, {"LANGUAGE": "", "LANG": "sr@latin"},
	} {
		for _, name := range []string{"LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG"} {
			t.Setenv(name, env[name])
		}
		assert.Equal(t, glibkeyfile.LanguageNames(), keyfile.LanguageNames(), "%v", env)
		f, g := load(t, "[g]\nk=base\nk[it]=i\nk[fr]=f\nk[de]=d\nk[sr@latin]=s\n")
		want, gerr := g.LocaleString("g", "k", "")
		got, err := f.LocaleString("g", "k", "")
		same(t, "LocaleString", want, gerr, got, err)
	}
}
