package ostree

// #include "shim_pull.h"
import "C"

import (
	"context"
	"fmt"
	"path/filepath"
	"runtime/cgo"
)

// Pull fetches refs (or commits by checksum) from a remote, by name or URL; no refs means the
// branches of the remote's config, or opts.CollectionRefs. It must not run in a transaction, except opts.Transaction: ErrTransactionActive.
// It returns ErrNotFound for a remote that is not configured. With ctx done it ends when requests under way have: one that a server does not
// answer takes 30 seconds.
//
// C: ostree_repo_pull_with_options, ostree_async_progress_new_and_connect, ostree_async_progress_get
func (r *Repo) Pull(ctx context.Context, remote string, refs []string, opts *PullOptions) error {
	op := "pull from " + remote
	v, err := opts.build(refs)
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	if opts == nil {
		opts = &PullOptions{}
	}
	var a arena
	defer a.free()
	cremote := a.str(remote)
	if a.err != nil {
		return fmt.Errorf("%s: %w", op, a.err)
	}
	state, owners := opts.state([]*handle{r.handle(), v.handle()})
	cb, ch := newPullCallback(opts.Progress)
	defer cb.delete()
	err = r.withTransaction(op, opts.Transaction, func() error {
		return call(ctx, op, func(c *C.GCancellable, e **C.GError) C.gboolean {
			return C.shim_pull(r.c(), cremote, v.c(), ch, state, c, e)
		}, owners...)
	})
	cb.repanic()
	return err
}

// PullLocal copies refs (or commits by checksum; none means all refs, those of its remotes not) from the repository at a path, with hardlinks
// where that is possible. Unless opts.GPGVerify is set, signatures of commits are not checked, and those of the summary only if
// opts.GPGVerifySummary asks for it. If it is set, to false perhaps, the checks are those of Pull; they need opts.OverrideRemoteName.
//
// C: ostree_repo_pull_with_options
func (r *Repo) PullLocal(ctx context.Context, path string, refs []string, opts *PullOptions) error {
	op := "pull from " + path
	abs, err := filepath.Abs(path)
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	var o PullOptions
	if opts != nil {
		o = *opts
	}
	if len(refs) == 0 && o.CollectionRefs == nil {
		src, err := OpenRepo(ctx, abs)
		if err != nil {
			return fmt.Errorf("%s: %w", op, err)
		}
		defer src.Close()
		all, err := src.listRefs(ctx, "", C.OSTREE_REPO_LIST_REFS_EXT_EXCLUDE_REMOTES)
		if err != nil {
			return fmt.Errorf("%s: %w", op, err)
		}
		for ref := range all {
			refs = append(refs, ref)
		}
		if len(refs) == 0 {
			return nil
		}
	}
	if o.GPGVerify == nil {
		o.GPGVerify, o.DisableSignVerify = new(bool), true
		if o.GPGVerifySummary == nil {
			o.GPGVerifySummary, o.DisableSignVerifySummary = new(bool), true
		}
	}
	return r.Pull(ctx, "file://"+abs, refs, &o)
}

// PullDirOptions are the options of PullDir; nil is the zero value.
type PullDirOptions struct {
	Flags    PullFlags
	Progress func(PullProgress) // as in PullOptions. May be nil
}

// PullDir fetches only the directory dir ("/usr/share", say; "" for all) of refs from a remote: a short form of Pull for that. The commits
// are partial then.
//
// C: ostree_repo_pull, ostree_repo_pull_one_dir
func (r *Repo) PullDir(ctx context.Context, remote, dir string, refs []string, opts *PullDirOptions) error {
	op := fmt.Sprintf("pull %s from %s", dir, remote)
	if opts == nil {
		opts = &PullDirOptions{}
	}
	if dir != "" && !filepath.IsAbs(dir) {
		return fmt.Errorf("%s: %w: directory does not start with /", op, ErrInvalidArgument)
	}
	var a arena
	defer a.free()
	cremote, cdir := a.str(remote), a.opt(dir)
	var crefs **C.char
	if len(refs) > 0 {
		crefs = a.strv(refs)
	}
	if a.err != nil {
		return fmt.Errorf("%s: %w", op, a.err)
	}
	cb, ch := newPullCallback(opts.Progress)
	defer cb.delete()
	err := r.withTransaction(op, nil, func() error {
		return call(ctx, op, func(c *C.GCancellable, e **C.GError) C.gboolean {
			return C.shim_pull_dir(r.c(), cremote, cdir, crefs, C.int(opts.Flags), ch, c, e)
		}, r.handle())
	})
	cb.repanic()
	return err
}

// withTransaction runs fn, which has a transaction of its own or uses tx.
func (r *Repo) withTransaction(op string, tx *Transaction, fn func() error) error {
	switch {
	case r == nil:
		return fmt.Errorf("%s: %w", op, ErrClosed)
	case tx == nil:
		// libostree would abort the one that is open.
		if !r.inTxn.CompareAndSwap(false, true) {
			return fmt.Errorf("%s: %w", op, ErrTransactionActive)
		}
		defer r.inTxn.Store(false)
		return fn()
	case tx.repo != r:
		return fmt.Errorf("%s: %w: transaction of another Repo", op, ErrInvalidArgument)
	}
	tx.mu.Lock()
	defer tx.mu.Unlock()
	if tx.done {
		return fmt.Errorf("%s: %w", op, ErrNoTransaction)
	}
	return fn()
}

type pullCallback struct {
	fn       func(PullProgress)
	panicked any
	h        cgo.Handle
}

// newPullCallback returns the handle to give to C, 0 without fn.
func newPullCallback(fn func(PullProgress)) (*pullCallback, C.uintptr_t) {
	cb := &pullCallback{fn: fn}
	if fn != nil {
		cb.h = cgo.NewHandle(cb)
	}
	return cb, C.uintptr_t(cb.h)
}

func (p *pullCallback) delete() {
	if p.h != 0 {
		p.h.Delete()
	}
}

func (p *pullCallback) repanic() {
	if p.panicked != nil {
		panic(p.panicked)
	}
}

func (p *pullCallback) run(s PullProgress) {
	defer func() {
		if x := recover(); x != nil {
			p.panicked = x
		}
	}()
	if p.panicked == nil {
		p.fn(s)
	}
}
