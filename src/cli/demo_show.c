/* SPDX-License-Identifier: Apache-2.0
 * demo_show.c - when and where the state of a demo is shown: redrawn on a terminal, else a line now
 * and then; and the pace of its events.
 *
 * Thread: main. Memory: one frame, kept. */
#include "cli/demo.h"

static const int64_t SECOND_NS = 1000000000, FRAME_NS = 100000000;

enum { LINE_EVENTS = 100000, LIVE_ROWS = 20 };

void qn_demo_show_init(struct qn_demo_show *sh, struct qn_cli *c, const struct qn_demo_options *opt,
                       const struct qn_plan *plan)
{
    *sh = (struct qn_demo_show){.cli = c};
    qn_terminal_init(&sh->term, c);
    sh->is_live = sh->term.screen.is_redrawn && sh->term.screen.rows >= LIVE_ROWS;
    sh->state.name = "card-fraud";
    sh->state.customers = (uint64_t)opt->generate.customers;
    sh->state.terminals = (uint64_t)opt->generate.terminals;
    sh->state.features = plan->feature_count;
    sh->state.trees = qn_model_info(plan->models[plan->score_model].model)->trees;
    sh->state.threads = (uint32_t)opt->threads;
    sh->start_ns = sh->shown_ns = qn_demo_now(sh);
}

void qn_demo_show_fini(struct qn_demo_show *sh)
{
    qn_buf_fini(&sh->frame);
}

int64_t qn_demo_now(const struct qn_demo_show *sh)
{
    return sh->cli->clock->mono_ns(sh->cli->clock->st);
}

bool qn_demo_show_is_due(const struct qn_demo_show *sh)
{
    int64_t since_ns = qn_demo_now(sh) - sh->shown_ns;

    if (sh->is_live)
        return since_ns >= FRAME_NS;
    return sh->state.events != sh->shown_events &&
           (since_ns >= SECOND_NS || sh->state.events - sh->shown_events >= LINE_EVENTS);
}

static bool show_frame(struct qn_demo_show *sh)
{
    unsigned lines;

    qn_terminal_begin(&sh->term, &sh->frame);
    lines = qn_demo_view_draw(&sh->state, &sh->term.screen, &sh->frame);
    return qn_terminal_end(&sh->term, &sh->frame, lines);
}

bool qn_demo_show(struct qn_demo_show *sh)
{
    struct qn_demo_state *s = &sh->state;
    int64_t now_ns = qn_demo_now(sh);
    double seconds = (double)(now_ns - sh->shown_ns) / 1e9;
    double rate = seconds > 0 ? (double)(s->events - sh->shown_events) / seconds : 0;

    if (!s->is_service) /* which says it itself */
        s->rate = s->rate == 0 || !sh->is_live ? rate : 0.7 * s->rate + 0.3 * rate;
    s->elapsed_ns = now_ns - sh->start_ns;
    sh->shown_ns = now_ns;
    sh->shown_events = s->events;
    if (sh->is_live)
        return show_frame(sh);
    qn_buf_clear(&sh->frame);
    qn_demo_view_line(s, &sh->frame);
    return sh->frame.failed || qn_cli_write(sh->cli, sh->frame.data, sh->frame.len);
}

int qn_demo_show_summary(struct qn_demo_show *sh)
{
    const char *program = qn_cli_variable(sh->cli, "QUERN_COMMAND");

    sh->state.elapsed_ns = qn_demo_now(sh) - sh->start_ns;
    qn_buf_clear(&sh->frame);
    qn_demo_view_summary(&sh->state, &sh->term.screen, program != NULL ? program : "quern",
                         &sh->frame);
    return qn_cli_write(sh->cli, sh->frame.data, sh->frame.len) ? QN_EXIT_OK : QN_EXIT_FAILED;
}

uint64_t qn_demo_due(const struct qn_demo_show *sh, int64_t rate)
{
    uint64_t end = sh->state.events_end > 0 ? sh->state.events_end : UINT64_MAX;
    double due;

    if (rate == 0)
        return end;
    due = (double)(qn_demo_now(sh) - sh->start_ns) / 1e9 * (double)rate + 1;
    return due < (double)end ? (uint64_t)due : end;
}
