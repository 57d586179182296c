/* SPDX-License-Identifier: Apache-2.0
 * options.h - option tables: one row describes an option, and parsing, checking, --help and the
 * reference come from it.
 *
 * Used for command lines (--name VALUE), for keys of the spec and for module options. Nothing else
 * parses options. Thread: tables are const; the struct that is filled belongs to the caller. */
#ifndef QN_BASE_OPTIONS_H
#define QN_BASE_OPTIONS_H

#include "base/buffer.h"
#include "base/memory.h"
#include "base/status.h"
#include "base/text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum qn_option_type {
    QN_OPT_FLAG,     /* bool                                    */
    QN_OPT_INT,      /* int64_t within [min, max]               */
    QN_OPT_TEXT,     /* const char *, in the arena              */
    QN_OPT_ENUM,     /* int: index into `choices`               */
    QN_OPT_DURATION, /* int64_t microseconds within [min, max]  */
    QN_OPT_LIST,     /* struct qn_option_list: may be repeated  */
};

/* One row. The field at `offset` has the C type named above. */
struct qn_option {
    const char *name; /* long name without dashes ("threads"); spec keys use the same table */
    enum qn_option_type type;
    char short_name;      /* 0 = none */
    const char *value;    /* placeholder in help: "FILE", "N"; NULL for flags */
    const char *fallback; /* default as text, parsed like a value; NULL = zero */
    int64_t min, max;     /* INT, DURATION; both 0 = no limit */
    const char *choices;  /* ENUM: "auto|always|never" */
    const char *unit;     /* "bytes", "rows", ... or NULL */
    const char *since;    /* version */
    const char *help;     /* one line, lower case, no full stop */
    size_t offset;        /* into the options struct */
    bool is_required;     /* keys of the spec only */
    bool is_secret;       /* its value is never shown */
    bool is_path;         /* keys of the spec only: relative to the spec's folder */
};

struct qn_option_list {
    const char **items;
    uint32_t count;
};

/* A command: its name, words and table. */
struct qn_command_usage {
    const char *name;                /* "pipe" */
    const char *summary;             /* one line */
    const char *positional;          /* "SPEC" or "" ; "[NAME]" = may be left out */
    const struct qn_option *options; /* ended by a row whose name is NULL */
    const char *examples[4];         /* up to 4, NULL-ended when fewer */
};

/* Sets every field of a table (ended by a row whose name is NULL) to its default. QN_NOMEM. */
qn_status qn_options_defaults(const struct qn_option *options, void *into, struct qn_arena *arena,
                              struct qn_err *err);

/* Sets defaults, then reads argv[0..argc) (options anywhere, "--opt=value", "--opt value", "--"
 * ends options). positional arguments land in `rest`. QN_INVALID with one line such as
 * "unknown option '--tread' (did you mean '--threads'?)". *wants_help is set by --help or -h and
 * stops reading. */
qn_status qn_options_parse(const struct qn_command_usage *u, int argc, char **argv, void *into,
                           struct qn_arena *arena, struct qn_option_list *rest, bool *wants_help,
                           struct qn_err *err);
/* The text of --help: purpose, usage, options, examples, exit codes. */
void qn_options_help(const struct qn_command_usage *u, struct qn_buf *out);
/* A Markdown section for docs/commands.md. */
void qn_options_reference(const struct qn_command_usage *u, struct qn_buf *out);

#endif
