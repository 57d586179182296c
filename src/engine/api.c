/* SPDX-License-Identifier: Apache-2.0
 * api.c - the public C API (include/quern.h) over plan and engine: events are queued as lines and
 * stepped in batches.
 *
 * The queue holds at most one batch of whole lines, in the order they were fed, over all streams;
 * what lies before a line end waits in its stream's `partial`. Records come back through the same
 * encoder as `quern pipe`, whose "files" here are the caller's two callbacks. Thread: the
 * pipeline's owner. */
#include "quern.h"

#include "base/check.h"
#include "engine/engine.h"
#include "engine/output_files.h"

#include <stdio.h>

enum { TARGET_PREDICTIONS = 1, TARGET_DEAD = 2 };

struct line {
    size_t start;
    uint32_t len;
    uint8_t stream;
    bool is_too_large;
};

struct partial {
    struct qn_buf bytes;
    bool is_too_large;
    int64_t offset; /* of the next record */
};

struct qn_pipeline {
    struct qn_pipeline_options opt;
    struct qn_files files;
    struct qn_arena arena;
    struct qn_plan *plan;
    struct qn_outputs *outputs;
    struct qn_engine *en;
    struct partial *partials; /* [streams] */
    struct qn_buf text;       /* the queued lines */
    struct line *lines;       /* [rows_max] */
    uint32_t rows_max, count, next;
    struct qn_err err;
    bool is_failed;
};

const char *qn_version(void)
{
    return QN_VERSION;
}

/* The encoder's "write": whole lines, each to the callback of its target. */
static int64_t write_records(void *st, int fd, const void *bytes, size_t n)
{
    struct qn_pipeline *p = st;
    qn_record_fn *fn = fd == TARGET_DEAD ? p->opt.dead : p->opt.prediction;
    const char *at = bytes, *end = at + n;

    while (fn != NULL && at < end) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));

        QN_ASSERT(stop != NULL);
        fn(p->opt.user, at, (size_t)(stop - at));
        at = stop + 1;
    }
    return (int64_t)n;
}

static qn_status queue_read(void *st, struct qn_batch *b, enum qn_flow *flow, struct qn_err *err)
{
    struct qn_pipeline *p = st;

    while (b->rows < b->rows_max && p->next < p->count) {
        const struct line *l = &p->lines[p->next++];
        uint32_t r = b->rows++;

        b->raw[r] = (struct qn_str){p->text.data + l->start, l->len};
        b->stream[r] = l->stream;
        b->partition[r] = 0;
        b->offset[r] = p->partials[l->stream].offset++;
        if (l->is_too_large) {
            b->verdict[r] = QN_DEAD;
            b->reason[r] = QN_REASON_TOO_LARGE;
        }
    }
    *flow = b->rows > 0 ? QN_MORE : QN_IDLE;
    return QN_OK;
}

static void queue_release(void *st)
{
}

static const struct qn_csv_header *const *queue_csv(void *st, uint32_t stream)
{
    return NULL;
}

static qn_status start(struct qn_pipeline *p, struct qn_err *err)
{
    struct qn_output_target *targets =
        QN_NEW_N(&p->arena, struct qn_output_target, p->plan->output_count);
    struct qn_engine_options en_opt = {.threads = p->opt.threads};
    struct qn_outputs_options out_opt = {.kind = QN_RECORDS_PREDICTIONS,
                                         .files = &p->files,
                                         .targets = targets,
                                         .workers = p->opt.threads,
                                         .dead = {-1, ""}};
    struct qn_input in = {queue_read, queue_release, queue_csv, p};
    struct qn_output out;

    p->rows_max = qn_engine_rows_default(p->opt.threads);
    p->lines = QN_NEW_N(&p->arena, struct line, p->rows_max);
    p->partials = QN_NEW_N(&p->arena, struct partial, p->plan->schema_count);
    if (!targets || !p->lines || !p->partials)
        return qn_err_set(err, QN_NOMEM, "out of memory for the pipeline");
    for (uint32_t i = 0; i < p->plan->output_count; i++)
        targets[i] = (struct qn_output_target){-1, ""};
    for (uint32_t i = 0; p->opt.prediction != NULL && i < p->plan->output_count; i++)
        if (p->plan->outputs[i].is_predictions)
            targets[i] = (struct qn_output_target){TARGET_PREDICTIONS, "predictions"};
    if (p->opt.dead != NULL)
        out_opt.dead = (struct qn_output_target){TARGET_DEAD, "dead letters"};
    QN_TRY(qn_outputs_new(p->plan, &out_opt, &p->outputs, err));
    out = qn_outputs_output(p->outputs);
    return qn_engine_new(p->plan, &en_opt, &in, &out, &p->en, err);
}

static enum qn_result result_of(qn_status rc)
{
    if (rc == QN_OK)
        return QN_RESULT_OK;
    return rc == QN_NOMEM ? QN_RESULT_MEMORY : QN_RESULT_WORLD;
}

/* Cuts text to fit the caller's message. */
static void say(char *message, size_t message_bytes, const char *text, size_t len)
{
    if (message == NULL || message_bytes == 0)
        return;
    len = len < message_bytes - 1 ? len : message_bytes - 1;
    memcpy(message, text, len);
    message[len] = '\0';
}

/* path with text = NULL reads the file. */
static enum qn_result open_any(const struct qn_str *text, const char *path,
                               const struct qn_pipeline_options *options, struct qn_pipeline **out,
                               char *message, size_t message_bytes)
{
    static const char *const nothing[] = {NULL};
    struct qn_pipeline *p = qn_mem_zalloc(1, sizeof *p);
    struct qn_plan_options plan_opt = {.files = &qn_files_system};
    struct qn_diags diags = {0};
    enum qn_result result = QN_RESULT_MEMORY;
    struct qn_err err = {0};
    struct qn_buf b = {0};
    qn_status rc;

    *out = NULL;
    if (p == NULL) {
        say(message, message_bytes, "out of memory", strlen("out of memory"));
        return QN_RESULT_MEMORY;
    }
    if (options != NULL)
        p->opt = *options;
    p->opt.threads = p->opt.threads > 0 ? p->opt.threads : 1;
    p->opt.threads = p->opt.threads < QN_TEAM_MAX ? p->opt.threads : QN_TEAM_MAX;
    p->files = qn_files_system;
    p->files.write = write_records;
    p->files.st = p;
    diags.arena = &p->arena;
    plan_opt.environment = p->opt.environment != NULL ? p->opt.environment : nothing;
    rc = text != NULL ? qn_plan_load_text(*text, path, &plan_opt, &p->arena, &diags, &p->plan, &err)
                      : qn_plan_load(path, &plan_opt, &p->arena, &diags, &p->plan, &err);
    if (rc == QN_OK)
        rc = start(p, &err);
    result = diags.errors > 0 ? QN_RESULT_SPEC : result_of(rc);
    if (diags.errors > 0)
        qn_diag_print(&diags, true, &b);
    else
        qn_buf_text(&b, err.text);
    say(message, message_bytes, b.data != NULL ? b.data : "", b.len);
    qn_buf_fini(&b);
    if (result != QN_RESULT_OK)
        qn_pipeline_close(p);
    else
        *out = p;
    return result;
}

enum qn_result qn_pipeline_open(const char *path, const struct qn_pipeline_options *options,
                                struct qn_pipeline **out, char *message, size_t message_bytes)
{
    return open_any(NULL, path, options, out, message, message_bytes);
}

enum qn_result qn_pipeline_open_text(const char *text, size_t bytes, const char *name,
                                     const struct qn_pipeline_options *options,
                                     struct qn_pipeline **out, char *message, size_t message_bytes)
{
    struct qn_str s = {text, (uint32_t)bytes};

    if (bytes > UINT32_MAX) {
        say(message, message_bytes, "the spec is too large", strlen("the spec is too large"));
        *out = NULL;
        return QN_RESULT_SPEC;
    }
    return open_any(&s, name, options, out, message, message_bytes);
}

static enum qn_result fail(struct qn_pipeline *p, enum qn_result result)
{
    p->is_failed = true;
    return result;
}

/* Answers all queued lines. */
static enum qn_result drain(struct qn_pipeline *p)
{
    enum qn_flow flow = QN_MORE;

    for (int i = 0; i < QN_DECODE_PAD; i++) /* the decoder may look that far behind the last line */
        qn_buf_byte(&p->text, '\0');
    if (p->text.failed)
        return fail(
            p, result_of(qn_err_set(&p->err, QN_NOMEM, "out of memory for the queued events")));
    while (p->next < p->count) {
        qn_status rc = qn_step(p->en, &flow, &p->err);

        if (rc != QN_OK)
            return fail(p, result_of(rc));
    }
    p->count = 0;
    p->next = 0;
    qn_buf_clear(&p->text);
    return QN_RESULT_OK;
}

/* One whole line joins the queue; blank ones are no events. */
static enum qn_result push(struct qn_pipeline *p, uint32_t stream, const char *bytes, size_t n,
                           bool is_too_large)
{
    if (n > 0 && bytes[n - 1] == '\r')
        n--;
    if (n == 0)
        return QN_RESULT_OK;
    p->lines[p->count++] = (struct line){p->text.len, (uint32_t)n, (uint8_t)stream, is_too_large};
    qn_buf_add(&p->text, bytes, n);
    return p->count == p->rows_max ? drain(p) : QN_RESULT_OK;
}

/* Bytes of a line whose end has not come; beyond the limit of an event they are only noted. */
static void hold(struct partial *part, const char *bytes, size_t n)
{
    size_t room = QN_EVENT_BYTES_MAX - part->bytes.len;

    part->is_too_large |= n > room;
    qn_buf_add(&part->bytes, bytes, n < room ? n : room);
}

static enum qn_result push_partial(struct qn_pipeline *p, uint32_t stream)
{
    struct partial *part = &p->partials[stream];
    enum qn_result result;

    if (part->bytes.failed)
        return fail(p, result_of(qn_err_set(&p->err, QN_NOMEM, "out of memory for an event")));
    result = push(p, stream, part->bytes.data, part->bytes.len, part->is_too_large);
    qn_buf_clear(&part->bytes);
    part->is_too_large = false;
    return result;
}

enum qn_result qn_pipeline_feed(struct qn_pipeline *p, const char *stream, const void *bytes,
                                size_t n)
{
    const char *at = bytes, *end = at + n;
    uint32_t s;

    if (p->is_failed)
        return QN_RESULT_USAGE;
    if (qn_plan_find_stream(p->plan, stream, &s, &p->err) != QN_OK)
        return QN_RESULT_USAGE;
    while (at < end) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        struct partial *part = &p->partials[s];
        enum qn_result result;

        if (stop == NULL) {
            hold(part, at, (size_t)(end - at));
            break;
        }
        if (part->bytes.len > 0 || stop - at > QN_EVENT_BYTES_MAX) {
            hold(part, at, (size_t)(stop - at));
            result = push_partial(p, s);
        } else {
            result = push(p, s, at, (size_t)(stop - at), false);
        }
        if (result != QN_RESULT_OK)
            return result;
        at = stop + 1;
    }
    return QN_RESULT_OK;
}

enum qn_result qn_pipeline_flush(struct qn_pipeline *p)
{
    if (p->is_failed)
        return QN_RESULT_USAGE;
    for (uint32_t s = 0; s < p->plan->schema_count; s++)
        if (p->partials[s].bytes.len > 0) {
            enum qn_result result = push_partial(p, s);

            if (result != QN_RESULT_OK)
                return result;
        }
    return drain(p);
}

void qn_pipeline_count(const struct qn_pipeline *p, struct qn_pipeline_counts *out)
{
    const struct qn_counts *c = qn_engine_counts(p->en);

    *out = (struct qn_pipeline_counts){0};
    for (uint32_t s = 0; s < p->plan->schema_count; s++) {
        out->read += c[s].read;
        out->scored += c[s].verdict[QN_SCORED];
        out->late += c[s].verdict[QN_LATE];
        out->dead += c[s].verdict[QN_DEAD];
        out->shed += c[s].verdict[QN_SHED];
    }
}

const char *qn_pipeline_error(const struct qn_pipeline *p)
{
    return p->err.text;
}

void qn_pipeline_close(struct qn_pipeline *p)
{
    if (p == NULL)
        return;
    for (uint32_t s = 0; p->partials != NULL && s < p->plan->schema_count; s++)
        qn_buf_fini(&p->partials[s].bytes);
    qn_engine_free(p->en);
    qn_outputs_free(p->outputs);
    qn_plan_free(p->plan);
    qn_buf_fini(&p->text);
    qn_arena_fini(&p->arena);
    qn_mem_free(p);
}
