/* SPDX-License-Identifier: Apache-2.0
 * input_files.h - one or several files (or a pipe) as the engine's input, merged by event time.
 *
 * One input is handed on as it lies. Several are merged: the head with the smallest event time goes
 * next, ties by the order in which the inputs were named; a record whose time cannot be read takes
 * the time of the one before it. The order is a function of the files alone, so it needs no
 * journal. A pipe among several inputs is waited for. Partition = number of the input among those
 * of its stream; offset = number of the record in its file. Thread: the stepping thread. Memory:
 * boot; records borrow from the files' buffers. */
#ifndef QN_ENGINE_INPUT_FILES_H
#define QN_ENGINE_INPUT_FILES_H

#include "engine/engine.h"

struct qn_input_file {
    const char *stream; /* name; NULL = the main stream */
    const char *path;   /* "-" = standard input         */
};

struct qn_input_files; /* private */

/* Opens all of them and reads the CSV headers. The inputs of one stream must be of one format. */
qn_status qn_input_files_open(const struct qn_input_file *list, uint32_t count,
                              enum qn_format format, const struct qn_plan *plan,
                              const struct qn_files *files, struct qn_input_files **out,
                              struct qn_err *err);
void qn_input_files_close(struct qn_input_files *f); /* NULL is fine */
struct qn_input qn_input_files_input(struct qn_input_files *f);
/* Sum over the inputs, for progress; *size_bytes is 0 where one has no size. */
void qn_input_files_progress(const struct qn_input_files *f, uint64_t *done_bytes,
                             uint64_t *size_bytes);

#endif
