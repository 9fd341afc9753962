package container_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/container"
	"github.com/ostree-container/ostree-container/container/imageref"
	"github.com/ostree-container/ostree-container/container/internal/oracle"
	ti "github.com/ostree-container/ostree-container/container/internal/testimage"
	"github.com/ostree-container/ostree-container/container/registry"
	"github.com/ostree-container/ostree-container/ostree"
)

// childTask tells this test binary, started again, what to do instead of tests.
const childTask = "CONTAINER_TEST_CHILD"

// TestMain fails when descriptors or goroutines are left.
func TestMain(m *testing.M) {
	os.Setenv("OSTREE_SYSROOT_DEBUG", "mutable-deployments,no-xattrs")
	if text := os.Getenv(childTask); text != "" {
		if err := runChild(text); err != nil {
			fmt.Fprintln(os.Stderr, "child:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	registry.RouteLogs(nil)
	before := openFiles()
	code := m.Run()
	http.DefaultClient.CloseIdleConnections()
	if left := func() []string { return without(openFiles(), before) }; code == 0 && !settle(func() bool { return len(left()) == 0 }) {
		fmt.Fprintf(os.Stderr, "descriptors left open: %q\n", left())
		code = 1
	}
	os.Exit(code)
}

// openFiles lists open descriptors, less those of the Go runtime, sockets, and the lock file that an open Repo keeps.
func openFiles() (targets []string) {
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		panic(err)
	}
	for _, e := range list {
		target, err := os.Readlink("/proc/self/fd/" + e.Name())
		if err == nil && !strings.HasPrefix(target, "anon_inode:") && !strings.HasPrefix(target, "socket:") && !strings.Contains(target, "/proc/") &&
			!strings.HasSuffix(target, "/repo/.lock") {
			targets = append(targets, target)
		}
	}
	return targets
}

// without removes from a what is in b, each as often as it is there.
func without(a, b []string) (rest []string) {
	n := map[string]int{}
	for _, s := range b {
		n[s]++
	}
	for _, s := range a {
		if n[s]--; n[s] < 0 {
			rest = append(rest, s)
		}
	}
	return rest
}

// settle collects garbage until ok, for at most a second.
func settle(ok func() bool) bool {
	for range 50 {
		runtime.GC()
		if ok() {
			return true
		}
		time.Sleep(20 * time.Millisecond)
	}
	return false
}

// nothingLeft notes goroutines and descriptors; what it returns fails the test
// if there are more of them.
func nothingLeft(t *testing.T) (check func()) {
	t.Helper()
	goroutines, files := runtime.NumGoroutine(), openFiles()
	return func() {
		t.Helper()
		if !settle(func() bool { return runtime.NumGoroutine() <= goroutines }) {
			var b strings.Builder
			_ = pprof.Lookup("goroutine").WriteTo(&b, 1)
			t.Errorf("%d goroutines before, %d after:\n%s", goroutines, runtime.NumGoroutine(), b.String())
		}
		var left []string
		if !settle(func() bool { left = without(openFiles(), files); return len(left) == 0 }) {
			t.Errorf("descriptors left open: %q", left)
		}
	}
}

// task is what a child process does.
type task struct {
	Do      string // with a repository: "pull", "copy", "collect", "share", "exclude"; with a sysroot: "lock", "deploy", "staged", "prune"
	Repo    string
	Target  string // repository to copy to
	Sysroot string
	Refs    []string
	Jobs    int
	Policy  string
	NoRef   bool
	Keep    bool // keep blobs
	Shape   bool // print the shape of the process at the end of a pull
}

func runChild(text string) error {
	var c task
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		return err
	}
	ctx := context.Background()
	options := &registry.Options{Access: registry.Access{InsecureSkipTLSVerify: true, Auth: registry.AuthAnonymous}, PolicyPath: c.Policy}
	if c.Repo != "" {
		return runRepoChild(ctx, c, options)
	}
	sysroot, err := ostree.NewSysroot(c.Sysroot)
	if err != nil {
		return err
	}
	defer sysroot.Close()
	if err := sysroot.Load(ctx); err != nil {
		return err
	}
	switch c.Do {
	case "lock":
		if err := sysroot.Lock(ctx); err != nil {
			return err
		}
		defer sysroot.Unlock()
		fmt.Println("locked")
		_, err := io.Copy(io.Discard, os.Stdin) // until the parent closes it
		return err
	case "deploy":
		ref, err := imageref.ParseOSTree(c.Refs[0])
		if err != nil {
			return err
		}
		state, err := container.Deploy(ctx, sysroot, "default", ref, &container.DeployOptions{
			PullOptions: container.PullOptions{
				Registry: options,
				Progress: report,
				Logger:   slog.New(slog.NewTextHandler(os.Stderr, nil)),
			},
			NoImgref: c.NoRef,
		})
		if err != nil {
			return err
		}
		fmt.Println("deployed", state.MergeCommit)
		return nil
	case "staged":
		return stagedTask(ctx, sysroot, c, options)
	case "prune":
		pruned, err := container.Prune(ctx, sysroot, nil)
		if err != nil {
			return err
		}
		return json.NewEncoder(os.Stdout).Encode(pruned)
	}
	return fmt.Errorf("unknown task %q", c.Do)
}

func runRepoChild(ctx context.Context, c task, options *registry.Options) error {
	repo, err := ostree.OpenRepo(ctx, c.Repo)
	if err != nil {
		return err
	}
	defer repo.Close()
	switch c.Do {
	case "pull":
		for _, ref := range c.Refs {
			state, err := importImage(ctx, repo, ref, &container.ImporterOptions{Registry: options, Jobs: c.Jobs, KeepBlobs: c.Keep, Progress: report})
			if err != nil {
				return err
			}
			fmt.Println("pulled", state.MergeCommit)
		}
		if c.Shape {
			s, err := shapeOfThis()
			return errors.Join(err, json.NewEncoder(os.Stdout).Encode(s))
		}
		return nil
	case "copy":
		to, err := ostree.OpenRepo(ctx, c.Target)
		if err != nil {
			return err
		}
		defer to.Close()
		ref, err := imageref.Parse(c.Refs[0])
		if err != nil {
			return err
		}
		_, err = container.Copy(ctx, repo, ref, to, &container.CopyOptions{Progress: report})
		return err
	case "collect":
		n, err := container.GCImageLayers(ctx, repo, nil)
		fmt.Println("collected", n)
		return err
	case "share", "exclude":
		lock, err := repo.Lock(ctx, map[string]ostree.LockType{"share": ostree.LockShared, "exclude": ostree.LockExclusive}[c.Do])
		if err != nil {
			return err
		}
		fmt.Println("locked")
		_, err = io.Copy(io.Discard, os.Stdin) // until the parent closes it
		return errors.Join(err, lock.Unlock())
	}
	return fmt.Errorf("unknown task %q", c.Do)
}

// importImage is pull for those that have no test or want their own context.
func importImage(ctx context.Context, repo *ostree.Repo, ref string, opts *container.ImporterOptions) (state *container.LayeredImageState, err error) {
	parsed, err := imageref.ParseOSTree("ostree-unverified-image:" + ref)
	if err != nil {
		return nil, err
	}
	imp, err := container.NewImporter(repo, parsed, opts)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, imp.Close()) }()
	res, err := imp.Prepare(ctx)
	if err != nil {
		return nil, err
	}
	if res.AlreadyPresent != nil {
		return res.AlreadyPresent, nil
	}
	return imp.Import(ctx, res.Ready)
}

// report prints an event as one line.
func report(e container.Event) {
	switch e := e.(type) {
	case container.PhaseStarted:
		fmt.Println("start", e.Phase)
	case container.PhaseDone:
		fmt.Println("end", e.Phase)
	case container.LayerStarted:
		fmt.Println("layer", e.Layer.Descriptor.Digest)
	case container.LayerProgress:
		fmt.Println("bytes", e.Layer.Descriptor.Digest, e.Done)
	case container.LayerDone:
		fmt.Println("done", e.Layer.Descriptor.Digest)
	}
}

// child is a process of this test binary.
type child struct {
	*exec.Cmd
	stdin  io.WriteCloser
	lines  *bufio.Scanner
	stderr strings.Builder
}

func encode(t testing.TB, c task) string {
	t.Helper()
	text, err := json.Marshal(c)
	require.NoError(t, err)
	return string(text)
}

func startChild(t testing.TB, c task) *child {
	t.Helper()
	if c.Policy == "" {
		c.Policy = policyFile(t)
	}
	text := encode(t, c)
	self, err := os.Executable()
	require.NoError(t, err)
	p := &child{Cmd: exec.Command(self)}
	p.Env = append(os.Environ(), childTask+"="+text)
	p.Cmd.Stderr = &p.stderr
	p.stdin, err = p.StdinPipe()
	require.NoError(t, err)
	out, err := p.StdoutPipe()
	require.NoError(t, err)
	p.lines = bufio.NewScanner(out)
	require.NoError(t, p.Start())
	t.Cleanup(func() { _ = p.Process.Kill(); _ = p.Wait() })
	return p
}

// finish reads all lines and waits for the child to succeed.
func (p *child) finish(t testing.TB) (lines []string) {
	t.Helper()
	for p.lines.Scan() {
		lines = append(lines, p.lines.Text())
	}
	require.NoError(t, p.Wait(), p.stderr.String())
	return lines
}

// plainLayers is layers of some files each, all different; the last file of each is large.
func plainLayers(name string, layers, files int, large int64) []ti.Layer {
	var out []ti.Layer
	for n := range layers {
		members := []ti.Member{ti.Dir("usr", 0o755), ti.Dir(fmt.Sprintf("usr/%s%d", name, n), 0o755)}
		for f := range files {
			path := fmt.Sprintf("usr/%s%d/f%d", name, n, f)
			members = append(members, ti.File(path, 0o644, path))
		}
		if large > 0 {
			members = append(members, ti.BigFile(fmt.Sprintf("usr/%s%d/large", name, n), 0o644, large, uint64(n+1)))
		}
		out = append(out, ti.Layer{Members: members, Compression: ti.GzipFast})
	}
	return out
}

// blobRefs are the layer refs of a repository.
func blobRefs(refs map[string]string) map[string]string {
	out := map[string]string{}
	for name, commit := range refs {
		if strings.HasPrefix(name, "ostree/container/blob/") {
			out[name] = commit
		}
	}
	return out
}

func refOfLayer(t testing.TB, l ti.Written, n int) string {
	t.Helper()
	name, err := imageref.EscapeRef("ostree/container/blob", l.Manifest.Layers[n].Digest.String())
	require.NoError(t, err)
	return name
}

// wellPulled checks that a repository is sound, holds an image as it must be, and nothing is left over.
func wellPulled(t testing.TB, dir string, state *container.LayeredImageState, layers []ti.Layer) {
	t.Helper()
	want, _ := oracle.Merge(nil, trees(t, rulesHere(), layers)...)
	oracle.Same(t, want.List(), oracle.List(t, dir, state.MergeCommit), "merge commit")
	oracle.Fsck(t, dir)
	assert.Empty(t, leftovers(t, dir))
}

// A layer that is here under another digest, because it was compressed in another way, is not fetched.
func TestReuseByDiffID(t *testing.T) {
	layers := plainLayers("a", 3, 5, 100_000)
	dir := t.TempDir()
	reg := ti.NewRegistry(t, dir)
	first := ti.Image{Layers: layers}.Write(t, dir, "gzip")
	for i := range layers {
		layers[i].Compression = []ti.Compression{ti.Zstd, ti.None, ti.GzipMembers}[i]
	}
	second := ti.Image{Layers: layers, Labels: map[string]string{"v": "2"}}.Write(t, dir, "other")
	repo, repoDir := newRepo(t, modeHere())
	one := mustPull(t, repo, reg.Ref("os", "gzip"), container.ImporterOptions{})
	for _, l := range first.Manifest.Layers {
		assert.Equal(t, 1, reg.Requests("blob", l.Digest.String()))
	}
	reg.Reset()
	two := mustPull(t, repo, reg.Ref("os", "other"), container.ImporterOptions{})
	assert.Equal(t, 1, reg.Requests("blob", ""), "only the config is fetched")
	assert.Equal(t, 1, reg.Requests("blob", second.Manifest.Config.Digest.String()))
	assert.Equal(t, layerRefs(t, repoDir, first), layerRefs(t, repoDir, second), "the refs of both digests name the same commits")
	assert.Equal(t, oracle.List(t, repoDir, one.MergeCommit), oracle.List(t, repoDir, two.MergeCommit))
	wellPulled(t, repoDir, two, layers)
	// The same diff_id under both kinds of layer is not the same commit: a derived one may not serve as an ostree chunk.
	refs := oracle.Refs(t, repoDir)
	assert.Len(t, blobRefs(refs), 6)
	removed, err := container.RemoveImages(t.Context(), repo, []imageref.ImageReference{unverified(t, reg.Ref("os", "gzip")).ImgRef})
	require.NoError(t, err)
	assert.Len(t, removed, 1)
	n, err := container.GCImageLayers(t.Context(), repo, nil)
	require.NoError(t, err)
	assert.Equal(t, 3, n)
	ti.Run(t, "ostree", "--repo="+repoDir, "prune", "--refs-only")
	wellPulled(t, repoDir, two, layers)
}

// An update fetches what is new and nothing else; what is no longer used is collected.
func TestReuseUpdateFetchesNewLayers(t *testing.T) {
	layers := plainLayers("a", 4, 3, 50_000)
	dir := t.TempDir()
	reg := ti.NewRegistry(t, dir)
	v1 := ti.Image{Layers: layers[:3]}.Write(t, dir, "latest")
	repo, repoDir := newRepo(t, modeHere())
	ref := reg.Ref("os", "latest")
	mustPull(t, repo, ref, container.ImporterOptions{})
	updated := []ti.Layer{layers[0], layers[3], layers[1]}
	v2 := ti.Image{Layers: updated}.Write(t, dir, "latest")
	reg.Reset()

	imp, err := container.NewImporter(repo, unverified(t, ref), &container.ImporterOptions{
		Registry: &registry.Options{Access: registry.Access{InsecureSkipTLSVerify: true, Auth: registry.AuthAnonymous}, PolicyPath: policyFile(t)},
	})
	require.NoError(t, err)
	defer imp.Close()
	res, err := imp.Prepare(t.Context())
	require.NoError(t, err)
	require.NotNil(t, res.Ready)
	require.NotNil(t, res.Ready.Previous)
	assert.Equal(t, v1.Digest(), res.Ready.Previous.ManifestDigest)
	assert.Equal(t, 2, res.Ready.Stored())
	missing := res.Ready.LayersToFetch()
	require.Len(t, missing, 1)
	assert.Equal(t, v2.Manifest.Layers[1].Digest, missing[0].Descriptor.Digest)
	assert.Equal(t, v2.Manifest.Layers[1].Size, res.Ready.FetchSize())
	assert.Equal(t, container.LayerDerived, missing[0].Kind)
	state, err := imp.Import(t.Context(), res.Ready)
	require.NoError(t, err)
	assert.Equal(t, 2, reg.Requests("blob", ""), "config and one layer")
	assert.Equal(t, 1, reg.Requests("blob", v2.Manifest.Layers[1].Digest.String()))
	wellPulled(t, repoDir, state, updated)
	want := []string{}
	for n := range v2.Manifest.Layers {
		want = append(want, refOfLayer(t, *v2, n))
	}
	assert.ElementsMatch(t, want, slices.Collect(maps.Keys(blobRefs(oracle.Refs(t, repoDir)))))
	assert.Nil(t, state.CachedUpdate)
}

// The three ways to find out that there is nothing to do, by what each asks the registry for.
func TestReuseAlreadyPresent(t *testing.T) {
	layers := plainLayers("a", 2, 3, 0)
	dir := t.TempDir()
	reg := ti.NewRegistry(t, dir)
	w := ti.Image{Layers: layers}.Write(t, dir, "latest")
	tag, byDigest := reg.Ref("os", "latest"), reg.Ref("os", w.Digest().String())
	repo, repoDir := newRepo(t, modeHere())
	first := mustPull(t, repo, tag, container.ImporterOptions{})
	mustPull(t, repo, byDigest, container.ImporterOptions{})
	requests := func() [3]int {
		return [3]int{reg.Requests("ping", ""), reg.Requests("manifest", ""), reg.Requests("blob", "")}
	}

	reg.Reset()
	state, present, err := pull(t, repo, byDigest, container.ImporterOptions{})
	require.NoError(t, err)
	assert.True(t, present, "(a) a digest that is stored")
	assert.Equal(t, first.MergeCommit, state.MergeCommit)
	assert.Equal(t, [3]int{}, requests(), "no network")

	reg.Reset()
	state, present, err = pull(t, repo, tag, container.ImporterOptions{})
	require.NoError(t, err)
	assert.True(t, present, "(b) the same manifest")
	assert.Equal(t, first.MergeCommit, state.MergeCommit)
	assert.Equal(t, 1, requests()[1])
	assert.Zero(t, requests()[2], "no blob, not even the config")

	changed := ti.Image{Layers: layers, Annotations: map[string]string{"a": "b"}}.Write(t, dir, "latest")
	require.NotEqual(t, w.Digest(), changed.Digest())
	require.Equal(t, w.Manifest.Config.Digest, changed.Manifest.Config.Digest)
	reg.Reset()
	state, present, err = pull(t, repo, tag, container.ImporterOptions{})
	require.NoError(t, err)
	assert.True(t, present, "(c) the same config")
	assert.Equal(t, first.MergeCommit, state.MergeCommit)
	assert.Equal(t, w.Digest(), state.ManifestDigest, "the manifest that was imported, not the new one")
	assert.Nil(t, state.CachedUpdate)
	assert.Zero(t, requests()[2])

	reg.Close()
	_, present, err = pull(t, repo, byDigest, container.ImporterOptions{})
	require.NoError(t, err)
	assert.True(t, present, "(a) needs no registry at all")
	_, _, err = pull(t, repo, tag, container.ImporterOptions{Registry: &registry.Options{
		Access: registry.Access{InsecureSkipTLSVerify: true, Auth: registry.AuthAnonymous},
		Retry:  registry.Retry{Attempts: 1},
	}})
	require.Error(t, err, "(b) does")
	assert.Contains(t, err.Error(), reg.Host())
	wellPulled(t, repoDir, first, layers)
}

// An image in the repository that cannot be read counts as absent: it is said, and pulling again repairs it.
func TestReuseUnreadableImageIsPulledAgain(t *testing.T) {
	layers := plainLayers("a", 2, 3, 0)
	w := ti.Image{Layers: layers}.Write(t, t.TempDir(), "latest")
	repo, repoDir := newRepo(t, modeHere())
	state := mustPull(t, repo, w.Ref, container.ImporterOptions{})
	first := layerRefs(t, repoDir, w)[0]
	name, err := imageref.EscapeRef("ostree/container/image", unverified(t, w.Ref).ImgRef.String())
	require.NoError(t, err)
	for _, tc := range []struct {
		name string
		harm func()
	}{
		{"the ref names a commit that is no image", func() { require.NoError(t, repo.SetRefImmediate(t.Context(), "", name, first)) }},
		{"the merge commit is gone", func() {
			require.NoError(t, os.Remove(objectPath(repoDir, state.MergeCommit, "commit")))
		}},
		{"the layers are gone", func() {
			for n := range w.Manifest.Layers {
				ti.Run(t, "ostree", "--repo="+repoDir, "refs", "--delete", refOfLayer(t, *w, n))
			}
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.harm()
			var log strings.Builder
			again := mustPull(t, repo, w.Ref, container.ImporterOptions{Logger: slog.New(slog.NewTextHandler(&log, nil))})
			assert.Contains(t, log.String(), "failed to query image commit")
			assert.Contains(t, log.String(), w.Ref)
			assert.Equal(t, state.MergeCommit, again.MergeCommit)
			wellPulled(t, repoDir, again, layers)
		})
	}
}

func objectPath(repo, checksum, suffix string) string {
	return filepath.Join(repo, "objects", checksum[:2], checksum[2:]+"."+suffix)
}

// recorder collects events and fails if two come at once.
type recorder struct {
	t      testing.TB
	inside atomic.Int32
	mu     sync.Mutex
	events []container.Event
}

func (r *recorder) event(e container.Event) {
	if r.inside.Add(1) != 1 {
		r.t.Error("two events at once")
	}
	time.Sleep(100 * time.Microsecond)
	r.mu.Lock()
	r.events = append(r.events, e)
	r.mu.Unlock()
	r.inside.Add(-1)
}

func (r *recorder) phases() (text []string) {
	for _, e := range r.events {
		switch e := e.(type) {
		case container.PhaseStarted:
			text = append(text, "+"+string(e.Phase))
		case container.PhaseDone:
			text = append(text, "-"+string(e.Phase))
			if e.Elapsed < 0 || e.Elapsed > time.Minute {
				r.t.Errorf("phase %s took %s", e.Phase, e.Elapsed)
			}
		}
	}
	return text
}

// Every layer is announced and reported as done, its bytes up to the last one; phases come in order; one call at a time.
func TestB15_EveryPhaseIsReported(t *testing.T) {
	layers := plainLayers("a", 6, 20, 300_000)
	layers = append(layers, layers[0]) // the same blob twice is fetched once
	dir := t.TempDir()
	w := ti.Image{Layers: layers}.Write(t, dir, "latest")
	reg := ti.NewRegistry(t, dir)
	for _, source := range []string{w.Ref, reg.Ref("os", "latest")} {
		t.Run(strings.SplitN(source, ":", 2)[0], func(t *testing.T) {
			repo, repoDir := newRepo(t, modeHere())
			r := &recorder{t: t}
			state := mustPull(t, repo, source, container.ImporterOptions{Progress: r.event, Jobs: 5})
			wellPulled(t, repoDir, state, layers)
			assert.Equal(t, []string{"+resolve", "-resolve", "+import", "-import", "+merge", "-merge", "+gc", "-gc"}, r.phases())
			started, done, last := map[string]int{}, map[string]int{}, map[string]container.LayerProgress{}
			phase, planned, size := container.Phase(""), 0, int64(0)
			for _, l := range w.Manifest.Layers[:6] {
				size += l.Size
			}
			for _, e := range r.events {
				switch e := e.(type) {
				case container.PhaseStarted:
					phase = e.Phase
				case container.LayersPlanned:
					planned++
					assert.Empty(t, started)
					assert.Len(t, e.Layers, 6)
					assert.Equal(t, []int64{0, 0, size}, []int64{int64(e.Stored), e.StoredBytes, e.Bytes})
				case container.LayerStarted:
					assert.Equal(t, container.PhaseImport, phase)
					d := e.Layer.Descriptor.Digest.String()
					assert.NotContains(t, started, d)
					started[d] = e.N
					assert.Equal(t, len(started), e.N)
					assert.Equal(t, 6, e.Total)
				case container.LayerProgress:
					d := e.Layer.Descriptor.Digest.String()
					assert.Contains(t, started, d)
					assert.NotContains(t, done, d, "bytes after the layer was done")
					assert.Greater(t, e.Done, last[d].Done)
					assert.Equal(t, e.Layer.Descriptor.Size, e.Total)
					last[d] = e
				case container.LayerDone:
					assert.Equal(t, container.PhaseImport, phase)
					d := e.Layer.Descriptor.Digest.String()
					assert.Contains(t, started, d)
					assert.Equal(t, last[d].Total, last[d].Done, "the last bytes were reported")
					done[d] = e.N
					assert.Equal(t, len(done), e.N)
					assert.Equal(t, 6, e.Total)
				}
			}
			assert.Equal(t, 1, planned)
			assert.Len(t, started, 6)
			assert.Len(t, done, 6)
			// Again: nothing to do is a phase too.
			r = &recorder{t: t}
			_, present, err := pull(t, repo, source, container.ImporterOptions{Progress: r.event})
			require.NoError(t, err)
			assert.True(t, present)
			assert.Equal(t, []string{"+resolve", "-resolve"}, r.phases())
			assert.Len(t, r.events, 2)
		})
	}
}

// A layer that has to be fetched again is still announced once and done once.
func TestEventsOfARetry(t *testing.T) {
	layers := plainLayers("a", 3, 5, 2_000_000)
	dir := t.TempDir()
	w := ti.Image{Layers: layers}.Write(t, dir, "latest")
	reg := ti.NewRegistry(t, dir)
	bad := w.Manifest.Layers[1].Digest.String()
	reg.SetFault(func(q ti.Request) *ti.Fault {
		if q.Ref == bad && q.HTTP.Method == http.MethodGet && q.N <= 2 {
			return &ti.Fault{Cut: true, Drop: 1_000_000}
		}
		return nil
	})
	repo, repoDir := newRepo(t, modeHere())
	r := &recorder{t: t}
	state := mustPull(t, repo, reg.Ref("os", "latest"), container.ImporterOptions{Progress: r.event})
	wellPulled(t, repoDir, state, layers)
	starts, ends := 0, 0
	var last container.LayerProgress
	for _, e := range r.events {
		switch e := e.(type) {
		case container.LayerStarted:
			starts++
		case container.LayerProgress:
			if e.Layer.Descriptor.Digest.String() == bad {
				last = e
			}
		case container.LayerDone:
			ends++
		}
	}
	assert.Equal(t, []int{3, 3}, []int{starts, ends})
	assert.Equal(t, w.Manifest.Layers[1].Size, last.Done)
	assert.Equal(t, last.Total, last.Done)
}

func textLogger(w io.Writer) *slog.Logger { return slog.New(slog.NewTextHandler(w, nil)) }
