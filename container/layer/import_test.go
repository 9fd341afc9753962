package layer_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/container/internal/object"
	"github.com/ostree-container/ostree-container/container/internal/objstore"
	"github.com/ostree-container/ostree-container/container/internal/work"
	"github.com/ostree-container/ostree-container/container/layer"
	"github.com/ostree-container/ostree-container/ostree"
)

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	require.NoError(t, err, "%s %v: %s", name, args, out)
	return strings.TrimSpace(string(out))
}

// need skips a test that wants root or a tool, or fails it where everything has to be there.
func need(t *testing.T, root bool, tools ...string) {
	t.Helper()
	missing := ""
	if root && os.Geteuid() != 0 {
		missing = "root"
	}
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			missing = tool
		}
	}
	if missing == "" {
		return
	}
	if os.Getenv("REQUIRE_ALL") == "1" {
		t.Fatal("missing: " + missing)
	}
	t.Skip("missing: " + missing)
}

// importInto imports a tar into a new repository and returns the repository's path and the layer commit, at the ref "layer".
func importInto(t *testing.T, mode ostree.Mode, backend objstore.Backend, tar []byte, opts *layer.Options) (repoPath, commit string) {
	t.Helper()
	repoPath = filepath.Join(t.TempDir(), "repo")
	repo, err := ostree.CreateRepo(t.Context(), repoPath, mode)
	require.NoError(t, err)
	defer repo.Close()
	store, err := objstore.Open(t.Context(), repo, &objstore.Options{Backend: backend})
	require.NoError(t, err)
	pool := work.NewPool(0)
	defer pool.Close()
	res, err := layer.Import(t.Context(), store, pool, bytes.NewReader(tar), opts)
	require.NoError(t, err)
	sum, err := store.Commit(t.Context(), &object.Commit{Tree: res.Tree, Meta: res.Meta})
	require.NoError(t, err)
	require.NoError(t, store.Publish(t.Context(), map[string]string{"layer": sum.String()}))
	require.NoError(t, store.Close())
	entries, err := os.ReadDir(filepath.Join(repoPath, "tmp"))
	require.NoError(t, err)
	for _, e := range entries {
		require.Equal(t, "cache", e.Name(), "left in tmp")
	}
	return repoPath, sum.String()
}

// A real directory tree gives the tree that the ostree command makes of it, through either writer and in every mode.
func TestImportEqualsOstreeCommit(t *testing.T) {
	need(t, true, "ostree", "tar")
	tarFile := filepath.Join(t.TempDir(), "layer.tar")
	run(t, "sh", "-c", "cd / && tar -cf "+tarFile+" usr/share/zoneinfo usr/bin/a*")
	tar, err := os.ReadFile(tarFile)
	require.NoError(t, err)

	judge := filepath.Join(t.TempDir(), "judge")
	run(t, "ostree", "--repo="+judge, "init", "--mode=bare")
	run(t, "ostree", "--repo="+judge, "commit", "-b", "layer", "--no-bindings", "--tar-autocreate-parents", "--tree=tar="+tarFile, "--owner-uid=0", "--owner-gid=0")
	want := run(t, "ostree", "--repo="+judge, "ls", "-R", "-X", "-C", "layer")

	commits := map[string]bool{}
	for _, c := range []struct {
		name    string
		mode    ostree.Mode
		backend objstore.Backend
	}{
		{"bare", ostree.ModeBare, objstore.BackendAuto},
		{"bare, libostree", ostree.ModeBare, objstore.BackendLibostree},
		{"bare-user", ostree.ModeBareUser, objstore.BackendAuto},
		{"bare-user, libostree", ostree.ModeBareUser, objstore.BackendLibostree},
		{"archive", ostree.ModeArchive, objstore.BackendAuto},
	} {
		t.Run(c.name, func(t *testing.T) {
			repo, commit := importInto(t, c.mode, c.backend, tar, nil)
			run(t, "ostree", "--repo="+repo, "fsck")
			require.Equal(t, want, run(t, "ostree", "--repo="+repo, "ls", "-R", "-X", "-C", "layer"))
			commits[commit] = true
		})
	}
	require.Len(t, commits, 1)
}
