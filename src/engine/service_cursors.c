/* SPDX-License-Identifier: Apache-2.0
 * service_cursors.c - cursors that nobody moves any more.
 *
 * Sinks and sources have cursors in the log, and the log keeps what lies behind them. One whose
 * owner has left the spec would hold the log for ever. Thread: the owner's, while starting. */
#include "engine/service_int.h"

qn_status qn_service_forget_cursors(struct qn_service *sv, qn_service_is_gone *is_gone,
                                    qn_service_say_gone *say, struct qn_err *err)
{
    struct qn_log_append *a;
    struct qn_str name;
    uint32_t topic, index = 0;
    uint64_t offset;
    qn_status rc;

    QN_TRY(qn_log_append_new(sv->log, &a, err));
    qn_log_append_reserved(a, true);
    for (rc = QN_OK; rc == QN_OK && qn_log_cursor_at(sv->log, index, &name, &topic, &offset);
         index++) {
        struct qn_log_topic_info info;

        if (!is_gone(sv->plan, name))
            continue;
        qn_log_topic_info(sv->log, topic, &info);
        say(sv, name, info.next > offset ? info.next - offset : 0);
        rc = qn_log_append_cursor(a, name, topic, QN_LOG_NO_OFFSET, err);
    }
    if (rc == QN_OK && qn_log_append_bytes(a) > 0)
        rc = qn_log_commit(sv->log, a, NULL, err);
    qn_log_append_free(a);
    return rc;
}
