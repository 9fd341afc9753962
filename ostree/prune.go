package ostree

// #include "shim.h"
import "C"

import (
	"context"
	"fmt"
	"math"
)

// PruneFlags choose what Prune looks at and does; they combine.
type PruneFlags int

// Flags of Prune.
const (
	PruneNone       PruneFlags = C.OSTREE_REPO_PRUNE_FLAGS_NONE        // keep what any commit reaches, with a ref or not
	PruneNoPrune    PruneFlags = C.OSTREE_REPO_PRUNE_FLAGS_NO_PRUNE    // only count
	PruneRefsOnly   PruneFlags = C.OSTREE_REPO_PRUNE_FLAGS_REFS_ONLY   // keep what refs reach
	PruneCommitOnly PruneFlags = C.OSTREE_REPO_PRUNE_FLAGS_COMMIT_ONLY // delete commit objects only
)

// PruneStats counts what Prune found and deleted.
type PruneStats struct {
	Total  int    // objects looked at
	Pruned int    // objects deleted, or to be deleted with PruneNoPrune
	Size   uint64 // their size in bytes
}

// Prune deletes objects that are not reachable. depth is how many parents of each commit to
// keep: 0 none, -1 all. It holds the repository's exclusive lock; not while this Repo has a transaction open.
//
// C: ostree_repo_prune
func (r *Repo) Prune(ctx context.Context, flags PruneFlags, depth int) (PruneStats, error) {
	const op = "prune repository"
	if depth < -1 || depth > math.MaxInt32 {
		return PruneStats{}, fmt.Errorf("%s: %w: depth %d", op, ErrInvalidArgument, depth)
	}
	var total, pruned C.gint
	var size C.guint64
	err := call(ctx, op, func(c *C.GCancellable, e **C.GError) C.gboolean {
		return C.ostree_repo_prune(r.c(), C.OstreeRepoPruneFlags(flags), C.gint(depth), &total, &pruned, &size, c, e)
	}, r.handle())
	return PruneStats{Total: int(total), Pruned: int(pruned), Size: uint64(size)}, err
}

// PruneFromReachable deletes every object that is not in keep. PruneRefsOnly has no meaning here. Hold LockExclusive from before the
// set was gathered.
//
// C: ostree_repo_prune_from_reachable
func (r *Repo) PruneFromReachable(ctx context.Context, flags PruneFlags, keep *ReachableSet) (PruneStats, error) {
	const op = "prune repository"
	if keep == nil {
		return PruneStats{}, fmt.Errorf("%s: %w: no set", op, ErrInvalidArgument)
	}
	var total, pruned C.gint
	var size C.guint64
	err := call(ctx, op, func(c *C.GCancellable, e **C.GError) C.gboolean {
		o := C.OstreeRepoPruneOptions{flags: C.OstreeRepoPruneFlags(flags), reachable: keep.c()}
		return C.ostree_repo_prune_from_reachable(r.c(), &o, &total, &pruned, &size, c, e)
	}, r.handle(), keep.handle())
	return PruneStats{Total: int(total), Pruned: int(pruned), Size: uint64(size)}, err
}

// PruneStaticDeltas deletes the static deltas to commits that are not there (commit ""), or
// those to one commit only.
//
// C: ostree_repo_prune_static_deltas
func (r *Repo) PruneStaticDeltas(ctx context.Context, commit string) error {
	const op = "prune static deltas"
	if commit != "" {
		if err := ValidateChecksum(commit); err != nil {
			return fmt.Errorf("%s: %w", op, err)
		}
	}
	var a arena
	defer a.free()
	csum := a.opt(commit)
	return call(ctx, op, func(c *C.GCancellable, e **C.GError) C.gboolean {
		return C.ostree_repo_prune_static_deltas(r.c(), csum, c, e)
	}, r.handle())
}
