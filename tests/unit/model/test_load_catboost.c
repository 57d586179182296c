/* SPDX-License-Identifier: Apache-2.0
 * test_load_catboost.c - CatBoost JSON: symmetric and ordinary trees, missing values, one-hot
 * splits, bias, refusals, damage, no memory. */
#include "models.h"

#define FLOATS                                                                                     \
    "\"float_features\":[{\"feature_index\":0,\"flat_feature_index\":0,\"feature_name\":\"a\","    \
    "\"nan_value_treatment\":\"AsFalse\"},{\"feature_index\":1,\"flat_feature_index\":2,"          \
    "\"feature_id\":\"b\",\"nan_value_treatment\":\"AsTrue\"}]"
#define CATEGORIES                                                                                 \
    "\"categorical_features\":[{\"feature_index\":0,\"flat_feature_index\":1,"                     \
    "\"feature_name\":\"c\",\"values\":[-2]}],\"cat_features_hash\":[{\"hash\":4294967294,"        \
    "\"value\":\"7\"},{\"hash\":5,\"value\":\"red\"},{\"hash\":6,\"value\":\"07\"}]"
#define HEAD "{\"features_info\":{" FLOATS "," CATEGORIES "},"
#define LOSS(name)                                                                                 \
    "\"model_info\":{\"params\":{\"x\":[1],\"loss_function\":{\"type\":\"" name "\"}}},"
#define SPLIT_A "{\"split_type\":\"FloatFeature\",\"float_feature_index\":0,\"border\":0.5}"
#define SPLIT_B "{\"split_type\":\"FloatFeature\",\"float_feature_index\":1,\"border\":-1}"
#define SPLIT_C "{\"split_type\":\"OneHotFeature\",\"cat_feature_index\":0,\"value\":-2}"
#define SCALE   "\"scale_and_bias\":[1,[0.25]]}"
#define OBLIVIOUS                                                                                  \
    "\"oblivious_trees\":[{\"leaf_values\":[1,2,4,8],\"splits\":[" SPLIT_A "," SPLIT_B "]}],"
#define SYMMETRIC HEAD LOSS("RMSE") OBLIVIOUS SCALE
#define ORDINARY                                                                                   \
    HEAD LOSS("Logloss") "\"trees\":[{\"left\":{\"value\":-1,\"weight\":3},\"right\":{\"left\":"   \
                         "{\"value\":1},\"right\":{\"value\":2},\"split\":" SPLIT_C "},"           \
                         "\"split\":" SPLIT_A "}]," SCALE

static void test_symmetric(void **state)
{
    struct qn_model *m = models_load(SYMMETRIC);
    const struct qn_model_info *info = qn_model_info(m);

    assert_string_equal(info->format, "catboost-json");
    assert_string_equal(info->objective, "RMSE");
    assert_int_equal(info->trees_in_file, 1);
    assert_int_equal(info->inputs, 3);
    assert_true(qn_str_is(info->input_names[1], "c"));
    assert_true(qn_str_is(info->input_names[2], "b"));
    /* bit 0 is a > 0.5, bit 1 is b > -1 */
    assert_true(models_score(m, (double[]){0.5, 0, -1}, NULL) == 1.25);
    assert_true(models_score(m, (double[]){0.5000001, 0, -1}, NULL) == 2.25);
    assert_true(models_score(m, (double[]){0.5 + 1e-9, 0, 0}, NULL) == 4.25);
    assert_true(models_score(m, (double[]){1, 0, 0}, NULL) == 8.25);
    assert_true(models_score(m, (double[]){NAN, 0, NAN}, NULL) == 4.25);
    qn_model_free(m);
}

static void test_ordinary(void **state)
{
    struct qn_model *m = models_load(ORDINARY);
    double prediction;

    assert_true(models_score(m, (double[]){0, 7, 0}, &prediction) == -0.75);
    assert_true(fabs(prediction - 0.32082130082460703) < 1e-15);
    assert_true(models_score(m, (double[]){1, 7, 0}, NULL) == 2.25);
    assert_true(models_score(m, (double[]){1, 6, 0}, NULL) == 1.25);
    assert_true(models_score(m, (double[]){1, NAN, 0}, NULL) == 1.25);
    qn_model_free(m);
}

static void test_classes(void **state)
{
    struct qn_model *m =
        models_load(HEAD LOSS("MultiClass") "\"oblivious_trees\":[{\"leaf_values\":[1,2,3,3],"
                                            "\"splits\":[" SPLIT_A "]}],"
                                            "\"scale_and_bias\":[1,[0,0]]}");
    double prediction;

    assert_int_equal(qn_model_info(m)->outputs, 2);
    assert_true(models_score(m, (double[]){1, 0, 0}, &prediction) == 3);
    assert_true(prediction == 0.5);
    qn_model_free(m);
}

static void test_refusals(void **state)
{
    static const struct {
        const char *text, *words;
    } files[] = {
        {"{\"oblivious_trees\":[]}", "behind 'features_info'"},
        {HEAD LOSS("Focal") OBLIVIOUS SCALE, "'Focal' is not known"},
        {HEAD OBLIVIOUS SCALE, "lacks"},
        {HEAD LOSS("RMSE") SCALE, "lacks"},
        {HEAD LOSS("RMSE") OBLIVIOUS OBLIVIOUS SCALE, "one list"},
        {HEAD LOSS("RMSE") OBLIVIOUS "\"scale_and_bias\":[2,[0]]}", "scale other than 1"},
        {HEAD LOSS("RMSE") OBLIVIOUS "\"scale_and_bias\":[1,[0,1]]}", "2 biases"},
        {HEAD LOSS("RMSE") "\"oblivious_trees\":[{\"leaf_values\":[1,2,3],\"splits\":[" SPLIT_A
                           "]}]," SCALE,
         "does not fit"},
        {HEAD LOSS("RMSE") "\"oblivious_trees\":[{\"leaf_values\":[1,2],\"splits\":["
                           "{\"split_type\":\"OnlineCtr\"}]}]," SCALE,
         "one_hot_max_size"},
        {HEAD LOSS("RMSE") "\"oblivious_trees\":[{\"leaf_values\":[1,2],\"splits\":["
                           "{\"split_type\":\"OneHotFeature\",\"cat_feature_index\":0,"
                           "\"value\":9}]}]," SCALE,
         "pool=pool"},
        {HEAD LOSS("RMSE") "\"oblivious_trees\":[{\"leaf_values\":[1,2],\"splits\":["
                           "{\"split_type\":\"OneHotFeature\",\"cat_feature_index\":0,"
                           "\"value\":6}]}]," SCALE,
         "no whole number"},
        {HEAD LOSS("RMSE") "\"oblivious_trees\":[{\"leaf_values\":[1,2],\"splits\":["
                           "{\"split_type\":\"FloatFeature\",\"float_feature_index\":2,"
                           "\"border\":9}]}]," SCALE,
         "no feature"},
        {HEAD LOSS("RMSE") "\"trees\":[{\"left\":{\"value\":1},\"split\":" SPLIT_A "}]," SCALE,
         "two children"},
        {HEAD LOSS("RMSE") "\"trees\":[{\"left\":{\"value\":1},\"right\":{\"value\":[1,2]},"
                           "\"split\":" SPLIT_A "}]," SCALE,
         "differ in number of values"},
        {HEAD LOSS("RMSE") "\"trees\":[{\"value\":1,\"left\":{\"value\":1}}]," SCALE,
         "stands once"},
        {HEAD LOSS("RMSE") "\"trees\":[{\"value\":1,\"value\":1}]," SCALE, "one value"},
        {HEAD LOSS("RMSE") "\"trees\":[{\"value\":1,\"split\":" SPLIT_A "}]," SCALE, "one split"},
        {"{\"features_info\":{\"text_features\":[{}]}}", "text or embedding"},
        {"{\"features_info\":{\"float_features\":[{\"feature_index\":1}]}}", "feature_index"},
        {SYMMETRIC " x", ""},
    };

    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
        models_refuse(qn_str_of(files[i].text), files[i].words);
}

static void test_truncated(void **state)
{
    const char *texts[] = {SYMMETRIC, ORDINARY};

    for (unsigned k = 0; k < 2; k++) {
        for (uint32_t len = 1; len < strlen(texts[k]); len++)
            models_refuse((struct qn_str){texts[k], len}, "");
    }
}

static void test_no_memory(void **state)
{
    const char *texts[] = {SYMMETRIC, ORDINARY};
    qn_status rc = QN_NOMEM;

    for (unsigned later = 0; later < 4; later++) {
        for (uint64_t nth = 1; nth < 200; nth++) {
            struct qn_model *m = NULL;
            struct qn_err err = {0};

            qn_mem_fail_at(nth, later % 2 != 0);
            rc = qn_model_load_bytes(qn_str_of(texts[later / 2]), "m", NULL, &m, &err);
            qn_mem_fail_at(0, false);
            if (rc == QN_OK) {
                qn_model_free(m);
                assert_true(nth > 10);
                break;
            }
            assert_int_equal(rc, QN_NOMEM);
            assert_null(m);
        }
        assert_int_equal(rc, QN_OK);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_symmetric), cmocka_unit_test(test_ordinary),
        cmocka_unit_test(test_classes),   cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_truncated), cmocka_unit_test(test_no_memory)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
