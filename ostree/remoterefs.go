package ostree

// #include "shim_collection.h"
// #include "shim_newer.h"
import "C"

import (
	"cmp"
	"context"
	"fmt"
	"runtime/cgo"
	"unsafe"
)

// RemoteListRefs fetches the summary of a remote and returns its refs -> commit checksum.
//
// C: ostree_repo_remote_list_refs
func (r *Repo) RemoteListRefs(ctx context.Context, remote string) (map[string]string, error) {
	op := "list refs of remote " + remote
	var a arena
	defer a.free()
	cname := a.str(remote)
	if err := checkRemote(&a, remote, nil); err != nil {
		return nil, fmt.Errorf("%s: %w", op, err)
	}
	refs := map[string]string{}
	h := cgo.NewHandle(&stringPairs{func(k, v string) { refs[k] = v }})
	defer h.Delete()
	err := call(ctx, op, func(c *C.GCancellable, e **C.GError) C.gboolean {
		return C.shim_remote_list_refs(r.c(), cname, C.uintptr_t(h), c, e)
	}, r.handle())
	if err != nil {
		return nil, err
	}
	return refs, nil
}

// FetchSummaryOptions are the options of RemoteFetchSummary; nil is the zero value.
type FetchSummaryOptions struct {
	OverrideURL     string       // fetch from here in place of the remote's url; "": from that
	HTTPHeaders     []HTTPHeader // added to each request
	AppendUserAgent string       // added to the user agent; "" for nothing
	NetworkRetries  *uint32      // how often each download is tried again after a transient error; nil: 5
}

// RemoteFetchSummary fetches the summary of a remote, type "(a(s(taya{sv}))a{sv})", and its signatures, type "a{sv}". Either is nil where
// the remote has none. With gpg-verify-summary the signatures are checked.
//
// C: ostree_repo_remote_fetch_summary, ostree_repo_remote_fetch_summary_with_options
func (r *Repo) RemoteFetchSummary(ctx context.Context, remote string, opts *FetchSummaryOptions) (summary, signatures []byte, err error) {
	op := "fetch summary of remote " + remote
	var a arena
	defer a.free()
	cname := a.str(remote)
	if err := checkRemote(&a, remote, nil); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", op, err)
	}
	v, err := opts.build()
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", op, err)
	}
	var data, sigs *C.GBytes
	err = call(ctx, op, func(c *C.GCancellable, e **C.GError) C.gboolean {
		if opts == nil {
			return C.ostree_repo_remote_fetch_summary(r.c(), cname, &data, &sigs, c, e)
		}
		return C.ostree_repo_remote_fetch_summary_with_options(r.c(), cname, v.c(), &data, &sigs, c, e)
	}, r.handle(), v.handle())
	if err != nil {
		return nil, nil, err
	}
	return takeBytes(data), takeBytes(sigs), nil
}

func (o *FetchSummaryOptions) build() (*Variant, error) {
	d := NewVariantDict()
	if o == nil {
		return d.Build()
	}
	if o.OverrideURL != "" {
		d.SetString("override-url", o.OverrideURL)
	}
	if o.AppendUserAgent != "" {
		d.SetString("append-user-agent", o.AppendUserAgent)
	}
	if o.NetworkRetries != nil {
		d.SetUint32("n-network-retries", *o.NetworkRetries)
	}
	v, err := headerTuples(o.HTTPHeaders)
	if err != nil {
		return nil, err
	}
	return d.Set("http-headers", v).Build()
}

// RegenerateSummary writes the summary file: the local refs, static deltas, and further metadata, an "a{sv}" or nil. Old
// signatures are deleted. Static delta indexes are written too.
//
// C: ostree_repo_regenerate_summary
func (r *Repo) RegenerateSummary(ctx context.Context, metadata *Variant) error {
	const op = "regenerate summary"
	owners := []*handle{r.handle()}
	if metadata != nil {
		if err := metadata.want("a{sv}"); err != nil {
			return fmt.Errorf("%s: %w", op, err)
		}
		owners = append(owners, metadata.handle())
	}
	return call(ctx, op, func(c *C.GCancellable, e **C.GError) C.gboolean {
		return C.ostree_repo_regenerate_summary(r.c(), metadata.c(), c, e)
	}, owners...)
}

// MetadataSigning says how RegenerateMetadata signs; the zero value means not at all.
type MetadataSigning struct {
	GPGKeyIDs  []string  // GPG keys by ID
	GPGHomedir string    // "" for GPG's own
	Engine     string    // of Keys; "" for SignEd25519
	Keys       []SignKey // secret keys of that engine
}

// RegenerateMetadata is RegenerateSummary that signs as well and, in a repository with a collection ID, commits metadata to the ref
// "ostree-metadata", as clients of collections expect. signing may be nil. Needs libostree 2023.1.
//
// C: ostree_repo_regenerate_metadata
func (r *Repo) RegenerateMetadata(ctx context.Context, metadata *Variant, signing *MetadataSigning) error {
	const op = "regenerate repository metadata"
	fn := symbol(features[FeatureRepoMetadata].symbol)
	if fn == nil {
		return unsupported(op, FeatureRepoMetadata)
	}
	opts, err := signing.build()
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	owners := []*handle{r.handle(), opts.handle()}
	if metadata != nil {
		if err := metadata.want("a{sv}"); err != nil {
			return fmt.Errorf("%s: %w", op, err)
		}
		owners = append(owners, metadata.handle())
	}
	return call(ctx, op, func(c *C.GCancellable, e **C.GError) C.gboolean {
		return C.shim_repo_regenerate_metadata(fn, r.c(), metadata.c(), opts.c(), c, e)
	}, owners...)
}

func (s *MetadataSigning) build() (*Variant, error) {
	d := NewVariantDict()
	if s == nil {
		return d.Build()
	}
	if len(s.GPGKeyIDs) > 0 {
		d.SetStrv("gpg-key-ids", s.GPGKeyIDs)
	}
	if s.GPGHomedir != "" {
		d.SetString("gpg-homedir", s.GPGHomedir)
	}
	if len(s.Keys) > 0 {
		keys, err := signKeys(s.Keys, cmp.Or(s.Engine, SignEd25519))
		if err != nil {
			return nil, err
		}
		d.Set("sign-keys", keys)
	}
	if s.Engine != "" {
		d.SetString("sign-type", s.Engine)
	}
	return d.Build()
}

// RemoteGPGVerifySummary reports whether the summary of a remote must be signed with GPG. It returns ErrNotFound for the remote.
//
// C: ostree_repo_remote_get_gpg_verify_summary
func (r *Repo) RemoteGPGVerifySummary(name string) (bool, error) {
	var out C.gboolean
	_, err := r.remoteString("gpg-verify-summary of remote "+name, name, "", func(cname, _ *C.char, _ **C.char, e **C.GError) C.gboolean {
		return C.ostree_repo_remote_get_gpg_verify_summary(r.c(), cname, &out, e)
	})
	return out != 0, err
}

// RemoteChange is what ChangeRemote does.
type RemoteChange int

// Values of RemoteChange.
const (
	RemoteAdd            RemoteChange = C.OSTREE_REPO_REMOTE_CHANGE_ADD               // an error if it is there
	RemoteAddIfNotExists RemoteChange = C.OSTREE_REPO_REMOTE_CHANGE_ADD_IF_NOT_EXISTS // nothing if it is there
	RemoteDelete         RemoteChange = C.OSTREE_REPO_REMOTE_CHANGE_DELETE            // ErrNotFound if it is not there
	RemoteDeleteIfExists RemoteChange = C.OSTREE_REPO_REMOTE_CHANGE_DELETE_IF_EXISTS  // nothing if it is not there
	RemoteReplace        RemoteChange = C.OSTREE_REPO_REMOTE_CHANGE_REPLACE           // all keys, whether it is there or not
)

// RemoteConfiguration is what ChangeRemote writes; nil is the zero value.
type RemoteConfiguration struct {
	URL     string   // "https://...", "file://...", "metalink=https://..." or "mirrorlist=..."
	Options *Variant // "a{sv}" of further keys; nil for none
	Sysroot string   // the remotes.d of its /etc is written, where the repository is a sysroot's; "" for the repository's own place
}

// ChangeRemote adds, replaces or deletes a remote.
//
// C: ostree_repo_remote_change
func (r *Repo) ChangeRemote(ctx context.Context, change RemoteChange, name string, conf *RemoteConfiguration) error {
	op := "change remote " + name
	if change < RemoteAdd || change > RemoteReplace {
		return fmt.Errorf("%s: %w: change %d", op, ErrInvalidArgument, change)
	}
	if conf == nil {
		conf = &RemoteConfiguration{}
	}
	if conf.URL == "" && change != RemoteDelete && change != RemoteDeleteIfExists {
		return fmt.Errorf("%s: %w: no URL", op, ErrInvalidArgument)
	}
	var a arena
	defer a.free()
	cname, curl := a.str(name), a.opt(conf.URL)
	var root *C.GFile
	if conf.Sysroot != "" {
		root = newFile(&a, conf.Sysroot)
		defer C.g_object_unref(C.gpointer(unsafe.Pointer(root)))
	}
	if err := checkRemote(&a, name, conf.Options); err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	owners := []*handle{r.handle()}
	if conf.Options != nil {
		owners = append(owners, conf.Options.handle())
	}
	return call(ctx, op, func(c *C.GCancellable, e **C.GError) C.gboolean {
		return C.ostree_repo_remote_change(r.c(), root, C.OstreeRepoRemoteChange(change), cname, curl, conf.Options.c(), c, e)
	}, owners...)
}
