/* SPDX-License-Identifier: Apache-2.0
 * commit.c - batches into the log, and replayed batches against it. See commit.h.
 *
 * Invariant: what a commit appends is decided by the batch alone, so a replay can hold its records
 * against the hashes of the commits, whatever the batches are now: a row belongs to the first
 * commit whose end lies behind its offset. Thread: see commit.h; slots pass from the engine's
 * thread to the log's with the append and come back under `lock`. */
#include "engine/commit.h"

#include "base/check.h"
#include "base/hash.h"
#include "base/memory.h"
#include "engine/dead_record.h"
#include "engine/records.h"

#include <pthread.h>

enum { SLOTS = 4, STAGE = QN_COMMIT_STAGE };

/* A batch on its way to the disk. */
struct slot {
    struct qn_commits *c;
    struct qn_log_append *append;
    uint64_t *next;            /* [streams] */
    struct qn_input_age *ages; /* [rows_max] */
    uint32_t age_count;
    void *told;
    bool is_busy; /* under lock */
};

/* The commits that a replay must come to again. */
struct replay {
    struct qn_log_reader *reader; /* commits only; NULL = live */
    struct qn_commit now;         /* the one that rows belong to */
    uint64_t *end;                /* [streams] where it ends     */
    uint64_t hash;                /* of its bytes                */
    bool has_now, is_comparable;
    const uint64_t *last; /* [streams] of the owner      */
    struct qn_replay sums;
};

struct qn_commits {
    struct qn_arena arena;
    struct qn_commits_options opt;
    const struct qn_plan *plan;
    struct qn_record_encoder *encoder;
    struct qn_records records;
    struct qn_commit commit; /* of the batch in hand: counts and hashes so far */
    struct qn_buf payload, headers, expected;
    struct slot slots[SLOTS];
    struct replay replay;
    uint64_t hash; /* of the last commit: qn_commits_hash */
    /* qn_commits_prediction: where the last answer was found */
    uint32_t worker, mark;
    pthread_mutex_t lock;
    pthread_cond_t freed;
};

/* ---- making ----------------------------------------------------------------------------------*/

uint64_t qn_commits_maker(const struct qn_plan *p)
{
    uint64_t h = qn_hash(QN_VERSION, sizeof QN_VERSION - 1, p->version);

    for (uint32_t i = 0; i < p->model_count; i++) {
        uint64_t hash = qn_model_info(p->models[i].model)->hash;

        h = qn_hash(&hash, sizeof hash, h);
    }
    return h;
}

static bool commit_init(struct qn_commits *c, struct qn_commit *m)
{
    m->input_count = c->plan->schema_count;
    m->output_count = c->plan->output_count + 1;
    m->inputs = QN_NEW_N(&c->arena, struct qn_commit_input, QN_STREAMS_MAX);
    m->outputs = QN_NEW_N(&c->arena, struct qn_commit_output, m->output_count + QN_STREAMS_MAX);
    return m->inputs != NULL && m->outputs != NULL;
}

static qn_status commits_init(struct qn_commits *c, struct qn_err *err)
{
    const struct qn_record_options records = {.kind = QN_RECORDS_PREDICTIONS,
                                              .workers = c->opt.workers};
    const uint32_t streams = c->plan->schema_count;
    bool is_good = commit_init(c, &c->commit) && commit_init(c, &c->replay.now);

    c->replay.end = QN_NEW_N(&c->arena, uint64_t, streams);
    is_good = is_good && c->replay.end != NULL;
    c->commit.maker = qn_commits_maker(c->plan);
    for (uint32_t i = 0; is_good && i < SLOTS; i++) {
        struct slot *s = &c->slots[i];

        s->c = c;
        s->next = QN_NEW_N(&c->arena, uint64_t, streams);
        s->ages = QN_NEW_N(&c->arena, struct qn_input_age, c->opt.rows_max);
        is_good = s->next != NULL && s->ages != NULL;
        if (is_good)
            QN_TRY(qn_log_append_new(c->opt.log, &s->append, err));
    }
    if (!is_good)
        return qn_err_set(err, QN_NOMEM, "out of memory for the commits");
    for (uint32_t s = 0; s < streams; s++)
        c->commit.inputs[s].topic = c->opt.stream_topics[s];
    for (uint32_t o = 0; o < c->plan->output_count; o++)
        c->commit.outputs[o].topic = c->opt.output_topics[o];
    c->commit.outputs[c->plan->output_count].topic = c->opt.dead_topic;
    QN_TRY(qn_record_encoder_new(c->plan, &records, &c->encoder, err));
    return qn_records_init(&c->records, c->encoder, err);
}

qn_status qn_commits_new(const struct qn_plan *plan, const struct qn_commits_options *opt,
                         struct qn_commits **out, struct qn_err *err)
{
    struct qn_commits *c = qn_mem_zalloc(1, sizeof *c);
    qn_status rc;

    *out = NULL;
    if (c == NULL)
        return qn_err_set(err, QN_NOMEM, "out of memory for the commits");
    qn_arena_init(&c->arena, 0);
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->freed, NULL);
    c->plan = plan;
    c->opt = *opt;
    rc = commits_init(c, err);
    if (rc != QN_OK) {
        qn_commits_free(c);
        return rc;
    }
    *out = c;
    return QN_OK;
}

void qn_commits_settle(struct qn_commits *c)
{
    pthread_mutex_lock(&c->lock);
    for (uint32_t i = 0; i < SLOTS; i++)
        while (c->slots[i].is_busy)
            pthread_cond_wait(&c->freed, &c->lock);
    pthread_mutex_unlock(&c->lock);
}

void qn_commits_free(struct qn_commits *c)
{
    if (c == NULL)
        return;
    qn_commits_settle(c);
    for (uint32_t i = 0; i < SLOTS; i++)
        qn_log_append_free(c->slots[i].append);
    qn_log_reader_free(c->replay.reader);
    qn_records_fini(&c->records);
    qn_record_encoder_free(c->encoder);
    qn_buf_fini(&c->payload);
    qn_buf_fini(&c->headers);
    qn_buf_fini(&c->expected);
    pthread_cond_destroy(&c->freed);
    pthread_mutex_destroy(&c->lock);
    qn_arena_fini(&c->arena);
    qn_mem_free(c);
}

/* ---- records of a batch ----------------------------------------------------------------------*/

static void commit_clear(struct qn_commit *m)
{
    for (uint32_t i = 0; i < m->output_count; i++) {
        m->outputs[i].records = 0;
        m->outputs[i].hash = 0;
    }
}

/* Counts and hashes one record of an output. */
static inline void note(struct qn_commit_output *o, const char *record, size_t bytes)
{
    o->records++;
    o->hash = qn_commit_hash(o->hash, record, bytes);
}

static qn_status append_output(struct qn_commits *c, struct qn_log_append *a, uint32_t output,
                               const struct qn_batch *b, struct qn_err *err)
{
    struct qn_commit_output *o = &c->commit.outputs[output];

    for (uint32_t w = 0; w < c->records.workers; w++) {
        const struct qn_record_slice *s = qn_records_slice(&c->records, output, w);
        size_t begin = 0;

        for (uint32_t i = 0; i < s->count; i++) {
            const struct qn_record_mark *m = &s->marks[i];
            struct qn_log_record rec = {.time_us = b->time_us[m->row]};

            rec.value.p = s->bytes.data + begin;
            rec.value.len = (uint32_t)(m->end - begin - 1); /* without its line end */
            rec.headers = qn_input_log_headers(c->opt.in, m->row);
            rec.key = qn_input_log_key(c->opt.in, m->row);
            begin = m->end;
            note(o, rec.value.p, rec.value.len);
            QN_TRY(qn_log_append_record(a, o->topic, QN_LOG_RECORDS, &rec, err));
        }
    }
    return QN_OK;
}

static qn_status append_dead(struct qn_commits *c, struct qn_log_append *a,
                             const struct qn_batch *b, uint32_t row, struct qn_err *err)
{
    struct qn_commit_output *o = &c->commit.outputs[c->plan->output_count];
    struct qn_log_record rec = {
        .time_us = QN_LOG_NO_TIME, .value = b->raw[row], .key = qn_input_log_key(c->opt.in, row)};

    QN_TRY(qn_dead_headers(c->plan, b, row, qn_input_log_headers(c->opt.in, row), &c->expected,
                           &c->headers, err));
    rec.headers = (struct qn_str){c->headers.data, (uint32_t)c->headers.len};
    o->records++;
    o->hash = qn_dead_hash(b, row, o->hash);
    return qn_log_append_record(a, o->topic, QN_LOG_RECORDS, &rec, err);
}

static qn_status append_batch(struct qn_commits *c, struct qn_log_append *a,
                              const struct qn_batch *b, struct qn_err *err)
{
    const uint64_t *next = qn_input_log_next(c->opt.in);

    commit_clear(&c->commit);
    for (uint32_t o = 0; o < c->plan->output_count; o++)
        QN_TRY(append_output(c, a, o, b, err));
    for (uint32_t r = 0; r < b->rows; r++)
        if (qn_contract_sets_aside(b, r, c->plan->schemas))
            QN_TRY(append_dead(c, a, b, r, err));
    for (uint32_t s = 0; s < c->commit.input_count; s++)
        c->commit.inputs[s].next = next[s];
    qn_buf_clear(&c->payload);
    qn_commit_write(&c->commit, &c->payload);
    if (c->payload.failed)
        return qn_err_set(err, QN_NOMEM, "out of memory for a commit");
    c->hash = qn_commit_hash(0, c->payload.data, c->payload.len);
    return qn_log_append_commit(a, STAGE, qn_input_log_lsn(c->opt.in),
                                (struct qn_str){c->payload.data, (uint32_t)c->payload.len}, err);
}

uint64_t qn_commits_hash(const struct qn_commits *c)
{
    return c->hash;
}

struct qn_str qn_commits_prediction(struct qn_commits *c, uint32_t row)
{
    while (c->worker < c->records.workers) {
        const struct qn_record_slice *s = qn_records_slice(&c->records, 0, c->worker);

        while (c->mark < s->count && s->marks[c->mark].row < row)
            c->mark++;
        if (c->mark < s->count) {
            size_t begin = c->mark > 0 ? s->marks[c->mark - 1].end : 0;

            if (s->marks[c->mark].row > row)
                return (struct qn_str){NULL, 0};
            return (struct qn_str){s->bytes.data + begin,
                                   (uint32_t)(s->marks[c->mark].end - begin - 1)};
        }
        c->worker++;
        c->mark = 0;
    }
    return (struct qn_str){NULL, 0};
}

/* ---- live ------------------------------------------------------------------------------------*/

static void on_durable(void *arg, struct qn_log_append *a, qn_status rc, const struct qn_err *err)
{
    struct slot *s = arg;
    struct qn_commits *c = s->c;
    const struct qn_commit_done d = {s->next, s->ages, s->age_count, s->told};

    c->opt.done(c->opt.arg, &d, rc, err);
    pthread_mutex_lock(&c->lock);
    s->is_busy = false;
    pthread_cond_broadcast(&c->freed);
    pthread_mutex_unlock(&c->lock);
}

/* In turn, so that they are in flight in the order of the batches. */
static struct slot *free_slot(struct qn_commits *c)
{
    struct slot *s = NULL;

    pthread_mutex_lock(&c->lock);
    while (s == NULL) {
        for (uint32_t i = 0; i < SLOTS && s == NULL; i++)
            if (!c->slots[i].is_busy)
                s = &c->slots[i];
        if (s == NULL)
            pthread_cond_wait(&c->freed, &c->lock);
    }
    s->is_busy = true;
    pthread_mutex_unlock(&c->lock);
    return s;
}

static void give_back(struct qn_commits *c, struct slot *s)
{
    pthread_mutex_lock(&c->lock);
    s->is_busy = false;
    pthread_cond_broadcast(&c->freed);
    pthread_mutex_unlock(&c->lock);
}

static qn_status hand_over(struct qn_commits *c, struct slot *s, struct qn_err *err)
{
    struct qn_err why = {0};
    qn_status rc;

    while ((rc = qn_log_submit(c->opt.log, s->append, on_durable, s, &why)) == QN_FULL)
        if (!c->opt.may_wait(c->opt.arg, qn_log_is_full(c->opt.log)))
            break;
    if (rc != QN_OK && err != NULL)
        *err = why;
    return rc;
}

static qn_status commit_live(struct qn_commits *c, const struct qn_step_result *r,
                             struct qn_err *err)
{
    struct slot *s = free_slot(c);
    const struct qn_input_age *ages = qn_input_log_ages(c->opt.in, &s->age_count);
    qn_status rc;

    qn_log_append_reset(s->append);
    qn_log_append_reserved(s->append, true);
    memcpy(s->ages, ages, s->age_count * sizeof *ages);
    memcpy(s->next, qn_input_log_next(c->opt.in), c->commit.input_count * sizeof *s->next);
    rc = append_batch(c, s->append, r->batch, err);
    if (rc == QN_OK) {
        c->worker = c->mark = 0;
        s->told = c->opt.committing != NULL ? c->opt.committing(c->opt.arg, r) : NULL;
        rc = hand_over(c, s, err);
        if (rc != QN_OK) {
            const struct qn_commit_done d = {s->next, s->ages, s->age_count, s->told};

            c->opt.done(c->opt.arg, &d, rc, err);
        }
    }
    if (rc != QN_OK)
        give_back(c, s);
    return rc;
}

/* ---- replay ----------------------------------------------------------------------------------*/

static qn_status next_commit(struct qn_commits *c, struct qn_err *err)
{
    struct replay *rp = &c->replay;
    struct qn_log_record rec;
    enum qn_flow flow;
    uint32_t n = 0;

    rp->has_now = false;
    do {
        qn_log_reader_release(rp->reader);
        QN_TRY(qn_log_reader_next(rp->reader, &rec, 1, &n, &flow, err));
        if (n == 0)
            return QN_OK;
    } while (rec.kind != QN_LOG_COMMIT || rec.topic != STAGE);
    rp->sums.end = rec.lsn;
    rp->hash = qn_commit_hash(0, rec.value.p, rec.value.len);
    if (rp->sums.from == 0)
        rp->sums.from = rec.lsn;
    QN_TRY(qn_commit_read(rec.value, QN_STREAMS_MAX, c->commit.output_count + QN_STREAMS_MAX,
                          &rp->now, err));
    rp->is_comparable =
        rp->now.maker == c->commit.maker && rp->now.output_count == c->commit.output_count;
    for (uint32_t o = 0; rp->is_comparable && o < c->commit.output_count; o++)
        rp->is_comparable = rp->now.outputs[o].topic == c->commit.outputs[o].topic;
    for (uint32_t s = 0; s < c->commit.input_count; s++)
        for (uint32_t i = 0; i < rp->now.input_count; i++)
            if (rp->now.inputs[i].topic == c->commit.inputs[s].topic)
                rp->end[s] = rp->now.inputs[i].next;
    rp->has_now = true;
    return QN_OK;
}

/* The rows of the commit in hand are complete: what came out must be what was committed. */
static qn_status compare(struct qn_commits *c, struct qn_err *err)
{
    struct replay *rp = &c->replay;

    for (uint32_t o = 0; rp->is_comparable && o < c->commit.output_count; o++) {
        const struct qn_commit_output *now = &c->commit.outputs[o], *then = &rp->now.outputs[o];

        if (now->records == then->records && now->hash == then->hash)
            continue;
        return qn_err_set(
            err, QN_CORRUPT,
            "replay diverges: the commit at LSN %llu wrote %u records of '%.*s' (hash %016llx), "
            "and now there are %u (%016llx); same spec, model and version, so the log or this "
            "machine's memory is damaged, or this is a bug: keep the folder and report it",
            (unsigned long long)rp->sums.end, then->records,
            QN_STR_ARG(o < c->plan->output_count ? c->plan->outputs[o].name : qn_str_of("dead")),
            (unsigned long long)then->hash, now->records, (unsigned long long)now->hash);
    }
    c->hash = rp->hash;
    rp->sums.commits += rp->is_comparable;
    rp->sums.skipped += !rp->is_comparable;
    commit_clear(&c->commit);
    return next_commit(c, err);
}

/* Where each worker's slice of an output has been read to. */
struct place {
    uint32_t worker, mark;
};

/* Takes the records of a row into account. */
static void note_row(struct qn_commits *c, const struct qn_batch *b, uint32_t row,
                     struct place *places)
{
    for (uint32_t o = 0; o < c->plan->output_count; o++) {
        struct place *at = &places[o];

        while (at->worker < c->records.workers) {
            const struct qn_record_slice *s = qn_records_slice(&c->records, o, at->worker);

            if (at->mark < s->count) {
                size_t begin = at->mark > 0 ? s->marks[at->mark - 1].end : 0;

                if (s->marks[at->mark].row == row) {
                    note(&c->commit.outputs[o], s->bytes.data + begin,
                         s->marks[at->mark].end - begin - 1);
                    at->mark++;
                }
                break;
            }
            at->worker++;
            at->mark = 0;
        }
    }
    if (qn_contract_sets_aside(b, row, c->plan->schemas)) {
        struct qn_commit_output *dead = &c->commit.outputs[c->plan->output_count];

        dead->records++;
        dead->hash = qn_dead_hash(b, row, dead->hash);
    }
}

static qn_status commit_replayed(struct qn_commits *c, const struct qn_step_result *r,
                                 struct qn_err *err)
{
    const struct qn_batch *b = r->batch;
    struct place places[QN_STREAMS_MAX + 1] = {0};

    QN_ASSERT(c->plan->output_count <= QN_STREAMS_MAX);
    for (uint32_t row = 0; row < b->rows; row++) {
        while (c->replay.has_now && (uint64_t)b->offset[row] >= c->replay.end[b->stream[row]])
            QN_TRY(compare(c, err));
        if (!c->replay.has_now)
            return qn_err_set(err, QN_CORRUPT,
                              "replay diverges: record %lld of '%.*s' lies behind the last commit",
                              (long long)b->offset[row],
                              QN_STR_ARG(c->plan->schemas[b->stream[row]].name));
        note_row(c, b, row, places);
    }
    return QN_OK;
}

/* True where the commit ends at or before next[]: it is part of what is not replayed. */
static bool is_behind(const struct qn_commits *c, const uint64_t *next)
{
    for (uint32_t s = 0; s < c->commit.input_count; s++)
        if (c->replay.end[s] > next[s])
            return false;
    return true;
}

qn_status qn_commits_replay(struct qn_commits *c, const uint64_t *next, const uint64_t *last,
                            struct qn_err *err)
{
    struct replay *rp = &c->replay;
    const struct qn_log_selection what = {&c->opt.control_topic, 1, true};

    QN_TRY(qn_log_reader_new(c->opt.log, &what, &rp->reader, err));
    rp->last = last;
    commit_clear(&c->commit);
    do
        QN_TRY(next_commit(c, err));
    while (rp->has_now && is_behind(c, next));
    return QN_OK;
}

qn_status qn_commits_live(struct qn_commits *c, struct qn_replay *out, struct qn_err *err)
{
    qn_status rc = QN_OK;

    if (c->replay.has_now)
        rc = compare(c, err);
    if (rc == QN_OK && c->replay.has_now)
        rc = qn_err_set(err, QN_CORRUPT,
                        "replay diverges: the commit at LSN %llu has no events of its own",
                        (unsigned long long)c->replay.sums.end);
    qn_log_reader_free(c->replay.reader);
    c->replay.reader = NULL;
    *out = c->replay.sums;
    return rc;
}

qn_status qn_commits_last(struct qn_log *lg, const uint32_t *stream_topics, uint32_t streams,
                          uint64_t *next, bool *found, struct qn_err *err)
{
    struct qn_commit_input inputs[QN_STREAMS_MAX];
    struct qn_commit_output outputs[2 * QN_STREAMS_MAX + 1];
    struct qn_commit m = {.inputs = inputs, .outputs = outputs};
    struct qn_buf payload = {0};
    struct qn_err why = {0};
    qn_status rc = qn_log_last_commit(lg, STAGE, NULL, NULL, &payload, &why);

    memset(next, 0, streams * sizeof *next);
    *found = rc == QN_OK;
    if (rc == QN_OK) {
        rc = qn_commit_read((struct qn_str){payload.data, (uint32_t)payload.len}, QN_STREAMS_MAX,
                            2 * QN_STREAMS_MAX + 1, &m, &why);
        for (uint32_t s = 0; rc == QN_OK && s < streams; s++)
            for (uint32_t i = 0; i < m.input_count; i++)
                if (inputs[i].topic == stream_topics[s])
                    next[s] = inputs[i].next;
    } else if (rc == QN_NOT_FOUND) {
        rc = QN_OK;
    }
    qn_buf_fini(&payload);
    if (rc != QN_OK && err != NULL)
        *err = why;
    return rc;
}

/* How far a commit had come in the streams: -1 not to next[] yet, 0 exactly there, 1 beyond. */
static int commit_place(const struct qn_commit *m, const uint32_t *stream_topics, uint32_t streams,
                        const uint64_t *next)
{
    int place = 0;

    for (uint32_t s = 0; s < streams; s++) {
        uint64_t at = 0;

        for (uint32_t i = 0; i < m->input_count; i++)
            if (m->inputs[i].topic == stream_topics[s])
                at = m->inputs[i].next;
        if (at > next[s])
            return 1;
        if (at < next[s])
            place = -1;
    }
    return place;
}

/* Reads on to the commit. */
static qn_status find_commit(struct qn_log_reader *reader, const uint32_t *stream_topics,
                             uint32_t streams, const uint64_t *next, uint64_t *hash,
                             struct qn_err *err)
{
    struct qn_commit_input inputs[QN_STREAMS_MAX];
    struct qn_commit_output outputs[2 * QN_STREAMS_MAX + 1];
    struct qn_commit m = {.inputs = inputs, .outputs = outputs};
    struct qn_log_record rec;
    enum qn_flow flow;
    uint32_t n;
    int place = -1;

    while (place < 0) {
        qn_log_reader_release(reader);
        QN_TRY(qn_log_reader_next(reader, &rec, 1, &n, &flow, err));
        if (n == 0)
            break;
        if (rec.kind != QN_LOG_COMMIT || rec.topic != STAGE)
            continue;
        QN_TRY(qn_commit_read(rec.value, QN_STREAMS_MAX, 2 * QN_STREAMS_MAX + 1, &m, err));
        place = commit_place(&m, stream_topics, streams, next);
    }
    if (place != 0)
        return qn_err_set(err, QN_NOT_FOUND, "the log has no commit where it was taken");
    *hash = qn_commit_hash(0, rec.value.p, rec.value.len);
    return QN_OK;
}

qn_status qn_commits_hash_at(struct qn_log *lg, uint32_t control_topic,
                             const uint32_t *stream_topics, uint32_t streams, uint64_t lsn,
                             const uint64_t *next, uint64_t *hash, struct qn_err *err)
{
    const struct qn_log_selection what = {&control_topic, 1, true};
    struct qn_log_reader *reader;
    qn_status rc;

    QN_TRY(qn_log_reader_new(lg, &what, &reader, err));
    rc = qn_log_reader_seek_lsn(reader, lsn, err);
    if (rc == QN_OK)
        rc = find_commit(reader, stream_topics, streams, next, hash, err);
    qn_log_reader_release(reader);
    qn_log_reader_free(reader);
    return rc;
}

/* ---- the output ------------------------------------------------------------------------------*/

static void commits_encode(void *st, const struct qn_engine *en, const struct qn_step_result *r,
                           uint32_t first, uint32_t end, uint32_t worker)
{
    struct qn_commits *c = st;

    qn_records_encode(&c->records, c->encoder, en, r, first, end, worker);
}

static qn_status commits_commit(void *st, const struct qn_engine *en,
                                const struct qn_step_result *r, struct qn_err *err)
{
    struct qn_commits *c = st;

    QN_TRY(qn_records_check(&c->records, err));
    QN_TRY(c->replay.reader != NULL ? commit_replayed(c, r, err) : commit_live(c, r, err));
    qn_records_clear(&c->records);
    return QN_OK;
}

struct qn_output qn_commits_output(struct qn_commits *c)
{
    return (struct qn_output){.encode = commits_encode, .commit = commits_commit, .st = c};
}
