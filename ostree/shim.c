#define _GNU_SOURCE
#include <dlfcn.h>
#include <gio/gfiledescriptorbased.h>
#include "shim.h"
#include "_cgo_export.h"

const char *
shim_quark (GError *err)
{
  return g_quark_to_string (err->domain);
}

void *
shim_symbol (const char *name)
{
  return dlsym (RTLD_DEFAULT, name);
}

/* The bytes are copied: libglib wants them aligned, and they outlive the call. */
GVariant *
shim_variant_from_data (const char *type, const void *data, size_t len)
{
  g_autoptr(GBytes) bytes = g_bytes_new (len ? data : "", len);
  return g_variant_ref_sink (g_variant_new_from_bytes ((const GVariantType *) type, bytes, FALSE));
}

/* An a{sv} of the keys in the order given. The values may be floating. */
GVariant *
shim_vardict_new (size_t n, const char **keys, GVariant **values)
{
  GVariantBuilder b;
  g_variant_builder_init (&b, G_VARIANT_TYPE_VARDICT);
  for (size_t i = 0; i < n; i++)
    g_variant_builder_add (&b, "{sv}", keys[i], values[i]);
  return g_variant_ref_sink (g_variant_builder_end (&b));
}

GVariant *
shim_variant_strv (size_t n, const char **strs)
{
  return g_variant_ref_sink (g_variant_new_strv (n ? strs : (const char *const *) &strs, n));
}

/* An array of tuples of width strings. */
GVariant *
shim_string_tuples (size_t width, size_t rows, char **strs)
{
  g_autofree char *type = g_strnfill (width + 3, 's');
  type[0] = 'a';
  type[1] = '(';
  type[width + 2] = ')';
  GVariantBuilder b;
  g_variant_builder_init (&b, (const GVariantType *) type);
  for (size_t i = 0; i < rows; i++)
    {
      g_variant_builder_open (&b, (const GVariantType *) (type + 1));
      for (size_t j = 0; j < width; j++)
        g_variant_builder_add (&b, "s", strs[i * width + j]);
      g_variant_builder_close (&b);
    }
  return g_variant_ref_sink (g_variant_builder_end (&b));
}

/* flat is a run of: u32 name length, name with its NUL, u32 value length, value;
 * integers in host order. One crossing for all xattrs of a file. */
GVariant *
shim_xattrs_parse (const uint8_t *flat, size_t len)
{
  GVariantBuilder b;
  g_variant_builder_init (&b, G_VARIANT_TYPE ("a(ayay)"));
  size_t off = 0;
  while (off < len)
    {
      uint32_t n, v;
      memcpy (&n, flat + off, 4);
      off += 4;
      const uint8_t *name = flat + off;
      off += n;
      memcpy (&v, flat + off, 4);
      off += 4;
      const uint8_t *value = flat + off;
      off += v;
      g_variant_builder_add (&b, "(@ay@ay)",
                             g_variant_new_fixed_array (G_VARIANT_TYPE_BYTE, name, n, 1),
                             g_variant_new_fixed_array (G_VARIANT_TYPE_BYTE, value, v, 1));
    }
  return g_variant_ref_sink (g_variant_builder_end (&b));
}

/* GoStream: a GInputStream whose bytes come from an io.Reader. The buffer keeps
 * the number of calls into Go low, whatever size the consumer reads in. */
#define GO_STREAM_BUFFER (128 * 1024)

typedef struct {
  GInputStream parent;
  uintptr_t handle;
  gboolean owns; /* releases the handle when it goes */
  uint8_t *buf;
  size_t pos, len;
} GoStream;

typedef struct { GInputStreamClass parent_class; } GoStreamClass;

G_DEFINE_TYPE (GoStream, go_stream, G_TYPE_INPUT_STREAM)

static gssize
go_stream_read (GInputStream *s, void *buffer, gsize count, GCancellable *c, GError **error)
{
  GoStream *self = (GoStream *) s;
  if (g_cancellable_set_error_if_cancelled (c, error))
    return -1;
  if (self->pos == self->len)
    {
      int64_t n;
      if (count >= GO_STREAM_BUFFER)
        {
          n = goStreamRead (self->handle, buffer, (int64_t) count);
          if (n < 0)
            g_set_error_literal (error, G_IO_ERROR, G_IO_ERROR_FAILED, "reading content");
          return n;
        }
      if (!self->buf)
        self->buf = g_malloc (GO_STREAM_BUFFER);
      n = goStreamRead (self->handle, self->buf, GO_STREAM_BUFFER);
      if (n < 0)
        {
          g_set_error_literal (error, G_IO_ERROR, G_IO_ERROR_FAILED, "reading content");
          return -1;
        }
      self->pos = 0;
      self->len = (size_t) n;
    }
  size_t take = MIN (count, self->len - self->pos);
  memcpy (buffer, self->buf + self->pos, take);
  self->pos += take;
  return (gssize) take;
}

static void
go_stream_finalize (GObject *o)
{
  GoStream *self = (GoStream *) o;
  g_free (self->buf);
  if (self->owns)
    goStreamRelease (self->handle);
  G_OBJECT_CLASS (go_stream_parent_class)->finalize (o);
}

static void
go_stream_class_init (GoStreamClass *klass)
{
  G_OBJECT_CLASS (klass)->finalize = go_stream_finalize;
  G_INPUT_STREAM_CLASS (klass)->read_fn = go_stream_read;
}

static void
go_stream_init (GoStream *self)
{
  (void) self;
}

static GInputStream *
go_stream_new (uintptr_t handle)
{
  GoStream *s = g_object_new (go_stream_get_type (), NULL);
  s->handle = handle;
  return (GInputStream *) s;
}

static GFileInfo *
new_file_info (uint32_t uid, uint32_t gid, uint32_t mode, uint64_t size, const char *target)
{
  GFileInfo *info = g_file_info_new ();
  g_file_info_set_file_type (info, target ? G_FILE_TYPE_SYMBOLIC_LINK : G_FILE_TYPE_REGULAR);
  g_file_info_set_size (info, (goffset) size);
  g_file_info_set_attribute_uint32 (info, "unix::uid", uid);
  g_file_info_set_attribute_uint32 (info, "unix::gid", gid);
  g_file_info_set_attribute_uint32 (info, "unix::mode", mode);
  if (target)
    {
      g_file_info_set_attribute_boolean (info, "standard::is-symlink", TRUE);
      g_file_info_set_symlink_target (info, target);
    }
  return info;
}

/* Content comes from buf (size bytes) or, when buf is NULL and reader is not 0,
 * from Go. trusted: expected is taken as the checksum and nothing is hashed. */
gboolean
shim_write_content (OstreeRepo *repo, const char *expected, uint32_t uid, uint32_t gid,
                    uint32_t mode, uint64_t size, const char *target,
                    const uint8_t *flat, size_t flat_len,
                    const void *buf, uintptr_t reader, gboolean trusted,
                    guchar *out_csum, GCancellable *c, GError **error)
{
  g_autoptr(GFileInfo) info = new_file_info (uid, gid, mode, size, target);
  g_autoptr(GVariant) xattrs = flat_len ? shim_xattrs_parse (flat, flat_len) : NULL;
  g_autoptr(GInputStream) in = NULL;
  if (reader)
    in = go_stream_new (reader);
  else if (!target)
    in = g_memory_input_stream_new_from_data (size ? buf : "", (gssize) size, NULL);

  g_autoptr(GInputStream) stream = NULL;
  guint64 length = 0;
  if (!ostree_raw_file_to_content_stream (in, info, xattrs, &stream, &length, c, error))
    return FALSE;

  if (trusted)
    return ostree_repo_write_content_trusted (repo, expected, stream, length, c, error);
  g_autofree guchar *csum = NULL;
  if (!ostree_repo_write_content (repo, expected, stream, length, &csum, c, error))
    return FALSE;
  memcpy (out_csum, csum, OSTREE_SHA256_DIGEST_LEN);
  return TRUE;
}

gboolean
shim_checksum_content (const shim_content_meta *m, uintptr_t reader, guchar **out_csum,
                       GCancellable *c, GError **error)
{
  g_autoptr(GFileInfo) info = new_file_info (m->uid, m->gid, m->mode, m->size, m->target);
  g_autoptr(GVariant) xattrs = m->xattrs_len ? shim_xattrs_parse (m->xattrs, m->xattrs_len) : NULL;
  g_autoptr(GInputStream) in = go_stream_new (reader);
  return ostree_checksum_file_from_input (info, xattrs, in, OSTREE_OBJECT_TYPE_FILE, out_csum, c, error);
}

gboolean
shim_content_stream_parse (gboolean compressed, uintptr_t reader, guint64 length, gboolean trusted,
                           GInputStream **in, GFileInfo **info, GVariant **xattrs,
                           GCancellable *c, GError **error)
{
  g_autoptr(GInputStream) stream = go_stream_new (reader);
  ((GoStream *) stream)->owns = TRUE;
  return ostree_content_stream_parse (compressed, stream, length, trusted, in, info, xattrs, c, error);
}

gboolean
shim_archive_content (const shim_content_meta *m, uintptr_t reader, GVariant *options,
                      GInputStream **out, GCancellable *c, GError **error)
{
  g_autoptr(GFileInfo) info = new_file_info (m->uid, m->gid, m->mode, m->size, m->target);
  g_autoptr(GVariant) xattrs = m->xattrs_len ? shim_xattrs_parse (m->xattrs, m->xattrs_len) : NULL;
  g_autoptr(GInputStream) in = go_stream_new (reader);
  ((GoStream *) in)->owns = TRUE;
  if (!options)
    return ostree_raw_file_to_archive_z2_stream (m->target ? NULL : in, info, xattrs, out, c, error);
  return ostree_raw_file_to_archive_z2_stream_with_options (m->target ? NULL : in, info, xattrs, options, out, c, error);
}

gboolean
shim_write_metadata (OstreeRepo *repo, int objtype, const char *expected,
                     const void *data, size_t len, guchar *out_csum,
                     gboolean trusted, GCancellable *c, GError **error)
{
  const GVariantType *type = ostree_metadata_variant_type ((OstreeObjectType) objtype);
  g_autoptr(GVariant) v = shim_variant_from_data ((const char *) type, data, len);
  if (trusted)
    return ostree_repo_write_metadata_trusted (repo, (OstreeObjectType) objtype, expected, v, c, error);
  g_autofree guchar *csum = NULL;
  if (!ostree_repo_write_metadata (repo, (OstreeObjectType) objtype, expected, v, &csum, c, error))
    return FALSE;
  memcpy (out_csum, csum, OSTREE_SHA256_DIGEST_LEN);
  return TRUE;
}

gboolean
shim_list_refs (OstreeRepo *repo, const char *prefix, int flags, uintptr_t handle,
                GCancellable *c, GError **error)
{
  g_autoptr(GHashTable) refs = NULL;
  if (flags == SHIM_REFS_BELOW
          ? !ostree_repo_list_refs (repo, prefix, &refs, c, error)
          : !ostree_repo_list_refs_ext (repo, prefix, &refs, (OstreeRepoListRefsExtFlags) flags, c, error))
    return FALSE;
  GHashTableIter it;
  gpointer k, v;
  g_hash_table_iter_init (&it, refs);
  while (g_hash_table_iter_next (&it, &k, &v))
    goStringPair (handle, k, v);
  return TRUE;
}

void
shim_read_file_info (GFileInfo *info, shim_file_info *out)
{
  memset (out, 0, sizeof *out);
  out->uid = g_file_info_get_attribute_uint32 (info, "unix::uid");
  out->gid = g_file_info_get_attribute_uint32 (info, "unix::gid");
  out->mode = g_file_info_get_attribute_uint32 (info, "unix::mode");
  if (g_file_info_get_file_type (info) == G_FILE_TYPE_SYMBOLIC_LINK)
    out->symlink_target = g_file_info_get_symlink_target (info);
  else if (g_file_info_has_attribute (info, "standard::size"))
    out->size = g_file_info_get_size (info);
}

int
shim_stream_fd (GInputStream *in)
{
  if (!G_IS_FILE_DESCRIPTOR_BASED (in))
    return -1;
  return g_file_descriptor_based_get_fd (G_FILE_DESCRIPTOR_BASED (in));
}

void
shim_reachable_add (GHashTable *set, const char *checksum, int objtype)
{
  g_hash_table_add (set, g_variant_ref_sink (
      ostree_object_name_serialize (checksum, (OstreeObjectType) objtype)));
}

int
shim_reachable_contains (GHashTable *set, const char *checksum, int objtype)
{
  g_autoptr(GVariant) key = g_variant_ref_sink (
      ostree_object_name_serialize (checksum, (OstreeObjectType) objtype));
  return g_hash_table_contains (set, key);
}

guint
shim_object_hash (const char *checksum, int objtype)
{
  g_autoptr(GVariant) key = g_variant_ref_sink (
      ostree_object_name_serialize (checksum, (OstreeObjectType) objtype));
  return ostree_hash_object_name (key);
}

/* Keys of such sets are serialized object names. */
void
shim_object_set_each (GHashTable *set, uintptr_t handle)
{
  GHashTableIter it;
  gpointer k;
  g_hash_table_iter_init (&it, set);
  while (g_hash_table_iter_next (&it, &k, NULL))
    {
      const char *checksum;
      OstreeObjectType t;
      ostree_object_name_deserialize (k, &checksum, &t);
      goObjectName (handle, (char *) checksum, (int) t);
    }
}

gboolean
shim_list_objects (OstreeRepo *repo, int flags, uintptr_t handle, GCancellable *c, GError **error)
{
  g_autoptr(GHashTable) set = NULL;
  if (!ostree_repo_list_objects (repo, (OstreeRepoListObjectsFlags) flags, &set, c, error))
    return FALSE;
  shim_object_set_each (set, handle);
  return TRUE;
}

gboolean
shim_deploy_tree (OstreeSysroot *s, gboolean stage, const char *osname, const char *revision,
                  GKeyFile *origin, OstreeDeployment *merge, char **kargs, char **initrds,
                  gboolean locked, OstreeDeployment **out, GCancellable *c, GError **error)
{
  if (!initrds && !locked)
    return (stage ? ostree_sysroot_stage_tree : ostree_sysroot_deploy_tree)
      (s, osname, revision, origin, merge, kargs, out, c, error);
  OstreeSysrootDeployTreeOpts opts = {
    .override_kernel_argv = kargs,
    .overlay_initrds = initrds,
  };
  /* The first of the reserved flags is "locked" since 2023.8. */
  ((gboolean *) &opts)[0] = locked;
  return (stage ? ostree_sysroot_stage_tree_with_options : ostree_sysroot_deploy_tree_with_options)
    (s, osname, revision, origin, merge, &opts, out, c, error);
}

gboolean
shim_write_deployments (OstreeSysroot *s, OstreeDeployment **list, size_t n, gboolean postclean,
                        gboolean no_early_prune, GCancellable *c, GError **error)
{
  OstreeSysrootWriteDeploymentsOpts opts = { .do_postclean = postclean };
  /* The second flag is "disable_auto_early_prune" since 2023.8. */
  ((gboolean *) &opts)[1] = no_early_prune;
  g_autoptr(GPtrArray) a = g_ptr_array_new_with_free_func (g_object_unref);
  for (size_t i = 0; i < n; i++)
    g_ptr_array_add (a, g_object_ref (list[i]));
  if (postclean && !no_early_prune)
    return ostree_sysroot_write_deployments (s, a, c, error);
  return ostree_sysroot_write_deployments_with_options (s, a, &opts, c, error);
}

gboolean
shim_mtree_each (OstreeMutableTree *m, gboolean dirs, uintptr_t handle, GError **error)
{
  GHashTable *t = dirs ? ostree_mutable_tree_get_subdirs (m) : ostree_mutable_tree_get_files (m);
  if (!ostree_mutable_tree_check_error (m, error))
    return FALSE;
  GHashTableIter it;
  gpointer k, v;
  g_hash_table_iter_init (&it, t);
  while (g_hash_table_iter_next (&it, &k, &v))
    goStringPair (handle, k, dirs ? "" : v);
  return TRUE;
}

gboolean
shim_mtree_ensure_parents (OstreeMutableTree *m, char **names, size_t n, const char *meta,
                           OstreeMutableTree **out, GError **error)
{
  g_autoptr(GPtrArray) split = g_ptr_array_new ();
  for (size_t i = 0; i < n; i++)
    g_ptr_array_add (split, names[i]);
  return ostree_mutable_tree_ensure_parent_dirs (m, split, meta, out, error);
}

/* libostree leaves the last element out: it is meant to be a file's name. */
gboolean
shim_mtree_walk (OstreeMutableTree *m, char **names, size_t n, OstreeMutableTree **out, GError **error)
{
  g_autoptr(GPtrArray) split = g_ptr_array_new ();
  for (size_t i = 0; i < n; i++)
    g_ptr_array_add (split, names[i]);
  g_ptr_array_add (split, NULL);
  return ostree_mutable_tree_walk (m, split, 0, out, error);
}

gboolean
shim_commit_sizes (GVariant *commit, uintptr_t handle, GError **error)
{
  g_autoptr(GPtrArray) sizes = NULL;
  if (!ostree_commit_get_object_sizes (commit, &sizes, error))
    return FALSE;
  for (guint i = 0; i < sizes->len; i++)
    {
      OstreeCommitSizesEntry *e = sizes->pdata[i];
      goObjectSize (handle, e->checksum, (int) e->objtype, e->unpacked, e->archived);
    }
  return TRUE;
}

GVariant *
shim_create_dirmeta (uint32_t uid, uint32_t gid, uint32_t mode, const uint8_t *flat, size_t flat_len)
{
  g_autoptr(GFileInfo) info = new_file_info (uid, gid, mode, 0, NULL);
  g_autoptr(GVariant) xattrs = flat_len ? shim_xattrs_parse (flat, flat_len) : NULL;
  return ostree_create_directory_metadata (info, xattrs);
}

GVariant *
shim_bootable_metadata (GFile *root, GVariant *dict, GCancellable *c, GError **error)
{
  g_autoptr(GVariantDict) d = g_variant_dict_new (dict);
  if (!ostree_commit_metadata_for_bootable (root, d, c, error))
    return NULL;
  return g_variant_ref_sink (g_variant_dict_end (d));
}

static OstreeRepoCommitFilterResult
commit_filter (OstreeRepo *repo, const char *path, GFileInfo *info, gpointer handle)
{
  (void) repo;
  shim_file_info fi;
  shim_read_file_info (info, &fi);
  int res = goFilter ((uintptr_t) handle, (char *) path, &fi);
  g_file_info_set_attribute_uint32 (info, "unix::uid", fi.uid);
  g_file_info_set_attribute_uint32 (info, "unix::gid", fi.gid);
  g_file_info_set_attribute_uint32 (info, "unix::mode", fi.mode);
  return res ? OSTREE_REPO_COMMIT_FILTER_SKIP : OSTREE_REPO_COMMIT_FILTER_ALLOW;
}

static GVariant *
commit_xattrs (OstreeRepo *repo, const char *path, GFileInfo *info, gpointer handle)
{
  (void) repo;
  shim_file_info fi;
  shim_read_file_info (info, &fi);
  return goXattrs ((uintptr_t) handle, (char *) path, &fi);
}

OstreeRepoCommitModifier *
shim_modifier_new (int flags, gboolean filter, gboolean xattrs, uintptr_t handle,
                   OstreeSePolicy *policy, OstreeRepoDevInoCache *cache)
{
  OstreeRepoCommitModifier *m = ostree_repo_commit_modifier_new (
      (OstreeRepoCommitModifierFlags) flags, filter ? commit_filter : NULL, (gpointer) handle, NULL);
  if (xattrs)
    ostree_repo_commit_modifier_set_xattr_callback (m, commit_xattrs, NULL, (gpointer) handle);
  if (policy)
    ostree_repo_commit_modifier_set_sepolicy (m, policy);
  if (cache)
    ostree_repo_commit_modifier_set_devino_cache (m, cache);
  return m;
}

static OstreeRepoCheckoutFilterResult
checkout_filter (OstreeRepo *repo, const char *path, struct stat *st, gpointer handle)
{
  (void) repo;
  shim_file_info fi = { .uid = st->st_uid, .gid = st->st_gid, .mode = st->st_mode, .size = st->st_size };
  return goFilter ((uintptr_t) handle, (char *) path, &fi) ? OSTREE_REPO_CHECKOUT_FILTER_SKIP
                                                          : OSTREE_REPO_CHECKOUT_FILTER_ALLOW;
}

gboolean
shim_checkout_at (OstreeRepo *repo, const shim_checkout_options *o, int dfd, const char *path,
                  const char *commit, GCancellable *c, GError **error)
{
  OstreeRepoCheckoutAtOptions opts = {
    .mode = (OstreeRepoCheckoutMode) o->mode,
    .overwrite_mode = (OstreeRepoCheckoutOverwriteMode) o->overwrite,
    .process_whiteouts = o->process_whiteouts,
    .process_passthrough_whiteouts = o->process_passthrough_whiteouts,
    .no_copy_fallback = o->no_copy_fallback,
    .force_copy = o->force_copy,
    .bareuseronly_dirs = o->bareuseronly_dirs,
    .force_copy_zerosized = o->force_copy_zerosized,
    .subpath = o->subpath,
    .sepolicy = o->sepolicy,
    .sepolicy_prefix = o->sepolicy_prefix,
  };
  ostree_repo_checkout_at_options_set_devino (&opts, o->cache);
  if (o->filter)
    {
      opts.filter = checkout_filter;
      opts.filter_user_data = (gpointer) o->filter;
    }
  return ostree_repo_checkout_at (repo, &opts, dfd, path, commit, c, error);
}

static void
diff_path (uintptr_t handle, int kind, GFile *root, GFile *f, const char *from, const char *to)
{
  g_autofree char *below = g_file_get_relative_path (root, f);
  g_autofree char *path = g_strconcat ("/", below, NULL);
  goDiffEntry (handle, kind, path, (char *) from, (char *) to);
}

gboolean
shim_diff_dirs (GFile *a, GFile *b, int flags, int uid, int gid, uintptr_t handle,
                GCancellable *c, GError **error)
{
  g_autoptr(GPtrArray) modified = g_ptr_array_new_with_free_func ((GDestroyNotify) ostree_diff_item_unref);
  g_autoptr(GPtrArray) removed = g_ptr_array_new_with_free_func (g_object_unref);
  g_autoptr(GPtrArray) added = g_ptr_array_new_with_free_func (g_object_unref);
  OstreeDiffDirsOptions opts = OSTREE_DIFF_DIRS_OPTIONS_INIT;
  opts.owner_uid = uid;
  opts.owner_gid = gid;
  gboolean ok = uid < 0 && gid < 0
    ? ostree_diff_dirs ((OstreeDiffFlags) flags, a, b, modified, removed, added, c, error)
    : ostree_diff_dirs_with_options ((OstreeDiffFlags) flags, a, b, modified, removed, added, &opts, c, error);
  if (!ok)
    return FALSE;
  for (guint i = 0; i < modified->len; i++)
    {
      OstreeDiffItem *d = modified->pdata[i];
      diff_path (handle, 0, a, d->src, d->src_checksum, d->target_checksum);
    }
  for (guint i = 0; i < removed->len; i++)
    diff_path (handle, 1, a, removed->pdata[i], NULL, NULL);
  for (guint i = 0; i < added->len; i++)
    diff_path (handle, 2, b, added->pdata[i], NULL, NULL);
  return TRUE;
}

gboolean
shim_diff (OstreeRepo *repo, const char *from, const char *to, int flags, int uid, int gid,
           uintptr_t handle, GCancellable *c, GError **error)
{
  g_autoptr(GFile) a = NULL;
  g_autoptr(GFile) b = NULL;
  if (from && !ostree_repo_read_commit (repo, from, &a, NULL, c, error))
    return FALSE;
  if (!ostree_repo_read_commit (repo, to, &b, NULL, c, error))
    return FALSE;
  return shim_diff_dirs (a, b, flags, uid, gid, handle, c, error);
}

gboolean
shim_checkout_tree (OstreeRepo *repo, int mode, int overwrite, GFile *dest, OstreeRepoFile *source,
                    GCancellable *c, GError **error)
{
  if (!ostree_repo_file_ensure_resolved (source, error))
    return FALSE;
  g_autoptr(GFileInfo) info = g_file_query_info (G_FILE (source), "standard::*,unix::*",
                                                 G_FILE_QUERY_INFO_NOFOLLOW_SYMLINKS, c, error);
  if (!info)
    return FALSE;
  return ostree_repo_checkout_tree (repo, (OstreeRepoCheckoutMode) mode, (OstreeRepoCheckoutOverwriteMode) overwrite,
                                    dest, source, info, c, error);
}
