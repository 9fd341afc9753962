package container_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ostree-container/ostree-container/container"
	"github.com/ostree-container/ostree-container/container/host"
	"github.com/ostree-container/ostree-container/container/imageref"
	"github.com/ostree-container/ostree-container/container/internal/oracle"
	ti "github.com/ostree-container/ostree-container/container/internal/testimage"
	"github.com/ostree-container/ostree-container/container/registry"
	"github.com/ostree-container/ostree-container/ostree"
)

// On a booted host a deployment is staged. Booted is what libostree takes for it: the root directory is that of a deployment and
// /run/ostree-booted is there; a mount namespace and chroot(8) provide that. Finalizing at shutdown is systemd's part and
// belongs to the boot test.
func TestDeployStagedOnBootedHost(t *testing.T) {
	t.Parallel()
	s := newSystem(t, "default")
	dir := t.TempDir()
	one := s.mustDeploy(osImage("1").Write(t, dir, "v1").Ref, container.DeployOptions{Kargs: []string{"quiet"}})
	two, three := osImage("2").Write(t, dir, "v2"), osImage("3").Write(t, dir, "v3")
	lines := s.booted(one, task{Do: "staged", Refs: []string{"ostree-unverified-image:" + two.Ref, "ostree-unverified-image:" + three.Ref}}, dir)
	// What the child says: see stagedTask.
	assert.Equal(t, []string{
		"booted " + one.MergeCommit,
		"staged ID 2 origin ostree-unverified-image:" + two.Ref + " list [staged booted]",
		"pruned 0 images, 0 layers, with refs of deployments false, blobs 3",
		"staged ID 3 origin ostree-unverified-image:" + three.Ref + " list [staged booted]",
		"pruned 0 images, 1 layers, with refs of deployments false, blobs 3",
		"staged ID 2 origin ostree-unverified-image:" + two.Ref + " list [staged booted]",
		"pruned 0 images, 1 layers, with refs of deployments false, blobs 3",
		"images 2",
		"pruned 0 images, 0 layers, with refs of deployments false, blobs 3",
	}, lines)
	oracle.Fsck(t, s.repo)
	// The machine went down without finalizing: what was staged is no deployment, and goes.
	_, err := s.LoadIfChanged(t.Context())
	require.NoError(t, err)
	require.Len(t, s.Deployments(), 1)
	pruned, err := container.Prune(t.Context(), s.Sysroot, nil)
	require.NoError(t, err)
	assert.Equal(t, []int{1, 1}, []int{pruned.Images, pruned.Layers})
	require.NoError(t, s.Cleanup(t.Context()))
	assert.Len(t, blobRefs(oracle.Refs(t, s.repo)), 2)
	s.sound()
}

// stagedTask runs on the booted host: it stages two images without refs and one with, and prunes after each as if libostree had
// written no refs for staged deployments (B14).
func stagedTask(ctx context.Context, sysroot *ostree.Sysroot, c task, options *registry.Options) error {
	fmt.Println("booted", sysroot.BootedDeployment().Checksum())
	repo, err := sysroot.Repo()
	if err != nil {
		return err
	}
	for n, text := range []string{c.Refs[0], c.Refs[1], c.Refs[0]} {
		ref, err := imageref.ParseOSTree(text)
		if err != nil {
			return err
		}
		state, err := container.Deploy(ctx, sysroot, "default", ref, &container.DeployOptions{PullOptions: container.PullOptions{Registry: options}, NoImgref: n < 2})
		if err != nil {
			return err
		}
		staged := sysroot.StagedDeployment()
		if staged == nil || staged.Checksum() != state.MergeCommit {
			return fmt.Errorf("staged is %v", staged)
		}
		origin, err := container.DeploymentImage(staged)
		if err != nil {
			return err
		}
		var list []string
		for _, d := range sysroot.Deployments() {
			list = append(list, map[bool]string{true: "staged", false: "booted"}[d.IsStaged()])
		}
		fmt.Println("staged ID", state.Version(), "origin", origin, "list", list)
		if err := pruneWithoutRefs(ctx, sysroot, repo); err != nil {
			return err
		}
	}
	images, err := container.ListImages(ctx, repo)
	if err != nil {
		return err
	}
	fmt.Println("images", len(images))
	return pruneWithoutRefs(ctx, sysroot, repo)
}

// Where what is staged cannot be discarded nothing is said to be changed: the boot order without it is the one from before.
func TestUndeployOfStagedFails(t *testing.T) {
	t.Parallel()
	s := newSystem(t, "default")
	dir := t.TempDir()
	one := s.mustDeploy(osImage("1").Write(t, dir, "v1").Ref, container.DeployOptions{Kargs: []string{"quiet"}})
	two := osImage("2").Write(t, dir, "v2")
	lines := s.booted(one, task{Do: "undeploy", Refs: []string{"ostree-unverified-image:" + two.Ref}}, dir)
	require.Len(t, lines, 2)
	assert.Regexp(t, "^changed false: write deployments: .*busy$", lines[0])
	assert.Equal(t, "staged true", lines[1])
}

// undeployTask runs on the booted host: it stages an image and undeploys it, when the kernel does not let its file go.
func undeployTask(ctx context.Context, sysroot *ostree.Sysroot, c task, options *registry.Options) error {
	ref, err := imageref.ParseOSTree(c.Refs[0])
	if err != nil {
		return err
	}
	if _, err := container.Deploy(ctx, sysroot, "default", ref, &container.DeployOptions{PullOptions: container.PullOptions{Registry: options}}); err != nil {
		return err
	}
	const file = "/run/ostree/staged-deployment"
	if err := unix.Mount(file, file, "", unix.MS_BIND, ""); err != nil {
		return err
	}
	change, err := host.Undeploy(ctx, sysroot, 0, nil)
	fmt.Printf("changed %v: %v\n", change.Changed, err)
	if err := sysroot.Load(ctx); err != nil {
		return err
	}
	fmt.Println("staged", sysroot.StagedDeployment() != nil)
	return nil
}

func pruneWithoutRefs(ctx context.Context, sysroot *ostree.Sysroot, repo *ostree.Repo) error {
	refs, err := repo.ListRefs(ctx, "")
	if err != nil {
		return err
	}
	for name := range refs {
		if strings.HasPrefix(name, "ostree/0/") || strings.HasPrefix(name, "ostree/1/") {
			if err := repo.SetRefImmediate(ctx, "", name, ""); err != nil {
				return err
			}
		}
	}
	pruned, err := container.Prune(ctx, sysroot, nil)
	if err != nil {
		return err
	}
	if refs, err = repo.ListRefs(ctx, ""); err != nil {
		return err
	}
	for _, d := range sysroot.Deployments() {
		if _, _, err := repo.LoadCommit(ctx, d.Checksum()); err != nil {
			return err
		}
	}
	fmt.Printf("pruned %d images, %d layers, with refs of deployments %v, blobs %d\n", pruned.Images, pruned.Layers,
		len(deploymentRefs(refs)) > 0, len(blobRefs(refs)))
	return nil
}

// booted runs a task in the deployment of a commit as if it were booted, and returns its lines. The host's /usr stands in for the
// deployment's, which has no programs; shared directories are there under their own names.
func (s *system) booted(state *container.LayeredImageState, c task, shared ...string) []string {
	s.t.Helper()
	ti.NeedTool(s.t, "unshare", "chroot", "mount")
	self, err := os.Executable()
	require.NoError(s.t, err)
	c.Sysroot, c.Policy = "/", filepath.Join(shared[0], "policy.json")
	require.NoError(s.t, os.WriteFile(c.Policy, []byte(`{"default":[{"type":"insecureAcceptAnything"}]}`), 0o600))
	text, err := json.Marshal(c)
	require.NoError(s.t, err)
	script := `
root=$1 sysroot=$2 self=$3; shift 3
mount --bind "$root" "$root"
mount --bind /usr "$root/usr"
mount -t proc proc "$root/proc"
mount -t tmpfs tmpfs "$root/run"
mount -t tmpfs tmpfs "$root/tmp"
mkdir -p "$root/dev"
mount --rbind /dev "$root/dev"
mount --bind "$sysroot" "$root/sysroot"
mount --bind "$sysroot/boot" "$root/boot"
mkdir "$root/run/ostree" "$root/run/tmp"
touch "$root/run/ostree-booted" "$root/run/self"
mount --bind "$self" "$root/run/self"
for dir; do mkdir -p "$root$dir"; mount --bind "$dir" "$root$dir"; done
exec chroot "$root" /run/self`
	args := append([]string{"--mount", "--propagation=private", "sh", "-euc", script, "sh", s.deployment(state.MergeCommit, 0), s.dir, self}, shared...)
	cmd := exec.Command("unshare", args...)
	cmd.Env = append(os.Environ(), childTask+"="+string(text), "TMPDIR=/run/tmp")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(s.t, err, stderr.String())
	return strings.Split(strings.TrimSpace(string(out)), "\n")
}
