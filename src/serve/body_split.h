/* SPDX-License-Identifier: Apache-2.0
 * body_split.h - one request body into events: borrowed pieces of its bytes, untouched.
 *
 *   {"a":1}             one object: the whole body, without the white space around it
 *   [{"a":1},{"a":2}]   an array: its elements
 *   {"a":1}\n{"a":2}\n  NDJSON: its lines, without those that are empty
 *
 * Only the outermost level is looked at: strings and brackets, so that no comma inside an element
 * is taken for one between elements. What a piece holds is the event decoder's to judge. Invariant:
 * when all pieces are valid JSON and there was no error, the body was valid; when the body is
 * valid, there is no error and the pieces are its elements. Thread: any. Memory: none; pieces
 * borrow from the body. */
#ifndef QN_SERVE_BODY_SPLIT_H
#define QN_SERVE_BODY_SPLIT_H

#include "base/text.h"

#include <stdbool.h>

enum qn_split_form { QN_SPLIT_JSON, QN_SPLIT_LINES };

/* In the caller's memory. */
struct qn_split {
    const char *start, *at, *end;
    enum qn_split_form form;
    bool is_array;     /* JSON: the body is an array                        */
    bool is_over;      /* private                                           */
    const char *error; /* what broke the outermost level, static text; NULL = nothing */
    size_t error_at;   /* byte of the body where that was noticed           */
};

void qn_split_open(struct qn_split *s, enum qn_split_form form, struct qn_str body);
/* The next event of the body. False at the end, and where s->error says so. */
bool qn_split_next(struct qn_split *s, struct qn_str *piece);

#endif
