package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/go-openapi/strfmt"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/spf13/cobra"

	"github.com/ostree-container/ostree-container/container"
	"github.com/ostree-container/ostree-container/ostree"
)

// inspected is the output of inspect --format json. Sizes are in bytes.
type inspected struct {
	Image          string            `json:"image"`
	ManifestDigest string            `json:"manifestDigest"`
	IndexDigest    string            `json:"indexDigest,omitempty"`
	MediaType      string            `json:"mediaType,omitempty"` // of the manifest
	Version        string            `json:"version,omitempty"`
	Created        *strfmt.DateTime  `json:"created,omitempty"`
	OS             string            `json:"os,omitempty"`
	Architecture   string            `json:"architecture,omitempty"`
	Size           int64             `json:"size"` // of the compressed layers
	Layers         []inspectedLayer  `json:"layers"`
	Repository     *inspectedHere    `json:"repository,omitempty"` // not there: none was given
	Manifest       *ocispec.Manifest `json:"manifest"`
	Config         *ocispec.Image    `json:"config"`
}

type inspectedLayer struct {
	Digest    string `json:"digest"`
	DiffID    string `json:"diffId,omitempty"`
	MediaType string `json:"mediaType"`
	Size      int64  `json:"size"` // of the blob
	Kind      string `json:"kind"` // commit, chunk or derived
	Present   *bool  `json:"present,omitempty"`
	Commit    string `json:"commit,omitempty"`
	CreatedBy string `json:"createdBy,omitempty"`
}

// inspectedHere is what a repository has of the image.
type inspectedHere struct {
	Current        bool   `json:"current"` // this version is there: a pull has nothing to do
	Commit         string `json:"commit,omitempty"`
	ManifestDigest string `json:"manifestDigest,omitempty"` // of the version that is there
	Version        string `json:"version,omitempty"`
	LayersPresent  int    `json:"layersPresent"`
	LayersNeeded   int    `json:"layersNeeded"`
	BytesNeeded    int64  `json:"bytesNeeded"`
}

type inspectFlags struct {
	registryFlags
	repo                string
	stored, raw, config bool
	format              format
}

func (a *app) inspectCommand() *cobra.Command {
	var f inspectFlags
	cmd := &cobra.Command{
		Use:   "inspect [OPTION...] [--repo PATH] IMGREF",
		Short: "Show an image, its layers, and what a pull would fetch",
		Long: `Fetches manifest and config of an image and shows them with its layers and their sizes. With
--repo also which layers are in the repository and what a pull into it would fetch; nothing is
written. With --stored nothing is fetched: the image is shown as the repository has it.`,
		Example: `  # What would an update bring?
  ostree-container image inspect --repo /ostree/repo ostree-image-signed:docker://quay.io/example/os:latest

  # What is deployed here?
  ostree-container image inspect --repo /ostree/repo --stored docker://quay.io/example/os:latest

  # For programs
  ostree-container image inspect --format json ostree-unverified-image:oci:/srv/layout:v2 | jq .layers
  ostree-container image inspect --raw ostree-unverified-image:oci:/srv/layout:v2 | sha256sum`,
		Args: positional("IMGREF"),
	}
	f.registryFlags.add(cmd)
	flags := cmd.Flags()
	flags.StringVar(&f.repo, "repo", "", "`PATH` of a repository to compare with (default none)")
	flags.BoolVar(&f.stored, "stored", false, "Show the image that is in the repository; fetch nothing")
	flags.BoolVar(&f.raw, "raw", false, "Print the manifest byte for byte, nothing else")
	flags.BoolVar(&f.config, "config", false, "Print the config byte for byte, nothing else")
	f.format.add(cmd, "text or json")
	_ = cmd.MarkFlagDirname("repo")
	cmd.ValidArgsFunction = schemeCompletion
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := f.check(cmd); err != nil {
			return err
		}
		for _, other := range []string{"stored", "format"} {
			if err := exclusive(cmd, "raw", "config", other); err != nil {
				return err
			}
		}
		if f.stored {
			if err := required(cmd, "repo"); err != nil {
				return err
			}
		}
		return a.inspect(cmd.Context(), &f, args[0])
	}
	return cmd
}

func (a *app) inspect(ctx context.Context, f *inspectFlags, image string) error {
	if f.stored {
		ref, err := parseImageRef("IMGREF", image)
		if err != nil {
			return err
		}
		return a.withRepo(ctx, f.repo, func(repo *ostree.Repo) error {
			in, err := container.InspectStored(ctx, repo, ref)
			if err != nil {
				return err
			}
			return a.printInspection(ref.String(), in, f)
		})
	}
	ref, err := parseOSTreeRef("IMGREF", image)
	if err != nil {
		return err
	}
	options, err := f.options(ctx, a)
	if err != nil {
		return err
	}
	inspect := func(repo *ostree.Repo) error {
		in, err := container.Inspect(ctx, ref, &container.InspectOptions{Registry: options, Repo: repo, Logger: a.log})
		if err != nil {
			return err
		}
		return a.printInspection(ref.String(), in, f)
	}
	if f.repo == "" {
		return inspect(nil)
	}
	return a.withRepo(ctx, f.repo, inspect)
}

func (a *app) printInspection(image string, in *container.Inspection, f *inspectFlags) error {
	switch {
	case f.raw:
		_, err := a.out.Write(in.RawManifest)
		return err
	case f.config:
		_, err := a.out.Write(in.RawConfig)
		return err
	}
	doc := newInspected(image, in, f.repo != "")
	if f.format == formatJSON {
		return a.printJSON(doc)
	}
	a.printInspected(doc)
	return nil
}

func newInspected(image string, in *container.Inspection, compared bool) *inspected {
	doc := &inspected{
		Image: image, ManifestDigest: in.ManifestDigest.String(), IndexDigest: in.IndexDigest.String(), MediaType: in.MediaType,
		Version: in.Version(), Created: jsonTime(in.Config.Created), OS: in.Config.OS, Architecture: in.Config.Architecture,
		Size: container.SizeOfLayers(in.Manifest.Layers), Manifest: in.Manifest, Config: in.Config, Layers: []inspectedLayer{},
	}
	rows := historyRows(in.Manifest, in.Config)
	for n, l := range in.Layers {
		row := inspectedLayer{
			Digest: l.Descriptor.Digest.String(), DiffID: l.DiffID.String(), MediaType: l.Descriptor.MediaType, Size: l.Descriptor.Size,
			Kind: layerKind(l.Kind), Commit: l.Commit, CreatedBy: rows[n].CreatedBy,
		}
		if compared {
			present := l.Commit != ""
			row.Present = &present
		}
		doc.Layers = append(doc.Layers, row)
	}
	if compared {
		here := &inspectedHere{Current: in.Current, LayersPresent: in.Stored()}
		if !in.Current {
			here.LayersNeeded, here.BytesNeeded = len(in.LayersToFetch()), in.FetchSize()
		}
		if p := in.Previous; p != nil {
			here.Commit, here.ManifestDigest, here.Version = p.MergeCommit, p.ManifestDigest.String(), p.Version()
		}
		doc.Repository = here
	}
	return doc
}

func layerKind(k container.LayerKind) string {
	switch k {
	case container.LayerCommit:
		return "commit"
	case container.LayerChunk:
		return "chunk"
	default:
		return "derived"
	}
}

func (a *app) printInspected(doc *inspected) {
	field := func(name, value string) {
		if value != "" {
			fmt.Fprintf(a.out, "%-13s %s\n", name+":", oneLine(value))
		}
	}
	field("Image", doc.Image)
	field("Digest", doc.ManifestDigest)
	field("Index", doc.IndexDigest)
	field("Version", doc.Version)
	if doc.Created != nil {
		field("Created", doc.Created.String())
	}
	field("Platform", strings.Trim(doc.OS+"/"+doc.Architecture, "/"))
	field("Layers", fmt.Sprintf("%d (%s)", len(doc.Layers), formatCount(doc.Size)))
	if here := doc.Repository; here != nil {
		switch {
		case here.Current:
			field("Repository", "has it, as commit "+here.Commit)
		case here.Commit != "":
			field("Repository", strings.TrimSpace("has another version: "+here.ManifestDigest+" "+here.Version))
		default:
			field("Repository", "does not have it")
		}
		if !here.Current {
			field("To fetch", fmt.Sprintf("%d of %d layers (%s)", here.LayersNeeded, len(doc.Layers), formatCount(here.BytesNeeded)))
		}
	}
	width := terminalWidth(a.out.w)
	line := func(id, size, kind, here, by string) {
		text := fmt.Sprintf("%-20s  %-10s  %-7s", id, size, kind)
		if doc.Repository != nil {
			text += fmt.Sprintf("  %-4s", here)
		}
		text = strings.TrimRight(text+"  "+by, " ")
		if width > 0 {
			text = truncate(text, width)
		}
		fmt.Fprintln(a.out, text)
	}
	fmt.Fprintln(a.out)
	line("ID", "SIZE", "KIND", "HERE", "CREATED BY")
	for _, l := range doc.Layers {
		_, hex, _ := strings.Cut(l.Digest, ":")
		here := "no"
		if l.Commit != "" {
			here = "yes"
		}
		line(truncate(hex, 20), formatCount(l.Size), l.Kind, here, oneLine(l.CreatedBy))
	}
}
