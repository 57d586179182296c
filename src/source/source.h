/* SPDX-License-Identifier: Apache-2.0
 * source.h - what a source is: how events from outside come into the log. A new one is one file and
 * one row of qn_sources.
 *
 *   outside ──► source ──► intake (intake.h: thread, backlog, retries) ──► topic of the stream
 *
 * A source is a constant type (struct qn_source_ops) and instances of it (struct qn_source: the
 * type, the stream, options). It is asked for events and says with each batch where it would go on
 * behind them, its position: bytes only it understands. Events and position become durable in one
 * append, so that after a crash it goes on exactly where the log ends; only then is it told that
 * they are durable, and may acknowledge. When to ask, when to wait and when to try again is decided
 * by its intake. Options have one table, from which the spec is read and checked. Thread: an open
 * instance belongs to its intake. */
#ifndef QN_SOURCE_SOURCE_H
#define QN_SOURCE_SOURCE_H

#include "base/clock.h"
#include "base/file.h"
#include "base/options.h"
#include "base/status.h"
#include "log/log_file.h"
#include "log/transcode.h"

/* What an instance is told when it is opened; all of it outlives the instance. */
struct qn_source_boot {
    const struct qn_files *files;
    const struct qn_clock *clock;
    struct qn_str stream; /* "transactions"                                                   */
    bool (*must_stop)(void *arg); /* asked while waiting for the outside, 5 times a second      */
    void *must_stop_arg;
    /* Records of a partition that a consumer group has not committed; NULL = nobody wants to know.
     * At most about once a second; as intake's thread. */
    void (*lag)(void *arg, const char *group, const char *topic, uint32_t partition,
                int64_t records);
    void *lag_arg;
    struct qn_transcoder *transcoder; /* how records become events; NULL = they are events       */
};

/* Events as a source hands them over. Given with everything empty. */
struct qn_source_batch {
    struct qn_str *events; /* [max], filled by the source; each of 1 to QN_EVENT_BYTES_MAX + 1
                              bytes (one more than allowed is what the engine calls too large),
                              borrowed until the next read or close                      */
    struct qn_str *headers, *keys; /* [max], filled where has_headers: of each event, headers as
                                      the log keeps them and at most headers_max bytes; borrowed
                                      like events                                             */
    bool has_headers;
    uint32_t headers_max; /* of one event: its headers, and its key                           */
    uint32_t max, count;
    size_t bytes_max; /* of the events: with the one that reaches it the batch is full          */
    struct qn_buf *position; /* where to go on behind these events; filled where count > 0, or
                                where it moved without events                                   */
    int64_t wait_us;         /* IDLE: when to ask again; 0 = the intake's own time               */
    char note[256];          /* "" or a change of state worth a line in the program's log        */
};

/* A kind of source. No function is NULL: qn_source_none_* do nothing. */
struct qn_source_ops {
    const char *name, *summary;
    const struct qn_option *options;   /* ended by a row without a name; the first row may stand for
                                          all: {file: PATH}                                       */
    size_t options_bytes, state_bytes; /* of the options struct; of an instance, zeroed */
    /* Looks at the options as a whole when the spec is checked. QN_INVALID with a sentence. */
    qn_status (*check)(const void *options, struct qn_err *err);
    /* position: of the last append of this source, empty at its first start. An error is retried
     * unless err->fatal; options outlive the instance. */
    qn_status (*open)(void *st, const struct qn_source_boot *boot, const void *options,
                      struct qn_str position, struct qn_err *err);
    /* Up to batch->max events. QN_MORE: there may be more at once; QN_IDLE: none now; QN_END: none
     * any more. After an error the instance is closed and opened again at its last position, unless
     * err->fatal. */
    qn_status (*read)(void *st, struct qn_source_batch *batch, enum qn_flow *flow,
                      struct qn_err *err);
    /* All events handed over so far are durable. */
    qn_status (*durable)(void *st, struct qn_err *err);
    void (*close)(void *st); /* also after an open that failed */
};

/* An instance as the spec names it. */
struct qn_source {
    const struct qn_source_ops *ops;
    uint32_t stream;     /* index in the plan                                              */
    struct qn_str name;  /* "transactions.file": of its topic and cursor in the log        */
    const void *options; /* as ops->options describe                                       */
    struct qn_str shown; /* its options for people; secrets not filled in                  */
};

/* All kinds, NULL-ended, in the order of the reference page; sources.c. */
extern const struct qn_source_ops *const qn_sources[];

qn_status qn_source_none_check(const void *options, struct qn_err *err);
qn_status qn_source_none_durable(void *st, struct qn_err *err);

#endif
