package ostree

// #include "shim.h"
import "C"

import (
	"context"
	"fmt"
	"path/filepath"
	"runtime/cgo"
)

// PullFlags change what a pull fetches and believes; they combine.
type PullFlags int32

// Flags of a pull.
const (
	PullNone         PullFlags = C.OSTREE_REPO_PULL_FLAGS_NONE
	PullMirror       PullFlags = C.OSTREE_REPO_PULL_FLAGS_MIRROR             // write local refs, not those of the remote
	PullCommitOnly   PullFlags = C.OSTREE_REPO_PULL_FLAGS_COMMIT_ONLY        // commit objects only
	PullUntrusted    PullFlags = C.OSTREE_REPO_PULL_FLAGS_UNTRUSTED          // check the checksums of a local repository's objects
	PullBareUserOnly PullFlags = C.OSTREE_REPO_PULL_FLAGS_BAREUSERONLY_FILES // refuse files that a bare-user-only repository cannot keep
	PullTrustedHTTP  PullFlags = C.OSTREE_REPO_PULL_FLAGS_TRUSTED_HTTP       // do not check what comes over HTTP
)

// PullOptions are the options of Pull and PullLocal; nil is the zero value.
type PullOptions struct {
	Flags              PullFlags
	Depth              int    // parents of each commit to fetch: 0 none, -1 all
	OverrideRemoteName string // refs are written as this remote's; PullLocal: "" for local refs
	GPGVerify          *bool  // check the signatures of commits; nil: as the remote's config says
	DisableSignVerify  bool   // do not check ed25519 and other signatures
	// Progress is called now and then, on another thread's behalf but one call at a time. May be nil.
	Progress func(PullProgress)
	// Extra holds further options of the C function; those above win. May be nil.
	Extra *Variant
}

// PullProgress counts what a pull did so far.
type PullProgress struct {
	Fetched, Requested uint   // objects
	MetadataFetched    uint   // of them not content
	BytesTransferred   uint64 // over the network
}

// Pull fetches refs (or commits by checksum) from a remote, by name or URL; no refs means the
// branches of the remote's config. It must not run in a transaction.
//
// C: ostree_repo_pull_with_options
func (r *Repo) Pull(ctx context.Context, remote string, refs []string, opts *PullOptions) error {
	op := "pull from " + remote
	if opts == nil {
		opts = &PullOptions{}
	}
	if opts.Depth < -1 || opts.Depth > 1<<30 {
		return fmt.Errorf("%s: %w: depth %d", op, ErrInvalidArgument, opts.Depth)
	}
	d, err := VariantDictOf(opts.Extra)
	if err != nil {
		return fmt.Errorf("%s: extra options: %w", op, err)
	}
	if len(refs) > 0 {
		d.SetStrv("refs", refs)
	}
	d.SetInt32("flags", int32(opts.Flags)).SetInt32("depth", int32(opts.Depth))
	if opts.OverrideRemoteName != "" {
		d.SetString("override-remote-name", opts.OverrideRemoteName)
	}
	if opts.GPGVerify != nil {
		d.SetBool("gpg-verify", *opts.GPGVerify)
	}
	if opts.DisableSignVerify {
		d.SetBool("disable-sign-verify", true)
	}
	v, err := d.Build()
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	var a arena
	defer a.free()
	cremote := a.str(remote)
	if a.err != nil {
		return fmt.Errorf("%s: %w", op, a.err)
	}
	cb := &pullCallback{fn: opts.Progress}
	var ch C.uintptr_t
	if cb.fn != nil {
		h := cgo.NewHandle(cb)
		defer h.Delete()
		ch = C.uintptr_t(h)
	}
	err = call(ctx, op, func(c *C.GCancellable, e **C.GError) C.gboolean {
		return C.shim_pull(r.c(), cremote, v.c(), ch, c, e)
	}, r.handle(), v.handle())
	if cb.panicked != nil {
		panic(cb.panicked)
	}
	return err
}

// PullLocal copies refs (or commits by checksum; none means all refs) from the repository at a path, with hardlinks
// where that is possible. Signatures are not asked for unless opts says so.
//
// C: ostree_repo_pull_with_options
func (r *Repo) PullLocal(ctx context.Context, path string, refs []string, opts *PullOptions) error {
	op := "pull from " + path
	abs, err := filepath.Abs(path)
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	if len(refs) == 0 {
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
	var o PullOptions
	if opts != nil {
		o = *opts
	}
	if o.GPGVerify == nil {
		d, err := VariantDictOf(o.Extra)
		if err != nil {
			return fmt.Errorf("%s: extra options: %w", op, err)
		}
		d.SetBool("gpg-verify-summary", false).SetBool("disable-sign-verify-summary", true)
		if o.Extra, err = d.Build(); err != nil {
			return fmt.Errorf("%s: %w", op, err)
		}
		o.GPGVerify, o.DisableSignVerify = new(bool), true
	}
	return r.Pull(ctx, "file://"+abs, refs, &o)
}

type pullCallback struct {
	fn       func(PullProgress)
	panicked any
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
