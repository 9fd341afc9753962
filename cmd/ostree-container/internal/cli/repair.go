package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/ostree-container/ostree-container/container"
	"github.com/ostree-container/ostree-container/container/imageref"
	"github.com/ostree-container/ostree-container/ostree"
)

func (a *app) provisionalRepairCommand() *cobra.Command {
	cmd := group(&cobra.Command{
		Use:   "provisional-repair",
		Short: "Look for damage by colliding inode numbers, and repair it; turn on fs-verity",
		Long: `Looks for damage by colliding inode numbers, and repairs it. libostree before 2023.4 kept only the
lower 32 bits of an inode number while it merged the layers of an image; on file systems with larger
numbers (XFS of more than 1 TB, for one) a merged image could then have wrong files. "ensure-verity"
guards the objects of a repository against damage on the disk.`,
	})
	cmd.AddCommand(a.analyzeInodesCommand(), a.repairCommand(), a.ensureVerityCommand())
	return cmd
}

func (a *app) analyzeInodesCommand() *cobra.Command {
	var resultFile string
	cmd := &cobra.Command{
		Use:   "analyze-inodes [OPTION...] --repo PATH",
		Short: "Count the objects of a repository whose inode numbers collide",
		Long: `Counts the objects of a repository whose inode numbers collide in their lower 32 bits. That they do
is a warning, not a failure: "provisional-repair repair --dry-run" looks whether there is damage.`,
		Example: "  ostree-container provisional-repair analyze-inodes --repo /ostree/repo",
		Args:    positional(),
	}
	repoPath := repoFlag(cmd)
	resultFlag(cmd, &resultFile)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := required(cmd, "repo"); err != nil {
			return err
		}
		if err := checkDir("--write-result-to", resultFile); err != nil {
			return err
		}
		return a.withRepo(cmd.Context(), *repoPath, func(repo *ostree.Repo) error {
			check, err := container.CheckInodes(cmd.Context(), repo, a.reportCollision)
			if err != nil {
				return err
			}
			if err := writeResult(cmd.Context(), resultFile, check); err != nil {
				return err
			}
			if len(check.Collisions) > 0 {
				a.warn("%d potentially colliding inodes found", len(check.Collisions))
				return nil
			}
			fmt.Fprintln(a.out, "OK: No colliding objects found.")
			return nil
		})
	}
	return cmd
}

func resultFlag(cmd *cobra.Command, file *string) {
	cmd.Flags().StringVar(file, "write-result-to", "", "Write the result as JSON to `FILE`")
}

func writeResult(ctx context.Context, path string, result any) error {
	if path == "" {
		return nil
	}
	data, err := json.Marshal(result)
	if err == nil {
		err = writeFile(ctx, path, data)
	}
	if err != nil {
		return fmt.Errorf("Serializing to output file: %w", err) //nolint:staticcheck // the reference's text
	}
	return nil
}

// reportCollision is for --verbose.
func (a *app) reportCollision(c container.InodeCollision) {
	a.log.Debug("collision", "inode", c.Inode, "object", c.Object, "truncated", uint32(c.Inode), "other", c.Other)
}

func (a *app) repairCommand() *cobra.Command {
	var sysrootPath, resultFile string
	var dryRun bool
	cmd := &cobra.Command{
		Use:   "repair [OPTION...] --sysroot PATH",
		Short: "Remove images that colliding inode numbers have damaged",
		Long: `If inode numbers of objects collide, compares each image in the repository of a sysroot with its
layers, and removes those that are damaged, so that the next pull merges them anew. Layers stay. If
the booted or the staged deployment is damaged, that is an error: deploy its image again.

With --dry-run nothing is removed; damage is a failure.`,
		Example: `  ostree-container provisional-repair repair --sysroot / --dry-run
  ostree-container provisional-repair repair --sysroot / --write-result-to result.json`,
		Args: positional(),
	}
	flags := cmd.Flags()
	flags.StringVar(&sysrootPath, "sysroot", "", "`PATH` of the system root (required)")
	flags.BoolVarP(&dryRun, "dry-run", "n", false, "Only look; change nothing")
	resultFlag(cmd, &resultFile)
	_ = cmd.MarkFlagDirname("sysroot")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := required(cmd, "sysroot"); err != nil {
			return err
		}
		if err := checkDir("--write-result-to", resultFile); err != nil {
			return err
		}
		return a.withSysroot(cmd.Context(), sysrootPath, func(sysroot *ostree.Sysroot) error {
			return a.repair(cmd.Context(), sysroot, resultFile, dryRun)
		})
	}
	return cmd
}

func (a *app) repair(ctx context.Context, sysroot *ostree.Sysroot, resultFile string, dryRun bool) error {
	opts := &container.RepairOptions{Collision: a.reportCollision, Verified: a.reportVerified, Logger: a.log}
	do := container.Repair
	if dryRun {
		do = container.AnalyzeForRepair
	}
	result, err := do(ctx, sysroot, opts)
	if result == nil {
		return err
	}
	inodes := result.Inodes
	fmt.Fprintf(a.out, "ostree inode check:\n  64bit inodes: %d\n  32 bit inodes: %d\n  collisions: %d\n\n",
		inodes.Inode64, inodes.Inode32, len(inodes.Collisions))
	if len(inodes.Collisions) == 0 {
		fmt.Fprintln(a.out, "OK no colliding inodes found")
	}
	if err := writeResult(ctx, resultFile, result); err != nil {
		return err
	}
	if result.BootedIsBad {
		a.warn("booted deployment is likely corrupted")
	}
	if result.StagedIsBad {
		a.warn("staged deployment is likely corrupted")
	}
	if err != nil {
		return err
	}
	if !dryRun {
		for _, image := range result.Corrupted {
			fmt.Fprintf(a.out, "Removed: %s\n", oneLine(image))
		}
		return nil
	}
	if err := result.Check(); err != nil {
		return err
	}
	fmt.Fprintln(a.out, "OK no corruption found")
	return nil
}

// reportVerified says what the comparison of an image with its layers gave.
func (a *app) reportVerified(ref imageref.ImageReference, v *container.Verification) {
	if v.OK() {
		fmt.Fprintf(a.out, "OK image %s (verified=%d)\n", oneLine(ref.String()), v.Verified)
		return
	}
	a.warn("Corrupted image %s: inode clashes: %d, unknown: %d, ok: %d", ref, len(v.InodeCorrupted), len(v.OtherCorrupted), v.Verified)
	if a.level.Level() > slog.LevelDebug {
		return
	}
	for _, path := range v.InodeCorrupted {
		a.log.Debug("inode", "path", path)
	}
	for _, path := range v.OtherCorrupted {
		a.log.Debug("other", "path", path)
	}
}
