package container_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/container/internal/oracle"
	ti "github.com/ostree-container/ostree-container/container/internal/testimage"
	"github.com/ostree-container/ostree-container/ostree"
)

// sysrootState is what can be seen of a sysroot, without what differs between
// the two by design: merge commits are called by their image's version.
type sysrootState struct {
	Refs    []string
	Origins map[string]string // by deployment: bytes
	Status  string            // ostree admin status
	Entries map[string]string // by name: boot loader entry
	Output  string            // of the program
}

// newSysroot makes a sysroot with a stateroot.
func newSysroot(t testing.TB, stateroot string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "sysroot")
	require.NoError(t, os.Mkdir(dir, 0o755))
	ti.Run(t, "ostree", "admin", "init-fs", "--modern", dir)
	ti.Run(t, "ostree", "admin", "os-init", "--sysroot="+dir, stateroot)
	ti.Run(t, "ostree", "--repo="+dir+"/ostree/repo", "config", "set", "core.fsync", "false")
	return dir
}

var checksumText = regexp.MustCompile(`\b[0-9a-f]{64}\b`)

// freed is the size of removed objects: commits differ in size, and the judge leaves another merge commit at each pull (B42). Of a
// deployment libostree prints it in the middle of the judge's output, which ours does not let it.
var freed = regexp.MustCompile(`(?m)^Freed.*\n?`)

func lookAt(t testing.TB, sysroot, output string) sysrootState {
	t.Helper()
	repoDir := filepath.Join(sysroot, "ostree/repo")
	oracle.Fsck(t, repoDir)
	repo, err := ostree.OpenRepo(t.Context(), repoDir)
	require.NoError(t, err)
	defer func() { assert.NoError(t, repo.Close()) }()
	refs, err := repo.ListRefs(t.Context(), "")
	require.NoError(t, err)
	name := func(text string) string {
		return checksumText.ReplaceAllStringFunc(text, func(sum string) string {
			c, _, err := repo.LoadCommit(t.Context(), sum)
			if err != nil {
				return sum // of kernel and initramfs
			}
			config, _, err := c.MetadataString("ostree.container.image-config")
			require.NoError(t, err)
			for _, v := range regexp.MustCompile(`"org.opencontainers.image.version":"([^"]*)"`).FindStringSubmatch(config)[1:] {
				return "VERSION-" + v
			}
			return sum
		})
	}
	s := sysrootState{Origins: map[string]string{}, Entries: map[string]string{}, Output: name(output)}
	for ref := range refs {
		s.Refs = append(s.Refs, ref)
	}
	slices.Sort(s.Refs)
	s.Status = name(ti.Run(t, "ostree", "admin", "status", "--sysroot="+sysroot))
	for pattern, into := range map[string]map[string]string{"ostree/deploy/*/deploy/*.origin": s.Origins, "boot/loader/entries/*.conf": s.Entries} {
		files, err := filepath.Glob(filepath.Join(sysroot, pattern))
		require.NoError(t, err)
		for _, f := range files {
			content, err := os.ReadFile(f)
			require.NoError(t, err)
			into[name(filepath.Base(f))] = name(string(content)) // newer libostrees name the deployment in entries
		}
	}
	return s
}

// interopSysroot: the same steps on four sysroots, by one program, by the
// other, and by both in turn, give the same origins, deployments, boot loader
// entries and refs.
func interopSysroot(t *testing.T, p programs) {
	base := bigBase(t)
	dir := t.TempDir()
	v1, v2, v3 := version(t, base, dir+"/1", 1), version(t, base, dir+"/2", 2), version(t, base, dir+"/3", 3)
	other := version(t, base, dir+"/other", 5)
	follow := "ostree-unverified-registry:example.com/os:latest"
	steps := []struct {
		name string
		args func(sysroot string) []string
	}{
		{"deploy with kernel arguments", func(s string) []string {
			return []string{"deploy", "--sysroot=" + s, "--stateroot=test", "--imgref=" + unverifiedImage + v1.Ref, "--karg=root=LABEL=x y", "--karg=rw", "--karg=console=ttyS0"}
		}},
		{"nothing to prune", func(s string) []string { return []string{"prune-images", "--sysroot=" + s} }},
		{"deploy an update, the arguments stay", func(s string) []string {
			return []string{"deploy", "--sysroot=" + s, "--stateroot=test", "--transport=oci", "--image=" + strings.TrimPrefix(v2.Ref, "oci:")}
		}},
		{"pull what is not deployed", func(s string) []string {
			return []string{"pull", "--quiet", s + "/ostree/repo", unverifiedImage + other.Ref}
		}},
		{"prune it, the layers stay", func(s string) []string { return []string{"prune-images", "--sysroot=" + s} }},
		{"pull it again", func(s string) []string {
			return []string{"pull", "--quiet", s + "/ostree/repo", unverifiedImage + other.Ref}
		}},
		{"prune it with its layers", func(s string) []string { return []string{"prune-images", "--sysroot=" + s, "--and-layers"} }},
		{"deploy over it, to follow another image", func(s string) []string {
			return []string{"deploy", "--sysroot=" + s, "--stateroot=test", "--imgref=" + unverifiedImage + v3.Ref, "--target-imgref=" + follow, "--karg=quiet"}
		}},
		{"prune all", func(s string) []string { return []string{"prune-images", "--sysroot=" + s, "--full"} }},
		{"nothing more to prune", func(s string) []string { return []string{"prune-images", "--sysroot=" + s, "--full"} }},
		{"deploy what is there already", func(s string) []string {
			return []string{"deploy", "--sysroot=" + s, "--stateroot=test", "--imgref=" + unverifiedImage + v2.Ref}
		}},
		{"prune all again", func(s string) []string { return []string{"prune-images", "--sysroot=" + s, "--full"} }},
	}
	want := make([]sysrootState, len(steps))
	for _, c := range []struct {
		name  string
		turns []program
	}{
		{"judge", []program{p.judge}},
		{"ours", []program{p.ours}},
		{"judge, ours", []program{p.judge, p.ours}},
		{"ours, judge", []program{p.ours, p.judge}},
	} {
		sysroot := newSysroot(t, "test")
		for i, step := range steps {
			now := c.turns[i%len(c.turns)]
			out, stderr, err := now.try(step.args(sysroot)...)
			require.NoError(t, err, "%s: %s by %s: %s", c.name, step.name, now.name, stderr)
			got := lookAt(t, sysroot, out)
			if want[i].Refs == nil {
				want[i] = got
				continue
			}
			what := fmt.Sprintf("%s: %s by %s", c.name, step.name, now.name)
			assert.Equal(t, want[i].Refs, got.Refs, what)
			assert.Equal(t, want[i].Origins, got.Origins, what)
			assert.Equal(t, want[i].Status, got.Status, what)
			assert.Equal(t, want[i].Entries, got.Entries, what)
			assert.Equal(t, freed.ReplaceAllString(want[i].Output, ""), freed.ReplaceAllString(got.Output, ""), what)
		}
	}
	assert.Equal(t, map[string]string{ // so that the comparison is known to be of something
		"VERSION-1.0.origin": "[origin]\ncontainer-image-reference=" + unverifiedImage + v1.Ref + "\n",
	}, want[0].Origins)
}

// interopDeployOptions: what deploy refuses, and its less usual options.
func interopDeployOptions(t *testing.T, p programs) {
	base := bigBase(t)
	w := version(t, base, t.TempDir(), 1)
	deploy := func(s string, more ...string) []string {
		return append([]string{"deploy", "--sysroot=" + s, "--stateroot=test"}, more...)
	}
	plain := ti.EncapsulatedBase(t, ti.BaseOptions{})
	noStateroot := "opendir(var): No such file or directory" // of libostree
	if ostree.AtLeast(2023, 8) {
		noStateroot = "No such stateroot: none"
	}
	for _, c := range []struct{ name, ref, stateroot, text, judge string }{
		{"not bootable", plain.Ref, "test", "Target image does not have ostree.bootable label", ""},
		{"other architecture", ti.Image{Base: base, Architecture: "s390x"}.Write(t, t.TempDir(), "x").Ref, "test", "Image has architecture s390x; expected ", ""},
		{"no such image", "oci:/nowhere:x", "test", "/nowhere", ""},
		{"no such stateroot", w.Ref, "none", `no such stateroot: "none"`, noStateroot},
	} {
		for _, now := range []program{p.judge, p.ours} {
			sysroot := newSysroot(t, "test")
			_, stderr, err := now.try("deploy", "--sysroot="+sysroot, "--stateroot="+c.stateroot, "--imgref="+unverifiedImage+c.ref)
			require.Error(t, err, "%s, %s", c.name, now.name)
			assert.True(t, strings.HasPrefix(lastLine(stderr), "error: Performing deployment: "), "%s, %s: %s", c.name, now.name, stderr)
			text := c.text
			if now == p.judge && c.judge != "" {
				text = c.judge
			}
			assert.Contains(t, stderr, text, "%s, %s", c.name, now.name)
			assert.Empty(t, lookAt(t, sysroot, "").Origins)
		}
	}

	// The merge commit is written to a file, without newline.
	for _, now := range []program{p.judge, p.ours} {
		sysroot, file := newSysroot(t, "test"), filepath.Join(t.TempDir(), "commit")
		now.run(t, deploy(sysroot, "--imgref="+unverifiedImage+w.Ref, "--write-commitid-to="+file)...)
		got, err := os.ReadFile(file)
		require.NoError(t, err)
		refs, _ := snapshot(t, sysroot+"/ostree/repo")
		assert.Equal(t, refs[imageRefName(t, w.Ref)], string(got), now.name)
	}

	// The default stateroot.
	var want *sysrootState
	for _, now := range []program{p.judge, p.ours} {
		sysroot := newSysroot(t, "default")
		now.run(t, "deploy", "--sysroot="+sysroot, "--imgref="+unverifiedImage+w.Ref)
		got := lookAt(t, sysroot, "")
		if want != nil {
			assert.Equal(t, *want, got)
		}
		want = &got
	}

	// --no-imgref: the judge collects the layers before it asks for them (B29).
	sysroot := newSysroot(t, "test")
	_, stderr, err := p.judge.try(deploy(sysroot, "--imgref="+unverifiedImage+w.Ref, "--no-imgref")...)
	require.Error(t, err)
	assert.Contains(t, stderr, "Missing base image ref")
	sysroot = newSysroot(t, "test")
	p.ours.run(t, deploy(sysroot, "--imgref="+unverifiedImage+w.Ref, "--no-imgref")...)
	refs := append([]string{"ostree/1/1/0"}, refsOf(t, w)[1:]...)
	assert.ElementsMatch(t, refs, lookAt(t, sysroot, "").Refs)
	// The judge keeps what is deployed only so, and reuses it.
	assert.Equal(t, "No content was pruned.\n", p.judge.run(t, "prune-images", "--sysroot="+sysroot, "--full"))
	lines, _ := p.judge.pull(t, sysroot+"/ostree/repo", w.Ref)
	assert.Equal(t, said(w, 0, 0, "Wrote:"), lines)
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}
