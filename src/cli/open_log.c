/* SPDX-License-Identifier: Apache-2.0
 * open_log.c - the local log that a spec names. See open_log.h.
 *
 * Thread: main. */
#include "cli/open_log.h"

qn_status qn_cli_log(struct qn_cli *c, const struct qn_plan *plan, struct qn_log **lg,
                     struct qn_log_recovery *rec, struct qn_err *err)
{
    const struct qn_log_options opt = {.files = c->files, .clock = c->clock, .is_read_only = true};
    struct qn_err why = {0};
    qn_status rc;

    *lg = NULL;
    if (plan->kafka.target.brokers != NULL)
        return qn_err_set(
            err, QN_UNSUPPORTED,
            "the log of '%s' lies in Kafka: this command reads local logs only; look at "
            "the topics with Kafka's own tools",
            plan->file);
    if (plan->storage.dir == NULL)
        return qn_err_set(err, QN_INVALID,
                          "'%s' does not say where the log is: add 'log: local:./data'",
                          plan->file);
    rc = qn_log_open(plan->storage.dir, &opt, lg, rec, &why);
    if (rc == QN_NOT_FOUND)
        return qn_err_set(err, rc, "there is no log in '%s' yet: 'quern run %s' makes it",
                          plan->storage.dir, plan->file);
    if (rc != QN_OK)
        *err = why;
    return rc;
}

qn_status qn_cli_log_writer(struct qn_cli *c, const struct qn_plan *plan, struct qn_log **lg,
                            struct qn_err *err)
{
    const struct qn_plan_storage *st = &plan->storage;
    const struct qn_log_options opt = {.files = &qn_files_system,
                                       .clock = c->clock,
                                       .segment_bytes = st->segment_bytes,
                                       .codec = (enum qn_log_codec)st->codec,
                                       .may_be_volatile = st->is_volatile};
    struct qn_log *there = NULL;

    *lg = NULL;
    QN_TRY(qn_cli_log(c, plan, &there, NULL, err));
    (void)qn_log_close(there, NULL);
    return qn_log_open(st->dir, &opt, lg, NULL, err);
}
