/* SPDX-License-Identifier: Apache-2.0
 * snapshot_bucket.c - from the plan's words about a bucket to a store. See snapshot_bucket.h.
 *
 * Thread: any. Memory: the store's. */
#include "engine/snapshot_bucket.h"

#include "base/buffer.h"

enum { TRIES = 5, PAUSE_MS = 200 };

static qn_status options(const struct qn_plan_bucket *b, const struct qn_clock *clock,
                         const struct qn_random *random, struct qn_s3_options *out,
                         struct qn_err *err)
{
    *out = (struct qn_s3_options){.clock = clock,
                                  .random = random,
                                  .bucket = b->name,
                                  .endpoint = b->endpoint,
                                  .region = b->region,
                                  .is_path_style = b->is_path_style,
                                  .key_id = b->key_id,
                                  .secret = b->secret,
                                  .token = b->token,
                                  .ca_file = b->ca_file,
                                  .timeout_us = b->timeout_us,
                                  .tries = TRIES,
                                  .pause_us = PAUSE_MS * 1000};
    if (b->key_id == NULL || b->secret == NULL)
        return qn_err_set(err, QN_INVALID,
                          "snapshots go to the bucket %s, and there is no key for it: set "
                          "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or access_key and "
                          "secret_key under 'snapshots'",
                          b->name);
    return QN_OK;
}

qn_status qn_snapshot_bucket_open(const struct qn_plan *plan, const struct qn_clock *clock,
                                  const struct qn_random *random, const char *below,
                                  struct qn_snapshot_store *out, struct qn_err *err)
{
    const struct qn_plan_bucket *b = &plan->storage.bucket;
    struct qn_buf prefix = {0};
    struct qn_s3_options opt;
    qn_status rc;

    QN_TRY(options(b, clock, random, &opt, err));
    qn_buf_printf(&prefix, "%s%s", b->prefix, below);
    qn_buf_byte(&prefix, '\0');
    rc = prefix.failed ? qn_err_set(err, QN_NOMEM, "out of memory for snapshots")
                       : qn_snapshot_bucket_new(&opt, prefix.data, out, err);
    qn_buf_fini(&prefix);
    return rc;
}

static void pass_over(void *arg, const char *name)
{
}

qn_status qn_snapshot_bucket_check(const struct qn_plan *plan, const struct qn_clock *clock,
                                   const struct qn_random *random, struct qn_err *err)
{
    struct qn_snapshot_store store = {0};
    qn_status rc;

    if (plan->storage.bucket.name == NULL)
        return QN_OK;
    /* where nothing lies: the answer is short */
    QN_TRY(qn_snapshot_bucket_open(plan, clock, random, "check/", &store, err));
    rc = store.list(store.st, pass_over, NULL, err);
    qn_snapshot_store_free(&store);
    return rc;
}
