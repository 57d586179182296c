/* SPDX-License-Identifier: Apache-2.0
 * test_kernel_lanes.c - the vector kernels against `walk` where their tables have edges: numbers of
 * cuts around each level of the search, any number of columns, depth 1 to 12, leaves of any shape,
 * several outputs, hostile values. Which kernels ran is printed; a CPU without AVX2 has none. */
#include "models.h"

#include <float.h>

enum { ROWS = 130, INPUTS_MAX = 160, OUTPUTS_MAX = 5 };

static double column_values[INPUTS_MAX][ROWS];

static const double SPECIAL[] = {NAN,     INFINITY, -INFINITY, 0.0,   -0.0,    1e-40,   -1e-40,
                                 FLT_MAX, -FLT_MAX, DBL_MAX,   1e-36, -1e-310, 0x1p-149};
enum { SPECIALS = sizeof(SPECIAL) / sizeof(SPECIAL[0]) };

/* Cuts of the model and their neighbours in both types, special values, whole numbers. */
static void fill_rows(const struct qn_model *m)
{
    const struct qn_forest *f = &m->forest;

    for (unsigned i = 0; i < m->info.inputs; i++) {
        for (unsigned r = 0; r < ROWS; r++)
            column_values[i][r] =
                models_draw(3) == 0 ? (double)models_draw(70) : SPECIAL[models_draw(SPECIALS)];
    }
    for (unsigned k = 0; k < m->info.inputs * ROWS; k++) {
        const struct qn_node *n = &f->nodes[models_draw((uint32_t)f->node_count)];
        double *x = &column_values[n->column][models_draw(ROWS)];

        if ((n->flags & QN_NODE_LEAF) || isnan(n->value))
            continue;
        switch (models_draw(5)) {
        case 0:
            *x = n->value;
            break;
        case 1:
            *x = (double)nextafterf((float)n->value, -INFINITY);
            break;
        case 2:
            *x = (double)nextafterf((float)n->value, INFINITY);
            break;
        case 3:
            *x = nextafter(n->value, -INFINITY);
            break;
        default:
            break;
        }
    }
}

static void score(const struct qn_model *m, uint32_t batch, double *margin, double *prediction)
{
    const size_t bytes = qn_model_scratch_bytes(m, batch);
    void *scratch = qn_mem_aligned(64, (bytes + 63) / 64 * 64);
    const double *columns[INPUTS_MAX];

    assert_non_null(scratch);
    for (uint32_t first = 0; first < ROWS; first += batch) {
        uint32_t n = ROWS - first < batch ? ROWS - first : batch;

        for (unsigned i = 0; i < m->info.inputs; i++)
            columns[i] = column_values[i] + first;
        memset(scratch, 0xa5, bytes);
        qn_model_score(m, columns, n, scratch, margin + first, prediction + first, ROWS);
    }
    qn_mem_free(scratch);
}

/* Loads, and compares every kernel, or the one that QUERN_KERNEL names, with `walk`; at all batch
 * sizes or at some. Returns how many vector kernels ran. */
static unsigned check(const struct qn_buf *text, const struct qn_model_options *options,
                      bool all_batches, const char *what, unsigned number)
{
    static const uint32_t some[] = {1, 2, 7, 16, 17, 32, 33, 63, 64, 65, 130, 0};
    static double want[OUTPUTS_MAX * ROWS], want_p[OUTPUTS_MAX * ROWS];
    static double got[OUTPUTS_MAX * ROWS], got_p[OUTPUTS_MAX * ROWS];
    const char *only = getenv("QUERN_KERNEL");
    struct qn_model *m = NULL;
    struct qn_err err = {0};
    unsigned ran = 0;
    size_t bytes;

    if (qn_model_load_bytes(models_bytes(text), "m", options, &m, &err) != QN_OK)
        fail_msg("%s %u: %s", what, number, err.text);
    assert_true(m->info.inputs <= INPUTS_MAX && m->info.outputs <= OUTPUTS_MAX);
    bytes = (size_t)m->info.outputs * ROWS * sizeof(double);
    fill_rows(m);
    assert_true(qn_model_force_kernel(m, "walk"));
    memset(want_p, 0, sizeof(want_p));
    score(m, ROWS, want, want_p);
    for (unsigned k = 0; qn_model_kernel_name(k) != NULL; k++) {
        const char *name = qn_model_kernel_name(k);

        if ((only != NULL && strcmp(name, only) != 0) || !qn_model_force_kernel(m, name))
            continue;
        ran += strncmp(name, "avx", 3) == 0 || strcmp(name, "neon") == 0;
        for (uint32_t i = 0; all_batches ? i < ROWS : some[i] != 0; i++) {
            const uint32_t batch = all_batches ? i + 1 : some[i];

            memset(got, 0, bytes);
            memset(got_p, 0, sizeof(got_p));
            score(m, batch, got, got_p);
            if (memcmp(got, want, bytes) != 0 || memcmp(got_p, want_p, bytes) != 0)
                fail_msg("%s %u: kernel %s differs at batch %u", what, number, name, batch);
        }
    }
    qn_model_free(m);
    return ran;
}

static unsigned kernels_here(void)
{
    /* neon; avx2; avx512 and avx512x8 */
    return (unsigned)qn_model_cpu_has(QN_CPU_NEON) + (unsigned)qn_model_cpu_has(QN_CPU_AVX2) +
           2 * qn_model_cpu_has(QN_CPU_AVX512);
}

/* ---- numbers of cuts ---- */

static double cut_value(unsigned i, unsigned cuts)
{
    /* the ends are the values that are hard to order */
    if (i == 0)
        return -FLT_MAX;
    if (i + 1 == cuts)
        return FLT_MAX;
    if (i == cuts / 2)
        return 1e-40;
    return (double)(float)(((double)i - cuts / 2.0) * 0.37);
}

/* One column, a tree of one test for each cut. */
static void stumps_xgboost(struct qn_buf *b, unsigned cuts)
{
    qn_buf_clear(b);
    qn_buf_text(
        b, "{\"learner\":{\"attributes\":{},\"feature_names\":[],\"gradient_booster\":{\"model\":"
           "{\"gbtree_model_param\":{\"num_parallel_tree\":\"1\"},\"tree_info\":[");
    for (unsigned i = 0; i < cuts; i++)
        qn_buf_text(b, i ? ",0" : "0");
    qn_buf_text(b, "],\"trees\":[");
    for (unsigned i = 0; i < cuts; i++)
        qn_buf_printf(b,
                      "%s{\"left_children\":[1,-1,-1],\"right_children\":[2,-1,-1],"
                      "\"split_indices\":[0,0,0],\"default_left\":[%u,0,0],\"split_type\":[0,0,0],"
                      "\"split_conditions\":[%.9g,%.9g,%.9g],\"categories_nodes\":[],"
                      "\"categories_segments\":[],\"categories_sizes\":[],\"categories\":[]}",
                      i ? "," : "", i % 2, cut_value(i, cuts), i * 0.013 + 0.7, -0.3 - i * 0.017);
    qn_buf_text(b, "]},\"name\":\"gbtree\"},\"learner_model_param\":{\"base_score\":\"5E-1\","
                   "\"num_class\":\"0\",\"num_feature\":\"1\"},\"objective\":{\"name\":"
                   "\"binary:logistic\"}},\"version\":[3,2,0]}");
    assert_false(b->failed);
}

static void stumps_lightgbm(struct qn_buf *b, unsigned cuts)
{
    qn_buf_clear(b);
    qn_buf_text(b, "tree\nversion=v4\nnum_class=1\nnum_tree_per_iteration=1\nlabel_index=0\n"
                   "max_feature_idx=0\nobjective=binary sigmoid:1\nfeature_names=c0\n\n");
    for (unsigned i = 0; i < cuts; i++)
        qn_buf_printf(b,
                      "Tree=%u\nnum_leaves=2\nnum_cat=0\nsplit_feature=0\nthreshold=%.17g\n"
                      "decision_type=%u\nleft_child=-1\nright_child=-2\nleaf_value=%.17g %.17g\n"
                      "is_linear=0\nshrinkage=1\n\n\n",
                      i, cut_value(i, cuts), (i % 3) << 2 | (i % 2) << 1, i * 0.013 + 0.7,
                      -0.3 - i * 0.017);
    qn_buf_text(b, "end of trees\n\nfeature_importances:\n");
    assert_false(b->failed);
}

static void test_cuts(void **state)
{
    static const unsigned numbers[] = {1,   2,   3,   4,   7,   8,   9,   14,  15,  16,  17,
                                       31,  32,  33,  47,  63,  64,  65,  126, 127, 128, 200,
                                       239, 240, 241, 253, 254, 255, 256, 257, 510, 513};
    struct qn_buf text = {0};
    unsigned ran = 0, models = 0;

    models_seed();
    for (unsigned i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        const unsigned cuts = numbers[i];

        stumps_xgboost(&text, cuts);
        ran += check(&text, NULL, false, "float, cuts", cuts);
        stumps_lightgbm(&text, cuts);
        ran += check(&text, NULL, false, "double, cuts", cuts);
        models += 2;
    }
    printf("%u models, %u runs of vector kernels\n", models, ran);
    assert_int_equal(ran, models * kernels_here());
    qn_buf_fini(&text);
}

/* ---- columns, depth, shape, outputs ---- */

static void test_columns(void **state)
{
    struct qn_buf text = {0};
    unsigned ran = 0;

    models_seed();
    for (unsigned inputs = 1; inputs < INPUTS_MAX; inputs += inputs < 20 ? 3 : 13) {
        const struct model_shape shape = {.trees = 2 * inputs + 10,
                                          .leaves = 20,
                                          .inputs = inputs,
                                          .outputs = 1,
                                          .values = 9,
                                          .has_categories = inputs % 2 == 0,
                                          .has_zero_missing = inputs % 3 == 0};

        models_xgboost(&text, &shape);
        ran += check(&text, NULL, false, "float, columns", inputs);
        models_lightgbm(&text, &shape);
        ran += check(&text, NULL, false, "double, columns", inputs);
    }
    printf("%u runs of vector kernels\n", ran);
    assert_true(kernels_here() == 0 || ran > 20);
    qn_buf_fini(&text);
}

static void test_shapes(void **state)
{
    struct qn_buf text = {0};
    unsigned ran = 0;

    models_seed();
    for (unsigned leaves = 1; leaves <= 200; leaves += leaves < 16 ? 2 : leaves < 72 ? 9 : 40) {
        for (unsigned outputs = 1; outputs <= OUTPUTS_MAX; outputs += 4) {
            const struct model_shape shape = {
                .trees = 20, .leaves = leaves, .inputs = 4, .outputs = outputs, .values = 60};

            models_xgboost(&text, &shape);
            ran += check(&text, NULL, leaves == 13, "float, leaves", leaves);
            models_lightgbm(&text, &shape);
            ran += check(&text, NULL, leaves == 13, "double, leaves", leaves);
        }
    }
    printf("%u runs of vector kernels\n", ran);
    assert_true(kernels_here() == 0 || ran > 20);
    qn_buf_fini(&text);
}

/* A perfect tree of each depth, the form that random growth never makes. */
static void perfect_lightgbm(struct qn_buf *b, unsigned depth, unsigned trees, unsigned inputs)
{
    const unsigned inner = (1u << depth) - 1;

    qn_buf_clear(b);
    qn_buf_printf(b,
                  "tree\nversion=v4\nnum_class=1\nnum_tree_per_iteration=1\nlabel_index=0\n"
                  "max_feature_idx=%u\nobjective=regression\nfeature_names=",
                  inputs - 1);
    for (unsigned i = 0; i < inputs; i++)
        qn_buf_printf(b, "%sc%u", i > 0 ? " " : "", i);
    qn_buf_text(b, "\n\n");
    for (unsigned t = 0; t < trees; t++) {
        qn_buf_printf(b, "Tree=%u\nnum_leaves=%u\nnum_cat=0\nsplit_feature=", t, inner + 1);
        for (unsigned i = 0; i < inner; i++)
            qn_buf_printf(b, "%u ", models_draw(inputs));
        qn_buf_text(b, "\nthreshold=");
        for (unsigned i = 0; i < inner; i++)
            qn_buf_printf(b, "%.17g ", models_cut(70));
        qn_buf_text(b, "\ndecision_type=");
        for (unsigned i = 0; i < inner; i++)
            qn_buf_printf(b, "%u ", 8 | models_draw(2) << 1);
        qn_buf_text(b, "\nleft_child=");
        for (unsigned i = 0; i < inner; i++)
            qn_buf_printf(b, "%d ",
                          2 * i + 1 < inner ? (int)(2 * i + 1) : ~(int)(2 * i + 1 - inner));
        qn_buf_text(b, "\nright_child=");
        for (unsigned i = 0; i < inner; i++)
            qn_buf_printf(b, "%d ",
                          2 * i + 2 < inner ? (int)(2 * i + 2) : ~(int)(2 * i + 2 - inner));
        qn_buf_text(b, "\nleaf_value=");
        for (unsigned i = 0; i <= inner; i++)
            qn_buf_printf(b, "%.17g ", ((int)models_draw(20001) - 10000) / 7919.0);
        qn_buf_text(b, "\nis_linear=0\nshrinkage=1\n\n\n");
    }
    qn_buf_text(b, "end of trees\n\nfeature_importances:\n");
    assert_false(b->failed);
}

static void test_depths(void **state)
{
    struct qn_buf text = {0};
    unsigned ran = 0;

    models_seed();
    for (unsigned depth = 1; depth <= 9; depth++) {
        perfect_lightgbm(&text, depth, 9, 6);
        ran += check(&text, NULL, depth == 6, "perfect, depth", depth);
    }
    printf("%u runs of vector kernels\n", ran);
    /* avx512x8: depth 1 to 6, the others: 1 to 8 */
    assert_int_equal(ran, 8 * kernels_here() - 2 * qn_model_cpu_has(QN_CPU_AVX512));
    qn_buf_fini(&text);
}

/* More columns than a register has bytes, and shallow trees in several sets of 64: the forms for
 * single rows and for eight trees at a time. */
static void test_wide(void **state)
{
    static const unsigned inputs[] = {16, 17, 31, 32, 33, 40, 63, 64, 65, 100, 127, 129, 150};
    struct qn_buf text = {0};
    unsigned ran = 0;

    models_seed();
    for (unsigned i = 0; i < sizeof(inputs) / sizeof(inputs[0]); i++) {
        const struct model_shape shape = {.trees = 150,
                                          .leaves = 8,
                                          .inputs = inputs[i],
                                          .outputs = i % 4 == 1 ? 3 : 1,
                                          .values = 9,
                                          .has_categories = i % 5 == 2};

        perfect_lightgbm(&text, 3 + i % 6, 130, inputs[i]);
        ran += check(&text, NULL, i == 3 || i == 8, "double, wide", inputs[i]);
        models_xgboost(&text, &shape);
        ran += check(&text, NULL, i == 3 || i == 8, "float, wide", inputs[i]);
    }
    printf("%u runs of vector kernels\n", ran);
    assert_true(kernels_here() == 0 || ran >= 26);
    qn_buf_fini(&text);
}

/* CatBoost's symmetric trees; some borders at the ends of float. */
static void symmetric_catboost(struct qn_buf *b, unsigned depth, unsigned trees, unsigned inputs,
                               unsigned outputs)
{
    qn_buf_clear(b);
    qn_buf_text(b, "{\"features_info\":{\"float_features\":[");
    for (unsigned i = 0; i < inputs; i++)
        qn_buf_printf(b,
                      "%s{\"feature_index\":%u,\"flat_feature_index\":%u,\"feature_id\":\"c%u\","
                      "\"nan_value_treatment\":\"As%s\"}",
                      i > 0 ? "," : "", i, i, i, models_draw(2) ? "True" : "False");
    qn_buf_printf(b,
                  "]},\"model_info\":{\"params\":{\"loss_function\":{\"type\":\"%s\"}}},"
                  "\"oblivious_trees\":[",
                  outputs > 1 ? "MultiClass" : "Logloss");
    for (unsigned t = 0; t < trees; t++) {
        const unsigned levels = t % 3 == 0 ? 1 + models_draw(depth) : depth;

        qn_buf_printf(b, "%s{\"leaf_values\":[", t > 0 ? "," : "");
        for (unsigned i = 0; i < outputs << levels; i++)
            qn_buf_printf(b, "%s%.17g", i > 0 ? "," : "",
                          ((int)models_draw(20001) - 10000) / 7919.0);
        qn_buf_text(b, "],\"splits\":[");
        for (unsigned i = 0; i < levels; i++)
            qn_buf_printf(b,
                          "%s{\"split_type\":\"FloatFeature\",\"float_feature_index\":%u,"
                          "\"border\":%.9g}",
                          i > 0 ? "," : "", models_draw(inputs), models_cut(70));
        qn_buf_text(b, "]}");
    }
    qn_buf_text(b, "],\"scale_and_bias\":[1,[0.25");
    for (unsigned i = 1; i < outputs; i++)
        qn_buf_text(b, ",0.5");
    qn_buf_text(b, "]]}");
    assert_false(b->failed);
}

static void test_symmetric(void **state)
{
    static const unsigned inputs[] = {1, 5, 40, 90};
    struct qn_buf text = {0};
    unsigned ran = 0, models = 0;

    models_seed();
    for (unsigned depth = 1; depth <= 12; depth += depth < 9 ? 1 : 3) {
        for (unsigned i = 0; i < sizeof(inputs) / sizeof(inputs[0]); i++) {
            const unsigned outputs = i == 1 && depth % 2 == 0 ? 3 : 1;

            symmetric_catboost(&text, depth, depth > 8 ? 7 : 40, inputs[i], outputs);
            ran += check(&text, NULL, i == 1 && (depth == 6 || depth == 8), "symmetric, depth",
                         100 * depth + inputs[i]);
            models++;
        }
    }
    printf("%u models, %u runs of vector kernels\n", models, ran);
    /* avx512x8 has no room for the deep and the wide */
    assert_true(kernels_here() == 0 || ran >= models * (kernels_here() > 1 ? 2 : 1));
    qn_buf_fini(&text);
}

/* ---- options ---- */

static void test_missing_value(void **state)
{
    static const double missing[] = {0.0, 1e-40, -1, 0.1, FLT_MAX, INFINITY, 37};
    const struct model_shape shape = {
        .trees = 30, .leaves = 30, .inputs = 5, .outputs = 1, .values = 30};
    struct qn_buf text = {0};

    models_seed();
    for (unsigned i = 0; i < sizeof(missing) / sizeof(missing[0]); i++) {
        const struct qn_model_options options = {.has_missing = true, .missing = missing[i]};

        models_xgboost(&text, &shape);
        check(&text, &options, false, "float, missing value", i);
        models_lightgbm(&text, &shape);
        check(&text, &options, false, "double, missing value", i);
    }
    qn_buf_fini(&text);
}

static const char *kernel_with_cap(const struct qn_buf *text, const char *cap)
{
    struct qn_model *m = NULL;
    const char *kernel;

    assert_true(qn_model_cap(cap));
    assert_int_equal(qn_model_load_bytes(models_bytes(text), "m", NULL, &m, NULL), QN_OK);
    kernel = qn_model_info(m)->kernel;
    assert_true(strlen(qn_model_info(m)->kernel_reason) > 0);
    qn_model_free(m);
    assert_true(qn_model_cap(NULL));
    return kernel;
}

static void test_cap(void **state)
{
    const bool has_avx2 = qn_model_cpu_has(QN_CPU_AVX2);
    const bool has_avx512 = qn_model_cpu_has(QN_CPU_AVX512);
    const char *other = qn_model_cpu_has(QN_CPU_NEON) ? "neon" : "columns16";
    const char *avx2 = has_avx2 ? "avx2" : other;
    struct qn_buf text = {0};

    printf("NEON %s, AVX2 %s, AVX-512 %s\n", qn_model_cpu_has(QN_CPU_NEON) ? "yes" : "no",
           has_avx2 ? "yes" : "no", has_avx512 ? "yes" : "no");
    perfect_lightgbm(&text, 5, 20, 6);
    assert_string_equal(kernel_with_cap(&text, "portable"), "columns16");
    assert_string_equal(kernel_with_cap(&text, "neon"), other);
    assert_string_equal(kernel_with_cap(&text, "avx2"), avx2);
    /* avx512 or avx512x8, whichever is quicker here */
    for (unsigned i = 0; i < 2; i++) {
        const char *kernel = kernel_with_cap(&text, i == 0 ? "avx512" : NULL);

        assert_memory_equal(kernel, has_avx512 ? "avx512" : avx2,
                            has_avx512 ? 6 : strlen(avx2) + 1);
    }
    assert_false(qn_model_cap("sse"));
    assert_false(qn_model_cap(""));
    qn_buf_fini(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cuts),          cmocka_unit_test(test_columns),
        cmocka_unit_test(test_shapes),        cmocka_unit_test(test_depths),
        cmocka_unit_test(test_wide),          cmocka_unit_test(test_symmetric),
        cmocka_unit_test(test_missing_value), cmocka_unit_test(test_cap)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
