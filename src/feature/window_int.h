/* SPDX-License-Identifier: Apache-2.0
 * window_int.h - the inside of the windows: plan, key record, ring, running sums. Face: window.h.
 *
 *          older than anyone sees     boundary 30d    7d   1d    T = newest time of the key
 *     ... freed ...  [chunk] [chunk] ----|--- [chunk] ---|----|--- [chunk]|
 *                                        ^cursor         ^    ^           ^ boundary 0: the end
 *
 * A *boundary* b is a distinct distance behind T: every window is (T - D - W, T - D], so it lies
 * between boundary D + W and boundary D, and windows share boundaries. Each boundary runs a sum
 * over ALL events that it has passed (time <= T - b) since the key began; a window's sum is the
 * difference of two of them. That is exact, because sums are: integers modulo 2^64 and 2^128,
 * doubles in fixed point. So an event costs one addition per boundary, nothing is ever subtracted
 * while time moves on, and `over all` needs no old end.
 *
 * Ring: doubly linked chunks of events sorted by (time, log position). An event is an array of
 * 64-bit words:
 *
 *     word 0              bits 16..63: time minus the chunk's base, signed us;
 *                         bits 0..15: flags, where they fit
 *     words 1..ext_words  flags, where they do not fit into 16 bits
 *     then                a word per argument that is not bool: int64 or the bits of the double
 *     flags               bit per argument: not null; per bool argument: true; per where: true
 *
 * min and max cannot be subtracted: see window_extreme.c. Files: window_plan.c compiles,
 * window_ring.c moves time on and inserts, window_extreme.c keeps minima, window_read.c answers,
 * window.c runs waves, window_count.c counts keys, window_save.c saves and loads them. Thread: a
 * key belongs to its lane's worker; the plan is read-only. */
#ifndef QN_FEATURE_WINDOW_INT_H
#define QN_FEATURE_WINDOW_INT_H

#include "feature/exact_sum.h"
#include "feature/window.h"
#include "state/slab.h"

enum {
    QN_EVENT_WORDS_MAX = 1 + 2 + QN_GROUP_ARGS_MAX,
    QN_INLINE_FLAGS = 16, /* flag bits that fit beside the time                   */
    QN_CHUNK_LEVELS = 3,  /* chunk sizes: about 4, 16, 64 events                  */
    QN_ROWS_AHEAD = 32,   /* rows whose memory is asked for together              */
    QN_DUE_STEP = 8       /* boundaries that move on together                     */
};

/* A 128-bit sum inside a record, where only 8 bytes of alignment hold. */
typedef __int128 qn_i128 __attribute__((aligned(8)));

/* Which events count: all these flags must be set. */
struct qn_flags {
    uint64_t lo, hi;
};

struct qn_chunk {
    struct qn_chunk *prev, *next; /* older, newer                                      */
    int64_t base_us;              /* times are offsets from it                         */
    uint16_t count, cap;          /* events                                            */
    uint32_t bytes;               /* of the piece                                      */
    /* then int64_t extreme[extreme_count], then the events */
};

/* The first event a boundary has not passed. next_us INT64_MAX: there is none, the rest is
 * undefined. */
struct qn_cursor {
    struct qn_chunk *chunk;
    int64_t next_us; /* its time */
    uint32_t index;
    uint32_t unused;
};

struct qn_double_sum {
    struct qn_exact_sum sum;
    struct qn_exact_wide *wide; /* NULL until the key meets a value that does not fit */
};

/* The running least of one min or max over one span (window_extreme.c). */
struct qn_least {
    int64_t least; /* INT64_MAX: none                                                    */
    int64_t rest;  /* of the events in chunks newer than `chunk`; over all: of freed ones */
    struct qn_chunk *chunk; /* chunk of the old end when rest was made; NULL: rest is not valid */
    uint64_t is_stale; /* the least may have left                                             */
};

/* Head of a key's record; cursors, sums and leasts follow as the plan lays them out. */
struct qn_key {
    int64_t newest_us;            /* T: newest time of an event or read                     */
    struct qn_chunk *head, *tail; /* oldest and newest chunk; NULL: no ring yet             */
    uint32_t events;              /* in the ring, those nobody can see any more included    */
    bool has_begun;               /* an event has come; until then the record is all zero   */
    bool is_ahead;                /* a row of it is among those that move on together       */
    uint16_t mark;                /* of snapshots: state/snapshot.h                         */
};
_Static_assert(sizeof(struct qn_key) == 32, "the mark lies where nothing was");

/* One running sum of one boundary. */
struct qn_op {
    struct qn_flags need;
    uint32_t at;   /* byte offset in the record        */
    uint32_t word; /* of the event; sums only          */
};

/* One min or max column of chunks: distinct (argument, where, direction). Keys are int64 whose
 * least is wanted. */
struct qn_extreme {
    struct qn_flags need;  /* where true and not null               */
    struct qn_flags truth; /* bool arguments: the value's flag      */
    uint32_t word;
    bool is_bool, is_double;
    int64_t flip; /* -1 for max: the complement's least    */
};

/* One min or max over one span. */
struct qn_span {
    uint32_t extreme;   /* column                                    */
    uint32_t at;        /* struct qn_least in the record             */
    int32_t young, old; /* boundaries; old -1 = over all             */
};

struct qn_boundary {
    int64_t back_us;
    uint32_t cursor_at; /* 0 for boundary 0, which is the end */
    uint32_t count_ops, int_ops, double_ops;
    const struct qn_op *counts, *ints, *doubles;
    uint32_t enter_count, leave_count;
    const uint32_t *enters, *leaves; /* spans whose young, old end this is */
};

/* What to do with the sums of a window. */
enum qn_read_op {
    QN_READ_COUNT,
    QN_READ_SUM_BOOL,
    QN_READ_SUM_INT,
    QN_READ_SUM_DOUBLE,
    QN_READ_MEAN_BOOL,
    QN_READ_MEAN_INT,
    QN_READ_MEAN_DOUBLE,
    QN_READ_LEAST
};

/* How one window is read. Offsets of the sums at its young and old boundary; old 0 = none (over
 * all). */
struct qn_reading {
    enum qn_read_op op;
    int64_t need_us; /* D + W, or D for over all: what the ring must reach back */
    uint32_t count_young, count_old;
    uint32_t sum_young, sum_old;
    uint64_t scale; /* of a decimal argument: 10^scale, else 1 */
    int32_t span;
};

/* Where a snapshot stands (window_save.c). */
struct qn_group_save {
    struct qn_cut cut;
    struct qn_saver *saver; /* while cut.is_open                      */
    uint32_t lane, place;   /* of the sweep                           */
    struct qn_key *key;     /* being loaded; NULL: none, or one that is there already */
    struct qn_lane *key_lane;
    uint32_t events_left;     /* of the key being loaded                                   */
    uint32_t boundaries_left; /* of it, those whose cursor has not been met, furthest last */
};

struct qn_lane {
    struct qn_table *table;
    struct qn_slab slab;
    uint64_t expire_cursor;
    int64_t floor_us; /* of the rows in hand; with a floor only */
} __attribute__((aligned(64)));

struct qn_group {
    /* the plan, read-only after qn_group_new */
    uint32_t arg_count, where_count, window_count;
    int64_t keep_us; /* ring length: the furthest boundary + slack */
    bool has_ring, is_unbounded, has_floor;
    uint32_t event_words, ext_words;
    uint32_t record_bytes, chunk_head_bytes, extreme_bytes;
    uint32_t sums_at, leasts_at; /* in the record: sums of all boundaries, then leasts */
    uint32_t counted_at;         /* in the record: qn_key_counted; 0 = keys are not counted */
    struct qn_kind args[QN_GROUP_ARGS_MAX];
    uint8_t arg_word[QN_GROUP_ARGS_MAX];  /* 0 for bool */
    uint8_t truth_bit[QN_GROUP_ARGS_MAX]; /* bool arguments */
    uint32_t where_bit;                   /* of where 0 */
    uint32_t boundary_count, extreme_count, span_count, double_count;
    struct qn_boundary *boundaries; /* ascending back_us */
    struct qn_extreme *extremes;
    struct qn_span *spans;
    struct qn_reading *readings; /* [window_count] */
    uint32_t *before, *after;    /* windows read before, after the row's own event joins */
    uint32_t before_count, after_count;
    uint32_t double_args[QN_GROUP_ARGS_MAX]; /* arguments that are summed as doubles */
    uint32_t double_arg_count;
    uint32_t chunk_bytes[QN_CHUNK_LEVELS]; /* of a new chunk ...             */
    uint32_t chunk_upto[QN_CHUNK_LEVELS];  /* ... of a ring of so many events */
    struct qn_arena arena;
    uint64_t seed;
    /* the state */
    uint32_t expire_lane;
    uint64_t expire_keys; /* left by the last qn_group_expire; UINT64_MAX = not known */
    struct qn_group_save save;
    struct qn_lane lanes[QN_LANES];
};

static inline int64_t qn_window_back(int64_t t, int64_t by_us)
{
    int64_t r;

    return __builtin_sub_overflow(t, by_us, &r) ? INT64_MIN : r; /* by_us >= 0 */
}

/* The newest event or read by which a counted key is held, as qn_counted_stamp; 0 = it is not. */
static inline uint64_t *qn_key_counted(const struct qn_group *g, const void *rec)
{
    return (uint64_t *)((char *)(uintptr_t)rec + g->counted_at);
}

/* Times as numbers that order alike; 0 is no event's. */
static inline uint64_t qn_counted_stamp(int64_t us)
{
    return (uint64_t)us - (uint64_t)INT64_MIN;
}

/* The newest time that keeps the key. */
static inline int64_t qn_key_held_us(const struct qn_group *g, const struct qn_key *key)
{
    return g->counted_at == 0 ? key->newest_us
                              : (int64_t)(*qn_key_counted(g, key) + (uint64_t)INT64_MIN);
}

static inline struct qn_cursor *qn_key_cursor(void *rec, const struct qn_boundary *b)
{
    return (struct qn_cursor *)((char *)rec + b->cursor_at);
}

static inline int64_t *qn_chunk_extremes(struct qn_chunk *c)
{
    return (int64_t *)(c + 1);
}

static inline uint64_t *qn_chunk_event(const struct qn_group *g, const struct qn_chunk *c,
                                       uint32_t index)
{
    return (uint64_t *)((char *)(uintptr_t)c + g->chunk_head_bytes) +
           (size_t)index * g->event_words;
}

static inline int64_t qn_chunk_time(const struct qn_group *g, const struct qn_chunk *c,
                                    uint32_t index)
{
    return c->base_us + ((int64_t)*qn_chunk_event(g, c, index) >> 16);
}

/* The complement of an event's flags: what it lacks. */
static inline struct qn_flags qn_event_lacks(const struct qn_group *g, const uint64_t *e)
{
    if (__builtin_expect(g->ext_words == 0, 1))
        return (struct qn_flags){~e[0] & 0xFFFF, 0};
    return (struct qn_flags){~e[1], g->ext_words > 1 ? ~e[2] : 0};
}

static inline bool qn_flags_meet(struct qn_flags lacks, struct qn_flags need)
{
    return ((lacks.lo & need.lo) | (lacks.hi & need.hi)) == 0;
}

/* Adds an event to the running sums of a boundary, or takes it back. */
static inline void qn_boundary_add(const struct qn_boundary *b, void *rec, const uint64_t *e,
                                   struct qn_flags lacks, bool subtract)
{
    char *r = rec;

    for (uint32_t k = 0; k < b->count_ops; k++) {
        uint64_t one = qn_flags_meet(lacks, b->counts[k].need);

        *(uint64_t *)(r + b->counts[k].at) += subtract ? -one : one;
    }
    for (uint32_t k = 0; k < b->int_ops; k++) {
        const struct qn_op *op = &b->ints[k];
        int64_t v = (int64_t)e[op->word] & -(int64_t)qn_flags_meet(lacks, op->need);

        qn_i128 *sum = (qn_i128 *)(r + op->at);

        *sum =
            (__int128)((unsigned __int128)*sum + (unsigned __int128)(subtract ? -(__int128)v : v));
    }
    for (uint32_t k = 0; k < b->double_ops; k++) {
        const struct qn_op *op = &b->doubles[k];
        struct qn_double_sum *s = (struct qn_double_sum *)(r + op->at);
        double v;

        if (!qn_flags_meet(lacks, op->need))
            continue;
        __builtin_memcpy(&v, &e[op->word], sizeof v);
        if (__builtin_expect(qn_exact_fits(v), 1))
            (subtract ? qn_exact_sub : qn_exact_add)(&s->sum, v);
        else
            (subtract ? qn_exact_wide_sub : qn_exact_wide_add)(s->wide, v);
    }
}

/* window_ring.c: time and events of one key. */

/* A row of a wave whose key has been looked up. */
struct qn_ahead {
    struct qn_lane *lane;
    struct qn_key *key; /* NULL: the row only reads and there is no such key */
    int64_t time_us;
    uint32_t row;
    bool moves; /* the key has begun and the row is newer than T     */
};
/* Moves T of every row's key that moves on to the row's time: boundaries pass events, chunks nobody
 * can see any more are freed. The keys must differ. Cannot fail. Works on all rows together, since
 * whether a boundary of one key has an event to pass is a coin toss that a processor cannot guess:
 * a list of those that have costs no wrong guesses. */
void qn_ring_advance(struct qn_group *g, struct qn_ahead *rows, uint32_t n);
/* Inserts an event of time t (T - keep <= t <= T) behind all events of its time. QN_NOMEM: nothing
 * has changed. */
qn_status qn_ring_insert(struct qn_group *g, struct qn_lane *ln, struct qn_key *key, int64_t t,
                         uint64_t *event);
/* Adds an event behind all others of the ring, and nothing else: sums and cursors are the caller's.
 * QN_NOMEM: nothing has changed. */
qn_status qn_ring_append(struct qn_group *g, struct qn_lane *ln, struct qn_key *key, int64_t t,
                         uint64_t *event);
/* Frees what a key holds beside its record. */
void qn_ring_free(struct qn_group *g, struct qn_lane *ln, struct qn_key *key);

/* window_extreme.c: minima and maxima. */

/* The value behind a key: int64, or the double's bits. */
int64_t qn_extreme_value(const struct qn_extreme *x, int64_t key);
/* An event in chunk c passes boundary b: it enters spans and leaves others. */
void qn_extreme_pass(const struct qn_group *g, const struct qn_boundary *b, void *rec,
                     const struct qn_chunk *c, const uint64_t *e, struct qn_flags lacks);
/* A late event that span s contains at once. */
void qn_extreme_join(const struct qn_group *g, const struct qn_span *s, void *rec,
                     const struct qn_chunk *c, const uint64_t *e, struct qn_flags lacks);
/* The old end of some spans has come to another chunk; or chunk c was cut (then b NULL). */
void qn_extreme_forget(const struct qn_group *g, const struct qn_boundary *b, void *rec,
                       const struct qn_chunk *c);
/* Chunk columns: an event joins the chunk; all over again; a chunk is freed (over all keeps its
 * least). */
void qn_extreme_chunk_add(const struct qn_group *g, struct qn_chunk *c, const uint64_t *e,
                          struct qn_flags lacks);
void qn_extreme_chunk_rebuild(const struct qn_group *g, struct qn_chunk *c);
void qn_extreme_chunk_gone(const struct qn_group *g, void *rec, struct qn_chunk *c);
/* Least of events from (a, i) up to but without (z, j); a NULL: none; z NULL: to the end. */
int64_t qn_extreme_scan(const struct qn_group *g, uint32_t extreme, struct qn_chunk *a, uint32_t i,
                        const struct qn_chunk *z, uint32_t j);
/* The running least of a span at T, brought up to date. */
int64_t qn_extreme_current(const struct qn_group *g, const struct qn_span *s, void *rec);

/* window.c: all keys of a lane, and its table. */
void qn_group_lane_free(struct qn_group *g, struct qn_lane *ln);

/* window_save.c: snapshots. */

/* Saves the key where the snapshot wants it as it is now, and marks it as changed. To be called
 * before anything of a key changes, where its mark is not the present one. Thread: the lane's
 * worker. */
void qn_group_touch(struct qn_group *g, struct qn_key *key, uint32_t worker);

/* window_read.c: answers. */

/* Scratch of one worker for reads behind T: a copy of a record. */
struct qn_late_view {
    char *rec;
    struct qn_chunk **chunk; /* [boundary_count] position of each boundary as of the row's time */
    uint32_t *index;
    struct qn_exact_wide *wides; /* one per double sum of the plan, made when first needed */
    struct qn_arena *arena;
};
/* Writes windows `which` of row `row`, as of time t (<= T); rec NULL: a key without events. */
qn_status qn_read_windows(struct qn_group *g, struct qn_key *key, int64_t t, const uint32_t *which,
                          uint32_t count, struct qn_late_view *late, const struct qn_wave *w,
                          uint32_t row, struct qn_err *err);

#endif
