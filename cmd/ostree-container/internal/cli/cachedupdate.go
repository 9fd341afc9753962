package cli

import (
	"github.com/spf13/cobra"

	"github.com/ostree-container/ostree-container/container"
	"github.com/ostree-container/ostree-container/ostree"
)

// clearedUpdate is the output of clear-cached-update --format json.
type clearedUpdate struct {
	Image   string `json:"image"`
	Cleared bool   `json:"cleared"` // there was one
}

func (a *app) clearCachedUpdateCommand() *cobra.Command {
	var as format
	cmd := &cobra.Command{
		Use:   "clear-cached-update [OPTION...] --repo PATH IMGREF",
		Short: "Forget an update that was seen and not pulled",
		Long: `Forgets an update of an image that a pull --check has noted. Other detached metadata of the image's
commit, such as signatures, stays. Prints nothing; that no update was noted is no error.`,
		Example: "  ostree-container image clear-cached-update --repo /ostree/repo docker://quay.io/example/os:latest",
		Args:    positional("IMGREF"),
	}
	repoPath := repoFlag(cmd)
	as.add(cmd, "text or json")
	cmd.ValidArgsFunction = a.imageCompletion(repoPath)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ref, err := queryArgs(cmd, args)
		if err != nil {
			return err
		}
		if err := a.prepareRepo(cmd.Context(), *repoPath); err != nil {
			return err
		}
		return a.withRepo(cmd.Context(), *repoPath, func(repo *ostree.Repo) error {
			cleared, err := container.ClearCachedUpdate(cmd.Context(), repo, ref)
			if err != nil || as != formatJSON {
				return err
			}
			return a.printJSON(clearedUpdate{Image: ref.String(), Cleared: cleared})
		})
	}
	return cmd
}
