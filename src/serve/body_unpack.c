/* SPDX-License-Identifier: Apache-2.0
 * body_unpack.c - gzip by zlib, zstd by libzstd, both in steps, so that a small body that unpacks
 * to gigabytes costs no more than the limit.
 *
 * Thread: any. Memory: see the header. */
#include "serve/body_unpack.h"

#define ZLIB_CONST /* next_in may point to const bytes */
#include <strings.h>
#include <zlib.h>
#include <zstd.h>

enum { STEP_BYTES = 64 * 1024, WINDOW_LOG_MAX = 23, GZIP_ONLY = 16 };

enum qn_packing qn_packing_of(struct qn_str header)
{
    static const struct {
        const char *name;
        enum qn_packing packing;
    } known[] = {{"", QN_PACKING_NONE},
                 {"identity", QN_PACKING_NONE},
                 {"gzip", QN_PACKING_GZIP},
                 {"x-gzip", QN_PACKING_GZIP},
                 {"zstd", QN_PACKING_ZSTD}};

    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (strlen(known[i].name) == header.len &&
            (header.len == 0 || strncasecmp(header.p, known[i].name, header.len) == 0))
            return known[i].packing;
    return QN_PACKING_UNKNOWN;
}

static qn_status too_large(size_t limit_bytes, struct qn_err *err)
{
    return qn_err_set(err, QN_LIMIT, "unpacked, the body is larger than %zu bytes", limit_bytes);
}

/* Room for one more step; one byte beyond the limit tells that it was passed. */
static char *step_room(struct qn_buf *out, size_t limit_bytes, size_t *room)
{
    size_t left = limit_bytes + 1 - out->len;

    *room = left < STEP_BYTES ? left : STEP_BYTES;
    return qn_buf_room(out, *room);
}

static qn_status unpack_gzip(struct qn_str body, size_t limit_bytes, struct qn_buf *out,
                             struct qn_err *err)
{
    z_stream z = {.next_in = (const Bytef *)body.p, .avail_in = body.len};
    qn_status rc = QN_OK;
    int code;

    if (inflateInit2(&z, MAX_WBITS + GZIP_ONLY) != Z_OK)
        return qn_err_set(err, QN_NOMEM, "out of memory while unpacking a body");
    do {
        size_t room;
        char *to = step_room(out, limit_bytes, &room);

        if (to == NULL) {
            rc = qn_err_set(err, QN_NOMEM, "out of memory while unpacking a body");
            break;
        }
        z.next_out = (Bytef *)to;
        z.avail_out = (uInt)room;
        code = inflate(&z, Z_NO_FLUSH);
        out->len += room - z.avail_out;
        if (out->len > limit_bytes)
            rc = too_large(limit_bytes, err);
        else if (code == Z_STREAM_END && z.avail_in == 0)
            break;
        else if (code == Z_STREAM_END)
            code = inflateReset(&z); /* the next member */
        else if (code == Z_BUF_ERROR || (code == Z_OK && z.avail_in == 0 && z.avail_out > 0))
            rc = qn_err_set(err, QN_INVALID, "the gzip body ends early");
        else if (code != Z_OK)
            rc = qn_err_set(err, QN_INVALID, "the body is not gzip, or damaged");
    } while (rc == QN_OK);
    inflateEnd(&z);
    return rc;
}

static qn_status unpack_zstd(struct qn_str body, size_t limit_bytes, struct qn_buf *out,
                             struct qn_err *err)
{
    ZSTD_inBuffer in = {body.p, body.len, 0};
    ZSTD_DCtx *z = ZSTD_createDCtx();
    qn_status rc = QN_OK;
    size_t left;

    if (z == NULL || ZSTD_isError(ZSTD_DCtx_setParameter(z, ZSTD_d_windowLogMax, WINDOW_LOG_MAX)))
        rc = qn_err_set(err, QN_NOMEM, "out of memory while unpacking a body");
    while (rc == QN_OK) {
        size_t room, before = in.pos;
        ZSTD_outBuffer to = {.dst = step_room(out, limit_bytes, &room)};

        if (to.dst == NULL) {
            rc = qn_err_set(err, QN_NOMEM, "out of memory while unpacking a body");
            break;
        }
        to.size = room;
        left = ZSTD_decompressStream(z, &to, &in);
        out->len += to.pos;
        if (ZSTD_isError(left))
            rc = qn_err_set(err, QN_INVALID, "the body is not zstd, or damaged (%s)",
                            ZSTD_getErrorName(left));
        else if (out->len > limit_bytes)
            rc = too_large(limit_bytes, err);
        else if (left == 0 && in.pos == in.size)
            break;
        else if (to.pos == 0 && in.pos == before)
            rc = qn_err_set(err, QN_INVALID, "the zstd body ends early");
    }
    ZSTD_freeDCtx(z);
    return rc;
}

qn_status qn_unpack(enum qn_packing packing, struct qn_str body, size_t limit_bytes,
                    struct qn_buf *out, struct qn_err *err)
{
    qn_buf_clear(out);
    if (packing == QN_PACKING_GZIP)
        return unpack_gzip(body, limit_bytes, out, err);
    if (packing == QN_PACKING_ZSTD)
        return unpack_zstd(body, limit_bytes, out, err);
    qn_buf_add(out, body.p, body.len);
    if (out->failed)
        return qn_err_set(err, QN_NOMEM, "out of memory while reading a body");
    return body.len <= limit_bytes ? QN_OK : too_large(limit_bytes, err);
}
