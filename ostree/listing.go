package ostree

// #include "shim.h"
import "C"

import (
	"context"
	"fmt"
	"io"
	"iter"
	"runtime/cgo"
	"slices"
	"unsafe"
)

// CommitsStartingWith returns the checksums of all commits whose checksum starts with prefix, up to 64 hex digits, sorted. It looks at every object.
//
// C: ostree_repo_list_commit_objects_starting_with
func (r *Repo) CommitsStartingWith(ctx context.Context, prefix string) ([]string, error) {
	op := "commits starting with " + prefix
	if len(prefix) > 64 || ValidateChecksum((prefix + zeros)[:64]) != nil {
		return nil, fmt.Errorf("%s: %w: not up to 64 hex digits", op, ErrInvalidArgument)
	}
	var a arena
	defer a.free()
	cprefix := a.str(prefix)
	var set *C.GHashTable
	err := call(ctx, op, func(c *C.GCancellable, e **C.GError) C.gboolean {
		return C.ostree_repo_list_commit_objects_starting_with(r.c(), cprefix, &set, c, e)
	}, r.handle())
	if err != nil {
		return nil, err
	}
	defer C.g_hash_table_unref(set)
	var out []string
	h := cgo.NewHandle(&objectNames{func(c string, _ ObjectType) { out = append(out, c) }})
	defer h.Delete()
	C.shim_object_set_each(set, C.uintptr_t(h))
	slices.Sort(out)
	return out, nil
}

const zeros = "0000000000000000000000000000000000000000000000000000000000000000"

// LoadObjectStream opens an object in the form that its checksum is made of, and returns its size in bytes: the variant of a metadata
// object; a header and the content for a file object. It returns ErrNotFound. The caller closes it.
//
// C: ostree_repo_load_object_stream
func (r *Repo) LoadObjectStream(ctx context.Context, t ObjectType, checksum string) (io.ReadCloser, int64, error) {
	var a arena
	defer a.free()
	op, csum, err := objectArgs("load", t, checksum, &a)
	if err != nil {
		return nil, 0, err
	}
	if !t.IsMeta() && t != ObjectFile {
		return nil, 0, fmt.Errorf("%s: %w: neither metadata nor a file", op, ErrInvalidArgument)
	}
	var in *C.GInputStream
	var size C.guint64
	err = call(ctx, op, func(c *C.GCancellable, e **C.GError) C.gboolean {
		return C.ostree_repo_load_object_stream(r.c(), C.OstreeObjectType(t), csum, &in, &size, c, e)
	}, r.handle())
	if err != nil {
		return nil, 0, err
	}
	f := &File{stream: true, left: int64(size)}
	f.h.own(unsafe.Pointer(in), objectUnref)
	return f, int64(size), nil
}

// DirEntries yields the entries of a directory, given the checksum of its dirtree: first the files, then the subdirectories, in
// name order. The first error ends it; it matches ErrNotFound where the dirtree is not there. LoadDirTree gives all at once.
//
// C: ostree_repo_commit_traverse_iter_init_dirtree, ostree_repo_commit_traverse_iter_next
//
// C: ostree_repo_commit_traverse_iter_get_file, ostree_repo_commit_traverse_iter_get_dir
//
// C: ostree_repo_commit_traverse_iter_clear
func (r *Repo) DirEntries(ctx context.Context, tree string) iter.Seq2[TreeEntry, error] {
	return r.entries(ctx, ObjectDirTree, tree, func(it *C.OstreeRepoCommitTraverseIter, v *C.GVariant, e **C.GError) C.gboolean {
		return C.ostree_repo_commit_traverse_iter_init_dirtree(it, r.c(), v, C.OSTREE_REPO_COMMIT_TRAVERSE_FLAG_NONE, e)
	})
}

// RootEntry returns the root directory of a commit, given its checksum. It returns ErrNotFound.
//
// C: ostree_repo_commit_traverse_iter_init_commit
func (r *Repo) RootEntry(ctx context.Context, commit string) (TreeEntry, error) {
	for e, err := range r.entries(ctx, ObjectCommit, commit, func(it *C.OstreeRepoCommitTraverseIter, v *C.GVariant, e **C.GError) C.gboolean {
		return C.ostree_repo_commit_traverse_iter_init_commit(it, r.c(), v, C.OSTREE_REPO_COMMIT_TRAVERSE_FLAG_NONE, e)
	}) {
		return e, err
	}
	return TreeEntry{}, fmt.Errorf("root of %s: %w", commit, ErrNotFound)
}

func (r *Repo) entries(ctx context.Context, t ObjectType, checksum string,
	start func(*C.OstreeRepoCommitTraverseIter, *C.GVariant, **C.GError) C.gboolean,
) iter.Seq2[TreeEntry, error] {
	return func(yield func(TreeEntry, error) bool) {
		v, err := r.LoadVariant(ctx, t, checksum)
		if err != nil {
			yield(TreeEntry{}, err)
			return
		}
		// libostree keeps a pointer to the iterator's own memory.
		it := (*C.OstreeRepoCommitTraverseIter)(C.calloc(1, C.sizeof_OstreeRepoCommitTraverseIter))
		defer C.free(unsafe.Pointer(it))
		op := "entries of " + checksum
		err = callFast(ctx, op, func(e **C.GError) C.gboolean { return start(it, v.c(), e) }, r.handle(), v.handle())
		if err != nil {
			yield(TreeEntry{}, err)
			return
		}
		defer C.ostree_repo_commit_traverse_iter_clear(it)
		for {
			var res C.OstreeRepoCommitIterResult
			var entry TreeEntry
			err := callFast(ctx, op, func(e **C.GError) C.gboolean {
				res = C.ostree_repo_commit_traverse_iter_next(it, nil, e)
				var name, sum, meta *C.char // stay the iterator's
				switch res {
				case C.OSTREE_REPO_COMMIT_ITER_RESULT_FILE:
					C.ostree_repo_commit_traverse_iter_get_file(it, &name, &sum)
					entry = TreeEntry{Name: C.GoString(name), Checksum: C.GoString(sum)}
				case C.OSTREE_REPO_COMMIT_ITER_RESULT_DIR:
					C.ostree_repo_commit_traverse_iter_get_dir(it, &name, &sum, &meta)
					entry = TreeEntry{Name: C.GoString(name), IsDir: true, Checksum: C.GoString(sum), Meta: C.GoString(meta)}
				}
				return gbool(res != C.OSTREE_REPO_COMMIT_ITER_RESULT_ERROR)
			}, r.handle())
			switch {
			case err != nil:
				yield(TreeEntry{}, err)
				return
			case res == C.OSTREE_REPO_COMMIT_ITER_RESULT_END || !yield(entry, nil):
				return
			}
		}
	}
}
