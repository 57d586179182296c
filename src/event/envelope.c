/* SPDX-License-Identifier: Apache-2.0
 * envelope.c - what openers of all kinds share: the walk over JSON, writing the event, and the rows
 * of a batch that are opened before they are decoded. See envelope.h.
 *
 * Invariant: an opened event is well-formed JSON, because every value in it was skipped by the
 * decoder's own rules or made here. Thread: one owner. Memory: the opener's; events of a batch in
 * the worker's arena. */
#include "base/check.h"
#include "event/envelope_int.h"

#include <stdarg.h>
#include <stdio.h>

const char *qn_envelope_name(enum qn_envelope e)
{
    static const char *const names[] = {"none", "cloudevents", "debezium"};

    return names[e];
}

/* ---- the walk --------------------------------------------------------------------------------*/

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static const char *skip_blanks(const char *p, const char *end)
{
    while (p < end && is_blank(*p))
        p++;
    return p;
}

void qn_walk_open(struct qn_walk *w, struct qn_str text, uint32_t depth)
{
    QN_ASSERT(text.len > 0 && (text.p[0] == '{' || text.p[0] == '['));
    *w = (struct qn_walk){.p = text.p + 1,
                          .end = text.p + text.len,
                          .depth = depth + 1,
                          .close = text.p[0] == '{' ? '}' : ']'};
}

static bool bad(struct qn_walk *w, enum qn_reason reason)
{
    w->reason = reason;
    return false;
}

static bool walk_value(struct qn_walk *w, struct qn_str *value)
{
    const char *from = skip_blanks(w->p, w->end), *to;
    enum qn_reason reason = QN_REASON_BAD_JSON;

    if (w->known.len > 0 && (size_t)(w->end - from) > w->known.len &&
        memcmp(from, w->known.p, w->known.len) == 0)
        to = from + w->known.len;
    else
        to = qn_json_skip_value(from, w->end, w->depth, &reason);
    if (to == NULL)
        return bad(w, reason);
    *value = (struct qn_str){from, (uint32_t)(to - from)};
    w->p = to;
    return true;
}

static bool walk_name(struct qn_walk *w, struct qn_piece *piece)
{
    if (w->p >= w->end || *w->p != '"')
        return bad(w, QN_REASON_BAD_JSON);
    if (!walk_value(w, &piece->name))
        return false;
    piece->name = (struct qn_str){piece->name.p + 1, piece->name.len - 2};
    piece->has_escape = piece->name.len > 0 && memchr(piece->name.p, '\\', piece->name.len) != NULL;
    w->p = skip_blanks(w->p, w->end);
    if (w->p >= w->end || *w->p != ':')
        return bad(w, QN_REASON_BAD_JSON);
    w->p++;
    return true;
}

bool qn_walk_next(struct qn_walk *w, struct qn_piece *piece)
{
    if (w->reason != QN_REASON_NONE)
        return false;
    w->p = skip_blanks(w->p, w->end);
    if (w->p >= w->end)
        return bad(w, QN_REASON_BAD_JSON);
    if (*w->p == w->close) {
        w->p++;
        return false;
    }
    if (w->is_begun) {
        if (*w->p != ',')
            return bad(w, QN_REASON_BAD_JSON);
        w->p = skip_blanks(w->p + 1, w->end);
    }
    w->is_begun = true;
    *piece = (struct qn_piece){.name = {NULL, 0}};
    if (w->close == '}' && !walk_name(w, piece))
        return false;
    return walk_value(w, &piece->value);
}

bool qn_piece_is(const struct qn_piece *piece, const char *name)
{
    char plain[256];
    int64_t len;

    if (!piece->has_escape)
        return qn_str_is(piece->name, name);
    if (piece->name.len > sizeof plain || (len = qn_json_unescape(plain, piece->name)) < 0)
        return false;
    return qn_str_is((struct qn_str){plain, (uint32_t)len}, name);
}

enum qn_reason qn_record_trim(struct qn_str *raw)
{
    const char *p = skip_blanks(raw->p, raw->p + raw->len), *end = raw->p + raw->len, *to;
    enum qn_reason reason = QN_REASON_BAD_JSON;

    while (end > p && is_blank(end[-1]))
        end--;
    *raw = (struct qn_str){p, (uint32_t)(end - p)};
    if (raw->len == 0 || *p == '{')
        return QN_REASON_NONE;
    to = qn_json_skip_value(p, end, 0, &reason);
    if (to == end)
        return QN_REASON_NONE;
    return to == NULL ? reason : QN_REASON_BAD_JSON;
}

/* ---- writing the event -----------------------------------------------------------------------*/

void qn_opener_name(struct qn_opener *o, struct qn_str name)
{
    qn_buf_add(&o->out, o->is_first ? "\"" : ",\"", o->is_first ? 1 : 2);
    qn_buf_add(&o->out, name.p, name.len);
    qn_buf_add(&o->out, "\":", 2);
    o->is_first = false;
}

void qn_opener_member(struct qn_opener *o, struct qn_str name, struct qn_str value)
{
    qn_opener_name(o, name);
    qn_buf_add(&o->out, value.p, value.len);
}

void qn_opener_begin(struct qn_opener *o)
{
    qn_buf_byte(&o->out, '{');
    o->is_first = true;
}

void qn_opener_end(struct qn_opener *o)
{
    qn_buf_byte(&o->out, '}');
    o->is_first = false;
}

/* ---- what fields ask for ---------------------------------------------------------------------*/

uint32_t qn_opener_child(const struct qn_opener *o, uint32_t node, const struct qn_piece *piece)
{
    return qn_json_find_child(o->paths, node, piece->name);
}

const struct qn_field *qn_opener_field(const struct qn_opener *o, uint32_t node)
{
    const uint16_t field = o->paths->nodes[node].field;

    return field != QN_NO_FIELD ? &o->schema->fields[field] : NULL;
}

/* Where the names that win stand among the paths of the fields, looked for once per schema. */
static void look(struct qn_opener *o, const struct qn_schema *s, const char *const *names,
                 uint32_t count)
{
    QN_ASSERT(count <= QN_ENVELOPE_NAMES);
    if (o->schema == s && o->paths == s->decoder)
        return;
    o->schema = s;
    o->paths = s->decoder;
    for (uint32_t i = 0; i < count; i++)
        o->nodes[i] = qn_json_find_child(o->paths, 0, qn_str_of(names[i]));
    for (uint32_t i = count; i < QN_ENVELOPE_NAMES; i++)
        o->nodes[i] = JSON_NO_NODE;
}

/* ---- opening ---------------------------------------------------------------------------------*/

qn_status qn_opener_new(struct qn_opener **out, struct qn_err *err)
{
    *out = qn_mem_zalloc(1, sizeof **out);
    return *out != NULL ? QN_OK : qn_err_set(err, QN_NOMEM, "no memory to open envelopes");
}

void qn_opener_free(struct qn_opener *o)
{
    if (o == NULL)
        return;
    qn_connect_forget(&o->connect);
    qn_arena_fini(&o->scratch);
    qn_buf_fini(&o->out);
    qn_mem_free(o);
}

enum qn_reason qn_opener_bad(struct qn_opener *o, const char *fmt, ...)
{
    va_list args;
    struct qn_str cut;

    va_start(args, fmt);
    vsnprintf(o->why, sizeof o->why, fmt, args);
    va_end(args);
    cut = qn_utf8_cut((struct qn_str){o->why, (uint32_t)strlen(o->why)}, sizeof o->why - 4);
    o->why[cut.len] = '\0';
    return QN_REASON_BAD_ENVELOPE;
}

enum qn_reason qn_envelope_open(struct qn_opener *o, const struct qn_schema *s, struct qn_str raw,
                                struct qn_str headers, struct qn_str *event, bool *no_memory)
{
    const bool is_change = s->envelope == QN_ENVELOPE_DEBEZIUM;
    enum qn_reason reason;
    char *pad;

    QN_ASSERT(s->envelope != QN_ENVELOPE_NONE && s->decoder != NULL);
    qn_arena_reset(&o->scratch);
    qn_buf_clear(&o->out);
    o->why[0] = '\0';
    look(o, s, is_change ? qn_debezium_names : qn_cloudevent_names,
         is_change ? QN_ENVELOPE_NAMES : 2);
    reason = is_change ? qn_open_debezium(o, raw) : qn_open_cloudevent(o, raw, headers);
    pad = qn_buf_room(&o->out, QN_DECODE_PAD);
    *no_memory = o->out.failed || o->connect.text.failed;
    o->connect.text.failed = false;
    if (pad != NULL)
        memset(pad, 0, QN_DECODE_PAD);
    *event = (struct qn_str){o->out.data, (uint32_t)o->out.len};
    return reason;
}

void qn_envelope_explain(const struct qn_batch *b, uint32_t row, const struct qn_schema *s,
                         struct qn_buf *out)
{
    struct qn_opener *o = NULL;
    struct qn_str event;
    bool no_memory = qn_opener_new(&o, NULL) != QN_OK;

    QN_ASSERT(b->reason[row] == QN_REASON_BAD_ENVELOPE);
    if (!no_memory)
        (void)qn_envelope_open(o, s, b->raw[row], b->headers[row], &event, &no_memory);
    if (no_memory)
        out->failed = true;
    else
        qn_buf_text(out, o->why);
    qn_opener_free(o);
}

/* ---- rows ------------------------------------------------------------------------------------*/

const struct qn_str *qn_envelope_rows(struct qn_decode_row *d, struct qn_batch *b,
                                      const struct qn_schema *s, const struct qn_row_span *span)
{
    struct qn_opener *o = b->openers[span->worker];
    struct qn_str *texts = qn_arena_alloc(d->arena, sizeof *texts * (span->end - span->first) + 1),
                  event;

    if (texts == NULL)
        return NULL;
    for (uint32_t row = span->first; row < span->end; row++) {
        enum qn_reason reason;
        bool no_memory;
        char *copy;

        texts[row - span->first] = (struct qn_str){NULL, 0};
        if (b->stream[row] != span->stream || b->verdict[row] == QN_DEAD)
            continue;
        reason = qn_envelope_open(o, s, b->raw[row], b->headers[row], &event, &no_memory);
        if (no_memory)
            return NULL;
        if (reason != QN_REASON_NONE) {
            qn_decode_row_start(d, row);
            qn_decode_kill(d, b, reason, QN_NO_FIELD);
            continue;
        }
        copy = qn_arena_aligned(d->arena, 1, (size_t)event.len + QN_DECODE_PAD);
        if (copy == NULL)
            return NULL;
        memcpy(copy, event.p, (size_t)event.len + QN_DECODE_PAD);
        texts[row - span->first] = (struct qn_str){copy, event.len};
    }
    return texts;
}
