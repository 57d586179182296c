/* SPDX-License-Identifier: Apache-2.0
 * demo.h - the parts of `quern demo`: its options, how it is shown, and its two ways to run.
 *
 *   cmd_demo.c ──► demo_service.c   a pipeline as `quern run` has it: log, engine, HTTP, dashboard
 *             └──► demo_engine.c    the engine alone, to see how fast it goes
 *                    └── both ──► demo_show.c ──► demo_view.c
 *
 * Thread: main. */
#ifndef QN_CLI_DEMO_H
#define QN_CLI_DEMO_H

#include "cli/cli.h"
#include "cli/demo_view.h"
#include "cli/terminal.h"
#include "source/source_generate.h"
#include "spec/plan.h"

struct qn_demo_options {
    int64_t events, rate, threads; /* events, rate: -1 = what fits the screen */
    struct qn_generate_options generate;
    const char *write_events, *write_files, *http;
    bool engine_only;
};

/* ---- showing ---------------------------------------------------------------------------------*/

/* In the caller's memory. */
struct qn_demo_show {
    struct qn_cli *cli;
    struct qn_demo_state state;
    struct qn_terminal term;
    bool is_live; /* a terminal: redraw; else lines */
    int64_t start_ns, shown_ns;
    uint64_t shown_events;
    struct qn_buf frame;
};

void qn_demo_show_init(struct qn_demo_show *sh, struct qn_cli *c, const struct qn_demo_options *opt,
                       const struct qn_plan *plan);
void qn_demo_show_fini(struct qn_demo_show *sh);
int64_t qn_demo_now(const struct qn_demo_show *sh); /* monotonic, ns */
/* True when it is time to show the state again. */
bool qn_demo_show_is_due(const struct qn_demo_show *sh);
/* Shows the state; its rate and elapsed_ns are set here. False when nobody reads it any more. */
bool qn_demo_show(struct qn_demo_show *sh);
/* What came of it. Returns the exit code. */
int qn_demo_show_summary(struct qn_demo_show *sh);

/* ---- pace ------------------------------------------------------------------------------------*/

/* How many events may have been made by now: the pace (0 = none), and never more than the end (0 =
 * none). */
uint64_t qn_demo_due(const struct qn_demo_show *sh, int64_t rate);

/* ---- running ---------------------------------------------------------------------------------*/

/* Until the events are over, the stop flag or a failure; return the exit code. The plan is that of
 * the demo's own spec. */
int qn_demo_engine_run(struct qn_cli *c, const struct qn_demo_options *opt, struct qn_plan *plan);
int qn_demo_service_run(struct qn_cli *c, const struct qn_demo_options *opt, struct qn_plan *plan);

#endif
