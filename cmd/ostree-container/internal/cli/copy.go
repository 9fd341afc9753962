package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/ostree-container/ostree-container/container"
	"github.com/ostree-container/ostree-container/container/imageref"
	"github.com/ostree-container/ostree-container/ostree"
)

func (a *app) copyCommand() *cobra.Command {
	var target string
	var verify bool
	cmd := &cobra.Command{
		Use:   "copy [OPTION...] --src-repo PATH --dest-repo PATH IMGREF",
		Short: "Copy a pulled image from one repository to another",
		Long: `Copies a pulled image, with all its layers and its detached metadata, from one repository to
another. The commits are the same, whatever the modes of the two; what pull --keep-blobs kept goes
along. On one file system, with one mode and of one owner, files become hardlinks. The image appears
when all of it is there.`,
		Example: `  # Into the repository of a system that is being installed
  ostree-container image copy --src-repo /ostree/repo --dest-repo /mnt/sysroot/ostree/repo ostree-unverified-registry:quay.io/example/os

  # Under another name
  ostree-container image copy --src-repo build --dest-repo srv --target docker://quay.io/example/os:latest ostree-unverified-image:oci:/srv/layout:v2`,
		Args: positional("IMGREF"),
	}
	src := cmd.Flags().String("src-repo", "", "`PATH` of the source repository (required)")
	dst := cmd.Flags().String("dest-repo", "", "`PATH` of the destination repository (required)")
	cmd.Flags().StringVar(&target, "target", "", "Keep the image as `IMGREF` in the destination (default: the name it has)")
	cmd.Flags().BoolVar(&verify, "verify", false, "Read and verify all files, also those that become hardlinks")
	_ = cmd.MarkFlagDirname("src-repo")
	_ = cmd.MarkFlagDirname("dest-repo")
	cmd.ValidArgsFunction = a.imageCompletion(src)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := required(cmd, "src-repo", "dest-repo"); err != nil {
			return err
		}
		ref, err := parseImageRef("IMGREF", args[0])
		if err != nil {
			return err
		}
		opts := &container.CopyOptions{Verify: verify, Logger: a.log}
		if cmd.Flags().Changed("target") {
			if opts.Target, err = parseImageRef("--target", target); err != nil {
				return err
			}
		}
		if err := a.prepareRepo(cmd.Context(), *dst); err != nil {
			return err
		}
		return a.copyImage(cmd.Context(), *src, ref, *dst, opts)
	}
	return cmd
}

func (a *app) copyImage(ctx context.Context, src string, ref imageref.ImageReference, dst string, opts *container.CopyOptions) error {
	return a.withRepo(ctx, src, func(from *ostree.Repo) error {
		return a.withRepo(ctx, dst, func(to *ostree.Repo) error {
			result, err := container.Copy(ctx, from, ref, to, opts)
			if err != nil {
				return withRemedy(fmt.Errorf("Copying image: %w", err), src) //nolint:staticcheck // the reference's text
			}
			a.log.Debug("copied", "commit", result.MergeCommit, "linked", result.Linked, "copied", result.Copied, "bytes", result.BytesCopied, "present", result.Present)
			return nil
		})
	})
}
