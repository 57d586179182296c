/* SPDX-License-Identifier: Apache-2.0
 * record_members.c - one pass over a record: the path of names so far against the names that are
 * asked for.
 *
 * Objects that no name leads into are skipped, and checked all the same: a record is either JSON to
 * its end or refused as a whole. No recursion; paths deeper than PATH_BYTES match nothing. Thread:
 * any. */
#include "sink/record_members.h"

#include "base/check.h"

enum { PATH_BYTES = 512, LEVELS_MAX = 32 };

struct walk {
    struct qn_json_reader json;
    const struct qn_str *names;
    uint32_t count;
    struct qn_member *out;
    char path[PATH_BYTES];
    uint32_t len;                /* of the path of the object being read      */
    uint32_t before[LEVELS_MAX]; /* lengths of the paths of those around it   */
    uint32_t depth;              /* objects open, the record itself included  */
};

/* Names that begin with path + '.' */
static bool leads_on(const struct walk *w, uint32_t len)
{
    for (uint32_t i = 0; i < w->count; i++)
        if (w->names[i].len > len && w->names[i].p[len] == '.' &&
            memcmp(w->names[i].p, w->path, len) == 0)
            return true;
    return false;
}

/* Appends the member's name to the path; 0 where it is too long. */
static uint32_t path_with(struct walk *w, struct qn_str key)
{
    uint32_t at = w->len;

    if (key.len == 0 || at + 1 + key.len > PATH_BYTES || memchr(key.p, '.', key.len) != NULL)
        return 0;
    if (at > 0)
        w->path[at++] = '.';
    memcpy(w->path + at, key.p, key.len);
    return at + key.len;
}

static void keep(struct walk *w, uint32_t len, enum qn_json_kind kind, struct qn_str text)
{
    for (uint32_t i = 0; i < w->count; i++)
        if (w->names[i].len == len && memcmp(w->names[i].p, w->path, len) == 0)
            w->out[i] = (struct qn_member){kind, text};
}

/* Notes a value and what its name leads to. */
static void take(struct walk *w, enum qn_json_kind kind)
{
    uint32_t len = path_with(w, w->json.key);
    const char *start = w->json.at;
    struct qn_json_reader ahead;

    switch (kind) {
    case QN_JSON_STRING:
        keep(w, len, kind, w->json.text);
        break;
    case QN_JSON_NUMBER:
        keep(w, len, kind, w->json.number.text);
        break;
    case QN_JSON_TRUE:
    case QN_JSON_FALSE:
    case QN_JSON_NULL:
        keep(w, len, kind,
             qn_str_of(kind == QN_JSON_TRUE    ? "true"
                       : kind == QN_JSON_FALSE ? "false"
                                               : "null"));
        break;
    default: /* an object or a list, its bracket is behind us */
        if (kind == QN_JSON_OBJECT && len > 0 && w->depth < LEVELS_MAX && leads_on(w, len)) {
            ahead = w->json; /* the object itself may be asked for as well */
            if (qn_json_skip(&ahead, kind))
                keep(w, len, kind, (struct qn_str){start - 1, (uint32_t)(ahead.at - start) + 1});
            w->before[w->depth++] = w->len;
            w->len = len;
        } else if (qn_json_skip(&w->json, kind)) {
            keep(w, len, kind, (struct qn_str){start - 1, (uint32_t)(w->json.at - start) + 1});
        }
    }
}

bool qn_record_members(struct qn_str record, const struct qn_str *names, uint32_t count,
                       struct qn_arena *arena, struct qn_member *out, const char **error)
{
    struct walk w = {.names = names, .count = count, .out = out};
    enum qn_json_kind kind;

    for (uint32_t i = 0; i < count; i++)
        out[i] = (struct qn_member){QN_JSON_END, {NULL, 0}};
    if (record.len >= 3 && memcmp(record.p, "\xEF\xBB\xBF", 3) == 0) {
        *error = "a byte order mark stands before it"; /* it could not stand inside another text */
        return false;
    }
    qn_json_open(&w.json, record, arena);
    kind = qn_json_next(&w.json);
    if (kind != QN_JSON_OBJECT) {
        *error = kind == QN_JSON_ERROR ? w.json.error : "an object was expected";
        return false;
    }
    w.depth = 1;
    while ((kind = qn_json_next(&w.json)) != QN_JSON_END && kind != QN_JSON_ERROR) {
        if (kind != QN_JSON_CLOSE) {
            take(&w, kind);
        } else {
            w.depth--;
            w.len = w.depth > 0 ? w.before[w.depth] : 0;
        }
    }
    *error = w.json.error;
    return kind == QN_JSON_END;
}

/* ---- templates -------------------------------------------------------------------------------*/

struct qn_template {
    struct qn_str *texts; /* [count + 1]: before each member, and behind the last */
    struct qn_str *names; /* [count]                                              */
    uint32_t count;
};

/* One piece of the text up to a member, a doubled brace or the end: where it ends, what follows. */
static qn_status next_piece(struct qn_str text, uint32_t *at, struct qn_buf *literal,
                            struct qn_str *name, struct qn_err *err)
{
    *name = (struct qn_str){NULL, 0};
    while (*at < text.len) {
        char c = text.p[*at];
        bool is_doubled = *at + 1 < text.len && text.p[*at + 1] == c;
        const char *end;

        if (c != '{' && c != '}') {
            qn_buf_byte(literal, c);
            ++*at;
            continue;
        }
        if (is_doubled) {
            qn_buf_byte(literal, c);
            *at += 2;
            continue;
        }
        if (c == '}')
            return qn_err_set(err, QN_INVALID,
                              "a '}' without its '{' at byte %u; for the sign itself write }}",
                              *at + 1);
        end = memchr(text.p + *at, '}', text.len - *at);
        if (end == NULL || end == text.p + *at + 1)
            return qn_err_set(err, QN_INVALID,
                              "a '{' without a member and its '}' at byte %u, such as {score}; for "
                              "the sign itself write {{",
                              *at + 1);
        *name = (struct qn_str){text.p + *at + 1, (uint32_t)(end - text.p) - *at - 1};
        *at = (uint32_t)(end - text.p) + 1;
        break;
    }
    return QN_OK;
}

qn_status qn_template_read(struct qn_str text, struct qn_arena *arena, struct qn_template **out,
                           struct qn_err *err)
{
    struct qn_template *t = QN_NEW(arena, struct qn_template);
    struct qn_buf literal = {0};
    qn_status rc = QN_OK;
    uint32_t at = 0;

    if (t != NULL) {
        t->texts = QN_NEW_N(arena, struct qn_str, QN_MEMBERS_MAX + 1);
        t->names = QN_NEW_N(arena, struct qn_str, QN_MEMBERS_MAX);
    }
    if (t == NULL || t->texts == NULL || t->names == NULL)
        return qn_err_set(err, QN_NOMEM, "out of memory for a template");
    for (;;) {
        struct qn_str name;
        const char *copy;

        qn_buf_clear(&literal);
        rc = next_piece(text, &at, &literal, &name, err);
        if (rc != QN_OK)
            break;
        copy = literal.failed
                   ? NULL
                   : qn_arena_strdup(arena, literal.len > 0 ? literal.data : "", literal.len);
        if (copy == NULL) {
            rc = qn_err_set(err, QN_NOMEM, "out of memory for a template");
            break;
        }
        t->texts[t->count] = (struct qn_str){copy, (uint32_t)literal.len};
        if (name.p == NULL)
            break;
        if (t->count == QN_MEMBERS_MAX) {
            rc = qn_err_set(err, QN_LIMIT, "more than %d members in one text", QN_MEMBERS_MAX);
            break;
        }
        t->names[t->count++] = name;
    }
    qn_buf_fini(&literal);
    *out = t;
    return rc;
}

bool qn_template_fill(const struct qn_template *t, struct qn_str record, struct qn_arena *arena,
                      qn_template_escape *escape, struct qn_buf *out, const char **error)
{
    struct qn_member found[QN_MEMBERS_MAX];

    if (!qn_record_members(record, t->names, t->count, arena, found, error))
        return false;
    for (uint32_t i = 0; i < t->count; i++) {
        qn_buf_add(out, t->texts[i].p, t->texts[i].len);
        if (found[i].kind != QN_JSON_END && found[i].kind != QN_JSON_NULL)
            escape(out, found[i].text);
    }
    qn_buf_add(out, t->texts[t->count].p, t->texts[t->count].len);
    return true;
}
