/* SPDX-License-Identifier: Apache-2.0
 * test_number.c - numbers as text; the million random cases are in tests/e2e/test_numbers.py. */
#include "base/clock.h"
#include "base/number.h"

#include <inttypes.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct qn_decimal_text scanned(const char *text, uint32_t length)
{
    struct qn_decimal_text d;
    size_t n = strlen(text);
    /* An exact copy, so that a sanitizer sees a read beyond the end. */
    char *copy = malloc(n + (n == 0));

    memcpy(copy, text, n);
    memset(&d, 0x5A, sizeof d);
    assert_int_equal(qn_number_scan(copy, copy + n, &d), length);
    if (length > 0) {
        assert_int_equal(d.text.len, length);
        assert_ptr_equal(d.text.p, copy);
    }
    d.text.p = text;
    free(copy);
    return d;
}

static void check_scan(const char *text, uint32_t length, uint64_t digits, int exponent,
                       bool is_integer, bool is_cut)
{
    struct qn_decimal_text d = scanned(text, length);

    assert_true(d.digits == digits);
    assert_int_equal(d.exponent, exponent);
    assert_int_equal(d.is_integer, is_integer);
    assert_int_equal(d.is_cut, is_cut);
    assert_int_equal(d.negative, text[0] == '-');
}

static void test_scan(void **state)
{
    check_scan("0", 1, 0, 0, true, false);
    check_scan("-0", 2, 0, 0, true, false);
    check_scan("57.16", 5, 5716, -2, false, false);
    check_scan("57.16,", 5, 5716, -2, false, false);
    check_scan("57.16}        ", 5, 5716, -2, false, false);
    check_scan("-57.16, \"a\"", 6, 5716, -2, false, false);
    check_scan("4562,\"x\":1", 4, 4562, 0, true, false);
    check_scan("12345678", 8, 12345678, 0, true, false);
    check_scan("1234567.8", 9, 12345678, -1, false, false);
    check_scan("0.5", 3, 5, -1, false, false);
    check_scan("0.000", 5, 0, 0, false, false);
    check_scan("1e3", 3, 1, 3, false, false);
    check_scan("1.5E-3x", 6, 15, -4, false, false);
    check_scan("1e999999999999999999999", 23, 1, 100000, false, false);
    check_scan("1e-999999999999999999999", 24, 1, -100000, false, false);
    check_scan("1234567890123456789", 19, 1234567890123456789, 0, true, false);
    check_scan("12345678901234567890", 20, 1234567890123456789, 1, true, false);
    check_scan("12345678901234567891", 20, 1234567890123456789, 1, true, true);
    check_scan("0.00000000000000000000012", 25, 12, -23, false, false);
    check_scan("1.00000000000000000000000", 25, UINT64_C(1000000000000000000), -18, false, false);
    check_scan("1.00000000000000000000001e2", 27, UINT64_C(1000000000000000000), -16, false, true);
}

/* What is not a number, or only begins like one: the longest part that is one is taken. */
static void test_scan_prefix(void **state)
{
    static const struct {
        const char *text;
        uint32_t length;
    } rows[] = {{"", 0},           {"-", 0},      {"+1", 0},  {".5", 0},     {"e5", 0},
                {"abc", 0},        {"-a", 0},     {"01", 1},  {"-01", 2},    {"1.", 1},
                {"1.e5", 1},       {"1e", 1},     {"1e+", 1}, {"1.5e-", 3},  {"1.5.5", 3},
                {"0x10", 1},       {"1 2", 1},    {"00", 1},  {"12e5.5", 4}, {"1.25e", 4},
                {"123456789.", 9}, {"0.1e1e", 5}, {"-", 0},   {"0e", 1}};

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        scanned(rows[i].text, rows[i].length);
}

/* Every short text over an alphabet of what numbers are made of, alone and with room behind,
 * against a plain reading of the grammar. */
static uint32_t naive_scan(const char *p)
{
    const char *s = p, *e;

    p += *p == '-';
    if (*p == '0')
        p++;
    else if (*p >= '1' && *p <= '9')
        p += strspn(p, "0123456789");
    else
        return 0;
    if (*p == '.' && p[1] >= '0' && p[1] <= '9')
        p += 1 + strspn(p + 1, "0123456789");
    if (*p == 'e' || *p == 'E') {
        e = p + 1;
        e += *e == '+' || *e == '-';
        if (*e >= '0' && *e <= '9')
            p = e + strspn(e, "0123456789");
    }
    return (uint32_t)(p - s);
}

static void test_scan_twin(void **state)
{
    static const char alphabet[] = "-.e019+,";
    struct qn_decimal_text a, b;
    char text[32], number[32];

    for (uint32_t code = 0; code < 8 * 8 * 8 * 8 * 8 * 8; code++) {
        uint32_t n;

        memset(text, 0, sizeof text);
        for (int i = 0; i < 6; i++)
            text[i] = alphabet[code >> (3 * i) & 7];
        n = qn_number_scan(text, text + 6, &a);
        assert_int_equal(n, naive_scan(text));
        text[6] = ' ';
        assert_int_equal(qn_number_scan(text, text + 20, &b), n);
        if (n == 0)
            continue;
        assert_true(a.digits == b.digits && a.exponent == b.exponent && a.negative == b.negative &&
                    a.is_integer == b.is_integer && a.is_cut == b.is_cut);
        memcpy(number, text, n);
        number[n] = '\0';
        assert_true(qn_number_double(&a) == strtod(number, NULL));
    }
}

/* libc in the C locale is correctly rounded: a second opinion besides Python's. */
static void check_double(const char *text)
{
    struct qn_decimal_text d;
    double v, expected = strtod(text, NULL);
    uint64_t a, b;

    assert_int_equal(qn_number_scan(text, text + strlen(text), &d), strlen(text));
    v = qn_number_double(&d);
    memcpy(&a, &v, 8);
    memcpy(&b, &expected, 8);
    if (a != b)
        fail_msg("%s: %a instead of %a", text, v, expected);
}

static void check_float(const char *text)
{
    struct qn_decimal_text d;
    float v, expected = strtof(text, NULL);
    uint32_t a, b;

    assert_int_equal(qn_number_scan(text, text + strlen(text), &d), strlen(text));
    v = qn_number_float(&d);
    memcpy(&a, &v, 4);
    memcpy(&b, &expected, 4);
    if (a != b)
        fail_msg("%s: %a instead of %a", text, (double)v, (double)expected);
}

static void test_read(void **state)
{
    static const char *const rows[] = {
        "0",
        "-0",
        "0.1",
        "57.16",
        "1e22",
        "1e23",
        "9007199254740993",
        "9007199254740992.99999999999",
        "9007199254740993.00000000000000001",
        "5e-324",
        "2.47032822920623272e-324",
        "1e400",
        "-1e400",
        "1e-400",
        "1.7976931348623157e308",
        "1.7976931348623158e308",
        "1.7976931348623159e308",
        "179769313486231580793728971405303415079934132710037826936173778980444968292764750946649017"
        "977"
        "587207096330286416692887910946555547851940402630657488671505820681908902000708383676273854"
        "845"
        "817711531764475730270069855571366959622842914819860834936475292719074168444365510704342711"
        "559"
        "699508093042880177904174497791",
        "179769313486231580793728971405303415079934132710037826936173778980444968292764750946649017"
        "977"
        "587207096330286416692887910946555547851940402630657488671505820681908902000708383676273854"
        "845"
        "817711531764475730270069855571366959622842914819860834936475292719074168444365510704342711"
        "559"
        "699508093042880177904174497792",
        "2.2250738585072011e-308",
        "2.2250738585072012e-308",
        "6.631236846766476e-316",
        "3.237883913302901e-319",
        "123456789012345678901234567890e-30",
        "8.98846567431158e307",
        "16777217",
        "16777217.0000000000000000000000000001",
        "3.4028235677973366e38",
        "1.4e-45",
        "7e-46",
        "7.0064923216240853546186479164495e-46",
        "1.17549435082228750797e-38",
        "33554433.000000001e-5",
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        check_double(rows[i]);
        check_float(rows[i]);
    }
}

static void test_random(void **state)
{
    uint64_t seed = (uint64_t)qn_clock_system.mono_ns(NULL), bits;
    char text[64], out[QN_NUMBER_MAX + 1];
    struct qn_rng rng;
    uint32_t word;
    double v, back;
    float f, fback;

    printf("seed %" PRIu64 "\n", seed);
    qn_rng_seed(&rng, seed);
    for (int i = 0; i < 60000; i++) {
        bits = qn_rng_next(&rng);
        if (i % 4 == 0)
            bits &= UINT64_C(0x800FFFFFFFFFFFFF);
        memcpy(&v, &bits, 8);
        if (!isfinite(v))
            continue;
        snprintf(text, sizeof text, "%.*e", (int)qn_rng_below(&rng, 26), v);
        check_double(text);
        check_float(text);
        snprintf(text, sizeof text, "%d.%07de%d", (int)qn_rng_below(&rng, 10000),
                 (int)qn_rng_below(&rng, 10000000), (int)qn_rng_below(&rng, 60) - 30);
        check_double(text);
        check_float(text);
        /* Shortest: reads back, and no text with one digit less does. */
        out[qn_print_double(out, v)] = '\0';
        back = strtod(out, NULL);
        assert_memory_equal(&back, &v, 8);
        word = (uint32_t)bits;
        memcpy(&f, &word, 4);
        if (!isfinite(f))
            continue;
        out[qn_print_float(out, f)] = '\0';
        fback = strtof(out, NULL);
        assert_memory_equal(&fback, &f, 4);
    }
}

static void check_print(double v, const char *expected)
{
    char out[QN_NUMBER_MAX + 1];
    unsigned n;

    memset(out, 0x5A, sizeof out);
    n = qn_print_double(out, v);
    assert_in_range(n, 1, QN_NUMBER_MAX);
    assert_int_equal(out[QN_NUMBER_MAX], 0x5A);
    out[n] = '\0';
    assert_string_equal(out, expected);
}

static void test_print_double(void **state)
{
    check_print(0, "0");
    check_print(-0.0, "-0");
    check_print(0.1, "0.1");
    check_print(57.16, "57.16");
    check_print(100, "100");
    check_print(-1234567890123456.0, "-1234567890123456");
    check_print(1e20, "100000000000000000000");
    check_print(1e21, "1e+21");
    check_print(1e22, "1e+22");
    check_print(123456789012345680000.0, "123456789012345680000");
    check_print(1e-6, "0.000001");
    check_print(1e-7, "1e-7");
    check_print(1.5e-7, "1.5e-7");
    check_print(-0.0000012345678901234567, "-0.0000012345678901234567");
    check_print(-1.2345678901234567e-308, "-1.2345678901234567e-308");
    check_print(5e-324, "5e-324");
    check_print(1.7976931348623157e308, "1.7976931348623157e+308");
    check_print(9007199254740992.0, "9007199254740992");
    check_print(9007199254740994.0, "9007199254740994");
    check_print(2e-44, "2e-44");
    check_print(0.30000000000000004, "0.30000000000000004");
}

static void test_print_float(void **state)
{
    static const struct {
        float v;
        const char *text;
    } rows[] = {{0.0F, "0"},
                {-0.0F, "-0"},
                {0.1F, "0.1"},
                {16777216.0F, "16777216"},
                {3.4028235e38F, "3.4028235e+38"},
                {1e-45F, "1e-45"},
                {1.17549435e-38F, "1.1754944e-38"},
                {57.16F, "57.16"},
                {1e10F, "10000000000"},
                {33554432.0F, "33554432"},
                {-1.5F, "-1.5"}};
    char out[QN_NUMBER_MAX + 1];

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        out[qn_print_float(out, rows[i].v)] = '\0';
        assert_string_equal(out, rows[i].text);
    }
}

static void test_print_integers(void **state)
{
    char out[QN_NUMBER_MAX + 1], expected[40];
    uint64_t v = 1;

    for (int i = 0; i < 20; i++, v *= 10) {
        for (int d = -1; d <= 1; d++) {
            out[qn_print_uint64(out, v + (uint64_t)d)] = '\0';
            snprintf(expected, sizeof expected, "%" PRIu64, v + (uint64_t)d);
            assert_string_equal(out, expected);
        }
    }
    out[qn_print_uint64(out, UINT64_MAX)] = '\0';
    assert_string_equal(out, "18446744073709551615");
    out[qn_print_int64(out, INT64_MIN)] = '\0';
    assert_string_equal(out, "-9223372036854775808");
    out[qn_print_int64(out, -1)] = '\0';
    assert_string_equal(out, "-1");
}

static void check_scaled(const char *text, unsigned scale, bool ok, int64_t expected)
{
    struct qn_decimal_text d;
    int64_t v = 77;

    assert_int_equal(qn_number_scan(text, text + strlen(text), &d), strlen(text));
    assert_int_equal(qn_number_scaled(&d, scale, &v), ok);
    assert_true(v == (ok ? expected : 77));
}

static void test_scaled(void **state)
{
    static const struct {
        int64_t v;
        unsigned scale;
        const char *text;
    } rows[] = {{5716, 2, "57.16"},
                {-5, 2, "-0.05"},
                {0, 3, "0.000"},
                {7, 0, "7"},
                {-100, 2, "-1.00"},
                {INT64_MIN, 18, "-9.223372036854775808"},
                {INT64_MAX, 0, "9223372036854775807"},
                {INT64_MIN, 1, "-922337203685477580.8"},
                {1, 18, "0.000000000000000001"}};
    char out[QN_NUMBER_MAX + 1];

    check_scaled("57.16", 2, true, 5716);
    check_scaled("57.1", 2, true, 5710);
    check_scaled("57.160000000000000000000000", 2, true, 5716);
    check_scaled("57.161", 2, false, 0);
    check_scaled("57.16000000000000000000000001", 2, false, 0);
    check_scaled("1e3", 0, true, 1000);
    check_scaled("5.0", 0, true, 5);
    check_scaled("-0.0", 0, true, 0);
    check_scaled("0e99999", 5, true, 0);
    check_scaled("9223372036854775807", 0, true, INT64_MAX);
    check_scaled("9223372036854775808", 0, false, 0);
    check_scaled("-9223372036854775808", 0, true, INT64_MIN);
    check_scaled("-9223372036854775809", 0, false, 0);
    check_scaled("92233720368547758.07", 2, true, INT64_MAX);
    check_scaled("922337203685477580700000e-5", 0, true, 9223372036854775807);
    check_scaled("1e18", 0, true, 1000000000000000000);
    check_scaled("1e19", 0, false, 0);
    check_scaled("1", 18, true, 1000000000000000000);
    check_scaled("10", 18, false, 0);
    check_scaled("1e-18", 18, true, 1);
    check_scaled("1e-19", 18, false, 0);
    check_scaled("1e-99999999", 18, false, 0);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        out[qn_print_scaled(out, rows[i].v, rows[i].scale)] = '\0';
        assert_string_equal(out, rows[i].text);
        check_scaled(out, rows[i].scale, true, rows[i].v);
    }
    assert_true(qn_scaled_double(5716, 2) == 57.16);
    assert_true(qn_scaled_double(INT64_MIN, 0) == -0x1p63);
    assert_true(qn_scaled_double(0, 18) == 0);
}

static void test_ratio(void **state)
{
    unsigned __int128 huge = ~(unsigned __int128)0;

    assert_true(qn_ratio_double(1, 3) == 1.0 / 3);
    assert_true(qn_ratio_double(-1, 3) == -1.0 / 3);
    assert_true(qn_ratio_double(0, huge) == 0);
    assert_true(qn_ratio_double((__int128)(huge >> 1), 1) == 0x1p127);
    assert_true(qn_ratio_double(-(__int128)(huge >> 1) - 1, huge) == -0.5);
    assert_true(qn_ratio_double(1, huge) == 0x1p-128);
    assert_true(qn_ratio_double((__int128)1 << 100, 3) == 0x1p100 / 3);
    /* 2^53 + 1 lies between two doubles; a little more than that does not. */
    assert_true(qn_ratio_double(((__int128)1 << 53) + 1, 1) == 0x1p53);
    assert_true(qn_ratio_double(((__int128)9007199254740993 << 60) + 1,
                                (unsigned __int128)1 << 60) == 0x1p53 + 2);
}

static void test_text_forms(void **state)
{
    static const char *const bad[] = {"",    "+",    "-",     ".",    "e5",   "1e",     "1 ",
                                      " 1",  "0x10", "1,5",   "1_0",  "in",   "nanx",   "infi",
                                      "--1", "+-1",  "1.2.3", "-.e1", "1e5.", "infinit"};
    double v;
    float f;
    int64_t i;

    for (size_t k = 0; k < sizeof bad / sizeof bad[0]; k++) {
        assert_false(qn_text_double(qn_str_of(bad[k]), &v));
        assert_false(qn_text_float(qn_str_of(bad[k]), &f));
        assert_false(qn_text_int64(qn_str_of(bad[k]), &i));
        assert_false(qn_text_scaled(qn_str_of(bad[k]), 2, &i));
    }
    assert_false(qn_text_double((struct qn_str){NULL, 0}, &v));
    assert_true(qn_text_double(qn_str_of("+1."), &v) && v == 1);
    assert_true(qn_text_double(qn_str_of("-.5"), &v) && v == -0.5);
    assert_true(qn_text_double(qn_str_of("007.50"), &v) && v == 7.5);
    assert_true(qn_text_double(qn_str_of("Infinity"), &v) && v == HUGE_VAL);
    assert_true(qn_text_double(qn_str_of("-INF"), &v) && v == -HUGE_VAL);
    assert_true(qn_text_double(qn_str_of("NaN"), &v) && isnan(v));
    assert_true(qn_text_float(qn_str_of("+inf"), &f) && isinf(f));
    assert_true(qn_text_float(qn_str_of(".1"), &f) && f == 0.1F);
    assert_true(qn_text_int64(qn_str_of("-9223372036854775808"), &i) && i == INT64_MIN);
    assert_true(qn_text_int64(qn_str_of("+42"), &i) && i == 42);
    assert_true(qn_text_int64(qn_str_of("0000000000000000000000000042"), &i) && i == 42);
    assert_false(qn_text_int64(qn_str_of("1e3"), &i));
    assert_false(qn_text_int64(qn_str_of("5.0"), &i));
    assert_false(qn_text_int64(qn_str_of("5."), &i));
    assert_true(qn_text_scaled(qn_str_of("+.5"), 2, &i) && i == 50);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scan),        cmocka_unit_test(test_scan_prefix),
        cmocka_unit_test(test_scan_twin),   cmocka_unit_test(test_read),
        cmocka_unit_test(test_random),      cmocka_unit_test(test_print_double),
        cmocka_unit_test(test_print_float), cmocka_unit_test(test_print_integers),
        cmocka_unit_test(test_scaled),      cmocka_unit_test(test_ratio),
        cmocka_unit_test(test_text_forms),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
