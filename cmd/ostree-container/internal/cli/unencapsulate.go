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

type unencapsulateFlags struct {
	importFlags
	writeRef string
}

func (a *app) unencapsulateCommand() *cobra.Command {
	var f unencapsulateFlags
	cmd := &cobra.Command{
		Use:     "unencapsulate [OPTION...] --repo REPO IMGREF",
		Aliases: []string{"import"},
		Short:   "Take the commit out of an image that encapsulate made",
		Long: `Fetches an image that is one ostree commit, as encapsulate makes it, stores the commit and prints
its checksum. An image with further layers is refused: use "image pull".

Without --write-ref nothing keeps the commit: the next prune of the repository removes it.`,
		Example: `  # From a registry, as a branch
  ostree-container container unencapsulate --repo repo --write-ref os/stable ostree-unverified-registry:quay.io/example/os:stable

  # The commit must be signed by a key of the remote "example"
  ostree-container container unencapsulate --repo repo ostree-remote-image:example:oci:/srv/layout:v2`,
		Args: positional("IMGREF"),
	}
	repo := repoFlag(cmd)
	f.addFetching(cmd)
	cmd.Flags().StringVar(&f.writeRef, "write-ref", "", "Set the branch `REF` to the commit")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := required(cmd, "repo"); err != nil {
			return err
		}
		if err := f.check(cmd); err != nil {
			return err
		}
		ref, err := parseOSTreeRef("IMGREF", args[0])
		if err != nil {
			return err
		}
		return a.withRepo(cmd.Context(), *repo, func(repo *ostree.Repo) error {
			return a.unencapsulate(cmd.Context(), repo, ref, &f)
		})
	}
	return cmd
}

type unencapsulateResult struct {
	Type           string `json:"type"`
	Image          string `json:"image"`
	Commit         string `json:"commit"`
	ManifestDigest string `json:"manifestDigest"`
	Ref            string `json:"ref,omitempty"`
}

func (a *app) unencapsulate(ctx context.Context, repo *ostree.Repo, ref imageref.OSTreeImageReference, f *unencapsulateFlags) (err error) {
	registryOptions, err := f.options(ctx, a)
	if err != nil {
		return err
	}
	progress := a.newProgress(ref, f.quiet, f.format)
	defer progress.stop()
	imp, err := container.NewImporter(repo, ref, &container.ImporterOptions{
		Registry: registryOptions, IgnoreSpace: f.ignoreSpace, Jobs: f.jobs, Progress: progress.event, Logger: a.log,
	})
	if err != nil {
		return fmt.Errorf("%s: %w", creatingImporter, err)
	}
	defer func() { err = errors.Join(err, imp.Close()) }()
	u, err := imp.Unencapsulate(ctx, f.writeRef)
	if err != nil {
		return err
	}
	progress.stop()
	if f.format == formatJSON {
		return a.printJSONLine(unencapsulateResult{
			Type: "Result", Image: ref.String(), Commit: u.Commit, ManifestDigest: u.ManifestDigest.String(), Ref: f.writeRef,
		})
	}
	if u.VerifyText != "" {
		fmt.Fprintln(a.out, lines(u.VerifyText))
	}
	name := u.Commit
	if f.writeRef != "" {
		name = f.writeRef + " => " + u.Commit
	}
	_, err = fmt.Fprintf(a.out, "Imported: %s\n", name)
	return err
}
