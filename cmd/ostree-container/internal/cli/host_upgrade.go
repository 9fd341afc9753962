package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ostree-container/ostree-container/container"
	"github.com/ostree-container/ostree-container/container/host"
	"github.com/ostree-container/ostree-container/container/imageref"
	"github.com/ostree-container/ostree-container/ostree"
)

// upgradeFlags are the options of host upgrade and host switch.
type upgradeFlags struct {
	importFlags
	sysroot, stateroot         string
	tag                        string
	check                      bool
	downloadOnly, fromDownload bool
	softReboot                 softReboot
}

// softReboot is the value of --soft-reboot.
type softReboot host.SoftReboot

func (s *softReboot) String() string { return string(*s) }
func (s *softReboot) Type() string   { return "MODE" }

func (s *softReboot) Set(text string) error {
	switch host.SoftReboot(text) {
	case host.SoftRebootAuto, host.SoftRebootRequired:
		*s = softReboot(text)
		return nil
	}
	return errors.New("auto or required")
}

func (f *upgradeFlags) add(cmd *cobra.Command) {
	f.importFlags.add(cmd)
	sysrootFlag(cmd, &f.sysroot)
	flags := cmd.Flags()
	flags.StringVar(&f.stateroot, "stateroot", "", "`NAME` of the stateroot (default: that of the booted deployment, else of the first)")
	flags.BoolVar(&f.downloadOnly, "download-only", false, "Stage it, but locked: it is not applied at shutdown before --from-downloaded")
	flags.Var(&f.softReboot, "soft-reboot", "auto: prepare a soft reboot where it is possible; required: fail where it is not (default: prepare none)")
	_ = cmd.RegisterFlagCompletionFunc("soft-reboot",
		cobra.FixedCompletions([]string{string(host.SoftRebootAuto), string(host.SoftRebootRequired)}, cobra.ShellCompDirectiveNoFileComp))
}

func (a *app) hostUpgradeCommand() *cobra.Command {
	var f upgradeFlags
	cmd := &cobra.Command{
		Use:   "upgrade [OPTION...]",
		Short: "Deploy the newest version of the image that the host follows",
		Long: `Asks for the newest version of the image that the host follows, and deploys it if it is a new one:
staged on a booted host, written at once elsewhere. Kernel arguments and changes in /etc are kept.
Kernel arguments that only the new image asks for (/usr/lib/bootc/kargs.d) are added, those that
only the old one did are removed. Images bound to it (/usr/lib/bootc/bound-images.d) are not pulled.

With --check only manifest and config are fetched: what would change is printed and kept, so that
"host status" shows it. With --download-only the new version is staged, but not applied when the
host shuts down, until --from-downloaded (which needs no network) or an upgrade without it.

After a rollback the newest version is a new one again: the image that was rolled back from is
deployed once more, and a note says so. To stay away from it, switch to another tag or a digest.`,
		Example: `  ostree-container host upgrade --check
  ostree-container host upgrade

  # Another tag of the same image, from now on
  ostree-container host upgrade --tag 42

  # Fetch now, apply in the maintenance window
  ostree-container host upgrade --download-only
  ostree-container host upgrade --from-downloaded && systemctl reboot`,
		Args: positional(),
	}
	f.add(cmd)
	flags := cmd.Flags()
	flags.BoolVar(&f.check, "check", false, "Only say whether there is a new version")
	flags.StringVar(&f.tag, "tag", "", "Follow this `TAG` of the image from now on (default: the one that is followed)")
	flags.BoolVar(&f.fromDownload, "from-downloaded", false, "Let what was staged with --download-only be applied; fetch nothing")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := upgradeConflicts(cmd); err != nil {
			return err
		}
		if err := f.importFlags.check(cmd); err != nil {
			return err
		}
		if cmd.Flags().Changed("tag") {
			if _, err := (imageref.ImageReference{Transport: imageref.TransportRegistry, Name: "x"}).WithTag(f.tag); err != nil {
				return usagef("invalid value %q for --tag: %w", f.tag, err)
			}
		}
		return a.withSysroot(cmd.Context(), f.sysroot, func(sysroot *ostree.Sysroot) error {
			if f.fromDownload {
				return a.applyDownloaded(cmd.Context(), sysroot, &f)
			}
			ref, stateroot, err := host.Target(sysroot, f.options(a))
			if err != nil {
				return err
			}
			f.stateroot = stateroot
			if f.check {
				return a.checkUpgrade(cmd.Context(), sysroot, ref, &f)
			}
			return a.upgrade(cmd.Context(), sysroot, cmd.Name(), ref, &f, func(opts *host.UpgradeOptions) (*host.Upgraded, error) {
				return host.Upgrade(cmd.Context(), sysroot, opts)
			})
		})
	}
	return cmd
}

// upgradeConflicts refuses options that would have no effect beside others.
func upgradeConflicts(cmd *cobra.Command) error {
	source := []string{"tag", "authfile", "auth-anonymous", "auth-default", "creds", "cert-dir", "insecure-skip-tls-verification", "require-signed"}
	for _, c := range []struct {
		name   string
		others []string
	}{
		{"check", slices.Concat([]string{"from-downloaded", "download-only", "soft-reboot"}, layerOptions)}, // fetches no layers, stages nothing
		{"from-downloaded", slices.Concat([]string{"download-only"}, source, layerOptions)},                 // fetches nothing
		{"soft-reboot", []string{"download-only"}},
	} {
		for _, other := range c.others {
			if err := exclusive(cmd, c.name, other); err != nil {
				return err
			}
		}
	}
	return nil
}

func (a *app) hostSwitchCommand() *cobra.Command {
	var f upgradeFlags
	cmd := &cobra.Command{
		Use:   "switch [OPTION...] IMGREF",
		Short: "Deploy another image, and follow it from now on",
		Long: `Deploys another image, which the host follows from now on: as "host upgrade" does, with the kernel
arguments, the changes in /etc and the /var that are there. Kernel arguments that the images ask for
(/usr/lib/bootc/kargs.d) are added and removed; bound images (/usr/lib/bootc/bound-images.d) are not
pulled.`,
		Example: `  ostree-container host switch ostree-image-signed:docker://quay.io/example/os:next

  # Look at it first
  ostree-container host switch --download-only ostree-image-signed:docker://quay.io/example/os:next
  ostree-container host status`,
		Args: positional("IMGREF"),
	}
	f.add(cmd)
	cmd.ValidArgsFunction = schemeCompletion
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := exclusive(cmd, "soft-reboot", "download-only"); err != nil {
			return err
		}
		if err := f.importFlags.check(cmd); err != nil {
			return err
		}
		ref, err := parseOSTreeRef("IMGREF", args[0])
		if err != nil {
			return err
		}
		return a.withSysroot(cmd.Context(), f.sysroot, func(sysroot *ostree.Sysroot) error {
			return a.upgrade(cmd.Context(), sysroot, cmd.Name(), ref, &f, func(opts *host.UpgradeOptions) (*host.Upgraded, error) {
				return host.Switch(cmd.Context(), sysroot, ref, opts)
			})
		})
	}
	return cmd
}

// options are those of package host, but for what is about fetching.
func (f *upgradeFlags) options(a *app) *host.UpgradeOptions {
	return &host.UpgradeOptions{
		Stateroot: f.stateroot, Tag: f.tag, DownloadOnly: f.downloadOnly, SoftReboot: host.SoftReboot(f.softReboot),
		PullOptions: container.PullOptions{Strict: f.strict, IgnoreSpace: f.ignoreSpace, KeepBlobs: f.keepBlobs, Jobs: f.jobs, Logger: a.log},
	}
}

// fetching calls do with all options, and shows its progress.
func (a *app) fetching(ctx context.Context, ref imageref.OSTreeImageReference, f *upgradeFlags, do func(*host.UpgradeOptions) error) (err error) {
	opts := f.options(a)
	if opts.Registry, err = f.importFlags.options(ctx, a); err != nil {
		return err
	}
	progress := a.newProgress(ref, f.quiet, f.format)
	defer progress.stop()
	opts.Progress = progress.event
	return do(opts)
}

func (a *app) upgrade(ctx context.Context, sysroot *ostree.Sysroot, verb string, ref imageref.OSTreeImageReference, f *upgradeFlags,
	do func(*host.UpgradeOptions) (*host.Upgraded, error),
) error {
	var up *host.Upgraded
	err := a.fetching(ctx, ref, f, func(opts *host.UpgradeOptions) (err error) {
		up, err = do(opts)
		return err
	})
	if up != nil { // also with an error: something is staged
		a.journalUpgrade(ctx, sysroot, verb, up, err)
	}
	if err != nil {
		return err
	}
	a.warnAboutFiltered(up.State)
	if n := len(up.BoundImages); n > 0 {
		a.warn("images that are bound to this one are not pulled, as bootc would: %d, the first is named by %s", n, up.BoundImages[0])
	}
	if up.Again != nil && verb == "upgrade" && f.tag == "" {
		fmt.Fprintf(a.err, "note: this image was deployed before: %s; if it was rolled back from, host switch to another tag or digest stays away from it\n", changeText(*up.Again))
	}
	if up.Remedy != nil {
		a.warn("the booted deployment is the newest, but another one is booted next: see host status; %s", remedyText(up.Remedy))
	}
	return a.reportUpgrade(up, f.format)
}

// remedyText says what to do so that the booted deployment is the next one again.
func remedyText(r *host.Remedy) string {
	const again = " makes the booted one the first again"
	discard := "host undeploy 0 discards what is staged"
	switch {
	case r.Rollback && r.Staged:
		return "host rollback discards what is staged and" + again
	case r.Rollback:
		return "host rollback" + again
	case r.SetDefault == 0:
		return discard
	}
	text := fmt.Sprintf("host set-default %d", r.SetDefault) + again
	if r.Staged {
		return discard + ", then " + text
	}
	return text
}

func (a *app) applyDownloaded(ctx context.Context, sysroot *ostree.Sysroot, f *upgradeFlags) error {
	up, err := host.ApplyDownloaded(ctx, sysroot, f.options(a))
	if up != nil { // also with an error: it is unlocked
		a.journalUpgrade(ctx, sysroot, "upgrade", up, err)
	}
	if err != nil {
		return err
	}
	return a.reportUpgrade(up, f.format)
}

// upgradeResult is the last line of upgrade and switch --format json.
type upgradeResult struct {
	Type           string                       `json:"type"` // Result
	Image          string                       `json:"image"`
	Outcome        host.Outcome                 `json:"outcome"`
	Commit         string                       `json:"commit"`
	ManifestDigest string                       `json:"manifestDigest"`
	Version        string                       `json:"version,omitempty"`
	Stateroot      string                       `json:"stateroot"`
	DownloadOnly   bool                         `json:"downloadOnly"`
	SoftReboot     bool                         `json:"softReboot"`
	Previous       *listedUpdate                `json:"previous,omitempty"`
	KargsAdded     []string                     `json:"kargsAdded"`
	KargsRemoved   []string                     `json:"kargsRemoved"`
	BoundImages    []string                     `json:"boundImages"` // paths in the image
	Filtered       map[string]map[string]uint32 `json:"filtered,omitempty"`
}

func (a *app) reportUpgrade(up *host.Upgraded, as format) error {
	if as == formatJSON {
		return a.printJSONLine(upgradeResult{
			Type: "Result", Image: up.Image.String(), Outcome: up.Outcome, Commit: up.State.MergeCommit,
			ManifestDigest: up.State.ManifestDigest.String(), Version: up.State.Version(), Stateroot: up.Stateroot,
			DownloadOnly: up.Locked, SoftReboot: up.SoftReboot, Previous: listedState(up.Previous), Filtered: up.State.Filtered,
			KargsAdded: list(up.Kargs.Added), KargsRemoved: list(up.Kargs.Removed), BoundImages: list(up.BoundImages),
		})
	}
	image := oneLine(up.Image.Short())
	switch {
	case up.Outcome == host.Unchanged:
		fmt.Fprintf(a.out, "No changes in: %s\n", image)
		return nil
	case up.Outcome == host.Deployed:
		fmt.Fprintf(a.out, "Deployed: %s\n", image)
	case up.Locked:
		fmt.Fprintf(a.out, "Downloaded, not applied at the next boot: %s\n", image)
	case up.Outcome == host.AlreadyStaged && !up.LockChanged:
		fmt.Fprintf(a.out, "Queued for next boot already: %s\n", image)
	default:
		fmt.Fprintf(a.out, "Queued for next boot: %s\n", image)
	}
	a.printVersion(up.State.Version(), up.State.ManifestDigest.String())
	for _, change := range []struct {
		done string
		args []string
	}{{"removed", up.Kargs.Removed}, {"added", up.Kargs.Added}} {
		if len(change.args) > 0 {
			fmt.Fprintf(a.out, "  Kernel arguments %s: %s\n", change.done, oneLine(strings.Join(change.args, " ")))
		}
	}
	if up.Previous != nil && up.Outcome != host.AlreadyStaged {
		printManifestDiff(a.out, container.NewManifestDiff(up.Previous.Manifest, up.State.Manifest))
	}
	if up.SoftReboot {
		fmt.Fprintln(a.out, "Ready for: systemctl soft-reboot")
	}
	return nil
}

func (a *app) checkUpgrade(ctx context.Context, sysroot *ostree.Sysroot, ref imageref.OSTreeImageReference, f *upgradeFlags) error {
	var found *host.Available
	err := a.fetching(ctx, ref, f, func(opts *host.UpgradeOptions) (err error) {
		found, err = host.Check(ctx, sysroot, opts)
		return err
	})
	if err != nil {
		return err
	}
	counts := layerCounts{}
	if found.Prepared != nil {
		counts = countsOf(found.Prepared)
	} else if found.Update != nil {
		counts.present = len(found.Update.Manifest.Layers)
	}
	if f.format == formatJSON {
		r := updateResult{Type: "Result", Image: ref.String(), LayersPresent: counts.present, LayersNeeded: counts.needed, BytesNeeded: counts.bytes}
		if u := found.Update; u != nil {
			r.UpdateAvailable, r.ManifestDigest, r.Version, r.Previous = true, u.ManifestDigest.String(), u.Version(), listedState(found.Current)
		} else if c := found.Current; c != nil {
			r.ManifestDigest, r.Version, r.LayersPresent = c.ManifestDigest.String(), c.Version(), len(c.Manifest.Layers)
		}
		return a.printJSONLine(r)
	}
	if found.Update == nil {
		fmt.Fprintf(a.out, "No changes in: %s\n", oneLine(ref.Short()))
		return nil
	}
	fmt.Fprintf(a.out, "Update available for: %s\n", oneLine(ref.Short()))
	a.printVersion(found.Update.Version(), found.Update.ManifestDigest.String())
	if found.Current != nil {
		printManifestDiff(a.out, container.NewManifestDiff(found.Current.Manifest, found.Update.Manifest))
	}
	counts.print(a.out)
	return nil
}
