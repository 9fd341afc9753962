package ostree_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/ostree"
)

func TestRepoModes(t *testing.T) {
	t.Parallel()
	for mode, name := range map[ostree.Mode]string{
		ostree.ModeBare:            "bare",
		ostree.ModeArchive:         "archive-z2",
		ostree.ModeBareUser:        "bare-user",
		ostree.ModeBareUserOnly:    "bare-user-only",
		ostree.ModeBareSplitXattrs: "bare-split-xattrs",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			assert.Equal(t, name, mode.String())
			parsed, err := ostree.ParseMode(name)
			require.NoError(t, err)
			assert.Equal(t, mode, parsed)
			r := newRepo(t, mode)
			assert.Equal(t, mode, r.Mode())
			assert.Equal(t, name+"\n", judge(t, "config", "get", "core.mode", "--repo", r.Path()))
			again, err := ostree.OpenRepo(t.Context(), r.Path())
			require.NoError(t, err)
			assert.Equal(t, mode, again.Mode())
			assert.True(t, r.Equal(again))
			assert.False(t, r.IsSystem())
			assert.NotEqual(t, r.FD(), again.FD())
			require.NoError(t, again.Close())
			target, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", r.FD()))
			require.NoError(t, err)
			assert.Equal(t, r.Path(), target)
			require.NoError(t, r.IsWritable(t.Context()))
		})
	}
	_, err := ostree.ParseMode("nonsense")
	require.ErrorIs(t, err, ostree.ErrInvalidArgument)
	m, err := ostree.ParseMode("archive")
	require.NoError(t, err)
	assert.Equal(t, ostree.ModeArchive, m)
}

func TestRepoConfig(t *testing.T) {
	t.Parallel()
	r := newRepo(t, ostree.ModeArchive)
	c, err := r.Config()
	require.NoError(t, err)
	mode, err := c.String("core", "mode")
	require.NoError(t, err)
	assert.Equal(t, "archive-z2", mode)
	require.NoError(t, c.SetString("core", "min-free-space-size", "10MB"))
	require.NoError(t, c.SetString("ex-test", "k", " lead\nline"))
	require.NoError(t, r.WriteConfig(c))
	require.NoError(t, r.ReloadConfig(t.Context()))
	n, err := r.MinFreeSpaceBytes(t.Context())
	require.NoError(t, err)
	assert.Equal(t, uint64(10<<20), n)
	c, err = r.Config()
	require.NoError(t, err)
	v, err := c.String("ex-test", "k")
	require.NoError(t, err)
	assert.Equal(t, " lead\nline", v)
	require.ErrorIs(t, r.WriteConfig(nil), ostree.ErrInvalidArgument)
}

func TestRepoParent(t *testing.T) {
	t.Parallel()
	base, r := newRepo(t, ostree.ModeBareUser), newRepo(t, ostree.ModeBareUser)
	assert.Nil(t, r.Parent())
	judge(t, "config", "set", "core.parent", base.Path(), "--repo", r.Path())
	child, err := ostree.OpenRepo(t.Context(), r.Path())
	require.NoError(t, err)
	defer child.Close()
	parent := child.Parent()
	require.NotNil(t, parent)
	defer parent.Close()
	assert.True(t, parent.Equal(base))
	c := judgeCommit(t, base.Path(), "main", writeTree(t, map[string]string{"a": "b"}))
	ok, err := child.HasObject(t.Context(), ostree.ObjectCommit, c)
	require.NoError(t, err)
	assert.True(t, ok)
	list, err := child.ListObjects(t.Context())
	require.NoError(t, err)
	assert.Empty(t, list)
}

func TestRefs(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	r := newRepo(t, ostree.ModeArchive)
	c1 := judgeCommit(t, r.Path(), "main", writeTree(t, map[string]string{"a": "1"}))
	c2 := judgeCommit(t, r.Path(), "main", writeTree(t, map[string]string{"a": "2"}))
	got, err := r.ResolveRev(ctx, "main")
	require.NoError(t, err)
	assert.Equal(t, c2, got)
	got, err = r.ResolveRev(ctx, "main^")
	require.NoError(t, err)
	assert.Equal(t, c1, got)
	got, err = r.ResolveRev(ctx, c1[:10])
	require.NoError(t, err)
	assert.Equal(t, c1, got)

	blob := "ostree/container/blob/sha256_3A_" + c1
	require.NoError(t, r.SetRefImmediate(ctx, "", blob, c1))
	require.NoError(t, r.SetRefImmediate(ctx, "", "ostree/container/image/docker_3A__2F__2F_quay_2E_io/x_3A_latest", c2))
	require.NoError(t, r.SetRefImmediate(ctx, "origin", "main", c1))
	refs, err := r.ListRefs(ctx, "ostree/container")
	require.NoError(t, err)
	assert.Equal(t, map[string]string{
		blob: c1,
		"ostree/container/image/docker_3A__2F__2F_quay_2E_io/x_3A_latest": c2,
	}, refs)
	refs, err = r.ListRefs(ctx, "ostree/container/blob")
	require.NoError(t, err)
	assert.Equal(t, map[string]string{blob: c1}, refs)
	refs, err = r.ListRefs(ctx, "")
	require.NoError(t, err)
	assert.Len(t, refs, 4)
	assert.Equal(t, c1, refs["origin:main"])
	refs, err = r.ListRefs(ctx, "no/such")
	require.NoError(t, err)
	assert.Empty(t, refs)
	assert.Equal(t, 4, strings.Count(judge(t, "refs", "--repo", r.Path()), "\n"))

	require.NoError(t, r.SetAliasRefImmediate(ctx, "", "alias", "main"))
	aliases, err := r.ListAliases(ctx, "")
	require.NoError(t, err)
	assert.Equal(t, map[string]string{"alias": "main"}, aliases)

	require.NoError(t, r.SetRefImmediate(ctx, "", blob, ""))
	require.NoError(t, r.SetRefImmediate(ctx, "", blob, ""), "not there is no error")
	_, err = r.ResolveRev(ctx, blob)
	require.ErrorIs(t, err, ostree.ErrNotFound)
	_, err = r.ResolveRevLocal(ctx, blob)
	require.ErrorIs(t, err, ostree.ErrNotFound)

	require.Error(t, r.SetRefImmediate(ctx, "", "bad//ref", c1))
	require.Error(t, r.SetRefImmediate(ctx, "", "../x", c1))
	require.Error(t, r.SetRefImmediate(ctx, "", "", c1))
	require.ErrorIs(t, r.SetRefImmediate(ctx, "", "ok", "short"), ostree.ErrInvalidArgument)
}

func TestValidateRev(t *testing.T) {
	t.Parallel()
	for rev, ok := range map[string]bool{
		"main": true, "a/b-c_d.e": true, "remote:a/b": false, "": false, "/a": false, "a//b": false, "a b": false, "a\x00": false, ".": false,
		"ostree/container/image/docker_3A__2F__2F_quay_2E_io": true,
	} {
		t.Run(rev, func(t *testing.T) {
			t.Parallel()
			if err := ostree.ValidateRev(rev); ok {
				assert.NoError(t, err)
			} else {
				assert.Error(t, err)
			}
		})
	}
}

func TestRepoReadOnlyDir(t *testing.T) {
	t.Parallel()
	_, err := ostree.OpenRepo(t.Context(), filepath.Join(writeTree(t, map[string]string{"file": ""}), "file"))
	require.Error(t, err)
	_, err = ostree.CreateRepo(t.Context(), "/proc/nope/repo", ostree.ModeArchive)
	require.ErrorIs(t, err, ostree.ErrNotFound)
}

func TestVersion(t *testing.T) {
	t.Parallel()
	assert.Regexp(t, `^20\d\d\.\d+$`, ostree.Version())
	assert.True(t, ostree.AtLeast(2022, 7))
	assert.False(t, ostree.AtLeast(9999, 1))
	assert.Contains(t, judge(t, "--version"), "Version: '"+ostree.Version()+"'")
	for _, f := range ostree.Features() {
		assert.Contains(t, judge(t, "--version"), f)
	}
	assert.Equal(t, ostree.AtLeast(2023, 8), ostree.Supports(ostree.FeatureFinalizationLock))
	assert.Equal(t, ostree.AtLeast(2023, 11), ostree.Supports(ostree.FeatureUpdatePostCopy))
	assert.Equal(t, ostree.AtLeast(2025, 3), ostree.Supports(ostree.FeatureSoftReboot))
	assert.False(t, ostree.Supports("nonsense"))
}
