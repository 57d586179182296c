/* SPDX-License-Identifier: Apache-2.0
 * status_read.c - reads the status of a pipeline by tables: a row is a member, where it goes and
 * how. An object has a table of its own; its members may lie anywhere in the struct around it.
 *
 * The depth of the reading is that of the tables, whatever the document holds. Thread: the
 * caller's. Memory: the caller's arena. */
#include "cli/status_read.h"

#include "base/json.h"

const char *const qn_seen_stages[QN_SEEN_STAGES] = {"read",  "decode", "contract", "features",
                                                    "score", "route",  "commit"};

enum member_kind { TEXT, NUMBER, FLAG, OBJECT, LIST, NUMBERS };

struct member {
    const char *name; /* NULL ends the table */
    enum member_kind kind;
    uint32_t at;             /* bytes into the struct that the table fills; OBJECT: not used    */
    const struct member *of; /* OBJECT: fills the same struct; LIST: fills one item             */
    uint32_t count_at;       /* LIST, NUMBERS: of the uint32_t with how many there are          */
    uint32_t size, max;      /* LIST, NUMBERS: bytes of an item, most items                     */
};

#define AT(type, field, kind_) .kind = kind_, .at = offsetof(struct qn_seen_##type, field)
#define ITEMS(field, table)                                                                        \
    .kind = LIST, .at = offsetof(struct qn_seen_status, field##s), .of = table,                    \
    .count_at = offsetof(struct qn_seen_status, field##_count),                                    \
    .size = sizeof(struct qn_seen_##field), .max = QN_SEEN_ITEMS
#define STAGE(i) AT(status, stage_ns[i], NUMBER)

static const struct member stream_members[] = {
    {"name", AT(stream, name, TEXT)},
    {"read", AT(stream, read, NUMBER)},
    {"scored", AT(stream, scored, NUMBER)},
    {"late", AT(stream, late, NUMBER)},
    {"dead", AT(stream, dead, NUMBER)},
    {"shed", AT(stream, shed, NUMBER)},
    {"backlog", AT(stream, backlog, NUMBER)},
    {"rate", AT(stream, rate, NUMBER)},
    {NULL},
};
static const struct member reason_members[] = {
    {"stream", AT(reason, stream, TEXT)},
    {"reason", AT(reason, reason, TEXT)},
    {"count", AT(reason, count, NUMBER)},
    {NULL},
};
static const struct member output_members[] = {
    {"name", AT(output, name, TEXT)},
    {"when", AT(output, when, TEXT)},
    {"records", AT(output, records, NUMBER)},
    {"rate", AT(output, rate, NUMBER)},
    {NULL},
};
static const struct member sink_members[] = {
    {"name", AT(sink, name, TEXT)},
    {"kind", AT(sink, kind, TEXT)},
    {"state", AT(sink, state, TEXT)},
    {"detail", AT(sink, detail, TEXT)},
    {"lag", AT(sink, lag, NUMBER)},
    {"delivered", AT(sink, delivered, NUMBER)},
    {"failed", AT(sink, failed, NUMBER)},
    {"dead", AT(sink, dead, NUMBER)},
    {NULL},
};
static const struct member source_members[] = {
    {"name", AT(source, name, TEXT)},         {"kind", AT(source, kind, TEXT)},
    {"state", AT(source, state, TEXT)},       {"detail", AT(source, detail, TEXT)},
    {"records", AT(source, records, NUMBER)}, {NULL},
};
static const struct member model_members[] = {
    {"name", AT(model, name, TEXT)},
    {"version", AT(model, version, TEXT)},
    {"format", AT(model, format, TEXT)},
    {"kernel", AT(model, kernel, TEXT)},
    {"trees", AT(model, trees, NUMBER)},
    {"in_use", AT(model, in_use, FLAG)},
    {NULL},
};
static const struct member progress_members[] = {
    {"done", AT(status, done, NUMBER)}, {"total", AT(status, total, NUMBER)}, {NULL}};
static const struct member age_members[] = {
    {"p50", AT(status, age_p50, NUMBER)},
    {"p90", AT(status, age_p90, NUMBER)},
    {"p99", AT(status, age_p99, NUMBER)},
    {NULL},
};
static const struct member score_members[] = {
    {"count", AT(status, score_count, NUMBER)},
    {"mean", AT(status, score_mean, NUMBER)},
    {"bins", AT(status, bins, NUMBERS), .count_at = offsetof(struct qn_seen_status, bin_count),
     .size = sizeof(double), .max = QN_SEEN_BINS},
    {NULL},
};
static const struct member stage_members[] = {
    {"read", STAGE(0)},  {"decode", STAGE(1)}, {"contract", STAGE(2)}, {"features", STAGE(3)},
    {"score", STAGE(4)}, {"route", STAGE(5)},  {"commit", STAGE(6)},   {NULL},
};
static const struct member sync_members[] = {
    {"p50", AT(status, log.sync_p50, NUMBER)}, {"p99", AT(status, log.sync_p99, NUMBER)}, {NULL}};
static const struct member log_members[] = {
    {"bytes", AT(status, log.bytes, NUMBER)},
    {"segments", AT(status, log.segments, NUMBER)},
    {"end_lsn", AT(status, log.end_lsn, NUMBER)},
    {"full", AT(status, log.full, FLAG)},
    {"sync_ms", .kind = OBJECT, .of = sync_members},
    {"syncs_per_s", AT(status, log.syncs_per_s, NUMBER)},
    {NULL},
};
static const struct member snapshot_members[] = {
    {"age_s", AT(status, snapshot.age_s, NUMBER)},
    {"bytes", AT(status, snapshot.bytes, NUMBER)},
    {"duration_ms", AT(status, snapshot.duration_ms, NUMBER)},
    {"pause_ms", AT(status, snapshot.pause_ms, NUMBER)},
    {"count", AT(status, snapshot.count, NUMBER)},
    {NULL},
};
static const struct member state_members[] = {
    {"keys", AT(status, keys, NUMBER)}, {"bytes", AT(status, key_bytes, NUMBER)}, {NULL}};
static const struct member process_members[] = {
    {"rss_bytes", AT(status, rss_bytes, NUMBER)},
    {"cpu_s", AT(status, cpu_s, NUMBER)},
    {"fds", AT(status, fds, NUMBER)},
    {NULL},
};
static const struct member status_members[] = {
    {"pipeline", AT(status, pipeline, TEXT)},
    {"spec", AT(status, spec, TEXT)},
    {"version", AT(status, version, TEXT)},
    {"phase", AT(status, phase, TEXT)},
    {"detail", AT(status, detail, TEXT)},
    {"now", AT(status, now, TEXT)},
    {"newest_event", AT(status, newest_event, TEXT)},
    {"uptime_s", AT(status, uptime_s, NUMBER)},
    {"progress", .kind = OBJECT, .of = progress_members},
    {"age_ms", .kind = OBJECT, .of = age_members},
    {"scores", .kind = OBJECT, .of = score_members},
    {"stages_ns", .kind = OBJECT, .of = stage_members},
    {"log", .kind = OBJECT, .of = log_members},
    {"snapshot", .kind = OBJECT, .of = snapshot_members},
    {"state", .kind = OBJECT, .of = state_members},
    {"process", .kind = OBJECT, .of = process_members},
    {"streams", ITEMS(stream, stream_members)},
    {"reasons", ITEMS(reason, reason_members)},
    {"outputs", ITEMS(output, output_members)},
    {"sinks", ITEMS(sink, sink_members)},
    {"sources", ITEMS(source, source_members)},
    {"models", ITEMS(model, model_members)},
    {NULL},
};

/* Numbers become NaN: not there. */
static void forget(const struct member *table, char *into)
{
    for (const struct member *m = table; m->name != NULL; m++) {
        if (m->kind == NUMBER)
            *(double *)(void *)(into + m->at) = __builtin_nan("");
        else if (m->kind == OBJECT)
            forget(m->of, into);
    }
}

static double number_of(const struct qn_json_reader *r)
{
    double v = qn_number_double(&r->number);

    return v > -1e300 && v < 1e300 ? v : __builtin_nan("");
}

static bool read_object(struct qn_json_reader *r, const struct member *table, char *into);

static bool read_list(struct qn_json_reader *r, const struct member *m, char *into)
{
    uint32_t *count = (uint32_t *)(void *)(into + m->count_at);
    enum qn_json_kind kind;

    *count = 0;
    while ((kind = qn_json_next(r)) != QN_JSON_CLOSE) {
        char *item = into + m->at + (size_t)*count * m->size;
        bool good = true;

        if (*count < m->max && m->kind == LIST && kind == QN_JSON_OBJECT) {
            memset(item, 0, m->size);
            forget(m->of, item);
            good = read_object(r, m->of, item);
            ++*count;
        } else if (*count < m->max && m->kind == NUMBERS && kind == QN_JSON_NUMBER) {
            *(double *)(void *)item = number_of(r);
            ++*count;
        } else {
            good = qn_json_skip(r, kind);
        }
        if (!good)
            return false;
    }
    return true;
}

/* One member whose name the table knows; of another kind than expected it is skipped. */
static bool read_member(struct qn_json_reader *r, const struct member *m, enum qn_json_kind kind,
                        char *into)
{
    if (m->kind == TEXT && kind == QN_JSON_STRING)
        *(struct qn_str *)(void *)(into + m->at) = r->text;
    else if (m->kind == NUMBER && kind == QN_JSON_NUMBER)
        *(double *)(void *)(into + m->at) = number_of(r);
    else if (m->kind == FLAG && (kind == QN_JSON_TRUE || kind == QN_JSON_FALSE))
        *(bool *)(void *)(into + m->at) = kind == QN_JSON_TRUE;
    else if (m->kind == OBJECT && kind == QN_JSON_OBJECT)
        return read_object(r, m->of, into);
    else if ((m->kind == LIST || m->kind == NUMBERS) && kind == QN_JSON_ARRAY)
        return read_list(r, m, into);
    else
        return qn_json_skip(r, kind);
    return true;
}

/* The members of an object that has been opened, and its end. */
static bool read_object(struct qn_json_reader *r, const struct member *table, char *into)
{
    enum qn_json_kind kind;

    while ((kind = qn_json_next(r)) != QN_JSON_CLOSE) {
        const struct member *m = table;

        if (kind == QN_JSON_ERROR || kind == QN_JSON_END)
            return false;
        while (m->name != NULL && !qn_str_is(r->key, m->name))
            m++;
        if (!(m->name != NULL ? read_member(r, m, kind, into) : qn_json_skip(r, kind)))
            return false;
    }
    return true;
}

qn_status qn_seen_status_read(struct qn_str json, struct qn_arena *arena,
                              struct qn_seen_status *out, struct qn_err *err)
{
    struct qn_json_reader r;
    enum qn_json_kind kind;

    *out = (struct qn_seen_status){.bin_count = 0};
    forget(status_members, (char *)out);
    qn_json_open(&r, json, arena);
    kind = qn_json_next(&r);
    if (kind == QN_JSON_OBJECT && read_object(&r, status_members, (char *)out) &&
        qn_json_next(&r) == QN_JSON_END)
        return QN_OK;
    *out = (struct qn_seen_status){.bin_count = 0};
    forget(status_members, (char *)out);
    if (kind != QN_JSON_OBJECT && kind != QN_JSON_ERROR)
        return qn_err_set(err, QN_INVALID, "a status is a JSON object");
    return qn_err_set(err, QN_INVALID, "byte %zu: %s", qn_json_offset(&r),
                      r.error != NULL ? r.error : "a status is one JSON object");
}
