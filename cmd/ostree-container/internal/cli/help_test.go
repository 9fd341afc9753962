package cli

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/ostree"
)

// walk visits every command that help shows.
func walk(cmd *cobra.Command, visit func(*cobra.Command)) {
	visit(cmd)
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() && !isShortForm(sub) {
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
	assert.Greater(t, n, 22)
}

// An option that takes a value says what counts without it, unless without it there is nothing.
func TestOptionsSayTheirDefault(t *testing.T) {
	t.Parallel()
	nothing := strings.Fields("creds decryption-key imgref image ostree-remote write-commitid-to check ostree-digestfile keep write-ref write-result-to" +
		" label copymeta copymeta-opt rootfs previous-build-manifest")
	a, _, _ := testApp()
	walk(a.rootCommand(), func(cmd *cobra.Command) {
		cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if f.Value.Type() != "bool" && !f.Hidden && !slices.Contains(nothing, f.Name) && f.DefValue != string(formatText) {
				assert.Regexp(t, `[( ](default|required)`, f.Usage, "%s --%s", cmd.CommandPath(), f.Name)
			}
			assert.NotContains(t, f.Usage, `default "`)
		})
	})
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
		"reexport":     "repo authfile compression-fast",

		"replace-detached-metadata": "src dest",
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

func TestOptionsOfExportVerbs(t *testing.T) {
	t.Parallel()
	a, _, _ := testApp()
	root := a.rootCommand()
	for path, names := range map[string]string{
		"container encapsulate":   "repo label authfile config copymeta copymeta-opt cmd compression-fast contentmeta max-layers previous-build-manifest",
		"container export":        "repo",
		"container unencapsulate": "repo write-ref quiet auth-anonymous authfile cert-dir insecure-skip-tls-verification",
		"container import":        "repo",
		"tar import":              "repo",
		"tar export":              "repo format-version",
	} {
		cmd, rest, err := root.Find(strings.Fields(path))
		require.NoError(t, err)
		require.Empty(t, rest)
		for name := range strings.FieldsSeq(names) {
			assert.NotNil(t, cmd.Flags().Lookup(name), "%s --%s", path, name)
		}
	}
}

func TestHelp(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{
		{"image", "prune-layers", "--help"}, {"help", "image", "prune-layers"}, {"image", "help", "prune-layers"}, {"-v", "image", "prune-layers", "-h"},
	} {
		r := run(t, "", args...)
		assert.Equal(t, result{out: `Removes the refs of layers that no image and no deployment needs, and what pull --keep-blobs kept of
them. If an image in the repository cannot be understood nothing is removed, and the error names its
ref.

Usage: ostree-container image prune-layers [OPTION...] --repo PATH

Examples:
  ostree-container image prune-layers --repo /ostree/repo

Options:
      --format FORMAT   text or json (default text)
  -h, --help            help for prune-layers
      --repo PATH       PATH of the repository (required)

Options of all commands:
  -v, --verbose   Print debug messages
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
	a, _, _ := testApp()
	var want []string // one for each command, without the word "container"
	walk(a.rootCommand(), func(cmd *cobra.Command) {
		if path := strings.ReplaceAll(cmd.CommandPath(), " ", "-"); path != "ostree-container-container" {
			want = append(want, strings.Replace(path, "ostree-container-container-", "ostree-container-", 1)+".1")
		}
	})
	assert.ElementsMatch(t, want, names)
	assert.Contains(t, names, "ostree-container-image-prune-images.1")
	data, err := os.ReadFile(filepath.Join(dir, "ostree-container-image-pull.1"))
	require.NoError(t, err)
	page := string(data)
	assert.Contains(t, page, `.TH OSTREE\-CONTAINER\-IMAGE\-PULL 1 20`)
	assert.Contains(t, page, ".TP\n\\fB\\-j\\fR, \\fB\\-\\-jobs\\fR \\fIN\\fR\nWork on N layers at once (default 6)\n")
	assert.Contains(t, page, "\\fB\\-\\-format\\fR \\fIFORMAT\\fR\ntext, or json for one JSON document a line: progress, then the result (default text)\n")
	assert.NotContains(t, page, "false", "no default that is none")
	root, err := os.ReadFile(filepath.Join(dir, "ostree-container.1"))
	require.NoError(t, err)
	assert.Equal(t, 1, strings.Count(string(root), `.BR ostree\-container\-image (1)`))
	assert.Contains(t, string(root), "\\fB\\-\\-version\\fR")
	if _, err := exec.LookPath("man"); err == nil {
		for _, name := range names {
			cmd := exec.Command("man", "--warnings", "-l", filepath.Join(dir, name))
			cmd.Env = append(os.Environ(), "MANWIDTH=100", "MANPAGER=cat", "LC_ALL=C.UTF-8")
			var text, warnings bytes.Buffer
			cmd.Stdout, cmd.Stderr = &text, &warnings
			require.NoError(t, cmd.Run(), name)
			assert.Empty(t, warnings.String(), name)
			assert.NotContains(t, text.String(), "\u2010\n", name) // a command that is divided
		}
	}
}

func TestCompletion(t *testing.T) {
	t.Parallel()
	for _, shell := range []string{"bash", "zsh", "fish"} {
		r := run(t, "", "completion", shell)
		assert.Zero(t, r.status)
		assert.Empty(t, r.err)
		assert.Contains(t, r.out, "ostree-container")
	}
	r := run(t, "", "__complete", "")
	for _, group := range []string{"container", "host", "image", "tar"} {
		assert.Contains(t, r.out, group+"\t")
	}
	assert.NotContains(t, r.out, "encapsulate\t", "as before: with the word container")
	r = run(t, "", "__complete", "help", "image", "prune-i")
	assert.True(t, strings.HasPrefix(r.out, "prune-images\n"), r.out)
	r = run(t, "", "__complete", "image", "pr")
	assert.True(t, strings.HasPrefix(r.out, "prune-images\tRemove the images of a sysroot that are not deployed\nprune-layers\t"), r.out)
}
