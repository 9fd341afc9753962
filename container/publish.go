package container

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/ostree-container/ostree-container/container/internal/objstore"
	"github.com/ostree-container/ostree-container/container/objectset"
	"github.com/ostree-container/ostree-container/ostree"
)

const commitType = "(a{sv}aya(say)sstayay)"

// publishCommit stores a commit whose objects have been imported, when all that it needs is there. No ref is set.
func publishCommit(ctx context.Context, repo *ostree.Repo, store *objstore.Store, log *slog.Logger, c *objectset.CommitLayer) error {
	if err := store.Publish(ctx, nil); err != nil {
		return err
	}
	variant, err := ostree.VariantFromBytes(commitType, c.Data)
	if err != nil {
		return fmt.Errorf("commit %s: %w", c.Checksum, err)
	}
	commit, err := ostree.ParseCommit(variant)
	if err != nil {
		return fmt.Errorf("commit %s: %w", c.Checksum, err)
	}
	tree, meta, err := rootOf(commit)
	if err != nil {
		return err
	}
	if err := newCompleteness(repo, store).check(ctx, tree, meta); err != nil {
		return fmt.Errorf("commit %s: %w", c.Checksum, err)
	}
	sum, err := store.Metadata(ctx, ostree.ObjectCommit, c.Checksum, c.Data)
	if err != nil {
		return err
	}
	if err := store.Publish(ctx, nil); err != nil {
		return err
	}
	if c.Detached != nil {
		if err := mergeDetached(ctx, repo, log, c); err != nil {
			return fmt.Errorf("detached metadata of commit %s: %w", sum, err)
		}
	}
	_, state, err := repo.LoadCommit(ctx, sum.String())
	if err == nil && state&ostree.CommitPartial != 0 { // left by an interrupted pull of another tool
		err = repo.MarkCommitPartial(ctx, sum.String(), ostree.NotPartial)
	}
	return err
}
