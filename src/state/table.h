/* SPDX-License-Identifier: Apache-2.0
 * table.h - keyed state: key bytes to a record of fixed size, per lane.
 *
 * A key belongs to one of QN_LANES lanes by the fixed hash (base/hash.h, seed 0), a lane to one
 * worker at a time, so tables need no lock. Open addressing over 32-bit tags, load at most 0.7,
 * records in slabs that never move, key bytes stored and compared: a hash alone is never identity.
 * Lookups go in groups with prefetch. Lifetime: state. Iteration order is insertion order per lane,
 * never hash order. */
#ifndef QN_STATE_TABLE_H
#define QN_STATE_TABLE_H

#include "base/memory.h"
#include "base/status.h"
#include "base/text.h"

enum { QN_LANES = 64, QN_TABLE_KEY_INLINE = 16 /* bytes of a key that lie in its record */ };
static inline unsigned qn_lane_of(uint64_t hash)
{
    return (unsigned)(hash >> 58);
}

struct qn_table; /* private: one lane's table */

/* record_bytes: size of a record, zeroed when created. seed: probe seed, may be random; never shows
 * in an answer. */
qn_status qn_table_new(size_t record_bytes, uint64_t seed, struct qn_table **out,
                       struct qn_err *err);
void qn_table_free(struct qn_table *t); /* NULL is fine */

/* Finds or creates the records of n keys of this lane, in order; out[i] is NULL only when out of
 * memory (QN_NOMEM then). Equal keys give the same record. Records never move until they are
 * removed. */
qn_status qn_table_get(struct qn_table *t, const struct qn_str *keys, const uint64_t *hashes,
                       uint32_t n, void **out, struct qn_err *err);
/* Only finds: NULL where there is none. */
void qn_table_find(struct qn_table *t, const struct qn_str *keys, const uint64_t *hashes,
                   uint32_t n, void **out);
/* Both at once and over many tables, for rows that stay in log order: tables[i] belongs to keys[i];
 * where create_if_absent[i] is 0, out[i] is NULL if there is no such key. QN_NOMEM: the keys from
 * the failed one on are NULL. */
qn_status qn_table_look(struct qn_table *const *tables, const struct qn_str *keys,
                        const uint64_t *hashes, const uint8_t *create_if_absent, uint32_t n,
                        void **out, struct qn_err *err);
/* Walks the records in order of creation: *cursor starts at 0; NULL at the end. The record returned
 * may be removed before the next call, no other. key (may be NULL): borrowed until the record is
 * removed. */
void *qn_table_next(struct qn_table *t, uint64_t *cursor, struct qn_str *key);
void qn_table_remove(struct qn_table *t, struct qn_str key, uint64_t hash);
/* Walks the records by the place they lie at: the first at or behind *place, which moves on behind
 * it; NULL at the end. *place starts at 0. Keys may come and go between two calls: one that is
 * there all the while is met once, one that comes may be missed. key as above. */
void *qn_table_walk(const struct qn_table *t, uint32_t *place, struct qn_str *key);

uint64_t qn_table_count(const struct qn_table *t);
/* Index, records, key bytes: what has been touched so far. */
size_t qn_table_bytes(const struct qn_table *t);
uint64_t qn_table_hash(const void *record);     /* the hash a record was created with */
struct qn_str qn_table_key(const void *record); /* its key; borrowed until it is removed */
/* 16 bits beside the record for its user, 0 when it is created: the mark of a snapshot
 * (snapshot.h), where the record itself has no room to spare. */
uint16_t *qn_table_mark(void *record);
/* What one key takes on average: index, header, record, key bytes that do not fit the header. */
size_t qn_table_key_bytes(size_t record_bytes, uint32_t key_len);

#endif
