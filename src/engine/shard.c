/* SPDX-License-Identifier: Apache-2.0
 * shard.c - the engine of one partition: messages in, records out, replay in between. See shard.h.
 *
 * The same qn_step as everywhere stands between an input that hands out pending messages and an
 * output that keeps the records. Invariants: offsets given to the engine ascend; a batch never
 * crosses the offset at which the shard goes live, or at which its hash begins, so that where
 * batches end shows nowhere. Thread: the engine's. Memory: see shard.h. */
#include "engine/shard.h"

#ifdef QN_WITH_KAFKA

#include "base/check.h"
#include "base/hash.h"
#include "base/memory.h"
#include "engine/commit.h"
#include "engine/dead_record.h"
#include "engine/rekey_record.h"
#include "engine/shard_event.h"
#include "engine/shard_merge.h"
#include "engine/shard_stage.h"
#include "log/kafka_transact.h"
#include "log/log_local.h"

enum { ROWS_PER_THREAD = 2048, BATCH_BYTES = 1 << 20, PENDING_FIRST = 1024, MARK_SHOWN = 100 };
_Static_assert((int)BATCH_BYTES >= (int)QN_EVENT_BYTES_MAX, "the largest event fits");

/* ---- the input -------------------------------------------------------------------------------*/

/* Arrival as the log has it: what the message says, by whichever clock the topic goes. */
static int64_t arrival_of(const rd_kafka_message_t *m)
{
    rd_kafka_timestamp_type_t type;
    const int64_t ms = rd_kafka_message_timestamp(m, &type);

    return type == RD_KAFKA_TIMESTAMP_NOT_AVAILABLE || ms < 0 ? QN_NO_ARRIVAL : ms * 1000;
}

/* Bytes that an event may have. */
static uint32_t most_of(const struct qn_shard *s)
{
    return s->sends && !s->reads_stage ? QN_REKEY_EVENT_MAX : QN_EVENT_BYTES_MAX;
}

/* Of what is taken of a message; one byte more where it is too large. */
static uint32_t length_of(const struct qn_shard *s, const rd_kafka_message_t *m)
{
    return m->len > most_of(s) ? most_of(s) + 1 : (uint32_t)m->len;
}

/* What is taken of a message: the event in it, or why there is none. */
struct taken {
    struct qn_str event;
    enum qn_reason reason;
};

static qn_status look(struct qn_shard *s, uint32_t row, struct taken *t, struct qn_err *err)
{
    const rd_kafka_message_t *m = s->pending[s->taken];
    const uint32_t most = most_of(s);

    t->reason = QN_REASON_NONE;
    if (s->reads_stage)
        t->event = qn_shard_stage_event(s);
    else if (s->events != NULL)
        QN_TRY(qn_shard_event(s, s->taken, row, &t->event, &t->reason, err));
    else
        t->event = (struct qn_str){m->payload, length_of(s, m)};
    if (!s->reads_stage && t->event.len > most && t->reason == QN_REASON_NONE) {
        t->reason = QN_REASON_TOO_LARGE;
        t->event.len = most + 1;
    }
    return QN_OK;
}

/* The one copy on the way in: the decoder looks QN_DECODE_PAD bytes further, and behind a message
 * there may be the end of the memory. */
static qn_status give(struct qn_shard *s, struct qn_batch *b, const struct taken *t, char *to,
                      struct qn_err *err)
{
    const rd_kafka_message_t *m = s->pending[s->taken];
    const uint32_t r = b->rows++;

    if (t->event.len > 0)
        memcpy(to, t->event.p, t->event.len);
    b->raw[r] = (struct qn_str){to, t->event.len};
    if (s->reads_stage)
        return qn_shard_stage_give(s, b, r, err);
    b->stream[r] = (uint8_t)qn_shard_stream(s, s->taken);
    b->partition[r] = (uint16_t)s->partition;
    b->offset[r] = m->offset;
    b->arrival_us[r] = arrival_of(m);
    if (t->reason != QN_REASON_NONE) {
        b->verdict[r] = QN_DEAD;
        b->reason[r] = (uint8_t)t->reason;
    }
    if (t->reason == QN_REASON_SCHEMA_UNKNOWN)
        qn_shard_event_unknown(s, s->taken);
    return QN_OK;
}

/* An envelope may say something in headers: those of the batch, in one buffer that is still when it
 * is pointed to. The messages wait until the batch is released, so nothing of it is read twice. */
static qn_status give_headers(struct qn_shard *s, struct qn_batch *b, struct qn_err *err)
{
    size_t begin = 0;

    if (b->headers == NULL || !s->reads_headers)
        return QN_OK;
    qn_buf_clear(&s->given);
    for (uint32_t r = 0; r < b->rows; r++) {
        qn_kafka_headers_read(s->pending[s->done + r], &s->given);
        b->headers[r].len = (uint32_t)(s->given.len - begin);
        begin = s->given.len;
    }
    if (s->given.failed)
        return qn_err_set(err, QN_NOMEM, "out of memory for the headers of a batch");
    begin = 0;
    for (uint32_t r = 0; r < b->rows; r++) {
        b->headers[r].p = s->given.data + begin;
        begin += b->headers[r].len;
    }
    return QN_OK;
}

static void begin_chain(struct qn_shard *s, int64_t since)
{
    memset(s->chains, 0, (s->output_count + 1) * sizeof *s->chains);
    s->mark.since = since;
    s->has_chain = true;
}

static uint64_t hash_of(const struct qn_shard *s)
{
    return qn_hash(s->chains, (s->output_count + 1) * sizeof *s->chains, 0);
}

/* All that was answered before has been answered again. */
static qn_status go_live(struct qn_shard *s, struct qn_err *err)
{
    s->is_replaying = false;
    if (s->expected.maker != s->mark.maker || !s->has_chain) {
        begin_chain(s, s->live_from);
        return QN_OK;
    }
    if (hash_of(s) == s->expected.hash)
        return QN_OK;
    return qn_err_set(
        err, QN_CORRUPT,
        "replay diverges: partition %u of '%s' gives other answers up to record %lld "
        "than were committed; same spec, model and version, so the topic was changed, "
        "this machine's memory is damaged, or this is a bug: report it",
        s->partition, s->def->topic, (long long)s->live_from - 1);
}

/* The first offset that belongs into another batch than those before it. */
static int64_t border(const struct qn_shard *s, int64_t offset)
{
    if (!s->is_replaying)
        return INT64_MAX;
    return !s->has_chain && offset < s->mark.since ? s->mark.since : s->live_from;
}

/* What is no event of the batch: it stands before the first one, and ends one. */
static void pass_over(struct qn_shard *s)
{
    qn_shard_stage_skip(s);
    s->next = s->pending[s->taken]->offset + 1;
    rd_kafka_message_destroy(s->pending[s->taken++]);
    s->done = s->taken;
    if (s->done == s->count)
        s->done = s->taken = s->count = 0;
}

static qn_status shard_read(void *st, struct qn_batch *b, enum qn_flow *flow, struct qn_err *err)
{
    struct qn_shard *s = st;
    int64_t end = INT64_MIN;
    uint32_t bytes = 0;
    bool is_row = true;

    s->before = qn_engine_watermark(s->en);
    while (s->taken < s->count && b->rows < b->rows_max) {
        const rd_kafka_message_t *m = s->pending[s->taken];
        const int64_t seq = qn_shard_seq(s, s->taken);
        struct taken t;

        if (b->rows == 0) {
            if (s->is_copy && seq >= s->live_from) /* behind records that are no rows */
                break;
            if (s->is_replaying && seq >= s->live_from)
                QN_TRY(go_live(s, err));
            if (s->is_replaying && !s->has_chain && seq >= s->mark.since)
                begin_chain(s, s->mark.since);
            end = border(s, seq);
        }
        if (seq >= end)
            break;
        if (s->reads_stage)
            QN_TRY(qn_shard_stage_look(s, m, &is_row, err));
        if (!is_row && b->rows > 0)
            break;
        if (!is_row) {
            pass_over(s);
            continue;
        }
        QN_TRY(look(s, b->rows, &t, err));
        if (s->is_waiting || (b->rows > 0 && bytes + t.event.len > BATCH_BYTES))
            break;
        QN_TRY(give(s, b, &t, s->raw + bytes, err));
        bytes += t.event.len;
        s->taken++;
        /* Where time begins shows in what is counted: not in the middle of a batch. */
        if (s->reads_stage && !s->before.seen && b->floor_us[b->rows - 1] != INT64_MIN)
            break;
    }
    *flow = b->rows > 0 ? QN_MORE : QN_IDLE;
    return give_headers(s, b, err);
}

static void shard_release(void *st)
{
    struct qn_shard *s = st;

    for (; s->done < s->taken; s->done++)
        rd_kafka_message_destroy(s->pending[s->done]);
    if (s->done == s->count)
        s->done = s->taken = s->count = 0;
}

static const struct qn_csv_header *const *shard_csv(void *st, uint32_t stream)
{
    return NULL;
}

uint32_t qn_shard_stream(const struct qn_shard *s, uint32_t pending)
{
    return s->merge != NULL ? s->merge->stream[pending] : 0;
}

int64_t qn_shard_seq(const struct qn_shard *s, uint32_t pending)
{
    return s->merge != NULL ? s->merge->seq[pending] : s->pending[pending]->offset;
}

qn_status qn_shard_put(struct qn_shard *s, rd_kafka_message_t *m, struct qn_err *err)
{
    if (s->count == s->cap) {
        const uint32_t cap = s->cap > 0 ? 2 * s->cap : PENDING_FIRST;
        rd_kafka_message_t **more = qn_mem_realloc(s->pending, cap * sizeof(*more));

        if (more == NULL) {
            rd_kafka_message_destroy(m);
            return qn_err_set(err, QN_NOMEM, "out of memory for messages that wait");
        }
        s->pending = more;
        s->cap = cap;
    }
    s->pending[s->count++] = m;
    return QN_OK;
}

qn_status qn_shard_push(struct qn_shard *s, rd_kafka_message_t *m, struct qn_err *err)
{
    const int64_t behind = m->offset + 1;

    if (m->offset < s->pushed) {
        rd_kafka_message_destroy(m);
        return QN_OK;
    }
    QN_TRY(qn_shard_put(s, m, err));
    s->pushed = behind;
    return QN_OK;
}

void qn_shard_drop_pending(struct qn_shard *s)
{
    for (uint32_t i = s->done; i < s->count; i++)
        rd_kafka_message_destroy(s->pending[i]);
    s->count = s->taken = s->done = 0;
    s->pushed = s->next;
    s->is_waiting = false;
    s->end = 0;
    if (s->merge != NULL)
        qn_shard_merge_drop(s);
}

/* ---- the output ------------------------------------------------------------------------------*/

static void shard_encode(void *st, const struct qn_engine *en, const struct qn_step_result *r,
                         uint32_t first, uint32_t end, uint32_t worker)
{
    struct qn_shard *s = st;

    if (!s->sends)
        qn_records_encode(&s->batch, s->encoder, en, r, first, end, worker);
}

struct qn_str qn_shard_key(const struct qn_shard *s, uint32_t row)
{
    const rd_kafka_message_t *m = s->pending[s->done + row];

    if (s->reads_stage)
        return qn_shard_stage_key(s, row);
    return m->key != NULL ? (struct qn_str){m->key, (uint32_t)m->key_len}
                          : (struct qn_str){NULL, 0};
}

struct qn_str qn_shard_headers(struct qn_shard *s, uint32_t row)
{
    qn_buf_clear(&s->headers);
    if (s->events != NULL) {
        const struct qn_str made = qn_shard_event_headers(s, row);

        qn_buf_add(&s->headers, made.p, made.len);
    } else {
        qn_kafka_headers_read(s->pending[s->done + row], &s->headers);
    }
    return (struct qn_str){s->headers.data, (uint32_t)s->headers.len};
}

/* Where nobody keeps repeats from readers, they are told by what made them: the position of the
 * event. */
static struct qn_str headers_with_id(struct qn_shard *s, const struct qn_batch *b, uint32_t row)
{
    struct qn_str headers = qn_shard_headers(s, row);

    if (!s->plan->kafka.is_at_least_once)
        return headers;
    qn_buf_clear(&s->scratch);
    qn_buf_printf(&s->scratch, "%.*s:%.*s:%u:%lld", QN_STR_ARG(s->plan->name),
                  QN_STR_ARG(s->plan->schemas[b->stream[row]].name), b->partition[row],
                  (long long)b->offset[row]);
    qn_log_header_add(&s->headers, qn_str_of("quern-id"),
                      (struct qn_str){s->scratch.data, (uint32_t)s->scratch.len});
    return (struct qn_str){s->headers.data, (uint32_t)s->headers.len};
}

/* Records of one output, in the order of the rows: into the hash and, live, to be written. */
static void take_output(struct qn_shard *s, const struct qn_batch *b, uint32_t output)
{
    for (uint32_t w = 0; w < s->batch.workers; w++) {
        const struct qn_record_slice *slice = qn_records_slice(&s->batch, output, w);
        size_t begin = 0;

        for (uint32_t i = 0; i < slice->count; i++) {
            const struct qn_record_mark *m = &slice->marks[i];
            const struct qn_str value = {slice->bytes.data + begin,
                                         (uint32_t)(m->end - begin - 1)}; /* without its line end */

            begin = m->end;
            s->chains[output] = qn_commit_hash(s->chains[output], value.p, value.len);
            if (s->is_replaying)
                continue;
            s->made[output]++;
            qn_kafka_record_add(&s->records, output, b->partition[m->row], qn_shard_key(s, m->row),
                                headers_with_id(s, b, m->row), value);
        }
    }
}

static qn_status take_dead(struct qn_shard *s, const struct qn_batch *b, uint32_t row,
                           struct qn_err *err)
{
    const uint32_t output = s->output_count;
    const rd_kafka_message_t *m = s->pending[s->done + row];

    s->chains[output] = qn_dead_hash(b, row, s->chains[output]);
    if (s->is_replaying)
        return QN_OK;
    s->made[output]++;
    QN_TRY(
        qn_dead_headers(s->plan, b, row, headers_with_id(s, b, row), &s->scratch, &s->dead, err));
    qn_kafka_record_add(&s->records, output, b->partition[row], qn_shard_key(s, row),
                        (struct qn_str){s->dead.data, (uint32_t)s->dead.len},
                        s->reads_stage ? b->raw[row]
                                       : (struct qn_str){m->payload, (uint32_t)m->len});
    return QN_OK;
}

static qn_status shard_commit(void *st, const struct qn_engine *en, const struct qn_step_result *r,
                              struct qn_err *err)
{
    struct qn_shard *s = st;
    const struct qn_batch *b = r->batch;

    QN_TRY(qn_records_check(&s->batch, err));
    QN_ASSERT(s->taken - s->done == b->rows);
    if (s->sends)
        QN_TRY(qn_shard_stage_send(s, b, err));
    for (uint32_t o = 0; !s->sends && o < s->output_count; o++)
        take_output(s, b, o);
    for (uint32_t row = 0; row < b->rows; row++)
        if (qn_contract_sets_aside(b, row, s->plan->schemas))
            QN_TRY(take_dead(s, b, row, err));
    qn_records_clear(&s->batch);
    if (s->records.failed || s->headers.failed)
        return qn_err_set(err, QN_NOMEM, "out of memory for the records of a transaction");
    if (s->merge != NULL)
        return qn_shard_merge_stepped(s, err);
    s->next = s->pending[s->taken - 1]->offset + 1;
    return QN_OK;
}

/* ---- life ------------------------------------------------------------------------------------*/

static qn_status load_plan(struct qn_shard *s, struct qn_err *err)
{
    struct qn_diags diags = {.arena = &s->arena};

    QN_TRY(qn_plan_load(s->opt.plan->file, s->opt.load, &s->arena, &diags, &s->plan, err));
    if (s->plan->version != s->opt.plan->version ||
        qn_commits_maker(s->plan) != qn_commits_maker(s->opt.plan))
        return qn_err_set(
            err, QN_INVALID,
            "'%s' or a model's file was changed since this process began: SIGHUP or a "
            "restart takes the new one up",
            s->opt.plan->file);
    QN_ASSERT(s->opt.stage < s->plan->kafka.stage_count);
    s->def = &s->plan->kafka.stages[s->opt.stage];
    s->reads_stage = s->opt.stage > 0;
    s->sends = s->opt.stage + 1 < s->plan->kafka.stage_count;
    s->output_count = s->sends ? 1 : s->plan->output_count;
    for (uint32_t i = 0; i < s->plan->schema_count; i++)
        s->reads_headers |= s->plan->schemas[i].envelope == QN_ENVELOPE_CLOUDEVENTS;
    return s->plan->kafka.stage_count > 1 ? qn_shard_stage_new(s, err) : QN_OK;
}

static qn_status make_engine(struct qn_shard *s, struct qn_err *err)
{
    const struct qn_record_options records = {.kind = QN_RECORDS_PREDICTIONS,
                                              .workers = s->opt.threads};
    struct qn_engine_options engine = {.threads = s->opt.threads,
                                       .without_models = s->sends,
                                       .is_judged = s->reads_stage,
                                       .rows_max = ROWS_PER_THREAD * s->opt.threads};
    const struct qn_input in = {
        .read = shard_read, .release = shard_release, .csv = shard_csv, .st = s};
    const struct qn_output out = {.encode = shard_encode, .commit = shard_commit, .st = s};

    if (engine.rows_max > QN_BATCH_ROWS_MAX)
        engine.rows_max = QN_BATCH_ROWS_MAX;
    s->opt.random->fill(s->opt.random->st, &engine.seed, sizeof engine.seed);
    s->chains = QN_NEW_N(&s->arena, uint64_t, s->output_count + 1);
    s->made = QN_NEW_N(&s->arena, uint64_t, s->output_count + 1);
    s->raw = qn_arena_alloc(&s->arena, BATCH_BYTES + 1 + QN_DECODE_PAD);
    if (s->chains == NULL || s->made == NULL || s->raw == NULL)
        return qn_err_set(err, QN_NOMEM, "out of memory for a shard");
    QN_TRY(qn_record_encoder_new(s->plan, &records, &s->encoder, err));
    QN_TRY(qn_records_init(&s->batch, s->encoder, err));
    QN_TRY(qn_engine_new(s->plan, &engine, &in, &out, &s->en, err));
    qn_engine_time(s->en, s->opt.clock);
    return QN_OK;
}

static qn_status shard_new(const struct qn_shard_options *opt, uint32_t partition, bool is_copy,
                           struct qn_shard **out, struct qn_err *err)
{
    struct qn_shard *s = qn_mem_zalloc(1, sizeof *s);
    qn_status rc;

    *out = NULL;
    if (s == NULL)
        return qn_err_set(err, QN_NOMEM, "out of memory for a shard");
    qn_arena_init(&s->arena, 0);
    s->partition = partition;
    s->is_copy = is_copy;
    s->opt = *opt;
    rc = load_plan(s, err);
    if (rc == QN_OK)
        rc = make_engine(s, err);
    if (rc == QN_OK)
        rc = qn_shard_events_new(s, err);
    if (rc == QN_OK)
        rc = qn_shard_merge_new(s, err);
    if (rc == QN_OK)
        rc = qn_shard_snapshots_open(s, err);
    if (rc != QN_OK) {
        qn_shard_free(s);
        return rc;
    }
    s->mark.maker = qn_commits_maker(s->plan);
    s->mark.writer = s->opt.writer;
    *out = s;
    return QN_OK;
}

qn_status qn_shard_new(const struct qn_shard_options *opt, uint32_t partition, int32_t generation,
                       struct qn_shard **out, struct qn_err *err)
{
    QN_TRY(shard_new(opt, partition, false, out, err));
    (*out)->generation = generation;
    return QN_OK;
}

qn_status qn_shard_new_copy(const struct qn_shard_options *opt, uint32_t partition,
                            struct qn_shard **out, struct qn_err *err)
{
    return shard_new(opt, partition, true, out, err);
}

void qn_shard_free(struct qn_shard *s)
{
    if (s == NULL)
        return;
    qn_shard_drop_pending(s);
    qn_shard_merge_free(s);
    qn_shard_snapshots_free(s);
    qn_shard_stage_free(s);
    qn_shard_events_free(s);
    qn_engine_free(s->en);
    qn_records_fini(&s->batch);
    qn_record_encoder_free(s->encoder);
    qn_plan_free(s->plan);
    qn_buf_fini(&s->records);
    qn_buf_fini(&s->headers);
    qn_buf_fini(&s->given);
    qn_buf_fini(&s->dead);
    qn_buf_fini(&s->scratch);
    qn_mem_free(s->pending);
    qn_arena_fini(&s->arena);
    qn_mem_free(s);
}

/* Without a snapshot the state is that of before only if the topic reaches back to where it was
 * empty. */
static qn_status check_gap(const struct qn_shard *s, int64_t oldest, struct qn_err *err)
{
    if (s->next >= oldest && s->live_from >= oldest)
        return QN_OK;
    return qn_err_set(err, QN_NOT_FOUND,
                      "partition %u of '%s' begins at record %lld, and its state needs those from "
                      "%lld on: no snapshot in '%s' fits, and the topic no longer holds them "
                      "(retention must be longer than a snapshot is old)",
                      s->partition, s->def->topic, (long long)oldest, (long long)s->next,
                      s->plan->kafka.snapshots);
}

/* Brokers forget the positions of a group without members after a while: to begin anew then would
 * answer again what was answered. */
static qn_status check_past(struct qn_shard *s, struct qn_err *err)
{
    int64_t next;

    QN_TRY(qn_shard_snapshots_past(s, &next, err));
    if (next < 0)
        return QN_OK;
    return qn_err_set(
        err, QN_NOT_FOUND,
        "the group '%s' has no position in partition %u of '%s', and a snapshot in '%s' says that "
        "it had come to record %lld: brokers forget the positions of a group without members "
        "(offsets.retention.minutes). To begin anew, and answer again what the topic still holds, "
        "use another group, or remove the group's snapshots",
        s->def->group, s->partition, s->def->topic, s->plan->kafka.snapshots, (long long)next);
}

qn_status qn_shard_restore(struct qn_shard *s, int64_t committed, struct qn_str mark,
                           int64_t oldest, struct qn_err *err)
{
    bool found;

    QN_TRY(qn_shard_snapshots_begin(s, err));
    if (committed < 0) { /* nobody was here */
        QN_TRY(check_past(s, err));
        s->next = s->committed = s->live_from = s->mark.first = s->pushed = oldest;
        begin_chain(s, oldest);
        s->is_new = oldest > 0; /* a scaler would take all that was removed for lag */
        if (s->merge != NULL) {
            qn_shard_merge_begin(s);
            s->is_new = true;
        }
        return QN_OK;
    }
    if (!qn_shard_mark_read(mark, &s->expected))
        return qn_err_set(
            err, QN_CORRUPT,
            "the group '%s' has a position in partition %u of '%s' that Quern did not "
            "write (%lld, '%.*s'): where its state began is not known; use another group, "
            "or delete the positions of this one",
            s->def->group, s->partition, s->def->topic, (long long)committed,
            QN_STR_ARG(qn_utf8_cut(mark, MARK_SHOWN)));
    QN_TRY(qn_shard_merge_check(s, err));
    s->committed = s->live_from = committed;
    s->mark.first = s->expected.first;
    s->mark.since = s->expected.since;
    qn_shard_mark_take_unknown(&s->mark, &s->expected);
    qn_shard_mark_take_streams(&s->mark, &s->expected);
    s->next = s->mark.first;
    QN_TRY(qn_shard_snapshots_restore(s, oldest, &found, err));
    if (!found)
        s->next = s->mark.first;
    if (s->merge == NULL)
        QN_TRY(check_gap(s, oldest, err));
    else if (!found)
        QN_TRY(qn_shard_merge_stand(s, s->mark.from, s->mark.journal, err));
    s->pushed = s->next;
    s->is_replaying = s->next < s->live_from;
    return s->is_replaying ? QN_OK : go_live(s, err);
}

/* ---- stepping --------------------------------------------------------------------------------*/

qn_status qn_shard_step(struct qn_shard *s, struct qn_err *err)
{
    enum qn_flow flow;

    QN_TRY(qn_step(s->en, &flow, err));
    if (s->taken == s->count && s->end > s->next)
        return qn_shard_reach(s, s->end, err);
    if (s->is_replaying && s->next >= s->live_from)
        return go_live(s, err);
    return QN_OK;
}

/* The hash goes on where the owner began it, which is never behind a state that follows it. */
static bool take_since(struct qn_shard *s, const struct qn_shard_mark *m)
{
    if (m->maker != s->mark.maker || m->since == s->mark.since)
        return true; /* of another program there is nothing to compare */
    if (s->next > m->since)
        return false;
    s->mark.since = m->since;
    s->has_chain = false;
    if (s->next == m->since)
        begin_chain(s, m->since);
    return true;
}

qn_status qn_shard_follow(struct qn_shard *s, int64_t committed, struct qn_str mark, bool *fits,
                          struct qn_err *err)
{
    struct qn_shard_mark m;

    *fits = qn_shard_mark_read(mark, &m) && m.first == s->mark.first && committed >= s->next &&
            take_since(s, &m);
    if (!*fits)
        return QN_OK;
    s->expected = m;
    qn_shard_mark_take_unknown(&s->mark, &m);
    s->committed = s->live_from = committed;
    s->is_replaying = s->next < s->live_from;
    return s->is_replaying ? QN_OK : go_live(s, err);
}

qn_status qn_shard_follow_step(struct qn_shard *s, bool *is_stepped, struct qn_err *err)
{
    *is_stepped = s->is_replaying && qn_shard_is_busy(s);
    if (!*is_stepped)
        return QN_OK;
    if (qn_shard_seq(s, s->taken) < s->live_from) {
        QN_TRY(qn_shard_step(s, err));
        *is_stepped = !qn_shard_is_waiting(s);
        return QN_OK;
    }
    s->next = s->live_from; /* markers alone lie between */
    return go_live(s, err);
}

qn_status qn_shard_reach(struct qn_shard *s, int64_t offset, struct qn_err *err)
{
    if (offset <= s->next)
        return QN_OK;
    if (s->taken < s->count) {
        s->end = offset;
        return QN_OK;
    }
    s->next = offset;
    s->pushed = offset > s->pushed ? offset : s->pushed;
    if (s->is_replaying && s->next >= s->live_from)
        return go_live(s, err);
    return QN_OK;
}

void qn_shard_park(struct qn_shard *s)
{
    qn_shard_drop_pending(s);
    qn_shard_snapshots_park(s);
}

qn_status qn_shard_unpark(struct qn_shard *s, int32_t generation, struct qn_err *err)
{
    s->generation = generation;
    s->is_copy = false;
    return qn_shard_snapshots_unpark(s, err);
}

void qn_shard_mark_now(const struct qn_shard *s, char out[QN_SHARD_MARK_BYTES])
{
    struct qn_shard_mark m = s->mark;

    m.hash = hash_of(s);
    qn_shard_mark_print(&m, out);
}

void qn_shard_committed(struct qn_shard *s)
{
    s->committed = s->next;
    s->is_new = false;
    if (s->merge != NULL)
        qn_shard_merge_committed(s);
}

void qn_shard_written(struct qn_shard *s)
{
    memset(s->made, 0, (s->output_count + 1) * sizeof *s->made);
    qn_buf_clear(&s->records);
}

#endif
