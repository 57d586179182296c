/* SPDX-License-Identifier: Apache-2.0
 * snapshot.c - the course of a snapshot, as the engine's thread sees it. See snapshot.h.
 *
 * begin makes the cut, step sweeps section after section, finish leaves the rest to the writer.
 * The engine's thread never waits for the store: where the writer is behind, the sweep pauses, and
 * what touches save beyond a limit ends the snapshot. Thread: engine, between batches. */
#include "state/snapshot.h"

#include "base/check.h"
#include "base/memory.h"
#include "state/snapshot_int.h"

enum {
    PENDING_DEFAULT = 256 * 1024 * 1024,
    PACK_DEFAULT = 16 * 1024 * 1024,
    PACK_MAX = 32 * 1024 * 1024,
    CHAIN_PACKS_MAX = 8192, /* then a full one, however small the changes were */
    EPOCH_LAST = 32767
};

/* ---- marks ---- */

bool qn_cut_begin(struct qn_cut *c, bool is_full)
{
    bool was_mixed = c->is_mixed;
    uint16_t epoch = c->now >> 1;
    bool is_last = epoch == EPOCH_LAST;

    QN_ASSERT(!c->is_open);
    QN_ASSERT(is_full || !was_mixed);
    c->now = (uint16_t)((is_last ? 1 : epoch + 1) << 1 | 1);
    c->is_open = true;
    c->is_full = is_full;
    c->is_mixed = true;
    return is_last && was_mixed;
}

void qn_cut_end(struct qn_cut *c, bool is_swept)
{
    c->is_open = false;
    c->is_mixed = !is_swept;
}

/* ---- making and freeing ---- */

static void pieces_free(struct qn_save_piece *p)
{
    while (p != NULL) {
        struct qn_save_piece *next = p->next;

        qn_buf_fini(&p->buf);
        qn_mem_free(p);
        p = next;
    }
}

void qn_snapshots_free(struct qn_snapshots *sn)
{
    if (sn == NULL)
        return;
    if (sn->phase == QN_SNAPSHOT_SWEEPING)
        qn_snapshots_give_up(sn);
    if (sn->has_thread) {
        atomic_store(&sn->failed, true);
        pthread_mutex_lock(&sn->lock);
        sn->stop = true;
        pthread_cond_signal(&sn->work);
        pthread_mutex_unlock(&sn->lock);
        pthread_join(sn->thread, NULL);
    }
    if (sn->savers != NULL)
        qn_savers_flush(sn, false);
    for (uint32_t s = 0; sn->savers != NULL && s < sn->section_count; s++)
        qn_mem_free(sn->savers[s].own);
    pieces_free(sn->first);
    pieces_free(sn->spare);
    pthread_mutex_destroy(&sn->lock);
    pthread_cond_destroy(&sn->work);
    pthread_cond_destroy(&sn->done);
    qn_buf_fini(&sn->run.payload);
    qn_buf_fini(&sn->run.pack);
    qn_buf_fini(&sn->restored);
    qn_mem_free(sn->run.rows);
    qn_mem_free(sn->savers);
    qn_mem_free(sn->sections);
    qn_mem_free(sn);
}

static qn_status copy_sections(struct qn_snapshots *sn, const struct qn_snapshots_options *opt,
                               struct qn_err *err)
{
    sn->sections = qn_mem_zalloc(opt->section_count + 1, sizeof *sn->sections);
    sn->savers = qn_mem_zalloc(opt->section_count + 1, sizeof *sn->savers);
    if (sn->sections == NULL || sn->savers == NULL)
        return qn_err_set(err, QN_NOMEM, "out of memory for snapshots");
    for (uint32_t s = 0; s < opt->section_count; s++) {
        sn->sections[s] = opt->sections[s];
        sn->savers[s] = (struct qn_saver){.sn = sn, .section = s};
        sn->savers[s].own = qn_mem_zalloc(sn->workers, sizeof *sn->savers[s].own);
        if (sn->savers[s].own == NULL)
            return qn_err_set(err, QN_NOMEM, "out of memory for snapshots");
        sn->section_count++;
    }
    return QN_OK;
}

/* Numbers above all that were ever used, whatever became of them. */
static qn_status find_numbers(struct qn_snapshots *sn, struct qn_err *err)
{
    struct qn_store_list l;

    QN_TRY(qn_store_look(&sn->store, &l, err));
    sn->next_number = l.manifest_count > 0 ? l.manifests[0] + 1 : 1;
    sn->next_pack = 1;
    for (uint32_t i = 0; i < l.pack_count; i++)
        if (l.packs[i] >= sn->next_pack)
            sn->next_pack = l.packs[i] + 1;
    qn_store_list_fini(&l);
    return QN_OK;
}

static void at_least(struct qn_snapshots *sn, uint64_t first_number)
{
    if (sn->next_number < first_number)
        sn->next_number = first_number;
    if (sn->next_pack < first_number)
        sn->next_pack = first_number;
}

void qn_snapshots_renumber(struct qn_snapshots *sn, uint64_t first_number)
{
    QN_ASSERT(sn->phase == QN_SNAPSHOT_NONE);
    at_least(sn, first_number);
    sn->has_chain = false;
}

static qn_status start(struct qn_snapshots *sn, const struct qn_snapshots_options *opt,
                       struct qn_err *err)
{
    QN_TRY(copy_sections(sn, opt, err));
    QN_TRY(find_numbers(sn, err));
    at_least(sn, opt->first_number);
    int e = pthread_create(&sn->thread, NULL, qn_snapshot_writer, sn);

    if (e != 0)
        return qn_err_sys(err, e, "cannot start the thread that writes snapshots");
    sn->has_thread = true;
    return QN_OK;
}

qn_status qn_snapshots_new(const struct qn_snapshots_options *opt, struct qn_snapshots **out,
                           struct qn_err *err)
{
    struct qn_snapshots *sn = qn_mem_zalloc(1, sizeof *sn);

    *out = NULL;
    QN_ASSERT(opt->workers > 0);
    QN_ASSERT(opt->section_count <= QN_SNAPSHOT_SECTIONS_MAX);
    QN_ASSERT(opt->pack_bytes <= PACK_MAX);
    if (sn == NULL)
        return qn_err_set(err, QN_NOMEM, "out of memory for snapshots");
    sn->store = *opt->store;
    sn->workers = opt->workers;
    sn->pending_max = opt->pending_bytes > 0 ? opt->pending_bytes : PENDING_DEFAULT;
    sn->pack_bytes = opt->pack_bytes > 0 ? opt->pack_bytes : PACK_DEFAULT;
    sn->last = &sn->first;
    pthread_mutex_init(&sn->lock, NULL);
    pthread_cond_init(&sn->work, NULL);
    pthread_cond_init(&sn->done, NULL);
    qn_status rc = start(sn, opt, err);

    if (rc != QN_OK) {
        qn_snapshots_free(sn);
        return rc;
    }
    *out = sn;
    return QN_OK;
}

/* ---- the course of a snapshot ---- */

/* True where the changes since the last full snapshot weigh half of it, or are too many. */
static bool chain_outweighs(const struct qn_snapshot_run *run)
{
    uint64_t full = 0, changes = 0;

    for (uint32_t i = 0; i < run->row_count; i++) {
        if (run->rows[i].snapshot == run->rows[0].snapshot)
            full += run->rows[i].raw_bytes;
        else
            changes += run->rows[i].raw_bytes;
    }
    return changes > full / 2 || run->row_count > CHAIN_PACKS_MAX;
}

qn_status qn_snapshots_begin(struct qn_snapshots *sn, const struct qn_snapshot_info *info,
                             struct qn_err *err)
{
    struct qn_snapshot_run *run = &sn->run;
    bool is_full = !sn->has_chain || chain_outweighs(run);

    QN_ASSERT(sn->phase == QN_SNAPSHOT_NONE);
    QN_ASSERT(info->payload.len <= QN_SNAPSHOT_PAYLOAD_MAX);
    qn_buf_clear(&run->payload);
    qn_buf_add(&run->payload, info->payload.p, info->payload.len);
    if (run->payload.failed)
        return qn_err_set(err, QN_NOMEM, "out of memory for the payload of a snapshot");
    run->info = (struct qn_snapshot_info){.number = sn->next_number++,
                                          .position = info->position,
                                          .taken_us = info->taken_us,
                                          .payload = {run->payload.data, info->payload.len},
                                          .is_full = is_full};
    if (is_full)
        run->row_count = 0;
    run->raw_bytes = 0;
    pthread_mutex_lock(&sn->lock);
    sn->failure = (struct qn_err){0};
    sn->wants_end = sn->publishes = sn->is_ended = false;
    atomic_store(&sn->failed, false);
    pthread_mutex_unlock(&sn->lock);
    for (uint32_t s = 0; s < sn->section_count; s++)
        sn->sections[s].ops->begin(sn->sections[s].st, &sn->savers[s], is_full);
    sn->sweeping = 0;
    sn->phase = QN_SNAPSHOT_SWEEPING;
    return QN_OK;
}

static void sections_end(struct qn_snapshots *sn, bool is_swept)
{
    for (uint32_t s = 0; s < sn->section_count; s++)
        if (sn->sections[s].ops->end != NULL)
            sn->sections[s].ops->end(sn->sections[s].st, is_swept);
    qn_savers_flush(sn, is_swept);
}

/* The writer shall do its last part. */
static void ask_end(struct qn_snapshots *sn, bool publishes)
{
    pthread_mutex_lock(&sn->lock);
    sn->wants_end = true;
    sn->publishes = publishes;
    pthread_cond_signal(&sn->work);
    pthread_mutex_unlock(&sn->lock);
    sn->phase = QN_SNAPSHOT_WRITING;
}

static bool is_behind(struct qn_snapshots *sn)
{
    bool is;

    pthread_mutex_lock(&sn->lock);
    is = sn->pending > sn->pending_max / 4;
    pthread_mutex_unlock(&sn->lock);
    return is;
}

static void sweep(struct qn_snapshots *sn, size_t work)
{
    if (is_behind(sn))
        return;
    while (work > 0 && sn->sweeping < sn->section_count) {
        const struct qn_section *s = &sn->sections[sn->sweeping];

        if (s->ops->sweep == NULL || s->ops->sweep(s->st, &work))
            sn->sweeping++;
    }
    if (sn->sweeping < sn->section_count)
        return;
    sections_end(sn, true);
    sn->phase = QN_SNAPSHOT_SWEPT;
}

enum qn_snapshot_phase qn_snapshots_step(struct qn_snapshots *sn, size_t work)
{
    bool is_open = sn->phase == QN_SNAPSHOT_SWEEPING || sn->phase == QN_SNAPSHOT_SWEPT;

    if (is_open && atomic_load(&sn->failed)) {
        if (sn->phase == QN_SNAPSHOT_SWEEPING)
            sections_end(sn, false);
        ask_end(sn, false);
    } else if (sn->phase == QN_SNAPSHOT_SWEEPING) {
        sweep(sn, work);
    }
    return qn_snapshots_phase(sn);
}

enum qn_snapshot_phase qn_snapshots_phase(struct qn_snapshots *sn)
{
    if (sn->phase == QN_SNAPSHOT_WRITING) {
        pthread_mutex_lock(&sn->lock);
        if (sn->is_ended)
            sn->phase = QN_SNAPSHOT_ENDED;
        pthread_mutex_unlock(&sn->lock);
    }
    return sn->phase;
}

void qn_snapshots_finish(struct qn_snapshots *sn)
{
    QN_ASSERT(sn->phase == QN_SNAPSHOT_SWEPT);
    ask_end(sn, true);
}

void qn_snapshots_give_up(struct qn_snapshots *sn)
{
    struct qn_err err = {0};

    if (sn->phase == QN_SNAPSHOT_NONE || sn->phase == QN_SNAPSHOT_ENDED)
        return;
    qn_err_set(&err, QN_INTERRUPTED, "the snapshot was given up");
    qn_snapshots_fail(sn, &err);
    qn_snapshots_step(sn, 0);
}

void qn_snapshots_wait(struct qn_snapshots *sn)
{
    QN_ASSERT(sn->phase == QN_SNAPSHOT_WRITING || sn->phase == QN_SNAPSHOT_ENDED);
    pthread_mutex_lock(&sn->lock);
    while (!sn->is_ended)
        pthread_cond_wait(&sn->done, &sn->lock);
    pthread_mutex_unlock(&sn->lock);
    sn->phase = QN_SNAPSHOT_ENDED;
}

qn_status qn_snapshots_result(struct qn_snapshots *sn, struct qn_snapshot_info *info,
                              struct qn_err *err)
{
    QN_ASSERT(qn_snapshots_phase(sn) == QN_SNAPSHOT_ENDED);
    sn->phase = QN_SNAPSHOT_NONE;
    sn->has_chain = sn->failure.code == QN_OK;
    if (sn->failure.code != QN_OK) {
        if (err != NULL)
            *err = sn->failure;
        return sn->failure.code;
    }
    if (info != NULL)
        *info = sn->run.info;
    return QN_OK;
}
