/* SPDX-License-Identifier: Apache-2.0
 * shard_mark.h - what is kept in Kafka beside the committed position of a shard, as a short text:
 * where its state begins, and a hash of all answers since.
 *
 * The cluster keeps it with the position, so both are of one transaction; whoever rebuilds the
 * state, from wherever, must come to the same hash. Text: "1 first=N since=N maker=HEX hash=HEX".
 * Thread: any; no state. */
#ifndef QN_ENGINE_SHARD_MARK_H
#define QN_ENGINE_SHARD_MARK_H

#include "base/text.h"

enum { QN_SHARD_MARK_BYTES = 128 };

struct qn_shard_mark {
    int64_t first;  /* offset at which the state was empty                                      */
    int64_t since;  /* offset from which on answers are in the hash                             */
    uint64_t maker; /* qn_commits_maker: spec, models, program; another one answers otherwise   */
    uint64_t hash;  /* of the answers from `since` up to the position                           */
};

/* NUL-terminated. */
void qn_shard_mark_print(const struct qn_shard_mark *m, char out[QN_SHARD_MARK_BYTES]);
/* False: no mark of ours, or of a version that this program does not know. */
bool qn_shard_mark_read(struct qn_str text, struct qn_shard_mark *out);

#endif
