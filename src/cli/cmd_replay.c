/* SPDX-License-Identifier: Apache-2.0
 * cmd_replay.c - `quern replay SPEC`: the log once more through the engine of a spec, which may be
 * another one than wrote it; predictions to files, nothing into the log.
 *
 *   log, oldest record on ──► [range: what lies before is not encoded] ──► engine ──► files
 *                                                                            └──► compared
 *
 * State is always built from the oldest record, so that windows are whole; what lies before --from
 * only builds it. The log is opened for reading, so this goes beside `quern run`. Thread: main
 * steps. Memory: the command's arena, and the engine's. */
#include "base/number.h"
#include "base/timestamp.h"
#include "cli/commands.h"
#include "cli/open_log.h"
#include "cli/run_files.h"
#include "engine/commit.h"
#include "engine/compare_log.h"

#include <inttypes.h>

enum { SHOWN_BYTES = 400 };

struct replay_options {
    const char *from, *to;
    struct qn_option_list outputs; /* "NAME=FILE" */
    const char *dead;
    int64_t threads;
    bool compare, incomplete, quiet;
};

static const struct qn_option options[] = {
    {.name = "from",
     .type = QN_OPT_TEXT,
     .value = "WHEN",
     .since = "0.2",
     .help = "first event whose prediction is wanted: its offset in the main stream, or a time: "
             "when the log took it (default: the oldest)",
     .offset = offsetof(struct replay_options, from)},
    {.name = "to",
     .type = QN_OPT_TEXT,
     .value = "WHEN",
     .since = "0.2",
     .help = "first event behind the range, likewise (default: to the end)",
     .offset = offsetof(struct replay_options, to)},
    {.name = "output",
     .type = QN_OPT_LIST,
     .short_name = 'o',
     .value = "NAME=FILE",
     .since = "0.2",
     .help = "write an output of the spec to a file ('-' is standard output); may be repeated "
             "(default: predictions=-)",
     .offset = offsetof(struct replay_options, outputs)},
    {.name = "dead",
     .type = QN_OPT_TEXT,
     .short_name = 'd',
     .value = "FILE",
     .since = "0.2",
     .help = "write dead letters there as NDJSON",
     .offset = offsetof(struct replay_options, dead)},
    QN_THREADS_ROW(struct replay_options, threads, "0.2"),
    {.name = "compare",
     .type = QN_OPT_FLAG,
     .since = "0.2",
     .help = "write nothing: hold all predictions against those in the log; exit code 3 and the "
             "first difference where they are not the same bytes",
     .offset = offsetof(struct replay_options, compare)},
    {.name = "incomplete",
     .type = QN_OPT_FLAG,
     .since = "0.2",
     .help = "go on where retention has removed the oldest events: windows are short at first",
     .offset = offsetof(struct replay_options, incomplete)},
    {.name = "quiet",
     .type = QN_OPT_FLAG,
     .short_name = 'q',
     .since = "0.2",
     .help = "no progress and no closing words",
     .offset = offsetof(struct replay_options, quiet)},
    {.name = NULL},
};

const struct qn_command_usage qn_usage_replay = {
    .name = "replay",
    .summary = "the log once more: the same predictions again, or those of another spec",
    .positional = "SPEC",
    .options = options,
    .examples =
        {"quern replay card-fraud.yaml --compare",
         "quern replay tomorrow.yaml --from 2026-05-01T00:00:00Z > what-if.ndjson",
         "quern replay card-fraud.yaml --from 1000 --to 2000 --output alerts=alerts.ndjson"},
};

/* ---- the range -------------------------------------------------------------------------------*/

/* An offset of the main stream, or a time of arrival. */
struct when {
    uint64_t offset;
    int64_t us;
    bool is_set, is_time;
};

static qn_status read_when(const char *name, const char *text, struct when *w, struct qn_err *err)
{
    int64_t offset;

    *w = (struct when){.is_set = text != NULL};
    if (text == NULL)
        return QN_OK;
    if (qn_text_int64(qn_str_of(text), &offset) && offset >= 0) {
        w->offset = (uint64_t)offset;
        return QN_OK;
    }
    w->is_time = true;
    if (qn_timestamp_parse(qn_str_of(text), &w->us))
        return QN_OK;
    return qn_err_set(err, QN_INVALID,
                      "--%s '%.60s' is neither an offset (1000) nor a time (2026-05-01T12:00:00Z)",
                      name, text);
}

/* Between the log and the engine, and between the engine and the files: which rows of a batch are
 * written. Rows come in the order of the log, so they are one run, or none. */
struct range {
    struct qn_input in;
    struct qn_output out;
    struct when from, to;
    uint32_t main_stream;
    uint32_t first, end; /* rows of the batch in hand */
    bool is_begun, is_over;
    uint64_t read;
};

static bool has_come(const struct range *g, const struct when *w, const struct qn_batch *b,
                     uint32_t row)
{
    if (w->is_time)
        return b->arrival_us[row] >= w->us;
    return b->stream[row] == g->main_stream && (uint64_t)b->offset[row] >= w->offset;
}

static qn_status range_read(void *st, struct qn_batch *b, enum qn_flow *flow, struct qn_err *err)
{
    struct range *g = st;

    QN_TRY(g->in.read(g->in.st, b, flow, err));
    g->first = g->is_begun ? 0 : b->rows;
    g->end = g->is_over ? 0 : b->rows;
    g->read += b->rows;
    for (uint32_t row = 0; row < b->rows && !(g->is_begun && g->is_over); row++) {
        if (!g->is_begun && has_come(g, &g->from, b, row)) {
            g->is_begun = true;
            g->first = row;
        }
        if (!g->is_over && g->to.is_set && has_come(g, &g->to, b, row)) {
            g->is_over = true;
            g->end = row;
        }
    }
    return QN_OK;
}

static void range_release(void *st)
{
    struct range *g = st;

    g->in.release(g->in.st);
}

static const struct qn_csv_header *const *range_csv(void *st, uint32_t stream)
{
    struct range *g = st;

    return g->in.csv(g->in.st, stream);
}

static void range_encode(void *st, const struct qn_engine *en, const struct qn_step_result *r,
                         uint32_t first, uint32_t end, uint32_t worker)
{
    struct range *g = st;

    first = first > g->first ? first : g->first;
    end = end < g->end ? end : g->end;
    if (first < end)
        g->out.encode(g->out.st, en, r, first, end, worker);
}

static qn_status range_commit(void *st, const struct qn_engine *en, const struct qn_step_result *r,
                              struct qn_err *err)
{
    struct range *g = st;

    return g->out.commit(g->out.st, en, r, err);
}

/* ---- the log ---------------------------------------------------------------------------------*/

struct replay {
    struct qn_cli *cli;
    struct qn_plan *plan;
    const struct replay_options *opt;
    struct qn_log *log;
    uint32_t topics[QN_STREAMS_MAX];
    uint64_t first[QN_STREAMS_MAX], end[QN_STREAMS_MAX];
    uint64_t total;
    struct qn_input_log *in;
    struct qn_dead_past past;   /* --compare: what a start takes as it was */
    struct qn_outputs *outputs; /* one of the two */
    struct qn_compare *compare;
    struct qn_output_target *targets, dead;
    struct qn_engine *en;
    struct range range;
};

static qn_status find_topic(const struct replay *x, struct qn_str name, const char *what,
                            uint32_t *topic, struct qn_err *err)
{
    struct qn_err why = {0};
    qn_status rc = qn_log_topic(x->log, name, false, topic, &why);

    if (rc == QN_NOT_FOUND)
        return qn_err_set(err, rc,
                          "the log in '%s' has no topic '%.*s', %s of '%s': it was written by a "
                          "spec without it ('quern log %s' shows what it has)",
                          x->plan->storage.dir, QN_STR_ARG(name), what, x->plan->file,
                          x->plan->storage.dir);
    if (rc != QN_OK)
        *err = why;
    return rc;
}

static qn_status look_at_log(struct replay *x, struct qn_err *err)
{
    for (uint32_t s = 0; s < x->plan->schema_count; s++) {
        struct qn_log_topic_info info;

        QN_TRY(find_topic(x, x->plan->schemas[s].name, "a stream", &x->topics[s], err));
        qn_log_topic_info(x->log, x->topics[s], &info);
        x->first[s] = info.first;
        x->end[s] = info.next;
        x->total += info.next - info.first;
        if (info.first > 0 && !x->opt->incomplete)
            return qn_err_set(
                err, QN_NOT_FOUND,
                "the log of '%.*s' begins at record %" PRIu64
                ": older ones were removed (storage: keep), so windows cannot be rebuilt as they "
                "were; --incomplete replays what is there, with windows that are short at first",
                QN_STR_ARG(x->plan->schemas[s].name), info.first);
    }
    return QN_OK;
}

static qn_status check_range(const struct replay *x, struct qn_err *err)
{
    const struct when *from = &x->range.from, *to = &x->range.to;
    const uint32_t m = x->plan->main_stream;
    const struct qn_str name = x->plan->schemas[m].name;

    if (from->is_set && to->is_set && from->is_time == to->is_time &&
        (from->is_time ? from->us >= to->us : from->offset >= to->offset))
        return qn_err_set(err, QN_INVALID, "--from '%s' must lie before --to '%s'", x->opt->from,
                          x->opt->to);
    if (from->is_set && !from->is_time && (from->offset < x->first[m] || from->offset >= x->end[m]))
        return qn_err_set(err, QN_INVALID,
                          "--from %" PRIu64 ": the log holds the records %" PRIu64 " to %" PRIu64
                          " of '%.*s' (the last not included)",
                          from->offset, x->first[m], x->end[m], QN_STR_ARG(name));
    return QN_OK;
}

/* ---- running ---------------------------------------------------------------------------------*/

static qn_status open_outputs(struct replay *x, const char *spec, struct qn_err *err)
{
    struct qn_outputs_options out = {.kind = QN_RECORDS_PREDICTIONS,
                                     .files = x->cli->files,
                                     .targets = x->targets,
                                     .workers = (uint32_t)x->opt->threads};

    QN_TRY(qn_run_targets(x->cli, x->plan, spec, NULL, x->opt->dead, &x->opt->outputs, x->targets,
                          err));
    if (x->opt->dead != NULL)
        QN_TRY(qn_run_create(x->cli, x->opt->dead, &x->dead, err));
    out.dead = x->dead;
    QN_TRY(qn_outputs_new(x->plan, &out, &x->outputs, err));
    x->range.out = qn_outputs_output(x->outputs);
    return QN_OK;
}

/* Up to the last commit: what came behind it has no prediction yet. */
static qn_status open_compare(struct replay *x, struct qn_err *err)
{
    const uint32_t m = x->plan->main_stream;
    struct qn_compare_options opt = {
        .log = x->log, .stream_topic = x->topics[m], .workers = (uint32_t)x->opt->threads};
    bool found;

    QN_TRY(find_topic(x, x->plan->outputs[0].name, "an output", &opt.topic, err));
    QN_TRY(qn_commits_last(x->log, x->topics, x->plan->schema_count, x->end, &found, err));
    x->total = 0;
    for (uint32_t s = 0; s < x->plan->schema_count; s++)
        x->total += x->end[s];
    qn_input_log_end_at(x->in, x->end);
    QN_TRY(qn_dead_past_read(x->log, x->plan, x->first, &x->past, err));
    qn_input_log_past(x->in, &x->past);
    QN_TRY(qn_compare_new(x->plan, &opt, &x->compare, err));
    x->range.out = qn_compare_output(x->compare);
    return QN_OK;
}

static qn_status open_all(struct replay *x, const char *spec, struct qn_err *err)
{
    struct qn_engine_options en = {.threads = (uint32_t)x->opt->threads};
    struct range *g = &x->range;
    struct qn_input in = {range_read, range_release, range_csv, g, NULL};
    struct qn_output out = {.encode = range_encode, .commit = range_commit, .st = g};

    QN_TRY(read_when("from", x->opt->from, &g->from, err));
    QN_TRY(read_when("to", x->opt->to, &g->to, err));
    g->main_stream = x->plan->main_stream;
    g->is_begun = !g->from.is_set;
    QN_TRY(qn_cli_log(x->cli, x->plan, &x->log, NULL, err));
    QN_TRY(look_at_log(x, err));
    QN_TRY(check_range(x, err));
    QN_TRY(qn_input_log_new(x->log, x->plan, x->topics, &x->in, err));
    QN_TRY(qn_input_log_seek(x->in, x->first, err));
    QN_TRY(x->opt->compare ? open_compare(x, err) : open_outputs(x, spec, err));
    g->in = qn_input_log_input(x->in);
    qn_random_system.fill(qn_random_system.st, &en.seed, sizeof en.seed);
    return qn_engine_new(x->plan, &en, &in, &out, &x->en, err);
}

static bool is_different(const struct replay *x)
{
    struct qn_compare_result r = {0};

    if (x->compare != NULL)
        qn_compare_look(x->compare, &r);
    return r.is_different;
}

static qn_status run_steps(struct replay *x, struct qn_err *err)
{
    struct qn_progress progress;
    enum qn_flow flow = QN_MORE;
    qn_status rc = QN_OK;

    qn_progress_start(&progress, x->cli, "events");
    while (rc == QN_OK && flow == QN_MORE && !x->range.is_over && !is_different(x) &&
           !*x->cli->stop) {
        rc = qn_step(x->en, &flow, err);
        if (!x->opt->quiet)
            qn_progress_update(&progress, x->range.read, x->range.read, x->total);
    }
    if (rc == QN_OK)
        rc = qn_engine_finish(x->en, err);
    if (rc == QN_OK && x->compare != NULL && !*x->cli->stop)
        rc = qn_compare_finish(x->compare, err);
    qn_progress_end(&progress);
    return rc;
}

static void say_side(struct qn_cli *c, const char *side, struct qn_str record)
{
    const struct qn_str cut = qn_utf8_cut(record, SHOWN_BYTES);

    if (record.p == NULL)
        qn_cli_say(c, "  %s  no prediction", side);
    else
        qn_cli_say(c, "  %s  %.*s%s", side, QN_STR_ARG(cut), cut.len < record.len ? "..." : "");
}

/* What the comparison found, in words on stderr. */
static int say_compared(struct replay *x)
{
    const struct qn_schema *s = &x->plan->schemas[x->plan->main_stream];
    struct qn_compare_result r;
    uint32_t at = 0;

    qn_compare_look(x->compare, &r);
    if (!r.is_different) {
        if (!x->opt->quiet)
            qn_cli_say(x->cli, "%" PRIu64 " predictions are the same bytes as in the log", r.equal);
        if (r.passed_over > 0)
            qn_cli_say(x->cli,
                       "%" PRIu64 " were made by another spec, model or version: not compared",
                       r.passed_over);
        return QN_EXIT_OK;
    }
    qn_cli_say(x->cli,
               "the first difference, behind %" PRIu64 " that are the same: %.*s:0:%" PRIu64,
               r.equal, QN_STR_ARG(s->name), r.offset);
    say_side(x->cli, "log", r.then);
    say_side(x->cli, "now", r.now);
    while (r.then.p != NULL && r.now.p != NULL && at < r.then.len && at < r.now.len &&
           r.then.p[at] == r.now.p[at])
        at++;
    if (r.then.p != NULL && r.now.p != NULL)
        qn_cli_say(x->cli,
                   "  from byte %u on; same spec, model and version, so the log or this "
                   "machine's memory is damaged, or this is a bug",
                   at);
    return QN_EXIT_DIFFERENT;
}

static void say_written(struct replay *x)
{
    if (x->range.from.is_set && !x->range.is_begun)
        qn_cli_say(x->cli, "no event came at or behind --from %s", x->opt->from);
    qn_cli_say(x->cli, "%" PRIu64 " events replayed, %" PRIu64 " predictions in the range",
               x->range.read, qn_outputs_written(x->outputs, 0));
}

static int replay(struct replay *x, const char *spec)
{
    struct qn_err err = {0};
    int code = QN_EXIT_OK;
    qn_status rc;

    x->dead.fd = -1;
    x->targets = QN_NEW_N(&x->cli->arena, struct qn_output_target, x->plan->output_count);
    for (uint32_t i = 0; x->targets != NULL && i < x->plan->output_count; i++)
        x->targets[i].fd = -1;
    rc = x->targets != NULL ? open_all(x, spec, &err)
                            : qn_err_set(&err, QN_NOMEM, "out of memory for the outputs");
    if (rc == QN_OK)
        rc = run_steps(x, &err);
    if (rc == QN_OK && *x->cli->stop)
        code = QN_EXIT_INTERRUPTED;
    else if (rc == QN_OK && x->compare != NULL)
        code = say_compared(x);
    else if (rc == QN_OK && !x->opt->quiet)
        say_written(x);
    qn_engine_free(x->en);
    qn_outputs_free(x->outputs);
    qn_compare_free(x->compare);
    qn_input_log_free(x->in);
    qn_dead_past_fini(&x->past);
    (void)qn_log_close(x->log, NULL);
    for (uint32_t i = 0; x->targets != NULL && i < x->plan->output_count; i++)
        qn_run_close(x->cli, &x->targets[i], &err, &rc);
    qn_run_close(x->cli, &x->dead, &err, &rc);
    return rc == QN_OK ? code : qn_cli_fail(x->cli, &err);
}

static const char *not_with_compare(const struct replay_options *opt)
{
    return opt->from != NULL        ? "--from"
           : opt->to != NULL        ? "--to"
           : opt->outputs.count > 0 ? "--output"
           : opt->dead != NULL      ? "--dead"
           : opt->incomplete        ? "--incomplete"
                                    : NULL;
}

int qn_cmd_replay(struct qn_cli *c, int argc, char **argv)
{
    struct replay_options opt = {0};
    struct replay x = {.cli = c, .opt = &opt};
    struct qn_option_list rest;
    int code;

    if (!qn_cli_options(c, &qn_usage_replay, argc, argv, &opt, &rest, &code))
        return code;
    if (opt.compare && not_with_compare(&opt) != NULL) {
        qn_cli_say(c,
                   "quern replay: --compare holds the whole log against itself and writes "
                   "nothing: leave out %s",
                   not_with_compare(&opt));
        return QN_EXIT_USAGE;
    }
    x.plan = qn_cli_plan(c, rest.items[0], &code);
    if (x.plan == NULL)
        return code;
    code = replay(&x, rest.items[0]);
    qn_plan_free(x.plan);
    return code;
}
