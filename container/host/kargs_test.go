package host

import (
	"runtime"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestImageKargs(t *testing.T) {
	t.Parallel()
	file := func(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text)} }
	tree := fstest.MapFS{
		"usr/lib/bootc/kargs.d/10-b.toml":   file(`kargs = ["console=tty0", "nosmt"]`),
		"usr/lib/bootc/kargs.d/05-a.toml":   file("# comment\nkargs = [\n  'x=\"a b\" y ostree.x=y',\n  \"\",\n]\n"),
		"usr/lib/bootc/kargs.d/20-arm.toml": file("kargs = ['arm']\nmatch-architectures = ['aarch64']\n"),
		"usr/lib/bootc/kargs.d/30-two.toml": file("match-architectures = ['aarch64', 'x86_64']\nkargs = ['nosmt']\n"),
		"usr/lib/bootc/kargs.d/40-no.toml":  file("match-architectures = []\nkargs = ['never']\n"),
		"usr/lib/bootc/kargs.d/README":      file("not TOML"),
		"usr/lib/bootc/kargs.d/.toml":       file("nor this"),
		"usr/lib/bootc/kargs.d/x.toml.bak":  file("nor this"),
	}
	list, err := imageKargs(tree, "x86_64")
	require.NoError(t, err)
	assert.Equal(t, []string{`x="a b"`, "y", "ostree.x=y", "console=tty0", "nosmt", "nosmt"}, list)
	list, err = imageKargs(tree, "aarch64")
	require.NoError(t, err)
	assert.Equal(t, []string{`x="a b"`, "y", "ostree.x=y", "console=tty0", "nosmt", "arm", "nosmt"}, list)
	list, err = imageKargs(tree, "s390x")
	require.NoError(t, err)
	assert.Equal(t, []string{`x="a b"`, "y", "ostree.x=y", "console=tty0", "nosmt"}, list)
	list, err = imageKargs(fstest.MapFS{"usr/lib": {Mode: 0o755 | 1<<31}}, "x86_64")
	require.NoError(t, err)
	assert.Empty(t, list)

	for name, text := range map[string]string{
		"no kargs":       "match-architectures = ['x86_64']\n",
		"empty":          "",
		"not TOML":       "kargs = [",
		"not strings":    "kargs = [1]",
		"not a list":     "kargs = 'a'",
		"another key":    "kargs = []\nfoo = 'bar'\n",
		"another case":   "Kargs = ['a']\n",
		"a table":        "[kargs]\na = 'b'\n",
		"below a key":    "kargs = []\n[x]\ny = 1\n",
		"line break":     `kargs = ["quiet\ninitrd /evil"]`,
		"NUL":            `kargs = ["a\u0000b"]`,
		"C1":             `kargs = ["a\u009bb"]`,
		"ostree":         `kargs = ["ostree=/ostree/boot.0/os/0/0"]`,
		"its key":        `kargs = ["quiet ostree"]`,
		"in quotes":      `kargs = ['x="a ostree=/a b"']`,
		"behind a quote": `kargs = ['"ostree=/a"']`,
		"open quote":     `kargs = ['a="b c']`,
		"wrong arch too": "match-architectures = ['other']\nkargs = ['a=\"']\n",
		"twice":          "kargs = ['a']\nkargs = ['b']\n",
		"too large":      "kargs = []\n#" + strings.Repeat("x", maxKargsFile),
		"nested":         "kargs = " + strings.Repeat("[", maxKargsFile-100),
		"nested tables":  "kargs = " + strings.Repeat("{a=", maxKargsFile/3-100),
		"dotted":         strings.Repeat("a.", maxKargsFile/2-100) + "b = 1",
	} {
		_, err := imageKargs(fstest.MapFS{"usr/lib/bootc/kargs.d/00-fine.toml": file("kargs = ['fine']"), "usr/lib/bootc/kargs.d/a.toml": file(text)}, "x86_64")
		require.ErrorIs(t, err, ErrKargs, name)
		assert.ErrorContains(t, err, "usr/lib/bootc/kargs.d/a.toml", name)
		assert.Less(t, len(err.Error()), 500, name)
	}
}

// All files together are bounded, too.
func TestManyKargs(t *testing.T) {
	t.Parallel()
	tree := fstest.MapFS{}
	for _, name := range strings.Split("abcdefghi", "") {
		tree[kargsDir+"/"+name+".toml"] = &fstest.MapFile{Data: []byte("kargs = ['" + name + "']\n#" + strings.Repeat("x", maxKargsFile-20))}
	}
	_, err := imageKargs(tree, "x86_64")
	require.ErrorIs(t, err, ErrKargs)
	assert.ErrorContains(t, err, "i.toml")
	delete(tree, kargsDir+"/i.toml")
	list, err := imageKargs(tree, "x86_64")
	require.NoError(t, err)
	assert.Equal(t, strings.Split("abcdefgh", ""), list)
}

// More than any kernel reads is refused, over all files; what is for another architecture does not count.
func TestKargsLongerThanACommandLine(t *testing.T) {
	t.Parallel()
	file := func(name string, size int, rest string) (string, *fstest.MapFile) {
		return kargsDir + "/" + name, &fstest.MapFile{Data: []byte("kargs = ['" + strings.Repeat("x", size) + "']\n" + rest)}
	}
	tree := fstest.MapFS{}
	add := func(name string, size int, rest string) { path, f := file(name, size, rest); tree[path] = f }
	add("a.toml", 2000, "")
	add("b.toml", 2095, "")
	add("c.toml", 4000, "match-architectures = ['other']\n")
	list, err := imageKargs(tree, "x86_64")
	require.NoError(t, err)
	assert.Len(t, strings.Join(list, " "), 4096)
	add("b.toml", 2096, "")
	_, err = imageKargs(tree, "x86_64")
	require.ErrorIs(t, err, ErrKargs)
	assert.ErrorContains(t, err, "usr/lib/bootc/kargs.d/b.toml: with it the kernel arguments have 4097 bytes, at most 4096 are taken")
	add("a.toml", 5000, "")
	_, err = imageKargs(tree, "x86_64")
	require.ErrorContains(t, err, "kargs.d/a.toml")
}

func TestSplitKargs(t *testing.T) {
	t.Parallel()
	for line, want := range map[string][]string{
		"":                        nil,
		"  ":                      nil,
		"a":                       {"a"},
		" a  b=c ":                {"a", "b=c"},
		`root=x "a b" c="d e" f`:  {"root=x", `"a b"`, `c="d e"`, "f"},
		`dyndbg="file a.c +p" ro`: {`dyndbg="file a.c +p"`, "ro"},
	} {
		assert.Equal(t, want, splitKargs(line), line)
	}
}

func TestArchName(t *testing.T) {
	t.Parallel()
	for goarch, want := range map[string]string{
		"amd64": "x86_64", "arm64": "aarch64", "ppc64le": "powerpc64", "s390x": "s390x", "riscv64": "riscv64", "386": "x86", "arm": "arm", "loong64": "loongarch64",
	} {
		assert.Equal(t, want, archName(goarch))
	}
	assert.NotEmpty(t, archName(runtime.GOARCH))
}

func FuzzParseKargs(f *testing.F) {
	for _, text := range []string{`kargs = ["a", 'b="c d"']`, "kargs = []\nmatch-architectures = ['x86_64']\n", "kargs = [[[["} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		list, err := parseKargs(text[:min(len(text), 4<<10)], "x86_64")
		if err != nil {
			return
		}
		assert.Equal(t, list, splitKargs(strings.Join(list, " ")), "as it is read back from the boot entry")
		for _, arg := range list {
			assert.NotContains(t, arg, "\n")
		}
	})
}
