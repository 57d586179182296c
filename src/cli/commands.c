/* SPDX-License-Identifier: Apache-2.0
 * commands.c - the one table of commands.
 *
 * Thread: main. */
#include "cli/commands.h"

const struct qn_command qn_commands[] = {
#define QN_COMMAND_ROW(verb) {&qn_usage_##verb, qn_cmd_##verb},
    QN_COMMAND_LIST(QN_COMMAND_ROW)
#undef QN_COMMAND_ROW
        {NULL, NULL},
};
