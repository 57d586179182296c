/* SPDX-License-Identifier: Apache-2.0
 * service_int.h - the inside of the service: what its threads share, and under which lock.
 *
 *   log thread     tells ingests, measures ages                    wait_lock
 *   engine thread  restores, replays, steps, snapshots, counts     turn (owner of the engine)
 *   others         submit ingests, ask for features and status     turn, wait_lock
 *
 * Files: service_sources.c intakes, service_sinks.c deliveries, service_cursors.c what they leave
 * behind, service.c life and the engine's thread, service_kafka.c the same where the log lies in
 * Kafka, ingest.c events in, service_status.c what the world is told. Memory: boot, but for
 * ingests, which own themselves. */
#ifndef QN_ENGINE_SERVICE_INT_H
#define QN_ENGINE_SERVICE_INT_H

#include "engine/commit.h"
#include "engine/service.h"
#include "sink/feed.h"

#include <pthread.h>
#include <stdatomic.h>

enum {
    QN_CHECKERS = 8,            /* ingests whose contract is checked at the same time      */
    QN_CHECK_ROWS = 64,         /* events of one that are checked together                 */
    QN_BACKLOG_RECORDS = 50000, /* not yet scored: beyond it ingests are refused           */
    QN_SCORE_BINS = 20,
    QN_SCORE_SECONDS = 60,
};

/* A batch of its own for checking contracts outside the engine. */
struct qn_checker {
    struct qn_batch batch;
    bool is_used; /* under check_lock */
};

enum qn_ingest_phase { QN_INGEST_OPEN, QN_INGEST_QUEUED, QN_INGEST_TOLD };

struct qn_ingest_event {
    size_t start; /* in bytes */
    uint32_t len, headers_len;
    size_t headers_start; /* in headers */
    int64_t time_us;      /* event time, or QN_LOG_NO_TIME */
    size_t answer_start;  /* in answers */
    uint32_t answer_len;  /* 0 = none */
    uint16_t field;
    uint8_t verdict, reason;
};

struct qn_ingest {
    struct qn_service *sv;
    uint32_t stream;
    struct qn_buf bytes, headers, answers;
    struct qn_ingest_event *events;
    uint32_t count, cap;
    struct qn_log_append *append;
    qn_ingest_done *done;
    void *arg;
    enum qn_ingest_wait wait;
    qn_status rc;
    struct qn_err err;
    uint64_t first; /* offset of the first event */
    /* under wait_lock: */
    enum qn_ingest_phase phase;
    bool is_waiting;  /* in the list of its stream                         */
    bool is_durable;  /* the log has let go of it                          */
    bool is_given_up; /* nobody will answer: err is what it is told        */
    struct qn_ingest *next;
};

/* Ingests of one stream that wait for answers, in the order of their offsets. Under wait_lock. */
struct qn_waiting {
    struct qn_ingest *first, **last;
};

/* Copied by the engine's thread about once a second, for whoever asks. Under wait_lock. */
struct qn_seen {
    struct qn_counts *counts;     /* [streams] */
    struct qn_group_info *groups; /* [groups] */
    uint64_t *records;            /* [outputs] written since the start of the process */
    struct qn_engine_memory memory;
    int64_t stage_ns[QN_STAGE_COUNT];
    bool has_watermark;
    int64_t newest_us;
};

struct qn_service {
    struct qn_arena arena;
    struct qn_plan *plan;
    struct qn_service_options opt;
    struct qn_log *log;
    struct qn_log_recovery recovery;
    uint32_t *stream_topics, *output_topics; /* [streams], [outputs] */
    uint32_t dead_topic, control_topic;
    struct qn_input_log *in;
    struct qn_commits *commits;
    struct qn_engine *en;
    uint32_t rows_max;
    pthread_t thread;
    bool has_thread;
    int64_t started_us;

    /* Whose turn the engine is. */
    pthread_mutex_t turn;
    pthread_cond_t turned;
    bool is_stepping;
    uint32_t asking;

    _Atomic int phase; /* enum qn_phase */
    _Atomic bool stop, give_up;
    _Atomic uint64_t beats;      /* of the engine's thread */
    _Atomic uint64_t *processed; /* [streams] behind the last record in a batch           */
    _Atomic uint64_t *appended;  /* [streams] behind the last record that lies in the log */
    _Atomic uint64_t queued;     /* events submitted and not in the log yet               */
    _Atomic int64_t taken_us;    /* wall clock: what came until then is in a batch        */
    _Atomic uint64_t replay_done, replay_total;

    pthread_mutex_t wait_lock;
    struct qn_waiting *waiting; /* [streams] */
    struct qn_err failure;
    struct qn_replay replayed;
    struct qn_seen seen;
    uint64_t scores[QN_SCORE_SECONDS][QN_SCORE_BINS]; /* by second, a ring        */
    double score_sums[QN_SCORE_SECONDS];
    int64_t score_second[QN_SCORE_SECONDS];

    struct qn_dead_past past;  /* while replaying */
    pthread_mutex_t dead_lock; /* held while dead letters are sent again */

    pthread_mutex_t check_lock;
    pthread_cond_t checked;
    struct qn_checker checkers[QN_CHECKERS];

    struct qn_service_series *series;       /* service_status.c   */
    struct qn_service_snapshots *snapshots; /* service_snapshot.c */
    _Atomic uint64_t handed, durable;       /* commits handed to the log, and durable */
    /* under wait_lock: */
    int64_t snapshot_taken_us; /* wall clock of the newest; 0 = none */
    int64_t snapshot_ns, snapshot_pause_ns;
    uint64_t snapshot_bytes, snapshot_count, snapshot_failed;
    struct qn_service_sink *sinks; /* service_sinks.c */
    uint32_t sink_count;
    struct qn_service_source *sources; /* service_sources.c */
    uint32_t source_count;
    struct qn_service_kafka *kafka; /* service_kafka.c; NULL = the log is a local one, and all above
                                       that is about a log is there */
};

static inline int64_t qn_service_now_us(const struct qn_service *sv)
{
    return sv->opt.clock->wall_us(sv->opt.clock->st);
}

/* service.c */
/* From one phase to another and from no other: a failure is never painted over. */
bool qn_service_move(struct qn_service *sv, enum qn_phase from, enum qn_phase to);
/* Whether the log has no space for more events; QN_PHASE_FULL follows it. Thread: any. */
bool qn_service_look_space(struct qn_service *sv);
void qn_service_fail(struct qn_service *sv, const struct qn_err *err);

/* service_kafka.c */
/* Looks at the topics, and makes what runs on them. QN_UNSUPPORTED without librdkafka. */
qn_status qn_service_kafka_new(struct qn_service *sv, struct qn_err *err);
void qn_service_kafka_free(struct qn_service *sv);
/* The engine's thread, instead of that of service.c. */
void *qn_service_kafka_main(void *service);
/* Of the stage that has moved least. */
uint64_t qn_service_kafka_beats(const struct qn_service *sv);
/* Appends ,"log":{...}: docs/formats.md, "Status". Under wait_lock. */
void qn_service_kafka_status(const struct qn_service *sv, struct qn_buf *b);

/* service_kafka_sinks.c */
/* What a delivery has to know of the topics of an output; cursor: the sink's name. Texts: the
 * service's arena. *is_here false: that stage runs elsewhere, and so do its deliveries. */
qn_status qn_service_kafka_feed(struct qn_service *sv, uint32_t output, struct qn_str cursor,
                                struct qn_feed_kafka_options *out, bool *is_here,
                                struct qn_err *err);

/* ingest.c */
/* How long the oldest event that is in no batch yet may have waited, given that there is one. */
int64_t qn_service_waited_us(const struct qn_service *sv);
/* The answers of a batch to those who wait for them: what is complete comes back as a list, to be
 * told when the batch is durable. */
struct qn_ingest *qn_ingest_answer(struct qn_service *sv, const struct qn_step_result *r);
void qn_ingest_tell(struct qn_ingest *list, qn_status rc, const struct qn_err *err);
/* Tells all that still wait. */
void qn_ingest_abandon(struct qn_service *sv, const struct qn_err *err);
qn_status qn_ingest_checkers_init(struct qn_service *sv, struct qn_err *err);
void qn_ingest_checkers_fini(struct qn_service *sv);

/* service_snapshot.c; engine's thread */
qn_status qn_service_snapshots_init(struct qn_service *sv, struct qn_err *err);
void qn_service_snapshots_fini(struct qn_service *sv);
/* Loads the newest snapshot that fits the log and what was committed. *found: next[streams] is
 * where it goes on. */
qn_status qn_service_restore(struct qn_service *sv, const uint64_t *last, uint64_t *next,
                             bool *found, struct qn_err *err);
/* After every batch and while idle: begins one when it is due (is_now: at once), saves a part of
 * it, ends it. True: call again soon. */
bool qn_service_snapshot(struct qn_service *sv, bool is_now);
/* Everything is durable: takes one and waits for it. */
void qn_service_last_snapshot(struct qn_service *sv);
void qn_service_look_snapshot(struct qn_service *sv);
/* What waits for a bucket gives up. Thread: any. */
void qn_service_cancel_snapshots(struct qn_service *sv);

/* service_cursors.c */
typedef bool qn_service_is_gone(const struct qn_plan *p, struct qn_str cursor);
typedef void qn_service_say_gone(struct qn_service *sv, struct qn_str cursor, uint64_t behind);
/* Lets go of the cursors whose owner is_gone, saying so with how many records lie behind each. */
qn_status qn_service_forget_cursors(struct qn_service *sv, qn_service_is_gone *is_gone,
                                    qn_service_say_gone *say, struct qn_err *err);

/* service_sources.c */
/* Starts an intake for each source of the plan. */
qn_status qn_service_sources_start(struct qn_service *sv, struct qn_err *err);
/* Nothing comes in afterwards; what came is in the log. */
void qn_service_sources_stop(struct qn_service *sv, int64_t limit_ms);
/* Appends ,"sources":[...]. Under wait_lock. */
void qn_service_sources_status(const struct qn_service *sv, struct qn_buf *b);

/* service_sinks.c */
/* Starts a delivery for each sink of the plan, and lets go of the cursors of those that are no
 * longer in it. */
qn_status qn_service_sinks_start(struct qn_service *sv, struct qn_err *err);
/* Delivers what is left, within limit_ms, and ends the deliveries. False where something was left:
 * the next start goes on with it. */
bool qn_service_sinks_stop(struct qn_service *sv, int64_t limit_ms);
/* Copies what the deliveries say of themselves into the metrics. Under wait_lock. */
void qn_service_sinks_look(struct qn_service *sv);
/* Appends ,"sinks":[...]. Under wait_lock. */
void qn_service_sinks_status(const struct qn_service *sv, struct qn_buf *b);

/* service_status.c */
qn_status qn_service_series_init(struct qn_service *sv, struct qn_err *err);
void qn_service_series_fini(struct qn_service *sv);
/* Engine's thread, in its turn: about once a second. */
void qn_service_look(struct qn_service *sv);
/* Its parts, for a service with several engines. Under wait_lock: forgets what was seen; adds what
 * an engine has to say; puts the sums into the metrics. */
void qn_service_look_clear(struct qn_service *sv);
void qn_service_look_add(struct qn_service *sv, const struct qn_engine *en);
void qn_service_look_tell(struct qn_service *sv, double seconds);
/* Engine's thread, for every batch. */
void qn_service_note_batch(struct qn_service *sv, const struct qn_step_result *r);
/* Log's thread: a batch has become durable. */
void qn_service_note_durable(struct qn_service *sv, const struct qn_commit_done *d);

#endif
