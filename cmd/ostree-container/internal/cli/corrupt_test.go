package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/container/layer"
	"github.com/ostree-container/ostree-container/container/objectset"
	"github.com/ostree-container/ostree-container/ostree"
)

// damages are what can be wrong with a commit of a repository: which object, found through a path of its tree, and what is done to it.
var damages = map[string]struct {
	path, kind string
	do         func(t *testing.T, path string)
}{
	"missing file":    {"/usr/bin/hello", "file", gone},
	"missing dirtree": {"/usr/bin", "dirtree", gone},
	"missing dirmeta": {"/usr/bin", "dirmeta", gone},
	"missing commit":  {"", "commit", gone},
	"cut file":        {"/usr/bin/hello", "file", cut},
	"cut dirtree":     {"/usr/bin", "dirtree", cut},
	"cut dirmeta":     {"/usr/bin", "dirmeta", cut},
	"cut commit":      {"", "commit", cut},
	"empty commit":    {"", "commit", emptied},
}

func gone(t *testing.T, path string) { require.NoError(t, os.Remove(path)) }
func cut(t *testing.T, path string) {
	st, err := os.Stat(path)
	require.NoError(t, err)
	require.NoError(t, os.Truncate(path, st.Size()/2))
}
func emptied(t *testing.T, path string) { require.NoError(t, os.Truncate(path, 0)) }

// damagedObject returns the checksum of an object of a commit, and its file.
func damagedObject(t *testing.T, repo, commit, path, kind string) (sum, file string) {
	t.Helper()
	sum = commit
	if kind != "commit" {
		fields := strings.Fields(tool(t, "ostree", "--repo="+repo, "ls", "-d", "-C", commit, path))
		require.GreaterOrEqual(t, len(fields), 6)
		sum = fields[4]
		if kind == "dirmeta" {
			sum = fields[5]
		}
	}
	files, err := filepath.Glob(filepath.Join(repo, "objects", sum[:2], sum[2:]+"."+kind+"*"))
	require.NoError(t, err)
	require.Len(t, files, 1)
	return sum, files[0]
}

// A command that needs an object which is missing or broken names it and says what to run; it leaves no output, no refs, no temporary files.
func TestCorruptRepository(t *testing.T) {
	w := makeWorld(t)
	commits := []string{"missing commit", "cut commit", "empty commit"}
	everything := append([]string{"missing file", "missing dirtree", "missing dirmeta", "cut file", "cut dirtree", "cut dirmeta"}, commits...)
	const v1, v2 = "oci:WORLD/image:v1", "ostree-unverified-image:oci:WORLD/image:v2"
	for line, on := range map[string]struct {
		repo, rev string
		fails     []string // with which damages at least
	}{
		"image list --format json --repo DIR/repo":                                     {"repo", v1, nil},
		"image history --repo DIR/repo " + v1:                                          {"repo", v1, commits},
		"image metadata --repo DIR/repo " + v1:                                         {"repo", v1, commits},
		"image inspect --stored --repo DIR/repo " + v1:                                 {"repo", v1, commits},
		"image inspect --repo DIR/repo " + v2:                                          {"repo", v1, nil},
		"image diff --repo DIR/repo REF empty":                                         {"repo", v1, append([]string{"missing dirtree", "cut dirtree"}, commits...)},
		"image clear-cached-update --repo DIR/repo " + v1:                              {"repo", v1, commits},
		"image copy --src-repo DIR/repo --dest-repo DIR/dest " + v1:                    {"repo", v1, everything},
		"image reexport -q --repo DIR/repo " + v1 + " oci:DIR/out":                     {"repo", v1, everything},
		"image prune-layers --repo DIR/repo":                                           {"repo", v1, commits},
		"image pull -q DIR/repo " + v2:                                                 {"repo", v1, nil},
		"image pull -q DIR/repo ostree-unverified-image:" + v1:                         {"repo", v1, nil},
		"image deploy -q --sysroot DIR/sysroot --imgref ostree-unverified-image:" + v1: {"sysroot/ostree/repo", v1, nil},
		"image prune-images --full --sysroot DIR/sysroot":                              {"sysroot/ostree/repo", v1, commits},
		"provisional-repair repair --sysroot DIR/sysroot":                              {"sysroot/ostree/repo", v1, nil},
		"container encapsulate -q --repo DIR/commits os oci:DIR/out":                   {"commits", "os", everything},
		"tar export --repo DIR/commits os":                                             {"commits", "os", everything},
	} {
		for what, d := range damages {
			t.Run(line+"/"+what, func(t *testing.T) {
				t.Parallel()
				c := w.newCase(t, line)
				repo := filepath.Join(c.dir, on.repo)
				rev := on.rev
				if rev == v1 {
					for ref := range strings.Lines(tool(t, "ostree", "--repo="+repo, "refs")) {
						if strings.HasPrefix(ref, "ostree/container/image/") {
							rev = strings.TrimSpace(ref)
						}
					}
				}
				commit := strings.TrimSpace(tool(t, "ostree", "--repo="+repo, "rev-parse", rev))
				sum, file := damagedObject(t, repo, commit, d.path, d.kind)
				d.do(t, file)
				for n, arg := range c.args {
					if arg == "REF" {
						c.args[n] = rev
					}
				}
				refs, files := c.refs(t), c.files(t)
				cmd, errOut := c.command(nil)
				st := status(t, cmd.Run())
				if slices.Contains(on.fails, what) {
					assert.Equal(t, 1, st, errOut.String())
				}
				if st == 0 { // it was not needed, or pulled again
					return
				}
				require.Equal(t, 1, st, errOut.String())
				assert.Contains(t, errOut.String(), sum)
				assert.Contains(t, errOut.String(), "ostree fsck --repo="+repo)
				assert.Equal(t, 1, strings.Count(errOut.String(), "error: "), errOut.String())
				assert.Equal(t, refs, c.refs(t), "refs")
				assert.Equal(t, files, c.files(t), "files")
			})
		}
	}
}

// What the error advises helps.
func TestRemedyForACorruptRepository(t *testing.T) {
	w := makeWorld(t)
	for what, d := range damages {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			c := w.newCase(t, "DIR/repo")
			repo, image := filepath.Join(c.dir, "repo"), "oci:"+w.dir+"/image:v1"
			var commit string
			for ref, sum := range c.refs(t) {
				if strings.Contains(ref, "/container/image/") {
					commit = strings.TrimSpace(sum)
				}
			}
			_, file := damagedObject(t, repo, commit, d.path, d.kind)
			d.do(t, file)
			tool(t, "ostree", "--repo="+repo, "refs", "--delete", "empty") // it may have the object, too
			require.Zero(t, run(t, "", "image", "remove", "--repo", repo, image).status)
			tool(t, "ostree", "prune", "--refs-only", "--repo="+repo)
			r := run(t, "", "image", "pull", "-q", repo, "ostree-unverified-image:"+image)
			require.Zero(t, r.status, r.err)
			assert.Contains(t, r.out, commit)
			fsck(t, repo)
		})
	}
}

// An image that is wrong is not a repository that is: nothing there has to be removed.
func TestNoRemedyForABadImage(t *testing.T) {
	for _, err := range []error{
		&layer.EntryError{Entry: "sysroot/ostree/repo/objects/ab/cd.file", Err: errors.New("Corrupted file object; corrupted object")},
		fmt.Errorf("layer 3: %w: a dirtree is not in normal form", objectset.ErrFormat),
	} {
		assert.Equal(t, err, withRemedy(err, "repo"))
	}
	assert.ErrorContains(t, withRemedy(ostree.ErrCorrupt, "repo"), "ostree fsck --repo=repo")
}
