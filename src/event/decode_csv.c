/* SPDX-License-Identifier: Apache-2.0
 * decode_csv.c - CSV records into columns: RFC 4180 with a header.
 *
 * The reader (log_file.c) has cut the input into records; here a record becomes cells and cells
 * become values. A record with more or fewer cells than the header, with a quote inside an unquoted
 * cell or with text behind a closing quote is dead as a whole (bad_csv): nothing in it can be
 * trusted to stand in its column. An empty cell without quotes is null; blanks belong to the cell.
 * Thread: one worker per call. Memory: boot for headers; cells with doubled quotes are copied to
 * the worker's arena, all others are borrowed from the record. */
#include "event/decode_int.h"

#include "base/check.h"

#include <math.h>

struct cell {
    struct qn_str text; /* without the quotes around it, doubled quotes still doubled */
    bool is_quoted, has_doubled;
};

/* First comma or quote in [p, end), or end. is_padded: bytes behind end may be looked at (records);
 * else not (headers). */
static inline const char *comma_or_quote(const char *p, const char *end, bool is_padded)
{
    for (; QN_DECODE_FAST && (is_padded ? p < end : end - p >= 8); p += 8) {
        uint64_t x = qn_load64(p), a = x ^ QN_BYTES(','), b = x ^ QN_BYTES('"');
        uint64_t m = (((a - QN_BYTES(1)) & ~a) | ((b - QN_BYTES(1)) & ~b)) & QN_BYTES(0x80);

        if (m != 0) {
            p += __builtin_ctzll(m) >> 3;
            return p < end ? p : end;
        }
    }
    while (p < end && *p != ',' && *p != '"')
        p++;
    return p < end ? p : end;
}

/* The cell at p. Returns the place of the comma behind it or end, NULL where it is not well-formed.
 */
static inline const char *next_cell(const char *p, const char *end, bool is_padded, struct cell *c)
{
    const char *start = p, *q;

    c->is_quoted = c->has_doubled = false;
    if (p >= end || *p != '"') {
        q = comma_or_quote(p, end, is_padded);
        if (q < end && *q == '"')
            return NULL;
        c->text = (struct qn_str){start, (uint32_t)(q - start)};
        return q;
    }
    c->is_quoted = true;
    for (p = ++start;; p = q + 2) {
        q = p < end ? memchr(p, '"', (size_t)(end - p)) : NULL;
        if (q == NULL)
            return NULL;
        if (q + 1 >= end || q[1] != '"')
            break;
        c->has_doubled = true;
    }
    c->text = (struct qn_str){start, (uint32_t)(q - start)};
    q++;
    return q == end || *q == ',' ? q : NULL;
}

/* The cell's text with doubled quotes made single, readable QN_DECODE_PAD bytes beyond its end.
 * False: no memory. */
static bool undouble(struct qn_arena *a, const struct cell *c, struct qn_str *out)
{
    char *room, *o;

    *out = c->text;
    if (!c->has_doubled)
        return true;
    room = o = qn_arena_aligned(a, 1, c->text.len + (size_t)QN_DECODE_PAD);
    if (room == NULL)
        return false;
    for (uint32_t i = 0; i < c->text.len; i++) {
        *o++ = c->text.p[i];
        i += c->text.p[i] == '"';
    }
    memset(o, 0, QN_DECODE_PAD);
    *out = (struct qn_str){room, (uint32_t)(o - room)};
    return true;
}

/* --- header --- */

static qn_status missing_column(const struct qn_field *f, const struct qn_str *names,
                                uint32_t count, struct qn_err *err)
{
    int near = qn_nearest(f->from, names, count);
    struct qn_buf found = {0};
    qn_status rc;

    if (near >= 0)
        return qn_err_set(err, QN_INVALID,
                          "the CSV header has no column '%.*s' for the required field '%.*s' (did "
                          "you mean '%.*s'?)",
                          QN_STR_ARG(f->from), QN_STR_ARG(f->name), QN_STR_ARG(names[near]));
    for (uint32_t i = 0; i < count && i < 8; i++)
        qn_buf_printf(&found, "%s'%.*s'", i > 0 ? ", " : "",
                      (int)(names[i].len < 40 ? names[i].len : 40), names[i].p);
    rc = qn_err_set(err, QN_INVALID,
                    "the CSV header has no column '%.*s' for the required field '%.*s'; the first "
                    "line says %.*s%s%s",
                    QN_STR_ARG(f->from), QN_STR_ARG(f->name), (int)found.len,
                    found.data != NULL ? found.data : "", count > 8 ? ", ..." : "",
                    count == 1 && (memchr(names[0].p, ';', names[0].len) != NULL ||
                                   memchr(names[0].p, '\t', names[0].len) != NULL)
                        ? " (cells are separated by commas)"
                        : "");
    qn_buf_fini(&found);
    return rc;
}

static qn_status read_names(struct qn_str line, struct qn_str **names, uint32_t *count,
                            struct qn_arena *boot, struct qn_err *err)
{
    const char *p = line.p, *end = line.p + line.len;
    struct cell c;
    uint32_t n = 1, i = 0;

    for (uint32_t k = 0; k < line.len; k++)
        n += line.p[k] == ',';
    *names = QN_NEW_N(boot, struct qn_str, n);
    if (*names == NULL)
        return qn_err_set(err, QN_NOMEM, "no memory for a CSV header");
    for (;; p++) {
        p = next_cell(p, end, false, &c);
        if (p == NULL)
            return qn_err_set(err, QN_INVALID,
                              "the CSV header is not well-formed: cell %u has a stray quote",
                              i + 1);
        if (!undouble(boot, &c, &(*names)[i++]))
            return qn_err_set(err, QN_NOMEM, "no memory for a CSV header");
        if (p >= end)
            break;
    }
    *count = i;
    return QN_OK;
}

qn_status qn_csv_header_read(struct qn_csv_header *h, struct qn_str line, const struct qn_schema *s,
                             struct qn_arena *boot, struct qn_err *err)
{
    struct qn_str *names;

    *h = (struct qn_csv_header){0};
    if (line.len >= 3 && memcmp(line.p, "\xEF\xBB\xBF", 3) == 0)
        line = (struct qn_str){line.p + 3, line.len - 3};
    QN_TRY(read_names(line, &names, &h->column_count, boot, err));
    h->field = QN_NEW_N(boot, int32_t, h->column_count);
    h->column = QN_NEW_N(boot, uint32_t, s->field_count + 1);
    if (h->field == NULL || h->column == NULL)
        return qn_err_set(err, QN_NOMEM, "no memory for a CSV header");
    for (uint32_t i = 0; i < h->column_count; i++)
        h->field[i] = -1;
    for (uint32_t f = 0; f < s->field_count; f++) {
        const struct qn_field *field = &s->fields[f];

        h->column[f] = UINT32_MAX;
        for (uint32_t i = 0; i < h->column_count; i++) {
            if (!qn_str_eq(names[i], field->from))
                continue;
            if (h->column[f] != UINT32_MAX)
                return qn_err_set(err, QN_INVALID, "the CSV header has column '%.*s' twice",
                                  QN_STR_ARG(field->from));
            h->column[f] = i;
            if (h->field[i] < 0)
                h->field[i] = (int32_t)f;
        }
        if (h->column[f] == UINT32_MAX && !field->is_optional && !field->has_default)
            return missing_column(field, names, h->column_count, err);
    }
    return QN_OK;
}

/* --- cells to values --- */

static bool is_ascii(struct qn_str s)
{
    uint64_t all = 0;
    uint32_t i = 0;

    for (; i + 8 <= s.len; i += 8)
        all |= qn_load64(s.p + i);
    for (; i < s.len; i++)
        all |= (unsigned char)s.p[i];
    return (all & QN_BYTES(0x80)) == 0;
}

static bool is_word(struct qn_str s, const char *lower)
{
    uint32_t i = 0;

    for (; i < s.len && lower[i] != '\0'; i++)
        if ((s.p[i] | 0x20) != lower[i])
            return false;
    return i == s.len && lower[i] == '\0';
}

static enum qn_reason bool_cell(struct qn_str s, int64_t *out)
{
    *out = qn_str_is(s, "1") || is_word(s, "true");
    return *out || qn_str_is(s, "0") || is_word(s, "false") ? QN_REASON_NONE : QN_REASON_WRONG_TYPE;
}

/* Why a text is no number of its type: a number at all (not inf or nan by name), or none. */
static enum qn_reason not_a_number(struct qn_str s)
{
    uint32_t i = s.len > 0 && (s.p[0] == '+' || s.p[0] == '-');
    double v;

    if (i >= s.len || !(s.p[i] == '.' || (s.p[i] >= '0' && s.p[i] <= '9')) ||
        !qn_text_double(s, &v))
        return QN_REASON_WRONG_TYPE;
    return QN_REASON_NOT_EXACT;
}

static enum qn_reason number_cell(const struct qn_field *f, struct qn_str s, struct qn_col *c,
                                  uint32_t row)
{
    struct qn_number_fast num = {0};
    const char *q = s.len > 0 ? qn_number_fast(s.p, &num) : NULL;
    bool is_whole = q != NULL && q == s.p + s.len;
    uint32_t scale = f->kind.type == QN_DECIMAL ? f->kind.scale : 0;

    if (f->kind.type == QN_DOUBLE) {
        if (is_whole && qn_fast_double(&num, &c->f64[row]))
            return QN_REASON_NONE;
        return qn_text_double(s, &c->f64[row]) && isfinite(c->f64[row]) ? QN_REASON_NONE
                                                                        : not_a_number(s);
    }
    if (is_whole && qn_fast_scaled(&num, scale, &c->i64[row]))
        return QN_REASON_NONE;
    return qn_text_scaled(s, scale, &c->i64[row]) ? QN_REASON_NONE : not_a_number(s);
}

static enum qn_reason time_cell(struct qn_decode_row *d, const struct qn_field *f, struct qn_str s,
                                int64_t *us)
{
    struct qn_decimal_text n;

    if (f->unit != QN_TIME_TEXT) {
        if (s.len == 0 || qn_number_scan(s.p, s.p + s.len, &n) != s.len)
            return QN_REASON_WRONG_TYPE;
        return qn_decode_epoch(&n, f->unit, us) ? QN_REASON_NONE : QN_REASON_BAD_TIME;
    }
    if (s.len >= 20 && qn_decode_time_fast(d, s.p, us) == s.p + s.len)
        return QN_REASON_NONE;
    return qn_timestamp_parse(s, us) ? QN_REASON_NONE : QN_REASON_BAD_TIME;
}

static enum qn_reason list_cell(struct qn_decode_row *d, struct qn_str s, struct qn_list *out)
{
    const char *end = s.p + s.len, *p = s.p;
    bool fits;

    while (p < end && (*p == ' ' || *p == '\t'))
        p++;
    while (end > p && (end[-1] == ' ' || end[-1] == '\t'))
        end--;
    if (qn_decode_list(d, p, end, out, &fits) != end)
        return QN_REASON_WRONG_TYPE;
    return fits ? QN_REASON_NONE : QN_REASON_NOT_EXACT;
}

static void cell_value(struct qn_decode_row *d, uint32_t field, const struct cell *cell)
{
    const struct qn_field *f = &d->fields[field];
    struct qn_col *c = &d->cols[field];
    enum qn_reason reason;
    uint32_t row = d->row;
    struct qn_str s;

    if (cell->text.len == 0 && !cell->is_quoted)
        return;
    /* Member by member: the two were just stored so, and a wider load would have to wait for both.
     */
    s.p = cell->text.p;
    s.len = cell->text.len;
    if (QN_UNLIKELY(cell->has_doubled) && !undouble(d->arena, cell, &s)) {
        d->no_memory = true;
        return;
    }
    switch (f->kind.type) {
    case QN_STRING:
        reason = is_ascii(s) || qn_utf8_valid(s.p, s.len) ? QN_REASON_NONE : QN_REASON_BAD_UTF8;
        c->str[row] = s;
        break;
    case QN_TIMESTAMP:
        reason = time_cell(d, f, s, &c->i64[row]);
        break;
    case QN_BOOL:
        reason = bool_cell(s, &c->i64[row]);
        break;
    case QN_LIST:
        reason = list_cell(d, s, &c->list[row]);
        break;
    default:
        reason = number_cell(f, s, c, row);
        break;
    }
    if (reason == QN_REASON_NONE)
        qn_decode_mark(d, c, field, row);
    else
        qn_decode_fault(d, field, reason);
}

/* --- records --- */

/* Fields that share a column with an earlier one; in nearly all specs there are none. */
static void shared_columns(struct qn_decode_row *d, const struct qn_csv_header *h, uint32_t column,
                           const struct cell *cell)
{
    for (uint32_t f = 0; f < d->field_count; f++)
        if (h->column[f] == column && h->field[column] != (int32_t)f)
            cell_value(d, f, cell);
}

static bool has_shared(const struct qn_decode_row *d, const struct qn_csv_header *h)
{
    for (uint32_t f = 0; f < d->field_count; f++)
        if (h->column[f] != UINT32_MAX && h->field[h->column[f]] != (int32_t)f)
            return true;
    return false;
}

static bool record(struct qn_decode_row *d, const struct qn_csv_header *h, bool is_shared,
                   struct qn_str raw)
{
    const char *p = raw.p, *end = raw.p + raw.len;
    struct cell cell;
    uint32_t i = 0;

    for (;; p++) {
        p = next_cell(p, end, true, &cell);
        if (p == NULL || i >= h->column_count)
            return false;
        if (h->field[i] >= 0) {
            cell_value(d, (uint32_t)h->field[i], &cell);
            if (is_shared)
                shared_columns(d, h, i, &cell);
        }
        i++;
        if (p >= end)
            return i == h->column_count;
    }
}

void qn_decode_csv(struct qn_batch *b, const struct qn_schema *s,
                   const struct qn_csv_header *const *headers, uint32_t stream_index,
                   uint32_t first, uint32_t end, uint32_t worker)
{
    const struct qn_csv_header *last = NULL;
    struct qn_decode_row d;
    bool is_shared = false;

    qn_decode_begin(&d, b, s, first, end, worker);
    for (uint32_t row = first; row < end; row++) {
        const struct qn_csv_header *h;

        if (b->stream[row] != stream_index || b->verdict[row] == QN_DEAD)
            continue;
        h = headers[b->partition[row]];
        if (h != last)
            is_shared = has_shared(&d, h);
        last = h;
        qn_decode_row_start(&d, row);
        if (QN_LIKELY(record(&d, h, is_shared, b->raw[row])))
            qn_decode_settle(&d, b);
        else if (!d.no_memory)
            qn_decode_kill(&d, b, QN_REASON_BAD_CSV, QN_NO_FIELD);
        if (QN_UNLIKELY(d.no_memory)) {
            b->no_memory[worker] = 1;
            return;
        }
    }
}

bool qn_decode_csv_time(const struct qn_schema *s, const struct qn_csv_header *h, struct qn_str raw,
                        int64_t *us)
{
    const char *p = raw.p, *end = raw.p + raw.len;
    char room[256 + QN_DECODE_PAD];
    struct qn_decode_row d;
    struct cell cell, found = {0};
    uint32_t i = 0, len = 0;

    QN_ASSERT(s->time >= 0 && (uint32_t)s->time < s->field_count);
    for (;; p++, i++) {
        p = next_cell(p, end, true, &cell);
        if (p == NULL || i >= h->column_count)
            return false;
        if (i == h->column[s->time])
            found = cell;
        if (p >= end)
            break;
    }
    if (i + 1 != h->column_count || found.text.len == 0 || found.text.len > 256)
        return false;
    memset(room, 0, sizeof room);
    for (uint32_t k = 0; k < found.text.len; k++) {
        room[len++] = found.text.p[k];
        k += found.has_doubled && found.text.p[k] == '"';
    }
    d.has_day = false;
    d.day_text = d.day_tail = 0;
    return time_cell(&d, &s->fields[s->time], (struct qn_str){room, len}, us) == QN_REASON_NONE;
}
