/* SPDX-License-Identifier: Apache-2.0
 * source_file.c - the source `file`: events from files of lines, one JSON object each.
 *
 * Without `follow`: the files that the path names, in the order of their names, each to its end,
 * plain, gzip or zstd; then the source is done. After a start it goes on in the file where it was;
 * files whose names come before that one are not looked at again. With `follow`: tail_follow.c.
 * Thread: the intake's. Memory: one buffer, or that of the log's file reader. */
#include "base/check.h"
#include "base/hash.h"
#include "event/schema.h"
#include "log/log_file.h"
#include "source/source_int.h"
#include "source/tail_int.h"

#include <stdio.h>
#include <stdlib.h>

enum tail_format { TAIL_NDJSON, TAIL_CSV };

static const struct qn_option tail_options[] = {
    {.name = "path",
     .type = QN_OPT_TEXT,
     .value = "PATH",
     .since = "0.2",
     .help = "a file of JSON lines; the last part of the path may have * ? and [ ]",
     .is_required = true,
     .is_path = true,
     .offset = offsetof(struct qn_tail_options, path)},
    {.name = "follow",
     .type = QN_OPT_FLAG,
     .since = "0.2",
     .help = "wait for more: the file grows, is rotated (renamed and made anew) or cut",
     .offset = offsetof(struct qn_tail_options, is_followed)},
    {.name = "format",
     .type = QN_OPT_ENUM,
     .value = "FORMAT",
     .fallback = "ndjson",
     .choices = "ndjson|csv",
     .since = "0.2",
     .help = "what a line is; csv is for quern pipe and quern features",
     .offset = offsetof(struct qn_tail_options, format)},
    {.name = "poll",
     .type = QN_OPT_DURATION,
     .value = "TIME",
     .fallback = "100ms",
     .min = 1000,
     .max = INT64_C(60000000),
     .since = "0.2",
     .help = "how often a followed file is looked at while nothing comes",
     .offset = offsetof(struct qn_tail_options, poll_us)},
    {.name = NULL},
};

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);

    return n >= m && strcmp(text + n - m, end) == 0;
}

static qn_status tail_check(const void *options, struct qn_err *err)
{
    const struct qn_tail_options *opt = options;
    const char *slash = strrchr(opt->path, '/');
    size_t folder = slash == NULL ? 0 : (size_t)(slash - opt->path);

    if (opt->path[0] == '\0' || ends_with(opt->path, "/"))
        return qn_err_set(err, QN_INVALID,
                          "a file source needs a file, '%s' is a folder: write "
                          "'%s*.ndjson'",
                          opt->path, opt->path);
    if (strcmp(slash == NULL ? opt->path : slash + 1, "-") == 0)
        return qn_err_set(err, QN_INVALID,
                          "a source reads files; events on standard input are "
                          "read by quern pipe");
    if (strcspn(opt->path, "*?[") < folder)
        return qn_err_set(err, QN_INVALID, "only the last part of a path may have * ? or [: '%s'",
                          opt->path);
    if (opt->format == TAIL_CSV || ends_with(opt->path, ".csv") ||
        ends_with(opt->path, ".csv.gz") || ends_with(opt->path, ".csv.zst"))
        return qn_err_set(err, QN_INVALID,
                          "a file source reads JSON lines; CSV files are read by "
                          "quern pipe and quern features");
    return QN_OK;
}

/* ---- opening ---------------------------------------------------------------------------------*/

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static qn_status add_name(struct qn_tail *t, const char *path, struct qn_err *err)
{
    if (t->name_count == t->name_cap) {
        uint32_t cap = t->name_cap > 0 ? 2 * t->name_cap : 16;
        char **more = qn_mem_realloc(t->names, cap * sizeof(*more));

        if (more == NULL)
            return qn_err_set(err, QN_NOMEM, "out of memory for the names of files");
        t->names = more;
        t->name_cap = cap;
    }
    t->names[t->name_count] = qn_mem_strdup(path, strlen(path));
    if (t->names[t->name_count] == NULL)
        return qn_err_set(err, QN_NOMEM, "out of memory for the names of files");
    t->name_count++;
    return QN_OK;
}

/* Of what the position knows the file with the last name stays. */
static void keep_last(struct qn_tail *t)
{
    uint32_t last = 0;

    for (uint32_t i = 1; i < t->count; i++)
        if (strcmp(t->files[i].path, t->files[last].path) > 0)
            last = i;
    for (uint32_t i = 0; i < t->count; i++)
        if (i != last)
            qn_tail_close(t, &t->files[i]);
    if (t->count > 0) {
        t->files[0] = t->files[last];
        t->count = 1;
    }
}

/* The hash of the first bytes of a compressed file, as they lie there. */
static qn_status packed_head(struct qn_tail *t, struct qn_tail_file *f, struct qn_err *err)
{
    char head[QN_TAIL_HEAD_BYTES];
    size_t got;

    QN_TRY(qn_file_read_at(t->boot->files, f->fd, f->path, head, sizeof head, 0, &got, err));
    f->head = qn_hash(head, got, 0);
    f->head_bytes = (uint32_t)got;
    return QN_OK;
}

/* Opens the file whose turn it is. before: how far the position says it was read; NULL = not. */
static qn_status begin_file(struct qn_tail *t, const struct qn_tail_file *before,
                            struct qn_err *err)
{
    struct qn_tail_file f;

    QN_TRY(qn_tail_open(t, t->names[t->name_at], &f, err));
    t->files[0] = f;
    t->count = 1;
    if (f.is_compressed) {
        QN_TRY(packed_head(t, &t->files[0], err));
        QN_TRY(qn_log_file_open(t->boot->files, f.path, QN_FORMAT_NDJSON, &t->whole, err));
    }
    if (before == NULL || before->is_compressed != f.is_compressed)
        return QN_OK;
    if (f.is_compressed &&
        (before->head != t->files[0].head || before->head_bytes != t->files[0].head_bytes))
        return QN_OK; /* another file of that name */
    t->files[0].offset = before->offset;
    t->files[0].head = before->head;
    t->files[0].head_bytes = before->head_bytes;
    t->files[0].is_skipping = before->is_skipping;
    return QN_OK;
}

static qn_status open_whole(struct qn_tail *t, struct qn_err *err)
{
    struct qn_tail_file before;
    qn_status rc = QN_OK;

    QN_TRY(qn_tail_list(t, add_name, err));
    if (t->name_count == 0)
        return qn_err_set(err, QN_NOT_FOUND, "no file is named '%s'", t->opt->path);
    qsort(t->names, t->name_count, sizeof(*t->names), compare_names);
    keep_last(t);
    if (t->count == 0)
        return QN_OK;
    before = t->files[0];
    t->count = 0;
    while (t->name_at < t->name_count && strcmp(t->names[t->name_at], before.path) < 0)
        t->name_at++;
    if (t->name_at < t->name_count && strcmp(t->names[t->name_at], before.path) == 0)
        rc = begin_file(t, &before, err);
    qn_mem_free(before.path);
    return rc;
}

static qn_status tail_open(void *st, const struct qn_source_boot *boot, const void *options,
                           struct qn_str position, struct qn_err *err)
{
    struct qn_tail *t = st;
    const char *slash;

    t->boot = boot;
    t->opt = options;
    slash = strrchr(t->opt->path, '/');
    t->pattern = slash == NULL ? t->opt->path : slash + 1;
    t->has_pattern = strpbrk(t->pattern, "*?[") != NULL;
    t->folder = qn_mem_strdup(t->opt->path, (size_t)(t->pattern - t->opt->path));
    if (t->folder == NULL)
        return qn_err_set(err, QN_NOMEM, "out of memory for a file source");
    if (position.len > 0)
        QN_TRY(qn_tail_restore(t, position, err));
    if (!t->opt->is_followed)
        return open_whole(t, err);
    for (uint32_t i = t->count; i-- > 0;)
        if (t->files[i].is_compressed) { /* was read without `follow` */
            qn_tail_close(t, &t->files[i]);
            t->files[i] = t->files[--t->count];
        }
    return QN_OK;
}

static void end_file(struct qn_tail *t)
{
    for (uint32_t i = 0; i < t->count; i++)
        qn_tail_close(t, &t->files[i]);
    t->count = 0;
    qn_log_file_close(t->whole);
    t->whole = NULL;
}

static void tail_close(void *st)
{
    struct qn_tail *t = st;

    end_file(t);
    for (uint32_t i = 0; i < t->name_count; i++)
        qn_mem_free(t->names[i]);
    qn_mem_free(t->names);
    qn_mem_free(t->folder);
    qn_mem_free(t->buf);
}

/* ---- reading ---------------------------------------------------------------------------------*/

/* Records of a compressed file; those before the position are read and left out. */
static qn_status read_packed(struct qn_tail *t, struct qn_source_batch *batch, enum qn_flow *flow,
                             struct qn_err *err)
{
    struct qn_tail_file *f = &t->files[0];
    size_t given = 0;

    qn_log_file_release(t->whole);
    *flow = QN_MORE;
    while (batch->count < batch->max && given < batch->bytes_max) {
        struct qn_record r;
        uint32_t count;
        qn_status rc = qn_log_file_read(t->whole, &r, 1, true, &count, flow, err);

        if (rc != QN_OK && batch->count > 0)
            break; /* said again by the next call, when these events are in the log */
        if (rc != QN_OK) {
            err->fatal = rc == QN_CORRUPT;
            return rc;
        }
        if (count == 0)
            break;
        if ((uint64_t)r.offset < f->offset) {
            qn_log_file_release(t->whole);
            continue;
        }
        f->offset++;
        if (r.raw.len == 0)
            continue;
        /* One byte more is what the engine calls too large; it may be read. */
        r.raw.len += r.is_too_large && r.raw.len == QN_EVENT_BYTES_MAX;
        batch->events[batch->count++] = r.raw;
        given += r.raw.len;
    }
    if (batch->count > 0)
        *flow = QN_MORE;
    return QN_OK;
}

static qn_status read_whole(struct qn_tail *t, struct qn_source_batch *batch, enum qn_flow *flow,
                            struct qn_err *err)
{
    *flow = QN_END;
    while (t->name_at < t->name_count) {
        if (t->count == 0)
            QN_TRY(begin_file(t, NULL, err));
        if (t->whole != NULL)
            QN_TRY(read_packed(t, batch, flow, err));
        else
            QN_TRY(qn_tail_lines(t, &t->files[0], true, batch, flow, err));
        if (*flow == QN_MORE) {
            qn_tail_position(t, batch->position);
            return QN_OK;
        }
        end_file(t);
        t->name_at++;
        *flow = QN_END;
    }
    return QN_OK;
}

static qn_status tail_read(void *st, struct qn_source_batch *batch, enum qn_flow *flow,
                           struct qn_err *err)
{
    struct qn_tail *t = st;

    if (t->opt->is_followed)
        return qn_tail_follow(t, batch, flow, err);
    return read_whole(t, batch, flow, err);
}

const struct qn_source_ops qn_source_file = {
    .name = "file",
    .summary = "JSON lines of files: complete ones, or one that grows and is rotated",
    .options = tail_options,
    .options_bytes = sizeof(struct qn_tail_options),
    .state_bytes = sizeof(struct qn_tail),
    .check = tail_check,
    .open = tail_open,
    .read = tail_read,
    .durable = qn_source_none_durable,
    .close = tail_close,
};
