/* SPDX-License-Identifier: Apache-2.0
 * webhook_answer.c - what an answer of a webhook means, and which addresses may be asked at all.
 *
 * Everything here comes from outside: header lines and bodies are cut, bounded and never trusted.
 * RFC 9110 for statuses, Retry-After and its dates. Thread: any. */
#include "sink/webhook_int.h"

#include "base/number.h"
#include "base/timestamp.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>

enum qn_webhook_meaning qn_webhook_meaning(long status, enum qn_webhook_format format)
{
    if (status >= 200 && status <= 299)
        return QN_WEBHOOK_TAKEN;
    switch (status) {
    case 410:
        return QN_WEBHOOK_GONE;
    case 404:
        return format == QN_WEBHOOK_SLACK ? QN_WEBHOOK_GONE : QN_WEBHOOK_DOWN;
    case 401: /* credentials and addresses: nothing of the record's, and people can mend it */
    case 402:
    case 403:
    case 405:
    case 407:
    case 408:
    case 421:
    case 425:
    case 429:
    case 502:
    case 503:
    case 504:
        return QN_WEBHOOK_DOWN;
    case 409: /* the same Idempotency-Key is being worked on */
    case 423:
        return QN_WEBHOOK_FAILED;
    default:
        break;
    }
    if (status >= 400 && status <= 499)
        return QN_WEBHOOK_REFUSED;
    if (status >= 500 && status <= 599)
        return QN_WEBHOOK_FAILED;
    return QN_WEBHOOK_DOWN; /* a redirect is not followed; anything else is no answer */
}

/* ---- headers ---------------------------------------------------------------------------------*/

static struct qn_str trim(struct qn_str s)
{
    while (s.len > 0 && strchr(" \t\r\n", s.p[0]) != NULL)
        s.p++, s.len--;
    while (s.len > 0 && strchr(" \t\r\n", s.p[s.len - 1]) != NULL)
        s.len--;
    return s;
}

static bool is_name(struct qn_str line, const char *name)
{
    size_t n = strlen(name);

    if (line.len <= n || line.p[n] != ':')
        return false;
    for (size_t i = 0; i < n; i++) {
        char c = line.p[i];

        if ((c >= 'A' && c <= 'Z' ? c + 32 : c) != name[i])
            return false;
    }
    return true;
}

static bool two_digits(const char *p, int *out)
{
    if (p[0] < '0' || p[0] > '9' || p[1] < '0' || p[1] > '9')
        return false;
    *out = (p[0] - '0') * 10 + (p[1] - '0');
    return true;
}

/* IMF-fixdate, the only form that may be sent: Sun, 06 Nov 1994 08:49:37 GMT. */
static bool parse_date(struct qn_str s, int64_t *us)
{
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    char text[24];
    int day, century, year, hour, minute, second, month = 0;

    if (s.len != 29 || memcmp(s.p + 25, " GMT", 4) != 0 || s.p[3] != ',' || s.p[4] != ' ')
        return false;
    if (!two_digits(s.p + 5, &day) || !two_digits(s.p + 12, &century) ||
        !two_digits(s.p + 14, &year) || !two_digits(s.p + 17, &hour) ||
        !two_digits(s.p + 20, &minute) || !two_digits(s.p + 23, &second))
        return false;
    while (month < 12 && memcmp(months + 3 * month, s.p + 8, 3) != 0)
        month++;
    if (month == 12)
        return false;
    snprintf(text, sizeof(text), "%02d%02d-%02d-%02dT%02d:%02d:%02dZ", century, year, month + 1,
             day, hour, minute, second);
    return qn_timestamp_parse(qn_str_of(text), us);
}

/* Seconds or a date. What cannot be read counts as nothing. */
static int64_t parse_retry_after(struct qn_str value, int64_t now_us)
{
    int64_t number, us = 0;

    if (value.len > 0 && value.p[0] >= '0' && value.p[0] <= '9' && qn_text_int64(value, &number))
        us = number < INT64_C(1000000000) ? number * 1000000 : INT64_C(1000000000000000);
    else if (parse_date(value, &us))
        us = us > now_us ? us - now_us : 0;
    return us;
}

bool qn_webhook_answer_header(struct qn_webhook_answer *a, struct qn_str line, int64_t now_us)
{
    static const char name[] = "retry-after";

    a->bytes += line.len;
    if (line.len >= 5 && memcmp(line.p, "HTTP/", 5) == 0) { /* what came before was provisional */
        a->retry_after_us = 0;
        a->excerpt_len = 0;
    }
    if (is_name(line, name)) {
        line.p += sizeof(name);
        line.len -= (uint32_t)sizeof(name);
        a->retry_after_us = parse_retry_after(trim(line), now_us);
    }
    return a->bytes <= QN_WEBHOOK_ANSWER_MAX;
}

bool qn_webhook_answer_body(struct qn_webhook_answer *a, struct qn_str piece)
{
    for (uint32_t i = 0; i < piece.len && a->excerpt_len < QN_WEBHOOK_EXCERPT; i++) {
        char c = piece.p[i];
        bool is_blank = c == ' ' || c == '\n' || c == '\t' || c == '\r';

        if (is_blank && (a->excerpt_len == 0 || a->excerpt[a->excerpt_len - 1] == ' '))
            continue;
        a->excerpt[a->excerpt_len++] = is_blank ? ' ' : c >= 0x20 && c < 0x7f ? c : '?';
    }
    a->excerpt[a->excerpt_len] = '\0';
    a->bytes += piece.len;
    return a->bytes <= QN_WEBHOOK_ANSWER_MAX;
}

static const char *status_words(long status)
{
    static const struct {
        int status;
        const char *words;
    } all[] = {{301, " (a redirect, which is not followed: put the final address into 'url')"},
               {302, " (a redirect, which is not followed: put the final address into 'url')"},
               {303, " (a redirect, which is not followed: put the final address into 'url')"},
               {307, " (a redirect, which is not followed: put the final address into 'url')"},
               {308, " (a redirect, which is not followed: put the final address into 'url')"},
               {400, " Bad Request"},
               {401, " Unauthorized (are 'headers' right?)"},
               {403, " Forbidden (are 'headers' right?)"},
               {404, " Not Found (is 'url' right?)"},
               {405, " Method Not Allowed (is 'url' right?)"},
               {409, " Conflict"},
               {410, " Gone"},
               {413, " Content Too Large"},
               {422, " Unprocessable Content"},
               {429, " Too Many Requests"},
               {500, " Internal Server Error"},
               {502, " Bad Gateway"},
               {503, " Service Unavailable"},
               {504, " Gateway Timeout"}};

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        if (all[i].status == status)
            return all[i].words;
    return "";
}

void qn_webhook_answer_print(const struct qn_webhook_answer *a, long status, char *out,
                             size_t bytes)
{
    snprintf(out, bytes, "the target answered %ld%s%s%.*s", status, status_words(status),
             a->excerpt_len > 0 ? ": " : "", (int)a->excerpt_len, a->excerpt);
}

/* ---- addresses -------------------------------------------------------------------------------*/

struct range {
    uint8_t bytes[16];
    unsigned bits;
};

static bool is_within(const uint8_t *address, const struct range *ranges, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        unsigned whole = ranges[i].bits / 8, rest = ranges[i].bits % 8;

        if (memcmp(address, ranges[i].bytes, whole) == 0 &&
            (rest == 0 || (address[whole] ^ ranges[i].bytes[whole]) >> (8 - rest) == 0))
            return true;
    }
    return false;
}

static bool is_private_4(const uint8_t *a)
{
    static const struct range ranges[] = {
        {{0}, 8},         {{10}, 8},       {{100, 64}, 10},      {{127}, 8},
        {{169, 254}, 16}, {{172, 16}, 12}, {{192, 0, 0}, 24},    {{192, 0, 2}, 24},
        {{192, 168}, 16}, {{198, 18}, 15}, {{198, 51, 100}, 24}, {{203, 0, 113}, 24},
        {{224}, 4},       {{240}, 4}};

    return is_within(a, ranges, sizeof(ranges) / sizeof(ranges[0]));
}

static bool is_private_6(const uint8_t *a)
{
    /* of 2000::/3, the public unicast space, what is not; the rest of all is not public */
    static const struct range special[] = {
        {{0x20, 0x01, 0x00, 0x00}, 23}, {{0x20, 0x01, 0x0d, 0xb8}, 32}, {{0x3f, 0xff}, 20}};
    static const struct range mapped[] = {{{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff}, 96},
                                          {{0x00, 0x64, 0xff, 0x9b}, 96}};
    static const struct range six_to_four[] = {{{0x20, 0x02}, 16}};
    static const struct range unicast[] = {{{0x20}, 3}};

    if (is_within(a, mapped, 2))
        return is_private_4(a + 12);
    if (is_within(a, six_to_four, 1))
        return is_private_4(a + 2);
    return !is_within(a, unicast, 1) || is_within(a, special, sizeof(special) / sizeof(special[0]));
}

bool qn_webhook_is_private(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET) {
        struct sockaddr_in in;

        memcpy(&in, address, sizeof(in));
        return is_private_4((const uint8_t *)&in.sin_addr);
    }
    if (address->sa_family == AF_INET6) {
        struct sockaddr_in6 in;

        memcpy(&in, address, sizeof(in));
        return is_private_6((const uint8_t *)&in.sin6_addr);
    }
    return true;
}
