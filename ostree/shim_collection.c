#include "shim_collection.h"
#include "_cgo_export.h"

/* Keys are OstreeCollectionRef, values checksums; a value may be NULL. */
void
shim_collection_refs_each (GHashTable *refs, uintptr_t handle)
{
  GHashTableIter it;
  gpointer k, v;
  g_hash_table_iter_init (&it, refs);
  while (g_hash_table_iter_next (&it, &k, &v))
    {
      const OstreeCollectionRef *ref = k;
      goCollectionRef (handle, ref->collection_id, ref->ref_name, v);
    }
}

gboolean
shim_list_collection_refs (OstreeRepo *repo, const char *match, int flags, uintptr_t handle,
                           GCancellable *c, GError **error)
{
  g_autoptr(GHashTable) refs = NULL;
  if (!ostree_repo_list_collection_refs (repo, match, &refs, (OstreeRepoListRefsExtFlags) flags, c, error))
    return FALSE;
  shim_collection_refs_each (refs, handle);
  return TRUE;
}

gboolean
shim_remote_list_collection_refs (OstreeRepo *repo, const char *remote, uintptr_t handle,
                                  GCancellable *c, GError **error)
{
  g_autoptr(GHashTable) refs = NULL;
  if (!ostree_repo_remote_list_collection_refs (repo, remote, &refs, c, error))
    return FALSE;
  shim_collection_refs_each (refs, handle);
  return TRUE;
}

gboolean
shim_remote_list_refs (OstreeRepo *repo, const char *remote, uintptr_t handle,
                       GCancellable *c, GError **error)
{
  g_autoptr(GHashTable) refs = NULL;
  if (!ostree_repo_remote_list_refs (repo, remote, &refs, c, error))
    return FALSE;
  GHashTableIter it;
  gpointer k, v;
  g_hash_table_iter_init (&it, refs);
  while (g_hash_table_iter_next (&it, &k, &v))
    goStringPair (handle, k, v);
  return TRUE;
}
