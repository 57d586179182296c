/* SPDX-License-Identifier: Apache-2.0
 * source_cards.c - the source `generate`: the made-up card transactions of source_generate.h as
 * events of a stream.
 *
 * Position: how many were given, as text. After a start the generator draws those again and leaves
 * them out, so the events are the same as without a stop. With `rate` the events of one second are
 * spread over it; what could not be given in time is not made up for. Thread: the intake's. Memory:
 * the generator's and one batch of lines. */
#include "base/memory.h"
#include "base/number.h"
#include "source/source_generate.h"
#include "source/source_int.h"

#include <stdio.h>

enum { LINES = 1024, WAIT_US = 10000 };

struct cards_options {
    struct qn_generate_options generate;
    int64_t rate;   /* events a second; 0 = as fast as they are taken */
    int64_t events; /* then it is done; 0 = no end                    */
};

static const struct qn_option cards_options[] = {
    {.name = "rate",
     .type = QN_OPT_INT,
     .value = "N",
     .fallback = "0",
     .max = 10000000,
     .unit = "events a second",
     .since = "0.2",
     .help = "how many events a second, 0 = as many as the engine takes",
     .offset = offsetof(struct cards_options, rate)},
    {.name = "events",
     .type = QN_OPT_INT,
     .value = "N",
     .fallback = "0",
     .max = INT64_MAX,
     .since = "0.2",
     .help = "how many events, 0 = no end",
     .offset = offsetof(struct cards_options, events)},
    QN_SOURCE_GENERATE_ROWS(struct cards_options, generate),
    {.name = NULL},
};

struct cards {
    const struct qn_source_boot *boot;
    const struct cards_options *opt;
    struct qn_generate *generate;
    char *bytes; /* LINES lines */
    int64_t given;
    int64_t due_ns; /* when the next event is due, on the clock of boot */
};

static qn_status cards_check(const void *options, struct qn_err *err)
{
    const struct cards_options *opt = options;
    struct qn_generate_options small = opt->generate;
    struct qn_generate *g;

    small.customers = 3; /* only the date can be wrong */
    small.terminals = 2;
    small.radius = 200;
    QN_TRY(qn_source_generate_new(&small, &g, err));
    qn_source_generate_free(g);
    return QN_OK;
}

/* Draws what was given before and leaves it out. */
static qn_status skip_given(struct cards *g, int64_t count, struct qn_err *err)
{
    struct qn_str lines[LINES];

    while (g->given < count) {
        int64_t left = count - g->given;
        uint32_t n;
        size_t bytes;

        QN_TRY(qn_source_generate_read(g->generate, g->bytes, lines,
                                       left < LINES ? (uint32_t)left : LINES, &n, &bytes, err));
        if (n == 0)
            return QN_OK; /* fewer days than before */
        g->given += n;
        if (g->boot->must_stop(g->boot->must_stop_arg))
            return qn_err_set(err, QN_INTERRUPTED, "told to stop");
    }
    return QN_OK;
}

static qn_status cards_open(void *st, const struct qn_source_boot *boot, const void *options,
                            struct qn_str position, struct qn_err *err)
{
    struct cards *g = st;
    int64_t count = 0;

    g->boot = boot;
    g->opt = options;
    if (position.len > 0 && (!qn_text_int64(position, &count) || count < 0)) {
        qn_err_set(err, QN_CORRUPT, "the log holds a position that is none of a generator: '%.*s'",
                   position.len < 40 ? (int)position.len : 40, position.p);
        err->fatal = true;
        return QN_CORRUPT;
    }
    QN_TRY(qn_source_generate_new(&g->opt->generate, &g->generate, err));
    g->bytes = qn_mem_alloc((size_t)LINES * QN_GENERATE_LINE_MAX);
    if (g->bytes == NULL)
        return qn_err_set(err, QN_NOMEM, "out of memory for generated events");
    QN_TRY(skip_given(g, count, err));
    g->due_ns = boot->clock->mono_ns(boot->clock->st);
    return QN_OK;
}

/* How many events are due now, at most max; moves the time of the next. */
static uint32_t take_due(struct cards *g, uint32_t max)
{
    const int64_t second = INT64_C(1000000000);
    int64_t now = g->boot->clock->mono_ns(g->boot->clock->st), due;

    if (g->opt->rate == 0)
        return max;
    if (now - g->due_ns > second)
        g->due_ns = now - second / 10;
    if (now < g->due_ns)
        return 0;
    due = (now - g->due_ns) * g->opt->rate / second;
    due = due < 1 ? 1 : due < max ? due : max;
    g->due_ns += due * second / g->opt->rate;
    return (uint32_t)due;
}

static qn_status cards_read(void *st, struct qn_source_batch *batch, enum qn_flow *flow,
                            struct qn_err *err)
{
    struct cards *g = st;
    char text[QN_NUMBER_MAX];
    uint32_t max = batch->max < LINES ? batch->max : LINES;
    size_t bytes;

    if (g->opt->events > 0 && g->opt->events - g->given < max)
        max = g->given < g->opt->events ? (uint32_t)(g->opt->events - g->given) : 0;
    *flow = QN_END;
    if (max == 0)
        return QN_OK;
    *flow = QN_IDLE;
    batch->wait_us = WAIT_US;
    max = take_due(g, max);
    if (max == 0)
        return QN_OK;
    QN_TRY(qn_source_generate_read(g->generate, g->bytes, batch->events, max, &batch->count, &bytes,
                                   err));
    *flow = batch->count > 0 ? QN_MORE : QN_END;
    g->given += batch->count;
    if (batch->count > 0)
        qn_buf_add(batch->position, text, qn_print_int64(text, g->given));
    return QN_OK;
}

static void cards_close(void *st)
{
    struct cards *g = st;

    qn_source_generate_free(g->generate);
    qn_mem_free(g->bytes);
}

const struct qn_source_ops qn_source_generate = {
    .name = "generate",
    .summary = "made-up card transactions, at a rate: for demonstrations and measurements",
    .options = cards_options,
    .options_bytes = sizeof(struct cards_options),
    .state_bytes = sizeof(struct cards),
    .check = cards_check,
    .open = cards_open,
    .read = cards_read,
    .durable = qn_source_none_durable,
    .close = cards_close,
};
