/* SPDX-License-Identifier: Apache-2.0
 * bench_number.c - nanoseconds per call of the number and time functions that run several times per
 * event.
 *
 * Usage: bench_number [ROUNDS]. Prints, per function and kind of input, the fastest of ROUNDS
 * passes over 4,096 inputs that were made from a fixed seed, so that branches are not learnt by
 * heart. Not part of the product. */
#include "base/clock.h"
#include "base/number.h"
#include "base/real_math.h"
#include "base/threads.h"
#include "base/timestamp.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { INPUTS = 4096 };

static char texts[INPUTS][64];
static struct qn_str strs[INPUTS];
static double reals[INPUTS];
static int64_t ints[INPUTS];
static uint64_t sink;

/* As in a line of JSON, the end of the number is not the end of what may be read. */
static void pass_scan(void)
{
    struct qn_decimal_text d;

    for (unsigned i = 0; i < INPUTS; i++) {
        sink += qn_number_scan(strs[i].p, texts[i] + sizeof texts[i], &d);
        sink += d.digits;
    }
}

static void pass_double(void)
{
    struct qn_decimal_text d;
    double sum = 0;

    for (unsigned i = 0; i < INPUTS; i++) {
        qn_number_scan(strs[i].p, texts[i] + sizeof texts[i], &d);
        sum += qn_number_double(&d);
    }
    sink += sum > 0;
}

static void pass_text_double(void)
{
    double v = 0, sum = 0;

    for (unsigned i = 0; i < INPUTS; i++)
        if (qn_text_double(strs[i], &v))
            sum += v;
    sink += sum > 0;
}

static void pass_scaled(void)
{
    struct qn_decimal_text d;
    int64_t v = 0;

    for (unsigned i = 0; i < INPUTS; i++) {
        qn_number_scan(strs[i].p, texts[i] + sizeof texts[i], &d);
        sink += qn_number_scaled(&d, 2, &v);
        sink += (uint64_t)v;
    }
}

static void pass_print_double(void)
{
    char out[QN_NUMBER_MAX];

    for (unsigned i = 0; i < INPUTS; i++) {
        sink += qn_print_double(out, reals[i]);
        sink += (unsigned char)out[1];
    }
}

static void pass_print_float(void)
{
    char out[QN_NUMBER_MAX];

    for (unsigned i = 0; i < INPUTS; i++) {
        sink += qn_print_float(out, (float)reals[i]);
        sink += (unsigned char)out[1];
    }
}

static void pass_print_scaled(void)
{
    char out[QN_NUMBER_MAX];

    for (unsigned i = 0; i < INPUTS; i++)
        sink += qn_print_scaled(out, ints[i], 2);
}

static void pass_print_int(void)
{
    char out[QN_NUMBER_MAX];

    for (unsigned i = 0; i < INPUTS; i++)
        sink += qn_print_int64(out, ints[i]);
}

static void pass_scaled_double(void)
{
    double sum = 0;

    for (unsigned i = 0; i < INPUTS; i++)
        sum += qn_scaled_double(ints[i], 2);
    sink += sum > 0;
}

static void pass_ratio(void)
{
    double sum = 0;

    for (unsigned i = 0; i < INPUTS; i++)
        sum += qn_ratio_double(ints[i], 100 * (i + 1));
    sink += sum > 0;
}

static void pass_time(void)
{
    int64_t us;

    for (unsigned i = 0; i < INPUTS; i++)
        if (qn_timestamp_parse(strs[i], &us))
            sink += (uint64_t)us;
}

static void pass_time_print(void)
{
    char out[QN_TIMESTAMP_LEN];

    for (unsigned i = 0; i < INPUTS; i++)
        sink += qn_timestamp_print(out, ints[i]) + (unsigned char)out[9];
}

static void pass_hour(void)
{
    for (unsigned i = 0; i < INPUTS; i++)
        sink += (unsigned)qn_timestamp_hour(ints[i]);
}

static void pass_weekday(void)
{
    for (unsigned i = 0; i < INPUTS; i++)
        sink += (unsigned)qn_timestamp_weekday(ints[i]);
}

static void pass_exp(void)
{
    double sum = 0;

    for (unsigned i = 0; i < INPUTS; i++)
        sum += qn_exp(reals[i]);
    sink += sum > 0;
}

static void pass_log(void)
{
    double sum = 0;

    for (unsigned i = 0; i < INPUTS; i++)
        sum += qn_log(reals[i]);
    sink += sum > 0;
}

static void measure(const char *name, void (*pass)(void), unsigned rounds, unsigned calls)
{
    int64_t best = INT64_MAX;

    for (unsigned i = 0; i < rounds; i++) {
        int64_t start = qn_clock_system.mono_ns(NULL), took;

        pass();
        took = qn_clock_system.mono_ns(NULL) - start;
        best = took < best ? took : best;
    }
    printf("%-34s %7.2f ns\n", name, (double)best / calls);
}

static void set_text(unsigned i, unsigned len)
{
    strs[i] = (struct qn_str){texts[i], len};
}

static void empty(void *arg, unsigned worker, unsigned workers)
{
}

static struct qn_team *team;

static void pass_team(void)
{
    for (unsigned i = 0; i < 1000; i++)
        qn_team_run(team, empty, NULL);
}

int main(int argc, char **argv)
{
    unsigned rounds = argc > 1 ? (unsigned)atoi(argv[1]) : 200;
    struct qn_rng rng;

    qn_rng_seed(&rng, 7);
    for (unsigned i = 0; i < INPUTS; i++) {
        ints[i] = qn_rng_below(&rng, 30000);
        set_text(i, qn_print_scaled(texts[i], ints[i], 2));
        reals[i] = (double)ints[i] / 100;
    }
    measure("scan 57.16", pass_scan, rounds, INPUTS);
    measure("scan + double 57.16", pass_double, rounds, INPUTS);
    measure("scan + scaled 57.16", pass_scaled, rounds, INPUTS);
    measure("whole text double 57.16", pass_text_double, rounds, INPUTS);
    measure("print double 57.16", pass_print_double, rounds, INPUTS);
    measure("print float 57.16", pass_print_float, rounds, INPUTS);
    measure("print scaled 57.16", pass_print_scaled, rounds, INPUTS);
    measure("print int64", pass_print_int, rounds, INPUTS);
    measure("scaled to double", pass_scaled_double, rounds, INPUTS);
    measure("ratio", pass_ratio, rounds, INPUTS);
    for (unsigned i = 0; i < INPUTS; i++)
        set_text(i, qn_print_uint64(texts[i], qn_rng_below(&rng, 10000)));
    measure("scan + scaled 4562", pass_scaled, rounds, INPUTS);
    for (unsigned i = 0; i < INPUTS; i++) {
        reals[i] = qn_rng_unit(&rng);
        set_text(i, qn_print_double(texts[i], reals[i]));
    }
    measure("scan + double, 17 digits", pass_double, rounds, INPUTS);
    measure("print double, 17 digits", pass_print_double, rounds, INPUTS);
    measure("print float, 9 digits", pass_print_float, rounds, INPUTS);
    measure("log", pass_log, rounds, INPUTS);
    for (unsigned i = 0; i < INPUTS; i++)
        reals[i] = qn_rng_unit(&rng) * 20 - 10;
    measure("exp", pass_exp, rounds, INPUTS);
    for (unsigned i = 0; i < INPUTS; i++) {
        ints[i] = INT64_C(1522540800000000) + (int64_t)qn_rng_below(&rng, 1U << 31) * 7919;
        qn_timestamp_print(texts[i], ints[i]);
        set_text(i, QN_TIMESTAMP_LEN);
    }
    measure("print timestamp", pass_time_print, rounds, INPUTS);
    measure("hour", pass_hour, rounds, INPUTS);
    measure("weekday", pass_weekday, rounds, INPUTS);
    measure("parse timestamp, 27 bytes", pass_time, rounds, INPUTS);
    for (unsigned i = 0; i < INPUTS; i++) {
        texts[i][19] = 'Z';
        set_text(i, 20);
    }
    measure("parse timestamp, 20 bytes", pass_time, rounds, INPUTS);
    if (qn_team_new(2, &team, NULL) == QN_OK) {
        measure("run of a team of 2", pass_team, rounds, 1000);
        qn_team_free(team);
    }
    printf("(%" PRIu64 ")\n", sink % 10);
    return 0;
}
