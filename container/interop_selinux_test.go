package container_test

import (
	"bytes"
	"compress/bzip2"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/container/internal/oracle"
	ti "github.com/ostree-container/ostree-container/container/internal/testimage"
)

// smallPolicy are file contexts with what is delicate: paths that ostree moves, types of files, and no label.
const smallPolicy = `/.*	system_u:object_r:default_t:s0
/	-d	system_u:object_r:root_t:s0
/usr/.*	system_u:object_r:usr_t:s0
/usr/bin(/.*)?	system_u:object_r:bin_t:s0
/usr/bin/tool	--	system_u:object_r:tool_exec_t:s0
/usr/share/[^/]*	-l	system_u:object_r:link_t:s0
/usr/share/opaque(/.*)?	system_u:object_r:opaque_t:s0
/etc(/.*)?	system_u:object_r:etc_t:s0
/etc/shadow	--	system_u:object_r:shadow_t:s0
/etc/new\.conf	--	system_u:object_r:new_t:s0
/var(/.*)?	system_u:object_r:var_t:s0
/opt(/.*)?	<<none>>
`

// policyMembers are the files of a policy in a commit's tree.
func policyMembers(etc, contexts string) []ti.Member {
	return []ti.Member{
		ti.Dir(etc+"/selinux", 0o755), ti.File(etc+"/selinux/config", 0o644, "SELINUX=enforcing\nSELINUXTYPE=test\n"),
		ti.Dir(etc+"/selinux/test", 0o755), ti.Dir(etc+"/selinux/test/policy", 0o755), ti.File(etc+"/selinux/test/policy/policy.33", 0o644, "policy"),
		ti.Dir(etc+"/selinux/test/contexts", 0o755), ti.Dir(etc+"/selinux/test/contexts/files", 0o755),
		ti.File(etc+"/selinux/test/contexts/files/file_contexts", 0o644, contexts),
	}
}

// selinuxBase is a base with a policy; the ostree command labels its commit, if it is to be labelled.
func selinuxBase(t testing.TB, contexts string, labelled bool, tree []ti.Member) *ti.Base {
	t.Helper()
	dir := t.TempDir()
	repo, tarFile, root := filepath.Join(dir, "repo"), filepath.Join(dir, "base.tar"), filepath.Join(dir, "root")
	members := slices.Concat(tree, policyMembers("usr/etc", contexts))
	require.NoError(t, os.WriteFile(tarFile, ti.Tar(members...), 0o600))
	ti.Run(t, "ostree", "--repo="+repo, "init", "--mode=archive")
	args := []string{"--repo=" + repo, "commit", "--branch=base", "--no-bindings", "--tree=tar=" + tarFile, "--timestamp=@1700000000"}
	if labelled {
		for _, m := range policyMembers("etc", contexts) {
			path := filepath.Join(root, m.Name)
			if m.Type == ti.TypeDir {
				require.NoError(t, os.MkdirAll(path, 0o755))
			} else {
				require.NoError(t, os.WriteFile(path, m.Content, 0o600))
			}
		}
		args = append(args, "--selinux-policy="+root)
	}
	ti.Run(t, "ostree", args...)
	ti.Run(t, ti.Judge(t), "container", "encapsulate", "--repo="+repo, "base", "oci:"+dir+"/oci:latest")
	base, err := ti.LoadBase(dir+"/oci", "latest")
	require.NoError(t, err)
	return base
}

// debianContexts are the file contexts in Debian's reference policy, read out of its modules.
func debianContexts(t testing.TB) string {
	t.Helper()
	if _, err := exec.LookPath("apt-get"); err != nil {
		t.Skip("no Debian: ", err)
	}
	dir := t.TempDir()
	require.NoError(t, os.Chmod(dir, 0o777)) // apt downloads as another user
	get := exec.Command("apt-get", "-q", "download", "selinux-policy-default")
	get.Dir = dir
	if out, err := get.CombinedOutput(); err != nil {
		ti.Missing(t, fmt.Sprintf("Debian's package selinux-policy-default: %v: %s", err, out))
	}
	debs, err := filepath.Glob(dir + "/*.deb")
	require.NoError(t, err)
	require.Len(t, debs, 1)
	ti.Run(t, "dpkg", "-x", debs[0], dir)
	modules, err := filepath.Glob(dir + "/usr/share/selinux/default/*.pp*")
	require.NoError(t, err)
	var all strings.Builder
	for _, m := range modules {
		content, err := os.ReadFile(m)
		require.NoError(t, err)
		for _, line := range strings.Split(moduleContexts(t, content), "\n") {
			if !strings.Contains(line, "HOME_") && !strings.Contains(line, "ROLE") { // templates
				all.WriteString(line + "\n")
			}
		}
	}
	assert.Greater(t, strings.Count(all.String(), "system_u:object_r:"), 4000)
	return all.String()
}

// moduleContexts finds the file contexts in a policy package: a magic number, a version, and the offsets of sections, each with a magic number of its own.
func moduleContexts(t testing.TB, b []byte) string {
	t.Helper()
	if bytes.HasPrefix(b, []byte("BZh")) {
		var err error
		b, err = io.ReadAll(bzip2.NewReader(bytes.NewReader(b)))
		require.NoError(t, err)
	}
	word := func(at uint32) uint32 { return binary.LittleEndian.Uint32(b[at:]) }
	require.Equal(t, uint32(0xf97cff8f), word(0))
	n := word(8)
	for i := range n {
		start, end := word(12+4*i), uint32(len(b))
		if i+1 < n {
			end = word(12 + 4*(i+1))
		}
		if word(start) == 0xf97cff90 {
			return string(b[start+4 : end])
		}
	}
	return ""
}

// oneLabel takes out of layers the xattrs that sort after the label: the judge's objects are not sorted, and corrupted (B21).
func oneLabel(layers []ti.Layer) []ti.Layer {
	for _, l := range layers {
		for i := range l.Members {
			m := &l.Members[i]
			m.Xattrs = slices.DeleteFunc(slices.Clone(m.Xattrs), func(x ti.Xattr) bool { return x.Name > "security.selinux" })
		}
	}
	return layers
}

// interopSELinux: labels are the same, of the layers and of the merged tree.
func interopSELinux(t *testing.T, p programs) {
	stack := func() []ti.Layer { return oneLabel(stack()) }
	small := selinuxBase(t, smallPolicy, true, ti.BaseMembers())
	transient := selinuxBase(t, smallPolicy, true, prepareRoot("[root]\ntransient=true\n"))
	unlabelled := selinuxBase(t, smallPolicy, false, ti.BaseMembers())
	changed := derived(append([]ti.Member{ti.Dir("etc", 0o755)}, policyMembers("etc", strings.ReplaceAll(smallPolicy, "_t:", "_other_t:"))...)...)
	dropped := derived(ti.Dir("etc", 0o755), ti.Whiteout("etc/selinux"))
	type named struct {
		name  string
		image ti.Image
	}
	images := []named{
		{"base", ti.Image{Base: small}},
		{"derived", ti.Image{Base: small, Layers: stack()}},
		{"derived, transient root", ti.Image{Base: transient, Layers: stack()}},
		{"a layer changes the policy", ti.Image{Base: small, Layers: append(stack(), changed)}},
		{"a lower layer changes it", ti.Image{Base: small, Layers: append([]ti.Layer{changed}, stack()...)}},
		{"a layer removes the policy", ti.Image{Base: small, Layers: append(stack(), dropped)}},
		{"the base is not labelled", ti.Image{Base: unlabelled}},
		{"the base of layers is not labelled", ti.Image{Base: unlabelled, Layers: stack()}},
		{"only a layer has a policy", ti.Image{Base: bigBase(t), Layers: append(stack(), changed)}},
		{"the lowest layer has the policy", ti.Image{Base: bigBase(t), Layers: append([]ti.Layer{policyLayer(smallPolicy)}, unlabelledLayers()...)}},
	}
	quiet := []*ti.Base{selinuxBase(t, smallPolicy, true, quietMembers("")), selinuxBase(t, smallPolicy, true, quietMembers("[composefs]\nenabled=yes\n"))}
	for seed := range uint64(8) {
		layers := ti.Random(60_000+seed, ti.RandomOptions{Features: ti.ReferenceSafe(), MaxLayers: 4})
		if !meets(layers) {
			tame(layers)
			images = append(images, named{fmt.Sprint("random ", seed), ti.Image{Base: quiet[seed%2], Layers: oneLabel(layers)}})
		}
	}
	for _, c := range images {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			judge, _ := p.pulledAlike(t, c.image.Write(t, t.TempDir(), "latest"))
			for ref, commit := range oracle.Refs(t, judge) {
				if strings.Contains(ref, "/image/") {
					assert.Contains(t, oracle.List(t, judge, commit), "security.selinux", "nothing is labelled: the test says nothing")
				}
			}
		})
	}
	t.Run("Debian", func(t *testing.T) {
		t.Parallel()
		base := selinuxBase(t, debianContexts(t), true, prepareRoot("[composefs]\nenabled=yes\n"))
		p.pulledAlike(t, ti.Image{Base: base, Layers: stack()}.Write(t, t.TempDir(), "latest"))
	})
}

// dirTreeOf is the checksum of a directory's dirtree, as the ostree command lists it.
func dirTreeOf(t testing.TB, repo, commit, path string) string {
	t.Helper()
	fields := strings.Fields(lines(oracle.List(t, repo, commit))[path])
	require.Greater(t, len(fields), 5, "%s of %s", path, commit)
	return fields[4]
}

// labelledByOSTree is the tree of a layer with the labels that the ostree command gives it by the policy of a merge commit.
func labelledByOSTree(t testing.TB, repo, layer, merge string) (tree, meta string) {
	t.Helper()
	dir := t.TempDir()
	ti.Run(t, "ostree", "--repo="+repo, "checkout", "--force-copy", merge, dir+"/root")
	ti.Run(t, "ostree", "--repo="+repo, "checkout", "--force-copy", layer, dir+"/layer")
	commit := ti.Run(t, "ostree", "--repo="+repo, "commit", "--orphan", "--tree=dir="+dir+"/layer", "--selinux-policy="+dir+"/root")
	both := treeOf(t, repo, commit[:64])
	return both[0], both[1]
}

// interopRelabelled: layers that one program labelled, or left without labels, serve the other one's updates, and the tree is that of a
// fresh pull.
func interopRelabelled(t *testing.T, p programs) {
	base := bigBase(t) // this version of the judge refuses images without one
	p.each(t, func(t *testing.T, first, second program) {
		dir, repo := t.TempDir(), bareRepo(t)
		layers := append([]ti.Layer{policyLayer(smallPolicy)}, unlabelledLayers()...)
		other := append([]ti.Layer{policyLayer(strings.ReplaceAll(smallPolicy, "_t:", "_other_t:"))}, layers[1:]...)
		stored := 0
		for n, v := range [][]ti.Layer{layers[:2], layers, other, append(slices.Clone(other), goodLayer("more"))} {
			now := []program{first, second}[n%2]
			w := ti.Image{Base: base, Layers: v}.Write(t, dir, "latest")
			if n == 0 {
				stored = -nativeLayers(t, w)
			}
			stored += nativeLayers(t, w)
			said, merge := now.pull(t, repo, w.Ref)
			assert.Contains(t, strings.Join(said, "\n"), fmt.Sprintf("layers already present: %d; layers needed: %d", stored, len(w.Manifest.Layers)-stored), "version %d by %s", n+1, now.name)
			stored = len(v)
			if n == 1 {
				stored-- // the next version has another policy
			}
			oracle.Fsck(t, repo)
			assert.Equal(t, freshTree(t, p.judge, w), treeOf(t, repo, merge), "version %d by %s", n+1, now.name)
			if now.name == "ours" { // also what the judge had stored twice is shared
				refs := oracle.Refs(t, repo)
				assert.ElementsMatch(t, refsOf(t, w), keys(refs))
				merged := lines(oracle.List(t, repo, merge))
				for path, line := range lines(layerListings(t, repo, w)[len(w.Manifest.Layers)-1]) {
					if line[0] != 'd' && !strings.Contains(path, "/.wh.") {
						assert.Equal(t, merged[path], line)
					}
				}
			}
		}
		ti.Run(t, "ostree", "--repo="+repo, "prune", "--refs-only", "--depth=0")
		oracle.Fsck(t, repo)
	})
}
