/* SPDX-License-Identifier: Apache-2.0
 * intake.h - brings the events of one source into the topic of its stream, exactly once.
 *
 *   ask source ──► one append: events, position, cursor ──► durable ──► source may acknowledge
 *       ▲ waits while the engine lags behind, the disk is full, or the source fails (exponential)
 *
 * The position is a control record of the topic "source.NAME" that only this intake writes; the
 * cursor "source.NAME" stands on the newest one and keeps it from retention. So that an idle source
 * does not keep old segments for ever, the position is written again when the log has grown by
 * QN_INTAKE_RENEW_BYTES. Source and log agree after every crash: what was appended is not read
 * again, what was not is. While one append becomes durable the next events are read. Thread: one of
 * its own; the functions below from any. Memory: one append of QN_INTAKE_BYTES and one event, and
 * the source's own. */
#ifndef QN_SOURCE_INTAKE_H
#define QN_SOURCE_INTAKE_H

#include "log/log_local.h"
#include "source/source.h"

enum {
    QN_INTAKE_EVENTS = 4096,         /* most events of an append              */
    QN_INTAKE_BYTES = 1024 * 1024,   /* of its events, and one event more     */
    QN_INTAKE_RENEW_BYTES = 16 << 20 /* of the log, until an old position is written again */
};

struct qn_intake; /* private */

enum qn_intake_state {
    QN_INTAKE_RUNNING, /* reading, or waiting for events                                      */
    QN_INTAKE_PAUSED,  /* the engine lags behind                                              */
    QN_INTAKE_FULL,    /* the log has no space                                                */
    QN_INTAKE_WAITING, /* for the source: the last try failed                                 */
    QN_INTAKE_DONE,    /* the source has no more events                                       */
    QN_INTAKE_STOPPED  /* until the next start: the source said never again, or the log failed */
};
const char *qn_intake_state_name(enum qn_intake_state s); /* "running" */

/* What an observer may want to say aloud: changes of state, never one per event. Called on the
 * intake's thread; must not block for long. */
typedef void qn_intake_tell(void *arg, bool is_problem, const char *source, const char *text);

struct qn_intake_options {
    struct qn_log *log;
    uint32_t topic;                 /* of the stream                                            */
    const struct qn_source *source; /* outlives the intake                                      */
    const struct qn_transcode_options *wire; /* of the stream; NULL = records are events        */
    const struct qn_files *files; /* NULL = qn_files_system                                   */
    const struct qn_clock *clock; /* NULL = qn_clock_system                                   */
    uint64_t (*lag)(void *arg);   /* records that wait for the engine; NULL = no limit        */
    void *lag_arg;
    /* What the source says of a consumer group (source.h); NULL = nobody wants to know */
    void (*group_lag)(void *arg, const char *group, const char *topic, uint32_t partition,
                      int64_t records);
    void *group_lag_arg;
    uint64_t lag_max;     /* reading pauses above it, and goes on below half of it              */
    qn_intake_tell *tell; /* NULL = silent                                                      */
    void *tell_arg;
};

/* Finds where the source stood and starts the thread. The source is not asked yet: what it says
 * shows in the stats. */
qn_status qn_intake_start(const struct qn_intake_options *opt, struct qn_intake **out,
                          struct qn_err *err);
/* Stops reading, waits for the append under way, joins and frees. True when that was done within
 * limit_ms; a slow disk is waited for all the same, since the log must not be closed before. NULL
 * is fine. Call before the log is closed. */
bool qn_intake_stop(struct qn_intake *in, int64_t limit_ms);

struct qn_intake_stats {
    enum qn_intake_state state;
    uint64_t events, bytes; /* durable in the log, since start                       */
    uint64_t failed;        /* times that the source failed                          */
    int64_t last_event_us;  /* wall clock of the last append; 0 = none yet           */
    int64_t last_error_us;  /* wall clock; 0 = none yet                              */
    char last_error[256];   /* "" = none yet                                         */
};
void qn_intake_stats(struct qn_intake *in, struct qn_intake_stats *out);

#endif
