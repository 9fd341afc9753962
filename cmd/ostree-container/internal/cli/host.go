package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/ostree-container/ostree-container/ostree"
)

func (a *app) hostCommand() *cobra.Command {
	cmd := group(&cobra.Command{
		Use:   "host",
		Short: "Commands for the host: its state, upgrades, the way back",
		Long: `Commands for the host: what is deployed, upgrades of the image that it follows, the way back.

The image that is followed stands in the origin of a deployment: of the staged one, where something
is staged, else of the booted one. On a booted host new deployments are staged and take effect when
it is shut down. A sysroot that is not booted (--sysroot) is changed at once.`,
	})
	cmd.AddCommand(a.hostStatusCommand(), a.hostUpgradeCommand(), a.hostSwitchCommand(), a.hostRollbackCommand(),
		a.hostPinCommand(), a.hostUnpinCommand(), a.hostUndeployCommand(), a.hostSetDefaultCommand())
	return cmd
}

// sysrootFlag adds the option --sysroot to a command that works on the host unless it is told otherwise.
func sysrootFlag(cmd *cobra.Command, sysroot *string) {
	cmd.Flags().StringVar(sysroot, "sysroot", "", "`PATH` of the system root (default /)")
	_ = cmd.MarkFlagDirname("sysroot")
}

// readingSysroot is withSysroot for commands that change nothing: it neither remounts nor locks.
func (a *app) readingSysroot(ctx context.Context, path string, f func(*ostree.Sysroot) error) error {
	sysroot, err := ostree.NewSysroot(path)
	if err != nil {
		return fmt.Errorf("loading sysroot: %w", err)
	}
	if err := sysroot.Load(ctx); err != nil {
		return errors.Join(loadingSysroot(err, sysroot.Path()), sysroot.Close())
	}
	return errors.Join(withRemedy(f(sysroot), repoOf(sysroot)), sysroot.Close())
}
