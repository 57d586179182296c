/* SPDX-License-Identifier: Apache-2.0
 * bench_window.c - nanoseconds per event and group for the shape of the card-fraud example.
 *
 * Two groups over the same events: 5,000 customers (count and mean of a decimal amount over 1, 7
 * and 30 days) and 10,000 terminals (count and mean of a bool over 1, 7 and 30 days, delayed 7
 * days). Events are random with the rates of the example; whole log in batches of 4,096, one
 * worker. Every batch counts with its fastest of several passes, so that other work on the machine
 * hardly shows. JSON to stdout. Usage: bench_window [EVENTS [DISORDER_PERCENT]] */
#include "base/clock.h"
#include "base/hash.h"
#include "feature/window.h"

#include <stdio.h>
#include <stdlib.h>

enum { BATCH = 4096, CUSTOMERS = 5000, TERMINALS = 10000, PASSES = 5, WINDOWS = 6 };
#define DAY_US ((int64_t)86400 * 1000000)

struct events {
    uint32_t count;
    int64_t *time_us;
    struct qn_str *key[2];
    uint64_t *hash[2];
    int64_t *value[2];
    uint8_t *valid, *role;
};

static void *array(size_t count, size_t bytes)
{
    void *p = qn_mem_zalloc(count, bytes);

    if (p == NULL)
        exit(1);
    return p;
}

static struct events events_new(uint32_t count, uint32_t disorder_percent)
{
    struct events ev = {.count = count};
    const uint32_t keys[2] = {CUSTOMERS, TERMINALS};
    char *text = array((size_t)count * 2, 16);
    int64_t span_us = (int64_t)count * 61 * DAY_US / 585000;
    struct qn_rng r;

    qn_rng_seed(&r, 2018);
    ev.time_us = array(count, sizeof *ev.time_us);
    ev.valid = array(count, 1);
    ev.role = array(count, 1);
    for (int k = 0; k < 2; k++) {
        ev.key[k] = array(count, sizeof *ev.key[k]);
        ev.hash[k] = array(count, sizeof *ev.hash[k]);
        ev.value[k] = array(count, sizeof *ev.value[k]);
    }
    for (uint32_t i = 0; i < count; i++) {
        ev.time_us[i] = span_us / count * i;
        if (qn_rng_below(&r, 100) < disorder_percent)
            ev.time_us[i] -= qn_rng_below(&r, 10 * 1000000);
        ev.valid[i] = 1;
        ev.role[i] = QN_ROLE_UPDATE | QN_ROLE_READ;
        for (int k = 0; k < 2; k++) {
            char *t = text + ((size_t)i * 2 + (size_t)k) * 16;

            ev.key[k][i] =
                (struct qn_str){t, (uint32_t)snprintf(t, 16, "%u", qn_rng_below(&r, keys[k]))};
            ev.hash[k][i] = qn_hash(t, ev.key[k][i].len, 0);
        }
        ev.value[0][i] = qn_rng_below(&r, 20000);
        ev.value[1][i] = qn_rng_below(&r, 100) == 0;
    }
    return ev;
}

static struct qn_group *group_new(int k)
{
    static const struct qn_kind args[2] = {{QN_DECIMAL, 2}, {QN_BOOL, 0}};
    static const int64_t days[] = {1, 7, 30};
    struct qn_window windows[WINDOWS];
    struct qn_group_spec spec = {&args[k], 1, 0, windows, WINDOWS, 20 * 1000000};
    struct qn_group *g = NULL;

    for (int i = 0; i < WINDOWS; i++)
        windows[i] = (struct qn_window){i < 3 ? QN_AGGREGATE_COUNT : QN_AGGREGATE_MEAN,
                                        i < 3 ? -1 : 0,
                                        -1,
                                        days[i % 3] * DAY_US,
                                        k == 0 ? 0 : 7 * DAY_US,
                                        false,
                                        {i < 3 ? QN_INT64 : QN_DOUBLE, 0}};
    if (qn_group_new(&spec, 1, &g, NULL) != QN_OK)
        exit(1);
    return g;
}

/* One pass of the whole log through group k; best_ns has one entry per batch. */
static void pass(const struct events *ev, int k, struct qn_group *g, int64_t *best_ns)
{
    static const struct qn_kind kinds[2] = {{QN_DECIMAL, 2}, {QN_BOOL, 0}};
    struct qn_arena arena = {0};
    struct qn_col arg = {.kind = kinds[k]};
    const struct qn_col *args[] = {&arg};
    struct qn_col cols[WINDOWS];
    struct qn_col *out[WINDOWS];

    for (int i = 0; i < WINDOWS; i++) {
        cols[i] = (struct qn_col){.kind = {i < 3 ? QN_INT64 : QN_DOUBLE, 0}};
        cols[i].valid = array(BATCH, 1);
        cols[i].i64 = array(BATCH, 8);
        out[i] = &cols[i];
    }
    for (uint32_t at = 0; at < ev->count; at += BATCH) {
        uint32_t n = ev->count - at < BATCH ? ev->count - at : BATCH;
        struct qn_wave w = {
            n, ev->role + at, ev->time_us + at, ev->key[k] + at, ev->hash[k] + at, args, NULL, out};

        arg.valid = ev->valid + at;
        arg.i64 = ev->value[k] + at;
        int64_t start_ns = qn_clock_system.mono_ns(qn_clock_system.st);

        qn_arena_reset(&arena);
        if (qn_group_run(g, &w, 0, 1, &arena, NULL) != QN_OK)
            exit(1);
        qn_group_expire(g, ev->time_us[at], n);
        int64_t ns = qn_clock_system.mono_ns(qn_clock_system.st) - start_ns;

        if (best_ns[at / BATCH] == 0 || ns < best_ns[at / BATCH])
            best_ns[at / BATCH] = ns;
    }
    for (int i = 0; i < WINDOWS; i++) {
        qn_mem_free(cols[i].valid);
        qn_mem_free(cols[i].i64);
    }
    qn_arena_fini(&arena);
}

int main(int argc, char **argv)
{
    static const char *const names[2] = {"customers", "terminals"};
    uint32_t count = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : 585000;
    struct events ev = events_new(count, argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 0);

    for (int k = 0; k < 2; k++) {
        int64_t *best_ns = array(count / BATCH + 1, sizeof *best_ns);
        double sum_ns = 0;

        for (int p = 0; p < PASSES; p++) {
            struct qn_group *g = group_new(k);

            pass(&ev, k, g, best_ns);
            if (p + 1 == PASSES) {
                for (uint32_t i = 0; i < count / BATCH + 1; i++)
                    sum_ns += (double)best_ns[i];
                printf("{\"group\":\"%s\",\"events\":%u,\"ns_per_event\":%.1f,\"keys\":%llu,"
                       "\"bytes\":%zu}\n",
                       names[k], count, sum_ns / count, (unsigned long long)qn_group_keys(g),
                       qn_group_bytes(g));
            }
            qn_group_free(g);
        }
        qn_mem_free(best_ns);
    }
    return 0;
}
