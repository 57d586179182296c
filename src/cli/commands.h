/* SPDX-License-Identifier: Apache-2.0
 * commands.h - the commands of quern: each cmd_<verb>.c offers its words and its function;
 * commands.c lists them.
 *
 * Thread: main. */
#ifndef QN_CLI_COMMANDS_H
#define QN_CLI_COMMANDS_H

#include "cli/cli.h"

/* X(verb): in the order of `quern --help` */
#define QN_COMMAND_LIST(X)                                                                         \
    X(demo)                                                                                        \
    X(init)                                                                                        \
    X(check)                                                                                       \
    X(run)                                                                                         \
    X(pipe)                                                                                        \
    X(features)                                                                                    \
    X(explain)                                                                                     \
    X(model)                                                                                       \
    X(replay)                                                                                      \
    X(dlq)                                                                                         \
    X(log)                                                                                         \
    X(top)                                                                                         \
    X(deploy)                                                                                      \
    X(reference)                                                                                   \
    X(version)

#define QN_COMMAND_DECLARE(verb)                                                                   \
    extern const struct qn_command_usage qn_usage_##verb;                                          \
    int qn_cmd_##verb(struct qn_cli *c, int argc, char **argv);
QN_COMMAND_LIST(QN_COMMAND_DECLARE)
#undef QN_COMMAND_DECLARE

#endif
