/* SPDX-License-Identifier: Apache-2.0
 * admit.c - which rows the state takes, where the spec limits its memory. See state/budget.h.
 *
 * Row by row in log order on the stepping thread: whether there is room for a row depends on all
 * rows before it, of all streams and keys. Repeats are told here as well, since an id is only
 * remembered where its event is taken. What was committed before is not asked again: its dead
 * letters say what there was no room for, whatever the limit is now. Behind another stage time is
 * the floor (engine/shard_stage.h), by which keys go; until it is known all rows are taken, and
 * what they left is counted then. Thread: engine. Memory: boot. */
#include "base/check.h"
#include "engine/engine_int.h"

qn_status qn_admit_init(struct qn_engine *en, uint32_t rows_max, struct qn_err *err)
{
    const uint32_t groups = qn_features_group_count(en->plan->features);

    if (en->plan->limits.memory_bytes == 0)
        return QN_OK;
    en->account_count = groups + qn_dedup_section_count(en->dedup);
    QN_TRY(qn_budget_new(en->plan->limits.memory_bytes, en->account_count, &en->budget, err));
    qn_budget_hold(en->budget, en->plan->limits.held_bytes);
    qn_features_budget(en->plan->features, en->budget, 0);
    return en->dedup != NULL ? qn_dedup_budget(en->dedup, rows_max, en->budget, groups, err)
                             : QN_OK;
}

/* Time goes on where it stood; a snapshot of a spec without the limit says nothing of accounts, so
 * what it held is counted. */
static void begin(struct qn_engine *en, struct qn_watermark before)
{
    const bool must_count = en->accounts_loaded < en->account_count || en->is_blind;

    if ((en->is_counted && !en->is_blind) || !before.seen)
        return;
    if (must_count)
        qn_budget_clear(en->budget);
    qn_budget_move_on(en->budget, before.newest_us);
    if (must_count) {
        qn_features_recount(en->plan->features, before.newest_us);
        if (en->dedup != NULL)
            qn_dedup_recount(en->dedup, before.newest_us);
    }
    en->is_counted = true;
    en->is_blind = false;
}

static void refuse(struct qn_engine *en, uint32_t row)
{
    struct qn_batch *b = &en->batch;

    b->verdict[row] = QN_DEAD;
    b->reason[row] = QN_REASON_STATE_FULL;
    b->reason_field[row] = QN_NO_FIELD;
    qn_features_refuse(en->plan->features, row);
}

static bool has_room(const struct qn_engine *en, uint32_t row, int64_t newest_us)
{
    const struct qn_batch *b = &en->batch;
    uint64_t bytes = en->dedup != NULL ? qn_dedup_cost(en->dedup, b, row) : 0;
    bool is_new = bytes > 0;

    bytes += qn_features_cost(en->plan->features, row, newest_us, &is_new);
    return b->is_past || qn_budget_has_room(en->budget, bytes, is_new);
}

/* Of a row; false: as before. */
static bool moves_time(const struct qn_batch *b, uint32_t row, int64_t *us)
{
    *us = b->is_judged ? b->floor_us[row] : b->time_us[row];
    return b->is_judged ? *us != INT64_MIN : qn_contract_moves(b, row);
}

/* Nobody knows what time it is: the keys are marked as counted, and counted by begin(). */
static void take_blindly(struct qn_engine *en)
{
    const struct qn_batch *b = &en->batch;

    en->is_blind = true;
    for (uint32_t row = 0; row < b->rows; row++) {
        qn_budget_move_on(en->budget, b->time_us[row]);
        if (b->verdict[row] != QN_DEAD)
            qn_features_take(en->plan->features, row, INT64_MIN);
    }
}

qn_status qn_admit(struct qn_engine *en, struct qn_watermark before, struct qn_err *err)
{
    struct qn_batch *b = &en->batch;
    struct qn_watermark w = before;

    begin(en, before);
    if (b->is_judged && !before.seen) {
        take_blindly(en);
        return QN_OK;
    }
    if (en->dedup != NULL)
        QN_TRY(qn_dedup_look(en->dedup, b, err));
    for (uint32_t row = 0; row < b->rows; row++) {
        int64_t us;

        if (moves_time(b, row, &us) && (!w.seen || us > w.newest_us))
            w = (struct qn_watermark){true, us};
        if (b->verdict[row] == QN_DEAD)
            continue;
        qn_budget_move_on(en->budget, w.newest_us);
        if (en->dedup != NULL && qn_dedup_repeats(en->dedup, b, row, w.newest_us)) {
            qn_dedup_refuse(en->dedup, b, row);
            qn_features_refuse(en->plan->features, row);
            continue;
        }
        if (!has_room(en, row, w.newest_us)) {
            refuse(en, row);
            continue;
        }
        qn_features_take(en->plan->features, row, w.newest_us);
        if (en->dedup != NULL)
            qn_dedup_take(en->dedup, b, row, w.newest_us);
    }
    en->is_counted |= w.seen;
    if (en->dedup != NULL && w.seen)
        qn_dedup_end(en->dedup, b, w.newest_us);
    return QN_OK;
}
