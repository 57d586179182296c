/* SPDX-License-Identifier: Apache-2.0
 * test_rekey_record.c - records between the stages of a pipeline: there and back, what is none. */
#include "engine/rekey_record.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

enum { WINDOWS = 11 };

static const struct qn_rekey event = {.kind = QN_REKEY_EVENT,
                                      .source = UINT64_MAX - 3,
                                      .sender = 65534,
                                      .sender_offset = INT64_MAX - 1,
                                      .has_newest = true,
                                      .newest_us = -5,
                                      .partition = 3,
                                      .offset = INT64_C(1) << 40,
                                      .arrival_us = INT64_MAX,
                                      .verdict = 1,
                                      .is_late = true,
                                      .window_count = WINDOWS,
                                      .key = {"c1", 2},
                                      .event = {"{\"a\":1}", 7}};
static const struct qn_rekey watermark = {.kind = QN_REKEY_WATERMARK,
                                          .sender = 2,
                                          .sender_offset = 17,
                                          .has_newest = true,
                                          .newest_us = 1700000000000000,
                                          .senders = 4,
                                          .is_idle = true};
static const uint32_t ids[WINDOWS] = {7, 0, UINT32_MAX, 1, 2, 3, 4, 5, 6, 8, 9};

static void write_record(struct qn_buf *b, const struct qn_rekey *r)
{
    qn_rekey_begin(b, r, ids);
    for (uint32_t i = 0; i < r->window_count; i++)
        qn_rekey_value(b, r, i, i % 3 != 1, INT64_MIN + i);
    qn_rekey_end(b, r);
    assert_false(b->failed);
}

static struct qn_str text_of(const struct qn_buf *b)
{
    return (struct qn_str){b->data, (uint32_t)b->len};
}

static void assert_text(struct qn_str a, struct qn_str b)
{
    assert_int_equal(a.len, b.len);
    assert_int_equal(a.p == NULL, b.p == NULL);
    if (a.len > 0)
        assert_memory_equal(a.p, b.p, a.len);
}

static void test_there_and_back(void **state)
{
    struct qn_buf b = {0};
    struct qn_rekey r;
    int64_t value;

    (void)state;
    write_record(&b, &event);
    assert_int_equal(b.len, 72 + 12 * WINDOWS + 2 + 2 + 7);
    assert_int_equal(qn_rekey_read(text_of(&b), &r, NULL), QN_OK);
    assert_int_equal(r.kind, QN_REKEY_EVENT);
    assert_int_equal(r.sender, event.sender);
    assert_true(r.source == event.source);
    assert_true(r.sender_offset == event.sender_offset && r.newest_us == -5 && r.has_newest);
    assert_int_equal(r.partition, 3);
    assert_true(r.offset == event.offset && r.arrival_us == INT64_MAX && r.is_late && !r.is_idle);
    assert_int_equal(r.verdict, 1);
    assert_text(r.key, event.key);
    assert_text(r.event, event.event);
    assert_int_equal(r.window_count, WINDOWS);
    for (uint32_t i = 0; i < WINDOWS; i++) {
        assert_int_equal(qn_rekey_id(&r, i), ids[i]);
        assert_int_equal(qn_rekey_get(&r, i, &value), i % 3 != 1);
        assert_true(value == (i % 3 != 1 ? INT64_MIN + i : 0));
    }
    qn_buf_clear(&b);
    write_record(&b, &watermark);
    assert_int_equal(b.len, 72);
    assert_int_equal(qn_rekey_read(text_of(&b), &r, NULL), QN_OK);
    assert_int_equal(r.kind, QN_REKEY_WATERMARK);
    assert_int_equal(r.senders, 4);
    assert_true(r.is_idle && r.newest_us == watermark.newest_us && r.sender_offset == 17);
    qn_buf_fini(&b);
}

/* An empty key is not the same as none; no windows, no event. */
static void test_little(void **state)
{
    struct qn_rekey in = {.kind = QN_REKEY_EVENT, .key = {"", 0}, .event = {"", 0}}, r;
    struct qn_buf b = {0};

    (void)state;
    write_record(&b, &in);
    assert_int_equal(qn_rekey_read(text_of(&b), &r, NULL), QN_OK);
    assert_non_null(r.key.p);
    assert_false(r.has_newest);
    in.key.p = NULL;
    qn_buf_clear(&b);
    write_record(&b, &in);
    assert_int_equal(qn_rekey_read(text_of(&b), &r, NULL), QN_OK);
    assert_null(r.key.p);
    qn_buf_fini(&b);
}

static void refused(struct qn_str bytes)
{
    struct qn_err err = {0};
    struct qn_rekey r;

    assert_int_equal(qn_rekey_read(bytes, &r, &err), QN_CORRUPT);
    assert_true(err.text[0] != '\0');
}

/* Whatever byte is another one, wherever it ends. */
static void test_what_is_none(void **state)
{
    const struct qn_rekey *const all[] = {&event, &watermark};
    struct qn_buf b = {0};

    (void)state;
    for (int k = 0; k < 2; k++) {
        qn_buf_clear(&b);
        write_record(&b, all[k]);
        for (size_t i = 0; i < b.len; i++) {
            for (int bit = 0; bit < 8; bit++) {
                b.data[i] = (char)(b.data[i] ^ 1 << bit);
                refused(text_of(&b));
                b.data[i] = (char)(b.data[i] ^ 1 << bit);
            }
            refused((struct qn_str){b.data, (uint32_t)i});
        }
        qn_buf_byte(&b, 'x');
        refused(text_of(&b));
    }
    refused((struct qn_str){"", 0});
    refused(qn_str_of(
        "{\"tx\":1,\"at\":\"2026-01-01T00:00:00Z\",\"customer\":\"c1\",\"amount\":12.5}"));
    qn_buf_fini(&b);
}

/* Well-formed, and impossible. */
static void test_what_cannot_be(void **state)
{
    struct qn_rekey r[] = {event, event, event, watermark, watermark, watermark};
    struct qn_buf b = {0};

    (void)state;
    r[0].partition = 65536;
    r[1].offset = -1;
    r[2].verdict = 2;
    r[3].senders = 2; /* it is number 2 itself */
    r[4].sender_offset = -1;
    r[5].senders = 65536;
    for (size_t i = 0; i < sizeof r / sizeof *r; i++) {
        qn_buf_clear(&b);
        write_record(&b, &r[i]);
        refused(text_of(&b));
    }
    qn_buf_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_there_and_back),
        cmocka_unit_test(test_little),
        cmocka_unit_test(test_what_is_none),
        cmocka_unit_test(test_what_cannot_be),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
