/* SPDX-License-Identifier: Apache-2.0
 * test_load_sklearn.c - the forest JSON: routing in float32 and float64, outputs, links, refusals,
 * damage, no memory. */
#include "models.h"

#define HEAD   "{\"format\":\"quern-forest\",\"version\":1,\"inputs\":[\"a\",\"b\"],"
#define SPLIT  "\"left\":[1,-1,-1],\"right\":[2,-1,-1],\"feature\":[1,0,0]"
#define STUMP  "{" SPLIT ",\"threshold\":[0.1,0,0],\"values\":[[0,-2,3]]}"
#define STUMPS HEAD "\"outputs\":1,\"trees\":[" STUMP "," STUMP "]}"

/* The cut for doubles says what rounding and comparing say, beside every float and middle. */
static void check_threshold(double threshold)
{
    const double cut = qn_model_float_threshold(threshold);
    float near = (float)threshold;

    near = nextafterf(nextafterf(near, -INFINITY), -INFINITY);
    for (int i = 0; i < 5; i++, near = nextafterf(near, INFINITY)) {
        const double next = isinf(near) ? near : (double)nextafterf(near, INFINITY);
        const double middle = isinf(next) && near > 0 ? 0x1.ffffffp127 : ((double)near + next) / 2;
        const double xs[] = {near, middle, nextafter(middle, INFINITY),
                             nextafter(middle, -INFINITY)};

        for (unsigned k = 0; k < 4; k++) {
            if (((double)(float)xs[k] <= threshold) == (xs[k] >= cut))
                fail_msg("threshold %a, input %a, cut %a", threshold, xs[k], cut);
        }
    }
}

static void test_float_cuts(void **state)
{
    static const double strange[] = {0.0,       -0.0,     1e-45,           -1e-45,    1e-300,
                                     3.4e38,    1e300,    0x1.fffffep127,  -1e300,    0.1,
                                     -INFINITY, 1 + 1e-9, -0x1.fffffep127, 16777217.0};

    models_seed();
    for (unsigned i = 0; i < sizeof(strange) / sizeof(strange[0]); i++)
        check_threshold(strange[i]);
    for (unsigned i = 0; i < 20000; i++) {
        const double digits = (double)models_draw(1u << 31) + models_draw(4) / 4.0;

        check_threshold(ldexp(models_draw(2) ? digits : -digits, (int)models_draw(320) - 190));
    }
    assert_true(isnan(qn_model_float_threshold(INFINITY)));
}

static void test_routing(void **state)
{
    struct qn_model *m = models_load(STUMPS);
    const struct qn_model_info *info = qn_model_info(m);
    const double above = (double)0.1f; /* above 0.1, but 0.1 itself is rounded to it */

    assert_string_equal(info->format, "forest-json");
    assert_int_equal(info->trees, 2);
    assert_int_equal(info->is_float, false);
    assert_true(qn_str_is(info->input_names[1], "b"));
    assert_true(models_score(m, (double[]){9, 0.09}, NULL) == -4);
    assert_true(models_score(m, (double[]){-9, 0.1}, NULL) == 6);
    assert_true(models_score(m, (double[]){-9, above}, NULL) == 6);
    assert_true(models_score(m, (double[]){-9, NAN}, NULL) == 6);
    qn_model_free(m);

    m = models_load(HEAD "\"outputs\":1,\"input_type\":\"float64\",\"trees\":[{" SPLIT
                         ",\"threshold\":[0.1,0,0],\"missing_left\":[1,0,0],"
                         "\"values\":[[0,-2,3]]}]}");
    assert_true(models_score(m, (double[]){0, 0.1}, NULL) == -2);
    assert_true(models_score(m, (double[]){0, nextafter(0.1, 1)}, NULL) == 3);
    assert_true(models_score(m, (double[]){0, NAN}, NULL) == -2);
    qn_model_free(m);
}

static void test_links(void **state)
{
    static const struct {
        const char *text;
        double margin, prediction;
    } models[] = {
        {HEAD "\"outputs\":1,\"divide\":2,\"start\":[1],\"trees\":[" STUMP "]}", 4, 2},
        {HEAD "\"outputs\":1,\"link\":\"logistic\",\"slope\":2,\"trees\":[" STUMP "]}", 3,
         0.99752737684336534},
        {HEAD "\"outputs\":1,\"link\":\"exp\",\"trees\":[" STUMP "]}", 3, 20.085536923187668},
        {HEAD "\"outputs\":1,\"link\":\"isolation\",\"divide\":3,\"trees\":[" STUMP "]}", 3, -0.5},
        {HEAD "\"outputs\":1,\"link\":\"isolation\",\"divide\":3,\"output\":\"anomaly\","
              "\"trees\":[" STUMP "]}",
         3, 0.5},
        {HEAD "\"outputs\":1,\"link\":\"isolation\",\"divide\":3,\"output\":\"decision_function\","
              "\"offset\":-0.75,\"trees\":[" STUMP "]}",
         3, 0.25},
        {HEAD "\"outputs\":2,\"link\":\"softmax\",\"trees\":[{" SPLIT ",\"threshold\":[0,0,0],"
              "\"values\":[[0,1,3],[0,5,3]]}]}",
         3, 0.5},
        {HEAD "\"outputs\":2,\"trees\":[{\"output\":1," SPLIT ",\"threshold\":[0,0,0],"
              "\"values\":[[0,1,3]]}]}",
         0, 0},
    };

    for (size_t i = 0; i < sizeof(models) / sizeof(models[0]); i++) {
        struct qn_model *m = models_load(models[i].text);
        double prediction, margin = models_score(m, (double[]){0, 1}, &prediction);

        if (margin != models[i].margin || fabs(prediction - models[i].prediction) > 1e-14)
            fail_msg("model %zu: %.17g, %.17g", i, margin, prediction);
        qn_model_free(m);
    }
}

static void test_refusals(void **state)
{
    static const struct {
        const char *text, *words;
    } files[] = {
        {"{\"format\":\"quern-forest\",\"version\":2}", "'version' is not 1"},
        {HEAD "\"outputs\":1}", "needs the members"},
        {HEAD "\"trees\":[]}", "must stand before 'trees'"},
        {HEAD "\"outputs\":1,\"trees\":[{}]}", "'values'"},
        {HEAD "\"outputs\":0,\"trees\":[]}", "0 outputs"},
        {HEAD "\"outputs\":1,\"trees\":[" STUMP "],\"input_type\":\"float64\"}", "before 'trees'"},
        {HEAD "\"outputs\":1,\"input_type\":\"int\",\"trees\":[]}", "float32 or float64"},
        {HEAD "\"outputs\":1,\"outputs\":1,\"trees\":[]}", "repeated member 'outputs'"},
        {HEAD "\"outputs\":1,\"tress\":[]}", "did you mean 'trees'"},
        {HEAD "\"outputs\":1,\"trees\":[{\"lefts\":[]}]}", "did you mean 'left'"},
        {HEAD "\"outputs\":1,\"trees\":[" STUMP "],\"link\":\"probit\"}", "probit"},
        {HEAD "\"outputs\":1,\"trees\":[" STUMP "],\"divide\":0}", "'divide' is 0"},
        {HEAD "\"outputs\":1,\"trees\":[" STUMP "],\"start\":[1,2]}", "'start' has 2"},
        {HEAD "\"outputs\":1,\"trees\":[" STUMP "],\"start\":[\"inf\"]}", "not finite"},
        {HEAD "\"outputs\":1,\"trees\":[" STUMP "],\"offset\":1}", "belong to the link isolation"},
        {HEAD "\"outputs\":1,\"trees\":[" STUMP "],\"link\":\"isolation\",\"output\":\"x\"}",
         "output 'x'"},
        {HEAD "\"outputs\":1,\"trees\":[" STUMP "],\"link\":\"isolation\",\"offset\":1}",
         "decision_function"},
        {HEAD "\"outputs\":1,\"trees\":[{\"output\":1" SPLIT "}]}", ""},
        {HEAD "\"outputs\":1,\"trees\":[{" SPLIT ",\"threshold\":[0,0,0],\"output\":1,"
              "\"values\":[[1,2,3]]}]}",
         "beyond 'outputs'"},
        {HEAD "\"outputs\":1,\"trees\":[{" SPLIT ",\"threshold\":[0,0],\"values\":[[1,2,3]]}]}",
         "'threshold' has 2 values"},
        {HEAD "\"outputs\":1,\"trees\":[{" SPLIT ",\"threshold\":[0,0,0],\"values\":[[1,2]]}]}",
         "3 numbers per list"},
        {HEAD "\"outputs\":1,\"trees\":[{" SPLIT ",\"threshold\":[0,0,0],"
              "\"values\":[[1,2,\"inf\"]]}]}",
         "not finite"},
        {HEAD "\"outputs\":1,\"trees\":[{\"left\":[0,-1,-1],\"right\":[2,-1,-1],"
              "\"feature\":[0,0,0],\"threshold\":[0,0,0],\"values\":[[1,2,3]]}]}",
         "reached twice"},
        {HEAD "\"outputs\":1,\"trees\":[{\"left\":[7,-1,-1],\"right\":[2,-1,-1],"
              "\"feature\":[0,0,0],\"threshold\":[0,0,0],\"values\":[[1,2,3]]}]}",
         "outside the tree"},
        {HEAD "\"outputs\":1,\"trees\":[{\"left\":[1.5,-1,-1],\"right\":[2,-1,-1],"
              "\"feature\":[0,0,0],\"threshold\":[0,0,0],\"values\":[[1,2,3]]}]}",
         "out of range"},
        {HEAD "\"outputs\":1,\"trees\":[{\"left\":[1,-1,-1],\"right\":[2,-1,-1],"
              "\"feature\":[2,0,0],\"threshold\":[0,0,0],\"values\":[[1,2,3]]}]}",
         "does not have"},
        {STUMPS " x", ""},
    };

    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
        models_refuse(qn_str_of(files[i].text), files[i].words);
}

static void test_truncated(void **state)
{
    const char *text = STUMPS;

    for (uint32_t len = 1; len < strlen(text); len++)
        models_refuse((struct qn_str){text, len}, "");
}

static void test_no_memory(void **state)
{
    qn_status rc = QN_NOMEM;

    for (unsigned later = 0; later < 2; later++) {
        for (uint64_t nth = 1; nth < 200; nth++) {
            struct qn_model *m = NULL;
            struct qn_err err = {0};

            qn_mem_fail_at(nth, later != 0);
            rc = qn_model_load_bytes(qn_str_of(STUMPS), "m", NULL, &m, &err);
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
        cmocka_unit_test(test_float_cuts), cmocka_unit_test(test_routing),
        cmocka_unit_test(test_links),      cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_truncated),  cmocka_unit_test(test_no_memory)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
