/* Collection refs: tables of them, and the arrays that finders take. */
#ifndef OSTREE_GO_SHIM_COLLECTION_H
#define OSTREE_GO_SHIM_COLLECTION_H

#include "shim.h"

gboolean shim_list_collection_refs (OstreeRepo *repo, const char *match, int flags, uintptr_t handle,
                                    GCancellable *c, GError **error);
gboolean shim_remote_list_collection_refs (OstreeRepo *repo, const char *remote, uintptr_t handle,
                                           GCancellable *c, GError **error);
gboolean shim_remote_list_refs (OstreeRepo *repo, const char *remote, uintptr_t handle,
                                GCancellable *c, GError **error);
void shim_collection_refs_each (GHashTable *refs, uintptr_t handle);

#endif
