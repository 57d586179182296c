/* SPDX-License-Identifier: Apache-2.0
 * merge_rule.h - which stream of a shard gives the next record, where several come in live.
 *
 * The smallest event time goes first, ties in the order of the spec. A stream of which nothing is
 * here might have an earlier one under way: it is waited for a few milliseconds, longer while it is
 * known to be far behind or nothing was heard of it yet, and not at all where it is at its end.
 * Once waited for in vain it is passed until something of it comes. What was chosen goes into the
 * journal, so nothing depends on its being chosen again. Thread: any; no state but the caller's. */
#ifndef QN_ENGINE_MERGE_RULE_H
#define QN_ENGINE_MERGE_RULE_H

#include <stdbool.h>
#include <stdint.h>

/* One stream, in the caller's memory. */
struct qn_merge_lane {
    bool has_head;   /* a record of it is here */
    bool is_passed;  /* it was waited for: the rule's own, cleared with each record that comes */
    int64_t head_us; /* time of that record                                                   */
    int64_t pushed;  /* offset behind the last record that came                               */
    int64_t end;     /* where its partition is known to end; negative: nothing is known       */
};

#define QN_MERGE_WAIT_NS  INT64_C(5000000)    /* for a stream that may have something new  */
#define QN_MERGE_FAR_NS   INT64_C(100000000)  /* for one that is far behind                */
#define QN_MERGE_FIRST_NS INT64_C(1000000000) /* for one of which nothing was heard yet    */
#define QN_MERGE_FAR      1000 /* records; fewer may be of a transaction that is open, or markers */
#define QN_MERGE_NOTHING  (-1) /* no record is here                           */
#define QN_MERGE_WAITS    (-2) /* for a stream of which none is here          */

/* The stream whose record is next, or one of the two above. *since_ns: since when it waits, 0 where
 * it does not; the rule's own. */
int32_t qn_merge_choose(struct qn_merge_lane *lanes, uint32_t count, int64_t now_ns,
                        int64_t *since_ns);

#endif
