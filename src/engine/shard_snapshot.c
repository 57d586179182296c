/* SPDX-License-Identifier: Apache-2.0
 * shard_snapshot.c - when the state of a shard is saved, and which snapshot it believes. See
 * shard.h.
 *
 * FOLDER/GROUP/PARTITION holds the snapshots of a shard, whichever process has it; a lock on the
 * file `lock` there says who may write, so that a process that was thought dead cannot spoil what
 * another one saves. Whoever does not get it goes on without saving. In a bucket they lie below
 * PREFIX/GROUP/LOG/PARTITION, and a process writes with numbers that begin with the generation of
 * the group in which it got the partition: later ones are newer, and nobody meets another's names.
 * A bucket is asked while restoring only; later the writer's thread does that. A snapshot is of the
 * state behind a burst, and is published when its position is committed. Payload: a commit record
 * (commit_record.h) with the position, since, first and the log's id as inputs, where there are
 * several streams that of the journal and of each of them, and the hash of each output. Thread: the
 * engine's. */
#include "engine/shard.h"

#ifdef QN_WITH_KAFKA

#include "base/check.h"
#include "base/memory.h"
#include "engine/commit_record.h"
#include "engine/engine_state.h"
#include "engine/shard_merge.h"
#include "engine/shard_stage.h"
#include "engine/snapshot_bucket.h"

#include <errno.h>

enum {
    WORK_BYTES = 1 << 20,
    INPUTS = 4, /* of each shard; with several streams then the journal, and each of them */
    INPUTS_MAX = INPUTS + 1 + QN_STREAMS_MAX,
    OUTPUTS_MAX = 128,
    GENERATION_BITS = 32, /* below them, numbers of one owner's snapshots and packs       */
    RETRY_MS = 5000,      /* after one that failed; doubled each time, up to:             */
    RETRY_MAX_MS = 60000
};

struct qn_shard_snapshots {
    struct qn_snapshot_store store;
    struct qn_snapshots *sn;
    struct qn_section *sections;
    bool is_bucket;
    bool must_renumber; /* the partition was somebody else's meanwhile      */
    int lock_fd;        /* of a folder; -1 = another process saves          */
    int64_t saved_next; /* of the last one begun or restored                */
    int64_t begun_next; /* of the one that is being taken                   */
    int64_t begun_ns;   /* likewise                                         */
    int64_t due_ns;     /* when the next one is                             */
    uint32_t failures;  /* since the last that was published                */
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

/* Those of the engine, and what a stage knows of the one before it. */
static uint32_t section_count(const struct qn_shard *s)
{
    return qn_engine_section_count(s->en) + (s->reads_stage ? 1 : 0);
}

static qn_status open_folder(struct qn_shard *s, struct qn_err *err)
{
    struct qn_buf path = {0};
    qn_status rc = make_folders(s, &path, err);

    if (rc == QN_OK) {
        if (!s->is_copy)
            take_lock(s, path.data);
        rc = qn_snapshot_folder_new(s->opt.files, path.data, &s->snapshots->store, err);
    }
    qn_buf_fini(&path);
    return rc;
}

static qn_status open_bucket(struct qn_shard *s, struct qn_err *err)
{
    struct qn_buf below = {0};
    qn_status rc;

    qn_buf_printf(&below, "%s/%016llx/%u/", s->def->group, (unsigned long long)s->opt.log_id,
                  s->partition);
    qn_buf_byte(&below, '\0');
    rc = below.failed ? qn_err_set(err, QN_NOMEM, "out of memory for snapshots")
                      : qn_snapshot_bucket_open(s->plan, s->opt.clock, s->opt.random, below.data,
                                                &s->snapshots->store, err);
    qn_buf_fini(&below);
    return rc;
}

qn_status qn_shard_snapshots_open(struct qn_shard *s, struct qn_err *err)
{
    struct qn_shard_snapshots *x = QN_NEW(&s->arena, struct qn_shard_snapshots);

    s->snapshots = x;
    if (x == NULL)
        return qn_err_set(err, QN_NOMEM, "out of memory for snapshots");
    x->sections = QN_NEW_N(&s->arena, struct qn_section, section_count(s));
    if (x->sections == NULL)
        return qn_err_set(err, QN_NOMEM, "out of memory for snapshots");
    QN_ASSERT(s->output_count < OUTPUTS_MAX);
    x->lock_fd = -1;
    x->is_bucket = s->plan->storage.bucket.name != NULL;
    return x->is_bucket ? open_bucket(s, err) : open_folder(s, err);
}

static uint64_t first_number(const struct qn_shard *s)
{
    return s->generation > 0 ? (uint64_t)s->generation << GENERATION_BITS : 0;
}

qn_status qn_shard_snapshots_begin(struct qn_shard *s, struct qn_err *err)
{
    struct qn_shard_snapshots *x = s->snapshots;
    const struct qn_snapshots_options opt = {.store = &x->store,
                                             .sections = x->sections,
                                             .section_count = section_count(s),
                                             .workers = s->opt.threads,
                                             .first_number = x->is_bucket ? first_number(s) : 0};

    if (x->sn != NULL)
        return QN_OK;
    QN_TRY(qn_engine_sections(s->en, x->sections, err));
    if (s->reads_stage)
        x->sections[qn_engine_section_count(s->en)] = qn_shard_stage_section(s);
    QN_TRY(qn_snapshots_new(&opt, &x->sn, err));
    x->due_ns = mono_ns(s) + s->plan->storage.snapshot_every_us * 1000;
    s->saved.since_us = s->opt.clock->wall_us(s->opt.clock->st);
    return QN_OK;
}

void qn_shard_snapshots_free(struct qn_shard *s)
{
    struct qn_shard_snapshots *x = s->snapshots;
    const struct qn_files *f = s->opt.files;

    if (x == NULL)
        return;
    qn_snapshot_store_cancel(&x->store); /* nobody waits for a bucket that does not answer */
    qn_snapshots_free(x->sn);
    qn_snapshot_store_free(&x->store);
    if (x->lock_fd >= 0)
        (void)f->close(f->st, x->lock_fd);
    s->snapshots = NULL;
}

/* Of a folder nothing is kept, since another process wants the lock. A bucket's numbers are known
 * only by asking it, which nobody may wait for when the partition comes back. */
void qn_shard_snapshots_park(struct qn_shard *s)
{
    struct qn_shard_snapshots *x = s->snapshots;

    if (x == NULL || !x->is_bucket) {
        qn_shard_snapshots_free(s);
        return;
    }
    if (qn_snapshots_phase(x->sn) != QN_SNAPSHOT_WRITING)
        qn_snapshots_give_up(x->sn);
    x->must_renumber = true;
}

qn_status qn_shard_snapshots_unpark(struct qn_shard *s, struct qn_err *err)
{
    if (s->snapshots != NULL)
        return QN_OK;
    QN_TRY(qn_shard_snapshots_open(s, err));
    return qn_shard_snapshots_begin(s, err);
}

void qn_shard_snapshots_cancel(struct qn_shard *s)
{
    if (s->snapshots != NULL)
        qn_snapshot_store_cancel(&s->snapshots->store);
}

/* ---- restoring -------------------------------------------------------------------------------*/

struct choice {
    struct qn_shard *s;
    int64_t oldest;
    struct qn_commit_input inputs[INPUTS_MAX];
    struct qn_commit_output outputs[OUTPUTS_MAX];
    struct qn_commit read; /* of the one looked at last, which is the one that is loaded */
    struct qn_err silence; /* the store did not answer, when last it did not */
    int64_t farthest;      /* of all looked at */
};

static uint32_t input_count(const struct qn_shard *s)
{
    return s->merge != NULL ? INPUTS + 1 + s->merge->count : INPUTS;
}

/* Takes a payload apart; QN_INVALID where it is of another log. */
static qn_status read_payload(struct choice *c, struct qn_str payload, struct qn_err *err)
{
    c->read = (struct qn_commit){.inputs = c->inputs, .outputs = c->outputs};
    QN_TRY(qn_commit_read(payload, INPUTS_MAX, OUTPUTS_MAX, &c->read, err));
    if (c->read.input_count != input_count(c->s))
        return qn_err_set(err, QN_CORRUPT, "it says %u positions", c->read.input_count);
    if (c->inputs[3].next != c->s->opt.log_id)
        return qn_err_set(err, QN_INVALID, "it is of another cluster or topic");
    return QN_OK;
}

static qn_status fits_streams(const struct choice *c, int64_t next, struct qn_err *err)
{
    const struct qn_shard_place *place = c->s->merge->place;

    for (uint32_t i = 0; i < c->s->merge->count; i++) {
        if ((int64_t)c->inputs[INPUTS + 1 + i].next < place->oldest[i])
            return qn_err_set(err, QN_NOT_FOUND, "the topic '%s' no longer reaches back to it",
                              c->s->plan->kafka.stream_topics[i]);
        if ((int64_t)c->inputs[INPUTS + 1 + i].next > place->committed[i])
            return qn_err_set(err, QN_INVALID, "it is ahead of what was committed");
    }
    if (next < c->s->committed && (int64_t)c->inputs[INPUTS].next < place->journal_oldest)
        return qn_err_set(err, QN_NOT_FOUND, "the journal no longer reaches back to it");
    return QN_OK;
}

static qn_status fits(void *arg, const struct qn_snapshot_info *info, struct qn_err *err)
{
    struct choice *c = arg;
    int64_t next;

    QN_TRY(read_payload(c, info->payload, err));
    next = (int64_t)c->inputs[0].next;
    if ((int64_t)c->inputs[2].next != c->s->mark.first)
        return qn_err_set(err, QN_INVALID, "its state began at another record");
    if (next > c->s->committed)
        return qn_err_set(err, QN_INVALID, "it is ahead of what was committed");
    if (c->s->merge != NULL)
        return fits_streams(c, next, err);
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
    if (why->retriable)
        c->silence = *why;
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

static qn_status take_streams(struct qn_shard *s, const struct choice *c, struct qn_err *err)
{
    int64_t next[QN_STREAMS_MAX];

    for (uint32_t i = 0; i < s->merge->count; i++)
        next[i] = (int64_t)c->inputs[INPUTS + 1 + i].next;
    return qn_shard_merge_stand(s, next, (int64_t)c->inputs[INPUTS].next, err);
}

qn_status qn_shard_snapshots_restore(struct qn_shard *s, int64_t oldest, bool *found,
                                     struct qn_err *err)
{
    struct choice c = {.s = s, .oldest = oldest};
    const struct qn_snapshot_choice how = {fits, passed_over, &c};
    struct qn_snapshot_info got = {0};

    QN_TRY(qn_snapshots_restore(s->snapshots->sn, &how, &got, err));
    *found = got.number > 0;
    if (!*found && s->snapshots->is_bucket && c.silence.code != QN_OK) { /* it may be mended */
        if (err != NULL)
            *err = c.silence;
        return c.silence.code;
    }
    if (!*found)
        return QN_OK;
    s->saved.taken_us = got.taken_us;
    s->next = s->snapshots->saved_next = (int64_t)c.inputs[0].next;
    take_chains(s, &c);
    if (s->merge != NULL)
        QN_TRY(take_streams(s, &c, err));
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
    struct qn_commit_input inputs[INPUTS_MAX] = {{0, (uint64_t)s->next},
                                                 {1, (uint64_t)s->mark.since},
                                                 {2, (uint64_t)s->mark.first},
                                                 {3, s->opt.log_id}};
    struct qn_commit_output outputs[OUTPUTS_MAX];
    struct qn_commit m = {.maker = s->mark.maker,
                          .inputs = inputs,
                          .outputs = outputs,
                          .input_count = input_count(s),
                          .output_count = s->output_count + 1};
    struct qn_snapshot_info info = {.position = (uint64_t)s->next,
                                    .taken_us = s->opt.clock->wall_us(s->opt.clock->st)};
    struct qn_buf payload = {0};
    qn_status rc;

    for (uint32_t i = INPUTS; i < m.input_count; i++) {
        const struct qn_shard_lane *l =
            &s->merge->lanes[i == INPUTS ? s->merge->count : i - INPUTS - 1];

        inputs[i] = (struct qn_commit_input){i, (uint64_t)l->next};
    }
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

/* The older ones stay, and the partition goes on. Said once, until one is published again. */
static void failed(struct qn_shard *s, const struct qn_err *err)
{
    struct qn_shard_snapshots *x = s->snapshots;
    int64_t wait_ms = (int64_t)RETRY_MS << (x->failures < 8 ? x->failures : 8);

    if (x->failures++ == 0)
        qn_report_say(s->opt.report, QN_LEVEL_WARN, "snapshot", "partition %u: %s", s->partition,
                      err->text);
    wait_ms = wait_ms < RETRY_MAX_MS ? wait_ms : RETRY_MAX_MS;
    x->due_ns = mono_ns(s) + wait_ms * 1000000;
    s->saved.failed++;
}

static void ended(struct qn_shard *s)
{
    struct qn_shard_snapshots *x = s->snapshots;
    struct qn_snapshot_info info;
    struct qn_err err = {0};

    if (qn_snapshots_result(x->sn, &info, &err) != QN_OK) {
        if (err.code != QN_INTERRUPTED) /* else it was given up when the partition was taken away */
            failed(s, &err);
        return;
    }
    if (x->failures > 0)
        qn_report_say(s->opt.report, QN_LEVEL_INFO, "snapshot",
                      "partition %u: published again, after %u that were given up", s->partition,
                      x->failures);
    x->failures = 0;
    x->saved_next = x->begun_next;
    s->saved.taken_us = info.taken_us;
    s->saved.bytes = info.all_bytes;
    s->saved.took_ns = mono_ns(s) - x->begun_ns;
    s->saved.count++;
}

bool qn_shard_has_unsaved(const struct qn_shard *s)
{
    return s->snapshots != NULL && s->next != s->snapshots->saved_next;
}

static bool may_begin(const struct qn_shard *s, bool is_now)
{
    const struct qn_shard_snapshots *x = s->snapshots;

    return (x->is_bucket || x->lock_fd >= 0) && !s->is_replaying &&
           (s->merge == NULL || qn_shard_merge_is_told(s)) && qn_shard_has_unsaved(s) &&
           (is_now || mono_ns(s) >= x->due_ns);
}

/* What is saved now is of the state as it is. */
static bool begin_one(struct qn_shard *s)
{
    struct qn_shard_snapshots *x = s->snapshots;
    struct qn_err err = {0};

    if (x->must_renumber)
        qn_snapshots_renumber(x->sn, first_number(s));
    x->must_renumber = false;
    x->begun_ns = mono_ns(s);
    x->due_ns = x->begun_ns + s->plan->storage.snapshot_every_us * 1000;
    if (begin(s, &err) == QN_OK)
        return true;
    failed(s, &err);
    return false;
}

bool qn_shard_snapshot(struct qn_shard *s, bool is_now)
{
    struct qn_shard_snapshots *x = s->snapshots;
    enum qn_snapshot_phase phase = qn_snapshots_phase(x->sn);

    if (phase == QN_SNAPSHOT_NONE) {
        if (!may_begin(s, is_now) || !begin_one(s))
            return false;
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

bool qn_shard_is_saving(struct qn_shard *s)
{
    return qn_snapshots_phase(s->snapshots->sn) != QN_SNAPSHOT_NONE;
}

/* ---- what was before -------------------------------------------------------------------------*/

static void look_at_past(void *arg, const struct qn_snapshot_info *info)
{
    struct choice *c = arg;

    if (read_payload(c, info->payload, NULL) == QN_OK && (int64_t)c->inputs[0].next > c->farthest)
        c->farthest = (int64_t)c->inputs[0].next;
}

qn_status qn_shard_snapshots_past(struct qn_shard *s, int64_t *next, struct qn_err *err)
{
    struct choice c = {.s = s, .farthest = -1};

    QN_TRY(qn_snapshots_list(&s->snapshots->store, look_at_past, &c, err));
    *next = c.farthest;
    return QN_OK;
}

#endif
