/* SPDX-License-Identifier: Apache-2.0
 * load_xgboost_binary.c - XGBoost's old binary format (0.x to 3.0), little-endian, no padding.
 *
 *   0 or 4    "binf"
 *   136       f32 base_score, u32 num_feature, i32 num_class, i32 has_attributes, i32 has_metrics,
 *             u32 major, minor, num_target (0 = 1), i32 boost_from_average, reserved
 *   2 x 8+n   objective, booster: u64 length and bytes
 *   160       i32 num_trees, num_parallel_tree, num_feature, pad, i64 buffer (0), i32 groups,
 *             i32 leaf vector (0), reserved
 *   tree 148  i32 roots (1), num_nodes, num_deleted, max_depth, u32 num_feature,
 *             i32 leaf vector (0), reserved
 *   node 20   i32 parent, left (-1 = leaf), right; u32 split: bit 31 default left, rest feature,
 *             all ones = deleted; f32 threshold or leaf value
 *   stat 16   f32 gain, cover, base weight, i32 leaf children: only the cover is read
 *   4 a tree  output; DART: u64 count, f32 weights; then attributes where flagged: u64 count,
 *             pairs of text
 *   gblinear  in place of the trees: 136 bytes of parameters, u64 count, f32 weights
 *
 * Source: XGBoost 1.0 to 3.0, src/learner.cc, src/gbm/gbtree_model.h, include/xgboost/tree_model.h.
 * Every count is held against the bytes that are left before anything is allocated.
 * Thread: the loader's. Memory: struct qn_xgboost, freed at the end. */
#include "model/load_xgboost.h"

#include <math.h>

struct reader {
    const uint8_t *start, *at, *end;
    struct qn_xgboost *x;
};

static qn_status cut_off(const struct reader *r, const char *what)
{
    qn_status rc = qn_err_set(r->x->err, QN_CORRUPT, "the file ends within %s", what);

    r->x->err->has_offset = true;
    r->x->err->offset = (uint64_t)(r->at - r->start);
    return rc;
}

static uint64_t left(const struct reader *r)
{
    return (uint64_t)(r->end - r->at);
}

static uint32_t u32_at(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static int32_t i32_at(const uint8_t *p)
{
    return (int32_t)u32_at(p);
}

static uint64_t u64_at(const uint8_t *p)
{
    return (uint64_t)u32_at(p) | (uint64_t)u32_at(p + 4) << 32;
}

static float f32_at(const uint8_t *p)
{
    uint32_t bits = u32_at(p);
    float v;

    memcpy(&v, &bits, sizeof(v));
    return v;
}

/* `bytes` more of the file, or NULL. */
static const uint8_t *take(struct reader *r, uint64_t bytes)
{
    const uint8_t *p = r->at;

    if (left(r) < bytes)
        return NULL;
    r->at += bytes;
    return p;
}

static qn_status take_text(struct reader *r, struct qn_str *out)
{
    const uint8_t *p = take(r, 8);
    uint64_t len;

    if (p == NULL)
        return cut_off(r, "a text");
    len = u64_at(p);
    p = take(r, len);
    if (p == NULL)
        return cut_off(r, "a text");
    *out = (struct qn_str){(const char *)p, (uint32_t)len};
    return QN_OK;
}

static qn_status take_floats(struct reader *r, struct qn_floats *out)
{
    const uint8_t *p = take(r, 8);
    uint64_t count;

    if (p == NULL)
        return cut_off(r, "a list of weights");
    count = u64_at(p);
    if (count > left(r) / 4)
        return cut_off(r, "a list of weights");
    p = take(r, count * 4);
    for (uint64_t i = 0; i < count; i++) {
        if (!qn_model_push_float(out, f32_at(p + i * 4)))
            return qn_err_set(r->x->err, QN_NOMEM, "out of memory");
    }
    return QN_OK;
}

static qn_status take_head(struct reader *r, bool *has_attributes)
{
    struct qn_xgboost *x = r->x;
    const uint8_t *p;
    struct qn_str booster;

    if (left(r) >= 4 && memcmp(r->at, "binf", 4) == 0)
        r->at += 4;
    p = take(r, 136);
    if (p == NULL)
        return cut_off(r, "the parameters");
    if (!qn_model_push_float(&x->base_scores, f32_at(p)))
        return qn_err_set(x->err, QN_NOMEM, "out of memory");
    x->feature_count = u32_at(p + 4);
    x->class_count = i32_at(p + 8);
    *has_attributes = i32_at(p + 12) != 0;
    x->version[0] = u32_at(p + 20);
    x->version[1] = u32_at(p + 24);
    x->target_count = u32_at(p + 28);
    if (isnan(f32_at(p)))
        return qn_err_set(x->err, QN_CORRUPT, "the base score is not a number");
    if (x->version[0] > 3)
        return qn_err_set(x->err, QN_CORRUPT, "XGBoost version %u never wrote this format",
                          x->version[0]);
    if (x->version[0] == 0)
        x->target_count = 1;
    QN_TRY(take_text(r, &x->objective));
    QN_TRY(take_text(r, &booster));
    x->base_is_margin =
        x->version[0] == 0 && !(x->objective.len > 6 && memcmp(x->objective.p, "multi:", 6) == 0);
    x->booster = qn_str_is(booster, "gbtree")     ? QN_BOOSTER_TREES
                 : qn_str_is(booster, "dart")     ? QN_BOOSTER_DART
                 : qn_str_is(booster, "gblinear") ? QN_BOOSTER_LINEAR
                                                  : QN_BOOSTER_NONE;
    if (x->booster == QN_BOOSTER_NONE)
        return qn_err_set(x->err, QN_UNSUPPORTED, "XGBoost booster '%.*s' is not known",
                          (int)(booster.len > 60 ? 60 : booster.len), booster.p);
    return QN_OK;
}

static qn_status take_node(struct reader *r, size_t tree, int32_t index, struct qn_raw_node *node)
{
    const uint8_t *p = take(r, 20);
    const uint32_t split = u32_at(p + 12);
    const int32_t child = i32_at(p + 4);

    *node = (struct qn_raw_node){.value = f32_at(p + 16),
                                 .left = child,
                                 .right = i32_at(p + 8),
                                 .column = split & 0x7fffffffu,
                                 .set = UINT32_MAX};
    if (split == UINT32_MAX || child == -1) {
        /* a deleted node is never reached; where a broken file reaches it, its value must be a
         * number */
        node->flags = QN_NODE_LEAF;
        node->value = split == UINT32_MAX ? (double)NAN : node->value;
        return QN_OK;
    }
    if (node->right != node->left + 1)
        return qn_err_set(r->x->err, QN_UNSUPPORTED,
                          "tree %zu: the children of node %d do not stand side by side, which "
                          "XGBoost itself reads wrongly; load and save it with a newer XGBoost",
                          tree, index);
    if (isnan(node->value))
        return qn_err_set(r->x->err, QN_CORRUPT, "tree %zu: node %d compares with NaN", tree,
                          index);
    if (!(split & 0x80000000u))
        node->flags = QN_NODE_MISSING_RIGHT;
    return QN_OK;
}

static qn_status take_tree(struct reader *r)
{
    struct qn_xgboost *x = r->x;
    const size_t tree = x->tree_starts.count;
    const uint8_t *p = take(r, 148);
    int32_t nodes;

    if (p == NULL)
        return cut_off(r, "a tree");
    nodes = i32_at(p + 4);
    if (i32_at(p) != 1 || nodes < 1)
        return qn_err_set(x->err, QN_CORRUPT, "tree %zu has %d roots and %d nodes", tree, i32_at(p),
                          nodes);
    if (i32_at(p + 20) > 1)
        x->leaf_vector = i32_at(p + 20);
    if ((uint64_t)nodes > left(r) / 36)
        return cut_off(r, "a tree");
    if (!qn_model_grow(&x->nodes, &x->node_cap, x->node_count + (size_t)nodes, sizeof(*x->nodes)) ||
        !qn_model_push_int(&x->tree_starts, (int64_t)x->node_count))
        return qn_err_set(x->err, QN_NOMEM, "out of memory");
    for (int32_t i = 0; i < nodes; i++)
        QN_TRY(take_node(r, tree, i, &x->nodes[x->node_count + (size_t)i]));
    p = take(r, (uint64_t)nodes * 16);
    for (int32_t i = 0; i < nodes; i++)
        x->nodes[x->node_count + (size_t)i].cover = f32_at(p + (size_t)i * 16 + 4);
    x->node_count += (size_t)nodes;
    return QN_OK;
}

static qn_status take_forest(struct reader *r)
{
    struct qn_xgboost *x = r->x;
    const uint8_t *p = take(r, 160);
    int32_t trees;

    if (p == NULL)
        return cut_off(r, "the parameters of the forest");
    trees = i32_at(p);
    /* the first versions wrote 0 for one tree a round */
    x->parallel_trees = i32_at(p + 4) == 0 ? 1 : i32_at(p + 4);
    if (u64_at(p + 16) != 0)
        return qn_err_set(x->err, QN_UNSUPPORTED,
                          "the file holds a prediction buffer, which is not read; load and save it "
                          "with XGBoost 1.0");
    x->leaf_vector = i32_at(p + 28);
    if (trees < 0 || (uint64_t)trees > left(r) / 148)
        return cut_off(r, "the trees");
    for (int32_t t = 0; t < trees; t++)
        QN_TRY(take_tree(r));
    p = take(r, (uint64_t)trees * 4);
    if (p == NULL)
        return cut_off(r, "the trees' outputs");
    for (int32_t t = 0; t < trees; t++) {
        if (!qn_model_push_int(&x->tree_outputs, i32_at(p + (size_t)t * 4)))
            return qn_err_set(x->err, QN_NOMEM, "out of memory");
    }
    if (x->booster == QN_BOOSTER_DART && trees > 0)
        QN_TRY(take_floats(r, &x->drop_weights));
    return QN_OK;
}

static qn_status take_attributes(struct reader *r)
{
    struct qn_xgboost *x = r->x;
    const uint8_t *p = take(r, 8);
    uint64_t count;

    if (p == NULL)
        return cut_off(r, "the attributes");
    count = u64_at(p);
    if (count > left(r) / 16)
        return cut_off(r, "the attributes");
    for (uint64_t i = 0; i < count; i++) {
        struct qn_str key, value;

        QN_TRY(take_text(r, &key));
        QN_TRY(take_text(r, &value));
        if (qn_str_is(key, "best_iteration"))
            x->has_best_iteration = qn_text_int64(value, &x->best_iteration);
    }
    return QN_OK;
}

static qn_status take_all(struct reader *r)
{
    bool has_attributes = false;

    QN_TRY(take_head(r, &has_attributes));
    r->x->has_model = true;
    if (r->x->booster == QN_BOOSTER_LINEAR) {
        if (take(r, 136) == NULL)
            return cut_off(r, "the parameters of the linear booster");
        QN_TRY(take_floats(r, &r->x->linear_weights));
    } else {
        QN_TRY(take_forest(r));
    }
    return has_attributes ? take_attributes(r) : QN_OK;
}

qn_status qn_model_load_xgboost_binary(struct qn_model *m, struct qn_str bytes,
                                       const struct qn_model_options *opt, struct qn_err *err)
{
    struct qn_xgboost x = {.m = m, .err = err, .feature_count = -1, .parallel_trees = 1};
    struct reader r = {.x = &x};
    qn_status rc;

    r.start = r.at = (const uint8_t *)bytes.p;
    r.end = r.start + bytes.len;
    rc = take_all(&r);
    if (rc == QN_OK)
        rc = qn_model_xgboost_build(&x, opt);
    qn_model_xgboost_fini(&x);
    return rc;
}
