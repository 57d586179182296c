/* SPDX-License-Identifier: Apache-2.0
 * infer_schema.c - decides what each field of a sample is: type, name, id, time, key.
 *
 * Deciding (decide_*) happens once, from the facts that infer_watch.c noted while the events went
 * by. Where nothing can be decided (no readable event, no time), the message says what would help.
 * Thread: main. Memory: infer_schema.h. */
#include "cli/infer_schema.h"

#include "cli/infer_int.h"

#include <stdio.h>

enum { MONEY_SAMPLE = 20 };

/* --- deciding --- */

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

static bool ends_with(struct qn_str s, const char *end)
{
    size_t n = strlen(end);

    return s.len >= n && memcmp(s.p + s.len - n, end, n) == 0;
}

/* True if one of the words (NULL-ended) stands in the name, whatever the case. */
static bool names_any(struct qn_str name, const char *const *words)
{
    for (; *words != NULL; words++) {
        size_t n = strlen(*words);

        for (uint32_t i = 0; i + n <= name.len; i++) {
            size_t k = 0;

            while (k < n && lower(name.p[i + k]) == (*words)[k])
                k++;
            if (k == n)
                return true;
        }
    }
    return false;
}

/* The last name of a path: what the value is called. */
static struct qn_str last_name(struct qn_str path)
{
    for (uint32_t i = path.len; i > 0; i--)
        if (path.p[i - 1] == '.')
            return (struct qn_str){path.p + i, path.len - i};
    return path;
}

static bool is_named_id(struct qn_str name)
{
    static const char *const words[] = {"uuid", "guid", NULL};

    return names_any(name, words) || ends_with(name, "_id") || ends_with(name, "_ID") ||
           ends_with(name, "Id") || (ends_with(name, "ID") && name.len > 2) ||
           ends_with(name, "_key") || qn_str_is(name, "id") || qn_str_is(name, "ID") ||
           qn_str_is(name, "key");
}

static bool is_named_who(struct qn_str name)
{
    static const char *const words[] = {"customer", "user",    "account", "client",  "member",
                                        "patient",  "device",  "machine", "sensor",  "card",
                                        "vehicle",  "session", "host",    "station", "person",
                                        "driver",   "player",  "symbol",  NULL};

    return names_any(name, words);
}

static bool is_named_money(struct qn_str name)
{
    static const char *const words[] = {"amount",  "price",   "cost",   "total", "fee",
                                        "balance", "revenue", "salary", "tax",   "charge",
                                        "payment", "usd",     "eur",    NULL};

    return names_any(name, words);
}

static bool is_named_time(struct qn_str name)
{
    static const char *const words[] = {"time",    "date",    "stamp",    "epoch",
                                        "created", "updated", "occurred", NULL};

    return names_any(name, words) || ends_with(name, "_at") || ends_with(name, "At") ||
           qn_str_is(name, "ts") || ends_with(name, "_ts") || qn_str_is(name, "t") ||
           qn_str_is(name, "at");
}

/* Numbers: whole ones, amounts of money as exact decimals, the rest doubles. */
static struct qn_kind decide_number(const struct infer_watch *w, bool is_money)
{
    bool is_whole = (w->kinds & SAW_NUMBER) == 0;
    bool has_cents =
        w->values >= MONEY_SAMPLE && w->decimals == 2 && w->with_cents * 2 >= w->values;

    if ((is_money && w->decimals <= INFER_DECIMALS_MAX) || (!is_whole && has_cents))
        return (struct qn_kind){QN_DECIMAL, (uint8_t)(w->decimals < 2 ? 2 : w->decimals)};
    return (struct qn_kind){is_whole ? QN_INT64 : QN_DOUBLE, 0};
}

/* Type of a field, or why it has none. */
static void decide_kind(const struct qn_infer *inf, const struct infer_watch *w,
                        struct qn_infer_field *f)
{
    struct qn_str name = last_name(w->path);
    uint32_t kinds = w->kinds, numbers = SAW_INT | SAW_NUMBER;
    bool is_mixed = kinds != SAW_BOOL && kinds != SAW_TEXT && (kinds & ~numbers) != 0;

    f->kind = (struct qn_kind){QN_STRING, 0};
    if (w->is_unwritable)
        f->skipped = "its name cannot be written as a path";
    else if (kinds == 0)
        f->skipped = "null in every event of the sample";
    else if (inf->is_csv &&
             (f->is_named_id || is_mixed || (kinds == SAW_TEXT && w->has_other_text)))
        return; /* a column is text as soon as one cell needs it, and names are text */
    else if (kinds & SAW_OBJECT)
        f->skipped = "sometimes an object, sometimes not";
    else if (kinds & SAW_OTHER_LIST)
        f->skipped = "a list of other things than numbers";
    else if (kinds & SAW_HUGE)
        f->skipped = "numbers that no type holds";
    else if (kinds == SAW_BOOL)
        f->kind.type = QN_BOOL;
    else if (kinds == SAW_LIST)
        f->kind.type = QN_LIST;
    else if (kinds == SAW_TEXT && !w->has_other_text)
        f->kind.type = QN_TIMESTAMP;
    else if ((kinds & ~numbers) == 0 && w->unit > 0 && is_named_time(name))
        f->kind.type = QN_TIMESTAMP, f->unit = (enum qn_time_unit)w->unit;
    else if ((kinds & ~numbers) == 0)
        f->kind = decide_number(w, is_named_money(name) && !f->is_named_id);
    else if (kinds != SAW_TEXT)
        f->skipped = "values of different types";
}

/* Without any time so far: a number that only ever grows and has the size of an epoch is one. */
static void decide_hidden_time(const struct qn_infer *inf, struct qn_inferred *out)
{
    for (uint32_t i = 0; i < out->field_count; i++)
        if (out->fields[i].kind.type == QN_TIMESTAMP && out->fields[i].skipped == NULL &&
            !out->fields[i].is_optional)
            return;
    for (uint32_t i = 0; i < out->field_count; i++) {
        struct qn_infer_field *f = &out->fields[i];
        const struct infer_watch *w = &inf->watch[i];

        if (f->skipped == NULL && w->unit > 0 && w->is_sorted && !f->is_optional &&
            (f->kind.type == QN_INT64 || f->kind.type == QN_DOUBLE)) {
            f->kind = (struct qn_kind){QN_TIMESTAMP, 0};
            f->unit = (enum qn_time_unit)w->unit;
            return;
        }
    }
}

/* The time of the event: one of these names first, then one in which the events are sorted, then
 * the first. */
static int32_t decide_time(const struct qn_inferred *in)
{
    static const char *const usual[] = {"time",      "timestamp",  "ts",        "event_time",
                                        "eventTime", "created_at", "createdAt", "occurred_at",
                                        "datetime",  "date",       "@timestamp"};
    int32_t best = -1, best_rank = -1;

    for (uint32_t i = 0; i < in->field_count; i++) {
        const struct qn_infer_field *f = &in->fields[i];
        int32_t rank = 2 * f->is_sorted;

        if (f->skipped != NULL || f->kind.type != QN_TIMESTAMP || f->is_optional)
            continue;
        for (size_t k = 0; k < sizeof(usual) / sizeof(usual[0]); k++)
            rank += qn_str_is(last_name(f->from), usual[k]);
        if (rank > best_rank) {
            best = (int32_t)i;
            best_rank = rank;
        }
    }
    return best;
}

/* id: never repeats and is named so; who acts is rather the key. */
static int32_t decide_id(const struct qn_inferred *in)
{
    int32_t best = -1, best_rank = -1;

    for (uint32_t i = 0; i < in->field_count; i++) {
        const struct qn_infer_field *f = &in->fields[i];
        int32_t rank =
            (qn_str_is(f->from, "id") || qn_str_is(f->from, "event_id")) + 2 * !f->is_named_who;

        if (f->skipped != NULL || f->is_optional || !f->is_unique || !f->is_named_id ||
            (f->kind.type != QN_STRING && f->kind.type != QN_INT64) || rank <= best_rank)
            continue;
        best = (int32_t)i;
        best_rank = rank;
    }
    return best;
}

/* key: repeats and is named so. */
static int32_t decide_key(const struct qn_inferred *in)
{
    int32_t best = -1, best_rank = -1;

    for (uint32_t i = 0; i < in->field_count; i++) {
        const struct qn_infer_field *f = &in->fields[i];
        int32_t rank = 4 * (!f->is_unique) + 2 * f->is_named_who + (f->distinct > 1);

        if (f->skipped != NULL || f->is_optional || (int32_t)i == in->id ||
            !(f->is_named_id || f->is_named_who) ||
            (f->kind.type != QN_STRING && f->kind.type != QN_INT64) || rank <= best_rank)
            continue;
        best = (int32_t)i;
        best_rank = rank;
    }
    return best;
}

const char *qn_infer_name(struct qn_arena *arena, struct qn_str text)
{
    static const char *const words[] = {
        "and", "or", "not", "in",   "is",      "if",        "true",  "false", "null", "where",
        "of",  "by", "all", "over", "delayed", "excluding", "every", "score", NULL};
    char *name = qn_arena_alloc(arena, text.len + 4);
    uint32_t n = 0;

    if (name == NULL)
        return NULL;
    for (uint32_t i = 0; i < text.len && n < 100; i++) {
        char c = text.p[i];
        bool is_letter = (lower(c) >= 'a' && lower(c) <= 'z') || c == '_';
        bool is_digit = c >= '0' && c <= '9';

        if (is_digit && n == 0)
            name[n++] = '_';
        if (is_letter || is_digit)
            name[n++] = c;
        else if (n > 0 && name[n - 1] != '_')
            name[n++] = '_';
    }
    while (n > 1 && name[n - 1] == '_')
        n--;
    if (n == 0)
        name[n++] = 'f';
    for (size_t k = 0; words[k] != NULL; k++)
        if (strlen(words[k]) == n && strncasecmp(name, words[k], n) == 0) {
            name[n++] = '_';
            break;
        }
    name[n] = '\0';
    return name;
}

const char *qn_infer_pipeline_name(struct qn_arena *arena, struct qn_str text)
{
    char *name = qn_arena_alloc(arena, text.len + 9);
    uint32_t n = 0;

    if (name == NULL)
        return NULL;
    for (uint32_t i = 0; i < text.len && n < 100; i++) {
        char c = lower(text.p[i]);

        if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'))
            name[n++] = c;
        else if (n > 0 && name[n - 1] != '-')
            name[n++] = '-';
    }
    while (n > 0 && name[n - 1] == '-')
        n--;
    memcpy(name + n, "pipeline", n == 0 ? 9 : 0);
    name[n == 0 ? 8 : n] = '\0';
    return name;
}

/* Names that are ours and differ from each other. */
static qn_status decide_names(const struct qn_infer *inf, struct qn_inferred *out,
                              struct qn_err *err)
{
    for (uint32_t i = 0; i < out->field_count; i++) {
        struct qn_infer_field *f = &out->fields[i];
        const char *name = qn_infer_name(inf->arena, f->from);
        char *again;

        if (name == NULL)
            return infer_no_memory(err);
        f->name = qn_str_of(name);
        for (uint32_t k = 0, tries = 2; k < i; k++) {
            if (!qn_str_eq(out->fields[k].name, f->name))
                continue;
            again = qn_arena_alloc(inf->arena, strlen(name) + 12);
            if (again == NULL)
                return infer_no_memory(err);
            snprintf(again, strlen(name) + 12, "%s_%u", name, tries++);
            f->name = qn_str_of(again);
            k = UINT32_MAX; /* from the start: the new name may be taken as well */
        }
    }
    return QN_OK;
}

static void decide_field(const struct qn_infer *inf, const struct infer_watch *w,
                         struct qn_infer_field *f)
{
    struct qn_str name = last_name(w->path);
    uint64_t good = inf->events - inf->broken;

    *f =
        (struct qn_infer_field){.from = w->path, .values = w->values, .min = w->min, .max = w->max};
    f->is_named_id = is_named_id(name);
    f->is_named_who = is_named_who(name);
    f->is_optional = w->values < good;
    f->is_sorted = w->is_sorted;
    f->disorder_us = w->disorder_us;
    f->is_unique = !w->distinct.has_repeat;
    f->distinct = w->distinct.count;
    f->example_count = w->example_count;
    memcpy(f->example, w->example, sizeof(f->example));
    decide_kind(inf, w, f);
}

qn_status qn_infer_finish(struct qn_infer *inf, struct qn_inferred *out, struct qn_err *err)
{
    *out = (struct qn_inferred){.id = -1, .time = -1, .key = -1, .fields_ignored = inf->ignored};
    out->events = inf->events;
    out->broken = inf->broken;
    out->format = inf->is_csv ? QN_FORMAT_CSV : QN_FORMAT_NDJSON;
    out->fields = QN_NEW_N(inf->arena, struct qn_infer_field, inf->count + 1);
    if (out->fields == NULL)
        return infer_no_memory(err);
    out->field_count = inf->count;
    for (uint32_t i = 0; i < inf->count; i++)
        decide_field(inf, &inf->watch[i], &out->fields[i]);
    decide_hidden_time(inf, out);
    QN_TRY(decide_names(inf, out, err));
    out->time = decide_time(out);
    out->id = decide_id(out);
    out->key = decide_key(out);
    return QN_OK;
}

/* --- a whole file --- */

enum { READ_ROWS = 256 };

/* Nothing in the file could be read: what the first event looked like decides about the advice. */
static qn_status nothing_readable(const struct qn_infer *inf, const char *path, struct qn_err *err)
{
    const char *advice = "expected one JSON object a line";
    char begins = inf->broken_len > 0 ? inf->broken_text[0] : '\0';

    if (inf->is_csv)
        advice = "expected records with as many cells as the header";
    else if (begins == '[')
        advice =
            "a JSON array is not a stream: write one object a line, for example with jq -c '.[]'";
    else if (begins == '{')
        advice = "expected one whole JSON object a line, for example with jq -c .";
    else if (memchr(inf->broken_text, '\t', inf->broken_len) != NULL)
        advice = "expected one JSON object a line; cells between tabs must become CSV first: tr "
                 "'\\t' ','";
    else if (memchr(inf->broken_text, ',', inf->broken_len) != NULL)
        advice = "expected one JSON object a line; if this is CSV with a header, say --format csv";
    qn_err_set(err, QN_INVALID, "%s; %s", inf->broken_why, advice);
    return qn_err_at(err, path, inf->is_csv ? 2 : 1, 0);
}

static qn_status no_time(const struct qn_inferred *in, const char *path, struct qn_err *err)
{
    for (uint32_t i = 0; i < in->field_count; i++) {
        const struct qn_infer_field *f = &in->fields[i];

        if (!is_named_time(last_name(f->from)) || f->example_count == 0)
            continue;
        if (f->kind.type == QN_TIMESTAMP && f->skipped == NULL)
            qn_err_set(err, QN_INVALID,
                       "no field can be the time of the events: '%.*s' is missing in %llu of %llu, "
                       "and an event needs a time",
                       QN_STR_ARG(f->from),
                       (unsigned long long)(in->events - in->broken - f->values),
                       (unsigned long long)(in->events - in->broken));
        else
            qn_err_set(err, QN_INVALID,
                       "no field can be the time of the events: '%.*s' has '%.*s', expected "
                       "2018-04-01T00:00:31Z, "
                       "2018-04-01 00:00:31 or a number since 1970 in s, ms, us or ns",
                       QN_STR_ARG(f->from), QN_STR_ARG(f->example[0]));
        return qn_err_at(err, path, 0, 0);
    }
    qn_err_set(err, QN_INVALID,
               "no field can be the time of the events: expected one that is always there, such as "
               "2018-04-01T00:00:31Z, "
               "2018-04-01 00:00:31 or a number since 1970 in s, ms, us or ns");
    return qn_err_at(err, path, 0, 0);
}

/* Feeds events until the end, the limit or the stop flag. */
static qn_status feed(struct qn_infer *inf, struct qn_log_file *log,
                      const struct qn_infer_source *src, struct qn_err *err)
{
    uint64_t left = src->events_max > 0 ? src->events_max : UINT64_MAX;
    enum qn_flow flow = QN_MORE;

    while (flow != QN_END && left > 0) {
        struct qn_record records[READ_ROWS];
        const char *why;
        uint32_t count;

        if (src->stop != NULL && *src->stop)
            return qn_err_set(err, QN_INTERRUPTED, "interrupted");
        QN_TRY(qn_log_file_read(log, records, left < READ_ROWS ? (uint32_t)left : READ_ROWS, true,
                                &count, &flow, err));
        for (uint32_t i = 0; i < count; i++)
            QN_TRY(inf->is_csv ? qn_infer_csv(inf, records[i].raw, &why, err)
                               : qn_infer_json(inf, records[i].raw, &why, err));
        left -= count;
        qn_log_file_release(log);
    }
    return QN_OK;
}

qn_status qn_infer_file(const struct qn_infer_source *src, struct qn_arena *arena,
                        struct qn_inferred *out, struct qn_err *err)
{
    struct qn_log_file *log = NULL;
    struct qn_infer *inf = NULL;
    struct qn_str header;
    qn_status rc;

    rc = qn_infer_new(arena, &inf, err);
    if (rc == QN_OK)
        rc = qn_log_file_open(src->files, src->path, src->format, &log, err);
    if (rc == QN_OK && qn_log_file_format(log) == QN_FORMAT_CSV) {
        rc = qn_log_file_header(log, &header, err);
        if (rc == QN_OK && (rc = qn_infer_csv_header(inf, header, err)) == QN_INVALID)
            qn_err_at(err, src->path, 1, 0);
    }
    if (rc == QN_OK)
        rc = feed(inf, log, src, err);
    if (rc == QN_OK)
        rc = qn_infer_finish(inf, out, err);
    if (rc == QN_OK) {
        out->is_whole = src->events_max == 0 || out->events < src->events_max;
        if (out->events > 0 && out->events == out->broken) {
            rc = nothing_readable(inf, src->path, err);
        } else if (out->events == 0) {
            qn_err_set(err, QN_INVALID, "no events in it: a spec is made from examples");
            rc = qn_err_at(err, src->path, 0, 0);
        } else if (out->time < 0) {
            rc = no_time(out, src->path, err);
        }
    }
    qn_log_file_close(log);
    qn_infer_free(inf);
    return rc;
}
