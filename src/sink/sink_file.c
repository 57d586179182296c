/* SPDX-License-Identifier: Apache-2.0
 * sink_file.c - writes records to a file, one line each, exactly once, and finishes the file by
 * size or age.
 *
 * Lines gather in a buffer and go to the place in the file that the position knows, so that writing
 * again after a failure changes nothing. flush() makes bytes durable, then the position, and only
 * then may the cursor move: file_int.h tells what a start does with that. A failed sync is never
 * tried again on the same bytes; the delivery opens the sink anew, which cuts them off. Thread: the
 * delivery's. Memory: one buffer. */
#include "base/check.h"
#include "sink/file_int.h"
#include "sink/record_members.h"
#include "sink/sink_int.h"

#include <errno.h>
#include <stdio.h>

enum { WRITE_BYTES = 256 * 1024 };

static const struct qn_option file_options[] = {
    {.name = "path",
     .type = QN_OPT_TEXT,
     .value = "a file",
     .is_required = true,
     .is_path = true,
     .since = "0.2",
     .help = "the file that grows; relative to the spec",
     .offset = offsetof(struct qn_file_options, path)},
    {.name = "format",
     .type = QN_OPT_ENUM,
     .choices = "by-ending|ndjson|csv",
     .fallback = "by-ending",
     .since = "0.2",
     .help = "what a line is; by-ending: csv for names that end in .csv, else ndjson",
     .offset = offsetof(struct qn_file_options, format)},
    {.name = "columns",
     .type = QN_OPT_LIST,
     .value = "members",
     .since = "0.2",
     .help = "csv: the members of the record that become columns, such as [id, event_time, score, "
             "features.amount]",
     .offset = offsetof(struct qn_file_options, columns)},
    {.name = "rotate_bytes",
     .type = QN_OPT_INT,
     .unit = "bytes",
     .min = 1000,
     .max = INT64_C(1) << 50,
     .since = "0.2",
     .help = "a file of this size is finished and a new one begun; without it, never",
     .offset = offsetof(struct qn_file_options, rotate_bytes)},
    {.name = "rotate_age",
     .type = QN_OPT_DURATION,
     .min = 1000000,
     .max = INT64_C(315360000000000),
     .since = "0.2",
     .help = "a file whose first record is this old is finished; without it, never",
     .offset = offsetof(struct qn_file_options, rotate_age_us)},
    {.name = "gzip",
     .type = QN_OPT_FLAG,
     .fallback = "false",
     .since = "0.2",
     .help = "true packs finished files",
     .offset = offsetof(struct qn_file_options, gzip)},
    {0}};

struct file_sink {
    const struct qn_file_options *opt;
    const struct qn_sink_boot *boot;
    int fd;                     /* of the growing file, + 1: zeroed state has none */
    struct qn_file_position at; /* with what lies in the buffer, but for `bytes`     */
    struct qn_buf lines;        /* belong at at.bytes                                */
    bool is_dirty;              /* written or buffered since the last position       */
    struct qn_arena arena;      /* members of one record                             */
};

static qn_status file_check(const void *options, struct qn_err *err)
{
    const struct qn_file_options *o = options;

    if (o->path[0] == '\0' || o->path[strlen(o->path) - 1] == '/')
        return qn_err_set(err, QN_INVALID, "'path' must name a file");
    if (strlen(o->path) >= QN_SINK_PATH_MAX)
        return qn_err_set(err, QN_INVALID, "'path' has more than %d bytes", QN_SINK_PATH_MAX - 1);
    if (qn_file_is_csv(o) && o->columns.count == 0)
        return qn_err_set(err, QN_INVALID,
                          "a CSV file needs its columns: 'columns: [id, event_time, score]'");
    if (!qn_file_is_csv(o) && o->columns.count > 0)
        return qn_err_set(err, QN_INVALID, "'columns' is for CSV files: 'format: csv'");
    if (o->columns.count > QN_MEMBERS_MAX)
        return qn_err_set(err, QN_INVALID, "'columns' has more than %d names", QN_MEMBERS_MAX);
    for (uint32_t i = 0; i < o->columns.count; i++)
        if (o->columns.items[i][0] == '\0')
            return qn_err_set(err, QN_INVALID, "'columns' holds an empty name");
    if (o->gzip && o->rotate_bytes == 0 && o->rotate_age_us == 0)
        return qn_err_set(err, QN_INVALID,
                          "'gzip' packs finished files: add 'rotate_bytes' or 'rotate_age'");
    return QN_OK;
}

/* ---- the growing file ------------------------------------------------------------------------*/

static void close_file(struct file_sink *f)
{
    if (f->fd > 0)
        (void)f->boot->files->close(f->boot->files->st, f->fd - 1);
    f->fd = 0;
}

/* Opens the growing file for this sink alone and cuts it to the position. */
static qn_status open_file(struct file_sink *f, struct qn_err *err)
{
    const struct qn_files *fs = f->boot->files;
    const char *path = f->opt->path;
    int64_t size;
    int rc;

    if (f->fd > 0)
        return QN_OK;
    rc = fs->open(fs->st, path, QN_OPEN_CREATE);
    if (rc < 0)
        return qn_err_sys(err, -rc, "cannot open '%s'", path);
    f->fd = rc + 1;
    rc = fs->lock(fs->st, f->fd - 1);
    if (rc == -EWOULDBLOCK)
        return qn_err_set(err, QN_DENIED, "'%s' is being written by another sink", path);
    if (rc < 0)
        return qn_err_sys(err, -rc, "cannot lock '%s'", path);
    size = fs->size(fs->st, f->fd - 1);
    if (size < 0)
        return qn_err_sys(err, (int)-size, "'%s' is no file that can grow", path);
    if ((uint64_t)size < f->at.bytes) { /* somebody moved or cut it: go on at its end */
        f->at.bytes = (uint64_t)size;
        f->at.begun_us = 0;
    }
    if ((uint64_t)size > f->at.bytes) {
        rc = fs->truncate(fs->st, f->fd - 1, f->at.bytes);
        if (rc < 0)
            return qn_err_sys(err, -rc, "cannot cut '%s'", path);
    }
    return QN_OK;
}

/* The buffer to the file. */
static qn_status write_lines(struct file_sink *f, struct qn_err *err)
{
    if (f->lines.len == 0)
        return QN_OK;
    QN_TRY(open_file(f, err));
    QN_TRY(qn_file_write_at(f->boot->files, f->fd - 1, f->opt->path, f->lines.data, f->lines.len,
                            f->at.bytes, err));
    f->at.bytes += f->lines.len;
    qn_buf_clear(&f->lines);
    return QN_OK;
}

/* Everything so far on the disk, and the position that says so. */
static qn_status make_durable(struct file_sink *f, struct qn_err *err)
{
    const struct qn_files *fs = f->boot->files;
    int rc;

    QN_TRY(write_lines(f, err));
    rc = f->fd > 0 ? fs->sync(fs->st, f->fd - 1) : 0;
    if (rc < 0)
        return qn_err_sys(err, -rc, "cannot sync '%s'", f->opt->path);
    QN_TRY(qn_file_position_write(f->boot, f->opt->path, &f->at, err));
    f->is_dirty = false;
    return QN_OK;
}

/* The announced end of a file: its new name, and a position without it. */
static qn_status complete_finish(struct file_sink *f, struct qn_err *err)
{
    close_file(f);
    QN_TRY(qn_file_finish(f->opt, f->boot, &f->at, err));
    f->at.is_finishing = false;
    f->at.finished[0] = '\0';
    f->at.bytes = 0;
    f->at.begun_us = 0;
    return qn_file_position_write(f->boot, f->opt->path, &f->at, err);
}

static qn_status finish_file(struct file_sink *f, struct qn_err *err)
{
    QN_TRY(write_lines(f, err));
    QN_TRY(qn_file_finished_name(f->opt, f->boot, &f->at, f->at.finished, err));
    f->at.is_finishing = true;
    QN_TRY(make_durable(f, err));
    return complete_finish(f, err);
}

/* True if the file has records and has grown, or is, old enough. */
static bool is_finished(const struct file_sink *f)
{
    const struct qn_clock *clock = f->boot->clock;

    if (f->at.begun_us == 0)
        return false;
    return (f->opt->rotate_bytes > 0 &&
            f->at.bytes + f->lines.len >= (uint64_t)f->opt->rotate_bytes) ||
           (f->opt->rotate_age_us > 0 &&
            clock->wall_us(clock->st) - f->at.begun_us >= f->opt->rotate_age_us);
}

/* ---- the sink --------------------------------------------------------------------------------*/

static void file_close(void *st)
{
    struct file_sink *f = st;

    if (f->boot != NULL)
        close_file(f);
    qn_buf_fini(&f->lines);
    qn_arena_fini(&f->arena);
}

static qn_status file_open(void *st, const struct qn_sink_boot *boot, const void *options,
                           struct qn_err *err)
{
    struct file_sink *f = st;
    bool is_other = false;
    qn_status rc;

    f->boot = boot;
    f->opt = options;
    rc = qn_file_position_read(boot, f->opt->path, &f->at, &is_other, err);
    if (rc != QN_OK && rc != QN_NOT_FOUND)
        return rc;
    if (rc == QN_NOT_FOUND)
        f->at.bytes = UINT64_MAX; /* what is there belongs to somebody: begin behind it */
    if (rc == QN_NOT_FOUND || is_other)
        f->at.next = boot->offset;
    if (f->at.is_finishing)
        QN_TRY(complete_finish(f, err));
    QN_TRY(open_file(f, err));
    if (rc == QN_NOT_FOUND || is_other)
        QN_TRY(make_durable(f, err));
    return QN_OK;
}

/* Puts one record into the buffer. *error: why it can be no line; else NULL. */
static qn_status take_record(struct file_sink *f, const struct qn_log_record *r, const char **error,
                             struct qn_err *err)
{
    const struct qn_clock *clock = f->boot->clock;
    size_t before = f->lines.len;

    *error = NULL;
    if (f->at.bytes + f->lines.len == 0)
        qn_file_head(f->opt, &f->lines);
    qn_arena_reset(&f->arena);
    (void)qn_file_line(f->opt, r->value, &f->arena, &f->lines, error);
    if (*error != NULL || f->lines.failed) {
        bool is_full = f->lines.failed;

        f->lines.len = before;
        f->lines.failed = false;
        return is_full ? qn_err_set(err, QN_NOMEM, "out of memory for a line of '%s'", f->opt->path)
                       : QN_OK;
    }
    f->at.next = r->offset + 1;
    if (f->at.begun_us == 0) {
        f->at.begun_us = clock->wall_us(clock->st);
        f->at.first = r->offset;
    }
    f->is_dirty = true;
    return QN_OK;
}

static qn_status file_deliver(void *st, const struct qn_sink_batch *b,
                              struct qn_sink_result *result, struct qn_err *err)
{
    struct file_sink *f = st;
    const char *error;

    result->answer = QN_UNTRIED;
    for (uint32_t i = 0; i < b->count; i++) {
        const struct qn_log_record *r = &b->records[i];

        if (f->at.is_finishing)
            QN_TRY(complete_finish(f, err));
        if (is_finished(f))
            QN_TRY(finish_file(f, err));
        if (f->lines.len >= WRITE_BYTES)
            QN_TRY(write_lines(f, err));
        if (r->offset >= f->at.next) { /* else: it came again, and lies in a file */
            QN_TRY(take_record(f, r, &error, err));
            if (error != NULL) {
                result->answer = QN_REFUSED;
                snprintf(result->text, sizeof(result->text), "the record can be no line: %s",
                         error);
                return QN_OK;
            }
        }
        result->delivered++;
    }
    result->answer = QN_DELIVERED;
    return QN_OK;
}

static qn_status file_flush(void *st, struct qn_err *err)
{
    struct file_sink *f = st;

    if (f->at.is_finishing)
        return complete_finish(f, err);
    if (is_finished(f))
        return finish_file(f, err);
    return f->is_dirty ? make_durable(f, err) : QN_OK;
}

const struct qn_sink_ops qn_sink_file = {
    .name = "file",
    .summary = "Writes records to a file, NDJSON or CSV, exactly once.",
    .options = file_options,
    .options_bytes = sizeof(struct qn_file_options),
    .state_bytes = sizeof(struct file_sink),
    .flags = QN_SINK_LOCAL,
    .check = file_check,
    .open = file_open,
    .deliver = file_deliver,
    .flush = file_flush,
    .close = file_close,
};
