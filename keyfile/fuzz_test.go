package keyfile_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/keyfile"
	"github.com/ostree-container/ostree-container/keyfile/internal/glibkeyfile"
)

// FuzzKeyFile: the same files accepted and refused as by GLib, the same
// groups, keys and values; what we change and write, GLib reads.
func FuzzKeyFile(f *testing.F) {
	files, err := filepath.Glob("testdata/corpus/*.txt")
	require.NoError(f, err)
	for _, name := range files {
		data, err := os.ReadFile(name)
		require.NoError(f, err)
		f.Add(data, " some;value\\ \r\n")
	}
	f.Fuzz(func(t *testing.T, data []byte, value string) {
		if len(data) > 2048 || len(value) > 256 || otherUnicode(data) {
			t.Skip()
		}
		k, g := checkParse(t, data)
		if k == nil {
			return
		}
		if len(data) <= 512 { // every edit is followed by a whole comparison
			checkWrite(t, k)
			checkEdits(t, k, g, value)
		}
	})
}

// FuzzValue is FuzzKeyFile for one line, which is much faster.
func FuzzValue(f *testing.F) {
	for _, v := range []string{`a\s\;b;c\\`, "-1;+2 x; ;2147483648", "0x1.8p-3;nan(a_1);-inf;1e400", "true;0 ", "\xff\xc3\xa9"} {
		f.Add("key[de]", v)
	}
	f.Fuzz(func(t *testing.T, key, value string) {
		data := []byte("[g]\n" + key + "=" + value)
		if len(data) > 256 || otherUnicode(data) {
			t.Skip()
		}
		checkParse(t, data)
	})
}

// checkWrite: what was written is read again, by us and by GLib, with all
// values the same.
func checkWrite(t *testing.T, k *keyfile.File) {
	t.Helper()
	out := k.Bytes()
	again, err := keyfile.Parse(out)
	require.NoError(t, err, "%q", out)
	require.Equal(t, contents(t, k), contents(t, again), "%q", out)
	g, err := glibkeyfile.Load(out)
	require.NoError(t, err, "%q", out)
	checkSame(t, k, g)
}

// contents is everything that a file says, comments apart.
func contents(t *testing.T, k *keyfile.File) []string {
	t.Helper()
	out := []string{}
	for _, group := range k.Groups() {
		out = append(out, "["+group+"]")
		keys, err := k.Keys(group)
		require.NoError(t, err)
		for _, key := range keys {
			v, err := k.Value(group, key)
			require.NoError(t, err)
			c, err := k.Comment(group, key)
			require.NoError(t, err)
			out = append(out, fmt.Sprintf("%q=%q %q", key, v, c))
		}
	}
	return out
}

// checkEdits changes copies of k and compares with GLib changed the same way.
func checkEdits(t *testing.T, k *keyfile.File, g *glibkeyfile.KeyFile, value string) {
	t.Helper()
	checkNewKeys(t, k.Clone(), value)
	checkComments(t, k, value)
	for _, group := range k.Groups() {
		c := k.Clone()
		if c.RemoveGroup(group) == nil {
			require.False(t, c.HasGroup(group))
			checkWrite(t, c)
		}
		for _, key := range someKeys(t, k, group) {
			c := k.Clone()
			require.NoError(t, c.RemoveKey(group, key))
			require.False(t, c.HasKey(group, key))
			checkWrite(t, c)
			checkSet(t, k.Clone(), group, key, value)
		}
	}
	// On a file without a final carriage return, which GLib writes but cannot
	// read back, GLib's copy of the file is our file as well.
	if data := g.Data(); !strings.Contains(string(data), "\r") {
		c, err := keyfile.Parse(data)
		require.NoError(t, err)
		require.Equal(t, string(data), string(c.Bytes()))
		checkSame(t, c, g)
	}
}

// someKeys keeps the work of one input in bounds: every edit is followed by a
// comparison of the whole file.
func someKeys(t *testing.T, k *keyfile.File, group string) []string {
	t.Helper()
	keys, err := k.Keys(group)
	require.NoError(t, err)
	if len(keys) > 3 {
		keys = append(keys[:2], keys[len(keys)-1])
	}
	return keys
}

// checkSet changes one key: only its line changes, and GLib, changed the same
// way, writes the same value.
func checkSet(t *testing.T, k *keyfile.File, group, key, value string) {
	t.Helper()
	before := strings.SplitAfter(string(k.Bytes()), "\n")
	if err := k.SetString(group, key, value); err != nil {
		checkRefused(t, k, group, key, value, before)
		return
	}
	got, err := k.String(group, key)
	require.NoError(t, err)
	require.Equal(t, value, got)
	after := strings.SplitAfter(string(k.Bytes()), "\n")
	require.Len(t, after, len(before))
	changed := 0
	for i := range before {
		if before[i] != after[i] {
			changed++
		}
	}
	require.LessOrEqual(t, changed, 1)
	checkWrite(t, k)

	g := glibkeyfile.New()
	g.SetString("g", "k", value)
	raw, err := g.Value("g", "k")
	require.NoError(t, err)
	ours, err := k.Value(group, key)
	require.NoError(t, err)
	require.Equal(t, raw, ours, "escaped value")

	list := strings.Split(value, ",")
	g.SetStringList("g", "k", list)
	raw, err = g.Value("g", "k")
	require.NoError(t, err)
	if k.SetStringList(group, key, list) == nil {
		ours, err = k.Value(group, key)
		require.NoError(t, err)
		require.Equal(t, raw, ours, "escaped list")
		gotList, err := k.StringList(group, key)
		require.NoError(t, err)
		require.Equal(t, list, gotList)
		checkWrite(t, k)
	}
}

// checkRefused: a value is refused only for the documented reasons, and then
// nothing changes.
func checkRefused(t *testing.T, k *keyfile.File, group, key, value string, before []string) {
	t.Helper()
	require.Equal(t, strings.Join(before, ""), string(k.Bytes()))
	require.True(t, !utf8.ValidString(value) || strings.Contains(value, "\x00") ||
		strings.HasPrefix(value, "\f") ||
		key == "Encoding" && group == k.StartGroup(), "%q refused", value)
}

// checkNewKeys adds keys to every group and a new group, named by the value
// where that is possible.
func checkNewKeys(t *testing.T, k *keyfile.File, value string) {
	t.Helper()
	name := strings.TrimSpace(value)
	for _, group := range append(k.Groups(), "new group", name) {
		for _, key := range []string{"new key", name} {
			had := k.HasKey(group, key)
			before := string(k.Bytes())
			if err := k.SetString(group, key, "v"); err != nil {
				require.True(t, key == name || group == name)
				require.Equal(t, before, string(k.Bytes()))
				continue
			}
			if !had {
				checkAdded(t, before, string(k.Bytes()))
			}
			checkWrite(t, k)
		}
	}
}

// checkAdded: every line of before is still there, in order.
func checkAdded(t *testing.T, before, after string) {
	t.Helper()
	rest := strings.Split(strings.ReplaceAll(after, "\r", ""), "\n")
	for l := range strings.SplitSeq(strings.ReplaceAll(before, "\r", ""), "\n") {
		for len(rest) > 0 && rest[0] != l {
			rest = rest[1:]
		}
		if l == "" && len(rest) == 0 {
			return
		}
		require.NotEmpty(t, rest, "line %q is gone: %q, %q", l, before, after)
		rest = rest[1:]
	}
}

// checkComments sets and removes the comments of everything; contents stay.
func checkComments(t *testing.T, k *keyfile.File, value string) {
	t.Helper()
	places := [][2]string{{"", ""}}
	for _, group := range k.Groups() {
		places = append(places, [2]string{group, ""})
		for _, key := range someKeys(t, k, group) {
			places = append(places, [2]string{group, key})
		}
	}
	for _, p := range places {
		c := k.Clone()
		if c.SetComment(p[0], p[1], value) != nil {
			require.Contains(t, value, "\x00")
			require.Equal(t, string(k.Bytes()), string(c.Bytes()))
			return
		}
		got, err := c.Comment(p[0], p[1])
		require.NoError(t, err)
		require.Equal(t, value, got)
		checkWrite(t, c)
		again, err := keyfile.Parse(c.Bytes())
		require.NoError(t, err)
		got, err = again.Comment(p[0], p[1])
		require.NoError(t, err)
		require.Equal(t, value, got)
		require.NoError(t, c.RemoveComment(p[0], p[1]))
		checkWrite(t, c)
	}
}
