/* Pulls: what iterates a main context, and the values of a progress. */
#ifndef OSTREE_GO_SHIM_PULL_H
#define OSTREE_GO_SHIM_PULL_H

#include "shim.h"

typedef struct {
  guint fetched, requested, metadata_fetched, scanned_metadata, outstanding_metadata_fetches,
    outstanding_fetches, outstanding_writes, metadata_cached, content_cached, scanning,
    fetched_delta_parts, total_delta_parts, fetched_delta_fallbacks, total_delta_fallbacks,
    total_delta_superblocks;
  gboolean caught_error;
  guint64 bytes_transferred, start_time, fetched_delta_part_size, total_delta_part_size,
    total_delta_part_usize;
  const char *status; /* NULL for none */
} shim_pull_progress;

/* handle is that of a Go callback, 0 for none; state may be NULL. Not both. */
gboolean shim_pull (OstreeRepo *repo, const char *remote, GVariant *options, uintptr_t handle,
                    OstreeAsyncProgress *state, GCancellable *c, GError **error);
OstreeAsyncProgress *shim_progress_new (uintptr_t handle);
/* With dir NULL, all of refs. */
gboolean shim_pull_dir (OstreeRepo *repo, const char *remote, const char *dir, char **refs, int flags,
                        uintptr_t handle, GCancellable *c, GError **error);

enum { SHIM_PROGRESS_KEYS = 16 };
/* Both have that many elements; keys end at the first that is NULL. */
void shim_progress_set (OstreeAsyncProgress *p, char **keys, GVariant **values);

#endif
