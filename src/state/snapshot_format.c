/* SPDX-License-Identifier: Apache-2.0
 * snapshot_format.c - the bytes of packs and manifests, written and taken apart. The tables are in
 * snapshot_int.h.
 *
 * What is read comes from outside: every length is held against what is really there before it is
 * used, nothing is allocated for a claim beyond its limit, and a block is opened only after its
 * checksum was right. Thread: any; no state. */
#include "base/crc32c.h"
#include "base/memory.h"
#include "state/snapshot_int.h"

#include <stdio.h>
#include <zstd.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "numbers are copied as they lie");

#define MAGIC_PACK     0x31504E51U
#define MAGIC_BLOCK    0x31424E51U
#define MAGIC_MANIFEST 0x314D4E51U

enum { DIGITS = 20, CODEC_NONE = 0, CODEC_ZSTD = 1, ZSTD_LEVEL = 1, SECTION_FIXED = 9 };

static uint16_t get16(const char *p)
{
    uint16_t v;

    memcpy(&v, p, sizeof v);
    return v;
}

static uint32_t get32(const char *p)
{
    uint32_t v;

    memcpy(&v, p, sizeof v);
    return v;
}

static uint64_t get64(const char *p)
{
    uint64_t v;

    memcpy(&v, p, sizeof v);
    return v;
}

static void put16(struct qn_buf *b, uint16_t v)
{
    qn_buf_add(b, &v, sizeof v);
}

static void put32(struct qn_buf *b, uint32_t v)
{
    qn_buf_add(b, &v, sizeof v);
}

static void put64(struct qn_buf *b, uint64_t v)
{
    qn_buf_add(b, &v, sizeof v);
}

/* Sets the CRC of what stands in b from `at` on: at at + 4, of all behind it. */
static void seal(struct qn_buf *b, size_t at)
{
    if (b->failed)
        return;
    uint32_t crc = qn_crc32c(0, b->data + at + 8, b->len - at - 8);

    memcpy(b->data + at + 4, &crc, sizeof crc);
}

/* QN_CORRUPT at a byte of the object. */
static qn_status damaged(struct qn_err *err, size_t at, const char *what)
{
    qn_err_set(err, QN_CORRUPT, "%s", what);
    if (err != NULL) {
        err->offset = at;
        err->has_offset = true;
    }
    return QN_CORRUPT;
}

/* ---- names ---- */

void qn_snapshot_name(char *out, uint64_t number, const char *ending)
{
    snprintf(out, QN_SNAPSHOT_NAME_MAX, "%0*llu%s", DIGITS, (unsigned long long)number, ending);
}

bool qn_snapshot_name_parse(const char *name, const char *ending, uint64_t *number)
{
    uint64_t n = 0;

    for (int i = 0; i < DIGITS; i++) {
        if (name[i] < '0' || name[i] > '9' || __builtin_mul_overflow(n, (uint64_t)10, &n) ||
            __builtin_add_overflow(n, (uint64_t)(name[i] - '0'), &n))
            return false;
    }
    *number = n;
    return strcmp(name + DIGITS, ending) == 0;
}

/* ---- packs ---- */

void qn_pack_header(struct qn_buf *out, uint64_t pack, uint64_t snapshot)
{
    size_t at = out->len;

    put32(out, MAGIC_PACK);
    put32(out, 0);
    put16(out, QN_SNAPSHOT_VERSION);
    put16(out, 0);
    put32(out, 0);
    put64(out, pack);
    put64(out, snapshot);
    seal(out, at);
}

qn_status qn_pack_check(const char *p, size_t bytes, uint64_t pack, uint64_t snapshot,
                        struct qn_err *err)
{
    if (bytes < QN_PACK_HEADER || get32(p) != MAGIC_PACK)
        return damaged(err, 0, "not a pack of a snapshot");
    if (get32(p + 4) != qn_crc32c(0, p + 8, QN_PACK_HEADER - 8))
        return damaged(err, 0, "the header of the pack is damaged");
    if (get16(p + 8) != QN_SNAPSHOT_VERSION)
        return qn_err_set(err, QN_UNSUPPORTED,
                          "the pack is of format version %u; this Quern has %d", get16(p + 8),
                          (int)QN_SNAPSHOT_VERSION);
    if (get64(p + 16) != pack || get64(p + 24) != snapshot)
        return damaged(err, 16, "the pack is not the one its name says");
    return QN_OK;
}

qn_status qn_block_add(struct qn_buf *pack, struct qn_str section, const char *raw,
                       uint32_t raw_bytes, uint32_t entries, bool compress, struct qn_err *err)
{
    size_t at = pack->len, bound = ZSTD_compressBound(raw_bytes), stored = raw_bytes;
    uint8_t codec = CODEC_NONE;
    char *room;

    put32(pack, MAGIC_BLOCK);
    put32(pack, 0);
    put32(pack, 0);
    put32(pack, raw_bytes);
    put32(pack, entries);
    qn_buf_byte(pack, 0);
    qn_buf_byte(pack, (char)section.len);
    put16(pack, 0);
    qn_buf_add(pack, section.p, section.len);
    room = qn_buf_room(pack, bound > raw_bytes ? bound : raw_bytes);
    if (room == NULL || pack->failed)
        return qn_err_set(err, QN_NOMEM, "out of memory for a block of a snapshot");
    if (compress) {
        stored = ZSTD_compress(room, bound, raw, raw_bytes, ZSTD_LEVEL);
        codec = CODEC_ZSTD;
    }
    if (!compress || ZSTD_isError(stored) || stored >= raw_bytes) {
        memcpy(room, raw, raw_bytes);
        stored = raw_bytes;
        codec = CODEC_NONE;
    }
    pack->len += stored;
    uint32_t stored32 = (uint32_t)stored;

    memcpy(pack->data + at + 8, &stored32, sizeof stored32);
    pack->data[at + 20] = (char)codec;
    seal(pack, at);
    return QN_OK;
}

qn_status qn_block_parse(const char *p, size_t bytes, size_t at, struct qn_block *out,
                         struct qn_err *err)
{
    const char *h = p + at;
    size_t left = bytes - at;

    if (left < QN_BLOCK_HEADER || get32(h) != MAGIC_BLOCK)
        return damaged(err, at, "no block where one should begin");
    *out = (struct qn_block){.section = {h + QN_BLOCK_HEADER, (uint8_t)h[21]},
                             .stored_bytes = get32(h + 8),
                             .raw_bytes = get32(h + 12),
                             .entries = get32(h + 16),
                             .codec = (uint8_t)h[20]};
    out->stored = out->section.p + out->section.len;
    out->bytes = QN_BLOCK_HEADER + (size_t)out->section.len + out->stored_bytes;
    if (out->bytes > left)
        return damaged(err, at, "a block is cut short");
    if (get32(h + 4) != qn_crc32c(0, h + 8, out->bytes - 8))
        return damaged(err, at, "a block is damaged");
    if (out->raw_bytes > QN_BLOCK_BYTES_MAX || out->codec > CODEC_ZSTD ||
        (out->codec == CODEC_NONE && out->stored_bytes != out->raw_bytes))
        return damaged(err, at, "a block is beyond the limits of the format");
    return QN_OK;
}

qn_status qn_block_open(const struct qn_block *b, struct qn_buf *out, struct qn_err *err)
{
    qn_buf_clear(out);
    char *room = qn_buf_room(out, b->raw_bytes);

    if (room == NULL)
        return qn_err_set(err, QN_NOMEM, "out of memory for a block of a snapshot");
    if (b->codec == CODEC_NONE)
        memcpy(room, b->stored, b->raw_bytes);
    else if (ZSTD_decompress(room, b->raw_bytes, b->stored, b->stored_bytes) != b->raw_bytes)
        return damaged(err, 0, "a block cannot be decompressed");
    out->len = b->raw_bytes;
    return QN_OK;
}

/* ---- manifests ---- */

void qn_manifest_write(struct qn_buf *out, const struct qn_snapshot_info *info,
                       const struct qn_section *sections, uint32_t section_count,
                       const struct qn_pack_row *packs, uint32_t pack_count)
{
    size_t at = out->len;

    put32(out, MAGIC_MANIFEST);
    put32(out, 0);
    put16(out, QN_SNAPSHOT_VERSION);
    put16(out, 0);
    put32(out, section_count);
    put64(out, info->number);
    put64(out, info->position);
    put64(out, (uint64_t)info->taken_us);
    put32(out, pack_count);
    put32(out, info->payload.len);
    for (uint32_t i = 0; i < section_count; i++) {
        size_t len = strlen(sections[i].name);

        put64(out, sections[i].layout);
        qn_buf_byte(out, (char)len);
        qn_buf_add(out, sections[i].name, len);
    }
    for (uint32_t i = 0; i < pack_count; i++) {
        put64(out, packs[i].number);
        put64(out, packs[i].snapshot);
        put64(out, packs[i].raw_bytes);
        put32(out, packs[i].bytes);
        put32(out, packs[i].crc);
    }
    qn_buf_add(out, info->payload.p, info->payload.len);
    seal(out, at);
}

/* Sections of a manifest: where they end; false where they do not fit. */
static bool sections_pass(const char *p, size_t bytes, uint32_t count, size_t *end)
{
    size_t at = *end;

    for (uint32_t i = 0; i < count; i++) {
        if (bytes - at < SECTION_FIXED || bytes - at - SECTION_FIXED < (uint8_t)p[at + 8])
            return false;
        at += SECTION_FIXED + (size_t)(uint8_t)p[at + 8];
    }
    *end = at;
    return true;
}

/* The rows: oldest snapshot first, none newer than the manifest's own. */
static bool rows_read(const char *p, struct qn_manifest *m)
{
    uint64_t before = 0;

    for (uint32_t i = 0; i < m->pack_count; i++, p += QN_MANIFEST_PACK) {
        struct qn_pack_row *r = &m->packs[i];

        *r = (struct qn_pack_row){.number = get64(p),
                                  .snapshot = get64(p + 8),
                                  .raw_bytes = get64(p + 16),
                                  .bytes = get32(p + 24),
                                  .crc = get32(p + 28)};
        if (r->snapshot < before || r->snapshot > m->info.number || r->bytes > QN_PACK_BYTES_MAX)
            return false;
        before = r->snapshot;
    }
    return true;
}

qn_status qn_manifest_parse(const char *p, size_t bytes, struct qn_manifest *out,
                            struct qn_err *err)
{
    struct qn_manifest *m = out;
    size_t at = QN_MANIFEST_HEADER;

    *m = (struct qn_manifest){0};
    if (bytes < QN_MANIFEST_HEADER || get32(p) != MAGIC_MANIFEST)
        return damaged(err, 0, "not a manifest of a snapshot");
    if (get32(p + 4) != qn_crc32c(0, p + 8, bytes - 8))
        return damaged(err, 0, "the manifest is damaged");
    if (get16(p + 8) != QN_SNAPSHOT_VERSION)
        return qn_err_set(err, QN_UNSUPPORTED,
                          "the manifest is of format version %u; this Quern has %d", get16(p + 8),
                          (int)QN_SNAPSHOT_VERSION);
    m->section_count = get32(p + 12);
    m->info = (struct qn_snapshot_info){.number = get64(p + 16),
                                        .position = get64(p + 24),
                                        .taken_us = (int64_t)get64(p + 32),
                                        .payload = {NULL, get32(p + 44)}};
    m->pack_count = get32(p + 40);
    if (m->section_count > QN_SNAPSHOT_SECTIONS_MAX || m->pack_count > QN_SNAPSHOT_PACKS_MAX ||
        m->info.payload.len > QN_SNAPSHOT_PAYLOAD_MAX)
        return damaged(err, 0, "the manifest is beyond the limits of the format");
    m->sections = p + at;
    if (!sections_pass(p, bytes, m->section_count, &at))
        return damaged(err, at, "the manifest is cut short");
    m->section_bytes = at - QN_MANIFEST_HEADER;
    if (bytes - at != (size_t)m->pack_count * QN_MANIFEST_PACK + m->info.payload.len)
        return damaged(err, at, "the manifest is cut short");
    m->info.payload.p = p + bytes - m->info.payload.len;
    m->packs = qn_mem_alloc(((size_t)m->pack_count + 1) * sizeof *m->packs);
    if (m->packs == NULL)
        return qn_err_set(err, QN_NOMEM, "out of memory for a manifest");
    if (!rows_read(p + at, m)) {
        qn_mem_free(m->packs);
        m->packs = NULL;
        return damaged(err, at, "the manifest names packs in an order that cannot be");
    }
    qn_manifest_sizes(m->packs, m->pack_count, &m->info);
    return QN_OK;
}

bool qn_manifest_section(const struct qn_manifest *m, const char *name, uint64_t *layout)
{
    const char *p = m->sections;

    for (uint32_t i = 0; i < m->section_count; i++) {
        uint8_t len = (uint8_t)p[8];

        if (qn_str_is((struct qn_str){p + SECTION_FIXED, len}, name)) {
            *layout = get64(p);
            return true;
        }
        p += SECTION_FIXED + len;
    }
    return false;
}

void qn_manifest_sizes(const struct qn_pack_row *packs, uint32_t count,
                       struct qn_snapshot_info *info)
{
    info->bytes = info->all_bytes = 0;
    info->is_full = count == 0 || packs[0].snapshot == info->number;
    for (uint32_t i = 0; i < count; i++) {
        info->all_bytes += packs[i].bytes;
        if (packs[i].snapshot == info->number)
            info->bytes += packs[i].bytes;
    }
}
