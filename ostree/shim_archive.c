#include "shim_archive.h"
#include "_cgo_export.h"

/* libarchive's headers are not needed to build: what libostree links is in the
 * process, and these few functions keep their form. */
struct archive;
typedef ssize_t write_cb (struct archive *, void *, const void *, size_t);

typedef struct archive *new_fn (void);
typedef int simple_fn (struct archive *);
typedef int open_write_fn (struct archive *, void *, void *, write_cb *, void *);
typedef int int_fn (struct archive *, int);
typedef int open_fd_fn (struct archive *, int, size_t);
typedef const char *text_fn (struct archive *);

static const char *const names[] = {
  "archive_write_new", "archive_write_free",
  "archive_write_open", "archive_write_close", "archive_write_set_format_pax",
  "archive_write_set_bytes_in_last_block", "archive_error_string", "archive_read_new", "archive_read_free",
  "archive_read_support_format_tar", "archive_read_open_fd",
};

const char *
shim_archive_missing (void)
{
  for (size_t i = 0; i < G_N_ELEMENTS (names); i++)
    if (!shim_symbol (names[i]))
      return names[i];
  return NULL;
}

#define FN(type, name) ((type *) shim_symbol (name))

enum { OK = 0 };

static gboolean
archive_error (struct archive *a, GError **error)
{
  const char *text = FN (text_fn, "archive_error_string") (a);
  g_set_error (error, G_IO_ERROR, G_IO_ERROR_FAILED, "archive: %s", text ? text : "failed");
  return FALSE;
}

typedef struct {
  uintptr_t handle;
  GCancellable *c;
} sink;

static ssize_t
write_block (struct archive *a, void *data, const void *buf, size_t len)
{
  (void) a;
  sink *s = data;
  if (g_cancellable_is_cancelled (s->c))
    return -1;
  return goArchiveWrite (s->handle, (void *) buf, (int64_t) len);
}

gboolean
shim_export_archive (OstreeRepo *repo, uintptr_t writer, OstreeRepoFile *root, int no_xattrs,
                     guint64 timestamp, char *prefix, GCancellable *c, GError **error)
{
  struct archive *a = FN (new_fn, "archive_write_new") ();
  sink s = { writer, c };
  gboolean ok = TRUE;
  if (FN (simple_fn, "archive_write_set_format_pax") (a) != OK
      || FN (int_fn, "archive_write_set_bytes_in_last_block") (a, 1) != OK
      || FN (open_write_fn, "archive_write_open") (a, &s, NULL, write_block, NULL) != OK)
    ok = archive_error (a, error);
  if (ok)
    {
      OstreeRepoExportArchiveOptions opts = {
        .disable_xattrs = no_xattrs != 0,
        .timestamp_secs = timestamp,
        .path_prefix = prefix,
      };
      ok = ostree_repo_export_tree_to_archive (repo, &opts, root, a, c, error);
      if (ok && FN (simple_fn, "archive_write_close") (a) != OK)
        ok = archive_error (a, error);
    }
  FN (simple_fn, "archive_write_free") (a);
  return ok;
}

static char *
translate_path (OstreeRepo *repo, const struct stat *st, const char *path, gpointer handle)
{
  (void) repo;
  shim_file_info info = { .uid = st->st_uid, .gid = st->st_gid, .mode = st->st_mode, .size = st->st_size };
  return goTranslatePath ((uintptr_t) handle, (char *) path, &info);
}

gboolean
shim_import_archive (OstreeRepo *repo, int fd, OstreeMutableTree *m, OstreeRepoCommitModifier *modifier,
                     const shim_import_options *o, GCancellable *c, GError **error)
{
  if (!o->ignore_unsupported && !o->ostree_convention && !o->translate)
    return ostree_repo_write_archive_to_mtree_from_fd (repo, fd, m, modifier, o->autocreate_parents, c, error);
  OstreeRepoImportArchiveOptions opts = {
    .ignore_unsupported_content = o->ignore_unsupported != 0,
    .autocreate_parents = o->autocreate_parents != 0,
    .use_ostree_convention = o->ostree_convention != 0,
  };
  if (o->translate)
    {
      opts.translate_pathname = translate_path;
      opts.translate_pathname_user_data = (gpointer) o->translate;
    }
  struct archive *a = FN (new_fn, "archive_read_new") ();
  gboolean ok;
  if (FN (simple_fn, "archive_read_support_format_tar") (a) != OK || FN (open_fd_fn, "archive_read_open_fd") (a, fd, 64 << 10) != OK)
    ok = archive_error (a, error);
  else
    ok = ostree_repo_import_archive_to_mtree (repo, &opts, a, m, modifier, c, error);
  FN (simple_fn, "archive_read_free") (a);
  return ok;
}
