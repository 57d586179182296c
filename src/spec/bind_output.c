/* SPDX-License-Identifier: Apache-2.0
 * bind_output.c - outputs of a spec: which events leave, when, and with what on board.
 *
 * Part of binding (bind.c). `predictions` always exists and stands first, whatever the spec says.
 * `when` is compiled over fields, features and score. Thread: one. Memory: boot arena. */
#include "model/treeshap.h"
#include "spec/spec_int.h"

enum { OUTPUTS_MAX = 64, COLUMNS_MAX = 4096 };

struct scope {
    struct qn_scope scope;
    bool has_score; /* `score` is the answer, not a field of that name */
};

static qn_status make_scope(struct qn_builder *b, struct scope *sc)
{
    struct qn_name *names = QN_NEW_N(b->bind.arena, struct qn_name, b->name_count + 1);

    if (names == NULL)
        return qn_no_memory(b->err);
    sc->has_score = true;
    for (uint32_t i = 0; i < b->name_count; i++) {
        names[i] = b->names[i];
        sc->has_score &= !qn_str_is(names[i].name, "score");
    }
    names[b->name_count] =
        (struct qn_name){qn_str_of("score"), {QN_DOUBLE, 0}, b->plan->score_column};
    sc->scope =
        (struct qn_scope){names, b->name_count + (sc->has_score ? 1 : 0), "field or feature"};
    return QN_OK;
}

static bool needs_broken(const struct qn_builder *b, struct qn_str text)
{
    if (b->main_broken || b->streams[b->plan->main_stream].is_broken)
        return true;
    for (uint32_t i = 0; i < b->name_count; i++) {
        if (b->names_broken[i] && qn_mentions(text, b->names[i].name))
            return true;
    }
    return b->score_broken && qn_mentions(text, qn_str_of("score"));
}

/* True if the condition asks for the model's answer. */
static bool reads_score(const struct qn_builder *b, const struct scope *sc, const struct qn_expr *e)
{
    uint32_t columns[COLUMNS_MAX], n;

    if (!sc->has_score)
        return false;
    n = qn_expr_columns(e, columns, COLUMNS_MAX);
    for (uint32_t i = 0; i < n && i < COLUMNS_MAX; i++) {
        if (columns[i] == b->plan->score_column)
            return true;
    }
    return false;
}

/* An answer nobody gives, or one of several. */
static void check_score(struct qn_builder *b, const struct qn_yaml_node *n)
{
    const struct qn_model *model;

    if (b->plan->score_model < 0) {
        QN_REPORT(&b->bind, UNKNOWN_NAME, n, "add a model and 'score: {model: ...}'",
                  "'when' needs a score, and this spec scores nothing");
        return;
    }
    model = b->plan->models[b->plan->score_model].model;
    if (model != NULL && qn_model_info(model)->outputs > 1)
        qn_diag_warn(b->bind.diags, QN_DIAG_MODEL, n->at, "the record holds all of them",
                     "the model gives %u values for an event, and 'score' is the first of them",
                     qn_model_info(model)->outputs);
}

static void read_when(struct qn_builder *b, const struct qn_slot *slot, const struct scope *sc,
                      struct qn_plan_output *o)
{
    struct qn_diags found = {.arena = b->bind.arena};
    struct qn_spec_sentence sentence = {slot->key, slot->value, false};
    const struct qn_yaml_node *n = slot->value;
    struct qn_expr *e;
    char kind[24];

    sentence.is_silent = needs_broken(b, n->text);
    e = qn_expr_parse(n->text, (struct qn_pos){2, 1, n->text.len}, &sc->scope, b->bind.arena,
                      &found);
    qn_move_diags(&b->bind, &found, &sentence, 1);
    if (e == NULL || sentence.is_silent)
        return;
    if (qn_expr_kind(e).type != QN_BOOL)
        QN_REPORT(&b->bind, TYPE, n, "such as: score > 0.9",
                  "'when' must be a condition, and this is a %s",
                  qn_kind_print(qn_expr_kind(e), kind));
    else if (reads_score(b, sc, e))
        check_score(b, n);
    o->when = e;
    o->when_text = qn_shown(n);
}

static uint64_t main_alone(const struct qn_builder *b)
{
    return UINT64_C(1) << b->plan->main_stream;
}

/* The streams that the output takes. */
static void read_from(struct qn_builder *b, const struct qn_slot *slot, struct qn_plan_output *o)
{
    const struct qn_yaml_node *list = slot->value;
    const uint32_t count = list->kind == QN_YAML_LIST ? list->count : 1;
    struct qn_str known[QN_STREAMS_MAX];

    for (uint32_t s = 0; s < b->plan->schema_count; s++)
        known[s] = b->plan->schemas[s].name;
    if (count == 0)
        QN_REPORT(&b->bind, RANGE, list, NULL, "'from' names one stream or more");
    o->from = 0;
    for (uint32_t i = 0; i < count; i++) {
        const struct qn_yaml_node *n = list->kind == QN_YAML_LIST ? list->items[i].value : list;
        uint32_t s = 0;

        while (s < b->plan->schema_count && !qn_str_eq(known[s], n->text))
            s++;
        if (s < b->plan->schema_count)
            o->from |= UINT64_C(1) << s;
        else if (!n->is_broken)
            qn_diag_unknown(b->bind.diags, n->at, "stream", qn_shown(n), known,
                            b->plan->schema_count);
    }
}

/* Only events of the main stream have features and an answer. */
static void check_from(struct qn_builder *b, const struct qn_slot *slots,
                       const struct qn_plan_output *o)
{
    const struct qn_yaml_node *at = slots[OUTPUT_FROM].value;

    if (o->is_predictions)
        QN_REPORT(&b->bind, TYPE, at, "name another output: archive: {from: [STREAM]}",
                  "'predictions' holds those of the main stream");
    else if (slots[OUTPUT_WHEN].is_set)
        QN_REPORT(&b->bind, TYPE, slots[OUTPUT_WHEN].value, "leave it out, or make two outputs",
                  "'when' asks about the main stream, and this output takes others");
    else if (o->include & ~(uint32_t)QN_INCLUDE_EVENT)
        QN_REPORT(&b->bind, TYPE, slots[OUTPUT_INCLUDE].value, "write include: event",
                  "only the main stream has features and an answer, and this output takes others");
}

/* Contributions need a model, and one that can tell them. */
static void check_include(struct qn_builder *b, const struct qn_yaml_node *n, uint32_t include)
{
    const struct qn_model *model;
    const char *obstacle;

    if (!(include & QN_INCLUDE_CONTRIBUTIONS) || b->score_broken)
        return;
    if (b->plan->score_model < 0) {
        QN_REPORT(&b->bind, UNKNOWN_NAME, n, "add a model and 'score: {model: ...}'",
                  "contributions explain a score, and this spec scores nothing");
        return;
    }
    model = b->plan->models[b->plan->score_model].model;
    obstacle = model != NULL ? qn_model_explain_obstacle(model) : NULL;
    if (obstacle != NULL)
        QN_REPORT(&b->bind, MODEL, n, "leave 'contributions' out",
                  "the model '%.*s' cannot tell contributions: %s",
                  QN_STR_ARG(b->plan->models[b->plan->score_model].name), obstacle);
}

static qn_status build_output(struct qn_builder *b, const struct qn_yaml_item *item,
                              const struct scope *sc, struct qn_plan_output *o)
{
    struct qn_slot slots[OUTPUT_LAST + 1];

    o->name = item->key->text;
    o->from = main_alone(b);
    qn_check_name(&b->bind, item->key, "an output", true, NULL);
    if (item->value->kind == QN_YAML_NULL ||
        item->value->is_broken) /* NAME: and nothing else: all defaults */
        return QN_OK;
    if (!qn_bind(&b->bind, item->key, item->value, &qn_keys_output, slots))
        return QN_OK;
    if (slots[OUTPUT_WHEN].is_set)
        read_when(b, &slots[OUTPUT_WHEN], sc, o);
    if (slots[OUTPUT_INCLUDE].is_set) {
        o->include = (uint32_t)slots[OUTPUT_INCLUDE].i64;
        check_include(b, slots[OUTPUT_INCLUDE].value, o->include);
    }
    if (slots[OUTPUT_FROM].is_set)
        read_from(b, &slots[OUTPUT_FROM], o);
    if (slots[OUTPUT_FROM].is_set && o->from != main_alone(b))
        check_from(b, slots, o);
    if (slots[OUTPUT_TO].is_set)
        return qn_build_sinks(b, &qn_keys_output.keys[OUTPUT_TO], &slots[OUTPUT_TO], o);
    return QN_OK;
}

_Static_assert(QN_INCLUDE_FEATURES == 1 && QN_INCLUDE_EVENT == 2 && QN_INCLUDE_MARGIN == 4 &&
                   QN_INCLUDE_CONTRIBUTIONS == 8,
               "choices of 'include' are the bits of enum qn_include");

qn_status qn_build_outputs(struct qn_builder *b)
{
    const struct qn_slot *slot = &b->top[KEY_OUTPUTS];
    uint32_t count = slot->is_set && slot->value->kind == QN_YAML_MAP ? slot->value->count : 0,
             used = 1;
    struct qn_plan_output *outputs;
    struct scope sc;

    if (count > OUTPUTS_MAX) {
        QN_REPORT(&b->bind, RANGE, slot->key, NULL, "a spec has at most %d outputs, found %u",
                  OUTPUTS_MAX, count);
        count = OUTPUTS_MAX;
    }
    outputs = QN_NEW_N(b->bind.arena, struct qn_plan_output, count + 1);
    if (outputs == NULL)
        return qn_no_memory(b->err);
    QN_TRY(make_scope(b, &sc));
    outputs[0] = (struct qn_plan_output){
        .name = qn_str_of("predictions"), .from = main_alone(b), .is_predictions = true};
    for (uint32_t i = 0; i < count; i++) {
        bool is_predictions = qn_str_is(slot->value->items[i].key->text, "predictions");

        QN_TRY(build_output(b, &slot->value->items[i], &sc, &outputs[is_predictions ? 0 : used]));
        used += is_predictions ? 0 : 1;
    }
    b->plan->outputs = outputs;
    b->plan->output_count = used;
    return QN_OK;
}
