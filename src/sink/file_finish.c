/* SPDX-License-Identifier: Apache-2.0
 * file_finish.c - a growing file gets its final name, and perhaps its final size.
 *
 * Nobody ever sees a finished name with half a content: packing goes to NAME.tmp, which is synced
 * and renamed before the unpacked file goes. Every step can be repeated. Thread: the delivery's.
 * Memory: two buffers of 64 KiB and what zlib needs (about 256 KiB), while packing. */
#include "base/memory.h"
#include "base/timestamp.h"
#include "sink/file_int.h"

#include <stdio.h>
#include <zlib.h>

enum { PIECE_BYTES = 64 * 1024, LEVEL = 6, GZIP_WINDOW = 15 + 16, NAMES_MAX = 1000 };

/* True if the file is there. */
static bool is_there(const struct qn_sink_boot *boot, const char *path)
{
    int fd = boot->files->open(boot->files->st, path, QN_OPEN_READ);

    if (fd < 0)
        return false;
    (void)boot->files->close(boot->files->st, fd);
    return true;
}

qn_status qn_file_finished_name(const struct qn_file_options *o, const struct qn_sink_boot *boot,
                                const struct qn_file_position *p, char out[QN_SINK_NAME_MAX],
                                struct qn_err *err)
{
    struct qn_civil t = qn_timestamp_civil(p->begun_us);
    const char *slash = strrchr(o->path, '/'), *base = slash != NULL ? slash + 1 : o->path;
    const char *dot = strrchr(base, '.');

    if (dot == NULL || dot == base)
        dot = base + strlen(base);
    for (int i = 1; i <= NAMES_MAX; i++) {
        char again[8] = "";

        if (i > 1)
            snprintf(again, sizeof(again), "-%d", i);
        snprintf(out, QN_SINK_NAME_MAX, "%.*s-%04d%02d%02dT%02d%02d%02dZ-%012llu%s%s%s",
                 (int)(dot - o->path), o->path, (int)t.year, t.month, t.day, t.hour, t.minute,
                 t.second, (unsigned long long)p->first, again, dot, o->gzip ? ".gz" : "");
        if (!is_there(boot, out))
            return QN_OK;
    }
    return qn_err_set(err, QN_LIMIT, "%d finished files like '%s' are there already", NAMES_MAX,
                      out);
}

/* ---- packing ---------------------------------------------------------------------------------*/

static void *zlib_alloc(void *st, unsigned count, unsigned bytes)
{
    return qn_mem_zalloc(count, bytes);
}

static void zlib_free(void *st, void *p)
{
    qn_mem_free(p);
}

struct packing {
    const struct qn_sink_boot *boot;
    const char *from, *to;
    int in, out;
    z_stream z;
    unsigned char *piece, *packed;
};

/* Writes what zlib makes of the piece. */
static qn_status pack_piece(struct packing *k, size_t bytes, bool is_last, struct qn_err *err)
{
    k->z.next_in = k->piece;
    k->z.avail_in = (unsigned)bytes;
    do {
        k->z.next_out = k->packed;
        k->z.avail_out = PIECE_BYTES;
        (void)deflate(&k->z, is_last ? Z_FINISH : Z_NO_FLUSH); /* cannot fail on good buffers */
        QN_TRY(qn_file_write_all(k->boot->files, k->out, k->to, k->packed,
                                 PIECE_BYTES - k->z.avail_out, err));
    } while (k->z.avail_out == 0);
    return QN_OK;
}

/* The first `bytes` of k->in into k->out. */
static qn_status pack_all(struct packing *k, uint64_t bytes, struct qn_err *err)
{
    const struct qn_files *fs = k->boot->files;
    uint64_t at = 0;
    size_t got;
    int failed;

    while (at < bytes) {
        size_t want = bytes - at < PIECE_BYTES ? (size_t)(bytes - at) : PIECE_BYTES;

        if (k->boot->must_stop(k->boot->must_stop_arg))
            return qn_err_set(err, QN_INTERRUPTED, "packing '%s' goes on at the next start",
                              k->from);
        QN_TRY(qn_file_read_at(fs, k->in, k->from, k->piece, want, at, &got, err));
        if (got < want)
            return qn_err_set(err, QN_CORRUPT,
                              "'%s' is shorter than what was written to it: move it away to go on",
                              k->from);
        at += got;
        QN_TRY(pack_piece(k, got, at == bytes, err));
    }
    failed = fs->sync(fs->st, k->out);
    return failed < 0 ? qn_err_sys(err, -failed, "cannot sync '%s'", k->to) : QN_OK;
}

static qn_status pack(const struct qn_sink_boot *boot, const char *from, uint64_t bytes,
                      const char *to, struct qn_err *err)
{
    const struct qn_files *fs = boot->files;
    struct packing k = {.boot = boot, .from = from, .to = to, .in = -1, .out = -1};
    bool has_z = false;
    qn_status rc = QN_OK;
    int failed;

    k.z.zalloc = zlib_alloc;
    k.z.zfree = zlib_free;
    k.piece = qn_mem_alloc(PIECE_BYTES);
    k.packed = qn_mem_alloc(PIECE_BYTES);
    has_z = k.piece != NULL && k.packed != NULL &&
            deflateInit2(&k.z, LEVEL, Z_DEFLATED, GZIP_WINDOW, 8, Z_DEFAULT_STRATEGY) == Z_OK;
    if (!has_z)
        rc = qn_err_set(err, QN_NOMEM, "out of memory to pack '%s'", from);
    if (rc == QN_OK && (k.in = fs->open(fs->st, from, QN_OPEN_READ)) < 0)
        rc = qn_err_sys(err, -k.in, "cannot read '%s'", from);
    if (rc == QN_OK && (k.out = fs->open(fs->st, to, QN_OPEN_REPLACE)) < 0)
        rc = qn_err_sys(err, -k.out, "cannot write '%s'", to);
    if (rc == QN_OK)
        rc = pack_all(&k, bytes, err);
    if (has_z)
        (void)deflateEnd(&k.z);
    if (k.in >= 0)
        (void)fs->close(fs->st, k.in);
    if (k.out >= 0 && (failed = fs->close(fs->st, k.out)) < 0 && rc == QN_OK)
        rc = qn_err_sys(err, -failed, "cannot close '%s'", to);
    if (rc != QN_OK && k.out >= 0)
        (void)fs->remove(fs->st, to); /* the room it took may be what is missing */
    qn_mem_free(k.piece);
    qn_mem_free(k.packed);
    return rc;
}

qn_status qn_file_finish(const struct qn_file_options *o, const struct qn_sink_boot *boot,
                         const struct qn_file_position *p, struct qn_err *err)
{
    size_t n = strlen(p->finished);
    bool is_packed = n > 3 && memcmp(p->finished + n - 3, ".gz", 3) == 0;
    const struct qn_files *fs = boot->files;
    const char *ready = o->path;
    char draft[QN_SINK_NAME_MAX + 8];
    int failed;

    if (!is_there(boot, o->path))
        return QN_OK; /* that was the last step */
    if (is_packed) {
        snprintf(draft, sizeof(draft), "%s.tmp", p->finished);
        QN_TRY(pack(boot, o->path, p->bytes, draft, err));
        ready = draft;
    }
    failed = fs->rename(fs->st, ready, p->finished);
    if (failed < 0)
        return qn_err_sys(err, -failed, "cannot rename '%s' to '%s'", ready, p->finished);
    QN_TRY(qn_file_sync_folder(boot, o->path, err));
    if (is_packed && (failed = fs->remove(fs->st, o->path)) < 0)
        return qn_err_sys(err, -failed, "cannot remove '%s'", o->path);
    return is_packed ? qn_file_sync_folder(boot, o->path, err) : QN_OK;
}
