package ostree_test

import (
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/ostree"
)

func sum(i int) string { return fmt.Sprintf("%064x", i) }

// glib is how GLib reads and writes the same thing.
func glib(t testing.TB, typ, text string) []byte {
	t.Helper()
	v, err := ostree.ParseVariant(typ, text)
	require.NoError(t, err)
	return v.Bytes()
}

func ay(checksum string) string {
	var b strings.Builder
	for i := 0; i < len(checksum); i += 2 {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString("0x" + checksum[i:i+2])
	}
	return "[byte " + b.String() + "]"
}

// The sizes go through all widths of framing offsets.
func TestDirTreeAgainstGLib(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ files, dirs, name int }{
		{0, 0, 1}, {1, 0, 1}, {0, 1, 1}, {5, 2, 3}, {6, 6, 10}, {1, 0, 220}, {3, 3, 250}, {900, 0, 8}, {40, 900, 8}, {1800, 200, 40},
	} {
		t.Run(fmt.Sprint(c), func(t *testing.T) {
			t.Parallel()
			tree := &ostree.DirTree{Files: []ostree.DirTreeFile{}, Dirs: []ostree.DirTreeDir{}}
			var files, dirs []string
			for i := range c.files {
				f := ostree.DirTreeFile{Name: fmt.Sprintf("%0*d", max(c.name, 4), i), Checksum: sum(i)}
				tree.Files = append(tree.Files, f)
				files = append(files, fmt.Sprintf("('%s', %s)", f.Name, ay(f.Checksum)))
			}
			for i := range c.dirs {
				d := ostree.DirTreeDir{Name: fmt.Sprintf("d%0*d", max(c.name, 4), i), Tree: sum(i * 7), Meta: sum(i + 3)}
				tree.Dirs = append(tree.Dirs, d)
				dirs = append(dirs, fmt.Sprintf("('%s', %s, %s)", d.Name, ay(d.Tree), ay(d.Meta)))
			}
			got, err := tree.Bytes()
			require.NoError(t, err)
			text := fmt.Sprintf("(@a(say) [%s], @a(sayay) [%s])", strings.Join(files, ", "), strings.Join(dirs, ", "))
			assert.Equal(t, glib(t, "(a(say)a(sayay))", text), got)
			back, err := ostree.ParseDirTree(got)
			require.NoError(t, err)
			assert.Equal(t, tree, back)
		})
	}
}

func TestDirMetaAgainstGLib(t *testing.T) {
	t.Parallel()
	m := &ostree.DirMeta{UID: 1, GID: 0x01020304, Mode: 0o41777}
	for range 2 {
		got, err := m.Bytes()
		require.NoError(t, err)
		text := "(uint32 0x01000000, uint32 0x04030201, uint32 0xff430000, @a(ayay) [])"
		if len(m.Xattrs) > 0 {
			text = "(uint32 0x01000000, uint32 0x04030201, uint32 0xff430000, [(b'security.selinux', [byte 0x61, 0x00]), (b'user.x', @ay [])])"
		}
		assert.Equal(t, glib(t, "(uuua(ayay))", text), got)
		back, err := ostree.ParseDirMeta(got)
		require.NoError(t, err)
		assert.Equal(t, m, back)
		m.Xattrs = []ostree.Xattr{{Name: "security.selinux", Value: []byte("a\x00")}, {Name: "user.x", Value: []byte{}}}
	}
}

func TestDirTreeInvalid(t *testing.T) {
	t.Parallel()
	for name, tree := range map[string]*ostree.DirTree{
		"empty name":  {Files: []ostree.DirTreeFile{{Name: "", Checksum: sum(1)}}},
		"dot":         {Files: []ostree.DirTreeFile{{Name: ".", Checksum: sum(1)}}},
		"dotdot":      {Dirs: []ostree.DirTreeDir{{Name: "..", Tree: sum(1), Meta: sum(1)}}},
		"slash":       {Files: []ostree.DirTreeFile{{Name: "a/b", Checksum: sum(1)}}},
		"NUL":         {Files: []ostree.DirTreeFile{{Name: "a\x00", Checksum: sum(1)}}},
		"order":       {Files: []ostree.DirTreeFile{{Name: "b", Checksum: sum(1)}, {Name: "a", Checksum: sum(1)}}},
		"twice":       {Dirs: []ostree.DirTreeDir{{Name: "b", Tree: sum(1), Meta: sum(1)}, {Name: "b", Tree: sum(1), Meta: sum(1)}}},
		"no checksum": {Files: []ostree.DirTreeFile{{Name: "a"}}},
		"no meta":     {Dirs: []ostree.DirTreeDir{{Name: "a", Tree: sum(1)}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := tree.Bytes()
			require.ErrorIs(t, err, ostree.ErrInvalidArgument)
		})
	}
	for name, data := range map[string][]byte{
		"empty":    {},
		"one":      {9},
		"dots":     glib(t, "(a(say)a(sayay))", "([('..', @ay "+ay(sum(1))+")], @a(sayay) [])"),
		"checksum": glib(t, "(a(say)a(sayay))", "([('x', [byte 1])], @a(sayay) [])"),
	} {
		t.Run("parse "+name, func(t *testing.T) {
			t.Parallel()
			_, err := ostree.ParseDirTree(data)
			require.ErrorIs(t, err, ostree.ErrCorrupt)
		})
	}
	_, err := (&ostree.DirMeta{Mode: 0o100644}).Bytes()
	require.ErrorIs(t, err, ostree.ErrInvalidArgument)
	_, err = ostree.ParseDirMeta([]byte("short"))
	require.ErrorIs(t, err, ostree.ErrCorrupt)
}

func TestWalkTree(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	r := newRepo(t, ostree.ModeArchive)
	judgeCommit(t, r.Path(), "main", writeTree(t, map[string]string{
		"usr/bin/a": "a", "usr/bin/b": "b", "usr/lib/x/y": "y", "usr/link": "-> bin", "usr/empty/": "", "z": "z",
	}))
	root, _, err := r.ReadTree(ctx, "main")
	require.NoError(t, err)
	var got []string
	err = r.WalkTree(ctx, root.ContentsChecksum(), root.MetadataChecksum(), func(path string, e ostree.TreeEntry) error {
		got = append(got, path)
		assert.Equal(t, e.IsDir, e.Meta != "")
		if path == "/usr/lib" {
			return fs.SkipDir
		}
		return nil
	})
	require.NoError(t, err)
	assert.Equal(t, []string{"/", "/z", "/usr", "/usr/link", "/usr/bin", "/usr/bin/a", "/usr/bin/b", "/usr/empty", "/usr/lib"}, got)
	var lines int
	require.NoError(t, r.WalkTree(ctx, root.ContentsChecksum(), root.MetadataChecksum(), func(string, ostree.TreeEntry) error { lines++; return nil }))
	assert.Equal(t, strings.Count(judge(t, "ls", "-R", "main", "--repo", r.Path()), "\n"), lines)

	e, err := r.LookupPath(ctx, root.ContentsChecksum(), "/usr/lib/x/y")
	require.NoError(t, err)
	assert.Equal(t, "y", e.Name)
	out := strings.Fields(judge(t, "ls", "-C", "main", "/usr/lib/x/y", "--repo", r.Path()))
	assert.Equal(t, out[4], e.Checksum)
	e, err = r.LookupPath(ctx, root.ContentsChecksum(), "usr//lib/")
	require.NoError(t, err)
	assert.True(t, e.IsDir)
	e, err = r.LookupPath(ctx, root.ContentsChecksum(), "/")
	require.NoError(t, err)
	assert.Equal(t, root.ContentsChecksum(), e.Checksum)
	for _, p := range []string{"nope", "usr/link/a", "z/y", "usr/lib/x/y/z"} {
		_, err = r.LookupPath(ctx, root.ContentsChecksum(), p)
		require.ErrorIs(t, err, ostree.ErrNotFound, p)
	}
}

// What Go accepts, GLib reads the same; what is in normal form for GLib and has legal names, Go accepts.
func FuzzDirTree(f *testing.F) {
	for _, text := range []string{"(@a(say) [], @a(sayay) [])", "([('a', " + ay(sum(1)) + ")], [('d', " + ay(sum(2)) + ", " + ay(sum(3)) + ")])"} {
		f.Add(glib(f, "(a(say)a(sayay))", text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 1<<16 {
			return
		}
		tree, err := ostree.ParseDirTree(data)
		if err != nil {
			require.ErrorIs(t, err, ostree.ErrCorrupt)
			return
		}
		v, err := ostree.VariantFromBytes("(a(say)a(sayay))", data)
		require.NoError(t, err)
		if !v.IsNormalForm() {
			return
		}
		require.Len(t, tree.Files, v.Child(0).Len())
		require.Len(t, tree.Dirs, v.Child(1).Len())
		for i, e := range tree.Files {
			require.Equal(t, v.Child(0).Child(i).Child(0).String(), e.Name)
		}
		if out, err := tree.Bytes(); err == nil {
			require.Equal(t, data, out)
		}
	})
}

func FuzzDirMeta(f *testing.F) {
	f.Add(glib(f, "(uuua(ayay))", "(uint32 0, uint32 0, uint32 0xed410000, [(b'user.x', b'y')])"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 1<<16 {
			return
		}
		m, err := ostree.ParseDirMeta(data)
		if err != nil {
			require.ErrorIs(t, err, ostree.ErrCorrupt)
			return
		}
		if out, err := m.Bytes(); err == nil {
			back, err := ostree.ParseDirMeta(out)
			require.NoError(t, err)
			require.ElementsMatch(t, m.Xattrs, back.Xattrs)
		}
	})
}
