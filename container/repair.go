package container

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/ostree-container/ostree-container/container/imageref"
	"github.com/ostree-container/ostree-container/ostree"
)

// ErrCorruptImages: images have files that are not those of their layers.
var ErrCorruptImages = errors.New("Found corruption in images") //nolint:staticcheck // the reference's text

// RepairResult is what AnalyzeForRepair found. Its JSON is that of ostree-rs-ext.
type RepairResult struct {
	Inodes       InodeCheck `json:"inodes"`
	Corrupted    []string   `json:"likely-corrupted-container-image-merges"` // image references
	BootedIsBad  bool       `json:"booted-is-likely-corrupted"`
	StagedIsBad  bool       `json:"staged-is-likely-corrupted"`
	ImagesLooked int        `json:"-"` // how many images were verified
}

// RepairOptions are options of AnalyzeForRepair and Repair; nil means the default.
type RepairOptions struct {
	Collision func(InodeCollision)                         // called for each; nil: not at all
	Verified  func(imageref.ImageReference, *Verification) // called for each image; nil: not at all
	Logger    *slog.Logger                                 // nil: silent

	number func(*unix.Stat_t) uint64 // tests replace it
}

// AnalyzeForRepair looks for the damage that CheckInodes describes: where inode numbers collide, the merge commit of each image is
// compared with its layers. The lock of the sysroot is taken.
func AnalyzeForRepair(ctx context.Context, sysroot *ostree.Sysroot, opts *RepairOptions) (*RepairResult, error) {
	if opts == nil {
		opts = &RepairOptions{}
	}
	repo, unlock, err := lockedRepo(ctx, sysroot, opts.Logger)
	if err != nil {
		return nil, err
	}
	defer unlock()
	return analyze(ctx, sysroot, repo, opts)
}

func analyze(ctx context.Context, sysroot *ostree.Sysroot, repo *ostree.Repo, opts *RepairOptions) (_ *RepairResult, err error) {
	unlock, err := share(ctx, repo) // see VerifyImage
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	number := opts.number
	if number == nil {
		number = func(st *unix.Stat_t) uint64 { return st.Ino }
	}
	check, err := checkInodes(ctx, repo, opts.Collision, number)
	if err != nil {
		return nil, err
	}
	result := &RepairResult{Inodes: *check, Corrupted: []string{}}
	if len(check.Collisions) == 0 {
		return result, nil
	}
	images, err := ListImages(ctx, repo)
	if err != nil {
		return nil, err
	}
	for _, text := range images {
		ref, err := imageref.Parse(text)
		if err != nil {
			return nil, err
		}
		state, err := QueryImage(ctx, repo, ref)
		if err != nil {
			return nil, err
		}
		v, err := verifyState(ctx, repo, state, check.Collisions, number)
		if err != nil {
			return nil, fmt.Errorf("verify image %s: %w", ref, err)
		}
		result.ImagesLooked++
		if opts.Verified != nil {
			opts.Verified(ref, v)
		}
		if v.OK() {
			continue
		}
		result.Corrupted = append(result.Corrupted, text)
		if d := sysroot.BootedDeployment(); d != nil && d.Checksum() == state.MergeCommit {
			result.BootedIsBad = true
		}
		if d := sysroot.StagedDeployment(); d != nil && d.Checksum() == state.MergeCommit {
			result.StagedIsBad = true
		}
	}
	return result, nil
}

// Check returns an error that wraps ErrCorruptImages if anything is to be repaired.
func (r *RepairResult) Check() error {
	if len(r.Corrupted) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %d", ErrCorruptImages, len(r.Corrupted))
}

// Repair removes the images that AnalyzeForRepair finds damaged, so that the next pull merges them anew from their layers; the layers
// stay. A deployment of such an image is not touched: that the booted or the staged one is damaged is an error which says what to do,
// after the images were removed. The lock of the sysroot is taken once for both.
func Repair(ctx context.Context, sysroot *ostree.Sysroot, opts *RepairOptions) (*RepairResult, error) {
	if opts == nil {
		opts = &RepairOptions{}
	}
	repo, unlock, err := lockedRepo(ctx, sysroot, opts.Logger)
	if err != nil {
		return nil, err
	}
	defer unlock()
	result, err := analyze(ctx, sysroot, repo, opts)
	if err != nil {
		return nil, err
	}
	for _, text := range slices.Clone(result.Corrupted) {
		ref, err := imageref.Parse(text)
		if err != nil {
			return result, err
		}
		if _, err := RemoveImages(ctx, repo, []imageref.ImageReference{ref}); err != nil {
			return result, fmt.Errorf("Repairing: %w", err) //nolint:staticcheck // the reference's text
		}
	}
	switch {
	case result.BootedIsBad:
		return result, fmt.Errorf("%w: the booted deployment is one of them: deploy its image again and reboot", ErrCorruptImages)
	case result.StagedIsBad:
		return result, fmt.Errorf("%w: the staged deployment is one of them: deploy its image again", ErrCorruptImages)
	}
	return result, nil
}
