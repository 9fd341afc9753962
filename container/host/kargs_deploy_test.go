package host_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/container"
	"github.com/ostree-container/ostree-container/container/host"
	"github.com/ostree-container/ostree-container/container/imageref"
	ti "github.com/ostree-container/ostree-container/container/internal/testimage"
)

// writeWith writes an image with more files, by their paths below usr/lib/bootc.
func (s *system) writeWith(version, tag string, files map[string]string) imageref.OSTreeImageReference {
	s.t.Helper()
	image := osImage(version)
	members := []ti.Member{ti.Dir("usr", 0o755), ti.Dir("usr/lib", 0o755), ti.Dir("usr/lib/bootc", 0o755), ti.Dir("usr/lib/bootc/kargs.d", 0o755), ti.Dir("usr/lib/bootc/bound-images.d", 0o755)}
	for name, text := range files {
		members = append(members, ti.File("usr/lib/bootc/"+name, 0o644, text))
	}
	if len(files) > 0 {
		image.Layers = append(image.Layers, ti.Layer{Members: members})
	}
	ref, err := imageref.ParseOSTree("ostree-unverified-image:" + image.Write(s.t, filepath.Join(s.images, "image"), tag).Ref)
	require.NoError(s.t, err)
	return ref
}

// bootOptions are those of the boot loader's default entry, without ostree's own.
func (s *system) bootOptions() string {
	s.t.Helper()
	entries, err := filepath.Glob(filepath.Join(s.dir, "boot/loader/entries/*.conf"))
	require.NoError(s.t, err)
	require.NotEmpty(s.t, entries)
	text, err := os.ReadFile(entries[len(entries)-1]) // the highest number
	require.NoError(s.t, err)
	for line := range strings.Lines(string(text)) {
		if options, ok := strings.CutPrefix(line, "options "); ok {
			words := slices.DeleteFunc(strings.Fields(options), func(w string) bool { return strings.HasPrefix(w, "ostree=") })
			return strings.Join(words, " ")
		}
	}
	s.t.Fatal("no options in " + string(text))
	return ""
}

// Kernel arguments follow the images' kargs.d; what was changed on the host stays. The boot loader's entries are what counts.
func TestKargsOfImages(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	ctx := t.Context()
	opts := &host.UpgradeOptions{Stateroot: "os", PullOptions: s.options()}
	kargs := func(list string) map[string]string {
		return map[string]string{"kargs.d/10-a.toml": "kargs = [" + list + "]\n", "kargs.d/20-no.toml": "kargs = ['other']\nmatch-architectures = ['none']\n"}
	}
	upgrade := func() *host.Upgraded {
		t.Helper()
		up, err := host.Upgrade(ctx, s.Sysroot, opts)
		require.NoError(t, err)
		require.Equal(t, host.Deployed, up.Outcome)
		assert.Contains(t, ti.Run(t, "ostree", "admin", "status", "--sysroot="+s.dir), up.State.MergeCommit+"."+"0")
		return up
	}
	up, err := host.Switch(ctx, s.Sysroot, s.writeWith("1", "latest", kargs(`"first", "console=tty0"`)), opts)
	require.NoError(t, err)
	assert.Equal(t, "first console=tty0", s.bootOptions(), "of the first deployment, too")
	assert.Equal(t, host.Kargs{Added: []string{"first", "console=tty0"}}, up.Kargs)

	s.writeWith("2", "latest", kargs(`"console=tty0", 'x="a b"', "second"`))
	up = upgrade()
	assert.Equal(t, `console=tty0 x="a b" second`, s.bootOptions())
	assert.Equal(t, host.Kargs{Added: []string{`x="a b"`, "second"}, Removed: []string{"first"}}, up.Kargs)

	// The administrator adds one and removes one of the image's.
	ti.Run(t, "ostree", "admin", "kargs", "edit-in-place", "--sysroot="+s.dir, "--append-if-missing=mine")
	entries, err := filepath.Glob(filepath.Join(s.dir, "boot/loader/entries/*.conf"))
	require.NoError(t, err)
	last := entries[len(entries)-1]
	text, err := os.ReadFile(last)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(last, []byte(strings.Replace(string(text), " second", "", 1)), 0o644))
	require.NoError(t, os.Chtimes(s.dir+"/ostree/deploy", time.Now(), time.Now())) // by which libostree sees that there is something new
	require.Equal(t, `console=tty0 x="a b" mine`, s.bootOptions())

	s.writeWith("3", "latest", kargs(`"console=tty0", 'x="a b"', "second", "third"`))
	up = upgrade()
	assert.Equal(t, `console=tty0 x="a b" mine third`, s.bootOptions(), "second stays away")
	assert.Equal(t, host.Kargs{Added: []string{"third"}}, up.Kargs)
	s.writeWith("4", "latest", kargs(`"console=tty0", 'x="a b"', "second", "third"`))
	up = upgrade()
	assert.Equal(t, `console=tty0 x="a b" mine third`, s.bootOptions())
	assert.Zero(t, up.Kargs)

	// One that cannot be read is refused; the images without any takes its own away.
	s.writeWith("5", "latest", kargs(`"a", 1`))
	_, err = host.Upgrade(ctx, s.Sysroot, opts)
	require.ErrorIs(t, err, host.ErrKargs)
	assert.ErrorContains(t, err, "usr/lib/bootc/kargs.d/10-a.toml")
	assert.Equal(t, up.State.MergeCommit, s.Deployments()[0].Checksum())
	s.writeWith("6", "latest", nil)
	up = upgrade()
	assert.Equal(t, "mine", s.bootOptions())
	assert.Equal(t, []string{"console=tty0", `x="a b"`, "third"}, up.Kargs.Removed)
	ti.Run(t, "ostree", "fsck", "--quiet", "--repo="+s.dir+"/ostree/repo")
}

// An image whose kargs.d cannot be read, deployed by a program that does not look at it, can be left.
func TestKargsOfABrokenImage(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	s.deploy(s.writeWith("1", "latest", map[string]string{"kargs.d/a.toml": "kargs"}))
	s.writeWith("2", "latest", map[string]string{"kargs.d/a.toml": "kargs = ['new']"})
	up, err := host.Upgrade(t.Context(), s.Sysroot, &host.UpgradeOptions{PullOptions: s.options()})
	require.NoError(t, err)
	assert.Equal(t, host.Kargs{Added: []string{"new"}}, up.Kargs)
	assert.Equal(t, "new", s.bootOptions())

	// One that another program reads, and has applied.
	s.writeWith("3", "latest", map[string]string{"kargs.d/a.toml": "kargs = ['new']\n#" + strings.Repeat("x", 10<<10)})
	opts := container.DeployOptions{PullOptions: s.options()}
	opts.Kargs = []string{"mine", "new"}
	_, err = container.Deploy(t.Context(), s.Sysroot, "os", up.Image, &opts)
	require.NoError(t, err)
	s.writeWith("4", "latest", map[string]string{"kargs.d/a.toml": "kargs = ['new', 'newer']"})
	up, err = host.Upgrade(t.Context(), s.Sysroot, &host.UpgradeOptions{PullOptions: s.options()})
	require.NoError(t, err)
	assert.Equal(t, host.Kargs{Added: []string{"newer"}}, up.Kargs)
	assert.Equal(t, "mine new newer", s.bootOptions())
}

// What an image asks for that is there already stays when it asks no longer, and what it asked for more than once goes. Ways back and forth
// change nothing.
func TestKargsThatAreThereAlready(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	ctx := t.Context()
	opts := container.DeployOptions{PullOptions: s.options()}
	opts.Kargs = []string{"root=LABEL=root", "rw", "quiet"}
	_, err := container.Deploy(ctx, s.Sysroot, "os", s.writeWith("1", "latest", nil), &opts)
	require.NoError(t, err)
	s.writeWith("2", "latest", map[string]string{"kargs.d/a.toml": "kargs = ['rw', 'nosmt', 'nosmt']", "kargs.d/b.toml": "kargs = ['root=LABEL=root']"})
	upgrade := func() host.Kargs {
		t.Helper()
		up, err := host.Upgrade(ctx, s.Sysroot, &host.UpgradeOptions{PullOptions: s.options()})
		require.NoError(t, err)
		require.Equal(t, host.Deployed, up.Outcome)
		return up.Kargs
	}
	const first, second = "root=LABEL=root rw quiet", "root=LABEL=root rw quiet rw nosmt nosmt root=LABEL=root"
	added := []string{"rw", "nosmt", "nosmt", "root=LABEL=root"}
	for range 2 {
		assert.Equal(t, host.Kargs{Added: added}, upgrade())
		assert.Equal(t, second, s.bootOptions())
		_, err := host.Rollback(ctx, s.Sysroot, nil)
		require.NoError(t, err)
		assert.Equal(t, first, s.bootOptions())
	}
	upgrade()
	s.writeWith("3", "latest", nil)
	assert.Equal(t, host.Kargs{Removed: added}, upgrade())
	assert.Equal(t, first, s.bootOptions())
}

func TestBoundImages(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	opts := &host.UpgradeOptions{Stateroot: "os", PullOptions: s.options()}
	up, err := host.Switch(t.Context(), s.Sysroot, s.writeWith("1", "latest", map[string]string{"bound-images.d/b.container": "x", "bound-images.d/a.image": "x"}), opts)
	require.NoError(t, err)
	assert.Equal(t, []string{"usr/lib/bootc/bound-images.d/a.image", "usr/lib/bootc/bound-images.d/b.container"}, up.BoundImages)
	up, err = host.Upgrade(t.Context(), s.Sysroot, opts)
	require.NoError(t, err)
	assert.Equal(t, host.Unchanged, up.Outcome)
	assert.Empty(t, up.BoundImages)
	s.writeWith("2", "latest", map[string]string{"kargs.d/none": "x"})
	up, err = host.Upgrade(t.Context(), s.Sysroot, opts)
	require.NoError(t, err)
	assert.Empty(t, up.BoundImages)
	assert.Nil(t, up.Again)
}
