/* SPDX-License-Identifier: Apache-2.0
 * metrics_render.c - metrics as text: what Prometheus scrapes, and docs/metrics.md.
 *
 * Formats: "Text-based format" 0.0.4 of Prometheus' exposition formats, and OpenMetrics 1.0.0. They
 * differ here in four things: OpenMetrics drops _total from a counter's family name, escapes quotes
 * in HELP, writes bounds as 1.0 and not 1, and ends with # EOF. A family without series is left
 * out. Thread: any; reads atomics while they are counted. Memory: the caller's buffer. */
#include "monitor/metrics.h"

#include "base/number.h"
#include "base/process.h"
#include "monitor/metrics_int.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>

static const char *const type_names[] = {
    [QN_COUNTER] = "counter",
    [QN_GAUGE] = "gauge",
    [QN_SECONDS] = "histogram",
    [QN_SIZES] = "histogram",
};

static void put_value(struct qn_buf *out, double value)
{
    char text[QN_NUMBER_MAX];

    if (isfinite(value))
        qn_buf_add(out, text, qn_print_double(text, value));
    else
        qn_buf_text(out, isnan(value) ? "NaN" : value > 0 ? "+Inf" : "-Inf");
}

/* name, suffix, {labels, le}, value. le: NULL or the text of the bound. */
static void put_sample(struct qn_buf *out, const char *name, const char *suffix,
                       struct qn_str labels, const char *le, double value)
{
    qn_buf_text(out, name);
    qn_buf_text(out, suffix);
    if (labels.len > 0 || le != NULL) {
        qn_buf_byte(out, '{');
        qn_buf_add(out, labels.p, labels.len);
        if (le != NULL)
            qn_buf_printf(out, "%sle=\"%s\"", labels.len > 0 ? "," : "", le);
        qn_buf_byte(out, '}');
    }
    qn_buf_byte(out, ' ');
    put_value(out, value);
    qn_buf_byte(out, '\n');
}

/* The count is the sum of the buckets that were read, so that the two agree at every moment. */
static void put_histogram(struct qn_buf *out, const char *name, const struct qn_series *s,
                          bool is_open_metrics)
{
    uint64_t count = 0;

    for (uint32_t i = 0; i <= s->bounds->count; i++) {
        char le[QN_NUMBER_MAX + 3] = "+Inf";

        count += atomic_load_explicit(&s->histogram->bucket[i], memory_order_relaxed);
        if (i < s->bounds->count) {
            unsigned n = qn_print_double(le, s->bounds->le[i]);

            le[n] = '\0';
            if (is_open_metrics && strchr(le, '.') == NULL)
                memcpy(le + n, ".0", 3);
        }
        put_sample(out, name, "_bucket", s->labels, le, (double)count);
    }
    put_sample(out, name, "_sum", s->labels, NULL,
               atomic_load_explicit(&s->histogram->sum, memory_order_relaxed));
    put_sample(out, name, "_count", s->labels, NULL, (double)count);
}

static void put_head(struct qn_buf *out, const struct qn_metric_row *row, bool is_open_metrics)
{
    int name = (int)strlen(row->name);

    if (is_open_metrics && row->type == QN_COUNTER)
        name -= (int)strlen("_total");
    qn_buf_printf(out, "# HELP %.*s ", name, row->name);
    for (const char *p = row->help; *p != '\0'; p++) {
        if (*p == '\\' || (*p == '"' && is_open_metrics))
            qn_buf_byte(out, '\\');
        qn_buf_byte(out, *p);
    }
    qn_buf_printf(out, "\n# TYPE %.*s %s\n", name, row->name, type_names[row->type]);
}

static void render_process(struct qn_buf *out, bool is_open_metrics)
{
    struct qn_process p;

    qn_process_look(&qn_files_system, &p);
    const struct {
        enum qn_metric metric;
        double value;
    } rows[] = {
        {QN_METRIC_CPU, p.cpu_seconds},     {QN_METRIC_RSS, p.resident_bytes},
        {QN_METRIC_FDS, p.open_fds},        {QN_METRIC_MAX_FDS, p.max_fds},
        {QN_METRIC_START, p.start_seconds},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (!isnan(rows[i].value)) {
            const struct qn_metric_row *row = &qn_metric_rows[rows[i].metric];

            put_head(out, row, is_open_metrics);
            put_sample(out, row->name, "", (struct qn_str){NULL, 0}, NULL, rows[i].value);
        }
}

/* One metric of all devices; `at` is where a device has it. */
static void render_gpu(const struct qn_gpu *gpus, uint32_t count, enum qn_metric metric, size_t at,
                       bool is_open_metrics, struct qn_buf *out)
{
    const struct qn_metric_row *row = &qn_metric_rows[metric];
    bool has_head = false;

    for (uint32_t i = 0; i < count; i++) {
        char labels[24];
        double value;

        memcpy(&value, (const char *)&gpus[i] + at, sizeof value);
        if (isnan(value))
            continue;
        if (!has_head)
            put_head(out, row, is_open_metrics);
        has_head = true;
        snprintf(labels, sizeof labels, "device=\"%u\"", i);
        put_sample(out, row->name, "", qn_str_of(labels), NULL, value);
    }
}

static void render_gpus(struct qn_metrics *m, bool is_open_metrics, struct qn_buf *out)
{
    struct qn_gpu gpus[QN_GPUS_MAX];
    const uint32_t n = qn_gpus_look(m->gpus, gpus);

    render_gpu(gpus, n, QN_METRIC_GPU, offsetof(struct qn_gpu, busy_ratio), is_open_metrics, out);
    render_gpu(gpus, n, QN_METRIC_GPU_USED, offsetof(struct qn_gpu, used_bytes), is_open_metrics,
               out);
    render_gpu(gpus, n, QN_METRIC_GPU_TOTAL, offsetof(struct qn_gpu, total_bytes), is_open_metrics,
               out);
}

void qn_metrics_render(struct qn_metrics *m, bool is_open_metrics, struct qn_buf *out)
{
    for (unsigned i = 0; i < QN_METRIC_COUNT; i++) {
        const struct qn_metric_row *row = &qn_metric_rows[i];
        const struct qn_series *s = m->first[i];

        if (s != NULL)
            put_head(out, row, is_open_metrics);
        for (; s != NULL; s = s->next) {
            if (s->histogram != NULL)
                put_histogram(out, row->name, s, is_open_metrics);
            else
                put_sample(out, row->name, "", s->labels, NULL, qn_series_get(s));
        }
    }
    render_gpus(m, is_open_metrics, out);
    render_process(out, is_open_metrics);
    if (is_open_metrics)
        qn_buf_text(out, "# EOF\n");
}

void qn_metrics_reference(struct qn_buf *out)
{
    qn_buf_text(
        out, "# Metrics\n\nGenerated from their table by `quern reference metrics`.\n\n"
             "`GET /metrics` answers in Prometheus' text format, or as OpenMetrics where `Accept` "
             "asks for it. `ml_*` is\nwhat the owner of a pipeline watches, `quern_*` is about the "
             "engine, `process_*` comes from the kernel. Labels\ncome from the spec, never from "
             "events, so the number of series is known at start.\n\n"
             "| metric | type | labels | what it says | when to worry |\n|---|---|---|---|---|\n");
    for (unsigned i = 0; i < QN_METRIC_COUNT; i++) {
        const struct qn_metric_row *row = &qn_metric_rows[i];

        qn_buf_printf(out, "| `%s` | %s |", row->name, type_names[row->type]);
        for (const char *at = row->labels; *at != '\0';) {
            size_t n = strcspn(at, " ");

            qn_buf_printf(out, " `%.*s`", (int)n, at);
            at += n;
            if (*at == ' ') {
                qn_buf_byte(out, ',');
                at++;
            }
        }
        qn_buf_printf(out, " | %s | %s |\n", row->help, row->worry);
    }
}
