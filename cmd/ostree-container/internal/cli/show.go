package cli

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/go-openapi/strfmt"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/spf13/cobra"

	"github.com/ostree-container/ostree-container/container"
	"github.com/ostree-container/ostree-container/container/imageref"
	"github.com/ostree-container/ostree-container/ostree"
)

// historyRow is a layer in the output of history.
type historyRow struct {
	ID        string           `json:"id"` // digest of the layer's blob
	MediaType string           `json:"mediaType"`
	Size      int64            `json:"size"` // of the blob, in bytes
	Created   *strfmt.DateTime `json:"created,omitempty"`
	CreatedBy string           `json:"createdBy,omitempty"`
	Author    string           `json:"author,omitempty"`
	Comment   string           `json:"comment,omitempty"`
}

func (a *app) historyCommand() *cobra.Command {
	var as format
	cmd := &cobra.Command{
		Use:   "history [OPTION...] --repo PATH IMGREF",
		Short: "Show the layers of a pulled image and what made them",
		Long: `Shows the layers of a pulled image, the base first: digest, size of the blob, and the
command that made it. On a terminal lines are cut to its width.`,
		Example: "  ostree-container image history --repo /ostree/repo docker://quay.io/example/os:latest",
		Args:    positional("IMGREF"),
	}
	repoPath := repoFlag(cmd)
	cmd.ValidArgsFunction = a.imageCompletion(repoPath)
	as.add(cmd, "text or json")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ref, err := queryArgs(cmd, args)
		if err != nil {
			return err
		}
		return a.withRepo(cmd.Context(), *repoPath, func(repo *ostree.Repo) error {
			return a.history(cmd.Context(), repo, ref, as)
		})
	}
	return cmd
}

func queryArgs(cmd *cobra.Command, args []string) (imageref.ImageReference, error) {
	if err := required(cmd, "repo"); err != nil {
		return imageref.ImageReference{}, err
	}
	return parseImageRef("IMGREF", args[0])
}

func (a *app) history(ctx context.Context, repo *ostree.Repo, ref imageref.ImageReference, as format) error {
	state, err := container.QueryImage(ctx, repo, ref)
	if err != nil {
		return err
	}
	rows := historyRows(state.Manifest, state.Config)
	if as == formatJSON {
		return a.printJSON(rows)
	}
	width := terminalWidth(a.out.w)
	line := func(id, size, by string) {
		text := strings.TrimRight(fmt.Sprintf("%-20s  %-10s  %s", id, size, by), " ")
		if width > 0 {
			text = truncate(text, width)
		}
		fmt.Fprintln(a.out, text)
	}
	line("ID", "SIZE", "CREATED BY")
	for _, r := range rows {
		_, hex, _ := strings.Cut(r.ID, ":")
		line(truncate(hex, 20), formatCount(r.Size), oneLine(r.CreatedBy))
	}
	return nil
}

// historyRows pairs the layers with the entries of the history. Entries that made no layer are left out, and a history
// that is shorter than the layers, or missing, leaves rows without one.
func historyRows(manifest *ocispec.Manifest, config *ocispec.Image) []historyRow {
	var entries []ocispec.History
	for _, h := range config.History {
		if !h.EmptyLayer {
			entries = append(entries, h)
		}
	}
	rows := make([]historyRow, len(manifest.Layers))
	for i, l := range manifest.Layers {
		rows[i] = historyRow{ID: l.Digest.String(), MediaType: l.MediaType, Size: l.Size}
		if i < len(entries) {
			h := entries[i]
			rows[i].Created, rows[i].CreatedBy, rows[i].Author, rows[i].Comment = jsonTime(h.Created), h.CreatedBy, h.Author, h.Comment
		}
	}
	return rows
}

func (a *app) metadataCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "metadata [--config] --repo PATH IMGREF",
		Short: "Print the manifest or the config of a pulled image",
		Long:  "Prints the manifest of a pulled image, or its config, as JSON without a newline at the end.",
		Example: `  ostree-container image metadata --repo /ostree/repo docker://quay.io/example/os:latest | jq .layers
  ostree-container image metadata --repo /ostree/repo --config docker://quay.io/example/os:latest`,
		Args: positional("IMGREF"),
	}
	repoPath := repoFlag(cmd)
	cmd.ValidArgsFunction = a.imageCompletion(repoPath)
	config := cmd.Flags().Bool("config", false, "Print the config, not the manifest")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ref, err := queryArgs(cmd, args)
		if err != nil {
			return err
		}
		return a.withRepo(cmd.Context(), *repoPath, func(repo *ostree.Repo) error {
			text, err := storedMetadata(cmd.Context(), repo, ref, *config)
			if err != nil {
				return err
			}
			var out io.Writer = a.out
			if isTerminal(a.out.w) {
				out = jsonOutput{w: a.out} // elsewhere to the byte
			}
			_, err = io.WriteString(out, text)
			return err
		})
	}
	return cmd
}

// storedMetadata returns the manifest or the config of an image just as its merge commit holds it, so that fields we do
// not know are there too.
func storedMetadata(ctx context.Context, repo *ostree.Repo, ref imageref.ImageReference, config bool) (string, error) {
	state, err := container.QueryImage(ctx, repo, ref)
	if err != nil {
		return "", err
	}
	commit, _, err := repo.LoadCommit(ctx, state.MergeCommit)
	if err != nil {
		return "", err
	}
	key := "ostree.manifest"
	if config {
		key = "ostree.container.image-config"
	}
	text, ok, err := commit.MetadataString(key)
	if err == nil && !ok {
		err = fmt.Errorf("no %s in its metadata", key)
	}
	if err != nil {
		return "", fmt.Errorf("merge commit %s: %w", state.MergeCommit, err)
	}
	return text, nil
}
