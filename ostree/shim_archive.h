/* Archives through the libarchive that libostree is linked with. */
#ifndef OSTREE_GO_SHIM_ARCHIVE_H
#define OSTREE_GO_SHIM_ARCHIVE_H

#include "shim.h"

/* NULL if all functions of libarchive are there, otherwise the name of one that is not. */
const char *shim_archive_missing (void);

gboolean shim_export_archive (OstreeRepo *repo, uintptr_t writer, OstreeRepoFile *root, int no_xattrs,
                              guint64 timestamp, char *prefix, GCancellable *c, GError **error);


typedef struct {
  int autocreate_parents, ignore_unsupported, ostree_convention;
  uintptr_t translate; /* 0 for none */
} shim_import_options;
/* Reads a tar archive from fd. */
gboolean shim_import_archive (OstreeRepo *repo, int fd, OstreeMutableTree *m, OstreeRepoCommitModifier *modifier,
                              const shim_import_options *o, GCancellable *c, GError **error);

#endif
