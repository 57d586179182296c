/* SPDX-License-Identifier: Apache-2.0
 * ingest.c - events from outside into the log, and answers back to those who wait. See service.h.
 *
 *   add ─► submit: contract, append ─► placed: waits in its stream's list ─► durable: told, unless
 *   it waits for predictions ─► the engine's batch has its rows: answered ─► batch durable: told
 *
 * Invariant: an ingest that waits for predictions is in the list before the engine can see its
 * events (qn_log_append_watch), so that no batch passes it by. Each is told once. Thread: submit
 * and rows, the caller's; placed and durable, the log's; answer, the engine's. */
#include "base/check.h"
#include "base/memory.h"
#include "engine/service_int.h"

enum { EVENTS_FIRST = 16 };

/* ---- checkers --------------------------------------------------------------------------------*/

qn_status qn_ingest_checkers_init(struct qn_service *sv, struct qn_err *err)
{
    for (uint32_t i = 0; i < QN_CHECKERS; i++)
        QN_TRY(qn_batch_init(&sv->checkers[i].batch, &sv->arena, sv->plan->schemas,
                             sv->plan->schema_count, QN_CHECK_ROWS, 1, err));
    return QN_OK;
}

void qn_ingest_checkers_fini(struct qn_service *sv)
{
    for (uint32_t i = 0; i < QN_CHECKERS; i++)
        qn_batch_fini(&sv->checkers[i].batch);
}

static struct qn_checker *take_checker(struct qn_service *sv)
{
    struct qn_checker *found = NULL;

    pthread_mutex_lock(&sv->check_lock);
    while (found == NULL) {
        for (uint32_t i = 0; i < QN_CHECKERS && found == NULL; i++)
            if (!sv->checkers[i].is_used)
                found = &sv->checkers[i];
        if (found == NULL)
            pthread_cond_wait(&sv->checked, &sv->check_lock);
    }
    found->is_used = true;
    pthread_mutex_unlock(&sv->check_lock);
    return found;
}

static void put_checker(struct qn_service *sv, struct qn_checker *k)
{
    pthread_mutex_lock(&sv->check_lock);
    k->is_used = false;
    pthread_cond_signal(&sv->checked);
    pthread_mutex_unlock(&sv->check_lock);
}

/* Verdicts of the contract for events [first, end); the engine will come to the same, but for what
 * depends on other events (lateness). */
static qn_status check_some(struct qn_ingest *in, struct qn_batch *b, uint32_t first, uint32_t end,
                            struct qn_err *err)
{
    const struct qn_schema *s = &in->sv->plan->schemas[in->stream];

    qn_batch_reset(b);
    for (uint32_t i = first; i < end; i++) {
        uint32_t r = b->rows++;

        b->raw[r] = (struct qn_str){in->bytes.data + in->events[i].start, in->events[i].len};
        b->stream[r] = (uint8_t)in->stream;
        if (b->headers != NULL)
            b->headers[r] = (struct qn_str){in->headers.data + in->events[i].headers_start,
                                            in->events[i].headers_len};
        if (in->events[i].len > QN_EVENT_BYTES_MAX) {
            b->verdict[r] = QN_DEAD;
            b->reason[r] = QN_REASON_TOO_LARGE;
        }
    }
    qn_decode_json(b, s, in->stream, 0, b->rows, 0);
    if (qn_batch_no_memory(b))
        return qn_err_set(err, QN_NOMEM, "out of memory for the texts of an event");
    qn_contract_check(b, s, in->stream, 0, b->rows);
    for (uint32_t r = 0; r < b->rows; r++) {
        struct qn_ingest_event *e = &in->events[first + r];

        e->verdict = b->verdict[r];
        e->reason = b->reason[r];
        e->field = b->reason_field[r];
        e->time_us = b->verdict[r] == QN_SCORED ? b->time_us[r] : QN_LOG_NO_TIME;
    }
    return QN_OK;
}

qn_status qn_ingest_check(struct qn_ingest *in, struct qn_err *err)
{
    struct qn_checker *k = take_checker(in->sv);
    qn_status rc = QN_OK;

    if (qn_buf_room(&in->bytes, QN_DECODE_PAD) == NULL)
        rc = qn_err_set(err, QN_NOMEM, "out of memory for a request");
    for (uint32_t i = 0; rc == QN_OK && i < in->count; i += QN_CHECK_ROWS)
        rc = check_some(in, &k->batch, i,
                        i + QN_CHECK_ROWS < in->count ? i + QN_CHECK_ROWS : in->count, err);
    put_checker(in->sv, k);
    return rc;
}

/* ---- making ----------------------------------------------------------------------------------*/

qn_status qn_ingest_new(struct qn_service *sv, uint32_t stream, struct qn_ingest **out,
                        struct qn_err *err)
{
    struct qn_ingest *in = qn_mem_zalloc(1, sizeof *in);

    QN_ASSERT(stream < sv->plan->schema_count);
    *out = NULL;
    if (in == NULL)
        return qn_err_set(err, QN_NOMEM, "out of memory for a request");
    in->sv = sv;
    in->stream = stream;
    if (qn_log_append_new(sv->log, &in->append, err) != QN_OK) {
        qn_ingest_free(in);
        return QN_NOMEM;
    }
    *out = in;
    return QN_OK;
}

void qn_ingest_free(struct qn_ingest *in)
{
    if (in == NULL)
        return;
    QN_ASSERT(in->phase != QN_INGEST_QUEUED);
    qn_log_append_free(in->append);
    qn_buf_fini(&in->bytes);
    qn_buf_fini(&in->headers);
    qn_buf_fini(&in->answers);
    qn_mem_free(in->events);
    qn_mem_free(in);
}

qn_status qn_ingest_add(struct qn_ingest *in, struct qn_str event, struct qn_str headers,
                        struct qn_err *err)
{
    struct qn_ingest_event *e;

    QN_ASSERT(in->phase == QN_INGEST_OPEN);
    if (in->bytes.len + in->headers.len + event.len + headers.len + (size_t)(in->count + 1) * 64 +
            4096 >
        qn_log_append_limit(in->sv->log))
        return qn_err_set(err, QN_LIMIT, "a request of more than %zu bytes: send it in pieces",
                          qn_log_append_limit(in->sv->log));
    if (in->count == in->cap) {
        uint32_t cap = in->cap > 0 ? 2 * in->cap : EVENTS_FIRST;
        struct qn_ingest_event *more = qn_mem_realloc(in->events, cap * sizeof *more);

        if (more == NULL)
            return qn_err_set(err, QN_NOMEM, "out of memory for a request");
        in->events = more;
        in->cap = cap;
    }
    e = &in->events[in->count];
    *e = (struct qn_ingest_event){.start = in->bytes.len,
                                  .len = event.len,
                                  .headers_start = in->headers.len,
                                  .headers_len = headers.len};
    qn_buf_add(&in->bytes, event.p, event.len);
    qn_buf_add(&in->headers, headers.p, headers.len);
    if (in->bytes.failed || in->headers.failed)
        return qn_err_set(err, QN_NOMEM, "out of memory for a request");
    in->count++;
    return QN_OK;
}

/* ---- telling ---------------------------------------------------------------------------------*/

/* Under wait_lock. Out of its stream's list. */
static void unlist(struct qn_ingest *in)
{
    struct qn_waiting *w = &in->sv->waiting[in->stream];
    struct qn_ingest **at = &w->first;

    while (*at != in)
        at = &(*at)->next;
    *at = in->next;
    if (in->next == NULL)
        w->last = at;
    in->is_waiting = false;
}

/* Under wait_lock. True for the one who may tell, which it does without the lock. */
static bool claim(struct qn_ingest *in, qn_status rc, const struct qn_err *err)
{
    if (in->phase != QN_INGEST_QUEUED)
        return false;
    if (in->is_waiting)
        unlist(in);
    in->phase = QN_INGEST_TOLD;
    in->rc = rc;
    if (rc != QN_OK)
        in->err = *err;
    return true;
}

/* Under wait_lock. One that the log still has in its hands is told when the log lets go of it:
 * whoever is told may free it. */
static bool claim_durable(struct qn_ingest *in, qn_status rc, const struct qn_err *err)
{
    if (in->is_durable)
        return claim(in, rc, err);
    QN_ASSERT(rc != QN_OK);
    if (in->is_waiting)
        unlist(in);
    if (!in->is_given_up)
        in->err = *err;
    in->is_given_up = true;
    return false;
}

void qn_ingest_tell(struct qn_ingest *list, qn_status rc, const struct qn_err *err)
{
    while (list != NULL) {
        struct qn_ingest *in = list;
        pthread_mutex_t *lock = &in->sv->wait_lock;
        bool is_mine;

        pthread_mutex_lock(lock);
        list = in->next;
        is_mine = claim_durable(in, rc, err);
        pthread_mutex_unlock(lock);
        if (is_mine)
            in->done(in->arg, in);
    }
}

void qn_ingest_abandon(struct qn_service *sv, const struct qn_err *err)
{
    for (uint32_t s = 0; s < sv->plan->schema_count; s++)
        for (;;) {
            struct qn_ingest *in;

            pthread_mutex_lock(&sv->wait_lock);
            for (in = sv->waiting[s].first; in != NULL; in = in->next)
                if (claim_durable(in, err->code, err))
                    break;
            pthread_mutex_unlock(&sv->wait_lock);
            if (in == NULL)
                break;
            in->done(in->arg, in);
        }
}

static void on_place(void *arg, struct qn_log_append *a)
{
    struct qn_ingest *in = arg;
    struct qn_service *sv = in->sv;

    pthread_mutex_lock(&sv->wait_lock);
    in->first = qn_log_append_first(a, sv->stream_topics[in->stream]);
    if (in->wait == QN_INGEST_SCORED) {
        in->next = NULL;
        in->is_waiting = true;
        *sv->waiting[in->stream].last = in;
        sv->waiting[in->stream].last = &in->next;
    }
    pthread_mutex_unlock(&sv->wait_lock);
    atomic_store(&sv->appended[in->stream], in->first + in->count);
}

static void on_durable(void *arg, struct qn_log_append *a, qn_status rc, const struct qn_err *err)
{
    struct qn_ingest *in = arg;
    struct qn_service *sv = in->sv;
    struct qn_err why = {0};
    bool is_over;

    atomic_fetch_sub(&sv->queued, in->count);
    pthread_mutex_lock(&sv->wait_lock);
    in->is_durable = true;
    is_over = rc != QN_OK || in->wait == QN_INGEST_DURABLE || in->is_given_up;
    if (rc != QN_OK) {
        why = *err;
    } else if (in->is_given_up) {
        why = in->err;
    } else if (in->is_waiting && qn_service_phase(sv) >= QN_PHASE_STOPPED) {
        is_over = true; /* came too late to be seen; without is_waiting a commit has it */
        qn_err_set(&why, QN_INTERRUPTED,
                   "stopped before the events were scored; they are in the "
                   "log");
    }
    is_over = is_over && claim(in, why.code, &why);
    pthread_mutex_unlock(&sv->wait_lock);
    if (is_over) /* else it may be gone already */
        in->done(in->arg, in);
}

/* ---- submitting ------------------------------------------------------------------------------*/

/* Events that are accepted and not in a batch yet. */
static uint64_t backlog(struct qn_service *sv)
{
    uint64_t n = atomic_load(&sv->queued);

    for (uint32_t s = 0; s < sv->plan->schema_count; s++) {
        uint64_t processed = atomic_load(&sv->processed[s]);
        uint64_t appended = atomic_load(&sv->appended[s]);

        n += appended > processed ? appended - processed : 0;
    }
    return n;
}

int64_t qn_service_waited_us(const struct qn_service *sv)
{
    return qn_service_now_us(sv) - atomic_load(&sv->taken_us);
}

static qn_status may_submit(struct qn_service *sv, struct qn_err *err)
{
    const int64_t wait_us = sv->plan->limits.wait_us;
    enum qn_phase phase = qn_service_phase(sv);
    uint64_t waiting;

    if (phase == QN_PHASE_FULL || (phase == QN_PHASE_RUNNING && qn_service_look_space(sv)))
        return qn_err_set(err, QN_FULL, "no space is left for events");
    if (phase != QN_PHASE_RUNNING)
        return qn_err_set(err, QN_CLOSED, "the pipeline is %s", qn_phase_name(phase));
    waiting = backlog(sv);
    if (waiting >= QN_BACKLOG_RECORDS)
        return qn_err_set(err, QN_FULL, "more than %d events wait to be scored",
                          QN_BACKLOG_RECORDS);
    if (wait_us > 0 && waiting > 0 && qn_service_waited_us(sv) > wait_us)
        return qn_err_set(err, QN_FULL, "an event waits to be scored for longer than limits: wait");
    return QN_OK;
}

static qn_status append_events(struct qn_ingest *in, struct qn_err *err)
{
    qn_log_append_reset(in->append);
    for (uint32_t i = 0; i < in->count; i++) {
        const struct qn_ingest_event *e = &in->events[i];
        struct qn_log_record rec = {.time_us = e->time_us};

        rec.value = (struct qn_str){in->bytes.data + e->start, e->len};
        rec.headers = (struct qn_str){in->headers.data + e->headers_start, e->headers_len};
        QN_TRY(qn_log_append_record(in->append, in->sv->stream_topics[in->stream], QN_LOG_RECORDS,
                                    &rec, err));
    }
    return QN_OK;
}

qn_status qn_ingest_submit(struct qn_ingest *in, enum qn_ingest_wait wait, qn_ingest_done *done,
                           void *arg, struct qn_err *err)
{
    struct qn_service *sv = in->sv;
    qn_status rc;

    QN_ASSERT(in->phase == QN_INGEST_OPEN);
    if (in->count == 0)
        return qn_err_set(err, QN_INVALID, "there is no event in this request");
    QN_TRY(may_submit(sv, err));
    QN_TRY(qn_ingest_check(in, err));
    QN_TRY(append_events(in, err));
    in->wait = wait;
    in->done = done;
    in->arg = arg;
    in->phase = QN_INGEST_QUEUED;
    qn_log_append_watch(in->append, on_place, in);
    atomic_fetch_add(&sv->queued, in->count);
    rc = qn_log_submit(sv->log, in->append, on_durable, in, err);
    if (rc != QN_OK) {
        atomic_fetch_sub(&sv->queued, in->count);
        in->phase = QN_INGEST_OPEN;
    }
    return rc;
}

/* ---- answers ---------------------------------------------------------------------------------*/

/* Under wait_lock. */
static void answer_row(struct qn_service *sv, struct qn_ingest *in, const struct qn_batch *b,
                       uint32_t row)
{
    struct qn_ingest_event *e = &in->events[(uint64_t)b->offset[row] - in->first];
    struct qn_str record = qn_commits_prediction(sv->commits, row);

    e->verdict = b->verdict[row];
    e->reason = b->reason[row];
    e->field = b->reason_field[row];
    if (record.p == NULL)
        return;
    e->answer_start = in->answers.len;
    e->answer_len = record.len;
    qn_buf_add(&in->answers, record.p, record.len);
}

struct qn_ingest *qn_ingest_answer(struct qn_service *sv, const struct qn_step_result *r)
{
    struct qn_ingest *list = NULL, **last = &list;
    const struct qn_batch *b = r->batch;

    pthread_mutex_lock(&sv->wait_lock);
    for (uint32_t row = 0; row < b->rows; row++) {
        struct qn_waiting *w = &sv->waiting[b->stream[row]];
        struct qn_ingest *in = w->first;
        uint64_t offset = (uint64_t)b->offset[row];

        if (in == NULL || offset < in->first)
            continue;
        QN_ASSERT(offset < in->first + in->count);
        answer_row(sv, in, b, row);
        if (offset + 1 < in->first + in->count)
            continue;
        unlist(in);
        in->next = NULL;
        *last = in;
        last = &in->next;
    }
    pthread_mutex_unlock(&sv->wait_lock);
    return list;
}

/* ---- afterwards ------------------------------------------------------------------------------*/

qn_status qn_ingest_status(const struct qn_ingest *in, struct qn_err *err)
{
    QN_ASSERT(in->phase == QN_INGEST_TOLD);
    if (in->rc == QN_OK && in->answers.failed)
        return qn_err_set(err, QN_NOMEM, "out of memory for the answers; the events are durable");
    if (in->rc != QN_OK && err != NULL)
        *err = in->err;
    return in->rc;
}

uint32_t qn_ingest_count(const struct qn_ingest *in)
{
    return in->count;
}

void qn_ingest_row(const struct qn_ingest *in, uint32_t i, struct qn_ingest_row *out)
{
    const struct qn_schema *s = &in->sv->plan->schemas[in->stream];
    const struct qn_ingest_event *e = &in->events[i];

    QN_ASSERT(i < in->count);
    *out = (struct qn_ingest_row){.offset = in->first + i,
                                  .verdict = (enum qn_verdict)e->verdict,
                                  .reason = (enum qn_reason)e->reason};
    if (e->field != QN_NO_FIELD)
        out->field = s->fields[e->field].from;
    if (e->answer_len > 0)
        out->prediction = (struct qn_str){in->answers.data + e->answer_start, e->answer_len};
}
