/* SPDX-License-Identifier: Apache-2.0
 * fuzz_shard_mark.c - reads any bytes as the text beside a committed position in Kafka.
 *
 * Holds: what is read and printed is the same text again, for those bytes that were taken. */
#include "base/check.h"
#include "engine/shard_mark.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *copy = malloc(size > 0 ? size : 1), out[QN_SHARD_MARK_BYTES];
    struct qn_shard_mark m, again;

    QN_ASSERT(copy != NULL);
    if (size > 0)
        memcpy(copy, data, size);
    if (qn_shard_mark_read((struct qn_str){copy, (uint32_t)size}, &m)) {
        qn_shard_mark_print(&m, out);
        QN_ASSERT(qn_shard_mark_read(qn_str_of(out), &again));
        QN_ASSERT(memcmp(&m, &again, sizeof m) == 0);
        QN_ASSERT(m.first >= 0 && m.since >= m.first);
    }
    free(copy);
    return 0;
}
