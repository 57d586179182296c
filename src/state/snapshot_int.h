/* SPDX-License-Identifier: Apache-2.0
 * snapshot_int.h - the inside of snapshots: the bytes of packs and manifests, and what the files of
 * the room share. Face: snapshot.h.
 *
 * Everything is little-endian. Every CRC is CRC32C (crc32c.h).
 *
 * PACK  %020llu.pack, by its number: a header of 32 bytes, then blocks up to the end.
 *
 *   HEADER                              BLOCK
 *   off size                            off size
 *     0  4  magic "QNP1"                  0  4  magic "QNB1"
 *     4  4  CRC of bytes 8..32            4  4  CRC of bytes 8 to the end of the block
 *     8  2  format version, 1             8  4  bytes of the payload as stored
 *    10  6  zero                         12  4  ... before compression, at most 8 MiB
 *    16  8  number of the pack           16  4  number of entries
 *    24  8  number of the snapshot       20  1  codec: 0 none, 1 zstd
 *                                        21  1  length of the section's name
 *                                        22  2  zero
 *                                        24  .. name, then the payload: per entry 4 length, bytes
 *
 * Entries of one section that belong together stand in one block or in blocks that follow each
 * other.
 *
 * MANIFEST  %020llu.snap, by the number of its snapshot; written last of all.
 *
 *   HEADER                              SECTION
 *     0  4  magic "QNM1"                  0  8  layout
 *     4  4  CRC of bytes 8 to the end     8  1  length of the name
 *     8  2  format version, 1             9  .. name
 *    10  2  zero                        PACK, oldest snapshot first; those of one snapshot in the
 *    12  4  number of sections          order in which they were written
 *    16  8  number of the snapshot        0  8  number of the pack
 *    24  8  position                      8  8  number of the snapshot it belongs to
 *    32  8  taken at, us since 1970      16  8  bytes of entries before compression
 *    40  4  number of packs              24  4  bytes of the file
 *    44  4  length of the payload        28  4  CRC of the file
 *    48  .. sections, packs, payload
 *
 * The packs of the least snapshot number are the full one; those behind it hold what changed. A
 * chain may also be empty: then nothing was there to save.
 *
 * Thread: each field says whose it is; functions, the engine's thread or the writer's. */
#ifndef QN_STATE_SNAPSHOT_INT_H
#define QN_STATE_SNAPSHOT_INT_H

#include "state/snapshot.h"

#include <pthread.h>
#include <stdatomic.h>

enum {
    QN_SNAPSHOT_VERSION = 1,
    QN_PACK_HEADER = 32,
    QN_BLOCK_HEADER = 24,
    QN_BLOCK_BYTES = 256 * 1024, /* raw bytes at which a block is closed            */
    QN_BLOCK_BYTES_MAX = 8 * 1024 * 1024,
    QN_PACK_BYTES_MAX = 64 * 1024 * 1024,
    QN_MANIFEST_HEADER = 48,
    QN_MANIFEST_PACK = 32,
    QN_MANIFEST_BYTES_MAX = 32 * 1024 * 1024,
    QN_SNAPSHOT_PAYLOAD_MAX = 16 * 1024 * 1024,
    QN_SNAPSHOT_PACKS_MAX = 65536,
    QN_SNAPSHOT_SECTIONS_MAX = 4096,
    QN_SNAPSHOT_NAME_MAX = 32 /* of a file, with its end */
};

#define QN_SNAPSHOT_PACK_ENDING     ".pack"
#define QN_SNAPSHOT_MANIFEST_ENDING ".snap"

/* A pack as a manifest names it. */
struct qn_pack_row {
    uint64_t number, snapshot, raw_bytes;
    uint32_t bytes, crc;
};

/* A block, taken apart; borrows from the pack. */
struct qn_block {
    struct qn_str section;
    const char *stored;
    uint32_t stored_bytes, raw_bytes, entries;
    uint8_t codec;
    size_t bytes; /* of the block as a whole */
};

/* A manifest, taken apart; borrows from its bytes, rows are copies. */
struct qn_manifest {
    struct qn_snapshot_info info;
    uint32_t section_count, pack_count;
    const char *sections; /* as they stand in the file */
    size_t section_bytes;
    struct qn_pack_row *packs; /* on the heap: qn_mem_free */
};

/* snapshot_format.c */

/* "%020llu" and the ending; out has QN_SNAPSHOT_NAME_MAX bytes. */
void qn_snapshot_name(char *out, uint64_t number, const char *ending);
/* True and the number, if the name is one that qn_snapshot_name makes with that ending. */
bool qn_snapshot_name_parse(const char *name, const char *ending, uint64_t *number);

void qn_pack_header(struct qn_buf *out, uint64_t pack, uint64_t snapshot);
/* Adds one block; compresses where that is wished for and helps. QN_NOMEM only. */
qn_status qn_block_add(struct qn_buf *pack, struct qn_str section, const char *raw,
                       uint32_t raw_bytes, uint32_t entries, bool compress, struct qn_err *err);
/* Checks the header of a pack. QN_CORRUPT with the byte. */
qn_status qn_pack_check(const char *p, size_t bytes, uint64_t pack, uint64_t snapshot,
                        struct qn_err *err);
/* The block at p + at: limits and checksum. QN_CORRUPT with the byte. */
qn_status qn_block_parse(const char *p, size_t bytes, size_t at, struct qn_block *out,
                         struct qn_err *err);
/* The block's entries, raw, into out. QN_CORRUPT, QN_NOMEM. */
qn_status qn_block_open(const struct qn_block *b, struct qn_buf *out, struct qn_err *err);

void qn_manifest_write(struct qn_buf *out, const struct qn_snapshot_info *info,
                       const struct qn_section *sections, uint32_t section_count,
                       const struct qn_pack_row *packs, uint32_t pack_count);
/* QN_CORRUPT with the byte, QN_UNSUPPORTED where it is of another version, QN_NOMEM. After an error
 * there is nothing to free. */
qn_status qn_manifest_parse(const char *p, size_t bytes, struct qn_manifest *out,
                            struct qn_err *err);
/* The layout of the section of that name; false where there is none. */
bool qn_manifest_section(const struct qn_manifest *m, const char *name, uint64_t *layout);
/* Sizes of a chain: of all packs, and of those of the snapshot itself. */
void qn_manifest_sizes(const struct qn_pack_row *packs, uint32_t count,
                       struct qn_snapshot_info *info);

/* Entries on their way to the writer. */
struct qn_save_piece {
    struct qn_save_piece *next;
    struct qn_buf buf;
    uint32_t section;
};

struct qn_saver {
    struct qn_snapshots *sn;
    uint32_t section;
    struct qn_save_piece **own; /* [workers]; NULL: none yet. Written by that worker only */
};

/* The manifests and packs a store holds. */
struct qn_store_list {
    uint64_t *manifests, *packs; /* on the heap, manifests newest first */
    uint32_t manifest_count, pack_count;
    uint32_t manifest_cap, pack_cap;
    struct qn_buf rests; /* names that a put which failed has left, NUL-ended each */
    bool failed;         /* out of memory */
};
qn_status qn_store_look(const struct qn_snapshot_store *store, struct qn_store_list *out,
                        struct qn_err *err);
void qn_store_list_fini(struct qn_store_list *l);
/* Reads and parses manifest `number`; its bytes are in *bytes. */
qn_status qn_store_manifest(const struct qn_snapshot_store *store, uint64_t number,
                            struct qn_buf *bytes, struct qn_manifest *out, struct qn_err *err);

/* What the writer's thread makes of the pieces. */
struct qn_snapshot_run {
    struct qn_snapshot_info info;
    struct qn_buf payload;
    struct qn_buf pack;       /* the one that is being filled; empty: none */
    struct qn_pack_row *rows; /* the chain, then what this snapshot adds   */
    uint32_t row_count, row_cap;
    uint64_t raw_bytes; /* of the pack that is being filled          */
};

struct qn_snapshots {
    struct qn_snapshot_store store;
    struct qn_section *sections;
    struct qn_saver *savers; /* [section_count] */
    uint32_t section_count, workers;
    size_t pending_max, pack_bytes;

    /* Of the engine's thread. */
    enum qn_snapshot_phase phase;
    uint32_t sweeping;      /* the section whose turn it is                                  */
    bool has_chain;         /* the rows of run are those of a published or restored snapshot */
    struct qn_buf restored; /* bytes of the manifest that was restored                       */

    /* Of the writer's thread between begin and its end; else of the engine's. */
    struct qn_snapshot_run run;
    uint64_t next_pack, next_number;

    pthread_t thread;
    bool has_thread;
    pthread_mutex_t lock;
    pthread_cond_t work, done; /* the writer; whoever waits for it */
    /* Under lock: */
    struct qn_save_piece *first, **last; /* waiting                        */
    struct qn_save_piece *spare;         /* to be used again               */
    size_t pending;                      /* bytes waiting or in work       */
    bool wants_end, publishes;           /* no piece follows; then publish */
    bool is_ended;                       /* the writer has done its part   */
    bool stop;
    struct qn_err failure; /* code QN_OK while all is well   */

    _Atomic bool failed; /* failure is set: nobody need save any more */
};

/* snapshot_write.c */
void *qn_snapshot_writer(void *arg); /* the writer's thread */
/* Remembers the first failure of the run. Any thread. */
void qn_snapshots_fail(struct qn_snapshots *sn, const struct qn_err *err);
/* Hands on what savers still hold, or forgets it. Between batches. */
void qn_savers_flush(struct qn_snapshots *sn, bool keeps);

#endif
