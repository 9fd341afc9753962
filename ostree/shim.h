/* C side of the binding: macros, structs with bit fields, variadic functions,
 * loops that would cross the border once per field, and trampolines for
 * functions newer than the oldest supported libostree. */
#ifndef OSTREE_GO_SHIM_H
#define OSTREE_GO_SHIM_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <gio/gio.h>
#include <gio/gunixinputstream.h>
#include <ostree.h>

/* What a GFileInfo says about a file object; strings are the GFileInfo's. */
typedef struct {
  uint32_t uid, gid, mode;
  int64_t size;
  const char *symlink_target;
} shim_file_info;

const char *shim_quark (GError *err);
void *shim_symbol (const char *name);

GVariant *shim_variant_from_data (const char *type, const void *data, size_t len);
GVariant *shim_vardict_new (size_t n, const char **keys, GVariant **values);
GVariant *shim_variant_strv (size_t n, const char **strs);
GVariant *shim_string_tuples (size_t width, size_t rows, char **strs);
GVariant *shim_xattrs_parse (const uint8_t *flat, size_t len);

gboolean shim_write_metadata (OstreeRepo *repo, int objtype, const char *expected,
                              const void *data, size_t len, guchar *out_csum,
                              gboolean trusted, GCancellable *c, GError **error);
gboolean shim_write_content (OstreeRepo *repo, const char *expected, uint32_t uid, uint32_t gid,
                             uint32_t mode, uint64_t size, const char *symlink_target,
                             const uint8_t *xattrs, size_t xattrs_len,
                             const void *buf, uintptr_t reader, gboolean trusted,
                             guchar *out_csum, GCancellable *c, GError **error);

/* Metadata of a regular file or, with a target, of a symlink; xattrs as shim_xattrs_parse takes them. */
typedef struct {
  uint32_t uid, gid, mode;
  uint64_t size;
  const char *target;
  const uint8_t *xattrs;
  size_t xattrs_len;
} shim_content_meta;
gboolean shim_checksum_content (const shim_content_meta *m, uintptr_t reader, guchar **out_csum,
                                GCancellable *c, GError **error);
/* These two release reader with the stream, or when they fail. */
gboolean shim_content_stream_parse (gboolean compressed, uintptr_t reader, guint64 length, gboolean trusted,
                                    GInputStream **in, GFileInfo **info, GVariant **xattrs,
                                    GCancellable *c, GError **error);
gboolean shim_archive_content (const shim_content_meta *m, uintptr_t reader, GVariant *options,
                               GInputStream **out, GCancellable *c, GError **error);

void shim_reachable_add (GHashTable *set, const char *checksum, int objtype);
int shim_reachable_contains (GHashTable *set, const char *checksum, int objtype);
guint shim_object_hash (const char *checksum, int objtype);
void shim_object_set_each (GHashTable *set, uintptr_t handle);
gboolean shim_list_objects (OstreeRepo *repo, int flags, uintptr_t handle,
                            GCancellable *c, GError **error);

/* Calls back into Go for every entry of "ostree.sizes". */
gboolean shim_commit_sizes (GVariant *commit, uintptr_t handle, GError **error);
GVariant *shim_create_dirmeta (uint32_t uid, uint32_t gid, uint32_t mode, const uint8_t *xattrs, size_t xattrs_len);
/* The a{sv} dict with the keys of a bootable commit added; NULL on error. */
GVariant *shim_bootable_metadata (GFile *root, GVariant *dict, GCancellable *c, GError **error);
gboolean shim_upgrader_pull (OstreeSysrootUpgrader *u, const char *dir, int flags, int upgrader_flags,
                             uintptr_t progress, gboolean *changed, GCancellable *c, GError **error);

gboolean shim_deploy_tree (OstreeSysroot *s, gboolean stage, const char *osname, const char *revision,
                           GKeyFile *origin, OstreeDeployment *merge, char **kargs, char **initrds,
                           gboolean locked, OstreeDeployment **out, GCancellable *c, GError **error);
gboolean shim_write_deployments (OstreeSysroot *s, OstreeDeployment **list, size_t n, gboolean postclean,
                                 gboolean no_early_prune, GCancellable *c, GError **error);

gboolean shim_mtree_each (OstreeMutableTree *m, gboolean dirs, uintptr_t handle, GError **error);
gboolean shim_mtree_ensure_parents (OstreeMutableTree *m, char **names, size_t n, const char *meta,
                                    OstreeMutableTree **out, GError **error);
gboolean shim_mtree_walk (OstreeMutableTree *m, char **names, size_t n, OstreeMutableTree **out, GError **error);
OstreeRepoCommitModifier *shim_modifier_new (int flags, gboolean filter, gboolean xattrs, uintptr_t handle,
                                             OstreeSePolicy *policy, OstreeRepoDevInoCache *cache);

/* OstreeRepoCheckoutAtOptions without its padding. */
typedef struct {
  int mode, overwrite;
  int process_whiteouts, process_passthrough_whiteouts, no_copy_fallback, force_copy,
    bareuseronly_dirs, force_copy_zerosized;
  const char *subpath;
  const char *sepolicy_prefix;
  OstreeSePolicy *sepolicy;
  OstreeRepoDevInoCache *cache;
  uintptr_t filter; /* 0 for none */
} shim_checkout_options;
gboolean shim_checkout_at (OstreeRepo *repo, const shim_checkout_options *o, int dfd, const char *path,
                           const char *commit, GCancellable *c, GError **error);
gboolean shim_diff (OstreeRepo *repo, const char *from, const char *to, int flags, int uid, int gid,
                    uintptr_t handle, GCancellable *c, GError **error);

gboolean shim_diff_dirs (GFile *a, GFile *b, int flags, int uid, int gid, uintptr_t handle,
                         GCancellable *c, GError **error);
gboolean shim_checkout_tree (OstreeRepo *repo, int mode, int overwrite, GFile *dest, OstreeRepoFile *source,
                             GCancellable *c, GError **error);

void shim_read_file_info (GFileInfo *info, shim_file_info *out);
int shim_stream_fd (GInputStream *in);

/* Calls back into Go for every name and checksum. With SHIM_REFS_BELOW for flags, names are what follows prefix. */
enum { SHIM_REFS_BELOW = -1 };
gboolean shim_list_refs (OstreeRepo *repo, const char *prefix, int flags, uintptr_t handle,
                         GCancellable *c, GError **error);


#endif
