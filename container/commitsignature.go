package container

import (
	"context"
	"errors"
	"fmt"

	"github.com/ostree-container/ostree-container/container/imageref"
	"github.com/ostree-container/ostree-container/container/objectset"
	"github.com/ostree-container/ostree-container/ostree"
)

// ErrNotVerifiable: the reference asks for a commit signed for an ostree remote, and the image holds no ostree commit, or one without
// signatures.
var ErrNotVerifiable = errors.New("image cannot be verified through an ostree remote")

// ostreeRemote returns the remote whose keys must have signed the base commit.
func ostreeRemote(ref imageref.OSTreeImageReference) (string, bool) {
	return ref.SigVerify.Remote, ref.SigVerify.Kind == imageref.SignatureOSTreeRemote
}

// checkVerifiable refuses what the reference's remote cannot have signed. Layers on top of the base are not covered by its signature,
// as with the reference implementation.
func (i *Importer) checkVerifiable(layers []LayerState) error {
	return i.checkBase(layers[0].Kind == LayerCommit)
}

// checkBase is checkVerifiable for an image of which only that is known.
func (i *Importer) checkBase(hasBase bool) error {
	remote, ok := ostreeRemote(i.ref)
	if !ok || hasBase {
		return nil
	}
	return fmt.Errorf("%w: %s holds no ostree commit that %q could have signed", ErrNotVerifiable, i.ref.ImgRef, remote)
}

// commitVerifier checks the signatures of a base commit before it is stored; nil where the reference does not ask for it.
func (i *Importer) commitVerifier() objectset.Verifier {
	remote, ok := ostreeRemote(i.ref)
	if !ok {
		return nil
	}
	return func(ctx context.Context, commit, detached []byte) (string, error) {
		return i.repo.SignatureVerifyCommitData(ctx, remote, commit, detached, ostree.VerifyAll)
	}
}

// verifyStoredBase checks the signatures of a base commit that is in the repository already: it may have come there without.
func (i *Importer) verifyStoredBase(ctx context.Context, l *LayerState) (string, error) {
	if l.Kind != LayerCommit || l.Commit == "" {
		return "", nil
	}
	return i.verifyStored(ctx, l.Commit)
}

// verifyStored is verifyStoredBase for a commit.
func (i *Importer) verifyStored(ctx context.Context, checksum string) (string, error) {
	verify := i.commitVerifier()
	if verify == nil {
		return "", nil
	}
	commit, err := i.repo.LoadVariantBytes(ctx, ostree.ObjectCommit, checksum)
	if err != nil {
		return "", err
	}
	detached, err := i.repo.ReadDetachedMetadata(ctx, checksum)
	if err != nil {
		return "", err
	}
	if detached == nil {
		return "", fmt.Errorf("%w: commit %s has no signatures", ErrNotVerifiable, checksum)
	}
	text, err := verify(ctx, commit, detached.Bytes())
	if err != nil {
		return "", fmt.Errorf("verify commit %s: %w", checksum, err)
	}
	return text, nil
}
