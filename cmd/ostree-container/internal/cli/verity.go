package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/ostree-container/ostree-container/container"
	"github.com/ostree-container/ostree-container/ostree"
)

func (a *app) ensureVerityCommand() *cobra.Command {
	var opts container.VerityOptions
	cmd := &cobra.Command{
		Use:   "ensure-verity [OPTION...] --repo PATH",
		Short: "Turn on fs-verity for all objects of a repository",
		Long: `Turns on fs-verity for all content objects of a repository (bare or bare-user), so that the kernel
refuses to read what was changed on the disk. It cannot be turned off again for a file. The file
system must have the feature (mkfs.ext4 -O verity, tune2fs -O verity, btrfs), and the kernel too.

What has it is left alone: the command may be given again, after an interruption and for new
objects. Those get it by themselves only where "ex-integrity.fsverity" is "yes" or "maybe" in the
repository's config ("ostree config set"; libostree then writes all objects, which takes longer),
or, if that is not set, "ex-integrity.composefs". Otherwise pulls write objects without it, whatever
the mark on the file "config" says.`,
		Example: `  # How many have none?
  ostree-container provisional-repair ensure-verity --dry-run --repo /ostree/repo

  ostree-container provisional-repair ensure-verity --repo /ostree/repo`,
		Args: positional(),
	}
	repoPath := repoFlag(cmd)
	cmd.Flags().BoolVarP(&opts.DryRun, "dry-run", "n", false, "Change nothing; only count, and see whether there is fs-verity")
	cmd.Flags().IntVarP(&opts.Jobs, "jobs", "j", 0, "Work on `N` files at once (default: one for each processor)")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := required(cmd, "repo"); err != nil {
			return err
		}
		if err := checkJobs(cmd, opts.Jobs); err != nil {
			return err
		}
		if !opts.DryRun {
			if err := a.prepareRepo(cmd.Context(), *repoPath); err != nil {
				return err
			}
		}
		return a.withRepo(cmd.Context(), *repoPath, func(repo *ostree.Repo) error {
			r, err := container.EnsureVerity(cmd.Context(), repo, &opts)
			if err != nil {
				return err
			}
			what := "Enabled"
			if opts.DryRun {
				what = "Would enable"
			}
			if r.Unsupported {
				a.warn("repository %s: the file system or the kernel has no fs-verity, so that it cannot be turned on", repo.Path())
			}
			if !r.Lasting && !opts.DryRun {
				a.log.Info("Objects that are pulled from now on do not get it: ex-integrity.fsverity does not ask for it")
			}
			_, err = fmt.Fprintf(a.out, "Objects with fs-verity: %d\n%s: %d\n", r.Present, what, r.Enabled)
			return err
		})
	}
	return cmd
}
