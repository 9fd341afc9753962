package ostree

// #include "shim_finder.h"
import "C"

import (
	"context"
	"fmt"
	"runtime"
	"runtime/cgo"
	"time"
	"unsafe"
)

// Finder is a way to look for repositories that have a ref of a collection. Whichever is used, repositories are believed only as far as commits are
// signed with a key of a configured remote of that collection. The zero value is ConfigFinder.
type Finder struct {
	kind int
	uris []string
}

// ConfigFinder asks the configured remotes that have a collection-id.
//
// C: ostree_repo_finder_config_new
func ConfigFinder() Finder { return Finder{kind: C.SHIM_FINDER_CONFIG} }

// MountFinder looks at removable media: .ostree/repos.d, .ostree/repo, ostree/repo and var/lib/flatpak/repo below each user-visible mount.
//
// C: ostree_repo_finder_mount_new
func MountFinder() Finder { return Finder{kind: C.SHIM_FINDER_MOUNT} }

// LANFinder asks the local network by DNS-SD. Whoever uses it gets ErrNotFound where no Avahi daemon runs, ErrUnsupported where libostree
// is built without Avahi, and another error where there is no D-Bus.
//
// C: ostree_repo_finder_avahi_new, ostree_repo_finder_avahi_start, ostree_repo_finder_avahi_stop
func LANFinder() Finder { return Finder{kind: C.SHIM_FINDER_LAN} }

// OverrideFinder asks the repositories at given URLs, for example "file:///mnt/repo".
//
// C: ostree_repo_finder_override_new, ostree_repo_finder_override_add_uri
func OverrideFinder(urls ...string) Finder {
	return Finder{kind: C.SHIM_FINDER_OVERRIDE, uris: append([]string{}, urls...)}
}

// FinderResult is a repository that has some of the refs asked for.
type FinderResult struct {
	Remote              Remote
	Priority            int                         // lower is better
	Refs                map[CollectionRef]string    // commit checksums; "" for a ref that it does not have, or has an older commit of
	Timestamps          map[CollectionRef]time.Time // of the commits, whole seconds; zero where not known. Nil from ResolveFinders
	SummaryLastModified time.Time                   // whole seconds; zero where not known
	set                 *finderResults
	c                   *C.OstreeRepoFinderResult // the set's
}

// finderResults owns what results of one call share.
type finderResults struct{ h handle }

func resultsFree(p unsafe.Pointer) { C.shim_results_free((*C.shim_results)(p)) }

// Compare orders by priority, age of the summary and number of refs; negative where r is the better source.
//
// C: ostree_repo_finder_result_compare
func (r FinderResult) Compare(o FinderResult) int {
	if r.set == nil || o.set == nil {
		return r.Priority - o.Priority
	}
	defer runtime.KeepAlive(r.set)
	defer runtime.KeepAlive(o.set)
	return int(C.ostree_repo_finder_result_compare(r.c, o.c))
}

// FindOptions are the options of FindRemotes; nil is the zero value.
type FindOptions struct {
	Finders []Finder // none: those of DefaultFinders
	// OverrideCommitIDs are the commits to look for, one for each ref, in place of the newest. Nil: the newest.
	OverrideCommitIDs []string
	// NetworkRetries is how often each download is tried again after a transient error; nil: 5.
	NetworkRetries *uint32
	// Progress is called now and then, one call at a time. May be nil.
	Progress func(PullProgress)
}

// FindRemotes looks for repositories that have the newest commits of refs, all with a collection. The best come first; none is no
// error. Signatures are checked by PullFromRemotes, not here.
//
// C: ostree_repo_find_remotes_async, ostree_repo_find_remotes_finish
//
// C: ostree_repo_finder_result_freev, ostree_collection_ref_freev
func (r *Repo) FindRemotes(ctx context.Context, refs []CollectionRef, opts *FindOptions) ([]FinderResult, error) {
	const op = "find remotes"
	if opts == nil {
		opts = &FindOptions{}
	}
	d := NewVariantDict()
	if opts.OverrideCommitIDs != nil {
		if len(opts.OverrideCommitIDs) != len(refs) {
			return nil, fmt.Errorf("%s: %w: %d commits for %d refs", op, ErrInvalidArgument, len(opts.OverrideCommitIDs), len(refs))
		}
		for _, c := range opts.OverrideCommitIDs {
			if err := ValidateChecksum(c); err != nil {
				return nil, fmt.Errorf("%s: %w", op, err)
			}
		}
		d.SetStrv("override-commit-ids", opts.OverrideCommitIDs)
	}
	if opts.NetworkRetries != nil {
		d.SetUint32("n-network-retries", *opts.NetworkRetries)
	}
	v, err := d.Build()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", op, err)
	}
	cb, ch := newPullCallback(opts.Progress)
	defer cb.delete()
	results, err := r.find(ctx, op, C.SHIM_FIND_REMOTES, refs, v, opts.Finders, ch)
	cb.repanic()
	return results, err
}

// ResolveFinders asks finders, at least one, which repositories have refs, all with a collection. It says what they claim, newest or not.
//
// C: ostree_repo_finder_resolve_async, ostree_repo_finder_resolve_finish
//
// C: ostree_repo_finder_resolve_all_async, ostree_repo_finder_resolve_all_finish
func (r *Repo) ResolveFinders(ctx context.Context, refs []CollectionRef, finders ...Finder) ([]FinderResult, error) {
	const op = "ask finders"
	if len(finders) == 0 {
		return nil, fmt.Errorf("%s: %w: none", op, ErrInvalidArgument)
	}
	return r.find(ctx, op, C.SHIM_RESOLVE, refs, nil, finders, 0)
}

func (r *Repo) find(ctx context.Context, op string, what C.int, refs []CollectionRef, options *Variant, finders []Finder, progress C.uintptr_t) ([]FinderResult, error) {
	var a arena
	defer a.free()
	list := (*C.shim_finder)(C.calloc(C.size_t(len(finders)+1), C.sizeof_shim_finder))
	a.ptrs = append(a.ptrs, unsafe.Pointer(list))
	for i, f := range finders {
		unsafe.Slice(list, len(finders))[i] = C.shim_finder{kind: C.int(f.kind), uris: a.strv(f.uris)}
	}
	if a.err != nil {
		return nil, fmt.Errorf("%s: %w", op, a.err)
	}
	crefs, err := collectionRefv(refs)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", op, err)
	}
	owners := []*handle{r.handle()}
	if options != nil {
		owners = append(owners, options.handle())
	}
	var out *C.shim_results
	entered := false
	err = call(ctx, op, func(c *C.GCancellable, e **C.GError) C.gboolean {
		entered = true
		out = C.shim_find(r.c(), what, crefs, options.c(), list, C.size_t(len(finders)), progress, c, e)
		return gbool(out != nil)
	}, owners...)
	if !entered {
		C.ostree_collection_ref_freev(crefs)
	}
	if err != nil {
		return nil, err
	}
	set := &finderResults{}
	set.h.own(unsafe.Pointer(out), resultsFree)
	return set.read(out), nil
}

func (s *finderResults) read(out *C.shim_results) []FinderResult {
	var list []FinderResult
	for p := out.results; *p != nil; p = (**C.OstreeRepoFinderResult)(unsafe.Add(unsafe.Pointer(p), unsafe.Sizeof(*p))) {
		c := *p
		res := FinderResult{Remote: readRemote(c.remote), Priority: int(c.priority), Refs: map[CollectionRef]string{}, set: s, c: c}
		if c.summary_last_modified != 0 {
			res.SummaryLastModified = time.Unix(int64(c.summary_last_modified), 0).UTC()
		}
		h := cgo.NewHandle(&collectionRefs{func(ref CollectionRef, sum string) { res.Refs[ref] = sum }})
		C.shim_result_refs(c, C.uintptr_t(h))
		h.Delete()
		if c.ref_to_timestamp != nil {
			res.Timestamps = map[CollectionRef]time.Time{}
			h := cgo.NewHandle(&collectionTimes{func(ref CollectionRef, secs uint64) {
				if secs > 0 && secs <= maxUnixTime {
					res.Timestamps[ref] = time.Unix(int64(secs), 0).UTC()
				}
			}})
			C.shim_result_timestamps(c, C.uintptr_t(h))
			h.Delete()
		}
		list = append(list, res)
	}
	return list
}

// collectionTimes collects what goCollectionTime is called with.
type collectionTimes struct {
	fn func(ref CollectionRef, secs uint64)
}

// PullFromRemotes pulls the refs of results, as FindRemotes returned them, each from the first that works, in one
// transaction. Commits must be signed with GPG. Of opts, which may be nil, count Flags, Depth, Deltas, HTTPHeaders, Subdirs, RefKeyrings,
// UpdateFrequency, AppendUserAgent, NetworkRetries, Transaction, Progress and State.
//
// C: ostree_repo_pull_from_remotes_async, ostree_repo_pull_from_remotes_finish
func (r *Repo) PullFromRemotes(ctx context.Context, results []FinderResult, opts *PullOptions) error {
	const op = "pull from remotes"
	if len(results) == 0 {
		return fmt.Errorf("%s: %w: no results", op, ErrInvalidArgument)
	}
	v, err := opts.build(nil)
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	if opts == nil {
		opts = &PullOptions{}
	}
	owners := []*handle{r.handle(), v.handle()}
	var a arena
	defer a.free()
	list := (**C.OstreeRepoFinderResult)(C.calloc(C.size_t(len(results)+1), C.size_t(unsafe.Sizeof(uintptr(0)))))
	a.ptrs = append(a.ptrs, unsafe.Pointer(list))
	for i, res := range results {
		if res.set == nil {
			return fmt.Errorf("%s: %w: a result that was not found", op, ErrInvalidArgument)
		}
		owners = append(owners, &res.set.h)
		unsafe.Slice(list, len(results)+1)[i] = res.c
	}
	state, owners := opts.state(owners)
	cb, ch := newPullCallback(opts.Progress)
	defer cb.delete()
	err = r.withTransaction(op, opts.Transaction, func() error {
		err := call(ctx, op, func(c *C.GCancellable, e **C.GError) C.gboolean {
			return C.shim_pull_from_remotes(r.c(), list, v.c(), ch, state, c, e)
		}, owners...)
		if err != nil && opts.Transaction == nil {
			// A commit that failed leaves it open.
			r.with(func(c *C.OstreeRepo) { C.ostree_repo_abort_transaction(c, nil, nil) })
		}
		return err
	})
	cb.repanic()
	return err
}
