package cli

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/ostree-container/ostree-container/container"
	"github.com/ostree-container/ostree-container/container/imageref"
	"github.com/ostree-container/ostree-container/container/registry"
	"github.com/ostree-container/ostree-container/ostree"
)

// importFlags are the options of the commands that store an image.
type importFlags struct {
	registryFlags
	quiet       bool
	strict      bool
	ignoreSpace bool
	keepBlobs   bool
	jobs        int
	format      format
	keys        []string
}

func (f *importFlags) add(cmd *cobra.Command) {
	f.addFetching(cmd)
	flags := cmd.Flags()
	flags.BoolVar(&f.strict, "strict", false, "Refuse devices, FIFOs and sockets, which are otherwise left out and reported")
	flags.BoolVar(&f.keepBlobs, "keep-blobs", false, "Also keep the image as it was fetched, so that reexport gives it with its digest")
}

// addFetching adds those that also count for an image of a single commit.
func (f *importFlags) addFetching(cmd *cobra.Command) {
	f.registryFlags.add(cmd)
	flags := cmd.Flags()
	flags.BoolVarP(&f.quiet, "quiet", "q", false, "Show no progress")
	flags.BoolVar(&f.ignoreSpace, "ignore-space", false, "Begin even if the layers cannot fit on the disk")
	flags.IntVarP(&f.jobs, "jobs", "j", 0, "Work on `N` layers at once (default 6)")
	flags.StringArrayVar(&f.keys, "decryption-key", nil, "Decrypt layers with the private key in `FILE[:PASSPHRASE]`, or that of a certificate; may be repeated")
	f.format.add(cmd, "text, or json for one JSON document a line: progress, then the result")
}

// layerOptions are those of importFlags that are about layers: where none are fetched they are refused.
var layerOptions = []string{"strict", "ignore-space", "keep-blobs", "jobs", "decryption-key"}

func (f *importFlags) check(cmd *cobra.Command) error {
	if err := checkJobs(cmd, f.jobs); err != nil {
		return err
	}
	return f.registryFlags.check(cmd)
}

// options is that of registryFlags, with keys.
func (f *importFlags) options(ctx context.Context, a *app) (*registry.Options, error) {
	o, err := f.registryFlags.options(ctx, a)
	if err != nil {
		return nil, err
	}
	for _, s := range f.keys {
		key, err := registry.ParseDecryptionKey(s)
		if err != nil {
			return nil, fmt.Errorf("--decryption-key: %w", err)
		}
		o.DecryptionKeys = append(o.DecryptionKeys, key)
	}
	return o, nil
}

// creatingImporter is how errors begin in the reference when an image cannot be pulled into this repository at all.
const creatingImporter = "Creating importer"

type pullFlags struct {
	importFlags
	check, digestFile string
}

func (a *app) pullCommand() *cobra.Command {
	var f pullFlags
	cmd := &cobra.Command{
		Use:   "pull [OPTION...] REPO IMGREF",
		Short: "Pull an image into a repository, or update it",
		Long: `Pulls an image into a repository, or updates it. Layers that are there already are not fetched
again; layers that are finished stay when a pull is interrupted.

With --keep-blobs the repository has, besides the commits, manifest, configuration and layers as
they were fetched, until prune removes their layers: "image reexport" then gives the image with its
digest, so that its signatures hold. Layers whose blobs are not there yet are fetched again. That
takes as much room as the compressed image.

With --check nothing but the manifest is fetched: if it is a new one it is written to FILE,
and what would change is printed.

Credentials come from /run/ostree/auth.json, /etc/ostree/auth.json or /usr/lib/ostree/auth.json
(for others than root: ostree/auth.json in $XDG_RUNTIME_DIR or $XDG_CONFIG_HOME); without such a
file none are used.`,
		Example: `  # From a registry; the policy must demand a signature
  ostree-container image pull /ostree/repo ostree-image-signed:docker://quay.io/example/os:latest

  # From a directory that skopeo or umoci wrote
  ostree-container image pull repo ostree-unverified-image:oci:/srv/layout:v2

  # For a mirror: with all that is needed to pass it on unchanged
  ostree-container image pull --keep-blobs /srv/repo ostree-image-signed:docker://quay.io/example/os:latest

  # Is there an update?
  ostree-container image pull --check new-manifest.json /ostree/repo ostree-unverified-registry:quay.io/example/os

  # For a program: progress and result as JSON lines
  ostree-container image pull --format json repo ostree-unverified-image:oci:/srv/layout:v2`,
		Args: positional("REPO", "IMGREF"),
	}
	f.add(cmd)
	cmd.Flags().StringVar(&f.check, "check", "", "Fetch only the manifest, and write it to `FILE` if it is a new one")
	cmd.Flags().StringVar(&f.digestFile, "ostree-digestfile", "", "Write the checksum of the merge commit to `FILE`")
	cmd.ValidArgsFunction = func(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) == 0 {
			return nil, cobra.ShellCompDirectiveFilterDirs
		}
		return schemeCompletion(nil, nil, "")
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := f.importFlags.check(cmd); err != nil {
			return err
		}
		for _, other := range layerOptions { // they would have no effect
			if err := exclusive(cmd, "check", other); err != nil {
				return err
			}
		}
		ref, err := parseOSTreeRef("IMGREF", args[1])
		if err != nil {
			return err
		}
		if err := a.prepareRepo(cmd.Context(), args[0]); err != nil {
			return err
		}
		return a.withRepo(cmd.Context(), args[0], func(repo *ostree.Repo) error {
			return a.pull(cmd.Context(), repo, ref, &f)
		})
	}
	return cmd
}

func (a *app) pull(ctx context.Context, repo *ostree.Repo, ref imageref.OSTreeImageReference, f *pullFlags) (err error) {
	if err := errors.Join(checkDir("--check", f.check), checkDir("--ostree-digestfile", f.digestFile)); err != nil {
		return err
	}
	registryOptions, err := f.options(ctx, a)
	if err != nil {
		return err
	}
	progress := a.newProgress(ref, f.quiet, f.format)
	defer progress.stop()
	imp, err := container.NewImporter(repo, ref, &container.ImporterOptions{
		Registry: registryOptions, Strict: f.strict, IgnoreSpace: f.ignoreSpace, Jobs: f.jobs,
		KeepBlobs: f.keepBlobs,
		Progress:  progress.event, Logger: a.log,
	})
	if err != nil {
		return fmt.Errorf("%s: %w", creatingImporter, err)
	}
	defer func() { err = errors.Join(err, imp.Close()) }()
	prepared, err := imp.Prepare(ctx)
	if err != nil {
		return err
	}
	if state := prepared.AlreadyPresent; state != nil {
		progress.stop()
		if err := f.writeDigest(ctx, state); err != nil {
			return err
		}
		if f.check != "" && f.format == formatJSON {
			return a.printJSONLine(updateResult{
				Type: "Result", Image: ref.String(), ManifestDigest: state.ManifestDigest.String(), Version: state.Version(), LayersPresent: len(state.Manifest.Layers),
			})
		}
		return a.reportPulled(ref, state, nil, f)
	}
	ready := prepared.Ready
	if f.check != "" {
		progress.stop()
		return a.reportUpdate(ctx, ref, ready, f)
	}
	counts := countsOf(ready) // before Import fills in what it fetched
	if f.format == formatText {
		if ready.Previous != nil {
			printManifestDiff(a.out, container.NewManifestDiff(ready.Previous.Manifest, ready.Manifest))
		}
		counts.print(a.out)
	}
	state, err := imp.Import(ctx, ready)
	progress.stop()
	if err != nil {
		return err
	}
	a.journal(ctx, repo.Path(), (&record{id: journalPulled, verb: "pull", image: ref.String(), message: "Pulled " + ref.String()}).of(state))
	a.warnAboutFiltered(state)
	if err := f.writeDigest(ctx, state); err != nil {
		return err
	}
	return a.reportPulled(ref, state, &counts, f)
}

// layerCounts says what there is to fetch.
type layerCounts struct {
	present, needed int
	bytes           int64 // of the needed ones, compressed
}

func countsOf(p *container.PreparedImport) layerCounts {
	return layerCounts{p.Stored(), len(p.LayersToFetch()), p.FetchSize()}
}

// print writes the line about layers, unless all are here.
func (c layerCounts) print(w io.Writer) {
	if c.needed > 0 {
		fmt.Fprintf(w, "layers already present: %d; layers needed: %d (%s)\n", c.present, c.needed, formatCount(c.bytes))
	}
}

func (f *pullFlags) writeDigest(ctx context.Context, state *container.LayeredImageState) error {
	if f.digestFile == "" {
		return nil
	}
	if err := writeFile(ctx, f.digestFile, []byte(state.MergeCommit)); err != nil {
		return fmt.Errorf("write commit to file: %w", err)
	}
	return nil
}

// pullResult is the last line of pull --format json.
type pullResult struct {
	Type           string                       `json:"type"` // Result
	Image          string                       `json:"image"`
	Changed        bool                         `json:"changed"`
	Commit         string                       `json:"commit"`
	ManifestDigest string                       `json:"manifestDigest"`
	Version        string                       `json:"version,omitempty"`
	LayersPresent  int                          `json:"layersPresent"`
	LayersFetched  int                          `json:"layersFetched"`
	BytesFetched   int64                        `json:"bytesFetched"`
	Filtered       map[string]map[string]uint32 `json:"filtered,omitempty"` // layer digest, path: count
	Verified       string                       `json:"verified,omitempty"`
}

// reportPulled says that the image is in the repository; fetched is nil if it was before.
func (a *app) reportPulled(ref imageref.OSTreeImageReference, state *container.LayeredImageState, fetched *layerCounts, f *pullFlags) error {
	if f.format == formatJSON {
		r := pullResult{
			Type: "Result", Image: ref.String(), Commit: state.MergeCommit, ManifestDigest: state.ManifestDigest.String(),
			Version: state.Version(), LayersPresent: len(state.Manifest.Layers), Filtered: state.Filtered, Verified: state.VerifyText,
		}
		if fetched != nil {
			r.Changed, r.LayersPresent, r.LayersFetched, r.BytesFetched = true, fetched.present, fetched.needed, fetched.bytes
		}
		return a.printJSONLine(r)
	}
	if fetched == nil {
		fmt.Fprintf(a.out, "No changes in %s => %s\n", oneLine(ref.String()), state.MergeCommit)
		return nil
	}
	if state.VerifyText != "" {
		fmt.Fprintln(a.out, lines(state.VerifyText))
	}
	fmt.Fprintf(a.out, "Wrote: %s => %s\n", oneLine(ref.String()), state.MergeCommit)
	return nil
}

// updateResult is the last line of pull --check --format json. Without an update it is about the image that is here.
type updateResult struct {
	Type            string        `json:"type"` // Result
	Image           string        `json:"image"`
	UpdateAvailable bool          `json:"updateAvailable"`
	ManifestDigest  string        `json:"manifestDigest"`
	Version         string        `json:"version,omitempty"`
	LayersPresent   int           `json:"layersPresent"`
	LayersNeeded    int           `json:"layersNeeded"`
	BytesNeeded     int64         `json:"bytesNeeded"`
	Previous        *listedUpdate `json:"previous,omitempty"`
}

// reportUpdate writes the new manifest and says what a pull would bring.
func (a *app) reportUpdate(ctx context.Context, ref imageref.OSTreeImageReference, ready *container.PreparedImport, f *pullFlags) error {
	manifest, err := manifestJSON(ready.Manifest)
	if err != nil {
		return err
	}
	if err := writeFile(ctx, f.check, manifest); err != nil {
		return fmt.Errorf("write manifest to file: %w", err)
	}
	counts := countsOf(ready)
	if f.format == formatJSON {
		r := updateResult{
			Type: "Result", Image: ref.String(), UpdateAvailable: true, ManifestDigest: ready.ManifestDigest.String(), Version: ready.Version(),
			LayersPresent: counts.present, LayersNeeded: counts.needed, BytesNeeded: counts.bytes, Previous: listedState(ready.Previous),
		}
		return a.printJSONLine(r)
	}
	fmt.Fprintf(a.out, "Update available for: %s\n", oneLine(ref.Short()))
	a.printVersion(ready.Version(), ready.ManifestDigest.String())
	if ready.Previous != nil {
		printManifestDiff(a.out, container.NewManifestDiff(ready.Previous.Manifest, ready.Manifest))
	}
	counts.print(a.out)
	return nil
}

// warnAboutFiltered says what of an image could not be stored.
func (a *app) warnAboutFiltered(state *container.LayeredImageState) {
	if text := container.FilteredContentWarning(state.Filtered); text != "" {
		fmt.Fprintln(a.err, oneLine(text))
	}
}

// printVersion says which version an update is.
func (a *app) printVersion(version, digest string) {
	if version != "" {
		fmt.Fprintf(a.out, "  Version: %s\n", oneLine(version))
	}
	fmt.Fprintf(a.out, "  Digest: %s\n", digest)
}
