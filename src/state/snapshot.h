/* SPDX-License-Identifier: Apache-2.0
 * snapshot.h - saves keyed state while it is in use, and brings it back: cuts, savers, stores,
 * publishing, restoring. Knows nothing of what is saved.
 *
 *   between two batches        while batches go on                           writer thread
 *   begin: the cut at P   ──►  a key is touched: saved first, as it was  ──► blocks ──► packs
 *   (no key is visited)        step: sweeps keys nobody has touched      ──► manifest, last of all
 *
 * State lives in *sections*, by name: one group of windows, the verdict counts, and so on. A
 * section saves *entries* (bytes that only it understands) and gets them back in load. A snapshot
 * is full (everything) or holds what changed since the one before it; a manifest names the whole
 * chain, a full one first. Nothing is ever overwritten; a snapshot exists once its manifest does.
 * What is damaged, cut short, foreign or missing is never believed: restoring goes on with the next
 * older snapshot and says why. Losing all of them costs time, never answers. The formats are in
 * snapshot_int.h.
 *
 * Thread: all functions are for the thread that steps the engine, between batches, but for those of
 * the saver, which workers call. Memory: state lifetime. */
#ifndef QN_STATE_SNAPSHOT_H
#define QN_STATE_SNAPSHOT_H

#include "base/buffer.h"
#include "base/file.h"
#include "base/s3.h"
#include "base/status.h"
#include "base/text.h"

/* ---- marks: what a key has to know ---- */

/* The side of a section. Every key carries a 16-bit mark: the number of the snapshot during which
 * it was last looked at, and whether it has changed since it was last saved (bit 0). 0: a new key.
 */
struct qn_cut {
    uint16_t now;  /* the mark of a key that changes now                                  */
    bool is_open;  /* a snapshot is being taken                                           */
    bool is_full;  /* ... of everything                                                   */
    bool is_mixed; /* a snapshot was given up: keys have marks of several snapshots       */
};

#define QN_CUT_FIRST ((struct qn_cut){.now = 3})

/* True if the key must be saved before it changes. To be asked where mark != now; afterwards mark =
 * now. */
static inline bool qn_cut_wants(const struct qn_cut *c, uint16_t mark)
{
    return c->is_open && (mark >> 1) != (c->now >> 1) && (c->is_full || (mark & 1) != 0);
}
/* True if the sweep has not been at the key; it saves the key where qn_cut_wants, and gives it the
 * mark qn_cut_swept. */
static inline bool qn_cut_unseen(const struct qn_cut *c, uint16_t mark)
{
    return (mark >> 1) != (c->now >> 1);
}
/* The mark of a key that is as it was saved: swept, or loaded. */
static inline uint16_t qn_cut_swept(const struct qn_cut *c)
{
    return (uint16_t)(c->now & ~1);
}
/* A snapshot begins. True: the numbers have come to their end while marks were mixed, and every
 * mark must now be set to mark & 1 (once in 32,767 snapshots, and only behind one given up). */
bool qn_cut_begin(struct qn_cut *c, bool is_full);
void qn_cut_end(struct qn_cut *c, bool is_swept);

/* ---- savers: where a section's entries go ---- */

struct qn_saver; /* private: one section's way into the snapshot */

enum { QN_SNAPSHOT_ENTRY_MAX = 4 * 1024 * 1024 };

/* Room for one entry of exactly that many bytes, to be filled before the worker's next call; NULL
 * where the snapshot has failed already, and the caller goes on without. Thread: that worker. */
char *qn_saver_entry(struct qn_saver *sv, unsigned worker, uint32_t bytes);
/* The worker's entries up to here may be parted from those that follow: entries that belong
 * together are loaded one right behind the other. Thread: that worker. */
void qn_saver_unit(struct qn_saver *sv, unsigned worker);

/* ---- sections ---- */

struct qn_section_ops {
    /* The cut. From here on the section saves to sv what the snapshot wants, before it changes. */
    void (*begin)(void *st, struct qn_saver *sv, bool is_full);
    /* Saves more of what has not been touched, by worker 0. *work is what may be done, about the
     * bytes copied, and is lowered; 0 = stop. True: nothing is left. NULL: begin saves it all. */
    bool (*sweep)(void *st, size_t *work);
    /* The snapshot takes nothing more. is_swept false: it was given up, the next one is full. NULL:
     * nothing is to be done. */
    void (*end)(void *st, bool is_swept);
    /* One entry. They come snapshot by snapshot, newest first, in the order in which they were
     * saved: a key that is there already stays as it is. Any bytes may come: QN_CORRUPT. */
    qn_status (*load)(void *st, const char *entry, uint32_t bytes, struct qn_err *err);
    /* All entries of one snapshot of the chain have come: QN_CORRUPT where something is missing. */
    qn_status (*loaded)(void *st, struct qn_err *err);
    /* Makes the section as empty as it was at the start. */
    qn_status (*clear)(void *st, struct qn_err *err);
};

enum { QN_SECTION_NAME_MAX = 120 };

struct qn_section {
    const struct qn_section_ops *ops;
    void *st;
    char name[QN_SECTION_NAME_MAX + 1]; /* "windows/pay/card"                                     */
    uint64_t layout; /* two with equal layouts understand each other's entries, and mean the same */
};

/* ---- stores: where packs and manifests lie ---- */

/* A folder or a bucket: whole objects under names, written once. Thread: one at a time. */
struct qn_snapshot_store {
    /* All of it under that name and durable, or nothing. */
    qn_status (*put)(void *st, const char *name, const void *p, size_t bytes, struct qn_err *err);
    /* The whole object into out (cleared first); QN_LIMIT where it is larger than limit_bytes. */
    qn_status (*get)(void *st, const char *name, size_t limit_bytes, struct qn_buf *out,
                     struct qn_err *err);
    qn_status (*list)(void *st, void (*each)(void *arg, const char *name), void *arg,
                      struct qn_err *err);
    qn_status (*remove)(void *st, const char *name,
                        struct qn_err *err); /* QN_OK: it is not there */
    void *st;
    /* What is under way and all that follows may end early, with QN_INTERRUPTED. Thread: any. NULL:
     * nothing takes long. */
    void (*cancel)(void *st);
    void (*close)(void *st); /* NULL: nothing to free */
};

/* A folder, made where it is not there (its parent must be). `files` must outlive the store. */
qn_status qn_snapshot_folder_new(const struct qn_files *files, const char *path,
                                 struct qn_snapshot_store *out, struct qn_err *err);
/* A bucket; the names of objects follow prefix ("quern/shop/"; "" = none). Nothing is asked yet. */
qn_status qn_snapshot_bucket_new(const struct qn_s3_options *opt, const char *prefix,
                                 struct qn_snapshot_store *out, struct qn_err *err);
void qn_snapshot_store_cancel(const struct qn_snapshot_store *s);
void qn_snapshot_store_free(struct qn_snapshot_store *s); /* {0} is fine */

/* ---- snapshots ---- */

struct qn_snapshots; /* private: the sections, the store, the snapshot being taken */

struct qn_snapshots_options {
    const struct qn_snapshot_store *store; /* must outlive it                                     */
    const struct qn_section *sections;     /* copied; names must differ                           */
    uint32_t section_count;
    uint32_t workers;     /* of the engine's team                                                 */
    size_t pending_bytes; /* saved and not yet written: more ends the snapshot; 0 = 256 MiB       */
    size_t pack_bytes;    /* a pack is closed when it has so many, at most 32 MiB; 0 = 16 MiB     */
    /* 0 = nobody else writes to the store. Else no number below it is used: writers that follow
     * each other have ranges of their own, so that one which does not know yet that another has
     * come meets none of its names, and it removes nothing above its own. */
    uint64_t first_number;
};

/* What a snapshot is. */
struct qn_snapshot_info {
    uint64_t number;       /* of the snapshot: newer ones have larger ones                        */
    uint64_t position;     /* in the log; the caller's own meaning                                */
    int64_t taken_us;      /* wall clock, for ages only                                           */
    struct qn_str payload; /* the caller's bytes, borrowed; at most 16 MiB                        */
    bool is_full;
    uint64_t bytes;     /* that this snapshot added to the store                                  */
    uint64_t all_bytes; /* of the chain that a restore reads                                      */
    /* Of a snapshot just published: the least position of those that stay, from which on the log
     * is needed; 0 = not known now, but no less than before. */
    uint64_t kept_position;
};

/* Starts the writer's thread and looks into the store. */
qn_status qn_snapshots_new(const struct qn_snapshots_options *opt, struct qn_snapshots **out,
                           struct qn_err *err);
/* Others may have written to the store since: numbers go on at first_number or above, and the next
 * snapshot is full. In phase NONE only. */
void qn_snapshots_renumber(struct qn_snapshots *sn, uint64_t first_number);
/* Gives up what is being taken. NULL is fine. */
void qn_snapshots_free(struct qn_snapshots *sn);

enum qn_snapshot_phase {
    QN_SNAPSHOT_NONE,     /* nothing is being taken: begin may be called                          */
    QN_SNAPSHOT_SWEEPING, /* step until it is not                                                 */
    QN_SNAPSHOT_SWEPT,    /* all is saved: finish, once the position is durable                   */
    QN_SNAPSHOT_WRITING,  /* the writer is at it                                                  */
    QN_SNAPSHOT_ENDED     /* published or failed: qn_snapshots_result                             */
};
enum qn_snapshot_phase qn_snapshots_phase(struct qn_snapshots *sn);

/* The cut: the snapshot is of the state as it is now, between two batches. Visits no key. position,
 * taken_us and payload of `info` are copied. In phase NONE only. QN_NOMEM: nothing has begun. */
qn_status qn_snapshots_begin(struct qn_snapshots *sn, const struct qn_snapshot_info *info,
                             struct qn_err *err);
/* Saves about `work` bytes more; a key that has nothing to save counts as 64. A MiB takes well
 * under a millisecond. Saves less where the writer is behind. In any phase. */
enum qn_snapshot_phase qn_snapshots_step(struct qn_snapshots *sn, size_t work);
/* Lets the writer publish. In phase SWEPT only. */
void qn_snapshots_finish(struct qn_snapshots *sn);
/* Ends what is being taken without publishing; the result is QN_INTERRUPTED. */
void qn_snapshots_give_up(struct qn_snapshots *sn);
/* Blocks until the writer is done. In phase WRITING or ENDED only. */
void qn_snapshots_wait(struct qn_snapshots *sn);
/* In phase ENDED only: what became of it; the phase is NONE then. After an error older snapshots
 * are as they were, and the next one will be full. *info may be NULL. */
qn_status qn_snapshots_result(struct qn_snapshots *sn, struct qn_snapshot_info *info,
                              struct qn_err *err);

/* How to restore. */
struct qn_snapshot_choice {
    /* Does this snapshot fit the log? Anything but QN_OK passes it over, with the reason in err.
     * May be NULL: all do. */
    qn_status (*accept)(void *arg, const struct qn_snapshot_info *info, struct qn_err *err);
    /* A snapshot was passed over: why. May be NULL. */
    void (*report)(void *arg, uint64_t number, const struct qn_err *why);
    void *arg;
};

/* Loads the newest snapshot that can be believed into the sections, which are empty (before the
 * first batch). got->number 0: there is none, and the sections are empty. got->payload is borrowed
 * until the next call. The next snapshot may build on this one. Other than QN_OK: memory is gone,
 * the store cannot be listed or was cancelled; the sections are in no known state. */
qn_status qn_snapshots_restore(struct qn_snapshots *sn, const struct qn_snapshot_choice *how,
                               struct qn_snapshot_info *got, struct qn_err *err);

/* All manifests that can be read, newest first; sections and packs are not looked at. */
qn_status qn_snapshots_list(const struct qn_snapshot_store *store,
                            void (*each)(void *arg, const struct qn_snapshot_info *info), void *arg,
                            struct qn_err *err);

#endif
