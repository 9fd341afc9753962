package cli

import (
	"fmt"
	"log/slog"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ostree-container/ostree-container/ostree"
)

const rootLong = `Brings bootable container images into OSTree repositories, deploys them and removes
what is no longer used.

"ostree container ..." runs this program too, where it is installed as
/usr/libexec/libostree/ext/ostree-container or found in PATH. The word "container"
may be left out: "ostree-container image pull" is "ostree-container container image pull".

Results are on standard output; progress, warnings and errors on standard error.
The exit status is 0 for success, 1 for a failure, 2 for wrong usage, and 128 plus
the number of the signal after a signal (130 after Ctrl-C).`

const rootExample = `  # Pull an image into the repository of an installed system
  ostree-container image pull /ostree/repo ostree-image-signed:docker://quay.io/example/os:latest

  # Deploy it, from a registry or from a directory
  ostree-container image deploy --imgref ostree-image-signed:docker://quay.io/example/os:latest
  ostree-container image deploy --transport oci --image /mnt/usb/os:latest

  # What is booted, and is there something new? Then to the next version, and back
  ostree-container host status
  ostree-container host upgrade --check
  ostree-container host upgrade
  ostree-container host rollback

  # What is here, and what is no longer needed
  ostree-container image list --repo /ostree/repo
  ostree-container image prune-images --sysroot / --full`

const usageTemplate = `Usage: {{if .HasAvailableSubCommands}}{{.CommandPath}} COMMAND{{else}}{{.UseLine}}{{end}}
{{- if .HasExample}}

Examples:
{{.Example}}{{end}}
{{- if .HasAvailableSubCommands}}

Commands:{{range .Commands}}{{if .IsAvailableCommand}}
  {{rpad .Name .NamePadding}}  {{.Short}}{{end}}{{end}}{{end}}
{{- if .HasAvailableLocalFlags}}

Options:
{{.LocalFlags.FlagUsages | trimTrailingWhitespaces}}{{end}}
{{- if .HasAvailableInheritedFlags}}

Options of all commands:
{{.InheritedFlags.FlagUsages | trimTrailingWhitespaces}}{{end}}
`

// plainUseLine keeps cobra from adding "[flags]": options are written out where there are any.
func plainUseLine(cmd *cobra.Command) {
	cmd.DisableFlagsInUseLine = true
	for _, sub := range cmd.Commands() {
		plainUseLine(sub)
	}
}

// useLine is how a command is called.
func useLine(cmd *cobra.Command) string {
	if cmd.HasAvailableSubCommands() {
		return cmd.CommandPath() + " COMMAND"
	}
	return cmd.UseLine()
}

// rootCommand builds the whole tree of commands.
func (a *app) rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:               "ostree-container",
		Short:             "Container images for OSTree hosts",
		Long:              rootLong,
		Example:           rootExample,
		Version:           a.version,
		SilenceUsage:      true,
		SilenceErrors:     true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
	}
	verbose := root.PersistentFlags().BoolP("verbose", "v", false, "Print debug messages")
	root.PersistentPreRun = func(*cobra.Command, []string) {
		if *verbose {
			a.level.Set(slog.LevelDebug)
		}
	}
	root.SetVersionTemplate(a.versionText())
	root.SetFlagErrorFunc(flagError)
	root.SetHelpCommand(helpCommand())
	root.SetUsageTemplate(usageTemplate)
	root.SetHelpTemplate("{{with or .Long .Short}}{{. | trimTrailingWhitespaces}}\n\n{{end}}{{.UsageString}}")
	root.SetHelpFunc(a.helpUnlessStray(root.HelpFunc()))
	group(root)

	containers := group(&cobra.Command{
		Use:   "container",
		Short: "All commands for container images, as ostree has them",
		Long:  "All commands for container images, as ostree has them. The word may be left out.",
	})
	containers.AddCommand(a.containerCommands()...)
	for _, cmd := range a.containerCommands() {
		cmd.Hidden = !cmd.HasSubCommands() // the same again, without "container" in front; the groups are shown
		root.AddCommand(cmd)
	}
	root.AddCommand(containers, a.tarCommand(), a.provisionalRepairCommand(), a.completionCommand(), a.manCommand())
	plainUseLine(root)
	return root
}

// containerCommands are the commands in the group "container".
func (a *app) containerCommands() []*cobra.Command {
	return []*cobra.Command{a.imageCommand(), a.infoCommand(), a.compareCommand(), a.commitCommand(), a.encapsulateCommand(), a.unencapsulateCommand(), a.hostCommand()}
}

func (a *app) imageCommand() *cobra.Command {
	image := group(&cobra.Command{
		Use:   "image",
		Short: "Commands for images in a repository or sysroot",
		Long: `Commands for images in a repository or sysroot.

An image is written TRANSPORT:NAME, for example docker://quay.io/example/os:latest or
oci:/srv/layout:v2. Transports: registry (or docker://), oci, oci-archive,
docker-archive, dir; docker-daemon and containers-storage where the program was built with
them. Where an image is fetched, the rule for its signature comes first:

  ostree-image-signed:IMAGE          /etc/containers/policy.json must demand a signature
  ostree-unverified-image:IMAGE      the policy may accept anything
  ostree-unverified-registry:NAME    the same, of a registry
  ostree-remote-image:REMOTE:IMAGE   the commit inside is signed as the OSTree remote demands
  ostree-remote-registry:REMOTE:NAME`,
	})
	image.AddCommand(
		a.pullCommand(), a.listCommand(), a.historyCommand(), a.metadataCommand(), a.inspectCommand(), a.diffCommand(),
		a.removeCommand(), a.pruneLayersCommand(), a.pruneImagesCommand(), a.clearCachedUpdateCommand(), a.deployCommand(),
		a.copyCommand(), a.reexportCommand(),
		a.replaceDetachedMetadataCommand(),
	)
	return image
}

// versionText is what --version prints.
func (a *app) versionText() string {
	return fmt.Sprintf("ostree-container %s\nlibostree %s (built for %s)\nfeatures: %s\n",
		a.version, ostree.Version(), ostree.HeaderVersion(), strings.Join(ostree.Features(), " "))
}

// positional demands exactly the named arguments; a last name that ends in "..." stands for any number.
func positional(names ...string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		want := len(names)
		if want > 0 && strings.HasSuffix(names[want-1], "...") {
			return nil
		}
		if len(args) < want {
			return usagef("the following required arguments were not provided: %s", strings.Join(names[len(args):], " "))
		}
		if len(args) > want {
			return usagef("unexpected argument %q", args[want])
		}
		return nil
	}
}

// required fails if an option was not given.
func required(cmd *cobra.Command, names ...string) error {
	for _, name := range names {
		if !cmd.Flags().Changed(name) {
			return usagef("the following required option was not provided: --%s", name)
		}
	}
	return nil
}

// exclusive fails if more than one of the options was given.
func exclusive(cmd *cobra.Command, names ...string) error {
	first := ""
	for _, name := range names {
		switch {
		case !cmd.Flags().Changed(name):
		case first == "":
			first = name
		default:
			return usagef("the option --%s cannot be used with --%s", first, name)
		}
	}
	return nil
}
