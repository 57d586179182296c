/* SPDX-License-Identifier: Apache-2.0
 * expression.h - the one expression language: features, `where`, `when`. Typed when the spec is
 * read, run over columns.
 *
 * Grammar (docs/expressions.md is the page for users):
 *
 *     literals     1  0.5  'text'  "text"  true  false  null  10m
 *     names        fields and features of the scope
 *     arithmetic   + - * / %  unary -
 *     comparisons  == (also =)  !=  <  <=  >  >=  x in (a, b)  x is null  x is not null
 *     logic        and  or  not
 *     functions    the table in expression_functions.c
 *
 * Types: bool, int64, double, decimal(n), string, timestamp. int64 with decimal gives decimal,
 * anything with double gives double, `/` always gives double, literals take the type of the other
 * side where they fit exactly; nothing else converts. Null: an operand that is null makes the
 * result null; `false and null` is false, `true or null` is true; a null condition counts as false
 * where it filters. Integer and decimal overflow gives null; x / 0 is null, never an infinity.
 * No recursion on input depth: nesting is limited. Memory: compiled forms live in the given arena
 * (boot); temporaries of a run in the batch arena. Thread: a compiled expression is read-only and
 * shared; each worker evaluates its own rows. */
#ifndef QN_FEATURE_EXPRESSION_H
#define QN_FEATURE_EXPRESSION_H

#include "base/diag.h"
#include "event/batch.h"

struct qn_expr; /* private */

/* Names an expression may use: a flat list; column is the index into the `cols` of qn_expr_run. */
struct qn_name {
    struct qn_str name;
    struct qn_kind kind;
    uint32_t column;
};
struct qn_scope {
    const struct qn_name *names;
    uint32_t count;
    const char *what; /* for messages: "field", "field or feature" */
};

/* Parses and types `text`, which stands at `at` in the file of diags. NULL when it has mistakes
 * (all are in diags), or when out of memory (then diags->errors did not change). The text need not
 * outlive the call. A name whose kind has the type QN_TYPE_COUNT is known but broken: an expression
 * that uses it is NULL without a further diagnostic. */
struct qn_expr *qn_expr_parse(struct qn_str text, struct qn_pos at, const struct qn_scope *scope,
                              struct qn_arena *arena, struct qn_diags *diags);
/* The type of its values. */
struct qn_kind qn_expr_kind(const struct qn_expr *e);
/* The columns it reads: out gets column indices, at most max; returns how many there are. */
uint32_t qn_expr_columns(const struct qn_expr *e, uint32_t *out, uint32_t max);
/* True if it is one name and nothing else; *column gets its column. */
bool qn_expr_is_name(const struct qn_expr *e, uint32_t *column);

/* Evaluates rows [first, end) into out (kind = qn_expr_kind, arrays of at least `end` rows).
 * cols[column] are the inputs. Temporaries, and texts that are made, come from `arena`. QN_NOMEM is
 * the only failure; out is then undefined. */
qn_status qn_expr_run(const struct qn_expr *e, const struct qn_col *const *cols, uint32_t first,
                      uint32_t end, struct qn_col *out, struct qn_arena *arena, struct qn_err *err);

/* Appends the table of functions as Markdown: the generated part of docs/expressions.md. */
void qn_expr_reference(struct qn_buf *out);

#endif
