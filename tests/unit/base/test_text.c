/* SPDX-License-Identifier: Apache-2.0
 * test_text.c - UTF-8, JSON strings, base64, nearest names. */
#include "base/clock.h"
#include "base/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

static void test_compare(void **state)
{
    struct qn_str none = {NULL, 0};

    assert_true(qn_str_eq(none, qn_str_of("")));
    assert_true(qn_str_is(none, ""));
    assert_false(qn_str_is(qn_str_of("ab"), "abc"));
    assert_true(qn_str_cmp(qn_str_of("a"), qn_str_of("b")) < 0);
    assert_true(qn_str_cmp(qn_str_of("a"), qn_str_of("aa")) < 0);
    assert_true(qn_str_cmp(qn_str_of("\xFF"), qn_str_of("a")) > 0);
    assert_int_equal(qn_str_cmp(none, none), 0);
}

/* Valid exactly if it decodes to code points that encode to the same bytes: the naive twin. */
static bool naive_valid(const unsigned char *p, size_t len)
{
    char back[4];

    for (size_t i = 0; i < len;) {
        unsigned n = p[i] < 0x80 ? 1 : p[i] < 0xE0 ? 2 : p[i] < 0xF0 ? 3 : 4;
        uint32_t c = n == 1 ? p[i] : p[i] & (0xFFU >> (n + 1));

        if (i + n > len)
            return false;
        for (unsigned k = 1; k < n; k++)
            c = c << 6 | (p[i + k] & 0x3F);
        if (c > 0x10FFFF || (c >= 0xD800 && c < 0xE000))
            return false;
        if (qn_utf8_put(back, c) != n || memcmp(back, p + i, n) != 0)
            return false;
        i += n;
    }
    return true;
}

static void test_utf8(void **state)
{
    char out[4], text[40];
    struct qn_rng rng;
    uint64_t seed = (uint64_t)qn_clock_system.mono_ns(NULL);
    unsigned valid = 0;

    for (uint32_t c = 0; c <= 0x10FFFF; c++) {
        unsigned n = qn_utf8_put(out, c);

        assert_int_equal(qn_utf8_valid(out, n), c < 0xD800 || c > 0xDFFF);
        assert_int_equal(qn_utf8_count(out, n), 1);
        assert_false(n > 1 && qn_utf8_valid(out, n - 1));
    }
    printf("seed %llu\n", (unsigned long long)seed);
    qn_rng_seed(&rng, seed);
    for (int i = 0; i < 300000; i++) {
        static const unsigned char likely[] = {0x41, 0x7F, 0x80, 0xBF, 0xC0, 0xC2, 0xDF, 0xE0,
                                               0xA0, 0x9F, 0xED, 0xEF, 0xF0, 0x90, 0x8F, 0xF4};
        uint32_t len = qn_rng_below(&rng, 14);

        for (uint32_t k = 0; k < len; k++)
            text[k] = qn_rng_below(&rng, 2) ? 'a' : (char)likely[qn_rng_below(&rng, 16)];
        valid += naive_valid((unsigned char *)text, len);
        assert_int_equal(qn_utf8_valid(text, len), naive_valid((unsigned char *)text, len));
    }
    assert_in_range(valid, 1000, 299000);
}

/* "a\u00e9\u20ac" has its code points at bytes 0, 1 and 3 and ends at 6. */
static void test_utf8_cut(void **state)
{
    const struct qn_str s = qn_str_of("a\xc3\xa9\xe2\x82\xac");
    static const uint32_t kept[] = {0, 1, 1, 3, 3, 3, 6, 6};

    for (uint32_t max = 0; max < sizeof kept / sizeof kept[0]; max++) {
        const struct qn_str c = qn_utf8_cut(s, max);

        assert_ptr_equal(c.p, s.p);
        assert_int_equal(c.len, kept[max]);
    }
    assert_int_equal(qn_utf8_cut(qn_str_of("\x80\x80\x80"), 2).len, 0);
    assert_int_equal(qn_utf8_cut((struct qn_str){NULL, 0}, 2).len, 0);
}

static void check_json(const char *in, size_t n, const char *expected)
{
    struct qn_buf b = {0};

    qn_json_string(&b, (struct qn_str){in, (uint32_t)n});
    assert_int_equal(b.len, strlen(expected));
    assert_memory_equal(b.data, expected, b.len);
    qn_buf_fini(&b);
}

static void test_json_string(void **state)
{
    struct qn_buf b = {0};
    char text[64], expected[200];

    check_json(NULL, 0, "\"\"");
    check_json("a\"b\\c/\b\f\n\r\t\x01\x1f\x7f", 14,
               "\"a\\\"b\\\\c/\\b\\f\\n\\r\\t\\u0001\\u001f\x7f\"");
    check_json("\0", 1, "\"\\u0000\"");
    check_json("gr\xC3\xBC\xC3\x9F \xE2\x82\xAC \xF0\x9F\x98\x80", 15,
               "\"gr\xC3\xBC\xC3\x9F \xE2\x82\xAC \xF0\x9F\x98\x80\"");
    /* One U+FFFD per maximal subpart: the example of Unicode 15, table 3-11. */
    check_json("\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41", 9,
               "\"\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\x41\"");
    check_json("\xC0\xAF\xE0\x80\xBF", 5,
               "\"\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\"");
    /* A special byte at every place of every length around the eight-byte step. */
    for (unsigned len = 1; len < 30; len++) {
        for (unsigned at = 0; at < len; at++) {
            memset(text, 'a', len);
            text[at] = "\"\x1f\\\x80"[at % 4];
            snprintf(expected, sizeof expected, "\"%.*s%s%.*s\"", (int)at,
                     "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
                     at % 4 == 0   ? "\\\""
                     : at % 4 == 1 ? "\\u001f"
                     : at % 4 == 2 ? "\\\\"
                                   : "\xEF\xBF\xBD",
                     (int)(len - at - 1), "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
            check_json(text, len, expected);
        }
    }
    for (int c = 0x20; c < 0x80; c++) {
        memset(text, c, 9);
        qn_buf_clear(&b);
        qn_json_string(&b, (struct qn_str){text, 9});
        assert_int_equal(b.len, c == '"' || c == '\\' ? 20 : 11);
    }
    qn_buf_fini(&b);
}

static void test_base64(void **state)
{
    static const char *const rows[][2] = {{"", ""},
                                          {"f", "Zg=="},
                                          {"fo", "Zm8="},
                                          {"foo", "Zm9v"},
                                          {"foob", "Zm9vYg=="},
                                          {"fooba", "Zm9vYmE="},
                                          {"foobar", "Zm9vYmFy"}};
    static const char *const none[] = {
        "Z", "Zg", "Zg=", "Zh==", "Zm9=", "Zg==Zg==", "Zm9-", "===="};
    char bytes[8];
    uint32_t len;

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct qn_buf b = {0};

        qn_base64(&b, qn_str_of(rows[i][0]));
        assert_int_equal(b.len, strlen(rows[i][1]));
        assert_memory_equal(b.len > 0 ? b.data : "", rows[i][1], b.len);
        qn_buf_fini(&b);
        assert_true(qn_base64_decode(qn_str_of(rows[i][1]), bytes, &len));
        assert_int_equal(len, strlen(rows[i][0]));
        assert_memory_equal(bytes, rows[i][0], len);
    }
    for (size_t i = 0; i < sizeof none / sizeof none[0]; i++)
        assert_false(qn_base64_decode(qn_str_of(none[i]), bytes, &len));
}

static unsigned distance(const char *a, const char *b)
{
    unsigned d = qn_edit_distance(qn_str_of(a), qn_str_of(b), 5);

    assert_int_equal(qn_edit_distance(qn_str_of(b), qn_str_of(a), 5), d);
    return d;
}

static void test_distance(void **state)
{
    char longer[200];

    assert_int_equal(distance("", ""), 0);
    assert_int_equal(distance("", "abc"), 3);
    assert_int_equal(distance("chargeback", "chargebacks"), 1);
    assert_int_equal(distance("tread", "threads"), 2);
    assert_int_equal(distance("ab", "ba"), 1);
    assert_int_equal(distance("abcdef", "abdcef"), 1);
    assert_int_equal(distance("Mean", "mEAN"), 0);
    assert_int_equal(distance("kitten", "sitting"), 3);
    assert_int_equal(distance("abcdefgh", "zyxwvuts"), 6);
    memset(longer, 'a', sizeof longer);
    assert_int_equal(
        qn_edit_distance((struct qn_str){longer, 200}, (struct qn_str){longer, 199}, 2), 1);
    memset(longer, 'b', 100);
    assert_int_equal(
        qn_edit_distance((struct qn_str){longer, 200}, (struct qn_str){longer + 100, 100}, 2), 3);
}

static void test_nearest(void **state)
{
    struct qn_str names[] = {qn_str_of("transactions"), qn_str_of("chargebacks"), qn_str_of("sum"),
                             qn_str_of("chargebaks"), qn_str_of("max")};

    assert_int_equal(qn_nearest(qn_str_of("chargeback"), names, 5), 1);
    assert_int_equal(qn_nearest(qn_str_of("Transaction"), names, 5), 0);
    assert_int_equal(qn_nearest(qn_str_of("sun"), names, 5), 2);
    assert_int_equal(qn_nearest(qn_str_of("zzz"), names, 5), -1);
    assert_int_equal(qn_nearest(qn_str_of("mix"), names, 5), 4);
    assert_int_equal(qn_nearest(qn_str_of("xyx"), names, 0), -1);
    assert_int_equal(qn_nearest(qn_str_of("mi"), names, 5), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_compare),  cmocka_unit_test(test_utf8),
        cmocka_unit_test(test_utf8_cut), cmocka_unit_test(test_json_string),
        cmocka_unit_test(test_base64),   cmocka_unit_test(test_distance),
        cmocka_unit_test(test_nearest),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
