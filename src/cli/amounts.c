/* SPDX-License-Identifier: Apache-2.0
 * amounts.c - numbers, times and sizes as people read them.
 *
 * Thread: any; no state. */
#include "cli/amounts.h"

#include <stdbool.h>
#include <stdio.h>

static const char *dash(char out[QN_AMOUNT_MAX])
{
    snprintf(out, QN_AMOUNT_MAX, "-");
    return out;
}

/* What can be shown: not NaN, and not beyond what any of these counts. */
static bool is_shown(double v)
{
    return v > -1e18 && v < 1e18;
}

/* Three digits that matter: 4.13, 41.3, 413. */
static const char *three(char out[QN_AMOUNT_MAX], double v, const char *unit)
{
    snprintf(out, QN_AMOUNT_MAX, "%.*f%s", v < 9.995 ? 2 : v < 99.95 ? 1 : 0, v, unit);
    return out;
}

static const char *grouped(char out[QN_AMOUNT_MAX], double v, const char *unit)
{
    char digits[QN_AMOUNT_MAX];
    int n = snprintf(digits, sizeof(digits), "%.0f", v);
    unsigned k = 0;

    for (int i = 0; i < n && k + 2 < QN_AMOUNT_MAX; i++) {
        if (i > 0 && (n - i) % 3 == 0 && digits[i - 1] != '-')
            out[k++] = ',';
        out[k++] = digits[i];
    }
    snprintf(out + k, QN_AMOUNT_MAX - k, "%s", unit);
    return out;
}

const char *qn_amount_count(char out[QN_AMOUNT_MAX], double v)
{
    if (!is_shown(v))
        return dash(out);
    return v >= 1e12  ? three(out, v / 1e12, " T")
           : v >= 1e9 ? three(out, v / 1e9, " G")
           : v >= 1e6 ? three(out, v / 1e6, " M")
                      : grouped(out, v, "");
}

const char *qn_amount_rate(char out[QN_AMOUNT_MAX], double v)
{
    if (!is_shown(v))
        return dash(out);
    if (v >= 1e5)
        return v >= 1e9   ? three(out, v / 1e9, " G/s")
               : v >= 1e6 ? three(out, v / 1e6, " M/s")
                          : three(out, v / 1e3, " k/s");
    if (v == 0 || v >= 99.95)
        return grouped(out, v, "/s");
    snprintf(out, QN_AMOUNT_MAX, "%.*f/s", v >= 9.95 ? 1 : v >= 0.0995 ? 2 : 3, v);
    return out;
}

const char *qn_amount_bytes(char out[QN_AMOUNT_MAX], double v)
{
    if (!is_shown(v))
        return dash(out);
    return v >= 1e12  ? three(out, v / 1e12, " TB")
           : v >= 1e9 ? three(out, v / 1e9, " GB")
           : v >= 1e6 ? three(out, v / 1e6, " MB")
           : v >= 1e3 ? three(out, v / 1e3, " kB")
                      : grouped(out, v, " B");
}

const char *qn_amount_ms(char out[QN_AMOUNT_MAX], double v)
{
    if (!is_shown(v))
        return dash(out);
    if (v == 0)
        return grouped(out, 0, " ms");
    return v < 0.0995  ? three(out, v * 1000, " us")
           : v < 999.5 ? three(out, v, " ms")
                       : qn_amount_duration(out, v / 1000);
}

const char *qn_amount_duration(char out[QN_AMOUNT_MAX], double s)
{
    uint64_t whole;

    if (!is_shown(s))
        return dash(out);
    s = s < 0 ? 0 : s;
    whole = (uint64_t)s;
    if (s < 9.95)
        snprintf(out, QN_AMOUNT_MAX, "%.1f s", s);
    else if (whole < 60)
        snprintf(out, QN_AMOUNT_MAX, "%u s", (unsigned)whole);
    else if (whole < 3600)
        snprintf(out, QN_AMOUNT_MAX, "%u min %u s", (unsigned)(whole / 60), (unsigned)(whole % 60));
    else if (whole < 86400)
        snprintf(out, QN_AMOUNT_MAX, "%u h %u min", (unsigned)(whole / 3600),
                 (unsigned)(whole % 3600 / 60));
    else
        snprintf(out, QN_AMOUNT_MAX, "%llu d %u h", (unsigned long long)(whole / 86400),
                 (unsigned)(whole % 86400 / 3600));
    return out;
}

const char *qn_amount_share(char out[QN_AMOUNT_MAX], double part, double whole)
{
    double v;

    if (!is_shown(part) || !(whole > 0))
        return dash(out);
    v = 100 * part / whole;
    if (v == 0)
        snprintf(out, QN_AMOUNT_MAX, "0 %%");
    else if (v < 0.01)
        snprintf(out, QN_AMOUNT_MAX, "< 0.01 %%");
    else
        snprintf(out, QN_AMOUNT_MAX, "%.*f %%", v < 1 ? 2 : v < 99.95 ? 1 : 0, v);
    return out;
}
