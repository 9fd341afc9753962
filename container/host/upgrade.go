package host

import (
	"context"
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"

	"github.com/ostree-container/ostree-container/container"
	"github.com/ostree-container/ostree-container/container/imageref"
	"github.com/ostree-container/ostree-container/ostree"
)

// UpgradeOptions are options of Upgrade, Switch, Check and ApplyDownloaded; nil means the default.
type UpgradeOptions struct {
	// PullOptions say how the image is imported. Check and ApplyDownloaded take what they need of them.
	container.PullOptions

	// Stateroot is that of the host; "": see Stateroot.
	Stateroot string
	// Tag replaces the tag of the image that is followed, from now on. Only for Upgrade and Check.
	Tag string
	// DownloadOnly stages the image, and locks it: it does not become the default at shutdown until ApplyDownloaded, or an Upgrade
	// without DownloadOnly, unlocks it. Only on a booted host. Only for Upgrade and Switch.
	DownloadOnly bool
	// SoftReboot makes what is staged the target of a soft reboot. It excludes DownloadOnly (ErrConflict). A value that is none of
	// SoftReboot's is ErrSoftRebootMode. Not for Check.
	SoftReboot SoftReboot
	// NoClean leaves old deployments, boot files and objects where the new one is written at once. Only for Upgrade and Switch.
	NoClean bool
}

// Outcome is what an Upgrade or Switch did.
type Outcome string

// Outcomes.
const (
	Unchanged     Outcome = "unchanged"     // the image is what is booted, or what an offline sysroot boots next
	AlreadyStaged Outcome = "alreadyStaged" // it was staged before
	Staged        Outcome = "staged"        // it becomes the default when the host shuts down
	Deployed      Outcome = "deployed"      // it is the default
)

// Upgraded is the result of Upgrade, Switch and ApplyDownloaded.
type Upgraded struct {
	Image     imageref.OSTreeImageReference // that is followed from now on
	Stateroot string
	State     *container.LayeredImageState
	Previous  *container.LayeredImageState // the image of the deployment that was followed; nil: it has none that can be read
	Outcome   Outcome
	// Locked: what is staged is not applied at shutdown. LockChanged: it was staged before, and Locked is new.
	Locked, LockChanged bool
	SoftReboot          bool // what is staged is the target of the next soft reboot
	// Kargs are the changes of the kernel command line that the image asks for (usr/lib/bootc/kargs.d). Only with Deployed, and with
	// Staged where it was not staged before.
	Kargs Kargs
	// BoundImages are paths in the image (usr/lib/bootc/bound-images.d) of files that name further images. Bootc would pull those; this
	// does not. Set when Kargs is.
	BoundImages []string
	// Again is an older deployment of the same image, neither booted nor the one that was followed: the host had this image before, and
	// perhaps was rolled back from it. It was deployed anew all the same. Nil: there is none.
	Again *Change
	// Remedy is set where the outcome is Unchanged and the host nevertheless boots another deployment than the booted one next. Nil: it does
	// not.
	Remedy *Remedy
}

// Available is the result of Check.
type Available struct {
	Image imageref.OSTreeImageReference
	// Update is what would be deployed; nil: that is deployed or staged already.
	Update *container.CachedUpdate
	// Prepared says what is to be fetched; nil: all of it is in the repository.
	Prepared *container.PreparedImport
	Current  *container.LayeredImageState // the image that is staged, or else booted, now; nil: there is none that can be read
}

// Target returns the image that Upgrade and Check are about, and the stateroot. Errors are ErrNoDeployment, ErrNoImage, those of opts, and
// imageref.ErrInvalidReference where the image takes no Tag.
func Target(sysroot *ostree.Sysroot, opts *UpgradeOptions) (ref imageref.OSTreeImageReference, stateroot string, err error) {
	opts, stateroot, err = prepare(sysroot, opts)
	if err != nil {
		return ref, "", err
	}
	_, ref, err = target(sysroot, stateroot, opts)
	return ref, stateroot, err
}

// Upgrade deploys the image that the host follows, if there is a new one: staged on a booted host, written at once elsewhere. It returns
// the errors of Target, ErrLayered if a new deployment would lose changes of rpm-ostree, ErrKargs, ErrSoftReboot, and the errors of container.Deploy.
//
// An error may come with a result. The image is then staged, as the result says, but the soft reboot could not be prepared.
func Upgrade(ctx context.Context, sysroot *ostree.Sysroot, opts *UpgradeOptions) (*Upgraded, error) {
	opts, stateroot, err := prepare(sysroot, opts)
	if err != nil {
		return nil, err
	}
	from, ref, err := target(sysroot, stateroot, opts)
	if err != nil {
		return nil, err
	}
	return update(ctx, sysroot, stateroot, from, ref, opts)
}

// Switch is Upgrade to another image, which is followed from now on. The host need not follow one before.
func Switch(ctx context.Context, sysroot *ostree.Sysroot, ref imageref.OSTreeImageReference, opts *UpgradeOptions) (*Upgraded, error) {
	opts, stateroot, err := prepare(sysroot, opts)
	if err != nil {
		return nil, err
	}
	return update(ctx, sysroot, stateroot, latest(sysroot, stateroot), ref, opts)
}

// Check finds out whether there is a new version of the image that the host follows. Manifest and config are fetched, and kept as
// the cached update of the image; nothing else is changed. Errors are those of Target and of container.Importer.Prepare.
func Check(ctx context.Context, sysroot *ostree.Sysroot, opts *UpgradeOptions) (_ *Available, err error) {
	opts, stateroot, err := prepare(sysroot, opts)
	if err != nil {
		return nil, err
	}
	from, ref, err := target(sysroot, stateroot, opts)
	if err != nil {
		return nil, err
	}
	repo, err := sysroot.Repo() // the sysroot closes it
	if err != nil {
		return nil, err
	}
	imp, err := container.NewImporter(repo, ref, &container.ImporterOptions{
		Registry: opts.Registry, RequireBootable: true, Progress: opts.Progress, Logger: opts.Logger,
	})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, imp.Close()) }()
	prepared, err := imp.Prepare(ctx)
	if err != nil {
		return nil, err
	}
	a := &Available{Image: ref, Current: stateOf(ctx, repo, from), Prepared: prepared.Ready}
	update := container.CachedUpdate{}
	commit := ""
	if state := prepared.AlreadyPresent; state != nil {
		commit = state.MergeCommit
		update.ManifestDigest, update.Manifest, update.Config = state.ManifestDigest, state.Manifest, state.Config
	} else {
		update.ManifestDigest, update.Manifest, update.Config = prepared.Ready.ManifestDigest, prepared.Ready.Manifest, prepared.Ready.Config
	}
	if isOf(from, a.Current, commit, update.ManifestDigest) {
		a.Prepared = nil
		return a, nil
	}
	a.Update = &update
	return a, nil
}

// prepare checks options and fills in what is not given.
func prepare(sysroot *ostree.Sysroot, given *UpgradeOptions) (*UpgradeOptions, string, error) {
	opts := &UpgradeOptions{}
	if given != nil {
		*opts = *given
	}
	stateroot, err := Stateroot(sysroot, opts.Stateroot)
	if err != nil {
		return nil, "", err
	}
	booted := sysroot.BootedDeployment() != nil
	switch {
	case opts.SoftReboot != SoftRebootNone && opts.SoftReboot != SoftRebootAuto && opts.SoftReboot != SoftRebootRequired:
		return nil, "", fmt.Errorf("%w: %q", ErrSoftRebootMode, string(opts.SoftReboot))
	case opts.SoftReboot != SoftRebootNone && opts.DownloadOnly:
		return nil, "", fmt.Errorf("soft reboot of what is not to be applied: SoftReboot and DownloadOnly: %w", ErrConflict)
	case opts.SoftReboot == SoftRebootRequired && !ostree.Supports(ostree.FeatureSoftReboot):
		return nil, "", fmt.Errorf("soft reboot: needs libostree 2025.3, have %s: %w", ostree.Version(), ostree.ErrUnsupported)
	case opts.SoftReboot == SoftRebootRequired && !booted:
		return nil, "", fmt.Errorf("soft reboot of sysroot %s: %w", sysroot.Path(), ostree.ErrNotBooted)
	case opts.DownloadOnly && !booted:
		return nil, "", fmt.Errorf("download only: in sysroot %s a new deployment is not staged: %w", sysroot.Path(), ostree.ErrNotBooted)
	}
	return opts, stateroot, nil
}

// target returns the image to upgrade to, and the deployment that says so.
func target(sysroot *ostree.Sysroot, stateroot string, opts *UpgradeOptions) (*ostree.Deployment, imageref.OSTreeImageReference, error) {
	from, ref, err := followed(sysroot, stateroot)
	if err == nil && opts.Tag != "" {
		ref.ImgRef, err = ref.ImgRef.WithTag(opts.Tag)
	}
	return from, ref, err
}

func update(ctx context.Context, sysroot *ostree.Sysroot, stateroot string, from *ostree.Deployment, ref imageref.OSTreeImageReference, opts *UpgradeOptions) (*Upgraded, error) {
	if from != nil {
		origin, err := from.Origin()
		if err != nil {
			return nil, err
		}
		if layered(origin) {
			return nil, fmt.Errorf("deployment %d (%s): %w would be lost: use rpm-ostree, or reset them first", from.Index(), name(from), ErrLayered)
		}
	}
	repo, err := sysroot.Repo() // the sysroot closes it
	if err != nil {
		return nil, err
	}
	up := &Upgraded{Image: ref, Stateroot: stateroot, Previous: stateOf(ctx, repo, from), Outcome: Deployed}
	booted := sysroot.BootedDeployment()
	if booted != nil {
		up.Outcome, up.Locked = Staged, opts.DownloadOnly
	}
	var softErr error
	then := func() { // with the lock that it was staged under: nobody has replaced it
		if up.Outcome == Staged || up.Outcome == AlreadyStaged {
			up.SoftReboot, softErr = softReboot(ctx, sysroot, opts)
		}
	}
	deploy := container.DeployOptions{PullOptions: opts.PullOptions, NoClean: opts.NoClean, Locked: opts.DownloadOnly, Then: then}
	deploy.MergeKargs = func(state *container.LayeredImageState, merge *ostree.Deployment) (list []string, err error) {
		if up.BoundImages, err = boundImages(ctx, repo, state.MergeCommit); err != nil {
			return nil, err
		}
		up.Again = deployedBefore(ctx, sysroot, repo, stateroot, from, state)
		base := merge
		if merge == nil { // the first of a stateroot, which would not find its root without those of the running system
			base = booted
		}
		if list, up.Kargs, err = mergeKargs(ctx, repo, base, state.MergeCommit, opts.Logger); err == nil && list == nil && base != merge {
			list = base.KernelArgs().Strings()
		}
		return list, err
	}
	deploy.Unless = func(state *container.LayeredImageState) (bool, error) {
		now := latest(sysroot, stateroot) // which may be another one than when it was not locked
		if (now == nil) != (from == nil) || now != nil && !now.Equal(from) {
			return false, fmt.Errorf("stateroot %q of sysroot %s: another process changed what it follows meanwhile; try again", stateroot, sysroot.Path())
		}
		follows, err := follows(ctx, repo, now, ref, state)
		if err != nil || now == nil {
			return false, err
		}
		if follows && now.IsStaged() {
			up.Outcome = AlreadyStaged
			up.LockChanged = container.FinalizationLocked(now) != opts.DownloadOnly
			if err := container.SetFinalizationLock(ctx, sysroot, opts.DownloadOnly); err != nil {
				return true, err
			}
			then()
			return true, nil
		}
		if !follows && now.IsStaged() && booted != nil { // what is staged is of no use any more, but that is not for us to say
			follows, err = isBootedImage(ctx, repo, booted, stateroot, ref, state)
		}
		if follows {
			up.Outcome, up.Locked = Unchanged, false
			if booted != nil && booted.Stateroot() == stateroot {
				up.Remedy = remedy(sysroot, booted)
			}
		}
		return follows, err
	}
	if up.State, err = container.Deploy(ctx, sysroot, stateroot, ref, &deploy); err != nil {
		return nil, err
	}
	return up, softErr
}

// deployedBefore returns the first deployment of an image in a stateroot that is neither booted nor staged nor from.
func deployedBefore(ctx context.Context, sysroot *ostree.Sysroot, repo *ostree.Repo, stateroot string, from *ostree.Deployment, state *container.LayeredImageState) *Change {
	for _, d := range sysroot.Deployments() {
		if d.Stateroot() == stateroot && !d.IsBooted() && !d.IsStaged() && (from == nil || !d.Equal(from)) &&
			isOf(d, stateOf(ctx, repo, d), state.MergeCommit, state.ManifestDigest) {
			c := changeOf(d)
			return &c
		}
	}
	return nil
}

func isBootedImage(ctx context.Context, repo *ostree.Repo, booted *ostree.Deployment, stateroot string, ref imageref.OSTreeImageReference, state *container.LayeredImageState) (bool, error) {
	if booted.Stateroot() != stateroot {
		return false, nil
	}
	return follows(ctx, repo, booted, ref, state)
}

// follows reports whether a deployment is of an image and names it in its origin.
func follows(ctx context.Context, repo *ostree.Repo, d *ostree.Deployment, ref imageref.OSTreeImageReference, state *container.LayeredImageState) (bool, error) {
	if d == nil {
		return false, nil
	}
	have, err := container.DeploymentImage(d)
	if err != nil || have == nil || *have != ref {
		return false, ctx.Err() // an origin that cannot be read is replaced
	}
	return isOf(d, stateOf(ctx, repo, d), state.MergeCommit, state.ManifestDigest), ctx.Err()
}

// isOf reports whether a deployment, whose state may be nil, is of an image.
func isOf(d *ostree.Deployment, state *container.LayeredImageState, commit string, manifest digest.Digest) bool {
	return d.Checksum() == commit || state != nil && state.ManifestDigest == manifest
}

// stateOf returns what is known of the image of a deployment, nil if nothing is.
func stateOf(ctx context.Context, repo *ostree.Repo, d *ostree.Deployment) *container.LayeredImageState {
	if d == nil {
		return nil
	}
	state, err := container.QueryMergeCommit(ctx, repo, d.Checksum())
	if err != nil {
		return nil
	}
	return state
}
