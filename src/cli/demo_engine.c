/* SPDX-License-Identifier: Apache-2.0
 * demo_engine.c - the demo on the engine alone: no log, no server; what one core can do.
 *
 * The engine sees an ordinary input and output; the demo paces it, counts its answers and draws.
 * What the view calls truth is the label of the generator, which the features see only seven days
 * later. Thread: main. Memory: the lines of one batch; nothing is allocated per event. */
#include "base/check.h"
#include "cli/demo.h"
#include "engine/engine.h"

#include <poll.h>
#include <stdio.h>

enum { FRAME_MS = 100, RATE_ON_TERMINAL = 150000, EVENTS = 2000000 };

struct demo {
    struct qn_demo_show show;
    /* input */
    struct qn_generate *generate;
    char *text; /* lines of one batch                              */
    struct qn_str *lines;
    uint32_t rows_max;
    uint64_t due;  /* how many events may have been read by now       */
    uint64_t made; /* events read: the offset of the next             */
    int64_t rate;  /* events per second, 0 = no pace                  */
    /* columns of the plan, and the output that alerts go to */
    uint32_t customer, terminal, amount, label, alerts;
};

/* The input of the engine: as many events as are due, at least one. */
static qn_status demo_read(void *st, struct qn_batch *b, enum qn_flow *flow, struct qn_err *err)
{
    struct demo *d = st;
    uint64_t left = d->due - d->made;
    uint32_t count, max = left < b->rows_max ? (uint32_t)left : b->rows_max;
    size_t bytes;

    QN_ASSERT(b->rows_max <= d->rows_max);
    QN_TRY(qn_source_generate_read(d->generate, d->text, d->lines, max, &count, &bytes, err));
    for (uint32_t i = 0; i < count; i++) {
        b->raw[i] = d->lines[i];
        b->stream[i] = 0;
        b->partition[i] = 0;
        b->offset[i] = (int64_t)(d->made + i);
    }
    b->rows = count;
    d->made += count;
    *flow = count > 0 ? QN_MORE : QN_END;
    return QN_OK;
}

static void demo_release(void *st)
{
    (void)st; /* the lines are written anew with the next batch */
}

static const struct qn_csv_header *const *demo_csv(void *st, uint32_t stream)
{
    (void)st, (void)stream;
    return NULL;
}

static void demo_encode(void *st, const struct qn_engine *en, const struct qn_step_result *r,
                        uint32_t first, uint32_t end, uint32_t worker)
{
    (void)st, (void)en, (void)r, (void)first, (void)end,
        (void)worker; /* nothing is written: see demo_commit */
}

static void cut(char out[QN_DEMO_TEXT], struct qn_str text)
{
    snprintf(out, QN_DEMO_TEXT, "%.*s", QN_STR_ARG(text));
}

static void count_alert(struct demo *d, const struct qn_engine *en, const struct qn_step_result *r,
                        uint32_t row, bool is_fraud)
{
    struct qn_demo_state *s = &d->show.state;
    struct qn_demo_alert *al = &s->last[s->alerts % QN_DEMO_ALERTS];
    int64_t cents = qn_engine_column(en, d->amount)->i64[row];

    s->alerts++;
    s->alerts_fraud += is_fraud;
    al->time_us = r->batch->time_us[row];
    cut(al->customer, qn_engine_column(en, d->customer)->str[row]);
    cut(al->terminal, qn_engine_column(en, d->terminal)->str[row]);
    snprintf(al->amount, sizeof(al->amount), "%lld.%02lld", (long long)(cents / 100),
             (long long)(cents % 100));
    al->score = r->score[row];
    al->is_fraud = is_fraud;
}

/* The output of the engine: the answers are counted, the newest alerts kept. */
static qn_status demo_commit(void *st, const struct qn_engine *en, const struct qn_step_result *r,
                             struct qn_err *err)
{
    struct demo *d = st;
    struct qn_demo_state *s = &d->show.state;
    const struct qn_col *label = qn_engine_column(en, d->label);
    const struct qn_batch *b = r->batch;

    (void)err;
    for (uint32_t i = 0; i < b->rows; i++) {
        bool is_fraud;
        int bin;

        if (!r->is_scored[i])
            continue;
        is_fraud = label->valid[i] && label->i64[i] != 0;
        bin = (int)(r->score[i] * QN_DEMO_BINS);
        bin = bin < 0 ? 0 : bin >= QN_DEMO_BINS ? QN_DEMO_BINS - 1 : bin;
        s->bin[bin]++;
        s->bin_fraud[bin] += is_fraud;
        s->frauds += is_fraud;
        if (r->output_on[d->alerts][i])
            count_alert(d, en, r, i, is_fraud);
    }
    if (s->events == 0 && b->rows > 0)
        s->first_us = b->time_us[0];
    s->events += b->rows;
    s->time_us = b->time_us[b->rows - 1];
    return QN_OK;
}

static bool show(struct demo *d, const struct qn_engine *en)
{
    d->show.state.counts = *qn_engine_counts(en);
    d->show.state.bytes = qn_engine_bytes(en);
    return qn_demo_show(&d->show);
}

/* Milliseconds until about a batch is due, at most one frame. */
static int wait_ms(const struct demo *d)
{
    int64_t ms = d->rows_max * INT64_C(1000) / d->rate / 2;

    return ms < 1 ? 1 : ms > FRAME_MS ? FRAME_MS : (int)ms;
}

/* Steps until the end, the stop flag or a failure. *is_read: somebody still reads what we show. */
static qn_status demo_loop(struct demo *d, struct qn_engine *en, bool *is_read, struct qn_err *err)
{
    struct qn_demo_state *s = &d->show.state;
    enum qn_flow flow = QN_MORE;

    while (*is_read && !*d->show.cli->stop && flow != QN_END) {
        int64_t before_ns = qn_demo_now(&d->show);

        if (s->events_end > 0 && d->made == s->events_end)
            break;
        d->due = qn_demo_due(&d->show, d->rate);
        if (d->due > d->made) {
            QN_TRY(qn_step(en, &flow, err));
            s->busy_ns += qn_demo_now(&d->show) - before_ns;
        } else {
            poll(NULL, 0, wait_ms(d)); /* a signal ends it early */
        }
        if (qn_demo_show_is_due(&d->show))
            *is_read = show(d, en);
    }
    return QN_OK;
}

static bool find_columns(struct demo *d, const struct qn_plan *p)
{
    const struct {
        const char *name;
        uint32_t *column;
    } wanted[] = {{"customer_id", &d->customer},
                  {"terminal_id", &d->terminal},
                  {"amount", &d->amount},
                  {"tx_fraud", &d->label}};

    for (unsigned i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
        int at = qn_schema_find(&p->schemas[p->main_stream], qn_str_of(wanted[i].name));

        if (at < 0)
            return false;
        *wanted[i].column = (uint32_t)at;
    }
    for (d->alerts = 0; d->alerts < p->output_count; d->alerts++)
        if (qn_str_is(p->outputs[d->alerts].name, "alerts"))
            return p->score_model >= 0;
    return false;
}

static qn_status demo_init(struct demo *d, const struct qn_demo_options *opt,
                           const struct qn_plan *p, struct qn_err *err)
{
    QN_ASSERT(find_columns(d, p)); /* the spec is part of this program */
    d->show.state.events_end = opt->events >= 0 ? (uint64_t)opt->events : EVENTS;
    d->rate = opt->rate >= 0 ? opt->rate : d->show.is_live ? RATE_ON_TERMINAL : 0;
    d->rows_max = qn_engine_rows_default((uint32_t)opt->threads);
    d->text = qn_mem_zalloc(1, (size_t)d->rows_max * QN_GENERATE_LINE_MAX + QN_DECODE_PAD);
    d->lines = qn_mem_zalloc(d->rows_max, sizeof(*d->lines));
    if (d->text == NULL || d->lines == NULL)
        return qn_err_set(err, QN_NOMEM, "out of memory for a batch of %u events", d->rows_max);
    return qn_source_generate_new(&opt->generate, &d->generate, err);
}

int qn_demo_engine_run(struct qn_cli *c, const struct qn_demo_options *opt, struct qn_plan *plan)
{
    struct demo d = {.due = 0};
    struct qn_engine_options engine = {.threads = (uint32_t)opt->threads};
    struct qn_input in = {.read = demo_read, .release = demo_release, .csv = demo_csv, .st = &d};
    struct qn_output out = {.encode = demo_encode, .commit = demo_commit, .st = &d};
    struct qn_engine *en = NULL;
    struct qn_err err = {0};
    bool is_read = true;
    qn_status rc;
    int code;

    qn_demo_show_init(&d.show, c, opt, plan);
    rc = demo_init(&d, opt, plan, &err);
    engine.rows_max = d.rows_max;
    if (rc == QN_OK)
        rc = qn_engine_new(plan, &engine, &in, &out, &en, &err);
    if (rc == QN_OK)
        rc = demo_loop(&d, en, &is_read, &err);
    code = rc == QN_OK ? QN_EXIT_OK : qn_cli_fail(c, &err);
    if (rc == QN_OK && is_read && show(&d, en))
        code = qn_demo_show_summary(&d.show);
    if (*c->stop)
        code = QN_EXIT_INTERRUPTED;
    qn_engine_free(en);
    qn_source_generate_free(d.generate);
    qn_mem_free(d.text);
    qn_mem_free(d.lines);
    qn_demo_show_fini(&d.show);
    return code;
}
