/* SPDX-License-Identifier: Apache-2.0
 * fuzz_number.c - reads any bytes as a number, and any eight bytes as a double to print.
 *
 * Holds: what is read is what libc reads (in the C locale, correctly rounded), what is printed
 * reads back to the same bits, within the promised length; a scaled integer printed and read again
 * is itself. */
#include "base/check.h"
#include "base/number.h"

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_back(double v)
{
    char out[QN_NUMBER_MAX + 1];
    double back;
    unsigned n = qn_print_double(out, v);

    QN_ASSERT(n <= QN_NUMBER_MAX);
    QN_ASSERT(qn_text_double((struct qn_str){out, n}, &back));
    QN_ASSERT(memcmp(&back, &v, sizeof v) == 0);
    out[n] = '\0';
    QN_ASSERT(strtod(out, NULL) == v);
}

static void read_back_float(float v)
{
    char out[QN_NUMBER_MAX];
    float back;
    unsigned n = qn_print_float(out, v);

    QN_ASSERT(qn_text_float((struct qn_str){out, n}, &back));
    QN_ASSERT(memcmp(&back, &v, sizeof v) == 0);
}

static void scan(const char *p, size_t size)
{
    char text[4096], out[QN_NUMBER_MAX];
    struct qn_decimal_text d, again;
    int64_t scaled, back;
    uint32_t n = qn_number_scan(p, p + size, &d);

    QN_ASSERT(n <= size);
    if (n == 0 || n >= sizeof text)
        return;
    memcpy(text, p, n);
    text[n] = '\0';
    QN_ASSERT(qn_number_double(&d) == strtod(text, NULL));
    QN_ASSERT(qn_number_float(&d) == strtof(text, NULL));
    QN_ASSERT(qn_number_scan(text, text + n, &again) == n);
    QN_ASSERT(again.digits == d.digits);
    QN_ASSERT(again.exponent == d.exponent);
    for (unsigned scale = 0; scale <= 18; scale++) {
        if (!qn_number_scaled(&d, scale, &scaled))
            continue;
        QN_ASSERT(qn_text_scaled((struct qn_str){out, qn_print_scaled(out, scaled, scale)}, scale,
                                 &back));
        QN_ASSERT(back == scaled);
        QN_ASSERT(qn_scaled_double(scaled, scale) == qn_number_double(&d));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct qn_str text = {(const char *)data, (uint32_t)size};
    int64_t i;
    double v;
    float f;

    if (size > 3000)
        return 0;
    scan(text.p, size);
    qn_text_double(text, &v);
    qn_text_float(text, &f);
    qn_text_int64(text, &i);
    if (size >= 8) {
        memcpy(&v, data, 8);
        if (isfinite(v))
            read_back(v);
        memcpy(&f, data, 4);
        if (isfinite(f))
            read_back_float(f);
    }
    return 0;
}
