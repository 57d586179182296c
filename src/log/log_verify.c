/* SPDX-License-Identifier: Apache-2.0
 * log_verify.c - reads the whole log and checks everything that can be checked.
 *
 * Every frame from the first: checksum, LSN, log id, chain from frame to frame and from segment to
 * segment, sections, records, offsets without gaps, dictionaries equal to what their predecessors
 * add up to. Nothing is changed. Thread: the caller; holds no lock while reading. Memory: a state
 * and one window. */
#include "log/log_int.h"

#include <stdio.h>

struct verify {
    struct qn_log *log;
    void (*found)(void *arg, const struct qn_err *err);
    void *arg;
    struct qn_log_check *check;
    struct qn_log_state *state; /* as the frames add up     */
    bool has_state;
    uint32_t crc; /* of the frame before, where has_state   */
};

static void tell(struct verify *v, const char *path, uint64_t first_lsn, uint64_t lsn,
                 const char *what)
{
    struct qn_err err = {0};

    qn_err_set(&err, QN_CORRUPT, "byte %llu (LSN %llu): %s", (unsigned long long)(lsn - first_lsn),
               (unsigned long long)lsn, what);
    err.offset = lsn - first_lsn;
    err.has_offset = true;
    qn_err_at(&err, path, 0, 0);
    v->check->damaged++;
    v->found(v->arg, &err);
}

/* The dictionary is what the frames before it add up to; afterwards it is the state. */
static const char *check_dictionary(struct verify *v, const struct qn_log_section *s)
{
    const char *why = NULL;
    struct qn_buf mine = {0};

    if (v->has_state) {
        qn_log_state_write(v->state, &mine);
        if (!mine.failed && (mine.len != s->bytes || memcmp(mine.data, s->body, s->bytes) != 0))
            why = "the dictionary is not what the frames before it add up to";
    }
    qn_buf_fini(&mine);
    qn_log_state_fini(v->state);
    memset(v->state, 0, sizeof *v->state);
    v->has_state = qn_log_state_read(v->state, (struct qn_str){s->body, s->bytes}, NULL) == QN_OK;
    return v->has_state ? why : "the dictionary makes no sense";
}

static const char *check_frame(struct verify *v, const struct qn_log_frame *f,
                               struct qn_str sections)
{
    const char *p = sections.p, *end = p + sections.len, *why = NULL;
    struct qn_log_section s;
    bool bad = false;

    v->check->frames++;
    v->check->bytes += f->length;
    while (why == NULL && qn_log_section_next(&p, end, &s, &bad)) {
        v->check->sections++;
        if (s.kind == QN_LOG_RECORDS || s.kind == QN_LOG_CONTROL)
            v->check->records += s.count;
        if (s.kind == QN_LOG_DICTIONARY)
            why = check_dictionary(v, &s);
        else if (v->has_state && !qn_log_state_note(v->state, f, &s, &why))
            v->has_state = false; /* one finding, not one per frame from here on */
    }
    return why;
}

/* One segment up to end_lsn. Behind a damage it goes on at the next good frame. */
static qn_status verify_segment(struct verify *v, const struct qn_log_segment_info *s,
                                struct qn_err *err)
{
    const struct qn_files *fs = v->log->opt.files;
    struct qn_log_walk w = {.window = {.files = fs},
                            .id = v->log->id.half[0],
                            .first_lsn = s->first_lsn,
                            .size = s->bytes,
                            .lsn = s->first_lsn + QN_LOG_SECTOR};
    struct qn_log_segment_header h;
    char path[QN_LOG_PATH_MAX];
    const char *p, *why;
    qn_status rc;

    qn_log_path(v->log, s->first_lsn, "seg", path);
    w.window.name = path;
    w.window.fd = fs->open(fs->st, path, QN_OPEN_READ);
    if (w.window.fd < 0)
        return qn_err_sys(err, -w.window.fd, "cannot open '%s'", path);
    rc = qn_log_window_get(&w.window, 0, QN_LOG_SECTOR, &p, err);
    if (rc == QN_OK && (why = qn_log_segment_header_read(p, &h)) != NULL)
        tell(v, path, s->first_lsn, s->first_lsn, why);
    while (rc == QN_OK && w.lsn < s->end_lsn) {
        uint64_t lsn = w.lsn;
        struct qn_log_frame f;
        struct qn_str sections;
        bool found;

        rc = qn_log_walk_next(&w, &found, &f, &sections, err);
        if (rc != QN_OK)
            break;
        if (found) {
            if (v->has_state && lsn == s->first_lsn + QN_LOG_SECTOR && f.prev_crc != v->crc)
                tell(v, path, s->first_lsn, lsn, "the segment does not follow the one before");
            why = check_frame(v, &f, sections);
            if (why != NULL)
                tell(v, path, s->first_lsn, lsn, why);
            v->crc = f.crc;
            continue;
        }
        tell(v, path, s->first_lsn, lsn, w.why);
        v->has_state = false;
        rc = qn_log_walk_scan_on(&w, &found, &w.lsn, err);
        if (!found)
            break;
        rc = rc != QN_OK ? rc : qn_log_walk_resume(&w, err);
    }
    fs->close(fs->st, w.window.fd);
    qn_log_walk_fini(&w);
    return rc;
}

qn_status qn_log_verify(struct qn_log *lg, void (*found)(void *arg, const struct qn_err *err),
                        void *arg, struct qn_log_check *out, struct qn_err *err)
{
    struct verify v = {.log = lg, .found = found, .arg = arg, .check = out};
    struct qn_log_segment_info s;
    qn_status rc = QN_OK;

    memset(out, 0, sizeof *out);
    v.state = qn_mem_zalloc(1, sizeof *v.state);
    if (v.state == NULL)
        return qn_err_set(err, QN_NOMEM, "out of memory to verify the log");
    for (uint32_t i = 0; rc == QN_OK && qn_log_segment_at(lg, i, &s); i++) {
        rc = verify_segment(&v, &s, err);
        out->segments++;
    }
    qn_log_state_fini(v.state);
    qn_mem_free(v.state);
    return rc;
}
