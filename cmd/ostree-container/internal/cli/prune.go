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

// prunedImages is the output of prune-images --format json; what was not looked at is not there.
type prunedImages struct {
	Images  []string `json:"images,omitempty"`
	Removed int      `json:"imagesRemoved"`
	Layers  *int     `json:"layersRemoved,omitempty"`
	Objects *int     `json:"objectsRemoved,omitempty"`
	Bytes   *uint64  `json:"bytesFreed,omitempty"`
}

func (a *app) pruneImagesCommand() *cobra.Command {
	var as format
	cmd := &cobra.Command{
		Use:   "prune-images [OPTION...] --sysroot PATH",
		Short: "Remove the images of a sysroot that are not deployed",
		Long: `Removes the images of a sysroot that are not the origin of a deployment, also those that were
only pulled. With --and-layers also the layers that nothing needs then; with --full also the
objects that nothing reaches then, which frees the room.`,
		Example: "  ostree-container image prune-images --sysroot / --full",
		Args:    positional(),
	}
	path := cmd.Flags().String("sysroot", "", "`PATH` of the system root (required)")
	andLayers := cmd.Flags().Bool("and-layers", false, "Also remove layers that nothing needs")
	full := cmd.Flags().Bool("full", false, "Also remove layers and objects that nothing needs")
	_ = cmd.MarkFlagDirname("sysroot")
	as.add(cmd, "text or json")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := required(cmd, "sysroot"); err != nil {
			return err
		}
		if err := exclusive(cmd, "full", "and-layers"); err != nil {
			return err
		}
		return a.withSysroot(cmd.Context(), *path, func(sysroot *ostree.Sysroot) error {
			if *full {
				return a.pruneAll(cmd.Context(), sysroot, as)
			}
			return a.pruneImages(cmd.Context(), sysroot, *andLayers, as)
		})
	}
	return cmd
}

func (a *app) pruneAll(ctx context.Context, sysroot *ostree.Sysroot, as format) error {
	progress := a.pruneProgress(as)
	p, err := container.Prune(ctx, sysroot, &container.PruneOptions{Progress: progress.event, Logger: a.log})
	progress.stop()
	if err != nil {
		return err
	}
	switch {
	case as == formatJSON:
		return a.printJSON(prunedImages{Removed: p.Images, Layers: &p.Layers, Objects: &p.Objects, Bytes: &p.Bytes})
	case p.IsEmpty():
		fmt.Fprintln(a.out, "No content was pruned.")
	default:
		fmt.Fprintf(a.out, "Removed images: %d\nRemoved layers: %d\nRemoved objects: %d\nFreed: %s\n",
			p.Images, p.Layers, p.Objects, formatSize(p.Bytes))
	}
	return nil
}

// pruneProgress shows on a terminal that something is going on; elsewhere the reference prints nothing either.
func (a *app) pruneProgress(as format) progress {
	quiet := as == formatJSON || !isTerminal(a.err.w)
	return a.newProgress(imageref.OSTreeImageReference{}, quiet, formatText)
}

func (a *app) pruneImages(ctx context.Context, sysroot *ostree.Sysroot, andLayers bool, as format) error {
	gone, err := container.RemoveUndeployedImages(ctx, sysroot, &container.PruneOptions{Logger: a.log})
	if err != nil {
		return err
	}
	result := prunedImages{Images: texts(gone), Removed: len(gone)}
	if as == formatText {
		if len(gone) == 0 {
			fmt.Fprintln(a.out, "No unreferenced images.")
		}
		for _, ref := range gone {
			fmt.Fprintf(a.out, "Removed: %s\n", ref)
		}
	}
	if andLayers {
		n, err := pruneLayersOf(ctx, sysroot, a)
		if err != nil {
			return err
		}
		result.Layers = &n
		if as == formatText {
			fmt.Fprintf(a.out, "Removed layers: %d\n", n)
		}
	}
	if as == formatJSON {
		return a.printJSON(result)
	}
	return nil
}

// pruneLayersOf removes layers that neither an image nor a deployment of the sysroot needs, staged ones included.
func pruneLayersOf(ctx context.Context, sysroot *ostree.Sysroot, a *app) (n int, err error) {
	repo, err := sysroot.Repo()
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, repo.Close()) }()
	opts := &container.PruneOptions{Logger: a.log}
	for _, d := range sysroot.Deployments() {
		opts.KeepCommits = append(opts.KeepCommits, d.Checksum())
	}
	return container.GCImageLayers(ctx, repo, opts)
}
