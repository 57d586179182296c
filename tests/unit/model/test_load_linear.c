/* SPDX-License-Identifier: Apache-2.0
 * test_load_linear.c - the linear JSON: arithmetic, missing values, links, refusals. */
#include "models.h"

#define START "{\"format\":\"quern-linear\",\"version\":1,\"inputs\":[\"a\",\"b\"],"

static void test_arithmetic(void **state)
{
    struct qn_model *m = models_load(START "\"coefficients\":[0.1,0.2],\"intercepts\":[0.3]}");
    const struct qn_model_info *info = qn_model_info(m);
    double prediction;

    assert_string_equal(info->format, "linear-json");
    assert_string_equal(info->kernel, "linear");
    assert_true(qn_str_is(info->input_names[1], "b"));
    assert_true(models_score(m, (double[]){3, 7}, &prediction) == (0.3 + 0.1 * 3.0) + 0.2 * 7.0);
    assert_true(prediction == (0.3 + 0.1 * 3.0) + 0.2 * 7.0);
    assert_true(isnan(models_score(m, (double[]){NAN, 7}, &prediction)));
    assert_true(isnan(prediction));
    qn_model_free(m);

    m = models_load(START
                    "\"coefficients\":[[2,3]],\"mean\":[1,2],\"scale\":[4,5],\"fill\":[9,null]}");
    assert_true(models_score(m, (double[]){NAN, 7}, NULL) == 2 * 2.0 + 3 * 1.0);
    assert_true(isnan(models_score(m, (double[]){1, NAN}, NULL)));
    qn_model_free(m);
}

static void test_links(void **state)
{
    static const struct {
        const char *text;
        double want;
    } models[] = {
        {START "\"coefficients\":[[1,1]],\"link\":\"logistic\"}", 0.95257412682243336},
        {START "\"coefficients\":[[1,1]],\"link\":\"exp\"}", 20.085536923187668},
        {START "\"coefficients\":[[1,1],[0,0]],\"link\":\"softmax\"}", 0.95257412682243336},
        {START "\"coefficients\":[[1,1]],\"link\":\"identity\",\"comment\":{\"by\":[1,2]}}", 3},
    };

    for (size_t i = 0; i < sizeof(models) / sizeof(models[0]); i++) {
        struct qn_model *m = models_load(models[i].text);
        double prediction;

        models_score(m, (double[]){1, 2}, &prediction);
        if (fabs(prediction - models[i].want) > 1e-14)
            fail_msg("model %zu: %.17g, expected %.17g", i, prediction, models[i].want);
        qn_model_free(m);
    }
}

static void test_refusals(void **state)
{
    static const struct {
        const char *text, *words;
    } files[] = {
        {START "\"coefficients\":[1]}", "'coefficients' has 1 numbers, expected 2"},
        {START "\"coefficients\":[]}", "0 outputs"},
        {START "\"coefficients\":[[1,2],[3]]}", "differ in length"},
        {START "\"coefficients\":[1,[2]]}", "mixes"},
        {START "\"coefficients\":[[1,2],3]}", "list of numbers"},
        {START "\"coefficients\":[1,1e999]}", "too large"},
        {START "\"coefficients\":[1,2],\"intercepts\":[1,2]}", "'intercepts' has 2"},
        {START "\"coefficients\":[1,2],\"scale\":[1,0]}", "'scale' of input 1 is 0"},
        {START "\"coefficients\":[1,2],\"mean\":[1]}", "'mean' has 1"},
        {START "\"coefficients\":[1,2],\"fill\":[\"x\",1]}", "number is expected"},
        {START "\"coefficients\":[1,2],\"link\":\"probit\"}", "probit"},
        {START "\"coefficents\":[1,2]}", "did you mean 'coefficients'"},
        {START "\"coefficients\":[1,2],\"coefficients\":[1,2]}", "repeated member 'coefficients'"},
        {START "\"intercepts\":[1]}", "needs the members"},
        {"{\"format\":\"quern-linear\",\"version\":2}", "'version' is not 1"},
        {START "\"coefficients\":[1,2]} x", ""},
    };

    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
        models_refuse(qn_str_of(files[i].text), files[i].words);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_arithmetic),
                                       cmocka_unit_test(test_links),
                                       cmocka_unit_test(test_refusals)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
