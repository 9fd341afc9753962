package sweep_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/container/internal/sweep"
	"github.com/ostree-container/ostree-container/ostree"
)

func run(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command("ostree", args...).CombinedOutput()
	require.NoError(t, err, "ostree %s: %s", strings.Join(args, " "), out)
	return strings.TrimSpace(string(out))
}

// makeRepo makes a repository with three branches that share some files and a commit without a ref. It returns its path.
func makeRepo(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	repo := filepath.Join(dir, "repo")
	run(t, "--repo="+repo, "init", "--mode=bare-user")
	for _, branch := range []string{"one", "two", "three"} {
		tree := filepath.Join(dir, branch)
		for name, text := range map[string]string{
			"usr/lib/common": "common", "usr/lib/" + branch + "/own": branch, "usr/share/empty": "", branch + "/deep/er/file": branch + "2",
		} {
			require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(tree, name)), 0o755))
			require.NoError(t, os.WriteFile(filepath.Join(tree, name), []byte(text), 0o644))
		}
		require.NoError(t, os.Symlink("common", filepath.Join(tree, "usr/lib/link-"+branch)))
		// Twice: the second commit is the first's child, which nothing names then.
		for _, subject := range []string{"first", "second"} {
			require.NoError(t, os.WriteFile(filepath.Join(tree, "version"), []byte(subject+branch), 0o644))
			run(t, "--repo="+repo, "commit", "--branch="+branch, "--subject="+subject, "--tree=dir="+tree, "--add-detached-metadata-string=k="+branch)
		}
	}
	run(t, "--repo="+repo, "refs", "--delete", "two")
	return repo
}

// tree lists what a repository holds.
func tree(t *testing.T, repo string) []string {
	t.Helper()
	out, err := exec.Command("find", repo+"/objects", repo+"/refs", "-type", "d", "-printf", "%P\n", "-o", "-printf", "%P %y %s %m\n").Output()
	require.NoError(t, err)
	return strings.Split(string(out), "\n")
}

func open(t *testing.T, path string) *ostree.Repo {
	t.Helper()
	repo, err := ostree.OpenRepo(t.Context(), path)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, repo.Close()) })
	return repo
}

// roots are the commits that refs name.
func roots(t *testing.T, repo *ostree.Repo) []string {
	t.Helper()
	refs, err := repo.ListRefs(t.Context(), "")
	require.NoError(t, err)
	var commits []string
	for _, c := range refs {
		commits = append(commits, c)
	}
	return commits
}

// The judge is libostree's own prune of a copy.
func TestPruneIsLibostrees(t *testing.T) {
	t.Parallel()
	path := makeRepo(t)
	theirs := path + "-theirs"
	out, err := exec.Command("cp", "-a", path, theirs).CombinedOutput()
	require.NoError(t, err, "%s", out)

	got, err := sweep.Prune(t.Context(), open(t, path), roots(t, open(t, path)))
	require.NoError(t, err)
	want, err := open(t, theirs).Prune(t.Context(), ostree.PruneRefsOnly, 0)
	require.NoError(t, err)
	assert.Equal(t, want, got)
	assert.Positive(t, got.Pruned)
	assert.ElementsMatch(t, tree(t, theirs), tree(t, path))
	run(t, "--repo="+path, "fsck", "--quiet")

	again, err := sweep.Prune(t.Context(), open(t, path), roots(t, open(t, path)))
	require.NoError(t, err)
	assert.Equal(t, ostree.PruneStats{Total: got.Total - got.Pruned}, again, "nothing is left to delete")
}

func TestPruneKeepsGivenCommits(t *testing.T) {
	t.Parallel()
	path := makeRepo(t)
	repo := open(t, path)
	parent := run(t, "--repo="+path, "rev-parse", "one^")
	_, err := sweep.Prune(t.Context(), repo, append(roots(t, repo), parent))
	require.NoError(t, err)
	assert.Equal(t, "firstone", run(t, "--repo="+path, "cat", parent, "/version"))
}

func TestPruneLeavesTheUnusual(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(t *testing.T, path string){
		"archive": func(t *testing.T, path string) {
			require.NoError(t, os.RemoveAll(path))
			run(t, "--repo="+path, "init", "--mode=archive")
		},
		"parent": func(t *testing.T, path string) {
			run(t, "--repo="+path+"-parent", "init", "--mode=bare-user")
			run(t, "--repo="+path, "config", "set", "core.parent", path+"-parent")
		},
		"tombstones": func(t *testing.T, path string) {
			run(t, "--repo="+path, "config", "set", "core.tombstone-commits", "true")
		},
		"deltas": func(t *testing.T, path string) { run(t, "--repo="+path, "static-delta", "generate", "--empty", "one") },
		"collections": func(t *testing.T, path string) {
			require.NoError(t, os.MkdirAll(path+"/refs/mirrors/org.example", 0o755))
		},
		"partial": func(t *testing.T, path string) {
			require.NoError(t, os.WriteFile(path+"/state/"+run(t, "--repo="+path, "rev-parse", "one")+".commitpartial", nil, 0o644))
		},
		"missing tree": func(t *testing.T, path string) { removeObjects(t, path, "*.dirtree") },
		"bad tree": func(t *testing.T, path string) {
			for _, name := range objects(t, path, "*.dirtree") {
				require.NoError(t, os.WriteFile(name, []byte("no tree"), 0o644))
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := makeRepo(t)
			commits := roots(t, open(t, path))
			change(t, path)
			before := tree(t, path)
			_, err := sweep.Prune(t.Context(), open(t, path), commits)
			require.ErrorIs(t, err, sweep.ErrUnusual)
			assert.ElementsMatch(t, before, tree(t, path))
		})
	}
}

func objects(t *testing.T, repo, pattern string) []string {
	t.Helper()
	names, err := filepath.Glob(repo + "/objects/*/" + pattern)
	require.NoError(t, err)
	require.NotEmpty(t, names)
	return names
}

func removeObjects(t *testing.T, repo, pattern string) {
	t.Helper()
	for _, name := range objects(t, repo, pattern) {
		require.NoError(t, os.Remove(name))
	}
}
