package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/ostree-container/ostree-container/container"
	"github.com/ostree-container/ostree-container/container/imageref"
	"github.com/ostree-container/ostree-container/ostree"
)

// removed is the output of remove and prune-layers with --format json.
type removed struct {
	Images  []string `json:"images"`
	Missing []string `json:"missing,omitzero"`
	Layers  *int     `json:"layers,omitempty"` // not there: layers were not looked at
}

func (a *app) removeCommand() *cobra.Command {
	var as format
	cmd := &cobra.Command{
		Use:   "remove [OPTION...] --repo PATH [IMGREF...]",
		Short: "Remove pulled images, and the layers that nothing needs then",
		Long: `Removes the refs of images, and of the layers that no image and no deployment needs then, with what
pull --keep-blobs kept of them.
An image that does not exist is an error at the end; the others are removed all the same.
The room is freed by "ostree prune" or by prune-images --full.`,
		Example: "  ostree-container image remove --repo /ostree/repo docker://quay.io/example/os:39 oci:/srv/layout:v1",
		Args:    positional("IMGREF..."),
	}
	repoPath := repoFlag(cmd)
	cmd.ValidArgsFunction = a.imageCompletion(repoPath)
	skipGC := cmd.Flags().Bool("skip-gc", false, "Leave layers that nothing needs any more")
	as.add(cmd, "text or json")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := required(cmd, "repo"); err != nil {
			return err
		}
		refs := make([]imageref.ImageReference, len(args))
		for i, arg := range args {
			var err error
			if refs[i], err = parseImageRef("IMGREF", arg); err != nil {
				return err
			}
		}
		if err := a.prepareRepo(cmd.Context(), *repoPath); err != nil {
			return err
		}
		return a.withRepo(cmd.Context(), *repoPath, func(repo *ostree.Repo) error {
			return a.remove(cmd.Context(), repo, refs, *skipGC, as)
		})
	}
	return cmd
}

func (a *app) remove(ctx context.Context, repo *ostree.Repo, refs []imageref.ImageReference, skipGC bool, as format) error {
	gone, err := container.RemoveImages(ctx, repo, refs)
	var missing *container.MissingImagesError
	if err != nil && !errors.As(err, &missing) {
		return err
	}
	result := removed{Images: texts(gone), Missing: []string{}}
	if missing != nil {
		result.Missing = texts(missing.Images)
	}
	pruned := container.Pruned{Images: len(gone)}
	if !skipGC {
		n, gcErr := container.GCImageLayers(ctx, repo, &container.PruneOptions{Logger: a.log})
		if gcErr != nil {
			return errors.Join(err, gcErr)
		}
		result.Layers, pruned.Layers = &n, n
	}
	a.journalPrune(ctx, repo.Path(), "remove", &pruned)
	switch {
	case as == formatJSON:
		err = errors.Join(a.printJSON(result), err)
	case len(gone) == 0 && missing != nil: // nothing happened
	case result.Layers != nil:
		fmt.Fprintf(a.out, "Removed images: %d layers: %d\n", len(gone), *result.Layers)
	default:
		fmt.Fprintf(a.out, "Removed images: %d\n", len(gone))
	}
	return err
}

func texts(refs []imageref.ImageReference) []string {
	list := make([]string, len(refs))
	for i, ref := range refs {
		list[i] = ref.String()
	}
	return list
}

func (a *app) pruneLayersCommand() *cobra.Command {
	var as format
	cmd := &cobra.Command{
		Use:   "prune-layers [OPTION...] --repo PATH",
		Short: "Remove the refs of layers that no image and no deployment needs",
		Long: `Removes the refs of layers that no image and no deployment needs, and what pull --keep-blobs kept of
them. If an image in the repository cannot be understood nothing is removed, and the error names its
ref.`,
		Example: "  ostree-container image prune-layers --repo /ostree/repo",
		Args:    positional(),
	}
	repoPath := repoFlag(cmd)
	as.add(cmd, "text or json")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := required(cmd, "repo"); err != nil {
			return err
		}
		if err := a.prepareRepo(cmd.Context(), *repoPath); err != nil {
			return err
		}
		return a.withRepo(cmd.Context(), *repoPath, func(repo *ostree.Repo) error {
			n, err := container.GCImageLayers(cmd.Context(), repo, &container.PruneOptions{Logger: a.log})
			if err != nil {
				return err
			}
			a.journalPrune(cmd.Context(), repo.Path(), "prune-layers", &container.Pruned{Layers: n})
			if as == formatJSON {
				return a.printJSON(removed{Images: []string{}, Layers: &n})
			}
			fmt.Fprintf(a.out, "Removed layers: %d\n", n)
			return nil
		})
	}
	return cmd
}
