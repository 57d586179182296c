/* SPDX-License-Identifier: Apache-2.0
 * address.h - HOST:PORT of this machine, to listen on.
 *
 * Numbers only ("127.0.0.1:8090", "[::1]:0", "0.0.0.0:80") and "localhost", which is 127.0.0.1: no
 * resolver is asked. Thread: any; no state. */
#ifndef QN_BASE_ADDRESS_H
#define QN_BASE_ADDRESS_H

#include "base/text.h"

#include <netinet/in.h>
#include <sys/socket.h>

struct qn_address {
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } at;
    socklen_t len;
    char host[48]; /* as written, as in a URL: "[::1]" */
};

/* NULL, or what is wrong with it, in words that follow "'...' ". */
const char *qn_address_parse(struct qn_str text, struct qn_address *out);
/* Takes the next one off the front of a list that is joined by commas; false at the end. */
bool qn_address_next(struct qn_str *list, struct qn_str *one);
uint16_t qn_address_port(const struct qn_address *a);
/* Only programs of this machine reach it. */
bool qn_address_is_loopback(const struct qn_address *a);

#endif
