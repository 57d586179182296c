/* SPDX-License-Identifier: Apache-2.0
 * metrics.h - numbers about the running program, as Prometheus reads them.
 *
 * One table (QN_METRIC_LIST) names every metric: docs/metrics.md, HELP and TYPE lines come from it.
 * A series is a metric with its label values, made at start and never per event, so the number of
 * series is known; labels come from the spec, never from events. Thread: any; adding, setting,
 * observing, quantiles and rendering are atomics without locks, making a series takes one. Memory:
 * boot lifetime; a histogram is 11 KiB a series. */
#ifndef QN_MONITOR_METRICS_H
#define QN_MONITOR_METRICS_H

#include "base/buffer.h"
#include "base/status.h"
#include "base/text.h"

#include <stdbool.h>
#include <stdint.h>

struct qn_metrics; /* private */
struct qn_series;  /* private */

enum qn_metric_type {
    QN_COUNTER,
    QN_GAUGE,
    QN_SECONDS, /* a histogram of times: rendered in buckets of 0.0005 to 10 s */
    QN_SIZES,   /* a histogram of whole numbers: buckets of 1, 2, 4 to 16384   */
};

/* X(NAME, name, type, labels joined by a blank, help, when to worry). Counters end in _total;
 * units are seconds, bytes, ratios. */
#define QN_METRIC_LIST(X)                                                                          \
    X(EVENTS, "quern_events_total", QN_COUNTER, "stream verdict",                                  \
      "events read, by what became of them: scored, late, dead or shed",                           \
      "dead or late grows faster than scored")                                                     \
    X(PREDICTIONS, "ml_predictions_total", QN_COUNTER, "model version", "predictions made",        \
      "stands still while events come")                                                            \
    X(DEAD, "ml_dead_letter_total", QN_COUNTER, "stream reason",                                   \
      "dead letters, by reason; `duplicate` counts here and leaves none",                          \
      "any growth: look at `quern dlq list`")                                                      \
    X(EVENT_AGE, "ml_event_age_seconds", QN_SECONDS, "stream",                                     \
      "from an event's append to the log until its prediction is durable",                         \
      "p99 above what your users accept")                                                          \
    X(STAGE, "quern_stage_seconds_total", QN_COUNTER, "stage",                                     \
      "time the engine spent in each stage of a batch", "one stage takes most of a second")        \
    X(BATCH, "ml_inference_batch_size", QN_SIZES, "", "events in a batch of the engine",           \
      "always at its limit: the engine is behind")                                                 \
    X(LAG, "ml_stream_consumer_lag", QN_GAUGE, "stream topic partition",                           \
      "records in the log that the engine has not read yet", "grows for minutes")                  \
    X(GROUP_LAG, "kafka_consumergroup_lag", QN_GAUGE, "consumergroup topic partition",             \
      "records of a topic behind what the consumer group has committed; of the partitions that "   \
      "this process reads, 0 for one that another has taken over",                                 \
      "the sum over all processes grows for minutes: more of them, up to one a partition")         \
    X(WAIT, "quern_wait_seconds", QN_GAUGE, "",                                                    \
      "how long the oldest event that the engine has not taken waits, 0 without one",              \
      "near `limits: wait`, beyond which events are refused with 429")                             \
    X(WATERMARK_LAG, "quern_watermark_lag_seconds", QN_GAUGE, "",                                  \
      "wall clock minus the newest event time seen", "grows: events stopped, or clocks differ")    \
    X(STATE_KEYS, "quern_state_keys", QN_GAUGE, "group", "keys held by the windows of a group",    \
      "grows without end: ids used as keys")                                                       \
    X(STATE_BYTES, "quern_state_bytes", QN_GAUGE, "group",                                         \
      "memory held by the windows of a group", "near `limits: memory`")                            \
    X(STATE_COUNTED, "quern_state_counted_bytes", QN_GAUGE, "",                                    \
      "what of the state counts against `limits: memory`; only with that limit",                   \
      "near quern_state_limit_bytes: from seven eighths on, new keys are refused")                 \
    X(STATE_LIMIT, "quern_state_limit_bytes", QN_GAUGE, "", "`limits: memory`, where it is set",   \
      "never; compare it with quern_state_counted_bytes")                                          \
    X(LOG_BYTES, "quern_log_bytes", QN_GAUGE, "", "size of the log on disk",                       \
      "near the size of the disk")                                                                 \
    X(LOG_SYNC, "quern_log_sync_seconds", QN_SECONDS, "", "time of one durable write of the log",  \
      "p99 above some tens of milliseconds: the disk is slow")                                     \
    X(LOG_FULL, "quern_log_full", QN_GAUGE, "", "1 while no space is left for events", "1")        \
    X(SNAPSHOT_AGE, "quern_snapshot_age_seconds", QN_GAUGE, "",                                    \
      "since the newest complete snapshot", "many times the interval")                             \
    X(SNAPSHOT_AGE_RATIO, "quern_snapshot_age_ratio", QN_GAUGE, "",                                \
      "age of the snapshot as a part of how long the input is kept", "above 0.5")                  \
    X(SNAPSHOT_BYTES, "quern_snapshot_bytes", QN_GAUGE, "", "size of the newest snapshot",         \
      "near the free space of the disk")                                                           \
    X(SNAPSHOT_PAUSE, "quern_snapshot_pause_seconds", QN_SECONDS, "",                              \
      "how long the engine stood still at a time for a snapshot", "p99 above 5 ms")                \
    X(SNAPSHOT_FAILED, "quern_snapshot_failed_total", QN_COUNTER, "",                              \
      "snapshots that were given up", "grows: the disk is full, or the bucket does not answer")    \
    X(STANDBY_LAG, "quern_standby_lag", QN_GAUGE, "topic partition",                               \
      "records by which a copy (`kafka: {standby: 1}`) is behind what its owner has committed",    \
      "grows: the copy does not keep up")                                                          \
    X(SINK_LAG, "quern_sink_lag", QN_GAUGE, "sink", "records a sink has not delivered yet",        \
      "grows for minutes: look at quern_breaker_state")                                            \
    X(SINK_DELIVERED, "quern_sink_delivered_total", QN_COUNTER, "sink",                            \
      "records a sink delivered", "stands still while the lag grows")                              \
    X(SINK_FAILED, "quern_sink_failed_total", QN_COUNTER, "sink", "deliveries that failed",        \
      "grows steadily")                                                                            \
    X(SINK_DEAD, "quern_sink_dead_total", QN_COUNTER, "sink",                                      \
      "records that a target refused for good, now dead letters", "any growth")                    \
    X(BREAKER, "quern_breaker_state", QN_GAUGE, "sink", "0 closed, 1 half open, 2 open",           \
      "2 for minutes: the target is down")                                                         \
    X(HTTP_REQUESTS, "quern_http_requests_total", QN_COUNTER, "route code", "answers given",       \
      "5xx grows; 429 grows: more arrives than can be done")                                       \
    X(HTTP_SECONDS, "quern_http_request_seconds", QN_SECONDS, "route",                             \
      "from a whole request to its answer", "p99 above what your users accept")                    \
    X(UP, "quern_ready", QN_GAUGE, "", "1 while the pipeline accepts events", "0")                 \
    X(BUILD, "quern_build_info", QN_GAUGE, "version kernel", "1, with what is running",            \
      "versions differ between machines")                                                          \
    X(GPU, "quern_gpu_utilization_ratio", QN_GAUGE, "device",                                      \
      "part of the time in which the NVIDIA device computed, whoever it was for; read at the "     \
      "scrape, no series without driver or device",                                                \
      "near 1 for minutes: the device is the bottleneck")                                          \
    X(GPU_USED, "quern_gpu_memory_used_bytes", QN_GAUGE, "device",                                 \
      "memory of the device in use, whoever uses it", "near quern_gpu_memory_total_bytes")         \
    X(GPU_TOTAL, "quern_gpu_memory_total_bytes", QN_GAUGE, "device", "memory of the device",       \
      "never; compare it with quern_gpu_memory_used_bytes")                                        \
    X(CPU, "process_cpu_seconds_total", QN_COUNTER, "", "user and system CPU time",                \
      "near the number of cores per second")                                                       \
    X(RSS, "process_resident_memory_bytes", QN_GAUGE, "", "resident memory", "grows without end")  \
    X(FDS, "process_open_fds", QN_GAUGE, "", "open file descriptors", "grows without end")         \
    X(MAX_FDS, "process_max_fds", QN_GAUGE, "", "limit of open file descriptors",                  \
      "near process_open_fds")                                                                     \
    X(START, "process_start_time_seconds", QN_GAUGE, "", "start, seconds since 1970",              \
      "changes often: something restarts it")

enum qn_metric {
#define QN_METRIC_ENUM(name, text, type, labels, help, worry) QN_METRIC_##name,
    QN_METRIC_LIST(QN_METRIC_ENUM)
#undef QN_METRIC_ENUM
        QN_METRIC_COUNT
};

qn_status qn_metrics_new(struct qn_metrics **out, struct qn_err *err);
void qn_metrics_free(struct qn_metrics *m); /* NULL is fine */

/* The series of these label values, as many as the metric has labels, in its order (copied; NULL
 * where it has none); made where it is not there yet, with the value 0. Never NULL: out of memory
 * gives a series that nobody renders. Lives as long as m. */
struct qn_series *qn_metrics_series(struct qn_metrics *m, enum qn_metric metric,
                                    const struct qn_str *labels);

/* Counters and gauges. Counters only grow; `set` on a counter is for totals kept elsewhere. */
void qn_series_add(struct qn_series *s, double by);
void qn_series_set(struct qn_series *s, double value);
double qn_series_get(const struct qn_series *s);
/* Histograms: count values of `value` (not NaN; below 0 counts as 0). Kept twice: exactly in the
 * buckets that are rendered, and for quantiles in cells, 1e-6 to 1e6 and at most 3.2 % wide. */
void qn_series_observe(struct qn_series *s, double value, uint64_t count);

/* Where a caller last looked; one caller per `since`. */
struct qn_series_since;                            /* private */
struct qn_series_since *qn_series_since_new(void); /* NULL: out of memory; free: qn_mem_free */
/* Quantiles q (0 to 1) of what was observed since the last call with this `since` (at first: since
 * the series was made), each within 3.2 % of the value of that rank; out[i] is NaN where nothing
 * was observed. Sizes come as whole numbers. Returns how many were observed. */
uint64_t qn_series_quantiles(const struct qn_series *s, struct qn_series_since *since,
                             const double *q, uint32_t count, double *out);

/* Appends all series: text/plain; version=0.0.4, or application/openmetrics-text; version=1.0.0.
 * The process_* and quern_gpu_* metrics are read at this moment. */
void qn_metrics_render(struct qn_metrics *m, bool is_open_metrics, struct qn_buf *out);
/* docs/metrics.md */
void qn_metrics_reference(struct qn_buf *out);

#endif
