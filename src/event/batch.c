/* SPDX-License-Identifier: Apache-2.0
 * batch.c - memory of a batch: made once, emptied between batches, never freed while the engine
 * runs.
 *
 * Invariant after init and after every reset: rows [0, rows_max) have verdict scored, no reason, no
 * field, and a column is null in every row that its own stream's decoder has not written. With one
 * stream the decoder itself clears what it is about to write, so a reset costs nothing per column;
 * with several, the rows used are cleared here. Thread: engine, between barriers. Memory: boot; the
 * arenas are the batch's own. */
#include "event/batch.h"

#include "base/check.h"
#include "event/contract.h"
#include "event/envelope.h"

const char *qn_verdict_name(enum qn_verdict v)
{
    static const char *const names[QN_VERDICTS] = {
        [QN_SCORED] = "scored", [QN_LATE] = "late", [QN_DEAD] = "dead", [QN_SHED] = "shed"};

    QN_ASSERT((unsigned)v < QN_VERDICTS);
    return names[v];
}

/* The macro list spells reasons in capitals; names are lower case. Kept as a second table because a
 * preprocessor cannot change case; test_batch.c compares the two. */
static const char *const reason_names[QN_REASON_COUNT] = {
    [QN_REASON_NONE] = "none",
    [QN_REASON_BAD_JSON] = "bad_json",
    [QN_REASON_BAD_CSV] = "bad_csv",
    [QN_REASON_BAD_UTF8] = "bad_utf8",
    [QN_REASON_NOT_AN_OBJECT] = "not_an_object",
    [QN_REASON_TOO_DEEP] = "too_deep",
    [QN_REASON_TOO_LARGE] = "too_large",
    [QN_REASON_MISSING_FIELD] = "missing_field",
    [QN_REASON_WRONG_TYPE] = "wrong_type",
    [QN_REASON_BAD_TIME] = "bad_time",
    [QN_REASON_NOT_EXACT] = "not_exact",
    [QN_REASON_OUT_OF_RANGE] = "out_of_range",
    [QN_REASON_NOT_ALLOWED] = "not_allowed",
    [QN_REASON_TOO_LONG] = "too_long",
    [QN_REASON_WRONG_LENGTH] = "wrong_length",
    [QN_REASON_LATE_EVENT] = "late_event",
    [QN_REASON_TOO_LATE] = "too_late",
    [QN_REASON_FUTURE_TIME] = "future_time",
    [QN_REASON_DUPLICATE] = "duplicate",
    [QN_REASON_STATE_FULL] = "state_full",
    [QN_REASON_NOT_FRAMED] = "not_framed",
    [QN_REASON_SCHEMA_UNKNOWN] = "schema_unknown",
    [QN_REASON_BAD_SCHEMA] = "bad_schema",
    [QN_REASON_BAD_RECORD] = "bad_record",
    [QN_REASON_BAD_ENVELOPE] = "bad_envelope",
    [QN_REASON_TOMBSTONE] = "tombstone",
    [QN_REASON_DELETED] = "deleted",
    [QN_REASON_NO_ROW] = "no_row",
};

const char *qn_reason_name(enum qn_reason r)
{
    QN_ASSERT((unsigned)r < QN_REASON_COUNT);
    return reason_names[r];
}

const char *qn_reason_stage(enum qn_reason r)
{
    static const char *const stages[QN_REASON_COUNT] = {
#define QN_REASON_STAGE(name, stage, text) [QN_REASON_##name] = stage,
        QN_REASON_LIST(QN_REASON_STAGE)
#undef QN_REASON_STAGE
    };

    QN_ASSERT((unsigned)r < QN_REASON_COUNT);
    return stages[r];
}

const char *qn_reason_text(enum qn_reason r)
{
    static const char *const texts[QN_REASON_COUNT] = {
#define QN_REASON_TEXT(name, stage, text) [QN_REASON_##name] = text,
        QN_REASON_LIST(QN_REASON_TEXT)
#undef QN_REASON_TEXT
    };

    QN_ASSERT((unsigned)r < QN_REASON_COUNT);
    return texts[r];
}

enum { COLUMN_ALIGN = 64 };

/* count * bytes of cleared memory on a cache line of its own, rounded up so that vector loops may
 * run over the end. */
static void *column(struct qn_arena *a, size_t count, size_t bytes)
{
    size_t whole = (count * bytes + COLUMN_ALIGN - 1) / COLUMN_ALIGN * COLUMN_ALIGN;
    void *p = qn_arena_aligned(a, COLUMN_ALIGN, whole);

    if (p != NULL)
        memset(p, 0, whole);
    return p;
}

qn_status qn_col_init(struct qn_col *c, struct qn_kind kind, uint32_t rows_max, struct qn_arena *a,
                      struct qn_err *err)
{
    size_t rows = ((size_t)rows_max + 63) / 64 * 64;
    size_t bytes = sizeof(int64_t);

    if (kind.type == QN_STRING)
        bytes = sizeof(struct qn_str);
    else if (kind.type == QN_LIST)
        bytes = sizeof(struct qn_list);
    c->kind = kind;
    c->valid = column(a, rows, 1);
    c->i64 = column(a, rows, bytes);
    if (c->valid == NULL || c->i64 == NULL)
        return qn_err_set(err, QN_NOMEM, "no memory for a column of %u rows", rows_max);
    return QN_OK;
}

static void preset(struct qn_batch *b, uint32_t rows)
{
    if (rows == 0)
        return;
    memset(b->verdict, QN_SCORED, rows);
    memset(b->is_late, 0, rows);
    memset(b->reason, QN_REASON_NONE, rows);
    memset(b->reason_field, 0xFF, rows * sizeof *b->reason_field);
}

static qn_status rows_init(struct qn_batch *b, struct qn_arena *boot, struct qn_err *err)
{
    size_t n = b->rows_max;

    b->raw = column(boot, n, sizeof *b->raw);
    b->stream = column(boot, n, sizeof *b->stream);
    b->partition = column(boot, n, sizeof *b->partition);
    b->offset = column(boot, n, sizeof *b->offset);
    b->arrival_us = column(boot, n, sizeof *b->arrival_us);
    b->time_us = column(boot, n, sizeof *b->time_us);
    b->verdict = column(boot, n, sizeof *b->verdict);
    b->is_late = column(boot, n, sizeof *b->is_late);
    b->floor_us = column(boot, n, sizeof *b->floor_us);
    b->reason = column(boot, n, sizeof *b->reason);
    b->reason_field = column(boot, n, sizeof *b->reason_field);
    if (b->raw == NULL || b->stream == NULL || b->partition == NULL || b->offset == NULL ||
        b->arrival_us == NULL || b->time_us == NULL || b->verdict == NULL || b->is_late == NULL ||
        b->floor_us == NULL || b->reason == NULL || b->reason_field == NULL)
        return qn_err_set(err, QN_NOMEM, "no memory for a batch of %u rows", b->rows_max);
    for (size_t r = 0; r < n; r++)
        b->arrival_us[r] = QN_NO_ARRIVAL;
    preset(b, b->rows_max);
    return QN_OK;
}

/* What opening records takes, where there are any to be opened. */
static qn_status openers_init(struct qn_batch *b, struct qn_arena *boot,
                              const struct qn_schema *schemas, struct qn_err *err)
{
    bool is_needed = false;

    for (uint32_t i = 0; i < b->stream_count; i++)
        is_needed |= schemas[i].envelope != QN_ENVELOPE_NONE;
    if (!is_needed)
        return QN_OK;
    b->headers = column(boot, b->rows_max, sizeof *b->headers);
    b->openers = QN_NEW_N(boot, struct qn_opener *, b->arena_count);
    if (b->headers == NULL || b->openers == NULL)
        return qn_err_set(err, QN_NOMEM, "no memory to open envelopes");
    for (uint32_t i = 0; i < b->arena_count; i++)
        QN_TRY(qn_opener_new(&b->openers[i], err));
    return QN_OK;
}

qn_status qn_batch_init(struct qn_batch *b, struct qn_arena *boot, struct qn_schema *schemas,
                        uint32_t schema_count, uint32_t rows_max, uint32_t workers,
                        struct qn_err *err)
{
    QN_ASSERT(schema_count <= QN_STREAMS_MAX);
    QN_ASSERT(rows_max > 0 && rows_max <= QN_BATCH_ROWS_MAX);
    QN_ASSERT(workers > 0);
    *b = (struct qn_batch){.rows_max = rows_max, .stream_count = schema_count};
    for (uint32_t i = 0; i < schema_count; i++) {
        QN_ASSERT(schemas[i].field_count <= QN_FIELDS_MAX);
        schemas[i].first_column = b->col_count;
        b->col_count += schemas[i].field_count;
        QN_TRY(qn_contract_prepare(&schemas[i], boot, err));
    }
    b->cols = QN_NEW_N(boot, struct qn_col, b->col_count > 0 ? b->col_count : 1);
    b->arenas = QN_NEW_N(boot, struct qn_arena, workers);
    b->no_memory = QN_NEW_N(boot, uint8_t, workers);
    if (b->cols == NULL || b->arenas == NULL || b->no_memory == NULL)
        return qn_err_set(err, QN_NOMEM, "no memory for a batch of %u columns", b->col_count);
    for (uint32_t i = 0; i < schema_count; i++)
        for (uint32_t f = 0; f < schemas[i].field_count; f++)
            QN_TRY(qn_col_init(&b->cols[schemas[i].first_column + f], schemas[i].fields[f].kind,
                               rows_max, boot, err));
    QN_TRY(rows_init(b, boot, err));
    for (uint32_t i = 0; i < workers; i++)
        qn_arena_init(&b->arenas[i], 0);
    b->arena_count = workers;
    return openers_init(b, boot, schemas, err);
}

void qn_batch_fini(struct qn_batch *b)
{
    for (uint32_t i = 0; i < b->arena_count; i++)
        qn_arena_fini(&b->arenas[i]);
    for (uint32_t i = 0; b->openers != NULL && i < b->arena_count; i++)
        qn_opener_free(b->openers[i]);
    *b = (struct qn_batch){0};
}

void qn_batch_reset(struct qn_batch *b)
{
    QN_ASSERT(b->rows <= b->rows_max);
    preset(b, b->rows);
    if (b->stream_count > 1)
        for (uint32_t i = 0; i < b->col_count; i++)
            memset(b->cols[i].valid, 0, b->rows);
    for (uint32_t i = 0; i < b->arena_count; i++) {
        qn_arena_reset(&b->arenas[i]);
        b->no_memory[i] = 0;
    }
    b->rows = 0;
}

bool qn_batch_no_memory(const struct qn_batch *b)
{
    for (uint32_t i = 0; i < b->arena_count; i++)
        if (b->no_memory[i])
            return true;
    return false;
}
