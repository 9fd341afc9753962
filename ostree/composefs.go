package ostree

// #include "shim_newer.h"
import "C"

import (
	"context"
	"fmt"
)

// Verity says what to do about fs-verity of files that a composefs image names.
type Verity int

// Values of Verity.
const (
	VerityRequire Verity = iota // digests in the image; a file that has none is an error
	VerityMaybe                 // digests of the files that have one
	VerityNone                  // no digests
)

// c is libostree's number.
func (v Verity) c() (uint32, bool) {
	return [...]uint32{VerityRequire: 2, VerityMaybe: 1, VerityNone: 0}[max(0, min(v, VerityNone))], v >= VerityRequire && v <= VerityNone
}

// CheckoutComposefs writes the composefs image of a commit (64 hex digits) as the file name in the directory of the descriptor dirfd, or in
// the working directory if dirfd is AtCWD: metadata of all files, whose content stays in the repository's objects. A commit that states another digest
// (see Tree.ComposefsMetadata) is an error with VerityRequire. Needs libostree 2024.7; ErrUnsupported too where that was built without composefs.
//
// C: ostree_repo_checkout_composefs
func (r *Repo) CheckoutComposefs(ctx context.Context, verity Verity, dirfd int, name, commit string) error {
	var a arena
	defer a.free()
	op, csum, err := objectArgs("write composefs of", ObjectCommit, commit, &a)
	if err != nil {
		return err
	}
	fn := symbol(features[FeatureComposefs].symbol)
	if fn == nil {
		return unsupported(op, FeatureComposefs)
	}
	n, ok := verity.c()
	if !ok || !validName(name) {
		return fmt.Errorf("%s: %w: verity %d, name %q", op, ErrInvalidArgument, verity, name)
	}
	cname := a.str(name)
	opts, err := NewVariantDict().SetUint32("verity", n).Build()
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	return call(ctx, op, func(c *C.GCancellable, e **C.GError) C.gboolean {
		return C.shim_repo_checkout_composefs(fn, r.c(), opts.c(), C.int(dirfd), cname, csum, c, e)
	}, r.handle(), opts.handle())
}

// ComposefsMetadata returns metadata (an "a{sv}", nil for none) with the key "ostree.composefs.digest.v0" added: the fs-verity digest of
// the tree's composefs image. Needs libostree 2023.4; ErrUnsupported too where that was built without composefs.
//
// C: ostree_repo_commit_add_composefs_metadata
func (t *Tree) ComposefsMetadata(ctx context.Context, metadata *Variant) (*Variant, error) {
	const op = "composefs digest"
	fn := symbol(features[FeatureComposefsDigest].symbol)
	if fn == nil {
		return nil, unsupported(op, FeatureComposefsDigest)
	}
	return t.addMetadata(ctx, op, metadata, func(c *C.GCancellable, e **C.GError) *C.GVariant {
		return C.shim_composefs_metadata(fn, t.repo.c(), metadata.c(), t.file(), c, e)
	}, t.repo.handle())
}
