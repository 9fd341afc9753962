package cli

import (
	"github.com/spf13/cobra"

	"github.com/ostree-container/ostree-container/container"
)

func (a *app) commitCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "commit",
		Short: "Clean up at the end of a container build",
		Long: `Removes what the steps of a container build leave behind: everything in /run, /tmp, /var/tmp and
/var/cache, but no mount points. It is the last command of a RUN instruction, and refuses to
work anywhere but in a container that is made of an OSTree commit.`,
		Example: "  RUN dnf -y install strace && ostree-container container commit",
		Args:    positional(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			ok, err := container.InOSTreeContainer("/")
			if err == nil && !ok {
				err = container.ErrNotOSTreeContainer
			}
			if err != nil {
				return err
			}
			return container.CleanBuild(cmd.Context(), "/")
		},
	}
}
