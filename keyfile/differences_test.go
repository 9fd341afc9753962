package keyfile_test

import (
	"math"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/keyfile"
	"github.com/ostree-container/ostree-container/keyfile/internal/glibkeyfile"
)

// load parses with both; the text must be one that both accept.
func load(t *testing.T, text string) (*keyfile.File, *glibkeyfile.KeyFile) {
	t.Helper()
	f, err := keyfile.Parse([]byte(text))
	require.NoError(t, err)
	g, err := glibkeyfile.Load([]byte(text))
	require.NoError(t, err)
	return f, g
}

// TestDifferences holds every difference from GLib that the package doc lists,
// under its number there: what GLib 2.74 does, and what we do. A newer GLib
// may have changed its side; then the list changes. Number 13, locale.alias,
// depends on a file of the system and is left out.
func TestDifferences(t *testing.T) {
	t.Parallel()
	type diff struct {
		name string
		run  func(t *testing.T)
	}
	tests := []diff{
		{"1 NUL is refused, not cut at", func(t *testing.T) {
			const in = "[g]\nk=a\x00b\n"
			g, err := glibkeyfile.Load([]byte(in))
			require.NoError(t, err)
			v, err := g.Value("g", "k")
			require.NoError(t, err)
			assert.Equal(t, "a", v)
			_, err = keyfile.Parse([]byte(in))
			assert.ErrorIs(t, err, keyfile.ErrParse)
		}},
		{"2 text is kept, not tidied", func(t *testing.T) {
			const in = "[g]\r\n k = v \r\n[h]\r\nk=1\r\n[g]\r\nl=2"
			f, g := load(t, in)
			want := "[g]\nk=v \nl=2\n\n[h]\nk=1\n"
			if glib284() { // which adds no blank line
				want = "[g]\nk=v \nl=2\n[h]\nk=1\n"
			}
			assert.Equal(t, want, string(g.Data()))
			assert.Equal(t, in, string(f.Bytes()))
		}},
		{"3 Keys lists a repeated key once", func(t *testing.T) {
			f, g := load(t, "[g]\na=1\nb=2\na=3\n")
			keys, err := g.Keys("g")
			require.NoError(t, err)
			assert.Equal(t, []string{"a", "b", "a"}, keys)
			keys, err = f.Keys("g")
			require.NoError(t, err)
			assert.Equal(t, []string{"a", "b"}, keys)
		}},
		{"4 RemoveKey removes a repeated key wholly", func(t *testing.T) {
			f, g := load(t, "[g]\na=1\nb=2\na=3\n")
			require.NoError(t, g.RemoveKey("g", "a"))
			assert.Equal(t, "[g]\na=1\nb=2\n", string(g.Data()))
			require.NoError(t, f.RemoveKey("g", "a"))
			assert.Equal(t, "[g]\nb=2\n", string(f.Bytes()))
		}},
		{"5 RemoveGroup leaves the next group's comment", func(t *testing.T) {
			f, g := load(t, "[g]\na=1\n# inner\n\n# of h\n[h]\nb=1\n")
			require.NoError(t, g.RemoveGroup("g"))
			assert.Equal(t, "[h]\nb=1\n", string(g.Data()))
			require.NoError(t, f.RemoveGroup("g"))
			assert.Equal(t, "# of h\n[h]\nb=1\n", string(f.Bytes()))
		}},
		{"6 a new key goes behind the last key, not the last comment", func(t *testing.T) {
			f, g := load(t, "[g]\na=1\n\n# of h\n[h]\nb=1\n")
			g.SetValue("g", "n", "1")
			const ours = "[g]\na=1\nn=1\n\n# of h\n[h]\nb=1\n"
			want := "[g]\na=1\n\n# of h\nn=1\n\n[h]\nb=1\n"
			if glib284() { // which does as we do
				want = ours
			}
			assert.Equal(t, want, string(g.Data()))
			require.NoError(t, f.SetValue("g", "n", "1"))
			assert.Equal(t, ours, string(f.Bytes()))
		}},
		{"7 setters refuse what could not be read back", func(t *testing.T) {
			g := glibkeyfile.New()
			g.SetValue("g", "k", "a\nb")
			_, err := glibkeyfile.Load(g.Data())
			assert.Equal(t, glibkeyfile.Parse, glibCode(err))
			f := keyfile.New()
			assert.ErrorIs(t, f.SetValue("g", "k", "a\nb"), keyfile.ErrInvalidValue)
			assert.ErrorIs(t, f.SetValue("g", "k", " a"), keyfile.ErrInvalidValue)
			assert.ErrorIs(t, f.SetString("g", "k", "\fa"), keyfile.ErrInvalidValue)
			assert.ErrorIs(t, f.SetString("g", "k", "a\x00"), keyfile.ErrInvalidValue)
			assert.ErrorIs(t, f.SetString("g", "k", "\xff"), keyfile.ErrUnknownEncoding)
			assert.ErrorIs(t, f.SetStringList("g", "k", []string{"a", "\xff"}), keyfile.ErrUnknownEncoding)
			assert.ErrorIs(t, f.SetString("g", "Encoding", "latin1"), keyfile.ErrUnknownEncoding)
			for _, key := range []string{"", " a", "a ", "a\t", "#a", "a\nb", "a=b", "a[", "a]", "a[b c]", "[a]"} {
				assert.ErrorIs(t, f.SetString("g", key, "v"), keyfile.ErrInvalidName, "%q", key)
			}
			for _, group := range []string{"", "a]", "[a", "a\nb", "a\x7f"} {
				assert.ErrorIs(t, f.SetString(group, "k", "v"), keyfile.ErrInvalidName, "%q", group)
			}
			assert.Empty(t, f.Bytes())
		}},
		{"8 Int64 and Uint64 refuse what is out of range", func(t *testing.T) {
			f, g := load(t, "[g]\nbig=9223372036854775808\nneg=-1\nhuge=18446744073709551616\n")
			i, err := g.Int64("g", "big")
			require.NoError(t, err)
			assert.Equal(t, int64(math.MaxInt64), i)
			u, err := g.Uint64("g", "neg")
			require.NoError(t, err)
			assert.Equal(t, uint64(math.MaxUint64), u)
			_, err = f.Int64("g", "big")
			assert.ErrorIs(t, err, keyfile.ErrInvalidValue)
			for _, key := range []string{"neg", "huge"} {
				_, err = f.Uint64("g", key)
				assert.ErrorIs(t, err, keyfile.ErrInvalidValue, key)
			}
		}},
		{"9 a malformed translation is passed over", func(t *testing.T) {
			f, g := load(t, "[g]\nk=base\nk[de]=gut\nk[de_AT]=\\\n")
			s, err := g.LocaleString("g", "k", "de_AT")
			require.NoError(t, err)
			if glib284() { // since 2.84 GLib does as we do
				assert.Equal(t, "gut", s)
				assert.Equal(t, "de", g.LocaleForKey("g", "k", "de_AT"))
			} else {
				assert.Empty(t, s)
				assert.Equal(t, "de_AT", g.LocaleForKey("g", "k", "de_AT"))
			}
			s, err = f.LocaleString("g", "k", "de_AT")
			require.NoError(t, err)
			assert.Equal(t, "gut", s)
			l, ok := f.LocaleForKey("g", "k", "de_AT")
			assert.True(t, ok)
			assert.Equal(t, "de", l)
		}},
		{"10 translated lists are read as lists", func(t *testing.T) {
			f, g := load(t, "[g]\nesc=a\\;b;c;\none=;\n")
			list, err := g.LocaleStringList("g", "esc", "de")
			if glib284() { // since 2.84 GLib refuses it
				require.Error(t, err)
			} else {
				require.NoError(t, err)
				assert.Equal(t, []string{`a\`, "b", "c"}, list)
			}
			list, err = g.LocaleStringList("g", "one", "de")
			require.NoError(t, err)
			assert.Empty(t, list)
			list, err = f.LocaleStringList("g", "esc", "de")
			require.NoError(t, err)
			assert.Equal(t, []string{"a;b", "c"}, list)
			list, err = f.LocaleStringList("g", "one", "de")
			require.NoError(t, err)
			assert.Equal(t, []string{""}, list)
		}},
		{"11 a comment is the block directly above", func(t *testing.T) {
			f, g := load(t, "# file\n\n[g]\nk=1\n# inner\n\n  # of h\n[h]\nk=1\n")
			top, _, err := g.Comment("", "")
			require.NoError(t, err)
			assert.Equal(t, " file\n", top)
			h, _, err := g.Comment("h", "")
			require.NoError(t, err)
			assert.Equal(t, " inner\n\n  # of h", h)
			top, err = f.Comment("", "")
			require.NoError(t, err)
			assert.Equal(t, " file", top)
			h, err = f.Comment("h", "")
			require.NoError(t, err)
			assert.Equal(t, " of h", h)
		}},
		{"12 letters of a locale name are those of Go's Unicode", func(t *testing.T) {
			// Which side knows more depends on the two versions.
			var seen bool
			for r := rune(0x80); r <= unicode.MaxRune; r++ {
				ours := unicode.IsLetter(r) || unicode.IsNumber(r)
				if !utf8.ValidRune(r) || glibkeyfile.IsAlnum(r) == ours {
					continue
				}
				in := "[g]\nk[" + string(r) + "]=1\n"
				_, gerr := glibkeyfile.Load([]byte(in))
				_, err := keyfile.Parse([]byte(in))
				require.Equal(t, ours, err == nil, "%U", r)
				require.Equal(t, !ours, gerr == nil, "%U", r)
				seen = true
			}
			if !seen {
				t.Log("this GLib and this Go have the same tables")
			}
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.run(t)
		})
	}
}
