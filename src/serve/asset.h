/* SPDX-License-Identifier: Apache-2.0
 * asset.h - the files of the dashboard that the binary carries: src/serve/dashboard/, by place.
 *
 * The list is made at build time (tools/embed.py --assets, meson.build). Thread: any; const. */
#ifndef QN_SERVE_ASSET_H
#define QN_SERVE_ASSET_H

#include <stddef.h>

struct qn_asset {
    const char *name;                 /* "index.html" */
    const char *type;                 /* media type   */
    const char *etag;                 /* with its quotes: a hash of the bytes */
    const unsigned char *data, *gzip; /* gzip NULL where it is not smaller */
    size_t bytes, gzip_bytes;
};
extern const struct qn_asset qn_assets[]; /* ended by name NULL */

#endif
