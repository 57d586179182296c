/* SPDX-License-Identifier: Apache-2.0
 * sink_rig.h - what the tests of deliveries stand on: a log on a disk in memory, a clock that a
 * test turns, records with a number in them. */
#ifndef QN_TEST_SINK_RIG_H
#define QN_TEST_SINK_RIG_H

#include "../log/log_disk.h"
#include "sink/delivery.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { RIG_SEGMENT = 128 * 1024 };

struct rig {
    struct disk *disk;
    struct qn_clock clock;
    struct qn_random random;
    struct qn_rng rng;
    int64_t now_ns; /* monotonic; the wall clock is 2026 ahead of it */
    struct qn_log *lg;
    struct qn_delivery *delivery; /* running; a test that fails leaves it to the end */
    uint32_t topic, dead;
    uint64_t appended;
    char told[8192];
};

static inline int64_t rig_wall(void *st)
{
    struct rig *r = st;

    return INT64_C(1767225600000000) + r->now_ns / 1000;
}

static inline int64_t rig_mono(void *st)
{
    struct rig *r = st;

    return r->now_ns;
}

static inline void rig_fill(void *st, void *out, size_t bytes)
{
    struct rig *r = st;

    for (size_t i = 0; i < bytes; i++)
        ((unsigned char *)out)[i] = (unsigned char)(qn_rng_next(&r->rng) >> 32);
}

static inline void rig_tell(void *arg, bool is_problem, const char *sink, const char *text)
{
    struct rig *r = arg;
    size_t n = strlen(r->told);

    snprintf(r->told + n, sizeof r->told - n, "%c %s: %s\n", is_problem ? '!' : '.', sink, text);
}

static inline qn_status rig_open_log(struct rig *r, struct qn_err *err)
{
    struct qn_log_options opt = {.files = &r->disk->table,
                                 .clock = &r->clock,
                                 .random = &r->random,
                                 .segment_bytes = RIG_SEGMENT,
                                 .is_threadless = true};

    QN_TRY(qn_log_open("log", &opt, &r->lg, NULL, err));
    QN_TRY(qn_log_topic(r->lg, qn_str_of("alerts"), true, &r->topic, err));
    return qn_log_topic(r->lg, qn_str_of("dead"), true, &r->dead, err);
}

static inline void rig_init(struct rig *r, uint64_t seed)
{
    memset(r, 0, sizeof *r);
    r->disk = disk_new(seed);
    r->clock = (struct qn_clock){rig_wall, rig_mono, r};
    r->random = (struct qn_random){rig_fill, r};
    qn_rng_seed(&r->rng, seed);
    r->now_ns = 5000000000;
}

static inline void rig_new(struct rig *r, uint64_t seed)
{
    struct qn_err err = {0};

    rig_init(r, seed);
    if (rig_open_log(r, &err) != QN_OK)
        fail_msg("%s", err.text);
}

/* Appends records {"id":"shop:orders:0:N","n":N}, all in one. */
static inline qn_status rig_append(struct rig *r, uint32_t count, struct qn_err *err)
{
    struct qn_log_append *a;
    qn_status rc = qn_log_append_new(r->lg, &a, err);
    char value[128];

    for (uint32_t i = 0; i < count && rc == QN_OK; i++) {
        unsigned long long n = r->appended + i;
        struct qn_log_record rec = {.key = {"C1", 2}, .time_us = INT64_C(1767225600000000)};
        struct qn_buf headers = {0};

        qn_log_header_add(&headers, qn_str_of("traceparent"), qn_str_of("00-1"));
        rec.headers = (struct qn_str){headers.data, (uint32_t)headers.len};
        rec.value = (struct qn_str){
            value,
            (uint32_t)snprintf(value, sizeof value,
                               "{\"id\":\"shop:orders:0:%llu\",\"score\":0.5,\"n\":%llu}", n, n)};
        rc = qn_log_append_record(a, r->topic, QN_LOG_RECORDS, &rec, err);
        qn_buf_fini(&headers);
    }
    if (rc == QN_OK)
        rc = qn_log_commit(r->lg, a, NULL, err);
    if (rc == QN_OK)
        r->appended += count;
    qn_log_append_free(a);
    return rc;
}

static inline void rig_add(struct rig *r, uint32_t count)
{
    struct qn_err err = {0};

    while (count > 0) { /* an append of a small segment takes so many */
        uint32_t n = count < 100 ? count : 100;

        if (rig_append(r, n, &err) != QN_OK)
            fail_msg("%s", err.text);
        count -= n;
    }
}

static inline struct qn_delivery_options rig_options(struct rig *r, const struct qn_sink *sink)
{
    return (struct qn_delivery_options){.log = r->lg,
                                        .topic = r->topic,
                                        .dead_topic = r->dead,
                                        .sink = sink,
                                        .pipeline = qn_str_of("shop"),
                                        .output = qn_str_of("alerts"),
                                        .holds = "alert",
                                        .files = &r->disk->table,
                                        .clock = &r->clock,
                                        .random = &r->random,
                                        .tell = rig_tell,
                                        .tell_arg = r,
                                        .is_threadless = true};
}

static inline struct qn_delivery *rig_start(struct rig *r, const struct qn_sink *sink)
{
    struct qn_delivery_options opt = rig_options(r, sink);
    struct qn_delivery *d;
    struct qn_err err = {0};

    if (qn_delivery_start(&opt, &d, &err) != QN_OK)
        fail_msg("%s", err.text);
    r->delivery = d;
    return d;
}

static inline bool rig_stop(struct rig *r)
{
    struct qn_delivery *d = r->delivery;

    r->delivery = NULL;
    return qn_delivery_stop(d, 0);
}

/* Steps until it wants to wait; returns how long. */
static inline int64_t rig_steps(struct qn_delivery *d)
{
    int64_t wait_ns = 0;

    for (int i = 0; i < 100000 && wait_ns == 0; i++)
        qn_delivery_step(d, &wait_ns);
    return wait_ns;
}

/* Lets so much time pass, in waits as the delivery asks for them. */
static inline void rig_pass(struct rig *r, struct qn_delivery *d, int64_t ms)
{
    int64_t end = r->now_ns + ms * 1000000;

    while (r->now_ns < end) {
        int64_t wait_ns = rig_steps(d);

        r->now_ns = wait_ns < end - r->now_ns ? r->now_ns + wait_ns : end;
    }
    (void)rig_steps(d);
}

static inline uint64_t rig_cursor(struct rig *r, const char *name)
{
    uint32_t topic;
    uint64_t offset;
    struct qn_err err = {0};

    if (qn_log_cursor(r->lg, qn_str_of(name), &topic, &offset, &err) != QN_OK)
        fail_msg("%s", err.text);
    assert_int_equal(topic, r->topic);
    return offset;
}

static inline void rig_free(struct rig *r)
{
    struct qn_err err = {0};

    (void)rig_stop(r);
    if (qn_log_close(r->lg, &err) != QN_OK)
        fail_msg("%s", err.text);
    disk_free(r->disk);
}

#endif
