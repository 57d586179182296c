/* SPDX-License-Identifier: Apache-2.0
 * merge_rule.c - which stream gives the next record. See merge_rule.h.
 *
 * Thread: any; no state. */
#include "engine/merge_rule.h"

#include <stddef.h>

/* Nothing of it is here: how long it is worth waiting for. */
static int64_t patience_ns(const struct qn_merge_lane *l)
{
    if (l->end < 0)
        return QN_MERGE_FIRST_NS;
    if (l->end <= l->pushed)
        return 0;
    return l->end - l->pushed > QN_MERGE_FAR ? QN_MERGE_FAR_NS : QN_MERGE_WAIT_NS;
}

int32_t qn_merge_choose(struct qn_merge_lane *lanes, uint32_t count, int64_t now_ns,
                        int64_t *since_ns)
{
    int32_t best = QN_MERGE_NOTHING;
    bool waits = false;

    for (uint32_t i = 0; i < count; i++)
        if (lanes[i].has_head &&
            (best == QN_MERGE_NOTHING || lanes[i].head_us < lanes[best].head_us))
            best = (int32_t)i;
    for (uint32_t i = 0; i < count && best != QN_MERGE_NOTHING; i++) {
        struct qn_merge_lane *l = &lanes[i];
        const int64_t most_ns = patience_ns(l);

        if (l->has_head || l->is_passed || most_ns == 0)
            continue;
        if (*since_ns == 0)
            *since_ns = now_ns;
        l->is_passed = now_ns - *since_ns >= most_ns;
        waits |= !l->is_passed;
    }
    if (waits)
        return QN_MERGE_WAITS;
    *since_ns = 0;
    return best;
}
