package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// smallCommit is an archive repository with one commit, the branch "os".
func smallCommit(t *testing.T) (repo, commit string) {
	t.Helper()
	needTool(t, "ostree")
	dir := t.TempDir()
	repo = filepath.Join(dir, "repo")
	tree := filepath.Join(dir, "tree")
	require.NoError(t, os.MkdirAll(filepath.Join(tree, "usr", "bin"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(tree, "usr", "bin", "hello"), []byte("hello\n"), 0o755))
	require.NoError(t, os.Symlink("hello", filepath.Join(tree, "usr", "bin", "hi")))
	tool(t, "ostree", "--repo="+repo, "init", "--mode=archive")
	return repo, strings.TrimSpace(tool(t, "ostree", "--repo="+repo, "commit", "--branch=os", "--timestamp=@1700000000",
		"--owner-uid=0", "--owner-gid=0", "--no-xattrs", "--tree=dir="+tree))
}

func TestEncapsulateAndBack(t *testing.T) {
	t.Parallel()
	repo, commit := smallCommit(t)
	dir := t.TempDir()
	first := run(t, "", "container", "encapsulate", "--repo", repo, "os", "oci:"+dir+"/a:v1")
	require.Zero(t, first.status, first.err)
	assert.Regexp(t, `^sha256:[0-9a-f]{64}\n$`, first.out)
	assert.Contains(t, first.err, "Wrote layer 1/1 (")
	again := run(t, "", "container", "export", "-q", "--repo", repo, commit, "oci:"+dir+"/b")
	assert.Equal(t, result{out: first.out}, again, "the same digest")
	archive := run(t, "", "container", "encapsulate", "-q", "--repo", repo, "os", "oci-archive:"+dir+"/c.tar")
	assert.Equal(t, result{out: first.out}, archive, "through a temporary directory too")
	left, err := filepath.Glob(dir + "/ostree-container-*")
	require.NoError(t, err)
	assert.Empty(t, left)

	for n, from := range []string{"oci:" + dir + "/a:v1", "oci:" + dir + "/b", "oci-archive:" + dir + "/c.tar"} {
		into := filepath.Join(dir, "into"+string(rune('0'+n)))
		tool(t, "ostree", "--repo="+into, "init", "--mode=archive")
		r := run(t, "", "container", "unencapsulate", "--quiet", "--repo", into, "--write-ref", "x", "ostree-unverified-image:"+from)
		assert.Equal(t, result{out: "Imported: x => " + commit + "\n"}, r)
		r = run(t, "", "container", "import", "--format", "json", "--quiet", "--repo", into, "ostree-unverified-image:"+from)
		require.Zero(t, r.status, r.err)
		assert.Contains(t, r.out, `"commit":"`+commit+`"`)
	}
	stream := run(t, "", "tar", "export", "--repo", repo, "os")
	require.Zero(t, stream.status, stream.err)
	tty, shown := terminal(t)
	var refused bytes.Buffer
	status := Run(t.Context(), "1.2.3", []string{"tar", "export", "--repo", repo, "os"}, Streams{In: strings.NewReader(""), Out: tty, Err: &refused})
	assert.Equal(t, 2, status)
	assert.Contains(t, refused.String(), "error: a tar stream is not written to a terminal: redirect standard output to a file or pipe\n")
	assert.Empty(t, shown())
	file := filepath.Join(dir, "commit.tar")
	require.NoError(t, os.WriteFile(file, []byte(stream.out), 0o600))
	into := filepath.Join(dir, "into")
	tool(t, "ostree", "--repo="+into, "init", "--mode=archive")
	assert.Equal(t, result{out: "Imported: " + commit + "\n"}, run(t, "", "tar", "import", "--repo", into, file))
	assert.Equal(t, result{out: "Imported: " + commit + "\n"}, run(t, stream.out, "tar", "import", "--repo", into))

	r := run(t, "", "container", "image", "replace-detached-metadata", "--src", "oci:"+dir+"/a:v1", "--dest", "oci:"+dir+"/d")
	assert.Regexp(t, `^Pushed: sha256:[0-9a-f]{64}\n$`, r.out, r.err)
	// A password on standard input is for both sides.
	r = run(t, "secret\n", "container", "image", "replace-detached-metadata", "--creds=user", "--src", "oci:"+dir+"/a:v1", "--dest", "oci:"+dir+"/d")
	assert.Regexp(t, `^Pushed: sha256:[0-9a-f]{64}\n$`, r.out, r.err)
}

func TestEncapsulateUsage(t *testing.T) {
	t.Parallel()
	repo, _ := smallCommit(t)
	out := filepath.Join(t.TempDir(), "out")
	base := []string{"container", "encapsulate", "--repo", repo, "os", "oci:" + out}
	for name, bad := range map[string]struct {
		args   []string
		status int
		want   string
	}{
		"no repo":       {[]string{"container", "encapsulate", "os", "oci:x"}, 2, "--repo"},
		"root and rev":  {[]string{"container", "encapsulate", "--rootfs", "/x", "os", "oci:x"}, 2, "unexpected argument"},
		"created alone": {append(base, "--created", "2026-01-02T03:04:05Z"), 2, "need --rootfs"},
		"created":       {[]string{"container", "encapsulate", "--rootfs", "/x", "--created", "today", "oci:x"}, 2, "today"},
		"no image":      {[]string{"container", "encapsulate", "--repo", repo, "os"}, 2, "IMGREF"},
		"bad image":     {[]string{"container", "encapsulate", "--repo", repo, "os", "nothing"}, 2, "Missing ':'"},
		"compression":   {append(base, "--compression", "lzma"), 2, "gzip, zstd or none"},
		"level":         {append(base, "--compression-level", "12"), 2, "1 to 9"},
		"level of none": {append(base, "--compression=none", "--compression-level=3"), 2, "--compression-level cannot be used with --compression=none"},
		"two registries": {
			append(base[:5:5], "docker://two.example/x", "--creds=user", "--contentmeta=x", "--previous-build-manifest=docker://one.example/x"), 2,
			"--creds is for one registry, and one.example and two.example are two: use --authfile",
		},
		"two levels":    {append(base, "--compression-fast", "--compression-level", "2"), 2, "cannot be used with"},
		"layers":        {append(base, "--max-layers", "3"), 2, "at least 4"},
		"layers alone":  {append(base, "--max-layers", "5"), 2, "--contentmeta"},
		"jobs":          {append(base, "--jobs", "0"), 2, "--jobs"},
		"auth":          {append(base, "--authfile", "x", "--creds", "a:b"), 2, "Conflicting authentication options"},
		"no user":       {append(base, "--creds="), 2, "--creds: the user's name is missing"},
		"label":         {append(base, "--label", "x"), 1, "Missing '=' in label x"},
		"no config":     {append(base, "--config", "/nowhere"), 1, "/nowhere"},
		"tar version":   {[]string{"tar", "export", "--repo", repo, "--format-version", "2", "os"}, 2, "--format-version"},
		"tar rev":       {[]string{"tar", "export", "--repo", repo, "none"}, 1, "none"},
		"tar no stream": {[]string{"tar", "import", "--repo", repo, "/nowhere"}, 1, "/nowhere"},
		"tar garbage":   {[]string{"tar", "import", "--repo", repo}, 1, "Commit object not found"},
		"metadata from one registry to another": {
			[]string{"image", "replace-detached-metadata", "--creds=user", "--src=docker://one.example:5000/x", "--dest=docker://x"}, 2,
			"--creds is for one registry, and one.example:5000 and docker.io are two: use --authfile",
		},
		"no dest": {[]string{"image", "replace-detached-metadata", "--src", "oci:x"}, 2, "--dest"},
	} {
		r := run(t, "", bad.args...)
		assert.Equal(t, bad.status, r.status, "%s: %s", name, r.err)
		assert.Contains(t, r.err, bad.want, name)
		assert.NoFileExists(t, out)
	}
}

// A directory without a commit: always the same digest, with and without a repository, and nothing is left in the temporary directory.
func TestEncapsulateDirectory(t *testing.T) {
	t.Parallel()
	repo, _ := smallCommit(t)
	tree, out := filepath.Join(filepath.Dir(repo), "tree"), t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(tree, "run"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(tree, "run", "pid"), nil, 0o600))
	encapsulate := []string{"container", "encapsulate", "-q", "--rootfs", tree, "--created", "2026-01-02T03:04:05Z"}
	first := run(t, "", append(encapsulate, "oci:"+out+"/a")...)
	require.Zero(t, first.status, first.err)
	assert.Regexp(t, `^sha256:[0-9a-f]{64}\n$`, first.out)
	assert.Equal(t, "Left out: /run/pid is made at boot\n", first.err)
	assert.Equal(t, first, run(t, "", append(encapsulate, "--repo", repo, "oci-archive:"+out+"/b")...))
	into := filepath.Join(out, "into")
	tool(t, "ostree", "--repo="+into, "init", "--mode=bare-user")
	r := run(t, "", "container", "unencapsulate", "--quiet", "--repo", into, "--write-ref", "x", "ostree-unverified-image:oci:"+out+"/a")
	require.Zero(t, r.status, r.err)
	list := tool(t, "ostree", "--repo="+into, "ls", "-R", "x")
	assert.Contains(t, list, " /usr/bin/hello\n")
	assert.NotContains(t, list, "pid")
	r = run(t, "", append(encapsulate, "--selinux", "oci:"+out+"/c")...)
	assert.Equal(t, 1, r.status)
	assert.Contains(t, r.err, "no SELinux policy")
	assert.NoDirExists(t, out+"/c")
}
