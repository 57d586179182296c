/* SPDX-License-Identifier: Apache-2.0
 * snapshot_write.c - from entries to a published snapshot: savers hand pieces to the writer's
 * thread, which makes blocks and packs of them, publishes, and removes what nobody needs any more.
 *
 * A worker fills a piece of its own and takes the lock once per 256 KiB. The writer compresses only
 * while it keeps up. Invariant: the manifest is put last, after all its packs are durable. What
 * goes wrong is remembered once and ends the snapshot, never the engine. Thread: savers, the
 * workers; all else, the writer. Memory: pieces are used again. */
#include "base/check.h"
#include "base/crc32c.h"
#include "base/memory.h"
#include "state/snapshot_int.h"

#include <stdlib.h>

enum { PIECE_KEEPS_BYTES = 4 * 1024 * 1024, LINE = 64, KEEP_SNAPSHOTS = 2 };

/* ---- savers ---- */

void qn_snapshots_fail(struct qn_snapshots *sn, const struct qn_err *err)
{
    pthread_mutex_lock(&sn->lock);
    if (sn->failure.code == QN_OK)
        sn->failure = *err;
    atomic_store(&sn->failed, true);
    pthread_mutex_unlock(&sn->lock);
}

static void fail_no_memory(struct qn_snapshots *sn)
{
    struct qn_err err = {0};

    qn_err_set(&err, QN_NOMEM, "out of memory for what a snapshot saves");
    qn_snapshots_fail(sn, &err);
}

/* Keeps a piece for later, or lets go of an unusually large one. Under lock. */
static void piece_spare(struct qn_snapshots *sn, struct qn_save_piece *p)
{
    if (p->buf.cap > PIECE_KEEPS_BYTES) {
        qn_buf_fini(&p->buf);
        qn_mem_free(p);
        return;
    }
    p->next = sn->spare;
    sn->spare = p;
}

static struct qn_save_piece *piece_take(struct qn_snapshots *sn, uint32_t section)
{
    struct qn_save_piece *p;

    pthread_mutex_lock(&sn->lock);
    p = sn->spare;
    if (p != NULL)
        sn->spare = p->next;
    pthread_mutex_unlock(&sn->lock);
    if (p == NULL) { /* workers write to lines of their own */
        p = qn_mem_aligned(LINE, (sizeof *p + LINE - 1) / LINE * LINE);
        if (p == NULL)
            return NULL;
        p->buf = (struct qn_buf){0};
    }
    qn_buf_clear(&p->buf);
    p->section = section;
    p->next = NULL;
    return p;
}

static void piece_push(struct qn_snapshots *sn, struct qn_save_piece *p)
{
    pthread_mutex_lock(&sn->lock);
    if (sn->pending > sn->pending_max && sn->failure.code == QN_OK) {
        qn_err_set(&sn->failure, QN_LIMIT,
                   "the store cannot keep up: %zu MiB of a snapshot wait to be written",
                   sn->pending >> 20);
        atomic_store(&sn->failed, true);
    }
    if (sn->failure.code != QN_OK) {
        piece_spare(sn, p);
    } else {
        *sn->last = p;
        sn->last = &p->next;
        sn->pending += p->buf.len;
        pthread_cond_signal(&sn->work);
    }
    pthread_mutex_unlock(&sn->lock);
}

char *qn_saver_entry(struct qn_saver *sv, unsigned worker, uint32_t bytes)
{
    struct qn_save_piece *p = sv->own[worker];
    char *room;

    QN_ASSERT(worker < sv->sn->workers);
    QN_ASSERT(bytes <= QN_SNAPSHOT_ENTRY_MAX);
    if (atomic_load_explicit(&sv->sn->failed, memory_order_relaxed))
        return NULL;
    if (p == NULL)
        p = sv->own[worker] = piece_take(sv->sn, sv->section);
    room = p == NULL ? NULL : qn_buf_room(&p->buf, sizeof bytes + bytes);
    if (room == NULL) {
        fail_no_memory(sv->sn);
        return NULL;
    }
    memcpy(room, &bytes, sizeof bytes);
    p->buf.len += sizeof bytes + bytes;
    return room + sizeof bytes;
}

void qn_saver_unit(struct qn_saver *sv, unsigned worker)
{
    struct qn_save_piece *p = sv->own[worker];

    if (p == NULL || p->buf.len < QN_BLOCK_BYTES)
        return;
    sv->own[worker] = NULL;
    piece_push(sv->sn, p);
}

void qn_savers_flush(struct qn_snapshots *sn, bool keeps)
{
    for (uint32_t s = 0; s < sn->section_count; s++)
        for (uint32_t w = 0; w < sn->workers; w++) {
            struct qn_save_piece *p = sn->savers[s].own[w];

            sn->savers[s].own[w] = NULL;
            if (p != NULL && keeps && p->buf.len > 0) {
                piece_push(sn, p);
            } else if (p != NULL) {
                pthread_mutex_lock(&sn->lock);
                piece_spare(sn, p);
                pthread_mutex_unlock(&sn->lock);
            }
        }
}

/* ---- packs ---- */

static qn_status rows_room(struct qn_snapshot_run *run, struct qn_err *err)
{
    uint32_t more = run->row_cap == 0 ? 64 : run->row_cap * 2;
    struct qn_pack_row *grown;

    if (run->row_count < run->row_cap)
        return QN_OK;
    if (run->row_count >= QN_SNAPSHOT_PACKS_MAX)
        return qn_err_set(err, QN_LIMIT, "more than %d packs in one snapshot",
                          (int)QN_SNAPSHOT_PACKS_MAX);
    grown = qn_mem_realloc(run->rows, more * sizeof *grown);
    if (grown == NULL)
        return qn_err_set(err, QN_NOMEM, "out of memory for the packs of a snapshot");
    run->rows = grown;
    run->row_cap = more;
    return QN_OK;
}

static qn_status pack_close(struct qn_snapshots *sn, struct qn_err *err)
{
    struct qn_snapshot_run *run = &sn->run;
    struct qn_pack_row row = {.number = sn->next_pack,
                              .snapshot = run->info.number,
                              .raw_bytes = run->raw_bytes,
                              .bytes = (uint32_t)run->pack.len};
    char name[QN_SNAPSHOT_NAME_MAX];

    QN_ASSERT(run->pack.len <= QN_PACK_BYTES_MAX);
    QN_TRY(rows_room(run, err));
    row.crc = qn_crc32c(0, run->pack.data, run->pack.len);
    qn_snapshot_name(name, row.number, QN_SNAPSHOT_PACK_ENDING);
    sn->next_pack++; /* the name is used up whatever becomes of it */
    QN_TRY(sn->store.put(sn->store.st, name, run->pack.data, run->pack.len, err));
    run->rows[run->row_count++] = row;
    run->raw_bytes = 0;
    qn_buf_clear(&run->pack);
    return QN_OK;
}

/* Whole entries from `at` on that make one block; where they end. */
static size_t block_end(const struct qn_buf *raw, size_t at, uint32_t *entries)
{
    size_t end = at;

    for (*entries = 0; end < raw->len; (*entries)++) {
        uint32_t bytes;

        memcpy(&bytes, raw->data + end, sizeof bytes);
        if (*entries > 0 && end + sizeof bytes + bytes - at > QN_BLOCK_BYTES)
            break;
        end += sizeof bytes + bytes;
    }
    return end;
}

static qn_status piece_write(struct qn_snapshots *sn, const struct qn_save_piece *p, bool compress,
                             struct qn_err *err)
{
    struct qn_snapshot_run *run = &sn->run;
    struct qn_str section = qn_str_of(sn->sections[p->section].name);

    for (size_t at = 0; at < p->buf.len;) {
        uint32_t entries;
        size_t end = block_end(&p->buf, at, &entries);

        if (run->pack.len == 0)
            qn_pack_header(&run->pack, sn->next_pack, run->info.number);
        QN_TRY(qn_block_add(&run->pack, section, p->buf.data + at, (uint32_t)(end - at), entries,
                            compress, err));
        run->raw_bytes += end - at;
        at = end;
        if (run->pack.len >= sn->pack_bytes)
            QN_TRY(pack_close(sn, err));
    }
    return QN_OK;
}

/* ---- publishing ---- */

static int by_number(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y ? 1 : 0;
}

/* Numbers of packs that somebody needs. */
struct needed {
    uint64_t *numbers;
    size_t count;
};

static bool needed_add(struct needed *n, const struct qn_pack_row *rows, uint32_t count)
{
    uint64_t *grown = qn_mem_realloc(n->numbers, (n->count + count + 1) * sizeof *grown);

    if (grown == NULL)
        return false;
    n->numbers = grown;
    for (uint32_t i = 0; i < count; i++)
        n->numbers[n->count++] = rows[i].number;
    qsort(n->numbers, n->count, sizeof *n->numbers, by_number);
    return true;
}

static bool remove_number(const struct qn_snapshots *sn, uint64_t number, const char *ending)
{
    char name[QN_SNAPSHOT_NAME_MAX];

    qn_snapshot_name(name, number, ending);
    return sn->store.remove(sn->store.st, name, NULL) == QN_OK;
}

/* What a manifest that cannot be read is worth: nothing where its bytes are wrong or gone; it stays
 * where only the store failed, which may be mended. */
static bool is_worthless(qn_status rc)
{
    return rc == QN_CORRUPT || rc == QN_UNSUPPORTED || rc == QN_NOT_FOUND || rc == QN_LIMIT;
}

/* Manifests but the newest one and the newest before it that can be read and is of the same
 * history: one beyond our position is of a log that was not to be. Those above our own number are
 * of a writer that has come in our place: what they name stays. False: it ends in the middle. */
static bool prune_manifests(struct qn_snapshots *sn, const struct qn_store_list *l,
                            struct needed *needed)
{
    struct qn_snapshot_info *own = &sn->run.info;
    uint64_t position = own->position;
    struct qn_buf bytes = {0};
    uint32_t kept = 1;
    bool good = true;

    for (uint32_t i = 0; i < l->manifest_count && good; i++) {
        struct qn_manifest m = {0};
        qn_status rc = QN_LIMIT;

        if (l->manifests[i] == own->number)
            continue;
        if (kept < KEEP_SNAPSHOTS || l->manifests[i] > own->number)
            rc = qn_store_manifest(&sn->store, l->manifests[i], &bytes, &m, NULL);
        if (l->manifests[i] > own->number) {
            good = rc != QN_OK ? is_worthless(rc) : needed_add(needed, m.packs, m.pack_count);
        } else if (rc == QN_OK && m.info.position <= own->position) {
            good = needed_add(needed, m.packs, m.pack_count);
            position = m.info.position;
            kept++;
        } else {
            good = (rc == QN_OK || is_worthless(rc)) &&
                   remove_number(sn, l->manifests[i], QN_SNAPSHOT_MANIFEST_ENDING);
        }
        qn_mem_free(m.packs);
    }
    qn_buf_fini(&bytes);
    if (good)
        own->kept_position = position;
    return good;
}

static void prune_packs(const struct qn_snapshots *sn, const struct qn_store_list *l,
                        const struct needed *needed)
{
    bool good = true;

    for (uint32_t i = 0; i < l->pack_count && good; i++)
        if (l->packs[i] < sn->next_pack && bsearch(&l->packs[i], needed->numbers, needed->count,
                                                   sizeof l->packs[i], by_number) == NULL)
            good = remove_number(sn, l->packs[i], QN_SNAPSHOT_PACK_ENDING);
    for (size_t at = 0; at < l->rests.len && good; at += strlen(l->rests.data + at) + 1)
        good = sn->store.remove(sn->store.st, l->rests.data + at, NULL) == QN_OK;
}

/* Removes what no kept snapshot needs. What cannot be removed now is met again next time, so
 * nothing here is an error; a store that fails is left alone until then. */
static void prune(struct qn_snapshots *sn)
{
    struct needed needed = {0};
    struct qn_store_list l;

    sn->run.info.kept_position = 0;
    if (qn_store_look(&sn->store, &l, NULL) != QN_OK)
        return;
    if (needed_add(&needed, sn->run.rows, sn->run.row_count) && prune_manifests(sn, &l, &needed))
        prune_packs(sn, &l, &needed);
    qn_mem_free(needed.numbers);
    qn_store_list_fini(&l);
}

static qn_status publish(struct qn_snapshots *sn, struct qn_err *err)
{
    struct qn_snapshot_run *run = &sn->run;
    char name[QN_SNAPSHOT_NAME_MAX];
    struct qn_buf manifest = {0};
    qn_status rc;

    if (run->pack.len > 0)
        QN_TRY(pack_close(sn, err));
    qn_manifest_sizes(run->rows, run->row_count, &run->info);
    qn_manifest_write(&manifest, &run->info, sn->sections, sn->section_count, run->rows,
                      run->row_count);
    qn_snapshot_name(name, run->info.number, QN_SNAPSHOT_MANIFEST_ENDING);
    rc = manifest.failed ? qn_err_set(err, QN_NOMEM, "out of memory for a manifest")
                         : sn->store.put(sn->store.st, name, manifest.data, manifest.len, err);
    qn_buf_fini(&manifest);
    if (rc == QN_OK)
        prune(sn);
    return rc;
}

/* ---- the thread ---- */

/* Work outside the lock; what goes wrong ends the snapshot. Returns with the lock. */
static void write_one(struct qn_snapshots *sn)
{
    struct qn_save_piece *p = sn->first;
    struct qn_err err = {0};
    bool compress = sn->pending <= sn->pending_max / 4;

    sn->first = p->next;
    if (sn->first == NULL)
        sn->last = &sn->first;
    pthread_mutex_unlock(&sn->lock);
    if (!atomic_load(&sn->failed) && piece_write(sn, p, compress, &err) != QN_OK)
        qn_snapshots_fail(sn, &err);
    pthread_mutex_lock(&sn->lock);
    sn->pending -= p->buf.len;
    piece_spare(sn, p);
}

static void write_end(struct qn_snapshots *sn)
{
    bool publishes = sn->publishes;
    struct qn_err err = {0};

    pthread_mutex_unlock(&sn->lock);
    if (publishes && !atomic_load(&sn->failed) && publish(sn, &err) != QN_OK)
        qn_snapshots_fail(sn, &err);
    qn_buf_clear(&sn->run.pack);
    pthread_mutex_lock(&sn->lock);
    sn->is_ended = true;
    pthread_cond_broadcast(&sn->done);
}

void *qn_snapshot_writer(void *arg)
{
    struct qn_snapshots *sn = arg;

    pthread_mutex_lock(&sn->lock);
    while (!sn->stop) {
        if (sn->first != NULL)
            write_one(sn);
        else if (sn->wants_end && !sn->is_ended)
            write_end(sn);
        else
            pthread_cond_wait(&sn->work, &sn->lock);
    }
    pthread_mutex_unlock(&sn->lock);
    return NULL;
}
