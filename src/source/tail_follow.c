/* SPDX-License-Identifier: Apache-2.0
 * tail_follow.c - files that grow, are rotated, cut and removed. See tail_int.h.
 *
 *   found under an asked name ──► read as it grows
 *        │ renamed, another file has the name: its rest is read first, for as long as something
 * comes ▼ no name, idle for LINGER ──► a last line without line end is an event ──► forgotten
 *
 * After a start, files of the position are found again by name or, where they were renamed in the
 * meantime, by their inode in the same folder. One that is now PATH.3 says that PATH.2 and PATH.1
 * were there in between: they are read behind it. Thread: the intake's. */
#include "base/check.h"
#include "source/tail_int.h"

#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>

#define SECOND_NS INT64_C(1000000000)

static const int64_t linger_ns = 60 * SECOND_NS;

static int64_t now_ns(const struct qn_tail *t)
{
    return t->boot->clock->mono_ns(t->boot->clock->st);
}

/* ---- names -----------------------------------------------------------------------------------*/

struct listing {
    struct qn_tail *t;
    qn_status (*each)(struct qn_tail *t, const char *path, struct qn_err *err);
    const char *pattern; /* NULL = all */
    struct qn_buf path;
    struct qn_err *err;
    qn_status rc;
};

static void list_one(void *arg, const char *name)
{
    struct listing *l = arg;

    if (l->rc != QN_OK || (l->pattern != NULL && fnmatch(l->pattern, name, FNM_PERIOD) != 0))
        return;
    qn_buf_clear(&l->path);
    qn_buf_text(&l->path, l->t->folder);
    qn_buf_text(&l->path, name);
    qn_buf_byte(&l->path, '\0');
    l->rc = l->path.failed ? qn_err_set(l->err, QN_NOMEM, "out of memory for a file's name")
                           : l->each(l->t, l->path.data, l->err);
}

static qn_status list_folder(struct qn_tail *t, const char *pattern,
                             qn_status (*each)(struct qn_tail *t, const char *path,
                                               struct qn_err *err),
                             struct qn_err *err)
{
    const struct qn_files *fs = t->boot->files;
    const char *folder = t->folder[0] != '\0' ? t->folder : ".";
    struct listing l = {.t = t, .each = each, .pattern = pattern, .err = err};
    int error = fs->list_folder(fs->st, folder, list_one, &l);

    qn_buf_fini(&l.path);
    if (error < 0)
        return qn_err_sys(err, -error, "cannot list the folder '%s'", folder);
    return l.rc;
}

qn_status qn_tail_list(struct qn_tail *t,
                       qn_status (*each)(struct qn_tail *t, const char *path, struct qn_err *err),
                       struct qn_err *err)
{
    return t->has_pattern ? list_folder(t, t->pattern, each, err) : each(t, t->opt->path, err);
}

/* ---- looking for files -----------------------------------------------------------------------*/

static struct qn_tail_file *find_id(struct qn_tail *t, const struct qn_file_identity *id)
{
    for (uint32_t i = 0; i < t->count; i++)
        if (t->files[i].id.inode == id->inode && t->files[i].id.device == id->device)
            return &t->files[i];
    return NULL;
}

/* A file of the position has its place on disk again. */
static void reopen(struct qn_tail *t, struct qn_tail_file *f, struct qn_tail_file *found)
{
    char *path = f->path;

    if (!f->is_open) {
        f->fd = found->fd;
        f->is_open = true;
        found->is_open = false;
    }
    f->path = found->path;
    found->path = path;
    qn_tail_close(t, found);
}

/* A path that the options name. A new file joins; one that is known has its name. */
static qn_status meet(struct qn_tail *t, const char *path, struct qn_err *err)
{
    struct qn_tail_file found, *known;
    struct qn_err why = {0};
    qn_status rc = qn_tail_open(t, path, &found, &why);

    if (rc == QN_NOT_FOUND || (rc == QN_INVALID && t->has_pattern))
        return QN_OK; /* it may come, or come back; a folder among the names */
    if (rc != QN_OK) {
        *err = why;
        return rc;
    }
    known = find_id(t, &found.id);
    if (known != NULL) {
        reopen(t, known, &found);
        known->is_named = true;
        return QN_OK;
    }
    if (t->count == QN_TAIL_FILES_MAX) {
        qn_tail_close(t, &found);
        return qn_err_set(err, QN_LIMIT, "'%s' names more than %d files; a source follows no more",
                          t->opt->path, QN_TAIL_FILES_MAX);
    }
    found.is_named = true;
    found.is_ignored = found.is_compressed;
    t->files[t->count++] = found;
    return QN_OK;
}

/* A path of the folder, whatever its name: a file of the position that was renamed. */
static qn_status recognise(struct qn_tail *t, const char *path, struct qn_err *err)
{
    struct qn_tail_file found, *known;

    if (qn_tail_open(t, path, &found, NULL) != QN_OK)
        return QN_OK;
    known = find_id(t, &found.id);
    if (known != NULL && !known->is_open && !found.is_compressed)
        reopen(t, known, &found);
    else
        qn_tail_close(t, &found);
    return QN_OK;
}

static void forget(struct qn_tail *t, uint32_t i)
{
    qn_tail_close(t, &t->files[i]);
    t->count--;
    memmove(&t->files[i], &t->files[i + 1], (t->count - i) * sizeof(t->files[0]));
}

/* ---- rotated while nothing ran ---------------------------------------------------------------*/

/* n of a file PATH.n; 0 = it is none. */
static uint32_t rotation_of(const struct qn_tail *t, const char *path)
{
    const size_t len = strlen(t->opt->path);
    uint32_t n = 0;

    if (t->has_pattern || strncmp(path, t->opt->path, len) != 0 || path[len] != '.')
        return 0;
    for (const char *p = path + len + 1; *p != '\0' || n == 0; p++) {
        if (*p < '0' || *p > '9' || n > 99999)
            return 0;
        n = 10 * n + (uint32_t)(*p - '0');
    }
    return n;
}

/* PATH.n joins, unless it is known; without a name that is asked for, it is read before PATH. */
static qn_status join_rotation(struct qn_tail *t, uint32_t n, struct qn_source_batch *batch,
                               struct qn_err *err)
{
    struct qn_tail_file found;
    struct qn_err why = {0};
    struct qn_buf path = {0};
    qn_status rc;

    qn_buf_printf(&path, "%s.%u", t->opt->path, n);
    qn_buf_byte(&path, '\0');
    rc = path.failed ? qn_err_set(&why, QN_NOMEM, "out of memory for a file's name")
                     : qn_tail_open(t, path.data, &found, &why);
    if (rc == QN_OK && find_id(t, &found.id) != NULL) {
        qn_tail_close(t, &found);
    } else if (rc == QN_OK && !found.is_compressed && t->count < QN_TAIL_FILES_MAX) {
        t->files[t->count++] = found;
    } else if (rc == QN_OK || rc == QN_NOT_FOUND || rc == QN_INVALID) {
        snprintf(batch->note, sizeof batch->note,
                 "'%.120s.%u' was written while nothing ran, and is not read: %s", t->opt->path, n,
                 rc == QN_NOT_FOUND    ? "it is gone"
                 : rc != QN_OK         ? "it is no file"
                 : found.is_compressed ? "it is compressed"
                                       : "there are too many files");
        if (rc == QN_OK)
            qn_tail_close(t, &found);
        rc = QN_OK;
    }
    qn_buf_fini(&path);
    if (rc != QN_OK)
        *err = why;
    return rc;
}

/* What came between a file of the position and the one that has its name now. */
static qn_status join_rotations(struct qn_tail *t, struct qn_source_batch *batch,
                                struct qn_err *err)
{
    uint32_t oldest = 0;

    for (uint32_t i = 0; i < t->count; i++) {
        const uint32_t n = t->files[i].is_named ? 0 : rotation_of(t, t->files[i].path);

        oldest = n > oldest ? n : oldest;
    }
    for (; oldest > 1; oldest--)
        QN_TRY(join_rotation(t, oldest - 1, batch, err));
    return QN_OK;
}

/* Files of the position that are not under their names: once, after the start. */
static qn_status search(struct qn_tail *t, struct qn_source_batch *batch, struct qn_err *err)
{
    uint32_t lost = 0;

    for (uint32_t i = 0; i < t->count; i++)
        lost += !t->files[i].is_open;
    if (lost > 0)
        QN_TRY(list_folder(t, NULL, recognise, err));
    for (uint32_t i = t->count; i-- > 0;)
        if (!t->files[i].is_open) {
            snprintf(batch->note, sizeof batch->note,
                     "'%.120s' is gone; what came after byte %llu of it, and what was rotated "
                     "since, was not read",
                     t->files[i].path, (unsigned long long)t->files[i].offset);
            forget(t, i);
        }
    QN_TRY(join_rotations(t, batch, err));
    t->is_searched = true;
    return QN_OK;
}

/* The order of a folder is nobody's business: files are asked in the order of their names. */
static int compare_paths(const void *a, const void *b)
{
    const struct qn_tail_file *x = a, *y = b;

    return strcmp(x->path, y->path);
}

/* Rotations stand behind the file itself, and the oldest has the largest number: it is read first.
 */
static void order_rotations(struct qn_tail *t)
{
    for (uint32_t i = 1; i < t->count; i++) {
        const struct qn_tail_file f = t->files[i];
        const uint32_t n = rotation_of(t, f.path);
        uint32_t k = i;

        for (; n > 0 && k > 0 && rotation_of(t, t->files[k - 1].path) > 0 &&
               rotation_of(t, t->files[k - 1].path) < n;
             k--)
            t->files[k] = t->files[k - 1];
        t->files[k] = f;
    }
}

static void tell_once(struct qn_tail *t, struct qn_source_batch *batch)
{
    for (uint32_t i = 0; i < t->count && !t->has_told_ignored; i++)
        if (t->files[i].is_ignored) {
            t->has_told_ignored = true;
            snprintf(batch->note, sizeof batch->note,
                     "'%.120s' is compressed: left out, only plain files are followed",
                     t->files[i].path);
        }
    if (t->count == 0 && !t->has_told_missing) {
        t->has_told_missing = true;
        snprintf(batch->note, sizeof batch->note, "waiting for '%.180s'", t->opt->path);
    }
}

static qn_status scan(struct qn_tail *t, struct qn_source_batch *batch, struct qn_err *err)
{
    for (uint32_t i = 0; i < t->count; i++)
        t->files[i].is_named = false;
    QN_TRY(qn_tail_list(t, meet, err));
    if (!t->is_searched)
        QN_TRY(search(t, batch, err));
    qsort(t->files, t->count, sizeof(t->files[0]), compare_paths);
    order_rotations(t);
    tell_once(t, batch);
    t->scan_ns = now_ns(t) + (t->has_pattern ? SECOND_NS : 0);
    return QN_OK;
}

/* ---- reading ---------------------------------------------------------------------------------*/

/* One file. A file without a name is done when nothing came for a while. */
static qn_status ask(struct qn_tail *t, uint32_t i, struct qn_source_batch *batch,
                     enum qn_flow *flow, struct qn_err *err)
{
    struct qn_tail_file *f = &t->files[i];

    *flow = QN_IDLE;
    if (!f->is_ignored)
        QN_TRY(qn_tail_lines(t, f, false, batch, flow, err));
    if (*flow == QN_MORE || f->is_named)
        f->idle_since_ns = 0;
    else if (f->idle_since_ns == 0)
        f->idle_since_ns = now_ns(t);
    else if (now_ns(t) - f->idle_since_ns >= linger_ns) {
        if (!f->is_ignored)
            QN_TRY(qn_tail_lines(t, f, true, batch, flow, err));
        if (*flow == QN_IDLE) {
            forget(t, i);
            *flow = QN_MORE;
        }
    }
    return QN_OK;
}

qn_status qn_tail_follow(struct qn_tail *t, struct qn_source_batch *batch, enum qn_flow *flow,
                         struct qn_err *err)
{
    uint32_t before = t->count;

    if (now_ns(t) >= t->scan_ns)
        QN_TRY(scan(t, batch, err));
    *flow = t->count < before ? QN_MORE : QN_IDLE;
    for (uint32_t i = 0; i < t->count && *flow == QN_IDLE; i++)
        if (!t->files[i].is_named)
            QN_TRY(ask(t, i, batch, flow, err));
    for (uint32_t n = 0; n < t->count && *flow == QN_IDLE; n++) {
        uint32_t i = (t->turn + n) % t->count;

        if (t->files[i].is_named)
            QN_TRY(ask(t, i, batch, flow, err));
        if (*flow == QN_MORE)
            t->turn = i + 1;
    }
    if (*flow == QN_MORE)
        qn_tail_position(t, batch->position);
    batch->wait_us = t->opt->poll_us;
    return QN_OK;
}
