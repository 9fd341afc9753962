#include "shim_finder.h"
#include "_cgo_export.h"

static void
done (GObject *source, GAsyncResult *res, gpointer data)
{
  (void) source;
  *(GAsyncResult **) data = g_object_ref (res);
}

static GAsyncResult *
wait_for (GMainContext *ctx, GAsyncResult **res)
{
  while (!*res)
    g_main_context_iteration (ctx, TRUE);
  return *res;
}

static void
leave (GMainContext *ctx)
{
  while (g_main_context_iteration (ctx, FALSE))
    ;
  g_main_context_pop_thread_default (ctx);
}

static OstreeRepoFinder *
new_finder (const shim_finder *f, GMainContext *ctx, GError **error)
{
  switch (f->kind)
    {
    case SHIM_FINDER_CONFIG:
      return OSTREE_REPO_FINDER (ostree_repo_finder_config_new ());
    case SHIM_FINDER_MOUNT:
      return OSTREE_REPO_FINDER (ostree_repo_finder_mount_new (NULL));
    case SHIM_FINDER_LAN:
      {
        OstreeRepoFinderAvahi *a = ostree_repo_finder_avahi_new (ctx);
        GError *err = NULL;
        ostree_repo_finder_avahi_start (a, &err);
        if (!err)
          return OSTREE_REPO_FINDER (a);
        g_propagate_error (error, err);
        g_object_unref (a);
        return NULL;
      }
    }
  OstreeRepoFinderOverride *o = ostree_repo_finder_override_new ();
  for (char **u = f->uris; *u; u++)
    ostree_repo_finder_override_add_uri (o, *u);
  return OSTREE_REPO_FINDER (o);
}

static OstreeRepoFinderResult **
to_array (GPtrArray *list)
{
  if (!list)
    return NULL;
  g_ptr_array_add (list, NULL);
  return (OstreeRepoFinderResult **) g_ptr_array_free (list, FALSE);
}

static OstreeRepoFinderResult **
find (OstreeRepo *repo, int what, const OstreeCollectionRef *const *refs, GVariant *options,
      GPtrArray *finders, OstreeAsyncProgress *p, GMainContext *ctx, GCancellable *c, GError **error)
{
  g_autoptr(GAsyncResult) res = NULL;
  OstreeRepoFinder **list = finders->len > 1 ? (OstreeRepoFinder **) finders->pdata : NULL;
  if (what == SHIM_FIND_REMOTES)
    {
      ostree_repo_find_remotes_async (repo, refs, options, list, p, c, done, &res);
      return ostree_repo_find_remotes_finish (repo, wait_for (ctx, &res), error);
    }
  if (finders->len == 2) /* one, and the NULL */
    {
      ostree_repo_finder_resolve_async (list[0], refs, repo, c, done, &res);
      return to_array (ostree_repo_finder_resolve_finish (list[0], wait_for (ctx, &res), error));
    }
  ostree_repo_finder_resolve_all_async (list, refs, repo, c, done, &res);
  return to_array (ostree_repo_finder_resolve_all_finish (wait_for (ctx, &res), error));
}

static void
drop_finder (gpointer p)
{
  if (p)
    g_object_unref (p);
}

shim_results *
shim_find (OstreeRepo *repo, int what, OstreeCollectionRef **refs, GVariant *options,
           shim_finder *kinds, size_t n, uintptr_t handle, GCancellable *c, GError **error)
{
  g_autoptr(GMainContext) ctx = g_main_context_new ();
  g_main_context_push_thread_default (ctx);
  g_autoptr(OstreeAsyncProgress) p = handle ? shim_progress_new (handle) : NULL;
  g_autoptr(GPtrArray) finders = g_ptr_array_new_with_free_func (drop_finder);
  gboolean ok = TRUE;
  for (size_t i = 0; ok && i < n; i++)
    {
      OstreeRepoFinder *f = new_finder (&kinds[i], ctx, error);
      if ((ok = f != NULL))
        g_ptr_array_add (finders, f);
    }
  OstreeRepoFinderResult **results = NULL;
  if (ok)
    {
      g_ptr_array_add (finders, NULL);
      results = find (repo, what, (const OstreeCollectionRef *const *) refs, options, finders, p, ctx, c, error);
    }
  for (guint i = 0; i < finders->len; i++)
    if (finders->pdata[i] && OSTREE_IS_REPO_FINDER_AVAHI (finders->pdata[i]))
      ostree_repo_finder_avahi_stop (OSTREE_REPO_FINDER_AVAHI (finders->pdata[i]));
  if (p)
    ostree_async_progress_finish (p);
  leave (ctx);
  if (!results)
    {
      ostree_collection_ref_freev (refs);
      return NULL;
    }
  shim_results *out = g_new0 (shim_results, 1);
  out->results = results;
  out->refs = refs;
  return out;
}

void
shim_results_free (shim_results *r)
{
  ostree_repo_finder_result_freev (r->results);
  ostree_collection_ref_freev (r->refs);
  g_free (r);
}

void
shim_result_refs (OstreeRepoFinderResult *r, uintptr_t handle)
{
  shim_collection_refs_each (r->ref_to_checksum, handle);
}

void
shim_result_timestamps (OstreeRepoFinderResult *r, uintptr_t handle)
{
  if (!r->ref_to_timestamp)
    return;
  GHashTableIter it;
  gpointer k, v;
  g_hash_table_iter_init (&it, r->ref_to_timestamp);
  while (g_hash_table_iter_next (&it, &k, &v))
    {
      const OstreeCollectionRef *ref = k;
      if (v)
        goCollectionTime (handle, ref->collection_id, ref->ref_name, GUINT64_FROM_BE (*(guint64 *) v));
    }
}

gboolean
shim_pull_from_remotes (OstreeRepo *repo, OstreeRepoFinderResult **results, GVariant *options,
                        uintptr_t handle, OstreeAsyncProgress *state, GCancellable *c, GError **error)
{
  g_autoptr(GMainContext) ctx = g_main_context_new ();
  g_main_context_push_thread_default (ctx);
  g_autoptr(OstreeAsyncProgress) p = handle ? shim_progress_new (handle) : NULL;
  g_autoptr(GAsyncResult) res = NULL;
  ostree_repo_pull_from_remotes_async (repo, (const OstreeRepoFinderResult *const *) results, options,
                                       p ? p : state, c, done, &res);
  gboolean ok = ostree_repo_pull_from_remotes_finish (repo, wait_for (ctx, &res), error);
  if (p)
    ostree_async_progress_finish (p);
  leave (ctx);
  return ok;
}
