/* SPDX-License-Identifier: Apache-2.0
 * input_files.c - merges files by event time; stop "read" on the path of an event.
 *
 * Each input holds a window of records it has read and not yet given away (`pending`); a file's
 * buffer is released only when its window is empty, so what lies in the window stays valid. Thread:
 * stepping thread. */
#include "engine/input_files.h"

#include "base/check.h"
#include "event/envelope.h"

enum { PENDING_MAX = 1024 };

struct input {
    struct qn_log_file *log;
    const char *path;
    uint32_t stream;
    uint16_t partition;
    bool is_ended;
    struct qn_csv_header header;
    bool is_csv;
    struct qn_record *pending; /* [PENDING_MAX] */
    int64_t *time_us;          /* [PENDING_MAX], only when merging */
    uint32_t head, count;      /* pending[head..count) is not yet given away */
    int64_t last_time_us;
};

struct qn_input_files {
    struct qn_arena arena;
    const struct qn_plan *plan;
    struct input *list;
    uint32_t count;
    struct qn_opener *opener;                    /* for times inside envelopes */
    const struct qn_csv_header *const **headers; /* [streams] -> [partitions]; NULL = JSON */
};

static qn_status read_header(struct qn_input_files *f, struct input *in, struct qn_err *err)
{
    struct qn_str line;

    QN_TRY(qn_log_file_header(in->log, &line, err));
    if (qn_csv_header_read(&in->header, line, &f->plan->schemas[in->stream], &f->arena, err) !=
        QN_OK) {
        qn_err_at(err, strcmp(in->path, "-") == 0 ? "standard input" : in->path, 1, 0);
        return err != NULL ? err->code : QN_INVALID;
    }
    return QN_OK;
}

static qn_status open_one(struct qn_input_files *f, struct input *in,
                          const struct qn_input_file *file, enum qn_format format,
                          const struct qn_files *files, struct qn_err *err)
{
    QN_TRY(qn_plan_find_stream(f->plan, file->stream, &in->stream, err));
    in->path = file->path;
    in->last_time_us = INT64_MIN;
    in->pending = QN_NEW_N(&f->arena, struct qn_record, PENDING_MAX);
    in->time_us = QN_NEW_N(&f->arena, int64_t, PENDING_MAX);
    if (!in->pending || !in->time_us)
        return qn_err_set(err, QN_NOMEM, "out of memory for the input '%s'", file->path);
    QN_TRY(qn_log_file_open(files, file->path, format, &in->log, err));
    in->is_csv = qn_log_file_format(in->log) == QN_FORMAT_CSV;
    if (in->is_csv)
        QN_TRY(read_header(f, in, err));
    return QN_OK;
}

/* Numbers the partitions of each stream and refuses a stream with both formats. */
static qn_status number_partitions(struct qn_input_files *f, struct qn_err *err)
{
    f->headers = QN_NEW_N(&f->arena, const struct qn_csv_header *const *, f->plan->schema_count);
    for (uint32_t s = 0; f->headers != NULL && s < f->plan->schema_count; s++) {
        const struct qn_csv_header **list =
            QN_NEW_N(&f->arena, const struct qn_csv_header *, f->count);
        const struct input *first = NULL;
        uint16_t partitions = 0;

        if (list == NULL)
            return qn_err_set(err, QN_NOMEM, "out of memory for %u inputs", f->count);
        for (uint32_t i = 0; i < f->count; i++) {
            struct input *in = &f->list[i];

            if (in->stream != s)
                continue;
            if (first != NULL && first->is_csv != in->is_csv)
                return qn_err_set(
                    err, QN_INVALID,
                    "'%s' is CSV and '%s' is not: the inputs of one stream must have one format",
                    first->is_csv ? first->path : in->path, first->is_csv ? in->path : first->path);
            first = first != NULL ? first : in;
            in->partition = partitions;
            list[partitions++] = &in->header;
        }
        f->headers[s] =
            first != NULL && first->is_csv ? (const struct qn_csv_header *const *)list : NULL;
    }
    return f->headers != NULL ? QN_OK
                              : qn_err_set(err, QN_NOMEM, "out of memory for %u inputs", f->count);
}

qn_status qn_input_files_open(const struct qn_input_file *list, uint32_t count,
                              enum qn_format format, const struct qn_plan *plan,
                              const struct qn_files *files, struct qn_input_files **out,
                              struct qn_err *err)
{
    struct qn_input_files *f = qn_mem_zalloc(1, sizeof *f);
    qn_status rc = QN_OK;

    QN_ASSERT(count > 0 && count <= UINT16_MAX);
    *out = NULL;
    if (f == NULL)
        return qn_err_set(err, QN_NOMEM, "out of memory for %u inputs", count);
    qn_arena_init(&f->arena, 0);
    f->plan = plan;
    f->list = QN_NEW_N(&f->arena, struct input, count);
    if (f->list == NULL)
        rc = qn_err_set(err, QN_NOMEM, "out of memory for %u inputs", count);
    if (rc == QN_OK)
        rc = qn_opener_new(&f->opener, err);
    for (uint32_t i = 0; rc == QN_OK && i < count; i++) {
        f->count++;
        rc = open_one(f, &f->list[i], &list[i], format, files, err);
    }
    if (rc == QN_OK)
        rc = number_partitions(f, err);
    if (rc != QN_OK) {
        qn_input_files_close(f);
        return rc;
    }
    *out = f;
    return QN_OK;
}

void qn_input_files_close(struct qn_input_files *f)
{
    if (f == NULL)
        return;
    for (uint32_t i = 0; i < f->count; i++)
        qn_log_file_close(f->list[i].log);
    qn_opener_free(f->opener);
    qn_arena_fini(&f->arena);
    qn_mem_free(f);
}

static bool read_time(const struct qn_input_files *f, const struct input *in, struct qn_str raw,
                      int64_t *us)
{
    const struct qn_schema *s = &f->plan->schemas[in->stream];
    bool no_memory = false;

    if (in->is_csv)
        return qn_decode_csv_time(s, &in->header, raw, us);
    if (s->envelope != QN_ENVELOPE_NONE &&
        (qn_envelope_open(f->opener, s, raw, (struct qn_str){NULL, 0}, &raw, &no_memory) !=
             QN_REASON_NONE ||
         no_memory))
        return false;
    return qn_decode_json_time(s, raw, us);
}

static qn_status refill(struct qn_input_files *f, struct input *in, uint32_t max, bool is_merging,
                        enum qn_flow *flow, struct qn_err *err)
{
    in->head = 0;
    in->count = 0;
    QN_TRY(qn_log_file_read(in->log, in->pending, max < PENDING_MAX ? max : PENDING_MAX, true,
                            &in->count, flow, err));
    in->is_ended = *flow == QN_END;
    for (uint32_t i = 0; is_merging && i < in->count; i++) {
        int64_t us;

        if (!in->pending[i].is_too_large && read_time(f, in, in->pending[i].raw, &us))
            in->last_time_us = us;
        in->time_us[i] = in->last_time_us;
    }
    return QN_OK;
}

static void give(struct qn_batch *b, struct input *in)
{
    const struct qn_record *rec = &in->pending[in->head++];
    uint32_t r = b->rows++;

    b->raw[r] = rec->raw;
    b->stream[r] = (uint8_t)in->stream;
    b->partition[r] = in->partition;
    b->offset[r] = rec->offset;
    if (rec->is_too_large) {
        b->verdict[r] = QN_DEAD;
        b->reason[r] = QN_REASON_TOO_LARGE;
    }
}

static qn_status read_one(struct qn_input_files *f, struct qn_batch *b, enum qn_flow *flow,
                          struct qn_err *err)
{
    struct input *in = &f->list[0];

    while (b->rows < b->rows_max && *flow != QN_END) {
        qn_status rc = qn_log_file_read(in->log, in->pending,
                                        b->rows_max - b->rows < PENDING_MAX ? b->rows_max - b->rows
                                                                            : PENDING_MAX,
                                        b->rows == 0, &in->count, flow, err);

        if (rc != QN_OK && b->rows > 0)
            break; /* what came before the damage counts, whatever the batch; it is said again */
        QN_TRY(rc);
        for (in->head = 0; in->head < in->count;)
            give(b, in);
        if (*flow == QN_IDLE)
            break;
    }
    *flow = b->rows > 0 ? QN_MORE : *flow;
    return QN_OK;
}

/* The input whose head is next, or NULL when all have ended. */
static struct input *earliest(struct qn_input_files *f)
{
    struct input *best = NULL;

    for (uint32_t i = 0; i < f->count; i++) {
        struct input *in = &f->list[i];

        if (in->head < in->count &&
            (best == NULL || in->time_us[in->head] < best->time_us[best->head]))
            best = in;
    }
    return best;
}

static qn_status read_merged(struct qn_input_files *f, struct qn_batch *b, enum qn_flow *flow,
                             struct qn_err *err)
{
    for (uint32_t i = 0; i < f->count; i++) {
        struct input *in = &f->list[i];
        enum qn_flow one = QN_MORE;

        while (in->head == in->count && !in->is_ended)
            QN_TRY(refill(f, in, b->rows_max, true, &one, err));
    }
    while (b->rows < b->rows_max) {
        struct input *in = earliest(f);

        if (in == NULL)
            break;
        give(b, in);
        if (in->head == in->count && !in->is_ended)
            break; /* its next record may be the earliest: the window is refilled by the next step
                    */
    }
    *flow = b->rows > 0 ? QN_MORE : QN_END;
    return QN_OK;
}

static qn_status input_read(void *st, struct qn_batch *b, enum qn_flow *flow, struct qn_err *err)
{
    struct qn_input_files *f = st;

    *flow = QN_MORE;
    return f->count == 1 ? read_one(f, b, flow, err) : read_merged(f, b, flow, err);
}

static void input_release(void *st)
{
    struct qn_input_files *f = st;

    for (uint32_t i = 0; i < f->count; i++)
        if (f->list[i].head == f->list[i].count)
            qn_log_file_release(f->list[i].log);
}

static bool input_is_ready(void *st)
{
    const struct qn_input_files *f = st;

    for (uint32_t i = 0; i < f->count; i++)
        if (f->list[i].head == f->list[i].count && !qn_log_file_is_ready(f->list[i].log))
            return false;
    return true;
}

static const struct qn_csv_header *const *input_csv(void *st, uint32_t stream)
{
    const struct qn_input_files *f = st;

    return f->headers[stream];
}

struct qn_input qn_input_files_input(struct qn_input_files *f)
{
    return (struct qn_input){.read = input_read,
                             .release = input_release,
                             .csv = input_csv,
                             .st = f,
                             .is_ready = input_is_ready};
}

void qn_input_files_progress(const struct qn_input_files *f, uint64_t *done_bytes,
                             uint64_t *size_bytes)
{
    *done_bytes = 0;
    *size_bytes = 0;
    for (uint32_t i = 0; i < f->count; i++) {
        uint64_t done, size;

        qn_log_file_progress(f->list[i].log, &done, &size);
        *done_bytes += done;
        *size_bytes = size == 0 || (i > 0 && *size_bytes == 0) ? 0 : *size_bytes + size;
    }
}
