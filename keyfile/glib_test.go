package keyfile_test

import (
	"bytes"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"unicode"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/keyfile"
	"github.com/ostree-container/ostree-container/keyfile/internal/glibkeyfile"
)

// code gives the GLib code that an error of ours stands for.
func code(err error) glibkeyfile.Code {
	switch {
	case errors.Is(err, keyfile.ErrGroupNotFound):
		return glibkeyfile.GroupNotFound
	case errors.Is(err, keyfile.ErrUnknownEncoding):
		return glibkeyfile.UnknownEncoding
	case errors.Is(err, keyfile.ErrParse):
		return glibkeyfile.Parse
	case errors.Is(err, keyfile.ErrKeyNotFound):
		return glibkeyfile.KeyNotFound
	case errors.Is(err, keyfile.ErrInvalidValue):
		return glibkeyfile.InvalidValue
	}
	return -2
}

// sameError: both failed for the same reason, or none did.
func sameError(t *testing.T, what string, want, got error) (ok bool) {
	t.Helper()
	if want == nil {
		require.NoError(t, got, what)
		return true
	}
	require.Error(t, got, "%s: GLib says %v", what, want)
	var ge *glibkeyfile.Error
	require.ErrorAs(t, want, &ge, what)
	require.Equal(t, ge.Code, code(got), "%s: GLib says %v, we say %v", what, want, got)
	return false
}

// same compares one getter.
func same[T any](t *testing.T, what string, want T, wantErr error, got T, gotErr error) {
	t.Helper()
	if sameError(t, what, wantErr, gotErr) {
		require.Equal(t, want, got, what)
	}
}

// sameList is same, a list without elements being nil or not.
func sameList[T any](t *testing.T, what string, want []T, wantErr error, got []T, gotErr error) {
	t.Helper()
	same(t, what, slices.Concat(want, []T{}), wantErr, slices.Concat(got, []T{}), gotErr)
}

// getter is a method of both.
type getter[T any] func(group, key string) (T, error)

func sameGetter[T any](t *testing.T, what, group, key string, glib, ours getter[T]) {
	t.Helper()
	want, wantErr := glib(group, key)
	got, gotErr := ours(group, key)
	same(t, what, want, wantErr, got, gotErr)
}

func sameListGetter[T any](t *testing.T, what, group, key string, glib, ours getter[[]T]) {
	t.Helper()
	want, wantErr := glib(group, key)
	got, gotErr := ours(group, key)
	sameList(t, what, want, wantErr, got, gotErr)
}

// bits makes NaN equal to itself; its sign and text do not count.
func bits(v float64) uint64 {
	if math.IsNaN(v) {
		return math.Float64bits(math.NaN())
	}
	return math.Float64bits(v)
}

func allBits(list []float64) []uint64 {
	out := []uint64{}
	for _, v := range list {
		out = append(out, bits(v))
	}
	return out
}

// unique drops what was there before.
func unique(list []string) []string {
	out := []string{}
	for _, s := range list {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

// decidedToRefuse: what we refuse and GLib accepts or refuses (package doc).
func decidedToRefuse(data []byte) bool { return bytes.IndexByte(data, 0) >= 0 }

// otherUnicode: a letter that only one of the two Unicode tables knows.
func otherUnicode(data []byte) bool {
	for _, r := range string(data) {
		if r >= 0x80 && glibkeyfile.IsAlnum(r) != (unicode.IsLetter(r) || unicode.IsNumber(r)) {
			return true
		}
	}
	return false
}

// checkParse parses with both and compares everything that can be read. It
// returns nil if both refuse.
func checkParse(t *testing.T, data []byte) (*keyfile.File, *glibkeyfile.KeyFile) {
	t.Helper()
	f, err := keyfile.Parse(data)
	if decidedToRefuse(data) {
		require.Error(t, err)
		return nil, nil
	}
	g, gerr := glibkeyfile.Load(data)
	if !sameError(t, "parse", gerr, err) {
		var pe *keyfile.ParseError
		require.ErrorAs(t, err, &pe)
		checkErrorLine(t, data, pe.Line)
		return nil, nil
	}
	require.Equal(t, string(data), string(f.Bytes()), "unchanged file")
	checkSame(t, f, g)
	return f, g
}

// checkErrorLine: GLib takes what stands before the line, and refuses it with
// the line.
func checkErrorLine(t *testing.T, data []byte, n int) {
	t.Helper()
	lines := bytes.SplitAfter(data, []byte("\n"))
	require.True(t, n >= 1 && n <= len(lines), "line %d of %d", n, len(lines))
	_, err := glibkeyfile.Load(bytes.Join(lines[:n-1], nil))
	require.NoError(t, err, "error in line %d, but GLib has one before", n)
	_, err = glibkeyfile.Load(bytes.Join(lines[:n], nil))
	require.Error(t, err, "GLib has no error in line %d", n)
}

// checkSame compares groups, keys and every getter.
func checkSame(t *testing.T, f *keyfile.File, g *glibkeyfile.KeyFile) {
	t.Helper()
	require.Equal(t, g.Groups(), f.Groups())
	require.Equal(t, g.StartGroup(), f.StartGroup())
	require.False(t, f.HasGroup("no such group"))
	groups := f.Groups()
	for _, group := range append(groups, "no such group") {
		gkeys, gerr := g.Keys(group)
		keys, err := f.Keys(group)
		same(t, "keys", unique(gkeys), gerr, keys, err)
		require.Equal(t, g.HasGroup(group), f.HasGroup(group))
		for _, key := range append(keys, "no such key") {
			require.Equal(t, g.HasKey(group, key), f.HasKey(group, key))
			checkGetters(t, f, g, group, key)
		}
	}
}

func checkGetters(t *testing.T, f *keyfile.File, g *glibkeyfile.KeyFile, group, key string) {
	t.Helper()
	sameGetter(t, "Value", group, key, g.Value, f.Value)
	sameGetter(t, "String", group, key, g.String, f.String)
	sameListGetter(t, "StringList", group, key, g.StringList, f.StringList)
	sameGetter(t, "Bool", group, key, g.Bool, f.Bool)
	sameListGetter(t, "BoolList", group, key, g.BoolList, f.BoolList)
	sameGetter(t, "Int", group, key, g.Int, f.Int)
	sameListGetter(t, "IntList", group, key, g.IntList, f.IntList)

	d, gerr := g.Float64(group, key)
	gotD, err := f.Float64(group, key)
	same(t, "Float64", bits(d), gerr, bits(gotD), err)
	dl, gerr := g.Float64List(group, key)
	gotDL, err := f.Float64List(group, key)
	sameList(t, "Float64List", allBits(dl), gerr, allBits(gotDL), err)

	// Decision: out of range is an error, and so is a negative Uint64.
	i64, gerr := g.Int64(group, key)
	gotI64, err := f.Int64(group, key)
	if gerr != nil || !errors.Is(err, keyfile.ErrInvalidValue) {
		same(t, "Int64", i64, gerr, gotI64, err)
	} else {
		require.True(t, i64 == math.MaxInt64 || i64 == math.MinInt64, "Int64: GLib says %d, we say %v", i64, err)
	}
	u64, gerr := g.Uint64(group, key)
	gotU64, err := f.Uint64(group, key)
	if gerr != nil || !errors.Is(err, keyfile.ErrInvalidValue) {
		same(t, "Uint64", u64, gerr, gotU64, err)
	} else {
		raw, _ := g.Value(group, key)
		require.True(t, u64 == math.MaxUint64 || strings.Contains(raw, "-"), "Uint64: GLib says %d, we say %v", u64, err)
	}
	checkLocales(t, f, g, group, key)
}

// glib284 says whether the GLib at hand behaves as 2.84 does. It takes the locale "C" for the key without a locale, and
// says so; by decision "C" is a locale like others here.
var glib284 = sync.OnceValue(func() bool {
	g, err := glibkeyfile.Load([]byte("[g]\nk=v\n"))
	return err == nil && g.LocaleForKey("g", "k", "C") == "C"
})

func checkLocales(t *testing.T, f *keyfile.File, g *glibkeyfile.KeyFile, group, key string) {
	t.Helper()
	for _, locale := range []string{"de", "de_AT.UTF-8@euro", "C"} {
		if locale == "C" && glib284() {
			continue
		}
		// Decision: GLib takes the readable part of a malformed translation,
		// we take the next one.
		malformed, escaped := false, false
		for _, l := range append(keyfile.LocaleVariants(locale), "") {
			name := key
			if l != "" {
				name += "[" + l + "]"
			}
			if _, err := g.String(group, name); err != nil && glibCode(err) == glibkeyfile.InvalidValue {
				malformed = true
			}
			// Decision: translated lists are read as others are; GLib splits
			// after unescaping and takes a lone separator for an empty list.
			if v, err := g.Value(group, name); err == nil && (v == ";" || strings.Contains(v, `\`)) {
				escaped = true
			}
		}
		if !malformed {
			s, gerr := g.LocaleString(group, key, locale)
			got, err := f.LocaleString(group, key, locale)
			same(t, "LocaleString", s, gerr, got, err)
			gl := g.LocaleForKey(group, key, locale)
			l, ok := f.LocaleForKey(group, key, locale)
			require.Equal(t, gl, l)
			require.Equal(t, gl != "", ok)
		}
		if !escaped {
			list, gerr := g.LocaleStringList(group, key, locale)
			got, err := f.LocaleStringList(group, key, locale)
			sameList(t, "LocaleStringList", list, gerr, got, err)
		}
	}
}

// glibCode is the code of an error of GLib.
func glibCode(err error) glibkeyfile.Code {
	var ge *glibkeyfile.Error
	if errors.As(err, &ge) {
		return ge.Code
	}
	return -3
}

// TestCorpus compares every file of testdata/corpus with GLib: names that
// start with "bad" must be refused, all others accepted.
func TestCorpus(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/corpus/*.txt")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, name := range files {
		t.Run(filepath.Base(name), func(t *testing.T) {
			t.Parallel()
			data, err := os.ReadFile(name)
			require.NoError(t, err)
			f, _ := checkParse(t, data)
			assert.Equal(t, strings.HasPrefix(filepath.Base(name), "bad"), f == nil)
			// A prefix is a file too (all of a short one, some of a long
			// one), and every file may have CRLF.
			for n := 0; n < len(data); n += 1 + len(data)/100 {
				checkParse(t, data[:n])
			}
			checkParse(t, bytes.ReplaceAll(data, []byte("\n"), []byte("\r\n")))
		})
	}
}
