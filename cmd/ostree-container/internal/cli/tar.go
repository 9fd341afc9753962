package cli

import (
	"bufio"
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/ostree-container/ostree-container/container"
	"github.com/ostree-container/ostree-container/ostree"
)

func (a *app) tarCommand() *cobra.Command {
	tar := group(&cobra.Command{
		Use:   "tar",
		Short: "Write commits as tar streams, and read them",
		Long: `Writes commits as tar streams, and reads them. Such a stream holds the objects of a commit as a
repository of the mode bare-split-xattrs below /sysroot/ostree/repo, and hardlinks to them where the
commit has its files.`,
	})
	tar.AddCommand(a.tarImportCommand(), a.tarExportCommand())
	return tar
}

func (a *app) tarImportCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "import --repo REPO [PATH]",
		Short: "Store the commit in a tar stream",
		Long: `Stores the commit in the tar archive PATH, or on standard input, and prints its checksum. The stream
may be compressed with gzip or zstd. No ref is set: nothing keeps the commit when the repository is
pruned.`,
		Example: `  ostree-container tar import --repo repo commit.tar
  ssh host ostree-container tar export --repo /ostree/repo os/stable | ostree-container tar import --repo repo`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usagef("unexpected argument %q", args[1])
			}
			return nil
		},
	}
	repo := repoFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) (err error) {
		if err := required(cmd, "repo"); err != nil {
			return err
		}
		in := a.input(cmd.Context())
		if len(args) > 0 {
			file, err := openInput(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			defer func() { _ = file.Close() }()
			in = file
		}
		return a.withRepo(cmd.Context(), *repo, func(repo *ostree.Repo) error {
			checksum, err := container.ImportTar(cmd.Context(), repo, in)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(a.out, "Imported: %s\n", checksum)
			return err
		})
	}
	return cmd
}

func (a *app) tarExportCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "export --repo REPO REV",
		Short: "Write a commit as a tar stream to standard output",
		Long: `Writes a commit as a tar stream to standard output. REV is a ref or a checksum. The same
commit gives the same bytes. A terminal is refused.`,
		Example: `  ostree-container tar export --repo repo os/stable > commit.tar`,
		Args:    positional("REV"),
	}
	repo := repoFlag(cmd)
	version := cmd.Flags().Uint32("format-version", 1, "Format `VERSION`; there is only 1")
	_ = cmd.Flags().MarkHidden("format-version")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := required(cmd, "repo"); err != nil {
			return err
		}
		if *version != 1 {
			return usagef("invalid value %d for --format-version: 1", *version)
		}
		if f, ok := a.out.w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
			return usagef("a tar stream is not written to a terminal: redirect standard output to a file or pipe")
		}
		return a.withRepo(cmd.Context(), *repo, func(repo *ostree.Repo) error {
			const buffer = 1 << 20
			out := bufio.NewWriterSize(wholeOutput{a.out}, buffer)
			if err := container.ExportTar(cmd.Context(), repo, args[0], out); err != nil {
				return err // also of a write that failed
			}
			return out.Flush()
		})
	}
	return cmd
}
