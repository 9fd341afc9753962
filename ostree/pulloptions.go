package ostree

// #include "shim_pull.h"
import "C"

import (
	"fmt"
	"math"
	"net/textproto"
	"path"
	"time"
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
	Flags PullFlags
	Depth int // parents of each commit to fetch: 0 none, -1 all
	// CollectionRefs are fetched in place of refs, each with a commit checksum or "" for the newest. Excludes refs and OverrideCommitIDs.
	CollectionRefs map[CollectionRef]string
	// RefKeyrings names, for refs of collections, the remote whose keys are to verify them in place of the one that is pulled from.
	RefKeyrings map[CollectionRef]string
	// OverrideCommitIDs are the commits to fetch, one for each ref. Nil: the newest.
	OverrideCommitIDs  []string
	OverrideRemoteName string   // refs are written as this remote's; PullLocal: "" for local refs
	OverrideURL        string   // fetch from here in place of the remote's url; "": from that
	Subdirs            []string // fetch these directories only, each starting with "/"; the commit is partial then
	LocalCacheRepos    []string // paths of repositories that objects are taken from where they are there

	GPGVerify                *bool // check the signatures of commits; nil: as the remote's config says
	GPGVerifySummary         *bool // check the signature of the summary; nil: as the remote's config says
	DisableSignVerify        bool  // do not check ed25519 and other signatures of commits
	DisableSignVerifySummary bool  // the same for the summary
	DisableVerifyBindings    bool  // do not check that a commit says it is of the ref
	// TimestampCheck refuses commits older than the present one of their ref. Needs Depth 0.
	TimestampCheck bool
	// TimestampCheckFromRev refuses commits older than this one; "" for no such check.
	TimestampCheckFromRev string
	// MaxMetadataSize is the size in bytes over which metadata objects are refused; 0: 10 MiB, 128 MiB from libostree 2023.4 on.
	MaxMetadataSize uint64

	Deltas DeltaUse
	DryRun bool // count only what is to be fetched. Needs DeltasRequire

	PerObjectFsync  bool          // sync each object, which is slower but does not stall others
	HTTPHeaders     []HTTPHeader  // added to each request
	AppendUserAgent string        // added to the user agent; "" for nothing
	NetworkRetries  *uint32       // how often each download is tried again after a transient error; nil: 5
	UpdateFrequency time.Duration // between calls of Progress and updates of State, whole milliseconds; 0: a second

	// SummaryBytes and SummarySigBytes are a summary, already fetched, and its signatures; both or neither.
	SummaryBytes, SummarySigBytes []byte

	// Transaction, an open one of the same Repo, takes objects and refs up. Nil: the pull has its own.
	Transaction *Transaction
	// Progress is called now and then, on another thread's behalf but one call at a time. May be nil.
	Progress func(PullProgress)
	// State is kept up to date, to be looked at meanwhile. May be nil; excludes Progress.
	State *AsyncProgress
	// Extra holds further options of the C function; those above win. May be nil.
	Extra *Variant
}

// DeltaUse says whether a pull uses static deltas.
type DeltaUse int

// Values of DeltaUse.
const (
	DeltasAllow   DeltaUse = iota // where there are some
	DeltasDisable                 // fetch objects only
	DeltasRequire                 // an error where there is none
)

// HTTPHeader is a header of a request. Values may be secret: they are not put in errors.
type HTTPHeader struct{ Name, Value string }

// build returns the "a{sv}". It refuses what libostree would assert on.
func (o *PullOptions) build(refs []string) (*Variant, error) {
	if o == nil {
		o = &PullOptions{}
	}
	if err := o.check(refs); err != nil {
		return nil, err
	}
	d, err := VariantDictOf(o.Extra)
	if err != nil {
		return nil, fmt.Errorf("extra options: %w", err)
	}
	if len(refs) > 0 {
		d.SetStrv("refs", refs)
	}
	d.SetInt32("flags", int32(o.Flags)).SetInt32("depth", int32(o.Depth))
	for key, list := range map[string][]string{
		"override-commit-ids": o.OverrideCommitIDs, "subdirs": o.Subdirs, "localcache-repos": o.LocalCacheRepos,
	} {
		if len(list) > 0 {
			d.SetStrv(key, list)
		}
	}
	for key, s := range map[string]string{
		"override-remote-name": o.OverrideRemoteName, "override-url": o.OverrideURL,
		"timestamp-check-from-rev": o.TimestampCheckFromRev, "append-user-agent": o.AppendUserAgent,
	} {
		if s != "" {
			d.SetString(key, s)
		}
	}
	for key, b := range map[string]bool{
		"disable-sign-verify": o.DisableSignVerify, "disable-sign-verify-summary": o.DisableSignVerifySummary,
		"disable-verify-bindings": o.DisableVerifyBindings, "timestamp-check": o.TimestampCheck, "dry-run": o.DryRun,
		"per-object-fsync": o.PerObjectFsync, "inherit-transaction": o.Transaction != nil,
		"disable-static-deltas": o.Deltas == DeltasDisable, "require-static-deltas": o.Deltas == DeltasRequire,
	} {
		if b {
			d.SetBool(key, true)
		}
	}
	for key, b := range map[string]*bool{"gpg-verify": o.GPGVerify, "gpg-verify-summary": o.GPGVerifySummary} {
		if b != nil {
			d.SetBool(key, *b)
		}
	}
	if o.MaxMetadataSize != 0 {
		d.SetUint64("max-metadata-size", o.MaxMetadataSize)
	}
	if o.NetworkRetries != nil {
		d.SetUint32("n-network-retries", *o.NetworkRetries)
	}
	if o.UpdateFrequency > 0 {
		d.SetUint32("update-frequency", uint32(max(1, o.UpdateFrequency.Milliseconds())))
	}
	if o.SummaryBytes != nil {
		d.SetBytes("summary-bytes", o.SummaryBytes).SetBytes("summary-sig-bytes", o.SummarySigBytes)
	}
	if err := o.setTuples(d); err != nil {
		return nil, err
	}
	return d.Build()
}

func (o *PullOptions) check(refs []string) error {
	switch {
	case o.Depth < -1 || o.Depth > 1<<30:
		return fmt.Errorf("%w: depth %d", ErrInvalidArgument, o.Depth)
	case o.TimestampCheck && o.Depth != 0:
		return fmt.Errorf("%w: TimestampCheck with a depth", ErrInvalidArgument)
	case o.CollectionRefs != nil && (len(refs) > 0 || o.OverrideCommitIDs != nil):
		return fmt.Errorf("%w: CollectionRefs with refs or commits", ErrInvalidArgument)
	case o.OverrideCommitIDs != nil && len(o.OverrideCommitIDs) != len(refs):
		return fmt.Errorf("%w: %d commits for %d refs", ErrInvalidArgument, len(o.OverrideCommitIDs), len(refs))
	case o.Deltas < DeltasAllow || o.Deltas > DeltasRequire:
		return fmt.Errorf("%w: use of deltas %d", ErrInvalidArgument, o.Deltas)
	case o.DryRun && o.Deltas != DeltasRequire:
		return fmt.Errorf("%w: DryRun without DeltasRequire", ErrInvalidArgument)
	case (o.SummaryBytes == nil) != (o.SummarySigBytes == nil):
		return fmt.Errorf("%w: a summary without its signatures, or the reverse", ErrInvalidArgument)
	case o.Progress != nil && o.State != nil:
		return fmt.Errorf("%w: both Progress and State", ErrInvalidArgument)
	case o.UpdateFrequency < 0 || o.UpdateFrequency.Milliseconds() > math.MaxInt32:
		return fmt.Errorf("%w: update frequency %v", ErrInvalidArgument, o.UpdateFrequency)
	}
	for _, c := range o.OverrideCommitIDs {
		if err := ValidateChecksum(c); err != nil {
			return err
		}
	}
	for _, s := range o.Subdirs {
		if !path.IsAbs(s) {
			return fmt.Errorf("%w: subdirectory %q does not start with /", ErrInvalidArgument, s)
		}
	}
	return nil
}

func (o *PullOptions) setTuples(d *VariantDict) error {
	var rows [][]string
	for ref, sum := range o.CollectionRefs {
		if err := checkCollectionRef(ref, sum); err != nil {
			return err
		}
		rows = append(rows, []string{ref.CollectionID, ref.Ref, sum})
	}
	if o.CollectionRefs != nil {
		if len(rows) == 0 {
			return fmt.Errorf("%w: no CollectionRefs", ErrInvalidArgument)
		}
		d.Set("collection-refs", stringTuples(3, rows))
	}
	rows = nil
	for ref, remote := range o.RefKeyrings {
		if err := ref.check(); err != nil {
			return err
		}
		if err := ValidateRemoteName(remote); err != nil {
			return err
		}
		rows = append(rows, []string{ref.CollectionID, ref.Ref, remote})
	}
	if len(rows) > 0 {
		d.Set("ref-keyring-map", stringTuples(3, rows))
	}
	v, err := headerTuples(o.HTTPHeaders)
	if v != nil {
		d.Set("http-headers", v)
	}
	return err
}

// headerTuples makes an "a(ss)", nil of none.
func headerTuples(headers []HTTPHeader) (*Variant, error) {
	var rows [][]string
	for i, h := range headers {
		if textproto.TrimString(h.Name) == "" || checkHeaderText(h.Name) != nil || checkHeaderText(h.Value) != nil {
			return nil, fmt.Errorf("%w: HTTP header %d", ErrInvalidArgument, i)
		}
		rows = append(rows, []string{h.Name, h.Value})
	}
	if len(rows) == 0 {
		return nil, nil //nolint:nilnil // none is no error
	}
	return stringTuples(2, rows), nil
}

func checkHeaderText(s string) error {
	for _, c := range s {
		if c == '\r' || c == '\n' {
			return ErrInvalidArgument
		}
	}
	return checkText(s)
}

// stringTuples makes an array of tuples of strings, checked by the caller, each as wide.
func stringTuples(width int, rows [][]string) *Variant {
	var a arena
	defer a.free()
	flat := []string{}
	for _, r := range rows {
		flat = append(flat, r...)
	}
	return takeVariant(C.shim_string_tuples(C.size_t(width), C.size_t(len(rows)), a.strv(flat)))
}

// state is the C form of State; it must be held for the call.
func (o *PullOptions) state(owners []*handle) (*C.OstreeAsyncProgress, []*handle) {
	if o.State == nil {
		return nil, owners
	}
	return (*C.OstreeAsyncProgress)(o.State.h.ptr), append(owners, &o.State.h)
}
