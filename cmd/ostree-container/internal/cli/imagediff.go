package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/ostree-container/ostree-container/container"
	"github.com/ostree-container/ostree-container/ostree"
)

// treeDiff is the output of diff --format json. Sizes are in bytes.
type treeDiff struct {
	From    diffSide    `json:"from"`
	To      diffSide    `json:"to"`
	Total   diffCount   `json:"total"`
	Trees   []diffCount `json:"trees,omitzero"`   // with --depth
	Entries []diffEntry `json:"entries,omitzero"` // without
}

type diffSide struct {
	Name   string `json:"name"`
	Commit string `json:"commit"`
}

type diffCount struct {
	Path     string `json:"path"`
	Added    int    `json:"added"`
	Removed  int    `json:"removed"`
	Modified int    `json:"modified"`
	Metadata int    `json:"metadata"`
	OldSize  int64  `json:"oldSize"`
	NewSize  int64  `json:"newSize"`
}

type diffEntry struct {
	Path    string `json:"path"`
	Kind    string `json:"kind"`
	Change  string `json:"change"`
	OldSize int64  `json:"oldSize"`
	NewSize int64  `json:"newSize"`
}

func (a *app) diffCommand() *cobra.Command {
	var as format
	var depth int
	cmd := &cobra.Command{
		Use:   "diff [OPTION...] --repo PATH FROM TO",
		Short: "Show which files differ between two images in a repository",
		Long: `Shows which files, symlinks and directories differ between two images of a repository, or other
commits of it. FROM and TO are images, refs or checksums of commits. A line each:

  +  only in TO
  -  only in FROM
  M  another content or target
  m  only another owner, mode or extended attributes

With --depth N the entries are counted by directory instead.`,
		Example: `  ostree-container image diff --repo /ostree/repo docker://quay.io/example/os:41 docker://quay.io/example/os:42

  # Where does the growth come from?
  ostree-container image diff --repo /ostree/repo --depth 2 ostree/0/1/0 docker://quay.io/example/os:42`,
		Args: positional("FROM", "TO"),
	}
	repoPath := repoFlag(cmd)
	cmd.Flags().IntVar(&depth, "depth", 0, "Count by directories of this depth `N`, 1 being those in the root (default: list all)")
	as.add(cmd, "text or json")
	cmd.ValidArgsFunction = a.imageCompletion(repoPath)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := required(cmd, "repo"); err != nil {
			return err
		}
		if depth < 0 || depth == 0 && cmd.Flags().Changed("depth") {
			return usagef("invalid value %d for --depth: at least 1", depth)
		}
		return a.withRepo(cmd.Context(), *repoPath, func(repo *ostree.Repo) error {
			return a.imageDiff(cmd.Context(), repo, args[0], args[1], depth, as)
		})
	}
	return cmd
}

func (a *app) imageDiff(ctx context.Context, repo *ostree.Repo, from, to string, depth int, as format) error {
	fromCommit, err := container.ResolveCommit(ctx, repo, from)
	if err != nil {
		return err
	}
	toCommit, err := container.ResolveCommit(ctx, repo, to)
	if err != nil {
		return err
	}
	a.aimAtNothing()
	diff, err := container.DiffCommits(ctx, repo, fromCommit, toCommit)
	if err != nil {
		return err
	}
	var trees []container.DiffCount
	if depth > 0 {
		trees = diff.ByDir(depth)
	}
	if as == formatJSON {
		doc := treeDiff{From: diffSide{from, fromCommit}, To: diffSide{to, toCommit}, Total: diffCount(diff.Total())}
		if depth > 0 {
			doc.Trees = []diffCount{}
		} else {
			doc.Entries = []diffEntry{}
		}
		for _, c := range trees {
			doc.Trees = append(doc.Trees, diffCount(c))
		}
		if depth == 0 {
			for _, e := range diff.Entries {
				doc.Entries = append(doc.Entries, diffEntry{e.Path, e.Kind, string(e.Change), e.OldSize, e.NewSize})
			}
		}
		return a.printJSON(doc)
	}
	if depth > 0 {
		a.printDiffCounts(append(trees, diff.Total()))
		return nil
	}
	for _, e := range diff.Entries {
		a.printDiffEntry(e)
	}
	t := diff.Total()
	fmt.Fprintf(a.out, "Added: %d, removed: %d, modified: %d, only metadata: %d; %s before, %s after\n",
		t.Added, t.Removed, t.Modified, t.Metadata, formatCount(t.OldSize), formatCount(t.NewSize))
	return nil
}

func (a *app) printDiffEntry(e container.DiffEntry) {
	path := oneLine(e.Path)
	if e.Kind == "dir" && path != "/" {
		path += "/"
	}
	size := ""
	if e.Kind == "file" {
		switch e.Change {
		case container.DiffAdded:
			size = formatCount(e.NewSize)
		case container.DiffRemoved:
			size = formatCount(e.OldSize)
		case container.DiffModified:
			size = formatCount(e.OldSize) + " -> " + formatCount(e.NewSize)
		case container.DiffMetadata:
		}
	}
	if size != "" {
		size = " (" + size + ")"
	}
	sign := map[container.DiffChange]string{
		container.DiffAdded: "+", container.DiffRemoved: "-", container.DiffModified: "M", container.DiffMetadata: "m",
	}[e.Change]
	fmt.Fprintf(a.out, "%s  %s%s\n", sign, path, size)
}

// printDiffCounts prints a table, the last row being the total.
func (a *app) printDiffCounts(rows []container.DiffCount) {
	fmt.Fprintf(a.out, "%7s %7s %8s %8s  %10s  %s\n", "ADDED", "REMOVED", "MODIFIED", "METADATA", "GROWTH", "TREE")
	for n, c := range rows {
		path := oneLine(c.Path)
		if n == len(rows)-1 {
			path = "total"
		}
		fmt.Fprintf(a.out, "%7d %7d %8d %8d  %10s  %s\n", c.Added, c.Removed, c.Modified, c.Metadata, formatGrowth(c.NewSize-c.OldSize), path)
	}
}

func formatGrowth(n int64) string {
	switch {
	case n < 0:
		return "-" + formatCount(-n)
	case n > 0:
		return "+" + formatCount(n)
	default:
		return "0"
	}
}
