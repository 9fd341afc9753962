package container_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/container/internal/oracle"
	ti "github.com/ostree-container/ostree-container/container/internal/testimage"
	"github.com/ostree-container/ostree-container/ostree"
)

// difference is an image that the two take differently on purpose.
type difference struct {
	name   string // begins with the number in section 15 of the reference, if it has one
	layers []ti.Layer
	conf   string                    // prepare-root.conf of the base
	base   func(testing.TB) *ti.Base // another base
	image  func(*ti.Image)           // further changes
	// How the judge fails, if it does: while pulling, or with a repository that fsck refuses.
	judgePull, judgeFsck string
	// How ours refuses, if it does.
	oursPull string
	// Lines of "ostree ls -R -X" of the merge commit that only one has, where both have it. Directory sizes and blanks count for nothing.
	judge, ours []string
	// The libostree (year and release) with which the judge does as ours; zero for none so far.
	fixed [2]int
	// What they report as left out of the last layer.
	judgeFiltered, oursFiltered map[string]any
}

func usrShare(members ...ti.Member) ti.Layer {
	return derived(append([]ti.Member{ti.Dir("usr/share", 0o755)}, members...)...)
}

func pax(m ti.Member) ti.Member { m.Format = ti.FormatPAX; return m }

func mode(m ti.Member, mode int64) ti.Member { m.Mode = mode; return m }

// differences are those of importing one image; interopSteps has those that need more than one step.
func differences(hostDir string) []difference {
	object := "sysroot/ostree/repo/objects/ab/" + strings.Repeat("c", 62) + ".file"
	lost := "sysroot/ostree/repo/objects/ff/" + strings.Repeat("e", 62) + ".file"
	plainFile := usrShare(ti.File("usr/share/f", 0o644, "f")).Members
	global := ti.Member{Type: ti.TypeGlobal, PAX: []ti.Record{{Key: "comment", Value: "c"}}}
	return []difference{
		{
			name:      "B1 absolute link to a changed object",
			layers:    []ti.Layer{usrShare(ti.File(object, 0o644, "x"), ti.Hardlink("usr/share/new", "/"+object))},
			judgePull: "Processing deferred hardlink sysroot/ostree/repo/objects/ab/",
		},
		{
			name:   "B2 link to a changed object below etc",
			layers: []ti.Layer{usrShare(ti.File(object, 0o644, "x").With("user.a", "b"), ti.Dir("etc", 0o755), ti.Hardlink("etc/new", object))},
			judge:  []string{"d00755 0 0 /etc", "-00644 0 0 1 /etc/new"}, ours: []string{"-00644 0 0 1 { [(b'user.a', [byte 0x62])] } /usr/etc/new"},
		},
		{
			name:         "B3 link to an object that is not there",
			layers:       []ti.Layer{usrShare(ti.Hardlink("usr/share/new", lost))},
			oursFiltered: map[string]any{"/usr/share/new (hardlink to an object that is not in this layer)": uint64(1)},
		},
		{
			name:      "B4 link to var",
			layers:    []ti.Layer{usrShare(ti.Dir("usr/share/factory", 0o755), ti.Dir("var", 0o755), ti.File("var/f", 0o644, "f"), ti.Hardlink("usr/share/new", "var/f"))},
			judgePull: "Processing deferred hardlink var/f", fixed: [2]int{2025, 2},
		},
		{
			name: "B4 whiteout of etc", conf: "[composefs]\nenabled=yes\n",
			layers: []ti.Layer{derived(ti.File(".wh.etc", 0o644, ""))},
			judge:  []string{"d00755 0 0 /usr/etc", "-00644 0 0 5 /usr/etc/passwd"},
		},
		{
			name: "B17 B52 whiteout in its own layer",
			layers: []ti.Layer{
				usrShare(ti.File("usr/share/-x", 0o644, "1"), ti.File("usr/share/.a", 0o644, "1"), ti.File("usr/share/y", 0o644, "1")),
				usrShare(ti.Whiteout("usr/share/-x"), ti.File("usr/share/-x", 0o644, "2"), ti.Whiteout("usr/share/.a"), ti.File("usr/share/.a", 0o644, "2"),
					ti.Whiteout("usr/share/y"), ti.File("usr/share/y", 0o644, "2")),
			},
			ours: []string{"-00644 0 0 1 /usr/share/-x", "-00644 0 0 1 /usr/share/.a"},
		},
		{
			name:   "B19 directory over a symlink",
			layers: []ti.Layer{usrShare(ti.Symlink("usr/share/s", hostDir)), usrShare(ti.Dir("usr/share/s", 0o755), ti.File("usr/share/s/f", 0o644, "f"), ti.Whiteout("usr/share/s/precious"))},
			judge:  []string{"l00777 0 0 /usr/share/s -> " + hostDir}, ours: []string{"d00755 0 0 /usr/share/s", "-00644 0 0 1 /usr/share/s/f"},
			fixed: [2]int{2024, 5},
		},
		{
			name:      "B20 directory over a file",
			layers:    []ti.Layer{usrShare(ti.File("usr/share/x", 0o644, "f")), usrShare(ti.Dir("usr/share/x", 0o755), ti.File("usr/share/x/f", 0o644, "f"))},
			judgePull: "opendir(x): Not a directory", fixed: [2]int{2024, 5},
		},
		{
			name:      "B21 several xattrs",
			layers:    []ti.Layer{usrShare(ti.File("usr/share/x", 0o644, "x").With("user.a", "1").With("user.b", "2"))},
			judgeFsck: "Corrupted file object", fixed: [2]int{2024, 10},
		},
		{
			name:   "B22 unnamed parent",
			layers: []ti.Layer{{Members: []ti.Member{ti.File("usr/share/new/x", 0o644, "x").Owned(7, 8)}}},
			judge:  []string{"d00755 7 8 /usr/share/new"}, ours: []string{"d00755 0 0 /usr/share/new"},
		},
		{
			name:   "B48 unnamed parent below a named one",
			layers: []ti.Layer{derived(ti.Dir("usr/private", 0o700).Owned(1, 2), ti.File("usr/private/new/x", 0o644, "x"))},
			judge:  []string{"d00755 0 0 /usr/private"}, ours: []string{"d00700 1 2 /usr/private"},
		},
		{
			name:      "B24 file then directory",
			layers:    []ti.Layer{usrShare(ti.File("usr/share/x", 0o644, "x"), ti.Dir("usr/share/x", 0o755), ti.File("usr/share/x/y", 0o644, "y"))},
			judgePull: "Failed to commit tar", oursPull: `entry "usr/share/x": is both a directory and not a directory in this layer`,
		},
		{
			name:      "B25 FIFO",
			layers:    []ti.Layer{usrShare(ti.Member{Name: "usr/share/fifo", Type: ti.TypeFIFO, Mode: 0o600}, ti.File("usr/share/f", 0o644, "f"))},
			judgePull: `Unsupported file type for path "usr/share/fifo"`, oursFiltered: map[string]any{"/usr/share/fifo (FIFO)": uint64(1)},
		},
		{
			name:      "B28 several gzip members",
			layers:    []ti.Layer{{Members: usrShare(ti.BigFile("usr/share/f", 0o644, 100_000, 1)).Members, Compression: ti.GzipMembers}},
			judgePull: "unexpected EOF",
		},
		{
			name:     "B31 wrong diff_id",
			layers:   []ti.Layer{{Members: plainFile, DiffID: digest.FromString("other")}},
			oursPull: "diff_id mismatch",
		},
		{
			name:          "B33 PAX global header",
			layers:        []ti.Layer{usrShare(global, ti.File("usr/share/f", 0o644, "f"))},
			judgeFiltered: map[string]any{"pax_global_header": uint64(1)},
		},
		{
			name: "B49 PAX global header where all is kept", conf: "[composefs]\nenabled=yes\n",
			layers:    []ti.Layer{usrShare(global, ti.File("usr/share/f", 0o644, "f"))},
			judgePull: "Damaged tar archive",
		},
		{
			name:     "B37 wrong CRC",
			layers:   []ti.Layer{{Members: plainFile, Blob: badCRC(ti.Tar(plainFile...))}},
			oursPull: "wrong checksum",
		},
		{
			name:      "B38 newline in an xattr",
			layers:    []ti.Layer{usrShare(ti.File("usr/share/f", 0o644, "f").With("user.a", "1\n2"))},
			judgePull: "malformed pax extension",
		},
		{
			name:   "B39 symlink target",
			layers: []ti.Layer{usrShare(ti.Symlink("usr/share/l", "a//b"), ti.Symlink("usr/share/m", "a/./b"), ti.Symlink("usr/share/n", "a/"))},
			judge:  []string{"l00777 0 0 /usr/share/l -> a/b", "l00777 0 0 /usr/share/m -> a/b"},
			ours:   []string{"l00777 0 0 /usr/share/l -> a//b", "l00777 0 0 /usr/share/m -> a/./b"},
		},
		{
			name:   "B41 no history",
			layers: []ti.Layer{{Members: plainFile}}, image: func(i *ti.Image) { i.NoHistory = true },
			judgePull: "missing field `history`",
		},
		{
			name: "B43 doubled diff_ids", layers: []ti.Layer{{Members: plainFile}},
			image: func(i *ti.Image) {
				i.EditConfig = func(c *ocispec.Image) {
					for n := range c.RootFS.DiffIDs { // the last half is right
						c.RootFS.DiffIDs = slices.Insert(c.RootFS.DiffIDs, n, digest.FromString(fmt.Sprint(n)))
					}
				}
			},
			judgePull: "diffid position 12 exceeds layer count 7",
		},
		{
			name:      "B45 label in the tar",
			base:      func(t testing.TB) *ti.Base { return selinuxBase(t, smallPolicy, true, ti.BaseMembers()) },
			layers:    []ti.Layer{usrShare(ti.File("usr/share/f", 0o644, "f").With("security.selinux", "system_u:object_r:other_t:s0\x00"))},
			judgeFsck: "Corrupted file object",
		},
		{
			name:      "B47 mode of a symlink",
			layers:    []ti.Layer{usrShare(mode(ti.Symlink("usr/share/l", "t"), 0o755))},
			judgeFsck: "Corrupted file object",
		},
		{
			name:      "B50 link to a link",
			layers:    []ti.Layer{usrShare(ti.Hardlink("usr/share/b", "usr/share/a"), ti.Hardlink("usr/share/c", "usr/share/b"), ti.Hardlink("usr/share/d", "usr/share/c"), ti.File("usr/share/a", 0o644, "a"))},
			judgePull: "Processing deferred hardlink usr/share/",
		},
		{
			name:   "B50 file after a link of its name",
			layers: []ti.Layer{usrShare(ti.File("usr/share/a", 0o644, "a"), ti.Hardlink("usr/share/b", "usr/share/a"), ti.File("usr/share/b", 0o600, "own"))},
			judge:  []string{"-00644 0 0 1 /usr/share/b"}, ours: []string{"-00600 0 0 3 /usr/share/b"},
		},
		{
			name:      "B51 root named slash",
			layers:    []ti.Layer{{Members: []ti.Member{ti.Dir("/", 0o755), ti.Dir("usr", 0o755), ti.File("usr/f", 0o644, "f")}}},
			judgePull: "paths in archives must have at least one component",
		},
		{
			name:      "B51 newline in a PAX path",
			layers:    []ti.Layer{usrShare(ti.File("usr/share/a\nb", 0o644, "f"))},
			judgePull: "malformed pax extension",
		},
		{
			name:      "B51 odd whiteout",
			layers:    []ti.Layer{usrShare(ti.File("usr/share/.wh..", 0o644, ""))},
			judgePull: "unlinkat(.): Invalid argument", oursPull: `invalid whiteout ".wh.."`,
		},
		{
			name:   "fixed since, PAX path undoes the move of etc",
			layers: []ti.Layer{derived(ti.Dir("etc", 0o755), pax(ti.File("etc/f", 0o644, "f")))},
			judge:  []string{"d00755 0 0 /etc", "-00644 0 0 1 /etc/f"}, ours: []string{"-00644 0 0 1 /usr/etc/f"},
		},
		{
			name: "added since, composefs verity", conf: "[composefs]\nenabled=verity\n",
			layers:        []ti.Layer{derived(ti.Dir("opt", 0o755), ti.File("opt/f", 0o644, "f"))},
			judgeFiltered: map[string]any{"opt": uint64(2)}, ours: []string{"d00755 0 0 /opt", "-00644 0 0 1 /opt/f"},
		},
		{
			name:   "added since, empty hostname and resolv.conf",
			layers: []ti.Layer{derived(ti.Dir("etc", 0o755), ti.File("etc/hostname", 0o644, ""), ti.File("etc/resolv.conf", 0o644, ""))},
			judge:  []string{"-00644 0 0 0 /usr/etc/hostname", "-00644 0 0 0 /usr/etc/resolv.conf"},
		},
	}
}

// badCRC is a gzip file with a wrong checksum at its end.
func badCRC(tar []byte) []byte {
	b := slices.Clone(gzipped(tar))
	b[len(b)-8] ^= 0xff
	return b
}

var sizeColumn = regexp.MustCompile(`^([dl]\d+ \d+ \d+) +\d+ `)

// listing is "ostree ls -R -X" without blanks, and without the sizes of directories.
func listing(t testing.TB, repo, commit string) []string {
	t.Helper()
	var out []string
	for _, line := range strings.Split(strings.TrimSpace(ti.Run(t, "ostree", "--repo="+repo, "ls", "-R", "-X", commit)), "\n") {
		line = sizeColumn.ReplaceAllString(line, "$1 ")
		out = append(out, strings.ReplaceAll(strings.Join(strings.Fields(line), " "), " { @a(ayay) [] }", ""))
	}
	return out
}

func minus(list, other []string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(s string) bool { return contains(other, s) })
}

// interopDifferences: each difference is what docs/interop.md says it is. A
// judge that behaves better one day fails the test, so that the list stays true.
func interopDifferences(t *testing.T, p programs) {
	plain := bigBase(t)
	host := t.TempDir()
	require.NoError(t, os.WriteFile(host+"/precious", nil, 0o600))
	for _, d := range differences(host) {
		t.Run(d.name, func(t *testing.T) {
			onHost := []string{"f"}
			if d.fixed != [2]int{} && ostree.AtLeast(d.fixed[0], d.fixed[1]) {
				d.judgePull, d.judgeFsck, d.judge, d.ours, onHost = d.oursPull, "", nil, nil, []string{"precious"}
			}
			img := ti.Image{Base: plain, Layers: d.layers}
			if d.conf != "" {
				img.Base = &quietBase(t, d.conf).Base
			}
			if d.base != nil {
				img.Base = d.base(t)
			}
			if d.image != nil {
				d.image(&img)
			}
			w := img.Write(t, t.TempDir(), "latest")
			ours, judge := bareRepo(t), bareRepo(t)
			_, oursSaid, oursErr := p.ours.try("pull", "--quiet", ours, unverifiedImage+w.Ref)
			oracle.Fsck(t, ours)
			if strings.HasPrefix(d.name, "B19") {
				assert.Equal(t, []string{"precious"}, fileNames(t, host))
			}
			_, judgeSaid, judgeErr := p.judge.try("pull", "--quiet", judge, unverifiedImage+w.Ref)
			if strings.HasPrefix(d.name, "B19") {
				assert.Equal(t, onHost, fileNames(t, host), "on the host, by the judge")
			}
			outcome := func(said string, err error, want string) {
				if want != "" {
					require.Error(t, err)
					assert.Contains(t, said, want)
				} else {
					require.NoError(t, err, said)
				}
			}
			outcome(oursSaid, oursErr, d.oursPull)
			outcome(judgeSaid, judgeErr, d.judgePull)
			if _, err := ti.Output("ostree", "--repo="+judge, "fsck", "--quiet"); d.judgeFsck != "" {
				require.ErrorContains(t, err, d.judgeFsck)
			} else {
				require.NoError(t, err)
			}
			name := imageRefName(t, w.Ref)
			for _, c := range []struct {
				repo string
				err  error
				want map[string]any
			}{{judge, judgeErr, d.judgeFiltered}, {ours, oursErr, d.oursFiltered}} {
				if c.err == nil {
					refs, commits := snapshot(t, c.repo)
					got := commits[refs[name]].Metadata["ostree.tar-filtered"].(map[string]any)[w.Manifest.Layers[len(w.Manifest.Layers)-1].Digest.String()]
					if c.want == nil {
						assert.Nil(t, got)
					} else {
						assert.Equal(t, any(c.want), got)
					}
				}
			}
			if judgeErr == nil && oursErr == nil {
				judgeList, oursList := listing(t, judge, name), listing(t, ours, name)
				assert.ElementsMatch(t, d.judge, minus(judgeList, oursList), "only the judge has")
				assert.ElementsMatch(t, d.ours, minus(oursList, judgeList), "only ours has")
			}
		})
	}
	interopSteps(t, p)
}

func fileNames(t testing.TB, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// interopSteps are differences that show in more than one step.
func interopSteps(t *testing.T, p programs) {
	base := bigBase(t)
	layer := usrShare(ti.File("usr/share/f", 0o644, "right"), ti.Dir("opt", 0o755), ti.File("opt/f", 0o644, "f"))
	img := ti.Image{Base: base, Layers: []ti.Layer{layer}}

	t.Run("B35 corrupted blob", func(t *testing.T) {
		plain := layer
		plain.Compression = ti.None
		good := ti.Image{Base: base, Layers: []ti.Layer{plain}}.Write(t, t.TempDir(), "x")
		plain.Mangle = func(b []byte) []byte { return bytes.Replace(b, []byte("right"), []byte("wrong"), 1) }
		bad := ti.Image{Base: base, Layers: []ti.Layer{plain}}.Write(t, t.TempDir(), "x")
		for now, want := range map[program]string{p.judge: "wrong", p.ours: "right"} {
			repo := bareRepo(t)
			_, _, err := now.try("pull", "--quiet", repo, unverifiedImage+bad.Ref)
			require.Error(t, err, now.name)
			_, merge := now.pull(t, repo, good.Ref)
			assert.Equal(t, want, ti.Run(t, "ostree", "--repo="+repo, "cat", merge, "/usr/share/f"), now.name)
		}
	})
	t.Run("B33 GNU sparse file", func(t *testing.T) {
		m := ti.Member{Name: "usr/sparse", Mode: 0o644, Size: 10_000, Sparse: []ti.Span{{Offset: 4096, Data: []byte("middle")}}}
		w := ti.Image{Base: base, Layers: []ti.Layer{derived(m)}}.Write(t, t.TempDir(), "x")
		for now, right := range map[program]bool{p.judge: false, p.ours: true} {
			repo := bareRepo(t)
			_, merge := now.pull(t, repo, w.Ref)
			got := ti.Run(t, "ostree", "--repo="+repo, "cat", merge, "/usr/sparse")
			assert.Len(t, got, 10_000, now.name)
			assert.Equal(t, right, string(m.Data()) == got, now.name)
		}
	})
	t.Run("B36 incomplete base", func(t *testing.T) {
		short := *base
		short.Manifest.Layers = slices.Delete(slices.Clone(short.Manifest.Layers), 1, 2)
		short.Config.RootFS.DiffIDs = slices.Delete(slices.Clone(short.Config.RootFS.DiffIDs), 1, 2)
		w := ti.Image{Base: &short}.Write(t, t.TempDir(), "x")
		repo := bareRepo(t)
		_, _, err := p.judge.try("pull", "--quiet", repo, unverifiedImage+w.Ref)
		require.Error(t, err)
		_, err = ti.Output("ostree", "--repo="+repo, "fsck", "--quiet")
		require.Error(t, err)
		// Ours neither builds on what the judge left nor calls it complete.
		for _, repo := range []string{repo, bareRepo(t)} {
			_, stderr, err := p.ours.try("pull", "--quiet", repo, unverifiedImage+w.Ref)
			require.Error(t, err)
			assert.Contains(t, stderr, "incomplete")
			assert.NotContains(t, oracle.Refs(t, repo), imageRefName(t, w.Ref))
		}
	})
	t.Run("B42 reproducible", func(t *testing.T) {
		w := img.Write(t, t.TempDir(), "x")
		merges := map[string]map[string]bool{}
		for range 4 {
			for _, now := range []program{p.judge, p.ours} {
				_, merge := now.pull(t, bareRepo(t), w.Ref)
				if merges[now.name] == nil {
					merges[now.name] = map[string]bool{}
				}
				merges[now.name][merge] = true
			}
		}
		assert.Len(t, merges["ours"], 1)
		assert.Greater(t, len(merges["judge"]), 1)
	})
	t.Run("added since, reuse by diff_id", func(t *testing.T) {
		first := img.Write(t, t.TempDir(), "x")
		fast := layer
		fast.Compression = ti.Zstd
		second := ti.Image{Base: base, Layers: []ti.Layer{fast}}.Write(t, t.TempDir(), "x")
		// The judge's commits do not say which diff_id was verified (B31), so ours trusts only its own.
		for _, c := range []struct {
			wrote, now program
			fetched    bool
		}{{p.judge, p.judge, true}, {p.judge, p.ours, true}, {p.ours, p.ours, false}} {
			now, fetched := c.now, c.fetched
			repo := bareRepo(t)
			c.wrote.pull(t, repo, first.Ref)
			lines, _ := now.pull(t, repo, second.Ref)
			assert.Equal(t, fetched, strings.HasPrefix(lines[0], "layers already present: 6; layers needed: 1 "), "%s: %s", now.name, lines)
			oracle.Fsck(t, repo)
		}
	})
	t.Run("counts of what was left out survive an update", func(t *testing.T) {
		dir := t.TempDir()
		for _, now := range []program{p.judge, p.ours} {
			repo := bareRepo(t)
			v1 := img.Write(t, dir, "x")
			now.pull(t, repo, v1.Ref)
			v2 := ti.Image{Base: base, Layers: []ti.Layer{layer, usrShare(ti.File("usr/share/g", 0o644, "g"))}}.Write(t, dir, "x")
			_, merge := now.pull(t, repo, v2.Ref)
			_, commits := snapshot(t, repo)
			got := commits[merge].Metadata["ostree.tar-filtered"]
			if now == p.judge {
				assert.Equal(t, map[string]any{}, got)
			} else {
				assert.Equal(t, map[string]any{v1.Manifest.Layers[len(v1.Manifest.Layers)-1].Digest.String(): map[string]any{"opt": uint64(2)}}, got)
			}
		}
	})
}

// interopModes: the judge pulls into any repository, and gets it wrong in all but bare ones (B18, B26).
func interopModes(t *testing.T, p programs) {
	w := ti.Image{Base: bigBase(t), Layers: stack()}.Write(t, t.TempDir(), "latest")
	bare := bareRepo(t)
	_, want := p.ours.pull(t, bare, w.Ref)
	for _, mode := range []string{"bare-user", "archive"} {
		t.Run(mode, func(t *testing.T) {
			judge, ours := filepath.Join(t.TempDir(), "judge"), filepath.Join(t.TempDir(), "ours")
			for _, repo := range []string{judge, ours} {
				ti.Run(t, "ostree", "--repo="+repo, "init", "--mode="+mode)
			}
			_, got := p.ours.pull(t, ours, w.Ref)
			assert.Equal(t, want, got)
			_, stderr, err := p.judge.try("pull", "--quiet", judge, unverifiedImage+w.Ref)
			if mode == "archive" {
				require.Error(t, err)
				assert.Contains(t, stderr, "Cannot currently use ostree_repo_write_regfile() on an archive mode repository")
				return
			}
			require.NoError(t, err) // although owners, modes and xattrs are those of the checkout
			name := imageRefName(t, w.Ref)
			assert.Equal(t, []string{"-00400 0 0 9 /usr/etc/shadow", "d00700 0 0 /usr/etc/private", "d01777 0 0 /usr/share/dirx"},
				without(listing(t, judge, name), listing(t, ours, name)), "only the judge has")
		})
	}
}
