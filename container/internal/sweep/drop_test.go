package sweep_test

import (
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/container/internal/sweep"
)

// What is dropped goes with what only it needs; commits without a ref stay, and objects that no commit has.
func TestDrop(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"bare-user", "archive"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			repo := filepath.Join(dir, "repo")
			run(t, "--repo="+repo, "init", "--mode="+mode)
			commit := func(files string) string {
				root := filepath.Join(t.TempDir(), "root")
				for _, name := range strings.Fields(files) {
					out, err := exec.Command("sh", "-c", `mkdir -p "$1/d" && echo "$2" >"$1/d/$2"`, "sh", root, name).CombinedOutput()
					require.NoError(t, err, "%s", out)
				}
				return run(t, "--repo="+repo, "commit", "--orphan", "--tree=dir="+root, "--timestamp=@0", "--canonical-permissions")
			}
			kept := commit("a b")
			ref := commit("c")
			run(t, "--repo="+repo, "refs", "--create=branch", ref)
			stored := func() []string { // files, not the directories, which stay
				return slices.DeleteFunc(tree(t, repo), func(line string) bool { return !strings.Contains(line, " ") })
			}
			before := stored()
			gone, alsoGone := commit("a x"), commit("x y c")
			middle := stored()

			stats, err := sweep.Drop(t.Context(), open(t, repo), []string{gone, alsoGone, strings.Repeat("0", 64)})
			require.NoError(t, err)
			assert.ElementsMatch(t, before, stored())
			assert.Equal(t, len(middle)-len(before), stats.Pruned)
			assert.Positive(t, stats.Size)
			run(t, "--repo="+repo, "fsck", "--quiet")
			run(t, "--repo="+repo, "ls", "-R", kept)

			for key, value := range map[string]string{"core.tombstone-commits": "true", "core.locking": "false"} {
				run(t, "--repo="+repo, "config", "set", key, value)
				_, err = sweep.Drop(t.Context(), open(t, repo), []string{kept})
				require.ErrorIs(t, err, sweep.ErrUnusual, key)
				assert.ElementsMatch(t, before, stored())
				run(t, "--repo="+repo, "config", "unset", key)
			}
		})
	}
}
