/* SPDX-License-Identifier: Apache-2.0
 * shard_stage.c - between the stages of a pipeline on Kafka: events in with what is known of them,
 * and on to the next key. See shard_stage.h.
 *
 * State, one entry in every snapshot, little-endian: 4 senders there are (0: nobody has said), 4
 * senders that follow, 8 floor, 8 who they are; per sender 8 first offset not seen, 8 newest event
 * time, 8 flags: 1 heard of, 2 has a newest time, 4 idle. What is sent is a function of the batch,
 * but for what is told of time: that goes by the clock, so no hash of answers has it. Thread: the
 * engine's. */
#include "engine/shard_stage.h"

#ifdef QN_WITH_KAFKA

#include "base/check.h"
#include "base/hash.h"
#include "base/memory.h"
#include "engine/commit_record.h"
#include "engine/rekey_record.h"
#include "event/encode.h"
#include "log/kafka_transact.h"

enum { STATE_VERSION = 1, STATE_HEAD = 24, STATE_SENDER = 24, NEXT_TOPIC = 0 };
#define TELL_NS      INT64_C(1000000000)
#define TELL_EACH_NS INT64_C(50000000)

/* A shard of the stage before. */
struct sender {
    int64_t next;      /* first offset not seen */
    int64_t newest_us; /* as of its last record */
    bool is_heard, has_newest, is_idle;
};

/* A window whose value travels. */
struct travelling {
    struct qn_col *col; /* from the engine's start on */
    uint32_t group, window, id;
};

struct qn_shard_stage {
    struct qn_shard *shard;
    /* reading */
    struct qn_rekey now; /* looked at last */
    struct sender *senders;
    uint32_t sender_count, sender_cap;
    uint32_t heard;        /* of them        */
    uint32_t senders_told; /* how many there are; 0 = nobody has said */
    uint64_t source;       /* whose shards they are */
    int64_t floor_us;      /* INT64_MIN: not known */
    bool is_restored;
    struct travelling *given;
    uint32_t given_count;
    char *given_ids;     /* [given_count] as they stand in a record of the same spec */
    struct qn_str *keys; /* [rows] original keys */
    uint32_t keys_cap;
    /* sending */
    const struct qn_plan_stage *next; /* NULL: the last stage */
    uint64_t own;                     /* `source` of what is sent */
    struct travelling *sent;
    uint32_t sent_count;
    uint32_t *sent_ids;
    struct qn_watermark newest; /* before the batch, then behind each row */
    struct qn_buf record, key;
    bool has_told, told_idle;
    struct qn_watermark told;
    int64_t told_ns;
};

/* ---- life ------------------------------------------------------------------------------------*/

/* Windows of the stages [0, end), in the order of the plan. */
static qn_status list_windows(struct qn_shard *s, uint32_t end, struct travelling **list,
                              uint32_t *count, struct qn_err *err)
{
    const struct qn_features *f = s->plan->features;
    const uint32_t groups = qn_features_group_count(f);
    uint32_t all = 0, *ids;

    for (uint32_t g = 0; g < groups; g++)
        all += qn_features_window_count(f, g);
    ids = QN_NEW_N(&s->arena, uint32_t, all + 1);
    *list = QN_NEW_N(&s->arena, struct travelling, all + 1);
    if (ids == NULL || *list == NULL)
        return qn_err_set(err, QN_NOMEM, "out of memory for the windows of a stage");
    QN_TRY(qn_features_window_ids(f, ids, err));
    *count = 0;
    for (uint32_t g = 0; g < groups; g++)
        for (uint32_t w = 0; w < qn_features_window_count(f, g); w++, ids++)
            if (s->plan->kafka.group_stages[g] < end)
                (*list)[(*count)++] = (struct travelling){.group = g, .window = w, .id = *ids};
    if (*count > QN_REKEY_WINDOWS_MAX)
        return qn_err_set(err, QN_LIMIT, "%u windows before the last stage; at most %d can be sent",
                          *count, QN_REKEY_WINDOWS_MAX);
    return QN_OK;
}

static qn_status list_all(struct qn_shard *s, struct qn_err *err)
{
    struct qn_shard_stage *t = s->stage;

    QN_TRY(list_windows(s, s->opt.stage, &t->given, &t->given_count, err));
    QN_TRY(list_windows(s, s->opt.stage + 1, &t->sent, &t->sent_count, err));
    t->given_ids = qn_arena_alloc(&s->arena, (size_t)t->given_count * 4 + 1);
    t->sent_ids = QN_NEW_N(&s->arena, uint32_t, t->sent_count + 1);
    if (t->given_ids == NULL || t->sent_ids == NULL)
        return qn_err_set(err, QN_NOMEM, "out of memory for the windows of a stage");
    for (uint32_t i = 0; i < t->given_count; i++) {
        const uint32_t le = htole32(t->given[i].id);

        memcpy(t->given_ids + (size_t)i * 4, &le, sizeof le);
    }
    for (uint32_t i = 0; i < t->sent_count; i++)
        t->sent_ids[i] = t->sent[i].id;
    return QN_OK;
}

qn_status qn_shard_stage_new(struct qn_shard *s, struct qn_err *err)
{
    const struct qn_plan_kafka *k = &s->plan->kafka;
    struct qn_shard_stage *t = QN_NEW(&s->arena, struct qn_shard_stage);

    if (t == NULL)
        return qn_err_set(err, QN_NOMEM, "out of memory for a stage");
    s->stage = t;
    t->shard = s;
    t->floor_us = INT64_MIN;
    t->own = qn_hash(s->def->group, strlen(s->def->group), s->opt.log_id);
    if (s->opt.stage + 1 < k->stage_count)
        t->next = &k->stages[s->opt.stage + 1];
    for (uint32_t g = 0; g < qn_features_group_count(s->plan->features); g++)
        qn_features_place(s->plan->features, g,
                          k->group_stages[g] < s->opt.stage    ? QN_GROUP_GIVEN
                          : k->group_stages[g] == s->opt.stage ? QN_GROUP_HERE
                                                               : QN_GROUP_BEHIND,
                          s->opt.stage > 0);
    return list_all(s, err);
}

void qn_shard_stage_free(struct qn_shard *s)
{
    struct qn_shard_stage *t = s->stage;

    if (t == NULL)
        return;
    qn_mem_free(t->senders);
    qn_mem_free(t->keys);
    qn_buf_fini(&t->record);
    qn_buf_fini(&t->key);
    s->stage = NULL;
}

/* ---- the floor -------------------------------------------------------------------------------*/

/* Shards of another stage or group send now: what is known of those before says nothing of them. */
static void forget_others(struct qn_shard_stage *t)
{
    if (t->now.source == t->source)
        return;
    t->source = t->now.source;
    t->sender_count = t->heard = t->senders_told = 0;
}

/* Room for that sender; false: out of memory. */
static bool know(struct qn_shard_stage *t, uint32_t sender)
{
    uint32_t cap = t->sender_cap > 0 ? t->sender_cap : 16;
    struct sender *more;

    if (sender < t->sender_count)
        return true;
    while (cap <= sender)
        cap *= 2;
    more = cap == t->sender_cap ? t->senders : qn_mem_realloc(t->senders, cap * sizeof *more);
    if (more == NULL)
        return false;
    t->senders = more;
    t->sender_cap = cap;
    memset(more + t->sender_count, 0, (sender + 1 - t->sender_count) * sizeof *more);
    t->sender_count = sender + 1;
    return true;
}

/* The oldest of those that are not idle; where all are, the floor stays. */
static void find_floor(struct qn_shard_stage *t)
{
    int64_t oldest_us = INT64_MAX;

    if (t->senders_told == 0 || t->heard < t->senders_told)
        return;
    for (uint32_t i = 0; i < t->sender_count; i++) {
        const struct sender *u = &t->senders[i];

        if (!u->is_heard || u->is_idle)
            continue;
        if (!u->has_newest)
            return;
        if (u->newest_us < oldest_us)
            oldest_us = u->newest_us;
    }
    if (oldest_us != INT64_MAX && oldest_us > t->floor_us)
        t->floor_us = oldest_us;
}

/* A sender says where it stands. */
static void hear(struct qn_shard_stage *t, bool is_idle)
{
    struct sender *u = &t->senders[t->now.sender];
    /* Who was in front moves no floor. */
    const bool may_move = !u->is_heard || u->is_idle != is_idle || !u->has_newest ||
                          u->newest_us <= t->floor_us || t->floor_us == INT64_MIN;

    t->heard += !u->is_heard;
    u->is_heard = true;
    u->is_idle = is_idle;
    if (t->now.has_newest && (!u->has_newest || t->now.newest_us > u->newest_us))
        u->newest_us = t->now.newest_us;
    u->has_newest |= t->now.has_newest;
    if (may_move)
        find_floor(t);
}

/* ---- reading ---------------------------------------------------------------------------------*/

qn_status qn_shard_stage_look(struct qn_shard *s, const rd_kafka_message_t *m, bool *is_row,
                              struct qn_err *err)
{
    struct qn_shard_stage *t = s->stage;
    struct qn_err why = {0};

    if (m->len > UINT32_MAX ||
        qn_rekey_read((struct qn_str){m->payload, (uint32_t)m->len}, &t->now, &why) != QN_OK)
        return qn_err_set(err, QN_CORRUPT, "record %lld of partition %u of '%s': %s",
                          (long long)m->offset, s->partition, s->def->topic, why.text);
    forget_others(t);
    if (!know(t, t->now.sender))
        return qn_err_set(err, QN_NOMEM, "out of memory for the senders of a stage");
    *is_row =
        t->now.kind == QN_REKEY_EVENT && t->now.sender_offset >= t->senders[t->now.sender].next;
    return QN_OK;
}

struct qn_str qn_shard_stage_event(const struct qn_shard *s)
{
    return s->stage->now.event;
}

void qn_shard_stage_skip(struct qn_shard *s)
{
    struct qn_shard_stage *t = s->stage;

    if (t->now.kind != QN_REKEY_WATERMARK)
        return; /* seen before */
    if (t->now.senders > t->senders_told)
        t->senders_told = t->now.senders;
    hear(t, t->now.is_idle);
    find_floor(t);
}

/* The values of its windows into the columns where the features look for them. */
static void give_windows(struct qn_shard_stage *t, uint32_t row)
{
    const struct qn_rekey *r = &t->now;
    const bool is_same =
        r->window_count == t->given_count &&
        (r->window_count == 0 || memcmp(r->ids.p, t->given_ids, (size_t)t->given_count * 4) == 0);

    for (uint32_t i = 0; i < t->given_count; i++) {
        struct travelling *w = &t->given[i];
        uint32_t at = i;
        int64_t value = 0;

        if (w->col == NULL)
            w->col = qn_features_window_col(t->shard->plan->features, w->group, w->window);
        for (at = is_same ? i : 0; !is_same && at < r->window_count; at++)
            if (qn_rekey_id(r, at) == w->id)
                break;
        w->col->valid[row] = at < r->window_count && qn_rekey_get(r, at, &value);
        w->col->i64[row] = value; /* a double goes by its bits */
    }
}

static bool keep_key(struct qn_shard_stage *t, uint32_t row, struct qn_str key)
{
    if (row >= t->keys_cap) {
        const uint32_t cap = t->keys_cap > 0 ? 2 * t->keys_cap : 1024;
        struct qn_str *more = qn_mem_realloc(t->keys, cap * sizeof *more);

        QN_ASSERT(row < cap); /* rows come one after another */
        if (more == NULL)
            return false;
        t->keys = more;
        t->keys_cap = cap;
    }
    t->keys[row] = key;
    return true;
}

qn_status qn_shard_stage_give(struct qn_shard *s, struct qn_batch *b, uint32_t r,
                              struct qn_err *err)
{
    struct qn_shard_stage *t = s->stage;

    if (!keep_key(t, r, t->now.key))
        return qn_err_set(err, QN_NOMEM, "out of memory for the keys of a batch");
    t->senders[t->now.sender].next = t->now.sender_offset + 1;
    hear(t, false);
    b->stream[r] = (uint8_t)s->plan->main_stream;
    b->partition[r] = (uint16_t)t->now.partition;
    b->offset[r] = t->now.offset;
    b->arrival_us[r] = t->now.arrival_us;
    b->verdict[r] = t->now.verdict;
    b->reason[r] = t->now.verdict == QN_LATE ? QN_REASON_LATE_EVENT : QN_REASON_NONE;
    b->is_late[r] = t->now.is_late;
    b->floor_us[r] = t->floor_us;
    give_windows(t, r);
    return QN_OK;
}

struct qn_str qn_shard_stage_key(const struct qn_shard *s, uint32_t row)
{
    return s->stage->keys[row];
}

/* ---- the state -------------------------------------------------------------------------------*/

static void senders_begin(void *st, struct qn_saver *sv, bool is_full)
{
    const struct qn_shard_stage *t = st;
    char *to = qn_saver_entry(sv, 0, STATE_HEAD + t->sender_count * STATE_SENDER);

    (void)is_full;
    if (to == NULL)
        return;
    qn_little_put64(to, (uint64_t)t->sender_count << 32 | t->senders_told);
    qn_little_put64(to + 8, (uint64_t)t->floor_us);
    qn_little_put64(to + 16, t->source);
    to += STATE_HEAD;
    for (uint32_t i = 0; i < t->sender_count; i++, to += STATE_SENDER) {
        const struct sender *u = &t->senders[i];

        qn_little_put64(to, (uint64_t)u->next);
        qn_little_put64(to + 8, (uint64_t)u->newest_us);
        qn_little_put64(to + 16, (uint64_t)u->is_heard | (uint64_t)u->has_newest << 1 |
                                     (uint64_t)u->is_idle << 2);
    }
}

static qn_status senders_load(void *st, const char *entry, uint32_t bytes, struct qn_err *err)
{
    struct qn_shard_stage *t = st;
    uint64_t counts;

    if (t->is_restored) /* of an older snapshot of the chain */
        return QN_OK;
    if (bytes < STATE_HEAD)
        return qn_err_set(err, QN_CORRUPT, "the entry of the senders is cut short");
    counts = qn_little_get64(entry);
    if (counts >> 32 > UINT16_MAX || (uint32_t)counts > UINT16_MAX ||
        bytes != STATE_HEAD + (uint32_t)(counts >> 32) * STATE_SENDER)
        return qn_err_set(err, QN_CORRUPT, "the entry of the senders has not their size");
    if (counts >> 32 > 0 && !know(t, (uint32_t)(counts >> 32) - 1))
        return qn_err_set(err, QN_NOMEM, "out of memory for the senders of a stage");
    t->senders_told = (uint32_t)counts;
    t->floor_us = (int64_t)qn_little_get64(entry + 8);
    t->source = qn_little_get64(entry + 16);
    entry += STATE_HEAD;
    for (uint32_t i = 0; i < counts >> 32; i++, entry += STATE_SENDER) {
        const uint64_t flags = qn_little_get64(entry + 16);

        t->senders[i] = (struct sender){.next = (int64_t)qn_little_get64(entry),
                                        .newest_us = (int64_t)qn_little_get64(entry + 8),
                                        .is_heard = (flags & 1) != 0,
                                        .has_newest = (flags & 2) != 0,
                                        .is_idle = (flags & 4) != 0};
        t->heard += t->senders[i].is_heard;
    }
    t->is_restored = true;
    return QN_OK;
}

static qn_status senders_loaded(void *st, struct qn_err *err)
{
    const struct qn_shard_stage *t = st;

    return t->is_restored ? QN_OK
                          : qn_err_set(err, QN_CORRUPT, "the entry of the senders is missing");
}

static qn_status senders_clear(void *st, struct qn_err *err)
{
    struct qn_shard_stage *t = st;

    (void)err;
    t->is_restored = false;
    t->sender_count = t->heard = t->senders_told = 0;
    t->source = 0;
    t->floor_us = INT64_MIN;
    return QN_OK;
}

struct qn_section qn_shard_stage_section(struct qn_shard *s)
{
    static const struct qn_section_ops ops = {.begin = senders_begin,
                                              .load = senders_load,
                                              .loaded = senders_loaded,
                                              .clear = senders_clear};

    return (struct qn_section){
        .ops = &ops, .st = s->stage, .name = "senders", .layout = STATE_VERSION};
}

/* ---- sending ---------------------------------------------------------------------------------*/

/* The next key as it stands in Kafka: one text as it is, anything else as JSON, several as a list.
 * False: a part of it is null, and no window sees the event. */
static bool print_key(const struct qn_shard *s, const struct qn_batch *b, uint32_t row,
                      struct qn_buf *out)
{
    const struct qn_plan_stage *n = s->stage->next;
    const uint32_t first = s->plan->schemas[s->plan->main_stream].first_column;
    const struct qn_col *c = &b->cols[first + n->key[0]];

    qn_buf_clear(out);
    if (n->key_count == 1 && c->valid[row] && c->kind.type == QN_STRING) {
        qn_buf_add(out, c->str[row].p, c->str[row].len);
        return true;
    }
    for (uint32_t i = 0; i < n->key_count; i++) {
        c = &b->cols[first + n->key[i]];
        if (!c->valid[row])
            return false;
        if (n->key_count > 1)
            qn_buf_byte(out, i == 0 ? '[' : ',');
        qn_encode_json_value(out, c, row);
    }
    if (n->key_count > 1)
        qn_buf_byte(out, ']');
    return true;
}

static void build(struct qn_shard *s, const struct qn_batch *b, uint32_t row)
{
    struct qn_shard_stage *t = s->stage;
    const rd_kafka_message_t *m = s->pending[s->done + row];
    const bool has_answers = b->verdict[row] == QN_SCORED;
    const struct qn_rekey r = {.kind = QN_REKEY_EVENT,
                               .source = t->own,
                               .sender = s->partition,
                               .sender_offset = m->offset,
                               .has_newest = t->newest.seen,
                               .newest_us = t->newest.newest_us,
                               .partition = b->partition[row],
                               .offset = b->offset[row],
                               .arrival_us = b->arrival_us[row],
                               .verdict = b->verdict[row],
                               .is_late = b->is_late[row] != 0,
                               .window_count = has_answers ? t->sent_count : 0,
                               .key = qn_shard_key(s, row),
                               .event = b->raw[row]};

    qn_buf_clear(&t->record);
    qn_rekey_begin(&t->record, &r, t->sent_ids);
    for (uint32_t i = 0; i < r.window_count; i++) {
        struct travelling *w = &t->sent[i];

        if (w->col == NULL)
            w->col = qn_features_window_col(s->plan->features, w->group, w->window);
        qn_rekey_value(&t->record, &r, i, w->col->valid[row] != 0, w->col->i64[row]);
    }
    qn_rekey_end(&t->record, &r);
}

/* How far time has come with a row. */
static void move_on(struct qn_shard_stage *t, const struct qn_batch *b, uint32_t row)
{
    if (b->is_judged) {
        if (b->floor_us[row] != INT64_MIN)
            t->newest = (struct qn_watermark){true, b->floor_us[row]};
    } else if (qn_contract_moves(b, row) &&
               (!t->newest.seen || b->time_us[row] > t->newest.newest_us)) {
        t->newest = (struct qn_watermark){true, b->time_us[row]};
    }
}

qn_status qn_shard_stage_send(struct qn_shard *s, const struct qn_batch *b, struct qn_err *err)
{
    struct qn_shard_stage *t = s->stage;
    const bool folds = s->plan->schemas[s->plan->main_stream].late == QN_LATE_FOLD;

    t->newest = s->before;
    for (uint32_t row = 0; row < b->rows; row++) {
        struct qn_str value, key = {NULL, 0};

        move_on(t, b, row);
        if (b->verdict[row] != QN_SCORED && !(folds && b->verdict[row] == QN_LATE))
            continue;
        build(s, b, row);
        value = (struct qn_str){t->record.data, (uint32_t)t->record.len};
        if (t->record.failed)
            return qn_err_set(err, QN_NOMEM, "out of memory for a record of a stage");
        s->chains[NEXT_TOPIC] = qn_commit_hash(s->chains[NEXT_TOPIC], value.p, value.len);
        if (s->is_replaying)
            continue;
        if (print_key(s, b, row, &t->key))
            key = (struct qn_str){t->key.data != NULL ? t->key.data : "", (uint32_t)t->key.len};
        if (t->key.failed)
            return qn_err_set(err, QN_NOMEM, "out of memory for a key");
        s->made[NEXT_TOPIC]++;
        qn_kafka_record_add(&s->records, NEXT_TOPIC, s->partition, key, qn_shard_headers(s, row),
                            value);
    }
    return QN_OK;
}

/* To every partition, since any of them may have waited for us alone. */
static void tell(struct qn_shard *s, struct qn_watermark w, bool is_idle)
{
    struct qn_shard_stage *t = s->stage;
    const struct qn_rekey r = {.kind = QN_REKEY_WATERMARK,
                               .source = t->own,
                               .sender = s->partition,
                               .sender_offset = s->next,
                               .has_newest = w.seen,
                               .newest_us = w.newest_us,
                               .senders = s->opt.shards,
                               .is_idle = is_idle};

    qn_buf_clear(&t->record);
    qn_rekey_begin(&t->record, &r, NULL);
    qn_rekey_end(&t->record, &r);
    for (uint32_t p = 0; p < s->opt.next_partitions && !t->record.failed; p++)
        qn_kafka_record_add(&s->records, NEXT_TOPIC, p, (struct qn_str){NULL, 0},
                            (struct qn_str){NULL, 0},
                            (struct qn_str){t->record.data, (uint32_t)t->record.len});
    s->records.failed |= t->record.failed;
}

void qn_shard_stage_tell(struct qn_shard *s, int64_t now_ns, bool is_idle)
{
    struct qn_shard_stage *t = s->stage;
    const struct qn_watermark w = qn_engine_watermark(s->en);
    const int64_t pace_ns = TELL_NS + s->opt.next_partitions * TELL_EACH_NS;
    const bool is_news = w.seen != t->told.seen || (w.seen && w.newest_us > t->told.newest_us);

    if (s->is_replaying || t->next == NULL)
        return;
    if (t->has_told && is_idle == t->told_idle && !(is_news && now_ns - t->told_ns >= pace_ns))
        return;
    tell(s, w, is_idle);
    t->has_told = true;
    t->told_idle = is_idle;
    t->told = w;
    t->told_ns = now_ns;
}

void qn_shard_stage_tell_again(struct qn_shard *s)
{
    if (s->stage != NULL)
        s->stage->has_told = false;
}

#endif
