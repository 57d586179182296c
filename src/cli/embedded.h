/* SPDX-License-Identifier: Apache-2.0
 * embedded.h - files of examples/ that the binary carries, so that `quern demo` needs nothing
 * beside it.
 *
 * The list is made at build time (tools/embed.py, meson.build). qn_embedded_open gives a qn_files
 * that serves them, read-only, under their names ("card-fraud/fraud.ubj"); whatever reads files
 * through a qn_files can read them. Thread: one owner. */
#ifndef QN_CLI_EMBEDDED_H
#define QN_CLI_EMBEDDED_H

#include "base/file.h"

#include <stddef.h>

struct qn_embedded_file {
    const char *path; /* "card-fraud/card-fraud.yaml" */
    const unsigned char *data;
    size_t bytes;
};
extern const struct qn_embedded_file qn_embedded_files[]; /* ended by path = NULL */

enum { QN_EMBEDDED_OPEN_MAX = 8 }; /* at a time */

/* In the caller's memory; {0} has nothing open. */
struct qn_embedded_door {
    struct {
        const struct qn_embedded_file *file; /* NULL = this descriptor is free */
        size_t at;
    } open[QN_EMBEDDED_OPEN_MAX];
};

/* A table of functions over the door; valid as long as the door. Writing, renaming and removing
 * give -EROFS. */
struct qn_files qn_embedded_open(struct qn_embedded_door *door);

#endif
