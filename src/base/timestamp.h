/* SPDX-License-Identifier: Apache-2.0
 * timestamp.h - event time as text: int64 microseconds since 1970-01-01T00:00:00Z, proleptic
 * Gregorian, no leap seconds.
 *
 * Range: years 0000 to 9999 in text. A second of 60 is read as the first instant of the next minute
 * (RFC 3339 allows it). Thread: any; no state. Calendar arithmetic after Howard Hinnant,
 * "chrono-compatible low-level date algorithms". */
#ifndef QN_BASE_TIMESTAMP_H
#define QN_BASE_TIMESTAMP_H

#include "base/text.h"

#include <stdbool.h>
#include <stdint.h>

enum qn_time_unit { QN_TIME_TEXT, QN_TIME_S, QN_TIME_MS, QN_TIME_US, QN_TIME_NS };

/* Reads RFC 3339 (2018-04-01T00:00:31Z, any fraction, offset +hh:mm or -hh:mm, T or t or a space, Z
 * or z) or "YYYY-MM-DD hh:mm:ss[.fraction]" without offset, which is UTC. Digits beyond
 * microseconds are cut (towards the past). The whole text must be consumed. False when it is not a
 * time, or a day that does not exist. */
bool qn_timestamp_parse(struct qn_str text, int64_t *us);

/* An epoch count in the given unit (not QN_TIME_TEXT) to microseconds: false on overflow.
 * Nanoseconds are cut towards the past (floor). */
bool qn_timestamp_epoch(int64_t count, enum qn_time_unit unit, int64_t *us);

/* Writes YYYY-MM-DDThh:mm:ss.ffffffZ, always 27 bytes, no NUL; us outside years 0..9999 is clamped.
 * Returns 27. */
#define QN_TIMESTAMP_LEN 27
unsigned qn_timestamp_print(char out[QN_TIMESTAMP_LEN], int64_t us);

/* Calendar fields of an instant, UTC. weekday: Monday = 0 ... Sunday = 6. */
struct qn_civil {
    int32_t year;
    uint8_t month, day;           /* 1-12, 1-31   */
    uint8_t hour, minute, second; /* 0-23, 0-59, 0-59 */
    uint8_t weekday;
    uint32_t us; /* 0-999,999 */
};
struct qn_civil qn_timestamp_civil(int64_t us);

/* 0-23 and Monday = 0, for columns. An hour is 2^10 * 3,515,625 us and a day 2^10 * 84,375,000: the
 * shift floors and leaves 54 bits, so that adding whole weeks (and, for weekdays, three days: 1970
 * began on a Thursday) makes every instant positive. */
#define QN_TIMESTAMP_BIAS (UINT64_C(7 * 84375000) * 15500000)
static inline int qn_timestamp_hour(int64_t us)
{
    return (int)(((uint64_t)(us >> 10) + QN_TIMESTAMP_BIAS) / 3515625 % 24);
}
static inline int qn_timestamp_weekday(int64_t us)
{
    return (int)((((uint64_t)(us >> 10) + QN_TIMESTAMP_BIAS) / 84375000 + 3) % 7);
}

/* Durations of the spec: "50ms", "10s", "5m", "1h", "7d", "2w", also "1h30m" and "500us"; no sign,
 * no space, at most 10,000 days. False when it is not one. */
bool qn_duration_parse(struct qn_str text, int64_t *us);
/* Writes the shortest such text ("7d", "1h30m", "0s") and returns its length; out holds 40 bytes.
 */
unsigned qn_duration_print(char *out, int64_t us);

#endif
