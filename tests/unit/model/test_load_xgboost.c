/* SPDX-License-Identifier: Apache-2.0
 * test_load_xgboost.c - XGBoost's three formats: one small model written in each, base scores,
 * options, refusals. */
#include "models.h"

/* One tree: input 0 < 2 ? (input 1 < 0.5 ? 1 : 2) : -1; missing left at the root, right below. */
#define TREE                                                                                       \
    "{\"left_children\":[1,3,-1,-1,-1],\"right_children\":[2,4,-1,-1,-1],\"split_indices\":[0,1,"  \
    "0,0,0],"                                                                                      \
    "\"default_left\":[true,false,false,0,0],\"split_conditions\":[2,0.5,-1,1,2],\"id\":0,"        \
    "\"base_weights\":[0,NaN,Infinity,-Infinity,1e-5],\"tree_param\":{\"size_leaf_vector\":\"0\"}" \
    "}"
#define BEFORE                                                                                     \
    "{\"version\":[1,7,4],\"learner\":{\"gradient_booster\":{\"name\":\"gbtree\",\"model\":{"
#define AFTER(objective, score)                                                                    \
    "}},\"learner_model_param\":{\"num_feature\":\"2\",\"num_class\":\"0\",\"base_score\":"        \
    "\"" score "\"},"                                                                              \
    "\"objective\":{\"name\":\"" objective "\"}}}"
#define MODEL(objective, score)                                                                    \
    BEFORE "\"tree_info\":[0],\"trees\":[" TREE "]" AFTER(objective, score)

static void check_scores(const struct qn_model *m, float start)
{
    const struct {
        double x[2], leaf;
    } rows[] = {
        {{1, 0}, 1},           {{1, 0.5}, 2},      {{2, 0}, -1},        {{NAN, 0}, 1},
        {{NAN, NAN}, 2},       {{1, NAN}, 2},      {{INFINITY, 0}, -1}, {{-INFINITY, INFINITY}, 2},
        {{1.99999999, 0}, -1}, {{1.9999998, 0}, 1}};

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        float want = start + (float)rows[i].leaf;
        double got = models_score(m, rows[i].x, NULL);

        if (got != (double)want)
            fail_msg("row %zu: %g, expected %g", i, got, (double)want);
    }
}

static void test_json(void **state)
{
    struct qn_model *m = models_load(MODEL("reg:squarederror", "5E-1"));
    double prediction;

    check_scores(m, 0.5f);
    assert_string_equal(qn_model_info(m)->format, "xgboost-json");
    assert_string_equal(qn_model_info(m)->version, "1.7.4");
    assert_true(qn_model_info(m)->is_float);
    assert_int_equal(qn_model_info(m)->nodes, 5);
    assert_int_equal(qn_model_info(m)->depth_max, 2);
    assert_null(qn_model_info(m)->input_names);
    qn_model_free(m);
    m = models_load(MODEL("binary:logistic", "[5E-1]"));
    assert_true(models_score(m, (double[]){1, 0}, &prediction) == 1.0);
    assert_true(prediction == (double)0.7310586f);
    qn_model_free(m);
    m = models_load(MODEL("count:poisson", "(1)"));
    check_scores(m, 0);
    qn_model_free(m);
    m = models_load(MODEL("binary:hinge", "0"));
    models_score(m, (double[]){3, 0}, &prediction);
    assert_true(prediction == 0);
    qn_model_free(m);
}

static void test_missing_value(void **state)
{
    struct qn_model_options opt = {.has_missing = true, .missing = -999.1};
    struct qn_model *m = NULL;
    struct qn_err err;
    const double x[2] = {(double)-999.1f, 0};

    assert_int_equal(
        qn_model_load_bytes(qn_str_of(MODEL("reg:squarederror", "0")), "m", &opt, &m, &err), QN_OK);
    assert_true(models_score(m, (double[]){-999.1, -999.1}, NULL) == 2);
    assert_true(models_score(m, x, NULL) == 1);
    qn_model_free(m);
}

static void test_refusals(void **state)
{
#define TREE_OF(left, right, indices, conditions)                                                  \
    BEFORE "\"tree_info\":[0],\"trees\":[{\"left_children\":" left ",\"right_children\":" right    \
           ",\"split_indices\":" indices                                                           \
           ",\"default_left\":[0,0,0],\"split_conditions\":" conditions                            \
           "}]" AFTER("reg:squarederror", "0")
    static const struct {
        const char *text, *words;
    } files[] = {
        {MODEL("reg:unheard", "0"), "not known"},
        {MODEL("binary:logistc", "0.5"), "did you mean 'binary:logistic'"},
        {MODEL("binary:logistic", "2"), "impossible"},
        {MODEL("binary:logistic", "x"), "base_score"},
        {MODEL("reg:squarederror", "[1,2]"), "2 base scores"},
        {BEFORE "\"tree_info\":[0,0],\"trees\":[" TREE "]" AFTER("reg:squarederror", "0"),
         "tree_info"},
        {BEFORE "\"tree_info\":[1],\"trees\":[" TREE "]" AFTER("reg:squarederror", "0"),
         "output 1"},
        {BEFORE "\"tree_info\":[0],\"trees\":[{}]" AFTER("reg:squarederror", "0"), "empty"},
        {BEFORE
         "\"gbtree_model_param\":{\"size_leaf_vector\":\"3\"},\"tree_info\":[],\"trees\":[]" AFTER(
             "reg:squarederror", "0"),
         "vector leaves"},
        {TREE_OF("[1,-1,-1]", "[2,-1]", "[0,0,0]", "[1,2,3]"), "differ in length"},
        {TREE_OF("[1,-1,-1]", "[0,-1,-1]", "[0,0,0]", "[1,2,3]"), "side by side"},
        {TREE_OF("[0,-1,-1]", "[1,-1,-1]", "[0,0,0]", "[1,2,3]"), "reached twice"},
        {TREE_OF("[7,-1,-1]", "[8,-1,-1]", "[0,0,0]", "[1,2,3]"), "outside the tree"},
        {TREE_OF("[-2,-1,-1]", "[-1,-1,-1]", "[0,0,0]", "[1,2,3]"), "outside the tree"},
        {TREE_OF("[1,-1,-1]", "[2,-1,-1]", "[2,0,0]", "[1,2,3]"), "does not have"},
        {TREE_OF("[1,-1,-1]", "[2,-1,-1]", "[-1,0,0]", "[1,2,3]"), "does not have"},
        {TREE_OF("[1,-1,-1]", "[2,-1,-1]", "[0,0,0]", "[NaN,2,3]"), "NaN"},
        {TREE_OF("[1,-1,-1]", "[2,-1,-1]", "[0,0,0]", "[1,NaN,3]"), "not a number"},
        {TREE_OF("[1.5,-1,-1]", "[2,-1,-1]", "[0,0,0]", "[1,2,3]"), "whole number"},
        {TREE_OF("\"x\"", "[2,-1,-1]", "[0,0,0]", "[1,2,3]"), "array of whole numbers"},
        {BEFORE "\"weights\":[1,2]}},\"x\":{}}}", "learner_model_param"},
    };

    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
        models_refuse(qn_str_of(files[i].text), files[i].words);
}

/* Categories: {1, 5} right; missing right. */
static void test_categories(void **state)
{
    static const char text[] = BEFORE
        "\"tree_info\":[0],\"trees\":[{\"left_children\":[1,-1,-1],\"right_children\":[2,-1,-1],"
        "\"split_indices\":[0,0,0],\"default_left\":[0,0,0],\"split_type\":[1,0,0],\"split_"
        "conditions\":"
        "[0,10,20],\"categories\":[5,1],\"categories_nodes\":[0],\"categories_segments\":[0],"
        "\"categories_sizes\":[2]}]" AFTER("reg:squarederror", "0");
    const double right[] = {1, 5, 5.9, NAN},
                 left[] = {0, -0.5, -1, 4, 6, 1e9, 16777217, 1e300, -INFINITY};
    struct qn_model *m = models_load(text);

    for (unsigned k = 0; qn_model_kernel_name(k) != NULL; k++) {
        if (!qn_model_force_kernel(m, qn_model_kernel_name(k)))
            continue;
        for (unsigned i = 0; i < 4; i++)
            assert_true(models_score(m, (double[]){right[i], 0}, NULL) == 20);
        for (unsigned i = 0; i < 9; i++)
            assert_true(models_score(m, (double[]){left[i], 0}, NULL) == 10);
    }
    qn_model_free(m);
}

/* ---- UBJ ---- */

static void put_count(struct qn_buf *b, uint64_t n)
{
    qn_buf_byte(b, 'L');
    for (int shift = 56; shift >= 0; shift -= 8)
        qn_buf_byte(b, (char)(n >> shift));
}

static void put_key(struct qn_buf *b, const char *key)
{
    put_count(b, strlen(key));
    qn_buf_text(b, key);
}

static void put_member_text(struct qn_buf *b, const char *key, const char *text)
{
    put_key(b, key);
    qn_buf_byte(b, 'S');
    put_key(b, text);
}

/* A typed array of int32, or int64 when `wide`. */
static void put_ints(struct qn_buf *b, const char *key, const int *v, unsigned n, bool wide)
{
    put_key(b, key);
    qn_buf_text(b, wide ? "[$L#" : "[$l#");
    put_count(b, n);
    for (unsigned i = 0; i < n; i++) {
        for (int shift = wide ? 56 : 24; shift >= 0; shift -= 8)
            qn_buf_byte(b, (char)((int64_t)v[i] >> shift));
    }
}

static void put_floats(struct qn_buf *b, const char *key, const float *v, unsigned n)
{
    put_key(b, key);
    qn_buf_text(b, "[$d#");
    put_count(b, n);
    for (unsigned i = 0; i < n; i++) {
        uint32_t bits;

        memcpy(&bits, &v[i], 4);
        for (int shift = 24; shift >= 0; shift -= 8)
            qn_buf_byte(b, (char)(bits >> shift));
    }
}

static void make_ubj(struct qn_buf *b)
{
    qn_buf_text(b, "{");
    put_key(b, "learner");
    qn_buf_text(b, "{");
    put_key(b, "gradient_booster");
    qn_buf_text(b, "{");
    put_key(b, "model");
    qn_buf_text(b, "{");
    put_ints(b, "tree_info", (int[]){0}, 1, false);
    put_key(b, "trees");
    qn_buf_text(b, "[#");
    put_count(b, 1);
    qn_buf_text(b, "{");
    put_ints(b, "left_children", (int[]){1, 3, -1, -1, -1}, 5, false);
    put_ints(b, "right_children", (int[]){2, 4, -1, -1, -1}, 5, false);
    put_ints(b, "split_indices", (int[]){0, 1, 0, 0, 0}, 5, true);
    put_floats(b, "split_conditions", (float[]){2, 0.5f, -1, 1, 2}, 5);
    put_key(b, "default_left");
    qn_buf_text(b, "[U\1TF"
                   "i");
    qn_buf_add(b, "\0U\0]", 4); /* an open array: 1, true, false, 0, 0 less one, see below */
    qn_buf_text(b, "}}");
    put_member_text(b, "name", "gbtree");
    qn_buf_text(b, "}");
    put_key(b, "learner_model_param");
    qn_buf_text(b, "{");
    put_member_text(b, "num_feature", "2");
    put_member_text(b, "base_score", "5E-1");
    qn_buf_text(b, "}");
    put_key(b, "objective");
    qn_buf_text(b, "{");
    put_member_text(b, "name", "reg:squarederror");
    qn_buf_text(b, "}}");
    put_key(b, "version");
    qn_buf_text(b, "[#");
    put_count(b, 3);
    qn_buf_add(b, "i\3i\2i\0", 6);
    qn_buf_text(b, "}");
    assert_false(b->failed);
}

static void test_ubj(void **state)
{
    struct qn_buf b = {0};
    struct qn_model *m = NULL;
    struct qn_err err = {0};
    char *at;

    make_ubj(&b);
    /* default_left reads 1, true, false, 0, 0: make the true a false, so that it is JSON's model */
    at = memmem(b.data, b.len, "U\1TF", 4);
    assert_non_null(at);
    at[2] = 'F';
    if (qn_model_load_bytes(models_bytes(&b), "m", NULL, &m, &err) != QN_OK)
        fail_msg("%s", err.text);
    assert_string_equal(qn_model_info(m)->format, "xgboost-ubj");
    assert_string_equal(qn_model_info(m)->version, "3.2.0");
    check_scores(m, 0.5f);
    qn_model_free(m);
    for (uint32_t n = 1; n < b.len; n++)
        models_refuse((struct qn_str){b.data, n}, "");
    /* a count beyond the file must be refused before memory is taken */
    at = memmem(b.data, b.len, "[$l#L", 5);
    assert_non_null(at);
    at[6] = 0x40;
    models_refuse(models_bytes(&b), "more values than the file has");
    qn_buf_fini(&b);
}

/* ---- the old binary format ---- */

static void put_u32(struct qn_buf *b, uint32_t v)
{
    for (int shift = 0; shift < 32; shift += 8)
        qn_buf_byte(b, (char)(v >> shift));
}

static void put_f32(struct qn_buf *b, float v)
{
    uint32_t bits;

    memcpy(&bits, &v, 4);
    put_u32(b, bits);
}

static void put_zeros(struct qn_buf *b, unsigned n)
{
    while (n-- > 0)
        qn_buf_byte(b, 0);
}

static void put_text64(struct qn_buf *b, const char *text)
{
    put_u32(b, (uint32_t)strlen(text));
    put_u32(b, 0);
    qn_buf_text(b, text);
}

static void make_binary(struct qn_buf *b, uint32_t major, bool has_magic, float base)
{
    static const struct {
        int left, right;
        uint32_t split;
        float value;
    } nodes[] = {{1, 2, 0x80000000u, 2}, {3, 4, 1, 0.5f}, {-1, -1, 0, -1},
                 {-1, -1, 0, 1},         {-1, -1, 0, 2},  {-1, -1, 0xffffffffu, 7}};

    qn_buf_clear(b);
    if (has_magic)
        qn_buf_text(b, "binf");
    put_f32(b, base);
    put_u32(b, 2);
    put_zeros(b, 4);
    put_u32(b, 1); /* has attributes */
    put_zeros(b, 4);
    put_u32(b, major);
    put_zeros(b, 136 - 24);
    put_text64(b, "binary:logistic");
    put_text64(b, "gbtree");
    put_u32(b, 1);
    put_zeros(b, 156);
    put_u32(b, 1);
    put_u32(b, 6);
    put_zeros(b, 148 - 8);
    for (unsigned i = 0; i < 6; i++) {
        put_zeros(b, 4);
        put_u32(b, (uint32_t)nodes[i].left);
        put_u32(b, (uint32_t)nodes[i].right);
        put_u32(b, nodes[i].split);
        put_f32(b, nodes[i].value);
    }
    put_zeros(b, 6 * 16);
    put_u32(b, 0);
    put_u32(b, 1);
    put_u32(b, 0);
    put_text64(b, "best_iteration");
    put_text64(b, "0");
    assert_false(b->failed);
}

static void test_binary(void **state)
{
    struct qn_buf b = {0};

    for (unsigned kind = 0; kind < 4; kind++) {
        struct qn_model *m = NULL;
        struct qn_err err = {0};
        const uint32_t major = kind & 1;

        make_binary(&b, major, (kind & 2) != 0, major == 0 ? 0.0f : 0.5f);
        if (qn_model_load_bytes(models_bytes(&b), "m", NULL, &m, &err) != QN_OK)
            fail_msg("%s", err.text);
        assert_string_equal(qn_model_info(m)->format, "xgboost-binary");
        check_scores(m, 0);
        assert_int_equal(qn_model_info(m)->nodes, 5);
        qn_model_free(m);
    }
    for (uint32_t n = 1; n < b.len; n++)
        models_refuse((struct qn_str){b.data, n}, "");
    make_binary(&b, 1, true, NAN);
    models_refuse(models_bytes(&b), "not a number");
    qn_buf_fini(&b);
}

/* logf of the base score, at values where a correctly rounded logf would give another float. */
static void test_base_score(void **state)
{
    struct qn_model *m = models_load(MODEL("binary:logistic", "5E-1"));

    assert_true(qn_model_xgboost_margin(m, 0.5f, 3, 2) == 0);
    assert_true(qn_model_xgboost_margin(m, 0.0f, 3, 2) == qn_model_xgboost_margin(m, 1e-6f, 3, 2));
    assert_true(isinf(qn_model_xgboost_margin(m, 1.0f, 3, 1)));
    for (int i = 1; i < 2000; i++) {
        float b = (float)i / 2000.0f, want = -logf(1.0f / b - 1.0f);

        assert_true(fabsf(qn_model_xgboost_margin(m, b, 2, 0) - want) <=
                    1e-6f * fabsf(want) + 1e-9f);
    }
    qn_model_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_json),       cmocka_unit_test(test_missing_value),
        cmocka_unit_test(test_refusals),   cmocka_unit_test(test_categories),
        cmocka_unit_test(test_ubj),        cmocka_unit_test(test_binary),
        cmocka_unit_test(test_base_score),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
