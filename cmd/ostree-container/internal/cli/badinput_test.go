package cli

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ostree-container/ostree-container/ostree"
)

// world is what commands work on. In a command line WORLD is its directory, which nothing changes: the layout image (tags v1 and v2, two
// versions of a system), the layout base (tag v1, an encapsulated commit), the files commit.tar and text. DIR is the directory of one
// case, with copies of what its command line names: repo (has v1, and a branch "empty"), commits (archive; has the branch "os"), dest (empty), sysroot (v1
// is deployed). DIR/full is a disk without room.
type world struct {
	dir  string
	path string
	env  []string
}

func makeWorld(t *testing.T) *world {
	t.Helper()
	i := makeImages(t)
	w := &world{dir: i.dir}
	w.path, w.env = program(t)
	policy := filepath.Join(w.dir, "policy.json")
	require.NoError(t, os.WriteFile(policy, []byte(`{"default":[{"type":"insecureAcceptAnything"}]}`), 0o600))
	w.env = append(w.env, "CONTAINERS_POLICY_JSON="+policy, "OSTREE_SYSROOT_DEBUG=mutable-deployments,no-xattrs")
	repo := i.repo(t, "repo", "bare-user")
	i.repo(t, "dest", "archive")
	v1 := "ostree-unverified-image:oci:" + w.dir + "/image:v1"
	require.Zero(t, run(t, "", "image", "pull", "-q", repo, v1).status)
	tool(t, "ostree", "--repo="+repo, "commit", "--branch=empty", "--no-xattrs", "--owner-uid=0", "--owner-gid=0", "--tree=dir="+t.TempDir())
	commits, _ := smallCommit(t)
	require.NoError(t, os.Rename(commits, filepath.Join(w.dir, "commits")))
	commits = filepath.Join(w.dir, "commits")
	require.Zero(t, run(t, "", "container", "encapsulate", "-q", "--repo", commits, "os", "oci:"+w.dir+"/base:v1").status)
	stream := run(t, "", "tar", "export", "--repo", commits, "os")
	require.NoError(t, os.WriteFile(filepath.Join(w.dir, "commit.tar"), []byte(stream.out), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(w.dir, "text"), []byte("text\n"), 0o600))
	if os.Getuid() == 0 {
		sysroot := i.sysroot(t)
		r := run(t, "", "image", "deploy", "-q", "--sysroot", sysroot, "--stateroot", "demo", "--imgref", v1)
		require.Zero(t, r.status, r.err)
	}
	return w
}

// badCase is a command line in a directory of its own.
type badCase struct {
	*world
	dir, tmp string
	args     []string
	repos    []string
	unlock   func()
}

func (w *world) newCase(t *testing.T, line string) *badCase {
	t.Helper()
	c := &badCase{world: w, dir: t.TempDir(), unlock: func() {}}
	c.tmp = filepath.Join(c.dir, "tmp")
	require.NoError(t, os.Mkdir(c.tmp, 0o755))
	at := c.dir
	if strings.Contains(line, "DIR/full/") {
		needRoot(t)
		at = filepath.Join(c.dir, "full")
		require.NoError(t, os.Mkdir(at, 0o755))
		if err := unix.Mount("tmpfs", at, "tmpfs", 0, "size=1m"); err != nil {
			missing(t, "mounts: "+err.Error())
		}
		t.Cleanup(func() { assert.NoError(t, unix.Unmount(at, unix.MNT_DETACH)) })
	}
	for _, name := range []string{"repo", "commits", "dest", "sysroot"} {
		if strings.Contains(line, "DIR/"+name) || strings.Contains(line, "DIR/full/"+name) {
			if name == "sysroot" {
				needRoot(t)
			}
			to := c.dir
			if strings.Contains(line, "DIR/full/"+name) {
				to = at
			}
			tool(t, "cp", "-a", filepath.Join(w.dir, name), to)
			repo := filepath.Join(to, name)
			if name == "sysroot" {
				repo = filepath.Join(repo, "ostree/repo")
			}
			c.repos = append(c.repos, repo)
		}
	}
	c.args = strings.Fields(strings.NewReplacer("WORLD", w.dir, "DIR", c.dir).Replace(line))
	return c
}

// newGoodCase is a case for the line that works.
func (w *world) newGoodCase(t *testing.T, v verb) *badCase {
	t.Helper()
	c := w.newCase(t, v.good)
	if v.two {
		line := []string{"image", "deploy", "-q", "--sysroot", filepath.Join(c.dir, "sysroot"), "--stateroot=demo", "--imgref=ostree-unverified-image:oci:" + w.dir + "/image:v2"}
		cmd := exec.Command(w.path, line...)
		cmd.Env = w.env
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, string(out))
	}
	return c
}

func (c *badCase) command(stdout *os.File) (*exec.Cmd, *bytes.Buffer) {
	var errOut bytes.Buffer
	cmd := exec.Command(c.path, c.args...)
	cmd.Env, cmd.Stderr = append(c.env, "TMPDIR="+c.tmp), &errOut
	if stdout != nil { // else /dev/null
		cmd.Stdout = stdout
	}
	return cmd, &errOut
}

func status(t *testing.T, err error) int {
	t.Helper()
	var exit *exec.ExitError
	if err != nil {
		require.ErrorAs(t, err, &exit)
		return exit.ExitCode()
	}
	return 0
}

// refs of all repositories of a case.
func (c *badCase) refs(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, repo := range c.repos {
		require.NoError(t, filepath.WalkDir(filepath.Join(repo, "refs"), func(path string, d os.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			data, err := os.ReadFile(path)
			all[path] = string(data)
			return err
		}))
	}
	return all
}

// files of the case, but for repositories.
func (c *badCase) files(t *testing.T) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(c.dir)
	require.NoError(t, err)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// sound checks that a failure left nothing behind.
func (c *badCase) sound(t *testing.T, refs map[string]string, files []string) {
	t.Helper()
	assert.Equal(t, refs, c.refs(t), "refs")
	assert.Equal(t, files, c.files(t), "files")
	left, err := os.ReadDir(c.tmp)
	require.NoError(t, err)
	assert.Empty(t, left, "temporary files")
	for _, repo := range c.repos {
		fsck(t, repo)
		left, err := filepath.Glob(filepath.Join(repo, "tmp", "*"))
		require.NoError(t, err)
		for _, name := range left {
			if base := filepath.Base(name); base != "cache" && !strings.HasPrefix(base, "staging-") { // libostree's, for the next one
				t.Errorf("left in the repository: %s", base)
			}
		}
	}
}

// Every verb is in the table but "container commit", which works on the root of the machine (TestCommitOutsideOfAContainer, container.TestCleanBuild).
func TestEveryVerbHasItsFaults(t *testing.T) {
	t.Parallel()
	table := verbs()
	a, _, _ := testApp()
	walk(a.rootCommand(), func(cmd *cobra.Command) {
		name := strings.TrimPrefix(cmd.CommandPath(), "ostree-container ")
		if cmd.HasSubCommands() || name == "container commit" {
			return
		}
		v, ok := table[name]
		if !assert.True(t, ok, "%s is not in the table", name) {
			return
		}
		delete(table, name)
		need := map[string]bool{}
		flags := cmd.Flags()
		need[noRepository] = flags.Lookup("repo") != nil || flags.Lookup("sysroot") != nil || flags.Lookup("src-repo") != nil
		need[unreadable] = flags.Lookup("authfile") != nil || strings.HasSuffix(cmd.Use, "[PATH]")
		for _, option := range []string{"write-commitid-to", "write-result-to", "check", "dest", "contentmeta"} {
			f := flags.Lookup(option)
			need[exists] = need[exists] || f != nil && f.Value.Type() != "bool"
		}
		need[exists] = need[exists] || strings.Contains(cmd.Use, "DEST_IMGREF")
		need[noSpace] = need[exists] || strings.Contains(cmd.Use, "import") || flags.Lookup("dest-repo") != nil || flags.Lookup("ignore-space") != nil
		for _, word := range []string{" IMGREF", "SRC_IMGREF", "--dest", "REV", "FROM"} {
			need[wrongRef] = need[wrongRef] || strings.Contains(cmd.Use, word)
		}
		for name, needed := range need {
			if needed {
				assert.Contains(t, v.faults, name, cmd.CommandPath())
			}
		}
	})
	assert.Empty(t, table, "no such verbs")
}

// A failure is one line that names what is wrong; it leaves no output, no refs, no temporary files, and the repositories sound.
func TestBadInput(t *testing.T) {
	w := makeWorld(t)
	for name, v := range verbs() {
		for what, f := range v.faults {
			t.Run(name+"/"+what, func(t *testing.T) {
				t.Parallel()
				c := w.newCase(t, f.line)
				remove := func() {}
				if full := filepath.Join(c.dir, "full"); strings.Contains(f.line, "DIR/full/") {
					remove = fill(t, full)
				}
				refs, files := c.refs(t), c.files(t)
				cmd, errOut := c.command(nil)
				var out bytes.Buffer
				cmd.Stdout = &out
				assert.Equal(t, f.status, status(t, cmd.Run()), errOut.String())
				want := strings.NewReplacer("WORLD", regexp.QuoteMeta(w.dir), "DIR", regexp.QuoteMeta(c.dir)).Replace(f.want)
				assert.Regexp(t, `(?m)^error: .*`+want+`.*$`, errOut.String())
				assert.Equal(t, 1, strings.Count(errOut.String(), "error: "), errOut.String())
				remove()
				c.sound(t, refs, files)
				left, err := filepath.Glob(filepath.Join(c.dir, "full", "*"))
				require.NoError(t, err)
				for _, path := range left {
					assert.Contains(t, c.repos, strings.TrimSuffix(path, "sysroot")+strings.Repeat("sysroot/ostree/repo", strings.Count(filepath.Base(path), "sysroot")), "output left behind")
				}
			})
		}
	}
}

// fill takes all the room of a file system.
func fill(t *testing.T, at string) (remove func()) {
	t.Helper()
	path := filepath.Join(at, "ballast")
	f, err := os.Create(path)
	require.NoError(t, err)
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	require.ErrorIs(t, err, unix.ENOSPC)
	require.NoError(t, f.Close())
	return func() { require.NoError(t, os.Remove(path)) }
}

func TestStandardOutputOfEveryVerb(t *testing.T) {
	w := makeWorld(t)
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, full.Close()) })
	for name, v := range verbs() {
		t.Run(name+"/closed", func(t *testing.T) {
			t.Parallel()
			c := w.newGoodCase(t, v)
			r, p, err := os.Pipe()
			require.NoError(t, err)
			require.NoError(t, r.Close())
			defer p.Close()
			cmd, errOut := c.command(p)
			if got := status(t, cmd.Run()); v.whole {
				assert.Equal(t, 1, got)
				assert.Regexp(t, `^error: .*broken pipe\n$`, errOut.String())
			} else {
				assert.Zero(t, got)
				assert.NotContains(t, errOut.String(), "error")
			}
		})
		t.Run(name+"/full", func(t *testing.T) {
			t.Parallel()
			c := w.newGoodCase(t, v)
			cmd, errOut := c.command(full)
			if got := status(t, cmd.Run()); v.quiet {
				assert.Zero(t, got, errOut.String())
			} else {
				assert.Equal(t, 1, got)
				assert.Regexp(t, `(?m)^error: .*write standard output: .*no space left on device$`, errOut.String())
			}
		})
	}
}

// Whatever a verb waits for, a signal ends it within a second; what it was about to write is not there.
func TestSignalsEndEveryVerb(t *testing.T) {
	w := makeWorld(t)
	for name, v := range verbs() {
		if v.stuck != "" {
			t.Run(name+"/waits for the other side", func(t *testing.T) {
				t.Parallel()
				host, asked := "", make(chan struct{})
				if strings.Contains(v.stuck, "REGISTRY") {
					host, asked = stuckRegistry(t)
				}
				c := w.newCase(t, strings.ReplaceAll(v.stuck, "REGISTRY", host))
				cmd, _ := c.command(nil)
				if v.stdin {
					in, out, err := os.Pipe()
					require.NoError(t, err)
					defer in.Close()
					defer out.Close()
					cmd.Stdin = in
					data, err := os.ReadFile(filepath.Join(w.dir, "commit.tar"))
					require.NoError(t, err)
					_, err = out.Write(data[:min(len(data), 32<<10)]) // fits into the pipe
					require.NoError(t, err)
					go func() { // until it has been read
						for {
							n, err := unix.IoctlGetInt(int(out.Fd()), unix.TIOCINQ)
							if err != nil || n == 0 {
								close(asked)
								return
							}
							time.Sleep(time.Millisecond)
						}
					}()
				}
				c.interrupt(t, cmd, unix.SIGINT, asked, false)
			})
		}
		if v.locked != "" {
			t.Run(name+"/waits for a lock", func(t *testing.T) {
				t.Parallel()
				c := w.newGoodCase(t, v)
				c.lock(t, v.locked)
				cmd, _ := c.command(nil)
				c.interrupt(t, cmd, unix.SIGTERM, nil, v.begun)
			})
		}
		if !v.quiet {
			t.Run(name+"/waits for its reader", func(t *testing.T) {
				t.Parallel()
				c := w.newGoodCase(t, v)
				r, p, err := os.Pipe()
				require.NoError(t, err)
				defer r.Close()
				defer p.Close()
				_, err = unix.FcntlInt(p.Fd(), unix.F_SETPIPE_SZ, 4096) // Fd makes it blocking
				require.NoError(t, err)
				_, err = p.Write(make([]byte, 4096))
				require.NoError(t, err)
				cmd, errOut := c.command(p)
				require.NoError(t, cmd.Start())
				waitUntilAsleep(t, cmd.Process.Pid)
				start := time.Now()
				require.NoError(t, cmd.Process.Signal(unix.SIGINT))
				assert.Equal(t, 130, status(t, cmd.Wait()), errOut.String())
				assert.Less(t, time.Since(start), soon)
				assert.Regexp(t, `(?m)^error: .*interrupted by SIGINT$`, errOut.String())
			})
		}
	}
}

// interrupt starts a command, waits until it waits, and ends it.
func (c *badCase) interrupt(t *testing.T, cmd *exec.Cmd, signal unix.Signal, asked chan struct{}, begun bool) {
	t.Helper()
	refs, files := c.refs(t), c.files(t)
	errOut := cmd.Stderr.(*bytes.Buffer) //nolint:forcetypeassert // command made it
	require.NoError(t, cmd.Start())
	if asked == nil {
		waitUntilAsleep(t, cmd.Process.Pid)
	} else {
		select {
		case <-asked:
		case <-time.After(patience):
			t.Error("it did not get so far")
		}
	}
	start := time.Now()
	require.NoError(t, cmd.Process.Signal(signal))
	assert.Equal(t, 128+int(signal), status(t, cmd.Wait()), errOut.String())
	assert.Less(t, time.Since(start), soon)
	assert.Regexp(t, `(?m)^error: .*interrupted by `+unix.SignalName(signal)+`.*$`, errOut.String())
	c.unlock()
	if begun {
		refs = c.refs(t)
	}
	c.sound(t, refs, files)
}

// lock takes a lock that the program waits for.
func (c *badCase) lock(t *testing.T, what string) {
	t.Helper()
	if what == "sysroot" {
		sysroot, err := ostree.NewSysroot(filepath.Join(c.dir, what))
		require.NoError(t, err)
		require.NoError(t, sysroot.Load(t.Context()))
		require.NoError(t, sysroot.Lock(t.Context()))
		c.unlock = func() { assert.NoError(t, sysroot.Close()) }
	} else {
		repo, err := ostree.OpenRepo(t.Context(), filepath.Join(c.dir, what))
		require.NoError(t, err)
		lock, err := repo.Lock(t.Context(), ostree.LockExclusive)
		require.NoError(t, err)
		c.unlock = func() {
			assert.NoError(t, lock.Unlock())
			assert.NoError(t, repo.Close())
		}
	}
}

// waitUntilAsleep returns when no thread of a process has had anything to do for a while.
func waitUntilAsleep(t *testing.T, pid int) {
	t.Helper()
	const poll, times = 10 * time.Millisecond, 12
	start := time.Now()
	for quiet := 0; quiet < times; time.Sleep(poll) {
		quiet++
		threads, err := filepath.Glob(filepath.Join("/proc", strconv.Itoa(pid), "task/*/stat"))
		require.NoError(t, err)
		for _, name := range threads {
			text, err := os.ReadFile(name)
			if err != nil {
				continue // the thread has ended
			}
			if _, state, ok := strings.Cut(string(text), ") "); ok && !strings.HasPrefix(state, "S") {
				quiet = 0
			}
		}
		require.Less(t, time.Since(start), patience)
	}
}
