/* SPDX-License-Identifier: Apache-2.0
 * engine_state.c - the engine's own section of a snapshot: watermark and verdict counts. See
 * engine_state.h.
 *
 * One entry, in every snapshot, little-endian: 4 streams, 4 verdicts, 4 reasons, 4 one if an event
 * was seen, 8 newest event time; per stream 8 read, 8 per verdict, 8 late and scored, 8 per reason.
 * Then, with `limits: memory`, one per account: 4 of ones, 4 number of the account, 8 hash of what
 * the accounts are, what qn_budget_save makes of it. Accounts of other windows and ids say nothing.
 * Thread: engine, between batches. */
#include "engine/engine_state.h"

#include "base/check.h"
#include "base/hash.h"
#include "engine/engine_int.h"

enum { STATE_VERSION = 1, ACCOUNT_HEAD = 16 };
static const uint32_t account_mark = UINT32_MAX; /* more streams than there can be */

struct head {
    uint32_t streams, verdicts, reasons, has_seen;
    int64_t newest_us;
};
_Static_assert(sizeof(struct head) == 24, "the format");

static uint32_t counts_bytes(uint32_t reasons)
{
    return (uint32_t)(2 + QN_VERDICTS + reasons) * sizeof(uint64_t);
}

/* What is not counted yet is counted behind the snapshot, too. */
static void save_accounts(const struct qn_engine *en, struct qn_saver *sv)
{
    if (en->is_blind)
        return;
    for (uint32_t i = 0; i < en->account_count; i++) {
        char *to = qn_saver_entry(sv, 0, ACCOUNT_HEAD + QN_BUDGET_SAVED);

        if (to == NULL)
            return;
        memcpy(to, &account_mark, sizeof account_mark);
        memcpy(to + sizeof account_mark, &i, sizeof i);
        memcpy(to + 2 * sizeof account_mark, &en->account_set, sizeof en->account_set);
        qn_budget_save(en->budget, i, to + ACCOUNT_HEAD);
        qn_saver_unit(sv, 0);
    }
}

static void own_begin(void *st, struct qn_saver *sv, bool is_full)
{
    const struct qn_engine *en = st;
    struct head h = {.streams = en->plan->schema_count,
                     .verdicts = QN_VERDICTS,
                     .reasons = QN_REASON_COUNT,
                     .has_seen = en->watermark.seen,
                     .newest_us = en->watermark.seen ? en->watermark.newest_us : 0};
    uint32_t bytes = (uint32_t)sizeof h + h.streams * counts_bytes(h.reasons);
    char *to = qn_saver_entry(sv, 0, bytes);

    (void)is_full;
    if (to == NULL)
        return;
    memcpy(to, &h, sizeof h);
    to += sizeof h;
    for (uint32_t s = 0; s < h.streams; s++) {
        const struct qn_counts *c = &en->counts[s];

        memcpy(to, &c->read, sizeof c->read);
        to += sizeof c->read;
        memcpy(to, c->verdict, sizeof c->verdict);
        to += sizeof c->verdict;
        memcpy(to, &c->late_scored, sizeof c->late_scored);
        to += sizeof c->late_scored;
        memcpy(to, c->reason, sizeof c->reason);
        to += sizeof c->reason;
    }
    save_accounts(en, sv);
}

/* Those of the newest snapshot of the chain, in their order. */
static qn_status load_account(struct qn_engine *en, const char *entry, uint32_t bytes,
                              struct qn_err *err)
{
    uint32_t index;
    uint64_t set;

    if (bytes != ACCOUNT_HEAD + QN_BUDGET_SAVED)
        return qn_err_set(err, QN_CORRUPT, "an account has not the size of one");
    memcpy(&index, entry + sizeof account_mark, sizeof index);
    memcpy(&set, entry + 2 * sizeof account_mark, sizeof set);
    if (en->is_older || en->budget == NULL || set != en->account_set)
        return QN_OK;
    if (index != en->accounts_loaded || index >= en->account_count)
        return qn_err_set(err, QN_CORRUPT, "an account is none of this engine's");
    QN_TRY(qn_budget_load(en->budget, index, entry + ACCOUNT_HEAD, err));
    en->accounts_loaded++;
    return QN_OK;
}

static qn_status own_load(void *st, const char *entry, uint32_t bytes, struct qn_err *err)
{
    struct qn_engine *en = st;
    struct head h;

    if (bytes >= ACCOUNT_HEAD && memcmp(entry, &account_mark, sizeof account_mark) == 0)
        return load_account(en, entry, bytes, err);
    en->is_older = en->is_restored;
    if (en->is_older) /* of an older snapshot of the chain */
        return QN_OK;
    if (bytes < sizeof h)
        return qn_err_set(err, QN_CORRUPT, "the engine's entry is cut short");
    memcpy(&h, entry, sizeof h);
    if (h.streams != en->plan->schema_count || h.verdicts != QN_VERDICTS ||
        h.reasons > QN_REASON_COUNT || bytes != sizeof h + h.streams * counts_bytes(h.reasons))
        return qn_err_set(err, QN_CORRUPT, "the engine's entry counts what this engine has not");
    entry += sizeof h;
    en->watermark = (struct qn_watermark){.seen = h.has_seen != 0, .newest_us = h.newest_us};
    for (uint32_t s = 0; s < h.streams; s++) {
        struct qn_counts *c = &en->counts[s];

        *c = (struct qn_counts){0};
        memcpy(&c->read, entry, sizeof c->read);
        entry += sizeof c->read;
        memcpy(c->verdict, entry, sizeof c->verdict);
        entry += sizeof c->verdict;
        memcpy(&c->late_scored, entry, sizeof c->late_scored);
        entry += sizeof c->late_scored;
        memcpy(c->reason, entry, h.reasons * sizeof c->reason[0]);
        entry += h.reasons * sizeof c->reason[0];
    }
    en->is_restored = true;
    return QN_OK;
}

static qn_status own_loaded(void *st, struct qn_err *err)
{
    const struct qn_engine *en = st;

    return en->is_restored ? QN_OK : qn_err_set(err, QN_CORRUPT, "the engine's entry is missing");
}

static qn_status own_clear(void *st, struct qn_err *err)
{
    struct qn_engine *en = st;

    (void)err;
    en->is_restored = en->is_older = en->is_counted = en->is_blind = false;
    en->accounts_loaded = 0;
    if (en->budget != NULL)
        qn_budget_clear(en->budget);
    en->watermark = (struct qn_watermark){0};
    memset(en->counts, 0, en->plan->schema_count * sizeof *en->counts);
    return QN_OK;
}

/* All that decides an event's verdict and time. */
static void add_streams(struct qn_buf *out, const struct qn_plan *p)
{
    const int64_t main_stream = p->main_stream;

    qn_buf_add(out, &main_stream, sizeof main_stream);
    for (uint32_t i = 0; i < p->schema_count; i++) {
        const struct qn_schema *s = &p->schemas[i];
        const int64_t words[] = {s->name.len,  (int64_t)s->version,
                                 s->time,      s->lateness_us,
                                 s->within_us, s->late,
                                 s->dedup_us,  s->dedup_us > 0 ? s->id : -1};

        qn_buf_add(out, words, sizeof words);
        qn_buf_add(out, s->name.p, s->name.len);
    }
}

uint32_t qn_engine_section_count(const struct qn_engine *en)
{
    return 1 + qn_dedup_section_count(en->dedup) + qn_features_group_count(en->plan->features) +
           (en->learner != NULL ? 1 : 0);
}

qn_status qn_engine_sections(struct qn_engine *en, struct qn_section *out, struct qn_err *err)
{
    static const struct qn_section_ops ops = {
        .begin = own_begin, .load = own_load, .loaded = own_loaded, .clear = own_clear};
    struct qn_buf scratch = {0};
    uint32_t counted;
    bool failed;

    add_streams(&scratch, en->plan);
    failed = scratch.failed;
    out[0] = (struct qn_section){.ops = &ops, .st = en, .name = "engine"};
    out[0].layout = failed ? 0 : qn_hash(scratch.data, scratch.len, STATE_VERSION);
    qn_buf_fini(&scratch);
    if (failed)
        return qn_err_set(err, QN_NOMEM, "out of memory for the sections of a snapshot");
    qn_dedup_sections(en->dedup, out + 1);
    QN_TRY(
        qn_features_sections(en->plan->features, out + 1 + qn_dedup_section_count(en->dedup), err));
    counted = qn_engine_section_count(en) - (en->learner != NULL ? 1 : 0);
    if (en->learner != NULL)
        out[counted] = qn_learner_section(en->learner);
    en->account_set = 0;
    for (uint32_t i = 1; i < counted; i++) {
        en->account_set = qn_hash(out[i].name, strlen(out[i].name), en->account_set);
        en->account_set = qn_hash(&out[i].layout, sizeof out[i].layout, en->account_set);
    }
    return QN_OK;
}
