/* SPDX-License-Identifier: Apache-2.0
 * models.h - random model files for the tests of the model room: XGBoost JSON and LightGBM text, as
 * the libraries write them, of any shape. Memory: the texts are qn_buf of the caller. */
#ifndef QN_TESTS_MODELS_H
#define QN_TESTS_MODELS_H

#include "../seed.h"
#include "base/buffer.h"
#include "base/number.h"
#include "model/model_int.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct model_shape {
    unsigned trees, leaves, inputs, outputs,
        values; /* values: how many different cuts a column has */
    bool has_categories, has_zero_missing;
};

static uint64_t model_seed = 1;

static inline void models_seed(void)
{
    model_seed = test_seed(20240617);
}

static inline uint32_t models_draw(uint32_t below)
{
    model_seed = model_seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((model_seed >> 33) % below);
}

static inline double models_cut(unsigned values)
{
    static const double strange[] = {0.0, -0.0, 1e-36, -1e-36, 1e30, -1e30};

    if (models_draw(12) == 0)
        return strange[models_draw(6)];
    return (double)(float)((int)models_draw(values) * 0.37 - values * 0.18);
}

/* A random binary tree: inner nodes 0 .. leaves - 2, child >= 0 is a node, else leaf ~child, as
 * LightGBM has it. */
struct models_tree {
    int left[1024], right[1024], inner;
};

static inline void models_grow(struct models_tree *t, unsigned leaves)
{
    /* slot: where a leaf hangs */
    int *slot[1025];
    unsigned count = 1;
    int root = ~0;

    t->inner = 0;
    slot[0] = &root;
    while (count < leaves) {
        unsigned at = models_draw(count);
        int node = t->inner++;

        *slot[at] = node;
        t->left[node] = ~(int)at;
        t->right[node] = ~(int)count;
        slot[at] = &t->left[node];
        slot[count++] = &t->right[node];
    }
}

static inline void models_double(struct qn_buf *b, double v)
{
    char text[QN_NUMBER_MAX];

    qn_buf_add(b, text, isinf(v) ? 0 : qn_print_double(text, v));
    if (isinf(v))
        qn_buf_text(b, v > 0 ? "inf" : "-inf");
}

static inline void models_lightgbm_tree(struct qn_buf *b, const struct model_shape *s,
                                        unsigned number)
{
    struct models_tree t;
    unsigned sets = 0, leaves = models_draw(8) == 0 ? 1 : 1 + models_draw(s->leaves);
    bool is_category[1024];

    models_grow(&t, leaves);
    qn_buf_printf(b, "Tree=%u\nnum_leaves=%u\n", number, leaves);
    for (int i = 0; i < t.inner; i++) {
        is_category[i] = s->has_categories && models_draw(3) == 0;
        sets += is_category[i];
    }
    qn_buf_printf(b, "num_cat=%u\nsplit_feature=", sets);
    for (int i = 0; i < t.inner; i++)
        qn_buf_printf(b, "%u ", models_draw(s->inputs));
    qn_buf_text(b, "\nthreshold=");
    sets = 0;
    for (int i = 0; i < t.inner; i++) {
        models_double(b, is_category[i]         ? sets++
                         : models_draw(20) == 0 ? INFINITY
                                                : models_cut(s->values));
        qn_buf_byte(b, ' ');
    }
    qn_buf_text(b, "\ndecision_type=");
    for (int i = 0; i < t.inner; i++) {
        unsigned missing = s->has_zero_missing ? models_draw(3) : models_draw(2) * 2;

        qn_buf_printf(b, "%u ", is_category[i] ? 1 : missing << 2 | models_draw(2) << 1);
    }
    qn_buf_text(b, "\nleft_child=");
    for (int i = 0; i < t.inner; i++)
        qn_buf_printf(b, "%d ", t.left[i]);
    qn_buf_text(b, "\nright_child=");
    for (int i = 0; i < t.inner; i++)
        qn_buf_printf(b, "%d ", t.right[i]);
    qn_buf_text(b, "\nleaf_value=");
    for (unsigned i = 0; i < leaves; i++)
        qn_buf_printf(b, "%.17g ", ((int)models_draw(20001) - 10000) / 7919.0);
    if (sets > 0) {
        qn_buf_text(b, "\ncat_boundaries=0");
        for (unsigned i = 0; i < sets; i++)
            qn_buf_printf(b, " %u", (i + 1) * 2);
        qn_buf_text(b, "\ncat_threshold=");
        for (unsigned i = 0; i < 2 * sets; i++)
            qn_buf_printf(b, "%u ", models_draw(3) == 0 ? 5 : models_draw(0x7fffffff));
    }
    qn_buf_text(b, "\nis_linear=0\nshrinkage=1\n\n\n");
}

static inline void models_lightgbm(struct qn_buf *b, const struct model_shape *s)
{
    qn_buf_clear(b);
    qn_buf_printf(b,
                  "tree\nversion=v4\nnum_class=%u\nnum_tree_per_iteration=%u\nlabel_index=0\n"
                  "max_feature_idx=%u\nobjective=%s\nfeature_names=",
                  s->outputs, s->outputs, s->inputs - 1,
                  s->outputs > 1 ? "multiclass num_class:2" : "binary sigmoid:1");
    for (unsigned i = 0; i < s->inputs; i++)
        qn_buf_printf(b, "%sc%u", i > 0 ? " " : "", i);
    qn_buf_text(b, "\n\n");
    for (unsigned t = 0; t < s->trees; t++)
        models_lightgbm_tree(b, s, t);
    qn_buf_text(b, "end of trees\n\nfeature_importances:\n");
    assert_false(b->failed);
}

/* One XGBoost tree in JSON; children side by side, in order of making. */
static inline void models_xgboost_tree(struct qn_buf *b, const struct model_shape *s)
{
    int left[2048], count = 1, categories = 0;
    bool is_category[2048] = {0};
    const unsigned leaves = 1 + models_draw(s->leaves);

    left[0] = -1;
    for (unsigned i = 1; i < leaves; i++) {
        int at;

        do {
            at = (int)models_draw((uint32_t)count);
        } while (left[at] != -1);
        left[at] = count;
        left[count] = left[count + 1] = -1;
        count += 2;
    }
    qn_buf_text(b, "{\"left_children\":[");
    for (int i = 0; i < count; i++)
        qn_buf_printf(b, "%s%d", i ? "," : "", left[i]);
    qn_buf_text(b, "],\"right_children\":[");
    for (int i = 0; i < count; i++)
        qn_buf_printf(b, "%s%d", i ? "," : "", left[i] < 0 ? -1 : left[i] + 1);
    qn_buf_text(b, "],\"split_indices\":[");
    for (int i = 0; i < count; i++)
        qn_buf_printf(b, "%s%u", i ? "," : "", models_draw(s->inputs));
    qn_buf_text(b, "],\"default_left\":[");
    for (int i = 0; i < count; i++)
        qn_buf_printf(b, "%s%u", i ? "," : "", models_draw(2));
    qn_buf_text(b, "],\"split_type\":[");
    for (int i = 0; i < count; i++) {
        is_category[i] = s->has_categories && left[i] >= 0 && models_draw(3) == 0;
        categories += is_category[i];
        qn_buf_printf(b, "%s%d", i ? "," : "", is_category[i]);
    }
    qn_buf_text(b, "],\"split_conditions\":[");
    for (int i = 0; i < count; i++) {
        if (i > 0)
            qn_buf_byte(b, ',');
        if (left[i] < 0)
            qn_buf_printf(b, "%.9g", ((int)models_draw(20001) - 10000) / 7919.0);
        else if (models_draw(20) == 0)
            qn_buf_text(b, models_draw(2) ? "Infinity" : "-Infinity");
        else
            models_double(b, models_cut(s->values));
    }
    qn_buf_text(b, "],\"categories_nodes\":[");
    for (int i = 0, k = 0; i < count; i++) {
        if (is_category[i])
            qn_buf_printf(b, "%s%d", k++ ? "," : "", i);
    }
    qn_buf_text(b, "],\"categories_segments\":[");
    for (int i = 0; i < categories; i++)
        qn_buf_printf(b, "%s%d", i ? "," : "", 2 * i);
    qn_buf_text(b, "],\"categories_sizes\":[");
    for (int i = 0; i < categories; i++)
        qn_buf_printf(b, "%s2", i ? "," : "");
    qn_buf_text(b, "],\"categories\":[");
    for (int i = 0; i < 2 * categories; i++)
        qn_buf_printf(b, "%s%u", i ? "," : "", models_draw(2) ? models_draw(6) : models_draw(300));
    qn_buf_text(b, "]}");
}

static inline void models_xgboost(struct qn_buf *b, const struct model_shape *s)
{
    qn_buf_clear(b);
    qn_buf_text(
        b, "{\"learner\":{\"attributes\":{},\"feature_names\":[],\"gradient_booster\":{\"model\":"
           "{\"gbtree_model_param\":{\"num_parallel_tree\":\"1\"},\"tree_info\":[");
    for (unsigned t = 0; t < s->trees; t++)
        qn_buf_printf(b, "%s%u", t ? "," : "", t % s->outputs);
    qn_buf_text(b, "],\"trees\":[");
    for (unsigned t = 0; t < s->trees; t++) {
        if (t > 0)
            qn_buf_byte(b, ',');
        models_xgboost_tree(b, s);
    }
    qn_buf_printf(
        b,
        "]},\"name\":\"gbtree\"},\"learner_model_param\":{\"base_score\":\"5E-1\",\"num_class\":"
        "\"%u\",\"num_feature\":\"%u\"},\"objective\":{\"name\":\"%s\"}},\"version\":[3,2,0]}",
        s->outputs > 1 ? s->outputs : 0, s->inputs,
        s->outputs > 1 ? "multi:softprob" : "binary:logistic");
    assert_false(b->failed);
}

static inline struct qn_str models_bytes(const struct qn_buf *b)
{
    return (struct qn_str){b->data, (uint32_t)b->len};
}

/* Loads a text that must be a good model. */
static inline struct qn_model *models_load(const char *text)
{
    struct qn_model *m = NULL;
    struct qn_err err = {0};

    if (qn_model_load_bytes(qn_str_of(text), "m", NULL, &m, &err) != QN_OK)
        fail_msg("%s", err.text);
    return m;
}

/* Loads bytes that must be refused with `words` in the message. */
static inline void models_refuse(struct qn_str bytes, const char *words)
{
    struct qn_model *m = NULL;
    struct qn_err err = {0};
    qn_status rc = qn_model_load_bytes(bytes, "m", NULL, &m, &err);

    assert_int_not_equal(rc, QN_OK);
    assert_int_equal(rc, err.code);
    assert_null(m);
    if (strstr(err.text, words) == NULL)
        fail_msg("'%s' is not in: %s", words, err.text);
    assert_string_equal(err.file, "m");
}

/* Scores one row of up to 8 inputs; the first margin, and the first prediction where asked for. */
static inline double models_score(const struct qn_model *m, const double *x, double *prediction)
{
    const double *columns[8];
    double margin[8], predicted[8];
    void *scratch = qn_mem_aligned(64, (qn_model_scratch_bytes(m, 1) + 63) / 64 * 64);

    assert_non_null(scratch);
    for (unsigned i = 0; i < qn_model_info(m)->inputs; i++)
        columns[i] = x + i;
    qn_model_score(m, columns, 1, scratch, margin, predicted, 1);
    qn_mem_free(scratch);
    if (prediction != NULL)
        *prediction = predicted[0];
    return margin[0];
}

#endif
