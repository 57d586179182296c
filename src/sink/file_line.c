/* SPDX-License-Identifier: Apache-2.0
 * file_line.c - a record of an output as a line: NDJSON as it is, CSV by the columns that the spec
 * names.
 *
 * Values look as docs/formats.md says: an absent or null member is an empty cell, an empty text is
 * "", objects and lists are their JSON. Thread: any. Memory: the caller's. */
#include "base/check.h"
#include "sink/file_int.h"
#include "sink/record_members.h"

bool qn_file_is_csv(const struct qn_file_options *o)
{
    size_t n = strlen(o->path);

    if (o->format != QN_FILE_BY_ENDING)
        return o->format == QN_FILE_CSV;
    return n >= 4 && memcmp(o->path + n - 4, ".csv", 4) == 0;
}

static void put_cell(struct qn_buf *out, struct qn_str s)
{
    bool is_quoted = s.len == 0 || s.p[0] == ' ' || s.p[s.len - 1] == ' ';

    for (uint32_t i = 0; i < s.len && !is_quoted; i++)
        is_quoted = s.p[i] == ',' || s.p[i] == '"' || s.p[i] == '\n' || s.p[i] == '\r';
    if (!is_quoted) {
        qn_buf_add(out, s.p, s.len);
        return;
    }
    qn_buf_byte(out, '"');
    for (uint32_t i = 0; i < s.len; i++) {
        if (s.p[i] == '"')
            qn_buf_byte(out, '"');
        qn_buf_byte(out, s.p[i]);
    }
    qn_buf_byte(out, '"');
}

void qn_file_head(const struct qn_file_options *o, struct qn_buf *out)
{
    if (!qn_file_is_csv(o))
        return;
    for (uint32_t i = 0; i < o->columns.count; i++) {
        if (i > 0)
            qn_buf_byte(out, ',');
        put_cell(out, qn_str_of(o->columns.items[i]));
    }
    qn_buf_byte(out, '\n');
}

static bool put_csv(const struct qn_file_options *o, struct qn_str record, struct qn_arena *arena,
                    struct qn_buf *out, const char **error)
{
    struct qn_str names[QN_MEMBERS_MAX];
    struct qn_member found[QN_MEMBERS_MAX];
    uint32_t count = o->columns.count;

    QN_ASSERT(count > 0 && count <= QN_MEMBERS_MAX);
    for (uint32_t i = 0; i < count; i++)
        names[i] = qn_str_of(o->columns.items[i]);
    if (!qn_record_members(record, names, count, arena, found, error))
        return false;
    for (uint32_t i = 0; i < count; i++) {
        bool is_null = found[i].kind == QN_JSON_END || found[i].kind == QN_JSON_NULL;

        if (i > 0)
            qn_buf_byte(out, ',');
        if (!is_null || count == 1) /* many readers skip empty lines */
            put_cell(out, is_null ? (struct qn_str){"", 0} : found[i].text);
    }
    qn_buf_byte(out, '\n');
    return true;
}

bool qn_file_line(const struct qn_file_options *o, struct qn_str record, struct qn_arena *arena,
                  struct qn_buf *out, const char **error)
{
    char *line;

    if (record.p == NULL) {
        *error = "it has no value";
        return false;
    }
    if (qn_file_is_csv(o))
        return put_csv(o, record, arena, out, error);
    line = qn_buf_room(out, (size_t)record.len + 1);
    if (line == NULL)
        return true;                          /* out->failed says it */
    for (uint32_t i = 0; i < record.len; i++) /* between members a line end is only white space */
        line[i] = record.p[i] == '\n' || record.p[i] == '\r' ? ' ' : record.p[i];
    line[record.len] = '\n';
    out->len += (size_t)record.len + 1;
    return true;
}
