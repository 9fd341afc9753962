package cli

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestAnalyzeInodes(t *testing.T) {
	t.Parallel()
	i := makeImages(t)
	repo := i.repo(t, "repo", "bare-user")
	require.Zero(t, run(t, "", "image", "pull", "-q", repo, "ostree-unverified-image:oci:"+i.layout()+":v1").status)
	assert.Equal(t, `$ provisional-repair analyze-inodes --repo DIR/repo --write-result-to DIR/result --verbose
OK: No colliding objects found.
$ provisional-repair analyze-inodes --repo DIR/repo --write-result-to DIR/no/result
2> error: --write-result-to: stat DIR/no: no such file or directory
? 1
$ provisional-repair analyze-inodes --repo DIR/no
2> error: open repository DIR/no: opening repo: opendir(DIR/no): No such file or directory
? 1
`, i.transcript(t, "provisional-repair analyze-inodes --repo DIR/repo --write-result-to DIR/result --verbose",
		"provisional-repair analyze-inodes --repo DIR/repo --write-result-to DIR/no/result",
		"provisional-repair analyze-inodes --repo DIR/no"))
	assert.Regexp(t, `^\{"inode64":0,"inode32":\d+,"collisions":\[\]\}$`, i.read(t, "result"))
}

func TestRepairOfASoundSysroot(t *testing.T) {
	i := makeImages(t)
	sysroot := i.sysroot(t)
	require.Zero(t, run(t, "", "image", "pull", "-q", sysroot+"/ostree/repo", "ostree-unverified-image:oci:"+i.layout()+":v1").status)
	for _, dry := range []string{"", "-n"} {
		args := []string{"provisional-repair", "repair", "--sysroot=" + sysroot, "--write-result-to=" + i.dir + "/result"}
		if dry != "" {
			args = append(args, dry)
		}
		r := run(t, "", args...)
		require.Zero(t, r.status, r.err)
		assert.Empty(t, r.err)
		assert.Regexp(t, `^ostree inode check:\n  64bit inodes: 0\n  32 bit inodes: \d+\n  collisions: 0\n\nOK no colliding inodes found\n`, r.out)
		assert.Regexp(t, `^\{"inodes":\{.*\},"likely-corrupted-container-image-merges":\[\],"booted-is-likely-corrupted":false,"staged-is-likely-corrupted":false\}$`,
			i.read(t, "result"))
		assert.Equal(t, dry != "", strings.HasSuffix(r.out, "OK no corruption found\n"))
	}
}

func TestCalledAs(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ args, want []string }{
		{nil, nil},
		{[]string{"/usr/bin/ostree-container", "image", "list"}, []string{"image", "list"}},
		{[]string{"ostree-provisional-repair", "provisional-repair", "repair"}, []string{"provisional-repair", "repair"}},
		{[]string{"ostree-provisional-repair", "--verbose", "provisional-repair", "repair"}, []string{"--verbose", "provisional-repair", "repair"}},
		{[]string{"/x/ostree-provisional-repair", "repair", "--sysroot=/"}, []string{"provisional-repair", "repair", "--sysroot=/"}},
	} {
		assert.Equal(t, tc.want, calledAs(tc.args))
	}
}

func TestCommitOutsideOfAContainer(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat("/sysroot/ostree/repo/config"); err == nil {
		t.Skip("needs a machine that is no container made of an ostree commit: /run would be emptied")
	}
	assert.Equal(t, result{err: "error: Not in an ostree-based container environment\n", status: 1}, run(t, "", "container", "commit"))
	assert.Equal(t, 2, run(t, "", "container", "commit", "x").status)
}
