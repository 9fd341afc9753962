package union_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/container/internal/object"
	"github.com/ostree-container/ostree-container/container/internal/union"
	"github.com/ostree-container/ostree-container/container/layer"
)

// memory holds directory trees; a file's checksum is that of its text, and symlinks are what starts with "->".
type memory struct {
	trees  map[object.Checksum]*object.DirTree
	links  map[object.Checksum]bool
	names  map[object.Checksum]string
	loaded int
}

func newMemory() *memory {
	return &memory{map[object.Checksum]*object.DirTree{}, map[object.Checksum]bool{}, map[object.Checksum]string{}, 0}
}

func (m *memory) DirTree(_ context.Context, sum object.Checksum) (*object.DirTree, error) {
	m.loaded++
	if t, ok := m.trees[sum]; ok {
		return t, nil
	}
	return nil, errors.New("no such tree")
}

func (m *memory) IsRegular(_ context.Context, sum object.Checksum) (bool, error) {
	return !m.links[sum], nil
}

type writer struct{ *memory }

func (w writer) DirTree(_ context.Context, t *object.DirTree) (object.Checksum, error) {
	sum := object.Sum(t.Encode())
	w.trees[sum] = t
	return sum, nil
}

func (m *memory) sum(text string) object.Checksum {
	sum := object.Sum([]byte(text))
	m.names[sum], m.links[sum] = text, strings.HasPrefix(text, "->")
	return sum
}

// build makes a tree of "path=text" for files and "path/" for directories; "path/=meta" gives a directory metadata.
func (m *memory) build(t *testing.T, entries ...string) (tree, meta object.Checksum) {
	t.Helper()
	type node struct {
		files map[string]string
		dirs  map[string]*node
		meta  string
	}
	newNode := func() *node { return &node{map[string]string{}, map[string]*node{}, "meta"} }
	root := newNode()
	for _, e := range entries {
		path, text, _ := strings.Cut(e, "=")
		at := root
		parts := strings.Split(path, "/")
		for _, p := range parts[:len(parts)-1] {
			if p == "" {
				continue
			}
			if at.dirs[p] == nil {
				at.dirs[p] = newNode()
			}
			at = at.dirs[p]
		}
		if name := parts[len(parts)-1]; name != "" {
			at.files[name] = text
		} else if text != "" {
			at.meta = text
		}
	}
	var store func(n *node) object.Checksum
	store = func(n *node) object.Checksum {
		out := &object.DirTree{}
		for name, text := range n.files {
			out.Files = append(out.Files, object.FileEntry{Name: name, Sum: m.sum(text)})
		}
		for name, d := range n.dirs {
			out.Dirs = append(out.Dirs, object.DirEntry{Name: name, Tree: store(d), Meta: m.sum(d.meta)})
		}
		slices.SortFunc(out.Files, func(a, b object.FileEntry) int { return strings.Compare(a.Name, b.Name) })
		slices.SortFunc(out.Dirs, func(a, b object.DirEntry) int { return strings.Compare(a.Name, b.Name) })
		sum, err := writer{m}.DirTree(t.Context(), out)
		require.NoError(t, err)
		return sum
	}
	return store(root), m.sum(root.meta)
}

// list is build the other way round, with every directory.
func (m *memory) list(path string, sum object.Checksum) (out []string) {
	for _, f := range m.trees[sum].Files {
		out = append(out, path+f.Name+"="+m.names[f.Sum])
	}
	for _, d := range m.trees[sum].Dirs {
		text := path + d.Name + "/"
		if meta := m.names[d.Meta]; meta != "meta" {
			out = append(out, text+"="+meta)
		} else {
			out = append(out, text)
		}
		out = append(out, m.list(text, d.Tree)...)
	}
	return out
}

func TestApply(t *testing.T) {
	type layers = [][]string
	for _, c := range []struct {
		name   string
		layers layers // the lowest first
		want   []string
	}{
		{"one layer", layers{{"a=1", "d/b=2"}}, []string{"a=1", "d/", "d/b=2"}},
		{"file over file", layers{{"a=1"}, {"a=2"}}, []string{"a=2"}},
		{"beside each other", layers{{"d/a=1"}, {"d/b=2"}}, []string{"d/", "d/a=1", "d/b=2"}},
		{"directory over file", layers{{"x=1"}, {"x/a=2"}}, []string{"x/", "x/a=2"}},
		{"file over directory", layers{{"x/a=1"}, {"x=2"}}, []string{"x=2"}},
		{"symlink over directory", layers{{"x/a=1"}, {"x=->y"}}, []string{"x=->y"}},
		{"directory over symlink", layers{{"x=->y", "y/a=1"}, {"x/b=2"}}, []string{"x/", "x/b=2", "y/", "y/a=1"}},
		{"whiteout of a file", layers{{"a=1", "b=1"}, {".wh.a="}}, []string{"b=1"}},
		{"whiteout of a directory", layers{{"d/a=1", "d/e/f=1"}, {".wh.d="}}, []string{}},
		{"whiteout spares its own layer", layers{{"a=1"}, {".wh.a=", "a=2"}}, []string{"a=2"}},
		{"whiteout of nothing", layers{{"a=1"}, {".wh.b=", "d/.wh.c="}}, []string{"a=1", "d/"}},
		{"whiteout in the lowest layer", layers{{".wh.a=", "b=1"}}, []string{"b=1"}},
		{"opaque", layers{{"d/a=1", "d/e/f=1"}, {"d/.wh..wh..opq=", "d/b=2"}}, []string{"d/", "d/b=2"}},
		{"opaque root", layers{{"a=1", "d/b=1"}, {".wh..wh..opq=", "c=2"}}, []string{"c=2"}},
		{"opaque gives its own metadata", layers{{"d/=old", "d/a=1"}, {"d/=new", "d/.wh..wh..opq="}}, []string{"d/=new"}},
		{"metadata of what is there stays (B23)", layers{{"d/=old", "d/a=1"}, {"d/=new", "d/b=2"}}, []string{"d/=old", "d/a=1", "d/b=2"}},
		{"symlink named as whiteout", layers{{"a=1"}, {".wh.a=->x"}}, []string{".wh.a=->x", "a=1"}},
		{"directory named as whiteout", layers{{"a=1"}, {".wh.a/b=2"}}, []string{"a=1", ".wh.a/", ".wh.a/b=2"}},
		{"removed and back", layers{{"d/a=1"}, {".wh.d="}, {"d/b=2"}}, []string{"d/", "d/b=2"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, trust := range []bool{false, true} {
				m := newMemory()
				u := union.New(m)
				for _, l := range c.layers {
					tree, meta := m.build(t, l...)
					apply := u.Apply
					if trust && !strings.Contains(strings.Join(l, " "), layer.WhiteoutPrefix) {
						apply = u.ApplyPlain
					}
					require.NoError(t, apply(t.Context(), tree, meta))
				}
				sum, _, err := u.Write(t.Context(), writer{m})
				require.NoError(t, err)
				got := m.list("", sum)
				if got == nil {
					got = []string{}
				}
				assert.Equal(t, c.want, got)
			}
		})
	}
}

func TestApplyRefusesWhiteoutsOfNoFile(t *testing.T) {
	for _, name := range []string{".wh.", ".wh..", ".wh..."} {
		m := newMemory()
		tree, meta := m.build(t, "d/"+name+"=")
		require.Error(t, union.New(m).Apply(t.Context(), tree, meta), name)
	}
}

// What looks like a whiteout in a base is a file, and is not read as one.
func TestBaseIsTakenAsItIs(t *testing.T) {
	m := newMemory()
	tree, meta := m.build(t, ".wh.a=", "a=1")
	u := union.New(m)
	u.Base(tree, meta)
	sum, got, err := u.Write(t.Context(), writer{m})
	require.NoError(t, err)
	assert.Equal(t, tree, sum)
	assert.Equal(t, meta, got)
	assert.Zero(t, m.loaded)
}

// Only what a layer touches is loaded.
func TestUntouchedDirectoriesAreNotLoaded(t *testing.T) {
	m := newMemory()
	var entries []string
	for n := range 100 {
		entries = append(entries, fmt.Sprintf("d%d/e/f=%d", n, n))
	}
	base, meta := m.build(t, entries...)
	u := union.New(m)
	u.Base(base, meta)
	tree, meta := m.build(t, "d7/e/g=new")
	require.NoError(t, u.Apply(t.Context(), tree, meta))
	_, _, err := u.Write(t.Context(), writer{m})
	require.NoError(t, err)
	assert.LessOrEqual(t, m.loaded, 6, "three directories of either tree")
}

func TestLookupRemoveAddDir(t *testing.T) {
	m := newMemory()
	tree, meta := m.build(t, "usr/lib/a=1", "file=x")
	u := union.New(m)
	u.Base(tree, meta)
	sum, ok, err := u.File(t.Context(), "usr/lib", "a")
	require.NoError(t, err)
	assert.True(t, ok)
	assert.Equal(t, "1", m.names[sum])
	for _, path := range []string{"usr/none", "file", "usr/lib/a/b", "nosuch/x"} {
		d, err := u.Lookup(t.Context(), path)
		require.NoError(t, err)
		assert.Nil(t, d, path)
		_, ok, err = u.File(t.Context(), path, "a")
		require.NoError(t, err)
		assert.False(t, ok)
		require.NoError(t, u.Remove(t.Context(), path, "a"), "nothing to remove")
	}
	require.NoError(t, u.Remove(t.Context(), "usr/lib", "a"))
	require.NoError(t, u.AddDir(t.Context(), "var", meta))
	require.NoError(t, u.AddDir(t.Context(), "file", meta), "a name that is taken stays")
	sum, _, err = u.Write(t.Context(), writer{m})
	require.NoError(t, err)
	assert.Equal(t, []string{"file=x", "usr/", "usr/lib/", "var/"}, m.list("", sum))
}
