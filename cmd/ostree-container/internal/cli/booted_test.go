package cli

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// bootedScript makes a deployment's directory the root, as if it were booted, and runs a script in it. The host's /usr stands in for the
// deployment's, which has no programs. libostree from 2025 on starts the service that finalizes what is staged; there is no systemd to do
// it, and systemctl says so where it does not see that it is in a chroot.
const bootedScript = `
root=$1 sysroot=$2 self=$3 script=$4; shift 4
mount --bind "$root" "$root"
mkdir -p "$root/dev" "$root/proc" "$root/run" "$root/tmp" "$root/sysroot" "$root/boot" "$root/var"
for link in bin lib lib64 sbin; do test -e "$root/$link" || test -L "$root/$link" || ln -s "usr/$link" "$root/$link"; done
test -L "$root/ostree" || ln -s sysroot/ostree "$root/ostree"
mount --bind /usr "$root/usr"
mount -t proc proc "$root/proc"
mount -t tmpfs tmpfs "$root/run"
mount -t tmpfs tmpfs "$root/tmp"
mount --rbind /dev "$root/dev"
mount --bind "$sysroot" "$root/sysroot"
mount --bind "$sysroot/boot" "$root/boot"
mkdir "$root/run/ostree" "$root/run/bin" "$root/run/tmp"
touch "$root/run/ostree-booted" "$root/run/bin/ostree-container"
mount --bind "$self" "$root/run/bin/ostree-container"
ln -s /bin/true "$root/run/bin/systemctl"
for dir; do mkdir -p "$root$dir"; mount --bind "$dir" "$root$dir"; done
exec chroot "$root" sh -euc "$script"`

// booted runs a shell script in the first deployment of a sysroot as if it were booted, with the directory of the images at its own
// path, and returns what it prints to standard output.
func (i *images) booted(t *testing.T, sysroot, script string) string {
	t.Helper()
	needRoot(t)
	for _, name := range []string{"unshare", "chroot", "mount", "ostree"} {
		needTool(t, name)
	}
	roots, err := filepath.Glob(filepath.Join(sysroot, "ostree/deploy/*/deploy/*.[0-9]"))
	require.NoError(t, err)
	require.Len(t, roots, 1)
	policy := filepath.Join(i.dir, "policy.json")
	require.NoError(t, os.WriteFile(policy, []byte(`{"default":[{"type":"insecureAcceptAnything"}]}`), 0o600))
	self, err := os.Executable()
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "unshare", "--mount", "--pid", "--fork", "--kill-child", "--propagation=private", "sh", "-euc", bootedScript, "sh", roots[0], sysroot, self, script, i.dir)
	cmd.Env = append(os.Environ(), runMain+"=1", "TMPDIR=/run/tmp", "PATH=/run/bin:"+os.Getenv("PATH"), "CONTAINERS_POLICY_JSON="+policy,
		"OSTREE_SYSROOT_DEBUG=mutable-deployments,no-xattrs", "DIR="+i.dir, "IMAGE=ostree-unverified-image:oci:"+i.layout())
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	require.NoError(t, cmd.Run(), "%s\n%s", out.String(), errOut.String())
	if errOut.Len() > 0 {
		t.Log(errOut.String())
	}
	return i.normal(out.String())
}
