/* SPDX-License-Identifier: Apache-2.0
 * http_text.h - what stands in a request's line and headers: percent-encoding, queries, media
 * types, what a client accepts, bearer tokens, trace contexts.
 *
 * Sources: RFC 3986 (percent-encoding), RFC 9110 (media types, Accept), RFC 6750 (bearer), W3C
 * Trace Context. Thread: any; no state. Memory: what is decoded lies in the given arena, the rest
 * borrows. */
#ifndef QN_SERVE_HTTP_TEXT_H
#define QN_SERVE_HTTP_TEXT_H

#include "base/memory.h"
#include "base/text.h"

/* Decodes %XX, and '+' as a blank where that is so (queries). False: a broken escape, a NUL, bytes
 * that are not UTF-8, or out of memory (*out is then empty). */
bool qn_percent_decode(struct qn_str text, bool plus_is_blank, struct qn_arena *a,
                       struct qn_str *out);

/* Takes the next name=value off the front of a query, still encoded; false at the end. */
bool qn_query_next(struct qn_str *query, struct qn_str *name, struct qn_str *value);

/* Takes the next segment off the front of a path: "a" of "/a/b", then "b"; false at the end. */
bool qn_path_next(struct qn_str *path, struct qn_str *segment);

/* type/subtype of a Content-Type, without parameters and blanks; borrowed. */
struct qn_str qn_media_type(struct qn_str header);
/* Equal, whatever the case (ASCII). */
bool qn_str_is_nocase(struct qn_str a, const char *nul_terminated);

/* The index of the offer that an Accept header likes best; the first of equals. No header, or
 * nothing in it that is offered: 0. */
uint32_t qn_accept_best(struct qn_str header, const char *const *offers, uint32_t count);

/* The token of "Bearer TOKEN"; p NULL where the header is something else. */
struct qn_str qn_bearer(struct qn_str header);

/* True for a traceparent of W3C Trace Context, version 00 or later, that is not all zeros. */
bool qn_traceparent_valid(struct qn_str text);

#endif
