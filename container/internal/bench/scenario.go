package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Tools that are measured. judge stands aside where it refuses the image.
const (
	toolOurs   = "ours"
	toolJudge  = "judge"
	toolTar    = "tar"    // gzip -dc | tar -x of the layers
	toolSkopeo = "skopeo" // skopeo copy from the registry to dir:
)

// Work that is measured.
const (
	stepPull   = "pull"   // from the registry, into a fresh sysroot's repository
	stepOCI    = "oci"    // from the layout, into a fresh repository
	stepAgain  = "again"  // the same again, nothing new
	stepDeploy = "deploy" // of the pulled image
	stepPrune  = "prune"  // of one of two images, the other being deployed
	stepUpdate = "update" // pull of the changed image under the same name
	stepCopy   = "copy"   // of a pulled image, into a fresh repository on the same file system
	// An image of a commit, in components, gzip level 6.
	stepEncapsulate = "encapsulate"
	// Beside these: what libostree alone takes for the deployment, and the transfer of what an update needs.
	stepFloor    = "ostree-deploy"
	stepTransfer = "transfer"
)

var (
	tools = []string{toolOurs, toolJudge, toolTar, toolSkopeo}
	steps = []string{stepPull, stepOCI, stepAgain, stepDeploy, stepPrune, stepUpdate, stepCopy, stepEncapsulate}
)

// sample is one measurement.
type sample struct {
	Run              int
	Kind, Tool, Step string
	Objects          int   `json:",omitempty"` // objects the step wrote, where counted
	Bytes            int64 `json:",omitempty"` // compressed layers that the step wrote, where counted
	usage
}

// bench is one run of everything.
type bench struct {
	options
	registry *registry
	images   map[string]map[string]*layout // kind -> version
	samples  []sample
	trees    map[string]map[string]string // kind and version -> tool -> root dirtree and dirmeta of the merge commit
	fscked   map[string]bool              // kind and tool
	checks   []string
	source   string   // a repository with the pulled image, for stepCopy
	copies   []string // directories of stepCopy
}

func (b *bench) program(tool string) string {
	if tool == toolJudge {
		return b.judge
	}
	return b.ours
}

func (b *bench) wants(step string) bool { return slices.Contains(b.steps, step) }

// runs says whether tool takes part with images of a kind: ostree-ext 0.15.3 refuses images without an ostree base.
func (b *bench) runs(tool, kind string) bool {
	return slices.Contains(b.tools, tool) && (tool != toolJudge || kind == kindBase || kind == "mixed")
}

// all measures every kind and tool b.options.runs times.
func (b *bench) all(ctx context.Context) error {
	for n := range b.options.runs {
		for _, kind := range b.kinds {
			// Another one is first each time.
			for i := range tools {
				tool := tools[(i+n)%len(tools)]
				if !b.runs(tool, kind) {
					continue
				}
				if err := b.one(ctx, n, kind, tool); err != nil {
					return fmt.Errorf("run %d, %s, %s: %w", n+1, kind, tool, err)
				}
			}
			if err := b.save(); err != nil {
				return err
			}
		}
	}
	return b.dropCopies(ctx)
}

func (b *bench) one(ctx context.Context, n int, kind, tool string) error {
	dir, err := b.fresh(kind, tool)
	if err != nil {
		return err
	}
	err = func() error {
		switch tool {
		case toolTar:
			return b.tar(ctx, n, kind, dir)
		case toolSkopeo:
			cmd := exec.CommandContext(ctx, "skopeo", "copy", "--quiet", "--src-tls-verify=false",
				"docker://"+b.registry.image(kind, "v1"), "dir:"+dir)
			_, err := b.sample(ctx, n, kind, tool, stepPull, cmd)
			return err
		}
		for _, work := range []func(context.Context, int, string, string) error{b.oci, b.copy, b.encapsulate} {
			if err := work(ctx, n, kind, tool); err != nil {
				return err
			}
		}
		if !b.wants(stepPull) {
			return nil
		}
		return b.life(ctx, n, kind, tool, filepath.Join(dir, "sysroot"))
	}()
	return errors.Join(err, remove(context.WithoutCancel(ctx), dir))
}

// fresh makes an empty directory where nothing was deleted lately: for a minute ext4 does not give the inodes of deleted files away, and
// searching past them (recently_deleted in fs/ext4/ialloc.c) doubled the time of some runs. Each has another name, and the directory
// above asks that they be spread over the disk.
func (b *bench) fresh(kind, tool string) (string, error) {
	return os.MkdirTemp(b.work, kind+"-"+tool+"-")
}

// makeWork makes the directory for fresh and removes what a run that was killed left there.
func (b *bench) makeWork(ctx context.Context) error {
	if err := os.MkdirAll(b.work, 0o755); err != nil {
		return err
	}
	for _, kind := range append([]string{kindLarge, "curve"}, kinds...) {
		for _, tool := range tools {
			left, err := filepath.Glob(filepath.Join(b.work, kind+"-"+tool+"-*"))
			if err != nil {
				return err
			}
			for _, dir := range left {
				if err := remove(ctx, dir); err != nil {
					return err
				}
			}
		}
	}
	f, err := os.Open(b.work)
	if err != nil {
		return err
	}
	defer f.Close()
	const topDir = 0x20000 // FS_TOPDIR_FL, T of chattr; another file system does without
	if flags, err := unix.IoctlGetUint32(int(f.Fd()), unix.FS_IOC_GETFLAGS); err == nil {
		_ = unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, int(flags|topDir))
	}
	return nil
}

// calm makes the kernel forget which inodes were deleted lately, by dropping what it has of the disk, and has it read again what every
// tool reads first: the blobs.
func (b *bench) calm(kind string) error {
	unix.Sync()
	if err := os.WriteFile("/proc/sys/vm/drop_caches", []byte("1"), 0); err != nil {
		return err
	}
	l := b.images[kind]["v1"]
	for _, d := range l.Manifest.Layers {
		hex := d.Digest.Encoded()
		served := filepath.Join(b.cache, "registry/docker/registry/v2/blobs/sha256", hex[:2], hex, "data") // as docker-registry keeps it
		for _, path := range []string{l.blob(d.Digest), served} {
			if err := readThrough(path); err != nil && !errors.Is(err, fs.ErrNotExist) { // large is not in the registry
				return err
			}
		}
	}
	return nil
}

func readThrough(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	_, err = io.Copy(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{f})
	return errors.Join(err, f.Close())
}

func (b *bench) sample(ctx context.Context, n int, kind, tool, step string, cmd *exec.Cmd) (string, error) {
	if step == stepPull || step == stepOCI {
		if err := b.calm(kind); err != nil {
			return "", err
		}
	}
	cmd.Env = append(os.Environ(), "OSTREE_SYSROOT_DEBUG=mutable-deployments", "LC_ALL=C.UTF-8")
	u, out, err := measure(ctx, cmd)
	if err != nil {
		return out, fmt.Errorf("%s: %w", step, err)
	}
	b.samples = append(b.samples, sample{Run: n + 1, Kind: kind, Tool: tool, Step: step, usage: u})
	logf("%d %-8s %-6s %-13s %7.3f s wall %7.2f s CPU %5.0f MiB", n+1, kind, tool, step, u.Wall, u.User+u.Sys, float64(u.TreeRSS)/(1<<20))
	return out, nil
}

func (b *bench) tar(ctx context.Context, n int, kind, dir string) error {
	l := b.images[kind]["v1"]
	args := []string{"-c", `set -o pipefail; for l; do gzip -dc "$l" | tar -xpf - -C "$0" || exit; done`, dir}
	for _, d := range l.Manifest.Layers {
		args = append(args, l.blob(d.Digest))
	}
	_, err := b.sample(ctx, n, kind, toolTar, stepPull, exec.CommandContext(ctx, "bash", args...))
	return err
}

func (b *bench) pull(ctx context.Context, tool, repo, imgref string) *exec.Cmd {
	return exec.CommandContext(ctx, b.program(tool), "container", "image", "pull", "--quiet",
		"--insecure-skip-tls-verification", repo, imgref)
}

// oci pulls from the layout into a fresh repository.
func (b *bench) oci(ctx context.Context, n int, kind, tool string) error {
	if !b.wants(stepOCI) {
		return nil
	}
	dir, repo, err := b.freshRepo(ctx, kind, tool)
	if err != nil {
		return err
	}
	cmd := b.pull(ctx, tool, repo, "ostree-unverified-image:oci:"+b.images[kind]["v1"].dir)
	if _, err := b.sample(ctx, n, kind, tool, stepOCI, cmd); err != nil {
		return err
	}
	return errors.Join(b.checkTree(ctx, kind, "v1", tool, repo, ""), remove(ctx, dir))
}

// life takes an image through what happens to it on a machine.
func (b *bench) life(ctx context.Context, n int, kind, tool, sysroot string) error {
	const stateroot = "bench"
	repo := filepath.Join(sysroot, "ostree", "repo")
	for _, args := range [][]string{
		{"admin", "init-fs", "--modern", sysroot},
		{"admin", "os-init", "--sysroot=" + sysroot, stateroot},
		{"--repo=" + repo, "config", "set", "sysroot.bootloader", "none"},
	} {
		if args[1] == "init-fs" {
			if err := os.MkdirAll(sysroot, 0o755); err != nil {
				return err
			}
		}
		if _, err := output(exec.CommandContext(ctx, "ostree", args...)); err != nil {
			return err
		}
	}
	v1, v2 := b.images[kind]["v1"], b.images[kind]["v2"]
	current := "ostree-unverified-registry:" + b.registry.image(kind, "current")
	if err := b.registry.tag(ctx, v1, kind, "current"); err != nil {
		return err
	}
	if _, err := b.sample(ctx, n, kind, tool, stepPull, b.pull(ctx, tool, repo, current)); err != nil {
		return err
	}
	if err := b.checkTree(ctx, kind, "v1", tool, repo, "current"); err != nil {
		return err
	}
	if b.wants(stepAgain) {
		if _, err := b.sample(ctx, n, kind, tool, stepAgain, b.pull(ctx, tool, repo, current)); err != nil {
			return err
		}
	}
	if b.wants(stepDeploy) || b.wants(stepPrune) {
		if err := b.deploy(ctx, n, kind, tool, sysroot, stateroot, current); err != nil {
			return err
		}
	}
	if b.wants(stepPrune) {
		next := "ostree-unverified-registry:" + b.registry.image(kind, "v2")
		if _, err := output(b.pull(ctx, tool, repo, next)); err != nil {
			return err
		}
		cmd := exec.CommandContext(ctx, b.program(tool), "container", "image", "prune-images", "--full", "--sysroot="+sysroot)
		out, err := b.sample(ctx, n, kind, tool, stepPrune, cmd)
		if err != nil {
			return err
		}
		if !strings.Contains(out, "Removed images: 1") {
			return fmt.Errorf("prune did not remove one image: %s", out)
		}
	}
	if b.wants(stepUpdate) {
		if err := b.update(ctx, n, kind, tool, repo, current, v1, v2); err != nil {
			return err
		}
	}
	if key := kind + " " + tool; !b.fscked[key] {
		verdict, err := fsck(ctx, repo)
		if err != nil {
			return err
		}
		b.fscked[key] = true
		b.check("%s: ostree fsck after all steps: %s", key, verdict)
	}
	return nil
}

func (b *bench) update(ctx context.Context, n int, kind, tool, repo, current string, v1, v2 *layout) error {
	if err := b.registry.tag(ctx, v2, kind, "current"); err != nil {
		return err
	}
	before, err := countObjects(repo)
	if err != nil {
		return err
	}
	seconds, err := b.registry.transfer(ctx, v2, v1, kind)
	if err != nil {
		return err
	}
	b.samples = append(b.samples, sample{Run: n + 1, Kind: kind, Tool: tool, Step: stepTransfer, usage: usage{Wall: seconds}})
	if _, err := b.sample(ctx, n, kind, tool, stepUpdate, b.pull(ctx, tool, repo, current)); err != nil {
		return err
	}
	after, err := countObjects(repo)
	if err != nil {
		return err
	}
	b.samples[len(b.samples)-1].Objects = after - before
	return b.checkTree(ctx, kind, "v2", tool, repo, "current")
}

// deploy deploys the pulled image, and then the commit alone by libostree's own command, which is taken away again. Not the other way
// round: see fresh for what creating directories costs after deleting some.
func (b *bench) deploy(ctx context.Context, n int, kind, tool, sysroot, stateroot, imgref string) error {
	commit, err := mergeCommit(ctx, filepath.Join(sysroot, "ostree", "repo"), "current")
	if err != nil {
		return err
	}
	const karg = "root=LABEL=root"
	cmd := exec.CommandContext(ctx, b.program(tool), "container", "image", "deploy", "--sysroot", sysroot, "--stateroot", stateroot,
		"--imgref", imgref, "--karg", karg, "--insecure-skip-tls-verification")
	if _, err := b.sample(ctx, n, kind, tool, stepDeploy, cmd); err != nil {
		return err
	}
	floor := exec.CommandContext(ctx, "ostree", "admin", "deploy", "--sysroot="+sysroot, "--os="+stateroot, "--karg="+karg, commit)
	if _, err := b.sample(ctx, n, kind, tool, stepFloor, floor); err != nil {
		return err
	}
	_, err = output(exec.CommandContext(ctx, "ostree", "admin", "undeploy", "--sysroot="+sysroot, "0"))
	return err
}

// mergeCommit finds the merge commit of the only image whose ref contains part.
func mergeCommit(ctx context.Context, repo, part string) (string, error) {
	out, err := output(exec.CommandContext(ctx, "ostree", "--repo="+repo, "refs", "--list", "ostree/container/image"))
	if err != nil {
		return "", err
	}
	var refs []string
	for ref := range strings.FieldsSeq(string(out)) {
		if strings.Contains(ref, part) {
			refs = append(refs, ref)
		}
	}
	if len(refs) != 1 {
		return "", fmt.Errorf("%s: %d image refs with %q: %s", repo, len(refs), part, out)
	}
	out, err = output(exec.CommandContext(ctx, "ostree", "--repo="+repo, "rev-parse", refs[0]))
	return strings.TrimSpace(string(out)), err
}

// checkTree compares the tree of the merge commit with what the other tool, and an earlier run, made of the same image.
func (b *bench) checkTree(ctx context.Context, kind, version, tool, repo, part string) error {
	commit, err := mergeCommit(ctx, repo, part)
	if err != nil {
		return err
	}
	out, err := output(exec.CommandContext(ctx, "ostree", "--repo="+repo, "ls", "-d", "-C", commit, "/"))
	if err != nil {
		return err
	}
	image, root := kind+" "+version, strings.TrimSpace(string(out))
	if b.trees[image] == nil {
		b.trees[image] = map[string]string{}
	}
	first := b.trees[image][tool] == ""
	b.trees[image][tool] = root
	for other, tree := range b.trees[image] {
		if tree != root {
			return fmt.Errorf("%s: trees differ: %s has %s, %s has %s", image, tool, root, other, tree)
		}
		if first && other != tool {
			b.check("%s: %s and %s made the same tree", image, other, tool)
		}
	}
	return nil
}

func (b *bench) check(format string, args ...any) {
	b.checks = append(b.checks, strings.TrimSpace(fmt.Sprintf(format, args...)))
	logf("%s", b.checks[len(b.checks)-1])
}

// fsck has ostree check a repository, and returns its verdict.
func fsck(ctx context.Context, repo string) (string, error) {
	out, err := output(exec.CommandContext(ctx, "ostree", "--repo="+repo, "fsck", "--quiet"))
	text := strings.TrimSpace(string(out)) // progress and, last, the verdict
	return text[strings.LastIndexByte(text, '\n')+1:], err
}

// freshRepo makes an empty repository in a directory of fresh.
func (b *bench) freshRepo(ctx context.Context, kind, tool string) (dir, repo string, err error) {
	if dir, err = b.fresh(kind, tool); err != nil {
		return "", "", err
	}
	repo = filepath.Join(dir, "repo")
	return dir, repo, initRepo(ctx, repo)
}

func initRepo(ctx context.Context, repo string) error {
	_, err := output(exec.CommandContext(ctx, "ostree", "--repo="+repo, "init", "--mode=bare"))
	return err
}

func countObjects(repo string) (int, error) {
	n := 0
	err := filepath.WalkDir(filepath.Join(repo, "objects"), func(_ string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			n++
		}
		return err
	})
	return n, err
}

// remove removes dir and waits until that is on the disk; deployments in it are immutable.
func remove(ctx context.Context, dir string) error {
	deployments, err := filepath.Glob(filepath.Join(dir, "sysroot/ostree/deploy/*/deploy/*"))
	if err != nil {
		return err
	}
	for _, d := range deployments {
		if fi, err := os.Lstat(d); err == nil && fi.IsDir() {
			if _, err := output(exec.CommandContext(ctx, "chattr", "-i", d)); err != nil {
				return err
			}
		}
	}
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	syscall.Sync()
	return nil
}
