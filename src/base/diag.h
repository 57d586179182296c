/* SPDX-License-Identifier: Apache-2.0
 * diag.h - mistakes in a text that a person wrote (a spec, an expression), all at once, each with
 * its place and remedy.
 *
 * A parser adds diagnostics and goes on; whoever reads the file at the top prints them. At most
 * QN_DIAG_MAX are kept, in the order of the text. Wording (docs/errors.md): what was found, what
 * was expected, the nearest name, the next step; lower case; no blame. Thread: one owner. */
#ifndef QN_BASE_DIAG_H
#define QN_BASE_DIAG_H

#include "base/memory.h"
#include "base/text.h"

#include <stdbool.h>
#include <stdint.h>

/* X(NAME, number, title): the stable code QN<number> shown by --json and listed in docs/errors.md.
 */
#define QN_DIAG_LIST(X)                                                                            \
    X(YAML, 1, "the file is not the YAML a spec is written in")                                    \
    X(UNKNOWN_KEY, 2, "a key that the spec does not know")                                         \
    X(DUPLICATE, 3, "the same name twice")                                                         \
    X(MISSING, 4, "something that must be there is not")                                           \
    X(TYPE, 5, "a value of another type was expected")                                             \
    X(RANGE, 6, "a value beyond its limits")                                                       \
    X(UNKNOWN_NAME, 7, "a name that nothing declares")                                             \
    X(SYNTAX, 8, "a sentence that cannot be read")                                                 \
    X(WINDOW, 9, "a window that cannot be")                                                        \
    X(NOT_YET, 10, "part of the design, not available in this version")                            \
    X(VARIABLE, 11, "a ${...} that has no value")                                                  \
    X(MODEL, 12, "a model that cannot be used as written")                                         \
    X(CYCLE, 13, "features that need each other")                                                  \
    X(VERSION, 14, "a spec of another version")                                                    \
    X(NAME, 15, "a name with letters that names may not have")

enum qn_diag_code {
#define QN_DIAG_ENUM(name, number, title) QN_DIAG_##name = number,
    QN_DIAG_LIST(QN_DIAG_ENUM)
#undef QN_DIAG_ENUM
};

enum { QN_DIAG_MAX = 20 };

/* A place in the file: where a value starts and how many bytes the caret line should mark. */
struct qn_pos {
    uint32_t line; /* 1-based; 0 = no place (the whole file) */
    uint32_t col;  /* 1-based, bytes                          */
    uint32_t len;  /* bytes to mark; 0 = 1                    */
};

struct qn_diag {
    enum qn_diag_code code;
    bool is_warning;
    struct qn_pos at;
    const char *text; /* one sentence, in the list's arena               */
    const char *hint; /* shown right of the caret line; NULL = none      */
};

/* In the caller's memory. `source` (the text of the file, for caret lines) is borrowed until
 * printing. */
struct qn_diags {
    struct qn_arena *arena; /* holds the texts; set by the caller */
    const char *file;       /* as the user named it               */
    struct qn_str source;
    struct qn_diag list[QN_DIAG_MAX];
    unsigned count;    /* kept                                        */
    unsigned errors;   /* found, kept or not                          */
    unsigned warnings; /* found, kept or not                          */
};

/* Adds an error or a warning. Text as printf. A second one at the same line and column with the
 * same code is dropped. hint may be NULL; it is copied. */
void qn_diag_error(struct qn_diags *d, enum qn_diag_code code, struct qn_pos at, const char *hint,
                   const char *fmt, ...) __attribute__((format(printf, 5, 6)));
void qn_diag_warn(struct qn_diags *d, enum qn_diag_code code, struct qn_pos at, const char *hint,
                  const char *fmt, ...) __attribute__((format(printf, 5, 6)));

/* "unknown <what> '<word>' (did you mean '<nearest>'?)" with the hint "known: a, b, c" (cut at 60
 * bytes). */
void qn_diag_unknown(struct qn_diags *d, struct qn_pos at, const char *what, struct qn_str word,
                     const struct qn_str *known, size_t count);

/* Appends all of them, sorted by place: "file:line:col: text" (warnings: "file:line:col: warning:
 * text"), and where with_carets the source line, a caret line and the hint. Control bytes of the
 * source are shown as '?'. */
void qn_diag_print(const struct qn_diags *d, bool with_carets, struct qn_buf *out);
/* The same as one JSON array:
 * [{"code":"QN007","severity":"error","line":..,"column":..,"text":..,"hint":..}]. */
void qn_diag_json(const struct qn_diags *d, struct qn_buf *out);

#endif
