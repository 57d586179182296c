/* SPDX-License-Identifier: Apache-2.0
 * budget.c - counted bytes by event time. See budget.h.
 *
 * An account has a ring of slots, each width_us of event time, so that bytes leave slot by slot
 * while time moves on, and nobody has to remember when whose bytes came. Slot n holds the times
 * [n * width, (n + 1) * width) and leaves when all of them are older than newest - keep; with 128
 * slots to the time of an account, what is held spans half of the ring, and what is ahead of the
 * newest time the other one.
 * An account in a snapshot, little-endian: 8 lasting bytes, 8 per slot. Thread: the engine's. */
#include "state/budget.h"

#include "base/check.h"
#include "base/memory.h"

#include <string.h>

enum { SLOTS_KEPT = 128, NEW_KEYS_SHARE = 8 };

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "numbers are copied as they lie");

struct account {
    int64_t keep_us, width_us;
    int64_t oldest; /* number of the first slot that has not left */
    bool has_begun; /* else oldest is not known                   */
    uint64_t lasting;
    uint64_t slots[QN_BUDGET_SLOTS]; /* slot n at n modulo QN_BUDGET_SLOTS */
};

struct qn_budget {
    uint64_t limit, held, counted; /* counted: with what is held from the start */
    int64_t next_us;               /* up to this newest time nothing leaves */
    uint32_t count;
    struct account accounts[];
};

qn_status qn_budget_new(uint64_t limit_bytes, uint32_t accounts, struct qn_budget **out,
                        struct qn_err *err)
{
    struct qn_budget *b = qn_mem_zalloc(1, sizeof *b + accounts * sizeof b->accounts[0]);

    *out = b;
    if (b == NULL)
        return qn_err_set(err, QN_NOMEM, "out of memory for counting state");
    b->limit = limit_bytes;
    b->count = accounts;
    b->next_us = INT64_MIN;
    for (uint32_t i = 0; i < accounts; i++)
        qn_budget_keep(b, i, QN_BUDGET_FOREVER);
    return QN_OK;
}

void qn_budget_free(struct qn_budget *b)
{
    qn_mem_free(b);
}

void qn_budget_hold(struct qn_budget *b, uint64_t bytes)
{
    b->held += bytes;
    b->counted += bytes;
}

void qn_budget_keep(struct qn_budget *b, uint32_t account, int64_t keep_us)
{
    struct account *a = &b->accounts[account];

    QN_ASSERT(account < b->count && keep_us >= 0);
    a->keep_us = keep_us;
    a->width_us = keep_us / SLOTS_KEPT + 1;
}

static int64_t slot_of(const struct account *a, int64_t us)
{
    const int64_t n = us / a->width_us;

    return n - (us % a->width_us < 0);
}

static uint64_t *slot(struct account *a, int64_t n)
{
    return &a->slots[(uint64_t)n % QN_BUDGET_SLOTS];
}

/* The oldest time that counts. */
static int64_t horizon(const struct account *a, int64_t newest_us)
{
    int64_t us;

    return __builtin_sub_overflow(newest_us, a->keep_us, &us) ? INT64_MIN : us;
}

/* The newest time up to which slot `oldest` stays. */
static int64_t stays_until(const struct account *a)
{
    int64_t us;

    if (__builtin_mul_overflow(a->oldest + 1, a->width_us, &us) ||
        __builtin_add_overflow(us - 1, a->keep_us, &us))
        return INT64_MAX;
    return us;
}

static void account_move_on(struct qn_budget *b, struct account *a, int64_t newest_us)
{
    const int64_t oldest = slot_of(a, horizon(a, newest_us));

    if (!a->has_begun) {
        a->has_begun = true;
        a->oldest = oldest;
    }
    for (uint32_t i = 0; i < QN_BUDGET_SLOTS && a->oldest < oldest; i++) {
        b->counted -= *slot(a, a->oldest);
        *slot(a, a->oldest++) = 0;
    }
    if (a->oldest < oldest) /* all of them have left */
        a->oldest = oldest;
}

void qn_budget_move_on(struct qn_budget *b, int64_t newest_us)
{
    if (newest_us <= b->next_us)
        return;
    b->next_us = INT64_MAX;
    for (uint32_t i = 0; i < b->count; i++) {
        struct account *a = &b->accounts[i];
        int64_t until_us;

        if (a->keep_us == QN_BUDGET_FOREVER)
            continue;
        account_move_on(b, a, newest_us);
        until_us = stays_until(a);
        b->next_us = until_us < b->next_us ? until_us : b->next_us;
    }
}

uint64_t qn_budget_new_keys_limit(uint64_t limit_bytes)
{
    return limit_bytes - limit_bytes / NEW_KEYS_SHARE;
}

bool qn_budget_has_room(const struct qn_budget *b, uint64_t bytes, bool is_new)
{
    const uint64_t limit = is_new ? qn_budget_new_keys_limit(b->limit) : b->limit;

    return bytes == 0 || (bytes <= limit && b->counted <= limit - bytes);
}

/* The slot of a time, or the oldest that is there, or the last. */
static uint64_t *slot_at(struct account *a, int64_t us)
{
    const int64_t n = slot_of(a, us), last = a->oldest + QN_BUDGET_SLOTS - 1;

    QN_ASSERT(a->has_begun);
    return slot(a, n < a->oldest ? a->oldest : n > last ? last : n);
}

void qn_budget_add(struct qn_budget *b, uint32_t account, int64_t at_us, uint64_t bytes)
{
    struct account *a = &b->accounts[account];

    QN_ASSERT(account < b->count);
    if (a->keep_us == QN_BUDGET_FOREVER) {
        qn_budget_add_lasting(b, account, bytes);
        return;
    }
    *slot_at(a, at_us) += bytes;
    b->counted += bytes;
}

void qn_budget_add_lasting(struct qn_budget *b, uint32_t account, uint64_t bytes)
{
    QN_ASSERT(account < b->count);
    b->accounts[account].lasting += bytes;
    b->counted += bytes;
}

void qn_budget_move(struct qn_budget *b, uint32_t account, int64_t from_us, int64_t to_us,
                    uint64_t bytes)
{
    struct account *a = &b->accounts[account];
    uint64_t *from, *to, there;

    QN_ASSERT(account < b->count);
    if (a->keep_us == QN_BUDGET_FOREVER)
        return;
    from = slot_at(a, from_us);
    to = slot_at(a, to_us);
    there = *from < bytes ? *from : bytes;
    *from -= there;
    *to += there;
}

uint64_t qn_budget_limit(const struct qn_budget *b)
{
    return b->limit;
}

uint64_t qn_budget_counted(const struct qn_budget *b)
{
    return b->counted;
}

void qn_budget_save(const struct qn_budget *b, uint32_t account, char *out)
{
    const struct account *a = &b->accounts[account];

    QN_ASSERT(account < b->count);
    memcpy(out, &a->lasting, sizeof a->lasting);
    memcpy(out + sizeof a->lasting, a->slots, sizeof a->slots);
}

qn_status qn_budget_load(struct qn_budget *b, uint32_t account, const char *from,
                         struct qn_err *err)
{
    struct account *a = &b->accounts[account];
    uint64_t sum;
    bool overflows;

    QN_ASSERT(account < b->count);
    memcpy(&a->lasting, from, sizeof a->lasting);
    memcpy(a->slots, from + sizeof a->lasting, sizeof a->slots);
    a->has_begun = false;
    b->next_us = INT64_MIN;
    sum = a->lasting;
    overflows = false;
    for (uint32_t i = 0; i < QN_BUDGET_SLOTS; i++)
        overflows |= __builtin_add_overflow(sum, a->slots[i], &sum);
    if (overflows || __builtin_add_overflow(b->counted, sum, &b->counted))
        return qn_err_set(err, QN_CORRUPT, "counted bytes are more than there can be");
    return QN_OK;
}

void qn_budget_clear(struct qn_budget *b)
{
    b->counted = b->held;
    b->next_us = INT64_MIN;
    for (uint32_t i = 0; i < b->count; i++) {
        struct account *a = &b->accounts[i];

        a->has_begun = false;
        a->lasting = 0;
        memset(a->slots, 0, sizeof a->slots);
    }
}
