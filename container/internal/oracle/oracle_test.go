package oracle_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/container/internal/oracle"
	ti "github.com/ostree-container/ostree-container/container/internal/testimage"
)

// images is how many random stacks each test makes.
func images(t *testing.T) uint64 {
	if testing.Short() {
		return 6
	}
	return 24
}

func stack(t *testing.T, rules oracle.Rules, layers []ti.Layer) []*oracle.LayerTree {
	t.Helper()
	var out []*oracle.LayerTree
	for i, l := range layers {
		tree, err := oracle.Layer(l.Members, rules)
		require.NoError(t, err, "layer %d", i+1)
		out = append(out, tree)
	}
	return out
}

// The ostree command's listing of what is on disk is the judge of the model's
// checksums and print form; its union checkout is the judge of Merge.
func TestModelAgainstCommand(t *testing.T) {
	ti.NeedRoot(t)
	safe := 0
	for seed := range images(t) {
		t.Run(fmt.Sprint("seed", seed), func(t *testing.T) {
			features := ti.UnionSafe()
			if seed%3 == 0 {
				features = ti.AllFeatures()
				features.EmptyXattrs = false
			}
			layers := stack(t, oracle.Rules{}, ti.Random(seed, ti.RandomOptions{Features: features}))
			repo := filepath.Join(t.TempDir(), "repo")
			ti.Run(t, "ostree", "--repo="+repo, "init", "--mode=bare")
			want, notes := oracle.Merge(nil, layers...)
			oracle.Same(t, want.List(), oracle.List(t, repo, oracle.CommitTree(t, repo, want)), "checksums")
			oracle.Fsck(t, repo)
			if notes.Safe() {
				safe++
				oracle.Same(t, oracle.CLI(t, nil, layers...), want.List(), "union")
			} else {
				require.Zero(t, seed%3, "UnionSafe made %+v", notes)
			}
		})
	}
	t.Logf("%d stacks compared with the command's union", safe)
}

// Layers of ReferenceSafe images are imported by "ostree commit --tree=tar"
// too, once their names are moved: that is the judge of Layer.
func TestLayerAgainstTarImport(t *testing.T) {
	ti.NeedTool(t, "ostree")
	for seed := range images(t) {
		features := ti.ReferenceSafe()
		features.API, features.Var = false, false
		for i, l := range ti.Random(1000+seed, ti.RandomOptions{Features: features}) {
			moved := []ti.Member{}
			for _, m := range l.Members {
				m.Name, m.Linkname = etc(m.Name), linkEtc(m)
				moved = append(moved, m)
			}
			dir := t.TempDir()
			repo := filepath.Join(dir, "repo")
			ti.Run(t, "ostree", "--repo="+repo, "init", "--mode=archive")
			require.NoError(t, os.WriteFile(filepath.Join(dir, "l.tar"), ti.Tar(moved...), 0o600))
			commit := ti.Run(t, "ostree", "--repo="+repo, "commit", "--orphan", "--tar-autocreate-parents", "--tree=tar="+filepath.Join(dir, "l.tar"))
			tree, err := oracle.Layer(l.Members, oracle.Rules{})
			require.NoError(t, err)
			if !oracle.Same(t, oracle.List(t, repo, commit[:64]), tree.Root.List(), fmt.Sprintf("seed %d layer %d", seed, i)) {
				return
			}
		}
	}
}

func etc(name string) string {
	if name == "etc" || name == "etc/" || len(name) > 4 && name[:4] == "etc/" {
		return "usr/" + name
	}
	return name
}

func linkEtc(m ti.Member) string {
	if m.Type == ti.TypeHardlink {
		return etc(m.Linkname)
	}
	return m.Linkname
}

func TestLayerRules(t *testing.T) {
	f := ti.File
	for _, tc := range []struct {
		name    string
		members []ti.Member
		err     error
	}{
		{"dotdot", []ti.Member{f("usr/../x", 0o644, "")}, oracle.ErrPath},
		{"utf8", []ti.Member{f("usr/\xff", 0o644, "")}, oracle.ErrPath},
		{"dangling", []ti.Member{ti.Hardlink("usr/a", "usr/b")}, oracle.ErrHardlink},
		{"self", []ti.Member{ti.Hardlink("usr/a", "usr/a")}, oracle.ErrHardlink},
		{"cycle", []ti.Member{ti.Hardlink("usr/a", "usr/b"), ti.Hardlink("usr/b", "usr/a")}, oracle.ErrHardlink},
		{"filtered", []ti.Member{f("run/x", 0o644, ""), ti.Hardlink("usr/a", "run/x")}, oracle.ErrHardlink},
		{"through file", []ti.Member{f("usr/a", 0o644, ""), f("usr/a/b", 0o644, "")}, oracle.ErrConflict},
		{"through symlink", []ti.Member{ti.Symlink("usr/a", "b"), f("usr/a/b", 0o644, "")}, oracle.ErrConflict},
		{"empty whiteout", []ti.Member{f("usr/.wh.", 0o644, "")}, oracle.ErrWhiteout},
		{"dot whiteout", []ti.Member{f("usr/.wh..", 0o644, "")}, oracle.ErrWhiteout},
	} {
		_, err := oracle.Layer(tc.members, oracle.Rules{})
		assert.ErrorIs(t, err, tc.err, tc.name)
	}
	tree, err := oracle.Layer([]ti.Member{
		ti.Hardlink("usr/h1", "./usr//h2"), ti.Hardlink("usr/h2", "/etc/f"), f("etc/f", 0o644, "old"), f("etc/f", 0o600, "new"),
		f("run/x/y", 0o644, ""), f("boot/z", 0o644, ""), {Name: "usr/fifo", Type: ti.TypeFIFO},
		ti.File("var/lib/x", 0o644, "").Owned(5, 5),
	}, oracle.Rules{UsrOnly: true})
	require.NoError(t, err)
	assert.Equal(t, "new", string(tree.Root.Lookup("usr/h1").Content))
	assert.Equal(t, map[string]uint32{"x": 1, "boot": 1}, tree.Filtered)
	assert.Equal(t, []string{"usr/fifo"}, tree.Devices)
	assert.Zero(t, tree.Root.Lookup("usr/share/factory/var/lib").UID)
}
