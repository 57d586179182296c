/* SPDX-License-Identifier: Apache-2.0
 * window_count.c - what the rows of a wave add to the state, as `limits: memory` counts it. See
 * window.h and state/budget.h.
 *
 * A record that is there though its key is no longer held counts nothing, and needs no emptying:
 * what it has is out of every window that a row on time can ask for. A read moves its newest_us and
 * does not bring it back, so the two may differ; else a key is counted by its newest_us. Thread:
 * the engine's. */
#include "feature/window_int.h"

#include "base/check.h"

#include <math.h>
#include <string.h>

static bool is_held(const struct qn_group *g, const void *rec, int64_t newest_us)
{
    const uint64_t counted = rec != NULL ? *qn_key_counted(g, rec) : 0;

    return counted != 0 &&
           (g->is_unbounded || counted >= qn_counted_stamp(qn_window_back(newest_us, g->keep_us)));
}

static uint64_t event_bytes(const struct qn_group *g)
{
    return (uint64_t)ceil(qn_group_event_bytes(g));
}

uint64_t qn_group_cost(const struct qn_group *g, const struct qn_wave *w, uint32_t row,
                       int64_t newest_us, bool *has_new_key)
{
    if ((w->role[row] & QN_ROLE_UPDATE) == 0)
        return 0;
    if (is_held(g, w->recs[row], newest_us))
        return event_bytes(g);
    *has_new_key = true;
    return event_bytes(g) + qn_group_key_bytes(g, w->key[row].len);
}

static void add_key(const struct qn_group *g, int64_t at_us, uint32_t key_len,
                    struct qn_budget *budget, uint32_t account)
{
    if (g->is_unbounded)
        qn_budget_add_lasting(budget, account, qn_group_key_bytes(g, key_len));
    else
        qn_budget_add(budget, account, at_us, qn_group_key_bytes(g, key_len));
}

void qn_group_take(struct qn_group *g, const struct qn_wave *w, uint32_t row, int64_t newest_us,
                   struct qn_budget *budget, uint32_t account)
{
    const bool updates = (w->role[row] & QN_ROLE_UPDATE) != 0;
    const uint64_t now = qn_counted_stamp(w->time_us[row]);
    struct qn_key *key = w->recs[row];

    if (w->role[row] == 0 || key == NULL)
        return;
    if (key->mark != g->save.cut.now) /* a snapshot wants it as it was counted then */
        qn_group_touch(g, key, 0);
    if (!is_held(g, key, newest_us)) {
        if (!updates)
            return;
        *qn_key_counted(g, key) = now;
        add_key(g, w->time_us[row], w->key[row].len, budget, account);
    } else if (now > *qn_key_counted(g, key)) {
        if (!g->is_unbounded)
            qn_budget_move(budget, account, qn_key_held_us(g, key), w->time_us[row],
                           qn_group_key_bytes(g, w->key[row].len));
        *qn_key_counted(g, key) = now;
    }
    if (updates)
        qn_budget_add(budget, account, w->time_us[row], event_bytes(g));
}

void qn_group_let_go(struct qn_group *g, const struct qn_wave *w, uint32_t *scratch)
{
    uint32_t n = 0;

    for (uint32_t row = 0; row < w->rows; row++) {
        void *rec = w->recs[row];

        if (rec != NULL && *qn_key_counted(g, rec) == 0 && !((struct qn_key *)rec)->has_begun)
            scratch[n++] = row;
    }
    for (uint32_t i = 0; i < n; i++) { /* several rows may have named one */
        const uint32_t row = scratch[i];
        struct qn_table *table = g->lanes[qn_lane_of(w->hash[row])].table;
        void *found;

        w->recs[row] = NULL;
        qn_table_find(table, &w->key[row], &w->hash[row], 1, &found);
        if (found != NULL)
            qn_table_remove(table, w->key[row], w->hash[row]);
    }
}

/* A snapshot may say anything of times. */
static int64_t at_most(int64_t us, int64_t newest_us)
{
    return us < newest_us ? us : newest_us;
}

void qn_group_recount(const struct qn_group *g, int64_t newest_us, struct qn_budget *budget,
                      uint32_t account)
{
    const int64_t oldest_us = qn_window_back(newest_us, g->keep_us);

    for (unsigned l = 0; l < QN_LANES; l++) {
        uint32_t place = 0;
        struct qn_str text;
        const struct qn_key *key;

        while ((key = qn_table_walk(g->lanes[l].table, &place, &text)) != NULL) {
            if (!is_held(g, key, newest_us))
                continue;
            add_key(g, at_most(key->newest_us, newest_us), text.len, budget, account);
            for (const struct qn_chunk *c = key->head; c != NULL; c = c->next)
                for (uint32_t i = 0; i < c->count; i++)
                    if (qn_chunk_time(g, c, i) > oldest_us)
                        qn_budget_add(budget, account, at_most(qn_chunk_time(g, c, i), newest_us),
                                      event_bytes(g));
        }
    }
}

int64_t qn_group_counted_us(const struct qn_group *g)
{
    return g->keep_us;
}
