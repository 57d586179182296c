/* SPDX-License-Identifier: Apache-2.0
 * load_onnx_linear.c - ONNX models that are one LinearRegressor or LinearClassifier of ai.onnx.ml,
 * for kernel `linear`.
 *
 * In front of the operator Cast to float, Identity, then Imputer, then Scaler may stand; behind it
 * Cast, Identity, ZipMap and Normalizer, which finds probabilities that add up to 1 already.
 * Computed in double: ONNX Runtime's own float32 sums depend on the number of rows of a call, so
 * there is no one answer to reproduce bit for bit. Of two classes the second has the score. Every
 * other graph is QN_UNSUPPORTED. Thread: the loader's. Memory: growing arrays, a few times the
 * file. */
#include "model/onnx.h"
#include "model/protobuf.h"

#include <math.h>

enum list { COEFFICIENTS, INTERCEPTS, IMPUTED, OFFSET, SCALE, LISTS };
/* Where a graph stands: the operators that may follow get fewer. */
enum stage { AT_INPUT, AT_IMPUTER, AT_SCALER, AT_LINEAR };

struct numbers {
    double *v;
    size_t count, cap;
};

struct linear_graph {
    struct qn_model *m;
    struct qn_err *err;
    struct numbers lists[LISTS];
    enum stage stage;
    struct qn_part data; /* name of the tensor that the next operator must read */
    uint64_t graph_inputs, input_type, columns, classes, targets;
    struct qn_part transform;
    bool is_classifier;
    double replaced; /* what the Imputer replaces */
};

static qn_status other(struct linear_graph *g)
{
    return qn_err_set(g->err, QN_UNSUPPORTED, "no linear model");
}

static qn_status push(struct linear_graph *g, struct numbers *list, uint32_t bits)
{
    float v;

    memcpy(&v, &bits, sizeof(v));
    if (!qn_model_grow(&list->v, &list->cap, list->count + 1, sizeof(*list->v)))
        return qn_err_set(g->err, QN_NOMEM, "out of memory");
    list->v[list->count++] = (double)v;
    return QN_OK;
}

/* Packed floats, or one. */
static qn_status add_floats(struct linear_graph *g, const struct qn_protobuf_field *f,
                            struct numbers *list)
{
    const uint8_t *p = f->piece.p;

    if ((f->piece.end - p) % 4 != 0)
        return other(g);
    for (; p < f->piece.end; p += 4)
        QN_TRY(push(g, list, qn_protobuf_little32(p)));
    return QN_OK;
}

static struct numbers *list_of(struct linear_graph *g, struct qn_part name)
{
    static const char *const names[LISTS] = {"coefficients", "intercepts", "imputed_value_floats",
                                             "offset", "scale"};

    for (unsigned i = 0; i < LISTS; i++) {
        if (qn_part_is(name, names[i]))
            return &g->lists[i];
    }
    return NULL;
}

/* Varints of a list of whole numbers, packed or not: how many. */
static uint64_t count_ints(const struct qn_protobuf_field *f)
{
    struct qn_part in = f->piece;
    uint64_t n = 0, ignored;

    if (f->type == 0)
        return 1;
    while (in.p < in.end && qn_protobuf_varint(&in, &ignored))
        n++;
    return n;
}

static qn_status read_attribute(struct linear_graph *g, struct qn_part in)
{
    struct qn_part name;
    struct numbers *list;
    struct qn_protobuf_field f;
    bool more;

    QN_TRY(qn_protobuf_inside(in, 1, &name, g->err));
    list = list_of(g, name);
    for (;;) {
        QN_TRY(qn_protobuf_next(&in, &f, &more, g->err));
        if (!more)
            return QN_OK;
        if (f.number == 7 && list != NULL && (f.type == 2 || f.type == 5))
            QN_TRY(add_floats(g, &f, list));
        else if (f.number == 8 && qn_part_is(name, "classlabels_ints"))
            g->classes += count_ints(&f);
        else if (f.number == 9 && qn_part_is(name, "classlabels_strings"))
            g->classes++;
        else if (f.number == 3 && f.type == 0 && qn_part_is(name, "targets"))
            g->targets = f.value;
        else if (f.number == 3 && f.type == 0 && qn_part_is(name, "to") && f.value != 1 &&
                 g->stage != AT_LINEAR)
            return other(g);
        else if (f.number == 4 && f.type == 2 && qn_part_is(name, "post_transform"))
            g->transform = f.piece;
        else if (f.number == 2 && f.type == 5 && qn_part_is(name, "replaced_value_float")) {
            struct numbers one = {&g->replaced, 0, 1};

            QN_TRY(push(g, &one, (uint32_t)f.value));
        } else if (f.number == 5 || f.number == 6 || f.number == 10 ||
                   qn_part_is(name, "imputed_value_int64s"))
            return other(g);
    }
}

static qn_status read_attributes(struct linear_graph *g, struct qn_part node)
{
    struct qn_protobuf_field f;
    bool more;

    for (;;) {
        QN_TRY(qn_protobuf_next(&node, &f, &more, g->err));
        if (!more)
            return QN_OK;
        if (f.number == 5 && f.type == 2)
            QN_TRY(read_attribute(g, f.piece));
    }
}

/* The stage that an operator leads to, or -1. */
static int stage_of(struct qn_part op)
{
    if (qn_part_is(op, "Cast") || qn_part_is(op, "Identity"))
        return AT_INPUT;
    if (qn_part_is(op, "Imputer"))
        return AT_IMPUTER;
    if (qn_part_is(op, "Scaler"))
        return AT_SCALER;
    if (qn_part_is(op, "LinearRegressor") || qn_part_is(op, "LinearClassifier"))
        return AT_LINEAR;
    return -1;
}

static qn_status read_node(struct linear_graph *g, struct qn_part node)
{
    struct qn_part op, from, to;
    int stage;

    QN_TRY(qn_protobuf_inside(node, 4, &op, g->err));
    QN_TRY(qn_protobuf_inside(node, 1, &from, g->err));
    QN_TRY(qn_protobuf_inside(node, 2, &to, g->err));
    if (g->stage == AT_LINEAR) /* nothing behind it changes the score */
        return qn_part_is(op, "Cast") || qn_part_is(op, "Identity") || qn_part_is(op, "ZipMap") ||
                       qn_part_is(op, "Normalizer")
                   ? QN_OK
                   : other(g);
    stage = stage_of(op);
    if (stage < 0 || !qn_part_same(from, g->data) ||
        (stage == AT_INPUT ? g->stage != AT_INPUT : stage <= (int)g->stage))
        return other(g);
    QN_TRY(read_attributes(g, node));
    g->stage = (enum stage)stage;
    g->data = to;
    g->is_classifier = qn_part_is(op, "LinearClassifier");
    return QN_OK;
}

/* The input: a tensor of floats or doubles [rows, columns]. */
static qn_status read_input(struct linear_graph *g, struct qn_part in)
{
    struct qn_part type, tensor, shape, dim;
    struct qn_protobuf_field f;
    bool more;

    g->graph_inputs++;
    QN_TRY(qn_protobuf_inside(in, 1, &g->data, g->err));
    QN_TRY(qn_protobuf_inside(in, 2, &type, g->err));
    QN_TRY(qn_protobuf_inside(type, 1, &tensor, g->err));
    QN_TRY(qn_protobuf_inside(tensor, 2, &shape, g->err));
    QN_TRY(qn_protobuf_inside(shape, 1, &dim, g->err));
    for (;;) {
        QN_TRY(qn_protobuf_next(&tensor, &f, &more, g->err));
        if (!more)
            break;
        if (f.number == 1 && f.type == 0)
            g->input_type = f.value;
    }
    for (;;) {
        QN_TRY(qn_protobuf_next(&dim, &f, &more, g->err));
        if (!more)
            return QN_OK;
        if (f.number == 1 && f.type == 0)
            g->columns = f.value;
    }
}

/* The fields `number` of the graph, in order. */
static qn_status read_all(struct linear_graph *g, struct qn_part graph, uint32_t number,
                          qn_status (*read)(struct linear_graph *, struct qn_part))
{
    struct qn_protobuf_field f;
    bool more;

    for (;;) {
        QN_TRY(qn_protobuf_next(&graph, &f, &more, g->err));
        if (!more)
            return QN_OK;
        if (f.number == number && f.type == 2)
            QN_TRY(read(g, f.piece));
    }
}

/* A list of one number per column, as double; one number alone serves all. */
static qn_status keep(struct linear_graph *g, const struct numbers *list, bool is_inverse,
                      double **out)
{
    const size_t columns = (size_t)g->columns;
    double *v;

    if (list->count == 0)
        return QN_OK;
    if (list->count != columns && list->count != 1)
        return other(g);
    v = QN_NEW_N(&g->m->arena, double, columns);
    if (v == NULL)
        return qn_err_set(g->err, QN_NOMEM, "out of memory");
    for (size_t i = 0; i < columns; i++) {
        const double x = list->v[list->count == 1 ? 0 : i];

        v[i] = is_inverse ? 1 / x : x;
    }
    *out = v;
    return QN_OK;
}

static qn_status choose_link(struct linear_graph *g, bool is_one)
{
    struct qn_transform *t = &g->m->transform;

    t->link = QN_LINK_IDENTITY;
    if (g->transform.p == NULL || qn_part_is(g->transform, "") || qn_part_is(g->transform, "NONE"))
        return QN_OK;
    if (qn_part_is(g->transform, "LOGISTIC") && g->is_classifier)
        t->link = QN_LINK_LOGISTIC;
    else if (qn_part_is(g->transform, "SOFTMAX") && g->is_classifier && !is_one)
        t->link = QN_LINK_SOFTMAX;
    else
        return other(g);
    return QN_OK;
}

static qn_status build(struct linear_graph *g)
{
    struct qn_model *m = g->m;
    const struct numbers *c = &g->lists[COEFFICIENTS], *start = &g->lists[INTERCEPTS];
    const uint64_t rows = g->is_classifier ? g->classes : g->targets;
    /* LOGISTIC of two classes: the second is 1 less the first; SOFTMAX needs both */
    const bool is_one = g->is_classifier && rows == 2 && !qn_part_is(g->transform, "SOFTMAX");
    const uint64_t outputs = is_one ? 1 : rows;

    if (g->graph_inputs != 1 || g->stage != AT_LINEAR || rows == 0 || rows > QN_MODEL_OUTPUTS_MAX ||
        (g->input_type != 1 && g->input_type != 11) || !isnan(g->replaced))
        return other(g);
    if (g->columns == 0)
        g->columns = c->count / rows;
    if (g->columns == 0 || g->columns > QN_MODEL_INPUTS_MAX || c->count != rows * g->columns ||
        (start->count != 0 && start->count != rows))
        return other(g);
    QN_TRY(choose_link(g, is_one));
    QN_TRY(qn_model_shape(m, g->columns, outputs, g->err));
    QN_TRY(keep(g, &g->lists[IMPUTED], false, &m->linear.fill));
    QN_TRY(keep(g, &g->lists[OFFSET], false, &m->linear.mean));
    QN_TRY(keep(g, &g->lists[SCALE], true, &m->linear.scale));
    m->linear.coefficients = QN_NEW_N(&m->arena, double, outputs * g->columns);
    if (m->linear.coefficients == NULL)
        return qn_err_set(g->err, QN_NOMEM, "out of memory");
    memcpy(m->linear.coefficients, c->v + (rows - outputs) * g->columns,
           outputs * g->columns * sizeof(double));
    for (uint64_t k = 0; k < outputs && start->count > 0; k++)
        m->start[k] = start->v[rows - outputs + k];
    m->linear.is_used = true;
    m->info.objective = g->is_classifier ? "LinearClassifier" : "LinearRegressor";
    return QN_OK;
}

qn_status qn_model_load_onnx_linear(struct qn_model *m, struct qn_str bytes, struct qn_err *err)
{
    const uint8_t *p = (const uint8_t *)bytes.p;
    struct linear_graph g = {.m = m, .err = err, .targets = 1, .replaced = (double)NAN};
    struct qn_part graph;
    qn_status rc = qn_protobuf_inside((struct qn_part){p, p + bytes.len}, 7, &graph, err);

    if (rc == QN_OK)
        rc = read_all(&g, graph, 11, read_input);
    if (rc == QN_OK)
        rc = read_all(&g, graph, 1, read_node);
    if (rc == QN_OK)
        rc = build(&g);
    for (unsigned i = 0; i < LISTS; i++)
        qn_mem_free(g.lists[i].v);
    if (rc == QN_UNSUPPORTED)
        m->linear = (struct qn_linear){0};
    return rc;
}
