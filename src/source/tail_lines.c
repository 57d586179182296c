/* SPDX-License-Identifier: Apache-2.0
 * tail_lines.c - the lines of one file from where it was left. See tail_int.h.
 *
 * Bytes are read first and the head is compared after that: as long as the head is still the one
 * that was seen before, what was read belongs behind it. A line without its end stays in the file
 * and is read again, so nothing of it has to be remembered. Thread: the intake's. Memory: one
 * buffer for all files. */
#include "base/check.h"
#include "base/hash.h"
#include "event/schema.h"
#include "source/tail_int.h"

#include <stdio.h>

/* Room for one line too long and a good part more. */
enum { BUF_BYTES = QN_EVENT_BYTES_MAX + 256 * 1024, LONGEST = QN_EVENT_BYTES_MAX + 1 };

static bool is_packed(const unsigned char *p, size_t bytes)
{
    return (bytes >= 2 && p[0] == 0x1F && p[1] == 0x8B) ||
           (bytes >= 4 && p[0] == 0x28 && p[1] == 0xB5 && p[2] == 0x2F && p[3] == 0xFD);
}

qn_status qn_tail_open(struct qn_tail *t, const char *path, struct qn_tail_file *f,
                       struct qn_err *err)
{
    const struct qn_files *fs = t->boot->files;
    unsigned char magic[4];
    size_t got = 0;
    qn_status rc;
    int error;

    *f = (struct qn_tail_file){.fd = fs->open(fs->st, path, QN_OPEN_READ)};
    if (f->fd < 0)
        return qn_err_sys(err, -f->fd, "cannot open '%s'", path);
    f->is_open = true;
    f->path = qn_mem_strdup(path, strlen(path));
    error = fs->identify(fs->st, f->fd, &f->id);
    if (f->path == NULL)
        rc = qn_err_set(err, QN_NOMEM, "out of memory for a file's name");
    else if (error < 0)
        rc = qn_err_sys(err, -error, "cannot look at '%s'", path);
    else if (fs->size(fs->st, f->fd) < 0)
        rc = qn_err_set(err, QN_INVALID, "'%s' is no file: a pipe is for quern pipe", path);
    else
        rc = qn_file_read_at(fs, f->fd, path, magic, sizeof magic, 0, &got, err);
    f->is_compressed = rc == QN_OK && is_packed(magic, got);
    if (rc != QN_OK)
        qn_tail_close(t, f);
    return rc;
}

void qn_tail_close(struct qn_tail *t, struct qn_tail_file *f)
{
    if (f->is_open)
        t->boot->files->close(t->boot->files->st, f->fd);
    f->is_open = false;
    qn_mem_free(f->path);
    f->path = NULL;
}

/* What was cut out of the buffer. */
struct cut {
    size_t consumed;
    bool is_skipping;
};

/* The next line of p: its bytes into *line, and how many are consumed with its end; 0 = not there
 * yet. *is_cut: too long, and its end is not there yet. */
static size_t cut_line(const char *p, size_t bytes, bool is_last, struct qn_str *line, bool *is_cut)
{
    const char *end = memchr(p, '\n', bytes);
    size_t len = end != NULL ? (size_t)(end - p) : bytes;

    *is_cut = end == NULL && !is_last && bytes > LONGEST;
    if (end == NULL && !is_last && !*is_cut)
        return 0;
    *line = (struct qn_str){p, (uint32_t)(len > LONGEST ? LONGEST : len)};
    if (!*is_cut && line->len > 0 && len <= LONGEST && p[line->len - 1] == '\r')
        line->len--;
    return len + (end != NULL);
}

static struct cut cut_lines(const char *p, size_t bytes, bool is_skipping, bool is_last,
                            struct qn_source_batch *batch)
{
    struct cut c = {0, is_skipping};
    size_t given = 0;

    if (c.is_skipping) {
        const char *end = memchr(p, '\n', bytes);

        if (end == NULL)
            return (struct cut){bytes, !is_last};
        c = (struct cut){(size_t)(end - p) + 1, false};
    }
    while (c.consumed < bytes && batch->count < batch->max && given < batch->bytes_max &&
           !c.is_skipping) {
        struct qn_str line;
        size_t n = cut_line(p + c.consumed, bytes - c.consumed, is_last, &line, &c.is_skipping);

        if (n == 0)
            break;
        c.consumed += n;
        if (line.len > 0)
            batch->events[batch->count++] = line;
        given += line.len;
    }
    return c;
}

/* The file is not what was read before: it begins anew. */
static void begin_anew(struct qn_tail_file *f, const char *why, struct qn_source_batch *batch)
{
    snprintf(batch->note, sizeof batch->note, "'%.150s' %s: reading it from its beginning", f->path,
             why);
    f->offset = f->head = f->size = 0;
    f->head_bytes = 0;
    f->is_skipping = false;
    batch->count = 0;
}

/* Compares the head with the file and extends it up to `end`, what will have been read. first: the
 * bytes from f->offset on. *is_same. */
static qn_status check_head(struct qn_tail *t, struct qn_tail_file *f, uint64_t end,
                            const char *first, bool *is_same, struct qn_err *err)
{
    uint32_t want = end < QN_TAIL_HEAD_BYTES ? (uint32_t)end : QN_TAIL_HEAD_BYTES;
    char head[QN_TAIL_HEAD_BYTES];
    size_t got = want;

    *is_same = true;
    if (f->offset > 0) {
        QN_TRY(qn_file_read_at(t->boot->files, f->fd, f->path, head, want, 0, &got, err));
        *is_same = got == want && qn_hash(head, f->head_bytes, 0) == f->head;
        first = head;
    }
    if (*is_same) {
        f->head = qn_hash(first, want, 0);
        f->head_bytes = want;
    }
    return QN_OK;
}

qn_status qn_tail_lines(struct qn_tail *t, struct qn_tail_file *f, bool is_last,
                        struct qn_source_batch *batch, enum qn_flow *flow, struct qn_err *err)
{
    const struct qn_files *fs = t->boot->files;
    int64_t size = fs->size(fs->st, f->fd);
    size_t got;
    struct cut c;
    bool is_same;

    *flow = QN_MORE;
    if (size < 0)
        return qn_err_sys(err, (int)-size, "cannot look at '%s'", f->path);
    if ((uint64_t)size < f->offset) {
        begin_anew(f, "was cut", batch);
        return QN_OK;
    }
    if ((uint64_t)size == f->offset || ((uint64_t)size == f->size && !is_last)) {
        *flow = QN_IDLE;
        return QN_OK;
    }
    if (t->buf == NULL && (t->buf = qn_mem_alloc(BUF_BYTES)) == NULL)
        return qn_err_set(err, QN_NOMEM, "out of memory for reading '%s'", f->path);
    QN_TRY(qn_file_read_at(fs, f->fd, f->path, t->buf, BUF_BYTES, f->offset, &got, err));
    c = cut_lines(t->buf, got, f->is_skipping, is_last && f->offset + got >= (uint64_t)size, batch);
    if (c.consumed == 0) {
        f->size = (uint64_t)size;
        *flow = QN_IDLE;
        return QN_OK;
    }
    QN_TRY(check_head(t, f, f->offset + c.consumed, t->buf, &is_same, err));
    if (!is_same) {
        begin_anew(f, "holds something else now", batch);
        return QN_OK;
    }
    f->offset += c.consumed;
    f->is_skipping = c.is_skipping;
    return QN_OK;
}
