package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/ostree"
)

// walk visits every command that help shows.
func walk(cmd *cobra.Command, visit func(*cobra.Command)) {
	visit(cmd)
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() {
			walk(sub, visit)
		}
	}
}

func TestEveryCommandTeaches(t *testing.T) {
	t.Parallel()
	a, _, _ := testApp()
	n := 0
	walk(a.rootCommand(), func(cmd *cobra.Command) {
		n++
		assert.NotEmpty(t, cmd.Short, cmd.CommandPath())
		assert.False(t, strings.HasSuffix(cmd.Short, "."), cmd.CommandPath())
		if !cmd.HasSubCommands() {
			assert.Contains(t, cmd.Example, "ostree-container ", cmd.CommandPath())
		}
		for line := range strings.Lines(cmd.Long) {
			assert.LessOrEqual(t, len(line), 101, "%s: %s", cmd.CommandPath(), line)
		}
	})
	assert.Equal(t, 14, n) // root, container, image, nine verbs, completion, man
}

// The options of ostree-rs-ext 0.15.3 and of its successor in bootc, verb by verb.
func TestOptionsOfTheReference(t *testing.T) {
	t.Parallel()
	proxy := " auth-anonymous authfile cert-dir insecure-skip-tls-verification"
	a, _, _ := testApp()
	root := a.rootCommand()
	for verb, names := range map[string]string{
		"pull":         "quiet check ostree-digestfile" + proxy,
		"list":         "repo",
		"history":      "repo",
		"metadata":     "repo config",
		"remove":       "repo skip-gc",
		"prune-layers": "repo",
		"prune-images": "sysroot and-layers full",
		"copy":         "src-repo dest-repo",
		"deploy": "sysroot stateroot imgref image transport no-signature-verification enforce-container-sigpolicy ostree-remote" +
			" target-imgref no-imgref karg write-commitid-to" + proxy,
	} {
		for _, path := range [][]string{{"image", verb}, {"container", "image", verb}} {
			cmd, rest, err := root.Find(path)
			require.NoError(t, err)
			require.Empty(t, rest)
			require.Equal(t, verb, cmd.Name())
			for name := range strings.FieldsSeq(names) {
				assert.NotNil(t, cmd.Flags().Lookup(name), "%v --%s", path, name)
			}
		}
	}
}

func TestHelp(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{
		{"image", "prune-layers", "--help"}, {"help", "image", "prune-layers"}, {"image", "help", "prune-layers"}, {"-v", "image", "prune-layers", "-h"},
	} {
		r := run(t, "", args...)
		assert.Equal(t, result{out: `Removes the refs of layers that no image and no deployment needs. If an image in the repository
cannot be understood nothing is removed, and the error names its ref.

Usage: ostree-container image prune-layers [OPTION...] --repo PATH

Examples:
  ostree-container image prune-layers --repo /ostree/repo

Options:
      --format FORMAT   text or json (default text)
  -h, --help            help for prune-layers
      --repo PATH       PATH of the repository (required)

Options of all commands:
  -v, --verbose   Print what is of interest only when looking for a fault
`}, r, "%v", args)
	}
}

func TestVersion(t *testing.T) {
	t.Parallel()
	r := run(t, "", "--version")
	assert.Equal(t, result{out: "ostree-container 1.2.3\nlibostree " + ostree.Version() + " (built for " + ostree.HeaderVersion() + ")\nfeatures: " +
		strings.Join(ostree.Features(), " ") + "\n"}, r)
}

func TestManualPages(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "share", "man1")
	require.Equal(t, result{}, run(t, "", "man", dir))
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	assert.Equal(t, []string{
		"ostree-container-completion.1", "ostree-container-container-image-copy.1", "ostree-container-container-image-deploy.1", "ostree-container-container-image-history.1",
		"ostree-container-container-image-list.1", "ostree-container-container-image-metadata.1",
		"ostree-container-container-image-prune-images.1", "ostree-container-container-image-prune-layers.1",
		"ostree-container-container-image-pull.1", "ostree-container-container-image-remove.1", "ostree-container-container-image.1",
		"ostree-container-container.1", "ostree-container-man.1", "ostree-container.1",
	}, names)
	page, err := os.ReadFile(filepath.Join(dir, "ostree-container-container-image-pull.1"))
	require.NoError(t, err)
	assert.Contains(t, string(page), `\fB--ostree-digestfile\fP`)
	assert.NotContains(t, string(page), "Auto generated")
}

func TestCompletion(t *testing.T) {
	t.Parallel()
	for _, shell := range []string{"bash", "zsh", "fish"} {
		r := run(t, "", "completion", shell)
		assert.Zero(t, r.status)
		assert.Empty(t, r.err)
		assert.Contains(t, r.out, "ostree-container")
	}
	r := run(t, "", "__complete", "image", "pr")
	assert.True(t, strings.HasPrefix(r.out, "prune-images\tRemove the images of a sysroot that are not deployed\nprune-layers\t"), r.out)
}
