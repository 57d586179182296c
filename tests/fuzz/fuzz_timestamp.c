/* SPDX-License-Identifier: Apache-2.0
 * fuzz_timestamp.c - reads any bytes as a time and as a duration, and any eight bytes as an
 * instant.
 *
 * Holds: what was read and is printed reads back to the same instant; calendar fields agree with
 * the cheap columns. */
#include "base/check.h"
#include "base/timestamp.h"

#include <stddef.h>
#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void instant(int64_t us)
{
    char out[QN_TIMESTAMP_LEN];
    struct qn_civil c = qn_timestamp_civil(us);
    int64_t back;

    QN_ASSERT(c.month >= 1 && c.month <= 12 && c.day >= 1 && c.day <= 31);
    QN_ASSERT(qn_timestamp_hour(us) == c.hour);
    QN_ASSERT(qn_timestamp_weekday(us) == c.weekday);
    QN_ASSERT(qn_timestamp_print(out, us) == QN_TIMESTAMP_LEN);
    QN_ASSERT(qn_timestamp_parse((struct qn_str){out, QN_TIMESTAMP_LEN}, &back));
    QN_ASSERT(back == us || c.year < 0 || c.year > 9999);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct qn_str text = {(const char *)data, (uint32_t)size};
    char out[40];
    int64_t us, back;

    if (size > 1000)
        return 0;
    if (qn_timestamp_parse(text, &us))
        instant(us);
    if (qn_duration_parse(text, &us)) {
        QN_ASSERT(us >= 0);
        QN_ASSERT(qn_duration_parse((struct qn_str){out, qn_duration_print(out, us)}, &back));
        QN_ASSERT(back == us);
    }
    if (size >= 8) {
        memcpy(&us, data, 8);
        instant(us);
    }
    return 0;
}
