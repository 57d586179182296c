/* SPDX-License-Identifier: Apache-2.0
 * demo_view.h - what a demo shows: the live view of a terminal, one line for a pipe, the summary at
 * the end.
 *
 * Pure: state and screen in, text out; no clock, no descriptor. The command that runs the demo
 * fills the state. Thread: main. Memory: text goes to the caller's buffer. */
#ifndef QN_CLI_DEMO_VIEW_H
#define QN_CLI_DEMO_VIEW_H

#include "cli/canvas.h"
#include "event/contract.h"

enum { QN_DEMO_BINS = 10, QN_DEMO_ALERTS = 8, QN_DEMO_TEXT = 24 };

/* One alert as shown. Text that is longer is cut. */
struct qn_demo_alert {
    int64_t time_us;
    char customer[QN_DEMO_TEXT], terminal[QN_DEMO_TEXT], amount[QN_DEMO_TEXT];
    double score;
    bool is_fraud; /* the label, which a real system learns days later */
};

struct qn_demo_state {
    /* Facts of the run. */
    const char *name; /* "card-fraud"                                      */
    uint64_t customers, terminals;
    uint32_t features, trees, threads;
    uint64_t events_end; /* ends after so many; 0 = until stopped             */
    /* Progress. */
    uint64_t events;
    struct qn_counts counts;
    int64_t first_us, time_us;   /* event time of the first and the newest event      */
    int64_t elapsed_ns, busy_ns; /* since the start; of it not waiting for the pace   */
    /* A running pipeline, not the engine alone: */
    bool is_service;
    const char *url;               /* of the dashboard; NULL = there is none            */
    double age_p50_ms, age_p99_ms; /* of events at their prediction; NaN = not known    */
    uint64_t log_bytes;
    double rate;  /* events per second now                             */
    size_t bytes; /* of the engine                                     */
    /* Answers. */
    uint64_t bin[QN_DEMO_BINS];       /* scores in [i / 10, (i + 1) / 10); of a service
                                         those of the last minute                          */
    uint64_t bin_fraud[QN_DEMO_BINS]; /* of these fraud; not known of a service            */
    uint64_t frauds;                  /* events labelled fraud                             */
    uint64_t alerts, alerts_fraud;    /* and of these fraud                                */
    struct qn_demo_alert last[QN_DEMO_ALERTS]; /* alert number n is at n % QN_DEMO_ALERTS  */
};

/* Draws the view at the cursor, each line cut to the screen and erased behind its end; returns how
 * many lines, all ended. At most screen->rows - 1, and never fewer than the part without alerts
 * needs. */
unsigned qn_demo_view_draw(const struct qn_demo_state *s, const struct qn_screen *screen,
                           struct qn_buf *out);

/* One line, ended. */
void qn_demo_view_line(const struct qn_demo_state *s, struct qn_buf *out);

/* What came of it, and what to try next; `program` is how the user calls quern. */
void qn_demo_view_summary(const struct qn_demo_state *s, const struct qn_screen *screen,
                          const char *program, struct qn_buf *out);

#endif
