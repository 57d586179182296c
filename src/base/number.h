/* SPDX-License-Identifier: Apache-2.0
 * number.h - numbers as text: correctly rounded in, shortest out; decimals as scaled integers.
 *
 *     text -> number_scan.c    digits and a power of ten, whatever the type
 *          -> number_round.c   the nearest double or float, or a scaled integer
 *     text <- number_print.c   the shortest text that reads back
 *
 * Reading: the double or float nearest to the decimal text, ties to even: equal to strtod in the C
 * locale, whatever the locale is (rounding is to nearest; nothing in the program changes that).
 * Fast path after Clinger (1990) and Lemire, "Number Parsing at a Gigabyte per Second" (2021);
 * big-integer comparison where that is undecided. Writing: the shortest decimal that reads back to
 * the same bits, nearest to the true value among the shortest (Raffaello Giulietti, "The Schubfach
 * way to render doubles"). Scaled integers hold decimals: 57.16 is 5716 with scale 2. Thread: any;
 * no state; nothing is allocated. */
#ifndef QN_BASE_NUMBER_H
#define QN_BASE_NUMBER_H

#include "base/text.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    QN_SCALE_MAX = 18,    /* decimals of a scaled integer: 10^18 fits into int64 */
    QN_NUMBER_DIGITS = 19 /* significant digits that are kept: they fit into 64 bits */
};

/* What a JSON number is made of, found in one pass: value = (negative ? -1 : 1) * digits *
 * 10^exponent. Leading zeros do not count among the 19 digits. Zeros at the end may or may not
 * stand in `digits` (100 is 100 * 10^0, 5.0 is 50 * 10^-1): ask qn_number_scaled or
 * qn_number_double for the value. Zero has exponent 0. */
struct qn_decimal_text {
    uint64_t digits;  /* the first 19 significant digits                                        */
    int32_t exponent; /* power of ten that belongs to `digits`; clamped to +-100,000            */
    bool negative;
    bool is_integer;    /* no '.', no exponent in the text                                        */
    bool is_cut;        /* a non-zero digit lay beyond the first 19                               */
    struct qn_str text; /* the whole number, borrowed                                             */
};

/* Scans one number of RFC 8259 section 6 at p (end exclusive). Returns its length in bytes, 0 if
 * there is none. Takes the longest part that is a number and does not look at what follows: of "01"
 * and "1.e5" that is one byte. It is fastest where 8 bytes may be read, so `end` should be the end
 * of the line rather than of the number. */
uint32_t qn_number_scan(const char *p, const char *end, struct qn_decimal_text *out);

/* Nearest double; +-inf when it overflows (the caller decides whether that is an error). */
double qn_number_double(const struct qn_decimal_text *d);
/* Nearest float, rounded once from the decimal text. */
float qn_number_float(const struct qn_decimal_text *d);
/* The exact value times 10^scale as int64. False when it has more decimals than scale (other than
 * zeros) or does not fit. scale 0 reads an int64, also written 1e3 or 5.0. scale: 0 to
 * QN_SCALE_MAX. */
bool qn_number_scaled(const struct qn_decimal_text *d, unsigned scale, int64_t *out);

/* Whole-text forms, for CSV, specs and model files: true if the text is one number and nothing
 * else. They also accept a leading '+', leading zeros, "1." and ".5"; double and float also inf,
 * infinity and nan in any case. */
bool qn_text_double(struct qn_str text, double *out);
bool qn_text_float(struct qn_str text, float *out);
bool qn_text_int64(struct qn_str text, int64_t *out); /* digits with an optional sign only */
bool qn_text_scaled(struct qn_str text, unsigned scale, int64_t *out);

/* Shortest text. Writes at most QN_NUMBER_MAX bytes at out, no NUL, returns how many. Finite values
 * only, a form that is a JSON number: 0.1, 57.16, 100, 1e+22, 1.5e-7 (exponent form when the
 * decimal exponent is below -6 or above 20, as JavaScript); -0 gives -0. */
#define QN_NUMBER_MAX 32
unsigned qn_print_double(char *out, double v);
unsigned qn_print_float(char *out, float v);
unsigned qn_print_int64(char *out, int64_t v);
unsigned qn_print_uint64(char *out, uint64_t v);
/* v / 10^scale with exactly `scale` decimals: 5716, 2 -> 57.16; -5, 2 -> -0.05. */
unsigned qn_print_scaled(char *out, int64_t v, unsigned scale);

/* v / 10^scale as the nearest double, correctly rounded. scale: 0 to QN_SCALE_MAX. */
double qn_scaled_double(int64_t v, unsigned scale);
/* num / den as the nearest double, correctly rounded (one rounding). den > 0. */
double qn_ratio_double(__int128 num, unsigned __int128 den);

#endif
