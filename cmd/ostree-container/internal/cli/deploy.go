package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/ostree-container/ostree-container/container"
	"github.com/ostree-container/ostree-container/container/host"
	"github.com/ostree-container/ostree-container/container/imageref"
	"github.com/ostree-container/ostree-container/ostree"
)

type deployFlags struct {
	importFlags
	sysroot, stateroot       string
	imgref, image, transport string
	noSignatureVerification  bool
	enforceSigpolicy         bool
	ostreeRemote             string
	targetImgref             string
	noImgref                 bool
	kargs                    []string
	writeCommitID            string
}

func (a *app) deployCommand() *cobra.Command {
	var f deployFlags
	cmd := &cobra.Command{
		Use:   "deploy [OPTION...] {--imgref IMAGE | --image NAME}",
		Short: "Deploy an image: pull it and make it what the host boots next",
		Long: `Pulls an image into the repository of a sysroot and makes a deployment of it. On a booted host
it is staged and takes effect when the host is shut down; elsewhere it is written at once.

The image must be bootable on this architecture, and the stateroot must exist ("ostree admin
os-init"). Without --karg the kernel arguments of the current deployment are kept; with it they
are replaced as a whole. On success nothing is printed on standard output.`,
		Example: `  # A new disk, mounted on /mnt, for a host that will follow its registry
  ostree admin init-fs --modern /mnt
  ostree admin os-init --sysroot=/mnt default
  ostree-container image deploy --sysroot /mnt --stateroot default \
    --imgref ostree-unverified-image:oci:/srv/layout:v2 \
    --target-imgref ostree-image-signed:docker://quay.io/example/os:latest \
    --karg root=LABEL=root --karg rw

  # Update the booted host
  ostree-container image deploy --imgref ostree-image-signed:docker://quay.io/example/os:latest`,
		Args: positional(),
	}
	f.add(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		ref, target, err := f.parse(cmd)
		if err != nil {
			return err
		}
		f.warnAboutIgnored(a, cmd)
		return a.withSysroot(cmd.Context(), f.sysroot, func(sysroot *ostree.Sysroot) error {
			return a.deploy(cmd.Context(), sysroot, ref, target, &f)
		})
	}
	return cmd
}

func (f *deployFlags) add(cmd *cobra.Command) {
	f.importFlags.add(cmd)
	flags := cmd.Flags()
	flags.StringVar(&f.sysroot, "sysroot", "", "`PATH` of the system root (default /)")
	flags.StringVar(&f.stateroot, "stateroot", "", "`NAME` of the stateroot, also called osname (default: that of the booted deployment, else default)")
	flags.StringVar(&f.imgref, "imgref", "", "`IMAGE` to deploy, such as ostree-image-signed:docker://quay.io/example/os:latest")
	flags.StringVar(&f.image, "image", "", "`NAME` of the image to deploy, such as quay.io/example/os:latest")
	flags.StringVar(&f.transport, "transport", "", "`TRANSPORT` of --image: registry, oci, oci-archive ... (default registry)")
	flags.BoolVar(&f.noSignatureVerification, "no-signature-verification", false, "Does nothing: that is the default")
	flags.BoolVar(&f.enforceSigpolicy, "enforce-container-sigpolicy", false, "With --image: the signature policy must demand a signature")
	flags.StringVar(&f.ostreeRemote, "ostree-remote", "", "With --image and --enforce-container-sigpolicy: verify the commit as this OSTree `REMOTE` demands")
	flags.StringVar(&f.targetImgref, "target-imgref", "", "`IMAGE` that the host follows from now on (default: the one that is deployed)")
	flags.BoolVar(&f.noImgref, "no-imgref", false, "Write refs of the layers only, not of the image")
	flags.StringArrayVar(&f.kargs, "karg", nil, "Kernel `ARGUMENT`; may be given several times (default: those of the current deployment)")
	flags.StringVar(&f.writeCommitID, "write-commitid-to", "", "Write the checksum of the deployed commit to `FILE`")
	_ = cmd.MarkFlagDirname("sysroot")
}

// parse checks the options and returns the image to deploy and the one to follow, if that is another.
func (f *deployFlags) parse(cmd *cobra.Command) (ref imageref.OSTreeImageReference, target *imageref.OSTreeImageReference, err error) {
	for _, names := range [][]string{{"imgref", "image"}, {"no-signature-verification", "enforce-container-sigpolicy"}} {
		if err := exclusive(cmd, names...); err != nil {
			return ref, nil, err
		}
	}
	if err := f.importFlags.check(cmd); err != nil {
		return ref, nil, err
	}
	switch {
	case f.imgref != "":
		ref, err = parseOSTreeRef("--imgref", f.imgref)
	case f.image != "":
		ref, err = f.parseImage()
	default:
		err = usagef("the following required option was not provided: --imgref or --image")
	}
	if err != nil || f.targetImgref == "" {
		return ref, nil, err
	}
	t, err := parseOSTreeRef("--target-imgref", f.targetImgref)
	return ref, &t, err
}

// parseImage makes a reference of --image, --transport and the options about signatures.
func (f *deployFlags) parseImage() (ref imageref.OSTreeImageReference, err error) {
	if f.transport != "" {
		if ref.ImgRef.Transport, err = imageref.ParseTransport(f.transport); err != nil {
			return ref, usagef("invalid value %q for --transport: %w", f.transport, err)
		}
	} else {
		ref.ImgRef.Transport = imageref.TransportRegistry
	}
	ref.ImgRef.Name = f.image
	switch {
	case !f.enforceSigpolicy:
		ref.SigVerify.Kind = imageref.SignatureInsecure
	case f.ostreeRemote != "":
		ref.SigVerify = imageref.SignatureSource{Kind: imageref.SignatureOSTreeRemote, Remote: f.ostreeRemote}
	default:
		ref.SigVerify.Kind = imageref.SignatureContainerPolicy
	}
	return ref, nil
}

// warnAboutIgnored names options that have no effect as they were given. The reference says nothing (B13).
func (f *deployFlags) warnAboutIgnored(a *app, cmd *cobra.Command) {
	if f.imgref != "" {
		for _, name := range []string{"transport", "enforce-container-sigpolicy", "ostree-remote"} {
			if cmd.Flags().Changed(name) {
				a.warn("--%s is ignored: with --imgref the image itself says it", name)
			}
		}
		return
	}
	if f.ostreeRemote != "" && !f.enforceSigpolicy {
		a.warn("--ostree-remote is ignored without --enforce-container-sigpolicy: nothing is verified")
	}
}

func (a *app) deploy(ctx context.Context, sysroot *ostree.Sysroot, ref imageref.OSTreeImageReference, target *imageref.OSTreeImageReference, f *deployFlags) error {
	if err := checkDir("--write-commitid-to", f.writeCommitID); err != nil {
		return err
	}
	registryOptions, err := f.options(ctx, a)
	if err != nil {
		return err
	}
	stateroot := f.stateroot
	booted := sysroot.BootedDeployment()
	if stateroot == "" {
		stateroot = container.StaterootDefault
		if booted != nil {
			stateroot = booted.Stateroot()
		}
	}
	progress := a.newProgress(ref, f.quiet, f.format)
	defer progress.stop()
	state, err := container.Deploy(ctx, sysroot, stateroot, ref, &container.DeployOptions{
		PullOptions: container.PullOptions{
			Registry: registryOptions, Strict: f.strict, IgnoreSpace: f.ignoreSpace, KeepBlobs: f.keepBlobs, Jobs: f.jobs,
			Progress: progress.event, Logger: a.log,
		},
		Kargs: f.kargs, TargetImgref: target, NoImgref: f.noImgref,
	})
	progress.stop()
	if err != nil {
		return err
	}
	up := &host.Upgraded{Image: ref, Stateroot: stateroot, State: state, Outcome: host.Deployed}
	if booted != nil {
		up.Outcome = host.Staged
	}
	a.journalUpgrade(ctx, sysroot, "deploy", up, nil)
	a.warnAboutFiltered(state)
	if f.writeCommitID != "" {
		if err := writeFile(ctx, f.writeCommitID, []byte(state.MergeCommit)); err != nil {
			return fmt.Errorf("write commit to file: %w", err)
		}
	}
	if f.format != formatJSON {
		return nil
	}
	return a.printJSONLine(deployResult{
		Type: "Result", Image: ref.String(), Commit: state.MergeCommit, ManifestDigest: state.ManifestDigest.String(),
		Version: state.Version(), Stateroot: stateroot, Staged: booted != nil, Filtered: state.Filtered,
	})
}

// deployResult is the last line of deploy --format json.
type deployResult struct {
	Type           string                       `json:"type"` // Result
	Image          string                       `json:"image"`
	Commit         string                       `json:"commit"`
	ManifestDigest string                       `json:"manifestDigest"`
	Version        string                       `json:"version,omitempty"`
	Stateroot      string                       `json:"stateroot"`
	Staged         bool                         `json:"staged"` // takes effect at shutdown
	Filtered       map[string]map[string]uint32 `json:"filtered,omitempty"`
}
