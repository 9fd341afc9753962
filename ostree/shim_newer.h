/* Trampolines for functions newer than the oldest supported libostree: fn is the looked-up symbol. */
#ifndef OSTREE_GO_SHIM_NEWER_H
#define OSTREE_GO_SHIM_NEWER_H

#include "shim.h"

guint64 shim_bootconfig_tries (void *fn, OstreeBootconfigParser *b);
gboolean shim_repo_keyfile (void *fn, OstreeRepo *repo, GKeyFile *k, GError **error);
OstreeGpgVerifyResult *shim_repo_verify_local_summary (void *fn, OstreeRepo *repo, GBytes *summary, GBytes *signatures,
                                                       GFile *dir, GFile *file, GCancellable *c, GError **error);
gboolean shim_repo_checkout_composefs (void *fn, OstreeRepo *repo, GVariant *options, int dfd, const char *path,
                                       const char *commit, GCancellable *c, GError **error);
/* The a{sv} dict with the digest added; NULL on error. */
GVariant *shim_composefs_metadata (void *fn, OstreeRepo *repo, GVariant *dict, OstreeRepoFile *root,
                                   GCancellable *c, GError **error);
gboolean shim_repo_regenerate_metadata (void *fn, OstreeRepo *repo, GVariant *metadata, GVariant *options,
                                        GCancellable *c, GError **error);
/* A new OstreeBlobReader, NULL where the engine has none; and its next blob, NULL at the end or on error. */
void *shim_sign_read (void *fn, OstreeSign *sign, GBytes *data);
GBytes *shim_blob_read (void *fn, void *reader, GCancellable *c, GError **error);
gboolean shim_sysroot_deployment_op (void *fn, OstreeSysroot *s, OstreeDeployment *d, GCancellable *c, GError **error);
gboolean shim_sysroot_set_soft_reboot (void *fn, OstreeSysroot *s, OstreeDeployment *d, gboolean kernel_skew,
                                       GCancellable *c, GError **error);
void shim_void (void *fn);
gboolean shim_sysroot_update_post_copy (void *fn, OstreeSysroot *s, GCancellable *c, GError **error);
gboolean shim_sysroot_change_finalization (void *fn, OstreeSysroot *s, OstreeDeployment *d, GError **error);
gboolean shim_deployment_bool (void *fn, OstreeDeployment *d);
gboolean shim_sysroot_deployment_bool (void *fn, OstreeSysroot *s, OstreeDeployment *d);

#endif
