/* SPDX-License-Identifier: Apache-2.0
 * service_status.c - what the world is told about a running pipeline: metrics and the status
 * document.
 *
 * The engine's thread copies its own numbers about once a second (qn_service_look), so that whoever
 * asks never touches the engine. Thread: as each function says. */
#include "base/check.h"
#include "base/memory.h"
#include "base/number.h"
#include "base/process.h"
#include "base/timestamp.h"
#include "engine/service_int.h"

#include <inttypes.h>

enum { LOOK_MS = 1000, SYNC_RING = 16, QUANTILES = 3 };

/* What the metrics of this service are, and what was seen the last time. */
struct qn_service_series {
    struct qn_series **events; /* [streams][verdicts] */
    struct qn_series **dead;   /* [streams][reasons]; NULL until one is seen */
    struct qn_series **lag;    /* [streams] */
    struct qn_series *predictions, *age, *batch, *sync, *full, *up, *log_bytes, *watermark, *wait;
    struct qn_series *stages[QN_STAGE_COUNT];
    struct qn_series **keys, **bytes;  /* [groups] */
    struct qn_series *counted, *limit; /* NULL without `limits: memory` */
    struct qn_series_since *age_since, *sync_since;
    int64_t looked_ns;
    int64_t submitted_ns[SYNC_RING]; /* of batches on their way to the disk */
    _Atomic uint32_t submitted, durable;
    /* under wait_lock, with `seen`: */
    uint64_t *reads_before; /* [streams] */
    double *rates;          /* [streams] events per second */
    uint64_t *records_before;
    double *record_rates; /* [outputs] */
    double age_ms[QUANTILES], sync_ms[QUANTILES];
    uint64_t age_count;
    double syncs_per_s;
    uint64_t syncs_before;
};

static const char *const verdict_names[QN_VERDICTS] = {
    [QN_SCORED] = "scored", [QN_LATE] = "late", [QN_DEAD] = "dead", [QN_SHED] = "shed"};
static const double quantiles[QUANTILES] = {0.5, 0.9, 0.99};

/* ---- metrics ---------------------------------------------------------------------------------*/

static struct qn_series *series(struct qn_service *sv, enum qn_metric metric, struct qn_str a,
                                struct qn_str b, struct qn_str c)
{
    const struct qn_str labels[3] = {a, b, c};

    return qn_metrics_series(sv->opt.metrics, metric, labels);
}

static const struct qn_str none = {NULL, 0};

static void stream_series(struct qn_service *sv, uint32_t s)
{
    struct qn_service_series *x = sv->series;
    struct qn_str name = sv->plan->schemas[s].name;

    for (int v = 0; v < QN_VERDICTS; v++)
        x->events[s * QN_VERDICTS + v] =
            series(sv, QN_METRIC_EVENTS, name, qn_str_of(verdict_names[v]), none);
    if (sv->plan->kafka.target.brokers == NULL) /* there: of each partition that is ours */
        x->lag[s] = series(sv, QN_METRIC_LAG, name, name, qn_str_of("0"));
}

static void single_series(struct qn_service *sv)
{
    struct qn_service_series *x = sv->series;
    const struct qn_plan *p = sv->plan;
    char version[20] = "";
    struct qn_str model = qn_str_of("none");

    if (p->score_model >= 0) {
        struct qn_buf b = {0};

        model = p->models[p->score_model].name;
        qn_buf_printf(&b, "%016llx",
                      (unsigned long long)qn_model_info(p->models[p->score_model].model)->hash);
        memcpy(version, b.data, b.failed ? 0 : 16);
        qn_buf_fini(&b);
    }
    x->predictions = series(sv, QN_METRIC_PREDICTIONS, model, qn_str_of(version), none);
    x->age = series(sv, QN_METRIC_EVENT_AGE, p->schemas[p->main_stream].name, none, none);
    x->batch = series(sv, QN_METRIC_BATCH, none, none, none);
    x->sync = series(sv, QN_METRIC_LOG_SYNC, none, none, none);
    x->full = series(sv, QN_METRIC_LOG_FULL, none, none, none);
    x->up = series(sv, QN_METRIC_UP, none, none, none);
    x->log_bytes = series(sv, QN_METRIC_LOG_BYTES, none, none, none);
    x->watermark = series(sv, QN_METRIC_WATERMARK_LAG, none, none, none);
    x->wait = series(sv, QN_METRIC_WAIT, none, none, none);
    if (p->limits.memory_bytes > 0) {
        x->counted = series(sv, QN_METRIC_STATE_COUNTED, none, none, none);
        x->limit = series(sv, QN_METRIC_STATE_LIMIT, none, none, none);
        sv->seen.memory.limit_bytes = p->limits.memory_bytes; /* until it is looked at */
        qn_series_set(x->limit, (double)p->limits.memory_bytes);
    }
    for (int i = 0; i < QN_STAGE_COUNT; i++)
        x->stages[i] =
            series(sv, QN_METRIC_STAGE, qn_str_of(qn_stage_name((enum qn_stage)i)), none, none);
}

/* "transactions by customer_id" */
static struct qn_str group_label(struct qn_service *sv, const struct qn_group_info *g)
{
    struct qn_buf b = {0};
    struct qn_str label;
    char *copy;

    qn_buf_printf(&b, "%s by %s", g->source, g->key);
    copy = b.failed ? NULL : qn_arena_strdup(&sv->arena, b.data, b.len);
    label = copy != NULL ? (struct qn_str){copy, (uint32_t)b.len} : qn_str_of("group");
    qn_buf_fini(&b);
    return label;
}

qn_status qn_service_series_init(struct qn_service *sv, struct qn_err *err)
{
    const struct qn_plan *p = sv->plan;
    const uint32_t groups = qn_features_group_count(p->features);
    struct qn_service_series *x = QN_NEW(&sv->arena, struct qn_service_series);
    struct qn_seen *seen = &sv->seen;

    if (x == NULL)
        return qn_err_set(err, QN_NOMEM, "out of memory for the metrics");
    sv->series = x;
    x->events = QN_NEW_N(&sv->arena, struct qn_series *, p->schema_count * QN_VERDICTS);
    x->dead = QN_NEW_N(&sv->arena, struct qn_series *, p->schema_count * QN_REASON_COUNT);
    x->lag = QN_NEW_N(&sv->arena, struct qn_series *, p->schema_count);
    x->keys = QN_NEW_N(&sv->arena, struct qn_series *, groups + 1);
    x->bytes = QN_NEW_N(&sv->arena, struct qn_series *, groups + 1);
    x->reads_before = QN_NEW_N(&sv->arena, uint64_t, p->schema_count);
    x->rates = QN_NEW_N(&sv->arena, double, p->schema_count);
    x->records_before = QN_NEW_N(&sv->arena, uint64_t, p->output_count);
    x->record_rates = QN_NEW_N(&sv->arena, double, p->output_count);
    seen->counts = QN_NEW_N(&sv->arena, struct qn_counts, p->schema_count);
    seen->groups = QN_NEW_N(&sv->arena, struct qn_group_info, groups + 1);
    seen->records = QN_NEW_N(&sv->arena, uint64_t, p->output_count);
    x->age_since = qn_series_since_new();
    x->sync_since = qn_series_since_new();
    if (!x->events || !x->dead || !x->lag || !x->keys || !x->bytes || !x->reads_before ||
        !x->rates || !x->records_before || !x->record_rates || !seen->counts || !seen->groups ||
        !seen->records || !x->age_since || !x->sync_since)
        return qn_err_set(err, QN_NOMEM, "out of memory for the metrics");
    for (uint32_t s = 0; s < p->schema_count; s++)
        stream_series(sv, s);
    single_series(sv);
    for (uint32_t g = 0; g < groups; g++) {
        struct qn_group_info info = qn_features_group(p->features, g);
        struct qn_str label = group_label(sv, &info);

        seen->groups[g] = info;
        x->keys[g] = series(sv, QN_METRIC_STATE_KEYS, label, none, none);
        x->bytes[g] = series(sv, QN_METRIC_STATE_BYTES, label, none, none);
    }
    return QN_OK;
}

void qn_service_series_fini(struct qn_service *sv)
{
    if (sv->series == NULL)
        return;
    qn_mem_free(sv->series->age_since);
    qn_mem_free(sv->series->sync_since);
}

void qn_service_note_batch(struct qn_service *sv, const struct qn_step_result *r)
{
    struct qn_service_series *x = sv->series;
    const struct qn_batch *b = r->batch;
    uint64_t bins[QN_SCORE_BINS] = {0};
    int64_t second = qn_service_now_us(sv) / 1000000;
    uint32_t at = (uint32_t)((uint64_t)second % QN_SCORE_SECONDS);
    double sum = 0;

    x->submitted_ns[atomic_fetch_add(&x->submitted, 1) % SYNC_RING] =
        sv->opt.clock->mono_ns(sv->opt.clock->st);
    qn_series_observe(x->batch, b->rows, 1);
    if (r->score == NULL)
        return;
    for (uint32_t row = 0; row < b->rows; row++) {
        double v = r->score[row];

        if (!r->is_scored[row] || v != v)
            continue;
        bins[v <= 0 ? 0 : v >= 1 ? QN_SCORE_BINS - 1 : (int)(v * QN_SCORE_BINS)]++;
        sum += v;
    }
    pthread_mutex_lock(&sv->wait_lock);
    if (sv->score_second[at] != second) {
        sv->score_second[at] = second;
        sv->score_sums[at] = 0;
        memset(sv->scores[at], 0, sizeof sv->scores[at]);
    }
    for (int i = 0; i < QN_SCORE_BINS; i++)
        sv->scores[at][i] += bins[i];
    sv->score_sums[at] += sum;
    pthread_mutex_unlock(&sv->wait_lock);
}

void qn_service_note_durable(struct qn_service *sv, const struct qn_commit_done *d)
{
    struct qn_service_series *x = sv->series;
    int64_t now_us = qn_service_now_us(sv), now_ns = sv->opt.clock->mono_ns(sv->opt.clock->st);
    int64_t since_ns = x->submitted_ns[atomic_fetch_add(&x->durable, 1) % SYNC_RING];

    qn_series_observe(x->sync, (double)(now_ns - since_ns) / 1e9, 1);
    for (uint32_t i = 0; i < d->age_count; i++) {
        int64_t age_us = now_us - d->ages[i].append_us;

        qn_series_observe(x->age, age_us > 0 ? (double)age_us / 1e6 : 0, d->ages[i].rows);
    }
}

/* ---- looking, once a second ------------------------------------------------------------------*/

/* Verdicts of a stream as they were seen, into the metrics. */
static void look_counts(struct qn_service *sv, uint32_t s, double seconds)
{
    const struct qn_counts *c = &sv->seen.counts[s];
    struct qn_service_series *x = sv->series;
    struct qn_series **dead = &x->dead[s * QN_REASON_COUNT];

    for (int v = 0; v < QN_VERDICTS; v++)
        qn_series_set(x->events[s * QN_VERDICTS + v], (double)c->verdict[v]);
    for (int i = 0; i < QN_REASON_COUNT; i++) {
        if (c->reason[i] == 0)
            continue;
        if (dead[i] == NULL)
            dead[i] = series(sv, QN_METRIC_DEAD, sv->plan->schemas[s].name,
                             qn_str_of(qn_reason_name((enum qn_reason)i)), none);
        qn_series_set(dead[i], (double)c->reason[i]);
    }
    x->rates[s] =
        c->read >= x->reads_before[s] ? (double)(c->read - x->reads_before[s]) / seconds : 0;
    x->reads_before[s] = c->read;
}

static void look_stream(struct qn_service *sv, uint32_t s, double seconds)
{
    uint64_t processed = atomic_load(&sv->processed[s]);
    struct qn_log_topic_info info;

    look_counts(sv, s, seconds);
    qn_log_topic_info(sv->log, sv->stream_topics[s], &info);
    if (info.next > atomic_load(&sv->appended[s]))
        atomic_store(&sv->appended[s], info.next);
    qn_series_set(sv->series->lag[s], info.next > processed ? (double)(info.next - processed) : 0);
    if (info.next > processed)
        qn_series_set(sv->series->wait, (double)qn_service_waited_us(sv) / 1e6);
}

static void look_outputs(struct qn_service *sv, double seconds)
{
    struct qn_service_series *x = sv->series;

    for (uint32_t o = 0; o < sv->plan->output_count; o++) {
        struct qn_log_topic_info info;

        qn_log_topic_info(sv->log, sv->output_topics[o], &info);
        x->record_rates[o] = x->records_before[o] > 0 || info.next == 0
                                 ? (double)(info.next - x->records_before[o]) / seconds
                                 : 0;
        x->records_before[o] = sv->seen.records[o] = info.next;
    }
}

void qn_service_look_clear(struct qn_service *sv)
{
    struct qn_seen *seen = &sv->seen;

    memset(seen->counts, 0, sv->plan->schema_count * sizeof *seen->counts);
    memset(seen->stage_ns, 0, sizeof seen->stage_ns);
    seen->has_watermark = false;
    seen->memory = (struct qn_engine_memory){0};
    for (uint32_t g = 0; g < qn_features_group_count(sv->plan->features); g++)
        seen->groups[g].keys = seen->groups[g].bytes = 0;
}

static void add_counts(struct qn_counts *to, const struct qn_counts *c)
{
    to->read += c->read;
    to->late_scored += c->late_scored;
    for (int v = 0; v < QN_VERDICTS; v++)
        to->verdict[v] += c->verdict[v];
    for (int i = 0; i < QN_REASON_COUNT; i++)
        to->reason[i] += c->reason[i];
}

void qn_service_look_add(struct qn_service *sv, const struct qn_engine *en)
{
    const struct qn_plan *p = qn_engine_plan(en);
    const struct qn_watermark w = qn_engine_watermark(en);
    const int64_t *ns = qn_engine_stage_ns(en);
    struct qn_seen *seen = &sv->seen;

    for (uint32_t s = 0; s < p->schema_count; s++)
        add_counts(&seen->counts[s], &qn_engine_counts(en)[s]);
    for (int i = 0; i < QN_STAGE_COUNT; i++)
        seen->stage_ns[i] += ns[i];
    if (w.seen && (!seen->has_watermark || w.newest_us > seen->newest_us))
        seen->newest_us = w.newest_us;
    seen->has_watermark |= w.seen;
    seen->memory.counted_bytes += qn_engine_memory(en).counted_bytes;
    seen->memory.limit_bytes += qn_engine_memory(en).limit_bytes;
    for (uint32_t g = 0; g < qn_features_group_count(p->features); g++) {
        const struct qn_group_info info = qn_features_group(p->features, g);

        seen->groups[g].keys += info.keys;
        seen->groups[g].bytes += info.bytes;
    }
}

static void look_engine(struct qn_service *sv)
{
    struct qn_service_series *x = sv->series;
    const struct qn_plan *p = sv->plan;
    const struct qn_seen *seen = &sv->seen;

    if (seen->has_watermark)
        qn_series_set(x->watermark, (double)(qn_service_now_us(sv) - seen->newest_us) / 1e6);
    for (int i = 0; i < QN_STAGE_COUNT; i++)
        qn_series_set(x->stages[i], (double)seen->stage_ns[i] / 1e9);
    for (uint32_t g = 0; g < qn_features_group_count(p->features); g++) {
        qn_series_set(x->keys[g], (double)seen->groups[g].keys);
        qn_series_set(x->bytes[g], (double)seen->groups[g].bytes);
    }
    if (x->counted != NULL) {
        qn_series_set(x->counted, (double)seen->memory.counted_bytes);
        qn_series_set(x->limit, (double)seen->memory.limit_bytes);
    }
    qn_series_set(x->predictions, (double)seen->counts[p->main_stream].verdict[QN_SCORED]);
    qn_series_set(x->up, qn_service_phase(sv) == QN_PHASE_RUNNING);
}

void qn_service_look_tell(struct qn_service *sv, double seconds)
{
    look_engine(sv);
    for (uint32_t s = 0; s < sv->plan->schema_count; s++)
        look_counts(sv, s, seconds);
}

void qn_service_look(struct qn_service *sv)
{
    struct qn_service_series *x = sv->series;
    int64_t now_ns = sv->opt.clock->mono_ns(sv->opt.clock->st);
    double seconds = (double)(now_ns - x->looked_ns) / 1e9;
    struct qn_log_ends ends;

    if (now_ns - x->looked_ns < (int64_t)LOOK_MS * 1000000)
        return;
    x->looked_ns = now_ns;
    qn_log_ends(sv->log, &ends);
    pthread_mutex_lock(&sv->wait_lock);
    qn_service_look_clear(sv);
    qn_service_look_add(sv, sv->en);
    look_engine(sv);
    qn_series_set(x->wait, 0);
    for (uint32_t s = 0; s < sv->plan->schema_count; s++)
        look_stream(sv, s, seconds);
    look_outputs(sv, seconds);
    qn_service_sinks_look(sv);
    x->age_count = qn_series_quantiles(x->age, x->age_since, quantiles, QUANTILES, x->age_ms);
    (void)qn_series_quantiles(x->sync, x->sync_since, quantiles, QUANTILES, x->sync_ms);
    x->syncs_per_s = (double)(ends.syncs - x->syncs_before) / seconds;
    x->syncs_before = ends.syncs;
    pthread_mutex_unlock(&sv->wait_lock);
    qn_service_look_snapshot(sv);
    qn_series_set(x->log_bytes, (double)ends.bytes);
    qn_series_set(x->full, ends.is_full);
}

/* ---- the status document ---------------------------------------------------------------------*/

static void put_time(struct qn_buf *b, const char *name, int64_t us)
{
    char text[QN_TIMESTAMP_LEN];

    qn_buf_printf(b, ",\"%s\":\"", name);
    qn_buf_add(b, text, qn_timestamp_print(text, us));
    qn_buf_byte(b, '"');
}

static void put_text(struct qn_buf *b, const char *name, struct qn_str text)
{
    qn_buf_printf(b, ",\"%s\":", name);
    qn_json_string(b, text);
}

/* A number that JSON has: nothing else is put. */
static void put_number(struct qn_buf *b, const char *name, double v)
{
    if (v - v == 0)
        qn_buf_printf(b, ",\"%s\":%.9g", name, v);
}

static void put_streams(struct qn_buf *b, struct qn_service *sv)
{
    for (uint32_t s = 0; s < sv->plan->schema_count; s++) {
        const struct qn_counts *c = &sv->seen.counts[s];
        uint64_t processed = atomic_load(&sv->processed[s]);
        uint64_t appended = atomic_load(&sv->appended[s]);

        qn_buf_text(b, s > 0 ? ",{\"name\":" : "{\"name\":");
        qn_json_string(b, sv->plan->schemas[s].name);
        qn_buf_printf(b,
                      ",\"main\":%s,\"read\":%" PRIu64 ",\"scored\":%" PRIu64 ",\"late\":%" PRIu64
                      ",\"dead\":%" PRIu64 ",\"shed\":%" PRIu64 ",\"backlog\":%" PRIu64,
                      s == sv->plan->main_stream ? "true" : "false", c->read, c->verdict[QN_SCORED],
                      c->verdict[QN_LATE], c->verdict[QN_DEAD], c->verdict[QN_SHED],
                      appended > processed ? appended - processed : 0);
        put_number(b, "rate", sv->series->rates[s]);
        qn_buf_byte(b, '}');
    }
}

static void put_reasons(struct qn_buf *b, struct qn_service *sv)
{
    bool is_first = true;

    for (uint32_t s = 0; s < sv->plan->schema_count; s++)
        for (int i = 0; i < QN_REASON_COUNT; i++) {
            uint64_t n = sv->seen.counts[s].reason[i];

            if (n == 0)
                continue;
            qn_buf_text(b, is_first ? "{\"stream\":" : ",{\"stream\":");
            is_first = false;
            qn_json_string(b, sv->plan->schemas[s].name);
            put_text(b, "reason", qn_str_of(qn_reason_name((enum qn_reason)i)));
            put_text(b, "text", qn_str_of(qn_reason_text((enum qn_reason)i)));
            qn_buf_printf(b, ",\"count\":%" PRIu64 "}", n);
        }
}

static void put_scores(struct qn_buf *b, struct qn_service *sv)
{
    int64_t second = qn_service_now_us(sv) / 1000000;
    uint64_t bins[QN_SCORE_BINS] = {0}, count = 0;
    double sum = 0;

    for (int i = 0; i < QN_SCORE_SECONDS; i++) {
        if (second - sv->score_second[i] >= QN_SCORE_SECONDS)
            continue;
        for (int k = 0; k < QN_SCORE_BINS; k++) {
            bins[k] += sv->scores[i][k];
            count += sv->scores[i][k];
        }
        sum += sv->score_sums[i];
    }
    qn_buf_printf(b, ",\"scores\":{\"count\":%" PRIu64, count);
    if (count > 0)
        put_number(b, "mean", sum / (double)count);
    qn_buf_text(b, ",\"bins\":[");
    for (int k = 0; k < QN_SCORE_BINS; k++)
        qn_buf_printf(b, k > 0 ? ",%" PRIu64 : "%" PRIu64, bins[k]);
    qn_buf_text(b, "]}");
}

static void put_models(struct qn_buf *b, const struct qn_plan *p)
{
    for (uint32_t i = 0; i < p->model_count; i++) {
        const struct qn_model_info *m = qn_model_info(p->models[i].model);

        qn_buf_text(b, i > 0 ? ",{\"name\":" : "{\"name\":");
        qn_json_string(b, p->models[i].name);
        qn_buf_printf(b, ",\"version\":\"%016llx\",\"trees\":%u,\"in_use\":%s",
                      (unsigned long long)m->hash, m->trees,
                      (int32_t)i == p->score_model ? "true" : "false");
        put_text(b, "format", qn_str_of(m->format));
        put_text(b, "kernel", qn_str_of(m->kernel));
        qn_buf_byte(b, '}');
    }
}

static void put_outputs(struct qn_buf *b, struct qn_service *sv)
{
    for (uint32_t o = 0; o < sv->plan->output_count; o++) {
        const struct qn_plan_output *out = &sv->plan->outputs[o];

        qn_buf_text(b, o > 0 ? ",{\"name\":" : "{\"name\":");
        qn_json_string(b, out->name);
        if (out->when != NULL)
            put_text(b, "when", out->when_text);
        qn_buf_printf(b, ",\"records\":%" PRIu64, sv->seen.records[o]);
        put_number(b, "rate", sv->series->record_rates[o]);
        qn_buf_byte(b, '}');
    }
}

static void put_log(struct qn_buf *b, struct qn_service *sv)
{
    struct qn_log_ends e;

    qn_log_ends(sv->log, &e);
    qn_buf_printf(b,
                  ",\"log\":{\"bytes\":%" PRIu64 ",\"segments\":%u,\"first_lsn\":%" PRIu64
                  ",\"end_lsn\":%" PRIu64 ",\"full\":%s",
                  e.bytes, e.segments, e.first_lsn, e.end_lsn, e.is_full ? "true" : "false");
    qn_buf_text(b, ",\"sync_ms\":{\"unit\":\"ms\"");
    put_number(b, "p50", sv->series->sync_ms[0] * 1e3);
    put_number(b, "p99", sv->series->sync_ms[2] * 1e3);
    qn_buf_byte(b, '}');
    put_number(b, "syncs_per_s", sv->series->syncs_per_s);
    qn_buf_byte(b, '}');
}

static void put_snapshot(struct qn_buf *b, struct qn_service *sv)
{
    qn_buf_printf(b, ",\"snapshot\":{\"count\":%" PRIu64, sv->snapshot_count);
    qn_buf_printf(b, ",\"failed\":%" PRIu64, sv->snapshot_failed);
    if (sv->snapshot_taken_us > 0)
        put_number(b, "age_s", (double)(qn_service_now_us(sv) - sv->snapshot_taken_us) / 1e6);
    if (sv->snapshot_count > 0) {
        qn_buf_printf(b, ",\"bytes\":%" PRIu64, sv->snapshot_bytes);
        put_number(b, "duration_ms", (double)sv->snapshot_ns / 1e6);
        put_number(b, "pause_ms", (double)sv->snapshot_pause_ns / 1e6);
    }
    qn_buf_byte(b, '}');
}

static void put_state(struct qn_buf *b, struct qn_service *sv)
{
    const uint32_t n = qn_features_group_count(sv->plan->features);
    uint64_t keys = 0, bytes = 0;

    for (uint32_t g = 0; g < n; g++) {
        keys += sv->seen.groups[g].keys;
        bytes += sv->seen.groups[g].bytes;
    }
    qn_buf_printf(b, ",\"state\":{\"keys\":%" PRIu64 ",\"bytes\":%" PRIu64, keys, bytes);
    if (sv->plan->limits.memory_bytes > 0)
        qn_buf_printf(b, ",\"counted_bytes\":%" PRIu64 ",\"limit_bytes\":%" PRIu64,
                      sv->seen.memory.counted_bytes, sv->seen.memory.limit_bytes);
    qn_buf_text(b, ",\"groups\":[");
    for (uint32_t g = 0; g < n; g++) {
        const struct qn_group_info *info = &sv->seen.groups[g];

        qn_buf_text(b, g > 0 ? ",{\"by\":" : "{\"by\":");
        qn_json_string(b, qn_str_of(info->key));
        put_text(b, "source", qn_str_of(info->source));
        qn_buf_printf(b, ",\"keys\":%" PRIu64 ",\"bytes\":%zu}", info->keys, info->bytes);
    }
    qn_buf_text(b, "]}");
}

static void put_process(struct qn_buf *b, struct qn_service *sv)
{
    struct qn_process p;

    qn_process_look(sv->opt.files, &p);
    qn_buf_printf(b, ",\"process\":{\"threads\":%u", sv->opt.threads);
    put_number(b, "rss_bytes", p.resident_bytes);
    put_number(b, "cpu_s", p.cpu_seconds);
    put_number(b, "fds", p.open_fds);
    qn_buf_byte(b, '}');
}

void qn_service_status(struct qn_service *sv, struct qn_buf *b)
{
    const struct qn_plan *p = sv->plan;
    int64_t now_us = qn_service_now_us(sv);
    struct qn_err failure = {0};
    bool is_failed = qn_service_failure(sv, &failure);

    qn_buf_text(b, "{\"pipeline\":");
    qn_json_string(b, p->name);
    qn_buf_printf(b, ",\"spec\":\"%016llx\",\"version\":\"%s\",\"phase\":\"%s\"",
                  (unsigned long long)p->version, QN_VERSION, qn_phase_name(qn_service_phase(sv)));
    put_text(b, "detail", qn_str_of(is_failed ? failure.text : ""));
    put_time(b, "started", sv->started_us);
    put_time(b, "now", now_us);
    put_number(b, "uptime_s", (double)(now_us - sv->started_us) / 1e6);
    qn_buf_printf(b, ",\"progress\":{\"done\":%" PRIu64 ",\"total\":%" PRIu64 "}",
                  (uint64_t)atomic_load(&sv->replay_done),
                  (uint64_t)atomic_load(&sv->replay_total));
    pthread_mutex_lock(&sv->wait_lock);
    qn_buf_text(b, ",\"streams\":[");
    put_streams(b, sv);
    qn_buf_text(b, "],\"reasons\":[");
    put_reasons(b, sv);
    qn_buf_byte(b, ']');
    if (sv->seen.has_watermark) {
        put_time(b, "newest_event", sv->seen.newest_us);
        put_time(b, "watermark", sv->seen.newest_us - p->schemas[p->main_stream].lateness_us);
    }
    qn_buf_printf(b, ",\"age_ms\":{\"count\":%" PRIu64, sv->series->age_count);
    put_number(b, "p50", sv->series->age_ms[0] * 1e3);
    put_number(b, "p90", sv->series->age_ms[1] * 1e3);
    put_number(b, "p99", sv->series->age_ms[2] * 1e3);
    qn_buf_byte(b, '}');
    put_scores(b, sv);
    qn_buf_text(b, ",\"stages_ns\":{\"unit\":\"ns\"");
    for (int i = 0; i < QN_STAGE_COUNT; i++)
        qn_buf_printf(b, ",\"%s\":%" PRId64, qn_stage_name((enum qn_stage)i), sv->seen.stage_ns[i]);
    qn_buf_text(b, "},\"models\":[");
    put_models(b, p);
    qn_buf_text(b, "],\"outputs\":[");
    put_outputs(b, sv);
    qn_buf_byte(b, ']');
    qn_service_sinks_status(sv, b);
    qn_service_sources_status(sv, b);
    if (sv->kafka != NULL)
        qn_service_kafka_status(sv, b);
    else
        put_log(b, sv);
    put_snapshot(b, sv);
    put_state(b, sv);
    pthread_mutex_unlock(&sv->wait_lock);
    put_process(b, sv);
    qn_buf_byte(b, '}');
}
