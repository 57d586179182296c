/* SPDX-License-Identifier: Apache-2.0
 * test_metrics.c - series, histograms and quantiles against sorted samples, both text forms, and
 * many threads that count while one renders. */
#include "base/clock.h"
#include "base/memory.h"
#include "monitor/metrics.h"

#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sys/wait.h>

#include <cmocka.h>

static struct qn_metrics *new_metrics(void)
{
    struct qn_metrics *m;

    assert_int_equal(qn_metrics_new(&m, NULL), QN_OK);
    return m;
}

static struct qn_series *series_1(struct qn_metrics *m, enum qn_metric metric, const char *a)
{
    struct qn_str labels[] = {qn_str_of(a)};

    return qn_metrics_series(m, metric, labels);
}

static struct qn_series *series_2(struct qn_metrics *m, enum qn_metric metric, const char *a,
                                  const char *b)
{
    struct qn_str labels[] = {qn_str_of(a), qn_str_of(b)};

    return qn_metrics_series(m, metric, labels);
}

/* The rendered text, NUL-terminated; free with qn_buf_fini. */
static struct qn_buf render(struct qn_metrics *m, bool is_open_metrics)
{
    struct qn_buf b = {0};

    qn_metrics_render(m, is_open_metrics, &b);
    qn_buf_byte(&b, '\0');
    assert_false(b.failed);
    return b;
}

static void check_has(const struct qn_buf *b, const char *part)
{
    if (strstr(b->data, part) == NULL)
        fail_msg("'%s' is not in:\n%s", part, b->data);
}

static void check_lacks(const struct qn_buf *b, const char *part)
{
    if (strstr(b->data, part) != NULL)
        fail_msg("'%s' is in:\n%s", part, b->data);
}

static void test_series(void **state)
{
    struct qn_metrics *m = new_metrics();
    struct qn_series *a = series_2(m, QN_METRIC_EVENTS, "tx", "scored");
    struct qn_series *b = series_2(m, QN_METRIC_EVENTS, "tx", "late");
    struct qn_buf text;

    assert_ptr_not_equal(a, b);
    assert_ptr_equal(a, series_2(m, QN_METRIC_EVENTS, "tx", "scored"));
    qn_series_add(a, 3);
    qn_series_add(a, 0.5);
    qn_series_set(qn_metrics_series(m, QN_METRIC_LOG_FULL, NULL), 1);
    assert_true(qn_series_get(a) == 3.5);
    text = render(m, false);
    check_has(&text, "# HELP quern_events_total events read, by what became of them: scored, late, "
                     "dead or shed\n# TYPE quern_events_total counter\n"
                     "quern_events_total{stream=\"tx\",verdict=\"scored\"} 3.5\n"
                     "quern_events_total{stream=\"tx\",verdict=\"late\"} 0\n");
    check_has(&text, "# TYPE quern_log_full gauge\nquern_log_full 1\n");
    check_lacks(&text, "quern_sink_lag");
    check_lacks(&text, "# EOF");
    qn_buf_fini(&text);
    qn_metrics_free(m);
    qn_metrics_free(NULL);
}

static void test_label_values(void **state)
{
    struct qn_metrics *m = new_metrics();
    struct qn_buf text;

    qn_series_set(series_1(m, QN_METRIC_SINK_LAG, "a\"b\\c\nd"), 1);
    qn_series_set(series_1(m, QN_METRIC_SINK_LAG, "caf\xc3\xa9"), 2);
    qn_series_set(series_1(m, QN_METRIC_SINK_LAG, "\xff!"), 3);
    qn_series_set(series_1(m, QN_METRIC_SINK_LAG, ""), INFINITY);
    qn_series_set(series_1(m, QN_METRIC_BREAKER, "x"), NAN);
    text = render(m, false);
    check_has(&text, "quern_sink_lag{sink=\"a\\\"b\\\\c\\nd\"} 1\n"
                     "quern_sink_lag{sink=\"caf\xc3\xa9\"} 2\n"
                     "quern_sink_lag{sink=\"?!\"} 3\n"
                     "quern_sink_lag{sink=\"\"} +Inf\n");
    check_has(&text, "quern_breaker_state{sink=\"x\"} NaN\n");
    qn_buf_fini(&text);
    qn_metrics_free(m);
}

static void test_histogram_text(void **state)
{
    struct qn_metrics *m = new_metrics();
    struct qn_series *age = series_1(m, QN_METRIC_EVENT_AGE, "tx");
    struct qn_series *size = qn_metrics_series(m, QN_METRIC_BATCH, NULL);
    struct qn_buf text;

    qn_series_observe(age, 0.0005, 2); /* bounds are inclusive */
    qn_series_observe(age, 0.00050001, 1);
    qn_series_observe(age, 1, 4);
    qn_series_observe(age, 1e9, 1);
    qn_series_observe(age, -3, 1); /* a clock that was set back */
    qn_series_observe(size, 1, 5);
    qn_series_observe(size, 4096, 1);
    text = render(m, false);
    check_has(&text, "ml_event_age_seconds_bucket{stream=\"tx\",le=\"0.0005\"} 3\n"
                     "ml_event_age_seconds_bucket{stream=\"tx\",le=\"0.001\"} 4\n");
    check_has(&text, "{stream=\"tx\",le=\"0.5\"} 4\n"
                     "ml_event_age_seconds_bucket{stream=\"tx\",le=\"1\"} 8\n");
    check_has(&text, "{stream=\"tx\",le=\"10\"} 8\n"
                     "ml_event_age_seconds_bucket{stream=\"tx\",le=\"+Inf\"} 9\n");
    check_has(&text, "ml_event_age_seconds_count{stream=\"tx\"} 9\n");
    check_has(&text, "ml_inference_batch_size_bucket{le=\"1\"} 5\n"
                     "ml_inference_batch_size_bucket{le=\"2\"} 5\n");
    check_has(&text, "ml_inference_batch_size_bucket{le=\"2048\"} 5\n"
                     "ml_inference_batch_size_bucket{le=\"4096\"} 6\n");
    check_has(&text, "ml_inference_batch_size_sum 4101\nml_inference_batch_size_count 6\n");
    qn_buf_fini(&text);
    qn_metrics_free(m);
}

static void test_open_metrics(void **state)
{
    struct qn_metrics *m = new_metrics();
    struct qn_buf text;

    qn_series_add(series_1(m, QN_METRIC_STAGE, "decode"), 2);
    qn_series_observe(series_1(m, QN_METRIC_EVENT_AGE, "tx"), 0.02, 1);
    text = render(m, true);
    check_has(&text, "# TYPE quern_stage_seconds counter\n"
                     "quern_stage_seconds_total{stage=\"decode\"} 2\n");
    check_has(&text, "# HELP quern_stage_seconds time");
    check_has(&text, "le=\"0.01\"} 0\n");
    check_has(&text, "le=\"1.0\"} 1\n");
    check_has(&text, "le=\"10.0\"} 1\n");
    check_has(&text, "# TYPE process_cpu_seconds counter\nprocess_cpu_seconds_total ");
    assert_string_equal(text.data + text.len - 1 - 6, "# EOF\n");
    qn_buf_fini(&text);
    qn_metrics_free(m);
}

static int order(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* Each quantile against the sample of that rank. */
static void test_quantiles(void **state)
{
    static const double q[] = {0, 0.01, 0.5, 0.9, 0.99, 0.999, 1};
    enum { N = 20000, Q = sizeof q / sizeof q[0] };
    struct qn_metrics *m = new_metrics();
    struct qn_series *s = series_1(m, QN_METRIC_HTTP_SECONDS, "/");
    struct qn_series_since *since = qn_series_since_new(), *other = qn_series_since_new();
    double *sample = qn_mem_zalloc(N, sizeof(*sample)), out[Q];
    struct qn_rng rng;

    qn_rng_seed(&rng, 7);
    assert_int_equal(qn_series_quantiles(s, since, q, Q, out), 0);
    for (int i = 0; i < Q; i++)
        assert_true(isnan(out[i]));
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < N; i++) {
            sample[i] = 2e-6 * exp(20 * qn_rng_unit(&rng)) * (round + 1); /* 2 us to 2,900 s */
            qn_series_observe(s, sample[i], 1);
        }
        qsort(sample, N, sizeof(*sample), order);
        assert_int_equal(qn_series_quantiles(s, since, q, Q, out), N);
        for (int i = 0; i < Q; i++) {
            double want = sample[q[i] == 0 ? 0 : (int)ceil(q[i] * N) - 1];

            if (fabs(out[i] - want) > 0.032 * want)
                fail_msg("round %d: quantile %g is %g, not %g", round, q[i], out[i], want);
        }
    }
    assert_int_equal(qn_series_quantiles(s, other, q, Q, out), 3 * N);
    assert_int_equal(qn_series_quantiles(s, since, q, Q, out), 0);
    qn_mem_free(sample);
    qn_mem_free(since);
    qn_mem_free(other);
    qn_metrics_free(m);
}

static void test_quantiles_at_the_ends(void **state)
{
    static const double q[] = {0.5};
    struct qn_metrics *m = new_metrics();
    struct qn_series *s = qn_metrics_series(m, QN_METRIC_BATCH, NULL);
    struct qn_series *t = qn_metrics_series(m, QN_METRIC_LOG_SYNC, NULL);
    struct qn_series_since *since = qn_series_since_new();
    double out;

    for (uint64_t size = 1; size < 32; size++) { /* small sizes are exact */
        qn_series_observe(s, (double)size, 3);
        assert_int_equal(qn_series_quantiles(s, since, q, 1, &out), 3);
        assert_true(out == (double)size);
    }
    qn_mem_free(since);
    since = qn_series_since_new();
    qn_series_observe(t, 0, 1);
    qn_series_quantiles(t, since, q, 1, &out);
    assert_true(out >= 0 && out < 1e-6);
    qn_series_observe(t, INFINITY, 1);
    qn_series_quantiles(t, since, q, 1, &out);
    assert_true(out == 1048576);
    qn_mem_free(since);
    qn_metrics_free(m);
}

/* Every allocation fails once: what is counted then is lost, and nothing else. */
static void test_out_of_memory(void **state)
{
    struct qn_metrics *m = NULL;

    for (uint64_t n = 1; n <= 2; n++) {
        qn_mem_fail_at(n, false);
        assert_int_equal(qn_metrics_new(&m, NULL), QN_NOMEM);
    }
    qn_mem_fail_at(0, false);
    m = new_metrics();
    for (uint64_t n = 1; n <= 2; n++) {
        struct qn_series *s;
        struct qn_buf text;

        qn_mem_fail_at(n, false);
        s = series_1(m, QN_METRIC_EVENT_AGE, "lost");
        qn_mem_fail_at(0, false);
        qn_series_observe(s, 1, 1);
        qn_series_add(s, 1);
        text = render(m, false);
        check_lacks(&text, "lost");
        qn_buf_fini(&text);
    }
    qn_metrics_free(m);
}

enum { THREADS = 4, ROUNDS = 3000 };

struct counting {
    struct qn_metrics *m;
    unsigned number;
};

static void *count_main(void *arg)
{
    const struct counting *me = arg;
    struct qn_series *s = qn_metrics_series(me->m, QN_METRIC_BATCH, NULL);

    for (unsigned i = 0; i < ROUNDS; i++) {
        char name[8];

        qn_series_observe(s, me->number + 1, 1);
        if (i % 100 == 0) { /* all threads make the same series at the same time */
            snprintf(name, sizeof name, "%u", i / 100);
            qn_series_add(series_1(me->m, QN_METRIC_SINK_DELIVERED, name), 1);
        }
    }
    return NULL;
}

static void test_threads(void **state)
{
    static const double q[] = {0.5, 1};
    struct qn_metrics *m = new_metrics();
    struct qn_series *s = qn_metrics_series(m, QN_METRIC_BATCH, NULL);
    struct qn_series_since *since = qn_series_since_new();
    struct counting threads[THREADS];
    pthread_t ids[THREADS];
    struct qn_buf text;
    uint64_t seen = 0;
    double out[2];

    for (unsigned i = 0; i < THREADS; i++) {
        threads[i] = (struct counting){m, i};
        assert_int_equal(pthread_create(&ids[i], NULL, count_main, &threads[i]), 0);
    }
    for (int i = 0; i < 20; i++) {
        text = render(m, i % 2 == 0);
        qn_buf_fini(&text);
        seen += qn_series_quantiles(s, since, q, 2, out);
    }
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(ids[i], NULL);
    seen += qn_series_quantiles(s, since, q, 2, out);
    assert_int_equal(seen, THREADS * ROUNDS);
    text = render(m, false);
    check_has(&text, "ml_inference_batch_size_sum 30000\nml_inference_batch_size_count 12000\n");
    for (unsigned i = 0; i < ROUNDS / 100; i++) {
        char name[8];

        snprintf(name, sizeof name, "%u", i);
        assert_true(qn_series_get(series_1(m, QN_METRIC_SINK_DELIVERED, name)) == THREADS);
    }
    qn_buf_fini(&text);
    qn_mem_free(since);
    qn_metrics_free(m);
}

/* Runs `promtool check metrics` on a text; its exit status, or -1 where there is none. What it says
 * goes to stderr. */
static int promtool(const struct qn_buf *text)
{
    int ends[2], status;
    pid_t child;

    if (access("/usr/bin/promtool", X_OK) != 0)
        return -1;
    assert_int_equal(pipe(ends), 0);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        dup2(ends[0], 0);
        dup2(2, 1);
        close(ends[0]);
        close(ends[1]);
        execl("/usr/bin/promtool", "promtool", "check", "metrics", (char *)NULL);
        _exit(127);
    }
    close(ends[0]);
    for (size_t at = 0; at < text->len - 1;) {
        ssize_t n = write(ends[1], text->data + at, text->len - 1 - at);

        if (n <= 0)
            break;
        at += (size_t)n;
    }
    close(ends[1]);
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

/* Every metric of the table with two series, as another's tool reads it. */
static void test_promtool(void **state)
{
    static const enum qn_metric_type types[] = {
#define TYPE(id, name, type, labels, help, worry) [QN_METRIC_##id] = type,
        QN_METRIC_LIST(TYPE)
#undef TYPE
    };
    static const struct qn_str values[2][3] = {{{"a", 1}, {"b", 1}, {"c", 1}},
                                               {{"x\"", 2}, {"y\n", 2}, {"z\\", 2}}};
    struct qn_metrics *m = new_metrics();
    struct qn_buf text;
    int code;

    for (unsigned i = 0; i < QN_METRIC_COUNT; i++)
        for (int v = 0; v < 2 && (i < QN_METRIC_CPU || i > QN_METRIC_START); v++) {
            struct qn_series *s = qn_metrics_series(m, (enum qn_metric)i, values[v]);

            if (types[i] == QN_SECONDS || types[i] == QN_SIZES)
                qn_series_observe(s, 3, 2);
            else
                qn_series_add(s, 0.25);
        }
    text = render(m, false);
    code = promtool(&text);
    qn_buf_fini(&text);
    qn_metrics_free(m);
    if (code < 0) {
        print_message("skipped: promtool is not installed\n");
        skip();
    }
    assert_int_equal(code, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_series),         cmocka_unit_test(test_label_values),
        cmocka_unit_test(test_histogram_text), cmocka_unit_test(test_open_metrics),
        cmocka_unit_test(test_quantiles),      cmocka_unit_test(test_quantiles_at_the_ends),
        cmocka_unit_test(test_out_of_memory),  cmocka_unit_test(test_threads),
        cmocka_unit_test(test_promtool),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
