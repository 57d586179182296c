/* SPDX-License-Identifier: Apache-2.0
 * api_dead.c - dead letters sent through again, from outside: engine/dead_letters.h behind a route.
 *
 * Each letter is sent once whoever asks, so a client that got no answer may ask again. The answer
 * comes when what was sent is on the disk; the thread of the server stands still until then.
 * Thread: the exchange's. Memory: request. */
#include "serve/serve_int.h"

#define OFFSET_MAX UINT64_C(999999999999999999)

static bool read_reason(struct qn_exchange *x, struct qn_dead_selection *sel)
{
    struct qn_str names[QN_REASON_COUNT];

    if (!qn_exchange_query(x, "reason", 0, &sel->reason))
        return false;
    for (int i = 0; i < QN_REASON_COUNT; i++) {
        names[i] = qn_str_of(qn_reason_name((enum qn_reason)i));
        if (sel->reason.p == NULL || qn_str_eq(sel->reason, names[i]))
            return true;
    }
    qn_exchange_unknown(x, 400, "reason", sel->reason, names, QN_REASON_COUNT);
    return false;
}

static bool read_stream(struct qn_exchange *x, struct qn_dead_selection *sel)
{
    const struct qn_plan *p = x->sv->plan;
    struct qn_str names[QN_STREAMS_MAX];

    if (!qn_exchange_query(x, "stream", 0, &sel->stream))
        return false;
    for (uint32_t s = 0; s < p->schema_count; s++) {
        names[s] = p->schemas[s].name;
        if (sel->stream.p == NULL || qn_str_eq(sel->stream, names[s]))
            return true;
    }
    qn_exchange_unknown(x, 404, "stream", sel->stream, names, p->schema_count);
    return false;
}

static bool read_trial(struct qn_exchange *x, bool *is_trial)
{
    struct qn_str text;

    if (!qn_exchange_query(x, "dry_run", 0, &text))
        return false;
    *is_trial = qn_str_is(text, "true");
    if (text.p == NULL || *is_trial || qn_str_is(text, "false"))
        return true;
    qn_exchange_problem(x, 400, "bad_parameter", "'dry_run' is true or false, not '%.*s'",
                        QN_STR_ARG(qn_utf8_cut(text, 40)));
    return false;
}

void qn_api_dead_replay(struct qn_exchange *x)
{
    struct qn_dead_selection sel = QN_DEAD_ALL;
    struct qn_dead_replay sums;
    struct qn_err err = {0};
    bool is_trial;

    if (!read_reason(x, &sel) || !read_stream(x, &sel) || !read_trial(x, &is_trial) ||
        !qn_exchange_number(x, "from", 0, OFFSET_MAX, 0, &sel.from) ||
        !qn_exchange_number(x, "to", 0, OFFSET_MAX, UINT64_MAX, &sel.end))
        return;
    if (qn_service_replay_dead(x->sv->opt.service, &sel, is_trial, &sums, &err) != QN_OK) {
        qn_exchange_failed(x, &err);
        return;
    }
    qn_dead_replay_json(&sums, &x->out);
    qn_exchange_answer(x, 200, "application/json");
}
