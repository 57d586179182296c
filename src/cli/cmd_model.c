/* SPDX-License-Identifier: Apache-2.0
 * cmd_model.c - `quern model inspect FILE...`: what model files hold, how each will run, and what
 * several that score the same rows can share.
 *
 * The subcommands that write control records (list, promote, rollback, canary) are refused by name.
 * Thread: main. */
#include "cli/commands.h"
#include "model/group.h"
#include "model/treeshap.h"

enum { TREES_ALL, TREES_BEST };

struct model_options {
    bool json;
    int trees;
};

static const struct qn_option options[] = {
    {.name = "trees",
     .type = QN_OPT_ENUM,
     .value = "WHICH",
     .fallback = "all",
     .choices = "all|best",
     .since = "0.1",
     .help = "which trees run, as 'trees' of a model in the spec: all, or up to best_iteration",
     .offset = offsetof(struct model_options, trees)},
    {.name = "json",
     .type = QN_OPT_FLAG,
     .since = "0.1",
     .help = "the same as one JSON document on stdout",
     .offset = offsetof(struct model_options, json)},
    {.name = NULL},
};

const struct qn_command_usage qn_usage_model = {
    .name = "model",
    .summary = "what model files hold, which kernel will run them, and what several of them share",
    .positional = "inspect FILE...",
    .options = options,
    .examples = {"quern model inspect fraud.ubj", "quern model inspect fraud.ubj --json",
                 "quern model inspect germany.ubj france.ubj spain.ubj"},
};

static void put_bytes(struct qn_buf *out, size_t bytes)
{
    if (bytes < 1000)
        qn_buf_printf(out, "%zu B", bytes);
    else if (bytes < 1000000)
        qn_buf_printf(out, "%.1f KB", (double)bytes / 1e3);
    else
        qn_buf_printf(out, "%.1f MB", (double)bytes / 1e6);
}

static const char *plural(uint32_t n)
{
    return n == 1 ? "" : "s";
}

/* Names in lines of up to 100 columns, from column 12 on. */
static void put_names(const struct qn_model_info *info, struct qn_buf *out)
{
    uint32_t used = 100;

    if (info->input_names == NULL)
        qn_buf_text(out, "\n            by position: the file has no names");
    for (uint32_t i = 0; i < info->inputs && info->input_names != NULL; i++) {
        const struct qn_str name = info->input_names[i];
        const uint32_t width = (uint32_t)qn_utf8_count(name.p, name.len) + 1;

        if (used + 1 + width > 100) {
            qn_buf_text(out, "\n            ");
            used = 12;
        } else {
            qn_buf_byte(out, ' ');
            used++;
        }
        qn_buf_printf(out, "%.*s%s", QN_STR_ARG(name), i + 1 < info->inputs ? "," : "");
        used += width;
    }
    qn_buf_byte(out, '\n');
}

static void print_explain(const struct qn_model *m, struct qn_buf *out)
{
    const char *obstacle = qn_model_explain_obstacle(m);

    if (obstacle != NULL) {
        qn_buf_printf(out, "  explain   not possible: %s\n", obstacle);
        return;
    }
    qn_buf_text(out, "  explain   yes, ");
    (void)qn_model_explain_print(m, "\n            ", out);
    qn_buf_byte(out, '\n');
}

static void print_model(const struct qn_model *m, const char *path, struct qn_buf *out)
{
    const struct qn_model_info *info = qn_model_info(m);
    uint64_t alone_ns, batched_ns;

    qn_buf_printf(out, "%s\n  format    %s%s%s\n  objective %s\n", path, info->format,
                  info->version[0] ? ", version " : "", info->version,
                  info->objective[0] ? info->objective : "none told");
    qn_buf_printf(out, "  output    %u margin%s, %u prediction%s, %s\n", info->outputs,
                  plural(info->outputs), info->predictions, plural(info->predictions),
                  info->is_float ? "float32 values" : "double values");
    if (info->trees > 0 || info->trees_in_file > 0) {
        qn_buf_printf(out, "  trees     %u", info->trees);
        if (info->trees != info->trees_in_file)
            qn_buf_printf(out, " of %u in the file", info->trees_in_file);
        qn_buf_printf(out, ", depth %u, %u nodes, %u leaves\n", info->depth_max, info->nodes,
                      info->leaves);
    }
    qn_buf_printf(out, "  kernel    %s: %s\n", info->kernel, info->kernel_reason);
    if (qn_model_cost(m, &alone_ns, &batched_ns))
        qn_buf_printf(out, "  a row     about %llu ns alone, %llu ns in batches of 64 (measured)\n",
                      (unsigned long long)alone_ns, (unsigned long long)batched_ns);
    print_explain(m, out);
    qn_buf_text(out, "  memory    ");
    put_bytes(out, info->bytes);
    qn_buf_printf(out, "\n  version   %016llx, the hash of the file\n  inputs    %u column%s",
                  (unsigned long long)info->hash, info->inputs, plural(info->inputs));
    put_names(info, out);
}

static void put_member(struct qn_buf *out, const char *name, const char *value)
{
    qn_buf_printf(out, ",\"%s\":", name);
    qn_json_string(out, qn_str_of(value));
}

static void print_explain_json(const struct qn_model *m, struct qn_buf *out)
{
    const char *obstacle = qn_model_explain_obstacle(m);
    char form[QN_EXPLAIN_FORM];
    uint64_t alone_ns, batched_ns;

    qn_buf_printf(out, ",\"explains\":%s", obstacle == NULL ? "true" : "false");
    if (obstacle != NULL) {
        put_member(out, "explains_not", obstacle);
        return;
    }
    qn_model_explain_form(m, form);
    put_member(out, "explain_form", form);
    if (qn_model_explain_cost(m, &alone_ns, &batched_ns))
        qn_buf_printf(out, ",\"explain_ns_alone\":%llu,\"explain_ns_batched\":%llu",
                      (unsigned long long)alone_ns, (unsigned long long)batched_ns);
}

static void print_model_json(const struct qn_model *m, const char *path, struct qn_buf *out)
{
    const struct qn_model_info *info = qn_model_info(m);
    uint64_t alone_ns, batched_ns;

    qn_buf_text(out, "{\"file\":");
    qn_json_string(out, qn_str_of(path));
    put_member(out, "format", info->format);
    put_member(out, "library_version", info->version);
    put_member(out, "objective", info->objective);
    qn_buf_printf(out, ",\"outputs\":%u,\"predictions\":%u,\"values\":\"%s\"", info->outputs,
                  info->predictions, info->is_float ? "float32" : "double");
    qn_buf_printf(out, ",\"trees\":%u,\"trees_in_file\":%u,\"depth\":%u,\"nodes\":%u,\"leaves\":%u",
                  info->trees, info->trees_in_file, info->depth_max, info->nodes, info->leaves);
    put_member(out, "kernel", info->kernel);
    put_member(out, "kernel_reason", info->kernel_reason);
    if (qn_model_cost(m, &alone_ns, &batched_ns))
        qn_buf_printf(out, ",\"row_ns_alone\":%llu,\"row_ns_batched\":%llu",
                      (unsigned long long)alone_ns, (unsigned long long)batched_ns);
    print_explain_json(m, out);
    qn_buf_printf(out,
                  ",\"bytes\":%zu,\"version\":\"%016llx\",\"columns\":%u,\"inputs\":", info->bytes,
                  (unsigned long long)info->hash, info->inputs);
    if (info->input_names == NULL)
        qn_buf_text(out, "null");
    for (uint32_t i = 0; i < info->inputs && info->input_names != NULL; i++) {
        qn_buf_byte(out, i == 0 ? '[' : ',');
        qn_json_string(out, info->input_names[i]);
    }
    qn_buf_text(out, info->input_names == NULL ? "}\n" : "]}\n");
}

/* ---- several files ---- */

/* A column that models read: inputs of the same name and, where they are text, the same words; or
 * of the same place, where names are lacking. */
struct column {
    struct qn_str name;
    const struct qn_str *words;
    uint32_t word_count;
};

struct columns {
    struct column *items;
    uint32_t count;
    bool have_names; /* all models have */
};

static bool is_same(const struct column *a, const struct column *b)
{
    if (!qn_str_eq(a->name, b->name) || a->word_count != b->word_count)
        return false;
    for (uint32_t i = 0; i < a->word_count; i++) {
        if (!qn_str_eq(a->words[i], b->words[i]))
            return false;
    }
    return true;
}

/* Which column an input is; a new one where it is like none. */
static uint32_t column_of(struct columns *all, const struct qn_model *m, uint32_t input)
{
    const struct qn_model_info *info = qn_model_info(m);
    struct column c = {0};

    if (!all->have_names) {
        all->count = input < all->count ? all->count : input + 1;
        return input;
    }
    c.name = info->input_names[input];
    c.word_count = qn_model_words(m, input, &c.words);
    for (uint32_t i = 0; i < all->count; i++) {
        if (is_same(&all->items[i], &c))
            return i;
    }
    all->items[all->count] = c;
    return all->count++;
}

static qn_status make_group(struct qn_model *const *models, uint32_t count, struct qn_arena *arena,
                            struct qn_model_group **out, struct qn_err *err)
{
    struct qn_model_group_member *members = QN_NEW_N(arena, struct qn_model_group_member, count);
    struct columns all = {.have_names = true};
    uint32_t inputs = 0;

    for (uint32_t k = 0; k < count; k++) {
        inputs += qn_model_info(models[k])->inputs;
        all.have_names = all.have_names && qn_model_info(models[k])->input_names != NULL;
    }
    all.items = QN_NEW_N(arena, struct column, inputs + 1);
    for (uint32_t k = 0; k < count; k++) {
        const uint32_t own = qn_model_info(models[k])->inputs;
        uint32_t *columns = QN_NEW_N(arena, uint32_t, own + 1);

        if (members == NULL || all.items == NULL || columns == NULL)
            return qn_err_set(err, QN_NOMEM, "out of memory");
        for (uint32_t i = 0; i < own; i++)
            columns[i] = column_of(&all, models[k], i);
        members[k] = (struct qn_model_group_member){models[k], columns};
    }
    return qn_model_group_new(members, count, all.count, out, err);
}

static void print_group(const struct qn_model_group_info *info, struct qn_buf *out)
{
    qn_buf_printf(out, "together\n  share     %u of %u models, in %u bundle%s\n", info->shared,
                  info->members, info->bundles, plural(info->bundles));
    qn_buf_printf(out, "  a row     %u columns are coded instead of %u\n  memory    ",
                  info->coded_columns, info->coded_if_alone);
    put_bytes(out, info->bytes);
    qn_buf_text(out, " more than the models\n");
}

static void print_group_json(const struct qn_model_group_info *info, struct qn_buf *out)
{
    qn_buf_printf(out,
                  "\"together\":{\"models\":%u,\"share\":%u,\"bundles\":%u,\"coded_columns\":%u,"
                  "\"coded_columns_alone\":%u,\"bytes\":%zu}}\n",
                  info->members, info->shared, info->bundles, info->coded_columns,
                  info->coded_if_alone, info->bytes);
}

static qn_status print_together(struct qn_model *const *models, uint32_t count, bool json,
                                struct qn_buf *out, struct qn_err *err)
{
    struct qn_model_group *g = NULL;
    struct qn_arena arena = {0};
    qn_status rc = make_group(models, count, &arena, &g, err);

    if (rc == QN_OK)
        (json ? print_group_json : print_group)(qn_model_group_info(g), out);
    qn_model_group_free(g);
    qn_arena_fini(&arena);
    return rc;
}

/* One document of each file, and of several one of all. */
static qn_status print_files(struct qn_cli *c, const struct qn_option_list *paths,
                             struct qn_model **models, const struct model_options *opt,
                             struct qn_buf *out, struct qn_err *err)
{
    const struct qn_model_options load = {.trees = opt->trees == TREES_BEST ? QN_TREES_BEST
                                                                            : QN_TREES_ALL};
    const bool is_list = opt->json && paths->count > 1;

    if (is_list)
        qn_buf_text(out, "{\"models\":[");
    for (uint32_t i = 0; i < paths->count; i++) {
        QN_TRY(qn_model_load(c->files, paths->items[i], &load, &models[i], err));
        if (opt->json)
            print_model_json(models[i], paths->items[i], out);
        else
            print_model(models[i], paths->items[i], out);
        if (is_list && i + 1 < paths->count)
            qn_buf_byte(out, ',');
    }
    if (is_list)
        qn_buf_text(out, "],");
    return paths->count > 1 ? print_together(models, paths->count, opt->json, out, err) : QN_OK;
}

static int inspect(struct qn_cli *c, const struct qn_option_list *paths,
                   const struct model_options *opt)
{
    struct qn_model **models = qn_mem_zalloc(paths->count, sizeof(struct qn_model *));
    struct qn_buf out = {0};
    struct qn_err err = {.code = QN_NOMEM, .text = "out of memory"};
    qn_status rc = QN_NOMEM;
    int code;

    if (models != NULL)
        rc = print_files(c, paths, models, opt, &out, &err);
    if (rc != QN_OK)
        code = qn_cli_fail(c, &err);
    else if (out.failed)
        code = qn_cli_fail(c, &(struct qn_err){.code = QN_NOMEM, .text = "out of memory"});
    else
        code = qn_cli_write(c, out.data, out.len) ? QN_EXIT_OK : QN_EXIT_FAILED;
    qn_buf_fini(&out);
    for (uint32_t i = 0; i < paths->count && models != NULL; i++)
        qn_model_free(models[i]);
    qn_mem_free(models);
    return code;
}

int qn_cmd_model(struct qn_cli *c, int argc, char **argv)
{
    static const char *const later[] = {"list", "promote", "rollback", "canary"};
    struct model_options opt = {0};
    struct qn_option_list rest, files;
    int code;

    for (size_t i = 0; i < sizeof later / sizeof later[0]; i++) {
        if (argc > 0 && strcmp(argv[0], later[i]) == 0) {
            qn_cli_say(c,
                       "quern model: '%s' is not available yet; 'quern model inspect FILE' shows a "
                       "model, and the spec's 'file' says which one scores",
                       later[i]);
            return QN_EXIT_USAGE;
        }
    }
    if (!qn_cli_options(c, &qn_usage_model, argc, argv, &opt, &rest, &code))
        return code;
    if (strcmp(rest.items[0], "inspect") != 0) {
        qn_cli_say(c, "quern model: unknown subcommand '%.40s'; try 'quern model inspect FILE'",
                   rest.items[0]);
        return QN_EXIT_USAGE;
    }
    files = (struct qn_option_list){.items = rest.items + 1, .count = rest.count - 1};
    return inspect(c, &files, &opt);
}
