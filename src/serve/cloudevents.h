/* SPDX-License-Identifier: Apache-2.0
 * cloudevents.h - CloudEvents 1.0 over HTTP: the event's bytes are its data, its attributes become
 * headers of the record, as in Kafka's binary mode: `ce_id`, `ce_source`, ..., `content-type`.
 *
 * Required and not empty: id, source, specversion (1.0), type. Extensions are kept. Source:
 * CloudEvents specification 1.0.2, JSON format and HTTP binding; Kafka binding for the names.
 * Thread: any. Memory: the given arena. */
#ifndef QN_SERVE_CLOUDEVENTS_H
#define QN_SERVE_CLOUDEVENTS_H

#include "base/memory.h"
#include "base/status.h"
#include "base/text.h"

/* What was seen of one CloudEvent; {0} at first. */
struct qn_cloudevent {
    unsigned seen; /* private: bits of the required attributes */
};

/* Adds one attribute to the headers of a record (qn_log_header_add). QN_INVALID: a name that no
 * attribute may have, a required one that is empty, another specversion. */
qn_status qn_cloudevent_attribute(struct qn_cloudevent *ce, struct qn_str name, struct qn_str value,
                                  struct qn_buf *headers, struct qn_err *err);
/* QN_INVALID, naming the first required attribute that is missing. */
qn_status qn_cloudevent_check(const struct qn_cloudevent *ce, struct qn_err *err);

/* Structured mode: one JSON object. event: the bytes of `data` as they stand, or data_base64
 * decoded; "null" where there are neither. headers: its attributes are appended. QN_INVALID says
 * what is wrong; then headers hold part of them. */
qn_status qn_cloudevent_read(struct qn_str json, struct qn_arena *a, struct qn_str *event,
                             struct qn_buf *headers, struct qn_err *err);

#endif
