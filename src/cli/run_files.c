/* SPDX-License-Identifier: Apache-2.0
 * run_files.c - runs a plan over files until they end: the loop of `quern pipe` and `quern
 * features`.
 *
 * Thread: main. Memory: the command's arena. */
#include "cli/run_files.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

/* Splits "NAME=FILE" in place of the arena's copy; name is NULL where there is no '=' or it follows
 * a '/'. */
static void split(struct qn_cli *c, const char *text, const char **name, const char **file)
{
    const char *equal = strchr(text, '='), *slash = strchr(text, '/');

    *name = NULL;
    *file = text;
    if (equal != NULL && (slash == NULL || equal < slash)) {
        *name = qn_arena_strdup(&c->arena, text, (size_t)(equal - text));
        *file = equal + 1;
    }
}

/* A file of the command line and what it is there for. */
struct guarded {
    const char *path, *what;
    struct stat st;
    bool is_output, is_file; /* is_file: there already, and no device or pipe */
};

static qn_status guard_inputs(struct qn_cli *c, const struct qn_option_list *inputs,
                              struct guarded *list, struct qn_err *err)
{
    bool has_standard = false;

    for (uint32_t i = 0; i < inputs->count; i++) {
        const char *name;

        list[i].what = "input";
        split(c, inputs->items[i], &name, &list[i].path);
        if (strcmp(list[i].path, "-") == 0) {
            if (has_standard)
                return qn_err_set(err, QN_INVALID, "standard input can only be one --input");
            has_standard = true;
            list[i].is_file = fstat(c->in, &list[i].st) == 0 && S_ISREG(list[i].st.st_mode);
        } else if (stat(list[i].path, &list[i].st) != 0) {
            return qn_err_sys(err, errno, "cannot open '%s'", list[i].path);
        } else {
            list[i].is_file = S_ISREG(list[i].st.st_mode);
        }
    }
    if (inputs->count == 0)
        list[0] = (struct guarded){.path = "-", .what = "input"};
    if (inputs->count == 0)
        list[0].is_file = fstat(c->in, &list[0].st) == 0 && S_ISREG(list[0].st.st_mode);
    return QN_OK;
}

qn_status qn_run_guard(struct qn_cli *c, const char *spec, const struct qn_run_inputs *inputs,
                       const char *dead, const struct qn_option_list *outputs, struct qn_err *err)
{
    const uint32_t input_count = inputs == NULL           ? 0
                                 : inputs->list.count > 0 ? inputs->list.count
                                                          : 1;
    struct guarded *list = QN_NEW_N(&c->arena, struct guarded, input_count + outputs->count + 2);
    uint32_t n = input_count;

    if (list == NULL)
        return qn_err_set(err, QN_NOMEM, "out of memory for the files");
    if (inputs != NULL)
        QN_TRY(guard_inputs(c, &inputs->list, list, err));
    list[n++] = (struct guarded){.path = spec, .what = "the spec"};
    for (uint32_t i = 0; i < outputs->count; i++)
        list[n++] =
            (struct guarded){.path = outputs->items[i], .what = "output", .is_output = true};
    if (dead != NULL)
        list[n++] = (struct guarded){.path = dead, .what = "output", .is_output = true};
    for (uint32_t i = input_count; i < n; i++) {
        struct guarded *a = &list[i];

        if (a->is_output && strcmp(a->path, "-") == 0)
            continue;
        a->is_file = stat(a->path, &a->st) == 0 && S_ISREG(a->st.st_mode);
        for (uint32_t k = 0; a->is_output && k < i; k++) {
            const struct guarded *b = &list[k];
            const bool is_same = a->is_file && b->is_file && a->st.st_dev == b->st.st_dev &&
                                 a->st.st_ino == b->st.st_ino;

            if (is_same || (b->is_output && strcmp(a->path, b->path) == 0 &&
                            strncmp(a->path, "/dev/", 5) != 0))
                return qn_err_set(err, QN_INVALID,
                                  b->is_output ? "'%s' would be written by two outputs"
                                               : "'%s' would be overwritten: it is %s%s",
                                  a->path, b->what[0] == 'i' ? "an " : "", b->what);
        }
    }
    return QN_OK;
}

qn_status qn_run_create(struct qn_cli *c, const char *path, struct qn_output_target *out,
                        struct qn_err *err)
{
    *out = (struct qn_output_target){c->out, "standard output"};
    if (strcmp(path, "-") == 0)
        return QN_OK;
    out->name = path;
    out->fd = c->files->open(c->files->st, path, QN_OPEN_REPLACE);
    if (out->fd < 0)
        return qn_err_sys(err, -out->fd, "cannot create '%s'", path);
    return QN_OK;
}

static qn_status find_output(const struct qn_plan *p, const char *name, uint32_t *index,
                             struct qn_err *err)
{
    struct qn_str names[256];
    uint32_t n = 0;
    int near;

    for (uint32_t i = 0; i < p->output_count && n < 256; i++) {
        names[n++] = p->outputs[i].name;
        if (name != NULL && qn_str_is(p->outputs[i].name, name)) {
            *index = i;
            return QN_OK;
        }
    }
    if (name == NULL)
        return qn_err_set(err, QN_INVALID,
                          "--output wants NAME=FILE, for example --output predictions=out.ndjson");
    near = qn_nearest(qn_str_of(name), names, n);
    if (near < 0)
        return qn_err_set(err, QN_INVALID, "the spec has no output '%s'", name);
    return qn_err_set(err, QN_INVALID, "the spec has no output '%s' (did you mean '%.*s'?)", name,
                      QN_STR_ARG(names[near]));
}

/* One target per output of the plan: predictions to stdout unless said otherwise. */
static qn_status open_targets(struct qn_cli *c, const struct qn_plan *plan,
                              const struct qn_option_list *list, struct qn_output_target *targets,
                              struct qn_err *err)
{
    for (uint32_t i = 0; i < plan->output_count; i++)
        targets[i] = plan->outputs[i].is_predictions
                         ? (struct qn_output_target){c->out, "standard output"}
                         : (struct qn_output_target){-1, ""};
    for (uint32_t i = 0; i < list->count; i++) {
        const char *name, *file;
        uint32_t index = 0;

        split(c, list->items[i], &name, &file);
        QN_TRY(find_output(plan, name, &index, err));
        QN_TRY(qn_run_create(c, file, &targets[index], err));
    }
    return QN_OK;
}

qn_status qn_run_targets(struct qn_cli *c, const struct qn_plan *plan, const char *spec,
                         const struct qn_run_inputs *inputs, const char *dead,
                         const struct qn_option_list *list, struct qn_output_target *targets,
                         struct qn_err *err)
{
    const struct qn_option_list paths = {QN_NEW_N(&c->arena, const char *, list->count + 1),
                                         list->count};
    const char *name;

    for (uint32_t i = 0; i < plan->output_count; i++)
        targets[i] = (struct qn_output_target){-1, ""};
    if (paths.items == NULL)
        return qn_err_set(err, QN_NOMEM, "out of memory for the outputs");
    for (uint32_t i = 0; i < list->count; i++)
        split(c, list->items[i], &name, &paths.items[i]);
    QN_TRY(qn_run_guard(c, spec, inputs, dead, &paths, err));
    return open_targets(c, plan, list, targets, err);
}

void qn_run_close(struct qn_cli *c, struct qn_output_target *t, struct qn_err *err, qn_status *rc)
{
    int result;

    if (t->fd < 0 || t->fd == c->out)
        return;
    result = c->files->close(c->files->st, t->fd);
    if (result < 0 && *rc == QN_OK)
        *rc = qn_err_sys(err, -result, "cannot finish '%s'", t->name);
    t->fd = -1;
}

static void sum_counts(const struct qn_engine *en, const struct qn_plan *plan,
                       struct qn_counts *sum)
{
    const struct qn_counts *counts = qn_engine_counts(en);

    for (uint32_t s = 0; s < plan->schema_count; s++) {
        sum->read += counts[s].read;
        sum->late_scored += counts[s].late_scored;
        for (int v = 0; v < QN_VERDICTS; v++)
            sum->verdict[v] += counts[s].verdict[v];
        for (int i = 0; i < QN_REASON_COUNT; i++)
            sum->reason[i] += counts[s].reason[i];
    }
}

/* "585177 events: 585170 scored, 0 late, 7 dead, 0 shed", why the dead ones are, and what the
 * conditional outputs took. */
static void say_counts(struct qn_cli *c, const struct qn_engine *en, const struct qn_plan *plan,
                       const struct qn_outputs *outputs, const char *dead_file)
{
    struct qn_counts sum = {0};
    uint64_t quiet = 0;

    sum_counts(en, plan, &sum);
    qn_cli_say(c, "%llu event%s: %llu scored, %llu late, %llu dead, %llu shed",
               (unsigned long long)sum.read, sum.read == 1 ? "" : "s",
               (unsigned long long)sum.verdict[QN_SCORED], (unsigned long long)sum.verdict[QN_LATE],
               (unsigned long long)sum.verdict[QN_DEAD], (unsigned long long)sum.verdict[QN_SHED]);
    for (int i = 1; i < QN_REASON_COUNT; i++)
        if (sum.reason[i] > 0)
            qn_cli_say(c, "  %-14s %10llu  %s", qn_reason_name((enum qn_reason)i),
                       (unsigned long long)sum.reason[i], qn_reason_text((enum qn_reason)i));
    for (uint32_t o = 0; outputs != NULL && o < plan->output_count; o++)
        if (!plan->outputs[o].is_predictions || plan->outputs[o].when != NULL)
            qn_cli_say(c, "  %-14.*s %10llu  records of this output",
                       QN_STR_ARG(plan->outputs[o].name),
                       (unsigned long long)qn_outputs_written(outputs, o));
    for (int i = 1; i < QN_REASON_COUNT; i++)
        quiet += qn_reason_is_quiet((enum qn_reason)i) ? sum.reason[i] : 0;
    if (sum.verdict[QN_DEAD] > quiet && dead_file == NULL)
        qn_cli_say(c, "  --dead FILE keeps dead events with their reason");
}

static bool has_read(const struct qn_engine *en, const struct qn_plan *plan)
{
    struct qn_counts sum = {0};

    sum_counts(en, plan, &sum);
    return sum.read > 0;
}

static void say_timing(struct qn_cli *c, const struct qn_engine *en, const struct qn_plan *plan,
                       int64_t total_ns)
{
    struct qn_counts sum = {0};
    struct qn_buf b = {0};

    sum_counts(en, plan, &sum);
    qn_buf_printf(&b, "{\"events\":%llu,\"total_ns\":%lld,\"bytes\":%zu",
                  (unsigned long long)sum.read, (long long)total_ns, qn_engine_bytes(en));
    for (int s = 0; s < QN_STAGE_COUNT; s++)
        qn_buf_printf(&b, ",\"%s_ns\":%lld", qn_stage_name((enum qn_stage)s),
                      (long long)qn_engine_stage_ns(en)[s]);
    qn_buf_text(&b, "}");
    if (b.data != NULL)
        qn_cli_say(c, "%.*s", (int)b.len, b.data);
    qn_buf_fini(&b);
}

/* Steps until the input ends or somebody stops us. */
static qn_status run_steps(struct qn_cli *c, struct qn_engine *en,
                           const struct qn_input_files *files, bool quiet, struct qn_err *err)
{
    const struct qn_plan *plan = qn_engine_plan(en);
    enum qn_flow flow = QN_MORE;
    struct qn_progress progress;
    qn_status rc = QN_OK;

    qn_progress_start(&progress, c, "events");
    while (rc == QN_OK && flow != QN_END && !*c->stop) {
        rc = qn_step(en, &flow, err);
        if (!quiet) {
            struct qn_counts sum = {0};
            uint64_t done, size;

            sum_counts(en, plan, &sum);
            qn_input_files_progress(files, &done, &size);
            qn_progress_update(&progress, sum.read, done, size);
        }
    }
    if (rc == QN_OK)
        rc = qn_engine_finish(en, err);
    qn_progress_end(&progress);
    return rc;
}

qn_status qn_run_open(struct qn_cli *c, const struct qn_run_inputs *inputs,
                      const struct qn_plan *plan, struct qn_input_files **files, struct qn_err *err)
{
    const uint32_t count = inputs->list.count > 0 ? inputs->list.count : 1;
    struct qn_input_file *list = QN_NEW_N(&c->arena, struct qn_input_file, count);

    if (list == NULL)
        return qn_err_set(err, QN_NOMEM, "out of memory for %u inputs", count);
    list[0].path = "-";
    for (uint32_t i = 0; i < inputs->list.count; i++)
        split(c, inputs->list.items[i], &list[i].stream, &list[i].path);
    return qn_input_files_open(list, count, (enum qn_format)inputs->format, plan, c->files, files,
                               err);
}

int qn_run_files(struct qn_cli *c, struct qn_plan *plan, const struct qn_run_inputs *inputs,
                 const struct qn_run_options *opt, struct qn_outputs_options *out_opt)
{
    const bool is_table = out_opt->kind != QN_RECORDS_PREDICTIONS;
    struct qn_engine_options en_opt = {.threads = (uint32_t)opt->threads,
                                       .rows_max = (uint32_t)opt->rows,
                                       .without_models = is_table};
    struct qn_input_files *files = NULL;
    struct qn_outputs *outputs = NULL;
    struct qn_engine *en = NULL;
    struct qn_input in;
    struct qn_output out;
    struct qn_err err = {0};
    int64_t start_ns;
    qn_status rc;

    out_opt->dead.fd = -1;
    out_opt->workers = en_opt.threads;
    out_opt->files = c->files;
    qn_random_system.fill(qn_random_system.st, &en_opt.seed, sizeof en_opt.seed);
    rc = qn_run_open(c, inputs, plan, &files, &err);
    if (rc == QN_OK && opt->dead != NULL)
        rc = qn_run_create(c, opt->dead, &out_opt->dead, &err);
    if (rc == QN_OK)
        rc = qn_outputs_new(plan, out_opt, &outputs, &err);
    if (rc == QN_OK)
        rc = qn_outputs_begin(outputs, &err);
    if (rc == QN_OK) {
        in = qn_input_files_input(files);
        out = qn_outputs_output(outputs);
        rc = qn_engine_new(plan, &en_opt, &in, &out, &en, &err);
    }
    if (rc == QN_OK) {
        if (opt->timing)
            qn_engine_time(en, c->clock);
        start_ns = c->clock->mono_ns(c->clock->st);
        rc = run_steps(c, en, files, opt->quiet, &err);
        if (!opt->quiet && (rc == QN_OK || has_read(en, plan)))
            say_counts(c, en, plan, is_table ? NULL : outputs, opt->dead);
        if (opt->timing)
            say_timing(c, en, plan, c->clock->mono_ns(c->clock->st) - start_ns);
    }
    qn_run_close(c, &out_opt->dead, &err, &rc);
    qn_engine_free(en);
    qn_outputs_free(outputs);
    qn_input_files_close(files);
    if (rc != QN_OK)
        return qn_cli_fail(c, &err);
    return *c->stop ? QN_EXIT_INTERRUPTED : QN_EXIT_OK;
}
