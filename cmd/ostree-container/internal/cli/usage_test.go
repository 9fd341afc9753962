package cli

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// imageVerbs are the names that "image" alone lists.
func imageVerbs() string {
	a, _, _ := testApp()
	var names []string
	for _, cmd := range a.imageCommand().Commands() {
		names = append(names, cmd.Name())
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

func TestUsageErrors(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		args  []string
		error string
		usage string
	}{
		"nothing":      {nil, "a command is missing: completion, container, man, provisional-repair, tar", "ostree-container COMMAND"},
		"unknown verb": {[]string{"frobnicate"}, `unknown command "frobnicate"`, "ostree-container COMMAND"},
		"misspelt": {
			[]string{"container", "image", "lits"}, `unknown command "lits"; similar: list`, "ostree-container container image COMMAND",
		},
		"no image verb": {
			[]string{"image"}, "a command is missing: " + imageVerbs(),
			"ostree-container image COMMAND",
		},
		"unknown option": {
			[]string{"image", "list", "--bogus"}, "unknown flag: --bogus", "ostree-container image list [OPTION...] --repo PATH",
		},
		"no repository": {
			[]string{"container", "image", "list"}, "the following required option was not provided: --repo",
			"ostree-container container image list [OPTION...] --repo PATH",
		},
		"too much": {
			[]string{"image", "list", "--repo", "r", "x"}, `unexpected argument "x"`, "ostree-container image list [OPTION...] --repo PATH",
		},
		"no image": {
			[]string{"image", "pull", "r"}, "the following required arguments were not provided: IMGREF",
			"ostree-container image pull [OPTION...] REPO IMGREF",
		},
		"no reference": {
			[]string{"image", "pull", "r", "foo"}, `invalid value "foo" for IMGREF: Missing ':' in foo`,
			"ostree-container image pull [OPTION...] REPO IMGREF",
		},
		"no signature rule": {
			[]string{"image", "pull", "r", "docker://x"}, `invalid value "docker://x" for IMGREF: Invalid ostree image reference scheme: docker; did you mean ostree-unverified-image:docker://x, or ostree-image-signed:docker://x?`,
			"ostree-container image pull [OPTION...] REPO IMGREF",
		},
		"two credentials": {
			[]string{"image", "pull", "r", "ostree-unverified-registry:x", "--authfile=a", "--auth-anonymous"},
			"Conflicting authentication options: the option --authfile cannot be used with --auth-anonymous",
			"ostree-container image pull [OPTION...] REPO IMGREF",
		},
		"no jobs": {
			[]string{"image", "pull", "r", "ostree-unverified-registry:x", "-j0"}, "invalid value 0 for --jobs: at least 1",
			"ostree-container image pull [OPTION...] REPO IMGREF",
		},
		"unknown format": {
			[]string{"image", "list", "--repo=r", "--format=xml"}, `invalid argument "xml" for "--format" flag: text or json`,
			"ostree-container image list [OPTION...] --repo PATH",
		},
		"prune both": {
			[]string{"image", "prune-images", "--sysroot=/x", "--full", "--and-layers"},
			"the option --full cannot be used with --and-layers", "ostree-container image prune-images [OPTION...] --sysroot PATH",
		},
		"reexport nowhere": {
			[]string{"image", "reexport", "--repo=r", "docker://x"}, "the following required arguments were not provided: DEST_IMGREF",
			"ostree-container image reexport [OPTION...] --repo PATH SRC_IMGREF DEST_IMGREF",
		},
		"reexport with xz": {
			[]string{"image", "reexport", "--repo=r", "--compression=xz", "docker://x", "oci:y"}, `invalid value "xz" for --compression: gzip, zstd or none`,
			"ostree-container image reexport [OPTION...] --repo PATH SRC_IMGREF DEST_IMGREF",
		},
		"reexport at a level that gzip has not": {
			[]string{"image", "reexport", "--repo=r", "--compression-level=99", "docker://x", "oci:y"}, "invalid value 99 for --compression-level: 1 to 9 for gzip",
			"ostree-container image reexport [OPTION...] --repo PATH SRC_IMGREF DEST_IMGREF",
		},
		"reexport at level 0": {
			[]string{"image", "reexport", "--repo=r", "--compression=zstd", "--compression-level=0", "docker://x", "oci:y"}, "invalid value 0 for --compression-level: 1 to 19 for zstd",
			"ostree-container image reexport [OPTION...] --repo PATH SRC_IMGREF DEST_IMGREF",
		},
		"reexport at a level of nothing": {
			[]string{"image", "reexport", "--repo=r", "--compression=none", "--compression-level=1", "docker://x", "oci:y"}, "the option --compression-level cannot be used with --compression=none",
			"ostree-container image reexport [OPTION...] --repo PATH SRC_IMGREF DEST_IMGREF",
		},
		"reexport fast and at a level": {
			[]string{"image", "reexport", "--repo=r", "--compression-fast", "--compression-level=1", "docker://x", "oci:y"}, "the option --compression-fast cannot be used with --compression-level",
			"ostree-container image reexport [OPTION...] --repo PATH SRC_IMGREF DEST_IMGREF",
		},
		"reexport without a job": {
			[]string{"image", "reexport", "--repo=r", "--jobs=-1", "docker://x", "oci:y"}, "invalid value -1 for --jobs: at least 1",
			"ostree-container image reexport [OPTION...] --repo PATH SRC_IMGREF DEST_IMGREF",
		},
		"copy from nowhere": {
			[]string{"image", "copy", "--dest-repo=r", "docker://x"}, "the following required option was not provided: --src-repo",
			"ostree-container image copy [OPTION...] --src-repo PATH --dest-repo PATH IMGREF",
		},
		"copy to a bad name": {
			[]string{"image", "copy", "--src-repo=r", "--dest-repo=r", "--target=x", "docker://x"}, `invalid value "x" for IMGREF: Missing ':' in x`,
			"ostree-container image copy [OPTION...] --src-repo PATH --dest-repo PATH IMGREF",
		},
		"no sysroot": {
			[]string{"image", "prune-images"}, "the following required option was not provided: --sysroot",
			"ostree-container image prune-images [OPTION...] --sysroot PATH",
		},
		"sizes of what": {
			[]string{"image", "prune-images", "--sysroot=/x", "--sizes"}, "--sizes needs --full", "ostree-container image prune-images [OPTION...] --sysroot PATH",
		},
		"keep nothing": {
			[]string{"image", "prune-images", "--sysroot=/x", "--keep=x"}, `invalid value "x" for IMGREF: Missing ':' in x`,
			"ostree-container image prune-images [OPTION...] --sysroot PATH",
		},
		"diff of one": {
			[]string{"image", "diff", "--repo=r", "a"}, "the following required arguments were not provided: TO",
			"ostree-container image diff [OPTION...] --repo PATH FROM TO",
		},
		"diff of no depth": {
			[]string{"image", "diff", "--repo=r", "--depth=0", "a", "b"}, "invalid value 0 for --depth: at least 1",
			"ostree-container image diff [OPTION...] --repo PATH FROM TO",
		},
		"inspect twice": {
			[]string{"image", "inspect", "--raw", "--config", "ostree-unverified-registry:x"}, "the option --raw cannot be used with --config",
			"ostree-container image inspect [OPTION...] [--repo PATH] IMGREF",
		},
		"compare one": {
			[]string{"container", "compare", "ostree-unverified-registry:x"}, "the following required arguments were not provided: IMGREF_NEW",
			"ostree-container container compare [OPTION...] IMGREF_OLD IMGREF_NEW",
		},
		"repair nothing": {
			[]string{"provisional-repair", "repair"}, "the following required option was not provided: --sysroot",
			"ostree-container provisional-repair repair [OPTION...] --sysroot PATH",
		},
		"deploy nothing": {
			[]string{"image", "deploy"}, "the following required option was not provided: --imgref or --image",
			"ostree-container image deploy [OPTION...] {--imgref IMAGE | --image NAME}",
		},
		"deploy two": {
			[]string{"image", "deploy", "--image=x", "--imgref=y"}, "the option --imgref cannot be used with --image",
			"ostree-container image deploy [OPTION...] {--imgref IMAGE | --image NAME}",
		},
		"deploy from nowhere": {
			[]string{"image", "deploy", "--image=x", "--transport=foo"}, `invalid value "foo" for --transport: Invalid transport: foo`,
			"ostree-container image deploy [OPTION...] {--imgref IMAGE | --image NAME}",
		},
		"deploy unsure": {
			[]string{"image", "deploy", "--image=x", "--no-signature-verification", "--enforce-container-sigpolicy"},
			"the option --no-signature-verification cannot be used with --enforce-container-sigpolicy",
			"ostree-container image deploy [OPTION...] {--imgref IMAGE | --image NAME}",
		},
		"unknown shell": {[]string{"completion", "tcsh"}, `unknown shell "tcsh": bash, zsh or fish`, "ostree-container completion bash|zsh|fish"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := run(t, "", tc.args...)
			assert.Equal(t, result{
				err:    "error: " + tc.error + "\n\nUsage: " + tc.usage + "\n\nFor more information, try '--help'.\n",
				status: 2,
			}, r)
		})
	}
}
