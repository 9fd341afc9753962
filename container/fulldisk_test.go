package container_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ostree-container/ostree-container/container"
	"github.com/ostree-container/ostree-container/container/internal/oracle"
	ti "github.com/ostree-container/ostree-container/container/internal/testimage"
	"github.com/ostree-container/ostree-container/ostree"
)

// smallDisk mounts an ext4 image of so many MiB and returns where.
func smallDisk(t testing.TB, mib int, mkfs ...string) string {
	t.Helper()
	ti.NeedRoot(t)
	ti.NeedTool(t, "mkfs.ext4", "mount")
	dir := t.TempDir()
	image, at := filepath.Join(dir, "disk"), filepath.Join(dir, "at")
	require.NoError(t, os.Mkdir(at, 0o755))
	f, err := os.Create(image)
	require.NoError(t, err)
	require.NoError(t, f.Truncate(int64(mib)<<20))
	require.NoError(t, f.Close())
	ti.Run(t, "mkfs.ext4", append(append([]string{"-q", "-m", "0"}, mkfs...), image)...)
	if out, err := ti.Output("mount", "-o", "loop", image, at); err != nil {
		ti.Missing(t, fmt.Sprintf("loop mounts: %v: %s", err, out))
	}
	// Not by umount(8), which in a container may not find the loop device that is gone by then.
	t.Cleanup(func() {
		// A child that a parallel test has forked holds every descriptor until its exec.
		require.Eventually(t, func() bool { err = unix.Unmount(at, 0); return !errors.Is(err, unix.EBUSY) }, 10*time.Second, 10*time.Millisecond)
		require.NoError(t, err)
	})
	return at
}

func repoOn(t testing.TB, at string, mode ostree.Mode, config ...string) (*ostree.Repo, string) {
	t.Helper()
	dir := filepath.Join(at, "repo")
	ti.Run(t, "ostree", "--repo="+dir, "init", "--mode="+mode.String())
	for n := 0; n+1 < len(config); n += 2 {
		ti.Run(t, "ostree", "--repo="+dir, "config", "set", config[n], config[n+1])
	}
	repo, err := ostree.OpenRepo(t.Context(), dir)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, repo.Close()) })
	return repo, dir
}

// ballast fills a disk up to so many free bytes.
func ballast(t testing.TB, at string, leave int64) (remove func()) {
	t.Helper()
	var st unix.Statfs_t
	require.NoError(t, unix.Statfs(at, &st))
	path := filepath.Join(at, "ballast")
	f, err := os.Create(path)
	require.NoError(t, err)
	if n := int64(st.Bavail)*st.Bsize - leave; n > 0 {
		require.NoError(t, unix.Fallocate(int(f.Fd()), 0, 0, n))
	}
	require.NoError(t, f.Close())
	return func() { require.NoError(t, os.Remove(path)) }
}

// noRoomTaken prunes and waits until what a failed pull wrote is free again. Whole objects of the layer that failed are in place if one
// before it was published meanwhile; nothing refers to them. And a child that a parallel test has forked holds every descriptor until its
// exec.
func noRoomTaken(t testing.TB, at, repo string, free int64) {
	t.Helper()
	ti.Run(t, "ostree", "--repo="+repo, "prune", "--refs-only")
	var st unix.Statfs_t
	assert.Eventually(t, func() bool {
		require.NoError(t, unix.Statfs(at, &st))
		taken := free - int64(st.Bavail)*st.Bsize
		return taken < 64<<10
	}, 10*time.Second, 10*time.Millisecond, "a failed pull takes no room")
}

// A full disk: a clear error with numbers, finished layers stay, nothing else does, and with room the pull completes.
func TestFullDisk(t *testing.T) {
	small := plainLayers("small", 1, 10, 0)[0]
	noise := ti.Layer{Members: []ti.Member{ti.Dir("usr", 0o755), ti.BigFile("usr/noise", 0o644, 12<<20, 3)}, Compression: ti.GzipFast}
	zeros := ti.Layer{Compression: ti.GzipFast, Members: []ti.Member{ti.Dir("usr", 0o755)}}
	for n := range 40 { // compresses to nothing
		zeros.Members = append(zeros.Members, ti.Member{Name: fmt.Sprintf("usr/z%d", n), Mode: 0o644, Content: []byte(strings.Repeat(string(rune('a'+n%26))+fmt.Sprint(n), 250_000))})
	}
	files := ti.Layer{Compression: ti.GzipFast, Members: []ti.Member{ti.Dir("usr", 0o755)}}
	for n := range 3000 {
		files.Members = append(files.Members, ti.File(fmt.Sprintf("usr/f%d", n), 0o644, fmt.Sprint(n)))
	}
	numbers := regexp.MustCompile(`\d{4,} bytes`)
	for _, tc := range []struct {
		name   string
		mode   ostree.Mode
		mkfs   []string
		config []string
		leave  int64
		last   ti.Layer
		early  bool // before anything is fetched
		text   string
	}{
		{"compressed layers do not fit", ostree.ModeBare, nil, nil, 6 << 20, noise, true, "compressed"},
		{"compressed layers do not fit, archive", ostree.ModeArchive, nil, nil, 6 << 20, noise, true, "compressed"},
		{"above the reserve", ostree.ModeBare, nil, nil, 9 << 20, zeros, false, "needed"},
		{"above the reserve, bare-user", ostree.ModeBareUser, nil, nil, 9 << 20, zeros, false, "needed"},
		{"no reserve at all", ostree.ModeBare, nil, []string{"core.min-free-space-percent", "0"}, 8 << 20, zeros, false, ""},
		{"no reserve, many small files", ostree.ModeBare, nil, []string{"core.min-free-space-percent", "0"}, 2 << 20, files, false, ""},
		{"no inodes", ostree.ModeBare, []string{"-N", "1500"}, []string{"core.min-free-space-percent", "0"}, 30 << 20, files, false, ""},
		{"through libostree", ostree.ModeBare, nil, []string{"core.payload-link-threshold", "1000000000000"}, 9 << 20, zeros, false, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			at := smallDisk(t, 64, tc.mkfs...)
			repo, repoDir := repoOn(t, at, tc.mode, tc.config...)
			remove := ballast(t, at, tc.leave)
			layers := []ti.Layer{small, tc.last}
			w := ti.Image{Layers: layers}.Write(t, t.TempDir(), "latest")
			_, _, err := pull(t, repo, w.Ref, container.ImporterOptions{Jobs: 1})
			require.Error(t, err)
			t.Log(err)
			require.ErrorIs(t, err, container.ErrNoSpace)
			assert.Contains(t, err.Error(), tc.text)
			assert.Regexp(t, numbers, err.Error())
			assert.Contains(t, err.Error(), repoDir)
			assert.Contains(t, err.Error(), w.Ref)
			refs := oracle.Refs(t, repoDir)
			if tc.early {
				assert.Empty(t, refs)
			} else {
				var le *container.LayerError
				require.ErrorAs(t, err, &le)
				assert.Equal(t, 2, le.Index)
			}
			assert.NotContains(t, refs, refOfLayer(t, *w, 1))
			assert.NotContains(t, refs, imageRefOf(t, w.Ref))
			oracle.Fsck(t, repoDir)
			assert.Empty(t, leftovers(t, repoDir))
			noRoomTaken(t, at, repoDir, tc.leave)
			_, _, err = pull(t, repo, w.Ref, container.ImporterOptions{Jobs: 1})
			require.Error(t, err, "again, with the same end")
			noRoomTaken(t, at, repoDir, tc.leave)
			remove()
			if tc.mkfs != nil { // no room to be made: the tests ends here
				return
			}
			state, _, err := pull(t, repo, w.Ref, container.ImporterOptions{})
			require.NoError(t, err)
			wellPulled(t, repoDir, state, layers)
		})
	}
	t.Run("finished layers stay", func(t *testing.T) {
		t.Parallel()
		at := smallDisk(t, 64)
		repo, repoDir := repoOn(t, at, ostree.ModeBare)
		remove := ballast(t, at, 9<<20)
		dir := t.TempDir()
		layers := []ti.Layer{small, zeros}
		w := ti.Image{Layers: layers}.Write(t, dir, "latest")
		reg := ti.NewRegistry(t, dir)
		reg.SetFault(func(q ti.Request) *ti.Fault {
			if q.Ref == w.Manifest.Layers[1].Digest.String() {
				return &ti.Fault{Delay: 500 * time.Millisecond} // the other is done by then
			}
			return nil
		})
		_, _, err := pull(t, repo, reg.Ref("os", "latest"), container.ImporterOptions{})
		require.ErrorIs(t, err, container.ErrNoSpace)
		assert.Contains(t, oracle.Refs(t, repoDir), refOfLayer(t, *w, 0))
		assert.Empty(t, leftovers(t, repoDir))
		remove()
		reg.Reset()
		state, _, err := pull(t, repo, reg.Ref("os", "latest"), container.ImporterOptions{})
		require.NoError(t, err)
		assert.Zero(t, reg.Requests("blob", w.Manifest.Layers[0].Digest.String()))
		wellPulled(t, repoDir, state, layers)
	})
}

// A disk that is full is said at once: what is left of the layer is not read first.
func TestB16_FullDiskIsSaidAtOnce(t *testing.T) {
	t.Parallel()
	at := smallDisk(t, 48)
	repo, _ := repoOn(t, at, ostree.ModeBare)
	dir := t.TempDir()
	w := ti.Image{Layers: []ti.Layer{{Compression: ti.GzipFast, Members: []ti.Member{ti.Dir("usr", 0o755), ti.BigFile("usr/noise", 0o644, 30<<20, 3)}}}}.Write(t, dir, "latest")
	reg := ti.NewRegistry(t, dir)
	reg.SetFault(func(q ti.Request) *ti.Fault {
		if q.Ref == w.Manifest.Layers[0].Digest.String() {
			return &ti.Fault{Stall: true, Drop: 14 << 20}
		}
		return nil
	})
	ballast(t, at, 10<<20)
	options := quickly(t)
	options.StallTimeout = 20 * time.Second
	start := time.Now()
	_, _, err := pull(t, repo, reg.Ref("os", "latest"), container.ImporterOptions{Registry: options, IgnoreSpace: true})
	require.ErrorIs(t, err, container.ErrNoSpace)
	assert.Less(t, time.Since(start), 10*time.Second)
}
