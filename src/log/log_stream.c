/* SPDX-License-Identifier: Apache-2.0
 * log_stream.c - recognises and undoes compression, one read of the descriptor at a time.
 *
 * Below log_file.c. What a stream begins with:
 *
 *   bytes           kind
 *   1F 8B           gzip: members one after another; zero bytes behind the last are allowed
 *   28 B5 2F FD     zstd frame
 *   50..5F 2A 4D 18 zstd, a skippable frame
 *   anything else   plain
 *
 * Sources: RFC 1952 and gzip(1), RFC 8878 section 3.1.
 *
 * Plain bytes are read straight into the caller's block. Invariant: once an end or an error was
 * seen, it is given again. Thread: one owner. Memory: through base/memory.h, but for zstd's own
 * context. */
#include "log/log_stream.h"

#include "base/check.h"
#include "base/memory.h"

#include <string.h>
#include <zlib.h>
#include <zstd.h>

enum kind { KIND_UNKNOWN, KIND_PLAIN, KIND_GZIP, KIND_ZSTD };
enum { INPUT_BYTES = 128 * 1024, MAGIC_BYTES = 4 };

struct qn_log_stream {
    const struct qn_files *files;
    const char *name;
    int fd;
    bool is_waiting;
    enum kind kind;
    bool is_over;     /* the descriptor gave its end                                    */
    bool is_between;  /* gzip, zstd: no member or frame is open                         */
    bool is_padding;  /* gzip: zeros behind the last member                             */
    bool has_pending; /* zstd: output may be left though all input was taken            */
    uint64_t taken;   /* bytes taken from the descriptor                                */
    size_t at, end;   /* input[at, end) is not used yet                                 */
    z_stream gzip;
    bool has_gzip;
    ZSTD_DCtx *zstd;
    struct qn_err failed; /* code QN_OK while all is well                                   */
    char input[INPUT_BYTES];
};

static voidpf zlib_alloc(voidpf opaque, uInt items, uInt size)
{
    (void)opaque;
    return qn_mem_zalloc(items, size);
}

static void zlib_free(voidpf opaque, voidpf p)
{
    (void)opaque;
    qn_mem_free(p);
}

qn_status qn_log_stream_new(const struct qn_files *files, int fd, const char *name, bool is_waiting,
                            struct qn_log_stream **out, struct qn_err *err)
{
    struct qn_log_stream *s = qn_mem_zalloc(1, sizeof *s);

    if (s == NULL)
        return qn_err_set(err, QN_NOMEM, "no memory to read '%s'", name);
    s->files = files;
    s->fd = fd;
    s->name = name;
    s->is_waiting = is_waiting;
    s->is_between = true;
    *out = s;
    return QN_OK;
}

void qn_log_stream_free(struct qn_log_stream *s)
{
    if (s == NULL)
        return;
    if (s->has_gzip)
        inflateEnd(&s->gzip);
    ZSTD_freeDCtx(s->zstd);
    qn_mem_free(s);
}

uint64_t qn_log_stream_position(const struct qn_log_stream *s)
{
    return s->taken - (s->end - s->at);
}

/* Remembers the error for all later calls. */
static qn_status fail(struct qn_log_stream *s, struct qn_err *err)
{
    qn_err_at(&s->failed, s->name, 0, 0);
    if (err != NULL)
        *err = s->failed;
    return s->failed.code;
}

static qn_status damaged(struct qn_log_stream *s, const char *what, const char *detail,
                         struct qn_err *err)
{
    uint64_t byte = qn_log_stream_position(s);

    qn_err_set(&s->failed, QN_CORRUPT, "the %s data %s at byte %llu%s%s",
               s->kind == KIND_GZIP ? "gzip" : "zstd", what, (unsigned long long)byte,
               detail != NULL ? ": " : "", detail != NULL ? detail : "");
    s->failed.offset = byte;
    s->failed.has_offset = true;
    return fail(s, err);
}

/* One read of the descriptor. *got is NOTHING_YET where it would have to wait and may not. */
static qn_status take(struct qn_log_stream *s, char *to, size_t cap, bool may_block, size_t *bytes,
                      enum qn_log_got *got, struct qn_err *err)
{
    int64_t n;

    *bytes = 0;
    *got = QN_LOG_END;
    if (s->is_over)
        return QN_OK;
    *got = QN_LOG_NOTHING_YET;
    if (!may_block && s->is_waiting && !qn_file_ready(s->fd))
        return QN_OK;
    n = s->files->read(s->files->st, s->fd, to, cap);
    if (n < 0) {
        qn_err_sys(&s->failed, (int)-n, "cannot read '%s' at byte %llu", s->name,
                   (unsigned long long)s->taken);
        s->failed.offset = s->taken;
        s->failed.has_offset = true;
        return fail(s, err);
    }
    QN_ASSERT((uint64_t)n <= cap);
    s->taken += (uint64_t)n;
    s->is_over = n == 0;
    *bytes = (size_t)n;
    *got = n == 0 ? QN_LOG_END : QN_LOG_BYTES;
    return QN_OK;
}

/* More input behind what is there; moves the rest to the front first. */
static qn_status take_input(struct qn_log_stream *s, bool may_block, enum qn_log_got *got,
                            struct qn_err *err)
{
    size_t n;

    if (s->at > 0) {
        memmove(s->input, s->input + s->at, s->end - s->at);
        s->end -= s->at;
        s->at = 0;
    }
    QN_ASSERT(s->end < INPUT_BYTES);
    QN_TRY(take(s, s->input + s->end, INPUT_BYTES - s->end, may_block, &n, got, err));
    s->end += n;
    return QN_OK;
}

/* First bytes of what people hand in by mistake, none of which begins JSON or a CSV header: said
 * once, instead of a dead letter per line of garbage. '?' is any byte. */
static const struct foreign {
    const char *magic;
    size_t bytes;
    const char *what;
} foreign_kinds[] = {{"\xFD\x37\x7A\x58\x5A\x00", 6, "xz data"},
                     {"\x42\x5A\x68?1AY&SY", 10, "bzip2 data"},
                     {"\x04\x22\x4D\x18", 4, "lz4 data"},
                     {"PK\x03\x04", 4, "a zip archive"},
                     {"PAR1\x15", 5, "a Parquet file"},
                     {"Obj\x01", 4, "an Avro file"},
                     {"\xFF\xFE", 2, "UTF-16 text"},
                     {"\xFE\xFF", 2, "UTF-16 text"},
                     {NULL, 0, NULL}};

/* The kind whose magic the n bytes begin with, or are the beginning of. */
static const struct foreign *foreign(const unsigned char *p, size_t n)
{
    for (const struct foreign *f = foreign_kinds; f->magic != NULL; f++) {
        size_t k = 0;

        while (k < n && k < f->bytes && (f->magic[k] == '?' || (unsigned char)f->magic[k] == p[k]))
            k++;
        if (k == n || k == f->bytes)
            return f;
    }
    return NULL;
}

/* What the first bytes say; UNKNOWN while more of them could tell. */
static enum kind recognise(const unsigned char *p, size_t n, bool is_over)
{
    static const unsigned char gzip[] = {0x1F, 0x8B}, zstd[] = {0x28, 0xB5, 0x2F, 0xFD},
                               skip[] = {0x2A, 0x4D, 0x18};
    size_t head = n < MAGIC_BYTES ? n : MAGIC_BYTES;
    const struct foreign *other;

    if (n == 0)
        return is_over ? KIND_PLAIN : KIND_UNKNOWN;
    if (memcmp(p, gzip, n < 2 ? n : 2) == 0)
        return n >= 2 ? KIND_GZIP : is_over ? KIND_PLAIN : KIND_UNKNOWN;
    if (memcmp(p, zstd, head) != 0 &&
        !((p[0] & 0xF0) == 0x50 && memcmp(p + 1, skip, head - 1) == 0)) {
        other = foreign(p, n);
        return other != NULL && n < other->bytes && !is_over ? KIND_UNKNOWN : KIND_PLAIN;
    }
    return n >= MAGIC_BYTES ? KIND_ZSTD : is_over ? KIND_PLAIN : KIND_UNKNOWN;
}

static qn_status open_kind(struct qn_log_stream *s, struct qn_err *err)
{
    const size_t n = s->end - s->at;
    const struct foreign *other =
        s->kind == KIND_PLAIN ? foreign((const unsigned char *)s->input + s->at, n) : NULL;

    if (other != NULL && n >= other->bytes) {
        qn_err_set(&s->failed, QN_UNSUPPORTED,
                   "this is %s: events are NDJSON or CSV in UTF-8, plain, gzip or zstd",
                   other->what);
        return fail(s, err);
    }
    if (s->kind == KIND_GZIP) {
        s->gzip.zalloc = zlib_alloc;
        s->gzip.zfree = zlib_free;
        s->has_gzip = inflateInit2(&s->gzip, 16 + MAX_WBITS) == Z_OK;
        if (!s->has_gzip)
            goto no_memory;
    } else if (s->kind == KIND_ZSTD) {
        s->zstd = ZSTD_createDCtx();
        if (s->zstd == NULL)
            goto no_memory;
    }
    return QN_OK;
no_memory:
    qn_err_set(&s->failed, QN_NOMEM, "no memory to decompress '%s'", s->name);
    return fail(s, err);
}

/* One step of inflate; *bytes came out, also where it fails. */
static qn_status step_gzip(struct qn_log_stream *s, char *to, size_t cap, size_t *bytes,
                           struct qn_err *err)
{
    int rc;

    if (s->is_between && s->taken > s->end - s->at) { /* not the first member */
        while (s->at < s->end && s->input[s->at] == 0) {
            s->is_padding = true;
            s->at++;
        }
        if (s->at == s->end)
            return QN_OK;
        if (s->is_padding || (unsigned char)s->input[s->at] != 0x1F)
            return damaged(s, "is followed by something else", NULL, err);
        if (inflateReset(&s->gzip) != Z_OK)
            return damaged(s, "cannot be continued", NULL, err);
    }
    s->is_between = false;
    s->gzip.next_in = (Bytef *)s->input + s->at;
    s->gzip.avail_in = (uInt)(s->end - s->at);
    s->gzip.next_out = (Bytef *)to;
    s->gzip.avail_out = (uInt)(cap < 1u << 30 ? cap : 1u << 30);
    rc = inflate(&s->gzip, Z_NO_FLUSH);
    s->at = s->end - s->gzip.avail_in;
    *bytes = (size_t)((char *)s->gzip.next_out - to);
    if (rc == Z_STREAM_END)
        s->is_between = true;
    else if (rc == Z_MEM_ERROR) {
        qn_err_set(&s->failed, QN_NOMEM, "no memory to decompress '%s'", s->name);
        return fail(s, err);
    } else if (rc != Z_OK && rc != Z_BUF_ERROR)
        return damaged(s, "is damaged", s->gzip.msg, err);
    s->has_pending = rc == Z_OK && s->gzip.avail_out == 0;
    return QN_OK;
}

static qn_status step_zstd(struct qn_log_stream *s, char *to, size_t cap, size_t *bytes,
                           struct qn_err *err)
{
    ZSTD_inBuffer in = {s->input, s->end, s->at};
    ZSTD_outBuffer out = {to, cap, 0};
    size_t rc = ZSTD_decompressStream(s->zstd, &out, &in);

    s->at = in.pos;
    *bytes = out.pos;
    if (ZSTD_isError(rc))
        return damaged(s, "is damaged", ZSTD_getErrorName(rc), err);
    s->is_between = rc == 0;
    s->has_pending = rc != 0 && out.pos == cap;
    return QN_OK;
}

/* Compressed bytes until at least one byte comes out. */
static qn_status read_packed(struct qn_log_stream *s, char *to, size_t cap, bool may_block,
                             size_t *bytes, enum qn_log_got *got, struct qn_err *err)
{
    qn_status rc;

    for (;;) {
        if (s->at == s->end && !s->has_pending) {
            QN_TRY(take_input(s, may_block, got, err));
            if (*got == QN_LOG_END && !s->is_between)
                return damaged(s, "ends before its end", NULL, err);
            if (*got != QN_LOG_BYTES)
                return QN_OK;
        }
        rc = s->kind == KIND_GZIP ? step_gzip(s, to, cap, bytes, err)
                                  : step_zstd(s, to, cap, bytes, err);
        if (*bytes > 0) { /* a failure behind them is said at the next call */
            *got = QN_LOG_BYTES;
            return QN_OK;
        }
        if (rc != QN_OK)
            return rc;
    }
}

qn_status qn_log_stream_read(struct qn_log_stream *s, char *to, size_t cap, bool may_block,
                             size_t *bytes, enum qn_log_got *got, struct qn_err *err)
{
    QN_ASSERT(cap > 0);
    *bytes = 0;
    *got = QN_LOG_END;
    if (s->failed.code != QN_OK)
        return fail(s, err);
    while (s->kind == KIND_UNKNOWN) {
        QN_TRY(take_input(s, may_block, got, err));
        if (*got == QN_LOG_NOTHING_YET)
            return QN_OK;
        s->kind = recognise((const unsigned char *)s->input, s->end, s->is_over);
        if (s->kind != KIND_UNKNOWN)
            QN_TRY(open_kind(s, err));
    }
    if (s->kind != KIND_PLAIN)
        return read_packed(s, to, cap, may_block, bytes, got, err);
    if (s->at == s->end)
        return take(s, to, cap, may_block, bytes, got, err);
    *bytes = s->end - s->at < cap ? s->end - s->at : cap; /* what was read to recognise the kind */
    memcpy(to, s->input + s->at, *bytes);
    s->at += *bytes;
    *got = QN_LOG_BYTES;
    return QN_OK;
}
