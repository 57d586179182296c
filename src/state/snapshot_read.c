/* SPDX-License-Identifier: Apache-2.0
 * snapshot_read.c - restores: the newest snapshot that can be believed goes back into the sections.
 * See snapshot.h.
 *
 * A snapshot is read snapshot by snapshot of its chain, newest first, and a section keeps what it
 * has, so that nothing is built to be thrown away. Whatever does not fit makes the sections empty
 * again and the next older manifest has its turn. Thread: engine. Memory: one pack at a time. */
#include "base/check.h"
#include "base/crc32c.h"
#include "base/memory.h"
#include "state/snapshot_int.h"

/* Buffers of one restore. */
struct reading {
    struct qn_snapshots *sn;
    struct qn_buf manifest, pack, raw;
};

static const struct qn_section *section_find(const struct qn_snapshots *sn, struct qn_str name)
{
    for (uint32_t s = 0; s < sn->section_count; s++)
        if (qn_str_is(name, sn->sections[s].name))
            return &sn->sections[s];
    return NULL;
}

/* The entries of a block, in turn. They must fill it exactly. */
static qn_status load_entries(const struct qn_section *s, const struct qn_buf *raw,
                              uint32_t entries, struct qn_err *err)
{
    size_t at = 0;

    for (uint32_t i = 0; i < entries; i++) {
        uint32_t bytes;

        if (raw->len - at < sizeof bytes)
            return qn_err_set(err, QN_CORRUPT, "a block of %s ends inside an entry", s->name);
        memcpy(&bytes, raw->data + at, sizeof bytes);
        at += sizeof bytes;
        if (raw->len - at < bytes)
            return qn_err_set(err, QN_CORRUPT, "a block of %s ends inside an entry", s->name);
        QN_TRY(s->ops->load(s->st, raw->data + at, bytes, err));
        at += bytes;
    }
    if (at != raw->len)
        return qn_err_set(err, QN_CORRUPT, "a block of %s is longer than its entries", s->name);
    return QN_OK;
}

static qn_status load_blocks(struct reading *rd, const struct qn_pack_row *row, struct qn_err *err)
{
    const char *p = rd->pack.data;
    size_t bytes = rd->pack.len;

    QN_TRY(qn_pack_check(p, bytes, row->number, row->snapshot, err));
    for (size_t at = QN_PACK_HEADER; at < bytes;) {
        struct qn_block b;

        QN_TRY(qn_block_parse(p, bytes, at, &b, err));
        const struct qn_section *s = section_find(rd->sn, b.section);

        at += b.bytes;
        if (s == NULL) /* of a feature that is no more */
            continue;
        QN_TRY(qn_block_open(&b, &rd->raw, err));
        QN_TRY(load_entries(s, &rd->raw, b.entries, err));
    }
    return QN_OK;
}

static qn_status load_pack(struct reading *rd, const struct qn_pack_row *row, struct qn_err *err)
{
    const struct qn_snapshot_store *store = &rd->sn->store;
    char name[QN_SNAPSHOT_NAME_MAX];
    qn_status rc;

    qn_snapshot_name(name, row->number, QN_SNAPSHOT_PACK_ENDING);
    rc = store->get(store->st, name, row->bytes, &rd->pack, err);
    if (rc == QN_OK && rd->pack.len != row->bytes)
        rc = qn_err_set(err, QN_CORRUPT, "the pack has %zu bytes; the manifest says %u",
                        rd->pack.len, row->bytes);
    if (rc == QN_OK && qn_crc32c(0, rd->pack.data, rd->pack.len) != row->crc)
        rc = qn_err_set(err, QN_CORRUPT, "the pack is not the one the manifest names, or damaged");
    if (rc == QN_OK)
        rc = load_blocks(rd, row, err);
    if (rc != QN_OK)
        qn_err_at(err, name, 0, 0);
    return rc;
}

static qn_status load_chain(struct reading *rd, const struct qn_manifest *m, struct qn_err *err)
{
    const struct qn_snapshots *sn = rd->sn;
    uint32_t end = m->pack_count;

    do {
        uint32_t first = end;

        while (first > 0 && m->packs[first - 1].snapshot == m->packs[end - 1].snapshot)
            first--;
        for (uint32_t i = first; i < end; i++)
            QN_TRY(load_pack(rd, &m->packs[i], err));
        for (uint32_t s = 0; s < sn->section_count; s++)
            QN_TRY(sn->sections[s].ops->loaded(sn->sections[s].st, err));
        end = first;
    } while (end > 0);
    return QN_OK;
}

/* Does the state mean what ours would? */
static qn_status check_sections(const struct qn_snapshots *sn, const struct qn_manifest *m,
                                struct qn_err *err)
{
    for (uint32_t s = 0; s < sn->section_count; s++) {
        uint64_t layout;

        if (!qn_manifest_section(m, sn->sections[s].name, &layout))
            return qn_err_set(err, QN_UNSUPPORTED,
                              "it was taken without %s, which the spec has now",
                              sn->sections[s].name);
        if (layout != sn->sections[s].layout)
            return qn_err_set(err, QN_UNSUPPORTED,
                              "it was taken with another %s than the spec has now",
                              sn->sections[s].name);
    }
    return QN_OK;
}

static qn_status clear(const struct qn_snapshots *sn, struct qn_err *err)
{
    for (uint32_t s = 0; s < sn->section_count; s++)
        QN_TRY(sn->sections[s].ops->clear(sn->sections[s].st, err));
    return QN_OK;
}

/* Loads one snapshot. *touched: the sections are no longer empty. */
static qn_status restore_one(struct reading *rd, uint64_t number,
                             const struct qn_snapshot_choice *how, struct qn_manifest *m,
                             bool *touched, struct qn_err *err)
{
    QN_TRY(qn_store_manifest(&rd->sn->store, number, &rd->manifest, m, err));
    QN_TRY(check_sections(rd->sn, m, err));
    if (how->accept != NULL)
        QN_TRY(how->accept(how->arg, &m->info, err));
    *touched = true;
    return load_chain(rd, m, err);
}

/* The chain and the manifest's bytes, which the payload borrows from, become ours. */
static void adopt(struct reading *rd, struct qn_manifest *m, struct qn_snapshot_info *got)
{
    struct qn_snapshots *sn = rd->sn;

    qn_mem_free(sn->run.rows);
    sn->run.rows = m->packs;
    sn->run.row_count = m->pack_count;
    sn->run.row_cap = m->pack_count + 1;
    m->packs = NULL;
    qn_buf_fini(&sn->restored);
    sn->restored = rd->manifest;
    rd->manifest = (struct qn_buf){0};
    sn->has_chain = true;
    *got = m->info;
}

static qn_status restore_from(struct reading *rd, const struct qn_store_list *l,
                              const struct qn_snapshot_choice *how, struct qn_snapshot_info *got,
                              struct qn_err *err)
{
    for (uint32_t i = 0; i < l->manifest_count; i++) {
        struct qn_manifest m = {0};
        struct qn_err why = {0};
        bool touched = false;
        qn_status rc = restore_one(rd, l->manifests[i], how, &m, &touched, &why);

        if (rc == QN_OK)
            adopt(rd, &m, got);
        qn_mem_free(m.packs);
        if (rc == QN_OK)
            return QN_OK;
        if (rc == QN_NOMEM || rc == QN_INTERRUPTED) {
            if (err != NULL)
                *err = why;
            return rc;
        }
        if (touched)
            QN_TRY(clear(rd->sn, err));
        if (how->report != NULL)
            how->report(how->arg, l->manifests[i], &why);
    }
    return QN_OK;
}

qn_status qn_snapshots_restore(struct qn_snapshots *sn, const struct qn_snapshot_choice *how,
                               struct qn_snapshot_info *got, struct qn_err *err)
{
    struct reading rd = {.sn = sn};
    struct qn_store_list l;
    qn_status rc;

    *got = (struct qn_snapshot_info){0};
    QN_ASSERT(sn->phase == QN_SNAPSHOT_NONE);
    QN_TRY(qn_store_look(&sn->store, &l, err));
    rc = restore_from(&rd, &l, how, got, err);
    qn_buf_fini(&rd.manifest);
    qn_buf_fini(&rd.pack);
    qn_buf_fini(&rd.raw);
    qn_store_list_fini(&l);
    return rc;
}
