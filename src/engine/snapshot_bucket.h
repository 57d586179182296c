/* SPDX-License-Identifier: Apache-2.0
 * snapshot_bucket.h - the bucket of `snapshots: {to: ...}`, opened as a store.
 *
 * A pipeline with a local log opens one, a pipeline on Kafka one a shard; both ask for it before
 * they begin. Thread: any. Memory: the store's. */
#ifndef QN_ENGINE_SNAPSHOT_BUCKET_H
#define QN_ENGINE_SNAPSHOT_BUCKET_H

#include "base/clock.h"
#include "spec/plan.h"
#include "state/snapshot.h"

/* The names of the store's objects follow the spec's prefix and `below` ("" or ends with '/').
 * Nothing is asked yet. QN_INVALID where there is no key. */
qn_status qn_snapshot_bucket_open(const struct qn_plan *plan, const struct qn_clock *clock,
                                  const struct qn_random *random, const char *below,
                                  struct qn_snapshot_store *out, struct qn_err *err);
/* Whether it answers, with this key; QN_OK where the spec names none. As qn_s3_list. */
qn_status qn_snapshot_bucket_check(const struct qn_plan *plan, const struct qn_clock *clock,
                                   const struct qn_random *random, struct qn_err *err);

#endif
