package container_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ostree-container/ostree-container/container"
	"github.com/ostree-container/ostree-container/container/imageref"
	"github.com/ostree-container/ostree-container/container/internal/oracle"
	ti "github.com/ostree-container/ostree-container/container/internal/testimage"
)

// corrupt makes the merge commit of an image one in which a file is another, as the bug did.
func corrupt(t testing.TB, repoDir, ref string) (commit string) {
	t.Helper()
	name := imageRefOf(t, ref)
	good := oracle.Refs(t, repoDir)[name]
	dir := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "usr/lib"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "usr/lib/os-release"), []byte("another file\n"), 0o644))
	args := []string{"--repo=" + repoDir, "commit", "--orphan", "--no-bindings", "--timestamp=@0", "--subject=x", "--tree=ref=" + good, "--tree=dir=" + dir}
	for _, key := range []string{"ostree.manifest-digest", "ostree.manifest", "ostree.container.image-config"} {
		text := strings.TrimSpace(ti.Run(t, "ostree", "--repo="+repoDir, "show", "--print-metadata-key="+key, good))
		args = append(args, "--add-metadata-string="+key+"="+strings.Trim(text, "'"))
	}
	bad := strings.TrimSpace(ti.Run(t, "ostree", args...))
	ti.Run(t, "ostree", "--repo="+repoDir, "refs", "--force", "--create="+name, bad)
	return bad
}

func TestVerifyImageAndRepair(t *testing.T) {
	s := newSystem(t, "default")
	dir := t.TempDir()
	repo, err := s.Repo()
	require.NoError(t, err)
	good := osImage("1").Write(t, dir, "good")
	bad := osImage("2").Write(t, dir, "bad")
	mustPull(t, repo, good.Ref, container.ImporterOptions{})
	mustPull(t, repo, bad.Ref, container.ImporterOptions{})
	for _, ref := range []string{good.Ref, bad.Ref} {
		v, err := container.VerifyImage(t.Context(), repo, imageName(t, ref))
		require.NoError(t, err)
		assert.True(t, v.OK())
		assert.Positive(t, v.Verified)
	}
	commit := corrupt(t, s.repo, bad.Ref)
	v, err := container.VerifyImage(t.Context(), repo, imageName(t, bad.Ref))
	require.NoError(t, err)
	assert.Equal(t, []string{"/usr/lib/os-release"}, v.OtherCorrupted)
	_, err = container.VerifyImage(t.Context(), repo, imageName(t, "oci:/no:x"))
	require.ErrorIs(t, err, container.ErrNoSuchImage)

	// The numbers do not collide: nothing is looked at.
	result, err := container.AnalyzeForRepair(t.Context(), s.Sysroot, nil)
	require.NoError(t, err)
	assert.Zero(t, result.ImagesLooked)
	require.NoError(t, result.Check())

	// The wrong file has a large number, whose lower half is that of another object.
	wrong := strings.Fields(ti.Run(t, "ostree", "--repo="+s.repo, "ls", "-C", commit, "/usr/lib/os-release"))[4]
	var st, other unix.Stat_t
	require.NoError(t, unix.Lstat(objectPath(s.repo, wrong, "file"), &st))
	require.NoError(t, unix.Lstat(objectPath(s.repo, commit, "commit"), &other))
	large := 5<<32 | other.Ino
	number := func(have *unix.Stat_t) uint64 {
		if have.Ino == st.Ino {
			return large
		}
		return have.Ino
	}
	var collisions []container.InodeCollision
	seen := map[string]bool{}
	opts := (&container.RepairOptions{
		Collision: func(c container.InodeCollision) { collisions = append(collisions, c) },
		Verified:  func(ref imageref.ImageReference, v *container.Verification) { seen[ref.String()] = v.OK() },
	}).WithInodes(number)
	before := oracle.Refs(t, s.repo)
	result, err = container.AnalyzeForRepair(t.Context(), s.Sysroot, opts)
	require.NoError(t, err)
	assert.Equal(t, []container.InodeCollision{{Inode: large, Object: wrong, Other: commit}}, collisions)
	assert.Equal(t, map[string]bool{good.Ref: true, bad.Ref: false}, seen)
	assert.Equal(t, []uint64{large}, result.Inodes.Collisions)
	assert.Equal(t, []string{bad.Ref}, result.Corrupted)
	require.ErrorIs(t, result.Check(), container.ErrCorruptImages)
	assert.Equal(t, before, oracle.Refs(t, s.repo), "only looked at")
	text, err := json.Marshal(result)
	require.NoError(t, err)
	var doc map[string]any
	require.NoError(t, json.Unmarshal(text, &doc))
	assert.ElementsMatch(t, []string{"inodes", "likely-corrupted-container-image-merges", "booted-is-likely-corrupted", "staged-is-likely-corrupted"}, keys(doc))

	// Repaired: the image goes, its layers stay, and the next pull merges them anew.
	_, err = container.Repair(t.Context(), s.Sysroot, opts)
	require.NoError(t, err)
	assert.NotContains(t, oracle.Refs(t, s.repo), imageRefOf(t, bad.Ref))
	assert.Contains(t, oracle.Refs(t, s.repo), imageRefOf(t, good.Ref))
	var planned container.LayersPlanned
	mustPull(t, repo, bad.Ref, container.ImporterOptions{Progress: func(e container.Event) {
		if e, ok := e.(container.LayersPlanned); ok {
			planned = e
		}
	}})
	assert.Empty(t, planned.Layers)
	v, err = container.VerifyImage(t.Context(), repo, imageName(t, bad.Ref))
	require.NoError(t, err)
	assert.True(t, v.OK())
	s.sound()
}
