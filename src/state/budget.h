/* SPDX-License-Identifier: Apache-2.0
 * budget.h - how much state there may be (`limits: memory`), counted from the log alone.
 *
 * What the machine sees depends on allocators, batches, and on what is swept when; whether an event
 * is taken must not. So the bytes that are counted are those that `quern check` prints: they are
 * added at an event time and leave when the newest event time has passed that by the time of their
 * account (a group of windows, the ids of a stream), up to 1/128 of it later. Same events, same
 * verdicts: on any number of threads, in any batches, and behind any snapshot.
 *
 *     per row, in log order:  qn_budget_move_on(b, newest)
 *                             qn_budget_has_room(b, bytes, is_new)   no: the event is not taken
 *                             qn_budget_add, qn_budget_move          what it brings
 *
 * The last eighth is for keys that are there already, so that a flood of new keys does not take
 * their events' room. Thread: the engine's. Memory: boot; 2 KiB an account. */
#ifndef QN_STATE_BUDGET_H
#define QN_STATE_BUDGET_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct qn_budget; /* private */

#define QN_BUDGET_FOREVER INT64_MAX /* bytes of such an account never leave */

qn_status qn_budget_new(uint64_t limit_bytes, uint32_t accounts, struct qn_budget **out,
                        struct qn_err *err);
void qn_budget_free(struct qn_budget *b); /* NULL is fine */
/* Bytes that are held from the start and never leave, whatever is cleared or loaded: state of fixed
 * size. Before anything is added. */
void qn_budget_hold(struct qn_budget *b, uint64_t bytes);
/* How long bytes stay; before anything is added. keep_us >= 0. */
void qn_budget_keep(struct qn_budget *b, uint32_t account, int64_t keep_us);

/* The newest event time, which never falls: what it has passed leaves. */
void qn_budget_move_on(struct qn_budget *b, int64_t newest_us);
/* True if so many bytes more may be held; 0 always. is_new: a key that is not there. */
bool qn_budget_has_room(const struct qn_budget *b, uint64_t bytes, bool is_new);
/* Bytes of an event time. What is older than the account keeps leaves with its oldest; what is
 * further ahead of the newest time than it keeps leaves as if it were that far ahead. */
void qn_budget_add(struct qn_budget *b, uint32_t account, int64_t at_us, uint64_t bytes);
/* The same for ever. */
void qn_budget_add_lasting(struct qn_budget *b, uint32_t account, uint64_t bytes);
/* Bytes that were added at from_us, which has not left, now leave with to_us; what is there of
 * them. */
void qn_budget_move(struct qn_budget *b, uint32_t account, int64_t from_us, int64_t to_us,
                    uint64_t bytes);

uint64_t qn_budget_limit(const struct qn_budget *b);
uint64_t qn_budget_counted(const struct qn_budget *b);
/* The most that new keys may fill. */
uint64_t qn_budget_new_keys_limit(uint64_t limit_bytes);

/* An account as bytes of a snapshot, QN_BUDGET_SAVED of them; load takes any bytes: QN_CORRUPT.
 * After loading: qn_budget_move_on to the newest time of then. */
enum { QN_BUDGET_SLOTS = 256, QN_BUDGET_SAVED = 8 + 8 * QN_BUDGET_SLOTS };
void qn_budget_save(const struct qn_budget *b, uint32_t account, char *out);
qn_status qn_budget_load(struct qn_budget *b, uint32_t account, const char *from,
                         struct qn_err *err);
/* As empty as at the start. */
void qn_budget_clear(struct qn_budget *b);

#endif
