package cli

import (
	"context"
	"fmt"

	"github.com/go-openapi/strfmt"
	"github.com/spf13/cobra"

	"github.com/ostree-container/ostree-container/container"
	"github.com/ostree-container/ostree-container/container/imageref"
	"github.com/ostree-container/ostree-container/ostree"
)

// listedImage is an image in the output of list --format json.
type listedImage struct {
	Image          string           `json:"image"`
	ManifestDigest string           `json:"manifestDigest,omitempty"`
	Commit         string           `json:"commit,omitempty"`
	Version        string           `json:"version,omitempty"`
	Created        *strfmt.DateTime `json:"created,omitempty"`
	Layers         int              `json:"layers"`
	Size           int64            `json:"size"` // of the compressed layers, in bytes
	CachedUpdate   *listedUpdate    `json:"cachedUpdate,omitempty"`
	Error          string           `json:"error,omitempty"` // why there is no more to say
}

// listedUpdate is an update that was seen and not pulled.
type listedUpdate struct {
	ManifestDigest string           `json:"manifestDigest"`
	Version        string           `json:"version,omitempty"`
	Created        *strfmt.DateTime `json:"created,omitempty"`
}

// listedState is an image that was there before; nil if none was.
func listedState(s *container.LayeredImageState) *listedUpdate {
	if s == nil {
		return nil
	}
	return &listedUpdate{ManifestDigest: s.ManifestDigest.String(), Version: s.Version(), Created: jsonTime(s.Config.Created)}
}

func (a *app) listCommand() *cobra.Command {
	var as format
	cmd := &cobra.Command{
		Use:   "list [OPTION...] --repo PATH",
		Short: "List the images of a repository",
		Long: `Lists the images of a repository, one a line, sorted.

With --format json: one array of objects with the image, manifestDigest, commit, version,
created, layers, size (bytes, compressed) and, if an update was seen, cachedUpdate.`,
		Example: `  ostree-container image list --repo /ostree/repo
  ostree-container image list --repo /ostree/repo --format json | jq -r '.[].version'`,
		Args: positional(),
	}
	repoPath := repoFlag(cmd)
	as.add(cmd, "text or json")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := required(cmd, "repo"); err != nil {
			return err
		}
		return a.withRepo(cmd.Context(), *repoPath, func(repo *ostree.Repo) error {
			return a.list(cmd.Context(), repo, as)
		})
	}
	return cmd
}

func (a *app) list(ctx context.Context, repo *ostree.Repo, as format) error {
	images, err := container.ListImages(ctx, repo)
	if err != nil {
		return err
	}
	if as == formatText {
		for _, image := range images {
			fmt.Fprintln(a.out, oneLine(image))
		}
		return nil
	}
	listed := make([]listedImage, len(images))
	for i, image := range images {
		listed[i] = describe(ctx, repo, image)
	}
	return a.printJSON(listed)
}

// describe says what the repository has of an image. One that cannot be read must not hide the others.
func describe(ctx context.Context, repo *ostree.Repo, image string) listedImage {
	l := listedImage{Image: image}
	ref, err := imageref.Parse(image)
	if err != nil {
		l.Error = err.Error()
		return l
	}
	state, err := container.QueryImage(ctx, repo, ref)
	if err != nil {
		l.Error = err.Error()
		return l
	}
	l.ManifestDigest, l.Commit, l.Version = state.ManifestDigest.String(), state.MergeCommit, state.Version()
	l.Created = jsonTime(state.Config.Created)
	l.Layers, l.Size = len(state.Manifest.Layers), container.SizeOfLayers(state.Manifest.Layers)
	if u := state.CachedUpdate; u != nil {
		l.CachedUpdate = &listedUpdate{ManifestDigest: u.ManifestDigest.String(), Version: u.Version(), Created: jsonTime(u.Config.Created)}
	}
	return l
}

// imageCompletion completes the images of the repository in --repo.
func (a *app) imageCompletion(repoPath *string) cobra.CompletionFunc {
	return func(cmd *cobra.Command, _ []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		var images []string
		if *repoPath != "" {
			_ = a.withRepo(cmd.Context(), *repoPath, func(repo *ostree.Repo) (err error) {
				images, err = container.ListImages(cmd.Context(), repo)
				return err
			})
		}
		return images, cobra.ShellCompDirectiveNoFileComp
	}
}
