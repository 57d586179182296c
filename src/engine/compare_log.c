/* SPDX-License-Identifier: Apache-2.0
 * compare_log.c - predictions against the log's. See compare_log.h.
 *
 * An append of the engine holds the records of a batch and then its commit, so the records up to a
 * commit are what it wrote; a row belongs to the first commit whose end lies behind its offset,
 * whatever the batches are now. Thread: see compare_log.h. */
#include "engine/compare_log.h"

#include "base/check.h"
#include "base/memory.h"
#include "engine/commit.h"
#include "engine/records.h"

struct qn_compare {
    struct qn_arena arena;
    const struct qn_plan *plan;
    struct qn_compare_options opt;
    struct qn_record_encoder *encoder;
    struct qn_records records;
    struct qn_log_reader *reader;
    uint64_t maker;
    /* the commit in hand */
    struct qn_log_record *then; /* [QN_BATCH_ROWS_MAX + 1] of the predictions' topic */
    uint32_t count, at;
    uint64_t end; /* of the main stream */
    bool has_commit, is_comparable;
    struct qn_commit commit;
    struct qn_compare_result result;
    struct qn_buf then_bytes, now_bytes; /* of the difference */
};

static qn_status compare_init(struct qn_compare *c, struct qn_err *err)
{
    const uint32_t outputs = c->plan->output_count;
    bool *is_wanted = QN_NEW_N(&c->arena, bool, outputs);
    const struct qn_record_options records = {
        .kind = QN_RECORDS_PREDICTIONS, .is_wanted = is_wanted, .workers = c->opt.workers};
    const struct qn_log_selection what = {&c->opt.topic, 1, true};

    c->then = QN_NEW_N(&c->arena, struct qn_log_record, QN_BATCH_ROWS_MAX + 1);
    c->commit.inputs = QN_NEW_N(&c->arena, struct qn_commit_input, QN_STREAMS_MAX);
    c->commit.outputs = QN_NEW_N(&c->arena, struct qn_commit_output, 2 * QN_STREAMS_MAX + 1);
    if (!is_wanted || !c->then || !c->commit.inputs || !c->commit.outputs)
        return qn_err_set(err, QN_NOMEM, "out of memory to compare with the log");
    is_wanted[0] = true;
    c->maker = qn_commits_maker(c->plan);
    QN_TRY(qn_record_encoder_new(c->plan, &records, &c->encoder, err));
    QN_TRY(qn_records_init(&c->records, c->encoder, err));
    return qn_log_reader_new(c->opt.log, &what, &c->reader, err);
}

qn_status qn_compare_new(const struct qn_plan *plan, const struct qn_compare_options *opt,
                         struct qn_compare **out, struct qn_err *err)
{
    struct qn_compare *c = qn_mem_zalloc(1, sizeof *c);
    qn_status rc;

    *out = NULL;
    if (c == NULL)
        return qn_err_set(err, QN_NOMEM, "out of memory to compare with the log");
    qn_arena_init(&c->arena, 0);
    c->plan = plan;
    c->opt = *opt;
    rc = compare_init(c, err);
    if (rc != QN_OK) {
        qn_compare_free(c);
        return rc;
    }
    *out = c;
    return QN_OK;
}

void qn_compare_free(struct qn_compare *c)
{
    if (c == NULL)
        return;
    qn_log_reader_free(c->reader);
    qn_records_fini(&c->records);
    qn_record_encoder_free(c->encoder);
    qn_buf_fini(&c->then_bytes);
    qn_buf_fini(&c->now_bytes);
    qn_arena_fini(&c->arena);
    qn_mem_free(c);
}

void qn_compare_look(const struct qn_compare *c, struct qn_compare_result *out)
{
    *out = c->result;
}

/* Copies both sides of the first difference. */
static void differ(struct qn_compare *c, uint64_t offset, struct qn_str then, struct qn_str now)
{
    c->result.is_different = true;
    c->result.offset = offset;
    qn_buf_add(&c->then_bytes, then.p, then.len);
    qn_buf_add(&c->now_bytes, now.p, now.len);
    if (then.p != NULL && !c->then_bytes.failed)
        c->result.then = (struct qn_str){c->then_bytes.data, (uint32_t)c->then_bytes.len};
    if (now.p != NULL && !c->now_bytes.failed)
        c->result.now = (struct qn_str){c->now_bytes.data, (uint32_t)c->now_bytes.len};
}

/* ---- the commits of the log ------------------------------------------------------------------*/

static qn_status take_commit(struct qn_compare *c, const struct qn_log_record *r,
                             struct qn_err *err)
{
    QN_TRY(qn_commit_read(r->value, QN_STREAMS_MAX, 2 * QN_STREAMS_MAX + 1, &c->commit, err));
    for (uint32_t i = 0; i < c->commit.input_count; i++)
        if (c->commit.inputs[i].topic == c->opt.stream_topic)
            c->end = c->commit.inputs[i].next;
    c->has_commit = true;
    c->is_comparable = c->commit.maker == c->maker;
    if (!c->is_comparable)
        c->result.passed_over += c->count;
    return QN_OK;
}

static qn_status next_commit(struct qn_compare *c, struct qn_err *err)
{
    c->has_commit = false;
    c->count = c->at = 0;
    qn_log_reader_release(c->reader);
    for (;;) {
        struct qn_log_record *r = &c->then[c->count];
        enum qn_flow flow;
        uint32_t n = 0;

        QN_TRY(qn_log_reader_next(c->reader, r, 1, &n, &flow, err));
        if (n == 0)
            return QN_OK;
        if (r->kind == QN_LOG_COMMIT && r->topic == QN_COMMIT_STAGE)
            return take_commit(c, r, err);
        if (r->kind == QN_LOG_COMMIT)
            continue;
        if (++c->count > QN_BATCH_ROWS_MAX)
            return qn_err_set(err, QN_CORRUPT, "the predictions before LSN %llu have no commit",
                              (unsigned long long)r->lsn);
    }
}

/* The rows of the commit in hand are through: nothing of it may be left. */
static qn_status leave_commit(struct qn_compare *c, struct qn_err *err)
{
    if (c->is_comparable && c->at < c->count) {
        differ(c, c->end - 1, c->then[c->at].value, (struct qn_str){0});
        return QN_OK;
    }
    return next_commit(c, err);
}

/* ---- the output ------------------------------------------------------------------------------*/

static void compare_encode(void *st, const struct qn_engine *en, const struct qn_step_result *r,
                           uint32_t first, uint32_t end, uint32_t worker)
{
    struct qn_compare *c = st;

    qn_records_encode(&c->records, c->encoder, en, r, first, end, worker);
}

static qn_status compare_row(struct qn_compare *c, uint64_t offset, struct qn_str now,
                             struct qn_err *err)
{
    while (!c->result.is_different && (!c->has_commit || offset >= c->end)) {
        QN_TRY(leave_commit(c, err));
        if (!c->has_commit && !c->result.is_different)
            return qn_err_set(err, QN_CORRUPT, "record %llu lies behind the last commit",
                              (unsigned long long)offset);
    }
    if (c->result.is_different || !c->is_comparable || now.p == NULL)
        return QN_OK;
    if (c->at < c->count && qn_str_eq(c->then[c->at].value, now)) {
        c->at++;
        c->result.equal++;
    } else {
        differ(c, offset, c->at < c->count ? c->then[c->at].value : (struct qn_str){0}, now);
    }
    return QN_OK;
}

static qn_status compare_batch(struct qn_compare *c, const struct qn_batch *b, struct qn_err *err)
{
    uint32_t worker = 0, mark = 0;

    for (uint32_t row = 0; row < b->rows && !c->result.is_different; row++) {
        struct qn_str now = {0};

        if (b->stream[row] != c->plan->main_stream)
            continue;
        while (worker < c->records.workers &&
               mark == qn_records_slice(&c->records, 0, worker)->count) {
            worker++;
            mark = 0;
        }
        if (worker < c->records.workers) {
            const struct qn_record_slice *s = qn_records_slice(&c->records, 0, worker);
            const size_t begin = mark > 0 ? s->marks[mark - 1].end : 0;

            if (s->marks[mark].row == row) {
                now.p = s->bytes.data + begin;
                now.len = (uint32_t)(s->marks[mark].end - begin - 1); /* without its line end */
                mark++;
            }
        }
        QN_TRY(compare_row(c, (uint64_t)b->offset[row], now, err));
    }
    return QN_OK;
}

static qn_status compare_commit(void *st, const struct qn_engine *en,
                                const struct qn_step_result *r, struct qn_err *err)
{
    struct qn_compare *c = st;

    QN_TRY(qn_records_check(&c->records, err));
    QN_TRY(compare_batch(c, r->batch, err));
    qn_records_clear(&c->records);
    return QN_OK;
}

struct qn_output qn_compare_output(struct qn_compare *c)
{
    return (struct qn_output){.encode = compare_encode, .commit = compare_commit, .st = c};
}

qn_status qn_compare_finish(struct qn_compare *c, struct qn_err *err)
{
    while (!c->result.is_different && c->has_commit)
        QN_TRY(leave_commit(c, err));
    return QN_OK;
}
