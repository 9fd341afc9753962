package cli

import (
	"cmp"
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/ostree-container/ostree-container/container"
	"github.com/ostree-container/ostree-container/container/imageref"
	"github.com/ostree-container/ostree-container/ostree"
)

func (a *app) reexportCommand() *cobra.Command {
	var f pushFlags
	var opts container.ReexportOptions
	var compression string
	var fast, quiet bool
	cmd := &cobra.Command{
		Use:   "reexport [OPTION...] --repo PATH SRC_IMGREF DEST_IMGREF",
		Short: "Write a pulled image to a registry, directory or archive",
		Long: `Makes an image again from the layers that a repository has of it, and writes it to any place that
can be written: registry (or docker://), oci, oci-archive, docker-archive, dir, and where this
build has them containers-storage and docker-daemon. Prints the digest of the manifest there.

Layers keep their division, annotations and history. The same image always gives the same
digest. It is not the one that was pulled where the repository does not keep all of a layer:
times and the order of files are lost. An image that was pulled with --keep-blobs is written as
it was fetched, with its digest, unless --compression or --compression-level asks for something
else; a kept blob that is damaged is a warning, and the layers are made again (an error if they
are encrypted, as these would not be). --preserve-digests fails where the digest would change: no
image is added or replaced then, though an "oci:" directory that exists may be left with blobs that
nothing names.

An "oci:" directory is made if it is missing. With a tag the image is added to it, without a
tag it becomes the only one.`,
		Example: `  # To a mirror
  ostree-container image reexport --repo /ostree/repo docker://quay.io/example/os:latest docker://mirror.example/os:latest

  # The same, and only if its signatures hold there
  ostree-container image reexport --preserve-digests --repo /srv/repo docker://quay.io/example/os:latest docker://mirror.example/os:latest

  # Onto a USB stick
  ostree-container image reexport --repo /ostree/repo docker://quay.io/example/os:latest oci:/mnt/usb/os:latest`,
		Args: positional("SRC_IMGREF", "DEST_IMGREF"),
	}
	repoPath := repoFlag(cmd)
	cmd.ValidArgsFunction = a.imageCompletion(repoPath)
	f.add(cmd)
	flags := cmd.Flags()
	flags.BoolVar(&fast, "compression-fast", false, "Compress at the fastest level: gzip's 1")
	flags.StringVar(&compression, "compression", "", "Compress layers as `FORMAT`: gzip, zstd or none (default: as they were fetched if they were kept, else gzip)")
	flags.IntVar(&opts.CompressionLevel, "compression-level", 0, "`LEVEL` of compression: 1 to 9 for gzip (default 6), 1 to 19 for zstd (default 3)")
	flags.BoolVar(&opts.PreserveDigests, "preserve-digests", false, "Fail unless the image comes out with the digest that it was pulled with")
	flags.IntVarP(&opts.Jobs, "jobs", "j", 0, "Work on `N` layers at once (default: one for each processor)")
	flags.BoolVarP(&quiet, "quiet", "q", false, "Show no progress")
	_ = cmd.RegisterFlagCompletionFunc("compression", cobra.FixedCompletions([]string{"gzip", "zstd", "none"}, cobra.ShellCompDirectiveNoFileComp))
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		a.aimAt(compressingMemoryGoal)
		err := required(cmd, "repo")
		if err == nil {
			err = checkCompression(cmd, cmp.Or(compression, string(container.CompressionGzip)), fast, &opts.CompressionLevel)
		}
		if err == nil {
			err = checkJobs(cmd, opts.Jobs)
		}
		if err == nil {
			err = f.check(cmd)
		}
		if err != nil {
			return err
		}
		opts.Compression = container.Compression(compression)
		src, err := parseImageRef("SRC_IMGREF", args[0])
		if err != nil {
			return err
		}
		dest, err := parseImageRef("DEST_IMGREF", args[1])
		if err != nil {
			return err
		}
		if opts.Push, err = f.pushOptions(cmd.Context(), a); err != nil {
			return err
		}
		return a.reexport(cmd.Context(), *repoPath, src, dest, &opts, quiet)
	}
	return cmd
}

func (a *app) reexport(ctx context.Context, path string, src, dest imageref.ImageReference, opts *container.ReexportOptions, quiet bool) error {
	progress := a.newProgress(imageref.OSTreeImageReference{ImgRef: src}, quiet, formatText)
	defer progress.stop()
	opts.Progress, opts.Logger = progress.event, a.log
	return a.withRepo(ctx, path, func(repo *ostree.Repo) error {
		digest, err := container.Reexport(ctx, repo, src, dest, opts)
		progress.stop()
		if err != nil {
			return fmt.Errorf("Export: %w", err) //nolint:staticcheck // the reference's text
		}
		_, err = fmt.Fprintf(a.out, "Exported: %s\n", digest)
		return err
	})
}
