package ostree

// #include "shim.h"
import "C"

import (
	"context"
	"fmt"
	"math"
	"runtime/cgo"
	"unsafe"
)

// ReachableSet is a set of object names, for pruning. Not safe for concurrent use.
type ReachableSet struct{ h handle }

// NewReachableSet returns an empty set.
//
// C: ostree_repo_traverse_new_reachable
func NewReachableSet() *ReachableSet {
	s := &ReachableSet{}
	s.h.own(unsafe.Pointer(C.ostree_repo_traverse_new_reachable()), hashUnref)
	return s
}

func hashUnref(p unsafe.Pointer) { C.g_hash_table_unref((*C.GHashTable)(p)) }

func (s *ReachableSet) c() *C.GHashTable { return (*C.GHashTable)(s.h.ptr) }
func (s *ReachableSet) handle() *handle  { return &s.h }

// Len returns the number of objects.
func (s *ReachableSet) Len() int {
	defer s.h.release()
	s.h.acquire()
	return int(C.g_hash_table_size(s.c()))
}

// Add puts an object in.
//
// C: ostree_object_name_serialize
func (s *ReachableSet) Add(n ObjectName) error {
	var a arena
	defer a.free()
	op, csum, err := objectArgs("add", n.Type, n.Checksum, &a)
	if err != nil {
		return err
	}
	return callFast(context.Background(), op, func(**C.GError) C.gboolean {
		C.shim_reachable_add(s.c(), csum, C.int(n.Type))
		return 1
	}, &s.h)
}

// Contains reports whether an object is in the set.
func (s *ReachableSet) Contains(n ObjectName) bool {
	var a arena
	defer a.free()
	_, csum, err := objectArgs("", n.Type, n.Checksum, &a)
	if err != nil || s.h.acquire() == nil {
		return false
	}
	defer s.h.release()
	return C.shim_reachable_contains(s.c(), csum, C.int(n.Type)) != 0
}

// Objects returns the members in no order.
//
// C: ostree_object_name_deserialize
func (s *ReachableSet) Objects() []ObjectName {
	out := make([]ObjectName, 0, s.Len())
	h := cgo.NewHandle(&objectNames{func(c string, t ObjectType) { out = append(out, ObjectName{c, t}) }})
	defer h.Delete()
	s.h.acquire()
	defer s.h.release()
	C.shim_object_set_each(s.c(), C.uintptr_t(h))
	return out
}

// TraverseCommitUnion adds a commit and all that it reaches to set. depth is how many
// parents to follow: 0 none, -1 all. Commits that are not there, the first one too, end the walk without an error; a partial commit's missing
// objects do too.
//
// C: ostree_repo_traverse_commit_union
func (r *Repo) TraverseCommitUnion(ctx context.Context, commit string, depth int, set *ReachableSet) error {
	var a arena
	defer a.free()
	op, csum, err := traverseArgs(commit, depth, &a)
	if err != nil {
		return err
	}
	return call(ctx, op, func(c *C.GCancellable, e **C.GError) C.gboolean {
		return C.ostree_repo_traverse_commit_union(r.c(), csum, C.int(depth), set.c(), c, e)
	}, r.handle(), set.handle())
}

// TraverseCommit returns all that a commit reaches, itself too. depth is as in TraverseCommitUnion.
//
// C: ostree_repo_traverse_commit
func (r *Repo) TraverseCommit(ctx context.Context, commit string, depth int) (*ReachableSet, error) {
	var a arena
	defer a.free()
	op, csum, err := traverseArgs(commit, depth, &a)
	if err != nil {
		return nil, err
	}
	var set *C.GHashTable
	err = call(ctx, op, func(c *C.GCancellable, e **C.GError) C.gboolean {
		return C.ostree_repo_traverse_commit(r.c(), csum, C.int(depth), &set, c, e)
	}, r.handle())
	if err != nil {
		return nil, err
	}
	s := &ReachableSet{}
	s.h.own(unsafe.Pointer(set), hashUnref)
	return s, nil
}

func traverseArgs(commit string, depth int, a *arena) (string, *C.char, error) {
	op, csum, err := objectArgs("traverse", ObjectCommit, commit, a)
	if err == nil && (depth < -1 || depth > math.MaxInt32) {
		err = fmt.Errorf("%s: %w: depth %d", op, ErrInvalidArgument, depth)
	}
	return op, csum, err
}

// TraverseReachableRefs adds all that refs reach to set. depth is how many parents of each commit to follow: 0 none, math.MaxUint32 all.
//
// C: ostree_repo_traverse_reachable_refs
func (r *Repo) TraverseReachableRefs(ctx context.Context, depth uint32, set *ReachableSet) error {
	return call(ctx, "traverse refs", func(c *C.GCancellable, e **C.GError) C.gboolean {
		return C.ostree_repo_traverse_reachable_refs(r.c(), C.guint(depth), set.c(), c, e)
	}, r.handle(), set.handle())
}

// ListObjects returns all objects of the repository, loose ones, not of its parent.
//
// C: ostree_repo_list_objects
func (r *Repo) ListObjects(ctx context.Context) ([]ObjectName, error) {
	var out []ObjectName
	h := cgo.NewHandle(&objectNames{func(c string, t ObjectType) { out = append(out, ObjectName{c, t}) }})
	defer h.Delete()
	err := call(ctx, "list objects", func(c *C.GCancellable, e **C.GError) C.gboolean {
		return C.shim_list_objects(r.c(), C.OSTREE_REPO_LIST_OBJECTS_ALL|C.OSTREE_REPO_LIST_OBJECTS_NO_PARENTS, C.uintptr_t(h), c, e)
	}, r.handle())
	if err != nil {
		return nil, err
	}
	return out, nil
}
