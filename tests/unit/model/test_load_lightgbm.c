/* SPDX-License-Identifier: Apache-2.0
 * test_load_lightgbm.c - missing types, categories, linear leaves, transforms and refusals of
 * LightGBM text. */
#include "models.h"

#define HEAD                                                                                       \
    "tree\nversion=v4\nnum_class=1\nnum_tree_per_iteration=1\nmax_feature_idx=1\nobjective="       \
    "regression\n"                                                                                 \
    "feature_names=a b\n\n"
#define STUMP(threshold, type, more)                                                               \
    "Tree=0\nnum_leaves=2\nnum_cat=0\nsplit_feature=0\nthreshold=" threshold                       \
    "\ndecision_type=" type "\nleft_child=-1\nright_child=-2\nleaf_value=10 20\n" more             \
    "\n\nend of trees\n"

/* Scores x as input 0 with every kernel; all must agree. */
static double score(const char *text, double x)
{
    struct qn_model *m = models_load(text);
    double first = NAN;

    for (unsigned k = 0; qn_model_kernel_name(k) != NULL; k++) {
        double got;

        if (!qn_model_force_kernel(m, qn_model_kernel_name(k)))
            continue;
        got = models_score(m, (double[]){x, 0}, NULL);
        assert_true(isnan(first) || got == first);
        first = got;
    }
    qn_model_free(m);
    return first;
}

static void test_missing_types(void **state)
{
    /* none: NaN is 0 */
    assert_true(score(HEAD STUMP("-0.5", "0", ""), NAN) == 20);
    assert_true(score(HEAD STUMP("0.5", "0", ""), NAN) == 10);
    assert_true(score(HEAD STUMP("0", "2", ""), NAN) == 10);
    /* zero: NaN and what is nearly zero go the default way */
    assert_true(score(HEAD STUMP("-0.5", "6", ""), NAN) == 10);
    assert_true(score(HEAD STUMP("-0.5", "6", ""), 1e-36) == 10);
    assert_true(score(HEAD STUMP("-0.5", "6", ""), 1e-34) == 20);
    assert_true(score(HEAD STUMP("0.5", "4", ""), -0.0) == 20);
    assert_true(score(HEAD STUMP("0.5", "4", ""), 0.4) == 10);
    /* NaN: only NaN */
    assert_true(score(HEAD STUMP("0.5", "8", ""), NAN) == 20);
    assert_true(score(HEAD STUMP("0.5", "10", ""), NAN) == 10);
    assert_true(score(HEAD STUMP("0.5", "8", ""), 0) == 10);
    /* thresholds are inclusive; tiny values are zero, infinity is a threshold */
    assert_true(score(HEAD STUMP("0.1", "8", ""), 0.1) == 10);
    assert_true(score(HEAD STUMP("0.1", "8", ""), nextafter(0.1, 1)) == 20);
    assert_true(score(HEAD STUMP("-1e-37", "8", ""), -1e-36) == 20);
    assert_true(score(HEAD STUMP("inf", "8", ""), INFINITY) == 10);
    assert_true(score(HEAD STUMP("inf", "8", ""), NAN) == 20);
    assert_true(score(HEAD STUMP("-inf", "8", ""), -INFINITY) == 10);
    assert_true(score(HEAD STUMP("-inf", "8", ""), -1e308) == 20);
}

static void test_categories(void **state)
{
    static const char text[] = HEAD STUMP("0", "1", "cat_boundaries=0 2\ncat_threshold=3 4\n");
    const double left[] = {0, 1, 34, 0.9, -0.9, 1e-40, -0.0},
                 right[] = {2,        33,       35, 64, -1, NAN, 4294967296.0, -4294967296.0,
                            INFINITY, -INFINITY};

    for (unsigned i = 0; i < 7; i++)
        assert_true(score(text, left[i]) == 10);
    for (unsigned i = 0; i < 10; i++)
        assert_true(score(text, right[i]) == 20);
}

static void test_linear_leaves(void **state)
{
    static const char text[] = HEAD STUMP(
        "0", "8",
        "is_linear=1\nleaf_const=1 2\nnum_features=1 0\nleaf_features=0  \nleaf_coeff=3  \n");

    assert_true(score(text, -2) == 1 + 3 * -2.0);
    assert_true(score(text, -INFINITY) == -INFINITY);
    assert_true(score(text, 5) == 2);
    assert_true(score(text, NAN) == 2);
}

static void test_transforms(void **state)
{
#define WITH(objective, more)                                                                      \
    "tree\nversion=v3\nnum_tree_per_iteration=1\nmax_feature_idx=0\nobjective=" objective          \
    "\n" more "\nTree=0\nnum_leaves=1\nleaf_value=-2\n\nTree=1\nnum_leaves=1\nleaf_value=-"        \
    "1\n\nend of trees\n"
    static const struct {
        const char *text;
        double want;
    } models[] = {
        {WITH("regression", ""), -3},
        {WITH("regression sqrt", ""), -9},
        {WITH("regression", "average_output\n"), -1.5},
        {WITH("binary sigmoid:2", ""), 0.0024726231566347743},
        {WITH("binary sigmoid:1", "average_output\n"), 0.18242552380635635},
        {WITH("poisson", ""), 0.049787068367863944},
        {WITH("cross_entropy_lambda", ""), 0.048587351573742056},
        {WITH("custom", ""), -3},
        {WITH("", ""), -3},
    };

    for (size_t i = 0; i < sizeof(models) / sizeof(models[0]); i++) {
        struct qn_model *m = models_load(models[i].text);
        double prediction;

        assert_true(models_score(m, (double[]){0}, &prediction) == -3);
        if (fabs(prediction - models[i].want) > 1e-15)
            fail_msg("model %zu: %.17g, expected %.17g", i, prediction, models[i].want);
        qn_model_free(m);
    }
}

static void test_refusals(void **state)
{
    static const struct {
        const char *text, *words;
    } files[] = {
        {HEAD, "cut off"},
        {HEAD "Tree=0\nnum_leaves=1\nleaf_value=1\n", "cut off"},
        {"tree\nversion=v4\nnum_tree_per_iteration=1\n", "max_feature_idx"},
        {"tree\nversion=v4\nnum_tree_per_iteration=0\nmax_feature_idx=0\n",
         "num_tree_per_iteration"},
        {"tree\nversion=v4\nnum_tree_per_iteration=1\nmax_feature_idx=99999999\n", "inputs"},
        {"tree\nversion=v4\nnum_tree_per_iteration=1\nmax_feature_idx=0\nobjective=alien\n",
         "alien"},
        {"tree\nversion=v4\nnum_tree_per_iteration=1\nmax_feature_idx=0\nfeature_names=a b\n",
         "2 features"},
        {HEAD "Tree=0\nnum_leaves=0\nleaf_value=\n", "num_leaves"},
        {HEAD "Tree=0\nleaf_value=1\n", "num_leaves"},
        {HEAD "Tree=0\nnum_leaves=2\nleaf_value=1\n", "leaf_value has 1"},
        {HEAD "Tree=0\nnum_leaves=2\nleaf_value=1 x\n", "'x'"},
        {HEAD STUMP("1 2", "0", ""), "threshold has 2"},
        {HEAD STUMP("nan", "0", ""), "NaN"},
        {HEAD STUMP("1", "12", ""), "decision_type"},
        {HEAD STUMP("1", "999", ""), "decision_type"},
        {HEAD STUMP("0", "1", ""), "no set"},
        {HEAD STUMP("0", "1", "cat_boundaries=0 3\ncat_threshold=1\n"), "cat_boundaries"},
        {HEAD STUMP("0", "1", "cat_boundaries=1 0\ncat_threshold=1\n"), "cat_boundaries"},
        {HEAD STUMP("0", "1", "cat_boundaries=0 1\ncat_threshold=1.5\n"), "32-bit"},
        {HEAD STUMP("0", "0", "is_linear=1\nleaf_const=1\n"), "leaf_const has 1"},
        {HEAD STUMP(
             "0", "0",
             "is_linear=1\nleaf_const=1 2\nnum_features=1 0\nleaf_features=7\nleaf_coeff=1\n"),
         "leaf_features"},
        {HEAD "Tree=0\nnum_leaves=2\nsplit_feature=5\nthreshold=1\ndecision_type=0\nleft_child=-1\n"
              "right_child=-2\nleaf_value=1 2\n",
         "does not have"},
        {HEAD "Tree=0\nnum_leaves=2\nsplit_feature=0\nthreshold=1\ndecision_type=0\nleft_child=-1\n"
              "right_child=-1\nleaf_value=1 2\n",
         "twice the same"},
        {HEAD "Tree=0\nnum_leaves=2\nsplit_feature=0\nthreshold=1\ndecision_type=0\nleft_child=0\n"
              "right_child=-1\nleaf_value=1 2\n",
         "reached twice"},
        {HEAD "Tree=0\nnum_leaves=2\nsplit_feature=0\nthreshold=1\ndecision_type=0\nleft_child=1\n"
              "right_child=-3\nleaf_value=1 2\n",
         "outside the tree"},
        {HEAD "tree_sizes=10 20\nTree=0\nnum_leaves=1\nleaf_value=1\n\nend of trees\n", "cut off"},
    };

    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
        models_refuse(qn_str_of(files[i].text), files[i].words);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_missing_types), cmocka_unit_test(test_categories),
        cmocka_unit_test(test_linear_leaves), cmocka_unit_test(test_transforms),
        cmocka_unit_test(test_refusals),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
