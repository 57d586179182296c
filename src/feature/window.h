/* SPDX-License-Identifier: Apache-2.0
 * window.h - exact sliding windows over keyed events, and the aggregates on them.
 *
 * A group = one source stream and one key: all windows of all features with that pair share one
 * ring of events per key. `over W` at an event of time t holds the source's events of that key with
 * time in (t-W, t], at or before this one in the log, the current one included; `delayed D` shifts
 * to (t-D-W, t-D]; `excluding current` leaves the event itself out. Equal times are ordered by log
 * position. An out-of-order event is inserted at its time and corrects the sums of the windows that
 * contain it; events newer than it are not visible to it. The ring keeps W + D + lateness + within.
 * Sums are exact: integers and decimals in 128 bits, doubles in wide fixed point (exact_sum.h), so
 * order, evictions and threads never show. Lifetime: state. Threads: a lane belongs to one worker
 * at a time. */
#ifndef QN_FEATURE_WINDOW_H
#define QN_FEATURE_WINDOW_H

#include "base/status.h"
#include "event/batch.h"
#include "state/budget.h"
#include "state/snapshot.h"
#include "state/table.h"

/* X(NAME, text, takes an argument) */
#define QN_AGGREGATE_LIST(X)                                                                       \
    X(COUNT, "count", 0)                                                                           \
    X(SUM, "sum", 1)                                                                               \
    X(MEAN, "mean", 1)                                                                             \
    X(MIN, "min", 1)                                                                               \
    X(MAX, "max", 1)

enum qn_aggregate {
#define QN_AGGREGATE_ENUM(name, text, arg) QN_AGGREGATE_##name,
    QN_AGGREGATE_LIST(QN_AGGREGATE_ENUM)
#undef QN_AGGREGATE_ENUM
        QN_AGGREGATE_COUNT_OF
};

#define QN_OVER_ALL INT64_MAX

/* One feature's window. An event counts where `where` is true (or absent) and, for aggregates with
 * an argument, the argument is not null. count gives int64 (0 over an empty window); sum the
 * argument's type (int64 for bool), null over an empty window and on overflow of its type; mean a
 * double, null over an empty window; min and max the argument's type, null over an empty window.
 * bool arguments count as 0 and 1. Argument types: bool, int64, double, decimal; min and max also
 * timestamp. A NaN or an infinity among doubles makes sum and mean null; min and max take it as a
 * value, any NaN -> NaN. */
struct qn_window {
    enum qn_aggregate aggregate;
    int32_t arg;        /* index into qn_group_spec.args, -1 for count            */
    int32_t where;      /* index into qn_group_spec.wheres, -1 = none             */
    int64_t over_us;    /* > 0, or QN_OVER_ALL                                    */
    int64_t delayed_us; /* >= 0                                                   */
    bool excludes_current;
    struct qn_kind out; /* type of the result, as above                           */
};

enum { QN_GROUP_WINDOWS_MAX = 256, QN_GROUP_ARGS_MAX = 32, QN_GROUP_WHERES_MAX = 64 };

struct qn_group_spec {
    const struct qn_kind *args;
    uint32_t arg_count;
    uint32_t where_count;
    const struct qn_window *windows;
    uint32_t window_count;
    int64_t slack_us; /* lateness + within of source and reader: kept behind W + D */
    bool is_counted;  /* there is a budget: see "counted keys" below */
    bool has_floor;   /* waves say a floor */
};

struct qn_group; /* private */

/* Compiles the plan of one group and makes its (empty) state. The spec is copied. */
qn_status qn_group_new(const struct qn_group_spec *spec, uint64_t seed, struct qn_group **out,
                       struct qn_err *err);
void qn_group_free(struct qn_group *g);

/* What the rows of a batch mean to this group. All arrays have one entry per row of the batch, in
 * log order. */
enum {
    QN_ROLE_UPDATE = 1, /* the row is an event of the source stream */
    QN_ROLE_READ = 2    /* the row wants the values                 */
};
struct qn_wave {
    uint32_t rows;
    const uint8_t *role;              /* QN_ROLE_* bits; 0 = nothing to do (also: key is null) */
    const int64_t *time_us;           /* event time                                            */
    const struct qn_str *key;         /* key bytes                                             */
    const uint64_t *hash;             /* qn_hash(key, seed 0)                                  */
    const struct qn_col *const *args; /* [arg_count]                                           */
    const uint8_t *const *wheres;     /* [where_count] per row 1 = condition true              */
    struct qn_col *const *out;        /* [window_count] written where role has READ, valid set */
    void **recs; /* of qn_group_find; NULL: the keys are looked up as rows run            */
    /* Where several logs were merged into this one, each at its own pace: no row that has a role
     * is older than its floor less the slack, however new the key's newest is. It never falls. A
     * key then keeps what such rows may ask for, and the rule about T in qn_group_run is not
     * applied. NULL: there is none. */
    const int64_t *floor_us;
};

/* Runs the wave over the rows of lanes l with l % workers == worker, in log order: update, then
 * read. Rows of other lanes are not touched. Scratch comes from `arena` (batch lifetime). A row of
 * READ alone sees the source's events at or before it in the log; excludes_current means nothing to
 * it, and it creates no key. With T the newest time of an event or read of the key: an event older
 * than T - (W + D + slack) of the furthest window is not inserted, and a window that reaches
 * further back than that from its row gives null (the contract makes such rows dead before).
 * QN_NOMEM: the group must not be run again; recovery is replay. */
qn_status qn_group_run(struct qn_group *g, const struct qn_wave *w, uint32_t worker,
                       uint32_t workers, struct qn_arena *arena, struct qn_err *err);

/* ---- counted keys: with `is_counted`, for state/budget.h ----
 *
 * A key is held from its first event until nothing on time can see it, that is until the newest
 * event time is further than W + D + slack behind its own newest event or read; then it is as if it
 * had never been. That is the log's view: when the memory goes shows nowhere. */

/* Looks up the keys of the worker's rows, as qn_group_run would, into w->recs. */
qn_status qn_group_find(struct qn_group *g, const struct qn_wave *w, uint32_t worker,
                        uint32_t workers, struct qn_err *err);
/* Then row by row, in log order, newest_us the newest event time up to that row: the bytes that the
 * row would add. *has_new_key is set where its key is not held. Thread: the engine's, and so below.
 */
uint64_t qn_group_cost(const struct qn_group *g, const struct qn_wave *w, uint32_t row,
                       int64_t newest_us, bool *has_new_key);
/* The row is taken, and counted in that account. */
void qn_group_take(struct qn_group *g, const struct qn_wave *w, uint32_t row, int64_t newest_us,
                   struct qn_budget *budget, uint32_t account);
/* Behind the last row, where some were not taken (their role is 0 now): removes the keys that only
 * those have named. scratch: [w->rows]. */
void qn_group_let_go(struct qn_group *g, const struct qn_wave *w, uint32_t *scratch);
/* Counts the keys and events that are there, when a snapshot did not say. */
void qn_group_recount(const struct qn_group *g, int64_t newest_us, struct qn_budget *budget,
                      uint32_t account);
/* How long what is counted stays. */
int64_t qn_group_counted_us(const struct qn_group *g);

/* Row 0 of out[window]: what the windows of a key hold as of its newest event. Only looks. Between
 * waves. QN_NOT_FOUND. */
qn_status qn_group_look(struct qn_group *g, struct qn_str key, uint64_t hash,
                        struct qn_col *const *out, int64_t *newest_us, struct qn_err *err);

/* Frees keys that nothing on time can see any more: newest event older than watermark - (W + D +
 * slack). Bounded windows only. Physical only: it never shows in an answer. Call between batches,
 * with the shard's watermark; works on a few keys per call, paced by rows and by the keys that came
 * since the last call. */
void qn_group_expire(struct qn_group *g, int64_t watermark_us, uint32_t rows);

/* The group's keys as a section of a snapshot; the caller sets name and layout. Valid as long as
 * the group. */
struct qn_section qn_group_section(struct qn_group *g);

/* Memory, for `quern check` (true within 20 % for tens to thousands of events a key): fixed bytes
 * of a key with that many key bytes, the ring's unused room included, bytes per event held, and
 * what the state takes now. */
size_t qn_group_key_bytes(const struct qn_group *g, uint32_t key_len);
double qn_group_event_bytes(const struct qn_group *g);
/* How far back events are held; QN_OVER_ALL = for ever (then only sums are). */
int64_t qn_group_keeps_us(const struct qn_group *g);
uint64_t qn_group_keys(const struct qn_group *g);
size_t qn_group_bytes(const struct qn_group *g);

#endif
