/* SPDX-License-Identifier: Apache-2.0
 * json.h - a pull reader for JSON documents off the hot path: model files, configuration, answers
 * of servers.
 *
 * No tree is built: the caller walks the document in order and takes what it wants; numbers keep
 * their text, so that a model's float is rounded once, from decimal to float. RFC 8259, UTF-8
 * checked, depth limited, no recursion. Events on the hot path have their own decoder
 * (event/decode_json.c). Thread: one owner. Memory: the text is borrowed; decoded strings live in
 * the arena. */
#ifndef QN_BASE_JSON_H
#define QN_BASE_JSON_H

#include "base/memory.h"
#include "base/number.h"
#include "base/status.h"
#include "base/text.h"

enum { QN_JSON_DEPTH_MAX = 256 };

enum qn_json_kind {
    QN_JSON_END,    /* the document is over                              */
    QN_JSON_OBJECT, /* '{': members follow, then QN_JSON_CLOSE           */
    QN_JSON_ARRAY,  /* '[': values follow, then QN_JSON_CLOSE            */
    QN_JSON_CLOSE,  /* '}' or ']'                                        */
    QN_JSON_STRING,
    QN_JSON_NUMBER,
    QN_JSON_TRUE,
    QN_JSON_FALSE,
    QN_JSON_NULL,
    QN_JSON_ERROR /* see qn_json_reader.error; the reader stays here   */
};

/* In the caller's memory. */
struct qn_json_reader {
    const char *at, *end, *start;
    struct qn_arena *arena;
    struct qn_str key; /* name of the member just read, where the parent is an object      */
    bool has_key;
    struct qn_str text; /* QN_JSON_STRING: decoded                                          */
    struct qn_decimal_text number; /* QN_JSON_NUMBER */
    const char *error; /* QN_JSON_ERROR: what was wrong, static text                       */
    const char *mark;  /* private: where the last event starts                             */
    uint32_t depth;    /* open levels                                                      */
    uint8_t stack[QN_JSON_DEPTH_MAX]; /* private: '{' or '[' per open level */
    uint8_t state; /* private                                                          */
};

void qn_json_open(struct qn_json_reader *r, struct qn_str text, struct qn_arena *arena);
/* The next event of the document. */
enum qn_json_kind qn_json_next(struct qn_json_reader *r);
/* After OBJECT or ARRAY: goes behind its CLOSE. After a scalar: nothing. False on an error. */
bool qn_json_skip(struct qn_json_reader *r, enum qn_json_kind kind);
/* Byte offset of the last event (of a member: its name; of an error: where it was noticed), for
 * messages. */
size_t qn_json_offset(const struct qn_json_reader *r);

#endif
