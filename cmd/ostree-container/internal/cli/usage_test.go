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
		"nothing":      {nil, "a command is missing: completion, container, host, image, man, provisional-repair, tar", "ostree-container COMMAND"},
		"unknown verb": {[]string{"frobnicate"}, `unknown command "frobnicate"`, "ostree-container COMMAND"},
		"misspelt": {
			[]string{"container", "image", "lits"}, `unknown command "lits"; did you mean "list"?`, "ostree-container container image COMMAND",
		},
		"no image verb": {
			[]string{"image"}, "a command is missing: " + imageVerbs(),
			"ostree-container image COMMAND",
		},
		"unknown option": {
			[]string{"image", "list", "--bogus"}, "unknown option: --bogus", "ostree-container image list [OPTION...] --repo PATH",
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
			[]string{"image", "pull", "r", "docker://x"}, `invalid value "docker://x" for IMGREF: Invalid ostree image reference scheme: docker; did you mean ostree-image-signed:docker://x, or ostree-unverified-registry:x?`,
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
			[]string{"image", "list", "--repo=r", "--format=xml"}, `invalid value "xml" for --format: text or json`,
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
			[]string{"image", "copy", "--src-repo=r", "--dest-repo=r", "--target=x", "docker://x"}, `invalid value "x" for --target: Missing ':' in x`,
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
			[]string{"image", "prune-images", "--sysroot=/x", "--keep=x"}, `invalid value "x" for --keep: Missing ':' in x`,
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
		"a command of a group": {[]string{"pull"}, `unknown command "pull"; did you mean "image pull"?`, "ostree-container COMMAND"},
		"with its options":     {[]string{"pull", "--keep-blobs", "r", "x"}, `unknown command "pull"; did you mean "image pull"?`, "ostree-container COMMAND"},
		"in container": {
			[]string{"container", "status"}, `unknown command "status"; did you mean "host status"?`, "ostree-container container COMMAND",
		},
		"a misspelt group":   {[]string{"imgae", "pull"}, `unknown command "imgae"; did you mean "image"?`, "ostree-container COMMAND"},
		"help of no command": {[]string{"image", "help", "pul"}, `unknown command "pul"; did you mean "pull"?`, "ostree-container image COMMAND"},
		"help of none":       {[]string{"help", "image", "pul"}, `unknown command "pul"; did you mean "pull"?`, "ostree-container help [COMMAND...]"},
		"help of too much":   {[]string{"image", "help", "pull", "x"}, `unexpected argument "x"`, "ostree-container image COMMAND"},
		"help option of no command": {
			[]string{"image", "pulll", "--help"}, `unknown command "pulll"; did you mean "pull"?`, "ostree-container image COMMAND",
		},
		"no number": {
			[]string{"image", "diff", "--repo=r", "--depth=x", "a", "b"}, `invalid value "x" for --depth: not a whole number`,
			"ostree-container image diff [OPTION...] --repo PATH FROM TO",
		},
		"a large number": {
			[]string{"image", "diff", "--repo=r", "--depth=99999999999999999999", "a", "b"}, `invalid value "99999999999999999999" for --depth: out of range`,
			"ostree-container image diff [OPTION...] --repo PATH FROM TO",
		},
		"help with a value": {[]string{"image", "list", "--help=x"}, `invalid value "x" for --help: true or false`, "ostree-container image list [OPTION...] --repo PATH"},
		"unknown letter":    {[]string{"image", "list", "-x"}, "unknown option: -x", "ostree-container image list [OPTION...] --repo PATH"},
		"unknown letter among others": {
			[]string{"image", "pull", "-qx"}, "unknown option: -x", "ostree-container image pull [OPTION...] REPO IMGREF",
		},
		"no value":        {[]string{"image", "list", "--repo"}, "the option --repo needs a value", "ostree-container image list [OPTION...] --repo PATH"},
		"no value for -j": {[]string{"image", "pull", "-j"}, "the option --jobs needs a value", "ostree-container image pull [OPTION...] REPO IMGREF"},
		"no option":       {[]string{"image", "list", "--=x"}, "invalid option: --=x", "ostree-container image list [OPTION...] --repo PATH"},
		"a registry's name alone": {
			[]string{"image", "pull", "r", "quay.io/a/os:latest"},
			`invalid value "quay.io/a/os:latest" for IMGREF: Invalid ostree image reference scheme: quay.io/a/os; did you mean ostree-image-signed:docker://quay.io/a/os:latest, or ostree-unverified-registry:quay.io/a/os:latest?`,
			"ostree-container image pull [OPTION...] REPO IMGREF",
		},
		"a registry's name without a tag": {
			[]string{"image", "pull", "r", "localhost:5000/os"},
			`invalid value "localhost:5000/os" for IMGREF: Invalid ostree image reference scheme: localhost; did you mean ostree-image-signed:docker://localhost:5000/os, or ostree-unverified-registry:localhost:5000/os?`,
			"ostree-container image pull [OPTION...] REPO IMGREF",
		},
		"no transport": {
			[]string{"image", "pull", "r", "ostree-unverified-image:quay.io/a/os"},
			`invalid value "ostree-unverified-image:quay.io/a/os" for IMGREF: Missing ':' in quay.io/a/os; did you mean ostree-unverified-image:docker://quay.io/a/os?`,
			"ostree-container image pull [OPTION...] REPO IMGREF",
		},
		"no transport of a stored image": {
			[]string{"image", "remove", "--repo=r", "quay.io/a/os:1"}, `invalid value "quay.io/a/os:1" for IMGREF: Invalid transport: quay.io/a/os; did you mean docker://quay.io/a/os:1?`,
			"ostree-container image remove [OPTION...] --repo PATH [IMGREF...]",
		},
		"unencapsulate with options about layers": {
			[]string{"container", "unencapsulate", "--repo=r", "--strict", "ostree-unverified-registry:x"}, "unknown option: --strict",
			"ostree-container container unencapsulate [OPTION...] --repo REPO IMGREF",
		},
		"unencapsulate with kept blobs": {
			[]string{"container", "unencapsulate", "--repo=r", "--keep-blobs", "ostree-unverified-registry:x"}, "unknown option: --keep-blobs",
			"ostree-container container unencapsulate [OPTION...] --repo REPO IMGREF",
		},
		"check and fetch": {
			[]string{"image", "pull", "--check=f", "--jobs=2", "r", "ostree-unverified-registry:x"}, "the option --check cannot be used with --jobs",
			"ostree-container image pull [OPTION...] REPO IMGREF",
		},
		"check and keep": {
			[]string{"image", "pull", "--check=f", "--keep-blobs", "r", "ostree-unverified-registry:x"}, "the option --check cannot be used with --keep-blobs",
			"ostree-container image pull [OPTION...] REPO IMGREF",
		},
		"a commit and a directory": {
			[]string{"container", "encapsulate", "--repo=r", "--rootfs=d", "os/x", "oci:out"}, `unexpected argument "os/x": with --rootfs there is no REV, only IMGREF`,
			"ostree-container container encapsulate [OPTION...] {--repo REPO REV | --rootfs DIR} IMGREF",
		},
		"few layers": {
			[]string{"container", "encapsulate", "--repo=r", "--contentmeta=f", "--max-layers=3", "os/x", "oci:out"}, "invalid value 3 for --max-layers: at least 4",
			"ostree-container container encapsulate [OPTION...] {--repo REPO REV | --rootfs DIR} IMGREF",
		},
		"replace what": {
			[]string{"image", "replace-detached-metadata", "--src=x", "--dest=oci:y"}, `invalid value "x" for --src: Missing ':' in x`,
			"ostree-container image replace-detached-metadata [OPTION...] --src IMGREF --dest IMGREF [FILE]",
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
