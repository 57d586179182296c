/* SPDX-License-Identifier: Apache-2.0
 * test_model.c - recognising formats, wrong files and their advice, and every allocation failing in
 * turn. */
#include "models.h"

static void test_wrong_files(void **state)
{
    static const struct {
        const char *bytes;
        uint32_t len;
        const char *words;
    } files[] = {
        {"", 0, "empty"},
        {"bs64AAAA", 8, "save_model"},
        {"CONFIG-offset:123", 17, "save_model"},
        {"\x80\x04\x95zz", 5, "pickle"},
        {"\x1f\x8b\x08", 3, "gzip"},
        {"booster[0]:\n0:[f1<2]", 20, "save_model"},
        {"[\n  { \"nodeid\": 0 }]", 20, "dump_model"},
        {"\x08\x08\x12\x04skl2", 8, "ONNX"},
        {"hello", 5, "no model file that is known"},
        {"{", 1, "not valid JSON"},
        {"{}", 2, "learner"},
        {"{\"oblivious_trees\":[]}", 22, "CatBoost"},
        {"{\"name\":\"tree\",\"tree_info\":[]}", 30, "dump_model"},
        {"{\"format\":\"other\"}", 18, "quern-linear"},
        {"{\"learner\":{}}", 14, "save_model"},
        {"{\"learner\":[]}", 14, "not an object"},
        {"tree\nversion=v1\n", 16, "v2, v3 and v4"},
        {"tree\n", 5, "version"},
        {"binf", 4, "ends within"},
        {"{L\0\0\0\0\0\0\0\x7f", 10, "cut off"},
    };

    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
        models_refuse((struct qn_str){files[i].bytes, files[i].len}, files[i].words);
}

/* The n-th allocation fails, for every n until the load succeeds: always NOMEM, never a leak or a
 * crash. */
static void fail_each(struct qn_str bytes)
{
    struct qn_err err;
    struct qn_model *m = NULL;
    qn_status rc = QN_NOMEM;

    for (uint64_t nth = 1; rc != QN_OK; nth++) {
        assert_true(nth < 20000);
        qn_mem_fail_at(nth, nth % 2 == 0);
        rc = qn_model_load_bytes(bytes, "m", NULL, &m, &err);
        qn_mem_fail_at(0, false);
        if (rc != QN_OK) {
            if (rc != QN_NOMEM)
                fail_msg("allocation %llu: %s", (unsigned long long)nth, err.text);
            assert_null(m);
        }
    }
    qn_model_free(m);
}

static void test_no_memory(void **state)
{
    static const char linear[] = "{\"format\":\"quern-linear\",\"version\":1,\"inputs\":[\"a\","
                                 "\"b\"],\"coefficients\":[[1,2]],"
                                 "\"intercepts\":[3],\"mean\":[0,0],\"scale\":[1,1],\"fill\":[null,"
                                 "0],\"link\":\"logistic\"}";
    const struct model_shape shape = {
        .trees = 3, .leaves = 9, .inputs = 3, .outputs = 1, .values = 9, .has_categories = true};
    struct qn_buf text = {0};

    models_seed();
    models_xgboost(&text, &shape);
    fail_each(models_bytes(&text));
    models_lightgbm(&text, &shape);
    fail_each(models_bytes(&text));
    fail_each(qn_str_of(linear));
    qn_buf_fini(&text);
}

/* A file through the table of files: found, not found, and the same facts as from bytes. */
static void test_from_file(void **state)
{
    struct qn_model *m = NULL;
    struct qn_err err = {0};

    assert_int_equal(qn_model_load(&qn_files_system, "no-such-model", NULL, &m, &err),
                     QN_NOT_FOUND);
    assert_null(m);
    qn_model_free(NULL);
}

static void test_facts(void **state)
{
    const struct model_shape shape = {
        .trees = 6, .leaves = 9, .inputs = 3, .outputs = 3, .values = 9};
    struct qn_buf text = {0};
    struct qn_model *m = NULL, *again = NULL;
    const struct qn_model_info *info;
    struct qn_err err = {0};
    uint64_t alone_ns, batched_ns;

    models_lightgbm(&text, &shape);
    assert_int_equal(qn_model_load_bytes(models_bytes(&text), "m", NULL, &m, &err), QN_OK);
    info = qn_model_info(m);
    assert_string_equal(info->format, "lightgbm-text");
    assert_string_equal(info->objective, "multiclass");
    assert_string_equal(info->version, "v4");
    assert_int_equal(info->inputs, 3);
    assert_int_equal(info->outputs, 3);
    assert_int_equal(info->predictions, 3);
    assert_int_equal(info->trees, 6);
    assert_int_equal(info->trees_in_file, 6);
    assert_int_equal(info->nodes, 2 * info->leaves - 6);
    assert_true(qn_str_is(info->input_names[2], "c2"));
    assert_false(info->is_float);
    assert_true(info->bytes > 1000);
    assert_true(qn_model_cost(m, &alone_ns, &batched_ns));
    assert_true(alone_ns > 0 && batched_ns > 0 && alone_ns < 100000000);
    assert_int_equal(qn_model_load_bytes(models_bytes(&text), "m", NULL, &again, &err), QN_OK);
    assert_true(info->hash == qn_model_info(again)->hash);
    qn_model_free(again);
    text.data[text.len - 1] = ' ';
    assert_int_equal(qn_model_load_bytes(models_bytes(&text), "m", NULL, &again, &err), QN_OK);
    assert_true(info->hash != qn_model_info(again)->hash);
    assert_false(qn_model_force_kernel(m, "no such kernel"));
    assert_false(qn_model_force_kernel(m, "linear"));
    qn_model_free(again);
    qn_model_free(m);
    qn_buf_fini(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wrong_files),
        cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_from_file),
        cmocka_unit_test(test_facts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
