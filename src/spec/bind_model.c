/* SPDX-License-Identifier: Apache-2.0
 * bind_model.c - models of a spec: the file is loaded, and every input of it finds the field or
 * feature that feeds it.
 *
 * Part of binding (bind.c). Where a model knows names, names decide, whatever the order in the
 * spec; a model without names, or with the ones that libraries make up (f0, Column_0), takes inputs
 * in the order of the spec. Invariant: an accepted model has exactly one column per input, text
 * only where the model knows the input's words. Thread: one. Memory: models own themselves and are
 * freed with the plan; the rest is boot arena. */
#include "spec/spec_int.h"

#include <stdio.h>

enum { INPUTS_MAX = 8192, MODELS_MAX = 64, INPUTS_HINT_BYTES = 160 };

struct model {
    struct qn_builder *b;
    struct qn_plan_model *m;
    const struct qn_yaml_node *key;
    struct qn_slot slots[MODEL_LAST + 1];
    const struct qn_model_info *info;
    struct qn_model_input *inputs; /* [info->inputs] */
};

/* Column of a name as qn_builder.names has them, or -1. */
static int32_t find_name(const struct qn_builder *b, struct qn_str name)
{
    for (uint32_t i = 0; i < b->name_count; i++) {
        if (qn_str_eq(b->names[i].name, name))
            return (int32_t)i;
    }
    return -1;
}

static bool is_number_kind(struct qn_kind k)
{
    return k.type == QN_BOOL || k.type == QN_INT64 || k.type == QN_DOUBLE || k.type == QN_DECIMAL;
}

static const struct qn_str *known_names(struct qn_builder *b)
{
    struct qn_str *known = QN_NEW_N(b->bind.arena, struct qn_str, b->name_count + 1);

    for (uint32_t i = 0; known != NULL && i < b->name_count; i++)
        known[i] = b->names[i].name;
    b->bind.no_memory |= known == NULL;
    return known;
}

/* ---- loading ---- */

static const char *path_of(struct qn_builder *b, struct qn_str file)
{
    bool is_absolute = file.len > 0 && file.p[0] == '/';
    uint32_t folder = is_absolute ? 0 : b->folder.len;
    char *path = qn_arena_alloc(b->bind.arena, (size_t)folder + file.len + 1);

    if (path == NULL)
        return NULL;
    if (folder > 0)
        memcpy(path, b->folder.p, folder);
    memcpy(path + folder, file.p, file.len);
    path[folder + file.len] = '\0';
    return path;
}

static qn_status load(struct model *md)
{
    const struct qn_slot *missing = &md->slots[MODEL_MISSING];
    struct qn_builder *b = md->b;
    const struct qn_yaml_node *file = md->slots[MODEL_FILE].value;
    struct qn_model_options opt = {
        .trees = md->slots[MODEL_TREES].is_set && md->slots[MODEL_TREES].i64 == 1 ? QN_TREES_BEST
                                                                                  : QN_TREES_ALL};
    struct qn_err err = {0};
    qn_status rc;

    opt.has_missing = missing->is_set && missing->f64 == missing->f64; /* NaN is missing anyway */
    opt.missing = opt.has_missing ? missing->f64 : 0;
    opt.has_column = md->slots[MODEL_COLUMN].is_set;
    opt.column = opt.has_column ? (uint32_t)md->slots[MODEL_COLUMN].i64 : 0;
    if (md->slots[MODEL_PROVIDER].is_set)
        opt.provider = (enum qn_provider)md->slots[MODEL_PROVIDER].i64;
    if (md->slots[MODEL_DEVICE].is_set) {
        opt.device = (uint32_t)md->slots[MODEL_DEVICE].i64;
        if (opt.provider == QN_PROVIDER_CPU && !md->slots[MODEL_PROVIDER].is_broken)
            QN_REPORT(&b->bind, MISSING, md->slots[MODEL_DEVICE].key, "provider: auto, or cuda",
                      "'device' is a CUDA device, and the model runs on the CPU");
    }
    if (md->slots[MODEL_OUTPUT].is_set) {
        const struct qn_str name = md->slots[MODEL_OUTPUT].value->text;

        opt.output = qn_arena_strdup(b->bind.arena, name.p, name.len);
        if (opt.output == NULL)
            return qn_no_memory(b->err);
    }
    md->m->file = qn_shown(file);
    md->m->path = path_of(b, file->text);
    if (md->m->path == NULL)
        return qn_no_memory(b->err);
    rc = qn_model_load(b->opt->files, md->m->path, &opt, &md->m->model, &err);
    if (rc == QN_NOMEM)
        return qn_no_memory(b->err);
    if (rc == QN_OK) {
        md->info = qn_model_info(md->m->model);
        return QN_OK;
    }
    if (file->is_secret)
        QN_REPORT(&b->bind, MODEL, file, NULL, "the model file that stands here cannot be used: %s",
                  qn_status_text(rc));
    else if (rc == QN_NOT_FOUND)
        QN_REPORT(&b->bind, MODEL, file, "relative to the spec's folder",
                  "there is no model file '%s'", md->m->path);
    else
        QN_REPORT(&b->bind, MODEL, file, NULL, "the model '%s' cannot be used: %s", md->m->path,
                  err.text[0] != '\0' ? err.text : qn_status_text(rc));
    return QN_OK;
}

/* ---- which column feeds which input ---- */

/* Names that a library gives to columns without names: f0, f1; Column_0; feature_0; x0. */
static bool is_made_up(struct qn_str name, uint32_t index)
{
    static const char *const stems[] = {"f", "Column_", "feature_", "Feature_", "x", "X"};
    char text[40];

    for (size_t i = 0; i < sizeof(stems) / sizeof(stems[0]); i++) {
        for (uint32_t first = 0; first < 2; first++) {
            snprintf(text, sizeof(text), "%s%u", stems[i], index + first);
            if (qn_str_is(name, text))
                return true;
        }
    }
    return false;
}

static bool has_names(const struct qn_model_info *info)
{
    for (uint32_t i = 0; info->input_names != NULL && i < info->inputs; i++) {
        if (!is_made_up(info->input_names[i], i))
            return true;
    }
    return false;
}

/* Column `column` feeds input `input`; said at `at` where its type is none of a number. */
static void feed(struct model *md, uint32_t input, int32_t column, struct qn_str name,
                 const struct qn_yaml_node *at)
{
    const struct qn_builder *b = md->b;
    const struct qn_name *n = &b->names[column];
    char kind[24];

    md->inputs[input] = (struct qn_model_input){name, n->column, n->kind};
    if (b->names_broken[column])
        return;
    if (md->m->model != NULL && qn_model_reads_text(md->m->model, input)) {
        if (n->kind.type != QN_STRING)
            QN_REPORT(&md->b->bind, MODEL, at, NULL, "the model reads '%.*s' as text, found %s",
                      QN_STR_ARG(n->name), qn_kind_print(n->kind, kind));
        return;
    }
    if (is_number_kind(n->kind))
        return;
    if (n->kind.type == QN_STRING &&
        (md->m->model == NULL || qn_model_words(md->m->model, input, NULL) > 0))
        return; /* a category as text; without the model nobody can tell */
    QN_REPORT(
        &md->b->bind, MODEL, at,
        n->kind.type == QN_STRING ? "a feature can turn it into a number: is_de: country == 'DE'"
        : n->kind.type == QN_TIMESTAMP ? "a feature can: hour(t), weekday(t), seconds_between(a, b)"
                                       : NULL,
        "the model input '%.*s' is a %s: models take bool, int64, double and decimal",
        QN_STR_ARG(n->name), qn_kind_print(n->kind, kind));
}

/* Every listed name must be a field or feature; false when one is not (reported). */
static bool check_listed(struct model *md, const struct qn_yaml_node *list)
{
    struct qn_builder *b = md->b;
    const struct qn_str *known = NULL;
    bool is_good = true;

    for (uint32_t i = 0; i < list->count; i++) {
        const struct qn_yaml_node *n = list->items[i].value;

        if (find_name(b, n->text) >= 0)
            continue;
        is_good = false;
        if (b->main_broken || b->streams[b->plan->main_stream].is_broken)
            continue;
        if (known == NULL && (known = known_names(b)) == NULL)
            return false;
        qn_diag_unknown(b->bind.diags, n->at, "field or feature", qn_shown(n), known,
                        b->name_count);
    }
    return is_good;
}

static void match_by_order(struct model *md, const struct qn_yaml_node *list)
{
    for (uint32_t i = 0; i < list->count; i++) {
        const struct qn_yaml_node *n = list->items[i].value;

        feed(md, i, find_name(md->b, n->text),
             md->info->input_names != NULL ? md->info->input_names[i] : n->text, n);
        for (uint32_t k = 0; k < i; k++) {
            if (qn_str_eq(list->items[k].value->text, n->text)) {
                QN_REPORT(&md->b->bind, DUPLICATE, n, NULL, "the input '%.*s' stands here twice",
                          QN_STR_ARG(qn_shown(n)));
                break;
            }
        }
    }
}

/* "the model's inputs: a, b, ...", or NULL where it has no names. */
static const char *list_inputs(const struct qn_model_info *info, char hint[INPUTS_HINT_BYTES])
{
    size_t n = (size_t)snprintf(hint, INPUTS_HINT_BYTES, "the model's inputs:");

    if (info->input_names == NULL)
        return NULL;
    for (uint32_t i = 0; i < info->inputs; i++) {
        if (n + info->input_names[i].len + 2 > 100) {
            snprintf(hint + n, INPUTS_HINT_BYTES - n, ", ...");
            break;
        }
        n += (size_t)snprintf(hint + n, INPUTS_HINT_BYTES - n, "%s %.*s", i == 0 ? "" : ",",
                              QN_STR_ARG(info->input_names[i]));
    }
    return hint;
}

static int32_t find_input(const struct qn_model_info *info, struct qn_str name)
{
    for (uint32_t i = 0; i < info->inputs; i++) {
        if (qn_str_eq(info->input_names[i], name))
            return (int32_t)i;
    }
    return -1;
}

/* The list and the model's own names must be the same set; then the model's order counts. */
static void match_by_name(struct model *md, const struct qn_yaml_node *list)
{
    struct qn_builder *b = md->b;
    const struct qn_model_info *info = md->info;
    const struct qn_yaml_node **fed =
        QN_NEW_N(b->bind.arena, const struct qn_yaml_node *, info->inputs);
    const struct qn_yaml_node *moved = NULL;
    unsigned errors = b->bind.diags->errors;

    if (fed == NULL) {
        b->bind.no_memory = true;
        return;
    }
    for (uint32_t i = 0; i < list->count; i++) {
        const struct qn_yaml_node *n = list->items[i].value;
        int32_t at = find_input(info, n->text);

        if (at < 0) {
            int near = n->is_secret ? -1 : qn_nearest(n->text, info->input_names, info->inputs);
            char found[QN_SHOW_BYTES], hint[INPUTS_HINT_BYTES];

            if (near >= 0)
                QN_REPORT(&b->bind, MODEL, n, list_inputs(info, hint),
                          "the model has no input %s (did you mean '%.*s'?)", qn_show(n, found),
                          QN_STR_ARG(info->input_names[near]));
            else
                QN_REPORT(&b->bind, MODEL, n, list_inputs(info, hint), "the model has no input %s",
                          qn_show(n, found));
        } else if (fed[at] != NULL) {
            QN_REPORT(&b->bind, DUPLICATE, n, NULL, "the input '%.*s' stands here twice",
                      QN_STR_ARG(qn_shown(n)));
        } else {
            fed[at] = n;
            feed(md, (uint32_t)at, find_name(b, n->text), info->input_names[at], n);
            if ((uint32_t)at != i && moved == NULL)
                moved = n;
        }
    }
    for (uint32_t i = 0; i < info->inputs && b->bind.diags->errors == errors; i++) {
        if (fed[i] == NULL)
            QN_REPORT(&b->bind, MODEL, md->slots[MODEL_INPUTS].key, "add it to the list",
                      "nothing feeds the model's input '%.*s'", QN_STR_ARG(info->input_names[i]));
    }
    if (moved != NULL && b->bind.diags->errors == errors)
        qn_diag_warn(b->bind.diags, QN_DIAG_MODEL, moved->at,
                     "matched by name, so the answers are right; 'inputs' can be left out",
                     "the inputs stand in another order than in the model");
}

/* No list: the model's names are the fields and features. */
static void match_unlisted(struct model *md)
{
    struct qn_builder *b = md->b;
    const struct qn_model_info *info = md->info;
    const struct qn_yaml_node *file = md->slots[MODEL_FILE].value;
    const struct qn_str *known = NULL;

    for (uint32_t i = 0; i < info->inputs; i++) {
        struct qn_str name = info->input_names[i];
        int32_t column = find_name(b, name);
        int near;

        if (column >= 0) {
            feed(md, i, column, name, file);
            continue;
        }
        if (b->main_broken || b->streams[b->plan->main_stream].is_broken)
            return;
        if (known == NULL && (known = known_names(b)) == NULL)
            return;
        near = qn_nearest(name, known, b->name_count);
        if (near >= 0)
            QN_REPORT(&b->bind, MODEL, file, "a field or feature must have the input's name",
                      "nothing feeds the model's input '%.*s' (did you mean '%.*s'?)",
                      QN_STR_ARG(name), QN_STR_ARG(known[near]));
        else
            QN_REPORT(&b->bind, MODEL, file, "a field or feature must have the input's name",
                      "nothing feeds the model's input '%.*s'", QN_STR_ARG(name));
        return;
    }
}

static qn_status match(struct model *md)
{
    struct qn_builder *b = md->b;
    const struct qn_slot *list = &md->slots[MODEL_INPUTS];
    const struct qn_model_info *info = md->info;
    char hint[INPUTS_HINT_BYTES];

    if (list->is_broken || (list->is_set && !check_listed(md, list->value)))
        return QN_OK;
    if (info == NULL) {
        for (uint32_t i = 0; list->is_set && i < list->value->count;
             i++) { /* types can be checked all the same */
            struct qn_model_input one = {0};

            md->inputs = &one;
            feed(md, 0, find_name(b, list->value->items[i].value->text), one.name,
                 list->value->items[i].value);
        }
        return QN_OK;
    }
    md->inputs = QN_NEW_N(b->bind.arena, struct qn_model_input, info->inputs);
    if (md->inputs == NULL)
        return qn_no_memory(b->err);
    md->m->inputs = md->inputs;
    md->m->input_count = info->inputs;
    if (!list->is_set && info->input_names == NULL)
        QN_REPORT(&b->bind, MODEL, md->key,
                  "inputs: [field, feature, ...] in the order of training",
                  "the model file knows no names: list the %u inputs of '%.*s'", info->inputs,
                  QN_STR_ARG(md->key->text));
    else if (!list->is_set)
        match_unlisted(md);
    else if (list->value->count != info->inputs)
        QN_REPORT(&b->bind, MODEL, list->key, list_inputs(info, hint),
                  "the model takes %u inputs, found %u", info->inputs, list->value->count);
    else if (has_names(info))
        match_by_name(md, list->value);
    else
        match_by_order(md, list->value);
    return QN_OK;
}

/* ---- models that learn ---- */

static void report_no_file(const struct model *md)
{
    if (!md->slots[MODEL_HALF_SPACE].is_broken)
        QN_REPORT(&md->b->bind, MISSING, md->key,
                  "add 'file: ...': the model's file, relative to the spec; or 'half_space_trees: "
                  "{}': a model that learns from the stream",
                  "'%.*s' has no 'file'", QN_STR_ARG(qn_utf8_cut(md->key->text, 80)));
}

/* Without a file there is nothing that its keys could be about. */
static void check_alone(struct model *md)
{
    for (int k = 0; k <= MODEL_LAST; k++)
        if (k != MODEL_HALF_SPACE && k != MODEL_INPUTS && md->slots[k].key != NULL)
            QN_REPORT(&md->b->bind, TYPE, md->slots[k].key,
                      k == MODEL_TREES ? "half_space_trees: {trees: 25}" : "leave it out",
                      "'%.*s' is about a model file, and 'half_space_trees' needs none",
                      QN_STR_ARG(md->slots[k].key->text));
}

static qn_status build_learner(struct model *md)
{
    const struct qn_slot *inputs = &md->slots[MODEL_INPUTS];

    check_alone(md);
    md->m->file = (struct qn_str){"", 0};
    if (inputs->key == NULL) {
        QN_REPORT(&md->b->bind, MISSING, md->slots[MODEL_HALF_SPACE].key,
                  "inputs: [field, feature, ...]",
                  "'%.*s' has no 'inputs': nothing says what is to be compared",
                  QN_STR_ARG(qn_utf8_cut(md->key->text, 80)));
        return QN_OK;
    }
    if (inputs->is_set && !inputs->is_broken)
        QN_TRY(qn_build_half_space(md->b, md->slots, &md->m->model));
    if (md->m->model != NULL)
        md->info = qn_model_info(md->m->model);
    return match(md);
}

static qn_status build_model(struct qn_builder *b, const struct qn_yaml_item *item,
                             struct qn_plan_model *m)
{
    struct model md = {.b = b, .m = m, .key = item->key};

    m->name = item->key->text;
    qn_check_name(&b->bind, item->key, "a model", true, NULL);
    if (item->value->is_broken ||
        !qn_bind(&b->bind, item->key, item->value, &qn_keys_model, md.slots))
        return QN_OK;
    if (md.slots[MODEL_INPUTS].is_set && (md.slots[MODEL_INPUTS].value->count == 0 ||
                                          md.slots[MODEL_INPUTS].value->count > INPUTS_MAX)) {
        QN_REPORT(&b->bind, RANGE, md.slots[MODEL_INPUTS].value,
                  "leave 'inputs' out where the model knows their names",
                  "a model takes 1 to %d inputs, found %u", INPUTS_MAX,
                  md.slots[MODEL_INPUTS].value->count);
        md.slots[MODEL_INPUTS].is_broken = true;
    }
    if (md.slots[MODEL_HALF_SPACE].key != NULL)
        return build_learner(&md);
    if (md.slots[MODEL_FILE].is_set)
        QN_TRY(load(&md));
    else if (!md.slots[MODEL_FILE].is_broken)
        report_no_file(&md);
    return match(&md);
}

static void choose_score(struct qn_builder *b)
{
    const struct qn_slot *slot = &b->top[KEY_SCORE];
    struct qn_slot slots[SCORE_LAST + 1];
    struct qn_str known[MODELS_MAX];
    struct qn_plan *p = b->plan;

    p->score_model = -1;
    b->score_broken = slot->is_broken || b->top[KEY_MODELS].is_broken;
    if (!slot->is_set || slot->value->kind == QN_YAML_NULL)
        return;
    if (!qn_bind(&b->bind, slot->key, slot->value, &qn_keys_score, slots) ||
        !slots[SCORE_MODEL].is_set) {
        b->score_broken = true;
        return;
    }
    for (uint32_t i = 0; i < p->model_count; i++) {
        known[i] = p->models[i].name;
        if (qn_str_eq(known[i], slots[SCORE_MODEL].value->text))
            p->score_model = (int32_t)i;
    }
    if (p->score_model >= 0 || b->score_broken)
        return;
    b->score_broken = true;
    if (p->model_count > 0)
        qn_diag_unknown(b->bind.diags, slots[SCORE_MODEL].value->at, "model",
                        qn_shown(slots[SCORE_MODEL].value), known, p->model_count);
    else
        QN_REPORT(&b->bind, UNKNOWN_NAME, slots[SCORE_MODEL].value, "models: NAME: {file: ...}",
                  "the spec has no models");
}

/* A model that nothing uses is loaded for nothing, and most likely forgotten. */
static void warn_unused(struct qn_builder *b, const struct qn_yaml_node *models)
{
    for (uint32_t i = 0; i < b->plan->model_count && !b->score_broken; i++) {
        if ((int32_t)i != b->plan->score_model)
            qn_diag_warn(b->bind.diags, QN_DIAG_MODEL, models->items[i].key->at,
                         b->plan->score_model < 0 ? "add 'score: {model: ...}'" : NULL,
                         "nothing scores with the model '%.*s'",
                         QN_STR_ARG(b->plan->models[i].name));
    }
}

static void refuse_score_name(struct qn_builder *b)
{
    const struct qn_schema *s;
    int field;

    if (b->main_broken || b->models_declared == 0)
        return;
    s = &b->plan->schemas[b->plan->main_stream];
    field = qn_schema_find(s, qn_str_of("score"));
    if (field >= 0)
        QN_REPORT(&b->bind, DUPLICATE, b->streams[b->plan->main_stream].field_keys[field],
                  "such as: old_score: {type: ..., from: score}",
                  "'score' is the model's answer and cannot name a field");
}

qn_status qn_build_models(struct qn_builder *b)
{
    const struct qn_slot *slot = &b->top[KEY_MODELS];
    uint32_t count = slot->is_set && slot->value->kind == QN_YAML_MAP ? slot->value->count : 0;

    if (count > MODELS_MAX) {
        QN_REPORT(&b->bind, RANGE, slot->key, NULL, "a spec has at most %d models, found %u",
                  MODELS_MAX, count);
        count = MODELS_MAX;
    }
    b->plan->models = QN_NEW_N(b->bind.arena, struct qn_plan_model, count);
    if (b->plan->models == NULL)
        return qn_no_memory(b->err);
    b->plan->model_count = count;
    refuse_score_name(b);
    for (uint32_t i = 0; i < count; i++)
        QN_TRY(build_model(b, &slot->value->items[i], &b->plan->models[i]));
    choose_score(b);
    if (count > 0)
        warn_unused(b, slot->value);
    return QN_OK;
}
