/* SPDX-License-Identifier: Apache-2.0
 * test_words.c - categories as text: whose words they are, unknown ones, files where that cannot be
 * told, damage, no memory. */
#include "models.h"

static const char LIGHTGBM[] =
    "tree\nversion=v4\nnum_class=1\nnum_tree_per_iteration=1\nlabel_index=0\nmax_feature_idx=3\n"
    "objective=regression\nfeature_names=a b c d\n\nTree=0\nnum_leaves=2\nnum_cat=1\n"
    "split_feature=3\nthreshold=0\ndecision_type=1\nleft_child=-1\nright_child=-2\nleaf_value=1 2\n"
    "cat_boundaries=0 1\ncat_threshold=2\nis_linear=0\n\nend of trees\n\nparameters:\n";

static void write_lightgbm(struct qn_buf *b, const char *features, const char *words)
{
    qn_buf_clear(b);
    qn_buf_printf(b, "%s[categorical_feature: %s]\nend of parameters\n\npandas_categorical:%s\n",
                  LIGHTGBM, features, words);
    assert_false(b->failed);
}

static void write_xgboost(struct qn_buf *b, const char *enc)
{
    qn_buf_clear(b);
    qn_buf_printf(b,
                  "{\"learner\":{\"gradient_booster\":{\"model\":{\"cats\":{\"enc\":[%s]},"
                  "\"tree_info\":[],\"trees\":[]},\"name\":\"gbtree\"},\"learner_model_param\":{"
                  "\"base_score\":\"0\",\"num_feature\":\"3\"},\"objective\":{\"name\":"
                  "\"reg:squarederror\"}},\"version\":[3,2,0]}",
                  enc);
    assert_false(b->failed);
}

static struct qn_model *load(const struct qn_buf *b)
{
    struct qn_model *m = NULL;
    struct qn_err err = {0};

    if (qn_model_load_bytes(models_bytes(b), "m", NULL, &m, &err) != QN_OK)
        fail_msg("%s", err.text);
    return m;
}

static double code(const struct qn_model *m, uint32_t input, const char *text)
{
    return qn_model_code(m, input, qn_str_of(text));
}

static void test_lightgbm(void **state)
{
    struct qn_buf b = {0};
    const struct qn_str *words;
    struct qn_model *m;
    double x[4] = {0};

    write_lightgbm(&b, "3,1", "[[\"x\", \"y\"], [\"de\", \"f\\u00fcr\", \"de\", \"\"]]");
    m = load(&b);
    assert_int_equal(qn_model_words(m, 0, NULL), 0);
    assert_int_equal(qn_model_words(m, 1, NULL), 2);
    assert_int_equal(qn_model_words(m, 3, &words), 4);
    assert_true(qn_str_is(words[1], "f\u00fcr"));
    assert_true(code(m, 1, "y") == 1 && code(m, 3, "de") == 0 && code(m, 3, "") == 3);
    assert_true(isnan(code(m, 1, "de")) && isnan(code(m, 3, "D")));
    x[3] = code(m, 3, "f\u00fcr"); /* bit 1 of the set */
    assert_true(models_score(m, x, NULL) == 1);
    x[3] = code(m, 3, "de");
    assert_true(models_score(m, x, NULL) == 2);
    qn_model_free(m);
    qn_buf_fini(&b);
}

/* Words that nobody can tell the owner of are left alone; the model itself is good. */
static void test_unclear(void **state)
{
    static const char *const cases[][2] = {{"3", "[[\"x\"], [\"y\"]]"},
                                           {"1,3", "[[\"x\"]]"},
                                           {"name:a", "[[\"x\"]]"},
                                           {"9", "[[\"x\"]]"},
                                           {"3", "[[\"x\", [1]]]"},
                                           {"3", "[[\"x\""},
                                           {"3", "null"},
                                           {"", "[]"},
                                           {"3", "[[5, 6, 7]]"},
                                           {"3", "[[]]"}};
    struct qn_buf b = {0};

    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct qn_model *m;

        write_lightgbm(&b, cases[i][0], cases[i][1]);
        m = load(&b);
        for (uint32_t input = 0; input < 4; input++)
            assert_int_equal(qn_model_words(m, input, NULL), 0);
        qn_model_free(m);
    }
    qn_buf_fini(&b);
}

static void test_xgboost(void **state)
{
    struct qn_buf b = {0};
    struct qn_model *m;

    write_xgboost(&b, "{\"offsets\":[0,1,1,3],\"values\":[97,98,99]},{\"type\":15,\"values\":[5]},"
                      "{\"offsets\":[0,2],\"values\":[-61,-93]}");
    m = load(&b);
    assert_int_equal(qn_model_words(m, 0, NULL), 3);
    assert_true(code(m, 0, "a") == 0 && code(m, 0, "") == 1 && code(m, 0, "bc") == 2);
    assert_true(code(m, 0, "b") == -1);
    assert_int_equal(qn_model_words(m, 1, NULL), 0);
    assert_int_equal(qn_model_words(m, 2, NULL), 0); /* letters beyond ASCII */
    qn_model_free(m);
    write_xgboost(&b, "{\"offsets\":[0,4],\"values\":[97,98,99]}");
    models_refuse(models_bytes(&b), "out of range");
    write_xgboost(&b, "{\"offsets\":[0,2,1],\"values\":[97,98,99]}");
    models_refuse(models_bytes(&b), "out of range");
    write_xgboost(&b, "{\"offsets\":[1,2],\"values\":[97,98,99]}");
    models_refuse(models_bytes(&b), "out of range");
    qn_buf_fini(&b);
}

static void test_no_memory(void **state)
{
    struct qn_buf b[2] = {{0}, {0}};

    write_lightgbm(&b[0], "1,3", "[[\"x\\n\", \"y\"], [\"z\"]]");
    write_xgboost(&b[1], "{\"offsets\":[0,1,3],\"values\":[97,98,99]}");
    for (unsigned i = 0; i < 4; i++) {
        qn_status rc = QN_NOMEM;

        for (uint64_t nth = 1; nth < 200 && rc != QN_OK; nth++) {
            struct qn_model *m = NULL;
            struct qn_err err = {0};

            qn_mem_fail_at(nth, i % 2 != 0);
            rc = qn_model_load_bytes(models_bytes(&b[i / 2]), "m", NULL, &m, &err);
            qn_mem_fail_at(0, false);
            assert_true(rc == QN_OK ? m != NULL : rc == QN_NOMEM && m == NULL);
            qn_model_free(m);
        }
        assert_int_equal(rc, QN_OK);
    }
    qn_buf_fini(&b[0]);
    qn_buf_fini(&b[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lightgbm), cmocka_unit_test(test_unclear),
        cmocka_unit_test(test_xgboost), cmocka_unit_test(test_no_memory)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
