package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/spf13/cobra"

	"github.com/ostree-container/ostree-container/container"
	"github.com/ostree-container/ostree-container/container/imageref"
	"github.com/ostree-container/ostree-container/container/registry"
	"github.com/ostree-container/ostree-container/ostree"
)

type encapsulateFlags struct {
	pushFlags
	labels, copyMeta, copyMetaOpt, cmd []string
	config, contentMeta, previous      string
	compression                        string
	level, maxLayers, jobs             int
	fast, legacyVersion, quiet         bool
	rootfs, created                    string
	createdAt                          time.Time // of created
	selinux, strict                    bool
}

func (f *encapsulateFlags) add(cmd *cobra.Command) {
	f.pushFlags.add(cmd)
	flags := cmd.Flags()
	flags.StringArrayVarP(&f.labels, "label", "l", nil, "Add a label to the image, `KEY=VALUE` (may be given several times)")
	flags.StringArrayVar(&f.copyMeta, "copymeta", nil, "Make a label of the commit's metadata `KEY`, which must exist (several times)")
	flags.StringArrayVar(&f.copyMetaOpt, "copymeta-opt", nil, "The same, of a `KEY` that may be missing (several times)")
	flags.StringArrayVar(&f.cmd, "cmd", nil, "One `WORD` of the image's command (several times; default: the commit's ostree.container-cmd)")
	flags.StringVar(&f.config, "config", "", "Begin with the runtime configuration in the JSON `FILE`: \"config\" of OCI's config.md (default: an empty one)")
	flags.StringVar(&f.contentMeta, "contentmeta", "", "Distribute the files over layers as the JSON `FILE` says (default: one layer)")
	flags.IntVar(&f.maxLayers, "max-layers", 0, "Group the components of --contentmeta into at most `N` layers, 4 or more (default: a layer each)")
	flags.StringVar(&f.previous, "previous-build-manifest", "", "Keep components in the layers they had in this build: a manifest's `FILE`, or an image")
	flags.StringVar(&f.rootfs, "rootfs", "", "Make the image of the directory `DIR` instead of a commit")
	flags.StringVar(&f.created, "created", "", "With --rootfs: the `TIME` of the image, as 2026-01-02T03:04:05Z (default: $SOURCE_DATE_EPOCH, or now)")
	flags.BoolVar(&f.selinux, "selinux", false, "With --rootfs: label everything by the policy that is in the tree")
	flags.BoolVar(&f.strict, "strict", false, "With --rootfs: refuse devices, FIFOs, sockets and mounts, which are otherwise left out and reported")
	flags.StringVar(&f.compression, "compression", "", "Compress layers as `FORMAT`: gzip, zstd or none (default gzip)")
	flags.IntVar(&f.level, "compression-level", 0, "`LEVEL` 1 to 9 of gzip (default 6), 1 to 19 of zstd (default 3)")
	flags.BoolVar(&f.fast, "compression-fast", false, "Compress at the fastest level (1)")
	flags.BoolVar(&f.legacyVersion, "legacy-version-label", false, "Also set the label \"version\"")
	flags.IntVarP(&f.jobs, "jobs", "j", 0, "Write `N` layers at once (default: one for each processor)")
	flags.BoolVarP(&f.quiet, "quiet", "q", false, "Show no progress")
	_ = cmd.MarkFlagDirname("rootfs")
	for _, name := range []string{"config", "contentmeta"} {
		_ = cmd.MarkFlagFilename(name, "json")
	}
	_ = cmd.RegisterFlagCompletionFunc("compression", cobra.FixedCompletions([]string{"gzip", "zstd", "none"}, cobra.ShellCompDirectiveNoFileComp))
}

func (f *encapsulateFlags) check(cmd *cobra.Command) error {
	if err := f.pushFlags.check(cmd); err != nil {
		return err
	}
	f.compression = cmp.Or(f.compression, string(container.CompressionGzip))
	if err := checkCompression(cmd, f.compression, f.fast, &f.level); err != nil {
		return err
	}
	if cmd.Flags().Changed("max-layers") && f.maxLayers < 4 {
		return usagef("invalid value %d for --max-layers: at least 4", f.maxLayers)
	}
	if err := checkJobs(cmd, f.jobs); err != nil {
		return err
	}
	if f.rootfs == "" && (f.created != "" || f.selinux || f.strict) {
		return usagef("--created, --selinux and --strict need --rootfs")
	}
	if f.created != "" {
		var err error
		if f.createdAt, err = time.Parse(time.RFC3339, f.created); err != nil {
			return usagef("invalid value %q for --created: %w", f.created, err)
		}
	}
	if f.contentMeta == "" && (f.maxLayers != 0 || f.previous != "") {
		return usagef("--max-layers and --previous-build-manifest need --contentmeta")
	}
	return nil
}

// checkCompression checks the options about compression; fast sets the level.
func checkCompression(cmd *cobra.Command, compression string, fast bool, level *int) error {
	if err := exclusive(cmd, "compression-fast", "compression-level"); err != nil {
		return err
	}
	top := 0
	switch container.Compression(compression) {
	case container.CompressionGzip:
		top = 9
	case container.CompressionZstd:
		top = 19
	case container.CompressionNone:
	default:
		return usagef("invalid value %q for --compression: gzip, zstd or none", compression)
	}
	if fast {
		*level = min(1, top)
	}
	switch {
	case !cmd.Flags().Changed("compression-level"):
	case top == 0:
		return usagef("the option --compression-level cannot be used with --compression=%s", compression)
	case *level < 1 || *level > top:
		return usagef("invalid value %d for --compression-level: 1 to %d for %s", *level, top, compression)
	}
	return nil
}

// checkJobs checks the option --jobs, whose default is 0.
func checkJobs(cmd *cobra.Command, jobs int) error {
	if jobs < 0 || jobs == 0 && cmd.Flags().Changed("jobs") {
		return usagef("invalid value %d for --jobs: at least 1", jobs)
	}
	return nil
}

func (a *app) encapsulateCommand() *cobra.Command {
	var f encapsulateFlags
	cmd := &cobra.Command{
		Use:     "encapsulate [OPTION...] {--repo REPO REV | --rootfs DIR} IMGREF",
		Aliases: []string{"export"},
		Short:   "Make an image of a commit, or of a directory",
		Long: `Makes an image of an ostree commit and writes it to IMGREF. The digest of its manifest is printed.
REV is a ref or a checksum.

With --contentmeta the files of the commit are distributed over several layers, so that an update
of the image fetches little more than what has changed. The file is JSON: "version" (1), "layers"
(an object: ID of a component to its name, in the order of the layers), "mapping" (an object:
checksum of each file object to the ID of its component), and optionally "created" and "labels".
Instead of checksums, "mapping" may have paths, of files or of directories above them ("/").

With --rootfs the image is made of a directory, the root of an operating system as a container build
leaves it, with owners, modes and extended attributes. Its /etc becomes /usr/etc; of /run, /tmp,
/proc, /sys, /dev and /sysroot only the directory itself is kept, and other file systems are not
entered. What is left out is reported. With --repo the commit is made there (it has no ref), else in
a temporary repository below /var/tmp ($TMPDIR). The same tree and --created give the same digest.

The same commit and options give the same digests, on any number of processors. An image for "oci:"
is written there: with a tag it is added to the directory, without one it becomes its only image.
For other places it is made in a directory below /var/tmp ($TMPDIR) first.`,
		Example: `  # Into a directory
  ostree-container container encapsulate --repo repo os/stable oci:/srv/layout:stable

  # To a registry, layer by component, like the last build
  ostree-container container encapsulate --repo repo --contentmeta meta.json --max-layers 64 \
      --previous-build-manifest docker://quay.io/example/os:latest os/stable docker://quay.io/example/os:latest

  # Of a tree without a commit
  ostree-container container encapsulate --rootfs /mnt/root --selinux --created 2026-01-02T03:04:05Z oci:out:latest

  # zstd, a label, and the commit's version
  ostree-container container encapsulate --repo repo --compression zstd -l team=os --copymeta-opt version os/stable oci:out`,
	}
	repo := repoFlag(cmd)
	cmd.Flags().Lookup("repo").Usage = "`PATH` of the repository (required without --rootfs)"
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if f.rootfs != "" {
			if len(args) == 2 {
				return usagef("unexpected argument %q: with --rootfs there is no REV, only IMGREF", args[0])
			}
			return positional("IMGREF")(cmd, args)
		}
		return positional("REV", "IMGREF")(cmd, args)
	}
	f.add(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		a.aimAt(compressingMemoryGoal)
		if f.rootfs == "" {
			if err := required(cmd, "repo"); err != nil {
				return err
			}
		}
		if err := f.check(cmd); err != nil {
			return err
		}
		dest, err := parseImageRef("IMGREF", args[len(args)-1])
		if err != nil {
			return err
		}
		if _, err := os.Stat(f.previous); err != nil && f.previous != "" {
			previous, err := parseImageRef("--previous-build-manifest", f.previous)
			if err != nil {
				return fmt.Errorf("neither a file nor an image: %w", err)
			}
			if err := f.oneRegistry(previous, dest); err != nil {
				return err
			}
		}
		opts, err := f.encapsulateOptions(cmd.Context(), a)
		if err != nil {
			return err
		}
		if f.rootfs != "" {
			return a.encapsulateRootfs(cmd.Context(), *repo, dest, &f, opts)
		}
		return a.withRepo(cmd.Context(), *repo, func(repo *ostree.Repo) error {
			digest, err := container.Encapsulate(cmd.Context(), repo, args[0], dest, opts)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(a.out, digest)
			return err
		})
	}
	return cmd
}

func (f *encapsulateFlags) encapsulateOptions(ctx context.Context, a *app) (_ *container.EncapsulateOptions, err error) {
	opts := &container.EncapsulateOptions{
		Labels: map[string]string{}, CopyMeta: f.copyMeta, CopyMetaOptional: f.copyMetaOpt, Cmd: f.cmd, LegacyVersionLabel: f.legacyVersion,
		Compression: container.Compression(f.compression), CompressionLevel: f.level, MaxLayers: f.maxLayers, Jobs: f.jobs, Logger: a.log,
	}
	for _, l := range f.labels {
		k, v, ok := strings.Cut(l, "=")
		if !ok {
			return nil, fmt.Errorf("Missing '=' in label %s", l) //nolint:staticcheck // the reference's text
		}
		opts.Labels[k] = v
	}
	if opts.Push, err = f.pushOptions(ctx, a); err != nil {
		return nil, err
	}
	if f.config != "" {
		if err := readJSONFile(ctx, f.config, &opts.Config); err != nil {
			return nil, err
		}
	}
	if f.contentMeta != "" {
		file, err := openInput(ctx, f.contentMeta)
		if err != nil {
			return nil, err
		}
		opts.ContentMeta, err = container.ReadContentMeta(file)
		if err := errors.Join(err, file.Close()); err != nil {
			return nil, fmt.Errorf("%s: %w", f.contentMeta, err)
		}
	}
	if f.previous != "" {
		if opts.Previous, err = f.previousManifest(ctx, a); err != nil {
			return nil, err
		}
	}
	if !f.quiet {
		opts.Progress = func(e container.Event) {
			if l, ok := e.(container.LayerWritten); ok {
				a.log.Info(fmt.Sprintf("Wrote layer %d/%d (%s): %s", l.N, l.Total, formatSize(uint64(l.Size)), oneLine(l.Name)))
			}
		}
	}
	return opts, nil
}

// previousManifest reads a file, or where there is none of that name, asks the source of an image.
func (f *encapsulateFlags) previousManifest(ctx context.Context, a *app) (_ *ocispec.Manifest, err error) {
	m := &ocispec.Manifest{}
	if _, err := os.Stat(f.previous); err == nil {
		return m, readJSONFile(ctx, f.previous, m)
	}
	img, err := parseImageRef("--previous-build-manifest", f.previous)
	if err != nil {
		return nil, fmt.Errorf("neither a file nor an image: %w", err)
	}
	o, err := f.options(ctx, a)
	if err != nil {
		return nil, err
	}
	o.ManifestOnly = true
	if o.Auth == registry.AuthAuto && o.AuthFile == "" && o.Username == "" {
		o.Auth = registry.AuthDefault // as for the destination
	}
	image, err := registry.Open(ctx, insecure(img), o)
	if err != nil {
		return nil, err
	}
	return image.Manifest, image.Close()
}

// insecure is a reference whose signature is only checked as far as the policy demands.
func insecure(img imageref.ImageReference) imageref.OSTreeImageReference {
	return imageref.OSTreeImageReference{SigVerify: imageref.SignatureSource{Kind: imageref.SignatureInsecure}, ImgRef: img}
}

// maxJSONFile is the largest manifest or configuration that is read, in bytes.
const maxJSONFile = 4 << 20

func readJSONFile(ctx context.Context, path string, into any) error {
	file, err := openInput(ctx, path)
	if err != nil {
		return err
	}
	text, err := io.ReadAll(io.LimitReader(file, maxJSONFile))
	if err := errors.Join(err, file.Close()); err != nil {
		return err
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}
