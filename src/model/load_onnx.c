/* SPDX-License-Identifier: Apache-2.0
 * load_onnx.c - ONNX models that are one tree ensemble (TreeEnsembleRegressor,
 * TreeEnsembleClassifier of ai.onnx.ml 1 to 3; TreeEnsemble of version 5), read from the protobuf
 * and run by our kernels.
 *
 * A reader of our own for the few messages needed; nothing is decoded but what a tree ensemble has.
 * Around the operator Cast and Identity may stand, behind it ZipMap; every other graph goes to the
 * reader of linear models (load_onnx_linear.c) and then to ONNX Runtime (load_onnxruntime.c). Sums
 * in tree order, base values last: as trees of one leaf; in float32, or in double where the
 * operator reads doubles (attributes *_as_tensor). TreeEnsemble has other lists: its trees are
 * written into the lists of the older operators. Thread: the loader's. Memory: growing arrays, a
 * few times the bytes of the file. */
#include "model/onnx.h"
#include "model/onnxruntime.h"
#include "model/protobuf.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

struct numbers {
    double *v;
    size_t count, cap;
};

struct ints {
    int64_t *v;
    size_t count, cap;
};

enum int_list {
    TREE_IDS,
    NODE_IDS,
    FEATURES,
    TRUE_IDS,
    FALSE_IDS,
    MISSING_TRUE,
    LEAF_TREES,
    LEAF_NODES,
    LEAF_OUTPUTS,
    LABELS,
    SETS,        /* number of a node's set of categories, for EQ, NEQ and MEMBER */
    TRUE_LEAFS,  /* TreeEnsemble: 1 where the id is that of a leaf                */
    FALSE_LEAFS, /* TreeEnsemble                                                  */
    ROOTS,       /* TreeEnsemble                                                  */
    INT_LISTS
};
enum float_list { THRESHOLDS, LEAF_WEIGHTS, BASES, MEMBERS, FLOAT_LISTS };
/* The first seven as TreeEnsemble numbers them. */
enum mode { LEQ, LT, GTE, GT, EQ, NEQ, MEMBER, LEAF, MODES };
enum tensor_type { FLOAT = 1, UINT8 = 2, DOUBLE = 11 };

/* Node and leaf entries by (tree, node), sorted; `at` is the place in the file's lists. */
struct entry {
    int64_t tree, node, output;
    size_t at;
};

struct onnx {
    struct qn_err *err;
    struct qn_model *m;
    const uint8_t *start;
    struct qn_part op, graph_input, cast_in, cast_out;
    struct qn_part scores; /* the tensor that the operator answers in */
    bool casts_scores;     /* a Cast to float32 reads it */
    bool has_op, is_classifier, is_v5, is_double, has_cast, casts_to_float;
    bool has_type[DOUBLE + 1];                  /* types of the tensors among the attributes */
    uint64_t graph_inputs, input_type, columns; /* columns: 0 = the file does not say */
    struct ints ints[INT_LISTS];
    struct numbers floats[FLOAT_LISTS];
    struct ints modes;
    size_t label_texts;
    uint64_t targets;
    struct qn_part transform, aggregate;
    uint64_t transform_number, aggregate_number; /* TreeEnsemble; left out: 0 NONE, 1 SUM */
    bool averages;
    struct entry *nodes, *leaves;
    struct qn_raw_node *raw;
    size_t raw_cap, budget;
    bool has_weight[QN_MODEL_OUTPUTS_MAX]; /* of the tree being added, per output */
};

static qn_status bad(struct onnx *o, const char *text)
{
    return qn_err_set(o->err, QN_CORRUPT, "ONNX: %s", text);
}

static qn_status no_memory(struct onnx *o)
{
    return qn_err_set(o->err, QN_NOMEM, "out of memory");
}

/* Nothing for our kernels: ONNX Runtime gets the model, and this reason stands beside it. */
static qn_status unavailable(struct onnx *o, struct qn_part name, const char *what)
{
    size_t len = (size_t)(name.end - name.p);

    if (len == 0)
        return qn_err_set(o->err, QN_UNSUPPORTED, "%s", what);
    return qn_err_set(o->err, QN_UNSUPPORTED, "%s '%.*s'", what, (int)(len > 60 ? 60 : len),
                      (const char *)name.p);
}

static bool is(struct qn_part a, const char *text)
{
    return qn_part_is(a, text);
}

static qn_status next(struct onnx *o, struct qn_part *in, struct qn_protobuf_field *f, bool *more)
{
    return qn_protobuf_next(in, f, more, o->err);
}

/* ---- lists ---- */

static void free_lists(struct onnx *o)
{
    for (unsigned i = 0; i < INT_LISTS; i++)
        qn_mem_free(o->ints[i].v);
    for (unsigned i = 0; i < FLOAT_LISTS; i++)
        qn_mem_free(o->floats[i].v);
    qn_mem_free(o->modes.v);
}

static qn_status push_int(struct onnx *o, struct ints *list, uint64_t v)
{
    if (!qn_model_grow(&list->v, &list->cap, list->count + 1, sizeof(*list->v)))
        return no_memory(o);
    memcpy(&list->v[list->count++], &v, sizeof(v));
    return QN_OK;
}

static qn_status push_number(struct onnx *o, struct numbers *list, double v)
{
    if (!qn_model_grow(&list->v, &list->cap, list->count + 1, sizeof(*list->v)))
        return no_memory(o);
    list->v[list->count++] = v;
    return QN_OK;
}

static qn_status push_float(struct onnx *o, struct numbers *list, uint32_t bits)
{
    float v;

    memcpy(&v, &bits, sizeof(v));
    return push_number(o, list, (double)v);
}

/* Numbers of a list, packed or one by one. */
static qn_status add_ints(struct onnx *o, struct qn_protobuf_field *f, struct ints *list)
{
    uint64_t v;

    if (f->type == 0)
        return push_int(o, list, f->value);
    while (f->type == 2 && f->piece.p < f->piece.end) {
        if (!qn_protobuf_varint(&f->piece, &v))
            return bad(o, "a list of numbers is cut off");
        QN_TRY(push_int(o, list, v));
    }
    return QN_OK;
}

static qn_status add_floats(struct onnx *o, struct qn_protobuf_field *f, struct numbers *list)
{
    if (f->type == 5)
        return push_float(o, list, (uint32_t)f->value);
    if (f->type != 2 || (f->piece.end - f->piece.p) % 4 != 0)
        return bad(o, "a list of numbers is cut off");
    for (; f->piece.p < f->piece.end; f->piece.p += 4)
        QN_TRY(push_float(o, list, qn_protobuf_little32(f->piece.p)));
    return QN_OK;
}

static qn_status add_doubles(struct onnx *o, struct qn_protobuf_field *f, struct numbers *list)
{
    if ((f->type != 1 && f->type != 2) || (f->piece.end - f->piece.p) % 8 != 0)
        return bad(o, "a list of numbers is cut off");
    for (; f->piece.p < f->piece.end; f->piece.p += 8) {
        const uint64_t bits =
            qn_protobuf_little32(f->piece.p) | (uint64_t)qn_protobuf_little32(f->piece.p + 4) << 32;
        double v;

        memcpy(&v, &bits, sizeof(v));
        QN_TRY(push_number(o, list, v));
    }
    return QN_OK;
}

/* A tensor's numbers: float or double into `list`, bytes into `bytes`; either may be NULL. */
static qn_status add_tensor(struct onnx *o, struct qn_part in, struct qn_part name,
                            struct numbers *list, struct ints *bytes)
{
    struct qn_part rest = in;
    struct qn_protobuf_field f;
    uint64_t type = 0;
    bool more;

    for (;;) {
        QN_TRY(next(o, &rest, &f, &more));
        if (!more)
            break;
        if (f.number == 2 && f.type == 0)
            type = f.value;
        else if (f.number == 13 || (f.number == 14 && f.value != 0))
            return unavailable(o, name, "in another file: attribute");
    }
    if (!(list != NULL && (type == FLOAT || type == DOUBLE)) && !(bytes != NULL && type == UINT8))
        return unavailable(o, name, "type of attribute");
    o->has_type[type] = true;
    for (;;) {
        QN_TRY(next(o, &in, &f, &more));
        if (!more)
            return QN_OK;
        if (type == UINT8 && f.number == 9 && f.type == 2) {
            for (; f.piece.p < f.piece.end; f.piece.p++)
                QN_TRY(push_int(o, bytes, *f.piece.p));
        } else if (type == UINT8 && f.number == 5) {
            QN_TRY(add_ints(o, &f, bytes));
        } else if (type == FLOAT && (f.number == 4 || f.number == 9)) {
            QN_TRY(add_floats(o, &f, list));
        } else if (type == DOUBLE && (f.number == 10 || f.number == 9)) {
            QN_TRY(add_doubles(o, &f, list));
        }
    }
}

/* ---- the operator's attributes ---- */

static const struct int_attribute {
    const char *name;
    enum int_list list;
} INT_ATTRIBUTES[] = {
    {"nodes_treeids", TREE_IDS},       {"nodes_nodeids", NODE_IDS},
    {"nodes_featureids", FEATURES},    {"nodes_truenodeids", TRUE_IDS},
    {"nodes_falsenodeids", FALSE_IDS}, {"nodes_missing_value_tracks_true", MISSING_TRUE},
    {"target_treeids", LEAF_TREES},    {"target_nodeids", LEAF_NODES},
    {"target_ids", LEAF_OUTPUTS},      {"class_treeids", LEAF_TREES},
    {"class_nodeids", LEAF_NODES},     {"class_ids", LEAF_OUTPUTS},
    {"classlabels_int64s", LABELS},    {"nodes_trueleafs", TRUE_LEAFS},
    {"nodes_falseleafs", FALSE_LEAFS}, {"tree_roots", ROOTS},
    {"leaf_targetids", LEAF_OUTPUTS},
};

static const struct float_attribute {
    const char *name;
    enum float_list list;
} FLOAT_ATTRIBUTES[] = {
    {"nodes_values", THRESHOLDS},
    {"target_weights", LEAF_WEIGHTS},
    {"class_weights", LEAF_WEIGHTS},
    {"base_values", BASES},
};

/* Those of TreeEnsemble, and those of version 3 that are double. */
static const struct float_attribute TENSOR_ATTRIBUTES[] = {
    {"nodes_splits", THRESHOLDS},
    {"nodes_values_as_tensor", THRESHOLDS},
    {"leaf_weights", LEAF_WEIGHTS},
    {"target_weights_as_tensor", LEAF_WEIGHTS},
    {"class_weights_as_tensor", LEAF_WEIGHTS},
    {"base_values_as_tensor", BASES},
    {"membership_values", MEMBERS},
};

static qn_status add_mode(struct onnx *o, struct qn_part text)
{
    static const char *const names[MODES] = {"BRANCH_LEQ", "BRANCH_LT",  "BRANCH_GTE", "BRANCH_GT",
                                             "BRANCH_EQ",  "BRANCH_NEQ", NULL,         "LEAF"};

    for (unsigned i = 0; i < MODES; i++) {
        if (names[i] != NULL && is(text, names[i]))
            return push_int(o, &o->modes, i);
    }
    return unavailable(o, text, "node mode");
}

static qn_status read_attribute(struct onnx *o, struct qn_part in)
{
    struct qn_part name = {NULL, NULL}, whole = in;
    struct ints *ints = NULL;
    struct numbers *floats = NULL, *tensor = NULL;
    struct qn_protobuf_field f;
    bool more, is_ignored, is_mode, is_label;

    for (;;) { /* the name need not stand first */
        QN_TRY(next(o, &in, &f, &more));
        if (!more)
            break;
        if (f.number == 1 && f.type == 2)
            name = f.piece;
    }
    for (unsigned i = 0; i < sizeof(INT_ATTRIBUTES) / sizeof(INT_ATTRIBUTES[0]); i++) {
        if (is(name, INT_ATTRIBUTES[i].name))
            ints = &o->ints[INT_ATTRIBUTES[i].list];
    }
    for (unsigned i = 0; i < sizeof(FLOAT_ATTRIBUTES) / sizeof(FLOAT_ATTRIBUTES[0]); i++) {
        if (is(name, FLOAT_ATTRIBUTES[i].name))
            floats = &o->floats[FLOAT_ATTRIBUTES[i].list];
    }
    for (unsigned i = 0; i < sizeof(TENSOR_ATTRIBUTES) / sizeof(TENSOR_ATTRIBUTES[0]); i++) {
        if (is(name, TENSOR_ATTRIBUTES[i].name))
            tensor = &o->floats[TENSOR_ATTRIBUTES[i].list];
    }
    is_mode = is(name, "nodes_modes");
    is_label = is(name, "classlabels_strings");
    is_ignored = is(name, "nodes_hitrates") || is(name, "nodes_hitrates_as_tensor");
    for (;;) {
        QN_TRY(next(o, &whole, &f, &more));
        if (!more)
            return QN_OK;
        if (f.number == 8 && ints != NULL)
            QN_TRY(add_ints(o, &f, ints));
        else if (f.number == 7 && floats != NULL)
            QN_TRY(add_floats(o, &f, floats));
        else if (f.number == 9 && f.type == 2 && is_mode)
            QN_TRY(add_mode(o, f.piece));
        else if (f.number == 9 && is_label)
            o->label_texts++;
        else if (f.number == 3 && f.type == 0 && is(name, "n_targets"))
            o->targets = f.value;
        else if (f.number == 4 && f.type == 2 && is(name, "post_transform"))
            o->transform = f.piece;
        else if (f.number == 4 && f.type == 2 && is(name, "aggregate_function"))
            o->aggregate = f.piece;
        else if (f.number == 3 && f.type == 0 && is(name, "post_transform"))
            o->transform_number = f.value;
        else if (f.number == 3 && f.type == 0 && is(name, "aggregate_function"))
            o->aggregate_number = f.value;
        else if (f.number == 5 && f.type == 2 && (tensor != NULL || is_mode))
            QN_TRY(add_tensor(o, f.piece, name, tensor, is_mode ? &o->modes : NULL));
        else if ((f.number == 5 && !is_ignored) || f.number == 10 || f.number == 6 ||
                 ((f.number == 7 || f.number == 8 || f.number == 9) && !is_ignored))
            return unavailable(o, name, "attribute");
    }
}

/* ---- the graph ---- */

/* Cast's `to`, or 0. */
static qn_status cast_type(struct onnx *o, struct qn_part in, uint64_t *to)
{
    struct qn_protobuf_field f;
    bool more;

    for (;;) {
        QN_TRY(next(o, &in, &f, &more));
        if (!more)
            return QN_OK;
        if (f.number == 3 && f.type == 0)
            *to = f.value;
    }
}

static qn_status read_operator(struct onnx *o, struct qn_part in)
{
    struct qn_protobuf_field f;
    bool more;

    for (;;) {
        QN_TRY(next(o, &in, &f, &more));
        if (!more)
            return QN_OK;
        if (f.number == 5 && f.type == 2)
            QN_TRY(read_attribute(o, f.piece));
        else if (f.number == 1 && f.type == 2)
            o->op = f.piece;
    }
}

static qn_status read_node(struct onnx *o, struct qn_part in)
{
    struct qn_part whole = in, op = {NULL, NULL}, from = {NULL, NULL}, to = {NULL, NULL};
    struct qn_protobuf_field f;
    uint64_t type = 0;
    bool more, is_cast;

    for (;;) {
        QN_TRY(next(o, &in, &f, &more));
        if (!more)
            break;
        if (f.number == 4 && f.type == 2)
            op = f.piece;
        else if (f.number == 1 && f.type == 2)
            from = f.piece;
        else if (f.number == 2 && f.type == 2)
            to = f.piece;
        else if (f.number == 5 && f.type == 2)
            QN_TRY(cast_type(o, f.piece, &type));
    }
    is_cast = is(op, "Cast");
    if (is(op, "TreeEnsembleRegressor") || is(op, "TreeEnsembleClassifier") ||
        is(op, "TreeEnsemble")) {
        if (o->has_op)
            return unavailable(o, op, "a second operator");
        o->has_op = true;
        o->is_classifier = is(op, "TreeEnsembleClassifier");
        o->is_v5 = is(op, "TreeEnsemble");
        o->scores = to; /* of a classifier the second output: the first are labels */
        return read_operator(o, whole);
    }
    if (!is_cast && !is(op, "Identity") && !is(op, "ZipMap"))
        return unavailable(o, op, "operator");
    if (!o->has_op) { /* nodes stand in the order in which they run */
        if (o->has_cast || is(op, "ZipMap"))
            return unavailable(o, op, "operator before the trees");
        o->has_cast = true;
        o->casts_to_float = is_cast && type == 1;
        o->cast_in = from;
        o->cast_out = to;
        if (is_cast && type != 1)
            return unavailable(o, op, "not to float32: operator");
    } else if (!is(op, "ZipMap") && qn_part_same(from, o->scores)) {
        if (is_cast && type != FLOAT && type != DOUBLE)
            return unavailable(o, op, "behind the trees and not to float32 or double: operator");
        o->casts_scores = o->casts_scores || (is_cast && type == FLOAT);
        o->scores = to;
    }
    return QN_OK;
}

static qn_status inside(struct onnx *o, struct qn_part in, uint32_t number, struct qn_part *out)
{
    return qn_protobuf_inside(in, number, out, o->err);
}

/* A tensor [rows, columns]: its type and the number of columns. */
static qn_status read_input(struct onnx *o, struct qn_part in)
{
    struct qn_part type, tensor, shape, dim;
    struct qn_protobuf_field f;
    bool more;

    o->graph_inputs++;
    QN_TRY(inside(o, in, 1, &o->graph_input));
    QN_TRY(inside(o, in, 2, &type));
    QN_TRY(inside(o, type, 1, &tensor));
    QN_TRY(inside(o, tensor, 2, &shape));
    QN_TRY(inside(o, shape, 1, &dim));
    for (;;) {
        QN_TRY(next(o, &tensor, &f, &more));
        if (!more)
            break;
        if (f.number == 1 && f.type == 0)
            o->input_type = f.value;
    }
    for (;;) {
        QN_TRY(next(o, &dim, &f, &more));
        if (!more)
            return QN_OK;
        if (f.number == 1 && f.type == 0)
            o->columns = f.value;
    }
}

static qn_status read_graph(struct onnx *o, struct qn_part in)
{
    struct qn_protobuf_field f;
    bool more;

    for (;;) {
        QN_TRY(next(o, &in, &f, &more));
        if (!more)
            return QN_OK;
        if (f.number == 1 && f.type == 2)
            QN_TRY(read_node(o, f.piece));
        else if (f.number == 11 && f.type == 2)
            QN_TRY(read_input(o, f.piece));
    }
}

/* The one input, directly or through one Cast or Identity, as float32. */
static qn_status check_graph(struct onnx *o)
{
    const struct qn_part none = {o->start, o->start};

    if (!o->has_op)
        return unavailable(o, none, "a graph without trees");
    if (o->graph_inputs != 1)
        return unavailable(o, none, "a graph that has not one input");
    if (!qn_part_same(o->op, o->has_cast ? o->cast_out : o->graph_input) ||
        (o->has_cast && !qn_part_same(o->cast_in, o->graph_input)))
        return unavailable(o, o->op, "a graph whose trees do not read the input but");
    o->is_double = o->input_type == DOUBLE && !o->casts_to_float;
    if (o->is_v5 && o->is_double && o->casts_scores)
        return unavailable(o, o->op, "a Cast to float32 behind the double TreeEnsemble that reads");
    if (o->input_type != FLOAT && o->input_type != DOUBLE)
        return unavailable(o, none, "an input that is no tensor of float32 or double");
    if (o->has_type[o->is_double ? FLOAT : DOUBLE] || (o->is_double && !o->has_type[DOUBLE]))
        return unavailable(o, none, "attributes of another type than the input");
    if (o->is_v5
            ? o->aggregate_number > 1
            : o->aggregate.p != NULL && !is(o->aggregate, "SUM") && !is(o->aggregate, "AVERAGE"))
        return unavailable(o, o->aggregate.p != NULL ? o->aggregate : o->op, "aggregate_function");
    if (o->is_v5 && o->transform_number != 0)
        return unavailable(o, o->op, "post_transform of");
    o->averages =
        o->is_v5 ? o->aggregate_number == 0 : o->aggregate.p != NULL && !is(o->aggregate, "SUM");
    return QN_OK;
}

/* ---- sets of categories ---- */

/* Whether our kernels can tell x == v by a set: they look at whole numbers. */
static bool is_category(double v)
{
    return v >= 0 && v < 16777216 && v == floor(v);
}

static qn_status add_set(struct onnx *o, const double *values, size_t count)
{
    uint32_t *members = qn_mem_zalloc(count + 1, sizeof(*members));
    uint32_t set = 0;
    qn_status rc = QN_OK;

    if (members == NULL)
        return no_memory(o);
    for (size_t i = 0; i < count && rc == QN_OK; i++) {
        if (is_category(values[i]))
            members[i] = (uint32_t)values[i];
        else
            rc = unavailable(o, (struct qn_part){o->start, o->start},
                             "a comparison for equality with what is no whole number from 0 on");
    }
    if (rc == QN_OK)
        rc = qn_model_forest_set(&o->m->forest, members, count, &set, o->err);
    qn_mem_free(members);
    return rc == QN_OK ? push_int(o, &o->ints[SETS], set) : rc;
}

/* The set of every node that compares for equality; NaN stands behind the members of each. */
static qn_status make_sets(struct onnx *o)
{
    const struct numbers *members = &o->floats[MEMBERS];
    size_t at = 0;

    if (o->floats[THRESHOLDS].count != o->modes.count)
        return bad(o, "the lists of nodes differ in length");
    o->m->forest.is_whole_only = true;
    for (size_t i = 0; i < o->modes.count; i++) {
        const size_t first = at;

        if (o->modes.v[i] == EQ || o->modes.v[i] == NEQ) {
            QN_TRY(add_set(o, &o->floats[THRESHOLDS].v[i], 1));
        } else if (o->modes.v[i] == MEMBER) {
            while (at < members->count && !isnan(members->v[at]))
                at++;
            if (at == first)
                return bad(o, "a node has no members");
            QN_TRY(add_set(o, members->v + first, at - first));
            at++;
        } else {
            QN_TRY(push_int(o, &o->ints[SETS], 0));
        }
    }
    return at < members->count ? bad(o, "there are more members than nodes for them") : QN_OK;
}

/* ---- TreeEnsemble ---- */

static qn_status check_v5(struct onnx *o)
{
    static const enum int_list parallel[] = {FEATURES, TRUE_IDS, FALSE_IDS, TRUE_LEAFS,
                                             FALSE_LEAFS};
    const size_t nodes = o->modes.count;

    for (unsigned i = 0; i < sizeof(parallel) / sizeof(parallel[0]); i++) {
        if (o->ints[parallel[i]].count != nodes)
            return bad(o, "the lists of nodes differ in length");
    }
    if (o->floats[THRESHOLDS].count != nodes || nodes == 0 || o->ints[ROOTS].count == 0 ||
        (o->ints[MISSING_TRUE].count != nodes && o->ints[MISSING_TRUE].count != 0))
        return bad(o, "the lists of nodes differ in length");
    if (o->floats[LEAF_WEIGHTS].count != o->ints[LEAF_OUTPUTS].count)
        return bad(o, "the lists of weights differ in length");
    for (size_t i = 0; i < nodes; i++) {
        if (o->modes.v[i] < 0 || o->modes.v[i] > MEMBER)
            return bad(o, "a node has an unknown mode");
    }
    return QN_OK;
}

/* Adds one entry to the lists of nodes: of a tree, with the next id. `from`: node or leaf of f. */
static qn_status copy_entry(struct onnx *o, const struct onnx *f, int64_t tree, int64_t id,
                            size_t from, bool is_leaf)
{
    const int64_t missing =
        !is_leaf && f->ints[MISSING_TRUE].count > 0 ? f->ints[MISSING_TRUE].v[from] : 0;

    QN_TRY(push_int(o, &o->ints[TREE_IDS], (uint64_t)tree));
    QN_TRY(push_int(o, &o->ints[NODE_IDS], (uint64_t)id));
    QN_TRY(push_int(o, &o->ints[FEATURES], is_leaf ? 0 : (uint64_t)f->ints[FEATURES].v[from]));
    QN_TRY(push_int(o, &o->ints[MISSING_TRUE], (uint64_t)missing));
    QN_TRY(push_int(o, &o->ints[SETS], is_leaf ? 0 : (uint64_t)f->ints[SETS].v[from]));
    QN_TRY(push_int(o, &o->modes, is_leaf ? LEAF : (uint64_t)f->modes.v[from]));
    QN_TRY(push_number(o, &o->floats[THRESHOLDS], is_leaf ? 0 : f->floats[THRESHOLDS].v[from]));
    QN_TRY(push_int(o, &o->ints[TRUE_IDS], 0));
    QN_TRY(push_int(o, &o->ints[FALSE_IDS], 0));
    if (!is_leaf)
        return QN_OK;
    QN_TRY(push_int(o, &o->ints[LEAF_TREES], (uint64_t)tree));
    QN_TRY(push_int(o, &o->ints[LEAF_NODES], (uint64_t)id));
    QN_TRY(push_int(o, &o->ints[LEAF_OUTPUTS], (uint64_t)f->ints[LEAF_OUTPUTS].v[from]));
    return push_number(o, &o->floats[LEAF_WEIGHTS], f->floats[LEAF_WEIGHTS].v[from]);
}

/* Writes the tree behind the others, breadth first; `seen` has a byte per node, `source` remembers
 * which node an entry came from. */
static qn_status flatten_tree(struct onnx *o, const struct onnx *f, size_t tree, uint8_t *seen,
                              struct ints *source)
{
    const size_t nodes = f->modes.count, leaves = f->ints[LEAF_OUTPUTS].count;
    const int64_t root = f->ints[ROOTS].v[tree];
    int64_t count = 0;

    source->count = 0;
    if (root < 0 || (uint64_t)root >= nodes || seen[root]++)
        return bad(o, "a root does not exist, or is reached twice");
    QN_TRY(copy_entry(o, f, (int64_t)tree, count++, (size_t)root, false));
    QN_TRY(push_int(o, source, (uint64_t)root));
    for (size_t head = 0; head < source->count; head++) {
        const int64_t from = source->v[head];
        const size_t at = o->ints[TREE_IDS].count - (size_t)count + head;

        for (unsigned side = 0; side < 2 && from >= 0; side++) {
            const int64_t child = f->ints[side == 0 ? TRUE_IDS : FALSE_IDS].v[from];
            const bool is_leaf = f->ints[side == 0 ? TRUE_LEAFS : FALSE_LEAFS].v[from] != 0;

            if (child < 0 || (uint64_t)child >= (is_leaf ? leaves : nodes))
                return bad(o, "a node has a child outside the tree");
            if (!is_leaf && seen[child]++)
                return bad(o, "a node has a child that is reached twice");
            o->ints[side == 0 ? TRUE_IDS : FALSE_IDS].v[at] = count;
            QN_TRY(copy_entry(o, f, (int64_t)tree, count++, (size_t)child, is_leaf));
            QN_TRY(push_int(o, source, is_leaf ? UINT64_MAX : (uint64_t)child));
        }
    }
    return QN_OK;
}

/* TreeEnsemble's lists become those of the older operators. */
static qn_status flatten(struct onnx *o)
{
    struct onnx from = *o;
    uint8_t *seen = qn_mem_zalloc(from.modes.count + 1, 1);
    struct ints source = {0};
    qn_status rc = seen != NULL ? QN_OK : no_memory(o);

    for (unsigned i = 0; i < INT_LISTS; i++)
        o->ints[i] = (struct ints){0};
    for (unsigned i = 0; i < FLOAT_LISTS; i++)
        o->floats[i] = (struct numbers){0};
    o->modes = (struct ints){0};
    for (size_t t = 0; t < from.ints[ROOTS].count && rc == QN_OK; t++)
        rc = flatten_tree(o, &from, t, seen, &source);
    qn_mem_free(seen);
    qn_mem_free(source.v);
    free_lists(&from);
    return rc;
}

/* ---- trees ---- */

static int compare_entry(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;

    if (x->tree != y->tree)
        return x->tree < y->tree ? -1 : 1;
    if (x->node != y->node)
        return x->node < y->node ? -1 : 1;
    return (x->output > y->output) - (x->output < y->output);
}

/* First entry that is not before (tree, node, output). */
static size_t find(const struct entry *e, size_t count, int64_t tree, int64_t node, int64_t output)
{
    const struct entry want = {.tree = tree, .node = node, .output = output};
    size_t low = 0, high = count;

    while (low < high) {
        size_t mid = low + (high - low) / 2;

        if (compare_entry(&e[mid], &want) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static qn_status sort_entries(struct onnx *o)
{
    const size_t nodes = o->ints[TREE_IDS].count, leaves = o->ints[LEAF_TREES].count;

    o->nodes = qn_mem_zalloc(nodes + 1, sizeof(*o->nodes));
    o->leaves = qn_mem_zalloc(leaves + 1, sizeof(*o->leaves));
    if (o->nodes == NULL || o->leaves == NULL)
        return no_memory(o);
    for (size_t i = 0; i < nodes; i++)
        o->nodes[i] = (struct entry){o->ints[TREE_IDS].v[i], o->ints[NODE_IDS].v[i], 0, i};
    for (size_t i = 0; i < leaves; i++)
        o->leaves[i] = (struct entry){o->ints[LEAF_TREES].v[i], o->ints[LEAF_NODES].v[i],
                                      o->ints[LEAF_OUTPUTS].v[i], i};
    qsort(o->nodes, nodes, sizeof(*o->nodes), compare_entry);
    qsort(o->leaves, leaves, sizeof(*o->leaves), compare_entry);
    for (size_t i = 1; i < nodes; i++) {
        if (compare_entry(&o->nodes[i - 1], &o->nodes[i]) == 0)
            return bad(o, "a node of a tree stands twice");
    }
    for (size_t i = 0; i < leaves; i++) {
        const size_t at = find(o->nodes, nodes, o->leaves[i].tree, o->leaves[i].node, 0);

        if (i > 0 && compare_entry(&o->leaves[i - 1], &o->leaves[i]) == 0)
            return bad(o, "a leaf has two weights for one output");
        if (at == nodes ||
            compare_entry(&o->nodes[at],
                          &(struct entry){o->leaves[i].tree, o->leaves[i].node, 0, 0}) != 0)
            return bad(o, "a weight belongs to no node");
        if (o->modes.v[o->nodes[at].at] != LEAF)
            return bad(o, "a weight belongs to a node that is no leaf");
        if (!isfinite(o->floats[LEAF_WEIGHTS].v[o->leaves[i].at]))
            return bad(o, "a weight is not finite");
    }
    return QN_OK;
}

/* Two classes with weights of both: ONNX Runtime answers with the negative of the first class's sum
 * in a row where no leaf has a weight of the second, and adds base values in a way of its own.
 * Ours is the same where in one tree every leaf has a weight of the second class, and there are no
 * base values. */
static qn_status check_two_classes(struct onnx *o)
{
    const size_t nodes = o->ints[TREE_IDS].count, leaves = o->ints[LEAF_TREES].count;
    size_t i = 0, k = 0;

    while (i < nodes) {
        const int64_t tree = o->nodes[i].tree;
        size_t missing = 0; /* leaves less weights of the second class */

        for (; i < nodes && o->nodes[i].tree == tree; i++)
            missing += o->modes.v[o->nodes[i].at] == LEAF;
        for (; k < leaves && o->leaves[k].tree == tree; k++)
            missing -= o->leaves[k].output == 1;
        if (missing == 0 && o->floats[BASES].count == 0)
            return QN_OK;
    }
    return unavailable(o, (struct qn_part){o->start, o->start},
                       "a classifier of two classes with base_values, or rows without a weight of "
                       "the second class");
}

/* Node `at` of the file's lists as element of a tree whose nodes begin at `first`. */
static qn_status build_node(struct onnx *o, size_t at, size_t first, size_t count, int64_t output,
                            struct qn_raw_node *out)
{
    const int64_t tree = o->ints[TREE_IDS].v[at], node = o->ints[NODE_IDS].v[at];
    const size_t leaves = o->ints[LEAF_TREES].count;
    const enum mode mode = (enum mode)o->modes.v[at];
    const double threshold = o->floats[THRESHOLDS].v[at];
    const bool is_swapped = mode == GTE || mode == GT || mode == NEQ;
    const bool has_set = mode == EQ || mode == NEQ || mode == MEMBER;
    int64_t sides[2] = {o->ints[TRUE_IDS].v[at], o->ints[FALSE_IDS].v[at]};
    bool missing_true;

    *out = (struct qn_raw_node){.set = UINT32_MAX};
    if (mode == LEAF) {
        const size_t leaf = find(o->leaves, leaves, tree, node, output);

        out->flags = QN_NODE_LEAF;
        if (leaf < leaves && o->leaves[leaf].tree == tree && o->leaves[leaf].node == node &&
            o->leaves[leaf].output == output)
            out->value = o->floats[LEAF_WEIGHTS].v[o->leaves[leaf].at];
        return QN_OK;
    }
    if ((isnan(threshold) && mode != MEMBER) || o->ints[FEATURES].v[at] < 0)
        return bad(o, "a node compares with NaN or tests a negative feature");
    for (unsigned i = 0; i < 2; i++) {
        const size_t child = find(o->nodes + first, count, tree, sides[i], 0);

        sides[i] = child < count && o->nodes[first + child].node == sides[i] ? (int64_t)child : -1;
    }
    /* NaN differs from every number */
    missing_true =
        mode == NEQ || (o->ints[MISSING_TRUE].count > 0 && o->ints[MISSING_TRUE].v[at] == 1);
    out->left = sides[is_swapped];
    out->right = sides[!is_swapped];
    out->column = (uint64_t)o->ints[FEATURES].v[at];
    out->flags = missing_true == is_swapped ? QN_NODE_MISSING_RIGHT : 0;
    if (has_set) {
        out->flags |= QN_NODE_CATEGORY; /* members go left */
        out->set = (uint32_t)o->ints[SETS].v[at];
    } else if (mode == LT || mode == GTE) {
        out->value = threshold;
    } else if (threshold == INFINITY) {
        out->value = (double)NAN;
    } else {
        out->value = o->is_double ? nextafter(threshold, INFINITY)
                                  : (double)nextafterf((float)threshold, INFINITY);
    }
    return QN_OK;
}

/* The tree of nodes [first, first + count) in o->nodes, once for every output its leaves add to. */
static qn_status add_tree(struct onnx *o, size_t first, size_t count, size_t root)
{
    struct qn_forest *forest = &o->m->forest;
    const int64_t tree = o->nodes[first].tree;
    const size_t leaves = o->ints[LEAF_TREES].count;

    if (!qn_model_grow(&o->raw, &o->raw_cap, count, sizeof(*o->raw)))
        return no_memory(o);
    for (size_t i = find(o->leaves, leaves, tree, INT64_MIN, 0);
         i < leaves && o->leaves[i].tree == tree; i++)
        o->has_weight[o->leaves[i].output] = true;
    for (int64_t k = 0; k < (int64_t)o->m->info.outputs; k++) {
        const size_t before = forest->node_count;
        struct qn_raw_node swap;

        if (!o->has_weight[k])
            continue;
        o->has_weight[k] = false;
        if (o->budget < count)
            return qn_err_set(o->err, QN_LIMIT, "ONNX: the trees have too many outputs");
        o->budget -= count;
        for (size_t i = 0; i < count; i++)
            QN_TRY(build_node(o, o->nodes[first + i].at, first, count, k, &o->raw[i]));
        if (root != 0) { /* the root must stand first: it changes places with node 0 */
            swap = o->raw[0];
            o->raw[0] = o->raw[root];
            o->raw[root] = swap;
            for (size_t i = 0; i < count; i++) {
                int64_t *sides[2] = {&o->raw[i].left, &o->raw[i].right};

                for (unsigned s = 0; s < 2; s++)
                    *sides[s] = *sides[s] == 0               ? (int64_t)root
                                : *sides[s] == (int64_t)root ? 0
                                                             : *sides[s];
            }
        }
        QN_TRY(qn_model_forest_add(o->m, o->raw, count, (uint64_t)k, o->err));
        if (forest->node_count - before != count)
            return bad(o, "a tree has nodes that its first one does not reach");
    }
    o->m->info.trees_in_file++;
    return QN_OK;
}

/* Trees in the order of the file; their nodes stand together. */
static qn_status add_trees(struct onnx *o)
{
    const size_t nodes = o->ints[TREE_IDS].count;
    const int64_t *ids = o->ints[TREE_IDS].v;
    size_t root = 0;

    o->budget = 64 * (nodes + o->ints[LEAF_TREES].count);
    while (root < nodes) {
        const int64_t tree = ids[root];
        const size_t first = find(o->nodes, nodes, tree, INT64_MIN, 0);
        size_t end = root;

        while (end < nodes && ids[end] == tree)
            end++;
        if ((first + (end - root) < nodes && o->nodes[first + (end - root)].tree == tree))
            return bad(o, "the nodes of a tree do not stand together");
        QN_TRY(add_tree(o, first, end - root,
                        find(o->nodes + first, end - root, tree, o->ints[NODE_IDS].v[root], 0)));
        root = end;
    }
    return QN_OK;
}

/* ---- outputs ---- */

static qn_status check_lists(struct onnx *o)
{
    const size_t nodes = o->ints[TREE_IDS].count, leaves = o->ints[LEAF_TREES].count;

    for (unsigned i = NODE_IDS; i <= MISSING_TRUE; i++) {
        if (o->ints[i].count != nodes && (i != MISSING_TRUE || o->ints[i].count > 0))
            return bad(o, "the lists of nodes differ in length");
    }
    if (o->modes.count != nodes || o->floats[THRESHOLDS].count != nodes || nodes == 0)
        return bad(o, "the lists of nodes differ in length");
    if (o->ints[LEAF_NODES].count != leaves || o->ints[LEAF_OUTPUTS].count != leaves ||
        o->floats[LEAF_WEIGHTS].count != leaves)
        return bad(o, "the lists of weights differ in length");
    return QN_OK;
}

/* A classifier of two classes whose weights all belong to one of them has one score. */
static qn_status shape(struct onnx *o, uint64_t *outputs)
{
    const struct ints *of = &o->ints[LEAF_OUTPUTS];
    struct qn_transform *t = &o->m->transform;
    uint64_t classes = o->ints[LABELS].count + o->label_texts, columns = o->columns;
    bool is_one = o->is_classifier && classes == 2, is_positive = true;

    for (size_t i = 0; i < of->count; i++) {
        is_one = is_one && of->v[i] == of->v[0];
        is_positive = is_positive && o->floats[LEAF_WEIGHTS].v[i] >= 0;
        if (of->v[i] < 0 || of->v[i] >= QN_MODEL_OUTPUTS_MAX)
            return bad(o, "a weight belongs to an output that does not exist");
    }
    if (is_one && of->count > 0 && of->v[0] != 0 && o->floats[BASES].count > 0)
        return unavailable(o, (struct qn_part){o->start, o->start},
                           "base_values of a classifier whose weights belong to its second class");
    for (size_t i = 0; is_one && i < of->count; i++)
        of->v[i] = 0;
    *outputs = is_one ? 1 : o->is_classifier ? classes : o->targets;
    for (size_t i = 0; i < of->count; i++) {
        if ((uint64_t)of->v[i] >= *outputs)
            return bad(o, "a weight belongs to an output that does not exist");
    }
    o->m->info.objective = o->is_v5           ? "TreeEnsemble"
                           : o->is_classifier ? "TreeEnsembleClassifier"
                                              : "TreeEnsembleRegressor";
    /* the older operators answer in float32 whatever they add in */
    t->link = o->is_double && !o->is_v5 ? QN_LINK_ROUND_FLOAT : QN_LINK_IDENTITY;
    if (o->transform.p != NULL && !is(o->transform, "NONE")) {
        if (o->is_classifier && is(o->transform, "LOGISTIC") && is_one && !is_positive)
            t->link = QN_LINK_FLOAT_LOGISTIC_FLIPPED;
        else if (o->is_classifier && is(o->transform, "SOFTMAX") && !is_one && !o->is_double)
            t->link = QN_LINK_FLOAT_SOFTMAX;
        else
            return unavailable(o, o->transform, "post_transform");
    }
    for (size_t i = 0; i < o->ints[FEATURES].count && o->columns == 0; i++) {
        if (o->ints[FEATURES].v[i] >= 0 && (uint64_t)o->ints[FEATURES].v[i] >= columns)
            columns = (uint64_t)o->ints[FEATURES].v[i] + 1;
    }
    return qn_model_shape(o->m, columns, *outputs, o->err);
}

/* Base values are added last: leaves behind the trees. */
static qn_status add_bases(struct onnx *o, uint64_t outputs)
{
    const struct numbers *bases = &o->floats[BASES];

    if (bases->count != 0 && bases->count != outputs)
        return unavailable(o, (struct qn_part){o->start, o->start}, "number of base_values");
    for (size_t k = 0; k < bases->count; k++) {
        const struct qn_raw_node leaf = {
            .value = bases->v[k], .set = UINT32_MAX, .flags = QN_NODE_LEAF};

        if (!isfinite(bases->v[k]))
            return bad(o, "a base value is not finite");
        if (bases->v[k] != 0 && o->averages)
            return unavailable(o, o->aggregate, "base_values with aggregate_function");
        if (bases->v[k] != 0)
            QN_TRY(qn_model_forest_add(o->m, &leaf, 1, k, o->err));
    }
    return QN_OK;
}

static qn_status load(struct onnx *o, struct qn_part file)
{
    struct qn_part graph;
    uint64_t outputs = 0;

    QN_TRY(inside(o, file, 7, &graph));
    QN_TRY(read_graph(o, graph));
    QN_TRY(check_graph(o));
    if (o->is_v5)
        QN_TRY(check_v5(o));
    QN_TRY(make_sets(o));
    if (o->is_v5)
        QN_TRY(flatten(o));
    QN_TRY(check_lists(o));
    QN_TRY(shape(o, &outputs));
    o->m->info.is_float = !o->is_double;
    o->m->info.version = "";
    QN_TRY(sort_entries(o));
    if (o->is_classifier && outputs == 2)
        QN_TRY(check_two_classes(o));
    QN_TRY(add_trees(o));
    if (o->averages)
        o->m->transform.divide = o->m->info.trees_in_file;
    return add_bases(o, outputs);
}

/* The tensor that ZipMap makes a list of maps of, as text; empty where there is none. */
static qn_status find_zipped(struct onnx *o, struct qn_part file, char *out, size_t bytes)
{
    struct qn_part graph, op, from;
    struct qn_protobuf_field f;
    bool more;

    out[0] = '\0';
    QN_TRY(inside(o, file, 7, &graph));
    for (;;) {
        QN_TRY(next(o, &graph, &f, &more));
        if (!more)
            return QN_OK;
        if (f.number != 1 || f.type != 2)
            continue;
        QN_TRY(inside(o, f.piece, 4, &op));
        QN_TRY(inside(o, f.piece, 1, &from));
        if (is(op, "ZipMap") && (size_t)(from.end - from.p) < bytes)
            snprintf(out, bytes, "%.*s", (int)(from.end - from.p), (const char *)from.p);
    }
}

/* What is no tree ensemble, as the error says, may be a linear model; else ONNX Runtime gets it. */
static qn_status load_elsewhere(struct onnx *o, struct qn_str bytes,
                                const struct qn_model_options *opt)
{
    const struct qn_part file = {o->start, o->start + bytes.len};
    char reason[128], zipped[100];
    qn_status rc;

    snprintf(reason, sizeof(reason), "%.120s", o->err->text);
    qn_model_forest_fini(&o->m->forest);
    o->m->info.objective = "";
    o->m->info.trees_in_file = 0;
    o->m->transform = (struct qn_transform){.slope = 1, .divide = 1};
    rc = qn_model_load_onnx_linear(o->m, bytes, o->err);
    if (rc != QN_UNSUPPORTED)
        return rc;
    QN_TRY(find_zipped(o, file, zipped, sizeof(zipped)));
    return qn_model_load_onnxruntime(o->m, bytes, opt, reason, zipped[0] != '\0' ? zipped : NULL,
                                     o->err);
}

qn_status qn_model_load_onnx(struct qn_model *m, struct qn_str bytes,
                             const struct qn_model_options *opt, struct qn_err *err)
{
    const uint8_t *p = (const uint8_t *)bytes.p;
    struct onnx o = {.err = err, .m = m, .start = p, .targets = 1, .aggregate_number = 1};
    qn_status rc;

    rc = load(&o, (struct qn_part){p, p + bytes.len});
    free_lists(&o);
    qn_mem_free(o.nodes);
    qn_mem_free(o.leaves);
    qn_mem_free(o.raw);
    return rc == QN_UNSUPPORTED ? load_elsewhere(&o, bytes, opt) : rc;
}
