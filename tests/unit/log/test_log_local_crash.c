/* SPDX-License-Identifier: Apache-2.0
 * test_log_local_crash.c - power loss at every operation, also during recovery; a process that
 * dies; a sync that fails once.
 *
 * Holds always: every acknowledged append is there, what is there is a prefix, no append is there
 * in part. */
#include "log_disk.h"
#include "log_model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { SEGMENT = 128 * 1024 };

static int64_t now_us = 1000000;
static int64_t fake_wall(void *st)
{
    return now_us += 1000;
}
static int64_t fake_mono(void *st)
{
    return now_us * 1000;
}
static const struct qn_clock fake_clock = {fake_wall, fake_mono, NULL};

static struct qn_log_options options_of(struct disk *d, enum qn_log_codec codec)
{
    return (struct qn_log_options){.files = &d->table,
                                   .clock = &fake_clock,
                                   .segment_bytes = SEGMENT,
                                   .codec = codec,
                                   .is_threadless = true};
}

struct run {
    struct disk *d;
    uint64_t seed;
    enum qn_log_codec codec;
    uint64_t acknowledged, submitted; /* numbers of appends: [0, n) */
    bool trims;
};

/* Appends from the first one that is missing up to `end`, until something fails. True when all went
 * well. */
static bool append_until(struct run *r, uint64_t end, struct qn_err *err)
{
    struct qn_log_options opt = options_of(r->d, r->codec);
    struct qn_log_append *a;
    struct qn_log *lg;
    qn_status rc = qn_log_open("log", &opt, &lg, NULL, err);

    if (rc != QN_OK)
        return false;
    rc = model_topics(lg, err);
    assert_int_equal(rc, QN_OK);
    assert_int_equal(qn_log_append_new(lg, &a, err), QN_OK);
    if (r->trims)
        for (uint32_t t = 0; t < MODEL_TOPICS; t++)
            qn_log_retain(lg, t, 0, 20000);
    for (uint64_t i = r->submitted; i < end && rc == QN_OK; i++) {
        assert_int_equal(model_encode(a, r->seed, i, err), QN_OK);
        r->submitted = i + 1;
        rc = qn_log_commit(lg, a, NULL, err);
        if (rc == QN_OK) {
            r->acknowledged = i + 1;
        } else {
            assert_true(err->fatal);
            /* Nothing is acknowledged ever again. */
            assert_int_equal(model_encode(a, r->seed, i + 1, NULL), QN_OK);
            assert_int_not_equal(qn_log_commit(lg, a, NULL, NULL), QN_OK);
        }
        if (rc == QN_OK && r->trims && i % 5 == 0)
            rc = qn_log_trim(lg, NULL, err);
    }
    qn_log_append_free(a);
    if (qn_log_close(lg, NULL) != QN_OK)
        rc = QN_IO;
    return rc == QN_OK && !r->d->is_off;
}

/* The disk after a crash: opens and holds what it must. */
static void check(struct run *r)
{
    struct qn_log_options opt = options_of(r->d, r->codec);
    uint64_t first = 0, end = 0;
    struct qn_err err = {0};
    const char *wrong;
    struct qn_log *lg;

    if (qn_log_open("log", &opt, &lg, NULL, &err) != QN_OK)
        fail_msg("seed %llu: recovery refuses: %s: %s", (unsigned long long)r->seed, err.file,
                 err.text);
    wrong = model_check(lg, r->seed, &first, &end);
    if (wrong != NULL)
        fail_msg("seed %llu: %s", (unsigned long long)r->seed, wrong);
    if (end < r->acknowledged || end > r->submitted)
        fail_msg(
            "seed %llu: appends [%llu, %llu) are there, %llu were acknowledged, %llu submitted",
            (unsigned long long)r->seed, (unsigned long long)first, (unsigned long long)end,
            (unsigned long long)r->acknowledged, (unsigned long long)r->submitted);
    if (!r->trims)
        assert_int_equal(first, 0);
    r->acknowledged = r->submitted = end;
    assert_int_equal(qn_log_close(lg, &err), QN_OK);
}

static uint64_t count_calls(uint64_t seed, enum qn_log_codec codec, bool trims, uint64_t appends)
{
    struct run r = {.d = disk_new(seed), .seed = seed, .codec = codec, .trims = trims};
    struct qn_err err = {0};
    uint64_t calls;

    if (!append_until(&r, appends, &err))
        fail_msg("%s", err.text);
    calls = r.d->calls;
    disk_free(r.d);
    return calls;
}

/* Power fails at call n; then, at some call of recovery, again; then it runs on, and again. */
static void crash_everywhere(uint64_t seed, enum qn_log_codec codec, bool trims, uint64_t appends)
{
    uint64_t calls = count_calls(seed, codec, trims, appends);

    assert_true(calls > appends * 2);
    for (uint64_t n = 1; n <= calls; n++) {
        struct run r = {
            .d = disk_new(seed * 7919 + n), .seed = seed, .codec = codec, .trims = trims};
        struct qn_err err = {0};
        struct qn_log_options opt = options_of(r.d, codec);
        struct qn_log *lg;

        r.d->power_at = n;
        (void)append_until(&r, appends, &err);
        disk_power_loss(r.d);
        if (n % 3 == 0) {
            r.d->power_at = r.d->calls + 1 + qn_rng_below(&r.d->rng, 12);
            if (qn_log_open("log", &opt, &lg, NULL, &err) == QN_OK)
                (void)qn_log_close(lg, NULL);
            disk_power_loss(r.d);
        }
        check(&r);
        assert_true(append_until(&r, r.submitted + 6, &err));
        disk_power_loss(r.d);
        check(&r);
        disk_free(r.d);
    }
}

static void test_power_loss(void **state)
{
    print_message("seed 1\n");
    crash_everywhere(1, QN_LOG_PLAIN, false, 45);
}

static void test_power_loss_compressed(void **state)
{
    print_message("seed 2, 3\n");
    crash_everywhere(2, QN_LOG_LZ4, false, 15);
    crash_everywhere(3, QN_LOG_ZSTD, false, 15);
}

static void test_power_loss_with_retention(void **state)
{
    print_message("seed 4\n");
    crash_everywhere(4, QN_LOG_PLAIN, true, 75);
}

/* One call fails and the disk lives on. A sync that failed proves nothing later: fatal, and nothing
 * acknowledged is lost. */
static void test_one_failure(void **state)
{
    uint64_t calls = count_calls(5, QN_LOG_PLAIN, true, 70);

    print_message("seed 5\n");
    for (uint64_t n = 1; n <= calls; n++) {
        struct run r = {.d = disk_new(n), .seed = 5, .trims = true};
        struct qn_err err = {0};

        r.d->fail_at = n;
        r.d->fail_errno = EIO;
        (void)append_until(&r, 70, &err);
        if (n % 2 == 0)
            disk_power_loss(r.d);
        else
            disk_kill(r.d);
        r.d->fail_at = 0;
        check(&r);
        disk_free(r.d);
    }
}

/* kill -9: the page cache lives, so that everything written is there. */
static void test_killed(void **state)
{
    struct run r = {.d = disk_new(6), .seed = 6, .trims = true};
    struct qn_err err = {0};

    print_message("seed 6\n");
    for (int round = 0; round < 60; round++) {
        r.d->power_at = r.d->calls + 1 + qn_rng_below(&r.d->rng, 60);
        (void)append_until(&r, r.submitted + 20, &err);
        r.d->is_off = false;
        r.d->power_at = 0;
        disk_kill(r.d);
        check(&r);
    }
    assert_true(r.acknowledged > 100);
    disk_free(r.d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_power_loss),
        cmocka_unit_test(test_power_loss_compressed),
        cmocka_unit_test(test_power_loss_with_retention),
        cmocka_unit_test(test_one_failure),
        cmocka_unit_test(test_killed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
