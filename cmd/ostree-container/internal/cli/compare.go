package cli

import (
	"fmt"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/spf13/cobra"

	"github.com/ostree-container/ostree-container/container"
	"github.com/ostree-container/ostree-container/container/imageref"
)

// fetchedManifest is an image in the output of info --format json.
type fetchedManifest struct {
	Image          string            `json:"image"`
	ManifestDigest string            `json:"manifestDigest"`
	Layers         int               `json:"layers"`
	Size           int64             `json:"size"` // of the compressed layers, in bytes
	Annotations    map[string]string `json:"annotations,omitempty"`
}

func (a *app) infoCommand() *cobra.Command {
	var f registryFlags
	var as format
	cmd := &cobra.Command{
		Use:   "info [OPTION...] IMGREF",
		Short: "Print the digest of an image where it is fetched from",
		Long: `Fetches the manifest of an image, checks it against the signature policy and prints its digest.
No repository is needed; "image inspect" says more.`,
		Example: "  ostree-container container info ostree-unverified-registry:quay.io/example/os:latest",
		Args:    positional("IMGREF"),
	}
	f.add(cmd)
	as.add(cmd, "text or json")
	cmd.ValidArgsFunction = schemeCompletion
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := f.check(cmd); err != nil {
			return err
		}
		ref, err := parseOSTreeRef("IMGREF", args[0])
		if err != nil {
			return err
		}
		options, err := f.options(cmd.Context(), a)
		if err != nil {
			return err
		}
		manifest, digest, err := container.FetchManifest(cmd.Context(), ref, options)
		if err != nil {
			return err
		}
		if as == formatJSON {
			return a.printJSON(fetchedManifest{
				Image: ref.String(), ManifestDigest: digest.String(), Layers: len(manifest.Layers),
				Size: container.SizeOfLayers(manifest.Layers), Annotations: manifest.Annotations,
			})
		}
		fmt.Fprintf(a.out, "%s digest: %s\n", oneLine(ref.String()), digest)
		return nil
	}
	return cmd
}

// comparedManifests is the output of compare --format json. Sizes are in bytes, of compressed layers.
type comparedManifests struct {
	Old         fetchedManifest `json:"old"`
	New         fetchedManifest `json:"new"`
	Removed     []comparedLayer `json:"removed"`
	RemovedSize int64           `json:"removedSize"`
	Added       []comparedLayer `json:"added"`
	AddedSize   int64           `json:"addedSize"`
}

type comparedLayer struct {
	Digest string `json:"digest"`
	Size   int64  `json:"size"`
}

func (a *app) compareCommand() *cobra.Command {
	var f registryFlags
	var as format
	cmd := &cobra.Command{
		Use:   "compare [OPTION...] IMGREF_OLD IMGREF_NEW",
		Short: "Compare the layers of two images where they are fetched from",
		Long: `Fetches the manifests of two images and says how many layers, and bytes of them, the new one has,
and how many of them went and came. Layers are compared by digest; nothing else is fetched.`,
		Example: `  ostree-container container compare ostree-unverified-registry:quay.io/example/os:41 \
    ostree-unverified-registry:quay.io/example/os:42`,
		Args: positional("IMGREF_OLD", "IMGREF_NEW"),
	}
	f.add(cmd)
	as.add(cmd, "text or json")
	cmd.ValidArgsFunction = schemeCompletion
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := f.check(cmd); err != nil {
			return err
		}
		var refs [2]imageref.OSTreeImageReference
		for i, name := range []string{"IMGREF_OLD", "IMGREF_NEW"} {
			var err error
			if refs[i], err = parseOSTreeRef(name, args[i]); err != nil {
				return err
			}
		}
		options, err := f.options(cmd.Context(), a)
		if err != nil {
			return err
		}
		var manifests [2]*ocispec.Manifest
		var about [2]fetchedManifest
		for i, ref := range refs {
			manifest, digest, err := container.FetchManifest(cmd.Context(), ref, options)
			if err != nil {
				return err
			}
			manifests[i] = manifest
			about[i] = fetchedManifest{
				Image: ref.String(), ManifestDigest: digest.String(), Layers: len(manifest.Layers), Size: container.SizeOfLayers(manifest.Layers),
			}
		}
		d := container.NewManifestDiff(manifests[0], manifests[1])
		if as == formatJSON {
			return a.printJSON(comparedManifests{
				Old: about[0], New: about[1], Removed: comparedLayers(d.Removed), RemovedSize: container.SizeOfLayers(d.Removed),
				Added: comparedLayers(d.Added), AddedSize: container.SizeOfLayers(d.Added),
			})
		}
		printManifestDiff(a.out, d)
		return nil
	}
	return cmd
}

func comparedLayers(layers []ocispec.Descriptor) []comparedLayer {
	list := make([]comparedLayer, len(layers))
	for i, l := range layers {
		list[i] = comparedLayer{l.Digest.String(), l.Size}
	}
	return list
}

// schemeCompletion completes the beginning of an image with its signature rule.
func schemeCompletion(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return []cobra.Completion{"ostree-image-signed:", "ostree-unverified-image:", "ostree-unverified-registry:"}, cobra.ShellCompDirectiveNoSpace
}
