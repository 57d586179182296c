/* SPDX-License-Identifier: Apache-2.0
 * fuzz_rekey_record.c - reads any bytes as a record between two stages of a pipeline.
 *
 * The hash is filled in, or hardly any would get past it. Holds: what is read and written again is
 * the same bytes, for those that were taken; nothing is read behind the end. */
#include "base/check.h"
#include "base/hash.h"
#include "engine/rekey_record.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { HEAD = 72, HASH_AT = 64 };

static void write_again(const struct qn_rekey *r, const char *bytes, size_t size)
{
    uint32_t *ids = malloc((r->window_count + 1) * sizeof *ids);
    struct qn_buf b = {0};
    bool is_same = true;

    QN_ASSERT(ids != NULL);
    for (uint32_t i = 0; i < r->window_count; i++)
        ids[i] = qn_rekey_id(r, i);
    qn_rekey_begin(&b, r, ids);
    for (uint32_t i = 0; i < r->window_count; i++) {
        int64_t value;
        const bool is_valid = qn_rekey_get(r, i, &value);

        is_same = is_same && (is_valid || value == 0); /* a null is written as 0 */
        qn_rekey_value(&b, r, i, is_valid, value);
    }
    qn_rekey_end(&b, r);
    for (uint32_t i = r->window_count; i < (r->window_count + 7) / 8 * 8; i++) /* bits of none */
        is_same = is_same && ((uint8_t)r->valid.p[i / 8] >> (i % 8) & 1) == 0;
    QN_ASSERT(!b.failed && b.len == size);
    QN_ASSERT(!is_same || memcmp(b.data, bytes, size) == 0);
    qn_buf_fini(&b);
    free(ids);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *copy = malloc(size > 0 ? size : 1);
    struct qn_rekey r;

    QN_ASSERT(copy != NULL);
    if (size > 0)
        memcpy(copy, data, size);
    (void)qn_rekey_read((struct qn_str){copy, (uint32_t)size}, &r, NULL);
    if (size >= HEAD) {
        const uint64_t hash = qn_hash(copy + HEAD, size - HEAD, qn_hash(copy, HASH_AT, 0));

        memcpy(copy + HASH_AT, &hash, sizeof hash);
        if (qn_rekey_read((struct qn_str){copy, (uint32_t)size}, &r, NULL) == QN_OK)
            write_again(&r, copy, size);
    }
    free(copy);
    return 0;
}
