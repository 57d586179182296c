/* SPDX-License-Identifier: Apache-2.0
 * variables.h - ${NAME}, ${NAME:default} and ${file:PATH} in the scalars of a spec, filled in after
 * parsing.
 *
 * Because the tree stands before anything is filled in, a value can never add a key or a list
 * entry; a plain scalar is resolved again afterwards, so `port: ${PORT}` is a number where PORT is
 * one. ${{NAME}} is the literal ${NAME}. Keys are never filled. Values of files and of variables
 * whose name looks like a secret (TOKEN, SECRET, PASSWORD, KEY, URL, CREDENTIAL) mark their node:
 * whoever prints shows `written` instead. Thread: one. Memory: the given arena. */
#ifndef QN_SPEC_VARIABLES_H
#define QN_SPEC_VARIABLES_H

#include "base/file.h"
#include "spec/yaml_node.h"

enum { QN_VARIABLE_FILE_BYTES_MAX = 64 << 10, QN_VARIABLE_TOTAL_BYTES_MAX = 4 << 20 };

/* A ${...} of a spec, once per name: what must be around where the spec runs. */
struct qn_variable {
    struct qn_str name; /* of the environment; a file's path as written */
    bool is_file, has_default;
    bool is_stand_in; /* it had no value here */
};
struct qn_variable_list {
    struct qn_variable *items; /* in the order of the spec */
    uint32_t count, cap;
};

struct qn_variables {
    const struct qn_files *files;
    const char *const *environment; /* "NAME=value", NULL-ended; NULL = empty        */
    struct qn_str folder;           /* of the spec, with its '/'; "" = the current one */
    struct qn_str source;           /* for places                                      */
    /* Stands where a ${NAME} without default has no value, and for every ${file:PATH}, none of
     * which is read; marks its node as secret. NULL: what has no value is a mistake. */
    const char *stand_in;
    struct qn_variable_list *seen; /* where those found are noted, in the arena; NULL = nowhere */
};

/* Fills every scalar value below root. A ${...} without a value is a diagnostic at its place and
 * leaves the text empty there. QN_NOMEM when out of memory. */
qn_status qn_variables_fill(const struct qn_variables *v, struct qn_yaml_node *root,
                            struct qn_arena *arena, struct qn_diags *diags, struct qn_err *err);

/* True if a variable of that name must not be shown. */
bool qn_variable_is_secret(struct qn_str name);

#endif
