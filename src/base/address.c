/* SPDX-License-Identifier: Apache-2.0
 * address.c - reads addresses; what a resolver would have to be asked for is refused.
 *
 * Thread: any; no state. Memory: the caller's. */
#include "base/address.h"

#include "base/number.h"

#include <arpa/inet.h>

static const char no_port[] =
    "is no address: write HOST:PORT, such as 127.0.0.1:8090 or [::1]:8090";
static const char no_number[] =
    "has no number of this machine in it: write 127.0.0.1, [::1], 0.0.0.0 or [::]";

static struct qn_str trim(struct qn_str s)
{
    while (s.len > 0 && s.p[0] == ' ') {
        s.p++;
        s.len--;
    }
    while (s.len > 0 && s.p[s.len - 1] == ' ')
        s.len--;
    return s;
}

const char *qn_address_parse(struct qn_str text, struct qn_address *out)
{
    struct qn_str host = text;
    char number[sizeof(out->host)];
    int64_t port;

    memset(out, 0, sizeof(*out));
    while (host.len > 0 && host.p[host.len - 1] != ':')
        host.len--;
    if (host.len < 2 || host.len > sizeof(out->host) ||
        !qn_text_int64((struct qn_str){text.p + host.len, text.len - host.len}, &port) ||
        port < 0 || port > 65535)
        return no_port;
    host.len--;
    memcpy(out->host, host.p, host.len);
    memcpy(number, out->host, sizeof(number));
    if (strcmp(number, "localhost") == 0)
        memcpy(number, "127.0.0.1", 10);
    if (inet_pton(AF_INET, number, &out->at.v4.sin_addr) == 1) {
        out->at.v4.sin_family = AF_INET;
        out->at.v4.sin_port = htons((uint16_t)port);
        out->len = sizeof(out->at.v4);
        return NULL;
    }
    if (number[0] != '[' || number[host.len - 1] != ']')
        return no_number;
    number[host.len - 1] = '\0';
    if (inet_pton(AF_INET6, number + 1, &out->at.v6.sin6_addr) != 1)
        return no_number;
    out->at.v6.sin6_family = AF_INET6;
    out->at.v6.sin6_port = htons((uint16_t)port);
    out->len = sizeof(out->at.v6);
    return NULL;
}

bool qn_address_next(struct qn_str *list, struct qn_str *one)
{
    const char *comma;

    if (list->p == NULL)
        return false;
    comma = list->len > 0 ? memchr(list->p, ',', list->len) : NULL;
    *one = trim((struct qn_str){list->p, comma != NULL ? (uint32_t)(comma - list->p) : list->len});
    *list = comma == NULL ? (struct qn_str){NULL, 0}
                          : (struct qn_str){comma + 1, (uint32_t)(list->p + list->len - comma - 1)};
    return true;
}

uint16_t qn_address_port(const struct qn_address *a)
{
    return ntohs(a->at.any.sa_family == AF_INET ? a->at.v4.sin_port : a->at.v6.sin6_port);
}

bool qn_address_is_loopback(const struct qn_address *a)
{
    if (a->at.any.sa_family == AF_INET)
        return ntohl(a->at.v4.sin_addr.s_addr) >> 24 == 127;
    return IN6_IS_ADDR_LOOPBACK(&a->at.v6.sin6_addr);
}
