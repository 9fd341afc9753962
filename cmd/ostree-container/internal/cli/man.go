package cli

import (
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

func (a *app) manCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "man DIR",
		Short: "Write manual pages of all commands into a directory",
		Long: `Writes a manual page of every command into a directory, which is made if it does not exist.
The date in them is that of SOURCE_DATE_EPOCH if that is set.`,
		Example: "  ostree-container man /usr/share/man/man1",
		Args:    positional("DIR"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := os.MkdirAll(args[0], 0o755); err != nil {
				return err
			}
			root := cmd.Root()
			root.DisableAutoGenTag = true
			return doc.GenManTree(root, &doc.GenManHeader{
				Section: "1", Source: "ostree-container " + a.version, Manual: "OSTree",
			}, args[0])
		},
	}
}

func (a *app) completionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "completion bash|zsh|fish",
		Short: "Print a completion script for a shell",
		Example: `  # For this session
  source <(ostree-container completion bash)

  # For all users
  ostree-container completion fish > /usr/share/fish/vendor_completions.d/ostree-container.fish`,
		Args:      positional("bash|zsh|fish"),
		ValidArgs: []string{"bash", "zsh", "fish"},
		RunE: func(cmd *cobra.Command, args []string) error {
			switch args[0] {
			case "bash":
				return cmd.Root().GenBashCompletionV2(a.out, true)
			case "zsh":
				return cmd.Root().GenZshCompletion(a.out)
			case "fish":
				return cmd.Root().GenFishCompletion(a.out, true)
			}
			return usagef("unknown shell %q: bash, zsh or fish", args[0])
		},
	}
}
