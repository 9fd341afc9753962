/* Finders of repositories: objects of one call, run on its own main context. */
#ifndef OSTREE_GO_SHIM_FINDER_H
#define OSTREE_GO_SHIM_FINDER_H

#include "shim_collection.h"
#include "shim_pull.h"

enum { SHIM_FINDER_CONFIG, SHIM_FINDER_MOUNT, SHIM_FINDER_LAN, SHIM_FINDER_OVERRIDE };

typedef struct {
  int kind;
  char **uris; /* of an override, NULL-terminated */
} shim_finder;

/* The keys in results' tables may be those of refs, so they go together. */
typedef struct {
  OstreeRepoFinderResult **results; /* NULL-terminated */
  OstreeCollectionRef **refs;
} shim_results;

enum { SHIM_FIND_REMOTES, SHIM_RESOLVE };

/* Takes refs over, whatever happens. */
shim_results *shim_find (OstreeRepo *repo, int what, OstreeCollectionRef **refs, GVariant *options,
                         shim_finder *finders, size_t n, uintptr_t progress, GCancellable *c, GError **error);
void shim_results_free (shim_results *r);
void shim_result_refs (OstreeRepoFinderResult *r, uintptr_t handle);
void shim_result_timestamps (OstreeRepoFinderResult *r, uintptr_t handle);
gboolean shim_pull_from_remotes (OstreeRepo *repo, OstreeRepoFinderResult **results, GVariant *options,
                                 uintptr_t progress, OstreeAsyncProgress *state, GCancellable *c, GError **error);

#endif
