/* SPDX-License-Identifier: Apache-2.0
 * infer_watch.c - watches a sample of events go by and notes the facts of every field.
 *
 * Of every value: kinds seen, decimals needed, whether all texts are times, how many different
 * values, how far out of order. JSON and CSV differ in how a field is found and in what a text may
 * be; a CSV cell is text until it looks like something else. Invariant: an event that cannot be
 * read is counted as broken and leaves no facts. Thread: main. Memory: infer_schema.h. */
#include "base/hash.h"
#include "base/json.h"
#include "cli/infer_int.h"
#include "event/decode.h"

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

static bool distinct_grow(struct infer_distinct *d)
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
static bool distinct_add(struct infer_distinct *d, struct qn_str value, bool *is_new)
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

/* The field of that path; *w is NULL when there are too many. Events usually name their fields in
 * the same order. */
static qn_status watch_find(struct qn_infer *inf, struct qn_str path, bool is_unwritable,
                            struct infer_watch **w, struct qn_err *err)
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
        return infer_no_memory(err);
    *w = &inf->watch[inf->count++];
    **w = (struct infer_watch){
        .path = {copy, path.len}, .is_unwritable = is_unwritable, .unit = -1, .is_sorted = true};
    inf->cursor = inf->count;
    return QN_OK;
}

/* A value is there: counts it, its text among the different ones. */
static qn_status watch_value(struct qn_infer *inf, struct infer_watch *w, enum kind_bit kind,
                             struct qn_str text, struct qn_err *err)
{
    bool is_new;

    w->kinds |= kind;
    if (w->last_event != inf->events + 1) {
        w->last_event = inf->events + 1;
        w->values++;
    }
    if (!distinct_add(&w->distinct, text, &is_new))
        return infer_no_memory(err);
    if (is_new && w->example_count < QN_INFER_EXAMPLES) {
        uint32_t len = qn_utf8_cut(text, QN_INFER_EXAMPLE_BYTES).len;
        const char *copy = qn_arena_strdup(inf->arena, text.len > 0 ? text.p : "", len);

        if (copy == NULL)
            return infer_no_memory(err);
        w->example[w->example_count++] = (struct qn_str){copy, len};
    }
    return QN_OK;
}

static void watch_time(struct infer_watch *w, int64_t us)
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

static void watch_number(struct infer_watch *w, const struct qn_decimal_text *d, uint32_t *kind)
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
    while (decimals <= INFER_DECIMALS_MAX && !qn_number_scaled(d, decimals, &scaled))
        decimals++;
    if (decimals <= INFER_DECIMALS_MAX && !qn_number_scaled(d, INFER_DECIMALS_MAX, &scaled))
        decimals = INFER_DECIMALS_MAX + 1; /* it would not fit beside others with more decimals */
    w->decimals = decimals > w->decimals ? decimals : w->decimals;
    w->with_cents += decimals == 2;
    unit = epoch_unit(v);
    w->unit = w->unit == -1 || w->unit == unit ? unit : 0;
    if (w->unit > 0)
        watch_time(w, (int64_t)(v * to_us[w->unit]));
}

static void watch_text(struct infer_watch *w, struct qn_str text)
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
        inf->broken_len = raw.len < INFER_BROKEN_BYTES ? raw.len : INFER_BROKEN_BYTES;
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

/* Of equal names the last wins: what was seen of this field in this event does not count. */
static void retract(const struct qn_infer *inf, struct infer_watch *w)
{
    if (w->last_event != inf->events + 1)
        return;
    w->last_event = 0;
    w->values--;
}

/* A member has come again, or for the first time: neither its value nor what lay below it in this
 * event counts any more. */
static void retract_all(struct qn_infer *inf, struct infer_watch *w)
{
    for (uint32_t i = 0; i < inf->count; i++) {
        struct infer_watch *below = &inf->watch[i];

        if (below->path.len > w->path.len && below->path.p[w->path.len] == '.' &&
            memcmp(below->path.p, w->path.p, w->path.len) == 0)
            retract(inf, below);
    }
    retract(inf, w);
}

/* One member that is no object. */
static qn_status json_member(struct qn_infer *inf, struct qn_json_reader *r, enum qn_json_kind k,
                             struct infer_watch *w, struct qn_err *err)
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
        retract(inf, w);
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
        struct infer_watch *w;

        if (k == QN_JSON_ERROR ||
            k == QN_JSON_END) /* the event was validated: no room for a text */
            return infer_no_memory(err);
        if (k == QN_JSON_CLOSE) {
            if (--open > 0)
                place_leave(at);
            continue;
        }
        path = place_enter(at, r->key);
        if (at->path.failed)
            return infer_no_memory(err);
        QN_TRY(watch_find(inf, path, at->is_unwritable[at->depth], &w, err));
        if (w != NULL && (k == QN_JSON_OBJECT || (w->kinds & SAW_OBJECT)))
            retract_all(inf, w);
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
        struct infer_watch *w;

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
static qn_status csv_value(struct qn_infer *inf, struct infer_watch *w, struct qn_str cell,
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
