package oracle_test

import (
	"bytes"
	"fmt"
	"path/filepath"
	"testing"

	"context"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/container/internal/object"
	"github.com/ostree-container/ostree-container/container/internal/objstore"
	"github.com/ostree-container/ostree-container/container/internal/oracle"
	ti "github.com/ostree-container/ostree-container/container/internal/testimage"
	"github.com/ostree-container/ostree-container/container/internal/union"
	"github.com/ostree-container/ostree-container/container/internal/work"
	"github.com/ostree-container/ostree-container/container/layer"
	"github.com/ostree-container/ostree-container/ostree"
)

// loader reads directory trees through libostree.
type loader struct{ repo *ostree.Repo }

func (l loader) DirTree(ctx context.Context, sum object.Checksum) (*object.DirTree, error) {
	v, err := l.repo.LoadVariant(ctx, ostree.ObjectDirTree, sum.String())
	if err != nil {
		return nil, err
	}
	return object.DecodeDirTree(v.Bytes())
}

func (l loader) IsRegular(ctx context.Context, sum object.Checksum) (bool, error) {
	f, err := l.repo.LoadFile(ctx, sum.String())
	if err != nil {
		return false, err
	}
	defer f.Close()
	return f.Info.Mode&0o170000 == 0o100000, nil
}

// stackCommits imports layers into a new repository and merges them, without
// anything of package container: refs "layer/N" and "merge".
func stackCommits(t *testing.T, repoDir string, mode ostree.Mode, backend objstore.Backend, layers []ti.Layer) []*layer.Result {
	t.Helper()
	ctx := t.Context()
	repo, err := ostree.CreateRepo(ctx, repoDir, mode)
	require.NoError(t, err)
	defer repo.Close()
	store, err := objstore.Open(ctx, repo, &objstore.Options{Backend: backend})
	require.NoError(t, err)
	defer store.Close()
	pool := work.NewPool(2)
	defer pool.Close()
	commit := func(tree, meta object.Checksum) string {
		sum, err := store.Commit(ctx, &object.Commit{Tree: tree, Meta: meta})
		require.NoError(t, err)
		return sum.String()
	}
	refs := map[string]string{}
	var results []*layer.Result
	for i, l := range layers {
		res, err := layer.Import(ctx, store, pool, bytes.NewReader(l.TarBytes()), &layer.Options{AllowNonUsr: true})
		require.NoError(t, err, "layer %d", i)
		refs[fmt.Sprint("layer/", i)] = commit(res.Tree, res.Meta)
		results = append(results, res)
	}
	require.NoError(t, store.Publish(ctx, refs))
	u := union.New(loader{repo})
	for _, res := range results {
		require.NoError(t, u.Apply(ctx, res.Tree, res.Meta))
	}
	tree, meta, err := u.Write(ctx, store)
	require.NoError(t, err)
	require.NoError(t, store.Publish(ctx, map[string]string{"merge": commit(tree, meta)}))
	return results
}

// Layers and unions in every mode and with both object writers, against the model.
func TestImportedStacks(t *testing.T) {
	ti.NeedTool(t, "ostree")
	for seed := range images(t) {
		for _, tc := range []struct {
			mode    ostree.Mode
			backend objstore.Backend
		}{
			{ostree.ModeBare, objstore.BackendAuto}, {ostree.ModeBare, objstore.BackendLibostree},
			{ostree.ModeBareUser, objstore.BackendAuto}, {ostree.ModeBareUser, objstore.BackendLibostree},
			{ostree.ModeArchive, objstore.BackendAuto},
		} {
			if seed%5 != 0 && tc.backend == objstore.BackendLibostree {
				continue
			}
			name := fmt.Sprintf("seed %d %s %d", seed, tc.mode, tc.backend)
			t.Run(name, func(t *testing.T) {
				if tc.mode == ostree.ModeBare {
					ti.NeedRoot(t)
				}
				features := ti.AllFeatures()
				features.EmptyXattrs = tc.mode != ostree.ModeBare
				layers := ti.Random(5000+seed, ti.RandomOptions{Features: features})
				repo := filepath.Join(t.TempDir(), "repo")
				results := stackCommits(t, repo, tc.mode, tc.backend, layers)
				oracle.Fsck(t, repo)
				trees := stack(t, oracle.Rules{}, layers)
				for i, tree := range trees {
					ref := fmt.Sprint("layer/", i)
					if !oracle.Same(t, tree.Root.List(), oracle.List(t, repo, ref), ref) {
						return
					}
					filtered := map[string]uint32{}
					devices := 0
					for k, n := range results[i].Filtered {
						if k[0] == '/' && len(tree.Devices) > 0 {
							devices += int(n)
							continue
						}
						filtered[k] = n
					}
					assert.Equal(t, tree.Filtered, filtered)
					assert.Len(t, tree.Devices, devices)
				}
				want := oracle.MergeRaw(nil, trees...)
				oracle.Same(t, want.List(), oracle.List(t, repo, "merge"), "merge")
			})
		}
	}
}
