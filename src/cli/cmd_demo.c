/* SPDX-License-Identifier: Apache-2.0
 * cmd_demo.c - `quern demo`: a worked system in one command. Card transactions are made up
 * (source_generate.h), go through the engine with the spec and the model that the binary carries
 * (embedded.h), and a live view shows what comes out.
 *
 * The engine sees an ordinary input and output; the demo paces it, counts its answers and draws
 * (demo_view.h). What the view calls truth is the label of the generator, which the features see
 * only seven days later. Thread: main. Memory: the command's arena; nothing is allocated per event.
 */
#include "base/check.h"
#include "cli/commands.h"
#include "cli/demo_view.h"
#include "cli/embedded.h"
#include "cli/terminal.h"
#include "engine/engine.h"
#include "source/source_generate.h"

#include <poll.h>
#include <stdio.h>

#define SPEC_PATH "card-fraud/card-fraud.yaml"

static const int64_t SECOND_NS = 1000000000, FRAME_NS = 100000000;

enum { LINE_EVENTS = 100000, WRITE_ROWS = 1024, RATE_ON_TERMINAL = 150000, LIVE_ROWS = 20 };

struct demo_options {
    int64_t events, rate, threads;
    struct qn_generate_options generate;
    const char *write_events, *write_files;
};

static const struct qn_option options[] = {
    {.name = "events",
     .type = QN_OPT_INT,
     .short_name = 'n',
     .value = "N",
     .fallback = "2000000",
     .max = INT64_MAX,
     .since = "0.1",
     .help = "end after so many events, 0 = go on until Ctrl-C",
     .offset = offsetof(struct demo_options, events)},
    {.name = "rate",
     .type = QN_OPT_INT,
     .value = "N",
     .fallback = "-1",
     .min = -1,
     .max = 1000000000,
     .unit = "events/s",
     .since = "0.1",
     .help = "pace; 0 = as fast as it goes, -1 = 150000 on a terminal, else 0",
     .offset = offsetof(struct demo_options, rate)},
    {.name = "threads",
     .type = QN_OPT_INT,
     .short_name = 't',
     .value = "N",
     .fallback = "1",
     .min = 1,
     .max = QN_TEAM_MAX,
     .since = "0.1",
     .help = "threads that share the work; the answers do not depend on it",
     .offset = offsetof(struct demo_options, threads)},
    QN_SOURCE_GENERATE_ROWS(struct demo_options, generate),
    {.name = "write-events",
     .type = QN_OPT_TEXT,
     .value = "FILE",
     .since = "0.1",
     .help = "score nothing, write the generated events as NDJSON ('-' is standard output)",
     .offset = offsetof(struct demo_options, write_events)},
    {.name = "write-files",
     .type = QN_OPT_TEXT,
     .value = "FOLDER",
     .since = "0.1",
     .help = "run nothing, write the demo's spec and model into a folder",
     .offset = offsetof(struct demo_options, write_files)},
    {.name = NULL},
};

const struct qn_command_usage qn_usage_demo = {
    .name = "demo",
    .summary = "a worked system: card transactions made up, scored and shown live",
    .positional = "[NAME]",
    .options = options,
    .examples = {"quern demo", "quern demo card-fraud --events 0 --rate 0",
                 "quern demo --write-events events.ndjson --events 100000"},
};

struct demo {
    struct qn_cli *cli;
    struct qn_demo_state state;
    struct qn_terminal term;
    /* input */
    struct qn_generate *generate;
    char *text; /* lines of one batch                              */
    struct qn_str *lines;
    uint32_t rows_max;
    uint64_t due;  /* how many events may have been read by now       */
    uint64_t made; /* events read: the offset of the next             */
    /* columns of the plan, and the output that alerts go to */
    uint32_t customer, terminal, amount, label, alerts;
    /* loop */
    int64_t rate; /* events per second, 0 = no pace                  */
    int64_t start_ns, shown_ns;
    uint64_t shown_events;
    bool is_live; /* a terminal: redraw; else lines                  */
    struct qn_buf frame;
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
    struct qn_demo_state *s = &d->state;
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
    struct qn_demo_state *s = &d->state;
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

/* --- showing --- */

static void state_update(struct demo *d, const struct qn_engine *en, int64_t now_ns)
{
    struct qn_demo_state *s = &d->state;
    double seconds = (double)(now_ns - d->shown_ns) / 1e9;
    double rate = seconds > 0 ? (double)(s->events - d->shown_events) / seconds : 0;

    s->rate = s->rate == 0 || !d->is_live ? rate : 0.7 * s->rate + 0.3 * rate;
    s->counts = *qn_engine_counts(en);
    s->elapsed_ns = now_ns - d->start_ns;
    s->bytes = qn_engine_bytes(en);
    d->shown_ns = now_ns;
    d->shown_events = s->events;
}

static bool show_frame(struct demo *d)
{
    unsigned lines;

    qn_terminal_begin(&d->term, &d->frame);
    lines = qn_demo_view_draw(&d->state, &d->term.screen, &d->frame);
    return qn_terminal_end(&d->term, &d->frame, lines);
}

static bool show_line(struct demo *d)
{
    qn_buf_clear(&d->frame);
    qn_demo_view_line(&d->state, &d->frame);
    return d->frame.failed || qn_cli_write(d->cli, d->frame.data, d->frame.len);
}

/* Shows the state when it is time to. False when nobody reads it any more. */
static bool show(struct demo *d, const struct qn_engine *en, int64_t now_ns, bool is_last)
{
    bool is_time = d->is_live ? now_ns - d->shown_ns >= FRAME_NS
                              : now_ns - d->shown_ns >= SECOND_NS ||
                                    d->state.events - d->shown_events >= LINE_EVENTS;

    if (!is_time && !is_last)
        return true;
    if (d->state.events == d->shown_events && !d->is_live)
        return true;
    state_update(d, en, now_ns);
    return d->is_live ? show_frame(d) : show_line(d);
}

/* --- the loop --- */

static int64_t now(const struct demo *d)
{
    return d->cli->clock->mono_ns(d->cli->clock->st);
}

/* How many events may have been read by `at_ns`: the pace, and never more than the end. */
static uint64_t due_by(const struct demo *d, int64_t at_ns)
{
    uint64_t end = d->state.events_end > 0 ? d->state.events_end : UINT64_MAX;
    double due;

    if (d->rate == 0)
        return end;
    due = (double)(at_ns - d->start_ns) / 1e9 * (double)d->rate + 1;
    return due < (double)end ? (uint64_t)due : end;
}

/* Milliseconds until about a batch is due, at most one frame. */
static int wait_ms(const struct demo *d)
{
    int64_t ms = d->rows_max * INT64_C(1000) / d->rate / 2;

    return ms < 1 ? 1 : ms > FRAME_NS / 1000000 ? (int)(FRAME_NS / 1000000) : (int)ms;
}

/* Steps until the end, the stop flag or a failure. *is_read: somebody still reads what we show. */
static qn_status demo_loop(struct demo *d, struct qn_engine *en, bool *is_read, struct qn_err *err)
{
    enum qn_flow flow = QN_MORE;

    d->start_ns = d->shown_ns = now(d);
    while (*is_read && !*d->cli->stop && flow != QN_END) {
        int64_t before_ns = now(d);

        if (d->state.events_end > 0 && d->made == d->state.events_end)
            break;
        d->due = due_by(d, before_ns);
        if (d->due > d->made) {
            QN_TRY(qn_step(en, &flow, err));
            d->state.busy_ns += now(d) - before_ns;
        } else {
            poll(NULL, 0, wait_ms(d)); /* a signal ends it early */
        }
        *is_read = show(d, en, now(d), false);
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

static qn_status demo_init(struct demo *d, const struct demo_options *opt, const struct qn_plan *p,
                           struct qn_err *err)
{
    struct qn_demo_state *s = &d->state;

    QN_ASSERT(find_columns(d, p)); /* the spec is part of this program */
    qn_terminal_init(&d->term, d->cli);
    d->is_live = d->term.screen.is_redrawn && d->term.screen.rows >= LIVE_ROWS;
    s->name = "card-fraud";
    s->customers = (uint64_t)opt->generate.customers;
    s->terminals = (uint64_t)opt->generate.terminals;
    s->features = p->feature_count;
    s->trees = qn_model_info(p->models[p->score_model].model)->trees;
    s->threads = (uint32_t)opt->threads;
    s->events_end = (uint64_t)opt->events;
    d->rate = opt->rate >= 0 ? opt->rate : d->is_live ? RATE_ON_TERMINAL : 0;
    d->rows_max = qn_engine_rows_default(s->threads);
    d->text = qn_mem_zalloc(1, (size_t)d->rows_max * QN_GENERATE_LINE_MAX + QN_DECODE_PAD);
    d->lines = qn_mem_zalloc(d->rows_max, sizeof(*d->lines));
    if (d->text == NULL || d->lines == NULL)
        return qn_err_set(err, QN_NOMEM, "out of memory for a batch of %u events", d->rows_max);
    return qn_source_generate_new(&opt->generate, &d->generate, err);
}

static int demo_run(struct qn_cli *c, const struct demo_options *opt, struct qn_plan *plan)
{
    struct demo d = {.cli = c};
    struct qn_engine_options engine = {.threads = (uint32_t)opt->threads};
    struct qn_input in = {.read = demo_read, .release = demo_release, .csv = demo_csv, .st = &d};
    struct qn_output out = {.encode = demo_encode, .commit = demo_commit, .st = &d};
    const char *program = qn_cli_variable(c, "QUERN_COMMAND");
    struct qn_engine *en = NULL;
    struct qn_err err = {0};
    bool is_read = true;
    qn_status rc;
    int code;

    rc = demo_init(&d, opt, plan, &err);
    engine.rows_max = d.rows_max;
    if (rc == QN_OK)
        rc = qn_engine_new(plan, &engine, &in, &out, &en, &err);
    if (rc == QN_OK)
        rc = demo_loop(&d, en, &is_read, &err);
    code = rc == QN_OK ? QN_EXIT_OK : qn_cli_fail(c, &err);
    if (rc == QN_OK && is_read && show(&d, en, now(&d), true)) {
        d.state.elapsed_ns = now(&d) - d.start_ns;
        qn_buf_clear(&d.frame);
        qn_demo_view_summary(&d.state, &d.term.screen, program != NULL ? program : "quern",
                             &d.frame);
        code = qn_cli_write(c, d.frame.data, d.frame.len) ? QN_EXIT_OK : QN_EXIT_FAILED;
    }
    if (*c->stop)
        code = QN_EXIT_INTERRUPTED;
    qn_engine_free(en);
    qn_source_generate_free(d.generate);
    qn_mem_free(d.text);
    qn_mem_free(d.lines);
    qn_buf_fini(&d.frame);
    return code;
}

/* --- the two ways to take the demo away --- */

static qn_status write_events(struct qn_cli *c, const struct demo_options *opt, int fd,
                              struct qn_err *err)
{
    char *text = qn_mem_zalloc(WRITE_ROWS, QN_GENERATE_LINE_MAX);
    struct qn_str *lines = qn_mem_zalloc(WRITE_ROWS, sizeof(*lines));
    uint64_t left = opt->events > 0 ? (uint64_t)opt->events : UINT64_MAX;
    struct qn_generate *g = NULL;
    qn_status rc = QN_OK;
    uint32_t count = 1;
    size_t bytes;

    if (text == NULL || lines == NULL)
        rc = qn_err_set(err, QN_NOMEM, "out of memory for the events");
    if (rc == QN_OK)
        rc = qn_source_generate_new(&opt->generate, &g, err);
    while (rc == QN_OK && left > 0 && count > 0 && !*c->stop) {
        rc = qn_source_generate_read(
            g, text, lines, left < WRITE_ROWS ? (uint32_t)left : WRITE_ROWS, &count, &bytes, err);
        if (rc == QN_OK)
            rc = qn_file_write_all(c->files, fd, opt->write_events, text, bytes, err);
        left -= count;
    }
    qn_source_generate_free(g);
    qn_mem_free(text);
    qn_mem_free(lines);
    return rc;
}

static int demo_write_events(struct qn_cli *c, const struct demo_options *opt)
{
    bool is_stdout = strcmp(opt->write_events, "-") == 0;
    struct qn_err err = {0};
    qn_status rc;
    int fd = c->out, closed = 0;

    if (!is_stdout) {
        fd = c->files->open(c->files->st, opt->write_events, QN_OPEN_REPLACE);
        if (fd < 0) {
            qn_err_sys(&err, -fd, "cannot write '%s'", opt->write_events);
            return qn_cli_fail(c, &err);
        }
    }
    rc = write_events(c, opt, fd, &err);
    if (!is_stdout)
        closed = c->files->close(c->files->st, fd);
    if (rc == QN_OK && closed < 0)
        rc = qn_err_sys(&err, -closed, "cannot write '%s'", opt->write_events);
    if (*c->stop)
        return QN_EXIT_INTERRUPTED;
    return rc == QN_OK ? QN_EXIT_OK : qn_cli_fail(c, &err);
}

static int demo_write_files(struct qn_cli *c, const char *folder)
{
    struct qn_err err = {0};

    for (const struct qn_embedded_file *f = qn_embedded_files; f->path != NULL; f++) {
        struct qn_buf path = {0};
        qn_status rc = QN_OK;
        int fd;

        qn_buf_printf(&path, "%s/%s", folder, strrchr(f->path, '/') + 1);
        qn_buf_byte(&path, '\0');
        if (path.failed) {
            qn_buf_fini(&path);
            qn_err_set(&err, QN_NOMEM, "out of memory for a file's name");
            return qn_cli_fail(c, &err);
        }
        fd = c->files->open(c->files->st, path.data, QN_OPEN_REPLACE);
        if (fd < 0) {
            rc = qn_err_sys(&err, -fd, "cannot write '%s'", path.data);
        } else {
            int closed;

            rc = qn_file_write_all(c->files, fd, path.data, f->data, f->bytes, &err);
            closed = c->files->close(c->files->st, fd);
            if (rc == QN_OK && closed < 0)
                rc = qn_err_sys(&err, -closed, "cannot write '%s'", path.data);
        }
        if (rc == QN_OK)
            qn_cli_say(c, "wrote %s", path.data);
        qn_buf_fini(&path);
        if (rc != QN_OK)
            return qn_cli_fail(c, &err);
    }
    return QN_EXIT_OK;
}

int qn_cmd_demo(struct qn_cli *c, int argc, char **argv)
{
    struct demo_options opt = {0};
    struct qn_embedded_door door = {0};
    struct qn_files embedded = qn_embedded_open(&door);
    const struct qn_files *outside = c->files;
    struct qn_option_list rest;
    struct qn_plan *plan;
    int code;

    if (!qn_cli_options(c, &qn_usage_demo, argc, argv, &opt, &rest, &code))
        return code;
    if (rest.count > 0 && strcmp(rest.items[0], "card-fraud") != 0) {
        qn_cli_say(c, "quern demo: unknown demo '%s'; there is: card-fraud", rest.items[0]);
        return QN_EXIT_USAGE;
    }
    if (opt.write_files != NULL)
        return demo_write_files(c, opt.write_files);
    if (opt.write_events != NULL)
        return demo_write_events(c, &opt);
    embedded.write = outside->write; /* what the loader has to say goes to the real stderr */
    c->files = &embedded;
    plan = qn_cli_plan(c, SPEC_PATH, &code);
    c->files = outside;
    if (plan == NULL)
        return code;
    code = demo_run(c, &opt, plan);
    qn_plan_free(plan);
    return code;
}
