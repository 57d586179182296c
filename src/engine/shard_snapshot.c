/* SPDX-License-Identifier: Apache-2.0
 * shard_snapshot.c - when the state of a shard is saved, and which snapshot it believes. See
 * shard.h.
 *
 * FOLDER/GROUP/PARTITION holds the snapshots of a shard, whichever process has it; a lock on the
 * file `lock` there says who may write, so that a process that was thought dead cannot spoil what
 * another one saves. Whoever does not get it goes on without saving. A snapshot is of the state
 * behind a burst, and is published when its position is committed. Payload: a commit record
 * (commit_record.h) with the position, since, first and the log's id as inputs, and the hash of
 * each output. Thread: the engine's. */
#include "engine/shard.h"

#ifdef QN_WITH_KAFKA

#include "base/check.h"
#include "base/memory.h"
#include "engine/commit_record.h"
#include "engine/engine_state.h"
#include "engine/shard_stage.h"

#include <errno.h>

enum { WORK_BYTES = 1 << 20, INPUTS = 4, OUTPUTS_MAX = 128 };

struct qn_shard_snapshots {
    struct qn_snapshot_store store;
    struct qn_snapshots *sn;
    struct qn_section *sections;
    int lock_fd;        /* -1 = another process saves                       */
    int64_t saved_next; /* of the last one begun or restored                */
    int64_t begun_next; /* of the one that is being taken                   */
    int64_t due_ns;     /* when the next one is                             */
    bool is_reported;   /* the failure of the last one was said */
};

static int64_t mono_ns(const struct qn_shard *s)
{
    return s->opt.clock->mono_ns(s->opt.clock->st);
}

/* ---- the folder ------------------------------------------------------------------------------*/

/* FOLDER/GROUP/PARTITION, made where it is not there; NUL-terminated. */
static qn_status make_folders(struct qn_shard *s, struct qn_buf *path, struct qn_err *err)
{
    const struct qn_files *f = s->opt.files;
    const struct qn_plan_kafka *k = &s->plan->kafka;
    size_t ends[3];

    qn_buf_text(path, k->snapshots);
    ends[0] = path->len;
    qn_buf_printf(path, "/%s", s->def->group);
    ends[1] = path->len;
    qn_buf_printf(path, "/%u", s->partition);
    ends[2] = path->len;
    qn_buf_byte(path, '\0');
    if (path->failed)
        return qn_err_set(err, QN_NOMEM, "out of memory for snapshots");
    for (int i = 0; i < 3; i++) {
        const char cut = path->data[ends[i]];
        int rc;

        path->data[ends[i]] = '\0';
        rc = f->make_folder(f->st, path->data);
        if (rc < 0 && rc != -EEXIST)
            return qn_err_sys(err, -rc, "cannot make the folder '%s' for snapshots", path->data);
        path->data[ends[i]] = cut;
    }
    return QN_OK;
}

static void take_lock(struct qn_shard *s, const char *folder)
{
    const struct qn_files *f = s->opt.files;
    struct qn_buf path = {0};
    int fd;

    s->snapshots->lock_fd = -1;
    qn_buf_printf(&path, "%s/lock", folder);
    qn_buf_byte(&path, '\0');
    fd = path.failed ? -ENOMEM : f->open(f->st, path.data, QN_OPEN_CREATE);
    if (fd >= 0 && f->lock(f->st, fd) < 0) {
        (void)f->close(f->st, fd);
        fd = -1;
    }
    s->snapshots->lock_fd = fd;
    if (fd < 0)
        qn_report_say(s->opt.report, QN_LEVEL_WARN, "snapshot",
                      "partition %u: another process still holds '%s': none are taken here until "
                      "the partition comes again",
                      s->partition, path.failed ? folder : path.data);
    qn_buf_fini(&path);
}

qn_status qn_shard_snapshots_new(struct qn_shard *s, struct qn_err *err)
{
    const uint32_t own = qn_engine_section_count(s->en), n = own + (s->reads_stage ? 1 : 0);
    struct qn_shard_snapshots *x = QN_NEW(&s->arena, struct qn_shard_snapshots);
    struct qn_snapshots_options opt = {.section_count = n, .workers = s->opt.threads};
    struct qn_buf path = {0};
    qn_status rc;

    s->snapshots = x;
    if (x == NULL || (x->sections = QN_NEW_N(&s->arena, struct qn_section, n)) == NULL)
        return qn_err_set(err, QN_NOMEM, "out of memory for snapshots");
    x->lock_fd = -1;
    QN_ASSERT(s->output_count < OUTPUTS_MAX);
    rc = make_folders(s, &path, err);
    if (rc == QN_OK) {
        take_lock(s, path.data);
        rc = qn_snapshot_folder_new(s->opt.files, path.data, &x->store, err);
    }
    qn_buf_fini(&path);
    QN_TRY(rc);
    QN_TRY(qn_engine_sections(s->en, x->sections, err));
    if (s->reads_stage)
        x->sections[own] = qn_shard_stage_section(s);
    opt.store = &x->store;
    opt.sections = x->sections;
    QN_TRY(qn_snapshots_new(&opt, &x->sn, err));
    x->due_ns = mono_ns(s) + s->plan->storage.snapshot_every_us * 1000;
    return QN_OK;
}

void qn_shard_snapshots_free(struct qn_shard *s)
{
    struct qn_shard_snapshots *x = s->snapshots;
    const struct qn_files *f = s->opt.files;

    if (x == NULL)
        return;
    qn_snapshots_free(x->sn);
    qn_snapshot_store_free(&x->store);
    if (x->lock_fd >= 0)
        (void)f->close(f->st, x->lock_fd);
    s->snapshots = NULL;
}

/* ---- restoring -------------------------------------------------------------------------------*/

struct choice {
    struct qn_shard *s;
    int64_t oldest;
    struct qn_commit_input inputs[INPUTS];
    struct qn_commit_output outputs[OUTPUTS_MAX];
    struct qn_commit read; /* of the one looked at last, which is the one that is loaded */
};

static qn_status fits(void *arg, const struct qn_snapshot_info *info, struct qn_err *err)
{
    struct choice *c = arg;
    int64_t next;

    c->read = (struct qn_commit){.inputs = c->inputs, .outputs = c->outputs};
    QN_TRY(qn_commit_read(info->payload, INPUTS, OUTPUTS_MAX, &c->read, err));
    if (c->read.input_count != INPUTS)
        return qn_err_set(err, QN_CORRUPT, "it says %u positions", c->read.input_count);
    next = (int64_t)c->inputs[0].next;
    if (c->inputs[3].next != c->s->opt.log_id)
        return qn_err_set(err, QN_INVALID, "it is of another cluster or topic");
    if ((int64_t)c->inputs[2].next != c->s->mark.first)
        return qn_err_set(err, QN_INVALID, "its state began at another record");
    if (next > c->s->committed)
        return qn_err_set(err, QN_INVALID, "it is ahead of what was committed");
    if (next < c->oldest)
        return qn_err_set(err, QN_NOT_FOUND, "the topic no longer reaches back to it");
    return QN_OK;
}

static void passed_over(void *arg, uint64_t number, const struct qn_err *why)
{
    struct choice *c = arg;

    qn_report_say(c->s->opt.report, QN_LEVEL_WARN, "snapshot",
                  "partition %u: %llu is passed over: %s", c->s->partition,
                  (unsigned long long)number, why->text);
}

/* The hash goes on where the snapshot's ended, if the same maker began it at the same place. */
static void take_chains(struct qn_shard *s, const struct choice *c)
{
    const struct qn_commit *m = &c->read;

    s->has_chain = m->maker == s->mark.maker && m->output_count == s->output_count + 1 &&
                   (int64_t)c->inputs[1].next == s->mark.since;
    for (uint32_t o = 0; s->has_chain && o < m->output_count; o++)
        s->chains[o] = c->outputs[o].hash;
}

qn_status qn_shard_snapshots_restore(struct qn_shard *s, int64_t oldest, bool *found,
                                     struct qn_err *err)
{
    struct choice c = {.s = s, .oldest = oldest};
    const struct qn_snapshot_choice how = {fits, passed_over, &c};
    struct qn_snapshot_info got = {0};

    QN_TRY(qn_snapshots_restore(s->snapshots->sn, &how, &got, err));
    *found = got.number > 0;
    if (!*found)
        return QN_OK;
    s->next = s->snapshots->saved_next = (int64_t)c.inputs[0].next;
    take_chains(s, &c);
    qn_report_say(s->opt.report, QN_LEVEL_INFO, "snapshot",
                  "partition %u: %llu restored: %llu bytes, %lld records are replayed",
                  s->partition, (unsigned long long)got.number, (unsigned long long)got.all_bytes,
                  (long long)(s->live_from - s->next));
    return QN_OK;
}

/* ---- taking ----------------------------------------------------------------------------------*/

static qn_status begin(struct qn_shard *s, struct qn_err *err)
{
    struct qn_shard_snapshots *x = s->snapshots;
    struct qn_commit_input inputs[INPUTS] = {{0, (uint64_t)s->next},
                                             {1, (uint64_t)s->mark.since},
                                             {2, (uint64_t)s->mark.first},
                                             {3, s->opt.log_id}};
    struct qn_commit_output outputs[OUTPUTS_MAX];
    struct qn_commit m = {.maker = s->mark.maker,
                          .inputs = inputs,
                          .outputs = outputs,
                          .input_count = INPUTS,
                          .output_count = s->output_count + 1};
    struct qn_snapshot_info info = {.position = (uint64_t)s->next,
                                    .taken_us = s->opt.clock->wall_us(s->opt.clock->st)};
    struct qn_buf payload = {0};
    qn_status rc;

    for (uint32_t o = 0; o < m.output_count; o++)
        outputs[o] = (struct qn_commit_output){.topic = o, .hash = s->chains[o]};
    qn_commit_write(&m, &payload);
    info.payload = (struct qn_str){payload.data, (uint32_t)payload.len};
    rc = payload.failed ? qn_err_set(err, QN_NOMEM, "out of memory for a snapshot")
                        : qn_snapshots_begin(x->sn, &info, err);
    qn_buf_fini(&payload);
    if (rc == QN_OK)
        x->begun_next = s->next;
    return rc;
}

static void complain(struct qn_shard *s, const struct qn_err *err)
{
    if (!s->snapshots->is_reported)
        qn_report_err(s->opt.report, QN_LEVEL_WARN, "snapshot", err);
    s->snapshots->is_reported = true;
}

static void ended(struct qn_shard *s)
{
    struct qn_shard_snapshots *x = s->snapshots;
    struct qn_err err = {0};

    if (qn_snapshots_result(x->sn, NULL, &err) != QN_OK) {
        complain(s, &err);
        return;
    }
    x->is_reported = false;
    x->saved_next = x->begun_next;
}

bool qn_shard_snapshot(struct qn_shard *s, bool is_now)
{
    struct qn_shard_snapshots *x = s->snapshots;
    enum qn_snapshot_phase phase = qn_snapshots_phase(x->sn);
    struct qn_err err = {0};

    if (phase == QN_SNAPSHOT_NONE) {
        if (x->lock_fd < 0 || s->is_replaying || s->next == x->saved_next ||
            (!is_now && mono_ns(s) < x->due_ns))
            return false;
        x->due_ns = mono_ns(s) + s->plan->storage.snapshot_every_us * 1000;
        if (begin(s, &err) != QN_OK) {
            complain(s, &err);
            return false;
        }
        phase = QN_SNAPSHOT_SWEEPING;
    }
    if (phase == QN_SNAPSHOT_SWEEPING)
        phase = qn_snapshots_step(x->sn, WORK_BYTES);
    if (phase == QN_SNAPSHOT_SWEPT && s->committed >= x->begun_next)
        qn_snapshots_finish(x->sn);
    if (phase == QN_SNAPSHOT_ENDED)
        ended(s);
    return phase == QN_SNAPSHOT_SWEEPING;
}

/* Goes on with the one that is under way, waiting where there is something to wait for. */
static void finish(struct qn_shard *s)
{
    struct qn_shard_snapshots *x = s->snapshots;

    for (;;)
        switch (qn_snapshots_phase(x->sn)) {
        case QN_SNAPSHOT_NONE:
            return;
        case QN_SNAPSHOT_SWEEPING:
            (void)qn_snapshots_step(x->sn, WORK_BYTES);
            break;
        case QN_SNAPSHOT_SWEPT:
            if (s->committed < x->begun_next)
                qn_snapshots_give_up(x->sn);
            else
                qn_snapshots_finish(x->sn);
            break;
        case QN_SNAPSHOT_WRITING:
            qn_snapshots_wait(x->sn);
            break;
        case QN_SNAPSHOT_ENDED:
            ended(s);
            break;
        }
}

void qn_shard_last_snapshot(struct qn_shard *s)
{
    finish(s);
    (void)qn_shard_snapshot(s, true);
    finish(s);
}

#endif
