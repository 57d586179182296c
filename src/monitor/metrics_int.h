/* SPDX-License-Identifier: Apache-2.0
 * metrics_int.h - the inside of the metrics: what metrics.c counts and metrics_render.c prints.
 *
 * A series is published by the link that leads to it, so that a renderer walks the list while
 * others are made. Thread: words that several threads touch are atomic; the rest is written before
 * the series is published. */
#ifndef QN_MONITOR_METRICS_INT_H
#define QN_MONITOR_METRICS_INT_H

#include "base/gpu.h"
#include "monitor/metrics.h"

#include <pthread.h>
#include <stdatomic.h>

/* Cells of 1/32 of a power of two: the exponent and the first 5 bits of the mantissa of a double.
 * One more below 2^QN_CELL_FIRST and one from 2^QN_CELL_END on. */
enum {
    QN_CELL_FIRST = -20,
    QN_CELL_END = 20,
    QN_CELL_BITS = 5,
    QN_CELLS = ((QN_CELL_END - QN_CELL_FIRST) << QN_CELL_BITS) + 2,
    QN_BUCKETS_MAX = 16,
};

struct qn_bounds {
    uint32_t count;
    double le[QN_BUCKETS_MAX - 1]; /* upper bounds, inclusive; one bucket more is without bound */
};

struct qn_histogram {
    _Atomic double sum;
    _Atomic uint64_t bucket[QN_BUCKETS_MAX]; /* not cumulative */
    _Atomic uint64_t cell[QN_CELLS];
};

/* On cache lines of its own: threads that count different things do not meet. */
struct qn_series {
    _Alignas(64) _Atomic double value;
    struct qn_histogram *histogram; /* NULL: counter or gauge; behind the series in memory */
    const struct qn_bounds *bounds;
    _Atomic(struct qn_series *) next;
    enum qn_metric_type type;
    struct qn_str labels; /* rendered: stream="tx",verdict="scored"; behind the series */
};

struct qn_metrics {
    pthread_mutex_t making;
    _Atomic(struct qn_series *) first[QN_METRIC_COUNT];
    struct qn_series *last[QN_METRIC_COUNT];
    struct qn_series *lost; /* takes what is counted where no memory was; has a histogram */
    struct qn_gpus *gpus;
};

/* The table's row of a metric. */
struct qn_metric_row {
    const char *name;
    enum qn_metric_type type;
    const char *labels; /* names, joined by a blank */
    const char *help, *worry;
};
extern const struct qn_metric_row qn_metric_rows[QN_METRIC_COUNT];

#endif
