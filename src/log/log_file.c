/* SPDX-License-Identifier: Apache-2.0
 * log_file.c - cuts the bytes of a file or pipe into records, without copying them.
 *
 * The first stop of an event. Bytes are read in blocks; a record is a span of a block. At the end
 * of a block only the record that is cut there is moved: to the front when nobody holds a record of
 * this block, else into another block, and the held ones wait in a list until release. Where a
 * record ends is found once: `scan` and the CSV state stand where looking stopped, so reading byte
 * by byte costs no more than reading at once. Invariant: start <= scan <= end within the current
 * block; [start, scan) holds no record's end. Thread: one owner. Memory: blocks from base/memory.h,
 * reused. */
#include "log/log_file.h"

#include "base/check.h"
#include "event/decode.h"
#include "log/log_stream.h"

#include <string.h>

enum { BLOCK_BYTES = 256 * 1024 };

struct block {
    struct block *next;
    size_t cap; /* bytes of data that may be filled; QN_DECODE_PAD more can be read */
    char data[];
};

/* Where in a CSV record the scan stands. QUOTE: behind a quote that may close or be doubled. */
enum csv_state { CSV_CELL, CSV_PLAIN, CSV_QUOTED, CSV_QUOTE };

struct qn_log_file {
    const struct qn_files *files;
    struct qn_log_stream *stream;
    char *path;
    int fd;
    bool is_own_fd;
    bool is_waiting; /* it has no size: a pipe, a terminal */
    enum qn_format format;
    uint64_t size_bytes;
    struct block *block, *held, *unused; /* current; handed out from since release; for later */
    bool is_current_held;
    size_t start, scan, end;
    enum csv_state csv;
    bool is_skipping; /* the rest of a record that was too large                */
    bool is_over;     /* the stream gave its end                                */
    bool is_begun;    /* the first bytes were looked at (byte order mark)       */
    int64_t next_offset;
    struct qn_str header;
    bool has_header, is_header_too_large;
};

static bool ends_with(const char *path, const char *ending)
{
    size_t n = strlen(path), m = strlen(ending);

    return n >= m && memcmp(path + n - m, ending, m) == 0;
}

static enum qn_format format_of(const char *path)
{
    static const char *const csv[] = {".csv", ".csv.gz", ".csv.zst"};

    for (size_t i = 0; i < sizeof csv / sizeof csv[0]; i++)
        if (ends_with(path, csv[i]))
            return QN_FORMAT_CSV;
    return QN_FORMAT_NDJSON;
}

qn_status qn_log_file_open(const struct qn_files *files, const char *path, enum qn_format format,
                           struct qn_log_file **out, struct qn_err *err)
{
    struct qn_log_file *f = qn_mem_zalloc(1, sizeof *f);
    int64_t size;
    qn_status rc;

    *out = NULL;
    if (f == NULL)
        return qn_err_set(err, QN_NOMEM, "no memory to read '%s'", path);
    f->files = files;
    f->format = format == QN_FORMAT_AUTO ? format_of(path) : format;
    f->is_own_fd = strcmp(path, "-") != 0;
    f->path = qn_mem_strdup(path, strlen(path));
    if (f->path == NULL) {
        rc = qn_err_set(err, QN_NOMEM, "no memory to read '%s'", path);
        f->is_own_fd = false;
        goto out;
    }
    if (f->is_own_fd && (f->fd = files->open(files->st, path, QN_OPEN_READ)) < 0) {
        rc = qn_err_sys(err, -f->fd, "cannot open '%s'", path);
        f->is_own_fd = false;
        goto out;
    }
    size = files->size(files->st, f->fd);
    f->size_bytes = size > 0 ? (uint64_t)size : 0;
    f->is_waiting = size < 0;
    rc = qn_log_stream_new(files, f->fd, f->path, f->is_waiting, &f->stream, err);
out:
    if (rc == QN_OK)
        *out = f;
    else
        qn_log_file_close(f);
    return rc;
}

static void free_blocks(struct block *b)
{
    while (b != NULL) {
        struct block *next = b->next;

        qn_mem_free(b);
        b = next;
    }
}

void qn_log_file_close(struct qn_log_file *f)
{
    if (f == NULL)
        return;
    qn_log_stream_free(f->stream);
    if (f->is_own_fd)
        f->files->close(f->files->st, f->fd);
    free_blocks(f->block);
    free_blocks(f->held);
    free_blocks(f->unused);
    qn_mem_free((char *)(uintptr_t)f->header.p);
    qn_mem_free(f->path);
    qn_mem_free(f);
}

enum qn_format qn_log_file_format(const struct qn_log_file *f)
{
    return f->format;
}

void qn_log_file_progress(const struct qn_log_file *f, uint64_t *done_bytes, uint64_t *size_bytes)
{
    *done_bytes = qn_log_stream_position(f->stream);
    *size_bytes = f->size_bytes;
}

void qn_log_file_release(struct qn_log_file *f)
{
    while (f->held != NULL) {
        struct block *b = f->held;

        f->held = b->next;
        b->next = f->unused;
        f->unused = b;
    }
    f->is_current_held = false;
}

/* --- room for more bytes --- */

/* A block that takes at least `cap` bytes, from the unused ones where one is large enough. */
static struct block *new_block(struct qn_log_file *f, size_t cap)
{
    struct block **at = &f->unused, *b;

    while (*at != NULL && (*at)->cap < cap)
        at = &(*at)->next;
    b = *at;
    if (b != NULL) {
        *at = b->next;
    } else {
        b = qn_mem_alloc(sizeof *b + cap + QN_DECODE_PAD);
        if (b == NULL)
            return NULL;
        b->cap = cap;
        memset(b->data + cap, 0, QN_DECODE_PAD);
    }
    b->next = NULL;
    return b;
}

/* Puts the record that is cut at the end of the block where it can be continued. */
static qn_status make_room(struct qn_log_file *f, struct qn_err *err)
{
    size_t part = f->end - f->start, cap = BLOCK_BYTES;
    struct block *b = f->block;

    QN_ASSERT(part <= QN_EVENT_BYTES_MAX + 1);
    if (b != NULL && f->end < b->cap &&
        (f->is_current_held || f->start == 0 || (part > 0 && b->cap - f->end >= BLOCK_BYTES / 4)))
        return QN_OK;
    while (cap < 2 * part)
        cap *= 2;
    if (b == NULL || f->is_current_held || b->cap < cap) {
        struct block *larger = new_block(f, cap);

        if (larger == NULL)
            return qn_err_set(err, QN_NOMEM, "no memory for a record of '%s'", f->path);
        if (b != NULL) {
            memcpy(larger->data, b->data + f->start, part);
            b->next = f->is_current_held ? f->held : f->unused;
            *(f->is_current_held ? &f->held : &f->unused) = b;
        }
        f->block = larger;
        f->is_current_held = false;
    } else {
        memmove(b->data, b->data + f->start, part);
    }
    f->scan -= f->start;
    f->end = part;
    f->start = 0;
    return QN_OK;
}

/* More bytes behind end. *got as of the stream; END also sets is_over. */
static qn_status fill(struct qn_log_file *f, bool may_block, enum qn_log_got *got,
                      struct qn_err *err)
{
    size_t n;

    QN_TRY(make_room(f, err));
    QN_TRY(qn_log_stream_read(f->stream, f->block->data + f->end, f->block->cap - f->end, may_block,
                              &n, got, err));
    f->end += n;
    f->is_over = *got == QN_LOG_END;
    return QN_OK;
}

/* --- where records end --- */

/* Moves scan behind the next line end that ends a CSV record; false when the bytes are used up
 * before. */
static bool scan_csv(struct qn_log_file *f)
{
    const char *p = f->block->data + f->scan, *end = f->block->data + f->end;
    enum csv_state state = f->csv;
    bool is_found = false;

    while (p < end && !is_found) {
        const char *q;

        switch (state) {
        case CSV_QUOTED:
            q = memchr(p, '"', (size_t)(end - p));
            p = q != NULL ? q + 1 : end;
            if (q != NULL)
                state = CSV_QUOTE;
            break;
        case CSV_QUOTE:
            if (*p == '"') {
                state = CSV_QUOTED;
                p++;
            } else {
                state = CSV_PLAIN;
            }
            break;
        case CSV_CELL:
            if (*p == '"') {
                state = CSV_QUOTED;
                p++;
                break;
            }
            state = CSV_PLAIN;
            /* fall through */
        case CSV_PLAIN:
            while (p < end && *p != ',' && *p != '\n')
                p++;
            if (p < end) {
                is_found = *p++ == '\n';
                state = CSV_CELL;
            }
            break;
        }
    }
    f->csv = state;
    f->scan = (size_t)(p - f->block->data);
    return is_found;
}

/* As above for NDJSON, and for CSV records without a quote. */
static bool scan_record(struct qn_log_file *f)
{
    const char *p = f->block->data + f->scan;
    const char *q = memchr(p, '\n', f->end - f->scan);

    if (f->format == QN_FORMAT_CSV &&
        (f->csv != CSV_CELL || q == NULL || memchr(p, '"', (size_t)(q - p)) != NULL))
        return scan_csv(f);
    f->scan = q != NULL ? (size_t)(q + 1 - f->block->data) : f->end;
    return q != NULL;
}

/* A line that holds nothing: for NDJSON also one of blanks. */
static bool is_blank(const struct qn_log_file *f, const char *p, size_t n)
{
    if (n == 0 || f->format == QN_FORMAT_CSV || (unsigned char)*p > ' ')
        return n == 0;
    for (size_t i = 0; i < n; i++)
        if (p[i] != ' ' && p[i] != '\t' && p[i] != '\r')
            return false;
    return true;
}

/* The record [start, at) is over; line_end: how many bytes of it are the line feed. False when it
 * is blank, or the rest of one that was already handed out. */
static bool finish(struct qn_log_file *f, size_t line_end, struct qn_record *out)
{
    const char *p = f->block->data + f->start;
    size_t n = f->scan - f->start - line_end;
    bool was_skipping = f->is_skipping;

    f->start = f->scan;
    f->csv = CSV_CELL;
    f->is_skipping = false;
    if (was_skipping)
        return false;
    if (n > 0 && p[n - 1] == '\r')
        n--;
    if (is_blank(f, p, n))
        return false;
    out->is_too_large = n > QN_EVENT_BYTES_MAX;
    out->raw = (struct qn_str){p, (uint32_t)(out->is_too_large ? QN_EVENT_BYTES_MAX : n)};
    out->offset = f->next_offset++;
    f->is_current_held = true;
    return true;
}

/* What was scanned has no end yet and is larger than an event may be: it is handed out cut, the
 * rest will be skipped. */
static bool cut(struct qn_log_file *f, struct qn_record *out)
{
    const char *p = f->block->data + f->start;

    if (f->is_skipping) {
        f->start = f->scan;
        return false;
    }
    if (f->scan - f->start <= QN_EVENT_BYTES_MAX + 1) /* one more may be the CR of its line end */
        return false;
    *out = (struct qn_record){{p, QN_EVENT_BYTES_MAX}, f->next_offset++, true};
    f->is_current_held = true;
    f->is_skipping = true;
    f->start = f->scan;
    return true;
}

/* The next record in the bytes that are there. */
static bool next_record(struct qn_log_file *f, struct qn_record *out)
{
    while (f->scan < f->end) {
        if (scan_record(f)) {
            if (finish(f, 1, out))
                return true;
        } else if (cut(f, out)) {
            return true;
        }
    }
    return false;
}

/* A byte order mark in front of the first record belongs to none. */
static void begin(struct qn_log_file *f)
{
    static const char mark[] = "\xEF\xBB\xBF";
    size_t n = f->end - f->start;

    if (f->is_begun || (n < 3 && !f->is_over && memcmp(f->block->data, mark, n) == 0))
        return;
    f->is_begun = true;
    if (n >= 3 && memcmp(f->block->data, mark, 3) == 0)
        f->start = f->scan = 3;
}

/* The next record, read on where need be. *got: BYTES = *out is set. */
static qn_status next(struct qn_log_file *f, bool may_block, struct qn_record *out,
                      enum qn_log_got *got, struct qn_err *err)
{
    for (;;) {
        if (f->is_begun && next_record(f, out)) {
            *got = QN_LOG_BYTES;
            return QN_OK;
        }
        if (f->is_over) {
            *got =
                f->start < f->end && f->is_begun && finish(f, 0, out) ? QN_LOG_BYTES : QN_LOG_END;
            return QN_OK;
        }
        QN_TRY(fill(f, may_block, got, err));
        if (*got == QN_LOG_NOTHING_YET)
            return QN_OK;
        begin(f);
    }
}

/* --- the calls --- */

/* CSV: the first record becomes the header. *got as of next. */
static qn_status take_header(struct qn_log_file *f, bool may_block, enum qn_log_got *got,
                             struct qn_err *err)
{
    struct qn_record r;
    char *copy;

    *got = QN_LOG_BYTES;
    if (f->has_header || f->format != QN_FORMAT_CSV)
        return QN_OK;
    if (!f->is_header_too_large) {
        QN_TRY(next(f, may_block, &r, got, err));
        if (*got != QN_LOG_BYTES)
            return QN_OK;
        f->is_header_too_large = r.is_too_large;
    }
    if (f->is_header_too_large)
        return qn_err_set(err, QN_LIMIT, "the header of '%s' is larger than %d bytes", f->path,
                          QN_EVENT_BYTES_MAX);
    f->next_offset = 0;
    copy = qn_mem_zalloc(1, r.raw.len + (size_t)QN_DECODE_PAD);
    if (copy == NULL) {
        f->start = f->scan = (size_t)(r.raw.p - f->block->data); /* so that it can be read again */
        return qn_err_set(err, QN_NOMEM, "no memory for the header of '%s'", f->path);
    }
    memcpy(copy, r.raw.p, r.raw.len);
    f->header = (struct qn_str){copy, r.raw.len};
    f->has_header = true;
    return QN_OK;
}

qn_status qn_log_file_header(struct qn_log_file *f, struct qn_str *header, struct qn_err *err)
{
    enum qn_log_got got;

    QN_ASSERT(f->format == QN_FORMAT_CSV);
    *header = (struct qn_str){0};
    QN_TRY(take_header(f, true, &got, err));
    if (!f->has_header)
        return qn_err_set(err, QN_INVALID, "'%s' is empty: a CSV file begins with a header",
                          f->path);
    *header = f->header;
    return QN_OK;
}

qn_status qn_log_file_read(struct qn_log_file *f, struct qn_record *out, uint32_t max,
                           bool may_block, uint32_t *count, enum qn_flow *flow, struct qn_err *err)
{
    enum qn_log_got got;
    uint32_t n = 0;
    qn_status rc;

    QN_ASSERT(max > 0);
    *count = 0;
    *flow = QN_END;
    rc = take_header(f, may_block, &got, err);
    while (rc == QN_OK && got == QN_LOG_BYTES && n < max) {
        rc = next(f, may_block && n == 0, &out[n], &got, err);
        n += rc == QN_OK && got == QN_LOG_BYTES;
    }
    if (rc != QN_OK && n == 0)
        return rc; /* where records came first, the stream says it again at the next call */
    *count = n;
    *flow = n > 0 ? QN_MORE : got == QN_LOG_NOTHING_YET ? QN_IDLE : QN_END;
    return QN_OK;
}

bool qn_log_file_is_ready(const struct qn_log_file *f)
{
    return f->is_over || !f->is_waiting || qn_file_ready(f->fd);
}
