#include "shim_newer.h"

guint64
shim_bootconfig_tries (void *fn, OstreeBootconfigParser *b)
{
  return ((guint64 (*) (OstreeBootconfigParser *)) fn) (b);
}

gboolean
shim_repo_keyfile (void *fn, OstreeRepo *repo, GKeyFile *k, GError **error)
{
  return ((gboolean (*) (OstreeRepo *, GKeyFile *, GError **)) fn) (repo, k, error);
}

OstreeGpgVerifyResult *
shim_repo_verify_local_summary (void *fn, OstreeRepo *repo, GBytes *summary, GBytes *signatures,
                                GFile *dir, GFile *file, GCancellable *c, GError **error)
{
  return ((OstreeGpgVerifyResult * (*) (OstreeRepo *, GBytes *, GBytes *, GFile *, GFile *, GCancellable *, GError **)) fn)
    (repo, summary, signatures, dir, file, c, error);
}

gboolean
shim_repo_checkout_composefs (void *fn, OstreeRepo *repo, GVariant *options, int dfd, const char *path,
                              const char *commit, GCancellable *c, GError **error)
{
  return ((gboolean (*) (OstreeRepo *, GVariant *, int, const char *, const char *, GCancellable *, GError **)) fn)
    (repo, options, dfd, path, commit, c, error);
}

GVariant *
shim_composefs_metadata (void *fn, OstreeRepo *repo, GVariant *dict, OstreeRepoFile *root,
                         GCancellable *c, GError **error)
{
  if (!ostree_repo_file_ensure_resolved (root, error))
    return NULL;
  g_autoptr(GVariantDict) d = g_variant_dict_new (dict);
  if (!((gboolean (*) (OstreeRepo *, guint, GVariantDict *, OstreeRepoFile *, GCancellable *, GError **)) fn)
        (repo, 0, d, root, c, error))
    return NULL;
  return g_variant_ref_sink (g_variant_dict_end (d));
}

gboolean
shim_repo_regenerate_metadata (void *fn, OstreeRepo *repo, GVariant *metadata, GVariant *options,
                               GCancellable *c, GError **error)
{
  return ((gboolean (*) (OstreeRepo *, GVariant *, GVariant *, GCancellable *, GError **)) fn)
    (repo, metadata, options, c, error);
}

void *
shim_sign_read (void *fn, OstreeSign *sign, GBytes *data)
{
  g_autoptr(GInputStream) in = g_memory_input_stream_new_from_bytes (data);
  return ((void *(*) (OstreeSign *, GInputStream *)) fn) (sign, in);
}

GBytes *
shim_blob_read (void *fn, void *reader, GCancellable *c, GError **error)
{
  return ((GBytes * (*) (void *, GCancellable *, GError **)) fn) (reader, c, error);
}

gboolean
shim_sysroot_update_post_copy (void *fn, OstreeSysroot *s, GCancellable *c, GError **error)
{
  return ((gboolean (*) (OstreeSysroot *, GCancellable *, GError **)) fn) (s, c, error);
}

gboolean
shim_sysroot_change_finalization (void *fn, OstreeSysroot *s, OstreeDeployment *d, GError **error)
{
  return ((gboolean (*) (OstreeSysroot *, OstreeDeployment *, GError **)) fn) (s, d, error);
}

gboolean
shim_sysroot_deployment_op (void *fn, OstreeSysroot *s, OstreeDeployment *d, GCancellable *c, GError **error)
{
  return ((gboolean (*) (OstreeSysroot *, OstreeDeployment *, GCancellable *, GError **)) fn) (s, d, c, error);
}

gboolean
shim_sysroot_set_soft_reboot (void *fn, OstreeSysroot *s, OstreeDeployment *d, gboolean kernel_skew,
                              GCancellable *c, GError **error)
{
  return ((gboolean (*) (OstreeSysroot *, OstreeDeployment *, gboolean, GCancellable *, GError **)) fn) (s, d, kernel_skew, c, error);
}

void
shim_void (void *fn)
{
  ((void (*) (void)) fn) ();
}

gboolean
shim_deployment_bool (void *fn, OstreeDeployment *d)
{
  return ((gboolean (*) (OstreeDeployment *)) fn) (d);
}

gboolean
shim_sysroot_deployment_bool (void *fn, OstreeSysroot *s, OstreeDeployment *d)
{
  return ((gboolean (*) (OstreeSysroot *, OstreeDeployment *)) fn) (s, d);
}
