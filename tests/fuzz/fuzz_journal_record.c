/* SPDX-License-Identifier: Apache-2.0
 * fuzz_journal_record.c - reads any bytes as a record of the journal.
 *
 * Holds: the runs of a record that was read lead to offsets that there may be, and written again
 * they are read as the same. */
#include "base/check.h"
#include "engine/journal_record.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void write_again(const struct qn_journal_record *r)
{
    struct qn_journal_record again;
    struct qn_journal_run run, other;
    struct qn_str runs = r->runs, others;
    struct qn_buf out = {0};

    qn_journal_begin(&out, r->from, r->streams);
    while (qn_journal_next(&runs, &run)) {
        QN_ASSERT(run.stream < r->streams && run.moved > 0);
        qn_journal_add(&out, run);
    }
    QN_ASSERT(runs.len == 0 && !out.failed);
    QN_ASSERT(qn_journal_read((struct qn_str){out.data, (uint32_t)out.len}, &again));
    QN_ASSERT(again.streams == r->streams && memcmp(again.from, r->from, sizeof r->from) == 0);
    runs = r->runs;
    others = again.runs;
    while (qn_journal_next(&runs, &run))
        QN_ASSERT(qn_journal_next(&others, &other) && other.stream == run.stream &&
                  other.moved == run.moved);
    QN_ASSERT(others.len == 0);
    qn_buf_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *copy = malloc(size > 0 ? size : 1);
    struct qn_journal_record r;

    QN_ASSERT(copy != NULL);
    if (size > 0)
        memcpy(copy, data, size);
    if (qn_journal_read((struct qn_str){copy, (uint32_t)size}, &r))
        write_again(&r);
    free(copy);
    return 0;
}
