/* SPDX-License-Identifier: Apache-2.0
 * dedup.h - repeats of an event, told by its id: the memory behind `dedup: D` of a stream.
 *
 * Stop "contract" on the path of an event, its last part. An id is remembered with the newest event
 * time that its shard had seen when the event was accepted; while newest - remembered <= D, another
 * event with that id is a repeat and dead. Repeats do not extend the memory. It is a function of
 * the log alone: forgetting in memory comes later and shows nowhere.
 *
 * Thread: the stepping thread. Memory: state lifetime; about rate x D ids of a stream, each
 * qn_table_key_bytes(QN_DEDUP_BYTES, length of the id). */
#ifndef QN_ENGINE_DEDUP_H
#define QN_ENGINE_DEDUP_H

#include "event/contract.h"
#include "spec/plan.h"
#include "state/budget.h"
#include "state/snapshot.h"

struct qn_dedup; /* private: the ids of every stream that has `dedup` */

/* *out is NULL where no stream has `dedup`. seed: probe seed of the tables; never shows. */
qn_status qn_dedup_new(const struct qn_plan *plan, uint64_t seed, struct qn_dedup **out,
                       struct qn_err *err);
void qn_dedup_free(struct qn_dedup *d); /* NULL is fine */

/* Behind qn_contract_lateness, whose watermark before this batch is `before`: rows in log order
 * that are not dead and repeat an id become dead, QN_REASON_DUPLICATE; the others are remembered. A
 * null id repeats nothing. Then forgets some of what is too old, paced by the rows. After QN_NOMEM
 * the rest of the batch is undecided. */
qn_status qn_dedup_run(struct qn_dedup *d, struct qn_batch *b, struct qn_watermark before,
                       struct qn_err *err);

/* ---- counted ids (state/budget.h): `limits: memory` ----
 *
 * qn_dedup_run in parts, so that whoever counts decides between the look and the memory. */
/* Room for the look, and the accounts from `first` on, one a stream with dedup. */
qn_status qn_dedup_budget(struct qn_dedup *d, uint32_t rows_max, struct qn_budget *budget,
                          uint32_t first, struct qn_err *err);
/* Looks up the ids of all rows that are not dead. */
qn_status qn_dedup_look(struct qn_dedup *d, const struct qn_batch *b, struct qn_err *err);
/* Then row by row, in log order, newest_us the newest event time up to that row. */
bool qn_dedup_repeats(const struct qn_dedup *d, const struct qn_batch *b, uint32_t row,
                      int64_t newest_us);
/* Makes the row dead, QN_REASON_DUPLICATE. */
void qn_dedup_refuse(const struct qn_dedup *d, struct qn_batch *b, uint32_t row);
/* Bytes of one more id; 0 where the row has none. */
uint64_t qn_dedup_cost(const struct qn_dedup *d, const struct qn_batch *b, uint32_t row);
/* Remembers the row's id, and counts it. */
void qn_dedup_take(struct qn_dedup *d, const struct qn_batch *b, uint32_t row, int64_t newest_us);
/* Behind the last row: forgets ids that only rows which were not taken have, and some that are too
 * old. */
void qn_dedup_end(struct qn_dedup *d, const struct qn_batch *b, int64_t newest_us);
/* Counts the ids that are there, when a snapshot did not say. */
void qn_dedup_recount(const struct qn_dedup *d, int64_t newest_us);

/* Ids in memory, of all streams; more than are remembered by the little that is not yet swept. */
uint64_t qn_dedup_ids(const struct qn_dedup *d);
size_t qn_dedup_bytes(const struct qn_dedup *d); /* NULL: 0 */

/* As sections of a snapshot, out[qn_dedup_section_count], one per stream that has `dedup`:
 * "dedup/pay". Their layout holds D and what the id is. NULL: none. */
uint32_t qn_dedup_section_count(const struct qn_dedup *d);
void qn_dedup_sections(struct qn_dedup *d, struct qn_section *out);

#endif
