/* SPDX-License-Identifier: Apache-2.0
 * cmd_explain.c - `quern explain SPEC EVENT_ID`: how one answer came about.
 *
 * Replays the inputs through the engine up to the event, which gives the state every feature had
 * then, and hands the row to explain_print.c. Nothing is written anywhere. Thread: main. Memory:
 * the command's arena, and the engine's. */
#include "base/number.h"
#include "cli/commands.h"
#include "cli/explain_print.h"
#include "cli/run_files.h"
#include "event/encode.h"
#include "model/treeshap.h"

enum { NEAR_MAX = 2, NEAR_BYTES = 128 };

struct explain_options {
    struct qn_run_inputs inputs;
    bool json, quiet;
};

static const struct qn_option options[] = {
    QN_RUN_INPUT_ROWS(struct explain_options, inputs),
    {.name = "json",
     .type = QN_OPT_FLAG,
     .since = "0.1",
     .help = "the same as one JSON document on stdout",
     .offset = offsetof(struct explain_options, json)},
    {.name = "quiet",
     .type = QN_OPT_FLAG,
     .short_name = 'q',
     .since = "0.1",
     .help = "no progress",
     .offset = offsetof(struct explain_options, quiet)},
    {.name = NULL},
};

const struct qn_command_usage qn_usage_explain = {
    .name = "explain",
    .summary = "how one answer came about: features, score, what each input added to it",
    .positional = "SPEC EVENT_ID",
    .options = options,
    .examples =
        {"quern explain card-fraud.yaml tx-4711 --input transactions=tx.ndjson.gz",
         "quern explain spec.yaml card-fraud:transactions:0:4711 --input transactions=tx.csv "
         "--json"},
};

/* Looks for the event in every batch. */
struct finder {
    const struct qn_plan *plan;
    struct qn_str id; /* as the user wrote it                                        */
    bool by_position; /* it is the id of a prediction: PIPELINE:STREAM:PARTITION:OFFSET */
    int64_t partition, offset;
    bool json, is_found;
    struct qn_buf value; /* an id that is no text, as text                              */
    struct qn_buf out;   /* the explanation                                             */
    double *contributions;
    uint64_t events; /* of the main stream */
    unsigned near_edits;
    char near[NEAR_BYTES];
};

static void take_near(struct finder *f, struct qn_str id)
{
    unsigned edits;

    if (id.len == 0 || id.len >= NEAR_BYTES || id.len > f->id.len + NEAR_MAX ||
        f->id.len > id.len + NEAR_MAX)
        return;
    edits = qn_edit_distance(f->id, id, NEAR_MAX);
    if (edits >= f->near_edits)
        return;
    f->near_edits = edits;
    memcpy(f->near, id.p, id.len);
    f->near[id.len] = '\0';
}

static bool is_wanted(struct finder *f, const struct qn_batch *b, uint32_t row)
{
    const struct qn_schema *s = &f->plan->schemas[f->plan->main_stream];
    const struct qn_col *c;
    struct qn_str id;

    if (f->by_position)
        return b->partition[row] == f->partition && b->offset[row] == f->offset;
    c = &b->cols[s->first_column + (uint32_t)s->id];
    if (!c->valid[row])
        return false;
    if (c->kind.type == QN_STRING) {
        id = c->str[row];
    } else {
        qn_buf_clear(&f->value);
        qn_encode_csv_cell(&f->value, c, row);
        id = (struct qn_str){f->value.data, (uint32_t)f->value.len};
    }
    if (qn_str_eq(id, f->id))
        return true;
    take_near(f, id);
    return false;
}

static void finder_encode(void *st, const struct qn_engine *en, const struct qn_step_result *r,
                          uint32_t first, uint32_t end, uint32_t worker)
{
    struct finder *f = st;

    for (uint32_t row = first; row < end && !f->is_found; row++) {
        struct qn_explained x = {.engine = en, .result = r, .row = row};

        if (r->batch->stream[row] != f->plan->main_stream)
            continue;
        f->events++;
        if (!is_wanted(f, r->batch, row))
            continue;
        f->is_found = true;
        if (r->is_scored[row] && f->contributions != NULL) {
            qn_engine_explain(en, &row, 1, worker, f->contributions, 1);
            x.contributions = f->contributions;
        }
        if (f->json)
            qn_explain_json(&x, &f->out);
        else
            qn_explain_print(&x, &f->out);
    }
}

static qn_status finder_commit(void *st, const struct qn_engine *en, const struct qn_step_result *r,
                               struct qn_err *err)
{
    struct finder *f = st;

    return f->out.failed || f->value.failed ? qn_err_set(err, QN_NOMEM, "out of memory") : QN_OK;
}

/* "card-fraud:transactions:0:17" of this plan's main stream. */
static bool read_position(struct finder *f)
{
    const struct qn_plan *p = f->plan;
    const struct qn_str stream = p->schemas[p->main_stream].name;
    const uint32_t head = p->name.len + stream.len + 2;
    struct qn_str rest;
    const char *colon;

    if (f->id.len <= head || memcmp(f->id.p, p->name.p, p->name.len) != 0 ||
        f->id.p[p->name.len] != ':' ||
        memcmp(f->id.p + p->name.len + 1, stream.p, stream.len) != 0 || f->id.p[head - 1] != ':')
        return false;
    rest = (struct qn_str){f->id.p + head, f->id.len - head};
    colon = memchr(rest.p, ':', rest.len);
    return colon != NULL &&
           qn_text_int64((struct qn_str){rest.p, (uint32_t)(colon - rest.p)}, &f->partition) &&
           qn_text_int64((struct qn_str){colon + 1, (uint32_t)(rest.p + rest.len - colon - 1)},
                         &f->offset);
}

static qn_status finder_init(struct qn_cli *c, struct finder *f, struct qn_err *err)
{
    const struct qn_plan *p = f->plan;
    const struct qn_schema *s = &p->schemas[p->main_stream];
    const struct qn_model *m = p->score_model >= 0 ? p->models[p->score_model].model : NULL;

    f->near_edits = f->id.len < 5 ? 2 : NEAR_MAX + 1;
    f->by_position = read_position(f);
    if (s->id < 0 && !f->by_position)
        return qn_err_set(err, QN_INVALID,
                          "stream '%.*s' has no 'id' in the spec; name the event as its prediction "
                          "does: %.*s:%.*s:PARTITION:OFFSET",
                          QN_STR_ARG(s->name), QN_STR_ARG(p->name), QN_STR_ARG(s->name));
    if (m == NULL || qn_model_explain_obstacle(m) != NULL)
        return QN_OK;
    f->contributions = QN_NEW_N(&c->arena, double,
                                (size_t)qn_model_info(m)->outputs *(qn_model_info(m)->inputs + 1));
    return f->contributions != NULL ? QN_OK : qn_err_set(err, QN_NOMEM, "out of memory");
}

static qn_status not_found(const struct finder *f, struct qn_err *err)
{
    const struct qn_plan *p = f->plan;
    const struct qn_str stream = p->schemas[p->main_stream].name;
    const char *what = f->events == 1 ? "event" : "events";

    if (f->near[0] != '\0')
        return qn_err_set(
            err, QN_NOT_FOUND, "no event '%.*s' among %llu %s of '%.*s' (did you mean '%s'?)",
            QN_STR_ARG(f->id), (unsigned long long)f->events, what, QN_STR_ARG(stream), f->near);
    return qn_err_set(err, QN_NOT_FOUND, "no event '%.*s' among %llu %s of '%.*s'",
                      QN_STR_ARG(f->id), (unsigned long long)f->events, what, QN_STR_ARG(stream));
}

/* Steps until the event is found or the input ends. */
static qn_status search(struct qn_cli *c, struct qn_engine *en, const struct qn_input_files *files,
                        struct finder *f, bool quiet, struct qn_err *err)
{
    struct qn_progress progress;
    enum qn_flow flow = QN_MORE;
    qn_status rc = QN_OK;

    qn_progress_start(&progress, c, "events");
    while (rc == QN_OK && flow != QN_END && !f->is_found && !*c->stop) {
        uint64_t done, size;

        rc = qn_step(en, &flow, err);
        qn_input_files_progress(files, &done, &size);
        if (!quiet)
            qn_progress_update(&progress, f->events, done, size);
    }
    qn_progress_end(&progress);
    if (rc == QN_OK && !f->is_found && !*c->stop)
        rc = not_found(f, err);
    return rc;
}

static int explain(struct qn_cli *c, struct qn_plan *plan, const char *id,
                   const struct explain_options *opt)
{
    struct finder f = {.plan = plan, .id = qn_str_of(id), .json = opt->json};
    struct qn_engine_options en_opt = {.threads = 1};
    struct qn_output out = {.encode = finder_encode, .commit = finder_commit, .st = &f};
    struct qn_input_files *files = NULL;
    struct qn_engine *en = NULL;
    struct qn_err err = {0};
    int code = QN_EXIT_OK;
    qn_status rc = finder_init(c, &f, &err);

    en_opt.explains = f.contributions != NULL;
    qn_random_system.fill(qn_random_system.st, &en_opt.seed, sizeof en_opt.seed);
    if (rc == QN_OK)
        rc = qn_run_open(c, &opt->inputs, plan, &files, &err);
    if (rc == QN_OK) {
        struct qn_input in = qn_input_files_input(files);

        rc = qn_engine_new(plan, &en_opt, &in, &out, &en, &err);
    }
    if (rc == QN_OK)
        rc = search(c, en, files, &f, opt->quiet, &err);
    if (rc != QN_OK)
        code = qn_cli_fail(c, &err);
    else if (*c->stop)
        code = QN_EXIT_INTERRUPTED;
    else if (!qn_cli_write(c, f.out.data, f.out.len))
        code = QN_EXIT_FAILED;
    qn_engine_free(en);
    qn_input_files_close(files);
    qn_buf_fini(&f.out);
    qn_buf_fini(&f.value);
    return code;
}

int qn_cmd_explain(struct qn_cli *c, int argc, char **argv)
{
    struct explain_options opt = {0};
    struct qn_option_list rest;
    struct qn_plan *plan;
    int code;

    if (!qn_cli_options(c, &qn_usage_explain, argc, argv, &opt, &rest, &code))
        return code;
    plan = qn_cli_plan(c, rest.items[0], &code);
    if (plan == NULL)
        return code;
    code = explain(c, plan, rest.items[1], &opt);
    qn_plan_free(plan);
    return code;
}
