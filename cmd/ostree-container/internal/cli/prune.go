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
	DryRun  bool          `json:"dryRun,omitempty"` // it says what would be removed
	Images  []string      `json:"images"`
	Removed int           `json:"imagesRemoved"`
	Layers  *int          `json:"layersRemoved,omitempty"`
	Objects *int          `json:"objectsRemoved,omitempty"`
	Bytes   *uint64       `json:"bytesFreed,omitempty"`
	Blobs   int           `json:"keptBlobsRemoved,omitempty"`   // of images that were pulled with --keep-blobs
	BlobLen uint64        `json:"keptBlobBytesFreed,omitempty"` // in bytesFreed, too
	Freed   []prunedImage `json:"freed,omitzero"`               // with --full: what goes with each image and no other
}

type prunedImage struct {
	Image   string `json:"image"`
	Commit  string `json:"commit"`
	Objects int    `json:"objects"`
	Bytes   uint64 `json:"bytes"`
}

type pruneFlags struct {
	sysroot                        string
	andLayers, full, dryRun, sizes bool
	keep                           []string
	format                         format
}

func (a *app) pruneImagesCommand() *cobra.Command {
	var f pruneFlags
	cmd := &cobra.Command{
		Use:   "prune-images [OPTION...] --sysroot PATH",
		Short: "Remove the images of a sysroot that are not deployed",
		Long: `Removes the images of a sysroot that are not the origin of a deployment, also those that were
only pulled. With --and-layers also the layers that nothing needs then, and what pull --keep-blobs
kept of them, which is not counted; with --full also the objects that nothing reaches then, which
frees the room. What is freed includes kept blobs.

With --full and --sizes, --dry-run or --format json it is also said what is freed with each
image: what no deployment, no other image and no ref needs. What several of the removed images
share is in the total only.`,
		Example: `  ostree-container image prune-images --sysroot / --full

  # What would go?
  ostree-container image prune-images --sysroot / --full --dry-run

  # Keep one that is to be deployed later
  ostree-container image prune-images --sysroot / --full --keep docker://quay.io/example/os:next`,
		Args: positional(),
	}
	flags := cmd.Flags()
	flags.StringVar(&f.sysroot, "sysroot", "", "`PATH` of the system root (required)")
	flags.BoolVar(&f.andLayers, "and-layers", false, "Also remove layers that nothing needs, and their kept blobs")
	flags.BoolVar(&f.full, "full", false, "Also remove layers, their kept blobs, and objects that nothing needs")
	flags.BoolVarP(&f.dryRun, "dry-run", "n", false, "Remove nothing; say what would be removed")
	flags.StringArrayVar(&f.keep, "keep", nil, "Keep this `IMAGE` although it is not deployed; may be given several times")
	flags.BoolVar(&f.sizes, "sizes", false, "With --full: say what is freed with each image")
	_ = cmd.MarkFlagDirname("sysroot")
	f.format.add(cmd, "text or json")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := required(cmd, "sysroot"); err != nil {
			return err
		}
		if err := exclusive(cmd, "full", "and-layers"); err != nil {
			return err
		}
		if f.sizes && !f.full {
			return usagef("--sizes needs --full")
		}
		opts := &container.PruneOptions{Logger: a.log, DryRun: f.dryRun, Sizes: f.sizes || f.format == formatJSON}
		for _, image := range f.keep {
			ref, err := parseImageRef("--keep", image)
			if err != nil {
				return err
			}
			opts.Keep = append(opts.Keep, ref)
		}
		return a.withSysroot(cmd.Context(), f.sysroot, func(sysroot *ostree.Sysroot) error {
			if f.full {
				return a.pruneAll(cmd.Context(), sysroot, &f, opts)
			}
			return a.pruneImages(cmd.Context(), sysroot, &f, opts)
		})
	}
	return cmd
}

func (a *app) pruneAll(ctx context.Context, sysroot *ostree.Sysroot, f *pruneFlags, opts *container.PruneOptions) error {
	progress := a.pruneProgress(f.format)
	opts.Progress = progress.event
	p, err := container.Prune(ctx, sysroot, opts)
	progress.stop()
	if err != nil {
		return err
	}
	if !f.dryRun {
		a.journalPrune(ctx, repoOf(sysroot), "prune-images", p)
	}
	freed := p.Bytes + p.BlobBytes
	if f.format == formatJSON {
		result := prunedImages{
			DryRun: f.dryRun, Removed: p.Images, Layers: &p.Layers, Objects: &p.Objects, Bytes: &freed, Blobs: p.Blobs, BlobLen: p.BlobBytes,
			Images: []string{}, Freed: []prunedImage{},
		}
		for _, image := range p.Freed {
			result.Images = append(result.Images, image.Image.String())
			result.Freed = append(result.Freed, prunedImage{image.Image.String(), image.Commit, image.Objects, image.Bytes})
		}
		return a.printJSON(result)
	}
	switch {
	case p.IsEmpty():
		fmt.Fprintln(a.out, "No content "+f.tense("was", "would be")+" pruned.")
		return nil
	case f.dryRun:
		fmt.Fprintf(a.out, "Would remove images: %d\nWould remove layers: %d\nWould remove objects: %d\nWould free: %s\n",
			p.Images, p.Layers, p.Objects, formatSize(freed))
	default:
		fmt.Fprintf(a.out, "Removed images: %d\nRemoved layers: %d\nRemoved objects: %d\nFreed: %s\n",
			p.Images, p.Layers, p.Objects, formatSize(freed))
	}
	if p.Blobs > 0 {
		fmt.Fprintf(a.out, "%s kept blobs: %d (%s)\n", f.tense("Removed", "Would remove"), p.Blobs, formatSize(p.BlobBytes))
	}
	if f.sizes || f.dryRun {
		for _, image := range p.Freed {
			fmt.Fprintf(a.out, "%s: %s (objects: %d, %s)\n", f.tense("Removed", "Would remove"), oneLine(image.Image.String()), image.Objects, formatSize(image.Bytes))
		}
	}
	return nil
}

// tense chooses between what was done and what would be.
func (f *pruneFlags) tense(done, would string) string {
	if f.dryRun {
		return would
	}
	return done
}

// pruneProgress shows on a terminal that something is going on; elsewhere the reference prints nothing either.
func (a *app) pruneProgress(as format) progress {
	quiet := as == formatJSON || !isTerminal(a.err.w)
	return a.newProgress(imageref.OSTreeImageReference{}, quiet, formatText)
}

func (a *app) pruneImages(ctx context.Context, sysroot *ostree.Sysroot, f *pruneFlags, opts *container.PruneOptions) error {
	var layers int
	if f.andLayers && f.dryRun { // the layers as they would be without the images
		p, err := container.Prune(ctx, sysroot, opts)
		if err != nil {
			return err
		}
		layers = p.Layers
	}
	gone, err := container.RemoveUndeployedImages(ctx, sysroot, opts)
	if err != nil {
		return err
	}
	result := prunedImages{DryRun: f.dryRun, Images: texts(gone), Removed: len(gone)}
	if f.format == formatText {
		if len(gone) == 0 {
			fmt.Fprintln(a.out, "No unreferenced images.")
		}
		for _, ref := range gone {
			fmt.Fprintf(a.out, "%s: %s\n", f.tense("Removed", "Would remove"), oneLine(ref.String()))
		}
	}
	if f.andLayers {
		if !f.dryRun {
			if layers, err = pruneLayersOf(ctx, sysroot, a); err != nil {
				return err
			}
		}
		result.Layers = &layers
		if f.format == formatText {
			fmt.Fprintf(a.out, "%s layers: %d\n", f.tense("Removed", "Would remove"), layers)
		}
	}
	if !f.dryRun {
		a.journalPrune(ctx, repoOf(sysroot), "prune-images", &container.Pruned{Images: len(gone), Layers: layers})
	}
	if f.format == formatJSON {
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
