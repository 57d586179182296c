/* SPDX-License-Identifier: Apache-2.0
 * journal_record.c - the bytes of a record of the journal. See journal_record.h.
 *
 * Thread: any; no state. */
#include "engine/journal_record.h"

#include "base/check.h"
#include "base/varint.h"

enum { VERSION = 1, VARINT_BYTES = 10 };

static void put(struct qn_buf *out, uint64_t v)
{
    char bytes[VARINT_BYTES];

    qn_buf_add(out, bytes, (size_t)(qn_varint_put(bytes, v) - bytes));
}

void qn_journal_begin(struct qn_buf *out, const int64_t *from, uint32_t streams)
{
    QN_ASSERT(streams > 0 && streams <= QN_STREAMS_MAX);
    qn_buf_byte(out, VERSION);
    put(out, streams);
    for (uint32_t i = 0; i < streams; i++) {
        QN_ASSERT(from[i] >= 0 && from[i] <= QN_JOURNAL_OFFSET_MAX);
        put(out, (uint64_t)from[i]);
    }
}

void qn_journal_add(struct qn_buf *out, struct qn_journal_run run)
{
    QN_ASSERT(run.moved > 0 && run.moved <= QN_JOURNAL_OFFSET_MAX);
    put(out, run.stream);
    put(out, (uint64_t)run.moved);
}

/* Takes a number up to `most` off. */
static bool take(struct qn_str *bytes, uint64_t most, uint64_t *v)
{
    const char *p = bytes->p, *end = p + bytes->len, *behind = qn_varint_get(p, end, v);

    if (behind == NULL || *v > most)
        return false;
    *bytes = (struct qn_str){behind, (uint32_t)(end - behind)};
    return true;
}

bool qn_journal_next(struct qn_str *runs, struct qn_journal_run *out)
{
    uint64_t stream, moved;

    if (runs->len == 0 || !take(runs, QN_STREAMS_MAX - 1, &stream) ||
        !take(runs, (uint64_t)QN_JOURNAL_OFFSET_MAX, &moved))
        return false;
    *out = (struct qn_journal_run){(uint32_t)stream, (int64_t)moved};
    return true;
}

/* Every run is one, and leaves its stream at an offset that there may be. */
static bool check_runs(const struct qn_journal_record *r)
{
    int64_t at[QN_STREAMS_MAX];
    struct qn_str runs = r->runs;
    struct qn_journal_run run;

    memcpy(at, r->from, sizeof at);
    while (runs.len > 0) {
        if (!qn_journal_next(&runs, &run) || run.stream >= r->streams || run.moved == 0)
            return false;
        at[run.stream] += run.moved;
        if (at[run.stream] > QN_JOURNAL_OFFSET_MAX)
            return false;
    }
    return true;
}

bool qn_journal_read(struct qn_str bytes, struct qn_journal_record *out)
{
    uint64_t v;

    *out = (struct qn_journal_record){0};
    if (bytes.len == 0 || bytes.p[0] != VERSION)
        return false;
    bytes = (struct qn_str){bytes.p + 1, bytes.len - 1};
    if (!take(&bytes, QN_STREAMS_MAX, &v) || v == 0)
        return false;
    out->streams = (uint32_t)v;
    for (uint32_t i = 0; i < out->streams; i++) {
        if (!take(&bytes, (uint64_t)QN_JOURNAL_OFFSET_MAX, &v))
            return false;
        out->from[i] = (int64_t)v;
    }
    out->runs = bytes;
    return check_runs(out);
}
