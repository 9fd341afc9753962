package ostree

// #include "shim.h"
import "C"

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// CommitState says whether all objects of a commit are expected to be there.
type CommitState int

// States of a commit; partial ones combine.
const (
	CommitNormal      CommitState = C.OSTREE_REPO_COMMIT_STATE_NORMAL
	CommitPartial     CommitState = C.OSTREE_REPO_COMMIT_STATE_PARTIAL      // objects may be missing
	CommitFsckPartial CommitState = C.OSTREE_REPO_COMMIT_STATE_FSCK_PARTIAL // fsck found it so; set together with CommitPartial
)

// Commit is a commit object, read.
type Commit struct {
	Checksum  string    // 64 hex digits
	Metadata  *Variant  // "a{sv}", never nil
	Parent    string    // 64 hex digits, "" for none
	Subject   string    // first line
	Body      string    // the rest
	Timestamp time.Time // whole seconds, UTC
	RootTree  string    // checksum of the root's dirtree, 64 hex digits
	RootMeta  string    // checksum of the root's dirmeta, 64 hex digits
	variant   *Variant
}

// Variant returns the whole commit object, "(a{sv}aya(say)sstayay)".
func (c *Commit) Variant() *Variant { return c.variant }

// MetadataString reads the string at key: false if there is none, an error
// matching ErrVariantType if it is something else.
func (c *Commit) MetadataString(key string) (string, bool, error) {
	s, ok, err := c.Metadata.LookupString(key)
	if err != nil {
		return "", false, fmt.Errorf("commit %s: metadata %w", c.Checksum, err)
	}
	return s, ok, nil
}

// LoadCommit reads a commit object by checksum. It returns ErrNotFound, and ErrCorrupt if it was cut or is something else.
//
// C: ostree_repo_load_commit
func (r *Repo) LoadCommit(ctx context.Context, checksum string) (*Commit, CommitState, error) {
	var a arena
	defer a.free()
	op, csum, err := objectArgs("load", ObjectCommit, checksum, &a)
	if err != nil {
		return nil, 0, err
	}
	var v *C.GVariant
	var state C.OstreeRepoCommitState
	err = callFast(ctx, op, func(e **C.GError) C.gboolean {
		return C.ostree_repo_load_commit(r.c(), csum, &v, &state, e)
	}, r.handle())
	if err != nil {
		return nil, 0, err
	}
	object, err := takeVariant(v).sound()
	if err != nil {
		return nil, 0, fmt.Errorf("%s: %w", op, err)
	}
	c, err := ParseCommit(object)
	if err != nil {
		return nil, 0, fmt.Errorf("%s: %w", op, err)
	}
	c.Checksum = checksum
	return c, CommitState(state), nil
}

// ParseCommit reads a commit object of type "(a{sv}aya(say)sstayay)"; another type matches ErrVariantType. It returns ErrCorrupt for checksums that
// are not of 32 bytes, a missing root, and a timestamp after the year 9999. Checksum is left empty.
//
// C: ostree_commit_get_parent, ostree_commit_get_timestamp, ostree_commit_get_content_checksum
func ParseCommit(v *Variant) (*Commit, error) {
	if err := v.want(ObjectCommit.VariantType()); err != nil {
		return nil, err
	}
	c := &Commit{variant: v, Metadata: v.Child(0)}
	var errs [6]error
	var secs uint64
	c.Parent, errs[0] = v.checksumChild(1)
	c.Subject, errs[1] = v.Child(3).Str()
	c.Body, errs[2] = v.Child(4).Str()
	secs, errs[3] = v.Child(5).bigEndian64()
	c.RootTree, errs[4] = v.checksumChild(6)
	c.RootMeta, errs[5] = v.checksumChild(7)
	if err := errors.Join(errs[:]...); err != nil {
		return nil, err
	}
	if c.RootTree == "" || c.RootMeta == "" {
		return nil, fmt.Errorf("%w: commit without a root", ErrCorrupt)
	}
	if secs > maxUnixTime {
		return nil, fmt.Errorf("%w: commit timestamp %d out of range", ErrCorrupt, secs)
	}
	c.Timestamp = time.Unix(int64(secs), 0).UTC()
	return c, nil
}

// maxUnixTime is the last second of the year 9999, the end of RFC 3339.
const maxUnixTime = 253402300799

// CommitOptions are what WriteCommit puts into a commit besides its tree.
type CommitOptions struct {
	Parent    string    // 64 hex digits, "" for none
	Subject   string    // first line of the message
	Body      string    // the rest
	Metadata  *Variant  // "a{sv}"; nil for none
	Timestamp time.Time // whole seconds from 1970 on; the zero value means $SOURCE_DATE_EPOCH where that is set, else now
}

// WriteCommit writes a commit object of a tree and returns its checksum. No ref is set. A nil opts is the zero value. In an open transaction.
//
// C: ostree_repo_write_commit, ostree_repo_write_commit_with_time
func (r *Repo) WriteCommit(ctx context.Context, root *Tree, opts *CommitOptions) (string, error) {
	const op = "write commit"
	if opts == nil {
		opts = &CommitOptions{}
	}
	if opts.Parent != "" {
		if err := ValidateChecksum(opts.Parent); err != nil {
			return "", fmt.Errorf("%s: parent: %w", op, err)
		}
	}
	for _, s := range []string{opts.Subject, opts.Body} {
		if err := checkText(s); err != nil {
			return "", fmt.Errorf("%s: %w", op, err)
		}
	}
	when := opts.Timestamp
	secs := when.Unix()
	if !when.IsZero() && (secs < 0 || secs > maxUnixTime) {
		return "", fmt.Errorf("%s: %w: timestamp %v", op, ErrInvalidArgument, when)
	}
	owners := []*handle{r.handle(), root.handle()}
	if opts.Metadata != nil {
		if err := opts.Metadata.want("a{sv}"); err != nil {
			return "", fmt.Errorf("%s: metadata: %w", op, err)
		}
		owners = append(owners, opts.Metadata.handle())
	}
	var a arena
	defer a.free()
	parent, subject, body := a.opt(opts.Parent), a.str(opts.Subject), a.str(opts.Body)
	var out *C.char
	err := callFast(ctx, op, func(e **C.GError) C.gboolean {
		if C.ostree_repo_file_ensure_resolved(root.file(), e) == 0 {
			return 0
		}
		if when.IsZero() {
			return C.ostree_repo_write_commit(r.c(), parent, subject, body, opts.Metadata.c(), root.file(), &out, nil, e)
		}
		return C.ostree_repo_write_commit_with_time(r.c(), parent, subject, body, opts.Metadata.c(), root.file(), C.guint64(secs), &out, nil, e)
	}, owners...)
	return takeString(out), err
}

// ReadDetachedMetadata returns the "a{sv}" kept beside a commit, nil if there is none. It returns ErrCorrupt if it was cut.
//
// C: ostree_repo_read_commit_detached_metadata
func (r *Repo) ReadDetachedMetadata(ctx context.Context, commit string) (*Variant, error) {
	var a arena
	defer a.free()
	op, csum, err := objectArgs("read detached metadata", ObjectCommit, commit, &a)
	if err != nil {
		return nil, err
	}
	var v *C.GVariant
	err = callFast(ctx, op, func(e **C.GError) C.gboolean {
		return C.ostree_repo_read_commit_detached_metadata(r.c(), csum, &v, nil, e)
	}, r.handle())
	if err != nil || v == nil {
		return nil, err
	}
	d, err := takeVariant(v).sound()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", op, err)
	}
	return d, nil
}

// WriteDetachedMetadata replaces the "a{sv}" kept beside a commit; nil removes it.
// Outside a transaction it takes effect at once.
//
// C: ostree_repo_write_commit_detached_metadata
func (r *Repo) WriteDetachedMetadata(ctx context.Context, commit string, metadata *Variant) error {
	var a arena
	defer a.free()
	op, csum, err := objectArgs("write detached metadata", ObjectCommit, commit, &a)
	if err != nil {
		return err
	}
	owners := []*handle{r.handle()}
	if metadata != nil {
		if err := metadata.want("a{sv}"); err != nil {
			return fmt.Errorf("%s: %w", op, err)
		}
		owners = append(owners, metadata.handle())
	}
	return call(ctx, op, func(c *C.GCancellable, e **C.GError) C.gboolean {
		return C.ostree_repo_write_commit_detached_metadata(r.c(), csum, metadata.c(), c, e)
	}, owners...)
}

// PartialState is what MarkCommitPartial sets.
type PartialState int

// Values of PartialState.
const (
	NotPartial  PartialState = iota // all objects are there
	Partial                         // objects may be missing
	FsckPartial                     // fsck found objects missing
)

// MarkCommitPartial marks a commit as partial or not. Nothing happens to a commit that is so
// already. The commit need not exist.
//
// C: ostree_repo_mark_commit_partial, ostree_repo_mark_commit_partial_reason
func (r *Repo) MarkCommitPartial(ctx context.Context, checksum string, partial PartialState) error {
	var a arena
	defer a.free()
	op, csum, err := objectArgs("mark partial", ObjectCommit, checksum, &a)
	if err != nil {
		return err
	}
	return callFast(ctx, op, func(e **C.GError) C.gboolean {
		if partial == FsckPartial {
			return C.ostree_repo_mark_commit_partial_reason(r.c(), csum, 1, C.OSTREE_REPO_COMMIT_STATE_FSCK_PARTIAL, e)
		}
		return C.ostree_repo_mark_commit_partial(r.c(), csum, gbool(partial != NotPartial), e)
	}, r.handle())
}
