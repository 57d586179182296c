/* SPDX-License-Identifier: Apache-2.0
 * service_kafka_look.c - what is told of a pipeline whose log lies in Kafka: metrics, status.
 *
 * The engine's thread copies its numbers about once a second, as in service_status.c, summed over
 * the shards that are here. They go with a shard's state: when a partition moves to another
 * process, so do its counts. Thread: the engine's, but for the status. */
#include "engine/service_kafka_int.h"

#ifdef QN_WITH_KAFKA

#include "base/memory.h"
#include "monitor/report.h"

#include <inttypes.h>
#include <stdio.h>

#define LOOK_NS INT64_C(1000000000)

qn_status qn_kafka_look_init(struct qn_service_kafka *k, struct qn_err *err)
{
    const uint32_t all = k->shard_count * k->input_count;

    k->lag = QN_NEW_N(&k->sv->arena, struct qn_series *, all);
    k->group_lag = QN_NEW_N(&k->sv->arena, struct qn_series *, all);
    k->inputs_seen = QN_NEW_N(&k->sv->arena, struct qn_input_seen, all);
    k->seen = QN_NEW_N(&k->sv->arena, struct qn_shard_seen, k->shard_count);
    k->groups = QN_NEW_N(&k->sv->arena, struct qn_group_info,
                         qn_features_group_count(k->sv->plan->features) + 1);
    return k->lag && k->group_lag && k->inputs_seen && k->seen && k->groups
               ? QN_OK
               : qn_err_set(err, QN_NOMEM, "out of memory for the metrics");
}

/* Of a partition that is or was ours. */
static void set_lag(struct qn_service_kafka *k, uint32_t i, uint32_t input, int64_t lag)
{
    const uint32_t at = i * k->input_count + input;
    char number[12];
    const struct qn_str partition = {number, (uint32_t)snprintf(number, sizeof number, "%u", i)},
                        topic = qn_str_of(k->inputs[input]);
    const struct qn_plan *p = k->sv->plan;

    if (k->lag[at] == NULL) {
        const uint32_t of = k->input_count > 1 ? input : p->main_stream;
        const struct qn_str stream[3] = {p->schemas[of].name, topic, partition};
        const struct qn_str group[3] = {qn_str_of(k->stage->group), topic, partition};

        k->lag[at] = qn_metrics_series(k->sv->opt.metrics, QN_METRIC_LAG, stream);
        k->group_lag[at] = qn_metrics_series(k->sv->opt.metrics, QN_METRIC_GROUP_LAG, group);
    }
    qn_series_set(k->lag[at], (double)lag);
    qn_series_set(k->group_lag[at], (double)lag);
}

/* Where its partition of one input ends, as far as known, and never before what was read. */
static int64_t end_of(struct qn_service_kafka *k, uint32_t i, uint32_t input, int64_t next)
{
    const int64_t known = k->ends[i * k->input_count + input];
    int64_t oldest = 0, end = 0;

    (void)rd_kafka_get_watermark_offsets(k->consumer.rk, k->inputs[input], (int32_t)i, &oldest,
                                         &end);
    end = end > known ? end : known;
    return end > next ? end : next;
}

/* What is told of a shard that stands there: of each of its streams, and in sum. */
static void look_inputs(struct qn_service_kafka *k, uint32_t i, const struct qn_shard *s)
{
    struct qn_shard_seen *seen = &k->seen[i];

    seen->end = 0;
    for (uint32_t n = 0; n < k->input_count; n++) {
        struct qn_input_seen *one = &k->inputs_seen[i * k->input_count + n];
        const struct qn_shard_lane *l = s != NULL && s->merge != NULL ? &s->merge->lanes[n] : NULL;

        one->next = l != NULL            ? l->next
                    : k->input_count > 1 ? qn_kafka_restore_input(k, i, n)
                                         : seen->next;
        one->committed = l != NULL            ? l->committed
                         : k->input_count > 1 ? one->next
                                              : seen->committed;
        one->end = end_of(k, i, n, one->next);
        seen->end += one->end;
        set_lag(k, i, n, one->end - one->committed);
    }
}

/* What an engine of a stage that is not the first one here has: its windows. */
static void add_windows(struct qn_service_kafka *k, const struct qn_engine *en)
{
    const struct qn_features *f = qn_engine_plan(en)->features;

    for (uint32_t g = 0; g < qn_features_group_count(f); g++) {
        const struct qn_group_info info = qn_features_group(f, g);

        k->groups[g].keys += info.keys;
        k->groups[g].bytes += info.bytes;
    }
    k->memory.counted_bytes += qn_engine_memory(en).counted_bytes;
    k->memory.limit_bytes += qn_engine_memory(en).limit_bytes;
}

/* One whose state is on its way: nothing is counted of it yet, but what waits. */
static void look_restoring(struct qn_service_kafka *k, uint32_t i)
{
    struct qn_shard_seen *seen = &k->seen[i];

    seen->is_replaying = seen->is_waiting = false;
    seen->next = seen->committed = qn_kafka_restore_position(k, i);
    look_inputs(k, i, NULL);
}

/* One shard, or the shards of one stage, into the sums. */
static void add_saved(struct qn_shard_saved *all, const struct qn_shard_saved *s)
{
    if (s->taken_us > all->taken_us)
        all->taken_us = s->taken_us;
    if (s->took_ns > all->took_ns)
        all->took_ns = s->took_ns;
    all->count += s->count;
    all->failed += s->failed;
    all->bytes += s->bytes;
}

/* Of the partitions that are here; and since when one waits that has something to save. */
static void look_snapshots(struct qn_service_kafka *k)
{
    k->saved = (struct qn_shard_saved){0};
    k->unsaved_us = INT64_MAX;
    for (uint32_t i = 0; i < k->shard_count; i++) {
        const struct qn_shard *s = k->is_ours[i] ? k->shards[i] : NULL;
        int64_t saved_us;

        if (s == NULL)
            continue;
        saved_us = s->saved.taken_us != 0 ? s->saved.taken_us : s->saved.since_us;
        if (qn_shard_has_unsaved(s) && saved_us < k->unsaved_us)
            k->unsaved_us = saved_us;
        add_saved(&k->saved, &s->saved);
    }
}

/* Of all stages here. The age is that of the partition that was saved least lately. */
static void tell_snapshots(struct qn_service *sv)
{
    struct qn_shard_saved all = {0};
    const int64_t now_us = qn_service_now_us(sv);
    int64_t since_us = now_us;

    for (const struct qn_service_kafka *k = sv->kafka; k != NULL; k = k->next) {
        add_saved(&all, &k->saved);
        if (k->unsaved_us < since_us && k->unsaved_us != 0)
            since_us = k->unsaved_us;
    }
    sv->snapshot_taken_us = all.taken_us > since_us ? since_us : all.taken_us;
    sv->snapshot_count = all.count;
    sv->snapshot_failed = all.failed;
    sv->snapshot_bytes = all.bytes;
    sv->snapshot_ns = all.took_ns;
    qn_series_set(qn_metrics_series(sv->opt.metrics, QN_METRIC_SNAPSHOT_AGE, NULL),
                  (double)(now_us - since_us) / 1e6);
    qn_series_set(qn_metrics_series(sv->opt.metrics, QN_METRIC_SNAPSHOT_BYTES, NULL),
                  (double)all.bytes);
    qn_series_set(qn_metrics_series(sv->opt.metrics, QN_METRIC_SNAPSHOT_FAILED, NULL),
                  (double)all.failed);
}

/* One shard into the sums. */
static void add_shard(struct qn_service_kafka *k, uint32_t i, uint64_t *total)
{
    const struct qn_shard *s = k->shards[i];
    struct qn_shard_seen *seen = &k->seen[i];

    seen->is_ours = k->is_ours[i];
    seen->is_restoring = k->is_ours[i] && s == NULL;
    if (!seen->is_ours)
        return;
    if (seen->is_restoring) {
        look_restoring(k, i);
        return;
    }
    seen->is_replaying = s->is_replaying;
    seen->is_waiting = qn_shard_is_waiting(s);
    seen->next = s->next;
    seen->committed = s->committed;
    if (s->is_replaying)
        *total += (uint64_t)(s->live_from - s->next);
    if (k == k->sv->kafka)
        qn_service_look_add(k->sv, s->en);
    else
        add_windows(k, s->en);
    look_inputs(k, i, s);
}

/* The first stage here speaks for the stream: every event passes it, and no one twice. */
static void tell_all(struct qn_service_kafka *k, uint64_t replay, uint64_t lag, double seconds)
{
    struct qn_service *sv = k->sv;

    atomic_store(&sv->processed[sv->plan->main_stream], 0);
    atomic_store(&sv->appended[sv->plan->main_stream], lag);
    atomic_store(&sv->replay_done, 0);
    atomic_store(&sv->replay_total, replay);
    for (const struct qn_service_kafka *o = k->next; o != NULL; o = o->next) {
        for (uint32_t g = 0; g < qn_features_group_count(sv->plan->features); g++) {
            sv->seen.groups[g].keys += o->groups[g].keys;
            sv->seen.groups[g].bytes += o->groups[g].bytes;
        }
        sv->seen.memory.counted_bytes += o->memory.counted_bytes;
        sv->seen.memory.limit_bytes += o->memory.limit_bytes;
    }
    qn_service_look_tell(sv, seconds);
}

static void look_shards(struct qn_service_kafka *k, double seconds)
{
    struct qn_service *sv = k->sv;
    uint64_t total = 0, lag = 0;

    pthread_mutex_lock(&sv->wait_lock);
    if (k == sv->kafka)
        qn_service_look_clear(sv);
    for (uint32_t g = 0; g < qn_features_group_count(sv->plan->features); g++)
        k->groups[g].keys = k->groups[g].bytes = 0;
    k->memory = (struct qn_engine_memory){0};
    for (uint32_t i = 0; i < k->shard_count; i++) {
        add_shard(k, i, &total);
        if (k->seen[i].is_ours)
            lag += (uint64_t)(k->seen[i].end - k->seen[i].committed);
        for (uint32_t n = 0; n < k->input_count && !k->seen[i].is_ours; n++)
            if (k->lag[i * k->input_count + n] != NULL)
                set_lag(k, i, n, 0);
    }
    for (uint32_t o = 0; k->is_last && o < sv->plan->output_count; o++)
        sv->seen.records[o] = k->written[o];
    if (k->transact != NULL)
        qn_kafka_transact_stats(k->transact, &k->stats);
    look_snapshots(k);
    qn_kafka_standby_look(k);
    if (k == sv->kafka) {
        tell_snapshots(sv);
        tell_all(k, total, lag, seconds);
        qn_service_sinks_look(sv);
    }
    pthread_mutex_unlock(&sv->wait_lock);
}

/* Brokers that are away are said once, and once more when another thing is wrong with them. */
static void look_troubles(struct qn_service_kafka *k)
{
    if (k->consumer.troubles == k->troubles)
        return;
    if (k->troubles == 0 || k->looked_ns - k->troubled_ns > 60 * LOOK_NS)
        qn_report_say(k->sv->opt.report, QN_LEVEL_WARN, "kafka", "%s", k->consumer.trouble);
    k->troubles = k->consumer.troubles;
    k->troubled_ns = k->looked_ns;
}

void qn_kafka_look(struct qn_service_kafka *k)
{
    const int64_t now = qn_kafka_now_ns(k);
    const double seconds = (double)(now - k->looked_ns) / 1e9;

    if (now - k->looked_ns < LOOK_NS)
        return;
    k->looked_ns = now;
    look_shards(k, seconds);
    look_troubles(k);
}

static const char *state_of(const struct qn_shard_seen *s)
{
    return s->is_restoring   ? "restoring"
           : s->is_waiting   ? "waiting"
           : s->is_replaying ? "replaying"
                             : "live";
}

/* ,"streams":[...] of a shard that has several. */
static void put_inputs(const struct qn_service_kafka *k, uint32_t i, struct qn_buf *b)
{
    for (uint32_t n = 0; n < k->input_count && k->input_count > 1; n++) {
        const struct qn_input_seen *s = &k->inputs_seen[i * k->input_count + n];

        qn_buf_text(b, n == 0 ? ",\"streams\":[{\"topic\":" : ",{\"topic\":");
        qn_json_string(b, qn_str_of(k->inputs[n]));
        qn_buf_printf(b,
                      ",\"next\":%" PRId64 ",\"committed\":%" PRId64 ",\"end\":%" PRId64
                      ",\"lag\":%" PRId64 "}%s",
                      s->next, s->committed, s->end, s->end - s->committed,
                      n + 1 == k->input_count ? "]" : "");
    }
}

/* "group":...,"ours":[...] of one stage. */
static void put_stage(const struct qn_service_kafka *k, struct qn_buf *b)
{
    bool is_first = true;

    qn_buf_text(b, "\"group\":");
    qn_json_string(b, qn_str_of(k->stage->group));
    qn_buf_text(b, ",\"topic\":");
    qn_json_string(b, qn_str_of(k->input));
    qn_buf_printf(b,
                  ",\"commits\":%" PRIu64 ",\"aborts\":%" PRIu64 ",\"renewals\":%" PRIu64
                  ",\"partitions\":%u,\"ours\":[",
                  k->stats.commits, k->stats.aborts, k->stats.renewals, k->shard_count);
    for (uint32_t i = 0; i < k->shard_count; i++) {
        const struct qn_shard_seen *s = &k->seen[i];

        if (!s->is_ours)
            continue;
        qn_buf_printf(b,
                      "%s{\"partition\":%u,\"state\":\"%s\",\"next\":%" PRId64
                      ",\"committed\":%" PRId64 ",\"end\":%" PRId64 ",\"lag\":%" PRId64,
                      is_first ? "" : ",", i, state_of(s), s->next, s->committed, s->end,
                      s->end - s->committed);
        put_inputs(k, i, b);
        qn_buf_byte(b, '}');
        is_first = false;
    }
    qn_buf_byte(b, ']');
    qn_kafka_standby_status(k, b);
}

void qn_service_kafka_status(const struct qn_service *sv, struct qn_buf *b)
{
    qn_buf_text(b, ",\"log\":{\"kind\":\"kafka\",");
    put_stage(sv->kafka, b);
    for (const struct qn_service_kafka *k = sv->kafka; k != NULL && sv->plan->kafka.stage_count > 1;
         k = k->next) {
        qn_buf_text(b, k == sv->kafka ? ",\"stages\":[{\"name\":" : ",{\"name\":");
        qn_json_string(b, qn_str_of(k->stage->name));
        qn_buf_byte(b, ',');
        put_stage(k, b);
        qn_buf_text(b, k->next == NULL ? "}]" : "}");
    }
    qn_buf_byte(b, '}');
}

#endif
