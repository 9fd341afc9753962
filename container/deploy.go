package container

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ostree-container/ostree-container/container/imageref"
	"github.com/ostree-container/ostree-container/container/registry"
	"github.com/ostree-container/ostree-container/keyfile"
	"github.com/ostree-container/ostree-container/ostree"
)

// OriginContainer is the key in the group [origin] of a deployment's origin that holds an image reference.
const OriginContainer = "container-image-reference"

// StaterootDefault is the name of the default stateroot.
const StaterootDefault = "default"

// PullOptions say how an image is imported where that is only a part of the work. Each field is that of ImporterOptions.
type PullOptions struct {
	Registry    *registry.Options // credentials, TLS and policy; nil: the defaults of ImporterOptions
	Strict      bool              // refuse layers with devices, FIFOs and the like
	IgnoreSpace bool              // fetch even if the compressed layers alone do not fit
	KeepBlobs   bool              // keep manifest, config and layers as they were fetched
	Jobs        int               // layers worked on at once; 0: 6
	Progress    func(Event)       // called with one event at a time; nil: not at all
	Logger      *slog.Logger      // gets what is of interest but no error; nil: silent
}

// DeployOptions are options of Deploy; nil means the default.
type DeployOptions struct {
	PullOptions

	// Kargs replaces the whole kernel command line. Nil: that of the merge deployment is kept.
	Kargs []string
	// TargetImgref is the image that the host follows from now on, if it is not the one that is deployed.
	TargetImgref *imageref.OSTreeImageReference
	// NoImgref writes no ref for the image, only for its layers. ListImages does not list such an image, and it goes when its last
	// deployment goes.
	NoImgref bool
	// NoClean leaves old deployments, boot files and objects.
	NoClean bool
	// Locked keeps a staged deployment from being applied at shutdown, until SetFinalizationLock. Only on a booted host.
	Locked bool
	// Unless is called once the image is in the repository, while the lock of the sysroot is held; true: no deployment is made of it.
	// Nil: one is made, also of an image that is deployed already.
	Unless func(*LayeredImageState) (bool, error)
	// MergeKargs is called for the kernel command line if Kargs is nil, after Unless and while the lock of the sysroot is held. Where it
	// returns nil, that of the merge deployment is kept. merge is nil where there is none: the first deployment of a stateroot.
	MergeKargs func(state *LayeredImageState, merge *ostree.Deployment) ([]string, error)
	// Then is called once the deployment is staged or written, while the lock of the sysroot is still held; not if Unless was true.
	Then func()
}

// Deploy imports an image into the sysroot's repository and makes a deployment of it: staged if the sysroot is booted, written at
// once otherwise. The image must be bootable on this architecture, and the stateroot must exist. The sysroot must be loaded; its
// lock is held throughout.
func Deploy(ctx context.Context, sysroot *ostree.Sysroot, stateroot string, ref imageref.OSTreeImageReference, opts *DeployOptions) (*LayeredImageState, error) {
	if opts == nil {
		opts = &DeployOptions{}
	}
	if opts.Locked && sysroot.BootedDeployment() == nil {
		return nil, fmt.Errorf("lock a deployment in sysroot %s: only what is staged can be locked: %w", sysroot.Path(), ostree.ErrNotBooted)
	}
	state, err := deploy(ctx, sysroot, stateroot, ref, opts)
	if err != nil {
		return nil, fmt.Errorf("Performing deployment: %w", err) //nolint:staticcheck // the reference's text
	}
	return state, nil
}

func deploy(ctx context.Context, sysroot *ostree.Sysroot, stateroot string, ref imageref.OSTreeImageReference, opts *DeployOptions) (state *LayeredImageState, err error) {
	repo, unlock, err := lockedRepo(ctx, sysroot, opts.Logger)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := checkStateroot(sysroot, stateroot); err != nil {
		return nil, err
	}
	// This lock is all that keeps a merge commit without a ref, and its layers, from the prunes and collections of other processes
	// until the deployment is written.
	lock, err := repo.Lock(ctx, ostree.LockShared)
	if err != nil {
		return nil, fmt.Errorf("lock repository %s: %w", repo.Path(), err)
	}
	var imp *Importer
	defer func() {
		err = errors.Join(err, lock.Unlock())
		if imp != nil {
			imp.dropReplaced(ctx)
		}
	}()
	if state, imp, err = importFor(ctx, sysroot, repo, ref, opts); err != nil {
		return nil, err
	}
	if opts.Unless != nil {
		if done, err := opts.Unless(state); err != nil || done {
			return state, err
		}
	}
	p := &progress{emit: opts.Progress}
	if err := writeDeployment(ctx, sysroot, p, stateroot, state, ref, opts); err != nil {
		return nil, err
	}
	if opts.Then != nil {
		opts.Then()
	}
	if opts.NoClean || sysroot.BootedDeployment() != nil {
		return state, nil
	}
	done := p.phase(PhaseCleanup)
	err = sysroot.PrepareCleanup(ctx) // writes the refs of deployments, too
	if err == nil {
		err = lock.Unlock()
	}
	if err == nil {
		err = pruneAfterDeploy(ctx, sysroot, opts.Logger)
	}
	if err != nil {
		return nil, fmt.Errorf("the image is deployed, but: %w", err)
	}
	imp.relabelledLayers = nil // what they replaced is pruned as well
	done()
	return state, nil
}

// writeDeployment makes a deployment of an image.
func writeDeployment(ctx context.Context, sysroot *ostree.Sysroot, p *progress, stateroot string, state *LayeredImageState, ref imageref.OSTreeImageReference, opts *DeployOptions) error {
	if opts.TargetImgref != nil {
		ref = *opts.TargetImgref
	}
	origin := keyfile.New()
	if err := origin.SetString("origin", OriginContainer, ref.String()); err != nil {
		return fmt.Errorf("origin: %w", err)
	}
	done := p.phase(PhaseDeploy)
	merge := sysroot.MergeDeployment(stateroot)
	tree := &ostree.DeployTreeOptions{OverrideKernelArgv: opts.Kargs}
	if opts.Kargs == nil && opts.MergeKargs != nil {
		kargs, err := opts.MergeKargs(state, merge)
		if err != nil {
			return err
		}
		tree.OverrideKernelArgv = kargs
	}
	if sysroot.BootedDeployment() != nil {
		if err := stage(ctx, sysroot, stateroot, state.MergeCommit, origin, merge, tree, opts.Locked); err != nil {
			return withDamage(ctx, sysroot, state.MergeCommit, err)
		}
		done()
		return nil
	}
	deployment, err := sysroot.DeployTreeWithOptions(ctx, stateroot, state.MergeCommit, origin, merge, tree)
	if err != nil {
		return withDamage(ctx, sysroot, state.MergeCommit, err)
	}
	// Cleaning up is the caller's.
	if err := sysroot.SimpleWriteDeployment(ctx, stateroot, deployment, merge, ostree.SimpleWriteNoClean); err != nil {
		if now, nowErr := DeploymentsOnDisk(ctx, sysroot); nowErr == nil && slices.ContainsFunc(now, deployment.Equal) {
			err = fmt.Errorf("the image is deployed, but: %w", err)
		}
		return err
	}
	done()
	return nil
}

// withDamage adds to an error about a commit that could not be checked out what is wrong with the commit, if something is: libostree's composefs
// says only that something is.
func withDamage(ctx context.Context, sysroot *ostree.Sysroot, commit string, err error) error {
	repo, repoErr := sysroot.Repo()
	if ctx.Err() != nil || repoErr != nil {
		return err
	}
	tree, meta, damage := repoLoader{repo}.Root(ctx, commit)
	if damage == nil {
		damage = newCompleteness(repo, nil).check(ctx, tree, meta)
	}
	if damage != nil {
		return fmt.Errorf("%w: %w", err, damage)
	}
	return err
}

// DeploymentsOnDisk returns the deployments, in boot order, as somebody reads them who has not seen them yet, also where ctx has ended: libostree
// reads them again only if the time of ostree/deploy has changed, and may fail before it does that.
func DeploymentsOnDisk(ctx context.Context, sysroot *ostree.Sysroot) (_ []*ostree.Deployment, err error) {
	fresh, err := ostree.NewSysroot(sysroot.Path())
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, fresh.Close()) }()
	if err := fresh.Load(context.WithoutCancel(ctx)); err != nil {
		return nil, err
	}
	return fresh.Deployments(), nil
}

// CleanupSysroot removes deployments, boot files and objects that no deployment and no ref needs. The caller holds the lock of the
// sysroot; logger may be nil.
func CleanupSysroot(ctx context.Context, sysroot *ostree.Sysroot, logger *slog.Logger) error {
	if err := sysroot.PrepareCleanup(ctx); err != nil { // writes the refs of deployments, too
		return err
	}
	return pruneAfterDeploy(ctx, sysroot, logger)
}

// pruneAfterDeploy is the second half of ostree_sysroot_cleanup, which would print to standard output what it freed. The deployment
// is written by then: that the repository is busy does not make it fail.
func pruneAfterDeploy(ctx context.Context, sysroot *ostree.Sysroot, logger *slog.Logger) error {
	logger = orSilent(logger)
	repo, err := sysroot.Repo() // the sysroot closes it
	if err != nil {
		return err
	}
	stats, err := pruneObjects(ctx, sysroot, repo, nil)
	if errors.Is(err, ostree.ErrWouldBlock) { // the next prune does it
		logger.Warn("objects that nothing needs any more were not pruned", "sysroot", sysroot.Path(), "error", err)
		return nil
	}
	logger.Debug("pruned objects that nothing needs any more", "count", stats.Pruned, "bytes", stats.Size)
	return err
}

// importFor imports the image. What is deployed now is not collected, and neither are the layers of this image before its own
// deployment keeps them. When the repository is not locked any more dropReplaced is to be called.
func importFor(ctx context.Context, sysroot *ostree.Sysroot, repo *ostree.Repo, ref imageref.OSTreeImageReference, opts *DeployOptions) (_ *LayeredImageState, _ *Importer, err error) {
	imp, err := NewImporter(repo, ref, &ImporterOptions{
		Registry: opts.Registry, Target: opts.TargetImgref, NoImgref: opts.NoImgref, RequireBootable: true, Strict: opts.Strict,
		IgnoreSpace: opts.IgnoreSpace, KeepBlobs: opts.KeepBlobs, Jobs: opts.Jobs, KeepCommits: deployedCommits(sysroot), Progress: opts.Progress, Logger: opts.Logger,
	})
	if err != nil {
		return nil, nil, fmt.Errorf("Creating importer: %w", err) //nolint:staticcheck // the reference's text
	}
	imp.keepReplaced = true // it would wait for the lock that is held here
	defer func() { err = errors.Join(err, imp.Close()) }()
	prepared, err := imp.Prepare(ctx)
	if err != nil {
		return nil, nil, err
	}
	if prepared.AlreadyPresent != nil {
		return prepared.AlreadyPresent, imp, checkBootable(ref.ImgRef, prepared.AlreadyPresent.Config)
	}
	state, err := imp.Import(ctx, prepared.Ready)
	return state, imp, err
}

func checkStateroot(sysroot *ostree.Sysroot, stateroot string) error {
	if stateroot != "" && stateroot != "." && stateroot != ".." && !strings.ContainsAny(stateroot, "/\x00") {
		var st unix.Stat_t
		err := unix.Fstatat(sysroot.FD(), "ostree/deploy/"+stateroot, &st, 0)
		if err == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR {
			return nil
		}
	}
	return fmt.Errorf("%w: %q in sysroot %s; make it with: ostree admin os-init --sysroot=%s %s", ErrNoStateroot, stateroot, sysroot.Path(), sysroot.Path(), stateroot)
}

// DeploymentImage returns the image that a deployment follows, nil if it follows none.
func DeploymentImage(d *ostree.Deployment) (*imageref.OSTreeImageReference, error) {
	origin, err := d.Origin()
	if err != nil || origin == nil {
		return nil, err
	}
	text, err := origin.String("origin", OriginContainer)
	if errors.Is(err, keyfile.ErrKeyNotFound) || errors.Is(err, keyfile.ErrGroupNotFound) {
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("origin of deployment %s.%d: %w", d.Checksum(), d.DeploySerial(), err)
	}
	ref, err := imageref.ParseOSTree(text)
	if err != nil {
		return nil, fmt.Errorf("origin of deployment %s.%d: %w", d.Checksum(), d.DeploySerial(), err)
	}
	return &ref, nil
}
