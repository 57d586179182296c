/* SPDX-License-Identifier: Apache-2.0
 * open_log.h - the local log that a spec names, for commands that look into it.
 *
 * Opening for reading takes no lock and changes nothing, so it goes beside a running pipeline; then
 * the log is as it was at that moment. Thread: main. */
#ifndef QN_CLI_OPEN_LOG_H
#define QN_CLI_OPEN_LOG_H

#include "cli/cli.h"
#include "log/log_local.h"

/* Opens it for reading. QN_INVALID: the spec names no log; QN_NOT_FOUND: there is none yet. rec may
 * be NULL. */
qn_status qn_cli_log(struct qn_cli *c, const struct qn_plan *plan, struct qn_log **lg,
                     struct qn_log_recovery *rec, struct qn_err *err);
/* Opens it for writing, as `quern run` does. QN_DENIED while that runs; never makes a new log. */
qn_status qn_cli_log_writer(struct qn_cli *c, const struct qn_plan *plan, struct qn_log **lg,
                            struct qn_err *err);

#endif
