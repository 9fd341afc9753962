package host

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-openapi/strfmt"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ostree-container/ostree-container/container"
	"github.com/ostree-container/ostree-container/container/imageref"
	"github.com/ostree-container/ostree-container/keyfile"
	"github.com/ostree-container/ostree-container/ostree"
)

// ReadOptions are options of Read; nil means the default.
type ReadOptions struct {
	// Details adds kernel arguments and origins.
	Details bool
}

// Read returns the state of a host. The sysroot must be loaded; nothing is changed, and nothing is fetched. A deployment that cannot be
// understood has its Error set.
func Read(ctx context.Context, sysroot *ostree.Sysroot, opts *ReadOptions) (*Host, error) {
	if opts == nil {
		opts = &ReadOptions{}
	}
	repo, err := sysroot.Repo() // the sysroot closes it
	if err != nil {
		return nil, err
	}
	r := &reader{repo: repo, opts: opts}
	h := &Host{APIVersion: APIVersion, Kind: Kind, Metadata: Metadata{Name: "host"}, Spec: Spec{BootOrder: BootDefault}}
	h.Status.Sysroot, h.Status.Others = sysroot.Path(), []Entry{}
	booted := sysroot.BootedDeployment()
	for _, d := range sysroot.Deployments() {
		e, err := r.entry(ctx, d)
		if err != nil {
			return nil, err
		}
		switch {
		case d.IsStaged():
			h.Status.Staged = e
		case booted != nil && d.Equal(booted):
			h.Status.Booted = e
		case booted != nil && h.Status.Rollback == nil && d.Stateroot() == booted.Stateroot():
			h.Status.Rollback = e
			h.Status.RollbackQueued = h.Status.Booted == nil
		default:
			h.Status.Others = append(h.Status.Others, *e)
		}
	}
	if h.Status.RollbackQueued {
		h.Spec.BootOrder = BootRollback
	}
	stateroot, err := Stateroot(sysroot, "")
	if errors.Is(err, ErrNoDeployment) {
		return h, nil
	} else if err != nil {
		return nil, err
	}
	switch _, ref, err := followed(sysroot, stateroot); {
	case err == nil:
		image := referenceOf(ref)
		h.Spec.Image = &image
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	} // else the entry says it
	return h, nil
}

type reader struct {
	repo *ostree.Repo
	opts *ReadOptions
	seen bool // the deployment that is booted next
}

func (r *reader) entry(ctx context.Context, d *ostree.Deployment) (*Entry, error) {
	locked := container.FinalizationLocked(d)
	e := &Entry{
		Pinned: d.IsPinned(), DownloadOnly: locked, SoftRebootTarget: d.IsSoftRebootTarget(),
		OSTree: OSTree{Stateroot: d.Stateroot(), Checksum: d.Checksum(), DeploySerial: d.DeploySerial(), Index: d.Index()},
	}
	if !r.seen && !locked {
		e.NextBoot, r.seen = true, true
	}
	if can, err := d.CanSoftReboot(); err == nil {
		e.SoftRebootCapable = can && !d.IsBooted()
	} else if !errors.Is(err, ostree.ErrUnsupported) {
		return nil, err
	}
	origin, err := d.Origin()
	if err != nil {
		e.Error = err.Error()
		return e, nil //nolint:nilerr // part of what is told
	}
	e.Incompatible = layered(origin)
	if r.opts.Details {
		e.OSTree.KernelArgs = d.KernelArgs().Strings()
		if origin != nil {
			e.Origin = string(origin.Bytes())
		}
	}
	ref, err := container.DeploymentImage(d)
	if err != nil {
		e.Error = err.Error()
		return e, nil //nolint:nilerr // part of what is told
	}
	if ref == nil {
		return e, nil
	}
	store := StoreContainer
	e.Store = &store
	state, err := container.QueryMergeCommit(ctx, r.repo, d.Checksum())
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err != nil {
		e.Image, e.Error = &Image{Image: referenceOf(*ref)}, err.Error()
		return e, nil //nolint:nilerr // part of what is told
	}
	e.Image = imageOf(*ref, state.ManifestDigest, state.Version(), state.Config)
	if u := state.CachedUpdate; u != nil && u.ManifestDigest != state.ManifestDigest {
		e.CachedUpdate = imageOf(*ref, u.ManifestDigest, u.Version(), u.Config)
	}
	return e, nil
}

func imageOf(ref imageref.OSTreeImageReference, d digest.Digest, version string, config *ocispec.Image) *Image {
	image := &Image{Image: referenceOf(ref), ImageDigest: d, Architecture: config.Architecture, Timestamp: timeOf(config)}
	if version != "" {
		image.Version = &version
	}
	return image
}

func timeOf(config *ocispec.Image) *strfmt.DateTime {
	created := config.Created
	if created == nil {
		t, err := time.Parse(time.RFC3339, config.Config.Labels[ocispec.AnnotationCreated])
		if err != nil {
			return nil
		}
		created = &t
	}
	at := strfmt.DateTime(created.UTC())
	return &at
}

// layered reports whether rpm-ostree changes the tree of a deployment.
func layered(origin *keyfile.File) bool {
	if origin == nil {
		return false
	}
	for _, group := range []string{"rpmostree", "packages", "overrides", "modules"} {
		if origin.HasGroup(group) {
			return true
		}
	}
	return false
}

// Stateroot returns the stateroot that is meant where none is named (name is ""): that of the booted deployment, else that of the
// first one in boot order. ErrNoDeployment is returned if there is none.
func Stateroot(sysroot *ostree.Sysroot, name string) (string, error) {
	if name != "" {
		return name, nil
	}
	if booted := sysroot.BootedDeployment(); booted != nil {
		return booted.Stateroot(), nil
	}
	if list := sysroot.Deployments(); len(list) > 0 {
		return list[0].Stateroot(), nil
	}
	return "", fmt.Errorf("sysroot %s: %w", sysroot.Path(), ErrNoDeployment)
}

// latest is the deployment of a stateroot whose image is followed.
func latest(sysroot *ostree.Sysroot, stateroot string) *ostree.Deployment {
	if staged := sysroot.StagedDeployment(); staged != nil && staged.Stateroot() == stateroot {
		return staged
	}
	return sysroot.MergeDeployment(stateroot)
}

// followed returns the image that a stateroot follows, and the deployment that says it.
func followed(sysroot *ostree.Sysroot, stateroot string) (*ostree.Deployment, imageref.OSTreeImageReference, error) {
	var none imageref.OSTreeImageReference
	d := latest(sysroot, stateroot)
	if d == nil {
		return nil, none, fmt.Errorf("stateroot %q of sysroot %s: %w", stateroot, sysroot.Path(), ErrNoDeployment)
	}
	ref, err := container.DeploymentImage(d)
	if err != nil {
		return nil, none, err
	}
	if ref == nil {
		return nil, none, fmt.Errorf("deployment %d (%s): %w in its origin", d.Index(), name(d), ErrNoImage)
	}
	return d, *ref, nil
}

// name is how a deployment is called in messages and directories.
func name(d *ostree.Deployment) string {
	return fmt.Sprintf("%s %s.%d", d.Stateroot(), d.Checksum(), d.DeploySerial())
}
