package ostree_test

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ostree-container/ostree-container/ostree"
)

// policyTree holds as much of a policy as labelling reads.
var policyTree = map[string]string{
	"usr/etc/selinux/config":                    "SELINUX=enforcing\nSELINUXTYPE=targeted\n",
	"usr/etc/selinux/targeted/policy/policy.33": "policy",
	"usr/etc/selinux/targeted/contexts/files/file_contexts": "/.*\tsystem_u:object_r:default_t:s0\n" +
		"/usr/bin/.*\t--\tsystem_u:object_r:bin_t:s0\n/usr/secret\t<<none>>\n/dev/.*\t-c\tsystem_u:object_r:device_t:s0\n",
}

// Policies that are loaded at once are each their own.
func TestSePoliciesAtOnce(t *testing.T) {
	ctx := t.Context()
	var wg sync.WaitGroup
	for _, typ := range []string{"one_t", "two_t", "three_t"} {
		tree := maps.Clone(policyTree)
		tree["usr/etc/selinux/targeted/contexts/files/file_contexts"] = "/.*\tsystem_u:object_r:" + typ + ":s0\n"
		dir := writeTree(t, tree)
		wg.Go(func() {
			for range 200 {
				p, err := ostree.NewSePolicy(ctx, dir)
				if !assert.NoError(t, err) || p.Name() == "" { // a libostree without SELinux
					return
				}
				got, err := p.Label(ctx, "/usr/x", 0o100644)
				assert.NoError(t, err)
				assert.NoError(t, p.Close())
				if !assert.Equal(t, "system_u:object_r:"+typ+":s0", got) {
					return
				}
			}
		})
	}
	wg.Wait()
}

// policyWith is a policy that gives the files below /usr/dN the type fileN_t, and directories of that name dirN_t.
func policyWith(dirs int) map[string]string {
	var contexts strings.Builder
	contexts.WriteString("/.*\tsystem_u:object_r:default_t:s0\n")
	for n := range dirs {
		fmt.Fprintf(&contexts, "/usr/[a-z]+%d(/.*)?\t--\tsystem_u:object_r:file%d_t:s0\n/usr/(lib|d)%d(/.*)?\t-d\tsystem_u:object_r:dir%d_t:s0\n", n, n, n, n)
	}
	tree := maps.Clone(policyTree)
	tree["usr/etc/selinux/targeted/contexts/files/file_contexts"] = contexts.String()
	return tree
}

// One policy answers several goroutines at once, from the first question on: libselinux compiles its expressions when it first needs them.
func TestLabelsAtOnce(t *testing.T) {
	ctx := t.Context()
	const dirs = 100
	dir := writeTree(t, policyWith(dirs))
	for range 20 {
		p, err := ostree.NewSePolicy(ctx, dir)
		require.NoError(t, err)
		need(t, "libostree with SELinux", p.Name() != "")
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for n := range dirs {
					for _, c := range []struct {
						path string
						mode uint32
						typ  string
					}{
						{fmt.Sprintf("/usr/d%d/x", n), 0o100644, fmt.Sprintf("file%d_t", n)},
						{fmt.Sprintf("/usr/d%d", n), 0o40755, fmt.Sprintf("dir%d_t", n)},
						{fmt.Sprintf("/usr/d%d/x", n), 0o120777, "default_t"},
					} {
						got, err := p.Label(ctx, c.path, c.mode)
						assert.NoError(t, err)
						if !assert.Equal(t, "system_u:object_r:"+c.typ+":s0", got, c.path) {
							return
						}
					}
				}
			})
		}
		wg.Wait()
		require.NoError(t, p.Close())
	}
}

// With -cpu 1,2 it shows what asking at once is worth.
func BenchmarkLabel(b *testing.B) {
	const dirs = 1500
	p, err := ostree.NewSePolicy(b.Context(), writeTree(b, policyWith(dirs)))
	require.NoError(b, err)
	defer p.Close()
	if p.Name() == "" {
		b.Skip("a libostree without SELinux")
	}
	var next atomic.Int64
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			path := fmt.Sprintf("/usr/d%d/x", next.Add(1)%dirs)
			if _, err := p.Label(b.Context(), path, 0o100644); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

func TestSePolicy(t *testing.T) {
	ctx := t.Context()
	dir, err := os.Open(writeTree(t, policyTree))
	require.NoError(t, err)
	defer dir.Close()
	r := newRepo(t, ostree.ModeArchive)
	judgeCommit(t, r.Path(), "main", dir.Name())
	at, err := ostree.NewSePolicyAt(ctx, int(dir.Fd()))
	require.NoError(t, err)
	from, err := ostree.NewSePolicyFromCommit(ctx, r, "main")
	require.NoError(t, err)
	need(t, "libostree with SELinux", at.Name() != "")
	for _, p := range []*ostree.SePolicy{at, from} {
		assert.Equal(t, "targeted", p.Name())
		assert.Len(t, p.CSum(), 64)
		for _, c := range []struct {
			path string
			mode uint32
			want string
		}{
			{"/usr/bin/x", 0o100755, "system_u:object_r:bin_t:s0"},
			{"/usr/bin/x", 0o40755, "system_u:object_r:default_t:s0"},
			{"/usr/secret", 0o100600, ""},
			{"/", 0o40755, "system_u:object_r:default_t:s0"},
			{"/etc/x\ny", 0o100600, "system_u:object_r:default_t:s0"},
		} {
			got, err := p.Label(ctx, c.path, c.mode)
			require.NoError(t, err, c.path)
			assert.Equal(t, c.want, got, c.path)
		}
		_, err := p.Label(ctx, "relative", 0o100644)
		require.ErrorIs(t, err, ostree.ErrInvalidArgument)
		_, err = p.Label(ctx, "/a\x00", 0o100644)
		require.ErrorIs(t, err, ostree.ErrInvalidArgument)
	}

	// Committed with the policy, files carry its labels.
	commitDir(t, r, "labelled", writeTree(t, map[string]string{"usr/bin/x": "x"}), &ostree.CommitModifier{SePolicy: at, Filter: toRoot}, nil)
	assert.Contains(t, judge(t, "ls", "-X", "labelled", "/usr/bin/x", "--repo", r.Path()), "security.selinux")

	commitDir(t, r, "labelled", writeTree(t, map[string]string{"usr/lib/x": "x"}), &ostree.CommitModifier{SePolicyFromCommit: "main", Filter: toRoot}, nil)
	assert.Contains(t, judge(t, "ls", "-X", "labelled", "/usr/lib/x", "--repo", r.Path()), "security.selinux")
	m := ostree.NewMutableTree()
	both := &ostree.CommitModifier{SePolicyFromCommit: "main", SePolicy: at}
	require.ErrorIs(t, r.WriteDirectoryToMTree(ctx, dir.Name(), m, both), ostree.ErrInvalidArgument)
	require.ErrorIs(t, r.WriteDirectoryToMTree(ctx, dir.Name(), m, &ostree.CommitModifier{SePolicyFromCommit: "a\x00"}), ostree.ErrInvalidArgument)
	require.ErrorIs(t, r.WriteDirectoryToMTree(ctx, dir.Name(), m, &ostree.CommitModifier{SePolicyFromCommit: "none"}), ostree.ErrNotFound)

	require.NoError(t, at.Close())
	require.NoError(t, at.Close())
	require.NoError(t, from.Close())
	_, err = at.Label(ctx, "/", 0o40755)
	require.ErrorIs(t, err, ostree.ErrClosed)
	assert.Empty(t, at.Name())
}

func TestSePolicyNone(t *testing.T) {
	ctx := t.Context()
	dir, err := os.Open(writeTree(t, map[string]string{"usr/etc/x": ""}))
	require.NoError(t, err)
	defer dir.Close()
	p, err := ostree.NewSePolicyAt(ctx, int(dir.Fd()))
	require.NoError(t, err)
	defer p.Close()
	assert.Empty(t, p.Name())
	assert.Empty(t, p.CSum())
	label, err := p.Label(ctx, "/usr", 0o40755)
	require.NoError(t, err)
	assert.Empty(t, label)
	_, err = ostree.NewSePolicyFromCommit(ctx, newRepo(t, ostree.ModeArchive), "none")
	require.ErrorIs(t, err, ostree.ErrNotFound)
}

func TestSePolicyOfPath(t *testing.T) {
	ctx := t.Context()
	dir := writeTree(t, policyTree)
	p, err := ostree.NewSePolicy(ctx, dir)
	require.NoError(t, err)
	defer p.Close()
	need(t, "libostree with SELinux", p.Name() != "")
	assert.Equal(t, dir, p.Path())
	label, err := p.Label(ctx, "/usr/bin/x", 0o100755)
	require.NoError(t, err)
	assert.Equal(t, "system_u:object_r:bin_t:s0", label)

	needRoot(t)
	target := filepath.Join(writeTree(t, map[string]string{"x": ""}), "x")
	onDisk := func() string {
		buf := make([]byte, 100)
		n, err := unix.Lgetxattr(target, "security.selinux", buf)
		if errors.Is(err, unix.ENODATA) {
			return ""
		}
		require.NoError(t, err)
		return strings.TrimRight(string(buf[:n]), "\x00")
	}
	label, err = p.Restorecon(ctx, "/usr/bin/x", target, 0)
	require.NoError(t, err)
	assert.Equal(t, "system_u:object_r:bin_t:s0", label)
	assert.Equal(t, label, onDisk())
	label, err = p.Restorecon(ctx, "/etc/x", target, ostree.RestoreconKeepExisting)
	require.NoError(t, err)
	assert.Empty(t, label)
	assert.Equal(t, "system_u:object_r:bin_t:s0", onDisk())
	_, err = p.Restorecon(ctx, "/usr/secret", target, 0)
	require.ErrorContains(t, err, "No label found")
	label, err = p.Restorecon(ctx, "/usr/secret", target, ostree.RestoreconAllowNoLabel)
	require.NoError(t, err)
	assert.Empty(t, label)
	_, err = p.Restorecon(ctx, "/x", target+"none", 0)
	require.ErrorIs(t, err, ostree.ErrNotFound)
	_, err = p.Restorecon(ctx, "x", target, 0)
	require.ErrorIs(t, err, ostree.ErrInvalidArgument)

	// Without SELinux in the kernel the function runs all the same.
	ran := false
	require.NoError(t, p.WithFSCreateCon("/usr/bin/y", 0o100644, func() error {
		ran = true
		return os.WriteFile(target+"y", nil, 0o600)
	}))
	assert.True(t, ran)
	broken := errors.New("broken")
	require.ErrorIs(t, p.WithFSCreateCon("/usr/bin/y", 0o100644, func() error { return broken }), broken)
	require.ErrorIs(t, p.WithFSCreateCon("x", 0, nil), ostree.ErrInvalidArgument)
	require.NoError(t, p.Close())
	assert.Empty(t, p.Path())
	require.ErrorIs(t, p.WithFSCreateCon("/x", 0, nil), ostree.ErrClosed)

	empty, err := ostree.NewSePolicy(ctx, t.TempDir())
	require.NoError(t, err)
	defer empty.Close()
	label, err = empty.Restorecon(ctx, "/x", target, 0)
	require.NoError(t, err)
	assert.Empty(t, label)
}
