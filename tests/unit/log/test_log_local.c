/* SPDX-License-Identifier: Apache-2.0
 * test_log_local.c - the log against its twin: random appends, reopenings, readers from anywhere;
 * full disks, locks, retention and holds. */
#include "log/log_local.h"

#include "base/memory.h"
#include "log_disk.h"
#include "log_model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

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

static struct qn_log *open_log(struct disk *d, enum qn_log_codec codec)
{
    const struct qn_log_options opt = {.files = &d->table,
                                       .clock = &fake_clock,
                                       .segment_bytes = SEGMENT,
                                       .codec = codec,
                                       .is_threadless = true};
    struct qn_err err = {0};
    struct qn_log *lg;

    if (qn_log_open("log", &opt, &lg, NULL, &err) != QN_OK)
        fail_msg("%s", err.text);
    assert_int_equal(model_topics(lg, &err), QN_OK);
    return lg;
}

static void append(struct qn_log *lg, uint64_t seed, uint64_t from, uint64_t end)
{
    struct qn_log_append *a;
    struct qn_err err = {0};

    assert_int_equal(qn_log_append_new(lg, &a, &err), QN_OK);
    for (uint64_t i = from; i < end; i++) {
        assert_int_equal(model_encode(a, seed, i, &err), QN_OK);
        if (qn_log_commit(lg, a, NULL, &err) != QN_OK)
            fail_msg("%s", err.text);
    }
    qn_log_append_free(a);
}

/* One topic as the twin has it: all its records in order. */
struct twin {
    struct qn_log_record *list;
    uint64_t count;
};

static struct twin twin_of(uint64_t seed, uint64_t appends, uint32_t topic)
{
    static struct model_append a;
    struct twin t = {calloc(appends * MODEL_RECORDS_MAX, sizeof *t.list), 0};

    for (uint64_t i = 0; i < appends; i++) {
        model_make(seed, i, &a);
        for (unsigned k = 0; k < a.count; k++)
            if (a.list[k].r.topic == topic) {
                t.list[t.count] = a.list[k].r;
                t.list[t.count++].offset = i; /* its append */
            }
    }
    return t;
}

/* A reader of one topic, put anywhere, gives what the twin has from there on. */
static void read_anywhere(struct qn_log *lg, uint64_t seed, uint64_t appends, struct qn_rng *rng)
{
    uint32_t topic = qn_rng_below(rng, MODEL_TOPICS);
    struct qn_log_selection what = {.topics = &topic, .topic_count = 1};
    struct twin t = twin_of(seed, appends, topic);
    static struct qn_log_record out[500];
    struct qn_log_reader *r;
    struct qn_err err = {0};

    assert_int_equal(qn_log_reader_new(lg, &what, &r, &err), QN_OK);
    for (int round = 0; round < 12; round++) {
        uint64_t at = qn_rng_below(rng, (uint32_t)t.count + 1);
        enum qn_flow flow;
        uint32_t n;

        assert_int_equal(qn_log_reader_seek(r, topic, at, &err), QN_OK);
        for (int calls = (int)qn_rng_below(rng, 6); calls >= 0; calls--) {
            uint32_t max = 1 + qn_rng_below(rng, 500);

            assert_int_equal(qn_log_reader_next(r, out, max, &n, &flow, &err), QN_OK);
            assert_true(n <= max);
            assert_int_equal(flow, n > 0 ? QN_MORE : QN_IDLE);
            assert_true(n > 0 || at == t.count);
            for (uint32_t k = 0; k < n; k++, at++) {
                assert_int_equal(out[k].offset, at);
                assert_int_equal(out[k].topic, topic);
                assert_int_equal(out[k].key.len, t.list[at].key.len);
                assert_int_equal(out[k].value.len, t.list[at].value.len);
                assert_true(out[k].time_us == t.list[at].time_us);
            }
            if (qn_rng_below(rng, 2))
                qn_log_reader_release(r);
        }
        qn_log_reader_release(r);
    }
    assert_int_equal(qn_log_reader_seek(r, topic, t.count + 1, &err), QN_NOT_FOUND);
    assert_int_equal(err.offset, t.count);
    qn_log_reader_free(r);
    free(t.list);
}

static void twin_run(uint64_t seed, enum qn_log_codec codec)
{
    struct disk *d = disk_new(seed);
    struct qn_log *lg = open_log(d, codec);
    uint64_t appends = 0, first, end = 0;
    struct qn_rng rng;

    qn_rng_seed(&rng, seed);
    d->no_direct = seed % 2;
    for (int round = 0; round < 30; round++) {
        uint64_t more = qn_rng_below(&rng, 12);
        const char *wrong;

        append(lg, seed, appends, appends + more);
        appends += more;
        if (qn_rng_below(&rng, 3) == 0) {
            assert_int_equal(qn_log_close(lg, NULL), QN_OK);
            lg = open_log(d, codec);
        }
        wrong = model_check(lg, seed, &first, &end);
        if (wrong != NULL)
            fail_msg("seed %llu, round %d: %s", (unsigned long long)seed, round, wrong);
        assert_int_equal(end, appends);
        read_anywhere(lg, seed, appends, &rng);
    }
    assert_int_equal(qn_log_close(lg, NULL), QN_OK);
    disk_free(d);
}

static void test_twin(void **state)
{
    print_message("seeds 21 to 23\n");
    twin_run(21, QN_LOG_PLAIN);
    twin_run(22, QN_LOG_LZ4);
    twin_run(23, QN_LOG_ZSTD);
}

/* Several topics from offsets of their own: the order of the log, nothing before the offsets. */
static void test_merged(void **state)
{
    struct disk *d = disk_new(1);
    struct qn_log *lg = open_log(d, QN_LOG_PLAIN);
    const uint32_t topics[2] = {0, 1};
    const struct qn_log_selection what = {.topics = topics, .topic_count = 2};
    static struct qn_log_record out[3000];
    static struct model_append a;
    uint64_t seen[2] = {0, 0}, lsn = 0, next[2] = {40, 90};
    struct qn_log_reader *r;
    struct qn_err err = {0};
    enum qn_flow flow;
    uint32_t n, at = 0;

    append(lg, 31, 0, 150);
    assert_int_equal(qn_log_reader_new(lg, &what, &r, &err), QN_OK);
    assert_int_equal(qn_log_reader_seek(r, 1, 90, &err), QN_OK);
    assert_int_equal(qn_log_reader_seek(r, 0, 40, &err), QN_OK);
    do {
        assert_int_equal(qn_log_reader_next(r, out + at, 3000 - at, &n, &flow, &err), QN_OK);
        at += n;
    } while (n > 0);
    n = 0;
    for (uint64_t i = 0; i < 150; i++) {
        model_make(31, i, &a);
        for (unsigned k = 0; k < a.count; k++) {
            uint32_t t = a.list[k].r.topic;

            if (t < 2 && seen[t]++ >= next[t]) {
                assert_int_equal(out[n].topic, t);
                assert_int_equal(out[n].offset, seen[t] - 1);
                assert_true(out[n].lsn >= lsn);
                lsn = out[n++].lsn;
            }
        }
    }
    assert_int_equal(n, at);
    /* By LSN: the frame itself and what follows. */
    lsn = out[at / 2].lsn;
    assert_int_equal(qn_log_reader_seek_lsn(r, lsn, &err), QN_OK);
    assert_int_equal(qn_log_reader_next(r, out, 1, &n, &flow, &err), QN_OK);
    assert_int_equal(out[0].lsn, lsn);
    assert_int_equal(qn_log_reader_seek_lsn(r, UINT64_MAX, &err), QN_NOT_FOUND);
    /* By time: nothing at or after it was left out. */
    assert_int_equal(qn_log_reader_seek_time(r, false, 100 * 1000000, &err), QN_OK);
    assert_int_equal(qn_log_reader_next(r, out, 1, &n, &flow, &err), QN_OK);
    assert_int_equal(n, 1);
    lsn = out[0].lsn;
    assert_int_equal(qn_log_reader_seek_lsn(r, 0, &err), QN_OK);
    for (;;) {
        assert_int_equal(qn_log_reader_next(r, out, 100, &n, &flow, &err), QN_OK);
        if (n == 0)
            break;
        for (uint32_t k = 0; k < n; k++)
            assert_true(out[k].lsn >= lsn || out[k].time_us < 100 * 1000000);
        qn_log_reader_release(r);
    }
    assert_int_equal(qn_log_reader_seek_time(r, true, now_us + 1, &err), QN_OK);
    assert_int_equal(qn_log_reader_next(r, out, 100, &n, &flow, &err), QN_OK);
    assert_int_equal(n, 0);
    assert_false(qn_log_reader_wait(r, 1));
    qn_log_reader_free(r);
    qn_log_close(lg, NULL);
    disk_free(d);
}

/* What is too large or makes no sense is refused, and the append keeps what it had. */
static void test_limits(void **state)
{
    struct disk *d = disk_new(1);
    struct qn_log *lg = open_log(d, QN_LOG_PLAIN);
    static char big[SEGMENT];
    const struct qn_log_record r = {.value = {big, sizeof big}}, small = {.value = {big, 10}};
    struct qn_log_append *a;
    struct qn_err err = {0};
    struct qn_log_topic_info info;
    struct qn_buf b = {0};
    uint32_t topic;
    uint64_t offset;
    unsigned n = 0;

    assert_int_equal(qn_log_append_new(lg, &a, &err), QN_OK);
    assert_int_equal(qn_log_commit(lg, a, NULL, &err), QN_INVALID);
    assert_int_equal(qn_log_append_record(a, 0, QN_LOG_RECORDS, &small, &err), QN_OK);
    assert_int_equal(qn_log_append_record(a, 0, QN_LOG_RECORDS, &r, &err), QN_LIMIT);
    assert_int_equal(qn_log_append_commit(a, 1, 5, (struct qn_str){big, sizeof big}, &err),
                     QN_LIMIT);
    assert_int_equal(qn_log_append_records(a), 1);
    assert_int_equal(qn_log_commit(lg, a, NULL, &err), QN_OK);
    assert_int_equal(qn_log_append_first(a, 0), 0);
    assert_int_equal(qn_log_append_first(a, 1), QN_LOG_NO_OFFSET);
    qn_log_append_reset(a);
    while (qn_log_append_record(a, 1, QN_LOG_RECORDS, &small, &err) == QN_OK)
        n++;
    assert_true(qn_log_append_bytes(a) <= qn_log_append_limit(lg));
    assert_int_equal(qn_log_commit(lg, a, NULL, &err), QN_OK);
    qn_log_topic_info(lg, 1, &info);
    assert_int_equal(info.next, n);
    assert_int_equal(qn_log_topic(lg, qn_str_of(""), true, &topic, &err), QN_INVALID);
    assert_int_equal(qn_log_topic(lg, qn_str_of("a\nb"), true, &topic, &err), QN_INVALID);
    assert_int_equal(qn_log_topic(lg, qn_str_of("nobody"), false, &topic, &err), QN_NOT_FOUND);
    assert_int_equal(qn_log_last_commit(lg, 99, NULL, NULL, &b, &err), QN_NOT_FOUND);
    assert_int_equal(qn_log_cursor(lg, qn_str_of("nobody"), &topic, &offset, &err), QN_NOT_FOUND);
    /* Names until the dictionary would not fit into a small segment: refused, never fatal. */
    for (n = 0; n < 2000; n++) {
        char name[201];

        memset(name, 'n', 200);
        name[200] = '\0';
        snprintf(name, 10, "%09u", n);
        name[9] = '-';
        if (qn_log_topic(lg, qn_str_of(name), true, &topic, &err) != QN_OK)
            break;
    }
    assert_true(n > 50 && n < 1000);
    assert_int_equal(err.code, QN_LIMIT);
    append(lg, 5, 0, 100); /* over several segments */
    assert_int_equal(qn_log_close(lg, NULL), QN_OK);
    lg = open_log(d, QN_LOG_PLAIN);
    assert_int_equal(qn_log_topic_count(lg), n + MODEL_TOPICS);
    qn_log_append_free(a);
    assert_int_equal(qn_log_close(lg, NULL), QN_OK);
    disk_free(d);
    /* A cursor that is set, moved and removed; its slot is used again. */
    d = disk_new(2);
    lg = open_log(d, QN_LOG_PLAIN);
    assert_int_equal(qn_log_append_new(lg, &a, &err), QN_OK);
    for (uint64_t i = 0; i < 600; i++) {
        char name[20];

        snprintf(name, sizeof name, "c%llu", (unsigned long long)i);
        qn_log_append_reset(a);
        qn_log_append_free(a);
        assert_int_equal(qn_log_append_new(lg, &a, &err), QN_OK);
        assert_int_equal(qn_log_append_cursor(a, qn_str_of(name), 0, i, &err), QN_OK);
        if (i > 5) {
            snprintf(name, sizeof name, "c%llu", (unsigned long long)i - 5);
            assert_int_equal(qn_log_append_cursor(a, qn_str_of(name), 0, QN_LOG_NO_OFFSET, &err),
                             QN_OK);
        }
        assert_int_equal(qn_log_commit(lg, a, NULL, &err), QN_OK);
    }
    assert_int_equal(qn_log_cursor(lg, qn_str_of("c599"), &topic, &offset, &err), QN_OK);
    assert_int_equal(offset, 599);
    assert_int_equal(qn_log_cursor(lg, qn_str_of("c300"), &topic, &offset, &err), QN_NOT_FOUND);
    qn_log_append_free(a);
    assert_int_equal(qn_log_close(lg, NULL), QN_OK);
    qn_buf_fini(&b);
    disk_free(d);
}

static void test_headers(void **state)
{
    struct qn_buf b = {0};
    struct qn_log_header h;
    struct qn_str left;

    qn_log_header_add(&b, qn_str_of("trace"), qn_str_of("abc"));
    qn_log_header_add(&b, qn_str_of(""), qn_str_of(""));
    assert_int_equal(b.len, 12);
    assert_memory_equal(b.data, "\5trace\3abc\0\0", 12);
    left = (struct qn_str){b.data, (uint32_t)b.len};
    assert_true(qn_log_header_next(&left, &h));
    assert_true(qn_str_is(h.name, "trace") && qn_str_is(h.value, "abc"));
    assert_true(qn_log_header_next(&left, &h));
    assert_int_equal(h.name.len + h.value.len, 0);
    assert_false(qn_log_header_next(&left, &h));
    left = (struct qn_str){b.data, 8}; /* cut */
    assert_false(qn_log_header_next(&left, &h));
    qn_buf_fini(&b);
}

static void test_two_writers(void **state)
{
    struct disk *d = disk_new(1);
    const struct qn_log_options opt = {
        .files = &d->table, .segment_bytes = SEGMENT, .is_threadless = true};
    struct qn_log_options reading = opt;
    struct qn_log *lg = open_log(d, QN_LOG_PLAIN), *second;
    struct qn_log_append *a;
    struct qn_err err = {0};
    uint64_t first, end = 0;
    uint32_t topic;
    char pid[32];

    append(lg, 1, 0, 5);
    assert_int_equal(qn_log_open("log", &opt, &second, NULL, &err), QN_DENIED);
    snprintf(pid, sizeof pid, "open in process %ld:", (long)getpid());
    assert_non_null(strstr(err.text, pid));
    /* Reading beside the writer is fine, and changes nothing. */
    reading.is_read_only = true;
    assert_int_equal(qn_log_open("log", &reading, &second, NULL, &err), QN_OK);
    assert_null(model_check(second, 1, &first, &end));
    assert_int_equal(end, 5);
    assert_int_equal(qn_log_topic(second, qn_str_of("new"), true, &topic, &err), QN_DENIED);
    assert_int_equal(qn_log_append_new(second, &a, &err), QN_OK);
    assert_int_equal(model_encode(a, 1, 5, &err), QN_OK);
    assert_int_equal(qn_log_commit(second, a, NULL, &err), QN_DENIED);
    qn_log_append_free(a);
    assert_int_equal(qn_log_close(second, NULL), QN_OK);
    append(lg, 1, 5, 9);
    assert_int_equal(qn_log_close(lg, NULL), QN_OK);
    lg = open_log(d, QN_LOG_PLAIN);
    assert_int_equal(qn_log_close(lg, NULL), QN_OK);
    d->is_tmpfs = true;
    assert_int_equal(qn_log_open("log", &opt, &second, NULL, &err), QN_UNSUPPORTED);
    assert_non_null(strstr(err.text, "tmpfs"));
    d->is_tmpfs = false;
    assert_int_equal(qn_log_open("log", &reading, &second, NULL, &err), QN_OK);
    qn_log_close(second, NULL);
    disk_free(d);
    d = disk_new(1);
    reading.files = &d->table;
    assert_int_equal(qn_log_open("log", &reading, &second, NULL, &err), QN_NOT_FOUND);
    disk_free(d);
}

/* A full disk shows at half a segment: ordinary appends are refused before the reserve, reserved
 * ones go on to the end, readers read; and when space returns everything goes on. */
static void test_full_disk(void **state)
{
    struct disk *d = disk_new(1);
    struct qn_log *lg;
    struct qn_log_append *a, *engine;
    struct qn_log_ends ends;
    struct qn_err err = {0};
    uint64_t i = 0, first, end = 0, ordinary_end;
    qn_status rc;

    d->space = SEGMENT + 4096;
    lg = open_log(d, QN_LOG_PLAIN);
    assert_int_equal(qn_log_append_new(lg, &a, &err), QN_OK);
    assert_int_equal(qn_log_append_new(lg, &engine, &err), QN_OK);
    qn_log_append_reserved(engine, true);
    for (rc = QN_OK; rc == QN_OK; i += rc == QN_OK) {
        assert_int_equal(model_encode(a, 9, i, &err), QN_OK);
        rc = qn_log_commit(lg, a, NULL, &err);
    }
    assert_int_equal(rc, QN_FULL);
    assert_true(err.retriable);
    assert_false(err.fatal);
    assert_true(qn_log_is_full(lg));
    qn_log_ends(lg, &ends);
    ordinary_end = ends.end_lsn;
    assert_true(ordinary_end > SEGMENT / 2 && ordinary_end <= SEGMENT - SEGMENT / 8);
    for (rc = QN_OK; rc == QN_OK; i += rc == QN_OK) {
        assert_int_equal(model_encode(engine, 9, i, &err), QN_OK);
        rc = qn_log_commit(lg, engine, NULL, &err);
    }
    assert_int_equal(rc, QN_FULL);
    qn_log_ends(lg, &ends);
    assert_true(ends.end_lsn > ordinary_end);
    assert_null(model_check(lg, 9, &first, &end));
    assert_int_equal(end, i);
    d->space = UINT64_MAX / 2;
    assert_int_equal(qn_log_commit(lg, engine, NULL, &err), QN_OK); /* again, as it is */
    i++;
    assert_false(qn_log_is_full(lg));
    append(lg, 9, i, i + 40);
    assert_null(model_check(lg, 9, &first, &end));
    assert_int_equal(end, i + 40);
    qn_log_append_free(a);
    qn_log_append_free(engine);
    assert_int_equal(qn_log_close(lg, NULL), QN_OK);
    disk_free(d);
}

static uint32_t trim(struct qn_log *lg)
{
    struct qn_err err = {0};
    uint32_t n;

    if (qn_log_trim(lg, &n, &err) != QN_OK)
        fail_msg("%s", err.text);
    return n;
}

static void test_retention(void **state)
{
    struct disk *d = disk_new(1);
    struct qn_log *lg = open_log(d, QN_LOG_PLAIN);
    const uint32_t topic = 0;
    const struct qn_log_selection what = {.topics = &topic, .topic_count = 1};
    struct qn_log_topic_info info;
    struct qn_log_append *a;
    struct qn_log_reader *r;
    struct qn_log_ends ends;
    struct qn_err err = {0};
    uint64_t first = 0, end = 0, kept;

    append(lg, 4, 0, 200);
    assert_int_equal(trim(lg), 0); /* for ever, unless said otherwise */
    for (uint32_t t = 0; t < 2; t++)
        qn_log_retain(lg, t, 0, 1000);
    assert_int_equal(trim(lg), 0); /* topic 2 is still kept */
    qn_log_retain(lg, 2, 1, 0);
    /* A hold, a reader, a cursor: each keeps what lies from its place on. */
    assert_int_equal(qn_log_hold(lg, qn_str_of("snapshot"), 100, &err), QN_OK);
    assert_int_equal(trim(lg), 0);
    assert_int_equal(qn_log_reader_new(lg, &what, &r, &err), QN_OK);
    qn_log_release_hold(lg, qn_str_of("snapshot"));
    assert_int_equal(trim(lg), 0);
    assert_int_equal(qn_log_append_new(lg, &a, &err), QN_OK);
    assert_int_equal(qn_log_append_cursor(a, qn_str_of("slow sink"), 0, 3, &err), QN_OK);
    assert_int_equal(qn_log_commit(lg, a, NULL, &err), QN_OK);
    qn_log_reader_free(r);
    /* "sink one" and "sink two" are at 198 and 199; only the slow one still needs the start. */
    assert_int_equal(trim(lg), 0);
    qn_log_append_reset(a);
    for (int i = 0; i < 3; i++)
        assert_int_equal(qn_log_append_cursor(a,
                                              qn_str_of(i == 0   ? "slow sink"
                                                        : i == 1 ? "sink one"
                                                                 : "sink two"),
                                              0, QN_LOG_NO_OFFSET, &err),
                         QN_OK);
    assert_int_equal(qn_log_commit(lg, a, NULL, &err), QN_OK);
    qn_log_ends(lg, &ends);
    assert_int_equal(qn_log_hold(lg, qn_str_of("snapshot"), ends.first_lsn + SEGMENT + 1, &err),
                     QN_OK);
    assert_int_equal(trim(lg), 1);
    qn_log_topic_info(lg, 0, &info);
    kept = info.first;
    assert_true(kept > 0);
    assert_int_equal(qn_log_reader_new(lg, &what, &r, &err), QN_OK);
    assert_int_equal(qn_log_reader_seek(r, 0, 0, &err), QN_NOT_FOUND);
    assert_int_equal(err.offset, kept);
    assert_int_equal(qn_log_reader_seek(r, 0, kept, &err), QN_OK);
    qn_log_reader_free(r);
    qn_log_release_hold(lg, qn_str_of("snapshot"));
    assert_true(trim(lg) > 0);
    assert_int_equal(trim(lg), 0);
    /* What is kept reads well, also after removed files have become segments again. */
    append(lg, 4, 200, 201);
    assert_null(model_check(lg, 4, &first, &end));
    assert_true(first > 0);
    assert_int_equal(end, 201);
    for (uint64_t i = 201; i < 600; i += 10) {
        append(lg, 4, i, i + 10);
        (void)trim(lg);
    }
    qn_log_append_free(a);
    assert_null(model_check(lg, 4, &first, &end));
    assert_int_equal(qn_log_close(lg, NULL), QN_OK);
    lg = open_log(d, QN_LOG_PLAIN);
    {
        const char *wrong = model_check(lg, 4, &first, &end);

        if (wrong != NULL)
            fail_msg("%s", wrong);
        assert_int_equal(end, 601);
    }
    assert_int_equal(qn_log_close(lg, NULL), QN_OK);
    disk_free(d);
}

/* Every allocation fails once: an error, never a crash, and the log is whole afterwards. */
static void test_out_of_memory(void **state)
{
    for (uint64_t n = 1; n < 2000; n++) {
        struct disk *d = disk_new(n);
        const struct qn_log_options opt = {.files = &d->table,
                                           .clock = &fake_clock,
                                           .segment_bytes = SEGMENT,
                                           .codec = n % 2 ? QN_LOG_LZ4 : QN_LOG_PLAIN,
                                           .is_threadless = true};
        struct qn_log_append *a = NULL;
        struct qn_log *lg = NULL;
        struct qn_err err = {0};
        uint64_t first = 0, end = 0, done = 0, before = qn_mem_count();
        const char *wrong;
        qn_status rc;
        bool is_through;

        qn_mem_fail_at(n, false);
        rc = qn_log_open("log", &opt, &lg, NULL, &err);
        if (rc == QN_OK)
            rc = model_topics(lg, &err);
        if (rc == QN_OK)
            rc = qn_log_append_new(lg, &a, &err);
        for (uint64_t i = 0; i < 40 && rc == QN_OK; i++) {
            rc = model_encode(a, 3, i, &err);
            if (rc == QN_OK)
                rc = qn_log_commit(lg, a, NULL, &err);
            if (rc == QN_OK)
                done = i + 1;
        }
        qn_log_append_free(a);
        (void)qn_log_close(lg, NULL);
        qn_mem_fail_at(0, false);
        is_through = qn_mem_count() - before < n;
        lg = open_log(d, opt.codec);
        wrong = model_check(lg, 3, &first, &end);
        if (wrong != NULL)
            fail_msg("allocation %llu: %s", (unsigned long long)n, wrong);
        assert_true(end >= done);
        assert_int_equal(qn_log_close(lg, NULL), QN_OK);
        disk_free(d);
        if (is_through)
            return;
        assert_true(rc == QN_OK || rc == QN_NOMEM || rc == QN_FULL);
    }
    fail();
}

/* Bytes that a log has written and not synced yet. While the next segment is prepared, more than a
 * step of them would be in the way of a frame that others wait for. */
static uint64_t unsynced, most_unsynced, written;

static int64_t count_pwritev(void *st, int fd, const struct qn_piece *v, unsigned count,
                             uint64_t offset)
{
    int64_t n = qn_files_system.pwritev(st, fd, v, count, offset);

    unsynced += n > 0 ? (uint64_t)n : 0;
    written += n > 0 ? (uint64_t)n : 0;
    most_unsynced = unsynced > most_unsynced ? unsynced : most_unsynced;
    return n;
}

static int count_sync(void *st, int fd)
{
    unsynced = 0;
    return qn_files_system.sync(st, fd);
}

static void remove_in(void *arg, const char *name)
{
    char path[512];

    snprintf(path, sizeof path, "%s/%s", (const char *)arg, name);
    unlink(path);
}

static void test_prepared_in_steps(void **state)
{
    struct qn_files files = qn_files_system;
    const struct qn_log_options opt = {
        .files = &files, .segment_bytes = 8 << 20, .is_threadless = true};
    char dir[] = "/tmp/quern-log-XXXXXX";
    struct qn_err err = {0};
    struct qn_log *lg;

    files.pwritev = count_pwritev;
    files.sync = count_sync;
    assert_non_null(mkdtemp(dir));
    if (qn_log_open(dir, &opt, &lg, NULL, &err) != QN_OK)
        fail_msg("%s", err.text);
    assert_int_equal(model_topics(lg, &err), QN_OK);
    unsynced = most_unsynced = written = 0;
    for (uint64_t n = 0; written < opt.segment_bytes; n++) /* half of it, and all of the next one */
        append(lg, 1, n, n + 1);
    assert_int_equal(qn_log_close(lg, &err), QN_OK);
    assert_in_range(most_unsynced, 1 << 20, 2 << 20);
    qn_files_system.list_folder(NULL, dir, remove_in, dir);
    assert_int_equal(rmdir(dir), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_twin),
        cmocka_unit_test(test_merged),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_headers),
        cmocka_unit_test(test_two_writers),
        cmocka_unit_test(test_full_disk),
        cmocka_unit_test(test_retention),
        cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_prepared_in_steps),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
