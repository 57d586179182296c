/* SPDX-License-Identifier: Apache-2.0
 * timestamp.c - RFC 3339 and durations, to and from microseconds.
 *
 * qn_timestamp_parse runs once per event: the fixed part (YYYY-MM-DDThh:mm:ss) is read from three
 * overlapping words, its digits checked and paired up together. Calendar after Howard Hinnant,
 * "chrono-compatible low-level date algorithms". Thread: any; no state. */
#include "base/timestamp.h"

#include "base/check.h"
#include "base/number.h"

#define US_PER_S   INT64_C(1000000)
#define US_PER_MIN (60 * US_PER_S)
#define US_PER_H   (60 * US_PER_MIN)
#define US_PER_DAY (24 * US_PER_H)

/* First instants of the years 0 and 10000. */
#define US_YEAR_0     (INT64_C(-719528) * US_PER_DAY)
#define US_YEAR_10000 (INT64_C(2932897) * US_PER_DAY)

/* Days from 1970-01-01 to the first of March of year 0, the origin of the arithmetic below. */
#define DAYS_TO_1970 719468

/* Days of the year before each month, March first, so that the leap day comes last. */
static const uint16_t days_before[16] = {0, 306, 337, 0, 31, 61, 92, 122, 153, 184, 214, 245, 275};

static inline int64_t days_from_civil(unsigned year, unsigned month, unsigned day)
{
    unsigned y = year + 400 - (month <= 2); /* 400 years more keep it positive */
    unsigned century = y / 100;

    return (int64_t)(365 * y + y / 4 - century + century / 4 + days_before[month] + day - 1) -
           DAYS_TO_1970 - 146097;
}

/* 0 where there is no such month. */
static const uint8_t month_days[16] = {0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};

static inline bool is_leap(unsigned y)
{
    return (y % 4 == 0 && y % 100 != 0) || y % 400 == 0;
}

static inline uint64_t load8(const char *p)
{
    uint64_t v;

    memcpy(&v, p, 8);
    return v;
}

/* True if the bytes selected by `digits` (0xFF each) are digits and the others equal `fixed`. */
static inline bool matches(uint64_t v, uint64_t digits, uint64_t fixed)
{
    uint64_t d = (v & digits) ^ (UINT64_C(0x3030303030303030) & digits);
    uint64_t over = (d + (UINT64_C(0x0606060606060606) & digits)) | d;

    return (v & ~digits) == fixed && (over & UINT64_C(0xF0F0F0F0F0F0F0F0)) == 0;
}

#define DATE_DIGITS UINT64_C(0x00FFFF00FFFFFFFF)
#define TIME_DIGITS UINT64_C(0xFFFF00FFFF00FFFF)

/* Each byte times ten plus the one behind it; bytes are 0 to 9. */
static inline uint64_t pairs_of(uint64_t d)
{
    return d * 10 + (d >> 8);
}

static inline unsigned pair(const char *p)
{
    return ((unsigned)(unsigned char)p[0] - '0') * 10 + ((unsigned)(unsigned char)p[1] - '0');
}

static inline unsigned digit(char c)
{
    return (unsigned)(unsigned char)c - '0';
}

/* The zone at p: Z, an offset, or nothing where the text allows it. Returns false if it is none or
 * bytes follow. */
static bool take_zone(const char *p, const char *end, bool may_lack, int64_t *offset_us)
{
    unsigned h, m;

    *offset_us = 0;
    if (p == end)
        return may_lack;
    if (*p == 'Z' || *p == 'z')
        return p + 1 == end;
    if ((*p != '+' && *p != '-') || end - p != 6 || p[3] != ':')
        return false;
    if (digit(p[1]) > 9 || digit(p[2]) > 9 || digit(p[4]) > 9 || digit(p[5]) > 9)
        return false;
    h = pair(p + 1);
    m = pair(p + 4);
    if (h > 23 || m > 59)
        return false;
    *offset_us = (int64_t)(h * 60 + m) * US_PER_MIN;
    if (*p == '-')
        *offset_us = -*offset_us;
    return true;
}

/* Digits of a fraction to microseconds, those beyond six cut; NULL if there is no digit. */
static const char *take_fraction(const char *p, const char *end, uint32_t *us)
{
    static const uint32_t unit[7] = {1000000, 100000, 10000, 1000, 100, 10, 1};
    uint32_t v = 0, n = 0;

    for (; p < end && digit(*p) < 10 && n < 6; p++, n++)
        v = v * 10 + digit(*p);
    while (p < end && digit(*p) < 10)
        p++;
    *us = v * unit[n];
    return n > 0 ? p : NULL;
}

/* The microseconds (of a fraction, less an offset) in what follows the seconds. Not inlined: most
 * times end in Z. */
static __attribute__((noinline)) bool take_rest(struct qn_str text, bool may_lack,
                                                bool is_leap_second, int64_t *us)
{
    const char *p = text.p + 19, *end = text.p + text.len;
    uint32_t fraction = 0;
    int64_t offset = 0;
    uint64_t v;

    if (text.len == 27) {
        /* .ffffffZ, as qn_timestamp_print writes */
        v = load8(p);
        if (matches(v, UINT64_C(0x00FFFFFFFFFFFF00), UINT64_C(0x5A0000000000002E))) {
            v = pairs_of(v & UINT64_C(0x000F0F0F0F0F0F00));
            fraction = (uint32_t)(v >> 8 & 0xFF) * 10000 + (uint32_t)(v >> 24 & 0xFF) * 100 +
                       (uint32_t)(v >> 40 & 0xFF);
            *us = is_leap_second ? 0 : fraction;
            return true;
        }
    }
    if (p < end && *p == '.') {
        p = take_fraction(p + 1, end, &fraction);
        if (p == NULL)
            return false;
    }
    if (!take_zone(p, end, may_lack, &offset))
        return false;
    *us = (is_leap_second ? 0 : (int64_t)fraction) - offset;
    return true;
}

bool qn_timestamp_parse(struct qn_str text, int64_t *us)
{
    const char *p = text.p;
    unsigned year, month, day, tens, ones;
    int64_t rest = 0, seconds;
    uint64_t date, time;

    if (text.len < 19)
        return false;
    date = load8(p);      /* YYYY-MM- */
    time = load8(p + 11); /* hh:mm:ss */
    tens = digit(p[8]);
    ones = digit(p[9]);
    if (!matches(date, DATE_DIGITS, UINT64_C(0x2D00002D00000000)) ||
        !matches(time, TIME_DIGITS, UINT64_C(0x00003A00003A0000)) || tens > 9 || ones > 9)
        return false;
    if (p[10] != 'T' && p[10] != ' ' && p[10] != 't')
        return false;
    date = pairs_of(date & DATE_DIGITS & UINT64_C(0x0F0F0F0F0F0F0F0F));
    time = pairs_of(time & TIME_DIGITS & UINT64_C(0x0F0F0F0F0F0F0F0F));
    year = (unsigned)(date & 0xFF) * 100 + (unsigned)(date >> 16 & 0xFF);
    month = (unsigned)(date >> 40 & 0xFF);
    day = tens * 10 + ones;
    /* hour, minute and second are bytes 0, 3 and 6: added to 128 - 24, 128 - 60 and 128 - 61 they
     * stay below 128. */
    time &= UINT64_C(0x00FF0000FF0000FF);
    if (((time + UINT64_C(0x0043000044000068)) & UINT64_C(0x0080000080000080)) != 0 || month > 12)
        return false;
    if (day > month_days[month] && !(day == 29 && month == 2 && is_leap(year)))
        return false;
    if (day == 0)
        return false;
    seconds = (int64_t)((time & 0xFF) * 3600 + (time >> 24 & 0xFF) * 60 + (time >> 48));
    if (!(text.len == 20 && p[19] == 'Z') &&
        !take_rest(text, p[10] == ' ', time >> 48 == 60, &rest))
        return false;
    *us = (days_from_civil(year, month, day) * 86400 + seconds) * US_PER_S + rest;
    return true;
}

bool qn_timestamp_epoch(int64_t count, enum qn_time_unit unit, int64_t *us)
{
    switch (unit) {
    case QN_TIME_S:
        return !__builtin_mul_overflow(count, US_PER_S, us);
    case QN_TIME_MS:
        return !__builtin_mul_overflow(count, INT64_C(1000), us);
    case QN_TIME_US:
        *us = count;
        return true;
    case QN_TIME_NS:
        *us = count / 1000 - (count % 1000 < 0);
        return true;
    case QN_TIME_TEXT:
        break;
    }
    QN_ASSERT(unit != QN_TIME_TEXT);
    return false;
}

/* Days to date after Neri and Schneider, "Euclidean affine functions and their application to
 * calendar algorithms" (2023): divisions become multiplications. int64 microseconds span 292,000
 * years to either side: 800 cycles of 400 years more keep all of it positive. */
struct qn_civil qn_timestamp_civil(int64_t us)
{
    int64_t days = us / US_PER_DAY - (us % US_PER_DAY < 0);
    uint64_t rest = (uint64_t)us - (uint64_t)days * (uint64_t)US_PER_DAY;
    uint32_t seconds = (uint32_t)(rest / US_PER_S);
    uint32_t quarter = 4 * (uint32_t)(days + DAYS_TO_1970 + 800 * 146097) + 3;
    uint32_t century = quarter / 146097, of_century = quarter % 146097 | 3;
    uint64_t product = UINT64_C(2939745) * of_century;
    uint32_t year = 100 * century + (uint32_t)(product >> 32);
    uint32_t day_of_year = (uint32_t)product / 2939745 / 4;
    uint32_t month_day = 2141 * day_of_year + 197913;
    bool is_next_year = day_of_year >= 306;

    return (struct qn_civil){
        .year = (int32_t)(year + is_next_year) - 800 * 400,
        .month = (uint8_t)((month_day >> 16) - (is_next_year ? 12 : 0)),
        .day = (uint8_t)((month_day & 0xFFFF) / 2141 + 1),
        .hour = (uint8_t)(seconds / 3600),
        .minute = (uint8_t)(seconds / 60 % 60),
        .second = (uint8_t)(seconds % 60),
        .weekday = (uint8_t)((days + 3 + 7 * UINT64_C(20000000)) % 7),
        .us = (uint32_t)(rest - seconds * (uint64_t)US_PER_S),
    };
}

/* Two digits of v < 100. */
static inline void put2(char *out, uint32_t v)
{
    uint32_t tens = (v * 103) >> 10;
    uint16_t both = (uint16_t)('0' + tens + (('0' + v - 10 * tens) << 8));

    memcpy(out, &both, 2);
}

unsigned qn_timestamp_print(char out[QN_TIMESTAMP_LEN], int64_t us)
{
    struct qn_civil c;

    if (us < US_YEAR_0)
        us = US_YEAR_0;
    if (us >= US_YEAR_10000)
        us = US_YEAR_10000 - 1;
    c = qn_timestamp_civil(us);
    memcpy(out, "YYYY-MM-DDThh:mm:ss.ffffffZ", QN_TIMESTAMP_LEN);
    put2(out, (uint32_t)c.year / 100);
    put2(out + 2, (uint32_t)c.year % 100);
    put2(out + 5, c.month);
    put2(out + 8, c.day);
    put2(out + 11, c.hour);
    put2(out + 14, c.minute);
    put2(out + 17, c.second);
    put2(out + 20, c.us / 10000);
    put2(out + 22, c.us / 100 % 100);
    put2(out + 24, c.us % 100);
    return QN_TIMESTAMP_LEN;
}

/* Units of durations, largest first, so that each may follow only those before it. */
static const struct {
    const char *name;
    int64_t us;
    bool printed;
} units[] = {
    {"w", 7 * US_PER_DAY, false},
    {"d", US_PER_DAY, true},
    {"h", US_PER_H, true},
    {"m", US_PER_MIN, true},
    {"s", US_PER_S, true},
    {"ms", 1000, true},
    {"us", 1, true},
};
enum { UNITS = sizeof units / sizeof units[0] };

#define DURATION_MAX (10000 * US_PER_DAY)

bool qn_duration_parse(struct qn_str text, int64_t *us)
{
    const char *p = text.p, *end = text.p + text.len;
    unsigned next = 0;
    int64_t sum = 0;

    if (text.len == 0)
        return false;
    while (p < end) {
        const char *first = p;
        uint32_t letters = 0;
        int64_t v = 0, part;
        unsigned i;

        for (; p < end && digit(*p) < 10; p++) {
            v = v * 10 + digit(*p);
            if (v > DURATION_MAX)
                return false;
        }
        if (p == first)
            return false;
        while (p + letters < end && digit(p[letters]) > 9)
            letters++;
        for (i = next; i < UNITS; i++)
            if (qn_str_is((struct qn_str){p, letters}, units[i].name))
                break;
        if (i == UNITS || __builtin_mul_overflow(v, units[i].us, &part) || part > DURATION_MAX)
            return false;
        sum += part;
        if (sum > DURATION_MAX)
            return false;
        next = i + 1;
        p += letters;
    }
    *us = sum;
    return true;
}

unsigned qn_duration_print(char *out, int64_t us)
{
    uint64_t rest = us < 0 ? -(uint64_t)us : (uint64_t)us;
    unsigned n = 0;

    if (us == 0) {
        memcpy(out, "0s", 2);
        return 2;
    }
    if (us < 0)
        out[n++] = '-';
    for (unsigned i = 0; i < UNITS; i++) {
        uint64_t unit = (uint64_t)units[i].us;
        size_t len = strlen(units[i].name);

        if (!units[i].printed || rest < unit)
            continue;
        n += qn_print_uint64(out + n, rest / unit);
        memcpy(out + n, units[i].name, len);
        n += (unsigned)len;
        rest %= unit;
    }
    return n;
}
