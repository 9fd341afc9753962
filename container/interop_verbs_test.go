package container_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	ti "github.com/ostree-container/ostree-container/container/internal/testimage"
)

// verb runs "PROGRAM ARGS..." and returns both outputs and the exit status.
func (p program) verb(t testing.TB, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	c := exec.Command(p.path, args...)
	c.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "OSTREE_SYSROOT_DEBUG=mutable-deployments", "G_MESSAGES_DEBUG=")
	var out, errOut bytes.Buffer
	c.Stdout, c.Stderr = &out, &errOut
	if err := c.Run(); err != nil {
		var exit *exec.ExitError
		require.ErrorAs(t, err, &exit)
		status = exit.ExitCode()
	}
	return out.String(), errOut.String(), status
}

// alike runs the same with both programs and expects the same exit status and, unless it failed, the same standard output.
func (p programs) alike(t testing.TB, status int, args ...string) (judgeSaid, oursSaid string) {
	t.Helper()
	out, errOut, got := p.judge.verb(t, args...)
	require.Equal(t, status, got, "judge %s: %s", args, errOut)
	oursOut, oursErr, got := p.ours.verb(t, args...)
	require.Equal(t, status, got, "ours %s: %s", args, oursErr)
	if status == 0 {
		assert.Equal(t, out, oursOut, "%s", args)
		return out, oursOut
	}
	for _, text := range []string{errOut, oursErr} {
		assert.True(t, strings.HasPrefix(lastError(text), "error: "), "%s: %s", args, text)
	}
	return errOut, oursErr
}

func lastError(text string) string {
	last := ""
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "error: ") {
			last = line
		}
	}
	return last
}

// comparedVerbs are the verbs whose options are compared.
var comparedVerbs = []string{
	"container info", "container compare", "container commit", "container image list", "container image pull", "container image history",
	"container image metadata", "container image remove", "container image prune-layers", "container image prune-images",
	"container image deploy", "provisional-repair analyze-inodes", "provisional-repair repair",
}

var longOption = regexp.MustCompile(`(?m)^ +(?:-\w, )?--([a-z-]+)`)

// interopOptions: every option that a verb of the judge has, ours has too.
func interopOptions(t *testing.T, p programs) {
	for _, verb := range comparedVerbs {
		args := append(strings.Fields(verb), "--help")
		want, _, status := p.judge.verb(t, args...)
		require.Zero(t, status, verb)
		got, _, status := p.ours.verb(t, args...)
		require.Zero(t, status, verb)
		var have []string
		for _, m := range longOption.FindAllStringSubmatch(got, -1) {
			have = append(have, m[1])
		}
		n := 0
		for _, m := range longOption.FindAllStringSubmatch(want, -1) {
			assert.Contains(t, have, m[1], verb)
			n++
		}
		assert.Positive(t, n, verb) // --help at least
	}
}

// interopManifests: info and compare, which need no repository.
func interopManifests(t *testing.T, p programs) {
	base := bigBase(t)
	dir := t.TempDir()
	v1, v2 := version(t, base, dir+"/1", 1), version(t, base, dir+"/2", 2)
	reg := ti.NewRegistryTLS(t, dir+"/1")
	said, _ := p.alike(t, 0, "container", "info", unverifiedImage+v1.Ref)
	assert.Equal(t, unverifiedImage+v1.Ref+" digest: "+v1.Digest().String()+"\n", said)
	said, _ = p.alike(t, 0, "container", "compare", unverifiedImage+v1.Ref, unverifiedImage+v2.Ref)
	assert.Len(t, strings.Split(said, "\n"), 4)
	p.alike(t, 0, "container", "compare", unverifiedImage+v2.Ref, unverifiedImage+v2.Ref)
	for _, args := range [][]string{
		{"container", "info", unverifiedImage + "oci:/nowhere:x"}, {"container", "compare", unverifiedImage + v1.Ref, unverifiedImage + "oci:/nowhere:x"},
		{"container", "info", unverifiedImage + reg.Ref("os", "latest")}, // an unknown authority
	} {
		p.alike(t, 1, args...)
	}
	for _, args := range [][]string{
		{"container", "info"}, {"container", "info", "foo"}, {"container", "info", v1.Ref}, {"container", "compare", unverifiedImage + v1.Ref},
		{"container", "info", "--bogus", unverifiedImage + v1.Ref}, {"container", "commit", "x"}, {"container", "nonsense"},
		{"container", "image", "nonsense"},
	} {
		p.alike(t, 2, args...)
	}
}

// interopCommit: what is left of a container's root at the end of a build.
func interopCommit(t *testing.T, p programs) {
	ti.NeedTool(t, "unshare", "chroot", "mount", "find")
	if _, err := os.Stat("/sysroot/ostree/repo/config"); os.IsNotExist(err) {
		judge, ours := p.alike(t, 1, "container", "commit")
		assert.Equal(t, judge, ours)
	}
	left := map[string][]string{}
	for _, now := range []program{p.judge, p.ours} {
		root := t.TempDir()
		writeTree(t, root, "run/.containerenv", "run/a/b/c", "run/secrets/token", "tmp/x", "tmp/.hidden", "var/tmp/d/e", "var/cache/dnf/f",
			"var/lib/keep", "etc/keep", "program", "sysroot/ostree/repo/objects/keep")
		require.NoError(t, os.WriteFile(root+"/sysroot/ostree/repo/config", []byte("[core]\nrepo_version=1\nmode=bare-split-xattrs\n"), 0o644))
		for _, dir := range []string{"usr", "proc", "dev"} {
			require.NoError(t, os.Mkdir(filepath.Join(root, dir), 0o755))
		}
		for _, name := range []string{"bin", "lib", "lib64"} {
			require.NoError(t, os.Symlink("usr/"+name, filepath.Join(root, name)))
		}
		require.NoError(t, os.Symlink("/etc/keep", root+"/tmp/link"))
		ti.Run(t, "unshare", "--mount", "--propagation=private", "sh", "-euc", `
mount --bind /usr "$1/usr"
mount --bind "$1/run/secrets" "$1/run/secrets"
mount -t proc proc "$1/proc"
mount --bind "$2" "$1/program"
exec chroot "$1" /program container commit`, "sh", root, now.path)
		for line := range strings.Lines(ti.Run(t, "find", root, "-path", root+"/usr", "-prune", "-o", "-printf", "%P %y %m\n")) {
			left[now.name] = append(left[now.name], line)
		}
		slices.Sort(left[now.name])
	}
	assert.Equal(t, left["judge"], left["ours"])
	assert.Contains(t, left["ours"], "run/secrets/token f 644\n")
	assert.NotContains(t, left["ours"], "run/a d 755\n")
}

// interopRepair: the inode check and the repair of what is sound.
func interopRepair(t *testing.T, p programs) {
	base := bigBase(t)
	sysroot := newSysroot(t, "test")
	w := version(t, base, t.TempDir(), 1)
	p.ours.run(t, "deploy", "--sysroot="+sysroot, "--stateroot=test", "--imgref="+unverifiedImage+w.Ref)
	repo := sysroot + "/ostree/repo"
	documents := map[string]string{}
	for _, c := range []struct{ name, last string }{
		{"provisional-repair analyze-inodes --repo=" + repo, "OK: No colliding objects found."},
		{"provisional-repair repair --sysroot=" + sysroot + " --dry-run", "OK no corruption found"},
		{"provisional-repair repair --sysroot=" + sysroot, "OK no colliding inodes found"},
	} {
		for _, now := range []program{p.judge, p.ours} {
			file := filepath.Join(t.TempDir(), "result")
			out, errOut, status := now.verb(t, append(strings.Fields(c.name), "--write-result-to="+file)...)
			require.Zero(t, status, "%s, %s: %s", c.name, now.name, errOut)
			assert.Equal(t, c.last, lastLine(out), "%s, %s", c.name, now.name)
			doc, err := os.ReadFile(file)
			require.NoError(t, err)
			if now == p.judge {
				documents[c.name] = string(doc)
			} else {
				assert.JSONEq(t, documents[c.name], string(doc), c.name)
			}
		}
	}
	for _, args := range [][]string{
		{"provisional-repair", "analyze-inodes", "--repo=/nowhere"}, {"provisional-repair", "repair", "--sysroot=/nowhere"},
	} {
		p.alike(t, 1, args...)
	}
	for _, args := range [][]string{{"provisional-repair", "analyze-inodes"}, {"provisional-repair", "repair"}, {"provisional-repair", "nonsense"}} {
		p.alike(t, 2, args...)
	}
}
