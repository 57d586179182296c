/* SPDX-License-Identifier: Apache-2.0
 * bind_half_space.c - `half_space_trees:` of a model: the options, and what its inputs mean.
 *
 * Part of binding (bind.c), behind fields and features. The version of such a model is a hash of
 * its options and of all that its inputs are made from, since what was learnt under another meaning
 * of an input is worth nothing. Thread: one. Memory: boot arena; the model owns itself. */
#include "base/hash.h"
#include "model/half_space.h"
#include "spec/spec_int.h"

#include <math.h>

struct trees {
    struct qn_builder *b;
    const struct qn_yaml_node *inputs; /* the list */
    struct qn_half_space_options opt;
    struct qn_str *names;
    double *low, *high;
};

/* ---- ranges ---- */

static int32_t find_input(const struct trees *t, struct qn_str name)
{
    for (uint32_t i = 0; i < t->opt.inputs; i++)
        if (qn_str_eq(t->names[i], name))
            return (int32_t)i;
    return -1;
}

/* [low, high] of one input; false: reported. */
static bool read_range(struct trees *t, const struct qn_yaml_item *item, double *low, double *high)
{
    const struct qn_yaml_node *v = item->value;
    const bool is_pair = v->kind == QN_YAML_LIST && v->count == 2;
    char found[QN_SHOW_BYTES];

    if (v->is_broken || (is_pair && (v->items[0].value->is_broken || v->items[1].value->is_broken)))
        return false;
    if (!is_pair || !qn_yaml_double(v->items[0].value, low) ||
        !qn_yaml_double(v->items[1].value, high)) {
        QN_REPORT(&t->b->bind, TYPE, v->kind == QN_YAML_NULL ? item->key : v,
                  "such as: amount: [0, 500]", "a range is a list of two numbers, found %s",
                  is_pair ? "another list" : qn_describe(v, found));
        return false;
    }
    if (v->items[0].value->is_secret || v->items[1].value->is_secret) {
        QN_REPORT(&t->b->bind, TYPE, v, NULL, "a range is shown in plans and cannot be a secret");
        return false;
    }
    if (isfinite(*low) && isfinite(*high) && *low < *high && isfinite(*high - *low))
        return true;
    QN_REPORT(&t->b->bind, RANGE, v, "the least usual value, then the greatest",
              "the range of '%.*s' does not go from a number to a greater one",
              QN_STR_ARG(item->key->text));
    return false;
}

/* False: reported. */
static bool read_ranges(struct trees *t, const struct qn_slot *slot)
{
    bool is_good = !slot->is_broken;

    if (!slot->is_set || slot->value->kind != QN_YAML_MAP)
        return is_good;
    for (uint32_t k = 0; k < slot->value->count; k++) {
        const struct qn_yaml_item *item = &slot->value->items[k];
        const int32_t input = find_input(t, item->key->text);
        double low, high;

        if (input < 0) {
            qn_diag_unknown(t->b->bind.diags, item->key->at, "input", item->key->text, t->names,
                            t->opt.inputs);
            is_good = false;
        } else if (!read_range(t, item, &low, &high)) {
            is_good = false;
        } else {
            t->low[input] = low;
            t->high[input] = high;
        }
    }
    return is_good;
}

/* ---- what the inputs mean ---- */

static int32_t find_column(const struct qn_builder *b, struct qn_str name)
{
    for (uint32_t i = 0; i < b->name_count; i++)
        if (qn_str_eq(b->names[i].name, name))
            return (int32_t)i;
    return -1;
}

/* Marks features that a marked one names. True where there was one more. */
static bool mark_more(const struct qn_builder *b, uint8_t *marked)
{
    const struct qn_plan *p = b->plan;
    bool more = false;

    for (uint32_t i = 0; i < p->feature_count; i++)
        for (uint32_t k = 0; marked[i] && k < p->feature_count; k++)
            if (!marked[k] &&
                qn_mentions(b->feature_values[i]->text, b->names[p->field_count + k].name)) {
                marked[k] = 1;
                more = true;
            }
    return more;
}

/* Inputs by name, and the sentences of all features behind them. */
static qn_status set_meaning(struct trees *t)
{
    const struct qn_builder *b = t->b;
    const struct qn_plan *p = b->plan;
    uint8_t *marked = QN_NEW_N(b->bind.arena, uint8_t, p->feature_count + 1);

    if (marked == NULL)
        return qn_no_memory(b->err);
    for (uint32_t i = 0; i < t->opt.inputs; i++) {
        const int32_t column = find_column(b, t->names[i]);

        if (column >= 0 && (uint32_t)column >= p->field_count)
            marked[(uint32_t)column - p->field_count] = 1;
    }
    while (mark_more(b, marked))
        ;
    for (uint32_t i = 0; i < p->feature_count; i++) {
        const struct qn_str text = b->feature_values[i]->text;
        const struct qn_str name = b->names[p->field_count + i].name;

        if (!marked[i])
            continue;
        t->opt.meaning = qn_hash(name.p, name.len, t->opt.meaning);
        t->opt.meaning = qn_hash(text.p, text.len, t->opt.meaning);
    }
    return QN_OK;
}

/* ---- all of it ---- */

static uint32_t count_of(const struct qn_slot *slot, uint32_t otherwise)
{
    return slot->is_set ? (uint32_t)slot->i64 : otherwise;
}

static qn_status start(struct trees *t)
{
    struct qn_arena *arena = t->b->bind.arena;

    t->opt.inputs = t->inputs->count;
    t->names = QN_NEW_N(arena, struct qn_str, t->opt.inputs);
    t->low = QN_NEW_N(arena, double, t->opt.inputs);
    t->high = QN_NEW_N(arena, double, t->opt.inputs);
    if (t->names == NULL || t->low == NULL || t->high == NULL)
        return qn_no_memory(t->b->err);
    for (uint32_t i = 0; i < t->opt.inputs; i++) {
        t->names[i] = t->inputs->items[i].value->text;
        t->low[i] = t->high[i] = (double)NAN;
    }
    t->opt.names = t->names;
    t->opt.low = t->low;
    t->opt.high = t->high;
    return QN_OK;
}

qn_status qn_build_half_space(struct qn_builder *b, const struct qn_slot *slots,
                              struct qn_model **out)
{
    const struct qn_slot *half = &slots[MODEL_HALF_SPACE];
    struct qn_slot s[HALF_SPACE_LAST + 1] = {0};
    struct trees t = {.b = b, .inputs = slots[MODEL_INPUTS].value};
    const unsigned errors = b->bind.diags->errors;

    *out = NULL;
    if (!half->is_set)
        return QN_OK;
    QN_TRY(start(&t));
    if (half->value->kind == QN_YAML_MAP)
        (void)qn_bind(&b->bind, half->key, half->value, &qn_keys_half_space, s);
    (void)read_ranges(&t, &s[HALF_SPACE_RANGES]);
    if (b->bind.diags->errors > errors)
        return QN_OK;
    QN_TRY(set_meaning(&t));
    t.opt.trees = count_of(&s[HALF_SPACE_TREES], QN_HALF_SPACE_TREES);
    t.opt.depth = count_of(&s[HALF_SPACE_DEPTH], QN_HALF_SPACE_DEPTH);
    t.opt.window = count_of(&s[HALF_SPACE_WINDOW], QN_HALF_SPACE_WINDOW);
    t.opt.seed = s[HALF_SPACE_SEED].is_set ? (uint64_t)s[HALF_SPACE_SEED].i64 : 1;
    return qn_model_half_space_new(&t.opt, out, b->err);
}
