#include "shim_pull.h"
#include "_cgo_export.h"

static void
progress_changed (OstreeAsyncProgress *p, gpointer handle)
{
  shim_pull_progress s = { 0 };
  g_autofree char *status = ostree_async_progress_get_status (p);
  /* Before the first update of a pull there is only a status. */
  g_autoptr(GVariant) ready = ostree_async_progress_get_variant (p, "outstanding-fetches");
  if (ready)
    ostree_async_progress_get (
        p, "fetched", "u", &s.fetched, "requested", "u", &s.requested,
        "metadata-fetched", "u", &s.metadata_fetched, "scanned-metadata", "u", &s.scanned_metadata,
        "outstanding-metadata-fetches", "u", &s.outstanding_metadata_fetches,
        "outstanding-fetches", "u", &s.outstanding_fetches,
        "outstanding-writes", "u", &s.outstanding_writes,
        "metadata-fetched-localcache", "u", &s.metadata_cached,
        "content-fetched-localcache", "u", &s.content_cached, "scanning", "u", &s.scanning,
        "fetched-delta-parts", "u", &s.fetched_delta_parts,
        "total-delta-parts", "u", &s.total_delta_parts,
        "fetched-delta-fallbacks", "u", &s.fetched_delta_fallbacks,
        "total-delta-fallbacks", "u", &s.total_delta_fallbacks,
        "total-delta-superblocks", "u", &s.total_delta_superblocks,
        "caught-error", "b", &s.caught_error, "bytes-transferred", "t", &s.bytes_transferred,
        "start-time", "t", &s.start_time,
        "fetched-delta-part-size", "t", &s.fetched_delta_part_size,
        "total-delta-part-size", "t", &s.total_delta_part_size,
        "total-delta-part-usize", "t", &s.total_delta_part_usize, NULL);
  if (status && *status)
    s.status = status;
  goPullProgress ((uintptr_t) handle, &s);
}

/* Its callbacks come from the main context that is the thread's at this moment. */
OstreeAsyncProgress *
shim_progress_new (uintptr_t handle)
{
  return ostree_async_progress_new_and_connect (progress_changed, (gpointer) handle);
}

/* A pull iterates the thread's main context: one of its own, so that several
 * pulls do not run each other's callbacks. */
typedef struct {
  GMainContext *ctx;
  OstreeAsyncProgress *progress;
} PullScope;

static PullScope
pull_begin (uintptr_t handle)
{
  PullScope p = { g_main_context_new (), NULL };
  g_main_context_push_thread_default (p.ctx);
  if (handle)
    p.progress = shim_progress_new (handle);
  return p;
}

static void
pull_end (PullScope p)
{
  if (p.progress)
    {
      ostree_async_progress_finish (p.progress);
      g_object_unref (p.progress);
    }
  while (g_main_context_iteration (p.ctx, FALSE))
    ;
  g_main_context_pop_thread_default (p.ctx);
  g_main_context_unref (p.ctx);
}

gboolean
shim_pull (OstreeRepo *repo, const char *remote, GVariant *options, uintptr_t handle,
           OstreeAsyncProgress *state, GCancellable *c, GError **error)
{
  PullScope p = pull_begin (handle);
  gboolean ok = ostree_repo_pull_with_options (repo, remote, options, p.progress ? p.progress : state, c, error);
  pull_end (p);
  return ok;
}

gboolean
shim_upgrader_pull (OstreeSysrootUpgrader *u, const char *dir, int flags, int upgrader_flags,
                    uintptr_t handle, gboolean *changed, GCancellable *c, GError **error)
{
  PullScope p = pull_begin (handle);
  gboolean ok = dir
    ? ostree_sysroot_upgrader_pull_one_dir (u, dir, (OstreeRepoPullFlags) flags, (OstreeSysrootUpgraderPullFlags) upgrader_flags,
                                            p.progress, changed, c, error)
    : ostree_sysroot_upgrader_pull (u, (OstreeRepoPullFlags) flags, (OstreeSysrootUpgraderPullFlags) upgrader_flags,
                                    p.progress, changed, c, error);
  pull_end (p);
  return ok;
}

gboolean
shim_pull_dir (OstreeRepo *repo, const char *remote, const char *dir, char **refs, int flags,
               uintptr_t handle, GCancellable *c, GError **error)
{
  PullScope p = pull_begin (handle);
  gboolean ok = dir
    ? ostree_repo_pull_one_dir (repo, remote, dir, refs, (OstreeRepoPullFlags) flags, p.progress, c, error)
    : ostree_repo_pull (repo, remote, refs, (OstreeRepoPullFlags) flags, p.progress, c, error);
  pull_end (p);
  return ok;
}

/* "@*" takes a variant of any type. What follows the first NULL key is not looked at. */
void
shim_progress_set (OstreeAsyncProgress *p, char **keys, GVariant **values)
{
#define KEY(i) keys[i], "@*", values[i]
#define FOUR(i) KEY (i), KEY (i + 1), KEY (i + 2), KEY (i + 3)
  G_STATIC_ASSERT (SHIM_PROGRESS_KEYS == 16);
  ostree_async_progress_set (p, FOUR (0), FOUR (4), FOUR (8), FOUR (12), NULL, NULL);
#undef FOUR
#undef KEY
}
