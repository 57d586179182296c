/* SPDX-License-Identifier: Apache-2.0
 * shard_mark.h - what is kept in Kafka beside the committed position of a shard, as a short text:
 * where its state begins, and a hash of all answers since.
 *
 * The cluster keeps it with the position, so both are of one transaction; whoever rebuilds the
 * state, from wherever, must come to the same hash. Text: "1 first=N since=N maker=HEX hash=HEX",
 * where transactions have a name that no other process has " writer=HEX", where records were set
 * aside because nobody had their schema " unknown=ID@N,ID@N", and where the shard has several
 * streams " topics=HEX journal=N from=N,N": which they are, in which order, and the record of the
 * journal and the offset of each stream at which the state was empty; the other offsets are sums
 * over the streams then. Thread: any; no state. */
#ifndef QN_ENGINE_SHARD_MARK_H
#define QN_ENGINE_SHARD_MARK_H

#include "base/text.h"
#include "event/schema.h"

enum {
    QN_SHARD_MARK_UNKNOWN = 16,
    QN_SHARD_MARK_BYTES = 256 + QN_SHARD_MARK_UNKNOWN * 32 + QN_STREAMS_MAX * 20
};

/* A schema that was unknown up to that offset: whoever replays need not ask, and must not, since it
 * may be known by now. The newest are kept. */
struct qn_shard_unknown {
    uint32_t id;
    int64_t last;
};
struct qn_shard_mark {
    int64_t first;   /* offset at which the state was empty                                      */
    int64_t since;   /* offset from which on answers are in the hash                             */
    uint64_t maker;  /* qn_commits_maker: spec, models, program; another one answers otherwise   */
    uint64_t hash;   /* of the answers from `since` up to the position                           */
    uint64_t writer; /* whose transaction it was: at the end of its id; 0 = not said */
    struct qn_shard_unknown unknown[QN_SHARD_MARK_UNKNOWN];
    uint32_t unknown_count;
    uint32_t streams; /* 0 = one, and nothing of the following */
    uint64_t topics;  /* hash of their names in the order of the plan */
    int64_t journal;
    int64_t from[QN_STREAMS_MAX]; /* [streams] */
};

/* What `from` has of unknown schemas, in place of what *m has. */
static inline void qn_shard_mark_take_unknown(struct qn_shard_mark *m,
                                              const struct qn_shard_mark *from)
{
    memcpy(m->unknown, from->unknown, sizeof m->unknown);
    m->unknown_count = from->unknown_count;
}

/* The same for several streams. */
static inline void qn_shard_mark_take_streams(struct qn_shard_mark *m,
                                              const struct qn_shard_mark *from)
{
    memcpy(m->from, from->from, sizeof m->from);
    m->streams = from->streams;
    m->journal = from->journal;
}

/* NUL-terminated. */
void qn_shard_mark_print(const struct qn_shard_mark *m, char out[QN_SHARD_MARK_BYTES]);
/* False: no mark of ours, or of a version that this program does not know. */
bool qn_shard_mark_read(struct qn_str text, struct qn_shard_mark *out);

#endif
