package ostree

// #include "shim.h"
import "C"

import (
	"context"
	"slices"
	"unsafe"
)

// ObjectParents remembers which object each object was reached from, to answer which commits contain it.
// Not safe for concurrent use.
type ObjectParents struct{ h handle }

// NewObjectParents returns an empty map.
//
// C: ostree_repo_traverse_new_parents
func NewObjectParents() *ObjectParents {
	p := &ObjectParents{}
	p.h.own(unsafe.Pointer(C.ostree_repo_traverse_new_parents()), hashUnref)
	return p
}

func (p *ObjectParents) c() *C.GHashTable { return (*C.GHashTable)(p.h.ptr) }

// Commits returns the checksums of the commits, of those traversed, that contain an object; sorted. An
// object that was not reached is in none.
//
// C: ostree_repo_traverse_parents_get_commits
func (p *ObjectParents) Commits(n ObjectName) ([]string, error) {
	var a arena
	defer a.free()
	op, csum, err := objectArgs("commits of", n.Type, n.Checksum, &a)
	if err != nil {
		return nil, err
	}
	var list []string
	err = callFast(context.Background(), op, func(**C.GError) C.gboolean {
		key := C.g_variant_ref_sink(C.ostree_object_name_serialize(csum, C.OstreeObjectType(n.Type)))
		defer C.g_variant_unref(key)
		list = takeStrv(C.ostree_repo_traverse_parents_get_commits(p.c(), key))
		return 1
	}, &p.h)
	slices.Sort(list)
	return list, err
}

// TraverseFlags change what a traversal looks at.
type TraverseFlags int

// Flags of TraverseCommitWithParents.
const (
	TraverseAll         TraverseFlags = C.OSTREE_REPO_COMMIT_TRAVERSE_FLAG_NONE
	TraverseCommitsOnly TraverseFlags = C.OSTREE_REPO_COMMIT_TRAVERSE_FLAG_COMMIT_ONLY // commit objects, not their trees
)

// TraverseCommitWithParents is TraverseCommitUnion that also fills parents, which may be nil. An object that is in set already is not
// looked at again: use one pair of set and parents for all commits.
//
// C: ostree_repo_traverse_commit_union_with_parents, ostree_repo_traverse_commit_with_flags
func (r *Repo) TraverseCommitWithParents(ctx context.Context, commit string, depth int, flags TraverseFlags, set *ReachableSet, parents *ObjectParents) error {
	var a arena
	defer a.free()
	op, csum, err := traverseArgs(commit, depth, &a)
	if err != nil {
		return err
	}
	owners := []*handle{r.handle(), set.handle()}
	var cparents *C.GHashTable
	if parents != nil {
		owners = append(owners, &parents.h)
		cparents = parents.c()
	}
	return call(ctx, op, func(c *C.GCancellable, e **C.GError) C.gboolean {
		if flags == TraverseAll {
			return C.ostree_repo_traverse_commit_union_with_parents(r.c(), csum, C.int(depth), set.c(), cparents, c, e)
		}
		return C.ostree_repo_traverse_commit_with_flags(r.c(), C.OstreeRepoCommitTraverseFlags(flags), csum, C.int(depth), set.c(), cparents, c, e)
	}, owners...)
}
