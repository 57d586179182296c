/* SPDX-License-Identifier: Apache-2.0
 * file_position.c - the file beside a growing file that says what of it is certain.
 *
 * One JSON object (docs/formats.md, "File sink"). It names the log and the sink it belongs to,
 * because offsets mean nothing in another log. Written whole: PATH.position.tmp, synced, renamed,
 * folder synced. Thread: the delivery's. */
#include "base/number.h"
#include "sink/file_int.h"
#include "sink/record_members.h"

#include <stdio.h>

enum { POSITION_BYTES_MAX = 64 * 1024, VERSION = 1 };

static void name_of(const char *path, const char *ending, char out[QN_SINK_NAME_MAX])
{
    snprintf(out, QN_SINK_NAME_MAX, "%s.position%s", path, ending);
}

qn_status qn_file_sync_folder(const struct qn_sink_boot *boot, const char *path, struct qn_err *err)
{
    const char *slash = strrchr(path, '/');
    char folder[QN_SINK_NAME_MAX] = ".";
    int rc;

    if (slash != NULL)
        snprintf(folder, sizeof(folder), "%.*s", (int)(slash == path ? 1 : slash - path), path);
    rc = boot->files->sync_folder(boot->files->st, folder);
    return rc < 0 ? qn_err_sys(err, -rc, "cannot sync the folder '%s'", folder) : QN_OK;
}

static bool take_number(const struct qn_member *m, uint64_t *out)
{
    int64_t v;

    if (m->kind != QN_JSON_NUMBER || !qn_text_int64(m->text, &v) || v < 0)
        return false;
    *out = (uint64_t)v;
    return true;
}

bool qn_file_position_parse(struct qn_str text, struct qn_arena *arena,
                            struct qn_file_position *out, struct qn_str *log, struct qn_str *sink)
{
    enum { MEMBER_VERSION, LOG, SINK, NEXT, BYTES, FIRST, BEGUN, FINISHED, MEMBERS };
    static const struct qn_str names[MEMBERS] = {
        {"quern_position", 14}, {"log", 3},   {"sink", 4},     {"next", 4},
        {"bytes", 5},           {"first", 5}, {"begun_us", 8}, {"finished", 8}};
    struct qn_member m[MEMBERS];
    uint64_t version, begun;
    const char *why;

    memset(out, 0, sizeof(*out));
    if (!qn_record_members(text, names, MEMBERS, arena, m, &why) ||
        !take_number(&m[MEMBER_VERSION], &version) || version != VERSION ||
        m[LOG].kind != QN_JSON_STRING || m[SINK].kind != QN_JSON_STRING ||
        !take_number(&m[NEXT], &out->next) || !take_number(&m[BYTES], &out->bytes) ||
        !take_number(&m[FIRST], &out->first) || !take_number(&m[BEGUN], &begun))
        return false;
    *log = m[LOG].text;
    *sink = m[SINK].text;
    out->begun_us = (int64_t)begun;
    if (m[FINISHED].kind == QN_JSON_END)
        return true;
    if (m[FINISHED].kind != QN_JSON_STRING || m[FINISHED].text.len == 0 ||
        m[FINISHED].text.len >= sizeof(out->finished) ||
        memchr(m[FINISHED].text.p, '\0', m[FINISHED].text.len) != NULL)
        return false;
    memcpy(out->finished, m[FINISHED].text.p, m[FINISHED].text.len);
    out->is_finishing = true;
    return true;
}

qn_status qn_file_position_read(const struct qn_sink_boot *boot, const char *path,
                                struct qn_file_position *out, bool *is_other, struct qn_err *err)
{
    char name[QN_SINK_NAME_MAX];
    struct qn_arena arena = {0};
    struct qn_buf text = {0};
    struct qn_str log, sink;
    qn_status rc;

    *is_other = false;
    name_of(path, "", name);
    rc = qn_file_read_all(boot->files, name, POSITION_BYTES_MAX, &text, err);
    if (rc == QN_OK) {
        if (!qn_file_position_parse((struct qn_str){text.data, (uint32_t)text.len}, &arena, out,
                                    &log, &sink))
            rc = qn_err_set(err, QN_CORRUPT,
                            "'%s' is no position of a file sink: move it and '%s' away to begin "
                            "a new file",
                            name, path);
        else
            *is_other = !qn_str_is(log, boot->log_id) || !qn_str_eq(sink, boot->sink);
    }
    qn_arena_fini(&arena);
    qn_buf_fini(&text);
    return rc;
}

/* Writes the whole of a file, synced, under the name it has for now. */
static qn_status write_synced(const struct qn_sink_boot *boot, const char *name,
                              const struct qn_buf *text, struct qn_err *err)
{
    const struct qn_files *fs = boot->files;
    int fd = fs->open(fs->st, name, QN_OPEN_REPLACE), failed;
    qn_status rc;

    if (fd < 0)
        return qn_err_sys(err, -fd, "cannot write '%s'", name);
    rc = qn_file_write_all(fs, fd, name, text->data, text->len, err);
    if (rc == QN_OK && (failed = fs->sync(fs->st, fd)) < 0)
        rc = qn_err_sys(err, -failed, "cannot sync '%s'", name);
    if ((failed = fs->close(fs->st, fd)) < 0 && rc == QN_OK)
        rc = qn_err_sys(err, -failed, "cannot close '%s'", name);
    return rc;
}

qn_status qn_file_position_write(const struct qn_sink_boot *boot, const char *path,
                                 const struct qn_file_position *p, struct qn_err *err)
{
    char name[QN_SINK_NAME_MAX], draft[QN_SINK_NAME_MAX];
    struct qn_buf text = {0};
    qn_status rc;
    int failed;

    name_of(path, "", name);
    name_of(path, ".tmp", draft);
    qn_buf_printf(&text, "{\"quern_position\":%d,\"log\":\"%s\",\"sink\":", VERSION, boot->log_id);
    qn_json_string(&text, boot->sink);
    qn_buf_printf(&text, ",\"next\":%llu,\"bytes\":%llu,\"first\":%llu,\"begun_us\":%lld",
                  (unsigned long long)p->next, (unsigned long long)p->bytes,
                  (unsigned long long)p->first, (long long)p->begun_us);
    if (p->is_finishing) {
        qn_buf_text(&text, ",\"finished\":");
        qn_json_string(&text, qn_str_of(p->finished));
    }
    qn_buf_text(&text, "}\n");
    rc = text.failed ? qn_err_set(err, QN_NOMEM, "out of memory for '%s'", name)
                     : write_synced(boot, draft, &text, err);
    if (rc == QN_OK && (failed = boot->files->rename(boot->files->st, draft, name)) < 0)
        rc = qn_err_sys(err, -failed, "cannot rename '%s'", draft);
    if (rc == QN_OK)
        rc = qn_file_sync_folder(boot, path, err);
    qn_buf_fini(&text);
    return rc;
}
