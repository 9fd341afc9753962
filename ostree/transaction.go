package ostree

// #include "shim.h"
import "C"

import (
	"context"
	"fmt"
	"strings"
	"sync"
)

// TransactionStats counts what a transaction did. Totals include objects that were there already.
type TransactionStats struct {
	MetadataObjectsTotal   uint   // dirtree, dirmeta and commit objects given
	MetadataObjectsWritten uint   // of them new
	ContentObjectsTotal    uint   // file objects given
	ContentObjectsWritten  uint   // of them new
	ContentBytesWritten    uint64 // bytes of new file content, uncompressed
	DevInoCacheHits        uint   // files whose checksum came from a DevInoCache
}

// Transaction groups the writing of objects and refs of one Repo: after Commit
// all of it is on disk, after Abort refs are as before. While it is open, the
// Repo's Write methods may be called from several goroutines at once; Begin,
// Commit and Abort may not run beside them. An open transaction blocks the next, so
//
//	tx, err := repo.Begin(ctx)
//	...
//	defer tx.Abort() // no-op after Commit
type Transaction struct {
	repo    *Repo
	mu      sync.Mutex
	done    bool
	resumed bool
}

// Begin opens a transaction. It waits for the repository's lock while a prune
// runs, here or in another process, and returns ErrTransactionActive if this
// Repo has one open (another Repo of the same directory may have its own).
//
// C: ostree_repo_prepare_transaction
func (r *Repo) Begin(ctx context.Context) (*Transaction, error) {
	if r != nil && !r.inTxn.CompareAndSwap(false, true) {
		return nil, fmt.Errorf("begin transaction: %w", ErrTransactionActive)
	}
	var resume C.gboolean
	err := call(ctx, "begin transaction", func(c *C.GCancellable, e **C.GError) C.gboolean {
		return C.ostree_repo_prepare_transaction(r.c(), &resume, c, e)
	}, r.handle())
	if err != nil {
		if r != nil {
			// A failure halfway leaves libostree inside the transaction.
			r.with(func(c *C.OstreeRepo) { C.ostree_repo_abort_transaction(c, nil, nil) })
			r.inTxn.Store(false)
		}
		return nil, err
	}
	return &Transaction{repo: r, resumed: resume != 0}, nil
}

// Resumed reports whether objects of an interrupted transaction were found and are kept.
func (t *Transaction) Resumed() bool { return t.resumed }

// SetRef points a ref at a commit when the transaction is committed. remote "" means a
// local ref; checksum "" deletes the ref. Safe for concurrent use.
//
// C: ostree_repo_transaction_set_ref
func (t *Transaction) SetRef(remote, ref, checksum string) error {
	op := "set ref " + ref
	if err := checkRef(remote, ref, checksum); err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	var a arena
	defer a.free()
	cremote, cref, csum := a.opt(remote), a.str(ref), a.opt(checksum)
	return t.set(op, func(repo *C.OstreeRepo) { C.ostree_repo_transaction_set_ref(repo, cremote, cref, csum) })
}

// SetRefspec is SetRef for "ref" or "remote:ref". Safe for concurrent use.
//
// C: ostree_repo_transaction_set_refspec
func (t *Transaction) SetRefspec(refspec, checksum string) error {
	op := "set ref " + refspec
	remote, ref, ok := strings.Cut(refspec, ":")
	if !ok {
		remote, ref = "", refspec
	}
	if err := checkRef(remote, ref, checksum); err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	var a arena
	defer a.free()
	cspec, csum := a.str(refspec), a.opt(checksum)
	return t.set(op, func(repo *C.OstreeRepo) { C.ostree_repo_transaction_set_refspec(repo, cspec, csum) })
}

// ScanHardlinks looks at the loose objects of the repository, so that a directory with hardlinks to them is committed without reading
// these files again: for checkouts made without a DevInoCache. In bare repositories only.
//
// C: ostree_repo_scan_hardlinks
func (t *Transaction) ScanHardlinks(ctx context.Context) error {
	const op = "scan hardlinks"
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.done {
		return fmt.Errorf("%s: %w", op, ErrNoTransaction)
	}
	return call(ctx, op, func(c *C.GCancellable, e **C.GError) C.gboolean {
		return C.ostree_repo_scan_hardlinks(t.repo.c(), c, e)
	}, t.repo.handle())
}

// set queues what Commit will do.
func (t *Transaction) set(op string, fn func(*C.OstreeRepo)) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.done {
		return fmt.Errorf("%s: %w", op, ErrNoTransaction)
	}
	return callFast(context.Background(), op, func(**C.GError) C.gboolean {
		fn(t.repo.c())
		return 1
	}, t.repo.handle())
}

// Commit syncs the objects to disk and then sets the refs. If it fails or is cancelled
// the transaction stays open, to be aborted.
//
// C: ostree_repo_commit_transaction
func (t *Transaction) Commit(ctx context.Context) (TransactionStats, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.done {
		return TransactionStats{}, fmt.Errorf("commit transaction: %w", ErrNoTransaction)
	}
	var s C.OstreeRepoTransactionStats
	err := call(ctx, "commit transaction", func(c *C.GCancellable, e **C.GError) C.gboolean {
		return C.ostree_repo_commit_transaction(t.repo.c(), &s, c, e)
	}, t.repo.handle())
	if err != nil {
		return TransactionStats{}, err
	}
	t.finish()
	return TransactionStats{
		MetadataObjectsTotal:   uint(s.metadata_objects_total),
		MetadataObjectsWritten: uint(s.metadata_objects_written),
		ContentObjectsTotal:    uint(s.content_objects_total),
		ContentObjectsWritten:  uint(s.content_objects_written),
		ContentBytesWritten:    uint64(s.content_bytes_written),
		DevInoCacheHits:        uint(s.devino_cache_hits),
	}, nil
}

// Abort drops the transaction; after Commit or Abort it does nothing. It is not
// cancellable, so that it can always clean up.
//
// C: ostree_repo_abort_transaction
func (t *Transaction) Abort() error {
	if t == nil {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.done {
		return nil
	}
	defer t.finish()
	return call(context.Background(), "abort transaction", func(_ *C.GCancellable, e **C.GError) C.gboolean {
		return C.ostree_repo_abort_transaction(t.repo.c(), nil, e)
	}, t.repo.handle())
}

func (t *Transaction) finish() {
	t.done = true
	t.repo.inTxn.Store(false)
}

// LockType is how a repository is locked.
type LockType int

// Kinds of repository lock.
const (
	LockShared    LockType = C.OSTREE_REPO_LOCK_SHARED    // writers of objects and refs
	LockExclusive LockType = C.OSTREE_REPO_LOCK_EXCLUSIVE // who deletes objects
)

// RepoLock is a lock held on a repository, against other processes and other Repos.
type RepoLock struct {
	repo *Repo
	typ  LockType
	mu   sync.Mutex
	done bool
}

// Lock takes the repository's lock, waiting as long as core.lock-timeout-secs
// says (by default 30 seconds, from libostree 2023.6 on 300). Locks
// of one Repo nest and never exclude each other. ErrWouldBlock is returned when
// the time is over. Unlock gives it back. Nothing is locked where the user cannot
// write to the repository, or its config turns locking off (core.locking).
//
// C: ostree_repo_lock_push
func (r *Repo) Lock(ctx context.Context, t LockType) (*RepoLock, error) {
	if t != LockShared && t != LockExclusive {
		return nil, fmt.Errorf("lock repository: %w: type %d", ErrInvalidArgument, t)
	}
	err := call(ctx, "lock repository", func(c *C.GCancellable, e **C.GError) C.gboolean {
		return C.ostree_repo_lock_push(r.c(), C.OstreeRepoLockType(t), c, e)
	}, r.handle())
	if err != nil {
		return nil, err
	}
	return &RepoLock{repo: r, typ: t}, nil
}

// Unlock gives the lock back; a second call does nothing.
//
// C: ostree_repo_lock_pop
func (l *RepoLock) Unlock() error {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.done {
		return nil
	}
	l.done = true
	return call(context.Background(), "unlock repository", func(c *C.GCancellable, e **C.GError) C.gboolean {
		return C.ostree_repo_lock_pop(l.repo.c(), C.OstreeRepoLockType(l.typ), c, e)
	}, l.repo.handle())
}
