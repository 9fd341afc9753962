package ostree

// #include "shim.h"
import "C"

import (
	"context"
	"fmt"
	"runtime/cgo"
)

// ValidateRev returns an error matching ErrInvalidArgument unless rev could be the name of a ref, without a remote.
//
// C: ostree_validate_rev
func ValidateRev(rev string) error {
	var a arena
	defer a.free()
	c := a.str(rev)
	if a.err != nil {
		return fmt.Errorf("validate rev: %w", a.err)
	}
	return refuse(callFast(context.Background(), "validate rev", func(e **C.GError) C.gboolean {
		return C.ostree_validate_rev(c, e)
	}))
}

// ValidateRemoteName returns an error matching ErrInvalidArgument unless name could be the name of a remote.
//
// C: ostree_validate_remote_name
func ValidateRemoteName(name string) error {
	var a arena
	defer a.free()
	c := a.str(name)
	if a.err != nil {
		return fmt.Errorf("validate remote name: %w", a.err)
	}
	return refuse(callFast(context.Background(), "validate remote name", func(e **C.GError) C.gboolean {
		return C.ostree_validate_remote_name(c, e)
	}))
}

// ValidateChecksum returns an error matching ErrInvalidArgument unless s is 64 lower-case hex digits.
func ValidateChecksum(s string) error {
	ok := len(s) == 64
	for i := 0; ok && i < len(s); i++ {
		c := s[i]
		ok = c >= '0' && c <= '9' || c >= 'a' && c <= 'f'
	}
	if !ok {
		return fmt.Errorf("%w: checksum %q is not 64 hex digits", ErrInvalidArgument, s)
	}
	return nil
}

// ResolveRev returns the commit checksum of a ref, a refspec, a checksum (or an unambiguous
// prefix of one), with any number of "^" appended for its parents. A name of hex digits only, as "a" or "beef", is
// taken for such a prefix first. It returns ErrNotFound.
//
// C: ostree_repo_resolve_rev
func (r *Repo) ResolveRev(ctx context.Context, rev string) (string, error) {
	var a arena
	defer a.free()
	op := "resolve rev " + rev
	crev := a.str(rev)
	if a.err != nil {
		return "", fmt.Errorf("%s: %w", op, a.err)
	}
	var out *C.char
	err := callFast(ctx, op, func(e **C.GError) C.gboolean {
		return C.ostree_repo_resolve_rev(r.c(), crev, 0, &out, e)
	}, r.handle())
	return takeString(out), err
}

// ResolveRevLocal is ResolveRev for local refs only: a name is never looked for among the refs of remotes.
//
// C: ostree_repo_resolve_rev_ext
func (r *Repo) ResolveRevLocal(ctx context.Context, rev string) (string, error) {
	var a arena
	defer a.free()
	op := "resolve local rev " + rev
	crev := a.str(rev)
	if a.err != nil {
		return "", fmt.Errorf("%s: %w", op, a.err)
	}
	var out *C.char
	err := callFast(ctx, op, func(e **C.GError) C.gboolean {
		return C.ostree_repo_resolve_rev_ext(r.c(), crev, 0, C.OSTREE_REPO_RESOLVE_REV_EXT_LOCAL_ONLY, &out, e)
	}, r.handle())
	return takeString(out), err
}

// ListRefs returns the refs below prefix ("" for all; a prefix ends at a slash
// or is a whole ref) as full name -> commit checksum. Names of remote refs start with "remote:".
//
// C: ostree_repo_list_refs_ext
func (r *Repo) ListRefs(ctx context.Context, prefix string) (map[string]string, error) {
	return r.listRefs(ctx, prefix, C.OSTREE_REPO_LIST_REFS_EXT_NONE)
}

// ListRefsBelow is ListRefs with names relative to prefix: below "os", the ref "os/x86/stable" is "x86/stable". A prefix that is itself a
// ref gives that one under its whole name, and "remote:" stays before names of a remote's.
//
// C: ostree_repo_list_refs
func (r *Repo) ListRefsBelow(ctx context.Context, prefix string) (map[string]string, error) {
	return r.listRefs(ctx, prefix, C.SHIM_REFS_BELOW)
}

// ListAliases returns the refs below prefix that are aliases, as alias -> target ref.
//
// C: ostree_repo_list_refs_ext
func (r *Repo) ListAliases(ctx context.Context, prefix string) (map[string]string, error) {
	return r.listRefs(ctx, prefix, C.OSTREE_REPO_LIST_REFS_EXT_ALIASES)
}

func (r *Repo) listRefs(ctx context.Context, prefix string, flags C.int) (map[string]string, error) {
	var a arena
	defer a.free()
	op := "list refs " + prefix
	cprefix := a.opt(prefix)
	if a.err != nil {
		return nil, fmt.Errorf("%s: %w", op, a.err)
	}
	refs := map[string]string{}
	h := cgo.NewHandle(&stringPairs{func(k, v string) { refs[k] = v }})
	defer h.Delete()
	err := call(ctx, op, func(c *C.GCancellable, e **C.GError) C.gboolean {
		return C.shim_list_refs(r.c(), cprefix, flags, C.uintptr_t(h), c, e)
	}, r.handle())
	if err != nil {
		return nil, err
	}
	return refs, nil
}

// SetRefImmediate points a ref at a commit, outside any transaction. remote "" means a
// local ref; checksum "" deletes the ref (no error if it is not there).
//
// C: ostree_repo_set_ref_immediate
func (r *Repo) SetRefImmediate(ctx context.Context, remote, ref, checksum string) error {
	op := "set ref " + ref
	if err := checkRef(remote, ref, checksum); err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	var a arena
	defer a.free()
	cremote, cref, csum := a.opt(remote), a.str(ref), a.opt(checksum)
	return call(ctx, op, func(c *C.GCancellable, e **C.GError) C.gboolean {
		return C.ostree_repo_set_ref_immediate(r.c(), cremote, cref, csum, c, e)
	}, r.handle())
}

// SetAliasRefImmediate makes ref an alias of the ref target. remote "" means a local ref; target "" deletes the alias.
//
// C: ostree_repo_set_alias_ref_immediate
func (r *Repo) SetAliasRefImmediate(ctx context.Context, remote, ref, target string) error {
	op := "set alias " + ref
	if err := checkRef(remote, ref, ""); err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	var a arena
	defer a.free()
	cremote, cref, ctarget := a.opt(remote), a.str(ref), a.opt(target)
	if a.err != nil {
		return fmt.Errorf("%s: %w", op, a.err)
	}
	return call(ctx, op, func(c *C.GCancellable, e **C.GError) C.gboolean {
		return C.ostree_repo_set_alias_ref_immediate(r.c(), cremote, cref, ctarget, c, e)
	}, r.handle())
}

// checkRef refuses what libostree would store and then not be able to read.
func checkRef(remote, ref, checksum string) error {
	if err := ValidateRev(ref); err != nil {
		return err
	}
	if remote != "" {
		if err := ValidateRemoteName(remote); err != nil {
			return err
		}
	}
	if checksum != "" {
		return ValidateChecksum(checksum)
	}
	return nil
}
