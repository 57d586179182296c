/* SPDX-License-Identifier: Apache-2.0
 * temp_folder.h - a folder of one's own for the time of a command, under TMPDIR or /tmp.
 *
 * Thread: main. */
#ifndef QN_CLI_TEMP_FOLDER_H
#define QN_CLI_TEMP_FOLDER_H

#include "cli/cli.h"

/* Makes one that nobody else has; its path, NUL-terminated, is appended to `path`. */
qn_status qn_temp_folder_make(struct qn_cli *c, const char *name, struct qn_buf *path,
                              struct qn_err *err);
/* Removes it with what is in it, three levels deep. What cannot be removed stays, and is named on
 * stderr. */
void qn_temp_folder_remove(struct qn_cli *c, const char *path);

#endif
