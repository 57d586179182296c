/* SPDX-License-Identifier: Apache-2.0
 * infer_schema.c - watches events go by and decides what each field is.
 *
 * Watching (watch_*) only notes facts of every value: kinds seen, decimals needed, whether all
 * texts are times, how many different values. Deciding (decide_*) happens once, from the facts.
 * Thread: main. Memory: infer_schema.h. */
#include "cli/infer_schema.h"

#include "base/check.h"
#include "base/hash.h"
#include "base/json.h"
#include "event/decode.h"

#include <stdio.h>

enum kind_bit {
    SAW_BOOL = 1,
    SAW_INT = 2,    /* a number without fraction that fits int64 */
    SAW_NUMBER = 4, /* any other number                          */
    SAW_TEXT = 8,
    SAW_LIST = 16, /* of numbers */
    SAW_OTHER_LIST = 32,
    SAW_OBJECT = 64,
    SAW_HUGE = 128, /* a number beyond double */
};

enum { DECIMALS_MAX = 4, MONEY_SAMPLE = 20, BROKEN_BYTES = 80 };

/* Hashes of the values seen; open addressing, 0 stands for "empty" (a hash of 0 is counted as 1).
 */
struct distinct {
    uint64_t *slot;
    uint64_t cap, count;
    bool is_full; /* counting has stopped */
    bool has_repeat;
};

/* Facts of one field. */
struct watch {
    struct qn_str path;
    bool is_unwritable; /* a name on the path cannot stand in `from` */
    uint32_t kinds;     /* enum kind_bit */
    uint64_t values;
    uint64_t last_event; /* 1 + number of the last event with a value */
    unsigned decimals;   /* most decimals of a number; DECIMALS_MAX + 1 = more */
    uint64_t with_cents; /* numbers that need exactly two decimals */
    double min, max;
    bool has_other_text; /* a text that is no time */
    int unit; /* of numbers as epochs: enum qn_time_unit; 0 = not a time, -1 = none seen yet */
    int64_t newest_us, disorder_us;
    bool has_time, is_sorted;
    struct distinct distinct;
    struct qn_str example[QN_INFER_EXAMPLES];
    uint32_t example_count;
};

struct qn_infer {
    struct qn_arena *arena;  /* the caller's: names, examples, result */
    struct qn_arena scratch; /* one event                             */
    struct watch *watch;     /* [QN_INFER_FIELDS_MAX]                 */
    uint32_t count, cursor;  /* fields known; where the next one is likely */
    uint32_t ignored;
    uint64_t events, broken;
    const char *broken_why; /* of the first broken event, and how it begins */
    char broken_text[BROKEN_BYTES];
    uint32_t broken_len;
    bool is_csv;
    uint32_t column_count; /* CSV: cells of the header */
};

qn_status qn_infer_new(struct qn_arena *arena, struct qn_infer **out, struct qn_err *err)
{
    struct qn_infer *inf = qn_mem_zalloc(1, sizeof(*inf));

    *out = NULL;
    if (inf != NULL)
        inf->watch = qn_mem_zalloc(QN_INFER_FIELDS_MAX, sizeof(*inf->watch));
    if (inf == NULL || inf->watch == NULL) {
        qn_infer_free(inf);
        return qn_err_set(err, QN_NOMEM, "out of memory for the sample");
    }
    inf->arena = arena;
    qn_arena_init(&inf->scratch, 0);
    *out = inf;
    return QN_OK;
}

void qn_infer_free(struct qn_infer *inf)
{
    if (inf == NULL)
        return;
    for (uint32_t i = 0; inf->watch != NULL && i < inf->count; i++)
        qn_mem_free(inf->watch[i].distinct.slot);
    qn_mem_free(inf->watch);
    qn_arena_fini(&inf->scratch);
    qn_mem_free(inf);
}

/* --- different values --- */

static bool distinct_grow(struct distinct *d)
{
    uint64_t cap = d->cap == 0 ? 64 : d->cap * 2;
    uint64_t *slot = qn_mem_zalloc(cap, sizeof(*slot));

    if (slot == NULL)
        return false;
    for (uint64_t i = 0; i < d->cap; i++) {
        uint64_t at = d->slot[i] & (cap - 1);

        if (d->slot[i] == 0)
            continue;
        while (slot[at] != 0)
            at = (at + 1) & (cap - 1);
        slot[at] = d->slot[i];
    }
    qn_mem_free(d->slot);
    d->slot = slot;
    d->cap = cap;
    return true;
}

/* False when out of memory. *is_new: this value was not seen before (and counting has not stopped).
 */
static bool distinct_add(struct distinct *d, struct qn_str value, bool *is_new)
{
    uint64_t h = qn_hash(value.p, value.len, 0), at;

    *is_new = false;
    if (d->is_full)
        return true;
    if (d->count * 2 >= d->cap && !distinct_grow(d))
        return false;
    h = h == 0 ? 1 : h;
    for (at = h & (d->cap - 1); d->slot[at] != 0; at = (at + 1) & (d->cap - 1))
        if (d->slot[at] == h) {
            d->has_repeat = true;
            return true;
        }
    d->slot[at] = h;
    d->count++;
    d->is_full = d->count == QN_INFER_DISTINCT_MAX;
    *is_new = true;
    return true;
}

/* --- watching --- */

static qn_status no_memory(struct qn_err *err)
{
    return qn_err_set(err, QN_NOMEM, "out of memory for the sample");
}

/* The field of that path; *w is NULL when there are too many. Events usually name their fields in
 * the same order. */
static qn_status watch_find(struct qn_infer *inf, struct qn_str path, bool is_unwritable,
                            struct watch **w, struct qn_err *err)
{
    const char *copy;

    for (uint32_t k = 0; k < inf->count; k++) {
        uint32_t i = (inf->cursor + k) % inf->count;

        *w = &inf->watch[i];
        if (qn_str_eq((*w)->path, path) && (*w)->is_unwritable == is_unwritable) {
            inf->cursor = i + 1;
            return QN_OK;
        }
    }
    *w = NULL;
    if (inf->count == QN_INFER_FIELDS_MAX) {
        inf->ignored++;
        return QN_OK;
    }
    copy = qn_arena_strdup(inf->arena, path.len > 0 ? path.p : "", path.len);
    if (copy == NULL)
        return no_memory(err);
    *w = &inf->watch[inf->count++];
    **w = (struct watch){
        .path = {copy, path.len}, .is_unwritable = is_unwritable, .unit = -1, .is_sorted = true};
    inf->cursor = inf->count;
    return QN_OK;
}

/* A value is there: counts it, its text among the different ones. */
static qn_status watch_value(struct qn_infer *inf, struct watch *w, enum kind_bit kind,
                             struct qn_str text, struct qn_err *err)
{
    bool is_new;

    w->kinds |= kind;
    if (w->last_event != inf->events + 1) {
        w->last_event = inf->events + 1;
        w->values++;
    }
    if (!distinct_add(&w->distinct, text, &is_new))
        return no_memory(err);
    if (is_new && w->example_count < QN_INFER_EXAMPLES) {
        uint32_t len = text.len < QN_INFER_EXAMPLE_BYTES ? text.len : QN_INFER_EXAMPLE_BYTES;
        const char *copy;

        while (len < text.len && len > 0 && ((unsigned char)text.p[len] & 0xC0) == 0x80)
            len--;
        copy = qn_arena_strdup(inf->arena, text.len > 0 ? text.p : "", len);
        if (copy == NULL)
            return no_memory(err);
        w->example[w->example_count++] = (struct qn_str){copy, len};
    }
    return QN_OK;
}

static void watch_time(struct watch *w, int64_t us)
{
    if (w->has_time && us < w->newest_us) {
        w->is_sorted = false;
        if (w->newest_us - us > w->disorder_us)
            w->disorder_us = w->newest_us - us;
        return;
    }
    w->newest_us = us;
    w->has_time = true;
}

/* Which epoch a number can be, by its size: from 2001 to 2096 the four units do not overlap. */
static int epoch_unit(double v)
{
    static const double from = 1e9, end = 4e9;

    for (int unit = QN_TIME_S, scale = 0; unit <= QN_TIME_NS; unit++, scale++) {
        double size = scale == 0 ? 1 : scale == 1 ? 1e3 : scale == 2 ? 1e6 : 1e9;

        if (v >= from * size && v < end * size)
            return unit;
    }
    return 0;
}

static void watch_number(struct watch *w, const struct qn_decimal_text *d, uint32_t *kind)
{
    static const double to_us[] = {
        [QN_TIME_S] = 1e6, [QN_TIME_MS] = 1e3, [QN_TIME_US] = 1, [QN_TIME_NS] = 1e-3};
    double v = qn_number_double(d);
    unsigned decimals = 0;
    int64_t scaled;
    int unit;

    *kind = d->is_integer && qn_number_scaled(d, 0, &scaled) ? SAW_INT : SAW_NUMBER;
    if (__builtin_isinf(v)) {
        *kind = SAW_HUGE;
        return;
    }
    if (w->values == 0 || v < w->min)
        w->min = v;
    if (w->values == 0 || v > w->max)
        w->max = v;
    while (decimals <= DECIMALS_MAX && !qn_number_scaled(d, decimals, &scaled))
        decimals++;
    if (decimals <= DECIMALS_MAX && !qn_number_scaled(d, DECIMALS_MAX, &scaled))
        decimals = DECIMALS_MAX + 1; /* it would not fit beside others with more decimals */
    w->decimals = decimals > w->decimals ? decimals : w->decimals;
    w->with_cents += decimals == 2;
    unit = epoch_unit(v);
    w->unit = w->unit == -1 || w->unit == unit ? unit : 0;
    if (w->unit > 0)
        watch_time(w, (int64_t)(v * to_us[w->unit]));
}

static void watch_text(struct watch *w, struct qn_str text)
{
    int64_t us;

    if (!w->has_other_text && qn_timestamp_parse(text, &us))
        watch_time(w, us);
    else
        w->has_other_text = true;
}

/* Counts an event that cannot be read; the first one is remembered for the message. */
static void watch_broken(struct qn_infer *inf, struct qn_str raw, const char *why)
{
    if (inf->broken == 0) {
        inf->broken_why = why;
        inf->broken_len = raw.len < BROKEN_BYTES ? raw.len : BROKEN_BYTES;
        memcpy(inf->broken_text, raw.p, inf->broken_len);
    }
    inf->broken++;
    inf->events++;
}

/* --- JSON events --- */

/* Where in an event the reader stands: names joined by dots, and where each level's part begins. */
struct place {
    struct qn_buf path;
    size_t start[QN_JSON_DEPTH_MAX];
    bool is_unwritable[QN_JSON_DEPTH_MAX + 1]; /* of the path up to that level */
    uint32_t depth;
};

/* True if a member of that name cannot be reached by a `from` path: a dot separates names there, ${
 * fills in. */
static bool is_unwritable_name(struct qn_str name)
{
    return name.len == 0 || memchr(name.p, '.', name.len) != NULL ||
           memmem(name.p, name.len, "${", 2) != NULL;
}

static struct qn_str place_enter(struct place *at, struct qn_str name)
{
    at->start[at->depth] = at->path.len;
    if (at->path.len > 0)
        qn_buf_byte(&at->path, '.');
    qn_buf_add(&at->path, name.p, name.len);
    at->is_unwritable[at->depth + 1] = at->is_unwritable[at->depth] || is_unwritable_name(name);
    at->depth++;
    return (struct qn_str){at->path.data, (uint32_t)at->path.len};
}

static void place_leave(struct place *at)
{
    at->depth--;
    at->path.len = at->start[at->depth];
}

/* The rest of an array: is it numbers only? */
static enum kind_bit json_list(struct qn_json_reader *r)
{
    enum kind_bit kind = SAW_LIST;
    enum qn_json_kind k;

    while ((k = qn_json_next(r)) != QN_JSON_CLOSE && k != QN_JSON_ERROR) {
        if (k != QN_JSON_NUMBER || __builtin_isinf(qn_number_double(&r->number)))
            kind = SAW_OTHER_LIST;
        if (!qn_json_skip(r, k))
            break;
    }
    return kind;
}

/* One member that is no object. */
static qn_status json_member(struct qn_infer *inf, struct qn_json_reader *r, enum qn_json_kind k,
                             struct watch *w, struct qn_err *err)
{
    const char *start = r->at;
    uint32_t kind = 0;

    switch (k) {
    case QN_JSON_STRING:
        watch_text(w, r->text);
        return watch_value(inf, w, SAW_TEXT, r->text, err);
    case QN_JSON_NUMBER:
        watch_number(w, &r->number, &kind);
        return watch_value(inf, w, kind, r->number.text, err);
    case QN_JSON_TRUE:
    case QN_JSON_FALSE:
        return watch_value(inf, w, SAW_BOOL, qn_str_of(k == QN_JSON_TRUE ? "true" : "false"), err);
    case QN_JSON_ARRAY:
        kind = json_list(r);
        return watch_value(inf, w, kind, (struct qn_str){start - 1, (uint32_t)(r->at - start) + 1},
                           err);
    default: /* null: the same as absent, and the last of equal names wins */
        if (w->last_event == inf->events + 1) {
            w->last_event = 0;
            w->values--;
        }
        return QN_OK;
    }
}

static qn_status json_object(struct qn_infer *inf, struct qn_json_reader *r, struct place *at,
                             struct qn_err *err)
{
    uint32_t open = 1;

    while (open > 0) {
        enum qn_json_kind k = qn_json_next(r);
        struct qn_str path;
        struct watch *w;

        if (k == QN_JSON_ERROR ||
            k == QN_JSON_END) /* the event was validated: no room for a text */
            return no_memory(err);
        if (k == QN_JSON_CLOSE) {
            if (--open > 0)
                place_leave(at);
            continue;
        }
        path = place_enter(at, r->key);
        if (at->path.failed)
            return no_memory(err);
        QN_TRY(watch_find(inf, path, at->is_unwritable[at->depth], &w, err));
        if (k == QN_JSON_OBJECT) {
            if (w != NULL)
                w->kinds |= SAW_OBJECT;
            open++;
            continue;
        }
        if (w != NULL)
            QN_TRY(json_member(inf, r, k, w, err));
        else
            qn_json_skip(r, k);
        place_leave(at);
    }
    return QN_OK;
}

qn_status qn_infer_json(struct qn_infer *inf, struct qn_str raw, const char **why,
                        struct qn_err *err)
{
    struct qn_json_reader r;
    struct place at = {.depth = 0};
    qn_status rc;

    *why = NULL;
    qn_arena_reset(&inf->scratch);
    qn_json_open(&r, raw, &inf->scratch);
    if (!qn_json_valid(raw))
        *why = "not well-formed JSON";
    else if (qn_json_next(&r) != QN_JSON_OBJECT)
        *why = "JSON, but not an object";
    if (*why != NULL) {
        watch_broken(inf, raw, *why);
        return QN_OK;
    }
    inf->cursor = 0;
    rc = json_object(inf, &r, &at, err);
    qn_buf_fini(&at.path);
    inf->events++;
    return rc;
}

/* --- CSV events --- */

/* The next cell of a record: its text, decoded in the arena where quotes are doubled. False: not
 * well-formed, or out of memory. *p moves behind the cell's comma, or to NULL behind the last. */
static bool csv_cell(const char **p, const char *end, struct qn_arena *arena, struct qn_str *cell,
                     bool *is_quoted)
{
    const char *start = *p, *q;
    bool is_closed = false;
    char *text;
    uint32_t n = 0;

    *is_quoted = start < end && *start == '"';
    if (!*is_quoted) {
        q = memchr(start, ',', (size_t)(end - start));
        *cell = (struct qn_str){start, (uint32_t)((q != NULL ? q : end) - start)};
        *p = q != NULL ? q + 1 : NULL;
        return memchr(cell->p, '"', cell->len) == NULL;
    }
    text = qn_arena_alloc(arena, (size_t)(end - start));
    if (text == NULL)
        return false;
    for (q = start + 1; q < end && !is_closed; q++) {
        if (*q == '"' && (q + 1 == end || q[1] != '"'))
            is_closed = true;
        else
            text[n++] = *q == '"' ? *q++ : *q;
    }
    if (!is_closed || (q < end && *q != ','))
        return false;
    *cell = (struct qn_str){text, n};
    *p = q < end ? q + 1 : NULL;
    return true;
}

qn_status qn_infer_csv_header(struct qn_infer *inf, struct qn_str raw, struct qn_err *err)
{
    const char *p = raw.p;

    inf->is_csv = true;
    if (raw.len >= 3 && memcmp(p, "\xEF\xBB\xBF", 3) == 0)
        p += 3;
    while (p != NULL) {
        struct qn_str cell;
        bool is_quoted;
        struct watch *w;

        if (!csv_cell(&p, raw.p + raw.len, inf->arena, &cell, &is_quoted))
            return qn_err_set(err, QN_INVALID, "the header is not a well-formed CSV record");
        if (inf->column_count == QN_INFER_FIELDS_MAX)
            return qn_err_set(err, QN_INVALID, "more than %d columns", QN_INFER_FIELDS_MAX);
        for (uint32_t i = 0; i < inf->count; i++)
            if (qn_str_eq(inf->watch[i].path, cell))
                return qn_err_set(err, QN_INVALID, "two columns are called '%.*s'",
                                  QN_STR_ARG(cell));
        QN_TRY(watch_find(inf, cell, cell.len == 0 || memmem(cell.p, cell.len, "${", 2) != NULL, &w,
                          err));
        inf->column_count++;
    }
    for (const char *c = "\t;|"; inf->column_count == 1 && *c != '\0'; c++)
        if (memchr(raw.p, *c, raw.len) != NULL)
            return qn_err_set(
                err, QN_INVALID,
                "its cells are separated by %s; expected commas, for example with tr '%s' ','",
                *c == '\t'  ? "tabs"
                : *c == ';' ? "semicolons"
                            : "bars",
                *c == '\t'  ? "\\t"
                : *c == ';' ? ";"
                            : "|");
    return QN_OK;
}

/* A cell is text until it looks like something else. */
static qn_status csv_value(struct qn_infer *inf, struct watch *w, struct qn_str cell,
                           bool is_quoted, struct qn_err *err)
{
    struct qn_decimal_text d;
    uint32_t kind;

    if (cell.len == 0 && !is_quoted)
        return QN_OK;
    if (qn_str_is(cell, "true") || qn_str_is(cell, "false"))
        return watch_value(inf, w, SAW_BOOL, cell, err);
    if (cell.len > 0 && qn_number_scan(cell.p, cell.p + cell.len, &d) == cell.len) {
        watch_number(w, &d, &kind);
        return watch_value(inf, w, kind, cell, err);
    }
    watch_text(w, cell);
    return watch_value(inf, w, SAW_TEXT, cell, err);
}

qn_status qn_infer_csv(struct qn_infer *inf, struct qn_str raw, const char **why,
                       struct qn_err *err)
{
    struct {
        struct qn_str text;
        bool is_quoted;
    } cells[QN_INFER_FIELDS_MAX];
    const char *p = raw.p;
    uint32_t n = 0;

    *why = NULL;
    qn_arena_reset(&inf->scratch);
    while (p != NULL && *why == NULL) {
        if (n == inf->column_count)
            *why = "more cells than the header";
        else if (!csv_cell(&p, raw.p + raw.len, &inf->scratch, &cells[n].text, &cells[n].is_quoted))
            *why = "not a well-formed CSV record";
        n++;
    }
    if (*why == NULL && n < inf->column_count)
        *why = "fewer cells than the header";
    if (*why == NULL && !qn_utf8_valid(raw.p, raw.len))
        *why = "bytes that are not UTF-8";
    if (*why != NULL) {
        watch_broken(inf, raw, *why);
        return QN_OK;
    }
    for (uint32_t i = 0; i < n; i++)
        QN_TRY(csv_value(inf, &inf->watch[i], cells[i].text, cells[i].is_quoted, err));
    inf->events++;
    return QN_OK;
}

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
static struct qn_kind decide_number(const struct watch *w, bool is_money)
{
    bool is_whole = (w->kinds & SAW_NUMBER) == 0;
    bool has_cents =
        w->values >= MONEY_SAMPLE && w->decimals == 2 && w->with_cents * 2 >= w->values;

    if ((is_money && w->decimals <= DECIMALS_MAX) || (!is_whole && has_cents))
        return (struct qn_kind){QN_DECIMAL, (uint8_t)(w->decimals < 2 ? 2 : w->decimals)};
    return (struct qn_kind){is_whole ? QN_INT64 : QN_DOUBLE, 0};
}

/* Type of a field, or why it has none. */
static void decide_kind(const struct qn_infer *inf, const struct watch *w, struct qn_infer_field *f)
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
        const struct watch *w = &inf->watch[i];

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
            return no_memory(err);
        f->name = qn_str_of(name);
        for (uint32_t k = 0, tries = 2; k < i; k++) {
            if (!qn_str_eq(out->fields[k].name, f->name))
                continue;
            again = qn_arena_alloc(inf->arena, strlen(name) + 12);
            if (again == NULL)
                return no_memory(err);
            snprintf(again, strlen(name) + 12, "%s_%u", name, tries++);
            f->name = qn_str_of(again);
            k = UINT32_MAX; /* from the start: the new name may be taken as well */
        }
    }
    return QN_OK;
}

static void decide_field(const struct qn_infer *inf, const struct watch *w,
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
        return no_memory(err);
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
