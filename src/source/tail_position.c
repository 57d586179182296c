/* SPDX-License-Identifier: Apache-2.0
 * tail_position.c - the position of a file source: one JSON object, so that a person who looks into
 * the log can read it.
 *
 *   {"files":[{"path":"/var/log/tx.ndjson","device":"64769","inode":"131","offset":"4096",
 *     "head":"81985529216486895","head_bytes":"1024","compressed":false,"skipping":false}]}
 *
 * Numbers of 64 bits stand as texts. Thread: the intake's. */
#include "base/json.h"
#include "source/tail_int.h"

/* The members that hold numbers, and where they belong. */
static const struct {
    const char *name;
    size_t at;
    bool is_wide;
} numbers[] = {
    {"device", offsetof(struct qn_tail_file, id.device), true},
    {"inode", offsetof(struct qn_tail_file, id.inode), true},
    {"offset", offsetof(struct qn_tail_file, offset), true},
    {"head", offsetof(struct qn_tail_file, head), true},
    {"head_bytes", offsetof(struct qn_tail_file, head_bytes), false},
};

static void put_file(const struct qn_tail_file *f, struct qn_buf *out)
{
    qn_buf_text(out, "{\"path\":");
    qn_json_string(out, qn_str_of(f->path));
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        const char *at = (const char *)f + numbers[i].at;

        qn_buf_printf(out, ",\"%s\":\"%llu\"", numbers[i].name,
                      numbers[i].is_wide ? (unsigned long long)*(const uint64_t *)(const void *)at
                                         : *(const uint32_t *)(const void *)at);
    }
    qn_buf_printf(out, ",\"compressed\":%s,\"skipping\":%s}", f->is_compressed ? "true" : "false",
                  f->is_skipping ? "true" : "false");
}

void qn_tail_position(const struct qn_tail *t, struct qn_buf *out)
{
    uint32_t written = 0;

    qn_buf_text(out, "{\"files\":[");
    for (uint32_t i = 0; i < t->count; i++) {
        if (t->files[i].offset == 0 || t->files[i].is_ignored)
            continue;
        if (written++ > 0)
            qn_buf_byte(out, ',');
        put_file(&t->files[i], out);
    }
    qn_buf_text(out, "]}");
}

static bool take_number(struct qn_tail_file *f, struct qn_str name, struct qn_str text)
{
    uint64_t v = 0;

    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        char *at = (char *)f + numbers[i].at;

        if (!qn_str_is(name, numbers[i].name))
            continue;
        for (uint32_t k = 0; k < text.len; k++) {
            if (text.p[k] < '0' || text.p[k] > '9')
                return false;
            v = 10 * v + (uint64_t)(text.p[k] - '0');
        }
        if (numbers[i].is_wide)
            memcpy(at, &v, sizeof v);
        else
            memcpy(at, &(uint32_t){(uint32_t)v}, sizeof(uint32_t));
        return text.len > 0 && text.len <= 20;
    }
    return true;
}

/* The members of one file up to its end. */
static bool take_file(struct qn_json_reader *r, struct qn_tail_file *f)
{
    *f = (struct qn_tail_file){.fd = -1};
    for (;;) {
        enum qn_json_kind kind = qn_json_next(r);

        if (kind == QN_JSON_CLOSE)
            return f->path != NULL && f->offset > 0 && f->head_bytes <= QN_TAIL_HEAD_BYTES &&
                   (f->head_bytes > 0 || f->is_compressed);
        if (kind == QN_JSON_STRING && qn_str_is(r->key, "path") && f->path == NULL)
            f->path = qn_mem_strdup(r->text.p, r->text.len);
        else if (kind == QN_JSON_STRING && !take_number(f, r->key, r->text))
            return false;
        else if (kind == QN_JSON_TRUE && qn_str_is(r->key, "compressed"))
            f->is_compressed = true;
        else if (kind == QN_JSON_TRUE && qn_str_is(r->key, "skipping"))
            f->is_skipping = true;
        else if (!qn_json_skip(r, kind))
            return false;
    }
}

static bool restore(struct qn_tail *t, struct qn_json_reader *r)
{
    enum qn_json_kind kind;

    if (qn_json_next(r) != QN_JSON_OBJECT || qn_json_next(r) != QN_JSON_ARRAY ||
        !qn_str_is(r->key, "files"))
        return false;
    while ((kind = qn_json_next(r)) == QN_JSON_OBJECT) {
        if (t->count == QN_TAIL_FILES_MAX || !take_file(r, &t->files[t->count++]))
            return false;
    }
    return kind == QN_JSON_CLOSE && qn_json_next(r) == QN_JSON_CLOSE &&
           qn_json_next(r) == QN_JSON_END;
}

qn_status qn_tail_restore(struct qn_tail *t, struct qn_str position, struct qn_err *err)
{
    struct qn_arena arena = {0};
    struct qn_json_reader reader;
    bool is_good;

    qn_json_open(&reader, position, &arena);
    is_good = restore(t, &reader);
    qn_arena_fini(&arena);
    if (is_good)
        return QN_OK;
    qn_err_set(err, QN_CORRUPT, "the log holds a position that is none of a file source: '%.*s'",
               position.len < 80 ? (int)position.len : 80, position.p);
    err->fatal = true;
    return QN_CORRUPT;
}
