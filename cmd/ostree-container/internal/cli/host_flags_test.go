package cli

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// Options that would have no effect are refused, as conflicts are elsewhere; nothing is done.
func TestHostUpgradeConflicts(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"--check --from-downloaded":                          "--check cannot be used with --from-downloaded",
		"--check --download-only":                            "--check cannot be used with --download-only",
		"--check --soft-reboot=auto":                         "--check cannot be used with --soft-reboot",
		"--keep-blobs --check":                               "--check cannot be used with --keep-blobs",
		"--check --strict":                                   "--check cannot be used with --strict",
		"--check --ignore-space":                             "--check cannot be used with --ignore-space",
		"--check -j 2":                                       "--check cannot be used with --jobs",
		"--check --decryption-key /x":                        "--check cannot be used with --decryption-key",
		"--from-downloaded --download-only":                  "--from-downloaded cannot be used with --download-only",
		"--tag v2 --from-downloaded":                         "--from-downloaded cannot be used with --tag",
		"--from-downloaded --authfile /x":                    "--from-downloaded cannot be used with --authfile",
		"--from-downloaded --auth-anonymous":                 "--from-downloaded cannot be used with --auth-anonymous",
		"--from-downloaded --auth-default":                   "--from-downloaded cannot be used with --auth-default",
		"--from-downloaded --creds u:p":                      "--from-downloaded cannot be used with --creds",
		"--from-downloaded --cert-dir /x":                    "--from-downloaded cannot be used with --cert-dir",
		"--from-downloaded --require-signed":                 "--from-downloaded cannot be used with --require-signed",
		"--from-downloaded --keep-blobs":                     "--from-downloaded cannot be used with --keep-blobs",
		"--from-downloaded --jobs=2":                         "--from-downloaded cannot be used with --jobs",
		"--soft-reboot=required --download-only":             "--soft-reboot cannot be used with --download-only",
		"--insecure-skip-tls-verification --from-downloaded": "--from-downloaded cannot be used with --insecure-skip-tls-verification",
	} {
		r := run(t, "", append([]string{"host", "upgrade", "--sysroot=/does/not/exist"}, strings.Fields(line)...)...)
		assert.Equal(t, exitUsage, r.status, line)
		assert.Empty(t, r.out)
		assert.True(t, strings.HasPrefix(r.err, "error: the option "+want+"\n\nUsage: "), "%s: %s", line, r.err)
	}
	r := run(t, "", "host", "switch", "--soft-reboot=auto", "--download-only", "ostree-unverified-image:oci:/x")
	assert.Equal(t, exitUsage, r.status)
	assert.Contains(t, r.err, "--soft-reboot cannot be used with --download-only")
}
