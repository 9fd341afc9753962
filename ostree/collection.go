package ostree

// #include "shim_collection.h"
import "C"

import (
	"cmp"
	"context"
	"fmt"
	"runtime/cgo"
	"strings"
	"unsafe"
)

// CollectionRef names a ref globally: repositories that share a collection ID agree on what its refs mean,
// wherever they are. Values are comparable and may be map keys.
type CollectionRef struct {
	CollectionID string // reverse DNS name, for example "org.example.Os"; "" for a ref outside any collection
	Ref          string // for example "os/x86_64/stable"
}

// String returns "(collection, ref)".
func (c CollectionRef) String() string { return "(" + c.CollectionID + ", " + c.Ref + ")" }

// Compare orders by collection, then by ref; negative where c comes first.
func (c CollectionRef) Compare(d CollectionRef) int {
	return cmp.Or(strings.Compare(c.CollectionID, d.CollectionID), strings.Compare(c.Ref, d.Ref))
}

// check refuses what libostree would assert on.
func (c CollectionRef) check() error {
	if err := ValidateRev(c.Ref); err != nil {
		return err
	}
	if c.CollectionID == "" {
		return nil
	}
	return ValidateCollectionID(c.CollectionID)
}

// toC makes the C form, which the caller frees. The ref was checked.
func (c CollectionRef) toC() *C.OstreeCollectionRef {
	var a arena
	defer a.free()
	return C.ostree_collection_ref_new(a.opt(c.CollectionID), a.str(c.Ref))
}

func freeCollectionRef(p *C.OstreeCollectionRef) { C.ostree_collection_ref_free(p) }

// collectionRefv makes a NULL-terminated array, for ostree_collection_ref_freev.
func collectionRefv(refs []CollectionRef) (**C.OstreeCollectionRef, error) {
	if len(refs) == 0 {
		return nil, fmt.Errorf("%w: no refs", ErrInvalidArgument)
	}
	for _, r := range refs {
		if err := r.check(); err != nil {
			return nil, err
		}
		if r.CollectionID == "" {
			return nil, fmt.Errorf("%w: ref %s without a collection", ErrInvalidArgument, r.Ref)
		}
	}
	p := (**C.OstreeCollectionRef)(C.g_malloc0(C.gsize(len(refs)+1) * C.gsize(unsafe.Sizeof((*C.OstreeCollectionRef)(nil)))))
	list := unsafe.Slice(p, len(refs)+1)
	for i, r := range refs {
		list[i] = r.toC()
	}
	return p, nil
}

// collectionRefs collects what goCollectionRef is called with.
type collectionRefs struct {
	fn func(ref CollectionRef, checksum string)
}

// ListCollectionRefs returns the refs of one collection ("": of all) -> commit checksum: those of this repository under
// its own collection ID, those of remotes under theirs, and mirrored ones. Refs outside any collection are left out.
//
// C: ostree_repo_list_collection_refs
func (r *Repo) ListCollectionRefs(ctx context.Context, collection string, flags ListRefsFlags) (map[CollectionRef]string, error) {
	op := "list refs of collection " + collection
	if flags&^(ListRefsExcludeRemotes|ListRefsExcludeMirrors) != 0 {
		return nil, fmt.Errorf("%s: %w: flags %#x", op, ErrInvalidArgument, int(flags))
	}
	if collection != "" {
		if err := ValidateCollectionID(collection); err != nil {
			return nil, fmt.Errorf("%s: %w", op, err)
		}
	}
	var a arena
	defer a.free()
	match := a.opt(collection)
	return r.collectRefs(ctx, op, func(h C.uintptr_t, c *C.GCancellable, e **C.GError) C.gboolean {
		return C.shim_list_collection_refs(r.c(), match, C.int(flags), h, c, e)
	})
}

// ListRefsFlags leave refs out of a list; they combine.
type ListRefsFlags int

// Flags of ListCollectionRefs.
const (
	ListRefsAll            ListRefsFlags = C.OSTREE_REPO_LIST_REFS_EXT_NONE
	ListRefsExcludeRemotes ListRefsFlags = C.OSTREE_REPO_LIST_REFS_EXT_EXCLUDE_REMOTES // no refs of remotes
	ListRefsExcludeMirrors ListRefsFlags = C.OSTREE_REPO_LIST_REFS_EXT_EXCLUDE_MIRRORS // no mirrored refs of other collections
)

func (r *Repo) collectRefs(ctx context.Context, op string, fn func(C.uintptr_t, *C.GCancellable, **C.GError) C.gboolean) (map[CollectionRef]string, error) {
	out := map[CollectionRef]string{}
	h := cgo.NewHandle(&collectionRefs{func(ref CollectionRef, checksum string) { out[ref] = checksum }})
	defer h.Delete()
	err := call(ctx, op, func(c *C.GCancellable, e **C.GError) C.gboolean { return fn(C.uintptr_t(h), c, e) }, r.handle())
	if err != nil {
		return nil, err
	}
	return out, nil
}

// RemoteListCollectionRefs fetches the summary of a remote and returns its refs -> commit checksum, with those of other
// collections that it mirrors.
//
// C: ostree_repo_remote_list_collection_refs
func (r *Repo) RemoteListCollectionRefs(ctx context.Context, remote string) (map[CollectionRef]string, error) {
	op := "list collection refs of remote " + remote
	var a arena
	defer a.free()
	cname := a.str(remote)
	if err := checkRemote(&a, remote, nil); err != nil {
		return nil, fmt.Errorf("%s: %w", op, err)
	}
	return r.collectRefs(ctx, op, func(h C.uintptr_t, c *C.GCancellable, e **C.GError) C.gboolean {
		return C.shim_remote_list_collection_refs(r.c(), cname, h, c, e)
	})
}

// ResolveCollectionRef returns the commit checksum of a ref in a collection: of this repository's own refs, the mirrored ones, and those of remotes.
// It returns ErrNotFound.
//
// C: ostree_repo_resolve_collection_ref
func (r *Repo) ResolveCollectionRef(ctx context.Context, ref CollectionRef) (string, error) {
	return r.resolveCollectionRef(ctx, ref, C.OSTREE_REPO_RESOLVE_REV_EXT_NONE)
}

// ResolveCollectionRefLocal is ResolveCollectionRef without mirrored refs and those of remotes.
//
// C: ostree_repo_resolve_collection_ref
func (r *Repo) ResolveCollectionRefLocal(ctx context.Context, ref CollectionRef) (string, error) {
	return r.resolveCollectionRef(ctx, ref, C.OSTREE_REPO_RESOLVE_REV_EXT_LOCAL_ONLY)
}

func (r *Repo) resolveCollectionRef(ctx context.Context, ref CollectionRef, flags C.OstreeRepoResolveRevExtFlags) (string, error) {
	op := "resolve " + ref.String()
	if err := ref.check(); err != nil {
		return "", fmt.Errorf("%s: %w", op, err)
	}
	if ref.CollectionID == "" {
		return "", fmt.Errorf("%s: %w: no collection", op, ErrInvalidArgument)
	}
	cref := ref.toC()
	defer freeCollectionRef(cref)
	var out *C.char
	err := call(ctx, op, func(c *C.GCancellable, e **C.GError) C.gboolean {
		return C.ostree_repo_resolve_collection_ref(r.c(), cref, 0, flags, &out, c, e)
	}, r.handle())
	return takeString(out), err
}

// SetCollectionRefImmediate points a ref of a collection at a commit, outside any transaction: a local ref where the collection is this
// repository's own or "", a mirrored one otherwise. checksum "" deletes the ref.
//
// C: ostree_repo_set_collection_ref_immediate
func (r *Repo) SetCollectionRefImmediate(ctx context.Context, ref CollectionRef, checksum string) error {
	op := "set ref " + ref.String()
	if err := checkCollectionRef(ref, checksum); err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	var a arena
	defer a.free()
	csum := a.opt(checksum)
	cref := ref.toC()
	defer freeCollectionRef(cref)
	return call(ctx, op, func(c *C.GCancellable, e **C.GError) C.gboolean {
		return C.ostree_repo_set_collection_ref_immediate(r.c(), cref, csum, c, e)
	}, r.handle())
}

func checkCollectionRef(ref CollectionRef, checksum string) error {
	if err := ref.check(); err != nil {
		return err
	}
	if checksum != "" {
		return ValidateChecksum(checksum)
	}
	return nil
}

// SetCollectionRef is SetRef for a ref of a collection; see Repo.SetCollectionRefImmediate. Safe for concurrent use.
//
// C: ostree_repo_transaction_set_collection_ref, ostree_collection_ref_new, ostree_collection_ref_free
func (t *Transaction) SetCollectionRef(ref CollectionRef, checksum string) error {
	op := "set ref " + ref.String()
	if err := checkCollectionRef(ref, checksum); err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	var a arena
	defer a.free()
	csum := a.opt(checksum)
	cref := ref.toC() // copied by libostree
	defer freeCollectionRef(cref)
	return t.set(op, func(repo *C.OstreeRepo) { C.ostree_repo_transaction_set_collection_ref(repo, cref, csum) })
}

// SetCollectionID changes the collection ID of the open Repo, "" for none. WriteConfig of Config makes that last.
//
// C: ostree_repo_set_collection_id
func (r *Repo) SetCollectionID(id string) error {
	const op = "set collection ID"
	var a arena
	defer a.free()
	cid := a.opt(id)
	if a.err != nil {
		return fmt.Errorf("%s: %w", op, a.err)
	}
	if id == "" && r.CollectionID() == "" {
		return callFast(context.Background(), op, func(**C.GError) C.gboolean { return 1 }, r.handle())
	}
	return callFast(context.Background(), op, func(e **C.GError) C.gboolean {
		return C.ostree_repo_set_collection_id(r.c(), cid, e)
	}, r.handle())
}

// Remote is a remote as libostree describes it.
type Remote struct {
	Name string // as in the config; made up for one that a finder found
	URL  string // "" where the config has none
}

// takeRemote drops the reference.
func takeRemote(p *C.OstreeRemote) Remote {
	defer C.ostree_remote_unref(p)
	return readRemote(p)
}

func readRemote(p *C.OstreeRemote) Remote {
	return Remote{C.GoString((*C.char)(C.ostree_remote_get_name(p))), takeString((*C.char)(C.ostree_remote_get_url(p)))}
}

// ResolveKeyringForCollection returns the configured remote of a collection, whose keys are to verify what comes from it.
// It returns ErrNotFound if there is none.
//
// C: ostree_repo_resolve_keyring_for_collection, ostree_remote_get_name, ostree_remote_get_url, ostree_remote_unref
func (r *Repo) ResolveKeyringForCollection(ctx context.Context, id string) (Remote, error) {
	op := "keyring of collection " + id
	if err := ValidateCollectionID(id); err != nil {
		return Remote{}, fmt.Errorf("%s: %w", op, err)
	}
	var a arena
	defer a.free()
	cid := a.str(id)
	var p *C.OstreeRemote
	err := call(ctx, op, func(c *C.GCancellable, e **C.GError) C.gboolean {
		p = C.ostree_repo_resolve_keyring_for_collection(r.c(), cid, c, e)
		return gbool(p != nil)
	}, r.handle())
	if err != nil {
		return Remote{}, err
	}
	return takeRemote(p), nil
}
