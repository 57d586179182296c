/* SPDX-License-Identifier: Apache-2.0
 * tool_number.c - lets test_numbers.py ask the functions of base/ one question per line.
 *
 * stdin: "KIND ARGUMENTS", stdout: one answer per line; "no" where the function refuses. Reals
 * travel as their bits in hexadecimal, so that nothing but the function under test converts. Not
 * part of the product. */
#include "base/number.h"
#include "base/real_math.h"
#include "base/timestamp.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char line[1 << 20];

static double double_of(const char *hex)
{
    uint64_t bits = strtoull(hex, NULL, 16);
    double v;

    memcpy(&v, &bits, 8);
    return v;
}

static float float_of(const char *hex)
{
    uint32_t bits = (uint32_t)strtoul(hex, NULL, 16);
    float v;

    memcpy(&v, &bits, 4);
    return v;
}

static void put_double(double v)
{
    uint64_t bits;

    memcpy(&bits, &v, 8);
    printf("%016" PRIx64 "\n", bits);
}

static void put_float(float v)
{
    uint32_t bits;

    memcpy(&bits, &v, 4);
    printf("%08" PRIx32 "\n", bits);
}

static void put_text(const char *p, unsigned n)
{
    printf("%.*s\n", (int)n, p);
}

/* The number as the event decoder reads it, when it is one from end to end. */
static int scan(struct qn_str text, struct qn_decimal_text *d)
{
    return qn_number_scan(text.p, text.p + text.len, d) == text.len && text.len > 0;
}

static void reading(const char *kind, struct qn_str text)
{
    struct qn_decimal_text d;
    int64_t i;
    double v;
    float f;

    if (strcmp(kind, "double") == 0) {
        if (scan(text, &d))
            put_double(qn_number_double(&d));
        else if (qn_text_double(text, &v))
            put_double(v);
        else
            puts("no");
    } else if (strcmp(kind, "float") == 0) {
        if (qn_text_float(text, &f))
            put_float(f);
        else
            puts("no");
    } else if (strncmp(kind, "scaled", 6) == 0) {
        if (qn_text_scaled(text, (unsigned)atoi(kind + 6), &i))
            printf("%" PRId64 "\n", i);
        else
            puts("no");
    } else if (strcmp(kind, "json") == 0) {
        puts(scan(text, &d) ? "yes" : "no");
    } else if (strcmp(kind, "time") == 0) {
        if (qn_timestamp_parse(text, &i))
            printf("%" PRId64 "\n", i);
        else
            puts("no");
    }
}

static void printing(const char *kind, const char *arg)
{
    char out[64];
    struct qn_civil c;
    int64_t i;

    if (strcmp(kind, "print_double") == 0) {
        put_text(out, qn_print_double(out, double_of(arg)));
    } else if (strcmp(kind, "print_float") == 0) {
        put_text(out, qn_print_float(out, float_of(arg)));
    } else if (strncmp(kind, "print_scaled", 12) == 0) {
        put_text(out, qn_print_scaled(out, strtoll(arg, NULL, 10), (unsigned)atoi(kind + 12)));
    } else if (strncmp(kind, "scaled_double", 13) == 0) {
        put_double(qn_scaled_double(strtoll(arg, NULL, 10), (unsigned)atoi(kind + 13)));
    } else if (strcmp(kind, "ratio") == 0) {
        uint64_t w[4];
        char *at = (char *)(uintptr_t)arg;

        for (int k = 0; k < 4; k++)
            w[k] = strtoull(at, &at, 16);
        put_double(qn_ratio_double((__int128)((unsigned __int128)w[0] << 64 | w[1]),
                                   (unsigned __int128)w[2] << 64 | w[3]));
    } else if (strcmp(kind, "print_time") == 0) {
        i = strtoll(arg, NULL, 10);
        c = qn_timestamp_civil(i);
        printf("%.*s %d %d %d\n", (int)qn_timestamp_print(out, i), out, qn_timestamp_hour(i),
               qn_timestamp_weekday(i), c.weekday);
    }
}

static int math(const char *kind, const char *arg)
{
    if (strcmp(kind, "exp") == 0)
        put_double(qn_exp(double_of(arg)));
    else if (strcmp(kind, "log") == 0)
        put_double(qn_log(double_of(arg)));
    else if (strcmp(kind, "log1p") == 0)
        put_double(qn_log1p(double_of(arg)));
    else if (strcmp(kind, "pow2") == 0)
        put_double(qn_pow2(double_of(arg)));
    else if (strcmp(kind, "expf") == 0)
        put_float(qn_expf(float_of(arg)));
    else if (strcmp(kind, "logf") == 0)
        put_float(qn_logf(float_of(arg)));
    else
        return 0;
    return 1;
}

int main(void)
{
    while (fgets(line, sizeof line, stdin) != NULL) {
        char *arg = strchr(line, ' ');

        line[strcspn(line, "\n")] = '\0';
        if (arg == NULL)
            return 2;
        *arg++ = '\0';
        if (strncmp(line, "print", 5) == 0 || strncmp(line, "scaled_double", 13) == 0 ||
            strcmp(line, "ratio") == 0)
            printing(line, arg);
        else if (!math(line, arg))
            reading(line, qn_str_of(arg));
    }
    return 0;
}
