package container_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/container"
	"github.com/ostree-container/ostree-container/container/imageref"
	"github.com/ostree-container/ostree-container/container/internal/objstore"
	"github.com/ostree-container/ostree-container/container/internal/oracle"
	ti "github.com/ostree-container/ostree-container/container/internal/testimage"
	"github.com/ostree-container/ostree-container/ostree"
)

// copyLayers hold what an object can hold, and something of every size.
func copyLayers() []ti.Layer {
	layers := plainLayers("copy", 2, 30, 900_000)
	odd := ti.Layer{Members: []ti.Member{
		ti.Dir("usr", 0o755), ti.Dir("usr/private", 0o700).Owned(7, 8).With("user.dir", "d"),
		ti.File("usr/private/set", 0o4755, "content").Owned(1, 2).With("user.a", "x").With("user.b", "\x00\n"),
		ti.File("usr/private/empty", 0o600, ""), ti.Symlink("usr/link", "private/set").Owned(3, 4), ti.Whiteout("usr/copy0/f3"),
	}}
	return append(layers, odd, layers[0]) // one layer twice
}

func putDetached(t testing.TB, repo *ostree.Repo, commit string, values map[string]string) {
	t.Helper()
	dict := ostree.NewVariantDict()
	for key, value := range values {
		dict.SetString(key, value)
	}
	require.NoError(t, repo.WriteDetachedMetadata(t.Context(), commit, must(dict.Build())(t)))
}

func TestCopyBetweenModes(t *testing.T) {
	t.Parallel()
	layers := copyLayers()
	w := ti.Image{Layers: layers}.Write(t, t.TempDir(), "latest")
	modes := []ostree.Mode{modeHere(), ostree.ModeBareUser, ostree.ModeArchive}
	for _, from := range modes {
		src, srcDir := newRepo(t, from)
		state := mustPull(t, src, w.Ref, container.ImporterOptions{})
		putDetached(t, src, state.MergeCommit, map[string]string{"a": "1", "both": "source"})
		base := oracle.Refs(t, srcDir)[refOfLayer(t, *w, 0)]
		putDetached(t, src, base, map[string]string{"layer": "2"})
		for _, to := range modes {
			t.Run(from.String()+" to "+to.String(), func(t *testing.T) {
				dst, dstDir := newRepo(t, to)
				result, err := container.Copy(t.Context(), src, imageName(t, w.Ref), dst, &container.CopyOptions{Verify: true})
				require.NoError(t, err)
				assert.Equal(t, state.MergeCommit, result.MergeCommit)
				assert.Equal(t, oracle.Refs(t, srcDir), oracle.Refs(t, dstDir))
				wellPulled(t, dstDir, state, layers)
				assert.Equal(t, map[string]string{"a": "<'1'>", "both": "<'source'>"}, detachedValues(t, dst, state.MergeCommit))
				assert.Equal(t, map[string]string{"layer": "<'2'>"}, detachedValues(t, dst, base))
				if from == to {
					assert.Zero(t, result.Copied)
					assert.Greater(t, result.Linked, int64(60))
				} else {
					assert.Zero(t, result.Linked)
					assert.Greater(t, result.Copied, int64(60))
					assert.Greater(t, result.BytesCopied, int64(1_800_000))
				}

				// Again: all is there. Detached metadata under other keys stays.
				putDetached(t, dst, state.MergeCommit, map[string]string{"mine": "3", "both": "destination"})
				result, err = container.Copy(t.Context(), src, imageName(t, w.Ref), dst, nil)
				require.NoError(t, err)
				assert.Zero(t, result.Linked+result.Copied)
				assert.Greater(t, result.Present, int64(60))
				assert.Equal(t, map[string]string{"a": "<'1'>", "both": "<'source'>", "mine": "<'3'>"}, detachedValues(t, dst, state.MergeCommit))
				wellPulled(t, dstDir, state, layers)
			})
		}
	}
}

// A hardlink to a file that another user owns could be changed by him later: such objects are copied and verified.
func TestCopyFromAnotherOwner(t *testing.T) {
	t.Parallel()
	ti.NeedRoot(t)
	w := ti.Image{Layers: []ti.Layer{goodLayer("a")}}.Write(t, t.TempDir(), "latest")
	for _, mode := range []ostree.Mode{ostree.ModeBareUser, ostree.ModeArchive} { // the second is written by libostree
		t.Run(mode.String(), func(t *testing.T) {
			src, srcDir := newRepo(t, mode)
			state := mustPull(t, src, w.Ref, container.ImporterOptions{})
			ti.Run(t, "chown", "-R", "1000:1000", srcDir)
			dst, dstDir := newRepo(t, mode)
			result, err := container.Copy(t.Context(), src, imageName(t, w.Ref), dst, nil)
			require.NoError(t, err)
			assert.Zero(t, result.Linked)
			assert.Positive(t, result.Copied)
			assert.Equal(t, state.MergeCommit, result.MergeCommit)
			assert.Empty(t, strings.TrimSpace(ti.Run(t, "find", dstDir+"/objects", "-type", "f", "(", "-links", "+1", "-o", "-uid", "1000", ")")))
			oracle.Fsck(t, dstDir)

			files := must(filepath.Glob(srcDir + "/objects/??/*.file*"))(t)
			require.NotEmpty(t, files)
			for _, f := range files {
				require.NoError(t, os.WriteFile(f, []byte("changed by its owner"), 0o600))
			}
			bad, _ := newRepo(t, mode)
			_, err = container.Copy(t.Context(), src, imageName(t, w.Ref), bad, nil)
			require.Error(t, err)
			assert.Empty(t, refs(t, bad))
		})
	}
}

// Of signatures, those of both repositories are kept.
func TestCopyJoinsSignatures(t *testing.T) {
	t.Parallel()
	w := ti.Image{Layers: []ti.Layer{goodLayer("a")}}.Write(t, t.TempDir(), "latest")
	src, srcDir := newRepo(t, ostree.ModeBareUser)
	dst, dstDir := newRepo(t, ostree.ModeBareUser)
	merge := mustPull(t, src, w.Ref, container.ImporterOptions{}).MergeCommit
	mustPull(t, dst, w.Ref, container.ImporterOptions{})
	setDetached(t, srcDir, merge, "{'ostree.gpgsigs': <[[byte 1], [byte 2]]>, 'ostree.sign.x': <[[byte 1]]>}")
	setDetached(t, dstDir, merge, "{'ostree.gpgsigs': <[[byte 3], [byte 2]]>, 'other': <true>}")
	_, err := container.Copy(t.Context(), src, imageName(t, w.Ref), dst, nil)
	require.NoError(t, err)
	assert.Equal(t, map[string]string{
		"ostree.gpgsigs": "<[[byte 0x03], [0x02], [0x01]]>", "ostree.sign.x": "<[[byte 0x01]]>", "other": "<true>",
	}, detachedValues(t, dst, merge))
}

func TestCopyUnderAnotherName(t *testing.T) {
	t.Parallel()
	w := ti.Image{Layers: copyLayers()}.Write(t, t.TempDir(), "latest")
	src, srcDir := newRepo(t, modeHere())
	state := mustPull(t, src, w.Ref, container.ImporterOptions{})
	target := imageref.ImageReference{Transport: imageref.TransportRegistry, Name: "quay.io/example/os:latest"}

	dst, dstDir := newRepo(t, modeHere())
	_, err := container.Copy(t.Context(), src, imageName(t, w.Ref), dst, &container.CopyOptions{Target: target})
	require.NoError(t, err)
	assert.Equal(t, []string{target.String()}, must(container.ListImages(t.Context(), dst))(t))
	copied := must(container.QueryImage(t.Context(), dst, target))(t)
	assert.Equal(t, state.MergeCommit, copied.MergeCommit)
	assert.Equal(t, state.BaseCommit, copied.BaseCommit)
	oracle.Fsck(t, dstDir)

	// Within one repository, through two handles.
	again := must(ostree.OpenRepo(t.Context(), srcDir))(t)
	defer again.Close()
	result, err := container.Copy(t.Context(), src, imageName(t, w.Ref), again, &container.CopyOptions{Target: target})
	require.NoError(t, err)
	assert.Zero(t, result.Linked+result.Copied)
	assert.Equal(t, []string{target.String(), w.Ref}, must(container.ListImages(t.Context(), src))(t))
}

// What cannot be copied as a whole is not copied, and the error says why.
func TestCopyRefuses(t *testing.T) {
	t.Parallel()
	w := ti.Image{Layers: copyLayers()}.Write(t, t.TempDir(), "latest")
	file := func(t *testing.T, dir, merge string) string {
		return strings.Fields(ti.Run(t, "ostree", "--repo="+dir, "ls", "-C", merge, "/usr/copy1/large"))[4]
	}
	root := func(t *testing.T, dir, merge string) string {
		return strings.Fields(ti.Run(t, "ostree", "--repo="+dir, "ls", "-d", "-C", merge, "/usr/copy1"))[4]
	}
	overwrite := func(t *testing.T, path string) {
		data, err := os.ReadFile(path)
		require.NoError(t, err)
		data[len(data)/2] ^= 1
		require.NoError(t, os.WriteFile(path, data, 0o644))
	}
	tests := []struct {
		name   string
		to     ostree.Mode
		opts   container.CopyOptions
		damage func(t *testing.T, src *ostree.Repo, dir, merge string)
		want   error
		text   string
	}{
		{"missing file", ostree.ModeBareUser, container.CopyOptions{}, func(t *testing.T, _ *ostree.Repo, dir, merge string) {
			require.NoError(t, os.Remove(objectPath(dir, file(t, dir, merge), "file")))
		}, container.ErrIncomplete, ".file"},
		{"missing file to copy", ostree.ModeArchive, container.CopyOptions{}, func(t *testing.T, _ *ostree.Repo, dir, merge string) {
			require.NoError(t, os.Remove(objectPath(dir, file(t, dir, merge), "file")))
		}, container.ErrIncomplete, ".file"},
		{"missing directory", ostree.ModeBareUser, container.CopyOptions{}, func(t *testing.T, _ *ostree.Repo, dir, merge string) {
			require.NoError(t, os.Remove(objectPath(dir, root(t, dir, merge), "dirtree")))
		}, container.ErrIncomplete, ".dirtree is missing"},
		{"changed directory", ostree.ModeBareUser, container.CopyOptions{}, func(t *testing.T, _ *ostree.Repo, dir, merge string) {
			overwrite(t, objectPath(dir, root(t, dir, merge), "dirtree"))
		}, objstore.ErrMismatch, "see ostree fsck"},
		{"changed file to copy", ostree.ModeArchive, container.CopyOptions{}, func(t *testing.T, _ *ostree.Repo, dir, merge string) {
			overwrite(t, objectPath(dir, file(t, dir, merge), "file"))
		}, nil, "orrupted"},
		{"changed file", ostree.ModeBareUser, container.CopyOptions{Verify: true}, func(t *testing.T, _ *ostree.Repo, dir, merge string) {
			overwrite(t, objectPath(dir, file(t, dir, merge), "file"))
		}, nil, ".file in "},
		{"partial commit", ostree.ModeBareUser, container.CopyOptions{}, func(t *testing.T, src *ostree.Repo, _, merge string) {
			require.NoError(t, src.MarkCommitPartial(t.Context(), merge, ostree.Partial))
		}, container.ErrIncomplete, "is partial"},
		{"layer without a ref", ostree.ModeBareUser, container.CopyOptions{}, func(t *testing.T, src *ostree.Repo, _, _ string) {
			require.NoError(t, src.SetRefImmediate(t.Context(), "", refOfLayer(t, *w, 1), ""))
		}, ostree.ErrNotFound, "layer 2/4"},
		{"no image", ostree.ModeBareUser, container.CopyOptions{}, func(t *testing.T, src *ostree.Repo, _, _ string) {
			require.NoError(t, src.SetRefImmediate(t.Context(), "", imageRefOf(t, w.Ref), ""))
		}, container.ErrNoSuchImage, w.Ref},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			ti.NeedTool(t, "ostree")
			src, srcDir := newRepo(t, ostree.ModeBareUser)
			state := mustPull(t, src, w.Ref, container.ImporterOptions{})
			tt.damage(t, src, srcDir, state.MergeCommit)
			dst, dstDir := newRepo(t, tt.to)
			_, err := container.Copy(t.Context(), src, imageName(t, w.Ref), dst, &tt.opts)
			require.ErrorContains(t, err, "copy image "+w.Ref)
			assert.ErrorContains(t, err, tt.text)
			if tt.want != nil {
				require.ErrorIs(t, err, tt.want)
			}
			assert.Empty(t, oracle.Refs(t, dstDir))
			if tt.to != ostree.ModeArchive { // libostree's own transaction leaves its directory, for the next one
				assert.Empty(t, leftovers(t, dstDir))
			}
			oracle.Fsck(t, dstDir)
		})
	}

	src, _ := newRepo(t, ostree.ModeBareUser)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := container.Copy(ctx, src, imageName(t, w.Ref), src, nil)
	require.ErrorIs(t, err, context.Canceled)
	only, _ := newRepo(t, ostree.ModeBareUserOnly)
	mustPull(t, src, w.Ref, container.ImporterOptions{})
	_, err = container.Copy(t.Context(), src, imageName(t, w.Ref), only, nil)
	require.ErrorIs(t, err, ostree.ErrUnsupported)
	_, err = container.Copy(t.Context(), src, imageName(t, w.Ref), src, &container.CopyOptions{Target: imageref.ImageReference{Transport: imageref.TransportOCIDir, Name: "a/-x"}})
	require.Error(t, err)
}

// Killed at any moment there is no half image: neither is there a ref to something incomplete, nor the image without its layers.
func TestCopyKilled(t *testing.T) {
	t.Parallel()
	w := ti.Image{Layers: killLayers()}.Write(t, t.TempDir(), "latest")
	src, srcDir := newRepo(t, modeHere())
	state := mustPull(t, src, w.Ref, container.ImporterOptions{})
	want := oracle.Refs(t, srcDir)
	random := rand.New(rand.NewPCG(3, 4))
	for _, mode := range []ostree.Mode{modeHere(), ostree.ModeArchive} {
		dst, dstDir := newRepo(t, mode)
		for n := range 5 {
			p := startChild(t, task{Do: "copy", Repo: srcDir, Target: dstDir, Refs: []string{w.Ref}})
			require.True(t, p.lines.Scan(), p.stderr.String()) // the copy begins
			time.Sleep(time.Duration(random.IntN(60_000)) * time.Microsecond)
			require.NoError(t, p.Process.Kill())
			_ = p.Wait()
			when := fmt.Sprintf("%s, kill %d", mode, n)
			oracle.Fsck(t, dstDir)
			refs := oracle.WholeRefs(t, dstDir)
			for name, commit := range refs {
				assert.Equal(t, want[name], commit, "%s: %s", name, when)
			}
			if _, there := refs[imageRefOf(t, w.Ref)]; there {
				assert.Equal(t, want, refs, when)
			}
		}
		_, err := container.Copy(t.Context(), src, imageName(t, w.Ref), dst, nil)
		require.NoError(t, err)
		assert.Equal(t, want, oracle.WholeRefs(t, dstDir))
		oracle.Same(t, oracle.List(t, srcDir, state.MergeCommit), oracle.List(t, dstDir, state.MergeCommit), mode.String())
		oracle.Fsck(t, dstDir)
	}
}

// interopCopy: what one program copied, of a repository that either one filled, the other reads, updates and copies on; detached
// metadata and the cached update go along (B9).
func interopCopy(t *testing.T, p programs) {
	base := bigBase(t)
	p.each(t, func(t *testing.T, first, second program) {
		dir, repo := t.TempDir(), bareRepo(t)
		v1 := version(t, base, dir, 1)
		_, merge := first.pull(t, repo, v1.Ref)
		wantRefs, wantCommits := snapshot(t, repo)
		v2 := version(t, base, dir, 2)
		first.run(t, "pull", "--check="+filepath.Join(t.TempDir(), "manifest.json"), repo, unverifiedImage+v1.Ref)
		from := repo
		for _, copier := range []program{first, second, first} {
			to := bareRepo(t)
			assert.Empty(t, copier.run(t, "copy", "--src-repo="+from, "--dest-repo="+to, unverifiedImage+v1.Ref))
			refs, commits := snapshot(t, to)
			assert.Equal(t, wantRefs, refs, copier.name)
			assert.Equal(t, wantCommits, commits, copier.name)
			assert.Equal(t, detachedStrings(t, repo, merge), detachedStrings(t, to, merge), copier.name)
			assert.Equal(t, v2.Digest(), query(t, to, v1.Ref).CachedUpdate.ManifestDigest)
			oracle.Fsck(t, to)
			from = to
		}
		// The copy is updated by the other program, and no layer is fetched again.
		lines, _ := second.pull(t, from, v1.Ref)
		assert.Equal(t, said(v2, len(v1.Manifest.Layers)-1, 2, "Wrote:"), lines[len(lines)-2:])
		for _, bad := range [][]string{
			{"--src-repo=" + from, "--dest-repo=" + from + "/none", unverifiedImage + v1.Ref},
			{"--src-repo=" + from, "--dest-repo=" + from, unverifiedImage + "oci:/no/such/image"},
		} {
			for _, q := range []program{first, second} {
				_, _, err := q.try(append([]string{"copy"}, bad...)...)
				var exit interface{ ExitCode() int }
				require.ErrorAs(t, err, &exit)
				assert.Equal(t, 1, exit.ExitCode(), "%s %v", q.name, bad)
			}
		}
		oracle.Fsck(t, from)
	})
}
