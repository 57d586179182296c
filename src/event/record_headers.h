/* SPDX-License-Identifier: Apache-2.0
 * record_headers.h - the headers of a record as the log keeps them: name and value in turn, each a
 * varint with its length, then its bytes.
 *
 * What an event's envelope says may stand in them (envelope.h), so they are read down here; they
 * are written in the room log. Thread: any; no state. */
#ifndef QN_EVENT_RECORD_HEADERS_H
#define QN_EVENT_RECORD_HEADERS_H

#include "base/text.h"
#include "base/varint.h"

/* Takes the next header off the front of *headers; false at the end, and where they are damaged. */
static inline bool qn_record_header_next(struct qn_str *headers, struct qn_str *name,
                                         struct qn_str *value)
{
    struct qn_str *const texts[2] = {name, value};
    const char *p = headers->p, *end = p == NULL ? NULL : p + headers->len;

    for (int i = 0; i < 2; i++) {
        uint64_t n;

        p = p == NULL ? NULL : qn_varint_get(p, end, &n);
        if (p == NULL || n > (uint64_t)(end - p))
            return false;
        *texts[i] = (struct qn_str){p, (uint32_t)n};
        p += n;
    }
    *headers = (struct qn_str){p, (uint32_t)(end - p)};
    return true;
}

#endif
