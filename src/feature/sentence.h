/* SPDX-License-Identifier: Apache-2.0
 * sentence.h - one feature sentence into its clauses; what stands in them is read later, when the
 * types are known.
 *
 *     AGG(expr) [where COND] [of STREAM] by KEY[, KEY...]
 *         over W [delayed D] [excluding current] [or DEFAULT]
 *     EXPRESSION [or DEFAULT]
 *
 * Clauses may come in any order; `or LITERAL` ends the text. Parts borrow from the text. Thread:
 * one. Nothing is allocated. */
#ifndef QN_FEATURE_SENTENCE_H
#define QN_FEATURE_SENTENCE_H

#include "base/diag.h"
#include "feature/window.h"

enum { QN_KEYS_MAX = 8 };

/* A part of the text and its place. len 0: not there. */
struct qn_sentence_part {
    struct qn_str text;
    struct qn_pos at;
};

struct qn_sentence {
    bool is_window;
    struct qn_sentence_part expr;     /* the whole expression, or the aggregate's argument */
    struct qn_sentence_part fallback; /* the literal behind the last `or`                  */
    /* windows only */
    enum qn_aggregate aggregate;
    struct qn_pos aggregate_at;
    struct qn_sentence_part where, of;
    struct qn_sentence_part keys[QN_KEYS_MAX];
    uint32_t key_count;
    int64_t over_us, delayed_us;
    bool excludes_current;
};

/* False after diagnostics. */
bool qn_sentence_parse(struct qn_str text, struct qn_pos at, struct qn_diags *diags,
                       struct qn_sentence *out);

#endif
